//! Four engines on one machine, over real sockets and a real disk.

use super::toy::{Ask, Command, Outcome, Seen, Talker, Watcher, ask, group};
use crate::clock::SystemClock;
use crate::engine::{Engine, Parts, no_trusted_component};
use crate::host::Arrival;
use crate::inbox::Inbox;
use crate::journal::{Journal, LogConfig};
use crate::metrics::Metrics;
use crate::network::{FRAMES_PER_SECOND, NetworkConfig, Peer, join};
use crate::tamper::Honest;
use commonware_codec::Encode;
use commonware_cryptography::Signer;
use commonware_cryptography::ed25519::PrivateKey;
use commonware_runtime::tokio::{Config, Context, Runner};
use commonware_runtime::{Clock, Handle, Runner as _, Spawner as _, Supervisor as _};
use maftia_base::Party;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Addresses that nobody listens on now. They stay reserved until all are known.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (0..count).map(bind).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect()
}

fn secret(party: usize) -> PrivateKey {
    PrivateKey::from_seed(party as u64)
}

fn bytes_of(encoded: impl Encode) -> [u8; 32] {
    encoded.encode().as_ref().try_into().expect("32 bytes")
}

#[derive(Clone)]
struct Town {
    addresses: Vec<SocketAddr>,
}

struct Inhabitant {
    arrivals: mpsc::Sender<Arrival<Ask>>,
    inbox: Inbox<Talker>,
    seen: Seen,
    task: Handle<()>,
}

impl Town {
    fn config(&self, me: usize) -> NetworkConfig {
        let peer = |(party, address): (usize, &SocketAddr)| Peer {
            identity: bytes_of(secret(party).public_key()),
            address: *address,
        };
        NetworkConfig {
            peers: self.addresses.iter().enumerate().map(peer).collect(),
            listen: self.addresses[me],
            namespace: b"maftia test".to_vec(),
            allow_private_ips: true,
            frames_per_second: FRAMES_PER_SECOND,
        }
    }

    /// Starts one server. All that belongs to it ends when its task is aborted.
    fn start(&self, context: &Context, me: usize, run: u64) -> Inhabitant {
        let (config, n) = (self.config(me), self.addresses.len());
        let (arrivals, arriving) = mpsc::channel(16);
        let (seen, inbox) = (Seen::default(), Inbox::new(n));
        let (host, mail) = (Watcher(seen.clone()), inbox.clone());
        let context = context.child("server").with_attribute("run", format!("{me}_{run}"));
        let task = context.spawn(move |context| async move {
            let metrics = Arc::new(Metrics::register(&context));
            let secret = bytes_of(secret(me));
            let joined = join(&context, &config, &secret, mail.clone(), Arc::clone(&metrics));
            let (post, receive) = joined.expect("joins");
            let partition = format!("log-{me}");
            let journal = open(&context, &partition).await;
            let parts = Parts {
                group: group(n, me),
                host,
                arrivals: arriving,
                inbox: mail,
                post,
                clock: Arc::new(SystemClock::start()),
                tamper: Arc::new(Honest),
                run: Arc::new(|work| work),
                worker_threads: 0,
                consult: no_trusted_component(),
                room: Default::default(),
                metrics,
            };
            let restored = Engine::restore(Talker::default(), journal, parts).await;
            let (engine, log) = restored.expect("replays");
            context.child("log").spawn(|_| log);
            context.child("receive").spawn(|_| receive);
            let engine = context.child("engine").spawn(|context| engine.run(context));
            engine.await.expect("not cancelled").expect("ends well");
        });
        Inhabitant { arrivals, inbox, seen, task }
    }
}

/// Opens a log. The tasks of a server that was killed a moment ago may still hold it.
async fn open(context: &Context, partition: &str) -> Journal<Context> {
    for attempt in 0..1_000 {
        let log = context.child("journal").with_attribute("attempt", attempt);
        match Journal::open(log, LogConfig::new(partition, partition.to_owned())).await {
            Ok(journal) => return journal,
            Err(_) => context.sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("{partition} cannot be opened in ten seconds");
}

impl Inhabitant {
    /// Whispers until the other has heard anything: connections take a while to be made, and what
    /// is sent before is lost.
    async fn until_heard_by(&self, context: &Context, me: usize, other: &Self) {
        for number in 1_000.. {
            let heard =
                |outcome: &Outcome| matches!(outcome, Outcome::Heard(p, _) if p.index() == me);
            if other.seen.look(|seen| seen.outcomes.iter().any(heard)) {
                return;
            }
            assert!(number < 11_000, "no connection in ten seconds");
            let whisper = ask(Command::Whisper(number));
            self.arrivals.send(whisper).await.expect("the engine listens");
            context.sleep(Duration::from_millis(1)).await;
        }
    }

    async fn until_heard(&self, context: &Context, from: usize, number: u64) {
        let outcome = Outcome::Heard(Party::new(from), number);
        for _ in 0..10_000 {
            if self.seen.look(|seen| seen.outcomes.contains(&outcome)) {
                return;
            }
            context.sleep(Duration::from_millis(1)).await;
        }
        panic!("{from} was not heard saying {number} in ten seconds");
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Context, Town) -> F) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::new().with_worker_threads(2).with_storage_directory(folder.path());
    let town = Town { addresses: free_addresses(4) };
    Runner::new(config).start(|context| test(context, town));
}

#[test]
fn four_servers_meet_and_hear_each_other_over_real_sockets() {
    run(|context, town| async move {
        let servers: Vec<_> = (0..4).map(|me| town.start(&context, me, 0)).collect();
        for (me, server) in servers.iter().enumerate() {
            for other in (0..4).filter(|other| *other != me) {
                server.until_heard_by(&context, me, &servers[other]).await;
            }
            server.arrivals.send(ask(Command::Say(me as u64))).await.expect("the engine listens");
        }
        for server in &servers {
            for from in 0..4 {
                server.until_heard(&context, from, from as u64).await;
            }
        }
        for server in servers {
            server.inbox.stop();
            server.task.await.expect("a graceful end");
        }
    });
}

#[test]
fn a_server_that_was_killed_comes_back_with_its_log_and_is_heard_again() {
    run(|context, town| async move {
        let mut servers: Vec<_> = (0..4).map(|me| town.start(&context, me, 0)).collect();
        servers[3].until_heard_by(&context, 3, &servers[0]).await;
        servers[3].arrivals.send(ask(Command::Say(7))).await.expect("the engine listens");
        servers[0].until_heard(&context, 3, 7).await;
        let killed = servers.pop().expect("four servers");
        killed.task.abort();
        assert!(killed.task.await.is_err(), "it did not end by itself");

        let back = town.start(&context, 3, 1);
        back.until_heard_by(&context, 3, &servers[1]).await;
        // It hears nobody before its log is replayed.
        servers[1].until_heard_by(&context, 1, &back).await;
        assert_eq!(back.seen.look(|seen| seen.restored.clone()), [Outcome::Said(7)]);
        back.arrivals.send(ask(Command::Say(9))).await.expect("the engine listens");
        servers[1].until_heard(&context, 3, 9).await;
    });
}
