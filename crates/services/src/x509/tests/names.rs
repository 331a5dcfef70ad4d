//! For which names an authority may vouch.

use super::super::*;
use super::world::{
    ISSUING, ISSUING_KEY, UNCONSTRAINED, folder, folder_with, issuing, leaf, names, permitted,
    signed, verify,
};
use crate::ca::Identifier;
use der::{Decode, Encode};
use x509_cert::ext::pkix;

fn one(value: &str) -> Identifier {
    names(&[value]).pop_first().unwrap()
}

fn range(text: &str) -> IpRange {
    text.parse().unwrap()
}

/// Constraints as somebody else wrote them: addresses, then names, permitted and excluded.
fn foreign(permitted: &[&str], excluded: &[&str]) -> Result<NameConstraints, CertificateError> {
    use der::asn1::{Ia5String, OctetString};
    use pkix::constraints::name::GeneralSubtree;
    use pkix::name::GeneralName;
    let trees = |bases: &[&str]| -> Option<Vec<GeneralSubtree>> {
        let tree = |base: &&str| {
            let base = match base.strip_prefix("ip:") {
                Some(digits) => {
                    let octets: Vec<u8> = digits.split('.').map(|d| d.parse().unwrap()).collect();
                    GeneralName::IpAddress(OctetString::new(octets).unwrap())
                }
                None => GeneralName::DnsName(Ia5String::new(base).unwrap()),
            };
            GeneralSubtree { base, minimum: 0, maximum: None }
        };
        (!bases.is_empty()).then(|| bases.iter().map(tree).collect())
    };
    NameConstraints::from_extension(pkix::NameConstraints {
        permitted_subtrees: trees(permitted),
        excluded_subtrees: trees(excluded),
    })
}

#[test]
fn openssl_refuses_names_that_the_authority_may_not_vouch_for() {
    for (value, is_permitted) in [
        ("example.org", true),
        ("www.example.org", true),
        ("*.example.org", true),
        ("host.intern", true),
        ("192.0.2.255", true),
        ("2001:db8:ffff::1", true),
        ("badexample.org", false),
        ("example.com", false),
        ("*.org", false),
        ("org", false),
        ("192.0.3.1", false),
        ("2001:db9::1", false),
    ] {
        let given = names(&[value]);
        assert_eq!(ISSUING.permits(&one(value)), is_permitted, "{value}");
        let made = ISSUING.leaf(&leaf(&given));
        // It is made nevertheless, by one who has no constraints and the same key and name.
        let folder = folder(&ISSUING);
        let forced = UNCONSTRAINED.leaf(&leaf(&given)).unwrap();
        folder.write("leaf.pem", to_pem(&signed(&ISSUING_KEY, &forced)).unwrap());
        let verified = verify(&folder, &[]);
        assert_eq!(verified.is_ok(), is_permitted, "{value}: {verified:?}");
        match is_permitted {
            true => assert_eq!(made.unwrap(), forced),
            false => {
                assert_eq!(made, Err(CertificateError::NotPermitted));
                assert!(verified.unwrap_err().contains("subtree violation"), "{value}");
            }
        }
    }
}

#[test]
fn one_forbidden_name_among_others_is_enough() {
    let given = names(&["www.example.org", "example.com"]);
    assert_eq!(ISSUING.leaf(&leaf(&given)), Err(CertificateError::NotPermitted));
    assert!(UNCONSTRAINED.leaf(&leaf(&given)).is_ok());
}

