use crate::wire::{Encode, wire_struct};
use std::fmt;

/// A BLAKE3 digest: 32 bytes, 128-bit collision resistance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

wire_struct!(Digest { 0 });

impl Digest {
    /// Digest of `bytes` under a domain; digests of different domains never collide.
    ///
    /// `domain` must be a constant that is globally unique to its use.
    pub fn of(domain: &'static str, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(domain.len() as u64).to_le_bytes());
        hasher.update(domain.as_bytes());
        hasher.update(bytes);
        Self(*hasher.finalize().as_bytes())
    }

    /// Digest of the encoding of `value` under a domain.
    pub fn of_encoded(domain: &'static str, value: &impl Encode) -> Self {
        Self::of(domain, &value.encode())
    }

    /// The first eight bytes, for logs and labels.
    pub fn short(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.short())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
