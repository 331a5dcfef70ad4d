//! Atomic broadcast: the chain of epochs, with marks every few batches, changes of the epoch, and
//! servers that submit again what they do not see ordered.

use super::order::{self, OrderReasons, chain_of};
use crate::adversary::{Brief, HandOf, LetterOf, Says, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{CoinShareOf, Said, Seat, SignatureOf, Stage, Told, Written};
use crate::world::{Court, DrillSuite};
use maftia_agreement::atomic::epochs::{Command, EpochChain, Message, Outcome, Record, Ticket};
use maftia_agreement::atomic::{self, BATCH_WEIGHT, Delivery, Item};
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::Encode;
use maftia_base::{Context, Digest, Event, Group, Party, PartySet, Protocol, Scope, Slot};
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

/// A group that orders items.
pub struct Atomic<S> {
    corrupt: PartySet,
    interval: u64,
    world: RefCell<World>,
    suite: PhantomData<S>,
}

/// What the layer above has submitted, and has seen ordered.
struct World {
    /// Items that each server is yet to submit.
    left: Vec<u64>,
    /// Submitted and not yet seen by their server, with its life then.
    open: BTreeMap<Vec<u8>, (Party, u32)>,
    open_max: usize,
    all: BTreeSet<Vec<u8>>,
    lives: Vec<u32>,
    delivered: Vec<BTreeSet<Vec<u8>>>,
    turns: Vec<u64>,
    tick: u64,
    random: Random,
    feats: BTreeMap<&'static str, u64>,
}

type Adverse<S> = Box<dyn Adversary<Ordering<S>>>;

/// How many events pass between two submissions.
const LOOK_EVERY: u64 = 5;

fn item(party: Party, number: u64, face: usize) -> Vec<u8> {
    format!("item {number} of {party} {face}").into_bytes()
}

fn submit<S: DrillSuite>(content: &[u8]) -> Command<S> {
    Command::Submit(Item::new(content.to_vec()).expect("short"))
}

impl<S: DrillSuite> Stage for Atomic<S> {
    type Suite = S;
    type Protocol = Ordering<S>;
    type Monitor = Sequence;
    const NAME: &'static str = "atomic";
    const MAY_BE_FICKLE: bool = false;
    const ASKS_AGAIN: bool = false;
    const SPAN: u64 = 900;
    // With the cryptography of production it is run as part of the replica.
    const REAL_PERMILLE: u32 = 0;
    const FAVOURITES: &'static [(&'static str, usize)] =
        &[("none", 8), ("restless", 3), ("any-moment", 1), ("after-sending", 1), ("crashes", 1)];

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let (n, corrupt) = (plan.shape.n(), plan.corrupt());
        let load = if plan.storage == "restless" { 24 } else { 8 };
        let honest = |index: usize| !corrupt.contains(Party::new(index));
        let left = (0..n).map(|index| if honest(index) { random.below(load) } else { 0 });
        let left = left.collect();
        let span = Self::SPAN * n as u64;
        let turns = (0..random.below(4)).map(|_| random.below(span)).collect();
        let world = World {
            left,
            open: BTreeMap::new(),
            open_max: 1 + random.below(3) as usize,
            all: BTreeSet::new(),
            lives: vec![0; n],
            delivered: vec![BTreeSet::new(); n],
            turns,
            tick: 0,
            random: random.fork(7),
            feats: BTreeMap::new(),
        };
        let interval = (1 + random.below(8)) * BATCH_WEIGHT;
        Self { corrupt, interval, world: RefCell::new(world), suite: PhantomData }
    }

    fn make(&self, group: &Group, restarts: u32) -> Self::Protocol {
        self.world.borrow_mut().lives[group.me().index()] = restarts;
        let chain = EpochChain::new().with_interval(self.interval);
        Ordering { chain, interval: self.interval }
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
            Outcome::Delivered(_) | Outcome::Forgot | Outcome::OtherLife => Vec::new(),
        }
    }

    fn tend(&self, sim: &mut Simulation<Self::Protocol>) {
        let mut commands = Vec::new();
        {
            let world = &mut *self.world.borrow_mut();
            world.tick += 1;
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
        world.left.iter().all(|left| *left == 0) && sim.honest().iter().all(has_all)
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
        vec![
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
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        order::words(said)
    }
}

/// With as few others as make a quorum with it and its accomplices.
fn bare_quorum<S: DrillSuite>(brief: &mut Brief<Atomic<S>>) -> PartySet {
    let mut chosen = brief.seat.corrupt;
    let mut others: Vec<Party> = brief.seat.victims().iter().collect();
    while !brief.seat.court.quorums.is_quorum(chosen) && !others.is_empty() {
        let next = brief.random.below(others.len() as u64) as usize;
        chosen.insert(others.swap_remove(next));
    }
    chosen
}

fn shown_to_some<S: DrillSuite>(brief: &Brief<Atomic<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let some = bare_quorum(&mut brief);
    let one = some.difference(brief.seat.corrupt).iter().next();
    Box::new(Says(move |letter: &LetterOf<Atomic<S>>, hand: &mut HandOf<'_, Atomic<S>>| {
        match &letter.body.body {
            atomic::Message::Batch { .. } if !some.contains(letter.to) => brief.acts.add(),
            atomic::Message::Head(_) if Some(letter.to) != one => brief.acts.add(),
            _ => hand.pass(letter),
        }
    }))
}

