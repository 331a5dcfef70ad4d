//! Marks: places of the total order at which it can be taken up without what came before.

use super::KEPT_BATCHES;
use super::agreement::{Hybrid, Leaders, RoundAgreement};
use super::batch::{Delivery, Heads, Item, Round};
use super::machine::AtomicBroadcast;
use super::message::{Message, Outcome, Record};
use super::round::RoundSlot;
use crate::checkpoint::Mark;
use crate::hybrid::Members;
use maftia_base::canary;
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::{List, wire_struct};
use maftia_base::{Context, Epoch, Event, Fault, Group, Party, PartySet, Scope, Target};
use maftia_crypto::{Suite, Work};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

/// How much is delivered between two marks, unless [`Continue`](super::epochs::Command::Continue)
/// says otherwise: bytes of items, and [`BATCH_WEIGHT`] for each batch.
pub const MARK_INTERVAL: u64 = 16 << 20;

/// What a batch weighs besides its items: about what the votes and certificates around it take in
/// a log.
pub const BATCH_WEIGHT: u64 = 8 << 10;

/// Where the total order stands at a mark: all that a server must know of what came before to
/// deliver what follows. The same at every honest server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frontier<S: Suite> {
    /// Number of the mark.
    pub mark: Mark,
    /// The epoch in which it lies.
    pub epoch: Epoch,
    /// The first round that is not delivered.
    pub round: Round,
    /// Up to where each lane is delivered in this epoch.
    pub heads: Heads<S>,
    /// Lanes that delivered the wish to end this epoch.
    pub turned: PartySet,
    /// In the hybrid configuration, who leads first in that round and in the next.
    pub leaders: Leaders,
}

wire_struct!(<S: Suite> Frontier<S> { mark, epoch, round, heads, turned, leaders });

/// What goes with an item beside the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its number among those of the item's lane. Each counts once, in its turn: whatever a lane
    /// says of other numbers weighs nothing.
    pub number: u64,
    /// What it weighs.
    pub weight: u64,
}

/// What goes with an item, if anything does; a function of the item alone, the same at all servers.
#[derive(Clone, Copy)]
pub struct Weigh(pub fn(&Item) -> Option<Load>);

impl Default for Weigh {
    fn default() -> Self {
        Self(|_| None)
    }
}

impl fmt::Debug for Weigh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weigh")
    }
}

impl Hash for Weigh {
    /// It is part of the program and not of the state.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// How far it is to the next mark.
#[derive(Clone, Debug, Hash)]
pub(super) struct Meter {
    weight: u64,
    weigh: Weigh,
    /// The number of each lane's next load.
    loads: BTreeMap<Party, u64>,
    interval: u64,
    /// A mark is reached: nothing is delivered until the layer above says so.
    pub(super) paused: bool,
    /// What came before was not delivered here but installed: peers are to be asked for the rest.
    jumped: bool,
}

impl Meter {
    pub(super) fn new(interval: u64, weigh: Weigh, loads: BTreeMap<Party, u64>) -> Self {
        Self { weight: 0, weigh, loads, interval, paused: false, jumped: false }
    }

    pub(super) fn count(&mut self, delivery: &Delivery) {
        let next = self.loads.entry(delivery.lane).or_default();
        let mut weight = BATCH_WEIGHT;
        for item in delivery.items.iter() {
            weight = weight.saturating_add(item.len() as u64);
            if let Some(load) = (self.weigh.0)(item).filter(|load| load.number == *next) {
                *next = next.saturating_add(1);
                weight = weight.saturating_add(load.weight);
            }
        }
        self.weight = self.weight.saturating_add(weight);
    }

    /// At the end of a round: is it time for a mark? (M1)
    pub(super) fn pause_if_due(&mut self) -> bool {
        self.paused = self.weight >= self.interval;
        self.paused
    }
}

impl<S: Suite> AtomicBroadcast<S> {
    /// The instance for an epoch that begins with a mark. (M1)
    pub(super) fn paused(epoch: Epoch, weigh: Weigh, members: Option<Members>) -> Self {
        let mut instance = Self::new(epoch);
        instance.hybrid = members.map(Hybrid::new);
        instance.set_weigh(weigh);
        instance.meter.paused = true;
        instance
    }

    /// The first mark comes after this much.
    pub(super) fn set_interval(&mut self, interval: u64) {
        self.meter.interval = interval;
    }

    /// What items weigh beside their bytes.
    pub(super) fn set_weigh(&mut self, weigh: Weigh) {
        self.meter.weigh = weigh;
    }

    pub(super) fn weigh(&self) -> Weigh {
        self.meter.weigh
    }

    /// The first round that is not delivered, and up to where each lane is.
    pub(super) fn delivered(&self) -> (Round, Heads<S>) {
        let heads = self.lanes.values().filter_map(|lane| lane.ordered.clone()).collect();
        (self.completed, Heads(List::new(heads).expect("at most one head a lane")))
    }

    /// Who leads in that round, in the hybrid configuration.
    pub(super) fn leaders(&self) -> Leaders {
        self.hybrid.as_ref().map(|hybrid| hybrid.delivered).unwrap_or_default()
    }

    /// The layer above has kept what it needs of the mark: goes on. (M2)
    pub(super) fn on_continue(
        &mut self,
        interval: u64,
        loads: BTreeMap<Party, u64>,
        cx: &mut impl Context<Self>,
    ) {
        if !self.meter.paused {
            return;
        }
        let jumped = self.meter.jumped;
        self.meter = Meter::new(interval, self.meter.weigh, loads);
        if self.live {
            self.note_what_lives(cx);
            if jumped {
                let others = cx.group().others();
                others.iter().for_each(|peer| self.tell(peer, cx));
            }
        }
    }

