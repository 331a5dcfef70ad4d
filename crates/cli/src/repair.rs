//! `maftia repair`: what is wrong with a server's journal, and how the server comes back.

use crate::Failure;
use crate::args::Repair;
use crate::home::{Home, JOURNAL};
use crate::server::{self, Setting};
use maftia_activity::Nonce;
use maftia_base::Digest;
use maftia_node::begun::Begun;
use maftia_node::journal::{JournalError, Report};
use maftia_node::lost::Lost;
use maftia_node::production;
use maftia_node::server::{Inspected, ServerConfig};
use serde_json::json;
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
    let Setting { home, lock: _lock, mut config, members, notary } = setting;
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
    production::serve(config, home.group.clone(), home.keyring, members, notary)
        .map_err(|error| Failure::because(error.to_string()))?;
    eprintln!("repair: done. Start it: maftia server --home {}", home.folder.display());
    Ok(())
}

/// Sets the journal aside and declares it lost, with a number drawn now: one that stood there from
/// before may have come with a backup, and be used up.
pub(crate) fn give_up(home: &Path, config: &ServerConfig) -> Result<(), Failure> {
    if !config.begun.exists() {
        // From here on, whatever crashes: there was a journal.
        let noted = Begun::at(&config.begun).note(0);
        noted.map_err(|error| Failure::file(&config.begun, "cannot be written", &error))?;
    }
    if let Some(aside) = set_aside(home)? {
        eprintln!("repair: the journal is now {}", aside.display());
    }
    let declared = Lost::at(&config.lost).declare(Nonce(Digest(rand::random())));
    declared.map_err(|error| Failure::file(&config.lost, "cannot be written", &error))
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

/// Moves the journal out of the way, for whoever wants to know what happened to it. If it is a file
/// system of its own it stays where it is, and what is in it moves to a folder inside.
fn set_aside(home: &Path) -> Result<Option<PathBuf>, Failure> {
    let journal = home.join(JOURNAL);
    if !journal.exists() {
        return Ok(None);
    }
    let free = |stem: PathBuf| {
        let name = |number: u32| stem.with_extension(format!("aside-{number}"));
        (1..).map(name).find(|aside| !aside.exists()).expect("numbers do not end")
    };
    let aside = free(journal.clone());
    let moved = match fs::rename(&journal, &aside) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let aside = free(journal.join(JOURNAL));
            empty_into(&journal, &aside).map(|()| aside)
        }
        moved => moved.and_then(|()| File::open(home)?.sync_all()).map(|()| aside),
    };
    let moved = moved.map_err(|error| Failure::file(&journal, "cannot be set aside", &error))?;
    Ok(Some(moved))
}

/// Moves what is in `journal` to the new folder `aside` in it. If that is interrupted, what is left
/// is no sound journal, and the next repair goes on.
fn empty_into(journal: &Path, aside: &Path) -> io::Result<()> {
    let entries: Vec<_> = fs::read_dir(journal)?.collect::<io::Result<_>>()?;
    fs::create_dir(aside)?;
    for entry in entries {
        let name = entry.file_name();
        let stem = format!("{JOURNAL}.aside-");
        // A file system keeps its own folder of what it found; earlier journals stay as well.
        if name != "lost+found" && !name.to_string_lossy().starts_with(&stem) {
            fs::rename(entry.path(), aside.join(name))?;
        }
    }
    File::open(aside)?.sync_all()?;
    File::open(journal)?.sync_all()
}
