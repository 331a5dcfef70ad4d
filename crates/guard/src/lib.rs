//! Key guards: what vouches for the keys that a trusted component makes for itself when it boots.
//!
//! A local trusted component has no key that outlives it. At each boot it makes a key to sign with
//! and a key to agree on keys with ([`BootKeys`]), and whoever deals with it has to know that they
//! are its. A *key guard* holds the one key that lasts: its public key stands in every host's
//! configuration, and it signs the keys of each boot, numbered. It is used when the component
//! boots, for the number and for attestation, and never for a message: a guard that takes 50 ms for
//! a signature is as good as one that takes none.
//!
//! # Promise
//! - **Custody.** Keys are certified only by whoever can open the guard: has its passphrase or key
//!   file, its PIN, or the machine whose measurements it was sealed to.
//! - **Numbering.** Each [`begin_epoch`](KeyGuard::begin_epoch) returns a number greater than all
//!   that were returned before, also over crashes, *unless the guard's state was rolled back*.
//! - **One set of keys.** A guard certifies at most one set of keys for each number.
//! - **Plain speech.** [`attest`](KeyGuard::attest) says nothing that a back end cannot back.
//!
//! # Rules
//! - G1. Keys are certified for the number that was returned last, since the guard was opened, and
//!   no other. Asking for the same keys again gives a certificate again; other keys are refused.
//! - G2. A number is durable before it is returned, as far as the back end knows what is durable.
//! - G3. At most one process has a guard open, where the back end's state can be shared.
//! - G4. What is read back, from a file, token or card, is hostile until it has been checked: it
//!   leads to a [`GuardError`], never to a panic, and every length has a bound.
//!
//! # What a rollback means
//! A guard whose state is put back to an earlier one gives numbers out again. Whoever can do that
//! and can open the guard can boot a second component with a number that was used, and hold its
//! certificate against that of the first. Peers that remember the greatest number they have seen
//! refuse the second; a peer that has forgotten does not. What each back end does about it:
//!
//! | back end | key | number | rolled back by |
//! | --- | --- | --- | --- |
//! | [`mod@file`] | encrypted on disk | in the file, and a mark | who puts back file *and* mark |
//! | `tpm2` | sealed to PCRs | NV counter | nobody; if emulated, who has its state |
//! | `pkcs11` | never leaves the token | a data object | who has the PIN or its storage |
//! | `card` | never leaves the card | in the card | nobody; if emulated, who has its state |
//!
//! # Sources
//! Correia, Verissimo and Neves, "The design of a COTS real-time distributed security kernel"
//! (EDCC 2002): each local component has a key pair that others know to be its. Veronese et al.,
//! "Efficient Byzantine fault tolerance" (2013), which also tries a TPM as the trusted counter.
//! Deviation: the guard certifies a key for each boot and signs no message, because a TPM or card
//! is some thousand times slower than the component beside it.

pub mod attestation;
#[cfg(feature = "card")]
pub mod card;
pub mod error;
pub mod file;
mod life;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
#[cfg(feature = "quote")]
pub mod quote;
mod secret;
mod seed;
mod store;
#[cfg(feature = "tpm2")]
pub mod tpm;

pub use attestation::{Attestation, TpmQuote};
pub use error::GuardError;
pub use file::FileGuard;
pub use secret::Memory;
pub use store::read_secret;

use maftia_ttcb_api::{BootKeys, Sealed};

/// Holds the key that outlives the boots of a trusted component.
pub trait KeyGuard {
    /// Which back end this is, in a word.
    fn name(&self) -> &'static str;

    /// The Ed25519 public key that stands in every host's configuration.
    fn public_key(&self) -> [u8; 32];

    /// Counts a boot, durably: the number is greater than all before, unless the guard's state was
    /// rolled back. (G2)
    fn begin_epoch(&mut self) -> Result<u64, GuardError>;

    /// Signs the keys of this boot, whose number must be the one that was returned last. (G1)
    fn certify(&mut self, keys: &BootKeys) -> Result<Sealed<BootKeys>, GuardError>;

    /// What the back end can say about itself to whoever drew the challenge.
    fn attest(&mut self, challenge: [u8; 32]) -> Result<Attestation, GuardError>;
}
