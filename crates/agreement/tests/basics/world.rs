//! A simulated group for any of these protocols.

use maftia_base::protocol::{Protocol, Vocabulary};
use maftia_base::{
    AdversaryStructure, Digest, Epoch, Evidence, Formula, Group, GroupId, Party, PartySet, Scope,
};
use maftia_crypto::ideal::{self, IdealKeyring};
use maftia_crypto::{DealSpec, Done, IdealSuite, RealKeyring, RealSuite, Suite, Work, deal};
use maftia_sim::{Builder, Failure, Simulation};

/// Enough for every scenario here; more means that something does not end.
pub(crate) const EVENTS_MAX: u64 = 2_000_000;

pub(crate) fn p(index: usize) -> Party {
    Party::new(index)
}

pub(crate) fn parties(indices: impl IntoIterator<Item = usize>) -> PartySet {
    indices.into_iter().map(Party::new).collect()
}

pub(crate) fn threshold(n: usize) -> AdversaryStructure {
    AdversaryStructure::optimal(n).expect("well-formed")
}

/// Six servers of which {0, 1} may be corrupt together, or {2, 3}, or {4}; never 5.
pub(crate) fn lopsided() -> AdversaryStructure {
    let sets = [parties([0, 1]), parties([2, 3]), parties([4])];
    let structure = AdversaryStructure::general(6, &sets).expect("well-formed");
    structure.check_q3().expect("no three of these sets cover the group");
    structure
}

/// Structures to try, each with a largest set that may be corrupt.
pub(crate) fn structures() -> Vec<(AdversaryStructure, PartySet)> {
    vec![
        (threshold(1), PartySet::EMPTY),
        (threshold(4), parties([3])),
        (threshold(7), parties([2, 6])),
        (lopsided(), parties([0, 1])),
        (lopsided(), parties([2, 3])),
    ]
}

pub(crate) fn groups(structure: &AdversaryStructure) -> Vec<Group> {
    (0..structure.n())
        .map(|index| Group::new(GroupId::default(), Epoch(0), p(index), structure.clone()))
        .collect()
}

/// The scope at which the simulator runs a protocol.
pub(crate) fn scope() -> Scope {
    Scope::root(GroupId::default(), Epoch(0))
}

pub(crate) fn ideal_keyrings(structure: &AdversaryStructure) -> Vec<IdealKeyring> {
    ideal::keyrings(structure, &Formula::exact(structure), 1)
}

pub(crate) fn real_keyrings(structure: &AdversaryStructure) -> Vec<RealKeyring> {
    let spec = DealSpec {
        structure: structure.clone(),
        sharing: Formula::exact(structure),
        epoch: Epoch(0),
        context: Digest::default(),
        rsa: Vec::new(),
    };
    let mut rng =
        <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::from_seed([7; 32]);
    let (public, servers) = deal(&spec, &mut rng, &mut |_| {}).expect("well-formed");
    let keyring = |server| RealKeyring::new(public.clone(), server).expect("they fit");
    servers.into_iter().map(keyring).collect()
}

/// A suite with keys for tests.
pub(crate) trait TestSuite: Suite {
    fn keyrings(structure: &AdversaryStructure) -> Vec<Self::Keyring>;
}

impl TestSuite for IdealSuite {
    fn keyrings(structure: &AdversaryStructure) -> Vec<IdealKeyring> {
        ideal_keyrings(structure)
    }
}

impl TestSuite for RealSuite {
    fn keyrings(structure: &AdversaryStructure) -> Vec<RealKeyring> {
        real_keyrings(structure)
    }
}

/// A group whose workers have keys.
pub(crate) fn builder<S, P>(structure: &AdversaryStructure, seed: u64) -> Builder<P>
where
    S: TestSuite,
    P: Protocol + Vocabulary<Work = Work<S>, Done = Done<S>>,
{
    let keyrings = S::keyrings(structure);
    Simulation::builder(groups(structure), seed)
        .worker(move |party, works, clock| S::run_many(works, &keyrings[party.index()], clock))
}

/// Does work as `party` outside the simulation, for what anyone can check.
pub(crate) fn work_of<S: TestSuite>(structure: &AdversaryStructure, work: Work<S>) -> Done<S> {
    let keyrings = S::keyrings(structure);
    let mut done = S::run_many(vec![work], &keyrings[0], Default::default());
    done.remove(0)
}

/// Gives every honest server its command, now and after each restart, as the layer above does,
/// which asks again for what it lacks. Ends when nothing is left to happen; then `goal` must hold.
pub(crate) fn run<P: Protocol>(
    sim: &mut Simulation<P>,
    mut command: impl FnMut(Party) -> Option<P::Command>,
    goal: impl Fn(&Simulation<P>) -> bool,
) -> Result<(), Failure> {
    let mut was_up = PartySet::EMPTY;
    for _ in 0..EVENTS_MAX {
        for party in sim.honest().iter() {
            if !sim.is_up(party) {
                was_up.remove(party);
            } else if was_up.insert(party)
                && let Some(command) = command(party)
            {
                sim.command(party, command);
                // A command can be what makes a server crash.
                if !sim.is_up(party) {
                    was_up.remove(party);
                }
            }
        }
        let goes_on = sim.step()?;
        if !goes_on && sim.pending() == 0 {
            let complaint = "nothing is left to happen, and the goal is not reached";
            return if goal(sim) { Ok(()) } else { Err(sim.fail(p(0), complaint)) };
        }
    }
    Err(sim.fail(p(0), "it does not end"))
}

/// Is every honest server up, with as many outcomes as this?
pub(crate) fn all_told<P: Protocol>(sim: &Simulation<P>, count: usize) -> bool {
    sim.honest().iter().all(|party| sim.is_up(party) && sim.outcomes(party).len() >= count)
}

/// The outcomes that any two honest servers were ever told must be the same.
pub(crate) fn same_everywhere<P: Protocol, T: PartialEq>(
    sim: &Simulation<P>,
    of: impl Fn(&P::Outcome) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let mut first: Option<T> = None;
    for party in sim.honest().iter() {
        for told in sim.history(party).filter_map(|(_, outcome)| of(outcome)) {
            match &first {
                None => first = Some(told),
                Some(first) if *first == told => {}
                Some(_) => return Err(sim.fail(party, "it was told something else")),
            }
        }
    }
    Ok(first)
}

/// Does some honest server hold proof against `culprit` that convinces a third party?
pub(crate) fn is_convicted<P: Protocol>(
    sim: &Simulation<P>,
    structure: &AdversaryStructure,
    culprit: Party,
) -> bool {
    sim.blames().iter().filter(|(_, fault)| fault.culprit == culprit).any(|(_, fault)| {
        fault.evidence.clone().is_some_and(|evidence: Box<Evidence>| {
            let work = Work::<IdealSuite>::Convict { culprit, evidence };
            work_of(structure, work) == Done::Convicted(true)
        })
    })
}
