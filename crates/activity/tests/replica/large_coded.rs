//! Large requests by coded broadcast: what they cost, and what its votes and fragments promise.

use crate::large::{
    Gate, INTERVAL, ask, build, check_no_credit_is_lost, check_once, greet, keeps_back_its_lane,
    outstanding, pass_marks, request, settle,
};
use crate::world::{
    Attached, EVENTS_MAX, Sim, Sut, builder, common_ledger, ledger, p, replica, serve,
};
use maftia_activity::{
    Carried, GRANTED_MAX, LARGE_BYTES_MAX, Message, Nonce, OPEN_MAX, Record, Standing, ValueId,
    ValuesMessage,
};
use maftia_agreement::broadcast::coded;
use maftia_base::time::Duration;
use maftia_base::wire::EncodeSize;
use maftia_base::{Digest, Party, PartySet};
use maftia_crypto::ideal::IdealSuite;
use maftia_sim::{Adversary, Builder, Hand, Letter, seeds};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[test]
fn ten_mebibytes_cost_each_server_n_by_k_of_them_and_the_home_twice_that() {
    for (n, k) in [(4, 2), (7, 3)] {
        let size = |message: &Message<IdealSuite>| message.encode_size();
        let gate = Gate::new(|_| false);
        let mut sim = build(builder(n, 1).measure(size).network(gate.clone()));
        let mut clients = [Attached::new(n, 1, 0)];
        let large = request("large", LARGE_BYTES_MAX);
        clients[0].submit_large(&large, sim.now());
        serve(&mut sim, &mut clients).expect("served");
        check_once(&mut sim, &[large]).expect("once");
        let share = ((n - 1) * LARGE_BYTES_MAX / k) as u64;
        let near = |bytes: u64, goal: u64| (goal..goal + goal / 50).contains(&bytes);
        let sent = gate.sent.borrow();
        println!("n = {n}, k = {k}: {sent:?}; a share is {share}");
        assert!(near(sent[&p(0)], 2 * share), "the home: all fragments, and its own to all");
        for index in 1..n {
            assert!(near(sent[&p(index)], share), "each other: its own to all");
        }
        assert!(near(sim.stats().bytes, (n as u64 + 1) * share), "and that is all");
    }
}

#[test]
fn nobody_votes_for_a_request_whose_value_it_does_not_have() {
    seeds(0..6, |seed| {
        // Server 3 has its fragment and those of others, and no word that the value is certain.
        let gate = Gate::new(|letter| match &*letter.body {
            Message::Value(ValuesMessage { body, .. }) => {
                letter.to == p(3) && matches!(body, Carried::Broadcast(coded::Message::Ready(_)))
            }
            _ => false,
        });
        let mut sim = build(builder(4, seed).network(gate.clone()));
        let mut clients = [Attached::new(4, seed, 0)];
        let small = clients[0].submit("small", sim.now());
        serve(&mut sim, &mut clients)?;
        assert!(clients[0].reply(small).is_some());
        // Only with the vote of server 3 is a batch certified now.
        sim.crash(p(2));
        let large = request("large", 200_000);
        clients[0].submit_large(&large, sim.now());
        let has = |sim: &Sim, index| {
            let id = ValueId { home: p(0), number: 0 };
            sim.state(p(index)).is_some_and(|it| it.values().get(id).is_some())
        };
        while !(has(&sim, 0) && has(&sim, 1)) {
            clients[0].carry_once(&mut sim);
            assert!(sim.step()?, "the three make it certain");
        }
        sim.run_for(Duration(1_000_000), EVENTS_MAX)?;
        assert!(!has(&sim, 3));
        assert_eq!(ledger(&sim, p(0)).count(&large), 0, "server 3 has no value");
        gate.open();
        serve(&mut sim, &mut clients)?;
        sim.restart(p(2));
        check_once(&mut sim, &[b"small".to_vec(), large])
    });
}

/// Shows its values to some, and pieces that do not hold to others.
struct Partial {
    shown: PartySet,
    spoils: bool,
}

