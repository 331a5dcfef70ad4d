//! Revocation: that a certificate is not to be believed any more.
//!
//! # Promise
//! - *Only who may*: the account that it was issued to, an account that is authorized for all its
//!   names now, whoever has its key, and enough officers.
//! - *For ever*: nothing makes a revoked certificate good again. From the step on in which it is
//!   revoked, no server shows a response that says otherwise.
//!
//! # Rules
//! - X1. A client names the certificate by posting it, and may give a reason that is for clients to
//!   give: privileges are withdrawn by officers only.
//! - X2. The response about it is withdrawn at once and another one is wanted; the revocation list
//!   is made again soon: see [`super::signing`].
//!
//! # Sources
//! RFC 8555 (7.6), RFC 5280 (5.3.1). Deviation: the key of a certificate can revoke it only if it
//! could be an account's: Ed25519, P-256 or RSA, since a request is signed with it.

use super::answer::{Outcome, Refused, refuse};
use super::audit::AuditEvent;
use super::authorization::not_found;
use super::issue::Certificate;
use super::jose::{Jwk, base64url};
use super::wire::{AcmeReply, Revocation, RevokedBy};
use super::{Authority, ProblemType, Request, Signer, Step};
use crate::x509::{Reason, Serial};
use der::{Decode, Encode};
use serde_json::Value;

impl Authority {
    /// A client wants a certificate to be revoked. (X1)
    pub(super) fn on_revoke(&mut self, request: &Request, step: &Step<'_>) -> Outcome {
        let body = request.object()?;
        let der = body.get("certificate").and_then(Value::as_str).and_then(base64url::decode);
        let Some(der) = der else {
            return refuse(ProblemType::Malformed, "certificate is one in base64url");
        };
        let found = Serial::of_certificate(&der)
            .and_then(|serial| Some((serial, self.state.certificates.get(&serial)?)))
            .filter(|(_, certificate)| certificate.der[..] == der);
        let Some((serial, certificate)) = found else {
            return not_found("there is no such certificate");
        };
        let Some(by) = self.who_revokes(request, certificate) else {
            return refuse(ProblemType::Unauthorized, "it is not for this client to revoke");
        };
        if certificate.revocation.is_some() {
            return refuse(ProblemType::AlreadyRevoked, "it has been revoked before");
        }
        if certificate.not_after < step.now {
            return refuse(ProblemType::Malformed, "it has expired");
        }
        let reason = reason(body.get("reason"))?;
        self.revoke(serial, reason, by, step.now);
        Ok(AcmeReply::empty(200))
    }

    /// Revokes a certificate that is not revoked. (X2)
    pub(super) fn revoke(&mut self, serial: Serial, reason: Reason, by: RevokedBy, now: u64) {
        self.change_certificate(serial, |certificate| {
            assert!(certificate.revocation.is_none(), "it is revoked once");
            certificate.revocation = Some(Revocation { at: now, reason, by });
        });
        self.state.audit.enter(now, AuditEvent::Revoked { serial, reason, by });
        self.on_status_changed(serial, now);
    }

    /// As whom this client may revoke it, if at all.
    fn who_revokes(&self, request: &Request, certificate: &Certificate) -> Option<RevokedBy> {
        match request.signer() {
            Signer::Account(id, _) => {
                let is_authorized = |name| self.index.valid(*id, name).is_some();
                let may = certificate.account == *id || certificate.names().all(is_authorized);
                may.then_some(RevokedBy::Account(*id))
            }
            Signer::Key(key) => {
                (certified_key(&certificate.der)? == *key).then_some(RevokedBy::Key)
            }
        }
    }
}

/// The key that a certificate is for, if a request can be signed with it.
fn certified_key(der: &[u8]) -> Option<Jwk> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let key = certificate.tbs_certificate.subject_public_key_info.to_der().ok()?;
    Jwk::from_spki(&key)
}

/// The reason that a client gives.
fn reason(value: Option<&Value>) -> Result<Reason, Refused> {
    let Some(value) = value else { return Ok(Reason::Unspecified) };
    match value.as_u64().and_then(Reason::from_code) {
        Some(Reason::PrivilegeWithdrawn) | None => {
            refuse(ProblemType::BadRevocationReason, "the reasons are 0, 1, 3, 4 and 5")
        }
        Some(reason) => Ok(reason),
    }
}
