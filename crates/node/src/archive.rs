//! Where in the log a record is that a peer may ask for long after it left memory.
//!
//! # Promise
//! A record that was appended with a key is found under it, in memory of 8 bytes for each height
//! of a shelf.
//! # Bounds
//! Heights of one shelf are dense in an honest run: a shelf takes memory for gaps only up to
//! [`GAP_MAX`] heights beyond its end; what lies further is kept in a map of its own until then.

use std::collections::BTreeMap;

/// A gap of more heights than this is not filled with empty places.
const GAP_MAX: u64 = 4096;

/// An empty place.
const NOWHERE: u64 = u64::MAX;

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
    shelves: BTreeMap<Shelf, Places>,
}

#[derive(Debug, Default)]
struct Places {
    dense: Vec<u64>,
    sparse: BTreeMap<u64, u64>,
}

impl ArchiveIndex {
    /// Notes that the record called `key` is at `position`; the last one counts.
    pub fn insert(&mut self, key: ArchiveKey, position: u64) {
        let places = self.shelves.entry(key.shelf).or_default();
        let end = places.dense.len() as u64;
        if key.height >= end.saturating_add(GAP_MAX) {
            places.sparse.insert(key.height, position);
            return;
        }
        if key.height >= end {
            let len = usize::try_from(key.height).expect("within a gap of a vector's length") + 1;
            places.dense.resize(len, NOWHERE);
        }
        places.dense[key.height as usize] = position;
    }

    /// Where the record called `key` is.
    pub fn position(&self, key: ArchiveKey) -> Option<u64> {
        let places = self.shelves.get(&key.shelf)?;
        let dense = usize::try_from(key.height).ok().and_then(|height| places.dense.get(height));
        dense
            .copied()
            .filter(|position| *position != NOWHERE)
            .or_else(|| places.sparse.get(&key.height).copied())
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
        for height in [3, 0, 1, 9] {
            index.insert(key(2, height), height * 10);
        }
        index.insert(key(2, 3), 77);
        assert_eq!(index.position(key(2, 3)), Some(77), "the last one counts");
        assert_eq!(index.position(key(2, 9)), Some(90));
        assert_eq!(index.position(key(2, 2)), None);
        assert_eq!(index.position(key(1, 3)), None);
    }

    #[test]
    fn a_height_far_ahead_takes_no_memory_for_the_gap() {
        let mut index = ArchiveIndex::default();
        index.insert(key(0, u64::MAX - 1), 5);
        index.insert(key(0, 0), 6);
        assert_eq!(index.position(key(0, u64::MAX - 1)), Some(5));
        assert_eq!(index.position(key(0, 0)), Some(6));
        assert!(index.shelves[&key(0, 0).shelf].dense.len() <= 1);
    }
}
