//! State transfer: a certified state, fetched piece by piece from several servers at once.
//!
//! # Promise
//! - *Integrity*: what is fetched is the state that the checkpoint certifies.
//! - *Liveness*: if some correct server keeps the state until all of it has been sent, and links
//!   deliver, the fetch ends, whatever the others do.
//! - *Parallel*: every server that answers is asked for other pieces; a piece is asked twice only
//!   when there is nothing else to ask for.
//! - *Bounded*: a server that serves holds a handful of questions of each peer, one of which is
//!   being read from its log.
//!
//! # Model
//! Any corruptible servers; asynchronous: nobody is given up for being slow.
//!
//! # Rules
//! - T1. Told to fetch a checkpoint: ask all others for its manifest. The first whose digest is the
//!   certified one is taken.
//! - T2. With the manifest: keep up to [`WINDOW`] chunks asked of each server, first those that
//!   nobody was asked for, then, from a server that has answered, those that others still owe.
//! - T3. A chunk is taken if it was asked of its sender and its digest stands in the manifest. Who
//!   sends another is blamed, and not asked again.
//! - T4. Who no longer has the state says so, and is not asked again. When no correct server need
//!   have it, and a later checkpoint has been told, change to that one, and keep the chunks that
//!   are the same.
//! - T5. Asked for a piece, look into the log, one piece of a peer at a time; who asks for a later
//!   state no longer waits for an earlier one.
//! - T6. Told that a peer may have lost messages, ask it again for what it owes.
//!
//! # Why it holds
//! *Liveness.* A correct server that has the state always owes a piece or has answered the last one
//! that it was asked for; then, by T2, it is asked for another, until none is missing.
//!
//! # Bounds
//! One state is being fetched, of at most [`CHUNKS_MAX`](crate::CHUNKS_MAX) chunks. [`WINDOW`]
//! questions are open at each server, and twice as many of each peer are held.
//!
//! # Sources
//! Chunks under a certified digest, from all replicas: Castro and Liskov (OSDI 2000), section 4;
//! Bessani et al., "On the efficiency of durable state machine replication" (USENIX ATC 2013).
//! Deviations: no designated replier and no time-outs; who is fast is asked for what others owe.

use crate::rejoin::Nonce;
use crate::snapshot::{Assembly, Chunk, Manifest};
use maftia_agreement::checkpoint::{Checkpoint, Mark};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{Bytes, wire_enum};
use maftia_base::{Context, Digest, Event, Fault, FaultKind, Party, PartySet, Protocol, Target};
use maftia_crypto::{Done, Suite, Work};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Chunks that are asked of one server at a time.
pub const WINDOW: usize = 4;

/// Questions of one peer that are held.
const QUESTIONS_MAX: usize = 2 * WINDOW;

/// A part of a certified state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// Its manifest.
    Manifest,
    /// The chunk with this number.
    Chunk(u32),
}

wire_enum!(Piece { 0 => Manifest, 1 => Chunk(index) });

/// What was found in the log.
#[derive(Clone, Debug)]
pub enum Found<S: Suite> {
    /// A manifest.
    Manifest(Manifest<S>),
    /// A chunk.
    Chunk(Chunk),
}

/// What the layer above asks for.
#[derive(Clone, Debug)]
pub enum TransferCommand<S: Suite> {
    /// Fetch this state, which is certified. With `admission`, only if this server is admitted in
    /// it with that number.
    Fetch {
        /// Which.
        checkpoint: Checkpoint<S>,
        /// For a server that rejoins.
        admission: Option<Nonce>,
    },
    /// This server has reached that mark by itself.
    Reached(Mark),
    /// The answer to [`TransferOutcome::Recall`].
    Recalled {
        /// Who needs it.
        to: Party,
        /// Of which state.
        mark: Mark,
        /// Which part.
        piece: Piece,
        /// What the log has.
        found: Option<Found<S>>,
    },
}

/// What the layer above is told.
#[derive(Clone, Debug)]
pub enum TransferOutcome<S: Suite> {
    /// A peer needs a piece: read the log, answer [`TransferCommand::Recalled`].
    Recall {
        /// Who needs it.
        to: Party,
        /// Of which state.
        mark: Mark,
        /// Which part.
        piece: Piece,
    },
    /// In that state this server is not admitted yet.
    NotAdmitted,
    /// The whole state is here.
    Fetched {
        /// What it is.
        manifest: Manifest<S>,
        /// The state.
        state: Bytes,
    },
}

