//! What a request has to show before anything is done about it.

use super::world::{BASE, Client, NOW, World, csr, officer, web_key};
use crate::ca::jose::tests::signer::Signer;
use crate::ca::*;
use maftia_activity::{AgreedTime, Caller, SessionId, StateMachine};
use maftia_base::Party;
use maftia_base::wire::Wire;
use serde_json::{Value, json};

/// A request with this header, by the client's key.
fn signed(client: &Client, header: &Value, payload: &str) -> Vec<u8> {
    client.key.jws(header, payload.as_bytes()).to_string().into_bytes()
}

/// Asks for the account with this nonce.
fn with_nonce(world: &mut World, client: &Client, nonce: &str) -> super::world::Answer {
    let kid = client.kid.clone().unwrap();
    let path = kid.strip_prefix(BASE).unwrap().to_owned();
    let header = client.key.header_of_account(&kid, &kid, nonce);
    world.post_raw(&path, &signed(client, &header, ""))
}

#[test]
fn a_nonce_is_good_once_even_through_another_front_end() {
    let (mut world, client) = World::with_client(|_| {});
    let nonce = world.nonce();
    assert_eq!(with_nonce(&mut world, &client, &nonce).status(), 200);
    world.ignored(400, "badNonce", |world| with_nonce(world, &client, &nonce));
    world.front_end = 2;
    world.ignored(400, "badNonce", |world| with_nonce(world, &client, &nonce));
    // A nonce of one front end can be spent through another.
    let nonce = world.nonce_of(1, world.now, [1; 16]).text();
    assert_eq!(with_nonce(&mut world, &client, &nonce).status(), 200);
}

#[test]
fn a_nonce_is_good_for_an_hour() {
    let (mut world, client) = World::with_client(|_| {});
    let at = |world: &World, seconds: u64, random| {
        world.nonce_of(1, world.now + NONCE_AHEAD_SECONDS_MAX - seconds, [random; 16]).text()
    };
    for (random, seconds, is_good) in [
        (1, 0, true),
        (2, NONCE_AHEAD_SECONDS_MAX + NONCE_SECONDS_MAX, true),
        (3, NONCE_AHEAD_SECONDS_MAX + NONCE_SECONDS_MAX + 1, false),
    ] {
        let nonce = at(&world, seconds, random);
        match is_good {
            true => assert_eq!(with_nonce(&mut world, &client, &nonce).status(), 200),
            false => {
                world.ignored(400, "badNonce", |world| with_nonce(world, &client, &nonce));
            }
        }
    }
    let ahead = world.nonce_of(1, world.now + NONCE_AHEAD_SECONDS_MAX + 1, [4; 16]).text();
    world.ignored(400, "badNonce", |world| with_nonce(world, &client, &ahead));
}

#[test]
fn a_nonce_that_is_forgotten_is_too_old_to_be_good() {
    let (mut world, client) = World::with_client(|_| {});
    let nonce = world.nonce();
    assert_eq!(with_nonce(&mut world, &client, &nonce).status(), 200);
    world.pass(NONCE_SECONDS_MAX + 1);
    let other = world.nonce();
    assert_eq!(with_nonce(&mut world, &client, &other).status(), 200);
    assert_eq!(world.spent().len(), 1, "the first is forgotten");
    world.ignored(400, "badNonce", |world| with_nonce(world, &client, &nonce));
}

#[test]
fn a_forged_nonce_is_refused() {
    let (mut world, client) = World::with_client(|_| {});
    let good = world.nonce_of(1, world.now, [7; 16]);
    let other_server = Nonce { server: Party::new(2), ..good };
    let no_server = Nonce { server: Party::new(4), ..good };
    let other_time = Nonce { at: good.at + 1, ..good };
    let other_random = Nonce { random: [8; 16], ..good };
    let sign = |message: &[u8]| world.nonce_of(1, NOW, [message.len() as u8; 16]).signature;
    let other_base = Nonce::signed("https://other.example", good.server, good.at, [7; 16], sign);
    let mut forged: Vec<String> = [other_server, no_server, other_time, other_random, other_base]
        .iter()
        .map(Nonce::text)
        .collect();
    // And what was never one.
    forged.extend(["AAAA".to_owned(), good.text()[4..].to_owned(), good.text() + "AAAA"]);
    for nonce in forged {
        world.ignored(400, "badNonce", |world| with_nonce(world, &client, &nonce));
    }
    assert_eq!(with_nonce(&mut world, &client, &good.text()).status(), 200);
}

