//! Services as deterministic state machines, each with the standard format of its clients.
//!
//! - [`ca`]: certificates for ACME clients, under one key that no server holds.
//! - [`notary`]: RFC 3161 time stamps under one key that no server holds.
//! - [`x509`]: what both write: certificates; and revocation lists and OCSP.
//! - [`ledger`]: counts and chains entries, to check and to measure the order itself.
//!
//! A service decides nothing that is not a function of the agreed order: not the time, not a
//! serial number. Its front end, which talks to stock clients, only moves bytes, and need not be
//! trusted. Deliberately absent: sockets, clocks, disks, secrets.
#![forbid(unsafe_code)]

pub mod ca;
pub mod ledger;
pub mod notary;
pub mod x509;

use maftia_activity::Either;
use maftia_base::ServiceId;

/// The notary's number in every group.
pub const NOTARY: ServiceId = ServiceId(1);

/// The ledger's number in every group.
pub const LEDGER: ServiceId = ServiceId(2);

/// The certification authority's number in every group that has one.
pub const CA: ServiceId = ServiceId(3);

/// Every service of this package, as one type.
pub type Service = Either<notary::Notary, Either<ledger::Ledger, ca::Authority>>;

/// The services that every group has, from their initial states.
pub fn all(notary: notary::Profile) -> [(ServiceId, Service); 2] {
    [
        (NOTARY, Either::Left(notary::Notary::new(notary))),
        (LEDGER, Either::Right(Either::Left(ledger::Ledger::default()))),
    ]
}

/// The same with a certification authority.
pub fn all_with_ca(notary: notary::Profile, policy: ca::Policy) -> [(ServiceId, Service); 3] {
    let [notary, ledger] = all(notary);
    [notary, ledger, (CA, Either::Right(Either::Right(ca::Authority::new(policy))))]
}
