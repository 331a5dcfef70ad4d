//! What a certificate may name: a host, all hosts one level below a name, or an address.
//!
//! # Promise
//! - *One form*: two identifiers are equal exactly if they name the same. Names are in lower case
//!   and have no dot at their end; an address has the version that it is spoken to with.
//! - *Hosts only*: no value is taken that a resolver or a browser could read as something else: no
//!   underscores, no spaces, no address as a name, no name in Unicode.
//!
//! # Bounds
//! A name has at most [`DNS_NAME_BYTES_MAX`] bytes, "`*.`" included, each of its labels 63.
//!
//! # Sources
//! RFC 8555 (9.7.7), RFC 8738, RFC 1034 (3.5) with RFC 1123 (2.1), RFC 5890 (2.3), RFC 5952 (4).
//! Choices: (a) upper case is folded, since DNS does not tell the two apart; (b) a label whose
//! third and fourth character are hyphens begins with `xn--` and goes on with Punycode of something
//! that is not ASCII. Whether that is well-formed under IDNA is not asked: the answer depends on
//! the version of Unicode, and servers must agree; (c) a name of one label is taken only by
//! [`Identifier::from_acme_internal`].

use super::{Problem, ProblemType};
// Only values: what has sockets is `std::net`.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use maftia_base::wire::{self, Blob, Buf, BufMut, EncodeSize, Read, Write};
use std::fmt;
use std::str::FromStr;

/// Longest name in DNS, as text.
pub const DNS_NAME_BYTES_MAX: usize = 253;

/// Longest label in DNS.
const LABEL_BYTES_MAX: usize = 63;

/// What the name of all hosts one level below another begins with.
const WILDCARD: &str = "*.";

/// What a certificate may name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// A host, or all hosts one level below a name.
    Dns(DnsName),
    /// An address. One of version 4 is never written as one of version 6.
    Ip(IpAddr),
}

impl Identifier {
    /// What a client asked for in the words of ACME: `type` and `value`.
    pub fn from_acme(kind: &str, value: &str) -> Result<Self, Problem> {
        let identifier = Self::from_acme_internal(kind, value)?;
        match &identifier {
            Self::Dns(name) if !name.base().contains('.') => Err(Problem::new(
                ProblemType::RejectedIdentifier,
                format!("the name {} has only one label", name.base()),
            )),
            _ => Ok(identifier),
        }
    }

    /// The same for an authority whose policy also lets it name the hosts of a network of its own,
    /// by names of one label.
    pub fn from_acme_internal(kind: &str, value: &str) -> Result<Self, Problem> {
        match kind {
            "dns" => DnsName::new(value).map(Self::Dns),
            "ip" => address(value).map(Self::Ip),
            _ => Err(Problem::new(
                ProblemType::UnsupportedIdentifier,
                format!("identifiers are of type dns or ip, not {}", shown(kind)),
            )),
        }
    }

    /// The address in its only form; `None` for one of version 4 inside of one of version 6, and
    /// for those that no host has: unspecified, multicast, broadcast.
    pub fn from_address(address: IpAddr) -> Option<Self> {
        let is_no_host = match address {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => {
                v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()
            }
        };
        (!is_no_host).then_some(Self::Ip(address))
    }

    /// The `type` in ACME.
    pub fn acme_type(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
        }
    }

    /// The `value` in ACME.
    pub fn acme_value(&self) -> String {
        match self {
            Self::Dns(name) => name.as_str().to_owned(),
            Self::Ip(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.acme_value())
    }
}

/// An address in the text that RFC 8738 has for it, which is one for each address.
fn address(value: &str) -> Result<IpAddr, Problem> {
    let address = IpAddr::from_str(value).ok().filter(|address| address.to_string() == value);
    let Some(address) = address else {
        return Err(Problem::new(
            ProblemType::Malformed,
            format!("{} is not the usual form of an IP address", shown(value)),
        ));
    };
    match Identifier::from_address(address) {
        Some(_) => Ok(address),
        None => Err(Problem::new(
            ProblemType::RejectedIdentifier,
            format!("{address} is not the address of one host"),
        )),
    }
}

