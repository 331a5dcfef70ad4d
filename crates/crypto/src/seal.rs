//! Secret shares as files: versioned, and encrypted under a passphrase if one is given.
//!
//! # Rules
//! - F1. A file starts with a magic of 16 bytes, whose last is the version, then one byte that says
//!   whether it is encrypted.
//! - F2. The key is Argon2id of the passphrase with a random salt (64 MiB, 3 passes); the contents
//!   are encrypted with XChaCha20-Poly1305 under a random nonce; the header is authenticated too.
//! - F3. Buffers that held secrets are overwritten.

use crate::keys::{Scalars, Seed, ServerKeys};
use crate::rsa::SHARE_BITS_MAX;
use crate::rsa::number::{Number, SecretNumber};
use crate::{KeyId, SIGNATURE_KEYS_MAX};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use curve25519_dalek::Scalar;
use maftia_base::wire::Error;
use maftia_base::{Digest, Epoch, LEAVES_MAX, PARTIES_MAX, Party};
use rand_core::CryptoRng;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

/// What every share file starts with. (F1)
const MAGIC: [u8; 16] = *b"maftia secret  \x01";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const PLAIN: u8 = 0;
const ENCRYPTED: u8 = 1;

/// Why a share file is refused.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ShareFileError {
    /// Another kind of file, or another version.
    #[error("this is not a file of secret shares, or is one of another version")]
    NotAShare,
    /// Does not decode.
    #[error("the file of secret shares is damaged: {0}")]
    Malformed(#[from] Error),
    /// Encrypted, and no passphrase was given.
    #[error("the file of secret shares is encrypted: a passphrase is needed")]
    PassphraseNeeded,
    /// Wrong passphrase, or the file was altered; nobody can tell which.
    #[error("the passphrase is wrong, or the file was altered")]
    WrongPassphrase,
}

impl ServerKeys {
    /// Is this file encrypted? `None` if it is no share file.
    pub fn is_encrypted(file: &[u8]) -> Option<bool> {
        match *file.strip_prefix(&MAGIC)?.first()? {
            PLAIN => Some(false),
            ENCRYPTED => Some(true),
            _ => None,
        }
    }

    /// As a file; encrypted if there is a passphrase. Whoever writes it restricts who can read it.
    pub fn to_file(
        &self,
        passphrase: Option<&[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Zeroizing<Vec<u8>> {
        let mut contents = self.contents();
        let mut file = MAGIC.to_vec();
        let Some(passphrase) = passphrase else {
            file.push(PLAIN);
            let mut file = Zeroizing::new(file);
            file.reserve_exact(contents.len()); // Growing later would leave a copy behind. (F3)
            file.extend_from_slice(&contents);
            return file;
        };
        file.push(ENCRYPTED);
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        file.extend_from_slice(&salt);
        file.extend_from_slice(&nonce);
        let tag = cipher(passphrase, &salt)
            .encrypt_inout_detached(&XNonce::from(nonce), &file, contents.as_mut_slice().into())
            .expect("the contents are far below the cipher's limit");
        file.extend_from_slice(&tag);
        file.extend_from_slice(&contents);
        Zeroizing::new(file)
    }

    /// From a file.
    pub fn from_file(file: &[u8], passphrase: Option<&[u8]>) -> Result<Self, ShareFileError> {
        let is_encrypted = Self::is_encrypted(file).ok_or(ShareFileError::NotAShare)?;
        let rest = &file[MAGIC.len() + 1..];
        if !is_encrypted {
            return Ok(Self::from_contents(rest)?);
        }
        let passphrase = passphrase.ok_or(ShareFileError::PassphraseNeeded)?;
        let header_len = SALT_BYTES + NONCE_BYTES;
        if rest.len() < header_len + TAG_BYTES {
            return Err(Error::EndOfBuffer.into());
        }
        let (header, rest) = rest.split_at(header_len);
        let (tag, ciphertext) = rest.split_at(TAG_BYTES);
        let (salt, nonce) = header.split_at(SALT_BYTES);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("just split");
        let tag: [u8; TAG_BYTES] = tag.try_into().expect("just split");
        let mut contents = Zeroizing::new(ciphertext.to_vec());
        cipher(passphrase, salt)
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                &file[..MAGIC.len() + 1 + header_len],
                contents.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| ShareFileError::WrongPassphrase)?;
        Ok(Self::from_contents(&contents)?)
    }

    fn contents(&self) -> Zeroizing<Vec<u8>> {
        let shares: usize = self.signature_keys.iter().map(|(_, shares)| shares.len()).sum();
        let len = 512 + 32 * self.coin.0.len() + shares * (SHARE_BITS_MAX / 8 + 16);
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        let out: &mut Vec<u8> = &mut bytes;
        out.push(self.party.index() as u8);
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.group.0);
        out.extend_from_slice(&self.identity.0);
        out.extend_from_slice(&self.link.0);
        push_count(out, self.coin.0.len());
        self.coin.0.iter().for_each(|scalar| out.extend_from_slice(scalar.as_bytes()));
        push_count(out, self.signature_keys.len());
        for (key, shares) in &self.signature_keys {
            out.extend_from_slice(&key.0.to_be_bytes());
            push_count(out, shares.len());
            for share in shares {
                let number = share.expose();
                let magnitude = Zeroizing::new(number.to_bytes(number.bits().div_ceil(8)));
                push_count(out, magnitude.len());
                out.extend_from_slice(&magnitude);
            }
        }
        assert!(bytes.capacity() == len, "a buffer that grew left a copy of secrets behind");
        bytes
    }

