//! A trusted component reboots, and the group admits its new life: each promise as a run.

use crate::configuration::{Components, components, entity, known_life, life};
use crate::world::{
    Attached, EVENTS_MAX, Sim, Sut, builder, common_ledger, front_end, front_end_reply, keyrings,
    last_wake, ledger, p, replica, serve,
};
use maftia_activity::{
    Command, FrontEndReply, Halt, Item, Message, Outcome, REJOIN_EVERY, Record, Refusal,
    ServerCommand, Standing,
};
use maftia_agreement::atomic::Record::{Own, Voted};
use maftia_agreement::atomic::{self, BATCH_WEIGHT, epochs};
use maftia_agreement::hybrid::Life;
use maftia_base::time::Duration;
use maftia_base::wire::Wire;
use maftia_base::{Digest, Epoch, FaultKind, Party, PartySet};
use maftia_crypto::ideal::{self, IdealSuite};
use maftia_crypto::{Attested, Done, Suite, Work};
use maftia_sim::attacks::{Passive, Silent};
use maftia_sim::wormhole::certified;
use maftia_sim::{Adversary, Builder, Crashes, Failure, Hand, Letter, Network, seeds};
use maftia_ttcb_api::{BootKeys, EntityId, Statement};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A mark every few batches.
const INTERVAL: u64 = 6 * BATCH_WEIGHT;

type Certified = Attested<BootKeys>;

/// Servers whose components rebooted, with the life that each asks with.
#[derive(Clone, Default)]
struct Reborn(Rc<RefCell<BTreeMap<Party, Certified>>>);

impl Reborn {
    fn build(&self, builder: Builder<Sut>) -> Sim {
        let reborn = self.clone();
        builder.build(move |party| {
            let server = replica().with_mark_interval(INTERVAL);
            match reborn.0.borrow().get(&party) {
                Some(life) => server.rejoining_as(*life),
                None => server,
            }
        })
    }

    /// What a node does when its component lives another life: it starts with a new log.
    fn come_back(&self, sim: &mut Sim, party: Party) {
        sim.wipe(party);
        sim.trust_again(party);
        self.0.borrow_mut().insert(party, life(&components(), party));
        sim.restart(party);
    }

    fn reboot(&self, sim: &mut Sim, party: Party) {
        components().borrow_mut().reboot(party);
        self.come_back(sim, party);
    }
}

