//! For what names and what key a certificate is asked for: PKCS #10.
//!
//! # Promise
//! - *Its owner asks*: whoever made the request holds the secret key. The signature is verified
//!   over the bytes that came, not over bytes encoded anew.
//! - *What it says, or nothing*: each name that is asked for is an [`Identifier`]; a request with
//!   any other name, with one name too many, or for the right to certify, is refused. What is not
//!   looked at could not have made the certificate say more.
//! - *An accepted key*: Ed25519, P-256, P-384, or RSA as for accounts, in DER.
//!
//! # Rules
//! - R1. The names are those of the extension `subjectAltName`. A common name must be one of them.
//! - R2. Without that extension the name is the common name, if it is a host's.
//! - R3. Extensions that ask for what is never granted are refused: `cA`, the usages of a key that
//!   signs certificates or lists, unknown features of TLS. Of other extensions nothing is taken;
//!   those that are critical are refused, unless they only repeat what is decided elsewhere.
//! - R4. Other parts of the subject, and other attributes, are ignored: a certificate has none.
//!
//! # Bounds
//! A request has at most [`CSR_BYTES_MAX`] bytes and [`NAMES_MAX`] names.
//!
//! # Sources
//! RFC 2986, RFC 8555 (7.4), RFC 8738 (4), RFC 5280 (4.2.1), RFC 5480, RFC 7633, RFC 8410.
//! Deviations: (a) besides `subjectAltName` RFC 8555 would take a common name as one more name
//! (R1); (b) of ECDSA only signatures with SHA-256 and SHA-384 are verified; (c) a request that
//! names an object identifier with a number above 2^28 where one is looked at is not decoded.

use super::jose::jwk;
use super::jose::{Jwk, rsa};
use super::{DnsName, Identifier, Problem, ProblemType};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5280::{
    ID_CE_BASIC_CONSTRAINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, ID_EXTENSION_REQ, SECP_384_R_1,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};
use const_oid::db::rfc8410::ID_ED_25519;
use core::net::IpAddr;
use der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use spki::AlgorithmIdentifierRef;
use std::collections::BTreeSet;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// Longest request for a certificate. It still fits into a signed request, encoded twice.
pub const CSR_BYTES_MAX: usize = 16 * 1024;

/// Most names of one certificate.
pub const NAMES_MAX: usize = 100;

/// What a certificate is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Csr {
    /// The names, at least one.
    pub names: BTreeSet<Identifier>,
    /// The `SubjectPublicKeyInfo`, in DER.
    pub public_key: Vec<u8>,
    /// Shall the certificate demand that servers bring OCSP responses (RFC 7633)?
    pub must_staple: bool,
}

impl Csr {
    /// Reads a request in DER and verifies that the owner of the key made it.
    pub fn parse(der: &[u8]) -> Result<Self, Problem> {
        if der.len() > CSR_BYTES_MAX {
            return Err(bad(format!("it has more than {CSR_BYTES_MAX} bytes")));
        }
        let request = Request::decode(der).map_err(|_| bad("it is no PKCS #10 request in DER"))?;
        request.verify()?;
        let wishes = Wishes::of(&request.attributes)?;
        let mut names = wishes.names;
        common_names(request.subject, wishes.has_names, &mut names)?;
        if names.is_empty() {
            return Err(bad("it names nothing"));
        }
        if names.len() > NAMES_MAX {
            return Err(bad(format!("it has more than {NAMES_MAX} names")));
        }
        let public_key = request.public_key.to_vec();
        Ok(Self { names, public_key, must_staple: wishes.must_staple })
    }
}

fn bad(detail: impl AsRef<str>) -> Problem {
    Problem::new(ProblemType::BadCsr, format!("the CSR is refused: {}", detail.as_ref()))
}

/// The outermost parts of a request, most of them still encoded.
struct Request<'a> {
    /// What is signed.
    info: &'a [u8],
    subject: &'a [u8],
    public_key: &'a [u8],
    attributes: Vec<&'a [u8]>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
}

/// Tag of the attributes: `[0] IMPLICIT SET`.
const ATTRIBUTES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };

impl<'a> Request<'a> {
    fn decode(der: &'a [u8]) -> der::Result<Self> {
        let [info, algorithm, signature] = parts(der, Tag::Sequence)?;
        let [version, subject, public_key, attributes] = parts(info, Tag::Sequence)?;
        if u8::from_der(version)? != 0 {
            return Err(Tag::Integer.value_error());
        }
        let signature = BitStringRef::from_der(signature)?.as_bytes();
        Ok(Self {
            info,
            subject,
            public_key,
            attributes: elements(attributes, ATTRIBUTES)?,
            algorithm: AlgorithmIdentifierRef::from_der(algorithm)?,
            signature: signature.ok_or_else(|| Tag::BitString.value_error())?,
        })
    }

