//! What is ordered for the authority, what it answers, and the outside work that it asks for.
//!
//! # Promise
//! - *Bounded*: a request that decodes fits into one request of the group, an answer to it into one
//!   reply.
//! - *As it came*: a request of ACME is the client's own bytes; no front end had to understand it,
//!   and none can change it, since its client signed it.
//!
//! # Bounds
//! Each type has its own; [`ANSWER_BYTES_MAX`] holds for all answers that are ordered.

pub use super::csr::NAMES_MAX;
use super::{AuditEntry, Identifier};
use crate::x509::{Reason, Serial};
use maftia_activity::{REPLY_BYTES_MAX, REQUEST_BYTES_MAX, TASK_BYTES_MAX, TaskId};
use maftia_base::wire::{Blob, List, wire_enum, wire_struct};
use maftia_base::{Digest, PARTIES_MAX, Party, PartySet};

/// Longest base URL of an authority: scheme, host and port.
pub const BASE_BYTES_MAX: usize = 128;

/// Longest path of a request.
pub const PATH_BYTES_MAX: usize = 256;

/// Longest URL in an answer.
pub const URL_BYTES_MAX: usize = BASE_BYTES_MAX + PATH_BYTES_MAX;

/// Longest body of a POST: a JWS.
pub const BODY_BYTES_MAX: usize = super::jose::JWS_BYTES_MAX;

/// Longest body of an answer of ACME.
pub const ANSWER_BYTES_MAX: usize = 60 << 10;

/// Longest certificate, in DER. Its names are bounded so that it is no longer, and so that a
/// client can post it, twice in base64url, to have it revoked.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// Longest OCSP response: with a signature of 4096 bits it has about 800.
pub const OCSP_BYTES_MAX: usize = 1 << 10;

/// Longest revocation list: one with all certificates that can be there.
pub const CRL_BYTES_MAX: usize = 1 << 20;

/// Most officers of an authority.
pub const OFFICERS_MAX: usize = 32;

/// Entries of the log in one answer.
pub const LOG_PAGE_MAX: usize = 128;

/// Orders in one answer about those that wait for officers.
pub const PENDING_PAGE_MAX: usize = 4;

const _: () = assert!(PATH_BYTES_MAX + BODY_BYTES_MAX + 16 <= REQUEST_BYTES_MAX, "it is ordered");
const _: () = assert!(ANSWER_BYTES_MAX + 4 * URL_BYTES_MAX + 64 <= REPLY_BYTES_MAX, "it fits");
const _: () = assert!(NAMES_MAX <= crate::x509::NAMES_MAX, "they can be certified");
const _: () = assert!(VALIDATION_BYTES_MAX <= TASK_BYTES_MAX, "it is a task");

/// A request to the authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CaRequest {
    /// A POST, from a front end.
    Acme {
        /// To which path below the base URL, as it came: it begins with a slash.
        path: Blob<PATH_BYTES_MAX>,
        /// The body, as it came.
        body: Blob<BODY_BYTES_MAX>,
    },
    /// A command of an officer, who signs it as a client.
    Officer(OfficerCommand),
    /// A question of anybody who signs it as a client; the answer is voted on.
    Query(CaQuery),
}

wire_enum!(CaRequest { 0 => Acme { path, body }, 1 => Officer(command), 2 => Query(query) });

/// What officers decide; each takes effect when enough of them have said the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OfficerCommand {
    /// The names of an order may be certified for its account.
    Approve {
        /// Which order.
        order: u64,
    },
    /// They may not.
    Refuse {
        /// Which order.
        order: u64,
    },
    /// A certificate is to be revoked.
    Revoke {
        /// Which.
        serial: Serial,
        /// Why.
        reason: Reason,
    },
    /// An account is to be shut for ever.
    Suspend {
        /// Which.
        account: u64,
    },
}

wire_enum!(OfficerCommand {
    0 => Approve { order },
    1 => Refuse { order },
    2 => Revoke { serial, reason },
    3 => Suspend { account },
});

