//! Every checker, seen firing and seen keeping quiet.

use crate::toy::*;
use maftia_base::time::Duration;
use maftia_sim::{Failure, Simulation, Violation, check_deterministic, seeds};
use std::cell::Cell;

const EVENTS_MAX: u64 = 10_000;

fn quirky(quirk: Quirk) -> Simulation<Gossip> {
    Simulation::builder(groups(4), 1).build(move |_| Gossip::with(quirk))
}

fn run(mut sim: Simulation<Gossip>) -> Result<Simulation<Gossip>, Failure> {
    sim.command(party(0), Ask::Say(1));
    sim.run_to_quiescence(EVENTS_MAX)?;
    Ok(sim)
}

#[test]
fn blaming_an_honest_server_fails_the_run() {
    let failure = run(quirky(Quirk::Paranoid)).err().unwrap();
    assert!(matches!(failure.violation, Violation::HonestBlamed { .. }), "{failure}");
}

#[test]
fn holding_more_than_promised_fails_the_run() {
    let mut sim = Simulation::builder(groups(4), 1).footprint_max(2).build(|_| Gossip::default());
    sim.command(party(0), Ask::Say(1));
    sim.command(party(0), Ask::Say(2));
    sim.run_to_quiescence(EVENTS_MAX).unwrap();
    assert_eq!(sim.stats().footprint_max, 2);
    sim.command(party(0), Ask::Say(3));
    let failure = sim.run_to_quiescence(EVENTS_MAX).unwrap_err();
    let found = matches!(failure.violation, Violation::Footprint { footprint: 3, bound: 2, .. });
    assert!(found, "{failure}");
}

#[test]
fn emitting_during_restore_fails_the_run() {
    let mut sim = run(quirky(Quirk::ChattersInRestore)).unwrap();
    sim.crash(party(1));
    sim.restart(party(1));
    let failure = sim.run_to_quiescence(EVENTS_MAX).unwrap_err();
    assert_eq!(failure.violation, Violation::EmittedDuringRestore(party(1)));
}

#[test]
fn a_complaint_of_the_test_fails_the_run() {
    let sim = Simulation::builder(groups(4), 1)
        .check(|by, told| match told {
            Told::Delivered(value) => Err(format!("{by} delivered {value}")),
            _ => Ok(()),
        })
        .build(|_| Gossip::default());
    let failure = run(sim).err().unwrap();
    assert!(failure.to_string().contains("delivered 1"), "{failure}");
}

#[test]
fn a_run_that_stops_before_its_goal_is_stuck() {
    let mut sim = quirky(Quirk::None);
    let failure = sim.run_until(|sim| all_delivered(sim, 1), EVENTS_MAX).unwrap_err();
    assert_eq!(failure.violation, Violation::Stuck);
}

#[test]
fn a_run_that_goes_on_for_ever_exceeds_its_budget() {
    let failure = run(quirky(Quirk::Endless)).err().unwrap();
    assert_eq!(failure.violation, Violation::Unending { events_max: EVENTS_MAX });
}

#[test]
fn a_failed_run_stays_failed() {
    let mut sim = quirky(Quirk::Paranoid);
    sim.command(party(0), Ask::Say(1));
    let first = sim.run_to_quiescence(EVENTS_MAX).unwrap_err();
    let again = sim.run_for(Duration(1), EVENTS_MAX).unwrap_err();
    assert_eq!(first.violation, again.violation);
}

#[test]
fn a_failure_shows_its_seed_and_what_happened_last() {
    let text = format!("{:?}", run(quirky(Quirk::Paranoid)).err().unwrap());
    for part in ["seed 1 failed", "command Say(1)", "synced 1 records", "<- p0 1", "blamed honest"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn one_seed_is_one_run_and_two_seeds_are_two() {
    let digest = |seed| {
        check_deterministic(seed, |seed| {
            let mut sim = Simulation::builder(groups(4), seed).build(|_| Gossip::default());
            sim.command(party(0), Ask::Say(1));
            sim.run_to_quiescence(EVENTS_MAX)?;
            Ok(sim.digest())
        })
    };
    assert_ne!(digest(1).unwrap(), digest(2).unwrap());
}

#[test]
#[should_panic(expected = "two runs of seed 4 differ")]
fn a_run_that_depends_on_more_than_its_seed_is_caught() {
    let ambient = Cell::new(0);
    let result = check_deterministic(4, |seed| {
        ambient.set(ambient.get() + 1);
        let mut sim = Simulation::builder(groups(4), seed).build(|_| Gossip::default());
        sim.command(party(0), Ask::Say(ambient.get()));
        sim.run_to_quiescence(EVENTS_MAX)?;
        Ok(sim.digest())
    });
    drop(result);
}

#[test]
#[should_panic(expected = "seed 3 failed")]
fn the_seed_that_fails_is_named() {
    seeds(0..10, |seed| {
        let quirk = if seed == 3 { Quirk::Paranoid } else { Quirk::None };
        let mut sim = Simulation::builder(groups(4), seed).build(move |_| Gossip::with(quirk));
        sim.command(party(0), Ask::Say(1));
        sim.run_to_quiescence(EVENTS_MAX)
    });
}

#[test]
#[should_panic(expected = "fails only sometimes")]
fn a_seed_that_fails_once_is_a_determinism_bug() {
    let mut runs = 0;
    seeds(0..1, |seed| {
        runs += 1;
        let sim = Simulation::<Gossip>::builder(groups(1), seed).build(|_| Gossip::default());
        if runs == 1 { Err(sim.fail(party(0), "once")) } else { Ok(()) }
    });
}

#[test]
fn an_idle_group_is_idle() {
    let sim = run(quirky(Quirk::None)).unwrap();
    assert!(sim.is_idle());
    assert_eq!(sim.pending(), 0);
}
