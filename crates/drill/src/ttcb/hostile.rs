//! Who sits between a server and its component, and what it does to the frames of both.

use crate::adversary::Acts;
use crate::plan::Plan;
use maftia_base::PartySet;
use maftia_sim::Random;
use maftia_ttcb_api::Frame;
use std::collections::BTreeMap;

/// Names, and what each does to frames of hosts that are hostile.
pub const CONDUCTS: &[(&str, &str)] = &[
    ("none", "no host is hostile"),
    ("dropper", "drops frames between server and component"),
    ("delayer", "keeps frames for a long time"),
    ("replayer", "repeats frames of both, either way"),
    ("shuffler", "delivers frames in another order"),
    ("forger", "makes and changes frames, without the key"),
    ("liar", "owns the server and its key: contradicts itself, and names what is not its own"),
    ("meddler", "does something else with each frame"),
];

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the component.
    Down,
    /// To the server.
    Up,
}

/// How many frames of each host are remembered.
const REMEMBERED_MAX: usize = 24;

/// The longest that a frame is kept, in nanoseconds.
const KEPT_MAX: u64 = 60_000_000;

/// The brain of all hostile hosts.
pub struct Hostile {
    conduct: &'static str,
    hosts: PartySet,
    /// How often it did what it is there for.
    pub acts: Acts,
    random: Random,
    /// What passed at each host.
    seen: BTreeMap<usize, Vec<Frame>>,
}

impl Hostile {
    /// That of a plan.
    pub fn new(plan: &Plan) -> Self {
        let (conduct, hosts) = (plan.conduct, plan.corrupt());
        let random = plan.random(21);
        Self { conduct, hosts, acts: Acts::default(), random, seen: BTreeMap::new() }
    }

    /// Does it own the server of this host, and not only what is around it?
    pub fn owns(&self, host: usize) -> bool {
        self.is_at(host) && self.conduct == "liar"
    }

    fn is_at(&self, host: usize) -> bool {
        self.hosts.contains(maftia_base::Party::new(host))
    }

    /// What becomes of a frame at a host: frames, each with a delay and its way.
    pub fn pass(&mut self, host: usize, way: Way, frame: Frame) -> Vec<(u64, Way, Frame)> {
        let soon = 10_000 + self.random.below(40_000);
        if !self.is_at(host) {
            return vec![(soon, way, frame)];
        }
        let seen = self.seen.entry(host).or_default();
        if seen.len() < REMEMBERED_MAX {
            seen.push(frame);
        }
        let conduct = match self.conduct {
            "meddler" => ["dropper", "delayer", "replayer", "shuffler", "forger", "none"]
                [self.random.below(6) as usize],
            other => other,
        };
        let acts = match conduct {
            "dropper" => self.random.chance(300).then(Vec::new),
            "delayer" => {
                let late = soon + self.random.below(KEPT_MAX);
                self.random.chance(500).then(|| vec![(late, way, frame)])
            }
            "shuffler" => {
                let later = soon + self.random.below(3_000_000);
                Some(vec![(later, way, frame)])
            }
            "replayer" => Some(self.replayed(host, (soon, way, frame))),
            "forger" => Some(self.forged((soon, way, frame))),
            _ => None,
        };
        if acts.is_some() {
            self.acts.add();
        }
        acts.unwrap_or_else(|| vec![(soon, way, frame)])
    }

    fn replayed(&mut self, host: usize, own: (u64, Way, Frame)) -> Vec<(u64, Way, Frame)> {
        let mut frames = vec![own];
        let seen = &self.seen[&host];
        // It repeats once for each two frames: else repetitions would breed.
        if self.random.chance(500) {
            let old = seen[self.random.below(seen.len() as u64) as usize];
            let way = if self.random.chance(500) { Way::Down } else { Way::Up };
            frames.push((self.random.below(5_000_000), way, old));
        }
        frames
    }

    fn forged(&mut self, (soon, way, frame): (u64, Way, Frame)) -> Vec<(u64, Way, Frame)> {
        let mut changed = frame;
        for _ in 0..1 + self.random.below(3) {
            // Numbers, kinds of calls and the fields behind them stand in front.
            let at = self.random.below(120) as usize;
            changed[at] ^= 1 << self.random.below(8);
        }
        match self.random.below(3) {
            0 => vec![(soon, way, changed)],
            1 => vec![(soon, way, changed), (soon + 1, way, frame)],
            _ => vec![(soon, way, frame), (soon + 1, way, changed)],
        }
    }
}
