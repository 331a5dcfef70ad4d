//! What corrupt servers and networks do. Each strategy is a small type with a name and a sentence.
//!
//! All corrupt servers of a run have one brain, which sees every message when it is sent.

mod conduct;
mod memory;
mod network;
mod parts;

pub use conduct::garbled;
pub use conduct::{CONDUCTS, conduct, is_two_faced};
pub use network::{NETWORKS, STARVE_ONE, STEPS_PER_ROUND, coin_bits, network};
pub use parts::{Cue, HandOf, LetterOf, Reacts, Says};

use crate::plan::Plan;
use crate::stage::{Seat, Stage};
use maftia_base::PartySet;
use maftia_base::time::Time;
use maftia_sim::{Adversary, Random};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Counts how often a strategy did what it is there for.
#[derive(Clone, Debug, Default)]
pub struct Acts(Rc<Cell<u64>>);

/// What may be done at once ...
const BREATH: u64 = 20_000;

/// ... and once more after each so many microseconds.
const BREATH_MICROS: u64 = 50;

impl Acts {
    /// Once more.
    pub fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// So often.
    pub fn count(&self) -> u64 {
        self.0.get()
    }

    /// Is that more than anybody can do in the time since the run began? Whoever answers each
    /// answer with more than one letter could otherwise keep the clock from going on.
    pub fn is_breathless(&self, now: Time) -> bool {
        self.count() > BREATH + now.0 / BREATH_MICROS
    }
}

/// What a strategy is told at the start of a run.
pub struct Brief<T: Stage> {
    /// Keys and group.
    pub seat: Seat<T>,
    /// The run.
    pub plan: Plan,
    /// To be counted.
    pub acts: Acts,
    /// Chance of its own.
    pub random: Random,
    /// Who has done something that some honest server can now prove.
    pub provable: Rc<RefCell<PartySet>>,
}

impl<T: Stage> Clone for Brief<T> {
    fn clone(&self) -> Self {
        Self {
            seat: self.seat.clone(),
            plan: self.plan.clone(),
            acts: self.acts.clone(),
            random: self.random.clone(),
            provable: Rc::clone(&self.provable),
        }
    }
}

/// Makes a strategy for one run.
pub type Make<T> = fn(&Brief<T>) -> Box<dyn Adversary<<T as Stage>::Protocol>>;

/// A strategy of one protocol.
pub struct Special<T: Stage> {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Makes it.
    pub make: Make<T>,
}
