//! Accounts: who asks, and with which key.
//!
//! # Promise
//! - *One key, one account*: at no time do two accounts have the same key.
//! - *Shut for ever*: an account that was deactivated by its holder or revoked by officers gets
//!   nothing any more, as long as it is remembered.
//!
//! # Rules
//! - A1. A new account needs a key that no account has, agreement to the terms if there are any,
//!   the binding to an external account if one is required, and contacts that can be written to.
//! - A2. Asking with a known key gives the account that has it.
//! - A3. An account's holder changes its contacts, deactivates it, or moves it to another key,
//!   which signs too. A key of another account is refused, with the address of that account.
//! - A4. With an account go its open orders and its authorizations. Certificates stay.
//!
//! # Bounds
//! [`ACCOUNTS_MAX`] accounts, each front end an equal share: a corrupt one fills only its own. When
//! the share is full, the account in it that holds nothing and was idle for longest makes room, if
//! it was for [`IDLE_SECONDS`].
//!
//! # Sources
//! RFC 8555, 7.3. Choices: (a) contacts are `mailto` only; (b) an external account may be bound
//! more than once, since its secret is known to all servers anyway; (c) the agreement to the terms
//! is remembered, not to which version.

use super::answer::{Outcome, Refused, limited, refuse, refuse_as};
use super::audit::{AuditEvent, BINDING_BYTES_MAX};
use super::count::{Count, HOUR};
use super::jose::{Binding, Jwk, Jws, KeyRef};
use super::route::Route;
use super::wire::{AcmeReply, Relation};
use super::{Authority, ProblemType, Request, Step};
use maftia_base::Party;
use maftia_base::wire::{Blob, List, wire_enum, wire_struct};
use serde_json::{Map, Value, json};

/// Most accounts.
pub(super) const ACCOUNTS_MAX: usize = 16_384;

/// The most that an account takes in a snapshot.
pub(super) const ACCOUNT_BYTES_MAX: usize = 1200;

/// How long an account must have done nothing before another may take its place: 30 days.
const IDLE_SECONDS: u64 = 30 * 86_400;

const CONTACTS_MAX: usize = 4;
const CONTACT_BYTES_MAX: usize = 128;

/// Orders of one page of the list.
const ORDERS_PAGE_MAX: usize = 100;

/// Whether an account may ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AccountStatus {
    Valid,
    /// By its holder.
    Deactivated,
    /// By officers.
    Revoked,
}

wire_enum!(AccountStatus { 0 => Valid, 1 => Deactivated, 2 => Revoked });

impl AccountStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Deactivated => "deactivated",
            Self::Revoked => "revoked",
        }
    }
}

type Contacts = List<Blob<CONTACT_BYTES_MAX>, CONTACTS_MAX>;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) key: Jwk,
    pub(super) status: AccountStatus,
    contacts: Contacts,
    pub(super) has_agreed: bool,
    /// The external account that it is bound to.
    pub(super) binding: Option<Blob<BINDING_BYTES_MAX>>,
    /// Through which it was made.
    pub(super) front_end: Party,
    /// When it last ordered something, or was made.
    pub(super) used: u64,
    /// Its orders of an hour.
    pub(super) ordered: Count,
}

wire_struct!(Account { key, status, contacts, has_agreed, binding, front_end, used, ordered });

impl Authority {
    /// Makes an account, or finds it. (A1, A2)
    pub(super) fn on_new_account(&mut self, request: &Request, step: &Step<'_>) -> Outcome {
        let key = request.embedded_key();
        let wish = request.object()?;
        if let Some(id) = self.index.by_key.get(&key.thumbprint()) {
            let (id, account) = (*id, &self.state.accounts[id]);
            require_valid(account)?;
            return Ok(self.account_reply(200, id)); // A2
        }
        if flag(&wish, "onlyReturnExisting")? {
            return refuse(ProblemType::AccountDoesNotExist, "no account has this key");
        }
        let has_agreed = flag(&wish, "termsOfServiceAgreed")?;
        self.require_agreement(has_agreed)?;
        let contacts = contacts(wish.get("contact"))?.unwrap_or_default();
        let binding = self.binding(wish.get("externalAccountBinding"), key)?;
        let front_end = step.front_end();
        let made = self.state.accounts_made.get(&front_end).copied().unwrap_or_default();
        let limit = self.policy.settings().limits.accounts_per_hour;
        if let Err(seconds) = made.check(step.now, HOUR, limit) {
            return limited(seconds, "too many new accounts in this hour");
        }
        let evicted = self.room_for_account(front_end, step)?;
        // Nothing is refused from here on.
        if let Some(evicted) = evicted {
            let account = self.state.accounts.remove(&evicted).expect("just found");
            self.index.remove_account(&account);
        }
        let mut made = made;
        made.add(step.now, HOUR);
        self.state.accounts_made.insert(front_end, made);
        let id = self.state.next_account;
        self.state.next_account += 1;
        let account = Account {
            key: key.clone(),
            status: AccountStatus::Valid,
            contacts,
            has_agreed,
            binding: binding.clone(),
            front_end,
            used: step.now,
            ordered: Count::default(),
        };
        self.index.add_account(id, &account);
        self.state.accounts.insert(id, account);
        let thumbprint = key.thumbprint();
        let event = AuditEvent::AccountCreated { account: id, thumbprint, front_end, binding };
        self.state.audit.enter(step.now, event);
        Ok(self.account_reply(201, id))
    }

