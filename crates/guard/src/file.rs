//! A key guard in a file, sealed with a passphrase or the contents of a key file.
//!
//! # Promise
//! - Who has the file and not the secret learns the number of boots and nothing else, and cannot
//!   alter anything without it being noticed.
//! - The counter survives a crash at any moment, and never gives out a number twice, unless file
//!   and high-water mark are both put back to states that fit.
//! - One process at a time has the guard open.
//!
//! # Rules
//! - S1. The key of the file is Argon2id of the secret with a random salt (64 MiB, 3 passes); the
//!   seed is encrypted under it with XChaCha20-Poly1305 and a new random nonce at each writing. All
//!   else that the file says, the counter among it, is authenticated with it.
//! - S2. The file is replaced as a whole: written beside, synced, renamed, and its folder synced.
//! - S3. The high-water mark is a second file, best on another disk or under another user's backup.
//!   It is written after the file and before the number is given out. A file that is behind its
//!   mark was rolled back; a mark that is more than one behind its file was. One behind is what a
//!   crash between the two leaves: that number has not been given out, and is skipped.
//! - S4. All files are of mode 600 and the user who opens them; the guard looks before it reads.
//! - S5. While open, the file's key and the seed are in secret memory (see [`Memory`]).
//!
//! # Bounds
//! A file has 112 bytes and a mark 56; nothing longer than 8 KiB is read. What Argon2 costs is
//! fixed by the version and not by the file. The passphrase, and Argon2's working memory, are in
//! ordinary memory while the guard is opened.
//!
//! # What a rollback means
//! Whoever puts back the file alone is found out, and so is whoever puts back the mark alone.
//! Whoever puts back both is not: no file can tell. Then numbers are given out again.

use crate::attestation::Attestation;
use crate::error::GuardError;
use crate::life::Life;
use crate::secret::{Memory, Secret};
use crate::store::{self, Hold};
use crate::{KeyGuard, seed};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use maftia_ttcb_api::{BootKeys, Sealed};
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where a guard's two files are, and where its secrets may lie while it is open.
#[derive(Clone, Debug)]
pub struct Places {
    /// The sealed file.
    pub file: PathBuf,
    /// The high-water mark. (S3)
    pub mark: PathBuf,
    /// What memory the open guard takes.
    pub memory: Memory,
}

/// What a guard's file is sealed with.
#[derive(Clone)]
#[non_exhaustive]
pub enum Unlock {
    /// A passphrase, of 8 bytes at least; its strength is the file's.
    Passphrase(Zeroizing<Vec<u8>>),
    /// A file of mode 600 with at least 32 bytes, which somebody drew at random.
    KeyFile(PathBuf),
}

impl fmt::Debug for Unlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(_) => out.write_str("Passphrase(..)"),
            Self::KeyFile(path) => out.debug_tuple("KeyFile").field(path).finish(),
        }
    }
}

impl Unlock {
    /// A key file whose bytes are drawn now; it must not exist.
    pub fn draw(path: PathBuf) -> Result<Self, GuardError> {
        let mut bytes = Zeroizing::new([0; KEY_FILE_MIN]);
        fill_randomly(&mut *bytes)?;
        store::create(&path, &*bytes)?;
        Ok(Self::KeyFile(path))
    }

    /// The bytes, if there are enough of them.
    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, GuardError> {
        let (what, bytes, min) = match self {
            Self::Passphrase(passphrase) => ("passphrase", passphrase.clone(), PASSPHRASE_MIN),
            Self::KeyFile(path) => ("key file", store::read_private(path)?, KEY_FILE_MIN),
        };
        let (len, max) = (bytes.len(), store::FILE_BYTES_MAX);
        if (min..=max).contains(&len) {
            Ok(bytes)
        } else {
            Err(GuardError::UnfitSecret { what, len, min, max })
        }
    }
}

/// A guard in a file, open.
#[derive(Debug)]
pub struct FileGuard {
    places: Places,
    salt: [u8; SALT_BYTES],
    counter: u64,
    public_key: [u8; 32],
    keys: Keys,
    life: Life,
    _hold: Hold,
}

