use crate::network::Letter;
use maftia_base::protocol::{Context, Target, Timed, TimedProtocol};
use maftia_base::time::{Duration, Time};
use maftia_base::{Fault, Group, Party, Scope};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// One running copy of the code: a server, or one of several copies that a corrupt server runs.
pub(crate) struct Node<P: TimedProtocol> {
    pub(crate) party: Party,
    pub(crate) copy: usize,
    pub(crate) group: Group,
    pub(crate) scope: Scope,
    /// `None` while it is down.
    pub(crate) state: Option<P>,
    /// Counts restarts; whatever was meant for an earlier incarnation is stale.
    pub(crate) incarnation: u32,
    pub(crate) started: Time,
    /// Letters below this number were under way when it last crashed: their connection is broken.
    pub(crate) letters_at_crash: u64,
    /// Letters below this number were sent before it last started.
    pub(crate) letters_at_start: u64,
    /// What came while it was down from those that it will not know when it is back.
    pub(crate) waiting: Vec<Letter<P::Message>>,
    pub(crate) log: Log<P::Record>,
    /// Effects in log order, each with the length that the durable log must have.
    pub(crate) held: VecDeque<(usize, Effect<P>)>,
    pub(crate) work: Vec<(P::Ticket, P::Work)>,
    /// The number of the latest arming of each timer that is armed.
    pub(crate) timers: BTreeMap<P::Timer, u64>,
    pub(crate) outcomes: Vec<P::Outcome>,
    pub(crate) told_at: Vec<Told>,
    /// Where the outcomes of this incarnation begin.
    pub(crate) outcomes_from: usize,
}

/// When an outcome was told to the layer above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Virtual time.
    pub at: Time,
    /// After how many restarts of its server.
    pub incarnation: u32,
}

/// What leaves a server, and therefore waits for its log.
pub(crate) enum Effect<P: TimedProtocol> {
    Send(Target, Rc<P::Message>),
    Output(P::Outcome),
    Consult(P::Ticket, P::Work),
}

/// A log on storage that loses what was not synced. Places count from the first record ever.
pub(crate) struct Log<R> {
    pub(crate) records: Vec<R>,
    /// How many were forgotten on purpose before these.
    forgotten: usize,
    /// How many are safe.
    pub(crate) durable: usize,
    /// How many must be safe before effects of later steps leave.
    pub(crate) gate: usize,
    /// Syncs under way: when each was issued, and how many records it covers.
    syncs: VecDeque<(Time, usize)>,
}

impl<R> Log<R> {
    fn new() -> Self {
        let (records, syncs) = (Vec::new(), VecDeque::new());
        Self { records, forgotten: 0, durable: 0, gate: 0, syncs }
    }

    /// A log that has these records, which are safe.
    pub(crate) fn of(records: Vec<R>) -> Self {
        let (durable, gate) = (records.len(), records.len());
        Self { records, durable, gate, ..Self::new() }
    }

    /// True if a sync must now be issued: one that was issued at this same instant covers these
    /// records too.
    pub(crate) fn wants_sync(&mut self, now: Time) -> bool {
        if self.gate <= self.durable {
            return false;
        }
        let covered = self.end();
        match self.syncs.back_mut() {
            Some((issued, upto)) if *issued == now => {
                *upto = covered;
                false
            }
            Some((_, upto)) if *upto >= self.gate => false,
            _ => {
                self.syncs.push_back((now, covered));
                true
            }
        }
    }

    /// The sync that was issued then is done; so are all before it, since a log has one order.
    pub(crate) fn synced(&mut self, issued: Time) {
        while let Some(&(at, upto)) = self.syncs.front() {
            if at > issued {
                break;
            }
            self.durable = self.durable.max(upto);
            self.syncs.pop_front();
        }
    }

    /// How many there ever were.
    pub(crate) fn end(&self) -> usize {
        self.forgotten + self.records.len()
    }

    /// How many of those that are left are safe.
    pub(crate) fn durable_here(&self) -> usize {
        self.durable - self.forgotten
    }

