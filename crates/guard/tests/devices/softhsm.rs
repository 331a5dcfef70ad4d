//! A PKCS #11 token in software.
//!
//! Its library reads its configuration from the environment, so that a test with a token runs again
//! in a process of its own.

use crate::support::{again, need};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The token's library.
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The token's label.
pub(crate) const LABEL: &str = "maftia test";

/// The user's PIN.
pub(crate) const PIN: &str = "a pin of the user";

const FOLDER: &str = "MAFTIA_TEST_TOKEN";

/// The folder of this process's token, in a process that has one.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs a test again in a process that has a fresh token, whose files are handed over first.
pub(crate) fn again_with_a_token(test: &str, hand_over: impl FnOnce(&Path)) {
    need(&["softhsm2", "libsofthsm2"]);
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tokens")).unwrap();
    let configuration = folder.path().join("softhsm2.conf");
    let tokens = folder.path().join("tokens");
    let lines = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    fs::write(&configuration, lines).unwrap();
    let mut init = Command::new("softhsm2-util");
    init.args(["--init-token", "--free", "--label", LABEL, "--so-pin", "the officer's"]);
    init.args(["--pin", PIN]).env("SOFTHSM2_CONF", &configuration);
    assert!(init.output().unwrap().status.success());
    hand_over(folder.path());
    let mut start = Command::new("env");
    let assign = |name: &str, value: &Path| format!("{name}={}", value.display());
    start.arg(assign("SOFTHSM2_CONF", &configuration)).arg(assign(FOLDER, folder.path()));
    again(test, start);
}
