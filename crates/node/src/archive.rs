//! Where in the log a record is that a peer may ask for long after it left memory.
//!
//! # Promise
//! A record that was appended with a key is found under it, until the log is cut behind it.
//! # Bounds
//! One entry for each record in the log that has a key: what is cut from the log is forgotten here,
//! and heights that nobody wrote take nothing.

use std::collections::BTreeMap;

/// A series of archived records: for example the batches of one lane in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shelf {
    /// What kind of record.
    pub kind: u8,
    /// The epoch that they belong to.
    pub epoch: u64,
    /// Which series of that kind and epoch, for example the lane.
    pub series: u64,
}

/// Name of one archived record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveKey {
    /// The series.
    pub shelf: Shelf,
    /// The place in the series.
    pub height: u64,
}

/// Positions in the log of all records that have a key.
#[derive(Debug, Default)]
pub struct ArchiveIndex {
    shelves: BTreeMap<Shelf, BTreeMap<u64, u64>>,
}

impl ArchiveIndex {
    /// Notes that the record called `key` is at `position`; the last one counts.
    pub fn insert(&mut self, key: ArchiveKey, position: u64) {
        self.shelves.entry(key.shelf).or_default().insert(key.height, position);
    }

    /// Where the record called `key` is.
    pub fn position(&self, key: ArchiveKey) -> Option<u64> {
        self.shelves.get(&key.shelf)?.get(&key.height).copied()
    }

    /// Forgets every record before `start`.
    pub fn forget(&mut self, start: u64) {
        self.shelves.retain(|_, heights| {
            heights.retain(|_, position| *position >= start);
            !heights.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(series: u64, height: u64) -> ArchiveKey {
        ArchiveKey { shelf: Shelf { kind: 0, epoch: 1, series }, height }
    }

    #[test]
    fn finds_what_was_put_there_and_nothing_else() {
        let mut index = ArchiveIndex::default();
        for height in [3, 0, 1, u64::MAX] {
            index.insert(key(2, height), height / 2);
        }
        index.insert(key(2, 3), 77);
        assert_eq!(index.position(key(2, 3)), Some(77), "the last one counts");
        assert_eq!(index.position(key(2, u64::MAX)), Some(u64::MAX / 2));
        assert_eq!(index.position(key(2, 2)), None);
        assert_eq!(index.position(key(1, 3)), None);
    }

    #[test]
    fn what_is_cut_is_forgotten_and_what_was_noted_again_is_not() {
        let mut index = ArchiveIndex::default();
        for height in 0..10 {
            index.insert(key(height % 2, height), height);
        }
        index.insert(key(0, 4), 20);
        index.forget(7);
        let found = (0..10).filter(|height| index.position(key(height % 2, *height)).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [4, 7, 8, 9]);
        index.forget(20);
        assert_eq!(index.position(key(0, 4)), Some(20));
    }

    #[test]
    fn memory_is_bounded_by_what_is_in_the_log() {
        let mut index = ArchiveIndex::default();
        for position in 0..100_000 {
            index.insert(key(position / 100, position), position);
            if position % 1_000 == 0 {
                index.forget(position.saturating_sub(50));
                assert!(index.shelves.len() <= 2, "empty shelves go");
            }
            assert!(index.shelves.values().map(BTreeMap::len).sum::<usize>() <= 1_051);
        }
    }
}
