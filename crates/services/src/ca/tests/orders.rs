//! Orders: which names, for how long, and in which state.

use super::world::{BASE, DAY, NOW, World, csr, identifiers, last_number, names, web_key};
use crate::ca::*;
use crate::x509::IpRange;
use serde_json::{Value, json};

const NEW: &str = "/acme/new-order";

fn ask(names: &[&str]) -> Value {
    json!({ "identifiers": identifiers(names) })
}

#[test]
fn what_cannot_be_named_is_refused() {
    let (mut world, client) = World::with_client(|_| {});
    for (kind, value, problem) in [
        ("dns", "under_score.example.org", "malformed"),
        ("dns", "", "malformed"),
        ("dns", "192.0.2.1", "malformed"),
        ("dns", "localhost", "rejectedIdentifier"),
        ("dns", "*.org", "rejectedIdentifier"),
        ("ip", "192.0.2.01", "malformed"),
        ("ip", "0.0.0.0", "rejectedIdentifier"),
        ("email", "a@example.org", "unsupportedIdentifier"),
    ] {
        let wish = json!({ "identifiers": [{ "type": kind, "value": value }] });
        world.refused(400, problem, |world| world.post(&client, NEW, wish));
    }
    for wish in [
        json!({ "identifiers": [] }),
        json!({ "identifiers": {} }),
        json!({ "identifiers": ["example.org"] }),
        json!({ "identifiers": [{ "type": "dns" }] }),
        json!({ "identifiers": [{ "value": "example.org" }] }),
        ask(&["a.example.org"; 101]),
    ] {
        world.refused(400, "malformed", |world| world.post(&client, NEW, wish));
    }
}

#[test]
fn what_the_policy_does_not_allow_is_refused_name_by_name() {
    let range = IpRange::new([10, 0, 0, 0].into(), 8).unwrap();
    let (mut world, client) = World::with_client(|settings| {
        settings.profiles[0].names = NameRules { ips: vec![range], ..names(&["example.org"]) };
    });
    let wish = ask(&["a.example.org", "example.net", "10.1.2.3", "11.1.2.3"]);
    let answer = world.refused(400, "rejectedIdentifier", |world| world.post(&client, NEW, wish));
    let refused = answer.json["subproblems"].as_array().unwrap().iter();
    let refused: Vec<_> = refused.map(|each| each["identifier"]["value"].clone()).collect();
    assert_eq!(refused, ["example.net", "11.1.2.3"]);
    world.order(&client, &["a.example.org", "10.1.2.3"]);
}

#[test]
fn an_order_for_all_the_names_that_there_can_be_fits_and_one_more_byte_does_not() {
    let (mut world, client) = World::with_client(|_| {});
    // Two bytes of each name go into its length and its kind.
    let name = |number: usize, bytes: usize| {
        let labels = ["a".repeat(60), "b".repeat(bytes - 3 - 60 - 1 - 8)].join(".");
        format!("{number:02}x{labels}.example")
    };
    let bytes = (12 << 10) / 100 - 2;
    let fitting: Vec<String> = (0..100).map(|number| name(number, bytes)).collect();
    assert!(fitting.iter().all(|name| name.len() <= bytes), "{}", fitting[0].len());
    let mut too_long = fitting.clone();
    for name in &mut too_long {
        *name = format!("w.{name}");
    }
    let refs = |names: &[String]| ask(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.refused(400, "rejectedIdentifier", |world| world.post(&client, NEW, refs(&too_long)));
    let order = world.post(&client, NEW, refs(&fitting)).ok();
    let order = order.location().strip_prefix(BASE).unwrap().to_owned();
    world.validate(&client, &order);
    let request = csr(&web_key(), &fitting.iter().map(String::as_str).collect::<Vec<_>>());
    world.finalize(&client, &order, &request).ok();
    world.sign();
    let leaf = world.download(&client, &order);
    assert!(leaf.len() <= CERTIFICATE_BYTES_MAX);
    // And its holder can still have it revoked.
    let wish = json!({ "certificate": jose::base64url::encode(&leaf) });
    assert_eq!(world.post(&client, "/acme/revoke-cert", wish).ok().status(), 200);
}

#[test]
fn a_name_that_is_asked_for_twice_is_ordered_once() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.post(&client, NEW, ask(&["a.example.org", "A.EXAMPLE.org"])).ok();
    assert_eq!(order.json["identifiers"].as_array().unwrap().len(), 1);
    assert_eq!(order.json["authorizations"].as_array().unwrap().len(), 1);
}

