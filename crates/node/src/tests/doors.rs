//! The two doors through which clients come: what they let in, and what not.

use crate::asking::Asking;
use crate::client::{IDLE_TIMEOUT, Reception, connect, hello_statement, listen_with};
use crate::host::Arrival;
use crate::http::{BODY_BYTES_MAX, Face, FrontEnd, PATIENCE, serve_with};
use crate::replica::{Request, StatusBoard};
use axum::Router;
use bytes::Bytes;
use maftia_activity::{Ask, ClientBundle, FrontEndReply, LARGE_BYTES_MAX, ReplyBundle, SessionId};
use maftia_base::wire::List;
use maftia_base::{Digest, GroupId, Party, ServiceId, Statement};
use maftia_crypto::{ClientKey, ClientSignature, CodedValue, Commitment, RealSuite};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

type Arrivals = mpsc::Receiver<Arrival<Request<RealSuite>>>;

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

/// A toy signature: the key repeated, mixed with what is signed.
fn toy_signature(key: ClientKey, statement: &Statement) -> ClientSignature {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&key.0);
    let signed = Digest::of("toy", &statement.signing_bytes());
    signature[32..].copy_from_slice(&signed.0);
    ClientSignature(signature)
}

async fn client_door() -> (SocketAddr, Arrivals) {
    impatient_client_door(IDLE_TIMEOUT).await
}

async fn impatient_client_door(idle: Duration) -> (SocketAddr, Arrivals) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (arrivals, arriving) = mpsc::channel(8);
    let reception = Reception {
        group: GroupId::default(),
        me: Party::new(2),
        verify: Arc::new(|claim| {
            let expected =
                hello_statement(GroupId::default(), Party::new(2), claim.statement.value.0);
            claim.statement == expected
                && claim.signature == toy_signature(claim.key, &claim.statement)
        }),
        challenge: Arc::new(|| [9; 32]),
        arrivals,
        connections: Arc::new(AtomicU64::new(0)),
    };
    tokio::spawn(listen_with(listener, reception, idle));
    (address, arriving)
}

fn bundle(key: ClientKey) -> ClientBundle {
    let ask = Ask::Open { nonce: 5, home: Party::new(2) };
    ClientBundle::signed(GroupId::default(), ServiceId(2), ask, key, |statement| {
        toy_signature(key, statement)
    })
}

const ME: ClientKey = ClientKey([1; 32]);

#[test]
fn a_client_that_proves_its_key_is_attached_heard_answered_and_detached() {
    run(async {
        let (address, mut arriving) = client_door().await;
        let sign = |statement: &Statement| toy_signature(ME, statement);
        let connected = connect(address, GroupId::default(), Party::new(2), ME, sign).await;
        let (mut sender, mut receiver) = connected.expect("connects");
        let Some(Arrival::Request(connection, Request::Attach(key, replies))) =
            arriving.recv().await
        else {
            panic!("the client is attached first");
        };
        assert_eq!(key, ME);
        sender.send(&bundle(ME), None).await.expect("sends");
        let Some(Arrival::Request(from, Request::Bundle(heard))) = arriving.recv().await else {
            panic!("then its bundle arrives");
        };
        assert_eq!((from, heard), (connection, bundle(ME)));
        let reply = ReplyBundle::<RealSuite> {
            key: ME,
            replies: List::default(),
            signatures: List::default(),
            signature: None,
        };
        replies.send(reply.clone()).await.expect("the connection writes");
        assert_eq!(receiver.receive().await.expect("decodes"), Some(reply));
        drop((sender, receiver));
        let closed = arriving.recv().await;
        assert!(matches!(closed, Some(Arrival::Closed(closed)) if closed == connection));
    });
}

