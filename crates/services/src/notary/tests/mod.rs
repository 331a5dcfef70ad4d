mod client;

use super::*;
use crate::x509::to_pem;
use client::{Client, POLICY, TIME, context, profile, rsa_sign};
use der::asn1::{BitString, Int, OctetString};
use der::{Decode, Encode, Reader};
use maftia_activity::AgreedTime;
use std::collections::BTreeSet;
use x509_tsp::TimeStampReq;

/// The bits set in the `PKIFailureInfo` of a rejection.
fn failure_bits(response: &[u8]) -> Vec<usize> {
    let status = der::asn1::AnyRef::from_der(response)
        .unwrap()
        .sequence(|response| response.decode::<request::StatusInfo>());
    let status = status.unwrap();
    assert_eq!(status.status, 2, "it is a rejection");
    let failure = status.failure.unwrap();
    (failure.bits().enumerate()).filter(|(_, is_set)| *is_set).map(|(bit, _)| bit).collect()
}

/// Applies a query; answers the failure bits if it is rejected.
fn bits(query: &[u8]) -> Vec<usize> {
    let screened = profile().screen(query);
    match Notary::new(profile()).apply(query, &context(7, TIME)) {
        Reply::Plain(response) => {
            assert!(screened.is_err(), "a front end sees it as well");
            failure_bits(&response)
        }
        Reply::Sign { .. } => {
            assert_eq!(screened, Ok(()));
            vec![]
        }
    }
}

/// A query by a stock client, changed.
fn changed(change: impl FnOnce(&mut TimeStampReq)) -> Vec<u8> {
    let client = Client::new();
    let mut query = TimeStampReq::from_der(&client.query(&["-sha256"])).unwrap();
    change(&mut query);
    query.to_der().unwrap()
}

#[test]
fn stock_openssl_verifies_tokens_of_each_hash() {
    for hash in ["-sha256", "-sha384", "-sha512"] {
        let client = Client::new();
        let query = client.query(&[hash, "-cert"]);
        client.stamp(&query);
        client.verify(&[]);
    }
}

#[test]
fn a_token_carries_certificates_only_if_asked() {
    let client = Client::new();
    let with = client.query(&["-cert"]);
    let length_with = client.stamp(&with).len();
    client.verify(&[]);
    let without = client.query(&[]);
    let length_without = client.stamp(&without).len();
    assert!(length_with > length_without + profile().certificates()[0].len());
    client.verify(&["-untrusted", "tsa.pem"]);
}

#[test]
fn nonces_come_back_and_may_be_absent() {
    let client = Client::new();
    let query = client.query(&["-cert", "-no_nonce"]);
    client.stamp(&query);
    client.verify(&[]);
    assert!(client.text().contains("Nonce: unspecified"));
    for nonce in [&[1][..], &[0x7f; 16], &[0x00, 0xff, 0xff], &[0x9c; 9], &[0x80], &[0]] {
        let query = changed(|query| {
            query.nonce = Some(Int::from_der(&[&[2, nonce.len() as u8], nonce].concat()).unwrap());
            query.cert_req = true;
        });
        client.write("query.tsq", &query);
        client.stamp(&query);
        client.verify(&[]);
    }
}

#[test]
fn a_token_for_other_data_or_another_query_does_not_verify() {
    let client = Client::new();
    let query = client.query(&["-cert"]);
    client.stamp(&query);
    client.verify(&[]);
    client.query(&["-cert"]);
    assert!(client.try_verify(&[]).is_err(), "the nonce is another");
    client.write("file", b"other data");
    client.query(&["-cert", "-no_nonce"]);
    assert!(client.try_verify(&[]).is_err(), "the digest is another");
}

#[test]
fn no_altered_token_verifies() {
    let client = Client::new();
    let query = client.query(&["-cert"]);
    let Reply::Sign { body, input, .. } = Notary::new(profile()).apply(&query, &context(1, TIME))
    else {
        panic!("it is granted");
    };
    let signature = rsa_sign(&input);
    for at in (0..body.len() - 1).step_by(29) {
        // What a lying front end could try: any change of what the group signed.
        let mut forged = body.to_vec();
        forged[at] ^= 1;
        if let Ok(response) = profile().respond(forged.into(), &signature) {
            client.write("reply.tsr", &response);
            assert!(client.try_verify(&[]).is_err(), "byte {at} is not covered");
        }
    }
    let other = profile().respond(body, &[1; 256]).unwrap();
    client.write("reply.tsr", &other);
    assert!(client.try_verify(&[]).is_err(), "another signature");
}

#[test]
fn a_token_says_time_policy_accuracy_and_serial_number() {
    let client = Client::new();
    let query = client.query(&["-cert", "-tspolicy", POLICY]);
    client.stamp(&query);
    client.verify(&[]);
    let text = client.text();
    // The position, then eight bytes that nobody could predict.
    let unpredictable = context(7, AgreedTime::default()).seed().short();
    let serial = format!("Serial number: 0x07{unpredictable:016X}");
    for line in [
        "Status: Granted.",
        "Version: 1",
        "Policy OID: 1.3.6.1.4.1.32473.1",
        "Hash Algorithm: sha256",
        "Time stamp: Nov 21 12:34:56.0789 2026 GMT",
        "Accuracy: 0x01 seconds, 0x01F4 millis, unspecified micros",
        "Ordering: no",
        &serial,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("Demonstration notary"), "the authority's name: {text}");
}

