//! Issuance: from a ready order to a certificate that the group signed.
//!
//! # Promise
//! - *Exactly the order's names*: a certificate names what its order names, each of which servers
//!   validated for its account, as the certificate's record shows.
//! - *Unique*: no two certificates have the same serial number. It begins with the position of the
//!   request among all that the group ever executed, and ends with 64 bits that the group drew
//!   after ordering it.
//! - *In time*: it begins no more than [`BACKDATE_SECONDS`] before the agreed time at which it was
//!   made, and ends with its profile's lifetime or the issuing certificate, whichever is sooner.
//!
//! # Rules
//! - I1. A ready order is finalized with a CSR for exactly its names, whose key is not the
//!   account's and was never revoked as compromised; within the limits.
//! - I2. If officers have to approve one of its names and have not, it waits for them.
//! - I3. Then what is to be signed is made at once, from the agreed time and randomness of that
//!   very request, and never changed again.
//! - I4. With the group's signature it becomes a certificate, and an OCSP response about it is
//!   made. If officers have shut its account meanwhile, it is revoked in the same step.
//!
//! # Bounds
//! [`CERTIFICATES_MAX`] certificates of [`CERTIFICATES_BYTES_MAX`] bytes together, with their
//! proofs and OCSP responses. What a finalized order will take is set aside.
//!
//! # Sources
//! RFC 8555 (7.4), RFC 5280. `notBefore` lies one hour back, since clocks of clients are late, and
//! a certificate that is refused as not yet valid is of no use. It does not claim to have existed
//! then: whoever needs to know when has the log. The 64 bits are to make the number unforeseeable;
//! the owner of a lane may have had a choice among few, which is no help against SHA-256.

use super::account::AccountStatus;
use super::answer::{Outcome, Refused, limited, refuse};
use super::audit::AuditEvent;
use super::count::{Count, WEEK};
use super::csr::Csr;
use super::jose::{Jwk, base64url};
use super::order::{Dates, PUBLIC_KEY_BYTES_MAX, Progress, Wish};
use super::policy::{Policy, Profile};
use super::route::{CRL_PATH, ISSUING_PATH, OCSP_PATH};
use super::signing::Work;
use super::wire::{
    AcmeReply, CERTIFICATE_BYTES_MAX, Content, NAMES_MAX, OCSP_BYTES_MAX, Proof, Revocation,
    RevokedBy,
};
use super::{Authority, Identifier, ProblemType, Request, Step};
use crate::x509::{Leaf, Reason, Serial, Unsigned, to_pem};
use maftia_base::wire::{Blob, EncodeSize, List, wire_struct};
use maftia_crypto::SIGNATURE_BYTES_MAX;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// Most certificates.
pub(super) const CERTIFICATES_MAX: usize = 16_384;

/// Bytes of all certificates in a snapshot, with what belongs to them.
pub(super) const CERTIFICATES_BYTES_MAX: usize = 44 << 20;

/// Most registered names whose certificates of a week are counted.
pub(super) const NAMES_COUNTED_MAX: usize = 16_384;

/// How far a certificate begins before it is made, in seconds.
pub const BACKDATE_SECONDS: u64 = 3600;

/// What a certificate's record takes at most besides the certificate and the proofs.
const RECORD_BYTES_MAX: usize = 256 + OCSP_BYTES_MAX;

/// What a certificate has at most besides names and key: its other contents, and its signature.
const CONTENTS_BYTES_MAX: usize = 3 << 10;

/// What a signature adds at most to what is signed.
const SIGNATURE_OVERHEAD_BYTES: usize = SIGNATURE_BYTES_MAX + 64;

/// What a name takes at most besides its letters, in a certificate and in a proof.
const NAME_OVERHEAD_BYTES: usize = 40;

/// A name under which certificates are counted.
pub(super) type RegisteredName = Blob<{ super::DNS_NAME_BYTES_MAX }>;

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Certificate {
    pub(super) der: Blob<CERTIFICATE_BYTES_MAX>,
    pub(super) account: u64,
    pub(super) order: u64,
    pub(super) proofs: List<Proof, NAMES_MAX>,
    /// A bit for each officer that approved.
    pub(super) approvals: u32,
    /// SHA-256 of its key.
    pub(super) key: [u8; 32],
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) issued: u64,
    /// The log's entry about it.
    pub(super) entry: u64,
    pub(super) revocation: Option<Revocation>,
    /// By which order, unless that is invalid.
    pub(super) replaced_by: Option<u64>,
    pub(super) ocsp: Option<Blob<OCSP_BYTES_MAX>>,
    /// When the next OCSP response is to be made; `None` while one is being made.
    pub(super) ocsp_due: Option<u64>,
    pub(super) forget_at: u64,
}

