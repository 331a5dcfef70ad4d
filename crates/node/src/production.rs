//! The server of production: every service, served honestly. It is compiled once, here.

use crate::acme::AcmeConfig;
use crate::notary::NotaryFrontEnd;
use crate::refound;
use crate::server::{Inspected, Server, ServerConfig, ServerError};
use crate::tamper::Honest;
use maftia_activity::{Record, Replica};
use maftia_agreement::hybrid::Members;
use maftia_base::{Group, ServiceId};
use maftia_crypto::{RealKeyring, RealSuite};
use maftia_services::Service;
use maftia_services::ca::Policy;
use maftia_services::notary::Profile;
use std::sync::Arc;

/// What runs: real cryptography, all services, and nothing in the place where hostile code goes.
pub type Production = Server<Replica<RealSuite, Service>, Honest>;

/// What a group offers, and how one of its servers does.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What all servers must have in common to run the notary.
    pub notary: Profile,
    /// The certification authority, if there is one.
    pub authority: Option<Authority>,
}

/// A group's certification authority, and one server's part in it.
#[derive(Clone, Debug)]
pub struct Authority {
    /// How this server is set up for its clients.
    pub acme: AcmeConfig,
    /// The policy with which the group began: the same at all servers for ever.
    pub founding: Policy,
    /// The policy that this server's operator has written.
    pub wish: Policy,
}

impl Offer {
    /// The services, as they begin.
    pub fn services(&self) -> Vec<(ServiceId, Service)> {
        let notary = self.notary.clone();
        match &self.authority {
            None => maftia_services::all(notary).into(),
            Some(Authority { founding, .. }) => {
                maftia_services::all_with_ca(notary, founding.clone()).into()
            }
        }
    }

    /// The notary's front end.
    pub fn front_end(&self) -> Arc<NotaryFrontEnd> {
        Arc::new(NotaryFrontEnd::new(self.notary.clone()))
    }
}

/// Serves until asked to stop.
pub fn serve(
    config: ServerConfig,
    group: Group,
    keyring: RealKeyring,
    members: Option<Members>,
    offer: Offer,
) -> Result<(), ServerError> {
    let (front_end, services) = (offer.front_end(), offer.services());
    let server: Production = Server::honest(config, group, keyring, services, members, front_end);
    server.offering(offer).run()
}

/// What a server that does not run comes to by its log; changes nothing.
pub fn replayed(
    config: &ServerConfig,
    group: &Group,
    members: Members,
    offer: &Offer,
) -> Result<Replica<RealSuite, Service>, ServerError> {
    let replica = Replica::new(offer.services()).with_members(members);
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
