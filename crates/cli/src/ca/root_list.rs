//! The root's revocation list: which of the certificates that it has signed are not to be believed
//! any more. Its custodians sign it: [`super::proposal`].

use super::proposal::{Kind, write_new};
use super::{ROOT, ROOT_LIST, authority};
use crate::Failure;
use crate::args::ProposeRootList;
use crate::deal::seconds_now;
use crate::home::read;
use maftia_base::wire::Wire;
use maftia_services::x509::{Issuer, Reason, Revoked, Serial, Unsigned};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::x509::{X509, X509Crl, X509Ref, X509RevokedRef};
use std::fmt::Write;
use std::path::Path;

/// For how many days a list is good, if nobody says otherwise.
pub const DAYS: u64 = 365;

const DAY: u64 = 86_400;

/// Writes what the next list is to be: that of before, and more.
pub(super) fn propose(args: &ProposeRootList) -> Result<(), Failure> {
    if !(1..=3650).contains(&args.days) {
        return Err(Failure::because(format!("--days {}: right would be 1 to 3650", args.days)));
    }
    let root = authority::certificate(&args.home.join(ROOT))?;
    let now = seconds_now()?;
    let mut revoked = listed(&args.home.join(ROOT_LIST), &root)?;
    for path in &args.revoke {
        revoked.push(Revoked {
            serial: serial(path, &root)?,
            at: now,
            reason: Reason::Unspecified,
        });
    }
    let proposal = unsigned(&root, now, args.days, &revoked)?;
    write_new(&args.out, false, &proposal.to_wire())?;
    eprintln!("{} is what the custodians are asked to sign:", args.out.display());
    print!("{}", Kind::List.describe(&args.out, &proposal)?);
    Ok(())
}

/// A list of this root. Its number is the time, so that the last one has the highest.
pub(super) fn unsigned(
    root: &[u8],
    now: u64,
    days: u64,
    revoked: &[Revoked],
) -> Result<Unsigned, Failure> {
    let list = Issuer::new(root).and_then(|root| root.crl(now, now, now + days * DAY, revoked));
    list.map_err(|error| Failure::because(format!("the root's revocation list: {error}")))
}

/// In PEM.
pub(super) fn to_pem(list: &[u8]) -> Result<Vec<u8>, Failure> {
    let pem = X509Crl::from_der(list).and_then(|list| list.to_pem());
    pem.map_err(|error| Failure::because(error.to_string()))
}

/// What the present list has.
fn listed(path: &Path, root: &[u8]) -> Result<Vec<Revoked>, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::file(path, "is refused", &error);
    let list = X509Crl::from_pem(&read(path)?).map_err(|error| refused(&error))?;
    let key = X509::from_der(root).and_then(|root| root.public_key());
    if !key.and_then(|key| list.verify(&key)).map_err(|error| refused(&error))? {
        return Err(refused(&"the root has not signed it"));
    }
    let entries = list.get_revoked().into_iter().flatten();
    entries.map(|entry| entry_of(entry).ok_or_else(|| refused(&"it is no list of ours"))).collect()
}

fn entry_of(entry: &X509RevokedRef) -> Option<Revoked> {
    let number = entry.serial_number().to_bn().ok()?.to_vec_padded(16).ok()?;
    let serial = Serial::new(number.try_into().ok()?)?;
    let at = seconds(entry.revocation_date()).ok()?;
    Some(Revoked { serial, at, reason: Reason::Unspecified })
}

/// Since 1970-01-01 UTC.
fn seconds(time: &Asn1TimeRef) -> Result<u64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok((i64::from(since.days) * DAY as i64 + i64::from(since.secs)).unsigned_abs())
}

/// The number of a certificate that the root has signed.
fn serial(path: &Path, root: &[u8]) -> Result<Serial, Failure> {
    let certificate = authority::certificate(path)?;
    let is_the_roots = |certificate: &X509| {
        let root = X509::from_der(root)?;
        certificate.verify(&*root.public_key()?)
    };
    let signed = X509::from_der(&certificate).and_then(|certificate| is_the_roots(&certificate));
    let serial = Serial::of_certificate(&certificate);
    match (signed, serial) {
        (Ok(true), Some(serial)) => Ok(serial),
        _ => {
            Err(Failure::file(path, "is refused", &"it is no certificate that the root has signed"))
        }
    }
}

/// Is it to be a revocation list of this root?
pub(super) fn is_of(proposal: &Unsigned, root: &X509Ref) -> bool {
    shown(proposal).is_ok_and(|list| {
        let order = list.issuer_name().try_cmp(root.subject_name());
        matches!(order, Ok(std::cmp::Ordering::Equal))
    })
}

/// As it will be, but for the signature.
fn shown(proposal: &Unsigned) -> Result<X509Crl, ErrorStack> {
    X509Crl::from_der(&proposal.finish(&[1]))
}

/// What the list will say.
pub(super) fn describe(proposal: &Unsigned) -> Result<String, ErrorStack> {
    let list = shown(proposal)?;
    let mut text = String::from("Certificate Revocation List:\n");
    let mut line = |what: &str, said: String| {
        writeln!(text, "    {what}: {said}").expect("text takes all");
    };
    for entry in list.issuer_name().entries() {
        line("Issuer", entry.data().to_string()?);
    }
    line("Last Update", list.last_update().to_string());
    line("Next Update", list.next_update().map(ToString::to_string).unwrap_or_default());
    for entry in list.get_revoked().into_iter().flatten() {
        let serial = entry.serial_number().to_bn()?.to_hex_str()?.to_string();
        line("Revoked", format!("{serial} since {}", entry.revocation_date()));
    }
    Ok(text)
}
