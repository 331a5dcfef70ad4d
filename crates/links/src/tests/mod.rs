mod world;

use crate::frame::{Frame, Payload};
use crate::*;
use maftia_base::wire::{Bytes, EncodeSize, List, Wire};
use maftia_base::{Event, FaultKind, Party, Target};
use world::{Body, CALM, Tale, Weather, World, tale};

const STORM: Weather = Weather { loss_percent: 30, duplication_percent: 20, delay_max: 50_000 };

fn p(index: usize) -> Party {
    Party::new(index)
}

fn upto(count: u64) -> Vec<u64> {
    (0..count).collect()
}

/// A frame from `p(1)` in incarnation 101 to `p(0)` in incarnation 100.
fn forged(world: &World, first: u64, messages: Vec<Bytes>) -> Frame {
    let messages = messages.into_iter().map(|bytes| Payload::new(bytes).expect("fits"));
    Frame {
        place: world.servers[0].group.scope().digest().short(),
        from: 101,
        to: 100,
        lapses: 0,
        received: 0,
        gap: 0,
        window_messages: WINDOW_MESSAGES,
        window_bytes: window_bytes(world.servers.len()) as u32,
        first,
        messages: List::new(messages.collect()).expect("fits"),
    }
}

fn inject(world: &mut World, frame: Frame) {
    world.step(p(0), Event::Message { from: p(1), body: Body::Frame(frame) });
}

fn blamed(world: &World) -> Vec<(Party, FaultKind)> {
    world.servers[0].faults.iter().map(|fault| (fault.culprit, fault.kind)).collect()
}

#[test]
fn delivers_in_order_once_despite_loss_duplication_and_reordering() {
    for seed in 0..20 {
        let mut world = World::up(4, seed, STORM);
        for number in 0..200 {
            (0..4).for_each(|from| world.say(p(from), Target::All, tale(number, 10)));
            world.run(2);
        }
        world.run(120_000);
        for (to, from) in (0..4).flat_map(|to| (0..4).map(move |from| (to, from))) {
            assert_eq!(world.heard(p(to), p(from)), upto(200), "seed {seed}: {from} to {to}");
            assert_eq!(world.reconnects(p(to), p(from)), 0, "nothing had to be emitted again");
        }
        world.assert_nobody_blamed();
    }
}

#[test]
fn whoever_speaks_to_a_number_that_leaves_no_room_above_is_not_answered() {
    let mut world = World::up(4, 1, CALM);
    world.run(1_000);
    let sent = |world: &World| {
        let link = world.servers[0].link.as_ref().and_then(|link| link.status(p(1)));
        link.expect("it is up").traffic.frames_sent
    };
    let before = sent(&world);
    for _ in 0..1_000 {
        let lie = Frame { to: u64::MAX, ..forged(&world, 0, Vec::new()) };
        inject(&mut world, lie);
    }
    assert_eq!(sent(&world), before);
    world.say(p(0), Target::Others, tale(7, 0));
    world.run(1_000);
    assert_eq!((world.heard(p(1), p(0)), world.heard(p(2), p(0))), (vec![7], vec![7]));
}

#[test]
fn a_message_to_one_reaches_only_that_one_and_oneself_without_a_link() {
    let mut world = World::up(4, 1, CALM);
    world.say(p(0), Target::One(p(2)), tale(5, 0));
    world.say(p(0), Target::One(p(0)), tale(6, 0));
    world.say(p(0), Target::Others, tale(7, 0));
    world.run(100);
    assert_eq!(world.heard(p(0), p(0)), [6]);
    assert_eq!(world.heard(p(2), p(0)), [5, 7]);
    assert_eq!(world.heard(p(1), p(0)), [7]);
}

#[test]
fn a_group_of_one_needs_no_links() {
    let mut world = World::up(1, 1, CALM);
    world.say(p(0), Target::All, tale(1, 0));
    world.run(60_000);
    assert_eq!(world.heard(p(0), p(0)), [1]);
}

#[test]
fn largest_messages_pass_within_the_window() {
    let mut world = World::up(4, 1, Weather { delay_max: 30_000, ..CALM });
    world.run(100);
    let largest = MESSAGE_BYTES_MAX - 16;
    (0..24).for_each(|number| world.say(p(0), Target::Others, tale(number, largest)));
    for _ in 0..200 {
        world.run(1);
        let status = world.link(p(1)).status(p(0)).expect("a peer");
        assert!(status.held_bytes <= window_bytes(4));
    }
    world.run(10_000);
    (1..4).for_each(|to| assert_eq!(world.heard(p(to), p(0)), upto(24)));
    world.assert_nobody_blamed();
}

