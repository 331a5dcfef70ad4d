//! Fused storage beside the storage that it wraps, also after crashes that tear what is not synced.

use crate::storage::{Fused, FusedBlob};
use commonware_runtime::deterministic::{
    Config, Context, FaultConfig, PartialWriteMode, Runner, WriteConfig,
};
use commonware_runtime::{
    Blob, Error, Handle, IoBufs, IoBufsMut, ReadOptions, Runner as _, Storage as _,
    Supervisor as _, WriteOptions,
};
use commonware_utils::probability;
use futures::TryStreamExt;
use rand_core::Rng;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Blobs of the test are at most so long.
const LENGTH_MAX: usize = 64;

/// What a blob contains, and what it may contain after a crash.
struct Model {
    content: Vec<u8>,
    /// Values that each place may have after a crash; 0 stands also for being beyond the end.
    values: Vec<BTreeSet<u8>>,
    lengths: BTreeSet<usize>,
}

impl Model {
    fn new() -> Self {
        let values = vec![BTreeSet::from([0]); LENGTH_MAX];
        Self { content: Vec::new(), values, lengths: BTreeSet::from([0]) }
    }

    fn write(&mut self, offset: usize, bytes: &[u8], durable: bool) {
        let end = offset + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[offset..end].copy_from_slice(bytes);
        for (place, byte) in (offset..).zip(bytes) {
            if durable {
                self.values[place].clear();
            }
            self.values[place].insert(*byte);
        }
        if durable {
            self.lengths = self.lengths.iter().map(|length| *length.max(&end)).collect();
        }
        self.lengths.insert(self.content.len());
    }

    fn resize(&mut self, length: usize) {
        self.content.resize(length, 0);
        for values in &mut self.values[length..] {
            values.insert(0);
        }
        self.lengths.insert(length);
    }

    fn sync(&mut self) {
        for (place, values) in self.values.iter_mut().enumerate() {
            *values = BTreeSet::from([self.content.get(place).copied().unwrap_or(0)]);
        }
        self.lengths = BTreeSet::from([self.content.len()]);
    }

    fn allows(&self, found: &[u8]) -> bool {
        let byte = |place: usize| found.get(place).copied().unwrap_or(0);
        (0..LENGTH_MAX).all(|place| self.values[place].contains(&byte(place)))
            // Of several changes that were not synced, any may have reached the disk.
            && self.lengths.first().is_some_and(|least| *least <= found.len())
            && self.lengths.last().is_some_and(|most| found.len() <= *most)
    }
}

async fn step(blob: &impl Blob, model: &mut Model, random: &mut Context) {
    let mut below = |bound: usize| random.next_u32() as usize % bound;
    let offset = below(LENGTH_MAX);
    let length = 1 + below(LENGTH_MAX - offset);
    match below(8) {
        0..3 => {
            let bytes: Vec<u8> = (0..length).map(|_| below(256) as u8).collect();
            let durable = below(4) == 0;
            let options = if durable { WriteOptions::SYNC } else { WriteOptions::default() };
            blob.write_at(offset as u64, bytes.clone(), options).await.expect("writes");
            model.write(offset, &bytes, durable);
        }
        3 => {
            blob.resize(offset as u64).await.expect("resizes");
            model.resize(offset);
        }
        4 => {
            blob.sync().await.expect("syncs");
            model.sync();
        }
        5 => {
            blob.start_sync().await.await.expect("syncs");
            model.sync();
        }
        way => {
            let expected = model.content.get(offset..offset + length);
            let found = read(blob, offset, length, way).await.ok();
            assert_eq!(found.as_deref(), expected, "a read sees all that was written");
        }
    }
}

/// Reads in one of several ways.
async fn read(blob: &impl Blob, offset: usize, len: usize, way: usize) -> Result<Vec<u8>, Error> {
    let (ranges, options) = ([(offset as u64, len)], ReadOptions::default());
    let bufs = match (way + len) % 3 {
        0 => blob.read_at(offset as u64, len, options).await?,
        1 => blob.start_read_many(&ranges, options).await.await?.remove(0),
        _ => {
            let mut all: Vec<_> = blob.read_many(&ranges, options).try_collect().await?;
            all.remove(0).1
        }
    };
    Ok(bufs.coalesce().as_ref().to_vec())
}

/// A disk that at a crash keeps any of the bytes that were not synced.
fn tearing() -> WriteConfig {
    WriteConfig {
        failure_rate: probability!(0.0),
        retention_rate: probability!(0.5),
        mode: PartialWriteMode::Subset,
    }
}

