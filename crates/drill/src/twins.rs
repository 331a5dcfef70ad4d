//! Twins: two copies of one server, with the same keys and different inputs, under every partition
//! of a small group, systematically.
//!
//! # What is generated
//! The honest servers and the two copies are nodes. A scenario says, for each of a few phases, how
//! the nodes are partitioned; a phase ends when nothing is left to happen within the parts. In the
//! end all parts are joined, and whatever honest servers said to each other arrives.
//!
//! # Symmetry
//! Honest servers with the same part (same input, same role) can be renamed, and so can the two
//! copies where the protocol treats their inputs alike. Of each class one scenario is run: the
//! smallest.
//!
//! # Sources
//! S. Bano et al., "Twins: BFT systems made robust", OPODIS 2021. Deviations: our protocols have no
//! rounds that time ends, so a phase ends by silence; and letters between honest servers across a
//! cut are late instead of lost, because links deliver in the end.

use crate::adversary::{HandOf, LetterOf};
use crate::check::{Complaint, History, TELLINGS, Watch, WatchHandle};
use crate::plan::Plan;
use crate::protocols::{Binary, Checkpointing, Coin, Consistent, Multivalued, Reliable};
use crate::stage::Stage;
use crate::world::{Court, Shape};
use maftia_base::canary;
use maftia_base::time::Duration;
use maftia_base::{Party, PartySet};
use maftia_crypto::{IdealSuite, Suite};
use maftia_sim::{Adversary, Fate, Local, Random, Scheduler, Simulation, UNIT};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// For each phase, in which part each node is. Nodes: the servers in order, then the second copy of
/// the twin, which is the last server.
type Scenario = Vec<Vec<u8>>;

/// What came of one protocol.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Which.
    pub protocol: &'static str,
    /// Scenarios before any reduction.
    pub before: u64,
    /// Scenarios that are not the same under other names.
    pub after: u64,
    /// How many were run.
    pub run: usize,
    /// Of them, with how many something was wrong, and what with the first.
    pub failed: usize,
    /// The first complaint, with its scenario.
    pub first: Option<String>,
}

/// Runs all protocols, or one.
pub fn run_all(only: Option<&str>, phases: usize, scenarios_max: usize) -> Vec<Report> {
    type Run = fn(usize, usize) -> Report;
    let all: [(&str, Run); 6] = [
        ("reliable", run_stage::<Reliable<IdealSuite>>),
        ("consistent", run_stage::<Consistent<IdealSuite>>),
        ("coin", run_stage::<Coin<IdealSuite>>),
        ("binary", run_stage::<Binary<IdealSuite>>),
        ("multivalued", run_stage::<Multivalued<IdealSuite>>),
        ("checkpoint", run_stage::<Checkpointing<IdealSuite>>),
    ];
    let chosen = all.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    chosen.map(|(_, run)| run(phases, scenarios_max)).collect()
}

const N: usize = 4;
const TWIN: usize = N - 1;

/// All partitions of `nodes` nodes, in restricted growth form: node 0 is in part 0, and each is in
/// a part that is there already or in the next one.
fn partitions(nodes: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for _ in 0..nodes {
        all = all
            .into_iter()
            .flat_map(|partial: Vec<u8>| {
                let parts = partial.iter().max().map_or(0, |max| max + 1);
                (0..=parts).map(move |part| {
                    let mut longer = partial.clone();
                    longer.push(part);
                    longer
                })
            })
            .collect();
    }
    all
}

/// The same partition in restricted growth form, its nodes renamed.
fn renamed(partition: &[u8], names: &[usize]) -> Vec<u8> {
    let mut image = vec![0; partition.len()];
    for (node, part) in partition.iter().enumerate() {
        image[names[node]] = *part;
    }
    let mut order: Vec<u8> = Vec::new();
    for part in &mut image {
        let position = order.iter().position(|known| known == part).unwrap_or_else(|| {
            order.push(*part);
            order.len() - 1
        });
        *part = position as u8;
    }
    image
}

/// All renamings of nodes that permute `alike` among themselves, and perhaps the two copies.
fn renamings(alike: &[usize], copies: bool) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in alike {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let rest: Vec<usize> =
                    alike.iter().copied().filter(|node| !order.contains(node)).collect();
                rest.into_iter().map(move |node| [order.clone(), vec![node]].concat())
            })
            .collect();
    }
    let mut all = Vec::new();
    for order in orders {
        let mut names: Vec<usize> = (0..=N).collect();
        for (from, to) in alike.iter().zip(&order) {
            names[*from] = *to;
        }
        if copies {
            let mut swapped = names.clone();
            swapped.swap(TWIN, N);
            all.push(swapped);
        }
        all.push(names);
    }
    all
}

