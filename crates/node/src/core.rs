//! The driver's half of the protocol contract, without any I/O: which effect may leave when.
//!
//! # Promise
//! - *Log order.* An effect leaves only when every record that was persisted in its step or in an
//!   earlier one is durable, and effects leave in the order in which they were made.
//! - *Self-delivery.* What the protocol sends to itself comes back at once, as a later step.
//! - *Silent replay.* While the log is replayed nothing leaves.
//!
//! # Rules
//! - R1. A persisted record raises the gate to its place in the log; a noted one is appended and
//!   raises nothing.
//! - R2. An effect is held with the gate that stood at the end of its step.
//! - R3. When the log is durable up to a place, all held effects whose gate is not above it leave.
//! - R4. Work and timers start at once: a result comes back as a later step, whose effects wait.
//!
//! # Bounds
//! What is held is bounded by what the protocol emits while one group commit is in flight; timers
//! are one for each name.

use maftia_base::canary;
use maftia_base::protocol::{Timed, TimedProtocol};
use maftia_base::time::{Duration, Time};
use maftia_base::{Context, Event, Fault, Group, Party, Scope, Target};
use std::collections::{BTreeMap, VecDeque};

/// What leaves the server or its protocol.
#[derive(Debug)]
pub enum Effect<P: TimedProtocol> {
    /// To other servers; never to this one.
    Send(Target, P::Message),
    /// To this server's trusted component.
    Consult(P::Ticket, P::Work),
    /// To the layer above.
    Output(P::Outcome),
    /// To whoever watches.
    Blame(Fault),
}

/// A protocol with everything that its driver must keep about it.
#[derive(Debug)]
pub struct Core<P: TimedProtocol> {
    protocol: P,
    group: Group,
    scope: Scope,
    log: Log<P>,
    held: VecDeque<(u64, Effect<P>)>,
    timers: Timers<P::Timer>,
    own: VecDeque<P::Message>,
    work: Vec<(P::Ticket, P::Work)>,
}

/// The tail of the log as the protocol sees it. Positions count all records that there ever were.
#[derive(Debug)]
struct Log<P: TimedProtocol> {
    unwritten: Vec<P::Record>,
    end: u64,
    gate: u64,
    durable: u64,
}

impl<P: TimedProtocol> Core<P> {
    /// A protocol that has seen nothing yet, under the scope of its group.
    pub fn new(protocol: P, group: Group) -> Self {
        let scope = group.scope();
        let log = Log { unwritten: Vec::new(), end: 0, gate: 0, durable: 0 };
        let timers = Timers { due: BTreeMap::new(), order: BTreeMap::new(), armed: 0 };
        let (held, own) = (VecDeque::new(), VecDeque::new());
        Self { protocol, group, scope, log, held, timers, own, work: Vec::new() }
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The log begins at `start`: what was before is cut off.
    pub fn begin_at(&mut self, start: u64) {
        assert!(self.log.end == 0, "a log begins before anything is replayed or written");
        self.log = Log { unwritten: Vec::new(), end: start, gate: start, durable: start };
    }

    /// Replays one record of the log; returns what the protocol tells the layer above.
    pub fn restore(&mut self, record: P::Record, now: Time) -> Vec<P::Outcome> {
        let effects = self.run(Event::Restore(record), now);
        assert!(
            self.log.unwritten.is_empty() && self.work.is_empty() && self.own.is_empty(),
            "a protocol writes, sends and works nothing while its log is replayed"
        );
        self.log.end += 1;
        self.log.durable = self.log.end;
        let outcomes = effects.into_iter().filter_map(|effect| match effect {
            Effect::Output(outcome) => Some(outcome),
            Effect::Send(..) | Effect::Consult(..) => {
                panic!("a protocol sends nothing while its log is replayed")
            }
            Effect::Blame(_) => None,
        });
        outcomes.collect()
    }

    /// Handles one event, and then what the protocol sent to itself.
    pub fn step(&mut self, event: Event<P>, now: Time) {
        self.step_once(event, now);
        while let Some(body) = self.own.pop_front() {
            self.step_once(Event::Message { from: self.group.me(), body }, now);
        }
    }

    fn step_once(&mut self, event: Event<P>, now: Time) {
        let effects = self.run(event, now);
        let gate = canary!("node-gate-forgotten", 0, self.log.gate);
        self.held.extend(effects.into_iter().map(|effect| (gate, effect)));
    }

    fn run(&mut self, event: Event<P>, now: Time) -> Vec<Effect<P>> {
        let mut step = Step {
            group: &self.group,
            scope: self.scope,
            now,
            log: &mut self.log,
            timers: &mut self.timers,
            own: &mut self.own,
            work: &mut self.work,
            effects: Vec::new(),
        };
        self.protocol.handle_timed(event, &mut step);
        step.effects
    }

    /// Fires every timer that is due.
    pub fn fire_timers(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            self.step(Event::Timer(timer), now);
        }
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Time> {
        self.timers.order.keys().next().map(|(due, _)| *due)
    }

    /// Records to be appended to the log, in order.
    pub fn take_records(&mut self) -> Vec<P::Record> {
        std::mem::take(&mut self.log.unwritten)
    }

    /// Work to be started, in order.
    pub fn take_work(&mut self) -> Vec<(P::Ticket, P::Work)> {
        std::mem::take(&mut self.work)
    }

    /// All records before position `end` are durable. (R3)
    pub fn on_durable(&mut self, end: u64) {
        assert!(end <= self.log.end, "only what was appended can become durable");
        self.log.durable = self.log.durable.max(end);
    }

    /// The next effect that may leave. (R3)
    pub fn pop_effect(&mut self) -> Option<Effect<P>> {
        let (gate, _) = self.held.front()?;
        if *gate > canary!("node-effects-before-log", u64::MAX, self.log.durable) {
            return None;
        }
        self.held.pop_front().map(|(_, effect)| effect)
    }

    /// Number of effects that wait for the log.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The protocol, at the end.
    pub fn into_protocol(self) -> P {
        self.protocol
    }

    /// Number of records ever appended.
    pub fn log_end(&self) -> u64 {
        self.log.end
    }
}

/// The context of one step.
struct Step<'a, P: TimedProtocol> {
    group: &'a Group,
    scope: Scope,
    now: Time,
    log: &'a mut Log<P>,
    timers: &'a mut Timers<P::Timer>,
    own: &'a mut VecDeque<P::Message>,
    work: &'a mut Vec<(P::Ticket, P::Work)>,
    effects: Vec<Effect<P>>,
}

