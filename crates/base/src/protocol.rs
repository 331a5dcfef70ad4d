//! The shape of every protocol: a deterministic state machine, one event in, effects out.
//!
//! # The contract between a protocol and whatever drives it
//!
//! - **Total.** `handle` neither fails nor blocks; what a peer does wrong is a [`Fault`].
//! - **Log order.** Effects of a step leave only when all records of that step and of all earlier
//!   steps are durable, and they leave in order. Work may start earlier; its results come back as
//!   events, hence as later steps.
//! - **Self-delivery.** A message to [`Target::All`] also comes back to its sender as an ordinary
//!   message event, at some later step, without waiting for the log: what follows from it waits.
//! - **Restart.** A protocol is built afresh, receives its records in order as
//!   [`Event::Restore`] (it may output, so that the layer above is rebuilt, and emits nothing
//!   else), then one [`Event::Resumed`], on which it emits again
//!   the current messages and work of everything unsettled. Emission is idempotent at the receiver.
//! - **Eventual delivery.** What a correct party sends, a correct party receives, or the sender is
//!   told by [`Event::Reconnected`] that the receiver may have lost messages; it then emits again
//!   to that party what the party may still need. Thus a message queue never has to outgrow its
//!   bound: the protocol's own (bounded) state is the queue.
//! - **Work.** Heavy or secret computation leaves as [`Context::offload`] and returns as
//!   [`Event::Done`], at any later time, in any order, at most once per restart.
//! - **The trusted component** is asked by [`Context::consult`], which leaves in the order of the
//!   log, as messages do: what it is told cannot be taken back. It answers as work does, or never.

use crate::time::{Duration, Time};
use crate::{Fault, Group, Party, Scope};
use std::fmt::Debug;
use std::hash::Hash;

/// The types that a protocol speaks in.
pub trait Vocabulary: Sized {
    /// Name in scopes, traces, metrics and fault reports; unique among a parent's children.
    const NAME: &'static str;
    /// What the layer above asks for.
    type Command: Debug;
    /// What the layer above is told.
    type Outcome: Debug;
    /// What peers exchange; decoded and size-checked before it gets here.
    type Message: Clone + Debug;
    /// Names of its timers; [`Never`] in the asynchronous configuration.
    type Timer: Copy + Ord + Debug;
    /// Names a piece of work, so that its result finds the way back.
    type Ticket: Clone + Debug;
    /// Work done elsewhere. One type for a whole tree of protocols: it is not lifted.
    type Work: Debug;
    /// What comes back from work.
    type Done: Debug;
    /// What must survive a crash.
    type Record: Clone + Debug;
}

/// A type without values: the timer of a protocol that must not know time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Never {}

/// A deterministic state machine that cannot see a clock.
pub trait Protocol: Vocabulary<Timer = Never> + Clone + Debug + Hash {
    /// Handles one event. Total: it neither fails nor blocks.
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>);

    /// True once it will emit nothing more and can be dropped.
    fn is_settled(&self) -> bool;

    /// Items held on behalf of peers; the simulator asserts a bound.
    fn footprint(&self) -> usize;

    /// How many more commands it takes now; the layer above keeps the rest.
    fn capacity(&self) -> usize {
        usize::MAX
    }
}

/// A deterministic state machine that may see its driver's clock.
///
/// Every [`Protocol`] is one whose timers never fire, so a driver needs to know only this trait.
pub trait TimedProtocol: Vocabulary + Clone + Debug + Hash {
    /// Handles one event. Total: it neither fails nor blocks.
    fn handle_timed(&mut self, event: Event<Self>, cx: &mut impl Timed<Self>);

    /// See [`Protocol::is_settled`].
    fn is_settled(&self) -> bool;

    /// See [`Protocol::footprint`].
    fn footprint(&self) -> usize;
}

impl<P: Protocol> TimedProtocol for P {
    fn handle_timed(&mut self, event: Event<Self>, cx: &mut impl Timed<Self>) {
        self.handle(event, cx);
    }

    fn is_settled(&self) -> bool {
        Protocol::is_settled(self)
    }

    fn footprint(&self) -> usize {
        Protocol::footprint(self)
    }
}

/// One input of a protocol.
#[derive(Debug)]
pub enum Event<V: Vocabulary> {
    /// The layer above asks.
    Command(V::Command),
    /// A peer says; `from` is already authenticated.
    Message {
        /// Who sent it.
        from: Party,
        /// What was sent.
        body: V::Message,
    },
    /// A timer fired.
    Timer(V::Timer),
    /// Work is finished.
    Done {
        /// Which work.
        ticket: V::Ticket,
        /// Its result.
        done: V::Done,
    },
    /// Replay of the log, before anything else.
    Restore(V::Record),
    /// The log has been replayed, or was empty.
    Resumed,
    /// Messages to this peer may have been lost.
    Reconnected(Party),
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Every party of the group, this one included.
    All,
    /// Every party but this one.
    Others,
    /// One party, perhaps this one.
    One(Party),
}

/// Where a protocol's effects go.
pub trait Context<V: Vocabulary> {
    /// The group, its adversary structure, and who this server is.
    fn group(&self) -> &Group;
    /// The place of this instance: bind it into whatever is signed.
    fn scope(&self) -> Scope;
    /// Sends a message.
    fn send(&mut self, to: Target, body: V::Message);
    /// Has work done elsewhere.
    fn offload(&mut self, ticket: V::Ticket, work: V::Work);
    /// Has this server's trusted component do something. It leaves in the order of the log.
    fn consult(&mut self, ticket: V::Ticket, call: V::Work);
    /// Appends a record to the log; all effects of this step wait for it.
    fn persist(&mut self, record: V::Record);
    /// Appends a record that no effect needs to wait for: losing it costs work after a restart,
    /// and never safety, because it can be derived again from what is durable at a quorum.
    fn note(&mut self, record: V::Record);
    /// Reports misbehaviour.
    fn blame(&mut self, fault: Fault);
    /// Tells the layer above.
    fn output(&mut self, outcome: V::Outcome);

