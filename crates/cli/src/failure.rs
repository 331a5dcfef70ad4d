//! Why a command failed, in words for the person who typed it.

use crate::config::ConfigError;
use std::fmt::Display;
use std::path::Path;
use thiserror::Error;

/// A command failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The group's configuration is wrong; nothing was started.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Something else, in a sentence.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// A sentence about a file.
    pub fn file(path: &Path, what: &str, why: &impl Display) -> Self {
        Self::Other(format!("{} {what}: {why}", path.display()))
    }

    /// Any other sentence.
    pub fn because(sentence: impl Into<String>) -> Self {
        Self::Other(sentence.into())
    }

    /// The process's exit code: 2 for a wrong configuration, 1 for anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Other(_) => 1,
        }
    }
}