wire_struct!(Certificate {
    der,
    account,
    order,
    proofs,
    approvals,
    key,
    not_before,
    not_after,
    issued,
    entry,
    revocation,
    replaced_by,
    ocsp,
    ocsp_due,
    forget_at,
});

impl Certificate {
    /// No less than the bytes that it takes in a snapshot.
    pub(super) fn weight(&self) -> usize {
        RECORD_BYTES_MAX + self.der.len() + self.proofs.encode_size()
    }

    /// Its names.
    pub(super) fn names(&self) -> impl Iterator<Item = &Identifier> {
        self.proofs.iter().map(|proof| &proof.identifier)
    }
}

/// A certificate that is being signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Draft {
    pub(super) order: u64,
    serial: Serial,
    not_before: u64,
    not_after: u64,
    proofs: List<Proof, NAMES_MAX>,
}

wire_struct!(Draft { order, serial, not_before, not_after, proofs });

/// The most that a certificate for these will take in a snapshot.
pub(super) fn certificate_weight(names: &[Identifier], key: &[u8]) -> usize {
    let names = names.iter().map(|name| 2 * name.encode_size() + NAME_OVERHEAD_BYTES);
    RECORD_BYTES_MAX + CONTENTS_BYTES_MAX + names.sum::<usize>() + key.len()
}

/// From when to when a certificate is valid that is made now; `None` if it cannot be. A beginning
/// that was chosen and has passed since is none further back than any other.
pub(super) fn validity(
    policy: &Policy,
    profile: &Profile,
    dates: Dates,
    now: u64,
) -> Option<(u64, u64)> {
    let (first, last) = policy.issuer().validity();
    let earliest = now.saturating_sub(BACKDATE_SECONDS).max(first);
    let begins = dates.not_before.unwrap_or(earliest).max(earliest);
    // The last second counts.
    let latest = begins.saturating_add(profile.seconds - 1).min(last);
    let ends = dates.not_after.unwrap_or(latest);
    let is_chosen_well = begins < ends && ends <= latest;
    (is_chosen_well && first <= now && now < ends).then_some((begins, ends))
}

impl Authority {
    /// Finalizes a ready order. (I1, I2, I3)
    pub(super) fn on_finalize(&mut self, request: &Request, id: u64, step: &Step<'_>) -> Outcome {
        let order = self.own_order(request, id)?;
        if order.progress != Progress::Open || !self.is_authorized(order) {
            return refuse(ProblemType::OrderNotReady, "the order is not ready");
        }
        let body = request.object()?;
        let csr = body.get("csr").and_then(Value::as_str).and_then(base64url::decode);
        let Some(csr) = csr else {
            return refuse(ProblemType::Malformed, "csr is a CSR in base64url");
        };
        let csr = Csr::parse(&csr)?;
        if !csr.names.iter().eq(order.names.iter()) {
            return refuse(ProblemType::BadCsr, "the CSR is not for exactly the order's names");
        }
        self.require_good_key(&csr.public_key, &request.account().1.key)?;
        let Some(public_key) = Blob::new(csr.public_key) else {
            return refuse(ProblemType::BadCsr, "the key is too long");
        };
        let wish = Wish { public_key, must_staple: csr.must_staple };
        let names: BTreeSet<_> = order.names.iter().cloned().collect();
        let has_approval = self.has_approval(order);
        let order_names = order.names.clone();
        self.require_names_left(&names, step.now)?;
        self.require_room_for_certificate(&order_names, &wish)?;
        match has_approval {
            false => self.change_order(id, |order| order.progress = Progress::Approving(wish)),
            true => self.begin_certificate(id, wish, step)?,
        }
        self.count_names(&names, step.now);
        Ok(self.order_reply(id, &self.state.orders[&id]))
    }

