//! What a corrupt server can do with its own keys: sign shares that are wrong; and without keys:
//! commit to what is no encoding of anything.
//!
//! For simulated adversaries and for the hostile server of the demonstration. It needs the
//! corrupt server's own keyring and so gives nobody a power that a corrupt server has not got.

use crate::{Code, Encoded, KeyId, PIECE_BYTES, SignedShare, SigningInput, Suite, coding};
use maftia_base::Scope;
use maftia_base::wire::Blob;

/// Makes wrong shares and signatures.
pub trait Corrupt: Suite {
    /// A wrong share of a coin, under a signature that holds: evidence once it is checked.
    fn bad_coin_share(keyring: &Self::Keyring, name: Scope) -> SignedShare<Self, Self::CoinShare>;

    /// A wrong share of a threshold signature, under a signature that holds; with a proof that
    /// fails, if a proof is wanted.
    fn bad_signature_share(
        keyring: &Self::Keyring,
        key: KeyId,
        input: &SigningInput,
        with_proof: bool,
    ) -> SignedShare<Self, Self::SignatureShare>;

    /// A signature that holds for nothing.
    fn bad_signature() -> Self::Signature;
}

/// Commits to these pieces, fragment by fragment, as if they encoded a value of `length` bytes.
/// Their number and sizes must be those that such a value has.
pub fn commit_to(code: Code, length: usize, pieces: Vec<Vec<Blob<PIECE_BYTES>>>) -> Encoded {
    coding::commit(code, length, pieces)
}
