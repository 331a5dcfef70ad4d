//! The external account binding of RFC 8555, section 7.3.4: a customer's word that the key of a
//! new account is his.

use super::jws::{Parts, bad_algorithm, malformed};
use super::{Jwk, json};
use crate::ca::{Problem, ProblemType};
use ring::hmac;
use serde_json::Value;

/// The one algorithm of a binding.
const HS256: &str = "HS256";

/// An external account binding, as yet not verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    parts: Parts,
    key: Jwk,
    kid: String,
    url: String,
}

impl Binding {
    /// Reads the member `externalAccountBinding` of a request for an account.
    pub fn parse(value: &Value) -> Result<Self, Problem> {
        let (parts, header) = Parts::new(value)?;
        match header.text("alg")? {
            Some(HS256) => {}
            Some(_) => return Err(bad_algorithm(vec![HS256])),
            None => return Err(malformed("the binding's header has no \"alg\"")),
        }
        if ["nonce", "jwk"].iter().any(|name| header.0.contains_key(*name)) {
            return Err(malformed("the binding's header has a \"nonce\" or a \"jwk\""));
        }
        let kid = header.text("kid")?;
        let kid = kid.ok_or_else(|| malformed("the binding's header has no \"kid\""))?.to_owned();
        let key = Jwk::from_json(&json::parse(&parts.payload)?)?;
        Ok(Self { key, kid, url: header.url()?, parts })
    }

    /// Which of the authority's customers it is by, as the authority calls him.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Did the owner of `mac_key` bind `jwk`, which signed the request around this binding, for a
    /// request to `url`? Whoever can guess the MAC key can be the customer: it should have 32
    /// bytes of chance.
    pub fn verify(&self, mac_key: &[u8], jwk: &Jwk, url: &str) -> Result<(), Problem> {
        if self.url != url {
            return Err(malformed("the binding is for another URL than the request"));
        }
        if self.key != *jwk {
            return Err(malformed("the binding is for another key than the account's"));
        }
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, mac_key);
        let (signed, tag) = (self.parts.signed.as_bytes(), &self.parts.signature);
        hmac::verify(&mac_key, signed, tag).map_err(|_| {
            Problem::new(ProblemType::Unauthorized, "the binding's signature is wrong")
        })
    }
}
