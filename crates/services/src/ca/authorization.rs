//! Authorizations: that an account controls an identifier, as the servers have found out.
//!
//! # Promise
//! - *Validated*: an authorization is valid only if servers said so among whom the honest ones
//!   alone are enough to convince: under Q3 those in `has_honest_quorum`, else one honest server.
//!   No set of servers that may be corrupt validates anything by itself.
//! - *No veto*: servers say yes or nothing. No one can make an honest client fail.
//!
//! # Rules
//! - V1. A new authorization offers the challenges that fit its identifier: `dns-01` alone for a
//!   wildcard, no `dns-01` for an address.
//! - V2. When its client is ready, the challenge becomes a task of all servers: a
//!   [`Validation`](super::Validation) that stays the same until it is over.
//! - V3. A server that succeeds says yes. With the last yes that is needed the authorization is
//!   valid, for as long as the policy says.
//! - V4. Otherwise it becomes invalid when the time for validation is over, and with it the orders
//!   that need it.
//! - V5. Its holder may give it up; open orders that need it become invalid.
//!
//! # Bounds
//! [`AUTHORIZATIONS_MAX`] authorizations of [`AUTHORIZATIONS_BYTES_MAX`] bytes together, and
//! [`VALIDATIONS_MAX`] validations under way; each front end an equal share.
//!
//! # Sources
//! RFC 8555 (7.1.4, 7.1.6, 7.5, 8), RFC 8737, RFC 8738. Under Q3 a quorum of honest servers is
//! asked for rather than one, since an attacker near one server's network can make it see what is
//! not there; the servers are the several perspectives that others rent.

use super::answer::{Outcome, Refused, date, limited, refuse, refuse_as};
use super::audit::AuditEvent;
use super::jose::base64url;
use super::order::Ending;
use super::route::Route;
use super::wire::{
    AcmeReply, CaTask, ChallengeKind, Proof, Relation, VALIDATED, Validation, validation_of,
    validation_task,
};
use super::{Authority, Identifier, Problem, ProblemType, Request, Step};
use maftia_activity::TaskId;
use maftia_base::wire::{Blob, Bytes, EncodeSize, List, Wire, wire_enum, wire_struct};
use maftia_base::{Digest, Party, PartySet, canary};
use serde_json::{Value, json};

/// Most authorizations.
pub(super) const AUTHORIZATIONS_MAX: usize = 32_768;

/// Bytes of all authorizations in a snapshot.
pub(super) const AUTHORIZATIONS_BYTES_MAX: usize = 16 << 20;

/// Most validations under way.
pub(super) const VALIDATIONS_MAX: usize = 1024;

/// The most that an authorization takes in a snapshot without its identifier.
const AUTHORIZATION_BYTES_MAX: usize = 220;

/// How long what is over is still shown, in seconds.
pub(super) const SHOWN_SECONDS: u64 = 3600;

/// After how many seconds a client may look again.
const RETRY_SECONDS: u32 = 3;

/// How far a client is with a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Progress {
    Pending,
    /// The servers try, with the thumbprint of the key that the account had when it asked.
    Processing {
        thumbprint: [u8; 32],
        voters: PartySet,
    },
    Valid {
        voters: PartySet,
        at: u64,
    },
    Invalid,
}

wire_enum!(Progress {
    0 => Pending,
    1 => Processing { thumbprint, voters },
    2 => Valid { voters, at },
    3 => Invalid,
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Challenge {
    kind: ChallengeKind,
    progress: Progress,
}

wire_struct!(Challenge { kind, progress });

/// How far an authorization is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Pending,
    Valid,
    Invalid,
    Deactivated,
    Expired,
}

wire_enum!(Status { 0 => Pending, 1 => Valid, 2 => Invalid, 3 => Deactivated, 4 => Expired });

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Deactivated => "deactivated",
            Self::Expired => "expired",
        }
    }
}

/// An authorization.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Authorization {
    pub(super) account: u64,
    pub(super) identifier: Identifier,
    status: Status,
    /// While it is pending or valid, when that ends; then, when it did.
    expires: u64,
    /// What its tokens are made of.
    seed: Digest,
    challenges: List<Challenge, 3>,
}

wire_struct!(Authorization { account, identifier, status, expires, seed, challenges });

impl Authorization {
    /// A pending one. (V1)
    pub(super) fn new(account: u64, identifier: Identifier, expires: u64, seed: Digest) -> Self {
        let kinds = match &identifier {
            Identifier::Dns(name) if name.is_wildcard() => vec![ChallengeKind::Dns01],
            Identifier::Dns(_) => ChallengeKind::ALL.to_vec(),
            Identifier::Ip(_) => vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
        };
        let challenge = |kind| Challenge { kind, progress: Progress::Pending };
        let challenges = kinds.into_iter().map(challenge).collect();
        let challenges = List::new(challenges).expect("there are three kinds");
        Self { account, identifier, status: Status::Pending, expires, seed, challenges }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.status == Status::Pending
    }

