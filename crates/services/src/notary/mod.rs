//! The notary: RFC 3161 time stamps that stock clients verify.
//!
//! # Promise
//! - *Unforgeable*: a token exists only for a query that the group ordered, with the agreed time at
//!   which it was. Every byte that is signed is a function of the ordered query and the state, so a
//!   front end can withhold a token and not alter one.
//! - *Time*: `genTime` is the agreed time, which no liar moves outside the range of the honest
//!   clocks and which never goes back. It lies after some honest server saw the query.
//! - *Unique serial numbers*, for ever: the position of the query among all that the group ever
//!   executed, followed by 64 bits that the group drew by lot after ordering it.
//! - *Strict*: a malformed, oversized or unacceptable query is rejected with the failure code that
//!   RFC 3161 has for it, and costs no signature.
//!
//! # Model
//! That of the group underneath: unforgeable as long as the corrupt servers cannot combine
//! signature shares, live as long as the others can.
//!
//! # Rules
//! - R1. A query is screened. Anyone can do that ([`Profile::screen`]), so a front end does it
//!   before it has anything ordered.
//! - R2. Without an agreed time that `GeneralizedTime` can express: `timeNotAvailable`.
//! - R3. Else `TSTInfo` and the signed attributes are built ([`TokenBody`]); the group signs them.
//! - R4. A front end joins those and the signature to the response that goes to the client.
//!
//! # Bounds
//! A query has at most [`QUERY_BYTES_MAX`], a nonce [`NONCE_BYTES_MAX`]. The state is one number.
//!
//! # Sources
//! RFC 3161, RFC 5816 (`SigningCertificateV2`), RFC 5652, RFC 5035. Deviations: (a) queries with
//! extensions are refused, since none is understood; (b) a nonce is bounded; (c) `genTime` carries
//! microseconds, which `x509-tsp` cannot express, and `cmpv2` confuses the numbers of failure bits
//! with masks: these two types are ours, derived like theirs.

mod certificate;
mod request;
mod token;

pub use certificate::CertificateTemplate;
pub use const_oid::ObjectIdentifier;
pub use request::{NONCE_BYTES_MAX, QUERY_BYTES_MAX, Rejection};
pub use token::{TokenBody, TokenError};

use crate::x509::CertificateError;
use der::asn1::Uint;
use maftia_activity::{AgreedTime, ApplyContext, Reply, StateMachine};
use maftia_base::Digest;
use maftia_base::canary;
use maftia_base::wire::{Bytes, Wire};
use maftia_crypto::KeyId;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use token::Signer;

/// Media type of a query.
pub const QUERY_MEDIA_TYPE: &str = "application/timestamp-query";

/// Media type of a response.
pub const REPLY_MEDIA_TYPE: &str = "application/timestamp-reply";

/// What all servers of a group must have in common to run the notary.
#[derive(Clone, Debug)]
pub struct Profile(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    key: KeyId,
    policy: ObjectIdentifier,
    accuracy_micros: u64,
    certificates: Vec<Vec<u8>>,
    signer: Signer,
}

impl Profile {
    /// `certificates` are encoded in DER; the first is that of the signing key, and must allow time
    /// stamping. `accuracy_micros` bounds by how much `genTime` may differ from UTC, in the
    /// operator's judgement of the honest servers' clocks.
    pub fn new(
        key: KeyId,
        policy: ObjectIdentifier,
        accuracy_micros: u64,
        certificates: Vec<Vec<u8>>,
    ) -> Result<Self, CertificateError> {
        let signer = Signer::new(&certificates)?;
        Ok(Self(Arc::new(Settings { key, policy, accuracy_micros, certificates, signer })))
    }

    /// Says at once why a query would be rejected, without having it ordered. (R1)
    pub fn screen(&self, query: &[u8]) -> Result<(), Rejection> {
        request::Query::decode(query, self.0.policy).map(drop)
    }

    /// Joins what the group signed and its signature to the response for the client. (R4)
    pub fn respond(&self, body: Bytes, signature: &[u8]) -> Result<Vec<u8>, TokenError> {
        let body = TokenBody::from_wire(body).map_err(|_| TokenError)?;
        self.0.signer.respond(&body, signature)
    }

    /// Under which key the group signs.
    pub fn key(&self) -> KeyId {
        self.0.key
    }

    /// The policy under which tokens are issued.
    pub fn policy(&self) -> ObjectIdentifier {
        self.0.policy
    }

    /// The certificates, the signing key's first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0.certificates
    }
}

impl Hash for Profile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Settings { key, policy, accuracy_micros, certificates, signer: _ } = &*self.0;
        (key, policy, accuracy_micros, certificates).hash(state);
    }
}

/// The replicated notary.
#[derive(Clone, Debug, Hash)]
pub struct Notary {
    profile: Profile,
    issued: u64,
}

impl Notary {
    /// A notary that has issued nothing yet.
    pub fn new(profile: Profile) -> Self {
        Self { profile, issued: 0 }
    }

    /// How many tokens it has had signed.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    fn stamp(&self, query: &[u8], cx: &ApplyContext<'_>) -> Result<Reply, Rejection> {
        let settings = &*self.profile.0;
        let query = request::Query::decode(query, settings.policy)?;
        let agreed = canary!("notary-dates-ahead", AgreedTime(cx.time.0 + 60_000_000), cx.time);
        let time = token::GenTime::new(agreed).filter(|_| cx.time > AgreedTime(0));
        let stamp = token::Stamp {
            policy: settings.policy,
            accuracy_micros: settings.accuracy_micros,
            serial: canary!(
                "notary-serial-of-the-batch",
                serial_number(0, cx.batch_seed),
                serial_number(cx.position, cx.seed())
            ),
            time: time.ok_or(Rejection::TimeNotAvailable)?,
        };
        let (body, input) = settings.signer.body(query, stamp);
        Ok(Reply::Sign { key: settings.key, input, body: body.to_wire() })
    }
}

/// Never the same for two positions, never foreseen, and within the 160 bits of RFC 3161.
fn serial_number(position: u64, seed: Digest) -> Uint {
    let mut bytes = position.to_be_bytes().to_vec();
    bytes.extend_from_slice(&seed.0[..8]);
    Uint::new(&bytes).expect("sixteen bytes are a number")
}

impl StateMachine for Notary {
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply {
        match self.stamp(request, cx) {
            Ok(reply) => {
                self.issued += 1;
                reply
            }
            Err(rejection) => Reply::Plain(rejection.response().into()),
        }
    }

    fn snapshot(&self) -> Bytes {
        self.issued.to_wire()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        let issued = u64::from_wire(snapshot).ok()?;
        self.issued = canary!("notary-forgets-its-count", 0, issued);
        Some(())
    }
}

#[cfg(test)]
mod tests;
