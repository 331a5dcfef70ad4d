//! Atomic broadcast under adversaries: each promise of the module's documentation, as a run.

mod adversaries;
mod epochs;
mod figures;
mod restarts;
mod safety;
mod world;
