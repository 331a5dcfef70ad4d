use crate::world::{
    Attached, EVENTS_MAX, Sim, builder, common_ledger, convicted, front_end, front_end_reply,
    keyrings, p, replica, serve,
};
use maftia_activity::client::ClientReply;
use maftia_activity::{FrontEndReply, Message, SigningMessage};
use maftia_base::wire::{Blob, Bytes};
use maftia_base::{Digest, FaultKind, Party, Protocol};
use maftia_crypto::ideal::IdealSuite;
use maftia_crypto::{Corrupt, Done, HashAlgorithm, KeyId, SigningInput, Suite, Work};
use maftia_sim::attacks::{Mutator, Passive, Silent};
use maftia_sim::{Network, seeds};

fn input_of(request: &str) -> SigningInput {
    let digest = Digest::of("ledger", request.as_bytes());
    let digest = Blob::new(digest.0.to_vec()).expect("32 bytes");
    SigningInput { hash: HashAlgorithm::Sha256, digest }
}

fn check_signed(n: usize, seed: u64, reply: Option<FrontEndReply>, request: &str) {
    let Some(FrontEndReply::Signed { body, key, input, signature }) = reply else {
        panic!("{request} should be signed, not {reply:?}");
    };
    assert_eq!(body, request.as_bytes());
    assert_eq!((key, &input), (KeyId(0), &input_of(request)));
    assert!(keyrings(n, seed)[0].is_threshold_signature(key, &input, &signature));
}

#[test]
fn every_front_end_gets_the_groups_signature() {
    for n in [1, 4, 7] {
        seeds(0..6, |seed| {
            let mut sim = builder(n, seed).build(|_| replica());
            for id in 0..8 {
                front_end(&mut sim, p(id as usize % n), id, &format!("sign:{id}"));
            }
            sim.run_to_quiescence(EVENTS_MAX)?;
            for id in 0..8 {
                let reply = front_end_reply(&sim, p(id as usize % n), id);
                check_signed(n, seed, reply, &format!("sign:{id}"));
            }
            Ok(())
        });
    }
}

#[test]
fn bad_shares_stop_nobody_and_their_signer_is_convicted_by_all() {
    seeds(0..10, |seed| {
        let liar = p(3);
        let keyring = keyrings(4, seed).remove(3);
        // It answers with bad shares, with proofs that fail where proofs are wanted. A share's
        // message does not say what is signed; one request at a time keeps that simple.
        let bad = Mutator(move |letter: &maftia_sim::Letter<Message<IdealSuite>>, _: &mut _| {
            let mut body = (*letter.body).clone();
            if let Message::Signing(SigningMessage::Share { proven, share, .. }) = &mut body {
                let input = input_of("sign:it");
                *share = IdealSuite::bad_signature_share(&keyring, KeyId(0), &input, *proven);
            }
            vec![body]
        });
        let mut sim = builder(4, seed)
            .network(Network::random().starving(p(1)))
            .corrupt([liar], bad)
            .build(|_| replica());
        // Until a bad share is among the first that make a qualified set.
        for id in 0..60 {
            let party = p(id as usize % 3);
            front_end(&mut sim, party, id, "sign:it");
            sim.run_to_quiescence(EVENTS_MAX)?;
            check_signed(4, seed, front_end_reply(&sim, party, id), "sign:it");
            if !convicted(&sim, party).is_empty() {
                break;
            }
        }
        for party in sim.honest().iter() {
            assert!(convicted(&sim, party).contains(liar), "{party} lacks the evidence");
            assert_eq!(convicted(&sim, party).len(), 1);
        }
        let kinds: Vec<_> = sim.blames().iter().map(|(_, fault)| fault.kind).collect();
        assert!(kinds.contains(&FaultKind::BadShare));
        // The evidence survives, and reaches a server that was away.
        sim.crash(p(0));
        sim.restart(p(0));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(convicted(&sim, p(0)).contains(liar));
        Ok(())
    });
}

