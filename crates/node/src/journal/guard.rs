//! What is kept beside the records, so that one notices if some of them are missing.
//!
//! - The *head*: whose log it is, how often it was opened for use, and where it begins.
//! - The *watermark*: how far it is durable, and what it says up to there.
//!
//! # Rules
//! - R1. The head is durable before anything rests on it: the first one before any record, a new
//!   run before any record of that run, a new beginning before what lies below it is removed.
//! - R2. The first watermark is durable before the first head. Hence a head without a watermark is
//!   damage, and a watermark of no records without a head is an interrupted beginning.
//! - R3. The watermark never tells of a record that is not durable. It is written after each
//!   commit and not synced: when a process dies, the operating system still has it. It is synced
//!   when the library's recovery mark moves; after a loss of power it is at least that one.
//! - R4. The run of the head is raised before the file outside the log says so, and a log whose
//!   run is below the file's is refused. A crash between the two leaves the log one ahead, which
//!   is no reason to refuse it; a copy that was taken before the file last changed is behind.

use super::LogConfig;
use super::error::{DamageKind, JournalError, Label};
use super::frame::{Link, origin};
use super::slots::{Slots, Stored};
use commonware_runtime::Storage;
use maftia_base::canary;
use maftia_base::wire::{Blob, Wire};
use maftia_base::wire_struct;
use std::ops::Range;

/// Largest name of a server.
pub const IDENTITY_BYTES_MAX: usize = 1024;

/// How the name of the partition ends without which the rest of a log is none.
pub const GUARD_SUFFIX: &str = "_guard";

/// The partition that the head and the watermark of the log `partition` are in.
pub(super) fn partition_of(partition: &str) -> String {
    format!("{partition}{GUARD_SUFFIX}")
}

/// Whose log it is, and where it begins.
#[derive(Clone, Debug)]
struct Head {
    identity: Blob<IDENTITY_BYTES_MAX>,
    /// How often the log was opened for use.
    run: u64,
    /// The first record that counts.
    start: u64,
    /// What that record is chained to.
    before: Link,
}

wire_struct!(Head { identity, run, start, before });

/// How far the log is durable.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: u64,
    link: Link,
}

wire_struct!(Mark { end, link });

/// The head and the watermark of an open log.
#[derive(Debug)]
pub(super) struct Guard<B> {
    label: Label,
    head: Head,
    heads: Slots<B>,
    mark: Mark,
    marks: Slots<B>,
    /// There was no head on the disk.
    fresh: bool,
    /// A copy of the head cannot be read: it is torn or rotten.
    unreadable: bool,
}

impl<B: commonware_runtime::Blob> Guard<B> {
    /// Finds out whose log it is and whether it may be used; begins a run if there was a log. (R1)
    pub(super) async fn open(
        storage: &impl Storage<Blob = B>,
        config: &LogConfig,
    ) -> Result<Self, JournalError> {
        let label = Label(config.partition.clone());
        let partition = partition_of(&config.partition);
        let storage_error = |error| label.storage(None, error);
        let (heads, stored) =
            Slots::open(storage, &partition, "head").await.map_err(storage_error)?;
        let (marks, marked) =
            Slots::open(storage, &partition, "watermark").await.map_err(storage_error)?;
        let head: Option<Head> = decode(&label, "head", &stored)?;
        let mark: Option<Mark> = decode(&label, "watermark", &marked)?;
        let fresh = head.is_none();
        let before = origin(&config.identity);
        if fresh && mark.is_some_and(|mark| mark.end > 0) {
            let records = mark.map(|mark| 0..mark.end);
            return Err(label.damaged(DamageKind::Lost, records, "there is no head"));
        }
        if !fresh && mark.is_none() {
            // (R2)
            let kind = if marked.unreadable { DamageKind::Rotten } else { DamageKind::Lost };
            return Err(label.damaged(kind, None, "there is no watermark"));
        }
        let new = Head {
            identity: Blob::new(config.identity.clone()).expect("a name is short"),
            run: 0,
            start: 0,
            before,
        };
        let mut guard = Self {
            head: head.unwrap_or(new),
            heads,
            mark: mark.unwrap_or(Mark { end: 0, link: before }),
            marks,
            fresh,
            unreadable: stored.unreadable,
            label,
        };
        if !fresh {
            guard.admit(config)?;
            guard.head.run += 1;
            guard.save_head().await?;
        }
        Ok(guard)
    }

