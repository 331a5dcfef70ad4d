//! The judge: the system's `openssl`, which knows nothing of us.

use crate::Failure;
use std::path::Path;
use std::process::{Command, Output};

/// Is it there, and which version?
pub fn version() -> Result<String, Failure> {
    let output = run(&["version"])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes a time-stamp query for `data` to `query`, with a nonce, asking for the certificate.
pub fn make_query(data: &Path, query: &Path, hash: &str) -> Result<(), Failure> {
    let (data, query) = (data.to_string_lossy(), query.to_string_lossy());
    run(&["ts", "-query", "-data", &data, hash, "-cert", "-out", &query]).map(|_| ())
}

/// Verifies `reply` against the query and against the data itself.
pub fn verify(reply: &Path, query: &Path, data: &Path, authority: &Path) -> Result<(), Failure> {
    let (reply, query) = (reply.to_string_lossy(), query.to_string_lossy());
    let (data, authority) = (data.to_string_lossy(), authority.to_string_lossy());
    for against in [["-queryfile", &query], ["-data", &data]] {
        let output =
            run(&["ts", "-verify", against[0], against[1], "-in", &reply, "-CAfile", &authority])?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("Verification: OK") {
            return Err(Failure::because(format!("openssl does not accept {reply}: {said}")));
        }
    }
    Ok(())
}

/// What a reply says, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The serial number, as OpenSSL prints it.
    pub serial: String,
    /// The time, as OpenSSL prints it.
    pub time: String,
}

/// Reads serial number and time.
pub fn describe(reply: &Path) -> Result<Described, Failure> {
    let output = run(&["ts", "-reply", "-in", &reply.to_string_lossy(), "-text"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| Failure::because(format!("openssl shows no {name:?} in:\n{text}")))
    };
    Ok(Described { serial: field("Serial number:")?, time: field("Time stamp:")? })
}

fn run(arguments: &[&str]) -> Result<Output, Failure> {
    let output = Command::new("openssl").args(arguments).output().map_err(|error| {
        Failure::because(format!(
            "`openssl` cannot be run: {error}. It is the independent judge: apt-get install openssl"
        ))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let command = arguments.join(" ");
        return Err(Failure::because(format!("openssl {command}: {said}")));
    }
    Ok(output)
}
