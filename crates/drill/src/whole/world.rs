//! One run: machines, network, clients and what happens to them, until all is over and judged.

use super::authority::{self, Wanted, Wish};
use super::client::{Habits, Town};
use super::disk::Disk;
use super::network::{Net, micros};
use super::script::{ALL_AT_OPERATION, AT_OPERATION, Act, LEFT_TO_THE_LATE, OPERATIONS, Script};
use super::server::{Doors, End, Machine, Setting, small_layout};
use super::service::REGISTERS;
use super::suite::WholeSuite;
use super::tamper::{Intruder, Watch};
use super::witness::Witness;
use crate::plan::Plan;
use commonware_runtime::deterministic::Context;
use commonware_runtime::{Clock, Spawner, Supervisor};
use maftia_agreement::atomic::BATCH_WEIGHT;
use maftia_base::{Party, PartySet};
use maftia_services::{LEDGER, NOTARY};
use maftia_sim::Random;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How long a group may take, once nothing disturbs it any more: simulated microseconds.
const BUDGET: u64 = 120_000_000;

/// How often the world looks around.
const LOOK_EVERY: u64 = 20_000;

/// Everything of a run.
pub struct World<S: WholeSuite> {
    context: Context,
    setting: Arc<Setting<S>>,
    town: Town<S>,
    machines: Vec<Machine<S>>,
    script: Script,
    corrupt: PartySet,
    random: Random,
    ended: mpsc::UnboundedReceiver<(Party, u64, End)>,
    stopped: Arc<Notify>,
    /// When servers that fell by themselves are started again.
    returns: BTreeMap<Party, u64>,
    /// Who lost its journal, or may have.
    damaged: PartySet,
    calm_since: Option<u64>,
    crashes: u64,
}

/// How a run went, besides what the witness has.
pub struct Ran {
    /// Simulated microseconds.
    pub simulated: u64,
    /// Processes that died.
    pub crashes: u64,
    /// What corrupt servers did.
    pub acts: u64,
    /// What the network did.
    pub network_acts: u64,
    /// Frames between servers.
    pub frames: u64,
    /// Simulated microseconds from the end of all disturbance to the end.
    pub calm: u64,
}

impl<S: WholeSuite> World<S> {
    /// The world of `plan`, before anything happens.
    pub fn new(context: Context, plan: &Plan, witness: Witness) -> Self {
        let life = match plan.storage {
            AT_OPERATION | ALL_AT_OPERATION => plan.number / OPERATIONS,
            _ => plan.number,
        };
        let mut random = Plan { number: life, ..plan.clone() }.random(0x17);
        let (corrupt, n) = (plan.corrupt(), plan.shape.n());
        let keyrings = S::servers(plan.shape);
        let groups = plan.shape.groups(0);
        let net = Net::new(plan.network, n, random.fork(1), witness.clone());
        let (ending, ended) = mpsc::unbounded_channel();
        let stopped = Arc::new(Notify::new());
        let sync_micros = [200, 1_000, 4_000, 15_000][random.below(4) as usize];
        let watch = Watch { wanted: Wanted::default(), witness: witness.clone() };
        let machine = |(index, keyring): (usize, &Arc<S::Keyring>)| {
            let party = Party::new(index);
            let conduct = if corrupt.contains(party) { plan.conduct } else { "none" };
            let disk =
                Disk::new(random.fork(100 + index as u64), sync_micros, Arc::clone(&stopped));
            let brain = random.fork(200 + index as u64);
            let intruder = Intruder::new(conduct, party, Arc::clone(keyring), brain, watch.clone());
            // Honest clocks differ, too.
            let offset = random.below(400_000) as i64 - 200_000;
            witness.clock(party, offset);
            Machine::new(party, disk, offset, intruder)
        };
        let machines = keyrings.iter().enumerate().map(machine).collect();
        let doors = Doors::default();
        let town = Town {
            group: groups[0].id(),
            structure: groups[0].structure().clone(),
            keyring: Arc::clone(&keyrings[0]),
            doors: doors.clone(),
            witness: witness.clone(),
            busy: Arc::new(AtomicU64::new(0)),
        };
        // Without marks whoever is behind needs the logs of the others.
        let interval = [2, 4, 16, 4_000][random.below(4) as usize];
        let interval = if plan.storage == LEFT_TO_THE_LATE { 4_000 } else { interval };
        let setting = Arc::new(Setting {
            groups,
            keyrings,
            net,
            witness,
            doors,
            mark_interval: BATCH_WEIGHT * interval,
            layout: small_layout(8 << random.below(4), 4 << (8 + random.below(6))),
            ballast: if random.chance(100) { 600 << 10 } else { 0 },
            wanted: watch.wanted,
            sights: authority::sights(plan, &town.structure),
            ended: ending,
        });
        let script = Script::of(plan, corrupt);
        let (returns, damaged) = (BTreeMap::new(), PartySet::EMPTY);
        Self {
            context,
            setting,
            town,
            machines,
            script,
            corrupt,
            random,
            ended,
            stopped,
            returns,
            damaged,
            calm_since: None,
            crashes: 0,
        }
    }

