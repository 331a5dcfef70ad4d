//! A root, an issuing authority below it, and what the two sign.

use super::stock::{Folder, Key};
use crate::ca::Identifier;
use crate::x509::{
    Authority, CertificateStatus, DOMAIN_VALIDATED, Delegation, IpRange, Issuer, Leaf,
    NameConstraints, Reason, Revoked, Serial, Subject, Unsigned, Usage, to_pem,
};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// From long ago until long after all who read this: `openssl ocsp` asks the system's clock.
pub(super) const START: u64 = 1_600_000_000;
pub(super) const END: u64 = 4_000_000_000;

pub(super) const CRL_URL: &str = "http://ca.example.org/crl/issuing.crl";
pub(super) const OCSP_URL: &str = "http://ca.example.org/ocsp";
pub(super) const ISSUER_URL: &str = "http://ca.example.org/ca/issuing.cer";

pub(super) static ROOT_KEY: LazyLock<Key> = LazyLock::new(Key::generate);
pub(super) static ISSUING_KEY: LazyLock<Key> = LazyLock::new(Key::generate);
pub(super) static LEAF_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| Key::generate().public_key());
static ROOT_PUBLIC_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| ROOT_KEY.public_key());
static ISSUING_PUBLIC_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| ISSUING_KEY.public_key());

pub(super) static ROOT: LazyLock<Issuer> = LazyLock::new(|| {
    let certificate = signed(&ROOT_KEY, &root().self_signed().unwrap());
    Issuer::new(&certificate).unwrap()
});

/// May vouch for `example.org`, `intern`, and addresses for documentation.
pub(super) static ISSUING: LazyLock<Issuer> = LazyLock::new(|| issuing(Some(&permitted())));

/// May vouch for everybody.
pub(super) static UNCONSTRAINED: LazyLock<Issuer> = LazyLock::new(|| issuing(None));

pub(super) fn root() -> Authority<'static> {
    Authority {
        subject: Subject {
            country: Some("CH"),
            organization: "An example",
            common_name: "Example root",
        },
        serial: serial(1),
        public_key: &ROOT_PUBLIC_KEY,
        not_before: START,
        not_after: END,
        path_len: None,
        names: None,
    }
}

pub(super) fn permitted() -> NameConstraints {
    let ranges = ["192.0.2.0/24", "2001:db8::/32"].map(|range| range.parse::<IpRange>().unwrap());
    NameConstraints::permitting(&["example.org", "intern"], &ranges).unwrap()
}

pub(super) fn subordinate(names: Option<&NameConstraints>) -> Authority<'_> {
    let subject = Subject {
        country: Some("CH"),
        organization: "An example",
        common_name: "Example issuing authority",
    };
    let public_key = &ISSUING_PUBLIC_KEY;
    Authority { subject, serial: serial(2), public_key, path_len: Some(0), names, ..root() }
}

pub(super) fn delegation() -> Delegation<'static> {
    Delegation {
        usage: Usage::Both,
        policy: DOMAIN_VALIDATED,
        crl_url: Some("http://ca.example.org/crl/root.crl"),
        issuer_url: Some("http://ca.example.org/ca/root.cer"),
    }
}

pub(super) fn issuing(names: Option<&NameConstraints>) -> Issuer {
    let unsigned = ROOT.authority(&subordinate(names), &delegation()).unwrap();
    Issuer::new(&signed(&ROOT_KEY, &unsigned)).unwrap()
}

pub(super) fn signed(key: &Key, unsigned: &Unsigned) -> Vec<u8> {
    unsigned.finish(&key.sign(&unsigned.signing_input()))
}

/// Sixteen bytes, like those that a group draws.
pub(super) fn serial(number: u64) -> Serial {
    Serial::new((u128::from(number) << 64 | 0x0123_4567_89ab_cdef).to_be_bytes()).unwrap()
}

pub(super) fn names(values: &[&str]) -> BTreeSet<Identifier> {
    let identifier = |value: &&str| {
        let kind = if value.parse::<core::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        Identifier::from_acme_internal(kind, value).unwrap()
    };
    values.iter().map(identifier).collect()
}

pub(super) fn leaf(names: &BTreeSet<Identifier>) -> Leaf<'_> {
    Leaf {
        serial: serial(0x1234),
        names,
        public_key: &LEAF_KEY,
        not_before: START,
        not_after: END,
        usage: Usage::Server,
        must_staple: false,
        crl_url: CRL_URL,
        ocsp_url: OCSP_URL,
        issuer_url: ISSUER_URL,
        policy: DOMAIN_VALIDATED,
    }
}

/// One that is not to be believed any more.
pub(super) fn revoked(number: u64, reason: Reason) -> Revoked {
    Revoked { serial: serial(number), at: START + number, reason }
}

pub(super) fn response(number: u64, status: CertificateStatus) -> Vec<u8> {
    signed(&ISSUING_KEY, &ISSUING.ocsp(serial(number), status, START, END).unwrap())
}

/// A folder with the two authorities' certificates.
pub(super) fn folder(issuing: &Issuer) -> Folder {
    let folder = Folder::new();
    folder.write("root.pem", to_pem(ROOT.certificate()).unwrap());
    folder.write("issuing.pem", to_pem(issuing.certificate()).unwrap());
    folder
}

/// The same, with a leaf's as well.
pub(super) fn folder_with(issuing: &Issuer, leaf: &Leaf<'_>) -> Folder {
    let folder = folder(issuing);
    let leaf = signed(&ISSUING_KEY, &issuing.leaf(leaf).unwrap());
    folder.write("leaf.pem", to_pem(&leaf).unwrap());
    folder
}

/// `openssl verify` of the leaf, strictly.
pub(super) fn verify(folder: &Folder, options: &[&str]) -> Result<String, String> {
    let command = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuing.pem"];
    folder.openssl(&[&command, options, &["leaf.pem"]].concat())
}
