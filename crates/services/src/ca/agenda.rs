//! What is to happen, and when, though nobody asks.

use super::wire::OfficerCommand;
use crate::x509::Serial;
use std::collections::BTreeSet;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Due {
    /// An order expires, or is forgotten. It does so before its authorizations, which expire at the
    /// same time: then it says why.
    Order(u64),
    /// An authorization expires, or is forgotten.
    Authorization(u64),
    /// A certificate is forgotten.
    Certificate(Serial),
    /// Another OCSP response is to be made.
    Ocsp(Serial),
    /// Another revocation list is to be made.
    Crl,
    /// Officers have not agreed in time.
    Motion(OfficerCommand),
    /// Servers have not agreed on another policy in time.
    Amendment,
}

/// By time: seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Agenda(BTreeSet<(u64, Due)>);

impl Agenda {
    pub(super) fn insert(&mut self, at: u64, due: Due) {
        self.0.insert((at, due));
    }

    pub(super) fn remove(&mut self, at: u64, due: Due) {
        self.0.remove(&(at, due));
    }

    /// When the next thing is to happen.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.0.first().map(|(at, _)| *at)
    }

    /// The next thing that is to happen, if it is `now` or before. It stays until what it is about
    /// has changed.
    pub(super) fn due(&self, now: u64) -> Option<Due> {
        self.0.first().filter(|(at, _)| *at <= now).map(|(_, due)| *due)
    }
}
