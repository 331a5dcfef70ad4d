//! The write-ahead log of one server, on a contiguous journal of commonware-storage.
//!
//! # Promise
//! - Records are durable in the order in which they were appended: a crash leaves a prefix.
//! - What was reported durable is there after every crash, unless the disk itself loses it; then
//!   opening, replaying or reading fails and says what is damaged. Nothing is served from a
//!   damaged log.
//! - The log of one server is refused by every other, and so is an older copy of it.
//! - What lies before a record that a cut named is removed: the disk is bounded by what is appended
//!   between cuts, and a file of [`Layout::records_per_file`] more.
//!
//! # Rules
//! - R1. Group commit: everything that was appended while a commit was under way goes into the
//!   next one, and one report covers it.
//! - R2. A record is stored with its position and a digest that chains it to all before it (see
//!   `frame`); whose log it is, where it begins and how far it is durable is stored beside (see
//!   `guard`). Replay checks the whole chain and the watermark; a single read, the one record.
//! - R3. After [`Layout::checkpoint_bytes`] of records, and at the end, the library's recovery mark
//!   is moved, so that opening need not look at the whole log for torn writes; and the watermark is
//!   synced.
//! - R4. Old records are read between commits, at most [`READS_PER_COMMIT`] requests each time, so
//!   that a peer that asks for history cannot hold up the present.
//! - R5. A cut comes after the commit of all that was appended before it. First the new beginning
//!   is durable, then files before it are removed; opening finishes a cut that a crash
//!   interrupted.
//! - R6. Nothing is appended to a log that was not replayed: the watermark rises only over records
//!   that were checked or written in this run.
//!
//! # Why it holds
//! The library checks every page and item by CRC32 and cuts off what looks like a torn tail. It
//! cannot know whether that was ever durable; the watermark does, as long as the operating system
//! lives, and up to the last synced one after a loss of power. The chain finds pages that are sound
//! and not what was written last. Changed bytes in the head or the watermark leave the older of two
//! values, which demands less of the records and never lets any of them go.
//!
//! # Bounds
//! What no log can find out by itself: that all of it, watermark included, is a copy from earlier
//! in the same run. The file of [`crate::begun`] finds copies of earlier runs.

mod error;
mod frame;
mod guard;
mod inspect;
mod slots;
mod untouched;
mod writer;

use crate::storage::Fused;
use bytes::Bytes;
use commonware_codec::RangeCfg;
use commonware_runtime::ReadOptions;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::Context;
use commonware_storage::journal::Error as StorageError;
use commonware_storage::journal::contiguous::{Contiguous, Many, variable};
use commonware_utils::{NZU16, NZU64, NZUsize};
pub use error::{Damage, DamageKind, JournalError};
use frame::{Frame, Link};
use futures::StreamExt;
use guard::Guard;
pub use guard::{GUARD_SUFFIX, IDENTITY_BYTES_MAX};
pub use inspect::{Report, inspect, partitions};
use maftia_base::canary;
use maftia_base::wire::Wire;
use std::num::{NonZeroU16, NonZeroU64};
use std::ops::Range;
use std::pin::pin;
pub use writer::{LogWriter, READS_PER_COMMIT};

/// Largest record.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// Which log to open, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The log's name on the disk.
    pub partition: String,
    /// Whose log it is, in at most [`IDENTITY_BYTES_MAX`]; another's is refused.
    pub identity: Bytes,
    /// The last run of this server that there was, as somebody other than the log remembers it.
    pub begun: Option<u64>,
    /// The log before was given up: a new one may be begun though there was one.
    pub anew: bool,
    /// How it lies on the disk.
    pub layout: Layout,
}

impl LogConfig {
    /// The log called `partition` of the server that `identity` names; nobody remembers a run.
    pub fn new(partition: impl Into<String>, identity: impl Into<Bytes>) -> Self {
        let (partition, identity) = (partition.into(), identity.into());
        Self { partition, identity, begun: None, anew: false, layout: Layout::default() }
    }

