//! The project's commands: `cargo xtask demo` builds and runs the demonstration, `cargo xtask ci`
//! is the whole of continuous integration, `cargo xtask models` searches the models of the trusted
//! component's protocols, `cargo xtask tidy` checks the house rules.
#![forbid(unsafe_code)]

mod ci;
mod demo;
mod layers;
mod models;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  demo [ARGUMENTS]  builds, and runs `maftia demo ARGUMENTS`; try `cargo xtask demo --help`
  ci                everything that must pass: format, lints, house rules, all tests, models, demo
  models            searches every model of the trusted component's protocols, see models/README.md
  tidy              the house rules: layers, lengths, banned calls (part of the tests)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = arguments.first().map(String::as_str);
    // The arguments of the demonstration may be files beside whoever calls it.
    if command != Some("demo")
        && let Err(error) = std::env::set_current_dir(root())
    {
        eprintln!("xtask: {}: {error}", root().display());
        return ExitCode::FAILURE;
    }
    match command {
        Some("demo") => demo::run(&arguments[1..]),
        Some("tidy") => tidy::run(),
        Some("ci") => ci::run(),
        Some("models") => models::run(),
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

/// The folder of the workspace, wherever the command is called.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}