#[test]
fn an_idle_link_says_one_keep_alive_a_second_and_no_message() {
    let mut world = World::up(4, 1, CALM);
    world.say(p(0), Target::All, tale(1, 0));
    world.run(5_000);
    let traffic = |world: &World| world.link(p(0)).status(p(1)).expect("a peer").traffic;
    let before = traffic(&world);
    world.run(60_000);
    let after = traffic(&world);
    assert_eq!(after.messages_sent, before.messages_sent);
    assert_eq!(after.messages_resent, before.messages_resent);
    assert!((59..=61).contains(&(after.frames_sent - before.frames_sent)), "{after:?}");
}

#[test]
fn a_peer_that_never_acknowledges_costs_bounded_memory() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    world.stop(p(3));
    let mut most = 0;
    for number in 0..300 {
        world.say(p(0), Target::Others, tale(number, 500_000));
        world.run(10);
        let status = world.link(p(0)).status(p(3)).expect("a peer");
        assert!(status.unacknowledged_bytes <= QUEUE_BYTES_MAX as u64);
        most = most.max(status.unacknowledged_bytes);
    }
    assert!(most > QUEUE_BYTES_MAX as u64 / 2, "the queue was used: {most}");
    assert!(world.link(p(0)).status(p(3)).expect("a peer").is_behind);
    assert_eq!(world.heard(p(1), p(0)), upto(300), "and it costs the others nothing");
    world.assert_nobody_blamed();
}

#[test]
fn many_small_messages_to_a_mute_peer_are_bounded_too() {
    let mut world = World::up(4, 1, CALM);
    world.stop(p(3));
    for number in 0..QUEUE_MESSAGES_MAX as u64 + 10 {
        world.say(p(0), Target::One(p(3)), tale(number, 0));
    }
    let link = world.link(p(0));
    assert!(maftia_base::protocol::TimedProtocol::footprint(link) <= QUEUE_MESSAGES_MAX);
    assert!(link.status(p(3)).expect("a peer").is_behind);
}

#[test]
fn after_an_overflow_the_protocol_is_told_once_there_is_credit_again() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    // A partition: both stay up, nothing passes.
    world.weather.loss_percent = 100;
    (0..40).for_each(|number| world.say(p(0), Target::One(p(3)), tale(number, 1_000_000)));
    world.run(20_000);
    assert_eq!(world.reconnects(p(0), p(3)), 0, "there is no credit yet");
    world.weather.loss_percent = 0;
    world.run(30_000);
    assert!(world.reconnects(p(0), p(3)) >= 1);
    let heard: std::collections::BTreeSet<_> = world.heard(p(3), p(0)).into_iter().collect();
    let most = QUEUE_BYTES_MAX as u64 / 1_000_100;
    assert!((0..most).all(|number| heard.contains(&number)), "what fits a queue arrives");
    world.assert_nobody_blamed();
}

#[test]
fn after_an_overflow_the_other_end_is_told_too_for_answers_may_have_been_dropped() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    world.weather.loss_percent = 100;
    for number in 0..70_000 {
        world.say(p(0), Target::One(p(1)), tale(number, 0));
    }
    assert!(world.link(p(0)).status(p(1)).expect("a peer").is_behind);
    assert_eq!(world.reconnects(p(1), p(0)), 0);
    world.weather.loss_percent = 0;
    world.run(20_000);
    assert_eq!(world.reconnects(p(1), p(0)), world.reconnects(p(0), p(1)));
    assert!(world.reconnects(p(1), p(0)) >= 1);
    assert_eq!(world.reconnects(p(1), p(2)), 0, "nothing was dropped between these");
    world.assert_nobody_blamed();
}

#[test]
fn two_runs_that_hear_of_one_greater_number_are_two_to_the_peer() {
    let numbers = [12, 23].map(|own| {
        let mut peer = crate::peer::Peer::new(own, 1 << 21);
        // A frame that was meant for a run before both of them.
        peer.hear(50, 31, maftia_base::time::Time(0));
        peer.frame(0, 0, Vec::new(), maftia_base::time::Time(0)).from
    });
    assert!(numbers.iter().all(|number| *number > 31), "{numbers:?} are above it");
    assert_ne!(numbers[0], numbers[1]);
}

