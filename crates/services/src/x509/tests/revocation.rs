//! Revocation lists and OCSP responses.

use super::super::*;
use super::stock::{Folder, Key};
use super::world::{
    END, ISSUING, ISSUING_KEY, ROOT, ROOT_KEY, START, folder, folder_with, leaf, names, response,
    revoked, serial, signed, verify,
};
use der::{Decode, Encode};
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspRevokedStatus};
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Crl};
use x509_cert::crl::CertificateList;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus};

const REASONS: [(Reason, u64, &str); 6] = [
    (Reason::Unspecified, 0, ""),
    (Reason::KeyCompromise, 1, "Key Compromise"),
    (Reason::AffiliationChanged, 3, "Affiliation Changed"),
    (Reason::Superseded, 4, "Superseded"),
    (Reason::CessationOfOperation, 5, "Cessation Of Operation"),
    (Reason::PrivilegeWithdrawn, 9, "Privilege Withdrawn"),
];

fn list(number: u64, revoked: &[Revoked]) -> Vec<u8> {
    signed(&ISSUING_KEY, &ISSUING.crl(number, START, END, revoked).unwrap())
}

/// A folder with a leaf (number 0x1234), its authorities and a list.
fn with_list(revoked: &[Revoked]) -> Folder {
    let one = names(&["www.example.org"]);
    let folder = folder_with(&ISSUING, &leaf(&one));
    folder.write("list.der", list(1, revoked));
    folder.openssl(&["crl", "-in", "list.der", "-out", "list.pem"]).unwrap();
    folder
}

const CHECK: [&str; 3] = ["-crl_check", "-CRLfile", "list.pem"];

#[test]
fn stock_openssl_refuses_exactly_what_is_on_the_list() {
    verify(&with_list(&[]), &CHECK).unwrap();
    let others = [revoked(0x1233, Reason::Superseded), revoked(0x1235, Reason::Unspecified)];
    verify(&with_list(&others), &CHECK).unwrap();
    let all = [&others[..], &[revoked(0x1234, Reason::KeyCompromise)]].concat();
    let said = verify(&with_list(&all), &CHECK).unwrap_err();
    assert!(said.contains("certificate revoked"), "{said}");
}

#[test]
fn a_list_that_is_stale_or_of_another_key_does_not_count() {
    let folder = with_list(&[]);
    let late = (END + 1).to_string();
    let said = verify(&folder, &[&CHECK[..], &["-attime", &late]].concat()).unwrap_err();
    assert!(said.contains("CRL has expired"), "{said}");
    let unsigned = ISSUING.crl(1, START, END, &[]).unwrap();
    folder.write("list.der", signed(&ROOT_KEY, &unsigned));
    folder.openssl(&["crl", "-in", "list.der", "-out", "list.pem"]).unwrap();
    let said = verify(&folder, &CHECK).unwrap_err();
    assert!(said.contains("signature failure"), "{said}");
}

#[test]
fn a_root_lists_the_authorities_that_it_no_longer_vouches_for() {
    let folder = with_list(&[]);
    let both = |entries: &[Revoked]| {
        let unsigned = ROOT.crl(3, START, END, entries).unwrap();
        folder.write("of-root.der", signed(&ROOT_KEY, &unsigned));
        folder.openssl(&["crl", "-in", "of-root.der", "-out", "of-root.pem"]).unwrap();
        folder.write("lists.pem", [folder.read("list.pem"), folder.read("of-root.pem")].concat());
        verify(&folder, &["-crl_check_all", "-CRLfile", "lists.pem"])
    };
    both(&[]).unwrap();
    both(&[revoked(2, Reason::KeyCompromise)]).unwrap_err();
}

