//! Checks what a TPM says about the machine that a key guard runs on.
//!
//! # Promise
//! A quote that is accepted was made by the TPM that has the reference's attestation key, after the
//! challenge was drawn, by software that named the reference's guard, while the quoted registers
//! had the reference's values.
//!
//! # Rules
//! - Q1. Only a structure that a TPM makes itself is taken: an attestation key is *restricted*, so
//!   that it signs nothing else that begins with the TPM's magic.
//! - Q2. What the TPM was told to include is a digest of the challenge and the guard's public key:
//!   a quote for one challenge or guard is none for another.
//! - Q3. The registers are exactly those of the reference, of the SHA-256 bank.
//! - Q4. Every byte of the structure is accounted for, and lengths are read from it only within it.
//!
//! # Bounds
//! A quote says how a machine was booted, if its firmware measures honestly, and nothing of what
//! happened to it since. That the attestation key is in a TPM at all is for whoever enrols it to
//! see: there is no chain of certificates here. Clock and counters of the TPM are reported and
//! not judged.
//!
//! # Sources
//! TCG, Trusted Platform Module Library 2.0, part 2, `TPMS_ATTEST` and `TPMS_QUOTE_INFO`; read here
//! by hand, so that who checks quotes needs no TPM and no system library.

use crate::attestation::TpmQuote;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use thiserror::Error;

/// What a quote is compared with; made when the guard is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The P-256 public key of the TPM's attestation key, as an uncompressed point (SEC 1).
    pub attestation_key: [u8; 65],
    /// Which registers are quoted, ascending.
    pub pcrs: Vec<u8>,
    /// SHA-256 of their values, one after the other.
    pub pcr_digest: [u8; 32],
    /// The guard's public key.
    pub guard: [u8; 32],
}

/// What the TPM says beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Milliseconds that the TPM has been running, over all its life.
    pub clock_ms: u64,
    /// How often it was reset.
    pub resets: u32,
    /// How often it was restarted or resumed since.
    pub restarts: u32,
    /// That its clock has never been ahead of what it says.
    pub is_clock_safe: bool,
}

/// Why a quote is refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuoteError {
    /// The reference has no point of the curve.
    #[error("the reference's attestation key is no point of P-256: enrol the guard again")]
    BadReference,
    /// Not the signature of the reference's key.
    #[error("the quote is not signed by the reference's attestation key")]
    WrongSignature,
    /// Not what a TPM gives for a quote. (Q1, Q4)
    #[error("what was signed is no quote as a TPM makes it")]
    NotAQuote,
    /// Made for another challenge or guard. (Q2)
    #[error("the quote answers another challenge, or speaks for another guard")]
    OtherChallenge,
    /// Made of other registers. (Q3)
    #[error("the quote is of other registers than the reference's")]
    OtherRegisters,
    /// The registers have other values: other software was booted.
    #[error("the quoted registers have other values than the reference's: other software runs")]
    OtherValues,
}

/// Accepts a quote that answers `challenge` and fits the reference.
pub fn verify(
    quote: &TpmQuote,
    challenge: &[u8; 32],
    reference: &Reference,
) -> Result<Quoted, QuoteError> {
    let key = VerifyingKey::from_sec1_bytes(&reference.attestation_key)
        .map_err(|_| QuoteError::BadReference)?;
    let signature =
        Signature::from_slice(&quote.signature).map_err(|_| QuoteError::WrongSignature)?;
    key.verify(&quote.quoted, &signature).map_err(|_| QuoteError::WrongSignature)?;
    let attest = Attest::read(&quote.quoted).ok_or(QuoteError::NotAQuote)?;
    if attest.extra != qualification(challenge, &reference.guard) {
        return Err(QuoteError::OtherChallenge);
    }
    if attest.pcrs != reference.pcrs {
        return Err(QuoteError::OtherRegisters);
    }
    if attest.digest != reference.pcr_digest {
        return Err(QuoteError::OtherValues);
    }
    Ok(attest.quoted)
}

/// What the TPM includes in the quote. (Q2)
pub(crate) fn qualification(challenge: &[u8; 32], guard: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("maftia guard quote");
    hasher.update(challenge).update(guard);
    *hasher.finalize().as_bytes()
}

/// The parts of a `TPMS_ATTEST` that matter, borrowed from it.
struct Attest<'a> {
    extra: &'a [u8],
    quoted: Quoted,
    pcrs: Vec<u8>,
    digest: &'a [u8],
}

impl<'a> Attest<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        if rest.u32()? != GENERATED || rest.u16()? != QUOTE {
            return None;
        }
        let _signer = rest.sized()?;
        let extra = rest.sized()?;
        let quoted = Quoted {
            clock_ms: rest.u64()?,
            resets: rest.u32()?,
            restarts: rest.u32()?,
            is_clock_safe: rest.array::<1>()? == [1],
        };
        let _firmware = rest.u64()?;
        let pcrs = rest.registers()?;
        let digest = rest.sized()?;
        rest.0.is_empty().then_some(Self { extra, quoted, pcrs, digest })
    }
}