    fn from_contents(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        let party = usize::from(reader.array::<1>()?[0]);
        if party >= PARTIES_MAX {
            return Err(Error::Invalid("ServerKeys", "there is no server of this number"));
        }
        let epoch = Epoch(u64::from_be_bytes(reader.array()?));
        let group = Digest(reader.array()?);
        let identity = Seed(reader.array()?);
        let link = Seed(reader.array()?);
        let scalars = reader.count(LEAVES_MAX)?;
        let mut coin = Scalars(Vec::with_capacity(scalars));
        for _ in 0..scalars {
            let scalar = Zeroizing::new(reader.array()?);
            let scalar = Option::from(Scalar::from_canonical_bytes(*scalar));
            coin.0.push(scalar.ok_or(Error::Invalid("ServerKeys", "a coin share is no scalar"))?);
        }
        let mut signature_keys = Vec::new();
        for _ in 0..reader.count(SIGNATURE_KEYS_MAX)? {
            let key = KeyId(u16::from_be_bytes(reader.array()?));
            let mut shares = Vec::new();
            for _ in 0..reader.count(LEAVES_MAX)? {
                let len = reader.count(SHARE_BITS_MAX / 8)?;
                shares.push(SecretNumber::new(Number::from_bytes(reader.take(len)?)));
            }
            signature_keys.push((key, shares));
        }
        match reader.0.len() {
            0 => {
                let party = Party::new(party);
                Ok(Self { party, epoch, group, identity, link, coin, signature_keys })
            }
            extra => Err(Error::ExtraData(extra)),
        }
    }
}

/// Reads secrets in place: the wire codec reads from shared buffers, which nobody overwrites. (F3)
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::EndOfBuffer)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.take(N)?.try_into().expect("as many as were asked for"))
    }

    /// A number of items, at most `max`.
    fn count(&mut self, max: usize) -> Result<usize, Error> {
        let count = u32::from_be_bytes(self.array()?) as usize;
        if count <= max { Ok(count) } else { Err(Error::InvalidLength(count)) }
    }
}

fn push_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("counts are bounded by the formats");
    out.extend_from_slice(&count.to_be_bytes());
}

/// The cipher under the key that the passphrase gives. (F2)
fn cipher(passphrase: &[u8], salt: &[u8]) -> XChaCha20Poly1305 {
    let params = Params::new(64 * 1024, 3, 1, Some(32)).expect("within Argon2's limits");
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .expect("salt and output have lengths that Argon2 takes");
    XChaCha20Poly1305::new(&Key::from(*key))
}
