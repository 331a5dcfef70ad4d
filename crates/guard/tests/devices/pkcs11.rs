//! The guard in a PKCS #11 token, with one in software, and who attacks it.
//!
//! The token's library reads its configuration from the environment, so that each test runs again
//! in a process of its own.

use crate::softhsm::{self, LABEL, MODULE, PIN};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use maftia_guard::pkcs11::{Settings, TokenGuard};
use maftia_guard::{Attestation, GuardError, KeyGuard};
use maftia_ttcb_api::{BootKeys, Host};
use std::fs;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Checks a claim in a process that has a fresh token.
fn with_token(test: &str, claim: impl FnOnce(&Path)) {
    match softhsm::folder() {
        Some(folder) => claim(&folder),
        None => softhsm::again_with_a_token(&format!("pkcs11::{test}"), |_| ()),
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        module: PathBuf::from(MODULE),
        token: LABEL.into(),
        pin: Zeroizing::new(PIN.into()),
        lock: folder.join("guard"),
    }
}

fn open(folder: &Path) -> Result<TokenGuard, GuardError> {
    TokenGuard::open(&settings(folder))
}

fn keys(epoch: u64) -> BootKeys {
    BootKeys { host: Host(3), epoch, signing: [1; 32], exchange: [2; 32] }
}

/// A session of somebody who has the PIN and the library, and not this program.
fn intruder(folder: &Path) -> Session {
    let library = Pkcs11::new(settings(folder).module).unwrap();
    // A guard that is open has initialised it already.
    let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slots = library.get_slots_with_initialized_token().unwrap();
    let session = library.open_rw_session(slots[0]).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
    session
}

fn find(session: &Session, class: ObjectClass) -> ObjectHandle {
    let found = session.find_objects(&[Attribute::Class(class)]).unwrap();
    assert_eq!(found.len(), 1);
    found[0]
}

fn data(value: Vec<u8>) -> [Attribute; 5] {
    [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label("maftia guard".into()),
        Attribute::Value(value),
    ]
}

