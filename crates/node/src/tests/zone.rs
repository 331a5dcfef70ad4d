//! A name server on loopback that says what it is told to. Also used by the tests of the authority
//! with stock clients, which are in another package.
#![allow(dead_code, reason = "each of the packages needs a part of it")]

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CAA, CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

type Records = BTreeMap<(String, RecordType), Vec<RData>>;

/// What a name server knows. Names are without the dot at the end.
#[derive(Clone, Default)]
pub(crate) struct Zone {
    records: Arc<Mutex<Records>>,
    /// So many questions were asked.
    asked: Arc<Mutex<Vec<String>>>,
    /// All names that end so have this address.
    below: Option<(String, IpAddr)>,
    /// Texts are the lines of files here, which have the names' names.
    texts: Option<PathBuf>,
}

/// Below this name no question is answered.
pub(crate) const SILENT: &str = "silent.test";

/// Below this name nobody knows whether there are CAA records.
pub(crate) const FAILING: &str = "failing.test";

impl Zone {
    pub(crate) fn address(self, name: &str, address: impl Into<IpAddr>) -> Self {
        match address.into() {
            IpAddr::V4(short) => self.add(name, RData::A(A(short))),
            IpAddr::V6(long) => self.add(name, RData::AAAA(AAAA(long))),
        }
    }

    pub(crate) fn alias(self, name: &str, of: &str) -> Self {
        let of = Name::from_ascii(format!("{of}.")).expect("a name");
        self.add(name, RData::CNAME(CNAME(of)))
    }

    /// A text in pieces.
    pub(crate) fn text(self, name: &str, pieces: &[&str]) -> Self {
        let pieces = pieces.iter().map(|piece| piece.to_string()).collect();
        self.add(name, RData::TXT(TXT::new(pieces)))
    }

    /// A CAA record.
    pub(crate) fn caa(self, name: &str, critical: bool, tag: &str, value: &str) -> Self {
        let mut record = CAA::new_issue(critical, None, Vec::new());
        (record.tag, record.value) = (tag.into(), value.into());
        self.add(name, RData::CAA(record))
    }

    /// All names that end with `suffix` have this address.
    pub(crate) fn below(self, suffix: &str, address: impl Into<IpAddr>) -> Self {
        Self { below: Some((suffix.into(), address.into())), ..self }
    }

    /// What a file in `folder` has that is called like a name are its texts, a line each.
    pub(crate) fn texts_in(self, folder: &Path) -> Self {
        Self { texts: Some(folder.to_owned()), ..self }
    }

    /// What is known without being listed.
    fn beside(&self, name: &str, kind: RecordType) -> Option<Vec<RData>> {
        let (suffix, address) = self.below.as_ref()?;
        if !name.ends_with(suffix.as_str()) {
            return None;
        }
        let found = match (kind, address) {
            (RecordType::A, IpAddr::V4(short)) => vec![RData::A(A(*short))],
            (RecordType::AAAA, IpAddr::V6(long)) => vec![RData::AAAA(AAAA(*long))],
            (RecordType::TXT, _) => {
                let file = self.texts.as_ref().map(|folder| folder.join(name));
                let texts = file.and_then(|file| std::fs::read_to_string(file).ok());
                let text = |line: &str| RData::TXT(TXT::new(vec![line.to_owned()]));
                texts.unwrap_or_default().lines().map(text).collect()
            }
            _ => Vec::new(),
        };
        Some(found)
    }

    fn add(self, name: &str, data: RData) -> Self {
        let key = (name.to_owned(), data.record_type());
        self.records.lock().expect("whole").entry(key).or_default().push(data);
        self
    }

    pub(crate) fn clear(&self) {
        self.records.lock().expect("whole").clear();
    }

    /// Questions about `name` so far.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().expect("whole").iter().filter(|asked| *asked == name).count()
    }

    /// The address of a name server, by UDP and TCP, that knows this zone.
    pub(crate) async fn serve(&self) -> SocketAddr {
        loop {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let address = socket.local_addr().expect("bound");
            // Another process may have that port of TCP.
            if let Ok(listener) = TcpListener::bind(address).await {
                self.serve_at(socket, listener);
                return address;
            }
        }
    }

    /// The same with these sockets.
    pub(crate) fn serve_at(&self, socket: UdpSocket, listener: TcpListener) {
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
        let beside = self.beside(&name, query.query_type());
        let is_known = beside.is_some() || records.keys().any(|(known, _)| *known == name);
        found.extend(beside.unwrap_or_default());
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.add_query(query.clone());
        answer.edns = asked.edns.clone();
        let record = |data| Record::from_rdata(query.name().clone(), 3600, data);
        answer.add_answers(found.into_iter().map(record));
        if !is_known {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        Some(answer)
    }
}
