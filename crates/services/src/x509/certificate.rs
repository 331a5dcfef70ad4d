//! Certificates: of hosts, and of authorities.

use super::encoding::{self, extension, key_identifier, sha256_with_rsa, validity};
use super::unsigned::UnsignedKind;
use super::{CertificateError, Issuer, KEY_BYTES_MAX, NAMES_MAX, NameConstraints};
use super::{Serial, Subject, URL_BYTES_MAX, Unsigned};
use crate::ca::Identifier;
use const_oid::db::rfc5280::{ID_AD_CA_ISSUERS, ID_AD_OCSP, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use const_oid::db::rfc5912::RSA_ENCRYPTION;
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::Encode;
use der::asn1::Ia5String;
use spki::SubjectPublicKeyInfoOwned;
use std::collections::BTreeSet;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
    CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Validity;
use x509_cert::{TbsCertificate, Version};

/// The policy of certificates for which control over the names was checked, and nothing else.
pub const DOMAIN_VALIDATED: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.140.1.2.1");

/// The TLS feature of a server that shows its own OCSP response: `status_request`.
const STATUS_REQUEST: u8 = 5;

/// In which role in TLS a key is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// A server's.
    Server,
    /// A client's.
    Client,
    /// Either.
    Both,
}

/// What the certificate of a host shall say.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// A number that its issuer uses once.
    pub serial: Serial,
    /// Whom it is for: at least one.
    pub names: &'a BTreeSet<Identifier>,
    /// The key: `SubjectPublicKeyInfo` in DER.
    pub public_key: &'a [u8],
    /// Seconds since 1970-01-01 UTC from which it is valid.
    pub not_before: u64,
    /// The last second in which it is.
    pub not_after: u64,
    /// In which role it is to be believed.
    pub usage: Usage,
    /// Is a server to be refused that does not show its own OCSP response?
    pub must_staple: bool,
    /// Where the revocation list is.
    pub crl_url: &'a str,
    /// Where OCSP is answered.
    pub ocsp_url: &'a str,
    /// Where its issuer's certificate is.
    pub issuer_url: &'a str,
    /// Under which rules it was issued.
    pub policy: ObjectIdentifier,
}

/// What the certificate of an authority shall say.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// Whose key it is.
    pub subject: Subject<'a>,
    /// A number that its issuer uses once.
    pub serial: Serial,
    /// The key, RSA: `SubjectPublicKeyInfo` in DER.
    pub public_key: &'a [u8],
    /// Seconds since 1970-01-01 UTC from which it is valid.
    pub not_before: u64,
    /// The last second in which it is.
    pub not_after: u64,
    /// How many authorities may stand between it and a host; `None` if any number.
    pub path_len: Option<u8>,
    /// For which names it may vouch; `None` if for all.
    pub names: Option<&'a NameConstraints>,
}

/// What the certificate of an authority says besides if another one vouches for it.
#[derive(Clone, Copy, Debug)]
pub struct Delegation<'a> {
    /// In which roles those are to be believed for whom it vouches.
    pub usage: Usage,
    /// Under which rules it issues.
    pub policy: ObjectIdentifier,
    /// Where the revocation list is that it would be on.
    pub crl_url: Option<&'a str>,
    /// Where its issuer's certificate is.
    pub issuer_url: Option<&'a str>,
}

/// What all certificates have.
pub(crate) struct Contents {
    pub(crate) serial: SerialNumber,
    pub(crate) issuer: Name,
    pub(crate) validity: Validity,
    pub(crate) subject: Name,
    pub(crate) public_key: SubjectPublicKeyInfoOwned,
    pub(crate) extensions: Vec<Extension>,
}

impl Contents {
    pub(crate) fn unsigned(self) -> Result<Unsigned, CertificateError> {
        let tbs = TbsCertificate {
            version: Version::V3,
            serial_number: self.serial,
            signature: sha256_with_rsa(),
            issuer: self.issuer,
            validity: self.validity,
            subject: self.subject,
            subject_public_key_info: self.public_key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(self.extensions),
        };
        Ok(Unsigned::new(UnsignedKind::Certificate, &tbs)?)
    }
}

