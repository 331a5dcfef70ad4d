use super::*;
use crate::hybrid::multicast;
use crate::hybrid::testing::{self, *};
use maftia_base::time::Duration;
use maftia_base::{AdversaryStructure, Party, PartySet};
use maftia_crypto::IdealSuite;
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Weather, Wormhole};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Letter, Network, Random, Simulation, UNIT,
    check_deterministic, seeds,
};
use std::cell::RefCell;

type Vector = VectorConsensus<IdealSuite, u64>;
type Said = Message<u64>;

const EVENTS_MAX: u64 = 2_000_000;

fn structures() -> Vec<AdversaryStructure> {
    thresholds(&[(1, 0), (4, 1), (7, 2)])
}

/// Server `i` proposes `100 + i`.
fn input(party: Party) -> u64 {
    100 + party.index() as u64
}

/// Complains if two vectors differ, are too thin, or hold what an honest server did not propose.
fn check(
    structure: &AdversaryStructure,
    honest: PartySet,
) -> impl FnMut(Party, &Outcome<u64>) -> Result<(), String> + 'static {
    let first: RefCell<Option<Vec<Option<u64>>>> = RefCell::default();
    let structure = structure.clone();
    move |_, Outcome::Decided { values, .. }| {
        let first = first.borrow_mut().get_or_insert(values.clone()).clone();
        let held = |party: &Party| values[party.index()].is_some();
        let entries: PartySet = PartySet::all(structure.n()).iter().filter(held).collect();
        let own = |party: Party| values[party.index()].is_none_or(|it| it == input(party));
        match () {
            () if first != *values => Err(format!("decided {values:?}, and {first:?} before")),
            () if !structure.is_quorum(entries) => Err(format!("{values:?} is too thin")),
            () if !honest.iter().all(own) => Err(format!("{values:?} puts words into mouths")),
            () => Ok(()),
        }
    }
}

struct World {
    sim: Simulation<Vector>,
}

fn world_in(
    structure: &AdversaryStructure,
    seed: u64,
    (weather, corrupt): (Weather, PartySet),
    customize: impl FnOnce(Builder<Vector>) -> Builder<Vector>,
) -> World {
    let n = structure.n();
    let wormhole = Wormhole::new(n, seed, weather, tongue());
    let members = members_of(&wormhole);
    let builder = testing::builder(structure, seed, wormhole)
        .check(check(structure, PartySet::all(n).difference(corrupt)))
        .footprint_max(n * (4 * n + 2) + 12 * n + 2);
    World { sim: customize(builder).build(move |party| Vector::new(party, members.clone())) }
}

impl World {
    /// Proposes at everybody who has nothing to propose yet, until all honest servers decided.
    fn decide(&mut self) -> Result<(), Failure> {
        let (everybody, sim) = (self.sim.honest(), &mut self.sim);
        let command = |party| Command::Propose(input(party));
        testing::decide(sim, (everybody, everybody), Vector::has_input, command, EVENTS_MAX)?;
        self.sim.run_to_quiescence(EVENTS_MAX)
    }
}

fn against<A: Adversary<Vector> + 'static>(count: u64, adversary: impl Fn() -> A) {
    for structure in structures().into_iter().skip(1) {
        seeds(0..count, |seed| {
            let network = match seed % 3 {
                0 => Network::random().starving(p((seed % structure.n() as u64) as usize)),
                _ => Network::random(),
            };
            let corrupt = liars(&structure);
            let weather = Weather::default();
            let mut world = world_in(&structure, seed, (weather, corrupt), |builder| {
                builder.network(network).corrupt(corrupt.iter(), adversary())
            });
            for liar in corrupt.iter() {
                world.sim.command_copy(liar, 0, Command::Propose(input(liar)));
                world.sim.command_copy(liar, 1, Command::Propose(8 + input(liar)));
            }
            world.decide()
        });
    }
}

