//! Puts a stage on as its plan says, and has everything judged.

use crate::adversary::{self, Acts, Brief, STARVE_ONE};
use crate::check::{Complaint, History, TELLINGS, Transcript, Watch, WatchHandle};
use crate::plan::Plan;
use crate::stage::{Order, Said, Stage};
use crate::world::Court;
use maftia_base::canary;
use maftia_base::protocol::TimedProtocol;
use maftia_base::time::{Duration, Time};
use maftia_base::{Party, PartySet};
use maftia_crypto::Suite;
use maftia_sim::{
    Crashes, Failure, Fate, Letter, Local, Random, Scheduler, Simulation, UNIT, Violation,
};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What the checkers say; empty if all is well.
    pub complaints: Vec<Complaint>,
    /// Events handled.
    pub events: u64,
    /// Virtual time, in microseconds.
    pub simulated: u64,
    /// Letters of all servers.
    pub messages: u64,
    /// Crashes.
    pub crashes: u64,
    /// How often the corrupt servers did what they are there for.
    pub acts: u64,
    /// How often the network did.
    pub network_acts: u64,
    /// Of the corrupt servers, how many letters were sent in their names.
    pub corrupt_letters: u64,
    /// Digest of the run, if it was asked for.
    pub digest: Option<u64>,
    /// In words, if it was asked for.
    pub transcript: Transcript,
    /// What happened that is worth counting.
    pub feats: Vec<(&'static str, u64)>,
}

/// What to do besides running.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Write down what happens.
    pub writes: bool,
    /// Compute the digest.
    pub digests: bool,
}

/// Runs `plan`. A panic of production code is a complaint, too.
pub fn run<T: Stage>(plan: &Plan, options: Options) -> Verdict {
    let mut random = plan.random(2);
    let parts = Parts::<T>::new(plan, &mut random, options.writes);
    let ran = catch_unwind(AssertUnwindSafe(|| perform(plan, options, &parts, random)));
    let mut verdict = ran.unwrap_or_else(|panic| Verdict {
        complaints: vec![Complaint::new("assertion", said(&*panic))],
        ..Verdict::default()
    });
    let watch = &mut *parts.watch.borrow_mut();
    verdict.complaints.splice(0..0, watch.complaints.drain(..));
    verdict.transcript = watch.transcript();
    [verdict.acts, verdict.network_acts] = parts.acts.clone().map(|acts| acts.count());
    verdict.corrupt_letters = watch.corrupt_letters;
    verdict.feats = parts.stage.feats();
    verdict
}

pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// Who and what takes part in a run.
pub(crate) struct Parts<T: Stage> {
    stage: Rc<T>,
    court: Court<T::Suite>,
    corrupt: PartySet,
    watch: Rc<RefCell<Watch<T>>>,
    acts: [Acts; 2],
    provable: Rc<RefCell<PartySet>>,
}

impl<T: Stage> Parts<T> {
    /// As the plan has it; `writes` down what happens, if wanted.
    pub(crate) fn new(plan: &Plan, random: &mut Random, writes: bool) -> Self {
        let stage = Rc::new(T::new(plan, random));
        let court = Court::<T::Suite>::new(plan.shape, plan.number);
        let corrupt = plan.corrupt();
        let honest = PartySet::all(plan.shape.n()).difference(corrupt);
        let watch = Watch::<T>::new(Rc::clone(&stage), court.clone(), honest, writes);
        Self {
            stage,
            court,
            corrupt,
            watch: Rc::new(RefCell::new(watch)),
            acts: [Acts::default(), Acts::default()],
            provable: Rc::default(),
        }
    }
}

fn perform<T: Stage>(
    plan: &Plan,
    options: Options,
    parts: &Parts<T>,
    mut random: Random,
) -> Verdict {
    let mut sim = build(plan, parts, &mut random, |network| network);
    let ended = drive(&mut sim, plan, parts, &mut random);
    let stats = sim.stats();
    let mut verdict = Verdict {
        events: stats.events,
        simulated: sim.now().0,
        messages: stats.messages,
        crashes: stats.crashes,
        digest: options.digests.then(|| sim.digest()),
        ..Verdict::default()
    };
    match ended {
        Err(failure) => verdict.complaints.push(complaint_of(&failure)),
        Ok(()) => verdict.complaints.extend(canary::quietly(|| judge(&sim, parts))),
    }
    verdict
}

