//! The daemon: opens its sockets, shuts itself in, and then serves in one loop.
//!
//! # Rules
//! - **D1** Sockets and keys first; then the process gives up every right that it does not need any
//!   more (module `confine`); it serves only when every barrier holds, or its absence is
//!   accepted by name.
//! - **D2** One step for each event, and the clocks are read before each: a reading that was older
//!   than the event would break the bounds of the clocks (K1 of the core).
//! - **D3** To look at a frame costs its role's reservation before the frame is read: while a role
//!   has no credit its frames wait in its own socket, and cost nobody anything.
//! - **D4** In each turn of the loop every connection has at most one frame read, and every role
//!   has at most two of them: that of who has it, and that of a candidate.
//! - **D5** Nothing is waited for: a client whose socket is full is dropped.
//! - **D6** A barrier that is later found missing, and is not accepted, ends the life. One that a
//!   later test could not test does not: the payload could disturb the test, and would else hold a
//!   switch for its host's component.
//! - **D7** It introduces itself to a peer, now and again, until that has sealed a frame for this
//!   life: C4 of the core alone does not make good the loss of an introduction, since who knows the
//!   other already does not answer a second one.
//! - **D8** A new connection is a candidate. It has the role, in the place of who had it, from its
//!   first call that opens under the key of its handshake; a later candidate takes the place of an
//!   earlier one. Whoever may connect may do so: the kernel names users and not processes, and who
//!   runs as a role's user has its reservation, too.

use crate::Fatal;
use crate::barriers::{Barrier, Report, State, refusal};
use crate::certify::Certifier;
use crate::config::{Config, Role};
use crate::confine;
use crate::life::Life;
use crate::settings::parse_hex;
use crate::status::{self, Status};
use crate::wires::{Client, HELLO_PERIOD, Heard, Wires};
use maftia_ttcb_api::{Call, Moment, Numbered, ROLES_MAX, Span};
use maftia_ttcb_core::admission::{FORGERY, HANDSHAKE};
use maftia_ttcb_core::channel::Received;
use maftia_ttcb_core::{Core, Local, Now};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with, sockopt::socket_peercred,
};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the daemon says to its launcher once it has shut itself in.
pub(crate) const SHUT_IN: &[u8] = b"shut in";

/// What it says when it serves.
pub(crate) const SERVING: &[u8] = b"serving";

/// The first word of what the launcher says.
pub(crate) const TESTED: &str = "tested";

/// Room for a status.
pub(crate) const STATUS_BYTES: usize = 16 * 1024;

/// How many datagrams are handled before anything else has its turn.
const DATAGRAMS_PER_TURN: usize = 32;

/// The least time between two connections: whoever connects again and again, with a role or without
/// one, takes about a hundredth of a processor, and delays only who wants to connect as well.
const ACCEPT_PAUSE: u64 = 1_000_000;

/// The least time between two answers to operators, for the same reason.
const STATUS_PAUSE: u64 = 20_000_000;

/// How often the daemon looks at itself.
const LOOK_PERIOD: u64 = 60_000_000_000;

/// The least time that is slept when a step leaves something due at once: a process before all
/// others must never turn round and round.
const REST: u64 = 10_000;

const LAUNCHER: usize = 0;
const CONTROL: usize = 1;
const LISTENER: usize = 2;
const STATUS: usize = 3;
const CLIENTS: usize = 4;
const CANDIDATES: usize = CLIENTS + ROLES_MAX;
const PLACES: usize = CANDIDATES + ROLES_MAX;

/// The daemon.
struct Daemon {
    config: Config,
    core: Core,
    wires: Wires,
    listener: OwnedFd,
    status: OwnedFd,
    /// The launcher's socket, until it is closed.
    launcher: Option<OwnedFd>,
    report: Report,
    serving: bool,
    /// When the next connection is looked at, of each kind.
    accept_at: Local,
    status_at: Local,
    hello_at: Local,
    look_at: Local,
    text: String,
}

/// Runs until it is killed, or has a reason to end itself. With `launched`, its standard input is a
/// socket to the launcher.
pub fn run(config: Config, launched: bool) -> Result<(), Fatal> {
    let mut daemon = Daemon::open(config, launched)?;
    let Config { priority, user, .. } = daemon.config;
    confine::shut_in(priority, user.uid, &mut daemon.report)?;
    match &daemon.launcher {
        Some(launcher) => {
            send(launcher, SHUT_IN, SendFlags::NOSIGNAL).map_err(Fatal::of("tell the launcher"))?;
        }
        None => daemon.begin_to_serve()?,
    }
    loop {
        daemon.turn()?;
    }
}

