//! Threshold RSA: one signature under a key that nobody holds, in one round.
//!
//! # Promise
//! - Unforgeability: an unqualified set signs nothing for which no other party gave a share (if
//!   RSA is hard, in the random oracle model).
//! - Robustness: a share that carries a proof is recognized if it is not its owner's.
//! - What comes out is an ordinary PKCS#1 v1.5 signature, and has been verified before.
//!
//! # Model
//! A trusted dealer; a modulus `n = (2p'+1)(2q'+1)` of safe primes. Static corruption.
//!
//! # Rules
//! - R1. The exponent `d = 1/e mod p'q'` is shared over the formula modulo `p'q'`. `D` is the
//!   common factor of [`sharing::integer`]; a leaf's share of the signature on `x` is `x^(2D s)`.
//! - R2. To combine: raise the shares to twice their coefficients, giving `w = x^(4D^2 d)`. As
//!   `gcd(e, 4D^2) = 1` there are `a`, `b` with `4D^2 a + e b = 1`, and `w^a x^b` is the signature.
//! - R3. Combine first and check once. Only if that fails look at proofs: drop who is proven wrong,
//!   combine what is proven right, and name those who gave no proof.
//! - R4. The proof: the squared share has to `x^(4D)` the exponent that the leaf's verification key
//!   has to the group's base `v`. Its nonce is derived from the share and the statement.
//! - R5. Shares are modulo `p'q'` when dealt; a refresh adds integers to them, so their length is a
//!   field of the key, and proofs are sized by it.
//!
//! # Bounds
//! One full-length exponentiation a leaf for a share, none for combining; two more for a proof,
//! two and two short ones for its check.
//!
//! # Sources
//! Shoup, "Practical threshold signatures", Eurocrypt 2000, first scheme. Deviations: (a) general
//! formulas with a common factor `D` instead of `n!`; (b) the multiplication by `2D` is done once
//! on `x`, in public; (c) deterministic nonces; (d) proofs only on demand (R3).

pub(crate) mod encoding;
pub(crate) mod keygen;
pub(crate) mod number;
mod proof;

use crate::sharing::{self, integer};
use crate::{SIGNATURE_BYTES_MAX, SigningInput};
use bytes::Bytes;
use maftia_base::wire::{Blob, List, wire_struct};
use maftia_base::{Digest, Formula, LEAVES_MAX, Party, PartySet};
use number::{Number, SecretNumber};
use proof::ShareProof;

/// A party's share of a signature, as it comes from the wire: nothing in it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RsaShare {
    parts: List<Blob<SIGNATURE_BYTES_MAX>, LEAVES_MAX>,
    proofs: List<ShareProof, LEAVES_MAX>,
}

wire_struct!(RsaShare { parts, proofs });

/// The public part of one threshold key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RsaKeyFile {
    pub(crate) modulus: Blob<SIGNATURE_BYTES_MAX>,
    pub(crate) exponent: u32,
    /// Length of the longest share, in bits. (R5)
    pub(crate) share_bits: u32,
    pub(crate) base: Blob<SIGNATURE_BYTES_MAX>,
    pub(crate) verification: List<Blob<SIGNATURE_BYTES_MAX>, LEAVES_MAX>,
}

wire_struct!(RsaKeyFile { modulus, exponent, share_bits, base, verification });

/// The public part of one threshold key, ready to compute with.
pub(crate) struct RsaPublic {
    formula: Formula,
    by_party: Vec<Vec<usize>>,
    modulus: Number,
    /// Length of the modulus in bytes.
    len: usize,
    exponent: Number,
    share_bits: usize,
    base: Number,
    verification: Vec<Number>,
    /// `2D` and `4D`.
    twice_common: Number,
    four_common: Number,
    /// `a`, and `-b`, which is positive. (R2)
    lift: Number,
    drop: Number,
    digest: Digest,
}

/// How a combination ended.
pub(crate) struct Combined {
    pub(crate) signature: Option<Bytes>,
    /// Positions of shares whose proof fails.
    pub(crate) bad: Vec<usize>,
    /// Positions of shares without proof, if the optimistic combination failed.
    pub(crate) unproven: Vec<usize>,
}

