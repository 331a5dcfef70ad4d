//! The wormhole of a simulated group: the real code of the trusted components, on a simulated
//! control channel.
//!
//! # Rules
//! - **W1** Each server has one component, which all copies of a corrupt server share, and which
//!   goes on when the server crashes. Nobody but its server calls it, and nobody sees or changes
//!   what components say to each other.
//! - **W2** The control channel delays and loses as it is told. Clocks are synchronised when the
//!   run begins.
//! - **W4** A component that reboots has forgotten everything, makes itself a new key, and has it
//!   certified by the key guard of its host. What was asked of it before is never answered.
//! - **W5** A server's driver may keep its calls from it: those are never answered.
//! - **W3** When nobody waits for an answer, components are looked at only when somebody calls
//!   again: a simulation becomes silent. They then do in order what was due meanwhile; of a very
//!   long silence only the end.

use crate::Random;
use crate::simulation::Trusted;
use maftia_base::protocol::Vocabulary;
use maftia_base::time::Time;
use maftia_base::{Party, PartySet};
use maftia_ttcb_api::{
    Answer, BootKeys, Call, Host, Moment, Numbered, ROLES_MAX, Seal, Sealed, Span, Statement, Value,
};
use maftia_ttcb_core::admission::Reservation;
use maftia_ttcb_core::{Config, Control, Core, Local, Now, Outputs, Peer};
use std::collections::BTreeMap;

/// How the wormhole speaks with a protocol, and signs.
pub struct Tongue<P: Vocabulary> {
    /// The call that some work is.
    pub call: fn(P::Work) -> Call,
    /// The result that an answer is.
    pub done: fn(Answer) -> P::Done,
    /// The public key of this secret one.
    pub key: fn(&[u8; 32]) -> [u8; 32],
    /// The signature with this secret key on this digest.
    pub seal: fn(&[u8; 32], &[u8; 32]) -> Seal,
}

/// The keys of a component, and of the guard of its host.
#[derive(Clone, Copy)]
struct Secrets {
    guard: [u8; 32],
    life: [u8; 32],
}

/// What the control channel does.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The bound that components expect it to keep.
    pub bound: Span,
    /// The most that a frame takes, as a rule.
    pub delay: Span,
    /// Frames that are lost, in thousandths.
    pub lost: u32,
    /// Frames that take up to ten times the bound, in thousandths.
    pub late: u32,
    /// For a while, some components hear nothing of the others.
    pub cut: Option<Cut>,
    /// When it becomes fair, for good.
    pub until: Time,
}

impl Default for Weather {
    fn default() -> Self {
        let (bound, delay) = (Span::from_millis(2), Span::from_micros(500));
        Self { bound, delay, lost: 0, late: 0, cut: None, until: Time(u64::MAX / 2_000) }
    }
}

/// A partition of the control channel.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// One of its sides.
    pub side: PartySet,
    /// When it begins.
    pub from: Time,
    /// When it ends.
    pub until: Time,
}

/// 2023-11-14, where the clocks of the other servers stand, too, in nanoseconds.
const BEGIN: u64 = crate::CLOCK_START.0 * 1_000;

/// The silence of which more is not made up for.
const SILENCE_MAX: u64 = 30_000_000_000;

/// The number of a call that no server's code makes.
const ASKED: u64 = u64::MAX;

/// How long before the run the components were started.
const HEAD_START: u64 = 1_000_000_000;

struct Station {
    core: Option<Core>,
    secrets: Secrets,
    /// The present life, as the guard certifies it.
    life: Sealed<BootKeys>,
    tick_at: Option<u64>,
}

enum Happening {
    Frame { from: Peer, to: usize, control: Box<Control> },
    Tick(usize),
}

/// The trusted components of a group.
pub struct Wormhole<P: Vocabulary> {
    tongue: Tongue<P>,
    weather: Weather,
    random: Random,
    stations: Vec<Station>,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    /// Calls that wait for an answer: at which host, under which number.
    waiting: BTreeMap<(usize, u64), u64>,
    answers: Vec<(u64, Answer)>,
    /// Whose calls do not reach their component.
    kept_from: PartySet,
}

struct Effects<'a> {
    key: &'a [u8; 32],
    seal: fn(&[u8; 32], &[u8; 32]) -> Seal,
    random: &'a mut Random,
    sent: Vec<(Host, Control)>,
    answers: Vec<(u64, Answer)>,
}

