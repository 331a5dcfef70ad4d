//! EMSA-PKCS1-v1_5 of RFC 8017: what an RSA signature is put on.

use super::number::Number;
use crate::{HashAlgorithm, SigningInput};

/// The DER of a `DigestInfo` up to the digest, RFC 8017 section 9.2, note 1.
fn digest_info(hash: HashAlgorithm) -> ([u8; 19], usize) {
    let (total, arc, len) = match hash {
        HashAlgorithm::Sha256 => (0x31, 1, 32),
        HashAlgorithm::Sha384 => (0x41, 2, 48),
        HashAlgorithm::Sha512 => (0x51, 3, 64),
    };
    let prefix = [
        0x30, total, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arc,
        0x05, 0x00, 0x04, len,
    ];
    (prefix, usize::from(len))
}

/// The padded digest as a number for a modulus of `bytes` bytes; `None` if the digest's length is
/// not its hash's.
pub(crate) fn encode(input: &SigningInput, bytes: usize) -> Option<Number> {
    let (prefix, len) = digest_info(input.hash);
    if input.digest.len() != len {
        return None;
    }
    let padding = bytes.checked_sub(3 + prefix.len() + len)?;
    let mut encoded = vec![0x00, 0x01];
    encoded.resize(2 + padding, 0xff);
    encoded.push(0x00);
    encoded.extend_from_slice(&prefix);
    encoded.extend_from_slice(&input.digest);
    Some(Number::from_bytes(&encoded))
}
