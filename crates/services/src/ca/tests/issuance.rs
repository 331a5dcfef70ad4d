//! From a ready order to a certificate.

use super::world::{CHAIN, Client, DAY, NOW, World, csr, web_key};
use crate::ca::jose::tests::signer::Signer;
use crate::ca::*;
use crate::x509::Serial;
use maftia_activity::StateMachine;
use serde_json::json;
use std::collections::BTreeSet;

/// A ready order for these names.
fn ready(world: &mut World, client: &Client, names: &[&str]) -> String {
    let order = world.order(client, names);
    world.validate(client, &order);
    order
}

#[test]
fn a_csr_names_exactly_what_the_order_does() {
    let (mut world, client) = World::with_client(|_| {});
    let order = ready(&mut world, &client, &["a.example.org", "b.example.org"]);
    for names in [
        &["a.example.org"][..],
        &["a.example.org", "c.example.org"],
        &["a.example.org", "b.example.org", "c.example.org"],
        &["a.example.org", "*.b.example.org"],
        &["a.example.org", "192.0.2.1"],
    ] {
        let request = csr(&web_key(), names);
        world.refused(400, "badCSR", |world| world.finalize(&client, &order, &request));
    }
    let request = csr(&web_key(), &["b.example.org", "a.example.org"]);
    world.finalize(&client, &order, &request).ok();
}

#[test]
fn what_is_no_csr_is_refused() {
    let (mut world, client) = World::with_client(|_| {});
    let order = ready(&mut world, &client, &["a.example.org"]);
    let mut altered = csr(&web_key(), &["a.example.org"]);
    *altered.last_mut().unwrap() ^= 1;
    for request in [&b""[..], &[0x30, 0], &altered, &CHAIN[0]] {
        world.refused(400, "badCSR", |world| world.finalize(&client, &order, request));
    }
}

#[test]
fn the_accounts_own_key_is_not_certified() {
    let (mut world, client) = World::with_client(|_| {});
    let order = ready(&mut world, &client, &["a.example.org"]);
    let request = csr(&client.key, &["a.example.org"]);
    world.refused(400, "badCSR", |world| world.finalize(&client, &order, &request));
    let request = csr(&Signer::ed25519(), &["a.example.org"]);
    world.finalize(&client, &order, &request).ok();
}

#[test]
fn a_key_that_was_revoked_as_compromised_is_not_certified_again() {
    let (mut world, client) = World::with_client(|_| {});
    let key = web_key();
    for (reason, is_refused) in [(4, false), (1, true)] {
        let leaf = world.certificate_of(&client, &["a.example.org"], &key);
        let wish = json!({ "certificate": jose::base64url::encode(&leaf), "reason": reason });
        world.post(&client, "/acme/revoke-cert", wish).ok();
        let order = ready(&mut world, &client, &["a.example.org"]);
        let request = csr(&key, &["a.example.org"]);
        if is_refused {
            world.refused(400, "badCSR", |world| world.finalize(&client, &order, &request));
        } else {
            world.finalize(&client, &order, &request).ok();
            world.sign();
        }
    }
}

#[test]
fn an_order_is_finalized_once_and_when_it_is_ready() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["a.example.org"]);
    let request = csr(&web_key(), &["a.example.org"]);
    let ask = |world: &mut World| world.finalize(&client, &order, &request);
    world.refused(403, "orderNotReady", ask);
    world.validate(&client, &order);
    ask(&mut world).ok();
    assert_eq!(world.order_status(&client, &order), "processing");
    world.refused(403, "orderNotReady", ask);
    world.sign();
    assert_eq!(world.order_status(&client, &order), "valid");
    world.refused(403, "orderNotReady", ask);
    assert_eq!(world.authority.state.certificates.len(), 1);
}

#[test]
fn serial_numbers_are_different_positive_and_not_to_be_foreseen() {
    let (mut world, client) = World::with_client(|_| {});
    let mut serials = BTreeSet::new();
    let mut chances = BTreeSet::new();
    for _ in 0..20 {
        let leaf = world.certificate(&client, &["a.example.org"]);
        let serial = Serial::of_certificate(&leaf).unwrap();
        assert_eq!(serial.bytes()[0] & 0xc0, 0x40, "positive, and of one length");
        assert_eq!(serial.integer().len(), 16);
        serials.insert(serial);
        chances.insert(serial.bytes()[8..].to_vec());
    }
    assert_eq!((serials.len(), chances.len()), (20, 20));
    // The position makes them unique whatever the group draws.
    assert!(
        serials.iter().zip(serials.iter().skip(1)).all(|(a, b)| a.bytes()[..8] != b.bytes()[..8])
    );
}

#[test]
fn no_certificate_outlives_its_issuers() {
    let (mut world, _) = World::with_client(|settings| settings.limits.orders_per_hour = 10);
    world.pass(3950 * DAY);
    world.sign();
    let client = world.client();
    let leaf = world.certificate(&client, &["a.example.org"]);
    let leaf = openssl::x509::X509::from_der(&leaf).unwrap();
    let end = openssl::asn1::Asn1Time::from_unix((NOW + 4000 * DAY) as i64).unwrap();
    assert_eq!(leaf.not_after().to_string(), end.to_string());
    world.pass(50 * DAY);
    let wish = json!({ "identifiers": super::world::identifiers(&["a.example.org"]) });
    world.refused(400, "malformed", |world| world.post(&client, "/acme/new-order", wish));
}

