//! The way to this server's trusted component: its local socket, local authentication, and calls
//! that are answered when they are answered.
//!
//! # Rules
//! - W1. A session is authenticated with the key of this host's key guard; calls and answers carry
//!   MACs. Whatever else comes over the socket ends the session.
//! - W2. A session that ends is begun again, for as long as it takes; what was not answered is
//!   called again, in the same order. Every call that protocols make may be repeated.
//! - W3. A component that has begun another life has forgotten what it answered. Nothing of that
//!   life is taken: the server ends, and comes back as one whose group must admit that life.
//!
//! # Bounds
//! What waits for an answer is bounded by what the protocol has open.

use maftia_ttcb_api::session::FRAME_BYTES;
use maftia_ttcb_api::{Answer, BootKeys, Call, EntityId, Handshake, Numbered, Sealed, Session};
use rand_core::Rng;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_seqpacket::UnixSeqpacket;
use tracing::{info, warn};

/// Where a server's trusted component is, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WormholeConfig {
    /// Its local socket.
    pub socket: PathBuf,
    /// The public key of this host's key guard, which certifies each of its lives.
    pub guard: [u8; 32],
}

/// Between two attempts to reach the component.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A component that does not welcome a process for so long is not there.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no session, or no longer.
#[derive(Debug, Error)]
pub enum WormholeError {
    /// The socket cannot be used.
    #[error("the trusted component's socket {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever answers there does not prove to be the component of this host.
    #[error(
        "{}: whoever answers there is not the trusted component whose guard's key group.toml \
         names, or does not know this user",
        path.display()
    )]
    Impostor {
        /// Where.
        path: PathBuf,
    },
    /// It says nothing.
    #[error("{}: the trusted component does not answer", path.display())]
    Silent {
        /// Where.
        path: PathBuf,
    },
}

/// Who this server is before the wormhole.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// The entity.
    pub entity: EntityId,
    /// The component's keys, certified by its guard.
    pub boot: Sealed<BootKeys>,
}

/// An authenticated connection to the component.
#[derive(Debug)]
pub struct Connection {
    socket: UnixSeqpacket,
    session: Session,
}

impl Connection {
    /// Who this server is before the wormhole.
    pub fn life(&self) -> Life {
        Life { entity: self.session.entity, boot: self.session.boot }
    }

    /// Connects and authenticates once. (W1)
    pub async fn open(
        config: &WormholeConfig,
        random: &mut (impl Rng + Send),
    ) -> Result<Self, WormholeError> {
        let path = &config.socket;
        let failed = |source| WormholeError::Socket { path: path.clone(), source };
        let socket = UnixSeqpacket::connect(path).await.map_err(failed)?;
        let (mut secret, mut challenge) = ([0; 32], [0; 32]);
        random.fill_bytes(&mut secret);
        random.fill_bytes(&mut challenge);
        let handshake = Handshake::new(secret, challenge);
        socket.send(&handshake.frame()).await.map_err(failed)?;
        let mut frame = [0; FRAME_BYTES];
        let welcome = tokio::time::timeout(WELCOME_TIMEOUT, socket.recv(&mut frame)).await;
        let welcome = welcome.map_err(|_| WormholeError::Silent { path: path.clone() })?;
        let impostor = || WormholeError::Impostor { path: path.clone() };
        if welcome.map_err(failed)?.bytes_read() != FRAME_BYTES {
            return Err(impostor());
        }
        let session = handshake.finish(&frame, &config.guard).map_err(|_| impostor())?;
        Ok(Self { socket, session })
    }

