//! The host of a replica: who is attached, who waits for an answer, what is recalled.

use crate::Driven;
use crate::archive::{ArchiveKey, Shelf};
use crate::component::{ComponentBoard, ComponentStatus};
use crate::errands::{ErrandResult, Runner};
use crate::host::{Arrival, ConnectionId, Desk, Host, MessageKind, Recall, Recalled};
use crate::watch::Trouble;
use bytes::Bytes;
use maftia_activity::{
    AgreedTime, Applied, ClientBundle, Command, FrontEndReply, Halt, Outcome, Piece, Record,
    Replica, ReplyBundle, Standing, StateMachine, Task, TaskId,
};
use maftia_agreement::atomic::{self, Height, Round};
use maftia_agreement::checkpoint::Mark;
use maftia_base::protocol::Vocabulary;
use maftia_base::time::{Reading, Time};
use maftia_base::wire::Wire;
use maftia_base::{Epoch, Fault, FaultKind, PARTIES_MAX, Party, Protocol, ServiceId};
use maftia_crypto::{ClientKey, CodedValue, Suite};
use maftia_links::{Linked, Packet};
use maftia_ttcb_api::EntityId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{debug, error, info, warn};

/// A protocol that speaks to its driver as a replica does: a replica, or a hostile one.
pub trait Served<S: Suite>:
    Protocol<
        Command = Command<S>,
        Outcome = Outcome<S>,
        Record = Record<S>,
        Message: Wire + Send + Sync + 'static,
        Ticket: Send + 'static,
        Work = maftia_crypto::Work<S>,
        Done = maftia_crypto::Done<S>,
    > + Send
    + 'static
{
    /// How far it is.
    fn progress(&self) -> Progress;

    /// How it stands in its group.
    fn standing(&self) -> Standing;

    /// In the hybrid configuration, as which entity before the wormhole the group knows `me`.
    fn known_as(&self, me: Party) -> Option<EntityId>;
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// Its epoch.
    pub epoch: u64,
    /// Requests executed.
    pub position: u64,
    /// The agreed time, in microseconds since 1970.
    pub agreed_time: u64,
    /// The last mark that it reached: a place where its log may begin.
    pub mark: u64,
    /// The last mark that a quorum certified; 0 for none.
    pub certified: u64,
}

impl<S: Suite, M: StateMachine> Served<S> for Replica<S, M>
where
    Self: Protocol<
            Command = Command<S>,
            Outcome = Outcome<S>,
            Record = Record<S>,
            Message: Wire + Send + Sync + 'static,
            Ticket: Send + 'static,
            Work = maftia_crypto::Work<S>,
            Done = maftia_crypto::Done<S>,
        > + Send,
{
    fn progress(&self) -> Progress {
        let (mark, certified) = self.marks();
        Progress {
            epoch: self.epoch().0,
            position: self.position(),
            agreed_time: self.agreed_time().0,
            mark: mark.0,
            certified: certified.unwrap_or_default().0,
        }
    }

    fn standing(&self) -> Standing {
        Replica::standing(self)
    }

    fn known_as(&self, me: Party) -> Option<EntityId> {
        Replica::known_as(self, me)
    }
}

/// What connections ask of a replica's host.
#[derive(Debug)]
pub enum Request<S: Suite> {
    /// This client, which has proved its key, is here; send its replies there.
    Attach(ClientKey, mpsc::Sender<ReplyBundle<S>>),
    /// A client's requests.
    Bundle(ClientBundle),
    /// A client's large request.
    Large {
        /// What it signed.
        bundle: ClientBundle,
        /// The request.
        value: CodedValue,
        /// Its turn among those that are being read.
        turn: [OwnedSemaphorePermit; 2],
    },
    /// A stock client's request.
    FrontEnd {
        /// To which service.
        service: ServiceId,
        /// What.
        request: Bytes,
        /// Where the answer goes.
        answer: oneshot::Sender<FrontEndReply>,
    },
    /// A question to a service, out of this server's state.
    Read {
        /// Which service.
        service: ServiceId,
        /// What.
        question: Bytes,
        /// Where the answer goes.
        answer: oneshot::Sender<Option<Bytes>>,
    },
    /// What came of outside work.
    TaskResult {
        /// Of which service.
        service: ServiceId,
        /// Which work.
        id: TaskId,
        /// What came of it.
        result: ErrandResult,
    },
}

