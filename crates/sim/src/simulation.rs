use crate::Random;
use crate::adversary::Corruption;
use crate::builder::Builder;
use crate::network::{Letter, Local, Scheduler, UNIT};
use crate::node::{Effects, Log, Node, Told};
use crate::observer::Observer;
use crate::queue::Queue;
use crate::report::{Failure, Happening, Stats, Trace, Violation};
use maftia_base::protocol::{Event, TimedProtocol, Vocabulary};
use maftia_base::time::{Duration, Reading, Time};
use maftia_base::{Fault, Group, Party, PartySet};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// Crashes at random persist points: after a record is appended, after it is synced and before its
/// effects leave, or between two of these effects. What was not synced is lost, but for a random
/// prefix.
#[derive(Clone, Copy, Debug)]
pub struct Crashes {
    /// Who may crash. Any number may be down at once.
    pub parties: PartySet,
    /// At how many of 1000 persist points.
    pub permille: u32,
    /// How long a server is down, on average.
    pub downtime: Duration,
    /// How many crashes there are at most.
    pub crashes_max: u64,
}

impl Default for Crashes {
    fn default() -> Self {
        let downtime = Duration(10 * UNIT.0);
        Self { parties: PartySet::EMPTY, permille: 0, downtime, crashes_max: 0 }
    }
}

/// The trusted components of all servers, one each.
pub trait Trusted<P: Vocabulary> {
    /// A server calls its component.
    fn call(&mut self, party: Party, number: u64, call: P::Work, now: Time);
    /// Whatever the components do until `now`; returns the answers to calls.
    fn advance(&mut self, now: Time) -> Vec<(u64, P::Done)>;
    /// When they have something to do next, as long as somebody waits for it.
    fn next(&self) -> Option<Time>;
}

/// A test that keeps one, too, has something happen to it.
impl<P: Vocabulary, T: Trusted<P>> Trusted<P> for Rc<RefCell<T>> {
    fn call(&mut self, party: Party, number: u64, call: P::Work, now: Time) {
        self.borrow_mut().call(party, number, call, now);
    }
    fn advance(&mut self, now: Time) -> Vec<(u64, P::Done)> {
        self.borrow_mut().advance(now)
    }
    fn next(&self) -> Option<Time> {
        self.borrow().next()
    }
}

type Worker<P> =
    dyn FnMut(Party, Vec<<P as Vocabulary>::Work>, Reading) -> Vec<<P as Vocabulary>::Done>;
type Application<P> = dyn FnMut(
    Party,
    &<P as Vocabulary>::Outcome,
    &[<P as Vocabulary>::Record],
) -> Vec<<P as Vocabulary>::Command>;
type Cut<P> = dyn Fn(&<P as Vocabulary>::Outcome, &[<P as Vocabulary>::Record]) -> Option<usize>;
type Check<P> = dyn FnMut(Party, &<P as Vocabulary>::Outcome) -> Result<(), String>;
type Measure<P> = dyn Fn(&<P as Vocabulary>::Message) -> usize;

/// What the test decides about a run.
pub(crate) struct Rules<P: TimedProtocol> {
    pub(crate) worker: Option<Box<Worker<P>>>,
    pub(crate) trusted: Option<Box<dyn Trusted<P>>>,
    pub(crate) application: Option<Box<Application<P>>>,
    pub(crate) check: Option<Box<Check<P>>>,
    pub(crate) cut: Option<Box<Cut<P>>>,
    pub(crate) clocks: Option<Box<dyn FnMut(Party, Time) -> Reading>>,
    pub(crate) measure: Option<Box<Measure<P>>>,
    pub(crate) crashes: Crashes,
    /// Instead of chance: the number of the one persist point at which there is a crash.
    pub(crate) crash_at: Option<u64>,
    pub(crate) footprint_max: Option<usize>,
    pub(crate) observer: Option<Box<dyn Observer<P>>>,
}

impl<P: TimedProtocol> Default for Rules<P> {
    fn default() -> Self {
        Self {
            worker: None,
            trusted: None,
            application: None,
            check: None,
            cut: None,
            clocks: None,
            measure: None,
            crashes: Crashes::default(),
            crash_at: None,
            footprint_max: None,
            observer: None,
        }
    }
}

