//! The file that remembers, outside of the journal, how often a server ran with it.
//!
//! # Promise
//! - A journal that is gone, or an older copy of it from an earlier run, is not taken for the
//!   journal of this server.
//! - A crash at any moment of a start is not taken for damage.
//!
//! # Why it holds
//! A start raises the run in the journal, durably, and then writes the same number here; records
//! follow. So the number here is at most the journal's, whatever the crash: nothing is here while
//! the journal's first run is not durable, and a crash between the two writes leaves the journal
//! ahead, which the next start accepts, and raises further. A copy of the journal, in turn, was
//! made before the current run began, and so has a number below the one that was then written here.
//! The file is replaced as a whole: written beside, synced, renamed, and the folder synced.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the file says before the number.
const PREAMBLE: &str = "This server has a journal. Times that it began to run: ";

/// The file.
#[derive(Clone, Debug)]
pub struct Begun(PathBuf);

impl Begun {
    /// The file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The last run that began, if any did.
    pub fn run(&self) -> io::Result<Option<u64>> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let number = text.strip_prefix(PREAMBLE).and_then(|rest| rest.strip_suffix('\n'));
        number.and_then(|number| number.parse().ok()).map(Some).ok_or_else(|| {
            let message = format!(
                "it should say '{PREAMBLE}' and a number, and is damaged; if the journal was never \
                 replaced by a copy, remove this file, and the next start writes it again"
            );
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Notes durably that `run` has begun.
    pub fn note(&self, run: u64) -> io::Result<()> {
        let beside = PathBuf::from(
            [self.0.as_os_str(), OsStr::new(".new")].into_iter().collect::<OsString>(),
        );
        let mut file = File::create(&beside)?;
        writeln!(file, "{PREAMBLE}{run}")?;
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
