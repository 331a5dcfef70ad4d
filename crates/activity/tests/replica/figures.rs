//! What it costs, counted where it is exact.

use crate::world::{EVENTS_MAX, builder, front_end, front_end_reply, groups, p, replica};
use maftia_activity::FrontEndReply;
use maftia_base::Formula;
use maftia_crypto::{RealSuite, Suite, fixture};
use maftia_sim::{Network, Simulation};

/// Delays from a stock client's request at server 0 to the answer there.
fn delays(n: usize, request: &str) -> u64 {
    let mut sim = builder(n, 1).network(Network::unit_delay()).build(|_| replica());
    sim.mark();
    front_end(&mut sim, p(0), 1, request);
    sim.run_until(|sim| front_end_reply(sim, p(0), 1).is_some(), EVENTS_MAX).expect("answered");
    sim.elapsed_units()
}

#[test]
fn a_reply_takes_ten_delays_and_a_signature_one_more() {
    for n in [4, 7, 10] {
        let (plain, signed) = (delays(n, "hello"), delays(n, "sign:hello"));
        println!("n = {n}: {plain} delays to a plain reply, {signed} to a signed one");
        assert!(plain <= 10, "n = {n}: {plain} delays");
        assert!(signed <= 11, "n = {n}: {signed} delays");
    }
}

#[test]
fn it_serves_with_real_cryptography() {
    type Real = maftia_activity::Replica<RealSuite, crate::ledger::Ledger>;
    let structure = crate::world::structure(4);
    let keyrings = fixture::keyrings(&structure, &Formula::exact(&structure), 1);
    let mut sim: Simulation<Real> = Simulation::builder(groups(4), 1)
        .worker(move |party, work, clock| {
            RealSuite::run_many(work, &keyrings[party.index()], clock)
        })
        .build(|_| Real::new([(crate::world::SERVICE, Default::default())]));
    let request = maftia_base::wire::Bytes::from_static(b"sign:it");
    let service = crate::world::SERVICE;
    sim.command(p(0), maftia_activity::Command::FrontEnd { id: 1, service, request });
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    let signed = sim.outcomes(p(0)).iter().any(|outcome| {
        let maftia_activity::Outcome::FrontEndReply { reply, .. } = outcome else { return false };
        matches!(reply, FrontEndReply::Signed { .. })
    });
    assert!(signed);
}
