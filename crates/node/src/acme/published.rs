//! What the authority publishes: its certificates, its revocation list, OCSP responses. All of it
//! is signed, so that this server's state alone can be asked, and any cache may keep it; it is
//! served by plain HTTP, too, since who checks a certificate cannot begin with checking another.
//!
//! The root's revocation list is a file that its custodians have signed, and an operator has put
//! here.
//!
//! # Bounds
//! A revocation list is read once in [`CRL_KEPT`], whoever asks for it how often; that a file
//! cannot be read is logged once.
//! An OCSP request has at most [`OCSP_REQUEST_BYTES_MAX`].
//!
//! # Sources
//! RFC 5280 4.2.2.1, 4.2.1.13; RFC 6960 A; RFC 5019 5, 6. A request about several certificates, and
//! one by another hash than SHA-1, is refused as RFC 5019 has it.

use super::{Publication, has_media_type};
use crate::asking::{Asking, Unanswered};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64ct::{Base64, Encoding};
use maftia_base::wire::Wire;
use maftia_crypto::Suite;
use maftia_services::CA;
use maftia_services::ca::{
    CRL_PATH, CaAnswer, CaRead, CaRefusal, ISSUING_PATH, OCSP_PATH, ROOT_CRL_PATH, ROOT_PATH,
};
use maftia_services::x509::{
    OCSP_REQUEST_BYTES_MAX, OCSP_REQUEST_MEDIA_TYPE, OCSP_RESPONSE_MEDIA_TYPE, OcspRefusal,
    ocsp_serial,
};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_ocsp::{BasicOcspResponse, OcspResponse};

/// So long a revocation list is served before the state is asked again.
pub const CRL_KEPT: Duration = Duration::from_secs(1);

/// Longest file with the root's list: there are few certificates of the root.
const ROOT_CRL_BYTES_MAX: u64 = 64 << 10;

/// Certificates of the authority may be kept so long.
const CERTIFICATE_KEPT: Duration = Duration::from_secs(86_400);

/// When to ask again for what is not signed yet.
const COME_BACK: HeaderValue = HeaderValue::from_static("5");

/// What the pages need.
struct Published<S: Suite> {
    publication: Arc<Publication>,
    asking: Asking<S>,
    crl: Arc<Mutex<Kept>>,
    root_crl: Arc<Mutex<Kept>>,
}

/// A revocation list, or that there is none, and when it was read.
type Kept = Option<(Instant, Option<Arc<File>>)>;

/// What is kept, while it is fresh.
fn fresh(kept: &Kept) -> Option<Option<Arc<File>>> {
    let (read_at, file) = kept.as_ref()?;
    (read_at.elapsed() < CRL_KEPT).then(|| file.clone())
}

impl<S: Suite> Clone for Published<S> {
    fn clone(&self) -> Self {
        let (publication, asking) = (Arc::clone(&self.publication), self.asking.clone());
        let [crl, root_crl] = [&self.crl, &self.root_crl].map(Arc::clone);
        Self { publication, asking, crl, root_crl }
    }
}

/// The pages.
pub fn published<S: Suite>(publication: Arc<Publication>, asking: Asking<S>) -> Router {
    Router::new()
        .route(CRL_PATH, get(crl))
        .route(ROOT_CRL_PATH, get(root_crl))
        .route(OCSP_PATH, post(ocsp_post))
        .route(&format!("{OCSP_PATH}/{{*request}}"), get(ocsp_get))
        .route(ISSUING_PATH, get(issuing))
        .route(ROOT_PATH, get(root))
        .layer(DefaultBodyLimit::max(OCSP_REQUEST_BYTES_MAX))
        .with_state(Published {
            publication,
            asking,
            crl: Arc::default(),
            root_crl: Arc::default(),
        })
}

/// Something that caches may keep for a while.
struct File {
    media_type: &'static str,
    bytes: Bytes,
    /// From when it is, and when something newer will be there.
    updates: Option<(SystemTime, SystemTime)>,
}

async fn issuing<S: Suite>(State(board): State<Published<S>>, headers: HeaderMap) -> Response {
    certificate(Bytes::copy_from_slice(board.publication.issuer.certificate())).respond(&headers)
}

async fn root<S: Suite>(State(board): State<Published<S>>, headers: HeaderMap) -> Response {
    certificate(board.publication.root.clone()).respond(&headers)
}

fn certificate(bytes: Bytes) -> File {
    File { media_type: "application/pkix-cert", bytes, updates: None }
}

async fn crl<S: Suite>(State(board): State<Published<S>>, headers: HeaderMap) -> Response {
    // Whoever comes meanwhile waits for the same answer.
    let mut kept = board.crl.lock().await;
    if let Some(Some(file)) = fresh(&kept) {
        return file.respond(&headers);
    }
    let Ok(Some(CaAnswer::Crl(list))) = board.read(CaRead::Crl).await else {
        let come_back = [(RETRY_AFTER, COME_BACK)];
        return (StatusCode::SERVICE_UNAVAILABLE, come_back, "not yet\n").into_response();
    };
    let file = Arc::new(list_of(Bytes::from(list.to_vec())));
    *kept = Some((Instant::now(), Some(Arc::clone(&file))));
    file.respond(&headers)
}

