//! A small world of servers and bad channels, with frames in plain sight.

use crate::{LinkTimer, Linked, Packet};
use maftia_base::protocol::{Never, Timed, TimedProtocol, Vocabulary};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::{Blob, wire_struct};
use maftia_base::{
    AdversaryStructure, Context, Epoch, Event, Fault, Group, GroupId, Party, Protocol, Scope,
    Target,
};
use std::collections::BTreeMap;

/// Tells everybody numbers; its state is all it ever told.
#[derive(Clone, Debug, Hash, Default)]
pub(crate) struct Teller {
    told: Vec<Tale>,
}

/// A number, with as much padding as a test wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tale {
    pub(crate) number: u64,
    pub(crate) padding: Blob<{ 2 << 20 }>,
}
wire_struct!(Tale { number, padding });

pub(crate) fn tale(number: u64, padding: usize) -> Tale {
    Tale { number, padding: Blob::new(vec![7; padding]).expect("small enough") }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Heard(Party, u64),
    Reconnected(Party),
}

impl Vocabulary for Teller {
    const NAME: &'static str = "teller";
    type Command = (Target, Tale);
    type Outcome = Told;
    type Message = Tale;
    type Timer = Never;
    type Ticket = ();
    type Work = ();
    type Done = ();
    type Record = ();
}

impl Protocol for Teller {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command((target, tale)) => {
                self.told.push(tale.clone());
                cx.send(target, tale);
            }
            Event::Message { from, body } => cx.output(Told::Heard(from, body.number)),
            Event::Reconnected(peer) => {
                cx.output(Told::Reconnected(peer));
                self.told.iter().for_each(|tale| cx.send(Target::One(peer), tale.clone()));
            }
            _ => {}
        }
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn footprint(&self) -> usize {
        0
    }
}

pub(crate) type Link = Linked<Teller>;
pub(crate) type Body = Packet<Tale>;

/// How the channels behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_percent: u64,
    pub(crate) duplication_percent: u64,
    /// Each frame takes between one and this many microseconds, whatever was sent before it.
    pub(crate) delay_max: u64,
}

pub(crate) const CALM: Weather = Weather { loss_percent: 0, duplication_percent: 0, delay_max: 1 };

#[derive(Default)]
pub(crate) struct Effects {
    sent: Vec<(Target, Body)>,
    arms: Vec<(LinkTimer, Duration)>,
    pub(crate) faults: Vec<Fault>,
    told: Vec<Told>,
}

struct Step<'a> {
    group: &'a Group,
    now: Time,
    effects: &'a mut Effects,
}

impl Context<Link> for Step<'_> {
    fn group(&self) -> &Group {
        self.group
    }
    fn scope(&self) -> Scope {
        self.group.scope()
    }
    fn send(&mut self, to: Target, body: Body) {
        self.effects.sent.push((to, body));
    }
    fn offload(&mut self, (): (), (): ()) {}

    fn consult(&mut self, (): (), (): ()) {}
    fn persist(&mut self, (): ()) {}
    fn note(&mut self, (): ()) {}
    fn blame(&mut self, fault: Fault) {
        self.effects.faults.push(fault);
    }
    fn output(&mut self, outcome: Told) {
        self.effects.told.push(outcome);
    }
}

impl Timed<Link> for Step<'_> {
    fn now(&self) -> Time {
        self.now
    }
    fn arm(&mut self, timer: LinkTimer, after: Duration) {
        self.effects.arms.push((timer, after));
    }
    fn disarm(&mut self, _: LinkTimer) {}
}

pub(crate) struct Server {
    pub(crate) group: Group,
    /// `None` while it is down.
    pub(crate) link: Option<Link>,
    timers: BTreeMap<LinkTimer, Time>,
    pub(crate) told: Vec<Told>,
    pub(crate) faults: Vec<Fault>,
}

pub(crate) struct World {
    pub(crate) servers: Vec<Server>,
    pub(crate) now: Time,
    pub(crate) weather: Weather,
    letters: BTreeMap<(Time, u64), (Party, Party, Body)>,
    /// Every frame that was ever sent, as an eavesdropper has them.
    pub(crate) seen: Vec<(Party, Party, Body)>,
    pub(crate) records_frames: bool,
    count: u64,
    seed: u64,
}

