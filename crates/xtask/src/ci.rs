//! Continuous integration: one command, the same on every machine.

use std::process::{Command, ExitCode};
use std::time::Instant;

/// One step: what it is called, and the command.
type Step = (&'static str, &'static [&'static str]);

const STEPS: &[Step] = &[
    ("format", &["cargo", "fmt", "--all", "--check"]),
    (
        "lints",
        &["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    ),
    ("tests", &["cargo", "test", "--workspace", "--locked"]),
    ("demo", &["cargo", "run", "--release", "--locked", "--", "demo"]),
];

/// Runs every step; stops at the first that fails.
pub(crate) fn run() -> ExitCode {
    if let Err(problem) = install("openssl", "openssl") {
        eprintln!("ci: {problem}");
        return ExitCode::FAILURE;
    }
    for (name, command) in STEPS {
        let started = Instant::now();
        println!("ci: {name}: {}", command.join(" "));
        let status = Command::new(command[0]).args(&command[1..]).status();
        let seconds = started.elapsed().as_secs();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("ci: {name} FAILED after {seconds} s");
            return ExitCode::FAILURE;
        }
        println!("ci: {name} passed in {seconds} s");
    }
    ExitCode::SUCCESS
}

/// Has `program` there, from the Debian package `package` if it is not yet.
fn install(program: &str, package: &str) -> Result<(), String> {
    let there = || Command::new(program).arg("version").output().is_ok_and(|o| o.status.success());
    if there() {
        return Ok(());
    }
    println!("ci: installing {package}");
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
        let status = Command::new("apt-get").args(arguments).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("`{program}` is needed, and `apt-get install {package}` failed"));
        }
    }
    if there() { Ok(()) } else { Err(format!("`{program}` is needed and still missing")) }
}
