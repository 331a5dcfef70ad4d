//! How late agreements are under everything that an operator can choose: one row for each bound,
//! for daemons with a processor of their own and without, in real time and not.
//!
//! Each row is measured on a test net of its own, whose payloads run stress-ng meanwhile, as the
//! payload's user and in its control group: what an intruder of a server could do to its component.
//! Nothing leaves this machine, and nothing is left on it.

use crate::Fatal;
use crate::args::Arguments;
use crate::enter::{Entry, SELF};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BOUNDS: [&str; 3] = ["2ms", "5ms", "10ms"];

/// What the payload of each host runs: processors, memory, changes of thread, timers, sockets.
const STRESS: &str = "stress-ng --quiet --temp-path /tmp --cpu 2 --vm 1 --vm-bytes 64M --switch 1 \
                      --timer 1 --sock 1";

/// How many seconds longer than the measurement it may run.
const STRESS_MORE: u64 = 60;

const HEAD: &str = "\
| bound | processor | scheduling | answers | p50 ms | p99 ms | p99.9 ms | max ms | beyond | \
undecided | a miss, at most (95 %) |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

/// One row.
#[derive(Clone, Copy, Debug)]
struct Row {
    bound: &'static str,
    shared: bool,
    ordinary: bool,
}

/// Measures row after row, and prints each as soon as it is known.
pub fn run(mut arguments: Arguments) -> Result<(), Fatal> {
    let seconds: u64 = arguments.parsed("--seconds")?.unwrap_or(10);
    let (idle, json) = (arguments.flag("--idle"), arguments.flag("--json"));
    arguments.finish()?;
    if !rustix::process::getuid().is_root() {
        return Err(Fatal("a test net has name spaces and several users: run it as root".into()));
    }
    let mut stress: Vec<OsString> = Vec::new();
    if !idle {
        stress.extend(STRESS.split(' ').map(OsString::from));
        // It ends with its test net; this is for the case that it does not.
        stress.extend(["--timeout".into(), (seconds + STRESS_MORE).to_string().into()]);
    }
    if !idle && !is_there("stress-ng") {
        return Err(Fatal("stress-ng is missing: apt-get install stress-ng, or --idle".into()));
    }
    if !json {
        println!("{HEAD}");
    }
    for bound in BOUNDS {
        for (shared, ordinary) in [(false, false), (false, true), (true, false), (true, true)] {
            let row = Row { bound, shared, ordinary };
            let measured = row.measure(&stress, seconds, if json { "--json" } else { "--cells" });
            println!("{}", if json { row.json(measured) } else { row.cells(measured) });
        }
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    let answer = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    answer.is_ok_and(|status| status.success())
}

impl Row {
    /// Measures in a process of its own: it asks for real-time scheduling, which the next row's
    /// payloads would inherit from this one.
    fn measure(&self, stress: &[OsString], seconds: u64, form: &str) -> Result<String, Fatal> {
        let net = Net::start(self, stress)?;
        let seconds = seconds.to_string();
        let program = ["coverage", "--bound", self.bound, "--seconds", &seconds, form, "--dir"];
        let mut command = Command::new(SELF);
        command.args(program).arg(&net.folder).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = command.output();
        let output = output.map_err(|error| Fatal(format!("cannot measure: {error}")))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(Fatal(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    fn processor(&self) -> &'static str {
        if self.shared { "shared" } else { "own" }
    }

    fn scheduling(&self) -> &'static str {
        if self.ordinary { "ordinary" } else { "FIFO" }
    }

    fn cells(&self, measured: Result<String, Fatal>) -> String {
        let head = format!("| {} | {} | {} |", self.bound, self.processor(), self.scheduling());
        match measured {
            Ok(cells) => format!("{head} {cells} |"),
            Err(why) => format!("{head} not measured: {why} | | | | | | | |"),
        }
    }

    fn json(&self, measured: Result<String, Fatal>) -> String {
        let (processor, scheduling) = (self.processor(), self.scheduling());
        let head = format!(
            "{{\"bound\":\"{}\",\"processor\":\"{processor}\",\"scheduling\":\"{scheduling}\"",
            self.bound
        );
        match measured {
            Ok(figures) => format!("{head},\"measured\":{figures}}}"),
            Err(why) => format!("{head},\"not_measured\":{:?}}}", why.0),
        }
    }
}

/// A test net that ends, with its folder, when it is dropped.
struct Net {
    child: Child,
    folder: PathBuf,
}

impl Net {
    fn start(row: &Row, stress: &[OsString]) -> Result<Self, Fatal> {
        let folder = std::env::temp_dir().join(format!("maftia-matrix-{}", std::process::id()));
        let mut program: Vec<OsString> =
            [SELF, "test-net", "--measure", "--bound", row.bound, "--dir"]
                .map(OsString::from)
                .into();
        program.push(folder.clone().into());
        program.extend(row.shared.then(|| "--shared".into()));
        program.extend(row.ordinary.then(|| "--ordinary".into()));
        if !stress.is_empty() {
            program.push("--".into());
            program.extend_from_slice(stress);
        }
        let mut command = Entry { gently: true, ..Entry::default() }.command(&program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn();
        let child = child.map_err(|error| Fatal(format!("cannot start a test net: {error}")))?;
        let mut net = Self { child, folder };
        net.wait_until_ready()?;
        Ok(net)
    }

    fn wait_until_ready(&mut self) -> Result<(), Fatal> {
        let pipe = self.child.stdout.take();
        let lines = pipe.map(BufReader::new).into_iter().flat_map(BufRead::lines);
        match lines.map_while(Result::ok).any(|line| line == "ready") {
            true => Ok(()),
            false => Err(Fatal("the test net did not start; test-net says why".into())),
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // It removes what it made, and ends its hosts.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        remove(&self.folder);
    }
}

/// A net that was ended in the midst of its start may have left something.
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}
