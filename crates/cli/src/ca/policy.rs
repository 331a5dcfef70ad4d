//! `ca.toml`: what the certification authority issues to whom. The same at all servers; it may hold
//! secrets of external accounts, so unlike `group.toml` it is nobody else's to read.

use crate::config::{self, CaSection, ConfigError, Source, line_of, name_rules};
use base64ct::{Base64UrlUnpadded, Encoding};
use maftia_crypto::{ClientKey, KeyId};
use maftia_services::ca::{
    ExternalAccount, Limits, NameRules, NonceKey, Officers, Periods, Profile, Settings,
};
use maftia_services::notary::ObjectIdentifier;
use maftia_services::x509::{DOMAIN_VALIDATED, Usage};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::Path;
use toml::Spanned;

const HOUR: u64 = 3600;

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    default_profile: String,
    #[serde(default)]
    terms_of_service: Option<String>,
    #[serde(default)]
    website: Option<String>,
    #[serde(default)]
    caa_identities: Vec<String>,
    #[serde(default)]
    external_account_required: bool,
    #[serde(default)]
    dates_allowed: bool,
    #[serde(default)]
    single_labels_allowed: bool,
    profile: Vec<ProfileTable>,
    #[serde(default)]
    external_account: Vec<ExternalAccountTable>,
    #[serde(default)]
    officers: Option<OfficersTable>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    periods: PeriodsTable,
    #[serde(default)]
    validation: ValidationTable,
}

/// `[[profile]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileTable {
    name: String,
    description: String,
    usage: UsageName,
    hours: u64,
    names: Spanned<Vec<String>>,
    #[serde(default)]
    policy: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UsageName {
    Server,
    Client,
    Both,
}

/// `[[external_account]]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExternalAccountTable {
    id: String,
    key: Spanned<String>,
    names: Spanned<Vec<String>>,
}

impl std::fmt::Debug for ExternalAccountTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalAccountTable").field("id", &self.id).finish_non_exhaustive()
    }
}

/// `[officers]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfficersTable {
    needed: usize,
    keys: Vec<Spanned<String>>,
    names: Spanned<Vec<String>>,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    accounts_per_hour: u32,
    orders_per_hour: u32,
    pending_authorizations: u32,
    certificates_per_week: u32,
    names: u32,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            accounts_per_hour: 100,
            orders_per_hour: 300,
            pending_authorizations: 300,
            certificates_per_week: 1000,
            names: 100,
        }
    }
}

/// `[periods]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PeriodsTable {
    order_hours: u64,
    authorization_hours: u64,
    validation_minutes: u64,
    crl_hours: u64,
    ocsp_hours: u64,
}

impl Default for PeriodsTable {
    fn default() -> Self {
        Self {
            order_hours: 24,
            authorization_hours: 24,
            validation_minutes: 10,
            crl_hours: 12,
            ocsp_hours: 48,
        }
    }
}

/// `[validation]`: how this group's servers look at what is to be certified.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ValidationTable {
    resolvers: Vec<SocketAddr>,
    http_port: u16,
    tls_port: u16,
    refuse_private: bool,
}

impl Default for ValidationTable {
    fn default() -> Self {
        Self { resolvers: Vec::new(), http_port: 80, tls_port: 443, refuse_private: false }
    }
}

/// What the file says, checked as far as it can be without certificates and keys.
#[derive(Clone, Debug)]
pub struct PolicySection {
    file: PolicyFile,
    profiles: Vec<Profile>,
    external_accounts: Vec<ExternalAccount>,
    officers: Officers,
}

/// What belongs to a group, and is not in the file.
#[derive(Clone, Debug)]
pub struct Dealt {
    /// The issuing certificate, in DER.
    pub issuing: Vec<u8>,
    /// The root certificate, in DER.
    pub root: Vec<u8>,
    /// With which keys the servers sign nonces, in their order.
    pub nonce_keys: Vec<NonceKey>,
    /// Under which of its keys the group signs.
    pub key: KeyId,
}

/// How a server looks at what is to be certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Whom it asks for names; the system's resolvers if empty.
    pub resolvers: Vec<SocketAddr>,
    /// Where it looks for http-01.
    pub http_port: u16,
    /// Where it looks for tls-alpn-01.
    pub tls_port: u16,
    /// Does it refuse to look at private addresses?
    pub refuse_private: bool,
}

/// Reads and checks `text` as the contents of `path`.
pub fn parse(path: &Path, text: &str) -> Result<PolicySection, ConfigError> {
    let source = Source { path, text };
    let file: PolicyFile = toml::from_str(text).map_err(|error| ConfigError {
        file: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        key: "a key".into(),
        problem: error.message().replace('\n', " "),
        remedy: "keys as `maftia ca example` prints them".into(),
    })?;
    let profiles = file.profile.iter().map(|table| profile(&source, table));
    let profiles = profiles.collect::<Result<_, _>>()?;
    let accounts = file.external_account.iter().map(|table| external_account(&source, table));
    let external_accounts = accounts.collect::<Result<_, _>>()?;
    let nobody = Officers { needed: 0, keys: Vec::new(), names: NameRules::default() };
    let officers = file.officers.as_ref().map(|table| officers(&source, table)).transpose()?;
    let officers = officers.unwrap_or(nobody);
    Ok(PolicySection { file, profiles, external_accounts, officers })
}