    /// Is the key accepted, and did its owner sign?
    fn verify(&self) -> Result<(), Problem> {
        let (kind, bytes) =
            key(self.public_key).map_err(|fault| bad(format!("its key {fault}")))?;
        let verification = kind.verification(self.algorithm);
        let verification = verification
            .ok_or_else(|| bad("its signature is of a kind that its key is not verified with"))?;
        let verified =
            UnparsedPublicKey::new(verification, bytes).verify(self.info, self.signature);
        verified.map_err(|_| bad("its signature is wrong"))
    }
}

/// Kinds of keys that certificates are issued for.
#[derive(Clone, Copy)]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

/// Kind and bytes of an accepted key.
fn key(spki: &[u8]) -> Result<(Kind, &[u8]), rsa::Fault> {
    let (algorithm, bytes) = jwk::split_spki(spki)?;
    let curve = algorithm.parameters;
    if algorithm.oid == ID_EC_PUBLIC_KEY && curve.is_some_and(|c| jwk::is_curve(c, SECP_384_R_1)) {
        // That it lies on the curve is for the verification of the signature to say.
        jwk::coordinates::<48>(bytes).ok_or("is no uncompressed point")?;
        return Ok((Kind::P384, bytes));
    }
    let kind = match Jwk::decode_spki(spki)? {
        Jwk::Ed25519(_) => Kind::Ed25519,
        Jwk::P256 { .. } => Kind::P256,
        Jwk::Rsa { .. } => Kind::Rsa,
    };
    Ok((kind, bytes))
}

impl Kind {
    /// How a signature that is said to be of `algorithm` is verified.
    fn verification(
        self,
        algorithm: AlgorithmIdentifierRef<'_>,
    ) -> Option<&'static dyn VerificationAlgorithm> {
        // Those of RSA have NULL, or nothing (RFC 4055, 2.1); the others nothing.
        let is_of_rsa = matches!(self, Self::Rsa);
        let has_no_parameters = match algorithm.parameters {
            Some(parameters) => is_of_rsa && parameters.is_null(),
            None => true,
        };
        let verification: &'static dyn VerificationAlgorithm = match (self, algorithm.oid) {
            (Self::Ed25519, ID_ED_25519) => &signature::ED25519,
            (Self::P256, ECDSA_WITH_SHA_256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::P256, ECDSA_WITH_SHA_384) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::P384, ECDSA_WITH_SHA_256) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::P384, ECDSA_WITH_SHA_384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::Rsa, SHA_256_WITH_RSA_ENCRYPTION) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa, SHA_384_WITH_RSA_ENCRYPTION) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa, SHA_512_WITH_RSA_ENCRYPTION) => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        };
        has_no_parameters.then_some(verification)
    }
}

/// What the requested extensions ask for. (R1, R3)
#[derive(Default)]
struct Wishes {
    names: BTreeSet<Identifier>,
    has_names: bool,
    must_staple: bool,
}

impl Wishes {
    fn of(attributes: &[&[u8]]) -> Result<Self, Problem> {
        let malformed = |_| bad("an attribute is malformed");
        let mut requests = Vec::new();
        for attribute in attributes {
            let [oid, values] = parts(attribute, Tag::Sequence).map_err(malformed)?;
            if ObjectIdentifier::from_der(oid).map_err(malformed)? == ID_EXTENSION_REQ {
                requests.push(values);
            }
        }
        let mut wishes = Self::default();
        match requests[..] {
            [] => {}
            [values] => {
                let [extensions] = parts(values, Tag::Set).map_err(malformed)?;
                wishes.read(&elements(extensions, Tag::Sequence).map_err(malformed)?)?;
            }
            _ => return Err(bad("it asks for extensions twice")),
        }
        Ok(wishes)
    }

    fn read(&mut self, extensions: &[&[u8]]) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for extension in extensions {
            let extension = Extension::decode(extension);
            let extension = extension.map_err(|_| bad("an extension is malformed"))?;
            if !seen.insert(extension.oid) {
                return Err(bad(format!("it asks twice for {}", extension.oid)));
            }
            self.take(&extension)?;
        }
        Ok(())
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), Problem> {
        let Extension { oid, critical, value } = *extension;
        let malformed = |_| bad(format!("the extension {oid} is malformed"));
        match oid {
            ID_CE_SUBJECT_ALT_NAME => {
                let names = elements(value, Tag::Sequence).map_err(malformed)?;
                self.has_names = true;
                self.names = names.into_iter().map(general_name).collect::<Result<_, _>>()?;
            }
            ID_CE_BASIC_CONSTRAINTS => {
                let constraints = BasicConstraints::from_der(value).map_err(malformed)?;
                if constraints.ca {
                    return Err(bad("it asks for a certificate of an authority"));
                }
            }
            ID_CE_KEY_USAGE => {
                let usage = KeyUsage::from_der(value).map_err(malformed)?;
                if usage.key_cert_sign() || usage.crl_sign() {
                    return Err(bad("it asks for the key usage of an authority"));
                }
            }
            TLS_FEATURE if value == MUST_STAPLE => self.must_staple = true,
            TLS_FEATURE => return Err(bad("it asks for unknown features of TLS")),
            // Decided by the authority, or following from the key.
            ID_CE_EXT_KEY_USAGE | ID_CE_SUBJECT_KEY_IDENTIFIER => {}
            _ if critical => {
                return Err(bad(format!("it asks for {oid} as critical, which is unknown")));
            }
            _ => {}
        }
        Ok(())
    }
}

