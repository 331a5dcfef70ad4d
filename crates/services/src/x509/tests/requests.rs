//! What OCSP clients ask.

use super::super::*;
use super::revocation::shown;
use super::stock::Key;
use super::world::{ISSUING, ISSUING_KEY, ROOT, folder, folder_with, leaf, names, root};
use super::world::{serial, signed};
use der::asn1::{Any, Int, OctetString};
use der::{Decode, Encode};
use openssl::pkey::PKey;
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_ocsp::OcspRequest;

/// A request by a stock client about the leaf.
fn request(options: &[&str]) -> Vec<u8> {
    let one = names(&["www.example.org"]);
    let folder = folder_with(&ISSUING, &leaf(&one));
    let other = Leaf { serial: serial(0x1235), ..leaf(&one) };
    let other = signed(&ISSUING_KEY, &ISSUING.leaf(&other).unwrap());
    folder.write("other.pem", to_pem(&other).unwrap());
    let command = ["ocsp", "-issuer", "issuing.pem", "-reqout", "request.der"];
    folder.openssl(&[&command[..], options].concat()).unwrap();
    folder.read("request.der")
}

/// The same, changed.
fn changed(change: impl FnOnce(&mut OcspRequest)) -> Vec<u8> {
    let mut request = OcspRequest::from_der(&request(&["-cert", "leaf.pem"])).unwrap();
    change(&mut request);
    request.to_der().unwrap()
}

fn asked(request: &[u8]) -> Result<Serial, OcspRefusal> {
    ocsp_serial(&ISSUING, request)
}

#[test]
fn a_stock_request_asks_for_its_certificate_with_a_nonce_and_without() {
    for options in [&["-cert", "leaf.pem"][..], &["-no_nonce", "-cert", "leaf.pem"]] {
        assert_eq!(asked(&request(options)), Ok(serial(0x1234)));
    }
    let by_number = format!("0x{}", serial(77));
    assert_eq!(asked(&request(&["-serial", &by_number])), Ok(serial(77)));
}

#[test]
fn who_asks_does_not_matter() {
    let key = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    let folder = folder(&ISSUING);
    folder.write("key.pem", key.private_key_to_pem_pkcs8().unwrap());
    let own = ["req", "-x509", "-key", "key.pem", "-subj", "/CN=client", "-out", "client.pem"];
    folder.openssl(&own).unwrap();
    let number = format!("0x{}", serial(5));
    let ask = ["ocsp", "-issuer", "issuing.pem", "-serial", &number, "-reqout", "signed.der"];
    let sign = ["-signer", "client.pem", "-signkey", "key.pem"];
    folder.openssl(&[&ask[..], &sign].concat()).unwrap();
    let request = folder.read("signed.der");
    assert!(OcspRequest::from_der(&request).unwrap().optional_signature.is_some());
    assert_eq!(asked(&request), Ok(serial(5)));
}

#[test]
fn what_is_not_for_us_to_say_is_unauthorized() {
    let unauthorized = Err(OcspRefusal::Unauthorized);
    let both = request(&["-cert", "leaf.pem", "-cert", "other.pem"]);
    assert_eq!(asked(&both), unauthorized, "two at once");
    assert_eq!(asked(&request(&["-sha256", "-cert", "leaf.pem"])), unauthorized, "another hash");
    let one = request(&["-cert", "leaf.pem"]);
    assert_eq!(ocsp_serial(&ROOT, &one), unauthorized, "another issuer");
    let with_id = |change: &dyn Fn(&mut x509_ocsp::CertId)| {
        asked(&changed(|request| change(&mut request.tbs_request.request_list[0].req_cert)))
    };
    assert_eq!(with_id(&|id| id.hash_algorithm.parameters = None), Ok(serial(0x1234)));
    let number = Any::from_der(&[2, 1, 0]).unwrap();
    let with_parameters = with_id(&|id| id.hash_algorithm.parameters = Some(number.clone()));
    assert_eq!(with_parameters, unauthorized);
    for octets in [vec![1; 20], vec![]] {
        let hash = OctetString::new(octets).unwrap();
        assert_eq!(with_id(&|id| id.issuer_name_hash = hash.clone()), unauthorized);
        assert_eq!(with_id(&|id| id.issuer_key_hash = hash.clone()), unauthorized);
    }
    // Numbers that we never give: zero, negative, longer than ours.
    for integer in [&[0][..], &[0x8f], &[0x80; 16], &[0x7f; 17], &[1; 20]] {
        let number = Int::from_der(&[&[2, integer.len() as u8], integer].concat()).unwrap();
        let number = SerialNumber::from_der(&number.to_der().unwrap()).unwrap();
        assert_eq!(with_id(&|id| id.serial_number = number.clone()), unauthorized, "{integer:?}");
    }
}

