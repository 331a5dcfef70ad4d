//! Links: what correct servers send each other arrives, in order, once, over channels that drop,
//! duplicate, delay, reorder and reconnect; in bounded memory.
//!
//! # Promise
//! - *Eventual delivery.* A message between correct servers arrives, or the protocols at both ends
//!   are told [`Event::Reconnected`](maftia_base::Event::Reconnected) later, when there is credit
//!   again: the one that sent it emits once more what the peer may still need, and the one that
//!   waits for it asks once more.
//! - *Order, once.* Between two incarnations of two servers, messages arrive in the order sent, no
//!   message twice.
//! - *Bounded memory*, whatever the peer does: the protocol's own state is the last queue.
//! - *No honest server is blamed*, however far ahead it is, and whatever the network does.
//! - *Silence.* A link whose protocol is silent sends one small keep-alive a second and nothing
//!   else.
//!
//! # Model
//! Any number of faulty peers; channels authenticated by the transport, and fair: a frame that is
//! sent again and again arrives at some time. Time only paces repetition: no decision and no blame
//! rests on it. An incarnation of a server is one run of its process; its number need not be
//! remembered on disk, but must differ from the one before.
//!
//! # Rules
//! - R1. A link numbers the messages to a peer from 0 on, for each pair of incarnations. It sends
//!   none before it knows the peer's incarnation, for a frame without it could belong to an older
//!   conversation.
//! - R2. A link greets a peer until it has heard it. A frame from a higher incarnation than known
//!   starts a new conversation: both directions are reset, and the protocol is told `Reconnected`,
//!   at most once in [`RECONNECT_EVERY`], so that a peer that keeps changing its incarnation
//!   cannot have us repeat ourselves all day. A frame from a lower one is ignored, and answered,
//!   for the sender may have come back with a smaller number.
//! - R3. A frame to a higher incarnation than this one was meant for an earlier run of this server,
//!   which had a greater number: towards that peer, the link goes above it, by the number that this
//!   run alone began with, and starts over. Else two runs that come back with smaller numbers and
//!   hear of the same greater one would be one to the peer. A frame to a number that leaves no room
//!   above it is ignored.
//! - R4. The peer's frames carry the number below which everything has arrived, and how many
//!   messages and bytes from there on it grants. Nothing is sent beyond that.
//! - R5. The receiver delivers in order, holds within the granted window what is behind a gap, and
//!   reports the gap; the sender repairs it at once. Acknowledgements ride on messages, or follow
//!   after [`ACK_AFTER`].
//! - R6. Without acknowledgement in time (three measured round trips, doubling), or when the
//!   transport reconnects, the sender starts again at the first unacknowledged message, one frame
//!   first, then twice as much with each progress. When it has done so a few times and has heard
//!   nothing of the peer for [`UNHEARD`], it waits for a word: who is away is sent keep-alives
//!   only.
//! - R7. When the queue to a peer is full, the link drops what follows, until the queue has been
//!   sent and acknowledged; then the protocol is told `Reconnected`.
//! - R8. A frame says how often, in this conversation, its sender dropped messages and has told its
//!   own protocol so. When that number grows, the peer's protocol is told `Reconnected`, too: what
//!   was dropped may be the answer to a question, and whoever answers does not remember the
//!   question. Frames that change this number without end achieve what new incarnations do, see R2.
//! - R9. What exceeds the credit, or acknowledges what was never sent, or does not decode, is
//!   dropped and blamed, locally: no signature covers a frame.
//!
//! Acknowledgements leave in the order of the log like every effect: a peer forgets a message only
//! when the records that follow from it are durable here.
//!
//! # Bounds
//! For each peer: at most [`QUEUE_MESSAGES_MAX`] messages and [`QUEUE_BYTES_MAX`] bytes to be sent
//! (one message to all is encoded and held once), [`WINDOW_MESSAGES`] and the share of
//! [`WINDOWS_BYTES_MAX`] held behind gaps, never less than two of the largest messages. A frame has
//! at most [`FRAME_BYTES_MAX`]. What a protocol emits to one peer upon `Reconnected` should fit
//! the queue: if it does not, its tail is dropped until its head is smaller.
//!
//! # Sources
//! The window, repair and slow restart are those of TCP (RFC 9293, RFC 5681), with messages for
//! bytes and without congestion control, which the transport underneath has. Deviations: a
//! conversation is named by two incarnations instead of random initial numbers; and giving up is
//! not an error, for the layer above can emit its state again.
#![forbid(unsafe_code)]

mod frame;
mod inbound;
mod linked;
mod outbound;
mod peer;
#[cfg(test)]
mod tests;

pub use frame::{
    FRAME_BYTES_MAX, FRAME_MESSAGES_MAX, FRAME_PAYLOAD_BYTES_MAX, Frame, MESSAGE_BYTES_MAX, Packet,
};
pub use linked::{LinkTimer, Linked};
pub use peer::{PeerStatus, Traffic};

use maftia_base::time::Duration;

/// Most messages queued for one peer.
pub const QUEUE_MESSAGES_MAX: usize = 1 << 16;

/// Most bytes queued for one peer.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Most messages a peer may have under way to us.
pub const WINDOW_MESSAGES: u32 = 8192;

/// Most bytes that all peers together may have under way to us, unless there are so many that
/// each gets the least window, twice [`MESSAGE_BYTES_MAX`].
pub const WINDOWS_BYTES_MAX: usize = 32 << 20;

/// An acknowledgement waits this long for a message to ride on.
pub const ACK_AFTER: Duration = Duration::from_millis(20);

/// A link that has said nothing for this long says so.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_millis(1_000);

/// A peer that was not heard for so long is away: two keep-alives of it were lost, or never sent.
pub const UNHEARD: Duration = Duration::from_millis(2_500);

/// A peer that was never heard is greeted again after this, then at doubled intervals up to
/// [`KEEP_ALIVE_EVERY`].
pub const GREET_AFTER_FIRST: Duration = Duration::from_millis(50);

/// The protocol is told `Reconnected` of one peer at most this often.
pub const RECONNECT_EVERY: Duration = Duration::from_millis(250);

/// Bytes that one peer of a group of `n` may have under way to us.
pub fn window_bytes(n: usize) -> usize {
    (WINDOWS_BYTES_MAX / n.saturating_sub(1).max(1)).max(2 * MESSAGE_BYTES_MAX)
}
