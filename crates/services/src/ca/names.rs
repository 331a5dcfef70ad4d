//! Which names somebody may have certified.

use super::Identifier;
use crate::x509::IpRange;
// Only values: what has sockets is `std::net`.
use core::net::IpAddr;

/// Names and addresses, as a policy lists them. The empty list is nobody's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct NameRules {
    /// A name with all names below it; the empty suffix has all names below it.
    pub dns: Vec<String>,
    /// Ranges of addresses.
    pub ips: Vec<IpRange>,
}

impl NameRules {
    /// Every name and every address.
    pub fn everything() -> Self {
        let any = |address| IpRange::new(address, 0).expect("no bit is set");
        let ips = [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(any).to_vec();
        Self { dns: vec![String::new()], ips }
    }

    /// Is it among them? A wildcard is if all that it stands for are.
    pub fn permits(&self, identifier: &Identifier) -> bool {
        match identifier {
            Identifier::Dns(name) => self.dns.iter().any(|suffix| is_below(name.base(), suffix)),
            Identifier::Ip(address) => self.ips.iter().any(|range| range.contains(*address)),
        }
    }

    /// Are the names written as [`permits`](Self::permits) expects?
    pub(super) fn is_well_formed(&self) -> bool {
        let is_name = |suffix: &String| {
            let is_of_a_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
            let has_an_end = suffix.starts_with('.') || suffix.ends_with('.');
            suffix.len() <= super::DNS_NAME_BYTES_MAX
                && !has_an_end
                && suffix.bytes().all(is_of_a_name)
        };
        self.dns.iter().all(is_name)
    }

    /// Under which name certificates are counted: that of the first suffix with one label more,
    /// which is what somebody registered there; an address under itself.
    pub(super) fn registered(&self, identifier: &Identifier) -> String {
        let Identifier::Dns(name) = identifier else { return identifier.acme_value() };
        let suffix = self.dns.iter().find(|suffix| is_below(name.base(), suffix));
        let kept = match suffix {
            // Below everything there are top-level names, in which names are registered.
            None => 2,
            Some(suffix) if suffix.is_empty() => 2,
            Some(suffix) => suffix.split('.').count() + 1,
        };
        let labels: Vec<&str> = name.base().rsplit('.').take(kept).collect();
        labels.into_iter().rev().collect::<Vec<_>>().join(".")
    }
}

/// Is `name` the suffix, or below it?
fn is_below(name: &str, suffix: &str) -> bool {
    let rest = name.strip_suffix(suffix);
    suffix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(dns: &[&str], ips: &[(&str, u8)]) -> NameRules {
        let range = |(address, bits): &(&str, u8)| {
            IpRange::new(address.parse().expect("an address"), *bits).expect("a range")
        };
        NameRules {
            dns: dns.iter().map(|suffix| (*suffix).to_owned()).collect(),
            ips: ips.iter().map(range).collect(),
        }
    }

    fn id(value: &str) -> Identifier {
        let kind = if value.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
        Identifier::from_acme(kind, value).expect("an identifier")
    }

    #[test]
    fn a_suffix_permits_itself_and_what_is_below_and_nothing_that_only_ends_alike() {
        let rules = rules(&["example.org", "corp.example.net"], &[]);
        for name in ["example.org", "a.example.org", "*.example.org", "b.a.corp.example.net"] {
            assert!(rules.permits(&id(name)), "{name}");
        }
        for name in ["badexample.org", "example.net", "*.example.net", "org.example", "10.0.0.1"] {
            assert!(!rules.permits(&id(name)), "{name}");
        }
    }

    #[test]
    fn a_range_permits_the_addresses_with_its_first_bits() {
        let rules = rules(&[], &[("10.1.0.0", 16), ("192.0.2.7", 32), ("2001:db8::", 32)]);
        for address in ["10.1.255.255", "192.0.2.7", "2001:db8::1"] {
            assert!(rules.permits(&id(address)), "{address}");
        }
        for address in ["10.2.0.0", "192.0.2.6", "2001:db9::", "2001:db7:ffff::1"] {
            assert!(!rules.permits(&id(address)), "{address}");
        }
        assert!(!rules.permits(&id("example.org")));
    }

    #[test]
    fn everything_permits_everything_and_nothing_nothing() {
        for value in ["a.example", "*.a.example", "203.0.113.1", "2001:db8::1"] {
            assert!(NameRules::everything().permits(&id(value)));
            assert!(!NameRules::default().permits(&id(value)));
        }
    }

    #[test]
    fn rules_that_could_never_match_are_not_well_formed() {
        for suffix in [".example.org", "example.org.", "Example.org", "*.example.org"] {
            assert!(!rules(&[suffix], &[]).is_well_formed(), "{suffix}");
        }
        assert!(rules(&["example.org", ""], &[]).is_well_formed());
    }

    #[test]
    fn names_are_counted_where_they_are_registered() {
        let own = rules(&["corp.example.org"], &[]);
        for name in ["a.corp.example.org", "b.a.corp.example.org", "*.a.corp.example.org"] {
            assert_eq!(own.registered(&id(name)), "a.corp.example.org");
        }
        assert_eq!(own.registered(&id("corp.example.org")), "corp.example.org");
        let all = NameRules::everything();
        assert_eq!(all.registered(&id("a.b.example.org")), "example.org");
        assert_eq!(all.registered(&id("192.0.2.7")), "192.0.2.7");
    }
}
