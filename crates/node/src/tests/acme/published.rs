//! What the authority publishes, over HTTPS and plain HTTP.

use super::{
    Answer, Group, another_authority, authority, certificate, get, http, publication, run,
};
use crate::acme::{CRL_KEPT, Publication, published};
use base64ct::{Base64, Encoding};
use maftia_base::wire::Blob;
use maftia_services::ca::{CaAnswer, CaRead, CaRefusal};
use maftia_services::x509::{CertificateStatus, OcspRefusal, Serial};
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspRequest};
use openssl::x509::{X509, X509Crl};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// When what is published was made, and when it is to be renewed.
const FROM: u64 = 1_790_000_000;
const UNTIL: u64 = 4_000_000_000;

const SERIAL: u128 = 0x4141_4141_4141_4141_4141_4141_4141_4141;

/// The same two times in HTTP.
const DATES: [&str; 2] = ["Mon, 21 Sep 2026 14:13:20 GMT", "Tue, 02 Oct 2096 07:06:40 GMT"];

fn request(subject: &X509, issuer: &X509) -> Vec<u8> {
    let id = OcspCertId::from_cert(MessageDigest::sha1(), subject, issuer).expect("an id");
    let mut request = OcspRequest::new().expect("a request");
    request.add_id(id).expect("added");
    request.to_der().expect("encodes")
}

/// A server that has an OCSP response for [`SERIAL`], that response, and a request for it.
async fn ocsp_door() -> (SocketAddr, Vec<u8>, Vec<u8>) {
    let (key, issuer) = authority();
    let serial = Serial::new(SERIAL.to_be_bytes()).expect("positive");
    let publication = publication(&issuer);
    let unsigned = publication.issuer.ocsp(serial, CertificateStatus::Good, FROM, UNTIL);
    let response = unsigned.expect("encodes").finish(&[1; 256]);
    let known = response.clone();
    let group = Group::reading(move |question| {
        let CaRead::Ocsp { serial: asked } = question else { panic!("{question:?}") };
        match asked == serial {
            true => Some(CaAnswer::Ocsp(Blob::new(known.clone()).expect("short"))),
            false => Some(CaAnswer::Refused(CaRefusal::Unknown)),
        }
    });
    let address = group.door_for(8, publication, None).await;
    let subject = certificate(&key, SERIAL, Some((&key, &issuer)));
    (address, response, request(&subject, &issuer))
}

const OCSP_POST: &str = "POST /ocsp HTTP/1.1\r\ncontent-type: application/ocsp-request";

fn is_kept(answer: &Answer, media_type: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.the("content-type"), media_type);
    assert_eq!(answer.the("last-modified"), DATES[0]);
    assert_eq!(answer.the("expires"), DATES[1]);
    let control = answer.the("cache-control");
    let (age, rest) = control.split_once(',').expect("several");
    assert_eq!(rest, " public, no-transform, must-revalidate");
    let age: u64 = age.strip_prefix("max-age=").expect("an age").parse().expect("seconds");
    assert!(age < UNTIL - FROM && age > 365 * 86_400, "{age}");
}

#[test]
fn ocsp_is_answered_by_post_and_by_get_and_may_be_kept() {
    run(async {
        let (address, response, request) = ocsp_door().await;
        let posted = http(address, OCSP_POST, &request).await;
        is_kept(&posted, "application/ocsp-response");
        assert_eq!(posted.body, response);
        let encoded = Base64::encode_string(&request);
        let escaped = encoded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        for path in [encoded, escaped] {
            let fetched = get(address, &format!("/ocsp/{path}")).await;
            is_kept(&fetched, "application/ocsp-response");
            assert_eq!(fetched.body, response);
            assert_eq!(fetched.the("etag"), posted.the("etag"));
        }
    });
}

#[test]
fn ocsp_about_other_certificates_is_refused_and_that_is_not_kept() {
    run(async {
        let (address, _, request_here) = ocsp_door().await;
        let is = |answer: Answer, refusal: OcspRefusal| {
            assert_eq!((answer.status, &answer.body), (200, &refusal.response()));
            assert_eq!(answer.the("cache-control"), "no-store");
        };
        let (key, other) = another_authority();
        let subject = certificate(&key, SERIAL, Some((&key, &other)));
        let elsewhere = request(&subject, &other);
        is(http(address, OCSP_POST, &elsewhere).await, OcspRefusal::Unauthorized);
        is(http(address, OCSP_POST, b"noise").await, OcspRefusal::MalformedRequest);
        is(http(address, OCSP_POST, &[0; 9000]).await, OcspRefusal::MalformedRequest);
        is(get(address, "/ocsp/not-base64!").await, OcspRefusal::MalformedRequest);
        // Of this issuer, but unknown: the last byte of the serial number is another one.
        let mut unknown = request_here.clone();
        let at = unknown.windows(16).position(|it| it == [0x41; 16]).expect("the serial number");
        unknown[at + 15] = 0x42;
        is(http(address, OCSP_POST, &unknown).await, OcspRefusal::Unauthorized);
        let plain = OCSP_POST.replace("application/ocsp-request", "text/plain");
        assert_eq!(http(address, &plain, &request_here).await.status, 415);
    });
}

