//! The client's side: signs bundles, retries elsewhere, and believes only what an honest server
//! says.
//!
//! # Promise
//! - *Authentic*: a reply that is reported was given by an honest server, or is signed by the
//!   group.
//! - *Live*: if a correct server can be reached, every request ends, while the session lasts.
//! - *Once*: however often a request is retried, it takes effect at most once.
//!
//! # Model
//! The driver is attached to servers, as many as it can reach, which must pass `has_honest` with
//! enough to spare for the corrupt ones; all of them answer, whichever of them was asked. The
//! client keeps its driver's time only to know when to ask elsewhere; nothing is decided by it.
//!
//! # Rules
//! - C1. First a session is opened; if the group forgets it, what is unanswered is reported as
//!   lost, and the next session is opened with another nonce.
//! - C2. Requests are numbered and sent in bundles to one server, within the session's window.
//! - C3. The last word of each server counts. What servers that pass `has_honest` say is believed.
//! - C4. What is to be signed by the group is done when its signature verifies, too.
//! - C5. Without an answer for a while, what is unanswered is sent to the next server.
//! - C6. While other requests are open, what is submitted gathers for a fraction of the time that
//!   answers have taken of late: a larger bundle costs the servers less for each request.
//! - C7. A large request is signed for by its commitment, in a bundle of its own, and goes beside
//!   it to the server that is asked. That server is given more time, by the request's length.
//!
//! # Bounds
//! [`QUEUE_MAX`] requests wait, [`SESSION_WINDOW`] are open, with one word of each server for each;
//! of both together [`LARGE_UNANSWERED_MAX`] are large.

use crate::{
    Ask, BUNDLE_REQUESTS_MAX, ClientBundle, LARGE_BYTES_MAX, REQUEST_BYTES_MAX, Refusal, ReplyBody,
    ReplyBundle, SESSION_WINDOW, SequencedReply, SessionId, replies_statement,
};
use maftia_agreement::broadcast::coded::code_of;
use maftia_base::canary;
use maftia_base::time::{Duration, Time};
use maftia_base::wire::{Blob, Bytes, EncodeSize, List};
use maftia_base::{AdversaryStructure, GroupId, Party, PartySet, ServiceId, Statement};
use maftia_crypto::{
    Claim, ClientKey, ClientSignature, Code, CodedValue, Commitment, KeyId, SigningInput, Suite,
    commitment_of,
};
use std::collections::{BTreeMap, VecDeque};

/// Requests that wait for room in the session's window.
pub const QUEUE_MAX: usize = 16 * 1024;

/// Bytes of requests in one bundle, unless a single one is longer.
const BUNDLE_BYTES: usize = 32 * 1024;

/// Large requests that wait or are not answered.
pub const LARGE_UNANSWERED_MAX: usize = 4;

/// A server has the time to answer once more for each so many bytes of a large request.
const PATIENCE_BYTES: usize = 2 << 20;

/// Requests gather for the usual time to an answer divided by this …
const GATHER_FRACTION: u64 = 8;

/// … and for no longer than this.
const GATHER_MAX: Duration = Duration::from_millis(10);

/// What a client needs of cryptography.
pub trait Authority<S: Suite> {
    /// Signs with the client's own key.
    fn sign(&self, statement: &Statement) -> ClientSignature;
    /// Did this server sign that?
    fn verify(&self, claim: &Claim<S>) -> bool;
    /// Is this the group's signature?
    fn verify_threshold(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool;
}

/// Whose client this is, and how it behaves.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The group.
    pub group: GroupId,
    /// Which of its servers may be corrupt.
    pub structure: AdversaryStructure,
    /// The service.
    pub service: ServiceId,
    /// The client's public key.
    pub key: ClientKey,
    /// A number that this key never used before, for example random.
    pub nonce: u64,
    /// The server to ask first.
    pub home: Party,
    /// How long to wait for an answer before asking the next server.
    pub retry_after: Duration,
}

