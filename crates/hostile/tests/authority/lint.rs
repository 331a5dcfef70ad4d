//! What pkilint says of certificates, revocation lists and OCSP responses that a group has issued.

use crate::city::{City, said};
use crate::support::wait_until;
use crate::tools;
use maftia::acme::{self, Acme, Challenges};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// What it complains about: each with its reason here or in `services::x509`.
const JUSTIFIED: [&str; 4] = [
    // Public authorities may not; a private one is there for such hosts.
    "cabf.internal_ip_address",
    // It is said if the configuration has a country.
    "cabf.serverauth.ca.country_attribute_absent",
    // (b)
    "cabf.serverauth.subscriber.subject_key_identifier_extension_present",
    // (d)
    "cabf.serverauth.ca.incomplete_name_constraints",
];

/// The codes of all findings that are at least warnings.
fn findings(linter: &str, arguments: &[&str], file: &Path) -> BTreeSet<String> {
    let mut command = Command::new(tools::environment().join("bin").join(linter));
    command.arg("lint").args(arguments).args(["-s", "WARNING"]).arg(file);
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(!text.contains("Traceback"), "{text}");
    let codes = text.lines().filter_map(|line| line.trim().split_once(" ("));
    codes.map(|(code, _)| code.to_owned()).filter(|code| code.contains('.')).collect()
}

/// The first certificate of a file, in a file of its own.
fn first(city: &City, name: &str, pem: &[u8]) -> std::path::PathBuf {
    const END: &str = "-----END CERTIFICATE-----\n";
    let text = std::str::from_utf8(pem).unwrap();
    let end = text.find(END).expect("a certificate") + END.len();
    let path = city.path(name);
    std::fs::write(&path, &text[..end]).unwrap();
    path
}

#[test]
fn pkilint_complains_about_nothing_that_is_not_justified() {
    let mut city = City::found_under(("ca.example.org", "example.org"), 4, None, "");
    city.start_all().unwrap();
    let challenges = Challenges::serve((Ipv4Addr::LOCALHOST, city.ports.http).into()).unwrap();
    let root = std::fs::read(city.public("root.pem")).unwrap();
    let mut client = Acme::register(&city.directory(), &root, city.door(), challenges).unwrap();
    let key = acme::key().unwrap();
    let mut found = BTreeSet::new();
    for (number, names) in [
        &["www.example.org"][..],
        &["www.example.org", "api.example.org", "127.0.0.1"],
        &["127.0.0.1"],
    ]
    .into_iter()
    .enumerate()
    {
        let request = acme::request(&key, names).unwrap();
        let chain = client.obtain(names, &request).unwrap();
        let leaf = first(&city, &format!("leaf-{number}.pem"), &chain);
        found.extend(findings("lint_pkix_cert", &[], &leaf));
        found.extend(findings("lint_cabf_serverauth_cert", &["-d"], &leaf));
        wait_until("there is an OCSP response", || city.status_of(&leaf, 1) == "good");
        found.extend(findings("lint_ocsp_response", &[], &city.path("response.der")));
    }
    found.extend(findings("lint_cabf_serverauth_cert", &["-d"], &city.public("root.pem")));
    let issuing = city.public("issuing.pem");
    found.extend(findings("lint_cabf_serverauth_cert", &["-d"], &issuing));
    for profile in ["PKIX", "BR"] {
        found.extend(findings("lint_crl", &["-t", "CRL", "-p", profile], &city.list(2)));
        let of_root = city.public("root.crl");
        found.extend(findings("lint_crl", &["-t", "ARL", "-p", profile], &of_root));
    }
    let justified: BTreeSet<String> = JUSTIFIED.map(String::from).into();
    assert_eq!(found, justified, "nothing more, and nothing that it no longer says");
}
