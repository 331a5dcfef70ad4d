//! Atomic broadcast: the chain of epochs, with marks every few batches, changes of the epoch, and
//! servers that submit again what they do not see ordered.

mod hybrid;
mod monitor;

pub use hybrid::{Assumes, Asynchronous, Hybrid};
use monitor::Sequence;

use super::order::{self, chain_of};
use crate::adversary::{Brief, HandOf, LetterOf, Says, Special};
use crate::check::{Fact, Goal};
use crate::plan::Plan;
use crate::stage::{CoinShareOf, Said, Seat, SignatureOf, Stage, Told, Written};
use crate::world::{Court, DrillSuite, Shape};
use crate::wormhole::{Components, Mishap, members};
use maftia_agreement::atomic::epochs::{Command, EpochChain, Message, Outcome, Record, Ticket};
use maftia_agreement::atomic::{self, BATCH_WEIGHT, Item};
use maftia_agreement::hybrid::Members;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Event, Group, Party, PartySet, Protocol, Scope, Slot};
use maftia_crypto::{Done, Suite, Work};
use maftia_sim::{Adversary, Letter, Random, Simulation};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// The chain of epochs under the least that it needs: somebody who has it go on at each mark, also
/// while the log is replayed.
#[derive(Clone, Debug, Hash)]
pub struct Ordering<S: Suite> {
    chain: EpochChain<S>,
    interval: u64,
}

#[derive(Clone, Copy)]
struct ChainSlot;

impl<S: Suite> Slot<Ordering<S>> for ChainSlot {
    type Child = EpochChain<S>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: Message<S>) -> Message<S> {
        message
    }
    fn ticket(self, ticket: Ticket<S>) -> Ticket<S> {
        ticket
    }
    fn record(self, record: Record<S>) -> Record<S> {
        record
    }
}

impl<S: Suite> Vocabulary for Ordering<S> {
    const NAME: &'static str = "ordering";
    type Command = Command<S>;
    type Outcome = Outcome;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S>;
}

impl<S: Suite> Protocol for Ordering<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        let event = match event {
            Event::Command(command) => Event::Command(command),
            Event::Message { from, body } => Event::Message { from, body },
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => Event::Done { ticket, done },
            Event::Restore(record) => Event::Restore(record),
            Event::Resumed => Event::Resumed,
            Event::Reconnected(peer) => Event::Reconnected(peer),
        };
        self.step(event, cx);
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        Protocol::footprint(&self.chain)
    }
}

impl<S: Suite> Ordering<S> {
    fn step(&mut self, event: Event<EpochChain<S>>, cx: &mut impl Context<Self>) {
        for outcome in cx.step(ChainSlot, &mut self.chain, event) {
            let is_mark = matches!(outcome, Outcome::Marked(_));
            cx.output(outcome);
            if is_mark {
                let interval = self.interval;
                self.step(
                    Event::Command(Command::Continue {
                        interval,
                        loads: BTreeMap::new(),
                        members: None,
                    }),
                    cx,
                );
            }
        }
    }
}

/// A group that orders items, under the assumptions of one configuration.
pub struct Atomic<S: DrillSuite, C = Asynchronous> {
    corrupt: PartySet,
    interval: u64,
    world: RefCell<World>,
    components: Option<Components<Ordering<S>>>,
    /// Who the servers are before the wormhole, as the group knows it.
    members: Option<Members>,
    mishap: Option<Mishap>,
    assumes: PhantomData<C>,
}

/// What the layer above has submitted, and has seen ordered.
struct World {
    /// Items that each server is yet to submit.
    left: Vec<u64>,
    /// Submitted and not yet seen by their server, with its life then.
    open: BTreeMap<Vec<u8>, (Party, u32)>,
    open_max: usize,
    /// What is due: everything but what somebody without a trusted component submitted.
    all: BTreeSet<Vec<u8>>,
    unlucky: Option<Party>,
    lives: Vec<u32>,
    delivered: Vec<BTreeSet<Vec<u8>>>,
    turns: Vec<u64>,
    tick: u64,
    random: Random,
    feats: BTreeMap<&'static str, u64>,
}

pub(super) type Adverse<S> = Box<dyn Adversary<Ordering<S>>>;

/// How many events pass between two submissions.
const LOOK_EVERY: u64 = 5;

fn item(party: Party, number: u64, face: usize) -> Vec<u8> {
    format!("item {number} of {party} {face}").into_bytes()
}

fn submit<S: DrillSuite>(content: &[u8]) -> Command<S> {
    Command::Submit(Item::new(content.to_vec()).expect("short"))
}