fn put_counter(session: &Session, value: Vec<u8>) {
    session.destroy_object(find(session, ObjectClass::DATA)).unwrap();
    session.create_object(&data(value)).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn certifies_the_keys_of_each_boot_and_counts_on() {
    with_token("certifies_the_keys_of_each_boot_and_counts_on", |folder| {
        let public_key = TokenGuard::create(&settings(folder)).unwrap().public_key();
        for epoch in 1..5 {
            let mut guard: Box<dyn KeyGuard> = Box::new(open(folder).unwrap());
            assert_eq!((guard.name(), guard.public_key()), ("pkcs11", public_key));
            assert!(matches!(guard.certify(&keys(epoch)), Err(GuardError::NoEpoch)));
            assert_eq!(guard.begin_epoch().unwrap(), epoch);
            assert!(guard.certify(&keys(epoch)).unwrap().is_signed_by(&public_key));
            let other = BootKeys { signing: [9; 32], ..keys(epoch) };
            assert!(matches!(guard.certify(&other), Err(GuardError::EpochUsed { .. })));
            let said = guard.attest([0; 32]).unwrap();
            assert!(matches!(said, Attestation::Nothing { .. }));
        }
    });
}

#[test]
fn a_wrong_pin_opens_nothing() {
    with_token("a_wrong_pin_opens_nothing", |folder| {
        drop(TokenGuard::create(&settings(folder)).unwrap());
        for pin in ["another pin", "", "x"] {
            let pin = Zeroizing::new(pin.to_owned());
            let refused = TokenGuard::open(&Settings { pin, ..settings(folder) });
            assert!(matches!(refused, Err(GuardError::WrongPin { .. })), "{refused:?}");
        }
        assert!(open(folder).is_ok());
    });
}

#[test]
fn the_key_does_not_leave_the_token_even_for_who_has_the_pin() {
    with_token("the_key_does_not_leave_the_token_even_for_who_has_the_pin", |folder| {
        drop(TokenGuard::create(&settings(folder)).unwrap());
        let session = intruder(folder);
        let key = find(&session, ObjectClass::PRIVATE_KEY);
        let said = session.get_attributes(key, &[AttributeType::Value]);
        assert!(said.is_err() || said.unwrap().is_empty());
        assert!(session.update_attributes(key, &[Attribute::Extractable(true)]).is_err());
        assert!(session.update_attributes(key, &[Attribute::Sensitive(false)]).is_err());
    });
}

#[test]
fn a_key_that_was_imported_is_refused() {
    with_token("a_key_that_was_imported_is_refused", |folder| {
        drop(TokenGuard::create(&settings(folder)).unwrap());
        let session = intruder(folder);
        session.destroy_object(find(&session, ObjectClass::PRIVATE_KEY)).unwrap();
        session
            .create_object(&[
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::KeyType(KeyType::EC_EDWARDS),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Label("maftia guard".into()),
                Attribute::EcParams(b"\x13\x0cedwards25519".to_vec()),
                Attribute::Value(vec![7; 32]),
            ])
            .unwrap();
        drop(session);
        let refused = open(folder);
        assert!(matches!(refused, Err(GuardError::Implausible { .. })), "{refused:?}");
    });
}

#[test]
fn a_counter_that_is_put_back_under_an_open_guard_is_noticed() {
    with_token("a_counter_that_is_put_back_under_an_open_guard_is_noticed", |folder| {
        let mut guard = TokenGuard::create(&settings(folder)).unwrap();
        guard.begin_epoch().unwrap();
        guard.begin_epoch().unwrap();
        let session = intruder(folder);
        for value in [1_u64.to_be_bytes().to_vec(), vec![], vec![0; 9]] {
            put_counter(&session, value);
            let refused = guard.begin_epoch();
            assert!(matches!(refused, Err(GuardError::Implausible { .. })), "{refused:?}");
        }
        put_counter(&session, u64::MAX.to_be_bytes().to_vec());
        assert!(matches!(guard.begin_epoch(), Err(GuardError::Exhausted)));
    });
}

#[test]
fn a_crash_between_two_values_of_the_counter_skips_a_number() {
    with_token("a_crash_between_two_values_of_the_counter_skips_a_number", |folder| {
        let mut guard = TokenGuard::create(&settings(folder)).unwrap();
        guard.begin_epoch().unwrap();
        let session = intruder(folder);
        session.create_object(&data(2_u64.to_be_bytes().to_vec())).unwrap();
        assert_eq!(guard.begin_epoch().unwrap(), 3);
        find(&session, ObjectClass::DATA);
    });
}

/// The limit of a token whose storage is a folder, stated as a claim.
#[test]
fn rolling_back_the_storage_of_a_token_is_not_detected() {
    with_token("rolling_back_the_storage_of_a_token_is_not_detected", |folder| {
        drop(TokenGuard::create(&settings(folder)).unwrap());
        let (tokens, old) = (folder.join("tokens"), folder.join("old"));
        copy_all(&tokens, &old);
        let mut certificates = Vec::new();
        for signing in [[1; 32], [9; 32]] {
            let mut guard = open(folder).unwrap();
            assert_eq!(guard.begin_epoch().unwrap(), 1, "the number is given out again");
            let certificate = guard.certify(&BootKeys { signing, ..keys(1) }).unwrap();
            assert!(certificate.is_signed_by(&guard.public_key()));
            certificates.push(certificate);
            drop(guard);
            fs::remove_dir_all(&tokens).unwrap();
            copy_all(&old, &tokens);
        }
        assert_ne!(certificates[0].said, certificates[1].said);
    });
}

#[test]
fn a_token_has_one_guard_and_that_is_open_once() {
    with_token("a_token_has_one_guard_and_that_is_open_once", |folder| {
        let first = TokenGuard::create(&settings(folder)).unwrap();
        assert!(matches!(open(folder), Err(GuardError::Busy { .. })));
        drop(first);
        let second = TokenGuard::create(&settings(folder));
        assert!(matches!(second, Err(GuardError::Implausible { .. })), "{second:?}");
        assert!(open(folder).is_ok());
    });
}

#[test]
fn a_token_that_there_is_not_or_that_is_empty_is_named() {
    with_token("a_token_that_there_is_not_or_that_is_empty_is_named", |folder| {
        let empty = open(folder);
        assert!(matches!(empty, Err(GuardError::Implausible { .. })), "{empty:?}");
        let other = TokenGuard::open(&Settings { token: "another".into(), ..settings(folder) });
        assert!(matches!(other, Err(GuardError::Setting { .. })), "{other:?}");
        let module = folder.join("missing.so");
        let other = TokenGuard::open(&Settings { module, ..settings(folder) });
        assert!(matches!(other, Err(GuardError::Device { .. })), "{other:?}");
    });
}
