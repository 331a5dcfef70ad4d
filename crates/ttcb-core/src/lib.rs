//! The trusted state machine of the wormhole.
//!
//! This package, with [`maftia_ttcb_api`], is what has to be right for the hybrid configuration to
//! be safe: it is meant to be read in a day. It decides everything that the trusted component
//! answers; the daemon around it only moves bytes and reads clocks. One event in, effects out
//! through [`Outputs`]; all tables have a fixed size and are made when it starts; nothing allocates
//! afterwards, nothing blocks, and there is no I/O, so that the simulator runs the very same code.
//!
//! | service, as in the source | module |
//! | --- | --- |
//! | local authentication | [`sessions`] |
//! | trusted block agreement | [`agreement`] |
//! | random numbers | [`Core::call`] |
//! | absolute timestamps | [`clock`] |
//! | duration measurement, timing failure detection, timely execution | [`timing`] |
//! | ordering (2004) | [`ordering`] |
//! | unique sequential identifiers (2013) | [`identifiers`] |
//! | admission control | [`admission`] |
//!
//! # What it assumes
//! It fails only by crashing, and what it forgets when it crashes it never takes part in again:
//! every list of entities names lives ([`Boot`](maftia_ttcb_api::Boot)), and a life ends with the
//! crash. Timing is never needed for safety.

pub mod admission;
pub mod agreement;
pub mod channel;
pub mod clock;
pub mod control;
pub mod identifiers;
mod machine;
mod order;
pub mod ordering;
pub mod outputs;
pub mod sessions;
pub mod timing;

pub use clock::{Local, Now};
pub use control::{Control, Peer};
pub use machine::{Config, Core};
pub use outputs::Outputs;
