//! Sessions: what makes a request take effect exactly once, in bounded state.
//!
//! # Promise
//! - *Once*: a request is executed at most once, whoever retries it through whichever server.
//! - *Remembered*: a retry within the window gets the reply of the execution.
//! - *Bounded*: an evicted session gets an error, never a second execution.
//! - *Same everywhere*: a function of the order, and part of the state.
//!
//! # Rules
//! - S1. Opening gives the session a number that the group never used; so an evicted session never
//!   comes back, and what was asked in it is refused for ever. While it lasts, opening with the
//!   same key and nonce gives the same session.
//! - S2. A number is executed if it lies in the window above the client's acknowledgement and was
//!   not executed before.
//! - S3. The replies of a session are kept until acknowledged, up to [`SESSION_BYTES_MAX`]; of what
//!   exceeds that, only the fact of the execution is kept.
//! - S4. Of the sessions opened through one server's lane, the least recently used makes room, by
//!   number and by weight: a flood through a corrupt server evicts nobody who came through another.
//!
//! # Bounds
//! [`SESSIONS_PER_LANE_MAX`] sessions a lane and service, [`SESSION_WINDOW`] numbers a session. All
//! sessions of all services together weigh at most [`SESSIONS_WEIGHT_MAX`] bytes of a snapshot, of
//! which each lane and service has an equal share; that share holds one full session at least.

use crate::{ReplyBody, SessionId};
use maftia_base::canary;
use maftia_base::wire::{Bytes, Encode, EncodeSize, List, Wire, wire_struct};
use maftia_base::{PARTIES_MAX, Party};
use maftia_crypto::{ClientKey, KeyId, SigningInput};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Sessions that one lane can hold open in one service.
pub const SESSIONS_PER_LANE_MAX: usize = 1024;

/// How far a client may run ahead of what it acknowledged.
pub const SESSION_WINDOW: u64 = 1024;

/// Bytes of replies kept for one session.
pub const SESSION_BYTES_MAX: usize = 64 * 1024;

/// What all sessions of a group may weigh together, in bytes of a snapshot, while there are at most
/// 1400 pairs of a lane and a service.
pub const SESSIONS_WEIGHT_MAX: usize = 128 << 20;

/// The most that a session weighs without what it executed: as long as its encoding or longer.
const SESSION_WEIGHT: usize = 128;

/// The most that an executed request weighs without its reply.
const EXECUTED_WEIGHT: usize = 24;

/// The most that one session weighs.
const FULL_WEIGHT: usize =
    SESSION_WEIGHT + SESSION_WINDOW as usize * EXECUTED_WEIGHT + SESSION_BYTES_MAX;

/// Numbers of a front end that are told apart; what is older counts as executed.
pub const FRONT_END_WINDOW: usize = 4096;

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Execute it, and tell [`Sessions::executed`].
    Execute,
    /// It was executed, at this position; the reply, if it is still kept.
    Known { position: u64, reply: Option<ReplyBody> },
    /// The client has acknowledged the reply.
    Acknowledged,
    /// Too far ahead.
    Beyond,
    /// No such session of this client.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Executed {
    position: u64,
    reply: Option<ReplyBody>,
}

wire_struct!(Executed { position, reply });

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    key: ClientKey,
    nonce: u64,
    lane: Party,
    used: u64,
    /// Numbers below are acknowledged.
    floor: u64,
    executed: BTreeMap<u64, Executed>,
    reply_bytes: usize,
}

/// All sessions of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    by_nonce: BTreeMap<(ClientKey, u64), SessionId>,
    by_use: BTreeSet<(Party, u64, SessionId)>,
    /// What the sessions of a lane weigh together.
    weights: BTreeMap<Party, usize>,
}

/// What the sessions of one lane and service may weigh. (S4)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(usize);

impl Share {
    /// In a group of `n` servers with so many services.
    pub(crate) fn of(n: usize, services: usize) -> Self {
        Self((SESSIONS_WEIGHT_MAX / (n * services).max(1)).max(FULL_WEIGHT))
    }
}

impl Sessions {
    /// The session of `key` with `nonce`; opened as `fresh`, through `lane`, if there is none.
    /// (S1, S4)
    pub(crate) fn open(
        &mut self,
        key: ClientKey,
        nonce: u64,
        lane: Party,
        fresh: SessionId,
        share: Share,
    ) -> SessionId {
        if let Some(id) = self.by_nonce.get(&(key, nonce)).copied() {
            self.touch(id, fresh.0);
            return id;
        }
        assert!(!self.sessions.contains_key(&fresh), "a session's number is never used twice");
        if self.by_use.range(range(lane)).count() >= SESSIONS_PER_LANE_MAX {
            let oldest = self.by_use.range(range(lane)).next().expect("just counted").2;
            self.evict(oldest);
        }
        let session = Session {
            key,
            nonce,
            lane,
            used: fresh.0,
            floor: 1,
            executed: BTreeMap::new(),
            reply_bytes: 0,
        };
        self.insert(fresh, session);
        self.make_room(lane, fresh, share);
        fresh
    }