/// Why a text is no host's name: the end of a sentence about it.
type Fault = &'static str;

/// The name of a host, or of all hosts one level below a name: in lower case, without a dot at its
/// end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Box<str>);

impl DnsName {
    /// Checks a name and folds its upper case. One label is enough.
    pub fn new(name: &str) -> Result<Self, Problem> {
        let folded = name.to_ascii_lowercase();
        match check(&folded) {
            Ok(()) => Ok(Self(folded.into())),
            Err(fault) => {
                let detail = format!("the name {} {fault}", shown(name));
                Err(Problem::new(ProblemType::Malformed, detail))
            }
        }
    }

    /// The whole name, with "`*.`" if it is a wildcard.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does it stand for all hosts one level below its base?
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(WILDCARD)
    }

    /// The name without "`*.`".
    pub fn base(&self) -> &str {
        self.0.strip_prefix(WILDCARD).unwrap_or(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(name: &str) -> Result<(), Fault> {
    if name.len() > DNS_NAME_BYTES_MAX {
        return Err("is too long");
    }
    let base = name.strip_prefix(WILDCARD).unwrap_or(name);
    base.split('.').try_for_each(check_label)?;
    // Then no resolver and no browser takes it for an address.
    match base.rsplit('.').next().is_some_and(ends_in_a_number) {
        true => Err("ends in a number, as an address does"),
        false => Ok(()),
    }
}

/// Is it what parsers of addresses take for a number, decimal or hexadecimal?
fn ends_in_a_number(label: &str) -> bool {
    let digits = |text: &str, is_digit: fn(&u8) -> bool| text.as_bytes().iter().all(is_digit);
    digits(label, u8::is_ascii_digit)
        || label.strip_prefix("0x").is_some_and(|rest| digits(rest, u8::is_ascii_hexdigit))
}

fn check_label(label: &str) -> Result<(), Fault> {
    if !label.is_ascii() {
        return Err("is not ASCII: the A-label is asked for");
    }
    if label.is_empty() {
        return Err("has an empty label");
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err("has a label of more than 63 characters");
    }
    let is_of_a_host = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if !label.bytes().all(is_of_a_host) {
        return Err("has a character that no host's name has");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("has a label with a hyphen at one end");
    }
    // Two hyphens in this place are reserved for encodings, of which there is one.
    if label.get(2..4) == Some("--") && !label.strip_prefix("xn--").is_some_and(is_punycode) {
        return Err("has a label with two hyphens that is not an A-label");
    }
    Ok(())
}

/// Is it the only Punycode of something? That is not ASCII: else a hyphen would be at its end.
fn is_punycode(encoded: &str) -> bool {
    let decoded = idna::punycode::decode(encoded);
    decoded.and_then(|decoded| idna::punycode::encode(&decoded)).as_deref() == Some(encoded)
}

/// What a client sent, short and without surprises, for a sentence to the client.
fn shown(value: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut shown: String = value.escape_debug().take(CHARACTERS_MAX).collect();
    if value.escape_debug().nth(CHARACTERS_MAX).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

impl Write for DnsName {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.as_bytes().write(buf);
    }
}

impl EncodeSize for DnsName {
    fn encode_size(&self) -> usize {
        self.0.as_bytes().encode_size()
    }
}

impl Read for DnsName {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let bytes = Blob::<DNS_NAME_BYTES_MAX>::read_cfg(buf, &())?;
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| wire::Error::Invalid("DnsName", "not text"))?;
        check(text).map_err(|fault| wire::Error::Invalid("DnsName", fault))?;
        Ok(Self(text.into()))
    }
}

const TAG_DNS: u8 = 0;
const TAG_V4: u8 = 1;
const TAG_V6: u8 = 2;

