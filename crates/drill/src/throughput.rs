//! What an adversary costs a group under load, in a model of costs.
//!
//! # Model
//! - M1. A server has one processor. Each letter that it hears takes [`LETTER`] and
//!   [`BYTE_NANOS`] for each of its bytes, each piece of cryptography [`WORK`]; what its peers send
//!   is served in turn, as the engine does it, so that a peer that sends much waits for itself.
//! - M2. A letter travels as the network of the plan has it, in the mean one millisecond if nobody
//!   interferes; to force the log takes [`SYNC`] and no processor.
//! - M3. Honest servers are asked. All together have [`OUTSTANDING`] requests under way at any
//!   time, whoever is corrupt.
//!
//! The costs are those of `docs/performance.md`, rounded. What is compared are ratios.

use crate::adversary::{CONDUCTS, LetterOf, NETWORKS};
use crate::plan::Plan;
use crate::protocols::{BOOK, Replication};
use crate::run::{self, Parts};
use crate::stage::{Order, Said, Stage, Told};
use crate::world::Shape;
use maftia_activity::{Command, FrontEndReply, Outcome};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::EncodeSize;
use maftia_base::{Party, PartySet};
use maftia_crypto::IdealSuite;
use maftia_sim::{Fate, Local, Random, Scheduler};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// To hear a letter.
pub const LETTER: Duration = Duration(8);

/// For each byte of a letter, in nanoseconds.
pub const BYTE_NANOS: u64 = 30;

/// A piece of cryptography.
pub const WORK: Duration = Duration(40);

/// To force the log.
pub const SYNC: Duration = Duration(300);

/// Requests under way.
pub const OUTSTANDING: u64 = 600;

/// Most events of a measurement.
const EVENTS_MAX: u64 = 3_000_000;

/// A protocol that can be put under load.
pub trait Loadable: Stage {
    /// Request `id` of the front end of a server.
    fn request(id: u64) -> Order<Self>;
    /// The request that this answers.
    fn answered(told: &Told<Self>) -> Option<u64>;
}

type Replicated = Replication<IdealSuite>;

impl Loadable for Replicated {
    fn request(id: u64) -> Order<Self> {
        Command::FrontEnd { id, service: BOOK, request: format!("p:load {id:0190}").into() }
    }

    fn answered(told: &Told<Self>) -> Option<u64> {
        match told {
            Outcome::FrontEndReply { id, reply: FrontEndReply::Plain(_) } => Some(*id),
            _ => None,
        }
    }
}

/// What was measured under one adversary: medians.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name: what corrupt servers do, or what the network does to a group of honest ones.
    pub adversary: &'static str,
    /// What was seen.
    #[serde(flatten)]
    pub load: Load,
    /// Of the throughput without an adversary.
    pub throughput_ratio: f64,
    /// Of the 99th percentile of the latency without an adversary.
    pub p99_ratio: f64,
}

/// A group of four, without an adversary and with each, `seeds` times `requests` requests; tells
/// each figure as soon as it is there.
pub fn compare(seeds: u64, requests: u64, mut tell: impl FnMut(&Figure)) -> Vec<Figure> {
    let normal = median("none", "random", seeds, requests);
    let specials = Replicated::specials();
    let conducts = CONDUCTS.iter().map(|(name, _)| *name);
    let conducts = conducts.chain(specials.iter().map(|special| special.name));
    let conducts = conducts.map(|conduct| (conduct, (conduct, "random")));
    let networks = NETWORKS.iter().map(|(network, _)| (*network, ("none", *network)));
    let adversaries = conducts.chain(networks.filter(|(network, _)| *network != "random"));
    let figure = |(adversary, (conduct, network))| {
        let load = median(conduct, network, seeds, requests);
        let figure = Figure {
            adversary,
            load,
            throughput_ratio: load.per_second / normal.per_second,
            p99_ratio: load.p99_ms / normal.p99_ms,
        };
        tell(&figure);
        figure
    };
    adversaries.map(figure).collect()
}

/// The run of the median throughput.
fn median(conduct: &'static str, network: &'static str, seeds: u64, requests: u64) -> Load {
    let measure = |number| {
        let (protocol, shape, storage) = (Replicated::NAME, Shape::Four, "calm");
        let plan = Plan {
            protocol,
            shape,
            conduct,
            network,
            storage,
            real: false,
            number,
            script: Arc::default(),
        };
        measure::<Replicated>(&plan, requests)
    };
    let mut loads: Vec<Load> = (0..seeds).map(measure).collect();
    loads.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    loads[loads.len() / 2]
}

/// What was seen under load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Load {
    /// Requests answered.
    pub answered: u64,
    /// Answers a second of simulated time, until nine in ten were there: a server that is cut off
    /// does not count for the others.
    pub per_second: f64,
    /// Median of the time to an answer, in milliseconds.
    pub p50_ms: f64,
    /// Its 99th percentile.
    pub p99_ms: f64,
}