async fn root_crl<S: Suite>(State(board): State<Published<S>>, headers: HeaderMap) -> Response {
    let mut kept = board.root_crl.lock().await;
    let file = match fresh(&kept) {
        Some(file) => file,
        None => {
            let read = board.publication.root_list.as_deref().map(root_list);
            if let (Some(Err(problem)), None | Some((_, Some(_)))) = (&read, &*kept) {
                warn!(problem, "the root's revocation list cannot be shown");
            }
            let file = read.and_then(Result::ok).map(Arc::new);
            *kept = Some((Instant::now(), file.clone()));
            file
        }
    };
    match file {
        Some(file) => file.respond(&headers),
        None => (StatusCode::NOT_FOUND, "this server has no revocation list of the root\n")
            .into_response(),
    }
}

/// What the file has.
fn root_list(path: &std::path::Path) -> Result<File, String> {
    let mut text = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(ROOT_CRL_BYTES_MAX).read_to_end(&mut text));
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    read.map_err(|error| problem(&error))?;
    let list = CertificateRevocationListDer::from_pem_slice(&text);
    let list = list_of(Bytes::copy_from_slice(&list.map_err(|error| problem(&error))?));
    match list.updates {
        Some(_) => Ok(list),
        None => Err(problem(&"it is no revocation list, or one without an end")),
    }
}

fn list_of(bytes: Bytes) -> File {
    let updates = CertificateList::from_der(&bytes).ok().and_then(|list| {
        let from = list.tbs_cert_list.this_update.to_system_time();
        Some((from, list.tbs_cert_list.next_update?.to_system_time()))
    });
    File { media_type: "application/pkix-crl", bytes, updates }
}

async fn ocsp_get<S: Suite>(
    State(board): State<Published<S>>,
    Path(request): Path<String>,
    headers: HeaderMap,
) -> Response {
    match Base64::decode_vec(&request) {
        Ok(request) => board.ocsp(&request, &headers).await,
        Err(_) => refuse(OcspRefusal::MalformedRequest),
    }
}

async fn ocsp_post<S: Suite>(
    State(board): State<Published<S>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !has_media_type(&headers, OCSP_REQUEST_MEDIA_TYPE) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match body {
        Ok(request) => board.ocsp(&request, &headers).await,
        Err(_) => refuse(OcspRefusal::MalformedRequest),
    }
}

impl<S: Suite> Published<S> {
    async fn ocsp(&self, request: &[u8], headers: &HeaderMap) -> Response {
        let serial = match ocsp_serial(&self.publication.issuer, request) {
            Ok(serial) => serial,
            Err(refusal) => return refuse(refusal),
        };
        match self.read(CaRead::Ocsp { serial }).await {
            Ok(Some(CaAnswer::Ocsp(response))) => {
                let updates = ocsp_updates(&response);
                let bytes = Bytes::from(response.to_vec());
                File { media_type: OCSP_RESPONSE_MEDIA_TYPE, bytes, updates }.respond(headers)
            }
            Ok(Some(CaAnswer::Refused(CaRefusal::Unknown))) => refuse(OcspRefusal::Unauthorized),
            _ => refuse(OcspRefusal::TryLater),
        }
    }

    async fn read(&self, question: CaRead) -> Result<Option<CaAnswer>, Unanswered> {
        let answer = self.asking.read(CA, question.to_wire()).await?;
        Ok(answer.and_then(|answer| CaAnswer::from_wire(answer).ok()))
    }
}

/// Nobody is to keep it.
fn refuse(refusal: OcspRefusal) -> Response {
    let headers = [(CONTENT_TYPE, OCSP_RESPONSE_MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
    (headers, refusal.response()).into_response()
}

fn ocsp_updates(response: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let response = OcspResponse::from_der(response).ok()?.response_bytes?;
    let basic = BasicOcspResponse::from_der(response.response.as_bytes()).ok()?;
    let about = basic.tbs_response_data.responses.first()?;
    let time = |time: &x509_ocsp::OcspGeneralizedTime| time.0.to_system_time();
    Some((time(&about.this_update), time(about.next_update.as_ref()?)))
}

impl File {
    /// With what tells caches how long to keep it. (RFC 5019 6.2)
    fn respond(&self, headers: &HeaderMap) -> Response {
        let digest = Sha256::digest(&self.bytes);
        let tag = format!("\"{}\"", const_hex::encode(&digest[..16]));
        let now = SystemTime::now();
        let kept = match self.updates {
            Some((_, until)) => until.duration_since(now).unwrap_or_default(),
            None => CERTIFICATE_KEPT,
        };
        let keep = format!("max-age={}, public, no-transform, must-revalidate", kept.as_secs());
        let asked = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let is_known = asked.is_some_and(|asked| {
            asked.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
        });
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(CONTENT_TYPE, self.media_type)], self.bytes.clone()).into_response(),
        };
        let mut add = |name, value: String| {
            let value = HeaderValue::try_from(value).expect("letters and digits");
            response.headers_mut().insert(name, value);
        };
        add(ETAG, tag);
        add(CACHE_CONTROL, keep);
        if let Some((from, until)) = self.updates {
            add(LAST_MODIFIED, httpdate::fmt_http_date(from));
            add(EXPIRES, httpdate::fmt_http_date(until));
        }
        response
    }
}