    /// Is this our log, and the latest one? (R4)
    fn admit(&self, config: &LogConfig) -> Result<(), JournalError> {
        let Self { label, head, .. } = self;
        if *head.identity != *config.identity {
            let (partition, found) = (label.0.clone(), head.identity.to_vec());
            return Err(JournalError::Foreign { partition, found });
        }
        match config.begun {
            Some(begun) if head.run < begun && self.unreadable => {
                Err(label.damaged(DamageKind::Rotten, None, "the last head cannot be read"))
            }
            Some(begun) if head.run < begun => {
                let (partition, found) = (label.0.clone(), head.run);
                Err(JournalError::Stale { partition, found, begun })
            }
            _ => Ok(()),
        }
    }

    /// Compares with what the library found; begins the log if there was none. (R1, R2, R3)
    pub(super) async fn compare(
        &mut self,
        stored: Range<u64>,
        begun: Option<u64>,
        anew: bool,
    ) -> Result<(), JournalError> {
        let (label, start) = (&self.label, self.head.start);
        if self.fresh {
            if stored.end > 0 {
                let kind = if self.unreadable { DamageKind::Rotten } else { DamageKind::Lost };
                return Err(label.damaged(kind, None, "there are records and no head"));
            }
            if let Some(begun) = begun.filter(|_| !anew) {
                return Err(JournalError::Gone { partition: label.0.clone(), begun });
            }
            self.head.run = begun.unwrap_or(0) + 1;
            self.save_mark(true).await?;
            return self.save_head().await;
        }
        canary!("node-guard-unchecked", return Ok(()));
        if stored.start > start {
            let detail = format!("the log begins at {start}, its files at {}", stored.start);
            return Err(label.damaged(DamageKind::Lost, start..stored.start, detail));
        }
        // The record at a new beginning was durable before it became the beginning.
        let least = self.mark.end.max(if start > 0 { start + 1 } else { 0 });
        if stored.end < least {
            let detail =
                format!("{least} records were durable, the files end after {}", stored.end);
            return Err(label.damaged(DamageKind::Lost, stored.end..least, detail));
        }
        Ok(())
    }

    /// Is the log up to `end` what the watermark says? Asked for each end in turn. (R3)
    pub(super) fn agrees(&self, end: u64, link: &Link) -> Result<(), JournalError> {
        if self.mark.end == end && self.mark.link != *link {
            let detail = "it differs from what was durable, by the watermark";
            let records = self.head.start..end;
            return Err(self.label.damaged(DamageKind::OtherHistory, records, detail));
        }
        Ok(())
    }

    /// Was there no log before?
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The number of this run.
    pub(super) fn run(&self) -> u64 {
        self.head.run
    }

    /// The first record that counts, and what it is chained to.
    pub(super) fn start(&self) -> (u64, Link) {
        (self.head.start, self.head.before)
    }

    /// The log's name, for errors.
    pub(super) fn label(&self) -> &Label {
        &self.label
    }

    /// Notes that the log is durable up to `end`; durably, if asked. (R3)
    pub(super) async fn raise(
        &mut self,
        end: u64,
        link: Link,
        durably: bool,
    ) -> Result<(), JournalError> {
        self.mark = Mark { end, link };
        self.save_mark(durably).await
    }

    /// Makes the record at `start`, which is chained to `before`, the first one. (R1)
    pub(super) async fn begin_at(&mut self, start: u64, before: Link) -> Result<(), JournalError> {
        (self.head.start, self.head.before) = (start, before);
        canary!("node-cut-before-head", return Ok(()));
        self.save_head().await
    }

    async fn save_head(&mut self) -> Result<(), JournalError> {
        let saved = self.heads.write_durably(&self.head.to_wire()).await;
        saved.map_err(|error| self.label.storage(None, error))
    }

    async fn save_mark(&mut self, durably: bool) -> Result<(), JournalError> {
        let mark = self.mark.to_wire();
        let saved = match durably {
            true => self.marks.write_durably(&mark).await,
            false => self.marks.write(&mark).await,
        };
        saved.map_err(|error| self.label.storage(None, error))
    }
}

fn decode<T: Wire>(label: &Label, name: &str, stored: &Stored) -> Result<Option<T>, JournalError> {
    let decoded = stored.value.clone().map(T::from_wire).transpose();
    decoded.map_err(|error| {
        label.damaged(DamageKind::Undecodable, None, format!("the {name}: {error}"))
    })
}
