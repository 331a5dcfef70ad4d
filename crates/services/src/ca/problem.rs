//! Why a request is refused, in the words of ACME.
//!
//! # Promise
//! - *Understood*: each problem has a type that clients know, the HTTP status that goes with it,
//!   and a sentence for a person.
//! - *The same everywhere*: a problem has one encoding, so servers that refuse for the same reason
//!   say the same bytes.
//!
//! # Sources
//! RFC 7807, RFC 8555 (6.7, 6.7.1, 6.2 for `algorithms`), RFC 9773 (5, `alreadyReplaced`),
//! draft-ietf-acme-profiles (`invalidProfile`).

use super::Identifier;
use maftia_base::wire::wire_enum;
use serde_json::{Map, Value, json};

/// What the type of every problem of ACME begins with.
const URN: &str = "urn:ietf:params:acme:error:";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $tag:literal => $kind:ident: $name:literal, $status:literal;)*) => {
        /// What kind of problem it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemType {
            $($(#[$doc])* $kind,)*
        }

        wire_enum!(ProblemType { $($tag => $kind,)* });

        impl ProblemType {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name that the protocol has for it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The HTTP status that usually goes with it.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$kind => $status,)*
                }
            }
        }
    };
}

problem_types! {
    /// The key is that of no account.
    0 => AccountDoesNotExist: "accountDoesNotExist", 400;
    /// The certificate has been revoked before.
    1 => AlreadyRevoked: "alreadyRevoked", 400;
    /// The request for a certificate cannot be granted, whoever asks.
    2 => BadCsr: "badCSR", 400;
    /// The nonce is missing, unknown, too old, or used.
    3 => BadNonce: "badNonce", 400;
    /// The key is of no kind or size that is accepted.
    4 => BadPublicKey: "badPublicKey", 400;
    /// The reason for a revocation is none that a client may give.
    5 => BadRevocationReason: "badRevocationReason", 400;
    /// The request is signed in a way that is not accepted.
    6 => BadSignatureAlgorithm: "badSignatureAlgorithm", 400;
    /// A CAA record forbids the issuance.
    7 => Caa: "caa", 403;
    /// Several problems, each of which is told.
    8 => Compound: "compound", 400;
    /// The host to be validated could not be reached.
    9 => Connection: "connection", 400;
    /// The name to be validated could not be resolved.
    10 => Dns: "dns", 400;
    /// Only customers may have an account, and this is none.
    11 => ExternalAccountRequired: "externalAccountRequired", 403;
    /// The host's answer is not what the challenge asks for.
    12 => IncorrectResponse: "incorrectResponse", 403;
    /// A contact of the account is not written as its scheme demands.
    13 => InvalidContact: "invalidContact", 400;
    /// The request is not what the protocol asks for.
    14 => Malformed: "malformed", 400;
    /// The order is not ready to be finalized.
    15 => OrderNotReady: "orderNotReady", 403;
    /// Too much is asked for.
    16 => RateLimited: "rateLimited", 429;
    /// Certificates for this identifier are not issued.
    17 => RejectedIdentifier: "rejectedIdentifier", 400;
    /// The authority is at fault.
    18 => ServerInternal: "serverInternal", 500;
    /// The host to be validated did not speak TLS as it should.
    19 => Tls: "tls", 400;
    /// The client may not do this.
    20 => Unauthorized: "unauthorized", 403;
    /// A contact of the account has a scheme that is not supported.
    21 => UnsupportedContact: "unsupportedContact", 400;
    /// Identifiers of this type are not supported.
    22 => UnsupportedIdentifier: "unsupportedIdentifier", 400;
    /// A person has to do something first.
    23 => UserActionRequired: "userActionRequired", 403;
    /// The certificate has been replaced by that of another order.
    24 => AlreadyReplaced: "alreadyReplaced", 409;
    /// There is no such profile: draft-ietf-acme-profiles.
    25 => InvalidProfile: "invalidProfile", 400;
}

impl ProblemType {
    /// The URN that names it in a problem document.
    pub fn urn(self) -> String {
        format!("{URN}{}", self.name())
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemType,
    /// A sentence for a person.
    pub detail: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with single identifiers.
    pub subproblems: Vec<(Identifier, ProblemType, String)>,
    /// The algorithms that would have been accepted, with [`ProblemType::BadSignatureAlgorithm`].
    pub algorithms: Vec<&'static str>,
    /// After how many seconds it is worth another try. Goes into a header.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem with the status of its kind.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            status: kind.status(),
            subproblems: Vec::new(),
            algorithms: Vec::new(),
            retry_after: None,
        }
    }

    /// The problem document.
    pub fn to_json(&self) -> Vec<u8> {
        // In the order of the alphabet, whether or not maps keep the order of insertion.
        let mut document = Map::new();
        if self.kind == ProblemType::BadSignatureAlgorithm {
            document.insert("algorithms".to_owned(), json!(self.algorithms));
        }
        document.insert("detail".to_owned(), json!(self.detail));
        document.insert("status".to_owned(), json!(self.status));
        if !self.subproblems.is_empty() {
            let subproblems = self.subproblems.iter().map(subproblem).collect();
            document.insert("subproblems".to_owned(), Value::Array(subproblems));
        }
        document.insert("type".to_owned(), json!(self.kind.urn()));
        Value::Object(document).to_string().into_bytes()
    }
}

