//! What is wrong with a log, in the words of whoever has to mend it.

use commonware_runtime::Error as RuntimeError;
use commonware_storage::journal::Error as StorageError;
use std::io;
use std::ops::Range;
use thiserror::Error;

/// Why the log cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// What is stored is not what was written.
    #[error(
        "the log '{partition}' is damaged: {damage}. Nothing was served from it. Run `maftia \
         repair`: it sets the log aside, and has this server rejoin from its peers. An older or \
         an empty log in its place would make this server contradict what it signed"
    )]
    Damaged {
        /// Which log.
        partition: String,
        /// What is damaged, and how.
        damage: Damage,
    },
    /// The log is another server's.
    #[error(
        "the log '{partition}' belongs to another server or group: it starts with '{}'; start \
         this server with its own data directory",
        found.escape_ascii()
    )]
    Foreign {
        /// Which log.
        partition: String,
        /// Whose it is.
        found: Vec<u8>,
    },
    /// An older copy of the log was put back.
    #[error(
        "the log '{partition}' is an older copy that somebody put back: it knows of {found} starts \
         of this server, of which there were {begun}. It lacks what this server signed since. Put \
         back the log that belongs here; if that is lost, run `maftia repair`: it sets this log \
         aside, and has this server rejoin from its peers"
    )]
    Stale {
        /// Which log.
        partition: String,
        /// The last run that the log knows of.
        found: u64,
        /// The last run that there was.
        begun: u64,
    },
    /// There was a log, and there is none.
    #[error(
        "this server had a journal, which was used in {begun} runs, and it is gone: the server has \
         forgotten what it signed, and might contradict itself. Put the journal back; if it is \
         lost, run `maftia repair`: it has this server rejoin from its peers"
    )]
    Gone {
        /// Which log.
        partition: String,
        /// The last run that there was.
        begun: u64,
    },
    /// There is no room on the disk.
    #[error(
        "no room on the disk for the log '{partition}': {source}. This server stopped, and nothing \
         is lost: make room, and start it again"
    )]
    Full {
        /// Which log.
        partition: String,
        /// What the disk said.
        source: StorageError,
    },
    /// The disk or the file system failed.
    #[error(
        "the log '{partition}' cannot be accessed: {source}. This server stopped; what it \
         acknowledged is stored. If the disk is full, read-only or away, mend that, and start it \
         again. If the disk cannot read what is on it any more, replace it and run `maftia repair \
         --rejoin`: this server then rejoins from its peers"
    )]
    Storage {
        /// Which log.
        partition: String,
        /// What the disk said.
        source: StorageError,
    },
}

/// What is damaged in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How.
    pub kind: DamageKind,
    /// Which records, if that can be told. Some or all of them are affected.
    pub records: Option<Range<u64>>,
    /// What was looked at and what was found.
    pub detail: String,
}

/// Kinds of damage, as far as they can be told apart afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// It was durable and is not there.
    Lost,
    /// Its bytes changed.
    Rotten,
    /// It is sound, and belongs elsewhere.
    Misdirected {
        /// Where it belongs.
        of: u64,
    },
    /// It is sound and in its place, but of another history of this log than what is next to it.
    OtherHistory,
    /// It is what was written, and this version cannot read it.
    Undecodable,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.records {
            Some(Range { start, end }) if end - start == 1 => write!(f, "record {start} ")?,
            Some(Range { start, end }) => write!(f, "something in records {start}..{end} ")?,
            None => write!(f, "something in it ")?,
        }
        match self.kind {
            DamageKind::Lost => write!(f, "was durable and is gone")?,
            DamageKind::Rotten => write!(f, "is not as it was written")?,
            DamageKind::Misdirected { of } => write!(f, "is overwritten by record {of}")?,
            DamageKind::OtherHistory => write!(f, "is from an older copy of the log")?,
            DamageKind::Undecodable => {
                write!(f, "cannot be read by this version; the one that wrote it can")?;
            }
        }
        write!(f, " ({})", self.detail)
    }
}

/// Names the log in its errors.
#[derive(Clone, Debug)]
pub(super) struct Label(pub(super) String);

impl Label {
    /// `kind` of damage to `records`.
    pub(super) fn damaged(
        &self,
        kind: DamageKind,
        records: impl Into<Option<Range<u64>>>,
        detail: impl Into<String>,
    ) -> JournalError {
        let damage = Damage { kind, records: records.into(), detail: detail.into() };
        JournalError::Damaged { partition: self.0.clone(), damage }
    }

    /// What the library found in `records`: a failure of the disk, or damage.
    pub(super) fn storage(
        &self,
        records: impl Into<Option<Range<u64>>>,
        source: impl Into<StorageError>,
    ) -> JournalError {
        let (partition, source) = (self.0.clone(), source.into());
        match nature(&source) {
            Nature::Full => JournalError::Full { partition, source },
            Nature::Access => JournalError::Storage { partition, source },
            Nature::Damage(kind) => self.damaged(kind, records, source.to_string()),
        }
    }
}

enum Nature {
    Full,
    Access,
    Damage(DamageKind),
}

fn nature(error: &StorageError) -> Nature {
    match error {
        StorageError::Runtime(error)
        | StorageError::Metadata(commonware_storage::metadata::Error::Runtime(error)) => {
            nature_of_access(error)
        }
        // What is left are checks of what is stored.
        _ => Nature::Damage(DamageKind::Rotten),
    }
}

fn nature_of_access(error: &RuntimeError) -> Nature {
    match error {
        RuntimeError::Io(source)
        | RuntimeError::BlobOpenFailed(_, _, source)
        | RuntimeError::BlobResizeFailed(_, _, source)
        | RuntimeError::BlobSyncFailed(_, _, source) => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Nature::Full,
            io::ErrorKind::UnexpectedEof => Nature::Damage(DamageKind::Lost),
            _ => Nature::Access,
        },
        RuntimeError::BlobMissing(..) | RuntimeError::BlobInsufficientLength => {
            Nature::Damage(DamageKind::Lost)
        }
        RuntimeError::PartitionCorrupt(_)
        | RuntimeError::BlobCorrupt(..)
        | RuntimeError::BlobLayoutMismatch { .. }
        | RuntimeError::BlobVersionMismatch { .. }
        | RuntimeError::InvalidChecksum
        | RuntimeError::OffsetOverflow => Nature::Damage(DamageKind::Rotten),
        _ => Nature::Access,
    }
}
