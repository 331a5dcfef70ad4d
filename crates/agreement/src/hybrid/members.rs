//! Who a server is before the wormhole, and by which key its trusted component is known.
//!
//! # Promise
//! - *One life at a time*: a member's identifiers are those of one life of its component; no other
//!   life's count.
//! - *Forward only*: a life follows another only if the component's key guard counted it later. So
//!   a life that was closed never comes back, whoever replays its certificate.
//!
//! # Why it holds
//! A component makes its key when it boots, and forgets it when it stops; the key guard of its
//! host certifies the key with a number that grows from boot to boot ([`BootKeys::epoch`]). If the
//! guard's own state is rolled back, new lives have old numbers, and none of them is admitted:
//! what is lost is the host and not safety.

use maftia_base::wire::{List, wire_struct};
use maftia_base::{Party, PartySet};
use maftia_crypto::{Attested, SealClaim};
use maftia_ttcb_api::{Boot, BootKeys, Elist, EntityId, HOSTS_MAX, Host, Identifier};
use std::sync::Arc;

/// A life of a trusted component, as far as a group must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The number that the host's key guard gave to the boot: greater than at any before.
    pub number: u64,
    /// The key that the component made when it booted, with which it signs.
    pub key: [u8; 32],
}

wire_struct!(Life { number, key });

impl From<&BootKeys> for Life {
    fn from(keys: &BootKeys) -> Self {
        Self { number: keys.epoch, key: keys.signing }
    }
}

impl Life {
    /// The part of it that entities name.
    pub fn boot(&self) -> Boot {
        Boot::of_key(&self.key)
    }
}

/// A server, as the wormhole knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Its host; fixed by the configuration.
    pub host: Host,
    /// Which process of the host it is; fixed by the configuration.
    pub role: u8,
    /// The public key of the host's key guard, which certifies lives; fixed by the configuration.
    pub guard: [u8; 32],
    /// The present life of its trusted component: this alone changes, with an epoch.
    pub life: Life,
}

impl Member {
    /// The process that has `role` beside the component of this life, which `guard` certified.
    pub fn of(life: &BootKeys, role: u8, guard: [u8; 32]) -> Self {
        Self { host: life.host, role, guard, life: Life::from(life) }
    }

    /// Its entity, in the present life of its trusted component.
    pub fn entity(&self) -> EntityId {
        EntityId { host: self.host, role: self.role, boot: self.life.boot() }
    }

    /// The claim that its guard certified this life; `None` if it does not even say so, because it
    /// is a life on another host.
    pub fn life_claim(&self, life: &Attested<BootKeys>) -> Option<SealClaim> {
        (life.0.said.host == self.host).then(|| life.claim(self.guard))
    }

    /// May this life, which its guard certified, take the place of the present one?
    pub fn may_become(&self, life: &Life) -> bool {
        life.number > self.life.number && life.boot() != self.life.boot()
    }
}

/// By what the rounds of a group are agreed on: the same for all of its servers, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OrderedBy {
    /// In views, by unique sequential identifiers: see [`views`](super::views).
    #[default]
    Identifiers,
    /// By the wormhole's ordering service: see [`placed`](super::placed).
    Service,
}

/// The members of an epoch, in the order of the parties. An ordered decision admits another life
/// of a component, and with it another epoch begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Members {
    members: Arc<[Member]>,
    ordered_by: OrderedBy,
}

impl Members {
    /// Wraps `members`, one a party.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let members: Arc<[Member]> = members.into_iter().collect();
        assert!(members.len() <= HOSTS_MAX, "a wormhole has at most {HOSTS_MAX} hosts");
        Self { members, ordered_by: OrderedBy::default() }
    }

    /// The same, ordered by that.
    #[must_use]
    pub fn ordering_by(self, ordered_by: OrderedBy) -> Self {
        Self { ordered_by, ..self }
    }

    /// By what their rounds are agreed on.
    pub fn ordered_by(&self) -> OrderedBy {
        self.ordered_by
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// One of them.
    pub fn member(&self, party: Party) -> Option<&Member> {
        self.members.get(party.index())
    }

    /// All of them, in the order of the parties.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The same servers, with other lives in the place of their own, in the order of the parties;
    /// `None` if these are not as many.
    #[must_use]
    pub fn with_lives(&self, lives: &[Life]) -> Option<Self> {
        let pairs = self.members.iter().zip(lives);
        let members = pairs.map(|(member, life)| Member { life: *life, ..*member });
        (lives.len() == self.n()).then(|| Self::new(members).ordering_by(self.ordered_by))
    }

    /// Does this entity speak for `party` in its present life?
    pub fn is_present(&self, party: Party, entity: EntityId) -> bool {
        self.member(party).is_some_and(|member| member.entity() == entity)
    }

    /// These parties as the trusted components name them, `first` before the others; `None` if one
    /// of them is no member, or the components cannot take such a list.
    pub(super) fn elist(&self, first: Option<Party>, parties: PartySet) -> Option<Elist> {
        let rest = parties.iter().filter(|party| Some(*party) != first);
        let entities: Option<Vec<EntityId>> = first
            .into_iter()
            .chain(rest)
            .map(|party| self.member(party).map(|member| member.entity()))
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
        let member = self.member(party)?;
        let said = &identifier.0.said;
        let named = self.is_present(party, said.entity) && said.counter == counter;
        named.then(|| identifier.claim(member.life.key))
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

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_ttcb_api::{Sealed, Statement};

    fn life(number: u64) -> Life {
        Life { number, key: [number as u8; 32] }
    }

    fn member() -> Member {
        Member { host: Host(1), role: 0, guard: [7; 32], life: life(5) }
    }

    #[test]
    fn only_a_later_life_with_a_key_of_its_own_takes_the_place_of_one() {
        assert!(member().may_become(&life(6)));
        assert!(!member().may_become(&life(5)), "it is the present one");
        assert!(!member().may_become(&life(4)), "it was closed");
        assert!(!member().may_become(&Life { number: 6, ..life(5) }), "it is no other life");
    }

    #[test]
    fn a_life_is_claimed_with_the_guard_of_its_own_host() {
        let said = BootKeys { host: Host(1), epoch: 6, signing: [6; 32], exchange: [0; 32] };
        let certified = |said: BootKeys| Attested(Sealed { said, seal: [0; 64] });
        let claim = member().life_claim(&certified(said)).expect("it is on this host");
        assert_eq!((claim.key, claim.digest), ([7; 32], said.digest()));
        assert!(member().life_claim(&certified(BootKeys { host: Host(2), ..said })).is_none());
    }

    #[test]
    fn identifiers_of_another_life_are_not_even_claimed() {
        let (party, members) = (Party::new(0), Members::new([member()]));
        let next = members.with_lives(&[life(6)]).expect("as many");
        let said = Identifier { entity: member().entity(), ..Identifier::default() };
        let identifier = Attested(Sealed { said, seal: [0; 64] });
        assert!(members.claim(party, 0, &identifier).is_some());
        assert!(next.claim(party, 0, &identifier).is_none());
        assert!(members.with_lives(&[]).is_none());
    }
}
