//! Without misbehaviour, under every order of events.

use super::world::{World, p, parties, world, world_of};
use maftia_agreement::atomic::{Height, WINDOW};
use maftia_base::time::Time;
use maftia_base::{AdversaryStructure, Digest, Epoch, Formula, PartySet};
use maftia_crypto::{DealSpec, GroupKeys, RealKeyring, RealSuite, ServerKeys, deal};
use maftia_sim::{Network, Partition, UNIT, check_deterministic, seeds};

#[test]
fn delivers_everything_once_in_one_order() {
    for n in [1, 4, 7] {
        seeds(0..20, |seed| {
            let mut world = world(n, seed, |builder| builder);
            let items = world.submit_many(PartySet::all(n), 3);
            world.finish(&items)?;
            world.check_exactly(&items)
        });
    }
}

#[test]
fn a_late_submission_is_ordered_after_silence() {
    seeds(0..20, |seed| {
        let mut world = world(4, seed, |builder| builder);
        let mut items = vec![world.submit(p(2))];
        world.finish(&items)?;
        items.push(world.submit(p(0)));
        items.push(world.submit(p(2)));
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}

#[test]
fn works_for_a_general_structure() {
    let sets = [parties([0, 1]), parties([2]), parties([3]), parties([4])];
    let structure = AdversaryStructure::general(5, &sets).expect("well-formed");
    assert_eq!(structure.check_q3(), Ok(()));
    seeds(0..20, |seed| {
        let keyrings =
            maftia_crypto::ideal::keyrings(&structure, &Formula::exact(&structure), seed);
        let mut world: World = world_of(&structure, seed, keyrings, |builder| {
            builder.corrupt([p(0), p(1)], maftia_sim::attacks::Silent)
        });
        let items = world.submit_many(parties([2, 3, 4]), 2);
        world.finish(&items)
    });
}

#[test]
fn loss_and_duplication_do_no_harm() {
    seeds(0..40, |seed| {
        let network = Network::lossy(50).duplicating(50);
        let mut world = world(4, seed, |builder| builder.network(network.clone()));
        let items = world.submit_many(PartySet::all(4), 3);
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}

#[test]
fn a_starved_server_neither_delays_the_others_nor_stays_behind() {
    seeds(0..10, |seed| {
        let network = Network::random().starving(p(3));
        let mut world = world(4, seed, |builder| builder.network(network.clone()));
        let mut items = Vec::new();
        for _ in 0..10 {
            let next = world.submit_many(parties([0, 1, 2]), 1);
            world.run_until(|world| world.all_have(parties([0, 1, 2]), &next))?;
            items.extend(next);
        }
        assert!(!world.has(p(3), &items), "nothing reaches it that soon");
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}

#[test]
fn a_partition_stops_it_and_its_healing_resumes_it() {
    for loses in [false, true] {
        seeds(0..20, |seed| {
            let split = Partition {
                side: parties([0, 1]),
                from: Time(0),
                until: Time(200 * UNIT.0),
                loses,
            };
            let network = Network::random().partitioned(split).losses_max(u32::MAX);
            let mut world = world(4, seed, |builder| builder.network(network.clone()));
            let items = world.submit_many(PartySet::all(4), 3);
            world.sim.run_for(maftia_base::time::Duration(150 * UNIT.0), 1_000_000)?;
            assert!(!world.has(p(0), &items[..1]), "half a group decides nothing");
            world.finish(&items)
        });
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    check_deterministic(7, |seed| {
        let mut world = world(4, seed, |builder| builder.network(Network::lossy(20)));
        let items = world.submit_many(PartySet::all(4), 4);
        world.finish(&items)?;
        Ok(world.sim.digest())
    })
    .expect("it succeeds");
}

#[test]
fn an_item_that_the_application_refuses_blocks_its_lane_and_no_other() {
    seeds(0..20, |seed| {
        let mut world = world(4, seed, |builder| builder);
        world.submit_this(p(1), b"bad item");
        let items = world.submit_many(parties([0, 2, 3]), 3);
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}

#[test]
fn every_delivery_carries_a_quorum_of_readings_and_its_own_seed() {
    seeds(0..10, |seed| {
        let mut world = world(4, seed, |builder| builder);
        let items = world.submit_many(PartySet::all(4), 4);
        world.finish(&items)?;
        let deliveries = world.deliveries(p(0));
        let seeds: std::collections::BTreeSet<Digest> =
            deliveries.iter().map(|delivery| delivery.seed).collect();
        assert_eq!(seeds.len(), deliveries.len(), "no randomness is used twice");
        let structure = AdversaryStructure::optimal(4).expect("well-formed");
        for delivery in &deliveries {
            let voters: PartySet = delivery.readings.iter().map(|(party, _)| *party).collect();
            assert!(structure.is_quorum(voters));
            assert!(
                delivery.readings.iter().all(|(_, reading)| *reading >= maftia_sim::CLOCK_START)
            );
        }
        Ok(())
    });
}

#[test]
fn a_lane_stays_within_its_window_and_memory_stays_bounded() {
    seeds(0..3, |seed| {
        let mut world = world(4, seed, |builder| builder.footprint_max(1_000));
        let mut items = Vec::new();
        for _ in 0..150 {
            let next = world.submit_many(PartySet::all(4), 2);
            world.run_until(|world| world.has(p(0), &next[..1]))?;
            items.extend(next);
        }
        world.finish(&items)?;
        world.check_exactly(&items)?;
        let heights = world.deliveries(p(0)).iter().map(|delivery| delivery.height).max();
        assert!(heights > Some(Height(2 * WINDOW)), "the window moved: {heights:?}");
        Ok(())
    });
}

fn real_keyrings(structure: &AdversaryStructure) -> Vec<RealKeyring> {
    let spec = DealSpec {
        structure: structure.clone(),
        sharing: Formula::exact(structure),
        epoch: Epoch(0),
        context: Digest::default(),
        rsa: Vec::new(),
    };
    let mut rng =
        <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::from_seed([7; 32]);
    let (public, servers): (GroupKeys, Vec<ServerKeys>) =
        deal(&spec, &mut rng, &mut |_| {}).expect("well-formed");
    servers
        .into_iter()
        .map(|server| RealKeyring::new(public.clone(), server).expect("they belong together"))
        .collect()
}

#[test]
fn the_real_cryptography_gives_the_same_promises() {
    let structure = AdversaryStructure::optimal(4).expect("well-formed");
    seeds(0..3, |seed| {
        let keyrings = real_keyrings(&structure);
        let mut world: World<RealSuite> =
            world_of(&structure, seed, keyrings, |builder| builder.network(Network::lossy(10)));
        let items = world.submit_many(PartySet::all(4), 3);
        world.finish(&items)?;
        world.check_exactly(&items)
    });
}
