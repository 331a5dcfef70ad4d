//! The server of production: every service, served honestly. It is compiled once, here.

use crate::notary::NotaryFrontEnd;
use crate::server::{Inspected, Server, ServerConfig, ServerError};
use crate::tamper::Honest;
use maftia_activity::Replica;
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

/// Checks the log of a server that does not run; changes nothing.
pub fn inspect(config: &ServerConfig, group: &Group) -> Result<Inspected, ServerError> {
    crate::server::inspect::<Replica<RealSuite, Service>>(config, group)
}
