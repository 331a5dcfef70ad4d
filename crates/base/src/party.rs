use crate::wire::{self, Buf, BufMut, FixedSize, Read, Write};
use std::fmt;

/// Most parties that a group can have.
pub const PARTIES_MAX: usize = 64;

/// One server of a group, by its position in the group's configuration (0-based).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(u8);

impl Party {
    /// The party at `index`, which must be below [`PARTIES_MAX`].
    pub fn new(index: usize) -> Self {
        assert!(index < PARTIES_MAX, "a party's index is below {PARTIES_MAX}");
        Self(index as u8)
    }

    /// Position in the group's configuration.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FixedSize for Party {
    const SIZE: usize = 1;
}

impl Write for Party {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl Read for Party {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let index = u8::read_cfg(buf, &())?;
        if usize::from(index) >= PARTIES_MAX {
            return Err(wire::Error::Invalid("Party", "index out of range"));
        }
        Ok(Self(index))
    }
}

/// A set of parties, as a bitmap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartySet(u64);

wire::wire_struct!(PartySet { 0 });

impl PartySet {
    /// No party.
    pub const EMPTY: Self = Self(0);

    /// The first `n` parties.
    pub fn all(n: usize) -> Self {
        assert!(n <= PARTIES_MAX, "a group has at most {PARTIES_MAX} parties");
        if n == PARTIES_MAX { Self(u64::MAX) } else { Self((1 << n) - 1) }
    }

    /// Adds `party`; true if it was not in the set.
    pub fn insert(&mut self, party: Party) -> bool {
        let before = self.0;
        self.0 |= 1 << party.0;
        self.0 != before
    }

    /// Removes `party`; true if it was in the set.
    pub fn remove(&mut self, party: Party) -> bool {
        let before = self.0;
        self.0 &= !(1 << party.0);
        self.0 != before
    }

    /// Is `party` in the set?
    pub fn contains(self, party: Party) -> bool {
        self.0 & (1 << party.0) != 0
    }

    /// Number of parties in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True for the empty set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Parties in either set.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Parties in both sets.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Parties in this set and not in `other`.
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Is every party of this set in `other`?
    pub fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The parties, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Party> {
        (0..PARTIES_MAX as u8).map(Party).filter(move |party| self.contains(*party))
    }
}

impl FromIterator<Party> for PartySet {
    fn from_iter<I: IntoIterator<Item = Party>>(parties: I) -> Self {
        let mut set = Self::EMPTY;
        for party in parties {
            set.insert(party);
        }
        set
    }
}

impl fmt::Debug for PartySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
