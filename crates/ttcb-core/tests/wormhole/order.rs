//! Trusted ordering.

use crate::world::{BOUND, FOUL, World, value};
use maftia_ttcb_api::{Answer, Call, Channel, Ordered, Refusal, Span, Tag, Value};
use maftia_ttcb_core::ordering::WAIT;
use std::collections::BTreeMap;

fn channel(world: &World, hosts: &[usize], threshold: u8, sequence: u64) -> Channel {
    Channel { elist: world.elist(hosts), threshold, sequence, context: value(77) }
}

fn open(world: &mut World, hosts: &[usize], threshold: u8) -> Tag {
    let channel = channel(world, hosts, threshold, 1);
    for host in hosts {
        assert_eq!(world.ask(*host, Call::Open(channel)), Answer::Tag(channel.tag()));
    }
    channel.tag()
}

fn vouch(world: &mut World, host: usize, channel: Tag, value: Value) {
    assert_eq!(world.ask(host, Call::Order { channel, value }), Answer::Done);
}

/// The order as a host tells it, from the first place on.
struct Listener {
    host: usize,
    asked: Option<u64>,
    told: Vec<Ordered>,
    next: u64,
}

impl Listener {
    fn new(host: usize) -> Self {
        Self { host, asked: None, told: Vec::new(), next: 1 }
    }

    fn listen(&mut self, world: &mut World, channel: Tag) {
        loop {
            let (host, number) = (self.host, self.next);
            let asked =
                *self.asked.get_or_insert_with(|| world.call(host, Call::Next { channel, number }));
            match world.answer(self.host, asked) {
                Some(Answer::Ordered(sealed)) => {
                    assert!(sealed.is_signed_by(&world.key(self.host)));
                    assert_eq!(sealed.said.number, self.next);
                    self.told.push(sealed.said);
                    self.next += 1;
                    self.asked = None;
                }
                // Out of quota for now, or forgotten.
                Some(Answer::Refused(Refusal::Quota | Refusal::TooLate)) => {
                    self.asked = None;
                    return;
                }
                Some(Answer::Refused(Refusal::Unknown)) => {
                    self.next += 1;
                    self.asked = None;
                }
                Some(other) => panic!("{other:?}"),
                None => return,
            }
        }
    }
}

fn same_order(listeners: &[Listener]) {
    let mut places: BTreeMap<u64, Ordered> = BTreeMap::new();
    for told in listeners.iter().flat_map(|listener| &listener.told) {
        let first = places.entry(told.number).or_insert(*told);
        assert_eq!(first, told, "two values at one place");
    }
    let mut once: Vec<Value> =
        places.values().filter(|it| it.vouchers != 0).map(|it| it.value).collect();
    let count = once.len();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), count, "a value at two places");
}

#[test]
fn what_enough_vouch_for_gets_consecutive_places_and_the_rest_does_not() {
    let mut world = World::synchronised(3, 1);
    let channel = open(&mut world, &[0, 1, 2], 2);
    let mut listeners: Vec<Listener> = (0..3).map(Listener::new).collect();
    for index in 0..20 {
        vouch(&mut world, (index % 3) as usize, channel, value(index));
        vouch(&mut world, ((index + 1) % 3) as usize, channel, value(index));
        vouch(&mut world, 2, channel, value(100 + index));
        world.run_for(Span::from_millis(10));
        listeners.iter_mut().for_each(|listener| listener.listen(&mut world, channel));
    }
    world.run_for(Span::from_millis(100));
    listeners.iter_mut().for_each(|listener| listener.listen(&mut world, channel));
    same_order(&listeners);
    for listener in &listeners {
        assert_eq!(listener.told.len(), 20, "and nothing for which one alone vouches");
        assert!(listener.told.iter().all(|told| told.vouchers.count_ones() >= 2));
        let seeds: std::collections::BTreeSet<_> = listener.told.iter().map(|it| it.seed).collect();
        assert_eq!(seeds.len(), 20);
    }
}

#[test]
fn losses_lateness_and_a_crashed_leader_never_make_two_orders() {
    for seed in 0..150 {
        let mut world = World::synchronised(3, seed);
        world.weather = FOUL;
        let channel = open(&mut world, &[0, 1, 2], 2);
        let mut listeners: Vec<Listener> = (0..3).map(Listener::new).collect();
        let victim = (seed % 4) as usize;
        for index in 0..12u8 {
            for host in (0..3).filter(|host| world.is_up(*host)).collect::<Vec<_>>() {
                let answer = world.ask(host, Call::Order { channel, value: value(index) });
                assert!(matches!(answer, Answer::Done | Answer::Refused(Refusal::Quota)));
            }
            world.run_for(Span::from_millis(world.chance.clone().below(15)));
            if index == 6 && victim < 3 {
                let steps = world.chance.below(60);
                (0..steps).for_each(|_| assert!(world.step()));
                world.crash(victim);
            }
            for listener in &mut listeners {
                if world.is_up(listener.host) {
                    listener.listen(&mut world, channel);
                }
            }
        }
        world.weather = crate::world::FAIR;
        for round in 0..40 {
            world.run_for(Span::from_millis(50));
            for listener in &mut listeners {
                if world.is_up(listener.host) {
                    if round % 8 == 0 {
                        for index in 0..12 {
                            world.call(listener.host, Call::Order { channel, value: value(index) });
                        }
                    }
                    listener.listen(&mut world, channel);
                }
            }
        }
        same_order(&listeners);
        for listener in listeners.iter().filter(|listener| world.is_up(listener.host)) {
            let told = listener.told.iter().filter(|it| it.vouchers != 0).count();
            assert!(told >= 12, "seed {seed}: host {} knows {told} of 12", listener.host);
        }
    }
}