    /// The session that was opened with this nonce, if it is still there. Changes nothing. (S1)
    pub(crate) fn opened(&self, key: ClientKey, nonce: u64) -> Option<SessionId> {
        self.by_nonce.get(&(key, nonce)).copied()
    }

    /// What to do with request `sequence` of the session. Changes nothing. (S2)
    pub(crate) fn judge(&self, key: ClientKey, id: SessionId, sequence: u64) -> Verdict {
        let Some(session) = self.sessions.get(&id).filter(|session| session.key == key) else {
            return Verdict::Unknown;
        };
        if canary!("session-floor-ignored", false, sequence < session.floor) {
            return Verdict::Acknowledged;
        }
        if sequence >= session.floor.saturating_add(SESSION_WINDOW) {
            return Verdict::Beyond;
        }
        match session.executed.get(&sequence) {
            None => Verdict::Execute,
            Some(done) => Verdict::Known { position: done.position, reply: done.reply.clone() },
        }
    }

    /// The client needs nothing below `acknowledged`, and has used the session at `position`.
    pub(crate) fn acknowledge(
        &mut self,
        key: ClientKey,
        id: SessionId,
        acknowledged: u64,
        position: u64,
    ) {
        if self.sessions.get(&id).is_none_or(|session| session.key != key) {
            return;
        }
        self.change(id, |session| session.acknowledge(acknowledged));
        self.touch(id, position);
    }

    /// Request `sequence` has been executed at `position`. (S3, S4)
    pub(crate) fn executed(
        &mut self,
        id: SessionId,
        sequence: u64,
        position: u64,
        reply: ReplyBody,
        share: Share,
    ) {
        let lane = self.change(id, |session| {
            session.reply_bytes += reply.encode_size();
            let done = Executed { position, reply: Some(reply) };
            let known = session.executed.insert(sequence, done);
            assert!(known.is_none(), "a request is executed once");
            session.forget_replies();
            session.lane
        });
        self.make_room(lane, id, share);
    }

    /// Changes a session that there is, and keeps account of its weight.
    fn change<R>(&mut self, id: SessionId, change: impl FnOnce(&mut Session) -> R) -> R {
        let session = self.sessions.get_mut(&id).expect("callers look first");
        let before = session.weight();
        let result = change(session);
        let weight = self.weights.get_mut(&session.lane).expect("a lane with sessions has one");
        *weight = *weight - before + session.weight();
        result
    }

    /// Evicts the least recently used of the lane, but not `spared`, until its share holds the
    /// others. (S4)
    fn make_room(&mut self, lane: Party, spared: SessionId, share: Share) {
        while self.weights.get(&lane).is_some_and(|weight| *weight > share.0) {
            let mut of_lane = self.by_use.range(range(lane)).map(|(_, _, id)| *id);
            let Some(oldest) = of_lane.find(|id| *id != spared) else { return };
            self.evict(oldest);
        }
    }

    /// What the group was to sign, of all replies that are kept.
    pub(crate) fn to_be_signed(&self) -> impl Iterator<Item = (u64, (KeyId, SigningInput))> {
        let replies = self.sessions.values().flat_map(|session| session.executed.values());
        replies.filter_map(|done| match &done.reply {
            Some(ReplyBody::Sign { key, input, .. }) => {
                Some((done.position, (*key, input.clone())))
            }
            _ => None,
        })
    }

