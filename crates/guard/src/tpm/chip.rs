//! The commands that a guard gives its TPM.

use super::Settings;
use crate::error::GuardError;
use std::fmt;
use std::str::FromStr;
use tss_esapi::attributes::{
    NvIndexAttributes, NvIndexAttributesBuilder, ObjectAttributes, ObjectAttributesBuilder,
    SessionAttributesBuilder,
};
use tss_esapi::constants::SessionType;
use tss_esapi::constants::nv_index_type::NvIndexType;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind;
use tss_esapi::handles::{
    KeyHandle, NvIndexHandle, NvIndexTpmHandle, ObjectHandle, SessionHandle, TpmHandle,
};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::{Hierarchy, NvAuth, Provision};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    AttestInfo, Auth, Data, Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyedHashScheme,
    NvPublic, NvPublicBuilder, PcrSelectionList, PcrSlot, Private, Public, PublicBuilder,
    PublicEccParameters, PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData,
    Signature, SignatureScheme, SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::{Context, Error};

type Outcome<T> = Result<T, Error>;

/// The sealed seed, as the TPM encodes it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) public: Vec<u8>,
    pub(super) private: Vec<u8>,
}

/// A quote, and what it was made with.
#[derive(Debug)]
pub(super) struct Quote {
    pub(super) quoted: Vec<u8>,
    pub(super) signature: [u8; 64],
    pub(super) pcr_digest: [u8; 32],
    pub(super) key: [u8; 65],
}

/// A TPM that can be reached.
pub(super) struct Chip {
    context: Context,
    pcrs: Vec<u8>,
    selection: PcrSelectionList,
    counter: NvIndexTpmHandle,
}

impl fmt::Debug for Chip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Chip").field("pcrs", &self.pcrs).finish_non_exhaustive()
    }
}

impl Chip {
    pub(super) fn reach(settings: &Settings) -> Result<Self, GuardError> {
        let tcti = TctiNameConf::from_str(&settings.tcti).map_err(|_| {
            let right = "a name and its arguments, like device:/dev/tpmrm0";
            wrong("tcti", settings.tcti.clone(), right)
        })?;
        let mut pcrs = settings.pcrs.clone();
        pcrs.sort_unstable();
        pcrs.dedup();
        let selection = selection(&pcrs).ok_or_else(|| {
            wrong("the list of PCRs", format!("{:?}", settings.pcrs), "one or more of 0 to 23")
        })?;
        let counter = Some(settings.counter)
            .filter(|index| COUNTERS.contains(index))
            .and_then(|index| NvIndexTpmHandle::new(index).ok())
            .ok_or_else(|| {
                let found = format!("{:#x}", settings.counter);
                wrong("the counter's index", found, "one of 0x01800000 to 0x01bfffff")
            })?;
        let owner = Auth::try_from(settings.owner.to_vec());
        let context = Context::new(tcti).map_err(failed("reaching it"))?;
        let mut chip = Self { context, pcrs, selection, counter };
        owner
            .and_then(|owner| chip.context.tr_set_auth(ObjectHandle::Owner, owner))
            .map_err(failed("setting the owner's authorization"))?;
        Ok(chip)
    }

    /// Which registers are quoted and sealed to.
    pub(super) fn pcrs(&self) -> &[u8] {
        &self.pcrs
    }

    /// Seals a seed to the registers as they are now.
    pub(super) fn seal(&mut self, seed: &[u8; 32]) -> Result<Sealed, GuardError> {
        let sealed = self.with_primary(storage_key(), |chip, parent, _| {
            let policy = chip.in_session(None, SessionType::Trial, |chip, session| {
                let policy = PolicySession::try_from(session)?;
                chip.context.policy_pcr(policy, Digest::default(), chip.selection.clone())?;
                chip.context.policy_get_digest(policy)
            })?;
            let seed = SensitiveData::try_from(seed.to_vec())?;
            let password = Some(AuthSession::Password);
            let made = chip.context.execute_with_session(password, |context| {
                context.create(parent, sealed_object(policy)?, None, Some(seed), None, None)
            })?;
            let private = made.out_private.value().to_vec();
            Ok(Sealed { public: made.out_public.marshall()?, private })
        });
        sealed.map_err(failed("sealing the seed"))
    }

