//! Who may revoke what, and what everybody is told then.

use super::world::{CHAIN, DAY, World};
use crate::ca::jose::tests::signer::Signer;
use crate::ca::*;
use crate::x509::tests::stock::Folder;
use crate::x509::{Reason, Serial, to_pem};
use der::Decode;
use serde_json::{Value, json};

const PATH: &str = "/acme/revoke-cert";

fn wish(leaf: &[u8]) -> Value {
    json!({ "certificate": jose::base64url::encode(leaf) })
}

fn serial(leaf: &[u8]) -> Serial {
    Serial::of_certificate(leaf).unwrap()
}

fn revocation(world: &World, leaf: &[u8]) -> Option<Revocation> {
    world.authority.state.certificates[&serial(leaf)].revocation
}

#[test]
fn the_account_that_it_was_issued_to_revokes_it_once() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    world.pass(100);
    let answer = world.post(&client, PATH, wish(&leaf)).ok();
    assert_eq!((answer.status(), answer.reply.content), (200, Content::None));
    let by = RevokedBy::Account(client.account());
    let expected = Revocation { at: world.now, reason: Reason::Unspecified, by };
    assert_eq!(revocation(&world, &leaf), Some(expected));
    world.refused(400, "alreadyRevoked", |world| world.post(&client, PATH, wish(&leaf)));
}

#[test]
fn an_account_that_is_authorized_for_all_names_revokes_it() {
    let (mut world, client) = World::with_client(|_| {});
    let names = ["a.example.org", "*.b.example.org"];
    let leaf = world.certificate(&client, &names);
    let other = world.client();
    world.refused(403, "unauthorized", |world| world.post(&other, PATH, wish(&leaf)));
    for part in [&["a.example.org"][..], &["b.example.org"], &["c.b.example.org"]] {
        let order = world.order(&other, part);
        world.validate(&other, &order);
        world.refused(403, "unauthorized", |world| world.post(&other, PATH, wish(&leaf)));
    }
    let order = world.order(&other, &["*.b.example.org"]);
    world.validate(&other, &order);
    // What it has given up does not count.
    let authorization = world.authorizations(&other, &order).remove(0);
    world.post(&other, &authorization, json!({ "status": "deactivated" })).ok();
    world.refused(403, "unauthorized", |world| world.post(&other, PATH, wish(&leaf)));
    let order = world.order(&other, &["*.b.example.org"]);
    world.validate(&other, &order);
    world.post(&other, PATH, wish(&leaf)).ok();
    assert_eq!(revocation(&world, &leaf).unwrap().by, RevokedBy::Account(other.account()));
}

#[test]
fn whoever_has_its_key_revokes_it() {
    let (mut world, client) = World::with_client(|_| {});
    for key in [Signer::p256(), Signer::rsa(2048), Signer::ed25519()] {
        let leaf = world.certificate_of(&client, &["a.example.org"], &key);
        let mut wish = wish(&leaf);
        wish["reason"] = json!(1);
        for stranger in [Signer::p256(), Signer::ed25519()] {
            world.refused(403, "unauthorized", |world| {
                world.post_with_key(&stranger, PATH, wish.clone())
            });
        }
        // That it has the account does not matter if it brings the key of the account.
        world.refused(403, "unauthorized", |world| {
            world.post_with_key(&client.key, PATH, wish.clone())
        });
        world.post_with_key(&key, PATH, wish.clone()).ok();
        let revocation = revocation(&world, &leaf).unwrap();
        assert_eq!((revocation.by, revocation.reason), (RevokedBy::Key, Reason::KeyCompromise));
    }
}

#[test]
fn only_reasons_for_clients_are_taken() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    for reason in [
        json!(2),
        json!(6),
        json!(7),
        json!(8),
        json!(9),
        json!(10),
        json!(11),
        json!(-1),
        json!(1.0),
        json!("1"),
        json!(null),
        json!(257),
    ] {
        let mut wish = wish(&leaf);
        wish["reason"] = reason;
        world.refused(400, "badRevocationReason", |world| world.post(&client, PATH, wish));
    }
    for reason in [0, 1, 3, 4, 5] {
        let leaf = world.certificate(&client, &["a.example.org"]);
        let mut wish = wish(&leaf);
        wish["reason"] = json!(reason);
        world.post(&client, PATH, wish).ok();
        let expected = Reason::from_code(reason).unwrap();
        assert_eq!(revocation(&world, &leaf).unwrap().reason, expected);
    }
}

#[test]
fn what_was_not_issued_is_not_revoked() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let mut altered = leaf.clone();
    *altered.last_mut().unwrap() ^= 1;
    for der in [&CHAIN[1][..], &CHAIN[0], &altered, b"", &leaf[1..]] {
        world.refused(404, "malformed", |world| world.post(&client, PATH, wish(der)));
    }
}