#[test]
fn time_is_written_as_der_wants_it() {
    let text = |micros| {
        String::from_utf8(token::GenTime::new(AgreedTime(micros)).unwrap().any().value().to_vec())
            .unwrap()
    };
    let day = 1_795_264_496_000_000;
    assert_eq!(text(day), "20261121123456Z");
    assert_eq!(text(day + 100_000), "20261121123456.1Z");
    assert_eq!(text(day + 1), "20261121123456.000001Z");
    assert_eq!(text(day + 10), "20261121123456.00001Z");
    assert_eq!(text(253_402_300_799_999_999), "99991231235959.999999Z");
    assert!(token::GenTime::new(AgreedTime(253_402_300_800_000_000)).is_none());
    assert!(token::GenTime::new(AgreedTime(u64::MAX)).is_none());
}

#[test]
fn rejections_carry_the_failure_code_of_the_rfc() {
    let oid = ObjectIdentifier::new_unwrap("1.2.3.4");
    let imprint = |query: &mut TimeStampReq, bytes: usize| {
        query.message_imprint.hashed_message = OctetString::new(vec![1; bytes]).unwrap();
    };
    let cases: [(&str, Vec<usize>, Vec<u8>); 13] = [
        ("unknown hash", vec![0], changed(|q| q.message_imprint.hash_algorithm.oid = oid)),
        ("SHA-1", vec![0], {
            changed(|q| {
                let sha1 = const_oid::db::rfc5912::ID_SHA_1;
                q.message_imprint.hash_algorithm.oid = sha1;
                imprint(q, 20);
            })
        }),
        ("parameters", vec![0], {
            let two = der::asn1::Any::encode_from(&2_u8).unwrap();
            changed(|q| q.message_imprint.hash_algorithm.parameters = Some(two))
        }),
        ("short digest", vec![5], changed(|q| imprint(q, 31))),
        ("long digest", vec![5], changed(|q| imprint(q, 33))),
        ("other policy", vec![15], changed(|q| q.req_policy = Some(oid))),
        ("own policy", vec![], {
            changed(|q| q.req_policy = Some(ObjectIdentifier::new_unwrap(POLICY)))
        }),
        ("extension", vec![16], {
            let extn_value = OctetString::new(vec![5, 0]).unwrap();
            let extension = x509_cert::ext::Extension { extn_id: oid, critical: false, extn_value };
            changed(|q| q.extensions = Some(vec![extension]))
        }),
        ("long nonce", vec![2], changed(|q| q.nonce = Some(Int::new(&[1; 65]).unwrap()))),
        ("version 2", vec![2], {
            let mut query = changed(|_| {});
            query[4] = 2;
            query
        }),
        ("nothing", vec![5], vec![]),
        ("no query", vec![5], b"GET / HTTP/1.1".to_vec()),
        ("oversized", vec![5], vec![0x30; QUERY_BYTES_MAX + 1]),
    ];
    for (what, expected, query) in cases {
        assert_eq!(bits(&query), expected, "{what}");
    }
}

#[test]
fn openssl_reads_rejections() {
    let client = Client::new();
    let reads = [
        (Rejection::BadAlgorithm, "unrecognized or unsupported algorithm identifier"),
        (Rejection::BadRequest, "transaction not permitted or supported"),
        (Rejection::BadDataFormat, "the data submitted has the wrong format"),
        (Rejection::TimeNotAvailable, "the TSA's time source is not available"),
        (Rejection::UnacceptedPolicy, "the requested TSA policy is not supported by the TSA"),
        (Rejection::UnacceptedExtension, "the requested extension is not supported by the TSA"),
        (Rejection::SystemFailure, "the request cannot be handled due to system failure"),
    ];
    for (rejection, words) in reads {
        client.write("reply.tsr", &rejection.response());
        let text = client.text();
        assert!(text.contains("Status: Rejected.") && text.contains(words), "{text}");
        assert!(text.contains("Not included."), "there is no token: {text}");
    }
}

#[test]
fn without_an_agreed_time_nothing_is_stamped() {
    let query = changed(|_| {});
    for time in [0, 253_402_300_800_000_000, u64::MAX] {
        let mut notary = Notary::new(profile());
        let Reply::Plain(response) = notary.apply(&query, &context(1, AgreedTime(time))) else {
            panic!("there is no time to stamp with");
        };
        assert_eq!(failure_bits(&response), [14]);
        assert_eq!(notary.issued(), 0);
    }
}

