//! What an intruder makes a whole server do: at the seam of [`Tamper`], with the server's own keys,
//! and with the frames that leave it.

use super::authority::Wanted;
use super::suite::WholeSuite;
use super::witness::Witness;
use super::{Replicated, Server};
use bytes::Bytes;
use maftia_activity::{Message, TransferMessage};
use maftia_agreement::atomic::{self, Batch, BatchVote, Height, batch_statement};
use maftia_base::protocol::Vocabulary;
use maftia_base::time::Reading;
use maftia_base::wire::{Blob, Wire};
use maftia_base::{Party, Scope, StatementKind};
use maftia_crypto::{Done, Work};
use maftia_links::Packet;
use maftia_node::tamper::Tamper;
use maftia_sim::Random;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What there is, each with a sentence.
pub const CONDUCTS: &[(&str, &str)] = &[
    ("none", "nobody is corrupt"),
    ("mute", "says nothing to anybody"),
    ("mute-to-some", "says nothing to some, and is honest to the others"),
    ("dozing", "says nothing for a while, again and again"),
    ("two-batches", "shows some servers another batch at each height of its lane"),
    ("wrong-shares", "sends shares of coins and signatures that are wrong"),
    ("hour-ahead", "says that it is an hour later than it is"),
    ("wild-clock", "says any time that it likes"),
    ("repeats", "says again what it said before, instead of what is due"),
    ("garbles", "changes bytes of what it says"),
    ("tardy", "sends its frames late, out of order, and again"),
    ("floods", "sends each frame many times, and bytes without meaning"),
    ("false-states", "gives those who fetch a state another one, or none"),
    ("everything", "all of this, in turn"),
];

/// An hour, in microseconds.
const HOUR: u64 = 3_600_000_000;

/// Most of its own messages that an intruder remembers.
const REMEMBERED_MAX: usize = 64;

type Order<S> = atomic::Message<S>;

/// Whoever runs a server: an honest one does nothing.
pub struct Intruder<S: WholeSuite> {
    conduct: &'static str,
    me: Party,
    keyring: Arc<S::Keyring>,
    brain: Mutex<Brain<S>>,
    watch: Watch,
}

/// Sees to it that honest servers give no share of what nobody wants signed.
#[derive(Clone)]
pub struct Watch {
    /// What is wanted.
    pub wanted: Wanted,
    /// Whoever judges.
    pub witness: Witness,
}

impl Watch {
    fn look<S: WholeSuite>(&self, me: Party, work: &[Work<S>]) {
        for piece in work {
            if let Work::SignatureShare { key, input, .. } = piece
                && !self.wanted.has(*key, input)
                && self.witness.is_honest(me)
            {
                let what = format!("{me} gives a share of what no state wants signed: {input:?}");
                self.witness.complain("secrecy", what);
            }
        }
    }
}

struct Brain<S: WholeSuite> {
    random: Random,
    acts: u64,
    /// The scope in which it signs batches, seen when it signed the first.
    scope: Option<Scope>,
    /// The other batch at each height, with its vote.
    faces: BTreeMap<Height, (Batch<S>, BatchVote<S>)>,
    said: VecDeque<Bytes>,
    /// Messages for which it still dozes.
    doze: u64,
}

impl<S: WholeSuite> Intruder<S> {
    /// The server `me` with its keys, in the hands of somebody who wants `conduct`.
    pub fn new(
        conduct: &'static str,
        me: Party,
        keyring: Arc<S::Keyring>,
        random: Random,
        watch: Watch,
    ) -> Self {
        let brain = Brain {
            random,
            acts: 0,
            scope: None,
            faces: BTreeMap::new(),
            said: VecDeque::new(),
            doze: 0,
        };
        Self { conduct, me, keyring, brain: Mutex::new(brain), watch }
    }

    /// How often it did what it is there for.
    pub fn acts(&self) -> u64 {
        self.brain().acts
    }

    fn brain(&self) -> MutexGuard<'_, Brain<S>> {
        self.brain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it do this now?
    fn does(&self, what: &str) -> bool {
        let does = match self.conduct {
            "none" => return false,
            "everything" => self.brain().random.chance(60),
            conduct => conduct == what,
        };
        if does {
            self.brain().acts += 1;
        }
        does
    }

