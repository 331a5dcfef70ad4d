use super::signer::{SIGNERS, Signer};
use crate::ca::jose::{Algorithm, Jwk, base64url};
use crate::ca::{Problem, ProblemType};
use maftia_base::wire::{Bytes, EncodeSize, Wire};
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The key of RFC 7638, section 3.1.
const RFC_7638_N: &str = "\
    0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tS\
    oc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65\
    YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyr\
    dkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK\
    nqDKgw";

/// The key of RFC 8037, appendix A.2.
const RFC_8037_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// The key of RFC 7515, appendix A.2.
const RFC_7515_N: &str = "\
    ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz\
    P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6\
    3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw\
    Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW\
    yuXpoQ";

fn refused(key: &Value, kind: ProblemType, about: &str) {
    let problem: Problem = Jwk::from_json(key).expect_err("refused");
    assert_eq!(problem.kind, kind, "{problem:?}");
    assert!(problem.detail.contains(about), "{problem:?}");
}

fn without(key: &Value, name: &str) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove(name).unwrap();
    key
}

fn with(key: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut key = key.clone();
    key[name] = value.into();
    key
}

fn ed25519(bytes: [u8; 32]) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url::encode(&bytes) })
}

#[test]
fn the_thumbprints_of_the_standards() {
    let check = |key: Value, thumbprint: &str| {
        let key = Jwk::from_json(&key).unwrap();
        assert_eq!(base64url::encode(&key.thumbprint()), thumbprint);
    };
    // What does not belong to the key does not count.
    let rsa = json!({
        "kty": "RSA", "n": RFC_7638_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"
    });
    check(rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let ed25519 = json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC_8037_X });
    check(ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn the_thumbprint_of_an_ec_key_is_over_its_four_members() {
    let key = SIGNERS[1].json();
    let (x, y) = (key["x"].as_str().unwrap(), key["y"].as_str().unwrap());
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    assert_eq!(SIGNERS[1].jwk().thumbprint(), openssl::sha::sha256(text.as_bytes()));
}

#[test]
fn the_signatures_of_the_standards_verify() {
    let claims = "\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
        Ijp0cnVlfQ";
    let check = |key: Value, algorithm: Algorithm, message: &str, signature: &str| {
        let key = Jwk::from_json(&key).unwrap();
        let signature = base64url::decode(signature).unwrap();
        assert!(key.verify(algorithm, message.as_bytes(), &signature));
        assert!(!key.verify(algorithm, format!("{message}A").as_bytes(), &signature));
    };
    check(
        json!({ "kty": "OKP", "crv": "Ed25519", "x": RFC_8037_X }),
        Algorithm::EdDsa,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    check(
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }),
        Algorithm::Es256,
        &format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    check(
        json!({ "kty": "RSA", "n": RFC_7515_N, "e": "AQAB" }),
        Algorithm::Rs256,
        &format!("eyJhbGciOiJSUzI1NiJ9.{claims}"),
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
        _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArL\
        IARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no\
        OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
        Ge77Rw",
    );
}

#[test]
fn a_signature_is_of_one_key_one_message_and_one_algorithm() {
    for signer in SIGNERS.iter() {
        let (key, signature) = (signer.jwk(), signer.sign(b"message"));
        assert!(key.verify(key.algorithm(), b"message", &signature));
        assert!(!key.verify(key.algorithm(), b"messagf", &signature));
        for algorithm in Algorithm::ALL.into_iter().filter(|other| *other != key.algorithm()) {
            assert!(!key.verify(algorithm, b"message", &signature));
        }
        for other in SIGNERS.iter().filter(|other| other.algorithm != signer.algorithm) {
            assert!(!other.jwk().verify(key.algorithm(), b"message", &signature));
        }
        for at in 0..signature.len() {
            let mut wrong = signature.clone();
            wrong[at] ^= 1;
            assert!(!key.verify(key.algorithm(), b"message", &wrong));
        }
        for wrong in [&signature[1..], &[&signature[..], &[0]].concat(), &[]] {
            assert!(!key.verify(key.algorithm(), b"message", wrong));
        }
    }
    assert!(!Signer::p256().jwk().verify(Algorithm::Es256, b"", &[0; 64]), "zeros sign nothing");
}

#[test]
fn a_signature_of_ecdsa_in_der_is_refused() {
    let (key, signature) = (SIGNERS[1].jwk(), SIGNERS[1].sign_der(b"message"));
    assert!(!key.verify(Algorithm::Es256, b"message", &signature));
}

#[test]
fn a_key_of_ecdsa_that_is_not_on_the_curve_verifies_nothing() {
    let key = Jwk::P256 { x: [0; 32], y: [0; 32] };
    assert!(!key.verify(Algorithm::Es256, b"message", &SIGNERS[1].sign(b"message")));
}

#[test]
fn each_member_of_a_key_is_needed() {
    for signer in SIGNERS.iter() {
        let key = signer.json();
        for name in key.as_object().unwrap().keys() {
            refused(&without(&key, name), ProblemType::Malformed, name);
            refused(&with(&key, name, 7), ProblemType::Malformed, name);
        }
    }
    for value in [json!(null), json!("key"), json!([])] {
        refused(&value, ProblemType::Malformed, "no object");
    }
}

#[test]
fn a_key_that_comes_with_its_secret_is_refused() {
    for signer in SIGNERS.iter() {
        for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            let key = with(&signer.json(), name, Value::Null);
            refused(&key, ProblemType::BadPublicKey, "secret");
        }
    }
}