impl RsaPublic {
    /// From a key file; `None` if it is inconsistent in itself or does not fit the formula.
    pub(crate) fn new(formula: Formula, n: usize, file: &RsaKeyFile) -> Option<Self> {
        use maftia_base::wire::Wire;
        let modulus = Number::from_bytes(&file.modulus);
        let one = Number::from_u32(1);
        let is_unit = |number: &Number| *number < modulus && number.gcd(&modulus).is_one();
        let base = Number::from_bytes(&file.base);
        let verification: Vec<_> =
            file.verification.iter().map(|bytes| Number::from_bytes(bytes)).collect();
        let share_bits = file.share_bits as usize;
        let is_sound = modulus.is_odd()
            && (MODULUS_BITS_MIN..=8 * SIGNATURE_BYTES_MAX).contains(&modulus.bits())
            && (modulus.bits()..=SHARE_BITS_MAX).contains(&share_bits)
            && verification.len() == formula.leaves().len()
            && is_unit(&base)
            && verification.iter().all(is_unit);
        let common = integer::common_factor(&formula);
        let exponent = Number::from_u32(file.exponent);
        let four = common.times(&common).times(&Number::from_u32(4));
        if !is_sound || exponent.bits() < 2 || !exponent.gcd(&four).is_one() {
            return None;
        }
        let lift = four.inverse(&exponent)?; // R2
        let drop = lift.times(&four).minus(&one).divided_by(&exponent);
        Some(Self {
            by_party: sharing::leaves_by_party(&formula, n),
            formula,
            len: modulus.bits().div_ceil(8),
            modulus,
            exponent,
            share_bits,
            base,
            verification,
            twice_common: common.times(&Number::from_u32(2)),
            four_common: common.times(&Number::from_u32(4)),
            lift,
            drop,
            digest: Digest::of("maftia rsa key", &file.to_wire()),
        })
    }

    /// This party's share; `secrets` are those of its leaves. `None` if the input is malformed.
    pub(crate) fn share(
        &self,
        input: &SigningInput,
        me: Party,
        secrets: &[SecretNumber],
        with_proof: bool,
    ) -> Option<RsaShare> {
        let message = encoding::encode(input, self.len)?;
        let raised = message.power(&self.twice_common, &self.modulus); // R1
        let (mut parts, mut proofs) = (Vec::new(), Vec::new());
        for (leaf, secret) in self.by_party[me.index()].iter().zip(secrets) {
            let part = raised.secret_power(secret, &self.modulus);
            if with_proof {
                proofs.push(self.prove(*leaf, &message, &part, secret));
            }
            parts.push(self.blob(&part));
        }
        let parts = List::new(parts).expect("a formula has a bounded number of leaves");
        let proofs = List::new(proofs).expect("as many as parts");
        Some(RsaShare { parts, proofs })
    }

    /// Combines optimistically, and looks for the liars if that fails. (R3)
    pub(crate) fn combine(&self, input: &SigningInput, shares: &[(Party, &RsaShare)]) -> Combined {
        let nothing = Combined { signature: None, bad: Vec::new(), unproven: Vec::new() };
        let Some(message) = encoding::encode(input, self.len) else {
            return nothing;
        };
        let all: PartySet = shares.iter().map(|(party, _)| *party).collect();
        if !self.formula.is_qualified(all) {
            return nothing;
        }
        if let Some(signature) = self.try_combine(&message, shares) {
            return Combined { signature: Some(signature), ..nothing };
        }
        let (mut good, mut bad, mut unproven) = (Vec::new(), Vec::new(), Vec::new());
        for (position, (party, share)) in shares.iter().enumerate() {
            match self.judge(&message, *party, share) {
                Some(true) => good.push((*party, *share)),
                Some(false) => bad.push(position),
                None => unproven.push(position),
            }
        }
        Combined { signature: self.try_combine(&message, &good), bad, unproven }
    }

    /// Is the share right? `None` if it carries no proof.
    pub(crate) fn is_good(
        &self,
        input: &SigningInput,
        party: Party,
        share: &RsaShare,
    ) -> Option<bool> {
        self.judge(&encoding::encode(input, self.len)?, party, share)
    }

    /// Can this be signed at all?
    pub(crate) fn is_input(&self, input: &SigningInput) -> bool {
        encoding::encode(input, self.len).is_some()
    }

    /// Do these secrets belong to this party's verification keys?
    pub(crate) fn matches(&self, party: Party, secrets: &[SecretNumber]) -> bool {
        let leaves = &self.by_party[party.index()];
        leaves.len() == secrets.len()
            && leaves.iter().zip(secrets).all(|(leaf, secret)| {
                secret.expose().bits() <= self.share_bits
                    && self.base.secret_power(secret, &self.modulus) == self.verification[*leaf]
            })
    }

