//! What clients of the certification authority send: names, keys, signed requests, requests for
//! certificates.

use crate::bounded;
use der::{Decode, Header, Reader, SliceReader};
use maftia_base::wire::Wire;
use maftia_services::ca::jose::{Algorithm, Binding, Jwk, Jws, KeyRef, base64url, flattened, json};
use maftia_services::ca::{Csr, Identifier, NAMES_MAX, ProblemType};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;

/// Where the requests of the corpus go.
const URL: &str = "https://ca.example/acme/new-order";

/// The one customer's secret.
const MAC_KEY: [u8; 32] = [7; 32];

/// A client's key, always the same.
fn client() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("32 bytes are a seed")
}

fn public_key() -> Jwk {
    Jwk::Ed25519(client().public_key().as_ref().try_into().expect("32 bytes"))
}

fn signed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    flattened(header, payload, |input| client().sign(input).as_ref().to_vec())
}

fn bound(header: &[u8], payload: &[u8]) -> Vec<u8> {
    flattened(header, payload, |input| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &MAC_KEY), input).as_ref().to_vec()
    })
}

/// A name or an address: what is accepted has one form in ACME, and one on the wire.
pub fn identifier(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for kind in ["dns", "ip"] {
        if let Ok(identifier) = Identifier::from_acme_internal(kind, text) {
            assert_eq!(identifier.acme_type(), kind);
            assert_eq!(identifier.acme_value(), text.to_ascii_lowercase(), "only folded");
            is_in_its_one_form(&identifier);
        }
    }
}

fn is_in_its_one_form(identifier: &Identifier) {
    let (kind, value) = (identifier.acme_type(), identifier.acme_value());
    let again = Identifier::from_acme_internal(kind, &value).expect("of its own making");
    assert_eq!(&again, identifier);
    let again = Identifier::from_wire(identifier.to_wire()).expect("of its own making");
    assert_eq!(&again, identifier);
}

/// JSON: what is accepted means what it always means.
pub fn text(bytes: &[u8]) {
    if let Ok(value) = bounded(bytes.len(), || json::parse(bytes)) {
        assert_eq!(serde_json::from_slice::<Value>(bytes).expect("JSON"), value);
    }
}

/// The key of an account.
pub fn key(bytes: &[u8]) {
    let Ok(value) = json::parse(bytes) else { return };
    if let Ok(key) = bounded(bytes.len(), || Jwk::from_json(&value)) {
        can_be_an_accounts(&key);
    }
}

/// The key of a certificate that its owner revokes.
pub fn certificate_key(bytes: &[u8]) {
    if let Some(key) = bounded(bytes.len(), || Jwk::from_spki(bytes)) {
        can_be_an_accounts(&key);
    }
}

fn can_be_an_accounts(key: &Jwk) {
    let json = key.to_json();
    assert_eq!(Jwk::from_json(&json).as_ref(), Ok(key));
    assert_eq!(Jwk::from_wire(key.to_wire()).expect("of its own making"), *key);
    assert_eq!(json["kty"].is_string(), key.thumbprint() != [0; 32]);
    for algorithm in Algorithm::ALL {
        assert!(!key.verify(algorithm, b"message", &[0; 64]), "zeros sign nothing");
        assert!(!key.verify(algorithm, b"message", &[0; 256]), "zeros sign nothing");
    }
}

/// A signed request, whole.
pub fn request(bytes: &[u8]) {
    if let Ok(jws) = bounded(bytes.len(), || Jws::parse(bytes)) {
        let value: Value = serde_json::from_slice(bytes).expect("JSON");
        let payload = value["payload"].as_str().expect("text");
        assert_eq!(base64url::encode(jws.payload()), payload, "it has one encoding");
        let _ = (jws.verify(&public_key()), Jws::parse_inner(&value));
    }
}

/// The header of a request that our client signed: it verifies under his key as what it is, and
/// under no other.
pub fn header(bytes: &[u8]) {
    let body = signed(bytes, b"{}");
    let Ok(jws) = bounded(body.len(), || Jws::parse(&body)) else { return };
    let header: Value = serde_json::from_slice(bytes).expect("JSON");
    assert_eq!(header["url"], jws.url());
    assert_eq!(header.get("nonce").and_then(Value::as_str), jws.nonce());
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    assert_eq!(jws.verify(&public_key()).is_ok(), header["alg"] == "EdDSA");
    match jws.key() {
        KeyRef::Jwk(key) => {
            assert!(header.get("kid").is_none());
            let is_clients = *key == public_key() && header["alg"] == "EdDSA";
            assert_eq!(jws.verify(key).is_ok(), is_clients);
        }
        KeyRef::Kid(kid) => {
            assert!(header.get("jwk").is_none());
            assert_eq!(header["kid"], kid.as_str());
        }
    }
}

