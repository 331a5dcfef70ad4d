//! What is special of each.

use super::super::{short, views as forged};
use super::{MessageOf, OutcomeOf, Play, Roles};
use crate::check::{Complaint, Fact, ensure};
use crate::stage::{Seat, Stage};
use crate::world::{DrillSuite, Shape};
use maftia_agreement::digest_of;
use maftia_agreement::hybrid::multicast::{self, Multicast, Spreading};
use maftia_agreement::hybrid::ordered::{self, Item};
use maftia_agreement::hybrid::simple::{self, Consensus};
use maftia_agreement::hybrid::vector::{self, VectorConsensus};
use maftia_agreement::hybrid::views::{self, Place, ViewAgreement};
use maftia_agreement::hybrid::{Members, Start};
use maftia_agreement::multivalued;
use maftia_base::{Digest, Epoch, Party, PartySet, Protocol};
use maftia_sim::{Random, Simulation};
use std::collections::BTreeSet;

/// Two thirds of honest servers.
const Q3: &[(u64, Shape)] = &[(70, Shape::Four), (90, Shape::Seven), (100, Shape::Lopsided)];

/// More than half of them.
pub(super) const Q2: &[(u64, Shape)] = &[(70, Shape::Three), (100, Shape::Five)];

/// Even values are acceptable.
pub(super) fn input(party: Party, face: usize) -> u64 {
    100 + 2 * party.index() as u64 + 50 * face as u64
}

fn odd_digest() -> Digest {
    Digest::of("drill no value", b"")
}

pub(super) fn acceptable(value: u64) -> Option<multivalued::Command<u64>> {
    value.is_multiple_of(2).then(|| multivalued::Command::Accept(digest_of(&value)))
}

/// Agreement in views.
pub struct Views;

const PLACE: Place = Place { epoch: Epoch(0), round: 1 };

impl<S: DrillSuite> Play<S> for Views {
    type Protocol = ViewAgreement<S, u64>;
    const NAME: &'static str = "views";
    const SHAPES: &'static [(u64, Shape)] = Q2;
    const HAS_MISHAPS: bool = true;

    fn make(me: Party, members: Members, roles: &Roles) -> Self::Protocol {
        ViewAgreement::new(me, members, PLACE, roles.first)
    }

    fn wants(state: &Self::Protocol, by: Party, roles: &Roles) -> Option<views::Command<u64>> {
        let lacks = !state.has_input() && !Protocol::is_settled(state) && roles.proposes(by);
        lacks.then(|| views::Command::Propose(input(by, 0)))
    }

    fn temptations(by: Party, face: usize, _: &Roles) -> Vec<views::Command<u64>> {
        vec![views::Command::Propose(input(by, face))]
    }

