//! The server's HTTP face: time stamps for stock clients, metrics and status for operators.
//!
//! # Bounds
//! At most [`CONNECTIONS_MAX`] connections, half of them for one address, each closed when for
//! [`PATIENCE`] nothing could be written to it: a request that trickles in, an answer that is not
//! read and a client that says nothing are all the same. A body has at most [`BODY_BYTES_MAX`]; an
//! answer is given within [`ANSWER_TIMEOUT`]. At most [`OPEN_MAX`] requests wait for the group,
//! also of clients that have gone; more are told to come back.

use crate::asking::{ANSWER_TIMEOUT, Asking, Unanswered};
use crate::replica::StatusBoard;
use crate::visitors::Bounded;
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
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 512;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// After this time without a byte written a connection is closed. Longer than [`ANSWER_TIMEOUT`].
pub const PATIENCE: Duration = Duration::from_secs(45);

const _: () = assert!(PATIENCE.as_secs() > ANSWER_TIMEOUT.as_secs(), "or answers come too late");

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
    pub asking: Asking<S>,
    /// All metrics, in the format of Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The latest status.
    pub board: StatusBoard,
    /// Pages of services.
    pub more: Router,
}

impl<S: Suite> Clone for Face<S> {
    fn clone(&self) -> Self {
        Self {
            front_end: Arc::clone(&self.front_end),
            asking: self.asking.clone(),
            metrics: Arc::clone(&self.metrics),
            board: self.board.clone(),
            more: self.more.clone(),
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
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let more = face.more.clone();
    let pages = pages.with_state(face).merge(more);
    axum::serve(Bounded::new(listener, CONNECTIONS_MAX, patience), pages).await
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
    match face.asking.order(service, request).await {
        Ok(reply) => {
            let reply = face.front_end.reply(reply);
            answer(&face, reply)
        }
        Err(Unanswered::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, "busy: come back later\n").into_response()
        }
        Err(Unanswered::Silent) => {
            (StatusCode::GATEWAY_TIMEOUT, "the group does not answer\n").into_response()
        }
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
