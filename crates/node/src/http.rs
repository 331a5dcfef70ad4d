//! The server's HTTP face: time stamps for stock clients, metrics and status for operators.
//!
//! # Bounds
//! At most [`CONNECTIONS_MAX`] connections, half of them for one address, each closed when for
//! [`PATIENCE`] nothing could be written to it: a request that trickles in, an answer that is not
//! read and a client that says nothing are all the same. A body has at most [`BODY_BYTES_MAX`]; an
//! answer is given within [`ANSWER_TIMEOUT`]. At most [`OPEN_MAX`] requests wait for the group,
//! also of clients that have gone; more are told to come back.

use crate::host::{Arrival, ConnectionId};
use crate::places::{Place, Places};
use crate::replica::{Request, StatusBoard};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maftia_activity::FrontEndReply;
use maftia_base::ServiceId;
use maftia_crypto::Suite;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 512;

/// Most requests of stock clients with the group at once.
pub const OPEN_MAX: usize = 256;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// After this time without a byte written a connection is closed. Longer than [`ANSWER_TIMEOUT`].
pub const PATIENCE: Duration = Duration::from_secs(45);

/// After this time without an answer a client is told to come back.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Turns what stock clients send into requests of a service, and its replies into what they get.
/// It moves bytes only: what it could falsify is signed by the group.
pub trait FrontEnd: Send + Sync + 'static {
    /// Media type that a request must have.
    fn request_type(&self) -> &'static str;

    /// Media type of all answers.
    fn reply_type(&self) -> &'static str;

    /// What goes to the group, or what is answered at once.
    fn request(&self, body: Bytes) -> Result<(ServiceId, Bytes), Vec<u8>>;

    /// The answer to a body above [`BODY_BYTES_MAX`], which is not read.
    fn too_long(&self) -> Vec<u8>;

    /// What the client gets.
    fn reply(&self, reply: FrontEndReply) -> Vec<u8>;
}

/// What the pages need.
pub struct Face<S: Suite> {
    /// Serves stock clients.
    pub front_end: Arc<dyn FrontEnd>,
    /// Where requests go.
    pub arrivals: mpsc::Sender<Arrival<Request<S>>>,
    /// All metrics, in the format of Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The latest status.
    pub board: StatusBoard,
    /// Requests that may still go to the group.
    pub open: Arc<Semaphore>,
}

impl<S: Suite> Clone for Face<S> {
    fn clone(&self) -> Self {
        Self {
            front_end: Arc::clone(&self.front_end),
            arrivals: self.arrivals.clone(),
            metrics: Arc::clone(&self.metrics),
            board: self.board.clone(),
            open: Arc::clone(&self.open),
        }
    }
}

impl<S: Suite> std::fmt::Debug for Face<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").finish_non_exhaustive()
    }
}

/// Serves HTTP for ever.
pub async fn serve<S: Suite>(listener: TcpListener, face: Face<S>) -> io::Result<()> {
    serve_with(listener, face, PATIENCE).await
}

pub(crate) async fn serve_with<S: Suite>(
    listener: TcpListener,
    face: Face<S>,
    patience: Duration,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/", post(stamp))
        .route("/tsa", post(stamp))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/healthz", get(health))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(face);
    let listener = Bounded { listener, places: Places::new(CONNECTIONS_MAX), patience };
    axum::serve(listener, pages).await
}

/// Asks the group on behalf of a stock client.
async fn stamp<S: Suite>(
    State(face): State<Face<S>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let asked = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = asked.and_then(|value| value.split(';').next()).map(str::trim);
    if !media.is_some_and(|media| media.eq_ignore_ascii_case(face.front_end.request_type())) {
        let wanted = format!("the body must be {}\n", face.front_end.request_type());
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted).into_response();
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return answer(&face, face.front_end.too_long());
        }
        Err(rejection) => return rejection.into_response(),
    };
    let (service, request) = match face.front_end.request(body) {
        Ok(asked) => asked,
        Err(refused) => return answer(&face, refused),
    };
    let Ok(place) = Arc::clone(&face.open).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy: come back later\n").into_response();
    };
    let arrivals = face.arrivals.clone();
    // A task of its own: the place is taken as long as the request is with the group, even if the
    // client goes away.
    let asking = tokio::spawn(async move {
        let (send, receive) = oneshot::channel();
        let asked =
            ask(&arrivals, Request::FrontEnd { service, request, answer: send }, receive).await;
        drop(place);
        asked
    });
    match asking.await.ok().flatten() {
        Some(reply) => {
            let reply = face.front_end.reply(reply);
            answer(&face, reply)
        }
        None => (StatusCode::GATEWAY_TIMEOUT, "the group does not answer\n").into_response(),
    }
}

fn answer<S: Suite>(face: &Face<S>, body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, face.front_end.reply_type())], body).into_response()
}

async fn metrics<S: Suite>(State(face): State<Face<S>>) -> Response {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, format)], (face.metrics)()).into_response()
}

async fn status<S: Suite>(State(face): State<Face<S>>) -> Response {
    axum::Json(face.board.read()).into_response()
}

async fn health() -> &'static str {
    "ok\n"
}

/// Puts a request before the engine and waits for what it answers.
async fn ask<S: Suite, T>(
    arrivals: &mpsc::Sender<Arrival<Request<S>>>,
    request: Request<S>,
    answer: oneshot::Receiver<T>,
) -> Option<T> {
    // No connection of a stock client needs to be known beyond its one request.
    let arrival = Arrival::Request(ConnectionId(0), request);
    let asked = async {
        arrivals.send(arrival).await.ok()?;
        answer.await.ok()
    };
    timeout(ANSWER_TIMEOUT, asked).await.ok().flatten()
}

/// A listener that accepts no more than it has places for.
struct Bounded {
    listener: TcpListener,
    places: Arc<Places>,
    patience: Duration,
}

impl axum::serve::Listener for Bounded {
    type Io = Visitor;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visitor, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let Some(place) = self.places.take(from.ip()) else { continue };
                    // Without it answers are only slower.
                    let _ = stream.set_nodelay(true);
                    let (patience, end) = (self.patience, Box::pin(sleep(self.patience)));
                    return (Visitor { stream, patience, end, _place: place }, from);
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing could be written to it for a while.
struct Visitor {
    stream: TcpStream,
    patience: Duration,
    end: Pin<Box<Sleep>>,
    _place: Place,
}

impl Visitor {
    /// Ends the connection when its time is over, also while bytes still come.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => poll,
        }
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, poll)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if matches!(poll, Poll::Ready(Ok(1..))) {
            let end = Instant::now() + self.patience;
            self.end.as_mut().reset(end);
        }
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, poll)
    }
}
