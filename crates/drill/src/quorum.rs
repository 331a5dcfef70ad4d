//! The quorum questions once more, in other words than production's, for whoever judges it.
//!
//! Production asks whether what is missing may be corrupt; here the answers come from a plain list
//! of the sets that may be corrupt, or by counting.

use maftia_base::{AdversaryStructure, Party, PartySet};

/// Who may be corrupt, as the judges see it.
#[derive(Clone, Debug)]
pub struct Quorums {
    /// Number of servers.
    pub n: usize,
    /// All largest sets that may be corrupt; for a threshold its `f` instead.
    who: Who,
}

#[derive(Clone, Debug)]
enum Who {
    Any(usize),
    OneOf(Vec<Vec<usize>>),
}

impl Quorums {
    /// Any `f` of `n`.
    pub fn threshold(n: usize, f: usize) -> Self {
        Self { n, who: Who::Any(f) }
    }

    /// All of any one of these sets.
    pub fn one_of(n: usize, sets: &[&[usize]]) -> Self {
        Self { n, who: Who::OneOf(sets.iter().map(|set| set.to_vec()).collect()) }
    }

    /// Production's form of the same.
    pub fn structure(&self) -> AdversaryStructure {
        match &self.who {
            Who::Any(f) => AdversaryStructure::threshold(self.n, *f).expect("well-formed"),
            Who::OneOf(sets) => {
                let sets: Vec<PartySet> =
                    sets.iter().map(|set| set.iter().copied().map(Party::new).collect()).collect();
                AdversaryStructure::general(self.n, &sets).expect("well-formed")
            }
        }
    }

    /// So many that one must not wait for more.
    pub fn is_quorum(&self, set: PartySet) -> bool {
        let missing: Vec<usize> = (0..self.n).filter(|i| !set.contains(Party::new(*i))).collect();
        match &self.who {
            Who::Any(f) => missing.len() <= *f,
            Who::OneOf(sets) => {
                missing.is_empty()
                    || sets.iter().any(|corrupt| missing.iter().all(|i| corrupt.contains(i)))
            }
        }
    }

    /// One of them is honest, whoever is corrupt.
    pub fn has_honest(&self, set: PartySet) -> bool {
        let members: Vec<usize> = set.iter().map(Party::index).collect();
        match &self.who {
            Who::Any(f) => members.len() > *f,
            Who::OneOf(sets) => {
                !members.is_empty()
                    && sets.iter().all(|corrupt| members.iter().any(|i| !corrupt.contains(i)))
            }
        }
    }

    /// Their honest ones alone still have an honest one, whoever is corrupt.
    pub fn is_strong(&self, set: PartySet) -> bool {
        let members: Vec<usize> = set.iter().map(Party::index).collect();
        match &self.who {
            Who::Any(f) => members.len() > f + f,
            Who::OneOf(sets) => sets.iter().all(|one| {
                sets.iter().all(|two| members.iter().any(|i| !one.contains(i) && !two.contains(i)))
            }),
        }
    }

    /// Sets that an adversary may own, largest ones only.
    pub fn largest_corruptible(&self) -> Vec<PartySet> {
        match &self.who {
            Who::Any(f) => (0..1u64 << self.n)
                .filter(|bits| bits.count_ones() as usize == *f)
                .map(|bits| set_of(bits, self.n))
                .collect(),
            Who::OneOf(sets) => {
                sets.iter().map(|set| set.iter().copied().map(Party::new).collect()).collect()
            }
        }
    }

    /// All that may be faulty, each with some others or alone.
    pub fn corruptible(&self) -> PartySet {
        self.largest_corruptible().into_iter().fold(PartySet::EMPTY, PartySet::union)
    }
}

/// The set whose bits are these.
pub fn set_of(bits: u64, n: usize) -> PartySet {
    (0..n).filter(|i| bits & (1 << i) != 0).map(Party::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_and_production_answer_alike_though_they_compute_differently() {
        let all = [
            Quorums::threshold(4, 1),
            Quorums::threshold(7, 2),
            Quorums::one_of(6, &[&[0, 1], &[2, 3], &[4]]),
            Quorums::one_of(7, &[&[0, 1], &[2, 3], &[4, 5], &[0, 6], &[2, 6], &[4, 6]]),
        ];
        for quorums in all {
            let structure = quorums.structure();
            for bits in 0..1u64 << quorums.n {
                let set = set_of(bits, quorums.n);
                assert_eq!(quorums.is_quorum(set), structure.is_quorum(set), "{set:?}");
                assert_eq!(quorums.has_honest(set), structure.has_honest(set), "{set:?}");
                assert_eq!(quorums.is_strong(set), structure.has_honest_quorum(set), "{set:?}");
            }
        }
    }
}