    /// Has the seed released. (T3)
    pub(super) fn unseal(&mut self, sealed: &Sealed, to: &mut [u8; 32]) -> Result<(), GuardError> {
        let public = Public::unmarshall(&sealed.public)
            .map_err(failed("reading the public half of the sealed seed"))?;
        let private = Private::try_from(sealed.private.clone())
            .map_err(failed("reading the private half of the sealed seed"))?;
        let released = self.with_primary(storage_key(), |chip, parent, _| {
            let password = Some(AuthSession::Password);
            let loaded = chip
                .context
                .execute_with_session(password, |context| context.load(parent, private, public))?;
            chip.with_object(loaded.into(), |chip| {
                chip.in_session(Some(parent), SessionType::Policy, |chip, session| {
                    let policy = PolicySession::try_from(session)?;
                    chip.context.policy_pcr(policy, Digest::default(), chip.selection.clone())?;
                    let unseal = |context: &mut Context| context.unseal(loaded.into());
                    chip.context.execute_with_session(Some(session), unseal)
                })
            })
        });
        let released = released.map_err(|error| match error {
            Error::Tss2Error(code) if code.kind() == Some(Tss2ResponseCodeKind::PolicyFail) => {
                GuardError::OtherMeasurements { pcrs: self.pcrs.clone() }
            }
            error => failed("unsealing the seed")(error),
        })?;
        let seed = released.value();
        if seed.len() != to.len() {
            return Err(implausible("what it unsealed is no seed"));
        }
        to.copy_from_slice(seed);
        Ok(())
    }

    /// Makes the counter, unless there is one.
    pub(super) fn make_counter(&mut self) -> Result<(), GuardError> {
        let index = TpmHandle::NvIndex(self.counter);
        if self.context.execute_without_session(|tpm| tpm.tr_from_tpm_public(index)).is_ok() {
            return self.find_counter().map(|_| ());
        }
        let password = Some(AuthSession::Password);
        let made = counter_area(self.counter).and_then(|area| {
            self.context.execute_with_session(password, |context| {
                context.nv_define_space(Provision::Owner, None, area)
            })
        });
        made.map(|_| ()).map_err(failed("making the counter"))
    }

    /// Advances the counter, and reads it.
    pub(super) fn increment(&mut self) -> Result<u64, GuardError> {
        let index = self.find_counter()?;
        let password = Some(AuthSession::Password);
        let read = self.context.execute_with_session(password, |context| {
            context.nv_increment(NvAuth::NvIndex(index), index)?;
            context.nv_read(NvAuth::NvIndex(index), index, 8, 0)
        });
        let bytes = read.map_err(failed("advancing the counter"))?;
        let bytes = bytes.value().try_into();
        let bytes = bytes.map_err(|_| implausible("its counter has not 8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// The counter, if the TPM says that it is one. (T2)
    fn find_counter(&mut self) -> Result<NvIndexHandle, GuardError> {
        let index = TpmHandle::NvIndex(self.counter);
        let found = self.context.execute_without_session(|context| {
            let handle = NvIndexHandle::from(context.tr_from_tpm_public(index)?);
            context.nv_read_public(handle).map(|(area, _name)| (handle, area))
        });
        let (handle, area) = found.map_err(failed("finding the counter"))?;
        let attributes = counter_attributes(area.attributes().written());
        let right = attributes.map_err(failed("describing the counter"))?;
        if area.attributes() != right || area.data_size() != 8 {
            return Err(implausible(
                "what is at the counter's index is no counter of ours: give another index",
            ));
        }
        Ok(handle)
    }

    /// A quote of the registers over 32 bytes.
    pub(super) fn quote(&mut self, over: &[u8; 32]) -> Result<Quote, GuardError> {
        let made = self.with_primary(attestation_key(), |chip, key, public| {
            let over = Data::try_from(over.to_vec())?;
            let selection = chip.selection.clone();
            let (attest, signature) =
                chip.context.execute_with_session(Some(AuthSession::Password), |context| {
                    context.quote(key, over, SignatureScheme::Null, selection)
                })?;
            Ok((attest.marshall()?, attest, signature, public))
        });
        let (quoted, attest, signature, public) = made.map_err(failed("making a quote"))?;
        let (AttestInfo::Quote { info }, Signature::EcDsa(signature)) =
            (attest.attested(), &signature)
        else {
            return Err(implausible("asked for a quote, it made something else"));
        };
        let Public::Ecc { unique, .. } = public else {
            return Err(implausible("asked for an elliptic key, it made another"));
        };
        let pcr_digest = info.pcr_digest().value().try_into();
        let pcr_digest = pcr_digest.map_err(|_| implausible("it quoted another hash function"))?;
        let signature = pair(signature.signature_r(), signature.signature_s())?;
        let mut key = [4; 65];
        key[1..].copy_from_slice(&pair(unique.x(), unique.y())?);
        Ok(Quote { quoted, signature, pcr_digest, key })
    }

    /// Makes a primary key, which the same template gives again each time, for as long as `work`
    /// takes. (T4)
    fn with_primary<T>(
        &mut self,
        template: Outcome<Public>,
        work: impl FnOnce(&mut Self, KeyHandle, Public) -> Outcome<T>,
    ) -> Outcome<T> {
        let template = template?;
        let made = self.context.execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })?;
        let key = made.key_handle;
        self.with_object(key.into(), |chip| work(chip, key, made.out_public))
    }

    fn with_object<T>(
        &mut self,
        object: ObjectHandle,
        work: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        let outcome = work(self);
        let flushed = self.context.execute_without_session(|tpm| tpm.flush_context(object));
        outcome.and_then(|outcome| flushed.map(|()| outcome))
    }

    /// A session whose answers are encrypted, if it is salted. (T3)
    fn in_session<T>(
        &mut self,
        salt: Option<KeyHandle>,
        kind: SessionType,
        work: impl FnOnce(&mut Self, AuthSession) -> Outcome<T>,
    ) -> Outcome<T> {
        let cipher = SymmetricDefinition::AES_128_CFB;
        let hash = HashingAlgorithm::Sha256;
        let session = self.context.execute_without_session(|context| {
            context.start_auth_session(salt, None, None, kind, cipher, hash)
        })?;
        let session =
            session.ok_or(Error::WrapperError(tss_esapi::WrapperErrorKind::MissingAuthSession))?;
        self.with_object(SessionHandle::from(session).into(), |chip| {
            let (attributes, mask) =
                SessionAttributesBuilder::new().with_encrypt(salt.is_some()).build();
            chip.context.tr_sess_set_attributes(session, attributes, mask)?;
            work(chip, session)
        })
    }
}

fn selection(pcrs: &[u8]) -> Option<PcrSelectionList> {
    if pcrs.is_empty() || pcrs.iter().any(|pcr| *pcr >= PCRS) {
        return None;
    }
    let slots: Option<Vec<PcrSlot>> =
        pcrs.iter().map(|pcr| PcrSlot::try_from(1_u32 << pcr).ok()).collect();
    PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots?).build().ok()
}