impl Daemon {
    /// Opens everything that will ever be open. (D1)
    fn open(config: Config, launched: bool) -> Result<Self, Fatal> {
        let address = config.address();
        let udp = UdpSocket::bind(address)
            .map_err(|error| Fatal(format!("cannot bind {address}: {error}")))?;
        let listener = local_socket(&config.socket, SocketType::SEQPACKET)?;
        let status = local_socket(&config.status, SocketType::STREAM)?;
        let launcher = match launched {
            true => {
                rustix::process::set_parent_process_death_signal(Some(
                    rustix::process::Signal::KILL,
                ))
                .map_err(Fatal::of("ask to end with the launcher"))?;
                let own = std::io::stdin().as_fd().try_clone_to_owned();
                Some(own.map_err(|error| Fatal(format!("no socket to the launcher: {error}")))?)
            }
            false => None,
        };
        let (life, exchange) = Life::begin(config.host, Certifier::start(&config)?)?;
        let core = Core::new(&config.core(), life.boot.said.boot())
            .map_err(|overload| Fatal(format!("the reservations are refused: {overload:?}")))?;
        let wires = Wires::new(&config, life, exchange, udp)?;
        let text = String::with_capacity(STATUS_BYTES);
        let zero = Local(0);
        Ok(Self {
            config,
            core,
            wires,
            listener,
            status,
            launcher,
            report: Report::default(),
            serving: false,
            accept_at: zero,
            status_at: zero,
            hello_at: zero,
            look_at: Local(clocks().local.0 + LOOK_PERIOD),
            text,
        })
    }

    /// Serves, unless a barrier is missing that has to be there. (D1)
    fn begin_to_serve(&mut self) -> Result<(), Fatal> {
        let accepted = &self.config.accept_missing;
        let mut missing = self.report.unacceptable(accepted).peekable();
        if missing.peek().is_some() {
            let sentences: Vec<_> = missing.map(|(it, state)| refusal(it, state)).collect();
            return Err(Fatal(sentences.join("\n")));
        }
        self.serving = true;
        let life = status::name(&self.wires.life.boot.said);
        eprintln!("maftia-ttcb: host {} serves, in its life {life}", self.config.host.0);
        if let Some(launcher) = &self.launcher {
            send(launcher, SERVING, SendFlags::NOSIGNAL).map_err(Fatal::of("tell the launcher"))?;
        }
        Ok(())
    }

    /// Waits for what comes next, and does it.
    fn turn(&mut self) -> Result<(), Fatal> {
        let ready = self.wait()?;
        let is_ready = |place: usize| !ready[place].is_empty();
        if self.serving {
            self.keep_up()?;
        }
        if is_ready(CONTROL) {
            self.drain_control();
        }
        for role in 0..ROLES_MAX {
            if is_ready(CLIENTS + role) {
                self.on_client(role as u8);
            }
            if is_ready(CANDIDATES + role) {
                self.on_candidate(role as u8);
            }
        }
        if is_ready(LAUNCHER) {
            self.on_launcher()?;
        }
        if is_ready(LISTENER) {
            self.on_connection();
        }
        if is_ready(STATUS) {
            self.on_status();
        }
        Ok(())
    }

