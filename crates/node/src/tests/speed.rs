//! What the log costs on a real disk, and that what went through it at speed is all there.

use crate::journal::{Journal, LogConfig};
use bytes::Bytes;
use commonware_runtime::tokio::{Config, Runner};
use commonware_runtime::{Runner as _, Supervisor as _};
use maftia_base::wire::{Blob, Wire};
use std::time::{Duration, Instant};

/// A record of the usual size of a small batch, which says where it belongs.
fn record(position: u64) -> Bytes {
    let mut body = position.to_be_bytes().to_vec();
    body.resize(510, position as u8);
    Blob::<512>::new(body).expect("short enough").to_wire()
}

#[test]
fn what_was_committed_at_speed_is_all_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = || Runner::new(Config::new().with_storage_directory(folder.path()));
    let config = || LogConfig::new("log", "me");
    let (lone, bulk) = (2_000_u64, 400_000_u64);
    runtime().start(|context| async move {
        let mut journal = Journal::open(context.child("log"), config()).await.expect("opens");
        journal.replay(|_, _: Blob<512>| panic!("it is empty")).await.expect("replays");
        let mut times = Vec::new();
        for position in 0..lone {
            let records = [record(position)];
            let started = Instant::now();
            journal = journal.commit(&records, false).await.expect("commits");
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let of = |share: usize| times[(times.len() - 1) * share / 100];
        println!("commit of one: median {:?}, 90 % {:?}, 99 % {:?}", of(50), of(90), of(99));
        let started = Instant::now();
        let mut slowest = Duration::ZERO;
        for first in (lone..lone + bulk).step_by(100) {
            let records: Vec<_> = (first..first + 100).map(record).collect();
            let one = Instant::now();
            journal = journal.commit(&records, false).await.expect("commits");
            slowest = slowest.max(one.elapsed());
        }
        let rate = bulk as f64 / started.elapsed().as_secs_f64();
        println!("commits of 100: {rate:.0} records/s, slowest {slowest:?}");
        journal.commit(&[], true).await.expect("closes");
    });
    runtime().start(|context| async move {
        let started = Instant::now();
        let mut journal = Journal::open(context.child("log"), config()).await.expect("opens");
        println!("opening: {:?}", started.elapsed());
        let started = Instant::now();
        let mut next = 0_u64;
        journal
            .replay(|position, found: Blob<512>| {
                assert_eq!((position, &found[..8]), (next, &next.to_be_bytes()[..]));
                next += 1;
            })
            .await
            .expect("replays");
        assert_eq!(next, lone + bulk);
        let rate = next as f64 / started.elapsed().as_secs_f64();
        println!("replay: {rate:.0} records/s");
    });
}
