//! The asynchronous configuration.

use crate::world::Sut;
use maftia_base::AdversaryStructure;
use maftia_sim::Builder;

/// `n` servers of which as many as possible may be corrupt.
pub(crate) fn structure(n: usize) -> AdversaryStructure {
    AdversaryStructure::optimal(n).expect("well-formed")
}

/// What the configuration adds to a group.
pub(crate) fn prepared(builder: Builder<Sut>, _n: usize, _seed: u64) -> Builder<Sut> {
    builder
}

/// What it adds to a server.
pub(crate) fn configured(replica: Sut) -> Sut {
    replica
}