fn withheld<S: DrillSuite>(brief: &Brief<Atomic<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let some = bare_quorum(&mut brief);
    Box::new(Says(move |letter: &LetterOf<Atomic<S>>, hand: &mut HandOf<'_, Atomic<S>>| {
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
                self.all.insert(content.clone());
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

/// The one order; L3, L5 and C4.
pub struct Sequence {
    corrupt: PartySet,
    order: OrderReasons,
    /// Everything that was delivered anywhere, in its order.
    all: Vec<Digest>,
    /// How far each server is in its present life.
    reached: BTreeMap<Party, usize>,
    /// What was delivered before each mark.
    marks: BTreeMap<u64, usize>,
    /// What each server was asked to order.
    asked: BTreeSet<(Party, Vec<u8>)>,
    places: BTreeSet<(u64, Party, u64)>,
}

impl Sequence {
    fn delivered<S: DrillSuite>(
        &mut self,
        by: Party,
        delivery: &Delivery,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let Delivery { epoch, round, lane, height, items, turn, readings, seed, .. } = delivery;
        let items: Vec<Digest> = items.iter().map(|item| Digest::of("drill", item)).collect();
        let read: Vec<(Party, u64)> = readings.iter().map(|(by, at)| (*by, at.0)).collect();
        let place = ((epoch.0, round.0), (*lane, height.0));
        let bytes = (place, (items, (*turn, (read, *seed)))).encode();
        let digest = Digest::of("drill delivery", &bytes);
        let at = self.reached.entry(by).or_default();
        let position = *at;
        *at += 1;
        if let Some(first) = self.all.get(position) {
            return ensure(*first == digest, "order", || {
                format!("{by} delivers {height:?} of {lane} as number {position}, others do not")
            });
        }
        self.all.push(digest);
        let voters: PartySet = readings.iter().map(|(by, _)| *by).collect();
        ensure(court.quorums.is_quorum(voters), "transfer", || {
            format!("only {voters:?} vouch for {height:?} of {lane}")
        })?;
        ensure(self.places.insert((epoch.0, *lane, height.0)), "once", || {
            format!("{height:?} of {lane} is delivered twice in {epoch:?}")
        })?;
        let is_honest = !self.corrupt.contains(*lane);
        let is_asked = |item: &Item| self.asked.contains(&(*lane, item.to_vec()));
        ensure(!is_honest || delivery.items.iter().all(is_asked), "validity", || {
            format!("honest {lane} has something ordered that it was not asked to")
        })
    }
}

impl<S: DrillSuite> Monitor<Atomic<S>> for Sequence {
    fn new(stage: &Atomic<S>) -> Self {
        Self {
            corrupt: stage.corrupt,
            order: OrderReasons::default(),
            all: Vec::new(),
            reached: BTreeMap::new(),
            marks: BTreeMap::new(),
            asked: BTreeSet::new(),
            places: BTreeSet::new(),
        }
    }

    fn ordered(&mut self, by: Party, order: &Command<S>) {
        if let Command::Submit(item) = order {
            self.asked.insert((by, item.to_vec()));
        }
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<S>, _: &Court<S>) {
        self.order.heard(by, from, said);
    }

    fn restarted(&mut self, by: Party) {
        self.reached.remove(&by);
    }

    fn says(
        &mut self,
        by: Party,
        to: Party,
        said: &Message<S>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        self.order.says(by, to, said, chain_of(court.scope), court)
    }

    fn told(&mut self, by: Party, told: &Outcome, court: &Court<S>) -> Result<(), Complaint> {
        match told {
            Outcome::Delivered(delivery) => self.delivered(by, delivery, court),
            Outcome::Marked(mark) => {
                let here = self.reached.get(&by).copied().unwrap_or_default();
                let first = *self.marks.entry(mark.0).or_insert(here);
                ensure(first == here, "order", || {
                    format!("{by} has mark {} after {here} batches, others after {first}", mark.0)
                })
            }
            Outcome::Forgot => {
                Err(Complaint::new("state", format!("honest {by} says that it forgot something")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Shape;
    use maftia_agreement::atomic::{Height, Items, Round};
    use maftia_base::Epoch;
    use maftia_base::time::Reading;
    use maftia_crypto::IdealSuite;

    fn delivery(lane: usize, height: u64, items: &[&[u8]]) -> Delivery {
        let items = items.iter().map(|item| Item::new(item.to_vec()).expect("short"));
        Delivery {
            epoch: Epoch(0),
            round: Round(1),
            lane: Party::new(lane),
            height: Height(height),
            items: Items::new(items.collect()).expect("few"),
            turn: false,
            readings: (0..3).map(|by| (Party::new(by), Reading(7))).collect(),
            sealed: None,
            seed: Digest::default(),
        }
    }

    #[test]
    fn another_order_a_repetition_and_what_nobody_asked_for_are_noticed() {
        let court = Court::<IdealSuite>::new(Shape::Four, 0);
        let sequence = || Sequence {
            corrupt: PartySet::from_iter([Party::new(3)]),
            order: OrderReasons::default(),
            all: Vec::new(),
            reached: BTreeMap::new(),
            marks: BTreeMap::new(),
            asked: BTreeSet::from([(Party::new(0), b"a".to_vec())]),
            places: BTreeSet::new(),
        };
        let told = |deliveries: &[(usize, Delivery)]| -> Vec<&'static str> {
            let mut sequence = sequence();
            let each = deliveries.iter().map(|(by, delivery)| {
                let verdict = sequence.delivered(Party::new(*by), delivery, &court);
                verdict.err().map_or("nothing", |complaint| complaint.checker)
            });
            each.collect()
        };
        let (a, b) = (delivery(0, 1, &[b"a"]), delivery(3, 1, &[b"b"]));
        let good = [(0, a.clone()), (0, b.clone()), (1, a.clone()), (1, b.clone())];
        assert_eq!(told(&good), ["nothing"; 4]);
        assert_eq!(told(&[(0, a.clone()), (1, b.clone())]), ["nothing", "order"]);
        assert_eq!(told(&[(0, a.clone()), (0, a.clone())]), ["nothing", "once"]);
        assert_eq!(told(&[(0, delivery(0, 1, &[b"b"]))]), ["validity"]);
        let mut few = b;
        few.readings.truncate(2);
        assert_eq!(told(&[(0, few)]), ["transfer"]);
    }
}