    fn answers(told: &OutcomeOf<S, Self>) -> Vec<views::Command<u64>> {
        match told {
            views::Outcome::Validate { value, .. } => acceptable(*value).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn has_all(state: &Self::Protocol, _: &Roles) -> bool {
        Protocol::is_settled(state)
    }

    fn facts(told: &OutcomeOf<S, Self>) -> Vec<Fact> {
        match told {
            views::Outcome::Decided { value, seed, .. } => {
                vec![Fact::new(0, 0, *value), Fact::new(1, 1, short(seed))]
            }
            _ => Vec::new(),
        }
    }

    fn allows(_: &Roles) -> Box<dyn Fn(u64, u64) -> bool> {
        Box::new(|slot, value| slot == 1 || value.is_multiple_of(2))
    }

    fn step(said: &MessageOf<S, Self>) -> u64 {
        forged::step(said)
    }

    fn lies<T: Stage<Protocol = Self::Protocol>>(
        by: Party,
        said: &MessageOf<S, Self>,
        seat: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>> {
        let other = 1 + random.below(3);
        forged::lies(by, said, (seat.scope, PLACE), |value| value ^ other, seat, random)
    }

    fn babble(random: &mut Random) -> MessageOf<S, Self> {
        match random.below(2) {
            0 => views::Message::Input { value: random.below(300) },
            _ => views::Message::Ask { proposal: odd_digest() },
        }
    }
}

/// Reliable multicast, in both forms.
pub struct Cast;

/// The omission degree of runs in which copies are sent.
const OMISSIONS: u8 = 2;

impl<S: DrillSuite> Play<S> for Cast {
    type Protocol = Multicast<S, u64>;
    const NAME: &'static str = "multicast";
    const SHAPES: &'static [(u64, Shape)] =
        &[(50, Shape::Three), (80, Shape::Four), (100, Shape::Five)];
    // A hostile sender's two messages both come to all, but not in one order.
    const ALL_OR_NONE: bool = false;

    fn make(me: Party, members: Members, roles: &Roles) -> Self::Protocol {
        let spreading = match roles.form >> 32 & 1 {
            0 => Spreading::Copies { omissions: OMISSIONS },
            _ => Spreading::Acknowledged,
        };
        Multicast::new(me, roles.first, PartySet::all(roles.n), members, spreading)
    }

    fn wants(state: &Self::Protocol, by: Party, roles: &Roles) -> Option<multicast::Command<u64>> {
        let lacks = by == roles.first && !state.has_input() && state.delivered().is_none();
        lacks.then_some(multicast::Command::Multicast(7))
    }

    fn temptations(by: Party, face: usize, roles: &Roles) -> Vec<multicast::Command<u64>> {
        let sends = by == roles.first;
        sends.then(|| multicast::Command::Multicast(8 + face as u64)).into_iter().collect()
    }

    fn has_all(state: &Self::Protocol, roles: &Roles) -> bool {
        roles.corrupt.contains(roles.first) || state.delivered().is_some()
    }

    fn facts(told: &OutcomeOf<S, Self>) -> Vec<Fact> {
        match told {
            // For one start there is one message.
            multicast::Outcome::Delivered { value, proof } => {
                vec![Fact::new(0, proof.start.0, *value)]
            }
            multicast::Outcome::Equivocated { value, proof } => {
                vec![Fact::new(1, proof.start.0, *value)]
            }
        }
    }

    fn allows(roles: &Roles) -> Box<dyn Fn(u64, u64) -> bool> {
        let is_honest = !roles.corrupt.contains(roles.first);
        Box::new(move |_, value| !is_honest || value == 7)
    }

    fn verdicts(sim: &Simulation<Self::Protocol>, roles: &Roles) -> Vec<Complaint> {
        let states = roles.honest().iter().filter_map(|party| sim.state(party));
        let told: Vec<_> =
            states.map(|state| (state.delivered().copied(), state.equivocated())).collect();
        let values: BTreeSet<u64> = told.iter().filter_map(|(value, _)| *value).collect();
        let all = values.is_empty() || told.iter().all(|(value, _)| value.is_some());
        let both = values.len() < 2 || told.iter().all(|(_, other)| other.is_some());
        let verdicts = [
            ensure(all, "totality", || format!("some deliver {values:?}, others nothing")),
            ensure(both, "agreement", || format!("{values:?}, and not all are told both")),
        ];
        verdicts.into_iter().filter_map(Result::err).collect()
    }

    fn step(said: &MessageOf<S, Self>) -> u64 {
        match said {
            multicast::Message::Data { .. } => 0,
            multicast::Message::Shown { .. } => 1,
            multicast::Message::Delivered { .. } => 2,
            multicast::Message::Ask => 3,
        }
    }

    fn lies<T: Stage<Protocol = Self::Protocol>>(
        _: Party,
        said: &MessageOf<S, Self>,
        _: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>> {
        false_casts(said, random)
    }

    fn babble(random: &mut Random) -> MessageOf<S, Self> {
        match random.below(3) {
            0 => multicast::Message::Ask,
            1 => multicast::Message::Delivered { digest: odd_digest() },
            _ => multicast::Message::Data { start: Start(random.bits()), value: 9 },
        }
    }
}

fn false_casts(
    said: &multicast::Message<u64>,
    random: &mut Random,
) -> Vec<multicast::Message<u64>> {
    match said.clone() {
        multicast::Message::Data { start, value } => {
            let other = multicast::Message::Data { start, value: value ^ 1 };
            let later = Start(start.0.wrapping_add(random.below(50_000_000)));
            match random.below(3) {
                0 => vec![other],
                1 => vec![other, said.clone()],
                _ => vec![multicast::Message::Data { start: later, value }],
            }
        }
        multicast::Message::Shown { value, mut proof } => match random.below(3) {
            0 => vec![multicast::Message::Shown { value: value ^ 1, proof }],
            1 => {
                proof.start = Start(proof.start.0.wrapping_add(1));
                vec![multicast::Message::Shown { value, proof }]
            }
            _ => vec![multicast::Message::Delivered { digest: digest_of(&value) }],
        },
        multicast::Message::Delivered { .. } => {
            vec![multicast::Message::Delivered { digest: odd_digest() }]
        }
        multicast::Message::Ask => vec![multicast::Message::Ask; 4],
    }
}

/// Consensus by block agreements.
pub struct Simple;

/// Do all honest servers propose the same?
fn is_unanimous(roles: &Roles) -> bool {
    roles.form >> 40 & 1 == 1
}

impl<S: DrillSuite> Play<S> for Simple {
    type Protocol = Consensus<S, u64>;
    const NAME: &'static str = "simple";
    const SHAPES: &'static [(u64, Shape)] = Q3;

    fn make(me: Party, members: Members, _: &Roles) -> Self::Protocol {
        Consensus::new(me, members)
    }

    fn wants(state: &Self::Protocol, by: Party, roles: &Roles) -> Option<simple::Command<u64>> {
        let proposes = is_unanimous(roles) || roles.proposes(by);
        let lacks = !state.has_input() && !Protocol::is_settled(state) && proposes;
        let value = if is_unanimous(roles) { 100 } else { input(by, 0) };
        lacks.then_some(simple::Command::Propose(value))
    }

    /// Whoever has nothing to propose takes what it hears: to be unanimous they must be first.
    fn pace(_: &Roles) -> u64 {
        1
    }

    fn temptations(by: Party, face: usize, _: &Roles) -> Vec<simple::Command<u64>> {
        vec![simple::Command::Propose(input(by, 1 + face))]
    }

    fn answers(told: &OutcomeOf<S, Self>) -> Vec<simple::Command<u64>> {
        match told {
            simple::Outcome::Validate { value, .. } => acceptable(*value).into_iter().collect(),
            simple::Outcome::Decided { .. } => Vec::new(),
        }
    }

    fn has_all(state: &Self::Protocol, _: &Roles) -> bool {
        Protocol::is_settled(state)
    }

    fn facts(told: &OutcomeOf<S, Self>) -> Vec<Fact> {
        match told {
            simple::Outcome::Decided { value, .. } => vec![Fact::new(0, 0, *value)],
            simple::Outcome::Validate { .. } => Vec::new(),
        }
    }

    fn allows(roles: &Roles) -> Box<dyn Fn(u64, u64) -> bool> {
        let only = is_unanimous(roles);
        Box::new(move |_, value| if only { value == 100 } else { value.is_multiple_of(2) })
    }

    fn step(said: &MessageOf<S, Self>) -> u64 {
        simple_step(said)
    }

    fn lies<T: Stage<Protocol = Self::Protocol>>(
        _: Party,
        said: &MessageOf<S, Self>,
        _: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>> {
        let other = 1 + random.below(3);
        false_consensus(said, |value| value ^ other)
    }

    fn babble(random: &mut Random) -> MessageOf<S, Self> {
        match random.below(3) {
            0 => simple::Message::Input { value: random.below(300) },
            1 => simple::Message::Again { lock: None },
            _ => simple::Message::Ask { digest: odd_digest() },
        }
    }
}

fn simple_step<V: maftia_agreement::Value>(said: &simple::Message<V>) -> u64 {
    match said {
        simple::Message::Input { .. } => 0,
        simple::Message::Ask { .. } | simple::Message::Given { .. } => 1,
        simple::Message::Again { .. } => 2,
        simple::Message::Decided { .. } => 3,
    }
}

fn false_consensus<V: maftia_agreement::Value>(
    said: &simple::Message<V>,
    other: impl Fn(&V) -> V,
) -> Vec<simple::Message<V>> {
    vec![match said {
        simple::Message::Input { value } => simple::Message::Input { value: other(value) },
        simple::Message::Again { .. } => simple::Message::Again { lock: None },
        simple::Message::Ask { .. } => simple::Message::Ask { digest: odd_digest() },
        simple::Message::Given { value } => simple::Message::Given { value: other(value) },
        simple::Message::Decided { value, decision } => {
            simple::Message::Decided { value: other(value), decision: *decision }
        }
    }]
}

/// Consensus of a vector.
pub struct Vector;

/// The slot of how many entries a vector has.
const ENTRIES: u64 = 99;

impl<S: DrillSuite> Play<S> for Vector {
    type Protocol = VectorConsensus<S, u64>;
    const NAME: &'static str = "vector";
    const SHAPES: &'static [(u64, Shape)] = &[(100, Shape::Four)];

    fn make(me: Party, members: Members, _: &Roles) -> Self::Protocol {
        VectorConsensus::new(me, members)
    }

    fn wants(state: &Self::Protocol, by: Party, _: &Roles) -> Option<vector::Command<u64>> {
        let lacks = !state.has_input() && !Protocol::is_settled(state);
        lacks.then(|| vector::Command::Propose(input(by, 0)))
    }

    fn temptations(by: Party, face: usize, _: &Roles) -> Vec<vector::Command<u64>> {
        vec![vector::Command::Propose(input(by, face))]
    }

    fn has_all(state: &Self::Protocol, _: &Roles) -> bool {
        Protocol::is_settled(state)
    }

    fn facts(told: &OutcomeOf<S, Self>) -> Vec<Fact> {
        let vector::Outcome::Decided { values, .. } = told;
        let count = values.iter().flatten().count() as u64;
        let entries = values.iter().enumerate().map(|(index, value)| {
            Fact::new(1 + index as u8, index as u64, value.map_or(0, |value| value + 1))
        });
        entries.chain([Fact::new(0, ENTRIES, count)]).collect()
    }

    fn allows(roles: &Roles) -> Box<dyn Fn(u64, u64) -> bool> {
        let (honest, least) = (roles.honest(), 2 * (roles.n as u64 - 1) / 3 + 1);
        Box::new(move |slot, value| match slot {
            ENTRIES => value >= least,
            of => {
                let party = Party::new(of as usize);
                !honest.contains(party) || value == 0 || value == input(party, 0) + 1
            }
        })
    }

    fn step(said: &MessageOf<S, Self>) -> u64 {
        match said {
            vector::Message::Cast { .. } => 0,
            vector::Message::Simple(said) => 1 + simple_step(said),
            vector::Message::Ask { .. } | vector::Message::Given { .. } => 5,
        }
    }

    fn lies<T: Stage<Protocol = Self::Protocol>>(
        by: Party,
        said: &MessageOf<S, Self>,
        _: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>> {
        match said {
            vector::Message::Cast { sender, message } => {
                let sender = if random.chance(200) { by } else { *sender };
                let casts = false_casts(message, random).into_iter();
                casts.map(|message| vector::Message::Cast { sender, message }).collect()
            }
            vector::Message::Simple(said) => {
                let lies = false_consensus(said, Clone::clone);
                lies.into_iter().map(vector::Message::Simple).collect()
            }
            vector::Message::Ask { .. } => vec![vector::Message::Ask { digest: odd_digest() }],
            vector::Message::Given { value } => vec![vector::Message::Given { value: value ^ 1 }],
        }
    }

    fn babble(random: &mut Random) -> MessageOf<S, Self> {
        match random.below(2) {
            0 => vector::Message::Ask { digest: odd_digest() },
            _ => vector::Message::Given { value: random.below(300) },
        }
    }
}

/// Atomic multicast by the components' order.
pub struct Ordered;

/// Messages of each server.
const MESSAGES: u64 = 3;

/// The `number`th message of a server.
fn message(party: Party, number: u64, face: u64) -> u64 {
    1_000 * party.index() as u64 + number + 100 * face
}

impl<S: DrillSuite> Play<S> for Ordered {
    type Protocol = ordered::Ordered<S, u64>;
    const NAME: &'static str = "ordered";
    const SHAPES: &'static [(u64, Shape)] = Q2;

    fn make(me: Party, members: Members, _: &Roles) -> Self::Protocol {
        ordered::Ordered::new(me, members, 1)
    }

    fn wants(state: &Self::Protocol, by: Party, _: &Roles) -> Option<ordered::Command<u64>> {
        let sent = state.delivered_of(by);
        let free = state.capacity() > 0 && sent < MESSAGES;
        free.then(|| ordered::Command::Multicast(message(by, sent + 1, 0)))
    }

    fn temptations(by: Party, face: usize, _: &Roles) -> Vec<ordered::Command<u64>> {
        let numbers = 1..=MESSAGES;
        numbers.map(|it| ordered::Command::Multicast(message(by, it, 1 + face as u64))).collect()
    }

    fn has_all(state: &Self::Protocol, roles: &Roles) -> bool {
        roles.honest().iter().all(|party| state.delivered_of(party) >= MESSAGES)
    }

    fn facts(ordered::Outcome { place, item }: &OutcomeOf<S, Self>) -> Vec<Fact> {
        let Item { sender, number, value } = item;
        let said = (sender.index() as u64) << 48 | (number & 0xffff) << 32 | value & 0xffff_ffff;
        vec![Fact::new(0, *place, said)]
    }

    fn allows(roles: &Roles) -> Box<dyn Fn(u64, u64) -> bool> {
        let honest = roles.honest();
        Box::new(move |_, said| {
            let (sender, number) = (Party::new((said >> 48) as usize), said >> 32 & 0xffff);
            !honest.contains(sender) || said & 0xffff_ffff == message(sender, number, 0)
        })
    }

    fn step(said: &MessageOf<S, Self>) -> u64 {
        match said {
            ordered::Message::Sent(item) => item.number.wrapping_mul(4),
            ordered::Message::Reached(place) | ordered::Message::Ask(place) => {
                place.wrapping_mul(4).wrapping_add(1)
            }
            ordered::Message::Shown(_) => 3,
        }
    }

    fn lies<T: Stage<Protocol = Self::Protocol>>(
        _: Party,
        said: &MessageOf<S, Self>,
        seat: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>> {
        match said {
            ordered::Message::Sent(item) => {
                let other = Party::new(random.below(seat.n as u64) as usize);
                let item = match random.below(3) {
                    0 => Item { value: item.value ^ 1, ..item.clone() },
                    1 => Item { number: item.number.wrapping_add(1), ..item.clone() },
                    _ => Item { sender: other, ..item.clone() },
                };
                vec![ordered::Message::Sent(item), said.clone()]
            }
            ordered::Message::Reached(place) => {
                vec![ordered::Message::Reached(place.wrapping_add(random.below(9)))]
            }
            ordered::Message::Ask(place) => {
                vec![ordered::Message::Ask(place.wrapping_add(random.below(3)))]
            }
            ordered::Message::Shown(_) => vec![said.clone(), said.clone()],
        }
    }

    fn babble(random: &mut Random) -> MessageOf<S, Self> {
        match random.below(2) {
            0 => ordered::Message::Reached(random.below(12)),
            _ => ordered::Message::Ask(random.below(12)),
        }
    }
}
