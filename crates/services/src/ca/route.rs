//! The paths of the authority's resources: each has one form.

use super::wire::ChallengeKind;
use crate::x509::Serial;
use std::fmt;

/// A resource of ACME that is asked for by POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    NewAccount,
    NewOrder,
    RevokeCertificate,
    KeyChange,
    Account(u64),
    /// The orders of an account, from this number on.
    Orders(u64, u64),
    Order(u64),
    Finalize(u64),
    Authorization(u64),
    Challenge(u64, ChallengeKind),
    Certificate(Serial),
}

/// Where the directory is.
pub const DIRECTORY_PATH: &str = "/acme/directory";
/// Where nonces are.
pub const NEW_NONCE_PATH: &str = "/acme/new-nonce";
/// What the path of renewal information begins with.
pub const RENEWAL_INFO_PATH: &str = "/acme/renewal-info";
/// Where the revocation list is.
pub const CRL_PATH: &str = "/crl/issuing.crl";
/// Where the root's revocation list is.
pub const ROOT_CRL_PATH: &str = "/crl/root.crl";
/// Where OCSP is spoken.
pub const OCSP_PATH: &str = "/ocsp";
/// Where the issuing certificate is, in DER.
pub const ISSUING_PATH: &str = "/ca/issuing.cer";
/// Where the root certificate is, in DER.
pub const ROOT_PATH: &str = "/ca/root.cer";

impl Route {
    /// The resource at `path`; `None` if there can be none.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/acme/")?.split('/').collect();
        let route = match parts[..] {
            ["new-account"] => Self::NewAccount,
            ["new-order"] => Self::NewOrder,
            ["revoke-cert"] => Self::RevokeCertificate,
            ["key-change"] => Self::KeyChange,
            ["account", id] => Self::Account(number(id)?),
            ["account", id, "orders"] => Self::Orders(number(id)?, 0),
            ["account", id, "orders", from] if from != "0" => {
                Self::Orders(number(id)?, number(from)?)
            }
            ["order", id] => Self::Order(number(id)?),
            ["order", id, "finalize"] => Self::Finalize(number(id)?),
            ["authz", id] => Self::Authorization(number(id)?),
            ["challenge", id, kind] => {
                Self::Challenge(number(id)?, ChallengeKind::from_name(kind)?)
            }
            ["certificate", serial] => Self::Certificate(Serial::from_hex(serial)?),
            _ => return None,
        };
        Some(route)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewAccount => f.write_str("/acme/new-account"),
            Self::NewOrder => f.write_str("/acme/new-order"),
            Self::RevokeCertificate => f.write_str("/acme/revoke-cert"),
            Self::KeyChange => f.write_str("/acme/key-change"),
            Self::Account(id) => write!(f, "/acme/account/{id}"),
            Self::Orders(id, 0) => write!(f, "/acme/account/{id}/orders"),
            Self::Orders(id, from) => write!(f, "/acme/account/{id}/orders/{from}"),
            Self::Order(id) => write!(f, "/acme/order/{id}"),
            Self::Finalize(id) => write!(f, "/acme/order/{id}/finalize"),
            Self::Authorization(id) => write!(f, "/acme/authz/{id}"),
            Self::Challenge(id, kind) => write!(f, "/acme/challenge/{id}/{}", kind.name()),
            Self::Certificate(serial) => write!(f, "/acme/certificate/{serial}"),
        }
    }
}

/// A decimal number in its only form.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_one_path() {
        let serial = Serial::new([0x41; 16]).expect("positive");
        for route in [
            Route::NewAccount,
            Route::NewOrder,
            Route::RevokeCertificate,
            Route::KeyChange,
            Route::Account(0),
            Route::Orders(7, 0),
            Route::Orders(7, 10),
            Route::Order(u64::MAX),
            Route::Finalize(12),
            Route::Authorization(3),
            Route::Challenge(3, ChallengeKind::Http01),
            Route::Challenge(3, ChallengeKind::Dns01),
            Route::Challenge(3, ChallengeKind::TlsAlpn01),
            Route::Certificate(serial),
        ] {
            assert_eq!(Route::parse(&route.to_string()), Some(route));
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "",
            "/",
            "/acme",
            "/acme/",
            "/acme/new-order/",
            "/acme//new-order",
            "/ACME/new-order",
            "acme/new-order",
            "/acme/order/01",
            "/acme/order/+1",
            "/acme/order/-1",
            "/acme/order/",
            "/acme/order/18446744073709551616",
            "/acme/order/1/finalize/",
            "/acme/account/1/orders/x",
            "/acme/account/1/orders/0",
            "/acme/challenge/1/http-02",
            "/acme/certificate/4141",
            "/acme/certificate/4141414141414141414141414141414A",
            "/acme/certificate/+141414141414141414141414141414a",
            "/acme/directory",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }
}