#[test]
fn ocsp_is_to_be_asked_again_when_this_server_cannot_say() {
    run(async {
        let (key, issuer) = authority();
        let subject = certificate(&key, SERIAL, Some((&key, &issuer)));
        let request = request(&subject, &issuer);
        for answer in [None, Some(CaAnswer::Refused(CaRefusal::NotYet))] {
            let group = Group::reading(move |_| answer.clone());
            let address = group.door_for(8, publication(&issuer), None).await;
            let answer = http(address, OCSP_POST, &request).await;
            assert_eq!(answer.body, OcspRefusal::TryLater.response());
        }
    });
}

#[test]
fn a_revocation_list_is_read_once_in_a_while_and_may_be_kept() {
    run(async {
        let publication = publication(&authority().1);
        let unsigned = publication.issuer.crl(3, FROM, UNTIL, &[]);
        let list = unsigned.expect("encodes").finish(&[1; 256]);
        let reads = Arc::new(AtomicUsize::new(0));
        let (known, counter) = (list.clone(), Arc::clone(&reads));
        let group = Group::reading(move |question| {
            assert_eq!(question, CaRead::Crl);
            counter.fetch_add(1, Ordering::Relaxed);
            Some(CaAnswer::Crl(Blob::new(known.clone()).expect("short")))
        });
        let address = group.door_for(8, publication, None).await;
        let first = get(address, "/crl/issuing.crl").await;
        is_kept(&first, "application/pkix-crl");
        assert_eq!(first.body, list);
        let tag = first.the("etag").to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}")] {
            let head = format!("GET /crl/issuing.crl HTTP/1.1\r\nif-none-match: {known}");
            let again = http(address, &head, b"").await;
            assert_eq!((again.status, again.body.len()), (304, 0));
            assert_eq!(again.the("expires"), DATES[1]);
        }
        let head = "GET /crl/issuing.crl HTTP/1.1\r\nif-none-match: \"other\"";
        assert_eq!(http(address, head, b"").await.status, 200);
        assert_eq!(reads.load(Ordering::Relaxed), 1, "all that within {CRL_KEPT:?}");
        let begun = tokio::time::Instant::now();
        while reads.load(Ordering::Relaxed) < 2 {
            get(address, "/crl/issuing.crl").await;
        }
        assert!(begun.elapsed() < 20 * CRL_KEPT);
    });
}

#[test]
fn without_a_revocation_list_there_is_nothing_to_keep() {
    run(async {
        let group = Group::reading(|_| Some(CaAnswer::Refused(CaRefusal::NotYet)));
        let answer = get(group.door().await, "/crl/issuing.crl").await;
        assert_eq!(answer.status, 503);
        assert!(answer.the("retry-after").parse::<u32>().is_ok());
    });
}

#[test]
fn the_roots_revocation_list_is_what_an_operator_has_put_into_a_file() {
    run(async {
        let issuer = authority().1;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("root.crl");
        let publication = Publication { root_list: Some(file.clone()), ..publication(&issuer) };
        let unsigned = publication.issuer.crl(7, FROM, UNTIL, &[]);
        let list = unsigned.expect("encodes").finish(&[1; 256]);
        let address = Group::default().door_for(8, publication, None).await;
        assert_eq!(get(address, "/crl/root.crl").await.status, 404);
        let empty = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        for wrong in ["no list", empty] {
            std::fs::write(&file, wrong).expect("written");
            tokio::time::sleep(CRL_KEPT).await;
            assert_eq!(get(address, "/crl/root.crl").await.status, 404);
        }
        let pem = X509Crl::from_der(&list).and_then(|list| list.to_pem()).expect("encodes");
        std::fs::write(&file, pem).expect("written");
        tokio::time::sleep(CRL_KEPT).await;
        let answer = get(address, "/crl/root.crl").await;
        is_kept(&answer, "application/pkix-crl");
        assert_eq!(answer.body, list);
    });
}

#[test]
fn the_certificates_of_the_authority_are_there_without_tls() {
    run(async {
        let issuer = authority().1;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let pages = published(Arc::new(publication(&issuer)), Group::default().asking(8));
        tokio::spawn(async move { axum::serve(listener, pages).await });
        let issuing = get(address, "/ca/issuing.cer").await;
        assert_eq!(issuing.body, issuer.to_der().expect("encodes"));
        let root = get(address, "/ca/root.cer").await;
        assert_eq!(root.body, b"the root");
        for answer in [&issuing, &root] {
            assert_eq!(answer.the("content-type"), "application/pkix-cert");
            assert!(answer.the("cache-control").starts_with("max-age=86400, public"));
        }
        assert_ne!(issuing.the("etag"), root.the("etag"));
        assert_eq!(get(address, "/acme/directory").await.status, 404, "that is for HTTPS");
    });
}