/// What will happen. Nodes are named by index and incarnation: what was meant for a server before
/// its crash is stale after it.
pub(crate) enum Pending<P: TimedProtocol> {
    Letter(Letter<P::Message>),
    /// The longest that the scheduler may hold this letter is over.
    HeldTooLong(u64),
    Own {
        node: usize,
        incarnation: u32,
        body: Rc<P::Message>,
    },
    Command {
        node: usize,
        incarnation: u32,
        command: P::Command,
    },
    Timer {
        node: usize,
        incarnation: u32,
        timer: P::Timer,
        arming: u64,
    },
    Work {
        node: usize,
        incarnation: u32,
    },
    Done {
        node: usize,
        incarnation: u32,
        ticket: P::Ticket,
        done: P::Done,
    },
    Sync {
        node: usize,
        incarnation: u32,
        issued: Time,
    },
    /// The trusted components have something to do.
    Trusted,
    /// Both ends of a channel learn that it lost something.
    Mend(Party, Party),
    Reconnected {
        node: usize,
        incarnation: u32,
        peer: Party,
    },
    Restart(Party),
}

/// A deterministic run of one protocol at all servers of a group.
pub struct Simulation<P: TimedProtocol> {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) now: Time,
    pub(crate) groups: Vec<Group>,
    /// The servers in their order, and then the further copies that corrupt ones run.
    pub(crate) nodes: Vec<Node<P>>,
    /// For each party, its nodes.
    pub(crate) copies: Vec<Vec<usize>>,
    pub(crate) corruptions: Vec<Corruption<P>>,
    pub(crate) corrupt: PartySet,
    pub(crate) make: Box<dyn FnMut(Party, u32) -> P>,
    pub(crate) rules: Rules<P>,
    pub(crate) scheduler: Box<dyn Scheduler<P::Message>>,
    pub(crate) queue: Queue<Pending<P>>,
    pub(crate) pending_timers: usize,
    /// Calls of trusted components that are not answered, and whose they are.
    pub(crate) calls: std::collections::BTreeMap<u64, (usize, u32, P::Ticket)>,
    pub(crate) calls_made: u64,
    /// When the trusted components are looked at next.
    pub(crate) trusted_at: Option<Time>,
    pub(crate) held: Vec<Letter<P::Message>>,
    pub(crate) mending: std::collections::BTreeSet<(Party, Party)>,
    pub(crate) effects: Effects<P>,
    pub(crate) letters: u64,
    pub(crate) armings: u64,
    /// How many points there were at which a server that may crash could have.
    pub(crate) persist_points: u64,
    pub(crate) stats: Stats,
    pub(crate) blames: Vec<(Party, Fault)>,
    pub(crate) trace: Trace<P>,
    pub(crate) fold: u64,
    pub(crate) marked: (Time, Stats),
    pub(crate) violation: Option<Violation>,
}

impl<P: TimedProtocol> Simulation<P> {
    /// A builder for servers `groups`, one view of the same group for each of its servers in their
    /// order. The seed decides everything else.
    pub fn builder(groups: Vec<Group>, seed: u64) -> Builder<P> {
        Builder::new(groups, seed)
    }

    /// Gives a command to a server, which must be up. The first copy, if it is corrupt.
    pub fn command(&mut self, party: Party, command: P::Command) {
        self.command_copy(party, 0, command);
    }

    /// Gives a command to one of the copies that a corrupt server runs. Without such a copy,
    /// nobody hears it.
    pub fn command_copy(&mut self, party: Party, copy: usize, command: P::Command) {
        let Some(&node) = self.copies[party.index()].get(copy) else { return };
        assert!(self.nodes[node].state.is_some(), "a server takes commands while it is up");
        self.handle_command(node, command);
    }

    /// Handles the next event. False if nothing is left to happen.
    pub fn step(&mut self) -> Result<bool, Failure> {
        self.release_held();
        let Some((at, pending)) = self.queue.pop() else { return self.verdict(false) };
        assert!(at >= self.now, "time does not go back");
        self.now = at;
        self.scheduler.tick(at);
        self.stats.events += 1;
        self.happen(pending);
        self.verdict(true)
    }

