//! The ledger: counts and chains what it is given, so that anyone can check that every
//! acknowledged entry is there, and none twice.
//!
//! # Promise
//! - *Order*: the reply to an entry says its number and the digest of all entries up to it; two
//!   clients that hold the same digest were shown the same history.
//! - *Exactly once*: the sum of the digests of all entries does not depend on their order, so a
//!   client that knows what was entered can tell a lost or doubled entry from the sum alone.
//!
//! # Bounds
//! The state is 72 bytes, whatever is entered. Entries themselves are not kept: the order is.

use maftia_activity::{ApplyContext, Reply, StateMachine};
use maftia_base::Digest;
use maftia_base::wire::{Bytes, Wire, wire_struct};

/// The ledger after an entry, or when it was only read: state and reply in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// Number of entries.
    pub entries: u64,
    /// Digest of the chain of all entries in their order.
    pub chain: Digest,
    /// Sum of the digests of all entries, in any order.
    pub sum: Sum,
}

wire_struct!(Ledger { entries, chain, sum });

/// Sum of digests, as four 64-bit numbers that wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Sum([u64; 4]);

wire_struct!(Sum { 0 });

impl Sum {
    /// Adds an entry.
    pub fn add(&mut self, entry: &[u8]) {
        self.add_digest(digest_of(entry));
    }

    fn add_digest(&mut self, digest: Digest) {
        for (word, bytes) in self.0.iter_mut().zip(digest.0.as_chunks::<8>().0) {
            *word = word.wrapping_add(u64::from_le_bytes(*bytes));
        }
    }
}

fn digest_of(entry: &[u8]) -> Digest {
    Digest::of("maftia ledger entry", entry)
}

impl StateMachine for Ledger {
    /// Enters `request`; an empty one only reads. The reply is the encoding of the ledger.
    fn apply(&mut self, request: &[u8], _cx: &ApplyContext<'_>) -> Reply {
        if !request.is_empty() {
            self.entries += 1;
            let digest = digest_of(request);
            self.chain = Digest::of_encoded("maftia ledger chain", &(self.chain, digest));
            self.sum.add_digest(digest);
        }
        Reply::Plain(self.to_wire())
    }

    fn snapshot(&self) -> Bytes {
        self.to_wire()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        *self = Self::from_wire(snapshot).ok()?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_activity::{AgreedTime, Caller};
    use maftia_base::{AdversaryStructure, ServiceId};

    fn enter(ledger: &mut Ledger, entry: &[u8]) -> Ledger {
        let structure = AdversaryStructure::optimal(4).expect("well-formed");
        let cx = ApplyContext {
            time: AgreedTime::default(),
            batch_seed: Digest::default(),
            service: ServiceId(2),
            caller: Caller::Group,
            position: 0,
            structure: &structure,
        };
        let Reply::Plain(bytes) = ledger.apply(entry, &cx) else { panic!("a plain reply") };
        Ledger::from_wire(bytes).expect("the ledger's own encoding")
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_entry_show() {
        let enter_all = |entries: &[&[u8]]| {
            let mut ledger = Ledger::default();
            entries.iter().map(|entry| enter(&mut ledger, entry)).last().expect("some")
        };
        let right = enter_all(&[b"a", b"b"]);
        assert_ne!(right.sum, enter_all(&[b"a"]).sum);
        assert_ne!(right.sum, enter_all(&[b"a", b"b", b"b"]).sum);
        let swapped = enter_all(&[b"b", b"a"]);
        assert_eq!(right.sum, swapped.sum);
        assert_ne!(right.chain, swapped.chain);
    }

    #[test]
    fn reading_changes_nothing_and_a_snapshot_restores_everything() {
        let mut ledger = Ledger::default();
        let entered = enter(&mut ledger, b"entry");
        assert_eq!(enter(&mut ledger, b""), entered);
        let mut restored = Ledger::default();
        restored.restore(ledger.snapshot()).expect("a snapshot");
        assert_eq!(restored, ledger);
    }
}
