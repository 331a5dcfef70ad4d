//! A whole server: everything of this package, wired together around a replica.

use crate::Driven;
use crate::acme::{FilesError, Opened};
use crate::asking::{Asking, OPEN_MAX};
use crate::client::{self, Reception};
use crate::clock::{Clock, SystemClock};
use crate::component;
use crate::engine::{Consult, Engine, EngineError, Parts, no_trusted_component};
use crate::errands::Errands;
use crate::host::Host;
use crate::http::{self, Face, FrontEnd};
use crate::inbox::Inbox;
use crate::inspect::check_usable;
use crate::journal::{JournalError, LogConfig};
use crate::metrics::Metrics;
use crate::network::{self, NetworkConfig, NetworkError};
use crate::outbox::Post;
use crate::production::{Authority, Offer};
use crate::refound::log_name;
use crate::replica::{ReplicaHost, Served, StatusBoard};
use crate::start::{Beside, Files, identity, open_log, work_with};
use crate::tamper::{Honest, Tamper};
use crate::validation::ValidatorError;
use crate::watch::{LOOK_EVERY, Room};
use crate::wormhole::{self, Connection, Life, WormholeConfig};
use commonware_runtime::tokio::{Config as RuntimeConfig, Context, Runner};
use commonware_runtime::{
    Clock as _, Error as RuntimeError, Handle, Metrics as _, Runner as _, Spawner as _,
    Supervisor as _,
};
use maftia_activity::{Command, Replica, StateMachine};
use maftia_agreement::hybrid::Members;
use maftia_base::protocol::Vocabulary;
use maftia_base::{Group, ServiceId};
use maftia_crypto::{Attested, ClientClaim, Done, RealKeyring, RealSuite, Suite, Work};
use maftia_links::Linked;
use maftia_ttcb_api::EntityId;
use rand_core::Rng;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

pub use crate::inspect::{Inspected, inspect};

/// Requests of all connections that wait for the engine.
const ARRIVALS_WAITING: usize = 1024;

/// How a server is set up on its host.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where its log is.
    pub data: PathBuf,
    /// How often operators have founded its group anew. Each founding has a log of its own, so that
    /// to change from one to the next is to replace one file.
    pub generation: u64,
    /// A file, not in `data`, that says how often this server ran with a log: without it, a server
    /// that lost its log would begin another, or go on with an older copy, and contradict what it
    /// signed before.
    pub begun: PathBuf,
    /// A file by which an operator says that the log is lost, see [`Lost`].
    pub lost: PathBuf,
    /// How it meets the other servers.
    pub network: NetworkConfig,
    /// In the hybrid configuration, its trusted component.
    pub wormhole: Option<WormholeConfig>,
    /// Where it listens for clients that sign their requests.
    pub clients: SocketAddr,
    /// Where it listens for stock clients and operators, by HTTP.
    pub http: SocketAddr,
    /// How it uses its host.
    pub tuning: Tuning,
    /// Stop by itself once this server takes part in its group.
    pub until_member: bool,
}

/// How a server uses the cores of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Threads for cryptography; 0 has the engine do it.
    pub worker_threads: usize,
    /// Threads for sockets.
    pub network_threads: usize,
    /// A thread of its own for the engine.
    pub engine_thread: bool,
}

impl Tuning {
    /// For a server that shares `cores` cores with nobody. Changes of thread cost more than they
    /// gain unless there are cores to change to.
    pub fn for_cores(cores: usize) -> Self {
        match cores {
            0..=3 => Self { worker_threads: 0, network_threads: 1, engine_thread: false },
            _ => {
                let worker_threads = (cores - 2).min(WORKER_THREADS_MAX);
                Self { worker_threads, network_threads: 1, engine_thread: true }
            }
        }
    }
}

/// More threads for cryptography than this wait for each other.
const WORKER_THREADS_MAX: usize = 8;

