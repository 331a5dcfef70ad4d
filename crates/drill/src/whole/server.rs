//! One whole server, put together as production does, but for its clock, disk and network.

use super::authority::{self, Errands, Sight, Wanted};
use super::disk::{Disk, OnDisk};
use super::network::{Net, micros};
use super::service::{Recent, Watched, all};
use super::suite::WholeSuite;
use super::tamper::Intruder;
use super::witness::Witness;
use super::{Replicated, Server};
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Handle, Spawner, Supervisor};
use commonware_utils::{NZU16, NZU64};
use maftia_activity::{Outcome, Record, Replica, StateMachine};
use maftia_base::time::{Reading, Time};
use maftia_base::{Fault, Group, Party};
use maftia_links::{Linked, Packet};
use maftia_node::archive::ArchiveKey;
use maftia_node::clock::Clock;
use maftia_node::engine::{Engine, EngineError, Parts, no_trusted_component};
use maftia_node::host::{Arrival, Desk, Host, MessageKind, Recalled};
use maftia_node::inbox::Inbox;
use maftia_node::journal::{JournalError, Layout, LogConfig};
use maftia_node::metrics::Metrics;
use maftia_node::replica::{ReplicaHost, Request, StatusBoard};
use maftia_node::server::ServerError;
use maftia_node::start::{identity, open_log, work_with};
use maftia_node::watch::{Room, Trouble};
use maftia_services::CA;
use maftia_sim::Random;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use tokio::sync::mpsc;

/// What the clocks say when a run begins: microseconds since 1970.
pub const DAWN: u64 = 1_790_000_000_000_000;

/// What is the same for all servers of a run.
pub struct Setting<S: WholeSuite> {
    /// The servers' views of their group.
    pub groups: Vec<Group>,
    /// Their keys.
    pub keyrings: Vec<Arc<S::Keyring>>,
    /// The network between them.
    pub net: Net<S>,
    /// Whoever watches.
    pub witness: Witness,
    /// Where clients knock.
    pub doors: Doors<S>,
    /// So much is delivered between two marks.
    pub mark_interval: u64,
    /// How logs lie on their disks.
    pub layout: Layout,
    /// Bytes of ballast in the state.
    pub ballast: usize,
    /// What honest servers want signed.
    pub wanted: Wanted,
    /// What each server sees of the outside, if there is an authority that asks.
    pub sights: Option<Vec<Sight>>,
    /// Told how a server ended.
    pub ended: mpsc::UnboundedSender<(Party, u64, End)>,
}

/// A log with small files, so that a short run begins and removes many.
pub fn small_layout(records_per_file: u64, checkpoint_bytes: usize) -> Layout {
    let records_per_file = std::num::NonZeroU64::new(records_per_file).unwrap_or(NZU64!(16));
    Layout { records_per_file, page_bytes: NZU16!(1012), checkpoint_bytes }
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// Its disk is full.
    Full,
    /// Its disk stopped, or could not be reached.
    Disk(String),
    /// Its log is not what it left.
    Broken(String),
    /// It must not go on.
    Halted(String),
    /// Anything else.
    Failed(String),
}

impl End {
    fn of_journal(error: &JournalError) -> Self {
        let what = error.to_string();
        match error {
            JournalError::Full { .. } => Self::Full,
            JournalError::Storage { .. } => Self::Disk(what),
            _ => Self::Broken(what),
        }
    }

    fn of(error: &ServerError) -> Self {
        match error {
            ServerError::Journal(error) | ServerError::Engine(EngineError::Journal(error)) => {
                Self::of_journal(error)
            }
            ServerError::Engine(EngineError::Halted(why)) => Self::Halted(why.clone()),
            // The engine knows only the words of what broke.
            ServerError::Engine(EngineError::Broken(why))
                if why.contains("no room on the disk") =>
            {
                Self::Full
            }
            ServerError::Engine(EngineError::Broken(why)) if why.contains("cannot be accessed") => {
                Self::Disk(why.clone())
            }
            ServerError::Engine(EngineError::Broken(why)) if why.contains("is damaged") => {
                Self::Broken(why.clone())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Where clients reach the servers that run. Clones are the same ones.
pub struct Doors<S: WholeSuite>(Arc<Mutex<BTreeMap<Party, Door<S>>>>, Arc<AtomicU64>);

/// The way into one server.
pub type Door<S> = mpsc::Sender<Arrival<Request<S>>>;

impl<S: WholeSuite> Clone for Doors<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), Arc::clone(&self.1))
    }
}