    /// Connects and authenticates, for as long as it takes. (W2)
    pub async fn open_at_last(config: &WormholeConfig, random: &mut (impl Rng + Send)) -> Self {
        let mut attempts = 0_u64;
        loop {
            match Self::open(config, random).await {
                Ok(connection) => return connection,
                Err(error) => {
                    attempts += 1;
                    if attempts.is_power_of_two() {
                        warn!(attempts, "{error}. Without it this server takes part in nothing");
                    }
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn call(&self, number: u64, body: Call) -> std::io::Result<()> {
        let frame = self.session.key.seal_call(&Numbered { number, body });
        self.socket.send(&frame).await.map(drop)
    }

    /// The next answer; `None` if the session is over. (W1)
    async fn answer(&self) -> Option<Numbered<Answer>> {
        let mut frame = [0; FRAME_BYTES];
        let received = self.socket.recv(&mut frame).await.ok()?;
        let is_whole = received.bytes_read() == FRAME_BYTES;
        is_whole.then(|| self.session.key.open_answer(&frame).ok())?
    }
}

/// A call, and where its answer goes.
type Asked<T> = (T, Call);

/// The protocol's end: takes calls, never blocks.
#[derive(Debug)]
pub struct Caller<T>(mpsc::UnboundedSender<Asked<T>>);

impl<T> Caller<T> {
    /// Calls the component; the answer comes where [`caller`] was told.
    pub fn call(&self, ticket: T, call: Call) {
        // Whoever took the calls is gone when the server ends.
        let _ = self.0.send((ticket, call));
    }
}

/// Carries calls to the component with which `connection` is, and answers to `answered`, until it
/// has begun another life: then the task ends with that life. (W2, W3)
pub fn caller<T: Send + 'static, R: Rng + Send>(
    config: WormholeConfig,
    connection: Connection,
    mut random: R,
    mut answered: impl FnMut(T, Answer) + Send,
) -> (Caller<T>, impl Future<Output = Life> + Send) {
    let (calls, mut called) = mpsc::unbounded_channel::<Asked<T>>();
    let task = async move {
        let (mut connection, mut open, mut last) = (connection, BTreeMap::new(), 0_u64);
        loop {
            serve(&connection, &mut called, &mut open, &mut last, &mut answered).await;
            warn!(socket = %config.socket.display(), "the trusted component is gone");
            let next = Connection::open_at_last(&config, &mut random).await;
            let (was, is) = (connection.life().entity, next.life().entity);
            if was != is {
                return next.life();
            }
            info!("the trusted component is back, in the same life");
            // Numbers begin anew with the session.
            let asked: Vec<Asked<T>> = std::mem::take(&mut open).into_values().collect();
            last = 0;
            for (ticket, call) in asked {
                last += 1;
                open.insert(last, (ticket, call));
                if next.call(last, call).await.is_err() {
                    break;
                }
            }
            connection = next;
        }
    };
    (Caller(calls), task)
}

/// Carries calls and answers until the session ends.
async fn serve<T>(
    connection: &Connection,
    called: &mut mpsc::UnboundedReceiver<Asked<T>>,
    open: &mut BTreeMap<u64, Asked<T>>,
    last: &mut u64,
    answered: &mut impl FnMut(T, Answer),
) {
    loop {
        tokio::select! {
            asked = called.recv() => {
                // Nobody calls any more: the server ends, and this task with it.
                let Some((ticket, call)) = asked else { return std::future::pending().await };
                *last += 1;
                open.insert(*last, (ticket, call));
                if connection.call(*last, call).await.is_err() {
                    return;
                }
            }
            answer = connection.answer() => {
                let Some(Numbered { number, body }) = answer else { return };
                if let Some((ticket, _)) = open.remove(&number) {
                    answered(ticket, body);
                }
            }
        }
    }
}

/// Asks the component behind `config` once who it is; for tools. Blocks the calling thread.
pub fn ask_life(
    config: &WormholeConfig,
    random: &mut (impl Rng + Send),
) -> Result<Life, WormholeError> {
    let failed = |source| WormholeError::Socket { path: config.socket.clone(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let connection = runtime.map_err(failed)?.block_on(Connection::open(config, random));
    connection.map(|connection| connection.life())
}
