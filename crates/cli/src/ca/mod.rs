//! The certification authority on the command line.

pub mod authority;
pub mod ceremony;
pub mod policy;

use crate::Failure;
use crate::args::{Ca, CaWhat};

/// What is issued to whom, in a server's home folder; secret, as it may hold secrets of others.
pub const POLICY: &str = "ca.toml";

/// The root's certificate.
pub const ROOT: &str = "root.pem";

/// The issuing authority's certificate.
pub const ISSUING: &str = "issuing.pem";

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
        CaWhat::Example => {
            print!("{}", policy::EXAMPLE);
            Ok(())
        }
    }
}