impl<S: WholeSuite> Default for Doors<S> {
    fn default() -> Self {
        Self(Arc::default(), Arc::default())
    }
}

impl<S: WholeSuite> Doors<S> {
    /// The door of `party`, if it is open.
    pub fn of(&self, party: Party) -> Option<Door<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&party).cloned()
    }

    /// A number for a connection.
    pub fn connection(&self) -> u64 {
        self.1.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn set(&self, party: Party, door: Option<Door<S>>) {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match door {
            Some(door) => drop(doors.insert(party, door)),
            None => drop(doors.remove(&party)),
        }
    }
}

/// A server's clocks: one that measures, one that somebody may set.
struct SimulatedClock {
    context: Context,
    started: u64,
    offset: Arc<AtomicI64>,
    latest: AtomicU64,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Time {
        Time(micros(&self.context) - self.started)
    }

    fn reading(&self) -> Reading {
        let now = self.wall().0;
        Reading(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn wall(&self) -> Reading {
        let now = DAWN + micros(&self.context);
        Reading(now.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }
}

/// Stops tasks, and lets them go on, as SIGSTOP and SIGCONT do.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(AtomicBool, Mutex<Vec<Waker>>)>);

impl Gate {
    /// Stops, or lets go on.
    pub fn set(&self, is_closed: bool) {
        self.0.0.store(is_closed, Ordering::Relaxed);
        if !is_closed {
            let waiting = std::mem::take(&mut *self.waiting());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task that this gate can stop.
    pub fn guard<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        Guarded { gate: self.clone(), task: Box::pin(task) }
    }
}

struct Guarded<F> {
    gate: Gate,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        if self.gate.0.0.load(Ordering::Relaxed) {
            self.gate.waiting().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.task.as_mut().poll(cx)
    }
}

/// The machine that a server runs on: what outlives its process.
pub struct Machine<S: WholeSuite> {
    /// Which server.
    pub party: Party,
    /// Its disk.
    pub disk: Disk,
    /// By how much its clock is wrong, in microseconds.
    pub offset: Arc<AtomicI64>,
    /// The process, if there is one.
    pub process: Option<Process<S>>,
    /// Processes that there were.
    pub incarnations: u64,
    /// Its intruder, an honest one for most.
    pub intruder: Arc<Intruder<S>>,
}

/// A process.
pub struct Process<S: WholeSuite> {
    /// The way to have it stop.
    pub inbox: Inbox<Server<S>>,
    /// How it is.
    pub board: StatusBoard,
    /// Stops it for a while.
    pub gate: Gate,
    /// The room on its disk.
    pub room: Arc<Room>,
    task: Handle<()>,
}

impl<S: WholeSuite> Machine<S> {
    /// A machine that is off.
    pub fn new(party: Party, disk: Disk, offset: i64, intruder: Intruder<S>) -> Self {
        let (offset, intruder) = (Arc::new(AtomicI64::new(offset)), Arc::new(intruder));
        Self { party, disk, offset, process: None, incarnations: 0, intruder }
    }

    /// Starts a process.
    pub fn start(&mut self, context: &Context, setting: &Arc<Setting<S>>) {
        assert!(self.process.is_none(), "one process at a time");
        let (inbox, board) = (Inbox::new(setting.groups.len()), StatusBoard::default());
        let (gate, room) = (Gate::default(), Arc::new(Room::default()));
        let incarnation = self.incarnations;
        self.incarnations += 1;
        let seat = Seat {
            party: self.party,
            incarnation,
            disk: self.disk.clone(),
            offset: Arc::clone(&self.offset),
            intruder: Arc::clone(&self.intruder),
            inbox: inbox.clone(),
            board: board.clone(),
            gate: gate.clone(),
            room: Arc::clone(&room),
            setting: Arc::clone(setting),
        };
        let guard = gate.clone();
        let task = context.child("server").spawn(move |context| guard.guard(seat.live(context)));
        self.process = Some(Process { inbox, board, gate, room, task });
    }

    /// The process is killed: nothing of it runs when this returns.
    pub async fn kill(&mut self, setting: &Setting<S>) {
        let Some(process) = self.process.take() else { return };
        setting.net.leave(self.party);
        setting.doors.set(self.party, None);
        setting.witness.died(self.party);
        self.disk.close();
        process.gate.set(false);
        process.task.abort();
        let _ = process.task.await;
    }

    /// The process has ended by itself.
    pub async fn bury(&mut self, setting: &Setting<S>) {
        self.kill(setting).await;
    }

    /// The machine loses its power.
    pub async fn cut_power(&mut self, setting: &Setting<S>) {
        self.kill(setting).await;
        self.disk.lose_power();
    }
}

/// All that one process is made of.
struct Seat<S: WholeSuite> {
    party: Party,
    incarnation: u64,
    disk: Disk,
    offset: Arc<AtomicI64>,
    intruder: Arc<Intruder<S>>,
    inbox: Inbox<Server<S>>,
    board: StatusBoard,
    gate: Gate,
    room: Arc<Room>,
    setting: Arc<Setting<S>>,
}

/// Requests of all connections that wait for an engine.
const ARRIVALS_WAITING: usize = 1024;

impl<S: WholeSuite> Seat<S> {
    async fn live(self, context: Context) {
        let (party, incarnation) = (self.party, self.incarnation);
        let ended = self.setting.ended.clone();
        let end = match self.serve(&context).await {
            Ok(()) => End::Stopped,
            Err(error) => End::of(&error),
        };
        let _ = ended.send((party, incarnation, end));
    }

    /// What `maftia_node::server` does, with other surroundings.
    async fn serve(self, context: &Context) -> Result<(), ServerError> {
        let Self { party, incarnation, setting, disk, .. } = &self;
        let group = setting.groups[party.index()].clone();
        let log = LogConfig {
            layout: setting.layout,
            ..LogConfig::new("log", identity::<Replicated<S>>(&group))
        };
        let on_disk = OnDisk::new(context.child("journal"), disk);
        let journal = open_log::<S, _>(on_disk, log, disk, None).await?;
        let metrics = Arc::new(Metrics::register(&context.child("engine")));
        let inbox = self.inbox.clone();
        setting.net.sit(*party, *incarnation, inbox.clone(), Arc::clone(&metrics));
        let (door, arrivals) = mpsc::channel(ARRIVALS_WAITING);
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock {
            context: context.child("clock"),
            started: micros(context),
            offset: Arc::clone(&self.offset),
            latest: AtomicU64::new(0),
        });
        let keyring = Arc::clone(&setting.keyrings[party.index()]);
        let run =
            work_with::<S, Server<S>, _>(keyring, Arc::clone(&clock), Arc::clone(&self.intruder));
        let recent = Recent::default();
        let host = Watching {
            inner: ReplicaHost::new(*party, self.board.clone()),
            recent: recent.clone(),
            errands: self.errands(context, &door),
            witness: setting.witness.clone(),
            party: *party,
        };
        let parts = Parts {
            group: group.clone(),
            host,
            arrivals,
            inbox,
            post: setting.net.post(
                *party,
                *incarnation,
                Arc::clone(&self.intruder),
                context.child("post"),
            ),
            clock: Arc::clone(&clock),
            tamper: Arc::clone(&self.intruder),
            run: Arc::new(run),
            worker_threads: 0,
            consult: no_trusted_component(),
            metrics,
            room: Arc::clone(&self.room),
        };
        let wanted = setting.witness.is_honest(*party).then_some(&setting.wanted);
        let authority = setting.sights.as_ref().map(|_| authority::authority(group.structure()));
        let replica = Replica::new(all(&recent, wanted, setting.ballast, authority));
        let replica = replica.with_mark_interval(setting.mark_interval);
        let linked = Linked::new(replica, &group, clock.reading().0);
        let (engine, log) = Engine::restore(linked, journal, parts).await?;
        let log = self.gate.guard(log);
        let log = context.child("log").spawn(move |_| log);
        setting.doors.set(*party, Some(door));
        engine.run(context.child("run")).await?;
        log.await.map_err(|error| ServerError::Broken(error.to_string()))
    }

    /// Who does what the authority wants done outside, if there is one.
    fn errands(&self, context: &Context, door: &Door<S>) -> Option<Errands<S>> {
        let sight = self.setting.sights.as_ref()?[self.party.index()];
        let random = Random::new(self.incarnation << 8 | self.party.index() as u64);
        let errands = context.child("errands");
        Some(Errands::new(errands, self.gate.clone(), door.clone(), sight, random))
    }
}

/// A replica's host, and beside it somebody who writes down what happens.
struct Watching<S: WholeSuite> {
    inner: ReplicaHost<S, Replicated<S>>,
    recent: Recent,
    errands: Option<Errands<S>>,
    witness: Witness,
    party: Party,
}

impl<S: WholeSuite> Watching<S> {
    fn note(&self, outcome: &Outcome<S>) {
        match outcome {
            Outcome::Applied(applied) => {
                let executed = self.recent.take(applied.executed as usize);
                self.witness.applied(self.party, applied, executed);
            }
            Outcome::Convicted(fault) => self.witness.convicted(self.party, fault),
            Outcome::Certified(mark) => self.witness.certified(self.party, mark.0),
            Outcome::Installed(mark) => self.witness.installed(self.party, mark.0),
            Outcome::Cut(_) => self.witness.cut(self.party),
            _ => {}
        }
    }
}

impl<S: WholeSuite> Host<Server<S>> for Watching<S> {
    type Request = Request<S>;

    fn capacity(&self, protocol: &Server<S>) -> usize {
        self.inner.capacity(protocol)
    }

    fn on_started(&mut self, desk: &mut Desk<Server<S>>) {
        self.witness.started(self.party);
        self.inner.on_started(desk);
    }

    fn on_arrival(&mut self, arrival: Arrival<Request<S>>, desk: &mut Desk<Server<S>>) {
        self.inner.on_arrival(arrival, desk);
    }

    fn on_outcome(&mut self, outcome: Outcome<S>, desk: &mut Desk<Server<S>>) {
        self.note(&outcome);
        if let (Outcome::Task { service, task }, Some(errands)) = (&outcome, &mut self.errands) {
            return errands.start(*service, task);
        }
        self.inner.on_outcome(outcome, desk);
    }

    fn on_restored(&mut self, outcome: Outcome<S>) {
        self.note(&outcome);
        self.inner.on_restored(outcome);
    }

    fn on_fault(&mut self, fault: Fault, desk: &mut Desk<Server<S>>) {
        self.witness.blamed(self.party, &fault);
        self.inner.on_fault(fault, desk);
    }

    fn on_wake(&mut self, desk: &mut Desk<Server<S>>) {
        self.inner.on_wake(desk);
    }

    fn on_recalled(&mut self, recalled: Recalled<Server<S>>, desk: &mut Desk<Server<S>>) {
        self.inner.on_recalled(recalled, desk);
    }

    fn on_trouble(&mut self, trouble: Trouble) {
        self.inner.on_trouble(trouble);
    }

    fn observe(&mut self, protocol: &Server<S>, now: Time) {
        self.inner.observe(protocol, now);
        if self.witness.wants_states() {
            let replica = protocol.inner();
            let state = maftia_base::Digest::of("drill: state", &replica.snapshot());
            let is_new = self.witness.state(self.party, replica.position(), state);
            if let Some(authority) = replica.machine(CA).and_then(Watched::authority)
                && is_new
            {
                let (issued, wrong) = authority::certificates(authority);
                self.witness.issued(self.party, issued, wrong);
            }
        }
    }

    fn archive_key(record: &Record<S>) -> Option<ArchiveKey> {
        <ReplicaHost<S, Replicated<S>> as Host<Server<S>>>::archive_key(record)
    }

    fn message_kind(message: &Packet<maftia_activity::Message<S>>) -> MessageKind {
        <ReplicaHost<S, Replicated<S>> as Host<Server<S>>>::message_kind(message)
    }
}

/// Only so that the compiler says here, and not at the run, what a replica lacks.
const _: fn() = || {
    fn is_machine<M: StateMachine>() {}
    is_machine::<super::service::Watched>();
};
