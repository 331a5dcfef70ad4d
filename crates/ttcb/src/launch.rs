//! The launcher: the only part that runs as root. It makes the places, starts the daemon, tests the
//! barriers, and only then starts the payload.
//!
//! # Rules
//! - **L1** The daemon and the payload run as two users, neither root, in two network name spaces;
//!   the payload has no capabilities and can get none.
//! - **L2** The payload starts only when the daemon serves, and the daemon serves only after the
//!   tests.
//! - **L3** The tests run as the payload would, each time in a process of their own.
//! - **L4** Everything that was made is removed when the launcher ends. What it cannot remove since
//!   it is killed ends by itself: processes die with their parent, name spaces with their
//!   processes; empty control groups are removed by the next launcher.
//!
//! With the profile `plain` it makes no name spaces, no firewall and no control group, and the
//! configuration has to accept by name that these barriers are missing.

use crate::Fatal;
use crate::barriers::{Barrier, State};
use crate::config::{Config, Link, User};
use crate::daemon::{SERVING, SHUT_IN, TESTED};
use crate::enter::{Entry, SELF};
use crate::place::{Group, NetSpace};
use crate::probe::LET_IN;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How the launcher is asked.
#[derive(Clone, Debug)]
pub struct Order {
    /// The configuration.
    pub config: PathBuf,
    /// The payload's program; none: the launcher only keeps the daemon.
    pub payload: Vec<OsString>,
    /// No name spaces, no firewall, no control group.
    pub plain: bool,
    /// How often the barriers are tested.
    pub test_every: Duration,
}

/// How long the daemon may take to shut itself in, and to begin to serve.
const BOOT_PATIENCE: Duration = Duration::from_secs(20);

/// How long a test of the barriers may take.
const TEST_PATIENCE: Duration = Duration::from_secs(5);

/// How long the payload may take to end when it is asked to.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// The interface of the daemon's name space.
const CONTROL: &str = "control0";

/// The interface of the payload's.
const PAYLOAD: &str = "payload0";

/// Everything that was made, to be removed.
struct Launched {
    config: Config,
    order: Order,
    control: Option<NetSpace>,
    payload_space: Option<NetSpace>,
    group: Option<Group>,
    folders: Vec<PathBuf>,
    daemon: Option<(Child, OwnedFd)>,
    payload: Option<Child>,
}

/// Launches, and waits for the end: that of the payload, of the daemon, or by a signal.
pub fn launch(order: Order) -> Result<u8, Fatal> {
    if !rustix::process::getuid().is_root() {
        return Err(Fatal(
            "the launcher makes name spaces and changes users: run it as root".into(),
        ));
    }
    let config = Config::load(&order.config)?;
    let signals = listen_for_signals()?;
    let mut launched = Launched {
        config,
        order,
        control: None,
        payload_space: None,
        group: None,
        folders: Vec::new(),
        daemon: None,
        payload: None,
    };
    let result = launched.run(&signals);
    launched.remove();
    result
}

/// Takes signals as events instead of ending by them.
pub(crate) fn listen_for_signals() -> Result<SignalFd, Fatal> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals
        .thread_block()
        .and_then(|()| {
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        })
        .map_err(|error| Fatal(format!("cannot listen for signals: {error}")))
}

impl Launched {
    fn run(&mut self, signals: &SignalFd) -> Result<u8, Fatal> {
        self.make_places()?;
        self.start_daemon()?;
        if let Some(code) = self.expect(SHUT_IN)? {
            return Ok(code);
        }
        self.test(true)?;
        if let Some(code) = self.expect(SERVING)? {
            return Ok(code);
        }
        self.start_payload()?;
        self.tell();
        self.wait(signals)
    }

