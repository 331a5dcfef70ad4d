//! All components are lost at once, and operators found the group anew.

use crate::configuration::{components, known_life, life};
use crate::world::{
    EVENTS_MAX, Sim, Sut, builder, builder_of, common_ledger, front_end, front_end_reply, groups,
    ledger, p, replica,
};
use maftia_activity::{Command, FrontEndReply, Held, Message, Record, Refusal, Standing};
use maftia_agreement::hybrid::Life;
use maftia_base::time::Duration;
use maftia_base::{Digest, Epoch, Group, Party, PartySet};
use maftia_crypto::ideal::IdealSuite;
use maftia_sim::{Adversary, Builder, Failure, Hand, Letter, seeds};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Log = Vec<Record<IdealSuite>>;

fn build(builder: Builder<Sut>) -> Sim {
    builder.build(|_| replica())
}

fn founded(n: usize, name: &[u8]) -> Vec<Group> {
    let founding = Digest::of("test founding", name);
    groups(n).into_iter().map(|group| group.founded(founding)).collect()
}

/// Has servers `at` order `count` requests each.
fn order(sim: &mut Sim, at: &[usize], name: &str, count: u64) -> Result<(), Failure> {
    for number in 0..count {
        for index in at {
            front_end(sim, p(*index), number, &format!("{name} {number} at {index}"));
        }
        let ordered = |sim: &Sim, index: &usize| {
            let request = format!("{name} {number} at {index}");
            ledger(sim, p(at[0])).count(request.as_bytes()) == 1
        };
        sim.run_until(|sim| at.iter().all(|index| ordered(sim, index)), EVENTS_MAX)?;
    }
    Ok(())
}

fn standing(sim: &Sim, index: usize) -> Standing {
    sim.state(p(index)).expect("up").standing()
}

fn held(sim: &Sim, index: usize) -> Held {
    sim.state(p(index)).expect("up").held().expect("it has its log")
}

/// The component of a server begins another life, and its server comes back with its log: what its
/// driver does then.
fn lose_component(sim: &mut Sim, index: usize) {
    sim.crash_losing_unsynced(p(index));
    components().borrow_mut().reboot(p(index));
    components().borrow_mut().pass_calls(p(index), false);
}

fn come_back(sim: &mut Sim, index: usize) {
    sim.restart(p(index));
    sim.command(p(index), Command::OtherLife(life(&components(), p(index))));
}

/// The lives with which servers `who` would begin.
fn lives(who: &[usize]) -> BTreeMap<Party, Life> {
    let present = |index: &usize| Life::from(&life(&components(), p(*index)).0.said);
    who.iter().map(|index| (p(*index), present(index))).collect()
}

/// The group goes on under another founding, each server with the log that it is given; the
/// components are those of the same hosts, in the lives that they had.
fn anew(seed: u64, logs: impl Fn() -> Vec<Log>) -> Sim {
    let logs = logs();
    let n = logs.len();
    let mut sim = build(builder_of(founded(n, b"second"), seed));
    for index in 0..n {
        components().borrow_mut().reboot(p(index));
    }
    for (index, log) in logs.into_iter().enumerate() {
        sim.give_log(p(index), log);
    }
    (0..n).for_each(|index| sim.restart(p(index)));
    sim
}

/// The lives that components of hosts with this seed have after they rebooted once.
fn next_lives(n: usize, seed: u64) -> BTreeMap<Party, Life> {
    drop(build(builder(n, seed)));
    for index in 0..n {
        components().borrow_mut().reboot(p(index));
    }
    lives(&(0..n).collect::<Vec<_>>())
}

