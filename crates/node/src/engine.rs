//! The loop that owns a protocol: takes what has happened, lets the protocol handle it, and lets
//! out what may leave.
//!
//! # Rules
//! - R1. A turn handles what is there, at most [`EVENTS_PER_TURN`] events; peers take turns, so
//!   that one that sends much does not delay the others by more than one message each.
//! - R2. At the end of a turn its records go to the log as one group, then what may leave leaves,
//!   then work starts.
//! - R3. While more than [`UNSYNCED_BYTES_MAX`] wait for the disk, nothing but the log is heard.
//!   The same while the disk has too little room.
//! - R4. Requests are taken only as far as the protocol has capacity; the rest waits at its source.
//! - R5. To stop is to take nothing more, and to wait until all records are durable and what waits
//!   for them has been handed over.

use crate::Driven;
use crate::archive::ArchiveIndex;
use crate::clock::Clock;
use crate::core::{Core, Effect, recipients};
use crate::host::{Arrival, Desk, Host, MessageKind};
use crate::inbox::{Inbox, Mail};
use crate::journal::{Journal, JournalError, LogWriter};
use crate::metrics::Metrics;
use crate::outbox::{Outbox, Post};
use crate::tamper::Tamper;
use crate::watch::{Room, Watch};
use crate::workers::{Run, Workers};
use commonware_runtime::Clock as RuntimeClock;
use commonware_storage::Context as StorageContext;
use maftia_base::canary;
use maftia_base::time::{Reading, Time};
use maftia_base::{Event, Fault, FaultKind, Group, Party, Target};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// Most events that one turn handles.
pub const EVENTS_PER_TURN: usize = 1024;

/// Most bytes of records that wait for the disk before the engine stops listening.
pub const UNSYNCED_BYTES_MAX: usize = 64 << 20;

/// Why an engine ended other than by being asked to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The log cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Threads could not be started.
    #[error("cannot start worker threads: {0}")]
    Workers(#[from] std::io::Error),
    /// A part of the server broke.
    #[error("{0}")]
    Broken(String),
    /// The server must not go on.
    #[error("{0}")]
    Halted(String),
}

/// Takes calls to this server's trusted component.
pub type Consult<T, W> = dyn FnMut(T, W) + Send;

/// For a server without one: its protocols call none.
pub fn no_trusted_component<T, W>() -> Box<Consult<T, W>> {
    Box::new(|_, _| unreachable!("the asynchronous configuration has no trusted component"))
}

/// What an engine is made of, next to its protocol and its log.
pub struct Parts<P: Driven, H: Host<P>, X: Post, T: Tamper<P>> {
    /// The group, as this server sees it.
    pub group: Group,
    /// What surrounds the protocol.
    pub host: H,
    /// Requests.
    pub arrivals: mpsc::Receiver<Arrival<H::Request>>,
    /// Everything else that happens.
    pub inbox: Inbox<P>,
    /// The way to the other servers.
    pub post: X,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What an intruder does differently; [`Honest`](crate::tamper::Honest) in a real server.
    pub tamper: Arc<T>,
    /// How work is done.
    pub run: Arc<Run<P>>,
    /// On how many threads; 0 for the engine's own.
    pub worker_threads: usize,
    /// Takes calls to this server's trusted component; answers come to the inbox, as results.
    pub consult: Box<Consult<P::Ticket, P::Work>>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// The room on the log's disk.
    pub room: Arc<Room>,
}

/// A protocol whose log has been replayed, ready to run.
pub struct Engine<P: Driven, H: Host<P>, X: Post, T: Tamper<P>> {
    core: Core<P>,
    host: H,
    arrivals: mpsc::Receiver<Arrival<H::Request>>,
    inbox: Inbox<P>,
    mail: Mail<P>,
    log: LogWriter,
    /// Bytes of records that are not durable, by the end of the log that they make.
    unsynced: VecDeque<(u64, usize)>,
    outbox: Outbox,
    post: X,
    retry_at: Option<Time>,
    workers: Workers<P>,
    consult: Box<Consult<P::Ticket, P::Work>>,
    clock: Arc<dyn Clock>,
    tamper: Arc<T>,
    wake_at: Option<Reading>,
    metrics: Arc<Metrics>,
    next_peer: usize,
    observed_at: Option<Time>,
    watch: Watch,
    room: Arc<Room>,
    halted: Option<String>,
    reported: BTreeMap<(Party, FaultKind), u64>,
    open: bool,
    /// What the protocol is told first of all.
    first: Option<P::Command>,
}

