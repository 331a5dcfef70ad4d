//! What an intruder makes a server do that it has taken over.
//!
//! A hostile server runs the honest protocol, with the server's own keys, and differs from it only
//! at the seam of [`Tamper`]: what leaves for each peer, what the clock says, what the keys sign.

use clap::ValueEnum;
use maftia_activity::{Message, Replica};
use maftia_agreement::atomic::{Batch, BatchVote, Height, batch_statement};
use maftia_base::time::Reading;
use maftia_base::wire::{Bytes, Wire};
use maftia_base::{Party, Scope, StatementKind};
use maftia_crypto::{Corrupt, Done, RealKeyring, RealSuite, Signed, Suite, Work};
use maftia_links::{Linked, Packet};
use maftia_node::tamper::Tamper;
use maftia_services::Service;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Driven = Linked<Replica<RealSuite, Service>>;
type OrderMessage = maftia_agreement::atomic::Message<RealSuite>;

/// How far ahead of the truth a lying clock is: one hour.
const LIE_MICROS: u64 = 3_600_000_000;

/// Messages to each peer that are remembered, to be said again.
const REMEMBERED: usize = 64;

/// Frames to each peer that a slow server keeps back.
const KEPT_BACK: usize = 32;

/// How often a flooder sends everything.
const FLOOD: usize = 8;

/// Most heights whose second face is remembered: more than a lane may be ahead.
const FACES_MAX: usize = 64;

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// Shows one server another batch at each height of its lane than all others, signed as well:
    /// the others are a quorum, so that the batch is ordered, and the one is deceived.
    Equivocate,
    /// Sends shares of the coin and of signatures that are wrong, under signatures that hold.
    BadShares,
    /// Says that it is an hour later than it is.
    LieAboutTime,
    /// Never answers the first server of the group, and answers the others.
    MuteTowardsSome,
    /// Says nothing to anybody.
    Silent,
    /// Sends every second frame only.
    Lossy,
    /// Is correct, and keeps each frame back until many later ones are due.
    Slow,
    /// Changes a bit in every fourth message.
    Garble,
    /// Says something old instead of every second message.
    Replay,
    /// Sends everything eight times.
    Flood,
    /// Signs with signatures that hold for something else.
    BadSignatures,
    /// Says at once that it has validated whatever somebody wants certified, without a look.
    VouchForAll,
    /// Equivocates, sends bad shares, lies about the time and is mute towards some, all at once.
    Everything,
}

impl Strategy {
    fn includes(self, part: Self) -> bool {
        let all = [Self::Equivocate, Self::BadShares, Self::LieAboutTime, Self::MuteTowardsSome];
        self == part || self == Self::Everything && all.contains(&part)
    }
}

/// A server that follows a [`Strategy`].
#[derive(Debug)]
pub(crate) struct Hostile {
    strategy: Strategy,
    me: Party,
    keyring: Arc<RealKeyring>,
    lane: Mutex<Lane>,
    memory: Mutex<Memory>,
    /// What it has done so far, so that a test can tell that it was attacked.
    done: Mutex<BTreeSet<&'static str>>,
}

/// What an equivocator must remember to keep its two faces apart.
#[derive(Debug, Default)]
struct Lane {
    /// The scope in which it signs batches, seen when it signed the first.
    scope: Option<Scope>,
    /// The other batch at each height, with its vote.
    faces: BTreeMap<Height, (Batch<RealSuite>, BatchVote<RealSuite>)>,
}

/// What it said before.
#[derive(Debug, Default)]
struct Memory {
    /// Messages so far.
    count: u64,
    messages: BTreeMap<Party, VecDeque<Bytes>>,
    frames: BTreeMap<Party, VecDeque<Packet<Message<RealSuite>>>>,
    signature: Option<<RealSuite as Suite>::Signature>,
}

