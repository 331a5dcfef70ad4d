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
//! - W4. The role is claimed as soon as there is a session, by a call whose answer is of no use: a
//!   process that has not called yet has to go when another one connects (A5 of the interface).
//! - W5. What the component has no time for, or cannot do before its clock is synchronised, is
//!   called again after [`REPEAT_AFTER`]: protocols have no clock to do that by.
//!
//! # Bounds
//! At most [`CALLS_MAX`] calls are not answered; what comes beyond is refused here.

use crate::component::ComponentBoard;
use maftia_ttcb_api::session::{FRAME_BYTES, Impostor, VERSION};
use maftia_ttcb_api::{
    Answer, BootKeys, Call, EntityId, Handshake, Numbered, Refusal, Sealed, Session,
};
use rand_core::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_seqpacket::UnixSeqpacket;
use tracing::{info, warn};

/// Where a server's trusted component is, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WormholeConfig {
    /// Its local socket.
    pub socket: PathBuf,
    /// The socket at which it says how it is.
    pub status: PathBuf,
    /// The public key of this host's key guard, which certifies each of its lives.
    pub guard: [u8; 32],
}

/// Between two attempts to reach the component.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How long before a call is repeated that was refused for want of time.
pub const REPEAT_AFTER: Duration = Duration::from_millis(10);

/// Most calls that are not answered.
pub const CALLS_MAX: usize = 4096;

/// The number of the call that claims the role: the first. (W4)
const CLAIM: u64 = 1;

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
    /// It is another release's.
    #[error(
        "{}: the trusted component speaks version {component} of its interface and this program \
         version {VERSION}. Right would be: maftia and maftia-ttcb of one release",
        path.display()
    )]
    OtherVersion {
        /// Where.
        path: PathBuf,
        /// What it speaks.
        component: u16,
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
        let session = handshake.finish(&frame, &config.guard).map_err(|refused| match refused {
            Impostor::OtherVersion(component) => {
                WormholeError::OtherVersion { path: path.clone(), component }
            }
            _ => impostor(),
        })?;
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
    board: ComponentBoard,
    answered: impl FnMut(T, Answer) + Send,
) -> (Caller<T>, impl Future<Output = Life> + Send) {
    let (calls, called) = mpsc::unbounded_channel();
    let mut courier = Courier::new(called, answered);
    let task = async move {
        let mut connection = connection;
        loop {
            board.connected(&connection.life());
            courier.serve(&connection).await;
            board.disconnected();
            warn!(socket = %config.socket.display(), "the trusted component is gone");
            let opening = Connection::open_at_last(&config, &mut random);
            let next = courier.collect_while(opening).await;
            if next.life().entity != connection.life().entity {
                return next.life();
            }
            info!("the trusted component is back, in the same life");
            connection = next;
        }
    };
    (Caller(calls), task)
}

/// All calls on their way.
struct Courier<T, F> {
    called: mpsc::UnboundedReceiver<Asked<T>>,
    answered: F,
    /// Not sent in this session.
    waiting: VecDeque<Asked<T>>,
    /// Sent and not answered, by number.
    open: BTreeMap<u64, Asked<T>>,
    /// Refused for want of time, to be sent again from then on. (W5)
    later: VecDeque<(Instant, Asked<T>)>,
    last: u64,
}

impl<T, F: FnMut(T, Answer)> Courier<T, F> {
    fn new(called: mpsc::UnboundedReceiver<Asked<T>>, answered: F) -> Self {
        let (waiting, open, later) = (VecDeque::new(), BTreeMap::new(), VecDeque::new());
        Self { called, answered, waiting, open, later, last: 0 }
    }

    /// Carries calls and answers until the session ends; what is then open waits again. (W2)
    async fn serve(&mut self, connection: &Connection) {
        self.last = CLAIM;
        let claim = Numbered { number: CLAIM, body: Call::Timestamp };
        let claim = connection.session.key.seal_call(&claim);
        // A session that is over already ends in the first turn.
        let _ = connection.socket.send(&claim).await;
        while self.turn(connection).await.is_some() {}
        let later = std::mem::take(&mut self.later).into_iter().map(|(_, asked)| asked);
        let open = std::mem::take(&mut self.open).into_values();
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = open.chain(later).chain(waiting).collect();
    }

    /// One thing that happens; `None` if the session is over. Nothing is lost by waiting for
    /// several at once: a frame is sent or received as a whole, or not at all.
    async fn turn(&mut self, connection: &Connection) -> Option<()> {
        let number = self.last + 1;
        let next = self.waiting.front().map(|(_, body)| Numbered { number, body: *body });
        let frame = next.map_or([0; FRAME_BYTES], |call| connection.session.key.seal_call(&call));
        let again_at = self.later.front().map(|(at, _)| *at);
        tokio::select! {
            asked = self.called.recv() => match asked {
                Some(asked) => self.take(asked),
                // Nobody calls any more: the server ends, and this task with it.
                None => std::future::pending().await,
            },
            sent = connection.socket.send(&frame), if next.is_some() => {
                sent.ok()?;
                self.last = number;
                self.open.extend(self.waiting.pop_front().map(|asked| (number, asked)));
            }
            answer = connection.answer() => self.on_answer(answer?),
            () = until(again_at), if again_at.is_some() => {
                self.waiting.extend(self.later.pop_front().map(|(_, asked)| asked));
            }
        }
        Some(())
    }

