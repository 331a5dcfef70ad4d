//! Large values over links, whose queues are bounded, on a network that tells nobody what it loses.

use crate::world::*;
use maftia_agreement::broadcast::coded::{
    CODED_BYTES_MAX, CodedBroadcast, Command, Outcome, code_of, honest_in_any_quorum,
};
use maftia_base::{AdversaryStructure, PartySet};
use maftia_crypto::{CodedValue, IdealSuite, Suite};
use maftia_links::{Linked, QUEUE_BYTES_MAX};
use maftia_sim::{Crashes, Network, Simulation};

type Sim = Simulation<Linked<CodedBroadcast<IdealSuite>>>;

fn start(structure: &AdversaryStructure, seed: u64, network: Network, crashes: Crashes) -> Sim {
    let (keyrings, code) = (ideal_keyrings(structure), code_of(structure));
    let views = groups(structure);
    Simulation::builder(groups(structure), seed)
        .worker(move |party, work, clock| {
            IdealSuite::run_many(work, &keyrings[party.index()], clock)
        })
        .network(network)
        .crashes(crashes)
        .trace(0)
        .build_incarnations(move |party, incarnation| {
            let group = &views[party.index()];
            Linked::new(CodedBroadcast::new(p(0), code), group, 1 + u64::from(incarnation))
        })
}

fn value(length: usize) -> CodedValue {
    let byte = |i: usize| (i as u64 * 0x9e37 + (i as u64 >> 8)) as u8;
    CodedValue::new((0..length).map(byte).collect::<Vec<u8>>()).expect("short")
}

fn has(sim: &Sim, value: &CodedValue, party: usize) -> bool {
    let is = |outcome: &Outcome| {
        let Outcome::Delivered { value: told, .. } = outcome;
        told == value
    };
    sim.is_up(p(party)) && sim.outcomes(p(party)).first().is_some_and(is)
}

/// 3 is never corrupt, so that it alone may be all that two quorums share.
fn one_trusted() -> AdversaryStructure {
    let sets = [parties([0, 1]), parties([2]), parties([1, 2])];
    let structure = AdversaryStructure::general(4, &sets).expect("well-formed");
    structure.check_q3().expect("3 is in none of them");
    assert_eq!(honest_in_any_quorum(&structure), 1, "a fragment is the whole value");
    structure
}

#[test]
fn the_largest_value_arrives_although_it_and_its_echo_do_not_fit_a_queue_together() {
    const { assert!(2 * CODED_BYTES_MAX >= QUEUE_BYTES_MAX) };
    let structure = one_trusted();
    let value = value(CODED_BYTES_MAX);
    let mut sim = start(&structure, 1, Network::unit_delay(), Crashes::default());
    // One is away meanwhile, and is given everything when it comes back.
    sim.crash_losing_unsynced(p(2));
    sim.command(p(0), Command::Broadcast(value.clone()));
    let all = |parties: &[usize], sim: &Sim| parties.iter().all(|i| has(sim, &value, *i));
    sim.run_until(|sim| all(&[0, 1, 3], sim), EVENTS_MAX).expect("without it");
    sim.restart(p(2));
    sim.run_until(|sim| all(&[0, 1, 2, 3], sim), EVENTS_MAX).expect("with it");
}

#[test]
fn servers_that_crash_on_a_lossy_network_deliver_ten_mebibytes() {
    let structure = threshold(4);
    let value = value(10 << 20);
    let mut crashes_seen = 0;
    for seed in 0..6 {
        let parties = PartySet::all(4);
        let crashes = Crashes { parties, permille: 60, crashes_max: 4, ..Crashes::default() };
        let network = Network::lossy(20).unaided();
        let mut sim = start(&structure, seed, network, crashes);
        let command = Command::Broadcast(value.clone());
        let mut was_up = false;
        for _ in 0..EVENTS_MAX {
            // The layer above asks again after each restart.
            let is_up = sim.is_up(p(0));
            if is_up && !was_up {
                sim.command(p(0), command.clone());
            }
            was_up = is_up && sim.is_up(p(0));
            if (0..4).all(|party| has(&sim, &value, party)) {
                break;
            }
            sim.step().expect("no violation");
        }
        assert!((0..4).all(|party| has(&sim, &value, party)), "seed {seed}");
        crashes_seen += sim.stats().crashes;
    }
    assert!(crashes_seen >= 8, "{crashes_seen}");
}
