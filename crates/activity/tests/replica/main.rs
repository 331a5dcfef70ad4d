//! Replicated services under adversaries: each promise of the modules' documentation, as a run.

mod adversaries;
mod clients;
mod configuration;
mod figures;
mod large;
mod large_coded;
mod large_lies;
mod ledger;
mod links;
mod once;
mod outside;
mod recovery;
mod restarts;
mod signing;
mod time;
mod transfer;
mod world;
