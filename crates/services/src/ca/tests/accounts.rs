//! Accounts: made, found, changed, moved, shut.

use super::world::{BASE, Client, MAC_KEY, World};
use crate::ca::jose::tests::signer::{Signer, flattened};
use crate::ca::*;
use maftia_base::Party;
use serde_json::{Value, json};

const NEW: &str = "/acme/new-account";

fn path_of(client: &Client) -> String {
    client.kid.clone().unwrap().strip_prefix(BASE).unwrap().to_owned()
}

#[test]
fn an_account_is_made_once_and_then_found_by_its_key() {
    let mut world = World::with(|_| {});
    for key in [Signer::ed25519(), Signer::p256(), Signer::rsa(2048)] {
        let wish = json!({ "contact": ["mailto:admin@example.org"], "termsOfServiceAgreed": true });
        let made = world.post_with_key(&key, NEW, wish).ok();
        assert_eq!((made.status(), &made.json["status"]), (201, &json!("valid")));
        assert_eq!(made.json["contact"], json!(["mailto:admin@example.org"]));
        assert_eq!(made.json["orders"], format!("{}/orders", made.location()));
        for wish in [json!({}), json!({ "onlyReturnExisting": true }), json!({ "contact": [] })] {
            let before = world.authority.state.accounts.clone();
            let found = world.post_with_key(&key, NEW, wish).ok();
            assert_eq!((found.status(), found.location()), (200, made.location()));
            assert_eq!(found.json, made.json, "finding changes nothing");
            assert_eq!(world.authority.state.accounts, before);
        }
    }
}

#[test]
fn an_account_that_is_only_to_be_found_is_not_made() {
    let mut world = World::with(|_| {});
    let (key, wish) = (Signer::ed25519(), json!({ "onlyReturnExisting": true }));
    world.refused(400, "accountDoesNotExist", |world| world.post_with_key(&key, NEW, wish));
}

#[test]
fn terms_are_agreed_to_before_anything_else() {
    let terms = "https://ca.example.org/terms";
    let mut world = World::with(|settings| settings.terms_of_service = Some(terms.to_owned()));
    let key = Signer::ed25519();
    for wish in [json!({}), json!({ "termsOfServiceAgreed": false })] {
        let answer =
            world.refused(403, "userActionRequired", |world| world.post_with_key(&key, NEW, wish));
        let [link] = &answer.reply.links[..] else { panic!("one link") };
        assert_eq!((&link.url[..], link.relation), (terms.as_bytes(), Relation::TermsOfService));
    }
    let made = world.post_with_key(&key, NEW, json!({ "termsOfServiceAgreed": true })).ok();
    assert_eq!(made.json["termsOfServiceAgreed"], true);
}

#[test]
fn an_account_from_before_there_were_terms_orders_when_it_has_agreed() {
    let mut world = World::with(|_| {});
    let mut client = Client::new();
    client.kid = Some(world.post(&client, NEW, json!({})).ok().location());
    world.amend(|settings| settings.terms_of_service = Some("https://t".to_owned()));
    let order = json!({ "identifiers": super::world::identifiers(&["a.example.org"]) });
    world.refused(403, "userActionRequired", |world| {
        world.post(&client, "/acme/new-order", order.clone())
    });
    world.post(&client, &path_of(&client), json!({ "termsOfServiceAgreed": true })).ok();
    assert_eq!(world.post(&client, "/acme/new-order", order).ok().status(), 201);
}

#[test]
fn contacts_are_addresses_to_write_to() {
    let mut world = World::with(|_| {});
    let key = Signer::ed25519();
    let long = format!("mailto:{}@example.org", "a".repeat(128));
    for (contact, problem) in [
        ("tel:+41000", "unsupportedContact"),
        ("https://example.org", "unsupportedContact"),
        ("MAILTO:a@example.org", "unsupportedContact"),
        ("mailto:", "invalidContact"),
        ("mailto:a", "invalidContact"),
        ("mailto:@example.org", "invalidContact"),
        ("mailto:a@", "invalidContact"),
        ("mailto:a@b@example.org", "invalidContact"),
        ("mailto:a@example.org,b@example.org", "invalidContact"),
        ("mailto:a@example.org?subject=x", "invalidContact"),
        ("mailto:a%40b@example.org", "invalidContact"),
        ("mailto:a b@example.org", "invalidContact"),
        ("mailto:\u{e4}@example.org", "invalidContact"),
        (&long, "invalidContact"),
    ] {
        let wish = json!({ "contact": [contact] });
        world.refused(400, problem, |world| world.post_with_key(&key, NEW, wish));
    }
    let many = json!({ "contact": vec!["mailto:a@example.org"; 5] });
    world.refused(400, "invalidContact", |world| world.post_with_key(&key, NEW, many));
}

