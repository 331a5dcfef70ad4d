//! What all servers of a group must have in common to run the authority.
//!
//! # Promise
//! A policy that is accepted can be kept: its certificates belong together, its profiles are within
//! what they allow, its keys are as many as there are servers and officers.

use super::audit::BINDING_BYTES_MAX;
use super::names::NameRules;
use super::nonce::NonceKey;
use super::route::{DIRECTORY_PATH, NEW_NONCE_PATH, RENEWAL_INFO_PATH, Route};
use super::settings::POLICY_BYTES_MAX;
use super::wire::{BASE_BYTES_MAX, NAMES_MAX, OFFICERS_MAX};
use crate::x509::{CertificateError, Issuer, Usage};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};
use der::{Decode, Encode};
use maftia_base::AdversaryStructure;
use maftia_base::wire::Blob;
use maftia_crypto::{ClientKey, KeyId};
use ring::signature;
use serde_json::{Map, Value, json};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use x509_cert::Certificate;

/// Longest name of a profile.
pub const PROFILE_BYTES_MAX: usize = 32;

/// Longest certificates of a chain, all together.
const CHAIN_BYTES_MAX: usize = 8 << 10;

/// Shortest secret of an external account: that of HS256.
const MAC_KEY_BYTES_MIN: usize = 32;

/// Longest period in a policy, in seconds: ten years.
const PERIOD_SECONDS_MAX: u64 = 10 * 366 * 86_400;

/// What an operator decides.
#[derive(Clone, Debug, Hash)]
pub struct Settings {
    /// Where clients find the authority, without a path: `https://ca.example.org`.
    pub base: String,
    /// The same without TLS, for what certificates refer to: `http://ca.example.org`. Whoever looks
    /// there is just about to find out whom to believe.
    pub plain_base: String,
    /// Under which of its keys the group signs.
    pub key: KeyId,
    /// The certificate of that key, in DER.
    pub issuing: Vec<u8>,
    /// The certificate that it is issued under, in DER.
    pub root: Vec<u8>,
    /// With which keys the servers sign nonces, in the servers' order.
    pub nonce_keys: Vec<NonceKey>,
    /// What is issued.
    pub profiles: Vec<Profile>,
    /// The profile of orders that name none.
    pub default_profile: String,
    /// The terms that an account has to agree to.
    pub terms_of_service: Option<String>,
    /// About the authority.
    pub website: Option<String>,
    /// What CAA records call the authority.
    pub caa_identities: Vec<String>,
    /// Has every account to be bound to an external one?
    pub external_account_required: bool,
    /// The external accounts.
    pub external_accounts: Vec<ExternalAccount>,
    /// How much anybody may ask for.
    pub limits: Limits,
    /// Who approves what.
    pub officers: Officers,
    /// How long things last.
    pub periods: Periods,
    /// May an order say from when to when its certificate is to be valid?
    pub dates_allowed: bool,
    /// May names have a single label?
    pub single_labels_allowed: bool,
}

/// A kind of certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// What orders call it.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// What its certificates are for.
    pub usage: Usage,
    /// The certificate policy that they state.
    pub policy: ObjectIdentifier,
    /// How long they are valid, in seconds.
    pub seconds: u64,
    /// What they may name.
    pub names: NameRules,
}

/// An account elsewhere, of a customer say, to which accounts here are bound.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ExternalAccount {
    /// What its key is called.
    pub id: String,
    /// The secret that it shares with the authority. All servers know it, so it keeps strangers
    /// out, and no corrupt server.
    pub mac_key: Vec<u8>,
    /// What its accounts may have certified.
    pub names: NameRules,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalAccount({}, secret, {:?})", self.id, self.names)
    }
}

/// How much anybody may ask for. Hours and weeks are those of the calendar, so that at the turn of
/// two of them it can be twice as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// New accounts an hour and front end.
    pub accounts_per_hour: u32,
    /// New orders an hour and account.
    pub orders_per_hour: u32,
    /// Authorizations of an account that are pending at the same time.
    pub pending_authorizations: u32,
    /// Certificates a week and registered name.
    pub certificates_per_week: u32,
    /// Names of an order.
    pub names: u32,
}

