//! The file as it is written: structure and types, nothing checked across keys yet.

use super::{ConfigError, line_of};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use toml::Spanned;

/// `group.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    pub(super) format: Spanned<u32>,
    pub(super) name: Spanned<String>,
    pub(super) configuration: Spanned<String>,
    pub(super) faults: Spanned<Faults>,
    #[serde(default)]
    pub(super) sharing: Vec<Spanned<Sharing>>,
    pub(super) server: Vec<Spanned<Server>>,
    pub(super) notary: Notary,
}

/// `[faults]`: which servers may be corrupt at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Faults {
    pub(super) threshold: Option<Spanned<usize>>,
    pub(super) alternatives: Option<Vec<Spanned<BTreeMap<String, usize>>>>,
}

/// `[[sharing]]`: this many classes of an attribute, with this many members each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sharing {
    pub(super) attribute: Spanned<String>,
    pub(super) classes: Spanned<usize>,
    pub(super) members: Spanned<usize>,
}

/// `[[server]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) name: Spanned<String>,
    pub(super) peers: Spanned<SocketAddr>,
    pub(super) clients: Spanned<SocketAddr>,
    pub(super) http: Spanned<SocketAddr>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, Spanned<String>>,
}

/// `[notary]`: the RFC 3161 time-stamping service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Notary {
    pub(super) key_bits: Spanned<usize>,
    pub(super) policy: Spanned<String>,
    pub(super) accuracy_ms: Spanned<u64>,
    pub(super) organization: Spanned<String>,
}

impl Default for Notary {
    fn default() -> Self {
        Self {
            key_bits: unwritten(2048),
            policy: unwritten("2.25.83746182.1".into()),
            accuracy_ms: unwritten(1000),
            organization: unwritten("maftia notary".into()),
        }
    }
}

/// A value that stands nowhere in the file. It is right, so nobody asks for its line.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// Reads the structure; unknown and missing keys and wrong types are refused here.
pub(super) fn read(path: &Path, text: &str) -> Result<GroupFile, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let written = text.lines().nth(line.saturating_sub(1)).unwrap_or("").trim();
        let key = written.split('=').next().unwrap_or("").trim();
        ConfigError {
            file: path.to_owned(),
            line,
            key: if key.is_empty() { "the file".into() } else { key.into() },
            problem: error.message().replace('\n', " "),
            remedy: "the keys and types that `maftia init --example` prints".into(),
        }
    })
}
