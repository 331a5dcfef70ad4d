//! Groups for tests, clients that keep books, and waiting that ends. Also used by the tests of
//! hostile servers.

use bytes::Bytes;
use maftia::config::{NewAuthority, NewGroup};
use maftia::home::{CERTIFICATE, PublicHome};
use maftia::local::LocalGroup;
use maftia::{judge, process};
use maftia_activity::client::ClientReply;
use maftia_agreement::hybrid::OrderedBy;
use maftia_base::Party;
use maftia_base::wire::Wire;
use maftia_crypto::ClientSecret;
use maftia_node::caller::{Caller, CallerSettings};
use maftia_services::LEDGER;
use maftia_services::ledger::{Ledger, Sum};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long anything may take that must happen. Far more than it takes: only failures wait so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `holds`, and fails with `what` if it never does.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for ever: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Below the ports that systems give to outgoing connections: one of those could otherwise sit on
/// a server's port while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports of one group: one to claim the others by, and three for each of 16 servers.
const PORTS_EACH: u16 = 49;

static NEXT_PORTS: AtomicUsize = AtomicUsize::new(0);

/// A range of free ports. It is claimed by listening on the port before the first, so that other
/// processes that run such tests keep off it, also while its servers are down.
pub(crate) struct Ports {
    pub(crate) first: u16,
    _claim: TcpListener,
}

impl Ports {
    pub(crate) fn claim() -> Self {
        let ranges = usize::from((PORTS.end - PORTS.start) / PORTS_EACH);
        // Where to begin does not matter, as long as not all processes begin at the same place.
        let start = std::process::id() as usize * 13;
        for _ in 0..ranges {
            let range = (start + NEXT_PORTS.fetch_add(1, Ordering::Relaxed)) % ranges;
            let first = PORTS.start + u16::try_from(range).unwrap() * PORTS_EACH;
            let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            let Ok(claim) = listen(first) else { continue };
            if (first + 1..first + PORTS_EACH).all(|port| listen(port).is_ok()) {
                return Self { first: first + 1, _claim: claim };
            }
        }
        panic!("no {PORTS_EACH} free ports in a row in {PORTS:?}");
    }
}

/// A time-stamp query: what for, in which file, and what is in that.
pub(crate) struct Question {
    pub(crate) data: PathBuf,
    pub(crate) query: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// A group in a folder of its own, which goes when the test ends.
pub(crate) struct Town {
    group: LocalGroup,
    folder: TempDir,
    _ports: Ports,
    queries: usize,
}

impl Town {
    /// Keys for `servers`; nothing runs yet. `program` is the honest server.
    pub(crate) fn deal(program: &Path, servers: usize) -> Self {
        Self::deal_as(program, servers, None)
    }

    /// The same in either configuration: in the hybrid one with trusted components, which run.
    pub(crate) fn deal_as(program: &Path, servers: usize, hybrid: Option<OrderedBy>) -> Self {
        Self::deal_with(program, servers, hybrid, |_| None)
    }

    /// The same with a certification authority, which is told from which port on it may take some.
    pub(crate) fn deal_with(
        program: &Path,
        servers: usize,
        hybrid: Option<OrderedBy>,
        authority: impl FnOnce(u16) -> Option<NewAuthority>,
    ) -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::claim());
        let new = NewGroup {
            name: "tested".into(),
            servers,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            base_port: ports.first,
            key_bits: 2048,
            components: Vec::new(),
            ordered_by: hybrid.unwrap_or_default(),
            authority: authority(ports.first + 3 * u16::try_from(servers).unwrap()),
        };
        let dir = folder.path().join("group");
        let group = LocalGroup::deal_as(&dir, program, new, hybrid.is_some()).unwrap();
        Self { group, folder, _ports: ports, queries: 0 }
    }

    /// Where tests may put what goes when they end.
    #[allow(dead_code, reason = "not all that share this file do")]
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The status page of a server that runs.
    pub(crate) fn status(&self, index: usize) -> serde_json::Value {
        self.server(index).expect("it runs").status().unwrap()
    }

    /// A new time-stamp query.
    pub(crate) fn question(&mut self) -> Question {
        self.queries += 1;
        let path = |end: &str| self.folder.path().join(format!("{}.{end}", self.queries));
        let (data, query) = (path("data"), path("tsq"));
        std::fs::write(&data, format!("document {}", self.queries)).unwrap();
        judge::make_query(&data, &query, "-sha256").unwrap();
        let bytes = std::fs::read(&query).unwrap();
        Question { data, query, bytes }
    }

    /// Gets a token from the front end of server `index`, which OpenSSL must accept, and which must
    /// be of the time between question and answer.
    pub(crate) fn stamp(&mut self, index: usize) {
        let Question { data, query, bytes } = self.question();
        let reply = query.with_extension("tsr");
        let asked = SystemTime::now();
        let http = self.config().servers[index].http;
        wait_until(&format!("server {index} gives a token"), || {
            match process::post_query(http, &bytes, Duration::from_secs(10)) {
                Ok(answer) => std::fs::write(&reply, answer).is_ok(),
                Err(_) => false,
            }
        });
        judge::verify(&reply, &query, &data, &self.home(index).join(CERTIFICATE)).unwrap();
        let stamped = judge::describe(&reply).unwrap().instant;
        let accuracy = Duration::from_millis(self.config().notary.accuracy_ms);
        assert!(asked - accuracy <= stamped, "stamped {stamped:?}, asked only {asked:?}");
        assert!(stamped <= SystemTime::now() + accuracy, "stamped {stamped:?}, in the future");
    }

    /// A new client of the ledger. Must be called on a runtime.
    pub(crate) fn caller(&self, home: usize) -> Caller {
        let public = PublicHome::load(&self.home(0)).unwrap();
        Caller::start(CallerSettings {
            keys: public.keys,
            structure: public.config.structure.clone(),
            servers: public.config.servers.iter().map(|server| server.clients).collect(),
            service: LEDGER,
            secret: ClientSecret::from_seed(&rand::random()),
            nonce: rand::random(),
            home: Party::new(home),
            retry_after: Duration::from_millis(700),
        })
        .unwrap()
    }
}

