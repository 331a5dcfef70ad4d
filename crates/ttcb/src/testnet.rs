//! Several hosts on one machine, for tests and measurements: each with the name spaces, users and
//! barriers that a host of its own would have. What they share is the kernel and its clock.
//!
//! The two networks are bridges in a name space of this process: they end with it, whatever ends
//! it, and nothing of the machine's own network is touched.

use crate::Fatal;
use crate::args::Arguments;
use crate::barriers::Barrier;
use crate::config::User;
use crate::enter::{Entry, SELF};
use crate::keygen::as_daemon;
use crate::launch::{give, listen_for_signals};
use crate::place::ip;
use crate::settings::{hex, parse_span};
use maftia_ttcb_api::HOSTS_MAX;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// As which user the daemons run.
pub const DAEMON: User = User { uid: 60_001, gid: 60_001 };

/// As which user the payloads run: role 0.
pub const PAYLOAD: User = User { uid: 60_002, gid: 60_002 };

/// Another user with a role, 1.
pub const NEIGHBOUR: User = User { uid: 60_003, gid: 60_003 };

/// The key guard of each host: a file, unlocked by another beside it.
const GUARD: &str = "guard = { kind = \"file\", file = \"guard.seed\", mark = \"guard.mark\", \
                     key_file = \"guard.key\" }\n";

/// How the test net is asked for.
#[derive(Clone, Debug)]
struct Order {
    folder: PathBuf,
    hosts: usize,
    bound: String,
    omission_degree: u8,
    test_every: u64,
    /// Only root has a role: it gets all places.
    measure: bool,
    /// The payloads may run on the daemons' processor, too.
    shared: bool,
    /// The daemons are scheduled as everything else is.
    ordinary: bool,
    accept: Vec<Barrier>,
    /// The payload's program on each host; `{host}` in it is the host's number.
    payload: Vec<OsString>,
}

/// Runs until a signal comes.
pub fn run(mut arguments: Arguments) -> Result<u8, Fatal> {
    let mut order = order(&mut arguments)?;
    order.payload = arguments.finish()?;
    if !rustix::process::getuid().is_root() {
        return Err(Fatal("a test net has name spaces and several users: run it as root".into()));
    }
    let signals = listen_for_signals()?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| Fatal(format!("cannot make a network name space: {error}")))?;
    ip(&["link", "set", "lo", "up"])?;
    for bridge in ["control0", "payload0"] {
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["link", "set", bridge, "up"])?;
    }
    let made = write_all(&order)?;
    let mut launchers = Vec::new();
    let started = start_all(&order, &mut launchers);
    let result = started.and_then(|()| {
        println!("ready");
        loop {
            match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fatal(format!("cannot wait for signals: {error}"))),
            }
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    return Ok(0);
                }
                tell_of_ends(&mut launchers);
            }
        }
    });
    for launcher in &launchers {
        let pid = nix::unistd::Pid::from_raw(launcher.id() as i32);
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
    }
    for mut launcher in launchers {
        let _ = launcher.wait();
    }
    for path in made {
        let _ = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
    }
    result
}

fn order(arguments: &mut Arguments) -> Result<Order, Fatal> {
    let bound = arguments.find("--bound")?.unwrap_or_else(|| "5ms".into());
    let bound = bound.into_string().ok().filter(|bound| parse_span(bound).is_some());
    let mut accept = Vec::new();
    let names = arguments.find("--accept")?.unwrap_or_default();
    for name in names.to_string_lossy().split(',').filter(|name| !name.is_empty()) {
        let barrier = Barrier::of_name(name);
        accept.push(barrier.ok_or_else(|| Fatal(format!("--accept: {name} is no barrier")))?);
    }
    let hosts = arguments.parsed("--hosts")?.unwrap_or(3);
    if !(1..=HOSTS_MAX).contains(&hosts) {
        return Err(Fatal(format!("--hosts wants 1 to {HOSTS_MAX}")));
    }
    let (shared, ordinary) = (arguments.flag("--shared"), arguments.flag("--ordinary"));
    accept.extend(shared.then_some(Barrier::Processor));
    accept.extend(ordinary.then_some(Barrier::RealTime));
    Ok(Order {
        folder: arguments.path("--dir")?,
        hosts,
        bound: bound.ok_or_else(|| Fatal("--bound wants a length of time, as 5ms".into()))?,
        omission_degree: arguments.parsed("--omission-degree")?.unwrap_or(1),
        test_every: arguments.parsed("--test-every")?.unwrap_or(60),
        measure: arguments.flag("--measure"),
        shared,
        ordinary,
        accept: accept.into_iter().chain(not_to_be_had()).collect(),
        payload: Vec::new(),
    })
}

/// The barriers that cannot be put up on this machine: told, and accepted to be missing.
fn not_to_be_had() -> Vec<Barrier> {
    let has_nft = Command::new("nft").arg("--version").stdout(Stdio::null()).status();
    let mut missing = Vec::new();
    if !has_nft.is_ok_and(|status| status.success()) {
        missing.push(Barrier::ControlFirewall);
    }
    if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        missing.push(Barrier::Processor);
    }
    for barrier in &missing {
        eprintln!("maftia-ttcb: this machine cannot have the barrier `{}`", barrier.name());
    }
    missing
}