#[test]
fn signatures_come_although_shares_are_lost_and_servers_restart() {
    seeds(0..15, |seed| {
        let mut sim = builder(4, seed).network(Network::lossy(150)).build(|_| replica());
        for id in 0..12 {
            front_end(&mut sim, p(0), id, &format!("sign:{id}"));
            sim.run_for(maftia_base::time::Duration(3_000), EVENTS_MAX)?;
            if id % 4 == 3 {
                sim.crash(p(2));
                sim.restart(p(2));
            }
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        for id in 0..12 {
            check_signed(4, seed, front_end_reply(&sim, p(0), id), &format!("sign:{id}"));
        }
        assert!(sim.state(p(0)).expect("up").footprint() < 2_000);
        Ok(())
    });
}

#[test]
fn a_client_gets_the_signature_from_another_server_when_its_own_falls_silent() {
    seeds(0..8, |seed| {
        // The silent server orders nothing, so ask it last: the home server of client 3 is 3.
        let mut sim = builder(4, seed).corrupt([p(3)], Silent).build(|_| replica());
        let mut clients = [Attached::new(4, seed, 3)];
        let id = clients[0].submit("sign:me", sim.now());
        serve(&mut sim, &mut clients)?;
        let Some(ClientReply::Signed { input, .. }) = clients[0].reply(id) else {
            panic!("not signed: {:?}", clients[0].reply(id));
        };
        assert_eq!(*input, input_of("sign:me"));
        Ok(())
    });
}

/// All `keep:` requests have the group's signature in the state, the same everywhere.
fn check_kept(sim: &Sim, n: usize, seed: u64, count: usize) {
    let ledger = common_ledger(sim);
    assert_eq!(ledger.kept.len(), count);
    for kept in &ledger.kept {
        let keyring = &keyrings(n, seed)[0];
        assert!(keyring.is_threshold_signature(KeyId(0), &kept.input, &kept.signature), "{kept:?}");
    }
}

#[test]
fn what_a_service_wants_signed_for_its_state_is_signed_once_and_the_same_everywhere() {
    for n in [1, 4, 7] {
        seeds(0..10, |seed| {
            let mut sim = builder(n, seed).network(Network::lossy(150)).build(|_| replica());
            for id in 0..6 {
                front_end(&mut sim, p(id as usize % n), id, &format!("keep:{id}"));
            }
            sim.run_to_quiescence(EVENTS_MAX)?;
            check_kept(&sim, n, seed, 6);
            Ok(())
        });
    }
}

#[test]
fn signatures_for_the_state_come_although_a_server_lies_and_others_restart() {
    seeds(0..20, |seed| {
        let liar = p(3);
        let keyring = keyrings(4, seed).remove(3);
        let bad = Mutator(move |letter: &maftia_sim::Letter<Message<IdealSuite>>, _: &mut _| {
            let mut body = (*letter.body).clone();
            if let Message::Signing(SigningMessage::Share { proven, share, .. }) = &mut body {
                let input = input_of("keep:0");
                *share = IdealSuite::bad_signature_share(&keyring, KeyId(0), &input, *proven);
            }
            vec![body]
        });
        let mut sim = builder(4, seed)
            .network(Network::random().starving(p(1)))
            .corrupt([liar], bad)
            .build(|_| replica());
        for id in 0..6 {
            front_end(&mut sim, p(0), id, "keep:0");
            sim.run_for(maftia_base::time::Duration(2_000), EVENTS_MAX)?;
            let party = p(1 + id as usize % 2);
            sim.crash(party);
            sim.restart(party);
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_kept(&sim, 4, seed, 6);
        Ok(())
    });
}

#[test]
fn a_signature_that_only_a_liar_vouches_for_is_not_kept() {
    seeds(0..10, |seed| {
        let keyrings = keyrings(4, seed);
        // What it combines is no signature, and it says so first: the others are slow.
        let lying = move |party: Party, work: Vec<Work<IdealSuite>>, clock| {
            let mut done = IdealSuite::run_many(work, &keyrings[party.index()], clock);
            for done in &mut done {
                if let (true, Done::Signature { signature, .. }) = (party == p(3), done) {
                    *signature = signature.as_ref().map(|_| Bytes::from_static(b"no signature"));
                }
            }
            done
        };
        let network = Network::random().starving(p(1));
        let sim = builder(4, seed).network(network).worker(lying);
        let mut sim = sim.corrupt([p(3)], Passive).build(|_| replica());
        for id in 0..6 {
            front_end(&mut sim, p(0), id, &format!("keep:{id}"));
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        check_kept(&sim, 4, seed, 6);
        Ok(())
    });
}