    /// Shows an account, or changes it as its holder wishes. (A3)
    pub(super) fn on_account(&mut self, request: &Request, id: u64, step: &Step<'_>) -> Outcome {
        require_own(request, id)?;
        if request.is_get() {
            return Ok(self.account_reply(200, id));
        }
        let wish = request.object()?;
        match wish.get("status").map(|status| status.as_str()) {
            None => {}
            Some(Some("deactivated")) => {
                self.shut_account(id, AccountStatus::Deactivated, step);
                let event = AuditEvent::AccountDeactivated { account: id };
                self.state.audit.enter(step.now, event);
                return Ok(self.account_reply(200, id));
            }
            Some(_) => return refuse(ProblemType::Malformed, "an account can be \"deactivated\""),
        }
        let contacts = contacts(wish.get("contact"))?;
        let has_agreed = flag(&wish, "termsOfServiceAgreed")?;
        let account = self.state.accounts.get_mut(&id).expect("it has signed");
        if let Some(contacts) = contacts {
            account.contacts = contacts;
        }
        account.has_agreed |= has_agreed;
        Ok(self.account_reply(200, id))
    }

    /// The orders of an account that are of use, from one number on.
    pub(super) fn on_orders(&self, request: &Request, id: u64, from: u64) -> Outcome {
        require_own(request, id)?;
        request.require_get()?;
        let own = self.index.holdings(id).into_iter().flat_map(|held| held.orders.range(from..));
        let mut useful = own.filter(|order| !self.state.orders[*order].is_invalid());
        let page: Vec<u64> = useful.by_ref().take(ORDERS_PAGE_MAX).copied().collect();
        let urls = page.iter().map(|order| self.policy.url(Route::Order(*order)));
        let reply = AcmeReply::json(200, &json!({ "orders": urls.collect::<Vec<_>>() }));
        Ok(match useful.next() {
            None => reply,
            Some(next) => reply.linked(self.policy.url(Route::Orders(id, *next)), Relation::Next),
        })
    }

    /// Moves an account to another key. (A3)
    pub(super) fn on_key_change(&mut self, request: &Request, step: &Step<'_>) -> Outcome {
        let (id, account) = request.account();
        let inner = Value::Object(request.object()?);
        let inner = Jws::parse_inner(&inner)?;
        let KeyRef::Jwk(new) = inner.key() else {
            return refuse(ProblemType::Malformed, "the inner JWS has the new key in it");
        };
        inner.verify(new)?;
        if inner.url() != self.policy.url(Route::KeyChange) {
            return refuse(ProblemType::Malformed, "the inner JWS is for another URL");
        }
        let change: Value = serde_json::from_slice(inner.payload()).unwrap_or_default();
        if change["account"] != self.policy.url(Route::Account(id)) {
            return refuse(ProblemType::Malformed, "the inner JWS is about another account");
        }
        if Jwk::from_json(&change["oldKey"])? != account.key {
            return refuse(ProblemType::Malformed, "oldKey is not the account's key");
        }
        let thumbprint = new.thumbprint();
        if let Some(holder) = self.index.by_key.get(&thumbprint) {
            let taken = refuse_as(409, ProblemType::Malformed, "an account has this key");
            let holder = self.policy.url(Route::Account(*holder));
            return taken.map_err(|refused| refused.at(holder));
        }
        let account = self.state.accounts.get_mut(&id).expect("it has signed");
        self.index.remove_account(account);
        account.key = new.clone();
        self.index.add_account(id, account);
        let event = AuditEvent::AccountKeyChanged { account: id, thumbprint };
        self.state.audit.enter(step.now, event);
        Ok(self.account_reply(200, id))
    }

    /// Shuts an account, with what is under way for it. (A4)
    pub(super) fn shut_account(&mut self, id: u64, status: AccountStatus, step: &Step<'_>) {
        let account = self.state.accounts.get_mut(&id).expect("callers have found it");
        account.status = status;
        let held = self.index.holdings(id).cloned().unwrap_or_default();
        for order in held.orders {
            self.end_order(order, super::order::Ending::AccountShut, step.now);
        }
        for authorization in held.authorizations {
            self.deactivate_authorization(authorization, step.now);
        }
    }