#[test]
fn other_kinds_of_keys_are_refused() {
    let x = base64url::encode(&[1; 32]);
    for key in [
        json!({ "kty": "OKP", "crv": "X25519", "x": x }),
        json!({ "kty": "OKP", "crv": "Ed448", "x": x }),
        json!({ "kty": "EC", "crv": "P-384", "x": x, "y": x }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": x, "y": x }),
        json!({ "kty": "oct" }),
        json!({ "kty": "rsa", "n": RFC_7638_N, "e": "AQAB" }),
    ] {
        refused(&key, ProblemType::BadPublicKey, "kinds");
    }
}

#[test]
fn values_of_another_encoding_or_length_are_refused() {
    let rsa = json!({ "kty": "RSA", "n": RFC_7638_N, "e": "AQAB" });
    refused(&with(&rsa, "e", "AQAB="), ProblemType::Malformed, "base64url");
    refused(&with(&rsa, "e", "AQ=="), ProblemType::Malformed, "base64url");
    refused(&with(&rsa, "n", RFC_7638_N.replace('-', "+")), ProblemType::Malformed, "base64url");
    // The last of the 256 bytes leaves four bits of its second character unused.
    let other_bits = format!("{}x", RFC_7638_N.strip_suffix('w').unwrap());
    refused(&with(&rsa, "n", other_bits), ProblemType::Malformed, "base64url");
    for name in ["x", "y"] {
        let key = SIGNERS[1].json();
        let bytes = base64url::decode(key[name].as_str().unwrap()).unwrap();
        let longer = base64url::encode(&[&[0][..], &bytes].concat());
        refused(&with(&key, name, longer), ProblemType::BadPublicKey, "32 bytes");
        let shorter = base64url::encode(&bytes[1..]);
        refused(&with(&key, name, shorter), ProblemType::BadPublicKey, "32 bytes");
    }
}

#[test]
fn weak_keys_of_rsa_are_refused() {
    let rsa = json!({ "kty": "RSA", "n": RFC_7638_N, "e": "AQAB" });
    let n = base64url::decode(RFC_7638_N).unwrap();
    refused(&Signer::rsa(1024).json(), ProblemType::BadPublicKey, "2048");
    let even = [&n[..255], &[n[255] & 0xfe]].concat();
    refused(&with(&rsa, "n", base64url::encode(&even)), ProblemType::BadPublicKey, "even");
    let zero = base64url::encode(&[&[0][..], &n].concat());
    refused(&with(&rsa, "n", zero), ProblemType::BadPublicKey, "zero");
    let threes = base64url::encode(&[3; 256]);
    refused(&with(&rsa, "n", threes), ProblemType::BadPublicKey, "bits");
    let product = base64url::encode(&[0xff; 256]);
    refused(&with(&rsa, "n", product), ProblemType::BadPublicKey, "small factor");
    for e in [&[1][..], &[2], &[1, 0, 0], &[0, 1, 0, 1], &[3; 6], &[3; 300], &[]] {
        let key = with(&rsa, "e", base64url::encode(e));
        assert_eq!(Jwk::from_json(&key).expect_err("refused").kind, ProblemType::BadPublicKey);
    }
}

#[test]
fn keys_of_ed25519_that_anyone_can_sign_for_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    // The identity, a point of order two, one of order four.
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    for small in [identity, minus_one, [0; 32]] {
        refused(&ed25519(small), ProblemType::BadPublicKey, "small order");
    }
}

#[test]
fn a_key_of_ed25519_has_one_encoding_and_is_a_point() {
    let is_refused = |bytes| Jwk::from_json(&ed25519(bytes)).is_err();
    assert!((0..=255).filter(|byte| is_refused([*byte; 32])).count() > 50, "half are no points");
    // y = 3 is that of a point of large order; p + 3 says the same.
    let mut other = [0xff; 32];
    (other[0], other[31]) = (0xed + 3, 0x7f);
    let mut three = [0; 32];
    three[0] = 3;
    assert!(Jwk::from_json(&ed25519(three)).is_ok());
    refused(&ed25519(other), ProblemType::BadPublicKey, "canonical");
}