#[test]
fn a_member_that_comes_late_is_told_what_it_missed() {
    let mut world = World::synchronised(3, 3);
    let list = [0, 1, 2];
    let it = channel(&world, &list, 2, 1);
    let tag = it.tag();
    for host in [0, 1] {
        world.ask(host, Call::Open(it));
    }
    for index in 0..30 {
        vouch(&mut world, 0, tag, value(index));
        vouch(&mut world, 1, tag, value(index));
        world.run_for(Span::from_millis(10));
    }
    world.ask(2, Call::Open(it));
    world.run_for(Span::from_millis(200));
    let mut listeners: Vec<Listener> = (0..3).map(Listener::new).collect();
    for _ in 0..10 {
        world.run_for(Span::from_millis(100));
        listeners.iter_mut().for_each(|listener| listener.listen(&mut world, tag));
    }
    same_order(&listeners);
    assert!(listeners.iter().all(|listener| listener.told.len() == 30));
}

#[test]
fn a_channel_is_opened_once_and_sequence_numbers_grow() {
    let mut world = World::synchronised(3, 4);
    let list = [0, 1, 2];
    let first = channel(&world, &list, 2, 5);
    assert_eq!(world.ask(0, Call::Open(first)), Answer::Tag(first.tag()));
    assert_eq!(world.ask(0, Call::Open(first)), Answer::Tag(first.tag()));
    let same = Channel { threshold: 1, ..first };
    assert_eq!(world.ask(0, Call::Open(same)), Answer::Refused(Refusal::Contradiction));
    for sequence in 6..9 {
        let next = Channel { sequence, ..first };
        assert_eq!(world.ask(0, Call::Open(next)), Answer::Tag(next.tag()));
    }
    let forgotten = world.ask(0, Call::Open(first));
    assert_eq!(forgotten, Answer::Refused(Refusal::Contradiction));
    for threshold in [0, 4] {
        let bad = Channel { threshold, sequence: 20, ..first };
        assert_eq!(world.ask(0, Call::Open(bad)), Answer::Refused(Refusal::Malformed));
    }
}

#[test]
fn a_flood_of_vouches_of_one_member_hinders_nobody() {
    let mut world = World::synchronised(3, 5);
    let channel = open(&mut world, &[0, 1, 2], 2);
    for index in 0..250u8 {
        world.call(2, Call::Order { channel, value: value(index) });
        world.run_for(Span::from_millis(2));
    }
    let mut wanted = value(9);
    wanted[5] = 1;
    vouch(&mut world, 0, channel, wanted);
    world.run_for(Span::from_millis(3));
    vouch(&mut world, 1, channel, wanted);
    world.run_for(Span::from_millis(50));
    let mut listener = Listener::new(0);
    listener.listen(&mut world, channel);
    assert_eq!(listener.told.len(), 1);
    assert_eq!(listener.told[0].value, wanted);
}

#[test]
fn who_asks_for_a_place_at_which_nothing_stands_is_not_left_waiting_for_ever() {
    let mut world = World::synchronised(3, 7);
    let channel = open(&mut world, &[0, 1, 2], 2);
    let asked = world.call(0, Call::Next { channel, number: 1 });
    world.run_for(Span::from_millis(100));
    assert_eq!(world.answer(0, asked), None, "something may still come");
    world.run_for(BOUND.times(WAIT));
    assert_eq!(world.answer(0, asked), Some(Answer::Refused(Refusal::TooLate)));
    let again = world.call(0, Call::Next { channel, number: 1 });
    (0..2).for_each(|host| vouch(&mut world, host, channel, value(3)));
    world.run_for(Span::from_millis(50));
    let told = world.answer(0, again);
    assert!(matches!(told, Some(Answer::Ordered(it)) if it.said.value == value(3)), "{told:?}");
}

#[test]
fn nothing_is_sent_when_nothing_waits() {
    let mut world = World::synchronised(3, 6);
    let channel = open(&mut world, &[0, 1, 2], 2);
    vouch(&mut world, 0, channel, value(1));
    vouch(&mut world, 1, channel, value(1));
    world.run_for(Span::from_millis(1_000));
    let before = world.frames;
    world.run_for(Span::from_millis(2_000));
    // Clocks are asked five times a second: two frames for each question.
    let clocks = 3 * 2 * 2 * 11;
    assert!(world.frames - before <= clocks, "{} frames", world.frames - before);
}