#[test]
fn profiles_are_chosen_by_name() {
    let (mut world, client) = World::with_client(|_| {});
    let mut wish = ask(&["short.example.org"]);
    wish["profile"] = json!("short");
    let order = world.post(&client, NEW, wish.clone()).ok();
    assert_eq!(order.json["profile"], "short");
    for profile in [json!("long"), json!(""), json!(1), json!(null)] {
        wish["profile"] = profile;
        world.refused(400, "invalidProfile", |world| world.post(&client, NEW, wish.clone()));
    }
    let mut wish = ask(&["a.example.org"]);
    wish["profile"] = json!("short");
    world.refused(400, "rejectedIdentifier", |world| world.post(&client, NEW, wish));
}

#[test]
fn dates_are_refused_unless_the_policy_allows_them() {
    let (mut world, client) = World::with_client(|_| {});
    for name in ["notBefore", "notAfter"] {
        let mut wish = ask(&["a.example.org"]);
        wish[name] = json!(world.date(DAY));
        world.refused(400, "malformed", |world| world.post(&client, NEW, wish));
    }
    let (mut world, client) = World::with_client(|settings| settings.dates_allowed = true);
    let wish = |before: Option<i64>, after: Option<i64>| {
        let date = |offset: i64| json!(answer::date((NOW as i64 + offset) as u64));
        let mut wish = ask(&["a.example.org"]);
        before.inspect(|offset| wish["notBefore"] = date(*offset));
        after.inspect(|offset| wish["notAfter"] = date(*offset));
        wish
    };
    let day = DAY as i64;
    for (before, after) in [
        (Some(-7200), None),
        (None, Some(91 * day)),
        (Some(0), Some(0)),
        (Some(10), Some(5)),
        (Some(0), Some(90 * day)),
        (Some(0), Some(-1)),
        // Later than what is validated now lasts.
        (Some(31 * day), None),
    ] {
        world.refused(400, "malformed", |world| world.post(&client, NEW, wish(before, after)));
    }
    let mut odd = ask(&["a.example.org"]);
    for date in [json!(1), json!("tomorrow"), json!("2026-11-23"), json!("2026-11-23T00:00:00")] {
        odd["notAfter"] = date;
        world.refused(400, "malformed", |world| world.post(&client, NEW, odd.clone()));
    }
    let order = world.post(&client, NEW, wish(Some(60), Some(10 * day))).ok();
    assert_eq!(order.json["notBefore"], world.date(60));
    assert_eq!(order.json["notAfter"], world.date(10 * DAY));
    let order = order.location().strip_prefix(BASE).unwrap().to_owned();
    world.validate(&client, &order);
    world.finalize(&client, &order, &csr(&web_key(), &["a.example.org"])).ok();
    world.sign();
    let leaf = world.download(&client, &order);
    let leaf = openssl::x509::X509::from_der(&leaf).unwrap();
    let at = |offset: i64| openssl::asn1::Asn1Time::from_unix(NOW as i64 + offset).unwrap();
    assert_eq!(leaf.not_before().to_string(), at(60).to_string());
    assert_eq!(leaf.not_after().to_string(), at(10 * day).to_string());
}

#[test]
fn a_beginning_that_has_passed_since_it_was_chosen_is_not_dated_back() {
    let (mut world, client) = World::with_client(|settings| settings.dates_allowed = true);
    let mut wish = ask(&["a.example.org"]);
    wish["notBefore"] = json!(world.date(0));
    let order = world.post(&client, NEW, wish).ok();
    let order = order.location().strip_prefix(BASE).unwrap().to_owned();
    world.validate(&client, &order);
    world.pass(DAY);
    world.finalize(&client, &order, &csr(&web_key(), &["a.example.org"])).ok();
    world.sign();
    let leaf = openssl::x509::X509::from_der(&world.download(&client, &order)).unwrap();
    let earliest = (NOW + DAY - BACKDATE_SECONDS) as i64;
    let earliest = openssl::asn1::Asn1Time::from_unix(earliest).unwrap();
    assert_eq!(leaf.not_before().to_string(), earliest.to_string());
}

#[test]
fn an_order_that_is_not_finalized_expires_and_is_forgotten() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["a.example.org"]);
    world.pass(7 * DAY - 1);
    assert_eq!(world.order_status(&client, &order), "pending");
    world.pass(1);
    let shown = world.get(&client, &order).ok();
    assert!(shown.is("invalid"));
    assert_eq!(shown.json["error"]["type"], "urn:ietf:params:acme:error:malformed");
    world.refused(403, "orderNotReady", |world| world.finalize(&client, &order, b""));
    world.pass(2 * 3600);
    world.refused(404, "malformed", |world| world.get(&client, &order));
    assert!(world.authority.state.authorizations.is_empty(), "nothing is left of it");
}

#[test]
fn a_ready_order_expires_as_well() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["a.example.org"]);
    world.validate(&client, &order);
    world.pass(7 * DAY);
    let request = csr(&web_key(), &["a.example.org"]);
    world.refused(403, "orderNotReady", |world| world.finalize(&client, &order, &request));
    assert_eq!(world.order_status(&client, &order), "invalid");
}

