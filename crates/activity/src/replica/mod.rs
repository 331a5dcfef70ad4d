//! Services replicated on the group's total order.

mod vocabulary;

pub use vocabulary::{Applied, Command, FrontEndReply, Outcome};