    /// Number of sessions.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn touch(&mut self, id: SessionId, used: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.by_use.remove(&(session.lane, session.used, id));
            session.used = session.used.max(used);
            self.by_use.insert((session.lane, session.used, id));
        }
    }

    fn evict(&mut self, id: SessionId) {
        let session = self.sessions.remove(&id).expect("only known sessions are evicted");
        self.by_nonce.remove(&(session.key, session.nonce));
        self.by_use.remove(&(session.lane, session.used, id));
        let weight = self.weights.get_mut(&session.lane).expect("a lane with sessions has one");
        *weight -= session.weight();
        if *weight == 0 {
            self.weights.remove(&session.lane);
        }
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.by_nonce.insert((session.key, session.nonce), id);
        self.by_use.insert((session.lane, session.used, id));
        *self.weights.entry(session.lane).or_default() += session.weight();
        self.sessions.insert(id, session);
    }

    /// The whole of it; equal ones give equal bytes.
    pub(crate) fn snapshot(&self) -> Bytes {
        let image = |(id, session): (&SessionId, &Session)| SessionImage {
            id: *id,
            key: session.key,
            nonce: session.nonce,
            lane: session.lane,
            used: session.used,
            floor: session.floor,
            executed: List::new(
                session
                    .executed
                    .iter()
                    .map(|(number, done)| Entry(*number, done.clone()))
                    .collect(),
            )
            .expect("the window bounds what is kept"),
        };
        let images: List<SessionImage, SESSIONS_MAX> =
            List::new(self.sessions.iter().map(image).collect())
                .expect("eviction bounds the sessions");
        images.encode()
    }

    /// What was saved; `None` if it is no snapshot.
    pub(crate) fn restored(snapshot: Bytes) -> Option<Self> {
        let images = List::<SessionImage, SESSIONS_MAX>::from_wire(snapshot).ok()?;
        let mut sessions = Self::default();
        for image in images.into_vec() {
            let executed: BTreeMap<u64, Executed> = map(image.executed);
            let kept = executed.values().filter_map(|done| done.reply.as_ref());
            let session = Session {
                key: image.key,
                nonce: image.nonce,
                lane: image.lane,
                used: image.used,
                floor: image.floor,
                reply_bytes: kept.map(EncodeSize::encode_size).sum(),
                executed,
            };
            sessions.insert(image.id, session);
        }
        Some(sessions)
    }
}

/// All keys of a lane in the order of use.
fn range(lane: Party) -> RangeInclusive<(Party, u64, SessionId)> {
    (lane, 0, SessionId(0))..=(lane, u64::MAX, SessionId(u64::MAX))
}

impl Session {
    /// No less than the bytes that it takes in a snapshot.
    fn weight(&self) -> usize {
        SESSION_WEIGHT + self.executed.len() * EXECUTED_WEIGHT + self.reply_bytes
    }

    fn acknowledge(&mut self, acknowledged: u64) {
        if acknowledged <= self.floor {
            return;
        }
        self.floor = acknowledged;
        let kept = self.executed.split_off(&acknowledged);
        for dropped in std::mem::replace(&mut self.executed, kept).into_values() {
            self.reply_bytes -= dropped.reply.map_or(0, |reply| reply.encode_size());
        }
    }

    fn forget_replies(&mut self) {
        for done in self.executed.values_mut() {
            if self.reply_bytes <= SESSION_BYTES_MAX {
                return;
            }
            if let Some(reply) = done.reply.take() {
                self.reply_bytes -= reply.encode_size();
            }
        }
    }
}

const SESSIONS_MAX: usize = SESSIONS_PER_LANE_MAX * PARTIES_MAX;

struct SessionImage {
    id: SessionId,
    key: ClientKey,
    nonce: u64,
    lane: Party,
    used: u64,
    floor: u64,
    executed: List<Entry<u64, Executed>, { SESSION_WINDOW as usize }>,
}

wire_struct!(SessionImage { id, key, nonce, lane, used, floor, executed });

/// An entry of a map in a snapshot.
pub(crate) struct Entry<K, V>(pub(crate) K, pub(crate) V);

wire_struct!(<K: Wire, V: Wire> Entry<K, V> { 0, 1 });

/// The map with these entries.
pub(crate) fn map<K: Ord, V, const MAX: usize>(entries: List<Entry<K, V>, MAX>) -> BTreeMap<K, V> {
    entries.into_vec().into_iter().map(|Entry(key, value)| (key, value)).collect()
}

/// Which numbers of one front end were executed, and what of late the group was to sign for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct FrontEndNumbers {
    floor: u64,
    executed: BTreeSet<u64>,
    /// By position.
    to_sign: BTreeMap<u64, (KeyId, SigningInput)>,
}

/// Signatures for one front end that servers which begin at a mark can still make.
const FRONT_END_SIGNATURES_MAX: usize = 256;

impl FrontEndNumbers {
    /// The group is to sign for this front end.
    pub(crate) fn sign(&mut self, position: u64, key: KeyId, input: SigningInput) {
        self.to_sign.insert(position, (key, input));
        if self.to_sign.len() > FRONT_END_SIGNATURES_MAX {
            self.to_sign.pop_first();
        }
    }

    /// What the group was to sign of late, by position.
    pub(crate) fn to_be_signed(&self) -> impl Iterator<Item = (u64, (KeyId, SigningInput))> {
        self.to_sign.iter().map(|(position, what)| (*position, what.clone()))
    }

