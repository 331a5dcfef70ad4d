//! Certificates, of hosts and of authorities.

use super::super::*;
use super::stock::Key;
use super::world::{
    END, ISSUING, ISSUING_KEY, LEAF_KEY, ROOT, ROOT_KEY, START, UNCONSTRAINED, delegation, folder,
    folder_with, leaf, names, permitted, root, serial, signed, subordinate, verify,
};
use der::{Decode, Encode};
use maftia_base::wire::Wire;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::X509;
use x509_cert::Certificate;

/// The last second that is written with two digits of the year.
const LAST_SECOND_OF_2049: u64 = 2_524_607_999;

fn text(der: &[u8]) -> String {
    String::from_utf8(X509::from_der(der).unwrap().to_text().unwrap()).unwrap()
}

fn has(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
}

#[test]
fn stock_openssl_verifies_a_chain_to_each_kind_of_key() {
    let one = names(&["www.example.org", "192.0.2.7"]);
    let p256 = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let p384 = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    let keys = [
        PKey::public_key_from_der(&LEAF_KEY).unwrap().public_key_to_der(),
        PKey::from_ec_key(EcKey::generate(&p256).unwrap()).unwrap().public_key_to_der(),
        PKey::from_ec_key(EcKey::generate(&p384).unwrap()).unwrap().public_key_to_der(),
        PKey::generate_ed25519().unwrap().public_key_to_der(),
    ];
    for public_key in keys.map(Result::unwrap) {
        let leaf = Leaf { public_key: &public_key, ..leaf(&one) };
        let folder = folder_with(&ISSUING, &leaf);
        let policy = ["-policy", "2.23.140.1.2.1", "-explicit_policy"];
        verify(&folder, &[&["-purpose", "sslserver"], &policy[..]].concat()).unwrap();
        verify(&folder, &["-verify_hostname", "www.example.org"]).unwrap();
        verify(&folder, &["-verify_ip", "192.0.2.7"]).unwrap();
        verify(&folder, &["-verify_hostname", "example.org"]).unwrap_err();
        verify(&folder, &["-verify_ip", "192.0.2.8"]).unwrap_err();
        verify(&folder, &["-purpose", "sslclient"]).unwrap_err();
    }
}

#[test]
fn the_crate_of_openssl_reads_what_was_written() {
    let one = names(&["www.example.org", "*.example.org", "192.0.2.7", "2001:db8::7"]);
    let certificate = signed(&ISSUING_KEY, &ISSUING.leaf(&leaf(&one)).unwrap());
    let certificate = X509::from_der(&certificate).unwrap();
    let issuing = X509::from_der(ISSUING.certificate()).unwrap();
    assert!(certificate.verify(&issuing.public_key().unwrap()).unwrap());
    assert_eq!(certificate.public_key().unwrap().public_key_to_der().unwrap(), *LEAF_KEY);
    assert_eq!(certificate.subject_name().entries().count(), 0);
    let number = certificate.serial_number().to_bn().unwrap().to_vec();
    assert_eq!(number, serial(0x1234).integer());
    let mut found = Vec::new();
    for name in certificate.subject_alt_names().unwrap() {
        found.extend(name.dnsname().map(|name| name.as_bytes().to_vec()));
        found.extend(name.ipaddress().map(<[u8]>::to_vec));
    }
    let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let expected = [&b"*.example.org"[..], b"www.example.org", &[192, 0, 2, 7], &v6];
    assert_eq!(found, expected);
    let key = certificate.authority_key_id().unwrap().as_slice().to_vec();
    assert_eq!(key, issuing.subject_key_id().unwrap().as_slice());
    assert_eq!(key, ISSUING.key_identifier());
    assert_eq!(certificate.ocsp_responders().unwrap().iter().count(), 1);
}

