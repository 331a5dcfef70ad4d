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
use openssl::x509::{X509, X509Crl, X509CrlRef, X509Ref, X509RevokedRef};
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
    let proposal = unsigned(&root, (now, now + args.days * DAY), &revoked)?;
    write_new(&args.out, false, &proposal.to_wire())?;
    eprintln!("{} is what the custodians are asked to sign:", args.out.display());
    print!("{}", Kind::List.describe(&args.out, &proposal)?);
    Ok(())
}

/// A list of this root, from one time until another. Its number is the first of them, so that the
/// last list has the highest.
pub(super) fn unsigned(
    root: &[u8],
    (from, until): (u64, u64),
    revoked: &[Revoked],
) -> Result<Unsigned, Failure> {
    let list = Issuer::new(root).and_then(|root| root.crl(from, from, until, revoked));
    list.map_err(|error| Failure::because(format!("the root's revocation list: {error}")))
}

/// What a ceremony makes first: it has nothing.
pub(super) fn first(root: &[u8], now: u64) -> Result<Unsigned, Failure> {
    unsigned(root, (now, now + DAYS * DAY), &[])
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
    entries(&list).ok_or_else(|| refused(&"it is no list of ours"))
}

fn entries(list: &X509CrlRef) -> Option<Vec<Revoked>> {
    list.get_revoked().into_iter().flatten().map(entry_of).collect()
}

fn entry_of(entry: &X509RevokedRef) -> Option<Revoked> {
    let number = entry.serial_number().to_bn().ok()?.to_vec_padded(16).ok()?;
    let serial = Serial::new(number.try_into().ok()?)?;
    let at = seconds(entry.revocation_date())?;
    Some(Revoked { serial, at, reason: Reason::Unspecified })
}

/// Since 1970-01-01 UTC.
fn seconds(time: &Asn1TimeRef) -> Option<u64> {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time)).ok()?;
    u64::try_from(i64::from(since.days) * DAY as i64 + i64::from(since.secs)).ok()
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

/// Is it to be a revocation list of this root, with nothing in it that [`describe`] does not show?
/// A number that no later list can exceed, or an extension, would be signed unseen.
pub(super) fn is_of(proposal: &Unsigned, root: &X509Ref) -> bool {
    let as_shown = || {
        let list = shown(proposal).ok()?;
        let span = (seconds(list.last_update())?, seconds(list.next_update()?)?);
        unsigned(&root.to_der().ok()?, span, &entries(&list)?).ok()
    };
    as_shown().as_ref() == Some(proposal)
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

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_services::x509::{Authority, Subject, rsa_public_key};

    const SPAN: (u64, u64) = (1_800_000_000, 1_800_000_000 + DAY);

    /// A root whose signature nobody looks at.
    fn root(common_name: &str) -> Vec<u8> {
        let authority = Authority {
            subject: Subject { country: None, organization: "An example", common_name },
            serial: Serial::new([1; 16]).expect("positive"),
            public_key: &rsa_public_key(&[0xc5; 256], &[1, 0, 1]).expect("a key"),
            not_before: 1_700_000_000,
            not_after: 2_000_000_000,
            path_len: None,
            names: None,
        };
        authority.self_signed().expect("well-formed").finish(&[1; 256])
    }

    #[test]
    fn a_custodian_signs_no_list_that_has_more_than_he_is_shown() {
        let (root, other) = (root("Root"), root("Another root"));
        let root_certificate = X509::from_der(&root).expect("a certificate");
        let signs = |proposal: &Unsigned| is_of(proposal, &root_certificate);
        let serial = Serial::new([5; 16]).expect("positive");
        let entry = Revoked { serial, at: 1_790_000_000, reason: Reason::Unspecified };
        for revoked in [&[][..], &[entry]] {
            assert!(unsigned(&root, SPAN, revoked).is_ok_and(|list| signs(&list)));
            assert!(unsigned(&other, SPAN, revoked).is_ok_and(|list| !signs(&list)));
        }
        let issuer = Issuer::new(&root).expect("an authority");
        let list = |number, entry| issuer.crl(number, SPAN.0, SPAN.1, &[entry]).expect("a list");
        assert!(signs(&list(SPAN.0, entry)));
        assert!(!signs(&list(u64::MAX, entry)), "no later list would have a higher number");
        let with_reason = Revoked { reason: Reason::KeyCompromise, ..entry };
        assert!(!signs(&list(SPAN.0, with_reason)), "an extension that is not shown");
    }
}
