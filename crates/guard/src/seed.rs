//! What the back ends do that have the key's seed in this process's memory while they are open.

use ed25519_dalek::{Signer, SigningKey};
use maftia_ttcb_api::{BootKeys, Sealed, Statement};

/// An Ed25519 seed.
pub(crate) type Seed = [u8; 32];

/// The public key that belongs to it.
pub(crate) fn public_key(seed: &Seed) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// The keys with its signature. The expanded key is on the stack meanwhile, and overwritten after.
pub(crate) fn seal(seed: &Seed, keys: &BootKeys) -> Sealed<BootKeys> {
    let seal = SigningKey::from_bytes(seed).sign(&keys.digest()).to_bytes();
    Sealed { said: *keys, seal }
}