type Wires<T> = Box<dyn Scheduler<Said<T>>>;

/// The simulation of a plan; `between` may put something between servers and their network.
pub(crate) fn build<T: Stage>(
    plan: &Plan,
    parts: &Parts<T>,
    random: &mut Random,
    between: impl FnOnce(Wires<T>) -> Wires<T>,
) -> Simulation<T::Protocol> {
    let n = plan.shape.n();
    let Parts { stage, court, corrupt, .. } = parts;
    let [acts, network_acts] = parts.acts.clone();
    let brief = Brief {
        seat: crate::stage::Seat {
            stage: Rc::clone(stage),
            corrupt: *corrupt,
            n,
            scope: court.scope,
            court: court.clone(),
        },
        plan: plan.clone(),
        acts,
        random: random.fork(1),
        provable: Rc::clone(&parts.provable),
    };
    let network = Brief { acts: network_acts, random: random.fork(2), ..brief.clone() };
    let keyrings = Rc::clone(&court.keyrings);
    let [answers, clock, cuts] = [(); 3].map(|()| Rc::clone(stage));
    let mut builder =
        Simulation::<T::Protocol>::builder(plan.shape.groups(plan.number), plan.number)
            .trace(0)
            .network(Channels {
                inner: between(adversary::network(plan.network, &network)),
                // A transport may notice a broken channel, or not.
                is_aided: T::IS_AIDED || plan.random(6).chance(500),
            })
            .clocks(move |party, now| clock.clock(party, now))
            .worker(move |party, works, clock| {
                T::Suite::run_many(works, &keyrings[party.index()], clock)
            })
            .application_with_log(move |party, told, log| {
                answers.answers_from_log(party, told, log)
            })
            .cuts_log(move |told, log| cuts.cuts(told, log))
            .footprint_max(stage.footprint_max(n))
            .observer(WatchHandle(Rc::clone(&parts.watch)));
    if !corrupt.is_empty() {
        builder = builder.corrupt(corrupt.iter(), adversary::conduct(plan.conduct, &brief));
    }
    if let Some(components) = stage.components() {
        builder = builder.trusted(components);
    }
    let crashes = crashes::<T>(plan, *corrupt);
    builder = builder.crashes(crashes);
    if plan.storage == "crash-at" {
        builder = builder.crashing_only_at(plan.random(3).below(T::SPAN / 10 * n as u64));
    }
    let groups = plan.shape.groups(plan.number);
    let maker = Rc::clone(stage);
    builder.build_incarnations(move |party, restarts| maker.make(&groups[party.index()], restarts))
}

/// A network that tells of losses, or does not.
struct Channels<M> {
    inner: Box<dyn Scheduler<M>>,
    is_aided: bool,
}

impl<M> Scheduler<M> for Channels<M> {
    fn tick(&mut self, now: Time) {
        self.inner.tick(now);
    }

    fn route(&mut self, letter: &Letter<M>, random: &mut Random) -> Fate {
        self.inner.route(letter, random)
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        self.inner.local(party, what, random)
    }

    fn release(&mut self, held: &[Letter<M>], random: &mut Random) -> Option<usize> {
        self.inner.release(held, random)
    }

    fn waits_for_calm(&self) -> bool {
        self.inner.waits_for_calm()
    }

    fn is_aided(&self) -> bool {
        self.is_aided && self.inner.is_aided()
    }

    fn shuffles_work(&self) -> bool {
        self.inner.shuffles_work()
    }
}

/// Names of what can happen to servers, and what it is.
pub const STORAGES: &[(&str, &str)] = &[
    ("calm", "nobody crashes"),
    ("crashes", "honest servers crash at random persist points and lose what was not synced"),
    ("crash-at", "one honest server crashes at exactly one persist point"),
    ("power-cut", "all honest servers crash at one moment, and lose all that was not synced"),
    ("any-moment", "honest servers crash at any moment, and lose all that was not synced"),
    ("after-sending", "honest servers crash just after something left them, and lose the unsynced"),
    ("fickle", "as crashes; and after a restart the layer above asks for something else"),
    ("restless", "one honest server at a time is killed, and often again as soon as it is back"),
];

