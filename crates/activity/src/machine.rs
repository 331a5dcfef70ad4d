//! What a replicated service is.

use crate::{AgreedTime, SessionId};
use maftia_base::wire::{Blob, Bytes, Wire, wire_struct};
use maftia_base::{AdversaryStructure, Digest, Party, PartySet, ServiceId};
use maftia_crypto::{ClientKey, KeyId, SigningInput};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

/// Signatures for the state of one service that are under way at a time.
pub const SIGNED_AT_ONCE_MAX: usize = 256;

/// Longest description, and longest result, of outside work.
pub const TASK_BYTES_MAX: usize = 16 * 1024;

/// A deterministic service: same requests in the same order, same state and replies everywhere.
///
/// It reads no clock, no file, no socket and no randomness: time and randomness come in through
/// the [`ApplyContext`], everything else from outside as results of its [`tasks`](Self::tasks).
/// Requests are bytes of a client and may be anything: none may make it panic or grow for ever.
pub trait StateMachine: Clone + Debug + Hash + Send + 'static {
    /// Executes one request. Called exactly once a request, in the agreed order.
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply;

    /// The outside work that it wants done now: a function of the state alone, so that it can be
    /// asked again after a restart. Ids are never reused for other work.
    fn tasks(&self) -> Vec<Task> {
        Vec::new()
    }

    /// `party` says that this is the result of task `id`, which is one of [`tasks`](Self::tasks).
    /// At most once a party and task. Any one of them may lie: see [`Votes`].
    fn task_result(&mut self, party: Party, id: TaskId, result: &[u8], cx: &ApplyContext<'_>) {
        let _ = (party, id, result, cx);
    }

    /// What it wants the group to sign, to keep the signature in its state: a function of the state
    /// alone, ids as those of [`tasks`](Self::tasks). Signatures are by PKCS #1 version 1.5, so
    /// that there is one for each input. The first [`SIGNED_AT_ONCE_MAX`] are under way at a time.
    fn to_sign(&self) -> Vec<ToSign> {
        Vec::new()
    }

    /// The group's signature that was wanted under this id: an honest server has verified it.
    fn signed(&mut self, id: TaskId, signature: &[u8], cx: &ApplyContext<'_>) {
        let _ = (id, signature, cx);
    }

    /// Answers a question out of this server's state as it is now. Nobody vouches for the answer,
    /// so it is for what proves itself, or what a front end is trusted with.
    fn read(&self, question: &[u8]) -> Option<Bytes> {
        let _ = question;
        None
    }

    /// When it wants [`wake`](Self::wake) to be called, even if no request comes.
    fn wake_at(&self) -> Option<AgreedTime> {
        None
    }

    /// The agreed time has reached [`wake_at`](Self::wake_at), which afterwards must lie beyond
    /// `cx.time` or be `None`.
    fn wake(&mut self, cx: &ApplyContext<'_>) {
        let _ = cx;
    }

    /// The whole state; equal states give equal bytes. All services of a group together must keep
    /// below 512 MiB, whatever clients ask: a group whose state is larger stops at its next mark.
    fn snapshot(&self) -> Bytes;

    /// Takes the state from a snapshot; `None` if it is not one.
    #[must_use]
    fn restore(&mut self, snapshot: Bytes) -> Option<()>;
}

/// What is agreed about a request besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct ApplyContext<'a> {
    /// The agreed time; never less than at the request before.
    pub time: AgreedTime,
    /// Agreed randomness of the whole batch; a request's own is [`seed`](Self::seed).
    pub batch_seed: Digest,
    /// The service.
    pub service: ServiceId,
    /// Who asks.
    pub caller: Caller,
    /// Number of this request among all that this group ever executed: unique for ever.
    pub position: u64,
    /// Which servers may be corrupt.
    pub structure: &'a AdversaryStructure,
}

impl ApplyContext<'_> {
    /// Agreed randomness of this request alone. Whoever is honest could not predict it when the
    /// batch was certified; the owner of a lane may have learned it in time to choose what stands
    /// there, when a round takes more than one view. Who gambles takes the seed of a later request.
    pub fn seed(&self) -> Digest {
        Digest::of_encoded("maftia request seed", &(self.batch_seed, self.position))
    }
}

