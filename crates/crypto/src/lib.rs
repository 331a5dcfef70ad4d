//! Cryptography for groups in which some servers are corrupt. No I/O, no clock.
#![forbid(unsafe_code)]

mod certificate;
mod corrupt;
#[cfg(feature = "ideal")]
pub mod ideal;
mod share;
mod suite;

pub use certificate::{Ballot, Certificate, Claim};
pub use corrupt::Corrupt;
#[cfg(feature = "ideal")]
pub use ideal::{IdealKeyring, IdealSuite};
pub use suite::{
    ClientClaim, ClientKey, ClientSignature, Done, Element, HashAlgorithm, KeyId,
    SIGNATURE_BYTES_MAX, Signed, SignedShare, SigningInput, Suite, Work,
};