#[test]
fn a_server_that_has_its_log_waits_with_another_life_is_admitted_and_goes_on_with_that_log() {
    seeds(0..20, |seed| {
        let mut sim = build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 3)?;
        lose_component(&mut sim, 2);
        come_back(&mut sim, 2);
        front_end(&mut sim, p(2), 70, "nobody could order it");
        sim.run_for(Duration(100), EVENTS_MAX)?;
        let refused = Some(FrontEndReply::Refused(Refusal::CatchingUp));
        assert_eq!(front_end_reply(&sim, p(2), 70), refused);
        order(&mut sim, &[0, 1], "meanwhile", 3)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(standing(&sim, 2), Standing::Member);
        let present = Life::from(&life(&components(), p(2)).0.said);
        assert_eq!(known_life(&sim, p(0), p(2)), present);
        // Now its driver starts it again, with the component.
        sim.crash(p(2));
        components().borrow_mut().pass_calls(p(2), true);
        sim.restart(p(2));
        order(&mut sim, &[0, 2], "with it", 3)?;
        sim.crash(p(1));
        order(&mut sim, &[0, 2], "it is needed", 2)?;
        sim.restart(p(1));
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(held(&sim, 0), held(&sim, 2));
        drop(common_ledger(&sim));
        assert!(sim.blames().is_empty());
        Ok(())
    });
}

#[test]
fn servers_that_wait_come_to_hold_what_one_of_them_has_told_anybody() {
    let mut unequal = 0;
    seeds(0..40, |seed| {
        let mut sim = build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 2)?;
        for index in 0..3 {
            front_end(&mut sim, p(index), 100, &format!("in flight {index}"));
        }
        sim.run_for(Duration(200 * seed), EVENTS_MAX)?;
        let told = |sim: &Sim, index| front_end_reply(sim, p(index), 100).is_some();
        let acknowledged: Vec<bool> = (0..3).map(|index| told(&sim, index)).collect();
        (0..3).for_each(|index| lose_component(&mut sim, index));
        (0..3).for_each(|index| come_back(&mut sim, index));
        let first: Vec<Held> = (0..3).map(|index| held(&sim, index)).collect();
        unequal += usize::from(first.windows(2).any(|pair| pair[0] != pair[1]));
        sim.run_for(Duration(3_000_000), EVENTS_MAX)?;
        for (index, acknowledged) in acknowledged.into_iter().enumerate() {
            assert_eq!(standing(&sim, index), Standing::Waiting, "nobody can admit anybody");
            assert_eq!(held(&sim, index), held(&sim, 0), "they hold the same");
            let request = format!("in flight {index}");
            let there = ledger(&sim, p(0)).count(request.as_bytes()) == 1;
            assert!(there || !acknowledged, "{request} was acknowledged, and is lost");
        }
        Ok(())
    });
    assert!(unequal > 5, "some were behind: {unequal}");
}

#[test]
fn what_a_server_told_is_in_its_own_log_though_the_others_deny_everything() {
    seeds(0..40, |seed| {
        let mut sim = build(builder(3, seed));
        order(&mut sim, &[0, 1, 2], "before", 1)?;
        front_end(&mut sim, p(0), 100, "told");
        let told = |sim: &Sim| front_end_reply(sim, p(0), 100).is_some();
        sim.run_until(told, EVENTS_MAX)?;
        lose_component(&mut sim, 0);
        sim.crash(p(1));
        sim.crash(p(2));
        sim.restart(p(0));
        assert_eq!(ledger(&sim, p(0)).count(b"told"), 1);
        Ok(())
    });
}

