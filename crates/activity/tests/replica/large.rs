//! Large requests: what they promise, what they cost, and who may not harm them.

use crate::world::{
    Attached, EVENTS_MAX, SERVICE, Sim, Sut, builder, common_ledger, front_end, ledger, p, replica,
    serve, structure,
};
use maftia_activity::client::{ClientEffect, ClientReply};
use maftia_activity::{
    Ask, ClientBundle, Command, GRANTED_MAX, LARGE_EACH_MAX, Message, Outcome, Record, SessionId,
    ValueId,
};
use maftia_agreement::atomic::{self, BATCH_WEIGHT};
use maftia_agreement::broadcast::coded::code_of;
use maftia_agreement::checkpoint::Mark;
use maftia_base::time::Duration;
use maftia_base::wire::EncodeSize;
use maftia_base::{Digest, GroupId, Party, PartySet, Statement};
use maftia_crypto::ideal::{self, IdealSuite};
use maftia_crypto::{CodedValue, commitment_of};
use maftia_sim::attacks::Silent;
use maftia_sim::{
    Builder, Crashes, Failure, Fate, Letter, Local, Network, Random, Scheduler, seeds,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) const MIB: usize = 1 << 20;

/// A mark every few batches.
pub(crate) const INTERVAL: u64 = 6 * BATCH_WEIGHT;

/// A request of this many bytes that no other is equal to.
pub(crate) fn request(name: &str, len: usize) -> Vec<u8> {
    let seed = Digest::of("request", name.as_bytes()).0;
    seed.iter()
        .copied()
        .cycle()
        .enumerate()
        .map(|(at, byte)| byte ^ (at >> 8) as u8)
        .take(len)
        .collect()
}

pub(crate) fn build(builder: Builder<Sut>) -> Sim {
    builder.trace(0).build(|_| replica().with_mark_interval(INTERVAL))
}

/// All honest servers have one state, in which each of these took effect once.
pub(crate) fn check_once(sim: &mut Sim, requests: &[Vec<u8>]) -> Result<(), Failure> {
    sim.run_to_quiescence(EVENTS_MAX)?;
    let ledger = common_ledger(sim);
    for request in requests {
        assert_eq!(ledger.count(request), 1, "of {} bytes", request.len());
    }
    assert_eq!(ledger.entries.len(), requests.len(), "nothing else was executed");
    let digests = sim.honest().iter().map(|party| sim.state(party).expect("up").digest());
    let digests: Vec<Digest> = digests.collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "states or frontiers differ");
    Ok(())
}

/// Each client asks for some large and some small ones, all at once.
pub(crate) fn ask(clients: &mut [Attached], sim: &Sim, name: &str, len: usize) -> Vec<Vec<u8>> {
    let mut asked = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        for (part, len) in [len, 40, len / 3].into_iter().enumerate() {
            let request = request(&format!("{name}/{number}/{part}"), len);
            match len {
                40 => drop(client.client.submit(request.clone().into(), sim.now())),
                _ => drop(client.submit_large(&request, sim.now())),
            }
            asked.push(request);
        }
    }
    asked
}

#[test]
fn a_large_request_takes_effect_once_everywhere_in_any_schedule() {
    seeds(0..6, |seed| {
        for n in [4, 7] {
            let mut sim = build(builder(n, seed));
            let mut clients: Vec<_> = (0..3).map(|number| Attached::new(n, seed, number)).collect();
            let asked = ask(&mut clients, &sim, "any", MIB);
            serve(&mut sim, &mut clients)?;
            check_once(&mut sim, &asked)?;
            let refused = |(_, reply): &&(_, ClientReply)| !matches!(reply, ClientReply::Plain(_));
            assert_eq!(clients.iter().flat_map(|it| &it.replies).filter(refused).count(), 0);
        }
        Ok(())
    });
}

type Held = Rc<dyn Fn(&Letter<Message<IdealSuite>>) -> bool>;

/// A network that keeps some letters back while it is closed, and counts what each server sends.
#[derive(Clone)]
pub(crate) struct Gate {
    network: Network,
    held: Held,
    closed: Rc<RefCell<bool>>,
    pub(crate) sent: Rc<RefCell<BTreeMap<Party, u64>>>,
}