    pub(super) fn is_valid(&self) -> bool {
        self.status == Status::Valid
    }

    /// When it ends, while it is pending or valid.
    pub(super) fn expires(&self) -> u64 {
        self.expires
    }

    /// When something is to happen to it: it expires, or is forgotten.
    pub(super) fn due(&self) -> u64 {
        match self.status {
            Status::Pending | Status::Valid => self.expires,
            Status::Invalid | Status::Deactivated | Status::Expired => {
                self.expires.saturating_add(SHOWN_SECONDS)
            }
        }
    }

    /// No less than the bytes that it takes in a snapshot, as long as it lives.
    pub(super) fn weight(&self) -> usize {
        weight_of(&self.identifier)
    }

    /// The validations that it wants, encoded. (V2)
    pub(super) fn validations(&self, id: u64) -> Vec<(TaskId, Bytes)> {
        if !self.is_pending() {
            return Vec::new();
        }
        let wanted = self.challenges.iter().filter_map(|challenge| match challenge.progress {
            Progress::Processing { thumbprint, .. } => Some((challenge.kind, thumbprint)),
            _ => None,
        });
        let task = |(kind, thumbprint): (ChallengeKind, [u8; 32])| {
            let token = self.token(kind);
            let key_authorization = format!("{token}.{}", base64url::encode(&thumbprint));
            let validation = Validation {
                authorization: id,
                kind,
                identifier: base(&self.identifier),
                token: Blob::new(token).expect("it has its length"),
                key_authorization: Blob::new(key_authorization).expect("as long as two tokens"),
            };
            (validation_task(id, kind), CaTask::Validation(validation).to_wire())
        };
        wanted.map(task).collect()
    }

    /// Who validated it, and how.
    pub(super) fn proof(&self, id: u64) -> Option<Proof> {
        let valid = self.challenges.iter().find_map(|challenge| match challenge.progress {
            Progress::Valid { voters, at } if self.is_valid() => Some((challenge.kind, voters, at)),
            _ => None,
        });
        let (kind, voters, at) = valid?;
        let identifier = self.identifier.clone();
        Some(Proof { identifier, authorization: id, kind, voters, at })
    }

    /// One that is valid has been validated. Asked of a snapshot.
    pub(super) fn is_sound(&self, id: u64) -> bool {
        self.proof(id).is_some() == self.is_valid()
    }

    /// One that is said to be valid though nobody has validated it.
    #[cfg(test)]
    pub(super) fn forged(mut self) -> Self {
        self.status = Status::Valid;
        self.change(|challenge| challenge.progress = Progress::Pending);
        self
    }

    /// Another one for each challenge, which nobody could foresee.
    fn token(&self, kind: ChallengeKind) -> String {
        let token = Digest::of_encoded("maftia ca challenge token", &(self.seed, kind.index()));
        base64url::encode(&token.0)
    }

    fn change(&mut self, change: impl Fn(&mut Challenge)) {
        let mut challenges = std::mem::take(&mut self.challenges).into_vec();
        challenges.iter_mut().for_each(change);
        self.challenges = List::new(challenges).expect("as many as there were");
    }

    fn progress(&self, kind: ChallengeKind) -> Option<Progress> {
        self.challenges.iter().find(|challenge| challenge.kind == kind).map(|found| found.progress)
    }
}

/// No less than the bytes that an authorization for this takes in a snapshot.
pub(super) fn weight_of(identifier: &Identifier) -> usize {
    AUTHORIZATION_BYTES_MAX + identifier.encode_size()
}

/// What is validated: for a wildcard, the name below which it stands.
fn base(identifier: &Identifier) -> Identifier {
    match identifier {
        Identifier::Dns(name) if name.is_wildcard() => {
            let base = super::DnsName::new(name.base());
            Identifier::Dns(base.expect("what follows the asterisk is a name"))
        }
        other => other.clone(),
    }
}

impl Authority {
    /// Shows an authorization, or has its holder give it up. (V5)
    pub(super) fn on_authorization(
        &mut self,
        request: &Request,
        id: u64,
        step: &Step<'_>,
    ) -> Outcome {
        let authorization = self.own_authorization(request, id)?;
        if !request.is_get() {
            let wish = request.object()?;
            let is_alive = authorization.is_pending() || authorization.is_valid();
            if wish.get("status").and_then(Value::as_str) != Some("deactivated") || !is_alive {
                return refuse(
                    ProblemType::Malformed,
                    "an authorization can be \"deactivated\" while it is pending or valid",
                );
            }
            self.deactivate_authorization(id, step.now);
            let event = AuditEvent::AuthorizationDeactivated { authorization: id };
            self.state.audit.enter(step.now, event);
        }
        let authorization = &self.state.authorizations[&id];
        let reply = AcmeReply::json(200, &self.authorization_json(id, authorization));
        Ok(match authorization.validations(id).is_empty() {
            true => reply,
            false => reply.retry_after(RETRY_SECONDS),
        })
    }

