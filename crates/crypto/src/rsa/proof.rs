//! Proofs that a share is right, made when a combination has failed.

use super::number::{Number, SecretNumber};
use super::{RsaPublic, SHARE_BITS_MAX};
use maftia_base::wire::{Blob, wire_struct};

/// Length of a challenge, and by how much a nonce outgrows what it hides.
const CHALLENGE_BITS: usize = 256;

/// Longest response.
const RESPONSE_BYTES_MAX: usize = (SHARE_BITS_MAX + 2 * CHALLENGE_BITS) / 8 + 1;

/// Equality of two discrete logarithms in a group of secret order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShareProof {
    challenge: [u8; 32],
    response: Blob<RESPONSE_BYTES_MAX>,
}

wire_struct!(ShareProof { challenge, response });

impl RsaPublic {
    /// Proves that `part` is this leaf's share of the signature on `message`. (R4)
    pub(super) fn prove(
        &self,
        leaf: usize,
        message: &Number,
        part: &Number,
        secret: &SecretNumber,
    ) -> ShareProof {
        let modulus = &self.modulus;
        let raised = message.power(&self.four_common, modulus);
        let nonce = self.nonce(leaf, message, secret);
        let on_base = self.base.secret_power(&nonce, modulus);
        let on_message = raised.secret_power(&nonce, modulus);
        let challenge = self.challenge(leaf, message, part, &on_base, &on_message);
        let product = SecretNumber::new(secret.expose().times(&Number::from_bytes(&challenge)));
        let response = product.expose().plus(nonce.expose());
        let response = response.to_bytes(self.response_len());
        ShareProof { challenge, response: Blob::new(response).expect("bounded by the share") }
    }

    /// Does the proof hold? (R4)
    pub(super) fn is_proven(
        &self,
        leaf: usize,
        message: &Number,
        part: &Number,
        proof: &ShareProof,
    ) -> bool {
        // One length for all: it also bounds the work that a liar can cause.
        if proof.response.len() != self.response_len() {
            return false;
        }
        let modulus = &self.modulus;
        let (response, challenge) =
            (Number::from_bytes(&proof.response), Number::from_bytes(&proof.challenge));
        let commitment = |base: &Number, power: &Number| {
            let shift = power.power(&challenge, modulus).inverse(modulus)?;
            Some(base.power(&response, modulus).times_modulo(&shift, modulus))
        };
        let raised = message.power(&self.four_common, modulus);
        let squared = part.times_modulo(part, modulus);
        let commitments =
            commitment(&self.base, &self.verification[leaf]).zip(commitment(&raised, &squared));
        commitments.is_some_and(|(on_base, on_message)| {
            self.challenge(leaf, message, part, &on_base, &on_message) == proof.challenge
        })
    }

    fn response_len(&self) -> usize {
        (self.share_bits + 2 * CHALLENGE_BITS) / 8 + 1
    }

    /// The same for the same share and message.
    fn nonce(&self, leaf: usize, message: &Number, secret: &SecretNumber) -> SecretNumber {
        let mut hasher = blake3::Hasher::new_derive_key("maftia rsa proof nonce");
        let bytes = zeroize::Zeroizing::new(secret.expose().to_bytes(SHARE_BITS_MAX / 8));
        hasher.update(&bytes).update(&self.digest.0).update(&(leaf as u64).to_le_bytes());
        hasher.update(&message.to_bytes(self.len));
        let bits = self.share_bits + 2 * CHALLENGE_BITS;
        let mut wide = zeroize::Zeroizing::new(vec![0; bits / 8]);
        hasher.finalize_xof().fill(&mut wide);
        SecretNumber::new(Number::from_bytes(&wide))
    }

    fn challenge(
        &self,
        leaf: usize,
        message: &Number,
        part: &Number,
        on_base: &Number,
        on_message: &Number,
    ) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("maftia rsa proof challenge");
        hasher.update(&self.digest.0).update(&(leaf as u64).to_le_bytes());
        let squared = part.times_modulo(part, &self.modulus);
        for number in [message, &squared, on_base, on_message] {
            hasher.update(&number.to_bytes(self.len));
        }
        *hasher.finalize().as_bytes()
    }
}
