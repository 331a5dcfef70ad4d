//! What servers say to each other, what each keeps, and what each has identified.

use super::justification::{Decision, Justification};
use crate::Value;
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{Digest, Epoch, Scope};
use maftia_crypto::Attested;
use maftia_ttcb_api::{Call, Identifier};

/// One attempt at agreement, under the leader whose turn it is; the first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct View(pub u32);

wire_struct!(View { 0 });

impl View {
    /// The one after this.
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The counter of the trusted component that agreement uses.
pub(super) const COUNTER: u8 = 1;

/// In which order a server identifies things in one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// It enters the view: nothing more is identified in earlier ones.
    Enter = 1,
    /// It leads the view, and proposes.
    Prepare = 2,
    /// It votes for what the leader proposed.
    Commit = 3,
}

/// Which agreement of the group it is: identifiers of different ones stand at different positions,
/// those of later ones further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In which epoch.
    pub epoch: Epoch,
    /// Which round of it.
    pub round: u64,
}

impl Place {
    /// Where an identifier of this agreement stands. Epochs have 40 bits, rounds 48, views 32.
    pub(super) fn position(self, view: View, step: Step) -> u128 {
        assert!(self.epoch.0 < 1 << 40 && self.round < 1 << 48, "numbers count up one by one");
        let front = (u128::from(self.epoch.0) << 48 | u128::from(self.round)) << 40;
        front | u128::from(view.0) << 8 | step as u128
    }

    /// The view in which something was identified, if it was in this agreement.
    pub(super) fn view_of(self, position: u128) -> Option<View> {
        let front = u128::from(self.epoch.0) << 48 | u128::from(self.round);
        // No step has the number 0: that is before everything.
        let taken = position >> 40 == front && position & 0xff != 0;
        taken.then_some(View((position >> 8) as u32))
    }
}

/// A value, and in which view it was first proposed: of the same value in different views, the
/// later one is another proposal, with another seed.
pub(super) fn proposal_digest(origin: View, value: Digest) -> Digest {
    Digest::of_encoded("maftia views proposal", &(origin, value))
}

/// What a server identifies when it takes a step.
pub(super) fn statement(scope: Scope, view: View, step: Step, proposal: Digest) -> Digest {
    let said = (scope.digest(), (view, (step as u8, proposal)));
    Digest::of_encoded("maftia views identifier", &said)
}

/// The call that identifies it. What enters a view is not marked: it names the last vote.
pub(super) fn identify(
    scope: Scope,
    place: Place,
    view: View,
    step: Step,
    proposal: Digest,
) -> Call {
    Call::Identify {
        counter: COUNTER,
        position: place.position(view, step),
        value: statement(scope, view, step, proposal).0,
        marked: step != Step::Enter,
        timed: false,
    }
}

/// A leader's proposal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepare<V: Value> {
    /// In which view.
    pub view: View,
    /// What.
    pub value: V,
    /// In which view it was proposed first.
    pub origin: View,
    /// The identifier of the first proposal, if this is not the first.
    pub first: Option<Attested<Identifier>>,
    /// The leader's identifier.
    pub identifier: Attested<Identifier>,
    /// Why it may be proposed in this view.
    pub justification: Justification,
}

wire_struct!(<V: Value> Prepare<V> { view, value, origin, first, identifier, justification });

/// A server enters a view, and shows its last vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Enter<V: Value> {
    /// Which view.
    pub view: View,
    /// The identifier, which names the last vote.
    pub identifier: Attested<Identifier>,
    /// What that vote was for, if it was in this agreement.
    pub vote: Option<Prepare<V>>,
}

wire_struct!(<V: Value> Enter<V> { view, identifier, vote });

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Message<V: Value> {
    /// Something to propose, from one who does not lead.
    Input {
        /// What.
        value: V,
    },
    /// The leader proposes.
    Prepare(Prepare<V>),
    /// A vote for the leader's proposal.
    Commit {
        /// In which view.
        view: View,
        /// For which proposal.
        proposal: Digest,
        /// The identifier.
        identifier: Attested<Identifier>,
    },
    /// The sender enters a view.
    Enter(Enter<V>),
    /// The sender saw enough votes for this proposal, and lacks it.
    Ask {
        /// Which one.
        proposal: Digest,
    },
    /// The decision, to who is behind.
    Decided {
        /// What.
        value: V,
        /// The proof.
        decision: Decision,
    },
}

wire_enum!(<V: Value> Message<V> {
    0 => Input { value },
    1 => Prepare(prepare),
    2 => Commit { view, proposal, identifier },
    3 => Enter(enter),
    4 => Ask { proposal },
    5 => Decided { value, decision },
});

/// What must survive a crash: what is to be identified, before it is. The identifier itself may be
/// lost: until the next thing is written down the trusted component gives it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<V: Value> {
    /// To propose this.
    Proposes {
        /// In which view.
        view: View,
        /// What.
        value: V,
        /// In which view it was proposed first.
        origin: View,
        /// The identifier of the first proposal, if this is not the first.
        first: Option<Attested<Identifier>>,
        /// Why it may be.
        justification: Justification,
    },
    /// To vote for this.
    Votes(Prepare<V>),
    /// To enter this view.
    Enters(View),
    /// What was to be identified is.
    Identified(Attested<Identifier>),
    /// The decision.
    Decided {
        /// What.
        value: V,
        /// The proof.
        decision: Decision,
    },
}

wire_enum!(<V: Value> Record<V> {
    0 => Proposes { view, value, origin, first, justification },
    1 => Votes(prepare),
    2 => Enters(view),
    3 => Identified(identifier),
    4 => Decided { value, decision },
});