#[test]
fn a_nonce_of_another_authority_is_refused() {
    let (mut world, client) = World::with_client(|_| {});
    let (server, at, random) = (Party::new(0), world.now, [3; 16]);
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let sign = |message: &[u8]| pair.sign(message).as_ref().try_into().unwrap();
    let other = Nonce::signed("https://other.example", server, at, random, sign).text();
    world.ignored(400, "badNonce", |world| with_nonce(world, &client, &other));
    let own = Nonce::signed(BASE, server, at, random, sign).text();
    assert_eq!(with_nonce(&mut world, &client, &own).status(), 200);
}

#[test]
fn a_request_without_a_nonce_is_refused() {
    let (mut world, client) = World::with_client(|_| {});
    let kid = client.kid.clone().unwrap();
    let header = json!({ "alg": client.key.algorithm, "kid": kid, "url": kid });
    let path = kid.strip_prefix(BASE).unwrap();
    world.ignored(400, "badNonce", |world| world.post_raw(path, &signed(&client, &header, "")));
}

#[test]
fn a_request_for_another_url_is_refused() {
    let (mut world, client) = World::with_client(|_| {});
    let kid = client.kid.clone().unwrap();
    for url in [
        format!("{BASE}/acme/new-account"),
        format!("{BASE}/acme/new-order/"),
        format!("{BASE}//acme/new-order"),
        "https://other.example/acme/new-order".to_owned(),
        "http://ca.example.org/acme/new-order".to_owned(),
        "https://CA.example.org/acme/new-order".to_owned(),
        "https://ca.example.org:443/acme/new-order".to_owned(),
    ] {
        let header = client.key.header_of_account(&kid, &url, &world.nonce());
        let body = signed(&client, &header, "{}");
        world.ignored(403, "unauthorized", |world| world.post_raw("/acme/new-order", &body));
    }
}

#[test]
fn a_path_with_nothing_at_it_is_not_found() {
    let (mut world, client) = World::with_client(|_| {});
    for path in ["/acme/new-orders", "/acme/directory", "/", "/acme/order/007"] {
        world.ignored(404, "malformed", |world| world.post(&client, path, json!({})));
    }
    let request = CaRequest::Acme {
        path: maftia_base::wire::Blob::new(vec![0xff, 0xfe]).unwrap(),
        body: Default::default(),
    };
    let reply = world.ordered(Caller::FrontEnd(Party::new(0)), &request);
    assert_eq!(AcmeReply::from_wire(reply).unwrap().status, 404);
}

#[test]
fn the_signature_has_to_be_that_of_the_account() {
    let (mut world, mut client) = World::with_client(|_| {});
    let other = world.client();
    client.kid = other.kid.clone();
    world.ignored(403, "unauthorized", |world| world.get(&client, &other.kid.clone().unwrap()));
    // A key of another kind is told which algorithm the account has.
    client.key = Signer::p256();
    let answer = world.ignored(400, "badSignatureAlgorithm", |world| {
        world.get(&client, &other.kid.clone().unwrap())
    });
    assert_eq!(answer.json["algorithms"], json!(["EdDSA"]));
}

#[test]
fn a_key_stands_where_a_key_has_to_and_an_account_where_that() {
    let (mut world, client) = World::with_client(|_| {});
    let (order, _) = (world.order(&client, &["a.example.org"]), ());
    for path in ["/acme/new-order", &order, "/acme/key-change", "/acme/authz/0"] {
        world.ignored(400, "malformed", |world| world.post_with_key(&client.key, path, json!({})));
    }
    world.ignored(400, "malformed", |world| world.post(&client, "/acme/new-account", json!({})));
}

#[test]
fn an_account_that_does_not_exist_is_told_so() {
    let (mut world, mut client) = World::with_client(|_| {});
    for kid in [
        format!("{BASE}/acme/account/12345"),
        format!("{BASE}/acme/order/0"),
        "https://other.example/acme/account/0".to_owned(),
        "0".to_owned(),
    ] {
        client.kid = Some(kid);
        world.ignored(400, "accountDoesNotExist", |world| {
            world.post(&client, "/acme/new-order", json!({}))
        });
    }
}