#[test]
fn a_large_request_follows_its_bundle_and_no_more_than_it_names_is_read() {
    run(async {
        let bytes: Bytes = (0..700_000).map(|at| (at % 251) as u8).collect();
        let value = CodedValue::new(bytes).expect("short enough");
        let of = |length| {
            let value = Commitment::new(length, Digest([7; 32])).expect("short enough");
            let session = SessionId(4);
            let ask = Ask::Large { session, sequence: 1, acknowledged: 1, value };
            let sign = |statement: &Statement| toy_signature(ME, statement);
            ClientBundle::signed(GroupId::default(), ServiceId(2), ask, ME, sign)
        };
        // What it names, more than it names, and what nobody may ask for.
        for (length, fits) in [(700_000, true), (699_999, false), (LARGE_BYTES_MAX + 1, false)] {
            let (address, mut arriving) = client_door().await;
            let sign = |statement: &Statement| toy_signature(ME, statement);
            let connected = connect(address, GroupId::default(), Party::new(2), ME, sign).await;
            let (mut sender, _receiver) = connected.expect("connects");
            let attached = arriving.recv().await;
            assert!(matches!(attached, Some(Arrival::Request(_, Request::Attach(..)))));
            let _ = sender.send(&of(length), Some(&value)).await;
            if !fits {
                assert!(matches!(arriving.recv().await, Some(Arrival::Closed(_))));
                continue;
            }
            sender.send(&bundle(ME), None).await.expect("the connection goes on");
            let Some(Arrival::Request(_, Request::Large { bundle: named, value: heard, .. })) =
                arriving.recv().await
            else {
                panic!("the request arrives with its bundle");
            };
            assert_eq!((named, heard), (of(length), value.clone()));
            let next = arriving.recv().await;
            assert!(matches!(next, Some(Arrival::Request(_, Request::Bundle(_)))));
        }
    });
}

#[test]
fn nobody_is_attached_under_a_key_that_he_does_not_hold() {
    run(async {
        let (address, mut arriving) = client_door().await;
        let others = ClientKey([2; 32]);
        let sign = |statement: &Statement| toy_signature(ME, statement);
        let connected = connect(address, GroupId::default(), Party::new(2), others, sign).await;
        let (_sender, mut receiver) = connected.expect("the challenge is sent to anyone");
        let ended = receiver.receive::<RealSuite>().await;
        assert!(!matches!(ended, Ok(Some(_))), "the server hangs up");
        assert!(arriving.try_recv().is_err());
    });
}

#[test]
fn a_proof_for_another_server_is_no_proof() {
    run(async {
        let (address, mut arriving) = client_door().await;
        let forward = |statement: &Statement| {
            let challenge = statement.value.0;
            let elsewhere = hello_statement(GroupId::default(), Party::new(1), challenge);
            toy_signature(ME, &elsewhere)
        };
        let connected = connect(address, GroupId::default(), Party::new(2), ME, forward);
        let (_sender, mut receiver) = connected.await.expect("the challenge is sent to anyone");
        assert!(!matches!(receiver.receive::<RealSuite>().await, Ok(Some(_))));
        assert!(arriving.try_recv().is_err());
    });
}

#[test]
fn garbage_excess_and_other_clients_bundles_end_the_connection() {
    run(async {
        let huge = (u32::MAX).to_be_bytes().to_vec();
        let garbage = [&4u32.to_be_bytes()[..], &[0xff; 4]].concat();
        for bytes in [huge, garbage] {
            let (address, mut arriving) = client_door().await;
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let mut challenge = [0; 32];
            stream.read_exact(&mut challenge).await.expect("a challenge");
            let hello = hello_statement(GroupId::default(), Party::new(2), challenge);
            let proof = [&ME.0[..], &toy_signature(ME, &hello).0].concat();
            stream.write_all(&[proof, bytes].concat()).await.expect("sends");
            assert!(matches!(
                arriving.recv().await,
                Some(Arrival::Request(_, Request::Attach(..)))
            ));
            assert!(matches!(arriving.recv().await, Some(Arrival::Closed(_))));
        }
        let (address, mut arriving) = client_door().await;
        let sign = |statement: &Statement| toy_signature(ME, statement);
        let connected = connect(address, GroupId::default(), Party::new(2), ME, sign).await;
        let (mut sender, _receiver) = connected.expect("connects");
        sender.send(&bundle(ClientKey([2; 32])), None).await.expect("sends");
        assert!(matches!(arriving.recv().await, Some(Arrival::Request(_, Request::Attach(..)))));
        assert!(matches!(arriving.recv().await, Some(Arrival::Closed(_))));
    });
}