/// Has a group answer `requests` requests under the adversaries of `plan`.
pub fn measure<T: Loadable>(plan: &Plan, requests: u64) -> Load {
    let mut random = plan.random(2);
    let parts = Parts::<T>::new(plan, &mut random, false);
    let mut sim = run::build(plan, &parts, &mut random, |inner| Box::new(Busy::<T>::new(inner)));
    let honest: Vec<Party> =
        PartySet::all(plan.shape.n()).difference(plan.corrupt()).iter().collect();
    let mut seen: BTreeMap<Party, usize> = honest.iter().map(|party| (*party, 0)).collect();
    let mut asked: BTreeMap<u64, Time> = BTreeMap::new();
    let (mut latencies, mut most) = (Vec::new(), Time(0));
    let mut next = 0;
    let mut due: Vec<Party> =
        (0..OUTSTANDING).map(|turn| honest[turn as usize % honest.len()]).collect();
    for _ in 0..EVENTS_MAX {
        for party in due.drain(..) {
            if next < requests {
                asked.insert(next, sim.now());
                sim.command(party, T::request(next));
                next += 1;
            }
        }
        if latencies.len() as u64 == requests || !matches!(sim.step(), Ok(true)) {
            break;
        }
        for (party, seen) in &mut seen {
            let told = sim.outcomes(*party);
            for id in told[*seen..].iter().filter_map(T::answered) {
                if let Some(at) = asked.remove(&id) {
                    latencies.push(sim.now().0 - at.0);
                    if latencies.len() as u64 == requests * 9 / 10 {
                        most = sim.now();
                    }
                    due.push(*party);
                }
            }
            *seen = told.len();
        }
    }
    latencies.sort_unstable();
    let at = |permille: usize| {
        let index = latencies.len() * permille / 1000;
        latencies
            .get(index.min(latencies.len().saturating_sub(1)))
            .map_or(0.0, |us| *us as f64 / 1e3)
    };
    Load {
        answered: latencies.len() as u64,
        per_second: if most.0 > 0 { requests as f64 * 0.9e6 / most.0 as f64 } else { 0.0 },
        p50_ms: at(500),
        p99_ms: at(990),
    }
}

/// A network between servers that have something to do. (M1, M2)
struct Busy<T: Stage> {
    inner: Box<dyn Scheduler<Said<T>>>,
    now: Time,
    /// For each server, until when it is busy with what each server sent; with its own work under
    /// its own name.
    until: BTreeMap<Party, BTreeMap<Party, Time>>,
}

impl<T: Stage> Busy<T> {
    fn new(inner: Box<dyn Scheduler<Said<T>>>) -> Self {
        Self { inner, now: Time(0), until: BTreeMap::new() }
    }

    /// When `at` has done what arrives for `by` at `arrival` and takes `cost` alone: as many share
    /// the processor as wait for it.
    fn served(&mut self, at: Party, by: Party, arrival: Time, cost: Duration) -> Time {
        let until = self.until.entry(at).or_default();
        let others =
            until.iter().filter(|(other, until)| **other != by && **until > arrival).count();
        let own = until.entry(by).or_default();
        *own = Time(own.0.max(arrival.0) + cost.0 * (1 + others as u64));
        *own
    }

    fn heard(&mut self, letter: &LetterOf<T>, after: Duration) -> Duration {
        let bytes = letter.body.encode_size() as u64;
        let cost = Duration(LETTER.0 + bytes * BYTE_NANOS / 1000);
        let heard = self.served(letter.to, letter.from, letter.sent + after, cost);
        Duration(heard.0 - letter.sent.0)
    }
}

impl<T: Stage> Scheduler<Said<T>> for Busy<T> {
    fn tick(&mut self, now: Time) {
        self.now = now;
        self.inner.tick(now);
    }

    fn route(&mut self, letter: &LetterOf<T>, random: &mut Random) -> Fate {
        match self.inner.route(letter, random) {
            Fate::Arrives(after) => Fate::Arrives(self.heard(letter, after)),
            Fate::ArrivesTwice(one, other) => {
                Fate::ArrivesTwice(self.heard(letter, one), self.heard(letter, other))
            }
            fate => fate,
        }
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        match what {
            Local::Work => {
                let done = self.served(party, party, self.now, WORK);
                Duration(done.0 - self.now.0)
            }
            Local::Sync => SYNC,
            Local::SelfDelivery | Local::Done | Local::Command => Duration(1),
            Local::Reconnect => self.inner.local(party, what, random),
        }
    }

    fn release(&mut self, held: &[LetterOf<T>], random: &mut Random) -> Option<usize> {
        self.inner.release(held, random)
    }

    fn waits_for_calm(&self) -> bool {
        self.inner.waits_for_calm()
    }

    fn is_aided(&self) -> bool {
        self.inner.is_aided()
    }

    fn shuffles_work(&self) -> bool {
        self.inner.shuffles_work()
    }
}
