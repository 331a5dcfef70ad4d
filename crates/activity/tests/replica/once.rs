use crate::world::{
    Attached, EVENTS_MAX, SERVICE, Sim, builder, common_ledger, convicted, front_end,
    front_end_reply, gullible_builder, p, replica, serve,
};
use maftia_activity::client::ClientReply;
use maftia_activity::{
    Ask, ClientBundle, Command, FRONT_END_MAX, FrontEndReply, Outcome, Refusal, Replica,
};
use maftia_base::wire::{Blob, Bytes, List};
use maftia_base::{FaultKind, GroupId, Protocol};
use maftia_crypto::ClientSignature;
use maftia_crypto::ideal;
use maftia_sim::attacks::{Passive, Silent};
use maftia_sim::{Network, Simulation, seeds};

#[test]
fn a_lone_server_serves() {
    seeds(0..5, |seed| {
        let mut sim = builder(1, seed).build(|_| replica());
        front_end(&mut sim, p(0), 7, "sign:me");
        sim.run_to_quiescence(EVENTS_MAX)?;
        let reply = front_end_reply(&sim, p(0), 7).expect("answered");
        assert!(matches!(reply, FrontEndReply::Signed { .. }));
        let mut clients = [Attached::new(1, seed, 0)];
        let id = clients[0].submit("hello", sim.now());
        serve(&mut sim, &mut clients)?;
        assert!(matches!(clients[0].reply(id), Some(ClientReply::Plain(_))));
        Ok(())
    });
}

#[test]
fn every_client_is_answered_and_every_request_takes_effect_once() {
    seeds(0..15, |seed| {
        let mut sim =
            builder(4, seed).network(Network::random().duplicating(50)).build(|_| replica());
        let mut clients: Vec<_> = (0..4).map(|number| Attached::new(4, seed, number)).collect();
        for round in 0..5 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.submit(&format!("{number}/{round}"), sim.now());
            }
            serve(&mut sim, &mut clients)?;
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        let ledger = common_ledger(&sim);
        assert_eq!(ledger.entries.len(), 20);
        for number in 0..4 {
            for round in 0..5 {
                assert_eq!(ledger.count(format!("{number}/{round}").as_bytes()), 1);
            }
        }
        Ok(())
    });
}

#[test]
fn the_same_request_through_every_server_takes_effect_once() {
    seeds(0..15, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        let mut clients = [Attached::new(4, seed, 1)];
        clients[0].submit("first", sim.now());
        serve(&mut sim, &mut clients)?;
        // The session is the one opened at position 0; its second request, four times over.
        let signer = ideal::client(seed, 1);
        let request = Blob::new(&b"second"[..]).expect("short");
        let ask = Ask::Requests {
            session: maftia_activity::SessionId(0),
            first: 2,
            acknowledged: 1,
            requests: List::new(vec![request]).expect("one"),
        };
        let bundle =
            ClientBundle::signed(GroupId::default(), SERVICE, ask, signer.key(), |statement| {
                signer.sign(statement)
            });
        for party in sim.honest().iter() {
            sim.command(party, Command::Bundle(bundle.clone()));
            sim.command(party, Command::Bundle(bundle.clone()));
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(b"second"), 1);
        // Asked once more it is answered from the session, and nothing is ordered.
        sim.mark();
        sim.command(p(2), Command::Bundle(bundle));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(sim.messages_since_mark(), 0);
        assert_eq!(common_ledger(&sim).count(b"second"), 1);
        Ok(())
    });
}

fn signed(seed: u64, ask: Ask) -> ClientBundle {
    let signer = ideal::client(seed, 1);
    ClientBundle::signed(GroupId::default(), SERVICE, ask, signer.key(), |it| signer.sign(it))
}