impl FileGuard {
    /// Makes a guard with a new key; neither of its files may exist.
    pub fn create(places: Places, unlock: &Unlock) -> Result<Self, GuardError> {
        let secret = unlock.bytes()?;
        let mut salt = [0; SALT_BYTES];
        fill_randomly(&mut salt)?;
        let mut keys = Keys::derive(&secret, &salt, places.memory)?;
        fill_randomly(keys.seed_mut())?;
        // The mark comes first: a file without mark does not open, and a mark alone is no guard.
        store::create(&places.mark, &keys.mark(0))?;
        let contents = keys.seal_file(&salt, 0)?;
        if let Err(error) = store::create(&places.file, &contents) {
            // The mark was made a moment ago, for a file that there is not.
            let _ = std::fs::remove_file(&places.mark);
            return Err(error);
        }
        drop(keys);
        Self::open(places, unlock)
    }

    /// Opens a guard.
    pub fn open(places: Places, unlock: &Unlock) -> Result<Self, GuardError> {
        let file = store::canonical(&places.file)?;
        let mark = store::canonical(&places.mark)?;
        let places = Places { file, mark, memory: places.memory };
        let hold = Hold::take(&places.file)?;
        let contents = store::read_private(&places.file)?;
        let parts = FileParts::read(&contents)
            .ok_or_else(|| GuardError::NotThis { path: places.file.clone(), what: "guard file" })?;
        let mut keys = Keys::derive(&unlock.bytes()?, &parts.salt, places.memory)?;
        if !keys.unseal_file(&parts) {
            return Err(GuardError::WrongSecret { path: places.file });
        }
        check_mark(&places, &keys, parts.counter)?;
        Ok(Self {
            salt: parts.salt,
            counter: parts.counter,
            public_key: seed::public_key(keys.seed()),
            places,
            keys,
            life: Life::default(),
            _hold: hold,
        })
    }
}

impl KeyGuard for FileGuard {
    fn name(&self) -> &'static str {
        "file"
    }

    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn begin_epoch(&mut self) -> Result<u64, GuardError> {
        let epoch = self.counter.checked_add(1).ok_or(GuardError::Exhausted)?;
        // A mark that was put back while this guard is open is found out before it is replaced; one
        // that a crash left behind catches up first, so that it never falls behind by two.
        if check_mark(&self.places, &self.keys, self.counter)? < self.counter {
            store::replace(&self.places.mark, &self.keys.mark(self.counter))?;
        }
        // File before mark, and both before the number is given out. (S3)
        store::replace(&self.places.file, &self.keys.seal_file(&self.salt, epoch)?)?;
        self.counter = epoch;
        store::replace(&self.places.mark, &self.keys.mark(epoch))?;
        self.life.begin(epoch);
        Ok(epoch)
    }

    fn certify(&mut self, keys: &BootKeys) -> Result<Sealed<BootKeys>, GuardError> {
        self.life.admit(keys)?;
        Ok(seed::seal(self.keys.seed(), keys))
    }

    fn attest(&mut self, _challenge: [u8; 32]) -> Result<Attestation, GuardError> {
        Ok(Attestation::Nothing { why: "a file knows nothing of the machine that it is opened on" })
    }
}

/// The high-water mark, if the counter fits it. (S3)
fn check_mark(places: &Places, keys: &Keys, counter: u64) -> Result<u64, GuardError> {
    let contents = store::read_private(&places.mark)?;
    let mark = keys
        .read_mark(&contents)
        .ok_or_else(|| GuardError::ForeignMark { path: places.mark.clone() })?;
    if counter < mark {
        return Err(GuardError::RolledBack { path: places.file.clone(), counter, mark });
    }
    if counter - mark > 1 {
        let (path, mark_path) = (places.file.clone(), places.mark.clone());
        return Err(GuardError::MarkRolledBack { path, counter, mark_path, mark });
    }
    Ok(mark)
}

/// The key of the file and the seed, one after the other in one page. (S5)
#[derive(Debug)]
struct Keys(Secret<64>);

impl Keys {
    /// The file's key from the secret; the seed is still zeros. (S1)
    fn derive(secret: &[u8], salt: &[u8], memory: Memory) -> Result<Self, GuardError> {
        let params = Params::new(64 * 1024, 3, 1, Some(32)).expect("within Argon2's limits");
        let mut keys = Self(Secret::zeros(memory)?);
        let (file_key, _) = keys.0.expose_mut().split_at_mut(32);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(secret, salt, file_key)
            .expect("secret, salt and output have lengths that Argon2 takes");
        Ok(keys)
    }

