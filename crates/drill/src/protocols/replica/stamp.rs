//! The notary, as its clients see it: queries are written and tokens read byte by byte.

use maftia_activity::AgreedTime;
use maftia_base::Digest;
use maftia_crypto::KeyId;
use maftia_services::notary::{CertificateTemplate, ObjectIdentifier, Profile};
use maftia_services::x509::rsa_public_key;

/// A notary whose key is nobody's: signatures are those of the ideal suite.
pub(crate) fn profile() -> Profile {
    thread_local! {
        static PROFILE: Profile = made();
    }
    PROFILE.with(Profile::clone)
}

fn made() -> Profile {
    let public_key = rsa_public_key(&[0xc5; 256], &[1, 0, 1]).expect("well-formed");
    let template = CertificateTemplate {
        common_name: "Drill",
        organization: "Drill",
        not_before: 1_600_000_000,
        not_after: 2_000_000_000,
        serial: [1; 16],
        public_key: &public_key,
    };
    let unsigned = template.self_signed().expect("well-formed");
    let certificate = unsigned.finish(&[0x5a; 256]);
    let policy = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1");
    Profile::new(KeyId(0), policy, 1_000_000, vec![certificate]).expect("well-formed")
}

/// A query for a time stamp on this digest, by SHA-256.
pub(crate) fn query(digest: &Digest) -> Vec<u8> {
    let mut query = vec![0x30, 0x39, 2, 1, 1, 0x30, 0x31, 0x30, 0x0d, 6, 9];
    query.extend([0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20]);
    query.extend(digest.0);
    query.extend([1, 1, 0xff]);
    query
}

/// What a token says: its serial number and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) serial: Vec<u8>,
    pub(crate) time: AgreedTime,
}

/// Reads what was signed for `digest`; `None` if it is something else.
pub(crate) fn read(body: &[u8], digest: &Digest) -> Option<Stamp> {
    let imprint: Vec<u8> = [4, 0x20].into_iter().chain(digest.0).collect();
    let at = body.windows(imprint.len()).position(|window| window == imprint)?;
    let (serial, rest) = field(&body[at + imprint.len()..], 2)?;
    let (time, _) = field(rest, 0x18)?;
    Some(Stamp { serial: serial.to_vec(), time: micros(time)? })
}

/// A short field of this type, and what follows it.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, len, rest @ ..] = bytes else { return None };
    (*first == tag && rest.len() >= *len as usize).then(|| rest.split_at(*len as usize))
}

/// `20231114221320.123456Z` in microseconds since 1970.
fn micros(text: &[u8]) -> Option<AgreedTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (date, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let is_leap = |year: u64| {
        let by = |divisor: u64| year.is_multiple_of(divisor);
        (by(4) && !by(100)) || by(400)
    };
    let of_years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let of_months: u64 = lengths.iter().take(month.checked_sub(1)? as usize).sum();
    let days = of_years + of_months + day.checked_sub(1)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    Some(AgreedTime(seconds * 1_000_000 + fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_token_is_read_to_the_microsecond() {
        assert_eq!(micros(b"19700101000000Z"), Some(AgreedTime(0)));
        assert_eq!(micros(b"20231114221320.25Z"), Some(AgreedTime(1_700_000_000_250_000)));
        assert_eq!(micros(b"20240301000000Z"), Some(AgreedTime(1_709_251_200_000_000)));
        assert_eq!(micros(b"20231314221320"), None);
    }
}