    /// Writes down again all that is durable and not settled by this mark, so that the log may
    /// begin here. (M2)
    fn note_what_lives(&self, cx: &mut impl Context<Self>) {
        for ordered in &self.queue {
            let decided = self.recent.get(&ordered.round).cloned();
            let decided = decided.expect("more rounds are kept than can wait");
            cx.note(Record::Learned { decided, seed: ordered.seed });
        }
        for (decided, seed) in self.ready.values() {
            cx.note(Record::Learned { decided: decided.clone(), seed: *seed });
        }
        for (lane, known) in &self.lanes {
            let above = known.delivered.next()..;
            for (_, stored) in known.stored.range(above.clone()).filter(|(_, it)| it.recorded) {
                cx.note(Record::Kept { lane: *lane, batch: stored.sealed.batch.clone() });
            }
            for (height, voted) in known.voted.range(above) {
                canary!("atomic-mark-forgets-votes", continue);
                cx.note(voted.record(*lane, *height));
            }
        }
        let own = self.lanes.get(&cx.group().me()).and_then(|lane| lane.newest_head());
        if let Some(head) = own {
            cx.note(Record::Certified(head.clone()));
        }
        if let Some((batch, vote)) = self.own.outgoing.as_ref().and_then(|own| own.recorded()) {
            cx.note(Record::Own { lane: cx.group().me(), batch, vote });
        }
        for (round, records) in &self.agreed {
            for record in records {
                canary!("atomic-mark-forgets-agreement", continue);
                cx.note(Record::Agree { round: *round, record: record.clone() });
            }
        }
    }

    /// Takes everything up to `heads`, and all rounds before `round`, as delivered. (M3)
    pub(super) fn install(
        &mut self,
        (round, leaders): (Round, Leaders),
        heads: &Heads<S>,
        cx: &mut impl Context<Self>,
    ) {
        let me = cx.group().me();
        if let Some(hybrid) = &mut self.hybrid {
            if self.round < round {
                hybrid.leaders = leaders;
            }
            if self.completed < round {
                hybrid.delivered = leaders;
            }
        }
        for head in heads.iter() {
            self.notice_lost_memory(head, cx);
            if head.lane == me {
                self.own.last = self.own.last.max(head.height);
                self.own.outgoing.take_if(|own| own.sealed.batch.height <= head.height);
            }
            let lane = self.lane(head.lane);
            if head.height > lane.delivered {
                lane.delivered = head.height;
                lane.ordered = Some(head.clone());
            }
            if head.height > lane.decided_height() {
                lane.decide(head.clone());
            }
            lane.forget_old(KEPT_BATCHES);
        }
        self.queue.retain(|ordered| ordered.round >= round);
        if self.round < round {
            self.queue.clear();
            self.recent.clear();
            self.ready = self.ready.split_off(&round);
            self.learned = self.learned.split_off(&round);
            self.agreements = self.agreements.split_off(&round);
            self.agreed = self.agreed.split_off(&round);
            self.values.retain(|(of, _), _| *of >= round);
            self.checking.take_if(|checking| !checking.is_of(round));
            self.proposed = self.agreements.get(&round).is_some_and(RoundAgreement::has_input);
            self.round = round;
        }
        self.completed = self.completed.max(round);
        self.wants.clear();
        (self.meter.paused, self.meter.jumped) = (true, true);
        if self.live {
            self.check_values(cx);
            self.ask_for_skipped(cx);
        }
    }

    /// Steps the agreement of `round`, and keeps a copy of what it records until the round is
    /// decided: a log that begins at a mark must have it. (M2)
    pub(super) fn step_recorded(
        &mut self,
        round: Round,
        agreement: &mut RoundAgreement<S>,
        event: Event<RoundAgreement<S>>,
        cx: &mut impl Context<Self>,
    ) -> Vec<<RoundAgreement<S> as Vocabulary>::Outcome> {
        let mut copying = Copying { inner: cx, copies: Vec::new() };
        let outcomes = copying.step(RoundSlot(round), agreement, event);
        let copies = copying.copies;
        if !copies.is_empty() {
            self.agreed.entry(round).or_default().extend(copies);
        }
        outcomes
    }
}

/// A context that passes everything on, and copies the records of agreements.
struct Copying<'a, S: Suite, C> {
    inner: &'a mut C,
    copies: Vec<AgreeRecord<S>>,
}

type AgreeRecord<S> = <RoundAgreement<S> as Vocabulary>::Record;

impl<S: Suite, C> Copying<'_, S, C> {
    fn copy(&mut self, record: &Record<S>) {
        if let Record::Agree { record, .. } = record {
            self.copies.push(record.clone());
        }
    }
}

impl<S, C> Context<AtomicBroadcast<S>> for Copying<'_, S, C>
where
    S: Suite,
    C: Context<AtomicBroadcast<S>>,
{
    fn group(&self) -> &Group {
        self.inner.group()
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }

    fn send(&mut self, to: Target, body: Message<S>) {
        self.inner.send(to, body);
    }

    fn offload(&mut self, ticket: super::Ticket<S>, work: Work<S>) {
        self.inner.offload(ticket, work);
    }

    fn consult(&mut self, ticket: super::Ticket<S>, call: Work<S>) {
        self.inner.consult(ticket, call);
    }

    fn persist(&mut self, record: Record<S>) {
        self.copy(&record);
        self.inner.persist(record);
    }

    fn note(&mut self, record: Record<S>) {
        self.copy(&record);
        self.inner.note(record);
    }

    fn blame(&mut self, fault: Fault) {
        self.inner.blame(fault);
    }

    fn output(&mut self, outcome: Outcome) {
        self.inner.output(outcome);
    }
}