impl<P: Driven, H: Host<P>, X: Post, T: Tamper<P>> std::fmt::Debug for Engine<P, H, X, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("protocol", &P::NAME).finish_non_exhaustive()
    }
}

impl<P: Driven, H: Host<P>, X: Post, T: Tamper<P>> Engine<P, H, X, T> {
    /// Replays `journal` into `protocol`. Returns the engine, and the task of the log, which must
    /// run beside it.
    pub async fn restore<E: StorageContext>(
        protocol: P,
        mut journal: Journal<E>,
        parts: Parts<P, H, X, T>,
    ) -> Result<(Self, impl Future<Output = ()> + Send), EngineError> {
        let Parts { group, mut host, arrivals, inbox, post, clock, tamper, run, .. } = parts;
        let mut core = Core::new(protocol, group);
        let mut index = ArchiveIndex::default();
        let positions = journal.positions();
        core.begin_at(positions.start);
        journal
            .replay(|position, record: P::Record| {
                if let Some(key) = H::archive_key(&record)
                    && canary!("node-forgets-archive", false, true)
                {
                    index.insert(key, position);
                }
                for outcome in core.restore(record, clock.now()) {
                    host.on_restored(outcome);
                }
            })
            .await?;
        let (start, records) = (positions.start, positions.end - positions.start);
        info!(protocol = P::NAME, run = journal.run(), start, records, "log replayed");
        let workers = Workers::start(parts.worker_threads, run, inbox.clone())?;
        let (log, task) = LogWriter::new(journal, index, inbox.clone(), Arc::clone(&parts.metrics));
        let engine = Self {
            mail: Mail::new(core.group().n()),
            outbox: Outbox::new(core.group()),
            core,
            host,
            arrivals,
            inbox,
            log,
            unsynced: VecDeque::new(),
            post,
            retry_at: None,
            workers,
            consult: parts.consult,
            clock,
            tamper,
            wake_at: None,
            metrics: parts.metrics,
            next_peer: 0,
            observed_at: None,
            watch: Watch::default(),
            room: parts.room,
            halted: None,
            reported: BTreeMap::new(),
            open: true,
            first: None,
        };
        Ok((engine, task))
    }

    /// No call of the trusted component is answered; `why` is what the protocol is told first.
    #[must_use]
    pub fn without_component(self, why: P::Command) -> Self {
        Self { consult: Box::new(|_, _| {}), first: Some(why), ..self }
    }

    /// The protocol, as it is.
    pub fn protocol(&self) -> &P {
        self.core.protocol()
    }

    /// Runs until asked to stop, or until something breaks.
    pub async fn run(mut self, context: impl RuntimeClock) -> Result<P, EngineError> {
        canary!("node-does-not-resume", (), self.step(Event::Resumed));
        let mut desk = self.desk();
        desk.commands.extend(self.first.take());
        self.host.on_started(&mut desk);
        self.clear(desk);
        loop {
            let more = self.turn()?;
            // What left must get to the sockets before work begins that may take milliseconds.
            let work = self.core.take_work();
            if !work.is_empty() {
                yield_once().await;
                self.metrics.work.inc_by(work.len() as u64);
                self.mail.done.extend(self.workers.submit(work));
                continue;
            }
            if self.mail.stop && self.unsynced.is_empty() && self.core.held() == 0 {
                self.log.close();
                return Ok(self.core.into_protocol());
            }
            if more {
                yield_once().await;
            } else {
                self.wait(&context).await;
            }
        }
    }

