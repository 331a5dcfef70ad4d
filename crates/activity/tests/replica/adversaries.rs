//! Whatever one server of four does, the others serve, agree, and blame nobody honest (which every
//! run of the simulator checks).

use crate::world::{
    Attached, EVENTS_MAX, Sut, builder, common_ledger, convicted, front_end, front_end_reply,
    keyrings, p, replica, serve,
};
use maftia_activity::client::ClientReply;
use maftia_activity::{Accusation, Command, FrontEndReply, Message, Outcome};
use maftia_base::wire::{Blob, Wire};
use maftia_base::{
    Digest, Epoch, Evidence, Fault, FaultKind, GroupId, PartySet, Place, Scope, SignedStatement,
    Statement, StatementKind,
};
use maftia_crypto::ideal::IdealSuite;
use maftia_crypto::{Done, Suite, Work};
use maftia_sim::attacks::{Flooder, Mute, Replayer, Script, Silent, Twins};
use maftia_sim::{Adversary, Failure, Hand, Letter, seeds};

/// Serves clients and front ends beside the liar, server 3.
fn check(seed: u64, adversary: impl Adversary<Sut> + 'static) -> Result<(), Failure> {
    let mut sim =
        builder(4, seed).corrupt([p(3)], adversary).footprint_max(20_000).build(|_| replica());
    let mut clients: Vec<_> = (0..2).map(|number| Attached::new(4, seed, number)).collect();
    for round in 0..4u64 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.submit(&format!("{number}/{round}"), sim.now());
            client.submit(&format!("sign:{number}/{round}"), sim.now());
        }
        front_end(&mut sim, p(round as usize % 3), round, &format!("sign:{round}"));
        front_end(&mut sim, p(3), round, &format!("liar {round}"));
        serve(&mut sim, &mut clients)?;
    }
    sim.run_to_quiescence(EVENTS_MAX)?;
    let ledger = common_ledger(&sim);
    for number in 0..2 {
        for round in 0..4 {
            assert_eq!(ledger.count(format!("{number}/{round}").as_bytes()), 1);
            assert_eq!(ledger.count(format!("sign:{number}/{round}").as_bytes()), 1);
        }
    }
    for client in &clients {
        let signed = |(_, reply): &&(_, ClientReply)| matches!(reply, ClientReply::Signed { .. });
        assert_eq!(client.replies.iter().filter(signed).count(), 4);
    }
    for round in 0..4u64 {
        let reply = front_end_reply(&sim, p(round as usize % 3), round);
        assert!(matches!(reply, Some(FrontEndReply::Signed { .. })), "{reply:?}");
    }
    Ok(())
}

#[test]
fn serves_beside_one_that_is_mute_towards_some() {
    let towards: PartySet = [p(0), p(1)].into_iter().collect();
    seeds(0..8, |seed| check(seed, Mute { towards }));
}

#[test]
fn serves_beside_one_that_says_everything_again() {
    seeds(0..8, |seed| check(seed, Replayer::new(300)));
}

#[test]
fn serves_beside_one_that_says_everything_many_times() {
    seeds(0..4, |seed| check(seed, Flooder { copies: 5 }));
}

#[test]
fn serves_beside_one_that_shows_two_faces() {
    seeds(0..8, |seed| {
        let second: PartySet = [p(0)].into_iter().collect();
        check(seed, Twins { second })?;
        // Two faces with different requests: two batches at one height of its lane.
        let second: PartySet = [p(1)].into_iter().collect();
        let mut sim = builder(4, seed).corrupt([p(3)], Twins { second }).build(|_| replica());
        for (copy, request) in ["one", "other"].into_iter().enumerate() {
            let request = maftia_base::wire::Bytes::copy_from_slice(request.as_bytes());
            let service = crate::world::SERVICE;
            let id = 1;
            let command = maftia_activity::Command::FrontEnd { id, service, request };
            sim.command_copy(p(3), copy, command);
        }
        for id in 0..6 {
            front_end(&mut sim, p(id as usize % 3), id, &format!("r{id}"));
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        let ledger = common_ledger(&sim);
        assert!(ledger.count(b"one") + ledger.count(b"other") <= 1, "both faces were believed");
        let holders = sim.honest().iter().filter(|party| !convicted(&sim, *party).is_empty());
        let holders = holders.count();
        assert!(holders == 0 || holders == 3, "evidence that one holds, all come to hold");
        Ok(())
    });
}

#[test]
fn a_slanderer_convicts_nobody_but_itself_is_doubted() {
    seeds(0..4, |seed| {
        let scope = Scope::root(GroupId::default(), Epoch(0));
        let signed = |value| SignedStatement {
            statement: Statement::new(
                scope,
                StatementKind::BatchVote,
                Place(0, 1),
                Digest([value; 32]),
            ),
            signature: Blob::new(vec![1; 16]).expect("short"),
        };
        let evidence = Evidence::Conflict(signed(1), signed(2));
        // With every message that it hears it accuses everybody.
        let slander = move |_: Option<&Letter<_>>, hand: &mut Hand<'_, Sut>| {
            for culprit in [1, 2, 0].map(p) {
                let evidence = evidence.clone();
                let body: Message<IdealSuite> =
                    Message::Accusation(Accusation { culprit, evidence });
                hand.send_all(p(3), body);
            }
        };
        let mut sim = builder(4, seed).corrupt([p(3)], Script(slander)).build(|_| replica());
        front_end(&mut sim, p(0), 1, "honest");
        sim.run_to_quiescence(EVENTS_MAX)?;
        for party in sim.honest().iter() {
            assert!(convicted(&sim, party).is_empty());
        }
        let doubted = sim
            .blames()
            .iter()
            .all(|(_, fault)| fault.culprit == p(3) && fault.kind == FaultKind::Malformed);
        // Once for each accusation that was under way when the first turned out to be false.
        let times = sim.blames().len();
        assert!(doubted && (3..=9).contains(&times), "blamed {times} times");
        Ok(())
    });
}

#[test]
fn evidence_that_one_server_has_reaches_all_also_one_that_is_away() {
    seeds(0..8, |seed| {
        let keyring = keyrings(4, seed).remove(3);
        let signed = |value| {
            let scope = Scope::root(GroupId::default(), Epoch(0));
            let value = Digest([value; 32]);
            let statement = Statement::new(scope, StatementKind::BatchVote, Place(3, 1), value);
            let work = vec![Work::Sign(statement)];
            let done = IdealSuite::run_many(work, &keyring, Default::default());
            let [Done::Signed(signed)] = &done[..] else { panic!("one signature") };
            let signature = Blob::new(signed.signature.to_wire()).expect("short");
            SignedStatement { statement, signature }
        };
        let mut sim = builder(4, seed).corrupt([p(3)], Silent).build(|_| replica());
        sim.crash(p(2));
        let fault = Fault::conflict(p(3), signed(1), signed(2));
        sim.command(p(0), Command::Evidence(fault));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(convicted(&sim, p(1)).contains(p(3)));
        sim.restart(p(2));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(convicted(&sim, p(2)).contains(p(3)));
        for party in sim.honest().iter() {
            let told = sim.outcomes(party).iter();
            let told = told.filter(|outcome| matches!(outcome, Outcome::Convicted(_)));
            assert_eq!(told.count(), 1, "told once");
        }
        Ok(())
    });
}
