//! Which sets of servers may be corrupt at once, and the questions that protocols ask about it.

use crate::canary;
use crate::{PARTIES_MAX, Party, PartySet};
use thiserror::Error;

/// Most maximal corruptible sets of a general structure; bounds the cost of each question.
pub const CORRUPTIBLE_SETS_MAX: usize = 512;

/// Which sets of parties may be corrupt at the same time (an *adversary structure*, Hirt-Maurer).
///
/// Protocols never count servers: they ask [`is_quorum`](Self::is_quorum),
/// [`has_honest`](Self::has_honest) and [`has_honest_quorum`](Self::has_honest_quorum).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdversaryStructure {
    n: usize,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shape {
    /// Any `f` parties.
    Threshold { f: usize },
    /// Any subset of one of these; an antichain, sorted.
    General { maximal: Vec<PartySet> },
}

/// An attribute of servers, such as their site, with the servers that share each of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name, for example `site`.
    pub name: String,
    /// Value, for example `zurich`, and the servers that have it.
    pub classes: Vec<(String, PartySet)>,
}

/// Why a structure is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StructureError {
    /// No server, or more than the bound.
    #[error("a group has 1 to {PARTIES_MAX} servers, not {0}")]
    Size(usize),
    /// A set names a server that does not exist.
    #[error("the set {0:?} names a server that the group does not have")]
    Unknown(PartySet),
    /// More maximal sets than can be handled.
    #[error("the structure has {0} maximal corruptible sets; {CORRUPTIBLE_SETS_MAX} are supported")]
    TooMany(usize),
    /// Three sets that may be corrupt cover the group: no asynchronous agreement exists.
    #[error(
        "Q3 violated: {0:?}, {1:?} and {2:?} may each be corrupt and together they are the whole \
         group; the asynchronous configuration needs that no three corruptible sets cover it \
         (n >= 3f+1)"
    )]
    Q3(PartySet, PartySet, PartySet),
    /// Two sets that may be corrupt cover the group: not even the hybrid configuration works.
    #[error(
        "Q2 violated: {0:?} and {1:?} may each be corrupt and together they are the whole group; \
         the hybrid configuration needs that no two corruptible sets cover it (n >= 2f+1)"
    )]
    Q2(PartySet, PartySet),
}

impl AdversaryStructure {
    /// Any `f` of `n` servers.
    pub fn threshold(n: usize, f: usize) -> Result<Self, StructureError> {
        if n == 0 || n > PARTIES_MAX || f > n {
            return Err(StructureError::Size(n));
        }
        Ok(Self { n, shape: Shape::Threshold { f } })
    }

    /// The largest `f` that `n` servers survive asynchronously: `(n - 1) / 3`.
    pub fn optimal(n: usize) -> Result<Self, StructureError> {
        Self::threshold(n, n.saturating_sub(1) / 3)
    }

    /// Any subset of any one of `sets`.
    pub fn general(n: usize, sets: &[PartySet]) -> Result<Self, StructureError> {
        if n == 0 || n > PARTIES_MAX {
            return Err(StructureError::Size(n));
        }
        let all = PartySet::all(n);
        if let Some(stray) = sets.iter().find(|set| !set.is_subset(all)) {
            return Err(StructureError::Unknown(*stray));
        }
        let mut maximal: Vec<PartySet> = Vec::new();
        for set in sets {
            if maximal.iter().any(|larger| set.is_subset(*larger)) {
                continue;
            }
            maximal.retain(|smaller| !smaller.is_subset(*set));
            maximal.push(*set);
            if maximal.len() > CORRUPTIBLE_SETS_MAX {
                return Err(StructureError::TooMany(maximal.len()));
            }
        }
        if maximal.is_empty() {
            maximal.push(PartySet::EMPTY);
        }
        maximal.sort();
        Ok(Self { n, shape: Shape::General { maximal } })
    }

    /// One alternative of a structure built from attributes: all servers of any `count` values of
    /// each attribute named, together. For example `[(site, 1), (os, 1)]`: all servers of any one
    /// site, and with them all servers of any one operating system.
    pub fn from_attributes(
        n: usize,
        together: &[(&Attribute, usize)],
    ) -> Result<Self, StructureError> {
        let mut sets = vec![PartySet::EMPTY];
        for (attribute, count) in together {
            let choices = unions_of(&attribute.classes, *count);
            let mut next = Vec::new();
            for set in &sets {
                next.extend(choices.iter().map(|choice| set.union(*choice)));
                if next.len() > CORRUPTIBLE_SETS_MAX * 16 {
                    return Err(StructureError::TooMany(next.len()));
                }
            }
            sets = next;
        }
        Self::general(n, &sets)
    }

