//! Orders: from the names that somebody wants to have certified to the certificate.
//!
//! # Promise
//! - *All names*: an order is ready only while its account holds a valid authorization for each of
//!   its names.
//! - *Ends*: an order is finalized before it expires, or becomes invalid; it never waits for ever.
//!
//! # Rules
//! - O1. An order asks for names that its profile, its account's external account and the issuing
//!   certificate allow, within the limits. What its account holds a valid authorization for is not
//!   validated again.
//! - O2. It is pending until all authorizations are valid, then ready, until it is finalized: see
//!   [`super::issue`]. Whether it is one or the other is not stored but looked up.
//! - O3. It ends, invalid, when it expires, when one of its authorizations ends, when officers
//!   refuse it, or when its account is shut. What is being signed is not called back.
//! - O4. An order may replace a certificate of its account that shares a name with it, unless
//!   another order does that is not invalid.
//!
//! # Bounds
//! [`ORDERS_MAX`] orders of [`ORDERS_BYTES_MAX`] bytes together, each front end an equal share;
//! [`ORDERS_PER_ACCOUNT_MAX`] of one account; the names of one have [`NAMES_BYTES_MAX`] bytes.
//!
//! # Sources
//! RFC 8555 (7.1.3, 7.1.6, 7.4), RFC 9773 (5), draft-ietf-acme-profiles. Choices: (a) `notBefore`
//! and `notAfter` are refused unless the policy allows them; (b) an order expires with the first of
//! the authorizations that it takes over, if that is sooner; (c) an order that officers have to
//! approve is `processing` meanwhile, since that is where clients know how to wait.

use super::account::Account;
use super::answer::{Outcome, Refused, date, from_date, limited, refuse};
use super::audit::{AuditEvent, names_digest};
use super::authorization::{
    AUTHORIZATIONS_BYTES_MAX, AUTHORIZATIONS_MAX, Authorization, SHOWN_SECONDS, not_found,
    weight_of,
};
use super::count::HOUR;
use super::issue::{BACKDATE_SECONDS, certificate_weight, validity};
use super::policy::{PROFILE_BYTES_MAX, Profile};
use super::route::Route;
use super::wire::{AcmeReply, NAMES_MAX};
use super::{Authority, Identifier, Problem, ProblemType, Request, Step, renewal};
use crate::x509::Serial;
use maftia_base::Digest;
use maftia_base::wire::{Blob, EncodeSize, List, wire_enum, wire_struct};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Most orders.
pub(super) const ORDERS_MAX: usize = 16_384;

/// Bytes of all orders in a snapshot.
pub(super) const ORDERS_BYTES_MAX: usize = 16 << 20;

/// Most orders of one account.
const ORDERS_PER_ACCOUNT_MAX: usize = 1024;

/// Bytes of all names of one order, so that its certificate fits into a request to revoke it.
const NAMES_BYTES_MAX: usize = 12 << 10;

/// The most that an order takes in a snapshot without names, authorizations and key.
const ORDER_BYTES_MAX: usize = 160;

/// Longest key that is certified, in DER: RSA of 4096 bits has 550 bytes.
pub(super) const PUBLIC_KEY_BYTES_MAX: usize = 640;

/// After how many seconds a client may look again for its certificate.
const RETRY_SECONDS: u32 = 2;

/// The same, if people have to decide first.
const APPROVAL_RETRY_SECONDS: u32 = 60;

/// What a finalized order wants to have certified besides its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) public_key: Blob<PUBLIC_KEY_BYTES_MAX>,
    pub(super) must_staple: bool,
}

wire_struct!(Wish { public_key, must_staple });

/// Why an order is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    Expired,
    NotValidated,
    AuthorizationEnded,
    Refused,
    AccountShut,
    NotIssuable,
}

wire_enum!(Ending {
    0 => Expired,
    1 => NotValidated,
    2 => AuthorizationEnded,
    3 => Refused,
    4 => AccountShut,
    5 => NotIssuable,
});

impl Ending {
    fn problem(self) -> Problem {
        let (kind, detail) = match self {
            Self::Expired => (ProblemType::Malformed, "the order has expired"),
            Self::NotValidated => (ProblemType::Unauthorized, "a name could not be validated"),
            Self::AuthorizationEnded => (ProblemType::Unauthorized, "an authorization has ended"),
            Self::Refused => (ProblemType::RejectedIdentifier, "officers have refused the order"),
            Self::AccountShut => (ProblemType::Unauthorized, "the account was shut"),
            Self::NotIssuable => (ProblemType::ServerInternal, "no certificate could be made"),
        };
        Problem::new(kind, detail)
    }
}

