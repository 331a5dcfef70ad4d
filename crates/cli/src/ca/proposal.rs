//! The root's offline ceremony: what the root is to sign is signed share by share, by people who
//! pass each other files.
//!
//! # Rules
//! - Who proposes has nothing secret. What a proposal says is printed to each custodian before he
//!   signs, and what is signed is what is printed: the proposal itself.
//! - A custodian says which kind of thing he means to sign, and signs nothing else.
//! - A custodian's share is worth nothing alone, and is good for this proposal only. It carries a
//!   proof, so that a wrong one is found, and whose it is.

use super::ceremony::ROOT_KEY;
use super::{ISSUING, ROOT, ROOT_KEYS, ROOT_LIST, ROOT_SHARE, authority, intermediate, root_list};
use crate::Failure;
use crate::args::{FinishProposal, SignProposal};
use crate::deal::write_folder;
use crate::home::{self, read, read_secret};
use maftia_base::Party;
use maftia_base::time::Reading;
use maftia_base::wire::{Wire, wire_struct};
use maftia_crypto::{
    Done, GroupKeys, RealKeyring, RealSuite, ServerKeys, SignedShare, Suite, Work,
};
use maftia_services::x509::{Unsigned, to_pem};
use openssl::x509::X509;
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

/// What the root is to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The certificate of an issuing authority.
    Certificate,
    /// Its revocation list.
    List,
}

impl Kind {
    /// Signs a proposal with a custodian's share.
    pub(super) fn sign(self, args: &SignProposal) -> Result<(), Failure> {
        let proposal = self.read(&args.proposal, &args.home)?;
        print!("{}", self.describe(&args.proposal, &proposal)?);
        let path = args.home.join(ROOT_SHARE);
        let passphrase = home::passphrase(args.passphrase_file.as_deref())?;
        let file = Zeroizing::new(read_secret(&path)?);
        let refused = |error: &dyn std::fmt::Display| Failure::file(&path, "is refused", &error);
        let share = ServerKeys::from_file(&file, passphrase.as_deref().map(Vec::as_slice))
            .map_err(|error| refused(&error))?;
        let custodian = share.party();
        let keyring =
            RealKeyring::new(root_keys(&args.home)?, share).map_err(|error| refused(&error))?;
        let work = Work::SignatureShare {
            key: ROOT_KEY,
            input: proposal.signing_input(),
            with_proof: true,
        };
        let done = RealSuite::run_many(vec![work], &keyring, Reading::default());
        let Some(Done::SignatureShare(share)) = done.into_iter().next() else {
            return Err(refused(&"it has no share of the root's key"));
        };
        write_new(&args.out, false, &ShareFile { custodian, share }.to_wire())?;
        eprintln!("signed, if all of the above is right: {}", args.out.display());
        Ok(())
    }

    /// Puts shares together, and prints what is signed by them.
    pub(super) fn finish(self, args: &FinishProposal) -> Result<(), Failure> {
        let proposal = self.read(&args.proposal, &args.home)?;
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
        let work =
            Work::CombineSignature { key: ROOT_KEY, input: proposal.signing_input(), shares };
        let done = RealSuite::run_many(vec![work], &observer, Reading::default());
        match done.into_iter().next() {
            Some(Done::Signature { signature: Some(signature), .. }) => {
                print!("{}", self.to_pem(&proposal.finish(&signature))?);
                eprintln!("{}", self.advice());
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

    /// A proposal of this kind that this root would be seen to have signed.
    fn read(self, path: &Path, custodian: &Path) -> Result<Unsigned, Failure> {
        let refused = |problem: &str| Failure::file(path, "is refused", &problem);
        let proposal = Unsigned::from_wire(read(path)?.into());
        let proposal = proposal.map_err(|_| refused("it is no proposal"))?;
        let root = authority::certificate(&custodian.join(ROOT))?;
        let root = X509::from_der(&root).map_err(|error| refused(&error.to_string()))?;
        let is_right = match self {
            Self::Certificate => intermediate::is_below(&proposal, &root),
            Self::List => root_list::is_of(&proposal, &root),
        };
        match (is_right, self) {
            (true, _) => Ok(proposal),
            (false, Self::Certificate) => {
                Err(refused("it is not to be a certificate of an authority below this root"))
            }
            (false, Self::List) => Err(refused("it is not to be a revocation list of this root")),
        }
    }

    /// What it will say.
    pub(super) fn describe(self, path: &Path, proposal: &Unsigned) -> Result<String, Failure> {
        let described = match self {
            Self::Certificate => intermediate::describe(proposal),
            Self::List => root_list::describe(proposal),
        };
        described.map_err(|error| Failure::file(path, "is refused", &error))
    }

    fn to_pem(self, der: &[u8]) -> Result<String, Failure> {
        match self {
            Self::Certificate => to_pem(der).map_err(|error| Failure::because(error.to_string())),
            Self::List => {
                let pem = root_list::to_pem(der)?;
                String::from_utf8(pem).map_err(|error| Failure::because(error.to_string()))
            }
        }
    }

    /// What to do with it.
    fn advice(self) -> String {
        match self {
            Self::Certificate => {
                format!("put this into every home folder as {ISSUING}, and restart")
            }
            Self::List => {
                format!("put this into every home folder as {ROOT_LIST}: it is shown at once")
            }
        }
    }
}

fn root_keys(folder: &Path) -> Result<GroupKeys, Failure> {
    let path = folder.join(ROOT_KEYS);
    GroupKeys::from_file(&read(&path)?).map_err(|error| Failure::file(&path, "is refused", &error))
}

/// Writes a file that must not exist.
pub(super) fn write_new(path: &Path, is_secret: bool, contents: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::because("--out must be the name of a file"))?;
    write_folder(folder.unwrap_or(Path::new(".")), [(name, is_secret, contents)])
}