    /// Number of parties.
    pub fn n(&self) -> usize {
        self.n
    }

    /// `f`, if any `f` parties may be corrupt; `None` for a general structure.
    pub fn threshold_f(&self) -> Option<usize> {
        match self.shape {
            Shape::Threshold { f } => Some(f),
            Shape::General { .. } => None,
        }
    }

    /// The size of the largest corruptible set.
    pub fn largest(&self) -> usize {
        match &self.shape {
            Shape::Threshold { f } => *f,
            Shape::General { maximal } => maximal.iter().map(|set| set.len()).max().unwrap_or(0),
        }
    }

    /// The maximal corruptible sets; for a threshold structure all sets of size `f`.
    pub fn maximal_sets(&self) -> Vec<PartySet> {
        match &self.shape {
            Shape::Threshold { f } => subsets_of_size(self.n, *f),
            Shape::General { maximal } => maximal.clone(),
        }
    }

    /// May exactly these parties be corrupt at once?
    pub fn may_be_corrupt(&self, set: PartySet) -> bool {
        match &self.shape {
            Shape::Threshold { f } => set.len() <= *f,
            Shape::General { maximal } => maximal.iter().any(|larger| set.is_subset(*larger)),
        }
    }

    /// May all parties outside `set` be corrupt? One must not wait for more. (`n - f`)
    pub fn is_quorum(&self, set: PartySet) -> bool {
        let missing = PartySet::all(self.n).difference(set);
        canary!(
            "structure-quorum-short",
            missing.len() <= self.largest() + 1,
            self.may_be_corrupt(missing)
        )
    }

    /// Is at least one of `set` honest, whatever the adversary chose? (`f + 1`)
    pub fn has_honest(&self, set: PartySet) -> bool {
        canary!("structure-counts-only", set.len() >= self.largest(), !self.may_be_corrupt(set))
    }

    /// Do the honest ones in `set` alone satisfy [`has_honest`](Self::has_honest)? That is: no two
    /// corruptible sets cover it. (`2f + 1`)
    pub fn has_honest_quorum(&self, set: PartySet) -> bool {
        match &self.shape {
            Shape::Threshold { f } => set.len() > 2 * f,
            Shape::General { maximal } => {
                maximal.iter().all(|corrupt| self.has_honest(set.difference(*corrupt)))
            }
        }
    }

    /// Refuses a structure in which three corruptible sets cover the group.
    pub fn check_q3(&self) -> Result<(), StructureError> {
        let all = PartySet::all(self.n);
        if let Shape::Threshold { f } = self.shape {
            if self.n > 3 * f {
                return Ok(());
            }
            let [a, b, c] = [0, 1, 2].map(|part| slice(self.n, part * f, f));
            return Err(StructureError::Q3(a, b, c));
        }
        let maximal = self.maximal_sets();
        for (i, a) in maximal.iter().enumerate() {
            for b in maximal.iter().skip(i) {
                let rest = all.difference(a.union(*b));
                if let Some(c) = maximal.iter().find(|c| rest.is_subset(**c)) {
                    return Err(StructureError::Q3(*a, *b, *c));
                }
            }
        }
        Ok(())
    }

    /// Refuses a structure in which two corruptible sets cover the group.
    pub fn check_q2(&self) -> Result<(), StructureError> {
        let all = PartySet::all(self.n);
        if let Shape::Threshold { f } = self.shape {
            if self.n > 2 * f {
                return Ok(());
            }
            return Err(StructureError::Q2(slice(self.n, 0, f), slice(self.n, f, f)));
        }
        let maximal = self.maximal_sets();
        for a in &maximal {
            let rest = all.difference(*a);
            if let Some(b) = maximal.iter().find(|b| rest.is_subset(**b)) {
                return Err(StructureError::Q2(*a, *b));
            }
        }
        Ok(())
    }
}

/// Up to `len` parties from `start`, within `n`.
fn slice(n: usize, start: usize, len: usize) -> PartySet {
    (start..n.min(start + len)).map(Party::new).collect()
}

/// Unions of every choice of `count` classes.
fn unions_of(classes: &[(String, PartySet)], count: usize) -> Vec<PartySet> {
    if count == 0 || classes.is_empty() {
        return vec![PartySet::EMPTY];
    }
    let mut unions = Vec::new();
    for (i, (_, class)) in classes.iter().enumerate() {
        for rest in unions_of(&classes[i + 1..], count - 1) {
            unions.push(class.union(rest));
        }
    }
    unions
}