    fn library(&self) -> variable::Config<RangeCfg<usize>> {
        variable::Config {
            partition: self.partition.clone(),
            items_per_section: self.layout.records_per_file,
            compression: None,
            codec_config: RangeCfg::from(0..=RECORD_BYTES_MAX),
            page_cache: CacheRef::new(self.layout.page_bytes, NZUsize!(256)),
            write_buffer: NZUsize!(1 << 20),
            replay_buffer: NZUsize!(1 << 20),
        }
    }
}

/// How a log lies on the disk. The first two must not change while there is a log.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Records in one file. A cut leaves at most so many before the beginning. A file is two
    /// descriptors, and to begin one takes as long as some thirty commits.
    pub records_per_file: NonZeroU64,
    /// Bytes in one page, next to its checksum.
    pub page_bytes: NonZeroU16,
    /// After so many bytes of records the recovery mark is moved.
    pub checkpoint_bytes: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            records_per_file: NZU64!(4 << 10),
            page_bytes: NZU16!(4084),
            checkpoint_bytes: 64 << 20,
        }
    }
}

/// The open log.
pub struct Journal<E: Context> {
    records: variable::Journal<Fused<E>, Frame>,
    rest: Rest<E::Blob>,
}

/// What is known about the records.
struct Rest<B> {
    guard: Guard<B>,
    /// What the next record is chained to.
    tip: Link,
    /// All records were replayed. (R6)
    checked: bool,
    layout: Layout,
}

impl<E: Context> std::fmt::Debug for Journal<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("label", self.label()).finish_non_exhaustive()
    }
}

impl<E: Context> Journal<E> {
    /// Opens the log, or begins it. (R2, R5)
    pub async fn open(context: E, config: LogConfig) -> Result<Self, JournalError> {
        let mut guard = Guard::open(&context, &config).await?;
        let storage =
            |source: StorageError, guard: &Guard<E::Blob>| guard.label().storage(None, source);
        let fused = Fused(context.child("records"));
        let records = variable::Journal::init(fused, config.library()).await;
        let records = records.map_err(|source| storage(source, &guard))?;
        guard.compare(records.bounds(), config.begun, config.anew).await?;
        let (start, tip) = guard.start();
        let (records, _) = records.prune(start).await.map_err(|source| storage(source, &guard))?;
        let rest = Rest { guard, tip, checked: false, layout: config.layout };
        let mut journal = Self { records, rest };
        if let Some(last) = journal.positions().last() {
            journal.rest.tip = journal.frame(last).await?.link;
        }
        Ok(journal)
    }

    /// True if there was no log before.
    pub fn is_fresh(&self) -> bool {
        self.rest.guard.is_fresh()
    }

    /// How often the log was opened for use, this time included.
    pub fn run(&self) -> u64 {
        self.rest.guard.run()
    }

    /// The positions of all records that count, from the last cut on.
    pub fn positions(&self) -> Range<u64> {
        self.rest.guard.start().0..self.records.size()
    }

    /// After so many bytes of records the recovery mark is to be moved.
    fn checkpoint_bytes(&self) -> usize {
        self.rest.layout.checkpoint_bytes
    }

    /// Hands every record to `each`, in order, and checks all of them. (R2)
    pub async fn replay<R: Wire>(
        &mut self,
        mut each: impl FnMut(u64, R),
    ) -> Result<(), JournalError> {
        let mut decoded = |position, payload| {
            each(position, R::from_wire(payload)?);
            Ok(())
        };
        self.check(&mut decoded).await
    }