/// A question to the authority that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaQuery {
    /// The log from this entry on, or from the oldest that is kept.
    Log {
        /// Number of the first entry.
        from: u64,
    },
    /// Everything about a certificate.
    Inspect {
        /// Which.
        serial: Serial,
    },
    /// The policy.
    Policy,
    /// The orders that wait for officers.
    Pending {
        /// With this number or a higher one.
        from: u64,
    },
}

wire_enum!(CaQuery {
    0 => Log { from },
    1 => Inspect { serial },
    2 => Pending { from },
    3 => Policy,
});

/// A question that one server answers from its own state, without an order. What matters in the
/// answer is signed by the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CaRead {
    /// The OCSP response about a certificate.
    Ocsp {
        /// Which.
        serial: Serial,
    },
    /// The revocation list.
    Crl,
    /// When a certificate should be renewed: the last part of the path, as it came.
    RenewalInfo {
        /// Names the certificate.
        certificate: Blob<128>,
    },
    /// An order as its account sees it. For operators: a client proves first that it is its.
    Order {
        /// Which.
        order: u64,
    },
    /// What can be ordered as well.
    Query(CaQuery),
}

wire_enum!(CaRead {
    0 => Ocsp { serial },
    1 => Crl,
    2 => RenewalInfo { certificate },
    3 => Order { order },
    4 => Query(query),
});

/// What a body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// There is none.
    None,
    /// `application/json`.
    Json,
    /// `application/problem+json`.
    Problem,
    /// `application/pem-certificate-chain`.
    PemChain,
}

wire_enum!(Content { 0 => None, 1 => Json, 2 => Problem, 3 => PemChain });

impl Content {
    /// What goes into `Content-Type`.
    pub fn media_type(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Json => Some("application/json"),
            Self::Problem => Some("application/problem+json"),
            Self::PemChain => Some("application/pem-certificate-chain"),
        }
    }
}

/// How a linked resource is related to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// The authorization of a challenge.
    Up,
    /// The next page of a list.
    Next,
    /// The terms to be agreed to.
    TermsOfService,
}

wire_enum!(Relation { 0 => Up, 1 => Next, 2 => TermsOfService });

impl Relation {
    /// What goes into `Link` as `rel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Next => "next",
            Self::TermsOfService => "terms-of-service",
        }
    }
}

/// A header `Link`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// To what.
    pub url: Blob<URL_BYTES_MAX>,
    /// Why.
    pub relation: Relation,
}

wire_struct!(Link { url, relation });

/// The answer to a request of ACME. A front end adds its nonce, the link to the directory, and what
/// forbids to store it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcmeReply {
    /// The HTTP status.
    pub status: u16,
    /// What goes into `Location`.
    pub location: Option<Blob<URL_BYTES_MAX>>,
    /// What goes into `Retry-After`: seconds.
    pub retry_after: Option<u32>,
    /// What goes into `Link`.
    pub links: List<Link, 2>,
    /// What the body is.
    pub content: Content,
    /// The body.
    pub body: Blob<ANSWER_BYTES_MAX>,
}

wire_struct!(AcmeReply { status, location, retry_after, links, content, body });

/// How a client proves that it controls an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChallengeKind {
    /// A file below `/.well-known/acme-challenge/`: RFC 8555, 8.3.
    Http01,
    /// A record below `_acme-challenge`: RFC 8555, 8.4.
    Dns01,
    /// A certificate in a TLS handshake: RFC 8737.
    TlsAlpn01,
}

wire_enum!(ChallengeKind { 0 => Http01, 1 => Dns01, 2 => TlsAlpn01 });

impl ChallengeKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Http01, Self::Dns01, Self::TlsAlpn01];

    /// Its name in ACME.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn index(self) -> u64 {
        match self {
            Self::Http01 => 0,
            Self::Dns01 => 1,
            Self::TlsAlpn01 => 2,
        }
    }
}

/// Characters of a challenge's token: 32 bytes in base64url.
pub const TOKEN_CHARACTERS: usize = 43;

/// Longest encoding of a [`Validation`].
const VALIDATION_BYTES_MAX: usize = 1024;

