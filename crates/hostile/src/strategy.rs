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
use maftia_crypto::{Corrupt, Done, RealKeyring, RealSuite, Suite, Work};
use maftia_links::{Linked, Packet};
use maftia_node::tamper::Tamper;
use maftia_services::Service;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

type Driven = Linked<Replica<RealSuite, Service>>;
type OrderMessage = maftia_agreement::atomic::Message<RealSuite>;

/// How far ahead of the truth a lying clock is: one hour.
const LIE_MICROS: u64 = 3_600_000_000;

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
    /// All of this at once.
    Everything,
}

impl Strategy {
    fn includes(self, part: Self) -> bool {
        self == part || self == Self::Everything
    }
}

/// A server that follows a [`Strategy`].
#[derive(Debug)]
pub(crate) struct Hostile {
    strategy: Strategy,
    me: Party,
    keyring: Arc<RealKeyring>,
    lane: Mutex<Lane>,
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

impl Hostile {
    /// The server `me` with its keys, in the hands of somebody who wants `strategy`.
    pub(crate) fn new(strategy: Strategy, me: Party, keyring: Arc<RealKeyring>) -> Self {
        Self { strategy, me, keyring, lane: Mutex::default(), done: Mutex::default() }
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
        let OrderMessage::Batch { batch, .. } = &order.body else { return None };
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if !lane.faces.contains_key(&batch.height) {
            let face = self.second_batch(lane.scope?, batch)?;
            lane.faces.insert(batch.height, face);
            while lane.faces.len() > FACES_MAX {
                lane.faces.pop_first();
            }
        }
        let (batch, vote) = lane.faces.get(&batch.height)?.clone();
        order.body = OrderMessage::Batch { batch, vote };
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
        match message {
            Packet::Frame(frame)
                if self.strategy.includes(Strategy::Equivocate) && self.is_deceived(to) =>
            {
                let frame = frame.clone().map_messages(|message| self.other_face(message));
                Some(Cow::Owned(Packet::Frame(frame)))
            }
            _ => Some(Cow::Borrowed(message)),
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
        if !self.strategy.includes(Strategy::BadShares) {
            return run(work);
        }
        let asked = work.clone();
        let dones = run(work);
        asked.iter().zip(dones).map(|(asked, done)| self.spoil(asked, done)).collect()
    }
}
