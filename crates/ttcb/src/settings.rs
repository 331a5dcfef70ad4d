//! Reads a configuration file key by key, so that each complaint says where it is and what would
//! be right.

use maftia_ttcb_api::Span;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Which file.
    pub file: PathBuf,
    /// In which line, from 1.
    pub line: usize,
    /// Which key, with the tables that it is in.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, key, what } = self;
        write!(f, "{}:{line}: `{key}`: {what}", file.display())
    }
}

impl std::error::Error for ConfigError {}

/// A file and what stands in it.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// The table of the whole file.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.complaint(at, "(file)", format!("not TOML: {}", error.message()))
        })
    }

    fn complaint(&self, at: usize, key: &str, what: String) -> ConfigError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        ConfigError { file: self.file.into(), line, key: key.into(), what }
    }
}

/// One table of the file.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    name: String,
    at: usize,
}

/// A value of the file, with the place where it stands.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    source: &'a Source<'a>,
    key: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Section<'a> {
    /// The table of the whole file.
    pub(crate) fn whole(source: &'a Source<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self { source, table: table.get_ref(), name: String::new(), at: 0 }
    }

    /// Complains about any key that is not among those that are known.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ConfigError> {
        for key in self.table.keys() {
            if !known.contains(&&**key.get_ref()) {
                let what = format!("no such key; those here are: {}", known.join(", "));
                let name = self.named(key.get_ref());
                return Err(self.source.complaint(key.span().start, &name, what));
            }
        }
        Ok(())
    }

    /// A value that may be absent.
    pub(crate) fn find(&self, key: &str) -> Option<Entry<'a>> {
        let value = self.table.get(key)?;
        Some(Entry { source: self.source, key: self.named(key), value })
    }

    /// A value that has to be there.
    pub(crate) fn get(&self, key: &str, right: &str) -> Result<Entry<'a>, ConfigError> {
        self.find(key).ok_or_else(|| {
            let what = format!("missing; it wants {right}");
            self.source.complaint(self.at, &self.named(key), what)
        })
    }

    /// A complaint about the table as a whole.
    pub(crate) fn wrong(&self, key: &str, what: String) -> ConfigError {
        self.source.complaint(self.at, &self.named(key), what)
    }

    fn named(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }
}

impl<'a> Entry<'a> {
    /// A complaint about this value.
    pub(crate) fn wrong(&self, what: impl Into<String>) -> ConfigError {
        self.source.complaint(self.value.span().start, &self.key, what.into())
    }

    fn wants(&self, right: &str) -> ConfigError {
        self.wrong(format!("it wants {right}, not {}", self.value.get_ref().type_str()))
    }

    /// A whole number in a range.
    pub(crate) fn integer<T>(&self, range: RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let right = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.value.get_ref().as_integer().ok_or_else(|| self.wants(&right))?;
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
        let parsed = parsed.and_then(|parsed| T::try_from(parsed).ok());
        let parsed = parsed.filter(|parsed| range.contains(parsed));
        parsed.ok_or_else(|| self.wrong(format!("{} is out of range; it wants {right}", number)))
    }

    /// A text.
    pub(crate) fn text(&self, right: &str) -> Result<&'a str, ConfigError> {
        self.value.get_ref().as_str().ok_or_else(|| self.wants(right))
    }

    /// Is it this word?
    pub(crate) fn is_text(&self, word: &str) -> bool {
        self.value.get_ref().as_str() == Some(word)
    }

    /// A text that stands for something else.
    pub(crate) fn parsed<T: FromStr>(&self, right: &str) -> Result<T, ConfigError> {
        let text = self.text(right)?;
        text.parse().map_err(|_| self.wrong(format!("\"{text}\" is not {right}")))
    }

    /// A length of time, such as "5ms".
    pub(crate) fn span(&self) -> Result<Span, ConfigError> {
        let right = "a length of time such as \"200us\", \"5ms\" or \"1s\"";
        let text = self.text(right)?;
        let span = parse_span(text).filter(|span| span.0 > 0);
        span.ok_or_else(|| self.wrong(format!("\"{text}\" is not {right}")))
    }

    /// The path of a file; relative ones start from the folder of the configuration.
    pub(crate) fn path(&self) -> Result<PathBuf, ConfigError> {
        let text = self.text("the path of a file")?;
        let folder = self.source.file.parent().unwrap_or(Path::new("."));
        Ok(folder.join(text))
    }

    /// A public key of 32 bytes in hexadecimal.
    pub(crate) fn key(&self) -> Result<[u8; 32], ConfigError> {
        let right = "64 hexadecimal digits: the public key that `maftia-ttcb keygen` printed";
        let text = self.text(right)?;
        parse_hex(text).ok_or_else(|| self.wrong(format!("\"{text}\" is not {right}")))
    }

    /// A table within.
    pub(crate) fn section(&self) -> Result<Section<'a>, ConfigError> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.wants("a table"))?;
        let at = self.value.span().start;
        Ok(Section { source: self.source, table, name: self.key.clone(), at })
    }

    /// Several values.
    pub(crate) fn list(&self, right: &str) -> Result<Vec<Entry<'a>>, ConfigError> {
        let array = self.value.get_ref().as_array().ok_or_else(|| self.wants(right))?;
        let entry = |(index, value)| {
            let key = format!("{}[{index}]", self.key);
            Entry { source: self.source, key, value }
        };
        Ok(array.iter().enumerate().map(entry).collect())
    }
}

/// A length of time: a whole number and its unit.
pub fn parse_span(text: &str) -> Option<Span> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).map(Span)
}

/// 32 bytes in hexadecimal.
pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
