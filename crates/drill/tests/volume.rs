//! Many runs of every protocol. `MAFTIA_DRILL_RUNS` says how many seeds of each (each seed is one
//! run of every protocol), `MAFTIA_DRILL_FIRST` from which on.

use maftia_drill::course::COURSES;
use maftia_drill::plan::Wishes;
use maftia_drill::soak::Tally;
use std::num::NonZero;
use std::thread;

/// Seeds without the environment's word; with seven courses of which each seed is run, more than
/// 300,000 runs.
const RUNS: u64 = 43_000;

/// So many seeds after each other are run by one thread.
const BLOCK: u64 = 200;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}

#[test]
fn no_run_of_any_protocol_fails() {
    let (first, runs) = (number("MAFTIA_DRILL_FIRST", 0), number("MAFTIA_DRILL_RUNS", RUNS));
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let tally = thread::scope(|scope| {
        let part = |thread: u64| {
            let mut tally = Tally::default();
            for seed in (first..first + runs).filter(|seed| seed / BLOCK % threads == thread) {
                for course in COURSES.iter().filter(|it| seed.is_multiple_of(it.one_in)) {
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
    println!("{} runs: {:?}", tally.runs, tally.by_protocol);
    for failure in tally.failures.iter().take(20) {
        eprintln!("FAILED {}: {}", failure.token, failure.complaints[0]);
    }
    assert_eq!(tally.failed, 0, "of {} runs", tally.runs);
    let all: Vec<&str> = COURSES.iter().map(|course| course.name).collect();
    assert!(all.iter().all(|name| tally.by_protocol.contains_key(name)), "{all:?}");
    assert!(tally.twice > 0 && tally.crashes > 0, "crashes and comparisons took place");
    assert!(tally.real_runs * 100 >= tally.runs, "one run in a hundred with real cryptography");
}
