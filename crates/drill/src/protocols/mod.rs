//! The protocols that the drill puts on.

mod atomic;
mod binary;
mod checkpoint;
mod coded;
mod coin;
pub(crate) mod consistent;
mod dissemination;
mod hybrid;
pub(crate) mod links;
pub(crate) mod multivalued;
pub(crate) mod order;
mod reliable;
mod replica;
mod views;

pub use atomic::{Assumes, Asynchronous, Atomic, Hybrid, Ordering};
pub use binary::Binary;
pub use checkpoint::Checkpointing;
pub use coded::Coded;
pub use coin::Coin;
pub use consistent::Consistent;
pub use dissemination::Spread;
pub use hybrid::{Cast, Ordered, Placed, Simple, Trusting, Vector, Views};
pub use links::{Courier, Got, Linking, Note, OnLinks, Write};
pub use multivalued::Multivalued;
pub use reliable::Reliable;
pub(crate) use replica::BOOK;
pub use replica::{Bare, Book, Hull, Replication, Sut};

use maftia_base::{Digest, Party, PartySet};
use std::collections::BTreeMap;

/// Who said which value, as each server heard it.
#[derive(Clone, Debug)]
pub(crate) struct Heard<K>(BTreeMap<(Party, K), PartySet>);

impl<K> Default for Heard<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Heard<K> {
    /// `by` heard `what` from `from`.
    pub(crate) fn note(&mut self, by: Party, from: Party, what: K) {
        self.0.entry((by, what)).or_default().insert(from);
    }

    /// From whom `by` heard it.
    pub(crate) fn from(&self, by: Party, what: K) -> PartySet {
        self.0.get(&(by, what)).copied().unwrap_or_default()
    }
}

/// Names of small values, for checkers that compare numbers.
pub(crate) fn short(digest: &Digest) -> u64 {
    digest.short()
}
