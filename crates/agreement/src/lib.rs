//! Agreement among servers some of which are corrupt: without any assumption on time, or with a
//! trusted component on each server.
//!
//! From the bottom up; each protocol is usable and tested alone:
//!
//! - [`broadcast`]: reliable broadcast, and consistent broadcast with transferable certificates.
//! - [`coin`]: 256 bits that nobody knows before enough servers want them.
//! - [`binary`]: agreement on one bit.
//! - [`multivalued`]: agreement on a value that satisfies an external predicate.
//! - [`atomic`]: one total order of batches, in lanes.
//! - [`checkpoint`]: proof that a quorum was in the same state after the same delivery.
//! - [`hybrid`]: with a trusted component on each server, for n >= 2f+1.
//!
//! Everything here is a deterministic state machine that holds for every adversary structure that
//! satisfies Q3 (in [`hybrid`], Q2), not only for thresholds. That no protocol can see a clock is
//! checked by the compiler: their timer is [`Never`](maftia_base::protocol::Never), and their
//! context has none.
//!
//! Deliberately absent: sockets, disks, threads, randomness; and secrets, which stay in the
//! keyrings of [`maftia_crypto`].
#![forbid(unsafe_code)]

pub mod atomic;
pub mod binary;
pub mod broadcast;
pub mod checkpoint;
pub mod coin;
mod evidence;
pub mod hybrid;
pub mod multivalued;
mod tally;
mod value;

pub use value::{Value, digest_of};