/// Why a server ended, other than by being asked to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The log's folder cannot be used at all.
    #[error(
        "{}: {source}. It must be a folder that the user of this server can write to",
        data.display()
    )]
    Data {
        /// The folder.
        data: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It cannot be noted, or read, that there is a log.
    #[error("{}: {source}", begun.display())]
    Begun {
        /// The file.
        begun: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The network cannot be joined.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The engine ended.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The runtime does not take a socket.
    #[error("cannot listen: {0}")]
    Sockets(std::io::Error),
    /// The trusted component knows this process as another than the group does.
    #[error(
        "the trusted component of this host knows this user by another role, or is of another \
         host. Right would be: the user that has the role of the server, and that host's component"
    )]
    OtherEntity,
    /// The trusted component has begun another life while the server ran, or the group has
    /// admitted the life that it began before: the server is to be started again.
    #[error("this server's trusted component has begun another life")]
    LifeEnded,
    /// A new journal would begin with the life in which the old one was lost.
    #[error(
        "the journal is lost, and this server's trusted component has not been restarted since: \
         the group admits only a life that began after the loss. Right would be: restart \
         maftia-ttcb on this host, then start the server"
    )]
    SameLife,
    /// The certificate that is shown to clients of ACME cannot be used.
    #[error(transparent)]
    Certificate(#[from] FilesError),
    /// The outside cannot be looked at.
    #[error(transparent)]
    Validator(#[from] ValidatorError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
    /// It was asked to stop before it took part in its group.
    #[error(
        "stopped before this server was a member of its group again. Start it: it goes on \
         rejoining, as `maftia status` shows; or run `maftia repair` again, which waits for it"
    )]
    NotYetMember,
    /// A task ended that should not.
    #[error("the server broke: {0}")]
    Broken(String),
}

/// A server that has been set up and not yet started.
pub struct Server<P, T> {
    config: ServerConfig,
    authority: Option<Authority>,
    errands: Option<Arc<dyn Errands>>,
    group: Group,
    keyring: Arc<RealKeyring>,
    replica: P,
    tamper: T,
    front_end: Arc<dyn FrontEnd>,
}

impl<P, T> std::fmt::Debug for Server<P, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Server<Replica<RealSuite, M>, Honest>
where
    Replica<RealSuite, M>: Served<RealSuite>,
{
    /// The server of production: runs `services` honestly; in the hybrid configuration with the
    /// `members` with which the group began.
    pub fn honest(
        config: ServerConfig,
        group: Group,
        keyring: RealKeyring,
        services: impl IntoIterator<Item = (ServiceId, M)>,
        members: Option<Members>,
        front_end: Arc<dyn FrontEnd>,
    ) -> Self {
        let replica = Replica::new(services);
        let replica = match members {
            Some(members) => replica.with_members(members),
            None => replica,
        };
        let (keyring, tamper) = (Arc::new(keyring), Honest);
        Self { config, authority: None, errands: None, group, keyring, replica, tamper, front_end }
    }
}

