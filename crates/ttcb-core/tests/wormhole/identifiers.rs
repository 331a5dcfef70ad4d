//! Unique sequential identifiers.

use crate::world::{World, value};
use maftia_ttcb_api::{Answer, Call, Identifier, Refusal, Span, Value};

fn identify(world: &mut World, counter: u8, position: u128, value: Value) -> Identifier {
    mark(world, counter, position, value, true)
}

fn mark(world: &mut World, counter: u8, position: u128, value: Value, marked: bool) -> Identifier {
    match world.ask(0, Call::Identify { counter, position, value, marked, timed: false }) {
        Answer::Identified(sealed) => {
            assert!(sealed.is_signed_by(&world.key(0)));
            sealed.said
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_two_values_ever_stand_at_one_position() {
    let mut world = World::synchronised(3, 1);
    identify(&mut world, 0, 1, value(1));
    for (position, what) in [(1, 2), (0, 1)] {
        let call =
            Call::Identify { counter: 0, position, value: value(what), marked: true, timed: false };
        assert_eq!(world.ask(0, call), Answer::Refused(Refusal::Contradiction));
    }
    identify(&mut world, 0, 5, value(3));
    let back =
        Call::Identify { counter: 0, position: 3, value: value(4), marked: true, timed: false };
    assert_eq!(world.ask(0, back), Answer::Refused(Refusal::Contradiction));
    let none =
        Call::Identify { counter: 8, position: 3, value: value(4), marked: true, timed: false };
    assert_eq!(world.ask(0, none), Answer::Refused(Refusal::Unknown));
}

#[test]
fn each_names_the_one_before_so_that_none_can_be_hidden() {
    let mut world = World::synchronised(3, 2);
    let first = identify(&mut world, 2, 10, value(1));
    assert_eq!((first.last, first.last_value), (0, Value::default()));
    let second = identify(&mut world, 2, 20, value(2));
    assert_eq!((second.last, second.last_value), (10, value(1)));
    let other = identify(&mut world, 3, 7, value(3));
    assert_eq!(other.last, 0, "counters are apart");
}

#[test]
fn what_was_marked_is_named_until_something_else_is() {
    let mut world = World::synchronised(3, 2);
    mark(&mut world, 0, 1, value(1), true);
    for position in 2..6 {
        let named = mark(&mut world, 0, position, value(9), false);
        assert_eq!((named.last, named.last_value), (1, value(1)));
    }
    assert_eq!(mark(&mut world, 0, 6, value(2), true).last, 1);
    assert_eq!(mark(&mut world, 0, 7, value(3), false).last, 6);
    let other =
        Call::Identify { counter: 0, position: 7, value: value(3), marked: true, timed: false };
    assert_eq!(world.ask(0, other), Answer::Refused(Refusal::Contradiction));
}

#[test]
fn who_crashed_before_it_wrote_an_identifier_down_is_given_it_again() {
    let mut world = World::synchronised(3, 3);
    let first = identify(&mut world, 0, 4, value(1));
    assert_eq!(identify(&mut world, 0, 4, value(1)), first);
}

#[test]
fn another_life_has_another_key_and_is_another_entity() {
    let mut world = World::synchronised(3, 4);
    let before = identify(&mut world, 0, 9, value(1));
    let key = world.key(0);
    world.crash(0);
    world.boot(0);
    let after = identify(&mut world, 0, 9, value(2));
    assert_ne!(before.entity, after.entity);
    assert_ne!(key, world.key(0));
}

#[test]
fn what_must_say_its_time_waits_for_synchronised_clocks_and_changes_nothing_before() {
    let mut world = World::new(3, 5);
    let timed = |position, what| {
        let value = value(what);
        Call::Identify { counter: 0, position, value, marked: true, timed: true }
    };
    for what in [1, 2] {
        assert_eq!(world.ask(0, timed(1, what)), Answer::Refused(Refusal::Unsynchronised));
    }
    world.run_for(Span::from_millis(1_000));
    match world.ask(0, timed(1, 2)) {
        Answer::Identified(sealed) => assert!(sealed.said.time.is_some()),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.ask(0, timed(1, 1)), Answer::Refused(Refusal::Contradiction));
}