#[test]
fn a_key_is_written_in_one_way() {
    for signer in SIGNERS.iter() {
        let (key, json) = (signer.jwk(), signer.json());
        assert_eq!(key.to_json(), json);
        let more = with(&with(&json, "use", "sig"), "alg", signer.algorithm);
        assert_eq!(Jwk::from_json(&more).unwrap(), key, "what says more about it is ignored");
        let bytes = key.to_wire();
        assert_eq!(bytes.len(), key.encode_size());
        assert_eq!(Jwk::from_wire(bytes).unwrap(), key);
    }
    let thumbprints: BTreeSet<_> = SIGNERS.iter().map(|signer| signer.jwk().thumbprint()).collect();
    assert_eq!(thumbprints.len(), SIGNERS.len());
}

#[test]
fn a_key_in_another_form_is_not_decoded() {
    let decode = |parts: &[&[u8]]| Jwk::from_wire(Bytes::from(parts.concat()));
    assert!(decode(&[&[0], &[0; 32]]).is_err(), "small order");
    assert!(decode(&[&[3], &[9; 64]]).is_err(), "unknown kind");
    let Jwk::Rsa { n, e } = SIGNERS[2].jwk() else { panic!("a key of RSA") };
    let (n, e) = (n.to_wire(), e.to_wire());
    assert!(decode(&[&[2], &n, &e]).is_ok());
    assert!(decode(&[&[2], &n, &[4, 0, 1, 0, 1]]).is_err(), "a zero in front");
    assert!(decode(&[&[2], &n, &[1, 4]]).is_err(), "even");
    assert!(decode(&[&[2], &[2, 0xff, 0xff], &e]).is_err(), "short");
    assert!(decode(&[&[2], &[0x81, 4], &[0xff; 513], &e]).is_err(), "long");
}

#[test]
fn the_key_of_a_certificate_is_the_same_key() {
    for signer in SIGNERS.iter() {
        let spki = signer.secret.public_key_to_der().unwrap();
        assert_eq!(Jwk::from_spki(&spki), Some(signer.jwk()));
        assert_eq!(Jwk::from_spki(&[&spki[..], &[0]].concat()), None, "trailing bytes");
        assert_eq!(Jwk::from_spki(&spki[..spki.len() - 1]), None, "cut off");
    }
}

#[test]
fn certificates_keys_that_no_account_can_have_are_none() {
    let group = |nid| openssl::ec::EcGroup::from_curve_name(nid).unwrap();
    let p384 = openssl::ec::EcKey::generate(&group(openssl::nid::Nid::SECP384R1)).unwrap();
    let k256 = openssl::ec::EcKey::generate(&group(openssl::nid::Nid::SECP256K1)).unwrap();
    for key in [
        PKey::from_ec_key(p384).unwrap(),
        PKey::from_ec_key(k256).unwrap(),
        PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap(),
        PKey::generate_x25519().unwrap(),
        PKey::generate_ed448().unwrap(),
    ] {
        assert_eq!(Jwk::from_spki(&key.public_key_to_der().unwrap()), None);
    }
}

#[test]
fn a_certificates_key_in_another_encoding_is_none() {
    // RSA with parameters that are absent, not NULL; and with others.
    let spki = SIGNERS[2].secret.public_key_to_der().unwrap();
    let absent = [&[0x30, 0x82, 1, 0x20, 0x30, 0x0b][..], &spki[6..17], &spki[19..]].concat();
    assert!(PKey::public_key_from_der(&absent).is_ok());
    assert_eq!(Jwk::from_spki(&absent), None);
    assert_eq!(spki[17..19], [5, 0], "NULL");
    let others = [&spki[..17], &[4, 0], &spki[19..]].concat();
    assert_eq!(Jwk::from_spki(&others), None);
    // A compressed point: the second half of the usual encoding says only whether it is odd. And a
    // hybrid one, which says that besides.
    let spki = SIGNERS[1].secret.public_key_to_der().unwrap();
    let (point, odd) = (&spki[26..], spki[spki.len() - 1] % 2);
    let algorithm = &spki[2..23];
    let compressed = [&[0x30, 0x39][..], algorithm, &[3, 0x22, 0, 2 + odd], &point[1..33]].concat();
    assert!(PKey::public_key_from_der(&compressed).is_ok());
    assert_eq!(Jwk::from_spki(&compressed), None);
    let hybrid = [&spki[..26], &[6 + odd], &point[1..]].concat();
    assert!(PKey::public_key_from_der(&hybrid).is_ok());
    assert_eq!(Jwk::from_spki(&hybrid), None);
    // A length that is longer than it has to be, and bits that are said to be unused.
    let ber = [&[0x30, 0x81][..], &spki[1..]].concat();
    assert!(PKey::public_key_from_der(&ber).is_ok());
    assert_eq!(Jwk::from_spki(&ber), None);
    let mut unused = spki.clone();
    unused[25] = 1;
    assert_eq!(Jwk::from_spki(&unused), None);
}