    /// Takes `number`; false if it was taken before, or is too old to tell.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        if number < self.floor || !self.executed.insert(number) {
            return false;
        }
        if self.executed.len() > FRONT_END_WINDOW {
            let oldest = self.executed.pop_first().expect("just found too many");
            self.floor = oldest + 1;
        }
        true
    }

    /// A number above all that were taken.
    pub(crate) fn next(&self) -> u64 {
        self.executed.last().map_or(self.floor, |last| last.saturating_add(1))
    }

    pub(crate) fn image(&self) -> NumbersImage {
        let executed = self.executed.iter().copied().collect();
        let executed = List::new(executed).expect("the window bounds it");
        let to_sign =
            self.to_be_signed().map(|(position, (key, input))| Entry(position, Entry(key, input)));
        let to_sign = List::new(to_sign.collect()).expect("bounded on entry");
        NumbersImage { floor: self.floor, executed, to_sign }
    }

    pub(crate) fn restored(image: NumbersImage) -> Self {
        let executed = image.executed.into_vec().into_iter().collect();
        let to_sign = map(image.to_sign).into_iter();
        let to_sign = to_sign.map(|(position, Entry(key, input))| (position, (key, input)));
        Self { floor: image.floor, executed, to_sign: to_sign.collect() }
    }
}

pub(crate) struct NumbersImage {
    floor: u64,
    executed: List<u64, FRONT_END_WINDOW>,
    to_sign: List<Entry<u64, Entry<KeyId, SigningInput>>, FRONT_END_SIGNATURES_MAX>,
}

