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
    pub(super) notary: Spanned<NotarySection>,
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
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct NotarySection {
    /// Modulus of the service's RSA key, in bits: 2048, 3072 or 4096.
    pub key_bits: usize,
    /// Time-stamping policy, as an object identifier.
    pub policy: String,
    /// Accuracy stated in tokens, in milliseconds: how far apart honest clocks may be.
    pub accuracy_ms: u64,
    /// Organization in the certificate's subject.
    pub organization: String,
}

impl Default for NotarySection {
    fn default() -> Self {
        Self {
            key_bits: 2048,
            policy: "2.25.83746182.1".into(),
            accuracy_ms: 1000,
            organization: "maftia notary".into(),
        }
    }
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
