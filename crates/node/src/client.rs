//! Connections of clients that sign their requests, on both ends.
//!
//! # Protocol
//! The server begins with 32 random bytes. The client answers with its public key and its signature
//! on them, bound to the group and to this server: so nobody can have another client's replies sent
//! to himself, or wear out its place. From then on both send frames: four bytes of length, big
//! endian, then a [`ClientBundle`] one way, a [`ReplyBundle`] the other. Nothing here is secret,
//! and nothing needs to be believed: bundles and replies carry their signatures. A bundle that
//! names a large request is followed by it, in frames of any length, as many as it takes.
//!
//! # Bounds
//! At most [`CONNECTIONS_MAX`] connections, half of them for one address, each closed when the
//! client has sent nothing for [`IDLE_TIMEOUT`]: who still lives connects again. In each, one frame
//! that is read, of at most [`REQUEST_FRAME_MAX`], and [`REPLIES_WAITING_MAX`] bundles of replies
//! that wait to be written. At most [`UPLOADS_MAX`] large requests are read, or wait for the
//! protocol, half of them from one address; further ones wait for their turn. Who has begun must
//! end within [`UPLOAD_TIMEOUT`], so that all get theirs.
//! While the protocol has no capacity, nothing is read: the client feels it through TCP.

use crate::host::{Arrival, ConnectionId};
use crate::places::{Places, Turns};
use crate::replica::Request;
use bytes::{Bytes, BytesMut};
use maftia_activity::{Ask, ClientBundle, LARGE_BYTES_MAX, ReplyBundle};
use maftia_base::wire::Wire;
use maftia_base::{Digest, Epoch, GroupId, Party, Place, Scope, Statement, StatementKind};
use maftia_crypto::{ClientClaim, ClientKey, ClientSignature, CodedValue, Suite};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 1024;

/// Largest frame that a client may send.
pub const REQUEST_FRAME_MAX: usize = 256 << 10;

/// Largest frame that a server may send.
pub const REPLY_FRAME_MAX: usize = 128 << 20;

/// Bundles of replies that wait for a client that does not read.
pub const REPLIES_WAITING_MAX: usize = 256;

/// Large requests that are being read at once.
pub const UPLOADS_MAX: usize = 16;

/// Time in which a large request must have come, once it is its turn.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Bytes of a large request in one frame.
const PIECE_BYTES: usize = 128 << 10;

/// After this time without a whole frame a connection is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Time in which a new connection must have proved its key.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client signs to prove that it holds its key, for this server and this challenge.
pub fn hello_statement(group: GroupId, server: Party, challenge: [u8; 32]) -> Statement {
    let scope = Scope::root(group, Epoch(0)).child("client connection", server.index() as u64);
    Statement::new(scope, StatementKind::Link, Place(0, 0), Digest(challenge))
}

/// What the listener must know.
pub struct Reception<S: Suite> {
    /// The group.
    pub group: GroupId,
    /// This server.
    pub me: Party,
    /// Checks a client's signature.
    pub verify: Arc<dyn Fn(ClientClaim) -> bool + Send + Sync>,
    /// Makes a challenge that was never made before.
    pub challenge: Arc<dyn Fn() -> [u8; 32] + Send + Sync>,
    /// Where requests go.
    pub arrivals: mpsc::Sender<Arrival<Request<S>>>,
    /// The last connection's number, shared by all kinds of connections.
    pub connections: Arc<AtomicU64>,
}

impl<S: Suite> Clone for Reception<S> {
    fn clone(&self) -> Self {
        Self {
            group: self.group,
            me: self.me,
            verify: Arc::clone(&self.verify),
            challenge: Arc::clone(&self.challenge),
            arrivals: self.arrivals.clone(),
            connections: Arc::clone(&self.connections),
        }
    }
}

impl<S: Suite> std::fmt::Debug for Reception<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reception").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Accepts clients for ever.
pub async fn listen<S: Suite>(listener: TcpListener, reception: Reception<S>) {
    listen_with(listener, reception, IDLE_TIMEOUT).await;
}