    /// One turn; true if there is more to do at once. (R1, R2, R3)
    fn turn(&mut self) -> Result<bool, EngineError> {
        self.metrics.turns.inc();
        self.inbox.drain(&mut self.mail);
        if let Some(why) = self.mail.failure.take() {
            return Err(EngineError::Broken(why));
        }
        if let Some(why) = self.halted.take() {
            return Err(EngineError::Halted(why));
        }
        if let Some(end) = self.mail.durable.take() {
            self.core.on_durable(end);
            self.unsynced.retain(|(upto, _)| *upto > end);
        }
        let mut left = EVENTS_PER_TURN;
        if self.listens() {
            self.hear(&mut left);
        }
        self.let_out();
        let records = self.core.take_records();
        if !records.is_empty() {
            let bytes = self.log.append::<P, H>(records);
            self.unsynced.push_back((self.core.log_end(), bytes));
        }
        let flushed = self.outbox.flush(&mut self.post);
        self.retry_at = flushed.retry.map(|after| self.now() + micros(after));
        self.metrics.frames_out.inc_by(flushed.frames);
        self.metrics.bytes_out.inc_by(flushed.bytes);
        self.observe();
        Metrics::level(&self.metrics.held, self.core.held());
        Metrics::level(&self.metrics.waiting_bytes, self.outbox.bytes());
        // Messages that stayed behind in the inbox wake nobody.
        Ok(left == 0
            || (self.listens() && self.mail.messages.iter().any(|queue| !queue.is_empty())))
    }

    /// Is anything but the log heard now? (R3, R5)
    fn listens(&self) -> bool {
        let unsynced: usize = self.unsynced.iter().map(|(_, bytes)| bytes).sum();
        unsynced <= UNSYNCED_BYTES_MAX && !self.mail.stop && !self.room.is_low()
    }

    /// Lets the protocol handle what is there. (R1, R4)
    fn hear(&mut self, left: &mut usize) {
        let now = self.now();
        self.core.fire_timers(now);
        if self.wake_at.is_some_and(|at| at <= self.reading()) {
            self.wake_at = None;
            let mut desk = self.desk();
            self.host.on_wake(&mut desk);
            self.clear(desk);
        }
        while *left > 0
            && let Some((ticket, done)) = self.mail.done.pop_front()
        {
            *left -= 1;
            self.step(Event::Done { ticket, done });
        }
        for from in std::mem::take(&mut self.mail.malformed) {
            self.metrics.malformed.inc();
            self.report(Fault::suspected(from, FaultKind::Malformed));
        }
        for recalled in std::mem::take(&mut self.mail.recalled) {
            let mut desk = self.desk();
            self.host.on_recalled(recalled, &mut desk);
            self.clear(desk);
        }
        self.hear_peers(left);
        while *left > 0 && self.open && self.host.capacity(self.core.protocol()) > 0 {
            match self.arrivals.try_recv() {
                Ok(arrival) => self.arrive(arrival),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => self.open = false,
            }
            *left -= 1;
        }
    }

    /// One message of each peer in turn. (R1)
    fn hear_peers(&mut self, left: &mut usize) {
        let n = self.mail.messages.len();
        let mut silent = 0;
        while *left > 0 && silent < n {
            let peer = self.next_peer % n;
            self.next_peer = peer + 1;
            let Some(body) = self.mail.messages[peer].pop_front() else {
                silent += 1;
                continue;
            };
            silent = 0;
            *left -= 1;
            match H::message_kind(&body) {
                MessageKind::Protocol => self.metrics.protocol_in.inc(),
                MessageKind::Link => self.metrics.link_in.inc(),
            };
            self.step(Event::Message { from: Party::new(peer), body });
        }
    }

    fn step(&mut self, event: Event<P>) {
        self.metrics.events.inc();
        self.core.step(event, self.now());
    }

    fn arrive(&mut self, arrival: Arrival<H::Request>) {
        self.metrics.requests.inc();
        let mut desk = self.desk();
        self.host.on_arrival(arrival, &mut desk);
        self.clear(desk);
    }

