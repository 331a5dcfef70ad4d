//! `maftia repair`: what is wrong with a server's journal, and how the server comes back.

use crate::Failure;
use crate::args::Repair;
use crate::home::{Home, JOURNAL};
use crate::server::{self, Setting};
use maftia_activity::Nonce;
use maftia_base::Digest;
use maftia_node::begun::Begun;
use maftia_node::journal::{GUARD_SUFFIX, JournalError, Report};
use maftia_node::lost::Lost;
use maftia_node::production;
use maftia_node::server::{Inspected, ServerConfig};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What the journal is like.
enum Finding {
    /// There never was one.
    Never,
    /// It is sound.
    Sound(Report),
    /// It cannot be used, and why.
    Broken(String),
    /// It was begun after a loss, and the server is not back yet.
    Rejoining,
}

/// Checks the journal; has the server rejoin if that is needed.
pub fn run(args: &Repair) -> Result<(), Failure> {
    server::start_logging(false);
    let setting = Setting::load(&args.home, args.passphrase_file.as_deref())?;
    let Setting { home, lock: _lock, mut config, members, offer } = setting;
    let finding = match look(&config, &home) {
        Err(failure) if args.rejoin => Finding::Broken(failure.to_string()),
        finding => finding?,
    };
    let rejoins = match &finding {
        Finding::Never | Finding::Sound(_) => args.rejoin,
        Finding::Broken(_) | Finding::Rejoining => true,
    };
    tell(args.json, &finding, rejoins);
    if args.check && rejoins {
        return Err(Failure::because("a repair is needed; run the same without --check"));
    }
    if !rejoins {
        return Ok(());
    }
    if args.rejoin || !matches!(finding, Finding::Rejoining) {
        give_up(&home.folder, &config)?;
    }
    eprintln!(
        "repair: rejoining. The other servers must run and be enough to go on; until this one is \
         back, it counts among those that may be faulty"
    );
    config.until_member = true;
    production::serve(config, home.group.clone(), home.keyring, members, offer)
        .map_err(|error| Failure::because(error.to_string()))?;
    eprintln!("repair: done. Start it: maftia server --home {}", home.folder.display());
    Ok(())
}

/// Sets the journal aside and declares it lost, with a number drawn now: one that stood there from
/// before may have come with a backup, and be used up. After a crash in between there is no journal
/// and nothing that says so: the server does not start, and the next repair goes on.
fn give_up(home: &Path, config: &ServerConfig) -> Result<(), Failure> {
    if !config.begun.exists() {
        // From here on, whatever crashes: there was a journal.
        let noted = Begun::at(&config.begun).note(0);
        noted.map_err(|error| Failure::file(&config.begun, "cannot be written", &error))?;
    }
    if let Some(aside) = set_aside(home)? {
        eprintln!("repair: the journal is now {}", aside.display());
    }
    let declared = Lost::at(&config.lost).declare(Nonce(Digest(rand::random())));
    declared.map_err(|error| Failure::file(&config.lost, "cannot be written", &error))?;
    for folder in [home, &config.data] {
        if folder.exists() {
            forget_asides(folder)?;
        }
    }
    Ok(())
}

fn look(config: &ServerConfig, home: &Home) -> Result<Finding, Failure> {
    if !config.data.exists() {
        return Ok(match config.begun.exists() {
            true => Finding::Broken("there was a journal, and it is gone".into()),
            false => Finding::Never,
        });
    }
    let inspected = production::inspect(config, &home.group);
    let inspected = inspected.map_err(|error| Failure::because(error.to_string()))?;
    let Inspected { mut report, rejoining } = inspected;
    match report.trouble.take() {
        None if rejoining => Ok(Finding::Rejoining),
        None => Ok(Finding::Sound(report)),
        // What can be mended otherwise is not given up.
        Some(
            trouble @ (JournalError::Damaged { .. }
            | JournalError::Stale { .. }
            | JournalError::Gone { .. }),
        ) => Ok(Finding::Broken(trouble.to_string())),
        Some(other) => Err(Failure::because(format!(
            "{other}. If that is no way, `maftia repair --rejoin` gives this journal up"
        ))),
    }
}

fn tell(as_json: bool, finding: &Finding, rejoins: bool) {
    if as_json {
        let found = match finding {
            Finding::Never => json!({ "journal": "never there" }),
            Finding::Sound(report) => json!({
                "journal": "sound",
                "first": report.records.start,
                "end": report.records.end,
                "bytes": report.bytes,
                "runs": report.run,
            }),
            Finding::Broken(why) => json!({ "journal": "broken", "why": why }),
            Finding::Rejoining => json!({ "journal": "rejoining" }),
        };
        return println!("{}", json!({ "found": found, "rejoins": rejoins }));
    }
    match finding {
        Finding::Never => println!("there never was a journal: this server has not run yet"),
        Finding::Sound(report) => println!(
            "the journal is sound: records {} to {}, {} MiB, {} runs",
            report.records.start,
            report.records.end,
            report.bytes >> 20,
            report.run
        ),
        Finding::Broken(why) => println!("{why}"),
        Finding::Rejoining => {
            println!("a new journal was begun after a loss; this server has not rejoined yet");
        }
    }
    if !rejoins {
        println!("nothing to repair (--rejoin has it rejoin all the same)");
    }
}

