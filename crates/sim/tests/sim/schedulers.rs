//! Who decides when, and what each choice guarantees.

use crate::toy::*;
use maftia_base::Party;
use maftia_base::time::{Duration, Time};
use maftia_sim::{
    Failure, Fate, Figures, Letter, Local, Network, Partition, Random, Scheduler, Simulation, UNIT,
    figures, seeds,
};
use std::collections::BTreeSet;

const EVENTS_MAX: u64 = 100_000;

fn gossip(network: Network, seed: u64) -> Simulation<Gossip> {
    Simulation::builder(groups(4), seed)
        .network(network)
        .measure(|_| 8)
        .build(|_| Gossip::default())
}

#[test]
fn unit_delays_and_durable_waits_are_counted_on_the_critical_path() {
    let figures = figures(|network| {
        let mut sim = gossip(network, 0);
        sim.run_for(Duration(12_345), EVENTS_MAX)?;
        sim.mark();
        sim.command(party(0), Ask::Say(1));
        sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX)?;
        Ok(sim)
    });
    // Rumour, then echoes: two messages, each behind a forced write. All twelve are sent by then.
    let expected = Figures { delays: 2, durable_waits: 2, messages: 12, bytes: 96 };
    assert_eq!(figures.unwrap(), expected);
}

#[test]
fn random_schedules_reach_every_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..300 {
        let mut sim = gossip(Network::random(), seed);
        (1..=3).for_each(|value| sim.command(party(0), Ask::Whisper(QUIET + value)));
        sim.run_to_quiescence(EVENTS_MAX).unwrap();
        orders.insert(heard(&sim, party(1)));
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn ordered_channels_keep_their_order() {
    seeds(0..100, |seed| {
        let mut sim = gossip(Network::random().ordered(), seed);
        (1..=9).for_each(|value| sim.command(party(0), Ask::Whisper(QUIET + value)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        let order = heard(&sim, party(1)).into_iter().map(|(_, value)| value - QUIET);
        assert!(order.eq(1..=9));
        Ok(())
    });
}

#[test]
fn a_starved_server_hears_last_and_still_hears() {
    seeds(0..100, |seed| {
        let mut sim = gossip(Network::random().starving(party(3)), seed);
        sim.command(party(0), Ask::Say(1));
        let others = |sim: &Simulation<Gossip>| (0..3).all(|p| has_delivered(sim, party(p), 1));
        sim.run_until(others, EVENTS_MAX)?;
        assert!(heard(&sim, party(3)).is_empty());
        sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX)
    });
}

#[test]
fn a_partition_cuts_until_it_heals() {
    let partition =
        Partition { side: set(&[0, 1]), from: Time(0), until: Time(1_000_000), loses: false };
    seeds(0..50, |seed| {
        let mut sim = gossip(Network::random().partitioned(partition), seed);
        sim.command(party(0), Ask::Say(1));
        sim.run_for(Duration(999_999), EVENTS_MAX)?;
        assert!(heard(&sim, party(1)).len() == 1 && heard(&sim, party(2)).is_empty());
        sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX)?;
        assert_eq!(sim.stats().lost, 0);
        Ok(())
    });
}

#[test]
fn a_losing_partition_is_mended_by_reconnections() {
    let partition =
        Partition { side: set(&[0]), from: Time(0), until: Time(100 * UNIT.0), loses: true };
    seeds(0..50, |seed| {
        let mut sim = gossip(Network::random().partitioned(partition), seed);
        sim.command(party(0), Ask::Say(1));
        sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX)?;
        assert!(sim.stats().lost > 0);
        Ok(())
    });
}

#[test]
fn what_is_lost_is_told_to_both_ends() {
    let mut lost = 0;
    seeds(0..200, |seed| {
        let mut sim = gossip(Network::lossy(300), seed);
        sim.command(party(0), Ask::Say(1));
        sim.run_to_quiescence(EVENTS_MAX)?;
        lost += sim.stats().lost;
        let told = |by: usize| {
            sim.outcomes(party(by)).iter().any(|told| matches!(told, Told::Reconnected(_)))
        };
        assert!(sim.stats().lost == 0 || (0..4).filter(|by| told(*by)).count() >= 2);
        assert!(all_delivered(&sim, 1), "resending after Reconnected makes up for every loss");
        Ok(())
    });
    assert!(lost > 100);
}

