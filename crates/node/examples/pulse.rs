//! What one durable round trip costs on this host: two engines on loopback, each message logged
//! before it is answered.
//!
//! `cargo run --release -p maftia-node --example pulse [rounds] [frames a second]`

use commonware_codec::Encode;
use commonware_cryptography::Signer;
use commonware_cryptography::ed25519::PrivateKey;
use commonware_runtime::tokio::{Config, Context, Runner};
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _};
use maftia_base::protocol::{Timed, TimedProtocol, Vocabulary};
use maftia_base::wire::wire_enum;
use maftia_base::{AdversaryStructure, Epoch, Event, Group, GroupId, Party, Target};
use maftia_node::clock::SystemClock;
use maftia_node::engine::{Engine, Parts, no_trusted_component};
use maftia_node::host::{Arrival, Desk, Host};
use maftia_node::inbox::Inbox;
use maftia_node::journal::{Journal, LogConfig};
use maftia_node::metrics::Metrics;
use maftia_node::network::{FRAMES_PER_SECOND, NetworkConfig, Peer, join};
use maftia_node::tamper::Honest;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Answers each ping with a pong; logs first if it is asked to.
#[derive(Clone, Debug, Hash)]
struct Pulse;

#[derive(Clone, Debug)]
enum Beat {
    Ping { number: u64, durable: bool },
    Pong { number: u64 },
}

wire_enum!(Beat { 0 => Ping { number, durable }, 1 => Pong { number } });

impl Vocabulary for Pulse {
    const NAME: &'static str = "pulse";
    type Command = Beat;
    type Outcome = u64;
    type Message = Beat;
    type Timer = u8;
    type Ticket = ();
    type Work = ();
    type Done = ();
    type Record = [u8; 256];
}

impl TimedProtocol for Pulse {
    fn handle_timed(&mut self, event: Event<Self>, cx: &mut impl Timed<Self>) {
        match event {
            Event::Command(beat) => cx.send(Target::One(Party::new(1)), beat),
            Event::Message { from, body: Beat::Ping { number, durable } } => {
                if durable {
                    cx.persist([7; 256]);
                }
                cx.send(Target::One(from), Beat::Pong { number });
            }
            Event::Message { body: Beat::Pong { number }, .. } => cx.output(number),
            _ => {}
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        0
    }
}

struct Heart(mpsc::UnboundedSender<u64>);

impl Host<Pulse> for Heart {
    type Request = Beat;

    fn on_arrival(&mut self, arrival: Arrival<Beat>, desk: &mut Desk<Pulse>) {
        if let Arrival::Request(_, beat) = arrival {
            desk.command(beat);
        }
    }

    fn on_outcome(&mut self, number: u64, _: &mut Desk<Pulse>) {
        let _ = self.0.send(number);
    }
}

fn bytes_of(encoded: impl Encode) -> [u8; 32] {
    encoded.encode().as_ref().try_into().expect("32 bytes")
}

type Ends = (mpsc::Sender<Arrival<Beat>>, mpsc::UnboundedReceiver<u64>);

fn start(context: &Context, addresses: &[SocketAddr], me: usize, rate: NonZeroU32) -> Ends {
    let peer = |(party, address): (usize, &SocketAddr)| Peer {
        identity: bytes_of(PrivateKey::from_seed(party as u64).public_key()),
        address: *address,
    };
    let config = NetworkConfig {
        peers: addresses.iter().enumerate().map(peer).collect(),
        listen: addresses[me],
        namespace: b"maftia pulse".to_vec(),
        allow_private_ips: true,
        frames_per_second: rate,
    };
    let n = addresses.len();
    let (arrivals, arriving) = mpsc::channel(16);
    let (heard, hear) = mpsc::unbounded_channel();
    let context = context.child("server").with_attribute("me", me);
    context.dedicated().spawn(move |context| async move {
        let metrics = Arc::new(Metrics::register(&context));
        let inbox = Inbox::new(n);
        let secret = bytes_of(PrivateKey::from_seed(me as u64));
        let joined = join(&context, &config, &secret, inbox.clone(), Arc::clone(&metrics));
        let (post, receive) = joined.expect("the network starts");
        let log = context.child("log");
        let journal = Journal::open(log, LogConfig::new(format!("log-{me}"), "pulse")).await;
        let structure = AdversaryStructure::optimal(n).expect("well-formed");
        let parts = Parts {
            group: Group::new(GroupId::default(), Epoch(0), Party::new(me), structure),
            host: Heart(heard),
            arrivals: arriving,
            inbox,
            post,
            clock: Arc::new(SystemClock::start()),
            tamper: Arc::new(Honest),
            run: Arc::new(|work| work),
            worker_threads: 0,
            consult: no_trusted_component(),
            room: Default::default(),
            metrics,
        };
        let journal = journal.expect("the log opens");
        let (engine, log) = Engine::restore(Pulse, journal, parts).await.expect("replays");
        context.child("writer").spawn(|_| log);
        context.child("receive").spawn(|_| receive);
        let ended = engine.run(context).await;
        eprintln!("engine {me} ended: {:?}", ended.err());
    });
    (arrivals, hear)
}

/// Sends pings one after the other; returns the sorted round-trip times.
async fn measure(ends: &mut Ends, rounds: u64, durable: bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while times.len() < rounds as usize {
        let number = times.len() as u64;
        let started = Instant::now();
        let ping = Beat::Ping { number, durable };
        let arrival = Arrival::Request(maftia_node::host::ConnectionId(0), ping);
        ends.0.send(arrival).await.expect("the engine listens");
        // What is sent before the connection stands is lost.
        let pong = tokio::time::timeout(Duration::from_millis(200), ends.1.recv());
        if let Ok(Some(pong)) = pong.await
            && pong == number
        {
            times.push(started.elapsed());
        }
    }
    times.sort_unstable();
    times
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(2_000);
    let rate = arguments.next().and_then(|rate| rate.parse().ok()).unwrap_or(FRAMES_PER_SECOND);
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (0..2).map(bind).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("bound");
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    drop(listeners);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::new().with_worker_threads(1).with_storage_directory(folder.path());
    let before = resident_kib();
    Runner::new(config).start(|context| async move {
        let mut ends = start(&context, &addresses, 0, rate);
        let _other = start(&context, &addresses, 1, rate);
        measure(&mut ends, 10, false).await;
        println!("memory of two networks at {rate} frames/s: {} KiB", resident_kib() - before);
        for durable in [false, true] {
            let times = measure(&mut ends, rounds, durable).await;
            let at = |part: usize| times[(times.len() - 1) * part / 1000].as_micros();
            let (p50, p99, p999) = (at(500), at(990), at(999));
            println!("durable {durable}: p50 {p50} us, p99 {p99} us, p99.9 {p999} us");
        }
    });
}
