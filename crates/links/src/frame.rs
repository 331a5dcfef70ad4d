//! What one link says to the other.

use maftia_base::wire::{Blob, Bytes, List, Wire, wire_enum, wire_struct};

/// Largest message of the protocol above, encoded.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Most messages in one frame.
pub const FRAME_MESSAGES_MAX: usize = 1024;

/// Most bytes of messages in one frame.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Largest encoded [`Packet`] that an honest server sends to another: payload, a length for each
/// message, and the fixed part.
pub const FRAME_BYTES_MAX: usize = FRAME_PAYLOAD_BYTES_MAX + 5 * FRAME_MESSAGES_MAX + 72;

const _: () = assert!(FRAME_BYTES_MAX < 2 << 20, "a frame fits one message of the transport");

/// One message of the protocol above, encoded.
pub(crate) type Payload = Blob<MESSAGE_BYTES_MAX>;

/// Everything between two links; 61 bytes besides the messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Start of the scope's digest: frames of another group, epoch or wire version are ignored.
    pub(crate) place: u64,
    /// Incarnation of the sender.
    pub(crate) from: u64,
    /// Incarnation of the receiver as the sender knows it; 0 while it does not.
    pub(crate) to: u64,
    /// How often in this conversation the sender dropped messages to the receiver, and emitted
    /// again what it could.
    pub(crate) lapses: u64,
    /// All messages below this number have arrived.
    pub(crate) received: u64,
    /// Distance from `received` to the first message held behind a gap; 0 without a gap.
    pub(crate) gap: u32,
    /// The receiver may be sent this many messages from `received` on …
    pub(crate) window_messages: u32,
    /// … and this many bytes.
    pub(crate) window_bytes: u32,
    /// Number of the first of `messages`.
    pub(crate) first: u64,
    /// Consecutive messages.
    pub(crate) messages: List<Payload, FRAME_MESSAGES_MAX>,
}

wire_struct!(Frame {
    place,
    from,
    to,
    lapses,
    received,
    gap,
    window_messages,
    window_bytes,
    first,
    messages,
});

impl Frame {
    /// Messages of the protocol above in this frame: none in an acknowledgement or keep-alive.
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// Exchanges messages for others, where `other` gives one: what a corrupt server may do to
    /// frames of its own. What would be too long for a frame stays as it is.
    pub fn map_messages(self, mut other: impl FnMut(&Bytes) -> Option<Bytes>) -> Self {
        let exchange =
            |payload: Payload| other(payload.bytes()).and_then(Payload::new).unwrap_or(payload);
        let messages = self.messages.into_vec().into_iter().map(exchange).collect();
        let messages = List::new(messages).expect("there are as many as before");
        Self { messages, ..self }
    }
}

/// What a link hands to its driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet<M> {
    /// From link to link.
    Frame(Frame),
    /// A message of the protocol above to its own server. It is only ever sent to
    /// [`Target::One`](maftia_base::Target::One) of this server, so it need not be encoded.
    Local(M),
}

wire_enum!(<M: Wire> Packet<M> { 0 => Frame(frame), 1 => Local(message) });