#[test]
fn what_was_validated_is_not_validated_again_until_it_expires() {
    let (mut world, client) = World::with_client(|_| {});
    world.certificate(&client, &["a.example.org"]);
    let again = world.order(&client, &["a.example.org"]);
    assert_eq!(world.order_status(&client, &again), "ready");
    let more = world.order(&client, &["a.example.org", "b.example.org"]);
    assert_eq!(world.order_status(&client, &more), "pending");
    let other = world.client();
    let theirs = world.order(&other, &["a.example.org"]);
    assert_eq!(world.order_status(&other, &theirs), "pending", "another account proves it itself");
    world.pass(30 * DAY);
    let late = world.order(&client, &["a.example.org"]);
    assert_eq!(world.order_status(&client, &late), "pending");
}

#[test]
fn an_order_expires_with_the_first_authorization_that_it_took_over() {
    let (mut world, client) = World::with_client(|_| {});
    world.certificate(&client, &["a.example.org"]);
    world.pass(28 * DAY);
    let order = world.post(&client, NEW, ask(&["a.example.org", "b.example.org"])).ok();
    assert_eq!(order.json["expires"], world.date(2 * DAY));
    world.pass(2 * DAY);
    let path = order.location().strip_prefix(BASE).unwrap().to_owned();
    assert_eq!(world.order_status(&client, &path), "invalid");
}

#[test]
fn orders_of_an_hour_are_limited_by_account() {
    let (mut world, client) = World::with_client(|settings| settings.limits.orders_per_hour = 3);
    for _ in 0..3 {
        world.order(&client, &["a.example.org"]);
    }
    let wish = ask(&["a.example.org"]);
    let answer = world.refused(429, "rateLimited", |world| world.post(&client, NEW, wish.clone()));
    assert_eq!(answer.reply.retry_after, Some(3600));
    let other = world.client();
    world.order(&other, &["a.example.org"]);
    world.pass(3600);
    world.order(&client, &["a.example.org"]);
}

#[test]
fn pending_authorizations_are_limited_by_account() {
    let (mut world, client) =
        World::with_client(|settings| settings.limits.pending_authorizations = 3);
    let first = world.order(&client, &["a.example.org", "b.example.org"]);
    let wish = ask(&["c.example.org", "d.example.org"]);
    world.refused(429, "rateLimited", |world| world.post(&client, NEW, wish.clone()));
    world.validate(&client, &first);
    world.post(&client, NEW, wish).ok();
}

#[test]
fn an_order_replaces_a_certificate_of_its_account_once() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org", "b.example.org"]);
    let serial = crate::x509::Serial::of_certificate(&leaf).unwrap();
    let name = renewal::name(&world.policy, serial);
    let wish = |names: &[&str], name: &str| {
        let mut wish = ask(names);
        wish["replaces"] = json!(name);
        wish
    };
    let other = world.client();
    for (client, names, name) in [
        (&client, ["c.example.org"], &name[..]),
        (&other, ["a.example.org"], &name),
        (&client, ["a.example.org"], "AAAA.AAAA"),
        (&client, ["a.example.org"], &name[1..]),
        (&client, ["a.example.org"], ""),
    ] {
        let wish = wish(&names, name);
        world.refused(400, "malformed", |world| world.post(client, NEW, wish));
    }
    let order = world.post(&client, NEW, wish(&["a.example.org", "c.example.org"], &name)).ok();
    assert_eq!(order.json["replaces"], name);
    let again = wish(&["a.example.org"], &name);
    world.refused(409, "alreadyReplaced", |world| world.post(&client, NEW, again.clone()));
    // An order that comes to nothing replaces nothing.
    world.pass(7 * DAY);
    let order = world.post(&client, NEW, again.clone()).ok();
    let order = order.location().strip_prefix(BASE).unwrap().to_owned();
    world.finalize(&client, &order, &csr(&web_key(), &["a.example.org"])).ok();
    world.sign();
    assert_eq!(world.order_status(&client, &order), "valid");
    // One that has come to something does so for ever, even when it is forgotten.
    world.pass(8 * DAY);
    world.refused(404, "malformed", |world| world.get(&client, &order));
    world.refused(409, "alreadyReplaced", |world| world.post(&client, NEW, again));
}

#[test]
fn names_of_one_label_are_for_a_policy_that_says_so() {
    let (mut world, client) = World::with_client(|settings| settings.single_labels_allowed = true);
    let leaf = world.certificate(&client, &["printer"]);
    assert!(!leaf.is_empty());
}

#[test]
fn numbers_are_never_used_again() {
    let (mut world, client) = World::with_client(|_| {});
    let first = world.order(&client, &["a.example.org"]);
    world.pass(30 * DAY);
    assert!(world.authority.state.orders.is_empty());
    let second = world.order(&client, &["a.example.org"]);
    assert!(last_number(&second) > last_number(&first));
}