#[test]
fn what_has_expired_is_not_revoked() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    world.pass(90 * DAY);
    world.sign();
    world.refused(400, "malformed", |world| world.post(&client, PATH, wish(&leaf)));
}

/// What stock OpenSSL reads in the OCSP response about a certificate.
fn ocsp(world: &World, leaf: &[u8]) -> String {
    let CaAnswer::Ocsp(response) = world.read(CaRead::Ocsp { serial: serial(leaf) }) else {
        panic!("there is one");
    };
    let folder = Folder::new();
    folder.write("response", &response[..]);
    for (name, der) in [("root", &CHAIN[0][..]), ("issuing", &CHAIN[1]), ("leaf", leaf)] {
        folder.write(name, to_pem(der).unwrap());
    }
    folder.write("chain", [to_pem(&CHAIN[0]).unwrap(), to_pem(&CHAIN[1]).unwrap()].concat());
    let at = world.now.to_string();
    let arguments = ["ocsp", "-respin", "response", "-issuer", "issuing", "-cert", "leaf"];
    let trust = ["-CAfile", "chain", "-verify_other", "issuing", "-no_nonce", "-attime", &at];
    // It compares times with the system's clock, which is none of this world.
    let times = ["-validity_period", "1000000000"];
    folder.openssl(&[&arguments[..], &trust, &times].concat()).unwrap()
}

/// From when to when the response about a certificate is good.
fn ocsp_times(world: &World, leaf: &[u8]) -> (u64, u64) {
    let CaAnswer::Ocsp(response) = world.read(CaRead::Ocsp { serial: serial(leaf) }) else {
        panic!("there is one");
    };
    let response = x509_ocsp::OcspResponse::from_der(&response).unwrap();
    let response = response.response_bytes.unwrap().response;
    let basic = x509_ocsp::BasicOcspResponse::from_der(response.as_bytes()).unwrap();
    let single = basic.tbs_response_data.responses[0].clone();
    let seconds = |time: x509_ocsp::OcspGeneralizedTime| time.0.to_unix_duration().as_secs();
    (seconds(single.this_update), seconds(single.next_update.unwrap()))
}

#[test]
fn ocsp_says_good_until_it_is_revoked_and_nothing_in_between() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let said = ocsp(&world, &leaf);
    assert!(said.contains("Response verify OK") && said.contains("leaf: good"), "{said}");
    let mut wish = wish(&leaf);
    wish["reason"] = json!(4);
    world.post(&client, PATH, wish).ok();
    let read = CaRead::Ocsp { serial: serial(&leaf) };
    assert_eq!(world.read(read), CaAnswer::Refused(CaRefusal::NotYet), "not good any more");
    world.sign();
    let said = ocsp(&world, &leaf);
    assert!(said.contains("leaf: revoked") && said.contains("Reason: superseded"), "{said}");
}

#[test]
fn an_ocsp_response_that_was_overtaken_while_it_was_signed_is_never_shown() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    world.pass(2 * DAY);
    // All responses and lists are due, and being signed, when it is revoked.
    let stale = world.authority.to_sign();
    assert!(!stale.is_empty());
    world.post(&client, PATH, wish(&leaf)).ok();
    for ToSign { id, .. } in stale {
        world.signed(id, &[1; 256]);
    }
    let read = CaRead::Ocsp { serial: serial(&leaf) };
    assert_eq!(world.read(read), CaAnswer::Refused(CaRefusal::NotYet));
    world.sign();
    assert!(ocsp(&world, &leaf).contains("leaf: revoked"));
}

#[test]
fn ocsp_responses_are_made_anew_before_they_are_too_old() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let first = ocsp_times(&world, &leaf);
    assert_eq!(first, (world.now, world.now + 4 * DAY));
    for _ in 0..20 {
        world.pass(DAY);
        world.sign();
        let (from, until) = ocsp_times(&world, &leaf);
        assert!(from <= world.now && world.now + 2 * DAY <= until, "a half of it is left");
    }
    assert!(ocsp(&world, &leaf).contains("leaf: good"));
}

#[test]
fn there_is_no_ocsp_response_about_what_was_not_issued() {
    let (world, _) = World::with_client(|_| {});
    let serial = Serial::new([1; 16]).unwrap();
    assert_eq!(world.read(CaRead::Ocsp { serial }), CaAnswer::Refused(CaRefusal::Unknown));
}

/// What stock OpenSSL reads in the revocation list.
fn crl(world: &World) -> String {
    let CaAnswer::Crl(list) = world.read(CaRead::Crl) else { panic!("there is one") };
    let folder = Folder::new();
    folder.write("list", &list[..]);
    folder.write("issuing", to_pem(&CHAIN[1]).unwrap());
    let arguments = ["crl", "-inform", "DER", "-in", "list", "-CAfile", "issuing", "-text"];
    folder.openssl(&arguments).unwrap()
}

