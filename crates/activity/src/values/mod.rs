//! The values of large requests: each is broadcast beside the total order, which refers to it.
//!
//! # Promise
//! - *One value*: no two honest servers hold different values under one [`ValueId`]. In the hybrid
//!   configuration only if the home is honest, or both were told to want the same.
//! - *There when it is wanted*: if an honest server held a value whose number the order has not
//!   passed, every honest server that wants it gets it, or comes to install a later mark. In the
//!   hybrid configuration only if the order names this value of its home for this number, and if
//!   the others are told to want it.
//! - *Durable*: what was told is told again after a restart, sooner or later.
//! - *Cost*: that of [coded broadcast](maftia_agreement::broadcast::coded), or of
//!   [dissemination](maftia_agreement::hybrid::dissemination).
//!
//! # Model
//! That of coded broadcast, which carries the values; in the hybrid configuration that of
//! dissemination, which does so there. The layer above says, from the total order, up to which
//! number the values of each home are applied or given up: the *floor*. It is the same function of
//! the order at all servers, though some are further than others.
//!
//! # Rules
//! - V1. A home broadcasts under ascending numbers, each once in its life: what it began is in its
//!   log before anything leaves. It is at most [`OPEN_MAX`] ahead of its floor.
//! - V2. Messages are taken for at most [`GRANTED_MAX`] numbers from the home's floor. What lies
//!   beyond is credit that was not granted yet, and no misconduct: that there was something is
//!   remembered, and once the floor comes there all are asked for it.
//! - V3. A value longer than [`LARGE_BYTES_MAX`] is not taken part in.
//! - V4. What the floor has passed and was applied is kept, as a fragment, for servers that have
//!   not come so far, until the log is cut behind it. What was given up is dropped at once.
//! - V5. At a mark, what the floor has not passed is written to the log again: of this server's own
//!   the value, of others the fragment.
//! - V6. In the hybrid configuration the value is kept and written in place of the fragment. What
//!   the layer above wants takes the place of anything else under its number.
//!
//! # Why it holds
//! *One value* is agreement of the broadcast, if no honest server takes part in one instance twice,
//! before it lost its log and after. It does not: with the epoch after which it is admitted again,
//! the floors of all homes move past all numbers that anybody was granted, and it hears of those
//! beyond for the first time. The same keeps a home from using a number twice.
//!
//! *There*: totality of the broadcast, while no honest server drops its fragment: they offer it
//! whenever they and the server that lacks it may have missed something of each other, and what it
//! did not listen to it asks for (V2). A number is given up at one place of the order, after which
//! nobody wants it, and a fragment is dropped at a cut, when the state at a mark after it is
//! certified; who still wants it is two marks behind, and installs that state. Who lost its log
//! lost its fragments, too. All that they were of was applied or given up when its epoch ended;
//! that is a mark, and who has not applied it all installs that mark's state though it is only one
//! behind.
//!
//! *Durable*: a fragment is in the log before it is echoed. So what a server has delivered comes
//! back after a restart, out of its own log or of the fragments of others.
//!
//! *Hybrid*: a batch has an honest voter, which held what the batch names under numbers that its
//! floor had not passed. The first batch of the home's lane that names a number which is its turn
//! says what that number stands for, at all servers; there is one batch at each height. Whoever
//! voted for that batch drops the value only when the floor has passed it: were it told to want
//! something else under this number, an earlier batch would have named it. So retrieval, a promise
//! of dissemination, applies.
//!
//! # Bounds
//! For each home [`GRANTED_MAX`] instances above the floor, each with a value of at most
//! [`LARGE_BYTES_MAX`] and what a broadcast holds for its peers: what a corrupt home never orders
//! stays, and is all that it can fill. Below the floor a fragment for each value applied since the
//! last cut (V6: the value). What is applied counts towards marks, see
//! [`large_load`](crate::large_load): so what the log has between two marks is bounded; at each
//! mark it has at most [`GRANTED_MAX`] fragments (values) a home again.

mod machine;

pub use machine::Values;

use crate::LARGE_BYTES_MAX;
use maftia_agreement::broadcast::coded::{self, CodedBroadcast};
use maftia_agreement::checkpoint::Mark;
use maftia_agreement::hybrid::dissemination::{self, Dissemination};
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::{Wire, wire_enum, wire_struct};
use maftia_base::{Party, Scope, Slot};
use maftia_crypto::{CodedValue, Commitment, Encoded, Suite};
use std::collections::{BTreeMap, BTreeSet};

/// How many values of its own a home has under way. Two: one is ordered while the next is sent.
pub const OPEN_MAX: u64 = 2;