    fn file_key(&self) -> &[u8; 32] {
        self.0.expose().first_chunk().expect("the front half")
    }

    fn seed(&self) -> &seed::Seed {
        self.0.expose().last_chunk().expect("the rear half")
    }

    fn seed_mut(&mut self) -> &mut seed::Seed {
        self.0.expose_mut().last_chunk_mut().expect("the rear half")
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(<&Key>::from(self.file_key()))
    }

    /// The guard's file.
    fn seal_file(&self, salt: &[u8; SALT_BYTES], counter: u64) -> Result<Vec<u8>, GuardError> {
        let mut nonce = [0; NONCE_BYTES];
        fill_randomly(&mut nonce)?;
        let mut file = FILE_MAGIC.to_vec();
        file.extend_from_slice(salt);
        file.extend_from_slice(&counter.to_le_bytes());
        file.extend_from_slice(&nonce);
        let mut seed = Zeroizing::new(*self.seed());
        let tag = self
            .cipher()
            .encrypt_inout_detached(&XNonce::from(nonce), &file, seed.as_mut_slice().into())
            .expect("a seed is far below the cipher's limit");
        file.extend_from_slice(&tag);
        file.extend_from_slice(&*seed);
        Ok(file)
    }

    /// Decrypts the seed in place; false if the file's key is another, or anything was altered.
    fn unseal_file(&mut self, parts: &FileParts<'_>) -> bool {
        let cipher = self.cipher();
        let seed = self.seed_mut();
        *seed = parts.sealed;
        let (nonce, tag) = (XNonce::from(parts.nonce), Tag::from(parts.tag));
        let seed = seed.as_mut_slice().into();
        cipher.decrypt_inout_detached(&nonce, parts.header, seed, &tag).is_ok()
    }

    /// The high-water mark at that number.
    fn mark(&self, counter: u64) -> Vec<u8> {
        let mut mark = MARK_MAGIC.to_vec();
        mark.extend_from_slice(&counter.to_le_bytes());
        let code = self.mark_code(&mark);
        mark.extend_from_slice(code.as_bytes());
        mark
    }

    /// The number of a mark of this guard.
    fn read_mark(&self, contents: &[u8]) -> Option<u64> {
        let (said, code) = contents.split_last_chunk::<32>()?;
        let (magic, counter) = said.split_last_chunk::<8>()?;
        // The comparison takes the same time wherever the two differ.
        let is_ours = self.mark_code(said) == *code && magic == MARK_MAGIC;
        is_ours.then(|| u64::from_le_bytes(*counter))
    }

    fn mark_code(&self, said: &[u8]) -> blake3::Hash {
        let key = Zeroizing::new(blake3::derive_key("maftia guard mark", self.file_key()));
        blake3::keyed_hash(&key, said)
    }
}

/// A guard's file, taken apart; nothing has been checked but lengths and magic.
struct FileParts<'a> {
    header: &'a [u8],
    salt: [u8; SALT_BYTES],
    counter: u64,
    nonce: [u8; NONCE_BYTES],
    tag: [u8; TAG_BYTES],
    sealed: [u8; 32],
}

impl<'a> FileParts<'a> {
    fn read(contents: &'a [u8]) -> Option<Self> {
        let rest = contents.strip_prefix(FILE_MAGIC)?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let header = &contents[..contents.len() - rest.len()];
        let (tag, rest) = rest.split_first_chunk()?;
        let sealed = rest.try_into().ok()?;
        let counter = u64::from_le_bytes(*counter);
        Some(Self { header, salt: *salt, counter, nonce: *nonce, tag: *tag, sealed })
    }
}

fn fill_randomly(bytes: &mut [u8]) -> Result<(), GuardError> {
    getrandom::fill(bytes).map_err(GuardError::NoRandomness)
}

/// What each kind of file starts with; the last byte is the version.
const FILE_MAGIC: &[u8; 16] = b"maftia guard   \x01";
const MARK_MAGIC: &[u8; 16] = b"maftia mark    \x01";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Fewest bytes of a passphrase.
const PASSPHRASE_MIN: usize = 8;
/// Fewest bytes of a key file.
const KEY_FILE_MIN: usize = 32;
