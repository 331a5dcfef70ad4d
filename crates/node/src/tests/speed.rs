//! What the log costs on a real disk, and that what went through it at speed is all there.

use crate::journal::{Journal, LogConfig};
use bytes::Bytes;
use commonware_runtime::tokio::{Config, Context, Runner};
use commonware_runtime::{Blob as _, Runner as _, Storage as _, Supervisor as _, WriteOptions};
use maftia_base::wire::{Blob, Wire};
use std::time::{Duration, Instant};

/// A record of the usual size of a small batch, which says where it belongs.
fn record(position: u64) -> Bytes {
    let mut body = position.to_be_bytes().to_vec();
    body.resize(510, position as u8);
    Blob::<512>::new(body).expect("short enough").to_wire()
}

/// Does `one` so many times; says how long it took.
async fn time(what: &str, times: usize, mut one: impl AsyncFnMut(usize)) {
    let mut all = Vec::with_capacity(times);
    for index in 0..times {
        let started = Instant::now();
        one(index).await;
        all.push(started.elapsed());
    }
    let total: Duration = all.iter().sum();
    all.sort_unstable();
    let [median, most, nearly_all] = [50, 90, 99].map(|share| all[(times - 1) * share / 100]);
    let worst = all[times - 1];
    println!(
        "{what}: {:.0}/s, median {median:?}, 90 % {most:?}, 99 % {nearly_all:?}, worst {worst:?}",
        times as f64 / total.as_secs_f64()
    );
}

/// Small writes that nobody syncs, as the watermark is one.
async fn time_writes(context: &Context) {
    let (blob, _) = context.open("writes", b"blob").await.expect("opens");
    time("write without sync", 2_000, async |_| {
        blob.write_at(0, vec![7; 52], WriteOptions::default()).await.expect("writes");
    })
    .await;
    time("durable write", 2_000, async |_| {
        blob.write_at(0, vec![7; 552], WriteOptions::SYNC).await.expect("writes");
    })
    .await;
}

#[test]
fn what_was_committed_at_speed_is_all_there() {
    let (lone, batches) = (2_000_u64, 3_000_u64);
    let config = || LogConfig::new("log", "me");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = || Runner::new(Config::new().with_storage_directory(folder.path()));
    runtime().start(|context| async move {
        time_writes(&context).await;
        let mut journal = Journal::open(context.child("log"), config()).await.expect("opens");
        journal.replay(|_, _: Blob<512>| panic!("it is empty")).await.expect("replays");
        let mut journal = Some(journal);
        let mut commit = async |count: u64| {
            let open = journal.take().expect("it was put back");
            let end = open.positions().end;
            let records: Vec<_> = (end..end + count).map(record).collect();
            journal = Some(open.commit(&records, count == 0).await.expect("commits"));
        };
        time("commit of 1", lone as usize, async |_| commit(1).await).await;
        time("commit of 100", batches as usize, async |_| commit(100).await).await;
        commit(0).await;
    });
    runtime().start(|context| async move {
        let started = Instant::now();
        let mut journal = Journal::open(context.child("log"), config()).await.expect("opens");
        println!("opening: {:?}", started.elapsed());
        let started = Instant::now();
        let mut next = 0_u64;
        let replayed = journal.replay(|position, found: Blob<512>| {
            assert_eq!((position, &found[..8]), (next, &next.to_be_bytes()[..]));
            next += 1;
        });
        replayed.await.expect("replays");
        assert_eq!(next, lone + 100 * batches);
        println!("replay: {:.0} records/s", next as f64 / started.elapsed().as_secs_f64());
    });
}
