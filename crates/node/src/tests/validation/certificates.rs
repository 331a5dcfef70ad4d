//! Certificates, right ones and others.

use super::RIGHT;
use super::outside::Shake;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name};
use sha2::{Digest, Sha256};

/// What kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    P256,
    P384,
    Rsa,
    Ed25519,
}

/// How a certificate is made.
pub(super) struct Made {
    pub(super) kind: Kind,
    /// `DNS:`, `IP:` or `email:`.
    pub(super) names: Vec<String>,
    /// The digest, and whether its extension is critical.
    pub(super) digest: Option<(Vec<u8>, bool)>,
    /// The extension with the digest stands there twice.
    pub(super) twice: bool,
    /// The digest is not in a string.
    pub(super) raw: bool,
    pub(super) expired: bool,
    /// Signed with a key that is not its own.
    pub(super) other_signer: bool,
    /// By an issuer with another name.
    pub(super) other_issuer: bool,
    /// It has a further extension.
    pub(super) more: bool,
}

pub(super) fn digest(of: &str) -> Vec<u8> {
    Sha256::digest(of).to_vec()
}

impl Made {
    /// What a client would make to have this name validated.
    pub(super) fn for_name(name: &str) -> Self {
        Self {
            kind: Kind::P256,
            names: vec![format!("DNS:{name}")],
            digest: Some((digest(RIGHT), true)),
            twice: false,
            raw: false,
            expired: false,
            other_signer: false,
            other_issuer: false,
            more: false,
        }
    }

    /// A server that shows it.
    pub(super) fn shake(&self, protocols: &[&'static str]) -> Shake {
        let key = key(self.kind);
        Shake {
            certificate: self.certificate(&key).to_der().expect("encodes"),
            key: key.private_key_to_pkcs8().expect("encodes"),
            protocols: protocols.to_vec(),
            versions: rustls::ALL_VERSIONS.to_vec(),
        }
    }

    fn certificate(&self, key: &PKey<Private>) -> X509 {
        let mut builder = X509::builder().expect("a builder");
        builder.set_version(2).expect("version 3");
        let serial = BigNum::from_u32(7).and_then(|number| number.to_asn1_integer());
        builder.set_serial_number(&serial.expect("a number")).expect("set");
        let issuer = if self.other_issuer { "somebody" } else { "a challenge" };
        builder.set_subject_name(&common_name("a challenge")).expect("set");
        builder.set_issuer_name(&common_name(issuer)).expect("set");
        builder.set_pubkey(key).expect("set");
        let (from, until) = if self.expired { (0, 86_400) } else { (0, 4_000_000_000) };
        builder.set_not_before(&Asn1Time::from_unix(from).expect("a time")).expect("set");
        builder.set_not_after(&Asn1Time::from_unix(until).expect("a time")).expect("set");
        self.extend(&mut builder);
        let other = self.other_signer.then(|| super::certificates::key(self.kind));
        let hash = match self.kind {
            Kind::Ed25519 => MessageDigest::null(),
            _ => MessageDigest::sha256(),
        };
        builder.sign(other.as_ref().unwrap_or(key), hash).expect("signs");
        builder.build()
    }

    fn extend(&self, builder: &mut X509Builder) {
        if !self.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in &self.names {
                match name.split_once(':').expect("a kind") {
                    ("DNS", name) => names.dns(name),
                    ("IP", address) => names.ip(address),
                    (_, mail) => names.email(mail),
                };
            }
            let names = names.build(&builder.x509v3_context(None, None)).expect("names");
            builder.append_extension(names).expect("appended");
        }
        let id = Asn1Object::from_str("1.3.6.1.5.5.7.1.31").expect("an identifier");
        let times = if self.twice { 2 } else { 1 };
        for (digest, critical) in std::iter::repeat_n(&self.digest, times).flatten() {
            let length = digest.len() as u8;
            let value = match self.raw {
                true => digest.clone(),
                false => [&[4, length], digest.as_slice()].concat(),
            };
            let value = Asn1OctetString::new_from_bytes(&value).expect("a string");
            let extension = X509Extension::new_from_der(&id, *critical, &value);
            builder.append_extension(extension.expect("an extension")).expect("appended");
        }
        if self.more {
            let constraints = BasicConstraints::new().critical().ca().build();
            builder.append_extension(constraints.expect("an extension")).expect("appended");
        }
    }
}

fn common_name(name: &str) -> X509Name {
    let mut builder = X509Name::builder().expect("a builder");
    builder.append_entry_by_nid(Nid::COMMONNAME, name).expect("appended");
    builder.build()
}

fn key(kind: Kind) -> PKey<Private> {
    let curve = |curve| {
        let group = EcGroup::from_curve_name(curve).expect("a curve");
        PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
    };
    match kind {
        Kind::P256 => curve(Nid::X9_62_PRIME256V1),
        Kind::P384 => curve(Nid::SECP384R1),
        Kind::Rsa => PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key"),
        Kind::Ed25519 => PKey::generate_ed25519().expect("a key"),
    }
}
