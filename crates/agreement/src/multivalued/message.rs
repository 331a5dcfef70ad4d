//! What servers say to each other, what each keeps, and what each signs.

use super::decision::{Decision, Election, Elections, all_true, is_quorum};
use crate::{Value, digest_of};
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{Digest, Group, Party, Place, Scope, Statement, StatementKind};
use maftia_crypto::{Certificate, Done, SignedShare, Suite, Work};

/// One attempt at agreement, with a leader of its own; counts up from [`View::FIRST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View(u32);

wire_struct!(View { 0 });

impl View {
    /// Where everybody starts.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    pub(super) fn next(self) -> Self {
        Self(
            self.0.checked_add(1).expect("each view ends with a quorum's word: never 2^32 of them"),
        )
    }

    /// The one before this; `None` for the first, and for 0, which is no view.
    pub(super) fn previous(self) -> Option<Self> {
        (self > Self::FIRST).then(|| Self(self.0 - 1))
    }

    /// True unless it is 0, which no honest server sends.
    pub(super) fn exists(self) -> bool {
        self >= Self::FIRST
    }

    /// The name of the coin that elects this view's leader.
    pub(super) fn coin(self, scope: Scope) -> Scope {
        scope.child("leader", u64::from(self.0))
    }
}

/// Which of a proposer's two consecutive broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The proposal; its echoes make a lock.
    Lock,
    /// The lock; its echoes make a finish.
    Finish,
}

wire_enum!(Step { 0 => Lock, 1 => Finish });

/// "I saw this proposal (or its lock), and no other of this proposer in this view."
pub(super) fn echo(s: Scope, view: View, step: Step, by: Party, value: Digest) -> Statement {
    let place = Place(u64::from(view.0) * 2 + step as u64, by.index() as u64);
    Statement::new(s, StatementKind::Echo, place, value)
}

/// "I hold no lock of this view's leader, and shall never echo one."
pub(super) fn refusal(scope: Scope, view: View) -> Statement {
    let value = Digest::of("maftia multivalued refusal", b"");
    Statement::new(scope, StatementKind::PreVote, Place(u64::from(view.0), 0), value)
}

/// "The leader's value", or with `None` "nothing", "is what this view decides if anything."
pub(super) fn vote(scope: Scope, view: View, choice: Option<Digest>) -> Statement {
    let value = choice.unwrap_or_else(|| Digest::of("maftia multivalued vote no", b""));
    Statement::new(scope, StatementKind::Vote, Place(u64::from(view.0), 0), value)
}

/// Why a proposal may be made in its view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Basis<S: Suite> {
    /// It is the first view.
    First,
    /// The last view's leader had this very value locked, and may not have finished.
    Locked {
        /// A quorum's echoes of the leader's proposal.
        lock: Certificate<S>,
        /// A quorum's refusals: nobody can have decided by the leader's finish.
        refusals: Certificate<S>,
        /// Who led, and the proof.
        elections: Elections<S>,
    },
    /// A quorum voted that the last view decides nothing: any valid value may be proposed.
    Free {
        /// Their votes.
        votes: Certificate<S>,
        /// Who led, and the proof.
        elections: Elections<S>,
    },
}

wire_enum!(<S: Suite> Basis<S> {
    0 => First,
    1 => Locked { lock, refusals, elections },
    2 => Free { votes, elections },
});

/// A vote with what entitles its sender to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice<S: Suite, V: Value> {
    /// For the leader's value.
    Yes {
        /// The value.
        value: V,
        /// A quorum's echoes of it.
        lock: Certificate<S>,
    },
    /// For nothing.
    No {
        /// A quorum's refusals.
        refusals: Certificate<S>,
    },
}

wire_enum!(<S: Suite, V: Value> Choice<S, V> {
    0 => Yes { value, lock },
    1 => No { refusals },
});

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<S: Suite, V: Value> {
    /// The first of the sender's two broadcasts.
    Propose {
        /// In which view.
        view: View,
        /// The value.
        value: V,
        /// Why it may be proposed.
        basis: Basis<S>,
        /// The proposer's own echo. Looked at only when it contradicts itself: then it is evidence.
        signature: S::Signature,
    },
    /// The answer to one of the receiver's two broadcasts.
    Echo {
        /// In which view.
        view: View,
        /// Which of them.
        step: Step,
        /// Signature on the echo.
        signature: S::Signature,
    },
    /// The second of the sender's two broadcasts: a quorum echoed the first.
    Lock {
        /// In which view.
        view: View,
        /// Of the sender's proposal.
        digest: Digest,
        /// The echoes.
        certificate: Certificate<S>,
    },
    /// A quorum echoed the sender's lock.
    Finish {
        /// In which view.
        view: View,
        /// Of the sender's proposal.
        digest: Digest,
        /// The echoes.
        certificate: Certificate<S>,
    },
    /// A share of the coin that elects the leader.
    Share {
        /// Of which view.
        view: View,
        /// The share.
        share: SignedShare<S, S::CoinShare>,
    },
    /// The sender knows the coin, and so does whoever reads this.
    Elected {
        /// Of which view.
        view: View,
        /// Shares that make the coin.
        election: Election<S>,
    },
    /// The sender holds no lock of the leader.
    Refuse {
        /// In which view.
        view: View,
        /// Signature on the refusal.
        signature: S::Signature,
    },
    /// The sender's vote.
    Vote {
        /// In which view.
        view: View,
        /// What for.
        choice: Choice<S, V>,
        /// Signature on the vote.
        signature: S::Signature,
    },
    /// The sender has decided.
    Decided {
        /// Of the value.
        digest: Digest,
        /// The proof.
        decision: Decision<S>,
    },
    /// The sender knows that this was decided, and never saw the value.
    Ask {
        /// Of the value.
        digest: Digest,
    },
    /// The value that was asked for.
    Answer {
        /// The value.
        value: V,
    },
}

