//! Starts a program in another place: another network name space, user, processor, with fewer
//! rights.
//!
//! The launcher starts itself with this command, which then becomes the program: between the two a
//! single thread gives up right after right, and no code has to run between `fork` and `exec`.

use crate::Fatal;
use crate::args::Arguments;
use crate::config::User;
use crate::confine::{every_capability, no_clone3_filter, payload_filter};
use crate::probe::probe;
use rustix::process::{
    DumpableBehavior, Gid, Signal, Uid, getppid, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, CpuSet, LinkNameSpaceType, capabilities,
    configure_capability_in_ambient_set, move_into_link_name_space,
    remove_capability_from_bounding_set, sched_setaffinity, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use seccompiler::apply_filter;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// This program, whatever became of its file, and whoever may look into its folder.
pub(crate) const SELF: &str = "/proc/self/exe";

/// What the daemon gets on its way in, and gives up as soon as it has used it.
const DAEMON_CAPABILITIES: [CapabilitySet; 3] =
    [CapabilitySet::SYS_NICE, CapabilitySet::IPC_LOCK, CapabilitySet::SETPCAP];

/// Where and as whom a program is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// The network name space, as a path.
    pub(crate) net: Option<PathBuf>,
    /// The user; none: root stays root.
    pub(crate) user: Option<User>,
    /// The one processor that it runs on at first.
    pub(crate) processor: Option<usize>,
    /// The control group, as the file that lists its processes.
    pub(crate) group: Option<PathBuf>,
    /// The rights are the daemon's.
    pub(crate) daemon: bool,
    /// The rights are the payload's: none, for ever.
    pub(crate) closed: bool,
    /// Which signal it gets when its parent ends, if not the one that nobody survives.
    pub(crate) gently: bool,
    /// The program is our own test of the barriers, which does not begin as a new program: while
    /// one begins, others of its user could look into it, and write to its pipe.
    pub(crate) probe: bool,
}

impl Entry {
    /// The command that starts a program there.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, program: &[S]) -> Command {
        let mut command = Command::new(SELF);
        command.arg("enter").arg("--parent").arg(std::process::id().to_string());
        if let Some(net) = &self.net {
            command.arg("--net").arg(net);
        }
        if let Some(User { uid, gid }) = self.user {
            command.arg("--uid").arg(uid.to_string()).arg("--gid").arg(gid.to_string());
        }
        if let Some(processor) = self.processor {
            command.arg("--processor").arg(processor.to_string());
        }
        if let Some(group) = &self.group {
            command.arg("--group").arg(group);
        }
        for (wanted, name) in [
            (self.daemon, "--daemon"),
            (self.closed, "--closed"),
            (self.gently, "--gently"),
            (self.probe, "--probe"),
        ] {
            if wanted {
                command.arg(name);
            }
        }
        command.arg("--").args(program);
        command
    }
}

/// Becomes the program that the command line names.
pub fn enter(mut arguments: Arguments) -> Result<(), Fatal> {
    let parent: Option<i32> = arguments.parsed("--parent")?;
    let uid: Option<u32> = arguments.parsed("--uid")?;
    let gid: Option<u32> = arguments.parsed("--gid")?;
    let entry = Entry {
        net: arguments.find("--net")?.map(PathBuf::from),
        user: uid.zip(gid).map(|(uid, gid)| User { uid, gid }),
        processor: arguments.parsed("--processor")?,
        group: arguments.find("--group")?.map(PathBuf::from),
        daemon: arguments.flag("--daemon"),
        closed: arguments.flag("--closed"),
        gently: arguments.flag("--gently"),
        probe: arguments.flag("--probe"),
    };
    let program = arguments.finish()?;
    // The launcher blocks the signals that it reads as events; what it starts must not.
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(|error| Fatal(format!("cannot unblock signals: {error}")))?;
    place(&entry)?;
    if let Some(user) = entry.user {
        become_user(user, entry.daemon)?;
    }
    if entry.probe {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(Fatal::of("become undumpable"))?;
    }
    if entry.closed {
        close()?;
    }
    let signal = if entry.gently { Signal::TERM } else { Signal::KILL };
    set_parent_process_death_signal(Some(signal))
        .map_err(Fatal::of("ask to end with the launcher"))?;
    // A parent that ended before that was asked for is noticed here.
    if let Some(parent) = parent
        && getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent)
    {
        return Err(Fatal("the launcher has ended".into()));
    }
    if entry.probe {
        return probe(Arguments::new(program.into_iter()));
    }
    let Some((first, rest)) = program.split_first() else {
        return Err(Fatal("a program is wanted behind --".into()));
    };
    let error = Command::new(first).args(rest).exec();
    Err(Fatal(format!("cannot start {}: {error}", OsString::from(first).to_string_lossy())))
}

/// Goes to the control group, the processor and the name space.
fn place(entry: &Entry) -> Result<(), Fatal> {
    if let Some(group) = &entry.group {
        std::fs::write(group, "0").map_err(|error| Fatal::file("join the group", group, &error))?;
    }
    if let Some(processor) = entry.processor {
        sched_setaffinity(None, &only(processor)).map_err(Fatal::of("go to the processor"))?;
    }
    if let Some(net) = &entry.net {
        let file = File::open(net).map_err(|error| Fatal::file("open", net, &error))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Fatal::of("go to the network name space"))?;
    }
    Ok(())
}

/// The set with this processor only.
pub(crate) fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor % CpuSet::MAX_CPU);
    set
}

/// Gives up root, and with it every capability, but for those of the daemon.
fn become_user(User { uid, gid }: User, daemon: bool) -> Result<(), Fatal> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if !daemon {
        for capability in every_capability() {
            // A capability that this kernel does not know cannot be dropped, and need not be.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    set_thread_groups(&[]).map_err(Fatal::of("leave all groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(Fatal::of("change the group"))?;
    set_keep_capabilities(daemon).map_err(Fatal::of("keep capabilities"))?;
    set_thread_res_uid(uid, uid, uid).map_err(Fatal::of("change the user"))?;
    // What the launcher itself lacks will be missing as a barrier, which the daemon names.
    let own = capabilities(None).map_err(Fatal::of("ask for capabilities"))?.permitted;
    let kept = DAEMON_CAPABILITIES.into_iter().filter(|one| daemon && own.contains(*one));
    let kept_set = kept.clone().fold(CapabilitySet::empty(), |set, one| set | one);
    let sets = CapabilitySets { effective: kept_set, permitted: kept_set, inheritable: kept_set };
    set_capabilities(None, sets).map_err(Fatal::of("drop capabilities"))?;
    for capability in kept {
        configure_capability_in_ambient_set(capability, true)
            .map_err(Fatal::of("hand capabilities to the daemon"))?;
    }
    Ok(())
}

/// No way back to more rights, and none to a name space of its own.
fn close() -> Result<(), Fatal> {
    set_no_new_privs(true).map_err(Fatal::of("give up new privileges"))?;
    for filter in [payload_filter()?, no_clone3_filter()?] {
        apply_filter(&filter)
            .map_err(|error| Fatal(format!("cannot filter system calls: {error}")))?;
    }
    Ok(())
}
