//! The `maftia` binary's commands, as a library so that they can be tested.
#![forbid(unsafe_code)]

pub mod acme;
pub mod args;
pub mod bench;
pub mod ca;
pub mod components;
pub mod config;
pub mod deal;
pub mod demo;
mod failure;
pub mod founding;
pub mod home;
pub mod init;
pub mod judge;
pub mod local;
pub mod process;
pub mod refound;
pub mod repair;
pub mod server;
pub mod status;
pub mod wormhole;

pub use failure::Failure;

use args::{Command, Maftia};

/// Does what was typed.
pub fn run(typed: &Maftia) -> Result<(), Failure> {
    match &typed.command {
        Command::Init(args) => init::init(args),
        Command::Check(args) => init::check(args),
        Command::Deal(args) => deal::run(args),
        Command::Server(args) => server::run(args),
        Command::Repair(args) => repair::run(args),
        Command::Status(args) => status::run(args),
        Command::Wormhole(args) => wormhole::run(args),
        Command::Ca(args) => ca::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Bench(args) => bench::run(args),
    }
}
