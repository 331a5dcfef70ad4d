//! What is known about the state without searching it: a function of the state, kept up to date.
//!
//! # Promise
//! At any time it is what [`Index::of`] makes of the state: so a restored state has the same.

use super::account::Account;
use super::agenda::{Agenda, Due};
use super::authorization::Authorization;
use super::issue::Certificate;
use super::order::Order;
use super::{Identifier, State};
use crate::x509::Serial;
use maftia_activity::TaskId;
use maftia_base::Party;
use maftia_base::wire::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What the state holds of one account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Holdings {
    pub(super) orders: BTreeSet<u64>,
    pub(super) authorizations: BTreeSet<u64>,
    /// How many of these are pending.
    pub(super) pending: u32,
    pub(super) certificates: BTreeSet<Serial>,
}

impl Holdings {
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.authorizations.is_empty() && self.certificates.is_empty()
    }
}

/// What the state holds of all accounts that were made through one front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Usage {
    pub(super) accounts: usize,
    pub(super) orders: usize,
    pub(super) order_bytes: usize,
    pub(super) authorizations: usize,
    pub(super) authorization_bytes: usize,
    pub(super) validations: usize,
}

/// What is known about the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Index {
    /// Accounts by the thumbprints of their keys.
    pub(super) by_key: BTreeMap<[u8; 32], u64>,
    /// What accounts hold; none without anything.
    holdings: BTreeMap<u64, Holdings>,
    /// Valid authorizations by account and identifier; there can be several for the same.
    valid: BTreeSet<(u64, Identifier, u64)>,
    usage: BTreeMap<Party, Usage>,
    /// Bytes of certificates, those included that finalized orders will have.
    pub(super) certificate_bytes: usize,
    /// Finalized orders without a certificate.
    pub(super) promised: usize,
    /// Orders that wait, and on which officers have a say.
    pub(super) before_officers: BTreeSet<u64>,
    pub(super) agenda: Agenda,
    /// The validations that are wanted, encoded.
    pub(super) validations: BTreeMap<TaskId, Bytes>,
}

impl Index {
    /// What is known about `state`; `None` if it refers to what is not there.
    pub(super) fn of(state: &State) -> Option<Self> {
        let mut index = Self::default();
        for (id, account) in state.accounts.iter() {
            index.add_account(*id, account);
        }
        if index.by_key.len() != state.accounts.len() {
            return None;
        }
        for (id, authorization) in state.authorizations.iter() {
            index.add_authorization(
                *id,
                authorization,
                state.accounts.get(&authorization.account)?,
            );
        }
        for (id, order) in state.orders.iter() {
            index.add_order(*id, order, state.accounts.get(&order.account)?);
        }
        for (serial, certificate) in state.certificates.iter() {
            index.add_certificate(*serial, certificate);
        }
        for (command, motion) in state.motions.iter() {
            index.agenda.insert(motion.expires, Due::Motion(*command));
        }
        if let Some(due) = state.amendment.expires {
            index.agenda.insert(due, Due::Amendment);
        }
        if let Some(due) = state.crl.due {
            index.agenda.insert(due, Due::Crl);
        }
        Some(index)
    }

    /// What an account holds.
    pub(super) fn holdings(&self, account: u64) -> Option<&Holdings> {
        self.holdings.get(&account)
    }

    /// The last of an account's valid authorizations for an identifier.
    pub(super) fn valid(&self, account: u64, identifier: &Identifier) -> Option<u64> {
        let key = |id| (account, identifier.clone(), id);
        self.valid.range(key(0)..=key(u64::MAX)).next_back().map(|(_, _, id)| *id)
    }

    /// What the accounts of a front end hold.
    pub(super) fn usage(&self, front_end: Party) -> Usage {
        self.usage.get(&front_end).copied().unwrap_or_default()
    }

    pub(super) fn add_account(&mut self, id: u64, account: &Account) {
        self.by_key.insert(account.key.thumbprint(), id);
        self.usage.entry(account.front_end).or_default().accounts += 1;
    }

    pub(super) fn remove_account(&mut self, account: &Account) {
        self.by_key.remove(&account.key.thumbprint());
        self.change_usage(account, |usage| usage.accounts -= 1);
    }

