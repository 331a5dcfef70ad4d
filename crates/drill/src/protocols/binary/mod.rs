//! Binary agreement.

mod monitor;

pub(crate) use monitor::Reasons;

use crate::adversary::{Brief, Cue, HandOf, Reacts, STEPS_PER_ROUND, Special};
use crate::check::{Fact, Goal};
use crate::plan::Plan;
use crate::stage::{CoinShareOf, Said, Seat, SignatureOf, Stage, Told};
use crate::world::{Court, DrillSuite};
use maftia_agreement::binary::{
    BinaryAgreement, Command, Message, Outcome, ROUNDS_MAX, Round, footprint_max,
};
use maftia_agreement::coin;
use maftia_base::{Digest, Group, Party, PartySet, Place, Scope, Statement, StatementKind};
use maftia_sim::{Adversary, Letter, Random};
use std::marker::PhantomData;

/// One agreement on a bit.
pub struct Binary<S> {
    /// What each server proposes.
    pub bits: Vec<bool>,
    /// May honest servers propose the other bit after a restart?
    is_fickle: bool,
    suite: PhantomData<S>,
}

/// What DONE signs, in the judges' words.
fn decided(scope: Scope, bit: bool) -> Statement {
    let value = Digest::of("maftia binary agreement decision", &[u8::from(bit)]);
    Statement::new(scope, StatementKind::Binary, Place::default(), value)
}

/// The name of the coin of a round.
fn coin_name(scope: Scope, round: u16) -> Scope {
    scope.child("coin", u64::from(round))
}

type Adverse<S> = Box<dyn Adversary<BinaryAgreement<S>>>;

