//! What clients post, and what comes back.

use super::{
    Answer, BASE, Group, authority, forged, get, http, jws, me, plain, post, post_body,
    publication, reply, run,
};
use crate::acme::{Nonces, SignedNonces};
use base64ct::{Base64UrlUnpadded, Encoding};
use maftia_activity::{FrontEndReply, Refusal};
use maftia_base::Party;
use maftia_base::wire::{Blob, Bytes, List};
use maftia_services::ca::jose::flattened;
use maftia_services::ca::{
    AcmeReply, BODY_BYTES_MAX, CaAnswer, CaRead, CaRequest, Content, Link, Nonce, Relation,
};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn anybody_gets_the_directory_and_a_fresh_nonce_each_time() {
    run(async {
        let address = Group::default().door().await;
        let directory = get(address, "/acme/directory").await;
        assert_eq!(directory.status, 200);
        assert_eq!(directory.the("content-type"), "application/json");
        assert_eq!(directory.body, br#"{"newNonce":"there"}"#);
        let head = http(address, "HEAD /acme/new-nonce HTTP/1.1", b"").await;
        let fetched = get(address, "/acme/new-nonce").await;
        assert_eq!((head.status, fetched.status), (200, 204));
        assert_ne!(head.the("replay-nonce"), fetched.the("replay-nonce"));
        for answer in [head, fetched] {
            assert_eq!(answer.the("cache-control"), "no-store");
            assert_eq!(answer.the("link"), format!("<{BASE}/acme/directory>;rel=\"index\""));
            assert!(answer.body.is_empty());
        }
    });
}

#[test]
fn a_post_goes_to_the_group_as_it_came_and_its_answer_comes_back() {
    run(async {
        let url = |path: &str| Blob::new(format!("{BASE}{path}").into_bytes()).expect("short");
        let answered = AcmeReply {
            location: Some(url("/acme/order/7")),
            retry_after: Some(11),
            links: List::new(vec![Link { url: url("/acme/authz/3"), relation: Relation::Up }])
                .expect("few"),
            ..reply(201, r#"{"status":"pending"}"#)
        };
        let path = "/acme/new-order?x=%20";
        let sent = [&jws(path)[..], b"\n "].concat();
        let expected = sent.clone();
        let group = Group::ordered(move |request| {
            let CaRequest::Acme { path, body } = request else { panic!("{request:?}") };
            assert_eq!(&path[..], b"/acme/new-order?x=%20");
            assert_eq!(&body[..], &expected[..]);
            plain(&answered)
        });
        let answer = post_body(group.door().await, path, &sent).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.the("content-type"), "application/json");
        assert_eq!(answer.the("location"), format!("{BASE}/acme/order/7"));
        assert_eq!(answer.the("retry-after"), "11");
        assert_eq!(answer.the("replay-nonce"), "nonce-0");
        assert_eq!(answer.the("cache-control"), "no-store");
        let up = format!("<{BASE}/acme/authz/3>;rel=\"up\"");
        let index = format!("<{BASE}/acme/directory>;rel=\"index\"");
        assert_eq!(answer.all("link"), [up, index]);
        assert_eq!(answer.body, br#"{"status":"pending"}"#);
    });
}

#[test]
fn all_kinds_of_bodies_have_their_types_and_all_resources_can_be_posted_to() {
    run(async {
        let paths = [
            "/acme/new-account",
            "/acme/new-order",
            "/acme/revoke-cert",
            "/acme/key-change",
            "/acme/account/1",
            "/acme/account/1/orders",
            "/acme/account/1/orders/20",
            "/acme/order/1",
            "/acme/order/1/finalize",
            "/acme/authz/1",
            "/acme/challenge/1/http-01",
            "/acme/certificate/1a",
        ];
        for (content, media_type) in [
            (Content::None, None),
            (Content::Json, Some("application/json")),
            (Content::Problem, Some("application/problem+json")),
            (Content::PemChain, Some("application/pem-certificate-chain")),
        ] {
            let address =
                Group::ordered(move |_| plain(&AcmeReply { content, ..reply(200, "{}") }));
            let address = address.door().await;
            for path in paths {
                let answer = post(address, path).await;
                assert_eq!(answer.status, 200, "{path}");
                assert_eq!(answer.all("content-type"), Vec::from_iter(media_type), "{path}");
            }
        }
    });
}

#[test]
fn what_breaks_the_rules_of_http_never_reaches_the_group_and_gets_a_problem_and_a_nonce() {
    run(async {
        let address = Group::default().door().await;
        for wrong in ["", "\r\ncontent-type: application/json", "\r\ncontent-type: x"] {
            let head = format!("POST /acme/new-order HTTP/1.1{wrong}");
            http(address, &head, &jws("/acme/new-order")).await.is_problem(415, "malformed");
        }
        let long = vec![b'x'; BODY_BYTES_MAX + 1];
        post_body(address, "/acme/new-order", &long).await.is_problem(413, "malformed");
        for nowhere in ["/", "/acme", "/acme/new-orders", "/acme/order", "/acme/order/1/x"] {
            post(address, nowhere).await.is_problem(404, "malformed");
            get(address, nowhere).await.is_problem(404, "malformed");
        }
        let endless = format!("/acme/order/{}", "1".repeat(300));
        post(address, &endless).await.is_problem(404, "malformed");
        for path in ["/acme/new-order", "/acme/order/1", "/acme/certificate/1a"] {
            let answer = get(address, path).await;
            answer.is_problem(405, "malformed");
            assert_eq!(answer.the("allow"), "POST");
        }
        post(address, "/acme/new-nonce").await.is_problem(405, "malformed");
        post(address, "/acme/directory").await.is_problem(405, "malformed");
    });
}

#[test]
fn what_every_server_would_refuse_never_reaches_the_group() {
    run(async {
        let address = Group::default().door().await;
        let path = "/acme/new-account";
        let refused = async |body: &[u8], status, kind: &str| {
            post_body(address, path, body).await.is_problem(status, kind);
        };
        refused(b"", 400, "malformed").await;
        refused(b"{}", 400, "malformed").await;
        refused(&jws("/acme/new-order"), 403, "unauthorized").await;
        let url = format!("{BASE}{path}");
        let account = format!("{BASE}/acme/account/1");
        let with_nonce = |nonce: &str| {
            let header = json!({ "alg": "ES256", "kid": account, "nonce": nonce, "url": url });
            forged(&header)
        };
        let of = |base: &str, server, seed| {
            SignedNonces::new(base, Party::new(server), &[seed; 32]).fresh()
        };
        let group = Group::ordered(|_| plain(&reply(200, "{}")));
        let right = with_nonce(&of(BASE, 0, 1));
        assert_eq!(post_body(group.door().await, path, &right).await.status, 200);
        for nonce in [
            "AAAA".to_owned(),
            of(BASE, 0, 2),
            of(BASE, 3, 3),
            of("https://other.example.test", 0, 1),
        ] {
            refused(&with_nonce(&nonce), 400, "badNonce").await;
        }
        let header = json!({ "alg": "ES256", "kid": account, "url": url });
        refused(&forged(&header), 400, "badNonce").await;
        let header = json!({ "alg": "HS256", "kid": account, "nonce": "AAAA", "url": url });
        refused(&forged(&header), 400, "badSignatureAlgorithm").await;
    });
}

#[test]
fn a_key_that_a_request_brings_must_have_signed_it() {
    run(async {
        let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a seed");
        let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) });
        let (path, nonce) = ("/acme/new-account", SignedNonces::new(BASE, me(), &[3; 32]).fresh());
        let url = format!("{BASE}{path}");
        let header = json!({ "alg": "EdDSA", "jwk": jwk, "nonce": nonce, "url": url });
        let sign = |signed: &str| {
            let input =
                format!("{}.{}", encode(header.to_string().as_bytes()), encode(signed.as_bytes()));
            flattened(header.to_string().as_bytes(), b"{}", |_| {
                key.sign(input.as_bytes()).as_ref().to_vec()
            })
        };
        let address = Group::ordered(|_| plain(&reply(201, "{}"))).door().await;
        assert_eq!(post_body(address, path, &sign("{}")).await.status, 201);
        let address = Group::default().door().await;
        post_body(address, path, &sign("{ }")).await.is_problem(403, "unauthorized");
    });
}