/// How a server is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// Its number in the group.
    pub party: usize,
    /// How it stands in its group: `starting`, `member`, `catching up`, `rejoining`, `fetching`
    /// or `waiting` for the group to admit a new life of its trusted component.
    pub standing: String,
    /// Of a state that is being fetched: chunks that are here, and all of them.
    pub chunks: Option<(usize, usize)>,
    /// What happened to its host since the start, the latest last: a full disk, a clock that was
    /// set, a process that was stopped.
    pub troubles: Vec<String>,
    /// How far its replica is.
    pub progress: Progress,
    /// Round of the last batch that was applied since the start.
    pub round: u64,
    /// The other servers: number, and whether something was heard from it of late.
    pub peers: Vec<(usize, bool)>,
    /// Batches applied since the start.
    pub batches: u64,
    /// Requests executed since the start.
    pub executed: u64,
    /// Requests skipped since the start, because they had been executed or were refused.
    pub skipped: u64,
    /// Clients attached.
    pub clients: usize,
    /// Outside work that is under way, or whose result is not ordered.
    pub errands: usize,
    /// Stock clients that wait for an answer.
    pub waiting: usize,
    /// Servers convicted, with the kind of fault: there is evidence that anyone can check.
    pub convicted: Vec<(usize, String)>,
    /// Faults seen here without evidence: server, kind, how often.
    pub suspected: Vec<(usize, String, u64)>,
    /// In the hybrid configuration, how it stands with its trusted component.
    pub component: Option<ComponentStatus>,
}

/// Where the latest status can be seen from any thread.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard {
    status: Arc<Mutex<Status>>,
    /// What is known of the trusted component.
    pub component: ComponentBoard,
}

impl StatusBoard {
    /// The latest status.
    pub fn read(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status { component: self.component.read(), ..status }
    }

