//! What a server does around its protocol: turn requests into commands and outcomes into answers.

use crate::archive::ArchiveKey;
use crate::watch::Trouble;
use maftia_base::protocol::TimedProtocol;
use maftia_base::time::{Reading, Time};
use maftia_base::{Fault, Party};

/// One connection of a client or of a front end, never reused within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What comes in from the outside, other than from peers.
#[derive(Debug)]
pub enum Arrival<R> {
    /// A request over a connection.
    Request(ConnectionId, R),
    /// The connection is gone.
    Closed(ConnectionId),
}

/// Is a message part of a protocol, or does it only keep a connection alive? For metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// A protocol asked for it.
    Protocol,
    /// Acknowledgements, keep-alives.
    Link,
}

/// The layer between a protocol and the outside. Runs on the engine's own task: it never blocks.
pub trait Host<P: TimedProtocol>: Send + 'static {
    /// What connections bring.
    type Request: Send + 'static;

    /// How many more requests the protocol takes now; the others wait where they are.
    fn capacity(&self, _protocol: &P) -> usize {
        usize::MAX
    }

    /// The log has been replayed; the protocol runs.
    fn on_started(&mut self, _desk: &mut Desk<P>) {}

    /// A connection asks, or is gone.
    fn on_arrival(&mut self, arrival: Arrival<Self::Request>, desk: &mut Desk<P>);

    /// The protocol tells, and all it stands on is durable.
    fn on_outcome(&mut self, outcome: P::Outcome, desk: &mut Desk<P>);

    /// The protocol told this before a restart, and tells it again while the log is replayed.
    fn on_restored(&mut self, _outcome: P::Outcome) {}

    /// The protocol saw `fault`.
    fn on_fault(&mut self, _fault: Fault, _desk: &mut Desk<P>) {}

    /// The time that [`Desk::wake_at`] asked for has come.
    fn on_wake(&mut self, _desk: &mut Desk<P>) {}

    /// The answer to one [`Desk::recall`].
    fn on_recalled(&mut self, _recalled: Recalled<P>, _desk: &mut Desk<P>) {}

    /// Something happened to this server's host; it goes on.
    fn on_trouble(&mut self, _trouble: Trouble) {}

    /// A look at the protocol from time to time, for whoever asks how it is.
    fn observe(&mut self, _protocol: &P, _now: Time) {}

    /// Under which name a record can be recalled.
    fn archive_key(_record: &P::Record) -> Option<ArchiveKey> {
        None
    }

    /// What kind of message this is.
    fn message_kind(_message: &P::Message) -> MessageKind {
        MessageKind::Protocol
    }
}

/// Asks for an old record on behalf of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Who wants it.
    pub to: Party,
    /// Which.
    pub key: ArchiveKey,
}

/// Answers a [`Recall`].
#[derive(Debug)]
pub struct Recalled<P: TimedProtocol> {
    /// Who wants it.
    pub to: Party,
    /// Which.
    pub key: ArchiveKey,
    /// The last record with that key that is durable here and was not cut off.
    pub record: Option<P::Record>,
}

/// Where the host leaves what it wants done.
#[derive(Debug)]
pub struct Desk<P: TimedProtocol> {
    pub(crate) reading: Reading,
    pub(crate) commands: Vec<P::Command>,
    pub(crate) recalls: Vec<Recall>,
    pub(crate) cuts: Vec<ArchiveKey>,
    pub(crate) wake_at: Option<Reading>,
    pub(crate) halt: Option<String>,
}

impl<P: TimedProtocol> Desk<P> {
    pub(crate) fn new(reading: Reading, wake_at: Option<Reading>) -> Self {
        let (commands, recalls, cuts) = (Vec::new(), Vec::new(), Vec::new());
        Self { reading, commands, recalls, cuts, wake_at, halt: None }
    }

    /// This server's clock.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Asks the protocol.
    pub fn command(&mut self, command: P::Command) {
        self.commands.push(command);
    }

    /// Asks for an old record of the log.
    pub fn recall(&mut self, recall: Recall) {
        self.recalls.push(recall);
    }

    /// Says that everything in the log before the record called `key` may be forgotten: a replay
    /// from that record on is enough. Once that record is durable, what lies before it can no
    /// longer be recalled, and leaves the disk. If no record is called so, nothing happens.
    pub fn cut(&mut self, key: ArchiveKey) {
        self.cuts.push(key);
    }

    /// Has the engine end, because the server must not go on; `why` is for the operator.
    pub fn halt(&mut self, why: String) {
        self.halt = Some(why);
    }

    /// Asks for [`Host::on_wake`] once this server's clock has reached `at`; replaces what was
    /// asked for before.
    pub fn wake_at(&mut self, at: Option<Reading>) {
        self.wake_at = at;
    }
}