/// The people whose approval is needed, any so many of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Officers {
    /// How many have to say the same.
    pub needed: usize,
    /// With which keys they sign.
    pub keys: Vec<ClientKey>,
    /// An order that names one of these needs their approval.
    pub names: NameRules,
}

/// How long things last, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Periods {
    /// An order, until it has to be finalized.
    pub order: u64,
    /// A valid authorization.
    pub authorization: u64,
    /// The servers' attempts to validate a challenge.
    pub validation: u64,
    /// Between two revocation lists; each is good for twice as long.
    pub crl: u64,
    /// An OCSP response; another is made after half of it.
    pub ocsp: u64,
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No URL, or one with a path.
    #[error(
        "the base URL {1:?} must be {0} and a host in lower case, perhaps with a port, and have \
         at most {BASE_BYTES_MAX} bytes"
    )]
    Base(&'static str, String),
    /// The issuing certificate cannot be used.
    #[error("the issuing certificate: {0}")]
    Issuing(CertificateError),
    /// The root certificate cannot be used.
    #[error("the root certificate: {0}")]
    Root(CertificateError),
    /// They do not belong together.
    #[error("the issuing certificate is not one that the root has signed")]
    Chain,
    /// Too long.
    #[error("issuing and root certificate together have more than {CHAIN_BYTES_MAX} bytes")]
    ChainBytes,
    /// One for each server.
    #[error("there are {given} keys for nonces and {servers} servers")]
    NonceKeys {
        /// Keys.
        given: usize,
        /// Servers.
        servers: usize,
    },
    /// The default profile is none of the profiles.
    #[error("the default profile {0:?} is not among the profiles")]
    DefaultProfile(String),
    /// Two have one name, or the name is no word of letters, digits and hyphens.
    #[error("{0:?} cannot be the name of a profile, or is that of two")]
    ProfileName(String),
    /// A period of no length, or a very long one.
    #[error("the period {0} must be of 1 to {PERIOD_SECONDS_MAX} seconds")]
    Period(&'static str),
    /// A list of names that nothing could match.
    #[error("the list of names of {0} has an entry that is no suffix or no range of addresses")]
    Names(String),
    /// No name, two of one name, or a secret that is too short.
    #[error(
        "the external account {0:?} needs a name of its own of at most {BINDING_BYTES_MAX} bytes \
         and a secret of at least {MAC_KEY_BYTES_MIN}"
    )]
    ExternalAccount(String),
    /// More approvals than officers, none at all, or one key twice.
    #[error(
        "of at most {OFFICERS_MAX} officers with different keys at least one must be needed, and \
         no more than there are"
    )]
    Officers,
    /// More than fits.
    #[error("all of it together has more than {POLICY_BYTES_MAX} bytes; use fewer names")]
    TooLong,
    /// Nothing could be ordered.
    #[error("the limit {0} lets nobody have anything, or too much")]
    Limit(&'static str),
}

/// What all servers of a group have in common.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Checked>);

#[derive(Debug)]
struct Checked {
    settings: Settings,
    issuer: Issuer,
    encoded: Blob<POLICY_BYTES_MAX>,
    structure: AdversaryStructure,
    /// Is a validation by a quorum of honest servers asked for, or by one?
    is_q3: bool,
}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Checked { settings, is_q3, issuer: _, encoded: _, structure: _ } = &*self.0;
        (settings, is_q3).hash(state);
    }
}

impl Policy {
    /// A policy for a group with this structure.
    pub fn new(settings: Settings, structure: &AdversaryStructure) -> Result<Self, PolicyError> {
        for (scheme, base) in [("https://", &settings.base), ("http://", &settings.plain_base)] {
            if host_of(scheme, base).is_none() {
                return Err(PolicyError::Base(scheme, base.clone()));
            }
        }
        let issuer = Issuer::new(&settings.issuing).map_err(PolicyError::Issuing)?;
        Issuer::new(&settings.root).map_err(PolicyError::Root)?;
        if settings.issuing.len() + settings.root.len() > CHAIN_BYTES_MAX {
            return Err(PolicyError::ChainBytes);
        }
        if !has_signed(&settings.root, &settings.issuing) {
            return Err(PolicyError::Chain);
        }
        let (given, servers) = (settings.nonce_keys.len(), structure.n());
        if given != servers {
            return Err(PolicyError::NonceKeys { given, servers });
        }
        check_profiles(&settings)?;
        check_external_accounts(&settings)?;
        check_officers(&settings.officers)?;
        check_periods(&settings.periods)?;
        check_limits(&settings.limits)?;
        let is_q3 = structure.check_q3().is_ok();
        let encoded = settings.encoded().ok_or(PolicyError::TooLong)?;
        let structure = structure.clone();
        Ok(Self(Arc::new(Checked { settings, issuer, encoded, structure, is_q3 })))
    }

