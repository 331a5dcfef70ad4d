//! What a server knows of the view that it is in.

use super::decision::Election;
use super::message::{Basis, Choice, Step, View};
use super::poll::{Gather, Poll};
use crate::{Value, digest_of};
use maftia_base::{Digest, Party};
use maftia_crypto::{Certificate, Done, SignedShare, Suite};
use std::collections::BTreeMap;

/// Something that this server signs once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mine<T> {
    /// Not yet.
    Unsigned,
    /// It will: the record is written.
    Signing,
    /// Done.
    Signed(T),
}

impl<T> Mine<T> {
    pub(super) fn is_unsigned(&self) -> bool {
        matches!(self, Self::Unsigned)
    }

    pub(super) fn signature(&self) -> Option<&T> {
        match self {
            Self::Signed(signature) => Some(signature),
            _ => None,
        }
    }
}

/// A proposal as it came.
#[derive(Clone, Debug, Hash)]
pub(super) struct Proposal<S: Suite, V: Value> {
    pub(super) value: V,
    pub(super) digest: Digest,
    pub(super) basis: Basis<S>,
    /// Absent if it was read from the log.
    pub(super) signature: Option<S::Signature>,
}

/// What is known of one proposer.
#[derive(Clone, Debug, Hash)]
pub(super) struct Slot<S: Suite, V: Value> {
    pub(super) proposal: Option<Proposal<S, V>>,
    /// The basis holds.
    pub(super) entitled: bool,
    pub(super) basis_check: Option<Gather<Done<S>>>,
    /// This server's echoes, by [`Step`].
    pub(super) echoes: [Mine<S::Signature>; 2],
    /// A lock that came and is not checked yet.
    pub(super) offered: Option<(Digest, Certificate<S>)>,
    pub(super) is_checking_lock: bool,
    /// The lock that this server recorded.
    pub(super) lock: Option<Certificate<S>>,
}

impl<S: Suite, V: Value> Default for Slot<S, V> {
    fn default() -> Self {
        Self {
            proposal: None,
            entitled: false,
            basis_check: None,
            echoes: [Mine::Unsigned, Mine::Unsigned],
            offered: None,
            is_checking_lock: false,
            lock: None,
        }
    }
}

impl<S: Suite, V: Value> Slot<S, V> {
    pub(super) fn digest(&self) -> Option<Digest> {
        self.proposal.as_ref().map(|proposal| proposal.digest)
    }
}

/// This server's share of the coin, which it may compute before it may give it away.
#[derive(Clone, Debug, Hash)]
pub(super) enum MyShare<S: Suite> {
    Unknown,
    Computing,
    Known(SignedShare<S, S::CoinShare>),
}

/// A value of the leader's with its lock.
#[derive(Clone, Debug, Hash)]
pub(super) struct LockedValue<S: Suite, V: Value> {
    pub(super) value: V,
    pub(super) digest: Digest,
    pub(super) lock: Certificate<S>,
}

/// A vote with its signature.
pub(super) type SignedVote<S, V> = (Choice<S, V>, <S as Suite>::Signature);

/// What a server knows of the view that it is in.
#[derive(Clone, Debug, Hash)]
pub(super) struct Attempt<S: Suite, V: Value> {
    pub(super) view: View,
    pub(super) basis: Basis<S>,
    /// What this server must propose, if the basis leaves no choice.
    pub(super) adopted: Option<V>,
    /// The one digest that a proposal on a locked basis can have, if a checked basis told it.
    pub(super) locked: Option<Digest>,
    pub(super) slots: BTreeMap<Party, Slot<S, V>>,
    /// Echoes of this server's two broadcasts, by [`Step`].
    pub(super) echoes: [Poll<S::Signature>; 2],
    /// What they made, by [`Step`].
    pub(super) certificates: [Option<Certificate<S>>; 2],
    pub(super) finishes: Poll<(Digest, Certificate<S>)>,
    /// This server's share of the coin may leave.
    pub(super) tossing: bool,
    /// No echoes are given any more.
    pub(super) abandoned: bool,
    pub(super) share: MyShare<S>,
    pub(super) shares: Poll<SignedShare<S, S::CoinShare>>,
    /// The coin is being combined, perhaps of shares that are all known to be good.
    pub(super) is_combining: bool,
    pub(super) election: Option<(Party, Election<S>)>,
    /// The coin itself.
    pub(super) coin: Option<Digest>,
    /// Proofs of the coin that peers sent, unchecked: one of each.
    pub(super) proofs: BTreeMap<Party, Election<S>>,
    /// Whose is being checked.
    pub(super) proof: Option<Party>,
    /// Is a combination of the coin under way? Its shares may all have been found good before.
    pub(super) combining: bool,
    pub(super) refused: Mine<S::Signature>,
    pub(super) refusals: Poll<S::Signature>,
    /// A checked quorum of refusals.
    pub(super) refuted: Option<Certificate<S>>,
    /// A checked lock of the leader.
    pub(super) leader_lock: Option<LockedValue<S, V>>,
    pub(super) choice: Option<Choice<S, V>>,
    pub(super) voted: Mine<S::Signature>,
    pub(super) votes: Poll<SignedVote<S, V>>,
}

impl<S: Suite, V: Value> Attempt<S, V> {
    pub(super) fn new(view: View, basis: Basis<S>, adopted: Option<V>) -> Self {
        Self {
            view,
            basis,
            locked: adopted.as_ref().map(digest_of),
            adopted,
            slots: BTreeMap::new(),
            echoes: Default::default(),
            certificates: [None, None],
            finishes: Poll::default(),
            tossing: false,
            abandoned: false,
            share: MyShare::Unknown,
            shares: Poll::default(),
            is_combining: false,
            election: None,
            coin: None,
            proofs: BTreeMap::new(),
            proof: None,
            combining: false,
            refused: Mine::Unsigned,
            refusals: Poll::default(),
            refuted: None,
            leader_lock: None,
            choice: None,
            voted: Mine::Unsigned,
            votes: Poll::default(),
        }
    }

    pub(super) fn slot(&mut self, proposer: Party) -> &mut Slot<S, V> {
        self.slots.entry(proposer).or_default()
    }

    pub(super) fn leader(&self) -> Option<Party> {
        self.election.as_ref().map(|(leader, _)| *leader)
    }

    /// This server's own echo of that broadcast, if it has signed it.
    pub(super) fn my_echo(&self, proposer: Party, step: Step) -> Option<&S::Signature> {
        self.slots.get(&proposer)?.echoes[step as usize].signature()
    }

    /// The value with this digest, if it came along in any form.
    pub(super) fn value(&self, digest: Digest) -> Option<&V> {
        let mut proposals = self.slots.values().filter_map(|slot| slot.proposal.as_ref());
        let proposed = proposals.find(|proposal| proposal.digest == digest);
        let locked = self.leader_lock.as_ref().filter(|locked| locked.digest == digest);
        proposed.map(|proposal| &proposal.value).or(locked.map(|locked| &locked.value))
    }

    /// Is work of this server's own under way that may end in a decision?
    pub(super) fn is_busy(&self) -> bool {
        self.is_combining || self.finishes.is_checking() || self.votes.is_checking()
    }

    /// Items held on behalf of peers.
    pub(super) fn footprint(&self) -> usize {
        let offered = self.slots.values().filter(|slot| slot.offered.is_some()).count();
        let echoes: usize = self.echoes.iter().map(Poll::len).sum();
        let polls = self.finishes.len() + self.shares.len() + self.refusals.len();
        self.slots.len() + offered + echoes + polls + self.votes.len() + self.proofs.len()
    }
}