impl Deref for Town {
    type Target = LocalGroup;

    fn deref(&self) -> &LocalGroup {
        &self.group
    }
}

impl DerefMut for Town {
    fn deref_mut(&mut self) -> &mut LocalGroup {
        &mut self.group
    }
}

impl Drop for Town {
    /// What the servers said last is gone with the folder, and a failure needs it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for index in 0..self.config().servers.len() {
                let log = std::fs::read_to_string(self.log(index)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(12)..];
                println!("--- server {index}, the end of its log\n{}", last.join("\n"));
            }
        }
    }
}

/// Every request that was made, and every number that the ledger gave to one.
#[derive(Default)]
struct Book {
    submitted: u64,
    sum: Sum,
    numbers: BTreeSet<u64>,
}

impl Book {
    fn submit(&mut self) -> Bytes {
        self.submitted += 1;
        let request = format!("request {}", self.submitted);
        self.sum.add(request.as_bytes());
        request.into()
    }

    fn acknowledge(&mut self, number: u64) {
        assert!(self.numbers.insert(number), "two requests are both number {number}");
    }
}

/// Clients of the ledger that ask all the time, one request after the other, and keep book.
pub(crate) struct Load {
    book: Arc<Mutex<Book>>,
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
    reader: Caller,
    runtime: Runtime,
}

impl Load {
    /// `clients` clients, each with `window` requests under way.
    pub(crate) fn start(town: &Town, clients: usize, window: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let (book, over) = (Arc::<Mutex<Book>>::default(), Arc::<AtomicBool>::default());
        let mut running = JoinSet::new();
        for client in 0..clients {
            let caller = town.caller(client % town.config().servers.len());
            for _ in 0..window {
                running.spawn(ask(caller.clone(), Arc::clone(&book), Arc::clone(&over)));
            }
        }
        let reader = town.caller(0);
        drop(entered);
        Self { book, over, clients: running, reader, runtime }
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.book.lock().unwrap().numbers.len()
    }

    /// Waits until `more` requests have been answered.
    pub(crate) fn wait_for(&self, more: usize) {
        let goal = self.answered() + more;
        wait_until(&format!("{more} more requests are answered"), || self.answered() >= goal);
    }

    /// Ends: waits for all answers, then holds the book against the ledger. Returns the number of
    /// requests.
    pub(crate) fn settle(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.unwrap();
            }
        };
        let ended = self.runtime.block_on(async { timeout(PATIENCE, all).await });
        ended.expect("every request is answered in the end");
        let read = async { timeout(PATIENCE, self.reader.call(Bytes::new())).await };
        let ledger = ledger(self.runtime.block_on(read).expect("the ledger can be read").unwrap());
        let book = self.book.lock().unwrap();
        assert_eq!(ledger.entries, book.submitted, "entries of the ledger, and requests made");
        assert_eq!(ledger.sum, book.sum, "the ledger has other entries than were made");
        assert_eq!(book.numbers.len() as u64, book.submitted, "answers, and requests made");
        assert_eq!(book.numbers.last(), Some(&book.submitted), "the last number given");
        book.submitted
    }
}

/// One request after the other.
async fn ask(caller: Caller, book: Arc<Mutex<Book>>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let request = book.lock().unwrap().submit();
        let entered = ledger(caller.call(request).await.unwrap());
        book.lock().unwrap().acknowledge(entered.entries);
    }
}

fn ledger(reply: ClientReply) -> Ledger {
    match reply {
        ClientReply::Plain(body) => Ledger::from_wire(body).unwrap(),
        other => panic!("the ledger answers {other:?}"),
    }
}
