//! An authority that signs by somebody else's hand.

use super::encoding::{certificate, extension_of, sha1};
use super::{CERTIFICATE_BYTES_MAX, CertificateError, NAME_BYTES_MAX, NameConstraints};
use crate::ca::Identifier;
use const_oid::db::rfc5912::RSA_ENCRYPTION;
use der::Encode;
use der::asn1::OctetString;
use std::hash::{Hash, Hasher};
use x509_cert::ext::pkix::{
    self, AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::{TbsCertificate, Version};

/// Longest identifier of an authority's key: a digest of it.
const KEY_IDENTIFIER_BYTES_MAX: usize = 64;

/// What the certificate must be for.
const AN_AUTHORITY: &str = "for signing certificates and revocation lists with an RSA key";

/// An authority: its name, its key's identifiers and its certificate. It holds no key.
#[derive(Clone, Debug)]
pub struct Issuer {
    certificate: Vec<u8>,
    not_before: u64,
    not_after: u64,
    public_key: Vec<u8>,
    key_identifier: Vec<u8>,
    constraints: Option<NameConstraints>,
    pub(super) name: Name,
    /// How many authorities may stand between this one and a leaf.
    pub(super) path_len: Option<u8>,
    /// SHA-1 of its name and of its key: what OCSP calls it.
    pub(super) name_hash: Vec<u8>,
    pub(super) key_hash: Vec<u8>,
}

impl Issuer {
    /// From its certificate in DER, which must let an RSA key sign certificates and revocation
    /// lists.
    pub fn new(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong);
        }
        let tbs = certificate(der)?.tbs_certificate;
        let path_len = checked_path_len(&tbs)?;
        let key_identifier = match extension_of::<SubjectKeyIdentifier>(&tbs)? {
            Some((_, SubjectKeyIdentifier(octets))) => octets.into_bytes(),
            None => return Err(CertificateError::Purpose(AN_AUTHORITY)),
        };
        if !(1..=KEY_IDENTIFIER_BYTES_MAX).contains(&key_identifier.len()) {
            return Err(CertificateError::Purpose(AN_AUTHORITY));
        }
        let constraints = extension_of::<pkix::NameConstraints>(&tbs)?;
        let constraints =
            constraints.map(|(_, found)| NameConstraints::from_extension(found)).transpose()?;
        let name = tbs.subject.to_der()?;
        if tbs.subject.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(CertificateError::Name);
        }
        let key = tbs.subject_public_key_info.subject_public_key.raw_bytes();
        Ok(Self {
            certificate: der.to_vec(),
            not_before: tbs.validity.not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity.not_after.to_unix_duration().as_secs(),
            public_key: tbs.subject_public_key_info.to_der()?,
            key_identifier,
            constraints,
            path_len,
            name_hash: sha1(&name),
            key_hash: sha1(key),
            name: tbs.subject,
        })
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its key: `SubjectPublicKeyInfo` in DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// What its certificates call its key: the `keyIdentifier` of RFC 9773.
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    /// First and last second of its own validity, since 1970-01-01 UTC.
    pub fn validity(&self) -> (u64, u64) {
        (self.not_before, self.not_after)
    }

    /// Are they called the same?
    pub(crate) fn has_the_name_of(&self, other: &Self) -> bool {
        self.name == other.name
    }

    /// Does its own certificate let it vouch for this name?
    pub fn permits(&self, name: &Identifier) -> bool {
        self.constraints.as_ref().is_none_or(|constraints| constraints.permits(name))
    }

    /// Says in what it signs which key did.
    pub(super) fn authority_key_identifier(&self) -> der::Result<AuthorityKeyIdentifier> {
        let key_identifier = Some(OctetString::new(self.key_identifier.clone())?);
        Ok(AuthorityKeyIdentifier { key_identifier, ..AuthorityKeyIdentifier::default() })
    }
}

/// Of what signs certificates and revocation lists: how many authorities may follow it.
fn checked_path_len(tbs: &TbsCertificate) -> Result<Option<u8>, CertificateError> {
    let usage = extension_of::<KeyUsage>(tbs)?.map(|(_, usage)| usage);
    let signs = usage.is_some_and(|usage| usage.key_cert_sign() && usage.crl_sign());
    let has_rsa_key = tbs.subject_public_key_info.algorithm.oid == RSA_ENCRYPTION;
    match extension_of::<BasicConstraints>(tbs)? {
        Some((true, BasicConstraints { ca: true, path_len_constraint }))
            if signs && has_rsa_key && tbs.version == Version::V3 =>
        {
            Ok(path_len_constraint)
        }
        _ => Err(CertificateError::Purpose(AN_AUTHORITY)),
    }
}

/// One certificate, one authority.
impl PartialEq for Issuer {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }
}

impl Eq for Issuer {}

impl Hash for Issuer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certificate.hash(state);
    }
}
