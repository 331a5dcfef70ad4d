//! One vote a party, and who stands behind which value.

use maftia_base::canary;
use maftia_base::{Party, PartySet};
use std::collections::BTreeMap;

/// First votes by party. At most one entry a party of the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tally<T> {
    votes: BTreeMap<Party, T>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { votes: BTreeMap::new() }
    }
}

impl<T: Copy + Eq> Tally<T> {
    /// Counts the first vote of `party`; a later one that differs is refused with the first, and
    /// one that repeats it changes nothing.
    pub(crate) fn insert(&mut self, party: Party, vote: T) -> Result<(), T> {
        canary!("tally-counts-again", self.votes.insert(party, vote));
        let first = *self.votes.entry(party).or_insert(vote);
        if first == vote { Ok(()) } else { Err(first) }
    }

    /// Who voted for `vote`.
    pub(crate) fn supporters(&self, vote: T) -> PartySet {
        self.votes.iter().filter(|(_, cast)| **cast == vote).map(|(party, _)| *party).collect()
    }

    /// Who voted at all.
    pub(crate) fn voters(&self) -> PartySet {
        self.votes.keys().copied().collect()
    }

    /// Number of votes.
    pub(crate) fn len(&self) -> usize {
        self.votes.len()
    }
}
