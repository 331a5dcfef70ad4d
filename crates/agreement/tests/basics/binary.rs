use crate::world::*;
use maftia_agreement::binary::{
    BinaryAgreement, Command, Message, Outcome, Record, Round, footprint_max, holds,
};
use maftia_agreement::coin;
use maftia_base::protocol::Protocol;
use maftia_base::time::Duration;
use maftia_base::{AdversaryStructure, Party, PartySet, Scope};
use maftia_crypto::{Done, IdealSuite, RealSuite, Work};
use maftia_sim::attacks::{Flooder, Mutator, Replayer, Script, Silent, Twins};
use maftia_sim::{
    Builder, Crashes, Failure, Fate, Hand, Letter, Local, Network, Random, Scheduler, Simulation,
    UNIT, seeds,
};
use std::collections::BTreeMap;

type Agreement<S = IdealSuite> = BinaryAgreement<S>;
type Sim<S = IdealSuite> = Simulation<Agreement<S>>;

fn start<S: TestSuite>(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<Agreement<S>>) -> Builder<Agreement<S>>,
) -> Sim<S> {
    let builder = builder::<S, _>(structure, seed);
    let builder = builder.footprint_max(footprint_max(structure.n()));
    customize(builder).build(|_| Agreement::new())
}

/// Everybody decides one bit that somebody honest proposed, gets a proof of it, and halts.
fn check<S: TestSuite>(
    sim: &mut Sim<S>,
    structure: &AdversaryStructure,
    proposal: impl Fn(Party) -> bool,
) -> Result<bool, Failure> {
    let told = |sim: &Sim<S>| {
        all_told(sim, 2)
            && sim.honest().iter().all(|p| sim.state(p).is_some_and(Protocol::is_settled))
    };
    run(sim, |party| Some(Command::Propose(proposal(party))), told)?;
    let bit = same_everywhere(sim, |outcome| match outcome {
        Outcome::Decided(bit) => Some(*bit),
        Outcome::Certified(decision) => Some(decision.value),
    })?;
    let bit = bit.expect("all were told");
    assert!(sim.honest().iter().any(|party| proposal(party) == bit), "an honest server's bit");
    let group = &groups(structure)[0];
    for party in sim.honest().iter() {
        let [Outcome::Decided(_), Outcome::Certified(decision)] = sim.outcomes(party) else {
            return Err(sim.fail(party, "the bit and its proof are told once each"));
        };
        let check = |decision: &maftia_agreement::binary::Decision<S>, scope| {
            decision.verification(group, scope).is_some_and(|work| holds(&work_of(structure, work)))
        };
        assert!(check(decision, scope()), "the proof convinces everyone");
        assert!(!check(decision, scope().child("other", 0)), "of no other instance");
        let mut other = decision.clone();
        other.value = !other.value;
        assert!(!check(&other, scope()), "of no other bit");
    }
    Ok(bit)
}

/// The latest round that an honest server entered.
fn rounds<S: TestSuite>(sim: &Sim<S>) -> u16 {
    let entered = |record: &Record<S>| match record {
        Record::Entered(Round(round), _) => Some(*round),
        _ => None,
    };
    let logs =
        sim.honest().iter().flat_map(|party| sim.log(party).0.iter().filter_map(entered).max());
    logs.max().unwrap_or(0)
}

fn split(seed: u64) -> impl Fn(Party) -> bool {
    move |party| (seed >> (party.index() % 8)) & 1 == 1
}

#[test]
fn equal_proposals_are_decided_without_a_coin() {
    for (structure, corrupt) in structures() {
        for bit in [false, true] {
            seeds(0..20, |seed| {
                let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                    builder.corrupt(corrupt.iter(), Twins { second: PartySet::all(3) })
                });
                for party in corrupt.iter() {
                    sim.command_copy(party, 0, Command::Propose(!bit));
                    sim.command_copy(party, 1, Command::Propose(bit));
                }
                assert_eq!(check(&mut sim, &structure, |_| bit)?, bit, "validity");
                Ok(())
            });
        }
    }
}

#[test]
fn all_decide_one_bit_in_any_order_without_the_corrupt_and_over_lossy_links() {
    for (structure, corrupt) in structures() {
        seeds(0..60, |seed| {
            let mut sim =
                start::<IdealSuite>(&structure, seed, |b| b.corrupt(corrupt.iter(), Silent));
            check(&mut sim, &structure, split(seed))?;
            let lossy = Network::lossy(100).duplicating(100);
            let mut sim = start::<IdealSuite>(&structure, seed, |b| b.network(lossy));
            check(&mut sim, &structure, split(seed)).map(drop)
        });
    }
}

