//! Agreement on one of the proposed values, subject to an external predicate.

mod decision;
mod message;

use crate::Value;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Digest, Event, Party, Protocol};
use maftia_crypto::{Done, Signed, Suite, Work};

pub use decision::{Decision, Election, Elections, Proof};
pub use message::{Basis, Choice, Message, Record, Step, View};

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<V: Value> {
    /// Propose this value, which satisfies the predicate. Only the first counts.
    Propose(V),
    /// The value with this digest, asked for by [`Outcome::Validate`], satisfies the predicate.
    Accept(Digest),
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<S: Suite, V: Value> {
    /// Does this value satisfy the predicate? Answer with [`Command::Accept`] once it does.
    Validate {
        /// Who proposed it.
        from: Party,
        /// The value.
        value: V,
    },
    /// The group decided.
    Decided {
        /// What.
        value: V,
        /// That it did, for anyone to check.
        proof: Decision<S>,
        /// 256 bits, the same at every server.
        seed: Digest,
    },
}

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket<S: Suite> {
    /// This server's echo.
    Echo {
        /// In which view.
        view: View,
        /// Which broadcast.
        step: Step,
        /// Of whom.
        proposer: Party,
    },
    /// This server's share of the coin.
    Share(View),
    /// This server's refusal.
    Refuse(View),
    /// This server's vote.
    Vote(View),
    /// Echoes of this server's broadcast.
    Echoes(View, Step),
    /// The lock that this proposer sent.
    Lock(View, Party),
    /// Finishes.
    Finishes(View),
    /// The coin of a view.
    Coin(View),
    /// Refusals.
    Refusals(View),
    /// Votes.
    Votes(View),
    /// One part of the check of what entitles a proposal to be made.
    Basis {
        /// In which view.
        view: View,
        /// By whom.
        proposer: Party,
        /// Which part.
        part: u8,
    },
    /// One part of the check of a decision.
    Decision {
        /// Whose word it is.
        from: Party,
        /// Which part.
        part: u8,
    },
    /// Two statements of one party that conflict, if it signed both.
    Conflict(Party, Box<[Signed<S>; 2]>),
}

/// One instance of validated agreement.
#[derive(Clone, Debug, Hash)]
pub struct ValidatedAgreement<S: Suite, V: Value> {
    input: Option<V>,
    verdict: Option<(V, Decision<S>, Digest)>,
}

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// An instance in which nobody has proposed yet.
    pub fn new() -> Self {
        Self { input: None, verdict: None }
    }
}

impl<S: Suite, V: Value> Default for ValidatedAgreement<S, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Suite, V: Value> Vocabulary for ValidatedAgreement<S, V> {
    const NAME: &'static str = "multivalued";
    type Command = Command<V>;
    type Outcome = Outcome<S, V>;
    type Message = Message<S, V>;
    type Timer = Never;
    type Ticket = Ticket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S, V>;
}

impl<S: Suite, V: Value> Protocol for ValidatedAgreement<S, V> {
    fn handle(&mut self, _event: Event<Self>, _cx: &mut impl Context<Self>) {}

    fn is_settled(&self) -> bool {
        self.verdict.is_some()
    }

    fn footprint(&self) -> usize {
        0
    }
}
