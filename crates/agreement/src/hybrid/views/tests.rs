use super::*;
use crate::digest_of;
use crate::hybrid::testing::{self, *};
use maftia_base::time::Duration;
use maftia_base::{Epoch, FaultKind, Formula, PartySet, Protocol};
use maftia_crypto::{Done, IdealSuite, Suite, ideal};
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Weather, Wormhole};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Letter, Network, Random, Simulation, UNIT,
    check_deterministic, seeds,
};
use std::cell::RefCell;

type Agreement = ViewAgreement<IdealSuite, u64>;
type Said = Message<u64>;

const EVENTS_MAX: u64 = 200_000;

fn structures() -> Vec<AdversaryStructure> {
    let general = two_at_one_site();
    general.check_q2().unwrap();
    [thresholds(&[(1, 0), (3, 1), (5, 2)]), vec![general]].concat()
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
        if value % 2 != 0 {
            return Err(format!("decided {value}, which is not valid"));
        }
        let first = *decided.borrow_mut().get_or_insert((*value, *seed));
        match first == (*value, *seed) {
            true => Ok(()),
            false => Err(format!("decided {value} and {first:?}")),
        }
    }
}

struct World {
    sim: Simulation<Agreement>,
}

fn world_with(
    structure: &AdversaryStructure,
    seed: u64,
    wormhole: Wormhole<Agreement>,
    customize: impl FnOnce(Builder<Agreement>) -> Builder<Agreement>,
) -> World {
    let members = members_of(&wormhole);
    let base = p((seed % structure.n() as u64) as usize);
    let builder = testing::builder(structure, seed, wormhole)
        .application(judge)
        .check(same())
        .footprint_max(20 * structure.n());
    let place = Place { epoch: Epoch(0), round: seed };
    let sim = customize(builder)
        .build(move |party| ViewAgreement::new(party, members.clone(), place, base));
    World { sim }
}

fn world(
    structure: &AdversaryStructure,
    seed: u64,
    customize: impl FnOnce(Builder<Agreement>) -> Builder<Agreement>,
) -> World {
    let wormhole = Wormhole::new(structure.n(), seed, Weather::default(), tongue());
    world_with(structure, seed, wormhole, customize)
}

impl World {
    /// Proposes at everybody who has nothing to propose yet, until all honest servers decided.
    fn decide(&mut self) -> Result<(), Failure> {
        let everybody = self.sim.honest();
        self.decide_from(everybody)
    }

    fn decide_from(&mut self, proposers: PartySet) -> Result<(), Failure> {
        let (everybody, sim) = (self.sim.honest(), &mut self.sim);
        let command = |party| Command::Propose(input(party));
        testing::decide(sim, (proposers, everybody), Agreement::has_input, command, EVENTS_MAX)?;
        self.sim.run_to_quiescence(EVENTS_MAX)
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
                0 => Network::random(),
                _ => Network::random().starving(p((seed % structure.n() as u64) as usize)),
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
fn takes_two_message_delays_if_the_leader_is_honest() {
    let structure = &structures()[1];
    let mut world = world(structure, 0, |builder| builder.network(Network::unit_delay()));
    (0..3).for_each(|index| world.sim.command(p(index), Command::Propose(input(p(index)))));
    let all = |sim: &Simulation<Agreement>| {
        (0..3).all(|index| sim.state(p(index)).is_some_and(Protocol::is_settled))
    };
    world.sim.run_until(all, EVENTS_MAX).unwrap();
    assert_eq!(world.sim.elapsed_units(), 2);
    assert_eq!(world.sim.stats().messages, 6, "two proposals, two votes to two each");
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
            world.decide_from(PartySet::from_iter([one]))?;
            assert_eq!(world.decided(p(0)).0, input(one));
            Ok(())
        });
    }
}

#[test]
fn a_silent_leader_is_left_behind() {
    against(60, || Silent);
}

#[test]
fn honest_code_in_corrupt_hands_is_harmless() {
    against(20, || Passive);
}

#[test]
fn two_copies_with_one_trusted_component_cannot_propose_two_values() {
    against(60, || Twins { second: parties([1]) });
}

#[test]
fn floods_and_replays_change_nothing() {
    against(30, || Flooder { copies: 3 });
    against(30, || Replayer::new(300));
}

#[test]
fn a_leader_that_tells_some_and_not_others_stops_nobody() {
    against(60, || Mute { towards: parties([1, 2]) });
}

/// The leader shows its proposal to all but one; the other liars say nothing to that one.
#[test]
fn whom_all_liars_hide_a_decided_proposal_from_is_told_by_those_who_voted() {
    let structure = &structures()[2];
    seeds(0..40, |seed| {
        let hides = Mute { towards: parties([2]) };
        let mut world = world(structure, 5 * seed, |builder| builder.corrupt([p(0), p(4)], hides));
        for liar in [p(0), p(4)] {
            world.sim.command(liar, Command::Propose(input(liar)));
        }
        world.decide_from(PartySet::EMPTY)
    });
}

