//! The hybrid configuration.

use crate::world::{Sim, Sut};
use maftia_agreement::hybrid::{Life, Member, Members};
use maftia_base::{AdversaryStructure, Party};
use maftia_crypto::{Attested, Done, Work, ideal};
use maftia_sim::Builder;
use maftia_sim::wormhole::{Tongue, Weather, Wormhole};
use maftia_ttcb_api::{BootKeys, EntityId, Sealed};
use std::cell::RefCell;
use std::rc::Rc;

/// The trusted components of a group, of which the simulation has the other end.
pub(crate) type Components = Rc<RefCell<Wormhole<Sut>>>;

thread_local! {
    /// Who the servers of the group that was prepared last are before the wormhole, and that.
    static PREPARED: RefCell<Option<(Members, Components)>> = const { RefCell::new(None) };
}

/// `n` servers of which as many as possible may be corrupt.
pub(crate) fn structure(n: usize) -> AdversaryStructure {
    AdversaryStructure::threshold(n, n.saturating_sub(1) / 2).expect("well-formed")
}

fn member((guard, life): ([u8; 32], Sealed<BootKeys>)) -> Member {
    Member { host: life.said.host, role: 0, guard, life: Life::from(&life.said) }
}

/// What the configuration adds to a group.
pub(crate) fn prepared(builder: Builder<Sut>, n: usize, seed: u64) -> Builder<Sut> {
    let tongue = Tongue {
        call: |work| match work {
            Work::Trusted(call) => *call,
            other => panic!("only calls are consulted: {other:?}"),
        },
        done: |answer| Done::Trusted(Box::new(answer)),
        key: |secret| *secret,
        seal: ideal::seal,
    };
    let wormhole = Wormhole::new(n, seed, Weather::default(), tongue);
    let members = Members::new(wormhole.lives().into_iter().map(member));
    let wormhole = Rc::new(RefCell::new(wormhole));
    PREPARED.set(Some((members, wormhole.clone())));
    builder.trusted(wormhole)
}

/// What it adds to a server.
pub(crate) fn configured(replica: Sut) -> Sut {
    let (members, _) = PREPARED.with_borrow(Clone::clone).expect("a group was prepared");
    replica.with_members(members)
}

/// The trusted components of the group that was prepared last.
pub(crate) fn components() -> Components {
    PREPARED.with_borrow(Clone::clone).expect("a group was prepared").1
}

/// As what the component of `party` answers now.
pub(crate) fn entity(components: &Components, party: Party) -> EntityId {
    member(components.borrow().lives()[party.index()]).entity()
}

/// The present life of the component of `party`.
pub(crate) fn life(components: &Components, party: Party) -> Attested<BootKeys> {
    Attested(components.borrow().lives()[party.index()].1)
}

/// The life with which `at` knows `party`.
pub(crate) fn known_life(sim: &Sim, at: Party, party: Party) -> Life {
    let members = sim.state(at).expect("up").members().expect("it is hybrid");
    members.member(party).expect("it is there").life
}
