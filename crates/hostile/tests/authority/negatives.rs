//! What is wrong is refused by a real group, over HTTPS, with the problem that the standard has for
//! it; and nothing is decided.

use crate::city::City;
use crate::{TRAITOR, start_with_traitor};
use base64ct::{Base64UrlUnpadded, Encoding};
use maftia::acme::{self, Acme, Answer, Challenges, Order};
use openssl::x509::X509;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// What a client asks for.
fn names(kind: &str, value: &str) -> Value {
    json!({ "identifiers": [{ "type": kind, "value": value }] })
}

/// A client with what it has, another one, and a group.
struct World {
    mine: Acme,
    other: Acme,
    ready: Order,
    pending: Order,
    /// In base64url.
    certificate: String,
}

impl World {
    fn new(city: &City) -> Self {
        let challenges = Challenges::serve((Ipv4Addr::LOCALHOST, city.ports.http).into()).unwrap();
        let root = std::fs::read(city.public("root.pem")).unwrap();
        let join = || {
            let (directory, challenges) = (city.directory(), challenges.clone());
            Acme::register(&directory, &root, city.door(), challenges).unwrap()
        };
        let (mut mine, other) = (join(), join());
        let request = request("mine.test");
        let chain = mine.obtain(&["mine.test"], &request).unwrap();
        let certificate = X509::stack_from_pem(&chain).unwrap().remove(0).to_der().unwrap();
        let ready = mine.order(&["ready.test"]).unwrap();
        mine.authorize(&ready).unwrap();
        let pending = mine.order(&["pending.test"]).unwrap();
        let certificate = Base64UrlUnpadded::encode_string(&certificate);
        Self { mine, other, ready, pending, certificate }
    }

    /// Where an order is finalized.
    fn finalize(order: &Order) -> String {
        order.about["finalize"].as_str().unwrap().to_owned()
    }

    fn order(&mut self, payload: &Value) -> Answer {
        let url = self.mine.resource("newOrder").unwrap();
        self.mine.post(&url, Some(payload)).unwrap()
    }

    /// A request whose header is `altered`.
    fn altered(&mut self, alter: impl FnOnce(&mut Value)) -> Answer {
        let url = self.mine.resource("newOrder").unwrap();
        let mut header = self.mine.header(&url).unwrap();
        alter(&mut header);
        let payload = names("dns", "altered.test").to_string();
        let body = self.mine.sign(&header, payload.as_bytes());
        self.mine.send(&url, &body).unwrap()
    }

    fn replayed(&mut self) -> Answer {
        let url = self.pending.url.clone();
        let header = self.mine.header(&url).unwrap();
        let body = self.mine.sign(&header, b"");
        assert_eq!(self.mine.send(&url, &body).unwrap().status, 200, "the first time");
        self.mine.send(&url, &body).unwrap()
    }

    fn signed_by_another(&mut self) -> Answer {
        let url = self.mine.resource("newOrder").unwrap();
        let header = self.mine.header(&url).unwrap();
        let body = self.other.sign(&header, names("dns", "stolen.test").to_string().as_bytes());
        self.mine.send(&url, &body).unwrap()
    }

    fn raw(&mut self, body: &[u8]) -> Answer {
        let url = self.mine.resource("newOrder").unwrap();
        self.mine.send(&url, body).unwrap()
    }

    fn finalized(&mut self, url: &str, name: &str) -> Answer {
        let csr = Base64UrlUnpadded::encode_string(&request(name));
        self.mine.post(url, Some(&json!({ "csr": csr }))).unwrap()
    }

    fn revoked(&mut self, by_other: bool, reason: u32) -> Answer {
        let payload = json!({ "certificate": self.certificate, "reason": reason });
        let client = if by_other { &mut self.other } else { &mut self.mine };
        let url = client.resource("revokeCert").unwrap();
        client.post(&url, Some(&payload)).unwrap()
    }
}

fn request(name: &str) -> Vec<u8> {
    acme::request(&acme::key().unwrap(), &[name]).unwrap()
}

/// What the group has decided, in short: votes may still come in.
fn decisions(city: &City) -> Vec<Value> {
    let decided = |entry: &Value| entry["event"] != "vote-cast";
    city.log().into_iter().filter(decided).map(|entry| entry["event"].clone()).collect()
}

/// Something wrong, and the problem that it is.
type Wrong = (&'static str, fn(&mut World) -> Answer);

const WRONG: [Wrong; 17] = [
    ("badNonce", World::replayed),
    ("badNonce", |world| world.altered(|header| header["nonce"] = "AAAA".into())),
    ("unauthorized", |world| {
        world.altered(|header| header["url"] = "https://localhost/acme/new-order".into())
    }),
    ("badSignatureAlgorithm", |world| world.altered(|header| header["alg"] = "HS256".into())),
    ("accountDoesNotExist", |world| {
        world.altered(|header| {
            header["kid"] = format!("{}777", header["kid"].as_str().unwrap()).into();
        })
    }),
    ("unauthorized", World::signed_by_another),
    ("malformed", |world| world.raw(b"{}")),
    ("malformed", |world| world.raw(&vec![b' '; 40_000])),
    ("unsupportedIdentifier", |world| world.order(&names("email", "me@mine.test"))),
    ("rejectedIdentifier", |world| world.order(&names("dns", "www.example.org"))),
    ("malformed", |world| world.order(&names("dns", "under_score.test"))),
    ("unauthorized", |world| {
        let url = world.pending.url.clone();
        world.other.post(&url, None).unwrap()
    }),
    ("orderNotReady", |world| {
        let url = World::finalize(&world.pending);
        world.finalized(&url, "pending.test")
    }),
    ("badCSR", |world| {
        let url = World::finalize(&world.ready);
        world.finalized(&url, "other.test")
    }),
    ("unauthorized", |world| world.revoked(true, 0)),
    ("badRevocationReason", |world| world.revoked(false, 7)),
    ("invalidContact", |world| {
        let url = world.mine.header("").unwrap()["kid"].as_str().unwrap().to_owned();
        world.mine.post(&url, Some(&json!({ "contact": ["mailto:a@b@c"] }))).unwrap()
    }),
];

#[test]
fn what_is_wrong_is_refused_with_its_problem_and_nothing_is_decided() {
    let mut city = City::found(4, None, "");
    start_with_traitor(&mut city, "everything");
    let mut world = World::new(&city);
    let before = decisions(&city);
    let fronts: Vec<usize> = (0..4).filter(|server| *server != TRAITOR).collect();
    for (number, (problem, wrong)) in WRONG.iter().enumerate() {
        city.lead_to(fronts[number % fronts.len()]);
        let answer = wrong(&mut world);
        let kind = format!("urn:ietf:params:acme:error:{problem}");
        assert_eq!(answer.json().unwrap()["type"], kind, "wrong number {number}");
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert_eq!(decisions(&city), before);
    // What was there is as good as before.
    let url = World::finalize(&world.ready);
    assert_eq!(world.finalized(&url, "ready.test").status, 200);
    assert_eq!(world.revoked(false, 0).status, 200);
    let again = world.revoked(false, 0).json().unwrap();
    assert_eq!(again["type"], "urn:ietf:params:acme:error:alreadyRevoked");
}