    /// The same authority with other settings; `None` if they make no policy, or would have it sign
    /// with another key or in another's name.
    pub(super) fn amended(&self, settings: Settings) -> Option<Self> {
        let amended = Self::new(settings, &self.0.structure).ok()?;
        let (before, after) = (self.issuer(), amended.issuer());
        let is_the_same = before.public_key() == after.public_key()
            && before.has_the_name_of(after)
            && self.settings().key == amended.settings().key;
        is_the_same.then_some(amended)
    }

    /// As servers tell it each other.
    pub fn encoded(&self) -> &Blob<POLICY_BYTES_MAX> {
        &self.0.encoded
    }

    /// What the operator decided.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The issuing authority.
    pub fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// The URL of a path of the authority.
    pub fn url(&self, path: impl fmt::Display) -> String {
        format!("{}{path}", self.0.settings.base)
    }

    /// The directory of RFC 8555, section 7.1.1.
    pub fn directory(&self) -> Vec<u8> {
        let settings = &self.0.settings;
        let mut meta = Map::new();
        let mut add = |name: &str, value: Value| meta.insert(name.to_owned(), value);
        if !settings.caa_identities.is_empty() {
            add("caaIdentities", json!(settings.caa_identities));
        }
        add("externalAccountRequired", json!(settings.external_account_required));
        let profiles = settings.profiles.iter();
        let profiles = profiles.map(|profile| (profile.name.clone(), json!(profile.description)));
        add("profiles", Value::Object(profiles.collect()));
        if let Some(terms) = &settings.terms_of_service {
            add("termsOfService", json!(terms));
        }
        if let Some(website) = &settings.website {
            add("website", json!(website));
        }
        let directory = json!({
            "newNonce": self.url(NEW_NONCE_PATH),
            "newAccount": self.url(Route::NewAccount),
            "newOrder": self.url(Route::NewOrder),
            "revokeCert": self.url(Route::RevokeCertificate),
            "keyChange": self.url(Route::KeyChange),
            "renewalInfo": self.url(RENEWAL_INFO_PATH),
            "meta": meta,
        });
        directory.to_string().into_bytes()
    }

    /// Where the directory is.
    pub fn directory_url(&self) -> String {
        self.url(DIRECTORY_PATH)
    }

    pub(super) fn profile(&self, name: &str) -> Option<&Profile> {
        self.0.settings.profiles.iter().find(|profile| profile.name == name)
    }

    pub(super) fn external_account(&self, id: &str) -> Option<&ExternalAccount> {
        self.0.settings.external_accounts.iter().find(|account| account.id == id)
    }

    pub(super) fn is_q3(&self) -> bool {
        self.0.is_q3
    }

    /// The URL of what certificates refer to.
    pub(super) fn plain_url(&self, path: &str) -> String {
        format!("{}{path}", self.0.settings.plain_base)
    }
}

/// The host in a base URL: this scheme, a host in lower case and perhaps a port, as they stand in
/// every URL that is compared. Without brackets around an address of version 6.
pub fn host_of<'a>(scheme: &str, base: &'a str) -> Option<&'a str> {
    let rest = base.strip_prefix(scheme)?;
    let (host, port) = match rest.rsplit_once(':') {
        // In brackets the last colon may be one of the address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_of_a_host =
        |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b':' | b'[' | b']');
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_base = base.len() <= BASE_BYTES_MAX
        && !host.is_empty()
        && host.bytes().all(is_of_a_host)
        && port.is_none_or(is_port);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    is_base.then_some(address.unwrap_or(host))
}