    fn write(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// A peer that was heard this recently is called connected.
const RECENTLY: u64 = 3_000_000;

/// Keeps the replica's connections. See [`Host`].
#[derive(Debug)]
pub struct ReplicaHost<S: Suite, P> {
    clients: BTreeMap<ConnectionId, (ClientKey, mpsc::Sender<ReplyBundle<S>>)>,
    attached: BTreeMap<ClientKey, BTreeSet<ConnectionId>>,
    waiting: BTreeMap<u64, oneshot::Sender<FrontEndReply>>,
    reading: BTreeMap<u64, oneshot::Sender<Option<Bytes>>>,
    next: u64,
    errands: Option<Runner<S>>,
    wake: Option<AgreedTime>,
    status: Status,
    board: StatusBoard,
    suspected: BTreeMap<(Party, FaultKind), u64>,
    convicted: BTreeSet<(Party, FaultKind)>,
    _protocol: PhantomData<fn() -> P>,
}

impl<S: Suite, P: Served<S>> ReplicaHost<S, P> {
    /// The host of `me`, without connections; shows its status on `board`.
    pub fn new(me: Party, board: StatusBoard) -> Self {
        Self {
            clients: BTreeMap::new(),
            attached: BTreeMap::new(),
            waiting: BTreeMap::new(),
            reading: BTreeMap::new(),
            next: 0,
            errands: None,
            wake: None,
            status: Status { party: me.index(), standing: "starting".into(), ..Status::default() },
            board,
            suspected: BTreeMap::new(),
            convicted: BTreeSet::new(),
            _protocol: PhantomData,
        }
    }

    /// Has the outside work of services done by `errands`, if there is anybody who knows how.
    #[must_use]
    pub fn with_errands(self, errands: Option<Runner<S>>) -> Self {
        Self { errands, ..self }
    }

    /// Outside work that is under way, or whose result is not ordered.
    pub fn errands(&self) -> usize {
        self.errands.as_ref().map_or(0, Runner::running)
    }

    /// A task of a service; without anybody who knows such work nothing comes of it.
    fn on_task(&mut self, service: ServiceId, task: Task) {
        match &mut self.errands {
            Some(errands) => errands.start(service, task),
            None => warn!(?service, ?task, "nobody here does outside work"),
        }
    }

    fn attach(
        &mut self,
        connection: ConnectionId,
        key: ClientKey,
        replies: mpsc::Sender<ReplyBundle<S>>,
        desk: &mut Desk<Linked<P>>,
    ) {
        self.clients.insert(connection, (key, replies));
        let connections = self.attached.entry(key).or_default();
        connections.insert(connection);
        if connections.len() == 1 {
            desk.command(Command::Attach(key));
        }
    }

    fn detach(&mut self, connection: ConnectionId, desk: &mut Desk<Linked<P>>) {
        let Some((key, _)) = self.clients.remove(&connection) else {
            return;
        };
        if let Some(connections) = self.attached.get_mut(&key) {
            connections.remove(&connection);
            if connections.is_empty() {
                self.attached.remove(&key);
                desk.command(Command::Detach(key));
            }
        }
    }

    /// Without the way back its connections end.
    fn dismiss(&mut self, key: ClientKey, desk: &mut Desk<Linked<P>>) {
        for connection in self.attached.get(&key).cloned().unwrap_or_default() {
            self.detach(connection, desk);
        }
    }

    /// A client that does not read its replies loses them, and asks again: replies are kept for
    /// its session, not for its connection.
    fn reply(&mut self, bundle: ReplyBundle<S>) {
        let connections = self.attached.get(&bundle.key);
        for connection in connections.into_iter().flatten() {
            if let Some((_, replies)) = self.clients.get(connection) {
                let _ = replies.try_send(bundle.clone());
            }
        }
    }

    fn on_applied(&mut self, applied: Applied) {
        self.status.round = applied.round;
        self.status.batches += 1;
        self.status.executed += u64::from(applied.executed);
        self.status.skipped += u64::from(applied.skipped);
    }

    fn on_convicted(&mut self, fault: &Fault) {
        if self.convicted.insert((fault.culprit, fault.kind)) {
            let (culprit, kind) = (fault.culprit, fault.kind);
            error!(%culprit, ?kind, "convicted: there is evidence that anyone can check");
        }
    }

    fn status(&self, protocol: &Linked<P>, now: Time) -> Status {
        let mut status = self.status.clone();
        status.progress = protocol.inner().progress();
        let (standing, chunks) = match protocol.inner().standing() {
            Standing::Member => ("member", None),
            Standing::CatchingUp(here, all) => ("catching up", Some((here, all))),
            Standing::Rejoining => ("rejoining", None),
            Standing::Fetching(here, all) => ("fetching", Some((here, all))),
            Standing::Waiting => ("waiting", None),
        };
        (status.standing, status.chunks) = (standing.into(), chunks);
        let heard = |party| {
            let heard_at = protocol.status(party)?.heard_at;
            let recently = heard_at.is_some_and(|at| now.0.saturating_sub(at.0) < RECENTLY);
            Some((party.index(), recently))
        };
        status.peers = (0..PARTIES_MAX).map(Party::new).filter_map(heard).collect();
        status.clients = self.attached.len();
        status.errands = self.errands();
        status.waiting = self.waiting.values().filter(|waiting| !waiting.is_closed()).count();
        let name = |kind: &FaultKind| format!("{kind:?}");
        let convicted = self.convicted.iter().map(|(party, kind)| (party.index(), name(kind)));
        status.convicted = convicted.collect();
        let suspected = self.suspected.iter();
        status.suspected =
            suspected.map(|((party, kind), times)| (party.index(), name(kind), *times)).collect();
        status
    }
}

impl<S: Suite, P: Served<S>> Host<Linked<P>> for ReplicaHost<S, P>
where
    Linked<P>: Driven<
            Command = Command<S>,
            Outcome = Outcome<S>,
            Record = Record<S>,
            Message = Packet<<P as Vocabulary>::Message>,
        >,
{
    type Request = Request<S>;

    fn capacity(&self, protocol: &Linked<P>) -> usize {
        Protocol::capacity(protocol.inner())
    }

    fn on_started(&mut self, _: &mut Desk<Linked<P>>) {
        info!("running");
    }

    fn on_arrival(&mut self, arrival: Arrival<Request<S>>, desk: &mut Desk<Linked<P>>) {
        match arrival {
            Arrival::Request(connection, Request::Attach(key, replies)) => {
                self.attach(connection, key, replies, desk);
            }
            Arrival::Request(_, Request::Bundle(bundle)) => desk.command(Command::Bundle(bundle)),
            Arrival::Request(_, Request::Large { bundle, value, turn }) => {
                desk.command(Command::Large { bundle, value });
                drop(turn);
            }
            Arrival::Request(_, Request::FrontEnd { service, request, answer }) => {
                // Those who gave up waiting make room.
                self.waiting.retain(|_, waiting| !waiting.is_closed());
                self.next += 1;
                self.waiting.insert(self.next, answer);
                desk.command(Command::FrontEnd { id: self.next, service, request });
            }
            Arrival::Request(_, Request::Read { service, question, answer }) => {
                self.reading.retain(|_, reading| !reading.is_closed());
                self.next += 1;
                self.reading.insert(self.next, answer);
                desk.command(Command::Read { id: self.next, service, question });
            }
            Arrival::Request(_, Request::TaskResult { service, id, result }) => {
                desk.command(Command::TaskResult { service, id, result });
            }
            Arrival::Closed(connection) => self.detach(connection, desk),
        }
    }

    fn on_outcome(&mut self, outcome: Outcome<S>, desk: &mut Desk<Linked<P>>) {
        match outcome {
            Outcome::ClientReplies(bundle) => self.reply(bundle),
            Outcome::ClientLied(key) => self.dismiss(key, desk),
            Outcome::FrontEndReply { id, reply } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    let _ = answer.send(reply);
                }
            }
            Outcome::Answer { id, answer } => {
                if let Some(reading) = self.reading.remove(&id) {
                    let _ = reading.send(answer);
                }
            }
            Outcome::Task { service, task } => self.on_task(service, task),
            Outcome::TaskOver { service, id } => {
                if let Some(errands) = &mut self.errands {
                    errands.give_up(service, id);
                }
            }
            Outcome::WakeAt(at) => {
                self.wake = at;
                desk.wake_at(at.map(|at| Reading(at.0)));
            }
            Outcome::Recall { to, key } => desk.recall(Recall { to, key: place(key) }),
            Outcome::Convicted(fault) => self.on_convicted(&fault),
            Outcome::Applied(applied) => self.on_applied(applied),
            Outcome::EpochEnded { ended } => info!(?ended, "epoch ended"),
            Outcome::Cut(key) => desk.cut(place(key)),
            Outcome::Certified(mark) => debug!(mark = mark.0, "checkpoint certified"),
            Outcome::Halted(why) => desk.halt(explain(why)),
            Outcome::Fetching(mark) => {
                info!(mark = mark.0, "far behind: fetching a certified state from the others");
            }
            Outcome::Installed(mark) => {
                info!(mark = mark.0, "the state is here and verified: going on from there");
            }
        }
    }

