//! What the group is to sign for the authority itself: certificates, OCSP responses, revocation
//! lists.
//!
//! # Promise
//! - *Once made, never changed*: what the group is asked to sign under one name is always the same.
//! - *Certificates first*: upkeep never takes the places of certificates.
//!
//! # Rules
//! - G1. A certificate that is to be signed is a job at once. At most [`LEAVES_AT_ONCE`] are shown
//!   to the group, the oldest first; the others wait.
//! - G2. Upkeep is wanted until there is a place for it, of which there are [`UPKEEP_AT_ONCE`].
//!   Only then is it made, of what is so at that time.
//! - G3. What has been overtaken is dropped: a signature that comes later finds no job.
//!
//! # Bounds
//! [`SIGNING_MAX`] at once. [`LEAVES_MAX`] certificates of [`LEAVES_BYTES_MAX`] bytes together.

use super::agenda::Due;
use super::issue::{CERTIFICATES_MAX, Certificate, Draft};
use super::table::{Set, Table};
use super::wire::{CERTIFICATE_BYTES_MAX, CRL_BYTES_MAX, signing_of, signing_task};
use super::{Authority, Step};
use crate::x509::{CertificateStatus, Revoked, Serial, Unsigned};
use maftia_activity::{SIGNED_AT_ONCE_MAX, TaskId, ToSign};
use maftia_base::wire::{Blob, EncodeSize, wire_enum, wire_struct};
use maftia_crypto::{SIGNATURE_BYTES_MAX, SigningInput};

/// Certificates that the group is asked to sign at the same time.
const LEAVES_AT_ONCE: usize = 48;

/// Lists and responses that the group is asked to sign at the same time.
const UPKEEP_AT_ONCE: usize = 16;

/// Most that the group is asked to sign at the same time.
pub const SIGNING_MAX: usize = LEAVES_AT_ONCE + UPKEEP_AT_ONCE;

const _: () = assert!(SIGNING_MAX <= SIGNED_AT_ONCE_MAX, "else some that are shown wait");

/// Most certificates that are to be signed.
pub(super) const LEAVES_MAX: usize = 512;

/// Bytes of all certificates that are to be signed.
pub(super) const LEAVES_BYTES_MAX: usize = 4 << 20;

/// Bytes of everything here in a snapshot: these, what upkeep is being signed, what of it is
/// wanted, and the revocation list.
pub(super) const SIGNING_BYTES_MAX: usize = LEAVES_BYTES_MAX + 3 * CRL_BYTES_MAX;

/// The most that one of them takes: a certificate, and the proofs of its names.
const LEAF_BYTES_MAX: usize = 2 * CERTIFICATE_BYTES_MAX;

const JOBS_MAX: usize = LEAVES_MAX + UPKEEP_AT_ONCE;

/// How long after a revocation list the next is made that has more, in seconds.
const CRL_GAP_SECONDS: u64 = 300;

/// What is wanted besides certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Upkeep {
    Crl,
    Ocsp(Serial),
}

wire_enum!(Upkeep { 0 => Crl, 1 => Ocsp(serial) });

/// What is being signed, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Leaf(Draft),
    /// The list that was made at this time.
    Crl {
        at: u64,
    },
    /// The response about a certificate that was made at this time.
    Ocsp {
        serial: Serial,
        at: u64,
    },
}

wire_enum!(Work { 0 => Leaf(draft), 1 => Crl { at }, 2 => Ocsp { serial, at } });

impl Work {
    fn is_leaf(&self) -> bool {
        matches!(self, Self::Leaf(_))
    }
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    work: Work,
    unsigned: Unsigned,
    /// What of it is signed, so that it is not digested each time that somebody asks.
    input: SigningInput,
}

wire_struct!(Job { work, unsigned, input });

/// All signatures that are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Signing {
    next: u64,
    jobs: Table<u64, Job, JOBS_MAX>,
    wanted: Set<Upkeep, { CERTIFICATES_MAX + 1 }>,
}

wire_struct!(Signing { next, jobs, wanted });

