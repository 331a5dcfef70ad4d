//! Small logs for the tests of the journal, and their bytes.

use crate::journal::{Journal, JournalError, Layout, LogConfig, partitions};
use bytes::Bytes;
use commonware_runtime::deterministic::{Checkpoint, Context, FaultConfig, PartialWriteMode};
use commonware_runtime::deterministic::{Runner, WriteConfig};
use commonware_runtime::{Blob as _, ReadOptions, Storage as _, Supervisor as _, WriteOptions};
use commonware_storage::Context as StorageContext;
use commonware_utils::{NZU16, NZU64, Probability, probability};
use maftia_base::wire::{Blob, Wire};
use std::collections::BTreeMap;

/// Files of few records and small pages, so that a small log has many of both.
pub(crate) const SMALL: Layout =
    Layout { records_per_file: NZU64!(4), page_bytes: NZU16!(52), checkpoint_bytes: 150 };

pub(crate) fn config(partition: &str, begun: Option<u64>) -> LogConfig {
    LogConfig { begun, layout: SMALL, ..LogConfig::new(partition, "me") }
}

/// The content of the record at `position`: differs from that of every other in length or bytes.
pub(crate) fn content(position: u64) -> Vec<u8> {
    let len = 1 + position as usize * 7 % 23;
    (0..len).map(|index| (position as usize * 31 + index) as u8).collect()
}

pub(crate) fn record(position: u64) -> Bytes {
    Blob::<64>::new(content(position)).expect("short").to_wire()
}

/// What a replay found.
pub(crate) type Found = BTreeMap<u64, Vec<u8>>;

/// Opens and replays.
pub(crate) async fn open<E: StorageContext>(
    context: E,
    config: LogConfig,
) -> Result<(Journal<E>, Found), JournalError> {
    let mut journal = Journal::open(context, config).await?;
    let mut found = Found::new();
    journal
        .replay(|position, bytes: Blob<64>| drop(found.insert(position, bytes.to_vec())))
        .await?;
    Ok((journal, found))
}

/// Appends the records at the next `count` positions.
pub(crate) async fn append<E: StorageContext>(
    journal: Journal<E>,
    count: u64,
    checkpoint: bool,
) -> Result<Journal<E>, JournalError> {
    let end = journal.positions().end;
    let records: Vec<_> = (end..end + count).map(record).collect();
    journal.commit(&records, checkpoint).await
}

/// A machine that stops: how much of what is not synced reaches the disk.
pub(crate) fn retain(context: &Context, share: Probability) {
    let write = WriteConfig {
        failure_rate: probability!(0.0),
        retention_rate: share,
        mode: PartialWriteMode::Subset,
    };
    *context.storage_fault_config().write() = FaultConfig::default().write(write);
}

/// A process that is killed leaves all that it wrote to the operating system.
pub(crate) const ALL: Probability = probability!(1.0);

/// Where in the log: which of its partitions, and the name of the blob.
pub(crate) type Place = (usize, Vec<u8>);

/// The bytes of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) BTreeMap<Place, Vec<u8>>);

impl Image {
    pub(crate) async fn read(context: &Context, log: &str) -> Self {
        let mut blobs = BTreeMap::new();
        for (index, partition) in partitions(log).iter().enumerate() {
            for name in context.scan(partition).await.unwrap_or_default() {
                let (blob, size) = context.open(partition, &name).await.expect("opens");
                let read = blob.read_at(0, size as usize, ReadOptions::default()).await;
                let bytes = read.expect("reads").coalesce().as_ref().to_vec();
                blobs.insert((index, name), bytes);
            }
        }
        Self(blobs)
    }

    /// Puts these bytes where the log called `log` is, and nothing else.
    pub(crate) async fn write(&self, context: &Context, log: &str) {
        let partitions = partitions(log);
        for partition in &partitions {
            let _ = context.remove(partition, None).await;
        }
        for ((index, name), bytes) in &self.0 {
            let (blob, _) = context.open(&partitions[*index], name).await.expect("opens");
            let written = blob.write_at(0, bytes.clone(), WriteOptions::default()).await;
            written.expect("writes");
            blob.sync().await.expect("syncs");
        }
    }

    /// Opens a log of these bytes.
    pub(crate) async fn open(
        &self,
        context: &Context,
        begun: Option<u64>,
    ) -> Result<(Journal<Context>, Found), JournalError> {
        self.write(context, "copy").await;
        open(context.child("copy"), config("copy", begun)).await
    }

    /// This image with other bytes in one place.
    pub(crate) fn with(&self, place: &Place, bytes: Vec<u8>) -> Self {
        let mut image = self.clone();
        image.0.insert(place.clone(), bytes);
        image
    }
}

/// Runs `script`, then kills the process; returns the bytes that it leaves.
pub(crate) fn image_after<F: Future<Output = ()>>(
    from: Option<Checkpoint>,
    script: impl FnOnce(Context) -> F,
) -> (Image, Checkpoint) {
    let runner = from.map_or_else(|| Runner::seeded(1), Runner::from);
    let ((), checkpoint) = runner.start_and_recover(|context| async move {
        retain(&context, ALL);
        script(context.child("script")).await;
    });
    Runner::from(checkpoint)
        .start_and_recover(|context| async move { Image::read(&context, "log").await })
}
