//! Agreement with a trusted component on every host: n >= 2f+1 servers (Q2: no two sets that may be
//! corrupt cover the group) in place of 3f+1.
//!
//! What breaks the limits of the asynchronous world is small: the trusted component of each server
//! (the TTCB, [`maftia_ttcb_api`]) fails only by crashing, and never says two different things
//! where it must say one. Everything else may lie here as there.
//!
//! - [`dissemination`]: a large value for all who want it; which, is ordered elsewhere (n >= f+1).
//! - [`multicast`]: a message to a list of recipients, with any number of liars (n >= f+2).
//! - [`ordered`]: one order of the messages of all, by the wormhole's ordering service (n >= 2f+1).
//! - [`placed`]: agreement on a value that satisfies an external predicate, by the wormhole's
//!   ordering service (n >= 2f+1).
//! - [`simple`]: agreement on a value by two block agreements (n >= 3f+1).
//! - [`vector`]: agreement on what a quorum of servers each proposed (n >= 3f+1).
//! - [`views`]: the same as [`placed`], by unique identifiers.
//!
//! Protocols here have no clock either: they ask the trusted component to wake them. That is a
//! timeout, and liveness needs that it is long enough in the end; safety needs nothing of the kind.

mod agreed;
pub mod dissemination;
mod members;
pub mod multicast;
pub mod ordered;
pub mod placed;
pub mod simple;
#[cfg(test)]
mod testing;
pub mod vector;
pub mod views;

pub use agreed::{Proof, Start};
pub use members::{Life, Member, Members, OrderedBy};