    /// Makes the name spaces, the firewall, the control group and the sockets' folders. (L1)
    fn make_places(&mut self) -> Result<(), Fatal> {
        if !self.order.plain {
            let mut control = NetSpace::make()?;
            attach(&mut control, CONTROL, self.config.launch.control.as_ref())?;
            let uid = self.config.user.uid;
            if let Err(error) = control.only_user_sends(CONTROL, uid) {
                complain("control-firewall", &error);
            }
            self.control = Some(control);
            let mut payload = NetSpace::make()?;
            attach(&mut payload, PAYLOAD, self.config.launch.payload_link.as_ref())?;
            self.payload_space = Some(payload);
            match self.config.launch.processor.map(Group::without) {
                Some(Ok(group)) => self.group = Some(group),
                Some(Err(error)) => complain("processor", &error),
                None => {}
            }
        }
        for socket in [&self.config.socket, &self.config.status] {
            let folder = socket.parent().unwrap_or(Path::new("/"));
            if !folder.exists() {
                fs::create_dir(folder)
                    .and_then(|()| give(folder, self.config.user))
                    .map_err(|error| Fatal::file("make", folder, &error))?;
                self.folders.push(folder.into());
            }
        }
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<(), Fatal> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(Fatal::of("make a pair of sockets"))?;
        let entry = Entry {
            net: self.control.as_ref().map(NetSpace::path),
            user: Some(self.config.user),
            // Without a control group the payload can go there, too; then let the kernel choose.
            processor: self.group.as_ref().and(self.config.launch.processor),
            daemon: true,
            ..Entry::default()
        };
        let config = fs::canonicalize(&self.order.config)
            .map_err(|error| Fatal::file("find", &self.order.config, &error))?;
        let program =
            [SELF.into(), "run".into(), "--config".into(), config.into(), "--launched".into()];
        let program: [OsString; 5] = program;
        let child = entry.command(&program).stdin(theirs).spawn();
        let child = child.map_err(|error| Fatal(format!("cannot start the daemon: {error}")))?;
        self.daemon = Some((child, ours));
        Ok(())
    }