impl<P, T> Server<P, T>
where
    P: Served<RealSuite>,
    Linked<P>: Driven,
    ReplicaHost<RealSuite, P>:
        crate::host::Host<Linked<P>, Request = crate::replica::Request<RealSuite>>,
    Linked<P>:
        Vocabulary<Command = Command<RealSuite>, Work = Work<RealSuite>, Done = Done<RealSuite>>,
    T: Tamper<Linked<P>>,
{
    /// A server that an intruder took over: another protocol, and another use of its keys.
    pub fn taken_over(
        config: ServerConfig,
        group: Group,
        keyring: RealKeyring,
        replica: P,
        tamper: T,
        front_end: Arc<dyn FrontEnd>,
    ) -> Self {
        let keyring = Arc::new(keyring);
        Self { config, authority: None, errands: None, group, keyring, replica, tamper, front_end }
    }

    /// Serves the clients of the authority, too, if one of the services is.
    #[must_use]
    pub fn offering(self, offer: Offer) -> Self {
        Self { authority: offer.authority, ..self }
    }

    /// Has the authority's outside work done in another way than by honest looks.
    #[must_use]
    pub fn with_errands(self, errands: Arc<dyn Errands>) -> Self {
        Self { errands: Some(errands), ..self }
    }

    /// Runs until SIGTERM or SIGINT, or until something breaks. Blocks the calling thread; must
    /// not be called on a runtime.
    pub fn run(mut self) -> Result<(), ServerError> {
        // Before the runtime, which waits for ever for a folder that another process uses: whoever
        // starts a server twice is told so.
        let clients = bind(self.config.clients, "clients")?;
        let pages = bind(self.config.http, "HTTP")?;
        let (authority, errands) = (self.authority.take(), self.errands.take());
        let acme = authority.map(|Authority { acme, wish, .. }| Opened::new(acme, &wish, errands));
        let acme = acme.transpose()?;
        check_usable(&self.config.data)?;
        let runtime = RuntimeConfig::new()
            .with_worker_threads(self.config.tuning.network_threads.max(1))
            .with_storage_directory(self.config.data.clone())
            .with_tcp_nodelay(Some(true))
            .with_read_write_timeout(Duration::from_secs(60));
        Runner::new(runtime).start(|context| async move {
            let clients = TcpListener::from_std(clients).map_err(ServerError::Sockets)?;
            let pages = TcpListener::from_std(pages).map_err(ServerError::Sockets)?;
            self.serve(context, (clients, pages), acme).await
        })
    }

    async fn serve(
        self,
        context: Context,
        (clients, pages): (TcpListener, TcpListener),
        acme: Option<Opened>,
    ) -> Result<(), ServerError> {
        let Self { config, group, keyring, replica, tamper, front_end, .. } = self;
        let beside = Files::of(&config);
        let log = LogConfig::new(log_name(config.generation), identity::<P>(&group));
        let wormhole = reach_wormhole(&context, &config).await;
        let life = wormhole.as_ref().map(Connection::life);
        let asked_with = life.map(|life| Attested(life.boot));
        let journal = context.child("journal");
        let journal = open_log::<RealSuite, _>(journal, log, &beside, asked_with).await?;
        let room = Arc::new(Room::default());
        context.child("room").spawn(look_at(Arc::clone(&room), config.data.clone()));
        let inbox = Inbox::new(group.n());
        let metrics = Arc::new(Metrics::register(&context.child("engine")));
        let (seed, counted) = (keyring.link_seed(), Arc::clone(&metrics));
        let (post, receive) =
            network::join(&context, &config.network, seed, inbox.clone(), counted)?;
        let (arrivals, arriving) = mpsc::channel(ARRIVALS_WAITING);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let board = StatusBoard::default();
        let tamper = Arc::new(tamper);
        let (clock_seen, tampering) = (Arc::clone(&clock), Arc::clone(&tamper));
        let run = work_with::<RealSuite, _, _>(Arc::clone(&keyring), clock_seen, tampering);
        let (consult, other_life) =
            join_wormhole(&context, &config, wormhole, (inbox.clone(), &board));
        let errands = acme.as_ref().map(|acme| acme.errands(arrivals.clone())).transpose()?;
        let parts = Parts {
            group: group.clone(),
            host: ReplicaHost::new(group.me(), board.clone()).with_errands(errands),
            arrivals: arriving,
            inbox: inbox.clone(),
            post,
            clock: Arc::clone(&clock),
            tamper,
            run: Arc::new(run),
            worker_threads: config.tuning.worker_threads,
            consult,
            metrics,
            room,
        };
        let linked = Linked::new(replica, &group, clock.reading().0);
        let (engine, log) = Engine::restore(linked, journal, parts).await?;
        // Before anything is signed, whether or not the group knows this life yet.
        life.map_or(Ok(()), |life| beside.note_life(life.boot.said.signing))?;
        let known = engine.protocol().inner().known_as(group.me());
        let (engine, waits) = settle_life(engine, known, life)?;
        let log = context.child("log").spawn(|_| log);
        context.child("receive").spawn(|_| receive);
        let runner = context.child("run");
        let runner = if config.tuning.engine_thread { runner.dedicated() } else { runner };
        let running = runner.spawn(|context| engine.run(context));
        let reception = reception(&context, &group, keyring, arrivals.clone());
        context.child("clients").spawn(|_| client::listen(clients, reception));
        let encoder = context.child("metrics");
        let metrics = Arc::new(move || encoder.encode());
        let asking = Asking::new(arrivals, OPEN_MAX);
        let pages_of = |acme: Opened| acme.serve(&context, group.me(), asking.clone());
        let more = acme.map(pages_of).transpose()?.unwrap_or_default();
        let face = Face { front_end, asking, metrics, board: board.clone(), more };
        // Who sees the pages may ask the server to stop.
        let stop = stop_signals()?;
        context.child("http").spawn(|_| http::serve::<RealSuite>(pages, face));
        info!(me = %group.me(), clients = %config.clients, http = %config.http, "up");

        let asked = until(stop, membership(&context, &board), config.until_member);
        let admitted = membership(&context, &board);
        let other_life = either(other_life, admitted, waits && !config.until_member);
        end((running, log), &inbox, asked, other_life).await?;
        let is_member = board.read().standing == "member";
        (is_member || !config.until_member).then_some(()).ok_or(ServerError::NotYetMember)
    }
}

