use super::message::Decision;
use super::*;
use crate::digest_of;
use crate::hybrid::testing::{self, Slow, liars, members_of, p, parties, thresholds, tongue};
use crate::hybrid::views::Place;
use maftia_base::time::Duration;
use maftia_base::{
    AdversaryStructure, Digest, Epoch, FaultKind, Formula, Party, PartySet, Protocol,
};
use maftia_crypto::{Done, IdealSuite, Suite, ideal};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Weather, Wormhole};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Letter, Network, Random, Simulation, UNIT,
    check_deterministic, seeds,
};
use std::cell::RefCell;

type Agreement = PlacedAgreement<IdealSuite, u64>;
type Said = Message<u64>;

/// Looks at the trusted components count, too, while somebody waits for their answer.
const EVENTS_MAX: u64 = 6_000_000;

fn structures() -> Vec<AdversaryStructure> {
    thresholds(&[(1, 0), (3, 1), (5, 2)])
}

/// Even values are valid. Server `i` proposes `100 + 2i`.
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

/// Complains if two decisions differ, in value or seed, or if one is not valid.
fn same() -> impl FnMut(Party, &Outcome<u64>) -> Result<(), String> {
    let decided: RefCell<Option<(u64, Digest)>> = RefCell::default();
    move |_, outcome| {
        let Outcome::Decided { value, seed, .. } = outcome else { return Ok(()) };
        let first = *decided.borrow_mut().get_or_insert((*value, *seed));
        match (first == (*value, *seed), value % 2) {
            (true, 0) => Ok(()),
            _ => Err(format!("decided {value}, and {first:?} before")),
        }
    }
}

fn place(seed: u64) -> Place {
    Place { epoch: Epoch(0), round: seed + 1 }
}

struct World {
    sim: Simulation<Agreement>,
    /// Who has to decide: whose component lives.
    living: PartySet,
}

fn world_in(
    structure: &AdversaryStructure,
    seed: u64,
    (weather, dead): (Weather, PartySet),
    customize: impl FnOnce(Builder<Agreement>) -> Builder<Agreement>,
) -> World {
    let n = structure.n();
    let mut wormhole = Wormhole::new(n, seed, weather, tongue());
    dead.iter().for_each(|party| wormhole.crash(party));
    let members = members_of(&wormhole);
    let base = p((seed % n as u64) as usize);
    let builder = testing::builder(structure, seed, wormhole)
        .application(judge)
        .check(same())
        .footprint_max(4 * n + PLACES_MAX);
    let sim = customize(builder)
        .build(move |party| Agreement::new(party, members.clone(), place(seed), base));
    World { sim, living: PartySet::all(n).difference(dead) }
}

fn world(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<Agreement>) -> Builder<Agreement>,
) -> World {
    world_in(structure, seed, (Weather::default(), PartySet::EMPTY), customize)
}

impl World {
    fn decide(&mut self) -> Result<(), Failure> {
        self.decide_from(self.sim.honest())?;
        self.sim.run_to_quiescence(EVENTS_MAX)
    }

    fn decide_from(&mut self, proposers: PartySet) -> Result<(), Failure> {
        let command = |party| Command::Propose(input(party));
        let who = (proposers, self.living);
        testing::decide(&mut self.sim, who, Agreement::has_input, command, EVENTS_MAX)
    }

    fn decided(&self, party: Party) -> (u64, Decision) {
        let told = self.sim.outcomes(party).iter().find_map(|outcome| match outcome {
            Outcome::Decided { value, proof, .. } => Some((*value, proof.clone())),
            Outcome::Validate { .. } | Outcome::OtherLife => None,
        });
        told.expect("it has decided since it was last started")
    }
}

fn against<A: Adversary<Agreement> + 'static>(count: u64, adversary: impl Fn() -> A) {
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
                world.sim.command(liar, Command::Propose(input(liar)));
            }
            world.decide()
        });
    }
}

#[test]
fn all_decide_one_proposed_valid_value_in_any_order() {
    for structure in structures() {
        seeds(0..100, |seed| {
            let mut world = world(&structure, seed, |builder| builder);
            world.decide()?;
            let (value, _) = world.decided(p(0));
            assert!((0..structure.n()).any(|index| input(p(index)) == value));
            Ok(())
        });
    }
}

