//! The guard in a file, and who attacks it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use maftia_guard::file::{Places, Unlock};
use maftia_guard::{Attestation, FileGuard, GuardError, KeyGuard, Memory};
use maftia_ttcb_api::{BootKeys, Host};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

fn places(folder: &Path) -> Places {
    let (file, mark) = (folder.join("guard"), folder.join("mark"));
    Places { file, mark, memory: Memory::Secret }
}

fn passphrase(words: &str) -> Unlock {
    Unlock::Passphrase(Zeroizing::new(words.as_bytes().to_vec()))
}

fn right() -> Unlock {
    passphrase("a passphrase that is right")
}

fn keys(epoch: u64) -> BootKeys {
    BootKeys { host: Host(3), epoch, signing: [1; 32], exchange: [2; 32] }
}

/// A folder with a guard that has counted `epochs` boots, and its public key.
fn made(epochs: u64) -> (tempfile::TempDir, [u8; 32]) {
    let folder = tempfile::tempdir().unwrap();
    let mut guard = FileGuard::create(places(folder.path()), &right()).unwrap();
    for expected in 1..=epochs {
        assert_eq!(guard.begin_epoch().unwrap(), expected);
    }
    (folder, guard.public_key())
}

fn open(folder: &Path) -> Result<FileGuard, GuardError> {
    FileGuard::open(places(folder), &right())
}

/// Both files, as they are now.
fn copy(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let Places { file, mark, .. } = places(folder);
    (fs::read(file).unwrap(), fs::read(mark).unwrap())
}

#[test]
fn certifies_the_keys_of_each_boot_with_the_key_that_lasts() {
    let (folder, public_key) = made(1);
    for expected in 2..5 {
        let mut guard = open(folder.path()).unwrap();
        assert_eq!(guard.public_key(), public_key);
        assert_eq!(guard.begin_epoch().unwrap(), expected);
        let certificate = guard.certify(&keys(expected)).unwrap();
        assert_eq!(certificate.said, keys(expected));
        assert!(certificate.is_signed_by(&public_key));
    }
}

#[test]
fn a_guard_serves_behind_a_trait_object() {
    let (folder, _) = made(0);
    let mut guard: Box<dyn KeyGuard> = Box::new(open(folder.path()).unwrap());
    assert_eq!((guard.name(), guard.begin_epoch().unwrap()), ("file", 1));
}

#[test]
fn certifies_one_set_of_keys_for_each_number_and_only_for_the_current_one() {
    let (folder, _) = made(4);
    let mut guard = open(folder.path()).unwrap();
    assert!(matches!(guard.certify(&keys(4)), Err(GuardError::NoEpoch)));
    assert_eq!(guard.begin_epoch().unwrap(), 5);
    let stale = guard.certify(&keys(4));
    assert!(matches!(stale, Err(GuardError::WrongEpoch { asked: 4, current: 5 })));
    assert_eq!(guard.certify(&keys(5)).unwrap(), guard.certify(&keys(5)).unwrap());
    let other = BootKeys { signing: [9; 32], ..keys(5) };
    assert!(matches!(guard.certify(&other), Err(GuardError::EpochUsed { epoch: 5 })));
}

#[test]
fn a_file_says_plainly_that_it_attests_nothing() {
    let (folder, _) = made(0);
    let said = open(folder.path()).unwrap().attest([0; 32]).unwrap();
    assert!(matches!(said, Attestation::Nothing { .. }));
}

#[test]
fn a_stolen_file_does_not_open_without_its_passphrase() {
    let (folder, _) = made(1);
    let refused = FileGuard::open(places(folder.path()), &passphrase("another passphrase"));
    assert!(matches!(refused, Err(GuardError::WrongSecret { .. })));
}

#[test]
fn a_guard_opens_with_its_key_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Unlock::KeyFile(path)
    };
    let (ours, other) = (key_file("ours", &[1; 32]), key_file("other", &[2; 32]));
    drop(FileGuard::create(places(folder.path()), &ours).unwrap());
    let refused = FileGuard::open(places(folder.path()), &other);
    assert!(matches!(refused, Err(GuardError::WrongSecret { .. })));
    assert!(FileGuard::open(places(folder.path()), &ours).is_ok());
    let short = FileGuard::open(places(folder.path()), &key_file("short", &[1; 31]));
    assert!(matches!(short, Err(GuardError::UnfitSecret { len: 31, min: 32, .. })));
}