    /// Is this a signature on `input`, encoded as PKCS #1 version 1.5 has it?
    pub(crate) fn verify(&self, input: &SigningInput, signature: &[u8]) -> bool {
        let Some(message) = encoding::encode(input, self.len) else { return false };
        let number = Number::from_bytes(signature);
        let reduced = number.modulo(&self.modulus) == number;
        signature.len() == self.len && reduced && self.is_signature(&number, &message)
    }

    /// Is this the encoding of a signature on the message?
    fn is_signature(&self, signature: &Number, message: &Number) -> bool {
        signature.power(&self.exponent, &self.modulus) == *message
    }

    fn judge(&self, message: &Number, party: Party, share: &RsaShare) -> Option<bool> {
        let Some(parts) = self.parts_of(party, share) else {
            return Some(false); // No honest server sends a wrong number of parts.
        };
        if share.proofs.is_empty() {
            return None;
        }
        let leaves = &self.by_party[party.index()];
        let all_hold = share.proofs.len() == parts.len()
            && leaves
                .iter()
                .zip(&parts)
                .zip(share.proofs.iter())
                .all(|((leaf, part), proof)| self.is_proven(*leaf, message, part, proof));
        Some(all_hold)
    }

    /// The parts as numbers; `None` if they are not as many as the party's leaves, or one is not
    /// the encoding of a number below the modulus.
    fn parts_of(&self, party: Party, share: &RsaShare) -> Option<Vec<Number>> {
        let is_complete = sharing::is_holder(&self.by_party, party)
            && share.parts.len() == self.by_party[party.index()].len();
        if !is_complete {
            return None;
        }
        let number = |bytes: &Blob<SIGNATURE_BYTES_MAX>| {
            let number = Number::from_bytes(bytes);
            let is_canonical = bytes.len() == self.len && number < self.modulus;
            (is_canonical && !number.is_zero()).then_some(number)
        };
        share.parts.iter().map(number).collect()
    }

    /// The signature, if these shares make one that verifies. (R2)
    fn try_combine(&self, message: &Number, shares: &[(Party, &RsaShare)]) -> Option<Bytes> {
        let mut by_leaf: Vec<Option<Number>> = Vec::new();
        by_leaf.resize_with(self.verification.len(), || None);
        let mut set = PartySet::EMPTY;
        for (party, share) in shares {
            let Some(parts) = self.parts_of(*party, share) else { continue };
            set.insert(*party);
            for (leaf, part) in self.by_party[party.index()].iter().zip(parts) {
                by_leaf[*leaf] = Some(part);
            }
        }
        let one = Number::from_u32(1);
        let (mut above, mut below) = (one.copy(), one.copy());
        for (leaf, coefficient) in integer::recombination(&self.formula, set)? {
            let part = by_leaf[leaf].as_ref().expect("the leaf's owner is in the set");
            let is_below = coefficient.is_negative();
            let twice = coefficient.times(&Number::from_u32(2));
            let twice = if is_below { twice.negated() } else { twice };
            let factor = part.power(&twice, &self.modulus);
            let side = if is_below { &mut below } else { &mut above };
            *side = side.times_modulo(&factor, &self.modulus);
        }
        let numerator = above.power(&self.lift, &self.modulus);
        let denominator = below
            .power(&self.lift, &self.modulus)
            .times_modulo(&message.power(&self.drop, &self.modulus), &self.modulus);
        let signature = numerator.times_modulo(&denominator.inverse(&self.modulus)?, &self.modulus);
        self.is_signature(&signature, message).then(|| Bytes::from(signature.to_bytes(self.len)))
    }

    fn blob(&self, number: &Number) -> Blob<SIGNATURE_BYTES_MAX> {
        Blob::new(number.to_bytes(self.len)).expect("no longer than the longest modulus")
    }
}

impl RsaShare {
    /// Does it claim to prove that it is right?
    pub(crate) fn is_with_proof(&self) -> bool {
        !self.proofs.is_empty()
    }

    /// The same share with a part that is wrong.
    pub(crate) fn spoiled(self) -> Self {
        let mut parts = self.parts.into_vec();
        for part in &mut parts {
            let mut bytes = part.to_vec();
            *bytes.last_mut().expect("a part is as long as the modulus") ^= 1;
            *part = Blob::new(bytes).expect("as long as before");
        }
        Self { parts: List::new(parts).expect("as many as before"), proofs: self.proofs }
    }
}

/// Shortest modulus; below, RSA is no longer hard.
pub(crate) const MODULUS_BITS_MIN: usize = 2048;

/// Longest share: that of the longest modulus, with room for many refreshes. (R5)
pub(crate) const SHARE_BITS_MAX: usize = 8 * SIGNATURE_BYTES_MAX + 1024;

#[cfg(test)]
mod tests;