    fn on_restored(&mut self, outcome: Outcome<S>) {
        if let Outcome::Convicted(fault) = outcome {
            self.on_convicted(&fault);
        }
    }

    fn on_trouble(&mut self, trouble: Trouble) {
        if self.status.troubles.len() == TROUBLES_MAX {
            self.status.troubles.remove(0);
        }
        self.status.troubles.push(trouble.to_string());
    }

    fn on_fault(&mut self, fault: Fault, _: &mut Desk<Linked<P>>) {
        *self.suspected.entry((fault.culprit, fault.kind)).or_default() += 1;
    }

    fn observe(&mut self, protocol: &Linked<P>, now: Time) {
        self.board.write(self.status(protocol, now));
    }

    fn on_wake(&mut self, desk: &mut Desk<Linked<P>>) {
        if let Some(at) = self.wake.take() {
            desk.command(Command::WakeDue(at));
        }
    }

    fn on_recalled(&mut self, recalled: Recalled<Linked<P>>, desk: &mut Desk<Linked<P>>) {
        let (to, key) = (recalled.to, name(recalled.key));
        desk.command(Command::Recalled { to, key, record: recalled.record.map(Box::new) });
    }

    fn archive_key(record: &Record<S>) -> Option<ArchiveKey> {
        record.archive_key().map(place)
    }

