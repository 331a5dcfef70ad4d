//! Many runs of every protocol. `MAFTIA_DRILL_RUNS` says how many seeds of each (each seed is one
//! run of every protocol), `MAFTIA_DRILL_FIRST` from which on.

use maftia_drill::course::COURSES;
use maftia_drill::plan::Wishes;
use maftia_drill::soak::Tally;

/// Seeds without the environment's word; about a minute.
const RUNS: u64 = 2_500;

/// Of a course, one in so many seeds is run: a run of replicas takes as long as hundreds of those
/// of a broadcast.
fn one_in(course: &str) -> u64 {
    match course {
        "linked-replica" => 125,
        "replica" => 20,
        "links" => 20,
        "atomic" => 10,
        _ => 1,
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}

#[test]
fn no_run_of_any_protocol_fails() {
    let (first, runs) = (number("MAFTIA_DRILL_FIRST", 0), number("MAFTIA_DRILL_RUNS", RUNS));
    let mut tally = Tally::default();
    for seed in first..first + runs {
        for course in COURSES.iter().filter(|course| seed.is_multiple_of(one_in(course.name))) {
            tally.add(course, seed, &Wishes::default());
        }
    }
    for failure in tally.failures.iter().take(20) {
        eprintln!("FAILED {}: {}", failure.token, failure.complaints[0]);
    }
    assert_eq!(tally.failed, 0, "of {} runs", tally.runs);
    let all: Vec<&str> = COURSES.iter().map(|course| course.name).collect();
    assert!(all.iter().all(|name| tally.by_protocol.contains_key(name)), "{all:?}");
    assert!(tally.twice > 0 && tally.crashes > 0, "crashes and comparisons took place");
    assert!(tally.real_runs * 100 >= tally.runs, "one run in a hundred with real cryptography");
}
