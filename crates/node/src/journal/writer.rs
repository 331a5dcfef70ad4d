//! The engine's end of the log, and the task that commits, cuts and reads.

use super::{Journal, JournalError, RECORD_BYTES_MAX};
use crate::Driven;
use crate::archive::{ArchiveIndex, ArchiveKey};
use crate::host::{Host, Recall, Recalled};
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use bytes::Bytes;
use commonware_storage::Context;
use maftia_base::wire::Wire;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Requests for old records that are answered between two commits.
pub const READS_PER_COMMIT: usize = 4;

/// What the engine asks of the log.
#[derive(Debug)]
enum Order {
    Append(Vec<Bytes>),
    Read(Recall, Option<u64>),
    Cut(u64),
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
        let end = journal.positions().end;
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

    /// Forgets what was appended before the record called `key`; nothing if there is none.
    pub fn cut(&mut self, key: ArchiveKey) {
        if let Some(start) = self.index.position(key) {
            self.index.forget(start);
            let _ = self.orders.send(Order::Cut(start));
        }
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

/// What the task has still to do.
#[derive(Debug, Default)]
struct Todo {
    records: Vec<Bytes>,
    reads: VecDeque<(Recall, Option<u64>)>,
    cut: Option<u64>,
    closing: bool,
}

impl Todo {
    fn add(&mut self, order: Order) {
        match order {
            Order::Append(more) => self.records.extend(more),
            Order::Read(recall, place) => self.reads.push_back((recall, place)),
            Order::Cut(start) => self.cut = self.cut.max(Some(start)),
            Order::Close => self.closing = true,
        }
    }
}

/// Commits, reports, cuts, reads; in this order, until closed. (R1, R3, R4, R5)
async fn serve<E: Context, P: Driven>(
    journal: Journal<E>,
    orders: mpsc::UnboundedReceiver<Order>,
    inbox: Inbox<P>,
    metrics: Arc<Metrics>,
) {
    if let Err(error) = try_serve(journal, orders, &inbox, &metrics).await {
        inbox.fail(error.to_string());
    }
}

async fn try_serve<E: Context, P: Driven>(
    mut journal: Journal<E>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    inbox: &Inbox<P>,
    metrics: &Metrics,
) -> Result<(), JournalError> {
    let mut todo = Todo::default();
    let mut since_checkpoint = 0;
    while !todo.closing {
        let idle = todo.reads.is_empty();
        let mut next = if idle { orders.recv().await } else { orders.try_recv().ok() };
        todo.closing = next.is_none() && idle;
        while let Some(order) = next {
            todo.add(order);
            next = orders.try_recv().ok();
        }
        if !todo.records.is_empty() || todo.closing {
            let started = Instant::now();
            let bytes: usize = todo.records.iter().map(Bytes::len).sum();
            since_checkpoint += bytes;
            let checkpoint = todo.closing || since_checkpoint >= journal.checkpoint_bytes();
            journal = journal.commit(&todo.records, checkpoint).await?;
            if checkpoint {
                since_checkpoint = 0;
            }
            metrics.committed(todo.records.len(), bytes, started.elapsed());
            todo.records.clear();
            inbox.durable(journal.positions().end);
        }
        if let Some(start) = todo.cut.take() {
            journal = journal.cut(start).await?;
        }
        for _ in 0..READS_PER_COMMIT {
            if let Some((recall, place)) = todo.reads.pop_front() {
                inbox.recalled(read(&journal, recall, place).await?);
            }
        }
    }
    Ok(())
}

async fn read<E: Context, P: Driven>(
    journal: &Journal<E>,
    recall: Recall,
    place: Option<u64>,
) -> Result<Recalled<P>, JournalError> {
    // What is not yet durable is still in the protocol's memory, and what was cut is nowhere.
    let record = match place.filter(|position| journal.positions().contains(position)) {
        Some(position) => Some(journal.record(position).await?),
        None => None,
    };
    Ok(Recalled { to: recall.to, key: recall.key, record })
}
