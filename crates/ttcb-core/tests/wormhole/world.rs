//! Hosts, their clocks, and a control channel that delays, loses and repeats as a seed decides.

use ed25519_dalek::{Signer, SigningKey};
use maftia_ttcb_api::{
    Answer, Boot, BootKeys, Call, Elist, EntityId, HOSTS_MAX, Host, Moment, Numbered, ROLES_MAX,
    Sealed, Span, Statement, Value,
};
use maftia_ttcb_core::admission::Reservation;
use maftia_ttcb_core::{Config, Control, Core, Local, Now, Outputs, Peer};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const BOUND: Span = Span::from_millis(5);
pub(crate) const MS: u64 = 1_000_000;

/// 2026-01-01.
const BEGIN: u64 = 1_767_225_600 * 1_000_000_000;

/// Where a world's chance comes from.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6a09_e667_f3bc_c908)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    pub(crate) fn permille(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }
}

/// What the control channel does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Frames that are lost, in thousandths.
    pub(crate) lost: u64,
    /// Frames that break the bound, in thousandths, and by how much at most.
    pub(crate) late: u64,
    pub(crate) late_max: Span,
    /// Frames that arrive twice.
    pub(crate) twice: u64,
}

pub(crate) const FAIR: Weather = Weather { lost: 0, late: 0, late_max: Span(0), twice: 0 };
pub(crate) const FOUL: Weather =
    Weather { lost: 60, late: 150, late_max: Span::from_millis(40), twice: 100 };

struct Station {
    core: Core,
    key: SigningKey,
    /// Its local clock less true time, and its drift in parts per million.
    offset: u64,
    drift: i64,
    /// Its host's clock less true time.
    host_offset: i64,
    /// When it is ticked next.
    tick_at: Option<u64>,
    number: u64,
    answers: BTreeMap<(u8, u64), Answer>,
}

enum Happening {
    Frame { from: Peer, to: usize, control: Box<Control> },
    Tick(usize),
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) weather: Weather,
    pub(crate) chance: Chance,
    stations: Vec<Option<Station>>,
    lives: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    /// Frames between these are lost.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) frames: u64,
}

struct Effects<'a> {
    key: &'a SigningKey,
    chance: &'a mut Chance,
    sent: Vec<(Host, Control)>,
    answers: Vec<(u8, u64, Answer)>,
}

impl Outputs for Effects<'_> {
    fn send(&mut self, to: Host, control: &Control) {
        self.sent.push((to, *control));
    }
    fn answer(&mut self, role: u8, number: u64, answer: Answer) {
        self.answers.push((role, number, answer));
    }
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        let seal = self.key.sign(&said.digest()).to_bytes();
        Sealed { said, seal }
    }
    fn is_certified(&self, keys: &Sealed<BootKeys>, guard: &[u8; 32]) -> bool {
        keys.is_signed_by(guard)
    }
    fn random(&mut self) -> Value {
        let mut value = [0; 32];
        value
            .chunks_mut(8)
            .for_each(|part| part.copy_from_slice(&self.chance.bits().to_le_bytes()));
        value
    }
}