/// Has servers `at` order `count` requests each, and waits until the first of them has all.
fn order(sim: &mut Sim, at: &[usize], name: &str, count: u64) -> Result<(), Failure> {
    for number in 0..count {
        for index in at {
            front_end(sim, p(*index), number, &format!("{name} {number} at {index}"));
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

fn epoch(sim: &Sim, party: Party) -> Epoch {
    sim.state(party).expect("up").epoch()
}

fn standing(sim: &Sim, party: Party) -> Standing {
    sim.state(party).expect("up").standing()
}

fn halts(sim: &Sim, party: Party) -> Vec<Halt> {
    let told = sim.outcomes(party).iter();
    let halts = told.filter_map(|outcome| match outcome {
        Outcome::Halted(why) => Some(*why),
        _ => None,
    });
    halts.collect()
}

/// All honest servers are members, know the same lives, have one state, and have applied the same
/// requests once.
fn check_same(sim: &mut Sim) -> Result<(), Failure> {
    sim.run_to_quiescence(EVENTS_MAX)?;
    let ledger = common_ledger(sim);
    for entry in &ledger.entries {
        assert_eq!(ledger.count(&entry.request), 1, "executed twice");
    }
    let honest = sim.honest();
    let up = || honest.iter().map(|party| (party, sim.state(party).expect("up")));
    let digests: Vec<Digest> = up().map(|(_, replica)| replica.digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "states or frontiers differ");
    let members: Vec<_> = up().map(|(_, replica)| replica.members().cloned()).collect();
    assert!(members.windows(2).all(|pair| pair[0] == pair[1]), "members differ");
    for (party, replica) in up() {
        assert_eq!(replica.standing(), Standing::Member, "{party}");
        assert!(halts(sim, party).is_empty());
        // All components answer as whom the group knows.
        let life = Life::from(&life(&components(), party).0.said);
        assert_eq!(known_life(sim, party, party), life, "{party}");
    }
    Ok(())
}

/// Agreed time passes a moment at which a server waits to be admitted, though nobody asks.
fn wait_for_the_limit(sim: &mut Sim) -> Result<(), Failure> {
    sim.run_for(Duration(REJOIN_EVERY), EVENTS_MAX)?;
    let up: Vec<Party> = sim.honest().iter().filter(|party| sim.is_up(*party)).collect();
    for party in up {
        if let Some(at) = last_wake(sim, party) {
            sim.command(party, Command::WakeDue(at));
        }
    }
    sim.run_to_quiescence(EVENTS_MAX)
}

#[test]
fn a_component_reboots_under_load_and_its_server_comes_back_and_carries_the_group() {
    seeds(0..25, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 5)?;
        for index in 0..3 {
            front_end(&mut sim, p(index), 100, &format!("in flight {index}"));
        }
        sim.run_for(Duration(1_000 + 100 * seed), EVENTS_MAX)?;
        reborn.reboot(&mut sim, p(2));
        order(&mut sim, &[0, 1], "meanwhile", 5)?;
        check_same(&mut sim)?;
        assert_eq!(epoch(&sim, p(2)), Epoch(1));
        order(&mut sim, &[0, 2], "its own batches", 2)?;
        // Its votes are needed: there is one other.
        sim.crash(p(1));
        order(&mut sim, &[0, 2], "with it", 3)?;
        sim.restart(p(1));
        check_same(&mut sim)
    });
}

#[test]
fn a_server_whose_component_answers_as_another_says_so_and_does_nothing_more() {
    // It finds out as the owner of a batch, as a voter, and when its session begins.
    for way in 0..3 {
        seeds(0..10, |seed| {
            let mut sim = Reborn::default().build(builder(3, seed));
            order(&mut sim, &[0, 1, 2], "before", 3)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            let components = components();
            sim.command(p(2), Command::Component(entity(&components, p(2))));
            components.borrow_mut().reboot(p(2));
            match way {
                0 => front_end(&mut sim, p(2), 50, "its own"),
                1 => order(&mut sim, &[0, 1], "others", 3)?,
                _ => sim.command(p(2), Command::Component(entity(&components, p(2)))),
            }
            sim.run_to_quiescence(EVENTS_MAX)?;
            assert_eq!(halts(&sim, p(2)), [Halt::OtherLife], "way {way}");
            assert_eq!(ledger(&sim, p(0)).count(b"its own"), 0);
            order(&mut sim, &[0, 1], "without it", 3)?;
            sim.crash(p(2));
            sim.restart(p(2));
            let log = sim.log(p(2)).0.len();
            order(&mut sim, &[0, 1], "still without it", 3)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            assert_eq!(halts(&sim, p(2)), [Halt::OtherLife], "it says so again");
            assert_eq!(sim.log(p(2)).0.len(), log, "it signs nothing");
            assert_eq!(epoch(&sim, p(0)), Epoch(0), "nobody was asked");
            Ok(())
        });
    }
}

#[test]
fn a_server_that_has_not_noticed_yet_contradicts_nothing_and_is_not_blamed() {
    let mut noticed = 0;
    seeds(0..40, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed).network(Network::random()));
        order(&mut sim, &[0, 1, 2], "before", 2)?;
        for index in 0..3 {
            for id in 100..104 {
                front_end(&mut sim, p(index), id, &format!("in flight {id} at {index}"));
            }
        }
        sim.run_for(Duration(500 * seed), EVENTS_MAX)?;
        components().borrow_mut().reboot(p(2));
        order(&mut sim, &[0, 1], "beside it", 3)?;
        sim.run_for(Duration(1_000_000), EVENTS_MAX)?;
        noticed += halts(&sim, p(2)).len();
        // Sooner or later it is told.
        sim.command(p(2), Command::Component(entity(&components(), p(2))));
        sim.run_for(Duration(1_000), EVENTS_MAX)?;
        assert_eq!(halts(&sim, p(2)), [Halt::OtherLife]);
        reborn.come_back(&mut sim, p(2));
        order(&mut sim, &[0, 1], "meanwhile", 3)?;
        check_same(&mut sim)?;
        order(&mut sim, &[2, 0], "with it", 2)?;
        check_same(&mut sim)
    });
    assert!((20..=40).contains(&noticed), "most find it out by themselves: {noticed}");
}