/// An extension. The types of the library take memory for as many bytes as an encoding claims to
/// have before they look whether it has them; this one takes none.
struct Extension<'a> {
    oid: ObjectIdentifier,
    critical: bool,
    value: &'a [u8],
}

impl<'a> Extension<'a> {
    fn decode(tlv: &'a [u8]) -> der::Result<Self> {
        let (oid, critical, value) = match elements(tlv, Tag::Sequence)?[..] {
            [oid, value] => (oid, false, value),
            [oid, critical, value] => (oid, bool::from_der(critical)?, value),
            _ => return Err(Tag::Sequence.length_error()),
        };
        let oid = ObjectIdentifier::from_der(oid)?;
        Ok(Self { oid, critical, value: OctetStringRef::from_der(value)?.as_bytes() })
    }
}

/// The extension of RFC 7633.
const TLS_FEATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");

/// `Features` of RFC 7633 with `status_request` only.
const MUST_STAPLE: &[u8] = &[0x30, 3, 2, 1, 5];

/// Tag of `dNSName` in a `GeneralName`.
const DNS_NAME: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber::N2 };

/// Tag of `iPAddress`.
const IP_ADDRESS: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber::N7 };

/// One of the names of `subjectAltName`.
fn general_name(tlv: &[u8]) -> Result<Identifier, Problem> {
    let name = AnyRef::from_der(tlv).map_err(|_| bad("a name is malformed"))?;
    match der::Tagged::tag(&name) {
        DNS_NAME => {
            let text = std::str::from_utf8(name.value());
            dns_name(text.map_err(|_| bad("a name is no text"))?).map(Identifier::Dns)
        }
        IP_ADDRESS => {
            let address = match *name.value() {
                [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
                _ => <[u8; 16]>::try_from(name.value()).ok().map(IpAddr::from),
            };
            let identifier = address.and_then(Identifier::from_address);
            identifier.ok_or_else(|| bad("an address is not that of one host"))
        }
        _ => Err(bad("it has a name that is neither a host's nor an address")),
    }
}

fn dns_name(text: &str) -> Result<DnsName, Problem> {
    DnsName::new(text).map_err(|problem| bad(problem.detail))
}

/// Takes the common names of the subject, unless they are among the names already. (R1, R2)
fn common_names(
    subject: &[u8],
    has_names: bool,
    names: &mut BTreeSet<Identifier>,
) -> Result<(), Problem> {
    for text in common_name_texts(subject)? {
        let address = text.parse::<IpAddr>().ok();
        let identifier = match address {
            Some(address) => Identifier::Ip(address),
            None => Identifier::Dns(dns_name(text)?),
        };
        if !has_names && address.is_none() {
            names.insert(identifier);
        } else if !names.contains(&identifier) {
            return Err(bad("its common name is not one of its names"));
        }
    }
    Ok(())
}

fn common_name_texts(subject: &[u8]) -> Result<Vec<&str>, Problem> {
    let malformed = |_| bad("its subject is malformed");
    let mut texts = Vec::new();
    for set in elements(subject, Tag::Sequence).map_err(malformed)? {
        for attribute in elements(set, Tag::Set).map_err(malformed)? {
            let [oid, value] = parts(attribute, Tag::Sequence).map_err(malformed)?;
            if ObjectIdentifier::from_der(oid).map_err(malformed)? != COMMON_NAME {
                continue;
            }
            let value = AnyRef::from_der(value).map_err(malformed)?;
            let is_text = matches!(
                der::Tagged::tag(&value),
                Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString
            );
            let text = std::str::from_utf8(value.value()).ok().filter(|_| is_text);
            texts.push(text.ok_or_else(|| bad("its common name is no text that is read"))?);
        }
    }
    Ok(texts)
}

/// The elements of a constructed value, each with its tag and length. Unlike the types for sets it
/// neither sorts nor compares them: it takes time in proportion to the bytes.
fn elements(tlv: &[u8], tag: Tag) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(tlv)?;
    let header = Header::decode(&mut reader)?;
    header.tag.assert_eq(tag)?;
    let mut inner = SliceReader::new(reader.read_slice(header.length)?)?;
    reader.finish(())?;
    let mut elements = Vec::new();
    while !inner.is_finished() {
        elements.push(inner.tlv_bytes()?);
    }
    Ok(elements)
}

/// The same of a value that has exactly `N` elements.
fn parts<const N: usize>(tlv: &[u8], tag: Tag) -> der::Result<[&[u8]; N]> {
    elements(tlv, tag)?.try_into().map_err(|_| tag.length_error())
}

#[cfg(test)]
mod tests;
