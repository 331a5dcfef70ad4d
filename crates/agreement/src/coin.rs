//! A common coin: 256 bits that nobody can predict before an honest server tosses it.
//!
//! # Promise
//!
//! - *Agreement.* All honest servers, and everyone who checks a proof, get the same bits.
//! - *Unpredictability.* Before the first honest server tosses, the bits look random to everyone.
//! - *Termination.* If all honest servers toss, all get the coin.
//! - *Transfer.* A [`CoinProof`] shows the bits to anyone who knows the group's public keys.
//!
//! The name of the coin is the scope of the instance; each name has one value.
//!
//! # Model
//!
//! Any adversary structure with a formula that shares the coin's secret over it, asynchronous
//! authenticated links with eventual delivery in the sense of [`maftia_base::protocol`]; restart
//! with the log. Unpredictability is that of the suite's coin: for Cachin-Kursawe-Shoup, under
//! static corruption.
//!
//! # Rules
//!
//! - R1. On the command, make the share of this coin and send it to all.
//! - R2. Hold the first share of each server; ignore others.
//! - R3. Once tossed, and once those whose shares are not known to be bad are qualified: check and
//!   combine them, one combination at a time.
//! - R4. Drop bad shares for ever and blame their senders; with more shares, try again.
//! - R5. Upon a peer's reconnection: send it our share again.
//!
//! R3 asks the sharing formula, not for an honest server: over general structures some sets that
//! have one can't combine. The honest servers are qualified (checked when a group is configured),
//! and every failed combination loses a bad share, so R3 and R4 end with the coin.
//!
//! # Bounds
//!
//! `n^2` messages, one delay; at most `n` shares held; at most one combination more than there are
//! bad shares. No durable wait: that a server tossed is noted, and losing the note costs nothing
//! but a second command, which the layer above gives if it still wants the coin. Which shares were
//! sent never needs to be remembered, because a server has but one share of a coin.
//!
//! # Sources
//!
//! C. Cachin, K. Kursawe, V. Shoup, "Random oracles in Constantinople", 2000.

use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{List, wire_enum, wire_struct};
use maftia_base::{
    Context, Digest, Event, Group, PARTIES_MAX, Party, PartySet, Protocol, Scope, Target,
};
use maftia_crypto::{Done, SignedShare, Suite, Work};
use std::collections::BTreeMap;

/// One coin.
#[derive(Clone, Debug, Default, Hash)]
pub struct CommonCoin<S: Suite> {
    tossed: bool,
    own: Option<Share<S>>,
    /// First shares by party, without those found bad.
    shares: BTreeMap<Party, Share<S>>,
    bad: PartySet,
    /// The parties whose shares are being combined.
    combining: Option<PartySet>,
    value: Option<(Digest, CoinProof<S>)>,
}

/// A share of the coin.
pub type Share<S> = SignedShare<S, <S as Suite>::CoinShare>;

/// What the layer above asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Reveal our share, and tell the coin. Repeating it is harmless.
    Toss,
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<S: Suite> {
    /// The coin, and what convinces others. Told once, and once more in every replay of the log.
    Tossed(Digest, CoinProof<S>),
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<S: Suite> {
    /// The sender's share.
    Share(Share<S>),
}

wire_enum!(<S: Suite> Message<S> { 0 => Share(share) });

/// What is worth remembering over a crash; nothing must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<S: Suite> {
    /// That we toss.
    Tossed,
    /// The coin.
    Value(Digest, CoinProof<S>),
}

wire_enum!(<S: Suite> Record<S> { 0 => Tossed, 1 => Value(value, proof) });

/// Names of pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ticket {
    /// Making our share.
    Share,
    /// Combining.
    Combine,
}

/// Shares that make a coin, for anyone to check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CoinProof<S: Suite> {
    shares: List<PartyShare<S>, PARTIES_MAX>,
}

wire_struct!(<S: Suite> CoinProof<S> { shares });

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PartyShare<S: Suite> {
    party: Party,
    share: Share<S>,
}

wire_struct!(<S: Suite> PartyShare<S> { party, share });

impl<S: Suite> CoinProof<S> {
    /// Whose shares it consists of; `None` if somebody's are there twice.
    pub fn parties(&self) -> Option<PartySet> {
        let mut parties = PartySet::EMPTY;
        self.shares.iter().all(|item| parties.insert(item.party)).then_some(parties)
    }

    /// The work of finding the value that it proves for the coin `name`; `None` if it can't prove
    /// any. Read the answer with [`proven`].
    pub fn verification(&self, group: &Group, name: Scope) -> Option<Work<S>> {
        let parties = self.parties()?;
        let suffices = parties.is_subset(group.parties()) && group.sharing().is_qualified(parties);
        let shares = self.shares.iter().map(|item| (item.party, item.share.clone())).collect();
        suffices.then_some(Work::CombineCoin { name, shares })
    }
}

/// The value that the proof behind `done`, the answer to [`CoinProof::verification`], proves.
pub fn proven<S: Suite>(done: &Done<S>) -> Option<Digest> {
    match done {
        Done::Coin { value, faults, .. } if faults.is_empty() => *value,
        _ => None,
    }
}

