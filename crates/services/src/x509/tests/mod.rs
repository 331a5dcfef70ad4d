//! What stock tools make of it.

mod certificates;
mod names;
mod requests;
mod revocation;
mod samples;
pub(crate) mod stock;
mod world;

use super::*;
use maftia_base::wire::{Blob, Bytes, EncodeSize, Wire};
use stock::Key;
use world::{LEAF_KEY, ROOT, START, leaf, names as named, serial};

#[test]
fn a_serial_number_is_positive_and_has_one_form() {
    assert!(Serial::new([0; 16]).is_none());
    assert!(Serial::new([0x80; 16]).is_none());
    for (number, integer) in [
        (1, vec![1]),
        (0x80, vec![0, 0x80]),
        (0x7fff, vec![0x7f, 0xff]),
        (u128::MAX >> 1, [&[0x7f][..], &[0xff; 15]].concat()),
    ] {
        let serial = Serial::new(number.to_be_bytes()).unwrap();
        assert_eq!(serial.integer(), integer);
        assert_eq!(serial.to_string(), format!("{number:032x}"));
        assert_eq!(Serial::from_hex(&serial.to_string()), Some(serial));
        assert_eq!(Serial::from_wire(serial.to_wire()).unwrap(), serial);
    }
    for digits in ["", "1", &"0".repeat(32), &"F".repeat(32), &"f".repeat(32), &"+1".repeat(16)] {
        assert_eq!(Serial::from_hex(digits), None, "{digits}");
    }
    assert!(Serial::from_wire(Bytes::from_static(&[0xff; 16])).is_err());
}

#[test]
fn a_serial_number_is_found_in_its_certificate() {
    let one = named(&["example.org"]);
    let mut leaf = leaf(&one);
    for number in [1, 0x80, u128::MAX >> 1] {
        leaf.serial = Serial::new(number.to_be_bytes()).unwrap();
        let certificate = ROOT.leaf(&leaf).unwrap().finish(&[1; 256]);
        assert_eq!(Serial::of_certificate(&certificate), Some(leaf.serial));
        assert_eq!(Serial::of_certificate(&certificate[1..]), None);
    }
    assert_eq!(Serial::of_certificate(&vec![0x30; CERTIFICATE_BYTES_MAX + 1]), None);
}

#[test]
fn what_is_unsigned_survives_its_encoding_and_garbage_does_not() {
    let one = named(&["example.org"]);
    for unsigned in [
        ROOT.leaf(&leaf(&one)).unwrap(),
        ROOT.crl(7, START, START + 1, &[]).unwrap(),
        ROOT.ocsp(serial(1), CertificateStatus::Good, START, START + 1).unwrap(),
    ] {
        let bytes = unsigned.to_wire();
        assert_eq!(bytes.len(), unsigned.encode_size());
        let again = Unsigned::from_wire(bytes.clone()).unwrap();
        assert_eq!(again, unsigned);
        assert_eq!(again.finish(&[1; 256]), unsigned.finish(&[1; 256]), "of the same kind");
        // The length in DER no longer is that of what follows.
        let cut = unsigned.tbs()[..unsigned.tbs().len() - 1].to_vec();
        let cut = Blob::<TBS_BYTES_MAX>::new(cut).unwrap().to_wire();
        assert!(Unsigned::from_wire([&bytes[..1], &cut].concat().into()).is_err());
    }
    for bytes in [&[0, 0][..], &[0, 2, 0x31, 0], &[3, 2, 0x30, 0], &[0, 3, 0x30, 0, 0]] {
        assert!(Unsigned::from_wire(Bytes::from_static(bytes)).is_err(), "{bytes:?}");
    }
}

#[test]
fn equal_arguments_give_equal_bytes() {
    let (names, backwards) = (["a.example", "b.example", "192.0.2.1"], ["192.0.2.1", "b.example"]);
    let one = named(&names);
    let other = named(&[&backwards[..], &["a.example"]].concat());
    assert_eq!(ROOT.leaf(&leaf(&one)).unwrap(), ROOT.leaf(&leaf(&other)).unwrap());
    let again = Issuer::new(ROOT.certificate()).unwrap();
    assert_eq!(again, *ROOT);
    assert_eq!(again.leaf(&leaf(&one)).unwrap(), ROOT.leaf(&leaf(&one)).unwrap());
}

#[test]
fn a_certificate_survives_its_file_and_a_key_its_numbers() {
    let certificate = ROOT.certificate();
    let file = to_pem(certificate).unwrap();
    assert_eq!(from_pem(&format!("{file}{file}")).unwrap(), [certificate, certificate]);
    assert!(from_pem("no certificate").is_err());
    for empty in ["", "\n", "\r\n\n"] {
        assert_eq!(from_pem(empty), Err(CertificateError::Missing), "an empty file has none");
    }
    let key = Key::generate();
    let (modulus, exponent) = key.public_numbers();
    assert_eq!(rsa_public_key(&modulus, &exponent).unwrap(), key.public_key());
    assert_ne!(*LEAF_KEY, key.public_key());
}
