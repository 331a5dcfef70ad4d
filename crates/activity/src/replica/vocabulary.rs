//! The types in which the replica speaks with its driver and with its peers.

use crate::{AgreedTime, ClientBundle, Refusal, ReplyBundle, Task, TaskId};
use maftia_base::wire::Bytes;
use maftia_base::{Epoch, Fault, Party, ServiceId};
use maftia_crypto::{ClientKey, KeyId, SigningInput, Suite};

/// What the driver asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A client, which must be attached to get an answer, asks. While `capacity()` is 0 the driver
    /// keeps it (by not reading from clients); what is sent all the same may be refused.
    Bundle(ClientBundle),
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
        result: Bytes,
    },
    /// The local clock has passed the time of the last [`Outcome::WakeAt`].
    WakeDue,
    /// An operator wants a new epoch with the same members.
    ChangeEpoch,
    /// The driver learned of a fault, perhaps with evidence for the others.
    Evidence(Fault),
}

/// What the driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S: Suite> {
    /// To the attached client `0.key`.
    ClientReplies(ReplyBundle<S>),
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
    /// A service wants [`Command::WakeDue`] when the local clock passes this; replaces what was
    /// told before, `None` means never.
    WakeAt(Option<AgreedTime>),
    /// There is evidence against a server, verified; told once a culprit and kind of fault, and
    /// again after a restart.
    Convicted(Fault),
    /// A batch took effect; for metrics.
    Applied(Applied),
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