#[test]
fn a_group_that_is_founded_anew_goes_on_where_it_stood_and_admits_lives_again() {
    seeds(0..15, |seed| {
        let next = next_lives(3, seed);
        let mut sim = build(builder_of(founded(3, b"first"), seed));
        order(&mut sim, &[0, 1, 2], "before", 1 + seed % 5)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let before = held(&sim, 0);
        let servers: Vec<Sut> =
            (0..3).map(|index| sim.state(p(index)).expect("up").clone()).collect();
        let logs = || {
            let begin = |server: &Sut| server.clone().refounded(&next, PartySet::all(3));
            servers.iter().map(|server| begin(server).expect("they follow")).collect()
        };
        let mut sim = anew(seed, logs);
        sim.run_to_quiescence(EVENTS_MAX)?;
        for index in 0..3 {
            let server = sim.state(p(index)).expect("up");
            assert_eq!(
                (server.epoch(), server.position()),
                (Epoch(before.epoch.0 + 1), before.position)
            );
            assert_eq!(known_life(&sim, p(0), p(index)), next[&p(index)]);
            assert_eq!(standing(&sim, index), Standing::Member);
        }
        order(&mut sim, &[0, 1, 2], "anew", 3)?;
        assert_eq!(ledger(&sim, p(1)).count(b"before 0 at 2"), 1);
        // Its logs are like any others, and lives are admitted as before.
        sim.crash(p(1));
        sim.restart(p(1));
        lose_component(&mut sim, 2);
        come_back(&mut sim, 2);
        order(&mut sim, &[0, 1], "meanwhile", 2)?;
        sim.run_for(Duration(61_000_000), EVENTS_MAX)?;
        order(&mut sim, &[0, 1], "a minute later", 2)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        assert_eq!(standing(&sim, 2), Standing::Member);
        drop(common_ledger(&sim));
        Ok(())
    });
}

#[test]
fn a_closed_life_does_not_begin_anew_nor_one_whose_guard_was_rolled_back() {
    let mut sim = build(builder(3, 1));
    order(&mut sim, &[0, 1, 2], "before", 1).expect("ordered");
    let server = sim.state(p(0)).expect("up").clone();
    let known = lives(&[0, 1, 2]);
    let refounded =
        |lives: &BTreeMap<Party, Life>| server.clone().refounded(lives, PartySet::all(3));
    assert!(refounded(&known).is_some(), "a life may stay");
    let later = Life { number: 2, key: [7; 32] };
    assert!(refounded(&[(p(1), later)].into()).is_some());
    for number in [0, 1] {
        assert!(refounded(&[(p(1), Life { number, key: [7; 32] })].into()).is_none(), "{number}");
    }
    let same_key = Life { number: 2, ..known[&p(1)] };
    assert!(refounded(&[(p(1), same_key)].into()).is_none());
}

/// Hears everything, and says nothing.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<Message<IdealSuite>>>>);

impl Adversary<Sut> for Recorder {
    fn overheard(&mut self, letter: &Letter<Message<IdealSuite>>, _: &mut Hand<'_, Sut>) {
        self.0.borrow_mut().push((*letter.body).clone());
    }
}

/// Says all that was heard elsewhere, to everybody, and nothing else.
struct Parrot(Vec<Message<IdealSuite>>);

impl Adversary<Sut> for Parrot {
    fn copies(&self, _: Party) -> usize {
        0
    }

    fn started(&mut self, hand: &mut Hand<'_, Sut>) {
        for message in &self.0 {
            hand.send(p(2), p(0), message.clone());
            hand.send(p(2), p(1), message.clone());
        }
    }
}

#[test]
fn what_was_said_under_one_founding_counts_there_and_under_no_other() {
    let mut counted = 0;
    seeds(0..12, |seed| {
        let recorder = Recorder::default();
        let first = builder_of(founded(3, b"first"), seed).corrupt([p(2)], recorder.clone());
        let mut sim = first.build(|_| replica().with_mark_interval(1));
        order(&mut sim, &[0, 1], "old", 3)?;
        sim.run_to_quiescence(EVENTS_MAX)?;
        let heard = recorder.0.borrow().clone();
        assert!(heard.iter().any(|it| matches!(it, Message::Checkpoint(_))));
        for (name, may_count) in [(&b"first"[..], true), (b"second", false)] {
            let again = builder_of(founded(3, name), seed);
            let again = again.corrupt([p(2)], Parrot(heard.clone()));
            let mut sim = again.build(|_| replica().with_mark_interval(1));
            sim.run_for(Duration(2_000_000), EVENTS_MAX)?;
            let moved = (0..2).any(|index| {
                let server = sim.state(p(index)).expect("up");
                server.position() > 0 || server.marks().1.is_some()
            });
            assert!(may_count || !moved, "the same keys, lives and components");
            counted += u64::from(moved);
        }
        Ok(())
    });
    assert!(counted > 4, "what was heard can count where it was said: {counted} times of 12");
}
