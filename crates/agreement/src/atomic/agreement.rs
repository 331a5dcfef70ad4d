//! The agreement of one round: by chance in the asynchronous configuration; in the hybrid one in
//! views or by places, as its members are [ordered](OrderedBy). To the order they are the same.

use super::batch::{Heads, Round};
use crate::hybrid::placed::{self, PlacedAgreement};
use crate::hybrid::views::{self, Place, ViewAgreement};
use crate::hybrid::{Members, OrderedBy};
use crate::multivalued::{self, ValidatedAgreement};
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{
    Context, Digest, Epoch, Event, Fault, FaultKind, Group, Party, Protocol, Scope, Slot,
};
use maftia_crypto::{Done, Suite, Work};

type Random<S> = ValidatedAgreement<S, Heads<S>>;
type Views<S> = ViewAgreement<S, Heads<S>>;
type Placed<S> = PlacedAgreement<S, Heads<S>>;

/// What the order must know of the hybrid configuration; nothing in the asynchronous one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hybrid {
    pub(super) members: Members,
    /// Who leads in the round that is not decided.
    pub(super) leaders: Leaders,
    /// Who leads in the round that is not delivered.
    pub(super) delivered: Leaders,
}

/// Who leads first in some round, and in the one after it: who proposed what was decided two rounds
/// before, so that a round can begin before the one before it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leaders {
    present: Party,
    next: Party,
}

impl Default for Leaders {
    fn default() -> Self {
        Self { present: Party::new(0), next: Party::new(0) }
    }
}

wire_struct!(Leaders { present, next });

impl Hybrid {
    pub(super) fn new(members: Members) -> Self {
        Self { members, leaders: Leaders::default(), delivered: Leaders::default() }
    }

    /// Takes note of who proposed what the present round decided.
    pub(super) fn advance<S: Suite>(&mut self, decision: &RoundDecision<S>) {
        let next = match decision {
            RoundDecision::Random(_) => return,
            RoundDecision::Views(it) => it.proposer(self.leaders.present, self.members.n()),
            RoundDecision::Placed(it) => it.proposer(),
        };
        self.leaders = Leaders { present: self.leaders.next, next };
    }
}

/// The agreement of one round.
#[derive(Clone, Debug, Hash)]
pub enum RoundAgreement<S: Suite> {
    /// In the asynchronous configuration.
    Random(Box<Random<S>>),
    /// In the hybrid configuration, by identifiers.
    Views(Box<Views<S>>),
    /// In the hybrid configuration, by the ordering service.
    Placed(Box<Placed<S>>),
}

/// What peers exchange about a round.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "both hold vectors of lane heads")]
pub enum AgreeMessage<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Message<S, Heads<S>>),
    /// In the hybrid configuration, by identifiers.
    Views(views::Message<Heads<S>>),
    /// In the hybrid configuration, by the ordering service.
    Placed(placed::Message<Heads<S>>),
}

wire_enum!(<S: Suite> AgreeMessage<S> {
    0 => Random(message),
    1 => Views(message),
    2 => Placed(message),
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "both hold vectors of lane heads")]
pub enum AgreeRecord<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Record<S, Heads<S>>),
    /// In the hybrid configuration, by identifiers.
    Views(views::Record<Heads<S>>),
    /// In the hybrid configuration, by the ordering service.
    Placed(placed::Record<Heads<S>>),
}

wire_enum!(<S: Suite> AgreeRecord<S> {
    0 => Random(record),
    1 => Views(record),
    2 => Placed(record),
});

/// Names a piece of work.
#[derive(Clone, Debug)]
pub enum AgreeTicket<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Ticket<S>),
    /// In the hybrid configuration, by identifiers.
    Views(views::Ticket),
    /// In the hybrid configuration, by the ordering service.
    Placed(placed::Ticket),
}

/// The proof of what a round decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "one configuration uses one of them")]
pub enum RoundDecision<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Decision<S>),
    /// In the hybrid configuration, by identifiers.
    Views(views::Decision),
    /// In the hybrid configuration, by the ordering service.
    Placed(placed::Decision),
}

wire_enum!(<S: Suite> RoundDecision<S> {
    0 => Random(decision),
    1 => Views(decision),
    2 => Placed(decision),
});

/// What the order is told.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum AgreeOutcome<S: Suite> {
    /// Is this vector valid?
    Validate {
        /// Who proposed it.
        from: Party,
        /// The vector.
        value: Heads<S>,
    },
    /// The round is decided.
    Decided {
        /// What.
        value: Heads<S>,
        /// The proof.
        proof: RoundDecision<S>,
        /// 256 bits, the same at every server.
        seed: Digest,
    },
    /// This server's trusted component answers in another life than the group knows.
    OtherLife,
}

