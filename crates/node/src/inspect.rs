//! Looks at the log of a server that does not run.

use crate::journal::{self, LogConfig, Report};
use crate::refound::log_name;
use crate::server::{ServerConfig, ServerError};
use crate::start::{Beside, Files, identity};
use bytes::Bytes;
use commonware_runtime::tokio::{Config as RuntimeConfig, Runner};
use commonware_runtime::{Runner as _, Supervisor as _};
use maftia_activity::Record;
use maftia_base::Group;
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::Wire;
use maftia_crypto::RealSuite;
use std::path::Path;

/// Checks the log of a server that does not run; changes nothing. Blocks the calling thread; must
/// not be called on a runtime.
pub fn inspect<P: Vocabulary>(
    config: &ServerConfig,
    group: &Group,
) -> Result<Inspected, ServerError> {
    let (mut rejoining, mut chunks) = (false, 0);
    let look = &mut |record: Bytes| {
        match Record::<RealSuite>::from_wire(record)? {
            Record::Rejoining(_) | Record::NewLife(_) => rejoining = true,
            Record::Begin(manifest) => chunks = manifest.chunks.len(),
            // With its last chunk a state is whole.
            Record::Chunk { index, .. } if index as usize + 1 == chunks => rejoining = false,
            _ => {}
        }
        Ok(())
    };
    let report = look_at_log::<P>(config, group, look)?;
    Ok(Inspected { report, rejoining })
}

/// Hands every record of the log of a server that does not run to `look`; changes nothing.
pub(crate) fn look_at_log<P: Vocabulary>(
    config: &ServerConfig,
    group: &Group,
    look: &mut (impl FnMut(Bytes) -> Result<(), commonware_codec::Error> + ?Sized),
) -> Result<Report, ServerError> {
    let log = LogConfig::new(log_name(config.generation), identity::<P>(group));
    let log = LogConfig { begun: Files::of(config).run()?, ..log };
    check_usable(&config.data)?;
    let runtime = RuntimeConfig::new().with_storage_directory(config.data.clone());
    let inspected = Runner::new(runtime).start(|context| async move {
        journal::inspect(context.child("journal"), log, look).await
    });
    Ok(inspected?)
}

/// What is found in the log of a server that does not run.
#[derive(Debug)]
pub struct Inspected {
    /// What is in it.
    pub report: Report,
    /// It was begun after a loss, and the server is not back yet.
    pub rejoining: bool,
}

/// The runtime panics where it cannot write.
pub(crate) fn check_usable(data: &Path) -> Result<(), ServerError> {
    let failed = |source| ServerError::Data { data: data.to_owned(), source };
    std::fs::create_dir_all(data).map_err(failed)?;
    let probe = data.join(".writable");
    std::fs::write(&probe, []).and_then(|()| std::fs::remove_file(&probe)).map_err(failed)
}
