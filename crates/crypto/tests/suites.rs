//! What protocols rely on, for every suite alike.
#![allow(clippy::unwrap_used)]

mod laws;

use laws::Bench;
use maftia_base::{AdversaryStructure, Formula};
use maftia_crypto::{IdealSuite, RealSuite, fixture, ideal};

fn ideal_bench(structure: AdversaryStructure, sharing: Formula) -> Bench<IdealSuite> {
    let keyrings = ideal::keyrings(&structure, &sharing, 7);
    let strangers = ideal::keyrings(&structure, &sharing, 8);
    Bench { keyrings, strangers, sharing }
}

fn real_bench(structure: AdversaryStructure, sharing: Formula) -> Bench<RealSuite> {
    let keyrings = fixture::keyrings(&structure, &sharing, 7);
    let strangers = fixture::keyrings(&structure, &sharing, 8);
    Bench { keyrings, strangers, sharing }
}

#[test]
fn the_real_suite_keeps_the_laws_at_a_threshold() {
    let structure = AdversaryStructure::optimal(4).unwrap();
    let sharing = Formula::exact(&structure);
    laws::hold(&real_bench(structure, sharing));
}

#[test]
fn the_real_suite_keeps_the_laws_over_sites_and_systems() {
    laws::hold(&real_bench(laws::sixteen(), laws::textbook()));
}

#[test]
fn the_real_suite_keeps_the_laws_over_the_exact_formula_of_sites_and_systems() {
    let structure = laws::sixteen();
    laws::hold(&real_bench(structure.clone(), Formula::exact(&structure)));
}

#[test]
fn the_ideal_suite_keeps_the_laws_at_a_threshold() {
    let structure = AdversaryStructure::optimal(4).unwrap();
    let sharing = Formula::exact(&structure);
    laws::hold(&ideal_bench(structure, sharing));
}

#[test]
fn the_ideal_suite_keeps_the_laws_over_sites_and_systems() {
    let structure = laws::sixteen();
    laws::hold(&ideal_bench(structure.clone(), laws::textbook()));
    laws::hold(&ideal_bench(structure.clone(), Formula::exact(&structure)));
}

#[test]
fn ideal_clients_sign_for_themselves_only() {
    use maftia_base::time::Reading;
    use maftia_crypto::{ClientClaim, Done, Suite, Work};
    let structure = AdversaryStructure::optimal(4).unwrap();
    let keyrings = ideal::keyrings(&structure, &Formula::exact(&structure), 7);
    let (alice, bob, stranger) = (ideal::client(7, 0), ideal::client(7, 1), ideal::client(8, 0));
    let statement = laws::statement(1);
    let claim = |key, signature| ClientClaim { key, statement, signature };
    let claims = vec![
        claim(alice.key(), alice.sign(&statement)),
        claim(alice.key(), bob.sign(&statement)),
        claim(bob.key(), bob.sign(&laws::statement(2))),
        claim(stranger.key(), stranger.sign(&statement)),
    ];
    let done = IdealSuite::run_many(vec![Work::VerifyClients(claims)], &keyrings[0], Reading(0));
    assert_eq!(done, vec![Done::Verified(vec![true, false, false, false])]);
}
