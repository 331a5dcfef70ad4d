//! What a client asks, and why it may be refused.

use crate::x509::decode;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_SHA_256, ID_SHA_384, ID_SHA_512};
use der::asn1::{AnyRef, BitString, Int};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use x509_tsp::{MessageImprint, TimeStampReq};

/// Longest query; one with a SHA-512 digest, a policy and a usual nonce has about 130 bytes.
pub const QUERY_BYTES_MAX: usize = 1024;

/// Longest nonce; clients send eight bytes, or sixteen.
pub const NONCE_BYTES_MAX: usize = 64;

/// Why a query is rejected: the failure codes of RFC 3161, section 2.4.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// A hash that is unknown or no longer good enough, or one with parameters.
    BadAlgorithm,
    /// Another version of the protocol, or a nonce that is too long.
    BadRequest,
    /// Not a query at all, too long, or with a digest that is not as long as its hash's are; also
    /// one that names an object identifier with a number of 2^28 or more, which is not decoded.
    BadDataFormat,
    /// The group has not agreed on a time.
    TimeNotAvailable,
    /// Another policy than the notary's.
    UnacceptedPolicy,
    /// No extension is supported.
    UnacceptedExtension,
    /// The group cannot answer now. Said by a front end, never by the notary.
    SystemFailure,
}

/// `PKIStatusInfo`, with the failure as the bit string that it is.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(crate) struct StatusInfo {
    pub(crate) status: u8,
    #[asn1(optional = "true")]
    pub(crate) text: Option<Vec<String>>,
    #[asn1(optional = "true")]
    pub(crate) failure: Option<BitString>,
}

impl StatusInfo {
    pub(crate) const GRANTED: Self = Self { status: 0, text: None, failure: None };
}

/// A `TimeStampResp` without a token.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct RejectionResponse {
    status: StatusInfo,
}

/// `PKIStatus`: rejection.
const REJECTION: u8 = 2;

impl Rejection {
    /// Position of its bit in `PKIFailureInfo`.
    fn bit(self) -> usize {
        match self {
            Self::BadAlgorithm => 0,
            Self::BadRequest => 2,
            Self::BadDataFormat => 5,
            Self::TimeNotAvailable => 14,
            Self::UnacceptedPolicy => 15,
            Self::UnacceptedExtension => 16,
            Self::SystemFailure => 25,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::BadAlgorithm => "the hash must be SHA-256, SHA-384 or SHA-512",
            Self::BadRequest => "the request is of another version, or its nonce is too long",
            Self::BadDataFormat => "the request is not a well-formed time-stamp query",
            Self::TimeNotAvailable => "the servers have not agreed on a time",
            Self::UnacceptedPolicy => "the policy asked for is not supported",
            Self::UnacceptedExtension => "no extension is supported",
            Self::SystemFailure => "the service cannot answer now",
        }
    }

    /// The response that tells the client, in DER.
    pub fn response(self) -> Vec<u8> {
        // A named bit list ends with its last set bit.
        let bit = self.bit();
        let mut octets = vec![0; bit / 8 + 1];
        octets[bit / 8] = 0x80 >> (bit % 8);
        let failure = BitString::new(7 - (bit % 8) as u8, octets).expect("at most seven unused");
        let status = StatusInfo {
            status: REJECTION,
            text: Some(vec![self.text().to_owned()]),
            failure: Some(failure),
        };
        RejectionResponse { status }.to_der().expect("short fields always encode")
    }
}

/// A query that can be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) imprint: MessageImprint,
    pub(crate) nonce: Option<Int>,
    pub(crate) wants_certificates: bool,
}

impl Query {
    /// Decodes and screens a query. (R1)
    pub(crate) fn decode(bytes: &[u8], policy: ObjectIdentifier) -> Result<Self, Rejection> {
        if bytes.len() > QUERY_BYTES_MAX {
            return Err(Rejection::BadDataFormat);
        }
        let query = decode::<TimeStampReq>(bytes).map_err(|_| match version(bytes) {
            Some(version) if version != [1] => Rejection::BadRequest,
            _ => Rejection::BadDataFormat,
        })?;
        let algorithm = &query.message_imprint.hash_algorithm;
        let digest_bytes = match algorithm.oid {
            ID_SHA_256 => 32,
            ID_SHA_384 => 48,
            ID_SHA_512 => 64,
            _ => return Err(Rejection::BadAlgorithm),
        };
        if algorithm.parameters.as_ref().is_some_and(|parameters| !parameters.is_null()) {
            return Err(Rejection::BadAlgorithm);
        }
        if query.message_imprint.hashed_message.as_bytes().len() != digest_bytes {
            return Err(Rejection::BadDataFormat);
        }
        if query.req_policy.is_some_and(|asked| asked != policy) {
            return Err(Rejection::UnacceptedPolicy);
        }
        if query.extensions.is_some() {
            return Err(Rejection::UnacceptedExtension);
        }
        let nonce_bytes = query.nonce.as_ref().map_or(0, |nonce| nonce.as_bytes().len());
        if nonce_bytes > NONCE_BYTES_MAX {
            return Err(Rejection::BadRequest);
        }
        Ok(Self {
            imprint: query.message_imprint,
            nonce: query.nonce,
            wants_certificates: query.cert_req,
        })
    }
}

/// The version that a sequence begins with: a query of another version may have any other form.
fn version(bytes: &[u8]) -> Option<Vec<u8>> {
    let query = AnyRef::from_der(bytes).ok().filter(|query| query.tag() == Tag::Sequence)?;
    let version: Int = SliceReader::new(query.value()).ok()?.decode().ok()?;
    Some(version.as_bytes().to_vec())
}
