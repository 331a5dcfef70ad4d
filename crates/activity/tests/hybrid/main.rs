//! The same services, unchanged, in the hybrid configuration: the tests of the other one, with
//! trusted components and as many corrupt servers as these allow.

mod admission;
#[path = "../replica/adversaries.rs"]
mod adversaries;
mod configuration;
mod dissemination;
#[allow(dead_code)]
#[path = "../replica/large.rs"]
mod large;
#[path = "../replica/ledger.rs"]
mod ledger;
#[path = "../replica/once.rs"]
mod once;
#[path = "../replica/outside.rs"]
mod outside;
mod refound;
#[path = "../replica/restarts.rs"]
mod restarts;
#[path = "../replica/signing.rs"]
mod signing;
#[path = "../replica/transfer.rs"]
mod transfer;
#[allow(dead_code)]
#[path = "../replica/world.rs"]
mod world;