    fn now(&self) -> u64 {
        micros(&self.context)
    }

    fn witness(&self) -> &Witness {
        &self.setting.witness
    }

    /// Runs until all is over.
    pub async fn run(mut self) -> Ran {
        let net = self.setting.net.clone();
        self.context.child("network").spawn(move |context| net.run(context));
        for index in 0..self.machines.len() {
            self.returns.insert(Party::new(index), self.random.below(100_000));
        }
        if let Some(operations) = self.script.stop_after {
            self.machines[0].disk.stop_after(operations);
        }
        self.populate();
        while !self.is_over() {
            let now = self.now();
            self.witness().set_now(now);
            self.go_on(now).await;
            let next = self.script.acts.front().map(|(at, _)| *at);
            let next = next.into_iter().chain(self.returns.values().copied()).min();
            let until = next.unwrap_or(u64::MAX).min(now + LOOK_EVERY);
            let pause = Duration::from_micros(until.saturating_sub(self.now()).max(1));
            tokio::select! {
                biased;
                Some((party, incarnation, end)) = self.ended.recv() => {
                    self.on_end(party, incarnation, end).await;
                }
                () = self.stopped.notified() => self.on_stopped_disks().await,
                () = self.context.sleep(pause) => {}
            }
        }
        self.close()
    }

    fn close(self) -> Ran {
        let (network_acts, frames, _) = self.setting.net.counts();
        let calm = self.calm_since.map_or(0, |since| self.now() - since);
        Ran {
            simulated: self.now(),
            crashes: self.crashes,
            acts: self.machines.iter().map(|machine| machine.intruder.acts()).sum(),
            network_acts,
            frames,
            calm,
        }
    }

    /// Who asks what.
    fn populate(&mut self) {
        if self.machines.len() == 1 {
            return self.populate_little();
        }
        let clients = 2 + self.random.below(3);
        let is_busy = self.random.chance(60) || self.script.stays_away.is_some();
        let length = self.script.length.max(1_000_000);
        for number in 1..=clients {
            let service = match number {
                2 => LEDGER,
                4 => NOTARY,
                _ => REGISTERS,
            };
            let requests = if is_busy { 150 } else { 8 + self.random.below(8) };
            let window = if is_busy { 8 } else { 1 + self.random.below(4) as usize };
            let mut habits = Habits {
                number,
                service,
                requests,
                window,
                pause: length / requests,
                registers: 1 + self.random.below(2),
                retry_after: [300_000, 1_000_000, 2_000_000][self.random.below(3) as usize],
                home: Party::new(self.random.below(self.machines.len() as u64) as usize),
                large_permille: 0,
                seed: self.random.bits(),
            };
            if service == REGISTERS && habits.seed.is_multiple_of(3) {
                habits.large_permille = 150;
            }
            self.town.start_client(&self.context, habits);
        }
        let (stamps, seed) = (self.random.below(4), self.random.bits());
        if stamps > 0 {
            self.town.start_stock_client(&self.context, 1_000, stamps, seed);
        }
        if self.setting.sights.is_some() {
            self.populate_authority();
        }
    }