#[test]
fn the_revocation_list_is_there_from_the_start_and_names_what_is_revoked() {
    let mut world = World::with(|_| {});
    assert_eq!(world.read(CaRead::Crl), CaAnswer::Refused(CaRefusal::NotYet));
    world.sign();
    let said = crl(&world);
    assert!(said.contains("verify OK") && said.contains("No Revoked Certificates"), "{said}");
    let client = world.client();
    let leaves: Vec<_> = (0..3).map(|_| world.certificate(&client, &["a.example.org"])).collect();
    for leaf in &leaves[..2] {
        world.post(&client, PATH, wish(leaf)).ok();
    }
    // Soon, and not once for each.
    world.pass(299);
    assert!(crl(&world).contains("No Revoked Certificates"));
    world.pass(1);
    world.sign();
    let said = crl(&world);
    let number = |leaf: &Vec<u8>| serial(leaf).to_string().to_uppercase();
    for (leaf, is_there) in [(0, true), (1, true), (2, false)] {
        assert_eq!(said.contains(&number(&leaves[leaf])), is_there, "{said}");
    }
}

#[test]
fn a_list_that_was_overtaken_while_it_was_signed_is_made_again_soon() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    world.pass(DAY);
    let [list] = &world.authority.to_sign()[..] else { panic!("a list is due") };
    assert_eq!(list.id.0 % 8, 7);
    world.post(&client, PATH, wish(&leaf)).ok();
    world.sign();
    assert!(crl(&world).contains("No Revoked Certificates"));
    world.pass(300);
    world.sign();
    assert!(!crl(&world).contains("No Revoked Certificates"));
}

#[test]
fn revocation_lists_are_made_anew_with_higher_numbers() {
    let mut world = World::with(|_| {});
    world.sign();
    let number = |world: &World| {
        let said = crl(world);
        let after = said.split("X509v3 CRL Number:").nth(1).unwrap();
        after.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let mut before = number(&world);
    for _ in 0..5 {
        world.pass(DAY);
        world.sign();
        let now = number(&world);
        assert!(now > before);
        before = now;
    }
}

#[test]
fn what_is_revoked_stays_on_the_list_beyond_its_end() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    world.post(&client, PATH, wish(&leaf)).ok();
    let number = serial(&leaf).to_string().to_uppercase();
    for _ in 0..91 {
        world.pass(DAY);
        world.sign();
    }
    assert!(crl(&world).contains(&number), "one list that was made after its end has it");
    world.pass(2 * DAY);
    world.sign();
    world.pass(DAY);
    world.sign();
    assert!(!crl(&world).contains(&number));
}

#[test]
fn renewal_is_suggested_in_the_last_third_and_at_once_when_it_is_revoked() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let name = renewal::name(&world.policy, serial(&leaf));
    let ask = |world: &World, name: &str| {
        let certificate = maftia_base::wire::Blob::new(name.as_bytes().to_vec()).unwrap();
        let CaAnswer::Acme(reply) = world.read(CaRead::RenewalInfo { certificate }) else {
            panic!("an answer to a GET");
        };
        let json: Value = serde_json::from_slice(&reply.body).unwrap();
        (reply, json)
    };
    let (reply, json) = ask(&world, &name);
    assert_eq!((reply.status, reply.retry_after), (200, Some(6 * 3600)));
    let window = |start: u64, end: u64| {
        let (start, end) = (answer::date(start), answer::date(end));
        json!({ "suggestedWindow": { "start": start, "end": end } })
    };
    let begins = world.now - BACKDATE_SECONDS;
    let lifetime = 90 * DAY - 1;
    assert_eq!(json, window(begins + lifetime / 6 * 4, begins + lifetime / 6 * 5));
    for name in [&name[1..], "", ".", "AAAA.AAAA", &format!("{name}="), &format!("{name}.")] {
        assert_eq!(ask(&world, name).0.status, 404, "{name}");
    }
    world.post(&client, PATH, wish(&leaf)).ok();
    assert_eq!(ask(&world, &name).1, window(world.now - 1, world.now));
}

#[test]
fn a_name_for_renewal_is_that_of_the_standard() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let x509 = openssl::x509::X509::from_der(&leaf).unwrap();
    let issuer = jose::base64url::encode(x509.authority_key_id().unwrap().as_slice());
    let number = jose::base64url::encode(&x509.serial_number().to_bn().unwrap().to_vec());
    assert_eq!(renewal::name(&world.policy, serial(&leaf)), format!("{issuer}.{number}"));
}

#[test]
fn a_shut_account_revokes_nothing() {
    let (mut world, client) = World::with_client(|_| {});
    let leaf = world.certificate(&client, &["a.example.org"]);
    let path = client.kid.clone().unwrap().replace(super::world::BASE, "");
    world.post(&client, &path, json!({ "status": "deactivated" })).ok();
    world.refused(401, "unauthorized", |world| world.post(&client, PATH, wish(&leaf)));
}
