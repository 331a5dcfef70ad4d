//! The root's offline ceremony: another issuing certificate, signed share by share by people who
//! pass each other files.
//!
//! # Rules
//! - Who proposes has nothing secret. What a proposal says is printed to each custodian before he
//!   signs, and what is signed is what is printed: the proposal itself.
//! - A custodian's share is worth nothing alone, and is good for this proposal only. It carries a
//!   proof, so that a wrong one is found, and whose it is.

use super::ceremony::{self, ROOT_KEY};
use super::{ROOT, ROOT_KEYS, ROOT_SHARE, authority};
use crate::Failure;
use crate::args::{FinishProposal, Propose, SignProposal};
use crate::deal::{seconds_now, write_folder};
use crate::home::{self, PublicHome, read, read_secret};
use maftia_base::Party;
use maftia_base::time::Reading;
use maftia_base::wire::{Wire, wire_struct};
use maftia_crypto::{
    Done, GroupKeys, RealKeyring, RealSuite, ServerKeys, SignedShare, Suite, Work,
};
use maftia_services::x509::{Issuer, Unsigned, to_pem};
use openssl::x509::X509;
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use std::path::Path;
use zeroize::Zeroizing;

/// A custodian's share of a signature, as it is written to a file.
#[derive(Debug)]
pub struct ShareFile {
    /// Whose it is, as it says.
    pub custodian: Party,
    /// The share, with its proof.
    pub share: SignedShare<RealSuite, <RealSuite as Suite>::SignatureShare>,
}

wire_struct!(ShareFile { custodian, share });

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
    print!("{}", describe(&args.out, &proposal)?);
    Ok(())
}

/// Signs a proposal with a custodian's share.
pub(super) fn sign(args: &SignProposal) -> Result<(), Failure> {
    let proposal = read_proposal(&args.proposal, &args.home)?;
    print!("{}", describe(&args.proposal, &proposal)?);
    let path = args.home.join(ROOT_SHARE);
    let passphrase = home::passphrase(args.passphrase_file.as_deref())?;
    let file = Zeroizing::new(read_secret(&path)?);
    let refused = |error: &dyn std::fmt::Display| Failure::file(&path, "is refused", &error);
    let share = ServerKeys::from_file(&file, passphrase.as_deref().map(Vec::as_slice))
        .map_err(|error| refused(&error))?;
    let custodian = share.party();
    let keyring =
        RealKeyring::new(root_keys(&args.home)?, share).map_err(|error| refused(&error))?;
    let work =
        Work::SignatureShare { key: ROOT_KEY, input: proposal.signing_input(), with_proof: true };
    let done = RealSuite::run_many(vec![work], &keyring, Reading::default());
    let Some(Done::SignatureShare(share)) = done.into_iter().next() else {
        return Err(refused(&"it has no share of the root's key"));
    };
    write_new(&args.out, false, &ShareFile { custodian, share }.to_wire())?;
    eprintln!("signed, if all of the above is right: {}", args.out.display());
    Ok(())
}

/// Puts shares together, and prints the certificate.
pub(super) fn finish(args: &FinishProposal) -> Result<(), Failure> {
    let proposal = read_proposal(&args.proposal, &args.home)?;
    let keys = root_keys(&args.home)?;
    let mut shares = Vec::new();
    for path in &args.shares {
        let file = ShareFile::from_wire(read(path)?.into());
        let ShareFile { custodian, share } =
            file.map_err(|_| Failure::file(path, "is refused", &"it is no custodian's share"))?;
        if shares.iter().any(|(other, _)| *other == custodian) {
            let problem = format!("custodian {} has given another one", custodian.index());
            return Err(Failure::file(path, "is refused", &problem));
        }
        shares.push((custodian, share));
    }
    let observer =
        RealKeyring::observer(keys).map_err(|error| Failure::because(error.to_string()))?;
    let given = shares.len();
    let work = Work::CombineSignature { key: ROOT_KEY, input: proposal.signing_input(), shares };
    let done = RealSuite::run_many(vec![work], &observer, Reading::default());
    match done.into_iter().next() {
        Some(Done::Signature { signature: Some(signature), .. }) => {
            let certificate = to_pem(&proposal.finish(&signature));
            print!("{}", certificate.map_err(|error| Failure::because(error.to_string()))?);
            eprintln!("put this into every home folder as {}, and restart", super::ISSUING);
            Ok(())
        }
        Some(Done::Signature { faults, .. }) if !faults.is_empty() => {
            let wrong: Vec<String> =
                faults.iter().map(|fault| fault.culprit.index().to_string()).collect();
            Err(Failure::because(format!(
                "the shares of custodians {} are wrong, or of another proposal",
                wrong.join(", ")
            )))
        }
        _ => Err(Failure::because(format!(
            "{given} shares are too few for a signature of the root, or of another proposal"
        ))),
    }
}

fn root_keys(folder: &Path) -> Result<GroupKeys, Failure> {
    let path = folder.join(ROOT_KEYS);
    GroupKeys::from_file(&read(&path)?).map_err(|error| Failure::file(&path, "is refused", &error))
}

/// A proposal that this root would be seen to have signed.
fn read_proposal(path: &Path, custodian: &Path) -> Result<Unsigned, Failure> {
    let refused = |problem: &str| Failure::file(path, "is refused", &problem);
    let proposal = Unsigned::from_wire(read(path)?.into());
    let proposal = proposal.map_err(|_| refused("it is no proposal"))?;
    let root = authority::certificate(&custodian.join(ROOT))?;
    let root = X509::from_der(&root).map_err(|error| refused(&error.to_string()))?;
    let shown = shown(path, &proposal)?;
    // Also says that it is a certificate of an authority, and nothing else.
    let finished = proposal.finish(&[1]);
    let is_of_the_root =
        matches!(shown.issuer_name().try_cmp(root.subject_name()), Ok(std::cmp::Ordering::Equal));
    if Issuer::new(&finished).is_err() || !is_of_the_root {
        return Err(refused("it is not to be a certificate of an authority below this root"));
    }
    Ok(proposal)
}

/// As it will be, but for the signature.
fn shown(path: &Path, proposal: &Unsigned) -> Result<X509, Failure> {
    X509::from_der(&proposal.finish(&[1]))
        .map_err(|_| Failure::file(path, "is refused", &"it is no certificate"))
}

/// What the certificate will say.
fn describe(path: &Path, proposal: &Unsigned) -> Result<String, Failure> {
    let text = shown(path, proposal)?.to_text();
    let text = text.map_err(|error| Failure::because(error.to_string()))?;
    let text = String::from_utf8_lossy(&text);
    // The signature at the end is none.
    let end = text.rfind("    Signature Algorithm").unwrap_or(text.len());
    Ok(text[..end].to_owned())
}

/// Writes a file that must not exist.
pub(super) fn write_new(path: &Path, is_secret: bool, contents: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::because("--out must be the name of a file"))?;
    write_folder(folder.unwrap_or(Path::new(".")), [(name, is_secret, contents)])
}
