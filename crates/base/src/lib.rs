//! The vocabulary that every other package of maftia speaks.
//!
//! - [`Party`], [`PartySet`]: who takes part.
//! - [`AdversaryStructure`]: which sets of them may be corrupt at once, and the quorum questions.
//! - [`Formula`]: which sets of them can reconstruct a shared secret.
//! - [`Group`]: one epoch of one group, as one server sees it.
//! - [`Scope`], [`Statement`]: what every signature, share, record and frame is bound to.
//! - [`Protocol`], [`Context`]: the shape of a deterministic state machine, and of its effects.
//! - [`Fault`], [`Evidence`]: misbehaviour as data.
//! - [`wire`]: bounded encoding.
//!
//! Deliberately absent: clocks, sockets, disks, threads, ambient randomness.
#![forbid(unsafe_code)]

mod adversary;
pub mod canary;
mod digest;
mod fault;
mod formula;
mod group;
mod party;
pub mod protocol;
mod statement;
pub mod time;
pub mod wire;

pub use adversary::{AdversaryStructure, Attribute, CORRUPTIBLE_SETS_MAX, StructureError};
pub use digest::Digest;
pub use fault::{ATTACHMENT_BYTES_MAX, Evidence, Fault, FaultKind, SignedStatement};
pub use formula::{Formula, FormulaError, LEAVES_MAX};
pub use group::{Epoch, Group, GroupId, ServiceId, WIRE_VERSION};
pub use party::{PARTIES_MAX, Party, PartySet};
pub use protocol::{Context, Event, Protocol, Slot, Target};
pub use statement::{Annotation, Place, Scope, Statement, StatementKind};

/// What the wire macros need to name; not part of the public interface.
#[doc(hidden)]
pub mod reexport {
    pub use bytes;
    pub use commonware_codec;
}
