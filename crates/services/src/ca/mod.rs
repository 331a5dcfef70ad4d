//! The certification authority: RFC 8555 (ACME), replicated.
//!
//! # Promise
//! - *Nobody alone*: a certificate exists only for names that enough servers have validated for its
//!   account, with the approval of enough officers where the policy wants it, and signed by a key
//!   that no server holds.
//! - *The same everywhere*: every answer, every certificate and every list is a function of the
//!   agreed order, time and randomness.
//! - *Stock clients*: whoever speaks ACME gets certificates. A front end moves bytes; it can
//!   withhold, and neither forge nor alter, since clients sign their requests.
//! - *No trace*: a request that is refused changes nothing but that its nonce is spent, once its
//!   signature has been verified.
//! - *On record*: what was decided on whose word stands in a log that cannot be changed.
//!
//! # Model
//! That of the group underneath. Servers vouch for validations: what they are asked is a task, and
//! how many have to say yes is in [`authorization`]. Without an agreed time nothing is issued.
//!
//! # Rules
//! - C1. Time passes first: what is due by the agreed time happens before a request is looked at,
//!   and again after it.
//! - C2. A request of ACME comes from a front end, and is signed by its client ([`request`]); a
//!   command or a question from a client that signs as such ([`officers`], [`read`]).
//! - C3. What servers say about tasks is counted ([`authorization`]); what the group has signed
//!   becomes what it was meant to be ([`signing`]).
//! - C4. All of the state that is not in a snapshot is a function of what is ([`index`]).
//!
//! One file, one story: [`account`], [`order`], [`authorization`], [`issue`], [`revoke`],
//! [`renewal`], [`signing`], [`officers`], [`audit`], [`nonce`], [`amendment`].
//!
//! # Bounds
//! The state stays below [`STATE_BYTES_MAX`], whatever clients ask: see the sum there. What does
//! not fit is refused as `rateLimited`; what is over is forgotten.
//!
//! # Sources
//! RFC 8555, RFC 8737, RFC 8738, RFC 9773, RFC 5280, RFC 5019, draft-ietf-acme-profiles.
//! Deviations stand where they are made.

mod account;
mod agenda;
mod amendment;
mod answer;
mod audit;
mod authorization;
mod count;
mod csr;
mod identifier;
mod image;
mod index;
mod issue;
pub mod jose;
mod names;
mod nonce;
mod officers;
mod order;
mod policy;
mod problem;
mod read;
mod renewal;
mod request;
mod revoke;
mod route;
mod settings;
mod signing;
mod table;
mod wire;

pub use amendment::{AMENDMENT_SECONDS, policy_digest};
pub use audit::{AUDIT_ENTRIES_MAX, AuditEntry, AuditEvent, BINDING_BYTES_MAX, names_digest};
pub use csr::{CSR_BYTES_MAX, Csr};
pub use identifier::{DNS_NAME_BYTES_MAX, DnsName, Identifier};
pub use issue::BACKDATE_SECONDS;
pub use names::NameRules;
pub use nonce::{
    NONCE_AHEAD_SECONDS_MAX, NONCE_CHARACTERS, NONCE_SECONDS_MAX, NONCES_PER_SERVER_MAX, Nonce,
    NonceKey,
};
pub use officers::MOTION_SECONDS;
pub use policy::{
    ExternalAccount, Limits, Officers, PROFILE_BYTES_MAX, Periods, Policy, PolicyError, Profile,
    Settings, host_of,
};
pub use problem::{Problem, ProblemType};
pub use route::{
    CRL_PATH, DIRECTORY_PATH, ISSUING_PATH, NEW_NONCE_PATH, OCSP_PATH, RENEWAL_INFO_PATH,
    ROOT_CRL_PATH, ROOT_PATH,
};
pub use settings::POLICY_BYTES_MAX;
pub use signing::SIGNING_MAX;
pub use wire::{
    ANSWER_BYTES_MAX, AcmeReply, BASE_BYTES_MAX, BODY_BYTES_MAX, CERTIFICATE_BYTES_MAX,
    CRL_BYTES_MAX, CaAnswer, CaQuery, CaRead, CaRefusal, CaRequest, CaTask, CertificateView,
    ChallengeKind, Content, LOG_PAGE_MAX, Link, LogPage, NAMES_MAX, OCSP_BYTES_MAX, OFFICERS_MAX,
    OfficerCommand, PATH_BYTES_MAX, PENDING_PAGE_MAX, PendingOrder, PolicyView, PolicyWish, Proof,
    Relation, Revocation, RevokedBy, Standing, TOKEN_CHARACTERS, URL_BYTES_MAX, VALIDATED,
    Validation,
};

