//! What the network does: any order and any delay, but never for ever.

use super::{Brief, LetterOf};
use crate::fuzz;
use crate::stage::{Said, ShareOf, Stage};
use maftia_base::time::{Duration, Time};
use maftia_base::{Party, PartySet};
use maftia_sim::{Fate, Local, Network, Partition, Random, Scheduler, UNIT};
use std::collections::BTreeMap;

/// Names, and what each does.
pub const NETWORKS: &[(&str, &str)] = &[
    ("random", "any order: each letter that is under way is as likely to be the next"),
    ("lockstep", "every letter takes one unit"),
    ("lossy", "loses and repeats letters; both ends are told of losses"),
    (STARVE_ONE, "everything to and from one honest server takes very long"),
    ("left-behind", "a quorum runs ahead; the others hear everything in the end"),
    ("rushing", "what corrupt servers say arrives at once, all else later"),
    ("newest-first", "the letter that was sent last arrives first"),
    ("partition", "two halves, cut off from each other until it heals"),
    ("one-way", "one half hears the other, and is not heard until it heals"),
    ("losing-partition", "what crosses the cut is lost, and told when it heals"),
    ("clog", "holds some channels back, then lets all go at once, backwards and twice"),
    ("starve-step", "letters of one step of the protocol take very long"),
    ("steps-reversed", "letters of later steps arrive before those of earlier ones"),
    ("boundary", "half of the servers hear of a round only when somebody is in the next"),
    ("coin-aware", "sees coins as soon as they can be known, and delays what agrees with them"),
];

/// Letters of one server take ten thousand times longer than others.
pub const STARVE_ONE: &str = "starve-one";

/// As long as a letter is held at most.
const LONG: Duration = Duration(400 * UNIT.0);

/// The network of this name.
pub fn network<T: Stage>(name: &str, brief: &Brief<T>) -> Box<dyn Scheduler<Said<T>>> {
    let mut brief = brief.clone();
    let n = brief.seat.n as u64;
    let random = &mut brief.random;
    let half = crate::quorum::set_of(random.bits(), n as usize);
    let until = Time(UNIT.0 * (5 + random.below(60)));
    let honest: Vec<Party> = brief.seat.victims().iter().collect();
    let one = honest[random.below(honest.len() as u64) as usize];
    let cut = |loses| {
        Network::random().partitioned(Partition { side: half, from: Time(0), until, loses })
    };
    match name {
        "random" => counted(brief, Network::random()),
        "lockstep" => counted(brief, Network::unit_delay()),
        "lossy" => counted(brief, Network::lossy(150).duplicating(150).losses_max(20)),
        STARVE_ONE => counted(brief, Network::random().starving(one)),
        "partition" => counted(brief, cut(false)),
        "losing-partition" => counted(brief, cut(true)),
        "left-behind" | "rushing" | "one-way" | "starve-step" | "boundary" => {
            Box::new(Late { kind: Kind::of(name, &mut brief, half, until), brief, furthest: 0 })
        }
        "clog" => Box::new(Clog { half, until: 2 + brief.random.below(3 * n), brief, passed: 0 }),
        "newest-first" => Box::new(Ordered { brief, by: Order::Newest }),
        "steps-reversed" => Box::new(Ordered { brief, by: Order::LaterStep }),
        "coin-aware" => {
            Box::new(CoinAware { brief, half, shares: BTreeMap::new(), coins: BTreeMap::new() })
        }
        fuzz::SCRIPTED => fuzz::network(brief),
        other => panic!("`{other}` is no network"),
    }
}

/// Counts the letters of a network that does not look at them.
struct Counted<T: Stage>(Brief<T>, Network);

fn counted<T: Stage>(brief: Brief<T>, network: Network) -> Box<dyn Scheduler<Said<T>>> {
    Box::new(Counted(brief, network))
}

impl<T: Stage> Scheduler<Said<T>> for Counted<T> {
    fn route(&mut self, letter: &LetterOf<T>, random: &mut Random) -> Fate {
        self.0.acts.add();
        self.1.route(letter, random)
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        Scheduler::<Said<T>>::local(&mut self.1, party, what, random)
    }