impl<S: Suite> Vocabulary for RoundAgreement<S> {
    // It decides the scope, and with it the names of coins.
    const NAME: &'static str = "multivalued";
    type Command = multivalued::Command<Heads<S>>;
    type Outcome = AgreeOutcome<S>;
    type Message = AgreeMessage<S>;
    type Timer = Never;
    type Ticket = AgreeTicket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = AgreeRecord<S>;
}

/// Where each sits, and how it is stepped: its own events are told from those of the others.
macro_rules! variant {
    ($(#[$doc:meta])* $slot:ident, $variant:ident, $child:ident, $step:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        struct $slot;

        impl<S: Suite> Slot<RoundAgreement<S>> for $slot {
            type Child = $child<S>;
            fn label(self) -> u64 {
                0
            }
            fn message(self, message: <$child<S> as Vocabulary>::Message) -> AgreeMessage<S> {
                AgreeMessage::$variant(message)
            }
            fn ticket(self, ticket: <$child<S> as Vocabulary>::Ticket) -> AgreeTicket<S> {
                AgreeTicket::$variant(ticket)
            }
            fn record(self, record: <$child<S> as Vocabulary>::Record) -> AgreeRecord<S> {
                AgreeRecord::$variant(record)
            }
            fn scope(self, parent: Scope) -> Scope {
                parent
            }
        }

        fn $step<S: Suite>(
            inner: &mut $child<S>,
            event: Event<RoundAgreement<S>>,
            cx: &mut impl Context<RoundAgreement<S>>,
        ) -> Vec<<$child<S> as Vocabulary>::Outcome> {
            let event = match event {
                Event::Message { from, body: AgreeMessage::$variant(body) } => {
                    Event::Message { from, body }
                }
                Event::Message { from, .. } => {
                    // It is of another configuration.
                    cx.blame(Fault::suspected(from, FaultKind::Malformed));
                    return Vec::new();
                }
                Event::Done { ticket: AgreeTicket::$variant(ticket), done } => {
                    Event::Done { ticket, done }
                }
                Event::Restore(AgreeRecord::$variant(record)) => Event::Restore(record),
                Event::Done { .. } | Event::Restore(_) => unreachable!("it is not its own"),
                Event::Command(command) => Event::Command(command),
                Event::Timer(never) => match never {},
                Event::Resumed => Event::Resumed,
                Event::Reconnected(peer) => Event::Reconnected(peer),
            };
            cx.step($slot, inner, event)
        }
    };
}

variant!(
    /// Where the asynchronous one sits.
    RandomSlot, Random, Random, step_random
);
variant!(
    /// Where the one by identifiers sits.
    ViewsSlot, Views, Views, step_views
);
variant!(
    /// Where the one by the ordering service sits.
    PlacedSlot, Placed, Placed, step_placed
);

impl<S: Suite> From<multivalued::Outcome<S, Heads<S>>> for AgreeOutcome<S> {
    fn from(outcome: multivalued::Outcome<S, Heads<S>>) -> Self {
        match outcome {
            multivalued::Outcome::Validate { from, value } => Self::Validate { from, value },
            multivalued::Outcome::Decided { value, proof, seed } => {
                Self::Decided { value, proof: RoundDecision::Random(proof), seed }
            }
        }
    }
}

impl<S: Suite> From<views::Outcome<Heads<S>>> for AgreeOutcome<S> {
    fn from(outcome: views::Outcome<Heads<S>>) -> Self {
        match outcome {
            views::Outcome::Validate { from, value } => Self::Validate { from, value },
            views::Outcome::Decided { value, proof, seed } => {
                Self::Decided { value, proof: RoundDecision::Views(proof), seed }
            }
            views::Outcome::OtherLife => Self::OtherLife,
        }
    }
}

impl<S: Suite> From<placed::Outcome<Heads<S>>> for AgreeOutcome<S> {
    fn from(outcome: placed::Outcome<Heads<S>>) -> Self {
        match outcome {
            placed::Outcome::Validate { from, value } => Self::Validate { from, value },
            placed::Outcome::Decided { value, proof, seed } => {
                Self::Decided { value, proof: RoundDecision::Placed(proof), seed }
            }
            placed::Outcome::OtherLife => Self::OtherLife,
        }
    }
}

impl<S: Suite> Protocol for RoundAgreement<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        let outcomes: Vec<AgreeOutcome<S>> = match self {
            Self::Random(inner) => {
                step_random(inner, event, cx).into_iter().map(Into::into).collect()
            }
            Self::Views(inner) => {
                step_views(inner, event, cx).into_iter().map(Into::into).collect()
            }
            Self::Placed(inner) => {
                step_placed(inner, event, cx).into_iter().map(Into::into).collect()
            }
        };
        outcomes.into_iter().for_each(|outcome| cx.output(outcome));
    }

    fn is_settled(&self) -> bool {
        match self {
            Self::Random(inner) => Protocol::is_settled(&**inner),
            Self::Views(inner) => Protocol::is_settled(&**inner),
            Self::Placed(inner) => Protocol::is_settled(&**inner),
        }
    }

    fn footprint(&self) -> usize {
        match self {
            Self::Random(inner) => Protocol::footprint(&**inner),
            Self::Views(inner) => Protocol::footprint(&**inner),
            Self::Placed(inner) => Protocol::footprint(&**inner),
        }
    }
}

