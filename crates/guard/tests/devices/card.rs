//! The guard in a smart card, with one in software, and who attacks it.
//!
//! The card service has one socket for the whole machine and its virtual reader one port: each test
//! runs again in a process whose mounts and network are its own.

use crate::applet::{Applet, Memory};
use crate::support::{Running, again, eventually, need};
use maftia_guard::card::{AID, CardGuard, Settings};
use maftia_guard::{Attestation, GuardError, KeyGuard};
use maftia_ttcb_api::{BootKeys, Host};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use zeroize::Zeroizing;

const FOLDER: &str = "MAFTIA_TEST_CARD";
/// Where the virtual reader listens, in the test's own network.
const PORT: u16 = 35963;
/// A folder of the test's own in the place of the service's, and a network with nothing in it.
const OWN_WORLD: &str = "ip link set lo up && mount --bind \"$MAFTIA_TEST_CARD\" /run/pcscd \
                         && exec \"$0\" \"$@\"";

/// Checks a claim in a process that has the card service and its reader for itself.
fn with_reader(test: &str, claim: impl FnOnce(&Reader)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return claim(&Reader::start(Path::new(&folder)));
    }
    need(&["pcscd", "vsmartcard-vpcd", "libpcsclite1", "iproute2"]);
    std::fs::create_dir_all("/run/pcscd").expect("root, to have a card service");
    let folder = tempfile::tempdir().unwrap();
    let mut start = Command::new("unshare");
    start.args(["--mount", "--net", "sh", "-c", OWN_WORLD]).env(FOLDER, folder.path());
    again(&format!("card::{test}"), start);
}

/// The card service with a virtual reader.
struct Reader {
    _service: Running,
}

impl Reader {
    fn start(folder: &Path) -> Self {
        let readers = folder.join("readers");
        std::fs::create_dir(&readers).unwrap();
        let virtual_reader = format!(
            "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:{PORT:#x}\n\
             LIBPATH /usr/lib/pcsc/drivers/serial/libifdvpcd.so\nCHANNELID {PORT:#x}\n"
        );
        std::fs::write(readers.join("vpcd"), virtual_reader).unwrap();
        let mut service = Command::new("pcscd");
        service.arg("--foreground").arg("--config").arg(&readers).stdout(Stdio::null());
        let service = Running(service.spawn().expect("pcscd starts"));
        eventually("the card service", || {
            let context = pcsc::Context::establish(pcsc::Scope::User).ok()?;
            context.list_readers_owned().ok().filter(|readers| !readers.is_empty())
        });
        Self { _service: service }
    }

    /// Puts a card in, and waits until the service has seen it.
    fn insert(&self, memory: &Arc<Mutex<Memory>>) -> Inserted {
        let line = eventually("the reader", || TcpStream::connect(("127.0.0.1", PORT)).ok());
        let mut applet = Applet::new(Arc::clone(memory));
        let other_end = line.try_clone().unwrap();
        let card = std::thread::spawn(move || {
            // Ends when the card is taken out.
            let _ = vpicc::Connection::from(other_end).run(&mut applet);
        });
        eventually("the card to be seen", || connect(pcsc::ShareMode::Shared).ok());
        Inserted { line, card: Some(card) }
    }
}

/// A card in the reader, until it is dropped.
struct Inserted {
    line: TcpStream,
    card: Option<JoinHandle<()>>,
}

impl Drop for Inserted {
    fn drop(&mut self) {
        let _ = self.line.shutdown(Shutdown::Both);
        let _ = self.card.take().map(JoinHandle::join);
        eventually("the card to be missed", || connect(pcsc::ShareMode::Shared).err());
    }
}

fn connect(mode: pcsc::ShareMode) -> Result<pcsc::Card, pcsc::Error> {
    let context = pcsc::Context::establish(pcsc::Scope::User)?;
    let readers = context.list_readers_owned()?;
    let inserted = |reader: &std::ffi::CString| context.connect(reader, mode, pcsc::Protocols::T1);
    let cards = readers.iter().map(inserted);
    cards.reduce(Result::or).unwrap_or(Err(pcsc::Error::NoReadersAvailable))
}

fn new_card() -> Arc<Mutex<Memory>> {
    Arc::new(Mutex::new(Memory::new()))
}

fn open_with(pin: &[u8]) -> Result<CardGuard, GuardError> {
    CardGuard::open(&Settings { reader: None, pin: Zeroizing::new(pin.to_vec()) })
}