impl World {
    /// `hosts` hosts, whose clocks disagree by up to a second.
    pub(crate) fn new(hosts: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 1_000 * MS,
            weather: FAIR,
            chance: Chance::new(seed),
            stations: (0..hosts).map(|_| None).collect(),
            lives: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            frames: 0,
        };
        (0..hosts).for_each(|host| world.boot(host));
        world
    }

    /// The same, after the clocks are synchronised.
    pub(crate) fn synchronised(hosts: usize, seed: u64) -> Self {
        let mut world = Self::new(hosts, seed);
        world.run_for(Span::from_millis(1_000));
        world
    }

    pub(crate) fn boot(&mut self, host: usize) {
        self.lives += 1;
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&self.lives.to_le_bytes());
        secret[8..16].copy_from_slice(&self.chance.bits().to_le_bytes());
        let key = SigningKey::from_bytes(&secret);
        let boot = Boot::of_key(&key.verifying_key().to_bytes());
        let reservation =
            Reservation { budget: Span::from_millis(50), period: Span::from_millis(500) };
        let mut reservations = [None; ROLES_MAX];
        reservations[..3].fill(Some(reservation));
        let config = Config {
            host: Host(host as u8),
            hosts: self.stations.len(),
            bound: BOUND,
            drift_ppm: 50,
            reservations,
            permille: 400,
        };
        let core = Core::new(&config, boot).expect("the reservations fit");
        let station = Station {
            core,
            key,
            offset: self.chance.below(1 << 40),
            drift: self.chance.below(101) as i64 - 50,
            host_offset: self.chance.below(2_000_000) as i64 - 1_000_000,
            tick_at: None,
            number: 0,
            answers: BTreeMap::new(),
        };
        self.stations[host] = Some(station);
        for other in (0..self.stations.len()).filter(|other| *other != host) {
            if let Some(station) = &mut self.stations[other] {
                station.core.introduced(Peer { host: Host(host as u8), boot });
            }
        }
        self.tick(host);
    }

    pub(crate) fn crash(&mut self, host: usize) {
        self.stations[host] = None;
    }

    pub(crate) fn set_host_clock(&mut self, host: usize, ahead: i64) {
        self.stations[host].as_mut().expect("it is up").host_offset = ahead;
    }

    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.stations[host].is_some()
    }

    /// What a host's shell reads now.
    fn clocks(&self, host: usize) -> Now {
        let station = self.stations[host].as_ref().expect("it is up");
        let drifted = self.now as i64 + self.now as i64 / 1_000_000 * station.drift;
        let host_time = (BEGIN + self.now).saturating_add_signed(station.host_offset);
        Now { local: Local(drifted as u64 + station.offset), host: Moment(host_time) }
    }

    pub(crate) fn entity(&self, host: usize, role: u8) -> EntityId {
        self.stations[host].as_ref().expect("it is up").core.entity(role)
    }

    pub(crate) fn key(&self, host: usize) -> [u8; 32] {
        self.stations[host].as_ref().expect("it is up").key.verifying_key().to_bytes()
    }

    /// Role 0 of these hosts.
    pub(crate) fn elist(&self, hosts: &[usize]) -> Elist {
        let entities: Vec<EntityId> = hosts.iter().map(|host| self.entity(*host, 0)).collect();
        Elist::new(&entities).expect("each host once")
    }

    /// The common time as one host tells it.
    pub(crate) fn time(&mut self, host: usize) -> Option<maftia_ttcb_api::Interval> {
        let now = self.clocks(host);
        self.stations[host].as_mut()?.core.time(now)
    }

    /// A moment that is so far in the future at every host.
    pub(crate) fn in_future(&mut self, span: Span) -> Moment {
        let up: Vec<usize> = (0..self.stations.len()).filter(|host| self.is_up(*host)).collect();
        let latest = up.into_iter().filter_map(|host| Some(self.time(host)?.latest)).max();
        latest.expect("somebody is synchronised") + span
    }

    fn with_core<R>(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut Core, Now, &mut Effects<'_>) -> R,
    ) -> R {
        let now = self.clocks(host);
        let station = self.stations[host].as_mut().expect("it is up");
        let mut effects = Effects {
            key: &station.key,
            chance: &mut self.chance,
            sent: Vec::new(),
            answers: Vec::new(),
        };
        let result = act(&mut station.core, now, &mut effects);
        let Effects { sent, answers, .. } = effects;
        for (role, number, answer) in answers {
            station.answers.insert((role, number), answer);
        }
        let boot = station.core.entity(0).boot;
        let due = station.core.next_due(now).0.saturating_sub(now.local.0).max(1);
        let from = Peer { host: Host(host as u8), boot };
        // A tick that is due is a little late.
        let tick_at = self.now + due + self.chance.below(200_000);
        let station = self.stations[host].as_mut().expect("it is up");
        let is_earlier = station.tick_at.is_none_or(|known| tick_at < known);
        if is_earlier {
            station.tick_at = Some(tick_at);
            self.schedule(tick_at, Happening::Tick(host));
        }
        for (to, control) in sent {
            self.post(from, usize::from(to.0), control);
        }
        result
    }

    fn post(&mut self, from: Peer, to: usize, control: Control) {
        self.frames += 1;
        let Weather { lost, late, late_max, twice } = self.weather;
        if self.cut.contains(&(usize::from(from.host.0), to)) {
            return;
        }
        let copies = if self.chance.permille(twice) { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance.permille(lost) {
                continue;
            }
            let mut delay = 20_000 + self.chance.below(2 * MS);
            if self.chance.permille(late) {
                delay += self.chance.below(late_max.0);
            }
            let control = Box::new(control);
            self.schedule(self.now + delay, Happening::Frame { from, to, control });
        }
    }

    fn schedule(&mut self, at: u64, what: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), what);
    }

    fn tick(&mut self, host: usize) {
        self.with_core(host, |core, now, out| core.tick(now, out));
    }

    /// One event; false if there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some(((at, _), what)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        match what {
            Happening::Tick(host) if self.is_up(host) => {
                let station = self.stations[host].as_mut().expect("it is up");
                // An earlier one may have been wanted after this one was.
                if station.tick_at == Some(at) {
                    station.tick_at = None;
                    self.tick(host);
                }
            }
            Happening::Frame { from, to, control } if self.is_up(to) => {
                self.with_core(to, |core, now, out| core.control(from, &control, now, out));
            }
            _ => {}
        }
        true
    }

    pub(crate) fn run_for(&mut self, span: Span) {
        let end = self.now + span.0;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// A call of role 0, and its number.
    pub(crate) fn call(&mut self, host: usize, call: Call) -> u64 {
        self.call_as(host, 0, call)
    }

    pub(crate) fn call_as(&mut self, host: usize, role: u8, call: Call) -> u64 {
        let station = self.stations[host].as_mut().expect("it is up");
        station.number += 1;
        let number = station.number;
        let call = Numbered { number, body: call };
        self.with_core(host, |core, now, out| core.call(role, &call, now, out));
        number
    }

    pub(crate) fn answer(&self, host: usize, number: u64) -> Option<Answer> {
        self.answer_to(host, 0, number)
    }

    pub(crate) fn answer_to(&self, host: usize, role: u8, number: u64) -> Option<Answer> {
        self.stations[host].as_ref()?.answers.get(&(role, number)).copied()
    }

    /// A call that is answered at once.
    pub(crate) fn ask(&mut self, host: usize, call: Call) -> Answer {
        let number = self.call(host, call);
        self.answer(host, number).expect("it is answered at once")
    }
}

pub(crate) fn value(byte: u8) -> Value {
    let mut value = [0; 32];
    value[0] = byte;
    value[31] = 1;
    value
}

const _: () = assert!(HOSTS_MAX >= 5);
