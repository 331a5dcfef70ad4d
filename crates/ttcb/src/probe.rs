//! Tries to break through the barriers, from where the payload stands, and says how that went.
//!
//! Each line has the name of a barrier, a state, and for people what happened. See
//! [`barriers`](crate::barriers) for what each test proves.

use crate::Fatal;
use crate::args::Arguments;
use crate::barriers::{Barrier, State};
use crate::client::{ClientError, open, receive};
use crate::confine::every_capability;
use crate::enter::only;
use crate::life::random;
use crate::settings::hex;
use maftia_ttcb_api::Handshake;
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::net::{SendFlags, send};
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_bounding_set, no_new_privs, sched_setaffinity,
};
use std::fs::File;
use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a connection has to stay open to count as kept.
const KEPT: Duration = Duration::from_millis(150);

/// In which time a stranger has to be turned away.
const TURNED_AWAY: Duration = Duration::from_secs(2);

/// The line by which a role's own user says whether it was let in.
pub(crate) const LET_IN: &str = "let-in";

/// Runs the tests that the command line names.
pub(crate) fn probe(mut arguments: Arguments) -> Result<(), Fatal> {
    if let Some(pid) = arguments.parsed("--pid")? {
        tell(Barrier::Memory, memory(pid));
        tell(Barrier::Tracing, tracing(pid));
    }
    let addresses = arguments.find("--control")?;
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .flat_map(|all| all.to_str().into_iter().flat_map(|all| all.split(',')))
        .filter_map(|one| one.parse().ok())
        .collect();
    if arguments.flag("--firewall") {
        tell(Barrier::ControlFirewall, firewall(&addresses));
    } else if !addresses.is_empty() {
        control_network(&addresses);
    }
    if let Some(processor) = arguments.parsed("--processor")? {
        tell(Barrier::Processor, other_processor(processor));
    }
    if let Some(socket) = arguments.find("--stranger")? {
        tell(Barrier::SocketUser, stranger(Path::new(&socket)));
    }
    if let Some(socket) = arguments.find("--let-in")? {
        println!("{LET_IN} {}", is_let_in(Path::new(&socket)));
    }
    if arguments.flag("--own-rights") {
        tell(Barrier::PayloadCapabilities, own_rights());
        // The last one: a success would change where this process is.
        tell(Barrier::UserNamespaces, user_namespace());
    }
    arguments.finish().map(|_| ())
}

fn tell(barrier: Barrier, (state, what): (State, String)) {
    println!("{} {} {what}", barrier.name(), state.name());
}

/// Two ways to another process's memory; the kernel checks the same right for both.
fn memory(pid: i32) -> (State, String) {
    let by_file = match File::open(format!("/proc/{pid}/mem")) {
        Ok(_) => State::Missing,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => State::Held,
        Err(_) => State::Untested,
    };
    let mut bytes = [0; 8];
    let remote = [RemoteIoVec { base: 0x40_0000, len: 8 }];
    let copied = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(&mut bytes)], &remote);
    let by_call = match copied {
        // Nothing is there at this address, but it was looked up.
        Ok(_) | Err(nix::Error::EFAULT) => State::Missing,
        Err(error) => refused(error),
    };
    let what = format!("by file {}, by system call {}", by_file.name(), by_call.name());
    let worst = [State::Missing, State::Untested]
        .into_iter()
        .find(|state| by_file == *state || by_call == *state);
    (worst.unwrap_or(State::Held), what)
}

/// Is it the barrier that refused, or is something else in the way, such as a table that somebody
/// filled up? The payload may be able to do that, and must not be believed then.
fn refused(error: nix::Error) -> State {
    match error {
        nix::Error::EPERM | nix::Error::EACCES | nix::Error::ENOSYS => State::Held,
        _ => State::Untested,
    }
}

