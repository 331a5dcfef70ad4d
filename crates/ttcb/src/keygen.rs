//! Makes the key of a key guard, or tells that of one there is.

use crate::Fatal;
use crate::args::Arguments;
use crate::config::Config;
use crate::enter::{Entry, SELF};
use crate::guard::Way;
use crate::settings::{hex, parse_hex};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

/// Runs the command. Root makes the key as the daemon's user, whose alone its files have to be.
pub fn run(mut arguments: Arguments) -> Result<u8, Fatal> {
    let file = arguments.path("--config")?;
    let existing = arguments.flag("--existing");
    let own_user = arguments.flag("--own-user");
    arguments.finish()?;
    if rustix::process::getuid().is_root() && !own_user {
        println!("{}", hex(&as_daemon(&file, existing)?));
        return Ok(0);
    }
    let (guard, _) = Config::load_guard(&file)?;
    let way = if existing { Way::Open } else { Way::Make };
    println!("{}", hex(&guard.reach(way)?.public_key()));
    Ok(0)
}

/// The public key of a guard that is made or opened as the user of its daemon.
pub(crate) fn as_daemon(file: &Path, existing: bool) -> Result<[u8; 32], Fatal> {
    let (_, user) = Config::load_guard(file)?;
    let entry = Entry { user: Some(user), ..Entry::default() };
    let mut program: Vec<&OsStr> =
        [SELF, "keygen", "--own-user", "--config"].map(OsStr::new).into();
    program.push(file.as_os_str());
    if existing {
        program.push(OsStr::new("--existing"));
    }
    let output = entry.command(&program).stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(|error| Fatal(format!("cannot start {SELF}: {error}")))?;
    let key = std::str::from_utf8(&output.stdout).ok().and_then(|text| parse_hex(text.trim()));
    key.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("maftia-ttcb: ");
        Fatal(format!("as user {}: {said}", user.uid))
    })
}
