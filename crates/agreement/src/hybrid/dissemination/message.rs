//! What dissemination is asked, says, sends and logs.

use crate::broadcast::coded::PART_BYTES_MAX;
use crate::broadcast::coded::parts::parts_of;
use maftia_base::Party;
use maftia_base::wire::{Blob, wire_enum};
use maftia_crypto::{CodedValue, Commitment, Encoded, Piece};

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Disseminate this value; only the sender may ask. Repeating it after a restart is harmless:
    /// what the log holds wins.
    Disseminate(CodedValue),
    /// As [`Disseminate`](Self::Disseminate), of what the layer above has had encoded.
    DisseminateEncoded(CodedValue, Encoded),
    /// It is this value that is needed: an honest server held it, and will not drop it.
    Want(Commitment),
    /// What was sent so far was not heard: have the sender tell what it has.
    Ask,
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This server holds a value: it is in the log, and given to whoever wants it. Told once for
    /// each value, and once more in every replay of the log.
    Held {
        /// Names the value.
        commitment: Commitment,
        /// The value.
        value: CodedValue,
    },
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A piece of somebody's fragment: of the receiver's or the sender's own as the value is
    /// spread, of any to who wants it.
    Piece {
        /// Under which it holds.
        commitment: Commitment,
        /// Whose fragment it is of.
        owner: Party,
        /// The piece.
        piece: Piece,
    },
    /// "I hold this, and give it to you."
    Offer(Commitment),
    /// "Give me a fragment."
    Want {
        /// Of this.
        commitment: Commitment,
        /// Whose.
        owner: Party,
    },
    /// To the sender: "what do you have?"
    Ask,
}

impl Message {
    /// Of which value it tells anything; questions tell nothing.
    pub fn commitment(&self) -> Option<Commitment> {
        match self {
            Self::Piece { commitment, .. } | Self::Offer(commitment) => Some(*commitment),
            Self::Want { .. } | Self::Ask => None,
        }
    }
}

wire_enum!(Message {
    0 => Piece { commitment, owner, piece },
    1 => Offer(commitment),
    2 => Want { commitment, owner },
    3 => Ask,
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
    /// The parts before this are what this server, the sender, disseminates.
    Began,
    /// The parts before this, or at the sender what it disseminates, are the value that this server
    /// holds.
    Held(Commitment),
}

wire_enum!(Record {
    0 => Part { number, bytes },
    1 => Began,
    2 => Held(commitment),
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
    /// At the sender, of what it disseminates.
    Encode,
    /// Of the value that is sought.
    Decode(Commitment),
    /// Of the value that is held, for those who want fragments.
    Give,
}
