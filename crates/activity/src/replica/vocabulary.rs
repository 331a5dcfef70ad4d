//! The types in which the replica speaks with its driver and with its peers.

use crate::{
    Accusation, AgreedTime, Chunk, ClientBundle, ConvictionTicket, Manifest, Nonce, Piece, Refusal,
    ReplyBundle, SigningMessage, SigningTicket, TASK_BYTES_MAX, Task, TaskId, TransferMessage,
    ValuesMessage, ValuesRecord, ValuesTicket,
};
use maftia_agreement::atomic::{self, EpochChain, Height};
use maftia_agreement::checkpoint::{self, Mark};
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::{Blob, Bytes, wire_enum};
use maftia_base::{Digest, Epoch, Fault, Party, ServiceId};
use maftia_crypto::{Attested, ClientKey, CodedValue, KeyId, SigningInput, Suite};
use maftia_ttcb_api::{BootKeys, EntityId};

type Chain<S> = EpochChain<S>;

/// Under which name a record is found again in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveKey {
    /// A record of the total order.
    Order(atomic::ArchiveKey),
    /// A part of the state at a mark.
    Snapshot(Mark, Piece),
}

/// Why a server must not take part any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Halt {
    /// Its state at this mark is not the one that a quorum certified. A fault of its software or
    /// of its memory, or services that are set up otherwise than those of the others.
    Diverged(Mark),
    /// It has signed something that is not in its log: the log was lost in part, or an older copy
    /// was put in its place.
    Forgot,
    /// Its trusted component answers in another life than the one with which the group knows this
    /// server, and nobody said so before: see [`Command::OtherLife`].
    OtherLife,
}

wire_enum!(Halt { 0 => Diverged(mark), 1 => Forgot, 2 => OtherLife });

/// How a server stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Member,
    /// It takes part, and fetches a state that is further than it is: chunks that are here, of how
    /// many.
    CatchingUp(usize, usize),
    /// It lost its log, votes in nothing, and waits to be admitted again.
    Rejoining,
    /// It is about to be admitted again, and fetches the state: chunks, of how many.
    Fetching(usize, usize),
    /// Its trusted component lives another life than the group knows: it has its log, tells and
    /// learns what was decided, and waits until that life is admitted.
    Waiting,
}

/// What the driver asks for.
#[derive(Clone, Debug)]
pub enum Command<S: Suite> {
    /// A client, which must be attached to get an answer, asks. While `capacity()` is 0 the driver
    /// keeps it (by not reading from clients); what is sent all the same may be refused.
    Bundle(ClientBundle),
    /// A client asks with [`Ask::Large`](crate::Ask::Large); this is the request. What is beyond
    /// what is taken now is dropped: the client asks again.
    Large {
        /// What it signed.
        bundle: ClientBundle,
        /// What it signed for.
        value: CodedValue,
    },
    /// This client can now be reached through this server.
    Attach(ClientKey),
    /// It no longer can; replies to it are not even signed.
    Detach(ClientKey),
    /// A stock client asks this server's front end.
    FrontEnd {
        /// The driver's name for it, unique while it runs.
        id: u64,
        /// Which service.
        service: ServiceId,
        /// What.
        request: Bytes,
    },
    /// The outside work of an [`Outcome::Task`] is done.
    TaskResult {
        /// Whose task.
        service: ServiceId,
        /// Which one.
        id: TaskId,
        /// What came of it.
        result: Blob<TASK_BYTES_MAX>,
    },
    /// A question to a service, out of this server's state, without an order.
    Read {
        /// The driver's name for it, unique while it runs.
        id: u64,
        /// Which service.
        service: ServiceId,
        /// What.
        question: Bytes,
    },
    /// The local clock has passed this time of an [`Outcome::WakeAt`].
    WakeDue(AgreedTime),
    /// In the hybrid configuration: the trusted component answers as this entity. To be given
    /// whenever a session with it begins, after the log was replayed.
    Component(EntityId),
    /// In the hybrid configuration: the trusted component lives this life, and the group knows
    /// another. To be given once, after the log was replayed; no call of the component is answered
    /// in this run, and once the server is a [`Standing::Member`] it is to be started again.
    OtherLife(Attested<BootKeys>),
    /// An operator wants a new epoch with the same members.
    ChangeEpoch,
    /// The answer to [`Outcome::Recall`].
    Recalled {
        /// Who needs it.
        to: Party,
        /// What was asked for.
        key: ArchiveKey,
        /// The last record in the log with that [`Record::archive_key`].
        record: Option<Box<Record<S>>>,
    },
    /// The driver learned of a fault, perhaps with evidence for the others. Faults that the replica
    /// itself reported need not come back.
    Evidence(Fault),
}