    /// Runs until `goal` holds. Fails if it does not within `events_max` events.
    pub fn run_until(
        &mut self,
        mut goal: impl FnMut(&Self) -> bool,
        events_max: u64,
    ) -> Result<(), Failure> {
        self.verdict(true)?;
        for _ in 0..events_max {
            if goal(self) {
                return Ok(());
            }
            if !self.step()? {
                return Err(self.failure(Violation::Stuck));
            }
        }
        if goal(self) { Ok(()) } else { Err(self.failure(Violation::Unending { events_max })) }
    }

    /// Runs until nothing is left to happen. Fails if something still is after `events_max`.
    pub fn run_to_quiescence(&mut self, events_max: u64) -> Result<(), Failure> {
        self.verdict(true)?;
        for _ in 0..events_max {
            if !self.step()? {
                return Ok(());
            }
        }
        Err(self.failure(Violation::Unending { events_max }))
    }

    /// Runs for a virtual time. Fails if it takes more than `events_max` events.
    pub fn run_for(&mut self, time: Duration, events_max: u64) -> Result<(), Failure> {
        self.verdict(true)?;
        let end = self.now + time;
        for _ in 0..events_max {
            self.release_held();
            if self.queue.next_at().is_none_or(|next| next > end) {
                self.now = end;
                return Ok(());
            }
            self.step()?;
        }
        Err(self.failure(Violation::Unending { events_max }))
    }

    /// Takes a server down: its memory is lost, and its log but for what was synced and a random
    /// prefix of the rest.
    pub fn crash(&mut self, party: Party) {
        let log = &self.nodes[party.index()].log;
        let tail = (log.end() - log.durable) as u64;
        let kept = log.durable + self.random.below(tail + 1) as usize;
        self.crash_keeping(party, kept);
    }

    /// Takes a server down, with the harshest loss: nothing that was not synced survives.
    pub fn crash_losing_unsynced(&mut self, party: Party) {
        self.crash_keeping(party, self.nodes[party.index()].log.durable);
    }

    /// Takes a server down, and leaves it `kept` records of its log: less than was durable is a
    /// disk that did not keep its promise. From then on the server counts as corrupt.
    pub fn crash_to(&mut self, party: Party, kept: usize) {
        let log = &self.nodes[party.index()].log;
        let place = log.end() - log.records.len() + kept;
        let broke = place < log.durable;
        self.crash_keeping(party, place);
        if broke && self.corrupt.insert(party) {
            self.corruptions.push(Corruption::passive(party));
        }
    }

    /// Takes a server down and erases its disk. From now on it counts as corrupt, since it cannot
    /// know what it said; what it does next is up to its code.
    pub fn wipe(&mut self, party: Party) {
        self.nodes[party.index()].log.records.clear();
        self.crash_keeping(party, 0);
        if self.corrupt.insert(party) {
            self.corruptions.push(Corruption::passive(party));
        }
    }

    /// Takes a server down and puts this log in the place of its own: one that its operators made.
    pub fn give_log(&mut self, party: Party, records: Vec<P::Record>) {
        self.wipe(party);
        self.trust_again(party);
        self.nodes[party.index()].log = Log::of(records);
    }

    /// A server that was wiped counts as honest from now on: nothing that it signed before is
    /// forgotten by those who judge it.
    pub fn trust_again(&mut self, party: Party) {
        self.corrupt.remove(party);
        self.corruptions.retain(|corruption| corruption.parties != PartySet::from_iter([party]));
    }

    /// Starts a server that is down: its log is replayed, and its peers are told.
    pub fn restart(&mut self, party: Party) {
        self.restart_now(party);
    }

    /// Is this server up?
    pub fn is_up(&self, party: Party) -> bool {
        self.nodes[party.index()].state.is_some()
    }

    /// What the layer above a server was told since that server was last started.
    pub fn outcomes(&self, party: Party) -> &[P::Outcome] {
        let node = &self.nodes[party.index()];
        &node.outcomes[node.outcomes_from..]
    }

