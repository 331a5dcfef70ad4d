//! Crashes and full disks at every operation of a log's life, and a disk that stays bounded.

use super::hooked::{Hook, Hooked, Trouble};
use super::log::{ALL, Found, Image, append, config, content, open, retain};
use crate::begun::Begun;
use crate::journal::{JournalError, LogConfig};
use crate::last_life::LastLife;
use crate::lost::Lost;
use crate::server::ServerError;
use crate::start::{Files, open_log};
use commonware_runtime::deterministic::{Checkpoint, Context, Runner};
use commonware_runtime::tokio::{self, Config};
use commonware_runtime::{Runner as _, Supervisor as _};
use commonware_utils::{Probability, probability};
use maftia_activity::{Nonce, Record};
use maftia_base::Digest;
use maftia_crypto::RealSuite;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a log has promised so far.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    /// The last run that is noted outside of the log.
    begun: Option<u64>,
    /// Records before this were reported durable.
    durable: u64,
    /// Records before this were handed over.
    appended: u64,
    /// A cut here was reported done.
    cut: u64,
    /// A cut here was asked for.
    cutting: u64,
}

impl Promised {
    /// Is this what a log must hold that promised so much?
    fn check(&self, found: &Found, start: u64, what: &str) {
        let end = start + found.len() as u64;
        assert!(start == self.cut || start == self.cutting, "{what}: {start} for {self:?}");
        assert!((self.durable..=self.appended).contains(&end), "{what}: {end} for {self:?}");
        assert!(found.keys().copied().eq(start..end), "{what}: {found:?}");
        assert!(found.iter().all(|(position, bytes)| *bytes == content(*position)), "{what}");
    }
}

type Shared = Arc<Mutex<Promised>>;

fn promised(shared: &Shared) -> Promised {
    *shared.lock().expect("no test panicked meanwhile")
}

fn promise(shared: &Shared, change: impl FnOnce(&mut Promised)) {
    change(&mut shared.lock().expect("no test panicked meanwhile"));
}

/// Three runs with commits, checkpoints, cuts and new files.
async fn live(context: Hooked<Context>, shared: Shared) -> Result<(), JournalError> {
    for run in 0..3 {
        let config = config("log", promised(&shared).begun);
        let (mut journal, found) = open(context.child("run"), config).await?;
        let positions = journal.positions();
        promised(&shared).check(&found, positions.start, "in the middle of a life");
        promise(&shared, |promised| {
            promised.begun = Some(journal.run());
            (promised.durable, promised.cut) = (positions.end, positions.start);
        });
        for (count, checkpoint, cut) in
            [(1, false, 0), (5, false, 2), (3, true, 0), (2, false, 1), (0, run == 1, 0)]
        {
            promise(&shared, |promised| promised.appended += count);
            journal = append(journal, count, checkpoint).await?;
            let end = journal.positions().end;
            promise(&shared, |promised| promised.durable = end);
            if cut > 0 {
                promise(&shared, |promised| promised.cutting = end - cut);
                journal = journal.cut(end - cut).await?;
                promise(&shared, |promised| promised.cut = end - cut);
            }
        }
    }
    Ok(())
}

/// Lives in `trouble`; how that ended, how many operations it took, what was promised and what
/// is left.
fn live_in(
    trouble: Trouble,
    seed: u64,
    share: Probability,
) -> (Result<(), JournalError>, usize, Promised, Checkpoint) {
    let shared = Shared::default();
    let told = Arc::clone(&shared);
    let runner = Runner::seeded(seed);
    let ((ended, operations), checkpoint) = runner.start_and_recover(|context| async move {
        retain(&context, share);
        let hook = Hook::default();
        hook.set(trouble);
        let disk = Hooked { inner: context.child("disk"), hook: hook.clone() };
        (live(disk, told).await, hook.operations())
    });
    (ended, operations, promised(&shared), checkpoint)
}

