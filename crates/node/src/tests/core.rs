use super::toy::{Command, Outcome, Record, Talker, group};
use crate::core::{Core, Effect, recipients};
use maftia_base::time::Time;
use maftia_base::{Event, Party, Target};

fn core() -> Core<Talker> {
    Core::new(Talker::default(), group(4, 0))
}

/// What leaves now: numbers sent, and numbers told to the layer above.
fn leaving(core: &mut Core<Talker>) -> (Vec<u64>, Vec<Outcome>) {
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    while let Some(effect) = core.pop_effect() {
        match effect {
            Effect::Send(Target::Others, number) => sent.push(number),
            Effect::Output(outcome) => told.push(outcome),
            other => panic!("unexpected: {other:?}"),
        }
    }
    (sent, told)
}

fn command(core: &mut Core<Talker>, command: Command) {
    core.step(Event::Command(command), Time(0));
}

#[test]
fn nothing_of_a_step_leaves_before_the_records_of_it_and_of_earlier_steps_are_durable() {
    let mut core = core();
    command(&mut core, Command::Say(1));
    command(&mut core, Command::Say(2));
    command(&mut core, Command::Whisper(3));
    assert_eq!(core.take_records(), [Record::Said(1), Record::Said(2)]);
    assert!(leaving(&mut core).0.is_empty());
    core.on_durable(1);
    assert_eq!(leaving(&mut core).0, [1]);
    core.on_durable(2);
    assert_eq!(leaving(&mut core).0, [2, 3], "the later step waited for the earlier record");
    assert_eq!(core.held(), 0);
}

#[test]
fn a_noted_record_is_appended_in_order_and_nothing_waits_for_it() {
    let mut core = core();
    command(&mut core, Command::Note(1));
    assert_eq!(leaving(&mut core).0, [1]);
    command(&mut core, Command::Say(2));
    command(&mut core, Command::Note(3));
    assert_eq!(core.take_records(), [Record::Noted(1), Record::Said(2), Record::Noted(3)]);
    core.on_durable(1);
    assert!(leaving(&mut core).0.is_empty());
    core.on_durable(2);
    assert_eq!(leaving(&mut core).0, [2, 3]);
}

#[test]
fn a_message_to_all_comes_back_at_once_and_what_follows_from_it_waits() {
    let mut core = core();
    command(&mut core, Command::Say(7));
    assert!(core.protocol().heard.contains(&(Party::new(0), 7)), "heard before it is durable");
    assert!(leaving(&mut core).1.is_empty());
    core.on_durable(1);
    let told = [Outcome::Said(7), Outcome::Heard(Party::new(0), 7)];
    assert_eq!(leaving(&mut core).1, told);
}

#[test]
fn replay_tells_the_layer_above_and_nobody_else() {
    let mut core = core();
    for number in 1..=2 {
        let told = core.restore(Record::Said(number), Time(0));
        assert_eq!(told, [Outcome::Said(number)]);
    }
    assert_eq!(leaving(&mut core), (vec![], vec![]));
    core.step(Event::Resumed, Time(0));
    assert_eq!(leaving(&mut core).0, [1, 2], "emitted again, without new records");
    assert!(core.take_records().is_empty());
    command(&mut core, Command::Say(3));
    core.on_durable(2);
    assert!(leaving(&mut core).0.is_empty(), "positions count the replayed records");
    core.on_durable(3);
    assert_eq!(leaving(&mut core).0, [3]);
}

#[test]
#[should_panic(expected = "only what was appended can become durable")]
fn a_log_that_reports_too_much_is_caught() {
    core().on_durable(1);
}

#[test]
fn timers_fire_once_in_the_order_in_which_they_are_due() {
    let mut core = core();
    command(&mut core, Command::Later(5, 9));
    command(&mut core, Command::Later(6, 3));
    command(&mut core, Command::Later(5, 2));
    assert_eq!(core.next_timer(), Some(Time(2_000)), "arming again replaces");
    core.fire_timers(Time(1_999));
    assert!(core.protocol().said.is_empty());
    core.fire_timers(Time(10_000));
    core.fire_timers(Time(20_000));
    assert_eq!(core.protocol().said, [5, 6]);
    assert_eq!(core.next_timer(), None);
}

#[test]
fn work_starts_without_waiting_for_the_log() {
    let mut core = core();
    command(&mut core, Command::Say(1));
    command(&mut core, Command::Square(4));
    assert_eq!(core.take_work(), [((), 4)]);
    core.step(Event::Done { ticket: (), done: 16 }, Time(0));
    assert!(leaving(&mut core).0.is_empty(), "but its consequences wait");
    core.on_durable(2);
    assert_eq!(leaving(&mut core).0, [1, 16]);
}

#[test]
fn no_target_names_this_server() {
    let parties = |to| recipients(&group(4, 2), to).map(Party::index).collect::<Vec<_>>();
    assert_eq!(parties(Target::Others), [0, 1, 3]);
    assert_eq!(parties(Target::One(Party::new(1))), [1]);
    assert!(parties(Target::One(Party::new(2))).is_empty());
    assert!(parties(Target::One(Party::new(9))).is_empty(), "nobody of the group");
}
