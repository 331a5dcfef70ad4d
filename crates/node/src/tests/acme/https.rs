//! TLS before the front end.

use super::{CertificateFiles, Group, Shown, authority, publication, run, talk};
use crate::acme::HANDSHAKE_PATIENCE;
use crate::http::PATIENCE;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use openssl::x509::extension::SubjectAlternativeName;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "ca.example.test";

/// A key, and a certificate of it that vouches for itself.
fn pair() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("version 3");
    builder.set_pubkey(&key).expect("set");
    builder.set_not_before(&Asn1Time::from_unix(0).expect("a time")).expect("set");
    builder.set_not_after(&Asn1Time::from_unix(4_000_000_000).expect("a time")).expect("set");
    let name = SubjectAlternativeName::new().dns(NAME).build(&builder.x509v3_context(None, None));
    builder.append_extension(name.expect("a name")).expect("appended");
    builder.sign(&key, MessageDigest::sha256()).expect("signs");
    (key, builder.build())
}

/// The files of an operator.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles { chain: self.0.path().join("chain"), key: self.0.path().join("key") }
    }

    /// As if written so many seconds from now, since a clock of files may be coarse.
    fn write(&self, name: &str, content: &[u8], later: u64) {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("writes");
        let file = std::fs::File::options().write(true).open(path).expect("opens");
        let time = SystemTime::now() + Duration::from_secs(later);
        file.set_modified(time).expect("a time");
    }

    fn write_pair(&self, (key, certificate): &(PKey<Private>, X509), later: u64) {
        self.write("chain", &certificate.to_pem().expect("encodes"), later);
        self.write("key", &key.private_key_to_pem_pkcs8().expect("encodes"), later);
    }
}

/// A handshake with who must show this certificate.
async fn connect(
    address: SocketAddr,
    expected: &X509,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from(expected.to_der().expect("encodes"));
    roots.add(root).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(NAME).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn door(shown: &Arc<Shown>) -> SocketAddr {
    let publication = publication(&authority().1);
    Group::default().door_for(8, publication, Some(Arc::clone(shown))).await
}

#[test]
fn clients_are_served_by_https() {
    run(async {
        let (folder, pair) = (Folder::new(), pair());
        folder.write_pair(&pair, 0);
        let address = door(&Shown::load(folder.files()).expect("loads")).await;
        let stream = connect(address, &pair.1, "http/1.1").await.expect("shakes hands");
        let answer = talk(stream, "GET /acme/directory HTTP/1.1", b"").await;
        assert_eq!(answer.status, 200);
        assert!(connect(address, &pair.1, "h2").await.is_err(), "nothing else is spoken");
    });
}

#[test]
fn a_renewed_certificate_is_shown_and_one_that_cannot_be_used_is_not() {
    run(async {
        let folder = Folder::new();
        let [first, second, third] = [pair(), pair(), pair()];
        folder.write_pair(&first, 0);
        let shown = Shown::load(folder.files()).expect("loads");
        let address = door(&shown).await;
        assert!(!shown.reload().expect("unchanged"));
        folder.write_pair(&second, 10);
        connect(address, &first.1, "http/1.1").await.expect("not looked at yet");
        assert!(shown.reload().expect("readable"));
        connect(address, &second.1, "http/1.1").await.expect("the new one");
        assert!(connect(address, &first.1, "http/1.1").await.is_err());
        // One file of the next pair, then noise.
        folder.write("chain", &third.1.to_pem().expect("encodes"), 20);
        assert!(shown.reload().is_err());
        folder.write("chain", b"noise", 30);
        assert!(shown.reload().is_err());
        std::fs::remove_file(folder.files().chain).expect("removed");
        assert!(shown.reload().is_err());
        connect(address, &second.1, "http/1.1").await.expect("the last good one");
        folder.write_pair(&third, 40);
        assert!(shown.reload().expect("whole again"));
        connect(address, &third.1, "http/1.1").await.expect("the next one");
    });
}

#[test]
fn files_that_are_no_certificate_and_key_are_named() {
    let folder = Folder::new();
    let says = |part: &str| {
        let error = Shown::load(folder.files()).expect_err("unusable").to_string();
        assert!(error.contains(part), "{error}");
    };
    says("chain");
    let (one, other) = (pair(), pair());
    folder.write("chain", &one.1.to_pem().expect("encodes"), 0);
    says("key");
    folder.write("key", b"", 0);
    says("key");
    folder.write("key", &other.0.private_key_to_pem_pkcs8().expect("encodes"), 0);
    says("key");
    folder.write("chain", b"", 0);
    says("has no certificate");
}

#[test]
fn who_does_not_shake_hands_keeps_nobody_waiting() {
    run(async {
        let (folder, pair) = (Folder::new(), pair());
        folder.write_pair(&pair, 0);
        let address = door(&Shown::load(folder.files()).expect("loads")).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(address).await.expect("connects"));
        }
        let stream = connect(address, &pair.1, "http/1.1").await.expect("shakes hands");
        assert_eq!(talk(stream, "GET /acme/directory HTTP/1.1", b"").await.status, 200);
        let mut noisy = TcpStream::connect(address).await.expect("connects");
        tokio::io::AsyncWriteExt::write_all(&mut noisy, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("sends");
        let mut heard = Vec::new();
        let _ = noisy.read_to_end(&mut heard).await;
        assert!(!heard.starts_with(b"HTTP"), "not served without TLS");
    });
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    run(async {
        let (folder, pair) = (Folder::new(), pair());
        folder.write_pair(&pair, 0);
        let address = door(&Shown::load(folder.files()).expect("loads")).await;
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let mut silent = TcpStream::connect(address).await.expect("connects");
        // While all wait for the network, time passes.
        let heard = silent.read(&mut [0; 8]).await;
        assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
        assert!(begun.elapsed() >= HANDSHAKE_PATIENCE && begun.elapsed() < PATIENCE);
    });
}