#[test]
fn an_honest_leader_has_its_proposal_decided_with_n_minus_1_messages() {
    for structure in structures().into_iter().skip(1) {
        let n = structure.n();
        let mut world = world(&structure, 0, |builder| builder.network(Network::unit_delay()));
        (0..n).for_each(|it| world.sim.command(p(it), Command::Propose(input(p(it)))));
        let all = |sim: &Simulation<Agreement>| {
            (0..n).all(|index| sim.state(p(index)).is_some_and(Protocol::is_settled))
        };
        world.sim.run_until(all, EVENTS_MAX).unwrap();
        world.sim.run_to_quiescence(EVENTS_MAX).unwrap();
        let (proposals, f) = (n - 1, structure.largest());
        let messages = world.sim.stats().messages as usize;
        assert!((proposals..=proposals + f * (f + 1)).contains(&messages), "{messages}");
        assert_eq!(world.decided(p(1)).0, input(p(0)));
    }
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
fn what_one_alone_proposes_is_decided_though_it_does_not_lead() {
    for structure in structures() {
        seeds(0..20, |seed| {
            let mut world = world(&structure, seed, |builder| builder);
            let one = p(structure.n() - 1);
            world.decide_from(parties([one.index()]))?;
            world.sim.run_to_quiescence(EVENTS_MAX)?;
            assert_eq!(world.decided(p(0)).0, input(one));
            Ok(())
        });
    }
}

#[test]
fn silent_leaders_and_leaders_that_tell_some_and_not_others_stop_nobody() {
    against(60, || Silent);
    against(60, || Mute { towards: parties([1, 2]) });
}

#[test]
fn whom_a_corrupt_proposer_tells_nothing_hears_of_the_decision_though_it_proposes_nothing() {
    let structure = &structures()[1];
    seeds(0..60, |seed| {
        let hides = Mute { towards: parties([2]) };
        let mut world = world(structure, 3 * seed, |builder| builder.corrupt([p(0)], hides));
        world.sim.command(p(0), Command::Propose(input(p(0))));
        world.decide_from(parties([1]))
    });
}

#[test]
fn honest_code_in_corrupt_hands_floods_and_replays_change_nothing() {
    against(20, || Passive);
    against(30, || Flooder { copies: 3 });
    against(30, || Replayer::new(300));
}

#[test]
fn two_copies_that_propose_two_values_cannot_have_both_decided() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..80, |seed| {
            let twins = Twins { second: parties([1]) };
            let mut world =
                world(&structure, seed, |builder| builder.corrupt(liars(&structure).iter(), twins));
            for liar in liars(&structure).iter() {
                world.sim.command_copy(liar, 0, Command::Propose(input(liar)));
                world.sim.command_copy(liar, 1, Command::Propose(100 + input(liar)));
            }
            world.decide()
        });
    }
}

/// Changes what it says.
fn garble(letter: &Letter<Said>, random: &mut Random) -> Vec<Said> {
    let garbled = match (*letter.body).clone() {
        Message::Propose(value) => Message::Propose(value + random.below(3)),
        Message::Ask => Message::Ask,
        Message::Over => Message::Ask,
        Message::Decided { value, decision } => match random.below(3) {
            0 => Message::Decided { value: value + 2, decision },
            1 => Message::Decided { value, decision: Decision { proposer: p(1), ..decision } },
            _ => Message::Decided { value, decision: Decision { by: p(1), ..decision } },
        },
    };
    if random.chance(500) { vec![garbled] } else { vec![(*letter.body).clone()] }
}

#[test]
fn what_is_changed_on_the_way_out_is_refused_and_nobody_honest_is_suspected() {
    against(80, || Mutator(garble));
    let structure = &structures()[1];
    let mut suspected = 0;
    seeds(0..400, |seed| {
        let mut world = world(structure, seed, |builder| {
            builder.corrupt([p(2)], Mutator(garble)).network(Slow::letters(900))
        });
        world.sim.command(p(2), Command::Propose(input(p(2))));
        world.decide()?;
        let blames = world.sim.blames();
        assert!(blames.iter().all(|(_, fault)| fault.culprit == p(2)), "{blames:?}");
        suspected += blames.len();
        Ok(())
    });
    assert!(suspected > 5, "{suspected}");
}

#[test]
fn slow_letters_make_all_propose_and_still_one_value_is_decided() {
    let mut others = 0;
    for structure in structures().into_iter().skip(1) {
        seeds(0..150, |seed| {
            let slow = Slow::letters([300, 900, 6_000][(seed % 3) as usize]);
            let mut world = world(&structure, seed, |builder| builder.network(slow));
            world.decide()?;
            let (_, decision) = world.decided(p(0));
            others += u64::from(decision.proposer() != p((seed % structure.n() as u64) as usize));
            Ok(())
        });
    }
    assert!(others > 20, "of 300, {others} were decided for who did not lead");
}

#[test]
fn a_control_channel_that_loses_and_delays_never_makes_two_decisions() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..80, |seed| {
            let weather = Weather { lost: 150, late: 250, ..Weather::default() };
            let slow = Slow::letters([2, 900][(seed % 2) as usize]);
            let wet = (weather, PartySet::EMPTY);
            let mut world = world_in(&structure, seed, wet, |builder| builder.network(slow));
            // A component that lost what it was told may leave its server to the others.
            world.decide_from(PartySet::all(structure.n()))
        });
    }
}

