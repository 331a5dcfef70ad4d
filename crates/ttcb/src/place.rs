//! The places that the launcher makes: network name spaces, their interfaces, and control groups.
//!
//! A name space here has no name: it is held open by the launcher and lives in no folder, so that
//! it ends with those who use it, even if the launcher is killed.

use crate::Fatal;
use crate::config::{Attachment, Link};
use crate::enter::Entry;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A network name space.
#[derive(Debug)]
pub(crate) struct NetSpace {
    file: File,
    /// The outer ends of pairs, which are in the launcher's name space.
    outer: Vec<String>,
    /// The machine's interfaces that were moved in: how they are called in here, and outside.
    moved: Vec<(String, String)>,
}

impl NetSpace {
    /// Makes one, with its loopback up.
    pub(crate) fn make() -> Result<Self, Fatal> {
        let trouble = |error: &dyn std::fmt::Display| {
            Fatal(format!("cannot make a network name space: {error}"))
        };
        let here = File::open("/proc/self/ns/net").map_err(|error| trouble(&error))?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| trouble(&error))?;
        let made = File::open("/proc/self/ns/net").map_err(|error| trouble(&error));
        // Everything that follows would be done in the wrong place if this failed: give up.
        setns(here, CloneFlags::CLONE_NEWNET).map_err(|error| trouble(&error))?;
        let space = Self { file: made?, outer: Vec::new(), moved: Vec::new() };
        space.ip(&["link", "set", "lo", "up"])?;
        Ok(space)
    }

    /// As a path that processes of this user can open while the launcher lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Runs `ip` within.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<(), Fatal> {
        let program = [&["ip"], arguments].concat();
        finish(self.entry().command(&program), &program, None)
    }

    fn entry(&self) -> Entry {
        Entry { net: Some(self.path()), ..Entry::default() }
    }

    /// Gives it an interface of that name.
    pub(crate) fn attach(&mut self, name: &str, link: &Link) -> Result<(), Fatal> {
        let path = self.path();
        let path = path.to_string_lossy();
        match &link.at {
            Attachment::Interface(outer) => {
                ip(&["link", "set", outer, "netns", &path])?;
                self.moved.push((name.into(), outer.clone()));
                self.ip(&["link", "set", outer, "name", name])?;
            }
            Attachment::Bridge(bridge) => {
                // No other process has this number, and no name is used twice by one.
                let front: String = name.chars().take(1).collect();
                let outer = format!("mt{front}{}", std::process::id());
                let peer = ["peer", "name", name, "netns", &path];
                let add = [&["link", "add", &outer, "type", "veth"][..], &peer].concat();
                ip(&add)?;
                self.outer.push(outer.clone());
                ip(&["link", "set", &outer, "master", bridge, "up"])?;
            }
        }
        let address = format!("{}/{}", link.address, link.prefix);
        let mut add = vec!["address", "add", &address, "dev", name];
        if link.address.is_ipv6() {
            // Otherwise nothing can be bound to it for a second.
            add.push("nodad");
        }
        self.ip(&add)?;
        self.ip(&["link", "set", name, "up"])
    }

    /// Lets only one user send through an interface.
    pub(crate) fn only_user_sends(&self, interface: &str, uid: u32) -> Result<(), Fatal> {
        let rules = format!(
            "table inet maftia_ttcb {{\n chain out {{\n  type filter hook output priority 0\n  \
             oifname \"{interface}\" meta skuid != {uid} drop\n }}\n}}\n"
        );
        let program = ["nft", "-f", "-"];
        finish(self.entry().command(&program), &program, Some(&rules))
    }

    /// Removes the outer ends at once; the kernel would do it some time after the last use. Gives
    /// the machine's interfaces back, of which the kernel keeps only those that are hardware.
    fn remove(&mut self) {
        let here = format!("/proc/{}/ns/net", std::process::id());
        for (inner, outer) in std::mem::take(&mut self.moved) {
            let given_back = self
                .ip(&["link", "set", &inner, "down"])
                .and_then(|()| self.ip(&["link", "set", &inner, "name", &outer]))
                .and_then(|()| self.ip(&["link", "set", &outer, "netns", &here]));
            if let Err(error) = given_back {
                eprintln!("maftia-ttcb: cannot give back the interface {outer}: {error}");
            }
        }
        for outer in self.outer.drain(..) {
            // Gone already, if the name space is.
            let _ = ip(&["link", "delete", &outer]);
        }
    }
}

