//! What servers say to each other, and what each keeps.

use crate::Value;
use crate::hybrid::agreed::{Proof, Start};
use maftia_base::Digest;
use maftia_base::wire::wire_enum;

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Message<V: Value> {
    /// The sender's message, whose digest it proposed. (DAT)
    Data {
        /// To the agreement that starts then.
        start: Start,
        /// What.
        value: V,
    },
    /// A message that was delivered, with what was decided: it stands on its own.
    Shown {
        /// What.
        value: V,
        /// That its digest was decided.
        proof: Proof,
    },
    /// The message with this digest was delivered here. (ACK)
    Delivered {
        /// Of the message.
        digest: Digest,
    },
    /// This server's component cannot tell the decision any more, or does not know it.
    Ask,
}

wire_enum!(<V: Value> Message<V> {
    0 => Data { start, value },
    1 => Shown { value, proof },
    2 => Delivered { digest },
    3 => Ask,
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Record<V: Value> {
    /// The sender will propose this: before its component hears of it.
    Attempt {
        /// In the agreement that starts then.
        start: Start,
        /// What.
        value: V,
    },
    /// Delivered: before anybody is told.
    Delivered {
        /// What.
        value: V,
        /// That its digest was decided.
        proof: Proof,
    },
    /// The sender multicast another message, too.
    Equivocated {
        /// What.
        value: V,
        /// That its digest was decided.
        proof: Proof,
    },
}

wire_enum!(<V: Value> Record<V> {
    0 => Attempt { start, value },
    1 => Delivered { value, proof },
    2 => Equivocated { value, proof },
});