    fn is_one_of(&self, what: &[&str]) -> bool {
        self.conduct == "everything" || what.contains(&self.conduct)
    }

    /// A frame is about to leave: what leaves, and after how many microseconds.
    pub fn frames(&self, frame: Bytes) -> Vec<(Bytes, u64)> {
        if !self.is_one_of(&["tardy", "floods"]) {
            return vec![(frame, 0)];
        }
        let mut frames = Vec::new();
        if self.does("tardy") {
            let mut brain = self.brain();
            for _ in 0..=brain.random.below(2) {
                frames.push((frame.clone(), brain.random.exponential(200_000)));
            }
        } else {
            frames.push((frame.clone(), 0));
        }
        if self.does("floods") {
            let mut brain = self.brain();
            for _ in 0..brain.random.below(8) {
                frames.push((frame.clone(), brain.random.below(50_000)));
            }
            let noise: Vec<u8> = (0..64).map(|_| brain.random.bits() as u8).collect();
            frames.push((noise.into(), 0));
        }
        frames
    }

    /// One message of the replica, as `to` gets it; `None` to leave it as it is.
    fn other(&self, to: Party, bytes: &Bytes) -> Option<Bytes> {
        if self.is_one_of(&["two-batches"])
            && to.index() % 2 == self.me.index() % 2
            && let Some(face) = self.other_face(bytes)
        {
            return Some(face);
        }
        if self.is_one_of(&["false-states"])
            && let Some(lie) = self.false_state(bytes)
        {
            return Some(lie);
        }
        if self.is_one_of(&["repeats"]) {
            let mut brain = self.brain();
            brain.said.push_back(bytes.clone());
            if brain.said.len() > REMEMBERED_MAX {
                brain.said.pop_front();
            }
            if brain.random.chance(250) {
                brain.acts += 1;
                let len = brain.said.len() as u64;
                let index = brain.random.below(len) as usize;
                return Some(brain.said[index].clone());
            }
        }
        if self.is_one_of(&["garbles"]) {
            let mut brain = self.brain();
            if brain.random.chance(150) && !bytes.is_empty() {
                brain.acts += 1;
                let mut garbled = bytes.to_vec();
                let at = brain.random.below(garbled.len() as u64) as usize;
                garbled[at] ^= 1 << brain.random.below(8);
                return Some(garbled.into());
            }
        }
        None
    }

    fn other_face(&self, bytes: &Bytes) -> Option<Bytes> {
        let Ok(Message::Order(mut order)) = Message::<S>::from_wire(bytes.clone()) else {
            return None;
        };
        let Order::Batch { batch, .. } = &order.body else { return None };
        let mut brain = self.brain();
        if !brain.faces.contains_key(&batch.height) {
            let face = self.second_batch(brain.scope?, batch)?;
            brain.faces.insert(batch.height, face);
            if brain.faces.len() > REMEMBERED_MAX {
                brain.faces.pop_first();
            }
        }
        let (batch, vote) = brain.faces.get(&batch.height)?.clone();
        brain.acts += 1;
        order.body = Order::Batch { batch, vote, seal: None };
        Some(Message::Order(order).to_wire())
    }

    /// Another batch for the same place: it also asks for the epoch to end, or no longer does.
    fn second_batch(&self, scope: Scope, first: &Batch<S>) -> Option<(Batch<S>, BatchVote<S>)> {
        let batch = Batch { turn: !first.turn, ..first.clone() };
        let statement = batch_statement(scope, self.me, batch.height, batch.digest());
        let work = vec![Work::SignReading(statement)];
        match S::run_many(work, &self.keyring, Reading(super::server::DAWN)).pop()? {
            Done::Signed(signed) => {
                let reading = Reading(signed.statement.annotation.0);
                Some((batch, BatchVote { reading, signature: signed.signature }))
            }
            _ => None,
        }
    }

