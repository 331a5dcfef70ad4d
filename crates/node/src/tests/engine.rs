//! The whole engine with its log, in simulated time, on storage that loses what was not synced.

use super::hooked::{Hook, Hooked, Trouble};
use super::log::config;
use super::toy::{Ask, Command, Outcome, Record, Seen, Talker, Watcher, ask, group, key};
use crate::clock::SimulatedClock;
use crate::engine::{Engine, EngineError, Parts, no_trusted_component};
use crate::host::{Arrival, ConnectionId};
use crate::inbox::Inbox;
use crate::journal::{Journal, JournalError, LogConfig};
use crate::metrics::Metrics;
use crate::outbox::{Post, Posted, read_frame};
use crate::tamper::{Honest, Tamper};
use crate::watch::{ROOM_LEAST, Room};
use bytes::Bytes;
use commonware_runtime::deterministic::{Checkpoint, Context, Runner};
use commonware_runtime::{
    Clock as _, Handle, Metrics as _, Runner as _, Spawner as _, Supervisor as _,
};
use commonware_storage::Context as StorageContext;
use maftia_base::Party;
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// To whom, and which messages.
type Letter = (Party, Vec<u64>);

/// Keeps what was posted.
#[derive(Clone, Default)]
struct Mailbag(Arc<Mutex<Vec<Letter>>>);

impl Post for Mailbag {
    fn post(&mut self, to: Party, frame: &mut dyn FnMut() -> Bytes) -> Posted {
        let (messages, whole) = read_frame(frame());
        assert!(whole);
        self.0.lock().unwrap().push((to, messages));
        Posted::Taken
    }
}

impl Mailbag {
    fn to(&self, party: usize) -> Vec<u64> {
        let bag = self.0.lock().unwrap();
        bag.iter().filter(|(to, _)| to.index() == party).flat_map(|(_, m)| m.clone()).collect()
    }
}

struct Running {
    arrivals: mpsc::Sender<Arrival<Ask>>,
    inbox: Inbox<Talker>,
    seen: Seen,
    posted: Mailbag,
    room: Arc<Room>,
    engine: Handle<Result<Talker, EngineError>>,
}

async fn start(context: &Context) -> Running {
    start_with(context, Honest, 0).await
}

async fn start_with(context: &Context, tamper: impl Tamper<Talker>, threads: usize) -> Running {
    let log = LogConfig::new("log", "me");
    start_on(context, context.child("log"), log, tamper, threads).await
}

async fn start_on(
    context: &Context,
    disk: impl StorageContext,
    log: LogConfig,
    tamper: impl Tamper<Talker>,
    threads: usize,
) -> Running {
    let (sender, arrivals) = mpsc::channel(16);
    let (seen, posted, inbox) = (Seen::default(), Mailbag::default(), Inbox::new(4));
    let room = Arc::new(Room::default());
    let journal = Journal::open(disk, log);
    let parts = Parts {
        group: group(4, 0),
        host: Watcher(seen.clone()),
        arrivals,
        inbox: inbox.clone(),
        post: posted.clone(),
        clock: Arc::new(SimulatedClock::start(context.child("clock"))),
        tamper: Arc::new(tamper),
        run: Arc::new(|work| work.into_iter().map(|number| number * number).collect()),
        worker_threads: threads,
        consult: no_trusted_component(),
        room: Arc::clone(&room),
        metrics: Arc::new(Metrics::register(context)),
    };
    let journal = journal.await.expect("opens");
    let restored = Engine::restore(Talker::default(), journal, parts).await;
    let (engine, log) = restored.expect("replays");
    context.child("log_writer").spawn(|_| log);
    let engine = context.child("engine").spawn(|context| engine.run(context));
    Running { arrivals: sender, inbox, seen, posted, room, engine }
}

impl Running {
    async fn ask(&self, command: Command) {
        self.arrivals.send(ask(command)).await.expect("the engine listens");
    }

    async fn request(&self, request: Ask) {
        let arrival = Arrival::Request(ConnectionId(1), request);
        self.arrivals.send(arrival).await.expect("the engine listens");
    }

    /// Waits in simulated time until `done`.
    async fn until(&self, context: &Context, done: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if done(self) {
                return;
            }
            context.sleep(Duration::from_millis(1)).await;
        }
        panic!("never happened; seen {:?}", self.seen);
    }

    async fn stop(self) -> Talker {
        self.inbox.stop();
        self.engine.await.expect("not cancelled").expect("ends well")
    }
}

