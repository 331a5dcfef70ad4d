//! The file that remembers with which life of its trusted component a server ran last: a server
//! that lost its journal must not come back with that life, in which it may have signed anything.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file.
#[derive(Clone, Debug)]
pub struct LastLife(PathBuf);

impl LastLife {
    /// The file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The key of that life, if there was one.
    pub fn read(&self) -> io::Result<Option<[u8; 32]>> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        const_hex::decode_to_array(text.trim()).map(Some).map_err(|_| {
            let message = "it is damaged; restart maftia-ttcb on this host, and remove the file";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Notes durably that the server runs with this life.
    pub fn note(&self, key: [u8; 32]) -> io::Result<()> {
        if self.read().is_ok_and(|noted| noted == Some(key)) {
            return Ok(());
        }
        let beside = self.0.with_extension("life.new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{}", const_hex::encode(key))?;
        file.sync_all()?;
        fs::rename(&beside, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_life_is_remembered_and_what_is_damaged_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = LastLife::at(folder.path().join("journal.life"));
        assert_eq!(file.read().unwrap(), None);
        for key in [[1; 32], [2; 32], [2; 32]] {
            file.note(key).unwrap();
            assert_eq!(file.read().unwrap(), Some(key));
        }
        fs::write(file.path(), "torn").unwrap();
        assert!(file.read().is_err());
    }
}