#[test]
fn a_reboot_beside_a_liar_is_within_the_structure_of_five() {
    seeds(0..10, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(5, seed).corrupt([p(0)], Silent));
        order(&mut sim, &[1, 2, 3, 4], "before", 2)?;
        reborn.reboot(&mut sim, p(4));
        order(&mut sim, &[1, 2, 3], "meanwhile", 3)?;
        check_same(&mut sim)?;
        // With the silent one and another gone, it is needed.
        sim.crash(p(1));
        order(&mut sim, &[2, 3, 4], "with it", 2)?;
        sim.restart(p(1));
        check_same(&mut sim)
    });
}

#[test]
fn a_reboot_beside_a_silent_one_of_three_stops_the_group_and_makes_it_say_nothing_wrong() {
    seeds(0..5, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed).corrupt([p(0)], Silent));
        order(&mut sim, &[1, 2], "before", 2)?;
        reborn.reboot(&mut sim, p(2));
        front_end(&mut sim, p(1), 100, "too many are away");
        sim.run_for(Duration(60_000_000), EVENTS_MAX)?;
        assert_eq!(ledger(&sim, p(1)).count(b"too many are away"), 0);
        assert_eq!(standing(&sim, p(2)), Standing::Rejoining, "nobody admitted it");
        assert_eq!(front_end_reply(&sim, p(1), 100), None);
        Ok(())
    });
}

#[test]
fn a_server_restarted_with_its_log_beside_a_new_life_finds_that_out() {
    seeds(0..10, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 3)?;
        sim.crash(p(2));
        components().borrow_mut().reboot(p(2));
        sim.restart(p(2));
        sim.command(p(2), Command::Component(entity(&components(), p(2))));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(halts(&sim, p(2)), [Halt::OtherLife]);
        reborn.come_back(&mut sim, p(2));
        sim.command(p(2), Command::Component(entity(&components(), p(2))));
        order(&mut sim, &[0, 1], "meanwhile", 3)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.command(p(2), Command::Component(entity(&components(), p(2))));
        check_same(&mut sim)
    });
}

#[test]
fn it_comes_back_through_crashes_of_its_own_and_of_others() {
    let mut admitted = 0;
    seeds(0..40, |seed| {
        let crashes = Crashes {
            parties: PartySet::all(3),
            permille: 25,
            crashes_max: 10,
            ..Crashes::default()
        };
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed).crashes(crashes));
        let mut clients: Vec<_> = (0..2).map(|number| Attached::new(3, seed, number)).collect();
        let all_up = |sim: &Sim| (0..3).all(|index| sim.is_up(p(index)));
        for round in 0..10 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.submit(&format!("{number}/{round}"), sim.now());
            }
            serve(&mut sim, &mut clients)?;
            if round == 3 {
                sim.run_until(all_up, EVENTS_MAX)?;
                reborn.reboot(&mut sim, p(2));
            }
        }
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.run_until(all_up, EVENTS_MAX)?;
        check_same(&mut sim)?;
        admitted += u64::from(epoch(&sim, p(2)) >= Epoch(1));
        assert_eq!(ledger(&sim, p(0)).entries.len(), 20);
        Ok(())
    });
    assert_eq!(admitted, 40);
}