#[test]
fn a_request_to_staple_is_granted() {
    let (mut world, client) = World::with_client(|_| {});
    let order = ready(&mut world, &client, &["a.example.org"]);
    let folder = crate::x509::tests::stock::Folder::new();
    folder.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", "key.pem"]).unwrap();
    let arguments = ["req", "-new", "-key", "key.pem", "-subj", "/", "-addext"];
    let extensions = ["subjectAltName=DNS:a.example.org", "-addext", "tlsfeature=status_request"];
    let output = ["-outform", "DER", "-out", "request"];
    folder.openssl(&[&arguments[..], &extensions, &output].concat()).unwrap();
    world.finalize(&client, &order, &folder.read("request")).ok();
    world.sign();
    let leaf = world.download(&client, &order);
    folder.write("leaf", &leaf);
    let text = folder.openssl(&["x509", "-inform", "DER", "-in", "leaf", "-noout", "-text"]);
    assert!(text.unwrap().contains("status_request"));
}

#[test]
fn certificates_of_a_week_are_limited_by_registered_name() {
    let (mut world, client) =
        World::with_client(|settings| settings.limits.certificates_per_week = 2);
    world.certificate(&client, &["a.example.org"]);
    let late = ready(&mut world, &client, &["late.example.org"]);
    world.certificate(&client, &["b.example.org", "c.example.org"]);
    let wish = json!({ "identifiers": super::world::identifiers(&["d.example.org"]) });
    let ask = |world: &mut World| world.post(&client, "/acme/new-order", wish.clone());
    let answer = world.refused(429, "rateLimited", ask);
    let seconds = u64::from(answer.reply.retry_after.unwrap());
    assert!((1..=7 * DAY).contains(&seconds));
    // Neither does an order get one that was made before.
    let request = csr(&web_key(), &["late.example.org"]);
    world.refused(429, "rateLimited", |world| world.finalize(&client, &late, &request));
    world.certificate(&client, &["a.example.net"]);
    world.pass(seconds - 1);
    world.refused(429, "rateLimited", ask);
    world.pass(1);
    ask(&mut world).ok();
}

#[test]
fn at_most_so_many_certificates_are_signed_at_once_and_the_others_wait_their_turn() {
    let (mut world, client) = World::with_client(|_| {});
    let orders: Vec<String> =
        (0..70).map(|_| ready(&mut world, &client, &["a.example.org"])).collect();
    for order in &orders {
        let request = csr(&web_key(), &["a.example.org"]);
        assert!(world.finalize(&client, order, &request).ok().is("processing"));
    }
    let shown: Vec<_> = world.authority.to_sign().into_iter().map(|wanted| wanted.id).collect();
    assert_eq!(shown.len(), 48);
    let again: Vec<_> = world.restored().to_sign().into_iter().map(|wanted| wanted.id).collect();
    assert_eq!(again, shown, "a function of the state");
    world.sign();
    for order in &orders {
        assert_eq!(world.order_status(&client, order), "valid");
    }
    assert!(world.authority.to_sign().is_empty());
}

#[test]
fn a_signature_for_nothing_changes_nothing() {
    let (mut world, client) = World::with_client(|_| {});
    let order = ready(&mut world, &client, &["a.example.org"]);
    world.finalize(&client, &order, &csr(&web_key(), &["a.example.org"])).ok();
    let id = world.authority.to_sign().remove(0).id;
    let before = world.authority.snapshot();
    for (id, signature) in [
        (id.0 + 8, &[1; 256][..]),
        (id.0 - 7, &[1; 256]),
        (id.0 - 1, &[1; 256]),
        (0, &[1; 256]),
        (u64::MAX, &[1; 256]),
        (id.0, &[1; 513]),
    ] {
        world.signed(maftia_activity::TaskId(id), signature);
        assert_eq!(world.authority.snapshot(), before);
    }
    world.sign();
    let before = world.authority.snapshot();
    world.signed(id, &[1; 256]);
    assert_eq!(world.authority.snapshot(), before, "it was signed before");
}

#[test]
fn a_certificate_says_where_to_ask_about_it() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let folder = crate::x509::tests::stock::Folder::new();
    folder.write("leaf", &leaf);
    let text = folder.openssl(&["x509", "-inform", "DER", "-in", "leaf", "-noout", "-text"]);
    let text = text.unwrap();
    for path in [CRL_PATH, OCSP_PATH, ISSUING_PATH] {
        assert!(text.contains(&format!("URI:http://ca.example.org{path}")), "{path}: {text}");
    }
}

#[test]
fn a_certificate_is_forgotten_some_time_after_its_end() {
    let (mut world, client) = World::with_client(|_| {});
    world.certificate(&client, &["a.example.org"]);
    let mut days = 0;
    while !world.authority.state.certificates.is_empty() {
        world.pass(DAY);
        world.sign();
        days += 1;
    }
    assert_eq!(days, 92, "90 days, and two periods of the revocation list");
}
