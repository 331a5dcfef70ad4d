//! Vector consensus: all agree on what a quorum of servers each proposed.
//!
//! # Promise
//! - *agreement*: no two honest servers decide different vectors.
//! - *vector validity*: a vector has an entry for each server, of which those of a quorum hold a
//!   value, and that of an honest server holds what it proposed, or nothing. Of n - f values at
//!   least n - 2f >= f+1 are thus of honest servers: most, if nobody is corrupt but f.
//! - *integrity*: an honest server decides once.
//! - *termination*: if all honest servers propose, all decide, once agreements between their
//!   trusted components end in time.
//! - *durability*: honest servers may all crash and come back with their logs, at any moment, as
//!   long as their trusted components go on.
//!
//! # Model
//! Q3 (n > 3f), as [`simple`](crate::hybrid::simple). With n = 2f+1 a vector of n - f values would
//! hold one value of an honest server, perhaps.
//!
//! # Rules
//! - **W1** Each multicasts what it proposes, reliably, to all.
//! - **W2** When the messages of a quorum have been delivered, propose the vector of their digests.
//! - **W3** A vector is acceptable if a quorum has entries, and each of these is the digest of a
//!   message of its server that was delivered here, or told as its second one.
//! - **W4** When a vector is decided: tell it as soon as the values are here. What is missing is
//!   asked for by its digest.
//!
//! # Why it holds
//! *Agreement* is that of consensus: digests have no collisions. *Vector validity.* An honest
//! server found the vector acceptable, to which its multicasts delivered the entries; an honest
//! sender's multicast delivers what it multicast. *Termination.* The honest ones are a quorum, so
//! all propose (W2). What one honest server accepts or proposes, all accept in the end, as all
//! deliver the same messages of a sender, or are told two of them; a sender that multicasts more
//! than two may keep some from accepting a vector with one of them, but nobody from proposing its
//! own, and whose turn it is has one that all accept if it left out who is not trusted: whoever is
//! told two messages of a sender leaves it out. What was decided somebody honest accepted, who has
//! the values (W4).
//!
//! # Bounds
//! Those of n multicasts and one consensus; two values for each sender, one vector for each peer.
//!
//! # Cost
//! `n (n^2 - 1)` messages for the multicasts, `n (n-1)` for the consensus. One delay and `n` block
//! agreements at once; then two more if all have delivered the same, and four as a rule if not.
//!
//! # Sources
//! Neves, Correia and Verissimo, "Solving vector consensus with a wormhole" (2005), known to us in
//! outline: values are multicast reliably, and the wormhole agrees on which are in. Deviations: (a)
//! The components agree on a digest of digests, not on bits: if a hostile sender multicasts twice,
//! bits would not say which. (b) Consensus is [`simple`](crate::hybrid::simple), which survives
//! that a component does not tell a decision.

mod machine;
#[cfg(test)]
mod tests;

pub use machine::{Command, Entries, Message, Outcome, Record, Ticket, VectorConsensus};
