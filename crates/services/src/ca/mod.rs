//! The certification authority: RFC 8555 (ACME), replicated.
//!
//! - [`CaRequest`], [`AcmeReply`], [`CaAnswer`]: what is ordered, and what is answered.
//! - [`Validation`]: the outside work that every server is asked to do.
//! - [`Nonce`]: what makes a request of ACME count once.
//! - [`Identifier`]: what a certificate may name.
//! - [`Problem`]: why a request is refused, in the words of the protocol.
//! - [`jose`]: signed requests, and the keys that sign them.
//! - [`Csr`]: for what names and what key a certificate is asked for.

mod audit;
mod csr;
mod identifier;
pub mod jose;
mod nonce;
mod problem;
mod table;
mod wire;

pub use audit::{AUDIT_ENTRIES_MAX, AuditEntry, AuditEvent, BINDING_BYTES_MAX, names_digest};
pub use csr::{CSR_BYTES_MAX, Csr};
pub use identifier::{DNS_NAME_BYTES_MAX, DnsName, Identifier};
pub use nonce::{
    NONCE_AHEAD_SECONDS_MAX, NONCE_CHARACTERS, NONCE_SECONDS_MAX, NONCES_PER_SERVER_MAX, Nonce,
    NonceKey,
};
pub use problem::{Problem, ProblemType};
pub use wire::{
    ANSWER_BYTES_MAX, AcmeReply, BASE_BYTES_MAX, BODY_BYTES_MAX, CERTIFICATE_BYTES_MAX,
    CRL_BYTES_MAX, CaAnswer, CaQuery, CaRead, CaRefusal, CaRequest, CertificateView, ChallengeKind,
    Content, LOG_PAGE_MAX, Link, LogPage, NAMES_MAX, OCSP_BYTES_MAX, OFFICERS_MAX, OfficerCommand,
    PATH_BYTES_MAX, PENDING_PAGE_MAX, PendingOrder, Proof, Relation, Revocation, RevokedBy, Serial,
    Standing, TOKEN_CHARACTERS, URL_BYTES_MAX, VALIDATED, Validation,
};