    /// Two clients that want certificates for their own names, one that wants those of the first.
    fn populate_authority(&mut self) {
        for (number, of) in [(1, 1), (2, 2), (3, 1)] {
            let (orders, seed) = (1 + self.random.below(3), self.random.bits());
            self.town.start_holder(&self.context, Wish { number, of, orders, seed });
        }
    }

    /// Few clients, for short lives.
    fn populate_little(&mut self) {
        for (number, service) in [(1, REGISTERS), (2, LEDGER)] {
            let habits = Habits {
                number,
                service,
                requests: 5,
                window: 1 + self.random.below(3) as usize,
                pause: 20_000,
                registers: 1,
                retry_after: 300_000,
                home: Party::new(0),
                large_permille: 0,
                seed: self.random.bits(),
            };
            self.town.start_client(&self.context, habits);
        }
    }

    /// What is due now happens.
    async fn go_on(&mut self, now: u64) {
        while let Some((_, act)) = self.script.acts.pop_front_if(|(at, _)| *at <= now) {
            self.witness().note(format_args!("{act:?}"));
            self.perform(act).await;
        }
        let due: Vec<Party> =
            self.returns.iter().filter(|(_, at)| **at <= now).map(|(party, _)| *party).collect();
        for party in due {
            self.returns.remove(&party);
            self.start(party);
        }
        if self.calm_since.is_none() && self.script.acts.is_empty() {
            self.calm_down(now);
        }
        if self.calm_since.is_some()
            && self.town.busy.load(Ordering::Relaxed) == 0
            && let Some(party) = self.script.stays_away.take()
        {
            self.start(party);
        }
    }

    /// From now on nothing disturbs the group but its corrupt members.
    fn calm_down(&mut self, now: u64) {
        self.witness().note("all is calm from now on");
        self.calm_since = Some(now);
        self.setting.net.calm();
        for machine in &self.machines {
            machine.disk.set_full(false);
            if !self.script.is_planned {
                machine.disk.go_on();
            }
            if let Some(process) = &machine.process {
                process.gate.set(false);
                process.room.note(u64::MAX);
            }
            if machine.process.is_none() && self.script.stays_away != Some(machine.party) {
                self.returns.entry(machine.party).or_insert(now);
            }
        }
    }

    fn start(&mut self, party: Party) {
        let machine = &mut self.machines[party.index()];
        if machine.process.is_none() {
            machine.start(&self.context, &self.setting);
        }
    }

    async fn perform(&mut self, act: Act) {
        let setting = Arc::clone(&self.setting);
        match act {
            Act::Kill(party) => {
                self.count_crash(party);
                self.machines[party.index()].kill(&setting).await;
            }
            Act::Cut(party) => {
                self.count_crash(party);
                self.machines[party.index()].cut_power(&setting).await;
            }
            Act::CutAfter(party, operations) => {
                self.machines[party.index()].disk.stop_after(operations);
            }
            Act::Start(party) => self.start(party),
            Act::Stop(party) => {
                self.process(party, |process| process.inbox.stop());
            }
            Act::Freeze(party) => self.process(party, |process| process.gate.set(true)),
            Act::Thaw(party) => self.process(party, |process| process.gate.set(false)),
            Act::Fill(party) => {
                // Half of the servers see it coming.
                if self.random.chance(500) {
                    self.process(party, |process| process.room.note(1 << 20));
                } else {
                    self.machines[party.index()].disk.set_full(true);
                }
            }
            Act::MakeRoom(party) => {
                self.machines[party.index()].disk.set_full(false);
                self.process(party, |process| process.room.note(u64::MAX));
            }
            Act::SetClock(party, by) => {
                self.witness().clock(party, by);
                self.machines[party.index()].offset.store(by, Ordering::Relaxed);
            }
            Act::Wipe(party) | Act::Rot(party) | Act::Tear(party) => {
                self.count_crash(party);
                self.damaged.insert(party);
                let machine = &mut self.machines[party.index()];
                machine.kill(&setting).await;
                match act {
                    Act::Rot(_) => drop(machine.disk.rot()),
                    Act::Tear(_) => drop(machine.disk.tear()),
                    _ => {
                        machine.disk.wipe();
                        machine.disk.declare_lost();
                    }
                }
            }
        }
    }

