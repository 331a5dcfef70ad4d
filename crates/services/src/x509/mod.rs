//! X.509 as an authority writes it that signs by somebody else's hand: certificates, revocation
//! lists and OCSP responses.
//!
//! # Promise
//! - *The same everywhere*: equal arguments give equal bytes, so that all servers of a group ask
//!   for one and the same signature.
//! - *Canonical*: every encoding is DER, throughout.
//! - *Within its mandate*: an [`Issuer`] vouches for no name that its own certificate forbids, and
//!   for nobody beyond its own end.
//! - *Total*: whatever an OCSP client sends is understood or refused with a status of RFC 6960.
//!
//! # Rules
//! - R1. Content is made from plain values ([`Issuer::leaf`], [`Issuer::crl`], [`Issuer::ocsp`],
//!   [`Authority::self_signed`]). It says that it is signed by `sha256WithRSAEncryption`.
//! - R2. The group signs its digest ([`Unsigned::signing_input`]).
//! - R3. Content and signature make the whole ([`Unsigned::finish`]).
//! - R4. About what was never issued nothing is signed: [`OcspRefusal::Unauthorized`].
//!
//! # Bounds
//! A certificate has at most [`NAMES_MAX`] names and [`CERTIFICATE_BYTES_MAX`] bytes, a key
//! [`KEY_BYTES_MAX`], a URL [`URL_BYTES_MAX`], an authority's name [`NAME_BYTES_MAX`]. A revocation
//! list has at most [`REVOKED_MAX`] entries, a request [`OCSP_REQUEST_BYTES_MAX`]; a response has
//! about 500 bytes.
//!
//! # Sources
//! RFC 5280, RFC 6960, RFC 5019, RFC 7093 (method 1), RFC 7633, and what the baseline requirements
//! of the CA/Browser Forum say about form. Choices and deviations:
//! - (a) A leaf has no subject: its names stand in `subjectAltName`, which therefore is critical.
//! - (b) A leaf has a `subjectKeyIdentifier`: RFC 5280 recommends it, the baseline requirements no
//!   longer do.
//! - (c) The key of a leaf signs, and does nothing else: who takes it to encrypt secrets with, as
//!   TLS 1.2 allows for RSA, has no forward secrecy.
//! - (d) Names are constrained by DNS name and address only. The baseline requirements would have
//!   constrained authorities name directories, too; widely used clients do not know how to
//!   read that and refuse it where it is critical, which it has to be.
//! - (e) OCSP calls a certificate by SHA-1 only, as RFC 5019 has it and stock clients do unless
//!   told otherwise; a request about several is refused, since each response is made before anybody
//!   asks. For the same reason a nonce never comes back. Nothing depends on the strength of SHA-1:
//!   it only finds the issuer, whose signature is what counts.
//! - (f) Responses are signed by the issuing authority itself, so they carry no certificates.
//! - (g) A reason is one that fits the certificate of a host for ever ([`Reason`]). `unspecified`
//!   is not said.
//! - (h) Certificates are not logged in public: what a private authority issues is not for all.
//!
//! Of the certificates, lists and responses that the tests make, pkilint 0.13.3 complains about
//! (b), about (d), and about wildcards, of which RFC 5280 knows nothing.

mod certificate;
mod constraints;
mod crl;
mod encoding;
mod issuer;
mod name;
mod ocsp;
mod request;
mod serial;
mod unsigned;

pub use crate::ca::NAMES_MAX;
pub use certificate::{Authority, DOMAIN_VALIDATED, Delegation, Leaf, Usage};
pub use constraints::{IpRange, NameConstraints};
pub use crl::{Reason, Revoked};
pub use encoding::{from_pem, rsa_public_key, to_pem};
pub use issuer::Issuer;
pub use name::Subject;
pub use ocsp::CertificateStatus;
pub use request::{OCSP_REQUEST_BYTES_MAX, OCSP_REQUEST_MEDIA_TYPE, OCSP_RESPONSE_MEDIA_TYPE};
pub use request::{OcspRefusal, ocsp_serial};
pub use serial::{SERIAL_BYTES, Serial};
pub use unsigned::{TBS_BYTES_MAX, Unsigned};

pub(crate) use certificate::Contents;
pub(crate) use encoding::{
    certificate, decode, extension, extension_of, key_identifier, public_key, rsa_encryption,
    sha256, sha256_input, validity,
};

/// Longest public key, in DER; an RSA key of 4096 bits has 550 bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest URL that a certificate refers to.
pub const URL_BYTES_MAX: usize = 512;

/// Longest name of an authority, in DER.
pub const NAME_BYTES_MAX: usize = 1024;

/// Longest certificate: one of many long names.
pub const CERTIFICATE_BYTES_MAX: usize = 32 * 1024;

/// Most entries of a revocation list, each of at most 52 bytes.
pub const REVOKED_MAX: usize = 65_536;

/// Why something cannot be made, or not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is no certificate.
    #[error("the certificate of the signing key is missing")]
    Missing,
    /// It is not DER, or has a field that X.509 does not allow.
    #[error("not a certificate: {0}")]
    Form(#[from] der::Error),
    /// The certificate is too long.
    #[error("a certificate has at most {CERTIFICATE_BYTES_MAX} bytes")]
    TooLong,
    /// It has another encoding than DER somewhere inside.
    #[error("not encoded in DER throughout")]
    NotDer,
    /// The certificate is for something else.
    #[error("the certificate must be {0}")]
    Purpose(&'static str),
    /// An authority's name is too long, or none.
    #[error("an authority's name has a part that is too long or empty, or a country that is none")]
    Name,
    /// No names, or too many, or one that is none.
    #[error("there must be 1 to {NAMES_MAX} names, each well-formed")]
    Names,
    /// The issuer's own certificate forbids it to vouch for one of the names.
    #[error("the issuer's own certificate forbids one of the names")]
    NotPermitted,
    /// The key is too long, or not RSA where it has to be.
    #[error("the key is too long, or not an RSA key")]
    Key,
    /// A URL that is too long, or none of plain HTTP.
    #[error("a URL begins with http:// and has at most {URL_BYTES_MAX} printable characters")]
    Url,
    /// It would end before it begins, outlive its issuer, or last beyond the year 9999.
    #[error("the dates are in the wrong order, beyond the issuer's, or beyond the year 9999")]
    Validity,
    /// More entries than a revocation list has room for.
    #[error("a revocation list has at most {REVOKED_MAX} entries")]
    Revoked,
}

#[cfg(test)]
pub(crate) mod tests;