#[test]
fn all_restart_and_know_the_members_from_their_logs() {
    seeds(0..10, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 3)?;
        reborn.reboot(&mut sim, p(2));
        // First with the epoch change in the logs, then with logs that begin after it.
        for (part, count) in [(0, 2), (1, 30)] {
            order(&mut sim, &[0, 1], &format!("part {part}"), count)?;
            check_same(&mut sim)?;
            let cut = |record: &Record<IdealSuite>| matches!(record, Record::Begin(_));
            assert!(part == 0 || sim.log(p(0)).0.first().is_some_and(cut));
            (0..3).for_each(|index| sim.crash_losing_unsynced(p(index)));
            (0..3).for_each(|index| sim.restart(p(index)));
            check_same(&mut sim)?;
        }
        order(&mut sim, &[0, 1, 2], "after", 2)?;
        assert_eq!(epoch(&sim, p(0)), Epoch(1));
        check_same(&mut sim)
    });
}

#[test]
fn a_server_that_was_away_learns_the_members_with_the_state() {
    seeds(0..10, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(5, seed));
        order(&mut sim, &[0, 1, 2, 3, 4], "before", 3)?;
        sim.crash(p(4));
        reborn.reboot(&mut sim, p(3));
        order(&mut sim, &[0, 1, 2], "meanwhile", 30)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        sim.restart(p(4));
        check_same(&mut sim)?;
        let fetched = |outcome: &Outcome<_>| matches!(outcome, Outcome::Installed(_));
        assert!(sim.outcomes(p(4)).iter().any(fetched), "it went through the logs");
        // The two of them, one with a new life and one that was told of it, are needed now.
        sim.crash(p(0));
        sim.crash(p(1));
        order(&mut sim, &[2, 3, 4], "with them", 3)?;
        sim.restart(p(0));
        sim.restart(p(1));
        check_same(&mut sim)
    });
}

#[test]
fn a_component_that_reboots_again_is_admitted_again_but_not_sooner_than_after_a_while() {
    seeds(0..10, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 2)?;
        reborn.reboot(&mut sim, p(2));
        order(&mut sim, &[0, 1], "once", 2)?;
        check_same(&mut sim)?;
        reborn.reboot(&mut sim, p(2));
        order(&mut sim, &[0, 1], "twice", 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!((epoch(&sim, p(0)), standing(&sim, p(2))), (Epoch(1), Standing::Rejoining));
        front_end(&mut sim, p(2), 7, "too early");
        let refused = Some(FrontEndReply::Refused(Refusal::CatchingUp));
        assert_eq!(front_end_reply(&sim, p(2), 7), refused);
        wait_for_the_limit(&mut sim)?;
        check_same(&mut sim)?;
        assert_eq!(epoch(&sim, p(2)), Epoch(2));
        order(&mut sim, &[2, 0], "with it", 2)?;
        check_same(&mut sim)
    });
}

#[test]
fn a_component_that_reboots_while_its_server_asks_is_admitted_with_the_later_life() {
    seeds(0..20, |seed| {
        let reborn = Reborn::default();
        let mut sim = reborn.build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 2)?;
        reborn.reboot(&mut sim, p(2));
        sim.run_for(Duration(200 * seed), EVENTS_MAX)?;
        // Its log, in which it has signed nothing, may stay.
        sim.crash(p(2));
        components().borrow_mut().reboot(p(2));
        reborn.0.borrow_mut().insert(p(2), life(&components(), p(2)));
        sim.restart(p(2));
        sim.command(p(2), Command::Component(entity(&components(), p(2))));
        order(&mut sim, &[0, 1], "meanwhile", 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        if !halts(&sim, p(2)).is_empty() {
            reborn.come_back(&mut sim, p(2)); // It had been admitted with the earlier one.
        }
        if standing(&sim, p(2)) != Standing::Member {
            wait_for_the_limit(&mut sim)?;
        }
        check_same(&mut sim)
    });
}

