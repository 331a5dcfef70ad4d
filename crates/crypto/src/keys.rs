//! A group's keys: the public file that everybody reads, and each server's secret share.

use crate::KeyId;
use crate::coin::CoinPublic;
use crate::ed25519::PublicKey;
use crate::rsa::number::SecretNumber;
use crate::rsa::{RsaKeyFile, RsaPublic};
use crate::sharing::format::{self, Nodes};
use bytes::Bytes;
use curve25519_dalek::Scalar;
use maftia_base::wire::{
    Buf, BufMut, Encode, EncodeSize, Error, List, Read, Wire, Write, wire_struct,
};
use maftia_base::{Digest, Epoch, Formula, LEAVES_MAX, PARTIES_MAX, Party};
use std::fmt;
use thiserror::Error as ThisError;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Most threshold-signature keys of a group.
pub const SIGNATURE_KEYS_MAX: usize = 16;

/// What every file of public keys starts with; the last byte is the format's version.
const MAGIC: [u8; 16] = *b"maftia public  \x01";

/// One server's public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyKeys {
    /// Ed25519, for statements.
    pub identity: [u8; 32],
    /// Ed25519, for the links between servers only.
    pub link: [u8; 32],
}

wire_struct!(PartyKeys { identity, link });

/// The public keys of a group in one epoch, as the dealer publishes them.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupKeys {
    pub(crate) context: Digest,
    pub(crate) epoch: Epoch,
    pub(crate) parties: List<PartyKeys, PARTIES_MAX>,
    pub(crate) sharing: Formula,
    pub(crate) coin: List<[u8; 32], LEAVES_MAX>,
    pub(crate) signature_keys: List<SignatureKeyFile, SIGNATURE_KEYS_MAX>,
}

/// A threshold-signature key and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignatureKeyFile {
    pub(crate) key: KeyId,
    pub(crate) file: RsaKeyFile,
}

wire_struct!(SignatureKeyFile { key, file });

impl fmt::Debug for GroupKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKeys({}, {} parties)", self.digest(), self.parties.len())
    }
}

impl GroupKeys {
    /// Name of exactly these keys; part of what a group's identity is made of.
    pub fn digest(&self) -> Digest {
        Digest::of_encoded("maftia group keys", self)
    }

    /// What the dealer was told the keys are for: the digest of the group's configuration.
    pub fn context(&self) -> Digest {
        self.context
    }

    /// The epoch of the shares.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Each server's public keys, in the order of the parties.
    pub fn parties(&self) -> &[PartyKeys] {
        &self.parties
    }

    /// The formula over which all secrets are shared.
    pub fn sharing(&self) -> &Formula {
        &self.sharing
    }

    /// The threshold-signature keys.
    pub fn signature_keys(&self) -> impl Iterator<Item = KeyId> {
        self.signature_keys.iter().map(|file| file.key)
    }

    /// Modulus and public exponent, big-endian, of the RSA key called `key`.
    pub fn rsa(&self, key: KeyId) -> Option<(Vec<u8>, Vec<u8>)> {
        let SignatureKeyFile { file, .. } =
            self.signature_keys.iter().find(|one| one.key == key)?;
        let exponent = file.exponent.to_be_bytes();
        let skip = exponent.iter().take_while(|byte| **byte == 0).count();
        Some((file.modulus.to_vec(), exponent[skip..].to_vec()))
    }

    /// As a file.
    pub fn to_file(&self) -> Bytes {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.encode());
        bytes.into()
    }

    /// From a file; everything in it is checked but whether the formula fits the structure, see
    /// [`Formula::check`].
    pub fn from_file(bytes: &[u8]) -> Result<Self, KeysError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(KeysError::NotPublicKeys)?;
        let keys = Self::from_wire(Bytes::copy_from_slice(rest)).map_err(KeysError::Malformed)?;
        keys.open()?;
        Ok(keys)
    }

    /// Everything ready to compute with; names what is wrong otherwise.
    pub(crate) fn open(&self) -> Result<OpenKeys, KeysError> {
        let n = self.parties.len();
        if n == 0 || self.sharing.leaves().iter().any(|party| party.index() >= n) {
            return Err(KeysError::UnknownParty);
        }
        let mut identities = Vec::with_capacity(n);
        for (index, keys) in self.parties.iter().enumerate() {
            let decode = |bytes| PublicKey::from_bytes(bytes);
            let both = decode(keys.identity).zip(decode(keys.link));
            identities.push(both.ok_or(KeysError::Identity(Party::new(index)))?.0);
        }
        let coin = CoinPublic::new(self.sharing.clone(), n, self.coin.to_vec());
        let mut signature_keys = Vec::new();
        for SignatureKeyFile { key, file } in self.signature_keys.iter() {
            if signature_keys.iter().any(|(other, _)| other == key) {
                return Err(KeysError::SignatureKey(*key));
            }
            let open = RsaPublic::new(self.sharing.clone(), n, file);
            signature_keys.push((*key, open.ok_or(KeysError::SignatureKey(*key))?));
        }
        Ok(OpenKeys { identities, coin: coin.ok_or(KeysError::Coin)?, signature_keys })
    }
}