#[test]
fn extensions_are_ignored_unless_they_are_critical() {
    let extension = |critical| {
        let extn_id = "1.3.6.1.4.1.32473.7".parse().unwrap();
        Some(vec![Extension { extn_id, critical, extn_value: OctetString::new(vec![5]).unwrap() }])
    };
    for (critical, answer) in [(false, Ok(serial(0x1234))), (true, Err(OcspRefusal::Unauthorized))]
    {
        let of_all =
            changed(|request| request.tbs_request.request_extensions = extension(critical));
        assert_eq!(asked(&of_all), answer);
        let of_one = changed(|request| {
            request.tbs_request.request_list[0].single_request_extensions = extension(critical);
        });
        assert_eq!(asked(&of_one), answer);
    }
}

#[test]
fn what_is_no_request_is_malformed() {
    let malformed = Err(OcspRefusal::MalformedRequest);
    let one = request(&["-cert", "leaf.pem"]);
    assert_eq!(asked(&one), Ok(serial(0x1234)));
    for cut in 0..one.len() {
        assert_eq!(asked(&one[..cut]), malformed, "the first {cut} bytes");
    }
    let longer = [&one[..], &[0]].concat();
    let nothing = changed(|request| request.tbs_request.request_list.clear());
    let too_long = vec![0x30; OCSP_REQUEST_BYTES_MAX + 1];
    for bytes in [&longer[..], &nothing, &too_long, b"GET / HTTP/1.1", &[0x30, 0x80, 0, 0]] {
        assert_eq!(asked(bytes), malformed);
    }
    // Whatever single byte is another, it is answered.
    for at in 0..one.len() {
        for other in [0, 0x7f, 0x80, 0xff, one[at] ^ 1] {
            let mut altered = one.clone();
            altered[at] = other;
            let _ = asked(&altered);
        }
    }
}

#[test]
fn a_refusal_says_so_with_the_status_of_the_rfc() {
    for (refusal, status) in [
        (OcspRefusal::MalformedRequest, 1),
        (OcspRefusal::TryLater, 3),
        (OcspRefusal::Unauthorized, 6),
    ] {
        assert_eq!(refusal.response(), [0x30, 3, 0x0a, 1, status]);
    }
    let one = names(&["www.example.org"]);
    let folder = folder_with(&ISSUING, &leaf(&one));
    let said = shown(&folder, &OcspRefusal::Unauthorized.response(), &[]).unwrap_err();
    assert!(said.contains("Responder Error: unauthorized (6)"), "{said}");
}

#[test]
fn an_authority_of_its_own_root_is_another_issuer() {
    // The same name, another key.
    let key = Key::generate();
    let twin = Authority { public_key: &key.public_key(), ..root() };
    let twin = Issuer::new(&signed(&key, &twin.self_signed().unwrap())).unwrap();
    let request = request(&["-cert", "leaf.pem"]);
    assert_eq!(ocsp_serial(&twin, &request), Err(OcspRefusal::Unauthorized));
    assert_ne!(twin, *ROOT);
}
