//! How a policy is changed: by as many servers as validate a name.
//!
//! # Promise
//! - *One policy*: at each position of the order all servers go by the same policy, and it is one
//!   that enough operators have written; no set of servers that may be corrupt changes it.
//! - *Never another key*: what the group signs with, and in whose name, no policy changes.
//!
//! # Rules
//! - A1. There is always a task that names the present policy by its digest. A server whose
//!   operator has written another one answers with that.
//! - A2. When enough servers have answered the same, by the rule of validations, it is the policy,
//!   and what was answered to this task is forgotten: the next task has another name.
//! - A3. Answers that do not become the policy within [`AMENDMENT_SECONDS`] are forgotten in the
//!   same way: who still thinks so is asked again.
//! - A4. Where officers have changed, what the former ones have said on what is still open does not
//!   count.
//!
//! # Bounds
//! One policy of each server.

use super::agenda::Due;
use super::audit::AuditEvent;
use super::order::Voices;
use super::settings::POLICY_BYTES_MAX;
use super::table::Table;
use super::wire::{CaTask, PolicyView, PolicyWish, amendment_of, amendment_task};
use super::{Authority, Settings, Step};
use maftia_activity::TaskId;
use maftia_base::wire::{Blob, List, wire_struct};
use maftia_base::{Digest, PARTIES_MAX, Party, PartySet};

/// For how long servers' answers are waited for: a day.
pub const AMENDMENT_SECONDS: u64 = 86_400;

/// The policy, and what servers would rather have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Amendment {
    /// Number of the question.
    number: u64,
    /// The policy.
    pub(super) policy: Blob<POLICY_BYTES_MAX>,
    proposals: Table<Party, Blob<POLICY_BYTES_MAX>, PARTIES_MAX>,
    /// When the answers are forgotten; `None` as long as there are none.
    pub(super) expires: Option<u64>,
}

wire_struct!(Amendment { number, policy, proposals, expires });

impl Amendment {
    /// Nobody has asked for another policy than this one.
    pub(super) fn beginning_with(policy: Blob<POLICY_BYTES_MAX>) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Can it have come about?
    pub(super) fn is_sound(&self) -> bool {
        self.proposals.is_empty() == self.expires.is_none()
    }

    fn next(&self, policy: Blob<POLICY_BYTES_MAX>) -> Self {
        Self { number: self.number + 1, ..Self::beginning_with(policy) }
    }

    /// The question, as a task. (A1)
    pub(super) fn task(&self) -> (TaskId, CaTask) {
        (amendment_task(self.number), CaTask::Policy { digest: policy_digest(&self.policy) })
    }
}

/// By which a policy is named.
pub fn policy_digest(policy: &[u8]) -> Digest {
    Digest::of("maftia ca policy", policy)
}

impl Authority {
    /// A server would rather have another policy. (A2)
    pub(super) fn on_proposal(
        &mut self,
        party: Party,
        id: TaskId,
        proposal: &[u8],
        step: &Step<'_>,
    ) {
        let is_asked = amendment_of(id) == Some(self.state.amendment.number);
        let Some(proposal) = Blob::new(proposal.to_vec()).filter(|_| is_asked) else { return };
        let settings = Settings::decoded(&proposal);
        let Some(amended) = settings.and_then(|settings| self.policy.amended(settings)) else {
            return;
        };
        let amendment = &mut self.state.amendment;
        amendment.proposals.insert(party, proposal.clone());
        let same = amendment.proposals.iter().filter(|(_, other)| **other == proposal);
        let voters: PartySet = same.map(|(party, _)| *party).collect();
        if !self.is_enough(voters, step) {
            let expires = step.now.saturating_add(AMENDMENT_SECONDS);
            let first = self.state.amendment.expires;
            return self.set_amendment_due(first.or(Some(expires)));
        }
        self.set_amendment_due(None);
        let officers = self.policy.settings().officers.clone();
        self.policy = amended;
        let digest = policy_digest(&proposal);
        self.state.amendment = self.state.amendment.next(proposal);
        self.state.audit.enter(step.now, AuditEvent::PolicyChanged { digest, voters });
        if officers.keys != self.policy.settings().officers.keys {
            self.forget_words();
        }
    }

    /// They have not agreed. (A3)
    pub(super) fn on_amendment_due(&mut self) {
        self.set_amendment_due(None);
        let policy = self.state.amendment.policy.clone();
        self.state.amendment = self.state.amendment.next(policy);
    }

    /// What former officers have said. (A4)
    fn forget_words(&mut self) {
        for id in self.index.before_officers.clone() {
            self.change_order(id, |order| order.voices = order.voices.map(|_| Voices::default()));
        }
        let motions: Vec<_> = self.state.motions.keys().copied().collect();
        motions.into_iter().for_each(|motion| self.on_motion_due(motion));
    }

    fn set_amendment_due(&mut self, due: Option<u64>) {
        let before = std::mem::replace(&mut self.state.amendment.expires, due);
        if let Some(at) = before {
            self.index.agenda.remove(at, Due::Amendment);
        }
        if let Some(at) = due {
            self.index.agenda.insert(at, Due::Amendment);
        }
    }

    /// The policy, and who would rather have another one.
    pub(super) fn policy_view(&self) -> PolicyView {
        let Amendment { number, policy, proposals, expires } = &self.state.amendment;
        let wish = |(party, other): (&Party, &Blob<POLICY_BYTES_MAX>)| PolicyWish {
            party: *party,
            digest: policy_digest(other),
        };
        let wanted = proposals.iter().map(wish);
        PolicyView {
            digest: policy_digest(policy),
            number: *number,
            wanted: List::new(wanted.collect()).expect("one of each server"),
            expires: *expires,
        }
    }
}