#[test]
fn a_leaf_says_what_it_is_for_and_where_to_ask() {
    let one = names(&["www.example.org"]);
    let plain = text(&signed(&ISSUING_KEY, &ISSUING.leaf(&leaf(&one)).unwrap()));
    has(
        &plain,
        &[
            "Version: 3",
            "Signature Algorithm: sha256WithRSAEncryption",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "TLS Web Server Authentication\n",
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "X509v3 Subject Alternative Name: critical\n                DNS:www.example.org\n",
            "OCSP - URI:http://ca.example.org/ocsp",
            "CA Issuers - URI:http://ca.example.org/ca/issuing.cer",
            "URI:http://ca.example.org/crl/issuing.crl",
            "Policy: 2.23.140.1.2.1",
            "X509v3 Subject Key Identifier",
        ],
    );
    assert!(!plain.contains("TLS Feature"));
    let stapled = Leaf { must_staple: true, usage: Usage::Both, ..leaf(&one) };
    let stapled = text(&signed(&ISSUING_KEY, &ISSUING.leaf(&stapled).unwrap()));
    let usages = "TLS Web Server Authentication, TLS Web Client Authentication\n";
    has(&stapled, &["TLS Feature: \n                status_request", usages]);
}

#[test]
fn a_client_is_no_server() {
    let one = names(&["www.example.org"]);
    let folder = folder_with(&ISSUING, &Leaf { usage: Usage::Client, ..leaf(&one) });
    verify(&folder, &["-purpose", "sslclient"]).unwrap();
    verify(&folder, &["-purpose", "sslserver"]).unwrap_err();
    let folder = folder_with(&ISSUING, &Leaf { usage: Usage::Both, ..leaf(&one) });
    verify(&folder, &["-purpose", "sslclient"]).unwrap();
    verify(&folder, &["-purpose", "sslserver"]).unwrap();
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let one = names(&["*.example.org"]);
    let folder = folder_with(&ISSUING, &leaf(&one));
    verify(&folder, &["-verify_hostname", "anything.example.org"]).unwrap();
    verify(&folder, &["-verify_hostname", "example.org"]).unwrap_err();
    verify(&folder, &["-verify_hostname", "a.b.example.org"]).unwrap_err();
}

#[test]
fn the_largest_certificate_keeps_its_bound() {
    let label = "a".repeat(63);
    let long: Vec<_> = (0..NAMES_MAX).map(|n| format!("{n:061}.{label}.{label}.{label}")).collect();
    assert!(long.iter().all(|name| name.len() == 253));
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    let most = names(&long);
    let key = PKey::from_rsa(openssl::rsa::Rsa::generate(4096).unwrap()).unwrap();
    let url = format!("http://{}", "u".repeat(URL_BYTES_MAX - 7));
    let leaf = Leaf {
        public_key: &key.public_key_to_der().unwrap(),
        must_staple: true,
        crl_url: &url,
        ocsp_url: &url,
        issuer_url: &url,
        ..leaf(&most)
    };
    let folder = folder_with(&UNCONSTRAINED, &leaf);
    verify(&folder, &["-verify_hostname", long[99]]).unwrap();
    let largest = UNCONSTRAINED.leaf(&leaf).unwrap().finish(&[1; 512]);
    // The longest name of an authority, and the longest key, have yet to be added.
    assert!(largest.len() + NAME_BYTES_MAX + KEY_BYTES_MAX - 550 < CERTIFICATE_BYTES_MAX);
    let longer = format!("{url}u");
    let refused = |leaf: Leaf<'_>| UNCONSTRAINED.leaf(&leaf).unwrap_err();
    assert_eq!(refused(Leaf { crl_url: &longer, ..leaf }), CertificateError::Url);
    let more = names(&[&long[..], &["one.more"]].concat());
    assert_eq!(refused(Leaf { names: &more, ..leaf }), CertificateError::Names);
    assert_eq!(refused(Leaf { names: &names(&[]), ..leaf }), CertificateError::Names);
    let key = vec![0x30; KEY_BYTES_MAX + 1];
    assert_eq!(refused(Leaf { public_key: &key, ..leaf }), CertificateError::Key);
}

