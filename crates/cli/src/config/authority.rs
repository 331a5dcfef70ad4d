//! `[ca]` of `group.toml`: the certification authority, as far as its certificates depend on it.
//! What it issues to whom is in `ca.toml`.

use super::ConfigError;
use super::check::Source;
use super::file::{Ca, Server};
use maftia_base::PARTIES_MAX;
use maftia_services::ca::{Identifier, NameRules, host_of};
use maftia_services::x509::{IpRange, NameConstraints};
use std::net::IpAddr;
use toml::Spanned;

/// The certification authority of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSection {
    /// Where clients of ACME find it, whichever server's front end that is.
    pub url: String,
    /// The host in it.
    pub host: Identifier,
    /// The same without TLS, for what certificates refer to.
    pub plain_url: String,
    /// In the subjects of root and issuing authority.
    pub organization: String,
    /// Two letters, if it is to be said.
    pub country: Option<String>,
    /// The issuing authority's name.
    pub common_name: String,
    /// Modulus of the root's and the issuing authority's key, in bits: 2048, 3072 or 4096.
    pub key_bits: usize,
    /// All that may ever be issued for; everything if it is empty.
    pub permitted: NameRules,
    /// Validity of the issuing certificate.
    pub years: u64,
    /// Validity of the root's certificate.
    pub root_years: u64,
    /// Validity of the front ends' first certificates.
    pub front_end_days: u64,
    /// Among how many the root's key is shared.
    pub custodians: usize,
    /// How many of them sign together.
    pub needed: usize,
}

pub(super) fn check(source: &Source<'_>, file: &Ca) -> Result<CaSection, ConfigError> {
    let host = check_url(source, "ca.url", "https://", &file.url)?;
    check_url(source, "ca.plain_url", "http://", &file.plain_url)?;
    check_word(source, "ca.organization", &file.organization)?;
    check_word(source, "ca.common_name", &file.common_name)?;
    check_country(source, file.country.as_ref())?;
    if ![2048, 3072, 4096].contains(file.key_bits.get_ref()) {
        let problem = format!("{} bits", file.key_bits.get_ref());
        return Err(source.refuse(&file.key_bits, "ca.key_bits", problem, "2048, 3072 or 4096"));
    }
    let permitted = file.permitted.as_ref().map(|names| check_permitted(source, names, &host));
    let section = CaSection {
        url: file.url.get_ref().clone(),
        host,
        plain_url: file.plain_url.get_ref().clone(),
        organization: file.organization.get_ref().clone(),
        country: file.country.as_ref().map(|country| country.get_ref().clone()),
        common_name: file.common_name.get_ref().clone(),
        key_bits: *file.key_bits.get_ref(),
        permitted: permitted.transpose()?.unwrap_or_default(),
        years: check_number(source, "ca.years", &file.years, 40)?,
        root_years: check_number(source, "ca.root_years", &file.root_years, 40)?,
        front_end_days: check_number(source, "ca.front_end_days", &file.front_end_days, 3650)?,
        custodians: *file.custodians.get_ref(),
        needed: *file.needed.get_ref(),
    };
    if section.years > section.root_years {
        let problem = "the issuing certificate would outlive the root's";
        let remedy = format!("at most {}", section.root_years);
        return Err(source.refuse(&file.years, "ca.years", problem, remedy));
    }
    check_custodians(source, file)?;
    Ok(section)
}

/// A group with an authority has an address for its clients at each server, another has none.
pub(super) fn check_address(
    source: &Source<'_>,
    entry: &Spanned<Server>,
    has_authority: bool,
) -> Result<(), ConfigError> {
    match (&entry.get_ref().acme, has_authority) {
        (None, true) => {
            let problem = "it has no `acme`, which a group with [ca] needs";
            let remedy = "acme = \"192.0.2.7:7443\"";
            Err(source.refuse(entry, "server.acme", problem, remedy))
        }
        (Some(acme), false) => {
            let problem = "this group has no certification authority";
            Err(source.refuse(acme, "server.acme", problem, "a table [ca], or no `acme`"))
        }
        _ => Ok(()),
    }
}

fn check_url(
    source: &Source<'_>,
    key: &str,
    scheme: &str,
    url: &Spanned<String>,
) -> Result<Identifier, ConfigError> {
    let host = host_of(scheme, url.get_ref()).and_then(|host| match host.parse::<IpAddr>() {
        Ok(address) => Identifier::from_address(address),
        Err(_) => Identifier::from_acme_internal("dns", host).ok(),
    });
    host.ok_or_else(|| {
        let problem = format!("{:?} is not a URL that all front ends could share", url.get_ref());
        let remedy = format!("{scheme} and a host in lower case, perhaps with a port; no path");
        source.refuse(url, key, problem, remedy)
    })
}

