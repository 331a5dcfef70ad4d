//! Is there an order of all calls, in which each takes effect between its invocation and its
//! return, that explains every answer?
//!
//! A call without a return may have taken effect at any time after its invocation, or never.
//!
//! # Why it is right
//! It tries every order: a call may be next if no other that is not yet in the order returned
//! before it was invoked. What was tried is remembered by the set of calls in the order and the
//! state that they lead to: two orders of the same calls that lead to one state have one future.
//!
//! # Sources
//! J. M. Wing and C. Gong, "Testing and Verifying Concurrent Objects", 1993; the memory is
//! G. Lowe's, "Testing for Linearizability", 2017. That objects may be judged one by one is the
//! locality of M. Herlihy and J. Wing, "Linearizability", 1990.

use std::collections::BTreeSet;

/// A sequential object.
pub trait Model {
    /// What can be asked.
    type Op: Clone;
    /// What is answered.
    type Answer: Clone + PartialEq;
    /// What it remembers.
    type State: Clone + Ord + Default;

    /// What an operation does to a state, and answers.
    fn step(state: &Self::State, op: &Self::Op) -> (Self::State, Self::Answer);
}

/// One call of a client. Moments are numbers that grow, and no two are equal.
#[derive(Clone, Debug)]
pub struct Call<M: Model> {
    /// Whose.
    pub client: u64,
    /// What.
    pub op: M::Op,
    /// When it began.
    pub invoked: u64,
    /// When it ended, if it did, and how.
    pub returned: Option<(u64, M::Answer)>,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is such an order.
    Linearizable {
        /// Pairs of a set and a state that were looked at.
        states: u64,
    },
    /// There is none.
    Not {
        /// So many answers can be explained at most.
        longest: usize,
    },
    /// There were more than [`STATES_MAX`] to look at.
    TooLong,
}

/// Pairs of a set and a state that a search looks at.
pub const STATES_MAX: usize = 500_000;

/// A set of calls.
type Set = Vec<u64>;

fn contains(set: &Set, index: usize) -> bool {
    set[index / 64] >> (index % 64) & 1 == 1
}

fn with(set: &Set, index: usize) -> Set {
    let mut set = set.clone();
    set[index / 64] |= 1 << (index % 64);
    set
}

/// Searches for an order.
pub fn check<M: Model>(calls: &[Call<M>]) -> Answer {
    let mut calls: Vec<&Call<M>> = calls.iter().collect();
    calls.sort_by_key(|call| call.invoked);
    let answered = calls.iter().filter(|call| call.returned.is_some()).count();
    let none: Set = vec![0; calls.len().div_ceil(64)];
    let mut seen: BTreeSet<(Set, M::State)> = BTreeSet::new();
    let mut open = vec![(none, M::State::default(), 0)];
    let mut longest = 0;
    while let Some((set, state, explained)) = open.pop() {
        longest = longest.max(explained);
        if explained == answered {
            return Answer::Linearizable { states: seen.len() as u64 };
        }
        // The last that may be next comes out of the stack first: push the likely ones last.
        for index in candidates(&calls, &set).into_iter().rev() {
            let call = calls[index];
            let (after, answer) = M::step(&state, &call.op);
            let explains = match &call.returned {
                Some((_, given)) if *given != answer => continue,
                Some(_) => 1,
                None => 0,
            };
            let next = (with(&set, index), after);
            if seen.contains(&next) {
                continue;
            }
            if seen.len() >= STATES_MAX {
                return Answer::TooLong;
            }
            seen.insert(next.clone());
            open.push((next.0, next.1, explained + explains));
        }
    }
    Answer::Not { longest }
}

/// Which calls may be next: nobody who is still missing returned before they were invoked. Those
/// that return first come first, and those that never return last.
fn candidates<M: Model>(calls: &[&Call<M>], set: &Set) -> Vec<usize> {
    let returned = |index: &usize| calls[*index].returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
    let (mut may, mut until) = (Vec::new(), u64::MAX);
    for index in (0..calls.len()).filter(|index| !contains(set, *index)) {
        // They are sorted by their beginning: whoever comes later begins later.
        if calls[index].invoked > until {
            break;
        }
        until = until.min(returned(&index));
        may.push(index);
    }
    may.retain(|index| calls[*index].invoked < until);
    may.sort_by_key(returned);
    may
}
