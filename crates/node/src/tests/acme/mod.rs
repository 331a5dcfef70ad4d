//! The front end of the authority, before a group that is the test.

mod https;
mod posts;
mod published;

use crate::acme::{CertificateFiles, Face, Nonces, Publication, Shown, SignedNonces, serve};
use crate::asking::Asking;
use crate::host::Arrival;
use crate::replica::Request;
use maftia_activity::FrontEndReply;
use maftia_base::wire::{Blob, Bytes, List, Wire};
use maftia_base::{Party, ServiceId};
use maftia_crypto::RealSuite;
use maftia_services::CA;
use maftia_services::ca::jose::flattened;
use maftia_services::ca::{AcmeReply, CaAnswer, CaRead, CaRequest, Content};
use maftia_services::x509::Issuer;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Name};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The server that made the nonces which are sent.
fn me() -> Party {
    Party::new(2)
}

const BASE: &str = "https://ca.example.test";

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

/// Nonces that are numbers.
#[derive(Default)]
struct Numbers(AtomicUsize);

impl Nonces for Numbers {
    fn fresh(&self) -> String {
        format!("nonce-{}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The authority's key and certificate.
fn authority() -> (PKey<Private>, X509) {
    static AUTHORITY: LazyLock<(PKey<Private>, X509)> = LazyLock::new(another_authority);
    AUTHORITY.clone()
}

/// Another one with the same name.
fn another_authority() -> (PKey<Private>, X509) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let certificate = certificate(&key, 1, None);
    (key, certificate)
}

/// A certificate with the serial number: of an authority, or by it.
fn certificate(key: &PKey<Private>, serial: u128, by: Option<(&PKey<Private>, &X509)>) -> X509 {
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("version 3");
    let serial = BigNum::from_slice(&serial.to_be_bytes()).and_then(|it| it.to_asn1_integer());
    builder.set_serial_number(&serial.expect("a number")).expect("set");
    let mut name = X509Name::builder().expect("a builder");
    name.append_entry_by_text("CN", "an authority of tests").expect("appended");
    let name = name.build();
    builder.set_subject_name(&name).expect("set");
    builder.set_issuer_name(&name).expect("set");
    builder.set_pubkey(key).expect("set");
    builder.set_not_before(&Asn1Time::from_unix(0).expect("a time")).expect("set");
    builder.set_not_after(&Asn1Time::from_unix(4_000_000_000).expect("a time")).expect("set");
    if by.is_none() {
        let constraints = BasicConstraints::new().critical().ca().build();
        builder.append_extension(constraints.expect("an extension")).expect("appended");
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build();
        builder.append_extension(usage.expect("an extension")).expect("appended");
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None));
        builder.append_extension(identifier.expect("an extension")).expect("appended");
    }
    let signer = by.map_or(key, |(key, _)| key);
    builder.sign(signer, MessageDigest::sha256()).expect("signs");
    builder.build()
}

fn publication(certificate: &X509) -> Publication {
    let issuer = Issuer::new(&certificate.to_der().expect("encodes"));
    Publication {
        base: BASE.into(),
        directory: Bytes::from_static(br#"{"newNonce":"there"}"#),
        issuer: issuer.expect("an authority"),
        root: Bytes::from_static(b"the root"),
        root_list: None,
        nonce_keys: [1, 2, 3].map(|seed| SignedNonces::new(BASE, me(), &[seed; 32]).key()).into(),
    }
}

/// A group: what it answers to requests, and a server to questions; `None` is silence.
struct Group {
    order: Box<dyn FnMut(CaRequest) -> Option<FrontEndReply> + Send>,
    read: Box<dyn FnMut(CaRead) -> Option<CaAnswer> + Send>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            order: Box::new(|request| panic!("nobody may be asked {request:?}")),
            read: Box::new(|question| panic!("nobody may be asked {question:?}")),
        }
    }
}

impl Group {
    /// Answers whatever is ordered so.
    fn ordered(order: impl FnMut(CaRequest) -> Option<FrontEndReply> + Send + 'static) -> Self {
        Self { order: Box::new(order), ..Self::default() }
    }

