//! The search over all servers together.

#![expect(clippy::disallowed_types, reason = "only looked up, never iterated")]

use super::local::{Locals, hash_of};
use super::models::Model;
use maftia_base::protocol::{Protocol, Target};
use maftia_base::wire::Wire;
use maftia_crypto::{Done, IdealSuite, Work};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;

/// What an exploration came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explored {
    /// Of which model.
    pub model: &'static str,
    /// States, up to renaming.
    pub states: usize,
    /// Transitions between them.
    pub transitions: u64,
    /// Local states of all servers together.
    pub local_states: usize,
    /// The longest way from the start.
    pub depth: usize,
    /// States beyond which was not looked, because they are beyond the model's horizon.
    pub at_horizon: u64,
    /// States in which nothing honest is under way.
    pub ends: u64,
    /// Was everything within the horizon seen?
    pub is_complete: bool,
    /// What is wrong, if something is.
    pub violation: Option<String>,
}

/// The hash is its own hash.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

/// A global state: of each server its local one, and what is under way: receiver and word.
#[derive(Clone)]
struct State {
    locals: [u32; 3],
    pending: Vec<(u8, u32)>,
}

struct Search<'a, P: Protocol> {
    model: &'a Model<P>,
    locals: Locals<'a, P>,
    seen: HashSet<u128, BuildHasherDefault<Identity>>,
    lies: HashMap<[Vec<u32>; 3], Vec<(u8, u32)>>,
    /// States at the horizon, still to be judged.
    beyond: Vec<State>,
    explored: Explored,
}

/// Explores a model up to so many states.
pub fn explore<P>(model: &Model<P>, states_max: usize) -> Explored
where
    P: Protocol<Work = Work<IdealSuite>, Done = Done<IdealSuite>, Message: Wire>,
{
    let mut search = Search {
        model,
        locals: Locals::new(model),
        seen: HashSet::default(),
        lies: HashMap::new(),
        beyond: Vec::new(),
        explored: Explored { model: model.name, is_complete: true, ..Explored::default() },
    };
    search.run(states_max);
    search.explored.local_states = search.locals.count();
    search.explored.states = search.seen.len();
    search.explored
}