impl<S: DrillSuite, C: Assumes> Stage for Atomic<S, C> {
    type Suite = S;
    type Protocol = Ordering<S>;
    type Monitor = Sequence;
    const NAME: &'static str = C::NAME;
    const SHAPES: &'static [(u64, Shape)] = C::SHAPES;
    const STORAGES: &'static [(&'static str, &'static str)] = C::STORAGES;
    const MAY_BE_FICKLE: bool = false;
    const ASKS_AGAIN: bool = false;
    const SPAN: u64 = 900;
    // With the cryptography of production it is run as part of the replica.
    const REAL_PERMILLE: u32 = 0;
    const FAVOURITES: &'static [(&'static str, usize)] =
        &[("none", 8), ("restless", 3), ("any-moment", 1), ("after-sending", 1), ("crashes", 1)];

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let (n, corrupt) = (plan.shape.n(), plan.corrupt());
        let components = C::components(plan, random);
        let members = components.as_ref().map(members);
        let load = if plan.storage == "restless" { 24 } else { 8 };
        let honest = |index: usize| !corrupt.contains(Party::new(index));
        let left = (0..n).map(|index| if honest(index) { random.below(load) } else { 0 });
        let left = left.collect();
        let span = Self::SPAN * n as u64;
        let turns = (0..random.below(4)).map(|_| random.below(span)).collect();
        let mishap = Mishap::of(plan, span, random);
        let unlucky = mishap.map(|mishap| mishap.victim);
        let world = World {
            left,
            open: BTreeMap::new(),
            open_max: 1 + random.below(3) as usize,
            all: BTreeSet::new(),
            unlucky,
            lives: vec![0; n],
            delivered: vec![BTreeSet::new(); n],
            turns,
            tick: 0,
            random: random.fork(7),
            feats: BTreeMap::new(),
        };
        let interval = (1 + random.below(8)) * BATCH_WEIGHT;
        let (world, assumes) = (RefCell::new(world), PhantomData);
        Self { corrupt, interval, world, components, members, mishap, assumes }
    }

    fn make(&self, group: &Group, restarts: u32) -> Self::Protocol {
        self.world.borrow_mut().lives[group.me().index()] = restarts;
        let mut chain = EpochChain::new().with_interval(self.interval);
        if let Some(members) = self.members.clone() {
            chain = chain.with_members(members);
        }
        Ordering { chain, interval: self.interval }
    }

    fn components(&self) -> Option<Components<Self::Protocol>> {
        self.components.clone()
    }

    fn footprint_max(&self, n: usize) -> usize {
        1_000 + 300 * n
    }

    fn events_max(&self, n: usize) -> u64 {
        40_000 * (n * n) as u64
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command<S>> {
        if !self.corrupt.contains(party) {
            return Vec::new();
        }
        let mut orders: Vec<_> =
            (0..4).map(|number| submit(&item(party, 1_000 + number, face))).collect();
        orders.push(Command::ChangeEpoch);
        orders
    }

    fn answers_from_log(
        &self,
        party: Party,
        told: &Told<Self>,
        log: &[Written<Self>],
    ) -> Vec<Command<S>> {
        match told {
            Outcome::Inspect { lane, height, digest, .. } => {
                let (lane, height, digest) = (*lane, *height, *digest);
                vec![Command::Admit { lane, height, digest }]
            }
            Outcome::Recall { to, key } => {
                let found = log.iter().rev().find(|record| record.archive_key() == Some(*key));
                let record = found.cloned().map(Box::new);
                vec![Command::Recalled { to: *to, key: *key, record }]
            }
            Outcome::Marked(_) => {
                self.world.borrow_mut().count("marks");
                Vec::new()
            }
            Outcome::Delivered(delivery) if !self.corrupt.contains(party) => {
                let world = &mut *self.world.borrow_mut();
                for item in delivery.items.iter() {
                    let content = item.to_vec();
                    if world.open.get(&content).is_some_and(|(by, _)| *by == party) {
                        world.open.remove(&content);
                    }
                    world.delivered[party.index()].insert(content);
                }
                Vec::new()
            }
            Outcome::EpochEnded { .. } => {
                self.world.borrow_mut().count("epochs");
                Vec::new()
            }
            Outcome::OtherLife => {
                self.world.borrow_mut().count("other lives");
                Vec::new()
            }
            Outcome::Delivered(_) | Outcome::Forgot => Vec::new(),
        }
    }

    fn tend(&self, sim: &mut Simulation<Self::Protocol>) {
        let mut commands = Vec::new();
        {
            let world = &mut *self.world.borrow_mut();
            world.tick += 1;
            if let (Some(mishap), Some(components)) = (&self.mishap, &self.components) {
                mishap.strike(world.tick, components);
            }
            if !world.tick.is_multiple_of(LOOK_EVERY) && sim.pending() > 0 {
                return;
            }
            let up: PartySet = sim.honest().iter().filter(|party| sim.is_up(*party)).collect();
            world.act(up, &mut commands);
        }
        for (party, command) in commands {
            // A command can make a server crash.
            if sim.is_up(party) {
                sim.command(party, command);
            }
        }
    }

    fn is_tended(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let world = self.world.borrow();
        let has_all = |party: Party| world.all.is_subset(&world.delivered[party.index()]);
        let has_asked =
            |(index, left): (usize, &u64)| *left == 0 || world.unlucky == Some(Party::new(index));
        // Who has no trusted component counts as faulty until its next one is admitted.
        let mut due = sim.honest().iter().filter(|party| world.unlucky != Some(*party));
        world.left.iter().enumerate().all(has_asked) && due.all(has_all)
    }

    fn is_met(&self, sim: &Simulation<Self::Protocol>) -> bool {
        self.is_tended(sim)
    }

    fn feats(&self) -> Vec<(&'static str, u64)> {
        self.world.borrow().feats.iter().map(|(name, times)| (*name, *times)).collect()
    }

    fn facts(&self, _: &Told<Self>, _: &Court<S>) -> Vec<Fact> {
        Vec::new()
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        Goal { due: Vec::new(), all_or_none: false, allows: Box::new(|_, _| true) }
    }

    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        order::signatures(said)
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        order::step(said)
    }

    fn coin_share(&self, said: &Said<Self>, scope: Scope) -> Option<CoinShareOf<Self>> {
        order::coin_share::<Self>(said, chain_of(scope))
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        order::lies(letter.from, &letter.body, chain_of(seat.scope), seat, random)
    }

    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        order::babble(by, chain_of(seat.scope), seat, random)
    }

    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        order::spoilt_signature(said)
    }

    fn spoilt_share(&self, by: Party, said: &Said<Self>, seat: &Seat<Self>) -> Option<Said<Self>> {
        order::spoilt_share(by, said, chain_of(seat.scope), seat)
    }

    fn thinned(&self, said: &Said<Self>, random: &mut Random) -> Option<Said<Self>> {
        order::thinned(said, random)
    }

    fn specials() -> Vec<Special<Self>> {
        let mut specials = vec![
            Special {
                name: "shown-to-some",
                about: "shows its batches to a bare quorum, and its heads to one server",
                make: shown_to_some,
            },
            Special {
                name: "withheld-batches",
                about: "shows its batches only to as few as can certify, and gives none of them \
                        to whoever asks",
                make: withheld,
            },
        ];
        specials.extend(C::specials());
        specials
    }

    fn words(&self, said: &Said<Self>) -> String {
        order::words(said)
    }
}

