//! Replicated services under adversaries: each promise of the modules' documentation, as a run.

mod clients;
mod ledger;
mod once;
mod outside;
mod restarts;
mod signing;
mod time;
mod world;