/// How many of each home are granted: a server that is a little behind loses nothing.
pub const GRANTED_MAX: u64 = 2 * OPEN_MAX;

/// Names a value, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId {
    /// Who broadcasts it.
    pub home: Party,
    /// Counts up from 0.
    pub number: u64,
}

wire_struct!(ValueId { home, number });

/// What is of a coded broadcast, or in the hybrid configuration of a dissemination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carried<B, D> {
    /// Of a [`CodedBroadcast`].
    Broadcast(B),
    /// Of a [`Dissemination`].
    Dissemination(D),
}

wire_enum!(<B: Wire, D: Wire> Carried<B, D> {
    0 => Broadcast(body),
    1 => Dissemination(body),
});

/// What the layer above asks for.
#[derive(Clone, Debug)]
pub enum ValuesCommand {
    /// Broadcast this, which is encoded, under [`Values::next_number`], which must be granted.
    Broadcast(CodedValue, Encoded),
    /// How far the order has come.
    Passed {
        /// For each home, the first number that is neither applied nor given up.
        floors: BTreeMap<Party, u64>,
        /// Those below that were applied since the last time.
        applied: BTreeSet<ValueId>,
        /// The mark after which nobody can want them who has that mark.
        until: Mark,
    },
    /// In the hybrid configuration: the order needs this value under this number. (V6)
    Want(ValueId, Commitment),
    /// A mark: write down again what is needed. (V5)
    Note,
    /// The log is cut at this mark. (V4)
    Cut(Mark),
    /// What was sent meanwhile was not heard.
    Deaf,
}

/// What the layer above is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesOutcome {
    /// This value is here now. See [`Values::get`].
    Here(ValueId),
}

/// What peers exchange.
#[derive(Clone, Debug)]
pub struct ValuesMessage {
    /// Of which value.
    pub id: ValueId,
    /// A message about it.
    pub body: Carried<coded::Message, dissemination::Message>,
}

wire_struct!(ValuesMessage { id, body });

/// What must survive a crash.
#[derive(Clone, Debug)]
pub struct ValuesRecord {
    /// Of which value.
    pub id: ValueId,
    /// A record about it.
    pub body: Carried<coded::Record, dissemination::Record>,
}

wire_struct!(ValuesRecord { id, body });

/// Names a piece of work.
#[derive(Clone, Copy, Debug)]
pub struct ValuesTicket {
    id: ValueId,
    body: Carried<coded::Ticket, dissemination::Ticket>,
}

/// Where the broadcast of one value sits.
#[derive(Clone, Copy, Debug)]
struct BroadcastSlot(ValueId);

impl<S: Suite> Slot<Values<S>> for BroadcastSlot {
    type Child = CodedBroadcast<S>;
    fn label(self) -> u64 {
        self.0.number
    }
    fn message(self, body: coded::Message) -> ValuesMessage {
        ValuesMessage { id: self.0, body: Carried::Broadcast(body) }
    }
    fn ticket(self, body: coded::Ticket) -> ValuesTicket {
        ValuesTicket { id: self.0, body: Carried::Broadcast(body) }
    }
    fn record(self, body: coded::Record) -> ValuesRecord {
        ValuesRecord { id: self.0, body: Carried::Broadcast(body) }
    }
    fn scope(self, parent: Scope) -> Scope {
        self.0.scope(parent).child(<CodedBroadcast<S> as Vocabulary>::NAME, self.0.number)
    }
}

/// Where the dissemination of one value sits.
#[derive(Clone, Copy, Debug)]
struct DisseminationSlot(ValueId);

impl<S: Suite> Slot<Values<S>> for DisseminationSlot {
    type Child = Dissemination<S>;
    fn label(self) -> u64 {
        self.0.number
    }
    fn message(self, body: dissemination::Message) -> ValuesMessage {
        ValuesMessage { id: self.0, body: Carried::Dissemination(body) }
    }
    fn ticket(self, body: dissemination::Ticket) -> ValuesTicket {
        ValuesTicket { id: self.0, body: Carried::Dissemination(body) }
    }
    fn record(self, body: dissemination::Record) -> ValuesRecord {
        ValuesRecord { id: self.0, body: Carried::Dissemination(body) }
    }
    fn scope(self, parent: Scope) -> Scope {
        self.0.scope(parent).child(<Dissemination<S> as Vocabulary>::NAME, self.0.number)
    }
}

impl ValueId {
    fn scope(self, parent: Scope) -> Scope {
        parent.child("home", self.home.index() as u64)
    }
}
