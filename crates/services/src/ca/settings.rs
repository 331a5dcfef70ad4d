//! What an operator decides, as bytes and back: so that servers can tell each other, and a group
//! can change its mind.

use super::names::NameRules;
use super::nonce::NonceKey;
use super::policy::{
    ExternalAccount, Limits, Officers, PROFILE_BYTES_MAX, Periods, Profile, Settings,
};
use super::wire::{BASE_BYTES_MAX, OFFICERS_MAX};
use super::{BINDING_BYTES_MAX, DNS_NAME_BYTES_MAX};
use crate::x509::{IpRange, Usage};
use const_oid::ObjectIdentifier;
use maftia_base::PARTIES_MAX;
use maftia_base::wire::{Blob, Bytes, List, Wire, wire_enum, wire_struct};
use maftia_crypto::{ClientKey, KeyId};
use std::fmt::Display;
use std::str::FromStr;

/// Longest encoding of a policy: it is the result of a task.
pub const POLICY_BYTES_MAX: usize = 16_000;

const _: () = assert!(POLICY_BYTES_MAX <= maftia_activity::TASK_BYTES_MAX);

/// Most profiles, and most external accounts.
const LISTED_MAX: usize = 256;

/// Most names, and most ranges of addresses, in one list.
const NAMED_MAX: usize = 512;

/// Longest text that is for people.
const TEXT_BYTES_MAX: usize = 1024;

type Text = Blob<TEXT_BYTES_MAX>;

wire_enum!(Usage { 0 => Server, 1 => Client, 2 => Both });

/// [`NameRules`], as text.
struct Rules {
    dns: List<Blob<DNS_NAME_BYTES_MAX>, NAMED_MAX>,
    ips: List<Blob<64>, NAMED_MAX>,
}

wire_struct!(Rules { dns, ips });

/// [`Profile`].
struct Kind {
    name: Blob<PROFILE_BYTES_MAX>,
    description: Text,
    usage: Usage,
    policy: Blob<128>,
    seconds: u64,
    names: Rules,
}

wire_struct!(Kind { name, description, usage, policy, seconds, names });

/// [`ExternalAccount`].
struct External {
    id: Blob<BINDING_BYTES_MAX>,
    mac_key: Blob<256>,
    names: Rules,
}

wire_struct!(External { id, mac_key, names });

wire_struct!(Limits {
    accounts_per_hour,
    orders_per_hour,
    pending_authorizations,
    certificates_per_week,
    names,
});

wire_struct!(Periods { order, authorization, validation, crl, ocsp });

/// [`Officers`].
struct People {
    needed: u16,
    keys: List<ClientKey, OFFICERS_MAX>,
    names: Rules,
}

wire_struct!(People { needed, keys, names });

/// [`Settings`].
struct All {
    base: Blob<BASE_BYTES_MAX>,
    plain_base: Blob<BASE_BYTES_MAX>,
    key: KeyId,
    issuing: Blob<POLICY_BYTES_MAX>,
    root: Blob<POLICY_BYTES_MAX>,
    nonce_keys: List<NonceKey, PARTIES_MAX>,
    profiles: List<Kind, LISTED_MAX>,
    default_profile: Blob<PROFILE_BYTES_MAX>,
    terms_of_service: Option<Text>,
    website: Option<Text>,
    caa_identities: List<Text, 16>,
    external_account_required: bool,
    external_accounts: List<External, LISTED_MAX>,
    limits: Limits,
    officers: People,
    periods: Periods,
    dates_allowed: bool,
    single_labels_allowed: bool,
}

wire_struct!(All {
    base,
    plain_base,
    key,
    issuing,
    root,
    nonce_keys,
    profiles,
    default_profile,
    terms_of_service,
    website,
    caa_identities,
    external_account_required,
    external_accounts,
    limits,
    officers,
    periods,
    dates_allowed,
    single_labels_allowed,
});

impl Settings {
    /// As bytes; `None` if it is too much for a policy.
    pub fn encoded(&self) -> Option<Blob<POLICY_BYTES_MAX>> {
        Blob::new(All::of(self)?.to_wire())
    }

    /// From [`encoded`](Self::encoded). Whether they make a policy is another question.
    pub fn decoded(bytes: &[u8]) -> Option<Self> {
        All::from_wire(Bytes::copy_from_slice(bytes)).ok()?.settings()
    }
}

fn blob<const MAX: usize>(text: &str) -> Option<Blob<MAX>> {
    Blob::new(text.as_bytes().to_vec())
}

fn shown<const MAX: usize>(value: &impl Display) -> Option<Blob<MAX>> {
    blob(&value.to_string())
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn parsed<T: FromStr + Display>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    // What is equal has equal bytes.
    text.parse().ok().filter(|value: &T| value.to_string() == text)
}

