//! Cryptography for groups in which some servers are corrupt. No I/O, no clock.
#![forbid(unsafe_code)]

mod attested;
mod certificate;
mod coding;
mod coin;
mod corrupt;
mod deal;
mod ed25519;
#[cfg(feature = "ideal")]
pub mod fixture;
#[cfg(feature = "ideal")]
pub mod ideal;
mod keys;
mod real;
mod rsa;
mod seal;
mod share;
mod sharing;
mod suite;

pub use attested::Attested;
pub use certificate::{Ballot, Certificate, Claim};
pub use coding::{
    CODED_BYTES_MAX, Code, CodedValue, Commitment, Decoded, Encoded, Given, PIECE_BYTES,
    PIECES_MAX, Piece, commitment_of,
};
pub use coin::CoinShare;
pub use corrupt::{Corrupt, commit_to};
pub use deal::{DealError, DealSpec, Progress, RsaSpec, deal};
pub use ed25519::Ed25519Signature;
#[cfg(feature = "ideal")]
pub use ideal::{IdealKeyring, IdealSuite};
pub use keys::{GroupKeys, KeysError, PartyKeys, SIGNATURE_KEYS_MAX, ServerKeys};
pub use real::{ClientSecret, RealKeyring, RealSuite};
pub use rsa::RsaShare;
pub use rsa::keygen::SafePrimes;
pub use seal::ShareFileError;
pub use suite::{
    ClientClaim, ClientKey, ClientSignature, Done, Element, HashAlgorithm, KeyId,
    SIGNATURE_BYTES_MAX, SealClaim, Signed, SignedShare, SigningInput, Suite, Work,
};