fn check_word(source: &Source<'_>, key: &str, word: &Spanned<String>) -> Result<(), ConfigError> {
    let text = word.get_ref();
    // With what is added to it, RFC 5280's upper bound is kept.
    if !(1..=56).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        let problem = format!("{text:?} has {} characters", text.chars().count());
        return Err(source.refuse(word, key, problem, "1 to 56 characters, on one line"));
    }
    Ok(())
}

fn check_country(
    source: &Source<'_>,
    country: Option<&Spanned<String>>,
) -> Result<(), ConfigError> {
    let is_code = |text: &str| text.len() == 2 && text.bytes().all(|it| it.is_ascii_uppercase());
    match country.filter(|country| !is_code(country.get_ref())) {
        None => Ok(()),
        Some(country) => {
            let problem = format!("{:?} is no country", country.get_ref());
            let remedy = "two letters of ISO 3166, for example \"CH\"";
            Err(source.refuse(country, "ca.country", problem, remedy))
        }
    }
}

fn check_number(
    source: &Source<'_>,
    key: &str,
    number: &Spanned<u64>,
    most: u64,
) -> Result<u64, ConfigError> {
    let value = *number.get_ref();
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    let remedy = format!("a number from 1 to {most}");
    Err(source.refuse(number, key, value.to_string(), remedy))
}

/// The names that the issuing certificate permits, among which the front ends' own must be.
fn check_permitted(
    source: &Source<'_>,
    names: &Spanned<Vec<String>>,
    host: &Identifier,
) -> Result<NameRules, ConfigError> {
    const KEY: &str = "ca.permitted";
    let rules = name_rules(source, KEY, names)?;
    let domains: Vec<&str> = rules.dns.iter().map(String::as_str).collect();
    let refuse = |problem: String, remedy: &str| source.refuse(names, KEY, problem, remedy);
    let constraints = NameConstraints::permitting(&domains, &rules.ips).map_err(|error| {
        let remedy = "domains and ranges of addresses; no `permitted` at all for everything";
        refuse(error.to_string(), remedy)
    })?;
    if !constraints.permits(host) {
        let problem = format!("it does not have {}, the host of `url`", host.acme_value());
        return Err(refuse(problem, "that host, too: the front ends are certified for it"));
    }
    Ok(rules)
}

fn check_custodians(source: &Source<'_>, file: &Ca) -> Result<(), ConfigError> {
    let (custodians, needed) = (*file.custodians.get_ref(), *file.needed.get_ref());
    if !(1..=PARTIES_MAX).contains(&custodians) {
        let remedy = format!("a number from 1 to {PARTIES_MAX}");
        let problem = custodians.to_string();
        return Err(source.refuse(&file.custodians, "ca.custodians", problem, remedy));
    }
    if !(1..=custodians).contains(&needed) {
        let remedy = format!("a number from 1 to {custodians}, the number of custodians");
        return Err(source.refuse(&file.needed, "ca.needed", needed.to_string(), remedy));
    }
    Ok(())
}

/// Names and ranges of addresses; `*` is all of both.
pub(crate) fn name_rules(
    source: &Source<'_>,
    key: &str,
    names: &Spanned<Vec<String>>,
) -> Result<NameRules, ConfigError> {
    let mut rules = NameRules::default();
    for name in names.get_ref() {
        if name == "*" {
            return Ok(NameRules::everything());
        }
        match name.split_once('/') {
            Some((address, bits)) => {
                let range = address.parse::<IpAddr>().ok().zip(bits.parse().ok());
                let range = range.and_then(|(address, bits)| IpRange::new(address, bits));
                let refused = || {
                    let problem = format!("{name:?} is no range of addresses");
                    let remedy =
                        "the first address and the number of its fixed bits: \"10.1.0.0/16\"";
                    source.refuse(names, key, problem, remedy)
                };
                rules.ips.push(range.ok_or_else(refused)?);
            }
            None => match name.parse::<IpAddr>() {
                Ok(address) => {
                    let bits = if address.is_ipv4() { 32 } else { 128 };
                    rules.ips.extend(IpRange::new(address, bits));
                }
                Err(_) => rules.dns.push(name.clone()),
            },
        }
    }
    Ok(rules)
}