#[test]
fn all_decide_one_bit_despite_servers_that_contradict_themselves() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        seeds(0..60, |seed| {
            let second = parties((0..structure.n()).filter(|i| (seed >> i) & 1 == 0));
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.network(Network::lossy(50)).corrupt(corrupt.iter(), Twins { second })
            });
            for party in corrupt.iter() {
                sim.command_copy(party, 0, Command::Propose(false));
                sim.command_copy(party, 1, Command::Propose(true));
            }
            check(&mut sim, &structure, split(seed)).map(drop)
        });
    }
}

#[test]
fn all_decide_one_bit_despite_servers_that_lie_at_random() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        seeds(0..60, |seed| {
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.corrupt(
                    corrupt.iter(),
                    Mutator(|letter: &Letter<_>, random: &mut Random| lie(&letter.body, random)),
                )
            });
            for party in corrupt.iter() {
                sim.command(party, Command::Propose(true));
            }
            check(&mut sim, &structure, split(seed)).map(drop)
        });
    }
}

fn lie(message: &Message<IdealSuite>, random: &mut Random) -> Vec<Message<IdealSuite>> {
    let bit = random.chance(500);
    let vote = [None, Some(false), Some(true)][random.below(3) as usize];
    match message {
        Message::Val(round, _) => vec![Message::Val(*round, false), Message::Val(*round, true)],
        Message::Echo(round, _) => vec![Message::Echo(*round, bit), Message::Vote(*round, vote)],
        Message::Vote(round, _) => vec![Message::Vote(*round, vote)],
        Message::Done(bit, signature) => {
            vec![Message::Done(!bit, *signature), Message::Done(*bit, *signature)]
        }
        coin => vec![coin.clone(), Message::Echo(Round(u16::MAX), bit)],
    }
}

#[test]
fn replays_and_floods_change_nothing_and_footprints_stay_bounded() {
    let structure = threshold(7);
    seeds(0..30, |seed| {
        let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
            builder.corrupt([p(5)], Flooder { copies: 3 }).corrupt([p(6)], Replayer::new(300))
        });
        for party in [p(5), p(6)] {
            sim.command(party, Command::Propose(true));
        }
        check(&mut sim, &structure, split(seed)).map(drop)
    });
}

#[test]
fn everybody_may_crash_and_lose_unsynced_writes() {
    for (structure, corrupt) in structures() {
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 60,
                crashes_max: 16,
                ..Crashes::default()
            };
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.corrupt(corrupt.iter(), Silent).crashes(crashes)
            });
            check(&mut sim, &structure, split(seed)).map(drop)
        });
    }
}

/// Supports both bits at the start, towards everybody, and is silent from then on.
fn supports_both_and_falls_silent(
    letter: Option<&Letter<Message<IdealSuite>>>,
    hand: &mut Hand<'_, Agreement>,
) {
    for (liar, bit) in hand.parties().iter().flat_map(|liar| [(liar, false), (liar, true)]) {
        if letter.is_none() {
            hand.send_all(liar, Message::Val(Round(0), bit));
        }
    }
}

#[test]
fn all_decide_although_all_forget_what_they_supported_and_the_liar_who_had_too_is_silent() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        seeds(0..200, |seed| {
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.corrupt(corrupt.iter(), Script(supports_both_and_falls_silent))
            });
            let honest: Vec<Party> = sim.honest().iter().collect();
            for party in &honest {
                sim.command(*party, Command::Propose(split(seed)(*party)));
            }
            for _ in 0..(seed * 7) % 150 {
                sim.step()?;
            }
            honest.iter().for_each(|party| sim.crash_losing_unsynced(*party));
            honest.iter().for_each(|party| sim.restart(*party));
            check(&mut sim, &structure, split(seed)).map(drop)
        });
    }
}

/// Sees every message, and every coin as soon as its shares are sent; then hurries what disagrees
/// with the coin and delays what agrees, to half of the servers one way and to half the other.
struct CoinAware {
    structure: AdversaryStructure,
    scope: Scope,
    shares: BTreeMap<Round, BTreeMap<Party, coin::Share<IdealSuite>>>,
    coins: BTreeMap<Round, bool>,
}

