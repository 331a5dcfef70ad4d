//! Server processes that the demonstration and the benchmarks start, watch and stop.

use crate::Failure;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// One server process. Killed when dropped, unless it was released.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    http: SocketAddr,
    child: Option<Child>,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts `program` with `arguments`; its output goes to `log`.
    pub fn start(
        name: &str,
        http: SocketAddr,
        program: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Self, Failure> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|error| Failure::file(log, "cannot be written", &error))?;
        let errors =
            output.try_clone().map_err(|error| Failure::file(log, "cannot be shared", &error))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| Failure::file(program, "cannot be started", &error))?;
        Ok(Self { name: name.into(), http, child: Some(child), log: log.into() })
    }

    /// Its process number.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it answers by HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Waits until it answers.
    pub fn wait_until_up(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if get(self.http, "/healthz").is_ok() {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                let log = self.log.display();
                let name = &self.name;
                return Err(Failure::because(format!(
                    "{name} ended at once ({status}); see {log}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(Failure::because(format!(
            "{} does not answer on {}; see {}",
            self.name,
            self.http,
            self.log.display()
        )))
    }

    /// What it says of itself.
    pub fn status(&self) -> Result<Value, Failure> {
        let body = get(self.http, "/status")?;
        serde_json::from_str(&body)
            .map_err(|error| Failure::because(format!("{}: {error}", self.name)))
    }

    /// Sends SIGKILL, and does not wait for the end.
    pub fn send_kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }

    /// kill -9, without warning; waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, and waits until it has, which must be with success.
    pub fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure::because(format!(
                        "{} was asked to stop and failed ({status}); see {}",
                        self.name,
                        self.log.display()
                    )));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => {
                    return Err(Failure::because(format!("{}: {error}", self.name)));
                }
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(Failure::because(format!("{} did not stop when asked to", self.name)))
    }

    /// Lets it run on after this program has ended.
    pub fn release(mut self) {
        self.child = None;
    }

    /// What it has used so far.
    pub fn cost(&self) -> Option<Cost> {
        cost(&self.pid()?.to_string())
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// CPU time, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory now, in bytes.
    pub memory_bytes: u64,
    /// The most it ever was.
    pub peak_memory_bytes: u64,
}

/// What a process has used: one by its number, or `self`.
pub fn cost(process: &str) -> Option<Cost> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()
    };
    Some(Cost {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        memory_bytes: kib("VmRSS:")? * 1024,
        peak_memory_bytes: kib("VmHWM:")? * 1024,
    })
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One page by HTTP; nothing but the expected status counts.
pub fn get(server: SocketAddr, path: &str) -> Result<String, Failure> {
    agent(Duration::from_secs(5))
        .get(format!("http://{server}{path}"))
        .call()
        .and_then(|mut response| response.body_mut().read_to_string())
        .map_err(|error| Failure::because(format!("{server}{path}: {error}")))
}

/// Sends a time-stamp query as `curl` would; returns the reply's bytes.
pub fn post_query(
    server: SocketAddr,
    query: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, Failure> {
    agent(patience)
        .post(format!("http://{server}/tsa"))
        .header("content-type", "application/timestamp-query")
        .send(query)
        .and_then(|mut response| response.body_mut().read_to_vec())
        .map_err(|error| Failure::because(format!("{server}: {error}")))
}

fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(patience)).build().into()
}

/// What the files in a folder take on the disk; what goes meanwhile counts as nothing.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let taken = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(taken).sum()
}