impl Gate {
    pub(crate) fn new(held: impl Fn(&Letter<Message<IdealSuite>>) -> bool + 'static) -> Self {
        let held: Held = Rc::new(held);
        let closed = Rc::new(RefCell::new(true));
        Self { network: Network::random(), held, closed, sent: Rc::default() }
    }

    pub(crate) fn open(&self) {
        *self.closed.borrow_mut() = false;
    }
}

impl Scheduler<Message<IdealSuite>> for Gate {
    fn route(&mut self, letter: &Letter<Message<IdealSuite>>, random: &mut Random) -> Fate {
        *self.sent.borrow_mut().entry(letter.from).or_default() += letter.body.encode_size() as u64;
        if *self.closed.borrow() && (self.held)(letter) {
            return Fate::Held(Duration(u64::MAX / 4));
        }
        self.network.route(letter, random)
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        Scheduler::<Message<IdealSuite>>::local(&mut self.network, party, what, random)
    }

    fn release(&mut self, held: &[Letter<Message<IdealSuite>>], _: &mut Random) -> Option<usize> {
        (!*self.closed.borrow() && !held.is_empty()).then_some(0)
    }
}

/// Asks for `count` large requests, one after the other, and waits until server 0 has them.
pub(crate) fn ask_in_turn(
    sim: &mut Sim,
    client: &mut Attached,
    name: &str,
    count: usize,
) -> Result<Vec<Vec<u8>>, Failure> {
    let mut asked = Vec::new();
    for number in 0..count {
        let large = request(&format!("{name} {number}"), 100_000);
        client.submit_large(&large, sim.now());
        serve(sim, std::slice::from_mut(client))?;
        asked.push(large);
    }
    Ok(asked)
}

#[test]
fn who_falls_behind_without_a_crash_asks_for_what_was_beyond_its_grant() {
    seeds(0..6, |seed| {
        let order = |letter: &Letter<Message<IdealSuite>>| {
            letter.to == p(3) && matches!(&*letter.body, Message::Order(_))
        };
        let gate = Gate::new(order);
        // No mark comes: only the values themselves can help.
        let mut sim = builder(4, seed).trace(0).network(gate.clone()).build(|_| replica());
        let mut client = Attached::new(4, seed, 0);
        let asked = ask_in_turn(&mut sim, &mut client, "ahead", 9)?;
        let held = sim.state(p(3)).expect("up").values().ids().len() as u64;
        assert_eq!(held, GRANTED_MAX, "what is beyond is not started");
        gate.open();
        check_once(&mut sim, &asked)
    });
}

#[test]
fn who_waits_for_values_that_are_gone_fetches_the_state_after_them() {
    seeds(0..6, |seed| {
        let values = |letter: &Letter<Message<IdealSuite>>| {
            letter.to == p(3) && matches!(&*letter.body, Message::Value(_))
        };
        let gate = Gate::new(values);
        let mut sim = build(builder(4, seed).network(gate.clone()));
        let mut client = Attached::new(4, seed, 0);
        let mut asked = Vec::new();
        let is_cut = |sim: &Sim| {
            let cut = |outcome: &Outcome<_>| matches!(outcome, Outcome::Cut(_));
            (0..3).all(|index| sim.outcomes(p(index)).iter().any(cut))
        };
        while !is_cut(&sim) {
            asked.extend(ask_in_turn(&mut sim, &mut client, &format!("{}", asked.len()), 1)?);
        }
        // Those that wait for it may wait at the mark before the one that is certified.
        sim.run_for(Duration(1_000_000), EVENTS_MAX)?;
        assert!(installed(&sim, p(3)) > 0);
        gate.open();
        check_once(&mut sim, &asked)
    });
}

#[test]
fn values_bring_the_next_mark_nearer_by_what_they_weigh() {
    let interval = MIB as u64;
    let mut sim = builder(4, 1).trace(0).build(move |_| replica().with_mark_interval(interval));
    let mut client = Attached::new(4, 1, 0);
    let asked = ask_in_turn(&mut sim, &mut client, "heavy", 33).expect("served");
    check_once(&mut sim, &asked).expect("once");
    let (reached, _) = sim.state(p(0)).expect("up").marks();
    // Without their values, 33 references weigh less than half of it.
    assert_eq!(reached, Mark(3));
}