/// What every server is to try from where it stands, until it succeeds or nobody wants it any more.
/// Who succeeds reports [`VALIDATED`]; who does not says nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Validation {
    /// For which authorization.
    pub authorization: u64,
    /// In which way.
    pub kind: ChallengeKind,
    /// What is to be controlled. A wildcard is validated at its base.
    pub identifier: Identifier,
    /// Where to look, with HTTP.
    pub token: Blob<TOKEN_CHARACTERS>,
    /// What is to be found: the token, a dot, and the thumbprint of the account's key.
    pub key_authorization: Blob<{ 2 * TOKEN_CHARACTERS + 1 }>,
}

wire_struct!(Validation { authorization, kind, identifier, token, key_authorization });

/// The result of a task that says: this server has validated it.
pub const VALIDATED: &[u8] = b"yes";

impl Validation {
    /// The name of the task: another one for each authorization and kind.
    pub fn task(&self) -> TaskId {
        validation_task(self.authorization, self.kind)
    }
}

/// Validations and signatures have names of their own: the lowest bits tell which it is.
const TASK_KINDS: u64 = 8;

const AMENDMENT_KIND: u64 = TASK_KINDS - 2;

/// What a server is asked to do outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaTask {
    /// To validate.
    Validation(Validation),
    /// To say which policy its operator has written, unless it is this one.
    Policy {
        /// `policy_digest` of the present one.
        digest: Digest,
    },
}

wire_enum!(CaTask { 0 => Validation(validation), 1 => Policy { digest } });

/// The policy, and what servers would rather have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyView {
    /// `policy_digest` of the present one.
    pub digest: Digest,
    /// How often it was asked whether it is to be another one.
    pub number: u64,
    /// The servers that want another one, and which.
    pub wanted: List<PolicyWish, PARTIES_MAX>,
    /// Until when they must be enough: seconds since 1970-01-01 UTC.
    pub expires: Option<u64>,
}

wire_struct!(PolicyView { digest, number, wanted, expires });

/// The policy that a server would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyWish {
    /// Which server.
    pub party: Party,
    /// `policy_digest` of it.
    pub digest: Digest,
}

wire_struct!(PolicyWish { party, digest });

/// Which question for another policy has this name, if any.
pub(super) fn amendment_of(id: TaskId) -> Option<u64> {
    (id.0 % TASK_KINDS == AMENDMENT_KIND).then_some(id.0 / TASK_KINDS)
}

pub(super) fn amendment_task(number: u64) -> TaskId {
    TaskId(number * TASK_KINDS + AMENDMENT_KIND)
}

pub(super) fn validation_task(authorization: u64, kind: ChallengeKind) -> TaskId {
    TaskId(authorization * TASK_KINDS + kind.index())
}

/// Which signature has this name, if any.
pub(super) fn signing_of(id: TaskId) -> Option<u64> {
    (id.0 % TASK_KINDS == TASK_KINDS - 1).then_some(id.0 / TASK_KINDS)
}

/// Which validation has this name, if any.
pub(super) fn validation_of(id: TaskId) -> Option<(u64, ChallengeKind)> {
    let kind = ChallengeKind::ALL.into_iter().find(|kind| kind.index() == id.0 % TASK_KINDS)?;
    Some((id.0 / TASK_KINDS, kind))
}

pub(super) fn signing_task(number: u64) -> TaskId {
    TaskId(number * TASK_KINDS + TASK_KINDS - 1)
}

/// Why the authority does not do what was asked for outside of ACME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaRefusal {
    /// It is no request.
    Malformed,
    /// Requests of ACME come from front ends, all others from clients that sign them.
    WrongCaller,
    /// The client is no officer.
    NotAnOfficer,
    /// There is no such order, certificate or account, or none of which this can be said.
    Unknown,
    /// This officer has had a say on it.
    Repeated,
    /// Too many things are to be decided.
    Full,
    /// The answer is not there yet, or the group has not agreed on a time.
    NotYet,
}

wire_enum!(CaRefusal {
    0 => Malformed,
    1 => WrongCaller,
    2 => NotAnOfficer,
    3 => Unknown,
    4 => Repeated,
    5 => Full,
    6 => NotYet,
});

