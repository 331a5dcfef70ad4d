//! Many runs of every protocol. `MAFTIA_DRILL_RUNS` says how many seeds of each (each seed is one
//! run of every protocol), `MAFTIA_DRILL_FIRST` from which on.

use maftia_drill::course::{COURSES, Course};
use maftia_drill::plan::Wishes;
use maftia_drill::soak::Tally;
use maftia_drill::ttcb::TTCB;
use std::num::NonZero;
use std::thread;

/// Seeds without the environment's word; with seven courses of which each seed is run, more than
/// 300,000 runs.
const RUNS: u64 = 43_000;

/// Runs of trusted components by themselves, for so many of the seeds.
const TRUSTED_ONE_IN: u64 = 30;

/// So many seeds after each other are run by one thread.
const BLOCK: u64 = 200;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}

/// All of these seeds, by as many threads as there are processors.
fn tally(courses: &[(&Course, u64)]) -> Tally {
    let (first, runs) = (number("MAFTIA_DRILL_FIRST", 0), number("MAFTIA_DRILL_RUNS", RUNS));
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let tally = thread::scope(|scope| {
        let part = |thread: u64| {
            let mut tally = Tally::default();
            for seed in (first..first + runs).filter(|seed| seed / BLOCK % threads == thread) {
                for (course, _) in courses.iter().filter(|(_, in_)| seed.is_multiple_of(*in_)) {
                    tally.add(course, seed, &Wishes::default());
                }
            }
            tally
        };
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        let mut tally = Tally::default();
        parts.into_iter().for_each(|part| tally.absorb(part.join().expect("it does not panic")));
        tally
    });
    println!("{} runs: {:?}, {:?}", tally.runs, tally.by_protocol, tally.feats);
    for failure in tally.failures.iter().take(20) {
        eprintln!("FAILED {}: {}", failure.token, failure.complaints[0]);
    }
    assert_eq!(tally.failed, 0, "of {} runs", tally.runs);
    assert!(tally.twice > 0 && tally.crashes > 0, "crashes and comparisons took place");
    tally
}

#[test]
fn no_run_of_any_protocol_fails() {
    let courses: Vec<_> = COURSES.iter().map(|course| (course, course.one_in)).collect();
    let tally = tally(&courses);
    let all: Vec<&str> = COURSES.iter().map(|course| course.name).collect();
    assert!(all.iter().all(|name| tally.by_protocol.contains_key(name)), "{all:?}");
    assert!(tally.real_runs * 100 >= tally.runs, "one run in a hundred with real cryptography");
}

#[test]
fn no_run_of_trusted_components_fails() {
    let tally = tally(&[(&TTCB, TRUSTED_ONE_IN)]);
    let runs = |feat: &str| tally.feats.get(feat).copied().unwrap_or_default();
    // Most agreements are decided, whatever happens; and some are not.
    assert!(runs("decisions") * 2 > tally.runs && runs("timeouts") > 0, "{:?}", tally.feats);
    assert!(runs("identifiers") * 2 > tally.runs, "{:?}", tally.feats);
}
