//! Groups of which nobody wants anything.

use crate::running;
use crate::support::{Load, Town, wait_until};
use maftia::process;
use std::time::{Duration, Instant};

/// How long silence is listened to.
const SILENCE: Duration = Duration::from_secs(60);

/// A group that has not sent anything for so long has nothing more to say. Links repeat a few times
/// what the dead server does not acknowledge, and when round trips were long, because the machine
/// was busy, five seconds may lie between two tries.
const SETTLED: Duration = Duration::from_secs(8);

/// Messages of protocols that the servers that run have sent to each other; keep-alives are none.
fn protocol_messages(town: &Town) -> u64 {
    let running = (0..4).filter_map(|index| town.server(index));
    running
        .map(|server| {
            let page = process::get(server.http(), "/metrics").unwrap();
            let counter = page.lines().find_map(|line| {
                line.strip_prefix("engine_protocol_messages_out_total")?.trim().parse::<u64>().ok()
            });
            counter.expect("every server counts its messages")
        })
        .sum()
}

/// Gives the group something to do, and waits until all talk about it is over.
fn work_and_settle(town: &mut Town) -> u64 {
    let load = Load::start(town, 2, 2);
    load.wait_for(20);
    load.settle();
    town.stamp(0);
    let (mut count, mut since) = (protocol_messages(town), Instant::now());
    wait_until("the servers fall silent", || {
        let now = protocol_messages(town);
        if now != count {
            (count, since) = (now, Instant::now());
        }
        since.elapsed() >= SETTLED
    });
    assert!(count > 0, "whoever worked has spoken");
    count
}

#[test]
fn an_idle_group_sends_no_protocol_message_in_a_minute_whole_or_with_a_server_down() {
    let (mut whole, mut less) = (running(4), running(4));
    less.kill([1]);
    let settled = (work_and_settle(&mut whole), work_and_settle(&mut less));
    // The one thing here that no condition can stand for: that nothing happens.
    std::thread::sleep(SILENCE);
    let later = (protocol_messages(&whole), protocol_messages(&less));
    assert_eq!(settled, later, "messages of the whole group, and of the one with a server down");
    // And it is silence, not death.
    whole.stamp(3);
    less.stamp(3);
    whole.stop_all().unwrap();
    less.stop_all().unwrap();
}