fn open() -> Result<CardGuard, GuardError> {
    open_with(b"123456")
}

fn keys(epoch: u64) -> BootKeys {
    BootKeys { host: Host(3), epoch, signing: [1; 32], exchange: [2; 32] }
}

#[test]
fn certifies_the_keys_of_each_boot_and_counts_on_after_it_was_taken_out() {
    let test = "certifies_the_keys_of_each_boot_and_counts_on_after_it_was_taken_out";
    with_reader(test, |reader| {
        let memory = new_card();
        for epoch in 1..4 {
            let _card = reader.insert(&memory);
            let mut guard: Box<dyn KeyGuard> = Box::new(open().unwrap());
            assert_eq!(guard.name(), "card");
            assert!(matches!(guard.certify(&keys(epoch)), Err(GuardError::NoEpoch)));
            assert_eq!(guard.begin_epoch().unwrap(), epoch);
            let certificate = guard.certify(&keys(epoch)).unwrap();
            assert_eq!(certificate.said, keys(epoch));
            assert!(certificate.is_signed_by(&guard.public_key()));
            let said = guard.attest([0; 32]).unwrap();
            assert!(matches!(said, Attestation::Nothing { .. }));
        }
    });
}

#[test]
fn three_wrong_pins_block_the_card_even_for_the_right_one() {
    with_reader("three_wrong_pins_block_the_card_even_for_the_right_one", |reader| {
        let memory = new_card();
        let _card = reader.insert(&memory);
        let wrong = || open_with(b"654321");
        assert!(matches!(wrong(), Err(GuardError::WrongPin { left: Some(2) })));
        assert!(open().is_ok(), "the right one gives all tries back");
        for left in [2, 1, 0] {
            let refused = wrong();
            assert!(
                matches!(refused, Err(GuardError::WrongPin { left: Some(l) }) if l == left),
                "{refused:?}"
            );
        }
        assert!(matches!(wrong(), Err(GuardError::PinBlocked)));
        assert!(matches!(open(), Err(GuardError::PinBlocked)));
    });
}

#[test]
fn a_pin_of_unfit_length_costs_no_try() {
    with_reader("a_pin_of_unfit_length_costs_no_try", |reader| {
        let memory = new_card();
        let _card = reader.insert(&memory);
        for pin in [&b"123"[..], &[0; 17], &[0; 300]] {
            assert!(matches!(open_with(pin), Err(GuardError::UnfitSecret { .. })));
        }
        assert_eq!(memory.lock().unwrap().tries, 3);
    });
}

/// Speaks to the card without this program.
#[test]
fn the_card_itself_signs_one_set_of_keys_for_a_number_and_nothing_without_pin() {
    let test = "the_card_itself_signs_one_set_of_keys_for_a_number_and_nothing_without_pin";
    with_reader(test, |reader| {
        let _inserted = reader.insert(&new_card());
        let card = connect(pcsc::ShareMode::Exclusive).unwrap();
        let status = |header: [u8; 4], data: &[u8]| {
            let len = u8::try_from(data.len()).unwrap();
            let command = match len {
                0 => header.to_vec(),
                _ => [&header[..], &[len], data].concat(),
            };
            let mut answer = [0; pcsc::MAX_BUFFER_SIZE];
            let answer = card.transmit(&command, &mut answer).unwrap();
            answer[answer.len() - 2..].to_vec()
        };
        let (select, verify) = ([0x00, 0xa4, 0x04, 0x00], [0x00, 0x20, 0x00, 0x00]);
        let (begin, certify) = ([0x80, 0x20, 0x00, 0x00], [0x80, 0x30, 0x00, 0x00]);
        assert_eq!(status(begin, &[]), [0x6d, 0x00], "nothing is selected");
        assert_eq!(status(select, &AID), [0x90, 0x00]);
        assert_eq!(status(begin, &[]), [0x69, 0x82], "no PIN");
        assert_eq!(status(certify, &[1; 65]), [0x69, 0x82], "no PIN");
        assert_eq!(status(verify, b"123456"), [0x90, 0x00]);
        assert_eq!(status(certify, &[1; 65]), [0x69, 0x85], "no epoch");
        assert_eq!(status(begin, &[]), [0x90, 0x00]);
        assert_eq!(status(certify, &[1; 65]), [0x90, 0x00]);
        assert_eq!(status(certify, &[1; 65]), [0x90, 0x00], "the same keys");
        assert_eq!(status(certify, &[2; 65]), [0x69, 0x85], "other keys");
        assert_eq!(status(begin, &[]), [0x90, 0x00]);
        assert_eq!(status(certify, &[2; 65]), [0x90, 0x00], "another number");
        assert_eq!(status(select, &AID), [0x90, 0x00]);
        assert_eq!(status(certify, &[2; 65]), [0x69, 0x82], "selecting forgets the PIN");
    });
}

