//! Maps and sets with a bound: one value has one encoding.

use maftia_base::wire::{self, Buf, BufMut, EncodeSize, RangeCfg, Read, Wire, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// At most `MAX` entries, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Table<K, V, const MAX: usize>(BTreeMap<K, V>);

impl<K, V, const MAX: usize> Default for Table<K, V, MAX> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V, const MAX: usize> Table<K, V, MAX> {
    /// Is there no room for another entry?
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX
    }

    /// Enters or replaces; callers see to it that there is room.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.0.insert(key, value);
        assert!(self.0.len() <= MAX, "whoever enters something has looked whether there is room");
        before
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        self.0.pop_first()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain(keep);
    }
}

impl<K, V, const MAX: usize> Deref for Table<K, V, MAX> {
    type Target = BTreeMap<K, V>;
    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<K: Write, V: Write, const MAX: usize> Write for Table<K, V, MAX> {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.len().write(buf);
        for (key, value) in &self.0 {
            key.write(buf);
            value.write(buf);
        }
    }
}

impl<K: EncodeSize, V: EncodeSize, const MAX: usize> EncodeSize for Table<K, V, MAX> {
    fn encode_size(&self) -> usize {
        let entries = self.0.iter().map(|(key, value)| key.encode_size() + value.encode_size());
        self.0.len().encode_size() + entries.sum::<usize>()
    }
}

impl<K: Wire + Ord, V: Wire, const MAX: usize> Read for Table<K, V, MAX> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let len = usize::read_cfg(buf, &RangeCfg::from(0..=MAX))?;
        let mut entries = BTreeMap::new();
        for _ in 0..len {
            let key = K::read_cfg(buf, &())?;
            if entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(wire::Error::Invalid("Table", "its keys do not ascend"));
            }
            entries.insert(key, V::read_cfg(buf, &())?);
        }
        Ok(Self(entries))
    }
}

/// At most `MAX` items, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Set<T, const MAX: usize>(BTreeSet<T>);

impl<T, const MAX: usize> Default for Set<T, MAX> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord, const MAX: usize> Set<T, MAX> {
    /// Enters an item; callers see to it that there is room. Answers whether it is new.
    pub(super) fn insert(&mut self, item: T) -> bool {
        let is_new = self.0.insert(item);
        assert!(self.0.len() <= MAX, "whoever enters something has looked whether there is room");
        is_new
    }

    pub(super) fn remove(&mut self, item: &T) -> bool {
        self.0.remove(item)
    }

    pub(super) fn pop_first(&mut self) -> Option<T> {
        self.0.pop_first()
    }
}

impl<T, const MAX: usize> Deref for Set<T, MAX> {
    type Target = BTreeSet<T>;
    fn deref(&self) -> &BTreeSet<T> {
        &self.0
    }
}

impl<T: Write, const MAX: usize> Write for Set<T, MAX> {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.len().write(buf);
        self.0.iter().for_each(|item| item.write(buf));
    }
}

impl<T: EncodeSize, const MAX: usize> EncodeSize for Set<T, MAX> {
    fn encode_size(&self) -> usize {
        self.0.len().encode_size() + self.0.iter().map(EncodeSize::encode_size).sum::<usize>()
    }
}

impl<T: Wire + Ord, const MAX: usize> Read for Set<T, MAX> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let len = usize::read_cfg(buf, &RangeCfg::from(0..=MAX))?;
        let mut items = BTreeSet::new();
        for _ in 0..len {
            let item = T::read_cfg(buf, &())?;
            if items.last().is_some_and(|last| *last >= item) {
                return Err(wire::Error::Invalid("Set", "its items do not ascend"));
            }
            items.insert(item);
        }
        Ok(Self(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::wire::Bytes;

    fn bytes(items: &[u8]) -> Bytes {
        Bytes::copy_from_slice(items)
    }

    #[test]
    fn a_table_and_a_set_are_encoded_in_one_way() {
        let mut table = Table::<u8, bool, 2>::default();
        table.insert(7, true);
        table.insert(3, false);
        assert!(table.is_full());
        assert_eq!(table.to_wire(), bytes(&[2, 3, 0, 7, 1]));
        assert_eq!(Table::from_wire(table.to_wire()).expect("round trip"), table);
        let mut set = Set::<u8, 2>::default();
        assert!(set.insert(7) && set.insert(3) && !set.insert(7));
        assert_eq!(set.to_wire(), bytes(&[2, 3, 7]));
        assert_eq!(Set::from_wire(set.to_wire()).expect("round trip"), set);
    }

    #[test]
    fn what_does_not_ascend_or_is_too_much_is_refused() {
        for wrong in [&[2, 7, 1, 3, 0][..], &[2, 3, 0, 3, 0], &[3, 1, 0, 2, 0, 3, 0], &[1, 1, 2]] {
            assert!(Table::<u8, bool, 2>::from_wire(bytes(wrong)).is_err(), "{wrong:?}");
        }
        for wrong in [&[2, 7, 3][..], &[2, 3, 3], &[3, 1, 2, 3]] {
            assert!(Set::<u8, 2>::from_wire(bytes(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    #[should_panic(expected = "whether there is room")]
    fn nothing_is_entered_beyond_the_bound() {
        let mut table = Table::<u8, bool, 1>::default();
        table.insert(1, true);
        table.insert(2, true);
    }
}
