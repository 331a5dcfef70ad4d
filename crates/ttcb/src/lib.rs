//! The daemon of the trusted component, its launcher, and a client.
//!
//! A thin shell around [`maftia_ttcb_core`]: it moves bytes and reads clocks, and shuts itself in
//! before it serves. Everything that is decided is decided there. One process, one thread, one
//! loop; nothing blocks but the wait for the next event.

pub mod args;
pub mod barriers;
pub mod certify;
pub mod client;
pub mod config;
mod confine;
pub mod coverage;
pub mod daemon;
pub mod enter;
pub mod guard;
pub mod keygen;
pub mod launch;
mod life;
pub mod matrix;
mod place;
mod probe;
pub mod settings;
pub mod status;
pub mod testnet;
mod wires;

use std::fmt;
use std::path::Path;

/// Why the program gives up: a sentence for whoever started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal(pub String);

impl Fatal {
    /// Something that could not be done with a file.
    pub fn file(what: &str, path: &Path, error: &dyn fmt::Display) -> Self {
        Self(format!("cannot {what} {}: {error}", path.display()))
    }

    /// Something that could not be done.
    pub fn of(what: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |error| Self(format!("cannot {what}: {error}"))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fatal {}

impl From<config::ConfigError> for Fatal {
    fn from(error: config::ConfigError) -> Self {
        Self(error.to_string())
    }
}
