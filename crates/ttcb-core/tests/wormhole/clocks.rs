//! Clock agreement.

use crate::world::{FOUL, World};
use maftia_ttcb_api::Span;

#[test]
fn intervals_of_one_moment_overlap_and_never_go_back() {
    for seed in 0..30 {
        let mut world = World::synchronised(4, seed);
        if seed % 2 == 0 {
            world.weather = FOUL;
        }
        let mut last = [None; 4];
        for step in 0..400 {
            world.run_for(Span::from_micros(7_300 + step));
            let told: Vec<_> = (0..4).filter_map(|host| world.time(host)).collect();
            for one in &told {
                assert!(one.earliest <= one.latest);
                let apart = told.iter().any(|other| other.latest < one.earliest);
                assert!(!apart, "seed {seed}: {told:?}");
            }
            for (host, last) in last.iter_mut().enumerate() {
                let now = world.time(host);
                if let (Some(before), Some(now)) = (*last, now) {
                    let (before, now): (maftia_ttcb_api::Interval, _) = (before, now);
                    assert!(now.earliest >= before.earliest, "seed {seed}: time goes back");
                }
                *last = now;
            }
        }
    }
}

#[test]
fn the_bound_is_that_of_the_round_trips() {
    let mut world = World::synchronised(3, 1);
    world.run_for(Span::from_millis(5_000));
    for host in 0..3 {
        let told = world.time(host).expect("synchronised");
        let width = told.latest.0 - told.earliest.0;
        // Round trips are 0.04 to 4 ms here.
        assert!(width < 6_000_000, "{width} ns");
    }
}

#[test]
fn one_wrong_host_clock_does_not_move_the_common_time() {
    let mut world = World::synchronised(3, 2);
    let before = world.time(0).expect("synchronised").earliest;
    let start = world.now;
    world.crash(2);
    world.boot(2);
    world.set_host_clock(2, 3_600_000_000_000);
    world.run_for(Span::from_millis(20_000));
    let now = world.time(0).expect("synchronised");
    let passed = now.latest.0 - before.0;
    let error = passed.abs_diff(world.now - start);
    assert!(error < 15_000_000, "the common time is {error} ns off");
    let other = world.time(2).expect("it has joined the running scale");
    assert!(other.earliest <= now.latest && now.earliest <= other.latest);
}
