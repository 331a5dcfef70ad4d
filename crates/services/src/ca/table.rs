//! A map with a bound, which is one value with one encoding.

use maftia_base::wire::{self, Buf, BufMut, EncodeSize, RangeCfg, Read, Wire, Write};
use std::collections::BTreeMap;
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
