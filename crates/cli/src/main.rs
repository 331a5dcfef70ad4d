//! The `maftia` binary.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match maftia::run(&maftia::args::Maftia::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("maftia: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