#[test]
fn a_short_passphrase_makes_no_guard() {
    let folder = tempfile::tempdir().unwrap();
    let refused = FileGuard::create(places(folder.path()), &passphrase("1234567"));
    assert!(matches!(refused, Err(GuardError::UnfitSecret { len: 7, min: 8, .. })));
    assert!(!places(folder.path()).mark.exists());
}

#[test]
fn a_flipped_bit_anywhere_in_either_file_is_noticed() {
    let (folder, _) = made(2);
    let Places { file, mark, .. } = places(folder.path());
    for path in [file, mark] {
        let honest = fs::read(&path).unwrap();
        // Argon2 takes its time: one bit of each part of the format, and of its ends.
        for at in (0..honest.len()).step_by(9).chain([honest.len() - 1]) {
            let mut altered = honest.clone();
            altered[at] ^= 1 << (at % 8);
            fs::write(&path, &altered).unwrap();
            assert!(open(folder.path()).is_err(), "byte {at} of {}", path.display());
        }
        fs::write(&path, &honest).unwrap();
    }
    assert!(open(folder.path()).is_ok());
}

#[test]
fn files_of_any_length_are_refused_and_nothing_panics() {
    let (folder, _) = made(1);
    let Places { file, mark, .. } = places(folder.path());
    for path in [file, mark] {
        let honest = fs::read(&path).unwrap();
        for len in [0, 1, 15, 16, 17, 40, 63, 111, 113, 8192, 8193, 100_000] {
            if len != honest.len() {
                let mut altered = honest.clone();
                altered.resize(len, 0);
                fs::write(&path, &altered).unwrap();
                assert!(open(folder.path()).is_err(), "{len} bytes of {}", path.display());
            }
        }
        fs::write(&path, &honest).unwrap();
    }
    assert!(open(folder.path()).is_ok());
}

#[test]
fn a_file_that_was_rolled_back_is_found_out_by_its_mark() {
    let (folder, _) = made(2);
    let (old, _) = copy(folder.path());
    open(folder.path()).unwrap().begin_epoch().unwrap();
    fs::write(places(folder.path()).file, &old).unwrap();
    let refused = open(folder.path());
    assert!(matches!(refused, Err(GuardError::RolledBack { counter: 2, mark: 3, .. })));
}

#[test]
fn a_mark_that_was_rolled_back_is_found_out_by_its_file() {
    let (folder, _) = made(2);
    let (_, old) = copy(folder.path());
    let mut guard = open(folder.path()).unwrap();
    guard.begin_epoch().unwrap();
    guard.begin_epoch().unwrap();
    fs::write(places(folder.path()).mark, &old).unwrap();
    let refused = guard.begin_epoch();
    assert!(matches!(refused, Err(GuardError::MarkRolledBack { counter: 4, mark: 2, .. })));
    drop(guard);
    let refused = open(folder.path());
    assert!(matches!(refused, Err(GuardError::MarkRolledBack { counter: 4, mark: 2, .. })));
}

/// The limit of what files can do, stated as a claim so that nobody takes it for more.
#[test]
fn rolling_back_file_and_mark_together_is_not_detected() {
    let (folder, public_key) = made(2);
    let (old_file, old_mark) = copy(folder.path());
    let first = {
        let mut guard = open(folder.path()).unwrap();
        assert_eq!(guard.begin_epoch().unwrap(), 3);
        guard.certify(&keys(3)).unwrap()
    };
    fs::write(places(folder.path()).file, &old_file).unwrap();
    fs::write(places(folder.path()).mark, &old_mark).unwrap();
    let mut guard = open(folder.path()).unwrap();
    assert_eq!(guard.begin_epoch().unwrap(), 3, "the number is given out again");
    let second = guard.certify(&BootKeys { signing: [9; 32], ..keys(3) }).unwrap();
    assert!(first.is_signed_by(&public_key) && second.is_signed_by(&public_key));
    assert_ne!(first.said, second.said, "two sets of keys have one number");
}

