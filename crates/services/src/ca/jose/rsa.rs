//! Which RSA keys are accepted, of accounts and of certificates.
//!
//! # Promise
//! - *Size*: 2048 to 4096 bits, with an odd exponent of at least 3 and less than 2^33.
//! - *One form*: modulus and exponent have no zero in front.
//! - *No key that is known to be weak by its form*: an even modulus, one with a factor below 752,
//!   one with the mark of the generator of CVE-2017-15361.
//!
//! # Sources
//! RFC 7518 (6.3.1), NIST SP 800-89 (5.3.3), CA/Browser Forum Baseline Requirements (6.1.1.3,
//! 6.1.6). Nemec et al.: The Return of Coppersmith's Attack (2017), for the mark.

/// Bytes of the longest modulus.
pub const RSA_MODULUS_BYTES_MAX: usize = 512;

/// Bits of the shortest modulus.
const MODULUS_BITS_MIN: u32 = 2048;

/// Bits of the longest exponent.
const EXPONENT_BITS_MAX: u32 = 33;

/// Numbers below this one are tried as factors.
const FACTOR_END: u32 = 752;

/// The mark shows modulo the primes up to this one.
const MARK_MAX: u32 = 167;

/// Why a key is refused: the end of a sentence.
pub(crate) type Fault = &'static str;

/// Is it a key, in its one form and of an accepted size? Does not look for weaknesses.
pub(crate) fn check_form(modulus: &[u8], exponent: &[u8]) -> Result<(), Fault> {
    let (Some(modulus_bits), Some(exponent_bits)) = (bits(modulus), bits(exponent)) else {
        return Err("has a number that is zero or begins with zero");
    };
    let bits_max = 8 * RSA_MODULUS_BYTES_MAX as u32;
    if !(MODULUS_BITS_MIN..=bits_max).contains(&modulus_bits) {
        return Err("has a modulus of less than 2048 or more than 4096 bits");
    }
    if !(2..=EXPONENT_BITS_MAX).contains(&exponent_bits) {
        return Err("has an exponent of less than 3 or not less than 2^33");
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(modulus) || !is_odd(exponent) {
        return Err("has an even number");
    }
    Ok(())
}

/// The same, and is it of none of the forms that are known to be weak?
pub(crate) fn check(modulus: &[u8], exponent: &[u8]) -> Result<(), Fault> {
    check_form(modulus, exponent)?;
    let mut is_marked = true;
    for prime in (3..FACTOR_END).filter(|number| is_prime(*number)) {
        let rest = remainder(modulus, prime);
        if rest == 0 {
            return Err("has a modulus with a small factor");
        }
        is_marked &= prime > MARK_MAX || is_power_of_65537(rest, prime);
    }
    match is_marked {
        true => Err("was made by a generator whose keys can be factored"),
        false => Ok(()),
    }
}

/// Length of a number without a zero in front; `None` for other numbers.
fn bits(number: &[u8]) -> Option<u32> {
    let first = number.first().filter(|first| **first != 0)?;
    Some(8 * number.len() as u32 - first.leading_zeros())
}

fn is_prime(number: u32) -> bool {
    let mut factors = (2..number).take_while(|factor| factor * factor <= number);
    factors.all(|factor| !number.is_multiple_of(factor))
}

fn remainder(number: &[u8], modulus: u32) -> u32 {
    number.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % modulus)
}

/// Primes of that generator are such powers modulo all small primes, so their products are, too;
/// of other moduli less than one in 2^27 is.
fn is_power_of_65537(rest: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == rest {
            return true;
        }
        power = power * (65537 % prime) % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::bn::{BigNum, BigNumContext};
    use openssl::rsa::Rsa;

    /// An odd number of `bits` without a small factor.
    fn modulus(bits: u32) -> Vec<u8> {
        Rsa::generate(bits).unwrap().n().to_vec()
    }

    fn refused(modulus: &[u8], exponent: &[u8], about: &str) {
        let fault = check(modulus, exponent).expect_err("refused");
        assert!(fault.contains(about), "{fault}");
    }

    #[test]
    fn usual_keys_are_accepted() {
        for bits in [2048, 2056, 3072, 4096] {
            let modulus = modulus(bits);
            for exponent in [&[3][..], &[1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
                assert_eq!(check(&modulus, exponent), Ok(()));
            }
        }
    }

    #[test]
    fn the_modulus_has_2048_to_4096_bits() {
        refused(&modulus(2047), &[1, 0, 1], "2048");
        refused(&modulus(1024), &[1, 0, 1], "2048");
        refused(&[&[1][..], &[0xff; 512]].concat(), &[1, 0, 1], "4096");
        refused(&[], &[1, 0, 1], "zero");
    }

    #[test]
    fn the_exponent_is_odd_at_least_3_and_below_2_to_the_33() {
        let modulus = modulus(2048);
        refused(&modulus, &[1], "exponent");
        refused(&modulus, &[2, 0, 0, 0, 1], "exponent");
        refused(&modulus, &[1, 0, 0, 0, 0, 0, 0, 0, 1], "exponent");
        refused(&modulus, &[4], "even");
        refused(&modulus, &[1, 0, 0], "even");
        refused(&modulus, &[], "zero");
    }

    #[test]
    fn no_number_begins_with_zero() {
        let modulus = modulus(2048);
        refused(&[&[0][..], &modulus].concat(), &[1, 0, 1], "zero");
        refused(&modulus, &[0, 1, 0, 1], "zero");
        refused(&modulus, &[0], "zero");
    }

    #[test]
    fn a_modulus_with_a_small_factor_is_refused() {
        let mut even = modulus(2048);
        even[255] &= 0xfe;
        refused(&even, &[1, 0, 1], "even");
        for factor in [3, 5, 751] {
            let mut product = BigNum::from_slice(&modulus(2048)).unwrap();
            product.mul_word(factor).unwrap();
            refused(&product.to_vec(), &[1, 0, 1], "small factor");
        }
    }

    #[test]
    fn a_key_of_the_broken_generator_is_refused() {
        // 65537^a mod m + k m for the product m of the small primes.
        let mut product = BigNum::from_u32(1).unwrap();
        for prime in (3..=MARK_MAX).filter(|number| is_prime(*number)) {
            product.mul_word(prime).unwrap();
        }
        let mut cx = BigNumContext::new().unwrap();
        let (base, power) = (BigNum::from_u32(65537).unwrap(), BigNum::from_u32(12_345).unwrap());
        let (mut rest, mut wide) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        rest.mod_exp(&base, &power, &product, &mut cx).unwrap();
        let mut one = BigNum::from_u32(1).unwrap();
        one.lshift(&BigNum::from_u32(1).unwrap(), 2047 - product.num_bits() + 1).unwrap();
        wide.checked_mul(&product, &one, &mut cx).unwrap();
        let marked = loop {
            let sum = &wide + &rest;
            let larger = &wide + &product;
            wide = larger;
            let numbers = sum.to_vec();
            // Odd, and without a factor between the mark's primes and the last that is tried.
            let has_factor = |prime: u32| remainder(&numbers, prime) == 0;
            if numbers[numbers.len() - 1] % 2 == 1
                && !(3..FACTOR_END).filter(|number| is_prime(*number)).any(has_factor)
            {
                break numbers;
            }
        };
        assert_eq!(check_form(&marked, &[1, 0, 1]), Ok(()));
        refused(&marked, &[1, 0, 1], "generator");
    }

    #[test]
    fn the_primes_are_the_primes() {
        let primes: Vec<u32> = (2..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!((3..=MARK_MAX).filter(|number| is_prime(*number)).count(), 38);
    }
}
