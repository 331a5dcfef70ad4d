//! The certification authority among the services of whole servers: its policy, what its servers
//! see of the outside, who asks for certificates, and what must hold of what it signs.
//!
//! # The outside
//! A name says whose it is: `host-3.of-7.example.org` is client 7's. Honest servers see that, and
//! nothing else, but for one that the intruder has deceived: it sees whatever anybody wants to be
//! seen. Corrupt servers say yes to everything.
//!
//! # What must hold
//! - *issuance*: whatever any honest server's state has for a certificate is for its holder, and
//!   what a client was given stands in the log of all.
//! - *secrecy*: no honest server gives a share of a signature on what no honest server's state
//!   wanted signed. What the corrupt ones hold of any other signature is then their own shares,
//!   which are too few.

mod errands;
mod holder;

pub use errands::{Errands, Sight};
pub use holder::Wish;

use super::AUTHORITY;
use super::service::NOTARY_KEY;
use super::suite::{WholeSuite, notary_keys};
use crate::plan::Plan;
use crate::world::Shape;
use maftia_activity::StateMachine;
use maftia_base::time::Reading;
use maftia_base::wire::Wire;
use maftia_base::{AdversaryStructure, Digest, Party, PartySet};
use maftia_crypto::{Done, KeyId, RealKeyring, RealSuite, SigningInput, Suite, Work};
use maftia_services::ca::{
    AuditEvent, Authority, CaAnswer, CaQuery, CaRead, DnsName, Identifier, Limits, NameRules,
    NonceKey, Officers, Periods, Policy, Profile, Settings, Validation,
};
use maftia_services::x509::{self, DOMAIN_VALIDATED, Serial, Subject, Usage, rsa_public_key};
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use openssl::x509::X509;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What the authority is called.
const BASE: &str = "https://ca.example.org";

const DAY: u64 = 86_400;

/// The authority of a group of this structure in its initial state.
pub fn authority(structure: &AdversaryStructure) -> Authority {
    Authority::new(Policy::new(settings(structure.n()), structure).expect("it can be kept"))
}

fn settings(servers: usize) -> Settings {
    let certificate = certificate().to_vec();
    Settings {
        base: BASE.to_owned(),
        plain_base: "http://ca.example.org".to_owned(),
        key: NOTARY_KEY,
        issuing: certificate.clone(),
        root: certificate,
        nonce_keys: (0..servers).map(|server| Key::of_nonces(server).public()).collect(),
        profiles: vec![Profile {
            name: "web".to_owned(),
            description: "of hosts".to_owned(),
            usage: Usage::Both,
            policy: DOMAIN_VALIDATED,
            seconds: 90 * DAY,
            names: NameRules::everything(),
        }],
        default_profile: "web".to_owned(),
        terms_of_service: None,
        website: None,
        caa_identities: Vec::new(),
        external_account_required: false,
        external_accounts: Vec::new(),
        limits: Limits {
            accounts_per_hour: 1000,
            orders_per_hour: 1000,
            pending_authorizations: 1000,
            certificates_per_week: 1000,
            names: 100,
        },
        officers: Officers { needed: 0, keys: Vec::new(), names: NameRules::default() },
        periods: Periods {
            order: 7 * DAY,
            authorization: 30 * DAY,
            validation: 600,
            crl: DAY,
            ocsp: 4 * DAY,
        },
        dates_allowed: false,
        single_labels_allowed: false,
    }
}

/// Of an authority that is its own root.
fn certificate() -> &'static [u8] {
    static CERTIFICATE: OnceLock<Vec<u8>> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let (modulus, exponent) = notary_keys().rsa(NOTARY_KEY).expect("dealt with a key");
        let public_key = rsa_public_key(&modulus, &exponent).expect("well-formed");
        let authority = x509::Authority {
            subject: Subject { country: None, organization: "Drill", common_name: "Drill" },
            serial: Serial::new([6; 16]).expect("positive"),
            public_key: &public_key,
            not_before: 1_700_000_000,
            not_after: 2_200_000_000,
            path_len: None,
            names: None,
        };
        let unsigned = authority.self_signed().expect("well-formed");
        unsigned.finish(&signature(unsigned.signing_input()))
    })
}

/// The group's, with the cryptography of production.
fn signature(input: SigningInput) -> Vec<u8> {
    let keyrings = RealSuite::servers(Shape::Four);
    let run = |work, keyring: &RealKeyring| {
        RealSuite::run_many(vec![work], keyring, Reading::default()).pop()
    };
    let share = |(index, keyring): (usize, &Arc<RealKeyring>)| {
        let key = NOTARY_KEY;
        match run(Work::SignatureShare { key, input: input.clone(), with_proof: false }, keyring) {
            Some(Done::SignatureShare(share)) => (Party::new(index), share),
            other => panic!("{other:?} is no share"),
        }
    };
    let shares = keyrings.iter().enumerate().map(share).collect();
    match run(
        Work::CombineSignature { key: NOTARY_KEY, input: input.clone(), shares },
        &keyrings[0],
    ) {
        Some(Done::Signature { signature: Some(signature), .. }) => signature.to_vec(),
        other => panic!("{other:?} is no signature"),
    }
}

/// An Ed25519 key.
struct Key(PKey<Private>);

impl Key {
    fn from_seed(seed: [u8; 32]) -> Self {
        Self(PKey::private_key_from_raw_bytes(&seed, Id::ED25519).expect("any seed is a key"))
    }