fn crashes<T: Stage>(plan: &Plan, corrupt: PartySet) -> Crashes {
    let parties = PartySet::all(plan.shape.n()).difference(corrupt);
    let downtime = Duration(plan.random(4).below(20 * UNIT.0));
    let permille = (80 * 60 / T::SPAN).max(4) as u32;
    match plan.storage {
        "crashes" | "fickle" => Crashes { parties, permille, crashes_max: 10, downtime },
        "crash-at" => Crashes { parties, permille: 0, crashes_max: 1, downtime },
        _ => Crashes::default(),
    }
}

/// What the layers above ask, when, and again after each restart.
struct Prompter<T: Stage> {
    /// For each server and copy, its orders and how many were given.
    parts: Vec<(Party, usize, Vec<Order<T>>, usize)>,
    was_up: PartySet,
    /// One in so many events another order is given.
    pace: u64,
    power_cut: Option<u64>,
    /// When which servers crash, at any moment, latest first.
    moments: Vec<(u64, Party)>,
    restless: Option<Restless>,
    /// For each server, what it is asked after a restart.
    again: Vec<Vec<Order<T>>>,
}

impl<T: Stage> Prompter<T> {
    fn new(plan: &Plan, stage: &T, random: &mut Random) -> Self {
        let n = plan.shape.n();
        let corrupt = plan.corrupt();
        let mut parts = Vec::new();
        for party in PartySet::all(n).iter() {
            let two_faced = adversary::is_two_faced(plan.conduct);
            let faces = if corrupt.contains(party) && two_faced { 2 } else { 1 };
            for face in 0..faces {
                parts.push((party, face, stage.orders(party, face), 0));
            }
        }
        let pace = [1, 1, 1, 3, 20][random.below(5) as usize];
        let span = T::SPAN * n as u64;
        let power_cut = (plan.storage == "power-cut").then(|| 1 + random.below(span * 2 / 3));
        let honest: Vec<Party> = PartySet::all(n).difference(corrupt).iter().collect();
        let mut moments = Vec::new();
        if plan.storage == "any-moment" {
            for _ in 0..1 + random.below(6) {
                let party = honest[random.below(honest.len() as u64) as usize];
                moments.push((1 + random.below(span), party));
            }
            moments.sort_by(|one, other| other.cmp(one));
        }
        let face = usize::from(T::MAY_BE_FICKLE && plan.storage == "fickle");
        let again = PartySet::all(n).iter().map(|party| stage.orders(party, face)).collect();
        let restless = (plan.storage == "restless").then(|| Restless::new(honest, span, random));
        Self { parts, was_up: PartySet::all(n), pace, power_cut, moments, restless, again }
    }

    fn is_done(&self) -> bool {
        self.parts.iter().all(|(_, _, orders, given)| *given == orders.len())
    }