#[test]
fn a_leaf_that_cannot_be_made_is_refused() {
    let one = names(&["www.example.org"]);
    let refused = |leaf: Leaf<'_>| ISSUING.leaf(&leaf).unwrap_err();
    for url in
        ["https://ca.example.org", "ldap://ca.example.org", "", "http://a b", "http://\u{e4}"]
    {
        assert_eq!(refused(Leaf { ocsp_url: url, ..leaf(&one) }), CertificateError::Url);
        assert_eq!(refused(Leaf { issuer_url: url, ..leaf(&one) }), CertificateError::Url);
    }
    let dates = |not_before, not_after| refused(Leaf { not_before, not_after, ..leaf(&one) });
    assert_eq!(dates(START - 1, END), CertificateError::Validity, "before its issuer");
    assert_eq!(dates(START, END + 1), CertificateError::Validity, "outlives its issuer");
    assert_eq!(dates(START + 1, START), CertificateError::Validity);
    let form = refused(Leaf { public_key: b"no key", ..leaf(&one) });
    assert!(matches!(form, CertificateError::Form(_)), "{form}");
}

#[test]
fn years_have_two_digits_until_2049_and_four_from_then_on() {
    let one = names(&["www.example.org"]);
    for (not_after, tag, written) in [
        (LAST_SECOND_OF_2049, "UTCTIME", ":491231235959Z"),
        (LAST_SECOND_OF_2049 + 1, "GENERALIZEDTIME", ":20500101000000Z"),
    ] {
        let folder = folder_with(&ISSUING, &Leaf { not_after, ..leaf(&one) });
        let parsed = folder.openssl(&["asn1parse", "-in", "leaf.pem"]).unwrap();
        let line = parsed.lines().find(|line| line.ends_with(written)).unwrap();
        assert!(line.contains(tag), "{line}");
        let valid = |seconds: u64| verify(&folder, &["-attime", &seconds.to_string()]);
        valid(START).unwrap();
        // To OpenSSL, unlike RFC 5280, the last second is beyond the end.
        valid(not_after - 1).unwrap();
        assert!(valid(START - 1).unwrap_err().contains("not yet valid"));
        assert!(valid(not_after + 1).unwrap_err().contains("expired"));
    }
    let root = |not_after| Authority { not_after, ..root() }.self_signed();
    assert!(root(253_402_300_799).is_ok(), "the year 9999");
    assert_eq!(root(253_402_300_800), Err(CertificateError::Validity));
    assert_eq!(root(u64::MAX), Err(CertificateError::Validity));
    assert_eq!(root(START - 1), Err(CertificateError::Validity));
}

#[test]
fn authorities_say_what_they_are() {
    let of_root = text(ROOT.certificate());
    has(
        &of_root,
        &[
            "Issuer: C=CH, O=An example, CN=Example root",
            "X509v3 Basic Constraints: critical\n                CA:TRUE\n",
            "X509v3 Key Usage: critical",
            "Digital Signature, Certificate Sign, CRL Sign\n",
        ],
    );
    let of_issuing = text(ISSUING.certificate());
    has(
        &of_issuing,
        &[
            "Issuer: C=CH, O=An example, CN=Example root",
            "Subject: C=CH, O=An example, CN=Example issuing authority",
            "CA:TRUE, pathlen:0",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "X509v3 Name Constraints: critical",
            "URI:http://ca.example.org/crl/root.crl",
            "CA Issuers - URI:http://ca.example.org/ca/root.cer",
            "Policy: 2.23.140.1.2.1",
        ],
    );
    assert!(!of_issuing.contains("OCSP - URI"));
    let folder = folder(&ISSUING);
    let command = ["verify", "-x509_strict", "-CAfile", "root.pem"];
    folder.openssl(&[&command[..], &["root.pem", "issuing.pem"]].concat()).unwrap();
    folder.openssl(&["verify", "-x509_strict", "-CAfile", "issuing.pem", "root.pem"]).unwrap_err();
}

