//! Files that belong to one user: small, private, and replaced as a whole.

use crate::error::GuardError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Most bytes of any file that a guard reads.
pub(crate) const FILE_BYTES_MAX: usize = 8192;

/// What a file of a guard may have set of its mode: reading and writing by its owner.
const PRIVATE: u32 = 0o600;

/// Reads a file that nobody else may read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, GuardError> {
    let failed = |source| GuardError::Io { doing: "reading", path: path.to_owned(), source };
    // A pipe would block the opening until somebody writes to it.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
    let mut file = file.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    let (user, expected) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if !metadata.is_file() {
        return Err(GuardError::NotThis { path: path.to_owned(), what: "ordinary file" });
    }
    if mode & !PRIVATE != 0 || user != expected {
        return Err(GuardError::Exposed { path: path.to_owned(), mode, user, expected });
    }
    // With room for one more than is allowed, the buffer never moves and leaves no copy behind.
    let mut bytes = Zeroizing::new(vec![0; FILE_BYTES_MAX + 1]);
    let mut len = 0;
    loop {
        match file.read(&mut bytes[len..]).map_err(failed)? {
            0 => break,
            more => len += more,
        }
    }
    if len > FILE_BYTES_MAX {
        return Err(GuardError::NotThis { path: path.to_owned(), what: "file of a guard" });
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// A passphrase, PIN or authorization in a file that nobody else may read, without the end of its
/// line.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, GuardError> {
    let mut secret = read_private(path)?;
    while secret.last().is_some_and(|last| b"\r\n".contains(last)) {
        secret.pop();
    }
    Ok(secret)
}

/// Replaces a file by another, durably: after a crash it is the one or the other.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<(), GuardError> {
    let failed = |source| GuardError::Io { doing: "writing", path: path.to_owned(), source };
    let beside = with_suffix(path, ".new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_new(&beside, contents).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    sync_folder(path).map_err(failed)
}

/// Makes a file that must not exist.
pub(crate) fn create(path: &Path, contents: &[u8]) -> Result<(), GuardError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => GuardError::Exists { path: path.to_owned() },
        _ => GuardError::Io { doing: "making", path: path.to_owned(), source },
    };
    write_new(path, contents).map_err(failed)?;
    sync_folder(path).map_err(failed)
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Holds a guard for one process, until it is dropped or the process ends. (G3)
#[derive(Debug)]
pub(crate) struct Hold {
    file: File,
}

impl Hold {
    /// Takes the guard whose state is named by `path`; the file itself is replaced again and again,
    /// so that the lock is on another one beside it.
    pub(crate) fn take(path: &Path) -> Result<Self, GuardError> {
        let lock = with_suffix(path, ".lock");
        let failed = |source| GuardError::Io { doing: "locking", path: lock.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(PRIVATE);
        let file = options.open(&lock).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(GuardError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Drop for Hold {
    /// Closing the file is not enough: a child that is being started by another thread has it open
    /// until its program begins, and would hold the lock as long.
    fn drop(&mut self) {
        // If that fails the lock goes with the last descriptor.
        let _ = self.file.unlock();
    }
}

/// The same file by its one name, so that two ways to name it are one lock.
pub(crate) fn canonical(path: &Path) -> Result<PathBuf, GuardError> {
    let failed = |source| GuardError::Io { doing: "finding", path: path.to_owned(), source };
    std::fs::canonicalize(path).map_err(failed)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
