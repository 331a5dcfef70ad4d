//! The common coin.

use super::short;
use crate::adversary::{Brief, Cue, HandOf, Reacts, Says, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{CoinShareOf, Said, Seat, Stage, Told};
use crate::world::{Court, DrillSuite};
use maftia_agreement::coin::{Command, CommonCoin, Message, Outcome, footprint_max};
use maftia_base::{Group, Party, PartySet, Scope};
use maftia_crypto::{Done, Work};
use maftia_sim::{Adversary, Letter, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// One coin, which everybody tosses, or nobody does.
pub struct Coin<S> {
    /// Does anybody honest toss?
    pub is_wanted: bool,
    suite: PhantomData<S>,
}

type Adverse<S> = Box<dyn Adversary<CommonCoin<S>>>;

impl<S: DrillSuite> Stage for Coin<S> {
    type Suite = S;
    type Protocol = CommonCoin<S>;
    type Monitor = Reasons<S>;
    const NAME: &'static str = "coin";

    fn new(_: &Plan, random: &mut Random) -> Self {
        Self { is_wanted: !random.chance(100), suite: PhantomData }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        CommonCoin::new()
    }

    fn footprint_max(&self, n: usize) -> usize {
        footprint_max(n)
    }

    fn messages_max(&self, n: usize) -> Option<u64> {
        Some((n * n) as u64)
    }

    fn events_max(&self, n: usize) -> u64 {
        2_000 * n as u64
    }

    fn orders(&self, _: Party, _: usize) -> Vec<Command> {
        self.is_wanted.then_some(Command::Toss).into_iter().collect()
    }

    fn facts(&self, Outcome::Tossed(value, proof): &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        let prove = |name: Scope| proof_value(proof, court, name);
        let holds =
            prove(court.scope) == Some(*value) && prove(court.scope.child("other", 0)).is_none();
        vec![Fact::new(0, 0, short(value)).proven(holds)]
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        let due = self.is_wanted.then_some((0, 0)).into_iter().collect();
        let is_wanted = self.is_wanted;
        Goal { due, all_or_none: true, allows: Box::new(move |_, _| is_wanted) }
    }

    fn step(&self, _: &Said<Self>) -> u64 {
        0
    }

    fn coin_share(
        &self,
        Message::Share(share): &Said<Self>,
        scope: Scope,
    ) -> Option<CoinShareOf<Self>> {
        Some((0, scope, share.clone()))
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let other = seat.scope.child("other", random.below(3));
        let bad = seat.bad_share(letter.from, seat.scope);
        let elsewhere = seat.share(letter.from, other);
        match random.below(4) {
            0 => vec![Message::Share(bad)],
            1 => vec![Message::Share(elsewhere)],
            2 => vec![Message::Share(bad), Message::Share(seat.share(letter.from, seat.scope))],
            _ => {
                // The good share under the signature for another one.
                let mut mixed = seat.share(letter.from, seat.scope);
                mixed.signature = elsewhere.signature;
                vec![Message::Share(mixed)]
            }
        }
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        match random.below(3) {
            0 => Message::Share(seat.share(by, seat.scope)),
            1 => Message::Share(seat.bad_share(by, seat.scope)),
            _ => Message::Share(seat.share(by, seat.scope.child("other", 1))),
        }
    }

    fn spoilt_signature(&self, Message::Share(share): &Said<Self>) -> Option<Said<Self>> {
        let mut share = share.clone();
        share.signature = S::bad_signature();
        Some(Message::Share(share))
    }

    fn spoilt_share(&self, by: Party, _: &Said<Self>, seat: &Seat<Self>) -> Option<Said<Self>> {
        Some(Message::Share(seat.bad_share(by, seat.scope)))
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special {
                name: "withheld-shares",
                about: "gives its share only to one server",
                make: withheld,
            },
            Special {
                name: "early-shares",
                about: "gives its shares before anybody tosses, and watches whether that suffices",
                make: early,
            },
        ]
    }

    fn words(&self, _: &Said<Self>) -> String {
        "SHARE of the coin".to_owned()
    }
}

/// What a proof proves of the coin `name`, by the judges' count.
fn proof_value<S: DrillSuite>(
    proof: &maftia_agreement::coin::CoinProof<S>,
    court: &Court<S>,
    name: Scope,
) -> Option<maftia_base::Digest> {
    let parties = proof.parties()?;
    if !court.quorums.has_honest(parties) {
        return None;
    }
    // Which server looks makes no difference.
    let shape_group = group_of(court);
    let work = proof.verification(&shape_group, name)?;
    match crate::world::work::<S>(&court.keyrings[0], work) {
        Done::Coin { value, faults, .. } if faults.is_empty() => value,
        _ => None,
    }
}

fn group_of<S: DrillSuite>(court: &Court<S>) -> Group {
    let structure = court.quorums.structure();
    Group::new(Default::default(), maftia_base::Epoch(0), Party::new(0), structure)
}

fn withheld<S: DrillSuite>(brief: &Brief<Coin<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let victims: Vec<Party> = brief.seat.victims().iter().collect();
    let one = victims[brief.random.below(victims.len() as u64) as usize];
    Box::new(Says(move |letter: &Letter<Message<S>>, hand: &mut HandOf<'_, Coin<S>>| {
        match letter.to == one {
            true => hand.pass(letter),
            false => brief.acts.add(),
        }
    }))
}

