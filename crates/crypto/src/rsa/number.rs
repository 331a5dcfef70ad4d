//! Integers of any size, without the error that OpenSSL returns when there is no memory.

use openssl::bn::{BigNum, BigNumContext};
use rand_core::CryptoRng;
use std::cmp::Ordering;
use std::fmt;
use zeroize::Zeroizing;

const MEMORY: &str = "OpenSSL refuses this operation only when it has no memory";

/// A signed integer; public.
pub(crate) struct Number(BigNum);

/// An integer that nobody may learn: exponentiation with it takes the same time for every value of
/// its length, and dropping it overwrites it.
pub(crate) struct SecretNumber(Number);

impl Number {
    pub(crate) fn from_u32(value: u32) -> Self {
        Self(BigNum::from_u32(value).expect(MEMORY))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(BigNum::from_slice(bytes).expect(MEMORY))
    }

    /// Big-endian, in at least `len` bytes; `len` must suffice.
    pub(crate) fn to_bytes(&self, len: usize) -> Vec<u8> {
        let len = i32::try_from(len).expect("lengths are bounded by the key sizes");
        self.0.to_vec_padded(len).expect("the caller knows the length")
    }

    /// A uniform number below `bound`.
    pub(crate) fn random_below(bound: &Self, rng: &mut impl CryptoRng) -> Self {
        let bits = bound.bits();
        loop {
            let candidate = Self::random_bits(bits, rng);
            if candidate < *bound {
                return candidate;
            }
        }
    }

    /// A uniform number of at most `bits` bits.
    pub(crate) fn random_bits(bits: usize, rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new(vec![0; bits.div_ceil(8)]);
        rng.fill_bytes(&mut bytes);
        if !bits.is_multiple_of(8) {
            bytes[0] &= (1 << (bits % 8)) - 1;
        }
        Self::from_bytes(&bytes)
    }

    pub(crate) fn copy(&self) -> Self {
        Self(self.0.to_owned().expect(MEMORY))
    }

    pub(crate) fn bits(&self) -> usize {
        self.0.num_bits() as usize
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.num_bits() == 0
    }

    pub(crate) fn is_one(&self) -> bool {
        *self == Self::from_u32(1)
    }

    pub(crate) fn is_odd(&self) -> bool {
        self.0.is_odd()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.0.is_negative()
    }

    pub(crate) fn negated(mut self) -> Self {
        let negative = self.0.is_negative();
        self.0.set_negative(!negative);
        self
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self::made(|r| r.checked_add(&self.0, &other.0))
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self::made(|r| r.checked_sub(&self.0, &other.0))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut cx = context();
        Self::made(|r| r.checked_mul(&self.0, &other.0, &mut cx))
    }

    /// The quotient of an exact division.
    pub(crate) fn divided_by(&self, other: &Self) -> Self {
        let mut cx = context();
        let mut rest = BigNum::new().expect(MEMORY);
        let quotient = Self::made(|r| r.div_rem(&mut rest, &self.0, &other.0, &mut cx));
        assert!(rest.num_bits() == 0, "only exact divisions are asked for");
        quotient
    }

    /// The remainder, from 0 to `modulus - 1`.
    pub(crate) fn modulo(&self, modulus: &Self) -> Self {
        let mut cx = context();
        Self::made(|r| r.nnmod(&self.0, &modulus.0, &mut cx))
    }

    pub(crate) fn modulo_word(&self, modulus: u32) -> u32 {
        self.0.mod_word(modulus).expect("the modulus is not zero") as u32
    }

    pub(crate) fn gcd(&self, other: &Self) -> Self {
        let mut cx = context();
        Self::made(|r| r.gcd(&self.0, &other.0, &mut cx))
    }

    pub(crate) fn times_modulo(&self, other: &Self, modulus: &Self) -> Self {
        let mut cx = context();
        Self::made(|r| r.mod_mul(&self.0, &other.0, &modulus.0, &mut cx))
    }

    /// `self ^ exponent`; the exponent is public and not negative.
    pub(crate) fn power(&self, exponent: &Self, modulus: &Self) -> Self {
        let mut cx = context();
        Self::made(|r| r.mod_exp(&self.0, &exponent.0, &modulus.0, &mut cx))
    }

    /// `self ^ exponent` in a time that depends on the exponent's length only.
    pub(crate) fn secret_power(&self, exponent: &SecretNumber, modulus: &Self) -> Self {
        self.power(&exponent.0, modulus)
    }

    /// The inverse, if there is one.
    pub(crate) fn inverse(&self, modulus: &Self) -> Option<Self> {
        let mut cx = context();
        let mut inverse = BigNum::new().expect(MEMORY);
        inverse.mod_inverse(&self.0, &modulus.0, &mut cx).ok()?;
        Some(Self(inverse))
    }

    /// Is it prime, but for a chance below 2^-128?
    pub(crate) fn is_prime(&self) -> bool {
        // OpenSSL raises the number of rounds to 64 or 128 by itself.
        self.0.is_prime(64, &mut context()).expect(MEMORY)
    }

    /// Forgets all but the lowest `bits` bits.
    pub(crate) fn keep_bits(&mut self, bits: usize) {
        if self.bits() > bits {
            self.0.mask_bits(bits as i32).expect(MEMORY);
        }
    }

    pub(crate) fn set_bit(&mut self, bit: usize) {
        self.0.set_bit(bit as i32).expect(MEMORY);
    }

    /// Overwrites it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn made<E: fmt::Debug>(make: impl FnOnce(&mut BigNum) -> Result<(), E>) -> Self {
        let mut result = BigNum::new().expect(MEMORY);
        make(&mut result).expect(MEMORY);
        Self(result)
    }
}

impl SecretNumber {
    pub(crate) fn new(number: Number) -> Self {
        let mut number = number;
        number.0.set_const_time();
        Self(number)
    }

    /// The number itself, for arithmetic whose result is masked or secret again.
    pub(crate) fn expose(&self) -> &Number {
        &self.0
    }
}

impl Drop for SecretNumber {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for SecretNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn context() -> BigNumContext {
    BigNumContext::new().expect(MEMORY)
}