/// Sends what it gets in reverse; refuses the empty request.
struct Mirror;

impl FrontEnd for Mirror {
    fn request_type(&self) -> &'static str {
        "application/mirror-query"
    }

    fn reply_type(&self) -> &'static str {
        "application/mirror-reply"
    }

    fn request(&self, body: Bytes) -> Result<(ServiceId, Bytes), Vec<u8>> {
        if body.is_empty() { Err(b"nothing".to_vec()) } else { Ok((ServiceId(7), body)) }
    }

    fn too_long(&self) -> Vec<u8> {
        b"too long".to_vec()
    }

    fn reply(&self, reply: FrontEndReply) -> Vec<u8> {
        match reply {
            FrontEndReply::Plain(body) => body.to_vec(),
            other => panic!("the test never answers {other:?}"),
        }
    }
}

/// An HTTP door whose group answers with the request in reverse.
async fn http_door(open: usize) -> SocketAddr {
    let (address, mut arriving) = silent_http_door(open, PATIENCE).await;
    tokio::spawn(async move {
        while let Some(arrival) = arriving.recv().await {
            let (request, answer) = front_end_request(arrival);
            let reversed: Bytes = request.iter().rev().copied().collect();
            let _ = answer.send(FrontEndReply::Plain(reversed));
        }
    });
    address
}

fn front_end_request(
    arrival: Arrival<Request<RealSuite>>,
) -> (Bytes, oneshot::Sender<FrontEndReply>) {
    let Arrival::Request(_, Request::FrontEnd { service, request, answer }) = arrival else {
        panic!("stock clients have nothing else to ask");
    };
    assert_eq!(service, ServiceId(7));
    (request, answer)
}

/// An HTTP door whose group is the test.
async fn silent_http_door(open: usize, patience: Duration) -> (SocketAddr, Arrivals) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (arrivals, arriving) = mpsc::channel(8);
    let face = Face {
        front_end: Arc::new(Mirror),
        asking: Asking::new(arrivals, open),
        metrics: Arc::new(|| "turns_total 3\n# EOF\n".into()),
        board: StatusBoard::default(),
        more: Router::new(),
    };
    tokio::spawn(serve_with(listener, face, patience));
    (address, arriving)
}

