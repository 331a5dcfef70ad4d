//! Proposals that others voted for, and that are not here.

use super::machine::{Commit, ViewAgreement};
use super::message::Message;
use super::proposal_of;
use crate::Value;
use maftia_base::{Context, Digest, Party, PartySet, Target};
use maftia_crypto::Suite;
use std::collections::{BTreeMap, BTreeSet};

/// How often a peer is given a proposal that it asks for, until it reconnects.
const GIVEN_MAX: u8 = 4;

impl<S: Suite, V: Value> ViewAgreement<S, V> {
    /// Who voted for which proposal that is not here, and was not asked for it.
    pub(super) fn unasked(&self) -> BTreeMap<Digest, PartySet> {
        let here: BTreeSet<Digest> = self.prepares.values().map(proposal_of).collect();
        let mut unasked: BTreeMap<Digest, PartySet> = BTreeMap::new();
        for (party, Commit { proposal, .. }) in &self.commits {
            let asked = self.wanted.get(proposal).is_some_and(|asked| asked.contains(*party));
            if !asked && !here.contains(proposal) {
                unasked.entry(*proposal).or_default().insert(*party);
            }
        }
        unasked
    }

    /// Asks those who voted for a proposal that is not here. (V4, V5)
    pub(super) fn want(&mut self, proposal: Digest, voters: PartySet, cx: &mut impl Context<Self>) {
        let live: BTreeSet<Digest> = self.commits.values().map(|commit| commit.proposal).collect();
        self.wanted.retain(|known, _| live.contains(known));
        let asked = self.wanted.entry(proposal).or_default();
        for party in voters.difference(*asked).iter().filter(|party| *party != self.me) {
            cx.send(Target::One(party), Message::Ask { proposal });
        }
        *asked = asked.union(voters);
    }

    /// Handles a question for a proposal: whoever voted for it has it. (V8)
    pub(super) fn on_ask(&mut self, from: Party, proposal: Digest, cx: &mut impl Context<Self>) {
        let vote = self.vote.as_ref().filter(|vote| proposal_of(vote) == proposal);
        let given = self.given.entry(from).or_default();
        if let Some(vote) = vote
            && *given < GIVEN_MAX
        {
            *given += 1;
            cx.send(Target::One(from), Message::Prepare(vote.clone()));
        }
    }
}
