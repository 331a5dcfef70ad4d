//! Ed25519 signatures: made as everybody makes them, verified in batches.
//!
//! # Promise
//! - Every honest server gives the same verdict on a signature, whatever else is in the batch.
//! - What any standard signer signs verifies; nobody without the key makes a signature.
//!
//! # Rules
//! - E1. Verification is *cofactored*, `8(sB - R - kA) = 0`, for one signature and for many alike.
//!   Without the factor 8 a corrupt signer could add a point of small order to its `R`: such a
//!   signature fails alone, but passes in one batch of eight, and honest servers would disagree
//!   about who misbehaved. With it, what passes alone passes in every batch, and what fails alone
//!   passes in a batch with probability 2^-128, whoever chose it.
//! - E2. Refused at once: `s` not below the group order, an encoding of `R` or `A` that is not
//!   canonical, and `R` or `A` of small order. No honest signer makes them; with them one key
//!   could sign everything at once, or one signature could be written in two ways.
//! - E3. The coefficients of a batch are derived from all of it, so that whoever chose the
//!   signatures chose before the coefficients were known.
//! - E4. A batch that fails is halved until the bad ones are found: `b` bad ones among `m` cost at
//!   most about `2 b log m` checks.
//!
//! # Sources
//! Bernstein et al. 2012; RFC 8032 section 5.1.7 permits the cofactored equation; Chalkias,
//! Garillot, Nikolaenko 2020 on why batches must use it.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{EdwardsPoint, Scalar, constants};
use maftia_base::canary;
use maftia_base::wire::wire_struct;
use sha2::{Digest as _, Sha512};
use std::collections::BTreeMap;

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ed25519Signature(pub [u8; 64]);

wire_struct!(Ed25519Signature { 0 });

/// A public key that passed the checks of (E2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    bytes: [u8; 32],
    negated: EdwardsPoint,
}

impl PublicKey {
    /// Decodes a key; `None` if no honest signer has such a key.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        let point = decompress(bytes)?;
        Some(Self { bytes, negated: -point })
    }
}

/// A signature taken apart, ready for the equation.
pub(crate) struct Check {
    key: PublicKey,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Check {
    /// Takes a signature apart; `None` if it is refused at once. (E2)
    pub(crate) fn new(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> Option<Self> {
        let (r_bytes, s_bytes) = halves(signature);
        let s = Option::from(Scalar::from_canonical_bytes(s_bytes))?;
        let r = decompress(r_bytes)?;
        let mut hash = Sha512::new();
        hash.update(r_bytes);
        hash.update(key.bytes);
        hash.update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        Some(Self { key: *key, r, s, k })
    }

    fn holds(&self) -> bool {
        let expected =
            EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &self.key.negated, &self.s);
        (expected - self.r).mul_by_cofactor().is_identity()
    }
}

/// Verdicts, in order; `None` is a signature that was refused at once.
pub(crate) fn verify(checks: &[Option<Check>]) -> Vec<bool> {
    let mut verdicts = vec![false; checks.len()];
    let candidates: Vec<(usize, &Check)> =
        checks.iter().enumerate().filter_map(|(i, check)| Some((i, check.as_ref()?))).collect();
    verify_part(&candidates, &mut verdicts);
    canary!("crypto-signatures-unchecked", verdicts.fill(true));
    verdicts
}

/// Marks those that hold. (E4)
fn verify_part(part: &[(usize, &Check)], verdicts: &mut [bool]) {
    match part {
        [] => {}
        [(index, check)] => verdicts[*index] = check.holds(),
        _ if all_hold(part) => part.iter().for_each(|(index, _)| verdicts[*index] = true),
        _ => {
            if canary!("crypto-one-bad-signature-spoils-all", true, false) {
                return;
            }
            let (left, right) = part.split_at(part.len() / 2);
            verify_part(left, verdicts);
            verify_part(right, verdicts);
        }
    }
}

/// One equation for all of them. (E1)
fn all_hold(part: &[(usize, &Check)]) -> bool {
    let mut transcript = blake3::Hasher::new_derive_key("maftia ed25519 batch");
    for (_, check) in part {
        // k binds R, the key and the message. (E3)
        transcript.update(check.k.as_bytes()).update(check.s.as_bytes());
    }
    let mut coefficients = transcript.finalize_xof();
    let (mut base, mut keys) = (Scalar::ZERO, BTreeMap::new());
    let (mut scalars, mut points) = (Vec::new(), Vec::new());
    for (_, check) in part {
        let mut half = [0; 16];
        coefficients.fill(&mut half);
        let z = Scalar::from(u128::from_le_bytes(half));
        base += z * check.s;
        let (weight, _) = keys.entry(check.key.bytes).or_insert((Scalar::ZERO, check.key.negated));
        *weight += z * check.k;
        scalars.push(-z);
        points.push(check.r);
    }
    for (weight, negated) in keys.into_values() {
        scalars.push(weight);
        points.push(negated);
    }
    scalars.push(base);
    points.push(constants::ED25519_BASEPOINT_POINT);
    EdwardsPoint::vartime_multiscalar_mul(scalars, points).mul_by_cofactor().is_identity()
}

/// A point of a signature or key, if an honest signer may have sent it. (E2)
fn decompress(bytes: [u8; 32]) -> Option<EdwardsPoint> {
    let is_canonical =
        bytes[31] & 0x7f != 0x7f || bytes[0] < 0xed || bytes[1..31].iter().any(|b| *b != 0xff);
    // A zero x with its sign bit set is the other way to write two points; both are of small order.
    let point = CompressedEdwardsY(bytes).decompress().filter(|_| is_canonical)?;
    (!point.is_small_order()).then_some(point)
}

fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&signature[..32]);
    s.copy_from_slice(&signature[32..]);
    (r, s)
}

#[cfg(test)]
mod tests;