/// What peers exchange.
#[derive(Clone, Debug)]
pub enum TransferMessage<S: Suite> {
    /// "Send me this piece of the state at this mark."
    Want {
        /// Of which state.
        mark: Mark,
        /// Which part.
        piece: Piece,
    },
    /// The manifest of a state.
    Manifest(Manifest<S>),
    /// A chunk of a state.
    Chunk {
        /// Of which state.
        mark: Mark,
        /// Its number.
        index: u32,
        /// What it is.
        chunk: Chunk,
    },
    /// "I do not have that state."
    Gone(Mark),
}

wire_enum!(<S: Suite> TransferMessage<S> {
    0 => Want { mark, piece },
    1 => Manifest(manifest),
    2 => Chunk { mark, index, chunk },
    3 => Gone(mark),
});

/// Fetches states and serves them. See the module's documentation.
#[derive(Clone, Debug, Hash)]
pub struct Transfer<S: Suite> {
    fetching: Option<Fetching<S>>,
    /// A later checkpoint than the one that is being fetched. (T4)
    later: Option<(Checkpoint<S>, Option<Nonce>)>,
    /// Chunks of a state that was given up.
    spare: BTreeMap<Digest, Bytes>,
    /// Peers' questions: the first is being looked up.
    desks: BTreeMap<Party, VecDeque<(Mark, Piece)>>,
    /// Who sent what no honest server sends.
    liars: PartySet,
}

#[derive(Clone, Debug, Hash)]
struct Fetching<S: Suite> {
    checkpoint: Checkpoint<S>,
    admission: Option<Nonce>,
    assembly: Option<Assembly<S>>,
    /// What each server owes.
    owed: BTreeMap<Party, BTreeSet<Piece>>,
    /// Chunks from here on were asked of nobody.
    next: u32,
    /// Who does not have the state.
    without: PartySet,
}

impl<S: Suite> Default for Transfer<S> {
    fn default() -> Self {
        let (spare, desks) = (BTreeMap::new(), BTreeMap::new());
        Self { fetching: None, later: None, spare, desks, liars: PartySet::EMPTY }
    }
}

impl<S: Suite> Vocabulary for Transfer<S> {
    const NAME: &'static str = "transfer";
    type Command = TransferCommand<S>;
    type Outcome = TransferOutcome<S>;
    type Message = TransferMessage<S>;
    type Timer = Never;
    type Ticket = Never;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Never;
}

impl<S: Suite> Protocol for Transfer<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(TransferCommand::Fetch { checkpoint, admission }) => {
                self.on_fetch(checkpoint, admission, cx);
            }
            Event::Command(TransferCommand::Reached(mark)) => self.on_reached(mark, cx),
            Event::Command(TransferCommand::Recalled { to, mark, piece, found }) => {
                self.on_recalled(to, mark, piece, found, cx);
            }
            Event::Message { from, .. } if from == cx.group().me() => {}
            Event::Message { from, body } => match body {
                TransferMessage::Want { mark, piece } => self.on_want(from, mark, piece, cx),
                TransferMessage::Manifest(manifest) => self.on_manifest(from, manifest, cx),
                TransferMessage::Chunk { mark, index, chunk } => {
                    self.on_chunk(from, mark, index, chunk, cx);
                }
                TransferMessage::Gone(mark) => self.on_gone(from, mark, cx),
            },
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
            Event::Resumed => {}
            Event::Timer(never) | Event::Restore(never) => match never {},
            Event::Done { ticket, .. } => match ticket {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        let desks: usize = self.desks.values().map(VecDeque::len).sum();
        let owed = |fetching: &Fetching<S>| fetching.owed.values().map(BTreeSet::len).sum();
        desks + self.fetching.as_ref().map_or(0, owed)
    }
}

