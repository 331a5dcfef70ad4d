//! The agreement of one round: by chance in the asynchronous configuration, in views in the hybrid
//! one. To the order they are the same.

use super::batch::{Heads, Round};
use crate::hybrid::Members;
use crate::hybrid::views::{self, Place, ViewAgreement};
use crate::multivalued::{self, ValidatedAgreement};
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{
    Context, Digest, Epoch, Event, Fault, FaultKind, Group, Party, Protocol, Scope, Slot,
};
use maftia_crypto::{Done, Suite, Work};

type Random<S> = ValidatedAgreement<S, Heads<S>>;
type Views<S> = ViewAgreement<S, Heads<S>>;

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
    pub(super) fn advance(&mut self, decision: &views::Decision) {
        let next = decision.proposer(self.leaders.present, self.members.n());
        self.leaders = Leaders { present: self.leaders.next, next };
    }
}

/// The agreement of one round.
#[derive(Clone, Debug, Hash)]
pub enum RoundAgreement<S: Suite> {
    /// In the asynchronous configuration.
    Random(Box<Random<S>>),
    /// In the hybrid configuration.
    Views(Box<Views<S>>),
}

/// What peers exchange about a round.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "both hold vectors of lane heads")]
pub enum AgreeMessage<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Message<S, Heads<S>>),
    /// In the hybrid configuration.
    Views(views::Message<Heads<S>>),
}

wire_enum!(<S: Suite> AgreeMessage<S> { 0 => Random(message), 1 => Views(message) });

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "both hold vectors of lane heads")]
pub enum AgreeRecord<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Record<S, Heads<S>>),
    /// In the hybrid configuration.
    Views(views::Record<Heads<S>>),
}

wire_enum!(<S: Suite> AgreeRecord<S> { 0 => Random(record), 1 => Views(record) });

/// Names a piece of work.
#[derive(Clone, Debug)]
pub enum AgreeTicket<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Ticket<S>),
    /// In the hybrid configuration.
    Views(views::Ticket),
}

/// The proof of what a round decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "one configuration uses one of them")]
pub enum RoundDecision<S: Suite> {
    /// In the asynchronous configuration.
    Random(multivalued::Decision<S>),
    /// In the hybrid configuration.
    Views(views::Decision),
}

wire_enum!(<S: Suite> RoundDecision<S> { 0 => Random(decision), 1 => Views(decision) });

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

/// Where the asynchronous one sits.
#[derive(Clone, Copy, Debug)]
struct RandomSlot;

/// Where the hybrid one sits.
#[derive(Clone, Copy, Debug)]
struct ViewsSlot;

impl<S: Suite> Slot<RoundAgreement<S>> for RandomSlot {
    type Child = Random<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: <Random<S> as Vocabulary>::Message) -> AgreeMessage<S> {
        AgreeMessage::Random(message)
    }
    fn ticket(self, ticket: <Random<S> as Vocabulary>::Ticket) -> AgreeTicket<S> {
        AgreeTicket::Random(ticket)
    }
    fn record(self, record: <Random<S> as Vocabulary>::Record) -> AgreeRecord<S> {
        AgreeRecord::Random(record)
    }
    fn scope(self, parent: Scope) -> Scope {
        parent
    }
}

impl<S: Suite> Slot<RoundAgreement<S>> for ViewsSlot {
    type Child = Views<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: <Views<S> as Vocabulary>::Message) -> AgreeMessage<S> {
        AgreeMessage::Views(message)
    }
    fn ticket(self, ticket: <Views<S> as Vocabulary>::Ticket) -> AgreeTicket<S> {
        AgreeTicket::Views(ticket)
    }
    fn record(self, record: <Views<S> as Vocabulary>::Record) -> AgreeRecord<S> {
        AgreeRecord::Views(record)
    }
    fn scope(self, parent: Scope) -> Scope {
        parent
    }
}