use agenda::Due;
use amendment::Amendment;
use answer::later;
use image::State;
use index::Index;
use maftia_activity::{
    AgreedTime, ApplyContext, Caller, Reply, StateMachine, TASK_BYTES_MAX, Task, TaskId, ToSign,
};
use maftia_base::Party;
use maftia_base::wire::{Blob, Bytes, Wire};
use request::{Request, Signer};

use crate::x509::Serial;

/// The most that the state takes, in bytes of a snapshot.
pub const STATE_BYTES_MAX: usize = 128 << 20;

const _: () = {
    let nonces = maftia_base::PARTIES_MAX * (NONCES_PER_SERVER_MAX * 25 + 32);
    let accounts = account::ACCOUNTS_MAX * account::ACCOUNT_BYTES_MAX;
    let requests = order::ORDERS_BYTES_MAX + authorization::AUTHORIZATIONS_BYTES_MAX;
    let names = issue::NAMES_COUNTED_MAX * (DNS_NAME_BYTES_MAX + 16);
    let signing = signing::SIGNING_BYTES_MAX;
    let log = AUDIT_ENTRIES_MAX * audit::ENTRY_BYTES_MAX;
    let amendment = maftia_base::PARTIES_MAX * (POLICY_BYTES_MAX + 4) + POLICY_BYTES_MAX;
    let rest = (1 << 20) + amendment;
    let all = nonces + accounts + requests + issue::CERTIFICATES_BYTES_MAX + names + signing + log;
    assert!(all + rest <= STATE_BYTES_MAX, "each table has its bound, and all together have one");
};

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// The last second at which anything is done: in the year 8307. All dates that are made from it
/// have years of four digits.
const LAST_SECOND: u64 = 200_000_000_000;

/// What is due within as many seconds is one reason to be woken: a wake-up costs messages, and who
/// asks before it has what is due happen first. (C1)
const WAKE_SECONDS: u64 = 60;

/// The replicated authority.
#[derive(Clone, Debug, Hash)]
pub struct Authority {
    policy: Policy,
    state: State,
    index: Index,
}

/// One step: when it is, and what is agreed about it besides.
struct Step<'a> {
    /// Seconds since 1970-01-01 UTC; never 0.
    now: u64,
    cx: &'a ApplyContext<'a>,
}

impl<'a> Step<'a> {
    /// `None` if there is no agreed time, or none at which a date could be written.
    fn new(cx: &'a ApplyContext<'a>) -> Option<Self> {
        let now = cx.time.0 / SECOND;
        (1..=LAST_SECOND).contains(&now).then_some(Self { now, cx })
    }

    /// Through whose front end the request came.
    fn front_end(&self) -> Party {
        match self.cx.caller {
            Caller::FrontEnd(party) => party,
            _ => unreachable!("requests of others are refused"),
        }
    }

    /// A serial number that no other step makes: positive, and as long as any other.
    fn serial(&self) -> Serial {
        const TOP: u64 = 1 << 62;
        let position = TOP | (self.cx.position % TOP);
        let chance = self.cx.seed().short();
        let number = (u128::from(position) << 64) | u128::from(chance);
        Serial::new(number.to_be_bytes()).expect("its top bit is clear, the next is not")
    }
}

impl Authority {
    /// An authority that has issued nothing yet.
    pub fn new(policy: Policy) -> Self {
        let amendment = Amendment::beginning_with(policy.encoded().clone());
        let state = State { amendment, ..State::default() };
        let index = Index::of(&state).expect("it refers to nothing");
        Self { policy, state, index }
    }