    /// Gives an order, perhaps.
    fn give(&mut self, sim: &mut Simulation<T::Protocol>, random: &mut Random) {
        let open: Vec<usize> = (0..self.parts.len())
            .filter(|index| {
                let (party, _, orders, given) = &self.parts[*index];
                let is_corrupt = sim.corrupt().contains(*party);
                *given < orders.len() && (is_corrupt || sim.is_up(*party))
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let chosen = open[random.below(open.len() as u64) as usize];
        let (party, face, orders, given) = &mut self.parts[chosen];
        let order = orders[*given].clone();
        *given += 1;
        sim.command_copy(*party, *face, order);
        if !sim.is_up(*party) {
            self.was_up.remove(*party);
        }
    }

    /// Asks again whoever has come back, as the layer above does.
    fn ask_again(&mut self, sim: &mut Simulation<T::Protocol>) {
        for (party, face, orders, given) in &self.parts {
            if !T::ASKS_AGAIN || *face > 0 || sim.corrupt().contains(*party) {
                continue;
            }
            if !sim.is_up(*party) {
                self.was_up.remove(*party);
            } else if self.was_up.insert(*party) {
                let given = (*given).min(orders.len());
                for order in &self.again[party.index()][..given] {
                    sim.command(*party, order.clone());
                    // A command can be what makes a server crash.
                    if !sim.is_up(*party) {
                        self.was_up.remove(*party);
                        break;
                    }
                }
            }
        }
    }

    /// Takes down who is due, and has it come back at once or by the driver's next steps.
    fn strike(&mut self, event: u64, sim: &mut Simulation<T::Protocol>) {
        if let Some(restless) = &mut self.restless {
            restless.strike(event, sim);
        }
        while let Some((_, party)) = self.moments.pop_if(|(at, _)| *at <= event) {
            if sim.is_up(party) {
                sim.crash_losing_unsynced(party);
                self.was_up.remove(party);
                sim.restart(party);
            }
        }
    }

    fn cut_power(&mut self, sim: &mut Simulation<T::Protocol>) {
        let honest: Vec<Party> = sim.honest().iter().collect();
        for party in honest.iter().filter(|party| sim.is_up(**party)).collect::<Vec<_>>() {
            sim.crash_losing_unsynced(*party);
            self.was_up.remove(*party);
        }
        for party in honest {
            sim.restart(party);
        }
    }
}

/// Kills one server at a time, often the same again while it is still finding its way back.
struct Restless {
    victims: Vec<Party>,
    span: u64,
    random: Random,
    victim: Party,
    /// How often the victim falls before it is another's turn.
    falls: u64,
    /// Falls of all.
    left: u64,
    is_down: bool,
    next: u64,
}

impl Restless {
    fn new(victims: Vec<Party>, span: u64, random: &mut Random) -> Self {
        let mut random = random.fork(9);
        let (victim, left) = (victims[0], 2 + random.below(20));
        let next = random.below(span / 4 + 1);
        Self { victims, span, random, victim, falls: 0, left, is_down: false, next }
    }

    fn strike<P: TimedProtocol>(&mut self, event: u64, sim: &mut Simulation<P>) {
        if event < self.next {
            return;
        }
        let random = &mut self.random;
        if std::mem::take(&mut self.is_down) {
            if !sim.is_up(self.victim) {
                sim.restart(self.victim);
            }
            let again = [8, 60, self.span / 8][random.below(3) as usize];
            let soon = if self.falls > 0 { again } else { self.span / 4 };
            self.next = event + 1 + random.below(soon);
            return;
        }
        if self.left == 0 {
            return;
        }
        if self.falls == 0 {
            self.victim = self.victims[random.below(self.victims.len() as u64) as usize];
            self.falls = 1 + random.below(4);
        }
        (self.falls, self.left, self.is_down) = (self.falls - 1, self.left - 1, true);
        let downtime = [2, 50, self.span / 8][random.below(3) as usize];
        self.next = event + random.below(downtime);
        // The process is killed: what it wrote may be on disk or not. Or the machine is.
        match random.chance(600) {
            true => sim.crash(self.victim),
            false => sim.crash_losing_unsynced(self.victim),
        }
    }

    /// No more from now on. False if there was nothing to end.
    fn end<P: TimedProtocol>(&mut self, sim: &mut Simulation<P>) -> bool {
        self.left = 0;
        let was_down = std::mem::take(&mut self.is_down);
        if was_down && !sim.is_up(self.victim) {
            sim.restart(self.victim);
        }
        was_down
    }
}

/// Runs until nothing is left to happen, or the stage says that it is over.
fn drive<T: Stage>(
    sim: &mut Simulation<T::Protocol>,
    plan: &Plan,
    parts: &Parts<T>,
    random: &mut Random,
) -> Result<(), Failure> {
    let stage = &*parts.stage;
    let mut crashes_left = if plan.storage == "after-sending" { 12 } else { 0 };
    let often = (60 * 60 / T::SPAN).max(3) as u32;
    let mut prompter = Prompter::<T>::new(plan, stage, random);
    let (events_max, mut waits) = (events_max(plan, stage), 0);
    for event in 0..events_max {
        if !prompter.is_done() && (prompter.pace == 1 || random.below(prompter.pace) == 0) {
            prompter.give(sim, random);
        }
        if prompter.power_cut == Some(event) {
            prompter.cut_power(sim);
        }
        prompter.strike(event, sim);
        // Striking makes the watch see things: it must not be borrowed meanwhile.
        let spoke = parts.watch.borrow_mut().spoke.take();
        if crashes_left > 0
            && let Some(party) = spoke
            && random.chance(often)
        {
            crashes_left -= 1;
            prompter.moments.push((event, party));
            prompter.strike(event, sim);
        }
        if sim.stats().crashes > 0 {
            prompter.ask_again(sim);
        }
        stage.tend(sim);
        let goes_on = sim.step()?;
        if (goes_on || sim.pending() > 0) && (event % 64 != 0 || !is_over(sim, stage)) {
            continue;
        }
        // Nothing is left that could be interrupted.
        prompter.moments.clear();
        let restarted = prompter.restless.as_mut().is_some_and(|restless| restless.end(sim));
        if restarted || !prompter.is_done() {
            continue;
        }
        if stage.is_tended(sim) || stage.may_stall() {
            return Ok(());
        }
        if waits == WAITS_MAX {
            let mut failure = sim.fail(Party::new(0), "");
            failure.violation = Violation::Stuck;
            return Err(failure);
        }
        waits += 1;
        sim.run_for(PATIENCE, events_max)?;
    }
    let is_met = || plan.conduct != "correct" && are_up(sim) && stage.is_met(sim);
    match stage.may_stall() || prompter.is_done() && is_met() {
        true => Ok(()),
        false => Err(failure_of(sim, events_max)),
    }
}

/// Most events until nothing is left to happen. Where each letter of somebody takes ten thousand
/// units, nearly all of them are a liar's, or those of who waits: there a budget is one of time.
fn events_max<T: Stage>(plan: &Plan, stage: &T) -> u64 {
    // What may stall goes on until the budget is used up.
    let times = if plan.network == STARVE_ONE && !stage.may_stall() { 20 } else { 1 };
    times * stage.events_max(plan.shape.n())
}

/// When nothing happens any more, somebody may do something again after this time, ...
const PATIENCE: Duration = Duration(100 * UNIT.0);

/// ... but not more often than so.
const WAITS_MAX: u32 = 100;

fn is_over<T: Stage>(sim: &Simulation<T::Protocol>, stage: &T) -> bool {
    are_up(sim) && stage.is_over(sim)
}

fn are_up<P: TimedProtocol>(sim: &Simulation<P>) -> bool {
    sim.honest().iter().all(|party| sim.is_up(party))
}

fn failure_of<P: TimedProtocol>(sim: &Simulation<P>, events_max: u64) -> Failure {
    let mut failure = sim.fail(Party::new(0), "");
    failure.violation = Violation::Unending { events_max };
    failure
}

fn complaint_of(failure: &Failure) -> Complaint {
    let checker = match &failure.violation {
        Violation::HonestBlamed { .. } => "blameless",
        Violation::Footprint { .. } => "bounds",
        Violation::EmittedDuringRestore(_) => "contract",
        Violation::Stuck => "liveness",
        _ => "termination",
    };
    Complaint::new(checker, failure.violation.to_string())
}

/// Everything that is judged when a run is over.
fn judge<T: Stage>(sim: &Simulation<T::Protocol>, parts: &Parts<T>) -> Vec<Complaint> {
    let Parts { stage, court, corrupt, watch, provable, .. } = parts;
    let mut history = History { honest: sim.honest(), told: Vec::new() };
    for party in sim.honest().iter() {
        for (told, outcome) in sim.history(party) {
            for fact in stage.facts(outcome, court) {
                history.told.push((party, told.incarnation, fact));
            }
        }
    }
    let n = sim.honest().union(sim.corrupt()).len();
    let goal = stage.goal(*corrupt, n);
    let mut complaints: Vec<Complaint> =
        TELLINGS.iter().filter_map(|(_, check)| check(&history, &goal).err()).collect();
    complaints.extend(stage.verdicts(sim));
    let watch = watch.borrow();
    let undisturbed = sim.stats().crashes == 0 && watch.reconnections == 0;
    if let Some(bound) = stage.messages_max(n).filter(|bound| watch.honest_letters > *bound)
        && undisturbed
    {
        let what = format!("honest servers sent {} letters, at most {bound}", watch.honest_letters);
        complaints.push(Complaint::new("bounds", what));
    }
    let owed = provable.borrow().difference(watch.convicted);
    if !owed.is_empty() && undisturbed {
        let what = format!("{owed:?} provably misbehaved, and nobody can prove it");
        complaints.push(Complaint::new("evidence", what));
    }
    complaints
}