pub(crate) async fn listen_with<S: Suite>(
    listener: TcpListener,
    reception: Reception<S>,
    idle: Duration,
) {
    let places = Places::new(CONNECTIONS_MAX);
    let uploads = Turns::new(UPLOADS_MAX);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "a client's connection failed");
                // Out of file descriptors, most likely: they come back as connections end.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Some(place) = places.take(from.ip()) else {
            debug!(%from, "there is no place for a client's connection");
            continue;
        };
        let (reception, uploads) = (reception.clone(), Arc::clone(&uploads));
        tokio::spawn(async move {
            if let Err(error) = receive(stream, reception, (uploads, from.ip()), idle).await {
                debug!(%from, %error, "a client's connection ended");
            }
            drop(place);
        });
    }
}

/// Serves one connection until it ends.
async fn receive<S: Suite>(
    stream: TcpStream,
    reception: Reception<S>,
    (uploads, from): (Arc<Turns>, IpAddr),
    idle: Duration,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (mut read, mut write) = (BufReader::new(read), BufWriter::new(write));
    let hello = timeout(HELLO_TIMEOUT, greet(&mut read, &mut write, &reception));
    let key = hello.await.map_err(|_| Error::from(ErrorKind::TimedOut))??;
    let connection = ConnectionId(reception.connections.fetch_add(1, Ordering::Relaxed) + 1);
    let (replies, waiting) = mpsc::channel(REPLIES_WAITING_MAX);
    ask(&reception, Arrival::Request(connection, Request::Attach(key, replies))).await?;
    // Writing ends when the server has nothing to say to this client any more.
    let turns = (&*uploads, from);
    let ended = tokio::select! {
        ended = read_bundles(&mut read, (connection, key), &reception, turns, idle) => ended,
        ended = write_replies(write, waiting) => ended,
    };
    let closed = ask(&reception, Arrival::Closed(connection)).await;
    ended.and(closed)
}

async fn greet<S: Suite>(
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut BufWriter<OwnedWriteHalf>,
    reception: &Reception<S>,
) -> Result<ClientKey> {
    let challenge = (reception.challenge)();
    write.write_all(&challenge).await?;
    write.flush().await?;
    let (mut key, mut signature) = ([0; 32], [0; 64]);
    read.read_exact(&mut key).await?;
    read.read_exact(&mut signature).await?;
    let statement = hello_statement(reception.group, reception.me, challenge);
    let (key, signature) = (ClientKey(key), ClientSignature(signature));
    if !(reception.verify)(ClientClaim { key, statement, signature }) {
        return Err(Error::new(ErrorKind::PermissionDenied, "not the holder of that key"));
    }
    Ok(key)
}

async fn read_bundles<S: Suite>(
    read: &mut BufReader<OwnedReadHalf>,
    (connection, key): (ConnectionId, ClientKey),
    reception: &Reception<S>,
    (uploads, from): (&Turns, IpAddr),
    idle: Duration,
) -> Result<()> {
    loop {
        let frame = timeout(idle, read_frame(read, REQUEST_FRAME_MAX)).await;
        let Some(frame) = frame.map_err(|_| Error::from(ErrorKind::TimedOut))?? else {
            return Ok(());
        };
        let bundle = ClientBundle::from_wire(frame).map_err(|_| malformed())?;
        if bundle.key != key {
            return Err(Error::new(ErrorKind::PermissionDenied, "another client's bundle"));
        }
        let request = match &bundle.ask {
            Ask::Open { .. } | Ask::Requests { .. } => Request::Bundle(bundle),
            Ask::Large { value, .. } => {
                let length = value.length();
                let turn = uploads.take(from).await;
                let value = timeout(UPLOAD_TIMEOUT, read_value(read, length)).await;
                let value = value.map_err(|_| Error::from(ErrorKind::TimedOut))??;
                Request::Large { bundle, value, turn }
            }
        };
        ask(reception, Arrival::Request(connection, request)).await?;
    }
}

