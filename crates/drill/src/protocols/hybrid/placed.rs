//! Agreement by places of the components' order.

use super::plays::{acceptable, input};
use super::{MessageOf, OutcomeOf, Play, Roles};
use crate::check::Fact;
use crate::protocols::short;
use crate::stage::{Seat, Stage};
use crate::world::{DrillSuite, Shape};
use maftia_agreement::hybrid::Members;
use maftia_agreement::hybrid::placed::{Command, Message, Outcome, PlacedAgreement};
use maftia_agreement::hybrid::views::Place;
use maftia_base::{Epoch, Party, Protocol};
use maftia_sim::Random;

/// Agreement by places.
pub struct Placed;

const PLACE: Place = Place { epoch: Epoch(0), round: 1 };

impl<S: DrillSuite> Play<S> for Placed {
    type Protocol = PlacedAgreement<S, u64>;
    const NAME: &'static str = "placed";
    const SHAPES: &'static [(u64, Shape)] = super::plays::Q2;
    const HAS_MISHAPS: bool = true;

    fn make(me: Party, members: Members, roles: &Roles) -> Self::Protocol {
        PlacedAgreement::new(me, members, PLACE, roles.first)
    }

    fn wants(state: &Self::Protocol, by: Party, roles: &Roles) -> Option<Command<u64>> {
        let lacks = !state.has_input() && !Protocol::is_settled(state) && roles.proposes(by);
        lacks.then(|| Command::Propose(input(by, 0)))
    }

    fn temptations(by: Party, face: usize, _: &Roles) -> Vec<Command<u64>> {
        vec![Command::Propose(input(by, face))]
    }

    fn answers(told: &OutcomeOf<S, Self>) -> Vec<Command<u64>> {
        match told {
            Outcome::Validate { value, .. } => acceptable(*value).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn has_all(state: &Self::Protocol, _: &Roles) -> bool {
        Protocol::is_settled(state)
    }

    fn facts(told: &OutcomeOf<S, Self>) -> Vec<Fact> {
        match told {
            Outcome::Decided { value, seed, .. } => {
                vec![Fact::new(0, 0, *value), Fact::new(1, 1, short(seed))]
            }
            _ => Vec::new(),
        }
    }

    fn allows(_: &Roles) -> Box<dyn Fn(u64, u64) -> bool> {
        Box::new(|slot, value| slot == 1 || value.is_multiple_of(2))
    }

    fn step(said: &MessageOf<S, Self>) -> u64 {
        match said {
            Message::Propose(_) => 0,
            Message::Ask => 1,
            Message::Decided { .. } | Message::Over => 2,
        }
    }

    fn lies<T: Stage<Protocol = Self::Protocol>>(
        _: Party,
        said: &MessageOf<S, Self>,
        _: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>> {
        let other = 1 + random.below(3);
        match said {
            Message::Propose(value) => vec![Message::Propose(value ^ other)],
            Message::Ask | Message::Over => {
                vec![Message::Over, Message::Propose(random.below(300))]
            }
            Message::Decided { value, decision } => {
                vec![Message::Decided { value: value ^ other, decision: decision.clone() }]
            }
        }
    }

    fn babble(random: &mut Random) -> MessageOf<S, Self> {
        match random.below(2) {
            0 => Message::Propose(random.below(300)),
            _ => Message::Ask,
        }
    }
}
