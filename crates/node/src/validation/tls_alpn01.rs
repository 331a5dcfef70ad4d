//! `tls-alpn-01` (RFC 8737, RFC 8738): a handshake in the protocol `acme-tls/1` with the host shows
//! a certificate that was made for this challenge.
//!
//! # Rules
//! The certificate
//! - is signed with its own key, by an issuer named as its subject;
//! - has one subject alternative name, and that is exactly the name or address;
//! - has, once and critical, the extension that holds the digest of the key authorization.
//!
//! # Deviations
//! When it is valid is not looked at: no source asks for it, and the digest is of this challenge.
//! What else it may have (other extensions, any subject) does not matter.

use super::hosts::Host;
use super::tls::is_signed_by_itself;
use super::{Outside, Why};
use std::net::IpAddr;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// id-pe-acmeIdentifier.
const ACME_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");

/// id-ce-subjectAltName.
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Looks once. (V3)
pub(super) async fn look(outside: &Outside, host: &Host, digest: &[u8; 32]) -> Result<(), Why> {
    let stream = outside.hosts.connect(host, outside.config.tls_port).await?;
    let shown = outside.handshakes.certificate(host, stream).await?;
    check(&shown, host, digest).map_err(Why::Certificate)
}

/// Was `shown` made for this challenge?
fn check(shown: &[u8], host: &Host, digest: &[u8; 32]) -> Result<(), &'static str> {
    let certificate = Certificate::from_der(shown).map_err(|_| "does not decode")?;
    let held = &certificate.tbs_certificate;
    let extensions = held.extensions.as_deref().unwrap_or_default();
    let name = the_one(extensions, SUBJECT_ALT_NAME)
        .ok_or("has none or several subject alternative names")?;
    let names = SubjectAltName::from_der(name.extn_value.as_bytes());
    let [name] = names.as_ref().map_or(&[][..], |names| &names.0) else {
        return Err("does not name one name or address");
    };
    if !is_name_of(name, host) {
        return Err("names another name or address");
    }
    let held_digest = the_one(extensions, ACME_IDENTIFIER)
        .ok_or("has none or several extensions for the digest")?;
    if !held_digest.critical {
        return Err("has the digest in an extension that is not critical");
    }
    let value = OctetStringRef::from_der(held_digest.extn_value.as_bytes());
    if value.map_or(true, |value| value.as_bytes() != digest) {
        return Err("has another digest");
    }
    if held.issuer != held.subject || !is_signed_by_itself(&certificate) {
        return Err("is not signed with its own key");
    }
    Ok(())
}

/// The only extension of that kind.
fn the_one(extensions: &[Extension], kind: ObjectIdentifier) -> Option<&Extension> {
    let mut of_kind = extensions.iter().filter(|extension| extension.extn_id == kind);
    let one = of_kind.next()?;
    of_kind.next().is_none().then_some(one)
}

fn is_name_of(name: &GeneralName, host: &Host) -> bool {
    match (name, host) {
        (GeneralName::DnsName(named), Host::Name(name)) => {
            named.as_str().eq_ignore_ascii_case(name)
        }
        (GeneralName::IpAddress(octets), Host::Address(IpAddr::V4(address))) => {
            octets.as_bytes() == address.octets()
        }
        (GeneralName::IpAddress(octets), Host::Address(IpAddr::V6(address))) => {
            octets.as_bytes() == address.octets()
        }
        _ => false,
    }
}