#[test]
fn a_restarted_peer_is_told_everything_again_whatever_its_new_incarnation() {
    for (seed, incarnation) in [(1, 500), (2, 7), (3, 1), (4, u64::MAX)] {
        let mut world = World::up(4, seed, STORM);
        (0..50).for_each(|number| world.say(p(0), Target::All, tale(number, 10)));
        world.run(5_000);
        world.stop(p(3));
        (50..80).for_each(|number| world.say(p(0), Target::All, tale(number, 10)));
        world.run(3_000);
        world.servers[3].told.clear();
        world.start(p(3), incarnation);
        (0..20).for_each(|number| world.say(p(3), Target::All, tale(1_000 + number, 10)));
        world.run(120_000);
        assert_eq!(world.heard(p(3), p(0)), upto(80), "incarnation {incarnation}");
        let again = world.heard(p(0), p(3));
        let distinct: std::collections::BTreeSet<_> = again.iter().collect();
        assert_eq!(distinct.len(), 20, "the restarted server is heard");
        assert!(world.reconnects(p(0), p(3)) >= 1);
        world.assert_nobody_blamed();
    }
}

#[test]
fn both_ends_may_restart_at_any_moment() {
    for seed in 0..20 {
        let mut world = World::up(4, seed, STORM);
        for round in 0..6 {
            let (one, other) = (p(round % 4), p((round + 1) % 4));
            (0..10).for_each(|number| world.say(one, Target::All, tale(number, 10)));
            world.run(7 + seed * 3);
            world.stop(other);
            world.run(5);
            // Clocks that jump back give smaller numbers.
            world.start(other, 1 + (seed * 7 + round as u64 * 13) % 50);
        }
        world.run(60_000);
        let first = world.servers[1].told.len();
        (500..520).for_each(|number| world.say(p(0), Target::All, tale(number, 10)));
        world.run(60_000);
        assert!(world.servers[1].told.len() > first);
        for to in 0..4 {
            let heard = world.heard(p(to), p(0));
            let new: Vec<_> = heard.into_iter().filter(|number| *number >= 500).collect();
            assert_eq!(new, (500..520).collect::<Vec<_>>(), "seed {seed}: in order, once");
        }
        world.assert_nobody_blamed();
    }
}

#[test]
fn frames_of_an_older_conversation_change_nothing() {
    let mut world = World::up(4, 1, CALM);
    world.records_frames = true;
    (0..10).for_each(|number| world.say(p(0), Target::All, tale(number, 10)));
    (0..10).for_each(|number| world.say(p(3), Target::All, tale(number, 10)));
    world.run(1_000);
    world.records_frames = false;
    world.stop(p(3));
    world.start(p(3), 900);
    world.servers[3].told.clear();
    world.run(1_000);
    assert_eq!(world.heard(p(3), p(0)), upto(10));
    let old = world.seen.clone();
    for (from, to, body) in old.into_iter().filter(|(from, to, _)| from != to) {
        world.step(to, Event::Message { from, body });
    }
    world.say(p(0), Target::All, tale(10, 0));
    world.run(10_000);
    assert_eq!(world.heard(p(3), p(0)), upto(11), "replayed frames deliver nothing");
    world.assert_nobody_blamed();
}

#[test]
fn a_lost_tail_is_sent_again_without_being_asked() {
    let mut world = World::up(4, 1, CALM);
    world.run(1_000);
    world.say(p(0), Target::One(p(1)), tale(0, 10));
    world.lose_everything();
    world.run(600);
    assert_eq!(world.heard(p(1), p(0)), [0]);
}

#[test]
fn who_is_away_is_sent_keep_alives_only_and_everything_once_it_is_heard_again() {
    let mut world = World::up(4, 1, CALM);
    world.run(1_000);
    let resent = |world: &World| {
        let status = world.link(p(0)).status(p(1)).expect("a peer");
        status.traffic.messages_resent
    };
    let cut_off = |world: &mut World, millis: u64| {
        for _ in 0..millis {
            world.run(1);
            world.lose_everything();
        }
    };
    (0..5).for_each(|number| world.say(p(0), Target::One(p(1)), tale(number, 10)));
    world.lose_everything();
    cut_off(&mut world, 20_000);
    let before = resent(&world);
    assert!(before > 0, "at first it is tried");
    cut_off(&mut world, 60_000);
    assert_eq!(resent(&world), before, "nothing is said to nobody");
    world.run(1_100);
    assert_eq!(world.heard(p(1), p(0)), upto(5), "its first word brings everything");
    world.assert_nobody_blamed();
}