#[test]
fn a_protocol_that_ignores_reconnections_is_caught() {
    let stuck = |seed| {
        let mut sim = Simulation::builder(groups(4), seed)
            .network(Network::lossy(300))
            .build(|_| Gossip::with(Quirk::Deaf));
        sim.command(party(0), Ask::Say(1));
        sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX).is_err()
    };
    assert!((0..50).any(stuck));
}

#[test]
fn an_unaided_network_tells_nobody() {
    let mut sim = gossip(Network::lossy(1_000).losses_max(1).unaided(), 0);
    sim.command(party(0), Ask::Say(1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(sim.stats().lost, 3, "each channel loses one message");
    sim.crash(party(3));
    sim.restart(party(3));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    let told = (0..4).flat_map(|by| sim.outcomes(party(by)));
    assert_eq!(told.filter(|told| matches!(told, Told::Reconnected(_))).count(), 0);
}

#[test]
fn duplicates_arrive_twice() {
    let mut sim = gossip(Network::random().duplicating(1_000), 0);
    sim.command(party(0), Ask::Whisper(1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    let from_first = heard(&sim, party(1)).into_iter().filter(|(from, _)| *from == party(0));
    assert!(from_first.count() >= 2);
    assert_eq!(sim.stats().duplicated, sim.stats().messages);
}

/// Reads messages: keeps odd values back until an even one has arrived somewhere.
struct OddsLast {
    has_seen_even: bool,
    gives_up: bool,
}

impl Scheduler<u64> for OddsLast {
    fn route(&mut self, letter: &Letter<u64>, _: &mut Random) -> Fate {
        if *letter.body % 2 == 1 {
            return Fate::Held(Duration(1_000 * UNIT.0));
        }
        self.has_seen_even = true;
        Fate::Arrives(UNIT)
    }

    fn local(&mut self, _: Party, _: Local, _: &mut Random) -> Duration {
        Duration(0)
    }

    fn release(&mut self, held: &[Letter<u64>], _: &mut Random) -> Option<usize> {
        (self.has_seen_even && !self.gives_up).then(|| held.len() - 1)
    }
}

fn odds_last(values: [u64; 2], gives_up: bool) -> Result<Simulation<Gossip>, Failure> {
    let mut sim = Simulation::builder(groups(4), 0)
        .network(OddsLast { has_seen_even: false, gives_up })
        .build(|_| Gossip::default());
    sim.command(party(0), Ask::Whisper(values[0]));
    sim.run_for(Duration(100 * UNIT.0), EVENTS_MAX)?;
    assert_eq!(sim.stats().messages > 3, values[0].is_multiple_of(2), "odd values wait");
    sim.command(party(0), Ask::Whisper(values[1]));
    sim.run_for(Duration(100 * UNIT.0), EVENTS_MAX)?;
    Ok(sim)
}

#[test]
fn a_scheduler_can_read_messages_and_hold_them_back() {
    let sim = odds_last([1, 2], false).unwrap();
    assert!(heard(&sim, party(1)).contains(&(party(0), 1)), "released when it pleased");
}

#[test]
fn no_scheduler_holds_a_message_for_ever() {
    let mut sim = odds_last([1, 2], true).unwrap();
    assert!(!heard(&sim, party(1)).contains(&(party(0), 1)));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(heard(&sim, party(1)).contains(&(party(0), 1)));
}

#[test]
fn exponential_delays_have_their_mean_and_a_tail() {
    let mut random = Random::new(7);
    let draws: Vec<u64> = (0..100_000).map(|_| random.exponential(1_000)).collect();
    let mean = draws.iter().sum::<u64>() / draws.len() as u64;
    assert!((950..1_060).contains(&mean), "{mean}");
    assert!(draws.iter().any(|draw| *draw > 8_000) && draws.iter().any(|draw| *draw < 10));
}
