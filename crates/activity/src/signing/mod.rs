//! Threshold signatures on what the services want signed: shares go to one collector.
//!
//! # Promise
//! - *Result*: a correct collector that every correct server was told of gets the signature.
//! - *Unforgeable*: a signature exists only on what an honest server was told to sign.
//! - *Blame*: a share that fails its proof convicts its signer; an honest server is never blamed.
//!
//! # Model
//! Corruptible sets are unqualified to sign, and the complement of each is qualified. That an
//! honest server took part does not mean that shares combine, so combining waits for
//! [`Formula::is_qualified`](maftia_base::Formula::is_qualified).
//!
//! # Rules
//! - T1. Told of a signature at a position, every server makes its share, without a proof, and
//!   sends it to the collector, or to all if all collect: n shares a signature in all.
//! - T2. The collector combines as soon as the shares are qualified, and checks the result once.
//! - T3. If that fails, it asks the combined ones for their shares with proofs, combines only
//!   those, and from then on uses nothing of a server whose share was found bad.
//! - T4. A share that is wanted is sent, once it can be made; another server may become a
//!   collector at any later time, and asks everybody.
//! - T5. Reconnected to a peer, a collector asks it for what it lacks; and a server tells the peer
//!   that shares may have been lost, so that it asks: for what it collects now, and for what it
//!   will collect when it has come as far as that server was.
//!
//! # Bounds
//! [`SIGNATURES_MAX`] signatures can still be asked for; [`COLLECTING_MAX`] are collected at a
//! time;
//! [`EARLY_SHARES_MAX`] shares of a peer are kept for positions not reached here, and what is
//! beyond is asked for when its position comes. Messages: n shares a signature, 2n more after a
//! failure.
//!
//! # Sources
//! Shoup, "Practical threshold signatures" (Eurocrypt 2000). Deviation: proofs are made and checked
//! only after an optimistic combination failed, since they cost more than the shares.

mod collect;
mod message;

pub use message::{Collectors, SigningCommand, SigningMessage, SigningOutcome, SigningTicket};

use collect::Collection;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Event, Fault, Party, PartySet, Protocol, Target};
use maftia_crypto::{Done, KeyId, SignedShare, SigningInput, Suite, Work};
use std::collections::{BTreeMap, BTreeSet};

/// Signatures that can still be asked for.
pub const SIGNATURES_MAX: usize = 8192;

/// Signatures that are collected at the same time.
pub const COLLECTING_MAX: usize = 1024;

/// Shares of one peer that are kept for positions that were not reached here yet.
pub const EARLY_SHARES_MAX: usize = 1024;

/// Open questions of one peer: a collector never has more.
const WANTS_MAX: usize = 2 * COLLECTING_MAX;

/// A share as it travels.
type Share<S> = SignedShare<S, <S as Suite>::SignatureShare>;

/// What is to be signed, and this server's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Recent<S: Suite> {
    key: KeyId,
    input: SigningInput,
    collectors: Option<Collectors>,
    plain: Own<S>,
    proven: Own<S>,
}

/// This server's own share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Own<S: Suite> {
    Unmade,
    Making,
    Made(Share<S>),
}

/// Makes, collects and combines signature shares. See the module's documentation.
#[derive(Clone, Debug, Hash)]
pub struct ThresholdSigning<S: Suite> {
    recent: BTreeMap<u64, Recent<S>>,
    /// Positions below were reached.
    next: u64,
    collections: BTreeMap<u64, Collection<S>>,
    signatures: BTreeMap<u64, maftia_base::wire::Bytes>,
    early: BTreeMap<Party, BTreeMap<u64, (bool, Share<S>)>>,
    /// The highest position for which an early share of the peer may be missing.
    overflowed: BTreeMap<Party, u64>,
    wants: BTreeMap<Party, BTreeSet<(u64, bool)>>,
    /// Whose share was found bad: certainly corrupt.
    bad: PartySet,
}

impl<S: Suite> Default for ThresholdSigning<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Suite> ThresholdSigning<S> {
    /// Nothing to sign yet.
    pub fn new() -> Self {
        Self {
            recent: BTreeMap::new(),
            next: 0,
            collections: BTreeMap::new(),
            signatures: BTreeMap::new(),
            early: BTreeMap::new(),
            overflowed: BTreeMap::new(),
            wants: BTreeMap::new(),
            bad: PartySet::EMPTY,
        }
    }

    /// Positions from here on were not told yet.
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// Is the signature at `position` being collected here?
    pub fn is_collecting(&self, position: u64) -> bool {
        self.collections.contains_key(&position)
    }

    /// The signature at `position`, if this server has it.
    pub fn signature(&self, position: u64) -> Option<&maftia_base::wire::Bytes> {
        self.signatures.get(&position)
    }
}

impl<S: Suite> Vocabulary for ThresholdSigning<S> {
    const NAME: &'static str = "signing";
    type Command = SigningCommand;
    type Outcome = SigningOutcome;
    type Message = SigningMessage<S>;
    type Timer = Never;
    type Ticket = SigningTicket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Never;
}

