//! `cargo xtask tidy` checks the house rules; `cargo xtask ci` is the whole of continuous
//! integration.
#![forbid(unsafe_code)]

mod ci;
mod layers;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  tidy   the house rules: layers, lengths, banned calls (also part of `ci`)
  ci     everything that must pass: format, lints, tidy, all tests, the demo";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(),
        Some("ci") => ci::run(),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("xtask: {} is not a command\n{HELP}", other.unwrap_or("nothing"));
            ExitCode::from(2)
        }
    }
}