/// What the driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S: Suite> {
    /// To the attached client `0.key`.
    ClientReplies(ReplyBundle<S>),
    /// This client sent a bundle that it did not sign: the driver should not listen to it.
    ClientLied(ClientKey),
    /// The answer to [`Command::FrontEnd`]; exactly one, unless this server restarts.
    FrontEndReply {
        /// The driver's name for it.
        id: u64,
        /// The answer.
        reply: FrontEndReply,
    },
    /// A service wants this done outside; answer with [`Command::TaskResult`]. Told again after a
    /// restart, until this server's result is ordered.
    Task {
        /// Which service.
        service: ServiceId,
        /// What is to be done.
        task: Task,
    },
    /// A task that was told since the last restart is not to be done any more: this server's result
    /// is ordered, or the service wants none.
    TaskOver {
        /// Which service.
        service: ServiceId,
        /// Which task.
        id: TaskId,
    },
    /// The answer to [`Command::Read`]; exactly one, unless this server halts or restarts.
    Answer {
        /// The driver's name for it.
        id: u64,
        /// What the service says; `None` if it has nothing to say, or its state is not here.
        answer: Option<Bytes>,
    },
    /// A service wants [`Command::WakeDue`] when the local clock passes this; replaces what was
    /// told before, `None` means never.
    WakeAt(Option<AgreedTime>),
    /// A peer needs what is no longer in memory: read the log, answer [`Command::Recalled`].
    Recall {
        /// Who needs it.
        to: Party,
        /// What.
        key: ArchiveKey,
    },
    /// The log may be cut: nothing that was written before the record with this key is needed any
    /// more. Told again after a restart.
    Cut(ArchiveKey),
    /// A quorum has certified the state at this mark.
    Certified(Mark),
    /// This server must not take part any more, and does not.
    Halted(Halt),
    /// This server is so far behind that it fetches the state at this mark.
    Fetching(Mark),
    /// It has the state of this mark, and goes on from there.
    Installed(Mark),
    /// There is evidence against a server, verified; told once a culprit and kind of fault, and
    /// again after a restart.
    Convicted(Fault),
    /// A batch took effect; for metrics.
    Applied(Applied),
    /// The epoch `ended` is over.
    EpochEnded {
        /// Which one.
        ended: Epoch,
    },
}

/// The answer to a stock client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontEndReply {
    /// The service's answer. Only this server's word for it: the service signs what matters.
    Plain(Bytes),
    /// The service's answer, with the group's signature.
    Signed {
        /// The service's answer.
        body: Bytes,
        /// Under which of the group's keys.
        key: KeyId,
        /// What is signed.
        input: SigningInput,
        /// The threshold signature, verified.
        signature: Bytes,
    },
    /// Not executed.
    Refused(Refusal),
}

/// What one delivered batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Applied {
    /// In which epoch it was ordered.
    pub epoch: Epoch,
    /// In which round.
    pub round: u64,
    /// Whose batch.
    pub lane: Party,
    /// The agreed time since.
    pub time: AgreedTime,
    /// Requests executed.
    pub executed: u32,
    /// Requests that had been executed before, or were refused.
    pub skipped: u32,
}

/// What peers exchange.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
#[derive(Clone, Debug)]
pub enum Message<S: Suite> {
    /// About the total order.
    Order(<Chain<S> as Vocabulary>::Message),
    /// About threshold signatures.
    Signing(SigningMessage<S>),
    /// Evidence against somebody.
    Accusation(Accusation),
    /// About certified states.
    Checkpoint(checkpoint::Message<S>),
    /// About the transfer of such a state.
    Transfer(TransferMessage<S>),
    /// About the values of large requests.
    Value(ValuesMessage),
    /// The sender has lost its log, and asks to be admitted again.
    Rejoin(Nonce),
    /// In the hybrid configuration: the sender's trusted component lives another life, which the
    /// key guard of its host certifies, and the sender, whose log is new, asks to be admitted again
    /// with it.
    NewLife(Attested<BootKeys>),
}