/// How far an order is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    /// Pending or ready. (O2)
    Open,
    /// Finalized; officers have to approve it.
    Approving(Wish),
    /// The group is signing its certificate.
    Signing(Wish),
    /// It has its certificate.
    Valid { serial: Serial, at: u64 },
    /// It will never have one.
    Invalid { ending: Ending, at: u64 },
}

wire_enum!(Progress {
    0 => Open,
    1 => Approving(wish),
    2 => Signing(wish),
    3 => Valid { serial, at },
    4 => Invalid { ending, at },
});

/// From when to when a client wants its certificate to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Dates {
    pub(super) not_before: Option<u64>,
    pub(super) not_after: Option<u64>,
}

wire_struct!(Dates { not_before, not_after });

/// The word of officers: a bit for each, by their numbers in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Voices {
    pub(super) approvals: u32,
    pub(super) refusals: u32,
}

wire_struct!(Voices { approvals, refusals });

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Order {
    pub(super) account: u64,
    pub(super) progress: Progress,
    pub(super) expires: u64,
    /// In their order, each once.
    pub(super) names: List<Identifier, NAMES_MAX>,
    /// One for each name.
    pub(super) authorizations: List<u64, NAMES_MAX>,
    pub(super) profile: Blob<PROFILE_BYTES_MAX>,
    pub(super) dates: Dates,
    pub(super) replaces: Option<Serial>,
    /// The word of officers, if they have to approve.
    pub(super) voices: Option<Voices>,
}

wire_struct!(Order {
    account,
    progress,
    expires,
    names,
    authorizations,
    profile,
    dates,
    replaces,
    voices,
});

impl Order {
    pub(super) fn is_invalid(&self) -> bool {
        matches!(self.progress, Progress::Invalid { .. })
    }

    /// Does it wait for its authorizations, its client, or officers?
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.progress, Progress::Open | Progress::Approving(_))
    }

    /// Does it wait, and do officers have a say?
    pub(super) fn is_before_officers(&self) -> bool {
        self.is_waiting() && self.voices.is_some()
    }

    /// Is it one of the authorizations without which it cannot go on?
    pub(super) fn needs(&self, authorization: u64) -> bool {
        self.is_waiting() && self.authorizations.contains(&authorization)
    }

    /// When something is to happen to it: it expires, or is forgotten.
    pub(super) fn due(&self) -> Option<u64> {
        match &self.progress {
            Progress::Open | Progress::Approving(_) => Some(self.expires),
            Progress::Signing(_) => None,
            Progress::Valid { at, .. } => Some(self.expires.max(*at).saturating_add(SHOWN_SECONDS)),
            Progress::Invalid { at, .. } => Some(at.saturating_add(SHOWN_SECONDS)),
        }
    }

    /// No less than the bytes that it takes in a snapshot, as long as it lives.
    pub(super) fn weight(&self) -> usize {
        ORDER_BYTES_MAX + PUBLIC_KEY_BYTES_MAX + names_weight(self.names.iter())
    }

    /// The most that its certificate will take, once it is finalized.
    pub(super) fn promised_bytes(&self) -> Option<usize> {
        match &self.progress {
            Progress::Approving(wish) | Progress::Signing(wish) => {
                Some(certificate_weight(&self.names, &wish.public_key))
            }
            _ => None,
        }
    }

    /// Its profile's name.
    pub(super) fn profile_name(&self) -> &str {
        std::str::from_utf8(&self.profile).unwrap_or_default()
    }
}

/// Names, and the numbers of their authorizations.
fn names_weight<'a>(names: impl Iterator<Item = &'a Identifier>) -> usize {
    names.map(|name| name.encode_size() + 8).sum()
}

impl Authority {
    /// Makes an order. (O1, O4)
    pub(super) fn on_new_order(&mut self, request: &Request, step: &Step<'_>) -> Outcome {
        let wish = request.object()?;
        let (id, account) = request.account();
        self.require_agreement(account.has_agreed)?;
        let names = self.names(&wish)?;
        let profile = self.wished_profile(wish.get("profile"))?;
        self.require_permitted(&names, profile, account)?;
        let dates = self.dates(&wish, profile, step)?;
        let replaces = self.replaced(wish.get("replaces"), id, &names)?;
        let profile_name = profile.name.clone();
        let voices = self.needs_approval(&names).then(Voices::default);
        self.require_room(request, &names, step)?;
        // Nothing is refused from here on.
        let order = self.make_order(id, names, step);
        let order = Order {
            profile: Blob::new(profile_name).expect("a policy bounds it"),
            dates,
            replaces,
            voices,
            ..order
        };
        let number = self.insert_order(order, step);
        let order = &self.state.orders[&number];
        let url = self.policy.url(Route::Order(number));
        Ok(AcmeReply::json(201, &self.order_json(number, order)).at(url))
    }

