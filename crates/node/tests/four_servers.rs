//! Four whole servers with real keys, on real sockets and disks, serving a counter by HTTP.

use bytes::Bytes;
use maftia_activity::{ApplyContext, FrontEndReply, Replica, Reply, StateMachine};
use maftia_base::{AdversaryStructure, Digest, Epoch, Formula, Group, GroupId, Party, ServiceId};
use maftia_crypto::{DealSpec, GroupKeys, RealKeyring, RealSuite, ServerKeys, deal};
use maftia_node::http::FrontEnd;
use maftia_node::network::{FRAMES_PER_SECOND, NetworkConfig, Peer, PeerAddress};
use maftia_node::server::{Server, ServerConfig, ServerError, Tuning};
use maftia_node::tamper::Honest;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

const COUNTER: ServiceId = ServiceId(9);

/// Counts requests, and says the how manieth each one is.
#[derive(Clone, Debug, Default, Hash)]
struct Counter(u64);

impl StateMachine for Counter {
    fn apply(&mut self, request: &[u8], _: &ApplyContext<'_>) -> Reply {
        self.0 += 1;
        let text = String::from_utf8_lossy(request);
        Reply::Plain(format!("{}: {text}", self.0).into())
    }

    fn snapshot(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        self.0 = u64::from_be_bytes(snapshot.as_ref().try_into().ok()?);
        Some(())
    }
}

struct CounterFrontEnd;

impl FrontEnd for CounterFrontEnd {
    fn request_type(&self) -> &'static str {
        "text/plain"
    }

    fn reply_type(&self) -> &'static str {
        "text/plain"
    }

    fn request(&self, body: Bytes) -> Result<(ServiceId, Bytes), Vec<u8>> {
        Ok((COUNTER, body))
    }

    fn reply(&self, reply: FrontEndReply) -> Vec<u8> {
        match reply {
            FrontEndReply::Plain(body) => body.to_vec(),
            other => format!("{other:?}").into_bytes(),
        }
    }
}

/// The production server is the honest one, and it runs every service: a fact for the compiler.
type Production = Server<Replica<RealSuite, maftia_services::Service>, Honest>;
const _: fn(Production) -> Result<(), ServerError> = |server| server.run(|| ());

struct Town {
    keys: GroupKeys,
    structure: AdversaryStructure,
    addresses: Vec<[SocketAddr; 3]>,
}

fn dealt(n: usize) -> (Town, Vec<Vec<u8>>) {
    let structure = AdversaryStructure::optimal(n).expect("well-formed");
    let spec = DealSpec {
        sharing: Formula::exact(&structure),
        structure: structure.clone(),
        epoch: Epoch(0),
        context: Digest::default(),
        rsa: Vec::new(),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let (keys, shares) = deal(&spec, &mut rng, &mut |_| ()).expect("well-formed");
    let files = shares.iter().map(|share| share.to_file(None, &mut rng).to_vec()).collect();
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (0..3 * n).map(bind).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("bound");
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    let addresses = addresses.chunks(3).map(|three| [three[0], three[1], three[2]]).collect();
    (Town { keys, structure, addresses }, files)
}

struct Running {
    stop: oneshot::Sender<Result<(), ServerError>>,
    thread: JoinHandle<Result<(), ServerError>>,
}

impl Town {
    fn start(&self, me: usize, file: &[u8], folder: &Path) -> Running {
        let share = ServerKeys::from_file(file, None).expect("just written");
        let keyring = RealKeyring::new(self.keys.clone(), share).expect("dealt together");
        let id = GroupId(self.keys.digest());
        let group = Group::new(id, Epoch(0), Party::new(me), self.structure.clone());
        let peers = self.keys.parties().iter().zip(&self.addresses).map(|(keys, [address, ..])| {
            Peer { identity: keys.link, address: PeerAddress::Socket(*address) }
        });
        let [listen, clients, http] = self.addresses[me];
        let config = ServerConfig {
            data: folder.join(format!("server-{me}")),
            network: NetworkConfig {
                peers: peers.collect(),
                listen,
                namespace: b"maftia test".to_vec(),
                allow_private_ips: true,
                frames_per_second: FRAMES_PER_SECOND,
            },
            clients,
            http,
            tuning: Tuning::default(),
        };
        let services = [(COUNTER, Counter::default())];
        let server = Server::honest(config, group, keyring, services, Arc::new(CounterFrontEnd));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            let stopped = async { stopped.await.unwrap_or(Ok(())) };
            server.run_until(stopped, move || ready.send(()).expect("the test waits"))
        });
        if is_ready.recv().is_err() {
            panic!("server {me} did not start: {:?}", thread.join());
        }
        Running { stop, thread }
    }

    fn start_all(&self, files: &[Vec<u8>], folder: &Path) -> Vec<Running> {
        files.iter().enumerate().map(|(me, file)| self.start(me, file, folder)).collect()
    }

    /// What server `at` answers to `text`.
    fn ask(&self, at: usize, text: &str) -> String {
        let mut stream = TcpStream::connect(self.addresses[at][2]).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a time");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             content-length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(request.as_bytes()).expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        body.to_owned()
    }
}

fn stop_all(servers: Vec<Running>) {
    let (stops, threads): (Vec<_>, Vec<_>) =
        servers.into_iter().map(|server| (server.stop, server.thread)).unzip();
    for stop in stops {
        stop.send(Ok(())).expect("it runs");
    }
    for thread in threads {
        thread.join().expect("no panic").expect("a graceful end");
    }
}

#[test]
fn four_servers_order_requests_and_still_know_them_after_all_were_stopped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (town, files) = dealt(4);
    let servers = town.start_all(&files, folder.path());
    for count in 1..=8 {
        let at = count % 4;
        assert_eq!(town.ask(at, "hello"), format!("{count}: hello"), "asked at server {at}");
    }
    stop_all(servers);
    let servers = town.start_all(&files, folder.path());
    assert_eq!(town.ask(2, "again"), "9: again", "nothing acknowledged is lost, or done twice");
    stop_all(servers);
}

#[test]
fn three_servers_serve_while_the_fourth_is_down_and_it_catches_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (town, files) = dealt(4);
    let mut servers = town.start_all(&files, folder.path());
    assert_eq!(town.ask(0, "all"), "1: all");
    stop_all(vec![servers.pop().expect("four servers")]);
    for count in 2..=5 {
        assert_eq!(town.ask(1, "three"), format!("{count}: three"));
    }
    servers.push(town.start(3, &files[3], folder.path()));
    assert_eq!(town.ask(3, "back"), "6: back", "it knows what it missed");
    stop_all(servers);
}

#[test]
fn a_group_of_one_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (town, files) = dealt(1);
    let servers = town.start_all(&files, folder.path());
    assert_eq!(town.ask(0, "alone"), "1: alone");
    stop_all(servers);
}
