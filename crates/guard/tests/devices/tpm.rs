//! The guard in a TPM, with an emulated one, and who attacks it.

use crate::support::Running;
use crate::swtpm::boot;
use maftia_guard::quote::{QuoteError, verify};
use maftia_guard::tpm::{Settings, TpmGuard};
use maftia_guard::{Attestation, GuardError, KeyGuard, Memory, TpmQuote};
use maftia_ttcb_api::{BootKeys, Host};
use std::fs;
use std::path::Path;
use std::str::FromStr;
use tempfile::TempDir;
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, PcrHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Provision;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Digest, DigestValues, NvPublicBuilder};
use tss_esapi::{Context, TctiNameConf};
use zeroize::Zeroizing;

const COUNTER: u32 = 0x0180_4d41;

/// An emulated machine: a TPM's state, and a folder for the sealed seed.
struct Machine {
    state: TempDir,
    disk: TempDir,
    power: Option<(Running, u16)>,
}

impl Machine {
    fn new() -> Self {
        let folder = || tempfile::tempdir().unwrap();
        let mut machine = Self { state: folder(), disk: folder(), power: None };
        machine.boot();
        machine
    }

    /// Off and on again: registers are as after a reset, the rest is what was stored.
    fn boot(&mut self) {
        self.power = None;
        self.power = Some(boot(self.state.path()));
    }

    fn settings(&self) -> Settings {
        let (_, port) = self.power.as_ref().expect("switched on");
        Settings {
            tcti: format!("swtpm:host=127.0.0.1,port={port}"),
            owner: Zeroizing::default(),
            file: self.disk.path().join("seed"),
            counter: COUNTER,
            pcrs: vec![0, 4, 16],
            memory: Memory::Secret,
        }
    }

    fn open(&self) -> Result<TpmGuard, GuardError> {
        TpmGuard::open(&self.settings())
    }

    /// Commands that somebody else gives the TPM.
    fn context(&self) -> Context {
        let mut context =
            Context::new(TctiNameConf::from_str(&self.settings().tcti).unwrap()).unwrap();
        context.set_sessions((Some(AuthSession::Password), None, None));
        context
    }

    /// Has other software boot: measures something more into register 16.
    fn measure_something_else(&self) {
        let mut values = DigestValues::new();
        values.set(HashingAlgorithm::Sha256, Digest::try_from(vec![1; 32]).unwrap());
        self.context().pcr_extend(PcrHandle::Pcr16, values).unwrap();
    }

