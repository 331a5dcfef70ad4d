//! Whoever has taken over a server can have it vouch for anything.

use maftia_activity::Task;
use maftia_base::ServiceId;
use maftia_base::wire::Blob;
use maftia_node::errands::{Errands, Try};
use maftia_services::ca::VALIDATED;

/// Has validated everything, always.
#[derive(Debug)]
pub(crate) struct Vouching;

impl Errands for Vouching {
    fn attempt(&self, _: ServiceId, _: &Task, number: u32) -> Try {
        if number == 0 {
            eprintln!("hostile: vouches for what it has not seen");
        }
        Box::pin(std::future::ready(Blob::new(VALIDATED)))
    }
}