/// What could not be finished is removed, too.
impl Drop for NetSpace {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Runs `ip` in the launcher's own name space.
pub(crate) fn ip(arguments: &[&str]) -> Result<(), Fatal> {
    let mut command = Command::new("ip");
    command.args(arguments);
    finish(command, &[&["ip"], arguments].concat(), None)
}

/// Runs a program to its end, which has to be a good one.
fn finish(mut command: Command, program: &[&str], input: Option<&str>) -> Result<(), Fatal> {
    let shown = program.join(" ");
    let trouble = |error: &dyn std::fmt::Display| Fatal(format!("`{shown}`: {error}"));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| trouble(&error))?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A program that does not read says why when it ends.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| trouble(&error))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(trouble(&String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A control group that keeps its processes from one processor.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
}

/// The front of the names of our groups; behind it stands the launcher's number.
const FRONT: &str = "maftia-ttcb-";

impl Group {
    /// Makes one; `Err` says why there can be none.
    pub(crate) fn without(processor: usize) -> Result<Self, Fatal> {
        let (root, version) = hierarchy()?;
        remove_left_over(&root);
        let read = |name: &str| {
            let path = root.join(name);
            fs::read_to_string(&path).map_err(|error| Fatal::file("read", &path, &error))
        };
        let effective = match version {
            1 => ["cpuset.effective_cpus", "cpuset.effective_mems"],
            _ => ["cpuset.cpus.effective", "cpuset.mems.effective"],
        };
        let mut processors = parse_list(&read(effective[0])?);
        let memories = read(effective[1])?;
        if processors.len() < 2 {
            return Err(Fatal("there is only one processor".into()));
        }
        let before = processors.len();
        processors.retain(|one| *one != processor);
        if processors.len() == before {
            return Err(Fatal(format!("there is no processor {processor} to keep free")));
        }
        if version == 2 {
            let control = root.join("cgroup.subtree_control");
            write(&control, "+cpuset")?;
        }
        let group = Self { folder: root.join(format!("{FRONT}{}", std::process::id())) };
        fs::create_dir(&group.folder)
            .map_err(|error| Fatal::file("make the group", &group.folder, &error))?;
        let list: Vec<String> = processors.iter().map(usize::to_string).collect();
        write(&group.folder.join("cpuset.mems"), memories.trim())
            .and_then(|()| write(&group.folder.join("cpuset.cpus"), &list.join(",")))
            .inspect_err(|_| group.remove())?;
        Ok(group)
    }

    /// The file that lists its processes.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Ends whatever is left in it.
    pub(crate) fn kill(&self) {
        let text = fs::read_to_string(self.processes()).unwrap_or_default();
        for pid in text.lines().filter_map(|line| line.parse().ok()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended meanwhile.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Removes it, once its processes are gone.
    pub(crate) fn remove(&self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            self.kill();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("maftia-ttcb: cannot remove {}", self.folder.display());
    }
}

fn write(path: &Path, text: &str) -> Result<(), Fatal> {
    fs::write(path, text).map_err(|error| Fatal::file("write", path, &error))
}

/// Where groups of processors are, and of which version they are.
fn hierarchy() -> Result<(PathBuf, u8), Fatal> {
    let first = PathBuf::from("/sys/fs/cgroup/cpuset");
    if first.join("cpuset.cpus").exists() {
        return Ok((first, 1));
    }
    let second = PathBuf::from("/sys/fs/cgroup");
    let controllers = fs::read_to_string(second.join("cgroup.controllers")).unwrap_or_default();
    if controllers.split_whitespace().any(|one| one == "cpuset") {
        return Ok((second, 2));
    }
    Err(Fatal("the kernel offers no control groups for processors here".into()))
}

/// Removes the groups of launchers that were killed before they could.
fn remove_left_over(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(FRONT));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // One that still has processes stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Numbers as the kernel lists them, such as `0-2,5`.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_list("\n"), [0; 0]);
    }
}