#[test]
fn a_list_says_number_dates_and_reasons() {
    let entries: Vec<_> = (REASONS.iter().zip(1..))
        .map(|((reason, _, _), number)| revoked(number, *reason))
        .collect();
    let folder = folder(&ISSUING);
    folder.write("list.der", list(0x1_0000_0080, &entries));
    let text = folder.openssl(&["crl", "-in", "list.der", "-noout", "-text"]).unwrap();
    for words in [
        "Version 2 (0x1)",
        "Signature Algorithm: sha256WithRSAEncryption",
        "Issuer: C = CH, O = An example, CN = Example issuing authority",
        "Last Update: Sep 13 12:26:40 2020 GMT",
        "Next Update: Oct  2 07:06:40 2096 GMT",
        "X509v3 CRL Number: \n                4294967424",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    for (_, _, shown) in &REASONS[1..] {
        assert_eq!(text.matches(shown).count(), 1, "{shown} in\n{text}");
    }
    assert_eq!(text.matches("X509v3 CRL Reason Code").count(), 5, "an unspecified one is unsaid");
}

#[test]
fn a_revoked_serial_appears_once_with_its_first_date() {
    let late = Revoked { at: START + 100, ..revoked(7, Reason::Unspecified) };
    let early = Revoked { at: START + 50, ..revoked(7, Reason::KeyCompromise) };
    let other = revoked(6, Reason::Superseded);
    let expected = list(1, &[other, early]);
    for entries in [[late, early, other, late], [early, late, early, other]] {
        assert_eq!(list(1, &entries), expected);
    }
    let parsed = X509Crl::from_der(&expected).unwrap();
    assert_eq!(parsed.get_revoked().unwrap().len(), 2);
    assert!(parsed.verify(&PKey::public_key_from_der(&ISSUING_KEY.public_key()).unwrap()).unwrap());
}

#[test]
fn lists_are_canonical_and_an_empty_one_has_no_entries() {
    for entries in [&[][..], &[revoked(1, Reason::Superseded), revoked(2, Reason::Unspecified)]] {
        let der = list(u64::MAX, entries);
        let parsed = CertificateList::from_der(&der).unwrap();
        assert_eq!(parsed.to_der().unwrap(), der);
        let listed = parsed.tbs_cert_list.revoked_certificates;
        assert_eq!(listed.map(|listed| listed.len()), (!entries.is_empty()).then_some(2));
    }
}

#[test]
fn the_longest_list_keeps_its_bound() {
    let at = 3_000_000_000;
    let entry = |number| Revoked { at, ..revoked(0x4000 << 48 | number, Reason::KeyCompromise) };
    let most: Vec<_> = (0..REVOKED_MAX as u64).map(entry).collect();
    let unsigned = ISSUING.crl(u64::MAX, START, END, &most).unwrap();
    assert!(unsigned.tbs().len() + NAME_BYTES_MAX < TBS_BYTES_MAX, "{}", unsigned.tbs().len());
    assert!(unsigned.tbs().len() <= 52 * REVOKED_MAX + 512, "52 bytes an entry");
    let more = [&most[..], &[entry(REVOKED_MAX as u64)]].concat();
    assert_eq!(ISSUING.crl(1, START, END, &more), Err(CertificateError::Revoked));
    let twice = [&most[..], &most[..]].concat();
    assert!(ISSUING.crl(1, START, END, &twice).is_ok());
}

#[test]
fn what_ends_before_it_begins_is_refused() {
    let good = CertificateStatus::Good;
    for (this_update, next_update) in [(START, START), (END, START), (START, 253_402_300_800)] {
        let refused = Err(CertificateError::Validity);
        assert_eq!(ISSUING.crl(1, this_update, next_update, &[]), refused);
        assert_eq!(ISSUING.ocsp(serial(1), good, this_update, next_update), refused);
    }
}

#[test]
fn reasons_have_the_numbers_of_the_rfc() {
    for (reason, code, _) in REASONS {
        assert_eq!(Reason::from_code(code), Some(reason));
    }
    for code in [2, 6, 7, 8, 10, u64::MAX] {
        assert_eq!(Reason::from_code(code), None, "{code}");
    }
}

/// `openssl ocsp` about the leaf, with a response from a file.
pub(super) fn shown(folder: &Folder, response: &[u8], options: &[&str]) -> Result<String, String> {
    folder.write("response.der", response);
    let command = ["ocsp", "-issuer", "issuing.pem", "-cert", "leaf.pem", "-CAfile", "root.pem"];
    let said = folder.openssl(&[&command[..], &["-respin", "response.der"], options].concat())?;
    match said.contains("Response verify OK") && !said.contains("WARNING: Status times invalid") {
        true => Ok(said),
        false => Err(said),
    }
}

#[test]
fn stock_openssl_believes_a_response_with_each_status() {
    let one = names(&["www.example.org"]);
    let folder = folder_with(&ISSUING, &leaf(&one));
    for options in [&[][..], &["-VAfile", "issuing.pem"]] {
        let said = shown(&folder, &response(0x1234, CertificateStatus::Good), options).unwrap();
        assert!(said.contains("leaf.pem: good"), "{said}");
        for (reason, _, _) in REASONS {
            let status = CertificateStatus::Revoked { at: START + 5, reason };
            let said = shown(&folder, &response(0x1234, status), options).unwrap();
            assert!(said.contains("leaf.pem: revoked"), "{said}");
            assert!(said.contains("Revocation Time: Sep 13 12:26:45 2020 GMT"), "{said}");
            assert_eq!(said.contains("Reason:"), reason != Reason::Unspecified, "{said}");
        }
    }
}

#[test]
fn a_response_that_is_stale_or_about_another_or_by_another_does_not_count() {
    let one = names(&["www.example.org"]);
    let folder = folder_with(&ISSUING, &leaf(&one));
    let good = CertificateStatus::Good;
    let said = shown(&folder, &response(0x1235, good), &[]).unwrap_err();
    assert!(said.contains("No Status found"), "{said}");
    let stale = ISSUING.ocsp(serial(0x1234), good, START, START + 3600).unwrap();
    let said = shown(&folder, &signed(&ISSUING_KEY, &stale), &[]).unwrap_err();
    assert!(said.contains("status expired"), "{said}");
    let early = ISSUING.ocsp(serial(0x1234), good, END - 3600, END).unwrap();
    let said = shown(&folder, &signed(&ISSUING_KEY, &early), &[]).unwrap_err();
    assert!(said.contains("status not yet valid"), "{said}");
    let unsigned = ISSUING.ocsp(serial(0x1234), good, START, END).unwrap();
    let forged = signed(&Key::generate(), &unsigned);
    shown(&folder, &forged, &[]).unwrap_err();
}

#[test]
fn a_client_that_is_shown_a_response_with_its_chain_believes_it() {
    let certificate = |der: &[u8]| X509::from_der(der).unwrap();
    let one = names(&["www.example.org"]);
    let leaf = signed(&ISSUING_KEY, &ISSUING.leaf(&leaf(&one)).unwrap());
    let issuing = certificate(ISSUING.certificate());
    let mut trusted = X509StoreBuilder::new().unwrap();
    trusted.add_cert(certificate(ROOT.certificate())).unwrap();
    let trusted = trusted.build();
    let mut chain = Stack::new().unwrap();
    chain.push(issuing.clone()).unwrap();
    let id = OcspCertId::from_cert(MessageDigest::sha1(), &certificate(&leaf), &issuing).unwrap();
    let revoked = CertificateStatus::Revoked { at: START, reason: Reason::Superseded };
    for (status, expected, reason) in [
        (CertificateStatus::Good, OcspCertStatus::GOOD, OcspRevokedStatus::NO_STATUS),
        (revoked, OcspCertStatus::REVOKED, OcspRevokedStatus::STATUS_SUPERSEDED),
    ] {
        let response = openssl::ocsp::OcspResponse::from_der(&response(0x1234, status)).unwrap();
        let basic = response.basic().unwrap();
        basic.verify(&chain, &trusted, OcspFlag::empty()).unwrap();
        let found = basic.find_status(&id).unwrap();
        assert_eq!((found.status, found.reason), (expected, reason));
        found.check_validity(300, None).unwrap();
    }
}

#[test]
fn responses_are_canonical_and_carry_nothing_needless() {
    let revoked = CertificateStatus::Revoked { at: START, reason: Reason::Superseded };
    for status in [CertificateStatus::Good, revoked] {
        let der = response(1, status);
        assert!(der.len() < 512, "{} bytes", der.len());
        let outer = OcspResponse::from_der(&der).unwrap();
        assert_eq!(outer.to_der().unwrap(), der);
        assert_eq!(outer.response_status, OcspResponseStatus::Successful);
        let bytes = outer.response_bytes.unwrap().response;
        let basic = BasicOcspResponse::from_der(bytes.as_bytes()).unwrap();
        assert_eq!(basic.to_der().unwrap(), bytes.as_bytes());
        let data = basic.tbs_response_data;
        assert_eq!((basic.certs, data.response_extensions), (None, None));
        let is_good = matches!(data.responses[0].cert_status, CertStatus::Good(_));
        assert_eq!(is_good, status == CertificateStatus::Good);
        assert_eq!(data.responses.len(), 1);
    }
}
