//! Large requests where a vote says that the voter holds the value: what they cost, and homes and
//! servers that lie about them.

use crate::large::{Gate, MIB, ask, build, check_no_credit_is_lost, check_once, request, settle};
use crate::world::{Attached, EVENTS_MAX, Sim, Sut, builder, keyrings, p, serve, structure};
use maftia_activity::{
    Carried, LARGE_BYTES_MAX, Message, Record, ValueId, ValuesMessage, ValuesRecord,
};
use maftia_agreement::broadcast::coded::code_of;
use maftia_agreement::hybrid::dissemination::{self, Message as Said};
use maftia_base::time::Reading;
use maftia_base::wire::{Bytes, EncodeSize};
use maftia_base::{Party, PartySet};
use maftia_crypto::ideal::IdealSuite;
use maftia_crypto::{CodedValue, Done, Encoded, Suite, Work};
use maftia_sim::{Adversary, Crashes, Hand, Letter, seeds};
use std::rc::Rc;

fn parties(indices: impl IntoIterator<Item = usize>) -> PartySet {
    indices.into_iter().map(p).collect()
}

#[test]
fn a_large_request_takes_effect_once_everywhere_with_three_servers_and_with_five() {
    seeds(0..8, |seed| {
        for n in [3, 5] {
            let mut sim = build(builder(n, seed));
            let mut clients: Vec<_> = (0..3).map(|number| Attached::new(n, seed, number)).collect();
            let asked = ask(&mut clients, &sim, "any", MIB);
            serve(&mut sim, &mut clients)?;
            check_once(&mut sim, &asked)?;
            check_no_credit_is_lost(&sim);
        }
        Ok(())
    });
}

#[test]
fn ten_mebibytes_cost_the_home_two_fragments_for_each_and_the_others_one_if_two_are_too_few() {
    for (n, k) in [(3, 2), (5, 3), (7, 4)] {
        let size = |message: &Message<IdealSuite>| message.encode_size();
        let gate = Gate::new(|_| false);
        let mut sim = build(builder(n, 1).measure(size).network(gate.clone()));
        let mut clients = [Attached::new(n, 1, 0)];
        let large = request("large", LARGE_BYTES_MAX);
        clients[0].submit_large(&large, sim.now());
        serve(&mut sim, &mut clients).expect("served");
        check_once(&mut sim, &[large]).expect("once");
        let share = ((n - 1) * LARGE_BYTES_MAX / k) as u64;
        let sent = gate.sent.borrow();
        println!("n = {n}, k = {k}: {sent:?}; a share is {share}");
        assert!((2 * share..2 * share + share / 20).contains(&sent[&p(0)]), "the home");
        for index in 1..n {
            let goal = if k > 2 { share } else { 0 };
            // Who wants what is on its way may be given a fragment twice.
            assert!((goal..goal + 5 * share / 2).contains(&sent[&p(index)]), "server {index}");
        }
    }
}

/// Keeps its values from some, and tells them of another in their place.
struct TwoFaced {
    kept_from: PartySet,
    other: Option<Rc<Encoded>>,
    told: bool,
}

impl Adversary<Sut> for TwoFaced {
    fn outgoing(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) {
        let Message::Value(ValuesMessage { id, .. }) = &*letter.body else {
            return hand.pass(letter);
        };
        if !self.kept_from.contains(letter.to) {
            return hand.pass(letter);
        }
        let Some(other) = self.other.clone().filter(|_| !self.told) else { return };
        self.told = true;
        for to in self.kept_from.iter() {
            for owner in [to, letter.from] {
                for piece in other.fragments[owner.index()].iter().cloned() {
                    let commitment = other.commitment;
                    let piece = Said::Piece { commitment, owner, piece };
                    let body = Carried::Dissemination(piece);
                    hand.send(letter.from, to, Message::Value(ValuesMessage { id: *id, body }));
                }
            }
        }
    }
}

fn encoded(n: usize, value: &[u8]) -> Encoded {
    let value = CodedValue::new(Bytes::copy_from_slice(value)).expect("short enough");
    let work = vec![Work::Encode { code: code_of(&structure(n)), value }];
    let done = IdealSuite::run_many(work, &keyrings(n, 0)[0], Reading::default());
    match done.into_iter().next() {
        Some(Done::Encoded(encoded)) => encoded,
        other => panic!("it encodes: {other:?}"),
    }
}