#[test]
fn a_body_as_long_as_the_group_takes_gets_through_whatever_the_parameters_of_its_type() {
    run(async {
        let group = Group::ordered(|request| {
            let CaRequest::Acme { body, .. } = request else { panic!("{request:?}") };
            assert_eq!(body.len(), BODY_BYTES_MAX);
            plain(&reply(200, "{}"))
        });
        let head = "POST /acme/new-order HTTP/1.1\r\ncontent-type: Application/JOSE+json; x=y";
        let mut long = jws("/acme/new-order");
        long.resize(BODY_BYTES_MAX, b' ');
        let answer = http(group.door().await, head, &long).await;
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn who_comes_when_it_cannot_be_served_is_told_when_to_come_back() {
    run(async {
        let come_back = |answer: Answer, kind: &str| {
            answer.is_problem(503, kind);
            assert!(answer.the("retry-after").parse::<u32>().expect("seconds") > 0);
        };
        let publication = publication(&authority().1);
        let address = Group::default().door_for(0, publication, None).await;
        come_back(post(address, "/acme/new-order").await, "rateLimited");
        let overloaded = |_| Some(FrontEndReply::Refused(Refusal::Overloaded));
        let address = Group::ordered(overloaded).door().await;
        come_back(post(address, "/acme/new-order").await, "rateLimited");
        let behind = |_| Some(FrontEndReply::Refused(Refusal::CatchingUp));
        let address = Group::ordered(behind).door().await;
        come_back(post(address, "/acme/new-order").await, "serverInternal");
        let address = Group::ordered(|_| None).door().await;
        come_back(post(address, "/acme/new-order").await, "serverInternal");
        for broken in [
            FrontEndReply::Refused(Refusal::UnknownService),
            FrontEndReply::Plain(Bytes::from_static(b"noise")),
        ] {
            let address = Group::ordered(move |_| Some(broken.clone())).door().await;
            let answer = post(address, "/acme/new-order").await;
            answer.is_problem(500, "serverInternal");
        }
    });
}

const PROCESSING: &str = r#"{"status":"processing"}"#;

/// Answers a finalized order, and then what is seen of it, one look after the other.
async fn finalize(seen: impl FnMut() -> Option<CaAnswer> + Send + 'static) -> Answer {
    let mut seen = seen;
    let group = Group {
        order: Box::new(|_| {
            let location = format!("{BASE}/acme/order/12").into_bytes();
            let location = Blob::new(location);
            plain(&AcmeReply { location, retry_after: Some(3), ..reply(200, PROCESSING) })
        }),
        read: Box::new(move |question| {
            assert_eq!(question, CaRead::Order { order: 12 });
            seen()
        }),
    };
    post(group.door().await, "/acme/order/12/finalize").await
}

#[test]
fn who_finalizes_waits_for_the_certificate() {
    run(async {
        let valid = r#"{"status":"valid","certificate":"there"}"#;
        let mut looks = 0;
        let answer = finalize(move || {
            looks += 1;
            Some(CaAnswer::Acme(reply(200, if looks < 3 { PROCESSING } else { valid })))
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, valid.as_bytes());
        assert_eq!(answer.the("location"), format!("{BASE}/acme/order/12"));
        assert!(answer.all("retry-after").is_empty(), "nothing is to be waited for");
    });
}

#[test]
fn who_finalizes_does_not_wait_for_ever() {
    run(async {
        let mut looks = 0;
        let (send, receive) = std::sync::mpsc::channel();
        let answer = finalize(move || {
            looks += 1;
            send.send(looks).expect("heard");
            Some(CaAnswer::Acme(reply(200, PROCESSING)))
        });
        let answer = answer.await;
        assert_eq!(answer.body, PROCESSING.as_bytes());
        assert_eq!(answer.the("retry-after"), "3");
        assert!(receive.try_iter().count() > 1, "it looked more than once");
        let silent = finalize(|| None).await;
        assert_eq!(silent.body, PROCESSING.as_bytes());
    });
}

#[test]
fn an_order_that_is_not_processing_is_not_looked_at() {
    run(async {
        for (path, body) in [
            ("/acme/order/12/finalize", r#"{"status":"valid"}"#),
            ("/acme/order/12", PROCESSING),
            ("/acme/authz/12", PROCESSING),
        ] {
            let group = Group::ordered(move |_| plain(&reply(200, body)));
            let answer = post(group.door().await, path).await;
            assert_eq!(answer.body, body.as_bytes());
        }
    });
}

#[test]
fn renewal_information_is_read_from_this_servers_state() {
    run(async {
        let group = Group::reading(|question| {
            let CaRead::RenewalInfo { certificate } = question else { panic!("{question:?}") };
            match &certificate[..] {
                b"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" => {
                    let info = AcmeReply { retry_after: Some(21_600), ..reply(200, "{}") };
                    Some(CaAnswer::Acme(info))
                }
                _ => {
                    let content = Content::Problem;
                    Some(CaAnswer::Acme(AcmeReply { content, ..reply(404, "{}") }))
                }
            }
        });
        let address = group.door().await;
        let path = "/acme/renewal-info/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.the("retry-after")), (200, "21600"));
        assert_eq!(answer.the("content-type"), "application/json");
        assert_eq!(get(address, "/acme/renewal-info/other").await.status, 404);
        let long = format!("/acme/renewal-info/{}", "x".repeat(200));
        get(address, &long).await.is_problem(404, "malformed");
        let silent = Group::reading(|_| None).door().await;
        get(silent, path).await.is_problem(503, "serverInternal");
    });
}

#[test]
fn a_server_signs_its_nonces_with_the_time_and_never_makes_one_twice() {
    let nonces = SignedNonces::new(BASE, Party::new(2), &[7; 32]);
    let [first, second] = [nonces.fresh(), nonces.fresh()];
    assert_ne!(first, second);
    let nonce = Nonce::from_text(&first).expect("a nonce");
    assert_eq!(nonce.server, Party::new(2));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now - nonce.at < 60);
    let message = Nonce::message(BASE, nonce.server, nonce.at, nonce.random);
    let key = nonces.key();
    let key = UnparsedPublicKey::new(&ED25519, &key.0);
    key.verify(&message, &nonce.signature).expect("signed");
    assert!(!format!("{nonces:?}").contains('7'), "no secret is printed");
}
