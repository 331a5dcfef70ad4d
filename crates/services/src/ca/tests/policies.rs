//! Which policies are accepted.

use super::world::{World, names, settings};
use crate::ca::*;
use maftia_base::AdversaryStructure;
use serde_json::Value;

fn refused(change: impl FnOnce(&mut Settings)) -> PolicyError {
    let mut settings = settings(4);
    change(&mut settings);
    Policy::new(settings, &AdversaryStructure::optimal(4).unwrap()).expect_err("refused")
}

#[test]
fn a_base_url_is_scheme_host_and_port() {
    for base in [
        "",
        "ca.example.org",
        "http://ca.example.org",
        "https://",
        "https://ca.example.org/",
        "https://ca.example.org/acme",
        "https://CA.example.org",
        "https://user@ca.example.org",
        "https://ca.example.org:0",
        "https://ca.example.org:70000",
        "https://ca.example.org:",
        "https://ca.example.org?x",
        &format!("https://{}.org", "a".repeat(120)),
    ] {
        let error = refused(|settings| settings.base = base.to_owned());
        assert!(matches!(error, PolicyError::Base("https://", _)), "{base}");
    }
    for base in ["https://ca.example.org", "ca.example.org", "http://"] {
        let error = refused(|settings| settings.plain_base = base.to_owned());
        assert!(matches!(error, PolicyError::Base("http://", _)), "{base}");
    }
    for base in ["https://ca.example.org:8443", "https://10.0.0.1", "https://[2001:db8::1]:8443"] {
        let structure = AdversaryStructure::optimal(4).unwrap();
        let settings = Settings { base: base.to_owned(), ..settings(4) };
        assert_eq!(Policy::new(settings, &structure).unwrap().url("/x"), format!("{base}/x"));
    }
}

#[test]
fn certificates_and_keys_have_to_fit_the_group() {
    let is_issuing = |error: PolicyError| matches!(error, PolicyError::Issuing(_));
    assert!(is_issuing(refused(|settings| settings.issuing = Vec::new())));
    let error = refused(|settings| settings.root = vec![0x30, 0]);
    assert!(matches!(error, PolicyError::Root(_)));
    let error = refused(|settings| settings.root = settings.issuing.clone());
    assert_eq!(error, PolicyError::Chain);
    let error = refused(|settings| settings.nonce_keys.truncate(3));
    assert_eq!(error, PolicyError::NonceKeys { given: 3, servers: 4 });
}

#[test]
fn profiles_have_names_of_their_own_and_the_default_is_one_of_them() {
    let is_name = |error| matches!(error, PolicyError::ProfileName(_));
    assert!(is_name(refused(|settings| settings.profiles[0].name = String::new())));
    assert!(is_name(refused(|settings| settings.profiles[0].name = "a b".to_owned())));
    assert!(is_name(refused(|settings| settings.profiles[0].name = "a".repeat(33))));
    assert!(is_name(refused(|settings| settings.profiles[0].name = "short".to_owned())));
    let error = refused(|settings| settings.default_profile = "long".to_owned());
    assert_eq!(error, PolicyError::DefaultProfile("long".to_owned()));
    let error = refused(|settings| settings.profiles.clear());
    assert_eq!(error, PolicyError::DefaultProfile("web".to_owned()));
    let error = refused(|settings| settings.profiles[0].seconds = 0);
    assert!(matches!(error, PolicyError::Period(_)));
    let error = refused(|settings| settings.profiles[1].names = names(&[".example.org"]));
    assert_eq!(error, PolicyError::Names("short".to_owned()));
}

#[test]
fn external_accounts_have_names_and_secrets() {
    let is_account = |error| matches!(error, PolicyError::ExternalAccount(_));
    let twice = refused(|settings| {
        let twin = settings.external_accounts[0].clone();
        settings.external_accounts.push(twin);
    });
    assert!(is_account(twice));
    assert!(is_account(refused(|settings| settings.external_accounts[0].id.clear())));
    assert!(is_account(refused(|settings| settings.external_accounts[0].id = "a".repeat(65))));
    assert!(is_account(refused(|settings| settings.external_accounts[0].mac_key = vec![1; 31])));
    let shown = format!("{:?}", settings(4).external_accounts[0]);
    assert!(shown.contains("customer-1") && !shown.contains("109"), "no secret: {shown}");
}

#[test]
fn officers_are_enough_for_what_is_asked_of_them() {
    for needed in [0, 4] {
        let error = refused(|settings| settings.officers.needed = needed);
        assert_eq!(error, PolicyError::Officers);
    }
    let error = refused(|settings| settings.officers.keys[1] = settings.officers.keys[0]);
    assert_eq!(error, PolicyError::Officers);
    let error = refused(|settings| {
        settings.officers.keys.clear();
        settings.officers.needed = 0;
    });
    assert_eq!(error, PolicyError::Officers, "nobody could approve what has to be approved");
    let error = refused(|settings| {
        settings.officers.keys = (0..33).map(|n| maftia_crypto::ClientKey([n; 32])).collect();
    });
    assert_eq!(error, PolicyError::Officers);
}

#[test]
fn periods_and_limits_let_something_happen() {
    let periods: [fn(&mut Periods); 5] = [
        |periods| periods.order = 0,
        |periods| periods.authorization = 0,
        |periods| periods.validation = u64::MAX,
        |periods| periods.crl = 0,
        |periods| periods.ocsp = 1,
    ];
    for change in periods {
        let error = refused(|settings| change(&mut settings.periods));
        assert!(matches!(error, PolicyError::Period(_)), "{error}");
    }
    let limits: [fn(&mut Limits); 6] = [
        |limits| limits.accounts_per_hour = 0,
        |limits| limits.orders_per_hour = 0,
        |limits| limits.pending_authorizations = 0,
        |limits| limits.certificates_per_week = 0,
        |limits| limits.names = 0,
        |limits| limits.names = 101,
    ];
    for change in limits {
        let error = refused(|settings| change(&mut settings.limits));
        assert!(matches!(error, PolicyError::Limit(_)), "{error}");
    }
}

#[test]
fn the_directory_has_what_clients_look_for() {
    let world = World::with(|settings| settings.terms_of_service = Some("https://t".to_owned()));
    let directory: Value = serde_json::from_slice(&world.policy.directory()).unwrap();
    let base = super::world::BASE;
    for (name, path) in [
        ("newNonce", "/acme/new-nonce"),
        ("newAccount", "/acme/new-account"),
        ("newOrder", "/acme/new-order"),
        ("revokeCert", "/acme/revoke-cert"),
        ("keyChange", "/acme/key-change"),
        ("renewalInfo", "/acme/renewal-info"),
    ] {
        assert_eq!(directory[name], format!("{base}{path}"));
    }
    assert_eq!(directory["meta"]["termsOfService"], "https://t");
    assert_eq!(directory["meta"]["externalAccountRequired"], false);
    assert_eq!(directory["meta"]["caaIdentities"][0], "ca.example.org");
    assert!(directory["meta"]["profiles"]["short"].is_string());
    assert_eq!(world.policy.directory_url(), format!("{base}/acme/directory"));
}
