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

/// A server does not check the coin share that it made itself; it checks what others say that it
/// made.
#[test]
fn a_share_that_is_said_to_be_ones_own_and_is_not_is_found_out() {
    use maftia_base::Party;
    use maftia_base::time::Reading;
    use maftia_crypto::{Corrupt, Done, Suite, Work};
    let structure = AdversaryStructure::optimal(4).unwrap();
    let keyrings = real_bench(structure.clone(), Formula::exact(&structure)).keyrings;
    let name = laws::scope();
    let share = |index: usize| {
        let work = vec![Work::CoinShare(name)];
        match RealSuite::run_many(work, &keyrings[index], Reading::default()).remove(0) {
            Done::CoinShare(share) => share,
            other => panic!("{other:?}"),
        }
    };
    let combine = |shares: Vec<_>| {
        let work = vec![Work::CombineCoin { name, shares }];
        match RealSuite::run_many(work, &keyrings[0], Reading::default()).remove(0) {
            Done::Coin { value, good, .. } => (value, good),
            other => panic!("{other:?}"),
        }
    };
    let (me, peer, third) = (Party::new(0), Party::new(1), Party::new(2));
    let good = combine(vec![(me, share(0)), (peer, share(1))]);
    assert!(good.0.is_some());
    let forged = RealSuite::bad_coin_share(&keyrings[0], name);
    assert_eq!(combine(vec![(me, forged), (peer, share(1))]), (None, vec![peer]));
    let mine_in_anothers_name = combine(vec![(third, share(0)), (peer, share(1))]);
    assert_eq!(mine_in_anothers_name, (None, vec![peer]));
    assert_eq!(combine(vec![(peer, share(1)), (third, share(2))]).0, good.0, "one coin");
}