impl<S: DrillSuite> Stage for Binary<S> {
    type Suite = S;
    type Protocol = BinaryAgreement<S>;
    type Monitor = Reasons<S>;
    const NAME: &'static str = "binary";

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let pattern = match random.below(4) {
            0 => 0,
            1 => u64::MAX,
            _ => random.bits(),
        };
        let bits = (0..plan.shape.n()).map(|index| pattern >> index & 1 == 1).collect();
        Self { bits, is_fickle: plan.storage == "fickle", suite: PhantomData }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        BinaryAgreement::new()
    }

    fn footprint_max(&self, n: usize) -> usize {
        footprint_max(n)
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command> {
        vec![Command::Propose(self.bits[party.index()] ^ (face == 1))]
    }

    fn facts(&self, told: &Told<Self>, court: &Court<S>) -> Vec<Fact> {
        match told {
            Outcome::Decided(bit) => vec![Fact::new(0, 0, u64::from(*bit))],
            Outcome::Certified(decision) => {
                let group = group_of(court);
                let proves = |scope: Scope| {
                    decision.verification(&group, scope).is_some_and(|work| {
                        let done = crate::world::work::<S>(&court.keyrings[0], work);
                        maftia_agreement::binary::holds(&done)
                    })
                };
                let holds = proves(court.scope) && !proves(court.scope.child("other", 0));
                vec![Fact::new(1, 0, u64::from(decision.value)).proven(holds)]
            }
        }
    }

    fn goal(&self, corrupt: PartySet, n: usize) -> Goal {
        let honest = PartySet::all(n).difference(corrupt);
        let proposed: Vec<bool> = honest.iter().map(|party| self.bits[party.index()]).collect();
        let is_fickle = self.is_fickle;
        let allows = move |_, value| is_fickle || proposed.contains(&(value == 1));
        Goal { due: vec![(0, 0), (1, 0)], all_or_none: true, allows: Box::new(allows) }
    }

    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        match said {
            Message::Done(_, signature) => vec![signature.clone()],
            _ => Vec::new(),
        }
    }

    fn remarks(&self, said: &Said<Self>) -> Vec<(u64, u64)> {
        match said {
            Message::Echo(round, bit) => vec![(1 + 4 * u64::from(round.0), u64::from(*bit))],
            Message::Vote(round, vote) => {
                vec![(2 + 4 * u64::from(round.0), vote.map_or(2, u64::from))]
            }
            Message::Done(bit, _) => vec![(0, u64::from(*bit))],
            Message::Val(..) | Message::Coin(..) => Vec::new(),
        }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        let at = |round: &Round, step| STEPS_PER_ROUND * u64::from(round.0) + step;
        match said {
            Message::Val(round, _) => at(round, 0),
            Message::Echo(round, _) => at(round, 1),
            Message::Vote(round, _) => at(round, 2),
            Message::Coin(round, _) => at(round, 3),
            Message::Done(..) => 4,
        }
    }

    fn coin_share(&self, said: &Said<Self>, scope: Scope) -> Option<CoinShareOf<Self>> {
        let Message::Coin(round, coin::Message::Share(share)) = said else { return None };
        Some((u64::from(round.0), coin_name(scope, round.0), share.clone()))
    }

    fn favours(&self, letter: &Letter<Said<Self>>, coin: &dyn Fn(u64) -> Option<u64>) -> bool {
        let (round, bit) = match &*letter.body {
            Message::Val(round, bit) | Message::Echo(round, bit) => (round, Some(*bit)),
            Message::Vote(round, vote) => (round, *vote),
            Message::Coin(..) => return false,
            Message::Done(..) => return true,
        };
        // The bit of a coin is the last one of its first byte; `short` is big-endian.
        let says = match round.0 {
            0 => Some(true),
            1 => Some(false),
            _ => coin(u64::from(round.0)).map(|coin| coin >> 56 & 1 == 1),
        };
        bit.is_some() && bit == says
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let bit = random.chance(500);
        let near = |round: &Round, random: &mut Random| match random.below(6) {
            0 => Round(round.0 + 1),
            1 => Round(round.0.saturating_sub(1)),
            _ => *round,
        };
        let vote = [None, Some(false), Some(true)][random.below(3) as usize];
        match &*letter.body {
            Message::Val(round, _) => {
                let round = near(round, random);
                vec![Message::Val(round, false), Message::Val(round, true)]
            }
            Message::Echo(round, told) if random.chance(300) => {
                vec![Message::Echo(*round, *told), Message::Echo(*round, !*told)]
            }
            Message::Echo(round, _) => {
                vec![Message::Echo(near(round, random), bit), Message::Vote(*round, vote)]
            }
            Message::Vote(round, _) => vec![Message::Vote(near(round, random), vote)],
            Message::Coin(round, _) => {
                let name = coin_name(seat.scope, round.0);
                let share = seat.bad_share(letter.from, name);
                vec![Message::Coin(*round, coin::Message::Share(share))]
            }
            Message::Done(bit, signature) => vec![
                Message::Done(!bit, seat.sign(letter.from, decided(seat.scope, !bit))),
                Message::Done(*bit, signature.clone()),
            ],
        }
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let bit = random.chance(500);
        let round = match random.below(20) {
            0 => Round(ROUNDS_MAX),
            1 => Round(ROUNDS_MAX - 1),
            _ => Round(random.below(4) as u16),
        };
        match random.below(6) {
            0 | 1 => Message::Val(round, bit),
            2 => Message::Echo(round, bit),
            3 => Message::Vote(round, [None, Some(bit)][random.below(2) as usize]),
            4 => {
                let share = seat.share(by, coin_name(seat.scope, round.0));
                Message::Coin(round, coin::Message::Share(share))
            }
            _ => Message::Done(bit, seat.sign(by, decided(seat.scope, bit))),
        }
    }

    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        match said {
            Message::Done(bit, _) => Some(Message::Done(*bit, S::bad_signature())),
            _ => None,
        }
    }

    fn spoilt_share(&self, by: Party, said: &Said<Self>, seat: &Seat<Self>) -> Option<Said<Self>> {
        let Message::Coin(round, _) = said else { return None };
        let share = seat.bad_share(by, coin_name(seat.scope, round.0));
        Some(Message::Coin(*round, coin::Message::Share(share)))
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special {
                name: "vote-splitter",
                about: "tells half of the servers one bit and the rest the other, in every step",
                make: vote_splitter,
            },
            Special {
                name: "early-done",
                about: "claims to have decided at the start, one bit to some, the other to others",
                make: early_done,
            },
            Special {
                name: "persuader",
                about: "learns each coin as soon as it can, and then supports what disagrees",
                make: persuader,
            },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        let bit = |bit: &bool| u8::from(*bit);
        match said {
            Message::Val(round, b) => format!("VAL {} in round {}", bit(b), round.0),
            Message::Echo(round, b) => format!("ECHO {} in round {}", bit(b), round.0),
            Message::Vote(round, None) => format!("VOTE for none in round {}", round.0),
            Message::Vote(round, Some(b)) => format!("VOTE {} in round {}", bit(b), round.0),
            Message::Coin(round, _) => format!("SHARE of the coin of round {}", round.0),
            Message::Done(b, _) => format!("DONE, decided {}", bit(b)),
        }
    }
}

