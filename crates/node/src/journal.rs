//! The write-ahead log of one server, on a contiguous journal of commonware-storage.
//!
//! # Promise
//! - Records are durable in the order in which they were appended: a crash leaves a prefix.
//! - What was reported durable is there after every crash, unless the disk itself loses it; then
//!   opening fails and says what is damaged. Nothing is served from a damaged log.
//! - The log of one server is refused by every other.
//!
//! # Rules
//! - R1. Group commit: everything that was appended while a commit was under way goes into the
//!   next one, and one report covers it.
//! - R2. The first item is the identity of the server; records follow it.
//! - R3. After [`CHECKPOINT_BYTES`] of records, and at the end, the library's recovery mark is
//!   moved, so that opening need not look at the whole log for torn writes.
//! - R4. Old records are read between commits, at most [`READS_PER_COMMIT`] requests each time, so
//!   that a peer that asks for history cannot hold up the present.
//!
//! The library checks every page and every item by CRC32 and cuts off a torn tail.

use crate::Driven;
use crate::archive::ArchiveIndex;
use crate::host::{Host, Recall, Recalled};
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use bytes::Bytes;
use commonware_codec::RangeCfg;
use commonware_runtime::ReadOptions;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::Context;
use commonware_storage::journal::Error as StorageError;
use commonware_storage::journal::contiguous::{Contiguous, Many, variable};
use commonware_utils::{NZU16, NZU64, NZUsize};
use futures::StreamExt;
use maftia_base::wire::Wire;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use tokio::sync::mpsc;

/// Largest record.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// Records in one file of the log.
const RECORDS_PER_FILE: u64 = 16 << 10;

/// After so many bytes the recovery mark is moved.
const CHECKPOINT_BYTES: usize = 64 << 20;

/// Requests for old records that are answered between two commits.
const READS_PER_COMMIT: usize = 4;

/// Why the log cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk or the file system failed, or stored bytes are not what was written.
    #[error(
        "the log '{partition}' is damaged or cannot be accessed: {source}. If the disk is full or \
         away, mend that and start again. If the log is damaged, keep a copy, and do not start \
         this server with an older or an empty one: it would contradict what it signed. Count it \
         as taken over"
    )]
    Storage {
        /// Which log.
        partition: String,
        /// What the library found.
        source: StorageError,
    },
    /// A record that was written does not decode.
    #[error(
        "record {position} of the log '{partition}' does not decode ({reason}): it was written by \
         another version, or is damaged in a way that its checksum does not show"
    )]
    Record {
        /// Which log.
        partition: String,
        /// Which record.
        position: u64,
        /// Why.
        reason: String,
    },
    /// The log is another server's.
    #[error(
        "the log '{partition}' belongs to another server or group: it starts with {found:02x?}; \
         start this server with its own data directory"
    )]
    Foreign {
        /// Which log.
        partition: String,
        /// Whose it is.
        found: Vec<u8>,
    },
}

/// The open log.
pub struct Journal<E: Context> {
    journal: variable::Journal<E, Bytes>,
    partition: String,
    fresh: bool,
}

impl<E: Context> std::fmt::Debug for Journal<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl<E: Context> Journal<E> {
    /// Opens the log called `partition` of the server that `identity` names, or creates it. (R2)
    pub async fn open(context: E, partition: &str, identity: Bytes) -> Result<Self, JournalError> {
        let storage = |source| JournalError::Storage { partition: partition.to_owned(), source };
        let config = variable::Config {
            partition: partition.to_owned(),
            items_per_section: NZU64!(RECORDS_PER_FILE),
            compression: None,
            codec_config: RangeCfg::from(0..=RECORD_BYTES_MAX),
            page_cache: CacheRef::new(NZU16!(4084), NZUsize!(256)),
            write_buffer: NZUsize!(1 << 20),
            replay_buffer: NZUsize!(1 << 20),
        };
        let mut journal = variable::Journal::init(context, config).await.map_err(storage)?;
        let fresh = journal.size() == 0;
        if fresh {
            journal = journal.append(&identity).await.map_err(storage)?.0;
            journal = journal.sync().await.map_err(storage)?;
        } else {
            let found = journal.read(0).await.map_err(storage)?;
            if found != identity {
                let (partition, found) = (partition.to_owned(), found.to_vec());
                return Err(JournalError::Foreign { partition, found });
            }
        }
        Ok(Self { journal, partition: partition.to_owned(), fresh })
    }

    /// True if there was no log before.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Number of records.
    pub fn len(&self) -> u64 {
        self.journal.size() - 1
    }

    /// True if there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands every record to `each`, in order.
    pub async fn replay<R: Wire>(&self, mut each: impl FnMut(u64, R)) -> Result<(), JournalError> {
        let range = 1..self.journal.size();
        let options = ReadOptions::default();
        let stream = self.journal.replay(range, NZUsize!(1 << 20), options).await;
        let mut stream = pin!(stream.map_err(|source| self.storage(source))?);
        while let Some(batch) = stream.next().await {
            for (position, bytes) in batch.map_err(|source| self.storage(source))? {
                each(position - 1, self.decode(position - 1, bytes)?);
            }
        }
        Ok(())
    }

