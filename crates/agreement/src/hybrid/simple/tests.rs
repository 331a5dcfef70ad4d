use super::machine::Phase;
use super::*;
use crate::digest_of;
use crate::hybrid::Proof;
use crate::hybrid::testing::{self, *};
use maftia_base::time::Duration;
use maftia_base::{
    AdversaryStructure, Epoch, FaultKind, Group, GroupId, Party, PartySet, Protocol,
};
use maftia_crypto::IdealSuite;
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Weather, Wormhole};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Letter, Network, Random, Simulation, UNIT,
    check_deterministic, seeds,
};
use std::cell::Cell;

type Simple = Consensus<IdealSuite, u64>;
type Said = Message<u64>;

/// Looks at the trusted components count, too, while somebody waits for their answer.
const EVENTS_MAX: u64 = 2_000_000;

fn structures() -> Vec<AdversaryStructure> {
    let general = two_at_one_site();
    general.check_q3().unwrap();
    [thresholds(&[(1, 0), (4, 1), (7, 2)]), vec![general]].concat()
}

/// Even values are valid. Server `i` proposes `100 + 2i`, or all propose one.
fn input(party: Party) -> u64 {
    100 + 2 * party.index() as u64
}

fn judge(_: Party, outcome: &Outcome<u64>) -> Vec<Command<u64>> {
    match outcome {
        Outcome::Validate { value, .. } if value % 2 == 0 => {
            vec![Command::Accept(digest_of(value))]
        }
        _ => Vec::new(),
    }
}

/// Complains if two decisions differ, or if one is not valid.
fn same() -> impl FnMut(Party, &Outcome<u64>) -> Result<(), String> {
    let decided: Cell<Option<u64>> = Cell::default();
    move |_, outcome| {
        let Outcome::Decided { value, .. } = outcome else { return Ok(()) };
        let first = decided.get().unwrap_or(*value);
        decided.set(Some(first));
        match (first == *value, value % 2) {
            (true, 0) => Ok(()),
            _ => Err(format!("decided {value}, and {first} before")),
        }
    }
}

struct World {
    sim: Simulation<Simple>,
    input: fn(Party) -> u64,
    /// Who has to decide: whose component lives.
    living: PartySet,
}

fn world_in(
    structure: &AdversaryStructure,
    seed: u64,
    (weather, dead): (Weather, PartySet),
    customize: impl FnOnce(Builder<Simple>) -> Builder<Simple>,
) -> World {
    let n = structure.n();
    let mut wormhole = Wormhole::new(n, seed, weather, tongue());
    dead.iter().for_each(|party| wormhole.crash(party));
    let members = members_of(&wormhole);
    let builder = testing::builder(structure, seed, wormhole)
        .application(judge)
        .check(same())
        .footprint_max(8 * n + 2);
    let sim = customize(builder).build(move |party| Simple::new(party, members.clone()));
    World { sim, input, living: PartySet::all(n).difference(dead) }
}

fn world(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<Simple>) -> Builder<Simple>,
) -> World {
    world_in(structure, seed, (Weather::default(), PartySet::EMPTY), customize)
}

impl World {
    /// Proposes at everybody who has nothing to propose yet, until all honest servers decided.
    fn decide(&mut self) -> Result<(), Failure> {
        let everybody = self.sim.honest();
        self.decide_from(everybody)
    }

    fn decide_from(&mut self, proposers: PartySet) -> Result<(), Failure> {
        let (input, deciders) = (self.input, self.living);
        let command = |party| Command::Propose(input(party));
        let has_input = Simple::has_input;
        testing::decide(&mut self.sim, (proposers, deciders), has_input, command, EVENTS_MAX)?;
        self.sim.run_to_quiescence(EVENTS_MAX)
    }

    fn decided(&self, party: Party) -> (u64, Decision) {
        let told = self.sim.outcomes(party).iter().find_map(|outcome| match outcome {
            Outcome::Decided { value, decision } => Some((*value, *decision)),
            Outcome::Validate { .. } => None,
        });
        told.expect("it has decided since it was last started")
    }

    fn attempts(&self, party: Party) -> usize {
        let is_attempt = |record: &&Record<u64>| matches!(record, Record::Attempt(_));
        self.sim.log(party).0.iter().filter(is_attempt).count()
    }
}

fn against<A: Adversary<Simple> + 'static>(count: u64, adversary: impl Fn() -> A) {
    for structure in structures().into_iter().skip(1) {
        seeds(0..count, |seed| {
            let network = match seed % 3 {
                0 => Network::random().starving(p((seed % structure.n() as u64) as usize)),
                _ => Network::random(),
            };
            let mut world = world(&structure, seed, |builder| {
                builder.network(network).corrupt(liars(&structure).iter(), adversary())
            });
            for liar in liars(&structure).iter() {
                world.sim.command_copy(liar, 0, Command::Propose(input(liar)));
                world.sim.command_copy(liar, 1, Command::Propose(8 + input(liar)));
            }
            world.decide()
        });
    }
}

