//! An outside on loopback: a name server, a web server and a TLS server that do as they are told.

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CAA, CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

type Records = BTreeMap<(String, RecordType), Vec<RData>>;

/// What a name server knows. Names are without the dot at the end.
#[derive(Clone, Default)]
pub(super) struct Zone {
    records: Arc<Mutex<Records>>,
    /// So many questions were asked.
    asked: Arc<Mutex<Vec<String>>>,
}

/// Below this name no question is answered.
pub(super) const SILENT: &str = "silent.test";

/// Below this name nobody knows whether there are CAA records.
pub(super) const FAILING: &str = "failing.test";

impl Zone {
    pub(super) fn address(self, name: &str, address: impl Into<IpAddr>) -> Self {
        match address.into() {
            IpAddr::V4(short) => self.add(name, RData::A(A(short))),
            IpAddr::V6(long) => self.add(name, RData::AAAA(AAAA(long))),
        }
    }

    pub(super) fn alias(self, name: &str, of: &str) -> Self {
        let of = Name::from_ascii(format!("{of}.")).expect("a name");
        self.add(name, RData::CNAME(CNAME(of)))
    }

    /// A text in pieces.
    pub(super) fn text(self, name: &str, pieces: &[&str]) -> Self {
        let pieces = pieces.iter().map(|piece| piece.to_string()).collect();
        self.add(name, RData::TXT(TXT::new(pieces)))
    }

    /// A CAA record.
    pub(super) fn caa(self, name: &str, critical: bool, tag: &str, value: &str) -> Self {
        let mut record = CAA::new_issue(critical, None, Vec::new());
        (record.tag, record.value) = (tag.into(), value.into());
        self.add(name, RData::CAA(record))
    }

    fn add(self, name: &str, data: RData) -> Self {
        let key = (name.to_owned(), data.record_type());
        self.records.lock().expect("whole").entry(key).or_default().push(data);
        self
    }

    pub(super) fn clear(&self) {
        self.records.lock().expect("whole").clear();
    }

    /// Questions about `name` so far.
    pub(super) fn asked(&self, name: &str) -> usize {
        self.asked.lock().expect("whole").iter().filter(|asked| *asked == name).count()
    }

    /// The address of a name server, by UDP and TCP, that knows this zone.
    pub(super) async fn serve(&self) -> SocketAddr {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let address = socket.local_addr().expect("bound");
            // Another process may have that port of TCP.
            if let Ok(listener) = TcpListener::bind(address).await {
                break (socket, listener);
            }
        };
        let address = socket.local_addr().expect("bound");
        let zone = self.clone();
        tokio::spawn(async move {
            let mut question = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut question).await {
                let Some(answer) = zone.answer(&question[..len]) else { continue };
                let bytes = answer.to_vec().expect("encodes");
                let fits = bytes.len() <= usize::from(answer.max_payload());
                let bytes = if fits { bytes } else { answer.truncate().to_vec().expect("encodes") };
                socket.send_to(&bytes, from).await.expect("sends");
            }
        });
        let zone = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(zone.clone().serve_stream(stream));
            }
        });
        address
    }

    async fn serve_stream(self, mut stream: TcpStream) {
        while let Ok(len) = stream.read_u16().await {
            let mut question = vec![0; len.into()];
            stream.read_exact(&mut question).await.expect("a question");
            let Some(answer) = self.answer(&question) else { continue };
            let bytes = answer.to_vec().expect("encodes");
            stream.write_u16(bytes.len() as u16).await.expect("sends");
            stream.write_all(&bytes).await.expect("sends");
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Message> {
        let asked = Message::from_vec(question).expect("a question");
        let query = asked.queries.first().expect("a query").clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        self.asked.lock().expect("whole").push(name.clone());
        if name.ends_with(SILENT) {
            return None;
        }
        if query.query_type() == RecordType::CAA && name.ends_with(FAILING) {
            let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
            answer.add_query(query);
            answer.metadata.response_code = ResponseCode::ServFail;
            return Some(answer);
        }
        let records = self.records.lock().expect("whole");
        let of_kind = |kind| records.get(&(name.clone(), kind)).cloned().unwrap_or_default();
        let mut found = of_kind(query.query_type());
        if found.is_empty() {
            found = of_kind(RecordType::CNAME);
        }
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.add_query(query.clone());
        answer.edns = asked.edns.clone();
        let record = |data| Record::from_rdata(query.name().clone(), 3600, data);
        answer.add_answers(found.into_iter().map(record));
        if !records.keys().any(|(known, _)| *known == name) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        Some(answer)
    }
}

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