#[test]
fn a_gap_is_repaired_within_a_round_trip() {
    let mut world = World::up(4, 1, CALM);
    world.run(1_000);
    world.say(p(0), Target::One(p(1)), tale(0, 10));
    world.lose_everything();
    world.say(p(0), Target::One(p(1)), tale(1, 10));
    world.run(1);
    assert_eq!(world.heard(p(1), p(0)), [0, 1]);
}

#[test]
fn after_a_transport_reconnects_nothing_waits_for_a_timer() {
    let mut world = World::up(4, 1, CALM);
    world.run(1_000);
    (0..5).for_each(|number| world.say(p(0), Target::One(p(1)), tale(number, 10)));
    world.lose_everything();
    world.step(p(0), Event::Reconnected(p(1)));
    world.run(1);
    assert_eq!(world.heard(p(1), p(0)), upto(5));
    assert_eq!(world.reconnects(p(0), p(1)), 0, "the protocol need not know");
}

#[test]
fn exceeding_the_credit_is_blamed_and_held_memory_stays_bounded() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    let beyond = forged(&world, u64::from(WINDOW_MESSAGES), vec![tale(1, 0).to_wire()]);
    inject(&mut world, beyond);
    assert_eq!(blamed(&world), [(p(1), FaultKind::Flood)]);
    let overflow = forged(&world, u64::MAX, vec![tale(1, 0).to_wire()]);
    inject(&mut world, overflow);
    assert_eq!(blamed(&world).len(), 2);
    // Never fills the gap at number 0, and sends the largest messages it can.
    for number in 0..40 {
        let frame = forged(&world, 1 + number, vec![tale(1, MESSAGE_BYTES_MAX - 16).to_wire()]);
        inject(&mut world, frame);
        let status = world.link(p(0)).status(p(1)).expect("a peer");
        assert!(status.held_bytes <= window_bytes(4), "{status:?}");
    }
    assert!(blamed(&world).len() > 20, "whatever exceeds the bytes is blamed");
    assert!(blamed(&world).iter().all(|fault| *fault == (p(1), FaultKind::Flood)));
}

#[test]
fn an_honest_sender_far_ahead_is_never_blamed() {
    // Each frame takes up to two seconds: the sender is always a window ahead.
    let mut world = World::up(4, 9, Weather { delay_max: 2_000_000, ..STORM });
    for number in 0..3_000 {
        world.say(p(0), Target::Others, tale(number, 3_000));
        world.run(1);
    }
    world.run(600_000);
    (1..4).for_each(|to| assert_eq!(world.heard(p(to), p(0)), upto(3_000)));
    world.assert_nobody_blamed();
}

#[test]
fn what_does_not_decode_is_blamed_and_skipped() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    let bad = Bytes::from_static(&[1, 2, 3]);
    let frame = forged(&world, 0, vec![tale(1, 0).to_wire(), bad, tale(2, 0).to_wire()]);
    inject(&mut world, frame);
    assert_eq!(blamed(&world), [(p(1), FaultKind::Malformed)]);
    assert_eq!(world.heard(p(0), p(1)), [1, 2]);
}

#[test]
fn acknowledging_what_was_never_sent_is_blamed() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    let frame = Frame { received: 3, ..forged(&world, 0, vec![]) };
    inject(&mut world, frame);
    assert_eq!(blamed(&world), [(p(1), FaultKind::Malformed)]);
}

#[test]
fn a_message_that_poses_as_ones_own_is_blamed() {
    let mut world = World::up(4, 1, CALM);
    world.step(p(0), Event::Message { from: p(1), body: Body::Local(tale(1, 0)) });
    assert_eq!(blamed(&world), [(p(1), FaultKind::Malformed)]);
    assert!(world.heard(p(0), p(1)).is_empty());
}

#[test]
fn frames_of_another_epoch_are_ignored() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    let frame = forged(&world, 0, vec![tale(1, 0).to_wire()]);
    inject(&mut world, Frame { place: frame.place ^ 1, ..frame });
    assert!(world.heard(p(0), p(1)).is_empty());
    world.assert_nobody_blamed();
}

