//! Groups of every size that is promised.

use crate::running;
use crate::support::Load;

fn starts_answers_and_stops(servers: usize) {
    let mut town = running(servers);
    let load = Load::start(&town, 1, 1);
    load.wait_for(1);
    load.settle();
    town.stamp(servers - 1);
    // Each must end with success.
    town.stop_all().unwrap();
}

#[test]
fn a_group_of_1_starts_answers_and_stops() {
    starts_answers_and_stops(1);
}

#[test]
fn a_group_of_4_starts_answers_and_stops() {
    starts_answers_and_stops(4);
}

#[test]
fn a_group_of_7_starts_answers_and_stops() {
    starts_answers_and_stops(7);
}

#[test]
fn a_group_of_10_starts_answers_and_stops() {
    starts_answers_and_stops(10);
}

#[test]
fn a_group_of_16_starts_answers_and_stops() {
    starts_answers_and_stops(16);
}