impl Write for Identifier {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Dns(name) => {
                TAG_DNS.write(buf);
                name.write(buf);
            }
            Self::Ip(IpAddr::V4(v4)) => {
                TAG_V4.write(buf);
                v4.octets().write(buf);
            }
            Self::Ip(IpAddr::V6(v6)) => {
                TAG_V6.write(buf);
                v6.octets().write(buf);
            }
        }
    }
}

impl EncodeSize for Identifier {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Dns(name) => name.encode_size(),
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
        }
    }
}

impl Read for Identifier {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let address = match u8::read_cfg(buf, &())? {
            TAG_DNS => return DnsName::read_cfg(buf, &()).map(Self::Dns),
            TAG_V4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::read_cfg(buf, &())?)),
            TAG_V6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::read_cfg(buf, &())?)),
            other => return Err(wire::Error::InvalidEnum(other)),
        };
        Self::from_address(address).ok_or(wire::Error::Invalid("Identifier", "no host's address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::wire::{Bytes, Wire};

    fn dns(value: &str) -> Result<Identifier, Problem> {
        Identifier::from_acme("dns", value)
    }

    fn refused(result: Result<Identifier, Problem>, kind: ProblemType, about: &str) {
        let problem = result.expect_err("refused");
        assert_eq!(problem.kind, kind, "{problem:?}");
        assert!(problem.detail.contains(about), "{problem:?}");
    }

    #[test]
    fn names_of_hosts_are_taken_as_they_are() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), DNS_NAME_BYTES_MAX);
        for name in [
            "example.com",
            "a.b",
            "3com.example",
            "xn--bcher-kva.example",
            "xn--p1ai.xn--p1ai",
            "a--b.example",
            "*.example.com",
            "x0x1.example",
            "example.0xyz",
            &longest,
        ] {
            let identifier = dns(name).expect(name);
            assert_eq!((identifier.acme_type(), identifier.acme_value()), ("dns", name.to_owned()));
            assert_eq!(identifier.to_string(), name);
        }
    }

    #[test]
    fn upper_case_is_the_same_name() {
        assert_eq!(dns("WWW.Example.COM"), dns("www.example.com"));
        assert_eq!(dns("XN--BCHER-KVA.example"), dns("xn--bcher-kva.example"));
    }

    #[test]
    fn what_is_no_hosts_name_is_refused() {
        let label = "a".repeat(64);
        let too_long = ["a"; 127].join(".") + "a";
        assert_eq!(too_long.len(), DNS_NAME_BYTES_MAX + 1);
        for (name, about) in [
            ("", "empty label"),
            (".", "empty label"),
            ("example.com.", "empty label"),
            (".example.com", "empty label"),
            ("example..com", "empty label"),
            (&format!("{label}.com"), "63"),
            (&too_long, "too long"),
            (&format!("*.{}", &too_long[2..]), "too long"),
            ("under_score.example.com", "character"),
            ("_acme-challenge.example.com", "character"),
            ("exa mple.com", "character"),
            ("example.com\0", "character"),
            ("example.com:443", "character"),
            ("user@example.com", "character"),
            ("-a.example", "hyphen"),
            ("a-.example", "hyphen"),
            ("b\u{fc}cher.example", "A-label"),
            ("\u{212a}elvin.example", "A-label"),
            ("ab--c.example", "A-label"),
            ("xn--9.example", "A-label"),
            ("xn--.example", "hyphen"),
            ("xn--abc-.example", "hyphen"),
            ("xn--99999999.example", "A-label"),
        ] {
            refused(dns(name), ProblemType::Malformed, about);
        }
    }

    #[test]
    fn a_star_stands_alone_and_first() {
        let name = DnsName::new("*.example.com").expect("a wildcard");
        assert!(name.is_wildcard());
        assert_eq!((name.as_str(), name.base()), ("*.example.com", "example.com"));
        let plain = DnsName::new("example.com").expect("a name");
        assert!(!plain.is_wildcard());
        assert_eq!(plain.base(), "example.com");
        for name in [
            "*",
            "*.",
            "www.*.example.com",
            "*.*.example.com",
            "w*.example.com",
            "*w.example.com",
            "**.example.com",
            "example.*",
        ] {
            assert_eq!(dns(name).expect_err(name).kind, ProblemType::Malformed);
        }
        refused(dns("*.com"), ProblemType::RejectedIdentifier, "one label");
    }

    #[test]
    fn one_label_is_for_networks_of_ones_own() {
        refused(dns("localhost"), ProblemType::RejectedIdentifier, "one label");
        for name in ["localhost", "*.intern"] {
            let internal = Identifier::from_acme_internal("dns", name).expect(name);
            assert_eq!(internal.acme_value(), name);
        }
    }

    #[test]
    fn an_address_is_no_name() {
        for name in ["192.0.2.1", "1.2.3", "example.1", "192.0.2.0x1f", "a.0x"] {
            refused(dns(name), ProblemType::Malformed, "number");
        }
        refused(dns("2001:db8::1"), ProblemType::Malformed, "character");
    }

    #[test]
    fn addresses_have_one_form() {
        for value in ["192.0.2.1", "2001:db8::1", "::1", "2001:db8:0:1:1:1:1:1", "fe80::1"] {
            let identifier = Identifier::from_acme("ip", value).expect(value);
            assert_eq!((identifier.acme_type(), identifier.acme_value()), ("ip", value.to_owned()));
        }
        for value in [
            "",
            "example.com",
            "192.0.2.01",
            "192.0.2",
            "192.0.2.1 ",
            "192.0.2.0/24",
            "0x7f000001",
            "2001:DB8::1",
            "2001:db8:0:0:0:0:0:1",
            "2001:0db8::1",
            "[2001:db8::1]",
            "fe80::1%eth0",
            "2001:db8::192.0.2.1",
        ] {
            refused(Identifier::from_acme("ip", value), ProblemType::Malformed, "usual form");
        }
    }

    #[test]
    fn addresses_of_no_host_are_refused_also_in_disguise() {
        for value in [
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "::ffff:192.0.2.1",
            "::ffff:0.0.0.0",
        ] {
            let result = Identifier::from_acme("ip", value);
            refused(result, ProblemType::RejectedIdentifier, "one host");
        }
    }

    #[test]
    fn other_types_of_identifiers_are_unsupported() {
        for kind in ["", "DNS", "email", "permanent-identifier"] {
            let result = Identifier::from_acme(kind, "example.com");
            refused(result, ProblemType::UnsupportedIdentifier, "type dns or ip");
        }
    }

    #[test]
    fn a_complaint_repeats_little_of_what_was_sent() {
        let problem = dns(&"\u{1}\"".repeat(100_000)).expect_err("no name");
        assert!(problem.detail.len() < 200, "{}", problem.detail.len());
        assert!(!problem.detail.contains('\u{1}'));
    }

    #[test]
    fn the_encoding_of_an_identifier_is_its_only_one() {
        for (kind, value) in
            [("dns", "*.example.com"), ("ip", "192.0.2.1"), ("ip", "2001:db8::1"), ("dns", "a.b")]
        {
            let identifier = Identifier::from_acme(kind, value).expect(value);
            let bytes = identifier.to_wire();
            assert_eq!(bytes.len(), identifier.encode_size());
            assert_eq!(Identifier::from_wire(bytes).expect("round trip"), identifier);
        }
        let decode = |bytes: &[u8]| Identifier::from_wire(Bytes::copy_from_slice(bytes));
        assert!(decode(b"\x00\x03A.b").is_err(), "upper case");
        assert!(decode(b"\x00\x04a.b.").is_err(), "a dot at the end");
        assert!(decode(b"\x00\x03a\xff.").is_err(), "no text");
        assert!(decode(b"\x01\x00\x00\x00\x00").is_err(), "no host");
        let mapped = [&[2][..], &[0; 10], &[0xff, 0xff, 192, 0, 2, 1]].concat();
        assert!(decode(&mapped).is_err(), "version 4 within version 6");
        assert!(decode(&[3, 0]).is_err(), "unknown tag");
    }
}
