//! Exploration reaches every order, and no order twice that makes no difference.

use crate::toy::*;
use maftia_sim::attacks::Twins;
use maftia_sim::{Failure, Simulation, explore};
use std::collections::BTreeSet;

#[test]
fn every_order_at_one_receiver_is_tried_once() {
    let mut orders = BTreeSet::new();
    let explored = explore(100_000, |network| {
        let mut sim =
            Simulation::builder(groups(4), 0).network(network).build(|_| Gossip::default());
        // Three letters to each of three receivers.
        (0..3).for_each(|value| sim.command(party(0), Ask::Whisper(QUIET + value)));
        sim.run_to_quiescence(1_000)?;
        orders.insert([1, 2, 3].map(|by| heard(&sim, party(by))));
        Ok(())
    });
    assert!(explored.is_complete, "{explored:?}");
    assert_eq!(orders.len(), 6 * 6 * 6);
    assert_eq!(explored.orders, 6 * 6 * 6, "orders that differ only across receivers are one");
}

fn twins_split_a_group_of_four(network: maftia_sim::Chosen) -> Result<(), Failure> {
    let mut sim = Simulation::builder(groups(4), 0)
        .network(network)
        .corrupt([party(3)], Twins { second: set(&[1, 2]) })
        .build(|_| Gossip::default());
    sim.command_copy(party(3), 0, Ask::Whisper(QUIET));
    sim.command_copy(party(3), 1, Ask::Whisper(QUIET + 1));
    sim.command(party(0), Ask::Whisper(QUIET + 2));
    sim.run_to_quiescence(1_000)?;
    let at_first = heard(&sim, party(1));
    if at_first.first() == Some(&(party(3), QUIET + 1)) {
        return Err(sim.fail(party(1), "the lie came first"));
    }
    Ok(())
}

#[test]
#[should_panic(expected = "the lie came first")]
fn the_one_bad_order_is_found() {
    explore(1_000, twins_split_a_group_of_four);
}

#[test]
fn causes_come_before_effects_in_every_order() {
    let explored = explore(20_000, |network| {
        let mut sim =
            Simulation::builder(groups(3), 0).network(network).build(|_| Gossip::default());
        sim.command(party(0), Ask::Say(1));
        sim.run_to_quiescence(1_000)?;
        assert!(all_delivered(&sim, 1));
        Ok(())
    });
    assert!(explored.is_complete, "{explored:?}");
    assert!(explored.orders > 1, "{explored:?}");
}

#[test]
fn an_exploration_that_is_cut_short_says_so() {
    let explored = explore(3, |network| {
        let mut sim =
            Simulation::builder(groups(4), 0).network(network).build(|_| Gossip::default());
        sim.command(party(0), Ask::Say(1));
        sim.run_to_quiescence(1_000)
    });
    assert!(!explored.is_complete);
}
