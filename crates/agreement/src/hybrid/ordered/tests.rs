use super::*;
use crate::hybrid::testing::{self, *};
use maftia_base::time::{Duration, Time};
use maftia_base::{AdversaryStructure, Party, PartySet, Protocol};
use maftia_crypto::IdealSuite;
use maftia_sim::attacks::{Flooder, Mutator, Mute, Passive, Replayer, Silent, Twins};
use maftia_sim::wormhole::{Cut, Weather, Wormhole};
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Letter, Network, Random, Simulation, UNIT,
    check_deterministic, seeds,
};
use std::cell::RefCell;

type Order = Ordered<IdealSuite, u64>;
type Said = Message<u64>;

/// Looks at the trusted components count, too, while somebody waits for their answer: in the ten
/// seconds that a message of a starved server takes, many thousands.
const EVENTS_MAX: u64 = 6_000_000;
const MESSAGES: u64 = 3;

/// n >= 2f + 1.
fn structures() -> Vec<AdversaryStructure> {
    thresholds(&[(1, 0), (3, 1), (5, 2)])
}

/// The `number`th message of server `i`.
fn input(party: Party, number: u64) -> u64 {
    1_000 * party.index() as u64 + number
}

/// Complains if two servers deliver different things at one place, or what nobody multicast.
fn check(honest: PartySet) -> impl FnMut(Party, &Outcome<u64>) -> Result<(), String> + 'static {
    let places: RefCell<std::collections::BTreeMap<u64, Item<u64>>> = RefCell::default();
    move |_, Outcome { place, item }| {
        let first = places.borrow_mut().entry(*place).or_insert(item.clone()).clone();
        let own = !honest.contains(item.sender) || item.value == input(item.sender, item.number);
        match first == *item && own {
            true => Ok(()),
            false => Err(format!("{item:?} at place {place}, where {first:?} stands")),
        }
    }
}

struct World {
    sim: Simulation<Order>,
}

fn world(
    structure: &AdversaryStructure,
    seed: u64,
    (weather, corrupt): (Weather, PartySet),
    customize: impl FnOnce(Builder<Order>) -> Builder<Order>,
) -> World {
    let n = structure.n();
    let wormhole = Wormhole::new(n, seed, weather, tongue());
    let members = members_of(&wormhole);
    let builder = testing::builder(structure, seed, wormhole)
        .check(check(PartySet::all(n).difference(corrupt)))
        .footprint_max(6 * n);
    World { sim: customize(builder).build(move |party| Order::new(party, members.clone(), 1)) }
}

impl World {
    fn delivered_of(&self, at: Party, sender: Party) -> u64 {
        let of = |outcome: &&Outcome<u64>| outcome.item.sender == sender;
        self.sim.outcomes(at).iter().filter(of).count() as u64
    }

    /// Each honest server multicasts some messages, one after the other, until all have all.
    fn multicast(&mut self) -> Result<(), Failure> {
        let honest = self.sim.honest();
        loop {
            let mut done = true;
            for party in honest.iter() {
                let Some(state) = self.sim.state(party) else {
                    done = false;
                    continue;
                };
                let (free, sent) = (state.capacity() > 0, state.delivered_of(party));
                if free && sent < MESSAGES {
                    self.sim.command(party, Command::Multicast(input(party, sent + 1)));
                }
                done &= honest.iter().all(|it| self.delivered_of(party, it) == MESSAGES);
            }
            if done {
                return Ok(());
            }
            if !self.sim.step()? {
                return Err(self.sim.fail(p(0), "not all is delivered, and nothing happens"));
            }
            if self.sim.stats().events > EVENTS_MAX {
                return Err(self.sim.fail(p(0), "not all is delivered in time"));
            }
        }
    }
}

fn against<A: Adversary<Order> + 'static>(count: u64, adversary: impl Fn() -> A) {
    for structure in structures().into_iter().skip(1) {
        seeds(0..count, |seed| {
            let network = match seed % 3 {
                0 => Network::random().starving(p((seed % structure.n() as u64) as usize)),
                _ => Network::random(),
            };
            let corrupt = liars(&structure);
            let mut world = world(&structure, seed, (Weather::default(), corrupt), |builder| {
                builder.network(network).corrupt(corrupt.iter(), adversary())
            });
            for liar in corrupt.iter() {
                world.sim.command_copy(liar, 0, Command::Multicast(input(liar, 1)));
                world.sim.command_copy(liar, 1, Command::Multicast(input(liar, 8)));
            }
            world.multicast()
        });
    }
}