    pub(super) fn add_order(&mut self, id: u64, order: &Order, account: &Account) {
        self.change_holdings(order.account, |holdings| holdings.orders.insert(id));
        self.change_usage(account, |usage| {
            usage.orders += 1;
            usage.order_bytes += order.weight();
        });
        if let Some(bytes) = order.promised_bytes() {
            self.promised += 1;
            self.certificate_bytes += bytes;
        }
        if order.is_before_officers() {
            self.before_officers.insert(id);
        }
        if let Some(due) = order.due() {
            self.agenda.insert(due, Due::Order(id));
        }
    }

    pub(super) fn remove_order(&mut self, id: u64, order: &Order, account: &Account) {
        self.change_holdings(order.account, |holdings| holdings.orders.remove(&id));
        self.change_usage(account, |usage| {
            usage.orders -= 1;
            usage.order_bytes -= order.weight();
        });
        if let Some(bytes) = order.promised_bytes() {
            self.promised -= 1;
            self.certificate_bytes -= bytes;
        }
        self.before_officers.remove(&id);
        if let Some(due) = order.due() {
            self.agenda.remove(due, Due::Order(id));
        }
    }

    pub(super) fn add_authorization(
        &mut self,
        id: u64,
        authorization: &Authorization,
        account: &Account,
    ) {
        self.change_holdings(authorization.account, |holdings| {
            holdings.authorizations.insert(id);
            holdings.pending += u32::from(authorization.is_pending());
        });
        if authorization.is_valid() {
            let identifier = authorization.identifier.clone();
            self.valid.insert((authorization.account, identifier, id));
        }
        let tasks = authorization.validations(id);
        self.change_usage(account, |usage| {
            usage.authorizations += 1;
            usage.authorization_bytes += authorization.weight();
            usage.validations += tasks.len();
        });
        self.validations.extend(tasks);
        self.agenda.insert(authorization.due(), Due::Authorization(id));
    }

    pub(super) fn remove_authorization(
        &mut self,
        id: u64,
        authorization: &Authorization,
        account: &Account,
    ) {
        self.change_holdings(authorization.account, |holdings| {
            holdings.authorizations.remove(&id);
            holdings.pending -= u32::from(authorization.is_pending());
        });
        if authorization.is_valid() {
            let identifier = authorization.identifier.clone();
            self.valid.remove(&(authorization.account, identifier, id));
        }
        let tasks = authorization.validations(id);
        self.change_usage(account, |usage| {
            usage.authorizations -= 1;
            usage.authorization_bytes -= authorization.weight();
            usage.validations -= tasks.len();
        });
        for (task, _) in tasks {
            self.validations.remove(&task);
        }
        self.agenda.remove(authorization.due(), Due::Authorization(id));
    }

    pub(super) fn add_certificate(&mut self, serial: Serial, certificate: &Certificate) {
        self.change_holdings(certificate.account, |holdings| holdings.certificates.insert(serial));
        self.certificate_bytes += certificate.weight();
        self.agenda.insert(certificate.forget_at, Due::Certificate(serial));
        if let Some(due) = certificate.ocsp_due {
            self.agenda.insert(due, Due::Ocsp(serial));
        }
    }

    pub(super) fn remove_certificate(&mut self, serial: Serial, certificate: &Certificate) {
        self.change_holdings(certificate.account, |holdings| holdings.certificates.remove(&serial));
        self.certificate_bytes -= certificate.weight();
        self.agenda.remove(certificate.forget_at, Due::Certificate(serial));
        if let Some(due) = certificate.ocsp_due {
            self.agenda.remove(due, Due::Ocsp(serial));
        }
    }

    fn change_holdings<T>(&mut self, account: u64, change: impl FnOnce(&mut Holdings) -> T) {
        let holdings = self.holdings.entry(account).or_default();
        change(holdings);
        if holdings.is_empty() {
            self.holdings.remove(&account);
        }
    }

    fn change_usage(&mut self, account: &Account, change: impl FnOnce(&mut Usage)) {
        let usage = self.usage.entry(account.front_end).or_default();
        change(usage);
        if *usage == Usage::default() {
            self.usage.remove(&account.front_end);
        }
    }
}