/// On whose behalf something is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// A client that signs its requests.
    Client {
        /// Its key.
        key: ClientKey,
        /// Its session.
        session: SessionId,
    },
    /// A stock client, which only this server's front end knows.
    FrontEnd(Party),
    /// A server, as itself.
    Server(Party),
    /// The group: nobody in particular.
    Group,
}

/// What a service answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// To be believed if enough servers say the same. At most `REPLY_BYTES_MAX` long.
    Plain(Bytes),
    /// To be believed because the group signed it.
    Sign {
        /// Under which of the group's keys.
        key: KeyId,
        /// What is signed.
        input: SigningInput,
        /// What goes back with the signature. At most `REPLY_BYTES_MAX` long.
        body: Bytes,
    },
}

/// Names a task of a service, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TaskId(pub u64);

wire_struct!(TaskId { 0 });

/// Work in the outside world that every server is to do, and to report on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// What to do, in the service's own words.
    pub what: Blob<TASK_BYTES_MAX>,
}

wire_struct!(Task { id, what });

/// Something that the group is to sign for the state of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToSign {
    /// Its name, among the tasks and other signatures of its service.
    pub id: TaskId,
    /// Under which of the group's keys.
    pub key: KeyId,
    /// What is signed.
    pub input: SigningInput,
}

/// What each party said, first word counts: for services that wait until an honest one said so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Votes<V> {
    votes: BTreeMap<Party, V>,
}

impl<V> Default for Votes<V> {
    fn default() -> Self {
        Self { votes: BTreeMap::new() }
    }
}

impl<V: Eq + Clone> Votes<V> {
    /// Counts `party`'s first word; answers whether it was that.
    pub fn insert(&mut self, party: Party, value: V) -> bool {
        if self.votes.contains_key(&party) {
            return false;
        }
        self.votes.insert(party, value);
        true
    }

    /// Has `party` spoken?
    pub fn has_said(&self, party: Party) -> bool {
        self.votes.contains_key(&party)
    }

    /// Who said what.
    pub fn iter(&self) -> impl Iterator<Item = (Party, &V)> {
        self.votes.iter().map(|(party, value)| (*party, value))
    }

    /// The parties that said `value`.
    pub fn parties_for(&self, value: &V) -> PartySet {
        self.iter().filter(|(_, said)| *said == value).map(|(party, _)| party).collect()
    }

    /// The first value, by the lowest party, that an honest server has said for certain.
    pub fn agreed(&self, structure: &AdversaryStructure) -> Option<&V> {
        self.votes.values().find(|value| structure.has_honest(self.parties_for(value)))
    }

    /// Has everybody spoken for whom one may wait?
    pub fn is_quorum(&self, structure: &AdversaryStructure) -> bool {
        structure.is_quorum(self.votes.keys().copied().collect())
    }
}

/// Two kinds of service in one type, so that one group can run both; nest it for more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Either<A, B> {
    /// One kind.
    Left(A),
    /// The other.
    Right(B),
}

macro_rules! either {
    ($either:expr, $machine:ident => $answer:expr) => {
        match $either {
            Either::Left($machine) => $answer,
            Either::Right($machine) => $answer,
        }
    };
}

impl<A: StateMachine, B: StateMachine> StateMachine for Either<A, B> {
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply {
        either!(self, machine => machine.apply(request, cx))
    }

    fn tasks(&self) -> Vec<Task> {
        either!(self, machine => machine.tasks())
    }

    fn task_result(&mut self, party: Party, id: TaskId, result: &[u8], cx: &ApplyContext<'_>) {
        either!(self, machine => machine.task_result(party, id, result, cx));
    }

    fn to_sign(&self) -> Vec<ToSign> {
        either!(self, machine => machine.to_sign())
    }

    fn signed(&mut self, id: TaskId, signature: &[u8], cx: &ApplyContext<'_>) {
        either!(self, machine => machine.signed(id, signature, cx));
    }

    fn read(&self, question: &[u8]) -> Option<Bytes> {
        either!(self, machine => machine.read(question))
    }

    fn wake_at(&self) -> Option<AgreedTime> {
        either!(self, machine => machine.wake_at())
    }

    fn wake(&mut self, cx: &ApplyContext<'_>) {
        either!(self, machine => machine.wake(cx));
    }

    fn snapshot(&self) -> Bytes {
        either!(self, machine => machine.snapshot())
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        either!(self, machine => machine.restore(snapshot))
    }
}

const _: fn() = || {
    fn is_wire<T: Wire>() {}
    is_wire::<Task>();
};