    /// What it was ever told, and when.
    pub fn history(&self, party: Party) -> impl Iterator<Item = (Told, &P::Outcome)> {
        let node = &self.nodes[party.index()];
        node.told_at.iter().copied().zip(&node.outcomes)
    }

    /// The state of a server that is up.
    pub fn state(&self, party: Party) -> Option<&P> {
        self.nodes[party.index()].state.as_ref()
    }

    /// What is in a server's log, and how much of it is durable.
    pub fn log(&self, party: Party) -> (&[P::Record], usize) {
        let log = &self.nodes[party.index()].log;
        (&log.records, log.durable_here())
    }

    /// Servers that no adversary owns.
    pub fn honest(&self) -> PartySet {
        PartySet::all(self.groups.len()).difference(self.corrupt)
    }

    /// Servers that an adversary owns, or that lost their disk.
    pub fn corrupt(&self) -> PartySet {
        self.corrupt
    }

    /// Faults that honest servers reported: by whom, and what.
    pub fn blames(&self) -> &[(Party, Fault)] {
        &self.blames
    }

    /// Did an honest server blame `culprit`?
    pub fn is_blamed(&self, culprit: Party) -> bool {
        self.blames.iter().any(|(_, fault)| fault.culprit == culprit)
    }

    /// What the run has cost so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Time, messages and bytes count from here on.
    pub fn mark(&mut self) {
        self.marked = (self.now, self.stats);
    }

    /// Units of virtual time since the [mark](Self::mark), rounded up: message delays under
    /// [`Network::unit_delay`](crate::Network::unit_delay), durable waits under
    /// [`Network::unit_sync`](crate::Network::unit_sync).
    pub fn elapsed_units(&self) -> u64 {
        (self.now.0 - self.marked.0.0).div_ceil(UNIT.0)
    }

    /// Messages sent since the [mark](Self::mark).
    pub fn messages_since_mark(&self) -> u64 {
        self.stats.messages - self.marked.1.messages
    }

    /// Bytes sent since the [mark](Self::mark).
    pub fn bytes_since_mark(&self) -> u64 {
        self.stats.bytes - self.marked.1.bytes
    }

    /// How many events are pending, timers included.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Is nothing pending but timers?
    pub fn is_idle(&self) -> bool {
        self.queue.len() == self.pending_timers
    }

    /// Digest of the run: of the order of all events, of every outcome and of every state.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.fold, self.now).hash(&mut hasher);
        for node in &self.nodes {
            node.state.hash(&mut hasher);
            for outcome in &node.outcomes {
                format!("{outcome:?}").hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// The last happenings, one a line.
    pub fn trace(&self) -> String {
        let name = |node: usize| {
            let Node { party, copy, .. } = &self.nodes[node];
            if *copy == 0 { party.to_string() } else { format!("{party}'{copy}") }
        };
        self.trace.print(name, |node, index| format!("{:?}", self.nodes[node].outcomes[index]))
    }

    /// The failure that the run ends with, for checks that a test makes itself.
    pub fn fail(&self, party: Party, complaint: impl Into<String>) -> Failure {
        self.failure(Violation::Check { party, complaint: complaint.into() })
    }

    pub(crate) fn failure(&self, violation: Violation) -> Failure {
        Failure { violation, seed: self.seed, at: self.now, trace: self.trace() }
    }

    fn verdict(&self, goes_on: bool) -> Result<bool, Failure> {
        match &self.violation {
            None => Ok(goes_on),
            Some(violation) => Err(self.failure(violation.clone())),
        }
    }

    fn handle_command(&mut self, node: usize, command: P::Command) {
        if self.trace.is_on() {
            let command = format!("{command:?}");
            self.trace.push(self.now, node, Happening::Command(command));
        }
        let party = self.nodes[node].party;
        if let Some(observer) = &mut self.rules.observer
            && !self.corrupt.contains(party)
        {
            observer.commanded(party, &command);
        }
        self.handle(node, Event::Command(command));
    }

    pub(crate) fn take_command(&mut self, node: usize, command: P::Command) {
        self.handle_command(node, command);
    }

    pub(crate) fn local(&mut self, party: Party, what: Local) -> Duration {
        self.scheduler.local(party, what, &mut self.random)
    }
}