    /// Shows an order.
    pub(super) fn on_order(&self, request: &Request, id: u64) -> Outcome {
        let order = self.own_order(request, id)?;
        request.require_get()?;
        Ok(self.order_reply(id, order))
    }

    pub(super) fn own_order(&self, request: &Request, id: u64) -> Result<&Order, Refused> {
        match self.state.orders.get(&id) {
            None => not_found("there is no such order"),
            Some(order) if order.account != request.account().0 => {
                refuse(ProblemType::Unauthorized, "it is another account's")
            }
            Some(order) => Ok(order),
        }
    }

    pub(super) fn order_reply(&self, id: u64, order: &Order) -> AcmeReply {
        let reply = AcmeReply::json(200, &self.order_json(id, order));
        let reply = reply.at(self.policy.url(Route::Order(id)));
        match order.progress {
            Progress::Approving(_) => reply.retry_after(APPROVAL_RETRY_SECONDS),
            Progress::Signing(_) => reply.retry_after(RETRY_SECONDS),
            _ => reply,
        }
    }

    /// Has it a valid authorization for each name? (O2)
    pub(super) fn is_authorized(&self, order: &Order) -> bool {
        let is_valid = |id| {
            let authorization = self.state.authorizations.get(id);
            authorization.is_some_and(Authorization::is_valid)
        };
        order.authorizations.iter().all(is_valid)
    }

    /// Ends an order, unless it has ended or its certificate is being signed. (O3)
    pub(super) fn end_order(&mut self, id: u64, ending: Ending, now: u64) {
        let order = &self.state.orders[&id];
        if !order.is_waiting() {
            return;
        }
        // Another order may replace it instead. (O4)
        let replaced = order.replaces.and_then(|old| self.state.certificates.get_mut(&old));
        if let Some(certificate) = replaced {
            certificate.replaced_by = None;
        }
        self.change_order(id, |order| {
            order.progress = Progress::Invalid { ending, at: now };
        });
    }

    /// Its time is over. (O3)
    pub(super) fn on_order_due(&mut self, id: u64, now: u64) {
        if self.state.orders[&id].is_waiting() {
            return self.end_order(id, Ending::Expired, now);
        }
        let order = self.state.orders.remove(&id).expect("it is due");
        let account = &self.state.accounts[&order.account];
        self.index.remove_order(id, &order, account);
    }

    pub(super) fn change_order(&mut self, id: u64, change: impl FnOnce(&mut Order)) {
        let order = self.state.orders.get_mut(&id).expect("callers have found it");
        let account = &self.state.accounts[&order.account];
        self.index.remove_order(id, order, account);
        change(order);
        self.index.add_order(id, order, account);
    }

    fn insert_order(&mut self, order: Order, step: &Step<'_>) -> u64 {
        let id = self.state.next_order;
        self.state.next_order += 1;
        let account = self.state.accounts.get_mut(&order.account).expect("it has signed");
        account.used = step.now;
        account.ordered.add(step.now, HOUR);
        self.index.add_order(id, &order, account);
        let event = AuditEvent::OrderCreated {
            order: id,
            account: order.account,
            names: order.names.len() as u16,
            digest: names_digest(order.names.iter()),
        };
        self.state.audit.enter(step.now, event);
        if let Some(replaced) = order.replaces {
            let certificate = self.state.certificates.get_mut(&replaced);
            certificate.expect("just found").replaced_by = Some(id);
        }
        self.state.orders.insert(id, order);
        id
    }

    /// The order with its authorizations: those that are valid, and new ones.
    fn make_order(&mut self, account: u64, names: BTreeSet<Identifier>, step: &Step<'_>) -> Order {
        let mut expires = step.now.saturating_add(self.policy.settings().periods.order);
        let mut authorizations = Vec::new();
        let held: Vec<_> = names.iter().map(|name| self.index.valid(account, name)).collect();
        for id in held.iter().flatten() {
            expires = expires.min(self.state.authorizations[id].expires());
        }
        for (name, held) in names.iter().zip(held) {
            let number = self.state.next_authorization;
            let seed = Digest::of_encoded("maftia ca authorization", &(step.cx.seed(), number));
            authorizations.push(held.unwrap_or_else(|| {
                let new = Authorization::new(account, name.clone(), expires, seed);
                self.insert_authorization(new)
            }));
        }
        Order {
            account,
            progress: Progress::Open,
            expires,
            names: List::new(names.into_iter().collect()).expect("no more than allowed"),
            authorizations: List::new(authorizations).expect("one for each name"),
            profile: Blob::default(),
            dates: Dates::default(),
            replaces: None,
            voices: None,
        }
    }

