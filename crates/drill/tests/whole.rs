//! Whole servers: many runs, and crashes at every operation of a disk.
//!
//! `MAFTIA_WHOLE_RUNS` says how many runs, `MAFTIA_AUTHORITY_RUNS` how many with a certification
//! authority, `MAFTIA_WHOLE_POINTS` how many crashes, `MAFTIA_DRILL_FIRST` from which seed on.

use maftia_drill::course::{Course, parse};
use maftia_drill::plan::{Plan, Wishes};
use maftia_drill::run::Options;
use maftia_drill::soak::Tally;
use maftia_drill::whole::script::{ALL_AT_OPERATION, AT_OPERATION, OPERATIONS};
use maftia_drill::whole::witness::Counts;
use maftia_drill::whole::{AUTHORITY, WHOLE, run};
use maftia_drill::world::Shape;
use std::thread;

/// Runs without the environment's word.
const RUNS: u64 = 3_000;

/// Runs with an authority without the environment's word.
const AUTHORITY_RUNS: u64 = 300;

/// Crashes of a lone server without the environment's word.
const POINTS: u64 = 20_000;

/// Crashes in a group of four.
const GROUP_POINTS: u64 = 400;

/// Each has seeds of its own.
const THREADS: u64 = 2;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}

/// Does the same in each thread, with the thread's number.
fn in_threads<T: Send>(work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic of the drill")).collect()
    })
}

fn assert_well(tally: &Tally) {
    for failure in tally.failures.iter().take(20) {
        eprintln!("FAILED {}: {}", failure.token, failure.complaints[0]);
    }
    assert_eq!(tally.failed, 0, "of {} runs", tally.runs);
}

/// So many runs of a course, and that nothing was wrong with any.
fn run_well(course: &Course, runs: u64) -> (Tally, Counts) {
    let first = number("MAFTIA_DRILL_FIRST", 0);
    let parts = in_threads(|thread| {
        let (mut tally, mut counts) = (Tally::default(), Counts::default());
        let mine = |seed: &u64| seed % THREADS == thread;
        for seed in (first..first + runs).filter(mine) {
            let plan = (course.choices)().draw(seed, &Wishes::default());
            let (verdict, counted) = run(&plan, Options::default());
            counts.add(counted);
            tally.count(&plan, verdict);
        }
        (tally, counts)
    });
    let (mut tally, mut counts) = (Tally::default(), Counts::default());
    for (part, counted) in parts {
        tally.absorb(part);
        counts.add(counted);
    }
    println!("{} runs, {} crashes, {counts:?}", tally.runs, tally.crashes);
    assert_well(&tally);
    (tally, counts)
}

#[test]
fn whole_servers_survive_whatever_happens_to_them() {
    let (tally, counts) = run_well(&WHOLE, number("MAFTIA_WHOLE_RUNS", RUNS));
    assert!(tally.real_runs * 100 >= tally.runs, "one in a hundred with real cryptography");
    assert!(counts.histories * 3 >= tally.runs, "clients' histories were judged");
    assert!(counts.installed * 20 >= tally.runs, "states were fetched");
    assert!(counts.cuts > tally.runs, "logs were cut");
    assert!(tally.crashes > tally.runs, "servers crashed");
}

#[test]
fn an_authority_certifies_names_for_their_holders_and_for_nobody_else() {
    let (tally, counts) = run_well(&AUTHORITY, number("MAFTIA_AUTHORITY_RUNS", AUTHORITY_RUNS));
    assert!(counts.certificates > 2 * tally.runs, "clients were given certificates");
    assert!(tally.crashes > tally.runs, "servers crashed");
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let options = Options { digests: true, ..Options::default() };
    for (course, seed) in
        [&WHOLE, &AUTHORITY].into_iter().flat_map(|course| (0..12).map(move |seed| (course, seed)))
    {
        let plan = (course.choices)().draw(seed, &Wishes::default());
        let (once, again) = (run(&plan, options).0, run(&plan, options).0);
        assert!(once.digest.is_some() && once.digest == again.digest, "{plan}");
    }
}

/// Lives that stop at their first operation, at their second, and so on, until so many have.
fn crash_everywhere(shape: Shape, storage: &'static str, points: u64) -> Tally {
    let parts = in_threads(|thread| {
        let mut tally = Tally::default();
        let mut life = thread;
        while tally.runs < points / THREADS {
            for operation in 0..OPERATIONS {
                let plan = Plan {
                    protocol: WHOLE.name,
                    shape,
                    conduct: "none",
                    network: "near",
                    storage,
                    real: false,
                    number: life * OPERATIONS + operation,
                    script: Default::default(),
                };
                let (verdict, _) = run(&plan, Options::default());
                if verdict.crashes == 0 {
                    break;
                }
                tally.count(&plan, verdict);
            }
            life += THREADS;
        }
        tally
    });
    let mut tally = Tally::default();
    parts.into_iter().for_each(|part| tally.absorb(part));
    tally
}

#[test]
fn a_server_that_stops_at_any_operation_of_its_disk_goes_on_where_it_was() {
    let points = number("MAFTIA_WHOLE_POINTS", POINTS);
    let tally = crash_everywhere(Shape::One, AT_OPERATION, points);
    assert_well(&tally);
    assert!(tally.runs >= points && tally.crashes > tally.runs, "some crash while they recover");
}

#[test]
fn a_group_survives_that_one_or_all_stop_at_any_operation() {
    for storage in [AT_OPERATION, ALL_AT_OPERATION] {
        assert_well(&crash_everywhere(Shape::Four, storage, GROUP_POINTS));
    }
}

#[test]
fn tokens_of_whole_runs_mean_what_they_say() {
    for token in ["whole:4:none:near:calm:ideal:7", "whole:1:none:near:at-operation:ideal:17004"] {
        let (course, plan) = parse(token).expect("a token");
        assert_eq!((course.name, plan.to_string()), ("whole", token.to_owned()));
    }
    assert!(parse("whole:4:none:near:nonsense:ideal:7").is_err());
}
