//! An outside on loopback: a web server and a TLS server that do as they are told. The name server
//! is in [`super::super::zone`].

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a web server does with a request.
pub(super) enum Say {
    /// This, and hangs up.
    Bytes(Vec<u8>),
    /// This over and over again.
    Endless(Vec<u8>),
    /// This, and then nothing more, but it does not hang up.
    Stall(Vec<u8>),
    /// These, one each now and then.
    Trickle(Vec<u8>),
}

impl Say {
    /// A plain answer with this body.
    pub(super) fn body(body: &str) -> Self {
        Self::Bytes(format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes())
    }

    /// A redirect with this status.
    pub(super) fn moved(status: u16, to: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\n\r\n");
        Self::Bytes(head.into_bytes())
    }
}

async fn say(said: Say, mut stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    match said {
        Say::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Say::Endless(bytes) => loop {
            stream.write_all(&bytes).await?;
        },
        Say::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            std::future::pending().await
        }
        Say::Trickle(bytes) => loop {
            for byte in &bytes {
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        },
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).expect("text"))
}

/// A web server; `script` is given the head of a request.
pub(super) async fn web(
    at: IpAddr,
    script: impl Fn(&str) -> Say + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let head = head(&mut stream).await?;
                say(script(&head), stream).await.ok()
            });
        }
    });
    address
}

/// How a TLS server shakes hands.
pub(super) struct Shake {
    pub(super) certificate: Vec<u8>,
    /// PKCS #8.
    pub(super) key: Vec<u8>,
    pub(super) protocols: Vec<&'static str>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
}

/// Shows one certificate to all, and remembers for whom it was asked.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>, Arc<Mutex<Vec<String>>>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or("nobody").to_owned();
        self.1.lock().expect("whole").push(name);
        Some(Arc::clone(&self.0))
    }
}

/// A TLS server, and the names for which it was asked; after the handshake a web server.
pub(super) async fn tls(
    at: IpAddr,
    shake: Shake,
    script: impl Fn(&str) -> Say + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let key = PrivateKeyDer::try_from(shake.key).expect("a key");
    let key = ring::sign::any_supported_type(&key).expect("a kind that is known");
    let shown = CertifiedKey::new(vec![CertificateDer::from(shake.certificate)], key);
    let names = Arc::<Mutex<Vec<String>>>::default();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&shake.versions)
        .expect("known versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(shown), Arc::clone(&names))));
    config.alpn_protocols = shake.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((at, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let head = head(&mut stream).await?;
                say(script(&head), stream).await.ok()
            });
        }
    });
    (address, names)
}
