//! A look at a log that nobody uses, which changes nothing.

use super::error::{JournalError, Label};
use super::guard;
use super::untouched::Untouched;
use super::{Journal, LogConfig};
use bytes::Bytes;
use commonware_codec::Error;
use commonware_runtime::Error as RuntimeError;
use commonware_storage::Context;
use std::ops::Range;

/// What is in a log.
#[derive(Debug)]
pub struct Report {
    /// The positions of the records that count and are sound, from the first on.
    pub records: Range<u64>,
    /// The runs that it knows of.
    pub run: u64,
    /// What it takes on the disk, without what the file system adds.
    pub bytes: u64,
    /// The first reason why it cannot be used, if there is one.
    pub trouble: Option<JournalError>,
}

/// Checks every record of a log, and hands it to `look`, which may refuse it; nothing on the disk
/// changes, not even what opening would repair.
pub async fn inspect<E: Context>(
    context: E,
    config: LogConfig,
    look: &mut (impl FnMut(Bytes) -> Result<(), Error> + ?Sized),
) -> Result<Report, JournalError> {
    let label = Label(config.partition.clone());
    let mut report = Report { records: 0..0, run: 0, bytes: 0, trouble: None };
    for partition in partitions(&config.partition) {
        match size(&context, &partition).await {
            Ok(size) => report.bytes += size,
            // A file whose very beginning is rotten cannot even be opened.
            Err(error) => {
                report.trouble.get_or_insert(label.storage(None, error));
            }
        }
    }
    if report.trouble.is_some() {
        return Ok(report);
    }
    let mut journal = match Journal::open(Untouched::new(context), config).await {
        Ok(journal) => journal,
        Err(trouble) => return Ok(Report { trouble: Some(trouble), ..report }),
    };
    // Opening began a run, in memory.
    report.run = journal.run() - 1;
    let start = journal.positions().start;
    report.records = start..start;
    let mut count = |position, record| {
        look(record)?;
        report.records.end = position + 1;
        Ok(())
    };
    let checked = journal.check(&mut count).await;
    report.trouble = checked.err();
    Ok(report)
}

/// The partitions that the log `partition` takes.
pub fn partitions(partition: &str) -> [String; 4] {
    let of_library = ["data", "offsets-blobs", "offsets-metadata"];
    let [data, offsets, metadata] = of_library.map(|name| format!("{partition}_{name}"));
    [data, offsets, metadata, guard::partition_of(partition)]
}

/// Bytes in a partition.
async fn size(context: &impl Context, partition: &str) -> Result<u64, RuntimeError> {
    let names = match context.scan(partition).await {
        Err(RuntimeError::PartitionMissing(_)) => Vec::new(),
        names => names?,
    };
    let mut bytes = 0;
    for name in names {
        bytes += context.open(partition, &name).await?.1;
    }
    Ok(bytes)
}
