//! Fuzz targets: every decoder of outside input, and every state machine under an adversary that
//! bytes decide.
//!
//! A target is a function of bytes that panics when something is wrong. It is tried in two ways:
//!
//! - `cargo test -p maftia-fuzz` replays the corpus, and what once crashed, and then changes what
//!   the corpus holds, always in the same way: what is red is red everywhere. `MAFTIA_FUZZ` says
//!   how many times as long as usual, `MAFTIA_FUZZ_SEED` which changes.
//! - `cargo bolero test` lets libFuzzer look for bytes that reach code that was not reached before.
//!
//! # Targets
//! - [`decoders`]: one for each type that is put on the wire or into a log: what decodes encodes
//!   again to the same bytes, and takes memory in proportion to its own size.
//! - [`files`]: what operators and front ends give to a server. [`doors`]: its open ports.
//!   [`acme`]: what clients of the certification authority send; [`authority`]: what it does then.
//! - [`works`]: what workers compute with decoded shares and evidence. [`journal`]: a log whose
//!   bytes were changed.
//! - [`machines`]: every protocol of the drill. [`replica`]: a replica with its links and a client,
//!   both surrounded by liars.
//!
//! [`honest`] has the runs that the corpus is made of. Deliberately absent: what protocols promise;
//! the drill's checkers know that.
#![forbid(unsafe_code)]

pub mod acme;
pub mod authority;
pub mod decoders;
pub mod doors;
pub mod files;
pub mod honest;
pub mod journal;
pub mod machines;
mod mutant;
pub mod replica;
pub mod works;

pub use bolero;
pub use mutant::{Mutants, corpus, mutants};

/// Makes each named function of bytes a test and a target of `cargo bolero`; the number says how
/// many changed inputs are tried without `MAFTIA_FUZZ`.
#[macro_export]
macro_rules! targets {
    ($($name:ident($rounds:expr) => $target:expr;)*) => { $(
        #[test]
        fn $name() {
            let target: fn(&[u8]) = $target;
            // What is kept, or libFuzzer; chance is ours, so that it is the same everywhere.
            $crate::bolero::check!(name = stringify!($name))
                .with_iterations(0)
                .for_each(|bytes: &[u8]| target(bytes));
            $crate::mutants(stringify!($name), $rounds, target);
        }
    )* };
}

/// Bytes that a value may take however small its encoding is.
const BYTES_MIN: usize = 64 << 10;

/// Bytes that a value may take for each byte of its encoding: a list of options has one byte on the
/// wire where memory has room for the whole item.
const BYTES_PER_BYTE: usize = 512;

/// Runs `decode`, which must not take memory out of proportion to the `len` bytes that it reads.
pub fn bounded<T>(len: usize, decode: impl FnOnce() -> T) -> T {
    let mut decoded = None;
    let taken = allocation_counter::measure(|| decoded = Some(decode())).bytes_max;
    let allowed = (BYTES_MIN + BYTES_PER_BYTE * len) as u64;
    assert!(taken <= allowed, "{taken} bytes were taken for {len} bytes of input");
    decoded.expect("it ran")
}
