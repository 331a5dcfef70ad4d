//! What an OCSP client asks, and why it may be refused.

use super::encoding::decode;
use super::{Issuer, Serial};
use const_oid::db::rfc5912::ID_SHA_1;
use der::Encode;
use x509_cert::ext::Extension;
use x509_ocsp::{CertId, OcspRequest, OcspResponse};

/// Longest request: one that is signed carries certificates. A usual one has about 100 bytes.
pub const OCSP_REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Media type of a request.
pub const OCSP_REQUEST_MEDIA_TYPE: &str = "application/ocsp-request";

/// Media type of a response.
pub const OCSP_RESPONSE_MEDIA_TYPE: &str = "application/ocsp-response";

/// Why a request is not answered. The answer that says so is not signed, so it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OcspRefusal {
    /// It is no request at all, asks for nothing, or is too long.
    MalformedRequest,
    /// There is no answer that could be signed later. Said by a front end.
    TryLater,
    /// It is not for us to say: another issuer's certificate, one that was never issued, several at
    /// once, or a critical extension.
    Unauthorized,
}

impl OcspRefusal {
    /// The response that tells the client, in DER.
    pub fn response(self) -> Vec<u8> {
        let response = match self {
            Self::MalformedRequest => OcspResponse::malformed_request(),
            Self::TryLater => OcspResponse::try_later(),
            Self::Unauthorized => OcspResponse::unauthorized(),
        };
        response.to_der().expect("a number always encodes")
    }
}

/// About which certificate of `issuer` a request asks, in DER. Whether there is such a certificate
/// is not known here.
///
/// Responses are made before anybody asks, each about one certificate: a request about several
/// cannot be answered.
pub fn ocsp_serial(issuer: &Issuer, request: &[u8]) -> Result<Serial, OcspRefusal> {
    if request.len() > OCSP_REQUEST_BYTES_MAX {
        return Err(OcspRefusal::MalformedRequest);
    }
    let request: OcspRequest = decode(request).map_err(|_| OcspRefusal::MalformedRequest)?;
    let request = request.tbs_request;
    let asked = match &request.request_list[..] {
        [] => return Err(OcspRefusal::MalformedRequest),
        [asked] => asked,
        _ => return Err(OcspRefusal::Unauthorized),
    };
    let extensions = [&request.request_extensions, &asked.single_request_extensions];
    if extensions.into_iter().flatten().any(|extensions| extensions.iter().any(is_critical)) {
        return Err(OcspRefusal::Unauthorized);
    }
    issuer.serial_of(&asked.req_cert).ok_or(OcspRefusal::Unauthorized)
}

/// None is heeded; a nonce least of all, since responses are older than requests.
fn is_critical(extension: &Extension) -> bool {
    extension.critical
}

impl Issuer {
    fn serial_of(&self, id: &CertId) -> Option<Serial> {
        let algorithm = &id.hash_algorithm;
        let has_parameters =
            algorithm.parameters.as_ref().is_some_and(|parameters| !parameters.is_null());
        let is_ours = algorithm.oid == ID_SHA_1
            && !has_parameters
            && id.issuer_name_hash.as_bytes() == self.name_hash
            && id.issuer_key_hash.as_bytes() == self.key_hash;
        Serial::from_number(&id.serial_number).filter(|_| is_ours)
    }
}
