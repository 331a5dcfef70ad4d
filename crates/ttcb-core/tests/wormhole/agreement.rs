//! Trusted block agreement.

use crate::world::{BOUND, FOUL, World, value};
use maftia_ttcb_api::{
    Answer, Call, Decision, Function, Instance, Moment, Refusal, Span, Tag, Value,
};

const SOON: Span = Span::from_millis(20);

fn instance(world: &World, hosts: &[usize], tstart: Moment, function: Function) -> Instance {
    Instance { elist: world.elist(hosts), tstart, function, context: value(200) }
}

fn propose(world: &mut World, host: usize, instance: Instance, value: Option<Value>) -> Tag {
    match world.ask(host, Call::Propose { instance, value }) {
        Answer::Tag(tag) => tag,
        other => panic!("host {host} proposes: {other:?}"),
    }
}

/// What each host says was decided, after everything is over.
fn decisions(world: &mut World, hosts: &[usize], tag: Tag) -> Vec<Option<Decision>> {
    let asked: Vec<u64> = hosts.iter().map(|host| world.call(*host, Call::Decide(tag))).collect();
    // In foul weather clocks are known less well, and patience lasts longer.
    world.run_for(BOUND.times(30));
    let told = |(host, number): (&usize, u64)| match world.answer(*host, number) {
        Some(Answer::Decided(sealed)) => {
            assert!(sealed.is_signed_by(&world.key(*host)));
            Some(sealed.said)
        }
        Some(Answer::Timeout) => None,
        other => panic!("host {host} is told {other:?}"),
    };
    hosts.iter().zip(asked).map(told).collect()
}

#[test]
fn all_decide_the_senders_value_soon_after_tstart() {
    for seed in 0..20 {
        let mut world = World::synchronised(3, seed);
        let tstart = world.in_future(SOON);
        let instance = instance(&world, &[0, 1, 2], tstart, Function::Multicast);
        let tag = propose(&mut world, 0, instance, Some(value(1)));
        propose(&mut world, 1, instance, None);
        world.run_for(BOUND);
        let asked: Vec<u64> = (0..3).map(|host| world.call(host, Call::Decide(tag))).collect();
        // Two bounds after, and no clock is more than another bound wide.
        world.run_for(Span(SOON.0 + BOUND.times(3).0));
        for (host, number) in asked.into_iter().enumerate() {
            let answer = world.answer(host, number);
            let Some(Answer::Decided(sealed)) = answer else {
                let times: Vec<_> = (0..3).map(|host| world.time(host)).collect();
                panic!("seed {seed}, host {host}: {answer:?} at {times:?} for {tstart:?}")
            };
            let decided = sealed.said;
            assert_eq!(decided.value, Some(value(1)));
            assert_eq!((decided.proposed_value, decided.proposed_any), (1, 1));
        }
    }
}

#[test]
fn it_begins_at_once_when_all_have_proposed() {
    let mut world = World::synchronised(3, 1);
    let tstart = world.in_future(Span::from_millis(5_000));
    let instance = instance(&world, &[0, 1, 2], tstart, Function::Majority);
    let mut tag = Tag::default();
    for host in 0..3 {
        tag = propose(&mut world, host, instance, Some(value(host.min(1) as u8)));
    }
    world.run_for(BOUND);
    for decided in decisions(&mut world, &[0, 1, 2], tag) {
        let decided = decided.expect("all proposed");
        assert_eq!(decided.value, Some(value(1)), "two of three proposed it");
        assert_eq!((decided.proposed_value, decided.proposed_any), (0b110, 0b111));
    }
}

#[test]
fn a_proposal_after_tstart_is_refused_by_rule() {
    let mut world = World::synchronised(3, 2);
    let tstart = world.in_future(SOON);
    let instance = instance(&world, &[0, 1, 2], tstart, Function::Majority);
    propose(&mut world, 0, instance, Some(value(1)));
    world.run_for(SOON.times(2));
    let late = world.ask(1, Call::Propose { instance, value: Some(value(2)) });
    assert!(matches!(late, Answer::Refused(Refusal::TooLate | Refusal::Contradiction)), "{late:?}");
    let decided = decisions(&mut world, &[0, 1, 2], instance.tag());
    assert!(decided.iter().flatten().all(|decided| decided.proposed_any == 1));
}

#[test]
fn an_entity_cannot_propose_twice_or_for_another() {
    let mut world = World::synchronised(3, 3);
    let tstart = world.in_future(SOON);
    let instance = instance(&world, &[0, 1, 2], tstart, Function::Majority);
    propose(&mut world, 0, instance, Some(value(1)));
    propose(&mut world, 0, instance, Some(value(1)));
    let second = world.ask(0, Call::Propose { instance, value: Some(value(2)) });
    assert_eq!(second, Answer::Refused(Refusal::Contradiction));
    let number = world.call_as(0, 1, Call::Propose { instance, value: Some(value(2)) });
    let foreign = world.answer_to(0, 1, number);
    assert_eq!(foreign, Some(Answer::Refused(Refusal::NotMember)));
    let others = self::instance(&world, &[1, 2], tstart, Function::Majority);
    let outsider = world.ask(0, Call::Propose { instance: others, value: None });
    assert_eq!(outsider, Answer::Refused(Refusal::NotMember));
}

