//! The binary agreement of Mostefaoui, Moumen and Raynal (PODC 2014) as it was first published, for
//! four servers of which one may be corrupt.
//!
//! Its coin can be known while a server may still be made to hold either value: whoever orders
//! messages by the coin keeps it from ever deciding (Tholoniat, Gramoli 2019). Never to be used.

use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Event, Party, PartySet, Protocol, Target};
use maftia_crypto::ideal::IdealCoinShare;
use maftia_crypto::{Done, IdealSuite, SignedShare, Work};
use std::collections::BTreeMap;

/// A share of a round's coin.
pub(super) type Share = SignedShare<IdealSuite, IdealCoinShare>;

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// An estimate of a round, or the support of one.
    Est(u64, bool),
    /// A value that was seen supported by enough.
    Aux(u64, bool),
    /// Of the round's coin.
    Coin(u64, Share),
}

/// One agreement.
#[derive(Clone, Debug, Default, Hash)]
pub struct Mmr {
    estimate: bool,
    /// The round, once something was proposed.
    pub round: Option<u64>,
    rounds: BTreeMap<u64, Round>,
    decided: bool,
}

#[derive(Clone, Debug, Default, Hash)]
struct Round {
    supporters: [PartySet; 2],
    said: [bool; 2],
    /// Supported by enough, in order.
    values: Vec<bool>,
    has_voted: bool,
    votes: BTreeMap<Party, bool>,
    /// What the votes were when there were enough of them.
    seen: Option<Vec<bool>>,
    shares: BTreeMap<Party, Share>,
    is_combining: bool,
    coin: Option<bool>,
}

/// One corrupt server of four.
const F: usize = 1;

impl Vocabulary for Mmr {
    const NAME: &'static str = "mmr";
    type Command = bool;
    type Outcome = bool;
    type Message = Said;
    type Timer = Never;
    /// Round, and whether it is a combination.
    type Ticket = (u64, bool);
    type Work = Work<IdealSuite>;
    type Done = Done<IdealSuite>;
    type Record = ();
}

impl Protocol for Mmr {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(bit) if self.round.is_none() => {
                self.estimate = bit;
                self.enter(0, cx);
            }
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Done { ticket: (round, _), done: Done::CoinShare(share) } => {
                cx.send(Target::All, Said::Coin(round, share));
            }
            Event::Done { ticket: (round, _), done: Done::Coin { value, .. } } => {
                let entry = self.rounds.entry(round).or_default();
                entry.is_combining = false;
                entry.coin = value.map(|value| value.0[0] & 1 == 1);
            }
            _ => {}
        }
        while self.advance(cx) {}
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}

impl Mmr {
    fn enter(&mut self, round: u64, cx: &mut impl Context<Self>) {
        self.round = Some(round);
        self.support(round, self.estimate, cx);
    }

    fn support(&mut self, round: u64, bit: bool, cx: &mut impl Context<Self>) {
        let said = &mut self.rounds.entry(round).or_default().said[usize::from(bit)];
        if !std::mem::replace(said, true) {
            cx.send(Target::All, Said::Est(round, bit));
        }
    }

    fn on_message(&mut self, from: Party, body: Said, cx: &mut impl Context<Self>) {
        match body {
            Said::Est(round, bit) => {
                let entry = self.rounds.entry(round).or_default();
                entry.supporters[usize::from(bit)].insert(from);
                let count = entry.supporters[usize::from(bit)].len();
                if count > F {
                    self.support(round, bit, cx);
                }
                let entry = self.rounds.entry(round).or_default();
                if count > 2 * F && !entry.values.contains(&bit) {
                    entry.values.push(bit);
                    if !std::mem::replace(&mut entry.has_voted, true) {
                        cx.send(Target::All, Said::Aux(round, bit));
                    }
                }
            }
            Said::Aux(round, bit) => {
                self.rounds.entry(round).or_default().votes.entry(from).or_insert(bit);
            }
            Said::Coin(round, share) => {
                self.rounds.entry(round).or_default().shares.entry(from).or_insert(share);
            }
        }
    }

    /// Takes one step in the present round, if one is due.
    fn advance(&mut self, cx: &mut impl Context<Self>) -> bool {
        let Some(number) = self.round else { return false };
        let name = cx.scope().child("mmr coin", number);
        let round = self.rounds.entry(number).or_default();
        let Some(seen) = round.seen.clone() else {
            let votes = round.votes.values().filter(|bit| round.values.contains(bit));
            let votes: Vec<bool> = votes.copied().collect();
            if votes.len() < cx.group().n() - F {
                return false;
            }
            round.seen = Some(votes);
            cx.offload((number, false), Work::CoinShare(name));
            return true;
        };
        let Some(coin) = round.coin else {
            if round.shares.len() > F && !std::mem::replace(&mut round.is_combining, true) {
                let shares = round.shares.iter().map(|(party, share)| (*party, share.clone()));
                let shares = shares.collect();
                cx.offload((number, true), Work::CombineCoin { name, shares });
            }
            return false;
        };
        let is_single = seen.iter().all(|bit| *bit == seen[0]);
        self.estimate = if is_single { seen[0] } else { coin };
        if is_single && seen[0] == coin && !std::mem::replace(&mut self.decided, true) {
            cx.output(coin);
        }
        self.enter(number + 1, cx);
        true
    }
}