impl Issuer {
    /// The certificate of a host. Its subject is empty: whom it is for stands in the critical
    /// `subjectAltName`, and nowhere twice.
    pub fn leaf(&self, leaf: &Leaf<'_>) -> Result<Unsigned, CertificateError> {
        if !(1..=NAMES_MAX).contains(&leaf.names.len()) {
            return Err(CertificateError::Names);
        }
        if !leaf.names.iter().all(|name| self.permits(name)) {
            return Err(CertificateError::NotPermitted);
        }
        let public_key = public_key(leaf.public_key)?;
        let mut extensions = vec![
            extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            extension(false, &extended_key_usage(leaf.usage))?,
            extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
            extension(false, &key_identifier(&public_key)?)?,
            extension(false, &self.authority_key_identifier()?)?,
            extension(false, &information_access(Some(leaf.ocsp_url), Some(leaf.issuer_url))?)?,
            extension(true, &alternative_names(leaf.names)?)?,
            extension(false, &policies(leaf.policy))?,
            extension(false, &distribution_points(leaf.crl_url)?)?,
        ];
        if leaf.must_staple {
            extensions.push(extension(false, &TlsFeature)?);
        }
        let contents = Contents {
            serial: leaf.serial.number(),
            issuer: self.name.clone(),
            validity: self.within(leaf.not_before, leaf.not_after)?,
            subject: Name::default(),
            public_key,
            extensions,
        };
        contents.unsigned()
    }

    /// The certificate of an authority for which this one vouches.
    pub fn authority(
        &self,
        authority: &Authority<'_>,
        delegation: &Delegation<'_>,
    ) -> Result<Unsigned, CertificateError> {
        let may_follow = match (self.path_len, authority.path_len) {
            (None, _) => true,
            (Some(own), Some(followers)) => followers < own,
            (Some(_), None) => false,
        };
        if !may_follow {
            return Err(CertificateError::Purpose("for an authority with such ones below it"));
        }
        let (ocsp_url, issuer_url) = (None, delegation.issuer_url);
        let mut extensions = authority.extensions(self.authority_key_identifier()?)?;
        extensions.push(extension(false, &extended_key_usage(delegation.usage))?);
        extensions.push(extension(false, &policies(delegation.policy))?);
        if issuer_url.is_some() {
            extensions.push(extension(false, &information_access(ocsp_url, issuer_url)?)?);
        }
        if let Some(url) = delegation.crl_url {
            extensions.push(extension(false, &distribution_points(url)?)?);
        }
        let validity = self.within(authority.not_before, authority.not_after)?;
        authority.contents(self.name.clone(), validity, extensions)?.unsigned()
    }

    /// Nobody is vouched for beyond one's own end.
    fn within(&self, not_before: u64, not_after: u64) -> Result<Validity, CertificateError> {
        let (first, last) = self.validity();
        match first <= not_before && not_after <= last {
            true => validity(not_before, not_after),
            false => Err(CertificateError::Validity),
        }
    }
}

impl Authority<'_> {
    /// A certificate to be signed by the very key that it is for: a root.
    pub fn self_signed(&self) -> Result<Unsigned, CertificateError> {
        let own = key_identifier(&public_key(self.public_key)?)?;
        let key_identifier = AuthorityKeyIdentifier {
            key_identifier: Some(own.0),
            ..AuthorityKeyIdentifier::default()
        };
        let extensions = self.extensions(key_identifier)?;
        let validity = validity(self.not_before, self.not_after)?;
        self.contents(self.subject.name()?, validity, extensions)?.unsigned()
    }

    fn extensions(
        &self,
        authority: AuthorityKeyIdentifier,
    ) -> Result<Vec<Extension>, CertificateError> {
        let public_key = public_key(self.public_key)?;
        if public_key.algorithm.oid != RSA_ENCRYPTION {
            return Err(CertificateError::Key);
        }
        // OCSP responses are signed by the authority itself, as a digital signature.
        let usages = KeyUsages::KeyCertSign | KeyUsages::CRLSign | KeyUsages::DigitalSignature;
        let constraints = BasicConstraints { ca: true, path_len_constraint: self.path_len };
        let mut extensions = vec![
            extension(true, &constraints)?,
            extension(true, &KeyUsage(usages))?,
            extension(false, &key_identifier(&public_key)?)?,
            extension(false, &authority)?,
        ];
        if let Some(names) = self.names {
            extensions.push(extension(true, &names.to_extension()?)?);
        }
        Ok(extensions)
    }

    fn contents(
        &self,
        issuer: Name,
        validity: Validity,
        extensions: Vec<Extension>,
    ) -> Result<Contents, CertificateError> {
        Ok(Contents {
            serial: self.serial.number(),
            issuer,
            validity,
            subject: self.subject.name()?,
            public_key: public_key(self.public_key)?,
            extensions,
        })
    }
}