#[test]
fn who_was_told_of_another_value_or_of_none_applies_the_one_that_was_ordered() {
    let mut held = 0;
    seeds(0..10, |seed| {
        for n in [3usize, 5] {
            let kept_from = parties(n.div_ceil(2)..n);
            let other = (seed % 2 == 0).then(|| Rc::new(encoded(n, &request("other", 5_000))));
            let liar = TwoFaced { kept_from, other: other.clone(), told: false };
            let mut sim = build(builder(n, seed).corrupt([p(0)], liar));
            let mut clients = vec![Attached::new(n, seed, 0), Attached::new(n, seed, 1)];
            let asked = ask(&mut clients, &sim, "some", 300_000);
            serve(&mut sim, &mut clients)?;
            check_once(&mut sim, &asked)?;
            let held_other = |party| {
                let held = |record: &Record<IdealSuite>| match record {
                    Record::Value(ValuesRecord { body: Carried::Dissemination(body), .. }) => {
                        let commitment = other.as_ref().expect("there is one").commitment;
                        *body == dissemination::Record::Held(commitment)
                    }
                    _ => false,
                };
                sim.log(party).0.iter().any(held)
            };
            held += usize::from(other.is_some() && kept_from.iter().any(held_other));
        }
        Ok(())
    });
    assert!(held > 3, "some held the other value first: {held}");
}

/// Gives what does not hold, or nothing.
struct Garbler;

impl Adversary<Sut> for Garbler {
    fn outgoing(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) {
        let Message::Value(ValuesMessage {
            id,
            body: Carried::Dissemination(Said::Piece { commitment, owner, piece }),
        }) = &*letter.body
        else {
            return hand.pass(letter);
        };
        if letter.to.index().is_multiple_of(2) {
            let (commitment, owner) = (*commitment, Party::new((owner.index() + 1) % 3));
            let piece = piece.clone();
            let said = Said::Piece { commitment, owner, piece };
            let body = Carried::Dissemination(said);
            hand.send(letter.from, letter.to, Message::Value(ValuesMessage { id: *id, body }));
        }
    }
}

#[test]
fn liars_among_those_who_give_fragments_keep_nobody_from_a_value() {
    seeds(0..10, |seed| {
        let n = 5;
        let kept_from = parties([2]);
        let home = TwoFaced { kept_from, other: None, told: false };
        let mut sim = build(builder(n, seed).corrupt([p(0)], home).corrupt([p(4)], Garbler));
        let mut clients = vec![Attached::new(n, seed, 0), Attached::new(n, seed, 1)];
        let asked = ask(&mut clients, &sim, "beside liars", 300_000);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)?;
        let blamed: PartySet = sim.blames().iter().map(|(_, fault)| fault.culprit).collect();
        assert!(blamed.is_subset(parties([0, 4])), "{blamed:?}");
        Ok(())
    });
}

#[test]
fn what_the_only_honest_voter_held_comes_to_who_was_away_through_crashes() {
    seeds(0..10, |seed| {
        let n = 3;
        // Server 2 hears of no value, and the home falls silent when its request is ordered.
        let gate =
            Gate::new(|letter| letter.to == p(2) && matches!(&*letter.body, Message::Value(_)));
        let mut sim = build(builder(n, seed).network(gate.clone()));
        let mut client = Attached::new(n, seed, 0);
        let large = request("large", 400_000);
        client.submit_large(&large, sim.now());
        serve(&mut sim, std::slice::from_mut(&mut client))?;
        let id = ValueId { home: p(0), number: 0 };
        assert!(sim.state(p(2)).expect("up").values().get(id).is_none());
        sim.crash(p(0));
        sim.crash_losing_unsynced(p(1));
        sim.crash_losing_unsynced(p(2));
        gate.open();
        sim.restart(p(1));
        sim.restart(p(2));
        settle(&mut sim)?;
        for index in [1, 2] {
            let ledger = crate::world::ledger(&sim, p(index));
            assert_eq!(ledger.count(&large), 1, "server {index}");
        }
        sim.restart(p(0));
        check_once(&mut sim, &[large])
    });
}

#[test]
fn crashes_of_three_servers_at_any_record_lose_nothing_that_a_client_waits_for() {
    seeds(0..25, |seed| {
        let parties = PartySet::all(3);
        let crashes = Crashes { parties, permille: 15, crashes_max: 10, ..Crashes::default() };
        let mut sim = build(builder(3, seed).crashes(crashes));
        let mut clients: Vec<_> = (0..2).map(|number| Attached::new(3, seed, number)).collect();
        let mut asked = Vec::new();
        for round in 0..4 {
            asked.extend(ask(&mut clients, &sim, &format!("round {round}"), 600_000));
            serve(&mut sim, &mut clients)?;
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.run_until(|sim| (0..3).all(|index| sim.is_up(p(index))), EVENTS_MAX)?;
        check_once(&mut sim, &asked)
    });
}

#[test]
fn among_honest_servers_nobody_is_blamed() {
    seeds(0..4, |seed| {
        let mut sim: Sim = build(builder(3, seed));
        let mut clients = vec![Attached::new(3, seed, 1)];
        let asked = ask(&mut clients, &sim, "all honest", 200_000);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)?;
        assert_eq!(sim.blames(), vec![], "all are honest");
        Ok(())
    });
}
