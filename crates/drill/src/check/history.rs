//! What was told to whom, and what must hold of it.

use super::Complaint;
use maftia_base::{Party, PartySet};
use std::collections::{BTreeMap, BTreeSet};

/// What an outcome asserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which kind of outcome; each is told once a slot and life.
    pub kind: u8,
    /// What it is about; all kinds together have one value for it.
    pub slot: u64,
    /// What is asserted.
    pub value: u64,
    /// Does its proof hold, if it has one?
    pub holds: Result<(), String>,
}

impl Fact {
    /// An assertion without proof.
    pub fn new(kind: u8, slot: u64, value: u64) -> Self {
        Self { kind, slot, value, holds: Ok(()) }
    }

    /// The same, with what the judges say of its proof.
    pub fn proven(self, holds: bool) -> Self {
        let holds = if holds { Ok(()) } else { Err("its proof does not hold".to_owned()) };
        Self { holds, ..self }
    }
}

/// What must have been told in the end.
pub struct Goal {
    /// Kinds and slots that are due at every honest server.
    pub due: Vec<(u8, u64)>,
    /// If one honest server is told a slot, all are.
    pub all_or_none: bool,
    /// May this slot have this value?
    pub allows: Box<dyn Fn(u64, u64) -> bool>,
}

/// Outcomes of one run, with the life of the server in which each was told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Who was not corrupt.
    pub honest: PartySet,
    /// In the order told.
    pub told: Vec<(Party, u32, Fact)>,
}

type Telling = (&'static str, fn(&History, &Goal) -> Result<(), Complaint>);

/// The checkers that need no more than what was told.
pub const TELLINGS: &[Telling] = &[
    ("agreement", agreement),
    ("validity", validity),
    ("integrity", integrity),
    ("transfer", transfer),
    ("totality", totality),
];

/// For one slot one value, at all honest servers, before and after their crashes.
fn agreement(history: &History, _: &Goal) -> Result<(), Complaint> {
    let mut first: BTreeMap<u64, (Party, u32, u64)> = BTreeMap::new();
    for (party, life, fact) in &history.told {
        let (other, in_life, value) =
            *first.entry(fact.slot).or_insert((*party, *life, fact.value));
        if value != fact.value {
            let what = format!(
                "of {}, {party} (life {life}) was told {:x}, {other} (life {in_life}) {value:x}",
                fact.slot, fact.value
            );
            return Err(Complaint::new("agreement", what));
        }
    }
    Ok(())
}

/// Only what the inputs allow.
fn validity(history: &History, goal: &Goal) -> Result<(), Complaint> {
    match history.told.iter().find(|(_, _, fact)| !(goal.allows)(fact.slot, fact.value)) {
        None => Ok(()),
        Some((party, _, Fact { slot, value, .. })) => {
            let what = format!("of {slot}, {party} was told {value:x}, which nobody may be");
            Err(Complaint::new("validity", what))
        }
    }
}

/// Once in each life.
fn integrity(history: &History, _: &Goal) -> Result<(), Complaint> {
    let mut seen = BTreeSet::new();
    for (party, life, fact) in &history.told {
        if !seen.insert((*party, *life, fact.kind, fact.slot)) {
            let what = format!("{party} was told of {} twice in life {life}", fact.slot);
            return Err(Complaint::new("integrity", what));
        }
    }
    Ok(())
}

/// Proofs hold.
fn transfer(history: &History, _: &Goal) -> Result<(), Complaint> {
    for (party, _, fact) in &history.told {
        if let Err(why) = &fact.holds {
            let what = format!("what {party} was told of {}: {why}", fact.slot);
            return Err(Complaint::new("transfer", what));
        }
    }
    Ok(())
}

/// What is due is told; and all or none.
fn totality(history: &History, goal: &Goal) -> Result<(), Complaint> {
    let has = |party, kind, slot| {
        history
            .told
            .iter()
            .any(|(to, _, fact)| *to == party && fact.kind == kind && fact.slot == slot)
    };
    let mut due: BTreeSet<(u8, u64)> = goal.due.iter().copied().collect();
    if goal.all_or_none {
        due.extend(history.told.iter().map(|(_, _, fact)| (fact.kind, fact.slot)));
    }
    for (kind, slot) in due {
        if let Some(party) = history.honest.iter().find(|party| !has(*party, kind, slot)) {
            let what = format!("{party} was never told of {slot} (kind {kind})");
            return Err(Complaint::new("totality", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(told: &[(usize, u32, Fact)]) -> History {
        let told = told.iter().map(|(at, life, fact)| (Party::new(*at), *life, fact.clone()));
        History { honest: PartySet::all(3), told: told.collect() }
    }

    fn fires(checker: &str, told: &[(usize, u32, Fact)]) -> Vec<&'static str> {
        let allows = Box::new(|_, value| value < 10);
        let goal = Goal { due: vec![(0, 0)], all_or_none: true, allows };
        let fired = TELLINGS
            .iter()
            .filter(|(_, check)| check(&history(told), &goal).is_err())
            .map(|(name, _)| *name)
            .collect::<Vec<_>>();
        assert!(checker.is_empty() || fired.contains(&checker), "{checker} is silent: {fired:?}");
        fired
    }

    fn all_told(value: u64) -> Vec<(usize, u32, Fact)> {
        (0..3).map(|at| (at, 0, Fact::new(0, 0, value))).collect()
    }

    #[test]
    fn a_good_run_is_let_pass() {
        assert!(fires("", &all_told(7)).is_empty());
        let mut with_replay = all_told(7);
        with_replay.push((1, 1, Fact::new(0, 0, 7)));
        assert!(fires("", &with_replay).is_empty(), "told again in another life");
    }

    #[test]
    fn two_values_at_two_servers_or_in_two_lives_of_one_are_disagreement() {
        let mut told = all_told(7);
        told[1].2.value = 8;
        assert_eq!(fires("agreement", &told), ["agreement"]);
        let mut told = all_told(7);
        told.push((1, 1, Fact::new(0, 0, 8)));
        assert_eq!(fires("agreement", &told), ["agreement"]);
        let mut told = all_told(7);
        told.extend((0..3).map(|at| (at, 0, Fact::new(1, 0, 6))));
        assert_eq!(fires("agreement", &told), ["agreement"], "another kind, the same slot");
    }

    #[test]
    fn a_value_that_nobody_may_be_told_is_invalid() {
        assert_eq!(fires("validity", &all_told(11)), ["validity"]);
    }

    #[test]
    fn what_is_told_twice_in_one_life_violates_integrity() {
        let mut told = all_told(7);
        told.push((1, 0, Fact::new(0, 0, 7)));
        assert_eq!(fires("integrity", &told), ["integrity"]);
    }

    #[test]
    fn a_proof_that_does_not_hold_is_no_proof() {
        let mut told = all_told(7);
        told[0].2 = told[0].2.clone().proven(false);
        assert_eq!(fires("transfer", &told), ["transfer"]);
    }

    #[test]
    fn one_server_that_is_not_told_what_is_due_or_what_others_are_violates_totality() {
        assert_eq!(fires("totality", &all_told(7)[..2]), ["totality"]);
        let mut told = all_told(7);
        told.push((2, 0, Fact::new(0, 5, 7)));
        assert_eq!(fires("totality", &told), ["totality"]);
    }
}