/// Opens the log in `trouble`, appends if it can, and is killed.
fn reopen_in(
    checkpoint: Checkpoint,
    trouble: Trouble,
    promised: &mut Promised,
    what: &str,
) -> (Result<(), JournalError>, Checkpoint) {
    let before = *promised;
    let what = what.to_owned();
    let ((ended, after), checkpoint) =
        Runner::from(checkpoint).start_and_recover(|context| async move {
            let hook = Hook::default();
            hook.set(trouble);
            let disk = Hooked { inner: context.child("disk"), hook };
            let mut promised = before;
            let ended = async {
                // Whoever was killed here did not come to note the run outside.
                let opened = open(disk, config("log", promised.begun)).await;
                let (journal, found) = opened?;
                let positions = journal.positions();
                promised.check(&found, positions.start, &what);
                (promised.durable, promised.cut) = (positions.end, positions.start);
                (promised.appended, promised.cutting) = (positions.end + 6, positions.start);
                append(journal, 6, false).await?;
                promised.durable += 6;
                Ok(())
            };
            let ended = ended.await;
            (ended, promised)
        });
    *promised = after;
    (ended, checkpoint)
}

#[test]
fn after_a_crash_at_any_operation_the_log_is_a_prefix_with_all_that_was_durable() {
    let mut crashes = 0;
    for (seed, share) in
        [(1, probability!(0.0)), (2, probability!(0.5)), (3, probability!(0.5)), (4, ALL)]
    {
        for limit in 0.. {
            let what = format!("seed {seed}, operation {limit}");
            let trouble = Trouble::CrashAfter(limit);
            let (ended, _, mut promised, checkpoint) = live_in(trouble, seed, share);
            let finished = ended.is_ok();
            if let Err(error) = ended {
                assert!(matches!(error, JournalError::Storage { .. }), "{what}: {error}");
            }
            // It crashes again while it recovers, and then once more.
            let again = Trouble::CrashAfter(limit * 7 % 60);
            let (ended, checkpoint) = reopen_in(checkpoint, again, &mut promised, &what);
            if let Err(error) = ended {
                assert!(matches!(error, JournalError::Storage { .. }), "{what}, again: {error}");
                crashes += 1;
            }
            let (ended, checkpoint) = reopen_in(checkpoint, Trouble::None, &mut promised, &what);
            ended.unwrap_or_else(|error| panic!("{what}, recovered: {error}"));
            let (ended, _) = reopen_in(checkpoint, Trouble::None, &mut promised, &what);
            ended.unwrap_or_else(|error| panic!("{what}, lives on: {error}"));
            if finished {
                break;
            }
            crashes += 1;
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 1_000, "every operation was hit: {crashes}");
}

#[test]
fn a_full_disk_is_told_from_damage_and_nothing_is_lost() {
    let (mut stops, seed) = (0, 5);
    for limit in 0.. {
        let what = format!("room for {limit} changes");
        let (ended, _, mut promised, checkpoint) =
            live_in(Trouble::FullAfter(limit), seed, probability!(0.5));
        let Err(error) = ended else { break };
        assert!(matches!(error, JournalError::Full { .. }), "{what}: {error}");
        assert!(error.to_string().contains("nothing is lost: make room"), "{error}");
        stops += 1;
        // It is started again before there is room.
        let full = Trouble::FullAfter(0);
        let (ended, checkpoint) = reopen_in(checkpoint, full, &mut promised, &what);
        assert!(matches!(ended, Err(JournalError::Full { .. })), "{what}: {ended:?}");
        let (ended, _) = reopen_in(checkpoint, Trouble::None, &mut promised, &what);
        ended.unwrap_or_else(|error| panic!("{what}, with room: {error}"));
    }
    assert!(stops > 100, "every change was refused once: {stops}");
}

#[test]
fn an_interrupted_start_is_not_taken_for_damage_whatever_the_file_outside_holds() {
    // A start raises the run in the log, then replaces the file. A crash leaves the log changed or
    // not, and the file before, during or after its replacement; a number below is all it can be.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("begun");
    let beside = folder.path().join("begun.new");
    let file = Begun::at(&path);
    assert_eq!(file.run().expect("nothing is there"), None);
    let mut checkpoint = None;
    let (mut runs, mut begun) = (0, None);
    for crash in 0..5 {
        let runner = checkpoint.take().map_or_else(|| Runner::seeded(9), Runner::from);
        let (run, left) = runner.start_and_recover(|context| async move {
            let opened = open(context, config("log", begun)).await;
            opened.unwrap_or_else(|error| panic!("crash {crash}: {error}")).0.run()
        });
        runs += 1;
        assert_eq!(run, runs, "each start counts");
        match crash {
            // Right after the log was changed.
            0 => {}
            // While the new file is made, and when it is complete.
            1 => fs::write(&beside, "This serv").expect("writes"),
            2 => {
                file.note(run).expect("notes");
                fs::rename(&path, &beside).expect("undoes the renaming");
                if let Some(begun) = begun {
                    file.note(begun).expect("puts the former one back");
                }
            }
            // When all is done.
            _ => file.note(run).expect("notes"),
        }
        begun = file.run().expect("it is before or after, never between");
        checkpoint = Some(left);
    }
    assert_eq!(begun, Some(5));
    fs::write(&path, "").expect("writes");
    let error = file.run().expect_err("nobody writes an empty one");
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_server_does_not_begin_another_log_nor_go_on_with_an_older_copy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (begun, data) = (folder.path().join("begun"), folder.path().join("data"));
    let start = || {
        let config = Config::new().with_storage_directory(data.clone());
        tokio::Runner::new(config).start(|context| {
            let lost = Lost::at(begun.with_extension("lost"));
            let files = Files {
                begun: Begun::at(&begun),
                lost,
                life: LastLife::at(begun.with_extension("life")),
            };
            let log = LogConfig::new("log", "me");
            async move {
                open_log::<RealSuite, _>(context, log, &files, None).await.map(|log| log.run())
            }
        })
    };
    assert_eq!(start().expect("the first start"), 1);
    let copy = folder.path().join("copy");
    copy_folder(&data, &copy);
    assert_eq!(start().expect("the second start"), 2);
    let latest = folder.path().join("latest");
    fs::rename(&data, &latest).expect("renames");
    for _ in 0..2 {
        let error = start().expect_err("the log is gone, however often one tries");
        assert!(error.to_string().contains("it is gone"), "{error}");
    }
    for _ in 0..3 {
        fs::remove_dir_all(&data).expect("removes");
        copy_folder(&copy, &data);
        for _ in 0..3 {
            let error = start().expect_err("the log is an older copy");
            assert!(error.to_string().contains("an older copy"), "{error}");
        }
    }
    fs::remove_dir_all(&data).expect("removes");
    fs::rename(&latest, &data).expect("renames");
    assert_eq!(start().expect("it is good for its owner"), 3);
    fs::write(&begun, "7").expect("writes");
    assert!(matches!(start(), Err(ServerError::Begun { .. })));
}

#[test]
fn no_changed_or_missing_byte_of_a_files_header_loses_a_record_silently() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, sound) = (folder.path().join("data"), folder.path().join("sound"));
    let start = |begun| {
        let config = Config::new().with_storage_directory(data.clone());
        tokio::Runner::new(config).start(|context| async move {
            let (journal, found) = open(context, super::log::config("log", begun)).await?;
            let found = found.into_iter().collect::<Vec<_>>();
            Ok::<_, JournalError>((append(journal, 6, false).await?.run(), found))
        })
    };
    assert_eq!(start(None).expect("begins").0, 1);
    copy_folder(&data, &sound);
    let mut files = Vec::new();
    for partition in fs::read_dir(&sound).expect("reads").map(|entry| entry.expect("reads")) {
        if partition.file_type().expect("tells").is_dir() {
            let blobs = fs::read_dir(partition.path()).expect("reads");
            files.extend(blobs.map(|entry| entry.expect("reads").path()));
        }
    }
    assert!(files.len() >= 8, "{files:?}");
    let (mut refused, mut whole) = (0, 0);
    for file in &files {
        let bytes = fs::read(file).expect("reads");
        let flips = (0..14).chain([100, 4095]).map(|index| {
            let mut bytes = bytes.clone();
            bytes[index] ^= 1 << (index % 8);
            bytes
        });
        let cuts = [0, 7, 8, 11, 12, 100, 4095, 4096].map(|len| bytes[..len].to_vec());
        for changed in flips.chain(cuts).filter(|changed| *changed != bytes) {
            fs::remove_dir_all(&data).expect("removes");
            copy_folder(&sound, &data);
            fs::write(data.join(file.strip_prefix(&sound).expect("inside")), changed)
                .expect("writes");
            match start(Some(1)) {
                Ok((_, found)) => {
                    whole += 1;
                    let expected = (0..6).map(|position| (position, content(position)));
                    assert_eq!(found, expected.collect::<Vec<_>>(), "{}", file.display());
                }
                Err(JournalError::Damaged { .. } | JournalError::Gone { .. }) => refused += 1,
                Err(error) => panic!("{}: {error}", file.display()),
            }
        }
    }
    println!("{refused} refused, {whole} whole");
    assert!(refused > 100);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("reads") {
        let (entry, to) = (entry.expect("reads"), to.to_owned());
        let to = to.join(entry.file_name());
        match entry.file_type().expect("tells").is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copies")),
        }
    }
}

