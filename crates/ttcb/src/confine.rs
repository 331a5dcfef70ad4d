//! How the daemon shuts itself in, step by step, each step named after the barrier that it is.
//!
//! The order matters: what a later step forbids, the earlier ones need. Nothing here is undone.

use crate::Fatal;
use crate::barriers::{Barrier, Report, State};
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::libc;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, dumpable_behavior, getuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, SecureComputingMode, capabilities,
    capability_is_in_bounding_set, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, secure_computing_mode, set_capabilities, set_no_new_privs,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Takes every step. What the kernel refuses is a barrier that is missing, and the report says so;
/// only what leaves it unclear where the daemon stands is fatal.
pub(crate) fn shut_in(priority: u8, user: u32, report: &mut Report) -> Result<(), Fatal> {
    let uid = getuid().as_raw();
    report.note(Barrier::OwnUser, State::of(uid == user && uid != 0));
    report.note(Barrier::RealTime, State::of(real_time(priority)));
    report.note(Barrier::LockedMemory, State::of(lock_memory()));
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Fatal::of("become undumpable"))?;
    drop_capabilities()?;
    set_no_new_privs(true).map_err(Fatal::of("give up new privileges"))?;
    report.note(Barrier::FileSystem, State::of(close_files()));
    apply_filter(&daemon_filter()?)
        .map_err(|error| Fatal(format!("cannot filter system calls: {error}")))?;
    look_at_self(report);
    Ok(())
}

/// What the daemon can ask the kernel about itself at any time.
pub(crate) fn look_at_self(report: &mut Report) {
    let undumpable = dumpable_behavior().is_ok_and(|is| is == DumpableBehavior::NotDumpable);
    report.note(Barrier::Undumpable, State::of(undumpable));
    report.note(Barrier::Capabilities, State::of(has_no_capabilities()));
    report.note(Barrier::NoNewPrivileges, State::of(no_new_privs().unwrap_or(false)));
    let filtered = secure_computing_mode().is_ok_and(|mode| mode == SecureComputingMode::Filter);
    report.note(Barrier::SystemCalls, State::of(filtered));
}

/// Asks for SCHED_FIFO, which needs CAP_SYS_NICE, and in a control group of its own a budget in
/// `cpu.rt_runtime_us`.
pub(crate) fn real_time(priority: u8) -> bool {
    let Ok(priority) = ThreadPriorityValue::try_from(priority) else { return false };
    if u8::from(priority) == 0 {
        return false;
    }
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriority::Crossplatform(priority);
    set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok()
}

/// How much of the stack is there before it is locked: once the right to lock is dropped, it could
/// not grow beyond the limit of its user.
const STACK_BYTES: usize = 512 * 1024;

/// Locks what is there. What comes later would be refused beyond the user's limit, which ends the
/// process, so nothing is asked for it; the loop asks for no memory.
fn lock_memory() -> bool {
    grow_stack();
    mlockall(MlockAllFlags::CURRENT).is_ok()
}

/// Has the stack grow. As a part of its caller it would only move the caller's own frame down, and
/// what is called next would be below what has grown.
#[inline(never)]
fn grow_stack() {
    let stack = [1u8; STACK_BYTES];
    std::hint::black_box(&stack);
}

/// Empties all sets, the bounding set too if that is permitted.
pub(crate) fn drop_capabilities() -> Result<(), Fatal> {
    clear_ambient_capability_set().map_err(Fatal::of("drop the ambient capabilities"))?;
    for capability in every_capability() {
        // Refused without CAP_SETPCAP: then the barrier is reported as missing.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(Fatal::of("drop the capabilities"))
}

fn has_no_capabilities() -> bool {
    let none = CapabilitySet::empty();
    let empty = capabilities(None).is_ok_and(|sets| {
        sets.effective == none && sets.permitted == none && sets.inheritable == none
    });
    empty && every_capability().all(|one| !capability_is_in_bounding_set(one).unwrap_or(false))
}

/// Each capability that a kernel of today knows, and some more.
pub(crate) fn every_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..48).map(|bit| CapabilitySet::from_bits_retain(1 << bit))
}

/// Landlock: no file, no TCP, no signal to anybody outside; then tries to open a folder.
fn close_files() -> bool {
    let abi = ABI::V6;
    let enforced = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self());
    let enforced = enforced.is_ok_and(|status| status.ruleset == RulesetStatus::FullyEnforced);
    enforced && std::fs::read_dir("/").is_err()
}

/// The daemon's filter: what its loop needs, and how it may end. All else kills it.
fn daemon_filter() -> Result<BpfProgram, Fatal> {
    let mut rules = BTreeMap::new();
    for call in ALLOWED {
        rules.insert(*call, Vec::new());
    }
    // The allocator may ask for memory, but not for memory that can be executed.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![masked(2, libc::PROT_EXEC as u64, 0)?]);
    }
    // Only questions about itself, none of which changes anything.
    let asked = [libc::PR_GET_DUMPABLE, libc::PR_GET_NO_NEW_PRIVS, libc::PR_GET_SECCOMP];
    let asked = asked.into_iter().chain([libc::PR_CAPBSET_READ]);
    let asked: Result<Vec<_>, Fatal> = asked.map(|what| equal(0, what as u64)).collect();
    rules.insert(libc::SYS_prctl, asked?);
    // With debug assertions the standard library asks whether what it closes is open.
    rules.insert(libc::SYS_fcntl, vec![equal(1, libc::F_GETFD as u64)?]);
    compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

const ALLOWED: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_close,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_capget,
    libc::SYS_write,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The payload's filter: everything but user name spaces, in which it would have every capability
/// and with that much more of the kernel to attack.
pub(crate) fn payload_filter() -> Result<BpfProgram, Fatal> {
    let user = libc::CLONE_NEWUSER as u64;
    let mut rules = BTreeMap::new();
    for call in [libc::SYS_unshare, libc::SYS_clone] {
        rules.insert(call, vec![masked(0, user, user)?]);
    }
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// The flags of clone3 are in memory, where a filter cannot look: it is said not to exist, and
/// libraries then use clone.
pub(crate) fn no_clone3_filter() -> Result<BpfProgram, Fatal> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Fatal> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(filter_fault)?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(filter_fault)?;
    filter.try_into().map_err(filter_fault)
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, Fatal> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, Fatal> {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Fatal> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(filter_fault)
}

fn filter_fault(error: impl std::fmt::Display) -> Fatal {
    Fatal(format!("cannot make a filter of system calls: {error}"))
}