    /// Checks every record, and hands it to `each`, which may refuse it.
    async fn check(
        &mut self,
        each: &mut (impl FnMut(u64, Bytes) -> Result<(), commonware_codec::Error> + ?Sized),
    ) -> Result<(), JournalError> {
        let (guard, positions) = (&self.rest.guard, self.positions());
        let (mut next, mut chain) = guard.start();
        let label = guard.label();
        guard.agrees(next, &chain)?;
        let options = ReadOptions::default();
        let stream = self.records.replay(positions.clone(), NZUsize!(1 << 20), options).await;
        let mut stream = pin!(stream.map_err(|source| label.storage(positions.clone(), source))?);
        while let Some(batch) = stream.next().await {
            let rest = next..positions.end;
            for (position, frame) in batch.map_err(|source| label.storage(rest, source))? {
                let one = next..next + 1;
                let checked = frame.check_after(position, &chain);
                checked.map_err(|kind| label.damaged(kind, one.clone(), "found by replaying"))?;
                (next, chain) = (position + 1, frame.link);
                guard.agrees(next, &chain)?;
                each(position, frame.payload).map_err(|error| {
                    label.damaged(DamageKind::Undecodable, one, error.to_string())
                })?;
            }
        }
        if next != positions.end {
            return Err(label.damaged(DamageKind::Lost, next..positions.end, "replay ended early"));
        }
        self.rest.tip = chain;
        self.rest.guard.raise(next, chain, true).await?;
        self.rest.checked = true;
        Ok(())
    }

    /// The record at `position`.
    pub(crate) async fn record<R: Wire>(&self, position: u64) -> Result<R, JournalError> {
        let frame = self.frame(position).await?;
        R::from_wire(frame.payload).map_err(|error| {
            let one = position..position + 1;
            self.label().damaged(DamageKind::Undecodable, one, error.to_string())
        })
    }

    async fn frame(&self, position: u64) -> Result<Frame, JournalError> {
        let (one, label) = (position..position + 1, self.label());
        let read = self.records.read(position).await;
        let frame = read.map_err(|source| label.storage(one.clone(), source))?;
        let checked = frame.check(position);
        checked.map_err(|kind| label.damaged(kind, one, "found by reading"))?;
        Ok(frame)
    }

    fn label(&self) -> &error::Label {
        self.rest.guard.label()
    }

    /// Makes `records` the first of a log that has none; answers whether it did.
    pub async fn begin_with(mut self, records: &[Bytes]) -> Result<(Self, bool), JournalError> {
        if self.records.size() > 0 {
            return Ok((self, false));
        }
        self.check(&mut |_, _| Ok(())).await?;
        Ok((self.commit(records, true).await?, true))
    }

    /// Appends `records` and makes them durable. (R2, R3, R6)
    pub async fn commit(self, records: &[Bytes], checkpoint: bool) -> Result<Self, JournalError> {
        let Self { records: mut journal, mut rest } = self;
        assert!(rest.checked, "a log is replayed before anything is appended");
        let first = journal.size();
        let frames = rest.chain(first, records);
        let end = first + frames.len() as u64;
        let result = async {
            if !frames.is_empty() {
                journal = journal.append_many(Many::Flat(&frames)).await?.0;
            }
            match checkpoint {
                true => journal.sync().await,
                false => canary!("node-commit-unsynced", Ok(journal), journal.commit().await),
            }
        };
        let journal =
            result.await.map_err(|source| rest.guard.label().storage(first..end, source))?;
        rest.guard.raise(end, rest.tip, checkpoint).await?;
        Ok(Self { records: journal, rest })
    }

    /// Forgets what lies before the record at `start`, which is durable. (R5)
    pub async fn cut(self, start: u64) -> Result<Self, JournalError> {
        if start <= self.positions().start {
            return Ok(self);
        }
        // Whatever is wrong with that record must show while the ones before it are still there.
        let before = self.frame(start).await?.before;
        let Self { records, mut rest } = self;
        rest.guard.begin_at(start, before).await?;
        let pruned = records.prune(start).await;
        let (records, _) = pruned.map_err(|source| rest.guard.label().storage(None, source))?;
        Ok(Self { records, rest })
    }
}

impl<B> Rest<B> {
    /// The records as they are stored from `first` on. (R2)
    fn chain(&mut self, first: u64, records: &[Bytes]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(records.len());
        for (position, record) in (first..).zip(records) {
            let frame = Frame::new(position, self.tip, record.clone());
            self.tip = frame.link;
            frames.push(frame);
        }
        frames
    }
}