#[test]
fn a_server_whose_first_words_find_no_channel_is_heard_soon_after_there_is_one() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    world.stop(p(1));
    world.run(100);
    world.weather.loss_percent = 100;
    world.start(p(1), 500);
    world.say(p(1), Target::One(p(0)), tale(7, 0));
    world.run(120);
    world.weather.loss_percent = 0;
    world.run(120);
    assert_eq!(world.heard(p(0), p(1)), [7]);
}

#[test]
fn a_peer_that_keeps_starting_over_makes_us_repeat_ourselves_four_times_a_second() {
    let attacks: [fn(&mut Frame, u64); 2] =
        [|frame, step| frame.from = 200 + step, |frame, step| frame.lapses = step];
    for attack in attacks {
        let mut world = World::up(4, 1, CALM);
        world.run(100);
        world.stop(p(1));
        for step in 1..2_000 {
            let mut frame = forged(&world, 0, vec![]);
            attack(&mut frame, step);
            inject(&mut world, frame);
            world.run(1);
        }
        let reconnects = world.reconnects(p(0), p(1));
        assert!((2..=10).contains(&reconnects), "{reconnects} in two seconds");
    }
}

#[test]
fn no_frame_of_a_liar_breaks_a_link() {
    let mut world = World::up(4, 1, CALM);
    world.run(10);
    let edges = [0, 1, 99, 100, 101, u64::from(WINDOW_MESSAGES), u64::MAX - 1, u64::MAX];
    for (index, from) in edges.iter().enumerate() {
        for to in edges {
            for value in edges {
                let (gap, window) = (value as u32, edges[(index + 1) % edges.len()] as u32);
                let frame = forged(&world, value, vec![tale(value, 9).to_wire()]);
                let lie = Frame { from: *from, to, received: value, gap, ..frame };
                let lie = Frame { window_messages: window, window_bytes: window, ..lie };
                inject(&mut world, lie.clone());
                inject(&mut world, Frame { from: 0, ..lie });
                world.say(p(0), Target::All, tale(value, 0));
                world.run(1);
            }
        }
    }
    let heard = world.heard(p(2), p(0));
    assert_eq!(heard.len(), edges.len().pow(3), "the link to an honest peer does not notice");
    assert!(world.servers[0].faults.iter().all(|fault| fault.culprit == p(1)));
}

#[test]
fn packets_round_trip_and_fit_the_transport() {
    let world = World::new(4, 1, CALM);
    let empty = Body::Frame(forged(&world, 3, vec![]));
    assert_eq!(empty.encode_size(), 62, "a tag and 61 bytes");
    let full = vec![Bytes::from(vec![1; 1024]); FRAME_MESSAGES_MAX];
    let full = Body::Frame(forged(&world, 3, full));
    assert!(full.encode_size() <= FRAME_BYTES_MAX);
    let one = Body::Frame(forged(&world, 3, vec![Bytes::from(vec![1; MESSAGE_BYTES_MAX])]));
    assert!(one.encode_size() <= FRAME_BYTES_MAX);
    for packet in [empty, full, one, Body::Local(tale(3, 4))] {
        assert_eq!(Body::from_wire(packet.to_wire()).expect("decodes"), packet);
    }
    let short = Body::Frame(forged(&world, 3, vec![Bytes::from_static(b"abc")])).to_wire();
    for cut in 0..short.len() {
        assert!(Body::from_wire(short.slice(..cut)).is_err(), "no prefix decodes");
    }
}

#[test]
fn one_message_to_all_is_held_once() {
    let mut world = World::up(4, 1, CALM);
    world.run(100);
    world.records_frames = true;
    world.say(p(0), Target::Others, tale(1, 100_000));
    let starts: std::collections::BTreeSet<_> = (world.seen.iter())
        .filter_map(|(_, _, body)| match body {
            Body::Frame(frame) => Some(frame.messages.first()?.bytes().as_ptr()),
            Body::Local(_) => None,
        })
        .collect();
    assert_eq!((world.seen.len(), starts.len()), (3, 1));
}

#[test]
#[should_panic(expected = "a protocol's messages fit a frame")]
fn a_protocol_that_sends_too_much_at_once_is_a_mistake_of_ours() {
    let mut world = World::up(4, 1, CALM);
    world.say(p(0), Target::All, Tale { ..tale(1, MESSAGE_BYTES_MAX) });
}