impl<P: TimedProtocol> Context<P> for Step<'_, P> {
    fn group(&self) -> &Group {
        self.group
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn send(&mut self, to: Target, body: P::Message) {
        let me = self.group.me();
        match to {
            Target::One(party) if party == me => self.own.push_back(body),
            Target::One(_) | Target::Others => self.effects.push(Effect::Send(to, body)),
            Target::All => {
                self.own.push_back(body.clone());
                self.effects.push(Effect::Send(Target::Others, body));
            }
        }
    }

    fn offload(&mut self, ticket: P::Ticket, work: P::Work) {
        self.work.push((ticket, work));
    }

    fn consult(&mut self, ticket: P::Ticket, call: P::Work) {
        self.effects.push(Effect::Consult(ticket, call));
    }

    fn persist(&mut self, record: P::Record) {
        self.note(record);
        self.log.gate = self.log.end; // R1
    }

    fn note(&mut self, record: P::Record) {
        self.log.unwritten.push(record);
        self.log.end += 1;
    }

    fn blame(&mut self, fault: Fault) {
        self.effects.push(Effect::Blame(fault));
    }

    fn output(&mut self, outcome: P::Outcome) {
        self.effects.push(Effect::Output(outcome));
    }
}

impl<P: TimedProtocol> Timed<P> for Step<'_, P> {
    fn now(&self) -> Time {
        self.now
    }

    fn arm(&mut self, timer: P::Timer, after: Duration) {
        self.timers.arm(timer, self.now + after);
    }

    fn disarm(&mut self, timer: P::Timer) {
        self.timers.disarm(timer);
    }
}

/// Armed timers, by name and by when they are due; ties fire in the order of arming.
#[derive(Debug)]
struct Timers<T> {
    due: BTreeMap<T, (Time, u64)>,
    order: BTreeMap<(Time, u64), T>,
    armed: u64,
}

impl<T: Copy + Ord> Timers<T> {
    fn arm(&mut self, timer: T, due: Time) {
        self.disarm(timer);
        self.armed += 1;
        self.due.insert(timer, (due, self.armed));
        self.order.insert((due, self.armed), timer);
    }

    fn disarm(&mut self, timer: T) {
        if let Some(place) = self.due.remove(&timer) {
            self.order.remove(&place);
        }
    }

    fn pop_due(&mut self, now: Time) -> Option<T> {
        let entry = self.order.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.due.remove(&timer);
        Some(timer)
    }
}

/// The parties that a target names, without this server.
pub fn recipients(group: &Group, to: Target) -> impl Iterator<Item = Party> {
    let all = match to {
        Target::All | Target::Others => group.others(),
        Target::One(party) => group.others().intersection(std::iter::once(party).collect()),
    };
    all.iter().collect::<Vec<_>>().into_iter()
}