    /// Has somebody agreed to the terms, if there are any?
    pub(super) fn require_agreement(&self, has_agreed: bool) -> Result<(), Refused> {
        match &self.policy.settings().terms_of_service {
            Some(terms) if !has_agreed => {
                let detail = format!("the terms at {terms} are to be agreed to");
                let refused = refuse(ProblemType::UserActionRequired, detail);
                let terms = terms.clone();
                refused.map_err(|refused: Refused| refused.linked(terms, Relation::TermsOfService))
            }
            _ => Ok(()),
        }
    }

    /// The external account that vouches for this key. (A1)
    fn binding(
        &self,
        binding: Option<&Value>,
        key: &Jwk,
    ) -> Result<Option<Blob<BINDING_BYTES_MAX>>, Refused> {
        let Some(binding) = binding else {
            return match self.policy.settings().external_account_required {
                true => refuse(
                    ProblemType::ExternalAccountRequired,
                    "an account has to be bound to an external one",
                ),
                false => Ok(None),
            };
        };
        let binding = Binding::parse(binding)?;
        let Some(external) = self.policy.external_account(binding.kid()) else {
            return refuse(ProblemType::Unauthorized, "there is no such external account");
        };
        binding.verify(&external.mac_key, key, &self.policy.url(Route::NewAccount))?;
        Ok(Some(Blob::new(external.id.clone()).expect("a policy bounds it")))
    }

    /// Which account makes room for another one, if one must.
    fn room_for_account(&self, front_end: Party, step: &Step<'_>) -> Result<Option<u64>, Refused> {
        if self.index.usage(front_end).accounts < ACCOUNTS_MAX / step.cx.structure.n() {
            return Ok(None);
        }
        let is_idle = |id: &u64, account: &Account| {
            account.front_end == front_end
                && account.used.saturating_add(IDLE_SECONDS) <= step.now
                && self.index.holdings(*id).is_none()
        };
        let idle = self.state.accounts.iter().filter(|(id, account)| is_idle(id, account));
        match idle.min_by_key(|(id, account)| (account.used, **id)) {
            Some((id, _)) => Ok(Some(*id)),
            None => limited(HOUR, "there are too many accounts"),
        }
    }

    fn account_reply(&self, status: u16, id: u64) -> AcmeReply {
        let account = &self.state.accounts[&id];
        let contacts = account.contacts.iter().map(|contact| String::from_utf8_lossy(contact));
        let shown = json!({
            "status": account.status.name(),
            "contact": contacts.collect::<Vec<_>>(),
            "termsOfServiceAgreed": account.has_agreed,
            "orders": self.policy.url(Route::Orders(id, 0)),
        });
        AcmeReply::json(status, &shown).at(self.policy.url(Route::Account(id)))
    }
}

/// Refuses an account that was shut.
pub(super) fn require_valid(account: &Account) -> Result<(), Refused> {
    match account.status {
        AccountStatus::Valid => Ok(()),
        shut => {
            refuse_as(401, ProblemType::Unauthorized, format!("the account is {}", shut.name()))
        }
    }
}

/// Refuses who asks about the account of another.
fn require_own(request: &Request, id: u64) -> Result<(), Refused> {
    match request.account().0 == id {
        true => Ok(()),
        false => refuse(ProblemType::Unauthorized, "it is another account's"),
    }
}

/// A field that is true, false, or not there.
fn flag(wish: &Map<String, Value>, name: &str) -> Result<bool, Refused> {
    match wish.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => refuse(ProblemType::Malformed, format!("{name} is true or false")),
    }
}

/// The contacts that an account wants to have; `None` if it says nothing about it.
fn contacts(value: Option<&Value>) -> Result<Option<Contacts>, Refused> {
    let Some(value) = value else { return Ok(None) };
    let Some(values) = value.as_array() else {
        return refuse(ProblemType::Malformed, "contact is a list");
    };
    let contacts = values.iter().map(contact).collect::<Result<_, _>>()?;
    match List::new(contacts) {
        Some(contacts) => Ok(Some(contacts)),
        None => refuse(
            ProblemType::InvalidContact,
            format!("an account has at most {CONTACTS_MAX} contacts"),
        ),
    }
}

/// One address to write to, in printable ASCII; nothing else that such a URL can carry.
fn contact(value: &Value) -> Result<Blob<CONTACT_BYTES_MAX>, Refused> {
    let Some(url) = value.as_str() else {
        return refuse(ProblemType::Malformed, "a contact is a text");
    };
    let Some(address) = url.strip_prefix("mailto:") else {
        return refuse(ProblemType::UnsupportedContact, "contacts are mailto: URLs");
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b",?&%<>()\"\\;:[]".contains(&byte);
    let parts: Vec<&str> = address.split('@').collect();
    let is_address = match parts[..] {
        [local, host] => !local.is_empty() && super::DnsName::new(host).is_ok(),
        _ => false,
    };
    match Blob::new(url.to_owned()) {
        Some(contact) if is_address && address.bytes().all(is_plain) => Ok(contact),
        _ => refuse(
            ProblemType::InvalidContact,
            format!("a contact is one address of at most {CONTACT_BYTES_MAX} characters"),
        ),
    }
}
