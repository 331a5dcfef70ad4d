//! Groups of real server processes, one of which an intruder has taken over.
#![allow(clippy::unwrap_used)]

#[path = "../../../cli/tests/processes/support.rs"]
mod support;

use maftia::process;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Load, Town, wait_until};

/// The server that is taken over.
const TRAITOR: usize = 2;

/// The servers that are not.
const HONEST: [usize; 3] = [0, 1, 3];

fn hostile() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_maftia-hostile"))
}

/// The honest binary belongs to another package: it is where the hostile one is, if it was built.
fn honest() -> PathBuf {
    let path = hostile().with_file_name("maftia");
    let path_shown = path.display();
    assert!(
        path.is_file(),
        "{path_shown} is missing: these tests need the honest server too. Right would be: cargo \
         test --workspace, which builds both, or cargo build --package maftia before"
    );
    path
}

/// What a status page says against others: whom, and of what.
fn accused(town: &Town, index: usize, list: &str) -> Vec<(u64, String)> {
    let status = town.status(index);
    let entries = status[list].as_array().unwrap().iter();
    entries.map(|entry| (entry[0].as_u64().unwrap(), entry[1].as_str().unwrap().into())).collect()
}

/// With a server taken over, which does `deeds`, the group goes on answering; each honest server
/// gets to hold evidence of each of these `faults` of it and of none but `others`, and none accuses
/// an honest one.
fn survives(strategy: &str, deeds: &[&str], faults: &[&str], others: &[&str]) {
    let mut town = Town::deal(&honest(), 4);
    let home = town.home(TRAITOR);
    let arguments = ["--home", home.to_str().unwrap(), "--strategy", strategy];
    for index in HONEST {
        town.start(index).unwrap();
    }
    town.start_program(TRAITOR, hostile(), &arguments).unwrap();
    // One of the clients asks the traitor first.
    let load = Load::start(&town, 4, 4);
    load.wait_for(100);
    for index in HONEST {
        town.stamp(index);
    }
    let traitor = town.config().servers[TRAITOR].http;
    wait_until(&format!("{faults:?} are proven everywhere"), || {
        // An occasion to convict itself; it need not answer, and it may answer anything.
        let question = town.question().bytes;
        let _ = process::post_query(traitor, &question, Duration::from_millis(500));
        HONEST.iter().all(|index| {
            let held = accused(&town, *index, "convicted");
            faults.iter().all(|fault| held.contains(&(TRAITOR as u64, (*fault).to_owned())))
        })
    });
    load.wait_for(100);
    for index in HONEST {
        town.stamp(index);
    }
    load.settle();
    for index in HONEST {
        for (culprit, fault) in accused(&town, index, "convicted") {
            assert_eq!(culprit, TRAITOR as u64, "server {index} convicted an honest one: {fault}");
            let expected = faults.iter().chain(others).any(|other| *other == fault);
            assert!(expected, "server {index} has evidence of {fault}");
        }
        for (culprit, fault) in accused(&town, index, "suspected") {
            assert_eq!(culprit, TRAITOR as u64, "server {index} suspects an honest one: {fault}");
        }
    }
    let log = std::fs::read_to_string(town.log(TRAITOR)).unwrap();
    for deed in deeds {
        assert!(log.contains(&format!("hostile: {deed}")), "it never {deed}: {log}");
    }
    town.stop_all().unwrap();
}

#[test]
fn a_server_that_shows_two_faces_stops_nobody_and_is_convicted_of_equivocation() {
    survives("equivocate", &["equivocates"], &["Equivocation"], &[]);
}

#[test]
fn a_server_that_sends_wrong_shares_stops_nobody_and_is_convicted_of_them() {
    survives("bad-shares", &["sends a bad share"], &["BadShare"], &[]);
}

#[test]
fn a_server_that_lies_about_time_stops_nobody_and_moves_no_time_stamp() {
    survives("lie-about-time", &["lies about the time"], &[], &[]);
}

#[test]
fn a_server_that_is_mute_towards_some_stops_nobody() {
    survives("mute-towards-some", &["is mute"], &[], &[]);
}

#[test]
fn a_server_that_does_all_of_this_at_once_stops_nobody_and_is_convicted() {
    // It shows its two faces to nobody but a minority, when it does not speak to the others: such
    // batches are never ordered, and never compared.
    let deeds = ["equivocates", "sends a bad share", "lies about the time", "is mute"];
    survives("everything", &deeds, &["BadShare"], &["Equivocation"]);
}