#[test]
fn all_deliver_everything_in_one_order() {
    for structure in structures() {
        seeds(0..40, |seed| {
            let kind = (Weather::default(), PartySet::EMPTY);
            let mut world = world(&structure, seed, kind, |builder| builder);
            world.multicast()?;
            // And then there is silence.
            world.sim.run_to_quiescence(EVENTS_MAX)
        });
    }
}

#[test]
fn takes_as_many_messages_and_delays_as_the_documentation_says() {
    let structure = &structures()[1];
    let kind = (Weather::default(), PartySet::EMPTY);
    let mut world = world(structure, 1, kind, |builder| builder.network(Network::unit_delay()));
    world.sim.run_to_quiescence(EVENTS_MAX).unwrap();
    world.sim.mark();
    world.sim.command(p(0), Command::Multicast(input(p(0), 1)));
    let all = |sim: &Simulation<Order>| (0..3).all(|at| !sim.outcomes(p(at)).is_empty());
    world.sim.run_until(all, EVENTS_MAX).unwrap();
    // One message delay, and three of the control channel, of half a unit at most.
    assert!(world.sim.elapsed_units() <= 3, "{}", world.sim.elapsed_units());
    world.sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(world.sim.messages_since_mark(), 2 + 6);
}

#[test]
fn silent_and_passive_liars_stop_nobody() {
    against(20, || Silent);
    against(10, || Passive);
}

#[test]
fn two_copies_of_a_server_split_no_order() {
    against(30, || Twins { second: parties([1, 3]) });
}

#[test]
fn floods_replays_and_selective_silence_change_nothing() {
    against(15, || Flooder { copies: 3 });
    against(20, || Replayer::new(300));
    against(30, || Mute { towards: parties([1, 2]) });
}

/// Changes what it says and shows, and leaves signatures as they are.
fn garble(letter: &Letter<Said>, random: &mut Random) -> Vec<Said> {
    let garbled = match (*letter.body).clone() {
        Message::Sent(item) => Message::Sent(Item { value: random.below(3), ..item }),
        Message::Reached(_) => Message::Reached(random.below(40)),
        Message::Ask(place) => Message::Ask(place + random.below(2)),
        Message::Shown(shown) => match random.below(3) {
            0 => Message::Shown(Shown { item: None, ..shown }),
            1 => Message::Shown(Shown { by: p(random.below(9) as usize), ..shown }),
            _ => {
                let item = shown.item.map(|item| Item { value: 5, ..item });
                Message::Shown(Shown { item, ..shown })
            }
        },
    };
    if random.chance(500) { vec![garbled] } else { vec![(*letter.body).clone()] }
}

#[test]
fn nobody_delivers_what_was_not_multicast() {
    against(30, || Mutator(garble));
}

#[test]
fn a_late_and_lossy_control_channel_delays_and_nothing_else() {
    for structure in structures() {
        seeds(0..40, |seed| {
            let weather = Weather { lost: 100, late: 200, ..Weather::default() };
            world(&structure, seed, (weather, PartySet::EMPTY), |builder| builder).multicast()
        });
    }
}

#[test]
fn who_is_not_told_by_its_own_component_is_shown_by_others() {
    let structure = &structures()[1];
    seeds(0..20, |seed| {
        let cut = Cut { side: parties([2]), from: Time(0), until: Time(u64::MAX / 2_000) };
        let weather = Weather { cut: Some(cut), ..Weather::default() };
        let mut world = world(structure, seed, (weather, PartySet::EMPTY), |builder| builder);
        world.multicast()
    });
}

#[test]
fn crashes_and_losses_are_harmless() {
    for structure in structures() {
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()),
                permille: 100,
                downtime: Duration((1 + seed % 300) * UNIT.0),
                crashes_max: 12,
            };
            let kind = (Weather::default(), PartySet::EMPTY);
            let mut world = world(&structure, seed, kind, |builder| {
                builder.crashes(crashes).network(Network::lossy(100).duplicating(100))
            });
            world.multicast()
        });
    }
}

#[test]
fn all_crash_at_once_at_any_moment_and_nobody_forgets_what_it_delivered() {
    for structure in structures() {
        seeds(0..60, |seed| {
            let kind = (Weather::default(), PartySet::EMPTY);
            let mut world = world(&structure, seed, kind, |builder| builder);
            let n = structure.n();
            (0..n).for_each(|at| world.sim.command(p(at), Command::Multicast(input(p(at), 1))));
            for _ in 0..2 * seed {
                world.sim.step()?;
            }
            (0..n).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
            (0..n).for_each(|index| world.sim.restart(p(index)));
            world.multicast()
        });
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    check_deterministic(3, |seed| {
        let kind = (Weather::default(), PartySet::EMPTY);
        let mut world = world(&structures()[1], seed, kind, |builder| builder);
        world.multicast()?;
        Ok(world.sim.digest())
    })
    .unwrap();
}
