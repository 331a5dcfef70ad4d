//! Keys of threshold RSA: safe primes, and the dealing of the exponent.

use super::number::{Number, SecretNumber};
use super::{MODULUS_BITS_MIN, RsaKeyFile};
use crate::SIGNATURE_BYTES_MAX;
use crate::sharing::integer;
use maftia_base::Formula;
use maftia_base::wire::{Blob, List};
use rand_core::CryptoRng;

/// The public exponent of every key.
const EXPONENT: u32 = 65_537;

/// Candidates without a prime factor below this are tested for primality.
const SIEVE_MAX: usize = 1 << 16;

/// Two safe primes; overwritten when dropped.
pub struct SafePrimes {
    pub(super) p: SecretNumber,
    pub(super) q: SecretNumber,
}

impl std::fmt::Debug for SafePrimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SafePrimes(Secret(..))")
    }
}

impl SafePrimes {
    /// Wraps two safe primes of equal length, big-endian; `None` if they are not that.
    pub fn new(p: &[u8], q: &[u8]) -> Option<Self> {
        let (p, q) = (Number::from_bytes(p), Number::from_bytes(q));
        let is_sound = p != q && p.bits() == q.bits() && is_safe_prime(&p) && is_safe_prime(&q);
        is_sound.then(|| Self { p: SecretNumber::new(p), q: SecretNumber::new(q) })
    }

    /// Wraps two numbers that are known to be safe primes of equal length.
    #[cfg(feature = "ideal")]
    pub(crate) fn trusted(p: &[u8], q: &[u8]) -> Self {
        let wrap = |bytes| SecretNumber::new(Number::from_bytes(bytes));
        Self { p: wrap(p), q: wrap(q) }
    }

    /// Finds two, whose product has `bits` bits; calls `progress` for every candidate tested.
    pub(crate) fn find(bits: usize, rng: &mut impl CryptoRng, progress: &mut impl FnMut()) -> Self {
        let p = safe_prime(bits / 2, rng, progress);
        loop {
            let q = safe_prime(bits / 2, rng, progress);
            if p.expose() != q.expose() {
                return Self { p, q };
            }
        }
    }

    /// Bits of the product.
    pub(crate) fn modulus_bits(&self) -> usize {
        self.p.expose().times(self.q.expose()).bits()
    }
}

/// May a modulus have so many bits?
pub(crate) fn is_supported(bits: usize) -> bool {
    (MODULUS_BITS_MIN..=8 * SIGNATURE_BYTES_MAX).contains(&bits) && bits.is_multiple_of(16)
}

/// Shares a new exponent over `formula`: the public key, and a secret for each leaf.
pub(crate) fn deal(
    formula: &Formula,
    primes: &SafePrimes,
    rng: &mut impl CryptoRng,
) -> (RsaKeyFile, Vec<SecretNumber>) {
    let half = |prime: &SecretNumber| {
        let even = SecretNumber::new(prime.expose().minus(&Number::from_u32(1)));
        SecretNumber::new(even.expose().divided_by(&Number::from_u32(2)))
    };
    let modulus = primes.p.expose().times(primes.q.expose());
    let order = SecretNumber::new(half(&primes.p).expose().times(half(&primes.q).expose()));
    let inverse = Number::from_u32(EXPONENT).inverse(order.expose());
    let exponent =
        SecretNumber::new(inverse.expect("the order has no factor as small as the exponent"));
    let shares = integer::share(formula, exponent.expose(), &order, rng);
    let root = Number::random_below(&modulus, rng);
    let base = root.times_modulo(&root, &modulus);
    let len = modulus.bits().div_ceil(8);
    let blob = |number: &Number| {
        Blob::<SIGNATURE_BYTES_MAX>::new(number.to_bytes(len)).expect("bits are supported")
    };
    let verification: Vec<_> =
        shares.iter().map(|share| blob(&base.secret_power(share, &modulus))).collect();
    let file = RsaKeyFile {
        modulus: blob(&modulus),
        exponent: EXPONENT,
        share_bits: modulus.bits() as u32,
        base: blob(&base),
        verification: List::new(verification).expect("a formula has a bounded number of leaves"),
    };
    (file, shares)
}

fn is_safe_prime(number: &Number) -> bool {
    let half = SecretNumber::new(number.minus(&Number::from_u32(number.is_odd().into())));
    let half = SecretNumber::new(half.expose().divided_by(&Number::from_u32(2)));
    number.is_odd() && half.expose().is_prime() && number.is_prime()
}

/// A safe prime `2h + 1` of exactly `bits` bits with the two highest set, so that the product of
/// two has exactly twice as many.
///
/// Starts at a random place and sieves a stretch: no small prime may divide `h` or `2h + 1`.
fn safe_prime(bits: usize, rng: &mut impl CryptoRng, progress: &mut impl FnMut()) -> SecretNumber {
    const STRETCH: usize = 1 << 16;
    let small = small_primes();
    let (one, two) = (Number::from_u32(1), Number::from_u32(2));
    loop {
        let start = random_odd(bits - 1, rng);
        let mut is_out = vec![false; STRETCH];
        for prime in &small {
            // h = start + 2i is hit where it is 0, and 2h + 1 where h is (prime - 1) / 2.
            let start = start.expose().modulo_word(*prime);
            for target in [0, (prime - 1) / 2] {
                let distance = (target + prime - start) % prime;
                let half = if distance.is_multiple_of(2) { distance } else { distance + prime } / 2;
                (half as usize..STRETCH).step_by(*prime as usize).for_each(|i| is_out[i] = true);
            }
        }
        for (index, _) in is_out.iter().enumerate().filter(|(_, out)| !**out) {
            progress();
            let half = SecretNumber::new(start.expose().plus(&Number::from_u32(2 * index as u32)));
            if half.expose().bits() >= bits || !passes_fermat(half.expose()) {
                continue;
            }
            let double = SecretNumber::new(half.expose().times(&two));
            let prime = SecretNumber::new(double.expose().plus(&one));
            if passes_fermat(prime.expose())
                && half.expose().is_prime()
                && prime.expose().is_prime()
            {
                return prime;
            }
        }
    }
}

/// Is 2^(m-1) = 1 modulo m? Rules out nearly all composite numbers at the least cost.
fn passes_fermat(number: &Number) -> bool {
    let exponent = SecretNumber::new(number.minus(&Number::from_u32(1)));
    Number::from_u32(2).secret_power(&exponent, number).is_one()
}

/// An odd number of exactly `bits` bits with the two highest set.
fn random_odd(bits: usize, rng: &mut impl CryptoRng) -> SecretNumber {
    let mut bytes = zeroize::Zeroizing::new(vec![0; bits.div_ceil(8)]);
    rng.fill_bytes(&mut bytes);
    let number = SecretNumber::new(Number::from_bytes(&bytes));
    let mut number = number.expose().copy();
    number.keep_bits(bits);
    for bit in [0, bits - 2, bits - 1] {
        number.set_bit(bit);
    }
    SecretNumber::new(number)
}

fn small_primes() -> Vec<u32> {
    let mut is_out = vec![false; SIEVE_MAX];
    let mut primes = Vec::new();
    for number in 3..SIEVE_MAX {
        if number.is_multiple_of(2) || is_out[number] {
            continue;
        }
        (number * number..SIEVE_MAX).step_by(number).for_each(|multiple| is_out[multiple] = true);
        primes.push(number as u32);
    }
    primes
}
