//! CAA (RFC 8659, RFC 8657): do those who run the zone let this authority name the host?
//!
//! # Rules
//! - C1. The records of the name count; if it has none, those of the name without its first label,
//!   and so on. Aliases are followed by the resolvers at each name.
//! - C2. If there are issuers among the records, one of them must be this authority. For a wildcard
//!   those for wildcards count, if there are any.
//! - C3. An issuer with a parameter that this server cannot judge (`accounturi`, and whatever it
//!   does not know) is not this authority; `validationmethods` must list the one that was used.
//! - C4. A critical property that is not known forbids.
//! - C5. If the resolvers do not say whether there are records, nobody is let.
//!
//! An address has no such records, so nothing forbids to name it.

use super::{Outside, Why};
use hickory_resolver::proto::rr::rdata::CAA;
use maftia_services::ca::{ChallengeKind, DnsName};

/// Properties that say nothing about who may issue certificates of hosts.
const OTHERS: [&str; 4] = ["iodef", "issuemail", "contactemail", "contactphone"];

/// Looks once, unless the authority has no name there.
pub(super) async fn look(
    outside: &Outside,
    name: &DnsName,
    kind: ChallengeKind,
) -> Result<(), Why> {
    if outside.config.caa_identities.is_empty() {
        return Ok(());
    }
    let mut at = name.base();
    loop {
        let records = outside.hosts.caa(at).await?;
        if !records.is_empty() {
            let lets = lets(&records, &outside.config.caa_identities, name.is_wildcard(), kind);
            return lets.map_err(|why| Why::Forbidden { at: at.to_owned(), why });
        }
        match at.split_once('.') {
            Some((_, above)) => at = above, // C1
            None => return Ok(()),
        }
    }
}

/// Do these records let one of `us` issue? (C2, C4)
fn lets(
    records: &[CAA],
    us: &[String],
    is_wildcard: bool,
    kind: ChallengeKind,
) -> Result<(), &'static str> {
    let is_of = |record: &CAA, tag: &str| record.tag.eq_ignore_ascii_case(tag);
    let is_known = |record: &CAA| {
        ["issue", "issuewild"].iter().chain(&OTHERS).any(|known| is_of(record, known))
    };
    if records.iter().any(|record| record.issuer_critical && !is_known(record)) {
        return Err("has a critical property that is not known");
    }
    let for_wildcards = is_wildcard && records.iter().any(|record| is_of(record, "issuewild"));
    let tag = if for_wildcards { "issuewild" } else { "issue" };
    let mut issuers = records.iter().filter(|record| is_of(record, tag)).peekable();
    match issuers.peek().is_none() || issuers.any(|issuer| is_one_of(us, &issuer.value, kind)) {
        true => Ok(()),
        false => Err("names other issuers only"),
    }
}

/// Is the issuer of this value one of `us`, without conditions that are not met? (C3)
fn is_one_of(us: &[String], value: &[u8], kind: ChallengeKind) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let issuer = parts.next().unwrap_or_default();
    let is_ours = us.iter().any(|ours| ours.eq_ignore_ascii_case(issuer));
    let is_met = |parameter: &str| match parameter.split_once('=') {
        None => parameter.is_empty(),
        Some((name, methods)) => {
            name.trim() == "validationmethods"
                && methods.split(',').any(|method| method.trim() == kind.name())
        }
    };
    is_ours && parts.all(is_met)
}
