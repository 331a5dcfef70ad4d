//! The `maftia-drill` binary.
#![forbid(unsafe_code)]

mod args;
mod commands;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // What panics is caught and reported as a complaint, with its words.
    std::panic::set_hook(Box::new(|_| {}));
    match commands::run(&args::Drill::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("maftia-drill: {problem}");
            ExitCode::from(2)
        }
    }
}
