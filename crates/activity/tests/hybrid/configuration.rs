//! The hybrid configuration.

use crate::world::Sut;
use maftia_agreement::hybrid::{Member, Members};
use maftia_base::AdversaryStructure;
use maftia_crypto::{Done, Work, ideal};
use maftia_sim::Builder;
use maftia_sim::wormhole::{Tongue, Weather, Wormhole};
use std::cell::RefCell;

thread_local! {
    /// Who the servers of the group that was prepared last are before the wormhole.
    static MEMBERS: RefCell<Option<Members>> = const { RefCell::new(None) };
}

/// `n` servers of which as many as possible may be corrupt.
pub(crate) fn structure(n: usize) -> AdversaryStructure {
    AdversaryStructure::threshold(n, n.saturating_sub(1) / 2).expect("well-formed")
}

/// What the configuration adds to a group.
pub(crate) fn prepared(builder: Builder<Sut>, n: usize, seed: u64) -> Builder<Sut> {
    let tongue = Tongue {
        call: |work| match work {
            Work::Trusted(call) => *call,
            other => panic!("only calls are consulted: {other:?}"),
        },
        done: |answer| Done::Trusted(Box::new(answer)),
        seal: ideal::seal,
    };
    let wormhole = Wormhole::new(n, seed, Weather::default(), tongue);
    let members = wormhole.members().into_iter().map(|(entity, key)| Member { entity, key });
    MEMBERS.set(Some(Members::new(members)));
    builder.trusted(wormhole)
}

/// What it adds to a server.
pub(crate) fn configured(replica: Sut) -> Sut {
    let members = MEMBERS.with_borrow(Clone::clone).expect("a group was prepared");
    replica.with_members(members)
}
