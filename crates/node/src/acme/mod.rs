//! The front end of the certification authority: HTTPS in, requests of the group out.
//!
//! # Promise
//! It moves bytes only. A client signs what it asks for, and the group what it issues: a front end
//! that lies can withhold, and tell its clients what is not so, but it cannot have anything
//! certified or revoked. What it adds of its own are nonces, which it signs for the group.
//!
//! # Rules
//! - F1. A POST goes to the group as it came, and what the group answers goes back, with a fresh
//!   nonce, the link to the directory, and the demand not to store it. (RFC 8555 6.5, 7.1)
//! - F2. A POST must be `application/jose+json`, at most as long as the group takes, and to a path
//!   that has resources; all else is refused here, with a problem document and a nonce. GET is for
//!   the directory and nonces, and what is published. (RFC 8555 6.3)
//! - F3. So is a POST that every server would refuse, see [`screen`]: to order it would cost the
//!   group what it costs nobody to send.
//! - F4. Whoever finalizes an order waits a while for the certificate: as long as
//!   [`Face::patience`], this server looks at its own state whether the group has signed. A
//!   client that is told `processing` polls, and each poll is a request of the group.
//! - F5. Who comes when the group has enough to do, or does not answer, is told when to come back.
//!
//! # Bounds
//! As those of [`crate::http`], places and patience of their own; a TLS handshake takes at most
//! [`HANDSHAKE_PATIENCE`].

mod certificates;
mod listener;
mod nonces;
mod published;
mod screen;
mod setup;

pub use certificates::{CertificateFiles, FilesError, RELOAD_EVERY, Shown};
pub use listener::HANDSHAKE_PATIENCE;
pub use nonces::{Nonces, SignedNonces};
pub use published::{CRL_KEPT, published};
pub(crate) use setup::Opened;
pub use setup::{AcmeConfig, NonceSeed};

use crate::asking::{ANSWER_TIMEOUT, Asking, Unanswered};
use crate::http::{CONNECTIONS_MAX, PATIENCE};
use crate::visitors::Bounded;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, OriginalUri, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LINK, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use listener::Handshaking;
use maftia_activity::{FrontEndReply, Refusal};
use maftia_base::wire::{Blob, Wire};
use maftia_crypto::Suite;
use maftia_services::CA;
use maftia_services::ca::{
    AcmeReply, BODY_BYTES_MAX, CaAnswer, CaRead, CaRequest, Content, DIRECTORY_PATH,
    NEW_NONCE_PATH, NonceKey, Policy, Problem, ProblemType, RENEWAL_INFO_PATH,
};
use maftia_services::x509::Issuer;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::error;

/// Whoever finalizes an order waits so long for its certificate.
pub const FINALIZE_PATIENCE: Duration = Duration::from_secs(5);

/// After so long this server's state is looked at; then after twice as long, and so on.
const LOOK_FIRST: Duration = Duration::from_millis(20);

/// Longest pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const _: () = {
    let longest = ANSWER_TIMEOUT.as_secs() + FINALIZE_PATIENCE.as_secs();
    assert!(longest < PATIENCE.as_secs(), "or connections end before their answers");
};

/// When to come back if the group has enough to do, in seconds.
const COME_BACK: u32 = 5;

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// What is known of the authority without asking the group.
#[derive(Debug)]
pub struct Publication {
    /// Its base URL, without a slash at the end.
    pub base: String,
    /// Its directory: RFC 8555 7.1.1.
    pub directory: Bytes,
    /// Who issues.
    pub issuer: Issuer,
    /// The certificate above the issuer's, in DER.
    pub root: Bytes,
    /// The file with the root's revocation list, in PEM, if there is one.
    pub root_list: Option<PathBuf>,
    /// With which keys the servers sign nonces, in the servers' order.
    pub nonce_keys: Vec<NonceKey>,
}

impl Publication {
    /// What all servers with this policy say.
    pub fn of(policy: &Policy) -> Self {
        let settings = policy.settings();
        Self {
            base: settings.base.clone(),
            directory: policy.directory().into(),
            issuer: policy.issuer().clone(),
            root: Bytes::copy_from_slice(&settings.root),
            root_list: None,
            nonce_keys: settings.nonce_keys.clone(),
        }
    }
}

/// What the pages need.
pub struct Face<S: Suite> {
    /// Of which authority.
    pub publication: Arc<Publication>,
    /// Where nonces come from.
    pub nonces: Arc<dyn Nonces>,
    /// Where requests go.
    pub asking: Asking<S>,
    /// How long a client that finalizes is made to wait: [`FINALIZE_PATIENCE`].
    pub patience: Duration,
}

impl<S: Suite> Clone for Face<S> {
    fn clone(&self) -> Self {
        Self {
            publication: Arc::clone(&self.publication),
            nonces: Arc::clone(&self.nonces),
            asking: self.asking.clone(),
            patience: self.patience,
        }
    }
}

