//! The log: what the authority decided and on whose word, each entry chained to all before it.
//!
//! # Promise
//! - *Complete*: every account, order, vote, validation, officer's word, issuance and revocation
//!   has an entry, made in the step that did it.
//! - *Unchangeable*: the digest of an entry covers all before it. Whoever keeps the digest that the
//!   group once answered can check every later answer against it.
//!
//! # Rules
//! - L1. An entry gets the next number and the agreed time; its digest is that of the digest before
//!   it and of the entry.
//! - L2. The last [`AUDIT_ENTRIES_MAX`] entries are kept. What is older lives on in the digests,
//!   and what belongs to a certificate stays with the certificate as long as that does.
//!
//! # Bounds
//! An entry has at most 400 bytes, so the log has at most 3.2 MiB.

use super::Identifier;
use super::table::Table;
use super::wire::{ChallengeKind, LOG_PAGE_MAX, LogPage, OfficerCommand, RevokedBy};
use crate::x509::{Reason, Serial};
use maftia_base::wire::{Blob, Encode, List, wire_enum, wire_struct};
use maftia_base::{Digest, Party, PartySet};

/// Entries that are kept.
pub const AUDIT_ENTRIES_MAX: usize = 8192;

/// The most that an entry takes in a snapshot, with the digest of what is before it.
pub(super) const ENTRY_BYTES_MAX: usize = 432;

/// Longest name of an external account's key.
pub const BINDING_BYTES_MAX: usize = 64;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditEntry {
    /// Counts up from 0.
    pub number: u64,
    /// The agreed time: seconds since 1970-01-01 UTC.
    pub at: u64,
    /// What happened.
    pub event: AuditEvent,
}

wire_struct!(AuditEntry { number, at, event });

impl AuditEntry {
    /// The digest of all entries up to this one, given that of all before it. (L1)
    pub fn digest(&self, before: Digest) -> Digest {
        let mut bytes = before.0.to_vec();
        bytes.extend_from_slice(&self.encode());
        Digest::of("maftia ca log", &bytes)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuditEvent {
    /// An account was made.
    AccountCreated {
        /// Its number.
        account: u64,
        /// Thumbprint of its key.
        thumbprint: [u8; 32],
        /// Through whose front end.
        front_end: Party,
        /// The external account that it is bound to.
        binding: Option<Blob<BINDING_BYTES_MAX>>,
    },
    /// An account has another key.
    AccountKeyChanged {
        /// Which.
        account: u64,
        /// Thumbprint of the new key.
        thumbprint: [u8; 32],
    },
    /// An account was shut by its holder.
    AccountDeactivated {
        /// Which.
        account: u64,
    },
    /// An order was made.
    OrderCreated {
        /// Its number.
        order: u64,
        /// Whose.
        account: u64,
        /// How many names.
        names: u16,
        /// [`names_digest`] of them.
        digest: Digest,
    },
    /// A server has validated an authorization.
    VoteCast {
        /// Which.
        authorization: u64,
        /// In which way.
        kind: ChallengeKind,
        /// Who.
        party: Party,
    },
    /// So many have that it is valid.
    Validated {
        /// Which.
        authorization: u64,
        /// Whose.
        account: u64,
        /// Of what.
        identifier: Identifier,
        /// In which way.
        kind: ChallengeKind,
        /// Who said so.
        voters: PartySet,
    },
    /// An authorization was given up by its holder.
    AuthorizationDeactivated {
        /// Which.
        authorization: u64,
    },
    /// An officer had a say.
    OfficerSpoke {
        /// Who, by the number in the policy.
        officer: u8,
        /// What.
        command: OfficerCommand,
        /// It took effect with this word.
        is_done: bool,
    },
    /// A certificate was issued.
    Issued {
        /// Its number.
        serial: Serial,
        /// For which order.
        order: u64,
        /// To whom.
        account: u64,
        /// SHA-256 of it.
        sha256: [u8; 32],
    },
    /// A certificate was revoked.
    Revoked {
        /// Its number.
        serial: Serial,
        /// Why.
        reason: Reason,
        /// By whom.
        by: RevokedBy,
    },
    /// The policy is another one.
    PolicyChanged {
        /// `policy_digest` of it.
        digest: Digest,
        /// The servers that wanted it.
        voters: PartySet,
    },
}

wire_enum!(AuditEvent {
    0 => AccountCreated { account, thumbprint, front_end, binding },
    1 => AccountKeyChanged { account, thumbprint },
    2 => AccountDeactivated { account },
    3 => OrderCreated { order, account, names, digest },
    4 => VoteCast { authorization, kind, party },
    5 => Validated { authorization, account, identifier, kind, voters },
    6 => AuthorizationDeactivated { authorization },
    7 => OfficerSpoke { officer, command, is_done },
    8 => Issued { serial, order, account, sha256 },
    9 => Revoked { serial, reason, by },
    10 => PolicyChanged { digest, voters },
});

/// The digest by which the log names the names of an order.
pub fn names_digest<'a>(names: impl IntoIterator<Item = &'a Identifier>) -> Digest {
    let names: List<Identifier, { usize::MAX >> 33 }> =
        List::new(names.into_iter().cloned().collect()).expect("as many as memory holds");
    Digest::of_encoded("maftia ca names", &names)
}

/// The log, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Audit {
    /// Digest of all entries.
    head: Digest,
    /// Number of the next entry.
    next: u64,
    entries: Table<u64, Kept, AUDIT_ENTRIES_MAX>,
}

wire_struct!(Audit { head, next, entries });

/// An entry, and the digest of all before it, so that a page costs no more than its entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept {
    before: Digest,
    entry: AuditEntry,
}

wire_struct!(Kept { before, entry });

impl Audit {
    /// Enters what happened at `at`; answers the entry's number. (L1)
    pub(super) fn enter(&mut self, at: u64, event: AuditEvent) -> u64 {
        let number = self.next;
        let (before, entry) = (self.head, AuditEntry { number, at, event });
        self.head = entry.digest(before);
        self.next += 1;
        if self.entries.is_full() {
            self.entries.pop_first(); // L2
        }
        self.entries.insert(number, Kept { before, entry });
        number
    }

    /// Makes it one that cannot have been written.
    #[cfg(test)]
    pub(super) fn forge(&mut self) {
        self.head = Digest::default();
    }

    /// Is it a log that can have been written? Asked of a snapshot.
    pub(super) fn is_sound(&self) -> bool {
        let first = self.next.checked_sub(self.entries.len() as u64);
        let Some(mut number) = first else { return false };
        let mut digest = self.entries.values().next().map_or(self.head, |kept| kept.before);
        for (key, kept) in self.entries.iter() {
            if (*key, kept.entry.number, kept.before) != (number, number, digest) {
                return false;
            }
            digest = kept.entry.digest(digest);
            number += 1;
        }
        digest == self.head
    }

    /// The page from `from` on, or from the oldest entry that is kept.
    pub(super) fn page(&self, from: u64) -> LogPage {
        let kept = || self.entries.range(from..).map(|(_, kept)| kept).take(LOG_PAGE_MAX);
        let before = kept().next().map_or(self.head, |first| first.before);
        let entries = List::new(kept().map(|kept| kept.entry.clone()).collect());
        let entries = entries.expect("as many as a page has");
        LogPage { before, entries, head: self.head, length: self.next }
    }
}