/// With as few others as make a quorum with it and its accomplices.
fn bare_quorum<S: DrillSuite, C: Assumes>(brief: &mut Brief<Atomic<S, C>>) -> PartySet {
    let mut chosen = brief.seat.corrupt;
    let mut others: Vec<Party> = brief.seat.victims().iter().collect();
    while !brief.seat.court.quorums.is_quorum(chosen) && !others.is_empty() {
        let next = brief.random.below(others.len() as u64) as usize;
        chosen.insert(others.swap_remove(next));
    }
    chosen
}

fn shown_to_some<S: DrillSuite, C: Assumes>(brief: &Brief<Atomic<S, C>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let some = bare_quorum(&mut brief);
    let one = some.difference(brief.seat.corrupt).iter().next();
    Box::new(Says(move |letter: &LetterOf<Atomic<S, C>>, hand: &mut HandOf<'_, Atomic<S, C>>| {
        match &letter.body.body {
            atomic::Message::Batch { .. } if !some.contains(letter.to) => brief.acts.add(),
            atomic::Message::Head(_) if Some(letter.to) != one => brief.acts.add(),
            _ => hand.pass(letter),
        }
    }))
}

fn withheld<S: DrillSuite, C: Assumes>(brief: &Brief<Atomic<S, C>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let some = bare_quorum(&mut brief);
    Box::new(Says(move |letter: &LetterOf<Atomic<S, C>>, hand: &mut HandOf<'_, Atomic<S, C>>| {
        match &letter.body.body {
            atomic::Message::Batch { .. } if !some.contains(letter.to) => brief.acts.add(),
            atomic::Message::Found { .. } | atomic::Message::Rounds(_) => brief.acts.add(),
            _ => hand.pass(letter),
        }
    }))
}

impl World {
    fn count(&mut self, feat: &'static str) {
        *self.feats.entry(feat).or_default() += 1;
    }

    fn act<S: DrillSuite>(&mut self, up: PartySet, commands: &mut Vec<(Party, Command<S>)>) {
        for party in up.iter() {
            let index = party.index();
            let life = self.lives[index];
            let mine = self.open.iter_mut().filter(|(_, (by, _))| *by == party);
            let mut open = 0;
            for (content, (_, in_life)) in mine {
                open += 1;
                if *in_life != life {
                    *in_life = life;
                    commands.push((party, submit(content)));
                }
            }
            if self.left[index] > 0 && open < self.open_max && self.random.chance(400) {
                self.left[index] -= 1;
                let content = item(party, self.left[index], 0);
                self.open.insert(content.clone(), (party, life));
                if self.unlucky != Some(party) {
                    self.all.insert(content.clone());
                }
                commands.push((party, submit(&content)));
            }
        }
        let tick = self.tick;
        if self.turns.iter().any(|at| *at <= tick) {
            self.turns.retain(|at| *at > tick);
            commands.extend(up.iter().map(|party| (party, Command::ChangeEpoch)));
        }
    }
}
