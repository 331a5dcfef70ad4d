use super::signer::{SIGNERS, Signer, flattened};
use crate::ca::jose::{JWS_BYTES_MAX, Jws, KeyRef, base64url};
use crate::ca::{Problem, ProblemType};
use serde_json::{Value, json};

const URL: &str = "https://ca.example/acme/new-order";
const KID: &str = "https://ca.example/acme/account/7";
const NONCE: &str = "bm9uY2U";

fn parse(jws: &Value) -> Result<Jws, Problem> {
    Jws::parse(jws.to_string().as_bytes())
}

fn refused(jws: &Value, about: &str) {
    let problem = parse(jws).expect_err("refused");
    assert_eq!(problem.kind, ProblemType::Malformed, "{problem:?}");
    assert!(problem.detail.contains(about), "{problem:?}");
}

/// A usual header of the signer with another member, or another value of one.
fn header_with(signer: &Signer, name: &str, value: impl Into<Value>) -> Value {
    let mut header = signer.header(URL, NONCE);
    header[name] = value.into();
    header
}

/// A request with a header whose text is `header`, signed rightly.
fn signed(signer: &Signer, header: &str) -> Value {
    flattened(header.as_bytes(), b"{}", |signed| signer.sign(signed))
}

#[test]
fn a_request_that_brings_its_key_verifies_under_it() {
    for signer in SIGNERS.iter() {
        let jws = parse(&signer.jws(&signer.header(URL, NONCE), b"{\"a\":1}")).unwrap();
        assert_eq!(jws.key(), &KeyRef::Jwk(signer.jwk()));
        assert_eq!((jws.url(), jws.nonce()), (URL, Some(NONCE)));
        assert_eq!(jws.payload(), b"{\"a\":1}");
        assert_eq!(jws.verify(&signer.jwk()), Ok(()));
    }
}

#[test]
fn a_request_that_names_its_account_verifies_under_the_accounts_key() {
    for signer in SIGNERS.iter() {
        let jws = parse(&signer.jws(&signer.header_of_account(KID, URL, NONCE), b"")).unwrap();
        assert_eq!(jws.key(), &KeyRef::Kid(KID.to_owned()));
        assert_eq!(jws.payload(), b"", "POST-as-GET");
        assert_eq!(jws.verify(&signer.jwk()), Ok(()));
    }
}

#[test]
fn another_key_of_the_same_kind_does_not_verify() {
    for (signer, other) in
        [(Signer::ed25519(), Signer::ed25519()), (Signer::p256(), Signer::p256())]
    {
        let jws = parse(&signer.jws(&signer.header_of_account(KID, URL, NONCE), b"")).unwrap();
        assert_eq!(jws.verify(&other.jwk()).unwrap_err().kind, ProblemType::Unauthorized);
    }
}

#[test]
fn whatever_is_changed_after_signing_does_not_verify() {
    for signer in SIGNERS.iter() {
        let right = signer.jws(&signer.header_of_account(KID, URL, NONCE), b"{\"a\":1}");
        let replace = |name: &str, bytes: &[u8]| {
            let mut jws = right.clone();
            jws[name] = base64url::encode(bytes).into();
            let problem = parse(&jws).unwrap().verify(&signer.jwk()).unwrap_err();
            assert_eq!(problem.kind, ProblemType::Unauthorized, "{name}");
        };
        let header = signer.header_of_account("https://ca.example/acme/account/8", URL, NONCE);
        replace("protected", header.to_string().as_bytes());
        replace("payload", b"{\"a\":2}");
        replace("payload", b"");
        replace("signature", b"");
        replace("signature", &[0; 64]);
    }
}

#[test]
fn an_ecdsa_signature_in_der_does_not_verify() {
    let signer = &SIGNERS[1];
    let header = signer.header(URL, NONCE).to_string();
    let jws = flattened(header.as_bytes(), b"", |signed| signer.sign_der(signed));
    let problem = parse(&jws).unwrap().verify(&signer.jwk()).unwrap_err();
    assert_eq!(problem.kind, ProblemType::Unauthorized);
}

