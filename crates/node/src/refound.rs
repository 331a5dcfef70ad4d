//! A group that is founded anew: what the log of a server that has stopped comes to, and the log
//! with which it begins again.
//!
//! # Promise
//! - A crash at any moment leaves the log of the old founding as it was, and that of the new one
//!   complete or not yet in use.
//!
//! # Why it holds
//! Each founding has a log of its own, under a name of its own. That of the next one is written as
//! a whole before the file that says which founding counts is replaced, which is the caller's part;
//! what a crash left of it is removed before it is written again.

use crate::Driven;
use crate::core::Core;
use crate::inspect::{check_usable, look_at_log};
use crate::journal::{Journal, JournalError, LogConfig, partitions};
use crate::replica::Served;
use crate::server::{ServerConfig, ServerError};
use crate::start::{Beside, Files, identity};
use bytes::Bytes;
use commonware_runtime::tokio::{Config as RuntimeConfig, Runner};
use commonware_runtime::{Error as RuntimeError, Runner as _, Storage, Supervisor as _};
use maftia_activity::Record;
use maftia_base::Group;
use maftia_base::protocol::Vocabulary;
use maftia_base::time::Time;
use maftia_base::wire::Wire;
use maftia_crypto::RealSuite;
use maftia_links::Linked;

/// The log's name on the disk, after so many foundings.
pub(crate) fn log_name(generation: u64) -> String {
    match generation {
        0 => "log".into(),
        later => format!("log-{later}"),
    }
}

/// What `protocol` comes to by the log of a server that does not run; changes nothing. Blocks the
/// calling thread; must not be called on a runtime.
pub fn replayed<P>(config: &ServerConfig, group: &Group, protocol: P) -> Result<P, ServerError>
where
    P: Served<RealSuite>,
    Linked<P>: Driven + Vocabulary<Record = Record<RealSuite>>,
{
    let mut core = Core::new(Linked::new(protocol, group, 0), group.clone());
    let restore = &mut |record: Bytes| {
        let record = Record::<RealSuite>::from_wire(record)?;
        core.restore(record, Time::default());
        Ok(())
    };
    let report = look_at_log::<P>(config, group, restore)?;
    match report.trouble {
        Some(trouble) => Err(trouble.into()),
        None => Ok(core.protocol().inner().clone()),
    }
}

/// Writes the log with which a server begins after so many foundings as `config` says; a log that
/// stands there was never used. Removes that of the founding before the last. Blocks the calling
/// thread; must not be called on a runtime.
pub fn begin_log<P: Vocabulary>(
    config: &ServerConfig,
    group: &Group,
    records: &[Record<RealSuite>],
) -> Result<(), ServerError> {
    let name = log_name(config.generation);
    let log = LogConfig::new(name.as_str(), identity::<P>(group));
    let log = LogConfig { begun: Files::of(config).run()?, anew: true, ..log };
    let records: Vec<Bytes> = records.iter().map(Wire::to_wire).collect();
    check_usable(&config.data)?;
    let runtime = RuntimeConfig::new().with_storage_directory(config.data.clone());
    let oldest = config.generation.checked_sub(2).map(log_name);
    Runner::new(runtime).start(|context| async move {
        for unused in oldest.iter().chain([&name]) {
            remove(&context, unused).await?;
        }
        let journal = Journal::open(context.child("journal"), log).await?;
        journal.begin_with(&records).await?;
        Ok::<(), ServerError>(())
    })
}

async fn remove(storage: &impl Storage, name: &str) -> Result<(), JournalError> {
    for partition in partitions(name) {
        match storage.remove(&partition, None).await {
            Ok(()) | Err(RuntimeError::PartitionMissing(_)) => {}
            Err(error) => {
                let (partition, source) = (name.to_owned(), error.into());
                return Err(JournalError::Storage { partition, source });
            }
        }
    }
    Ok(())
}
