//! Checkers: what must hold of every run. None of them asks production's predicates; they work on
//! what was said and told, with formulas of their own.
//!
//! | checker | claim |
//! | --- | --- |
//! | agreement | for one slot, all honest servers are told one value, in all their lives |
//! | validity | what they are told is what the run's inputs allow |
//! | totality | what is due is told to every honest server; all or none where that is promised |
//! | termination | after all disturbances a run falls silent within its budget of events |
//! | integrity | nothing is told twice in one life of a server |
//! | transfer | proofs that are told or sent hold, by the judges' own count |
//! | speech | an honest server signs one value for a place, and says one where one is allowed |
//! | justified | an honest server says nothing without having heard what entitles it to |
//! | secrecy | no honest share of a coin leaves before what the coin decides is bound |
//! | blameless | no honest server is ever blamed by an honest one |
//! | evidence | evidence convicts whom it accuses; who provably misbehaved is convicted |
//! | bounds | what is held for peers, and what is sent, stays within its bound |
//! | contract | the replay of a log causes outcomes only |
//! | assertion | production's own assertions hold |
//! | order | all honest servers are told one sequence, one perhaps longer for now |
//! | once | what a client asks takes effect once, whatever it and the servers repeat |
//! | durability | what a client was told is there in the end, and as it was told |
//! | time | agreed time lies within what honest clocks show, and does not go back |
//! | state | at equal positions honest servers are in the same state |
//! | liveness | after all disturbances everybody gets what it waits for |
//! | determinism | two runs of one seed are the same |
//!
//! Of whole servers:
//!
//! | checker | claim |
//! | --- | --- |
//! | replicas | at one place of the order all servers did the same, and answered the same |
//! | exactly-once | no request is executed twice |
//! | durability | what was answered is in the order |
//! | linearizable | one order of all calls explains what all clients saw |
//! | time | agreed time does not go back, and no liar moves it out of the honest clocks' range |
//! | issuance | every certificate is for its holder, and what a client was given is in all logs |
//! | secrecy | no honest server gives a share of a signature that no state wants |
//! | signature | what the group signed is signed by the group |
//! | liveness | after all disturbance every request is answered, and all honest servers are level |
//! | journal | no journal is damaged that nobody damaged |
//! | engine | no server stops by itself |

mod history;
pub mod linear;
mod watch;

pub use history::{Fact, Goal, History, TELLINGS};
pub use watch::{Transcript, Watch, WatchHandle};

use crate::stage::{Order, Said, Stage, Told};
use crate::world::Court;
use maftia_base::Party;
use std::fmt;

/// Names of all checkers.
pub const CHECKERS: &[&str] = &[
    "agreement",
    "validity",
    "totality",
    "termination",
    "integrity",
    "transfer",
    "speech",
    "justified",
    "secrecy",
    "blameless",
    "evidence",
    "bounds",
    "contract",
    "assertion",
    "order",
    "once",
    "durability",
    "time",
    "state",
    "liveness",
    "determinism",
    "replicas",
    "exactly-once",
    "durability",
    "linearizable",
    "time",
    "signature",
    "liveness",
    "issuance",
    "journal",
    "engine",
];

/// A checker fired.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Complaint {
    /// Which.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

impl Complaint {
    /// A complaint of `checker`.
    pub fn new(checker: &'static str, what: impl Into<String>) -> Self {
        debug_assert!(CHECKERS.contains(&checker), "{checker} is not in the list");
        Self { checker, what: what.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// Err with a complaint of `checker` unless `holds`.
pub fn ensure(
    holds: bool,
    checker: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Complaint> {
    if holds { Ok(()) } else { Err(Complaint::new(checker, what())) }
}

/// Watches the honest servers of one run, with a memory of its own of what each has heard in all
/// of its lives.
pub trait Monitor<T: Stage>: 'static {
    /// At the start of a run.
    fn new(stage: &T) -> Self;

    /// `by` takes an order.
    fn ordered(&mut self, by: Party, order: &Order<T>) {
        let _ = (by, order);
    }

    /// `by` is about to handle what `from` said.
    fn heard(&mut self, by: Party, from: Party, said: &Said<T>, court: &Court<T::Suite>) {
        let _ = (by, from, said, court);
    }

    /// `by` blames `culprit`.
    fn blames(&mut self, by: Party, culprit: Party) {
        let _ = (by, culprit);
    }

    /// `by` comes back from a crash: what it heard before may be gone from its memory.
    fn restarted(&mut self, by: Party) {
        let _ = by;
    }

    /// `by` says this to `to`.
    fn says(
        &mut self,
        by: Party,
        to: Party,
        said: &Said<T>,
        court: &Court<T::Suite>,
    ) -> Result<(), Complaint> {
        let _ = (by, to, said, court);
        Ok(())
    }

    /// The layer above `by` is told this.
    fn told(
        &mut self,
        by: Party,
        told: &Told<T>,
        court: &Court<T::Suite>,
    ) -> Result<(), Complaint> {
        let _ = (by, told, court);
        Ok(())
    }
}