    /// Lets out every effect whose records are durable, and what follows from that.
    fn let_out(&mut self) {
        while let Some(effect) = self.core.pop_effect() {
            match effect {
                Effect::Send(to, message) => self.send(to, &message),
                Effect::Blame(fault) => self.report(fault),
                Effect::Consult(ticket, call) => (self.consult)(ticket, call),
                Effect::Output(outcome) => {
                    self.metrics.outcomes.inc();
                    let mut desk = self.desk();
                    self.host.on_outcome(outcome, &mut desk);
                    self.clear(desk);
                }
            }
        }
    }

    fn send(&mut self, to: Target, message: &P::Message) {
        for to in recipients(self.core.group(), to) {
            let Some(message) = self.tamper.outgoing(to, message) else {
                continue;
            };
            match H::message_kind(&message) {
                MessageKind::Protocol => self.metrics.protocol_out.inc(),
                MessageKind::Link => self.metrics.link_out.inc(),
            };
            for _ in 0..self.tamper.copies() {
                if !self.outbox.push(to, &*message) {
                    self.metrics.dropped_out.inc();
                }
            }
        }
    }

    fn report(&mut self, fault: Fault) {
        self.metrics.blames.inc();
        let times = self.reported.entry((fault.culprit, fault.kind)).or_default();
        *times += 1;
        if times.is_power_of_two() {
            // The first time, and ever more rarely: whoever misbehaves does not fill our disk.
            let provable = fault.evidence.is_some();
            warn!(culprit = %fault.culprit, kind = ?fault.kind, provable, times, "misbehaviour");
        }
        let mut desk = self.desk();
        self.host.on_fault(fault, &mut desk);
        self.clear(desk);
    }

    fn desk(&self) -> Desk<P> {
        Desk::new(self.reading(), self.wake_at)
    }

    /// Does what the host left on its desk.
    fn clear(&mut self, desk: Desk<P>) {
        self.wake_at = desk.wake_at;
        self.halted = self.halted.take().or(desk.halt);
        for recall in desk.recalls {
            self.log.recall(recall);
        }
        for key in desk.cuts {
            self.log.cut(key);
        }
        for command in desk.commands {
            self.step(Event::Command(command));
        }
    }

    /// Lets the host look at the protocol, now and then.
    fn observe(&mut self) {
        let now = self.now();
        if self.observed_at.is_none_or(|at| now.0.saturating_sub(at.0) >= OBSERVE_EVERY) {
            self.observed_at = Some(now);
            for trouble in self.watch.look(&*self.clock, &self.room) {
                warn!("{trouble}");
                self.host.on_trouble(trouble);
            }
            let protocol = self.core.protocol();
            Metrics::level(&self.metrics.footprint, protocol.footprint());
            self.host.observe(protocol, now);
        }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn reading(&self) -> Reading {
        self.tamper.reading(self.clock.reading())
    }

    /// Waits until something happens.
    async fn wait(&mut self, context: &impl RuntimeClock) {
        let now = self.now();
        let until = |due: Time| due.0.saturating_sub(now.0);
        let mut pause = self.retry_at.map_or(u64::MAX, until);
        // What is due and not heard, as nothing is for the time being, is no reason to hurry.
        if self.listens() {
            pause = pause.min(self.core.next_timer().map_or(u64::MAX, until));
            let reading = self.reading();
            pause = pause.min(self.wake_at.map_or(u64::MAX, |at| at.0.saturating_sub(reading.0)));
        }
        // Nobody waits for ever: clocks and disks are looked at again.
        let pause = Duration::from_micros(pause).min(PAUSE_MAX);
        let listening = self.open && self.listens() && self.host.capacity(self.core.protocol()) > 0;
        tokio::select! {
            biased;
            () = self.inbox.ready() => {}
            arrival = self.arrivals.recv(), if listening => match arrival {
                Some(arrival) => self.arrive(arrival),
                None => self.open = false,
            },
            () = context.sleep(pause) => {}
        }
    }
}

/// The host looks at the protocol this often, in microseconds.
const OBSERVE_EVERY: u64 = 100_000;

/// Longest time between two looks at the clock.
const PAUSE_MAX: Duration = Duration::from_secs(1);

fn micros(duration: Duration) -> maftia_base::time::Duration {
    maftia_base::time::Duration(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Lets other tasks of the same thread run.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
