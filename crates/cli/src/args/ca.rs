//! What can be typed after `maftia ca`.

use clap::{Args, Subcommand, ValueEnum};
use maftia_services::x509::Reason;
use std::path::PathBuf;

/// `maftia ca`.
#[derive(Debug, Args)]
pub struct Ca {
    /// What to do.
    #[command(subcommand)]
    pub what: CaWhat,
}

/// What can be done about an authority.
#[derive(Debug, Subcommand)]
pub enum CaWhat {
    /// Print a ca.toml, which says what is issued to whom, with each key explained.
    Example,
    /// Print the log: every account, order, validation, issuance and revocation, and who saw what.
    Log(Page),
    /// Print a certificate, who validated its names, and whether it is revoked.
    Inspect {
        /// Its serial number: 32 hexadecimal digits.
        serial: String,
        /// Which group, and how to print.
        #[command(flatten)]
        query: Query,
    },
    /// Print which policy the group goes by, and which servers want another one.
    ///
    /// A policy is changed by editing ca.toml on each server and restarting them one after the
    /// other: it is another one as soon as enough of them have the same.
    #[command(verbatim_doc_comment)]
    Policy(Query),
    /// Print the orders that wait for officers.
    Pending(Page),
    /// As an officer: approve an order.
    Approve {
        /// Its number, as `maftia ca pending` prints it.
        order: u64,
        /// Who says so.
        #[command(flatten)]
        officer: Officers,
    },
    /// As an officer: refuse an order.
    Refuse {
        /// Its number, as `maftia ca pending` prints it.
        order: u64,
        /// Who says so.
        #[command(flatten)]
        officer: Officers,
    },
    /// As an officer: have a certificate revoked.
    Revoke {
        /// Its serial number: 32 hexadecimal digits.
        serial: String,
        /// Why.
        #[arg(long, value_enum, default_value_t)]
        reason: RevocationReason,
        /// Who says so.
        #[command(flatten)]
        officer: Officers,
    },
    /// As an officer: shut an account. What was issued to it stays valid.
    Suspend {
        /// Its number.
        account: u64,
        /// Who says so.
        #[command(flatten)]
        officer: Officers,
    },
    /// Make an officer's key; prints its public half, for ca.toml.
    OfficerKey(OfficerKey),
    /// Make and print the secret of an external account, for ca.toml and its holder.
    AccountKey,
    /// Say what another issuing certificate is to be, for the custodians of the root's key to sign:
    ///
    ///   maftia ca propose-intermediate --home server-0 --out proposal
    ///   maftia ca sign-intermediate --home custodian-0 --proposal proposal --out share-0
    ///                                             and so on, each custodian for himself, offline
    ///   maftia ca finish-intermediate --home custodian-0 --proposal proposal share-0 share-1
    ///
    /// The last prints the certificate, which becomes issuing.pem in every home folder.
    #[command(verbatim_doc_comment)]
    ProposeIntermediate(Propose),
    /// As a custodian of the root's key: look at a proposal, and sign it with this share.
    SignIntermediate(SignProposal),
    /// Put the custodians' shares of a signature together; print the certificate.
    FinishIntermediate(FinishProposal),
    /// Say what the root's next revocation list is to be, for the custodians of its key to sign:
    ///
    ///   maftia ca propose-root-list --home server-0 --revoke old.pem --out proposal
    ///   maftia ca sign-root-list --home custodian-0 --proposal proposal --out share-0
    ///                                             and so on, each custodian for himself, offline
    ///   maftia ca finish-root-list --home custodian-0 --proposal proposal share-0 share-1
    ///
    /// The last prints the list, which becomes root.crl in every home folder. It has whatever is on
    /// the present one.
    #[command(verbatim_doc_comment)]
    ProposeRootList(ProposeRootList),
    /// As a custodian of the root's key: look at a revocation list, and sign it with this share.
    SignRootList(SignProposal),
    /// Put the custodians' shares of a signature together; print the revocation list.
    FinishRootList(FinishProposal),
}

/// Which group is asked, and how to print what it says.
#[derive(Debug, Args)]
pub struct Query {
    /// A folder with group.toml, group.keys and notary.pem, such as a server's home.
    #[arg(long)]
    pub home: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A list that may be long.
#[derive(Debug, Args)]
pub struct Page {
    /// Which group, and how to print.
    #[command(flatten)]
    pub query: Query,
    /// The first number that is printed.
    #[arg(long, default_value_t = 0)]
    pub from: u64,
}

/// An officer, and which group he speaks to.
#[derive(Debug, Args)]
pub struct Officers {
    /// A folder with group.toml, group.keys and notary.pem, such as a server's home.
    #[arg(long)]
    pub home: PathBuf,
    /// The officer's key, as `maftia ca officer-key` wrote it.
    #[arg(long)]
    pub key: PathBuf,
}

/// `maftia ca officer-key`.
#[derive(Debug, Args)]
pub struct OfficerKey {
    /// The file that it is written to, which must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// Why a certificate is revoked, as RFC 5280 calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum RevocationReason {
    /// None is given.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The host now belongs to somebody else.
    AffiliationChanged,
    /// There is a new one.
    Superseded,
    /// The host is no more.
    CessationOfOperation,
    /// The authority no longer stands by it.
    PrivilegeWithdrawn,
}

impl From<RevocationReason> for Reason {
    fn from(reason: RevocationReason) -> Self {
        match reason {
            RevocationReason::Unspecified => Self::Unspecified,
            RevocationReason::KeyCompromise => Self::KeyCompromise,
            RevocationReason::AffiliationChanged => Self::AffiliationChanged,
            RevocationReason::Superseded => Self::Superseded,
            RevocationReason::CessationOfOperation => Self::CessationOfOperation,
            RevocationReason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

/// `maftia ca propose-intermediate`.
#[derive(Debug, Args)]
pub struct Propose {
    /// A server's home folder, or a copy of what is public in it.
    #[arg(long)]
    pub home: PathBuf,
    /// How long the certificate is to be valid; by default as group.toml says.
    #[arg(long)]
    pub years: Option<u64>,
    /// The file that it is written to, which must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// `maftia ca propose-root-list`.
#[derive(Debug, Args)]
pub struct ProposeRootList {
    /// A server's home folder, or a copy of what is public in it.
    #[arg(long)]
    pub home: PathBuf,
    /// A certificate that the root has signed, and that is not to be believed any more, in PEM; may
    /// be repeated.
    #[arg(long)]
    pub revoke: Vec<PathBuf>,
    /// For how many days the list is to be good.
    #[arg(long, default_value_t = crate::ca::ROOT_LIST_DAYS)]
    pub days: u64,
    /// The file that it is written to, which must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// `maftia ca sign-intermediate` and `sign-root-list`.
#[derive(Debug, Args)]
pub struct SignProposal {
    /// The custodian's folder.
    #[arg(long)]
    pub home: PathBuf,
    /// What is to be signed.
    #[arg(long)]
    pub proposal: PathBuf,
    /// Passphrase of the share file, if it has one (first line of this file).
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// The file that the share of the signature is written to, which must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// `maftia ca finish-intermediate` and `finish-root-list`.
#[derive(Debug, Args)]
pub struct FinishProposal {
    /// A custodian's folder, or a copy of what is public in it.
    #[arg(long)]
    pub home: PathBuf,
    /// What was signed.
    #[arg(long)]
    pub proposal: PathBuf,
    /// The custodians' shares of the signature.
    #[arg(required = true)]
    pub shares: Vec<PathBuf>,
}
