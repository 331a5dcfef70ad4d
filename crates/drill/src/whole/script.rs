//! What happens to the machines of a run, and when: drawn from the plan before it begins.

use crate::plan::Plan;
use maftia_base::{Party, PartySet};
use maftia_sim::Random;
use std::collections::VecDeque;

/// What there is, each with a sentence.
pub const STORAGES: &[(&str, &str)] = &[
    ("calm", "nothing happens to anybody"),
    ("kills", "single processes are killed and started again"),
    ("quick-kills", "a process is killed again while it still recovers"),
    ("kill-all", "all processes are killed at once, again and again"),
    ("power-cut", "all machines lose their power, and what was not durable"),
    ("power-cuts", "single machines lose their power, and what was not durable"),
    ("any-operation", "machines stop at any operation of their disks"),
    ("graceful", "servers are asked to stop, and started again"),
    ("wiped", "a server loses its journal, and rejoins"),
    ("rotten", "bytes of a journal change, or its end is cut off"),
    ("frozen", "processes are stopped for a while, and go on"),
    ("full", "disks have no room for a while"),
    ("clocks", "clocks are set, forward and back"),
    ("away", "a server is away for long, so that the others have forgotten what it lacks"),
    (LEFT_TO_THE_LATE, "one comes back late, and then another goes away for good"),
    ("mixed", "all of this in turn, but for lost journals"),
];

/// Not drawn: machine 0 loses its power at a given operation of its disk, and again while it
/// recovers. The last three digits of the run's number say at which; the others decide the rest.
pub const AT_OPERATION: &str = "at-operation";

/// The same of all machines at once, when that of server 0 does.
pub const ALL_AT_OPERATION: &str = "all-at-operation";

/// A server is killed, twice perhaps, and behind when it comes back; then another one is killed,
/// and stays away until all clients have their answers. Many requests, and no marks.
pub const LEFT_TO_THE_LATE: &str = "left-to-the-late";

/// Runs that differ only in the operation.
pub const OPERATIONS: u64 = 1_000;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The process dies.
    Kill(Party),
    /// The machine loses its power.
    Cut(Party),
    /// It will lose its power at the operation of its disk after so many more.
    CutAfter(Party, u64),
    /// It is started, if it does not run.
    Start(Party),
    /// It is asked to stop.
    Stop(Party),
    /// Its process does nothing.
    Freeze(Party),
    /// Its process goes on.
    Thaw(Party),
    /// There is no room on its disk.
    Fill(Party),
    /// There is room again.
    MakeRoom(Party),
    /// Its clock is wrong by so many microseconds.
    SetClock(Party, i64),
    /// Its journal is gone; it rejoins.
    Wipe(Party),
    /// Its process dies, and its journal is damaged.
    Rot(Party),
    /// Its process dies, and the end of a file is cut off.
    Tear(Party),
}

/// What happens, in order, at how many microseconds.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// All that is still to happen.
    pub acts: VecDeque<(u64, Act)>,
    /// When the last of it happens.
    pub length: u64,
    /// Operations of the disk of server 0 before its power fails.
    pub stop_after: Option<u64>,
    /// It fails at planned operations, whatever else happens.
    pub is_planned: bool,
    /// All machines lose their power when one does.
    pub fall_together: bool,
    /// This one is not started again before all clients have their answers.
    pub stays_away: Option<Party>,
}

const MS: u64 = 1_000;

/// Makes a script.
struct Author {
    n: u64,
    /// Whom it may happen to.
    victims: Vec<Party>,
    /// Of them those without whom the group can be.
    corruptible: Vec<Party>,
    /// May a journal be lost, without more being faulty than the group survives?
    may_lose: bool,
    random: Random,
    now: u64,
    acts: Vec<(u64, Act)>,
    stays_away: Option<Party>,
}

impl Script {
    /// That of a plan.
    pub fn of(plan: &Plan, corrupt: PartySet) -> Self {
        let mut random = plan.random(0x5c21);
        let n = plan.shape.n();
        let start = 100 * MS + random.below(600 * MS);
        let mut author = Author {
            n: n as u64,
            victims: PartySet::all(n).iter().collect(),
            corruptible: plan.shape.quorums().corruptible().iter().collect(),
            may_lose: corrupt.is_empty(),
            random,
            now: start,
            acts: Vec::new(),
            stays_away: None,
        };
        author.write(plan.storage);
        let mut acts = std::mem::take(&mut author.acts);
        acts.sort_by_key(|(at, _)| *at);
        let length = acts.last().map_or(author.now, |(at, _)| *at).max(author.now);
        let fall_together = plan.storage == ALL_AT_OPERATION;
        let is_planned = fall_together || plan.storage == AT_OPERATION;
        let stop_after = is_planned.then_some(plan.number % OPERATIONS);
        let stays_away = author.stays_away;
        Self { acts: acts.into(), length, stop_after, is_planned, fall_together, stays_away }
    }
}

