//! `maftia bench`: what the group costs, measured.

mod adversaries;
mod atomic;
mod ca;
mod configurations;
mod delays;
mod load;

use crate::Failure;
use crate::args::{Bench, BenchWhat};

/// Measures what was asked for.
pub fn run(args: &Bench) -> Result<(), Failure> {
    match &args.what {
        BenchWhat::Atomic(args) => atomic::run(args),
        BenchWhat::Configurations(args) => configurations::run(args),
        BenchWhat::Adversaries(args) => adversaries::run(args),
        BenchWhat::Ca(args) => ca::run(args),
        BenchWhat::Delays(args) => delays::run(args),
    }
}
