//! What the front end answers to those who ask wrongly.

use crate::running;
use crate::support::{PATIENCE, Town};
use maftia_node::http::BODY_BYTES_MAX;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const QUERY: &str = "application/timestamp-query";

/// An answer: its code, its media type, its body.
struct Answer {
    code: u16,
    media: String,
    body: Vec<u8>,
}

fn ask(town: &Town, path: &str, media: Option<&str>, body: &[u8]) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("http://{}{path}", town.config().servers[0].http);
    let mut request = agent.post(url);
    if let Some(media) = media {
        request = request.header("content-type", media);
    }
    let mut response = request.send(body).unwrap();
    let media = response.headers().get("content-type");
    Answer {
        code: response.status().as_u16(),
        media: media.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default(),
        body: response.body_mut().read_to_vec().unwrap(),
    }
}

/// What OpenSSL reads in a reply to `query`.
fn reading(folder: &Path, answer: &Answer) -> String {
    assert_eq!((answer.code, answer.media.as_str()), (200, "application/timestamp-reply"));
    let path = folder.join("reply.tsr");
    std::fs::write(&path, &answer.body).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["ts", "-reply", "-text", "-in"]).arg(&path);
    String::from_utf8(openssl.output().unwrap().stdout).unwrap()
}

/// A query as OpenSSL makes it with these arguments.
fn query(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let (data, path) = (folder.join("data"), folder.join("query.tsq"));
    std::fs::write(&data, "some document").unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["ts", "-query", "-data"]).arg(&data).args(arguments).arg("-out").arg(&path);
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::read(&path).unwrap()
}

fn lives_on(town: &mut Town) {
    town.stamp(0);
}

#[test]
fn whoever_asks_not_as_http_wants_it_gets_the_code_for_it_and_the_server_lives_on() {
    let mut town = running(1);
    let folder = tempfile::tempdir().unwrap();
    let good = query(folder.path(), &["-sha256"]);
    assert_eq!(ask(&town, "/tsa", Some("text/plain"), &good).code, 415);
    assert_eq!(ask(&town, "/tsa", None, &good).code, 415);
    assert_eq!(ask(&town, "/nothing", Some(QUERY), &good).code, 404);
    assert_eq!(ask(&town, "/status", Some(QUERY), &good).code, 405);
    // The media type is compared as HTTP says, and the root is as good a place to ask.
    let shouted = "Application/Timestamp-Query; charset=binary";
    assert!(reading(folder.path(), &ask(&town, "/", Some(shouted), &good)).contains("Granted."));
    lives_on(&mut town);
    town.stop_all().unwrap();
}

#[test]
fn queries_that_cannot_be_answered_get_the_failure_code_of_rfc_3161_and_the_server_lives_on() {
    let mut town = running(1);
    let folder = tempfile::tempdir().unwrap();
    let good = query(folder.path(), &["-sha256"]);
    let mut digest_too_short = good.clone();
    // The octet string of the digest ends with the query, but for the version before it: cut the
    // last byte, and each length that counts it.
    let digest = digest_too_short.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap();
    digest_too_short.remove(digest + 2);
    for length in [1, 6, digest + 1] {
        digest_too_short[length] -= 1;
    }
    let version_two = {
        let mut query = good.clone();
        let version = query.windows(3).position(|bytes| bytes == [0x02, 0x01, 0x01]).unwrap();
        query[version + 2] = 2;
        query
    };
    let algorithm = "unrecognized or unsupported algorithm identifier";
    let format = "the data submitted has the wrong format";
    let request = "transaction not permitted or supported";
    let policy = "the requested TSA policy is not supported by the TSA";
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("a body that is too long to be read", vec![0; BODY_BYTES_MAX + 1], format),
        ("an empty body", Vec::new(), format),
        ("no ASN.1 at all", b"GET /tsa HTTP/1.1\r\n\r\n".to_vec(), format),
        ("half a query", good[..good.len() / 2].to_vec(), format),
        ("a query and more", [good.clone(), vec![0]].concat(), format),
        ("the longest body that is read", vec![0x30; BODY_BYTES_MAX], format),
        ("a digest that is too short for its hash", digest_too_short, format),
        ("a hash that is broken", query(folder.path(), &["-md5"]), algorithm),
        ("a hash that nobody of us knows", query(folder.path(), &["-sm3"]), algorithm),
        ("another version", version_two, request),
        ("another policy", query(folder.path(), &["-sha256", "-tspolicy", "1.2.3.4"]), policy),
    ];
    for (what, query, failure) in cases {
        let said = reading(folder.path(), &ask(&town, "/tsa", Some(QUERY), &query));
        assert!(said.contains("Rejected.") && said.contains(failure), "{what}: {said}");
    }
    lives_on(&mut town);
    town.stop_all().unwrap();
}

#[test]
fn a_server_lives_on_with_visitors_that_do_not_speak_http_or_hang_up() {
    let mut town = running(1);
    let server = town.config().servers[0].clone();
    let mut left_open = Vec::new();
    let openings: [&[u8]; 4] = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /tsa HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    // The same to each address: what belongs elsewhere must not hurt anywhere.
    for address in [server.http, server.clients, server.peers] {
        for opening in openings {
            for hang_up in [true, false] {
                let mut visitor = TcpStream::connect(address).unwrap();
                visitor.set_read_timeout(Some(PATIENCE)).unwrap();
                // The server may be quick to close.
                let _ = visitor.write_all(opening);
                if !hang_up {
                    left_open.push(visitor);
                }
            }
        }
    }
    let mut refused = TcpStream::connect(server.http).unwrap();
    refused.set_read_timeout(Some(PATIENCE)).unwrap();
    refused.write_all(b"WHAT\r\n\r\n").unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    lives_on(&mut town);
    town.stop_all().unwrap();
}