#[test]
fn what_was_synced_survives_a_crash_after_any_operations() {
    let mut lost = 0;
    for seed in 0..2_000 {
        let runner = Runner::new(Config::default().with_seed(seed));
        let (model, checkpoint) = runner.start_and_recover(|mut context| async move {
            let fused = Fused(context.child("fused"));
            let (blob, _) = fused.open("part", b"blob").await.expect("opens");
            *context.storage_fault_config().write() = FaultConfig::default().write(tearing());
            let mut model = Model::new();
            for _ in 0..1 + context.next_u32() % 24 {
                step(&blob, &mut model, &mut context).await;
            }
            model
        });
        let found = Runner::from(checkpoint).start(|context| async move {
            let (blob, length) = context.open("part", b"blob").await.expect("opens");
            let whole = blob.read_at(0, length as usize, ReadOptions::default()).await;
            whole.expect("reads").coalesce().as_ref().to_vec()
        });
        assert!(model.allows(&found), "seed {seed}: {found:?} after {:?}", model.content);
        lost += usize::from(found != model.content);
    }
    assert!(lost > 500, "the crashes hit the interesting moments: {lost}");
}

/// Notes what is asked of it, and does it.
struct Noting<B> {
    inner: B,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl<B: Blob> Noting<B> {
    fn note(&self, call: &'static str) {
        self.calls.lock().expect("no test panicked meanwhile").push(call);
    }
}

impl<B: Blob> Blob for Noting<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.note("read");
        self.inner.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.note("read");
        self.inner.read_at(offset, len, options).await
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let durable = options.contains(WriteOptions::SYNC);
        self.note(if durable { "durable write" } else { "write" });
        self.inner.write_at(offset, bufs, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.note("resize");
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.note("sync");
        self.inner.sync().await
    }

    async fn start_sync(&self) -> Handle<()> {
        self.note("sync");
        self.inner.start_sync().await
    }
}

#[test]
fn a_write_and_its_sync_are_one_call_unless_something_else_waits_for_the_disk() {
    Runner::default().start(|context| async move {
        let (inner, _) = context.open("part", b"blob").await.expect("opens");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let blob = FusedBlob::new(Noting { inner, calls: Arc::clone(&calls) });
        let called = || std::mem::take(&mut *calls.lock().expect("no test panicked meanwhile"));
        let plain = WriteOptions::default();
        blob.sync().await.expect("syncs");
        assert_eq!(called(), ["sync"], "whoever had it open before may have left something");
        blob.write_at(0, b"one", plain).await.expect("writes");
        assert!(called().is_empty(), "held back");
        blob.start_sync().await.await.expect("syncs");
        assert_eq!(called(), ["durable write"]);
        blob.sync().await.expect("syncs");
        assert!(called().is_empty(), "nothing to do");
        blob.write_at(3, b"two", plain).await.expect("writes");
        blob.write_at(6, b"three", plain).await.expect("writes");
        blob.sync().await.expect("syncs");
        assert_eq!(called(), ["write", "write", "sync"], "the first one was not durable");
        blob.resize(4).await.expect("resizes");
        blob.write_at(4, b"four", plain).await.expect("writes");
        blob.sync().await.expect("syncs");
        assert_eq!(called(), ["resize", "write", "sync"], "nor was the size");
        blob.write_at(8, b"five", plain).await.expect("writes");
        blob.read_at(8, 4, ReadOptions::default()).await.expect("reads");
        blob.sync().await.expect("syncs");
        assert_eq!(called(), ["write", "read", "sync"], "nor what had to be readable");
    });
}

#[test]
fn a_held_write_that_fails_fails_what_follows() {
    Runner::default().start(|context| async move {
        let fused = Fused(context.child("fused"));
        let (blob, _) = fused.open("part", b"blob").await.expect("opens");
        let failing = WriteConfig { failure_rate: probability!(1.0), ..tearing() };
        *context.storage_fault_config().write() = FaultConfig::default().write(failing);
        blob.write_at(0, b"lost", WriteOptions::default()).await.expect("is held back");
        blob.sync().await.expect_err("the write failed");
        *context.storage_fault_config().write() = FaultConfig::default();
        blob.sync().await.expect_err("nothing makes up for it");
        blob.write_at(0, b"more", WriteOptions::default()).await.expect_err("nor for what follows");
        blob.read_at(0, 0, ReadOptions::default()).await.expect_err("nor can it be read");
    });
}