    fn shuffles_work(&self) -> bool {
        Scheduler::<Said<T>>::shuffles_work(&self.1)
    }
}

/// Whom or what a network delays.
enum Kind {
    /// Letters to and from these.
    Behind(PartySet),
    /// What honest servers say.
    Honest,
    /// From these to the others, until then.
    OneWay(PartySet, Time),
    /// One step.
    Step(u64),
    /// Letters of a round to these, until somebody is in the next.
    Boundary(PartySet),
}

impl Kind {
    fn of<T: Stage>(name: &str, brief: &mut Brief<T>, half: PartySet, until: Time) -> Self {
        match name {
            "left-behind" => {
                let sets = brief.seat.court.quorums.largest_corruptible();
                Self::Behind(sets[brief.random.below(sets.len() as u64) as usize])
            }
            "rushing" => Self::Honest,
            "one-way" => Self::OneWay(half, until),
            "starve-step" => Self::Step(brief.random.below(6)),
            _ => Self::Boundary(half),
        }
    }
}

/// How many steps a round has, for networks that know rounds.
pub const STEPS_PER_ROUND: u64 = 8;

/// Delays some letters for long.
struct Late<T: Stage> {
    brief: Brief<T>,
    kind: Kind,
    /// The furthest round that anybody spoke in.
    furthest: u64,
}

impl<T: Stage> Scheduler<Said<T>> for Late<T> {
    fn route(&mut self, letter: &LetterOf<T>, random: &mut Random) -> Fate {
        let step = self.brief.seat.stage.step(&letter.body);
        self.furthest = self.furthest.max(step / STEPS_PER_ROUND);
        let soon = Duration(1 + random.exponential(UNIT.0));
        let late = match self.kind {
            Kind::Behind(set) => set.contains(letter.from) || set.contains(letter.to),
            Kind::Honest => !self.brief.seat.corrupt.contains(letter.from),
            Kind::OneWay(set, until) => {
                set.contains(letter.from) && !set.contains(letter.to) && letter.sent < until
            }
            Kind::Step(slow) => step % STEPS_PER_ROUND == slow,
            Kind::Boundary(set) => set.contains(letter.to),
        };
        if !late {
            let rushes = matches!(self.kind, Kind::Honest);
            return Fate::Arrives(if rushes { Duration(1) } else { soon });
        }
        self.brief.acts.add();
        match self.kind {
            Kind::Boundary(_) => Fate::Held(LONG),
            Kind::Honest => Fate::Arrives(Duration(soon.0 + UNIT.0)),
            _ => Fate::Arrives(Duration(LONG.0 + soon.0)),
        }
    }

    fn local(&mut self, _: Party, _: Local, random: &mut Random) -> Duration {
        Duration(random.exponential(UNIT.0 / 4))
    }

    fn release(&mut self, held: &[LetterOf<T>], _: &mut Random) -> Option<usize> {
        held.iter().position(|letter| {
            self.brief.seat.stage.step(&letter.body) / STEPS_PER_ROUND < self.furthest
        })
    }
}

/// Holds all channels into one half back; then lets all go, backwards, and each letter twice.
struct Clog<T: Stage> {
    brief: Brief<T>,
    half: PartySet,
    /// How many letters are held before they go.
    until: u64,
    passed: u64,
}

impl<T: Stage> Scheduler<Said<T>> for Clog<T> {
    fn route(&mut self, letter: &LetterOf<T>, random: &mut Random) -> Fate {
        let soon = Duration(1 + random.exponential(UNIT.0));
        if self.half.contains(letter.to) {
            self.brief.acts.add();
            // One copy is held; the one that it is in place of arrives much later.
            return match random.chance(500) {
                true => Fate::Held(LONG),
                false => Fate::ArrivesTwice(Duration(LONG.0 / 8 + soon.0), LONG),
            };
        }
        Fate::Arrives(soon)
    }