impl<S: Suite> RoundAgreement<S> {
    /// The agreement of a round, in which nobody has proposed yet.
    pub(super) fn new(
        hybrid: Option<&Hybrid>,
        me: Party,
        (epoch, round): (Epoch, Round),
        is_next: bool,
    ) -> Self {
        match hybrid {
            None => Self::Random(Box::default()),
            Some(Hybrid { members, leaders, .. }) => {
                let place = Place { epoch, round: round.0 };
                let base = if is_next { leaders.next } else { leaders.present };
                let members = members.clone();
                match members.ordered_by() {
                    OrderedBy::Identifiers => {
                        Self::Views(Box::new(ViewAgreement::new(me, members, place, base)))
                    }
                    OrderedBy::Service => {
                        Self::Placed(Box::new(PlacedAgreement::new(me, members, place, base)))
                    }
                }
            }
        }
    }

    /// Has the layer above given it a value to propose?
    pub(super) fn has_input(&self) -> bool {
        match self {
            Self::Random(inner) => inner.has_input(),
            Self::Views(inner) => inner.has_input(),
            Self::Placed(inner) => inner.has_input(),
        }
    }
}

impl<S: Suite> AgreeMessage<S> {
    /// Does who sends it need the decision?
    pub(super) fn asks(&self) -> bool {
        match self {
            Self::Random(message) => matches!(message, multivalued::Message::Ask { .. }),
            Self::Views(message) => matches!(
                message,
                views::Message::Ask { .. }
                    | views::Message::Enter(_)
                    | views::Message::Input { .. }
            ),
            Self::Placed(message) => {
                matches!(message, placed::Message::Ask | placed::Message::Propose(_))
            }
        }
    }
}

impl<S: Suite> AgreeRecord<S> {
    /// The decision, if it is one.
    pub(super) fn decided(self) -> Option<(Heads<S>, RoundDecision<S>, Digest)> {
        match self {
            Self::Random(multivalued::Record::Decided { value, decision, seed }) => {
                Some((value, RoundDecision::Random(decision), seed))
            }
            Self::Views(views::Record::Decided { value, decision }) => {
                let seed = decision.seed();
                Some((value, RoundDecision::Views(decision), seed))
            }
            Self::Placed(placed::Record::Decided { value, decision }) => {
                let seed = decision.seed();
                Some((value, RoundDecision::Placed(decision), seed))
            }
            _ => None,
        }
    }

    /// Is it the decision?
    pub(super) fn is_decided(&self) -> bool {
        matches!(
            self,
            Self::Random(multivalued::Record::Decided { .. })
                | Self::Views(views::Record::Decided { .. })
                | Self::Placed(placed::Record::Decided { .. })
        )
    }
}

impl<S: Suite> RoundDecision<S> {
    /// The work of checking that the present round decided the vector with this digest; `None` if
    /// it cannot have.
    pub(super) fn checks(
        &self,
        hybrid: Option<&Hybrid>,
        (epoch, round): (Epoch, Round),
        scope: Scope,
        group: &Group,
        digest: Digest,
    ) -> Option<Vec<Work<S>>> {
        match (self, hybrid) {
            (Self::Random(decision), None) => decision.checks(scope, group, digest),
            (Self::Views(decision), Some(Hybrid { members, leaders, .. })) => {
                let place = (Place { epoch, round: round.0 }, leaders.present);
                decision.checks(place, members, scope, group, digest)
            }
            (Self::Placed(decision), Some(Hybrid { members, .. })) => {
                let place = Place { epoch, round: round.0 };
                decision.checks(place, members, scope, group, digest)
            }
            _ => None,
        }
    }

    /// The agreed seed, if the results of [`checks`](Self::checks) say that it holds.
    pub(super) fn holds(&self, group: &Group, dones: &[Done<S>]) -> Option<Digest> {
        match self {
            Self::Random(decision) => decision.holds(group, dones),
            Self::Views(decision) => decision.holds(dones),
            Self::Placed(decision) => decision.holds(dones),
        }
    }
}