#[test]
fn the_disk_is_bounded_for_ever() {
    Runner::default().start(|context| async move {
        let (mut bytes, mut largest) = (0, 0);
        for run in 0..20 {
            let opened = open(context.child("run"), config("log", (run > 0).then_some(run))).await;
            let (mut journal, found) = opened.expect("opens");
            assert!(found.len() <= 8, "what is cut is not replayed");
            for _ in 0..50 {
                journal = append(journal, 7, false).await.expect("commits");
                let end = journal.positions().end;
                journal = journal.cut(end - 3).await.expect("cuts");
                let all = end - 7..end;
                bytes += all.map(|position| content(position).len()).sum::<usize>();
            }
            drop(append(journal, 5, true).await.expect("closes"));
            let image = Image::read(&context, "log").await;
            largest = largest.max(image.0.values().map(Vec::len).sum());
            assert!(image.0.len() <= 16, "files go: {}", image.0.len());
        }
        println!("{bytes} bytes of records, at most {largest} on the disk");
        assert!(bytes > 5 * largest, "{bytes} bytes were written, {largest} were kept");
        assert!(largest < 20_000, "{largest}");
    });
}

#[test]
fn a_log_that_is_declared_lost_is_begun_anew_with_the_number_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (begun, data) = (folder.path().join("begun"), folder.path().join("data"));
    let lost = Lost::at(folder.path().join("lost"));
    let start = || {
        let config = Config::new().with_storage_directory(data.clone());
        tokio::Runner::new(config).start(|context| {
            let files = Files {
                begun: Begun::at(&begun),
                lost: lost.clone(),
                life: LastLife::at(begun.with_extension("life")),
            };
            async move {
                let log = LogConfig::new("log", "me");
                let mut log = open_log::<RealSuite, _>(context, log, &files, None).await?;
                let mut numbers = Vec::new();
                let number = |_, record: Record<RealSuite>| match record {
                    Record::Rejoining(nonce) => numbers.push(nonce),
                    other => panic!("nobody wrote {other:?}"),
                };
                log.replay(number).await?;
                Ok::<_, ServerError>((log.run(), numbers))
            }
        })
    };
    assert_eq!(start().expect("the first start"), (1, vec![]));
    let nonce = Nonce(Digest::of("test", b"a loss"));
    for crash in 0..3 {
        if data.exists() {
            fs::remove_dir_all(&data).expect("the log is lost");
        }
        let error = start().expect_err("nobody declared it lost");
        assert!(error.to_string().contains("maftia repair"), "{error}");
        lost.declare(nonce).expect("declared");
        let run = 2 + 2 * crash;
        assert_eq!(start().expect("begun anew"), (run, vec![nonce]));
        assert_eq!(lost.nonce().expect("readable"), None, "gone before the server runs");
        // As if it had crashed before the file was removed: the number is not written twice.
        lost.declare(nonce).expect("declared");
        assert_eq!(start().expect("goes on"), (run + 1, vec![nonce]));
        assert_eq!(lost.nonce().expect("readable"), None);
    }
}
