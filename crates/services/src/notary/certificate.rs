//! The certificate of the group's signing key.
//!
//! A certificate that signs itself is enough: a client trusts it by naming it as its authority
//! (`openssl ts -verify -CAfile`).

use crate::x509::{CertificateError, Contents, Subject, Unsigned};
use crate::x509::{extension, extension_of, key_identifier, public_key, validity};
use const_oid::db::rfc5280::ID_KP_TIME_STAMPING;
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::serial_number::SerialNumber;

/// What clients check.
pub(crate) const TIME_STAMPING: &str = "for time stamping only, and say so critically";

/// What a certificate shall say.
#[derive(Clone, Debug)]
pub struct CertificateTemplate<'a> {
    /// Common name of the authority.
    pub common_name: &'a str,
    /// Its organization.
    pub organization: &'a str,
    /// Seconds since 1970-01-01 UTC from which it is valid.
    pub not_before: u64,
    /// Seconds since 1970-01-01 UTC until which it is valid.
    pub not_after: u64,
    /// A number that its issuer uses once.
    pub serial: [u8; 16],
    /// The key: `SubjectPublicKeyInfo` in DER.
    pub public_key: &'a [u8],
}

impl CertificateTemplate<'_> {
    /// A certificate for time stamping, to be signed by the very key that it is for.
    pub fn self_signed(&self) -> Result<Unsigned, CertificateError> {
        let (organization, common_name) = (self.organization, self.common_name);
        let name = Subject { country: None, organization, common_name }.name()?;
        let public_key = public_key(self.public_key)?;
        let contents = Contents {
            serial: SerialNumber::new(&self.serial)?,
            issuer: name.clone(),
            validity: validity(self.not_before, self.not_after)?,
            subject: name,
            extensions: vec![
                extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
                extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
                extension(true, &ExtendedKeyUsage(vec![ID_KP_TIME_STAMPING]))?,
                extension(false, &key_identifier(&public_key)?)?,
            ],
            public_key,
        };
        contents.unsigned()
    }
}

/// Time stamping only, critically: what RFC 3161 demands, and what clients check.
pub(crate) fn is_for_time_stamping(tbs: &TbsCertificate) -> bool {
    let usage = extension_of::<ExtendedKeyUsage>(tbs);
    matches!(usage, Ok(Some((true, usages))) if usages.0 == [ID_KP_TIME_STAMPING])
}