impl<S: Suite> std::fmt::Debug for Face<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").finish_non_exhaustive()
    }
}

/// Serves ACME for ever: by HTTPS, with the certificate that `shown` has; or by plain HTTP, for a
/// proxy on this host that ends TLS.
pub async fn serve<S: Suite>(
    listener: TcpListener,
    shown: Option<Arc<Shown>>,
    face: Face<S>,
) -> io::Result<()> {
    let visitors = Bounded::new(listener, CONNECTIONS_MAX, PATIENCE);
    let pages = pages(face);
    match shown {
        Some(shown) => axum::serve(Handshaking::new(visitors, shown), pages).await,
        None => axum::serve(visitors, pages).await,
    }
}

/// All pages of the authority.
pub fn pages<S: Suite>(face: Face<S>) -> Router {
    let mut pages = Router::new()
        .route(DIRECTORY_PATH, get(directory))
        .route(NEW_NONCE_PATH, get(nonce).head(nonce_head));
    for path in POSTED {
        pages = pages.route(path, post(acme));
    }
    let renewal = format!("{RENEWAL_INFO_PATH}/{{certificate}}");
    let published = published(Arc::clone(&face.publication), face.asking.clone());
    pages
        .route(&renewal, get(renewal_info))
        .method_not_allowed_fallback(not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(face)
        .merge(published)
}

/// The forms of the paths to which clients post. What stands in the braces is for the group to
/// judge.
const POSTED: [&str; 12] = [
    "/acme/new-account",
    "/acme/new-order",
    "/acme/revoke-cert",
    "/acme/key-change",
    "/acme/account/{id}",
    "/acme/account/{id}/orders",
    "/acme/account/{id}/orders/{from}",
    "/acme/order/{id}",
    "/acme/order/{id}/finalize",
    "/acme/authz/{id}",
    "/acme/challenge/{id}/{kind}",
    "/acme/certificate/{serial}",
];

async fn directory<S: Suite>(State(face): State<Face<S>>) -> Response {
    let header = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=3600")];
    (header, face.publication.directory.clone()).into_response()
}

/// RFC 8555 7.2.
async fn nonce<S: Suite>(State(face): State<Face<S>>) -> Response {
    face.dress(StatusCode::NO_CONTENT.into_response())
}

async fn nonce_head<S: Suite>(State(face): State<Face<S>>) -> Response {
    face.dress(StatusCode::OK.into_response())
}

/// RFC 9773 4: read from this server's state, as anybody may ask often.
async fn renewal_info<S: Suite>(
    State(face): State<Face<S>>,
    Path(certificate): Path<String>,
) -> Response {
    let Some(certificate) = Blob::new(certificate.into_bytes()) else {
        return not_found(State(face)).await;
    };
    let question = CaRead::RenewalInfo { certificate };
    match face.asking.read(CA, question.to_wire()).await {
        Ok(Some(said)) => match CaAnswer::from_wire(said) {
            Ok(CaAnswer::Acme(reply)) => answer(reply),
            other => face.broken(&format!("renewal information: {other:?}")),
        },
        Ok(None) => face.unanswered(Unanswered::Silent),
        Err(unanswered) => face.unanswered(unanswered),
    }
}

async fn not_found<S: Suite>(State(face): State<Face<S>>) -> Response {
    face.refuse(ProblemType::Malformed, StatusCode::NOT_FOUND, "there is nothing here")
}

async fn not_allowed<S: Suite>(State(face): State<Face<S>>) -> Response {
    let detail = "this resource is not asked for in this way";
    face.refuse(ProblemType::Malformed, StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Has the group execute a POST. (F1, F2, F3)
async fn acme<S: Suite>(
    State(face): State<Face<S>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !has_media_type(&headers, "application/jose+json") {
        let detail = "a request must be of the type application/jose+json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return face.refuse(ProblemType::Malformed, status, detail);
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let detail =
                format!("a request must come whole and have {BODY_BYTES_MAX} bytes at most");
            return face.refuse(ProblemType::Malformed, rejection.status(), detail);
        }
    };
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let Some(path_sent) = Blob::new(path.as_bytes().to_vec()) else {
        return not_found(State(face)).await;
    };
    if let Err(problem) = screen::screen(&face.publication, path, &body) {
        return face.dress(explain(&problem));
    }
    let body = Blob::new(body).expect("no longer body is read");
    let request = CaRequest::Acme { path: path_sent, body }.to_wire();
    match face.asking.order(CA, request).await {
        Ok(FrontEndReply::Plain(reply)) => match AcmeReply::from_wire(reply) {
            Ok(reply) => {
                let reply = face.finished(path, reply).await;
                face.dress(answer(reply))
            }
            Err(error) => face.broken(&format!("an answer of the authority: {error}")),
        },
        Ok(FrontEndReply::Refused(refusal)) => face.refused(refusal),
        Ok(FrontEndReply::Signed { .. }) => face.broken("the authority has an answer signed"),
        Err(unanswered) => face.unanswered(unanswered),
    }
}

impl<S: Suite> Face<S> {
    /// Adds what every answer of ACME has. (F1)
    fn dress(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        let index = format!("<{}{DIRECTORY_PATH}>;rel=\"index\"", self.publication.base);
        let added = [(REPLAY_NONCE, self.nonces.fresh()), (LINK, index)];
        for (name, value) in added {
            let value = HeaderValue::try_from(value).expect("letters only");
            headers.append(name, value);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The answer to whoever finalizes: if the group has not signed yet, the order as it is when it
    /// has, or when patience is over. (F4)
    async fn finished(&self, path: &str, reply: AcmeReply) -> AcmeReply {
        let Some(order) = finalized(path).filter(|_| is_processing(&reply)) else {
            return reply;
        };
        let question = CaRead::Order { order }.to_wire();
        let (end, mut pause) = (Instant::now() + self.patience, LOOK_FIRST);
        while Instant::now() < end {
            sleep(pause).await;
            pause = LOOK_EVERY.min(2 * pause);
            let seen = timeout_at(end, self.asking.read(CA, question.clone())).await;
            let Ok(Ok(Some(seen))) = seen else { break };
            if let Ok(CaAnswer::Acme(seen)) = CaAnswer::from_wire(seen)
                && seen.content == Content::Json
                && !is_processing(&seen)
            {
                let AcmeReply { status, location, links, .. } = reply;
                return AcmeReply { status, location, links, ..seen };
            }
        }
        reply
    }

    fn refuse(&self, kind: ProblemType, status: StatusCode, detail: impl Into<String>) -> Response {
        let problem = Problem { status: status.as_u16(), ..Problem::new(kind, detail) };
        self.dress(explain(&problem))
    }

    /// Come back later. (F5)
    fn come_back(&self, kind: ProblemType, detail: &str) -> Response {
        let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
        let retry_after = Some(COME_BACK);
        self.dress(explain(&Problem { status, retry_after, ..Problem::new(kind, detail) }))
    }

    fn unanswered(&self, why: Unanswered) -> Response {
        match why {
            Unanswered::Busy => self.come_back(ProblemType::RateLimited, "busy"),
            Unanswered::Silent => {
                self.come_back(ProblemType::ServerInternal, "the group does not answer")
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> Response {
        match refusal {
            Refusal::Overloaded => self.unanswered(Unanswered::Busy),
            Refusal::CatchingUp => {
                let detail = "this server is not a member of its group yet";
                self.come_back(ProblemType::ServerInternal, detail)
            }
            other => self.broken(&format!("the group refuses a request: {other:?}")),
        }
    }

    /// Something that does not happen.
    fn broken(&self, what: &str) -> Response {
        error!("{what}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        self.refuse(ProblemType::ServerInternal, status, "this server is at fault")
    }
}

/// Which order a POST to `path` finalizes.
fn finalized(path: &str) -> Option<u64> {
    path.strip_prefix("/acme/order/")?.strip_suffix("/finalize")?.parse().ok()
}

/// Is this an order that waits for the group to sign?
fn is_processing(reply: &AcmeReply) -> bool {
    let order = || serde_json::from_slice::<serde_json::Value>(&reply.body).ok();
    reply.content == Content::Json
        && order().is_some_and(|order| order["status"].as_str() == Some("processing"))
}

/// As the authority answers, but for what a front end adds.
fn answer(reply: AcmeReply) -> Response {
    let mut response = Response::new(Body::from(reply.body.to_vec()));
    // The group says what a client can understand; if not, that the authority is at fault.
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, value: Vec<u8>| match HeaderValue::try_from(value) {
        Ok(value) => drop(headers.append(name, value)),
        Err(error) => error!(%name, %error, "the authority has said what is no header"),
    };
    if let Some(media_type) = reply.content.media_type() {
        add(CONTENT_TYPE, media_type.into());
    }
    if let Some(location) = reply.location {
        add(LOCATION, location.to_vec());
    }
    if let Some(seconds) = reply.retry_after {
        add(RETRY_AFTER, seconds.to_string().into_bytes());
    }
    for link in reply.links.iter() {
        let relation = format!(">;rel=\"{}\"", link.relation.name());
        add(LINK, [b"<", &link.url[..], relation.as_bytes()].concat());
    }
    response
}

/// A problem document. (RFC 7807)
fn explain(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status);
    let status = status.expect("problems have statuses of errors");
    let header = [(CONTENT_TYPE, "application/problem+json")];
    let mut response = (status, header, problem.to_json()).into_response();
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Is the body said to be of that type, whatever its parameters?
fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.split(';').next()).map(str::trim);
    said.is_some_and(|said| said.eq_ignore_ascii_case(wanted))
}