impl Adversary<Sut> for Partial {
    fn outgoing(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) {
        match &*letter.body {
            Message::Value(_) if self.shown.contains(letter.to) => hand.pass(letter),
            Message::Value(ValuesMessage {
                id,
                body: Carried::Broadcast(coded::Message::Send { commitment, piece }),
            }) if self.spoils => {
                let mut piece = piece.clone();
                piece.number ^= 1;
                let (id, commitment) = (*id, *commitment);
                let body = Carried::Broadcast(coded::Message::Send { commitment, piece });
                hand.send(letter.from, letter.to, Message::Value(ValuesMessage { id, body }));
            }
            Message::Value(_) => {}
            _ => hand.pass(letter),
        }
    }
}

#[test]
fn a_home_that_shows_fragments_to_some_only_harms_nobody() {
    seeds(0..6, |seed| {
        for shown in [vec![], vec![1], vec![1, 2], vec![2, 3]] {
            let shown: PartySet = shown.into_iter().map(p).collect();
            let partial = Partial { shown, spoils: seed % 2 == 0 };
            let mut sim = build(builder(4, seed).corrupt([p(0)], partial));
            let mut clients: Vec<_> = (0..2).map(|number| Attached::new(4, seed, number)).collect();
            let asked = ask(&mut clients, &sim, "some", 700_000);
            serve(&mut sim, &mut clients)?;
            check_once(&mut sim, &asked)?;
        }
        Ok(())
    });
}

#[test]
fn a_wiped_server_uses_no_number_twice() {
    seeds(0..6, |seed| {
        let (mut sim, wiped) = build_with_wiped(builder(4, seed));
        let mut clients = [Attached::new(4, seed, 3), Attached::new(4, seed, 1)];
        let mut asked = ask(&mut clients, &sim, "before", 200_000);
        serve(&mut sim, &mut clients)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let used = sim.state(p(3)).expect("up").values().next_number();
        assert!(used > 0);
        wipe(&mut sim, &wiped, p(3));
        asked.extend(ask(&mut clients[1..], &sim, "meanwhile", 200_000));
        serve(&mut sim, &mut clients)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let server = sim.state(p(3)).expect("up");
        assert_eq!(server.standing(), Standing::Member);
        assert!(server.values().next_number() >= used + OPEN_MAX);
        // As home, too.
        let mut late = [Attached::new(4, seed, 7)];
        asked.extend(ask(&mut late, &sim, "as home", 200_000));
        serve(&mut sim, &mut late)?;
        check_once(&mut sim, &asked)
    });
}

#[test]
fn references_stand_in_the_order_of_their_numbers_whichever_value_is_certain_first() {
    seeds(0..6, |seed| {
        let gate = Gate::new(|letter| match &*letter.body {
            Message::Value(ValuesMessage { id, body }) => {
                let is_vote = matches!(body, Carried::Broadcast(coded::Message::Ready(_)));
                letter.to == p(0) && *id == ValueId { home: p(0), number: 0 } && is_vote
            }
            _ => false,
        });
        let mut sim = build(builder(4, seed).network(gate.clone()));
        let mut clients = [Attached::new(4, seed, 0), Attached::new(4, seed, 4)];
        let mut asked = vec![b"greeting".to_vec(); 2];
        for (number, client) in clients.iter_mut().enumerate() {
            greet(&mut sim, client)?;
            let large = request(&format!("large {number}"), 200_000);
            client.submit_large(&large, sim.now());
            client.carry_once(&mut sim);
            asked.push(large);
        }
        settle(&mut sim)?;
        let values = sim.state(p(0)).expect("up").values();
        let has = |number| values.get(ValueId { home: p(0), number }).is_some();
        assert!(!has(0) && has(1), "the second is certain, the first is not");
        gate.open();
        sim.run_to_quiescence(EVENTS_MAX)?;
        let ledger = common_ledger(&sim);
        assert!(asked[2..].iter().all(|large| ledger.count(large) == 1));
        check_no_credit_is_lost(&sim);
        Ok(())
    });
}