/// Makes keys and configurations; returns what is to be removed, in that order.
fn write_all(order: &Order) -> Result<Vec<PathBuf>, Fatal> {
    let trouble = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Fatal::file("make", &path, &error)
    };
    let mut made = Vec::new();
    if !order.folder.exists() {
        fs::create_dir(&order.folder).map_err(trouble(&order.folder))?;
        made.push(order.folder.clone());
    }
    // The users of the hosts have to get in.
    fs::set_permissions(&order.folder, fs::Permissions::from_mode(0o755))
        .map_err(trouble(&order.folder))?;
    let folder = fs::canonicalize(&order.folder).map_err(trouble(&order.folder))?;
    let mut guards = Vec::new();
    for host in 0..order.hosts {
        let home = folder.join(format!("host{host}"));
        fs::create_dir(&home).map_err(trouble(&home))?;
        give(&home, DAEMON).map_err(trouble(&home))?;
        made.push(home.clone());
        let files = ["guard.key", "guard.seed", "guard.seed.lock", "guard.mark", "config.toml"];
        made.extend(files.map(|file| home.join(file)));
        let path = home.join("config.toml");
        fs::write(&path, guard_and_user()).map_err(trouble(&path))?;
        guards.push(as_daemon(&path, false)?);
    }
    for host in 0..order.hosts {
        let path = folder.join(format!("host{host}/config.toml"));
        fs::write(&path, config(order, host, &guards)).map_err(trouble(&path))?;
    }
    // What is in a folder goes before it.
    made.reverse();
    Ok(made)
}

/// What stands in a configuration before any guard has a key.
fn guard_and_user() -> String {
    format!("{GUARD}uid = {}\n", DAEMON.uid)
}

fn config(order: &Order, host: usize, guards: &[[u8; 32]]) -> String {
    let accept: Vec<String> = order.accept.iter().map(|it| format!("\"{}\"", it.name())).collect();
    let mut text = format!(
        "host = {host}\npriority = {}\nbound = \"{}\"\nomission_degree = {}\npermille = 700\n\
         socket = \"run/ttcb.sock\"\nstatus = \"run/status.sock\"\n\
         accept_missing = [{}]\n{}",
        if order.ordinary { 0 } else { 80 },
        order.bound,
        order.omission_degree,
        accept.join(", "),
        guard_and_user(),
    );
    for (index, guard) in guards.iter().enumerate() {
        let (number, key) = (index + 1, hex(guard));
        let address = format!("10.77.0.{number}:7700");
        let _ = write!(text, "\n[[hosts]]\naddress = \"{address}\"\nguard = \"{key}\"\n");
    }
    let users: &[u32] = if order.measure { &[0] } else { &[PAYLOAD.uid, NEIGHBOUR.uid, 0] };
    for (role, uid) in users.iter().enumerate() {
        let _ = write!(text, "\n[[roles]]\nrole = {role}\nuid = {uid}\n");
        text.push_str("budget = \"2ms\"\nperiod = \"10ms\"\n");
    }
    let last = std::thread::available_parallelism().map_or(1, |count| count.get()) - 1;
    let processor = if order.shared { "\"shared\"".into() } else { last.to_string() };
    let (uid, number) = (PAYLOAD.uid, host + 1);
    let _ = write!(
        text,
        "\n[launch]\nprocessor = {processor}\npayload_uid = {uid}\n\
         control = {{ bridge = \"control0\" }}\n\
         payload = {{ bridge = \"payload0\", address = \"10.78.0.{number}\" }}\n"
    );
    text
}

/// Starts all launchers, and waits until each daemon serves.
fn start_all(order: &Order, launchers: &mut Vec<Child>) -> Result<(), Fatal> {
    let every = order.test_every.to_string();
    for host in 0..order.hosts {
        let config = order.folder.join(format!("host{host}/config.toml"));
        let mut program: Vec<OsString> = vec![
            SELF.into(),
            "launch".into(),
            "--config".into(),
            config.into(),
            "--test-every".into(),
            every.clone().into(),
            "--profile".into(),
            "full".into(),
        ];
        if !order.payload.is_empty() {
            program.push("--".into());
            let here =
                |word: &OsString| word.to_string_lossy().replace("{host}", &host.to_string());
            program.extend(order.payload.iter().map(|word| here(word).into()));
        }
        let entry = Entry { gently: true, ..Entry::default() };
        let mut command = entry.command(&program);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        launchers.push(child.map_err(|error| Fatal(format!("cannot start a launcher: {error}")))?);
    }
    for (host, launcher) in launchers.iter_mut().enumerate() {
        let mut line = String::new();
        if let Some(pipe) = launcher.stdout.take() {
            // An end without a line is told below.
            let _ = BufReader::new(pipe).read_line(&mut line);
        }
        if line.is_empty() {
            return Err(Fatal(format!("host {host} did not start")));
        }
        print!("{line}");
    }
    Ok(())
}

fn tell_of_ends(launchers: &mut [Child]) {
    for (host, launcher) in launchers.iter_mut().enumerate() {
        if let Ok(Some(status)) = launcher.try_wait() {
            eprintln!("maftia-ttcb: host {host} has ended: {status}");
        }
    }
}
