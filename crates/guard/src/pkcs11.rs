//! A key guard in a PKCS #11 token: a hardware security module, or SoftHSM.
//!
//! # Promise
//! - The key is made in the token and never leaves it: the token says that it was never
//!   extractable, and a key that was imported is refused.
//! - Only who has the user's PIN has the guard sign or count.
//!
//! # Rules
//! - P1. Key and counter are found by their label; there must be one key.
//! - P2. The counter is the greatest value of private data objects. Most tokens do not let a value
//!   be changed: the next number is a new object, which is read back before the older ones are
//!   removed, so that a crash in between leaves two, and the number is skipped. What is durable is
//!   for the token to know.
//! - P3. Nothing in PKCS #11 adds one to an object at once: a lock on this host's disk keeps two
//!   processes of this host apart. A token that two hosts reach needs another guard.
//! - P4. What the token signed is verified before it is given out.
//!
//! # Bounds
//! The library of the token is loaded into this process and can do what this process can: it is
//! part of what is trusted. The PIN is in ordinary memory while the guard is opened.
//!
//! # What a rollback means
//! Who has the PIN can write an earlier number into the counter, and who has the storage of a token
//! in software can put all of it back. Neither shows.
//!
//! # Sources
//! OASIS, PKCS #11 3.0 (Edwards curves). Some tokens give a public key as the bare point and others
//! as an octet string of DER: both are taken.

use crate::KeyGuard;
use crate::attestation::Attestation;
use crate::error::GuardError;
use crate::life::Life;
use crate::store::Hold;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use maftia_ttcb_api::{BootKeys, Sealed, Statement};
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Which token, and how to use it.
#[derive(Clone)]
pub struct Settings {
    /// The token's library, such as `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: PathBuf,
    /// The label that the token was given when it was initialised.
    pub token: String,
    /// The user's PIN.
    pub pin: Zeroizing<String>,
    /// A file of this host beside which the lock is kept; it need not exist. (P3)
    pub lock: PathBuf,
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, token, lock, .. } = self;
        let mut shown = out.debug_struct("Settings");
        shown.field("module", module).field("token", token).field("lock", lock);
        shown.finish_non_exhaustive()
    }
}

/// A guard in a token, open.
#[derive(Debug)]
pub struct TokenGuard {
    session: Session,
    key: ObjectHandle,
    public_key: [u8; 32],
    life: Life,
    _hold: Hold,
}

impl TokenGuard {
    /// Makes a guard with a new key in a token that has none.
    pub fn create(settings: &Settings) -> Result<Self, GuardError> {
        let hold = Hold::take(&settings.lock)?;
        let session = log_in(settings)?;
        let labelled = [Attribute::Label(LABEL.into())];
        if !session.find_objects(&labelled).map_err(failed("looking for a guard"))?.is_empty() {
            return Err(implausible("the token has a guard already: give one that has none"));
        }
        make_number(&session, 0).map_err(failed("making the counter"))?;
        make_key(&session).map_err(failed("making the key"))?;
        Self::find(session, hold)
    }

    /// Opens the guard of a token.
    pub fn open(settings: &Settings) -> Result<Self, GuardError> {
        let hold = Hold::take(&settings.lock)?;
        Self::find(log_in(settings)?, hold)
    }

    /// Key and counter of a guard. (P1)
    fn find(session: Session, hold: Hold) -> Result<Self, GuardError> {
        let the = |class: ObjectClass, problem| {
            let template = [Attribute::Class(class), Attribute::Label(LABEL.into())];
            let found = session.find_objects(&template).map_err(failed("looking for a guard"))?;
            let [object] = found[..] else { return Err(implausible(problem)) };
            Ok(object)
        };
        let key = the(ObjectClass::PRIVATE_KEY, "the token has not exactly one guard's key")?;
        let public = the(ObjectClass::PUBLIC_KEY, "the token has not exactly one public key")?;
        check_custody(&session, key)?;
        let public_key = read_public_key(&session, public)?;
        let guard = Self { session, key, public_key, life: Life::default(), _hold: hold };
        guard.greatest_number().map(|_| guard)
    }

    /// The counter. (P2)
    fn greatest_number(&self) -> Result<u64, GuardError> {
        let numbers = self.numbers()?;
        let greatest = numbers.into_iter().map(|(number, _)| number).max();
        greatest.ok_or_else(|| implausible("the token has no counter of a guard"))
    }

    /// The counter's objects: one, or more after a crash.
    fn numbers(&self) -> Result<Vec<(u64, ObjectHandle)>, GuardError> {
        let template = [Attribute::Class(ObjectClass::DATA), Attribute::Label(LABEL.into())];
        let found = self.session.find_objects(&template).map_err(failed("finding the counter"))?;
        if found.len() > NUMBERS_MAX {
            return Err(implausible("the counter has more objects than crashes leave"));
        }
        let number = |object: ObjectHandle| {
            let said = attributes(&self.session, object, &[AttributeType::Value])?;
            let [Attribute::Value(value)] = &said[..] else {
                return Err(implausible("the counter has no value"));
            };
            let value = value.as_slice().try_into();
            let value = value.map_err(|_| implausible("the counter's value has not 8 bytes"))?;
            Ok((u64::from_be_bytes(value), object))
        };
        found.into_iter().map(number).collect()
    }
}

