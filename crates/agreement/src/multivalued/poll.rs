//! Votes that are checked as late and as many at once as the protocol allows.

use maftia_base::{Party, PartySet};
use std::collections::BTreeMap;

/// One item a party: waiting, being checked, or found good. Who sent a bad one is not heard again.
///
/// Nothing is checked before enough have come to matter, and then all are checked in one piece of
/// work: what comes too late to matter costs nothing.
#[derive(Clone, Debug, Hash)]
pub(super) struct Poll<T> {
    waiting: BTreeMap<Party, T>,
    checking: Vec<(Party, T, usize)>,
    good: BTreeMap<Party, T>,
    bad: PartySet,
}

impl<T> Default for Poll<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            checking: Vec::new(),
            good: BTreeMap::new(),
            bad: PartySet::EMPTY,
        }
    }
}

impl<T: Clone> Poll<T> {
    /// Takes the first item of `party`.
    pub(super) fn insert(&mut self, party: Party, item: T) {
        if self.get(party).is_none() && !self.bad.contains(party) {
            self.waiting.insert(party, item);
        }
    }

    /// Takes an item that needs no check.
    pub(super) fn admit(&mut self, party: Party, item: T) {
        self.good.insert(party, item);
    }

    /// The item of `party`, whatever is known of it.
    pub(super) fn get(&self, party: Party) -> Option<&T> {
        let checking = self.checking.iter().find(|(from, ..)| *from == party);
        let unchecked = self.waiting.get(&party).or(checking.map(|(_, item, _)| item));
        unchecked.or(self.good.get(&party))
    }

    /// Items found good.
    pub(super) fn good(&self) -> &BTreeMap<Party, T> {
        &self.good
    }

    /// Items of which nothing is known yet.
    pub(super) fn waiting(&self) -> &BTreeMap<Party, T> {
        &self.waiting
    }

    /// Whose items are good.
    pub(super) fn voters(&self) -> PartySet {
        self.good.keys().copied().collect()
    }

    /// Whose items are good, or may be.
    pub(super) fn heard(&self) -> PartySet {
        let unchecked = self.waiting.keys().chain(self.checking.iter().map(|(from, ..)| from));
        self.voters().union(unchecked.copied().collect())
    }

    /// Is a check under way?
    pub(super) fn is_checking(&self) -> bool {
        !self.checking.is_empty()
    }

    /// Would a check of what waits be of use now: enough heard, and no check under way?
    pub(super) fn is_due(&self, enough: impl FnOnce(PartySet) -> bool) -> bool {
        !self.is_checking() && !self.waiting.is_empty() && enough(self.heard())
    }

    /// Starts the check of what waits from `parties`; each item is so many claims.
    pub(super) fn start<C>(
        &mut self,
        parties: PartySet,
        mut claims_of: impl FnMut(Party, &T) -> Vec<C>,
    ) -> Vec<C> {
        assert!(!self.is_checking(), "one check at a time");
        let mut claims = Vec::new();
        for party in parties.iter() {
            if let Some(item) = self.waiting.remove(&party) {
                let before = claims.len();
                claims.extend(claims_of(party, &item));
                self.checking.push((party, item, claims.len() - before));
            }
        }
        claims
    }

    /// Ends the check by one verdict a claim; an item is good if all of its are. Returns who is
    /// bad.
    pub(super) fn settle(&mut self, verdicts: &[bool]) -> Vec<Party> {
        let mut rest = verdicts.iter();
        let mut bad = Vec::new();
        for (party, item, claims) in std::mem::take(&mut self.checking) {
            let verdicts: Vec<bool> = rest.by_ref().take(claims).copied().collect();
            if verdicts.len() == claims && verdicts.iter().all(|verdict| *verdict) {
                self.good.insert(party, item);
            } else {
                self.bad.insert(party);
                bad.push(party);
            }
        }
        bad
    }

    /// Ends the check by the word of `is_good`. Returns who is bad.
    pub(super) fn settle_by(&mut self, is_good: impl Fn(Party) -> bool) -> Vec<Party> {
        let verdicts: Vec<bool> = self.checking.iter().map(|(party, ..)| is_good(*party)).collect();
        self.settle(&verdicts)
    }

    /// Items held.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.checking.len() + self.good.len()
    }
}

/// Results of several pieces of work that only count together.
#[derive(Clone, Debug, Hash)]
pub(super) struct Gather<D>(Vec<Option<D>>);

impl<D: Clone> Gather<D> {
    /// Waits for `parts` results.
    pub(super) fn new(parts: usize) -> Self {
        Self(vec![None; parts])
    }

    /// Takes one result; returns all once all are there.
    pub(super) fn put(&mut self, part: u8, done: D) -> Option<Vec<D>> {
        *self.0.get_mut(usize::from(part))? = Some(done);
        self.0.iter().cloned().collect()
    }
}
