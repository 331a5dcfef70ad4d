//! Names: those that subjects have.

use super::CertificateError;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{COMMON_NAME, COUNTRY_NAME, ORGANIZATION_NAME};
use der::asn1::{Any, PrintableStringRef, SetOfVec, Utf8StringRef};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

/// Most characters of an organization and of a common name: the upper bounds of RFC 5280.
const CHARACTERS_MAX: usize = 64;

/// Whose key it is, if it is an authority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Where it is: two capital letters of ISO 3166. Public authorities must say it.
    pub country: Option<&'a str>,
    /// Its organization.
    pub organization: &'a str,
    /// Its own name.
    pub common_name: &'a str,
}

impl Subject<'_> {
    /// Most significant first, as X.500 orders them.
    pub(crate) fn name(&self) -> Result<RdnSequence, CertificateError> {
        let mut attributes = Vec::new();
        if let Some(country) = self.country {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(CertificateError::Name);
            }
            let value = Any::encode_from(&PrintableStringRef::new(country)?)?;
            attributes.push(attribute(COUNTRY_NAME, value)?);
        }
        attributes.push(attribute(ORGANIZATION_NAME, text(self.organization)?)?);
        attributes.push(attribute(COMMON_NAME, text(self.common_name)?)?);
        Ok(RdnSequence(attributes))
    }
}

fn text(value: &str) -> Result<Any, CertificateError> {
    if value.is_empty() || value.chars().count() > CHARACTERS_MAX {
        return Err(CertificateError::Name);
    }
    Ok(Any::encode_from(&Utf8StringRef::new(value)?)?)
}

fn attribute(oid: ObjectIdentifier, value: Any) -> der::Result<RelativeDistinguishedName> {
    let attribute = AttributeTypeAndValue { oid, value };
    Ok(RelativeDistinguishedName(SetOfVec::try_from(vec![attribute])?))
}
