//! The client library: calls a service of a group, whichever of its servers lie or are away.
//!
//! A [`Caller`] drives the [client's state machine](maftia_activity::client) with a connection to
//! every server that it can reach. It reconnects for ever; what was sent on a connection that broke
//! is sent again, and takes effect once.
//!
//! # Bounds
//! [`CALLS_MAX`] calls wait to be taken up; [`BUNDLES_MAX`] bundles wait for each server, more than
//! fill the session's window, and what is beyond is asked again later. Of large requests, at most
//! [`LARGE_UNANSWERED_MAX`] are not answered at a time.

use crate::client::connect;
use bytes::Bytes;
use maftia_activity::client::{
    Authority, Client, ClientEffect, ClientReply, ClientSettings, LARGE_UNANSWERED_MAX, QUEUE_MAX,
    RequestId,
};
use maftia_activity::{ClientBundle, LARGE_BYTES_MAX, REQUEST_BYTES_MAX, ReplyBundle};
use maftia_base::time::{Duration as Span, Time};
use maftia_base::{AdversaryStructure, GroupId, Party, ServiceId, Statement};
use maftia_crypto::{
    Claim, ClientSecret, ClientSignature, CodedValue, GroupKeys, KeyId, KeysError, RealKeyring,
    RealSuite, SigningInput,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::debug;

/// Calls that wait to be taken up.
pub const CALLS_MAX: usize = 4096;

/// Bundles that wait to be sent to one server.
pub const BUNDLES_MAX: usize = 2 * maftia_activity::SESSION_WINDOW as usize;

/// While so many bundles wait for the server that is asked, requests gather for the next one.
const BUNDLES_UNDER_WAY: usize = 2;

/// Replies of all servers that wait to be looked at.
const REPLIES_MAX: usize = 1024;

/// Pause before a server that could not be reached is tried again.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// Whom to call, and as whom.
#[derive(Debug)]
pub struct CallerSettings {
    /// The group's public keys.
    pub keys: GroupKeys,
    /// Which of its servers may be corrupt.
    pub structure: AdversaryStructure,
    /// Where each server awaits clients, in the order of the parties.
    pub servers: Vec<SocketAddr>,
    /// The service.
    pub service: ServiceId,
    /// The client's key.
    pub secret: ClientSecret,
    /// A number that this key never used before, for example random.
    pub nonce: u64,
    /// The server to ask first.
    pub home: Party,
    /// How long to wait for an answer before asking the next server.
    pub retry_after: Duration,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was never sent.
    #[error("the request has {bytes} bytes, at most {LARGE_BYTES_MAX} can be sent")]
    TooLong {
        /// Bytes of the request.
        bytes: usize,
    },
    /// It was never sent: too many large ones are not answered.
    #[error(
        "a request of more than {} bytes must wait: {LARGE_UNANSWERED_MAX} such are not answered",
        maftia_activity::REQUEST_BYTES_MAX
    )]
    TooMany,
    /// The runtime ends.
    #[error("the caller has ended")]
    Ended,
}

type Answer = oneshot::Sender<Result<ClientReply, CallError>>;

struct Call {
    request: Bytes,
    answer: Answer,
}

/// One client of one service. Calls may be made concurrently; they are ordered as they come.
#[derive(Clone, Debug)]
pub struct Caller {
    calls: mpsc::Sender<Call>,
}

impl Caller {
    /// Starts a client on the present tokio runtime. It ends when its last clone is dropped.
    pub fn start(settings: CallerSettings) -> Result<Self, KeysError> {
        let keyring = RealKeyring::observer(settings.keys)?;
        let group = GroupId(keyring.public().digest());
        let secret = Arc::new(settings.secret);
        let client_settings = ClientSettings {
            group,
            structure: settings.structure,
            service: settings.service,
            key: secret.key(),
            nonce: settings.nonce,
            home: settings.home,
            retry_after: Span(u64::try_from(settings.retry_after.as_micros()).unwrap_or(u64::MAX)),
        };
        let (heard, replies) = mpsc::channel(REPLIES_MAX);
        let (mut lines, mut connections) = (Vec::new(), JoinSet::new());
        let written = Arc::new(Notify::new());
        for (index, address) in settings.servers.into_iter().enumerate() {
            let (line, bundles) = mpsc::channel(BUNDLES_MAX);
            lines.push(line);
            let written = Arc::clone(&written);
            let server = Server { party: Party::new(index), address, group, written };
            connections.spawn(server.stay_connected(Arc::clone(&secret), bundles, heard.clone()));
        }
        let client = Client::new(client_settings, Keys { secret, keyring });
        let (calls, waiting) = mpsc::channel(CALLS_MAX);
        let (answers, started) = (BTreeMap::new(), Instant::now());
        let driver = Driver { client, lines, written, answers, started };
        tokio::spawn(driver.run(waiting, replies, connections));
        Ok(Self { calls })
    }

    /// Calls the service, and waits until an honest server has answered: as long as it takes.
    pub async fn call(&self, request: Bytes) -> Result<ClientReply, CallError> {
        let (answer, answered) = oneshot::channel();
        let call = Call { request, answer };
        self.calls.send(call).await.map_err(|_| CallError::Ended)?;
        answered.await.unwrap_or(Err(CallError::Ended))
    }
}