/// Changes what it says, and leaves the identifiers as they are.
fn garble(letter: &Letter<Said>, random: &mut Random) -> Vec<Said> {
    let garbled = match (*letter.body).clone() {
        Message::Prepare(prepare) => match random.below(4) {
            0 => Message::Prepare(Prepare { value: prepare.value + 2, ..prepare }),
            1 => Message::Prepare(Prepare { view: prepare.view.next(), ..prepare }),
            2 => Message::Prepare(Prepare { justification: Justification::none(), ..prepare }),
            _ => Message::Prepare(Prepare { origin: View(0), first: None, ..prepare }),
        },
        Message::Commit { view, identifier, .. } => {
            Message::Commit { view, proposal: digest_of(&random.bits()), identifier }
        }
        Message::Enter(enter) => match random.below(2) {
            0 => Message::Enter(Enter { vote: None, ..enter }),
            _ => Message::Enter(Enter { view: enter.view.next(), ..enter }),
        },
        Message::Input { .. } => Message::Input { value: 7 },
        other => other,
    };
    if random.chance(500) { vec![garbled] } else { vec![(*letter.body).clone()] }
}

#[test]
fn whatever_does_not_fit_its_identifier_is_refused() {
    against(80, || Mutator(garble));
}

#[test]
fn views_that_overlap_never_decide_two_values() {
    let (mut later, mut again) = (0, 0);
    for structure in structures().into_iter().skip(1) {
        seeds(0..150, |seed| {
            let slow = Slow::letters([700, 1_500, 6_000][(seed % 3) as usize]);
            let mut world = world(&structure, seed, |builder| builder.network(slow));
            world.decide()?;
            let (_, decision) = world.decided(p(0));
            later += u64::from(decision.view > View(0));
            again += u64::from(decision.view > decision.origin);
            Ok(())
        });
    }
    assert!(later > 150 && again > 50, "of 450, {later} in later views, {again} proposed again");
}

#[test]
fn views_that_overlap_beside_a_liar_never_decide_two_values() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..200, |seed| {
            let slow = Slow::letters([700, 1_500, 6_000][(seed % 3) as usize]);
            let mut world = world(&structure, seed, |builder| {
                let builder = builder.network(slow);
                match seed % 4 {
                    0 => builder.corrupt(liars(&structure).iter(), Mutator(garble)),
                    1 => builder.corrupt(liars(&structure).iter(), Silent),
                    2 => {
                        let towards = parties([1]);
                        builder.corrupt(liars(&structure).iter(), Mute { towards })
                    }
                    _ => builder.corrupt(liars(&structure).iter(), Replayer::new(500)),
                }
            });
            for liar in liars(&structure).iter() {
                world.sim.command(liar, Command::Propose(input(liar)));
            }
            world.decide()
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
            let slow = Slow::letters([2, 1_500][(seed % 2) as usize]);
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
fn a_crashed_trusted_component_silences_its_server_and_nobody_else() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..30, |seed| {
            let victim = p((seed % structure.n() as u64) as usize);
            let mut wormhole = Wormhole::new(structure.n(), seed, Weather::default(), tongue());
            wormhole.crash(victim);
            let mut world = world_with(&structure, seed, wormhole, |builder| builder);
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
    let wormhole = Wormhole::<Agreement>::new(3, 5, Weather::default(), tongue());
    let members = members_of(&wormhole);
    let scope = groups(structure)[0].scope();
    let holds = |decision: &Decision, value: u64, scope, round| {
        let place = Place { epoch: Epoch(0), round };
        let here = Here { scope, place, members: &members, structure, base: p(2) };
        let Some(work) = decision.check::<IdealSuite>(&here, digest_of(&value)) else {
            return false;
        };
        let keys = ideal::keyrings(structure, &Formula::exact(structure), 1);
        let done = IdealSuite::run_many(vec![work], &keys[0], Default::default());
        matches!(&done[0], Done::Verified(verdicts) if verdicts.iter().all(|good| *good))
    };
    assert!(holds(&decision, value, scope, 5));
    assert!(!holds(&decision, value + 2, scope, 5));
    assert!(!holds(&decision, value, scope.child("other", 0), 5));
    assert!(!holds(&decision, value, scope, 6));
    let mut thin = decision.clone();
    thin.commits = Default::default();
    assert!(!holds(&thin, value, scope, 5));
    let mut later = decision;
    later.view = later.view.next();
    assert!(!holds(&later, value, scope, 5));
}

#[test]
fn invalid_values_are_never_decided_and_liars_are_suspected() {
    let structure = &structures()[1];
    seeds(0..40, |seed| {
        let mut world = world(structure, seed, |builder| builder.corrupt([p(2)], Passive));
        world.sim.command(p(2), Command::Propose(7));
        world.decide()
    });
    let mut suspected = 0;
    seeds(0..40, |seed| {
        let mut world = world(structure, seed, |builder| builder.corrupt([p(2)], Mutator(garble)));
        world.sim.command(p(2), Command::Propose(input(p(2))));
        world.decide()?;
        let kind = |kind| kind == FaultKind::InvalidValue || kind == FaultKind::BadSignature;
        suspected += u64::from(world.sim.blames().iter().any(|(_, fault)| kind(fault.kind)));
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
