//! What all formats of X.509 are written with: digests, algorithms, extensions, dates, PEM.

use super::CertificateError;
use const_oid::AssociatedOid;
use const_oid::db::rfc5912::{ID_SHA_1, RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION};
use der::asn1::{Any, BitString, GeneralizedTime, OctetString, Uint, UtcTime};
use der::pem::LineEnding;
use der::{Decode, Encode, ErrorKind, Header, Reader, Sequence, SliceReader};
use maftia_base::wire::Blob;
use maftia_crypto::{HashAlgorithm, SigningInput};
use sha2::{Digest as _, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::time::Duration;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate};

/// Bytes of an identifier of a key.
const KEY_IDENTIFIER_BYTES: usize = 20;

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

pub(crate) fn rsa_encryption() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::null()) }
}

pub(super) fn sha256_with_rsa() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: SHA_256_WITH_RSA_ENCRYPTION, parameters: Some(Any::null()) }
}

pub(super) fn sha1_algorithm() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ID_SHA_1, parameters: Some(Any::null()) }
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// Only for what OCSP calls an authority: nothing rests on it that it would be too weak for.
pub(super) fn sha1(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

/// What a key has to sign so that `bytes` are signed.
pub(crate) fn sha256_input(bytes: &[u8]) -> SigningInput {
    let digest = Blob::new(sha256(bytes)).expect("a digest is short");
    SigningInput { hash: HashAlgorithm::Sha256, digest }
}

/// Decodes what somebody else wrote. The library takes memory for as many bytes as a value claims
/// to have before it looks whether they are there; so that is looked at first.
pub(crate) fn decode<'a, T: Decode<'a>>(der: &'a [u8]) -> der::Result<T> {
    let mut unread = vec![der];
    while let Some(values) = unread.pop() {
        let mut reader = SliceReader::new(values)?;
        while !reader.is_finished() {
            let header = Header::decode(&mut reader)?;
            let value = reader.read_slice(header.length)?;
            if header.tag.is_constructed() {
                unread.push(value);
            }
        }
    }
    T::from_der(der)
}

/// An extension of a certificate that may have been written by somebody else, and whether it is
/// critical; `Err` if it is there twice, or is not what it should be.
pub(crate) fn extension_of<'a, T: Decode<'a> + AssociatedOid>(
    tbs: &'a TbsCertificate,
) -> der::Result<Option<(bool, T)>> {
    let mut found = tbs.extensions.iter().flatten().filter(|found| found.extn_id == T::OID);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => Ok(Some((one.critical, decode(one.extn_value.as_bytes())?))),
        (Some(_), Some(_)) => Err(ErrorKind::Failed.into()),
    }
}

/// A certificate, if it is DER throughout: then it comes out of other structures as it went in.
pub(crate) fn certificate(der: &[u8]) -> Result<Certificate, CertificateError> {
    let certificate: Certificate = decode(der)?;
    if certificate.to_der()? != der {
        return Err(CertificateError::NotDer);
    }
    Ok(certificate)
}

/// A public key from its DER.
pub(crate) fn public_key(der: &[u8]) -> Result<SubjectPublicKeyInfoOwned, CertificateError> {
    Ok(decode(der)?)
}

/// What an authority calls a key: SHA-256 of it, cut off. (RFC 7093, method 1)
pub(crate) fn key_identifier(key: &SubjectPublicKeyInfoOwned) -> der::Result<SubjectKeyIdentifier> {
    let mut digest = sha256(key.subject_public_key.raw_bytes());
    digest.truncate(KEY_IDENTIFIER_BYTES);
    Ok(SubjectKeyIdentifier(OctetString::new(digest)?))
}

pub(crate) fn extension<T: Encode + AssociatedOid>(
    critical: bool,
    value: &T,
) -> der::Result<Extension> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

/// From the first to the last second, both included.
pub(crate) fn validity(not_before: u64, not_after: u64) -> Result<Validity, CertificateError> {
    if not_before > not_after {
        return Err(CertificateError::Validity);
    }
    Ok(Validity { not_before: time(not_before)?, not_after: time(not_after)? })
}

/// X.509 wants two digits of the year until 2049, and four from then on.
pub(super) fn time(seconds: u64) -> Result<Time, CertificateError> {
    match UtcTime::from_unix_duration(Duration::from_secs(seconds)) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => Ok(Time::GeneralTime(general_time(seconds)?)),
    }
}

/// Four digits, always, as OCSP has it.
pub(super) fn general_time(seconds: u64) -> Result<GeneralizedTime, CertificateError> {
    let time = GeneralizedTime::from_unix_duration(Duration::from_secs(seconds));
    time.map_err(|_| CertificateError::Validity)
}