    /// The names that are asked for, each once.
    fn names(&self, wish: &Map<String, Value>) -> Result<BTreeSet<Identifier>, Refused> {
        let settings = self.policy.settings();
        let Some(asked) = wish.get("identifiers").and_then(Value::as_array) else {
            return refuse(ProblemType::Malformed, "an order has a list of identifiers");
        };
        let most = settings.limits.names as usize;
        if !(1..=most).contains(&asked.len()) {
            let detail = format!("an order has 1 to {most} identifiers");
            return refuse(ProblemType::Malformed, detail);
        }
        let mut names = BTreeSet::new();
        for name in asked {
            let (Some(kind), Some(value)) = (name["type"].as_str(), name["value"].as_str()) else {
                return refuse(ProblemType::Malformed, "an identifier has a type and a value");
            };
            names.insert(match settings.single_labels_allowed {
                true => Identifier::from_acme_internal(kind, value)?,
                false => Identifier::from_acme(kind, value)?,
            });
        }
        if names.iter().map(EncodeSize::encode_size).sum::<usize>() > NAMES_BYTES_MAX {
            let detail = format!("identifiers have at most {NAMES_BYTES_MAX} bytes together");
            return refuse(ProblemType::RejectedIdentifier, detail);
        }
        Ok(names)
    }

    fn wished_profile(&self, name: Option<&Value>) -> Result<&Profile, Refused> {
        let default = || self.policy.settings().default_profile.as_str();
        let name = match name {
            None => Some(default()),
            Some(name) => name.as_str(),
        };
        match name.and_then(|name| self.policy.profile(name)) {
            Some(profile) => Ok(profile),
            None => refuse(ProblemType::InvalidProfile, "there is no such profile"),
        }
    }

    /// Refuses names that may not be certified, and says which.
    fn require_permitted(
        &self,
        names: &BTreeSet<Identifier>,
        profile: &Profile,
        account: &Account,
    ) -> Result<(), Refused> {
        let external = account.binding.as_ref().map(|id| {
            let id = std::str::from_utf8(id).unwrap_or_default();
            self.policy.external_account(id)
        });
        let is_permitted = |name: &&Identifier| {
            profile.names.permits(name)
                && self.policy.issuer().permits(name)
                // Who was thrown out of the policy has nothing any more.
                && external.is_none_or(|account| {
                    account.is_some_and(|account| account.names.permits(name))
                })
        };
        let refused: Vec<_> = names.iter().filter(|name| !is_permitted(name)).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let kind = ProblemType::RejectedIdentifier;
        let mut problem = Problem::new(kind, "certificates for these names are not issued");
        let detail = "not issued to this account in this profile";
        let each = refused.into_iter().map(|name| (name.clone(), kind, detail.to_owned()));
        problem.subproblems = each.collect();
        Err(problem.into())
    }

    /// The dates that are asked for, if any may be.
    fn dates(
        &self,
        wish: &Map<String, Value>,
        profile: &Profile,
        step: &Step<'_>,
    ) -> Result<Dates, Refused> {
        let read = |name: &str| match wish.get(name) {
            None => Ok(None),
            Some(_) if !self.policy.settings().dates_allowed => {
                refuse(ProblemType::Malformed, format!("{name} cannot be chosen"))
            }
            Some(value) => match value.as_str().and_then(from_date) {
                Some(seconds) => Ok(Some(seconds)),
                None => refuse(
                    ProblemType::Malformed,
                    format!("{name} is a time like 2026-01-31T12:00:00Z"),
                ),
            },
        };
        let dates = Dates { not_before: read("notBefore")?, not_after: read("notAfter")? };
        // No earlier than any certificate begins, no later than what is validated now lasts.
        let earliest = step.now.saturating_sub(BACKDATE_SECONDS);
        let latest = step.now.saturating_add(self.policy.settings().periods.authorization);
        let begins_well = dates.not_before.is_none_or(|at| (earliest..=latest).contains(&at));
        match validity(&self.policy, profile, dates, step.now).filter(|_| begins_well) {
            Some(_) => Ok(dates),
            None => refuse(ProblemType::Malformed, "no certificate is issued for these dates"),
        }
    }

