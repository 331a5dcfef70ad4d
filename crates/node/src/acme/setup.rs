//! The authority's part of a server: what is opened before it starts, and what then runs beside it.

use super::certificates::{CertificateFiles, Shown};
use super::nonces::SignedNonces;
use super::{FINALIZE_PATIENCE, Face, Publication, published, serve};
use crate::asking::Asking;
use crate::errands::{Errands, Runner};
use crate::host::Arrival;
use crate::replica::Request;
use crate::server::{ServerError, bind};
use crate::validation::{ValidationConfig, Validations, Validator};
use axum::Router;
use commonware_runtime::tokio::Context;
use commonware_runtime::{Spawner as _, Supervisor as _};
use maftia_base::Party;
use maftia_crypto::RealSuite;
use maftia_services::ca::Policy;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::info;

/// How a server of a group with an authority is set up on its host.
#[derive(Clone, Debug)]
pub struct AcmeConfig {
    /// Where it listens for clients of ACME.
    pub address: SocketAddr,
    /// The certificate that it shows to them. Without one it speaks plain HTTP, to a proxy on this
    /// host that ends TLS.
    pub certificate: Option<CertificateFiles>,
    /// The file with the root's revocation list, in PEM: published as it is.
    pub root_list: Option<PathBuf>,
    /// With what it signs nonces.
    pub nonce_seed: NonceSeed,
    /// How it looks at the outside; what CAA records call the authority is in its policy.
    pub validation: ValidationConfig,
}

/// The seed of the Ed25519 key with which a server signs nonces.
#[derive(Clone, Copy)]
pub struct NonceSeed(pub [u8; 32]);

impl fmt::Debug for NonceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceSeed(secret)")
    }
}

/// What is there before the server runs.
pub(crate) struct Opened {
    config: AcmeConfig,
    policy: Policy,
    /// What does the outside work in the place of honest looks.
    instead: Option<Arc<dyn Errands>>,
    publication: Arc<Publication>,
    shown: Option<Arc<Shown>>,
    listener: std::net::TcpListener,
}

impl Opened {
    /// Opens everything that an operator can have set up wrong.
    pub(crate) fn new(
        mut config: AcmeConfig,
        policy: &Policy,
        instead: Option<Arc<dyn Errands>>,
    ) -> Result<Self, ServerError> {
        let listener = bind(config.address, "ACME")?;
        let shown = config.certificate.clone().map(Shown::load).transpose()?;
        config.validation.caa_identities = policy.settings().caa_identities.clone();
        let root_list = config.root_list.clone();
        let publication = Arc::new(Publication { root_list, ..Publication::of(policy) });
        Ok(Self { config, policy: policy.clone(), instead, publication, shown, listener })
    }

    /// What does the outside work, if nobody else is to do it. To be called on the runtime.
    pub(crate) fn errands(
        &self,
        arrivals: mpsc::Sender<Arrival<Request<RealSuite>>>,
    ) -> Result<Runner<RealSuite>, ServerError> {
        let errands: Arc<dyn Errands> = match self.instead.clone() {
            Some(errands) => errands,
            None => {
                let validator = Validator::new(self.config.validation.clone())?;
                Arc::new(Validations::new(validator, self.policy.encoded().clone()))
            }
        };
        Ok(Runner::new(errands, arrivals, Handle::current()))
    }

    /// Serves the authority's clients beside the server `me`; returns the pages that are to be
    /// served by plain HTTP, too.
    pub(crate) fn serve(
        self,
        context: &Context,
        me: Party,
        asking: Asking<RealSuite>,
    ) -> Result<Router, ServerError> {
        let Self { config, publication, shown, listener, .. } = self;
        let listener = TcpListener::from_std(listener).map_err(ServerError::Sockets)?;
        let pages = published(Arc::clone(&publication), asking.clone());
        let nonces = SignedNonces::new(publication.base.clone(), me, &config.nonce_seed.0);
        let nonces = Arc::new(nonces);
        if let Some(shown) = &shown {
            let follow = Arc::clone(shown).follow();
            context.child("certificate").spawn(|_| follow);
        }
        info!(acme = %config.address, base = publication.base, "up for clients of the authority");
        let face = Face { publication, nonces, asking, patience: FINALIZE_PATIENCE };
        context.child("acme").spawn(|_| serve(listener, shown, face));
        Ok(pages)
    }
}