    fn take(&mut self, (ticket, call): Asked<T>) {
        if self.waiting.len() + self.open.len() + self.later.len() >= CALLS_MAX {
            return (self.answered)(ticket, Answer::Refused(Refusal::Full));
        }
        self.waiting.push_back((ticket, call));
    }

    fn on_answer(&mut self, Numbered { number, body }: Numbered<Answer>) {
        let Some((ticket, call)) = self.open.remove(&number) else { return };
        match body {
            Answer::Refused(Refusal::Quota | Refusal::Unsynchronised) => {
                self.later.push_back((Instant::now() + REPEAT_AFTER, (ticket, call)));
            }
            answer => (self.answered)(ticket, answer),
        }
    }

    /// Takes calls until `done`.
    async fn collect_while<O>(&mut self, done: impl Future<Output = O>) -> O {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                output = &mut done => return output,
                Some(asked) = self.called.recv() => self.take(asked),
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_ttcb_api::SessionKey;
    use maftia_ttcb_api::session::{Hello, Transcript, VERSION};

    fn key() -> SessionKey {
        let hello = Hello { version: VERSION, exchange: [1; 32], challenge: [2; 32] };
        let (entity, boot) = (EntityId::default(), BootKeys::default());
        SessionKey::new([3; 32], &Transcript { hello, entity, exchange: [4; 32], boot })
    }

    /// A session, and the component's end of it.
    fn connected() -> (Connection, UnixSeqpacket) {
        let (socket, component) = UnixSeqpacket::pair().unwrap();
        let boot = Sealed { said: BootKeys::default(), seal: [0; 64] };
        let session = Session { entity: EntityId::default(), boot, key: key() };
        (Connection { socket, session }, component)
    }

    async fn hear(component: &UnixSeqpacket) -> Numbered<Call> {
        let mut frame = [0; FRAME_BYTES];
        component.recv(&mut frame).await.unwrap();
        key().open_call(&frame).unwrap()
    }

    async fn say(component: &UnixSeqpacket, number: u64, body: Answer) {
        component.send(&key().seal_answer(&Numbered { number, body })).await.unwrap();
    }

    fn waits(handle: u16) -> Call {
        Call::Await(handle)
    }

    #[tokio::test]
    async fn what_a_session_leaves_unanswered_is_called_again_in_its_order() {
        let (calls, called) = mpsc::unbounded_channel();
        let mut answers = Vec::new();
        let mut courier =
            Courier::new(called, |ticket: u16, answer| answers.push((ticket, answer)));
        for ticket in 0..4 {
            calls.send((ticket, waits(ticket))).unwrap();
        }
        let (connection, component) = connected();
        let claim = Numbered { number: CLAIM, body: Call::Timestamp };
        let first = async {
            assert_eq!(hear(&component).await, claim);
            for number in 2..=5 {
                let call = Numbered { number, body: waits(number as u16 - 2) };
                assert_eq!(hear(&component).await, call);
            }
            say(&component, CLAIM, Answer::Refused(Refusal::Unsynchronised)).await;
            say(&component, 3, Answer::Done).await;
            say(&component, 4, Answer::Refused(Refusal::Quota)).await;
            // Until all have been heard.
            assert_eq!(hear(&component).await, Numbered { number: 6, body: waits(2) });
            drop(component);
        };
        tokio::join!(courier.serve(&connection), first);
        let (connection, component) = connected();
        let second = async {
            assert_eq!(hear(&component).await, claim);
            for (number, handle) in [(2, 0), (3, 3), (4, 2)] {
                assert_eq!(hear(&component).await, Numbered { number, body: waits(handle) });
                say(&component, number, Answer::Done).await;
            }
            calls.send((9, waits(9))).unwrap();
            assert_eq!(hear(&component).await, Numbered { number: 5, body: waits(9) });
            drop(component);
        };
        tokio::join!(courier.serve(&connection), second);
        drop(courier);
        assert_eq!(answers, [1, 0, 3, 2].map(|ticket| (ticket, Answer::Done)));
    }

    #[tokio::test]
    async fn whoever_changes_a_frame_ends_the_session_and_no_answer_is_taken() {
        let (calls, called) = mpsc::unbounded_channel();
        let mut courier = Courier::new(called, |_: u16, answer| panic!("{answer:?}"));
        calls.send((1, waits(1))).unwrap();
        for forged in [[0; FRAME_BYTES], key().seal_call(&hear_of(1))] {
            let (connection, component) = connected();
            component.send(&forged).await.unwrap();
            courier.serve(&connection).await;
        }
        assert_eq!(courier.waiting.len(), 1);
    }

    fn hear_of(number: u64) -> Numbered<Call> {
        Numbered { number, body: waits(1) }
    }

    #[test]
    fn calls_beyond_the_bound_are_refused_here() {
        let (_calls, called) = mpsc::unbounded_channel();
        let mut refused = 0;
        let mut courier = Courier::new(called, |_: usize, answer| {
            assert_eq!(answer, Answer::Refused(Refusal::Full));
            refused += 1;
        });
        (0..CALLS_MAX + 3).for_each(|ticket| courier.take((ticket, waits(0))));
        drop(courier);
        assert_eq!(refused, 3);
    }
}