#[test]
fn a_frame_that_is_in_time_here_and_late_there_never_makes_two_decisions() {
    // The first exchange of host 0 reaches host 1 in time and host 2 too late or not at all.
    for seed in 0..300 {
        let mut world = World::synchronised(3, seed);
        world.weather = FOUL;
        let tstart = world.in_future(SOON);
        let instance = instance(&world, &[0, 1, 2], tstart, Function::Majority);
        for host in 0..3 {
            propose(&mut world, host, instance, Some(value(host as u8 + 1)));
        }
        if seed % 3 == 0 {
            world.cut.insert((0, 2));
        }
        world.run_for(SOON);
        let decided = decisions(&mut world, &[0, 1, 2], instance.tag());
        let mut known = decided.iter().flatten();
        if let Some(first) = known.next() {
            assert!(known.all(|other| other == first), "seed {seed}: {decided:?}");
        }
    }
}

#[test]
fn crashes_in_the_midst_never_make_two_decisions_and_two_of_three_decide_afterwards() {
    let mut undecided = 0;
    for seed in 0..300 {
        let mut world = World::synchronised(3, seed);
        let tstart = world.in_future(SOON);
        let instance = instance(&world, &[0, 1, 2], tstart, Function::Multicast);
        for host in 0..3 {
            propose(&mut world, host, instance, (host == 0).then_some(value(9)));
        }
        let steps = seed % 40;
        (0..steps).for_each(|_| assert!(world.step()));
        let victim = (seed % 3) as usize;
        world.crash(victim);
        if seed % 2 == 0 {
            world.boot(victim);
        }
        world.run_for(SOON.times(2));
        let left: Vec<usize> = (0..3).filter(|host| *host != victim).collect();
        let decided = decisions(&mut world, &left, instance.tag());
        match (decided[0], decided[1]) {
            (Some(one), Some(other)) => assert_eq!(one, other),
            _ => undecided += 1,
        }
    }
    assert!(undecided < 30, "{undecided} of 300 are undecided though a majority lives");
}

#[test]
fn another_life_takes_no_part_in_what_the_one_before_promised() {
    let mut world = World::synchronised(3, 5);
    let tstart = world.in_future(Span::from_millis(2_500));
    let instance = instance(&world, &[0, 1, 2], tstart, Function::Majority);
    propose(&mut world, 0, instance, Some(value(1)));
    world.crash(0);
    world.boot(0);
    world.run_for(Span::from_millis(2_000));
    let again = world.ask(0, Call::Propose { instance, value: Some(value(2)) });
    assert_eq!(again, Answer::Refused(Refusal::NotMember));
}

#[test]
fn what_is_long_past_is_never_begun_again() {
    let mut world = World::synchronised(3, 6);
    let tstart = world.in_future(SOON);
    let instance = instance(&world, &[0, 1, 2], tstart, Function::Multicast);
    propose(&mut world, 0, instance, Some(value(1)));
    world.run_for(Span::from_millis(11_000));
    let forgotten = world.ask(0, Call::Decide(instance.tag()));
    assert_eq!(forgotten, Answer::Refused(Refusal::Unknown));
    let again = world.ask(0, Call::Propose { instance, value: Some(value(2)) });
    assert_eq!(again, Answer::Refused(Refusal::TooLate));
}

#[test]
fn one_role_cannot_take_the_places_of_others() {
    let mut world = World::synchronised(3, 7);
    let tstart = world.in_future(Span::from_millis(5_000));
    let mut refused = 0;
    for context in 0..200 {
        let base = instance(&world, &[0, 1, 2], tstart, Function::Multicast);
        let call =
            Call::Propose { instance: Instance { context: value(context), ..base }, value: None };
        match world.ask(0, call) {
            Answer::Tag(_) => {}
            Answer::Refused(Refusal::Full | Refusal::Quota) => refused += 1,
            other => panic!("{other:?}"),
        }
        world.run_for(Span::from_millis(2));
    }
    assert!(refused > 100);
    let entities = [world.entity(1, 1), world.entity(0, 1), world.entity(2, 1)];
    let elist = maftia_ttcb_api::Elist::new(&entities).expect("well formed");
    let other = Instance { elist, tstart, function: Function::Multicast, context: value(0) };
    let number = world.call_as(1, 1, Call::Propose { instance: other, value: Some(value(3)) });
    assert_eq!(world.answer_to(1, 1, number), Some(Answer::Tag(other.tag())));
    world.run_for(Span::from_millis(5_000));
    let number = world.call_as(0, 1, Call::Decide(other.tag()));
    world.run_for(BOUND.times(4));
    let answer = world.answer_to(0, 1, number);
    assert!(matches!(answer, Some(Answer::Decided(_))), "{answer:?}");
}

#[test]
fn two_of_five_may_be_down() {
    let mut world = World::synchronised(5, 8);
    world.crash(3);
    let entities: Vec<usize> = vec![0, 1, 2, 4];
    let tstart = world.in_future(SOON);
    let instance = instance(&world, &entities, tstart, Function::Multicast);
    propose(&mut world, 0, instance, Some(value(4)));
    world.crash(4);
    world.run_for(SOON);
    let decided = decisions(&mut world, &[0, 1, 2], instance.tag());
    assert!(decided.iter().all(|decided| decided.is_some_and(|it| it.value == Some(value(4)))));
}

#[test]
fn a_component_that_hears_nobody_answers_nothing_that_needs_a_clock() {
    let mut world = World::synchronised(3, 9);
    world.cut.extend([(1, 0), (2, 0)]);
    world.run_for(Span::from_millis(5_000));
    assert_eq!(world.ask(0, Call::Timestamp), Answer::Refused(Refusal::Unsynchronised));
    world.cut.clear();
    world.run_for(Span::from_millis(1_000));
    assert!(matches!(world.ask(0, Call::Timestamp), Answer::Time(_)));
}