impl PolicySection {
    /// What all servers must have in common, for the authority with these certificates.
    pub fn settings(&self, section: &CaSection, dealt: Dealt) -> Settings {
        let file = &self.file;
        let LimitsTable {
            accounts_per_hour,
            orders_per_hour,
            pending_authorizations,
            certificates_per_week,
            names,
        } = file.limits;
        let PeriodsTable {
            order_hours,
            authorization_hours,
            validation_minutes,
            crl_hours,
            ocsp_hours,
        } = file.periods;
        Settings {
            base: section.url.clone(),
            plain_base: section.plain_url.clone(),
            key: dealt.key,
            issuing: dealt.issuing,
            root: dealt.root,
            nonce_keys: dealt.nonce_keys,
            profiles: self.profiles.clone(),
            default_profile: file.default_profile.clone(),
            terms_of_service: file.terms_of_service.clone(),
            website: file.website.clone(),
            caa_identities: file.caa_identities.clone(),
            external_account_required: file.external_account_required,
            external_accounts: self.external_accounts.clone(),
            limits: Limits {
                accounts_per_hour,
                orders_per_hour,
                pending_authorizations,
                certificates_per_week,
                names,
            },
            officers: self.officers.clone(),
            periods: Periods {
                order: order_hours.saturating_mul(HOUR),
                authorization: authorization_hours.saturating_mul(HOUR),
                validation: validation_minutes.saturating_mul(60),
                crl: crl_hours.saturating_mul(HOUR),
                ocsp: ocsp_hours.saturating_mul(HOUR),
            },
            dates_allowed: file.dates_allowed,
            single_labels_allowed: file.single_labels_allowed,
        }
    }

    /// How this group's servers look at what is to be certified.
    pub fn outlook(&self) -> Outlook {
        let ValidationTable { resolvers, http_port, tls_port, refuse_private } =
            self.file.validation.clone();
        Outlook { resolvers, http_port, tls_port, refuse_private }
    }
}

fn profile(source: &Source<'_>, table: &ProfileTable) -> Result<Profile, ConfigError> {
    let usage = match table.usage {
        UsageName::Server => Usage::Server,
        UsageName::Client => Usage::Client,
        UsageName::Both => Usage::Both,
    };
    let policy = table.policy.as_ref().map(|policy| object_identifier(source, policy));
    Ok(Profile {
        name: table.name.clone(),
        description: table.description.clone(),
        usage,
        policy: policy.transpose()?.unwrap_or(DOMAIN_VALIDATED),
        seconds: table.hours.saturating_mul(HOUR),
        names: name_rules(source, "profile.names", &table.names)?,
    })
}

fn external_account(
    source: &Source<'_>,
    table: &ExternalAccountTable,
) -> Result<ExternalAccount, ConfigError> {
    let mac_key = Base64UrlUnpadded::decode_vec(table.key.get_ref()).map_err(|_| {
        let remedy = "base64url without padding, as `maftia ca account-key` prints it";
        source.refuse(&table.key, "external_account.key", "it is no base64url", remedy)
    })?;
    let names = name_rules(source, "external_account.names", &table.names)?;
    Ok(ExternalAccount { id: table.id.clone(), mac_key, names })
}

fn officers(source: &Source<'_>, table: &OfficersTable) -> Result<Officers, ConfigError> {
    let key = |text: &Spanned<String>| {
        const_hex::decode_to_array(text.get_ref()).map(ClientKey).map_err(|_| {
            let problem = format!("{:?} is not the key of an officer", text.get_ref());
            let remedy = "64 hexadecimal digits, as `maftia ca officer-key` prints them";
            source.refuse(text, "officers.keys", problem, remedy)
        })
    };
    let keys = table.keys.iter().map(key).collect::<Result<_, _>>()?;
    Ok(Officers {
        needed: table.needed,
        keys,
        names: name_rules(source, "officers.names", &table.names)?,
    })
}

fn object_identifier(
    source: &Source<'_>,
    policy: &Spanned<String>,
) -> Result<ObjectIdentifier, ConfigError> {
    config::object_identifier(policy.get_ref()).ok_or_else(|| {
        let problem = format!("{:?} is not an object identifier that we can use", policy.get_ref());
        let remedy = "numbers below 2^28 with dots, for example \"1.3.6.1.4.1.99999.1\"";
        source.refuse(policy, "profile.policy", problem, remedy)
    })
}

/// A file to begin with, each key explained.
pub const EXAMPLE: &str = "\
# What this group's certification authority issues to whom. The same on every server; it may hold
# secrets of external accounts, so only the server may read it. A change takes effect when all
# servers of the group have been stopped and started with it.

default_profile = \"server\"
# terms_of_service = \"https://example.org/terms\"
# Must accounts be bound to one of the [[external_account]] below?
external_account_required = false

# A kind of certificate: usage is server, client or both. names: suffixes of names, addresses,
# ranges of addresses; \"*\" for all.
[[profile]]
name = \"server\"
description = \"TLS servers\"
usage = \"server\"
hours = 720
names = [\"example.org\", \"10.0.0.0/8\"]

# [[external_account]]
# id = \"team-a\"
# key = \"...\"   # from: maftia ca account-key
# names = [\"a.example.org\"]

# Names that need the approval of any so many of these people.
# [officers]
# needed = 2
# keys = [\"...\", \"...\", \"...\"]   # from: maftia ca officer-key
# names = [\"pay.example.org\"]

[limits]
accounts_per_hour = 100       # through one server
orders_per_hour = 300         # of one account
pending_authorizations = 300  # of one account
certificates_per_week = 1000  # of one registered name
names = 100                   # in one certificate

[periods]
order_hours = 24
authorization_hours = 24      # for which a validation is good
validation_minutes = 10       # for which servers go on trying
crl_hours = 12                # between two lists; each is good for twice as long
ocsp_hours = 48               # for which an answer is good; it is renewed after half of that

# How each server looks at what is to be certified.
[validation]
resolvers = []                # of the system, if empty; for example [\"192.0.2.53:53\"]
http_port = 80
tls_port = 443
refuse_private = false        # do not look at private, loopback and link-local addresses
";
