//! The certification authority: RFC 8555 (ACME), replicated.
//!
//! - [`Identifier`]: what a certificate may name.
//! - [`Problem`]: why a request is refused, in the words of the protocol.
//! - [`jose`]: signed requests, and the keys that sign them.
//! - [`Csr`]: for what names and what key a certificate is asked for.

mod csr;
mod identifier;
pub mod jose;
mod problem;

pub use csr::{CSR_BYTES_MAX, Csr, NAMES_MAX};
pub use identifier::{DNS_NAME_BYTES_MAX, DnsName, Identifier};
pub use problem::{Problem, ProblemType};
