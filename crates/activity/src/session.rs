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
//! - S4. Of the sessions opened through one server's lane, the least recently used makes room: a
//!   flood through a corrupt server evicts nobody who came through another.
//!
//! # Bounds
//! [`SESSIONS_PER_LANE_MAX`] sessions a lane and service, [`SESSION_WINDOW`] numbers a session.

use crate::{ReplyBody, SessionId};
use maftia_base::canary;
use maftia_base::wire::{Bytes, Encode, EncodeSize, List, Wire, wire_struct};
use maftia_base::{PARTIES_MAX, Party};
use maftia_crypto::{ClientKey, KeyId, SigningInput};
use std::collections::{BTreeMap, BTreeSet};

/// Sessions that one lane can hold open in one service.
pub const SESSIONS_PER_LANE_MAX: usize = 1024;

/// How far a client may run ahead of what it acknowledged.
pub const SESSION_WINDOW: u64 = 1024;

/// Bytes of replies kept for one session.
pub const SESSION_BYTES_MAX: usize = 64 * 1024;

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
    ) -> SessionId {
        if let Some(id) = self.by_nonce.get(&(key, nonce)).copied() {
            self.touch(id, fresh.0);
            return id;
        }
        assert!(!self.sessions.contains_key(&fresh), "a session's number is never used twice");
        let of_lane = (lane, 0, SessionId(0))..=(lane, u64::MAX, SessionId(u64::MAX));
        if self.by_use.range(of_lane.clone()).count() >= SESSIONS_PER_LANE_MAX {
            let oldest = self.by_use.range(of_lane).next().expect("just counted").2;
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
        fresh
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
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.key == key) else {
            return;
        };
        session.acknowledge(acknowledged);
        self.touch(id, position);
    }

    /// Request `sequence` has been executed at `position`. (S3)
    pub(crate) fn executed(
        &mut self,
        id: SessionId,
        sequence: u64,
        position: u64,
        reply: ReplyBody,
    ) {
        let session = self.sessions.get_mut(&id).expect("only judged sessions execute");
        session.reply_bytes += reply.encode_size();
        let known = session.executed.insert(sequence, Executed { position, reply: Some(reply) });
        assert!(known.is_none(), "a request is executed once");
        session.forget_replies();
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
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.by_nonce.insert((session.key, session.nonce), id);
        self.by_use.insert((session.lane, session.used, id));
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

impl Session {
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

/// Which numbers of one front end were executed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct FrontEndNumbers {
    floor: u64,
    executed: BTreeSet<u64>,
}

impl FrontEndNumbers {
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
        NumbersImage { floor: self.floor, executed }
    }

    pub(crate) fn restored(image: NumbersImage) -> Self {
        let executed = image.executed.into_vec().into_iter().collect();
        Self { floor: image.floor, executed }
    }
}

pub(crate) struct NumbersImage {
    floor: u64,
    executed: List<u64, FRONT_END_WINDOW>,
}

wire_struct!(NumbersImage { floor, executed });

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::wire::Blob;

    const KEY: ClientKey = ClientKey([7; 32]);

    fn plain(len: usize) -> ReplyBody {
        ReplyBody::Plain(Blob::new(vec![1; len]).expect("short"))
    }

    fn lane(index: usize) -> Party {
        Party::new(index)
    }

    #[test]
    fn executes_once_and_remembers_the_reply() {
        let mut sessions = Sessions::default();
        let id = sessions.open(KEY, 1, lane(0), SessionId(10));
        assert_eq!(sessions.judge(KEY, id, 1), Verdict::Execute);
        sessions.executed(id, 1, 11, plain(3));
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
        let first = sessions.open(KEY, 1, lane(0), SessionId(0));
        assert_eq!(sessions.open(KEY, 1, lane(1), SessionId(1)), first);
        for fresh in 2..2 + SESSIONS_PER_LANE_MAX as u64 {
            sessions.open(ClientKey([9; 32]), fresh, lane(0), SessionId(fresh));
        }
        assert_eq!(sessions.judge(KEY, first, 1), Verdict::Unknown, "evicted, never executed");
        assert_eq!(sessions.len(), SESSIONS_PER_LANE_MAX);
        let again = sessions.open(KEY, 1, lane(0), SessionId(90_000));
        assert_ne!(again, first, "an evicted session never comes back");
    }

    #[test]
    fn a_flood_through_one_lane_evicts_nobody_of_another() {
        let mut sessions = Sessions::default();
        let mine = sessions.open(KEY, 1, lane(1), SessionId(0));
        for fresh in 1..3 * SESSIONS_PER_LANE_MAX as u64 {
            sessions.open(ClientKey([9; 32]), fresh, lane(0), SessionId(fresh));
        }
        assert_eq!(sessions.judge(KEY, mine, 1), Verdict::Execute);
        assert_eq!(sessions.len(), SESSIONS_PER_LANE_MAX + 1);
    }

    #[test]
    fn replies_beyond_the_bound_are_forgotten_and_never_executed_again() {
        let mut sessions = Sessions::default();
        let id = sessions.open(KEY, 1, lane(0), SessionId(0));
        for sequence in 1..=80 {
            sessions.executed(id, sequence, sequence, plain(1024));
        }
        assert_eq!(sessions.judge(KEY, id, 1), Verdict::Known { position: 1, reply: None });
        let kept = sessions.sessions[&id].reply_bytes;
        assert!(kept <= SESSION_BYTES_MAX && kept > SESSION_BYTES_MAX - 1100);
    }

    #[test]
    fn a_snapshot_restores_every_session() {
        let mut sessions = Sessions::default();
        for fresh in 0..20 {
            let id = sessions.open(KEY, fresh, lane(fresh as usize % 4), SessionId(fresh));
            sessions.executed(id, 1, 100 + fresh, plain(fresh as usize));
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
        assert_eq!(FrontEndNumbers::restored(numbers.image()), numbers);
    }
}
