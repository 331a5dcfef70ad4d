//! Servers that are killed, frozen, or asked to stop, while clients go on asking.

use crate::support::{Load, PATIENCE, Town, wait_until};
use crate::{maftia, running};
use maftia::home::{BEGUN, JOURNAL};
use maftia::process::ServerProcess;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// Chance, from a seed that is printed, or given to see the same choices again.
fn chance() -> SmallRng {
    let seed = match std::env::var("MAFTIA_TEST_SEED") {
        Ok(given) => given.parse().unwrap(),
        Err(_) => rand::random(),
    };
    println!("to make the same choices again: MAFTIA_TEST_SEED={seed}");
    SmallRng::seed_from_u64(seed)
}

fn sleep_up_to(most: Duration, chance: &mut SmallRng) {
    let most = u64::try_from(most.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(chance.random_range(0..most)));
}

/// Waits until all servers that run have executed as much as the first of them, which must not
/// get any more.
pub(crate) fn wait_until_level(town: &Town, servers: &[usize]) {
    let position = |index: &usize| town.status(*index)["progress"]["position"].as_u64();
    wait_until("all servers have executed as much", || {
        let first = position(&servers[0]);
        servers.iter().all(|index| position(index) == first)
    });
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_all_servers_are_killed_at_random_moments() {
    let mut chance = chance();
    let mut town = running(4);
    let load = Load::start(&town, 4, 8);
    for round in 0..12 {
        // In some rounds they die before they have answered anybody, while they still replay their
        // logs, or while they catch up with each other.
        if round % 3 != 2 {
            load.wait_for(1);
        }
        sleep_up_to(Duration::from_millis(600), &mut chance);
        town.kill(0..4);
        town.start_all().unwrap();
    }
    load.wait_for(1);
    let requests = load.settle();
    wait_until_level(&town, &[0, 1, 2, 3]);
    println!("{requests} requests, none lost, none twice");
    town.stop_all().unwrap();
}

#[test]
fn nothing_is_lost_or_doubled_when_single_servers_are_killed_at_random_moments() {
    let mut chance = chance();
    let mut town = running(4);
    let load = Load::start(&town, 4, 8);
    for _ in 0..12 {
        let victim = chance.random_range(0..4);
        sleep_up_to(Duration::from_millis(400), &mut chance);
        town.kill([victim]);
        load.wait_for(20);
        sleep_up_to(Duration::from_millis(400), &mut chance);
        town.start(victim).unwrap();
        load.wait_for(20);
    }
    let requests = load.settle();
    wait_until_level(&town, &[0, 1, 2, 3]);
    println!("{requests} requests, none lost, none twice");
    town.stop_all().unwrap();
}

#[test]
fn a_server_that_is_killed_while_it_makes_its_journal_starts_again() {
    let mut chance = chance();
    let mut town = Town::deal(maftia(), 1);
    let (home, log, http) = (town.home(0), town.log(0), town.config().servers[0].http);
    for _ in 0..12 {
        let arguments = ["server", "--home", home.to_str().unwrap()];
        let mut server =
            ServerProcess::start("server-0", http, maftia(), &arguments, &log).unwrap();
        sleep_up_to(Duration::from_millis(150), &mut chance);
        server.kill();
        town.start(0).unwrap();
        town.stop(0).unwrap();
        std::fs::remove_dir_all(home.join(JOURNAL)).unwrap();
        std::fs::remove_file(home.join(BEGUN)).unwrap();
    }
}

#[test]
fn a_server_whose_journal_is_gone_does_not_begin_another() {
    let mut town = running(4);
    town.stamp(0);
    town.stop(0).unwrap();
    let (journal, aside) = (town.home(0).join(JOURNAL), town.home(0).join("aside"));
    std::fs::rename(&journal, &aside).unwrap();
    let refused = town.start(0).unwrap_err().to_string();
    println!("{refused}");
    let log = std::fs::read_to_string(town.log(0)).unwrap();
    assert!(log.contains("it is gone"), "{log}");
    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    town.start(0).unwrap();
    town.stamp(0);
    town.stop_all().unwrap();
}

#[test]
fn a_server_that_was_down_for_thousands_of_requests_catches_up_and_carries_the_group() {
    let mut town = running(4);
    let load = Load::start(&town, 4, 32);
    load.wait_for(100);
    town.kill([3]);
    load.wait_for(4000);
    town.start(3).unwrap();
    // From now on nothing is decided without server 3, which knows nothing of late.
    town.kill([0]);
    let killed = Instant::now();
    load.wait_for(1000);
    println!("caught up and answered 1000 more in {:?}", killed.elapsed());
    load.settle();
    wait_until_level(&town, &[1, 2, 3]);
    town.start(0).unwrap();
    wait_until_level(&town, &[0, 1, 2, 3]);
    town.stop_all().unwrap();
}

#[test]
fn a_server_that_hears_nothing_for_thousands_of_requests_catches_up_and_carries_the_group() {
    let mut town = running(4);
    let load = Load::start(&town, 4, 32);
    load.wait_for(100);
    let send = |signal| {
        let pid = i32::try_from(town.server(2).unwrap().pid().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    };
    send(Signal::STOP);
    load.wait_for(4000);
    send(Signal::CONT);
    town.kill([1]);
    load.wait_for(1000);
    load.settle();
    wait_until_level(&town, &[0, 2, 3]);
    town.start(1).unwrap();
    wait_until_level(&town, &[0, 1, 2, 3]);
    town.stop_all().unwrap();
}

#[test]
fn nothing_acknowledged_is_lost_when_all_servers_are_asked_to_stop_under_load() {
    let mut town = running(4);
    let load = Load::start(&town, 4, 8);
    for _ in 0..2 {
        load.wait_for(100);
        let asked = Instant::now();
        town.stop_all().unwrap();
        assert!(asked.elapsed() < PATIENCE);
        town.start_all().unwrap();
    }
    load.wait_for(100);
    load.settle();
    wait_until_level(&town, &[0, 1, 2, 3]);
    town.stop_all().unwrap();
}