#[test]
fn all_decide_one_proposed_valid_value_in_any_order() {
    for structure in structures() {
        seeds(0..60, |seed| {
            let mut world = world(&structure, seed, |builder| builder);
            world.decide()?;
            let (value, _) = world.decided(p(0));
            assert!((0..structure.n()).any(|index| input(p(index)) == value));
            Ok(())
        });
    }
}

#[test]
fn what_all_honest_servers_propose_is_decided_whatever_liars_propose() {
    for structure in structures().into_iter().filter(|it| it.threshold_f().is_some()) {
        for rough in [false, true] {
            seeds(0..60, |seed| {
                let weather = Weather { lost: 10, late: 60, ..Weather::default() };
                let weather = if rough { weather } else { Weather::default() };
                let mut world = world_in(&structure, seed, (weather, PartySet::EMPTY), |builder| {
                    if structure.n() == 1 {
                        return builder;
                    }
                    builder.corrupt(liars(&structure).iter(), Passive)
                });
                world.input = |_| 44;
                for liar in world.sim.corrupt().iter() {
                    world.sim.command(liar, Command::Propose(66));
                }
                world.decide()?;
                let honest = world.sim.honest().iter().next().expect("one is");
                assert_eq!(world.decided(honest).0, 44);
                Ok(())
            });
        }
    }
}

#[test]
fn takes_no_message_delay_and_two_agreements_if_all_propose_the_same() {
    for structure in structures().into_iter().filter(|it| it.threshold_f().is_some()) {
        let n = structure.n();
        let mut world = world(&structure, 0, |builder| builder.network(Network::unit_delay()));
        (0..n).for_each(|index| world.sim.command(p(index), Command::Propose(44)));
        let all = |sim: &Simulation<Simple>| {
            (0..n).all(|index| sim.state(p(index)).is_some_and(Protocol::is_settled))
        };
        world.sim.run_until(all, EVENTS_MAX).unwrap();
        // Four delays of the control channel, of half a unit at most, and a little.
        assert!(world.sim.elapsed_units() <= 3, "{}", world.sim.elapsed_units());
        assert_eq!(world.sim.stats().messages, (n * (n - 1)) as u64);
        assert_eq!(world.attempts(p(0)), 1);
    }
}

#[test]
fn takes_two_attempts_as_a_rule_if_all_propose_differently() {
    let structure = &structures()[1];
    let mut attempts = 0;
    seeds(0..100, |seed| {
        let mut world = world(structure, seed, |builder| builder.network(Network::unit_delay()));
        world.decide()?;
        attempts += world.attempts(p(0));
        Ok(())
    });
    assert!((150..=300).contains(&attempts), "{attempts} of 100");
}

#[test]
fn silent_until_someone_proposes_and_after_all_decided() {
    let structure = &structures()[1];
    let mut world = world(structure, 0, |builder| builder);
    world.sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(world.sim.stats().messages, 0);
    world.decide().unwrap();
    assert!(world.sim.pending() == 0);
}

#[test]
fn what_one_alone_proposes_is_decided() {
    for structure in structures() {
        seeds(0..20, |seed| {
            let mut world = world(&structure, seed, |builder| builder);
            let one = p(structure.n() - 1);
            world.decide_from(PartySet::from_iter([one]))?;
            assert_eq!(world.decided(p(0)).0, input(one));
            Ok(())
        });
    }
}

#[test]
fn silent_liars_stop_nobody() {
    against(40, || Silent);
}

#[test]
fn honest_code_in_corrupt_hands_is_harmless() {
    against(20, || Passive);
}

#[test]
fn two_copies_with_one_component_and_two_values_split_nobody() {
    against(60, || Twins { second: parties([1, 3]) });
}

#[test]
fn floods_replays_and_selective_silence_change_nothing() {
    against(20, || Flooder { copies: 3 });
    against(20, || Replayer::new(300));
    against(30, || Mute { towards: parties([1, 2]) });
}

/// Changes what it says and shows, and leaves signatures as they are.
fn garble(letter: &Letter<Said>, random: &mut Random) -> Vec<Said> {
    let later = |proof: Proof| Proof { start: crate::hybrid::Start(proof.start.0 + 1), ..proof };
    let garbled = match (*letter.body).clone() {
        Message::Input { value } => Message::Input { value: value + random.below(3) },
        Message::Again { lock: Some(mut lock) } => {
            lock.decision.0.said.value = Some([7; 32]);
            Message::Again { lock: Some(if random.chance(500) { lock } else { later(lock) }) }
        }
        Message::Decided { value, decision } => Message::Decided { value: value + 2, decision },
        Message::Given { .. } => Message::Given { value: 6 },
        other => other,
    };
    if random.chance(500) { vec![garbled] } else { vec![(*letter.body).clone()] }
}

