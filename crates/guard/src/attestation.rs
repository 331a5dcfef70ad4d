//! What a key guard can say about itself.

/// What a back end can say about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attestation {
    /// Nothing: all that is known of this guard is that somebody has its key.
    Nothing {
        /// Why, for whoever reads it.
        why: &'static str,
    },
    /// A TPM's quote of its PCRs; `maftia_guard::quote` checks it.
    TpmQuote(TpmQuote),
}

/// What a TPM signed about its PCRs. Nothing in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmQuote {
    /// The `TPMS_ATTEST` structure that was signed, as the TPM encodes it.
    pub quoted: Vec<u8>,
    /// The two numbers of its ECDSA signature over P-256 with SHA-256, 32 bytes each, big-endian.
    pub signature: [u8; 64],
}
