//! Atomic multicast by the wormhole's ordering service: all honest servers deliver the same
//! messages in the same order, with n >= 2f+1.
//!
//! # Promise
//! - *validity*: what an honest server multicasts, all honest servers deliver.
//! - *agreement and total order*: honest servers deliver the same messages in the same order.
//! - *integrity*: a message is delivered once, each server's messages in the order of their
//!   numbers, and those of an honest server only if it multicast them.
//! - *durability*: honest servers may all crash and come back with their logs, at any moment, as
//!   long as their trusted components go on.
//! - *silence*: nothing is sent, and no component asked, when nothing waits for its place.
//!
//! # Model
//! Q2 (n > 2f), asynchronous authenticated links with eventual delivery, a trusted component on
//! each server that fails only by crashing, a majority of which lives. No step rests on time.
//!
//! # Rules
//! - **A1** A server numbers its messages, writes each down, and sends it to all; the next when
//!   that one was delivered.
//! - **A2** Who receives the first message of a server with the number that comes after what was
//!   delivered of it writes it down, and vouches for its digest to its component, which orders what
//!   one more than may be corrupt vouch for.
//! - **A3** When something waits for its place, or is known to have been ordered elsewhere, ask
//!   the component what stands at the next place.
//! - **A4** What stands at the next place is delivered, as soon as its content is here, if its
//!   number comes after what was delivered of its sender; else, and if nothing stands there, the
//!   place is passed over. Whoever delivers tells all, once.
//! - **A5** Whoever lacks the content of a place, or whose component has forgotten the place, or
//!   does not tell it for long where others have delivered it, asks all others; who has delivered
//!   it answers with the message and what its component signed.
//! - **A6** When a message waits for its place for long, vouch for it once more.
//!
//! # Why it holds
//! *Order.* The components tell one value for each place (their promise), all servers go through
//! the places one by one, and whether a place is passed over depends on those before. *Agreement.*
//! Of those who vouched for a value one is honest and has its content, in its log (A2): whoever
//! learns of the place is given it (A5), and all learn of it when one has delivered (A4).
//! *Integrity.* One of those who vouched is honest and had the message from its sender, over an
//! authentic link; numbers count up. *Validity.* An honest server's message comes to all honest
//! ones, which are enough to have it ordered (Q2) once they have delivered what was before it.
//! A value whose content nobody honest holds never gets a place whose turn it is, so none can block
//! the order: what is ordered names its sender and number, and if a hostile server had two messages
//! with one number ordered, the second is passed over without its content.
//!
//! # Bounds
//! One message of each server that waits and one that came early, one under verification for each
//! peer, and the last [`KEPT`] that were delivered. A peer is shown one place [`GIVEN_MAX`] times,
//! and none before that any more, until it reconnects. Whoever is further behind than that needs
//! the state of the layer above.
//!
//! # Cost
//! `n - 1` messages with the content and `n (n-1)` small ones; one delay, a durable wait and three
//! delays of the control channel. The ordering service sees digests only.
//!
//! # Sources
//! Correia, Neves and Verissimo, "How to tolerate half less one Byzantine nodes in practical
//! distributed systems" (2004), known to us in outline: a message is multicast, and gets the order
//! number that the service gives its hash when f+1 know it. Deviations: (a) One message at a time
//! of each server: what waits is bounded, and who equivocates stops itself. (b) Places that a
//! component has forgotten are shown by others, signed. (c) Patience (A6).

mod machine;
#[cfg(test)]
mod tests;

pub use machine::{Command, Item, Message, Ordered, Outcome, Record, Shown, Ticket};

/// How many of the last places a server can show.
pub const KEPT: usize = 256;

/// How long a message waits before it is vouched for once more, in milliseconds.
pub const PATIENCE_MS: u64 = 200;

/// Patience doubles this often at most.
const DOUBLINGS_MAX: u32 = 8;

/// How often a peer is shown a place that it asks for, until it reconnects.
const GIVEN_MAX: u8 = 4;