    fn false_state(&self, bytes: &Bytes) -> Option<Bytes> {
        let Ok(Message::Transfer(message)) = Message::<S>::from_wire(bytes.clone()) else {
            return None;
        };
        let mut brain = self.brain();
        let lie = match message {
            TransferMessage::Chunk { mark, .. } if brain.random.chance(300) => {
                TransferMessage::Gone(mark)
            }
            TransferMessage::Chunk { mark, index, chunk } => {
                let mut changed = chunk.bytes().to_vec();
                if let Some(byte) = changed.last_mut() {
                    *byte ^= 1;
                }
                TransferMessage::Chunk { mark, index, chunk: Blob::new(changed)? }
            }
            TransferMessage::Manifest(mut manifest) => {
                manifest.frontier.mark.0 += brain.random.below(3);
                let chunks = manifest.chunks.clone().into_vec();
                let kept = chunks.len() - usize::from(brain.random.chance(300) && chunks.len() > 1);
                manifest.chunks = maftia_base::wire::List::new(chunks[..kept].to_vec())?;
                TransferMessage::Manifest(manifest)
            }
            TransferMessage::Want { .. } | TransferMessage::Gone(_) => return None,
        };
        brain.acts += 1;
        Some(Message::<S>::Transfer(lie).to_wire())
    }

    /// Learns the scope of the lane from what the honest code signs.
    fn look(&self, work: &[Work<S>]) {
        for piece in work {
            if let Work::SignReading(statement) = piece
                && statement.kind == StatementKind::BatchVote
            {
                let mut brain = self.brain();
                if brain.scope != Some(statement.scope) {
                    brain.scope = Some(statement.scope);
                    brain.faces.clear();
                }
            }
        }
    }

    fn spoil(&self, asked: &Work<S>, done: Done<S>) -> Done<S> {
        match asked {
            Work::CoinShare(name) if self.does("wrong-shares") => {
                Done::CoinShare(S::bad_coin_share(&self.keyring, *name))
            }
            Work::SignatureShare { key, input, with_proof } if self.does("wrong-shares") => {
                let share = S::bad_signature_share(&self.keyring, *key, input, *with_proof);
                Done::SignatureShare(share)
            }
            _ => done,
        }
    }

    fn is_silent_to(&self, to: Party) -> bool {
        if self.conduct == "mute"
            || (self.conduct == "mute-to-some" && to.index().is_multiple_of(2))
        {
            self.brain().acts += 1;
            return true;
        }
        if !self.is_one_of(&["dozing"]) {
            return false;
        }
        let mut brain = self.brain();
        if brain.doze == 0 && brain.random.chance(3) {
            brain.acts += 1;
            brain.doze = brain.random.below(300);
        }
        brain.doze = brain.doze.saturating_sub(1);
        brain.doze > 0
    }
}

impl<S: WholeSuite> Tamper<Server<S>> for Intruder<S> {
    fn outgoing<'m>(
        &self,
        to: Party,
        message: &'m Packet<<Replicated<S> as Vocabulary>::Message>,
    ) -> Option<Cow<'m, Packet<<Replicated<S> as Vocabulary>::Message>>> {
        if self.conduct == "none" {
            return Some(Cow::Borrowed(message));
        }
        if self.is_silent_to(to) {
            return None;
        }
        match message {
            Packet::Frame(frame)
                if self.is_one_of(&["two-batches", "repeats", "garbles", "false-states"]) =>
            {
                let frame = frame.clone().map_messages(|message| self.other(to, message));
                Some(Cow::Owned(Packet::Frame(frame)))
            }
            _ => Some(Cow::Borrowed(message)),
        }
    }

    fn reading(&self, truth: Reading) -> Reading {
        if self.does("hour-ahead") {
            return Reading(truth.0 + HOUR);
        }
        if self.does("wild-clock") {
            return Reading(self.brain().random.below(2 * truth.0));
        }
        truth
    }

    fn work(&self, work: Vec<Work<S>>, run: &dyn Fn(Vec<Work<S>>) -> Vec<Done<S>>) -> Vec<Done<S>> {
        self.watch.look(self.me, &work);
        if self.conduct == "none" {
            return run(work);
        }
        self.look(&work);
        let asked = work.clone();
        let dones = run(work);
        asked.iter().zip(dones).map(|(asked, done)| self.spoil(asked, done)).collect()
    }
}
