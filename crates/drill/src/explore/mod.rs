//! Everything that can happen in a group of four with one liar, breadth first, with the real code.
//!
//! # What is explored
//! From the start, in every reachable state: each honest message that is under way is delivered
//! next, or the liar says any word of its alphabet to any honest server. Words repeat at will.
//! Cryptography and what a server says to itself happen at once; nobody crashes.
//!
//! # How it stays small
//! - *Local states are run once.* A server's state is named by a number; what a message does to it
//!   is remembered, so that production code runs once for each local state and message, and the
//!   search itself is arithmetic on small numbers.
//! - *Visited states are hashes* of 128 bits. Two states that collide, in 10^8 of them, have
//!   probability below 10^-22; a collision would hide a state, never invent one.
//! - *Symmetry.* States that differ only by a renaming of honest servers with the same part are
//!   one. States embed parties out of our reach; but the renamed state is reached by the renamed
//!   messages, so it is computed by replaying its origin under other names, once for each local
//!   state. The alphabet must mean the same under any names; where it does not, there is no
//!   reduction.
//!
//! # What is checked
//! In every state: no two servers are told different things, nothing that may not be told, and no
//! honest server is blamed. In every state in which nothing honest is under way (the liar may be
//! silent for ever): what is due has been told.
//!
//! `sim::explore` enumerates orders of deliveries of a whole scenario without storing states. It
//! fits scenarios with adversaries of arbitrary code; this one stores states, and fits alphabets.

mod blocks;
mod local;
mod models;
mod search;

pub use models::{MODELS, Model};
pub use search::{Explored, explore};