wire_struct!(NumbersImage { floor, executed, to_sign });

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::wire::Blob;
    use maftia_crypto::HashAlgorithm;

    const KEY: ClientKey = ClientKey([7; 32]);

    fn plain(len: usize) -> ReplyBody {
        ReplyBody::Plain(Blob::new(vec![1; len]).expect("short"))
    }

    fn share() -> Share {
        Share::of(4, 1)
    }

    fn lane(index: usize) -> Party {
        Party::new(index)
    }

    #[test]
    fn executes_once_and_remembers_the_reply() {
        let mut sessions = Sessions::default();
        let id = sessions.open(KEY, 1, lane(0), SessionId(10), share());
        assert_eq!(sessions.judge(KEY, id, 1), Verdict::Execute);
        sessions.executed(id, 1, 11, plain(3), share());
        let known = Verdict::Known { position: 11, reply: Some(plain(3)) };
        assert_eq!(sessions.judge(KEY, id, 1), known);
        sessions.acknowledge(KEY, id, 2, 12);
        assert_eq!(sessions.judge(KEY, id, 1), Verdict::Acknowledged);
        assert_eq!(sessions.judge(KEY, id, 2), Verdict::Execute);
        assert_eq!(sessions.judge(KEY, id, 1 + SESSION_WINDOW), Verdict::Execute);
        assert_eq!(sessions.judge(KEY, id, 2 + SESSION_WINDOW), Verdict::Beyond);
        assert_eq!(sessions.judge(ClientKey([8; 32]), id, 2), Verdict::Unknown);
    }

    #[test]
    fn opening_again_gives_the_same_session_until_it_is_evicted() {
        let mut sessions = Sessions::default();
        let first = sessions.open(KEY, 1, lane(0), SessionId(0), share());
        assert_eq!(sessions.open(KEY, 1, lane(1), SessionId(1), share()), first);
        for fresh in 2..2 + SESSIONS_PER_LANE_MAX as u64 {
            sessions.open(ClientKey([9; 32]), fresh, lane(0), SessionId(fresh), share());
        }
        assert_eq!(sessions.judge(KEY, first, 1), Verdict::Unknown, "evicted, never executed");
        assert_eq!(sessions.len(), SESSIONS_PER_LANE_MAX);
        let again = sessions.open(KEY, 1, lane(0), SessionId(90_000), share());
        assert_ne!(again, first, "an evicted session never comes back");
    }

    #[test]
    fn a_flood_through_one_lane_evicts_nobody_of_another() {
        let mut sessions = Sessions::default();
        let mine = sessions.open(KEY, 1, lane(1), SessionId(0), share());
        for fresh in 1..3 * SESSIONS_PER_LANE_MAX as u64 {
            sessions.open(ClientKey([9; 32]), fresh, lane(0), SessionId(fresh), share());
        }
        assert_eq!(sessions.judge(KEY, mine, 1), Verdict::Execute);
        assert_eq!(sessions.len(), SESSIONS_PER_LANE_MAX + 1);
    }

    #[test]
    fn replies_beyond_the_bound_are_forgotten_and_never_executed_again() {
        let mut sessions = Sessions::default();
        let id = sessions.open(KEY, 1, lane(0), SessionId(0), share());
        for sequence in 1..=80 {
            sessions.executed(id, sequence, sequence, plain(1024), share());
        }
        assert_eq!(sessions.judge(KEY, id, 1), Verdict::Known { position: 1, reply: None });
        let kept = sessions.sessions[&id].reply_bytes;
        assert!(kept <= SESSION_BYTES_MAX && kept > SESSION_BYTES_MAX - 1100);
    }

    /// Fills `sessions` through lane 0, each with as many requests and replies as it can hold.
    fn fill(sessions: &mut Sessions, count: u64, reply: usize, share: Share) {
        for fresh in 1..=count {
            let id = sessions.open(ClientKey([9; 32]), fresh, lane(0), SessionId(fresh), share);
            for sequence in 1..=SESSION_WINDOW {
                sessions.executed(id, sequence, u64::MAX - sequence, plain(reply), share);
            }
        }
    }

    #[test]
    fn whatever_clients_do_the_snapshot_stays_below_the_bound_and_other_lanes_keep_their_sessions()
    {
        // 64 servers and 20 services: the share of a lane holds one full session, no second one.
        for (lanes, services, reply) in [(64, 20, 40), (64, 20, 60_000), (64, 4, 0)] {
            let (mut sessions, share) = (Sessions::default(), Share::of(lanes, services));
            let mine = sessions.open(KEY, 1, lane(1), SessionId(0), share);
            fill(&mut sessions, 30, reply, share);
            let bound = SESSIONS_WEIGHT_MAX / (lanes * services);
            assert!(sessions.snapshot().len() <= bound + SESSION_WEIGHT, "{lanes} {services}");
            assert_eq!(sessions.judge(KEY, mine, 1), Verdict::Execute, "of another lane");
            let last = SessionId(30);
            let known = sessions.judge(ClientKey([9; 32]), last, SESSION_WINDOW);
            assert!(matches!(known, Verdict::Known { reply: Some(_), .. }), "the last one stays");
            assert_eq!(Sessions::restored(sessions.snapshot()), Some(sessions));
        }
    }

    #[test]
    fn a_session_that_is_evicted_for_its_weight_is_unknown_and_never_executes_again() {
        let (mut sessions, share) = (Sessions::default(), Share::of(64, 20));
        fill(&mut sessions, 2, 60_000, share);
        let key = ClientKey([9; 32]);
        assert_eq!(sessions.judge(key, SessionId(1), 1), Verdict::Unknown);
        // What is acknowledged weighs nothing any more.
        sessions.acknowledge(key, SessionId(2), 1 + SESSION_WINDOW, 5000);
        sessions.open(key, 3, lane(0), SessionId(5001), share);
        assert_eq!(sessions.judge(key, SessionId(2), 1 + SESSION_WINDOW), Verdict::Execute);
    }

    #[test]
    fn a_snapshot_restores_every_session() {
        let mut sessions = Sessions::default();
        for fresh in 0..20 {
            let id = sessions.open(KEY, fresh, lane(fresh as usize % 4), SessionId(fresh), share());
            sessions.executed(id, 1, 100 + fresh, plain(fresh as usize), share());
        }
        let restored = Sessions::restored(sessions.snapshot()).expect("a snapshot");
        assert_eq!(restored, sessions);
        let cut = sessions.snapshot();
        assert_eq!(Sessions::restored(cut.slice(..cut.len() - 1)), None);
    }

    #[test]
    fn a_front_end_number_is_taken_once_in_any_order() {
        let mut numbers = FrontEndNumbers::default();
        assert!(numbers.take(5) && numbers.take(3));
        assert!(!numbers.take(5) && !numbers.take(3));
        assert_eq!(numbers.next(), 6);
        for number in 10..10 + 2 * FRONT_END_WINDOW as u64 {
            assert!(numbers.take(number));
        }
        assert!(!numbers.take(4), "too old to tell counts as taken");
        for position in 0..2 * FRONT_END_SIGNATURES_MAX as u64 {
            let digest = Blob::new(vec![1; 32]).expect("32 bytes");
            numbers.sign(position, KeyId(0), SigningInput { hash: HashAlgorithm::Sha256, digest });
        }
        assert_eq!(numbers.to_be_signed().count(), FRONT_END_SIGNATURES_MAX);
        assert_eq!(FrontEndNumbers::restored(numbers.image()), numbers);
    }
}