impl Author {
    fn write(&mut self, storage: &str) {
        match storage {
            "calm" => self.wait(1_500),
            AT_OPERATION | ALL_AT_OPERATION => self.wait(300),
            "kills" => self.repeat(3, 7, Self::kill_one),
            "quick-kills" => self.repeat(2, 4, Self::kill_quickly),
            "kill-all" => self.repeat(2, 4, |author| author.all(Act::Kill)),
            "power-cut" => self.repeat(2, 4, |author| author.all(Act::Cut)),
            "power-cuts" => self.repeat(3, 6, Self::cut_one),
            "any-operation" => self.repeat(3, 8, Self::cut_anywhere),
            "graceful" => self.repeat(2, 5, Self::stop_one),
            "wiped" if self.may_lose => self.lose(Act::Wipe),
            "rotten" if self.may_lose => {
                let act = if self.random.chance(500) { Act::Rot } else { Act::Tear };
                self.lose(act);
            }
            "wiped" | "rotten" => self.repeat(2, 5, Self::kill_one),
            "frozen" => self.repeat(2, 5, Self::freeze_one),
            "full" => self.repeat(1, 3, Self::fill_one),
            "clocks" => self.repeat(3, 6, Self::set_clock),
            "away" => self.keep_away(),
            LEFT_TO_THE_LATE if self.may_lose => self.leave_to_the_late(),
            LEFT_TO_THE_LATE => self.repeat(3, 7, Self::kill_one),
            "mixed" => self.repeat(4, 8, Self::anything),
            other => panic!("`{other}` is nothing that happens to machines"),
        }
    }

    fn repeat(&mut self, least: u64, most: u64, what: impl Fn(&mut Self)) {
        for _ in 0..least + self.random.below(most - least + 1) {
            what(self);
            self.wait(1_000);
        }
    }

    /// Up to so many milliseconds pass.
    fn wait(&mut self, most_ms: u64) {
        self.now += self.random.below(most_ms * MS);
    }

    fn act(&mut self, act: Act) {
        self.acts.push((self.now, act));
    }

    fn victim(&mut self) -> Party {
        self.victims[self.random.below(self.victims.len() as u64) as usize]
    }

    fn kill_one(&mut self) {
        let victim = self.victim();
        self.act(Act::Kill(victim));
        self.wait(1_000);
        self.act(Act::Start(victim));
    }

    fn kill_quickly(&mut self) {
        let victim = self.victim();
        for _ in 0..2 + self.random.below(3) {
            self.act(Act::Kill(victim));
            self.wait(900);
            self.act(Act::Start(victim));
            self.wait(500);
        }
    }

    fn all(&mut self, how: impl Fn(Party) -> Act) {
        for party in self.victims.clone() {
            self.act(how(party));
        }
        let from = self.now;
        for party in self.victims.clone() {
            let later = self.random.below(400 * MS);
            self.acts.push((from + 1 + later, Act::Start(party)));
        }
        self.now = from + 400 * MS;
    }

    fn cut_one(&mut self) {
        let victim = self.victim();
        self.act(Act::Cut(victim));
        self.wait(800);
        self.act(Act::Start(victim));
    }

    fn cut_anywhere(&mut self) {
        let victim = self.victim();
        let operations = self.random.below(60);
        self.act(Act::CutAfter(victim, operations));
    }

    fn stop_one(&mut self) {
        let victim = self.victim();
        self.act(Act::Stop(victim));
        self.wait(1_000);
        self.act(Act::Start(victim));
    }

    fn lose(&mut self, how: impl Fn(Party) -> Act) {
        let victim = self.corruptible[self.random.below(self.corruptible.len() as u64) as usize];
        self.wait(1_500);
        self.act(how(victim));
        self.wait(1_000);
        self.act(Act::Start(victim));
        self.wait(3_000);
    }

    fn freeze_one(&mut self) {
        let victim = self.victim();
        self.act(Act::Freeze(victim));
        self.wait(2_500);
        self.act(Act::Thaw(victim));
    }

    fn fill_one(&mut self) {
        let victim = self.victim();
        self.act(Act::Fill(victim));
        self.wait(1_500);
        self.act(Act::MakeRoom(victim));
        self.act(Act::Start(victim));
    }

    fn set_clock(&mut self) {
        let victim = self.victim();
        let size = 1 << self.random.below(33);
        let by = self.random.below(size) as i64;
        let by = if self.random.chance(500) { by } else { -by };
        self.act(Act::SetClock(victim, by));
        if self.random.chance(300) {
            self.kill_one();
        }
    }

    fn keep_away(&mut self) {
        let victim = self.victim();
        self.act(Act::Kill(victim));
        self.now += 2_500 * MS;
        self.act(Act::Start(victim));
        self.wait(300);
        // From now on the group needs the one that knows nothing of late.
        let other = self.victim();
        if other != victim && self.n == 4 {
            self.act(Act::Kill(other));
            self.wait(1_500);
            self.act(Act::Start(other));
        }
    }

    fn leave_to_the_late(&mut self) {
        self.wait(2_000);
        let late = self.victim();
        for _ in 0..1 + self.random.below(2) {
            self.act(Act::Kill(late));
            self.now += 100 * MS;
            self.wait(800);
            self.act(Act::Start(late));
            self.wait(500);
        }
        let drawn = self.victim();
        // The group must be able to do without it.
        let fits = |party: &Party| *party != late && self.corruptible.contains(party);
        let next = (0..self.n as usize).map(|by| (drawn.index() + by) % self.n as usize);
        let other = next.map(Party::new).find(fits).expect("more than one may be corrupt");
        self.act(Act::Kill(other));
        self.stays_away = Some(other);
        self.now += 2_000 * MS;
    }

    fn anything(&mut self) {
        match self.random.below(9) {
            0 => self.kill_one(),
            1 => self.kill_quickly(),
            2 => self.all(Act::Kill),
            3 => self.all(Act::Cut),
            4 => self.cut_one(),
            5 => self.cut_anywhere(),
            6 => self.freeze_one(),
            7 => self.fill_one(),
            _ => self.set_clock(),
        }
    }
}
