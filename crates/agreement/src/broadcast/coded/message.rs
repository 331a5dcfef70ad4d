//! What coded broadcast is asked, says, sends and logs.

use super::parts::parts_of;
use maftia_base::wire::{Blob, wire_enum};
use maftia_crypto::{CodedValue, Commitment, Encoded, Piece};

/// Most bytes of a value in one record.
pub const PART_BYTES_MAX: usize = 1 << 20;

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Broadcast this value; only the sender may ask. Repeating it after a restart is harmless:
    /// what the log holds wins.
    Broadcast(CodedValue),
    /// As [`Broadcast`](Self::Broadcast), of what the layer above has had encoded.
    BroadcastEncoded(CodedValue, Encoded),
    /// Others may have settled this without us: ask all of them for what they have.
    Ask,
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The value of the sender; the same at every honest server. Told once, and once more in
    /// every replay of the log.
    Delivered {
        /// Names the value, the same wherever the code is the same: this is what to order.
        commitment: Commitment,
        /// The value.
        value: CodedValue,
    },
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The sender's piece of the receiver's fragment.
    Send {
        /// Under which it holds.
        commitment: Commitment,
        /// The piece.
        piece: Piece,
    },
    /// "This piece of my fragment the sender gave me", or it follows from what others echoed.
    Echo {
        /// Under which it holds.
        commitment: Commitment,
        /// The piece.
        piece: Piece,
    },
    /// "No honest server will deliver anything else, and there is a value with this commitment."
    Ready(Commitment),
    /// "I have a fragment of this to give", also the receiver's if it comes from the sender.
    Offer(Commitment),
    /// "Give me your fragment."
    Want {
        /// To the sender: "and mine".
        own: bool,
    },
    /// "I have delivered this value, and this is a piece of my fragment of it", whatever the
    /// sender gave me.
    Give {
        /// Under which it holds.
        commitment: Commitment,
        /// The piece.
        piece: Piece,
    },
}

impl Message {
    /// Of which value it speaks.
    pub fn commitment(&self) -> Option<Commitment> {
        match self {
            Self::Send { commitment, .. }
            | Self::Echo { commitment, .. }
            | Self::Give { commitment, .. }
            | Self::Ready(commitment)
            | Self::Offer(commitment) => Some(*commitment),
            Self::Want { .. } => None,
        }
    }
}

wire_enum!(Message {
    0 => Send { commitment, piece },
    1 => Echo { commitment, piece },
    2 => Ready(commitment),
    3 => Offer(commitment),
    4 => Want { own },
    5 => Give { commitment, piece },
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// The next part of a value; number 0 begins anew.
    Part {
        /// Counts up from 0.
        number: u8,
        /// The bytes.
        bytes: Blob<PART_BYTES_MAX>,
    },
    /// The parts before this are what this server, the sender, broadcasts.
    Began,
    /// A piece of our fragment, which we give to others.
    Echoed {
        /// Under which it holds.
        commitment: Commitment,
        /// The piece.
        piece: Piece,
    },
    /// A piece of our fragment of the value, once it is delivered: all of them together take the
    /// place of what we echoed of something else.
    Corrected {
        /// Under which it holds.
        commitment: Commitment,
        /// The piece.
        piece: Piece,
    },
    /// Our READY.
    Readied(Commitment),
    /// Saves the exchange after a restart: the parts before this, or at the sender the value that
    /// it broadcast, are what was delivered.
    Delivered(Commitment),
}

wire_enum!(Record {
    0 => Part { number, bytes },
    1 => Began,
    2 => Echoed { commitment, piece },
    3 => Readied(commitment),
    4 => Delivered(commitment),
    5 => Corrected { commitment, piece },
});

impl Record {
    /// A value as parts.
    pub(super) fn parts(value: &CodedValue) -> impl Iterator<Item = Self> {
        parts_of(value).map(|(number, bytes)| Self::Part { number, bytes })
    }
}

/// Names the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ticket {
    /// At the sender.
    Encode,
    /// Of the one value that passed R3 or R5.
    Decode,
}
