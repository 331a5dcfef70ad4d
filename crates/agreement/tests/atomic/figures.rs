//! What it costs, counted: delays, durable waits, messages; and that silence costs nothing.

use super::world::{World, p, parties, world};
use maftia_base::PartySet;
use maftia_sim::attacks::Silent;
use maftia_sim::{Failure, Network, seeds};

/// One request at an idle group: until its first server delivers it.
fn one_request(n: usize, network: Network) -> Result<World, Failure> {
    let mut world = world(n, 1, |builder| builder.network(network));
    world.run_to_quiescence()?;
    world.sim.mark();
    let item = world.submit(p(0));
    world.run_until(|world| world.has(p(0), std::slice::from_ref(&item)))?;
    Ok(world)
}

#[test]
fn a_request_is_delivered_after_at_most_ten_message_delays() {
    for n in [4, 7, 10, 16] {
        let world = one_request(n, Network::unit_delay()).expect("it is delivered");
        let delays = world.sim.elapsed_units();
        println!("n = {n}: {delays} message delays, {} messages", world.sim.messages_since_mark());
        assert!(delays <= 10, "{delays} delays with n = {n}");
    }
}

#[test]
fn a_request_waits_for_at_most_seven_disks_in_a_row() {
    for n in [1, 4, 7] {
        let world = one_request(n, Network::unit_sync()).expect("it is delivered");
        let waits = world.sim.elapsed_units();
        println!("n = {n}: {waits} durable waits in a row");
        assert!(waits <= 7, "{waits} waits with n = {n}");
    }
}

#[test]
fn under_load_a_request_waits_for_less_than_three_rounds() {
    let mut world = world(4, 1, |builder| builder.network(Network::unit_delay()));
    let mut worst = 0;
    for number in 0..40 {
        // Every server is given something all the time, so that there is always a round under way.
        for _ in 0..20 {
            world.submit_many(PartySet::all(4), 5);
            world.step().expect("no violation");
        }
        world.sim.mark();
        let item = world.submit(p(number % 4));
        let at = p(number % 4);
        world.run_until(|world| world.has(at, std::slice::from_ref(&item))).expect("delivered");
        worst = worst.max(world.sim.elapsed_units());
    }
    println!("under load: at most {worst} message delays");
    assert!(worst <= 24, "{worst} delays under load");
}

#[test]
fn an_idle_group_says_nothing_also_with_one_server_down() {
    seeds(0..5, |seed| {
        let mut world = world(4, seed, |builder| builder.corrupt([p(3)], Silent));
        world.run_to_quiescence()?;
        assert_eq!(world.sim.stats().messages, 0, "nothing was submitted");
        let items = world.submit_many(parties([0, 1, 2]), 3);
        world.finish(&items)?;
        world.sim.mark();
        world.run_to_quiescence()?;
        assert_eq!(world.sim.messages_since_mark(), 0);
        Ok(())
    });
}