/// Status and body.
async fn http(address: SocketAddr, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let len = body.len();
    let head =
        format!("{head}\r\nhost: test\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("sends");
    let mut answer = Vec::new();
    // A server that refuses early may reset the connection behind its answer.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

const QUERY: &str = "POST / HTTP/1.1\r\ncontent-type: application/mirror-query";

#[test]
fn stock_clients_get_the_groups_answer_on_both_paths() {
    run(async {
        let address = http_door(1).await;
        assert_eq!(http(address, QUERY, b"abc").await, (200, "cba".into()));
        let other = QUERY.replace("POST /", "POST /tsa");
        assert_eq!(http(address, &other, b"xyz").await, (200, "zyx".into()));
        assert_eq!(http(address, QUERY, b"").await, (200, "nothing".into()), "answered at once");
    });
}

#[test]
fn what_is_too_long_or_of_another_type_never_reaches_the_group() {
    run(async {
        let address = http_door(1).await;
        let plain = "POST / HTTP/1.1\r\ncontent-type: text/plain";
        assert_eq!(http(address, plain, b"abc").await.0, 415);
        let long = vec![b'a'; BODY_BYTES_MAX + 1];
        assert_eq!(http(address, QUERY, &long).await, (200, "too long".into()));
        assert_eq!(http(address, "GET /tsa HTTP/1.1", b"").await.0, 405);
        assert_eq!(http(address, "GET /nothing HTTP/1.1", b"").await.0, 404);
    });
}

#[test]
fn a_busy_group_tells_stock_clients_to_come_back() {
    run(async {
        let address = http_door(0).await;
        assert_eq!(http(address, QUERY, b"abc").await.0, 503);
    });
}

#[test]
fn operators_see_health_metrics_and_status() {
    run(async {
        let address = http_door(1).await;
        assert_eq!(http(address, "GET /healthz HTTP/1.1", b"").await, (200, "ok\n".into()));
        assert_eq!(http(address, "GET /metrics HTTP/1.1", b"").await.1, "turns_total 3\n# EOF\n");
        let (code, status) = http(address, "GET /status HTTP/1.1", b"").await;
        assert_eq!(code, 200);
        assert!(status.contains("\"convicted\":[]"), "{status}");
    });
}

#[test]
fn a_request_that_only_trickles_in_and_a_client_that_says_nothing_lose_their_places() {
    run(async {
        let (address, _group) = silent_http_door(1, Duration::from_millis(100)).await;
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"POST / HTTP/1.1\r\nx: ").await.expect("sends");
        // Until the other end has closed; writing into a closed connection fails a little later.
        while stream.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (address, mut arriving) = impatient_client_door(Duration::from_millis(100)).await;
        let sign = |statement: &Statement| toy_signature(ME, statement);
        let connected = connect(address, GroupId::default(), Party::new(2), ME, sign).await;
        let (_sender, mut receiver) = connected.expect("connects");
        let Some(Arrival::Request(connection, Request::Attach(..))) = arriving.recv().await else {
            panic!("the client is attached first");
        };
        assert!(!matches!(receiver.receive::<RealSuite>().await, Ok(Some(_))), "closed");
        let Some(Arrival::Closed(closed)) = arriving.recv().await else { panic!("detached") };
        assert_eq!(closed, connection);
    });
}

#[test]
fn a_client_that_the_server_has_nothing_to_say_to_any_more_is_disconnected() {
    run(async {
        let (address, mut arriving) = client_door().await;
        let sign = |statement: &Statement| toy_signature(ME, statement);
        let connected = connect(address, GroupId::default(), Party::new(2), ME, sign).await;
        let (_sender, mut receiver) = connected.expect("connects");
        let Some(Arrival::Request(_, Request::Attach(_, replies))) = arriving.recv().await else {
            panic!("the client is attached first");
        };
        drop(replies);
        assert!(!matches!(receiver.receive::<RealSuite>().await, Ok(Some(_))), "closed");
        assert!(matches!(arriving.recv().await, Some(Arrival::Closed(_))));
    });
}

#[test]
fn a_client_that_hangs_up_does_not_give_its_request_a_free_place() {
    run(async {
        let (address, mut arriving) = silent_http_door(1, PATIENCE).await;
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let query = format!("{QUERY}\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc");
        stream.write_all(query.as_bytes()).await.expect("sends");
        let (_, answer) = front_end_request(arriving.recv().await.expect("it arrives"));
        drop(stream);
        assert_eq!(http(address, QUERY, b"abc").await.0, 503, "the group still works on it");
        drop(answer);
        while http(address, "GET /healthz HTTP/1.1", b"").await.0 != 200 {}
        let again = tokio::spawn(async move { http(address, QUERY, b"abc").await });
        let (_, answer) = front_end_request(arriving.recv().await.expect("it arrives"));
        let _ = answer.send(FrontEndReply::Plain(Bytes::from_static(b"done")));
        assert_eq!(again.await.expect("answered"), (200, "done".into()));
    });
}
