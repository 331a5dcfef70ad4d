//! The state, as bytes and back.

use super::account::{ACCOUNTS_MAX, Account};
use super::amendment::Amendment;
use super::audit::Audit;
use super::authorization::{AUTHORIZATIONS_MAX, Authorization};
use super::count::Count;
use super::issue::{CERTIFICATES_MAX, Certificate, NAMES_COUNTED_MAX, RegisteredName};
use super::nonce::SpentNonces;
use super::officers::Motions;
use super::order::{ORDERS_MAX, Order, Voices};
use super::signing::{Crl, Signing};
use super::table::Table;
use crate::x509::Serial;
use maftia_base::wire::wire_struct;
use maftia_base::{PARTIES_MAX, Party};

/// Everything that the authority has to remember.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct State {
    pub(super) nonces: SpentNonces,
    /// Number of the next account.
    pub(super) next_account: u64,
    pub(super) accounts: Table<u64, Account, ACCOUNTS_MAX>,
    /// New accounts of an hour, by front end.
    pub(super) accounts_made: Table<Party, Count, PARTIES_MAX>,
    /// Number of the next order.
    pub(super) next_order: u64,
    pub(super) orders: Table<u64, Order, ORDERS_MAX>,
    /// Number of the next authorization.
    pub(super) next_authorization: u64,
    pub(super) authorizations: Table<u64, Authorization, AUTHORIZATIONS_MAX>,
    pub(super) certificates: Table<Serial, Certificate, CERTIFICATES_MAX>,
    /// Certificates of a week, by registered name.
    pub(super) names_counted: Table<RegisteredName, Count, NAMES_COUNTED_MAX>,
    pub(super) signing: Signing,
    pub(super) crl: Crl,
    pub(super) motions: Motions,
    pub(super) audit: Audit,
    pub(super) amendment: Amendment,
}

wire_struct!(State {
    nonces,
    next_account,
    accounts,
    accounts_made,
    next_order,
    orders,
    next_authorization,
    authorizations,
    certificates,
    names_counted,
    signing,
    crl,
    motions,
    audit,
    amendment,
});

impl State {
    /// Can it have come about? Asked of a snapshot; what it refers to, the index looks up.
    pub(super) fn is_sound(&self) -> bool {
        let is_below = |last: Option<&u64>, next: u64| last.is_none_or(|last| *last < next);
        let is_order_sound = |order: &Order| {
            order.names.len() == order.authorizations.len()
                && order.names.is_sorted_by(|a, b| a < b)
                && order.voices.is_none_or(Voices::is_sound)
        };
        let authorizations = self.authorizations.iter();
        is_below(self.accounts.keys().next_back(), self.next_account)
            && is_below(self.orders.keys().next_back(), self.next_order)
            && is_below(self.authorizations.keys().next_back(), self.next_authorization)
            && self.orders.values().all(is_order_sound)
            && authorizations.into_iter().all(|(id, found)| found.is_sound(*id))
            && self.audit.is_sound()
            && self.amendment.is_sound()
    }
}