impl<S: Suite> Protocol for RoundAgreement<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match self {
            Self::Random(inner) => {
                let event = match event {
                    Event::Message { from, body: AgreeMessage::Random(body) } => {
                        Event::Message { from, body }
                    }
                    Event::Message { from, .. } => return misplaced(from, cx),
                    Event::Done { ticket: AgreeTicket::Random(ticket), done } => {
                        Event::Done { ticket, done }
                    }
                    Event::Restore(AgreeRecord::Random(record)) => Event::Restore(record),
                    Event::Done { .. } | Event::Restore(_) => unreachable!("it is not its own"),
                    Event::Command(command) => Event::Command(command),
                    Event::Timer(never) => match never {},
                    Event::Resumed => Event::Resumed,
                    Event::Reconnected(peer) => Event::Reconnected(peer),
                };
                for outcome in cx.step(RandomSlot, inner, event) {
                    cx.output(match outcome {
                        multivalued::Outcome::Validate { from, value } => {
                            AgreeOutcome::Validate { from, value }
                        }
                        multivalued::Outcome::Decided { value, proof, seed } => {
                            let proof = RoundDecision::Random(proof);
                            AgreeOutcome::Decided { value, proof, seed }
                        }
                    });
                }
            }
            Self::Views(inner) => {
                let event = match event {
                    Event::Message { from, body: AgreeMessage::Views(body) } => {
                        Event::Message { from, body }
                    }
                    Event::Message { from, .. } => return misplaced(from, cx),
                    Event::Done { ticket: AgreeTicket::Views(ticket), done } => {
                        Event::Done { ticket, done }
                    }
                    Event::Restore(AgreeRecord::Views(record)) => Event::Restore(record),
                    Event::Done { .. } | Event::Restore(_) => unreachable!("it is not its own"),
                    Event::Command(command) => Event::Command(command),
                    Event::Timer(never) => match never {},
                    Event::Resumed => Event::Resumed,
                    Event::Reconnected(peer) => Event::Reconnected(peer),
                };
                for outcome in cx.step(ViewsSlot, inner, event) {
                    cx.output(match outcome {
                        views::Outcome::Validate { from, value } => {
                            AgreeOutcome::Validate { from, value }
                        }
                        views::Outcome::Decided { value, proof, seed } => {
                            let proof = RoundDecision::Views(proof);
                            AgreeOutcome::Decided { value, proof, seed }
                        }
                        views::Outcome::OtherLife => AgreeOutcome::OtherLife,
                    });
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        match self {
            Self::Random(inner) => Protocol::is_settled(&**inner),
            Self::Views(inner) => Protocol::is_settled(&**inner),
        }
    }

    fn footprint(&self) -> usize {
        match self {
            Self::Random(inner) => Protocol::footprint(&**inner),
            Self::Views(inner) => Protocol::footprint(&**inner),
        }
    }
}

/// A message of the other configuration.
fn misplaced<S: Suite>(from: Party, cx: &mut impl Context<RoundAgreement<S>>) {
    cx.blame(Fault::suspected(from, FaultKind::Malformed));
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
                Self::Views(Box::new(ViewAgreement::new(me, members.clone(), place, base)))
            }
        }
    }

    /// Has the layer above given it a value to propose?
    pub(super) fn has_input(&self) -> bool {
        match self {
            Self::Random(inner) => inner.has_input(),
            Self::Views(inner) => inner.has_input(),
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
            _ => None,
        }
    }

    /// Is it the decision?
    pub(super) fn is_decided(&self) -> bool {
        matches!(
            self,
            Self::Random(multivalued::Record::Decided { .. })
                | Self::Views(views::Record::Decided { .. })
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
            _ => None,
        }
    }

    /// The agreed seed, if the results of [`checks`](Self::checks) say that it holds.
    pub(super) fn holds(&self, group: &Group, dones: &[Done<S>]) -> Option<Digest> {
        match self {
            Self::Random(decision) => decision.holds(group, dones),
            Self::Views(decision) => decision.holds(dones),
        }
    }
}