    /// Answers whatever is read so.
    fn reading(read: impl FnMut(CaRead) -> Option<CaAnswer> + Send + 'static) -> Self {
        Self { read: Box::new(read), ..Self::default() }
    }

    /// The way to it, for so many at once.
    fn asking(mut self, open: usize) -> Asking<RealSuite> {
        let (arrivals, mut arriving) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(arrival) = arriving.recv().await {
                self.hear(arrival);
            }
        });
        Asking::new(arrivals, open)
    }

    fn hear(&mut self, arrival: Arrival<Request<RealSuite>>) {
        let is_ca = |service: ServiceId| assert_eq!(service, CA);
        match arrival {
            Arrival::Request(_, Request::FrontEnd { service, request, answer }) => {
                is_ca(service);
                let request = CaRequest::from_wire(request).expect("a request");
                if let Some(reply) = (self.order)(request) {
                    let _ = answer.send(reply);
                }
            }
            Arrival::Request(_, Request::Read { service, question, answer }) => {
                is_ca(service);
                let question = CaRead::from_wire(question).expect("a question");
                let _ = answer.send((self.read)(question).map(|answer| answer.to_wire()));
            }
            other => panic!("no front end sends {other:?}"),
        }
    }

    /// Its front end, without TLS.
    async fn door(self) -> SocketAddr {
        self.door_for(8, publication(&authority().1), None).await
    }

    async fn door_for(
        self,
        open: usize,
        publication: Publication,
        shown: Option<Arc<Shown>>,
    ) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let face = Face {
            publication: Arc::new(publication),
            nonces: Arc::new(Numbers::default()),
            asking: self.asking(open),
            patience: Duration::from_millis(500),
        };
        tokio::spawn(serve(listener, shown, face));
        address
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// All values of this header.
    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of this header, which is there once.
    fn the(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("{name} of {self:?}") };
        value
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// It is a problem document of that type, with a nonce.
    fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.the("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:ietf:params:acme:error:{kind}"));
        assert_eq!(problem["status"], status);
        assert!(self.the("replay-nonce").starts_with("nonce-"));
        assert_eq!(self.the("cache-control"), "no-store");
    }
}

/// Sends a request, and reads the answer to its end.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &[u8]) -> Answer {
    let len = body.len();
    let head =
        format!("{head}\r\nhost: test\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("sends");
    stream.flush().await.expect("sends");
    let mut answer = Vec::new();
    // A server that refuses early may reset the connection behind its answer.
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let text = std::str::from_utf8(&answer[..end]).expect("text");
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.parse().expect("a number"),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: answer[end + 4..].to_vec(),
    }
}

async fn http(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    talk(TcpStream::connect(address).await.expect("connects"), head, body).await
}

/// A GET without anything.
async fn get(address: SocketAddr, path: &str) -> Answer {
    http(address, &format!("GET {path} HTTP/1.1"), b"").await
}

/// A POST as clients of ACME send it.
async fn post(address: SocketAddr, path: &str) -> Answer {
    post_body(address, path, &jws(path)).await
}

async fn post_body(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/jose+json");
    http(address, &head, body).await
}

/// A signed request to `path` in the name of an account; the group would have to see whether it is.
fn jws(path: &str) -> Vec<u8> {
    let nonce = SignedNonces::new(BASE, me(), &[3; 32]).fresh();
    let account = format!("{BASE}/acme/account/1");
    let url = format!("{BASE}{path}");
    let header = json!({ "alg": "ES256", "kid": account, "nonce": nonce, "url": url });
    forged(&header)
}

/// With a signature that has the length of one.
fn forged(header: &Value) -> Vec<u8> {
    flattened(header.to_string().as_bytes(), b"", |_| vec![1; 64])
}

/// An answer of the authority with a JSON body.
fn reply(status: u16, body: &str) -> AcmeReply {
    AcmeReply {
        status,
        location: None,
        retry_after: None,
        links: List::default(),
        content: Content::Json,
        body: Blob::new(body.as_bytes().to_vec()).expect("short"),
    }
}

fn plain(reply: &AcmeReply) -> Option<FrontEndReply> {
    Some(FrontEndReply::Plain(reply.to_wire()))
}