impl Outputs for Effects<'_> {
    fn send(&mut self, to: Host, control: &Control) {
        self.sent.push((to, *control));
    }
    fn answer(&mut self, _: u8, number: u64, answer: Answer) {
        self.answers.push((number, answer));
    }
    fn sign<T: Statement>(&mut self, said: T) -> Sealed<T> {
        let seal = (self.seal)(self.key, &said.digest());
        Sealed { said, seal }
    }
    fn is_certified(&self, _: &Sealed<BootKeys>, _: &[u8; 32]) -> bool {
        true
    }
    fn random(&mut self) -> Value {
        bits(self.random)
    }
}

fn bits(random: &mut Random) -> [u8; 32] {
    let mut value = [0; 32];
    value.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.bits().to_le_bytes()));
    value
}

impl<P: Vocabulary> Wormhole<P> {
    /// Components for `n` servers.
    pub fn new(n: usize, seed: u64, weather: Weather, tongue: Tongue<P>) -> Self {
        let mut random = Random::new(seed).fork(0x7477);
        let mut guards = Random::new(seed).fork(0x6775);
        let stations = (0..n).map(|host| {
            let secrets = Secrets { guard: bits(&mut guards), life: bits(&mut random) };
            let life = certified(secrets.guard, host, 1, (tongue.key)(&secrets.life), tongue.seal);
            station(life, secrets, n, &weather)
        });
        let stations = stations.collect();
        let mut wormhole = Self {
            tongue,
            weather,
            random,
            stations,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            waiting: BTreeMap::new(),
            answers: Vec::new(),
            kept_from: PartySet::EMPTY,
        };
        (0..n).for_each(|host| wormhole.with_core(host, |core, now, out| core.tick(now, out)));
        wormhole.run_until(HEAD_START);
        wormhole
    }

    /// The present life of each server's component, as the key guard of its host certifies it, and
    /// the guard's key. Servers have role 0.
    pub fn lives(&self) -> Vec<([u8; 32], Sealed<BootKeys>)> {
        let key = self.tongue.key;
        self.stations.iter().map(|it| (key(&it.secrets.guard), it.life)).collect()
    }

    /// The component of a server stops, and begins another life. (W4)
    pub fn reboot(&mut self, party: Party) -> Sealed<BootKeys> {
        let host = party.index();
        let Station { secrets, life, .. } = &self.stations[host];
        let (secrets, number) =
            (Secrets { life: bits(&mut self.random), ..*secrets }, life.said.epoch + 1);
        let Tongue { key, seal, .. } = self.tongue;
        let life = certified(secrets.guard, host, number, key(&secrets.life), seal);
        self.stations[host] = station(life, secrets, self.stations.len(), &self.weather);
        self.waiting.retain(|(of, _), _| *of != host);
        self.queue.retain(|_, what| !matches!(what, Happening::Tick(of) if *of == host));
        self.with_core(host, |core, now, out| core.tick(now, out));
        life
    }

    /// The component of a server stops for ever.
    pub fn crash(&mut self, party: Party) {
        self.stations[party.index()].core = None;
    }

    /// The driver of a server passes its calls on, or from now on does not. (W5)
    pub fn pass_calls(&mut self, party: Party, passes: bool) {
        match passes {
            true => self.kept_from.remove(party),
            false => self.kept_from.insert(party),
        };
    }

    /// What a corrupt server's component answers at once to a call that its code never makes.
    pub fn ask(&mut self, party: Party, call: Call) -> Option<Answer> {
        let host = party.index();
        self.waiting.insert((host, ASKED), ASKED);
        let call = Numbered { number: ASKED, body: call };
        self.with_core(host, |core, now, out| core.call(0, &call, now, out));
        self.waiting.remove(&(host, ASKED));
        let index = self.answers.iter().position(|(number, _)| *number == ASKED)?;
        Some(self.answers.remove(index).1)
    }

