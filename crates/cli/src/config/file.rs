//! The file as it is written: structure and types, nothing checked across keys yet.

use super::{ConfigError, line_of};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// `group.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    pub(super) format: Spanned<u32>,
    pub(super) name: Spanned<String>,
    pub(super) configuration: Spanned<String>,
    pub(super) ordering: Option<Spanned<String>>,
    pub(super) faults: Spanned<Faults>,
    #[serde(default)]
    pub(super) sharing: Vec<Spanned<Sharing>>,
    pub(super) server: Vec<Spanned<Server>>,
    pub(super) notary: Notary,
    pub(super) ca: Option<Ca>,
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
    pub(super) acme: Option<Spanned<SocketAddr>>,
    pub(super) guard: Option<Spanned<String>>,
    pub(super) component: Option<Spanned<PathBuf>>,
    pub(super) component_status: Option<Spanned<PathBuf>>,
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

/// `[ca]`: the certification authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ca {
    pub(super) url: Spanned<String>,
    pub(super) plain_url: Spanned<String>,
    pub(super) organization: Spanned<String>,
    pub(super) country: Option<Spanned<String>>,
    pub(super) common_name: Spanned<String>,
    #[serde(default = "key_bits")]
    pub(super) key_bits: Spanned<usize>,
    #[serde(default)]
    pub(super) permitted: Option<Spanned<Vec<String>>>,
    #[serde(default = "years")]
    pub(super) years: Spanned<u64>,
    #[serde(default = "root_years")]
    pub(super) root_years: Spanned<u64>,
    #[serde(default = "front_end_days")]
    pub(super) front_end_days: Spanned<u64>,
    pub(super) custodians: Spanned<usize>,
    pub(super) needed: Spanned<usize>,
}

fn key_bits() -> Spanned<usize> {
    unwritten(2048)
}

fn years() -> Spanned<u64> {
    unwritten(5)
}

fn root_years() -> Spanned<u64> {
    unwritten(20)
}

fn front_end_days() -> Spanned<u64> {
    unwritten(365)
}

/// A value that stands nowhere in the file. It is right, so nobody asks for its line.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// Reads the structure; unknown and missing keys and wrong types are refused here.
pub(super) fn read(path: &Path, text: &str) -> Result<GroupFile, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let problem = error.message().replace('\n', " ");
        let key = missing(&problem).unwrap_or_else(|| key_at(text, line));
        ConfigError { file: path.to_owned(), line, remedy: remedy(&key), key, problem }
    })
}

/// The key that the file lacks, if that is the problem.
fn missing(problem: &str) -> Option<String> {
    let name = problem.strip_prefix("missing field `")?.strip_suffix('`')?;
    let table = match name {
        "format" | "name" | "configuration" | "faults" | "server" | "notary" => "",
        "attribute" | "classes" | "members" => "sharing.",
        "url" | "plain_url" | "organization" | "common_name" | "custodians" | "needed" => "ca.",
        _ => "server.",
    };
    Some(format!("{table}{name}"))
}

/// The key that is written on a line, with the table that it is in.
fn key_at(text: &str, line: usize) -> String {
    let mut table = "";
    let mut key = "";
    for written in text.lines().take(line).map(str::trim).filter(|line| !line.starts_with('#')) {
        if written.starts_with('[') {
            table = written.trim_matches(['[', ']']);
            key = "";
        } else if let Some((before, _)) = written.split_once('=') {
            key = before.trim();
        }
    }
    match (table, key) {
        ("", "") => "the file".into(),
        ("", key) => key.into(),
        (table, "") => table.into(),
        (table, key) => format!("{table}.{key}"),
    }
}

/// What a key looks like when it is right.
fn remedy(key: &str) -> String {
    let example = match key.rsplit('.').next().unwrap_or(key) {
        "format" => "format = 1",
        "name" => "name = \"...\"",
        "configuration" => "configuration = \"asynchronous\", or \"hybrid\"",
        "ordering" => "ordering = \"identifiers\", or \"service\"",
        "guard" => "guard = \"...\", 64 hexadecimal digits that `maftia-ttcb keygen` printed",
        "component" => "component = \"/run/maftia-ttcb/ttcb.sock\"",
        "component_status" => "component_status = \"/run/maftia-ttcb/status.sock\"",
        "faults" | "threshold" => "[faults] with threshold = 1",
        "alternatives" => "alternatives = [{ site = 1 }]",
        "server" => "a [[server]] for each server",
        "peers" | "clients" | "http" | "acme" => {
            "an address and port, for example \"192.0.2.7:7100\""
        }
        "attributes" => "attributes = { site = \"a\", os = \"debian\" }",
        "notary" => "[notary], which may be empty",
        "key_bits" => "key_bits = 2048",
        "policy" => "policy = \"1.3.6.1.4.1.99999.1\"",
        "accuracy_ms" => "accuracy_ms = 1000",
        "organization" => "organization = \"...\"",
        "attribute" => "attribute = \"site\"",
        "ca" => "[ca], as `maftia init --ca --example` prints it",
        "url" => "url = \"https://ca.example.org:7443\"",
        "plain_url" => "plain_url = \"http://ca.example.org:7102\"",
        "common_name" => "common_name = \"Example issuing CA\"",
        "permitted" => "permitted = [\"example.org\", \"10.0.0.0/8\"]",
        "classes" | "members" | "custodians" | "needed" | "years" | "root_years"
        | "front_end_days" => "a number",
        _ => "a key that `maftia init --example` prints",
    };
    example.into()
}