#[test]
fn what_was_sent_or_answered_is_in_the_log_after_a_crash_at_any_moment() {
    let mut crashed_midway = 0;
    for seed in 0..60 {
        let runner = Runner::seeded(seed);
        let ((posted, told), checkpoint) = runner.start_and_recover(move |context| async move {
            let running = start(&context).await;
            let arrivals = running.arrivals.clone();
            context.child("client").spawn(move |context| async move {
                for number in 0..40 {
                    arrivals.send(ask(Command::Say(number))).await.expect("the engine listens");
                    if number % 4 == 0 {
                        context.sleep(Duration::from_millis(1)).await;
                    }
                }
            });
            context.sleep(Duration::from_millis(seed)).await;
            let told = running.seen.look(|seen| seen.outcomes.clone());
            (running.posted.to(1), told)
        });
        crashed_midway += usize::from(!posted.is_empty() && posted.len() < 40);
        let said = restart_and_list(checkpoint);
        assert_eq!(said, (0..said.len() as u64).collect::<Vec<_>>(), "a prefix, in order");
        assert!(posted.iter().all(|number| said.contains(number)), "seed {seed}: sent, then lost");
        let answered = told.iter().filter_map(|outcome| match outcome {
            Outcome::Said(number) => Some(number),
            Outcome::Heard(..) => None,
        });
        for number in answered {
            assert!(said.contains(number), "seed {seed}: answered, then lost");
        }
    }
    assert!(crashed_midway > 5, "the crashes hit the interesting moments: {crashed_midway}");
}

/// Restarts on what the crash left; also sees that all of it is sent again.
fn restart_and_list(checkpoint: Checkpoint) -> Vec<u64> {
    Runner::from(checkpoint).start(|context| async move {
        let running = start(&context).await;
        let restored = running.seen.look(|seen| seen.restored.clone());
        running.until(&context, |running| running.posted.to(2).len() == restored.len()).await;
        let said = running.posted.to(2);
        let told = said.iter().map(|number| Outcome::Said(*number)).collect::<Vec<_>>();
        assert_eq!(restored, told);
        said
    })
}

#[test]
fn a_graceful_stop_leaves_nothing_undone() {
    let (said, checkpoint) = Runner::seeded(1).start_and_recover(|context| async move {
        let running = start(&context).await;
        for number in 0..16 {
            running.ask(Command::Say(number)).await;
        }
        running.until(&context, |running| running.arrivals.capacity() == 16).await;
        let (seen, posted) = (running.seen.clone(), running.posted.clone());
        let talker = running.stop().await;
        assert_eq!(posted.to(3), talker.said, "all was sent");
        assert_eq!(seen.look(|seen| seen.outcomes.len()), 2 * talker.said.len(), "and told");
        talker.said
    });
    assert_eq!(restart_and_list(checkpoint), said);
}

#[test]
fn results_of_work_come_back_from_threads_and_from_the_engine_alike() {
    for threads in [0, 2] {
        Runner::seeded(2).start(|context| async move {
            let running = start_with(&context, Honest, threads).await;
            for number in [3, 5, 9] {
                running.ask(Command::Square(number)).await;
            }
            let mut tries = 0;
            while running.posted.to(1).len() < 3 {
                // Threads run in real time, which simulated time does not wait for.
                std::thread::yield_now();
                context.sleep(Duration::from_millis(1)).await;
                tries += 1;
                assert!(tries < 1_000_000, "the results never came");
            }
            let mut sent = running.posted.to(1);
            sent.sort_unstable();
            assert_eq!(sent, [9, 25, 81]);
        });
    }
}

#[test]
fn timers_fire_by_the_engines_clock() {
    Runner::seeded(3).start(|context| async move {
        let running = start(&context).await;
        running.ask(Command::Later(1, 500)).await;
        context.sleep(Duration::from_millis(450)).await;
        assert!(running.posted.to(1).is_empty());
        context.sleep(Duration::from_millis(100)).await;
        assert_eq!(running.posted.to(1), [1]);
    });
}

#[test]
fn a_server_without_room_hears_nothing_and_does_not_spin_until_there_is_room_again() {
    Runner::default().start(|context| async move {
        let running = start(&context).await;
        running.ask(Command::Later(7, 10)).await;
        context.sleep(Duration::from_millis(5)).await;
        running.room.note(0);
        // What it was waiting for when the room went, it still takes.
        context.sleep(Duration::from_secs(2)).await;
        running.ask(Command::Say(9)).await;
        let before = counted(&context, "turns");
        context.sleep(Duration::from_secs(20)).await;
        let turns = counted(&context, "turns") - before;
        assert!(turns < 60, "{turns} turns in 20 s, with a timer due");
        assert_eq!(running.seen.look(|seen| seen.outcomes.len()), 0, "it writes nothing");
        running.room.note(2 * ROOM_LEAST);
        running.until(&context, |running| running.posted.to(1) == [7, 9]).await;
        running.stop().await;
    });
}

