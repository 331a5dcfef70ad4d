//! `maftia-ttcb`: the trusted component's daemon, its launcher, and tools to try it.

use maftia_ttcb::args::Arguments;
use maftia_ttcb::config::Config;
use maftia_ttcb::launch::{Order, launch};
use maftia_ttcb::{Fatal, certify, coverage, daemon, enter, keygen, matrix, testnet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: maftia-ttcb COMMAND

  keygen --config FILE [--existing] [--own-user]
      makes the key of the key guard that the configuration names, and prints its public key; of
      the configuration only `guard` and `uid` have to be there. --existing: the key is there, as
      that of a card always is. --own-user: for a daemon that `run` will start as this user
  run --config FILE
      the daemon, without a launcher
  launch --config FILE [--profile full|plain] [-- PROGRAM [ARGUMENT...]]
      as root: the daemon, and the payload's program, each in its place
  status --socket FILE
      what a daemon says of itself
  test-net --dir DIR [--hosts 3] [--bound 5ms] [--measure] [--accept NAME,...] [--shared]
      [--ordinary] [-- PROGRAM [ARGUMENT...]]
      as root: several hosts on this machine; the program is the payload of each, where {host}
      stands for its number. --shared: payloads may run on the daemons' processor, too; --ordinary:
      without real-time scheduling
  coverage --dir DIR [--seconds 10] [--bound 5ms] [--json]
      measures how late agreements are on a running test-net --measure
  coverage --matrix [--seconds 10] [--idle] [--json]
      as root: the same for each bound of 2, 5 and 10 ms, on a processor of the daemons' own and on
      shared ones, in real time and not, on test nets of its own while the payloads run stress-ng
      (--idle: while they run nothing); takes about 12 times 10 s more than what it measures";

fn main() -> ExitCode {
    let mut all = std::env::args_os().skip(1);
    let command = all.next().unwrap_or_default();
    let arguments = Arguments::new(all);
    let result = match command.to_str() {
        Some("run") => run(arguments),
        Some("launch") => start(arguments),
        Some("keygen") => keygen::run(arguments),
        Some("status") => status(arguments).map(|()| 0),
        Some("test-net") => testnet::run(arguments),
        Some("coverage") => coverage(arguments).map(|()| 0),
        // How the daemon asks its key guard.
        Some("certify") => ask_guard(arguments).map(|()| 0),
        // How the launcher starts everything.
        Some("enter") => enter::enter(arguments).map(|()| 0),
        _ => Err(Fatal(USAGE.into())),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("maftia-ttcb: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<u8, Fatal> {
    let config = arguments.path("--config")?;
    let launched = arguments.flag("--launched");
    arguments.finish()?;
    daemon::run(Config::load(&config)?, launched).map(|()| 0)
}

fn start(mut arguments: Arguments) -> Result<u8, Fatal> {
    let config = arguments.path("--config")?;
    let plain = match arguments.find("--profile")? {
        None => false,
        Some(profile) if profile == "full" => false,
        Some(profile) if profile == "plain" => true,
        Some(_) => return Err(Fatal("--profile wants `full` or `plain`".into())),
    };
    let seconds = arguments.parsed("--test-every")?.unwrap_or(60);
    let payload = arguments.finish()?;
    launch(Order { config, payload, plain, test_every: Duration::from_secs(seconds) })
}

fn ask_guard(mut arguments: Arguments) -> Result<(), Fatal> {
    let config = arguments.path("--config")?;
    arguments.finish()?;
    certify::run(&Config::load(&config)?)
}

fn coverage(mut arguments: Arguments) -> Result<(), Fatal> {
    match arguments.flag("--matrix") {
        true => matrix::run(arguments),
        false => coverage::run(arguments),
    }
}

fn status(mut arguments: Arguments) -> Result<(), Fatal> {
    let socket = arguments.path("--socket")?;
    arguments.finish()?;
    print!("{}", maftia_ttcb::status::ask(Path::new(&socket))?);
    Ok(())
}