    fn with_core(&mut self, host: usize, act: impl FnOnce(&mut Core, Now, &mut Effects<'_>)) {
        let station = &mut self.stations[host];
        let Some(core) = &mut station.core else { return };
        let now = Now { local: Local(self.now), host: Moment(BEGIN - HEAD_START + self.now) };
        let (key, seal) = (&station.secrets.life, self.tongue.seal);
        let mut effects =
            Effects { key, seal, random: &mut self.random, sent: Vec::new(), answers: Vec::new() };
        act(core, now, &mut effects);
        let Effects { sent, answers, .. } = effects;
        let due = core.next_due(now).0.max(self.now + 1);
        let from = Peer { host: Host(host as u8), boot: station.life.said.boot() };
        if station.tick_at.is_none_or(|known| due < known) {
            station.tick_at = Some(due);
            self.schedule(due, Happening::Tick(host));
        }
        for (number, answer) in answers {
            if let Some(call) = self.waiting.remove(&(host, number)) {
                self.answers.push((call, answer));
            }
        }
        for (to, control) in sent {
            self.post(from, usize::from(to.0), control);
        }
    }

    fn post(&mut self, from: Peer, to: usize, control: Control) {
        let Weather { bound, delay, mut lost, mut late, cut, until } = self.weather;
        if self.now >= local(until) {
            (lost, late) = (0, 0);
        }
        if self.random.chance(lost) || cut.is_some_and(|cut| self.is_cut(&cut, from.host, to)) {
            return;
        }
        let mut after = 20_000 + self.random.below(delay.0);
        if self.random.chance(late) {
            after += self.random.below(10 * bound.0);
        }
        let control = Box::new(control);
        self.schedule(self.now + after, Happening::Frame { from, to, control });
    }

    fn is_cut(&self, cut: &Cut, from: Host, to: usize) -> bool {
        let is_on_side = |host: usize| cut.side.contains(Party::new(host));
        (local(cut.from)..local(cut.until)).contains(&self.now)
            && is_on_side(usize::from(from.0)) != is_on_side(to)
    }

    fn schedule(&mut self, at: u64, what: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), what);
    }

    fn run_until(&mut self, end: u64) {
        if end.saturating_sub(self.now) > SILENCE_MAX {
            // What was to happen long ago happens at once, and then the last moments as they are.
            let recent = end - HEAD_START;
            let missed: Vec<_> = self.queue.extract_if(..=(recent, 0), |_, _| true).collect();
            self.now = recent;
            missed.into_iter().for_each(|((at, _), what)| self.happen(at, what));
        }
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > end {
                break;
            }
            let ((at, _), what) = first.remove_entry();
            self.now = self.now.max(at);
            self.happen(at, what);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, at: u64, what: Happening) {
        match what {
            Happening::Tick(host) => {
                // An earlier one may have been wanted after this one was.
                if self.stations[host].tick_at == Some(at) {
                    self.stations[host].tick_at = None;
                    self.with_core(host, |core, now, out| core.tick(now, out));
                }
            }
            Happening::Frame { from, to, control } => {
                self.with_core(to, |core, now, out| core.control(from, &control, now, out));
            }
        }
    }
}

/// A life on this host, which has that public key, certified with the secret one of a guard.
pub fn certified(
    guard: [u8; 32],
    host: usize,
    number: u64,
    key: [u8; 32],
    seal: fn(&[u8; 32], &[u8; 32]) -> Seal,
) -> Sealed<BootKeys> {
    let host = Host(host as u8);
    let said = BootKeys { host, epoch: number, signing: key, exchange: [0; 32] };
    Sealed { said, seal: seal(&guard, &said.digest()) }
}

fn station(life: Sealed<BootKeys>, secrets: Secrets, n: usize, weather: &Weather) -> Station {
    let reservation =
        Reservation { budget: Span::from_millis(900), period: Span::from_millis(1_000) };
    let mut reservations = [None; ROLES_MAX];
    reservations[0] = Some(reservation);
    let config = Config {
        host: life.said.host,
        hosts: n,
        bound: weather.bound,
        drift_ppm: 50,
        reservations,
        permille: 1_000,
    };
    let core = Core::new(&config, life.said.boot()).expect("the reservation fits");
    Station { core: Some(core), secrets, life, tick_at: None }
}

fn local(now: Time) -> u64 {
    HEAD_START + now.0 * 1_000
}

impl<P: Vocabulary> Trusted<P> for Wormhole<P> {
    fn call(&mut self, party: Party, number: u64, call: P::Work, now: Time) {
        self.run_until(local(now));
        if self.kept_from.contains(party) {
            return;
        }
        let host = party.index();
        self.waiting.insert((host, number), number);
        let call = Numbered { number, body: (self.tongue.call)(call) };
        self.with_core(host, |core, now, out| core.call(0, &call, now, out));
    }

    fn advance(&mut self, now: Time) -> Vec<(u64, P::Done)> {
        self.run_until(local(now));
        let done = self.tongue.done;
        self.answers.drain(..).map(|(call, answer)| (call, done(answer))).collect()
    }

    fn next(&self) -> Option<Time> {
        let waits = |(host, _): &(usize, u64)| self.stations[*host].core.is_some();
        if !self.waiting.keys().any(waits) {
            return None;
        }
        let ((at, _), _) = self.queue.first_key_value()?;
        Some(Time(at.saturating_sub(HEAD_START).div_ceil(1_000)))
    }
}
