//! The contract of `maftia_base::protocol`, clause by clause.

use crate::toy::*;
use maftia_base::time::{Duration, Time};
use maftia_base::{Party, PartySet};
use maftia_sim::{
    Crashes, Fate, Letter, Local, Network, Random, Scheduler, Simulation, UNIT, seeds,
};
use std::collections::BTreeSet;

/// Messages are immediate and disks take a second.
struct SlowDisk;

impl<M> Scheduler<M> for SlowDisk {
    fn route(&mut self, _: &Letter<M>, _: &mut Random) -> Fate {
        Fate::Arrives(Duration(0))
    }

    fn local(&mut self, _: Party, what: Local, _: &mut Random) -> Duration {
        Duration(if what == Local::Sync { 1_000_000 } else { 0 })
    }
}

fn slow_disks() -> Simulation<Gossip> {
    Simulation::builder(groups(4), 0)
        .network(SlowDisk)
        .worker(|_, work, _| work.iter().map(|x| x * x).collect())
        .build(|_| Gossip::default())
}

const EVENTS_MAX: u64 = 100_000;

#[test]
fn effects_wait_for_the_records_of_their_step_and_own_copies_do_not() {
    let mut sim = slow_disks();
    sim.command(party(0), Ask::Say(7));
    sim.run_for(Duration(999_999), EVENTS_MAX).unwrap();
    assert!(heard(&sim, party(1)).is_empty(), "nothing left before the record was durable");
    assert_eq!(sim.state(party(0)).unwrap().said().len(), 1);
    assert_eq!(sim.stats().events, 1, "its own copy came back");
    assert!(sim.outcomes(party(0)).is_empty(), "what follows from it waits for the log as well");
    sim.run_for(Duration(1), EVENTS_MAX).unwrap();
    assert_eq!(sim.state(party(1)).unwrap().said().len(), 1, "now it did");
}

#[test]
fn a_later_step_without_records_waits_for_earlier_ones_and_leaves_after_them() {
    let mut sim = slow_disks();
    sim.command(party(0), Ask::Say(1));
    sim.command(party(0), Ask::Whisper(QUIET));
    sim.run_for(Duration(999_999), EVENTS_MAX).unwrap();
    assert!(heard(&sim, party(1)).is_empty());
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    let first = &heard(&sim, party(1))[..2];
    assert_eq!(first, [(party(0), 1), (party(0), QUIET)]);
}

#[test]
fn notes_gate_nothing() {
    let mut sim = slow_disks();
    sim.command(party(0), Ask::Jot(5));
    assert_eq!(sim.log(party(0)), ([5].as_slice(), 0));
    sim.run_for(Duration(0), EVENTS_MAX).unwrap();
    assert_eq!(
        sim.state(party(1)).unwrap().said().len(),
        1,
        "the note is not durable, and it left"
    );
}

#[test]
fn work_does_not_wait_for_the_log_and_its_outcome_does() {
    let mut sim = slow_disks();
    sim.command(party(0), Ask::Say(1));
    sim.command(party(0), Ask::Compute(9));
    sim.run_for(Duration(999_999), EVENTS_MAX).unwrap();
    assert_eq!(sim.stats().works, 1);
    assert!(sim.outcomes(party(0)).is_empty());
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(sim.outcomes(party(0)).contains(&Told::Computed(9, 81)));
}