#[test]
fn a_bundle_that_comes_again_before_it_is_ordered_is_ordered_once() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        let mut clients = [Attached::new(4, seed, 1)];
        clients[0].submit("first", sim.now());
        serve(&mut sim, &mut clients)?;
        let requests = List::new(vec![Blob::new(&b"second"[..]).expect("short")]).expect("one");
        let session = maftia_activity::SessionId(0);
        let bundle = signed(seed, Ask::Requests { session, first: 2, acknowledged: 1, requests });
        for _ in 0..20 {
            sim.command(p(0), Command::Bundle(bundle.clone()));
            sim.step()?;
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        let ordered = sim.history(p(0)).map(|(_, outcome)| match outcome {
            Outcome::Applied(applied) => applied.executed + applied.skipped,
            _ => 0,
        });
        assert_eq!(ordered.sum::<u32>(), 2, "the first and the second, and nothing in vain");
        Ok(())
    });
}

#[test]
fn to_open_a_session_that_is_there_orders_nothing() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        let bundle = signed(seed, Ask::Open { nonce: 5, home: p(0) });
        sim.command(p(0), Command::Bundle(bundle.clone()));
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.mark();
        sim.command(p(0), Command::Bundle(bundle.clone()));
        sim.command(p(2), Command::Bundle(bundle));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(sim.messages_since_mark(), 0);
        Ok(())
    });
}

#[test]
fn nothing_is_kept_of_a_bundle_that_is_too_long_to_be_ordered() {
    seeds(0..3, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        let footprint = |sim: &Sim| {
            let state: &Replica<_, _> = sim.state(p(0)).expect("up");
            state.footprint()
        };
        let before = footprint(&sim);
        for first in 1..10 {
            let long = Blob::new(vec![7; 60_000]).expect("one alone is not");
            let requests = List::new(vec![long; 3]).expect("few");
            let session = maftia_activity::SessionId(0);
            let bundle = signed(seed, Ask::Requests { session, first, acknowledged: 1, requests });
            sim.command(p(0), Command::Bundle(bundle));
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        assert_eq!(footprint(&sim), before);
        Ok(())
    });
}

#[test]
fn clients_get_past_a_silent_server() {
    seeds(0..10, |seed| {
        let mut sim = builder(4, seed).corrupt([p(1)], Silent).build(|_| replica());
        // Number 1 asks server 1 first.
        let mut clients = [Attached::new(4, seed, 1)];
        let id = clients[0].submit("hello", sim.now());
        serve(&mut sim, &mut clients)?;
        assert!(matches!(clients[0].reply(id), Some(ClientReply::Plain(_))));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(b"hello"), 1);
        Ok(())
    });
}

#[test]
fn a_request_that_no_client_signed_is_never_ordered() {
    seeds(0..10, |seed| {
        let liar = p(3);
        let mut sim = gullible_builder(4, seed, liar).corrupt([liar], Passive).build(|_| replica());
        let key = ideal::client(seed, 1).key();
        let ask = Ask::Open { nonce: 5, home: liar };
        let signature = ClientSignature([7; 64]);
        let forged = ClientBundle { key, service: SERVICE, ask, signature };
        sim.command(liar, Command::Bundle(forged));
        front_end(&mut sim, p(0), 1, "honest");
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).entries.len(), 1);
        assert_eq!(sim.state(p(0)).expect("up").position(), 1, "no session was opened");
        let of_liar = |kind| sim.blames().iter().any(|(_, f)| f.culprit == liar && f.kind == kind);
        assert!(of_liar(FaultKind::InvalidValue));
        assert!(convicted(&sim, p(0)).is_empty(), "it is no evidence for others");
        Ok(())
    });
}

#[test]
fn requests_in_a_session_that_nobody_opened_are_refused_and_the_client_opens_another() {
    seeds(0..5, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        let signer = ideal::client(seed, 2);
        let request = Blob::new(&b"stray"[..]).expect("short");
        let requests = List::new(vec![request]).expect("one");
        let session = maftia_activity::SessionId(77);
        let ask = Ask::Requests { session, first: 1, acknowledged: 1, requests };
        let sign = |statement: &maftia_base::Statement| signer.sign(statement);
        let bundle = ClientBundle::signed(GroupId::default(), SERVICE, ask, signer.key(), sign);
        sim.command(p(0), Command::Bundle(bundle));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(b"stray"), 0);
        Ok(())
    });
}