#[test]
fn crashes_between_file_and_mark_give_no_number_twice_and_lock_nobody_out() {
    let (folder, _) = made(2);
    let begun = copy(folder.path());
    // What the mark is at each number, to leave it behind as a crash does.
    let mut marks = vec![begun.1.clone()];
    let mut guard = open(folder.path()).unwrap();
    for _ in 0..4 {
        guard.begin_epoch().unwrap();
        marks.push(copy(folder.path()).1);
    }
    drop(guard);
    fs::write(places(folder.path()).file, &begun.0).unwrap();
    fs::write(places(folder.path()).mark, &begun.1).unwrap();
    for (crashes, mark) in (0..).zip(&marks) {
        assert_eq!(open(folder.path()).unwrap().begin_epoch().unwrap(), 3 + crashes);
        fs::write(places(folder.path()).mark, mark).unwrap();
    }
    assert_eq!(open(folder.path()).unwrap().begin_epoch().unwrap(), 8);
}

#[test]
fn a_mark_of_another_guard_is_refused() {
    let (folder, _) = made(1);
    let (other, _) = made(1);
    fs::copy(places(other.path()).mark, places(folder.path()).mark).unwrap();
    assert!(matches!(open(folder.path()), Err(GuardError::ForeignMark { .. })));
    fs::remove_file(places(folder.path()).mark).unwrap();
    assert!(matches!(open(folder.path()), Err(GuardError::Io { doing: "finding", .. })));
}

#[test]
fn files_that_others_can_read_are_refused() {
    let (folder, _) = made(1);
    let Places { file, mark, .. } = places(folder.path());
    for path in [file, mark] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        for mode in [0o640, 0o604, 0o660, 0o602] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(open(folder.path()), Err(GuardError::Exposed { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    assert!(open(folder.path()).is_ok());
}

#[test]
fn a_pipe_or_folder_in_the_place_of_a_file_is_refused_at_once() {
    let (folder, _) = made(1);
    let Places { file, .. } = places(folder.path());
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&file).status().unwrap().success());
    assert!(matches!(open(folder.path()), Err(GuardError::NotThis { .. })));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(open(folder.path()), Err(GuardError::NotThis { .. })));
}

#[test]
fn a_guard_is_not_made_over_another() {
    let (folder, public_key) = made(1);
    let refused = FileGuard::create(places(folder.path()), &right());
    assert!(matches!(refused, Err(GuardError::Exists { .. })));
    assert_eq!(open(folder.path()).unwrap().public_key(), public_key);
}

#[test]
fn a_half_written_replacement_is_no_obstacle() {
    let (folder, _) = made(1);
    fs::write(folder.path().join("guard.new"), b"torn").unwrap();
    fs::write(folder.path().join("mark.new"), b"torn").unwrap();
    assert_eq!(open(folder.path()).unwrap().begin_epoch().unwrap(), 2);
}

#[test]
fn one_guard_is_open_once_by_whatever_name() {
    let (folder, _) = made(1);
    let first = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(GuardError::Busy { .. })));
    let alias = folder.path().join("alias");
    symlink(places(folder.path()).file, &alias).unwrap();
    let by_alias = FileGuard::open(Places { file: alias, ..places(folder.path()) }, &right());
    assert!(matches!(by_alias, Err(GuardError::Busy { .. })));
    drop(first);
    assert!(open(folder.path()).is_ok());
}

/// Plays both processes: the one that is started again by this test holds the guard.
#[test]
fn a_guard_that_another_process_has_open_is_refused() {
    const HOLDER: &str = "MAFTIA_TEST_HOLDS";
    if let Some(folder) = std::env::var_os(HOLDER) {
        let _guard = open(Path::new(&folder)).unwrap();
        println!("\nheld");
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
        return;
    }
    let (folder, _) = made(1);
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_guard_that_another_process_has_open_is_refused", "--nocapture"])
        .env(HOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap() == "held"), "the other process opens the guard");
    assert!(matches!(open(folder.path()), Err(GuardError::Busy { .. })));
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    output.for_each(drop);
    assert!(holder.wait().unwrap().success());
    assert!(open(folder.path()).is_ok());
}
