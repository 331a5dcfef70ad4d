//! Durations, timing failures, timely execution, quotas.

use crate::world::{World, value};
use maftia_ttcb_api::{
    Answer, Call, Channel, Elist, EntityId, Function, Host, Instance, Operation, Refusal, Span,
    Verdict,
};

#[test]
fn durations_are_told_as_intervals_that_contain_them() {
    let mut world = World::synchronised(3, 1);
    let Answer::Begun(handle) = world.ask(0, Call::Begin) else { panic!("it begins") };
    world.run_for(Span::from_millis(1_234));
    let Answer::Lasted { least, most } = world.ask(0, Call::End(handle)) else { panic!("it ends") };
    let lasted = Span::from_millis(1_234);
    assert!(least <= lasted && lasted <= most && most.0 - least.0 < 1_000_000);
    assert_eq!(world.ask(0, Call::End(handle)), Answer::Refused(Refusal::Unknown));
}

#[test]
fn a_late_operation_is_told_as_it_becomes_late_and_one_in_time_as_it_ends() {
    let mut world = World::synchronised(3, 2);
    let watch = Call::Watch { within: Span::from_millis(100) };
    let Answer::Begun(late) = world.ask(0, watch) else { panic!("it begins") };
    let Answer::Begun(quick) = world.ask(0, watch) else { panic!("it begins") };
    let (first, second) = (world.call(0, Call::Await(late)), world.call(0, Call::Await(quick)));
    world.run_for(Span::from_millis(50));
    assert_eq!(world.ask(0, Call::Complete(quick)), Answer::Verdict(Verdict::InTime));
    assert_eq!(world.answer(0, second), Some(Answer::Verdict(Verdict::InTime)));
    assert_eq!(world.answer(0, first), None);
    world.run_for(Span::from_millis(52));
    assert_eq!(world.answer(0, first), Some(Answer::Verdict(Verdict::Late)));
    assert_eq!(world.ask(0, Call::Complete(late)), Answer::Verdict(Verdict::Late));
}

#[test]
fn the_receivers_component_judges_whether_a_message_was_in_time() {
    for (travel, verdict) in [(20, Verdict::InTime), (200, Verdict::Late)] {
        for notice_first in [true, false] {
            let mut world = World::synchronised(3, 3);
            let (from, to) = (world.entity(0, 0), world.entity(1, 0));
            let within = Span::from_millis(100);
            if !notice_first {
                world.cut.insert((0, 1));
            }
            let sent = world.ask(0, Call::Sent { to, value: value(1), within });
            assert_eq!(sent, Answer::Done);
            world.run_for(Span::from_millis(travel));
            let number = world.call(1, Call::Received { from, value: value(1) });
            world.run_for(Span::from_millis(10));
            let expected = notice_first.then_some(Answer::Verdict(verdict));
            assert_eq!(world.answer(1, number), expected, "without the notice it waits");
        }
    }
}

#[test]
fn who_announces_many_messages_takes_no_place_of_the_receivers() {
    let mut world = World::synchronised(3, 3);
    let (to, within) = (world.entity(1, 0), Span::from_millis(100));
    let Answer::Begun(watched) = world.ask(1, Call::Watch { within }) else { panic!("it begins") };
    let told = world.call(1, Call::Await(watched));
    let other = world.entity(2, 0);
    world.ask(2, Call::Sent { to, value: value(7), within });
    for number in 0..200 {
        world.call(0, Call::Sent { to, value: value(number), within });
    }
    world.run_for(Span::from_millis(20));
    assert_eq!(world.answer(1, told), None, "it still watches");
    let received = world.call(1, Call::Received { from: other, value: value(7) });
    assert_eq!(world.answer(1, received), Some(Answer::Verdict(Verdict::InTime)));
    world.run_for(Span::from_millis(90));
    assert_eq!(world.answer(1, told), Some(Answer::Verdict(Verdict::Late)));
}

#[test]
fn a_host_that_is_not_configured_is_nobodys_peer() {
    let mut world = World::synchronised(3, 3);
    let nowhere = EntityId { host: Host(9), ..world.entity(1, 0) };
    let within = Span::from_millis(100);
    let sent = world.ask(0, Call::Sent { to: nowhere, value: value(1), within });
    assert_eq!(sent, Answer::Refused(Refusal::NotMember));
    let elist = Elist::new(&[world.entity(0, 0), nowhere]).expect("well formed");
    let channel = Channel { elist, threshold: 1, sequence: 1, context: value(1) };
    assert_eq!(world.ask(0, Call::Open(channel)), Answer::Refused(Refusal::NotMember));
    let tstart = world.in_future(within);
    let instance = Instance { elist, tstart, function: Function::Majority, context: value(1) };
    let proposed = world.ask(0, Call::Propose { instance, value: None });
    assert_eq!(proposed, Answer::Refused(Refusal::NotMember));
}

#[test]
fn an_operation_is_executed_in_its_time_or_not_at_all() {
    let mut world = World::synchronised(3, 4);
    let (at, by) = (world.in_future(Span::from_millis(50)), world.in_future(Span::from_millis(60)));
    let number = world.call(0, Call::Execute { operation: Operation::Disclose, at, by });
    world.run_for(Span::from_millis(40));
    assert_eq!(world.answer(0, number), None);
    world.run_for(Span::from_millis(30));
    let Some(Answer::Executed { time, value }) = world.answer(0, number) else {
        panic!("it is executed")
    };
    assert!(time.earliest >= at && time.latest <= by && value != [0; 32]);
    let late = world.ask(0, Call::Execute { operation: Operation::Alarm, at, by });
    assert_eq!(late, Answer::Refused(Refusal::TooLate));
}

#[test]
fn who_uses_up_its_reservation_is_refused_and_others_are_served() {
    let mut world = World::synchronised(3, 5);
    let refused =
        (0..5_000).filter(|_| world.ask(0, Call::Random) == Answer::Refused(Refusal::Quota));
    assert!(refused.count() > 2_000);
    let number = world.call_as(0, 1, Call::Random);
    assert!(matches!(world.answer_to(0, 1, number), Some(Answer::Random(_))));
    let number = world.call_as(0, 5, Call::Random);
    let unknown = world.answer_to(0, 5, number);
    assert_eq!(unknown, Some(Answer::Refused(Refusal::Quota)), "no such role");
    world.run_for(Span::from_millis(200));
    assert!(matches!(world.ask(0, Call::Random), Answer::Random(_)), "credit grows again");
}
