//! The simulated disk keeps what it promises, and nothing more.

use crate::whole::disk::{Disk, OnDisk};
use commonware_runtime::deterministic::{Context, Runner};
use commonware_runtime::{Blob, ReadOptions, Runner as _, Storage, Supervisor, WriteOptions};
use maftia_sim::Random;
use std::sync::Arc;
use tokio::sync::Notify;

fn disk(seed: u64) -> Disk {
    Disk::new(Random::new(seed), 1_000, Arc::new(Notify::new()))
}

async fn content(context: &Context, disk: &Disk) -> Vec<u8> {
    let (blob, len) = OnDisk::new(context.child("look"), disk).open("p", b"f").await.unwrap();
    let read = blob.read_at(0, len as usize, ReadOptions::default()).await.unwrap();
    read.coalesce().as_ref().to_vec()
}

#[test]
fn what_was_synced_survives_a_loss_of_power_and_what_was_not_may_or_may_not() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        Runner::seeded(seed).start(|context| async move {
            let disk = disk(seed);
            let (blob, _) = OnDisk::new(context.child("a"), &disk).open("p", b"f").await.unwrap();
            blob.write_at(0, vec![1; 1024], WriteOptions::default()).await.unwrap();
            blob.sync().await.unwrap();
            blob.write_at(0, vec![2; 1024], WriteOptions::default()).await.unwrap();
            disk.lose_power();
            assert!(blob.sync().await.is_err(), "a dead process does nothing");
            content(&context, &disk).await
        });
        let left = Runner::seeded(seed).start(|context| async move {
            let disk = disk(seed);
            let (blob, _) = OnDisk::new(context.child("a"), &disk).open("p", b"f").await.unwrap();
            blob.write_at(0, vec![1; 1024], WriteOptions::SYNC).await.unwrap();
            blob.write_at(0, vec![2; 1024], WriteOptions::default()).await.unwrap();
            disk.lose_power();
            content(&context, &disk).await
        });
        assert_eq!(left.len(), 1024, "nothing durable is gone");
        match (left[0], left[1023]) {
            (1, 1) => lost += 1,
            (2, 2) => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 30 && kept > 30 && torn > 10, "{lost} lost, {kept} kept, {torn} torn");
}

#[test]
fn what_a_killed_process_wrote_is_still_there() {
    Runner::seeded(1).start(|context| async move {
        let disk = disk(1);
        let (blob, _) = OnDisk::new(context.child("a"), &disk).open("p", b"f").await.unwrap();
        blob.write_at(0, vec![7; 10], WriteOptions::default()).await.unwrap();
        disk.close();
        assert_eq!(content(&context, &disk).await, [7; 10]);
    });
}

#[test]
fn a_disk_stops_at_the_operation_it_was_told_to_and_says_so() {
    Runner::seeded(1).start(|context| async move {
        let disk = disk(1);
        let (blob, _) = OnDisk::new(context.child("a"), &disk).open("p", b"f").await.unwrap();
        disk.stop_after(1);
        blob.write_at(0, vec![7; 10], WriteOptions::default()).await.unwrap();
        assert!(!disk.is_stopped());
        assert!(blob.sync().await.is_err() && disk.is_stopped());
    });
}