    /// Of the server with this number, for its nonces.
    fn of_nonces(server: usize) -> Self {
        Self::from_seed([1 + server as u8; 32])
    }

    /// Of the account of client `number`.
    fn of_account(number: u64) -> Self {
        Self::numbered(0xac, number)
    }

    /// Of the hosts of client `number`.
    fn of_hosts(number: u64) -> Self {
        Self::numbered(0x05, number)
    }

    fn numbered(kind: u8, number: u64) -> Self {
        let mut seed = [kind; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        Self::from_seed(seed)
    }

    fn public(&self) -> NonceKey {
        let bytes = self.0.raw_public_key().expect("it has one");
        NonceKey(bytes.try_into().expect("32 bytes"))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new_without_digest(&self.0).expect("it can sign");
        signer.sign_oneshot_to_vec(message).expect("it can sign")
    }
}

/// The thumbprint (RFC 7638) of the account key of client `number`, as it stands in challenges.
fn thumbprint(number: u64) -> String {
    static KNOWN: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let text = holder::jwk(&Key::of_account(number)).to_string();
        maftia_services::ca::jose::base64url::encode(&openssl::sha::sha256(text.as_bytes()))
    };
    known.entry(number).or_insert_with(make).clone()
}

/// A name of client `number`.
fn name(number: u64, host: u64) -> String {
    format!("host-{host}.of-{number}.example.org")
}

/// Whose name it is.
fn holder_of(name: &str) -> Option<u64> {
    name.strip_suffix(".example.org")?.split_once(".of-")?.1.parse().ok()
}

/// Does an honest server see what a challenge asks for?
fn is_there(validation: &Validation) -> bool {
    let Identifier::Dns(name) = &validation.identifier else { return false };
    let Some(holder) = holder_of(&DnsName::to_string(name)) else { return false };
    let wanted = [&validation.token[..], b".", thumbprint(holder).as_bytes()].concat();
    validation.key_authorization[..] == wanted
}

/// What each server sees of the outside, in runs with an authority. The deceived one could as well
/// be corrupt, so that what it says together with those that are proves nothing.
pub fn sights(plan: &Plan, structure: &AdversaryStructure) -> Option<Vec<Sight>> {
    if plan.protocol != AUTHORITY.name {
        return None;
    }
    let corrupt = plan.corrupt();
    let all = PartySet::all(structure.n());
    let could_be = |party: &Party| structure.may_be_corrupt([*party].into_iter().collect());
    let deceived = all.difference(corrupt).iter().find(could_be);
    let sight = |party| match corrupt.contains(party) {
        true => Sight::Corrupt,
        false if deceived == Some(party) => Sight::Deceived,
        false => Sight::Honest,
    };
    Some(all.iter().map(sight).collect())
}

/// What the states of honest servers wanted signed in a run. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<Mutex<BTreeSet<(KeyId, SigningInput)>>>);

impl Wanted {
    /// An honest server's state wants this signed.
    pub fn add(&self, key: KeyId, input: &SigningInput) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.insert((key, input.clone()));
    }

    /// Did any?
    pub fn has(&self, key: KeyId, input: &SigningInput) -> bool {
        let wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.contains(&(key, input.clone()))
    }
}

/// The certificates of an authority, by their digests, and whatever is wrong with one.
pub fn certificates(authority: &Authority) -> (BTreeSet<Digest>, Vec<String>) {
    let ask = |query| {
        let answer = authority.read(&CaRead::Query(query).to_wire())?;
        CaAnswer::from_wire(answer).ok()
    };
    let (mut accounts, mut found, mut wrong) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut from = 0;
    while let Some(CaAnswer::Log(page)) = ask(CaQuery::Log { from }) {
        for entry in page.entries.iter() {
            match &entry.event {
                AuditEvent::AccountCreated { account, thumbprint, .. } => {
                    accounts.insert(*account, *thumbprint);
                }
                AuditEvent::Issued { serial, account, .. } => {
                    let Some(CaAnswer::Certificate(view)) =
                        ask(CaQuery::Inspect { serial: *serial })
                    else {
                        wrong.push(format!("certificate {serial:?} is nowhere"));
                        continue;
                    };
                    let thumbprint = accounts.get(account).copied().unwrap_or_default();
                    found.insert(digest_of(&view.certificate));
                    wrong.extend(misissued(&view.certificate, thumbprint));
                }
                _ => {}
            }
            from = entry.number + 1;
        }
        if from >= page.length {
            break;
        }
    }
    (found, wrong)
}

fn digest_of(certificate: &[u8]) -> Digest {
    Digest::of("drill: certificate", certificate)
}

/// Why the account with this thumbprint should not have been given a certificate.
fn misissued(certificate: &[u8], thumbprint_of_account: [u8; 32]) -> Option<String> {
    let account = maftia_services::ca::jose::base64url::encode(&thumbprint_of_account);
    let Ok(certificate) = X509::from_der(certificate) else {
        return Some("a certificate is none".to_owned());
    };
    let names = certificate.subject_alt_names().into_iter().flatten();
    let names: Vec<Option<String>> = names.map(|name| name.dnsname().map(str::to_owned)).collect();
    if names.is_empty() {
        return Some("a certificate is for nobody".to_owned());
    }
    names.into_iter().find_map(|name| {
        let name = name.unwrap_or_default();
        match holder_of(&name).map(thumbprint) {
            Some(holder) if holder == account => None,
            _ => Some(format!("{name} is certified for a client whose it is not")),
        }
    })
}
