//! A key guard whose seed is sealed to a TPM 2.0.
//!
//! # Promise
//! - The TPM releases the seed on the machine that it was sealed on, while the registers that the
//!   configuration names have the values that they had then, and nowhere else.
//! - Numbers come from a counter of the TPM, which cannot be set, and which begins above all others
//!   of that TPM if it is deleted and made again.
//! - [`attest`](KeyGuard::attest) gives a quote of those registers, for
//!   [`verify`](crate::quote::verify).
//!
//! # Rules
//! - T1. Registers and counter are named by the configuration and never by the sealed file, which
//!   somebody may have replaced.
//! - T2. The counter is used only if the TPM says that it is one: an ordinary index at the same
//!   place could be written to.
//! - T3. The released seed crosses the bus encrypted, in a session that the storage key salts: who
//!   listens learns nothing. Who replaces the TPM's answers can be that storage key.
//! - T4. Nothing stays loaded in the TPM between calls: it has room for three keys.
//!
//! # Bounds
//! The seed is in this process's memory while the guard is open (see [`Memory`]): a TPM signs
//! no Ed25519. The owner's authorization is needed at each use, empty unless set. Anyone who may
//! talk to the TPM can advance the counter, which makes numbers be skipped, and wears it.
//!
//! # What a rollback means
//! The state of a TPM cannot be put back. That of an emulated one is a file: putting it back gives
//! numbers out again, and nothing shows it. A guest whose TPM is emulated trusts its host for that.
//!
//! # Sources
//! TCG, Trusted Platform Module Library 2.0, parts 1 (policy sessions, NV counters) and 3.

mod chip;

use crate::attestation::{Attestation, TpmQuote};
use crate::error::GuardError;
use crate::life::Life;
use crate::quote::{Reference, qualification};
use crate::secret::{Memory, Secret};
use crate::store::{self, Hold};
use crate::{KeyGuard, seed};
use chip::{Chip, Sealed as Blob};
use maftia_ttcb_api::{BootKeys, Sealed};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Which TPM, and what of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach it: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`.
    pub tcti: String,
    /// The owner's authorization; empty on most machines.
    pub owner: Zeroizing<Vec<u8>>,
    /// The file with the sealed seed; of use on no other machine.
    pub file: PathBuf,
    /// The index of the counter, 0x01800000 to 0x01bfffff.
    pub counter: u32,
    /// The registers (PCRs) that the seed is sealed to, of the SHA-256 bank.
    pub pcrs: Vec<u8>,
    /// What memory the open guard takes.
    pub memory: Memory,
}

/// A guard in a TPM, open.
#[derive(Debug)]
pub struct TpmGuard {
    chip: Chip,
    last: u64,
    seed: Secret<32>,
    public_key: [u8; 32],
    life: Life,
    _hold: Hold,
}

impl TpmGuard {
    /// Makes a guard with a new key, sealed to the registers as they are now. The counter is made
    /// unless there is one.
    pub fn create(settings: &Settings) -> Result<Self, GuardError> {
        let mut chip = Chip::reach(settings)?;
        chip.make_counter()?;
        let mut seed = Secret::<32>::zeros(settings.memory)?;
        getrandom::fill(seed.expose_mut()).map_err(GuardError::NoRandomness)?;
        let blob = chip.seal(seed.expose())?;
        store::create(&settings.file, &encode(&blob))?;
        drop((chip, seed));
        Self::open(settings)
    }

    /// Opens a guard: has the TPM release its seed.
    pub fn open(settings: &Settings) -> Result<Self, GuardError> {
        let file = store::canonical(&settings.file)?;
        let hold = Hold::take(&file)?;
        let contents = store::read_private(&file)?;
        let blob = decode(&contents)
            .ok_or_else(|| GuardError::NotThis { path: file, what: "seed sealed by a TPM" })?;
        let mut chip = Chip::reach(settings)?;
        let mut seed = Secret::<32>::zeros(settings.memory)?;
        chip.unseal(&blob, seed.expose_mut())?;
        let public_key = seed::public_key(seed.expose());
        Ok(Self { chip, last: 0, seed, public_key, life: Life::default(), _hold: hold })
    }

    /// What others compare quotes with, as this TPM is now: to be taken when the guard is enrolled,
    /// on a machine that booted what it should.
    pub fn reference(&mut self) -> Result<Reference, GuardError> {
        let quote = self.chip.quote(&[0; 32])?;
        Ok(Reference {
            attestation_key: quote.key,
            pcrs: self.chip.pcrs().to_vec(),
            pcr_digest: quote.pcr_digest,
            guard: self.public_key,
        })
    }
}

impl KeyGuard for TpmGuard {
    fn name(&self) -> &'static str {
        "tpm2"
    }

    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn begin_epoch(&mut self) -> Result<u64, GuardError> {
        let epoch = self.chip.increment()?;
        if epoch <= self.last {
            return Err(chip::implausible("its counter did not grow when it was advanced"));
        }
        self.last = epoch;
        self.life.begin(epoch);
        Ok(epoch)
    }

    fn certify(&mut self, keys: &BootKeys) -> Result<Sealed<BootKeys>, GuardError> {
        self.life.admit(keys)?;
        Ok(seed::seal(self.seed.expose(), keys))
    }

    fn attest(&mut self, challenge: [u8; 32]) -> Result<Attestation, GuardError> {
        let quote = self.chip.quote(&qualification(&challenge, &self.public_key))?;
        let (quoted, signature) = (quote.quoted, quote.signature);
        Ok(Attestation::TpmQuote(TpmQuote { quoted, signature }))
    }
}

/// The two halves of the blob, each after its length.
fn encode(blob: &Blob) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for part in [&blob.public, &blob.private] {
        let len = u16::try_from(part.len()).expect("a TPM's structures are shorter than 64 KiB");
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Blob> {
    fn part(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        Some((part.to_vec(), rest))
    }
    let (public, rest) = part(bytes.strip_prefix(MAGIC)?)?;
    let (private, rest) = part(rest)?;
    rest.is_empty().then_some(Blob { public, private })
}

/// What the sealed file starts with; the last byte is the version.
const MAGIC: &[u8; 16] = b"maftia tpm seed\x01";
