//! The public key of an account: Ed25519, P-256, or RSA.

use super::base64url;
use super::rsa::{self, Fault, RSA_MODULUS_BYTES_MAX};
use crate::ca::{Problem, ProblemType};
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use curve25519_dalek::edwards::CompressedEdwardsY;
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Sequence};
use maftia_base::wire::{self, Blob, Buf, BufMut, EncodeSize, Read, Write};
use ring::{digest, signature};
use serde_json::{Map, Value, json};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

/// How a request can be signed. There is one way for each kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSA with PKCS #1 version 1.5 and SHA-256.
    Rs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// What a header calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// The public key of an account. Equal keys have equal forms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Jwk {
    /// An Ed25519 key: a point, not of small order, in its canonical encoding.
    Ed25519([u8; 32]),
    /// A key for ECDSA with P-256. That it lies on the curve shows with its first signature.
    P256 {
        /// The first coordinate.
        x: [u8; 32],
        /// The second coordinate.
        y: [u8; 32],
    },
    /// An RSA key, its numbers without a zero in front.
    Rsa {
        /// The modulus: 2048 to 4096 bits.
        n: Blob<RSA_MODULUS_BYTES_MAX>,
        /// The exponent: odd, at least 3, below 2^33.
        e: Blob<8>,
    },
}

/// The members of a JWK that are secret, of whatever kind of key.
const SECRETS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl Jwk {
    /// Reads a key as it stands in a header. Members that say more about it are ignored.
    pub fn from_json(value: &Value) -> Result<Self, Problem> {
        let members = value.as_object();
        let members = members.ok_or_else(|| refusal(ProblemType::Malformed, "is no object"))?;
        if SECRETS.iter().any(|secret| members.contains_key(*secret)) {
            return Err(refusal(ProblemType::BadPublicKey, "came with its secret, which is lost"));
        }
        let curve = || text(members, "crv");
        let key = match text(members, "kty")? {
            "OKP" if curve()? == "Ed25519" => Self::Ed25519(fixed(members, "x")?),
            "EC" if curve()? == "P-256" => {
                Self::P256 { x: fixed(members, "x")?, y: fixed(members, "y")? }
            }
            "RSA" => {
                let (n, e) = (bytes(members, "n")?, bytes(members, "e")?);
                Self::rsa(n, e).map_err(|fault| refusal(ProblemType::BadPublicKey, fault))?
            }
            _ => {
                let kinds = "is of none of the kinds Ed25519, P-256 and RSA";
                return Err(refusal(ProblemType::BadPublicKey, kinds));
            }
        };
        key.check().map_err(|fault| refusal(ProblemType::BadPublicKey, fault))?;
        Ok(key)
    }

    /// Reads a `SubjectPublicKeyInfo` in DER; `None` if it is no key that could be an account's.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        Self::decode_spki(der).ok()
    }

    /// The same, with the reason why it is refused.
    pub(crate) fn decode_spki(der: &[u8]) -> Result<Self, Fault> {
        let (algorithm, bytes) = split_spki(der)?;
        let key = match (algorithm.oid, algorithm.parameters) {
            (ID_ED_25519, None) => {
                Self::Ed25519(bytes.try_into().map_err(|_| "is not 32 bytes long")?)
            }
            (ID_EC_PUBLIC_KEY, Some(curve)) if is_curve(curve, SECP_256_R_1) => {
                let (x, y) = coordinates::<32>(bytes).ok_or("is no uncompressed point")?;
                Self::P256 { x, y }
            }
            (RSA_ENCRYPTION, Some(parameters)) if parameters.is_null() => {
                let key = RsaPublicKey::from_der(bytes).map_err(|_| "is not well-formed")?;
                Self::rsa(key.modulus.as_bytes().into(), key.exponent.as_bytes().into())?
            }
            _ => return Err("is of a kind that is not accepted"),
        };
        key.check()?;
        Ok(key)
    }

    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, Fault> {
        rsa::check_form(&n, &e)?;
        let (n, e) = (Blob::new(n), Blob::new(e));
        Ok(Self::Rsa { n: n.ok_or("is too long")?, e: e.ok_or("is too long")? })
    }

    /// Is it in its one form, and not known to be weak?
    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Ed25519(bytes) => check_point(bytes),
            Self::P256 { .. } => Ok(()),
            Self::Rsa { n, e } => rsa::check(n, e),
        }
    }

    /// The key as it stands in a header: exactly the members that make it, in their one form.
    pub fn to_json(&self) -> Value {
        // In the order of the alphabet, whether or not maps keep the order of insertion.
        match self {
            Self::Ed25519(x) => {
                json!({ "crv": "Ed25519", "kty": "OKP", "x": base64url::encode(x) })
            }
            Self::P256 { x, y } => {
                let (x, y) = (base64url::encode(x), base64url::encode(y));
                json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
            }
            Self::Rsa { n, e } => {
                let (n, e) = (base64url::encode(n), base64url::encode(e));
                json!({ "e": e, "kty": "RSA", "n": n })
            }
        }
    }

    /// The thumbprint of RFC 7638, with SHA-256.
    pub fn thumbprint(&self) -> [u8; 32] {
        // Without white space, in the order of the alphabet: as the RFC has it.
        let digest = digest::digest(&digest::SHA256, self.to_json().to_string().as_bytes());
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256 { .. } => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Is that the key's signature, under the algorithm that it is for?
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if algorithm != self.algorithm() {
            return false;
        }
        let verified = match self {
            Self::Ed25519(key) => {
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, key);
                key.verify(message, signature)
            }
            Self::P256 { x, y } => {
                let point = [&[UNCOMPRESSED][..], x, y].concat();
                let parameters = &signature::ECDSA_P256_SHA256_FIXED;
                let key = signature::UnparsedPublicKey::new(parameters, point);
                key.verify(message, signature)
            }
            Self::Rsa { n, e } => {
                let key = signature::RsaPublicKeyComponents { n: &n[..], e: &e[..] };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.is_ok()
    }
}