    /// Makes what is to be signed, unless it cannot be now. (I3)
    pub(super) fn begin_certificate(
        &mut self,
        id: u64,
        wish: Wish,
        step: &Step<'_>,
    ) -> Result<(), Refused> {
        let order = &self.state.orders[&id];
        let Some(profile) = self.policy.profile(order.profile_name()) else {
            return refuse(ProblemType::InvalidProfile, "the profile is no longer offered");
        };
        let dates = order.dates;
        let Some((not_before, not_after)) = validity(&self.policy, profile, dates, step.now) else {
            return refuse(ProblemType::ServerInternal, "no certificate can be issued now");
        };
        let serial = step.serial();
        let proof = |id: &u64| self.state.authorizations.get(id).and_then(|found| found.proof(*id));
        let proofs: Option<Vec<Proof>> = order.authorizations.iter().map(proof).collect();
        let proofs = proofs.and_then(List::new).expect("an order that is ready is authorized");
        let names: BTreeSet<_> = order.names.iter().cloned().collect();
        let leaf = Leaf {
            serial,
            names: &names,
            public_key: &wish.public_key,
            not_before,
            not_after,
            usage: profile.usage,
            must_staple: wish.must_staple,
            crl_url: &self.policy.plain_url(CRL_PATH),
            ocsp_url: &self.policy.plain_url(OCSP_PATH),
            issuer_url: &self.policy.plain_url(ISSUING_PATH),
            policy: profile.policy,
        };
        let unsigned = self.policy.issuer().leaf(&leaf).ok();
        let is_short = |unsigned: &Unsigned| {
            unsigned.tbs().len() + SIGNATURE_OVERHEAD_BYTES <= CERTIFICATE_BYTES_MAX
        };
        let Some(unsigned) = unsigned.filter(is_short) else {
            return refuse(ProblemType::BadCsr, "no certificate can be made for this key");
        };
        let draft = Draft { order: id, serial, not_before, not_after, proofs };
        if !self.state.signing.has_room() {
            return limited(10, "too many certificates are being signed");
        }
        self.state.signing.begin(Work::Leaf(draft), unsigned);
        self.change_order(id, |order| order.progress = Progress::Signing(wish));
        Ok(())
    }

    /// The group has signed. (I4)
    pub(super) fn on_leaf_signed(
        &mut self,
        draft: Draft,
        unsigned: &Unsigned,
        signature: &[u8],
        step: &Step<'_>,
    ) {
        let Draft { order: id, serial, not_before, not_after, proofs } = draft;
        let Some(order) = self.state.orders.get(&id) else { return };
        let Progress::Signing(wish) = &order.progress else { return };
        let approvals = order.voices.map_or(0, |voices| voices.approvals);
        let account = order.account;
        let key: [u8; 32] = Sha256::digest(&wish.public_key[..]).into();
        let der = Blob::new(unsigned.finish(signature)).expect("it was short enough without it");
        let sha256 = Sha256::digest(&der[..]).into();
        let event = AuditEvent::Issued { serial, order: id, account, sha256 };
        let entry = self.state.audit.enter(step.now, event);
        let kept = self.policy.settings().periods.crl.saturating_mul(2);
        let certificate = Certificate {
            der,
            account,
            order: id,
            proofs,
            approvals,
            key,
            not_before,
            not_after,
            issued: step.now,
            entry,
            revocation: None,
            replaced_by: None,
            ocsp: None,
            ocsp_due: None,
            // What was revoked stands on one list at least that is made after its end.
            forget_at: not_after.saturating_add(kept),
        };
        self.change_order(id, |order| order.progress = Progress::Valid { serial, at: step.now });
        self.index.add_certificate(serial, &certificate);
        self.state.certificates.insert(serial, certificate);
        self.state.signing.want_ocsp(serial);
        // Officers shut the account while the group was signing for it.
        if self.state.accounts[&account].status == AccountStatus::Revoked {
            let reason = Reason::PrivilegeWithdrawn;
            self.revoke(serial, reason, RevokedBy::Officers, step.now);
        }
    }

    /// Hands out a certificate with its chain, to whom it was issued.
    pub(super) fn on_certificate(&self, request: &Request, serial: Serial) -> Outcome {
        request.require_get()?;
        let Some(certificate) = self.state.certificates.get(&serial) else {
            return super::authorization::not_found("there is no such certificate");
        };
        if certificate.account != request.account().0 {
            return refuse(ProblemType::Unauthorized, "it is another account's");
        }
        let chain = [&certificate.der[..], self.policy.issuer().certificate()];
        let chain = chain.map(|der| to_pem(der).expect("it is of bounded length")).concat();
        Ok(AcmeReply::new(200, Content::PemChain, chain.into_bytes()))
    }