impl CoinAware {
    fn new(structure: &AdversaryStructure) -> Self {
        let (shares, coins) = (BTreeMap::new(), BTreeMap::new());
        Self { structure: structure.clone(), scope: scope(), shares, coins }
    }

    fn look(&mut self, from: Party, round: Round, share: &coin::Share<IdealSuite>) {
        let shares = self.shares.entry(round).or_default();
        shares.insert(from, share.clone());
        let holders: PartySet = shares.keys().copied().collect();
        if self.structure.has_honest(holders) && !self.coins.contains_key(&round) {
            let name = self.scope.child("coin", u64::from(round.0));
            let shares = shares.iter().map(|(party, share)| (*party, share.clone())).collect();
            let work = Work::CombineCoin { name, shares };
            if let Done::Coin { value: Some(value), .. } = work_of(&self.structure, work) {
                self.coins.insert(round, value.0[0] & 1 == 1);
            }
        }
    }

    /// Is this message against what the scheduler wants its receiver to see now?
    fn is_unwanted(&self, letter: &Letter<Message<IdealSuite>>) -> bool {
        let (round, bit) = match &*letter.body {
            Message::Val(round, bit) | Message::Echo(round, bit) => (*round, Some(*bit)),
            Message::Vote(round, vote) => (*round, *vote),
            // Whoever has the coin moves on; the others stay open to persuasion.
            Message::Coin(..) => return letter.to.index() % 2 == 1,
            Message::Done(..) => return true,
        };
        match (self.coins.get(&round), bit) {
            (Some(coin), Some(bit)) => *coin == bit,
            (Some(_), None) => false,
            (None, Some(bit)) => bit == (letter.to.index().is_multiple_of(2)),
            (None, None) => letter.to.index() % 2 == 1,
        }
    }
}

impl Scheduler<Message<IdealSuite>> for CoinAware {
    fn route(&mut self, letter: &Letter<Message<IdealSuite>>, random: &mut Random) -> Fate {
        if let Message::Coin(round, coin::Message::Share(share)) = &*letter.body {
            self.look(letter.from, *round, share);
        }
        let units = if self.is_unwanted(letter) { 50 } else { 1 };
        Fate::Arrives(Duration(1 + random.exponential(units * UNIT.0)))
    }

    fn local(&mut self, _: Party, _: Local, _: &mut Random) -> Duration {
        Duration(0)
    }
}

#[test]
fn a_scheduler_that_sees_the_coin_cannot_prevent_the_decision() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let mut total = 0;
        seeds(0..100, |seed| {
            let second = parties((0..structure.n()).filter(|i| i % 2 == 1));
            let scheduler = CoinAware::new(&structure);
            let mut sim = start::<IdealSuite>(&structure, seed, |builder| {
                builder.network(scheduler).corrupt(corrupt.iter(), Twins { second })
            });
            for party in corrupt.iter() {
                sim.command_copy(party, 0, Command::Propose(false));
                sim.command_copy(party, 1, Command::Propose(true));
            }
            check(&mut sim, &structure, |party| party.index() % 2 == 0)?;
            total += u64::from(rounds(&sim));
            Ok(())
        });
        assert!(total < 100 * 8, "a constant number of rounds on average, not {total} / 100");
    }
}

#[test]
fn equal_proposals_take_three_delays_and_halting_a_fourth() {
    let structure = threshold(4);
    for (network, told, units) in [
        (Network::unit_delay(), 1, 3),
        (Network::unit_delay(), 2, 4),
        (Network::unit_sync(), 1, 4),
        (Network::unit_sync(), 2, 5),
    ] {
        let mut sim = start::<IdealSuite>(&structure, 0, |builder| builder.network(network));
        sim.mark();
        for party in PartySet::all(4).iter() {
            sim.command(party, Command::Propose(true));
        }
        sim.run_until(|sim| all_told(sim, told), EVENTS_MAX).expect("it runs");
        assert_eq!(sim.elapsed_units(), units);
    }
}

#[test]
fn it_holds_with_the_real_suite_too() {
    let structure = threshold(4);
    seeds(0..4, |seed| {
        let mut sim = start::<RealSuite>(&structure, seed, |b| b.corrupt([p(3)], Silent));
        check(&mut sim, &structure, split(seed)).map(drop)
    });
}
