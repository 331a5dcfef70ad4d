//! What servers say to each other, and what each keeps.

use crate::Value;
use crate::hybrid::agreed::{Proof, Start};
use maftia_base::Digest;
use maftia_base::wire::{wire_enum, wire_struct};

/// That a value was decided, for anyone to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// In the attempt of this start.
    pub start: Start,
    /// What its second agreement decided.
    pub proof: Proof,
}

wire_struct!(Decision { start, proof });

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Message<V: Value> {
    /// What the sender proposes, of its own.
    Input {
        /// What.
        value: V,
    },
    /// The sender tries again, and shows what it is locked on.
    Again {
        /// What the first agreement of an attempt decided.
        lock: Option<Proof>,
    },
    /// The sender lacks the value with this digest.
    Ask {
        /// Of the value.
        digest: Digest,
    },
    /// A value that was asked for.
    Given {
        /// What.
        value: V,
    },
    /// The decision, to who is behind.
    Decided {
        /// What.
        value: V,
        /// That it is.
        decision: Decision,
    },
}

wire_enum!(<V: Value> Message<V> {
    0 => Input { value },
    1 => Again { lock },
    2 => Ask { digest },
    3 => Given { value },
    4 => Decided { value, decision },
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Record<V: Value> {
    /// What this server proposes, of its own: before it says so.
    Input(V),
    /// It takes part in the attempt of this start, and in no earlier one any more.
    Attempt(Start),
    /// It is locked on what the first agreement of an attempt decided: before it says so.
    Locked(Proof),
    /// The decision.
    Decided {
        /// What.
        value: V,
        /// That it is.
        decision: Decision,
    },
}

wire_enum!(<V: Value> Record<V> {
    0 => Input(value),
    1 => Attempt(start),
    2 => Locked(proof),
    3 => Decided { value, decision },
});