/// Scenarios that are the smallest of their class, and how many there are in all.
fn scenarios(phases: usize, names: &[Vec<usize>]) -> (u64, Vec<Scenario>) {
    let parts = partitions(N + 1);
    let total = (parts.len() as u64).pow(phases as u32);
    let mut canonical = Vec::new();
    let mut indices = vec![0usize; phases];
    loop {
        let scenario: Scenario = indices.iter().map(|index| parts[*index].clone()).collect();
        let is_smallest = names.iter().all(|names| {
            let image: Scenario = scenario.iter().map(|phase| renamed(phase, names)).collect();
            scenario <= image
        });
        if is_smallest {
            canonical.push(scenario);
        }
        let Some(place) = indices.iter().rposition(|index| index + 1 < parts.len()) else {
            return (total, canonical);
        };
        indices[place] += 1;
        indices[place + 1..].fill(0);
    }
}

/// In which phase a run is, shared by network and twin.
struct Phases {
    scenario: Scenario,
    now: usize,
}

impl Phases {
    /// Do these two nodes hear each other now?
    fn joined(&self, one: usize, other: usize) -> bool {
        self.scenario.get(self.now).is_none_or(|parts| parts[one] == parts[other])
    }
}

struct Twin<T: Stage>(Rc<RefCell<Phases>>, std::marker::PhantomData<T>);

impl<T: Stage> Adversary<T::Protocol> for Twin<T> {
    fn copies(&self, _: Party) -> usize {
        2
    }

    fn deals(&self, _: Party, copy: usize, peer: Party) -> bool {
        self.0.borrow().joined(TWIN + copy, peer.index())
    }

    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        hand.pass(letter);
    }
}

struct Cuts(Rc<RefCell<Phases>>);

impl<M> Scheduler<M> for Cuts {
    fn route(&mut self, letter: &maftia_sim::Letter<M>, _: &mut Random) -> Fate {
        let twin = Party::new(TWIN);
        let phases = self.0.borrow();
        // Which copies of the twin hear and are heard is the twin's affair.
        let is_twins = letter.from == twin || letter.to == twin;
        match is_twins || phases.joined(letter.from.index(), letter.to.index()) {
            true => Fate::Arrives(Duration(1)),
            false => Fate::Held(Duration(1_000_000_000 * UNIT.0)),
        }
    }

    fn local(&mut self, _: Party, _: Local, _: &mut Random) -> Duration {
        Duration(0)
    }

    fn release(&mut self, held: &[maftia_sim::Letter<M>], _: &mut Random) -> Option<usize> {
        let phases = self.0.borrow();
        held.iter().position(|letter| phases.joined(letter.from.index(), letter.to.index()))
    }

    fn shuffles_work(&self) -> bool {
        false
    }
}

fn run_stage<T: Stage<Suite = IdealSuite>>(phases: usize, scenarios_max: usize) -> Report {
    // Servers 1 and 2 always have the same part; server 0 may be the sender.
    let alike: &[usize] = match T::NAME {
        "coin" | "checkpoint" => &[0, 1, 2],
        _ => &[1, 2],
    };
    let names = renamings(alike, T::NAME == "coin");
    let (before, canonical) = scenarios(phases, &names);
    let after = canonical.len() as u64;
    let mut random = Random::new(7);
    let mut chosen: BTreeSet<usize> = (0..canonical.len()).collect();
    if chosen.len() > scenarios_max {
        chosen.clear();
        while chosen.len() < scenarios_max {
            chosen.insert(random.below(after) as usize);
        }
    }
    let mut report =
        Report { protocol: T::NAME, before, after, run: chosen.len(), ..Report::default() };
    for index in chosen {
        // Each scenario with an honest sender and with the twin as sender, and other inputs.
        for variant in 0..2 {
            let complaints = run_one::<T>(&canonical[index], variant);
            if let Some(complaint) = complaints.first() {
                report.failed += 1;
                let scenario = &canonical[index];
                report
                    .first
                    .get_or_insert_with(|| format!("{complaint} in {scenario:?}, {variant}"));
            }
        }
    }
    report
}

