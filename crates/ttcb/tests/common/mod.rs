//! A test net of real daemons, and threads in the places of their payloads.
//!
//! All of it needs root, name spaces and control groups. Without them these tests fail: a barrier
//! that was not tried is not known to hold.

#![allow(dead_code, clippy::unwrap_used)]

use maftia_ttcb::client::Client;
use maftia_ttcb::config::{Config, User};
use maftia_ttcb::testnet::{DAEMON, PAYLOAD};
use maftia_ttcb_api::{Answer, Call, Interval};
use rustix::process::{Gid, Pid, Signal, Uid, kill_process};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use serde_json::Value;
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_maftia-ttcb");

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that every user may look into.
pub(crate) fn folder() -> TempDir {
    let all = Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(all).tempdir().unwrap()
}

/// A program of ours that is ended with the test.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        assert!(rustix::process::getuid().is_root(), "these tests need root");
        let mut command = Command::new(PROGRAM);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits.
    pub(crate) fn end(&mut self) -> std::process::ExitStatus {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Three hosts, or more.
pub(crate) struct Net {
    pub(crate) running: Running,
    pub(crate) hosts: Vec<Value>,
    pub(crate) folder: PathBuf,
    _outer: TempDir,
}

impl Net {
    pub(crate) fn start(more: &[&str]) -> Self {
        let outer = folder();
        let folder = outer.path().join("net");
        let path = folder.to_str().unwrap();
        let arguments = [&["test-net", "--dir", path][..], more].concat();
        let mut running = Running::start(&arguments);
        let mut hosts = Vec::new();
        loop {
            let line = running.line();
            match line.trim() {
                "ready" => break,
                "" => panic!("the test net did not start; what it said is above"),
                json => hosts.push(serde_json::from_str(json).unwrap()),
            }
        }
        Self { running, hosts, folder, _outer: outer }
    }

    pub(crate) fn config(&self, host: usize) -> Config {
        Config::load(&self.folder.join(format!("host{host}/config.toml"))).unwrap()
    }

    pub(crate) fn daemon(&self, host: usize) -> i32 {
        self.hosts[host]["daemon"].as_i64().unwrap() as i32
    }

    /// A client of a host, as the user of the calling thread, whose clock is synchronised.
    pub(crate) fn client(&self, host: usize) -> Client {
        connect(&self.config(host))
    }

    pub(crate) fn status(&self, host: usize) -> Value {
        let text = maftia_ttcb::status::ask(&self.config(host).status).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Runs something in a host's payload's name space, as a user.
    pub(crate) fn as_payload<T: Send + 'static>(
        &self,
        host: usize,
        user: User,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let space = self.hosts[host]["payload_space"].as_str().unwrap();
        as_user(Some(Path::new(space)), user, what)
    }
}

pub(crate) fn connect(config: &Config) -> Client {
    let guard = config.hosts[usize::from(config.host.0)].guard;
    let mut client = Client::connect(&config.socket, &guard, PATIENCE).unwrap();
    now(&mut client);
    client
}

/// The present, as soon as it is known.
pub(crate) fn now(client: &mut Client) -> Interval {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Answer::Time(time) = client.call(Call::Timestamp, PATIENCE).unwrap() {
            return time;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the clocks are not synchronised");
}

/// Runs something in a thread that becomes a user, in a network name space. The kernel keeps both
/// for each thread.
pub(crate) fn as_user<T: Send + 'static>(
    space: Option<&Path>,
    user: User,
    what: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let space = space.map(|path| File::open(path).unwrap());
    std::thread::spawn(move || {
        if let Some(space) = space {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(space.as_fd(), kind).unwrap();
        }
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        what()
    })
}

/// Starts something from another network name space.
pub(crate) fn as_root<T: Send + 'static>(
    space: &Path,
    what: impl FnOnce() -> T + Send + 'static,
) -> T {
    let space = File::open(space).unwrap();
    let thread = std::thread::spawn(move || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(space.as_fd(), kind).unwrap();
        what()
    });
    thread.join().unwrap()
}

/// Waits until that is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn is_alive(pid: i64) -> bool {
    // One that has ended and that nobody has asked about yet is dead, too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

/// A key guard in a file, as a configuration names it.
pub(crate) const FILE_GUARD: &str = "{ kind = \"file\", file = \"guard.seed\", mark = \
                                     \"guard.mark\", key_file = \"guard.key\" }";

/// Writes a configuration for one host on its loopback, with a guard whose key is made.
pub(crate) fn alone(folder: &Path, guard: &str, accept: &[&str]) -> String {
    let path = folder.join("config.toml").to_str().unwrap().to_owned();
    std::os::unix::fs::chown(folder, Some(DAEMON.uid), None).unwrap();
    let head = format!("guard = {guard}\nuid = {}\n", DAEMON.uid);
    std::fs::write(&path, &head).unwrap();
    let output = Command::new(PROGRAM).args(["keygen", "--config", &path]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout).unwrap();
    // Tests that share the machine's network have a port each.
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "host = 0\nbound = \"50ms\"\nsocket = \"run/t.sock\"\nstatus = \"run/s.sock\"\n\
         accept_missing = {accept:?}\n{head}\
         [[hosts]]\naddress = \"{address}\"\nguard = \"{}\"\n\
         [[roles]]\nrole = 0\nuid = {}\nbudget = \"2ms\"\nperiod = \"10ms\"\n\
         [launch]\nprocessor = 1\npayload_uid = {}\n",
        key.trim(),
        PAYLOAD.uid,
        PAYLOAD.uid
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Gives a folder, and all that is in it, to a user.
pub(crate) fn hand_over(folder: &Path, uid: u32) {
    let done = Command::new("chown").args(["-R", &uid.to_string()]).arg(folder).status();
    assert!(done.unwrap().success());
}

/// Runs the program to its end: its exit code, and what it complained of.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