#[test]
fn what_a_home_began_before_its_log_was_cut_takes_effect_after_a_crash() {
    seeds(0..6, |seed| {
        // The home does not learn that its value is certain, and so does not refer to it.
        let gate = Gate::new(|letter| match &*letter.body {
            Message::Value(ValuesMessage { body, .. }) => {
                letter.to == p(0) && matches!(body, Carried::Broadcast(coded::Message::Ready(_)))
            }
            _ => false,
        });
        let mut sim = build(builder(4, seed).network(gate.clone()));
        let mut client = Attached::new(4, seed, 0);
        greet(&mut sim, &mut client)?;
        let large = request("large", 200_000);
        client.submit_large(&large, sim.now());
        client.carry_once(&mut sim);
        pass_marks(&mut sim, "meanwhile")?;
        assert!(matches!(sim.log(p(0)).0[0], Record::Begin(_)), "its log was cut");
        sim.crash_losing_unsynced(p(0));
        sim.restart(p(0));
        gate.open();
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(&large), 1);
        check_no_credit_is_lost(&sim);
        Ok(())
    });
}

#[test]
fn a_mark_writes_fragments_again_and_not_the_values_of_others() {
    let gate = keeps_back_its_lane();
    let mut sim = build(builder(4, 1).network(gate));
    let large = outstanding(&mut sim, 1).expect("broadcast");
    pass_marks(&mut sim, "on").expect("ordered");
    let bytes = |index| {
        let sizes = sim.log(p(index)).0.iter().map(|record| match record {
            Record::Value(record) => record.encode_size(),
            _ => 0,
        });
        sizes.sum::<usize>()
    };
    // The log lies between the mark before the last and now: it has each thing twice at most.
    let fragment = large.len() / 2;
    assert!(bytes(0) >= large.len(), "the home has the value");
    let others = (1..4).map(bytes).max().expect("three");
    assert!((fragment..5 * fragment / 2).contains(&others), "others: {others}");
}

/// A group of which some servers are wiped: see [`wipe`].
pub(crate) fn build_with_wiped(
    builder: Builder<Sut>,
) -> (Sim, Rc<RefCell<BTreeMap<Party, Nonce>>>) {
    let wiped: Rc<RefCell<BTreeMap<Party, Nonce>>> = Rc::default();
    let disks = Rc::clone(&wiped);
    let sim = builder.trace(0).build(move |party| {
        let server = replica().with_mark_interval(INTERVAL);
        match disks.borrow().get(&party) {
            Some(nonce) => server.rejoining(*nonce),
            None => server,
        }
    });
    (sim, wiped)
}

/// The server loses its log and asks to be admitted again.
pub(crate) fn wipe(sim: &mut Sim, wiped: &RefCell<BTreeMap<Party, Nonce>>, party: Party) {
    sim.wipe(party);
    sim.trust_again(party);
    wiped.borrow_mut().insert(party, Nonce(Digest([1 + party.index() as u8; 32])));
    sim.restart(party);
}

#[test]
fn what_is_given_up_with_an_epoch_is_broadcast_anew_without_its_client() {
    seeds(0..6, |seed| {
        let gate = keeps_back_its_lane();
        let (mut sim, wiped) = build_with_wiped(builder(4, seed).network(gate.clone()));
        let large = outstanding(&mut sim, seed)?;
        wipe(&mut sim, &wiped, p(3));
        pass_marks(&mut sim, "meanwhile")?;
        assert_eq!(sim.state(p(3)).expect("up").standing(), Standing::Member);
        for index in 0..4 {
            let values = sim.state(p(index)).expect("up").values();
            assert!((0..4).all(|home| values.floor(p(home)) == GRANTED_MAX), "all are given up");
        }
        gate.open();
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(&large), 1);
        check_no_credit_is_lost(&sim);
        Ok(())
    });
}