    /// Waits until the daemon says that; the exit code, if it ends instead.
    fn expect(&mut self, word: &[u8]) -> Result<Option<u8>, Fatal> {
        let Some((child, socket)) = &mut self.daemon else { return Ok(Some(1)) };
        let deadline = Instant::now() + BOOT_PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fatal("the daemon takes too long to start".into()));
            }
            wait_for(&mut [PollFd::new(socket, PollFlags::IN)], left)?;
            let mut said = [0; 64];
            match recv(&*socket, &mut said[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    let status = child.wait();
                    return Ok(Some(status.map_or(1, code_of)));
                }
                Ok((len, _)) if said.get(..len) == Some(word) => return Ok(None),
                Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fatal(format!("the daemon's socket: {error}"))),
            }
        }
    }

    /// Tests the barriers from outside, and tells the daemon what was found. (L3)
    fn test(&mut self, first: bool) -> Result<(), Fatal> {
        let Some((child, _)) = &self.daemon else { return Ok(()) };
        let pid = child.id().to_string();
        let config = &self.config;
        let addresses = config.hosts.iter().map(|host| host.address);
        let join = |addresses: Vec<std::net::SocketAddr>| {
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            texts.join(",")
        };
        let all = join(addresses.clone().collect());
        let others = join(addresses.filter(|it| *it != config.address()).collect());
        let socket = config.socket.to_string_lossy();
        // One that all share is found to be missing as a barrier.
        let processor = config.launch.processor.unwrap_or(0).to_string();
        let payload = self.payload_entry();
        let mut text = run_probe(
            &payload,
            &["--pid", &pid, "--control", &all, "--processor", &processor, "--own-rights"],
        );
        let control = self.control.as_ref().map(NetSpace::path);
        let user = config.launch.payload;
        let inside = Entry { net: control, user: Some(user), ..Entry::default() };
        text += &run_probe(&inside, &["--control", &others, "--firewall"]);
        let stranger = User { uid: config.launch.stranger, gid: config.launch.stranger };
        let stranger = Entry { user: Some(stranger), ..Entry::default() };
        text += &run_probe(&stranger, &["--stranger", &socket]);
        if first && config.role_of(user.uid).is_some() {
            // Only before the payload runs: it could be about to greet, and have to begin anew.
            let let_in = run_probe(&payload, &["--let-in", &socket]);
            if let_in.trim() != format!("{LET_IN} true") {
                let (name, state) = (Barrier::SocketUser.name(), State::Untested.name());
                let _ = writeln!(text, "{name} {state} the payload's user was turned away, too");
            }
        }
        self.report(&text, first);
        Ok(())
    }

    /// Tells the daemon, and for people whatever does not hold.
    fn report(&self, text: &str, first: bool) {
        for line in text.lines().filter(|_| first) {
            let state = line.split(' ').nth(1).unwrap_or_default();
            if state == State::Missing.name() || state == State::Untested.name() {
                eprintln!("maftia-ttcb: {line}");
            }
        }
        if let Some((_, socket)) = &self.daemon {
            let message = format!("{TESTED}\n{text}");
            // A daemon that has ended is noticed elsewhere.
            let _ = send(socket, message.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// Where and as whom the payload runs.
    fn payload_entry(&self) -> Entry {
        Entry {
            net: self.payload_space.as_ref().map(NetSpace::path),
            user: Some(self.config.launch.payload),
            group: self.group.as_ref().map(Group::processes),
            closed: true,
            ..Entry::default()
        }
    }

    /// (L2)
    fn start_payload(&mut self) -> Result<(), Fatal> {
        if self.order.payload.is_empty() {
            return Ok(());
        }
        let mut command = self.payload_entry().command(&self.order.payload);
        let child = command.process_group(0).spawn();
        let child = child.map_err(|error| Fatal(format!("cannot start the payload: {error}")))?;
        self.payload = Some(child);
        Ok(())
    }

    /// One line for whoever started the launcher: where everything is.
    fn tell(&self) {
        let number = |child: Option<&Child>| child.map_or(0, Child::id);
        let daemon = number(self.daemon.as_ref().map(|(child, _)| child));
        let payload = number(self.payload.as_ref());
        let space = |space: &Option<NetSpace>| match space {
            Some(space) => format!("{:?}", space.path()),
            None => "null".into(),
        };
        let group = self.group.as_ref().map(Group::processes);
        println!(
            "{{\"host\":{},\"daemon\":{daemon},\"payload\":{payload},\"socket\":{:?},\
             \"status\":{:?},\"control_space\":{},\"payload_space\":{},\"group\":{}}}",
            self.config.host.0,
            self.config.socket,
            self.config.status,
            space(&self.control),
            space(&self.payload_space),
            group.map_or("null".into(), |group| format!("{group:?}")),
        );
    }

    /// Until the payload or the daemon ends, or somebody asks to end.
    fn wait(&mut self, signals: &SignalFd) -> Result<u8, Fatal> {
        let mut test_at = Instant::now() + self.order.test_every;
        loop {
            let left = test_at.saturating_duration_since(Instant::now());
            wait_for(&mut [PollFd::new(signals, PollFlags::IN)], left)?;
            while let Ok(Some(signal)) = signals.read_signal() {
                match Signal::try_from(signal.ssi_signo as i32) {
                    Ok(Signal::SIGCHLD) | Err(_) => {}
                    Ok(signal) => return Ok(self.end_payload(signal)),
                }
            }
            if let Some((daemon, _)) = &mut self.daemon
                && let Ok(Some(status)) = daemon.try_wait()
            {
                eprintln!("maftia-ttcb: the daemon has ended: {status}");
                self.end_payload(Signal::SIGTERM);
                return Ok(code_of(status).max(1));
            }
            if let Some(Ok(Some(status))) = self.payload.as_mut().map(Child::try_wait) {
                return Ok(code_of(status));
            }
            if test_at <= Instant::now() {
                self.test(false)?;
                test_at = Instant::now() + self.order.test_every;
            }
        }
    }

    /// Forwards a signal, waits, and ends what does not end.
    fn end_payload(&mut self, signal: Signal) -> u8 {
        let Some(child) = &mut self.payload else { return 0 };
        let group = nix::unistd::Pid::from_raw(-(child.id() as i32));
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(group, signal);
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return code_of(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = nix::sys::signal::kill(group, Signal::SIGKILL);
        child.wait().map_or(1, code_of)
    }

    /// Removes everything. (L4)
    fn remove(&mut self) {
        if let Some(mut payload) = self.payload.take() {
            let group = nix::unistd::Pid::from_raw(-(payload.id() as i32));
            let _ = nix::sys::signal::kill(group, Signal::SIGKILL);
            let _ = payload.wait();
        }
        if let Some((mut daemon, _)) = self.daemon.take() {
            // It fails by crashing only, and has nothing to put in order.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if let Some(group) = self.group.take() {
            group.kill();
            group.remove();
        }
        drop(self.control.take());
        drop(self.payload_space.take());
        for socket in [&self.config.socket, &self.config.status] {
            let _ = fs::remove_file(socket);
        }
        for folder in self.folders.drain(..) {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn complain(name: &str, error: &Fatal) {
    eprintln!("maftia-ttcb: {name} missing {error}");
}

fn attach(space: &mut NetSpace, name: &str, link: Option<&Link>) -> Result<(), Fatal> {
    link.map_or(Ok(()), |link| space.attach(name, link))
}

/// Runs one test to its end, or to the end of patience: the payload may stop what runs as its user.
/// What was said before counts.
fn run_probe(entry: &Entry, tests: &[&str]) -> String {
    let entry = Entry { probe: true, ..entry.clone() };
    let mut command = entry.command(tests);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("maftia-ttcb: cannot test the barriers: {error}");
            return String::new();
        }
    };
    let deadline = Instant::now() + TEST_PATIENCE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Refused if it has ended, as it should.
    let _ = child.kill();
    let output = child.wait_with_output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Hands a file to a user.
pub(crate) fn give(path: &Path, user: User) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
}

fn wait_for(places: &mut [PollFd<'_>], left: Duration) -> Result<(), Fatal> {
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match poll(places, Some(&left)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Fatal(format!("cannot wait for events: {error}"))),
    }
}

/// As a shell tells it.
fn code_of(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(1) as u8
}
