//! Connections of stock clients that have shaken hands.

use super::Shown;
use crate::visitors::{Bounded, Visitor};
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// After this time a handshake that is not done has failed.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Connections that have shaken hands and are not served yet.
const READY_MAX: usize = 16;

/// A listener that hands on whoever has shaken hands: nobody waits for another one's handshake.
pub(super) struct Handshaking {
    ready: mpsc::Receiver<(TlsStream<Visitor>, SocketAddr)>,
    address: io::Result<SocketAddr>,
    _accepting: JoinSet<()>,
}

impl Handshaking {
    /// To be called on a runtime.
    pub(super) fn new(visitors: Bounded, shown: Arc<Shown>) -> Self {
        let (send, ready) = mpsc::channel(READY_MAX);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(shown)));
        let address = visitors.local_addr();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_all(visitors, acceptor, send));
        Self { ready, address, _accepting: accepting }
    }
}

async fn accept_all(
    mut visitors: Bounded,
    acceptor: TlsAcceptor,
    send: mpsc::Sender<(TlsStream<Visitor>, SocketAddr)>,
) {
    // Places bound how many there are.
    loop {
        let (visitor, from) = visitors.accept().await;
        let (acceptor, send) = (acceptor.clone(), send.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_PATIENCE, acceptor.accept(visitor)).await {
                // Nobody is served any more if that fails.
                Ok(Ok(stream)) => drop(send.send((stream, from)).await),
                Ok(Err(error)) => debug!(%from, %error, "a handshake failed"),
                Err(_) => debug!(%from, "a handshake took too long"),
            }
        });
    }
}

impl Listener for Handshaking {
    type Io = TlsStream<Visitor>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // Only while the runtime ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}

fn server_config(shown: Arc<Shown>) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for all versions");
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
