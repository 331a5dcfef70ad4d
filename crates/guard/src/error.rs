//! Why a key guard refuses, and what would be right.

use std::path::PathBuf;
use thiserror::Error;

/// Why a key guard refuses.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The system refused something that has to do with a file.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that others can read or write, or that is somebody else's.
    #[error(
        "{} has mode {mode:03o} and user {user}: it has to be mode 600 and of user {expected}",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Whose it is.
        user: u32,
        /// Who this is.
        expected: u32,
    },
    /// Not a file of this kind, version and size.
    #[error("{} is no {what}: give the path of one that this version made", path.display())]
    NotThis {
        /// The file.
        path: PathBuf,
        /// What was expected.
        what: &'static str,
    },
    /// There is one already.
    #[error("{} exists: a guard is made once; remove it only if no host knows its key",
        path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Somebody has it open. (G3)
    #[error("another process has {} open: a guard serves one trusted component", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A secret that protects nothing.
    #[error("the {what} has {len} bytes: it takes at least {min} and at most {max}")]
    UnfitSecret {
        /// Which secret.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it has to be.
        min: usize,
        /// How long it may be.
        max: usize,
    },
    /// The secret does not fit, or the file was altered; nobody can tell which.
    #[error(
        "{} does not open: the passphrase or key file is not its own, or the file was altered",
        path.display()
    )]
    WrongSecret {
        /// The file.
        path: PathBuf,
    },
    /// The guard's state is older than what it has given out.
    #[error(
        "{} counts {counter} boots and its high-water mark {mark}: it was rolled back; make a new \
         guard, and have every host's configuration name its key", path.display()
    )]
    RolledBack {
        /// The file.
        path: PathBuf,
        /// What it counts.
        counter: u64,
        /// What had been given out.
        mark: u64,
    },
    /// The mark is older than the guard's state.
    #[error(
        "{} counts {counter} boots and its high-water mark {} only {mark}: the mark was rolled \
         back; make a new guard, and have every host's configuration name its key",
        path.display(), mark_path.display()
    )]
    MarkRolledBack {
        /// The guard's file.
        path: PathBuf,
        /// What it counts.
        counter: u64,
        /// The file of the mark.
        mark_path: PathBuf,
        /// What it says.
        mark: u64,
    },
    /// The mark was altered, or belongs to another guard.
    #[error("the high-water mark {} is not this guard's: give the one made with it",
        path.display())]
    ForeignMark {
        /// The file of the mark.
        path: PathBuf,
    },
    /// The kernel gives no secret memory.
    #[error(
        "the kernel gives no secret memory ({0}): have it boot with secretmem.enable=1 and allow \
         memfd_secret, or allow ordinary memory explicitly"
    )]
    NoSecretMemory(std::io::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers ({0}): no key can be made")]
    NoRandomness(getrandom::Error),
    /// Nothing can be certified before a number was given out. (G1)
    #[error("no epoch has begun since the guard was opened: begin one before certifying keys")]
    NoEpoch,
    /// Keys with another number. (G1)
    #[error(
        "the keys are of epoch {asked}: only those of the current one, {current}, are certified"
    )]
    WrongEpoch {
        /// Whose they are.
        asked: u64,
        /// Whose they have to be.
        current: u64,
    },
    /// Other keys have this number. (G1)
    #[error("other keys were certified for epoch {epoch}: begin another epoch")]
    EpochUsed {
        /// Which.
        epoch: u64,
    },
    /// The counter cannot grow.
    #[error("the counter of boots is at its end: make a new guard")]
    Exhausted,
    /// A PIN that is not the right one.
    #[error("the PIN is wrong{}", tries(*.left))]
    WrongPin {
        /// How often it may be tried again, if the device says so.
        left: Option<u8>,
    },
    /// The device takes no PIN any more.
    #[error("the PIN is blocked, after too many wrong ones: unblock it, or make a new guard")]
    PinBlocked,
    /// The machine is not in the state that the key was sealed to.
    #[error(
        "the TPM does not release the key: PCRs {pcrs:?} are not as they were when it was sealed; \
         boot what was measured then, or seal the guard again"
    )]
    OtherMeasurements {
        /// Which registers the key is sealed to.
        pcrs: Vec<u8>,
    },
    /// A setting that no device of this kind can have.
    #[error("{back_end}: {what} is {found}: it has to be {right}")]
    Setting {
        /// Which back end.
        back_end: &'static str,
        /// Which setting.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        right: &'static str,
    },
    /// A device that is not there, or does not do what is asked.
    #[error("{back_end}: {doing}: {source}")]
    Device {
        /// Which back end.
        back_end: &'static str,
        /// What was being done.
        doing: &'static str,
        /// What its library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A device said something that cannot be. (G4)
    #[error("{back_end}: {problem}")]
    Implausible {
        /// Which back end.
        back_end: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

fn tries(left: Option<u8>) -> String {
    left.map(|left| format!(": {left} tries are left")).unwrap_or_default()
}