#[test]
fn a_holder_changes_contacts_and_nothing_else() {
    let (mut world, client) = World::with_client(|_| {});
    let path = path_of(&client);
    let contact = json!(["mailto:b@example.org"]);
    let wish = json!({ "contact": contact, "orders": "x", "status2": "y" });
    assert_eq!(world.post(&client, &path, wish).ok().json["contact"], contact);
    let shown = world.get(&client, &path).ok();
    assert_eq!((shown.status(), &shown.json["contact"]), (200, &contact));
    world.refused(400, "unsupportedContact", |world| {
        world.post(&client, &path, json!({ "contact": ["tel:1"] }))
    });
    assert_eq!(
        world.post(&client, &path, json!({ "contact": [] })).ok().json["contact"],
        json!([])
    );
}

#[test]
fn with_an_account_go_its_open_orders_and_its_authorizations_and_its_certificates_stay() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    world.order(&client, &["a.example.org", "b.example.org"]);
    world.post(&client, &path_of(&client), json!({ "status": "deactivated" })).ok();
    let state = &world.authority.state;
    let (valid, invalid): (Vec<_>, Vec<_>) =
        state.orders.values().partition(|order| !order.is_invalid());
    assert_eq!((valid.len(), invalid.len()), (1, 1), "the issued one stays");
    assert!(state.authorizations.values().all(|each| !each.is_valid() && !each.is_pending()));
    let serial = crate::x509::Serial::of_certificate(&leaf).unwrap();
    assert!(state.certificates[&serial].revocation.is_none());
}

/// A change to `new` with this payload, signed by `new` for `url`.
fn change(new: &Signer, payload: &Value, url: &str) -> Value {
    let header = json!({ "alg": new.algorithm, "jwk": new.json(), "url": url });
    new.jws(&header, payload.to_string().as_bytes())
}

#[test]
fn an_account_moves_to_another_key() {
    let (mut world, mut client) = World::with_client(|_| {});
    let url = format!("{BASE}/acme/key-change");
    let order = world.order(&client, &["a.example.org"]);
    for new in [Signer::p256(), Signer::ed25519()] {
        let payload = json!({ "account": client.kid, "oldKey": client.key.json() });
        let wish = change(&new, &payload, &url);
        let answer = world.post(&client, "/acme/key-change", wish).ok();
        assert_eq!((answer.status(), Some(answer.location())), (200, client.kid.clone()));
        let old = std::mem::replace(&mut client.key, new);
        assert_eq!(world.get(&client, &order).status(), 200);
        let stale = Client { key: old, kid: client.kid.clone() };
        assert_ne!(world.get(&stale, &order).status(), 200, "the old key opens nothing");
        // It is free for another account.
        let other = world.post_with_key(&stale.key, NEW, json!({})).ok();
        assert_eq!(other.status(), 201);
    }
}

#[test]
fn a_change_of_keys_has_to_be_meant_by_both_keys_for_this_account() {
    let (mut world, client) = World::with_client(|_| {});
    let (new, url) = (Signer::ed25519(), format!("{BASE}/acme/key-change"));
    let right = json!({ "account": client.kid, "oldKey": client.key.json() });
    let other_account = json!({ "account": format!("{BASE}/acme/account/77"),
        "oldKey": client.key.json() });
    let other_key = json!({ "account": client.kid, "oldKey": new.json() });
    let key_in = |signer: &Signer| {
        // Signed by somebody else than it says.
        let header = json!({ "alg": "EdDSA", "jwk": new.json(), "url": url });
        flattened(header.to_string().as_bytes(), right.to_string().as_bytes(), |signed| {
            signer.sign(signed)
        })
    };
    let with_nonce = {
        let header = new.header(&url, "AAAA");
        new.jws(&header, right.to_string().as_bytes())
    };
    for (wish, status, problem) in [
        (change(&new, &other_account, &url), 400, "malformed"),
        (change(&new, &other_key, &url), 400, "malformed"),
        (change(&new, &json!({}), &url), 400, "malformed"),
        (change(&new, &json!([]), &url), 400, "malformed"),
        (change(&new, &right, &format!("{BASE}/acme/new-order")), 400, "malformed"),
        (with_nonce, 400, "malformed"),
        (key_in(&client.key), 403, "unauthorized"),
        (json!({ "protected": "", "payload": "", "signature": "" }), 400, "malformed"),
    ] {
        world.refused(status, problem, |world| world.post(&client, "/acme/key-change", wish));
    }
    // Two members of one name: nobody knows which one is meant.
    let inner = change(&new, &right, &url).to_string();
    let doubled = inner.replacen('{', "{\"payload\":\"\",", 1);
    let body = world.body(&client, "/acme/key-change", &doubled);
    world.refused(400, "malformed", |world| world.post_raw("/acme/key-change", &body));
}