fn tracing(pid: i32) -> (State, String) {
    let pid = Pid::from_raw(pid);
    match ptrace::attach(pid) {
        Ok(()) => {
            // Nothing can be done about a failure: the process ends next, which detaches, too.
            let _ = ptrace::detach(pid, None);
            (State::Missing, "attached".into())
        }
        Err(error) => (refused(error), error.to_string()),
    }
}

/// Sends to every control socket. Whether something that left arrives, the daemon sees.
fn control_network(addresses: &[SocketAddr]) {
    let nonce = random();
    let results: Vec<_> = addresses.iter().map(|address| send_to(*address, &nonce)).collect();
    let no_way = |result: &std::io::Result<usize>| {
        let kind = result.as_ref().err().map(std::io::Error::kind);
        let kinds = [
            ErrorKind::NetworkUnreachable,
            ErrorKind::HostUnreachable,
            ErrorKind::PermissionDenied,
        ];
        kind.is_some_and(|kind| kinds.contains(&kind))
    };
    if results.iter().any(Result::is_ok) {
        println!("{} sent {}", Barrier::ControlNetwork.name(), hex(&nonce));
    } else if results.iter().all(no_way) {
        tell(Barrier::ControlNetwork, (State::Held, "there is no way".into()));
    } else {
        tell(Barrier::ControlNetwork, (State::Untested, format!("{results:?}")));
    }
}

fn firewall(addresses: &[SocketAddr]) -> (State, String) {
    let results: Vec<_> = addresses.iter().map(|address| send_to(*address, &[0])).collect();
    let refused = |result: &std::io::Result<usize>| {
        result.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    if results.iter().any(Result::is_ok) {
        (State::Missing, "another user could send".into())
    } else if !results.is_empty() && results.iter().all(refused) {
        (State::Held, "sending was refused".into())
    } else {
        (State::Untested, format!("there is nobody to send to, or no way: {results:?}"))
    }
}

fn send_to(address: SocketAddr, bytes: &[u8]) -> std::io::Result<usize> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((any, 0))?.send_to(bytes, address)
}

fn other_processor(processor: usize) -> (State, String) {
    match sched_setaffinity(None, &only(processor)) {
        Ok(()) => (State::Missing, format!("moved to processor {processor}")),
        Err(error @ rustix::io::Errno::INVAL) => (State::Held, error.to_string()),
        Err(error) => (State::Untested, error.to_string()),
    }
}

/// A user without a role connects and greets.
fn stranger(socket: &Path) -> (State, String) {
    let answer = open(socket).and_then(|socket| {
        let hello = Handshake::new(random(), random()).frame();
        // It may have been turned away before it could say a word.
        let _ = send(&socket, &hello, SendFlags::NOSIGNAL);
        receive(&socket, Instant::now() + TURNED_AWAY)
    });
    match answer {
        Err(ClientError::Closed) => (State::Held, "turned away".into()),
        Err(ClientError::Socket(rustix::io::Errno::ACCESS)) => {
            (State::Held, "could not connect".into())
        }
        Err(error) => (State::Untested, error.to_string()),
        Ok(_) => (State::Missing, "was answered".into()),
    }
}

/// Connects as the user of a role, and says nothing: is the connection kept?
fn is_let_in(socket: &Path) -> bool {
    let answer = open(socket).and_then(|socket| receive(&socket, Instant::now() + KEPT));
    answer == Err(ClientError::Late)
}

fn own_rights() -> (State, String) {
    let none = CapabilitySet::empty();
    let empty = capabilities(None).is_ok_and(|sets| {
        sets.effective == none && sets.permitted == none && sets.inheritable == none
    });
    let bounded =
        every_capability().all(|one| !capability_is_in_bounding_set(one).unwrap_or(false));
    let closed = no_new_privs().unwrap_or(false);
    let what = format!("none {empty}, bounded {bounded}, no new privileges {closed}");
    (State::of(empty && bounded && closed), what)
}

fn user_namespace() -> (State, String) {
    match unshare(CloneFlags::CLONE_NEWUSER) {
        Ok(()) => (State::Missing, "made one".into()),
        Err(error) => (refused(error), error.to_string()),
    }
}
