//! The simulated network between servers: delays, loss, repetition, partitions, broken connections.
//!
//! It stands behind the engine's [`Post`]; what arrives is put into the receiver's inbox by the
//! same code as in a real server. When a server dies, what is under way to it is lost, and a
//! connection to it takes a while to come back.

use super::Server;
use super::suite::WholeSuite;
use super::tamper::Intruder;
use super::witness::Witness;
use bytes::Bytes;
use commonware_runtime::Clock;
use commonware_runtime::deterministic::Context;
use maftia_base::Party;
use maftia_node::inbox::Inbox;
use maftia_node::metrics::Metrics;
use maftia_node::network::hand_over;
use maftia_node::outbox::{Post, Posted};
use maftia_sim::Random;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::Notify;

/// What there is, each with a sentence.
pub const NETWORKS: &[(&str, &str)] = &[
    ("near", "nothing is lost, and nothing takes long"),
    ("jittery", "some frames take long, so that much comes out of order"),
    ("wasteful", "frames are lost, and come twice"),
    ("split", "groups of servers are cut off from each other, again and again"),
    ("half-open", "single directions of connections go dead for a while"),
    ("resetting", "connections break with all that is under way, and take a while to come back"),
    ("remote-one", "one server is far away from the others"),
    ("remote", "all are far apart"),
];

/// Microseconds.
const MS: u64 = 1_000;

/// The network of a run. Clones are the same one.
pub struct Net<S: WholeSuite>(Arc<Shared<S>>);

impl<S: WholeSuite> Clone for Net<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<S: WholeSuite> {
    state: Mutex<State<S>>,
    fresh: Notify,
}

struct State<S: WholeSuite> {
    kind: &'static str,
    witness: Witness,
    random: Random,
    now: u64,
    n: usize,
    seats: Vec<Option<Seat<S>>>,
    under_way: BTreeMap<(u64, u64), Parcel>,
    posted: u64,
    sent: u64,
    /// Nothing passes from one to the other before this time.
    dead_until: BTreeMap<(usize, usize), u64>,
    /// The next disturbance.
    disturb_at: u64,
    far: usize,
    is_calm: bool,
    acts: u64,
    bytes: u64,
}

/// Where a server that runs is reached.
struct Seat<S: WholeSuite> {
    incarnation: u64,
    inbox: Inbox<Server<S>>,
    metrics: Arc<Metrics>,
}

struct Parcel {
    from: usize,
    to: usize,
    incarnation: u64,
    frame: Bytes,
}

impl<S: WholeSuite> Net<S> {
    /// The network called `kind` between `n` servers.
    pub fn new(kind: &'static str, n: usize, mut random: Random, witness: Witness) -> Self {
        let far = random.below(n as u64) as usize;
        let state = State {
            kind,
            witness,
            now: 0,
            n,
            seats: (0..n).map(|_| None).collect(),
            under_way: BTreeMap::new(),
            posted: 0,
            sent: 0,
            dead_until: BTreeMap::new(),
            disturb_at: random.below(500 * MS),
            random,
            far,
            is_calm: false,
            acts: 0,
            bytes: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), fresh: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server takes its seat. Connections to it are made within a while.
    pub fn sit(
        &self,
        party: Party,
        incarnation: u64,
        inbox: Inbox<Server<S>>,
        metrics: Arc<Metrics>,
    ) {
        let state = &mut *self.lock();
        state.seats[party.index()] = Some(Seat { incarnation, inbox, metrics });
        for other in (0..state.n).filter(|other| *other != party.index()) {
            let until =
                state.now + state.random.below(if incarnation == 0 { 50 } else { 700 }) * MS;
            for pair in [(party.index(), other), (other, party.index())] {
                let dead = state.dead_until.entry(pair).or_default();
                *dead = until.max(*dead);
            }
        }
    }

    /// A server is gone.
    pub fn leave(&self, party: Party) {
        let state = &mut *self.lock();
        state.seats[party.index()] = None;
        let random = &mut state.random;
        // What it sent may still be with its receiver's operating system.
        state.under_way.retain(|_, parcel| {
            parcel.to != party.index() && (parcel.from != party.index() || random.chance(500))
        });
    }

    /// From now on the network does its best.
    pub fn calm(&self) {
        let state = &mut *self.lock();
        state.is_calm = true;
        state.dead_until.clear();
    }

    /// How often it disturbed, and how many frames and bytes were posted.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (state.acts, state.posted, state.bytes)
    }

