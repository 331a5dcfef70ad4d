//! Large requests: what they promise, what they cost, and who may not harm them.

use crate::world::{
    Attached, EVENTS_MAX, SERVICE, Sim, Sut, builder, common_ledger, front_end, ledger, p, replica,
    serve, structure,
};
use maftia_activity::client::ClientReply;
use maftia_activity::{
    Ask, ClientBundle, Command, GRANTED_MAX, LARGE_BYTES_MAX, Message, Nonce, OPEN_MAX, Outcome,
    Record, SessionId, Standing, ValueId, ValuesMessage,
};
use maftia_agreement::atomic::BATCH_WEIGHT;
use maftia_agreement::broadcast::coded::{self, code_of};
use maftia_agreement::checkpoint::Mark;
use maftia_base::time::Duration;
use maftia_base::wire::{Bytes, EncodeSize};
use maftia_base::{Digest, GroupId, Party, PartySet, Statement};
use maftia_crypto::ideal::{self, IdealSuite};
use maftia_crypto::{CodedValue, commitment_of};
use maftia_sim::attacks::Silent;
use maftia_sim::{
    Adversary, Builder, Crashes, Failure, Fate, Hand, Letter, Local, Network, Random, Scheduler,
    seeds,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const MIB: usize = 1 << 20;

/// A mark every few batches.
const INTERVAL: u64 = 6 * BATCH_WEIGHT;

/// A request of this many bytes that no other is equal to.
fn request(name: &str, len: usize) -> Vec<u8> {
    let seed = Digest::of("request", name.as_bytes()).0;
    seed.iter()
        .copied()
        .cycle()
        .enumerate()
        .map(|(at, byte)| byte ^ (at >> 8) as u8)
        .take(len)
        .collect()
}

fn build(builder: Builder<Sut>) -> Sim {
    builder.trace(0).build(|_| replica().with_mark_interval(INTERVAL))
}

/// All honest servers have one state, in which each of these took effect once.
fn check_once(sim: &mut Sim, requests: &[Vec<u8>]) -> Result<(), Failure> {
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
fn ask(clients: &mut [Attached], sim: &Sim, name: &str, len: usize) -> Vec<Vec<u8>> {
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

type Held = fn(&Letter<Message<IdealSuite>>) -> bool;

/// A network that keeps some letters back while it is closed, and counts what each server sends.
#[derive(Clone)]
struct Gate {
    network: Network,
    held: Held,
    closed: Rc<RefCell<bool>>,
    sent: Rc<RefCell<BTreeMap<Party, u64>>>,
}

impl Gate {
    fn new(held: Held) -> Self {
        let closed = Rc::new(RefCell::new(true));
        Self { network: Network::random(), held, closed, sent: Rc::default() }
    }

    fn open(&self) {
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
fn ask_in_turn(
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
fn nobody_votes_for_a_request_whose_value_it_does_not_have() {
    seeds(0..6, |seed| {
        // Server 3 has its fragment and those of others, and no word that the value is certain.
        let gate = Gate::new(|letter| match &*letter.body {
            Message::Value(ValuesMessage { body, .. }) => {
                letter.to == p(3) && matches!(body, coded::Message::Ready(_))
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
                body: coded::Message::Send { commitment, piece },
            }) if self.spoils => {
                let mut piece = piece.clone();
                piece.number ^= 1;
                let (id, commitment) = (*id, *commitment);
                let body = coded::Message::Send { commitment, piece };
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
fn a_client_whose_home_crashed_retries_elsewhere_and_the_home_gives_up_what_it_began() {
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
            assert_eq!(values.waiting_bytes(), 0, "all is applied or given up");
            for home in 0..4 {
                let next = sim.state(p(home)).expect("up").values().next_number();
                assert_eq!(values.floor(p(home)), next, "credit is given back");
            }
        }
        Ok(())
    });
}

fn installed(sim: &Sim, party: Party) -> usize {
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

#[test]
fn a_wiped_server_uses_no_number_twice() {
    seeds(0..6, |seed| {
        let wiped: Rc<RefCell<BTreeMap<Party, Nonce>>> = Rc::default();
        let disks = Rc::clone(&wiped);
        let mut sim = builder(4, seed).trace(0).build(move |party| {
            let server = replica().with_mark_interval(INTERVAL);
            match disks.borrow().get(&party) {
                Some(nonce) => server.rejoining(*nonce),
                None => server,
            }
        });
        let mut clients = [Attached::new(4, seed, 3), Attached::new(4, seed, 1)];
        let mut asked = ask(&mut clients, &sim, "before", 200_000);
        serve(&mut sim, &mut clients)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let used = sim.state(p(3)).expect("up").values().next_number();
        assert!(used > 0);
        sim.wipe(p(3));
        sim.trust_again(p(3));
        wiped.borrow_mut().insert(p(3), Nonce(Digest([1; 32])));
        sim.restart(p(3));
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

/// Broadcasts values under ever new numbers, and orders none.
struct Hoarder {
    next: u64,
    value: CodedValue,
}

impl Hoarder {
    fn pour(&mut self, home: Party, hand: &mut Hand<'_, Sut>) {
        let keyrings = crate::world::keyrings(4, 0);
        let code = code_of(&structure(4));
        let work = maftia_crypto::Work::Encode { code, value: self.value.clone() };
        let done = <IdealSuite as maftia_crypto::Suite>::run_many(
            vec![work],
            &keyrings[home.index()],
            Default::default(),
        );
        let Some(maftia_crypto::Done::Encoded(encoded)) = done.into_iter().next() else {
            panic!("it encodes")
        };
        let id = ValueId { home, number: self.next };
        self.next += 1;
        let commitment = encoded.commitment;
        for (owner, fragment) in encoded.fragments.into_iter().enumerate() {
            for piece in fragment {
                if owner == home.index() {
                    let body = coded::Message::Echo { commitment, piece };
                    hand.send_all(home, Message::Value(ValuesMessage { id, body }));
                } else {
                    let body = coded::Message::Send { commitment, piece };
                    let message = Message::Value(ValuesMessage { id, body });
                    hand.send(home, p(owner), message);
                }
            }
        }
    }
}

impl Adversary<Sut> for Hoarder {
    fn started(&mut self, hand: &mut Hand<'_, Sut>) {
        for _ in 0..12 {
            self.pour(p(0), hand);
        }
    }
}

#[test]
fn a_home_that_floods_and_orders_nothing_uses_up_its_own_credit_only() {
    seeds(0..4, |seed| {
        let value = CodedValue::new(request("hoarded", MIB)).expect("short enough");
        let hoarder = Hoarder { next: 0, value };
        let granted = 4 * GRANTED_MAX as usize * coded::footprint_max(code_of(&structure(4)));
        let flooded = builder(4, seed).corrupt([p(0)], hoarder).footprint_max(20_000 + granted);
        let mut sim = build(flooded);
        let mut clients: Vec<_> = (1..4).map(|number| Attached::new(4, seed, number)).collect();
        let asked = ask(&mut clients, &sim, "beside it", 400_000);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)?;
        for index in 1..4 {
            let values = sim.state(p(index)).expect("up").values();
            let held = values.ids().into_iter().filter(|id| id.home == p(0)).count() as u64;
            assert_eq!(held, GRANTED_MAX, "no more than is granted");
            assert_eq!(values.waiting_bytes(), GRANTED_MAX as usize * MIB);
        }
        assert!(sim.blames().is_empty(), "being ahead is no misconduct");
        // It is not dropped at marks either: it may yet be ordered.
        for number in 0..30 {
            front_end(&mut sim, p(1), number, &format!("small {number}"));
            sim.run_to_quiescence(EVENTS_MAX)?;
        }
        (1..4).for_each(|index| sim.crash_losing_unsynced(p(index)));
        (1..4).for_each(|index| sim.restart(p(index)));
        sim.run_to_quiescence(EVENTS_MAX)?;
        for index in 1..4 {
            let values = sim.state(p(index)).expect("up").values();
            assert_eq!(values.waiting_bytes(), GRANTED_MAX as usize * MIB, "after a cut");
        }
        Ok(())
    });
}

/// What a client signs for a value.
fn signed(seed: u64, named: &CodedValue) -> ClientBundle {
    let client = ideal::client(seed, 5);
    let value = commitment_of(code_of(&structure(4)), named);
    let ask = Ask::Large { session: SessionId(0), sequence: 1, acknowledged: 1, value };
    let sign = |statement: &Statement| client.sign(statement);
    ClientBundle::signed(GroupId::default(), SERVICE, ask, client.key(), sign)
}

#[test]
fn a_client_that_gives_another_value_than_it_signed_is_pointed_out_and_blocks_nobody() {
    seeds(0..4, |seed| {
        let mut sim = build(builder(4, seed));
        let [named, other] = ["named", "other"].map(|name| {
            CodedValue::new(Bytes::from(request(name, 100_000))).expect("short enough")
        });
        sim.command(p(0), Command::Large { bundle: signed(seed, &named), value: other });
        let mut short = signed(seed, &named);
        short.signature = maftia_crypto::ClientSignature([1; 64]);
        sim.command(p(0), Command::Large { bundle: short, value: named });
        let mut clients = [Attached::new(4, seed, 0)];
        let asked = ask(&mut clients, &sim, "behind it", 100_000);
        serve(&mut sim, &mut clients)?;
        check_once(&mut sim, &asked)?;
        let lied = |outcome: &&Outcome<_>| matches!(outcome, Outcome::ClientLied(_));
        assert_eq!(sim.outcomes(p(0)).iter().filter(lied).count(), 2);
        assert_eq!(ledger(&sim, p(1)).entries.len(), asked.len());
        Ok(())
    });
}
