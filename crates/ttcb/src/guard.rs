//! The key guard of a host: it counts the lives of its component and certifies their keys.
//!
//! A guard is asked twice at boot and never again: it may be slow, and nothing of it is left in the
//! daemon that serves.

use crate::Fatal;
use crate::settings::{hex, parse_hex};
use ed25519_dalek::{Signer, SigningKey};
use maftia_ttcb_api::{BootKeys, Seal, Statement};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroize;

/// What keeps a host's key.
pub trait Guard {
    /// The key that others check certificates with.
    fn public_key(&self) -> [u8; 32];
    /// Begins another epoch: its number is greater than all before, and never given twice.
    fn begin_epoch(&mut self) -> Result<u64, Fatal>;
    /// Signs the keys of a life.
    fn certify(&mut self, keys: &BootKeys) -> Result<Seal, Fatal>;
}

/// A key in a file, and the count of epochs in another beside it. Whoever has the user's rights, or
/// the disk, has the key, and can set the count back.
pub struct KeyFile {
    key: SigningKey,
    epochs: PathBuf,
}

impl KeyFile {
    /// Makes a key; a file that is there is never replaced.
    pub fn create(path: &Path, mut secret: [u8; 32]) -> Result<Self, Fatal> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| Fatal::file("make the key guard's file", path, &error))?;
        let mut text = hex(&secret);
        secret.zeroize();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        text.zeroize();
        written.map_err(|error| Fatal::file("write", path, &error))?;
        Self::open(path)
    }

    /// Makes a key of fresh random bits.
    pub fn generate(path: &Path) -> Result<Self, Fatal> {
        Self::create(path, crate::life::random())
    }

    /// Opens the file.
    pub fn open(path: &Path) -> Result<Self, Fatal> {
        let mut text = fs::read_to_string(path)
            .map_err(|error| Fatal::file("read the key guard's file", path, &error))?;
        let secret = parse_hex(text.trim());
        text.zeroize();
        let mut secret = secret.ok_or_else(|| {
            Fatal(format!("{} is no key: it wants 64 hexadecimal digits", path.display()))
        })?;
        let key = SigningKey::from_bytes(&secret);
        secret.zeroize();
        Ok(Self { key, epochs: path.with_extension("epoch") })
    }
}

impl Guard for KeyFile {
    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    fn begin_epoch(&mut self) -> Result<u64, Fatal> {
        let path = &self.epochs;
        let last = match fs::read_to_string(path) {
            Ok(text) => text.trim().parse::<u64>().map_err(|_| {
                Fatal(format!("{} holds no number: restore it, or make a new key", path.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Fatal::file("read", path, &error)),
        };
        let epoch = last.checked_add(1).ok_or_else(|| Fatal("no epoch is left".into()))?;
        // The count is on the disk before anything is signed for the epoch: a crash wastes one.
        let next = path.with_extension("next");
        let write = || {
            let mut file = File::create(&next)?;
            file.write_all(epoch.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error: std::io::Error| Fatal::file("write", path, &error))?;
        Ok(epoch)
    }

    fn certify(&mut self, keys: &BootKeys) -> Result<Seal, Fatal> {
        Ok(self.key.sign(&keys.digest()).to_bytes())
    }
}

/// The guard that the configuration names.
pub fn open(path: &Path) -> Result<Box<dyn Guard>, Fatal> {
    Ok(Box::new(KeyFile::open(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_ttcb_api::Sealed;

    #[test]
    fn an_epoch_is_never_given_twice_and_keys_are_certified() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.key");
        let mut guard = KeyFile::create(&path, [7; 32]).unwrap();
        assert_eq!(guard.begin_epoch().unwrap(), 1);
        assert_eq!(KeyFile::open(&path).unwrap().begin_epoch().unwrap(), 2);
        assert_eq!(guard.begin_epoch().unwrap(), 3);
        let said = BootKeys { epoch: 3, ..BootKeys::default() };
        let sealed = Sealed { said, seal: guard.certify(&said).unwrap() };
        assert!(sealed.is_signed_by(&guard.public_key()));
        assert!(KeyFile::create(&path, [8; 32]).is_err(), "a key is never replaced");
    }

    #[test]
    fn a_count_that_cannot_be_read_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.key");
        let mut guard = KeyFile::create(&path, [7; 32]).unwrap();
        fs::write(folder.path().join("guard.epoch"), "torn").unwrap();
        assert!(guard.begin_epoch().is_err());
    }
}