#[test]
fn an_algorithm_that_is_not_accepted_is_refused_with_those_that_are() {
    let signer = &SIGNERS[0];
    for name in
        ["none", "None", "HS256", "ES384", "RS512", "PS256", "RS1", "eddsa", "EdDSA ", "ES256K", ""]
    {
        let jws = signer.jws(&header_with(signer, "alg", name), b"");
        let problem = parse(&jws).unwrap_err();
        assert_eq!(problem.kind, ProblemType::BadSignatureAlgorithm, "{name}");
        assert_eq!(problem.algorithms, ["EdDSA", "ES256", "RS256"]);
    }
    refused(&signer.jws(&header_with(signer, "alg", Value::Null), b""), "\"alg\"");
    refused(&signer.jws(&header_with(signer, "alg", json!(["EdDSA"])), b""), "\"alg\"");
}

#[test]
fn an_algorithm_of_another_kind_of_key_is_refused_with_the_right_one() {
    for signer in SIGNERS.iter() {
        for other in SIGNERS.iter().filter(|other| other.algorithm != signer.algorithm) {
            let jws = signer.jws(&header_with(signer, "alg", other.algorithm), b"");
            let problem = parse(&jws).unwrap().verify(&signer.jwk()).unwrap_err();
            assert_eq!(problem.kind, ProblemType::BadSignatureAlgorithm);
            assert_eq!(problem.algorithms, [signer.algorithm]);
        }
    }
}

#[test]
fn a_key_comes_or_is_named_never_both_never_neither() {
    let signer = &SIGNERS[0];
    refused(&signer.jws(&header_with(signer, "kid", KID), b""), "exactly one");
    let neither = json!({ "alg": "EdDSA", "nonce": NONCE, "url": URL });
    refused(&signer.jws(&neither, b""), "exactly one");
    let number = json!({ "alg": "EdDSA", "kid": 7, "nonce": NONCE, "url": URL });
    refused(&signer.jws(&number, b""), "\"kid\"");
    let null = json!({ "alg": "EdDSA", "jwk": null, "nonce": NONCE, "url": URL });
    refused(&signer.jws(&null, b""), "no object");
}

#[test]
fn a_request_says_its_url_and_a_nonce_is_base64url() {
    let signer = &SIGNERS[0];
    let header = json!({ "alg": "EdDSA", "kid": KID, "nonce": NONCE });
    refused(&signer.jws(&header, b""), "\"url\"");
    refused(&signer.jws(&header_with(signer, "url", json!([URL])), b""), "\"url\"");
    let header = json!({ "alg": "EdDSA", "kid": KID, "url": URL });
    assert_eq!(parse(&signer.jws(&header, b"")).unwrap().nonce(), None);
    for nonce in ["", "bm9uY2U=", "bm9uY2V", "a b", "+/+/", "bm9uY2\u{fc}"] {
        refused(&signer.jws(&header_with(signer, "nonce", nonce), b""), "nonce");
    }
    refused(&signer.jws(&header_with(signer, "nonce", 7), b""), "\"nonce\"");
}

#[test]
fn headers_that_change_what_a_signature_means_are_refused() {
    let signer = &SIGNERS[0];
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        refused(&signer.jws(&header_with(signer, name, value), b""), name);
    }
    let typed = signer.jws(&header_with(signer, "typ", "JWT"), b"");
    assert!(parse(&typed).is_ok(), "what means nothing is ignored");
}

#[test]
fn nothing_stands_beside_the_three_members() {
    let signer = &SIGNERS[0];
    let right = signer.jws(&signer.header(URL, NONCE), b"");
    for (name, value) in [
        ("header", json!({ "kid": KID })),
        ("header", json!({})),
        ("signatures", json!([])),
        ("x", Value::Null),
    ] {
        let mut jws = right.clone();
        jws[name] = value;
        refused(&jws, "only");
    }
    for name in ["protected", "payload", "signature"] {
        let mut jws = right.clone();
        jws.as_object_mut().unwrap().remove(name).unwrap();
        refused(&jws, "only");
        jws["other"] = "".into();
        refused(&jws, name);
        let mut jws = right.clone();
        jws[name] = Value::Null;
        refused(&jws, name);
    }
    let general = json!({ "payload": right["payload"], "signatures": [
        { "protected": right["protected"], "signature": right["signature"] },
    ] });
    refused(&general, "only");
    let compact = ["protected", "payload", "signature"].map(|name| right[name].as_str().unwrap());
    refused(&json!(compact.join(".")), "no object");
    assert!(Jws::parse(compact.join(".").as_bytes()).is_err());
}

