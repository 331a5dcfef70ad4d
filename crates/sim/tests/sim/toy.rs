//! Toy protocols: small enough to see what the simulator did.

use maftia_base::protocol::{Never, Timed, TimedProtocol, Vocabulary};
use maftia_base::time::{Duration, Time};
use maftia_base::{
    AdversaryStructure, Context, Epoch, Event, Fault, FaultKind, Group, GroupId, Party, PartySet,
    Protocol, Target,
};
use maftia_sim::Simulation;
use std::collections::{BTreeMap, BTreeSet};

/// Values from here on are heard and not repeated.
pub(crate) const QUIET: u64 = 1 << 32;

pub(crate) fn party(index: usize) -> Party {
    Party::new(index)
}

pub(crate) fn set(parties: &[usize]) -> PartySet {
    parties.iter().copied().map(Party::new).collect()
}

pub(crate) fn groups(n: usize) -> Vec<Group> {
    let structure = AdversaryStructure::optimal(n).expect("a group");
    (0..n)
        .map(|me| Group::new(GroupId::default(), Epoch(0), party(me), structure.clone()))
        .collect()
}

/// Everyone repeats what it hears, once; what a quorum repeated is delivered.
#[derive(Clone, Debug, Hash, Default)]
pub(crate) struct Gossip {
    quirk: Quirk,
    said: BTreeSet<u64>,
    heard: BTreeMap<u64, PartySet>,
    delivered: BTreeSet<u64>,
}

/// How a gossip deviates from what the contract asks, so that a checker has something to find.
#[derive(Clone, Copy, Debug, Hash, Default, PartialEq, Eq)]
pub(crate) enum Quirk {
    #[default]
    None,
    /// Speaks before its records are durable.
    Forgets,
    /// Blames whoever says anything.
    Paranoid,
    /// Sends while its log is replayed.
    ChattersInRestore,
    /// Answers every message with another one.
    Endless,
    /// Blames for 666, which no honest server says.
    Superstitious,
    /// Resends nothing after a reconnection.
    Deaf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Say(u64),
    Compute(u64),
    /// Sends without a record.
    Whisper(u64),
    /// Notes, then sends.
    Jot(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Delivered(u64),
    Computed(u64, u64),
    Heard(Party, u64),
    Reconnected(Party),
}

impl Gossip {
    pub(crate) fn with(quirk: Quirk) -> Self {
        Self { quirk, ..Self::default() }
    }

    pub(crate) fn said(&self) -> &BTreeSet<u64> {
        &self.said
    }

    fn say(&mut self, value: u64, cx: &mut impl Context<Self>) {
        if self.said.insert(value) {
            if self.quirk == Quirk::Forgets {
                cx.note(value);
            } else {
                cx.persist(value);
            }
            cx.send(Target::All, value);
        }
    }

    fn on_rumour(&mut self, from: Party, value: u64, cx: &mut impl Context<Self>) {
        cx.output(Told::Heard(from, value));
        let is_other = from != cx.group().me();
        if (self.quirk == Quirk::Paranoid && is_other)
            || (self.quirk == Quirk::Superstitious && value == 666)
        {
            cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        if self.quirk == Quirk::Endless {
            cx.send(Target::Others, value + 1);
        }
        if value >= QUIET {
            return;
        }
        let heard = self.heard.entry(value).or_default();
        heard.insert(from);
        if cx.group().structure().is_quorum(*heard) && self.delivered.insert(value) {
            cx.output(Told::Delivered(value));
        }
        self.say(value, cx);
    }
}

impl Vocabulary for Gossip {
    const NAME: &'static str = "gossip";
    type Command = Ask;
    type Outcome = Told;
    type Message = u64;
    type Timer = Never;
    type Ticket = u64;
    type Work = u64;
    type Done = u64;
    type Record = u64;
}

impl Protocol for Gossip {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Ask::Say(value)) => self.say(value, cx),
            Event::Command(Ask::Compute(value)) => cx.offload(value, value),
            Event::Command(Ask::Whisper(value)) => cx.send(Target::Others, value),
            Event::Command(Ask::Jot(value)) => {
                cx.note(value);
                cx.send(Target::Others, value);
            }
            Event::Message { from, body } => self.on_rumour(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => cx.output(Told::Computed(ticket, done)),
            Event::Restore(value) => {
                self.said.insert(value);
                if self.quirk == Quirk::ChattersInRestore {
                    cx.send(Target::All, value);
                }
            }
            Event::Resumed => {
                self.said.iter().for_each(|value| cx.send(Target::All, *value));
            }
            Event::Reconnected(peer) => {
                cx.output(Told::Reconnected(peer));
                if self.quirk != Quirk::Deaf {
                    self.said.iter().for_each(|value| cx.send(Target::One(peer), *value));
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.heard.len()
    }
}

pub(crate) fn has_delivered(sim: &Simulation<Gossip>, party: Party, value: u64) -> bool {
    sim.history(party).any(|(_, told)| *told == Told::Delivered(value))
}

pub(crate) fn all_delivered(sim: &Simulation<Gossip>, value: u64) -> bool {
    sim.honest().iter().all(|party| has_delivered(sim, party, value))
}

/// What a party was told it heard from others, in its order.
pub(crate) fn heard(sim: &Simulation<Gossip>, by: Party) -> Vec<(Party, u64)> {
    sim.history(by)
        .filter_map(|(_, told)| match told {
            Told::Heard(from, value) if *from != by => Some((*from, *value)),
            _ => None,
        })
        .collect()
}

/// Ticks with one timer, and says when.
#[derive(Clone, Debug, Hash, Default)]
pub(crate) struct Clockwork;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wind {
    Arm(u8, u64),
    Disarm(u8),
}

impl Vocabulary for Clockwork {
    const NAME: &'static str = "clockwork";
    type Command = Wind;
    type Outcome = (u8, Time);
    type Message = Never;
    type Timer = u8;
    type Ticket = Never;
    type Work = Never;
    type Done = Never;
    type Record = Never;
}

impl TimedProtocol for Clockwork {
    fn handle_timed(&mut self, event: Event<Self>, cx: &mut impl Timed<Self>) {
        match event {
            Event::Command(Wind::Arm(timer, after)) => cx.arm(timer, Duration(after)),
            Event::Command(Wind::Disarm(timer)) => cx.disarm(timer),
            Event::Timer(timer) => {
                let now = cx.now();
                cx.output((timer, now));
            }
            Event::Message { .. } | Event::Done { .. } | Event::Restore(_) => {}
            Event::Resumed | Event::Reconnected(_) => {}
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}