impl<P> Search<'_, P>
where
    P: Protocol<Work = Work<IdealSuite>, Done = Done<IdealSuite>, Message: Wire>,
{
    fn run(&mut self, states_max: usize) {
        let starts = self.locals.starts();
        let mut first = State { locals: [0; 3], pending: Vec::new() };
        for (index, start) in starts.iter().enumerate() {
            first.locals[index] = start.next;
            self.post(index, &start.sent, &mut first.pending);
        }
        self.is_new(&first);
        let mut layer = vec![first];
        while !layer.is_empty() {
            let mut next = Vec::new();
            for state in mem::take(&mut layer) {
                if let Some(violation) = self.violation(&state) {
                    self.explored.violation = Some(violation);
                    self.explored.is_complete = false;
                    return;
                }
                self.expand(&state, &mut next);
                for state in mem::take(&mut self.beyond) {
                    if let Some(violation) = self.contradiction(&state) {
                        self.explored.violation = Some(violation);
                        self.explored.is_complete = false;
                        return;
                    }
                }
                if self.seen.len() > states_max {
                    self.explored.is_complete = false;
                    return;
                }
            }
            self.explored.depth += usize::from(!next.is_empty());
            layer = next;
        }
    }

    /// Puts what a server sends under way, but for the liar, who knows it at once.
    fn post(&self, by: usize, sent: &[(Target, u32)], pending: &mut Vec<(u8, u32)>) {
        for (to, word) in sent {
            for index in 0..3 {
                let party = self.model.honest()[index];
                let is_meant = match to {
                    Target::One(one) => *one == party,
                    Target::All | Target::Others => index != by,
                };
                if is_meant && let Err(place) = pending.binary_search(&(index as u8, *word)) {
                    pending.insert(place, (index as u8, *word));
                }
            }
        }
    }

    fn expand(&mut self, state: &State, next: &mut Vec<State>) {
        for position in 0..state.pending.len() {
            let (to, word) = state.pending[position];
            let mut pending = state.pending.clone();
            pending.remove(position);
            self.deliver(state, to, word, pending, next);
        }
        for (to, word) in self.lies_in(state) {
            self.deliver(state, to, word, state.pending.clone(), next);
        }
    }

    fn deliver(
        &mut self,
        state: &State,
        to: u8,
        word: u32,
        mut pending: Vec<(u8, u32)>,
        next: &mut Vec<State>,
    ) {
        let index = usize::from(to);
        let outcome = self.locals.step(index, state.locals[index], word);
        self.explored.transitions += 1;
        self.post(index, &outcome.sent, &mut pending);
        let mut locals = state.locals;
        locals[index] = outcome.next;
        let reached = State { locals, pending };
        if self.is_new(&reached) {
            match outcome.is_beyond {
                true => {
                    self.explored.at_horizon += 1;
                    self.beyond.push(reached);
                }
                false => next.push(reached),
            }
        }
    }

    /// The liar's words, given what it was shown.
    fn lies_in(&mut self, state: &State) -> Vec<(u8, u32)> {
        let shown = [0, 1, 2].map(|index| self.locals.shown(index, state.locals[index]).to_vec());
        if let Some(known) = self.lies.get(&shown) {
            return known.clone();
        }
        let heard: Vec<_> = shown
            .iter()
            .flatten()
            .map(|word| {
                let (from, body) = self.locals.body(*word);
                (from, body.clone())
            })
            .collect();
        let words = (self.model.lies)(&heard);
        let mut lies = Vec::new();
        for body in words {
            let word = self.locals.lie(body);
            lies.extend((0..3).map(|to| (to, word)));
        }
        self.lies.insert(shown, lies.clone());
        lies
    }

    /// Has it not been seen, under any names?
    fn is_new(&mut self, state: &State) -> bool {
        let mut key = hash_of(&(state.locals, &state.pending));
        for renaming in 0..self.model.renamings.len() as u8 {
            let names = self.model.renamings[usize::from(renaming)];
            let mut locals = [0; 3];
            for index in 0..3 {
                let image = self.locals.image(renaming, index, state.locals[index]);
                locals[usize::from(names[index])] = image;
            }
            let mut pending: Vec<(u8, u32)> = state
                .pending
                .iter()
                .map(|(to, word)| {
                    (names[usize::from(*to)], self.locals.word_image(renaming, *word))
                })
                .collect();
            pending.sort_unstable();
            key = key.min(hash_of(&(locals, &pending)));
        }
        self.seen.insert(key)
    }

    fn violation(&mut self, state: &State) -> Option<String> {
        if let Some(contradiction) = self.contradiction(state) {
            return Some(contradiction);
        }
        if !state.pending.is_empty() {
            return None;
        }
        self.explored.ends += 1;
        let told = |index: usize| !self.locals.told(index, state.locals[index]).is_empty();
        let count = (0..3).filter(|index| told(*index)).count();
        let is_due = self.model.must_end || (self.model.all_or_none && count > 0);
        (is_due && count < 3)
            .then(|| format!("nothing is under way, and only {count} of 3 honest servers are told"))
    }

    /// What must not be in any state.
    fn contradiction(&self, state: &State) -> Option<String> {
        let mut values: Vec<u64> = Vec::new();
        for index in 0..3 {
            let honest = self.model.honest();
            if let Some(party) =
                self.locals.blamed(index, state.locals[index]).iter().find(|p| honest.contains(p))
            {
                return Some(format!("{} blames honest {party}", honest[index]));
            }
            values.extend(self.locals.told(index, state.locals[index]));
        }
        values.sort_unstable();
        values.dedup();
        if values.len() > 1 {
            return Some(format!("servers are told {values:?}"));
        }
        if let Some(value) = values.iter().find(|value| !(self.model.allows)(**value)) {
            return Some(format!("somebody is told {value}, which nobody may be"));
        }
        None
    }
}
