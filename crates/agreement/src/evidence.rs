//! From two conflicting signatures to transferable evidence.

use maftia_base::canary;
use maftia_base::wire::{Blob, Wire};
use maftia_base::{Fault, FaultKind, Party, PartySet, SignedStatement};
use maftia_crypto::{Claim, Done, Suite, Work};
use std::collections::BTreeMap;

/// Accusations of equivocation, each waiting for its two signatures to be checked.
///
/// At most one a party and lifetime of the instance: one proof is enough, and a liar must not make
/// us verify without end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Accusations<S: Suite> {
    open: BTreeMap<Party, [Claim<S>; 2]>,
    made: PartySet,
}

impl<S: Suite> Default for Accusations<S> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), made: PartySet::EMPTY }
    }
}

impl<S: Suite> Accusations<S> {
    /// The work of checking that one party signed both; `None` if it stands accused already.
    pub(crate) fn accuse(&mut self, first: Claim<S>, second: Claim<S>) -> Option<Work<S>> {
        assert_eq!(first.party, second.party, "one party is accused of both statements");
        let party = first.party;
        if !first.statement.conflicts_with(&second.statement) || !self.made.insert(party) {
            return None;
        }
        let work = Work::Verify(vec![first.clone(), second.clone()]);
        self.open.insert(party, [first, second]);
        Some(work)
    }

    /// The fault of `party` now that the signatures are checked: with evidence if both hold, else
    /// a suspicion, since it came from `party` over its own link.
    pub(crate) fn judge(&mut self, party: Party, done: &Done<S>) -> Option<Fault> {
        let [first, second] = self.open.remove(&party)?;
        if canary!("evidence-unchecked", true, all_hold(done)) {
            return Some(Fault::conflict(party, signed(&first), signed(&second)));
        }
        Some(Fault::suspected(party, FaultKind::Equivocation))
    }

    /// Number of accusations that wait.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

/// Did every claim of a verification hold?
pub(crate) fn all_hold<S: Suite>(done: &Done<S>) -> bool {
    matches!(done, Done::Verified(verdicts) if verdicts.iter().all(|holds| *holds))
}

fn signed<S: Suite>(claim: &Claim<S>) -> SignedStatement {
    let signature = Blob::new(claim.signature.to_wire())
        .expect("a suite's signature encodes to at most 128 bytes");
    SignedStatement { statement: claim.statement, signature }
}
