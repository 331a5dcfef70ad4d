//! What the tests of the hybrid protocols have in common.

use crate::hybrid::{Member, Members};
use maftia_base::protocol::Vocabulary;
use maftia_base::time::Duration;
use maftia_base::{AdversaryStructure, Epoch, Formula, Group, GroupId, Party, PartySet, Protocol};
use maftia_crypto::{Done, IdealSuite, Suite, Work, ideal};
use maftia_sim::wormhole::{Tongue, Wormhole};
use maftia_sim::{Builder, Failure, Fate, Letter, Local, Random, Scheduler, Simulation, UNIT};

pub(super) fn p(index: usize) -> Party {
    Party::new(index)
}

pub(super) fn parties(indices: impl IntoIterator<Item = usize>) -> PartySet {
    indices.into_iter().map(p).collect()
}

pub(super) fn thresholds(sizes: &[(usize, usize)]) -> Vec<AdversaryStructure> {
    sizes.iter().map(|(n, f)| AdversaryStructure::threshold(*n, *f).unwrap()).collect()
}

/// Five servers; the first two at one site, which may both be corrupt, or any other one.
pub(super) fn two_at_one_site() -> AdversaryStructure {
    let sets = [[0, 1], [2, 2], [3, 3], [4, 4]].map(parties);
    AdversaryStructure::general(5, &sets).unwrap()
}

/// As many as may be corrupt: the last, and the first where the structure allows, or its site.
pub(super) fn liars(structure: &AdversaryStructure) -> PartySet {
    let last = structure.n() - 1;
    let sets = [parties([last, 0]), parties([0, 1]), parties([last])];
    sets.into_iter().find(|set| structure.may_be_corrupt(*set)).unwrap_or_default()
}

pub(super) fn groups(structure: &AdversaryStructure) -> Vec<Group> {
    let group = |index| Group::new(GroupId::default(), Epoch(0), p(index), structure.clone());
    (0..structure.n()).map(group).collect()
}

/// A protocol that asks the trusted component.
pub(super) trait Consults:
    Protocol + Vocabulary<Work = Work<IdealSuite>, Done = Done<IdealSuite>>
{
}

impl<P: Protocol + Vocabulary<Work = Work<IdealSuite>, Done = Done<IdealSuite>>> Consults for P {}

pub(super) fn tongue<P: Consults>() -> Tongue<P> {
    Tongue {
        call: |work| match work {
            Work::Trusted(call) => *call,
            other => panic!("only calls are consulted: {other:?}"),
        },
        done: |answer| Done::Trusted(Box::new(answer)),
        key: |secret| *secret,
        seal: ideal::seal,
    }
}

pub(super) fn members_of<P: Consults>(wormhole: &Wormhole<P>) -> Members {
    let lives = wormhole.lives().into_iter();
    Members::new(lives.map(|(guard, life)| Member::of(&life.said, 0, guard)))
}

/// The beginning of every simulation here.
pub(super) fn builder<P: Consults + 'static>(
    structure: &AdversaryStructure,
    seed: u64,
    wormhole: Wormhole<P>,
) -> Builder<P> {
    let keyrings = ideal::keyrings(structure, &Formula::exact(structure), 1);
    Simulation::builder(groups(structure), seed)
        .worker(move |party, works: Vec<Work<IdealSuite>>, clock| {
            IdealSuite::run_many(works, &keyrings[party.index()], clock)
        })
        .trusted(wormhole)
}

/// Letters and durable writes take up to so many units: with many, patience is over often.
pub(super) struct Slow {
    pub(super) message: u64,
    pub(super) sync: u64,
}

impl Slow {
    pub(super) fn letters(message: u64) -> Self {
        Self { message, sync: 1 }
    }
}

impl<M> Scheduler<M> for Slow {
    fn route(&mut self, _: &Letter<M>, random: &mut Random) -> Fate {
        Fate::Arrives(Duration(1 + random.below(self.message * UNIT.0)))
    }

    fn local(&mut self, _: Party, what: Local, random: &mut Random) -> Duration {
        let most = if what == Local::Sync { self.sync } else { 1 };
        Duration(1 + random.below(most * UNIT.0))
    }
}

/// Gives each of these servers something to propose whenever it has nothing, until all honest ones
/// among `deciders` have decided.
pub(super) fn decide<P: Consults>(
    sim: &mut Simulation<P>,
    (proposers, deciders): (PartySet, PartySet),
    has_input: impl Fn(&P) -> bool,
    input: impl Fn(Party) -> P::Command,
    events_max: u64,
) -> Result<(), Failure> {
    let wants = |sim: &Simulation<P>, party| {
        sim.state(party).is_some_and(|state| !has_input(state) && !state.is_settled())
    };
    loop {
        for party in proposers.iter().filter(|party| wants(sim, *party)).collect::<Vec<_>>() {
            sim.command(party, input(party));
        }
        let done = |sim: &Simulation<P>| {
            let decided = |party| sim.state(party).is_some_and(Protocol::is_settled);
            sim.honest().intersection(deciders).iter().all(decided)
        };
        let restarted = |sim: &Simulation<P>| proposers.iter().any(|party| wants(sim, party));
        sim.run_until(|sim| done(sim) || restarted(sim), events_max)?;
        if done(sim) {
            return Ok(());
        }
    }
}