    /// Sleeps until something is ready or due; notes how late a due step is.
    fn wait(&mut self) -> Result<[PollFlags; PLACES], Fatal> {
        let now = clocks();
        let due = if self.serving { self.core.next_due(now) } else { Local(u64::MAX) };
        let mut until = due.min(self.look_at).0.max(now.local.0 + REST);
        if self.serving {
            until = until.min(self.hello_at.0.max(now.local.0));
        }
        let can_accept = self.accept_at <= now.local;
        let can_tell = self.status_at <= now.local;
        for at in [self.accept_at, self.status_at] {
            if at > now.local {
                until = until.min(at.0);
            }
        }
        for client in self.wires.clients.iter().chain(&self.wires.candidates).flatten() {
            if client.ready_at > now.local {
                until = until.min(client.ready_at.0);
            }
        }
        let (wires, none) = (&self.wires, PollFlags::empty());
        let connection = |place: usize| match place.checked_sub(CANDIDATES) {
            None => wires.clients[place - CLIENTS].as_ref(),
            Some(role) => wires.candidates[role].as_ref(),
        };
        let when = |wanted: bool| if wanted { PollFlags::IN } else { none };
        let mut places: [PollFd<'_>; PLACES] = std::array::from_fn(|place| match place {
            LAUNCHER => match &self.launcher {
                Some(launcher) => PollFd::new(launcher, PollFlags::IN),
                None => PollFd::new(&wires.udp, none),
            },
            CONTROL => PollFd::new(&wires.udp, PollFlags::IN),
            LISTENER => PollFd::new(&self.listener, when(can_accept)),
            STATUS => PollFd::new(&self.status, when(can_tell)),
            _ => match connection(place) {
                // A client that hung up is heard of when its turn comes, not before: the kernel
                // tells of it whether asked or not.
                Some(client) if self.serving && client.ready_at <= now.local => {
                    PollFd::new(&client.socket, PollFlags::IN)
                }
                _ => PollFd::new(&wires.udp, none),
            },
        });
        let sleep = until.saturating_sub(now.local.0);
        let sleep = Timespec {
            tv_sec: (sleep / 1_000_000_000) as i64,
            tv_nsec: (sleep % 1_000_000_000) as i64,
        };
        match poll(&mut places, Some(&sleep)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Fatal(format!("cannot wait for events: {error}"))),
        }
        let wanted = |place: usize| place < CLIENTS || connection(place).is_some();
        let ready =
            std::array::from_fn(|place| if wanted(place) { places[place].revents() } else { none });
        let late = clocks().local.0.checked_sub(due.0);
        if let Some(late) = late {
            self.wires.counters.lateness.note(late);
        }
        Ok(ready)
    }

    /// Does what is due.
    fn keep_up(&mut self) -> Result<(), Fatal> {
        let now = clocks();
        let began = worked();
        self.core.tick(now, &mut self.wires);
        self.wires.counters.costs.ticks.note(worked() - began, None);
        if self.hello_at <= now.local {
            self.hello_at = Local(now.local.0 + HELLO_PERIOD);
            self.wires.introduce_to_unknowing(now.local);
        }
        if self.look_at <= now.local {
            self.look_at = Local(now.local.0 + LOOK_PERIOD);
            confine::look_at_self(&mut self.report);
            return self.go_on();
        }
        Ok(())
    }

    /// Ends the life if a barrier has been found missing that has to be there. (D6)
    fn go_on(&self) -> Result<(), Fatal> {
        let accepted = &self.config.accept_missing;
        let missing = self.report.unacceptable(accepted).find(|(_, it)| *it == State::Missing);
        match missing {
            Some((barrier, state)) => Err(Fatal(refusal(barrier, state))),
            None => Ok(()),
        }
    }

    /// Handles what the control network brought. (D2)
    fn drain_control(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let began = worked();
            let Some(received) = self.wires.receive(self.serving) else { return };
            let now = clocks();
            match received {
                Received::Frame(peer, control) => {
                    self.wires.note_knows_us(peer.host, true);
                    self.core.control(peer, &control, now, &mut self.wires);
                }
                Received::Introduced(peer) => {
                    self.core.introduced(peer);
                    self.wires.note_knows_us(peer.host, false);
                    self.wires.introduce_at_once(peer.host);
                }
                Received::Unopened(host) => {
                    self.wires.counters.datagrams_ignored += 1;
                    self.wires.introduce(host, now.local);
                }
                Received::Nothing => self.wires.counters.datagrams_ignored += 1,
            }
            self.wires.counters.costs.datagrams.note(worked() - began, None);
        }
    }

    /// Reads one frame of who has a role, if the role can pay for it. (D3, D4)
    fn on_client(&mut self, role: u8) {
        let place = usize::from(role);
        if let Err(ready_at) = self.charge(role, FORGERY) {
            self.wires.clients[place].iter_mut().for_each(|client| client.ready_at = ready_at);
            return;
        }
        match Wires::hear(self.wires.clients[place].as_ref()) {
            Heard::Closed => self.wires.clients[place] = None,
            Heard::Nothing => {}
            Heard::Nonsense => self.wires.counters.forgeries += 1,
            Heard::Frame(frame) => match self.wires.call(role, &frame) {
                Ok(call) => self.on_call(role, &call),
                Err(_) => self.wires.counters.forgeries += 1,
            },
        }
    }

    /// The same for who may get it: a greeting, or the call with which it has it. (D8)
    fn on_candidate(&mut self, role: u8) {
        let place = usize::from(role);
        let candidate = self.wires.candidates[place].as_ref();
        let Some(greeted) = candidate.map(|candidate| candidate.greeted) else { return };
        let price = if greeted { FORGERY } else { HANDSHAKE };
        if let Err(ready_at) = self.charge(role, price) {
            self.wires.candidates[place].iter_mut().for_each(|it| it.ready_at = ready_at);
            return;
        }
        match Wires::hear(self.wires.candidates[place].as_ref()) {
            Heard::Closed => self.wires.candidates[place] = None,
            Heard::Nothing => {}
            Heard::Nonsense => self.wires.counters.forgeries += 1,
            Heard::Frame(frame) if !greeted => {
                let began = worked();
                self.wires.welcome(role, &frame);
                self.wires.counters.costs.handshakes.note(worked() - began, Some(HANDSHAKE));
            }
            Heard::Frame(frame) => match self.wires.claim(role, &frame) {
                Ok(call) => {
                    self.core.forget_calls(role);
                    self.on_call(role, &call);
                }
                Err(_) => self.wires.counters.forgeries += 1,
            },
        }
    }

    /// Takes the price of a frame from its role, or says when the role will have it. (D3)
    fn charge(&mut self, role: u8, price: Span) -> Result<(), Local> {
        let now = clocks();
        match self.core.admit(role, price, now) {
            true => Ok(()),
            false => Err(Local(now.local.0 + self.earning(role, price))),
        }
    }

    fn on_call(&mut self, role: u8, call: &Numbered<Call>) {
        if let Call::Propose { .. } = call.body {
            self.wires.counters.proposals += 1;
        }
        let began = worked();
        self.core.call(role, call, clocks(), &mut self.wires);
        self.wires.counters.costs.note_call(&call.body, worked() - began);
    }

    /// In how much time a role earns so much credit.
    fn earning(&self, role: u8, price: Span) -> u64 {
        let Some(Role { reservation, .. }) = self.config.roles[usize::from(role)] else { return 0 };
        let nanos = u128::from(price.0) * u128::from(reservation.period.0);
        nanos.div_ceil(u128::from(reservation.budget.0)) as u64
    }

    /// Somebody connects: the user tells the role, and users without one are turned away.
    fn on_connection(&mut self) {
        let now = clocks().local;
        self.accept_at = Local(now.0 + ACCEPT_PAUSE);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.listener, flags) else { return };
        let peer = socket_peercred(&socket).ok().map(|peer| peer.uid.as_raw());
        match peer.and_then(|uid| self.config.role_of(uid)) {
            Some(role) => {
                let client = Client { socket, greeted: false, ready_at: now };
                self.wires.candidates[usize::from(role)] = Some(client);
            }
            None => self.wires.counters.strangers += 1,
        }
    }

    /// Somebody asks how it is.
    fn on_status(&mut self) {
        let now = clocks();
        self.status_at = Local(now.local.0 + STATUS_PAUSE);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.status, flags) else { return };
        let roles_connected = self.wires.clients.iter().flatten().count();
        let status = Status {
            boot: &self.wires.life.boot.said,
            guard: self.config.guard.kind(),
            serving: self.serving,
            priority: self.config.priority,
            report: &self.report,
            accepted: &self.config.accept_missing,
            peers: self.wires.channel.peers(),
            time: self.core.time(now),
            overruns: self.core.overruns(),
            roles_connected: roles_connected as u32,
            counters: &self.wires.counters,
        };
        if status.write(&mut self.text).is_ok() {
            // What a reader does not take at once it does not get.
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = send(&socket, self.text.as_bytes(), flags);
        }
    }

    /// The launcher tells what its tests found. (D1, D6)
    fn on_launcher(&mut self) -> Result<(), Fatal> {
        let Some(launcher) = &self.launcher else { return Ok(()) };
        let mut buffer = [0; 4096];
        let text = match recv(launcher, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.launcher = None;
                return Ok(());
            }
            Ok((len, _)) => std::str::from_utf8(&buffer[..len.min(4096)]).unwrap_or_default(),
            Err(_) => return Ok(()),
        };
        let Some(found) = text.strip_prefix(TESTED) else { return Ok(()) };
        let mut tested = Report::default();
        tested.read(found);
        if let Some(sent) =
            found.lines().find_map(|line| line.strip_prefix("control-network sent "))
        {
            self.drain_control();
            let sent = sent.split(' ').next().and_then(parse_hex);
            let arrived = sent.is_none() || self.wires.probe == sent;
            tested.note(Barrier::ControlNetwork, State::of(!arrived));
        }
        self.report.merge(&tested);
        if self.serving { self.go_on() } else { self.begin_to_serve() }
    }
}

/// What the clocks show. (D2)
fn clocks() -> Now {
    let nanos = |time: Timespec| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    Now {
        local: Local(nanos(clock_gettime(ClockId::Monotonic))),
        host: Moment(nanos(clock_gettime(ClockId::Realtime))),
    }
}

/// The processor time that this thread has had, in nanoseconds: what others take from it while it
/// works does not count.
fn worked() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A listening socket that everybody can try: who is served is decided by the user that the kernel
/// names, not by the mode of a file.
fn local_socket(path: &Path, kind: SocketType) -> Result<OwnedFd, Fatal> {
    let trouble = |error: &dyn std::fmt::Display| Fatal::file("listen at", path, error);
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(trouble(&error));
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None).map_err(|it| trouble(&it))?;
    let address = SocketAddrUnix::new(path).map_err(|error| trouble(&error))?;
    bind(&socket, &address).map_err(|error| trouble(&error))?;
    listen(&socket, 64).map_err(|error| trouble(&error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(|it| trouble(&it))?;
    Ok(socket)
}
