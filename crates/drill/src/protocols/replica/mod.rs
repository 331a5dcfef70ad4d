//! The replica: services on the total order, with clients, crashes, wiped disks and lying clocks.

mod book;
mod clients;
mod forge;
mod monitor;
mod specials;
mod stamp;
mod verdict;
mod world;

pub use book::Book;
pub(crate) use monitor::Reasons;

use super::atomic::{Assumes, Asynchronous};
use super::order::{self, chain_of};
use crate::adversary::Special;
use crate::check::{Complaint, Fact, Goal};
use crate::plan::Plan;
use crate::stage::{CoinShareOf, Said, Seat, SignatureOf, Stage, Told, Written};
use crate::world::{Court, DrillSuite, Shape};
use crate::wormhole::{Components, members};
use maftia_activity::{Command, Either, Message, Outcome, Record, Replica};
use maftia_agreement::checkpoint;
use maftia_agreement::hybrid::Members;
use maftia_base::protocol::{TimedProtocol, Vocabulary};
use maftia_base::time::{Reading, Time};
use maftia_base::wire::Wire;
use maftia_base::{Group, Party, PartySet, Scope, ServiceId};
use maftia_crypto::{Done, Work};
use maftia_services::notary::Notary;
use maftia_sim::{Letter, Random, Simulation};
use std::marker::PhantomData;
use world::World;

/// The drill's own service.
pub(crate) const BOOK: ServiceId = ServiceId(9);

/// A server that runs the notary and the book.
pub type Sut<S> = Replica<S, Either<Notary, Book>>;

/// What a replica sails in: nothing, or links.
pub trait Hull<S: DrillSuite>: 'static {
    /// The whole.
    type Protocol: TimedProtocol
        + Vocabulary<
            Command = Command<S>,
            Outcome = Outcome<S>,
            Record = Record<S>,
            Work = Work<S>,
            Done = Done<S>,
            Message: Wire,
        >;
    /// Name in tokens.
    const NAME: &'static str;
    /// Does the driver tell of losses?
    const IS_AIDED: bool;
    /// What servers have, and how many may be corrupt.
    type Assumes: Assumes;

    /// Puts a replica into it; `restarts` times the server has been there before.
    fn make(replica: Sut<S>, group: &Group, restarts: u32) -> Self::Protocol;
    /// The replica.
    fn replica(protocol: &Self::Protocol) -> &Sut<S>;
    /// The replica's messages in one of the whole.
    fn open(said: &<Self::Protocol as Vocabulary>::Message) -> Vec<Message<S>>;
    /// The whole's messages with others in place of the replica's.
    fn exchanged(
        said: &<Self::Protocol as Vocabulary>::Message,
        other: &mut dyn FnMut(&Message<S>) -> Vec<Message<S>>,
    ) -> Vec<<Self::Protocol as Vocabulary>::Message>;
    /// A message of the whole that carries this one.
    fn packed(message: Message<S>) -> <Self::Protocol as Vocabulary>::Message;
}

/// No hull: the driver's channels are as good as links.
pub struct Bare<C = Asynchronous>(PhantomData<C>);

impl<S: DrillSuite, C: Assumes> Hull<S> for Bare<C> {
    type Protocol = Sut<S>;
    type Assumes = C;
    const NAME: &'static str = C::REPLICA;
    const IS_AIDED: bool = true;

    fn make(replica: Sut<S>, _: &Group, _: u32) -> Sut<S> {
        replica
    }

    fn replica(protocol: &Sut<S>) -> &Sut<S> {
        protocol
    }

    fn open(said: &Message<S>) -> Vec<Message<S>> {
        vec![said.clone()]
    }

    fn exchanged(
        said: &Message<S>,
        other: &mut dyn FnMut(&Message<S>) -> Vec<Message<S>>,
    ) -> Vec<Message<S>> {
        other(said)
    }

    fn packed(message: Message<S>) -> Message<S> {
        message
    }
}