    fn delete_counter(&self) {
        let mut context = self.context();
        let index = TpmHandle::NvIndex(NvIndexTpmHandle::new(COUNTER).unwrap());
        let found = context.execute_without_session(|context| context.tr_from_tpm_public(index));
        let handle = NvIndexHandle::from(found.unwrap());
        context.nv_undefine_space(Provision::Owner, handle).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn keys(epoch: u64) -> BootKeys {
    BootKeys { host: Host(3), epoch, signing: [1; 32], exchange: [2; 32] }
}

fn quote(guard: &mut TpmGuard, challenge: [u8; 32]) -> TpmQuote {
    match guard.attest(challenge).unwrap() {
        Attestation::TpmQuote(quote) => quote,
        other => panic!("{other:?} is no quote"),
    }
}

#[test]
fn certifies_the_keys_of_each_boot_and_counts_over_reboots() {
    let mut machine = Machine::new();
    let public_key = TpmGuard::create(&machine.settings()).unwrap().public_key();
    let mut last = 0;
    // A TPM that loses power without notice counts it as a guess of a password.
    for _ in 0..12 {
        machine.boot();
        let mut guard: Box<dyn KeyGuard> = Box::new(machine.open().unwrap());
        assert_eq!((guard.name(), guard.public_key()), ("tpm2", public_key));
        let epoch = guard.begin_epoch().unwrap();
        assert!(epoch > last, "{epoch} comes after {last}");
        assert!(guard.certify(&keys(epoch)).unwrap().is_signed_by(&public_key));
        assert!(matches!(guard.certify(&keys(last)), Err(GuardError::WrongEpoch { .. })));
        last = epoch;
    }
}

#[test]
fn the_seed_is_not_released_to_other_software() {
    let mut machine = Machine::new();
    drop(TpmGuard::create(&machine.settings()).unwrap());
    machine.measure_something_else();
    let refused = machine.open();
    assert!(
        matches!(&refused, Err(GuardError::OtherMeasurements { pcrs }) if *pcrs == [0, 4, 16]),
        "{refused:?}"
    );
    machine.boot();
    assert!(machine.open().is_ok(), "what was measured before boots again");
}

#[test]
fn the_seed_is_not_released_to_a_configuration_with_other_registers() {
    let machine = Machine::new();
    drop(TpmGuard::create(&machine.settings()).unwrap());
    let refused = TpmGuard::open(&Settings { pcrs: vec![0, 4], ..machine.settings() });
    assert!(matches!(refused, Err(GuardError::OtherMeasurements { .. })), "{refused:?}");
}

#[test]
fn a_stolen_file_does_not_open_on_another_machine() {
    let (ours, other) = (Machine::new(), Machine::new());
    drop(TpmGuard::create(&ours.settings()).unwrap());
    let file = ours.settings().file;
    let refused = TpmGuard::open(&Settings { file, ..other.settings() });
    assert!(matches!(refused, Err(GuardError::Device { .. })), "{refused:?}");
}

#[test]
fn a_sealed_file_that_was_altered_does_not_open_and_nothing_panics() {
    let machine = Machine::new();
    drop(TpmGuard::create(&machine.settings()).unwrap());
    let file = machine.settings().file;
    let honest = fs::read(&file).unwrap();
    for at in 0..honest.len() {
        let mut altered = honest.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(&file, &altered).unwrap();
        assert!(machine.open().is_err(), "byte {at} of {}", honest.len());
    }
    for len in [0, 16, 17, 18, 40, honest.len() - 1, honest.len() + 1] {
        let mut altered = honest.clone();
        altered.resize(len, 0);
        fs::write(&file, &altered).unwrap();
        assert!(machine.open().is_err(), "{len} bytes");
    }
    fs::write(&file, &honest).unwrap();
    assert!(machine.open().is_ok());
}

#[test]
fn a_quote_answers_its_challenge_and_no_other_and_shows_other_software() {
    let machine = Machine::new();
    let mut guard = TpmGuard::create(&machine.settings()).unwrap();
    let reference = guard.reference().unwrap();
    let honest = quote(&mut guard, [5; 32]);
    verify(&honest, &[5; 32], &reference).unwrap();
    let refused = verify(&honest, &[6; 32], &reference);
    assert_eq!(refused, Err(QuoteError::OtherChallenge));
    let mut altered = honest.clone();
    altered.quoted[20] ^= 1;
    assert_eq!(verify(&altered, &[5; 32], &reference), Err(QuoteError::WrongSignature));
    // The TPM serves one connection at a time; and an open guard has its seed already.
    drop(guard);
    let mut guard = machine.open().unwrap();
    verify(&quote(&mut guard, [7; 32]), &[7; 32], &reference).unwrap();
    drop(guard);
    machine.measure_something_else();
    let file = machine.disk.path().join("another");
    let mut other = TpmGuard::create(&Settings { file, ..machine.settings() }).unwrap();
    let late = quote(&mut other, [5; 32]);
    assert_eq!(verify(&late, &[5; 32], &reference), Err(QuoteError::OtherChallenge));
    let reference = maftia_guard::quote::Reference { guard: other.public_key(), ..reference };
    assert_eq!(verify(&late, &[5; 32], &reference), Err(QuoteError::OtherValues));
}

#[test]
fn a_quote_of_another_machine_is_refused() {
    let (ours, other) = (Machine::new(), Machine::new());
    let reference = TpmGuard::create(&ours.settings()).unwrap().reference().unwrap();
    let mut guard = TpmGuard::create(&other.settings()).unwrap();
    let refused = verify(&quote(&mut guard, [5; 32]), &[5; 32], &reference);
    assert_eq!(refused, Err(QuoteError::WrongSignature));
}

#[test]
fn a_counter_that_was_deleted_and_made_again_goes_on_above() {
    let machine = Machine::new();
    let mut guard = TpmGuard::create(&machine.settings()).unwrap();
    let before = (0..5).map(|_| guard.begin_epoch().unwrap()).last().unwrap();
    drop(guard);
    machine.delete_counter();
    assert!(machine.open().unwrap().begin_epoch().is_err(), "there is no counter");
    let file = machine.disk.path().join("another");
    let mut guard = TpmGuard::create(&Settings { file, ..machine.settings() }).unwrap();
    let after = guard.begin_epoch().unwrap();
    assert!(after > before, "{after} comes after {before}");
}

#[test]
fn an_ordinary_index_in_the_place_of_the_counter_is_refused() {
    let machine = Machine::new();
    drop(TpmGuard::create(&machine.settings()).unwrap());
    machine.delete_counter();
    let attributes = NvIndexAttributesBuilder::new()
        .with_auth_read(true)
        .with_auth_write(true)
        .with_no_da(true)
        .build()
        .unwrap();
    let area = NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(COUNTER).unwrap())
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes)
        .with_data_area_size(8)
        .build()
        .unwrap();
    machine.context().nv_define_space(Provision::Owner, None, area).unwrap();
    let refused = machine.open().unwrap().begin_epoch();
    assert!(matches!(refused, Err(GuardError::Implausible { .. })), "{refused:?}");
}