#[test]
fn whatever_was_not_decided_is_refused() {
    against(60, || Mutator(garble));
}

#[test]
fn forged_locks_and_decisions_are_suspected() {
    let structure = &structures()[1];
    let mut suspected = 0;
    seeds(0..60, |seed| {
        let weather = Weather { late: 400, ..Weather::default() };
        let mut world = world_in(structure, seed, (weather, PartySet::EMPTY), |builder| {
            builder.corrupt([p(3)], Mutator(garble))
        });
        world.sim.command(p(3), Command::Propose(input(p(3))));
        world.decide()?;
        let kinds = [FaultKind::InvalidValue, FaultKind::BadSignature];
        suspected += u64::from(world.sim.blames().iter().any(|it| kinds.contains(&it.1.kind)));
        Ok(())
    });
    assert!(suspected > 5, "{suspected}");
}

#[test]
fn timeouts_and_late_starts_split_nobody_and_are_tried_again() {
    let (mut again, mut lies) = (0, 0);
    for structure in structures().into_iter().skip(1) {
        seeds(0..150, |seed| {
            let weather = Weather { lost: 15, late: 100, ..Weather::default() };
            let slow = Slow { message: 5, sync: [1, 30, 200][(seed % 3) as usize] };
            let corrupt = seed % 2 == 0;
            let mut world = world_in(&structure, seed, (weather, PartySet::EMPTY), |builder| {
                let builder = builder.network(slow);
                match seed % 6 {
                    0 => builder.corrupt(liars(&structure).iter(), Mutator(garble)),
                    2 => {
                        builder.corrupt(liars(&structure).iter(), Twins { second: parties([1, 3]) })
                    }
                    4 => builder.corrupt(liars(&structure).iter(), Silent),
                    _ => builder,
                }
            });
            for liar in world.sim.corrupt().iter() {
                world.sim.command_copy(liar, 0, Command::Propose(input(liar)));
                world.sim.command_copy(liar, 1, Command::Propose(8 + input(liar)));
            }
            world.decide()?;
            again += u64::from(world.attempts(p(2)) > 2);
            lies += u64::from(corrupt);
            Ok(())
        });
    }
    assert!(again > 100 && lies > 200, "{again} of 450");
}

#[test]
fn crashes_at_persist_points_that_lose_unsynced_records_are_harmless() {
    for structure in structures() {
        seeds(0..80, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()),
                permille: 200,
                downtime: Duration((1 + seed % 900) * UNIT.0),
                crashes_max: 12,
            };
            let slow = Slow { message: 5, sync: [1, 60][(seed % 2) as usize] };
            let mut world =
                world(&structure, seed, |builder| builder.crashes(crashes).network(slow));
            world.decide()
        });
    }
}

#[test]
fn all_crash_at_once_at_any_moment_and_still_agree() {
    for structure in structures() {
        seeds(0..100, |seed| {
            let mut world = world(&structure, seed, |builder| builder);
            let n = structure.n();
            (0..n).for_each(|at| world.sim.command(p(at), Command::Propose(input(p(at)))));
            for _ in 0..seed {
                world.sim.step()?;
            }
            (0..n).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
            (0..n).for_each(|index| world.sim.restart(p(index)));
            world.decide()
        });
    }
}

#[test]
fn dead_components_silence_their_servers_and_nobody_else() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..30, |seed| {
            let dead = liars(&structure);
            let mut world = world_in(&structure, seed, (Weather::default(), dead), |it| it);
            world.decide()
        });
    }
}

#[test]
fn a_decision_convinces_anyone_and_only_of_what_was_decided() {
    let structure = &structures()[1];
    let mut world = world(structure, 5, |builder| builder);
    world.decide().unwrap();
    let (value, decision) = world.decided(p(2));
    let wormhole = Wormhole::<Simple>::new(4, 5, Weather::default(), tongue());
    let members = members_of(&wormhole);
    let scope = Group::new(GroupId::default(), Epoch(0), p(0), structure.clone()).scope();
    let holds = |scope, phase, start| {
        let (question, at) = Simple::new(p(0), members.clone()).question(scope, start, phase);
        question.claim(&members, &decision.proof).is_some() && decision.proof.start == at
    };
    assert_eq!(decision.proof.value(), Some(digest_of(&value)));
    assert!(holds(scope, Phase::Second, decision.start));
    assert!(!holds(scope, Phase::First, decision.start));
    assert!(!holds(scope.child("other", 0), Phase::Second, decision.start));
    assert!(!holds(scope, Phase::Second, crate::hybrid::Start(decision.start.0 + 1)));
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    check_deterministic(3, |seed| {
        let mut world = world(&structures()[1], seed, |builder| builder);
        world.decide()?;
        Ok(world.sim.digest())
    })
    .unwrap();
}