/// Until the first is over; or the second, if that counts.
async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>, counts: bool) {
    tokio::select! {
        () = first => {}
        () = second, if counts => {}
    }
}

/// An engine, and whether it waits for its component's new life to be admitted.
type Settled<P, H, X, T> = (Engine<P, H, X, T>, bool);

/// Has the engine do without the trusted component while the group knows another life of it, or
/// none.
fn settle_life<P, H, X, T>(
    engine: Engine<P, H, X, T>,
    known: Option<EntityId>,
    life: Option<Life>,
) -> Result<Settled<P, H, X, T>, ServerError>
where
    P: Driven + Vocabulary<Command = Command<RealSuite>>,
    H: Host<P>,
    X: Post,
    T: Tamper<P>,
{
    let Some((known, life)) = known.zip(life) else { return Ok((engine, false)) };
    if known == life.entity {
        return Ok((engine, false));
    }
    if known != (EntityId { boot: known.boot, ..life.entity }) {
        return Err(ServerError::OtherEntity);
    }
    warn!(
        "this server's trusted component has begun another life, and waits for the group to admit \
         it. If components of more hosts than may be faulty have restarted, the group cannot go on \
         by itself: found it anew (maftia wormhole testify)"
    );
    Ok((engine.without_component(Command::OtherLife(Attested(life.boot))), true))
}

/// Waits for the end of the engine and of its log: by itself, or because it was asked for, or
/// because the trusted component has begun another life.
async fn end<P: Driven>(
    (mut running, log): (Handle<Result<P, EngineError>>, Handle<()>),
    inbox: &Inbox<P>,
    asked: impl Future<Output = ()>,
    other_life: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let broken = |error: RuntimeError| ServerError::Broken(error.to_string());
    let mut result = Ok(());
    let reason = async {
        tokio::select! {
            () = asked => {}
            () = other_life => result = Err(ServerError::LifeEnded),
        }
    };
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = reason => {
            inbox.stop();
            running.await
        }
    };
    drop(ended.map_err(broken)??);
    log.await.map_err(broken)?;
    result
}

/// The trusted component of this host, if there is one: once it answers.
async fn reach_wormhole(context: &Context, config: &ServerConfig) -> Option<Connection> {
    let config = config.wormhole.as_ref()?;
    Some(Connection::open_at_last(config, &mut context.child("handshake")).await)
}

