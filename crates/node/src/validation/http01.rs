//! `http-01` (RFC 8555 8.3, RFC 8738): a resource of the host, fetched by plain HTTP, is the key
//! authorization. White space behind it does not matter.
//!
//! # Rules
//! - Only status 200 has the answer.
//! - Statuses 301, 302, 307 and 308 are followed, at most [`REDIRECTS_MAX`] times, to `http` and
//!   `https` on the two configured ports only. The host may be another one; its name is resolved
//!   and connected to as the first was.
//! - Of `https` no certificate is verified: it is the first, plain request that has to reach the
//!   right host, and who could change that answer could send us on to a host of his own as well.
//!
//! # Bounds
//! [`HEAD_BYTES_MAX`] of a head, [`HEADERS_MAX`] headers; [`BODY_BYTES_MAX`] of a body: more is an
//! error.

use super::hosts::Host;
use super::{Outside, Why, beginning};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use url::{Position, Url};

/// This often a look is sent on to another place.
pub const REDIRECTS_MAX: usize = 10;

/// Longest body of an answer.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Most headers of an answer.
const HEADERS_MAX: usize = 100;

/// What a place says.
enum Answer {
    Body(Bytes),
    SentOn(String),
}

/// Looks once. (V1)
pub(super) async fn look(
    outside: &Outside,
    host: &Host,
    token: &str,
    expected: &str,
) -> Result<(), Why> {
    let port = outside.config.http_port;
    let first = format!("http://{host}:{port}/.well-known/acme-challenge/{token}");
    let mut place = Url::parse(&first).map_err(|error| Why::Http(error.to_string()))?;
    // URLs have more ways to write addresses than there are names.
    if host_of(&place).as_ref() != Some(host) {
        return Err(Why::Unsuitable("a URL with this name is not of a host of this name"));
    }
    for _ in 0..=REDIRECTS_MAX {
        match ask(outside, &place).await? {
            Answer::Body(body) if body.trim_ascii_end() == expected.as_bytes() => return Ok(()),
            Answer::Body(body) => return Err(Why::Found(beginning(&body))),
            Answer::SentOn(to) => place = next(outside, &place, &to)?,
        }
    }
    Err(Why::SentInCircles)
}

/// Where a place sends us, if we may look there.
fn next(outside: &Outside, from: &Url, to: &str) -> Result<Url, Why> {
    let refuse = |why| Why::SentOn { to: beginning(to.as_bytes()), why };
    let next = from.join(to).map_err(|_| refuse("not a URL"))?;
    let port = match next.scheme() {
        "http" => outside.config.http_port,
        "https" => outside.config.tls_port,
        _ => return Err(refuse("neither http nor https")),
    };
    if next.port_or_known_default() != Some(port) {
        return Err(refuse("another port"));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(refuse("with a password"));
    }
    Ok(next)
}

fn host_of(place: &Url) -> Option<Host> {
    Some(match place.host()? {
        url::Host::Domain(name) => Host::Name(name.to_owned()),
        url::Host::Ipv4(address) => Host::Address(address.into()),
        url::Host::Ipv6(address) => Host::Address(IpAddr::V6(address)),
    })
}

/// Asks one place.
async fn ask(outside: &Outside, place: &Url) -> Result<Answer, Why> {
    let host = host_of(place).ok_or_else(|| Why::Http("no host".into()))?;
    let port = place.port_or_known_default().unwrap_or_default();
    let stream = outside.hosts.connect(&host, port).await?;
    if place.scheme() == "https" {
        let stream = outside.handshakes.anyone(&host, stream).await?;
        converse(place, stream).await
    } else {
        converse(place, stream).await
    }
}

/// One request and its answer over a connection that then ends.
async fn converse(
    place: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Answer, Why> {
    let failed = |error: hyper::Error| Why::Http(error.to_string());
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // The connection ends with this set.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let authority = &place[Position::BeforeHost..Position::AfterPort];
    let request = Request::get(&place[Position::BeforePath..Position::AfterQuery])
        .header(HOST, authority)
        .header(USER_AGENT, concat!("maftia/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Why::Http(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> Result<Answer, Why> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let nowhere = Why::SentOn { to: String::new(), why: "nowhere" };
            return Ok(Answer::SentOn(to.ok_or(nowhere)?.to_owned()));
        }
        other => return Err(Why::Status(other.as_u16())),
    }
    match Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(Answer::Body(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Why::TooLong(BODY_BYTES_MAX)),
        Err(error) => Err(Why::Http(error.to_string())),
    }
}
