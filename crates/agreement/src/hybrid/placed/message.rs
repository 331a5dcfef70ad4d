//! What servers say to each other, what each keeps, and what proves a decision.

use super::PLACES_MAX;
use crate::Value;
use crate::hybrid::Members;
use crate::hybrid::views::Place;
use maftia_base::canary;
use maftia_base::wire::{List, wire_enum, wire_struct};
use maftia_base::{AdversaryStructure, Digest, Group, Party, PartySet, Scope};
use maftia_crypto::{Attested, Done, Suite, Work};
use maftia_ttcb_api::{Channel, Ordered};

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Message<V: Value> {
    /// The sender proposes. (P1)
    Propose(V),
    /// What was decided? (P5)
    Ask,
    /// Something was: whoever has not heard of it may ask. (P7)
    Over,
    /// The answer. (P6)
    Decided {
        /// What.
        value: V,
        /// That it was.
        decision: Decision,
    },
}

wire_enum!(<V: Value> Message<V> {
    0 => Propose(value),
    1 => Ask,
    2 => Decided { value, decision },
    3 => Over,
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Record<V: Value> {
    /// This server vouches for the proposal of that one. (P2)
    Vouches {
        /// Who proposed.
        proposer: Party,
        /// What.
        value: V,
    },
    /// Before the layer above is told. (P4)
    Decided {
        /// What.
        value: V,
        /// That it was.
        decision: Decision,
    },
}

wire_enum!(<V: Value> Record<V> {
    0 => Vouches { proposer, value },
    1 => Decided { value, decision },
});

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// The channel is open.
    Open,
    /// The component has heard that this server vouches.
    Vouch,
    /// What stands at this place.
    Next(u64),
    /// The check of the decision that this party told.
    Check(Party),
    /// The component watches how long this takes.
    Watch,
    /// ... and says that it takes too long.
    Late,
}

/// How a value was decided: it stands at the first place at which something stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Who proposed the value.
    pub(super) proposer: Party,
    /// Whose component signed.
    pub(super) by: Party,
    /// All places up to the one that counts, which is the last.
    pub(super) places: List<Attested<Ordered>, PLACES_MAX>,
}

wire_struct!(Decision { proposer, by, places });

impl Decision {
    /// Who proposed the value: the same at every server.
    pub fn proposer(&self) -> Party {
        self.proposer
    }

    /// The agreed seed. Only of a decision that holds.
    pub(crate) fn seed(&self) -> Digest {
        let last = self.places.last().map(|place| place.0.said.seed).unwrap_or_default();
        Digest::of("maftia placed seed", &last)
    }

    /// The work of checking that the agreement at `place`, with these members, decided the value
    /// with this digest; `None` if it cannot have.
    pub fn checks<S: Suite>(
        &self,
        place: Place,
        members: &Members,
        scope: Scope,
        group: &Group,
        value: Digest,
    ) -> Option<Vec<Work<S>>> {
        let channel = channel(place, members, scope, group.structure());
        let (last, before) = self.places.split_last()?;
        let tag = channel.tag();
        let in_order = (1..)
            .zip(self.places.iter())
            .all(|(number, place)| (place.0.said.channel, place.0.said.number) == (tag, number));
        let is_value = last.0.said.value == vouched(scope, self.proposer, value).0;
        let is_it = canary!("placed-decision-of-another", true, is_value);
        let counts =
            is_something(&last.0.said) && !before.iter().any(|it| is_something(&it.0.said));
        let member = members.member(self.by)?;
        let claims = self.places.iter().map(|place| place.claim(member.life.key)).collect();
        (in_order && is_it && counts).then(|| vec![Work::VerifySeals(claims)])
    }

    /// The agreed seed, if the results of [`checks`](Self::checks) say that it holds.
    pub fn holds<S: Suite>(&self, dones: &[Done<S>]) -> Option<Digest> {
        let good = dones.iter().all(
            |done| matches!(done, Done::Verified(verdicts) if verdicts.iter().all(|good| *good)),
        );
        (good && !dones.is_empty()).then(|| self.seed())
    }
}

impl Decision {
    /// Whose components had heard that their servers vouch for it, when it got its place.
    pub(super) fn vouchers(&self) -> PartySet {
        let bits = self.places.last().map_or(0, |place| place.0.said.vouchers);
        (0..u32::BITS as usize).filter(|bit| bits >> bit & 1 == 1).map(Party::new).collect()
    }
}

/// Does anything stand at this place?
pub(super) fn is_something(ordered: &Ordered) -> bool {
    ordered.vouchers != 0
}

/// What servers vouch for: who proposed what.
pub(super) fn vouched(scope: Scope, proposer: Party, value: Digest) -> Digest {
    Digest::of_encoded("maftia placed proposal", &(scope.digest(), (proposer, value)))
}

/// The channel of one agreement. Those of later ones have later numbers. Epochs have 24 bits,
/// rounds 40.
pub(super) fn channel(
    place: Place,
    members: &Members,
    scope: Scope,
    structure: &AdversaryStructure,
) -> Channel {
    let Place { epoch, round } = place;
    assert!(epoch.0 < 1 << 24 && round < 1 << 40, "numbers count up one by one");
    let elist = members.elist(None, PartySet::all(members.n()));
    Channel {
        elist: elist.expect("members are on different hosts"),
        threshold: (structure.largest() + 1) as u8,
        sequence: epoch.0 << 40 | round,
        context: Digest::of_encoded("maftia placed", &scope).0,
    }
}