    /// The certificate that is to be replaced. (O4)
    fn replaced(
        &self,
        value: Option<&Value>,
        account: u64,
        names: &BTreeSet<Identifier>,
    ) -> Result<Option<Serial>, Refused> {
        let Some(value) = value else { return Ok(None) };
        let named = value.as_str().and_then(|name| renewal::named(&self.policy, name));
        let found = named.and_then(|serial| Some((serial, self.state.certificates.get(&serial)?)));
        let Some((serial, certificate)) = found.filter(|(_, found)| found.account == account)
        else {
            return refuse(ProblemType::Malformed, "replaces names no certificate of the account");
        };
        if !certificate.proofs.iter().any(|proof| names.contains(&proof.identifier)) {
            return refuse(
                ProblemType::Malformed,
                "the certificate to be replaced has other names",
            );
        }
        match certificate.replaced_by {
            Some(_) => {
                refuse(ProblemType::AlreadyReplaced, "another order replaces the certificate")
            }
            None => Ok(Some(serial)),
        }
    }

    /// Refuses what is over a limit, or does not fit.
    fn require_room(
        &self,
        request: &Request,
        names: &BTreeSet<Identifier>,
        step: &Step<'_>,
    ) -> Result<(), Refused> {
        let (id, account) = request.account();
        let limits = self.policy.settings().limits;
        if let Err(seconds) = account.ordered.check(step.now, HOUR, limits.orders_per_hour) {
            return limited(seconds, "too many orders in this hour");
        }
        let held = self.index.holdings(id);
        if held.is_some_and(|held| held.orders.len() >= ORDERS_PER_ACCOUNT_MAX) {
            return limited(HOUR, "the account has too many orders");
        }
        let new = || names.iter().filter(|name| self.index.valid(id, name).is_none());
        let pending = held.map_or(0, |held| held.pending as usize);
        if pending + new().count() > limits.pending_authorizations as usize {
            return limited(HOUR, "the account has too many pending authorizations");
        }
        let (used, n) = (self.index.usage(account.front_end), step.cx.structure.n());
        let bytes = ORDER_BYTES_MAX + PUBLIC_KEY_BYTES_MAX + names_weight(names.iter());
        let bytes_of_new = new().map(weight_of).sum::<usize>();
        let has_room = used.orders < ORDERS_MAX / n
            && used.order_bytes + bytes <= ORDERS_BYTES_MAX / n
            && used.authorizations + new().count() <= AUTHORIZATIONS_MAX / n
            && used.authorization_bytes + bytes_of_new <= AUTHORIZATIONS_BYTES_MAX / n;
        if !has_room {
            return limited(HOUR, "there are too many orders");
        }
        self.require_names_left(names, step.now)
    }

    pub(super) fn order_json(&self, id: u64, order: &Order) -> Value {
        let status = match &order.progress {
            Progress::Open if self.is_authorized(order) => "ready",
            Progress::Open => "pending",
            Progress::Approving(_) | Progress::Signing(_) => "processing",
            Progress::Valid { .. } => "valid",
            Progress::Invalid { .. } => "invalid",
        };
        let identifier =
            |name: &Identifier| json!({ "type": name.acme_type(), "value": name.acme_value() });
        let authorization = |id: &u64| self.policy.url(Route::Authorization(*id));
        let mut shown = json!({
            "status": status,
            "expires": date(order.expires),
            "identifiers": order.names.iter().map(identifier).collect::<Vec<_>>(),
            "authorizations": order.authorizations.iter().map(authorization).collect::<Vec<_>>(),
            "finalize": self.policy.url(Route::Finalize(id)),
            "profile": order.profile_name(),
        });
        for (name, chosen) in
            [("notBefore", order.dates.not_before), ("notAfter", order.dates.not_after)]
        {
            if let Some(chosen) = chosen {
                shown[name] = json!(date(chosen));
            }
        }
        if let Some(replaced) = order.replaces {
            shown["replaces"] = json!(renewal::name(&self.policy, replaced));
        }
        match &order.progress {
            Progress::Valid { serial, .. } => {
                shown["certificate"] = json!(self.policy.url(Route::Certificate(*serial)));
            }
            Progress::Invalid { ending, .. } => {
                let problem = ending.problem().to_json();
                shown["error"] = serde_json::from_slice(&problem).unwrap_or_default();
            }
            _ => {}
        }
        shown
    }
}