#[test]
fn what_is_not_permitted_at_all_is_excluded() {
    for (domains, ranges, permitted, excluded) in [
        (&["example.org"][..], &[][..], "a.example.org", &["192.0.2.1", "2001:db8::1"][..]),
        (&[], &["192.0.2.0/24"], "192.0.2.1", &["a.example.org", "2001:db8::1"]),
        (&[], &["2001:db8::/32"], "2001:db8::1", &["a.example.org", "192.0.2.1"]),
        (&["example.org"], &["192.0.2.0/24"], "a.example.org", &["2001:db8::1"]),
    ] {
        let ranges: Vec<_> = ranges.iter().map(|text| range(text)).collect();
        let issuing = issuing(Some(&NameConstraints::permitting(domains, &ranges).unwrap()));
        let check = |value: &str| {
            assert!(UNCONSTRAINED.permits(&one(value)));
            let given = names(&[value]);
            let forced = signed(&ISSUING_KEY, &UNCONSTRAINED.leaf(&leaf(&given)).unwrap());
            let folder = folder(&issuing);
            folder.write("leaf.pem", to_pem(&forced).unwrap());
            assert_eq!(verify(&folder, &[]).is_ok(), issuing.permits(&one(value)), "{value}");
            issuing.permits(&one(value))
        };
        assert!(check(permitted));
        assert!(excluded.iter().all(|value| !check(value)), "{domains:?} {ranges:?}");
    }
    assert_eq!(NameConstraints::permitting(&[], &[]), Err(CertificateError::Names));
}

#[test]
fn an_authority_without_constraints_vouches_for_all() {
    let given = names(&["example.com", "203.0.113.1"]);
    verify(&folder_with(&UNCONSTRAINED, &leaf(&given)), &[]).unwrap();
}

#[test]
fn constraints_survive_their_encoding() {
    for constraints in [permitted(), NameConstraints::permitting(&["a"], &[]).unwrap()] {
        let der = constraints.to_extension().unwrap().to_der().unwrap();
        let extension = pkix::NameConstraints::from_der(&der).unwrap();
        assert_eq!(NameConstraints::from_extension(extension).unwrap(), constraints);
    }
}

#[test]
fn constraints_of_other_authorities_are_understood() {
    let constraints = foreign(&["Example.ORG", ".intern"], &["secret.example.org"]).unwrap();
    for (value, is_permitted) in [
        ("a.example.org", true),
        ("host.intern", true),
        ("intern", false),
        ("secret.example.org", false),
        ("a.secret.example.org", false),
        ("topsecret.example.org", true),
        ("*.secret.example.org", false),
        // Stands for the excluded name as well.
        ("*.example.org", false),
        ("*.a.example.org", true),
        ("192.0.2.1", true),
    ] {
        assert_eq!(constraints.permits(&one(value)), is_permitted, "{value}");
    }
    let ranges = foreign(&["ip:192.0.2.0.255.255.255.128"], &[]).unwrap();
    assert!(ranges.permits(&one("192.0.2.127")) && ranges.permits(&one("example.org")));
    assert!(!ranges.permits(&one("192.0.2.128")) && !ranges.permits(&one("2001:db8::1")));
    for broken in ["ip:1.2.3.4", "ip:1.2.3.4.255.0.255.0", "ip:1.2.3.4.255.0.0.0", "ip:1.2.3"] {
        assert_eq!(foreign(&[broken], &[]), Err(CertificateError::Names), "{broken}");
    }
    let long = "a".repeat(300);
    assert_eq!(foreign(&[], &[&long]), Err(CertificateError::Names));
}

#[test]
fn a_domain_that_is_none_is_refused() {
    for domain in ["", ".", ".example.org", "*.example.org", "exa mple.org", "192.0.2.1"] {
        let refused = NameConstraints::permitting(&[domain], &[]);
        assert_eq!(refused, Err(CertificateError::Names), "{domain}");
    }
}

#[test]
fn a_range_has_one_form() {
    for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32", "::1/128"] {
        assert!(text.parse::<IpRange>().is_ok(), "{text}");
    }
    for text in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/-1",
        "2001:db8::1/32",
        "::/129",
        "10.0.0.0/8/8",
        "example.org/8",
    ] {
        assert_eq!(text.parse::<IpRange>(), Err(CertificateError::Names), "{text}");
    }
    let all = range("0.0.0.0/0");
    assert!(all.contains([255; 4].into()) && !all.contains([0; 16].into()));
    let alone = range("::1/128");
    assert!(alone.contains(core::net::Ipv6Addr::LOCALHOST.into()));
    assert!(!alone.contains([0; 16].into()));
}