#[test]
fn an_authority_that_cannot_be_made_is_refused() {
    let subject = |organization, common_name, country| {
        let subject = Subject { country, organization, common_name };
        Authority { subject, ..root() }.self_signed()
    };
    let longest = "\u{e4}".repeat(64);
    assert!(subject(&longest, &longest, None).is_ok());
    let longer = format!("{longest}.");
    for (organization, common_name, country) in [
        ("", "name", None),
        ("name", "", None),
        (&longer, "name", None),
        ("name", &longer, None),
        ("name", "name", Some("ch")),
        ("name", "name", Some("CHE")),
        ("name", "name", Some("")),
    ] {
        let refused = subject(organization, common_name, country);
        assert_eq!(refused, Err(CertificateError::Name));
    }
    let ed25519 = PKey::generate_ed25519().unwrap().public_key_to_der().unwrap();
    let other_key = Authority { public_key: &ed25519, ..root() };
    assert_eq!(other_key.self_signed(), Err(CertificateError::Key));
    let beyond = Authority { not_after: END + 1, ..subordinate(None) };
    assert_eq!(ROOT.authority(&beyond, &delegation()), Err(CertificateError::Validity));
}

#[test]
fn no_authority_vouches_for_more_authorities_than_it_may() {
    let below = |issuer: &Issuer, path_len| {
        issuer.authority(&Authority { path_len, ..subordinate(None) }, &delegation())
    };
    for path_len in [None, Some(0), Some(7)] {
        assert!(below(&ROOT, path_len).is_ok());
        assert!(below(&ISSUING, path_len).is_err());
    }
    let key = Key::generate();
    let two = Authority { path_len: Some(2), public_key: &key.public_key(), ..root() };
    let two = Issuer::new(&signed(&key, &two.self_signed().unwrap())).unwrap();
    assert!(below(&two, Some(1)).is_ok());
    assert!(below(&two, Some(2)).is_err());
    assert!(below(&two, None).is_err());
}

#[test]
fn only_an_authority_issues() {
    let refused = |certificate: &[u8]| Issuer::new(certificate).unwrap_err();
    let one = names(&["www.example.org"]);
    let leaf = ISSUING.leaf(&leaf(&one)).unwrap().finish(&[1; 256]);
    assert!(matches!(refused(&leaf), CertificateError::Purpose(_)));
    assert!(matches!(refused(b"no certificate"), CertificateError::Form(_)));
    assert_eq!(refused(&vec![0x30; CERTIFICATE_BYTES_MAX + 1]), CertificateError::TooLong);
    // Each extension of the root but the last is needed.
    let root = Certificate::from_der(ROOT.certificate()).unwrap();
    let count = root.tbs_certificate.extensions.as_ref().unwrap().len();
    for at in 0..count {
        let mut lacking = root.clone();
        lacking.tbs_certificate.extensions.as_mut().unwrap().remove(at);
        let issuer = Issuer::new(&lacking.to_der().unwrap());
        assert_eq!(issuer.is_ok(), at == count - 1, "{issuer:?}");
    }
    let mut twice = root.clone();
    let extensions = twice.tbs_certificate.extensions.as_mut().unwrap();
    extensions.push(extensions[0].clone());
    assert!(matches!(refused(&twice.to_der().unwrap()), CertificateError::Form(_)));
    let mut nobody = root;
    nobody.tbs_certificate.subject = x509_cert::name::Name::default();
    assert_eq!(refused(&nobody.to_der().unwrap()), CertificateError::Name);
}

#[test]
fn every_certificate_is_canonical() {
    let many = names(&["a.example.org", "b.example.org", "192.0.2.1", "*.intern"]);
    let leaf = Leaf { must_staple: true, ..leaf(&many) };
    for unsigned in [
        root().self_signed().unwrap(),
        ROOT.authority(&subordinate(Some(&permitted())), &delegation()).unwrap(),
        ISSUING.leaf(&leaf).unwrap(),
    ] {
        let der = signed(&ROOT_KEY, &unsigned);
        assert_eq!(Certificate::from_der(&der).unwrap().to_der().unwrap(), der);
        assert_eq!(X509::from_der(&der).unwrap().to_der().unwrap(), der);
        assert!(der.windows(unsigned.tbs().len()).any(|window| window == unsigned.tbs()));
        assert_eq!(Unsigned::from_wire(unsigned.to_wire()).unwrap(), unsigned);
    }
}