#[test]
fn what_is_no_jws_is_malformed() {
    let (mut world, client) = World::with_client(|_| {});
    let good = world.body(&client, "/acme/new-order", "{}");
    for body in [&b""[..], b"{}", b"[]", b"\xff", &good[..good.len() - 1], &[b'['; 40_00]] {
        world.ignored(400, "malformed", |world| world.post_raw("/acme/new-order", body));
    }
}

#[test]
fn a_body_that_is_too_long_is_not_even_decoded() {
    let (mut world, _) = World::with_client(|_| {});
    let longest = vec![b' '; BODY_BYTES_MAX];
    world.ignored(400, "malformed", |world| world.post_raw("/acme/new-order", &longest));
    // Variant, path, and a length of one more than may be.
    let mut request = vec![0, 1, b'/'];
    request.extend((BODY_BYTES_MAX as u32 + 1).to_le_bytes());
    let before = world.authority.snapshot();
    for request in [&request[..], b"", b"\x07", &[0xff; 100]] {
        let answer = world.ordered_raw(Caller::FrontEnd(Party::new(0)), request);
        let answer = CaAnswer::from_wire(answer).unwrap();
        assert_eq!(answer, CaAnswer::Refused(CaRefusal::Malformed));
    }
    assert_eq!(world.authority.snapshot(), before);
}

#[test]
fn a_shut_account_gets_nothing_and_only_its_holder_learns_why() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["a.example.org"]);
    let path = client.kid.clone().unwrap().strip_prefix(BASE).unwrap().to_owned();
    let shut = world.post(&client, &path, json!({ "status": "deactivated" })).ok();
    assert!(shut.is("deactivated"));
    for path in [&path, &order] {
        world.refused(401, "unauthorized", |world| world.get(&client, path));
    }
    world.refused(401, "unauthorized", |world| world.post(&client, "/acme/new-order", json!({})));
    // Its nonce is spent, since it did sign.
    let nonce = world.nonce();
    assert_eq!(with_nonce(&mut world, &client, &nonce).status(), 401);
    world.ignored(400, "badNonce", |world| with_nonce(world, &client, &nonce));
    // Neither does its key get another account.
    world.refused(401, "unauthorized", |world| {
        world.post_with_key(&client.key, "/acme/new-account", json!({}))
    });
    let stranger = Client { key: Signer::ed25519(), kid: client.kid.clone() };
    world.ignored(403, "unauthorized", |world| world.get(&stranger, &path));
}

#[test]
fn what_is_refused_after_its_signature_was_verified_has_spent_its_nonce() {
    let (mut world, client) = World::with_client(|_| {});
    let body = world.body(&client, "/acme/new-order", "{}");
    world.refused(400, "malformed", |world| world.post_raw("/acme/new-order", &body));
    world.ignored(400, "badNonce", |world| world.post_raw("/acme/new-order", &body));
}

#[test]
fn what_belongs_to_one_account_is_not_shown_to_another() {
    let (mut world, client) = World::with_client(|_| {});
    let other = world.client();
    let names = ["a.example.org"];
    let order = world.order(&client, &names);
    let authorization = world.authorizations(&client, &order).remove(0);
    let challenge = authorization.replace("authz", "challenge") + "/http-01";
    for path in [&order, &authorization, &challenge] {
        world.refused(403, "unauthorized", |world| world.get(&other, path));
        world.refused(403, "unauthorized", |world| world.post(&other, path, json!({})));
    }
    let shut = json!({ "status": "deactivated" });
    world.refused(403, "unauthorized", |world| world.post(&other, &authorization, shut.clone()));
    let kid = client.kid.clone().unwrap().strip_prefix(BASE).unwrap().to_owned();
    for path in [kid.clone(), kid + "/orders"] {
        world.refused(403, "unauthorized", |world| world.get(&other, &path));
        world.refused(403, "unauthorized", |world| world.post(&other, &path, shut.clone()));
    }
    world.validate(&client, &order);
    let request = csr(&web_key(), &names);
    world.refused(403, "unauthorized", |world| world.finalize(&other, &order, &request));
    world.finalize(&client, &order, &request).ok();
    world.sign();
    let shown = world.get(&client, &order).ok();
    let certificate = shown.json["certificate"].as_str().unwrap().to_owned();
    world.refused(403, "unauthorized", |world| world.get(&other, &certificate));
    assert_eq!(world.get(&client, &certificate).status(), 200);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (mut world, client) = World::with_client(|_| {});
    for path in [
        "/acme/order/77",
        "/acme/authz/77",
        "/acme/challenge/77/http-01",
        "/acme/certificate/00000000000000010000000000000001",
    ] {
        world.refused(404, "malformed", |world| world.get(&client, path));
    }
    world.refused(404, "malformed", |world| world.finalize(&client, "/acme/order/77", b""));
    // There is an authorization, and it has no such challenge.
    let order = world.order(&client, &["*.example.org"]);
    let authorization = world.authorizations(&client, &order).remove(0);
    let path = authorization.replace("authz", "challenge") + "/http-01";
    world.refused(404, "malformed", |world| world.get(&client, &path));
}

