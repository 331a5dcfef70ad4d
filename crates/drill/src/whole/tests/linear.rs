//! The linearizability checker finds what it should, and only that.

use crate::check::linear::{Answer, Call, Model, check};
use crate::whole::models::Register;
use crate::whole::service::Op;
use maftia_sim::Random;

fn call(client: u64, op: Op, invoked: u64, returned: Option<(u64, u64)>) -> Call<Register> {
    Call { client, op, invoked, returned }
}

fn is_linearizable(calls: &[Call<Register>]) -> bool {
    match check(calls) {
        Answer::Linearizable { .. } => true,
        Answer::Not { .. } => false,
        Answer::TooLong => panic!("{} calls are too many", calls.len()),
    }
}

#[test]
fn a_read_that_overlaps_a_write_may_see_either_value() {
    for seen in [0, 7] {
        let calls = [call(1, Op::Write(7), 1, Some((4, 0))), call(2, Op::Read, 2, Some((3, seen)))];
        assert!(is_linearizable(&calls), "{seen}");
    }
}

#[test]
fn a_read_after_a_write_that_returned_sees_it() {
    let stale = [call(1, Op::Write(7), 1, Some((2, 0))), call(2, Op::Read, 3, Some((4, 0)))];
    assert_eq!(check(&stale), Answer::Not { longest: 1 });
}

#[test]
fn two_reads_do_not_see_a_value_come_and_go() {
    let calls = |first, second| {
        [
            call(1, Op::Write(7), 1, Some((10, 0))),
            call(2, Op::Read, 2, Some((3, first))),
            call(3, Op::Read, 4, Some((5, second))),
        ]
    };
    assert!(is_linearizable(&calls(0, 7)));
    assert!(!is_linearizable(&calls(7, 0)), "a new value, then the old one again");
}

#[test]
fn a_call_that_never_returned_may_have_taken_effect_late_or_never() {
    let lost = call(1, Op::Write(7), 1, None);
    for seen in [0, 7] {
        let calls = [lost.clone(), call(2, Op::Read, 5, Some((6, seen)))];
        assert!(is_linearizable(&calls), "{seen}");
    }
    let calls = [lost, call(2, Op::Read, 5, Some((6, 7))), call(2, Op::Read, 7, Some((8, 0)))];
    assert!(!is_linearizable(&calls), "once is once");
}

#[test]
fn a_call_takes_no_effect_before_it_was_made_nor_twice() {
    let early = [call(1, Op::Read, 1, Some((2, 7))), call(2, Op::Write(7), 3, Some((4, 0)))];
    assert!(!is_linearizable(&early));
    let doubled = [call(1, Op::Add(5), 1, Some((2, 0))), call(2, Op::Read, 3, Some((4, 10)))];
    assert!(!is_linearizable(&doubled));
}

#[test]
fn two_swaps_from_one_value_do_not_both_succeed() {
    let calls = |second| {
        [
            call(1, Op::Swap(0, 3), 1, Some((5, 0))),
            call(2, Op::Swap(0, 4), 2, Some((6, second))),
            call(3, Op::Read, 7, Some((8, 3))),
        ]
    };
    assert!(is_linearizable(&calls(3)));
    assert!(!is_linearizable(&calls(0)));
}

/// Every order of the calls, tried one by one.
fn brute_force(calls: &[Call<Register>]) -> bool {
    fn go(calls: &[Call<Register>], used: u32, state: u64) -> bool {
        let missing = |index: usize| used >> index & 1 == 0;
        if (0..calls.len()).all(|index| !missing(index) || calls[index].returned.is_none()) {
            return true;
        }
        (0..calls.len()).filter(|index| missing(*index)).any(|index| {
            let ends_before = |other: usize| {
                missing(other)
                    && calls[other].returned.is_some_and(|(at, _)| at < calls[index].invoked)
            };
            if (0..calls.len()).any(ends_before) {
                return false;
            }
            let (after, answer) = Register::step(&state, &calls[index].op);
            let fits = calls[index].returned.is_none_or(|(_, given)| given == answer);
            fits && go(calls, used | 1 << index, after)
        })
    }
    go(calls, 0, 0)
}

/// A history as if calls took effect at a moment of their own between their ends, with some answers
/// lost; and perhaps one of them changed.
fn history(random: &mut Random, calls: usize, lies: bool) -> Vec<Call<Register>> {
    let mut moments: Vec<(u64, u64, u64)> = Vec::new();
    for _ in 0..calls {
        let mut three: [u64; 3] = std::array::from_fn(|_| random.below(1 << 40));
        three.sort_unstable();
        moments.push((three[0], three[1], three[2]));
    }
    moments.sort_by_key(|(_, effect, _)| *effect);
    let mut state = 0;
    let mut made: Vec<Call<Register>> = Vec::new();
    for (invoked, _, end) in moments {
        let op = match random.below(4) {
            0 => Op::Read,
            1 => Op::Write(random.below(3)),
            2 => Op::Swap(random.below(3), random.below(3)),
            _ => Op::Add(random.below(2)),
        };
        let (after, answer) = Register::step(&state, &op);
        state = after;
        let returned = (!random.chance(200)).then_some((end, answer));
        made.push(call(made.len() as u64, op, invoked, returned));
    }
    if lies {
        let index = random.below(calls as u64) as usize;
        if let Some((_, answer)) = &mut made[index].returned {
            *answer = (*answer + 1 + random.below(2)) % 4;
        }
    }
    made
}

#[test]
fn it_agrees_with_whoever_tries_every_order() {
    let mut random = Random::new(1);
    let (mut good, mut bad) = (0, 0);
    for round in 0..4_000 {
        let calls = history(&mut random, 2 + round % 6, round % 2 == 0);
        let expected = brute_force(&calls);
        assert_eq!(is_linearizable(&calls), expected, "{calls:?}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 1_000 && bad > 300, "{good} good, {bad} bad");
}

#[test]
fn long_histories_with_lost_answers_are_judged_fast() {
    let mut random = Random::new(2);
    for _ in 0..20 {
        let calls = history(&mut random, 30, false);
        assert!(is_linearizable(&calls));
    }
}
