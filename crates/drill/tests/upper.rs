//! The courses on the total order do what they are there for: logs are cut, states are transferred,
//! servers that lost everything come back, epochs end; and each of their checkers can fire.

use maftia_drill::canary::{REGISTRY, Song};
use maftia_drill::course::{course, replay};
use maftia_drill::ledger::{LEDGER, entries};
use maftia_drill::plan::Wishes;
use maftia_drill::run::Options;
use maftia_drill::soak::Tally;
use std::collections::BTreeSet;

fn tally(name: &str, adversary: Option<&'static str>, seeds: u64) -> Tally {
    let (course, mut tally) = (course(name).expect("it is there"), Tally::default());
    let wishes = Wishes { adversary, real: Some(false), ..Wishes::default() };
    for number in 0..seeds {
        tally.add(course, number, &wishes);
    }
    for failure in &tally.failures {
        eprintln!("FAILED {}: {}", failure.token, failure.complaints[0]);
    }
    assert_eq!(tally.failed, 0);
    tally
}

#[test]
fn in_most_runs_of_replicas_logs_are_cut_and_in_many_states_are_transferred() {
    let tally = tally("replica", None, 200);
    let runs = |feat: &str| tally.feats.get(feat).copied().unwrap_or_default();
    assert!(runs("cuts") >= 140, "{} of {} runs", runs("cuts"), tally.runs);
    assert!(runs("transfers") >= 50, "{} of {} runs", runs("transfers"), tally.runs);
    assert!(runs("rejoins") >= 10, "{} of {} runs", runs("rejoins"), tally.runs);
    assert!(runs("epochs") >= 40, "{} of {} runs", runs("epochs"), tally.runs);
    assert!(runs("convictions") >= 20, "{} of {} runs", runs("convictions"), tally.runs);
}

#[test]
fn within_the_structure_a_server_that_lost_everything_comes_back_in_every_run() {
    let tally = tally("replica", Some("wiped"), 60);
    assert_eq!((tally.feats["wipes"], tally.feats["rejoins"]), (tally.runs, tally.runs));
}

#[test]
fn beyond_the_structure_nothing_wrong_is_said() {
    let tally = tally("replica", Some("wiped-beyond"), 60);
    assert!(tally.feats["wipes"] > tally.runs / 2);
}

#[test]
fn marks_and_epochs_are_reached_in_runs_of_the_total_order() {
    let tally = tally("atomic", None, 100);
    assert!(tally.feats["marks"] >= 70 && tally.feats["epochs"] >= 20, "{:?}", tally.feats);
}

#[test]
fn every_checker_of_these_courses_fires_for_some_canary() {
    let mut fired = BTreeSet::new();
    for entry in entries(LEDGER).expect("well-formed") {
        let known = REGISTRY.iter().find(|canary| Some(canary.name) == entry.canary);
        let upper = ["replica", "atomic", "links"].iter().any(|name| entry.token.starts_with(name));
        if let (Some(canary), true) = (known, upper) {
            let _song = Song::of(canary.name);
            let (_, verdict) = replay(entry.token, Options::default()).expect("a token");
            fired.extend(verdict.complaints.iter().map(|complaint| complaint.checker));
        }
    }
    for checker in ["order", "once", "durability", "time", "state", "liveness"] {
        assert!(fired.contains(checker), "{checker} never fires: {fired:?}");
    }
}
