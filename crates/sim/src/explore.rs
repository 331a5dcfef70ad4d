//! Every order of deliveries, instead of a random one: for small cases, a proof by exhaustion.
//!
//! # Promise
//! If [`Explored::is_complete`], the scenario held under every order in which the messages of one
//! run can be delivered, one at a time, with all local work done in between.
//!
//! # How
//! A run is a list of choices: which pending letter comes next. The first run always chooses the
//! first; each further run repeats the longest prefix that still has an untried choice, and takes
//! it. Nothing is stored but the choices, so that any scenario can be explored that is
//! deterministic apart from them.
//!
//! Two deliveries to different receivers commute, unless one caused the other. Of each class of
//! equivalent orders only the lexicographically smallest by receiver counts: a letter that could
//! have been delivered before its greater neighbours is not delivered right after them. A run that
//! can no longer become such an order is finished without further choices.

use crate::network::{Fate, Letter, Local, Scheduler, UNIT};
use crate::{Failure, Random};
use maftia_base::Party;
use maftia_base::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How far an exploration came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How many runs it took.
    pub runs: u64,
    /// How many of them were orders that differ by more than deliveries that commute.
    pub orders: u64,
    /// Was every order tried?
    pub is_complete: bool,
}

/// Runs `scenario` with every order of deliveries, at most `runs_max` times. The scenario builds a
/// simulation with the scheduler that it is given, always with the same seed, and runs it.
///
/// Panics with the trace of the first failure.
pub fn explore(runs_max: u64, mut scenario: impl FnMut(Chosen) -> Result<(), Failure>) -> Explored {
    let choices = Rc::new(RefCell::new(Choices::default()));
    let mut orders = 0;
    for run in 1..=runs_max {
        choices.borrow_mut().begin();
        if let Err(failure) = scenario(Chosen::new(Rc::clone(&choices))) {
            panic!("run {run}, choices {:?}: {failure}", choices.borrow().taken());
        }
        orders += u64::from(!choices.borrow().is_redundant);
        if !choices.borrow_mut().advance() {
            return Explored { runs: run, orders, is_complete: true };
        }
    }
    Explored { runs: runs_max, orders, is_complete: false }
}

/// The choices of one run: at each point which of how many.
#[derive(Debug, Default)]
struct Choices {
    made: Vec<(usize, usize)>,
    position: usize,
    /// This run is not the smallest of its class.
    is_redundant: bool,
}

impl Choices {
    fn begin(&mut self) {
        self.position = 0;
        self.is_redundant = false;
    }

    fn choose(&mut self, options: usize) -> usize {
        if self.position == self.made.len() {
            self.made.push((0, options));
        }
        let (choice, before) = self.made[self.position];
        assert!(before == options, "an explored scenario depends on nothing but the choices");
        self.position += 1;
        choice
    }

    /// The next run's prefix; false if there is none.
    fn advance(&mut self) -> bool {
        self.made.truncate(self.position);
        while let Some((choice, options)) = self.made.pop() {
            if choice + 1 < options {
                self.made.push((choice + 1, options));
                return true;
            }
        }
        false
    }

    fn taken(&self) -> Vec<usize> {
        self.made.iter().map(|(choice, _)| *choice).collect()
    }
}

/// The scheduler of one run of an exploration.
#[derive(Debug)]
pub struct Chosen {
    choices: Rc<RefCell<Choices>>,
    /// Of each receiver that had one, its last delivery: when it was, and how many letters had been
    /// sent until then.
    last: BTreeMap<Party, Delivery>,
    deliveries: u64,
    sent: u64,
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    number: u64,
    sent_before: u64,
}

impl Chosen {
    fn new(choices: Rc<RefCell<Choices>>) -> Self {
        Self { choices, last: BTreeMap::new(), deliveries: 0, sent: 0 }
    }

    /// False if it could as well have been delivered earlier, before one to a greater receiver.
    fn may_be_next<M>(&self, letter: &Letter<M>) -> bool {
        let own = self.last.get(&letter.to).map(|own| own.number);
        !self.last.range(letter.to..).any(|(receiver, delivery)| {
            *receiver != letter.to
                && own.is_none_or(|own| delivery.number > own)
                && letter.number < delivery.sent_before
        })
    }
}

impl<M> Scheduler<M> for Chosen {
    fn route(&mut self, letter: &Letter<M>, _: &mut Random) -> Fate {
        self.sent = letter.number + 1;
        Fate::Held(Duration(1_000_000_000 * UNIT.0))
    }

    fn local(&mut self, _: Party, _: Local, _: &mut Random) -> Duration {
        Duration(0)
    }

    fn release(&mut self, held: &[Letter<M>], _: &mut Random) -> Option<usize> {
        let options: Vec<usize> =
            (0..held.len()).filter(|index| self.may_be_next(&held[*index])).collect();
        let mut choices = self.choices.borrow_mut();
        choices.is_redundant |= options.is_empty();
        let index = match choices.is_redundant {
            true => 0,
            false => options[choices.choose(options.len())],
        };
        self.deliveries += 1;
        let delivery = Delivery { number: self.deliveries, sent_before: self.sent };
        self.last.insert(held[index].to, delivery);
        Some(index)
    }

    fn waits_for_calm(&self) -> bool {
        true
    }

    fn shuffles_work(&self) -> bool {
        false
    }
}