/// Big-endian, as all of a TPM's structures. (Q4)
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// The registers of one selection of the SHA-256 bank. (Q3)
    fn registers(&mut self) -> Option<Vec<u8>> {
        if self.u32()? != 1 || self.u16()? != SHA_256 {
            return None;
        }
        let [len] = self.array()?;
        let bits = self.take(usize::from(len))?;
        let is_set = |pcr: &u8| {
            let byte = bits.get(usize::from(pcr / 8));
            byte.is_some_and(|byte| byte & (1 << (pcr % 8)) != 0)
        };
        (bits.len() <= SELECTION_BYTES_MAX).then(|| (0..u8::MAX).filter(is_set).collect())
    }
}

/// `TPM_GENERATED_VALUE`.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;
/// `TPM_ALG_SHA256`.
const SHA_256: u16 = 0x000b;
/// Most bytes of a selection of registers: there are at most 32 of them.
const SELECTION_BYTES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;

    const CHALLENGE: [u8; 32] = [5; 32];

    fn key() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).unwrap()
    }

    fn reference() -> Reference {
        let point = key().verifying_key().to_sec1_point(false);
        let attestation_key = point.as_bytes().try_into().unwrap();
        Reference { attestation_key, pcrs: vec![0, 7, 16], pcr_digest: [3; 32], guard: [4; 32] }
    }

    /// What an honest TPM signs.
    fn honest() -> Vec<u8> {
        let mut bytes = [&GENERATED.to_be_bytes()[..], &QUOTE.to_be_bytes()].concat();
        bytes.extend([0, 2, 8, 8, 0, 32]);
        bytes.extend(qualification(&CHALLENGE, &[4; 32]));
        bytes.extend(1234_u64.to_be_bytes());
        bytes.extend([0, 0, 0, 5, 0, 0, 0, 6, 1]);
        bytes.extend([9; 8]);
        bytes.extend([0, 0, 0, 1, 0, 0x0b, 3, 0b1000_0001, 0, 1, 0, 32]);
        bytes.extend([3; 32]);
        bytes
    }

    fn signed(quoted: Vec<u8>) -> TpmQuote {
        let signature: Signature = key().sign(&quoted);
        TpmQuote { quoted, signature: signature.to_bytes().into() }
    }

    fn check(quoted: Vec<u8>) -> Result<Quoted, QuoteError> {
        verify(&signed(quoted), &CHALLENGE, &reference())
    }

    #[test]
    fn an_honest_quote_is_accepted_and_says_when_it_was_made() {
        let quoted = Quoted { clock_ms: 1234, resets: 5, restarts: 6, is_clock_safe: true };
        assert_eq!(check(honest()), Ok(quoted));
    }

    #[test]
    fn a_quote_for_another_challenge_or_guard_is_refused() {
        let quote = signed(honest());
        let other = verify(&quote, &[6; 32], &reference());
        assert_eq!(other, Err(QuoteError::OtherChallenge));
        let other = verify(&quote, &CHALLENGE, &Reference { guard: [8; 32], ..reference() });
        assert_eq!(other, Err(QuoteError::OtherChallenge));
    }

    #[test]
    fn a_quote_of_other_registers_or_values_is_refused() {
        let mut fewer = honest();
        let at = fewer.len() - 37;
        fewer[at] = 1;
        assert_eq!(check(fewer), Err(QuoteError::OtherRegisters));
        let mut other = honest();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(check(other), Err(QuoteError::OtherValues));
    }

    #[test]
    fn a_quote_that_was_altered_or_signed_by_another_is_refused() {
        let honest = signed(honest());
        for at in 0..honest.quoted.len() {
            let mut altered = honest.clone();
            altered.quoted[at] ^= 0x80;
            let refused = verify(&altered, &CHALLENGE, &reference());
            assert_eq!(refused, Err(QuoteError::WrongSignature));
        }
        let mut reference = reference();
        let other = SigningKey::from_slice(&[8; 32]).unwrap();
        let point = other.verifying_key().to_sec1_point(false);
        reference.attestation_key.copy_from_slice(point.as_bytes());
        assert_eq!(verify(&honest, &CHALLENGE, &reference), Err(QuoteError::WrongSignature));
        reference.attestation_key = [0; 65];
        assert_eq!(verify(&honest, &CHALLENGE, &reference), Err(QuoteError::BadReference));
    }

    /// Even what the right key signed: cut anywhere, extended, and with every byte changed.
    #[test]
    fn whatever_is_signed_is_refused_and_nothing_panics_unless_it_is_a_quote() {
        let honest = honest();
        for len in 0..honest.len() {
            assert_eq!(check(honest[..len].to_vec()), Err(QuoteError::NotAQuote));
        }
        assert_eq!(check([&honest[..], &[0]].concat()), Err(QuoteError::NotAQuote));
        for at in 0..honest.len() {
            for value in [0x00, 0x01, 0x7f, 0xff] {
                let mut altered = honest.clone();
                altered[at] = value;
                let _ = check(altered);
            }
        }
        let mut time = honest;
        time[5] = 0x19;
        assert_eq!(check(time), Err(QuoteError::NotAQuote));
    }
}
