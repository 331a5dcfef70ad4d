//! The vocabulary of the trusted component, and the process's side of its local authentication.
//!
//! The Trusted Timely Computing Base (TTCB) is a small component on every host, joined to its peers
//! by a private control channel, that fails only by crashing. What it offers is listed in [`Call`];
//! what it signs, and anyone can check, in [`signed`]. All sizes are fixed, nothing allocates, and
//! there is no I/O: the daemon, the server and the simulator share this package.

pub mod call;
pub mod entity;
pub mod session;
pub mod signed;
pub mod wire;

pub use call::{Answer, Call, Numbered, Operation, Refusal, Verdict};
pub use entity::{
    Boot, Elist, EntityId, Function, HOSTS_MAX, Host, Interval, Moment, ROLES_MAX, Span, Value,
    host_bit,
};
pub use session::{Frame, Handshake, Session, SessionKey};
pub use signed::{
    BootKeys, Channel, Decision, Identifier, Instance, Ordered, Seal, Sealed, Statement, Tag,
};