impl World {
    pub(crate) fn new(n: usize, seed: u64, weather: Weather) -> Self {
        let structure = AdversaryStructure::threshold(n, (n - 1) / 3).expect("n > 3f");
        let server = |party| Server {
            group: Group::new(GroupId::default(), Epoch(0), Party::new(party), structure.clone()),
            link: None,
            timers: BTreeMap::new(),
            told: Vec::new(),
            faults: Vec::new(),
        };
        let servers = (0..n).map(server).collect();
        let (letters, seen) = (BTreeMap::new(), Vec::new());
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let now = Time(0);
        Self { servers, now, weather, letters, seen, records_frames: false, count: 0, seed }
    }

    /// All servers up, in their first incarnation.
    pub(crate) fn up(n: usize, seed: u64, weather: Weather) -> Self {
        let mut world = Self::new(n, seed, weather);
        (0..n).for_each(|index| world.start(Party::new(index), 100 + index as u64));
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    pub(crate) fn start(&mut self, party: Party, incarnation: u64) {
        let server = &mut self.servers[party.index()];
        server.link = Some(Linked::new(Teller::default(), &server.group, incarnation));
        self.step(party, Event::Resumed);
    }

    pub(crate) fn stop(&mut self, party: Party) {
        let server = &mut self.servers[party.index()];
        server.link = None;
        server.timers.clear();
    }

    pub(crate) fn link(&self, party: Party) -> &Link {
        self.servers[party.index()].link.as_ref().expect("it is up")
    }

    pub(crate) fn step(&mut self, party: Party, event: Event<Link>) {
        let mut effects = Effects::default();
        let server = &mut self.servers[party.index()];
        let Some(link) = &mut server.link else { return };
        let now = self.now;
        link.handle_timed(event, &mut Step { group: &server.group, now, effects: &mut effects });
        for (timer, after) in effects.arms {
            server.timers.insert(timer, now + after);
        }
        server.told.extend(effects.told);
        server.faults.extend(effects.faults);
        for (target, body) in effects.sent {
            let Target::One(to) = target else { panic!("a link addresses each peer by itself") };
            self.send(party, to, body);
        }
    }

    /// Puts a frame on the channel, which may be bad.
    pub(crate) fn send(&mut self, from: Party, to: Party, body: Body) {
        if self.records_frames {
            self.seen.push((from, to, body.clone()));
        }
        if from == to {
            return self.post(from, to, body, 0);
        }
        let lost = self.random(100) < self.weather.loss_percent;
        let twice = self.random(100) < self.weather.duplication_percent;
        for _ in 0..(1 + u64::from(twice)) * u64::from(!lost) {
            let delay = 1 + self.random(self.weather.delay_max);
            self.post(from, to, body.clone(), delay);
        }
    }

    fn post(&mut self, from: Party, to: Party, body: Body, delay: u64) {
        self.count += 1;
        self.letters.insert((self.now + Duration(delay), self.count), (from, to, body));
    }

    pub(crate) fn say(&mut self, party: Party, target: Target, tale: Tale) {
        self.step(party, Event::Command((target, tale)));
    }

    /// Runs for `millis` of virtual time.
    pub(crate) fn run(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        loop {
            let timers = self.servers.iter().enumerate().flat_map(|(index, server)| {
                server.timers.iter().map(move |(timer, at)| (*at, index, *timer))
            });
            let timer = timers.min().filter(|(at, ..)| *at <= until);
            let letter = self.letters.first_key_value().map(|(key, _)| *key);
            match (letter.filter(|(at, _)| *at <= until), timer) {
                (Some(key), timer) if timer.is_none_or(|(at, ..)| key.0 <= at) => {
                    let (from, to, body) = self.letters.remove(&key).expect("just seen");
                    self.now = key.0;
                    self.step(to, Event::Message { from, body });
                }
                (_, Some((at, index, timer))) => {
                    self.now = at;
                    self.servers[index].timers.remove(&timer);
                    self.step(Party::new(index), Event::Timer(timer));
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// Everything on its way is lost.
    pub(crate) fn lose_everything(&mut self) {
        self.letters.clear();
    }

    /// The numbers that `party` heard from `from`, in order.
    pub(crate) fn heard(&self, party: Party, from: Party) -> Vec<u64> {
        let told = self.servers[party.index()].told.iter();
        told.filter_map(|told| match told {
            Told::Heard(who, number) if *who == from => Some(*number),
            _ => None,
        })
        .collect()
    }

    pub(crate) fn reconnects(&self, party: Party, peer: Party) -> usize {
        let told = self.servers[party.index()].told.iter();
        told.filter(|told| **told == Told::Reconnected(peer)).count()
    }

    pub(crate) fn assert_nobody_blamed(&self) {
        for server in &self.servers {
            assert_eq!(server.faults, [], "all are honest");
        }
    }
}
