//! What the tests with devices share: packages, and processes that end with the test.

use std::io::Write;
#[cfg(any(feature = "tpm2", feature = "card"))]
use std::process::Child;
use std::process::Command;
use std::sync::Mutex;
#[cfg(any(feature = "tpm2", feature = "card"))]
use std::time::{Duration, Instant};

/// Installs what is missing; a test that lacks something fails and is never skipped.
pub(crate) fn need(packages: &[&str]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let missing: Vec<&&str> = packages.iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command.output().expect("apt-get, to install what the test needs")
    };
    apt(&["update"]);
    let arguments: Vec<&str> =
        ["install"].into_iter().chain(missing.into_iter().copied()).collect();
    let output = apt(&arguments);
    std::io::stderr().write_all(&output.stderr).unwrap();
    assert!(output.status.success(), "{packages:?} are needed and cannot be installed");
}

fn is_installed(package: &str) -> bool {
    let mut question = Command::new("dpkg-query");
    question.args(["-W", "-f", "${db:Status-Status}", package]);
    question.output().is_ok_and(|answer| answer.stdout == b"installed")
}

#[cfg(any(feature = "tpm2", feature = "card"))]
/// A process that is ended, by its number, when the test ends.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

#[cfg(any(feature = "tpm2", feature = "card"))]
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(any(feature = "tpm2", feature = "card"))]
/// Waits for something that another process does; there is nobody to be told by.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "in vain waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(any(feature = "pkcs11", feature = "card"))]
/// Runs one test of this program again, in another process that `start` begins; the program and
/// its arguments are added to it.
pub(crate) fn again(test: &str, mut start: Command) {
    start.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = start.output().unwrap_or_else(|error| panic!("{start:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let is_run = output.status.success() && said.contains("1 passed");
    assert!(is_run, "{start:?}: {}\n{said}\n{complaints}", output.status);
}