#[test]
fn all_decide_one_vector_of_what_a_quorum_proposed() {
    for structure in structures() {
        seeds(0..40, |seed| {
            let kind = (Weather::default(), PartySet::EMPTY);
            world_in(&structure, seed, kind, |builder| builder).decide()
        });
    }
}

#[test]
fn takes_as_many_messages_as_the_documentation_says() {
    let structure = &structures()[1];
    let n = 4;
    let mut least = u64::MAX;
    seeds(0..20, |seed| {
        let kind = (Weather::default(), PartySet::EMPTY);
        let network = Network::unit_delay();
        let mut world = world_in(structure, seed, kind, |builder| builder.network(network));
        world.decide()?;
        least = least.min(world.sim.stats().messages);
        Ok(())
    });
    assert_eq!(least, n * (n * n - 1) + n * (n - 1));
}

#[test]
fn silent_and_passive_liars_stop_nobody() {
    against(20, || Silent);
    against(10, || Passive);
}

#[test]
fn two_copies_of_a_server_split_no_vector() {
    against(40, || Twins { second: parties([1, 3]) });
}

#[test]
fn floods_replays_and_selective_silence_change_nothing() {
    against(10, || Flooder { copies: 2 });
    against(15, || Replayer::new(200));
    against(20, || Mute { towards: parties([1, 2]) });
}

/// Changes what it says: values, whose they are, and vectors.
fn garble(letter: &Letter<Said>, random: &mut Random) -> Vec<Said> {
    let garbled = match (*letter.body).clone() {
        Message::Cast { message: multicast::Message::Data { start, value }, sender } => {
            let message = multicast::Message::Data { start, value: value + random.below(2) };
            Message::Cast { sender, message }
        }
        Message::Cast { message, .. } => {
            Message::Cast { sender: p(random.below(9) as usize), message }
        }
        Message::Given { value } => Message::Given { value: value + 1 },
        other => other,
    };
    if random.chance(400) { vec![garbled] } else { vec![(*letter.body).clone()] }
}

#[test]
fn nobody_has_words_put_into_its_mouth() {
    against(40, || Mutator(garble));
}

#[test]
fn timeouts_split_no_vector() {
    for structure in structures().into_iter().skip(1) {
        seeds(0..30, |seed| {
            let weather = Weather { lost: 10, late: 60, ..Weather::default() };
            let corrupt = liars(&structure);
            let mut world = world_in(&structure, seed, (weather, corrupt), |builder| {
                builder.corrupt(corrupt.iter(), Twins { second: parties([1, 3]) })
            });
            for liar in corrupt.iter() {
                world.sim.command_copy(liar, 0, Command::Propose(input(liar)));
                world.sim.command_copy(liar, 1, Command::Propose(8 + input(liar)));
            }
            world.decide()
        });
    }
}

#[test]
fn crashes_and_losses_are_harmless() {
    for structure in structures() {
        seeds(0..40, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()),
                permille: 100,
                downtime: Duration((1 + seed % 300) * UNIT.0),
                crashes_max: 10,
            };
            let kind = (Weather::default(), PartySet::EMPTY);
            let mut world = world_in(&structure, seed, kind, |builder| {
                builder.crashes(crashes).network(Network::lossy(100).duplicating(100))
            });
            world.decide()
        });
    }
}

#[test]
fn all_crash_at_once_at_any_moment_and_still_agree() {
    for structure in structures() {
        seeds(0..60, |seed| {
            let kind = (Weather::default(), PartySet::EMPTY);
            let mut world = world_in(&structure, seed, kind, |builder| builder);
            let n = structure.n();
            (0..n).for_each(|at| world.sim.command(p(at), Command::Propose(input(p(at)))));
            for _ in 0..4 * seed {
                world.sim.step()?;
            }
            (0..n).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
            (0..n).for_each(|index| world.sim.restart(p(index)));
            world.decide()
        });
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    check_deterministic(3, |seed| {
        let kind = (Weather::default(), PartySet::EMPTY);
        let mut world = world_in(&structures()[1], seed, kind, |builder| builder);
        world.decide()?;
        Ok(world.sim.digest())
    })
    .unwrap();
}
