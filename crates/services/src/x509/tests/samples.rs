//! What an authority hands out on one day, with the dates of that day: for `openssl`, and for other
//! judges. `MAFTIA_X509_SAMPLES` names a folder that it is left in.

use super::super::*;
use super::stock::{Folder, Key};
use super::world::{
    CRL_URL, ISSUER_URL, LEAF_KEY, OCSP_URL, ROOT_KEY, delegation, names, revoked, root, serial,
    signed, subordinate,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use std::path::Path;

/// 2026-11-22, midnight UTC.
const TODAY: u64 = 1_795_305_600;
const DAY: u64 = 86_400;

struct Authorities {
    root: Issuer,
    issuing: Issuer,
    issuing_key: Key,
}

fn authorities() -> Authorities {
    let lasting = |days: u64| (TODAY - DAY, TODAY - 1 + (days - 1) * DAY);
    let (not_before, not_after) = lasting(20 * 365);
    let template = Authority { not_before, not_after, ..root() };
    let root = Issuer::new(&signed(&ROOT_KEY, &template.self_signed().unwrap())).unwrap();
    let issuing_key = Key::generate();
    let (not_before, not_after) = lasting(5 * 365);
    let range = ["192.0.2.0/24".parse().unwrap()];
    let permitted = NameConstraints::permitting(&["example.com"], &range).unwrap();
    let public_key = &issuing_key.public_key();
    let template = Authority { public_key, not_before, not_after, ..subordinate(Some(&permitted)) };
    let delegation = Delegation { usage: Usage::Server, ..delegation() };
    let unsigned = root.authority(&template, &delegation).unwrap();
    let issuing = Issuer::new(&signed(&ROOT_KEY, &unsigned)).unwrap();
    Authorities { root, issuing, issuing_key }
}

fn leaves() -> Vec<(&'static str, u64, Vec<u8>, &'static [&'static str])> {
    let p256 = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let p256 = PKey::from_ec_key(EcKey::generate(&p256).unwrap()).unwrap();
    let p256 = p256.public_key_to_der().unwrap();
    vec![
        ("leaf-rsa", 10, LEAF_KEY.clone(), &["www.example.com", "*.example.com"]),
        ("leaf-p256", 11, p256.clone(), &["example.com"]),
        ("leaf-address", 12, p256, &["192.0.2.7"]),
    ]
}

#[test]
fn what_is_handed_out_on_one_day_is_good_on_that_day() {
    let Authorities { root, issuing, issuing_key } = authorities();
    let folder = Folder::new();
    folder.write("root.pem", to_pem(root.certificate()).unwrap());
    folder.write("issuing.pem", to_pem(issuing.certificate()).unwrap());
    for (name, number, public_key, values) in leaves() {
        let given = names(values);
        let leaf = Leaf {
            serial: serial(number),
            names: &given,
            public_key: &public_key,
            not_before: TODAY,
            not_after: TODAY - 1 + 90 * DAY,
            usage: Usage::Server,
            must_staple: false,
            crl_url: CRL_URL,
            ocsp_url: OCSP_URL,
            issuer_url: ISSUER_URL,
            policy: DOMAIN_VALIDATED,
        };
        let certificate = signed(&issuing_key, &issuing.leaf(&leaf).unwrap());
        folder.write(&format!("{name}.pem"), to_pem(&certificate).unwrap());
    }
    let week = (TODAY, TODAY - 1 + 7 * DAY);
    let entries = [
        Revoked { at: TODAY - 5, ..revoked(12, Reason::KeyCompromise) },
        Revoked { at: TODAY - 9, ..revoked(13, Reason::Unspecified) },
    ];
    for (issuer, key, name, entries) in
        [(&issuing, &issuing_key, "issuing", &entries[..]), (&root, &*ROOT_KEY, "root", &[])]
    {
        let list = signed(key, &issuer.crl(21, week.0, week.1, entries).unwrap());
        folder.write(&format!("{name}-list.der"), list);
        let (from, to) = (format!("{name}-list.der"), format!("{name}-list.pem"));
        folder.openssl(&["crl", "-in", &from, "-out", &to]).unwrap();
    }
    folder.write(
        "lists.pem",
        [folder.read("issuing-list.pem"), folder.read("root-list.pem")].concat(),
    );
    let at = TODAY - 5;
    let of = |number, status| {
        let unsigned = issuing.ocsp(serial(number), status, week.0, week.1).unwrap();
        signed(&issuing_key, &unsigned)
    };
    let is_revoked = CertificateStatus::Revoked { at, reason: Reason::KeyCompromise };
    folder.write("good.ocsp", of(10, CertificateStatus::Good));
    folder.write("revoked.ocsp", of(12, is_revoked));
    judged(&folder);
    if let Some(kept) = std::env::var_os("MAFTIA_X509_SAMPLES") {
        keep(folder.path(), Path::new(&kept));
    }
}

/// At noon, with all lists.
fn judged(folder: &Folder) {
    let noon = (TODAY + DAY / 2).to_string();
    let verify = |name: &str| {
        let trusted = ["-CAfile", "root.pem", "-untrusted", "issuing.pem"];
        let checks = ["-crl_check_all", "-CRLfile", "lists.pem", "-attime", &noon];
        let strictly = ["verify", "-x509_strict", "-purpose", "sslserver"];
        folder.openssl(&[&strictly[..], &trusted, &checks, &[name]].concat())
    };
    verify("leaf-rsa.pem").unwrap();
    verify("leaf-p256.pem").unwrap();
    assert!(verify("leaf-address.pem").unwrap_err().contains("certificate revoked"));
    for (name, status) in [("good.ocsp", "Cert Status: good"), ("revoked.ocsp", "keyCompromise")] {
        let text = folder.openssl(&["ocsp", "-respin", name, "-noverify", "-resp_text"]).unwrap();
        assert!(text.contains(status), "{text}");
    }
}

fn keep(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