impl<S: Suite> Transfer<S> {
    /// How much of the state that is being fetched is here: chunks, of how many. `None` if nothing
    /// is being fetched.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let assembly = self.fetching.as_ref()?.assembly.as_ref();
        Some(assembly.map_or((0, 0), |assembly| (assembly.present(), assembly.len())))
    }

    /// T1, T4.
    fn on_fetch(
        &mut self,
        checkpoint: Checkpoint<S>,
        admission: Option<Nonce>,
        cx: &mut impl Context<Self>,
    ) {
        if let Some(fetching) = &self.fetching {
            if fetching.checkpoint.mark >= checkpoint.mark {
                return;
            }
            if fetching.assembly.is_some() && self.can_be_had(cx) {
                self.later = Some((checkpoint, admission));
                return;
            }
        }
        self.give_up();
        let mark = checkpoint.mark;
        let mut owed: BTreeMap<Party, BTreeSet<Piece>> = BTreeMap::new();
        for peer in cx.group().others().difference(self.liars).iter() {
            owed.insert(peer, BTreeSet::from([Piece::Manifest]));
            cx.send(Target::One(peer), TransferMessage::Want { mark, piece: Piece::Manifest });
        }
        let (assembly, without) = (None, PartySet::EMPTY);
        let fetching = Fetching { checkpoint, admission, assembly, owed, next: 0, without };
        self.fetching = Some(fetching);
    }

    /// Fetches no more what is being fetched, but keeps its chunks. (T4)
    fn give_up(&mut self) {
        self.later = None;
        let assembly = self.fetching.take().and_then(|fetching| fetching.assembly);
        if let Some(assembly) = assembly {
            self.spare = assembly.into_present().collect();
        }
    }

    fn on_reached(&mut self, mark: Mark, cx: &mut impl Context<Self>) {
        let later = self.later.take_if(|(later, _)| later.mark > mark);
        if self.fetching.as_ref().is_some_and(|fetching| fetching.checkpoint.mark <= mark) {
            (self.fetching, self.spare) = (None, BTreeMap::new());
            if let Some((checkpoint, admission)) = later {
                self.on_fetch(checkpoint, admission, cx);
            }
        } else {
            self.later = later;
        }
    }

    /// T1, T2.
    fn on_manifest(&mut self, from: Party, manifest: Manifest<S>, cx: &mut impl Context<Self>) {
        let Some(fetching) = &mut self.fetching else { return };
        let owed = fetching.owed.get_mut(&from);
        if manifest.mark() != fetching.checkpoint.mark
            || !owed.is_some_and(|owed| owed.remove(&Piece::Manifest))
        {
            return;
        }
        let certified = fetching.checkpoint.digest;
        if canary!("transfer-manifest-unchecked", false, manifest.digest() != certified) {
            return self.distrust(from, cx);
        }
        if fetching.assembly.is_none() {
            let me = cx.group().me();
            let suits = |nonce: Nonce| {
                manifest.admitted.iter().any(|one| (one.party, one.nonce) == (me, nonce))
            };
            let is_admitted = fetching.admission.is_none_or(suits);
            if canary!("rejoin-without-admission", false, !is_admitted) {
                // Not yet admitted there: a later state is waited for.
                self.fetching = None;
                return cx.output(TransferOutcome::NotAdmitted);
            }
            let mut assembly = Assembly::new(manifest);
            let spare = std::mem::take(&mut self.spare);
            let digests = assembly.manifest.chunks.clone();
            for (index, digest) in (0..).zip(digests.iter()) {
                if let Some(chunk) = spare.get(digest) {
                    let fits = assembly.put(index, chunk.clone());
                    assert!(fits, "it was kept under its digest");
                }
            }
            fetching.assembly = Some(assembly);
        }
        self.go_on(cx);
    }

    /// Asks for more, or tells that nothing is missing. (T2)
    fn go_on(&mut self, cx: &mut impl Context<Self>) {
        let Some(fetching) = &mut self.fetching else { return };
        let Some(assembly) = fetching.assembly.take_if(|assembly| assembly.is_complete()) else {
            let able = cx.group().others().difference(self.liars.union(fetching.without));
            return able.iter().for_each(|peer| fetching.ask(peer, cx));
        };
        let (manifest, state) = assembly.finish().expect("nothing is missing");
        let mark = manifest.mark();
        cx.output(TransferOutcome::Fetched { manifest, state });
        self.on_reached(mark, cx);
    }

    /// T3.
    fn on_chunk(
        &mut self,
        from: Party,
        mark: Mark,
        index: u32,
        chunk: Chunk,
        cx: &mut impl Context<Self>,
    ) {
        let Some(fetching) = self.fetching.as_mut().filter(|it| it.checkpoint.mark == mark) else {
            return;
        };
        let owed = fetching.owed.get_mut(&from);
        if !owed.is_some_and(|owed| owed.remove(&Piece::Chunk(index))) {
            return;
        }
        let Some(assembly) = &mut fetching.assembly else { return };
        match assembly.put(index, chunk.into_bytes()) {
            true => self.go_on(cx),
            false => self.distrust(from, cx),
        }
    }

    fn distrust(&mut self, liar: Party, cx: &mut impl Context<Self>) {
        self.liars.insert(liar);
        cx.blame(Fault::suspected(liar, FaultKind::InvalidValue));
        self.fetching.iter_mut().for_each(|fetching| drop(fetching.owed.remove(&liar)));
        self.go_on(cx);
    }

    /// T4.
    fn on_gone(&mut self, from: Party, mark: Mark, cx: &mut impl Context<Self>) {
        let Some(fetching) = self.fetching.as_mut().filter(|it| it.checkpoint.mark == mark) else {
            return;
        };
        fetching.without.insert(from);
        fetching.owed.remove(&from);
        let may_change = !self.can_be_had(cx);
        match self.later.take_if(|_| may_change) {
            Some((checkpoint, admission)) => self.on_fetch(checkpoint, admission, cx),
            None => self.go_on(cx),
        }
    }

    /// May a correct server have what is being fetched? Those that have it do not say otherwise.
    fn can_be_had(&self, cx: &mut impl Context<Self>) -> bool {
        let without = self.fetching.as_ref().map_or(PartySet::EMPTY, |it| it.without);
        let left = cx.group().others().difference(without.union(self.liars));
        cx.group().structure().has_honest(left)
    }

    /// T6.
    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let Some(fetching) = &self.fetching else { return };
        let mark = fetching.checkpoint.mark;
        for piece in fetching.owed.get(&peer).into_iter().flatten() {
            cx.send(Target::One(peer), TransferMessage::Want { mark, piece: *piece });
        }
    }

    /// T5.
    fn on_want(&mut self, from: Party, mark: Mark, piece: Piece, cx: &mut impl Context<Self>) {
        let desk = self.desks.entry(from).or_default();
        // What it asked for earlier states it no longer waits for; the first is being looked up.
        let mut place = 0;
        desk.retain(|(asked, _)| {
            place += 1;
            place == 1 || *asked >= mark
        });
        if desk.contains(&(mark, piece)) || desk.len() >= QUESTIONS_MAX {
            return;
        }
        desk.push_back((mark, piece));
        if desk.len() == 1 {
            cx.output(TransferOutcome::Recall { to: from, mark, piece });
        }
    }

    /// T5.
    fn on_recalled(
        &mut self,
        to: Party,
        mark: Mark,
        piece: Piece,
        found: Option<Found<S>>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(desk) = self.desks.get_mut(&to).filter(|it| it.front() == Some(&(mark, piece)))
        else {
            return;
        };
        desk.pop_front();
        let body = match (piece, found) {
            (Piece::Manifest, Some(Found::Manifest(manifest))) => {
                TransferMessage::Manifest(manifest)
            }
            (Piece::Chunk(index), Some(Found::Chunk(chunk))) => {
                TransferMessage::Chunk { mark, index, chunk }
            }
            _ => TransferMessage::Gone(mark),
        };
        cx.send(Target::One(to), body);
        match desk.front() {
            Some(&(mark, piece)) => cx.output(TransferOutcome::Recall { to, mark, piece }),
            None => drop(self.desks.remove(&to)),
        }
    }
}

