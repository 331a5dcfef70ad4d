//! Atomic broadcast in lanes.

mod batch;
mod catch_up;
pub mod epochs;
mod fetch;
mod lane;
mod machine;
mod message;
mod order;
mod own;
mod round;
#[cfg(test)]
mod tests;

pub use batch::{
    ArchiveKey, BATCH_BYTES_MAX, Batch, BatchVote, Delivery, Head, Heads, Height, ITEM_BYTES_MAX,
    ITEMS_MAX, Item, Items, Predecessor, Round, batch_statement,
};
pub use epochs::EpochChain;
pub use machine::AtomicBroadcast;
pub use message::{
    Command, DecidedRound, Message, Outcome, ROUNDS_PER_MESSAGE_MAX, Record, RoundAgreement, Ticket,
};

/// How many batches a lane may run ahead of what is ordered.
pub const WINDOW: u64 = 16;

/// How many delivered batches of a lane stay in memory for those that fetch them.
pub const KEPT_BATCHES: u64 = 4;

/// How many decided rounds stay in memory for those that are behind.
pub const KEPT_ROUNDS: u64 = 16;

/// How many decided rounds may wait for their batches before this server rests from agreement.
pub const BACKLOG_MAX: usize = 8;

/// How far ahead of the present round a decided one is accepted.
pub const LEARNED_MAX: u64 = 32;

/// Bytes of submitted items that wait for a batch.
pub const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