#[test]
fn what_is_too_much_is_refused_and_nothing_is_lost_of_the_rest() {
    let mut sim = builder(4, 1).footprint_max(20_000).build(|_| replica());
    let asked = 3 * FRONT_END_MAX as u64;
    for id in 0..asked {
        front_end(&mut sim, p(0), id, &format!("r{id}"));
    }
    assert_eq!(sim.state(p(0)).expect("up").capacity(), 0);
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    let replies: Vec<_> =
        (0..asked).map(|id| front_end_reply(&sim, p(0), id).expect("answered")).collect();
    let overloaded = FrontEndReply::Refused(Refusal::Overloaded);
    let refused = replies.iter().filter(|reply| **reply == overloaded).count();
    assert!(refused > 0);
    assert_eq!(common_ledger(&sim).entries.len() + refused, asked as usize);
    assert!(sim.state(p(0)).expect("up").capacity() > 0);
}

#[test]
fn unknown_services_and_monstrous_requests_are_refused() {
    let mut sim = builder(4, 1).build(|_| replica());
    let service = maftia_base::ServiceId(9);
    sim.command(p(0), Command::FrontEnd { id: 1, service, request: Bytes::new() });
    let request = Bytes::from(vec![0; 70_000]);
    sim.command(p(0), Command::FrontEnd { id: 2, service: SERVICE, request });
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    let refused = |id| front_end_reply(&sim, p(0), id);
    assert_eq!(refused(1), Some(FrontEndReply::Refused(Refusal::UnknownService)));
    assert_eq!(refused(2), Some(FrontEndReply::Refused(Refusal::Malformed)));
}

#[test]
fn a_snapshot_is_the_whole_state() {
    let mut sim = builder(4, 3).build(|_| replica());
    let mut clients = [Attached::new(4, 3, 0)];
    clients[0].submit("one", sim.now());
    clients[0].submit("sign:two", sim.now());
    serve(&mut sim, &mut clients).expect("answered");
    front_end(&mut sim, p(1), 1, "three");
    sim.run_to_quiescence(EVENTS_MAX).expect("it ends");
    let snapshot = sim.state(p(0)).expect("up").snapshot();
    let restored = replica().with_snapshot(snapshot.clone()).expect("a snapshot");
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(restored.position(), sim.state(p(0)).expect("up").position());
    let cut = snapshot.slice(..snapshot.len() - 1);
    assert!(replica().with_snapshot(cut).is_none());
    let other: crate::world::Sut = Replica::new([]);
    assert!(other.with_snapshot(snapshot).is_none(), "of other services");
}

#[test]
fn a_client_that_did_not_sign_its_bundle_is_pointed_out_and_nothing_of_it_is_ordered() {
    seeds(0..5, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        let key = ideal::client(seed, 1).key();
        for nonce in 0..50 {
            let ask = Ask::Open { nonce, home: p(0) };
            let signature = ClientSignature([7; 64]);
            sim.command(
                p(0),
                Command::Bundle(ClientBundle { key, service: SERVICE, ask, signature }),
            );
        }
        front_end(&mut sim, p(0), 1, "honest");
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).entries.len(), 1);
        let lied = |outcome: &&Outcome<_>| matches!(outcome, Outcome::ClientLied(of) if *of == key);
        let told = sim.outcomes(p(0)).iter().filter(lied).count();
        assert!((1..50).contains(&told), "what waits behind a lie is dropped: {told}");
        assert!(sim.blames().is_empty(), "no server is to blame");
        Ok(())
    });
}

#[test]
fn a_session_is_opened_through_the_home_that_its_client_signed_and_no_other() {
    seeds(0..5, |seed| {
        let client = ideal::client(seed, 1);
        let open = |home| {
            let ask = Ask::Open { nonce: 5, home };
            let sign = |statement: &_| client.sign(statement);
            ClientBundle::signed(GroupId::default(), SERVICE, ask, client.key(), sign)
        };
        let mut sim = builder(4, seed).build(|_| replica());
        let position = |sim: &Simulation<_>| sim.state(p(1)).map_or(0, Replica::position);
        // A corrupt server orders what was meant for another, to have it counted as its own.
        sim.command(p(3), Command::Bundle(open(p(0))));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(position(&sim), 0, "no session");
        sim.command(p(0), Command::Bundle(open(p(0))));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(position(&sim), 1);
        Ok(())
    });
}
