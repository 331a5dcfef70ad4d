//! Servers that lose their journals, their disks, their clocks or their time, and come back.

use crate::support::{Load, Town, wait_until};
use crate::{maftia, running};
use maftia::home::JOURNAL;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

fn repair(town: &Town, index: usize, more: &[&str]) -> Output {
    let home = town.home(index);
    let mut command = Command::new(maftia());
    command.args(["repair", "--home", home.to_str().unwrap()]).args(more);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn standing(town: &Town, index: usize) -> String {
    town.status(index)["standing"].as_str().unwrap().into()
}

fn position(town: &Town, index: usize) -> u64 {
    town.status(index)["progress"]["position"].as_u64().unwrap()
}

/// With server 0 down, nothing is ordered without `index`.
fn carries_the_group(town: &mut Town, index: usize, load: &Load) {
    assert_ne!(index, 0);
    town.kill([0]);
    load.wait_for(200);
    town.start(0).unwrap();
    let reached = position(town, index);
    wait_until("the first is back", || position(town, 0) >= reached);
}

#[test]
fn a_wiped_server_is_brought_back_under_load_by_one_command() {
    let mut town = running(4);
    let load = Load::start(&town, 4, 8);
    load.wait_for(300);
    town.kill([3]);
    fs::remove_dir_all(town.home(3).join(JOURNAL)).unwrap();
    let refused = town.start(3).unwrap_err().to_string();
    assert!(!refused.is_empty());
    let log = fs::read_to_string(town.log(3)).unwrap();
    assert!(log.contains("maftia repair"), "{log}");
    let before = load.answered();
    let repaired = repair(&town, 3, &[]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    assert!(load.answered() > before, "the others went on meanwhile");
    println!("{} requests were answered during the repair", load.answered() - before);
    town.start(3).unwrap();
    wait_until("it is a member", || standing(&town, 3) == "member");
    assert!(town.status(3)["progress"]["epoch"].as_u64().unwrap() >= 1);
    carries_the_group(&mut town, 3, &load);
    load.settle();
    let suspected = |index: usize| town.status(index)["suspected"].clone();
    for index in 0..4 {
        assert_eq!(suspected(index), serde_json::json!([]), "of server {index}");
    }
    town.stop_all().unwrap();
}

/// The files of a journal that hold records, the largest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.metadata().unwrap().len()));
    files
}

#[test]
fn a_rotten_journal_is_not_served_from_and_the_command_that_is_named_repairs_it() {
    let mut town = running(4);
    let load = Load::start(&town, 2, 8);
    load.wait_for(300);
    town.stop(2).unwrap();
    let sound = repair(&town, 2, &["--check"]);
    assert!(sound.status.success() && said(&sound).contains("sound"), "{}", said(&sound));
    let victim = files(&town.home(2).join(JOURNAL)).remove(0);
    let mut bytes = fs::read(&victim).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    fs::write(&victim, bytes).unwrap();
    let checked = repair(&town, 2, &["--check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
    assert!(said(&checked).contains("is damaged"), "{}", said(&checked));
    assert!(town.start(2).is_err());
    let log = fs::read_to_string(town.log(2)).unwrap();
    assert!(log.contains("is damaged") && log.contains("maftia repair"), "{log}");
    let repaired = repair(&town, 2, &[]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    assert!(town.home(2).join(format!("{JOURNAL}.aside-1")).exists(), "nothing is deleted");
    town.start(2).unwrap();
    carries_the_group(&mut town, 2, &load);
    load.settle();
    town.stop_all().unwrap();
}

#[test]
fn an_older_copy_of_a_journal_is_refused() {
    let mut town = running(4);
    let load = Load::start(&town, 2, 4);
    load.wait_for(50);
    town.stop(1).unwrap();
    let (journal, copy) = (town.home(1).join(JOURNAL), town.home(1).join("copy"));
    let copied = Command::new("cp").arg("-a").args([&journal, &copy]).status().unwrap();
    assert!(copied.success());
    town.start(1).unwrap();
    load.wait_for(50);
    town.stop(1).unwrap();
    fs::remove_dir_all(&journal).unwrap();
    fs::rename(&copy, &journal).unwrap();
    assert!(town.start(1).is_err());
    let log = fs::read_to_string(town.log(1)).unwrap();
    assert!(log.contains("older copy") && log.contains("maftia repair"), "{log}");
    let repaired = repair(&town, 1, &[]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    town.start(1).unwrap();
    carries_the_group(&mut town, 1, &load);
    load.settle();
    town.stop_all().unwrap();
}

#[test]
fn a_process_that_is_stopped_for_long_comes_back_by_itself_and_says_so() {
    let mut town = running(4);
    let load = Load::start(&town, 4, 8);
    load.wait_for(100);
    let send = |signal| {
        let pid = i32::try_from(town.server(1).unwrap().pid().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    };
    send(Signal::STOP);
    std::thread::sleep(Duration::from_secs(12));
    send(Signal::CONT);
    wait_until("it says that it was stopped", || {
        town.status(1)["troubles"].to_string().contains("did not run for")
    });
    carries_the_group(&mut town, 1, &load);
    load.settle();
    town.stop_all().unwrap();
}

/// A small file system of its own, in memory.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one over `folder`. Needs the rights of root, as continuous integration has.
    fn mount(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder);
        assert!(
            mount.status().unwrap().success(),
            "this test mounts a file system: run it as root"
        );
        Self(folder.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_server_whose_disk_is_full_waits_for_room_and_says_so() {
    let mut town = Town::deal(maftia(), 4);
    let disk = Disk::mount(&town.home(2).join(JOURNAL), "900m");
    town.start_all().unwrap();
    let load = Load::start(&town, 4, 8);
    load.wait_for(100);
    let filler = disk.0.join("filler");
    let filled = Command::new("fallocate").args(["-l", "700m"]).arg(&filler).status().unwrap();
    assert!(filled.success());
    wait_until("it says that there is no room", || {
        town.status(2)["troubles"].to_string().contains("no room on the disk")
    });
    load.wait_for(500);
    let held = position(&town, 2);
    load.wait_for(200);
    assert_eq!(position(&town, 2), held, "it hears nothing and writes nothing");
    fs::remove_file(&filler).unwrap();
    wait_until("it says that there is room", || {
        town.status(2)["troubles"].to_string().contains("room on the disk again")
    });
    carries_the_group(&mut town, 2, &load);
    // A journal on a disk of its own cannot be moved away as a whole.
    town.stop(2).unwrap();
    let repaired = repair(&town, 2, &["--rejoin"]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    let aside = disk.0.join(format!("{JOURNAL}.aside-1"));
    assert!(fs::read_dir(aside).unwrap().count() > 0, "nothing is deleted");
    town.start(2).unwrap();
    carries_the_group(&mut town, 2, &load);
    load.settle();
    town.stop_all().unwrap();
}

#[test]
fn a_journal_that_cannot_be_written_is_told_in_a_sentence() {
    let mut town = Town::deal(maftia(), 4);
    let journal = town.home(1).join(JOURNAL);
    fs::write(&journal, "not a folder").unwrap();
    assert!(town.start(1).is_err());
    let log = fs::read_to_string(town.log(1)).unwrap();
    assert!(log.contains("It must be a folder") && !log.contains("panicked"), "{log}");
    let checked = repair(&town, 1, &["--check"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(said(&checked).contains("It must be a folder"), "{}", said(&checked));
    fs::remove_file(&journal).unwrap();
    town.start_all().unwrap();
    town.stop_all().unwrap();
}

#[test]
fn a_journal_whose_files_rot_from_their_first_bytes_on_is_repaired_too() {
    let mut town = running(4);
    let load = Load::start(&town, 2, 4);
    load.wait_for(50);
    town.stop(2).unwrap();
    let mut guards = files(&town.home(2).join(JOURNAL));
    guards.retain(|file| file.to_string_lossy().contains("guard"));
    let guard = guards.remove(0);
    let mut bytes = fs::read(&guard).unwrap();
    bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x10);
    fs::write(&guard, bytes).unwrap();
    let checked = repair(&town, 2, &["--check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
    let repaired = repair(&town, 2, &[]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    town.start(2).unwrap();
    carries_the_group(&mut town, 2, &load);
    load.settle();
    town.stop_all().unwrap();
}