/// Two numbers of 32 bytes; a TPM leaves zeros in front out.
fn pair(first: &EccParameter, second: &EccParameter) -> Result<[u8; 64], GuardError> {
    let mut bytes = [0; 64];
    for (part, number) in bytes.chunks_exact_mut(32).zip([first, second]) {
        let start = 32_usize.checked_sub(number.value().len());
        let start = start.ok_or_else(|| implausible("it gave a number of more than 32 bytes"))?;
        part[start..].copy_from_slice(number.value());
    }
    Ok(bytes)
}

/// The key that the seed is sealed under.
fn storage_key() -> Outcome<Public> {
    let attributes = fixed().with_sensitive_data_origin(true).with_user_with_auth(true);
    let attributes = attributes.with_restricted(true).with_decrypt(true).build()?;
    let cipher = SymmetricDefinitionObject::AES_128_CFB;
    let curve = EccCurve::NistP256;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(cipher, curve);
    elliptic(attributes, parameters.build()?)
}

/// The key that quotes are signed with: restricted, so that it signs what the TPM says only.
fn attestation_key() -> Outcome<Public> {
    let attributes = fixed().with_sensitive_data_origin(true).with_user_with_auth(true);
    let attributes = attributes.with_restricted(true).with_sign_encrypt(true).build()?;
    let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
    let curve = EccCurve::NistP256;
    let parameters = PublicEccParametersBuilder::new_unrestricted_signing_key(scheme, curve);
    elliptic(attributes, parameters.with_restricted(true).build()?)
}

fn elliptic(attributes: ObjectAttributes, parameters: PublicEccParameters) -> Outcome<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// What a policy releases, and no password does.
fn sealed_object(policy: Digest) -> Outcome<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(fixed().build()?)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

/// Bound to this TPM, and outside its protection against guessing: nothing here has a password, and
/// a TPM that lost power some times counts that as guesses, and would lock the guard out.
fn fixed() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new().with_fixed_tpm(true).with_fixed_parent(true).with_no_da(true)
}

fn counter_area(index: NvIndexTpmHandle) -> Outcome<NvPublic> {
    NvPublicBuilder::new()
        .with_nv_index(index)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(counter_attributes(false)?)
        .with_data_area_size(8)
        .build()
}

fn counter_attributes(is_written: bool) -> Outcome<NvIndexAttributes> {
    NvIndexAttributesBuilder::new()
        .with_nv_index_type(NvIndexType::Counter)
        .with_auth_read(true)
        .with_auth_write(true)
        .with_no_da(true)
        .with_written(is_written)
        .build()
}

fn failed(doing: &'static str) -> impl FnOnce(Error) -> GuardError {
    move |source| GuardError::Device { back_end: "tpm2", doing, source: Box::new(source) }
}

pub(super) fn implausible(problem: &'static str) -> GuardError {
    GuardError::Implausible { back_end: "tpm2", problem }
}

fn wrong(what: &'static str, found: String, right: &'static str) -> GuardError {
    GuardError::Setting { back_end: "tpm2", what, found, right }
}

/// How many registers there are.
const PCRS: u8 = 24;
/// The indices that are an owner's to give.
const COUNTERS: std::ops::RangeInclusive<u32> = 0x0180_0000..=0x01bf_ffff;