/// Most items that an instance holds in a group of `n`.
pub const fn footprint_max(n: usize) -> usize {
    n
}

impl<S: Suite> CommonCoin<S> {
    /// A coin that nobody has tossed yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S: Suite> Vocabulary for CommonCoin<S> {
    const NAME: &'static str = "coin";
    type Command = Command;
    type Outcome = Outcome<S>;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S>;
}

impl<S: Suite> Protocol for CommonCoin<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Toss) => self.on_toss(cx),
            Event::Message { from, body: Message::Share(share) } => self.on_share(from, share, cx),
            Event::Done { ticket: Ticket::Share, done: Done::CoinShare(share) } => {
                self.own = Some(share);
                self.emit(Target::All, cx);
            }
            Event::Done { ticket: Ticket::Combine, done: Done::Coin { value, good, faults } } => {
                for fault in faults {
                    self.drop_bad(fault.culprit);
                    cx.blame(fault);
                }
                self.on_combined(value, &good, cx);
            }
            Event::Done { ticket, done } => {
                panic!("the worker answered {ticket:?} with {done:?}")
            }
            Event::Restore(Record::Tossed) => self.tossed = true,
            Event::Restore(Record::Value(value, proof)) => {
                self.value = Some((value, proof.clone()));
                cx.output(Outcome::Tossed(value, proof));
            }
            Event::Resumed => {
                if canary!("coin-share-at-restart", true, self.tossed) {
                    cx.offload(Ticket::Share, Work::CoinShare(cx.scope()));
                }
            }
            Event::Reconnected(_) if canary!("coin-deaf-to-reconnection", true, false) => {}
            Event::Reconnected(peer) => self.emit(Target::One(peer), cx),
            Event::Timer(never) => match never {},
        }
    }

    /// True once the coin is known and our share is out. It still answers reconnections for as
    /// long as it is kept.
    fn is_settled(&self) -> bool {
        self.value.is_some() && self.own.is_some()
    }

    fn footprint(&self) -> usize {
        self.shares.len()
    }
}

impl<S: Suite> CommonCoin<S> {
    /// R1.
    fn on_toss(&mut self, cx: &mut impl Context<Self>) {
        if self.tossed {
            return;
        }
        self.tossed = true;
        cx.note(Record::Tossed);
        cx.offload(Ticket::Share, Work::CoinShare(cx.scope()));
        self.try_combine(cx);
    }

    /// R2. A second share is no fault: proofs may differ from one life of a server to the next.
    fn on_share(&mut self, from: Party, share: Share<S>, cx: &mut impl Context<Self>) {
        if self.value.is_some() || self.bad.contains(from) {
            return;
        }
        if canary!("coin-blames-second-share", self.shares.contains_key(&from), false) {
            cx.blame(maftia_base::Fault::suspected(from, maftia_base::FaultKind::Equivocation));
        }
        self.shares.entry(from).or_insert(share);
        self.try_combine(cx);
    }

    /// R4.
    fn drop_bad(&mut self, party: Party) {
        self.bad.insert(party);
        canary!("coin-keeps-bad-shares", (), drop(self.shares.remove(&party)));
    }

    fn on_combined(&mut self, value: Option<Digest>, good: &[Party], cx: &mut impl Context<Self>) {
        let combined = self.combining.take().expect("there is one combination at a time");
        let Some(value) = value else {
            let good: PartySet = good.iter().copied().collect();
            assert_ne!(good, combined, "what the group calls qualified, the keyring can combine");
            for liar in combined.difference(good).iter() {
                self.drop_bad(liar);
            }
            return self.try_combine(cx);
        };
        let shares = good
            .iter()
            .filter_map(|party| {
                let share = self.shares.get(party)?.clone();
                Some(PartyShare { party: *party, share })
            })
            .collect();
        let shares = List::new(shares).expect("at most one share a party");
        let proof = CoinProof { shares };
        self.value = Some((value, proof.clone()));
        self.shares.clear();
        cx.note(Record::Value(value, proof.clone()));
        cx.output(Outcome::Tossed(value, proof));
    }

    /// R3.
    fn try_combine(&mut self, cx: &mut impl Context<Self>) {
        let holders: PartySet = self.shares.keys().copied().collect();
        if canary!("coin-needs-everybody", holders.len() < cx.group().n(), false) {
            return;
        }
        let ready = self.tossed && self.value.is_none() && self.combining.is_none();
        let able = cx.group().sharing().is_qualified(holders);
        if !ready || !canary!("coin-combines-few", true, able) {
            return;
        }
        self.combining = Some(holders);
        let shares = self.shares.iter().map(|(party, share)| (*party, share.clone())).collect();
        cx.offload(Ticket::Combine, Work::CombineCoin { name: cx.scope(), shares });
    }

    /// R5, and R1 itself.
    fn emit(&self, to: Target, cx: &mut impl Context<Self>) {
        if let Some(share) = &self.own {
            cx.send(to, Message::Share(share.clone()));
        }
    }
}
