//! The certificate of the group's signing key.
//!
//! A certificate that signs itself is enough: a client trusts it by naming it as its authority
//! (`openssl ts -verify -CAfile`).

use const_oid::db::rfc4519::{COMMON_NAME, ORGANIZATION_NAME};
use const_oid::db::rfc5280::ID_KP_TIME_STAMPING;
use const_oid::db::rfc5912::{RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{
    Any, BitString, GeneralizedTime, OctetString, SetOfVec, Uint, UtcTime, Utf8StringRef,
};
use der::pem::LineEnding;
use der::{Decode, Encode, Sequence};
use maftia_base::wire::Blob;
use maftia_crypto::{HashAlgorithm, SigningInput};
use sha2::{Digest as _, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::time::Duration;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

/// Why a certificate cannot be made, or not be used by the notary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none.
    #[error("the notary needs the certificate of its signing key")]
    Missing,
    /// It is not DER, or has a field that X.509 does not allow.
    #[error("not a certificate: {0}")]
    Form(#[from] der::Error),
    /// It has another encoding than DER somewhere inside.
    #[error("the certificate is not encoded in DER throughout")]
    NotDer,
    /// It must have the extended key usage `timeStamping`, critical, and no other.
    #[error("the certificate must be for time stamping only, and say so critically")]
    Purpose,
    /// The subject's or issuer's name is too long.
    #[error("the certificate's name is too long")]
    Name,
}

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

/// A certificate that lacks its signature.
#[derive(Clone, Debug)]
pub struct UnsignedCertificate {
    tbs: TbsCertificate,
    der: Vec<u8>,
}

impl CertificateTemplate<'_> {
    /// A certificate for time stamping, to be signed by the very key that it is for.
    pub fn self_signed(&self) -> Result<UnsignedCertificate, CertificateError> {
        let name = RdnSequence(vec![
            attribute(ORGANIZATION_NAME, self.organization)?,
            attribute(COMMON_NAME, self.common_name)?,
        ]);
        let key = SubjectPublicKeyInfoOwned::from_der(self.public_key)?;
        let mut key_digest = sha256(key.subject_public_key.raw_bytes());
        key_digest.truncate(20);
        let tbs = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&self.serial)?,
            signature: sha256_with_rsa(),
            issuer: name.clone(),
            validity: Validity {
                not_before: time(self.not_before)?,
                not_after: time(self.not_after)?,
            },
            subject: name,
            subject_public_key_info: key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(vec![
                extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
                extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
                extension(true, &ExtendedKeyUsage(vec![ID_KP_TIME_STAMPING]))?,
                extension(false, &SubjectKeyIdentifier(OctetString::new(key_digest)?))?,
            ]),
        };
        let der = tbs.to_der()?;
        Ok(UnsignedCertificate { tbs, der })
    }
}

impl UnsignedCertificate {
    /// What the key has to sign: by PKCS #1 version 1.5.
    pub fn signing_input(&self) -> SigningInput {
        sha256_input(&self.der)
    }

    /// The certificate with its signature, in DER.
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let certificate = Certificate {
            tbs_certificate: self.tbs,
            signature_algorithm: sha256_with_rsa(),
            signature: BitString::from_bytes(signature)?,
        };
        Ok(certificate.to_der()?)
    }
}

/// A certificate in the form that `openssl` reads from files.
pub fn to_pem(certificate: &[u8]) -> Result<String, CertificateError> {
    let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, certificate);
    pem.map_err(|_| CertificateError::NotDer)
}

/// The certificates in such a file, in their order.
pub fn from_pem(file: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    // The library looks for the last byte of what is left without line ends.
    if file.trim_end_matches(['\r', '\n']).is_empty() {
        return Err(CertificateError::Missing);
    }
    let certificates = Certificate::load_pem_chain(file.as_bytes())?;
    Ok(certificates.iter().map(Encode::to_der).collect::<der::Result<_>>()?)
}

/// `SubjectPublicKeyInfo` in DER, of an RSA key given by modulus and exponent, both big-endian.
pub fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let key = RsaPublicKey { modulus: Uint::new(modulus)?, exponent: Uint::new(exponent)? };
    let subject_public_key = BitString::from_bytes(&key.to_der()?)?;
    let info = SubjectPublicKeyInfoOwned { algorithm: rsa_encryption(), subject_public_key };
    Ok(info.to_der()?)
}

/// `RSAPublicKey` of PKCS #1.
#[derive(Sequence)]
struct RsaPublicKey {
    modulus: Uint,
    exponent: Uint,
}

/// Time stamping only, critically: what RFC 3161 demands, and what clients check.
pub(crate) fn is_for_time_stamping(tbs: &TbsCertificate) -> bool {
    let extensions = tbs.extensions.iter().flatten();
    let mut usages = extensions.filter(|extension| extension.extn_id == ExtendedKeyUsage::OID);
    usages.next().is_some_and(|extension| {
        let usage = ExtendedKeyUsage::from_der(extension.extn_value.as_bytes());
        extension.critical && usage.is_ok_and(|usage| usage.0 == [ID_KP_TIME_STAMPING])
    })
}

pub(crate) fn rsa_encryption() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::null()) }
}

fn sha256_with_rsa() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: SHA_256_WITH_RSA_ENCRYPTION, parameters: Some(Any::null()) }
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

pub(crate) fn sha256_input(bytes: &[u8]) -> SigningInput {
    let digest = Blob::new(sha256(bytes)).expect("a digest is short");
    SigningInput { hash: HashAlgorithm::Sha256, digest }
}

fn extension<T: Encode + AssociatedOid>(critical: bool, value: &T) -> der::Result<Extension> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

fn attribute(oid: ObjectIdentifier, value: &str) -> der::Result<RelativeDistinguishedName> {
    let value = Any::encode_from(&Utf8StringRef::new(value)?)?;
    let attribute = AttributeTypeAndValue { oid, value };
    Ok(RelativeDistinguishedName(SetOfVec::try_from(vec![attribute])?))
}

/// X.509 wants two digits of the year until 2049, and four from then on.
fn time(seconds: u64) -> der::Result<Time> {
    let since_1970 = Duration::from_secs(seconds);
    match UtcTime::from_unix_duration(since_1970) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => Ok(Time::GeneralTime(GeneralizedTime::from_unix_duration(since_1970)?)),
    }
}
