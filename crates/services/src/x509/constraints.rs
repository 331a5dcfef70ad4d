//! Which names an authority may vouch for.

use super::CertificateError;
use crate::ca::{DNS_NAME_BYTES_MAX, DnsName, Identifier};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use der::asn1::{Ia5String, OctetString};
use std::fmt;
use std::str::FromStr;
use x509_cert::ext::pkix;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;

/// The names that an authority's certificate lets it vouch for. (RFC 5280, 4.2.1.10)
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

/// Names that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subtree {
    /// A name and all below it; only those below if it begins with a dot; all if it is empty.
    Dns(String),
    /// Addresses.
    Ip(IpRange),
}

impl NameConstraints {
    /// Permits these domains with all that is below them, and these addresses, and nothing else:
    /// of what is not named at all, RFC 5280 lets everything pass, so it is excluded.
    pub fn permitting(domains: &[&str], ranges: &[IpRange]) -> Result<Self, CertificateError> {
        if domains.is_empty() && ranges.is_empty() {
            return Err(CertificateError::Names);
        }
        let mut constraints = Self::default();
        for domain in domains {
            // A name like any other, but for the star.
            let name = DnsName::new(domain).map_err(|_| CertificateError::Names)?;
            if name.is_wildcard() {
                return Err(CertificateError::Names);
            }
            constraints.permitted.push(Subtree::Dns(name.as_str().to_owned()));
        }
        constraints.permitted.extend(ranges.iter().copied().map(Subtree::Ip));
        if domains.is_empty() {
            constraints.excluded.push(Subtree::Dns(String::new()));
        }
        for all in [IpRange::ALL_V4, IpRange::ALL_V6] {
            if !ranges.iter().any(|range| range.address.is_ipv4() == all.address.is_ipv4()) {
                constraints.excluded.push(Subtree::Ip(all));
            }
        }
        Ok(constraints)
    }

    /// Does whoever heeds them accept this name?
    pub fn permits(&self, name: &Identifier) -> bool {
        let mut of_its_form =
            self.permitted.iter().filter(|tree| tree.has_form_of(name)).peekable();
        let is_permitted = of_its_form.peek().is_none() || of_its_form.any(|tree| tree.has(name));
        is_permitted && !self.excluded.iter().any(|tree| tree.touches(name))
    }

    pub(super) fn to_extension(&self) -> Result<pkix::NameConstraints, CertificateError> {
        let subtrees = |trees: &[Subtree]| -> Result<_, CertificateError> {
            let trees: Vec<_> = trees.iter().map(Subtree::encoded).collect::<Result<_, _>>()?;
            Ok((!trees.is_empty()).then_some(trees))
        };
        Ok(pkix::NameConstraints {
            permitted_subtrees: subtrees(&self.permitted)?,
            excluded_subtrees: subtrees(&self.excluded)?,
        })
    }

    /// Those that another authority set. Names of other forms than ours do not concern us.
    pub(super) fn from_extension(
        extension: pkix::NameConstraints,
    ) -> Result<Self, CertificateError> {
        let subtrees = |trees: Option<Vec<GeneralSubtree>>| {
            let trees = trees.into_iter().flatten().map(Subtree::decoded);
            trees.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            permitted: subtrees(extension.permitted_subtrees)?,
            excluded: subtrees(extension.excluded_subtrees)?,
        })
    }
}

impl Subtree {
    fn has_form_of(&self, name: &Identifier) -> bool {
        matches!(
            (self, name),
            (Self::Dns(_), Identifier::Dns(_)) | (Self::Ip(_), Identifier::Ip(_))
        )
    }

    /// Is all that the name stands for among these?
    fn has(&self, name: &Identifier) -> bool {
        match (self, name) {
            (Self::Dns(domain), Identifier::Dns(name)) => is_within(name.as_str(), domain),
            (Self::Ip(range), Identifier::Ip(address)) => range.contains(*address),
            _ => false,
        }
    }

    /// Is anything that the name stands for among these? A wildcard stands for names below its
    /// base, some of which can be excluded although it is not.
    fn touches(&self, name: &Identifier) -> bool {
        let below = match (self, name) {
            (Self::Dns(domain), Identifier::Dns(name)) if name.is_wildcard() => {
                is_within(domain.trim_start_matches('.'), name.base())
            }
            _ => false,
        };
        below || self.has(name)
    }

