use crate::world::*;
use maftia_agreement::broadcast::reliable::{
    Command, Message, Outcome, ReliableBroadcast, footprint_max,
};
use maftia_base::{AdversaryStructure, Party, PartySet};
use maftia_crypto::{IdealSuite, RealSuite};
use maftia_sim::attacks::{Flooder, Mutator, Replayer, Silent, Twins};
use maftia_sim::{
    Builder, Crashes, Failure, Letter, Network, Random, Simulation, check_deterministic, seeds,
};

type Broadcast<S = IdealSuite> = ReliableBroadcast<S, u64>;
type Sim = Simulation<Broadcast>;

fn start(
    structure: &AdversaryStructure,
    sender: Party,
    seed: u64,
    customize: impl FnOnce(Builder<Broadcast>) -> Builder<Broadcast>,
) -> Sim {
    let builder = builder::<IdealSuite, _>(structure, seed);
    let builder = builder.footprint_max(footprint_max(structure.n()));
    customize(builder).build(move |_| Broadcast::new(sender))
}

/// The sender is honest: everybody delivers what it broadcast.
fn check_validity(sim: &mut Sim, sender: Party) -> Result<(), Failure> {
    let command = |party| (party == sender).then_some(Command::Broadcast(7));
    run(sim, command, |sim| all_told(sim, 1))?;
    let told = same_everywhere(sim, |Outcome::Delivered(value)| Some(*value))?;
    assert_eq!(told, Some(7), "what an honest sender broadcast");
    for party in sim.honest().iter() {
        assert_eq!(sim.outcomes(party).len(), 1, "delivered once");
    }
    Ok(())
}

/// The sender is corrupt: all deliver the same, or nobody does. True if they do.
fn check_totality(sim: &mut Sim) -> Result<bool, Failure> {
    sim.run_to_quiescence(EVENTS_MAX)?;
    let told = same_everywhere(sim, |Outcome::Delivered(value)| Some(*value))?;
    for party in sim.honest().iter() {
        let expected = usize::from(told.is_some());
        assert_eq!(sim.outcomes(party).len(), expected, "all or none, and once");
    }
    Ok(told.is_some())
}

#[test]
fn all_deliver_what_an_honest_sender_broadcasts_in_any_order() {
    for (structure, corrupt) in structures() {
        seeds(0..40, |seed| {
            let sender = PartySet::all(structure.n()).difference(corrupt).iter().last();
            let sender = sender.expect("somebody is honest");
            check_validity(
                &mut start(&structure, sender, seed, |b| b.corrupt(corrupt.iter(), Silent)),
                sender,
            )?;
            let lossy = Network::lossy(200).duplicating(200);
            check_validity(&mut start(&structure, sender, seed, |b| b.network(lossy)), sender)
        });
    }
}

#[test]
fn all_or_none_deliver_one_value_of_an_equivocating_sender() {
    let mut delivered = 0;
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let sender = corrupt.iter().next().expect("not empty");
        seeds(0..60, |seed| {
            let second = parties((0..structure.n()).filter(|i| (seed >> i) & 1 == 1));
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.network(Network::lossy(100)).corrupt(corrupt.iter(), Twins { second })
            });
            sim.command_copy(sender, 0, Command::Broadcast(1));
            sim.command_copy(sender, 1, Command::Broadcast(2));
            delivered += u64::from(check_totality(&mut sim)?);
            Ok(())
        });
    }
    assert!(delivered > 0, "sometimes one of the two values wins");
}

#[test]
fn all_or_none_deliver_when_corrupt_servers_say_random_things() {
    for (structure, corrupt) in structures().into_iter().skip(1) {
        let sender = corrupt.iter().next().expect("not empty");
        seeds(0..60, |seed| {
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(
                    corrupt.iter(),
                    Mutator(|letter: &Letter<_>, random: &mut Random| {
                        let value = random.below(2);
                        match (&*letter.body, random.below(4)) {
                            (_, 0) => vec![],
                            (Message::Init(_), _) => vec![Message::Init(value)],
                            (Message::Echo(_), _) => {
                                vec![Message::Echo(value), Message::Echo(1 - value)]
                            }
                            (Message::Ready(_), _) => {
                                vec![Message::Ready(maftia_agreement::digest_of(&value))]
                            }
                        }
                    }),
                )
            });
            sim.command(sender, Command::Broadcast(0));
            check_totality(&mut sim).map(drop)
        });
    }
}

#[test]
fn replays_and_floods_change_nothing_and_footprints_stay_bounded() {
    let structure = threshold(7);
    seeds(0..40, |seed| {
        let mut sim = start(&structure, p(0), seed, |builder| {
            builder.corrupt([p(5)], Flooder { copies: 5 }).corrupt([p(6)], Replayer::new(500))
        });
        check_validity(&mut sim, p(0))
    });
}

#[test]
fn everybody_may_crash_and_lose_unsynced_writes() {
    for (structure, corrupt) in structures() {
        let sender = PartySet::all(structure.n()).difference(corrupt).iter().next();
        let sender = sender.expect("somebody is honest");
        seeds(0..60, |seed| {
            let crashes = Crashes {
                parties: PartySet::all(structure.n()).difference(corrupt),
                permille: 150,
                crashes_max: 12,
                ..Crashes::default()
            };
            let mut sim = start(&structure, sender, seed, |builder| {
                builder.corrupt(corrupt.iter(), Silent).crashes(crashes)
            });
            check_validity(&mut sim, sender)
        });
    }
}

#[test]
fn one_seed_is_one_run() {
    let scenario = |seed| {
        let mut sim = start(&threshold(4), p(0), seed, |b| b.network(Network::lossy(100)));
        check_validity(&mut sim, p(0))?;
        Ok(sim.digest())
    };
    check_deterministic(3, scenario).expect("it runs");
}

#[test]
fn three_delays_and_three_durable_waits() {
    for (network, units) in [(Network::unit_delay(), 3), (Network::unit_sync(), 3)] {
        let mut sim = start(&threshold(4), p(0), 0, |builder| builder.network(network));
        sim.mark();
        sim.command(p(0), Command::Broadcast(7));
        sim.run_until(|sim| all_told(sim, 1), EVENTS_MAX).expect("it runs");
        assert_eq!(sim.elapsed_units(), units);
    }
}

#[test]
fn it_runs_with_the_real_suite_too() {
    let structure = threshold(4);
    let builder = builder::<RealSuite, Broadcast<RealSuite>>(&structure, 0);
    let mut sim = builder.build(|_| Broadcast::new(p(0)));
    sim.command(p(0), Command::Broadcast(7));
    sim.run_until(|sim| all_told(sim, 1), EVENTS_MAX).expect("it runs");
}
