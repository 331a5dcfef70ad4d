//! Builds the programs of the demonstration, and runs it.

use crate::{root, tools};
use std::process::{Command, ExitCode};

/// The programs, as an operator would build them.
const BUILD: &[&str] = &[
    "build",
    "--release",
    "--locked",
    "--package",
    "maftia",
    "--package",
    "maftia-hostile",
    "--package",
    "maftia-ttcb",
];

/// Runs `maftia demo` with `arguments`.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if let Err(problem) = tools::install_missing(tools::BUILD) {
        eprintln!("demo: {problem}");
        return ExitCode::FAILURE;
    }
    let built = Command::new(env!("CARGO")).args(BUILD).current_dir(root()).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("demo: the build failed");
        return ExitCode::FAILURE;
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let program = root().join(target).join("release/maftia");
    match Command::new(&program).arg("demo").args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {} cannot be started: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