#[test]
fn crashes_at_any_record_lose_nothing_that_a_client_waits_for() {
    seeds(0..25, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 15,
            crashes_max: 10,
            ..Crashes::default()
        };
        let mut sim = build(builder(4, seed).crashes(crashes));
        let mut clients: Vec<_> = (0..2).map(|number| Attached::new(4, seed, number)).collect();
        let mut asked = Vec::new();
        for round in 0..4 {
            asked.extend(ask(&mut clients, &sim, &format!("round {round}"), 600_000));
            serve(&mut sim, &mut clients)?;
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.run_until(|sim| (0..4).all(|index| sim.is_up(p(index))), EVENTS_MAX)?;
        check_once(&mut sim, &asked)
    });
}

#[test]
fn a_silent_server_stops_nobody_and_a_silent_home_is_left_for_another() {
    seeds(0..5, |seed| {
        let mut sim = build(builder(4, seed).corrupt([p(1)], Silent));
        // The home of the second is the silent one.
        let mut clients: Vec<_> = (0..3).map(|number| Attached::new(4, seed, number)).collect();
        let asked = ask(&mut clients, &sim, "beside it", MIB);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)
    });
}

#[test]
fn a_client_whose_home_crashed_retries_elsewhere_and_the_home_orders_what_it_began() {
    seeds(0..8, |seed| {
        let mut sim = build(builder(4, seed));
        let mut clients = [Attached::new(4, seed, 0)];
        let mut asked = vec![request("first", 300_000)];
        clients[0].submit_large(&asked[0], sim.now());
        serve(&mut sim, &mut clients)?;
        for round in 0..3 {
            let large = request(&format!("round {round}"), 300_000);
            clients[0].submit_large(&large, sim.now());
            asked.push(large);
            let home = clients[0].client.server();
            let begins = |sim: &Sim| sim.state(home).expect("up").values().next_number();
            let before = begins(&sim);
            for _ in 0..EVENTS_MAX {
                clients[0].carry_once(&mut sim);
                if begins(&sim) > before || !sim.step()? {
                    break;
                }
            }
            sim.crash(home);
            serve(&mut sim, &mut clients)?;
            sim.restart(home);
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        check_once(&mut sim, &asked)?;
        for index in 0..4 {
            let values = sim.state(p(index)).expect("up").values();
            assert_eq!(values.waiting_bytes(), 0, "all is applied");
            for home in 0..4 {
                let next = sim.state(p(home)).expect("up").values().next_number();
                assert_eq!(values.floor(p(home)), next, "credit is given back");
            }
        }
        Ok(())
    });
}

pub(crate) fn installed(sim: &Sim, party: Party) -> usize {
    sim.outcomes(party).iter().filter(|outcome| matches!(outcome, Outcome::Installed(_))).count()
}

#[test]
fn who_was_away_applies_what_it_missed_from_the_values_or_from_a_state() {
    let mut ways = [0; 2];
    for (away, way) in [(1, 0), (8, 1)] {
        seeds(0..6, |seed| {
            let mut sim = build(builder(4, seed));
            let mut clients: Vec<_> = (0..2).map(|number| Attached::new(4, seed, number)).collect();
            let mut asked = ask(&mut clients, &sim, "before", 200_000);
            serve(&mut sim, &mut clients)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            sim.crash(p(3));
            for round in 0..away {
                asked.extend(ask(&mut clients, &sim, &format!("away {round}"), 200_000));
                serve(&mut sim, &mut clients)?;
            }
            sim.run_to_quiescence(EVENTS_MAX)?;
            sim.restart(p(3));
            sim.run_to_quiescence(EVENTS_MAX)?;
            check_once(&mut sim, &asked)?;
            ways[way] += installed(&sim, p(3));
            // It counts again: without it and one other nothing could be ordered.
            sim.crash(p(2));
            asked.extend(ask(&mut clients, &sim, "with it", 200_000));
            serve(&mut sim, &mut clients)?;
            sim.restart(p(2));
            check_once(&mut sim, &asked)
        });
    }
    assert!(ways[1] > 0, "nobody installed a state");
}

#[test]
fn logs_that_are_cut_have_what_a_restart_needs_and_stay_short() {
    seeds(0..4, |seed| {
        let mut sim = build(builder(4, seed));
        let mut clients: Vec<_> = (0..3).map(|number| Attached::new(4, seed, number)).collect();
        let mut asked = Vec::new();
        let bytes = |sim: &Sim, party| {
            let size = |record: &Record<IdealSuite>| record.encode_size();
            sim.log(party).0.iter().map(size).sum::<usize>()
        };
        let mut longest = 0;
        for round in 0..8 {
            asked.extend(ask(&mut clients, &sim, &format!("round {round}"), 300_000));
            serve(&mut sim, &mut clients)?;
            if round % 3 == 2 {
                (0..4).for_each(|index| sim.crash_losing_unsynced(p(index)));
                (0..4).for_each(|index| sim.restart(p(index)));
            }
            sim.run_to_quiescence(EVENTS_MAX)?;
            longest = (0..4).map(|index| bytes(&sim, p(index))).max().expect("four").max(longest);
            for index in 0..4 {
                let held = sim.state(p(index)).expect("up").values().ids().len();
                assert!(held <= 18, "{held} fragments are kept");
            }
        }
        check_once(&mut sim, &asked)?;
        // Of eight rounds with 1.2 MB each, a log has what came since the mark before the last.
        assert!(longest < 6_000_000, "a log had {longest} bytes");
        Ok(())
    });
}

/// Runs for long, and not so long that what a gate keeps back would come.
pub(crate) fn settle(sim: &mut Sim) -> Result<(), Failure> {
    sim.run_for(Duration(2_000_000), EVENTS_MAX)
}

/// Opens the client's session, so that what it asks next goes out at once.
pub(crate) fn greet(sim: &mut Sim, client: &mut Attached) -> Result<(), Failure> {
    client.submit("greeting", sim.now());
    serve(sim, std::slice::from_mut(client))
}

/// Everywhere all that any home began is applied.
pub(crate) fn check_no_credit_is_lost(sim: &Sim) {
    for home in sim.honest().iter() {
        let next = sim.state(home).expect("up").values().next_number();
        for server in sim.honest().iter() {
            let values = sim.state(server).expect("up").values();
            assert_eq!(values.floor(home), next, "{home}'s, at {server}");
            assert_eq!(values.waiting_bytes(), 0);
        }
    }
}

#[test]
fn what_a_home_began_takes_effect_after_its_crash_though_the_client_is_gone() {
    let mut begun = 0;
    seeds(0..40, |seed| {
        let mut sim = build(builder(4, seed));
        let mut client = Attached::new(4, seed, 0);
        greet(&mut sim, &mut client)?;
        let large = request("large", 300_000);
        client.submit_large(&large, sim.now());
        client.carry_once(&mut sim);
        if seed % 4 == 3 {
            // When it has just delivered, and before it has a batch that refers to it.
            let id = ValueId { home: p(0), number: 0 };
            let has = |sim: &Sim| sim.state(p(0)).is_some_and(|it| it.values().get(id).is_some());
            sim.run_until(has, EVENTS_MAX)?;
            sim.crash(p(0));
        } else {
            for _ in 0..seed * 8 {
                sim.step()?;
            }
            sim.crash_losing_unsynced(p(0));
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.restart(p(0));
        sim.run_to_quiescence(EVENTS_MAX)?;
        let next = sim.state(p(0)).expect("up").values().next_number();
        assert_eq!(common_ledger(&sim).count(&large) as u64, next);
        check_no_credit_is_lost(&sim);
        begun += next;
        Ok(())
    });
    assert!((10..40).contains(&begun), "both happens: {begun} of 40");
}

/// Keeps back the batches of server 0: what it has broadcast is not referred to.
pub(crate) fn keeps_back_its_lane() -> Gate {
    Gate::new(|letter| match &*letter.body {
        Message::Order(order) => {
            letter.from == p(0) && matches!(&order.body, atomic::Message::Batch { .. })
        }
        _ => false,
    })
}

/// Server 0 broadcasts this request, which everybody gets, and nobody can order.
pub(crate) fn outstanding(sim: &mut Sim, seed: u64) -> Result<Vec<u8>, Failure> {
    let mut client = Attached::new(4, seed, 1);
    greet(sim, &mut client)?;
    let large = request("outstanding", 200_000);
    // What it signed for its own home goes to another.
    client.submit_large(&large, sim.now());
    client.client.flush(sim.now());
    while let Some(effect) = client.client.poll_effect() {
        if let ClientEffect::Send { bundle, value: Some(value), .. } = effect {
            sim.command(p(0), Command::Large { bundle, value });
        }
    }
    settle(sim)?;
    let id = ValueId { home: p(0), number: 0 };
    let up = sim.honest().iter().filter(|party| sim.is_up(*party)).collect::<Vec<_>>();
    for party in up {
        assert!(sim.state(party).expect("up").values().get(id).is_some(), "{party} has it");
    }
    assert_eq!(ledger(sim, p(1)).count(&large), 0);
    Ok(large)
}

/// Orders small requests until there were marks enough that all logs were cut.
pub(crate) fn pass_marks(sim: &mut Sim, name: &str) -> Result<(), Failure> {
    let before = sim.state(p(1)).expect("up").marks().0;
    for number in 0.. {
        front_end(sim, p(1 + number % 2), number as u64, &format!("{name} {number}"));
        settle(sim)?;
        if sim.state(p(1)).expect("up").marks().0 >= Mark(before.0 + 4) {
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn an_outstanding_value_outlives_marks_cuts_crashes_and_a_transfer() {
    seeds(0..8, |seed| {
        let gate = keeps_back_its_lane();
        let mut sim = build(builder(4, seed).network(gate.clone()));
        let large = outstanding(&mut sim, seed)?;
        // One is away while all logs are cut, and fetches a state that lies behind the broadcast.
        sim.crash_losing_unsynced(p(3));
        pass_marks(&mut sim, "away")?;
        sim.restart(p(3));
        settle(&mut sim)?;
        assert!(installed(&sim, p(3)) > 0);
        pass_marks(&mut sim, "together")?;
        let begins = |sim: &Sim, index| matches!(sim.log(p(index)).0[0], Record::Begin(_));
        assert!((0..4).all(|index| begins(&sim, index)), "all logs were cut");
        (0..4).for_each(|index| sim.crash_losing_unsynced(p(index)));
        (0..4).for_each(|index| sim.restart(p(index)));
        settle(&mut sim)?;
        let id = ValueId { home: p(0), number: 0 };
        for index in 0..4 {
            assert!(sim.state(p(index)).expect("up").values().get(id).is_some(), "{index}");
        }
        gate.open();
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(common_ledger(&sim).count(&large), 1, "once it is referred to");
        check_no_credit_is_lost(&sim);
        Ok(())
    });
}

#[test]
fn who_waits_for_values_of_an_ended_epoch_fetches_the_state_at_its_end() {
    seeds(0..6, |seed| {
        let gate =
            Gate::new(|letter| letter.to == p(3) && matches!(&*letter.body, Message::Value(_)));
        let mut sim = builder(4, seed).trace(0).network(gate.clone()).build(|_| replica());
        let mut client = Attached::new(4, seed, 0);
        let asked = ask_in_turn(&mut sim, &mut client, "before the end", 2)?;
        (0..2).for_each(|index| sim.command(p(index), Command::ChangeEpoch));
        settle(&mut sim)?;
        assert_eq!(installed(&sim, p(3)), 1, "it lies one mark ahead");
        assert!(asked.iter().all(|large| ledger(&sim, p(3)).count(large) == 1));
        gate.open();
        check_once(&mut sim, &asked)
    });
}

#[test]
fn one_client_that_asks_too_much_leaves_room_for_others() {
    seeds(0..4, |seed| {
        let mut sim = build(builder(4, seed));
        let mut client = Attached::new(4, seed, 0);
        greet(&mut sim, &mut client)?;
        let greedy = ideal::client(seed, 9);
        for sequence in 0..3 * LARGE_EACH_MAX as u64 {
            let value = CodedValue::new(request(&format!("greedy {sequence}"), 70_000));
            let value = value.expect("short enough");
            let named = commitment_of(code_of(&structure(4)), &value);
            let session = SessionId(99);
            let ask = Ask::Large { session, sequence, acknowledged: 0, value: named };
            let sign = |statement: &Statement| greedy.sign(statement);
            let (group, key) = (GroupId::default(), greedy.key());
            let bundle = ClientBundle::signed(group, SERVICE, ask, key, sign);
            sim.command(p(0), Command::Large { bundle, value });
        }
        let large = request("modest", 100_000);
        client.submit_large(&large, sim.now());
        serve(&mut sim, std::slice::from_mut(&mut client))?;
        assert_eq!(client.client.server(), p(0), "its home took it");
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(ledger(&sim, p(0)).count(&large), 1);
        let taken = sim.state(p(1)).expect("up").values().floor(p(0));
        assert_eq!(taken, 1 + LARGE_EACH_MAX as u64, "of the greedy one no more");
        Ok(())
    });
}