/// Has the key of one certificate signed the other?
fn has_signed(root: &[u8], issuing: &[u8]) -> bool {
    let parsed = |der| Certificate::from_der(der).ok();
    let (Some(root), Some(issuing)) = (parsed(root), parsed(issuing)) else { return false };
    let algorithm = match issuing.signature_algorithm.oid {
        SHA_256_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA256,
        SHA_384_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA384,
        SHA_512_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return false,
    };
    let root = &root.tbs_certificate;
    let key = root.subject_public_key_info.subject_public_key.raw_bytes();
    let Ok(content) = issuing.tbs_certificate.to_der() else { return false };
    let key = signature::UnparsedPublicKey::new(algorithm, key);
    issuing.tbs_certificate.issuer == root.subject
        && key.verify(&content, issuing.signature.raw_bytes()).is_ok()
}

fn check_profiles(settings: &Settings) -> Result<(), PolicyError> {
    for profile in &settings.profiles {
        let name = &profile.name;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_once = settings.profiles.iter().filter(|other| other.name == *name).count() == 1;
        let is_short = (1..=PROFILE_BYTES_MAX).contains(&name.len());
        if !is_once || !is_short || !name.bytes().all(is_word) {
            return Err(PolicyError::ProfileName(name.clone()));
        }
        check_period("of a profile", profile.seconds)?;
        check_names(&profile.names, name)?;
    }
    let is_default = |profile: &Profile| profile.name == settings.default_profile;
    if !settings.profiles.iter().any(is_default) {
        return Err(PolicyError::DefaultProfile(settings.default_profile.clone()));
    }
    Ok(())
}

fn check_external_accounts(settings: &Settings) -> Result<(), PolicyError> {
    for account in &settings.external_accounts {
        let same = settings.external_accounts.iter().filter(|other| other.id == account.id);
        let is_named = (1..=BINDING_BYTES_MAX).contains(&account.id.len()) && same.count() == 1;
        if !is_named || account.mac_key.len() < MAC_KEY_BYTES_MIN {
            return Err(PolicyError::ExternalAccount(account.id.clone()));
        }
        check_names(&account.names, &account.id)?;
    }
    Ok(())
}

fn check_officers(officers: &Officers) -> Result<(), PolicyError> {
    let Officers { needed, keys, names } = officers;
    check_names(names, "officers")?;
    let is_once = |key| keys.iter().filter(|other| *other == key).count() == 1;
    let is_nobody = keys.is_empty() && *needed == 0 && *names == NameRules::default();
    let is_some = (1..=keys.len()).contains(needed) && keys.len() <= OFFICERS_MAX;
    match is_nobody || is_some && keys.iter().all(is_once) {
        true => Ok(()),
        false => Err(PolicyError::Officers),
    }
}

fn check_periods(periods: &Periods) -> Result<(), PolicyError> {
    let Periods { order, authorization, validation, crl, ocsp } = *periods;
    check_period("order", order)?;
    check_period("authorization", authorization)?;
    check_period("validation", validation)?;
    check_period("crl", crl)?;
    // Half of it must be something.
    check_period("ocsp", ocsp.saturating_sub(1))
}

fn check_period(name: &'static str, seconds: u64) -> Result<(), PolicyError> {
    match (1..=PERIOD_SECONDS_MAX).contains(&seconds) {
        true => Ok(()),
        false => Err(PolicyError::Period(name)),
    }
}

fn check_names(names: &NameRules, of: &str) -> Result<(), PolicyError> {
    match names.is_well_formed() {
        true => Ok(()),
        false => Err(PolicyError::Names(of.to_owned())),
    }
}

fn check_limits(limits: &Limits) -> Result<(), PolicyError> {
    let each = [
        ("accounts_per_hour", limits.accounts_per_hour, u32::MAX),
        ("orders_per_hour", limits.orders_per_hour, u32::MAX),
        ("pending_authorizations", limits.pending_authorizations, u32::MAX),
        ("certificates_per_week", limits.certificates_per_week, u32::MAX),
        ("names", limits.names, NAMES_MAX as u32),
    ];
    match each.into_iter().find(|(_, limit, most)| !(1..=*most).contains(limit)) {
        None => Ok(()),
        Some((name, ..)) => Err(PolicyError::Limit(name)),
    }
}
