//! A signed request: the flattened JWS of RFC 8555, section 6.2.

use super::{Algorithm, Jwk, base64url, json};
use crate::ca::{Problem, ProblemType};
use serde_json::{Map, Value};

/// Longest signed request. What is long in it is a certificate request for many names.
pub const JWS_BYTES_MAX: usize = 32 * 1024;

/// Whose signature it says it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRef {
    /// That of a key which comes with it.
    Jwk(Jwk),
    /// That of the account at this URL.
    Kid(String),
}

/// A signed request, as yet not verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Jws {
    parts: Parts,
    algorithm: Algorithm,
    key: KeyRef,
    url: String,
    nonce: Option<String>,
}

impl Jws {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > JWS_BYTES_MAX {
            return Err(malformed(format!("the request has more than {JWS_BYTES_MAX} bytes")));
        }
        Self::from_value(&json::parse(body)?)
    }

    /// Reads the inner JWS of a change of keys, which brings its key and has no nonce.
    pub fn parse_inner(value: &Value) -> Result<Self, Problem> {
        let inner = Self::from_value(value)?;
        match inner {
            Self { key: KeyRef::Kid(_), .. } => Err(malformed("the inner JWS has a \"kid\"")),
            Self { nonce: Some(_), .. } => Err(malformed("the inner JWS has a \"nonce\"")),
            Self { .. } => Ok(inner),
        }
    }

    fn from_value(value: &Value) -> Result<Self, Problem> {
        let (parts, header) = Parts::new(value)?;
        let name = header.text("alg")?.ok_or_else(|| malformed("the header has no \"alg\""))?;
        let algorithm = Algorithm::from_name(name)
            .ok_or_else(|| bad_algorithm(Algorithm::ALL.map(Algorithm::name).to_vec()))?;
        let key = match (header.0.get("jwk"), header.text("kid")?) {
            (Some(jwk), None) => KeyRef::Jwk(Jwk::from_json(jwk)?),
            (None, Some(kid)) => KeyRef::Kid(kid.to_owned()),
            _ => return Err(malformed("the header has not exactly one of \"jwk\" and \"kid\"")),
        };
        let url = header.url()?;
        let nonce = header.text("nonce")?.map(str::to_owned);
        let is_base64url = |nonce: &String| base64url::decode(nonce).is_some_and(|n| !n.is_empty());
        if !nonce.iter().all(is_base64url) {
            return Err(malformed("the nonce is not base64url without padding"));
        }
        Ok(Self { parts, algorithm, key, url, nonce })
    }

    /// The URL that it says it is for.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The nonce, as the client sent it.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// Whose signature it says it is.
    pub fn key(&self) -> &KeyRef {
        &self.key
    }

    /// What is asked; empty if only something is to be read (POST-as-GET).
    pub fn payload(&self) -> &[u8] {
        &self.parts.payload
    }

    /// Is it the signature of `key`? Which key has to sign is for the caller to say: the one that
    /// it brings, or that of the account that it names.
    pub fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        if self.algorithm != key.algorithm() {
            return Err(bad_algorithm(vec![key.algorithm().name()]));
        }
        match key.verify(self.algorithm, self.parts.signed.as_bytes(), &self.parts.signature) {
            true => Ok(()),
            false => Err(Problem::new(ProblemType::Unauthorized, "the signature is wrong")),
        }
    }
}

/// The body of a request with this protected header and payload, as a client makes it: `sign` makes
/// the signature.
pub fn flattened(header: &[u8], payload: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (header, payload) = (base64url::encode(header), base64url::encode(payload));
    let signature = base64url::encode(&sign(format!("{header}.{payload}").as_bytes()));
    format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#)
        .into_bytes()
}

/// What any flattened JWS consists of, its protected header aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Parts {
    /// What is signed: header and payload, encoded.
    pub(crate) signed: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Parts {
    /// Exactly the three members of a flattened JWS, and the protected header decoded.
    pub(crate) fn new(value: &Value) -> Result<(Self, Header), Problem> {
        let members = value.as_object().ok_or_else(|| malformed("the JWS is no object"))?;
        if members.len() != 3 {
            let detail = "a JWS has the members \"protected\", \"payload\" and \"signature\" only";
            return Err(malformed(detail));
        }
        let (protected, header) = part(members, "protected")?;
        let (encoded, payload) = part(members, "payload")?;
        let (_, signature) = part(members, "signature")?;
        let header = Header::new(&header)?;
        Ok((Self { signed: format!("{protected}.{encoded}"), payload, signature }, header))
    }
}

/// A member of a JWS as it is, and decoded.
fn part<'a>(members: &'a Map<String, Value>, name: &str) -> Result<(&'a str, Vec<u8>), Problem> {
    let text = members.get(name).and_then(Value::as_str);
    let text = text.ok_or_else(|| malformed(format!("the JWS has no text \"{name}\"")))?;
    let bytes = base64url::decode(text).ok_or_else(|| {
        malformed(format!("\"{name}\" of the JWS is not base64url without padding"))
    })?;
    Ok((text, bytes))
}

/// A protected header. What nobody asks it for is ignored, as RFC 7515 demands.
pub(crate) struct Header(pub(crate) Map<String, Value>);

impl Header {
    fn new(bytes: &[u8]) -> Result<Self, Problem> {
        let Value::Object(members) = json::parse(bytes)? else {
            return Err(malformed("the protected header is no object"));
        };
        // Neither can be ignored, and neither is understood.
        match ["crit", "b64"].iter().find(|name| members.contains_key(**name)) {
            Some(name) => Err(malformed(format!("a header \"{name}\" is not accepted"))),
            None => Ok(Self(members)),
        }
    }

    /// A member that has to be text if it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(format!("\"{name}\" of the header is no text"))),
        }
    }

    pub(crate) fn url(&self) -> Result<String, Problem> {
        let url = self.text("url")?.ok_or_else(|| malformed("the header has no \"url\""))?;
        Ok(url.to_owned())
    }
}

pub(crate) fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}

pub(crate) fn bad_algorithm(accepted: Vec<&'static str>) -> Problem {
    let detail = "the header's \"alg\" is not one that is accepted here";
    let mut problem = Problem::new(ProblemType::BadSignatureAlgorithm, detail);
    problem.algorithms = accepted;
    problem
}