impl Hostile {
    /// The server `me` with its keys, in the hands of somebody who wants `strategy`.
    pub(crate) fn new(strategy: Strategy, me: Party, keyring: Arc<RealKeyring>) -> Self {
        Self {
            strategy,
            me,
            keyring,
            lane: Mutex::default(),
            memory: Mutex::default(),
            done: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said to `to` instead of a message of the replica; `None` to leave it as it is.
    fn instead(&self, to: Party, message: &Bytes) -> Option<Bytes> {
        let mut memory = self.memory();
        memory.count += 1;
        let count = memory.count;
        match self.strategy {
            Strategy::Garble if count.is_multiple_of(4) && !message.is_empty() => {
                self.does("changes bits");
                let mut bytes = message.to_vec();
                // Any place in turn: the golden ratio leaves none out for long.
                let place = count.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % bytes.len();
                bytes[place] ^= 1 << (count / 4 % 8);
                Some(bytes.into())
            }
            Strategy::Replay => {
                let said = memory.messages.entry(to).or_default();
                said.push_back(message.clone());
                if said.len() > REMEMBERED {
                    said.pop_front();
                }
                self.does("says old things");
                let old = said.get(count as usize % said.len()).cloned();
                old.filter(|_| count.is_multiple_of(2))
            }
            _ => self.is_deceived(to).then(|| self.other_face(message)).flatten(),
        }
    }

    /// The frame that leaves for `to` when `frame` is due; `None` for none.
    fn kept_back(
        &self,
        to: Party,
        packet: &Packet<Message<RealSuite>>,
    ) -> Option<Packet<Message<RealSuite>>> {
        self.does("is slow");
        let mut memory = self.memory();
        let kept = memory.frames.entry(to).or_default();
        kept.push_back(packet.clone());
        if kept.len() > KEPT_BACK { kept.pop_front() } else { None }
    }

    /// A signature, or one for something else.
    fn forge(&self, done: Done<RealSuite>) -> Done<RealSuite> {
        match done {
            Done::Signed(signed) => {
                self.does("sends a bad signature");
                let other = self.memory().signature.replace(signed.signature);
                let signature = other.unwrap_or(signed.signature);
                Done::Signed(Signed { signature, ..signed })
            }
            done => done,
        }
    }

    /// Says once what is done now, on standard error.
    fn does(&self, what: &'static str) {
        if self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(what) {
            eprintln!("hostile: {what}");
        }
    }

    /// The one that is shown another face: not the one that a mute server never speaks to.
    fn is_deceived(&self, peer: Party) -> bool {
        peer.index() == if self.me.index() == 1 { 2 } else { 1 }
    }

    /// One message of the replica, as a deceived peer gets it; `None` to leave it as it is.
    fn other_face(&self, message: &Bytes) -> Option<Bytes> {
        let Ok(Message::Order(mut order)) = Message::<RealSuite>::from_wire(message.clone()) else {
            return None;
        };
        let OrderMessage::Batch { batch, seal, .. } = &order.body else { return None };
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if !lane.faces.contains_key(&batch.height) {
            let face = self.second_batch(lane.scope?, batch)?;
            lane.faces.insert(batch.height, face);
            while lane.faces.len() > FACES_MAX {
                lane.faces.pop_first();
            }
        }
        // A trusted component has identified the first one, and would identify no other there.
        let seal = *seal;
        let (batch, vote) = lane.faces.get(&batch.height)?.clone();
        order.body = OrderMessage::Batch { batch, vote, seal };
        self.does("equivocates");
        Some(Message::Order(order).to_wire())
    }

    /// Another batch for the same place: it also asks for the epoch to end, or no longer does.
    fn second_batch(
        &self,
        scope: Scope,
        first: &Batch<RealSuite>,
    ) -> Option<(Batch<RealSuite>, BatchVote<RealSuite>)> {
        let batch = Batch { turn: !first.turn, ..first.clone() };
        let statement = batch_statement(scope, self.me, batch.height, batch.digest());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        let work = vec![Work::SignReading(statement)];
        match RealSuite::run_many(work, &self.keyring, Reading(now)).pop()? {
            Done::Signed(signed) => Some((
                batch,
                BatchVote {
                    reading: Reading(signed.statement.annotation.0),
                    signature: signed.signature,
                },
            )),
            _ => None,
        }
    }

    /// Learns the scope of the lane from what the honest code signs.
    fn watch(&self, work: &[Work<RealSuite>]) {
        for piece in work {
            if let Work::SignReading(statement) = piece
                && statement.kind == StatementKind::BatchVote
            {
                let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
                if lane.scope != Some(statement.scope) {
                    *lane = Lane { scope: Some(statement.scope), faces: BTreeMap::new() };
                }
            }
        }
    }

    fn spoil(&self, asked: &Work<RealSuite>, done: Done<RealSuite>) -> Done<RealSuite> {
        match asked {
            Work::CoinShare(name) => {
                self.does("sends a bad share");
                Done::CoinShare(RealSuite::bad_coin_share(&self.keyring, *name))
            }
            Work::SignatureShare { key, input, with_proof } => Done::SignatureShare(
                RealSuite::bad_signature_share(&self.keyring, *key, input, *with_proof),
            ),
            _ => done,
        }
    }
}

impl Tamper<Driven> for Hostile {
    fn outgoing<'m>(
        &self,
        to: Party,
        message: &'m Packet<Message<RealSuite>>,
    ) -> Option<Cow<'m, Packet<Message<RealSuite>>>> {
        if self.strategy.includes(Strategy::MuteTowardsSome) && to.index() == 0 {
            self.does("is mute");
            return None;
        }
        match (self.strategy, message) {
            (Strategy::Silent, Packet::Frame(_)) => {
                self.does("is silent");
                None
            }
            (Strategy::Lossy, Packet::Frame(_)) => {
                self.does("drops frames");
                let mut memory = self.memory();
                memory.count += 1;
                memory.count.is_multiple_of(2).then_some(Cow::Borrowed(message))
            }
            (Strategy::Slow, Packet::Frame(_)) => self.kept_back(to, message).map(Cow::Owned),
            (
                Strategy::Equivocate | Strategy::Everything | Strategy::Garble | Strategy::Replay,
                Packet::Frame(frame),
            ) => {
                let frame = frame.clone().map_messages(|message| self.instead(to, message));
                Some(Cow::Owned(Packet::Frame(frame)))
            }
            _ => Some(Cow::Borrowed(message)),
        }
    }

    fn copies(&self) -> usize {
        match self.strategy {
            Strategy::Flood => {
                self.does("floods");
                FLOOD
            }
            _ => 1,
        }
    }

    fn reading(&self, truth: Reading) -> Reading {
        match self.strategy.includes(Strategy::LieAboutTime) {
            true => {
                self.does("lies about the time");
                Reading(truth.0 + LIE_MICROS)
            }
            false => truth,
        }
    }

    fn work(
        &self,
        work: Vec<Work<RealSuite>>,
        run: &dyn Fn(Vec<Work<RealSuite>>) -> Vec<Done<RealSuite>>,
    ) -> Vec<Done<RealSuite>> {
        if self.strategy.includes(Strategy::Equivocate) {
            self.watch(&work);
        }
        if self.strategy == Strategy::BadSignatures {
            return run(work).into_iter().map(|done| self.forge(done)).collect();
        }
        if !self.strategy.includes(Strategy::BadShares) {
            return run(work);
        }
        let asked = work.clone();
        let dones = run(work);
        asked.iter().zip(dones).map(|(asked, done)| self.spoil(asked, done)).collect()
    }
}