/// The parts of a `SubjectPublicKeyInfo` in DER.
pub(crate) fn split_spki(der: &[u8]) -> Result<(AlgorithmIdentifierRef<'_>, &[u8]), Fault> {
    let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| "is not well-formed")?;
    let bytes = spki.subject_public_key.as_bytes().ok_or("is not well-formed")?;
    Ok((spki.algorithm, bytes))
}

/// What an uncompressed point begins with.
const UNCOMPRESSED: u8 = 4;

/// The coordinates of an uncompressed point.
pub(crate) fn coordinates<const N: usize>(point: &[u8]) -> Option<([u8; N], [u8; N])> {
    let (tag, rest) = point.split_first()?;
    let (x, y) = rest.split_at_checked(N)?;
    (*tag == UNCOMPRESSED).then_some((x.try_into().ok()?, y.try_into().ok()?))
}

pub(crate) fn is_curve(parameters: AnyRef<'_>, curve: ObjectIdentifier) -> bool {
    parameters.decode_as::<ObjectIdentifier>() == Ok(curve)
}

/// PKCS #1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// Of a key of small order anyone knows a signature, and some points have two encodings.
fn check_point(bytes: &[u8; 32]) -> Result<(), Fault> {
    let compressed = CompressedEdwardsY(*bytes);
    let point = compressed.decompress().ok_or("is no point of the curve")?;
    if point.is_small_order() {
        return Err("is a point of small order");
    }
    match point.compress() == compressed {
        true => Ok(()),
        false => Err("is not in its canonical encoding"),
    }
}

fn refusal(kind: ProblemType, fault: Fault) -> Problem {
    Problem::new(kind, format!("the key {fault}"))
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| {
        Problem::new(ProblemType::Malformed, format!("the key has no text \"{name}\""))
    })
}

fn bytes(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Problem> {
    base64url::decode(text(members, name)?).ok_or_else(|| {
        let detail = format!("\"{name}\" of the key is not base64url without padding");
        Problem::new(ProblemType::Malformed, detail)
    })
}

fn fixed<const N: usize>(members: &Map<String, Value>, name: &str) -> Result<[u8; N], Problem> {
    bytes(members, name)?.try_into().map_err(|_| {
        let detail = format!("\"{name}\" of the key is not {N} bytes long");
        Problem::new(ProblemType::BadPublicKey, detail)
    })
}

const TAG_ED25519: u8 = 0;
const TAG_P256: u8 = 1;
const TAG_RSA: u8 = 2;

impl Write for Jwk {
    fn write(&self, buf: &mut impl BufMut) {
        match self {
            Self::Ed25519(key) => {
                TAG_ED25519.write(buf);
                key.write(buf);
            }
            Self::P256 { x, y } => {
                TAG_P256.write(buf);
                x.write(buf);
                y.write(buf);
            }
            Self::Rsa { n, e } => {
                TAG_RSA.write(buf);
                n.write(buf);
                e.write(buf);
            }
        }
    }
}

impl EncodeSize for Jwk {
    fn encode_size(&self) -> usize {
        1 + match self {
            Self::Ed25519(_) => 32,
            Self::P256 { .. } => 64,
            Self::Rsa { n, e } => n.encode_size() + e.encode_size(),
        }
    }
}

impl Read for Jwk {
    type Cfg = ();

    /// Takes every key that is in its one form. Whether it is weak was asked when it came in.
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, wire::Error> {
        let (key, form) = match u8::read_cfg(buf, &())? {
            TAG_ED25519 => {
                let key = <[u8; 32]>::read_cfg(buf, &())?;
                (Self::Ed25519(key), check_point(&key))
            }
            TAG_P256 => {
                let x = <[u8; 32]>::read_cfg(buf, &())?;
                (Self::P256 { x, y: <[u8; 32]>::read_cfg(buf, &())? }, Ok(()))
            }
            TAG_RSA => {
                let (n, e) = (Blob::read_cfg(buf, &())?, Blob::read_cfg(buf, &())?);
                let form = rsa::check_form(&n, &e);
                (Self::Rsa { n, e }, form)
            }
            other => return Err(wire::Error::InvalidEnum(other)),
        };
        form.map_err(|fault| wire::Error::Invalid("Jwk", fault))?;
        Ok(key)
    }
}