    /// Shows a challenge, or has the servers try it. (V2)
    pub(super) fn on_challenge(
        &mut self,
        request: &Request,
        (id, kind): (u64, ChallengeKind),
        step: &Step<'_>,
    ) -> Outcome {
        let authorization = self.own_authorization(request, id)?;
        let Some(progress) = authorization.progress(kind) else {
            return not_found("there is no such challenge");
        };
        if !request.is_get() {
            request.object()?;
            // Asking again changes nothing.
            if authorization.is_pending() && progress == Progress::Pending {
                self.begin_validation(request, (id, kind), step)?;
            }
        }
        let authorization = &self.state.authorizations[&id];
        let shown = self.challenge_json(id, authorization, kind);
        let reply = AcmeReply::json(200, &shown);
        let reply = reply.linked(self.policy.url(Route::Authorization(id)), Relation::Up);
        Ok(match authorization.progress(kind) {
            Some(Progress::Processing { .. }) if authorization.is_pending() => {
                reply.retry_after(RETRY_SECONDS)
            }
            _ => reply,
        })
    }

    fn begin_validation(
        &mut self,
        request: &Request,
        (id, kind): (u64, ChallengeKind),
        step: &Step<'_>,
    ) -> Result<(), Refused> {
        let (_, account) = request.account();
        let share = (VALIDATIONS_MAX / step.cx.structure.n()).max(1);
        if self.index.usage(account.front_end).validations >= share {
            return limited(60, "too many validations are under way");
        }
        let thumbprint = account.key.thumbprint();
        let ends = step.now.saturating_add(self.policy.settings().periods.validation);
        self.change_authorization(id, |authorization| {
            authorization.expires = authorization.expires.min(ends);
            authorization.change(|challenge| {
                if challenge.kind == kind {
                    let voters = PartySet::EMPTY;
                    challenge.progress = Progress::Processing { thumbprint, voters };
                }
            });
        });
        Ok(())
    }

    /// Can what these servers say be relied on?
    pub(super) fn is_enough(&self, voters: PartySet, step: &Step<'_>) -> bool {
        match self.policy.is_q3() {
            true => canary!(
                "ca-believes-few",
                step.cx.structure.has_honest(voters),
                step.cx.structure.has_honest_quorum(voters)
            ),
            // With trusted components there may be no such set.
            false => step.cx.structure.has_honest(voters),
        }
    }

    /// A server says what came of a validation. (V3)
    pub(super) fn on_vote(&mut self, party: Party, id: TaskId, result: &[u8], step: &Step<'_>) {
        if result != VALIDATED || !self.index.validations.contains_key(&id) {
            return;
        }
        let Some((id, kind)) = validation_of(id) else { return };
        let Some(authorization) = self.state.authorizations.get(&id) else { return };
        let Some(Progress::Processing { thumbprint, mut voters }) = authorization.progress(kind)
        else {
            return;
        };
        if !voters.insert(party) {
            return;
        }
        let event = AuditEvent::VoteCast { authorization: id, kind, party };
        self.state.audit.enter(step.now, event);
        let is_enough = self.is_enough(voters, step);
        let progress = match is_enough {
            true => Progress::Valid { voters, at: step.now },
            false => Progress::Processing { thumbprint, voters },
        };
        let expires = step.now.saturating_add(self.policy.settings().periods.authorization);
        self.change_authorization(id, |authorization| {
            authorization.change(|challenge| {
                if challenge.kind == kind {
                    challenge.progress = progress;
                }
            });
            if is_enough {
                (authorization.status, authorization.expires) = (Status::Valid, expires);
            }
        });
        if is_enough {
            let authorization = &self.state.authorizations[&id];
            let (account, identifier) = (authorization.account, authorization.identifier.clone());
            let event =
                AuditEvent::Validated { authorization: id, account, identifier, kind, voters };
            self.state.audit.enter(step.now, event);
        }
    }

    /// Its time is over. (V4)
    pub(super) fn on_authorization_due(&mut self, id: u64, now: u64) {
        let authorization = &self.state.authorizations[&id];
        match authorization.status {
            Status::Pending => self.end_authorization(id, Status::Invalid, now),
            Status::Valid => self.end_authorization(id, Status::Expired, now),
            Status::Invalid | Status::Deactivated | Status::Expired => {
                self.remove_authorization(id);
            }
        }
    }

