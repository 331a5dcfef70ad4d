//! R1 to R9, as whoever listens understands them.

use super::{Binary, coin_name};
use crate::check::{Complaint, Monitor, ensure};
use crate::protocols::Heard;
use crate::world::{Court, DrillSuite};
use maftia_agreement::binary::{Command, Message, Outcome};
use maftia_base::{Party, PartySet};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// What each server has heard.
pub struct Reasons<S> {
    asked: BTreeSet<(Party, bool)>,
    vals: Heard<(u16, bool)>,
    echoes: Heard<(u16, bool)>,
    votes: Heard<(u16, Option<bool>)>,
    dones: Heard<bool>,
    /// Who said what first: later contradictions do not count.
    first: BTreeMap<(Party, Party, u16, u8), u8>,
    coins: BTreeMap<u16, bool>,
    suite: PhantomData<S>,
}

impl<S: DrillSuite> Reasons<S> {
    fn is_first(&mut self, by: Party, from: Party, round: u16, kind: u8, value: u8) -> bool {
        *self.first.entry((by, from, round, kind)).or_insert(value) == value
    }

    fn approved(&self, by: Party, round: u16, bit: bool, court: &Court<S>) -> bool {
        court.quorums.is_strong(self.vals.from(by, (round, bit)))
    }

    fn both_approved(&self, by: Party, round: u16, court: &Court<S>) -> bool {
        [false, true].into_iter().all(|bit| self.approved(by, round, bit, court))
    }

    fn voters(&self, by: Party, round: u16) -> PartySet {
        [None, Some(false), Some(true)]
            .into_iter()
            .fold(PartySet::EMPTY, |all, vote| all.union(self.votes.from(by, (round, vote))))
    }

    /// May `by` have this result of a round?
    fn has_result(&self, by: Party, round: u16, result: Option<bool>, court: &Court<S>) -> bool {
        match result {
            Some(_) => court.quorums.is_quorum(self.votes.from(by, (round, result))),
            None => {
                self.both_approved(by, round, court)
                    && court.quorums.is_quorum(self.voters(by, round))
            }
        }
    }

    fn has_any_result(&self, by: Party, round: u16, court: &Court<S>) -> bool {
        [None, Some(false), Some(true)]
            .into_iter()
            .any(|result| self.has_result(by, round, result, court))
    }

    fn coin(&mut self, round: u16, court: &Court<S>) -> bool {
        match round {
            0 => true,
            1 => false,
            _ => *self
                .coins
                .entry(round)
                .or_insert_with(|| court.coin(coin_name(court.scope, round)).0[0] & 1 == 1),
        }
    }

    /// May `by` enter this round with this estimate?
    fn may_enter(&mut self, by: Party, round: u16, bit: bool, court: &Court<S>) -> bool {
        let Some(last) = round.checked_sub(1) else { return self.asked.contains(&(by, bit)) };
        self.has_result(by, last, Some(bit), court)
            || (self.has_result(by, last, None, court) && self.coin(last, court) == bit)
    }

    fn may_decide(&mut self, by: Party, bit: bool, court: &Court<S>) -> bool {
        let rounds = maftia_agreement::binary::ROUNDS_MAX;
        court.quorums.has_honest(self.dones.from(by, bit))
            || (0..rounds).any(|round| {
                self.has_result(by, round, Some(bit), court) && self.coin(round, court) == bit
            })
    }
}

impl<S: DrillSuite> Monitor<Binary<S>> for Reasons<S> {
    fn new(_: &Binary<S>) -> Self {
        Self {
            asked: BTreeSet::new(),
            vals: Heard::default(),
            echoes: Heard::default(),
            votes: Heard::default(),
            dones: Heard::default(),
            first: BTreeMap::new(),
            coins: BTreeMap::new(),
            suite: PhantomData,
        }
    }

    fn ordered(&mut self, by: Party, Command::Propose(bit): &Command) {
        self.asked.insert((by, *bit));
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<S>, _: &Court<S>) {
        match said {
            Message::Val(round, bit) => self.vals.note(by, from, (round.0, *bit)),
            Message::Echo(round, bit) => {
                if self.is_first(by, from, round.0, 1, u8::from(*bit)) {
                    self.echoes.note(by, from, (round.0, *bit));
                }
            }
            Message::Vote(round, vote) => {
                if self.is_first(by, from, round.0, 2, vote.map_or(2, u8::from)) {
                    self.votes.note(by, from, (round.0, *vote));
                }
            }
            Message::Coin(..) => {}
            Message::Done(bit, _) => {
                if self.is_first(by, from, 0, 3, u8::from(*bit)) {
                    self.dones.note(by, from, *bit);
                }
            }
        }
    }

    fn restarted(&mut self, by: Party) {
        self.first.retain(|(at, ..), _| *at != by);
    }

    fn says(
        &mut self,
        by: Party,
        _: Party,
        said: &Message<S>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let (checker, holds) = match said {
            Message::Val(round, bit) => (
                "justified",
                court.quorums.has_honest(self.vals.from(by, (round.0, *bit)))
                    || self.may_enter(by, round.0, *bit, court),
            ),
            Message::Echo(round, bit) => ("justified", self.approved(by, round.0, *bit, court)),
            Message::Vote(round, Some(bit)) => {
                let echoed = self.echoes.from(by, (round.0, *bit));
                ("justified", court.quorums.is_quorum(echoed))
            }
            Message::Vote(round, None) => ("justified", self.both_approved(by, round.0, court)),
            // Before its sender has a result, the round's bit may not be bound yet.
            Message::Coin(round, _) => {
                ("secrecy", round.0 >= 2 && self.has_any_result(by, round.0, court))
            }
            Message::Done(bit, _) => ("justified", self.may_decide(by, *bit, court)),
        };
        ensure(holds, checker, || format!("{by} says {said:?} without having heard enough"))
    }

    fn told(&mut self, by: Party, told: &Outcome<S>, court: &Court<S>) -> Result<(), Complaint> {
        let holds = match told {
            Outcome::Decided(bit) => self.may_decide(by, *bit, court),
            Outcome::Certified(decision) => {
                court.quorums.is_strong(self.dones.from(by, decision.value))
            }
        };
        ensure(holds, "justified", || format!("{by} is told {told:?} without a reason"))
    }
}
