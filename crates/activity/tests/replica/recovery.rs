//! Logs are cut, states are certified, and whoever was away, is new or was wiped comes back.

use crate::configuration::configured;
use crate::ledger::Ledger;
use crate::world::{
    Attached, EVENTS_MAX, SERVICE, Sim, Sut, builder, common_ledger, front_end, ledger, p, replica,
    serve,
};
use maftia_activity::{
    Command, Halt, Message, Nonce, Outcome, Piece, REJOIN_EVERY, Record, Replica, Standing,
    TransferMessage,
};
use maftia_agreement::atomic::BATCH_WEIGHT;
use maftia_base::wire::Blob;
use maftia_base::{Digest, Epoch, FaultKind, Party, PartySet};
use maftia_crypto::ideal::IdealSuite;
use maftia_sim::attacks::{Mutator, Replayer, Silent};
use maftia_sim::{Adversary, Builder, Crashes, Failure, Letter, Random, seeds};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A mark every few batches.
const INTERVAL: u64 = 6 * BATCH_WEIGHT;

/// Servers that were wiped, with the number that each drew.
#[derive(Clone, Default)]
struct Wiped(Rc<RefCell<BTreeMap<Party, Nonce>>>);

impl Wiped {
    /// Builds each server as its disk has it.
    fn build(&self, builder: Builder<Sut>) -> Sim {
        let wiped = self.clone();
        builder.build(move |party| {
            let server = replica().with_mark_interval(INTERVAL);
            match wiped.0.borrow().get(&party) {
                Some(nonce) => server.rejoining(*nonce),
                None => server,
            }
        })
    }

    /// The server loses everything but its keys, and starts again. It is judged as an honest one:
    /// whatever it says must agree with what it said before.
    fn wipe(&self, sim: &mut Sim, party: Party, number: u8) {
        sim.wipe(party);
        sim.trust_again(party);
        self.0.borrow_mut().insert(party, Nonce(Digest([number; 32])));
        sim.restart(party);
    }
}

/// Has servers `at` order `count` requests each, and waits until the first of them has all.
fn order(sim: &mut Sim, at: &[usize], name: &str, count: u64) -> Result<(), Failure> {
    for number in 0..count {
        for index in at {
            let (id, request) = (number, format!("{name} {number} at {index}"));
            front_end(sim, p(*index), id, &request);
        }
        let done = |sim: &Sim| {
            at.iter().all(|index| {
                let request = format!("{name} {number} at {index}");
                ledger(sim, p(at[0])).count(request.as_bytes()) == 1
            })
        };
        sim.run_until(done, EVENTS_MAX)?;
    }
    Ok(())
}

fn standing(sim: &Sim, party: Party) -> Standing {
    sim.state(party).expect("up").standing()
}

fn installed(sim: &Sim, party: Party) -> usize {
    sim.outcomes(party).iter().filter(|outcome| matches!(outcome, Outcome::Installed(_))).count()
}

fn log_len(sim: &Sim, party: Party) -> usize {
    sim.log(party).0.len()
}

/// All honest servers are members, have one state, and have applied the same requests once.
fn check_same(sim: &mut Sim) -> Result<(), Failure> {
    sim.run_to_quiescence(EVENTS_MAX)?;
    let ledger = common_ledger(sim);
    for entry in &ledger.entries {
        assert_eq!(ledger.count(&entry.request), 1, "executed twice");
    }
    let honest = sim.honest();
    let digests: Vec<Digest> =
        honest.iter().map(|party| sim.state(party).expect("up").digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "states or frontiers differ");
    for party in honest.iter() {
        assert_eq!(standing(sim, party), Standing::Member);
        let halted = |outcome: &Outcome<_>| matches!(outcome, Outcome::Halted(_));
        assert!(!sim.history(party).any(|(_, outcome)| halted(outcome)));
    }
    Ok(())
}

