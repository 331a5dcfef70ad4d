//! How a life is certified: by a process of its own, which asks the key guard and ends.
//!
//! # Rules
//! - **G1** The daemon starts the process as itself, before it shuts itself in, and goes on when
//!   it has ended. What a token's library or the TSS leaves behind (threads, which the daemon's
//!   filters would not bind; connections; a PIN in memory) is not in the process that serves.
//! - **G2** The process has no capabilities, and ends with the daemon.
//! - **G3** What it says is checked as if it were anybody's: the certificate has to be that of
//!   the guard whose key the configuration names for this host.

use crate::Fatal;
use crate::config::Config;
use crate::confine::drop_capabilities;
use crate::enter::SELF;
use crate::guard::Way;
use maftia_ttcb_api::wire::{Fixed, Reader, Writer};
use maftia_ttcb_api::{BootKeys, Seal};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the process says next is an answer.
const ANSWERED: u8 = 0;

/// What it says next is a sentence, and the last.
const REFUSED: u8 = 1;

/// The longest sentence that is listened to.
const SENTENCE_BYTES: u64 = 4096;

/// The process, before it has ended.
pub(crate) struct Certifier {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Certifier {
    /// Has a process open the guard that the configuration names. (G1)
    pub(crate) fn start(config: &Config) -> Result<Self, Fatal> {
        let trouble = |error| Fatal(format!("cannot start the key guard's process: {error}"));
        let mut command = Command::new(SELF);
        command.arg("certify").arg("--config").arg(&config.file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(trouble)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self { child, to, from }),
            _ => Err(Fatal("the key guard's process has no pipes".into())),
        }
    }

    /// The number of this life.
    pub(crate) fn begin_epoch(&mut self) -> Result<u64, Fatal> {
        self.answer().map(u64::from_le_bytes)
    }

    /// The guard's signature on the keys of this life; then the process has ended.
    pub(crate) fn certify(mut self, keys: &BootKeys) -> Result<Seal, Fatal> {
        let mut bytes = [0; BootKeys::SIZE];
        Writer::new(&mut bytes).put(keys);
        self.to.write_all(&bytes).map_err(|error| unheard(&error))?;
        let seal = self.answer()?;
        self.child.wait().map_err(|error| unheard(&error))?;
        Ok(seal)
    }

    fn answer<const N: usize>(&mut self) -> Result<[u8; N], Fatal> {
        let (mut kind, mut bytes) = ([0], [0; N]);
        self.from.read_exact(&mut kind).map_err(|error| unheard(&error))?;
        if kind == [ANSWERED] {
            self.from.read_exact(&mut bytes).map_err(|error| unheard(&error))?;
            return Ok(bytes);
        }
        let mut sentence = Vec::new();
        let from = self.from.by_ref().take(SENTENCE_BYTES);
        { from }.read_to_end(&mut sentence).map_err(|error| unheard(&error))?;
        Err(Fatal(String::from_utf8_lossy(&sentence).into_owned()))
    }
}

fn unheard(error: &dyn std::fmt::Display) -> Fatal {
    Fatal(format!("the key guard's process ended without an answer: {error}"))
}

/// What the process does.
pub fn run(config: &Config) -> Result<(), Fatal> {
    let mut out = std::io::stdout().lock();
    let told = match serve(config, &mut out) {
        Ok(()) => Ok(()),
        Err(Fatal(sentence)) => {
            out.write_all(&[REFUSED]).and_then(|()| out.write_all(sentence.as_bytes()))
        }
    };
    told.and_then(|()| out.flush()).map_err(|error| unheard(&error))
}

fn serve(config: &Config, out: &mut impl Write) -> Result<(), Fatal> {
    // (G2)
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(Fatal::of("ask to end with the daemon"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Fatal::of("become undumpable"))?;
    drop_capabilities()?;
    let mut guard = config.guard.reach(Way::Open)?;
    let refused = |error| Fatal(format!("the key guard \"{}\": {error}", config.guard.kind()));
    let mut answer = |bytes: &[u8]| {
        let said = out.write_all(&[ANSWERED]).and_then(|()| out.write_all(bytes));
        said.and_then(|()| out.flush()).map_err(|error| unheard(&error))
    };
    answer(&guard.begin_epoch().map_err(refused)?.to_le_bytes())?;
    let mut bytes = [0; BootKeys::SIZE];
    std::io::stdin().read_exact(&mut bytes).map_err(|error| unheard(&error))?;
    let keys = Reader::new(&bytes).take().map_err(|_| Fatal("these are no keys".into()))?;
    answer(&guard.certify(&keys).map_err(refused)?.seal)
}