#[test]
fn results_of_work_come_in_any_order_and_all_of_them() {
    let mut orders = BTreeSet::new();
    seeds(0..200, |seed| {
        let mut sim = Simulation::builder(groups(1), seed)
            .worker(|_, work, _| work.iter().map(|x| x + 100).collect())
            .build(|_| Gossip::default());
        (1..=3).for_each(|x| sim.command(party(0), Ask::Compute(x)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        let mut order = sim.outcomes(party(0)).to_vec();
        orders.insert(order.clone());
        order.sort();
        assert_eq!(order, [1, 2, 3].map(|x| Told::Computed(x, x + 100)));
        Ok(())
    });
    assert_eq!(orders.len(), 6, "all orders of three results");
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_prefix_of_the_rest() {
    let mut kept = BTreeSet::new();
    for seed in 0..100 {
        let mut sim =
            Simulation::builder(groups(4), seed).network(SlowDisk).build(|_| Gossip::default());
        sim.command(party(0), Ask::Say(1));
        sim.run_to_quiescence(EVENTS_MAX).unwrap();
        (2..=4).for_each(|value| sim.command(party(0), Ask::Say(value)));
        sim.crash(party(0));
        let (log, durable) = sim.log(party(0));
        assert_eq!(log, &[1, 2, 3, 4][..durable]);
        kept.insert(durable);
    }
    assert_eq!(kept, BTreeSet::from([1, 2, 3, 4]));
}

#[test]
fn the_harshest_crash_keeps_only_what_was_synced() {
    let mut sim = slow_disks();
    sim.command(party(0), Ask::Say(1));
    sim.crash_losing_unsynced(party(0));
    assert!(!sim.is_up(party(0)));
    assert!(sim.log(party(0)).0.is_empty());
    sim.restart(party(0));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert!(heard(&sim, party(1)).is_empty(), "nothing of the lost step ever left");
}

/// Runs under crashes at random persist points; then every server has what any server heard of it.
fn remembers(seed: u64, quirk: Quirk) -> Result<u64, maftia_sim::Failure> {
    let crashes =
        Crashes { parties: PartySet::all(4), permille: 300, crashes_max: 20, ..Crashes::default() };
    let mut sim =
        Simulation::builder(groups(4), seed).crashes(crashes).build(move |_| Gossip::with(quirk));
    for value in 0..5 {
        let to = party(value as usize % 4);
        if sim.is_up(to) {
            sim.command(to, Ask::Say(value));
        }
        sim.run_for(Duration(2 * UNIT.0), 100_000)?;
    }
    if quirk == Quirk::Forgets {
        // Its code never forces its log, so that no persist point is met by chance.
        (0..4).map(party).for_each(|victim| sim.crash_losing_unsynced(victim));
        (0..4).map(party).for_each(|victim| sim.restart(victim));
    }
    sim.run_to_quiescence(100_000)?;
    for by in (0..4).map(party) {
        for (from, value) in heard(&sim, by) {
            if !sim.state(from).is_some_and(|state| state.said().contains(&value)) {
                return Err(sim.fail(from, format!("forgot that it said {value}")));
            }
        }
    }
    Ok(sim.stats().crashes)
}

#[test]
fn what_a_server_was_heard_to_say_survives_crashes_at_every_persist_point() {
    let mut crashes = 0;
    seeds(0..300, |seed| {
        crashes += remembers(seed, Quirk::None)?;
        Ok(())
    });
    assert!(crashes > 1_000, "servers did crash: {crashes}");
}

#[test]
fn a_server_that_speaks_before_it_persists_is_caught() {
    assert!((0..50).any(|seed| remembers(seed, Quirk::Forgets).is_err()));
}

#[test]
fn all_deliver_despite_crashes_and_a_restart_tells_both_sides() {
    seeds(0..100, |seed| {
        let mut sim = Simulation::builder(groups(4), seed).build(|_| Gossip::default());
        sim.crash(party(2));
        sim.command(party(0), Ask::Say(3));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(!has_delivered(&sim, party(2), 3), "it is down");
        sim.restart(party(2));
        sim.run_until(|sim| all_delivered(sim, 3), EVENTS_MAX)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(sim.outcomes(party(0)).contains(&Told::Reconnected(party(2))));
        assert!(sim.outcomes(party(2)).contains(&Told::Reconnected(party(0))));
        Ok(())
    });
}

#[test]
fn two_servers_that_were_down_at_once_are_told_nothing_and_hear_what_both_say_now() {
    seeds(0..100, |seed| {
        let mut sim = Simulation::builder(groups(4), seed).build(|_| Gossip::default());
        sim.command(party(0), Ask::Say(3));
        sim.run_until(|sim| sim.state(party(0)).is_some_and(|it| !it.said().is_empty()), 9)?;
        sim.run_for(Duration(UNIT.0 / 50), EVENTS_MAX)?;
        (0..4).map(party).for_each(|it| sim.crash(it));
        for it in (0..4).map(party) {
            sim.restart(it);
            // What the first ones say now comes while the others are down.
            sim.run_for(UNIT, EVENTS_MAX)?;
        }
        sim.command(party(3), Ask::Say(4));
        sim.run_until(|sim| all_delivered(sim, 4), EVENTS_MAX)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let said = sim.state(party(0)).is_some_and(|it| it.said().contains(&3));
        assert!(!said || all_delivered(&sim, 3), "who restarts says again what it said");
        for it in (0..4).map(party) {
            let told = sim.outcomes(it).iter().any(|told| matches!(told, Told::Reconnected(_)));
            assert!(!told, "{it} was told");
        }
        Ok(())
    });
}

#[test]
fn events_for_an_earlier_incarnation_are_stale() {
    let mut sim = Simulation::builder(groups(1), 0)
        .network(SlowDisk)
        .worker(|_, work, _| work)
        .build(|_| Gossip::default());
    sim.command(party(0), Ask::Compute(1));
    sim.crash(party(0));
    sim.restart(party(0));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(sim.history(party(0)).count(), 0, "work of before the crash has no result");
}

#[test]
fn outcomes_are_those_since_the_restart_and_history_is_all() {
    let mut sim = slow_disks();
    sim.command(party(0), Ask::Say(1));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    let before = sim.outcomes(party(1)).len();
    sim.crash(party(1));
    sim.restart(party(1));
    assert!(before > 0 && sim.outcomes(party(1)).is_empty());
    assert_eq!(sim.history(party(1)).count(), before);
}

#[test]
fn the_application_answers_outcomes_with_commands() {
    let mut sim = Simulation::builder(groups(4), 5)
        .application(|_, told| match told {
            Told::Delivered(value) if *value < 3 => vec![Ask::Say(value + 1)],
            _ => vec![],
        })
        .build(|_| Gossip::default());
    sim.command(party(0), Ask::Say(0));
    sim.run_until(|sim| all_delivered(sim, 3), EVENTS_MAX).unwrap();
}

#[test]
fn timers_fire_once_and_are_replaced_and_stopped() {
    let mut sim = Simulation::builder(groups(1), 0).build(|_| Clockwork);
    sim.command(party(0), Wind::Arm(1, 500));
    sim.command(party(0), Wind::Arm(2, 700));
    sim.command(party(0), Wind::Arm(3, 900));
    sim.command(party(0), Wind::Arm(1, 600));
    sim.command(party(0), Wind::Disarm(2));
    sim.run_to_quiescence(100).unwrap();
    assert_eq!(sim.outcomes(party(0)), [(1, Time(600)), (3, Time(900))]);
}

#[test]
fn timers_die_in_a_crash_and_each_incarnation_has_its_own_clock() {
    let mut sim = Simulation::builder(groups(1), 0).build(|_| Clockwork);
    sim.command(party(0), Wind::Arm(1, 500));
    sim.run_for(Duration(100), 100).unwrap();
    sim.crash(party(0));
    sim.restart(party(0));
    sim.command(party(0), Wind::Arm(2, 50));
    sim.run_to_quiescence(100).unwrap();
    assert_eq!(sim.outcomes(party(0)), [(2, Time(50))]);
    assert_eq!(sim.now(), Time(500), "the stale timer passed unnoticed");
}

#[test]
fn records_of_one_instant_share_a_sync() {
    let mut sim = Simulation::builder(groups(1), 0)
        .network(Network::unit_sync())
        .build(|_| Gossip::default());
    (0..10).for_each(|value| sim.command(party(0), Ask::Say(value)));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(sim.stats().syncs, 1);
    assert_eq!(sim.log(party(0)).1, 10);
}

#[test]
fn the_layer_above_can_read_the_log() {
    let mut sim = Simulation::builder(groups(4), 5)
        .application_with_log(|_, told, log| match told {
            Told::Delivered(1) => vec![Ask::Say(100 + log.len() as u64)],
            _ => vec![],
        })
        .build(|_| Gossip::default());
    sim.command(party(0), Ask::Say(1));
    sim.run_until(|sim| all_delivered(sim, 101), EVENTS_MAX).unwrap();
}

#[test]
fn a_crash_breaks_connections_and_may_lose_what_had_left() {
    let mut arrived = BTreeSet::new();
    for seed in 0..200 {
        let mut sim = Simulation::builder(groups(4), seed)
            .network(Network::unit_delay())
            .build(|_| Gossip::default());
        sim.command(party(0), Ask::Whisper(QUIET));
        sim.crash(party(0));
        sim.run_to_quiescence(EVENTS_MAX).unwrap();
        let count = (1..4).filter(|by| !heard(&sim, party(*by)).is_empty()).count();
        assert_eq!(sim.stats().lost, 3 - count as u64);
        arrived.insert(count);
    }
    assert_eq!(arrived, BTreeSet::from([0, 1, 2, 3]));
}