/// Names a request of one client, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the client wants of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEffect {
    /// Send this to that server.
    Send {
        /// To whom.
        to: Party,
        /// What.
        bundle: ClientBundle,
        /// The large request that it names, which goes beside it. (C7)
        value: Option<CodedValue>,
    },
    /// A request is answered.
    Replied {
        /// Which one.
        id: RequestId,
        /// How.
        reply: ClientReply,
        /// How long it took since it was submitted.
        latency: Duration,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientReply {
    /// An honest server said so.
    Plain(Bytes),
    /// An honest server said so, and the group signed.
    Signed {
        /// Under which key.
        key: KeyId,
        /// What.
        input: SigningInput,
        /// What goes with it.
        body: Bytes,
        /// The group's signature, verified.
        signature: Bytes,
    },
    /// Refused. After [`Refusal::UnknownSession`] it may have been executed, once, or never will.
    Refused(Refusal),
}

/// One client of one service. See the module's documentation.
pub struct Client<S: Suite, A> {
    settings: ClientSettings,
    authority: A,
    /// In which large requests are committed to: found when it is first needed.
    code: Option<Code>,
    nonce: u64,
    session: Option<SessionId>,
    /// Which session each server says was opened.
    opened: BTreeMap<Party, SessionId>,
    queue: VecDeque<(RequestId, Payload, Time)>,
    queued_bytes: usize,
    /// When requests were sent last.
    flushed_at: Time,
    /// How long answers have taken of late.
    usual_latency: Duration,
    open: BTreeMap<u64, Open>,
    next_sequence: u64,
    next_id: u64,
    /// The server that is asked now.
    server: Party,
    /// Since when the answer to the request for a session is awaited.
    quiet_since: Option<Time>,
    /// When the client last turned to another server.
    turned_at: Time,
    effects: VecDeque<ClientEffect>,
    _suite: std::marker::PhantomData<S>,
}

/// A request as it travels.
#[derive(Clone)]
enum Payload {
    Bundled(Blob<REQUEST_BYTES_MAX>),
    Large(Commitment, CodedValue),
}

impl Payload {
    /// Bytes in a bundle.
    fn bundled(&self) -> usize {
        match self {
            Self::Bundled(request) => request.encode_size(),
            Self::Large(..) => 0,
        }
    }

    fn is_large(&self) -> bool {
        matches!(self, Self::Large(..))
    }

    /// How often the usual time a server has to answer. (C7)
    fn patience(&self) -> u64 {
        match self {
            Self::Bundled(_) => 1,
            Self::Large(_, value) => 1 + value.len().div_ceil(PATIENCE_BYTES) as u64,
        }
    }
}

/// A request that was sent and is not answered.
struct Open {
    id: RequestId,
    request: Payload,
    submitted: Time,
    /// When it was sent last; never later than that of the next.
    asked: Time,
    said: BTreeMap<Party, ReplyBody>,
    /// What the group is to sign, once believed.
    to_sign: Option<(KeyId, SigningInput, Bytes)>,
    signatures: BTreeMap<Party, Bytes>,
}

impl<S: Suite, A: Authority<S>> Client<S, A> {
    /// A client without a session; [`flush`](Self::flush) opens one.
    pub fn new(settings: ClientSettings, authority: A) -> Self {
        Self {
            nonce: settings.nonce,
            server: settings.home,
            settings,
            authority,
            code: None,
            session: None,
            opened: BTreeMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            flushed_at: Time(0),
            usual_latency: Duration(0),
            open: BTreeMap::new(),
            next_sequence: 1,
            next_id: 0,
            quiet_since: None,
            turned_at: Time(0),
            effects: VecDeque::new(),
            _suite: std::marker::PhantomData,
        }
    }

    /// Takes a request, to be sent by a later [`flush`](Self::flush); `None` if too many wait or
    /// it is too long.
    pub fn submit(&mut self, request: Bytes, now: Time) -> Option<RequestId> {
        self.enqueue(Payload::Bundled(Blob::new(request)?), now)
    }

    /// As [`submit`](Self::submit), for a request of up to [`LARGE_BYTES_MAX`]; it is encoded here,
    /// to learn its commitment. (C7)
    pub fn submit_large(&mut self, request: Bytes, now: Time) -> Option<RequestId> {
        let value = CodedValue::new(request).filter(|value| value.len() <= LARGE_BYTES_MAX)?;
        let open = self.open.values().filter(|open| open.request.is_large()).count();
        let queued = self.queue.iter().filter(|(_, request, _)| request.is_large()).count();
        if open + queued >= LARGE_UNANSWERED_MAX {
            return None;
        }
        let code = *self.code.get_or_insert_with(|| code_of(&self.settings.structure));
        let commitment = commitment_of(code, &value);
        self.enqueue(Payload::Large(commitment, value), now)
    }

    fn enqueue(&mut self, request: Payload, now: Time) -> Option<RequestId> {
        if self.queue.len() >= QUEUE_MAX {
            return None;
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.queued_bytes += request.bundled();
        self.queue.push_back((id, request, now));
        Some(id)
    }

    /// The server that is asked now. While what it was sent last is still on its way there, a
    /// driver does well to wait with the next [`flush`](Self::flush): larger bundles cost less.
    pub fn server(&self) -> Party {
        self.server
    }

    /// Requests that are not answered yet.
    pub fn unanswered(&self) -> usize {
        self.queue.len() + self.open.len()
    }

    /// What the driver is to do next.
    pub fn poll_effect(&mut self) -> Option<ClientEffect> {
        self.effects.pop_front()
    }

    /// When [`tick`](Self::tick) is to be called at the latest: the request that has waited longest
    /// counts, since a corrupt server may answer all others. (C5)
    pub fn deadline(&self) -> Option<Time> {
        let patience = |times: u64| Duration(self.settings.retry_after.0.saturating_mul(times));
        // What a large one keeps waiting, waits as long as it does.
        let most = self.open.values().map(|open| open.request.patience()).max().unwrap_or(1);
        let oldest = self.open.values().next().map(|open| open.asked);
        // A driver does not send while the server takes nothing: then what waits counts.
        let waiting = self.queue.front().map(|(_, _, submitted)| self.turned_at.max(*submitted));
        oldest.or(self.quiet_since).or(waiting).map(|since| since + patience(most))
    }

    /// When [`flush`](Self::flush) is best called; `None` if there is nothing that may be sent.
    /// (C6)
    pub fn flush_at(&self) -> Option<Time> {
        let (_, _, submitted) = self.queue.front()?;
        if self.session.is_none() {
            return self.quiet_since.is_none().then_some(Time(0));
        }
        if self.next_sequence >= self.floor().saturating_add(SESSION_WINDOW) {
            return None;
        }
        if self.open.is_empty() || self.queued_bytes >= BUNDLE_BYTES {
            return Some(Time(0));
        }
        let gather = Duration(self.usual_latency.0 / GATHER_FRACTION).min(GATHER_MAX);
        Some(self.flushed_at.max(*submitted) + gather)
    }

    /// Sends what was submitted, as far as the window allows. (C1, C2)
    pub fn flush(&mut self, now: Time) {
        if self.session.is_none() {
            if self.quiet_since.is_none() && !self.queue.is_empty() {
                self.ask_for_session();
                self.quiet_since = Some(now);
            }
            return;
        }
        let first_fresh = self.next_sequence;
        while self.next_sequence < self.floor().saturating_add(SESSION_WINDOW) {
            let Some((id, request, submitted)) = self.queue.pop_front() else { break };
            self.queued_bytes -= request.bundled();
            let (said, signatures) = (BTreeMap::new(), BTreeMap::new());
            let asked = now;
            let open = Open { id, request, submitted, asked, said, to_sign: None, signatures };
            self.open.insert(self.next_sequence, open);
            self.next_sequence += 1;
        }
        if self.next_sequence > first_fresh {
            self.flushed_at = now;
            self.send_from(first_fresh, now);
        }
    }

    /// Asks the next server if this one has been silent for too long. (C5)
    pub fn tick(&mut self, now: Time) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.turn_to_next_server();
        self.turned_at = now;
        match self.session {
            None => {
                self.quiet_since = Some(now);
                self.ask_for_session();
            }
            Some(_) => self.send_from(0, now),
        }
    }

    fn turn_to_next_server(&mut self) {
        let next = (self.server.index() + 1) % self.settings.structure.n();
        self.server = Party::new(next);
    }

    /// Hears replies of a server. (C3)
    pub fn replies(&mut self, from: Party, bundle: ReplyBundle<S>, now: Time) {
        let ReplyBundle { key, replies, signatures, signature } = bundle;
        let known = from.index() < self.settings.structure.n();
        if key != self.settings.key || !known {
            return;
        }
        for found in signatures.into_vec() {
            if Some(found.session) == self.session
                && let Some(open) = self.open.get_mut(&found.sequence)
            {
                open.signatures.insert(from, found.signature.into_bytes());
                self.try_finish_signed(found.sequence, now);
            }
        }
        let Some(signature) = signature.filter(|_| self.awaits_any(&replies)) else { return };
        let statement = replies_statement(self.settings.group, key, &replies);
        if !self.authority.verify(&Claim { party: from, statement, signature }) {
            return;
        }
        for reply in replies.into_vec() {
            if reply.sequence == 0 {
                self.on_opened(from, reply, now);
            } else if Some(reply.session) == self.session {
                self.on_reply(from, reply, now);
            }
        }
    }

    /// Is any of these still of use? What others have said may suffice already.
    fn awaits_any(&self, replies: &[SequencedReply]) -> bool {
        replies.iter().any(|reply| match reply.sequence {
            0 => self.session.is_none(),
            sequence => Some(reply.session) == self.session && self.open.contains_key(&sequence),
        })
    }

    fn floor(&self) -> u64 {
        self.open.first_key_value().map_or(self.next_sequence, |(first, _)| *first)
    }

    fn ask(&mut self, ask: Ask, value: Option<CodedValue>) {
        let ClientSettings { group, service, key, .. } = self.settings;
        let sign = |statement: &Statement| self.authority.sign(statement);
        let bundle = ClientBundle::signed(group, service, ask, key, sign);
        self.effects.push_back(ClientEffect::Send { to: self.server, bundle, value });
    }

    fn ask_for_session(&mut self) {
        self.ask(Ask::Open { nonce: self.nonce, home: self.server }, None);
    }

    /// Sends the open requests from this number on, in bundles of neighbours.
    fn send_from(&mut self, from: u64, now: Time) {
        let session = self.session.expect("requests are sent in a session");
        let acknowledged = self.floor();
        let mut asks: Vec<(u64, Vec<Blob<REQUEST_BYTES_MAX>>)> = Vec::new();
        let mut large = Vec::new();
        let mut bytes = 0;
        for (sequence, open) in self.open.range_mut(from..) {
            open.asked = now;
            let request = match &open.request {
                Payload::Bundled(request) => request,
                Payload::Large(commitment, value) => {
                    large.push((*sequence, *commitment, value.clone()));
                    continue;
                }
            };
            bytes += request.encode_size();
            match asks.last_mut() {
                Some((first, requests))
                    if *first + requests.len() as u64 == *sequence
                        && requests.len() < BUNDLE_REQUESTS_MAX
                        && bytes <= BUNDLE_BYTES =>
                {
                    requests.push(request.clone());
                }
                _ => {
                    bytes = request.encode_size();
                    asks.push((*sequence, vec![request.clone()]));
                }
            }
        }
        for (first, requests) in asks {
            let requests = List::new(requests).expect("just counted");
            self.ask(Ask::Requests { session, first, acknowledged, requests }, None);
        }
        for (sequence, commitment, value) in large {
            let ask = Ask::Large { session, sequence, acknowledged, value: commitment };
            self.ask(ask, Some(value));
        }
    }

    fn believed(&self, parties: impl IntoIterator<Item = Party>) -> bool {
        let parties: PartySet = parties.into_iter().collect();
        let believed = self.settings.structure.has_honest(parties);
        canary!("client-believes-one", !parties.is_empty(), believed)
    }

    /// A server says which session was opened. (C1)
    fn on_opened(&mut self, from: Party, reply: SequencedReply, now: Time) {
        if self.session.is_some() || reply.body != (ReplyBody::Opened { nonce: self.nonce }) {
            return;
        }
        let session = reply.session;
        self.opened.insert(from, session);
        let same = self.opened.iter().filter(|(_, said)| **said == session);
        if self.believed(same.map(|(party, _)| *party)) {
            self.session = Some(session);
            self.quiet_since = None;
            self.flush(now);
        }
    }

    /// A server says how it answered. (C3)
    fn on_reply(&mut self, from: Party, reply: SequencedReply, now: Time) {
        let SequencedReply { sequence, body, .. } = reply;
        let Some(open) = self.open.get_mut(&sequence) else { return };
        open.said.insert(from, body.clone());
        let open = self.open.get(&sequence).expect("just found");
        let same = open.said.iter().filter(|(_, said)| **said == body);
        if !self.believed(same.map(|(party, _)| *party)) {
            return;
        }
        match body {
            ReplyBody::Plain(body) => {
                self.finish(sequence, ClientReply::Plain(body.into_bytes()), now);
            }
            ReplyBody::Sign { key, input, body } => {
                let open = self.open.get_mut(&sequence).expect("just found");
                open.to_sign = Some((key, input, body.into_bytes()));
                self.try_finish_signed(sequence, now);
            }
            ReplyBody::Refused(Refusal::UnknownSession) => self.on_session_lost(now),
            ReplyBody::Refused(refusal) => {
                self.finish(sequence, ClientReply::Refused(refusal), now);
            }
            ReplyBody::Opened { .. } => {}
        }
    }

    /// The group's signature is what the client waits for, and it verifies. (C4)
    fn try_finish_signed(&mut self, sequence: u64, now: Time) {
        let Some(open) = self.open.get_mut(&sequence) else { return };
        let Some((key, input, body)) = &open.to_sign else { return };
        let authority = &self.authority;
        open.signatures.retain(|_, found| authority.verify_threshold(*key, input, found));
        let Some(signature) = open.signatures.values().next().cloned() else { return };
        let (key, input, body) = (*key, input.clone(), body.clone());
        self.finish(sequence, ClientReply::Signed { key, input, body, signature }, now);
    }

    fn finish(&mut self, sequence: u64, reply: ClientReply, now: Time) {
        let open = self.open.remove(&sequence).expect("only open requests are finished");
        let latency = Duration(now.0.saturating_sub(open.submitted.0));
        self.usual_latency = Duration((7 * self.usual_latency.0 + latency.0) / 8);
        self.effects.push_back(ClientEffect::Replied { id: open.id, reply, latency });
    }

    /// Nobody can say what became of the open requests. (C1)
    fn on_session_lost(&mut self, now: Time) {
        let sequences: Vec<u64> = self.open.keys().copied().collect();
        for sequence in sequences {
            self.finish(sequence, ClientReply::Refused(Refusal::UnknownSession), now);
        }
        self.session = None;
        self.opened.clear();
        self.next_sequence = 1;
        self.nonce = self.nonce.wrapping_add(1);
        self.quiet_since = None;
        // Sessions are pushed out by others of one home. If that is its doing, another is better.
        self.turn_to_next_server();
    }
}
