//! Tokens: what the group signs, and how it is put together with the signature.

use super::certificate::{TIME_STAMPING, is_for_time_stamping};
use super::request::{Query, StatusInfo};
use crate::x509::{CertificateError, certificate, decode, rsa_encryption, sha256, sha256_input};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier,
    SignerInfo, SignerInfos,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::{
    ID_AA_SIGNING_CERTIFICATE_V_2, ID_CONTENT_TYPE, ID_MESSAGE_DIGEST, ID_SIGNED_DATA,
};
use const_oid::db::rfc5912::ID_SHA_256;
use der::asn1::{Any, Int, OctetString, SetOfVec, Uint};
use der::{DateTime, Decode, Encode, Sequence, Tag};
use maftia_activity::AgreedTime;
use maftia_base::wire::{Blob, wire_struct};
use maftia_crypto::SigningInput;
use spki::AlgorithmIdentifierOwned;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};
use x509_cert::serial_number::SerialNumber;
use x509_tsp::{Accuracy, MessageImprint, TspVersion};

/// Content type of a token: `id-ct-TSTInfo`.
const ID_TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

/// Largest `TSTInfo`, and largest set of signed attributes. Both carry a name of the certificate,
/// hence the bound on it.
const PART_BYTES_MAX: usize = 8 * 1024;

/// Longest name of a signing certificate's subject or issuer.
const NAME_BYTES_MAX: usize = 4 * 1024;

/// What the group answers to a granted query, besides its signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenBody {
    /// `TSTInfo`, in DER.
    info: Blob<PART_BYTES_MAX>,
    /// The signed attributes, in DER as they are signed: a set.
    attributes: Blob<PART_BYTES_MAX>,
    /// Did the client ask for the certificates?
    wants_certificates: bool,
}

wire_struct!(TokenBody { info, attributes, wants_certificates });

/// The group's reply does not make a token: it is none of the notary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a notary's reply")]
pub struct TokenError;

/// What a token says besides what its query says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) policy: ObjectIdentifier,
    pub(crate) accuracy_micros: u64,
    pub(crate) serial: Uint,
    pub(crate) time: GenTime,
}

/// A point in time with its fraction of a second, as DER wants it: no zeros at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GenTime(Any);

impl GenTime {
    /// `None` beyond the year 9999.
    pub(crate) fn new(time: AgreedTime) -> Option<Self> {
        let date = DateTime::from_unix_duration(Duration::from_secs(time.0 / 1_000_000)).ok()?;
        let (year, month, day) = (date.year(), date.month(), date.day());
        let (hour, minute, second) = (date.hour(), date.minutes(), date.seconds());
        let mut text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
        let micros = time.0 % 1_000_000;
        if micros > 0 {
            text += format!(".{micros:06}").trim_end_matches('0');
        }
        text.push('Z');
        let any = Any::new(Tag::GeneralizedTime, text.into_bytes());
        Some(Self(any.expect("a short string is a value")))
    }

    #[cfg(test)]
    pub(crate) fn any(&self) -> &Any {
        &self.0
    }
}

/// `TSTInfo` of RFC 3161; `gen_time` is a `GeneralizedTime` that may have a fraction.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct TstInfo {
    version: TspVersion,
    policy: ObjectIdentifier,
    message_imprint: MessageImprint,
    serial_number: Int,
    gen_time: Any,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    tsa: Option<GeneralName>,
}

/// `ESSCertIDv2` of RFC 5035 with its default hash, SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct EssCertIdV2 {
    cert_hash: OctetString,
    issuer_serial: IssuerSerial,
}

#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct IssuerSerial {
    issuer: GeneralNames,
    serial_number: SerialNumber,
}

/// `SigningCertificateV2` of RFC 5035, without policies.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
}

/// `TimeStampResp` of RFC 3161.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct Response {
    status: StatusInfo,
    token: ContentInfo,
}

/// Everything about the signing key's certificate that tokens repeat.
#[derive(Debug)]
pub(crate) struct Signer {
    certificates: CertificateSet,
    identifier: SignerIdentifier,
    signing_certificate: Attribute,
    name: GeneralName,
}

