//! The file by which an operator says that a server's journal is lost for good.
//!
//! # Promise
//! A number is used for one loss only, whatever crashes in between: it was drawn after the loss,
//! and the file is gone before the server signs anything again.
//!
//! # Why it holds
//! The file is written with a fresh number when the journal has been set aside. At its next start
//! the server begins a new journal, whose first record is the number; when that is durable the
//! file is removed, durably, and only then the server runs. If the new journal is lost, too, there
//! is no file, and the server does not start without another number.

use maftia_activity::Nonce;
use maftia_base::Digest;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the file says before the number.
const PREAMBLE: &str =
    "This server's journal is lost. At its next start it rejoins its group, with the number ";

/// The file.
#[derive(Clone, Debug)]
pub struct Lost(PathBuf);

impl Lost {
    /// The file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The number, if the journal was declared lost.
    pub fn nonce(&self) -> io::Result<Option<Nonce>> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let number = text.strip_prefix(PREAMBLE).and_then(|rest| rest.strip_suffix('\n'));
        number.and_then(digits).map(Some).ok_or_else(|| {
            let message = "it is damaged; run `maftia repair --rejoin`, which writes it anew";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Declares the journal lost; `nonce` is drawn at random, now.
    pub fn declare(&self, nonce: Nonce) -> io::Result<()> {
        let beside = self.0.with_extension("lost.new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{PREAMBLE}{}", nonce.0)?;
        file.sync_all()?;
        fs::rename(&beside, &self.0)?;
        self.sync_folder()
    }

    /// The number is in the new journal.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.0)?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

fn digits(text: &str) -> Option<Nonce> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(Nonce(Digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_read_again_and_removed_once() {
        let folder = std::env::temp_dir().join(format!("maftia-lost-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        let lost = Lost::at(folder.join("journal.lost"));
        assert_eq!(lost.nonce().expect("readable"), None);
        let nonce = Nonce(Digest::of("test", b"one"));
        lost.declare(nonce).expect("written");
        assert_eq!(lost.nonce().expect("readable"), Some(nonce));
        let cut = fs::read_to_string(lost.path()).expect("there");
        fs::write(lost.path(), &cut[..cut.len() - 3]).expect("written");
        assert!(lost.nonce().is_err(), "a torn number is no number");
        lost.remove().expect("removed");
        assert_eq!(lost.nonce().expect("readable"), None);
        fs::remove_dir_all(folder).expect("removed");
    }
}
