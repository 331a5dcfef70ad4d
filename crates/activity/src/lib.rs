//! Services replicated over an intrusion-tolerant group, and the client's side of them.
//!
//! - [`StateMachine`]: what a service is; [`ApplyContext`]: agreed time and agreed randomness.
//! - [`Replica`]: runs services on the total order of
//!   [`maftia_agreement::atomic`]: sessions with exactly-once execution, agreed time, outside work
//!   and wake-ups, replies by matching votes or by one threshold signature.
//! - [`ThresholdSigning`], [`Convictions`]: usable and tested alone.
//! - [`client`]: signs bundles, retries elsewhere, and believes only what an honest server says.
//!
//! Everything here is a deterministic state machine. Deliberately absent: clocks (time comes in
//! through what the group agreed on), sockets, disks, randomness, and secrets.
#![forbid(unsafe_code)]

mod blame;
pub mod client;
mod clock;
mod lives;
mod machine;
mod rejoin;
mod replica;
mod reply;
mod request;
mod session;
mod signing;
mod snapshot;
mod state;
mod testimony;
mod transfer;
mod values;

pub use blame::{Accusation, ConvictionTicket, Convictions};
pub use clock::{AgreedTime, Clock, batch_time};
pub use machine::{
    ApplyContext, Caller, Either, Reply, SIGNED_AT_ONCE_MAX, StateMachine, TASK_BYTES_MAX, Task,
    TaskId, ToSign, Votes,
};
pub use rejoin::{Admission, Nonce, REJOIN_EVERY};
pub use replica::{
    ATTACHED_MAX, Applied, ArchiveKey, Command, FRONT_END_MAX, FrontEndReply, Halt, INTAKE_MAX,
    LARGE_EACH_MAX, LARGE_WAITING_MAX, Message, Outcome, Record, Replica, Standing, Ticket,
};
pub use reply::{
    REPLIES_MAX, REPLY_BYTES_MAX, Refusal, ReplyBody, ReplyBundle, SequencedReply, ThresholdReply,
    replies_statement,
};
pub use request::{
    Ask, BUNDLE_REQUESTS_MAX, ClientBundle, FrontEndRequest, Item, LARGE_BYTES_MAX,
    REQUEST_BYTES_MAX, ServerCommand, SessionId, bundle_statement, large_load,
};
pub use session::{
    FRONT_END_WINDOW, SESSION_BYTES_MAX, SESSION_WINDOW, SESSIONS_PER_LANE_MAX, SESSIONS_WEIGHT_MAX,
};
pub use signing::{
    COLLECTING_MAX, Collectors, EARLY_SHARES_MAX, SIGNATURES_MAX, SigningCommand, SigningMessage,
    SigningOutcome, SigningTicket, ThresholdSigning,
};
pub use snapshot::{CHUNK_BYTES, CHUNKS_MAX, Chunk, Manifest, chunk_digest};
pub use testimony::{Disagreement, Held, Refounding, SignedTestimony, Testimony};
pub use transfer::{
    Found, Piece, Transfer, TransferCommand, TransferMessage, TransferOutcome, WINDOW,
};
pub use values::{
    Carried, GRANTED_MAX, OPEN_MAX, ValueId, Values, ValuesCommand, ValuesMessage, ValuesOutcome,
    ValuesRecord, ValuesTicket,
};