#[test]
fn two_members_of_one_name_are_refused_inside_and_outside() {
    let signer = &SIGNERS[0];
    let right = signer.jws(&signer.header(URL, NONCE), b"").to_string();
    let doubled = right.replacen('{', "{\"payload\":\"\",", 1);
    assert_eq!(Jws::parse(doubled.as_bytes()).unwrap_err().kind, ProblemType::Malformed);
    let header = signer.header(URL, NONCE).to_string();
    let (alg, url) = (r#"{"alg":"none","#, r#"{"url":"https://other.example/","#);
    for twice in [alg, url, r#"{"\u0061lg":"EdDSA","#] {
        refused(&signed(signer, &header.replacen('{', twice, 1)), "JSON");
    }
    // Within the key, too.
    let twice = header.replacen(r#""kty":"OKP""#, r#""kty":"OKP","kty":"OKP""#, 1);
    assert_ne!(twice, header);
    refused(&signed(signer, &twice), "JSON");
}

#[test]
fn base64_has_no_padding_no_other_alphabet_and_no_idle_bits() {
    let signer = &SIGNERS[0];
    let right = signer.jws(&signer.header(URL, NONCE), b"{\"a\":\"\xc3\xbf\"}");
    for name in ["protected", "payload", "signature"] {
        let text = right[name].as_str().unwrap();
        let mut others = vec![format!("{text}="), format!("{text}\n"), format!(" {text}")];
        others.extend(match text.len() % 4 {
            0 => None,
            _ => Some(format!("{}{}", &text[..text.len() - 1], "_")),
        });
        for other in others {
            let mut jws = right.clone();
            jws[name] = other.into();
            refused(&jws, "base64url");
        }
    }
}

#[test]
fn a_header_is_an_object_and_all_of_it() {
    let signer = &SIGNERS[0];
    let header = signer.header(URL, NONCE).to_string();
    refused(&signed(signer, "[]"), "no object");
    for wrong in ["", "{", &format!("{header}{{}}"), &format!("{header},")] {
        refused(&signed(signer, wrong), "JSON");
    }
}

#[test]
fn nothing_follows_a_request_and_none_is_too_long() {
    let signer = &SIGNERS[0];
    let right = signer.jws(&signer.header(URL, NONCE), b"").to_string();
    let longest = format!("{right}{}", " ".repeat(JWS_BYTES_MAX - right.len()));
    assert!(Jws::parse(longest.as_bytes()).is_ok());
    let too_long = format!("{longest} ");
    let problem = Jws::parse(too_long.as_bytes()).unwrap_err();
    assert!(problem.detail.contains("bytes"), "{problem:?}");
    for more in ["x", "{}", "\0"] {
        assert!(Jws::parse(format!("{right}{more}").as_bytes()).is_err());
    }
    assert!(Jws::parse(b"").is_err());
}

#[test]
fn the_inner_jws_of_a_change_of_keys_brings_its_key_and_no_nonce() {
    let signer = &SIGNERS[1];
    let header = json!({ "alg": signer.algorithm, "jwk": signer.json(), "url": URL });
    let inner = Jws::parse_inner(&signer.jws(&header, b"{}")).unwrap();
    assert_eq!(inner.key(), &KeyRef::Jwk(signer.jwk()));
    assert_eq!((inner.url(), inner.nonce()), (URL, None));
    assert_eq!(inner.verify(&signer.jwk()), Ok(()));
    let with_nonce = signer.jws(&signer.header(URL, NONCE), b"{}");
    assert!(Jws::parse_inner(&with_nonce).unwrap_err().detail.contains("nonce"));
    let header = json!({ "alg": signer.algorithm, "kid": KID, "url": URL });
    let with_kid = signer.jws(&header, b"{}");
    assert!(Jws::parse_inner(&with_kid).unwrap_err().detail.contains("kid"));
    assert!(Jws::parse_inner(&Value::Null).is_err());
}