/// The answer to everything that is not a POST of ACME.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CaAnswer {
    /// No.
    Refused(CaRefusal),
    /// The officer's word counts.
    Noted(Standing),
    /// A part of the log.
    Log(LogPage),
    /// A certificate.
    Certificate(CertificateView),
    /// Orders that wait for officers, those with the lowest numbers.
    Pending(List<PendingOrder, PENDING_PAGE_MAX>),
    /// An OCSP response.
    Ocsp(Blob<OCSP_BYTES_MAX>),
    /// A revocation list. Only read, never ordered: it may be longer than a reply.
    Crl(Blob<CRL_BYTES_MAX>),
    /// What a GET is answered with.
    Acme(AcmeReply),
    /// The policy.
    Policy(PolicyView),
}

wire_enum!(CaAnswer {
    0 => Refused(refusal),
    1 => Noted(standing),
    2 => Log(page),
    3 => Certificate(view),
    4 => Pending(orders),
    5 => Ocsp(response),
    6 => Crl(list),
    7 => Acme(reply),
    8 => Policy(view),
});

/// How far officers are with a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// So many have said the same.
    pub said: u8,
    /// So many must.
    pub needed: u8,
    /// It has taken effect.
    pub is_done: bool,
}

wire_struct!(Standing { said, needed, is_done });

/// A part of the log. Each entry's digest covers all before it, so whoever has a digest of the
/// group can check what anybody shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogPage {
    /// Digest of all entries before the first of these.
    pub before: Digest,
    /// The entries.
    pub entries: List<AuditEntry, LOG_PAGE_MAX>,
    /// Digest of all entries there are.
    pub head: Digest,
    /// How many there are, forgotten ones included.
    pub length: u64,
}

wire_struct!(LogPage { before, entries, head, length });

/// Who validated a name, how and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// The name.
    pub identifier: Identifier,
    /// By which authorization.
    pub authorization: u64,
    /// In which way.
    pub kind: ChallengeKind,
    /// The servers that said so.
    pub voters: PartySet,
    /// When there were enough of them: seconds since 1970-01-01 UTC.
    pub at: u64,
}

wire_struct!(Proof { identifier, authorization, kind, voters, at });

/// Who had a certificate revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevokedBy {
    /// The account that it was issued to, or one that is authorized for all its names.
    Account(u64),
    /// Whoever has its key.
    Key,
    /// Officers.
    Officers,
}

wire_enum!(RevokedBy { 0 => Account(account), 1 => Key, 2 => Officers });

/// That a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revocation {
    /// Since when: seconds since 1970-01-01 UTC.
    pub at: u64,
    /// Why.
    pub reason: Reason,
    /// Who had it revoked.
    pub by: RevokedBy,
}

wire_struct!(Revocation { at, reason, by });

/// Everything about a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateView {
    /// The certificate, in DER.
    pub certificate: Blob<CERTIFICATE_BYTES_MAX>,
    /// To which account it was issued.
    pub account: u64,
    /// For which order.
    pub order: u64,
    /// Who validated its names.
    pub proofs: List<Proof, NAMES_MAX>,
    /// The officers that approved it, by their numbers in the policy.
    pub approvals: List<u8, OFFICERS_MAX>,
    /// When it was issued: seconds since 1970-01-01 UTC.
    pub issued: u64,
    /// Number of the log's entry that says so.
    pub entry: u64,
    /// Whether it is revoked.
    pub revocation: Option<Revocation>,
}

wire_struct!(CertificateView {
    certificate,
    account,
    order,
    proofs,
    approvals,
    issued,
    entry,
    revocation,
});

/// An order that waits for officers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PendingOrder {
    /// Its number.
    pub order: u64,
    /// Whose it is.
    pub account: u64,
    /// Thumbprint of the account's key.
    pub thumbprint: [u8; 32],
    /// What is to be certified.
    pub names: List<Identifier, NAMES_MAX>,
    /// When it ends without a decision: seconds since 1970-01-01 UTC.
    pub expires: u64,
    /// The officers that approve, by their numbers in the policy.
    pub approvals: List<u8, OFFICERS_MAX>,
    /// Those that refuse.
    pub refusals: List<u8, OFFICERS_MAX>,
}

wire_struct!(PendingOrder { order, account, thumbprint, names, expires, approvals, refusals });
