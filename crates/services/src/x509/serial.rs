//! Serial numbers.

use super::CERTIFICATE_BYTES_MAX;
use super::encoding::decode;
use maftia_base::wire::{self, Buf, BufMut, EncodeSize, Read, Write};
use std::fmt;
use x509_cert::Certificate;
use x509_cert::serial_number::SerialNumber;

/// Bytes of a serial number, zeros in front included. RFC 5280 allows twenty.
pub const SERIAL_BYTES: usize = 16;

/// A number that an authority gives once: positive, and below 2^127.
///
/// Whoever makes one sees to it that 64 bits of it could not be foreseen. It is shown as 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; SERIAL_BYTES]);

impl Serial {
    /// From a big-endian number; `None` for zero, and if its top bit is set.
    pub fn new(bytes: [u8; SERIAL_BYTES]) -> Option<Self> {
        let is_positive = bytes[0] < 0x80 && bytes != [0; SERIAL_BYTES];
        is_positive.then_some(Self(bytes))
    }

    /// From what [`Display`](fmt::Display) writes: digits in lower case, all of them.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let is_ours = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 2 * SERIAL_BYTES || !digits.bytes().all(is_ours) {
            return None;
        }
        let number = u128::from_str_radix(digits, 16).ok()?;
        Self::new(number.to_be_bytes())
    }

    /// The serial number of a certificate; `None` if it is no certificate, or has a number that
    /// is none of ours.
    pub fn of_certificate(certificate: &[u8]) -> Option<Self> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return None;
        }
        let certificate: Certificate = decode(certificate).ok()?;
        Self::from_number(&certificate.tbs_certificate.serial_number)
    }

    /// Big-endian.
    pub fn bytes(&self) -> &[u8; SERIAL_BYTES] {
        &self.0
    }

    /// The contents of the `INTEGER` that it is in DER, as RFC 9773 wants them.
    pub fn integer(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        // A zero in front says that the top bit of what follows is no sign.
        let is_sign = self.0[zeros] >= 0x80;
        &self.0[zeros - usize::from(is_sign)..]
    }

    /// Another's number; `None` if it is none of ours.
    pub(super) fn from_number(number: &SerialNumber) -> Option<Self> {
        let integer = number.as_bytes();
        if integer.first().is_none_or(|first| *first >= 0x80) {
            return None;
        }
        let mut bytes = [0; SERIAL_BYTES];
        let start = SERIAL_BYTES.checked_sub(integer.len())?;
        bytes[start..].copy_from_slice(integer);
        Self::new(bytes)
    }

    pub(super) fn number(self) -> SerialNumber {
        SerialNumber::new(&self.0).expect("sixteen bytes are a number")
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Write for Serial {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for Serial {
    fn encode_size(&self) -> usize {
        SERIAL_BYTES
    }
}

impl Read for Serial {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let bytes = <[u8; SERIAL_BYTES]>::read_cfg(buf, &())?;
        Self::new(bytes).ok_or(wire::Error::Invalid("Serial", "not positive"))
    }
}