    fn local(&mut self, _: Party, _: Local, random: &mut Random) -> Duration {
        Duration(random.exponential(UNIT.0 / 4))
    }

    fn release(&mut self, held: &[LetterOf<T>], _: &mut Random) -> Option<usize> {
        if held.len() as u64 >= self.until {
            self.passed = held.len() as u64;
        }
        if self.passed == 0 {
            return None;
        }
        self.passed -= 1;
        held.len().checked_sub(1)
    }
}

enum Order {
    Newest,
    LaterStep,
}

/// Delivers one letter at a time, in an order of its own; now and then another one.
struct Ordered<T: Stage> {
    brief: Brief<T>,
    by: Order,
}

impl<T: Stage> Scheduler<Said<T>> for Ordered<T> {
    fn route(&mut self, _: &LetterOf<T>, _: &mut Random) -> Fate {
        Fate::Held(Duration(1_000_000 * UNIT.0))
    }

    fn local(&mut self, _: Party, _: Local, _: &mut Random) -> Duration {
        Duration(0)
    }

    fn release(&mut self, held: &[LetterOf<T>], random: &mut Random) -> Option<usize> {
        self.brief.acts.add();
        if random.chance(100) {
            return Some(random.below(held.len() as u64) as usize);
        }
        let indices = 0..held.len();
        match self.by {
            Order::Newest => indices.last(),
            Order::LaterStep => {
                indices.max_by_key(|index| self.brief.seat.stage.step(&held[*index].body))
            }
        }
    }

    fn waits_for_calm(&self) -> bool {
        true
    }
}

/// Shares of one coin that were seen, and the coin's name.
type Seen<T> = (maftia_base::Scope, BTreeMap<Party, ShareOf<T>>);

/// Knows each coin as soon as an honest share of it is under way.
struct CoinAware<T: Stage> {
    brief: Brief<T>,
    half: PartySet,
    shares: BTreeMap<u64, Seen<T>>,
    coins: BTreeMap<u64, u64>,
}

impl<T: Stage> CoinAware<T> {
    fn look(&mut self, letter: &LetterOf<T>) {
        let seat = &self.brief.seat;
        let Some((number, name, share)) = seat.stage.coin_share(&letter.body, seat.scope) else {
            return;
        };
        if self.coins.contains_key(&number) {
            return;
        }
        let (_, shares) = self.shares.entry(number).or_insert_with(|| {
            let own = seat.corrupt.iter().map(|party| (party, seat.share(party, name)));
            (name, own.collect())
        });
        shares.insert(letter.from, share);
        let all = shares.iter().map(|(party, share)| (*party, share.clone())).collect();
        if let Some(coin) = seat.court.coin_of(name, all) {
            self.coins.insert(number, coin_bits(coin));
        }
    }
}

/// A coin as one number: its first byte's last bit decides bits, its first eight bytes leaders.
pub fn coin_bits(coin: maftia_base::Digest) -> u64 {
    coin.short()
}

impl<T: Stage> Scheduler<Said<T>> for CoinAware<T> {
    fn route(&mut self, letter: &LetterOf<T>, random: &mut Random) -> Fate {
        self.look(letter);
        let soon = Duration(1 + random.exponential(UNIT.0));
        let coins = &self.coins;
        let favours = self.brief.seat.stage.favours(letter, &|number| coins.get(&number).copied());
        let is_share =
            self.brief.seat.stage.coin_share(&letter.body, self.brief.seat.scope).is_some();
        if favours || (is_share && self.half.contains(letter.to)) {
            self.brief.acts.add();
            return Fate::Arrives(Duration(soon.0 + 60 * UNIT.0));
        }
        // Whoever is to be persuaded by what the coin says must not have its result before.
        if self.half.contains(letter.to) && !is_share {
            return Fate::Arrives(Duration(soon.0 + 3 * UNIT.0));
        }
        Fate::Arrives(soon)
    }

    fn local(&mut self, _: Party, _: Local, random: &mut Random) -> Duration {
        Duration(random.exponential(UNIT.0 / 8))
    }
}
