//! The certificate that the front end itself shows, from files that an operator, or a client of
//! ACME, replaces from time to time.
//!
//! # Rules
//! - The files are looked at every [`RELOAD_EVERY`]. What is new in them is shown from then on, to
//!   connections that begin.
//! - Files that do not fit together, perhaps since one of two has been written so far, change
//!   nothing: what was shown before is shown on, and the files are looked at again.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often the files are looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// It and those between it and a root, in PEM, its own first.
    pub chain: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesError {
    /// One cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One does not have what it should.
    #[error("{}: {why}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// They do not fit together.
    #[error("{} and {}: {why}", chain.display(), key.display())]
    Unfit {
        /// The one.
        chain: PathBuf,
        /// The other.
        key: PathBuf,
        /// Why.
        why: rustls::Error,
    },
}

/// When both files changed last, and how long they are.
type Stamp = [(SystemTime, u64); 2];

/// What is shown to clients.
#[derive(Debug)]
pub struct Shown {
    files: CertificateFiles,
    current: Mutex<Arc<CertifiedKey>>,
    /// As the files were when what is shown was read.
    stamp: Mutex<Option<Stamp>>,
}

impl Shown {
    /// What the files have now.
    pub fn load(files: CertificateFiles) -> Result<Arc<Self>, FilesError> {
        // Before they are read: what changes afterwards is read again.
        let stamp = Mutex::new(files.stamp());
        let current = Mutex::new(Arc::new(files.read()?));
        Ok(Arc::new(Self { files, current, stamp }))
    }

    /// Follows the files for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut last = String::new();
        loop {
            sleep(RELOAD_EVERY).await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => info!(chain = %self.files.chain.display(), "another certificate"),
                Err(error) => {
                    let error = error.to_string();
                    if error != last {
                        warn!(%error, "the certificate of before is shown on");
                    }
                    last = error;
                    continue;
                }
            }
            last.clear();
        }
    }

    /// Reads the files if they have changed; answers whether they had.
    pub(crate) fn reload(&self) -> Result<bool, FilesError> {
        let stamp = self.files.stamp();
        let mut seen = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_some() && *seen == stamp {
            return Ok(false);
        }
        let read = Arc::new(self.files.read()?);
        *seen = stamp;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(true)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl CertificateFiles {
    fn stamp(&self) -> Option<Stamp> {
        let stamp = |path: &Path| {
            let about = fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        Some([stamp(&self.chain)?, stamp(&self.key)?])
    }

    fn read(&self) -> Result<CertifiedKey, FilesError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| FilesError::Read { path: path.to_owned(), source })
        };
        let unreadable = |path: &Path, why: String| FilesError::Pem { path: path.to_owned(), why };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&read(&self.chain)?).collect();
        let chain = chain.map_err(|error| unreadable(&self.chain, error.to_string()))?;
        if chain.is_empty() {
            return Err(unreadable(&self.chain, "has no certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|error| unreadable(&self.key, error.to_string()))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|why| {
            FilesError::Unfit { chain: self.chain.clone(), key: self.key.clone(), why }
        })
    }
}
