//! Clients: the production client's state machine with a connection to every server, and stock
//! clients of the notary. They do what `maftia_node::caller` and a browser do, in simulated time.

use super::network::micros;
use super::server::{Door, Doors};
use super::service::{Asked, NOTARY_KEY, Op, REGISTERS, query};
use super::suite::{Powers, WholeSuite};
use super::witness::Witness;
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock, Spawner, Supervisor};
use maftia_activity::client::{Client, ClientEffect, ClientReply, ClientSettings, RequestId};
use maftia_activity::{ClientBundle, FrontEndReply, Refusal, ReplyBundle};
use maftia_base::time::{Duration as Span, Time};
use maftia_base::wire::{Blob, Bytes, Wire};
use maftia_base::{AdversaryStructure, GroupId, Party, ServiceId};
use maftia_crypto::CodedValue;
use maftia_node::client::REPLIES_WAITING_MAX;
use maftia_node::host::{Arrival, ConnectionId};
use maftia_node::replica::Request;
use maftia_services::{LEDGER, NOTARY};
use maftia_sim::Random;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Pause before a server that could not be reached is tried again.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// Bundles that wait to be sent to one server.
const BUNDLES_MAX: usize = 64;

/// While so many bundles wait, requests gather for the next one.
const BUNDLES_UNDER_WAY: usize = 2;

/// How one client behaves.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Which client.
    pub number: u64,
    /// Of which service.
    pub service: ServiceId,
    /// How many requests it makes.
    pub requests: u64,
    /// How many of them are open at once.
    pub window: usize,
    /// Mean pause before the next, in microseconds.
    pub pause: u64,
    /// Registers that it uses.
    pub registers: u64,
    /// How long it waits for an answer before it asks the next server, in microseconds.
    pub retry_after: u64,
    /// The server that it asks first.
    pub home: Party,
    /// Of a thousand requests, so many are sent as large ones, beside the bundles.
    pub large_permille: u32,
    /// Decides the rest.
    pub seed: u64,
}

/// What clients of a run have in common.
pub struct Town<S: WholeSuite> {
    /// The group.
    pub group: GroupId,
    /// Who may be corrupt.
    pub structure: AdversaryStructure,
    /// Somebody's keys, of which the public ones are used.
    pub keyring: Arc<S::Keyring>,
    /// The ways in.
    pub doors: Doors<S>,
    /// Whoever watches.
    pub witness: Witness,
    /// Clients that still want something.
    pub busy: Arc<AtomicU64>,
}

impl<S: WholeSuite> Clone for Town<S> {
    fn clone(&self) -> Self {
        Self {
            group: self.group,
            structure: self.structure.clone(),
            keyring: Arc::clone(&self.keyring),
            doors: self.doors.clone(),
            witness: self.witness.clone(),
            busy: Arc::clone(&self.busy),
        }
    }
}

type Heard<S> = (Party, ReplyBundle<S>);

/// What is sent: a bundle, and the large request that it names.
type Sent = (ClientBundle, Option<CodedValue>);

/// Large requests that a server may be reading; more than there are clients.
const UPLOADS: usize = 64;

/// A client that signs its requests.
struct Caller<S: WholeSuite> {
    town: Town<S>,
    habits: Habits,
    client: Client<S, Powers<S>>,
    lines: Vec<mpsc::Sender<Sent>>,
    written: Arc<Notify>,
    random: Random,
    /// Decides which requests are large.
    sizes: Random,
    /// Requests that are open, with the witness's number.
    open: BTreeMap<RequestId, usize>,
    made: u64,
    next_at: u64,
}