impl<S: Suite> Protocol for ThresholdSigning<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(command) => self.on_command(command, cx),
            Event::Message { from, body } => match body {
                SigningMessage::Share { position, proven, share } => {
                    self.on_share(from, position, proven, share, cx);
                }
                SigningMessage::Want { position, proven } => {
                    self.on_want(from, position, proven, cx);
                }
                SigningMessage::Lost { below } => {
                    if let Some(upto) = below.checked_sub(1) {
                        self.may_lack(from, upto);
                    }
                    self.ask_for_missing(from, cx);
                }
            },
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Reconnected(peer) => {
                self.ask_for_missing(peer, cx);
                cx.send(Target::One(peer), SigningMessage::Lost { below: self.next });
            }
            Event::Resumed => {}
            Event::Timer(never) | Event::Restore(never) => match never {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        let early: usize = self.early.values().map(BTreeMap::len).sum();
        let wants: usize = self.wants.values().map(BTreeSet::len).sum();
        early + wants + self.recent.len() + self.collections.len() + self.signatures.len()
    }

    fn capacity(&self) -> usize {
        COLLECTING_MAX - self.collections.len()
    }
}

impl<S: Suite> ThresholdSigning<S> {
    fn on_command(&mut self, command: SigningCommand, cx: &mut impl Context<Self>) {
        match command {
            SigningCommand::Remember { position, key, input } => {
                self.remember(position, key, input, None, cx);
            }
            SigningCommand::Sign { position, key, input, collectors } => {
                self.remember(position, key, input, Some(collectors), cx);
                self.make(position, false, cx);
                self.answer_early_wants(position, cx);
                if collectors.include(cx.group().me()) {
                    self.collect(position, cx);
                }
            }
            SigningCommand::Collect { position } => self.collect_again(position, cx),
        }
    }

    fn remember(
        &mut self,
        position: u64,
        key: KeyId,
        input: SigningInput,
        collectors: Option<Collectors>,
        cx: &mut impl Context<Self>,
    ) {
        assert!(position >= self.next, "positions are told in ascending order");
        self.next = position + 1;
        let recent = Recent { key, input, collectors, plain: Own::Unmade, proven: Own::Unmade };
        self.recent.insert(position, recent);
        if self.recent.len() > SIGNATURES_MAX {
            let (oldest, _) = self.recent.pop_first().expect("just found too many");
            for wants in self.wants.values_mut() {
                wants.retain(|(position, _)| *position > oldest);
            }
            // The others have forgotten it as well, or will before they can answer.
            if self.collections.remove(&oldest).is_some() {
                cx.output(SigningOutcome::Unavailable { position: oldest });
            }
        }
    }

    /// Makes this server's share, unless it is made or under way. (T1, T4)
    fn make(&mut self, position: u64, with_proof: bool, cx: &mut impl Context<Self>) {
        let Some(recent) = self.recent.get_mut(&position) else { return };
        let own = if with_proof { &mut recent.proven } else { &mut recent.plain };
        if *own != Own::Unmade {
            return;
        }
        *own = Own::Making;
        let (key, input) = (recent.key, recent.input.clone());
        let ticket = SigningTicket::Share { position, proven: with_proof };
        cx.offload(ticket, Work::SignatureShare { key, input, with_proof });
    }

    fn on_done(&mut self, ticket: SigningTicket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (SigningTicket::Share { position, proven }, Done::SignatureShare(share)) => {
                self.on_own_share(position, proven, share, cx);
            }
            (
                SigningTicket::Combine { position },
                Done::Signature { signature, faults, unproven },
            ) => match signature {
                Some(signature) => self.on_signature(position, signature, faults, cx),
                None => self.on_combination_failed(position, faults, unproven, cx),
            },
            (ticket, done) => panic!("{ticket:?} is not answered by {done:?}"),
        }
    }

    /// This server's share is made: sends it to whoever is to have it. (T1, T4)
    fn on_own_share(
        &mut self,
        position: u64,
        proven: bool,
        share: Share<S>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(recent) = self.recent.get_mut(&position) else { return };
        let own = if proven { &mut recent.proven } else { &mut recent.plain };
        *own = Own::Made(share.clone());
        let mut to = PartySet::EMPTY;
        if let (false, Some(collectors)) = (proven, recent.collectors) {
            to = cx.group().parties().iter().filter(|party| collectors.include(*party)).collect();
        }
        for (party, wants) in &mut self.wants {
            if wants.remove(&(position, proven)) {
                to.insert(*party);
            }
        }
        for party in to.iter() {
            let share = share.clone();
            cx.send(Target::One(party), SigningMessage::Share { position, proven, share });
        }
    }

    /// A peer wants this server's share. (T4)
    fn on_want(&mut self, from: Party, position: u64, proven: bool, cx: &mut impl Context<Self>) {
        if let Some(recent) = self.recent.get(&position) {
            let own = if proven { &recent.proven } else { &recent.plain };
            if let Own::Made(share) = own {
                let share = share.clone();
                let body = SigningMessage::Share { position, proven, share };
                return cx.send(Target::One(from), body);
            }
        } else if position < self.next {
            return;
        }
        let wants = self.wants.entry(from).or_default();
        if wants.len() < WANTS_MAX {
            wants.insert((position, proven));
            self.make(position, proven, cx);
        }
    }

    fn answer_early_wants(&mut self, position: u64, cx: &mut impl Context<Self>) {
        if self.wants.values().any(|wants| wants.contains(&(position, true))) {
            self.make(position, true, cx);
        }
        let reached = self.next;
        let recent = &self.recent;
        for wants in self.wants.values_mut() {
            wants.retain(|(position, _)| *position >= reached || recent.contains_key(position));
        }
    }

    fn blame(&mut self, fault: Fault, cx: &mut impl Context<Self>) {
        self.bad.insert(fault.culprit);
        cx.blame(fault);
    }
}