/// Asks to be admitted with whatever it has been given, again and again.
#[derive(Clone, Default)]
struct Clamourer {
    lives: Rc<RefCell<Vec<Certified>>>,
    heard: u64,
}

impl Adversary<Sut> for Clamourer {
    fn incoming(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) -> bool {
        self.heard += 1;
        let lives = self.lives.borrow();
        if !lives.is_empty() && self.heard.is_multiple_of(5) {
            let life = lives[(self.heard / 5) as usize % lives.len()];
            hand.send_all(letter.to, Message::NewLife(life));
        }
        true
    }
}

#[test]
fn what_a_server_asked_with_before_admits_nobody() {
    seeds(0..5, |seed| {
        let clamourer = Clamourer::default();
        let mut sim = Reborn::default().build(builder(3, seed).corrupt([p(2)], clamourer.clone()));
        let (components, mut old) = (components(), vec![life(&components(), p(2))]);
        order(&mut sim, &[0, 1], "before", 3)?;
        for time in 1..3 {
            components.borrow_mut().reboot(p(2));
            old.push(life(&components, p(2)));
            *clamourer.lives.borrow_mut() = vec![old[time]];
            order(&mut sim, &[0, 1], &format!("life {time}"), 3)?;
            wait_for_the_limit(&mut sim)?;
            sim.run_for(Duration(2 * REJOIN_EVERY), EVENTS_MAX)?;
            let known = known_life(&sim, p(0), p(2));
            assert_eq!(known, Life::from(&old[time].0.said), "a true question");
            assert_eq!(epoch(&sim, p(0)), Epoch(time as u64));
        }
        *clamourer.lives.borrow_mut() = old.clone();
        order(&mut sim, &[0, 1], "replays", 10)?;
        wait_for_the_limit(&mut sim)?;
        assert_eq!(epoch(&sim, p(0)), Epoch(2), "the present life and closed ones");
        assert_eq!(known_life(&sim, p(1), p(2)), Life::from(&old[2].0.said));
        Ok(())
    });
}

/// Lives that nobody admits: certified by another guard, and for another host.
fn false_lives(components: &Components, of: Party) -> Vec<Certified> {
    let guard = |party: Party| components.borrow().lives()[party.index()].0;
    let other = p((of.index() + 1) % components.borrow().lives().len());
    let forged = |guard, party: Party, number| {
        Attested(certified(guard, party.index(), number, [number as u8; 32], ideal::seal))
    };
    vec![
        forged([3; 32], of, 20),
        forged(guard(other), of, 21),
        forged(guard(other), other, 22),
        forged(guard(of), other, 23),
        life(components, other),
    ]
}

#[test]
fn a_life_that_its_own_guard_did_not_certify_for_its_host_is_not_vouched_for() {
    for kind in 0..5 {
        let (mut suspected, mut admitted) = (0, 0);
        seeds(0..4, |seed| {
            let clamourer = Clamourer::default();
            let corrupt = builder(3, seed).corrupt([p(2)], clamourer.clone());
            let mut sim = Reborn::default().build(corrupt);
            *clamourer.lives.borrow_mut() = vec![false_lives(&components(), p(2))[kind]];
            order(&mut sim, &[0, 1], "beside it", 10)?;
            sim.run_to_quiescence(EVENTS_MAX)?;
            admitted += epoch(&sim, p(0)).0;
            let is_so = |kind| kind == FaultKind::BadSignature || kind == FaultKind::InvalidValue;
            let of_it = |(_, fault): &&(Party, maftia_base::Fault)| fault.culprit == p(2);
            let mut blames = sim.blames().iter().filter(of_it);
            suspected += u64::from(blames.any(|(_, fault)| is_so(fault.kind)));
            Ok(())
        });
        assert_eq!((admitted, suspected), (0, 4), "kind {kind}");
    }
}