wire_enum!(<S: Suite, V: Value> Message<S, V> {
    0 => Propose { view, value, basis, signature },
    1 => Echo { view, step, signature },
    2 => Lock { view, digest, certificate },
    3 => Finish { view, digest, certificate },
    4 => Share { view, share },
    5 => Refuse { view, signature },
    6 => Vote { view, choice, signature },
    7 => Decided { digest, decision },
    8 => Ask { digest },
    9 => Answer { value },
    10 => Elected { view, election },
});

impl<S: Suite, V: Value> Choice<S, V> {
    /// The digest voted for; `None` is a vote for nothing.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Yes { value, .. } => Some(digest_of(value)),
            Self::No { .. } => None,
        }
    }
}

impl<S: Suite> Basis<S> {
    /// What it proves of the last view's election.
    pub(super) fn elections(&self) -> Option<&Elections<S>> {
        match self {
            Self::First => None,
            Self::Locked { elections, .. } | Self::Free { elections, .. } => Some(elections),
        }
    }

    /// The work of checking it for a proposal with this digest in this view, coins first; `None`
    /// if it cannot hold. With `known`, that party is taken for the last leader without a check.
    pub(super) fn checks(
        &self,
        scope: Scope,
        group: &Group,
        (view, digest): (View, Digest),
        known: Option<Party>,
    ) -> Option<Vec<Work<S>>> {
        let last = view.previous()?;
        let mut checks = match (known, self.elections()?) {
            (Some(leader), elections) if leader == elections.leader => Vec::new(),
            (Some(_), _) => return None,
            (None, elections) => elections.checks(scope, group, last)?,
        };
        let claims = match self {
            Self::First => return None,
            Self::Locked { lock, refusals, elections } => {
                (is_quorum(lock, group) && is_quorum(refusals, group)).then_some(())?;
                let locked = echo(scope, last, Step::Lock, elections.leader, digest);
                lock.claims(locked).chain(refusals.claims(refusal(scope, last))).collect()
            }
            Self::Free { votes, .. } => {
                is_quorum(votes, group).then_some(())?;
                votes.claims(vote(scope, last, None)).collect()
            }
        };
        checks.push(Work::Verify(claims));
        Some(checks)
    }

    /// Do the results of [`checks`](Self::checks) say that it holds?
    pub(super) fn holds(&self, group: &Group, dones: &[Done<S>]) -> bool {
        let Some((certificates, coins)) = dones.split_last() else { return false };
        let elected = coins.is_empty()
            || self.elections().is_some_and(|elections| elections.holds(group, coins).is_some());
        elected && all_true(certificates)
    }
}

impl<S: Suite, V: Value> Message<S, V> {
    /// The view that it belongs to; `None` if it stands outside of all.
    pub(super) fn view(&self) -> Option<View> {
        match self {
            Self::Propose { view, .. }
            | Self::Echo { view, .. }
            | Self::Lock { view, .. }
            | Self::Finish { view, .. }
            | Self::Share { view, .. }
            | Self::Elected { view, .. }
            | Self::Refuse { view, .. }
            | Self::Vote { view, .. } => Some(*view),
            Self::Decided { .. } | Self::Ask { .. } | Self::Answer { .. } => None,
        }
    }
}

/// What must survive a crash: everything that a server signed one of two possible values for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<S: Suite, V: Value> {
    /// The value that the layer above asked to propose, where no view's proposal holds it.
    Input {
        /// The value.
        value: V,
    },
    /// This server left the view before.
    Entered {
        /// Which view it entered.
        view: View,
        /// Why.
        basis: Basis<S>,
        /// The agreed seed.
        seed: Digest,
        /// What it proposes there, if the basis leaves no choice.
        value: Option<V>,
    },
    /// This server proposed, and thereby echoed its own proposal.
    Proposed {
        /// In which view.
        view: View,
        /// What.
        value: V,
    },
    /// This server echoed a proposal.
    Echoed {
        /// In which view.
        view: View,
        /// Whose.
        proposer: Party,
        /// What.
        value: V,
    },
    /// This server echoed a lock, or got one for its own proposal.
    Locked {
        /// In which view.
        view: View,
        /// Whose.
        proposer: Party,
        /// The value, unless an earlier record has it.
        value: Option<V>,
        /// The lock.
        lock: Certificate<S>,
    },
    /// This server learned the coin, and is about to refuse the leader or to vote.
    Elected {
        /// In which view.
        view: View,
        /// The coin.
        coin: Digest,
        /// Shares that make it.
        election: Election<S>,
    },
    /// This server refused the leader.
    Refused {
        /// In which view.
        view: View,
    },
    /// This server voted.
    Voted {
        /// In which view.
        view: View,
        /// What for.
        choice: Choice<S, V>,
    },
    /// This server decided.
    Decided {
        /// The value.
        value: V,
        /// The proof.
        decision: Decision<S>,
        /// The agreed seed.
        seed: Digest,
    },
}

wire_enum!(<S: Suite, V: Value> Record<S, V> {
    0 => Input { value },
    1 => Entered { view, basis, seed, value },
    2 => Proposed { view, value },
    3 => Echoed { view, proposer, value },
    4 => Locked { view, proposer, value, lock },
    5 => Refused { view },
    6 => Voted { view, choice },
    7 => Decided { value, decision, seed },
    8 => Elected { view, coin, election },
});
