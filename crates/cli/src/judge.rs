//! The judge: the system's `openssl`, which knows nothing of us.

use crate::Failure;
use openssl::asn1::Asn1Time;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// The same time, as this program understands it.
    pub instant: SystemTime,
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
    let time = field("Time stamp:")?;
    let instant = instant(&time)
        .ok_or_else(|| Failure::because(format!("openssl shows a time that is none: {time}")))?;
    Ok(Described { serial: field("Serial number:")?, time, instant })
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a time like `Nov 21 14:56:13.151812 2026 GMT`; the fraction may be missing.
fn instant(time: &str) -> Option<SystemTime> {
    let parts: Vec<&str> = time.split_whitespace().collect();
    let &[month, day, clock, year, "GMT"] = parts.as_slice() else { return None };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let day: u8 = day.parse().ok()?;
    let clock = clock.replace(':', "");
    let whole = Asn1Time::from_str(&format!("{year}{month:02}{day:02}{clock}Z")).ok()?;
    let since_epoch = Asn1Time::from_unix(0).ok()?.diff(&whole).ok()?;
    let seconds = i64::from(since_epoch.days) * 86_400 + i64::from(since_epoch.secs);
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    let whole = Duration::from_secs(u64::try_from(seconds).ok()?);
    Some(UNIX_EPOCH + whole + Duration::from_secs_f64(fraction))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_openssl_prints_it() {
        let micros = |time| Some(instant(time)?.duration_since(UNIX_EPOCH).ok()?.as_micros());
        assert_eq!(micros("Nov 21 14:56:13.151812 2026 GMT"), Some(1_795_272_973_151_812));
        assert_eq!(micros("Jan  2 00:00:01 1970 GMT"), Some(86_401_000_000));
        assert_eq!(micros("Nov 21 14:56:13 2026"), None);
        assert_eq!(micros("Nov 41 14:56:13 2026 GMT"), None);
    }
}