/// What a client needs of cryptography.
struct Keys {
    secret: Arc<ClientSecret>,
    keyring: RealKeyring,
}

impl Authority<RealSuite> for Keys {
    fn sign(&self, statement: &Statement) -> ClientSignature {
        self.secret.sign(statement)
    }

    fn verify(&self, claim: &Claim<RealSuite>) -> bool {
        self.keyring.verify(claim)
    }

    fn verify_threshold(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool {
        self.keyring.verify_signature(key, input, signature)
    }
}

/// The task that owns the client's state machine.
struct Driver {
    client: Client<RealSuite, Keys>,
    lines: Vec<mpsc::Sender<Asked>>,
    /// Somebody has written a bundle.
    written: Arc<Notify>,
    answers: BTreeMap<RequestId, Answer>,
    started: Instant,
}

/// What is sent: a bundle, and the large request that it names.
type Asked = (ClientBundle, Option<CodedValue>);

type Heard = (Party, ReplyBundle<RealSuite>);

impl Driver {
    /// Runs until nobody can call any more. The connections end with it.
    async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        mut replies: mpsc::Receiver<Heard>,
        _connections: JoinSet<()>,
    ) {
        loop {
            let room = QUEUE_MAX.saturating_sub(self.client.unanswered());
            let until = self.wake_at();
            tokio::select! {
                call = calls.recv(), if room > 0 => {
                    let Some(call) = call else { return };
                    self.submit(call);
                    for _ in 1..room {
                        let Ok(call) = calls.try_recv() else { break };
                        self.submit(call);
                    }
                }
                Some((from, bundle)) = replies.recv() => {
                    let now = self.now();
                    self.client.replies(from, bundle, now);
                    while let Ok((from, bundle)) = replies.try_recv() {
                        self.client.replies(from, bundle, now);
                    }
                }
                () = self.written.notified() => {}
                () = tokio::time::sleep_until(until.into()) => self.client.tick(self.now()),
            }
            let now = self.now();
            if self.may_send() && self.client.flush_at().is_some_and(|at| at <= now) {
                self.client.flush(now);
            }
            self.follow();
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Does the server that is asked now take what it is sent?
    fn may_send(&self) -> bool {
        let line = &self.lines[self.client.server().index()];
        line.max_capacity() - line.capacity() < BUNDLES_UNDER_WAY
    }

    fn wake_at(&self) -> Instant {
        let flush_at = self.client.flush_at().filter(|_| self.may_send());
        match self.client.deadline().into_iter().chain(flush_at).min() {
            Some(at) => self.started + Duration::from_micros(at.0),
            None => Instant::now() + Duration::from_hours(1),
        }
    }

    fn submit(&mut self, call: Call) {
        let bytes = call.request.len();
        let now = self.now();
        let is_large = bytes > REQUEST_BYTES_MAX;
        let submitted = if is_large {
            self.client.submit_large(call.request, now)
        } else {
            self.client.submit(call.request, now)
        };
        let why = match bytes > LARGE_BYTES_MAX || !is_large {
            true => CallError::TooLong { bytes },
            false => CallError::TooMany,
        };
        match submitted {
            Some(id) => drop(self.answers.insert(id, call.answer)),
            None => drop(call.answer.send(Err(why))),
        }
    }

    /// Does what the client wants done.
    fn follow(&mut self) {
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                // A line that is full belongs to a server that is slow or away: the client will
                // ask the next one.
                ClientEffect::Send { to, bundle, value } => {
                    let _ = self.lines[to.index()].try_send((bundle, value));
                }
                ClientEffect::Replied { id, reply, .. } => {
                    if let Some(answer) = self.answers.remove(&id) {
                        let _ = answer.send(Ok(reply));
                    }
                }
            }
        }
    }
}

/// One server, as a client reaches it.
struct Server {
    party: Party,
    address: SocketAddr,
    group: GroupId,
    written: Arc<Notify>,
}

impl Server {
    async fn stay_connected(
        self,
        secret: Arc<ClientSecret>,
        mut bundles: mpsc::Receiver<Asked>,
        heard: mpsc::Sender<Heard>,
    ) {
        loop {
            let ended = self.converse(&secret, &mut bundles, &heard).await;
            if heard.is_closed() {
                return;
            }
            debug!(server = %self.party, ?ended, "connection ended");
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    async fn converse(
        &self,
        secret: &ClientSecret,
        bundles: &mut mpsc::Receiver<Asked>,
        heard: &mpsc::Sender<Heard>,
    ) -> std::io::Result<()> {
        let sign = |statement: &Statement| secret.sign(statement);
        let (mut sender, mut receiver) =
            connect(self.address, self.group, self.party, secret.key(), sign).await?;
        let write = async {
            while let Some((bundle, value)) = bundles.recv().await {
                sender.send(&bundle, value.as_ref()).await?;
                self.written.notify_one();
            }
            Ok(())
        };
        let read = async {
            while let Some(bundle) = receiver.receive::<RealSuite>().await? {
                if heard.send((self.party, bundle)).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = write => ended,
            ended = read => ended,
        }
    }
}