    /// It has been kept long enough.
    pub(super) fn on_certificate_due(&mut self, serial: Serial) {
        let certificate = self.state.certificates.remove(&serial).expect("it is due");
        self.index.remove_certificate(serial, &certificate);
        self.state.signing.forget(serial);
    }

    pub(super) fn change_certificate(
        &mut self,
        serial: Serial,
        change: impl FnOnce(&mut Certificate),
    ) {
        let certificate = self.state.certificates.get_mut(&serial).expect("callers have found it");
        self.index.remove_certificate(serial, certificate);
        change(certificate);
        self.index.add_certificate(serial, certificate);
    }

    /// Refuses a key that is also an account's, or that somebody else may have. (I1)
    fn require_good_key(&self, public_key: &[u8], account: &Jwk) -> Result<(), Refused> {
        if Jwk::from_spki(public_key).is_some_and(|key| key == *account) {
            return refuse(ProblemType::BadCsr, "the key is the account's");
        }
        let digest: [u8; 32] = Sha256::digest(public_key).into();
        let is_compromised = |certificate: &Certificate| {
            let reason = certificate.revocation.map(|revocation| revocation.reason);
            certificate.key == digest && reason == Some(Reason::KeyCompromise)
        };
        match self.state.certificates.values().any(is_compromised) {
            true => refuse(ProblemType::BadCsr, "the key has been revoked as compromised"),
            false => Ok(()),
        }
    }

    fn require_room_for_certificate(
        &self,
        names: &[Identifier],
        wish: &Wish,
    ) -> Result<(), Refused> {
        let count = self.state.certificates.len() + self.index.promised;
        let bytes = self.index.certificate_bytes + certificate_weight(names, &wish.public_key);
        match count < CERTIFICATES_MAX && bytes <= CERTIFICATES_BYTES_MAX {
            true => Ok(()),
            false => limited(super::count::HOUR, "there are too many certificates"),
        }
    }

    /// Refuses names for which enough was issued this week.
    pub(super) fn require_names_left(
        &self,
        names: &BTreeSet<Identifier>,
        now: u64,
    ) -> Result<(), Refused> {
        let limit = self.policy.settings().limits.certificates_per_week;
        let mut is_new = 0;
        for name in self.registered(names) {
            match self.state.names_counted.get(&name) {
                None => is_new += 1,
                Some(count) => {
                    if let Err(seconds) = count.check(now, WEEK, limit) {
                        let name = String::from_utf8_lossy(&name).into_owned();
                        let detail = format!("too many certificates for {name} in this week");
                        return limited(seconds, detail);
                    }
                }
            }
        }
        let is_current = |count: &&Count| !count.is_over(now, WEEK);
        let has_room = self.state.names_counted.len() + is_new <= NAMES_COUNTED_MAX
            || self.state.names_counted.values().filter(is_current).count() + is_new
                <= NAMES_COUNTED_MAX;
        match has_room {
            true => Ok(()),
            false => limited(WEEK - now % WEEK, "too many names in this week"),
        }
    }

    /// Counts a certificate for each of the registered names; callers have looked at the limits.
    fn count_names(&mut self, names: &BTreeSet<Identifier>, now: u64) {
        for name in self.registered(names) {
            if self.state.names_counted.is_full() && !self.state.names_counted.contains_key(&name) {
                self.state.names_counted.retain(|_, count| !count.is_over(now, WEEK));
            }
            let mut count = self.state.names_counted.get(&name).copied().unwrap_or_default();
            count.add(now, WEEK);
            self.state.names_counted.insert(name, count);
        }
    }

    /// The names under which these were registered, each once.
    fn registered(&self, names: &BTreeSet<Identifier>) -> BTreeSet<RegisteredName> {
        let profiles = &self.policy.settings().profiles;
        let rules = |name: &Identifier| profiles.iter().find(|profile| profile.names.permits(name));
        let registered = names.iter().filter_map(|name| {
            let registered = rules(name)?.names.registered(name);
            Blob::new(registered.into_bytes())
        });
        registered.collect()
    }
}

const _: () = assert!(PUBLIC_KEY_BYTES_MAX <= crate::x509::KEY_BYTES_MAX, "it fits");