fn subproblem((identifier, kind, detail): &(Identifier, ProblemType, String)) -> Value {
    json!({
        "detail": detail,
        "identifier": { "type": identifier.acme_type(), "value": identifier.acme_value() },
        "type": kind.urn(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use maftia_base::wire::Wire;
    use std::collections::BTreeSet;

    fn parsed(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.to_json()).expect("JSON")
    }

    #[test]
    fn a_problem_has_type_detail_and_the_status_of_its_kind() {
        let problem = Problem::new(ProblemType::BadNonce, "the nonce \"x\" is used");
        let expected = json!({
            "type": "urn:ietf:params:acme:error:badNonce",
            "detail": "the nonce \"x\" is used",
            "status": 400,
        });
        assert_eq!(parsed(&problem), expected);
    }

    #[test]
    fn the_status_can_be_another_one() {
        let mut problem = Problem::new(ProblemType::Unauthorized, "deactivated");
        problem.status = 401;
        assert_eq!(parsed(&problem)["status"], 401);
    }

    #[test]
    fn the_statuses_that_the_standards_demand() {
        for (kind, status) in [
            (ProblemType::AccountDoesNotExist, 400),
            (ProblemType::BadSignatureAlgorithm, 400),
            (ProblemType::OrderNotReady, 403),
            (ProblemType::UserActionRequired, 403),
            (ProblemType::AlreadyReplaced, 409),
            (ProblemType::RateLimited, 429),
        ] {
            assert_eq!(Problem::new(kind, "").status, status);
        }
        for kind in ProblemType::ALL {
            assert!((400..=599).contains(&kind.status()), "{kind:?}");
        }
    }

    #[test]
    fn each_type_has_a_name_and_an_encoding_of_its_own() {
        let names: BTreeSet<_> = ProblemType::ALL.iter().map(|kind| kind.name()).collect();
        let encodings: BTreeSet<_> = ProblemType::ALL.iter().map(|kind| kind.to_wire()).collect();
        assert_eq!((names.len(), encodings.len()), (26, 26));
        for kind in ProblemType::ALL {
            assert_eq!(ProblemType::from_wire(kind.to_wire()).expect("round trip"), *kind);
        }
        // Only this name does not follow from the type's.
        assert_eq!(ProblemType::BadCsr.urn(), "urn:ietf:params:acme:error:badCSR");
        assert_eq!(ProblemType::Caa.urn(), "urn:ietf:params:acme:error:caa");
    }

    #[test]
    fn subproblems_name_their_identifiers() {
        let mut problem = Problem::new(ProblemType::Compound, "some names are refused");
        let name = Identifier::from_acme("dns", "*.example.com").expect("a name");
        let detail = "a CAA record forbids it".to_owned();
        problem.subproblems.push((name, ProblemType::Caa, detail));
        let expected = json!([{
            "type": "urn:ietf:params:acme:error:caa",
            "detail": "a CAA record forbids it",
            "identifier": { "type": "dns", "value": "*.example.com" },
        }]);
        assert_eq!(parsed(&problem)["subproblems"], expected);
    }

    #[test]
    fn a_bad_signature_algorithm_lists_the_good_ones() {
        let mut problem = Problem::new(ProblemType::BadSignatureAlgorithm, "not HS256");
        problem.algorithms = vec!["ES256", "EdDSA"];
        assert_eq!(parsed(&problem)["algorithms"], json!(["ES256", "EdDSA"]));
        let other = Problem::new(ProblemType::Malformed, "");
        assert!(parsed(&other).get("algorithms").is_none());
    }

    #[test]
    fn a_problem_is_encoded_in_one_way() {
        let mut problem = Problem::new(ProblemType::BadSignatureAlgorithm, "not HS256");
        problem.algorithms = vec!["ES256"];
        let expected = concat!(
            r#"{"algorithms":["ES256"],"detail":"not HS256","status":400,"#,
            r#""type":"urn:ietf:params:acme:error:badSignatureAlgorithm"}"#
        );
        assert_eq!(problem.to_json(), expected.as_bytes());
    }
}
