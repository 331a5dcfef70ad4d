//! Reliable multicast: all honest recipients deliver the sender's message, or none does, with two
//! honest servers among any number of hostile ones (n >= f+2).
//!
//! # Promise
//! - *validity*: if an honest sender multicasts `m`, all honest recipients deliver `m`, once an
//!   agreement of their trusted components ends in time.
//! - *agreement*: if an honest recipient delivers `m` of one start, each other honest recipient
//!   delivers it, or is told two messages of this sender: then the sender is hostile, and both
//!   come with a decision, for anyone to check. For one start there is one message at most.
//! - *integrity*: an honest recipient delivers once; and if the sender is honest, what it
//!   multicast.
//! - *honest senders and recipients are never blamed*.
//! - *durability*: honest servers may crash and come back with their logs, at any moment.
//!
//! # Model
//! One sender and its recipients, of which any number may be hostile; asynchronous authenticated
//! links with eventual delivery; a trusted component on each server that fails only by crashing,
//! of which a majority of the recipients' live for a decision. Nothing rests on time but that an
//! agreement ends with the sender's proposal, if it starts late enough.
//!
//! # Rules
//! - **B1** The sender asks for the time, chooses a start some time after it, writes it down with
//!   the message, and proposes the message's digest in the agreement that starts then, in which the
//!   first entity's value is decided. When its component has taken that, it sends the message.
//! - **B2** A recipient that receives a message of the sender takes part in its agreement, without
//!   a value, and asks for the decision; of one start after the other, as they come.
//! - **B3** A message whose digest was decided is written down, and then delivered; also by the
//!   sender, which waits for the decision as all do.
//! - **B4** Whoever delivered sees to it that all do. *BRM-T* ([`Spreading::Copies`]): each
//!   recipient sends the message with the decision to all but the sender, Od + 1 times. *BRM*
//!   ([`Spreading::Acknowledged`]): each tells all others; who has not told by the end of a
//!   patience that doubles is sent the message with the decision, at most [`RESENT_MAX`] times,
//!   and whenever links tell that something was lost.
//! - **B5** A message with a decision is delivered if the decision is genuine, is that of its
//!   start, and decides its digest.
//! - **B6** If an agreement ends without the sender's value, or does not end, the sender begins
//!   again, with a later start and twice the time to it.
//! - **B7** Who asked its component and was not told the decision (it does not know it, or no
//!   longer) asks the other recipients, which send what they delivered, now or when they do.
//! - **B8** Another message of the sender with a genuine decision, after one was delivered, is
//!   told as [`Outcome::Equivocated`].
//!
//! # Why it holds
//! *One message a start.* The start, the recipients and the scope give the agreement's name; it
//! decides one value, which its first entity proposed: the sender. *Agreement.* Whoever delivers
//! `m` has a genuine decision for it (B3, B5), and sends both to all who do not tell that they
//! delivered `m` (B4); who receives them delivers `m`, or had delivered something else and is told
//! both (B5, B8); and its own decision reaches the first one as well. *Validity.* An honest sender
//! proposes one value, whatever it tries again (B1 writes it down), so every decision for this
//! sender is for it, or for nothing; nothing is decided unless its proposal came late, and B6
//! leaves more and more time. A recipient that comes after the decision was forgotten is shown it
//! (B7). *Integrity.* An honest sender's entity proposes only what its server multicast in this
//! scope. No step counts servers: any number may be hostile. One message in all (and not one for
//! each start) cannot be had from block agreements alone, as no trusted component remembers one
//! start when it is asked about the next; it is what identifiers give, see
//! [`views`](crate::hybrid::views).
//!
//! # Bounds
//! The message whose decision is awaited and the latest after it; for each peer two messages under
//! verification and one acknowledgement. Who asks is shown the message [`GIVEN_MAX`] times until it
//! reconnects.
//!
//! # Cost
//! One delay, and a block agreement, which is over two delays of the control channel after the
//! last recipient has taken part. Two durable waits. BRM-T: `(n-1)^2 (Od+1)` messages, as the
//! source. BRM: `n - 1` messages and `n (n-1)` acknowledgements.
//!
//! # Sources
//! Figure 9 of Verissimo, Neves and Correia, "Intrusion-tolerant architectures: concepts and
//! design" (2003), for BRM-T; Correia, Lung, Neves and Verissimo, "Efficient Byzantine-resilient
//! reliable multicast on a hybrid failure model" (2002), for the acknowledgements of BRM.
//! Deviations: (a) The sender delivers when the decision is there (B3); as the source has it, it
//! delivers at once, and is alone if its proposal came late: `models/reliable-multicast.pml`. (b)
//! Decisions are signed and travel with what is sent on (B4), as a component forgets them; so a
//! recipient need not wait for another copy that fits. (c) The message leaves when the component
//! has taken the proposal. (d) Acknowledgements carry no vector of MACs: links are authentic. (e)
//! Links deliver in the end: nobody is given up for good after Od + 1 sends.

mod machine;
mod message;
mod spread;
#[cfg(test)]
mod tests;

pub use machine::{Command, Multicast, Outcome, Spreading, Ticket};
pub use message::{Message, Record};

/// The time from the choice of the first start to that start, in milliseconds.
pub const LEAD_MS: u64 = 20;

/// It doubles this often at most.
const DOUBLINGS_MAX: u32 = 10;

/// How long whoever delivered waits for the others to say so, in milliseconds.
pub const PATIENCE_MS: u64 = 100;

/// How often whoever has not acknowledged is sent the message, until it reconnects.
pub const RESENT_MAX: u8 = 4;

/// How often a peer that asks is shown the message, until it reconnects.
pub const GIVEN_MAX: u8 = 4;
