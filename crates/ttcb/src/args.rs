//! The command line: options by name, and whatever stands behind `--`.

use crate::Fatal;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// What is left to be read of a command line.
#[derive(Debug)]
pub struct Arguments {
    options: Vec<OsString>,
    rest: Vec<OsString>,
}

impl Arguments {
    /// Splits at the first `--`.
    pub fn new(all: impl Iterator<Item = OsString>) -> Self {
        let mut options: Vec<OsString> = all.collect();
        let mut rest = Vec::new();
        if let Some(at) = options.iter().position(|one| one == "--") {
            rest = options.split_off(at);
            rest.remove(0);
        }
        Self { options, rest }
    }

    /// Is this option there?
    pub fn flag(&mut self, name: &str) -> bool {
        let at = self.options.iter().position(|one| one == name);
        at.map(|at| self.options.remove(at)).is_some()
    }

    /// The value behind an option.
    pub fn find(&mut self, name: &str) -> Result<Option<OsString>, Fatal> {
        let Some(at) = self.options.iter().position(|one| one == name) else { return Ok(None) };
        self.options.remove(at);
        if at < self.options.len() {
            return Ok(Some(self.options.remove(at)));
        }
        Err(Fatal(format!("{name} wants a value")))
    }

    /// The value behind an option that has to be there.
    pub fn get(&mut self, name: &str) -> Result<OsString, Fatal> {
        self.find(name)?.ok_or_else(|| Fatal(format!("{name} is missing")))
    }

    /// The path behind an option that has to be there.
    pub fn path(&mut self, name: &str) -> Result<PathBuf, Fatal> {
        self.get(name).map(PathBuf::from)
    }

    /// What the value behind an option stands for.
    pub fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Fatal> {
        let Some(value) = self.find(name)? else { return Ok(None) };
        let parsed = value.to_str().and_then(|text| text.parse().ok());
        parsed.map(Some).ok_or_else(|| {
            Fatal(format!("{name} {}: this is not what it wants", value.to_string_lossy()))
        })
    }

    /// What stands behind `--`; complains about options that nobody asked for.
    pub fn finish(self) -> Result<Vec<OsString>, Fatal> {
        match self.options.first() {
            None => Ok(self.rest),
            Some(left) => Err(Fatal(format!("no such option: {}", left.to_string_lossy()))),
        }
    }
}
