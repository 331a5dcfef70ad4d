//! Dissemination: a large value comes to all who want it, once somebody honest holds it; which
//! value it is, is settled elsewhere.
//!
//! # Promise
//!
//! - *Validity.* If the sender is honest and disseminates `v`, every honest server comes to hold
//!   `v`, and none comes to hold anything else, unless it is told to want something else.
//! - *Integrity.* What is held is the value that its commitment names.
//! - *Retrieval.* If an honest server holds what `c` names and is never told to want something
//!   else, every honest server that is told to want `c` comes to hold it.
//! - *Durability.* What was told to be held is in the log, the whole of it.
//! - *Cost.* Without faults and losses, the sender sends `2 (n - 1) / k` times the value, each
//!   other server `(n - 1) / k` times if `k > 2`, and nothing if not; who is told to want what did
//!   not come receives at most a fragment from each holder beyond what it needs.
//!
//! There is no agreement: a corrupt sender may have two servers hold different values, or have only
//! one hold anything. In the hybrid configuration the total order says what value it is, in a batch
//! of which there is only one; and whoever voted for that batch held it. Among these votes is one
//! of an honest server, and no more is needed. Compare [coded
//! broadcast](crate::broadcast::coded), which agrees by itself, for which it needs Q3, and where
//! what an honest server has told can be put together of the fragments of others: there each keeps
//! its fragment, here the value.
//!
//! # Model
//!
//! Any adversary structure in which no corruptible set is the whole group, asynchronous
//! authenticated links with eventual delivery in the sense of [`maftia_base::protocol`]; servers
//! may crash and restart with their log. Collision resistance of the hash; no signatures. The value
//! is cut as for coded broadcast; `k` is at most the number of servers that are honest for certain,
//! see [`fragments_needed`](crate::broadcast::coded::fragments_needed).
//!
//! # Rules
//!
//! - D1. On the command, the sender logs the value and has it encoded; then it holds it. It sends
//!   each server the pieces of that server's fragment, and those of its own to all.
//! - D2. A server seeks the first commitment that the sender named; once it is told to want one, it
//!   seeks that. It takes the pieces that hold under it, from whomever and of whosever fragment; of
//!   a peer's own fragment also before it seeks anything.
//! - D3. If `k > 2`: upon a piece of its own fragment from the sender, send it to all others. (With
//!   `k <= 2` what the sender sends to each is enough.)
//! - D4. Upon `k` complete fragments under the commitment that is sought: have them decoded and
//!   encoded again. If that gives this commitment: log the value; then hold it, and send to all
//!   what D3 has not sent of the own fragment. If not, the sender lied, and nothing follows.
//! - D5. While holding what c names: OFFER(c) to all after a restart, and to a peer upon its
//!   reconnection. Until then, upon a reconnection, the peer is sent again what D3 has sent.
//! - D6. Upon OFFER(c) with what is sought, until it is held: WANT(c, o) to the offerer, where `o`
//!   names a fragment that is not complete here and, if there is one, that nobody else was asked
//!   for. Upon completion of `o`: the next. A server that is told to want c asks all others so.
//! - D7. Upon WANT(c, o) while holding what c names: send the pieces of `o`'s fragment, each
//!   fragment once after each OFFER. Upon ASK: the sender sends OFFER, when it holds its value.
//!
//! # Why it holds
//!
//! *Integrity.* D4 encodes again: a value is held under its own commitment only.
//!
//! *Validity.* An honest sender names one commitment in its life, as the value is in its log before
//! anything of it leaves. Whatever is lost between it and a server, there is an OFFER on the
//! reconnection (D5), and that server gets all fragments from the sender (D6, D7). If nothing is
//! lost between them, it has two fragments from the sender, and those of all other honest servers:
//! each of these sends its own as it comes, and what is missing of it when it has the value (D3,
//! D4); what is lost of that is sent again, or the value is offered (D5). These are `k`.
//!
//! *Retrieval.* Who wants c asks the holder; if anything between them is lost, there is an OFFER
//! after it (D5). Each complete fragment leads to the next WANT, until there are `k`; each is
//! answered, as the holder can encode all of them, and as after each OFFER none is asked of it
//! twice. Others may lie: a piece that does not hold is refused, and its sender is not listened to
//! any more; who does not answer keeps nobody else from being asked for the same.
//!
//! *Nobody honest is blamed.* An honest server sends only pieces that it verified or made itself of
//! a verified value. An honest sender names one commitment.
//!
//! # Bounds
//!
//! [`footprint_max`] items: of each server a fragment, which in bytes together are `n / k` times
//! the largest value at most, or the value; its own fragment; and questions, of which a peer may
//! have `n` open. A restart costs who holds the value an encoding and a peer's fragments, at most.
//!
//! # Sources
//!
//! C. Cachin, S. Tessaro, "Asynchronous verifiable information dispersal", SRDS 2005, for values in
//! fragments; G. Danezis et al., "Narwhal and Tusk", EuroSys 2022, for votes of who has the data in
//! place of a broadcast that agrees. Deviations: (a) each voter holds the whole value, as with `n =
//! 2f+1` only one voter is honest for certain; (b) fragments that prove themselves, from whoever
//! has them; (c) restart and reconnection.

mod machine;
mod message;

pub use machine::Dissemination;
pub use message::{Command, Message, Outcome, Record, Ticket};

use maftia_crypto::Code;

/// Most items that an instance holds: pieces, and questions.
pub fn footprint_max(code: Code) -> usize {
    (code.n() + 1) * code.pieces_max() + code.n() * (code.n() + 1)
}