    /// Forgets the first `count` of those that are left, which must be safe.
    pub(crate) fn forget(&mut self, count: usize) {
        assert!(count <= self.durable_here(), "a log is cut only where it is durable");
        self.records.drain(..count);
        self.forgotten += count;
    }

    /// Only the first `kept` records are left, and they are safe.
    pub(crate) fn cut(&mut self, kept: usize) {
        self.forgotten = self.forgotten.min(kept);
        self.records.truncate(kept - self.forgotten);
        self.durable = kept;
        self.gate = kept;
        self.syncs.clear();
    }
}

impl<P: TimedProtocol> Node<P> {
    pub(crate) fn new(group: Group, copy: usize) -> Self {
        Self {
            party: group.me(),
            copy,
            scope: group.scope(),
            group,
            state: None,
            incarnation: 0,
            started: Time(0),
            letters_at_crash: 0,
            letters_at_start: 0,
            waiting: Vec::new(),
            log: Log::new(),
            held: VecDeque::new(),
            work: Vec::new(),
            timers: BTreeMap::new(),
            outcomes: Vec::new(),
            told_at: Vec::new(),
            outcomes_from: 0,
        }
    }

    /// Memory is gone, and of the log all but the first `kept` records.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.state = None;
        self.incarnation += 1;
        self.held.clear();
        self.work.clear();
        self.timers.clear();
        self.log.cut(kept);
        self.outcomes_from = self.outcomes.len();
    }
}

/// Everything that one step asked for, in its order.
pub(crate) struct Effects<P: TimedProtocol> {
    pub(crate) leaving: Vec<Effect<P>>,
    pub(crate) work: Vec<(P::Ticket, P::Work)>,
    pub(crate) records: Vec<(bool, P::Record)>,
    pub(crate) timers: Vec<(P::Timer, Option<Duration>)>,
    pub(crate) faults: Vec<Fault>,
}

impl<P: TimedProtocol> Default for Effects<P> {
    fn default() -> Self {
        Self {
            leaving: Vec::new(),
            work: Vec::new(),
            records: Vec::new(),
            timers: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl<P: TimedProtocol> Effects<P> {
    /// Is there anything that the replay of a log must not cause?
    pub(crate) fn exceeds_restore(&self) -> bool {
        let sends = |effect: &Effect<P>| !matches!(effect, Effect::Output(_));
        let sends = self.leaving.iter().any(sends);
        sends || !self.work.is_empty() || !self.records.is_empty() || !self.timers.is_empty()
    }
}

/// The context of one step.
pub(crate) struct Step<'a, P: TimedProtocol> {
    pub(crate) group: &'a Group,
    pub(crate) scope: Scope,
    pub(crate) now: Time,
    pub(crate) effects: &'a mut Effects<P>,
}

impl<P: TimedProtocol> Context<P> for Step<'_, P> {
    fn group(&self) -> &Group {
        self.group
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn send(&mut self, to: Target, body: P::Message) {
        self.effects.leaving.push(Effect::Send(to, Rc::new(body)));
    }

    fn offload(&mut self, ticket: P::Ticket, work: P::Work) {
        self.effects.work.push((ticket, work));
    }

    fn consult(&mut self, ticket: P::Ticket, call: P::Work) {
        self.effects.leaving.push(Effect::Consult(ticket, call));
    }

    fn persist(&mut self, record: P::Record) {
        self.effects.records.push((true, record));
    }

    fn note(&mut self, record: P::Record) {
        self.effects.records.push((false, record));
    }

    fn blame(&mut self, fault: Fault) {
        self.effects.faults.push(fault);
    }

    fn output(&mut self, outcome: P::Outcome) {
        self.effects.leaving.push(Effect::Output(outcome));
    }
}

impl<P: TimedProtocol> Timed<P> for Step<'_, P> {
    fn now(&self) -> Time {
        self.now
    }

    fn arm(&mut self, timer: P::Timer, after: Duration) {
        self.effects.timers.push((timer, Some(after)));
    }

    fn disarm(&mut self, timer: P::Timer) {
        self.effects.timers.push((timer, None));
    }
}
