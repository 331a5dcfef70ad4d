use super::*;
use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::{Signer, SigningKey};

struct Signed {
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

fn signed(seed: u8, message: &[u8]) -> Signed {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let signature = key.sign(message).to_bytes();
    Signed { key: key.verifying_key().to_bytes(), message: message.to_vec(), signature }
}

fn check(signed: &Signed) -> Option<Check> {
    Check::new(&PublicKey::from_bytes(signed.key)?, &signed.message, &signed.signature)
}

fn alone(signed: &Signed) -> bool {
    verify(&[check(signed)])[0]
}

/// A signature by `secret` whose `R`, or key, has a part of small order.
fn with_torsion(on_r: EdwardsPoint, on_key: EdwardsPoint, message: &[u8]) -> Signed {
    let (secret, nonce) = (Scalar::from(77u64), Scalar::from(99u64));
    let key = (EdwardsPoint::mul_base(&secret) + on_key).compress().0;
    let r = (EdwardsPoint::mul_base(&nonce) + on_r).compress().0;
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key);
    hash.update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice((nonce + k * secret).as_bytes());
    Signed { key, message: message.to_vec(), signature }
}

#[test]
fn what_a_standard_signer_signs_verifies_alone_and_in_every_batch() {
    let all: Vec<_> = (0..9).map(|i| signed(i / 2, &[i])).collect();
    assert!(all.iter().all(alone));
    for len in 0..=all.len() {
        let checks: Vec<_> = all[..len].iter().map(check).collect();
        assert_eq!(verify(&checks), vec![true; len]);
    }
}

#[test]
fn the_known_answer_of_rfc_8032_verifies() {
    // Section 7.1, test 2.
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    };
    let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature = hex(concat!(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    ));
    let known = Signed {
        key: key.try_into().unwrap(),
        message: vec![0x72],
        signature: signature.try_into().unwrap(),
    };
    assert!(alone(&known));
}

#[test]
fn bad_ones_are_found_wherever_they_hide() {
    for bad in [vec![0], vec![8], vec![3, 4], vec![0, 2, 4, 6, 8], (0..9).collect()] {
        let mut all: Vec<_> = (0..9).map(|i| signed(i, &[i])).collect();
        bad.iter().for_each(|i: &usize| all[*i].message.push(1));
        let verdicts = verify(&all.iter().map(check).collect::<Vec<_>>());
        let expected: Vec<_> = (0..9).map(|i| !bad.contains(&i)).collect();
        assert_eq!(verdicts, expected);
    }
}

#[test]
fn no_signature_is_judged_differently_in_a_batch_than_alone() {
    // Parts of small order in R or in the key: where servers would disagree without cofactor.
    for torsion in EIGHT_TORSION {
        for (on_r, on_key) in
            [(torsion, EIGHT_TORSION[0]), (EIGHT_TORSION[0], torsion), (torsion, torsion)]
        {
            for message in 0..8 {
                let crafted = with_torsion(on_r, on_key, &[message]);
                let expected = alone(&crafted);
                for companions in 1..6u8 {
                    let others: Vec<_> = (0..companions).map(|i| signed(i, &[i])).collect();
                    let mut checks: Vec<_> = others.iter().map(check).collect();
                    checks.push(check(&crafted));
                    checks.push(check(&with_torsion(torsion, -torsion, &[message, 1])));
                    let verdicts = verify(&checks);
                    assert_eq!(verdicts[usize::from(companions)], expected);
                    assert!(verdicts[..usize::from(companions)].iter().all(|verdict| *verdict));
                }
            }
        }
    }
}

#[test]
fn small_order_keys_and_commitments_are_refused() {
    for torsion in EIGHT_TORSION {
        assert_eq!(PublicKey::from_bytes(torsion.compress().0), None);
        // With a key of small order, R = sB - kA would verify; with R of small order, s = k a.
        let mut zero = signed(1, b"m");
        zero.signature[..32].copy_from_slice(&torsion.compress().0);
        assert!(check(&zero).is_none());
    }
}

#[test]
fn other_encodings_of_the_same_thing_are_refused() {
    // y + p, for the few y for which it fits into 255 bits; with either sign bit.
    for low in 0xed..=0xff {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            assert_eq!(PublicKey::from_bytes(bytes), None);
            let mut other = signed(1, b"m");
            other.signature[..32].copy_from_slice(&bytes);
            assert!(check(&other).is_none());
        }
    }
    // s + l.
    let mut twice = signed(1, b"m");
    let order: [u8; 32] = (-Scalar::ONE).to_bytes();
    let mut carry = 1u16;
    for (byte, add) in twice.signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(check(&twice).is_none());
    // The two ways to write a point whose x is zero.
    let mut minus_zero = [0; 32];
    (minus_zero[0], minus_zero[31]) = (1, 0x80);
    assert_eq!(PublicKey::from_bytes(minus_zero), None);
}