#[test]
fn no_prefix_and_no_mutation_of_a_query_panics() {
    let query = changed(|q| q.req_policy = Some(ObjectIdentifier::new_unwrap(POLICY)));
    for cut in 0..query.len() {
        assert_eq!(bits(&query[..cut]), [5], "a prefix of {cut} bytes");
    }
    let mut longer = query.clone();
    longer.push(0);
    assert_eq!(bits(&longer), [5], "nothing may follow");
    for at in 0..query.len() {
        for value in 0..=255 {
            let mut mutant = query.clone();
            mutant[at] = value;
            // Whatever it is now, both agree on it, and a rejection has one reason.
            assert!(bits(&mutant).len() <= 1);
        }
    }
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for _ in 0..5_000 {
        let mut mutant = query.clone();
        for _ in 0..1 + random(6) {
            let at = random(mutant.len() as u64) as usize;
            match random(3) {
                0 => mutant[at] = random(256) as u8,
                1 => mutant.insert(at, random(256) as u8),
                _ => drop(mutant.remove(at)),
            }
        }
        assert!(bits(&mutant).len() <= 1);
    }
}

#[test]
fn serial_numbers_differ_for_ever_and_stay_short() {
    let seen: BTreeSet<_> = (0..1_000)
        .flat_map(|position| [0, 0x7f, 0x80, 0xff].map(|byte| (position, byte)))
        .map(|(position, byte)| serial_number(position, Digest([byte; 32])))
        .collect();
    assert_eq!(seen.len(), 4_000);
    let longest = serial_number(u64::MAX, Digest([0xff; 32])).to_der().unwrap();
    assert!(longest.len() <= 2 + 20, "at most 160 bits");
}

#[test]
fn equal_histories_give_equal_bytes_also_after_a_snapshot() {
    let query = changed(|q| q.nonce = Some(Int::new(&[1, 2, 3]).unwrap()));
    let mut one = Notary::new(profile());
    one.apply(&query, &context(1, TIME));
    one.apply(b"rubbish", &context(2, TIME));
    let mut other = Notary::new(profile());
    other.restore(one.snapshot()).unwrap();
    assert_eq!(one.issued(), 1, "a rejection issues nothing");
    assert_eq!(other.issued(), 1);
    assert_eq!(one.apply(&query, &context(3, TIME)), other.apply(&query, &context(3, TIME)));
    assert_eq!(other.restore(Bytes::from_static(b"no")), None);
}

#[test]
fn a_reply_of_another_service_makes_no_token() {
    assert!(profile().respond(Bytes::from_static(b"hello"), &[1; 256]).is_err());
    assert!(profile().respond(Bytes::new(), &[]).is_err());
}

#[test]
fn openssl_shows_a_certificate_for_time_stamping_only() {
    let client = Client::new();
    let text = client.openssl(&["x509", "-in", "tsa.pem", "-noout", "-text"]).unwrap();
    for words in [
        "X509v3 Extended Key Usage: critical",
        "Time Stamping",
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "CA:FALSE",
        "Subject: O = An example, CN = Demonstration notary",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    client
        .openssl(&["verify", "-CAfile", "tsa.pem", "-purpose", "timestampsign", "tsa.pem"])
        .unwrap();
}

#[test]
fn a_certificate_that_clients_would_refuse_is_refused() {
    let new = |certificates| Profile::new(KeyId(0), POLICY.parse().unwrap(), 1, certificates);
    assert!(matches!(new(vec![]), Err(CertificateError::Missing)));
    assert!(matches!(new(vec![vec![0x30, 0]]), Err(CertificateError::Form(_))));
    let mut certificate = x509_cert::Certificate::from_der(&profile().certificates()[0]).unwrap();
    certificate.tbs_certificate.extensions.as_mut().unwrap().remove(2);
    assert!(matches!(new(vec![certificate.to_der().unwrap()]), Err(CertificateError::Purpose(_))));
    let long = "x".repeat(65);
    let template = CertificateTemplate { common_name: &long, ..client::template() };
    assert_eq!(template.self_signed(), Err(CertificateError::Name));
    // Others make longer ones.
    let mut certificate = x509_cert::Certificate::from_der(&profile().certificates()[0]).unwrap();
    let name = format!("CN={}", "x".repeat(5_000));
    certificate.tbs_certificate.subject = name.parse().unwrap();
    let made = new(vec![certificate.to_der().unwrap()]);
    assert!(matches!(made, Err(CertificateError::Name)), "{made:?}");
}

#[test]
fn a_certificate_may_outlive_the_two_digit_years() {
    let template = CertificateTemplate { not_after: 4_000_000_000, ..client::template() };
    let der = template.self_signed().unwrap().finish(&[1; 256]);
    let client = Client::new();
    client.write("long.pem", to_pem(&der).unwrap().as_bytes());
    let text = client.openssl(&["x509", "-in", "long.pem", "-noout", "-enddate"]).unwrap();
    assert!(text.contains("2096"), "{text}");
}

#[test]
fn a_failure_is_a_named_bit_list_without_a_tail() {
    let response = Rejection::UnacceptedPolicy.response();
    let failure = BitString::new(0, vec![0, 1]).unwrap().to_der().unwrap();
    assert!(response.windows(failure.len()).any(|window| window == failure));
}