fn early<S: DrillSuite>(brief: &Brief<Coin<S>>) -> Adverse<S> {
    let brief = brief.clone();
    Box::new(Reacts(move |cue: Cue<'_, Message<S>>, hand: &mut HandOf<'_, Coin<S>>| {
        let Cue::Start = cue else { return };
        for by in brief.seat.corrupt.iter() {
            brief.acts.add();
            hand.send_all(by, Message::Share(brief.seat.share(by, brief.seat.scope)));
        }
    }))
}

fn share_of<S: DrillSuite>(party: Party, court: &Court<S>) -> S::CoinShare {
    let work = Work::CoinShare(court.scope);
    match crate::world::work::<S>(&court.keyrings[party.index()], work) {
        Done::CoinShare(made) => made.share,
        other => panic!("{other:?} is no share"),
    }
}

/// Shares leave when the layer above tosses, and not before; the coin is the one coin of its name.
pub struct Reasons<S> {
    tossed: BTreeSet<Party>,
    /// Whose shares each server heard in this life, in order, and which are good.
    heard: BTreeMap<Party, Vec<(Party, bool)>>,
    blamed: BTreeSet<(Party, Party)>,
    suite: PhantomData<S>,
}

impl<S: DrillSuite> Monitor<Coin<S>> for Reasons<S> {
    fn new(_: &Coin<S>) -> Self {
        Self {
            tossed: BTreeSet::new(),
            heard: BTreeMap::new(),
            blamed: BTreeSet::new(),
            suite: PhantomData,
        }
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<S>, court: &Court<S>) {
        let Message::Share(share) = said;
        let heard = self.heard.entry(by).or_default();
        if heard.iter().all(|(other, _)| *other != from) {
            heard.push((from, share.share == share_of(from, court)));
        }
    }

    fn blames(&mut self, by: Party, culprit: Party) {
        self.blamed.insert((by, culprit));
    }

    fn restarted(&mut self, by: Party) {
        self.heard.remove(&by);
        self.blamed.retain(|(blamer, _)| *blamer != by);
    }

    fn ordered(&mut self, by: Party, _: &Command) {
        self.tossed.insert(by);
    }

    fn says(
        &mut self,
        by: Party,
        _: Party,
        said: &Message<S>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let tossed = self.tossed.contains(&by);
        ensure(tossed, "secrecy", || format!("{by} gives its share before it tosses"))?;
        let Message::Share(share) = said;
        let is_own = share.share == share_of(by, court);
        ensure(is_own, "justified", || format!("{by} sends another share than its own"))
    }

    fn told(&mut self, by: Party, told: &Outcome<S>, court: &Court<S>) -> Result<(), Complaint> {
        let Outcome::Tossed(value, _) = told;
        // Whoever's bad share came before enough others were there was among those combined.
        let mut before = PartySet::EMPTY;
        for (from, is_good) in self.heard.get(&by).into_iter().flatten() {
            if court.quorums.has_honest(before) {
                break;
            }
            before.insert(*from);
            let is_due = !is_good && !self.blamed.contains(&(by, *from));
            ensure(!is_due, "evidence", || format!("{by} forgives {from} its bad share"))?;
        }
        let holds = *value == court.coin(court.scope);
        ensure(holds, "agreement", || format!("{by} is told another coin than all shares give"))
    }
}