/// A group of replicas and its clients.
pub struct Replication<S: DrillSuite, H: Hull<S> = Bare> {
    world: World<S>,
    components: Option<Components<H::Protocol>>,
    /// Who the servers are before the wormhole, in the hybrid configuration.
    members: Option<Members>,
}

/// Conducts and storages that are drawn more often; the last needs one of [`WIPES`].
const OFTEN: &[(&str, usize)] = &[
    ("none", 12),
    ("restless", 4),
    ("any-moment", 1),
    ("after-sending", 1),
    ("crashes", 1),
    ("wiped", 1),
];

/// Disks that are lost.
const WIPES: &[(&str, &str)] = &[
    ("wiped", "a server that is not hostile loses all but its keys, and wants to come back"),
    (
        "wiped-beyond",
        "the same beside as many hostile ones as the group can bear: no promise but that nothing \
         wrong is said",
    ),
];

/// Where the checkpoints of a replica are.
pub(crate) fn marks_of(scope: Scope) -> Scope {
    scope.child("checkpoints", 0)
}

impl<S: DrillSuite, H: Hull<S>> Stage for Replication<S, H> {
    type Suite = S;
    type Protocol = H::Protocol;
    type Monitor = Reasons;
    const NAME: &'static str = H::NAME;
    const MAY_BE_FICKLE: bool = false;
    const ASKS_AGAIN: bool = false;
    const IS_AIDED: bool = H::IS_AIDED;
    const SPAN: u64 = 1_500;
    const SHAPES: &'static [(u64, Shape)] = H::Assumes::SHAPES;
    const REAL_PERMILLE: u32 = if H::IS_AIDED && !H::Assumes::IS_HYBRID { 20 } else { 0 };
    const FAVOURITES: &'static [(&'static str, usize)] = match H::Assumes::IS_HYBRID {
        false => OFTEN,
        true => OFTEN.split_at(OFTEN.len() - 1).0,
    };
    // A disk that is lost with trusted components is another story: they know what it had.
    const STORAGES: &'static [(&'static str, &'static str)] = match H::Assumes::IS_HYBRID {
        false => WIPES,
        true => &[],
    };

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let components = H::Assumes::components::<S, H::Protocol>(plan, random);
        let members = components.as_ref().map(members);
        Self { world: World::new(plan, H::Assumes::IS_HYBRID, random), components, members }
    }

    fn make(&self, group: &Group, restarts: u32) -> Self::Protocol {
        let mut replica = self.world.replica(group.me(), restarts);
        if let Some(members) = self.members.clone() {
            replica = replica.with_members(members);
        }
        H::make(replica, group, restarts)
    }

    fn components(&self) -> Option<Components<Self::Protocol>> {
        self.components.clone()
    }

    fn footprint_max(&self, n: usize) -> usize {
        3_000 + 500 * n + if H::IS_AIDED { 0 } else { 20_000 * n }
    }

    fn events_max(&self, n: usize) -> u64 {
        // While somebody waits for its component, whatever that does is an event, too.
        let each = if H::Assumes::IS_HYBRID { 200_000 } else { 60_000 };
        each * (n * n) as u64
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command<S>> {
        self.world.first_orders(party, face)
    }

    fn answers_from_log(
        &self,
        party: Party,
        told: &Told<Self>,
        log: &[Written<Self>],
    ) -> Vec<Command<S>> {
        self.world.on_outcome(party, told, log)
    }

    fn cuts(&self, told: &Told<Self>, log: &[Written<Self>]) -> Option<usize> {
        self.world.on_cut(told, log)
    }

    fn clock(&self, party: Party, now: Time) -> Reading {
        self.world.clock(party, now)
    }

    fn tend(&self, sim: &mut Simulation<Self::Protocol>) {
        self.world.tend::<H>(sim);
    }

    fn is_tended(&self, sim: &Simulation<Self::Protocol>) -> bool {
        self.world.is_content::<H>(sim)
    }

    fn is_over(&self, sim: &Simulation<Self::Protocol>) -> bool {
        // Links have timers, and a corrupt server may wait for its component for ever.
        (!H::IS_AIDED || H::Assumes::IS_HYBRID) && self.is_met(sim)
    }

    fn is_met(&self, sim: &Simulation<Self::Protocol>) -> bool {
        self.world.is_content::<H>(sim) && self.world.is_even::<H>(sim)
    }

    fn may_stall(&self) -> bool {
        self.world.may_stall
    }

    fn verdicts(&self, sim: &Simulation<Self::Protocol>) -> Vec<Complaint> {
        self.world.verdicts::<H>(sim)
    }

    fn feats(&self) -> Vec<(&'static str, u64)> {
        self.world.feats()
    }

    fn facts(&self, _: &Told<Self>, _: &Court<S>) -> Vec<Fact> {
        Vec::new()
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        Goal { due: Vec::new(), all_or_none: false, allows: Box::new(|_, _| true) }
    }

    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        let of = |message: &Message<S>| match message {
            Message::Order(body) => order::signatures(body),
            Message::Checkpoint(checkpoint::Message::Vote { signature, .. }) => {
                vec![signature.clone()]
            }
            _ => Vec::new(),
        };
        H::open(said).iter().flat_map(of).collect()
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        let step = |message: &Message<S>| match message {
            Message::Order(body) => order::step(body),
            Message::Signing(_) => 3,
            Message::Checkpoint(_) => 4,
            Message::Transfer(_) | Message::Value(_) => 5,
            Message::Accusation(_) | Message::Rejoin(_) | Message::NewLife(_) => 6,
        };
        H::open(said).first().map_or(7, step)
    }

    fn coin_share(&self, said: &Said<Self>, scope: Scope) -> Option<CoinShareOf<Self>> {
        let share = |message: &Message<S>| match message {
            Message::Order(body) => order::coin_share::<Self>(body, chain_of(scope)),
            _ => None,
        };
        H::open(said).iter().find_map(share)
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        H::exchanged(&letter.body, &mut |said| forge::lies(letter.from, said, seat, random))
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        H::packed(forge::babble(by, seat, random))
    }

    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        let spoil = |said: &Message<S>| match said {
            Message::Order(body) => order::spoilt_signature(body).map(Message::Order),
            Message::Checkpoint(checkpoint::Message::Vote { mark, digest, .. }) => {
                let (mark, digest, signature) = (*mark, *digest, S::bad_signature());
                let vote = checkpoint::Message::Vote { mark, digest, signature };
                Some(Message::Checkpoint(vote))
            }
            _ => None,
        };
        changed::<S, H>(said, spoil)
    }

    fn spoilt_share(&self, by: Party, said: &Said<Self>, seat: &Seat<Self>) -> Option<Said<Self>> {
        changed::<S, H>(said, |said| forge::bad_share(by, said, seat))
    }

    fn thinned(&self, said: &Said<Self>, random: &mut Random) -> Option<Said<Self>> {
        changed::<S, H>(said, |said| match said {
            Message::Order(body) => order::thinned(body, random).map(Message::Order),
            Message::Checkpoint(checkpoint::Message::Certified(last)) => {
                let mut last = last.clone();
                last.certificate = super::consistent::thin(&last.certificate, random);
                Some(Message::Checkpoint(checkpoint::Message::Certified(last)))
            }
            _ => None,
        })
    }

    fn specials() -> Vec<Special<Self>> {
        specials::all()
    }

    fn words(&self, said: &Said<Self>) -> String {
        let words: Vec<String> = H::open(said).iter().map(forge::words).collect();
        words.join("; ")
    }
}

/// A message in which `change` changed something.
fn changed<S: DrillSuite, H: Hull<S>>(
    said: &<H::Protocol as Vocabulary>::Message,
    mut change: impl FnMut(&Message<S>) -> Option<Message<S>>,
) -> Option<<H::Protocol as Vocabulary>::Message> {
    let mut any = false;
    let whole = H::exchanged(said, &mut |said| {
        let other = change(said);
        any |= other.is_some();
        vec![other.unwrap_or_else(|| said.clone())]
    });
    whole.into_iter().next().filter(|_| any)
}