/// Each of them, or nothing.
fn each<A, B, const MAX: usize>(all: &[A], one: impl Fn(&A) -> Option<B>) -> Option<List<B, MAX>> {
    List::new(all.iter().map(one).collect::<Option<Vec<B>>>()?)
}

impl Rules {
    fn of(rules: &NameRules) -> Option<Self> {
        Some(Self { dns: each(&rules.dns, |name| blob(name))?, ips: each(&rules.ips, shown)? })
    }

    fn rules(&self) -> Option<NameRules> {
        let dns = self.dns.iter().map(|name| text(name)).collect::<Option<_>>()?;
        let ips = self.ips.iter().map(|range| parsed::<IpRange>(range)).collect::<Option<_>>()?;
        Some(NameRules { dns, ips })
    }
}

impl Kind {
    fn of(profile: &Profile) -> Option<Self> {
        Some(Self {
            name: blob(&profile.name)?,
            description: blob(&profile.description)?,
            usage: profile.usage,
            policy: shown(&profile.policy)?,
            seconds: profile.seconds,
            names: Rules::of(&profile.names)?,
        })
    }

    fn profile(&self) -> Option<Profile> {
        Some(Profile {
            name: text(&self.name)?,
            description: text(&self.description)?,
            usage: self.usage,
            policy: object_identifier(&self.policy)?,
            seconds: self.seconds,
            names: self.names.rules()?,
        })
    }
}

/// The library takes no arc of 2^28 or more, and its arithmetic must not be given one.
fn object_identifier(bytes: &[u8]) -> Option<ObjectIdentifier> {
    let text = std::str::from_utf8(bytes).ok()?;
    let small = |arc: &str| arc.len() <= 9 && arc.parse::<u32>().is_ok_and(|arc| arc < 1 << 28);
    text.split('.').all(small).then(|| parsed(bytes)).flatten()
}

impl External {
    fn of(account: &ExternalAccount) -> Option<Self> {
        Some(Self {
            id: blob(&account.id)?,
            mac_key: Blob::new(account.mac_key.clone())?,
            names: Rules::of(&account.names)?,
        })
    }

    fn account(&self) -> Option<ExternalAccount> {
        let (id, names) = (text(&self.id)?, self.names.rules()?);
        Some(ExternalAccount { id, mac_key: self.mac_key.to_vec(), names })
    }
}

impl All {
    fn of(settings: &Settings) -> Option<Self> {
        let optional = |text: &Option<String>| match text {
            None => Some(None),
            Some(text) => blob(text).map(Some),
        };
        let Officers { needed, keys, names } = &settings.officers;
        Some(Self {
            base: blob(&settings.base)?,
            plain_base: blob(&settings.plain_base)?,
            key: settings.key,
            issuing: Blob::new(settings.issuing.clone())?,
            root: Blob::new(settings.root.clone())?,
            nonce_keys: List::new(settings.nonce_keys.clone())?,
            profiles: each(&settings.profiles, Kind::of)?,
            default_profile: blob(&settings.default_profile)?,
            terms_of_service: optional(&settings.terms_of_service)?,
            website: optional(&settings.website)?,
            caa_identities: each(&settings.caa_identities, |name| blob(name))?,
            external_account_required: settings.external_account_required,
            external_accounts: each(&settings.external_accounts, External::of)?,
            limits: settings.limits,
            officers: People {
                needed: u16::try_from(*needed).ok()?,
                keys: List::new(keys.clone())?,
                names: Rules::of(names)?,
            },
            periods: settings.periods,
            dates_allowed: settings.dates_allowed,
            single_labels_allowed: settings.single_labels_allowed,
        })
    }

    fn settings(&self) -> Option<Settings> {
        let optional = |bytes: &Option<Text>| match bytes {
            None => Some(None),
            Some(bytes) => text(bytes).map(Some),
        };
        let People { needed, keys, names } = &self.officers;
        Some(Settings {
            base: text(&self.base)?,
            plain_base: text(&self.plain_base)?,
            key: self.key,
            issuing: self.issuing.to_vec(),
            root: self.root.to_vec(),
            nonce_keys: self.nonce_keys.to_vec(),
            profiles: self.profiles.iter().map(Kind::profile).collect::<Option<_>>()?,
            default_profile: text(&self.default_profile)?,
            terms_of_service: optional(&self.terms_of_service)?,
            website: optional(&self.website)?,
            caa_identities: self.caa_identities.iter().map(|it| text(it)).collect::<Option<_>>()?,
            external_account_required: self.external_account_required,
            external_accounts: self
                .external_accounts
                .iter()
                .map(External::account)
                .collect::<Option<_>>()?,
            limits: self.limits,
            officers: Officers {
                needed: (*needed).into(),
                keys: keys.to_vec(),
                names: names.rules()?,
            },
            periods: self.periods,
            dates_allowed: self.dates_allowed,
            single_labels_allowed: self.single_labels_allowed,
        })
    }
}
