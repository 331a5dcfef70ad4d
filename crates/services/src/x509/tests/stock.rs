//! Stock tools: the system's `openssl` in a directory of its own, and keys that somebody holds.

use maftia_crypto::{HashAlgorithm, SigningInput};
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use std::path::Path;
use std::process::Command;

/// An RSA key, in the place of a group's.
pub(crate) struct Key(Rsa<Private>);

impl Key {
    pub(crate) fn generate() -> Self {
        Self(Rsa::generate(2048).unwrap())
    }

    /// `SubjectPublicKeyInfo` in DER.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        self.0.public_key_to_der().unwrap()
    }

    /// Modulus and exponent.
    pub(crate) fn public_numbers(&self) -> (Vec<u8>, Vec<u8>) {
        (self.0.n().to_vec(), self.0.e().to_vec())
    }

    /// What a group does together: PKCS #1 version 1.5.
    pub(crate) fn sign(&self, input: &SigningInput) -> Vec<u8> {
        assert_eq!(input.hash, HashAlgorithm::Sha256);
        let mut info =
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
                .to_vec();
        info.extend_from_slice(&input.digest);
        let mut signature = vec![0; 256];
        self.0.private_encrypt(&info, &mut signature, Padding::PKCS1).unwrap();
        signature
    }
}

/// A directory with files, among which `openssl` runs.
pub(crate) struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    /// Runs `openssl`; answers what it says, as `Err` if it fails.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> Result<String, String> {
        let run = Command::new("openssl")
            .args(arguments)
            .current_dir(self.path())
            .output()
            .expect("these tests need the system's openssl");
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if run.status.success() { Ok(said) } else { Err(said) }
    }
}
