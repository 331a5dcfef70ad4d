//! One run of trusted components.

use super::daemon::{BOUND, Daemon, Left, Yard, bits};
use super::hostile::{Hostile, Way};
use super::judge::Judge;
use crate::adversary::Acts;
use crate::plan::Plan;
use crate::run::Verdict;
use maftia_base::canary;
use maftia_sim::Random;
use maftia_ttcb_api::session::SessionKey;
use maftia_ttcb_api::{
    Boot, Call, Elist, EntityId, Frame, Function, Host, Instance, Moment, Numbered, Span, Tag,
};
use maftia_ttcb_core::channel::Datagram;
use maftia_ttcb_core::{Local, Now};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const MS: u64 = 1_000_000;

/// 2026-01-01: what the hosts' clocks show when a run begins.
const BEGIN: u64 = 1_767_225_600_000 * MS;

/// When servers begin to do something: clocks are synchronised.
const START: u64 = 400 * MS;

/// When a run is over: whoever waits has lost patience.
const END: u64 = START + 900 * MS;

/// How often a component introduces itself.
const INTRODUCTIONS: u64 = 30 * MS;

struct Server {
    key: SessionKey,
    entity: EntityId,
    number: u64,
    /// What it last had identified.
    position: u128,
    /// Calls that may be waited for: in which life, which number, and when the session began.
    calls: Vec<(Boot, u64)>,
}

struct Site {
    daemon: Option<Daemon>,
    server: Server,
    secrets: [[u8; 32]; 2],
    epoch: u64,
    /// Its local clock less true time, its drift in parts per million, and its host's clock less
    /// true time.
    offset: u64,
    drift: i64,
    host_offset: i64,
    tick_at: Option<u64>,
    /// It gets no time before this.
    stalled: u64,
}

#[derive(Clone)]
enum Happening {
    Datagram { to: usize, datagram: Box<Datagram> },
    Tick(usize),
    Introduce(usize),
    Frame { host: usize, way: Way, frame: Box<Frame> },
    Act(usize, Act),
    Mishap,
}

/// What a server does.
#[derive(Clone, Copy)]
enum Act {
    Propose(usize),
    Decide(usize),
    Identify,
}

/// A run.
pub struct World {
    now: u64,
    hosts: usize,
    random: Random,
    sites: Vec<Site>,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    instances: Vec<Instance>,
    hostile: Hostile,
    network: &'static str,
    storage: &'static str,
    /// Hosts on one side of a partition, and when it is.
    cut: (u64, std::ops::Range<u64>),
    /// Whose component something happens to.
    victim: usize,
    judge: Rc<RefCell<Judge>>,
    network_acts: Acts,
    verdict: Verdict,
}

impl World {
    /// The components of a plan's group, which have just been started.
    pub fn new(plan: &Plan, judge: Rc<RefCell<Judge>>) -> Self {
        let (hosts, mut random) = (plan.shape.n(), plan.random(20));
        let from = START + random.below(60 * MS);
        let cut = (random.bits(), from..from + random.below(80 * MS));
        let victim = random.below(hosts as u64) as usize;
        let sites = (0..hosts).map(|host| site(host, hosts, &mut random)).collect();
        let mut world = Self {
            now: 0,
            hosts,
            random,
            sites,
            queue: BTreeMap::new(),
            sequence: 0,
            instances: Vec::new(),
            hostile: Hostile::new(plan),
            network: plan.network,
            storage: plan.storage,
            cut,
            victim,
            judge,
            network_acts: Acts::default(),
            verdict: Verdict::default(),
        };
        for host in 0..hosts {
            world.schedule(0, Happening::Introduce(host));
            world.schedule(1_000 * host as u64, Happening::Tick(host));
            world.sites[host].tick_at = Some(1_000 * host as u64);
        }
        world
    }

