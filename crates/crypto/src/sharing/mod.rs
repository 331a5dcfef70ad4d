//! Linear secret sharing over a formula of threshold gates.
//!
//! # Promise
//! - Secrecy: shares of an unqualified set say nothing about the secret.
//! - Availability: the shares of any qualified set give it back, by one fixed linear combination.
//!
//! # Model
//! A trusted dealer. Each leaf of the [`Formula`] holds one share, in the order of
//! [`Formula::leaves`], and belongs to that leaf's party.
//!
//! # Rules
//! - S1. Each gate shares its own value among its children by Shamir's scheme; child `i` (from 0)
//!   stands at `i + 1`, the value itself at 0.
//! - S2. To recombine, each gate takes the cheapest `threshold` of its qualified children.
//! - S3. In a field ([`field`]) the coefficients are Lagrange's. Modulo a secret order
//!   ([`integer`]) nothing can be divided: each gate of `m` children multiplies by `m!` (Shoup),
//!   a gate that asks for one child by 1, and all paths are scaled to one common factor.
//!
//! # Sources
//! Shamir 1979; Benaloh-Leichter 1988 for formulas; Shoup 2000 for the integer coefficients.

pub(crate) mod field;
pub(crate) mod format;
pub(crate) mod integer;

use maftia_base::{Formula, Party, PartySet};

/// Which leaves recombine a secret, gate by gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This leaf's share, as it is.
    Leaf(usize),
    /// Shares of these children: their numbers from 1, and what to do for each.
    Gate {
        /// How many children the gate has.
        fan: usize,
        /// Those that are used; as many as its threshold.
        used: Vec<(usize, Choice)>,
    },
}

impl Choice {
    /// The cheapest way in which `set` recombines; `None` if it is not qualified. (S2)
    pub(crate) fn of(formula: &Formula, set: PartySet) -> Option<Self> {
        choose(formula, set, &mut 0).map(|(choice, _)| choice)
    }
}

/// The choice with its number of leaves; `next` counts leaves in depth-first order.
fn choose(formula: &Formula, set: PartySet, next: &mut usize) -> Option<(Choice, usize)> {
    match formula {
        Formula::Leaf(party) => {
            let leaf = *next;
            *next += 1;
            set.contains(*party).then_some((Choice::Leaf(leaf), 1))
        }
        Formula::Gate { threshold, children } => {
            let mut able: Vec<(usize, (Choice, usize))> = Vec::new();
            for (index, child) in children.iter().enumerate() {
                able.extend(choose(child, set, next).map(|choice| (index + 1, choice)));
            }
            if able.len() < *threshold {
                return None;
            }
            able.sort_by_key(|(_, (_, cost))| *cost);
            able.truncate(*threshold);
            let cost = able.iter().map(|(_, (_, cost))| cost).sum();
            let used = able.into_iter().map(|(number, (choice, _))| (number, choice)).collect();
            Some((Choice::Gate { fan: children.len(), used }, cost))
        }
    }
}

/// The leaves of each party, in order.
pub(crate) fn leaves_by_party(formula: &Formula, n: usize) -> Vec<Vec<usize>> {
    let mut by_party = vec![Vec::new(); n];
    for (leaf, party) in formula.leaves().into_iter().enumerate() {
        by_party[party.index()].push(leaf);
    }
    by_party
}

/// Is this a party that owns a leaf?
pub(crate) fn is_holder(by_party: &[Vec<usize>], party: Party) -> bool {
    by_party.get(party.index()).is_some_and(|leaves| !leaves.is_empty())
}

#[cfg(test)]
mod tests;
