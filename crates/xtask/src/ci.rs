//! Continuous integration: one command, the same on every machine.

use crate::{demo, models, tools};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// One step: what it is called, and the command.
type Step = (&'static str, &'static [&'static str]);

/// All in one profile, that of the demonstration, so that everything is compiled once.
const STEPS: &[Step] = &[
    ("format", &["cargo", "fmt", "--all", "--check"]),
    (
        "lints",
        &[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--release",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("tests", &["cargo", "test", "--workspace", "--release", "--locked", "--no-fail-fast"]),
    // With the devices: in software, but with their own programs and protocols.
    ("guards", &["cargo", "test", "-p", "maftia-guard", "--all-features", "--release", "--locked"]),
    (
        "guards of daemons",
        &[
            "cargo",
            "test",
            "-p",
            "maftia-ttcb",
            "--all-features",
            "--release",
            "--locked",
            "--test",
            "guards",
        ],
    ),
];

/// Runs every step; stops at the first that fails, having run all the tests of that step.
pub(crate) fn run() -> ExitCode {
    if let Err(problem) = tools::install_missing(tools::BUILD) {
        eprintln!("ci: {problem}");
        return ExitCode::FAILURE;
    }
    for (name, command) in STEPS {
        println!("ci: {name}: {}", command.join(" "));
        let passed = || {
            let status = Command::new(command[0]).args(&command[1..]).status();
            status.is_ok_and(|status| status.success())
        };
        if !timed(name, passed) {
            return ExitCode::FAILURE;
        }
    }
    println!("ci: models: cargo xtask models");
    if !timed("models", || models::run() == ExitCode::SUCCESS) {
        return ExitCode::FAILURE;
    }
    for (name, arguments) in [("demo", &[][..]), ("demo of the hybrid", &["--hybrid".into()])] {
        println!("ci: {name}: cargo xtask demo {}", arguments.join(" "));
        if !timed(name, || demo::run(arguments) == ExitCode::SUCCESS) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn timed(name: &str, step: impl FnOnce() -> bool) -> bool {
    let started = Instant::now();
    let passed = step();
    let seconds = started.elapsed().as_secs();
    match passed {
        true => println!("ci: {name} passed in {seconds} s"),
        false => eprintln!("ci: {name} FAILED after {seconds} s"),
    }
    passed
}