    /// Runs it.
    pub fn run(mut self) -> Verdict {
        self.run_until(START);
        self.plan_acts();
        self.run_until(END);
        let judge = self.judge.borrow_mut();
        let waits = |(host, site): (usize, &Site)| -> Vec<(u8, u64)> {
            let boot = site.daemon.as_ref().map(|daemon| daemon.entity().boot);
            let calls = site
                .server
                .calls
                .iter()
                .filter(|(of, number)| Some(*of) == boot && judge.is_executed(*of, *number));
            calls.map(|(_, number)| (host as u8, *number)).collect()
        };
        let waiting: Vec<_> = self.sites.iter().enumerate().flat_map(waits).collect();
        drop(judge);
        self.judge.borrow_mut().ends(&waiting);
        self.verdict.simulated = self.now / 1_000;
        self.verdict.acts = self.hostile.acts.count();
        self.verdict.network_acts = self.network_acts.count();
        self.verdict
    }

    fn run_until(&mut self, end: u64) {
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > end {
                break;
            }
            let ((at, _), what) = first.remove_entry();
            self.now = self.now.max(at);
            self.verdict.events += 1;
            self.happen(at, what);
        }
        self.now = end;
    }

    /// Agreements, and what servers do in the time that follows.
    fn plan_acts(&mut self) {
        let foul = self.network == "foul" || self.network == "leaky";
        for number in 0..1 + self.random.below(4) {
            let lead = (6 + self.random.below(50)) * MS + if foul { 10 * MS } else { 0 };
            let tstart = Moment(BEGIN + self.now + lead);
            let instance = self.instance(number as u8, tstart);
            self.instances.push(instance);
            let index = self.instances.len() - 1;
            for host in 0..self.hosts {
                let last = if self.random.chance(850) { lead } else { lead + 20 * MS };
                let at = self.now + self.random.below(last);
                if self.random.chance(850) {
                    self.schedule(at, Happening::Act(host, Act::Propose(index)));
                }
                for _ in 0..1 + self.random.below(2) {
                    let at = at + self.random.below(120 * MS);
                    self.schedule(at, Happening::Act(host, Act::Decide(index)));
                }
                let at = self.now + 150 * MS + self.random.below(100 * MS);
                self.schedule(at, Happening::Act(host, Act::Decide(index)));
            }
        }
        for host in 0..self.hosts {
            for _ in 0..self.random.below(8) {
                let at = self.now + self.random.below(120 * MS);
                self.schedule(at, Happening::Act(host, Act::Identify));
            }
        }
        let at = self.now + self.random.below(90 * MS);
        self.schedule(at, Happening::Mishap);
    }

    fn instance(&mut self, number: u8, tstart: Moment) -> Instance {
        let mut entities: Vec<EntityId> =
            self.sites.iter().map(|site| site.server.entity).collect();
        while entities.len() > 2 && self.random.chance(200) {
            let index = self.random.below(entities.len() as u64) as usize;
            entities.remove(index);
        }
        let turned = self.random.below(entities.len() as u64) as usize;
        entities.rotate_left(turned);
        let elist = Elist::new(&entities).expect("each host once");
        let function =
            if self.random.chance(500) { Function::Multicast } else { Function::Majority };
        Instance { elist, tstart, function, context: [number; 32] }
    }

    fn schedule(&mut self, at: u64, what: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), what);
    }

    fn happen(&mut self, at: u64, what: Happening) {
        let stalled = match &what {
            Happening::Tick(host) | Happening::Frame { host, way: Way::Down, .. } => Some(*host),
            Happening::Datagram { to, .. } => Some(*to),
            _ => None,
        };
        if let Some(until) = stalled.map(|host| self.sites[host].stalled)
            && until > self.now
        {
            if let Happening::Tick(host) = what {
                self.sites[host].tick_at = Some(until);
            }
            return self.schedule(until, what);
        }
        match what {
            Happening::Tick(host) => {
                if self.sites[host].tick_at == Some(at) {
                    self.sites[host].tick_at = None;
                    self.with_daemon(host, Daemon::tick);
                }
            }
            Happening::Introduce(host) => {
                self.introduce(host);
                self.schedule(self.now + INTRODUCTIONS, Happening::Introduce(host));
            }
            Happening::Datagram { to, datagram } => {
                self.with_daemon(to, |daemon, yard| daemon.on_datagram(&datagram, yard));
            }
            Happening::Frame { host, way: Way::Down, frame } => {
                self.with_daemon(host, |daemon, yard| daemon.on_frame(&frame, yard));
            }
            Happening::Frame { host, way: Way::Up, frame } => {
                if let Ok(answer) = self.sites[host].server.key.open_answer(&frame) {
                    self.judge.borrow_mut().believes(host as u8, &answer);
                }
            }
            Happening::Act(host, act) => self.act(host, act),
            Happening::Mishap => self.mishap(),
        }
    }

    /// A component introduces itself to all, again and again: datagrams may be lost.
    fn introduce(&mut self, host: usize) {
        let Some(daemon) = &self.sites[host].daemon else { return };
        let hello = daemon.hello();
        let others = (0..self.hosts).filter(|to| *to != host);
        others.for_each(|to| self.post(host, to, hello));
    }

    /// What a host's clocks show.
    fn clocks(&self, host: usize) -> Now {
        let Site { offset, drift, host_offset, .. } = self.sites[host];
        let drifted = self.now as i64 + self.now as i64 / 1_000_000 * drift;
        let host_time = (BEGIN + self.now).saturating_add_signed(host_offset);
        Now { local: Local(drifted as u64 + offset), host: Moment(host_time) }
    }

    fn with_daemon(&mut self, host: usize, act: impl FnOnce(&mut Daemon, Yard<'_>) -> Left) {
        let now = self.clocks(host);
        let judge = Rc::clone(&self.judge);
        let Some(daemon) = &mut self.sites[host].daemon else { return };
        let judge = &mut *judge.borrow_mut();
        let left = act(daemon, Yard { now, random: &mut self.random, judge });
        let due = daemon.next_due(now).0.saturating_sub(now.local.0).max(1);
        // A tick that is due is a little late.
        let tick_at = self.now + due + self.random.below(200_000);
        if self.sites[host].tick_at.is_none_or(|known| tick_at < known) {
            self.sites[host].tick_at = Some(tick_at);
            self.schedule(tick_at, Happening::Tick(host));
        }
        for (Host(to), datagram) in left.datagrams {
            self.post(host, usize::from(to), datagram);
        }
        left.frames.into_iter().for_each(|frame| self.pass(host, Way::Up, frame));
    }

    /// A frame of the local socket is on its way.
    fn pass(&mut self, host: usize, way: Way, frame: Frame) {
        for (after, way, frame) in self.hostile.pass(host, way, frame) {
            let frame = Box::new(frame);
            self.schedule(self.now + after, Happening::Frame { host, way, frame });
        }
    }

    /// A datagram is on its way.
    fn post(&mut self, from: usize, to: usize, mut datagram: Datagram) {
        self.verdict.messages += 1;
        if to >= self.hosts {
            return; // A spoilt datagram named nobody as its author.
        }
        let [mut lost, mut late, mut twice, mut spoilt] = [0; 4];
        match self.network {
            "leaky" => lost = 150,
            "tardy" => late = 250,
            "doubling" => twice = 300,
            "foul" => [lost, late, twice, spoilt] = [80, 150, 100, 40],
            _ => {}
        }
        let is_left = |host: usize| self.cut.0 >> host & 1 == 1;
        let is_cut =
            self.network == "cut" && self.cut.1.contains(&self.now) && is_left(from) != is_left(to);
        // Clocks are synchronised in peace.
        let is_peace = self.now < START - 100 * MS;
        if !is_peace && (is_cut || self.random.chance(lost)) {
            return self.network_acts.add();
        }
        for _ in 0..1 + u32::from(!is_peace && self.random.chance(twice)) {
            let mut after = 20_000 + self.random.below(2 * MS);
            if !is_peace && self.random.chance(late) {
                self.network_acts.add();
                after += self.random.below(8 * BOUND.0);
            }
            if !is_peace && self.random.chance(spoilt) {
                let at = self.random.below(datagram.len() as u64) as usize;
                datagram[at] ^= 1 << self.random.below(8);
            }
            let datagram = Box::new(datagram);
            self.schedule(self.now + after, Happening::Datagram { to, datagram });
        }
    }

    fn call(&mut self, host: usize, body: Call) {
        let server = &mut self.sites[host].server;
        server.number += 1;
        let call = Numbered { number: server.number, body };
        server.calls.push((server.entity.boot, call.number));
        let frame = server.key.seal_call(&call);
        self.judge.borrow_mut().calls(host as u8, &call);
        self.pass(host, Way::Down, frame);
    }

    /// A server does something; a liar something else, perhaps.
    fn act(&mut self, host: usize, act: Act) {
        let lies = self.hostile.owns(host) && self.random.chance(500);
        if lies {
            self.hostile.acts.add();
        }
        match act {
            Act::Propose(index) => {
                let mut instance = self.instances[index];
                let value = [1 + self.random.below(2) as u8; 32];
                let value = self.random.chance(750).then_some(value);
                if lies && self.random.chance(300) {
                    instance.tstart = instance.tstart + Span(self.random.below(20 * MS));
                }
                self.call(host, Call::Propose { instance, value });
                if lies {
                    let value = Some([3 + self.random.below(2) as u8; 32]);
                    self.call(host, Call::Propose { instance, value });
                    let at = self.now + self.random.below(80 * MS);
                    self.schedule(at, Happening::Act(host, Act::Propose(index)));
                }
            }
            Act::Decide(index) => {
                let tag = if lies { Tag([7; 32]) } else { self.instances[index].tag() };
                self.call(host, Call::Decide(tag));
            }
            Act::Identify => {
                let server = &mut self.sites[host].server;
                let back = if lies { self.random.below(3) } else { 0 };
                server.position += u128::from(1 + self.random.below(3));
                let position = server.position.saturating_sub(u128::from(3 * back));
                let value = [self.random.below(4) as u8; 32];
                let (marked, timed) = (self.random.chance(700), self.random.chance(200));
                self.call(host, Call::Identify { counter: 0, position, value, marked, timed });
            }
        }
    }

    fn mishap(&mut self) {
        let host = self.victim;
        match self.storage {
            "crash" | "reboot" => {
                self.verdict.crashes += 1;
                self.sites[host].daemon = None;
                if self.storage == "reboot" {
                    self.reboot(host);
                }
            }
            "stall" => {
                self.sites[host].stalled = self.now + 5 * MS + self.random.below(60 * MS);
            }
            "old-life" => {
                // Its guard was rolled back, or somebody kept what it once said.
                let secrets = [bits(&mut self.random), bits(&mut self.random)];
                let hello = Daemon::new(host, self.hosts, 0, secrets).hello();
                let others = (0..self.hosts).filter(|to| *to != host);
                others.for_each(|to| self.post(host, to, hello));
            }
            _ => {}
        }
    }

    /// Another life begins.
    fn reboot(&mut self, host: usize) {
        let fresh = [bits(&mut self.random), bits(&mut self.random)];
        let (hosts, random) = (self.hosts, &mut self.random);
        let site = &mut self.sites[host];
        let (old, position) = (site.secrets, site.server.position);
        (site.secrets, site.epoch, site.server.position) = canary!(
            "ttcb-lives-on-without-memory",
            (old, site.epoch, 0),
            (fresh, site.epoch + 1, position)
        );
        let mut daemon = Daemon::new(host, hosts, site.epoch, site.secrets);
        site.server.key = daemon.session(random);
        site.server.entity = daemon.entity();
        site.daemon = Some(daemon);
        self.with_daemon(host, Daemon::tick);
        self.introduce(host);
    }
}

fn site(host: usize, hosts: usize, random: &mut Random) -> Site {
    let secrets = [bits(random), bits(random)];
    let mut daemon = Daemon::new(host, hosts, 1, secrets);
    let key = daemon.session(random);
    let server = Server { key, entity: daemon.entity(), number: 0, position: 0, calls: Vec::new() };
    Site {
        daemon: Some(daemon),
        server,
        secrets,
        epoch: 1,
        offset: random.below(1 << 40),
        drift: random.below(101) as i64 - 50,
        host_offset: random.below(2 * MS) as i64 - MS as i64,
        tick_at: None,
        stalled: 0,
    }
}