/// A key of a bounded size, in DER.
fn public_key(der: &[u8]) -> Result<SubjectPublicKeyInfoOwned, CertificateError> {
    if der.len() > KEY_BYTES_MAX {
        return Err(CertificateError::Key);
    }
    let key = encoding::public_key(der)?;
    if key.to_der()? != der {
        return Err(CertificateError::NotDer);
    }
    Ok(key)
}

fn extended_key_usage(usage: Usage) -> ExtendedKeyUsage {
    ExtendedKeyUsage(match usage {
        Usage::Server => vec![ID_KP_SERVER_AUTH],
        Usage::Client => vec![ID_KP_CLIENT_AUTH],
        Usage::Both => vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH],
    })
}

fn policies(policy: ObjectIdentifier) -> CertificatePolicies {
    let information = PolicyInformation { policy_identifier: policy, policy_qualifiers: None };
    CertificatePolicies(vec![information])
}

fn alternative_names(names: &BTreeSet<Identifier>) -> der::Result<SubjectAltName> {
    let general = |name: &Identifier| {
        Ok(match name {
            Identifier::Dns(name) => GeneralName::DnsName(Ia5String::new(name.as_str())?),
            Identifier::Ip(address) => GeneralName::from(*address),
        })
    };
    Ok(SubjectAltName(names.iter().map(general).collect::<der::Result<_>>()?))
}

fn information_access(
    ocsp: Option<&str>,
    issuers: Option<&str>,
) -> Result<AuthorityInfoAccessSyntax, CertificateError> {
    let given = [(ID_AD_OCSP, ocsp), (ID_AD_CA_ISSUERS, issuers)];
    let given = given.into_iter().filter_map(|(method, url)| Some((method, url?)));
    let description = |(access_method, location)| {
        Ok(AccessDescription { access_method, access_location: url(location)? })
    };
    let descriptions: Result<_, CertificateError> = given.map(description).collect();
    Ok(AuthorityInfoAccessSyntax(descriptions?))
}

fn distribution_points(location: &str) -> Result<CrlDistributionPoints, CertificateError> {
    let name = DistributionPointName::FullName(vec![url(location)?]);
    let point =
        DistributionPoint { distribution_point: Some(name), reasons: None, crl_issuer: None };
    Ok(CrlDistributionPoints(vec![point]))
}

/// Without TLS: whoever asks is just about to find out whether to believe a certificate.
fn url(location: &str) -> Result<GeneralName, CertificateError> {
    let is_plain = location.bytes().all(|byte| byte.is_ascii_graphic());
    if !location.starts_with("http://") || !is_plain || location.len() > URL_BYTES_MAX {
        return Err(CertificateError::Url);
    }
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(location)?))
}

/// "Must staple" of RFC 7633: one feature.
struct TlsFeature;

impl AssociatedOid for TlsFeature {
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");
}

impl Encode for TlsFeature {
    fn encoded_len(&self) -> der::Result<der::Length> {
        vec![STATUS_REQUEST].encoded_len()
    }

    fn encode(&self, writer: &mut impl der::Writer) -> der::Result<()> {
        vec![STATUS_REQUEST].encode(writer)
    }
}