#[test]
fn crashes_at_persist_points_that_lose_unsynced_records_are_harmless() {
    for structure in structures() {
        seeds(0..120, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()),
                permille: 250,
                downtime: Duration((1 + seed % 900) * UNIT.0),
                crashes_max: 12,
            };
            let slow = Slow::letters([2, 300, 1_500][(seed % 3) as usize]);
            let mut world =
                world(&structure, seed, |builder| builder.crashes(crashes).network(slow));
            world.decide()
        });
    }
}

#[test]
fn all_crash_at_once_at_any_moment_and_still_agree() {
    for structure in structures() {
        seeds(0..120, |seed| {
            let slow = Slow::letters([2, 900][(seed % 2) as usize]);
            let mut world = world(&structure, seed, |builder| builder.network(slow));
            (0..structure.n())
                .for_each(|index| world.sim.command(p(index), Command::Propose(input(p(index)))));
            for _ in 0..seed {
                world.sim.step()?;
            }
            (0..structure.n()).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
            (0..structure.n()).for_each(|index| world.sim.restart(p(index)));
            world.decide()
        });
    }
}

#[test]
fn a_dead_component_silences_nobody_and_its_server_is_told_by_the_others() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..30, |seed| {
            let victim = p((seed % structure.n() as u64) as usize);
            let dead = (Weather::default(), parties([victim.index()]));
            world_in(&structure, seed, dead, |builder| builder).decide()
        });
    }
}

#[test]
fn a_component_in_another_life_has_no_part_and_its_server_is_told() {
    let structure = &structures()[1];
    let mut wormhole = Wormhole::<Agreement>::new(3, 1, Weather::default(), tongue());
    let members = members_of(&wormhole);
    wormhole.reboot(p(2));
    let mut sim = testing::builder(structure, 1, wormhole)
        .application(judge)
        .check(same())
        .build(move |party| Agreement::new(party, members.clone(), place(1), p(0)));
    (0..3).for_each(|it| sim.command(p(it), Command::Propose(input(p(it)))));
    let settled = |party| {
        move |sim: &Simulation<Agreement>| sim.state(party).is_some_and(Protocol::is_settled)
    };
    (0..2).for_each(|it| sim.run_until(settled(p(it)), EVENTS_MAX).unwrap());
    assert!(sim.outcomes(p(2)).contains(&Outcome::OtherLife));
    assert!(!sim.outcomes(p(0)).contains(&Outcome::OtherLife));
}

#[test]
fn a_decision_convinces_anyone_and_only_of_what_was_decided() {
    let structure = &structures()[1];
    let mut world = world(structure, 5, |builder| builder);
    world.decide().unwrap();
    let (value, decision) = world.decided(p(2));
    let wormhole = Wormhole::<Agreement>::new(3, 5, Weather::default(), tongue());
    let members = members_of(&wormhole);
    let group = &testing::groups(structure)[0];
    let holds = |decision: &Decision, value: u64, scope, place| {
        let checks =
            decision.checks::<IdealSuite>(place, &members, scope, group, digest_of(&value));
        let keys = ideal::keyrings(structure, &Formula::exact(structure), 1);
        checks.is_some_and(|works| {
            let dones: Vec<Done<IdealSuite>> =
                IdealSuite::run_many(works, &keys[0], Default::default());
            decision.holds(&dones).is_some()
        })
    };
    let scope = group.scope();
    assert!(holds(&decision, value, scope, place(5)));
    assert!(!holds(&decision, value + 2, scope, place(5)));
    assert!(!holds(&decision, value, scope.child("other", 0), place(5)));
    assert!(!holds(&decision, value, scope, place(6)));
    let other = if decision.proposer() == p(0) { p(1) } else { p(0) };
    assert!(!holds(&Decision { proposer: other, ..decision.clone() }, value, scope, place(5)));
    let by = if decision.by == p(0) { p(1) } else { p(0) };
    assert!(!holds(&Decision { by, ..decision.clone() }, value, scope, place(5)));
    assert!(!holds(&Decision { places: Default::default(), ..decision }, value, scope, place(5)));
}

#[test]
fn an_invalid_value_is_never_decided_and_an_equivocator_is_suspected() {
    let structure = &structures()[1];
    seeds(0..40, |seed| {
        let mut world = world(structure, seed, |builder| builder.corrupt([p(2)], Passive));
        world.sim.command(p(2), Command::Propose(7));
        world.decide()
    });
    let mut suspected = 0;
    seeds(0..40, |seed| {
        let twice = Mutator(|letter: &Letter<Said>, _: &mut Random| match *letter.body {
            Message::Propose(value) => vec![Message::Propose(value), Message::Propose(value + 2)],
            ref other => vec![other.clone()],
        });
        let mut world = world(structure, seed * 3 + 2, |builder| builder.corrupt([p(2)], twice));
        world.sim.command(p(2), Command::Propose(input(p(2))));
        world.decide()?;
        let is_it = |kind| kind == FaultKind::Equivocation;
        suspected += u64::from(world.sim.blames().iter().any(|(_, fault)| is_it(fault.kind)));
        Ok(())
    });
    assert!(suspected > 10, "{suspected}");
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
