use super::signer::{SIGNERS, bound};
use crate::ca::jose::{Binding, Jwk};
use crate::ca::{Problem, ProblemType};
use serde_json::{Value, json};

const URL: &str = "https://ca.example/acme/new-account";
const MAC_KEY: [u8; 32] = [7; 32];

fn check(value: &Value, key: &Jwk, url: &str) -> Result<(), Problem> {
    Binding::parse(value).and_then(|binding| binding.verify(&MAC_KEY, key, url))
}

#[test]
fn a_customers_binding_of_his_key_verifies() {
    for signer in SIGNERS.iter() {
        let value = signer.binding(&MAC_KEY, "customer 7", URL);
        assert_eq!(Binding::parse(&value).unwrap().kid(), "customer 7");
        assert_eq!(check(&value, &signer.jwk(), URL), Ok(()));
    }
}

#[test]
fn a_binding_is_for_one_customer_one_key_and_one_url() {
    let [signer, other, _] = &*SIGNERS;
    let kind = |value: &Value, key: &Jwk, url| check(value, key, url).unwrap_err().kind;
    let value = signer.binding(&MAC_KEY, "7", URL);
    assert_eq!(kind(&value, &other.jwk(), URL), ProblemType::Malformed);
    let elsewhere = "https://ca.example/acme/key-change";
    assert_eq!(kind(&value, &signer.jwk(), elsewhere), ProblemType::Malformed);
    let forged = signer.binding(&[8; 32], "7", URL);
    assert_eq!(kind(&forged, &signer.jwk(), URL), ProblemType::Unauthorized);
    let mut cut = value.clone();
    cut["signature"] = "".into();
    assert_eq!(kind(&cut, &signer.jwk(), URL), ProblemType::Unauthorized);
    let mut renamed = value.clone();
    renamed["protected"] = signer.binding(&MAC_KEY, "8", URL)["protected"].clone();
    assert_eq!(kind(&renamed, &signer.jwk(), URL), ProblemType::Unauthorized);
}

#[test]
fn a_binding_has_a_mac_and_no_signature() {
    let signer = &SIGNERS[0];
    let payload = signer.json().to_string();
    for name in ["none", "EdDSA", "RS256", "HS512", "hs256"] {
        let header = json!({ "alg": name, "kid": "7", "url": URL });
        let problem = Binding::parse(&bound(&header, payload.as_bytes(), &MAC_KEY)).unwrap_err();
        assert_eq!(problem.kind, ProblemType::BadSignatureAlgorithm, "{name}");
        assert_eq!(problem.algorithms, ["HS256"]);
    }
}

#[test]
fn a_binding_has_kid_and_url_neither_nonce_nor_key() {
    let signer = &SIGNERS[0];
    let payload = signer.json().to_string();
    for header in [
        json!({ "kid": "7", "url": URL }),
        json!({ "alg": "HS256", "url": URL }),
        json!({ "alg": "HS256", "kid": "7" }),
        json!({ "alg": "HS256", "kid": 7, "url": URL }),
        json!({ "alg": "HS256", "kid": "7", "url": URL, "nonce": "bm9uY2U" }),
        json!({ "alg": "HS256", "kid": "7", "url": URL, "jwk": signer.json() }),
        json!({ "alg": "HS256", "kid": "7", "url": URL, "crit": [] }),
    ] {
        let value = bound(&header, payload.as_bytes(), &MAC_KEY);
        assert_eq!(Binding::parse(&value).unwrap_err().kind, ProblemType::Malformed, "{header}");
    }
}

#[test]
fn the_payload_of_a_binding_is_a_key() {
    let header = json!({ "alg": "HS256", "kid": "7", "url": URL });
    let twice = SIGNERS[0].json().to_string().replacen('{', "{\"kty\":\"OKP\",", 1);
    for payload in ["", "{}", "null", "{\"kty\":\"oct\",\"k\":\"AA\"}", &twice] {
        assert!(Binding::parse(&bound(&header, payload.as_bytes(), &MAC_KEY)).is_err());
    }
    // Written otherwise, it is the same key.
    let spaced = format!(" {} ", SIGNERS[0].json());
    let value = bound(&header, spaced.as_bytes(), &MAC_KEY);
    assert_eq!(check(&value, &SIGNERS[0].jwk(), URL), Ok(()));
}
