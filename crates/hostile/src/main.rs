//! A server of a group that an intruder has taken over. For the demonstration.
//!
//! It is a program of its own: the `maftia` binary does not contain it and cannot become it.
#![forbid(unsafe_code)]

mod strategy;
mod vouching;

use clap::Parser;
use maftia::Failure;
use maftia::home::Home;
use maftia::server::{Setting, start_logging};
use maftia_activity::Replica;
use maftia_crypto::RealSuite;
use maftia_node::server::Server;
use maftia_services::Service;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use strategy::{Hostile, Strategy};
use vouching::Vouching;

/// A server that an intruder has taken over, with its real keys. For the demonstration only.
#[derive(Debug, Parser)]
struct Args {
    /// The home folder of the server that is taken over.
    #[arg(long)]
    home: PathBuf,
    /// What the intruder does.
    #[arg(long)]
    strategy: Strategy,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("maftia-hostile: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    start_logging(false);
    let setting = Setting::load(&args.home, None)?;
    // A second copy of the keys: the intruder uses them beside the honest code.
    let stolen = Arc::new(Home::load(&args.home, None)?.keyring);
    let offer = setting.offer;
    let replica: Replica<RealSuite, Service> = Replica::new(offer.services());
    let replica = match setting.members {
        Some(members) => replica.with_members(members),
        None => replica,
    };
    let Home { group, keyring, .. } = setting.home;
    let hostile = Hostile::new(args.strategy, group.me(), stolen);
    let front_end = offer.front_end();
    let server = Server::taken_over(setting.config, group, keyring, replica, hostile, front_end)
        .offering(offer);
    let server = match args.strategy {
        Strategy::VouchForAll => server.with_errands(Arc::new(Vouching)),
        _ => server,
    };
    server.run().map_err(|error| Failure::because(error.to_string()))
}
