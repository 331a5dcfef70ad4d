//! How a server starts: what must be so before it signs anything, and with what it then works.

use crate::begun::Begun;
use crate::clock::Clock;
use crate::journal::{Journal, LogConfig};
use crate::last_life::LastLife;
use crate::lost::Lost;
use crate::server::{ServerConfig, ServerError};
use crate::tamper::Tamper;
use bytes::Bytes;
use commonware_storage::Context as StorageContext;
use maftia_activity::{Nonce, Record};
use maftia_base::protocol::Vocabulary;
use maftia_base::wire::{Encode, Wire};
use maftia_base::{Group, WIRE_VERSION};
use maftia_crypto::{Attested, Done, Suite, Work};
use maftia_ttcb_api::BootKeys;
use std::sync::Arc;
use tracing::warn;

/// What a server remembers beside its journal. Whatever a method writes is durable when it returns.
pub trait Beside {
    /// The last run that began with the journal, if any did: see [`Begun`].
    fn run(&self) -> Result<Option<u64>, ServerError>;

    /// `run` has begun.
    fn note(&self, run: u64) -> Result<(), ServerError>;

    /// The number of a loss that an operator has declared: see [`Lost`].
    fn nonce(&self) -> Result<Option<Nonce>, ServerError>;

    /// The number is in the new journal.
    fn forget_nonce(&self) -> Result<(), ServerError>;

    /// The key of the last life of its trusted component with which it ran, if there is one.
    fn life(&self) -> Result<Option<[u8; 32]>, ServerError> {
        Ok(None)
    }

    /// It runs with this life.
    fn note_life(&self, _key: [u8; 32]) -> Result<(), ServerError> {
        Ok(())
    }
}

/// The files of a real server.
#[derive(Clone, Debug)]
pub struct Files {
    /// How often it ran.
    pub begun: Begun,
    /// Whether its journal is lost.
    pub lost: Lost,
    /// With which life of its trusted component it ran last.
    pub life: LastLife,
}

impl Files {
    /// Those of a server that is set up so.
    pub fn of(config: &ServerConfig) -> Self {
        let life = LastLife::at(config.lost.with_extension("life"));
        Self { begun: Begun::at(&config.begun), lost: Lost::at(&config.lost), life }
    }

    fn failed_begun(&self) -> impl FnOnce(std::io::Error) -> ServerError {
        let begun = self.begun.path().to_owned();
        |source| ServerError::Begun { begun, source }
    }

    fn failed_life(&self) -> impl FnOnce(std::io::Error) -> ServerError {
        let begun = self.life.path().to_owned();
        |source| ServerError::Begun { begun, source }
    }

    fn failed_lost(&self) -> impl FnOnce(std::io::Error) -> ServerError {
        let begun = self.lost.path().to_owned();
        |source| ServerError::Begun { begun, source }
    }
}

impl Beside for Files {
    fn run(&self) -> Result<Option<u64>, ServerError> {
        self.begun.run().map_err(self.failed_begun())
    }

    fn note(&self, run: u64) -> Result<(), ServerError> {
        self.begun.note(run).map_err(self.failed_begun())
    }

    fn nonce(&self) -> Result<Option<Nonce>, ServerError> {
        self.lost.nonce().map_err(self.failed_lost())
    }

    fn forget_nonce(&self) -> Result<(), ServerError> {
        self.lost.remove().map_err(self.failed_lost())
    }

    fn life(&self) -> Result<Option<[u8; 32]>, ServerError> {
        self.life.read().map_err(self.failed_life())
    }

    fn note_life(&self, key: [u8; 32]) -> Result<(), ServerError> {
        self.life.note(key).map_err(self.failed_life())
    }
}

/// Opens the log, unless it is gone or an older copy; notes durably that a run with it begins. A
/// log that begins after a loss begins with the question to be admitted again: in the hybrid
/// configuration with the present `life` of the trusted component, which must have begun after the
/// loss.
pub async fn open_log<S: Suite, E: StorageContext>(
    context: E,
    config: LogConfig,
    beside: &impl Beside,
    life: Option<Attested<BootKeys>>,
) -> Result<Journal<E>, ServerError> {
    let (begun, nonce) = (beside.run()?, beside.nonce()?);
    let key = life.map(|life| life.0.said.signing);
    if nonce.is_some() && key.is_some() && beside.life()? == key {
        return Err(ServerError::SameLife);
    }
    let config = LogConfig { begun, anew: nonce.is_some(), ..config };
    let mut journal = Journal::open(context, config).await?;
    beside.note(journal.run())?;
    if let Some(nonce) = nonce {
        let question = match life {
            Some(life) => Record::<S>::NewLife(life),
            None => Record::Rejoining(nonce),
        };
        let began;
        (journal, began) = journal.begin_with(&[question.to_wire()]).await?;
        beside.forget_nonce()?;
        if began {
            warn!("the journal was lost: this server asks its group to admit it again");
        }
    }
    Ok(journal)
}

/// Whose log it is: no other server, group, founding or version may use it.
pub fn identity<P: Vocabulary>(group: &Group) -> Bytes {
    let mut identity = format!("maftia log {WIRE_VERSION} {} ", P::NAME).into_bytes();
    identity.extend_from_slice(&group.id().encode());
    identity.extend_from_slice(&group.me().encode());
    identity.extend(group.founding().iter().flat_map(|founding| founding.0));
    identity.into()
}

/// How work is done: with this server's keys, unless an intruder does otherwise.
pub fn work_with<S, V, T>(
    keyring: Arc<S::Keyring>,
    clock: Arc<dyn Clock>,
    tamper: Arc<T>,
) -> impl Fn(Vec<Work<S>>) -> Vec<Done<S>> + Send + Sync
where
    S: Suite,
    V: Vocabulary<Work = Work<S>, Done = Done<S>>,
    T: Tamper<V>,
{
    move |work| {
        let reading = tamper.reading(clock.reading());
        tamper.work(work, &|work| S::run_many(work, &keyring, reading))
    }
}