    fn process(&self, party: Party, what: impl FnOnce(&super::server::Process<S>)) {
        if let Some(process) = &self.machines[party.index()].process {
            what(process);
        }
    }

    fn count_crash(&mut self, party: Party) {
        self.crashes += u64::from(self.machines[party.index()].process.is_some());
    }

    /// Machines whose disks stopped lose their power, and come back after a while.
    async fn on_stopped_disks(&mut self) {
        let setting = Arc::clone(&self.setting);
        let any = self.machines.iter().any(|machine| machine.disk.is_stopped());
        let all = any && self.script.fall_together;
        for index in 0..self.machines.len() {
            if !self.machines[index].disk.is_stopped() && !all {
                continue;
            }
            let party = Party::new(index);
            self.witness().note(format_args!("the disk of {party} stops"));
            self.count_crash(party);
            self.machines[index].cut_power(&setting).await;
            let back = self.now() + self.random.below(700_000);
            self.returns.insert(party, back);
            // Once more, while it recovers.
            if let Some(operations) = self.script.stop_after.take() {
                self.machines[index].disk.stop_after(operations * 7 % 60);
            }
        }
    }

    /// A process ended by itself.
    async fn on_end(&mut self, party: Party, incarnation: u64, end: End) {
        let index = party.index();
        let machine = &self.machines[index];
        // One that was killed meanwhile has nothing to tell any more.
        if machine.process.is_none() || machine.incarnations != incarnation + 1 {
            return;
        }
        self.witness().note(format_args!("{party} ended: {end:?}"));
        if self.machines[index].disk.is_stopped() {
            return self.on_stopped_disks().await;
        }
        let setting = Arc::clone(&self.setting);
        self.machines[index].kill(&setting).await;
        let mut back = self.now() + self.random.below(300_000);
        match end {
            End::Stopped => {}
            End::Full => back += 100_000,
            End::Broken(_) if self.damaged.contains(party) => {
                self.machines[index].disk.wipe();
                self.machines[index].disk.declare_lost();
            }
            End::Broken(why) | End::Disk(why) => {
                self.witness().complain("journal", format!("{party}: {why}"));
                back = u64::MAX;
            }
            End::Halted(why) | End::Failed(why) => {
                self.witness().complain("engine", format!("{party}: {why}"));
                back = u64::MAX;
            }
        }
        self.returns.insert(party, back);
    }

    /// Is everything answered, and everybody level? Or is the patience at its end?
    fn is_over(&self) -> bool {
        let Some(since) = self.calm_since else { return false };
        let honest = PartySet::all(self.machines.len()).difference(self.corrupt);
        if self.town.busy.load(Ordering::Relaxed) == 0 {
            if !self.witness().wants_states() {
                self.witness().want_states();
                return false;
            }
            let is_member = |party: Party| {
                let process = self.machines[party.index()].process.as_ref();
                process.is_some_and(|process| process.board.read().standing == "member")
            };
            if honest.iter().all(is_member) && self.witness().are_level(honest) {
                return true;
            }
        }
        if self.now() < since + BUDGET {
            return false;
        }
        let busy = self.town.busy.load(Ordering::Relaxed);
        for process in self.machines.iter().filter_map(|machine| machine.process.as_ref()) {
            self.witness().note(format_args!("{:?}", process.board.read()));
        }
        let standing = self.machines.iter().map(|machine| match &machine.process {
            Some(process) => process.board.read().standing,
            None => "down".to_owned(),
        });
        let what = format!(
            "{busy} clients wait; servers are {}; {}",
            standing.collect::<Vec<_>>().join(", "),
            self.witness().states()
        );
        self.witness().complain("liveness", what);
        true
    }
}