/// All sets of `size` of the first `n` parties.
fn subsets_of_size(n: usize, size: usize) -> Vec<PartySet> {
    fn grow(from: usize, n: usize, left: usize, set: PartySet, found: &mut Vec<PartySet>) {
        if left == 0 {
            found.push(set);
            return;
        }
        for index in from..=n.saturating_sub(left) {
            let mut larger = set;
            larger.insert(Party::new(index));
            grow(index + 1, n, left - 1, larger, found);
        }
    }
    let mut found = Vec::new();
    if size <= n {
        grow(0, n, size, PartySet::EMPTY, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(indices: &[usize]) -> PartySet {
        indices.iter().map(|index| Party::new(*index)).collect()
    }

    /// 16 servers, one for each pair of site and operating system.
    fn textbook() -> AdversaryStructure {
        let classes = |of: fn(usize) -> usize| {
            (0..4)
                .map(|value| {
                    let members = (0..16).filter(|i| of(*i) == value).map(Party::new).collect();
                    (value.to_string(), members)
                })
                .collect()
        };
        let site = Attribute { name: "site".into(), classes: classes(|i| i / 4) };
        let os = Attribute { name: "os".into(), classes: classes(|i| i % 4) };
        AdversaryStructure::from_attributes(16, &[(&site, 1), (&os, 1)]).expect("well-formed")
    }

    #[test]
    fn threshold_questions_are_the_textbook_counts() {
        let structure = AdversaryStructure::optimal(7).expect("well-formed");
        for size in 0..=7 {
            let some = PartySet::all(size);
            assert_eq!(structure.is_quorum(some), size >= 5);
            assert_eq!(structure.has_honest(some), size >= 3);
            assert_eq!(structure.has_honest_quorum(some), size >= 5);
        }
    }

    #[test]
    fn a_threshold_structure_answers_as_the_general_one_with_the_same_sets() {
        let threshold = AdversaryStructure::threshold(5, 1).expect("well-formed");
        let general =
            AdversaryStructure::general(5, &threshold.maximal_sets()).expect("well-formed");
        for bits in 0u64..32 {
            let some = set(&(0..5).filter(|i| bits & (1 << i) != 0).collect::<Vec<_>>());
            assert_eq!(threshold.is_quorum(some), general.is_quorum(some));
            assert_eq!(threshold.has_honest(some), general.has_honest(some));
            assert_eq!(threshold.has_honest_quorum(some), general.has_honest_quorum(some));
        }
    }

    #[test]
    fn sixteen_servers_survive_a_whole_site_and_a_whole_operating_system() {
        let structure = textbook();
        assert_eq!(structure.check_q3(), Ok(()));
        assert_eq!(structure.largest(), 7);
        let site_0_and_os_0 = set(&[0, 1, 2, 3, 4, 8, 12]);
        assert!(structure.may_be_corrupt(site_0_and_os_0));
        assert!(
            !structure.may_be_corrupt(set(&[0, 1, 4, 5, 10])),
            "five on a diagonal are too many"
        );
        assert!(structure.is_quorum(PartySet::all(16).difference(site_0_and_os_0)));
    }

    #[test]
    fn q3_violations_name_the_offending_sets() {
        let three = AdversaryStructure::threshold(3, 1).expect("well-formed");
        assert_eq!(three.check_q3(), Err(StructureError::Q3(set(&[0]), set(&[1]), set(&[2]))));
        assert_eq!(three.check_q2(), Ok(()));
        let sets = [set(&[0, 1]), set(&[2, 3]), set(&[4])];
        let general = AdversaryStructure::general(5, &sets).expect("well-formed");
        let Err(StructureError::Q3(a, b, c)) = general.check_q3() else {
            panic!("the three sets cover the group");
        };
        assert_eq!(a.union(b).union(c), PartySet::all(5));
    }

    #[test]
    fn a_group_of_one_works_and_tolerates_nobody() {
        let alone = AdversaryStructure::optimal(1).expect("well-formed");
        assert_eq!(alone.check_q3(), Ok(()));
        assert!(alone.is_quorum(set(&[0])) && alone.has_honest(set(&[0])));
        assert!(!alone.is_quorum(PartySet::EMPTY));
    }

    #[test]
    fn sets_that_name_unknown_servers_are_refused() {
        assert_eq!(
            AdversaryStructure::general(4, &[set(&[5])]),
            Err(StructureError::Unknown(set(&[5])))
        );
    }
}