    /// Delivers for ever.
    pub async fn run(self, context: Context) {
        loop {
            let now = micros(&context);
            let due = self.lock().take_due(now);
            let is_idle = due.is_empty();
            for (parcel, inbox, metrics) in due {
                hand_over(Party::new(parcel.from), parcel.frame, &inbox, &metrics);
            }
            if !is_idle {
                continue;
            }
            let next = self.lock().under_way.first_key_value().map(|((at, _), _)| *at);
            match next {
                None => self.0.fresh.notified().await,
                Some(at) => {
                    let pause = Duration::from_micros(at.saturating_sub(now).max(1));
                    tokio::select! {
                        biased;
                        () = self.0.fresh.notified() => {}
                        () = context.sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// The way out for one server.
    pub fn post(
        &self,
        from: Party,
        incarnation: u64,
        intruder: Arc<Intruder<S>>,
        context: Context,
    ) -> SimulatedPost<S> {
        SimulatedPost { net: self.clone(), from, incarnation, intruder, context }
    }
}

type Due<S> = (Parcel, Inbox<Server<S>>, Arc<Metrics>);

impl<S: WholeSuite> State<S> {
    fn take_due(&mut self, now: u64) -> Vec<Due<S>> {
        self.now = now;
        self.witness.set_now(now);
        self.disturb(now);
        let mut due = Vec::new();
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now) {
            let parcel = entry.remove();
            if let Some(seat) = &self.seats[parcel.to]
                && seat.incarnation == parcel.incarnation
            {
                due.push((parcel, seat.inbox.clone(), Arc::clone(&seat.metrics)));
            }
        }
        due
    }

    /// Begins a disturbance, if it is time for one.
    fn disturb(&mut self, now: u64) {
        if self.is_calm || now < self.disturb_at {
            return;
        }
        let random = &mut self.random;
        self.disturb_at = now + 200 * MS + random.below(1_500 * MS);
        let until = now + 50 * MS + random.below(2_000 * MS);
        let n = self.n as u64;
        match self.kind {
            "split" => {
                let sides = random.bits();
                let side = |index: usize| sides >> index & 1;
                for (from, to) in pairs(self.n).filter(|(from, to)| side(*from) != side(*to)) {
                    self.dead_until.insert((from, to), until);
                }
            }
            "half-open" => {
                for _ in 0..=random.below(n) {
                    let (from, to) = (random.below(n) as usize, random.below(n) as usize);
                    self.dead_until.insert((from, to), until);
                }
            }
            "resetting" => {
                let (one, other) = (random.below(n) as usize, random.below(n) as usize);
                let is_between =
                    |from, to| (from, to) == (one, other) || (to, from) == (one, other);
                self.under_way.retain(|_, parcel| !is_between(parcel.from, parcel.to));
                let back = now + 100 * MS + random.below(600 * MS);
                self.dead_until.insert((one, other), back);
                self.dead_until.insert((other, one), back);
            }
            _ => return,
        }
        self.acts += 1;
    }

    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let random = &mut self.random;
        let near = 50 + random.below(400);
        match self.kind {
            _ if self.is_calm => near,
            "jittery" if random.chance(200) => {
                self.acts += 1;
                random.exponential(60 * MS)
            }
            "remote-one" if from == self.far || to == self.far => {
                self.acts += 1;
                80 * MS + random.below(40 * MS)
            }
            "remote" => {
                self.acts += 1;
                20 * MS + random.below(10 * MS)
            }
            _ => near,
        }
    }

    /// How often a frame arrives.
    fn copies(&mut self) -> usize {
        if self.is_calm || self.kind != "wasteful" {
            return 1;
        }
        match self.random.below(16) {
            0 | 1 => {
                self.acts += 1;
                0
            }
            2 => {
                self.acts += 1;
                2
            }
            _ => 1,
        }
    }

    fn post(&mut self, from: usize, to: usize, frame: &Bytes, later: u64) {
        self.posted += 1;
        self.bytes += frame.len() as u64;
        let Some(seat) = &self.seats[to] else { return };
        let incarnation = seat.incarnation;
        if self.dead_until.get(&(from, to)).is_some_and(|until| self.now < *until) {
            return;
        }
        for _ in 0..self.copies() {
            let at = self.now + later + self.delay(from, to);
            self.sent += 1;
            let parcel = Parcel { from, to, incarnation, frame: frame.clone() };
            self.under_way.insert((at, self.sent), parcel);
        }
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |from| (0..n).map(move |to| (from, to)))
}

/// Microseconds of simulated time since the run began.
pub fn micros(context: &impl Clock) -> u64 {
    let since = context.current().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One server's way to the others.
pub struct SimulatedPost<S: WholeSuite> {
    net: Net<S>,
    from: Party,
    incarnation: u64,
    intruder: Arc<Intruder<S>>,
    context: Context,
}

impl<S: WholeSuite> Post for SimulatedPost<S> {
    fn post(&mut self, to: Party, frame: &mut dyn FnMut() -> Bytes) -> Posted {
        let frame = frame();
        let state = &mut *self.net.lock();
        let seated = state.seats[self.from.index()].as_ref().map(|seat| seat.incarnation);
        // A server that is gone says nothing more.
        if seated == Some(self.incarnation) {
            state.now = micros(&self.context);
            for (frame, later) in self.intruder.frames(frame) {
                state.post(self.from.index(), to.index(), &frame, later);
            }
            self.net.0.fresh.notify_one();
        }
        Posted::Taken
    }
}
