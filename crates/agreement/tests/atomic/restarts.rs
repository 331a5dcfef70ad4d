//! Crashes at persist points, on storage that loses what was not synced; absences.

use super::world::{World, p, parties, world};
use maftia_base::PartySet;
use maftia_base::time::Duration;
use maftia_sim::{Crashes, Failure, Network, UNIT, seeds};

/// What a client does: whatever is not ordered when all is quiet is submitted again.
pub(crate) fn insist(world: &mut World, items: &[Vec<u8>]) -> Result<(), Failure> {
    for _ in 0..20 {
        world.run_to_quiescence()?;
        let honest = world.sim.honest();
        let up: Vec<_> = honest.iter().filter(|party| world.sim.is_up(*party)).collect();
        assert_eq!(up.len(), honest.len(), "those that crashed were restarted");
        let missing: Vec<_> =
            items.iter().filter(|item| !world.has(up[0], &[item.to_vec()])).cloned().collect();
        if missing.is_empty() {
            break;
        }
        for (item, party) in missing.iter().zip(up.iter().cycle()) {
            world.submit_this(*party, item);
        }
    }
    world.finish(items)
}

#[test]
fn crashes_of_one_server_at_persist_points_lose_nothing_that_is_ordered() {
    seeds(0..40, |seed| {
        let crashes = Crashes {
            parties: parties([(seed % 4) as usize]),
            permille: 60,
            crashes_max: 6,
            ..Crashes::default()
        };
        let mut world = world(4, seed, |builder| builder.crashes(crashes));
        let items = world.submit_many(PartySet::all(4), 4);
        insist(&mut world, &items)
    });
}

#[test]
fn crashes_of_everyone_at_persist_points_lose_nothing_that_is_ordered() {
    seeds(0..40, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 30,
            downtime: Duration(20 * UNIT.0),
            crashes_max: 20,
        };
        let mut world = world(4, seed, |builder| builder.crashes(crashes));
        let items = world.submit_many(PartySet::all(4), 4);
        insist(&mut world, &items)
    });
}

#[test]
fn all_at_once_lose_what_was_not_synced_and_resume() {
    seeds(0..40, |seed| {
        let mut world = world(4, seed, |builder| builder);
        let items = world.submit_many(PartySet::all(4), 4);
        let events = 50 + (seed * 37) % 1500;
        for _ in 0..events {
            world.step()?;
        }
        let before: Vec<_> = (0..4).map(|index| world.deliveries(p(index)).len()).collect();
        (0..4).for_each(|index| world.sim.crash_losing_unsynced(p(index)));
        (0..4).for_each(|index| world.sim.restart(p(index)));
        insist(&mut world, &items)?;
        for (index, before) in before.into_iter().enumerate() {
            assert!(world.deliveries(p(index)).len() >= before, "what was told is told again");
        }
        Ok(())
    });
}

#[test]
fn one_that_was_away_for_long_catches_up_from_its_peers_logs() {
    seeds(0..6, |seed| {
        let mut world = world(4, seed, |builder| builder.footprint_max(1_000));
        let mut items = world.submit_many(PartySet::all(4), 1);
        world.finish(&items)?;
        world.sim.crash(p(3));
        for _ in 0..60 {
            let next = world.submit_many(parties([0, 1, 2]), 1);
            world.run_until(|world| world.all_have(parties([0, 1, 2]), &next))?;
            items.extend(next);
        }
        world.sim.restart(p(3));
        world.finish(&items)?;
        world.check_exactly(&items)?;
        items.push(world.submit(p(3)));
        world.finish(&items)
    });
}

#[test]
fn one_that_was_away_catches_up_while_the_others_go_on() {
    seeds(0..6, |seed| {
        let mut world = world(4, seed, |builder| builder.network(Network::random()));
        let mut items = Vec::new();
        world.sim.crash(p(0));
        for step in 0..60 {
            if step == 30 {
                world.sim.restart(p(0));
            }
            let next = world.submit_many(parties([1, 2, 3]), 1);
            world.run_until(|world| world.all_have(parties([1, 2, 3]), &next))?;
            items.extend(next);
        }
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}