    /// Steps a child; its effects are lifted into this protocol's, its outcomes are returned.
    fn step<S>(
        &mut self,
        slot: S,
        child: &mut S::Child,
        event: Event<S::Child>,
    ) -> Vec<<S::Child as Vocabulary>::Outcome>
    where
        S: Slot<V>,
        S::Child: Protocol,
        Self: Sized,
    {
        let mut lifted = Lifted::new(self, slot);
        child.handle(event, &mut lifted);
        lifted.outcomes
    }
}

/// A context with a clock.
pub trait Timed<V: Vocabulary>: Context<V> {
    /// Time of this event; constant within a step.
    fn now(&self) -> Time;
    /// Has `timer` fire once after `after`; arming it again replaces it.
    fn arm(&mut self, timer: V::Timer, after: Duration);
    /// Stops `timer`.
    fn disarm(&mut self, timer: V::Timer);

    /// As [`Context::step`], for a child with timers.
    fn step_timed<S>(
        &mut self,
        slot: S,
        child: &mut S::Child,
        event: Event<S::Child>,
    ) -> Vec<<S::Child as Vocabulary>::Outcome>
    where
        S: TimedSlot<V>,
        S::Child: TimedProtocol,
        Self: Sized,
    {
        let mut lifted = Lifted::new(self, slot);
        child.handle_timed(event, &mut lifted);
        lifted.outcomes
    }
}

/// Where a child's vocabulary sits in its parent's: one small `Copy` type per kind of child.
pub trait Slot<V: Vocabulary>: Copy {
    /// The kind of child.
    type Child: Vocabulary<Work = V::Work, Done = V::Done>;
    /// Number of the child among its kind; extends the scope.
    fn label(self) -> u64;
    /// Lifts a message.
    fn message(self, message: <Self::Child as Vocabulary>::Message) -> V::Message;
    /// Lifts a ticket.
    fn ticket(self, ticket: <Self::Child as Vocabulary>::Ticket) -> V::Ticket;
    /// Lifts a record.
    fn record(self, record: <Self::Child as Vocabulary>::Record) -> V::Record;
    /// The scope of the child under its parent's.
    fn scope(self, parent: Scope) -> Scope {
        parent.child(<Self::Child as Vocabulary>::NAME, self.label())
    }
}

/// A slot whose child has timers.
pub trait TimedSlot<V: Vocabulary>: Slot<V> {
    /// Lifts a timer.
    fn timer(self, timer: <Self::Child as Vocabulary>::Timer) -> V::Timer;
}

/// A parent's context as its child sees it.
struct Lifted<'a, V: Vocabulary, S: Slot<V>, C> {
    parent: &'a mut C,
    slot: S,
    scope: Scope,
    outcomes: Vec<<S::Child as Vocabulary>::Outcome>,
    _parent: std::marker::PhantomData<V>,
}

impl<'a, V: Vocabulary, S: Slot<V>, C: Context<V>> Lifted<'a, V, S, C> {
    fn new(parent: &'a mut C, slot: S) -> Self {
        let scope = slot.scope(parent.scope());
        Self { parent, slot, scope, outcomes: Vec::new(), _parent: std::marker::PhantomData }
    }
}

impl<V: Vocabulary, S: Slot<V>, C: Context<V>> Context<S::Child> for Lifted<'_, V, S, C> {
    fn group(&self) -> &Group {
        self.parent.group()
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn send(&mut self, to: Target, body: <S::Child as Vocabulary>::Message) {
        self.parent.send(to, self.slot.message(body));
    }

    fn offload(
        &mut self,
        ticket: <S::Child as Vocabulary>::Ticket,
        work: <S::Child as Vocabulary>::Work,
    ) {
        self.parent.offload(self.slot.ticket(ticket), work);
    }

    fn consult(
        &mut self,
        ticket: <S::Child as Vocabulary>::Ticket,
        call: <S::Child as Vocabulary>::Work,
    ) {
        self.parent.consult(self.slot.ticket(ticket), call);
    }

    fn persist(&mut self, record: <S::Child as Vocabulary>::Record) {
        self.parent.persist(self.slot.record(record));
    }

    fn note(&mut self, record: <S::Child as Vocabulary>::Record) {
        self.parent.note(self.slot.record(record));
    }

    fn blame(&mut self, fault: Fault) {
        self.parent.blame(fault);
    }

    fn output(&mut self, outcome: <S::Child as Vocabulary>::Outcome) {
        self.outcomes.push(outcome);
    }
}

impl<V: Vocabulary, S: TimedSlot<V>, C: Timed<V>> Timed<S::Child> for Lifted<'_, V, S, C> {
    fn now(&self) -> Time {
        self.parent.now()
    }

    fn arm(&mut self, timer: <S::Child as Vocabulary>::Timer, after: Duration) {
        self.parent.arm(self.slot.timer(timer), after);
    }

    fn disarm(&mut self, timer: <S::Child as Vocabulary>::Timer) {
        self.parent.disarm(self.slot.timer(timer));
    }
}
