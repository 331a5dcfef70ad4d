//! Looks at the outside by itself: does whoever asks for a certificate control what it will name?
//!
//! # Promise
//! - *Own eyes*: that [`Validator::validate`] says yes follows from what this server resolved,
//!   fetched and was shown by itself, in this one look. Nothing is remembered from one look to the
//!   next, and nothing is believed of another server.
//! - *Exact*: what was found is what the account's key prescribes, bytes for bytes.
//! - *Bounded*: each look ends within [`ValidationConfig::patience`], however the outside behaves.
//!
//! # Rules
//! - V1. `http-01`: the resource of that name, by plain HTTP, see [`http01`].
//! - V2. `dns-01`: one of the TXT records, see [`dns01`].
//! - V3. `tls-alpn-01`: a certificate that only says so, see [`tls_alpn01`].
//! - V4. Then the zone of a name must let this authority issue, see [`caa`]: if the authority has a
//!   name by which zones can call it.
//! - V5. A name with a wildcard is validated by `dns-01` only, an address by all but `dns-01`.
//!
//! # What is not promised
//! Names are resolved by the resolvers that the operator names; what those keep for a while, and
//! whether they verify DNSSEC, is theirs. A group gains most when its servers stand in different
//! networks and use different resolvers: who misleads one does not mislead all.
//!
//! # What strangers can do with it
//! Anybody with an account has each server of the group open connections to addresses of his
//! choice: that is what a validation is. He learns no more than whether it succeeded, and the log
//! shows the first bytes of what was found to operators only. He can reach what listens on the two
//! configured ports of hosts that only this server reaches, among them itself; redirects of
//! `http-01` let him choose the path, too, but always with GET and without credentials. Where such
//! hosts act on that, set [`ValidationConfig::refuse_private`], which refuses every address that is
//! not of the public internet, wherever it came from: the name itself, an alias, a redirect.
//!
//! # Bounds
//! [`ValidationConfig::looks_max`] looks at once, half of them for new ones; others wait. In each
//! one connection at a time, to at most [`ADDRESSES_MAX`] addresses of a host; further bounds with
//! each kind.
//!
//! # Sources
//! RFC 8555 8; RFC 8737; RFC 8738; RFC 8659; the CA/Browser forum's requirements for what they
//! leave open.

mod caa;
mod dns01;
mod hosts;
mod http01;
mod public;
mod tls;
mod tls_alpn01;
mod work;

pub use dns01::TEXTS_MAX;
pub use hosts::ADDRESSES_MAX;
pub use http01::{BODY_BYTES_MAX, REDIRECTS_MAX};
pub use work::{NEW_TRIES, Validations};

use hosts::{Host, Hosts};
use maftia_services::ca::{ChallengeKind, Identifier};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tls::Handshakes;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How this server looks at the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationConfig {
    /// Whom it asks for names; empty means the system's resolvers.
    pub resolvers: Vec<SocketAddr>,
    /// Where `http-01` looks: 80, but in tests.
    pub http_port: u16,
    /// Where `tls-alpn-01` looks, and `http-01` when it is sent to HTTPS: 443, but in tests.
    pub tls_port: u16,
    /// After this time a look is over.
    pub patience: Duration,
    /// After this time without a connection the next address of the host is tried, or there is
    /// none.
    pub connect_patience: Duration,
    /// How often a resolver is asked the same in one look, and how long each time is waited.
    pub queries: (usize, Duration),
    /// So many looks at once.
    pub looks_max: usize,
    /// What CAA records call this authority; empty has them not looked at.
    pub caa_identities: Vec<String>,
    /// Look only at addresses of the public internet.
    pub refuse_private: bool,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            http_port: 80,
            tls_port: 443,
            patience: Duration::from_secs(30),
            connect_patience: Duration::from_secs(5),
            queries: (2, Duration::from_secs(4)),
            looks_max: 128,
            caa_identities: Vec::new(),
            refuse_private: false,
        }
    }
}