#[test]
fn old_records_are_read_from_the_log_also_after_a_restart() {
    let recall = |context: Context| async move {
        let running = start(&context).await;
        if running.seen.look(|seen| seen.restored.is_empty()) {
            for number in 0..10 {
                running.ask(Command::Say(number)).await;
            }
            running.until(&context, |running| running.posted.to(1).len() == 10).await;
        }
        for number in [4, 99] {
            running.request(Ask::Recall(number)).await;
        }
        running.until(&context, |r| r.seen.look(|seen| seen.recalled.len() == 2)).await;
        let recalled = running.seen.look(|seen| seen.recalled.clone());
        assert_eq!(recalled, [(key(4), Some(Record::Said(4))), (key(99), None)]);
        running.stop().await;
    };
    let ((), checkpoint) = Runner::seeded(4).start_and_recover(recall);
    Runner::from(checkpoint).start(recall);
}

#[test]
fn what_is_cut_off_can_no_longer_be_recalled_and_is_not_replayed() {
    let recall = async |running: &Running, context: &Context| {
        for number in [15, 29, 4, 30, 39, 99] {
            running.request(Ask::Recall(number)).await;
        }
        running.until(context, |r| r.seen.look(|seen| seen.recalled.len() == 6)).await;
        let recalled = running.seen.look(|seen| seen.recalled.clone());
        let said = |number| (key(number), Some(Record::Said(number)));
        let gone = |number| (key(number), None);
        assert_eq!(recalled, [gone(15), gone(29), gone(4), said(30), said(39), gone(99)]);
    };
    let ((), checkpoint) = Runner::seeded(10).start_and_recover(|context| async move {
        let running = start(&context).await;
        for number in 0..40 {
            running.ask(Command::Say(number)).await;
        }
        running.until(&context, |running| running.posted.to(1).len() == 40).await;
        // The further one counts, and what is not there cuts nothing.
        for number in [30, 16, 99] {
            running.request(Ask::Cut(number)).await;
        }
        recall(&running, &context).await;
        running.stop().await;
    });
    let ((), checkpoint) = Runner::from(checkpoint).start_and_recover(|context| async move {
        let running = start(&context).await;
        let restored = running.seen.look(|seen| seen.restored.clone());
        assert_eq!(restored, (30..40).map(Outcome::Said).collect::<Vec<_>>());
        recall(&running, &context).await;
        // Positions go on where they were: what follows waits for the log as before.
        running.ask(Command::Say(40)).await;
        running.until(&context, |r| r.posted.to(1).last() == Some(&40)).await;
        running.request(Ask::Recall(40)).await;
        running.until(&context, |r| r.seen.look(|seen| seen.recalled.len() == 7)).await;
        running.seen.look(|seen| assert_eq!(seen.recalled[6].1, Some(Record::Said(40))));
    });
    assert_eq!(restart_and_list(checkpoint), (30..=40).collect::<Vec<_>>());
}

#[test]
fn a_record_that_rots_ends_the_engine_when_a_peer_asks_for_it() {
    let ((), checkpoint) = Runner::seeded(11).start_and_recover(|context| async move {
        let disk = context.child("log");
        let running = start_on(&context, disk, config("log", None), Honest, 0).await;
        for number in 0..40 {
            running.ask(Command::Say(number)).await;
        }
        running.until(&context, |running| running.posted.to(1).len() == 40).await;
        running.stop().await;
    });
    Runner::from(checkpoint).start(|context| async move {
        let hook = Hook::default();
        let disk = Hooked { inner: context.child("log"), hook: hook.clone() };
        let running = start_on(&context, disk, config("log", Some(1)), Honest, 0).await;
        hook.set(Trouble::Rot);
        running.request(Ask::Recall(3)).await;
        let error = running.engine.await.expect("not cancelled").unwrap_err().to_string();
        assert!(error.contains("record 3 ") && error.contains("maftia repair"), "{error}");
    });
}

