//! The certification authority on the command line.

pub mod authority;
pub mod ceremony;
mod intermediate;
mod office;
pub mod policy;
mod proposal;
mod root_list;
mod show;

pub use proposal::ShareFile;
pub use root_list::DAYS as ROOT_LIST_DAYS;

use crate::Failure;
use crate::args::{Ca, CaWhat};
use maftia_services::ca::OfficerCommand;
use proposal::Kind;

/// What is issued to whom, in a server's home folder; secret, as it may hold secrets of others.
pub const POLICY: &str = "ca.toml";

/// What was issued to whom when the group began, in a form that servers exchange: with it the log
/// begins, whatever [`POLICY`] says since. As secret as that.
pub const FOUNDING: &str = "ca.founding";

/// The root's certificate.
pub const ROOT: &str = "root.pem";

/// The issuing authority's certificate.
pub const ISSUING: &str = "issuing.pem";

/// The root's revocation list.
pub const ROOT_LIST: &str = "root.crl";

/// With which keys the servers sign nonces: a line for each, in hexadecimal digits.
pub const NONCE_KEYS: &str = "ca.nonces";

/// The certificate that a server's front end shows, and what stands between it and the root.
pub const FRONT_CHAIN: &str = "acme.pem";

/// Its key.
pub const FRONT_KEY: &str = "acme.key";

/// The public keys of the root's custodians, in a custodian's folder.
pub const ROOT_KEYS: &str = "root.keys";

/// A custodian's share of the root's key.
pub const ROOT_SHARE: &str = "root.share";

/// Does what was typed.
pub fn run(args: &Ca) -> Result<(), Failure> {
    match &args.what {
        CaWhat::Example => print!("{}", policy::EXAMPLE),
        CaWhat::AccountKey => office::account_key(),
        CaWhat::Log(args) => office::log(args)?,
        CaWhat::Inspect { serial, query } => office::inspect(query, serial)?,
        CaWhat::Policy(query) => office::policy(query)?,
        CaWhat::Pending(args) => office::pending(args)?,
        CaWhat::Approve { order, officer } => {
            office::say(officer, OfficerCommand::Approve { order: *order })?;
        }
        CaWhat::Refuse { order, officer } => {
            office::say(officer, OfficerCommand::Refuse { order: *order })?;
        }
        CaWhat::Revoke { serial, reason, officer } => {
            let serial = office::parse_serial(serial)?;
            office::say(officer, OfficerCommand::Revoke { serial, reason: (*reason).into() })?;
        }
        CaWhat::Suspend { account, officer } => {
            office::say(officer, OfficerCommand::Suspend { account: *account })?;
        }
        CaWhat::OfficerKey(args) => office::officer_key(args)?,
        CaWhat::ProposeIntermediate(args) => intermediate::propose(args)?,
        CaWhat::SignIntermediate(args) => Kind::Certificate.sign(args)?,
        CaWhat::FinishIntermediate(args) => Kind::Certificate.finish(args)?,
        CaWhat::ProposeRootList(args) => root_list::propose(args)?,
        CaWhat::SignRootList(args) => Kind::List.sign(args)?,
        CaWhat::FinishRootList(args) => Kind::List.finish(args)?,
    }
    Ok(())
}