/// Why a look did not end in a yes; for the log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Why {
    /// This kind of challenge says nothing about such a subject.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The resolvers do not say.
    #[error("{name}: {why}")]
    Unresolved {
        /// What was asked for.
        name: String,
        /// What they say instead.
        why: String,
    },
    /// Only addresses that this server is told not to look at.
    #[error("{0} is not an address of the public internet")]
    Private(IpAddr),
    /// Nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The handshake failed.
    #[error("TLS: {0}")]
    Handshake(String),
    /// What was shown in the handshake is not what was asked for.
    #[error("the certificate {0}")]
    Certificate(&'static str),
    /// What comes is not HTTP.
    #[error("HTTP: {0}")]
    Http(String),
    /// It is not there.
    #[error("HTTP status {0}")]
    Status(u16),
    /// It is said to be where this server does not look.
    #[error("sent on to {to:?}: {why}")]
    SentOn {
        /// Where to.
        to: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// Sent on too often.
    #[error("sent on more than {REDIRECTS_MAX} times")]
    SentInCircles,
    /// More than is read.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Something else was found.
    #[error("found {0:?}")]
    Found(String),
    /// The zone does not let this authority issue.
    #[error("CAA: {at} {why}")]
    Forbidden {
        /// Whose records.
        at: String,
        /// What they say.
        why: &'static str,
    },
    /// It takes too long.
    #[error("no answer in time")]
    TooLate,
}

/// This server's resolvers cannot be used.
#[derive(Debug, Error)]
#[error("the resolvers of this host: {0}")]
pub struct ValidatorError(String);

/// Looks at the outside. See the module's documentation.
pub struct Validator {
    outside: Outside,
    new: Semaphore,
    again: Semaphore,
}

/// What a look needs.
struct Outside {
    config: ValidationConfig,
    hosts: Hosts,
    handshakes: Handshakes,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").field("config", &self.outside.config).finish_non_exhaustive()
    }
}

impl Validator {
    /// Looks as `config` says. The rest is to be called on a runtime.
    pub fn new(config: ValidationConfig) -> Result<Self, ValidatorError> {
        let hosts = Hosts::new(&config).map_err(|error| ValidatorError(error.to_string()))?;
        let half = config.looks_max.div_ceil(2);
        let (new, again) = (Semaphore::new(half), Semaphore::new(half));
        let outside = Outside { hosts, handshakes: Handshakes::new(), config };
        Ok(Self { outside, new, again })
    }

    /// Looks once: does whoever controls `subject` answer the challenge with this `token` as the
    /// account whose key gives this key authorization is to? Half of all looks are for those that
    /// are `new`: what has failed before, perhaps because somebody means it to, waits for its like.
    pub async fn validate(
        &self,
        is_new: bool,
        kind: ChallengeKind,
        subject: &Identifier,
        token: &str,
        key_authorization: &str,
    ) -> Result<(), Why> {
        let turns = if is_new { &self.new } else { &self.again };
        let _turn = turns.acquire().await.expect("never closed");
        let look = self.outside.look(kind, subject, token, key_authorization);
        timeout(self.outside.config.patience, look).await.unwrap_or(Err(Why::TooLate))
    }
}

impl Outside {
    async fn look(
        &self,
        kind: ChallengeKind,
        subject: &Identifier,
        token: &str,
        key_authorization: &str,
    ) -> Result<(), Why> {
        let digest: [u8; 32] = Sha256::digest(key_authorization.as_bytes()).into();
        let host = match subject {
            Identifier::Dns(name) if name.is_wildcard() && kind != ChallengeKind::Dns01 => {
                return Err(Why::Unsuitable("only dns-01 says anything of all names below one"));
            }
            Identifier::Dns(name) => Host::Name(name.base().to_owned()),
            Identifier::Ip(address) => Host::Address(*address),
        };
        match (kind, host) {
            (ChallengeKind::Http01, host) => {
                http01::look(self, &host, token, key_authorization).await?;
            }
            (ChallengeKind::TlsAlpn01, host) => tls_alpn01::look(self, &host, &digest).await?,
            (ChallengeKind::Dns01, Host::Name(base)) => dns01::look(self, &base, &digest).await?,
            (ChallengeKind::Dns01, Host::Address(_)) => {
                return Err(Why::Unsuitable("dns-01 says nothing of addresses"));
            }
        }
        match subject {
            Identifier::Dns(name) => caa::look(self, name, kind).await,
            Identifier::Ip(_) => Ok(()),
        }
    }
}

/// The beginning of what was found, for the log.
fn beginning(found: &[u8]) -> String {
    String::from_utf8_lossy(&found[..found.len().min(FOUND_BYTES_MAX)]).into_owned()
}

/// Longest part of what was found that gets into the log.
const FOUND_BYTES_MAX: usize = 128;
