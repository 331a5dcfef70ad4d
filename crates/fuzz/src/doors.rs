//! A server's open ports: whatever comes in through them, no task of the server panics, and a
//! visitor who has said all is let go.

use crate::honest;
use maftia_activity::FrontEndReply;
use maftia_base::{GroupId, Party};
use maftia_crypto::RealSuite;
use maftia_node::asking::{Asking, OPEN_MAX};
use maftia_node::client::{self, Reception};
use maftia_node::host::Arrival;
use maftia_node::http::{self, Face};
use maftia_node::notary::NotaryFrontEnd;
use maftia_node::replica::{Request, StatusBoard};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// In this time a visitor who has said all is let go; far more than it ever takes.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// Panics of any thread.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// A panic of a task ends the task only: it has to be counted where it happens.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

struct Doors {
    _runtime: Runtime,
    clients: SocketAddr,
    http: SocketAddr,
}

fn doors() -> &'static Doors {
    static DOORS: OnceLock<Doors> = OnceLock::new();
    DOORS.get_or_init(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let (arrivals, arrived) = mpsc::channel(64);
        runtime.spawn(serve(arrived));
        let bind = || runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let (for_clients, for_http) = (bind().expect("a port"), bind().expect("a port"));
        let clients = for_clients.local_addr().expect("bound");
        let http = for_http.local_addr().expect("bound");
        let reception = Reception {
            group: GroupId::default(),
            me: Party::new(0),
            // Whoever holds a key gets in; what is tried is what he does then.
            verify: Arc::new(|_| true),
            challenge: Arc::new(|| [1; 32]),
            arrivals: arrivals.clone(),
            connections: Arc::new(AtomicU64::new(0)),
        };
        runtime.spawn(client::listen::<RealSuite>(for_clients, reception));
        let face = Face {
            front_end: Arc::new(NotaryFrontEnd::new(honest::profile().clone())),
            asking: Asking::new(arrivals, OPEN_MAX),
            metrics: Arc::new(String::new),
            board: StatusBoard::default(),
            more: Default::default(),
        };
        runtime.spawn(http::serve::<RealSuite>(for_http, face));
        Doors { _runtime: runtime, clients, http }
    })
}

/// Stands for the engine: keeps who is attached, answers front ends.
async fn serve(mut arrived: mpsc::Receiver<Arrival<Request<RealSuite>>>) {
    let mut attached = BTreeMap::new();
    while let Some(arrival) = arrived.recv().await {
        match arrival {
            Arrival::Request(connection, Request::Attach(_, replies)) => {
                attached.insert(connection, replies);
            }
            Arrival::Request(_, Request::FrontEnd { request, answer, .. }) => {
                // The client may have gone.
                let _ = answer.send(FrontEndReply::Plain(request));
            }
            Arrival::Closed(connection) => drop(attached.remove(&connection)),
            Arrival::Request(_, Request::Read { answer, .. }) => drop(answer.send(None)),
            Arrival::Request(
                _,
                Request::Bundle(_) | Request::Large { .. } | Request::TaskResult { .. },
            ) => {}
        }
    }
}

/// Says `bytes` to a port, and listens until it is let go.
fn visit(port: SocketAddr, bytes: &[u8]) {
    count_panics();
    let before = PANICS.load(Ordering::SeqCst);
    let mut stream = TcpStream::connect(port).expect("the port is open");
    stream.set_read_timeout(Some(LET_GO_WITHIN)).expect("a timeout");
    // Whoever is refused early is not listened to.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("a visitor who has said all is not let go: {error}"),
        }
    }
    let panics = PANICS.load(Ordering::SeqCst) - before;
    assert_eq!(panics, 0, "a task of the server panicked");
}

/// The port of signed bundles: a key, a signature, frames.
pub fn client_port(bytes: &[u8]) {
    visit(doors().clients, bytes);
}

/// The port of stock clients.
pub fn http_port(bytes: &[u8]) {
    visit(doors().http, bytes);
}