#[test]
fn a_payload_that_is_not_what_is_asked_for_is_malformed() {
    let (mut world, client) = World::with_client(|_| {});
    let order = world.order(&client, &["a.example.org"]);
    let authorization = world.authorizations(&client, &order).remove(0);
    let challenge = authorization.replace("authz", "challenge") + "/http-01";
    let account = client.kid.clone().unwrap().strip_prefix(BASE).unwrap().to_owned();
    let finalize = format!("{order}/finalize");
    let orders = format!("{account}/orders");
    for (path, payloads) in [
        ("/acme/new-order", &["", "[]", "1", "{", "{\"identifiers\":[],\"identifiers\":[]}"][..]),
        (&order, &["{}", "x"]),
        (&orders, &["{}"]),
        (&authorization, &["{}", "[]", "{\"status\":\"valid\"}", "{\"status\":1}"]),
        (&challenge, &["[]", "null", "\"\""]),
        (&account, &["[]", "{\"status\":\"valid\"}", "{\"contact\":1}", "{\"contact\":[1]}"]),
        (&account, &["{\"termsOfServiceAgreed\":1}"]),
        ("/acme/key-change", &["", "{}", "[]"]),
        ("/acme/revoke-cert", &["", "{}", "{\"certificate\":1}", "{\"certificate\":\"=\"}"]),
    ] {
        for payload in payloads {
            let body = world.body(&client, path, payload);
            world.refused(400, "malformed", |world| world.post_raw(path, &body));
        }
    }
    world.validate(&client, &order);
    for payload in ["", "{}", "{\"csr\":1}", "{\"csr\":\"a+b\"}", "[]"] {
        let body = world.body(&client, &finalize, payload);
        world.refused(400, "malformed", |world| world.post_raw(&finalize, &body));
    }
}

#[test]
fn without_an_agreed_time_nothing_happens() {
    for micros in [0, 999_999, u64::MAX] {
        let (mut world, client) = World::with_client(|_| {});
        let order = world.order(&client, &["a.example.org"]);
        world.validate(&client, &order);
        let body = world.body(&client, &format!("{order}/finalize"), "{}");
        world.time = Some(AgreedTime(micros));
        let answer = world.ignored(503, "serverInternal", |world| {
            world.post_raw(&format!("{order}/finalize"), &body)
        });
        assert!(answer.reply.retry_after.is_some());
        let word = world.officer(0, OfficerCommand::Suspend { account: 0 });
        assert_eq!(word, CaAnswer::Refused(CaRefusal::NotYet));
    }
}

#[test]
fn each_kind_of_request_has_its_callers() {
    let (mut world, client) = World::with_client(|_| {});
    let acme = CaRequest::Acme {
        path: maftia_base::wire::Blob::new(&b"/acme/new-order"[..]).unwrap(),
        body: maftia_base::wire::Blob::new(world.body(&client, "/acme/new-order", "{}")).unwrap(),
    };
    let command = CaRequest::Officer(OfficerCommand::Suspend { account: 0 });
    let query = CaRequest::Query(CaQuery::Log { from: 0 });
    let signing = Caller::Client { key: officer(0), session: SessionId(1) };
    let (front_end, server) = (Caller::FrontEnd(Party::new(0)), Caller::Server(Party::new(0)));
    let before = world.authority.snapshot();
    for (caller, request) in [
        (signing, &acme),
        (server, &acme),
        (Caller::Group, &acme),
        (front_end, &command),
        (server, &command),
        (Caller::Group, &command),
        (front_end, &query),
        (server, &query),
    ] {
        let answer = CaAnswer::from_wire(world.ordered(caller, request)).unwrap();
        assert_eq!(answer, CaAnswer::Refused(CaRefusal::WrongCaller), "{caller:?} {request:?}");
    }
    assert_eq!(world.authority.snapshot(), before);
}