/// The same keys, decoded.
pub(crate) struct OpenKeys {
    pub(crate) identities: Vec<PublicKey>,
    pub(crate) coin: CoinPublic,
    pub(crate) signature_keys: Vec<(KeyId, RsaPublic)>,
}

impl OpenKeys {
    pub(crate) fn rsa(&self, key: KeyId) -> Option<&RsaPublic> {
        self.signature_keys.iter().find(|(id, _)| *id == key).map(|(_, public)| public)
    }
}

impl GroupKeys {
    fn nodes(&self) -> Nodes {
        format::flatten(&self.sharing).expect("checked when the keys were dealt or decoded")
    }
}

impl Write for GroupKeys {
    fn write(&self, buf: &mut impl BufMut) {
        self.context.write(buf);
        self.epoch.write(buf);
        self.parties.write(buf);
        self.nodes().write(buf);
        self.coin.write(buf);
        self.signature_keys.write(buf);
    }
}

impl EncodeSize for GroupKeys {
    fn encode_size(&self) -> usize {
        self.context.encode_size()
            + self.epoch.encode_size()
            + self.parties.encode_size()
            + self.nodes().encode_size()
            + self.coin.encode_size()
            + self.signature_keys.encode_size()
    }
}

impl Read for GroupKeys {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self {
            context: Read::read_cfg(buf, &())?,
            epoch: Read::read_cfg(buf, &())?,
            parties: Read::read_cfg(buf, &())?,
            sharing: format::unflatten(&Read::read_cfg(buf, &())?)?,
            coin: Read::read_cfg(buf, &())?,
            signature_keys: Read::read_cfg(buf, &())?,
        })
    }
}

/// One server's secrets; never cloned, printed as `Secret(..)`, overwritten when dropped.
pub struct ServerKeys {
    pub(crate) party: Party,
    pub(crate) epoch: Epoch,
    /// Digest of the public keys that they belong to.
    pub(crate) group: Digest,
    pub(crate) identity: Seed,
    pub(crate) link: Seed,
    pub(crate) coin: Scalars,
    pub(crate) signature_keys: Vec<(KeyId, Vec<SecretNumber>)>,
}

/// Where a private Ed25519 key comes from.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Seed(pub(crate) [u8; 32]);

/// Secret scalars.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Scalars(pub(crate) Vec<Scalar>);

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKeys({} of {:?}, Secret(..))", self.party, self.group)
    }
}

impl ServerKeys {
    /// Whose secrets these are.
    pub fn party(&self) -> Party {
        self.party
    }

    /// The epoch of the shares.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Digest of the public keys that they belong to: see [`GroupKeys::digest`].
    pub fn group(&self) -> Digest {
        self.group
    }

    /// The seed of the Ed25519 key for links.
    pub fn link_seed(&self) -> &[u8; 32] {
        &self.link.0
    }
}

/// Why keys are refused.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum KeysError {
    /// Another kind of file, or another version.
    #[error("this is not a file of public keys, or is one of another version")]
    NotPublicKeys,
    /// Does not decode.
    #[error("the file of public keys is damaged: {0}")]
    Malformed(Error),
    /// The sharing formula names somebody who has no keys.
    #[error("the sharing formula names a server that has no public keys")]
    UnknownParty,
    /// Not a public key, or one of those that no honest dealer makes.
    #[error("the Ed25519 keys of {0} are not valid public keys")]
    Identity(Party),
    /// The coin's verification keys do not fit.
    #[error("the coin's verification keys do not fit the sharing formula")]
    Coin,
    /// A threshold-signature key does not fit, or is there twice.
    #[error("threshold-signature key {} does not fit the sharing formula, or is there twice", .0.0)]
    SignatureKey(KeyId),
    /// The secret share belongs to other public keys.
    #[error("the secret share was dealt with the public keys {share}, not with {public}")]
    OtherGroup {
        /// Digest that the share names.
        share: Digest,
        /// Digest of the public keys at hand.
        public: Digest,
    },
    /// The secret share has another epoch.
    #[error("the secret share is of epoch {}, the public keys of epoch {}", .share.0, .public.0)]
    OtherEpoch {
        /// The share's.
        share: Epoch,
        /// The public keys'.
        public: Epoch,
    },
    /// A secret does not belong to its public key.
    #[error("the {what} in the secret share of {party} does not belong to its public key")]
    Mismatch {
        /// Whose.
        party: Party,
        /// Which one.
        what: &'static str,
    },
}