#[test]
fn a_full_disk_ends_the_engine_and_what_it_said_before_is_said_again() {
    let (posted, checkpoint) = Runner::seeded(12).start_and_recover(|context| async move {
        let hook = Hook::default();
        let disk = Hooked { inner: context.child("log"), hook: hook.clone() };
        let running = start_on(&context, disk, LogConfig::new("log", "me"), Honest, 0).await;
        hook.set(Trouble::FullAfter(20));
        let mut number = 0;
        while running.arrivals.send(ask(Command::Say(number))).await.is_ok() {
            number += 1;
        }
        let error = running.engine.await.expect("not cancelled").unwrap_err().to_string();
        assert!(error.contains("nothing is lost: make room"), "{error}");
        running.posted.to(1)
    });
    assert!(!posted.is_empty());
    let said = restart_and_list(checkpoint);
    assert_eq!(said[..posted.len()], posted);
}

#[test]
fn messages_of_peers_are_heard_in_order_and_a_flood_is_bounded() {
    Runner::seeded(5).start(|context| async move {
        let running = start(&context).await;
        assert!(running.inbox.messages(Party::new(1), vec![1, 2, 3], 24));
        running.until(&context, |r| r.seen.look(|seen| seen.outcomes.len() == 3)).await;
        let heard = running.seen.look(|seen| seen.outcomes.clone());
        assert_eq!(heard, [1, 2, 3].map(|number| Outcome::Heard(Party::new(1), number)));
        let large = 1 << 20;
        let taken = (0..100).filter(|_| running.inbox.messages(Party::new(2), vec![7], large));
        assert!(taken.count() <= 17);
        assert!(running.inbox.messages(Party::new(3), vec![8], 8), "others do not feel it");
        running.until(&context, |r| r.seen.look(|seen| seen.outcomes.len() == 5)).await;
        assert!(running.inbox.messages(Party::new(2), vec![9], 8), "there is room again");
    });
}

#[test]
fn the_log_of_another_server_is_refused() {
    Runner::seeded(6).start(|context| async move {
        let ours = Journal::open(context.child("first"), LogConfig::new("log", "me")).await;
        drop(ours.expect("opens"));
        let other = LogConfig { identity: "you".into(), ..LogConfig::new("log", "me") };
        let error = Journal::open(context.child("second"), other).await.unwrap_err();
        assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
    });
}

#[test]
fn a_broken_part_ends_the_engine_with_its_reason() {
    Runner::seeded(7).start(|context| async move {
        let running = start(&context).await;
        running.inbox.fail("the disk is on fire".into());
        let error = running.engine.await.expect("not cancelled").unwrap_err();
        assert_eq!(error.to_string(), "the disk is on fire");
    });
}

/// Says something else to one peer and nothing to another.
struct TwoFaced;

impl Tamper<Talker> for TwoFaced {
    fn outgoing<'m>(&self, to: Party, message: &'m u64) -> Option<Cow<'m, u64>> {
        match to.index() {
            1 => Some(Cow::Owned(message + 100)),
            2 => None,
            _ => Some(Cow::Borrowed(message)),
        }
    }
}

#[test]
fn the_seam_for_intruders_reaches_each_message_of_each_peer() {
    Runner::seeded(8).start(|context| async move {
        let running = start_with(&context, TwoFaced, 0).await;
        running.ask(Command::Say(1)).await;
        running.until(&context, |running| !running.posted.to(3).is_empty()).await;
        let sent = [1, 2, 3].map(|party| running.posted.to(party));
        assert_eq!(sent, [vec![101], vec![], vec![1]]);
    });
}

#[test]
fn a_commit_is_one_durable_write_and_a_watermark_that_nobody_waits_for() {
    Runner::seeded(9).start(|context| async move {
        let running = start(&context).await;
        let say = async |number: u64| {
            running.ask(Command::Say(number)).await;
            running.until(&context, |running| running.posted.to(1).len() > number as usize).await;
        };
        // The first commit may find something that opening left to be synced.
        say(0).await;
        let names = ["log_commits", "runtime_storage_writes", "runtime_storage_syncs"];
        let counts = || names.map(|name| counted(&context, name));
        let before = counts();
        for number in 1..=20 {
            say(number).await;
        }
        let after = counts();
        // The runtime counts a durable write as a write and as a sync.
        assert_eq!([0, 1, 2].map(|index| after[index] - before[index]), [20, 40, 20]);
    });
}

/// The value of a counter.
fn counted(context: &Context, name: &str) -> u64 {
    let (page, name) = (context.encode(), format!("{name}_total "));
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|value| value.parse().ok()).expect("it is counted")
}
