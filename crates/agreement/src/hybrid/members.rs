//! Who a server is before the wormhole, and by which key its trusted component is known.

use maftia_base::wire::{List, wire_struct};
use maftia_base::{Party, PartySet};
use maftia_crypto::{Attested, SealClaim};
use maftia_ttcb_api::{Elist, EntityId, HOSTS_MAX, Identifier};
use std::sync::Arc;

/// A server, as the wormhole knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Its entity, in the present life of its trusted component.
    pub entity: EntityId,
    /// The key of that life.
    pub key: [u8; 32],
}

/// The members of an epoch, in the order of the parties. An ordered decision admits another life
/// of a component, and with it another epoch begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Members(Arc<[Member]>);

impl Members {
    /// Wraps `members`, one a party.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let members: Arc<[Member]> = members.into_iter().collect();
        assert!(members.len() <= HOSTS_MAX, "a wormhole has at most {HOSTS_MAX} hosts");
        Self(members)
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The member that is `party`.
    pub fn member(&self, party: Party) -> Option<&Member> {
        self.0.get(party.index())
    }

    /// These parties as the trusted components name them, `first` before the others; `None` if one
    /// of them is no member, or the components cannot take such a list.
    pub(super) fn elist(&self, first: Option<Party>, parties: PartySet) -> Option<Elist> {
        let rest = parties.iter().filter(|party| Some(*party) != first);
        let entities: Option<Vec<EntityId>> = first
            .into_iter()
            .chain(rest)
            .map(|party| self.member(party).map(|member| member.entity))
            .collect();
        Elist::new(&entities?)
    }

    /// The claim that this identifier is of `party`; `None` if it does not even say so.
    pub fn claim(
        &self,
        party: Party,
        counter: u8,
        identifier: &Attested<Identifier>,
    ) -> Option<SealClaim> {
        let member = self.0.get(party.index())?;
        let said = &identifier.0.said;
        let named = (said.entity, said.counter) == (member.entity, counter);
        named.then(|| identifier.claim(member.key))
    }
}

/// Identifiers of different parties.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cast {
    pub(super) party: Party,
    pub(super) identifier: Attested<Identifier>,
}

wire_struct!(Cast { party, identifier });

/// At most one of each host.
pub(super) type Casts = List<Cast, HOSTS_MAX>;