#[test]
fn a_hostile_card_is_refused_and_nothing_panics() {
    with_reader("a_hostile_card_is_refused_and_nothing_panics", |reader| {
        type Mischief = fn(u8, Vec<u8>) -> Vec<u8>;
        let mischiefs: &[(&str, Mischief)] = &[
            ("nothing but a byte", |_, _| vec![0x90]),
            ("no data", |_, _| vec![0x90, 0x00]),
            ("too much", |_, _| [&[0x55; 256][..], &[0x90, 0x00]].concat()),
            ("all ones", |_, answer| vec![0xff; answer.len()]),
            ("one byte short", |_, answer| answer[1..].to_vec()),
            ("another status", |_, answer| {
                let len = answer.len() - 2;
                [&answer[..len], &[0x6f, 0x00]].concat()
            }),
            ("another key", |ins, mut answer| {
                if ins == 0x10 {
                    answer[5] ^= 1;
                }
                answer
            }),
            ("another number in the certificate", |ins, mut answer| {
                if ins == 0x30 {
                    answer[0] ^= 1;
                }
                answer
            }),
            ("another signature", |ins, mut answer| {
                if ins == 0x30 {
                    answer[40] ^= 1;
                }
                answer
            }),
            ("the number of before", |ins, answer| match ins {
                0x20 if answer.len() == 10 => [&1_u64.to_be_bytes()[..], &[0x90, 0x00]].concat(),
                _ => answer,
            }),
        ];
        let memory = new_card();
        let _card = reader.insert(&memory);
        for (what, mischief) in mischiefs {
            memory.lock().unwrap().mischief = *mischief;
            let served = open().and_then(|mut guard| {
                guard.begin_epoch()?;
                let epoch = guard.begin_epoch()?;
                guard.certify(&keys(epoch))
            });
            assert!(served.is_err(), "{what}");
        }
        memory.lock().unwrap().mischief = Memory::new().mischief;
        memory.lock().unwrap().counter = u64::MAX;
        assert!(matches!(open().unwrap().begin_epoch(), Err(GuardError::Exhausted)));
    });
}

#[test]
fn one_card_is_open_once() {
    with_reader("one_card_is_open_once", |reader| {
        let _card = reader.insert(&new_card());
        let first = open().unwrap();
        assert!(matches!(open(), Err(GuardError::Busy { .. })));
        drop(first);
        assert!(open().is_ok());
    });
}

#[test]
fn a_card_that_is_taken_out_certifies_nothing() {
    with_reader("a_card_that_is_taken_out_certifies_nothing", |reader| {
        let card = reader.insert(&new_card());
        let mut guard = open().unwrap();
        guard.begin_epoch().unwrap();
        drop(card);
        assert!(matches!(guard.certify(&keys(1)), Err(GuardError::Device { .. })));
        drop(guard);
        assert!(matches!(open(), Err(GuardError::Device { .. })), "no card is there");
        let reader = Some("another reader".to_owned());
        let refused = CardGuard::open(&Settings { reader, pin: Zeroizing::new(vec![0; 6]) });
        assert!(matches!(refused, Err(GuardError::Setting { .. })));
    });
}

/// The limit of an emulated card, stated as a claim.
#[test]
fn rolling_back_the_memory_of_an_emulated_card_is_not_detected() {
    with_reader("rolling_back_the_memory_of_an_emulated_card_is_not_detected", |reader| {
        let memory = new_card();
        let _card = reader.insert(&memory);
        let mut certificates = Vec::new();
        for signing in [[1; 32], [9; 32]] {
            memory.lock().unwrap().counter = 4;
            let mut guard = open().unwrap();
            assert_eq!(guard.begin_epoch().unwrap(), 5, "the number is given out again");
            certificates.push(guard.certify(&BootKeys { signing, ..keys(5) }).unwrap());
        }
        assert_ne!(certificates[0].said, certificates[1].said);
    });
}