impl KeyGuard for TokenGuard {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn begin_epoch(&mut self) -> Result<u64, GuardError> {
        let before = self.greatest_number()?;
        if self.life.epoch().is_some_and(|last| before < last) {
            return Err(implausible("its counter went back while the guard was open"));
        }
        let epoch = before.checked_add(1).ok_or(GuardError::Exhausted)?;
        make_number(&self.session, epoch).map_err(failed("advancing the counter"))?;
        if self.greatest_number()? != epoch {
            return Err(implausible("its counter is not what was written to it"));
        }
        for (_, older) in self.numbers()?.into_iter().filter(|(number, _)| *number < epoch) {
            let removed = self.session.destroy_object(older);
            removed.map_err(failed("removing the counter's older value"))?;
        }
        self.life.begin(epoch);
        Ok(epoch)
    }

    fn certify(&mut self, keys: &BootKeys) -> Result<Sealed<BootKeys>, GuardError> {
        self.life.admit(keys)?;
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let seal =
            self.session.sign(&mechanism, self.key, &keys.digest()).map_err(failed("signing"))?;
        let seal = seal.try_into().map_err(|_| implausible("its signature has not 64 bytes"))?;
        let sealed = Sealed { said: *keys, seal };
        // (P4)
        if !sealed.is_signed_by(&self.public_key) {
            return Err(implausible("its signature is not by the key that it shows"));
        }
        Ok(sealed)
    }

    fn attest(&mut self, _challenge: [u8; 32]) -> Result<Attestation, GuardError> {
        Ok(Attestation::Nothing {
            why: "a PKCS #11 token knows nothing of the machine that it is plugged into",
        })
    }
}

/// A session of the user with the token.
fn log_in(settings: &Settings) -> Result<Session, GuardError> {
    let library = Pkcs11::new(&settings.module).map_err(failed("loading the token's library"))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed("initialising the token's library")(error)),
    }
    let slot = find_slot(&library, &settings.token)?;
    let session = library.open_rw_session(slot).map_err(failed("opening a session"))?;
    let pin = AuthPin::new(settings.pin.as_str().into());
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) => Ok(session),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange, _)) => {
            let token = library.get_token_info(slot);
            let is_last = token.is_ok_and(|token| token.user_pin_final_try());
            Err(GuardError::WrongPin { left: is_last.then_some(1) })
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(GuardError::PinBlocked),
        Err(error) => Err(failed("logging in")(error)),
    }
}

fn find_slot(library: &Pkcs11, label: &str) -> Result<Slot, GuardError> {
    let slots = library.get_slots_with_token().map_err(failed("looking for tokens"))?;
    let has_label = |slot: &Slot| {
        let token = library.get_token_info(*slot);
        token.is_ok_and(|token| token.label() == label)
    };
    let found: Vec<Slot> = slots.into_iter().filter(has_label).collect();
    let [slot] = found[..] else {
        return Err(GuardError::Setting {
            back_end: BACK_END,
            what: "the token's label",
            found: format!("{label:?}"),
            right: "that of exactly one token which the library shows",
        });
    };
    Ok(slot)
}

fn make_number(session: &Session, number: u64) -> Result<ObjectHandle, Error> {
    session.create_object(&[
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(LABEL.into()),
        Attribute::Label(LABEL.into()),
        Attribute::Value(number.to_be_bytes().to_vec()),
    ])
}

fn make_key(session: &Session) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Label(LABEL.into()),
        Attribute::EcParams(ED25519.to_vec()),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Label(LABEL.into()),
    ];
    session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
}

/// Was the key made here, and can it not leave?
fn check_custody(session: &Session, key: ObjectHandle) -> Result<(), GuardError> {
    let asked = [
        AttributeType::KeyType,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
    ];
    let said = attributes(session, key, &asked)?;
    let right = [
        Attribute::KeyType(KeyType::EC_EDWARDS),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::AlwaysSensitive(true),
        Attribute::NeverExtractable(true),
    ];
    match right.iter().all(|attribute| said.contains(attribute)) {
        true => Ok(()),
        false => Err(implausible("its key can leave the token, or came from elsewhere")),
    }
}

fn read_public_key(session: &Session, key: ObjectHandle) -> Result<[u8; 32], GuardError> {
    let said = attributes(session, key, &[AttributeType::EcPoint])?;
    let [Attribute::EcPoint(point)] = &said[..] else {
        return Err(implausible("its public key shows no point"));
    };
    let bare = point.strip_prefix(&OCTETS_32).unwrap_or(point);
    bare.try_into().map_err(|_| implausible("its public key has not 32 bytes"))
}

fn attributes(
    session: &Session,
    object: ObjectHandle,
    asked: &[AttributeType],
) -> Result<Vec<Attribute>, GuardError> {
    session.get_attributes(object, asked).map_err(failed("reading an object"))
}

fn failed(doing: &'static str) -> impl FnOnce(Error) -> GuardError {
    move |source| GuardError::Device { back_end: BACK_END, doing, source: Box::new(source) }
}

fn implausible(problem: &'static str) -> GuardError {
    GuardError::Implausible { back_end: BACK_END, problem }
}

const BACK_END: &str = "pkcs11";
/// What key and counter are called in the token.
const LABEL: &str = "maftia guard";
/// Most objects that the counter consists of: each crash while it is advanced leaves one more.
const NUMBERS_MAX: usize = 64;
/// The curve, by the name that PKCS #11 gives it, as a printable string of DER.
const ED25519: [u8; 14] = *b"\x13\x0cedwards25519";
/// How an octet string of 32 bytes begins in DER.
const OCTETS_32: [u8; 2] = [0x04, 0x20];
