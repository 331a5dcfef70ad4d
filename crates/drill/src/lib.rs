//! The drill: tries to break the protocols harder than any user will.
//!
//! It runs the real protocols many times in one process, in simulated time, each run from one
//! token, under adversaries, and has everything judged by checkers that share no predicate with
//! production. Deliberately broken versions of single expressions, *canaries*, show that it would
//! notice.
//!
//! - [`stage`]: what must be known of a protocol to put it on; [`protocols`] has those there are.
//! - [`plan`]: what a run is. [`run`]: how it is run and judged.
//! - [`adversary`]: what corrupt servers and networks do. [`check`]: what must hold.
//! - [`twins`]: two copies of one server under every partition of a small group, systematically.
//! - [`explore`]: every order of deliveries and lies in a group of four.
//! - [`throughput`]: what each adversary costs.
//! - [`fuzz`]: runs that bytes decide.
//! - [`wormhole`]: trusted components, in the hybrid configuration.
//! - [`ttcb`]: trusted components by themselves.
//! - [`whole`]: whole servers, with journals and clients.
//! - [`ledger`]: failing seeds, kept for ever. [`soak`]: many runs, counted.
//!
//! Deliberately absent: threads and clocks in runs; only [`soak`] looks at a clock, to stop.
#![forbid(unsafe_code)]

pub mod adversary;
pub mod canary;
pub mod check;
pub mod course;
pub mod explore;
pub mod fuzz;
pub mod ledger;
pub mod naive;
pub mod plan;
pub mod protocols;
pub mod quorum;
pub mod run;
pub mod soak;
pub mod stage;
pub mod throughput;
pub mod ttcb;
pub mod twins;
pub mod whole;
pub mod world;
pub mod wormhole;