impl<S: WholeSuite> Town<S> {
    /// A client with such habits begins to ask.
    pub fn start_client(&self, context: &Context, habits: Habits) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let powers =
            Powers { client: S::client(habits.number), keyring: Arc::clone(&self.keyring) };
        let key = S::key(&powers.client);
        let settings = ClientSettings {
            group: self.group,
            structure: self.structure.clone(),
            service: habits.service,
            key,
            nonce: habits.seed,
            home: habits.home,
            retry_after: Span(habits.retry_after),
        };
        let (heard, replies) = mpsc::channel(1024);
        let written = Arc::new(Notify::new());
        let mut random = Random::new(habits.seed);
        let mut lines = Vec::new();
        for index in 0..self.structure.n() {
            let (line, bundles) = mpsc::channel(BUNDLES_MAX);
            lines.push(line);
            let line = Line {
                party: Party::new(index),
                key,
                doors: self.doors.clone(),
                heard: heard.clone(),
                written: Arc::clone(&written),
                random: random.fork(index as u64),
                uploads: Arc::new(Semaphore::new(UPLOADS)),
            };
            context.child("line").spawn(move |context| line.stay_connected(context, bundles));
        }
        let caller = Caller {
            town: self.clone(),
            client: Client::new(settings, powers),
            lines,
            written,
            random,
            sizes: Random::new(habits.seed ^ 0x1a26e),
            open: BTreeMap::new(),
            made: 0,
            next_at: 0,
            habits,
        };
        context.child("client").spawn(move |context| caller.run(context, replies));
    }

    /// A stock client wants so many time stamps, one after the other.
    pub fn start_stock_client(&self, context: &Context, number: u64, stamps: u64, seed: u64) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let town = self.clone();
        let random = Random::new(seed);
        context.child("stock").spawn(move |context| town.stamp(context, number, stamps, random));
    }

    async fn stamp(self, context: Context, number: u64, stamps: u64, mut random: Random) {
        let n = self.structure.n() as u64;
        let (mut done, mut tries) = (0, 0);
        while done < stamps {
            context.sleep(Duration::from_micros(random.exponential(150_000))).await;
            tries += 1;
            let request = query(number << 32 | tries);
            let Some(door) = self.doors.of(Party::new(random.below(n) as usize)) else { continue };
            let asked = self.witness.asked(number, NOTARY, request.clone());
            let (answer, answered) = oneshot::channel();
            let front_end = Request::FrontEnd { service: NOTARY, request, answer };
            let connection = ConnectionId(self.doors.connection());
            if door.send(Arrival::Request(connection, front_end)).await.is_err() {
                continue;
            }
            let patience = context.sleep(Duration::from_secs(4));
            let reply = tokio::select! {
                biased;
                reply = answered => reply.ok(),
                () = patience => None,
            };
            match reply {
                Some(FrontEndReply::Signed { key, input, body, signature }) => {
                    let holds = S::is_group_signature(&self.keyring, key, &input, &signature);
                    if key != NOTARY_KEY || !holds {
                        self.witness
                            .complain("signature", "a time stamp's signature does not hold");
                    }
                    self.witness.answered(asked, body);
                    done += 1;
                }
                Some(FrontEndReply::Plain(_)) => {
                    self.witness.complain("validity", "the notary rejects a good query");
                    done += 1;
                }
                Some(FrontEndReply::Refused(_)) | None => {}
            }
        }
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: WholeSuite> Caller<S> {
    async fn run(mut self, context: Context, mut replies: mpsc::Receiver<Heard<S>>) {
        while self.made < self.habits.requests || !self.open.is_empty() {
            let now = Time(micros(&context));
            self.submit(now);
            if self.may_send() && self.client.flush_at().is_some_and(|at| at <= now) {
                self.client.flush(now);
            }
            self.follow(now);
            let pause = Duration::from_micros(self.wake_at().saturating_sub(now.0).max(1));
            let sleep = context.sleep(pause);
            tokio::select! {
                biased;
                Some((from, bundle)) = replies.recv() => {
                    let now = Time(micros(&context));
                    self.client.replies(from, bundle, now);
                    while let Ok((from, bundle)) = replies.try_recv() {
                        self.client.replies(from, bundle, now);
                    }
                }
                () = self.written.notified() => {}
                () = sleep => self.client.tick(Time(micros(&context))),
            }
            self.follow(Time(micros(&context)));
        }
        self.town.busy.fetch_sub(1, Ordering::Relaxed);
    }

    fn may_send(&self) -> bool {
        let line = &self.lines[self.client.server().index()];
        line.max_capacity() - line.capacity() < BUNDLES_UNDER_WAY
    }

    fn wants_more(&self) -> bool {
        self.made < self.habits.requests && self.open.len() < self.habits.window
    }

    fn wake_at(&self) -> u64 {
        let flush_at = self.client.flush_at().filter(|_| self.may_send()).map(|at| at.0);
        let deadline = self.client.deadline().map(|at| at.0);
        let next = self.wants_more().then_some(self.next_at);
        flush_at.into_iter().chain(deadline).chain(next).min().unwrap_or(u64::MAX >> 1)
    }

    fn submit(&mut self, now: Time) {
        while self.wants_more() && self.next_at <= now.0 {
            let Habits { number, service, large_permille, .. } = self.habits;
            let is_large = self.sizes.chance(large_permille);
            let padding = if is_large { 1 + self.sizes.below(20_000) } else { 0 };
            let request = self.request(padding);
            self.made += 1;
            let asked = self.town.witness.asked(number, service, request.clone());
            let large = is_large.then(|| self.client.submit_large(request.clone(), now)).flatten();
            let id = large.or_else(|| self.client.submit(request, now)).expect("one of few");
            self.open.insert(id, asked);
            self.next_at = now.0 + self.random.exponential(self.habits.pause);
        }
    }

    /// The next request, longer than it must be by `padding` bytes; never the same again.
    fn request(&mut self, padding: u64) -> Bytes {
        let Habits { number, service, registers, .. } = self.habits;
        let (random, unique) = (&mut self.random, number << 32 | self.made);
        match service {
            REGISTERS => {
                let op = match random.below(10) {
                    0..3 => Op::Read,
                    3..6 => Op::Write(unique),
                    6..8 => Op::Add(1 + random.below(9)),
                    _ => Op::Swap(random.below(3), unique),
                };
                let register = random.below(registers);
                let padding = Blob::new(vec![number as u8; padding as usize]).expect("not so long");
                Asked { client: number, number: self.made, register, op, padding }.to_wire()
            }
            LEDGER => unique.to_wire(),
            _ => query(unique),
        }
    }

    /// Does what the client wants done.
    fn follow(&mut self, now: Time) {
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                ClientEffect::Send { to, bundle, value } => {
                    let _ = self.lines[to.index()].try_send((bundle, value));
                }
                ClientEffect::Replied { id, reply, .. } => {
                    let Some(asked) = self.open.remove(&id) else { continue };
                    self.replied(asked, reply);
                    self.next_at = self.next_at.max(now.0);
                }
            }
        }
    }

    fn replied(&self, asked: usize, reply: ClientReply) {
        let witness = &self.town.witness;
        match reply {
            ClientReply::Plain(body) => witness.answered(asked, body),
            ClientReply::Signed { key, body, .. } => {
                if key != NOTARY_KEY {
                    witness.complain("signature", "signed under a key that nobody uses");
                }
                witness.answered(asked, body);
            }
            ClientReply::Refused(Refusal::Forgotten) => witness.done(asked),
            ClientReply::Refused(Refusal::UnknownSession) => {}
            ClientReply::Refused(refusal) => {
                witness.complain("validity", format!("a good request is refused: {refusal:?}"));
            }
        }
    }
}

