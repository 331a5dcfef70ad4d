//! Ordered changes of the epoch, with the same members.

use super::world::{World, p, parties, world};
use maftia_agreement::atomic::epochs::{Command, Outcome};
use maftia_base::{Epoch, Party, PartySet};
use maftia_sim::{Crashes, Failure, Network, seeds};

fn epoch(world: &World, party: Party) -> Epoch {
    world.sim.state(party).map_or(Epoch(0), |chain| chain.epoch())
}

fn change(world: &mut World, by: PartySet) {
    for party in by.iter() {
        world.sim.command(party, Command::ChangeEpoch);
    }
}

fn run_to_epoch(world: &mut World, who: PartySet, wanted: Epoch) -> Result<(), Failure> {
    world.run_until(|world| who.iter().all(|party| epoch(world, party) >= wanted))
}

fn is_end(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::EpochEnded { ended } if *ended == Epoch(0))
}

#[test]
fn an_epoch_ends_once_enough_want_it_and_nothing_is_lost() {
    for n in [1, 4, 7] {
        seeds(0..20, |seed| {
            let mut world = world(n, seed, |builder| builder);
            let all = PartySet::all(n);
            let mut items = world.submit_many(all, 3);
            change(&mut world, all);
            items.extend(world.submit_many(all, 3));
            world.finish(&items)?;
            run_to_epoch(&mut world, all, Epoch(1))?;
            items.extend(world.submit_many(all, 3));
            world.finish(&items)?;
            for party in all.iter() {
                let outcomes = world.sim.outcomes(party).iter();
                let ended = outcomes.filter(|outcome| is_end(outcome));
                assert_eq!(ended.count(), 1);
            }
            Ok(())
        });
    }
}

#[test]
fn one_server_alone_ends_no_epoch() {
    seeds(0..10, |seed| {
        let mut world = world(4, seed, |builder| builder);
        change(&mut world, parties([1]));
        let items = world.submit_many(PartySet::all(4), 3);
        world.finish(&items)?;
        assert!((0..4).all(|index| epoch(&world, p(index)) == Epoch(0)));
        Ok(())
    });
}

#[test]
fn many_epochs_under_load_on_a_bad_network() {
    seeds(0..15, |seed| {
        let mut world = world(4, seed, |builder| {
            builder.network(Network::lossy(30).duplicating(30)).footprint_max(1_000)
        });
        let all = PartySet::all(4);
        let mut items = Vec::new();
        for number in 1..=4 {
            items.extend(world.submit_many(all, 2));
            change(&mut world, parties([0, (seed as usize + number) % 3 + 1]));
            items.extend(world.submit_many(all, 2));
            run_to_epoch(&mut world, all, Epoch(number as u64))?;
        }
        world.finish(&items)
    });
}

#[test]
fn one_that_was_away_through_several_epochs_delivers_all_of_them() {
    seeds(0..10, |seed| {
        let mut world = world(4, seed, |builder| builder);
        let rest = parties([0, 1, 2]);
        world.sim.crash(p(3));
        let mut items = Vec::new();
        for number in 1..=3 {
            for _ in 0..8 {
                let next = world.submit_many(rest, 1);
                world.run_until(|world| world.all_have(rest, &next))?;
                items.extend(next);
            }
            change(&mut world, parties([0, 1]));
            run_to_epoch(&mut world, rest, Epoch(number))?;
        }
        world.sim.restart(p(3));
        world.finish(&items)?;
        assert_eq!(epoch(&world, p(3)), Epoch(3));
        items.push(world.submit(p(3)));
        world.finish(&items)
    });
}

#[test]
fn crashes_around_the_change_of_epoch_do_no_harm() {
    seeds(0..30, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 20,
            crashes_max: 8,
            ..Crashes::default()
        };
        let mut world = world(4, seed, |builder| builder.crashes(crashes));
        let all = PartySet::all(4);
        let items = world.submit_many(all, 3);
        change(&mut world, all);
        for _ in 0..20 {
            world.run_to_quiescence()?;
            if (0..4).all(|index| epoch(&world, p(index)) >= Epoch(1)) {
                break;
            }
            change(&mut world, all);
        }
        super::restarts::insist(&mut world, &items)
    });
}

#[test]
fn one_that_comes_back_two_epochs_late_is_the_third_that_the_others_need() {
    for rounds in [1, 3, 25] {
        seeds(0..10, |seed| {
            let mut world = world(4, seed, |builder| builder);
            let (rest, pair, trio) = (parties([0, 1, 3]), parties([0, 1]), parties([0, 1, 2]));
            world.sim.crash(p(2));
            let mut items = Vec::new();
            for number in 1..=2 {
                change(&mut world, rest);
                run_to_epoch(&mut world, rest, Epoch(number))?;
                for _ in 0..rounds {
                    let next = world.submit_many(rest, 1);
                    world.run_until(|world| world.all_have(rest, &next))?;
                    items.extend(next);
                }
            }
            world.sim.crash(p(3));
            items.extend(world.submit_many(pair, 1));
            world.run_to_quiescence()?;
            world.sim.restart(p(2));
            world.run_until(|world| world.all_have(trio, &items))?;
            world.sim.restart(p(3));
            world.finish(&items)
        });
    }
}
