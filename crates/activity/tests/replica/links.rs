//! The replica over links, on a network that loses messages and tells nobody.

use crate::ledger::Ledger;
use crate::world::{SERVICE, Sut, groups, keyrings, p, replica};
use maftia_activity::{Command, FrontEndReply, Outcome, Record};
use maftia_base::wire::Bytes;
use maftia_crypto::Suite;
use maftia_crypto::ideal::IdealSuite;
use maftia_links::Linked;
use maftia_sim::{Network, Simulation, seeds};

type Sim = Simulation<Linked<Sut>>;

fn build(seed: u64, permille: u32) -> Sim {
    let keyrings = keyrings(4, seed);
    Simulation::builder(groups(4), seed)
        .worker(move |party, work, clock| {
            IdealSuite::run_many(work, &keyrings[party.index()], clock)
        })
        .application_with_log(|_, outcome, log: &[Record<IdealSuite>]| match outcome {
            Outcome::Recall { to, key } => {
                let found = log.iter().rev().find(|record| record.archive_key() == Some(*key));
                let record = found.cloned().map(Box::new);
                vec![Command::Recalled { to: *to, key: *key, record }]
            }
            _ => Vec::new(),
        })
        .network(Network::lossy(permille).losses_max(u32::MAX).duplicating(50).unaided())
        .build_incarnations(|party, started| {
            Linked::new(replica(), &groups(4)[party.index()], 1 + u64::from(started))
        })
}

fn reply(sim: &Sim, index: usize, wanted: u64) -> Option<&FrontEndReply> {
    sim.outcomes(p(index)).iter().find_map(|outcome| match outcome {
        Outcome::FrontEndReply { id, reply } if *id == wanted => Some(reply),
        _ => None,
    })
}

fn ledger(sim: &Sim, index: usize) -> &Ledger {
    sim.state(p(index)).expect("up").inner().machine(SERVICE).expect("it runs the ledger")
}

#[test]
fn serves_over_links_that_lose_a_tenth_and_through_restarts() {
    seeds(0..6, |seed| {
        let mut sim = build(seed, 100);
        for id in 0..12u64 {
            let request = Bytes::from(format!("sign:{id}"));
            let command = Command::FrontEnd { id, service: SERVICE, request };
            sim.command(p(id as usize % 3), command);
            if id == 5 {
                sim.crash(p(3));
                sim.restart(p(3));
            }
        }
        let all_replied = |sim: &Sim| {
            (0..12).all(|id| {
                let reply = reply(sim, id as usize % 3, id);
                matches!(reply, Some(FrontEndReply::Signed { .. }))
            })
        };
        sim.run_until(all_replied, 3_000_000)?;
        let caught_up = |sim: &Sim| (0..4).all(|index| ledger(sim, index).entries.len() == 12);
        sim.run_until(caught_up, 3_000_000)
    });
}