    /// Gives up an authorization that is pending or valid. (V5)
    pub(super) fn deactivate_authorization(&mut self, id: u64, now: u64) {
        let authorization = &self.state.authorizations[&id];
        if authorization.is_pending() || authorization.is_valid() {
            self.end_authorization(id, Status::Deactivated, now);
        }
    }

    /// With it end the orders that need it.
    fn end_authorization(&mut self, id: u64, status: Status, now: u64) {
        let account = self.state.authorizations[&id].account;
        let ending = match status {
            Status::Invalid => Ending::NotValidated,
            _ => Ending::AuthorizationEnded,
        };
        self.change_authorization(id, |authorization| {
            (authorization.status, authorization.expires) = (status, now);
            authorization.change(|challenge| {
                if matches!(challenge.progress, Progress::Processing { .. }) {
                    challenge.progress = Progress::Invalid;
                }
            });
        });
        let held = self.index.holdings(account);
        let orders: Vec<u64> = held.into_iter().flat_map(|held| &held.orders).copied().collect();
        for order in orders {
            if self.state.orders[&order].needs(id) {
                self.end_order(order, ending, now);
            }
        }
    }

    pub(super) fn insert_authorization(&mut self, authorization: Authorization) -> u64 {
        let id = self.state.next_authorization;
        self.state.next_authorization += 1;
        let account = &self.state.accounts[&authorization.account];
        self.index.add_authorization(id, &authorization, account);
        self.state.authorizations.insert(id, authorization);
        id
    }

    fn remove_authorization(&mut self, id: u64) {
        let authorization = self.state.authorizations.remove(&id).expect("callers have found it");
        let account = &self.state.accounts[&authorization.account];
        self.index.remove_authorization(id, &authorization, account);
    }

    fn change_authorization(&mut self, id: u64, change: impl FnOnce(&mut Authorization)) {
        let authorization = self.state.authorizations.get_mut(&id).expect("callers have found it");
        let account = &self.state.accounts[&authorization.account];
        self.index.remove_authorization(id, authorization, account);
        change(authorization);
        self.index.add_authorization(id, authorization, account);
    }

    fn own_authorization(&self, request: &Request, id: u64) -> Result<&Authorization, Refused> {
        match self.state.authorizations.get(&id) {
            None => not_found("there is no such authorization"),
            Some(authorization) if authorization.account != request.account().0 => {
                refuse(ProblemType::Unauthorized, "it is another account's")
            }
            Some(authorization) => Ok(authorization),
        }
    }

    fn authorization_json(&self, id: u64, authorization: &Authorization) -> Value {
        let identifier = base(&authorization.identifier);
        let mut shown = json!({
            "identifier": { "type": identifier.acme_type(), "value": identifier.acme_value() },
            "status": authorization.status.name(),
            "expires": date(authorization.expires),
        });
        if identifier != authorization.identifier {
            shown["wildcard"] = json!(true);
        }
        // Of one that is over, what came of it.
        let is_of_interest = |challenge: &&Challenge| match authorization.status {
            Status::Pending | Status::Deactivated => true,
            Status::Valid | Status::Expired => {
                matches!(challenge.progress, Progress::Valid { .. })
            }
            Status::Invalid => challenge.progress == Progress::Invalid,
        };
        let challenges = authorization.challenges.iter().filter(is_of_interest);
        let challenges =
            challenges.map(|challenge| self.challenge_json(id, authorization, challenge.kind));
        shown["challenges"] = challenges.collect();
        shown
    }

    fn challenge_json(&self, id: u64, authorization: &Authorization, kind: ChallengeKind) -> Value {
        let progress = authorization.progress(kind).expect("callers have found it");
        let status = match progress {
            Progress::Pending => "pending",
            Progress::Processing { .. } => "processing",
            Progress::Valid { .. } => "valid",
            Progress::Invalid => "invalid",
        };
        let mut shown = json!({
            "type": kind.name(),
            "url": self.policy.url(Route::Challenge(id, kind)),
            "status": status,
            "token": authorization.token(kind),
        });
        match progress {
            Progress::Valid { at, .. } => shown["validated"] = json!(date(at)),
            Progress::Invalid => {
                let detail = "too few servers could validate it in time";
                let problem = Problem::new(ProblemType::IncorrectResponse, detail);
                shown["error"] = serde_json::from_slice(&problem.to_json()).unwrap_or_default();
            }
            Progress::Pending | Progress::Processing { .. } => {}
        }
        shown
    }
}

/// There is nothing at this URL.
pub(super) fn not_found<T>(detail: &str) -> Result<T, Refused> {
    refuse_as(404, ProblemType::Malformed, detail)
}
