//! Monotone formulas of threshold gates: who can reconstruct a shared secret.

use crate::{AdversaryStructure, Party, PartySet};
use thiserror::Error;

/// Most leaves of a sharing formula: one share of the secret each.
pub const LEAVES_MAX: usize = 4096;

/// Which sets of parties can reconstruct a shared secret.
///
/// This is not [`AdversaryStructure::has_honest`]: a formula may leave sets that contain an honest
/// party and still cannot reconstruct. Protocols that combine shares wait for
/// [`is_qualified`](Self::is_qualified).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Formula {
    /// This party's part.
    Leaf(Party),
    /// At least `threshold` of `children`.
    Gate {
        /// How many children must be satisfied; from 1 to their number.
        threshold: usize,
        /// The sub-formulas.
        children: Vec<Formula>,
    },
}

/// Why a formula does not fit its adversary structure.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormulaError {
    /// A gate that asks for none, or for more than it has.
    #[error("a gate asks for {threshold} of {children} parts")]
    Gate {
        /// What it asks for.
        threshold: usize,
        /// What it has.
        children: usize,
    },
    /// A leaf of a party that the group does not have.
    #[error("the formula names {0}, which the group does not have")]
    Unknown(Party),
    /// More shares than can be handled.
    #[error("the formula has {0} leaves; at most {LEAVES_MAX} are supported")]
    TooLarge(usize),
    /// Secrecy fails.
    #[error("{0:?} may all be corrupt, and could reconstruct every secret")]
    CorruptQualified(PartySet),
    /// Availability fails.
    #[error("{0:?} may all be corrupt, and the others could then not reconstruct any secret")]
    HonestUnqualified(PartySet),
}

impl Formula {
    /// `threshold` of the first `n` parties.
    pub fn threshold(threshold: usize, n: usize) -> Self {
        let children = (0..n).map(|index| Self::Leaf(Party::new(index))).collect();
        Self::Gate { threshold, children }
    }

    /// The formula that qualifies exactly the sets that contain an honest party: for a threshold
    /// structure `f + 1` of `n`; otherwise one gate for each maximal corruptible set, asking for
    /// anyone outside it.
    pub fn exact(structure: &AdversaryStructure) -> Self {
        if let Some(f) = structure.threshold_f() {
            return Self::threshold(f + 1, structure.n());
        }
        let all = PartySet::all(structure.n());
        let children: Vec<Self> = structure
            .maximal_sets()
            .into_iter()
            .map(|set| Self::Gate {
                threshold: 1,
                children: all.difference(set).iter().map(Self::Leaf).collect(),
            })
            .collect();
        Self::Gate { threshold: children.len(), children }
    }

    /// Can these parties reconstruct?
    pub fn is_qualified(&self, set: PartySet) -> bool {
        match self {
            Self::Leaf(party) => set.contains(*party),
            Self::Gate { threshold, children } => {
                children.iter().filter(|child| child.is_qualified(set)).count() >= *threshold
            }
        }
    }

    /// The parties of the leaves, depth first: share number `i` belongs to `leaves()[i]`.
    pub fn leaves(&self) -> Vec<Party> {
        match self {
            Self::Leaf(party) => vec![*party],
            Self::Gate { children, .. } => children.iter().flat_map(Self::leaves).collect(),
        }
    }

    /// Refuses a formula under which some corruptible set is qualified, or the complement of one
    /// is not.
    pub fn check(&self, structure: &AdversaryStructure) -> Result<(), FormulaError> {
        self.check_gates(structure.n())?;
        let leaves = self.leaves().len();
        if leaves > LEAVES_MAX {
            return Err(FormulaError::TooLarge(leaves));
        }
        if self.is_plain_threshold(structure) {
            return Ok(());
        }
        let all = PartySet::all(structure.n());
        for corrupt in structure.maximal_sets() {
            if self.is_qualified(corrupt) {
                return Err(FormulaError::CorruptQualified(corrupt));
            }
            if !self.is_qualified(all.difference(corrupt)) {
                return Err(FormulaError::HonestUnqualified(corrupt));
            }
        }
        Ok(())
    }

    /// The usual case, where enumerating all sets of size `f` would prove nothing new.
    fn is_plain_threshold(&self, structure: &AdversaryStructure) -> bool {
        structure.threshold_f().is_some_and(|f| {
            structure.n() > 2 * f && *self == Self::threshold(f + 1, structure.n())
        })
    }

    fn check_gates(&self, n: usize) -> Result<(), FormulaError> {
        match self {
            Self::Leaf(party) if party.index() >= n => Err(FormulaError::Unknown(*party)),
            Self::Leaf(_) => Ok(()),
            Self::Gate { threshold, children } => {
                if *threshold == 0 || *threshold > children.len() {
                    let (threshold, children) = (*threshold, children.len());
                    return Err(FormulaError::Gate { threshold, children });
                }
                children.iter().try_for_each(|child| child.check_gates(n))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "2 of 4 sites, each with 2 of its 4 servers; and the same by operating system."
    fn by_sites_and_systems() -> Formula {
        let grid = |member: fn(usize, usize) -> usize| Formula::Gate {
            threshold: 2,
            children: (0..4)
                .map(|class| Formula::Gate {
                    threshold: 2,
                    children: (0..4).map(|i| Formula::Leaf(Party::new(member(class, i)))).collect(),
                })
                .collect(),
        };
        let children = vec![grid(|class, i| 4 * class + i), grid(|class, i| 4 * i + class)];
        Formula::Gate { threshold: 2, children }
    }

    fn sixteen() -> AdversaryStructure {
        let row = |i: usize| (0..4).map(|j| Party::new(4 * i + j)).collect::<PartySet>();
        let column = |i: usize| (0..4).map(|j| Party::new(4 * j + i)).collect::<PartySet>();
        let sets: Vec<_> = (0..16).map(|k| row(k / 4).union(column(k % 4))).collect();
        AdversaryStructure::general(16, &sets).expect("well-formed")
    }

    #[test]
    fn the_textbook_formula_is_safe_and_leaves_6912_honest_sets_unqualified() {
        let (formula, structure) = (by_sites_and_systems(), sixteen());
        assert_eq!(formula.check(&structure), Ok(()));
        let stranded = (0u32..1 << 16)
            .map(|bits| {
                (0..16).filter(|i| bits & (1 << i) != 0).map(Party::new).collect::<PartySet>()
            })
            .filter(|set| structure.has_honest(*set) && !formula.is_qualified(*set))
            .count();
        assert_eq!(stranded, 6912);
    }

    #[test]
    fn the_exact_formula_qualifies_exactly_the_sets_with_an_honest_party() {
        let structure = sixteen();
        let exact = Formula::exact(&structure);
        assert_eq!(exact.check(&structure), Ok(()));
        for bits in (0u32..1 << 16).step_by(7) {
            let set: PartySet = (0..16).filter(|i| bits & (1 << i) != 0).map(Party::new).collect();
            assert_eq!(exact.is_qualified(set), structure.has_honest(set));
        }
    }

    #[test]
    fn a_formula_that_the_adversary_satisfies_is_refused() {
        let structure = AdversaryStructure::threshold(4, 1).expect("well-formed");
        let loose = Formula::threshold(1, 4);
        assert!(matches!(loose.check(&structure), Err(FormulaError::CorruptQualified(_))));
        let strict = Formula::threshold(4, 4);
        assert!(matches!(strict.check(&structure), Err(FormulaError::HonestUnqualified(_))));
    }
}