#[test]
fn logs_stay_short_however_much_is_delivered() {
    seeds(0..4, |seed| {
        let mut sim = Wiped::default().build(builder(4, seed));
        let mut longest = [0; 2];
        for (half, longest) in longest.iter_mut().enumerate() {
            for part in 0..10 {
                order(&mut sim, &[0, 1, 2, 3], &format!("{half}/{part}"), 6)?;
                sim.run_to_quiescence(EVENTS_MAX)?;
                let lens = (0..4).map(|index| log_len(&sim, p(index)));
                *longest = lens.max().expect("four").max(*longest);
            }
        }
        check_same(&mut sim)?;
        let [first, second] = longest;
        assert!(second <= first + first / 4, "logs grow: {first}, then {second} records");
        let (reached, certified) = sim.state(p(0)).expect("up").marks();
        assert!(reached.0 > 20 && certified == Some(reached), "{reached:?} {certified:?}");
        Ok(())
    });
}

#[test]
fn all_servers_restart_from_cut_logs() {
    seeds(0..15, |seed| {
        let mut sim = Wiped::default().build(builder(4, seed));
        for life in 0..3 {
            order(&mut sim, &[0, 1, 2, 3], &format!("life {life}"), 8)?;
            for index in 0..4 {
                sim.crash_losing_unsynced(p(index));
            }
            for index in 0..4 {
                sim.restart(p(index));
            }
            check_same(&mut sim)?;
            assert_eq!(ledger(&sim, p(0)).entries.len(), 32 * (life + 1));
            assert!(
                sim.log(p(1))
                    .0
                    .iter()
                    .next()
                    .is_some_and(|record| life == 0 || matches!(record, Record::Begin(_)))
            );
        }
        Ok(())
    });
}

#[test]
fn a_log_never_begins_at_a_mark_of_which_a_crash_kept_the_state_and_lost_the_rest() {
    let keys = |sim: &Sim| -> Vec<_> {
        sim.log(p(3)).0.iter().filter_map(|record| record.archive_key()).collect()
    };
    let is_state = |key: &maftia_activity::ArchiveKey| {
        matches!(key, maftia_activity::ArchiveKey::Snapshot(_, Piece::Manifest))
    };
    seeds(0..10, |seed| {
        let mut sim = Wiped::default().build(builder(4, seed));
        order(&mut sim, &[0, 1, 2, 3], "before", 8)?;
        for index in 0..4 {
            front_end(&mut sim, p(index), 50, &format!("in flight {index}"));
            front_end(&mut sim, p(index), 51, &format!("and this {index}"));
        }
        // The state of a mark has been written, and is not durable yet.
        let mark = loop {
            assert!(sim.step()?, "there is a mark before all is done");
            let (log, durable) = sim.log(p(3));
            let fresh = log[durable..].iter().filter_map(|record| record.archive_key());
            if let Some(mark) = fresh.filter(is_state).last() {
                break mark;
            }
        };
        let last_chunk = sim.log(p(3)).0.iter().rposition(|it| matches!(it, Record::Chunk { .. }));
        sim.crash_to(p(3), last_chunk.expect("the state has a chunk") + 1);
        assert!(sim.honest().contains(p(3)), "the disk kept what it had promised");
        sim.restart(p(3));
        order(&mut sim, &[0, 1, 2, 3], "after", 20)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert!(!sim.outcomes(p(3)).contains(&Outcome::Cut(mark)), "cut at {mark:?}");
        assert!(keys(&sim).iter().find(|key| is_state(key)) > Some(&mark), "cut at a later one");
        sim.crash_losing_unsynced(p(3));
        sim.restart(p(3));
        check_same(&mut sim)
    });
}

#[test]
fn crashes_at_any_record_lose_nothing_and_contradict_nothing() {
    seeds(0..60, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 15,
            crashes_max: 12,
            ..Crashes::default()
        };
        let mut sim = Wiped::default().build(builder(4, seed).crashes(crashes));
        let mut clients: Vec<_> = (0..3).map(|number| Attached::new(4, seed, number)).collect();
        for round in 0..12 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.submit(&format!("sign:{number}/{round}"), sim.now());
            }
            serve(&mut sim, &mut clients)?;
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.run_until(|sim| (0..4).all(|index| sim.is_up(p(index))), EVENTS_MAX)?;
        check_same(&mut sim)?;
        assert_eq!(ledger(&sim, p(0)).entries.len(), 36);
        Ok(())
    });
}

