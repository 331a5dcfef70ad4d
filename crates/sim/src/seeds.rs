//! Running many seeds, and running one of them again.

use crate::report::Failure;
use std::cell::Cell;

thread_local! {
    static LONG_TRACE: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn wants_long_trace() -> bool {
    LONG_TRACE.get()
}

/// Runs `scenario` with every seed. At the first that fails, runs it once more with a long trace,
/// and panics with it: to reproduce, run that one seed.
pub fn seeds(
    range: impl IntoIterator<Item = u64>,
    mut scenario: impl FnMut(u64) -> Result<(), Failure>,
) {
    for seed in range {
        // Names the seed also when an assertion of the scenario itself fails.
        let guard = NameSeed(seed);
        let first = scenario(seed);
        if let Err(failure) = first {
            LONG_TRACE.set(true);
            let again = scenario(seed);
            LONG_TRACE.set(false);
            drop(guard);
            match again {
                Err(again) => panic!("{again}"),
                Ok(()) => panic!("seed {seed} fails only sometimes: a determinism bug\n{failure}"),
            }
        }
    }
}

struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while running seed {}", self.0);
        }
    }
}

/// Runs `scenario` twice; it returns the [digest](crate::Simulation::digest) of its run. Panics
/// if the two differ.
pub fn check_deterministic(
    seed: u64,
    mut scenario: impl FnMut(u64) -> Result<u64, Failure>,
) -> Result<u64, Failure> {
    let (first, second) = (scenario(seed)?, scenario(seed)?);
    assert!(first == second, "two runs of seed {seed} differ: {first:016x} and {second:016x}");
    Ok(first)
}