#[test]
fn the_key_of_another_account_is_refused_with_that_accounts_address() {
    let (mut world, client) = World::with_client(|_| {});
    let other = world.client();
    let url = format!("{BASE}/acme/key-change");
    let payload = json!({ "account": client.kid, "oldKey": client.key.json() });
    let wish = change(&other.key, &payload, &url);
    let answer =
        world.refused(409, "malformed", |world| world.post(&client, "/acme/key-change", wish));
    assert_eq!(Some(answer.location()), other.kid);
    let own = change(&client.key, &payload, &url);
    world.refused(409, "malformed", |world| world.post(&client, "/acme/key-change", own));
}

#[test]
fn an_external_account_vouches_for_a_key() {
    let url = format!("{BASE}{NEW}");
    let mut world = World::with(|settings| settings.external_account_required = true);
    let key = Signer::ed25519();
    let bound = |binding: Value| json!({ "externalAccountBinding": binding });
    world
        .refused(403, "externalAccountRequired", |world| world.post_with_key(&key, NEW, json!({})));
    for (binding, status, problem) in [
        (key.binding(&MAC_KEY, "nobody", &url), 403, "unauthorized"),
        (key.binding(&[1; 32], "customer-1", &url), 403, "unauthorized"),
        (Signer::ed25519().binding(&MAC_KEY, "customer-1", &url), 400, "malformed"),
        (key.binding(&MAC_KEY, "customer-1", &format!("{BASE}/acme/new-order")), 400, "malformed"),
        (json!({}), 400, "malformed"),
    ] {
        world.refused(status, problem, |world| world.post_with_key(&key, NEW, bound(binding)));
    }
    let wish = bound(key.binding(&MAC_KEY, "customer-1", &url));
    let mut client = Client { kid: None, key };
    client.kid = Some(world.post(&client, NEW, wish).ok().location());
    // What it may have certified is what the customer may.
    let ask = |name| json!({ "identifiers": super::world::identifiers(&[name]) });
    let allowed = world.post(&client, "/acme/new-order", ask("a.customer.example.org")).ok();
    assert_eq!(allowed.status(), 201);
    world.refused(400, "rejectedIdentifier", |world| {
        world.post(&client, "/acme/new-order", ask("a.example.org"))
    });
}

#[test]
fn new_accounts_of_an_hour_are_limited_by_front_end() {
    let mut world = World::with(|settings| settings.limits.accounts_per_hour = 2);
    let ask = |world: &mut World| world.post_with_key(&Signer::ed25519(), NEW, json!({}));
    for _ in 0..2 {
        assert_eq!(ask(&mut world).status(), 201);
    }
    let answer = world.refused(429, "rateLimited", ask);
    // It is noon.
    assert_eq!(answer.reply.retry_after, Some(3600));
    world.front_end = 3;
    assert_eq!(ask(&mut world).status(), 201, "another front end's clients are not concerned");
    world.front_end = 0;
    world.pass(3600);
    assert_eq!(ask(&mut world).status(), 201);
}

#[test]
fn orders_are_listed_in_pages_without_those_that_are_invalid() {
    let (mut world, client) = World::with_client(|_| {});
    let orders: Vec<String> = (0..120).map(|_| world.order(&client, &["a.example.org"])).collect();
    let gone = world.authorizations(&client, &orders[3]).remove(0);
    world.post(&client, &gone, json!({ "status": "deactivated" })).ok();
    let first = world.get(&client, &format!("{}/orders", path_of(&client))).ok();
    let [link] = &first.reply.links[..] else { panic!("there is more") };
    assert_eq!(link.relation, Relation::Next);
    let second = world.get(&client, &super::world::text(&link.url)).ok();
    assert!(second.reply.links.is_empty());
    let listed = [&first, &second].map(|page| page.json["orders"].as_array().unwrap().clone());
    assert_eq!((listed[0].len(), listed[1].len()), (100, 19));
    let expected = orders.iter().filter(|order| **order != orders[3]);
    let expected: Vec<Value> = expected.map(|order| json!(format!("{BASE}{order}"))).collect();
    assert_eq!(listed.concat(), expected);
}

#[test]
fn an_account_remembers_through_which_front_end_it_was_made() {
    let mut world = World::with(|_| {});
    world.front_end = 2;
    let client = world.client();
    let account = &world.authority.state.accounts[&client.account()];
    assert_eq!(account.front_end, Party::new(2));
}
