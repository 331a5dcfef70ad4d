//! What a corrupt server can do with its own keys: sign shares that are wrong.
//!
//! For simulated adversaries and for the hostile server of the demonstration. It needs the
//! corrupt server's own keyring and so gives nobody a power that a corrupt server has not got.

use crate::{KeyId, SignedShare, SigningInput, Suite};
use maftia_base::Scope;

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