/// How many journals that were set aside are kept.
const ASIDES_KEPT: usize = 2;

/// Moves the journal out of the way, for whoever wants to know what happened to it. If it is a file
/// system of its own it stays where it is, and what is in it moves to a folder inside. A crash
/// leaves a journal that is whole, or none that a server would start with.
fn set_aside(home: &Path) -> Result<Option<PathBuf>, Failure> {
    let journal = home.join(JOURNAL);
    if !journal.exists() {
        return Ok(None);
    }
    let failed = |error| Failure::file(&journal, "cannot be set aside", &error);
    let aside = next_aside(home).map_err(failed)?;
    let moved = match fs::rename(&journal, &aside) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            next_aside(&journal).and_then(|aside| empty_into(&journal, &aside).map(|()| aside))
        }
        moved => moved.and_then(|()| File::open(home)?.sync_all()).map(|()| aside),
    };
    moved.map(Some).map_err(failed)
}

/// Removes the journals that were set aside in `folder`, but for the last ones.
fn forget_asides(folder: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::file(folder, "has journals that cannot be removed", &error);
    let asides = asides(folder).map_err(failed)?;
    for (_, aside) in asides.iter().rev().skip(ASIDES_KEPT) {
        fs::remove_dir_all(aside).map_err(failed)?;
        let kept = format!("the last {ASIDES_KEPT} are kept");
        eprintln!("repair: {} is removed: of journals set aside {kept}", aside.display());
    }
    Ok(())
}

/// The journals that were set aside in `folder`, the latest last.
fn asides(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut asides = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let number = aside_number(&entry.file_name());
        asides.extend(number.map(|number| (number, entry.path())));
    }
    asides.sort();
    Ok(asides)
}

fn aside_number(name: &OsStr) -> Option<u64> {
    name.to_str()?.strip_prefix(JOURNAL)?.strip_prefix(".aside-")?.parse().ok()
}

fn next_aside(folder: &Path) -> io::Result<PathBuf> {
    let last = asides(folder)?.last().map_or(0, |(number, _)| *number);
    Ok(folder.join(format!("{JOURNAL}.aside-{}", last.saturating_add(1))))
}

/// Moves what is in `journal` to the new folder `aside` in it: first what says whose log it is and
/// how far, without which what is left is no journal.
fn empty_into(journal: &Path, aside: &Path) -> io::Result<()> {
    let names = fs::read_dir(journal)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    // A file system keeps its own folder of what it found; earlier journals stay as well.
    names.retain(|name| name != "lost+found" && aside_number(name).is_none());
    fs::create_dir(aside)?;
    for some in guards_first(names) {
        for name in some {
            fs::rename(journal.join(&name), aside.join(&name))?;
        }
        File::open(aside)?.sync_all()?;
        File::open(journal)?.sync_all()?;
    }
    Ok(())
}

fn guards_first(names: Vec<OsString>) -> [Vec<OsString>; 2] {
    let is_guard = |name: &OsString| name.to_string_lossy().ends_with(GUARD_SUFFIX);
    let (guards, rest) = names.into_iter().partition(is_guard);
    [guards, rest]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home folder with a journal that says which one it is.
    fn write_journal(home: &Path, which: usize) {
        let journal = home.join(JOURNAL);
        fs::create_dir_all(&journal).unwrap();
        for name in ["log_data".into(), format!("log{GUARD_SUFFIX}"), "log-1_data".into()] {
            fs::write(journal.join(name), which.to_string()).unwrap();
        }
    }

    #[test]
    fn of_journals_set_aside_the_last_two_are_kept_and_no_number_is_used_again() {
        let home = tempfile::tempdir().unwrap();
        assert!(set_aside(home.path()).unwrap().is_none(), "there is none");
        for which in 1..=4 {
            write_journal(home.path(), which);
            let aside = set_aside(home.path()).unwrap().unwrap();
            assert_eq!(aside, home.path().join(format!("journal.aside-{which}")));
            assert!(!home.path().join(JOURNAL).exists());
            forget_asides(home.path()).unwrap();
        }
        let kept: Vec<u64> = asides(home.path()).unwrap().iter().map(|(it, _)| *it).collect();
        assert_eq!(kept, [3, 4]);
        let last = home.path().join("journal.aside-4").join("log_data");
        assert_eq!(fs::read_to_string(last).unwrap(), "4", "each is what it was");
    }

    #[test]
    fn what_makes_a_journal_one_leaves_it_first_if_it_cannot_be_renamed() {
        let home = tempfile::tempdir().unwrap();
        let journal = home.path().join(JOURNAL);
        write_journal(home.path(), 1);
        for kept in ["lost+found", "journal.aside-1"] {
            fs::create_dir(journal.join(kept)).unwrap();
        }
        let aside = next_aside(&journal).unwrap();
        empty_into(&journal, &aside).unwrap();
        let left = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<OsString> = left.collect();
        left.sort();
        assert_eq!(left, ["journal.aside-1", "journal.aside-2", "lost+found"]);
        assert_eq!(fs::read_dir(&aside).unwrap().count(), 3);
        let names = ["log_data", "log_guard", "log-1_data", "log-1_guard"].map(OsString::from);
        let [first, then] = guards_first(names.into());
        assert_eq!(first, ["log_guard", "log-1_guard"]);
        assert_eq!(then, ["log_data", "log-1_data"]);
    }
}