    fn message_kind(message: &Packet<P::Message>) -> MessageKind {
        match message {
            Packet::Frame(frame) if frame.message_count() == 0 => MessageKind::Link,
            Packet::Frame(_) | Packet::Local(_) => MessageKind::Protocol,
        }
    }
}

/// Troubles that the status page remembers.
const TROUBLES_MAX: usize = 8;

/// For the operator.
fn explain(why: Halt) -> String {
    let what = match why {
        Halt::Diverged(mark) => format!(
            "this server's state at mark {} is not the one that a quorum of the group certified. \
             Its memory or its disk is faulty, or it runs another version or other services than \
             the others",
            mark.0
        ),
        Halt::Forgot => "the group has certificates with this server's signature on what is not \
                         in its journal: the journal is an older copy, or the disk lost what it \
                         had promised to keep"
            .into(),
        Halt::OtherLife => "this host's trusted component has restarted since the group admitted \
                            this server, and has forgotten what it identified: nothing that it \
                            says now counts until the group admits its new life"
            .into(),
    };
    format!(
        "{what}. It stopped before it could contradict itself. Mend the cause, then run `maftia \
         repair --rejoin`: it sets the journal aside, and has this server rejoin from its peers"
    )
}

const BATCH: u8 = 0;
const ROUND: u8 = 1;
const MANIFEST: u8 = 2;
const CHUNK: u8 = 3;

/// Where the archive keeps what the replica calls `key`.
fn place(key: maftia_activity::ArchiveKey) -> ArchiveKey {
    let shelf = |kind, epoch, series| Shelf { kind, epoch, series };
    let key = match key {
        maftia_activity::ArchiveKey::Order(key) => key,
        maftia_activity::ArchiveKey::Snapshot(mark, Piece::Manifest) => {
            return ArchiveKey { shelf: shelf(MANIFEST, 0, 0), height: mark.0 };
        }
        maftia_activity::ArchiveKey::Snapshot(mark, Piece::Chunk(index)) => {
            return ArchiveKey { shelf: shelf(CHUNK, mark.0, 0), height: u64::from(index) };
        }
    };
    match key {
        atomic::ArchiveKey::Batch { epoch, lane, height } => {
            let shelf = shelf(BATCH, epoch.0, lane.index() as u64);
            ArchiveKey { shelf, height: height.0 }
        }
        atomic::ArchiveKey::Round { epoch, round } => {
            ArchiveKey { shelf: shelf(ROUND, epoch.0, 0), height: round.0 }
        }
    }
}

/// The inverse of [`place`].
fn name(key: ArchiveKey) -> maftia_activity::ArchiveKey {
    let ArchiveKey { shelf: Shelf { kind, epoch, series }, height } = key;
    let order = match kind {
        MANIFEST => {
            return maftia_activity::ArchiveKey::Snapshot(Mark(height), Piece::Manifest);
        }
        CHUNK => {
            let index = u32::try_from(height).expect("chunks are numbered in 32 bits");
            return maftia_activity::ArchiveKey::Snapshot(Mark(epoch), Piece::Chunk(index));
        }
        ROUND => atomic::ArchiveKey::Round { epoch: Epoch(epoch), round: Round(height) },
        _ => {
            let (epoch, lane) = (Epoch(epoch), Party::new(series as usize));
            atomic::ArchiveKey::Batch { epoch, lane, height: Height(height) }
        }
    };
    maftia_activity::ArchiveKey::Order(order)
}
