//! Whole groups of real server processes on this machine: killed, frozen, stopped, left alone,
//! and asked what they should refuse.
#![allow(clippy::unwrap_used)]

mod components;
mod crashes;
mod front_end;
mod idle;
mod large;
mod operator;
mod recovery;
mod refound;
mod sizes;
mod support;

use std::path::Path;
use support::Town;

/// The binary under test.
fn maftia() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_maftia"))
}

/// A group of `servers` that runs.
fn running(servers: usize) -> Town {
    let mut town = Town::deal(maftia(), servers);
    town.start_all().unwrap();
    town
}
