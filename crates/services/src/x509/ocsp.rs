//! OCSP responses: what is signed once, and shown to everybody who asks until it is too old.

use super::encoding::{general_time, sha1_algorithm};
use super::unsigned::UnsignedKind;
use super::{CertificateError, Issuer, Reason, Serial, Unsigned};
use der::asn1::OctetString;
use maftia_base::wire::wire_enum;
use x509_ocsp::{
    CertId, CertStatus, OcspGeneralizedTime, ResponderId, ResponseData, RevokedInfo,
    SingleResponse, Version,
};

/// What has become of a certificate that was issued. Of others nothing is ever signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateStatus {
    /// It was issued, and not revoked.
    Good,
    /// It is not to be believed any more.
    Revoked {
        /// Since when: seconds since 1970-01-01 UTC.
        at: u64,
        /// Why.
        reason: Reason,
    },
}

wire_enum!(CertificateStatus { 0 => Good, 1 => Revoked { at, reason } });

impl Issuer {
    /// The response about one certificate, by its own issuer, good from `this_update` on and to be
    /// replaced before `next_update`.
    pub fn ocsp(
        &self,
        serial: Serial,
        status: CertificateStatus,
        this_update: u64,
        next_update: u64,
    ) -> Result<Unsigned, CertificateError> {
        if this_update >= next_update {
            return Err(CertificateError::Validity);
        }
        let this_update = OcspGeneralizedTime(general_time(this_update)?);
        let next_update = OcspGeneralizedTime(general_time(next_update)?);
        let cert_status = match status {
            CertificateStatus::Good => CertStatus::good(),
            CertificateStatus::Revoked { at, reason } => CertStatus::revoked(RevokedInfo {
                revocation_time: OcspGeneralizedTime(general_time(at)?),
                revocation_reason: reason.stated(),
            }),
        };
        let response = SingleResponse {
            cert_id: self.certificate_id(serial)?,
            cert_status,
            this_update,
            next_update: Some(next_update),
            single_extensions: None,
        };
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(self.key_hash.clone())?),
            produced_at: this_update,
            responses: vec![response],
            response_extensions: None,
        };
        Ok(Unsigned::new(UnsignedKind::OcspResponse, &data)?)
    }

    fn certificate_id(&self, serial: Serial) -> Result<CertId, CertificateError> {
        Ok(CertId {
            hash_algorithm: sha1_algorithm(),
            issuer_name_hash: OctetString::new(self.name_hash.clone())?,
            issuer_key_hash: OctetString::new(self.key_hash.clone())?,
            serial_number: serial.number(),
        })
    }
}