/// An external account binding, whole.
pub fn binding(bytes: &[u8]) {
    let Ok(value) = json::parse(bytes) else { return };
    if let Ok(binding) = bounded(bytes.len(), || Binding::parse(&value)) {
        let refusal = binding.verify(&[8; 32], &public_key(), URL).expect_err("another key");
        assert!([ProblemType::Malformed, ProblemType::Unauthorized].contains(&refusal.kind));
        let _ = (binding.kid().len(), binding.verify(&MAC_KEY, &public_key(), URL));
    }
}

/// A request for a certificate, whole.
pub fn certificate_request(bytes: &[u8]) {
    if let Ok(csr) = bounded(bytes.len(), || Csr::parse(bytes)) {
        can_be_granted(&csr);
    }
}

/// Subject and attributes of a request that our client signed rightly, so that what stands behind
/// the signature is reached.
pub fn certificate_wishes(bytes: &[u8]) {
    let request = request_for(bytes);
    if let Ok(csr) = bounded(request.len(), || Csr::parse(&request)) {
        can_be_granted(&csr);
        assert_eq!(Jwk::from_spki(&csr.public_key), Some(public_key()));
    }
}

fn can_be_granted(csr: &Csr) {
    assert!((1..=NAMES_MAX).contains(&csr.names.len()));
    csr.names.iter().for_each(is_in_its_one_form);
}

/// A value in DER.
fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len();
    let length = match length {
        0..0x80 => vec![length as u8],
        _ => vec![0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8],
    };
    // The shortest form of a length is the only one.
    let length = match length[..] {
        [0x83, 0, 0, low] => vec![0x81, low],
        [0x83, 0, high, low] => vec![0x82, high, low],
        _ => length,
    };
    [&[tag][..], &length, &content].concat()
}

/// Ed25519, as an algorithm.
const ED25519: [u8; 7] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70];

/// A request by our client with this subject, and after it these attributes.
fn request_for(subject_and_attributes: &[u8]) -> Vec<u8> {
    let end = first_value(subject_and_attributes).unwrap_or(subject_and_attributes.len() / 2);
    let (subject, attributes) = subject_and_attributes.split_at(end);
    let client = client();
    let key = tlv(3, &[&[0], client.public_key().as_ref()]);
    let info = tlv(0x30, &[&[2, 1, 0], subject, &tlv(0x30, &[&ED25519, &key]), attributes]);
    let signature = tlv(3, &[&[0], client.sign(&info).as_ref()]);
    tlv(0x30, &[&info, &ED25519, &signature])
}

/// Where the first value in DER ends.
fn first_value(bytes: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    reader.read_slice(header.length).ok()?;
    usize::try_from(reader.position()).ok()
}