/// Where calls go, and what ends when the component begins another life.
type Joined<P> = (
    Box<Consult<<P as Vocabulary>::Ticket, Work<RealSuite>>>,
    Pin<Box<dyn Future<Output = ()> + Send>>,
);

/// Has the engine's calls carried to the trusted component of this host, if there is one.
fn join_wormhole<P>(
    context: &Context,
    config: &ServerConfig,
    connection: Option<Connection>,
    (inbox, board): (Inbox<P>, &StatusBoard),
) -> Joined<P>
where
    P: Driven + Vocabulary<Work = Work<RealSuite>, Done = Done<RealSuite>>,
{
    let Some((config, connection)) = config.wormhole.clone().zip(connection) else {
        return (no_trusted_component(), Box::pin(std::future::pending()));
    };
    let answered = move |ticket, answer| {
        inbox.done([(ticket, Done::Trusted(Box::new(answer)))]);
    };
    let random = context.child("handshakes");
    let looking = component::look_at(config.clone(), board.component.clone());
    context.child("component").spawn(|_| looking);
    let board = board.component.clone();
    let (caller, task) = wormhole::caller(config, connection, random, board, answered);
    let task = context.child("wormhole").spawn(|_| task);
    let consult = move |ticket, work| match work {
        Work::Trusted(call) => caller.call(ticket, *call),
        work => unreachable!("no call of the trusted component: {work:?}"),
    };
    let other_life = async move {
        // It ends with another life, or with the whole server.
        let _ = task.await;
    };
    (Box::new(consult), Box::pin(other_life))
}

/// Looks at the room on the disk for ever.
fn look_at(
    room: Arc<Room>,
    folder: PathBuf,
) -> impl FnOnce(Context) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |context| {
        Box::pin(async move {
            loop {
                room.look_at(&folder);
                context.sleep(LOOK_EVERY).await;
            }
        })
    }
}

/// Ends when the server is asked to stop, or is a member if that is what it was started for.
async fn until(
    stop: impl Future<Output = ()>,
    membership: impl Future<Output = ()>,
    until_member: bool,
) {
    tokio::select! {
        () = stop => info!("stopping"),
        () = membership, if until_member => {}
    }
}

/// Ends when this server takes part in its group.
async fn membership(context: &Context, board: &StatusBoard) {
    while board.read().standing != "member" {
        context.sleep(LOOK_EVERY).await;
    }
}

pub(crate) fn bind(
    address: SocketAddr,
    purpose: &'static str,
) -> Result<std::net::TcpListener, ServerError> {
    let bound = std::net::TcpListener::bind(address);
    let bound = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|source| ServerError::Listen { address, purpose, source })
}

fn reception(
    context: &Context,
    group: &Group,
    keyring: Arc<RealKeyring>,
    arrivals: mpsc::Sender<crate::host::Arrival<crate::replica::Request<RealSuite>>>,
) -> Reception<RealSuite> {
    let random = Mutex::new(context.child("challenges"));
    let verify = move |claim: ClientClaim| {
        let work = vec![Work::VerifyClients(vec![claim])];
        let done = RealSuite::run_many(work, &keyring, Default::default());
        matches!(done.as_slice(), [Done::Verified(verdicts)] if verdicts.as_slice() == [true])
    };
    let challenge = move || {
        let mut challenge = [0; 32];
        random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut challenge);
        challenge
    };
    Reception {
        group: group.id(),
        me: group.me(),
        verify: Arc::new(verify),
        challenge: Arc::new(challenge),
        arrivals,
        connections: Arc::new(AtomicU64::new(0)),
    }
}

/// Listens for the signals that ask a process to stop, from now on; ends when one has come.
fn stop_signals() -> Result<impl Future<Output = ()>, ServerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