/// The revocation list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Crl {
    /// Number of the last one that was made.
    number: u64,
    pub(super) list: Option<Blob<CRL_BYTES_MAX>>,
    /// When that was made.
    at: u64,
    /// When the next is to be made; `None` while one is.
    pub(super) due: Option<u64>,
    /// Has something been revoked since the last was made?
    is_stale: bool,
}

wire_struct!(Crl { number, list, at, due, is_stale });

impl Default for Crl {
    /// The first list is due as soon as there is an agreed time.
    fn default() -> Self {
        Self { number: 0, list: None, at: 0, due: Some(1), is_stale: false }
    }
}

impl Signing {
    /// Is there room for another certificate, whatever its length? (G1)
    pub(super) fn has_room(&self) -> bool {
        let leaves = || self.jobs.values().filter(|job| job.work.is_leaf());
        let bytes = leaves().map(EncodeSize::encode_size).sum::<usize>();
        leaves().count() < LEAVES_MAX && bytes + LEAF_BYTES_MAX <= LEAVES_BYTES_MAX
    }

    pub(super) fn begin(&mut self, work: Work, unsigned: Unsigned) {
        let input = unsigned.signing_input();
        self.jobs.insert(self.next, Job { work, unsigned, input });
        self.next += 1;
    }

    /// Another response about this certificate is wanted, and those that are being signed no more.
    pub(super) fn want_ocsp(&mut self, serial: Serial) {
        self.forget(serial);
        self.wanted.insert(Upkeep::Ocsp(serial));
    }

    /// Nothing about this certificate is wanted any more. (G3)
    pub(super) fn forget(&mut self, serial: Serial) {
        self.wanted.remove(&Upkeep::Ocsp(serial));
        let is_about_it =
            |job: &Job| matches!(job.work, Work::Ocsp { serial: found, .. } if found == serial);
        self.jobs.retain(|_, job| !is_about_it(job));
    }

    /// What the group is asked to sign now. (G1)
    fn shown(&self) -> impl Iterator<Item = (TaskId, &SigningInput)> {
        let leaves = self.jobs.iter().filter(|(_, job)| job.work.is_leaf()).take(LEAVES_AT_ONCE);
        let upkeep = self.jobs.iter().filter(|(_, job)| !job.work.is_leaf());
        leaves.chain(upkeep).map(|(number, job)| (signing_task(*number), &job.input))
    }

    /// What is wanted and has a place. (G2)
    fn next_upkeep(&mut self) -> Option<Upkeep> {
        let places = self.jobs.values().filter(|job| !job.work.is_leaf()).count();
        if places >= UPKEEP_AT_ONCE { None } else { self.wanted.pop_first() }
    }
}

impl Authority {
    /// What the group is asked to sign now. (G1)
    pub(super) fn wanted_signatures(&self) -> Vec<ToSign> {
        let key = self.policy.settings().key;
        let shown = self.state.signing.shown();
        shown.map(|(id, input)| ToSign { id, key, input: input.clone() }).collect()
    }

    /// The group has signed what has this name.
    pub(super) fn on_signed(&mut self, id: TaskId, signature: &[u8], step: &Step<'_>) {
        let Some(number) = signing_of(id).filter(|_| signature.len() <= SIGNATURE_BYTES_MAX) else {
            return;
        };
        let job = self.state.signing.jobs.remove(&number);
        let Some(Job { work, unsigned, .. }) = job else { return }; // G3
        match work {
            Work::Leaf(draft) => self.on_leaf_signed(draft, &unsigned, signature, step),
            Work::Crl { at } => self.on_crl_signed(at, &unsigned.finish(signature), step.now),
            Work::Ocsp { serial, at } => {
                self.on_ocsp_signed((serial, at), &unsigned.finish(signature));
            }
        }
        self.begin_upkeep(step.now);
    }

    /// Makes what is wanted and has a place. (G2)
    pub(super) fn begin_upkeep(&mut self, now: u64) {
        while let Some(upkeep) = self.state.signing.next_upkeep() {
            match upkeep {
                Upkeep::Crl => self.begin_crl(now),
                Upkeep::Ocsp(serial) => self.begin_ocsp(serial, now),
            }
        }
    }