/// A plan whose twin is the last server; the variant decides roles.
fn plan_of<T: Stage>(variant: u64) -> (Plan, T) {
    let plan = |number| Plan {
        protocol: T::NAME,
        shape: Shape::Four,
        conduct: "twins",
        network: "random",
        storage: "calm",
        real: false,
        number,
        script: Default::default(),
    };
    let is_it = |number: &u64| {
        let corrupt = plan(*number).corrupt();
        corrupt.contains(Party::new(TWIN)) && number % 2 == variant
    };
    let number = (0..1_000).find(is_it).expect("one in four has the last server corrupt");
    let plan = plan(number);
    let stage = T::new(&plan, &mut Random::new(variant));
    (plan, stage)
}

fn run_one<T: Stage<Suite = IdealSuite>>(scenario: &Scenario, variant: u64) -> Vec<Complaint> {
    let (plan, stage) = plan_of::<T>(variant);
    let stage = Rc::new(stage);
    let court = Court::<IdealSuite>::new(plan.shape, plan.number);
    let corrupt = PartySet::from_iter([Party::new(TWIN)]);
    let honest = PartySet::all(N).difference(corrupt);
    let phases = Rc::new(RefCell::new(Phases { scenario: scenario.clone(), now: 0 }));
    let watch = Watch::<T>::new(Rc::clone(&stage), court.clone(), honest, false);
    let watch = Rc::new(RefCell::new(watch));
    let (keyrings, answers) = (Rc::clone(&court.keyrings), Rc::clone(&stage));
    let (groups, maker) = (plan.shape.groups(plan.number), Rc::clone(&stage));
    let mut sim = Simulation::<T::Protocol>::builder(groups.clone(), plan.number)
        .trace(0)
        .network(Cuts(Rc::clone(&phases)))
        .worker(move |party, works, clock| {
            IdealSuite::run_many(works, &keyrings[party.index()], clock)
        })
        .application(move |_, told| answers.answers(told))
        .footprint_max(stage.footprint_max(N))
        .observer(WatchHandle(Rc::clone(&watch)))
        .corrupt([Party::new(TWIN)], Twin::<T>(Rc::clone(&phases), std::marker::PhantomData))
        .build_incarnations(move |party, restarts| maker.make(&groups[party.index()], restarts));
    let ran = catch_unwind(AssertUnwindSafe(|| -> Result<(), maftia_sim::Failure> {
        for party in PartySet::all(N).iter() {
            for face in 0..if party.index() == TWIN { 2 } else { 1 } {
                for order in stage.orders(party, face) {
                    sim.command_copy(party, face, order);
                }
            }
        }
        for _ in 0..=scenario.len() {
            // Held letters are waiting for later phases; their last resort lies far ahead.
            sim.run_for(Duration(1_000_000 * UNIT.0), 200_000)?;
            phases.borrow_mut().now += 1;
        }
        sim.run_for(Duration(1_000_000 * UNIT.0), 200_000)
    }));
    let mut complaints: Vec<Complaint> = watch.borrow_mut().complaints.drain(..).collect();
    match ran {
        Err(_) => complaints.push(Complaint::new("assertion", "production panicked")),
        Ok(Err(failure)) => {
            complaints.push(Complaint::new("termination", failure.violation.to_string()));
        }
        Ok(Ok(())) => complaints.extend(canary::quietly(|| judge(&sim, &*stage, &court, corrupt))),
    }
    complaints
}

fn judge<T: Stage<Suite = IdealSuite>>(
    sim: &Simulation<T::Protocol>,
    stage: &T,
    court: &Court<IdealSuite>,
    corrupt: PartySet,
) -> Vec<Complaint> {
    let mut history = History { honest: sim.honest(), told: Vec::new() };
    for party in sim.honest().iter() {
        for (told, outcome) in sim.history(party) {
            let facts = stage.facts(outcome, court);
            history.told.extend(facts.into_iter().map(|fact| (party, told.incarnation, fact)));
        }
    }
    let goal = stage.goal(corrupt, N);
    TELLINGS.iter().filter_map(|(_, check)| check(&history, &goal).err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_partitions_as_bell_numbers_say() {
        assert_eq!([1, 2, 3, 4, 5].map(|nodes| partitions(nodes).len()), [1, 2, 5, 15, 52]);
    }

    #[test]
    fn every_scenario_has_exactly_one_smallest_form() {
        let names = renamings(&[1, 2], false);
        let (total, canonical) = scenarios(2, &names);
        let mut covered = BTreeSet::new();
        for scenario in &canonical {
            for names in &names {
                let image: Scenario = scenario.iter().map(|phase| renamed(phase, names)).collect();
                covered.insert(image);
            }
        }
        assert_eq!(covered.len() as u64, total);
        assert!((canonical.len() as u64) < total * 6 / 10, "{} of {total}", canonical.len());
    }
}