/// Where the last state in the log ends, if something stands behind it that is not durable.
fn end_of_state(sim: &Sim, party: Party) -> Option<usize> {
    let (log, durable) = sim.log(party);
    let is_state = |record: &_| matches!(record, Record::Begin(_) | Record::Chunk { .. });
    let end = log.iter().rposition(is_state)? + 1;
    (durable <= end && end < log.len()).then_some(end)
}

#[test]
fn a_log_does_not_begin_at_a_mark_behind_which_a_crash_lost_what_was_open() {
    let mut torn = 0;
    seeds(0..40, |seed| {
        let mut sim = Wiped::default().build(builder(4, seed));
        let victim = p((seed % 4) as usize);
        for life in 0..6 {
            for index in 0..4 {
                for number in 0..6 {
                    let request = format!("life {life}, {number} at {index}");
                    front_end(&mut sim, p(index), number, &request);
                }
            }
            let found = |sim: &Sim| end_of_state(sim, victim).is_some();
            if sim.run_until(found, EVENTS_MAX / 10).is_ok()
                && let Some(end) = end_of_state(&sim, victim)
            {
                torn += 1;
                sim.crash_to(victim, end);
                sim.restart(victim);
                // It has come back, and cut its log if it does; now it dies again.
                sim.run_until(|sim| sim.log(victim).1 > 0, EVENTS_MAX)?;
                for _ in 0..(seed * 7) % 60 {
                    sim.step()?;
                }
            }
            sim.crash_losing_unsynced(victim);
            sim.restart(victim);
            check_same(&mut sim)?;
        }
        Ok(())
    });
    assert!(torn > 40, "crashes hit that place: {torn}");
}

#[test]
fn one_that_was_away_or_is_new_fetches_the_state_and_goes_on() {
    for away_first in [0, 4] {
        seeds(0..10, |seed| {
            let mut sim = Wiped::default().build(builder(4, seed));
            order(&mut sim, &[0, 1, 2, 3], "before", away_first)?;
            sim.crash(p(3));
            order(&mut sim, &[0, 1, 2], "meanwhile", 40)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            sim.restart(p(3));
            order(&mut sim, &[0, 1, 2], "under load", 4)?;
            check_same(&mut sim)?;
            assert!(installed(&sim, p(3)) > 0, "it was fetched batch by batch");
            // It counts again: without it and one other nothing could be ordered.
            sim.crash(p(2));
            order(&mut sim, &[0, 1, 3], "with it", 4)
        });
    }
}

#[test]
fn a_wiped_server_votes_in_nothing_of_the_old_epoch_and_is_admitted_to_the_next() {
    seeds(0..25, |seed| {
        let wiped = Wiped::default();
        let mut sim = wiped.build(builder(4, seed));
        order(&mut sim, &[0, 1, 2, 3], "before", 5)?;
        // In the midst of work, in which it has voted.
        for index in 0..4 {
            front_end(&mut sim, p(index), 100, &format!("in flight {index}"));
        }
        sim.run_for(maftia_base::time::Duration(3_000), EVENTS_MAX)?;
        wiped.wipe(&mut sim, p(3), 1);
        order(&mut sim, &[0, 1, 2], "meanwhile", 5)?;
        check_same(&mut sim)?;
        assert_eq!(sim.state(p(3)).expect("up").epoch(), Epoch(1));
        sim.crash(p(1));
        order(&mut sim, &[0, 2, 3], "with it", 4)?;
        sim.restart(p(1));
        check_same(&mut sim)
    });
}

#[test]
fn a_wiped_server_comes_back_through_crashes_of_its_own_and_of_others() {
    seeds(0..40, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(4),
            permille: 25,
            crashes_max: 10,
            ..Crashes::default()
        };
        let wiped = Wiped::default();
        let mut sim = wiped.build(builder(4, seed).crashes(crashes));
        let mut clients: Vec<_> = (0..2).map(|number| Attached::new(4, seed, number)).collect();
        for round in 0..10 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.submit(&format!("{number}/{round}"), sim.now());
            }
            serve(&mut sim, &mut clients)?;
            if round == 3 {
                sim.run_until(|sim| (0..4).all(|index| sim.is_up(p(index))), EVENTS_MAX)?;
                wiped.wipe(&mut sim, p(2), 1);
            }
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.run_until(|sim| (0..4).all(|index| sim.is_up(p(index))), EVENTS_MAX)?;
        check_same(&mut sim)?;
        assert!(sim.state(p(2)).expect("up").epoch() >= Epoch(1));
        assert_eq!(ledger(&sim, p(0)).entries.len(), 20);
        Ok(())
    });
}