impl Signer {
    pub(crate) fn new(certificates: &[Vec<u8>]) -> Result<Self, CertificateError> {
        let first = certificates.first().ok_or(CertificateError::Missing)?;
        let certificate: Certificate = decode(first)?;
        let tbs = &certificate.tbs_certificate;
        if !is_for_time_stamping(tbs) {
            return Err(CertificateError::Purpose(TIME_STAMPING));
        }
        let name_bytes = [&tbs.subject, &tbs.issuer].map(|name| name.to_der());
        for name in name_bytes {
            if name?.len() > NAME_BYTES_MAX {
                return Err(CertificateError::Name);
            }
        }
        let issuer = GeneralName::DirectoryName(tbs.issuer.clone());
        let id = EssCertIdV2 {
            cert_hash: OctetString::new(sha256(first))?,
            issuer_serial: IssuerSerial {
                issuer: vec![issuer],
                serial_number: tbs.serial_number.clone(),
            },
        };
        let signing_certificate = SigningCertificateV2 { certs: vec![id] };
        let identifier = IssuerAndSerialNumber {
            issuer: tbs.issuer.clone(),
            serial_number: tbs.serial_number.clone(),
        };
        Ok(Self {
            identifier: SignerIdentifier::IssuerAndSerialNumber(identifier),
            signing_certificate: attribute(ID_AA_SIGNING_CERTIFICATE_V_2, &signing_certificate)?,
            name: GeneralName::DirectoryName(tbs.subject.clone()),
            certificates: certificate_set(certificates)?,
        })
    }

    /// What goes to the client, and what of it the group signs. (R3)
    pub(crate) fn body(&self, query: Query, stamp: Stamp) -> (TokenBody, SigningInput) {
        let wants_certificates = query.wants_certificates;
        let parts = self.info(query, stamp).and_then(|info| {
            let attributes = self.attributes(&info)?.to_der()?;
            Ok((info, attributes))
        });
        let (info, attributes) = parts.expect("fields within their bounds always encode");
        let input = sha256_input(&attributes);
        let bounded = |part| Blob::new(part).expect("names, nonce and digest are bounded");
        let (info, attributes) = (bounded(info), bounded(attributes));
        (TokenBody { info, attributes, wants_certificates }, input)
    }

    fn info(&self, query: Query, stamp: Stamp) -> der::Result<Vec<u8>> {
        let info = TstInfo {
            version: TspVersion::V1,
            policy: stamp.policy,
            message_imprint: query.imprint,
            serial_number: stamp.serial.into(),
            gen_time: stamp.time.0,
            accuracy: accuracy(stamp.accuracy_micros),
            nonce: query.nonce,
            tsa: Some(self.name.clone()),
        };
        info.to_der()
    }

    fn attributes(&self, info: &[u8]) -> der::Result<SignedAttributes> {
        let digest = OctetString::new(sha256(info))?;
        SetOfVec::try_from(vec![
            attribute(ID_CONTENT_TYPE, &ID_TST_INFO)?,
            attribute(ID_MESSAGE_DIGEST, &digest)?,
            self.signing_certificate.clone(),
        ])
    }

    /// The response with the token. (R4)
    pub(crate) fn respond(
        &self,
        body: &TokenBody,
        signature: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        self.signed_data(body, signature)
            .and_then(|signed_data| {
                let content = Any::encode_from(&signed_data)?;
                let token = ContentInfo { content_type: ID_SIGNED_DATA, content };
                Response { status: StatusInfo::GRANTED, token }.to_der()
            })
            .map_err(|_| TokenError)
    }

    fn signed_data(&self, body: &TokenBody, signature: &[u8]) -> der::Result<SignedData> {
        let sha256 = AlgorithmIdentifierOwned { oid: ID_SHA_256, parameters: None };
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: self.identifier.clone(),
            digest_alg: sha256.clone(),
            signed_attrs: Some(decode::<SignedAttributes>(&body.attributes)?),
            signature_algorithm: rsa_encryption(),
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let info = OctetString::new(body.info.to_vec())?;
        Ok(SignedData {
            // Version 3, since the content is not mere data.
            version: CmsVersion::V3,
            digest_algorithms: SetOfVec::try_from(vec![sha256])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: ID_TST_INFO,
                econtent: Some(Any::encode_from(&info)?),
            },
            certificates: body.wants_certificates.then(|| self.certificates.clone()),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
        })
    }
}

fn attribute(oid: ObjectIdentifier, value: &(impl Encode + der::Tagged)) -> der::Result<Attribute> {
    let value = Any::from_der(&value.to_der()?)?;
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
}

/// All certificates; refuses one that would not come out of a token as it went in.
fn certificate_set(certificates: &[Vec<u8>]) -> Result<CertificateSet, CertificateError> {
    let mut set = Vec::new();
    for der in certificates {
        set.push(CertificateChoices::Certificate(certificate(der)?));
    }
    Ok(CertificateSet::try_from(set)?)
}

fn accuracy(micros: u64) -> Option<Accuracy> {
    // Below a thousand each, so they fit.
    let part = |value: u64| (value > 0).then_some(value as i16);
    let seconds = micros / 1_000_000;
    (micros > 0).then(|| Accuracy {
        seconds: (seconds > 0).then_some(seconds),
        millis: part(micros / 1_000 % 1_000),
        micros: part(micros % 1_000),
    })
}