    fn encoded(&self) -> Result<GeneralSubtree, CertificateError> {
        let base = match self {
            Self::Dns(domain) => GeneralName::DnsName(Ia5String::new(domain)?),
            Self::Ip(range) => GeneralName::IpAddress(OctetString::new(range.octets())?),
        };
        Ok(GeneralSubtree { base, minimum: 0, maximum: None })
    }

    /// `None` for a name of another form.
    fn decoded(tree: GeneralSubtree) -> Result<Option<Self>, CertificateError> {
        if tree.minimum != 0 || tree.maximum.is_some() {
            return Err(CertificateError::Names);
        }
        match tree.base {
            GeneralName::DnsName(domain) if domain.as_str().len() > DNS_NAME_BYTES_MAX + 1 => {
                Err(CertificateError::Names)
            }
            GeneralName::DnsName(domain) => {
                Ok(Some(Self::Dns(domain.as_str().to_ascii_lowercase())))
            }
            GeneralName::IpAddress(octets) => {
                let range = IpRange::from_octets(octets.as_bytes());
                range.map(|range| Some(Self::Ip(range))).ok_or(CertificateError::Names)
            }
            _ => Ok(None),
        }
    }
}

/// Is the name this domain, or below it?
fn is_within(name: &str, domain: &str) -> bool {
    let Some(rest) = name.strip_suffix(domain) else { return false };
    // A whole label has to end here.
    domain.is_empty() || domain.starts_with('.') || rest.is_empty() || rest.ends_with('.')
}

/// Addresses that begin alike: "`192.0.2.0/24`", "`2001:db8::/32`".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpRange {
    address: IpAddr,
    prefix_bits: u8,
}

impl IpRange {
    const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix_bits: 0 };
    const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix_bits: 0 };

    /// Those whose first `prefix_bits` bits are those of `address`; `None` if it has not that many,
    /// or has others set.
    pub fn new(address: IpAddr, prefix_bits: u8) -> Option<Self> {
        let range = Self { address, prefix_bits };
        let is_first = prefix_bits <= width(address) && number(address) & !range.mask() == 0;
        is_first.then_some(range)
    }

    /// Is it one of them? An address of the other version never is.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && number(address) & self.mask() == number(self.address)
    }

    /// As many ones as the prefix has bits, at the upper end.
    fn mask(&self) -> u128 {
        let width = u32::from(width(self.address));
        let ones = u128::MAX.checked_shr(128 - width).unwrap_or(0);
        let free = width - u32::from(self.prefix_bits).min(width);
        ones & u128::MAX.checked_shl(free).unwrap_or(0)
    }

    /// Address and mask, as RFC 5280 has them.
    fn octets(&self) -> Vec<u8> {
        let start = 16 - usize::from(width(self.address)) / 8;
        let parts = [number(self.address), self.mask()].map(u128::to_be_bytes);
        parts.iter().flat_map(|part| &part[start..]).copied().collect()
    }

    fn from_octets(octets: &[u8]) -> Option<Self> {
        let (address, mask) = octets.split_at(octets.len() / 2);
        let [address, mask] = [address, mask].map(|half| match half.len() {
            4 => <[u8; 4]>::try_from(half).map(IpAddr::from).ok(),
            _ => <[u8; 16]>::try_from(half).map(IpAddr::from).ok(),
        });
        let (address, mask) = (address?, mask?);
        let prefix_bits = number(mask).count_ones();
        // A mask with gaps gives another mask than this.
        let range = Self::new(address, u8::try_from(prefix_bits).ok()?)?;
        (range.mask() == number(mask)).then_some(range)
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl FromStr for IpRange {
    type Err = CertificateError;
    fn from_str(text: &str) -> Result<Self, CertificateError> {
        let range = text.split_once('/').and_then(|(address, prefix_bits)| {
            Self::new(address.parse().ok()?, prefix_bits.parse().ok()?)
        });
        range.ok_or(CertificateError::Names)
    }
}

/// How many bits an address of its version has.
fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
