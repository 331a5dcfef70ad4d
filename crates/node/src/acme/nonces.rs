//! Where the nonces of a front end come from.

use maftia_base::Party;
use maftia_services::ca::{Nonce, NonceKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes nonces that the group believes.
pub trait Nonces: Send + Sync + 'static {
    /// One that was never made before, as it stands in `Replay-Nonce`.
    fn fresh(&self) -> String;
}

/// Nonces that a server signs.
pub struct SignedNonces {
    base: String,
    server: Party,
    key: Ed25519KeyPair,
    random: SystemRandom,
}

impl fmt::Debug for SignedNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedNonces({}, secret)", self.server)
    }
}

impl SignedNonces {
    /// Those of `server` for the authority with this base URL, signed with the key that has this
    /// seed.
    pub fn new(base: impl Into<String>, server: Party, seed: &[u8; 32]) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        Self { base: base.into(), server, key, random: SystemRandom::new() }
    }

    /// The key that the policy of the group must have for this server.
    pub fn key(&self) -> NonceKey {
        let key = self.key.public_key().as_ref().try_into();
        NonceKey(key.expect("32 bytes"))
    }
}

impl Nonces for SignedNonces {
    fn fresh(&self) -> String {
        let mut random = [0; 16];
        self.random.fill(&mut random).expect("the system has randomness");
        // A clock before 1970 makes nonces that are too old, and the group says so.
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sign = |message: &[u8]| {
            let signature = self.key.sign(message);
            signature.as_ref().try_into().expect("64 bytes")
        };
        Nonce::signed(&self.base, self.server, at, random, sign).text()
    }
}