/// What honest clients send, each with the target that reads it.
pub fn honest() -> Vec<(&'static str, Vec<u8>)> {
    let jwk = public_key().to_json();
    let header = format!(r#"{{"alg":"EdDSA","jwk":{jwk},"nonce":"bm9uY2U","url":"{URL}"}}"#);
    let kid = "https://ca.example/acme/account/7";
    let by_name = format!(r#"{{"alg":"EdDSA","kid":"{kid}","nonce":"bm9uY2U","url":"{URL}"}}"#);
    let binding = format!(r#"{{"alg":"HS256","kid":"customer","url":"{URL}"}}"#);
    let order = br#"{"identifiers":[{"type":"dns","value":"*.example.com"}]}"#;
    let wishes = [wishes(&[]), wishes(&[&MUST_STAPLE, &NO_AUTHORITY])];
    let of_ec = serde_json::json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let mut honest = vec![
        ("acme_json", order.to_vec()),
        ("acme_json", header.clone().into_bytes()),
        ("acme_key", jwk.to_string().into_bytes()),
        ("acme_key", of_ec.to_string().into_bytes()),
        ("acme_key", of_rsa().to_json().to_string().into_bytes()),
        ("acme_header", header.clone().into_bytes()),
        ("acme_header", by_name.clone().into_bytes()),
        ("acme_request", signed(header.as_bytes(), order)),
        ("acme_request", signed(by_name.as_bytes(), b"")),
        ("acme_binding", bound(binding.as_bytes(), jwk.to_string().as_bytes())),
        (
            "certificate_key",
            tlv(0x30, &[&ED25519, &tlv(3, &[&[0], client().public_key().as_ref()])]),
        ),
    ];
    for wish in wishes {
        honest.push(("certificate_request", request_for(&wish)));
        honest.push(("certificate_wishes", wish));
    }
    for value in ["*.www.example.com", "xn--bcher-kva.example", "192.0.2.1", "2001:db8::1"] {
        let kind = if value.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        let identifier = Identifier::from_acme(kind, value).expect(value);
        honest.push(("acme_identifier", value.into()));
        honest.push(("ca_identifier", identifier.to_wire().to_vec()));
        if let Identifier::Dns(name) = identifier {
            honest.push(("ca_dns_name", name.to_wire().to_vec()));
        }
    }
    let of_ec = Jwk::from_json(&of_ec).expect("a key");
    for key in [public_key(), of_ec, of_rsa()] {
        honest.push(("ca_jwk", key.to_wire().to_vec()));
    }
    honest.push(("ca_problem_type", ProblemType::BadCsr.to_wire().to_vec()));
    honest
}

/// A key of RSA whose modulus nobody has factored, the first like it.
fn of_rsa() -> Jwk {
    let key = |last: u8| {
        let modulus: Vec<u8> = (0..255).map(|byte| 0xff - byte).chain([last]).collect();
        let (n, e) = (base64url::encode(&modulus), "AQAB");
        Jwk::from_json(&serde_json::json!({ "kty": "RSA", "n": n, "e": e })).ok()
    };
    (0..=255).find_map(key).expect("one in twelve has no small factor")
}

/// The extension of RFC 7633.
const MUST_STAPLE: [u8; 19] = [0x30, 17, 6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 24, 4, 5, 0x30, 3, 2, 1, 5];

/// The extension `basicConstraints`, critical, of one who is no authority.
const NO_AUTHORITY: [u8; 14] = [0x30, 12, 6, 3, 0x55, 0x1d, 0x13, 1, 1, 0xff, 4, 2, 0x30, 0];

/// Subject and attributes that ask for two names, an address, and these extensions.
fn wishes(extensions: &[&[u8]]) -> Vec<u8> {
    let common_name = tlv(0x30, &[&[6, 3, 0x55, 4, 3], &tlv(0x0c, &[b"example.com"])]);
    let subject = tlv(0x30, &[&tlv(0x31, &[&common_name])]);
    let names = [tlv(0x82, &[b"example.com"]), tlv(0x82, &[b"*.example.org"])].concat();
    let names = tlv(0x30, &[&names, &tlv(0x87, &[&[192, 0, 2, 1]])]);
    let names = tlv(0x30, &[&[6, 3, 0x55, 0x1d, 0x11], &tlv(4, &[&names])]);
    let extensions = tlv(0x31, &[&tlv(0x30, &[&names, &extensions.concat()])]);
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
    [subject, tlv(0xa0, &[&tlv(0x30, &[&oid, &extensions])])].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_honest_clients_send_is_accepted() {
        for (target, bytes) in honest() {
            let value = json::parse(&bytes);
            let is_accepted = match target {
                "acme_json" | "acme_header" => value.is_ok(),
                "acme_key" => Jwk::from_json(&value.expect("JSON")).is_ok(),
                "acme_request" => {
                    Jws::parse(&bytes).is_ok_and(|jws| jws.verify(&public_key()).is_ok())
                }
                "acme_binding" => Binding::parse(&value.expect("JSON"))
                    .is_ok_and(|binding| binding.verify(&MAC_KEY, &public_key(), URL).is_ok()),
                "certificate_key" => Jwk::from_spki(&bytes).is_some(),
                "certificate_request" => Csr::parse(&bytes).is_ok_and(|csr| csr.names.len() == 3),
                "certificate_wishes" => Csr::parse(&request_for(&bytes)).is_ok(),
                _ => target.starts_with("ca_") || target == "acme_identifier",
            };
            assert!(is_accepted, "{target}");
        }
    }
}
