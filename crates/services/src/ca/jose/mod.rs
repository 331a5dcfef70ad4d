//! What ACME needs of JOSE: signed requests, and the keys that sign them.
//!
//! # Promise
//! - *Signed as it says*: a request is taken only under the one algorithm that its key is for. The
//!   header cannot choose "none", a key of another kind, or one that it brings besides the account.
//! - *One meaning*: no text has two members of one name, no value has two encodings, and what is
//!   signed is all there is: no unprotected header, no second signature.
//! - *One form of a key*: two keys are equal exactly if one can verify what the other can. Keys
//!   that are known to be weak by their form, and keys that come with their secret, are refused.
//!
//! # Bounds
//! A signed request has at most [`JWS_BYTES_MAX`] bytes, an RSA modulus [`RSA_MODULUS_BYTES_MAX`].
//!
//! # Sources
//! RFC 8555 (6.2, 7.3.4, 7.3.5), RFC 7515, 7517, 7518, 7638, 7797, 8037, 8259. Choices: (a) what
//! RFC 7515 has readers ignore outside of the protected header is refused, since nothing of RFC
//! 8555 stands there; (b) a header `crit` or `b64` is refused whatever it says; (c) there is one
//! algorithm for each kind of key.

pub mod base64url;
mod binding;
pub mod json;
pub(crate) mod jwk;
mod jws;
pub(crate) mod rsa;

pub use binding::Binding;
pub use jwk::{Algorithm, Jwk};
pub use jws::{JWS_BYTES_MAX, Jws, KeyRef, flattened};
pub use rsa::RSA_MODULUS_BYTES_MAX;

#[cfg(test)]
pub(crate) mod tests;