    /// The record at `position`.
    async fn record<R: Wire>(&self, position: u64) -> Result<R, JournalError> {
        let bytes = self.journal.read(position + 1).await;
        self.decode(position, bytes.map_err(|source| self.storage(source))?)
    }

    fn decode<R: Wire>(&self, position: u64, bytes: Bytes) -> Result<R, JournalError> {
        R::from_wire(bytes).map_err(|error| JournalError::Record {
            partition: self.partition.clone(),
            position,
            reason: error.to_string(),
        })
    }

    fn storage(&self, source: StorageError) -> JournalError {
        JournalError::Storage { partition: self.partition.clone(), source }
    }

    /// Appends `records` and makes them durable.
    async fn commit(self, records: &[Bytes], checkpoint: bool) -> Result<Self, JournalError> {
        let Self { mut journal, partition, fresh } = self;
        let result = async {
            if !records.is_empty() {
                journal = journal.append_many(Many::Flat(records)).await?.0;
            }
            if checkpoint { journal.sync().await } else { journal.commit().await }
        };
        match result.await {
            Ok(journal) => Ok(Self { journal, partition, fresh }),
            Err(source) => Err(JournalError::Storage { partition, source }),
        }
    }
}

/// What the engine asks of the log.
#[derive(Debug)]
enum Order {
    Append(Vec<Bytes>),
    Read(Recall, Option<u64>),
    Close,
}

/// The engine's end of the log, with the index of what can be recalled.
#[derive(Debug)]
pub struct LogWriter {
    orders: mpsc::UnboundedSender<Order>,
    index: ArchiveIndex,
    end: u64,
}

impl LogWriter {
    /// The writing end, and the task that must be run for it.
    pub fn new<E: Context, P: Driven>(
        journal: Journal<E>,
        index: ArchiveIndex,
        inbox: Inbox<P>,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (orders, received) = mpsc::unbounded_channel();
        let end = journal.len();
        (Self { orders, index, end }, serve(journal, received, inbox, metrics))
    }

    /// Appends records; the inbox is told when they are durable.
    pub fn append<P: Driven, H: Host<P>>(&mut self, records: Vec<P::Record>) -> usize {
        let mut bytes = 0;
        let mut encoded = Vec::with_capacity(records.len());
        for record in records {
            if let Some(key) = H::archive_key(&record) {
                self.index.insert(key, self.end);
            }
            self.end += 1;
            let record = record.to_wire();
            assert!(record.len() <= RECORD_BYTES_MAX, "every record fits the log");
            bytes += record.len();
            encoded.push(record);
        }
        // If the log is gone, its task has reported why, and the engine is about to read that.
        let _ = self.orders.send(Order::Append(encoded));
        bytes
    }

    /// Reads an old record; it comes to the inbox.
    pub fn recall(&self, recall: Recall) {
        let _ = self.orders.send(Order::Read(recall, self.index.position(recall.key)));
    }

    /// Ends the task once everything is durable.
    pub fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }
}

/// Commits, reports, reads; in this order, until closed. (R1, R3, R4)
async fn serve<E: Context, P: Driven>(
    mut journal: Journal<E>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    inbox: Inbox<P>,
    metrics: Arc<Metrics>,
) {
    let (mut records, mut reads) = (Vec::new(), VecDeque::new());
    let (mut since_checkpoint, mut closing) = (0, false);
    while !closing {
        let first = if reads.is_empty() { orders.recv().await } else { orders.try_recv().ok() };
        closing = first.is_none() && reads.is_empty();
        let mut next = first;
        while let Some(order) = next {
            match order {
                Order::Append(more) => records.extend(more),
                Order::Read(recall, place) => reads.push_back((recall, place)),
                Order::Close => closing = true,
            }
            next = orders.try_recv().ok();
        }
        if !records.is_empty() || closing {
            let started = Instant::now();
            let bytes: usize = records.iter().map(Bytes::len).sum();
            since_checkpoint += bytes;
            let checkpoint = closing || since_checkpoint >= CHECKPOINT_BYTES;
            journal = match journal.commit(&records, checkpoint).await {
                Ok(journal) => journal,
                Err(error) => return inbox.fail(error.to_string()),
            };
            if checkpoint {
                since_checkpoint = 0;
            }
            metrics.committed(records.len(), bytes, started.elapsed());
            records.clear();
            inbox.durable(journal.len());
        }
        for (recall, place) in (0..READS_PER_COMMIT).map_while(|_| reads.pop_front()) {
            match read(&journal, recall, place).await {
                Ok(recalled) => inbox.recalled(recalled),
                Err(error) => return inbox.fail(error.to_string()),
            }
        }
    }
}

async fn read<E: Context, P: Driven>(
    journal: &Journal<E>,
    recall: Recall,
    place: Option<u64>,
) -> Result<Recalled<P>, JournalError> {
    // What is not yet durable is still in the protocol's memory.
    let record = match place.filter(|position| *position < journal.len()) {
        Some(position) => Some(journal.record(position).await?),
        None => None,
    };
    Ok(Recalled { to: recall.to, key: recall.key, record })
}