impl<S: Suite> Fetching<S> {
    /// Keeps `peer` busy. (T2)
    fn ask(&mut self, peer: Party, cx: &mut impl Context<Transfer<S>>) {
        let mark = self.checkpoint.mark;
        let Some(assembly) = &self.assembly else { return };
        let end = assembly.len() as u32;
        loop {
            let owed = self.owed.entry(peer).or_default();
            if owed.len() >= WINDOW {
                return;
            }
            while self.next < end && !assembly.lacks(self.next) {
                self.next += 1;
            }
            let index = if self.next < end {
                self.next += 1;
                Some(self.next - 1)
            } else if owed.is_empty() {
                self.owed_elsewhere(peer)
            } else {
                None
            };
            let Some(index) = index else { return };
            let piece = Piece::Chunk(index);
            self.owed.entry(peer).or_default().insert(piece);
            cx.send(Target::One(peer), TransferMessage::Want { mark, piece });
        }
    }

    /// A missing chunk that the fewest servers owe, and not this one.
    fn owed_elsewhere(&self, peer: Party) -> Option<u32> {
        let assembly = self.assembly.as_ref()?;
        let debtors = |index: u32| {
            let owes = |owed: &&BTreeSet<Piece>| owed.contains(&Piece::Chunk(index));
            self.owed.values().filter(owes).count()
        };
        let owes = |index: &u32| {
            self.owed.get(&peer).is_some_and(|owed| owed.contains(&Piece::Chunk(*index)))
        };
        let missing = (0..assembly.len() as u32).filter(|index| assembly.lacks(*index));
        missing.filter(|index| !owes(index)).min_by_key(|index| debtors(*index))
    }
}