    /// Another list is to be made.
    pub(super) fn on_crl_due(&mut self) {
        self.set_crl_due(None);
        self.state.signing.wanted.insert(Upkeep::Crl);
    }

    /// Another response is to be made.
    pub(super) fn on_ocsp_due(&mut self, serial: Serial) {
        self.change_certificate(serial, |certificate| certificate.ocsp_due = None);
        self.state.signing.want_ocsp(serial);
    }

    /// A certificate has been revoked: what said otherwise is not shown any more.
    pub(super) fn on_status_changed(&mut self, serial: Serial, now: u64) {
        self.change_certificate(serial, |certificate| {
            (certificate.ocsp, certificate.ocsp_due) = (None, None);
        });
        self.state.signing.want_ocsp(serial);
        self.state.crl.is_stale = true;
        if let Some(due) = self.state.crl.due {
            let soon = self.state.crl.at.saturating_add(CRL_GAP_SECONDS).max(now);
            self.set_crl_due(Some(due.min(soon)));
        }
    }

    fn begin_crl(&mut self, now: u64) {
        let crl = &mut self.state.crl;
        crl.number += 1;
        crl.is_stale = false;
        let revoked = |(serial, certificate): (&Serial, &Certificate)| {
            let revocation = certificate.revocation?;
            Some(Revoked { serial: *serial, at: revocation.at, reason: revocation.reason })
        };
        let revoked: Vec<_> = self.state.certificates.iter().filter_map(revoked).collect();
        // The next one is there in time, even if it takes as long as this one is old.
        let next = now.saturating_add(self.policy.settings().periods.crl.saturating_mul(2));
        let number = self.state.crl.number;
        match self.policy.issuer().crl(number, now, next, &revoked) {
            Ok(unsigned) => {
                self.state.signing.begin(Work::Crl { at: now }, unsigned);
            }
            // Beyond the year 9999 nothing is signed.
            Err(_) => self.set_crl_due(Some(next.max(now + 1))),
        }
    }

    fn on_crl_signed(&mut self, at: u64, list: &[u8], now: u64) {
        let period = self.policy.settings().periods.crl;
        let crl = &mut self.state.crl;
        crl.list = Blob::new(list.to_vec());
        crl.at = at;
        let after = if crl.is_stale { CRL_GAP_SECONDS.min(period) } else { period };
        self.set_crl_due(Some(at.saturating_add(after).max(now)));
    }

    fn set_crl_due(&mut self, due: Option<u64>) {
        let before = std::mem::replace(&mut self.state.crl.due, due);
        if let Some(at) = before {
            self.index.agenda.remove(at, Due::Crl);
        }
        if let Some(at) = due {
            self.index.agenda.insert(at, Due::Crl);
        }
    }

    fn begin_ocsp(&mut self, serial: Serial, now: u64) {
        let certificate = &self.state.certificates[&serial];
        let status = match certificate.revocation {
            None => CertificateStatus::Good,
            Some(revocation) => {
                CertificateStatus::Revoked { at: revocation.at, reason: revocation.reason }
            }
        };
        let next = now.saturating_add(self.policy.settings().periods.ocsp);
        match self.policy.issuer().ocsp(serial, status, now, next) {
            Ok(unsigned) => {
                self.state.signing.begin(Work::Ocsp { serial, at: now }, unsigned);
            }
            // Beyond the year 9999 nothing is signed.
            Err(_) => self.change_certificate(serial, |found| found.ocsp_due = Some(next)),
        }
    }

    fn on_ocsp_signed(&mut self, (serial, at): (Serial, u64), response: &[u8]) {
        if !self.state.certificates.contains_key(&serial) {
            return;
        }
        let half = self.policy.settings().periods.ocsp / 2;
        self.change_certificate(serial, |certificate| {
            certificate.ocsp = Blob::new(response.to_vec());
            certificate.ocsp_due = Some(at.saturating_add(half));
        });
    }
}
