//! From a key to a certificate that stock tools verify, and back.

use super::world::{BASE, CHAIN, DAY, NOW, World, csr, identifiers, last_number, web_key};
use crate::ca::*;
use crate::x509::tests::stock::Folder;
use crate::x509::to_pem;
use maftia_activity::{AgreedTime, StateMachine};
use openssl::asn1::Asn1Time;
use openssl::x509::X509;
use serde_json::json;

/// Has the system's `openssl` verify a certificate as it would be seen at `at`.
fn verify(der: &[u8], at: u64, more: &[&str]) -> Result<String, String> {
    let folder = Folder::new();
    for (name, der) in [("root.pem", &CHAIN[0][..]), ("issuing.pem", &CHAIN[1]), ("leaf.pem", der)]
    {
        folder.write(name, to_pem(der).unwrap());
    }
    let at = at.to_string();
    let mut arguments = vec!["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted"];
    arguments.extend(["issuing.pem", "-attime", &at]);
    arguments.extend(more);
    arguments.push("leaf.pem");
    folder.openssl(&arguments)
}

#[test]
fn a_client_gets_a_certificate_that_stock_openssl_verifies() {
    let (mut world, client) = World::with_client(|_| {});
    let names = ["www.example.org", "example.org"];
    let answer =
        world.post(&client, "/acme/new-order", json!({ "identifiers": identifiers(&names) }));
    assert_eq!((answer.status(), &answer.json["status"]), (201, &json!("pending")));
    assert_eq!(answer.json["expires"], world.date(7 * DAY));
    assert_eq!(answer.json["profile"], "web");
    let sorted = json!([
        { "type": "dns", "value": "example.org" },
        { "type": "dns", "value": "www.example.org" },
    ]);
    assert_eq!(answer.json["identifiers"], sorted);
    let order = answer.location().strip_prefix(BASE).unwrap().to_owned();
    assert_eq!(answer.json["finalize"], format!("{BASE}{order}/finalize"));
    world.validate(&client, &order);
    assert_eq!(world.order_status(&client, &order), "ready");
    let answer = world.finalize(&client, &order, &csr(&web_key(), &names)).ok();
    assert!(answer.is("processing") && answer.reply.retry_after.is_some(), "{answer:?}");
    assert_eq!(answer.location(), format!("{BASE}{order}"));
    assert!(answer.json.get("certificate").is_none());
    world.sign();
    let leaf = world.download(&client, &order);
    verify(&leaf, NOW, &["-verify_hostname", "www.example.org"]).unwrap();
    verify(&leaf, NOW, &["-verify_hostname", "other.example.org"]).unwrap_err();
    // From an hour ago until the profile's end, the last second included.
    for (at, is_valid) in [
        (NOW - BACKDATE_SECONDS - 1, false),
        (NOW - BACKDATE_SECONDS, true),
        // OpenSSL takes the last second for the first after it.
        (NOW - BACKDATE_SECONDS + 90 * DAY - 2, true),
        (NOW - BACKDATE_SECONDS + 90 * DAY, false),
    ] {
        assert_eq!(verify(&leaf, at, &[]).is_ok(), is_valid, "{at}");
    }
    let last = Asn1Time::from_unix((NOW - BACKDATE_SECONDS + 90 * DAY - 1) as i64).unwrap();
    assert_eq!(X509::from_der(&leaf).unwrap().not_after().to_string(), last.to_string());
}

#[test]
fn addresses_and_wildcards_are_certified_by_the_challenges_that_fit_them() {
    let (mut world, client) = World::with_client(|_| {});
    let names = ["*.example.org", "192.0.2.7", "2001:db8::1", "example.org"];
    let order = world.order(&client, &names);
    let mut offered = Vec::new();
    for authorization in world.authorizations(&client, &order) {
        let shown = world.get(&client, &authorization).ok();
        let kinds = shown.json["challenges"].as_array().unwrap().iter();
        let kinds: Vec<_> = kinds.map(|each| each["type"].as_str().unwrap().to_owned()).collect();
        let value = shown.json["identifier"]["value"].as_str().unwrap().to_owned();
        offered.push((value, shown.json["wildcard"] == true, kinds.join(" ")));
    }
    let offer =
        |value: &str, is_wildcard, kinds: &str| (value.to_owned(), is_wildcard, kinds.to_owned());
    let expected = [
        offer("example.org", true, "dns-01"),
        offer("example.org", false, "http-01 dns-01 tls-alpn-01"),
        offer("192.0.2.7", false, "http-01 tls-alpn-01"),
        offer("2001:db8::1", false, "http-01 tls-alpn-01"),
    ];
    assert_eq!(offered, expected);
    world.validate(&client, &order);
    world.finalize(&client, &order, &csr(&web_key(), &names)).ok();
    world.sign();
    let leaf = world.download(&client, &order);
    verify(&leaf, NOW, &["-verify_hostname", "any.example.org"]).unwrap();
    verify(&leaf, NOW, &["-verify_ip", "192.0.2.7"]).unwrap();
    verify(&leaf, NOW, &["-verify_ip", "2001:db8::1"]).unwrap();
    verify(&leaf, NOW, &["-verify_ip", "192.0.2.8"]).unwrap_err();
}

#[test]
fn a_task_says_where_to_look_and_what_for() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["*.example.org"]);
    let authorization = world.authorizations(&client, &order).remove(0);
    let task = world.begin(&client, &authorization, "dns-01");
    assert_eq!(task.kind, ChallengeKind::Dns01);
    assert_eq!(task.identifier.acme_value(), "example.org", "a wildcard's base");
    let shown = world.get(&client, &authorization).ok();
    let challenge = &shown.json["challenges"][0];
    assert_eq!(challenge["token"], super::world::text(&task.token));
    let thumbprint = jose::base64url::encode(&client.key.jwk().thumbprint());
    let expected = format!("{}.{thumbprint}", super::world::text(&task.token));
    assert_eq!(super::world::text(&task.key_authorization), expected);
    let url = format!("{BASE}/acme/challenge/{}/dns-01", last_number(&authorization));
    assert_eq!(challenge["url"], url);
    assert!(challenge["status"] == "processing" && shown.reply.retry_after.is_some());
}

#[test]
fn what_is_due_within_a_minute_is_one_reason_to_be_woken() {
    let (mut world, client) = World::with_client(|_| {});
    world.pass(17);
    world.order(&client, &["a.example.org"]);
    world.pass(20);
    world.order(&client, &["b.example.org"]);
    let minute = |at: AgreedTime| at.0 / 60_000_000;
    // The list is due after a day, both orders after seven.
    world.pass(DAY);
    world.sign();
    let mut wakes = 0;
    while !world.authority.state.orders.values().all(|order| order.is_invalid()) {
        let at = world.authority.wake_at().unwrap();
        assert_eq!(at.0 % 60_000_000, 0);
        world.now = minute(at) * 60;
        world.wake();
        world.sign();
        wakes += 1;
    }
    assert_eq!(wakes, 6 + 1, "six lists, and once for both orders");
    // Who asks before does not have to wait for that.
    let order = world.order(&client, &["c.example.org"]);
    world.now += 7 * DAY;
    assert_eq!(world.order_status(&client, &order), "invalid");
}