/// The limit of an emulated TPM, stated as a claim so that nobody takes it for more.
#[test]
fn rolling_back_the_state_of_an_emulated_tpm_is_not_detected() {
    let mut machine = Machine::new();
    let mut guard = TpmGuard::create(&machine.settings()).unwrap();
    let public_key = guard.public_key();
    guard.begin_epoch().unwrap();
    drop(guard);
    machine.power = None;
    let old = tempfile::tempdir().unwrap();
    copy_all(machine.state.path(), old.path());
    machine.boot();
    let mut guard = machine.open().unwrap();
    let epoch = guard.begin_epoch().unwrap();
    let first = guard.certify(&keys(epoch)).unwrap();
    drop(guard);
    machine.power = None;
    copy_all(old.path(), machine.state.path());
    machine.boot();
    let mut guard = machine.open().unwrap();
    assert_eq!(guard.begin_epoch().unwrap(), epoch, "the number is given out again");
    let second = guard.certify(&BootKeys { signing: [9; 32], ..keys(epoch) }).unwrap();
    assert!(first.is_signed_by(&public_key) && second.is_signed_by(&public_key));
    assert_ne!(first.said, second.said, "two sets of keys have one number");
}

#[test]
fn nothing_stays_loaded_in_the_tpm() {
    let machine = Machine::new();
    let mut guard = TpmGuard::create(&machine.settings()).unwrap();
    for round in 0..8 {
        quote(&mut guard, [round; 32]);
        guard.begin_epoch().unwrap();
    }
}

#[test]
fn one_guard_is_open_once() {
    let machine = Machine::new();
    let first = TpmGuard::create(&machine.settings()).unwrap();
    assert!(matches!(machine.open(), Err(GuardError::Busy { .. })));
    drop(first);
    assert!(machine.open().is_ok());
}

#[test]
fn settings_that_no_tpm_has_are_named() {
    let machine = Machine::new();
    let good = machine.settings();
    for (settings, what) in [
        (Settings { pcrs: vec![], ..good.clone() }, "the list of PCRs"),
        (Settings { pcrs: vec![24], ..good.clone() }, "the list of PCRs"),
        (Settings { counter: 0x0100_0000, ..good.clone() }, "the counter's index"),
        (Settings { tcti: "a wish".into(), ..good.clone() }, "tcti"),
    ] {
        let refused = TpmGuard::create(&settings).unwrap_err();
        assert!(
            matches!(refused, GuardError::Setting { what: named, .. } if named == what),
            "{refused}"
        );
    }
}
