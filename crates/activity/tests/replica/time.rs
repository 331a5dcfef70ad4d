use crate::world::{EVENTS_MAX, builder, common_ledger, front_end, p, replica};
use maftia_activity::Outcome;
use maftia_base::Party;
use maftia_base::time::{Reading, Time};
use maftia_sim::attacks::Passive;
use maftia_sim::seeds;

const START: u64 = 1_000_000_000;

/// Honest clocks are up to 300 us apart; the liar's shows what it likes.
fn clock(party: Party, now: Time, lie: Option<u64>) -> Reading {
    match (party.index(), lie) {
        (3, Some(lie)) => Reading(lie),
        (index, _) => Reading(START + now.0 + 100 * index as u64),
    }
}

#[test]
fn a_liar_neither_moves_agreed_time_out_of_the_honest_range_nor_backdates() {
    for lie in [0, START - 1, START + 100, 2 * START, u64::MAX] {
        seeds(0..6, |seed| {
            let mut sim = builder(4, seed)
                .clocks(move |party, now| clock(party, now, Some(lie)))
                .corrupt([p(3)], Passive)
                .build(|_| replica());
            let mut previous = 0;
            for id in 0..10 {
                let asked = sim.now();
                front_end(&mut sim, p(id as usize % 4), id, &format!("r{id}"));
                sim.run_to_quiescence(EVENTS_MAX)?;
                let ledger = common_ledger(&sim);
                let time = ledger.entries[id as usize].time.0;
                // Every honest vote came after the request, and before now.
                let (earliest, latest) = (START + asked.0, START + sim.now().0 + 200);
                assert!(time >= earliest, "{time} lies before the request, at {earliest}");
                assert!(time <= latest, "{time} is later than every honest clock, {latest}");
                assert!(time >= previous, "time went back");
                previous = time;
            }
            Ok(())
        });
    }
}

#[test]
fn agreed_time_never_goes_back_although_clocks_do() {
    seeds(0..10, |seed| {
        let backwards = |_: Party, now: Time| Reading(START - now.0 / 2);
        let mut sim = builder(4, seed).clocks(backwards).build(|_| replica());
        for id in 0..10 {
            front_end(&mut sim, p(id as usize % 4), id, &format!("r{id}"));
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        for party in sim.honest().iter() {
            let times = sim.outcomes(party).iter().filter_map(|outcome| match outcome {
                Outcome::Applied(applied) => Some(applied.time),
                _ => None,
            });
            assert!(times.is_sorted(), "time went back");
        }
        Ok(())
    });
}