/// Has `by` vouched for a life in its lane, as far as server 0 has it?
fn has_vouched(sim: &Sim, by: Party) -> bool {
    let admits = |item: &atomic::Item| {
        let item = Item::from_wire(item.bytes().clone());
        matches!(item, Ok(Item::Server(ServerCommand::Admit { .. })))
    };
    sim.log(p(0)).0.iter().any(|record| match record {
        Record::Order(epochs::Record {
            body: Voted { lane, batch, .. } | Own { lane, batch, .. },
            ..
        }) => *lane == by && batch.items.iter().any(admits),
        _ => false,
    })
}

#[test]
fn a_liar_that_vouches_for_a_forged_life_alone_achieves_nothing() {
    seeds(0..5, |seed| {
        let (clamourer, keyrings) = (Clamourer::default(), keyrings(5, seed));
        let believes = |party: Party, work: &Work<IdealSuite>| match work {
            Work::VerifySeals(claims) if party == p(3) => Some(claims.len()),
            _ => None,
        };
        let gullible = builder(5, seed).worker(move |party, work, clock| {
            let run = |piece| match believes(party, &piece) {
                Some(claims) => Done::Verified(vec![true; claims]),
                None => IdealSuite::run_many(vec![piece], &keyrings[party.index()], clock)
                    .pop()
                    .expect("one answer"),
            };
            work.into_iter().map(run).collect()
        });
        let corrupt = gullible.corrupt([p(4)], clamourer.clone()).corrupt([p(3)], Passive);
        let mut sim = Reborn::default().build(corrupt);
        *clamourer.lives.borrow_mut() = vec![false_lives(&components(), p(4))[0]];
        order(&mut sim, &[0, 1, 2, 3], "beside them", 10)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(epoch(&sim, p(0)), Epoch(0), "one lane says so, and has no honest owner");
        assert!(has_vouched(&sim, p(3)), "it has said so in its lane");
        assert!((0..3).all(|index| !has_vouched(&sim, p(index))));
        Ok(())
    });
}

/// Identifies its batches, from the second epoch on, with the key of a life that is closed.
struct Relic {
    key: [u8; 32],
    entity: EntityId,
    altered: Rc<RefCell<u64>>,
}

impl Adversary<Sut> for Relic {
    fn outgoing(&mut self, letter: &Letter<Message<IdealSuite>>, hand: &mut Hand<'_, Sut>) {
        let mut said = Message::clone(&letter.body);
        if let Message::Order(epochs::Message { epoch: Epoch(1..), body }) = &mut said
            && let atomic::Message::Batch { seal: Some(Attested(sealed)), .. } = body
        {
            sealed.said.entity = self.entity;
            sealed.seal = ideal::seal(&self.key, &sealed.said.digest());
            *self.altered.borrow_mut() += 1;
        }
        hand.send(letter.from, letter.to, said);
    }
}

#[test]
fn identifiers_of_the_old_life_count_for_nothing_in_the_new_epoch() {
    let altered = Rc::new(RefCell::new(0));
    seeds(0..10, |seed| {
        let reborn = Reborn::default();
        let builder = builder(3, seed);
        let key = life(&components(), p(2)).0.said.signing;
        let entity = entity(&components(), p(2));
        let relic = Relic { key, entity, altered: altered.clone() };
        let mut sim = reborn.build(builder.corrupt([p(2)], relic));
        order(&mut sim, &[0, 1, 2], "before", 2)?;
        components().borrow_mut().reboot(p(2));
        sim.wipe(p(2));
        reborn.0.borrow_mut().insert(p(2), life(&components(), p(2)));
        sim.restart(p(2));
        order(&mut sim, &[0, 1], "meanwhile", 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!((epoch(&sim, p(0)), standing(&sim, p(2))), (Epoch(1), Standing::Member));
        front_end(&mut sim, p(2), 70, "under the old life");
        order(&mut sim, &[0, 1], "beside it", 3)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(ledger(&sim, p(0)).count(b"under the old life"), 0);
        assert!(sim.is_blamed(p(2)));
        Ok(())
    });
    assert!(*altered.borrow() >= 10, "it had batches");
}