fn group_of<S: DrillSuite>(court: &Court<S>) -> Group {
    let structure = court.quorums.structure();
    Group::new(Default::default(), maftia_base::Epoch(0), Party::new(0), structure)
}

/// All that a liar can say of one bit in one round.
fn support<S: DrillSuite>(round: Round, bit: bool) -> [Message<S>; 3] {
    [Message::Val(round, bit), Message::Echo(round, bit), Message::Vote(round, Some(bit))]
}

fn vote_splitter<S: DrillSuite>(brief: &Brief<Binary<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let half = brief.seat.some_victims(&mut brief.random);
    let mut spoken = 0;
    Box::new(Reacts(move |cue: Cue<'_, Message<S>>, hand: &mut HandOf<'_, Binary<S>>| {
        let reached = match cue {
            Cue::Start => 0,
            Cue::Reached(letter) | Cue::Overheard(letter) => match &*letter.body {
                Message::Val(round, _) | Message::Echo(round, _) => u64::from(round.0) + 1,
                _ => return,
            },
        };
        while spoken <= reached.min(12) {
            let round = Round(spoken as u16);
            spoken += 1;
            for by in brief.seat.corrupt.iter() {
                for to in brief.seat.victims().iter() {
                    brief.acts.add();
                    let bit = half.contains(to);
                    support::<S>(round, bit).into_iter().for_each(|body| hand.send(by, to, body));
                    hand.send(by, to, Message::Val(round, !bit));
                }
            }
        }
    }))
}

fn early_done<S: DrillSuite>(brief: &Brief<Binary<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let half = brief.seat.some_victims(&mut brief.random);
    Box::new(Reacts(move |cue: Cue<'_, Message<S>>, hand: &mut HandOf<'_, Binary<S>>| {
        let Cue::Start = cue else { return };
        for by in brief.seat.corrupt.iter() {
            for to in brief.seat.victims().iter() {
                brief.acts.add();
                let bit = half.contains(to);
                let signature = brief.seat.sign(by, decided(brief.seat.scope, bit));
                hand.send(by, to, Message::Done(bit, signature));
            }
        }
    }))
}

fn persuader<S: DrillSuite>(brief: &Brief<Binary<S>>) -> Adverse<S> {
    let brief = brief.clone();
    let mut known = std::collections::BTreeSet::new();
    Box::new(Reacts(move |cue: Cue<'_, Message<S>>, hand: &mut HandOf<'_, Binary<S>>| {
        let (seat, mut rounds) = (&brief.seat, Vec::new());
        match cue {
            // The coins of the first two rounds are known from the start.
            Cue::Start => rounds.extend([(Round(0), false), (Round(1), true)]),
            Cue::Reached(letter) | Cue::Overheard(letter) => {
                let scope = seat.scope;
                let Some((number, name, share)) = seat.stage.coin_share(&letter.body, scope) else {
                    return;
                };
                let own = seat.corrupt.iter().map(|party| (party, seat.share(party, name)));
                let shares = own.chain([(letter.from, share)]).collect();
                if let Some(coin) = seat.court.coin_of(name, shares)
                    && known.insert(number)
                {
                    rounds.push((Round(number as u16), coin.0[0] & 1 == 0));
                }
            }
        }
        for (round, bit) in rounds {
            for by in seat.corrupt.iter() {
                brief.acts.add();
                support::<S>(round, bit).into_iter().for_each(|body| hand.send_all(by, body));
            }
        }
    }))
}
