//! The server of production: every service, served honestly. It is compiled once, here.

use crate::notary::NotaryFrontEnd;
use crate::refound;
use crate::server::{Inspected, Server, ServerConfig, ServerError};
use crate::tamper::Honest;
use maftia_activity::{Record, Replica};
use maftia_agreement::hybrid::Members;
use maftia_base::Group;
use maftia_crypto::{RealKeyring, RealSuite};
use maftia_services::Service;
use maftia_services::notary::Profile;
use std::sync::Arc;

/// What runs: real cryptography, all services, and nothing in the place where hostile code goes.
pub type Production = Server<Replica<RealSuite, Service>, Honest>;

/// Serves until asked to stop.
pub fn serve(
    config: ServerConfig,
    group: Group,
    keyring: RealKeyring,
    members: Option<Members>,
    notary: Profile,
) -> Result<(), ServerError> {
    let front_end = Arc::new(NotaryFrontEnd::new(notary.clone()));
    let services = maftia_services::all(notary);
    let server: Production = Server::honest(config, group, keyring, services, members, front_end);
    server.run()
}

/// What a server that does not run comes to by its log; changes nothing.
pub fn replayed(
    config: &ServerConfig,
    group: &Group,
    members: Members,
    notary: Profile,
) -> Result<Replica<RealSuite, Service>, ServerError> {
    let replica = Replica::new(maftia_services::all(notary)).with_members(members);
    refound::replayed(config, group, replica)
}

/// Writes the log with which a server begins when its group is founded anew.
pub fn begin_log(
    config: &ServerConfig,
    group: &Group,
    records: &[Record<RealSuite>],
) -> Result<(), ServerError> {
    refound::begin_log::<Replica<RealSuite, Service>>(config, group, records)
}

/// Checks the log of a server that does not run; changes nothing.
pub fn inspect(config: &ServerConfig, group: &Group) -> Result<Inspected, ServerError> {
    crate::server::inspect::<Replica<RealSuite, Service>>(config, group)
}