/// Is a hostile server beside a wiped one within the structure?
fn hostile_beside_wiped(n: usize, seed: u64) -> Result<(Sim, Wiped), Failure> {
    let wiped = Wiped::default();
    let hostile = builder(n, seed).corrupt([p(0)], Silent);
    let mut sim = wiped.build(hostile);
    let rest: Vec<usize> = (1..n).collect();
    order(&mut sim, &rest, "before", 3)?;
    wiped.wipe(&mut sim, p(1), 1);
    Ok((sim, wiped))
}

#[test]
fn a_hostile_and_a_wiped_server_of_seven_stop_nobody() {
    seeds(0..5, |seed| {
        let (mut sim, _) = hostile_beside_wiped(7, seed)?;
        order(&mut sim, &[2, 3, 4, 5, 6], "meanwhile", 3)?;
        check_same(&mut sim)?;
        order(&mut sim, &[1, 2], "with it", 2)?;
        check_same(&mut sim)
    });
}

#[test]
fn a_hostile_and_a_wiped_server_of_four_stop_the_group_and_make_it_say_nothing_wrong() {
    seeds(0..5, |seed| {
        let (mut sim, _) = hostile_beside_wiped(4, seed)?;
        for index in [2, 3] {
            front_end(&mut sim, p(index), 100, "too many are away");
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        for index in [2, 3] {
            assert_eq!(ledger(&sim, p(index)).count(b"too many are away"), 0);
        }
        assert_eq!(standing(&sim, p(1)), Standing::Rejoining, "nobody admitted it");
        let replies = [2, 3].map(|index| crate::world::front_end_reply(&sim, p(index), 100));
        assert_eq!(replies, [None, None], "nobody is told anything");
        let snapshot = |index| sim.state(p(index)).expect("up").snapshot();
        assert_eq!(snapshot(2), snapshot(3));
        Ok(())
    });
}

/// Gives false pieces of states, and says that true ones are gone.
fn false_pieces(
    letter: &Letter<Message<IdealSuite>>,
    random: &mut Random,
) -> Vec<Message<IdealSuite>> {
    let lie = match &*letter.body {
        Message::Transfer(TransferMessage::Chunk { mark, index, chunk }) => {
            let mut bytes = chunk.to_vec();
            match random.below(3) {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes[0] ^= 1,
                _ => return vec![Message::Transfer(TransferMessage::Gone(*mark))],
            }
            let chunk = Blob::new(bytes).expect("no longer than before");
            TransferMessage::Chunk { mark: *mark, index: *index, chunk }
        }
        Message::Transfer(TransferMessage::Manifest(manifest)) if random.chance(500) => {
            let mut manifest = manifest.clone();
            manifest.frontier.round = manifest.frontier.round.next();
            TransferMessage::Manifest(manifest)
        }
        _ => return vec![Message::clone(&letter.body)],
    };
    vec![Message::Transfer(lie)]
}

#[test]
fn who_gives_false_pieces_of_a_state_delays_nobody_and_is_blamed() {
    let mut blamed = 0;
    seeds(0..20, |seed| {
        let wiped = Wiped::default();
        let mut sim = wiped.build(builder(7, seed).corrupt([p(0)], Mutator(false_pieces)));
        order(&mut sim, &[1, 2, 3, 4, 5, 6], "before", 3)?;
        wiped.wipe(&mut sim, p(6), 1);
        order(&mut sim, &[1, 2, 3, 4, 5], "meanwhile", 3)?;
        check_same(&mut sim)?;
        let lied =
            |(_, fault): &&(Party, maftia_base::Fault)| fault.kind == FaultKind::InvalidValue;
        blamed += sim.blames().iter().filter(lied).count();
        Ok(())
    });
    assert!(blamed > 0, "the liar was never asked");
}

/// Sends a wish to rejoin again and again, with ever new numbers and with old ones.
struct Clamourer(u64);

impl Adversary<Sut> for Clamourer {
    fn outgoing(
        &mut self,
        letter: &Letter<Message<IdealSuite>>,
        hand: &mut maftia_sim::Hand<'_, Sut>,
    ) {
        hand.pass(letter);
        self.0 += 1;
        let number = if self.0.is_multiple_of(2) { self.0 } else { 7 };
        let nonce = Nonce(Digest::of_encoded("test", &number));
        hand.send_all(letter.from, Message::Rejoin(nonce));
    }
}

#[test]
fn one_that_clamours_to_rejoin_costs_one_epoch_a_minute() {
    seeds(0..5, |seed| {
        let mut sim = Wiped::default().build(builder(4, seed).corrupt([p(3)], Clamourer(0)));
        order(&mut sim, &[0, 1, 2], "beside it", 20)?;
        let elapsed = sim.now().0;
        let allowed = 1 + elapsed / REJOIN_EVERY;
        let epoch = sim.state(p(0)).expect("up").epoch();
        assert!(epoch >= Epoch(1), "the first is granted");
        assert!(epoch.0 <= allowed, "{epoch:?} after {elapsed} us");
        Ok(())
    });
}

#[test]
fn what_others_say_again_admits_nobody() {
    seeds(0..10, |seed| {
        let wiped = Wiped::default();
        let mut sim = wiped.build(builder(7, seed).corrupt([p(0)], Replayer::new(300)));
        order(&mut sim, &[1, 2, 3, 4, 5, 6], "before", 2)?;
        let epoch = |sim: &Sim| sim.state(p(1)).expect("up").epoch();
        assert_eq!(epoch(&sim), Epoch(0), "nobody asked");
        // A true question, which the replayer hears as well.
        wiped.wipe(&mut sim, p(6), 9);
        order(&mut sim, &[1, 2, 3, 4, 5], "meanwhile", 8)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        // In its own name the replayer may ask as well; in that of the others nobody hears it.
        assert!((1..=2).contains(&epoch(&sim).0), "{:?}: one question admits once", epoch(&sim));
        Ok(())
    });
}

#[test]
fn a_server_that_rejoins_refuses_clients_and_says_why() {
    seeds(0..3, |seed| {
        let wiped = Wiped::default();
        let mut sim = wiped.build(builder(4, seed));
        order(&mut sim, &[0, 1, 2, 3], "before", 2)?;
        // Nobody is there to admit it.
        (0..3).for_each(|index| sim.crash(p(index)));
        wiped.wipe(&mut sim, p(3), 1);
        front_end(&mut sim, p(3), 5, "too early");
        sim.run_to_quiescence(EVENTS_MAX)?;
        let refused = crate::world::front_end_reply(&sim, p(3), 5);
        let catching_up =
            maftia_activity::FrontEndReply::Refused(maftia_activity::Refusal::CatchingUp);
        assert_eq!(refused, Some(catching_up));
        sim.command(p(3), Command::ChangeEpoch);
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(standing(&sim, p(3)), Standing::Rejoining);
        let sent = sim.log(p(3)).0.len();
        assert_eq!(sent, 1, "its log has its number and nothing else");
        Ok(())
    });
}

#[test]
fn a_piece_that_is_no_longer_kept_is_said_to_be_gone() {
    seeds(0..3, |seed| {
        let mut sim = Wiped::default().build(builder(4, seed));
        order(&mut sim, &[0, 1, 2, 3], "x", 20)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let begins = |record: &&Record<IdealSuite>| {
            matches!(
                record.archive_key(),
                Some(maftia_activity::ArchiveKey::Snapshot(_, Piece::Manifest))
            )
        };
        for index in 0..4 {
            let kept = sim.log(p(index)).0.iter().filter(begins).count();
            assert!((2..=3).contains(&kept), "{kept} states are kept");
        }
        Ok(())
    });
}

#[test]
fn a_server_with_an_older_copy_of_its_log_says_so_and_votes_no_more() {
    let mut halted = 0;
    seeds(0..20, |seed| {
        let mut sim = builder(4, seed).build(|_| replica());
        order(&mut sim, &[0, 1, 2, 3], "before", 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let copy = log_len(&sim, p(3));
        order(&mut sim, &[0, 1, 2, 3], "after the copy", 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.crash_to(p(3), copy);
        sim.restart(p(3));
        order(&mut sim, &[0, 1, 2], "meanwhile", 3)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        halted += usize::from(sim.outcomes(p(3)).contains(&Outcome::Halted(Halt::Forgot)));
        stays_halted(&mut sim, p(3), Halt::Forgot)
    });
    assert_eq!(halted, 20, "it signed batches of all, and finds that out from certificates");
}

/// However often `party` is restarted it says why it does nothing, and does nothing.
fn stays_halted(sim: &mut Sim, party: Party, why: Halt) -> Result<(), Failure> {
    for again in 0..2 {
        let log = log_len(sim, party);
        sim.crash(party);
        sim.restart(party);
        order(sim, &[0, 1, 2], &format!("without it {again}"), 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let told = sim.outcomes(party).iter().filter(|said| **said == Outcome::Halted(why));
        assert_eq!(told.count(), 1, "it says so again after a restart, once");
        assert_eq!(log_len(sim, party), log, "it takes nothing in, and signs nothing");
    }
    Ok(())
}

#[test]
fn a_server_whose_state_differs_from_what_a_quorum_certifies_stops_for_good() {
    seeds(0..10, |seed| {
        // What a faulty memory or another version makes of a state.
        let elsewhere = {
            let mut sim = builder(4, seed).build(|_| replica());
            order(&mut sim, &[0], "what nobody else has", 1)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            sim.state(p(0)).expect("up").machine(SERVICE).expect("there").clone()
        };
        let mut sim = builder(4, seed).build(move |party| {
            let differs = party == p(3);
            let ledger = if differs { elsewhere.clone() } else { Ledger::default() };
            configured(Replica::new([(SERVICE, ledger)]).with_mark_interval(INTERVAL))
        });
        order(&mut sim, &[0, 1, 2], "x", 20)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let halts = |party: Party| {
            let told = sim.outcomes(party).iter();
            let halts: Vec<_> = told
                .filter_map(|outcome| match outcome {
                    Outcome::Halted(why) => Some(*why),
                    _ => None,
                })
                .collect();
            halts
        };
        assert!((0..3).all(|index| halts(p(index)).is_empty()), "the others have one state");
        let [why @ Halt::Diverged(_)] = halts(p(3))[..] else {
            panic!("{:?}", halts(p(3)));
        };
        stays_halted(&mut sim, p(3), why)
    });
}

#[test]
fn one_that_was_down_for_ten_thousand_deliveries_comes_back_under_load() {
    // Marks as far apart as in a real group.
    let mut sim = builder(4, 1).trace(0).build(|_| replica());
    sim.crash(p(3));
    let order_many = |sim: &mut Sim, from: u64, to: u64| {
        for number in from..to {
            for index in 0..3 {
                front_end(sim, p(index), number, &format!("{number} at {index}"));
            }
            let goal = 3 * (number + 1);
            sim.run_until(|sim| sim.state(p(0)).expect("up").position() >= goal, EVENTS_MAX)?;
        }
        Ok::<_, Failure>(())
    };
    let run = |sim: &mut Sim| {
        order_many(sim, 0, 3_400)?;
        let delivered = |outcome: &&Outcome<_>| matches!(outcome, Outcome::Applied(_));
        let batches = sim.outcomes(p(0)).iter().filter(delivered).count();
        assert!(batches > 10_000, "{batches} batches");
        sim.restart(p(3));
        order_many(sim, 3_400, 3_420)?;
        check_same(sim)?;
        assert!(installed(sim, p(3)) > 0);
        sim.crash(p(1));
        front_end(sim, p(3), 9_999, "it carries the group");
        let done = |sim: &Sim| ledger(sim, p(2)).count(b"it carries the group") == 1;
        sim.run_until(done, EVENTS_MAX)
    };
    run(&mut sim).unwrap_or_else(|failure| panic!("{failure}"));
}