/// The large request that follows its bundle.
async fn read_value(read: &mut BufReader<OwnedReadHalf>, length: usize) -> Result<CodedValue> {
    if length > LARGE_BYTES_MAX {
        return Err(malformed());
    }
    let mut value = BytesMut::new();
    while value.len() < length {
        let piece = read_frame(read, REQUEST_FRAME_MAX).await?;
        let piece = piece.ok_or(ErrorKind::UnexpectedEof)?;
        if piece.is_empty() || piece.len() > length - value.len() {
            return Err(malformed());
        }
        value.extend_from_slice(&piece);
    }
    CodedValue::new(value.freeze()).ok_or_else(malformed)
}

async fn ask<S: Suite>(reception: &Reception<S>, arrival: Arrival<Request<S>>) -> Result<()> {
    let sent = reception.arrivals.send(arrival).await;
    sent.map_err(|_| Error::new(ErrorKind::BrokenPipe, "the server stops"))
}

async fn write_replies<S: Suite>(
    mut write: BufWriter<OwnedWriteHalf>,
    mut waiting: mpsc::Receiver<ReplyBundle<S>>,
) -> Result<()> {
    while let Some(bundle) = waiting.recv().await {
        write_frame(&mut write, &bundle.to_wire()).await?;
        if waiting.is_empty() {
            write.flush().await?;
        }
    }
    Ok(())
}

async fn write_frame(write: &mut BufWriter<OwnedWriteHalf>, frame: &[u8]) -> Result<()> {
    let len = u32::try_from(frame.len()).map_err(|_| malformed())?;
    write.write_all(&len.to_be_bytes()).await?;
    write.write_all(frame).await
}

/// The next frame; `None` at the end. Memory is taken as bytes arrive, not as they are announced.
async fn read_frame(read: &mut BufReader<OwnedReadHalf>, max: usize) -> Result<Option<Bytes>> {
    let mut len = [0; 4];
    match read.read_exact(&mut len).await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let len = u32::from_be_bytes(len) as usize;
    if len > max {
        return Err(malformed());
    }
    let mut frame = BytesMut::with_capacity(len.min(64 << 10));
    let mut limited = read.take(len as u64);
    while frame.len() < len {
        if limited.read_buf(&mut frame).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidData, "a frame that does not decode")
}

/// A client's end: sends bundles to one server.
#[derive(Debug)]
pub struct BundleSender {
    write: BufWriter<OwnedWriteHalf>,
}

/// A client's end: receives one server's replies.
#[derive(Debug)]
pub struct ReplyReceiver {
    read: BufReader<OwnedReadHalf>,
}

/// Connects a client to the server `server` of `group` at `address`, and proves its key.
pub async fn connect(
    address: SocketAddr,
    group: GroupId,
    server: Party,
    key: ClientKey,
    sign: impl FnOnce(&Statement) -> ClientSignature,
) -> Result<(BundleSender, ReplyReceiver)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (mut read, mut write) = (BufReader::new(read), BufWriter::new(write));
    let mut challenge = [0; 32];
    read.read_exact(&mut challenge).await?;
    let signature = sign(&hello_statement(group, server, challenge));
    write.write_all(&key.0).await?;
    write.write_all(&signature.0).await?;
    write.flush().await?;
    Ok((BundleSender { write }, ReplyReceiver { read }))
}

impl BundleSender {
    /// Sends `bundle`, and the large request that it names, if it does.
    pub async fn send(&mut self, bundle: &ClientBundle, value: Option<&CodedValue>) -> Result<()> {
        write_frame(&mut self.write, &bundle.to_wire()).await?;
        for piece in value.iter().flat_map(|value| value.chunks(PIECE_BYTES)) {
            write_frame(&mut self.write, piece).await?;
        }
        self.write.flush().await
    }
}

impl ReplyReceiver {
    /// The next replies; `None` when the server has closed the connection.
    pub async fn receive<S: Suite>(&mut self) -> Result<Option<ReplyBundle<S>>> {
        let Some(frame) = read_frame(&mut self.read, REPLY_FRAME_MAX).await? else {
            return Ok(None);
        };
        ReplyBundle::from_wire(frame).map(Some).map_err(|_| malformed())
    }
}