/// A client's way to one server.
struct Line<S: WholeSuite> {
    party: Party,
    key: maftia_crypto::ClientKey,
    doors: Doors<S>,
    heard: mpsc::Sender<Heard<S>>,
    written: Arc<Notify>,
    random: Random,
    uploads: Arc<Semaphore>,
}

impl<S: WholeSuite> Line<S> {
    /// A turn among those whose large requests are read.
    async fn turn(&self) -> OwnedSemaphorePermit {
        let uploads = Arc::clone(&self.uploads);
        uploads.acquire_owned().await.expect("nobody closes it")
    }

    async fn stay_connected(mut self, context: Context, mut bundles: mpsc::Receiver<Sent>) {
        while !self.heard.is_closed() {
            if let Some(door) = self.doors.of(self.party) {
                self.converse(&context, &door, &mut bundles).await;
            }
            context.sleep(RECONNECT_AFTER).await;
        }
    }

    /// Until the server is gone, or the client.
    async fn converse(
        &mut self,
        context: &Context,
        door: &Door<S>,
        bundles: &mut mpsc::Receiver<Sent>,
    ) {
        let connection = ConnectionId(self.doors.connection());
        let (replies, mut waiting) = mpsc::channel(REPLIES_WAITING_MAX);
        let attach = Arrival::Request(connection, Request::Attach(self.key, replies));
        if door.send(attach).await.is_err() {
            return;
        }
        loop {
            let delay = Duration::from_micros(50 + self.random.below(300));
            tokio::select! {
                biased;
                bundle = bundles.recv() => {
                    let Some((bundle, value)) = bundle else { break };
                    context.sleep(delay).await;
                    let request = match value {
                        None => Request::Bundle(bundle),
                        Some(value) => {
                            let turn = [self.turn().await, self.turn().await];
                            Request::Large { bundle, value, turn }
                        }
                    };
                    if door.send(Arrival::Request(connection, request)).await.is_err() {
                        return;
                    }
                    self.written.notify_one();
                }
                reply = waiting.recv() => {
                    let Some(reply) = reply else { return };
                    context.sleep(delay).await;
                    if self.heard.send((self.party, reply)).await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = door.send(Arrival::Closed(connection)).await;
    }
}
