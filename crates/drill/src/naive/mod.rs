//! Protocols that are known to be broken, so that the attacks on them can be shown to work, and
//! not to work on ours.

mod attack;
mod mmr;

pub use attack::{CoinOrdered, Supporter};
pub use mmr::{Mmr, Said};
