//! Reliable broadcast.

use super::{Heard, short};
use crate::adversary::{Brief, Cue, HandOf, Reacts, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{Said, Seat, Stage, Told};
use crate::world::{Court, DrillSuite};
use maftia_agreement::broadcast::reliable::{
    Command, Message, Outcome, ReliableBroadcast, footprint_max,
};
use maftia_agreement::digest_of;
use maftia_base::{Group, Party, PartySet};
use maftia_sim::{Adversary, Letter, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// One broadcast: of 0 by its sender, of 1 by its sender's other face.
pub struct Reliable<S> {
    /// Who broadcasts.
    pub sender: Party,
    /// May an honest sender be asked for its other value after a restart?
    is_fickle: bool,
    suite: PhantomData<S>,
}

impl<S: DrillSuite> Stage for Reliable<S> {
    type Suite = S;
    type Protocol = ReliableBroadcast<S, u64>;
    type Monitor = Reasons;
    const NAME: &'static str = "reliable";

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let is_fickle = plan.storage == "fickle";
        // Two of three times a corrupt sender: an honest one is the easy case.
        let corrupt: Vec<Party> = plan.corrupt().iter().collect();
        let sender = match random.below(3) {
            0 | 1 if !corrupt.is_empty() => corrupt[random.below(corrupt.len() as u64) as usize],
            _ => Party::new(random.below(plan.shape.n() as u64) as usize),
        };
        Self { sender, is_fickle, suite: PhantomData }
    }

    fn make(&self, _: &Group, _: u32) -> Self::Protocol {
        ReliableBroadcast::new(self.sender)
    }

    fn footprint_max(&self, n: usize) -> usize {
        footprint_max(n)
    }

    fn messages_max(&self, n: usize) -> Option<u64> {
        Some((2 * n * n + n) as u64)
    }

    fn events_max(&self, n: usize) -> u64 {
        2_000 * n as u64
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Command<u64>> {
        (party == self.sender).then_some(Command::Broadcast(face as u64)).into_iter().collect()
    }

    fn facts(&self, Outcome::Delivered(value): &Told<Self>, _: &Court<S>) -> Vec<Fact> {
        vec![Fact::new(0, 0, *value)]
    }

    fn goal(&self, corrupt: PartySet, _: usize) -> Goal {
        let is_honest = !corrupt.contains(self.sender);
        let due = is_honest.then_some((0, 0)).into_iter().collect();
        let most = u64::from(self.is_fickle);
        Goal {
            due,
            all_or_none: true,
            allows: Box::new(move |_, value| !is_honest || value <= most),
        }
    }

    fn remarks(&self, said: &Said<Self>) -> Vec<(u64, u64)> {
        match said {
            Message::Init(value) => vec![(0, *value)],
            Message::Echo(value) => vec![(1, *value)],
            Message::Ready(digest) => vec![(2, short(digest))],
        }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        match said {
            Message::Init(_) => 0,
            Message::Echo(_) => 1,
            Message::Ready(_) => 2,
        }
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        _: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let other = |value: &u64| (value & 1) ^ 1;
        match (&*letter.body, random.below(3)) {
            (Message::Init(value), 0) => vec![Message::Init(*value), Message::Init(other(value))],
            (Message::Init(value), _) => vec![Message::Init(other(value))],
            (Message::Echo(value), 0) => vec![Message::Echo(other(value)), Message::Echo(*value)],
            (Message::Echo(value), _) => vec![Message::Echo(other(value))],
            (Message::Ready(_), pick) => vec![Message::Ready(digest_of(&(pick % 2)))],
        }
    }

    fn babble(&self, _: Party, _: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let value = if random.chance(200) { random.bits() } else { random.below(3) };
        match random.below(3) {
            0 => Message::Init(value),
            1 => Message::Echo(value),
            _ => Message::Ready(digest_of(&value)),
        }
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special {
                name: "split-init",
                about: "INIT of one value to some and of another to the rest; supports both",
                make: split_init,
            },
            Special {
                name: "ready-only",
                about: "READY for a value that nobody echoed, to just some",
                make: ready_only,
            },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        match said {
            Message::Init(value) => format!("INIT, my value is {value}"),
            Message::Echo(value) => format!("ECHO, the sender told me {value}"),
            Message::Ready(digest) => {
                let known = (0..4).find(|value| digest_of(value) == *digest);
                match known {
                    Some(value) => format!("READY for {value}"),
                    None => format!("READY for something else, {digest:?}"),
                }
            }
        }
    }
}

fn split_init<S: DrillSuite>(
    brief: &Brief<Reliable<S>>,
) -> Box<dyn Adversary<ReliableBroadcast<S, u64>>> {
    let mut brief = brief.clone();
    let first = brief.seat.some_victims(&mut brief.random);
    let strays = brief.seat.some_victims(&mut brief.random);
    Box::new(Reacts(move |cue: Cue<'_, Message<u64>>, hand: &mut HandOf<'_, Reliable<S>>| {
        let Cue::Start = cue else { return };
        let sender = brief.seat.stage.sender;
        for to in brief.seat.victims().iter() {
            let value = u64::from(!first.contains(to));
            for by in brief.seat.corrupt.iter() {
                brief.acts.add();
                if by == sender {
                    hand.send(by, to, Message::Init(value));
                }
                hand.send(by, to, Message::Echo(value));
                // READY for both values where the first one would not suffice.
                let ready = value ^ u64::from(strays.contains(to));
                hand.send(by, to, Message::Ready(digest_of(&ready)));
            }
        }
    }))
}

fn ready_only<S: DrillSuite>(
    brief: &Brief<Reliable<S>>,
) -> Box<dyn Adversary<ReliableBroadcast<S, u64>>> {
    let mut brief = brief.clone();
    let some = brief.seat.some_victims(&mut brief.random);
    Box::new(Reacts(move |cue: Cue<'_, Message<u64>>, hand: &mut HandOf<'_, Reliable<S>>| {
        let Cue::Start = cue else { return };
        for by in brief.seat.corrupt.iter() {
            for to in some.iter() {
                brief.acts.add();
                hand.send(by, to, Message::Ready(digest_of(&1u64)));
                // So that the digest is that of a value which is known.
                hand.send(by, to, Message::Echo(1));
            }
        }
    }))
}

/// R1 to R5, as whoever listens understands them.
pub struct Reasons {
    sender: Party,
    asked: BTreeSet<(Party, u64)>,
    inits: Heard<u64>,
    echoes: Heard<u64>,
    readies: Heard<u64>,
    /// Who said which kind of thing first: later contradictions do not count.
    first: BTreeMap<(Party, Party, bool), u64>,
}

impl<S: DrillSuite> Monitor<Reliable<S>> for Reasons {
    fn new(stage: &Reliable<S>) -> Self {
        Self {
            sender: stage.sender,
            asked: BTreeSet::new(),
            inits: Heard::default(),
            echoes: Heard::default(),
            readies: Heard::default(),
            first: BTreeMap::new(),
        }
    }

    fn ordered(&mut self, by: Party, Command::Broadcast(value): &Command<u64>) {
        self.asked.insert((by, *value));
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<u64>, _: &Court<S>) {
        match said {
            Message::Init(value) => self.inits.note(by, from, *value),
            Message::Echo(value) => {
                let digest = short(&digest_of(value));
                if *self.first.entry((by, from, false)).or_insert(digest) == digest {
                    self.echoes.note(by, from, digest);
                }
            }
            Message::Ready(digest) => {
                let digest = short(digest);
                if *self.first.entry((by, from, true)).or_insert(digest) == digest {
                    self.readies.note(by, from, digest);
                }
            }
        }
    }

    fn restarted(&mut self, by: Party) {
        self.first.retain(|(at, ..), _| *at != by);
    }

    fn says(
        &mut self,
        by: Party,
        _: Party,
        said: &Message<u64>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let holds = match said {
            Message::Init(value) => self.asked.contains(&(by, *value)),
            Message::Echo(value) => {
                self.asked.contains(&(by, *value))
                    || self.inits.from(by, *value).contains(self.sender)
            }
            Message::Ready(digest) => {
                let digest = short(digest);
                court.quorums.is_quorum(self.echoes.from(by, digest))
                    || court.quorums.has_honest(self.readies.from(by, digest))
            }
        };
        ensure(holds, "justified", || format!("{by} says {said:?} without having heard enough"))
    }

    fn told(
        &mut self,
        by: Party,
        Outcome::Delivered(value): &Outcome<u64>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let holds = court.quorums.is_strong(self.readies.from(by, short(&digest_of(value))));
        ensure(holds, "justified", || format!("{by} delivers {value} upon too few READY"))
    }
}