wire_enum!(<S: Suite> Message<S> {
    0 => Order(body),
    1 => Signing(body),
    2 => Accusation(body),
    3 => Checkpoint(body),
    4 => Transfer(body),
    5 => Rejoin(nonce),
    6 => Value(body),
    7 => NewLife(life),
});

/// What must survive a crash.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
#[derive(Clone, Debug)]
pub enum Record<S: Suite> {
    /// About the total order.
    Order(<Chain<S> as Vocabulary>::Record),
    /// A conviction.
    Convicted(Accusation),
    /// This front end may have used the numbers below.
    Reserved(u64),
    /// A certified state.
    Checkpoint(checkpoint::Record<S>),
    /// What this server has at a mark; the chunks follow, and then what of its own log is not
    /// settled by the mark. Once [`Begun`](Self::Begun) follows too, a log can begin here.
    Begin(Manifest<S>),
    /// A part of the state at a mark.
    Chunk {
        /// Which mark.
        mark: Mark,
        /// Its number.
        index: u32,
        /// What it is.
        chunk: Chunk,
    },
    /// About the values of large requests.
    Value(ValuesRecord),
    /// What a client of this server signed for the value that is broadcast next.
    Large {
        /// Under which number.
        number: u64,
        /// [`Ask::Large`](crate::Ask::Large).
        bundle: ClientBundle,
    },
    /// The log before was lost: this server asks to be admitted again with this number.
    Rejoining(Nonce),
    /// The same in the hybrid configuration: with this life of its trusted component.
    NewLife(Attested<BootKeys>),
    /// This server must not take part any more.
    Halted(Halt),
    /// All that a log which begins at this mark must have stands before this.
    Begun(Mark),
}

wire_enum!(<S: Suite> Record<S> {
    0 => Order(record),
    1 => Convicted(record),
    2 => Reserved(below),
    3 => Checkpoint(record),
    4 => Begin(manifest),
    5 => Chunk { mark, index, chunk },
    6 => Rejoining(nonce),
    7 => Halted(why),
    8 => Begun(mark),
    9 => Value(record),
    10 => Large { number, bundle },
    11 => NewLife(life),
});

impl<S: Suite> Record<S> {
    /// Under which name [`Outcome::Recall`] may ask for it.
    pub fn archive_key(&self) -> Option<ArchiveKey> {
        match self {
            Self::Order(record) => record.archive_key().map(ArchiveKey::Order),
            Self::Begin(manifest) => Some(ArchiveKey::Snapshot(manifest.mark(), Piece::Manifest)),
            Self::Chunk { mark, index, .. } => {
                Some(ArchiveKey::Snapshot(*mark, Piece::Chunk(*index)))
            }
            Self::Convicted(_)
            | Self::Reserved(_)
            | Self::Checkpoint(_)
            | Self::Rejoining(_)
            | Self::NewLife(_)
            | Self::Halted(_)
            | Self::Begun(_)
            | Self::Value(_)
            | Self::Large { .. } => None,
        }
    }
}

/// Names a piece of work.
#[derive(Clone, Debug)]
pub enum Ticket<S: Suite> {
    /// Of the total order.
    Order(<Chain<S> as Vocabulary>::Ticket),
    /// Of threshold signing.
    Signing(SigningTicket),
    /// Of an accusation.
    Conviction(ConvictionTicket),
    /// Of a checkpoint.
    Checkpoint(checkpoint::Ticket),
    /// Verifying the clients' signatures in another server's batch.
    Inspect {
        /// In whose lane.
        lane: Party,
        /// At which height.
        height: Height,
        /// Its digest.
        digest: Digest,
    },
    /// Of the broadcast of a value.
    Value(ValuesTicket),
    /// Verifying the certificate of the life with which this server asks to be admitted.
    NewLife(Party),
    /// Verifying what a client signed for a large request.
    CheckLarge(u64),
    /// Encoding the large request whose broadcast is next.
    EncodeLarge,
    /// Verifying bundles of this server's clients.
    Check(u64),
    /// Signing replies.
    Replies {
        /// To whom.
        key: ClientKey,
        /// Number of the signature.
        number: u64,
    },
}
