//! Renewal information: when a client should ask for another certificate.
//!
//! # Promise
//! The window lies in the last third of a certificate's time, and in the past once it is revoked.
//!
//! # Sources
//! RFC 9773. A certificate is named by the identifier of its issuer's key and its serial number.

use super::Authority;
use super::answer::date;
use super::authorization::not_found;
use super::jose::base64url;
use super::policy::Policy;
use super::wire::AcmeReply;
use crate::x509::Serial;
use serde_json::json;

/// After how many seconds a client looks again: six hours.
const RETRY_SECONDS: u32 = 6 * 3600;

/// How RFC 9773 names a certificate.
pub(super) fn name(policy: &Policy, serial: Serial) -> String {
    let issuer = base64url::encode(policy.issuer().key_identifier());
    format!("{issuer}.{}", base64url::encode(serial.integer()))
}

/// The certificate of this name, if it is ours and has one.
pub(super) fn named(policy: &Policy, text: &str) -> Option<Serial> {
    let (_, integer) = text.split_once('.')?;
    let bytes: Vec<u8> = base64url::decode(integer)?;
    // All of ours have this length.
    let serial = Serial::new(bytes.try_into().ok()?)?;
    (name(policy, serial) == text).then_some(serial)
}

impl Authority {
    /// What a GET is answered with.
    pub(super) fn renewal_info(&self, text: &[u8]) -> AcmeReply {
        let named = std::str::from_utf8(text).ok().and_then(|text| named(&self.policy, text));
        let Some(certificate) = named.and_then(|serial| self.state.certificates.get(&serial))
        else {
            return AcmeReply::of(not_found("there is no such certificate"));
        };
        let (start, end) = match certificate.revocation {
            Some(revocation) => (revocation.at.saturating_sub(1), revocation.at),
            None => {
                let lifetime = certificate.not_after.saturating_sub(certificate.not_before);
                let at = |sixths| certificate.not_before + lifetime / 6 * sixths;
                (at(4), at(5))
            }
        };
        let window = json!({ "start": date(start), "end": date(end) });
        AcmeReply::json(200, &json!({ "suggestedWindow": window })).retry_after(RETRY_SECONDS)
    }
}
