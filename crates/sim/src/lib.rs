//! Runs any protocol of maftia at all servers of a group, in one thread, under an adversary.
//!
//! A [`Simulation`] owns virtual time, the network, every server's log and worker pool, and the
//! corrupt servers. One seed decides a whole run. It honours the contract of
//! [`maftia_base::protocol`] to the letter and in every order that the contract allows, and knows
//! nothing else about the protocol that it drives.
//!
//! ```text
//! let mut sim = Simulation::builder(groups, seed)
//!     .network(Network::random().duplicating(20))     // or a Scheduler of your own
//!     .corrupt([Party::new(3)], Twins { second })     // or an Adversary of your own
//!     .worker(|party, work, clock| ...)               // does the cryptography
//!     .application(|party, outcome| ...)              // answers outcomes with commands
//!     .build(|party| MyProtocol::new());
//! sim.command(Party::new(0), MyCommand::Propose(true));
//! sim.run_until(|sim| sim.honest().iter().all(|p| !sim.outcomes(p).is_empty()), 100_000)?;
//! ```
//!
//! # Always checked
//! - No honest server is ever blamed by an honest one.
//! - The replay of a log causes outcomes only.
//! - Footprints stay below their bound, where the test names it.
//! - A goal is reached within its event budget.
//! - Two runs of one seed have one digest: [`check_deterministic`].
//!
//! Small cases need no luck: [`explore`] runs every order of deliveries.
//!
//! # Model
//! - *Delays.* Any, decided by a [`Scheduler`]; never infinite.
//! - *Loss.* A lost message is followed by `Reconnected` at both ends, unless the network is
//!   [unaided](Network::unaided). Messages to a server that is down are lost, and so may be those
//!   that are under way from or to a server that crashes.
//! - *Storage.* A log of records. What is not synced when a server crashes is lost, but for a
//!   random prefix. Effects leave in log order, hence a crash can cut a step's effects anywhere.
//! - *Work.* Done in batches of any size, with results in any order.
//! - *Timers.* Fire on time; each incarnation's clock starts at 0.
//! - *Corruption.* Static: chosen before the run, and allowed by the group's structure. A wiped
//!   server joins the corrupt ones.
//!
//! Deliberately absent: threads, clocks, and any knowledge of a protocol or of cryptography.
#![forbid(unsafe_code)]

mod adversary;
pub mod attacks;
mod builder;
mod engine;
mod explore;
mod figures;
mod network;
mod node;
mod observer;
mod queue;
mod random;
mod recovery;
mod report;
mod seeds;
mod simulation;
mod traffic;
pub mod wormhole;

pub use adversary::{Adversary, Hand};
pub use builder::{Builder, CLOCK_START};
pub use explore::{Chosen, Explored, explore};
pub use figures::{Figures, figures};
pub use network::{
    Fate, LOSSES_PER_CHANNEL_MAX, Letter, Local, Network, Partition, Scheduler, UNIT,
};
pub use node::Told;
pub use observer::Observer;
pub use random::Random;
pub use report::{Failure, Stats, Violation};
pub use seeds::{check_deterministic, seeds};
pub use simulation::{Crashes, Simulation, Trusted};
