//! What lacks nothing but its signature.

use super::encoding::{sha256_input, sha256_with_rsa};
use const_oid::AssociatedOid;
use der::asn1::{AnyRef, BitStringRef, OctetString};
use der::{Decode, Encode, Sequence, Tag, Tagged};
use maftia_base::wire::{self, Blob, Buf, BufMut, EncodeSize, Read, Write, wire_enum};
use maftia_crypto::SigningInput;
use spki::AlgorithmIdentifierOwned;
use x509_ocsp::{BasicOcspResponse, OcspResponse, OcspResponseStatus, ResponseBytes};

/// Longest encoding of what is signed: a full revocation list is the longest.
pub const TBS_BYTES_MAX: usize = 4 << 20;

/// A certificate, a revocation list or an OCSP response that lacks its signature.
///
/// A signature by `sha256WithRSAEncryption` (PKCS #1 version 1.5) is what it gets: the content says
/// so already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unsigned {
    kind: UnsignedKind,
    /// In DER: one sequence.
    tbs: Blob<TBS_BYTES_MAX>,
}

/// How content and signature are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UnsignedKind {
    /// One after the other.
    Certificate,
    /// The same.
    RevocationList,
    /// The same, in the envelope of a successful answer.
    OcspResponse,
}

wire_enum!(UnsignedKind { 0 => Certificate, 1 => RevocationList, 2 => OcspResponse });

/// Content, algorithm and signature: what certificates, revocation lists and OCSP have in common.
#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

impl Unsigned {
    /// `content` fits, or it is not encoded at all.
    pub(crate) fn new(kind: UnsignedKind, content: &impl Encode) -> der::Result<Self> {
        let tbs = Blob::new(content.to_der()?).ok_or(der::ErrorKind::Overlength)?;
        Ok(Self { kind, tbs })
    }

    /// What the authority's key has to sign: by PKCS #1 version 1.5.
    pub fn signing_input(&self) -> SigningInput {
        sha256_input(&self.tbs)
    }

    /// The bytes that are signed, in DER.
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// The whole with its signature, in DER: what is handed out.
    pub fn finish(&self, signature: &[u8]) -> Vec<u8> {
        self.joined(signature).expect("a sequence and a signature make one")
    }

    fn joined(&self, signature: &[u8]) -> der::Result<Vec<u8>> {
        let signed = Signed {
            tbs: AnyRef::from_der(&self.tbs)?,
            algorithm: sha256_with_rsa(),
            signature: BitStringRef::from_bytes(signature)?,
        };
        let signed = signed.to_der()?;
        if self.kind != UnsignedKind::OcspResponse {
            return Ok(signed);
        }
        let response = ResponseBytes {
            response_type: BasicOcspResponse::OID,
            response: OctetString::new(signed)?,
        };
        let response_status = OcspResponseStatus::Successful;
        OcspResponse { response_status, response_bytes: Some(response) }.to_der()
    }
}

impl Write for Unsigned {
    fn write(&self, buf: &mut impl BufMut) {
        self.kind.write(buf);
        self.tbs.write(buf);
    }
}

impl EncodeSize for Unsigned {
    fn encode_size(&self) -> usize {
        self.kind.encode_size() + self.tbs.encode_size()
    }
}

impl Read for Unsigned {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let kind = UnsignedKind::read_cfg(buf, &())?;
        let tbs = Blob::<TBS_BYTES_MAX>::read_cfg(buf, &())?;
        // Whoever holds one can finish it.
        match AnyRef::from_der(&tbs).is_ok_and(|any| any.tag() == Tag::Sequence) {
            true => Ok(Self { kind, tbs }),
            false => Err(wire::Error::Invalid("Unsigned", "not a sequence")),
        }
    }
}
