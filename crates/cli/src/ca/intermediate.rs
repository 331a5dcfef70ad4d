//! Another issuing certificate, which the custodians of the root's key sign: [`super::proposal`].

use super::proposal::{Kind, write_new};
use super::{ROOT, authority, ceremony};
use crate::Failure;
use crate::args::Propose;
use crate::deal::seconds_now;
use crate::home::PublicHome;
use maftia_base::wire::Wire;
use maftia_services::x509::{Issuer, Unsigned};
use openssl::error::ErrorStack;
use openssl::x509::{X509, X509Ref};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;

/// Writes what another issuing certificate is to be.
pub(super) fn propose(args: &Propose) -> Result<(), Failure> {
    let public = PublicHome::load(&args.home)?;
    let section = public.config.ca.as_ref().ok_or_else(|| {
        Failure::because("this group has no authority: there is no [ca] in its group.toml")
    })?;
    let years = args.years.unwrap_or(section.years);
    if !(1..=40).contains(&years) {
        return Err(Failure::because(format!("--years {years}: right would be 1 to 40")));
    }
    let root = authority::certificate(&args.home.join(ROOT))?;
    let validity = (seconds_now()?, years);
    let mut rng = UnwrapErr(SysRng);
    let proposal = ceremony::unsigned_issuing(section, &root, &public.keys, validity, &mut rng)?;
    write_new(&args.out, false, &proposal.to_wire())?;
    eprintln!("{} is what the custodians are asked to sign:", args.out.display());
    print!("{}", Kind::Certificate.describe(&args.out, &proposal)?);
    Ok(())
}

/// Is it to be the certificate of an authority, and nothing else, below this root?
pub(super) fn is_below(proposal: &Unsigned, root: &X509Ref) -> bool {
    let is_the_roots = |shown: X509| {
        let order = shown.issuer_name().try_cmp(root.subject_name());
        matches!(order, Ok(std::cmp::Ordering::Equal))
    };
    Issuer::new(&proposal.finish(&[1])).is_ok() && shown(proposal).is_ok_and(is_the_roots)
}

/// As it will be, but for the signature.
fn shown(proposal: &Unsigned) -> Result<X509, ErrorStack> {
    X509::from_der(&proposal.finish(&[1]))
}

/// What the certificate will say.
pub(super) fn describe(proposal: &Unsigned) -> Result<String, ErrorStack> {
    let text = shown(proposal)?.to_text()?;
    let text = String::from_utf8_lossy(&text);
    // The signature at the end is none.
    let end = text.rfind("    Signature Algorithm").unwrap_or(text.len());
    Ok(text[..end].to_owned())
}
