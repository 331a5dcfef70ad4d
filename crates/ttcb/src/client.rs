//! A client that waits for its answers: for tests, measurements and tools.

use crate::life::random;
use maftia_ttcb_api::session::{FRAME_BYTES, Impostor, VERSION};
use maftia_ttcb_api::{Answer, Call, EntityId, Frame, Handshake, Numbered, Session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Why a client got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket cannot be reached, or broke.
    Socket(rustix::io::Errno),
    /// The component closed the connection.
    Closed,
    /// Nothing came in time.
    Late,
    /// Whoever answered is not the component of this host, or the answer was changed.
    Impostor,
    /// The component speaks this version of its interface, and not this program's.
    OtherVersion(u16),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "the component's socket: {error}"),
            Self::Closed => f.write_str("the component closed the connection"),
            Self::Late => f.write_str("the component did not answer in time"),
            Self::Impostor => f.write_str("this is not the component of this host"),
            Self::OtherVersion(theirs) => write!(
                f,
                "the component speaks version {theirs} of its interface and this program version \
                 {VERSION}: run both from one release"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<rustix::io::Errno> for ClientError {
    fn from(error: rustix::io::Errno) -> Self {
        match error {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => Self::Closed,
            _ => Self::Socket(error),
        }
    }
}

/// A process before its local component.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    session: Session,
    last: u64,
}

impl Client {
    /// Connects and authenticates, given the public key of this host's key guard.
    pub fn connect(path: &Path, guard: &[u8; 32], patience: Duration) -> Result<Self, ClientError> {
        let socket = open(path)?;
        let handshake = Handshake::new(random(), random());
        send(&socket, &handshake.frame(), SendFlags::NOSIGNAL)?;
        let frame = receive(&socket, Instant::now() + patience)?;
        let session = handshake.finish(&frame, guard).map_err(|impostor| match impostor {
            Impostor::OtherVersion(version) => ClientError::OtherVersion(version),
            _ => ClientError::Impostor,
        })?;
        Ok(Self { socket, session, last: 0 })
    }

    /// Who this is before the wormhole.
    pub fn entity(&self) -> EntityId {
        self.session.entity
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Sends a call; the number names its answer.
    pub fn send(&mut self, call: Call) -> Result<u64, ClientError> {
        self.last += 1;
        let frame = self.session.key.seal_call(&Numbered { number: self.last, body: call });
        self.send_frame(&frame)?;
        Ok(self.last)
    }

    /// Sends a frame as it is.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        send(&self.socket, frame, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next answer.
    pub fn receive(&mut self, deadline: Instant) -> Result<Numbered<Answer>, ClientError> {
        let frame = receive(&self.socket, deadline)?;
        self.session.key.open_answer(&frame).map_err(|_| ClientError::Impostor)
    }

    /// Calls and waits for the answer; answers to earlier calls are dropped.
    pub fn call(&mut self, call: Call, patience: Duration) -> Result<Answer, ClientError> {
        let (number, deadline) = (self.send(call)?, Instant::now() + patience);
        loop {
            let answer = self.receive(deadline)?;
            if answer.number == number {
                return Ok(answer.body);
            }
        }
    }
}

/// So that several clients can be waited for.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Connects, and says nothing yet.
pub fn open(path: &Path) -> Result<OwnedFd, ClientError> {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The next frame, if it comes in time.
pub fn receive(socket: &OwnedFd, deadline: Instant) -> Result<Frame, ClientError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left))? == 0 {
        return Err(ClientError::Late);
    }
    let mut frame = [0; FRAME_BYTES];
    match recv(socket, &mut frame[..], RecvFlags::empty())? {
        (0, _) => Err(ClientError::Closed),
        (FRAME_BYTES, _) => Ok(frame),
        _ => Err(ClientError::Impostor),
    }
}
