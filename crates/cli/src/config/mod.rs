//! The group's configuration file, `group.toml`: what an operator writes, checked as a whole
//! before anything starts.
//!
//! Every refusal names the file, the line, the key, what is wrong there and what would be right.

mod authority;
mod check;
mod component;
mod file;
#[cfg(test)]
mod tests;
mod write;

pub use authority::CaSection;
pub(crate) use authority::name_rules;
pub(crate) use check::Source;
pub use check::{GroupConfig, NotarySection, ServerConfig, object_identifier};
pub use component::{COMPONENT_SOCKET, component_at};
pub use write::{NewAuthority, NewGroup, render};

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}: {problem}. Right would be: {remedy}", file.display(), self.place())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// The key, with the path of tables to it.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl ConfigError {
    fn place(&self) -> String {
        match self.line {
            0 => String::new(),
            line => format!(", line {line}, {}", self.key),
        }
    }
}

/// Reads and checks `path`.
pub fn load(path: &Path) -> Result<GroupConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
        file: path.to_owned(),
        line: 0,
        key: "the file itself".into(),
        problem: format!("cannot be read: {error}"),
        remedy: "a readable group.toml; `maftia init` writes one".into(),
    })?;
    parse(path, &text)
}

/// Checks `text` as the contents of `path`.
pub fn parse(path: &Path, text: &str) -> Result<GroupConfig, ConfigError> {
    check::check(path, text, file::read(path, text)?)
}

/// The line, from 1, in which byte `offset` of `text` lies.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
