//! The guards in devices, each with an emulated one, and who attacks them.
//!
//! Each back end's tests are behind its feature. They start what they need, on private ports and in
//! private folders, install what is missing (as root), and fail if they cannot.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "card")]
mod applet;
#[cfg(feature = "card")]
mod card;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "pkcs11")]
mod softhsm;
#[cfg(any(feature = "tpm2", feature = "pkcs11", feature = "card"))]
mod support;
#[cfg(feature = "tpm2")]
mod swtpm;
#[cfg(feature = "tpm2")]
mod tpm;