    /// What all servers have in common.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn on_request(&mut self, request: &[u8], step: Option<&Step<'_>>, caller: Caller) -> Bytes {
        let refused = |refusal| CaAnswer::Refused(refusal).to_wire();
        let request = CaRequest::from_wire(Bytes::copy_from_slice(request));
        match (request, caller, step) {
            (Err(_), ..) => refused(CaRefusal::Malformed),
            (Ok(CaRequest::Acme { path, body }), Caller::FrontEnd(_), Some(step)) => {
                self.on_acme(&path, &body, step).to_wire()
            }
            (Ok(CaRequest::Acme { .. }), Caller::FrontEnd(_), None) => no_time().to_wire(),
            (Ok(CaRequest::Officer(command)), Caller::Client { key, .. }, Some(step)) => {
                self.on_officer(key, command, step).to_wire()
            }
            (Ok(CaRequest::Officer(_)), Caller::Client { .. }, None) => refused(CaRefusal::NotYet),
            (Ok(CaRequest::Query(query)), Caller::Client { .. }, _) => self.answer(query).to_wire(),
            (Ok(_), ..) => refused(CaRefusal::WrongCaller),
        }
    }

    /// Time passes. (C1)
    fn settle(&mut self, now: u64) {
        while let Some(due) = self.index.agenda.due(now) {
            match due {
                Due::Authorization(id) => self.on_authorization_due(id, now),
                Due::Order(id) => self.on_order_due(id, now),
                Due::Certificate(serial) => self.on_certificate_due(serial),
                Due::Ocsp(serial) => self.on_ocsp_due(serial),
                Due::Crl => self.on_crl_due(),
                Due::Motion(command) => self.on_motion_due(command),
                Due::Amendment => self.on_amendment_due(),
            }
        }
        self.begin_upkeep(now);
    }
}

/// Without a time nothing can be said about nonces, and nothing issued.
fn no_time() -> AcmeReply {
    AcmeReply::of(later(1, "the servers have not agreed on a time"))
}

impl StateMachine for Authority {
    fn apply(&mut self, request: &[u8], cx: &ApplyContext<'_>) -> Reply {
        let step = Step::new(cx);
        if let Some(step) = &step {
            self.settle(step.now);
        }
        let reply = self.on_request(request, step.as_ref(), cx.caller);
        if let Some(step) = &step {
            self.settle(step.now);
        }
        Reply::Plain(reply)
    }

    fn tasks(&self) -> Vec<Task> {
        let task = |(id, what): (TaskId, Bytes)| Task {
            id,
            what: Blob::<TASK_BYTES_MAX>::new(what).expect("a question is short"),
        };
        let (id, question) = self.state.amendment.task();
        let validations = self.index.validations.iter().map(|(id, what)| (*id, what.clone()));
        validations.chain([(id, question.to_wire())]).map(task).collect()
    }

    fn task_result(&mut self, party: Party, id: TaskId, result: &[u8], cx: &ApplyContext<'_>) {
        if let Some(step) = Step::new(cx) {
            self.settle(step.now);
            self.on_vote(party, id, result, &step);
            self.on_proposal(party, id, result, &step);
            self.settle(step.now);
        }
    }

    fn to_sign(&self) -> Vec<ToSign> {
        self.wanted_signatures()
    }

    fn signed(&mut self, id: TaskId, signature: &[u8], cx: &ApplyContext<'_>) {
        if let Some(step) = Step::new(cx) {
            self.settle(step.now);
            self.on_signed(id, signature, &step);
            self.settle(step.now);
        }
    }

    /// Answers a [`CaRead`] with a [`CaAnswer`], both encoded.
    fn read(&self, question: &[u8]) -> Option<Bytes> {
        let question = CaRead::from_wire(Bytes::copy_from_slice(question)).ok()?;
        Some(self.answer_read(&question).to_wire())
    }

    fn wake_at(&self) -> Option<AgreedTime> {
        let next = self
            .index
            .agenda
            .next_at()
            .map(|at| at.saturating_add(WAKE_SECONDS - 1) / WAKE_SECONDS * WAKE_SECONDS);
        next.filter(|at| *at <= LAST_SECOND).map(|at| AgreedTime(at * SECOND))
    }

    fn wake(&mut self, cx: &ApplyContext<'_>) {
        self.settle((cx.time.0 / SECOND).min(LAST_SECOND));
    }

    fn snapshot(&self) -> Bytes {
        self.state.to_wire()
    }

    fn restore(&mut self, snapshot: Bytes) -> Option<()> {
        let state = State::from_wire(snapshot).ok().filter(State::is_sound)?;
        let settings = Settings::decoded(&state.amendment.policy)?;
        self.policy = self.policy.amended(settings)?;
        self.index = Index::of(&state)?;
        self.state = state;
        Some(())
    }
}

#[cfg(test)]
mod tests;
