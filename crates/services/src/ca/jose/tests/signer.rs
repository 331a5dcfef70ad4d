//! What clients do: keys with their secrets, signatures, requests.

use crate::ca::jose::{Jwk, base64url};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer as OpensslSigner;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A key with its secret, and the algorithm that it is for.
pub(crate) struct Signer {
    pub(crate) secret: PKey<Private>,
    pub(crate) algorithm: &'static str,
}

/// One of each kind; keys of RSA take long to make.
pub(crate) static SIGNERS: LazyLock<[Signer; 3]> =
    LazyLock::new(|| [Signer::ed25519(), Signer::p256(), Signer::rsa(2048)]);

impl Signer {
    pub(crate) fn ed25519() -> Self {
        Self { secret: PKey::generate_ed25519().unwrap(), algorithm: "EdDSA" }
    }

    pub(crate) fn p256() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = EcKey::generate(&group).unwrap();
        Self { secret: PKey::from_ec_key(key).unwrap(), algorithm: "ES256" }
    }

    pub(crate) fn rsa(bits: u32) -> Self {
        let key = Rsa::generate(bits).unwrap();
        Self { secret: PKey::from_rsa(key).unwrap(), algorithm: "RS256" }
    }

    /// The public key, as a client writes it.
    pub(crate) fn json(&self) -> Value {
        match self.secret.id() {
            Id::ED25519 => {
                let x = base64url::encode(&self.secret.raw_public_key().unwrap());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
            }
            Id::EC => {
                let key = self.secret.ec_key().unwrap();
                let mut cx = BigNumContext::new().unwrap();
                let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
                let point = key.public_key();
                point.affine_coordinates(key.group(), &mut x, &mut y, &mut cx).unwrap();
                let encode = |number: BigNum| base64url::encode(&number.to_vec_padded(32).unwrap());
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Id::RSA => {
                let key = self.secret.rsa().unwrap();
                let (n, e) = (key.n().to_vec(), key.e().to_vec());
                json!({ "kty": "RSA", "n": base64url::encode(&n), "e": base64url::encode(&e) })
            }
            other => panic!("{other:?} is no key of an account"),
        }
    }

    pub(crate) fn jwk(&self) -> Jwk {
        Jwk::from_json(&self.json()).unwrap()
    }

    /// The signature in the form of JOSE.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.sign_der(message);
        if self.secret.id() != Id::EC {
            return signature;
        }
        let signature = EcdsaSig::from_der(&signature).unwrap();
        let number = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).unwrap();
        [number(signature.r()), number(signature.s())].concat()
    }

    /// The signature as OpenSSL makes it: one of ECDSA is a sequence in DER.
    pub(crate) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        if self.secret.id() == Id::ED25519 {
            let mut signer = OpensslSigner::new_without_digest(&self.secret).unwrap();
            return signer.sign_oneshot_to_vec(message).unwrap();
        }
        let mut signer = OpensslSigner::new(MessageDigest::sha256(), &self.secret).unwrap();
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    /// A JWS with this protected header, whatever it says.
    pub(crate) fn jws(&self, header: &Value, payload: &[u8]) -> Value {
        flattened(header.to_string().as_bytes(), payload, |signed| self.sign(signed))
    }

    /// A header that brings the key.
    pub(crate) fn header(&self, url: &str, nonce: &str) -> Value {
        json!({ "alg": self.algorithm, "jwk": self.json(), "nonce": nonce, "url": url })
    }

    /// A header that names the account.
    pub(crate) fn header_of_account(&self, kid: &str, url: &str, nonce: &str) -> Value {
        json!({ "alg": self.algorithm, "kid": kid, "nonce": nonce, "url": url })
    }

    /// An external account binding of this key, by the owner of `mac_key`.
    pub(crate) fn binding(&self, mac_key: &[u8], kid: &str, url: &str) -> Value {
        let header = json!({ "alg": "HS256", "kid": kid, "url": url });
        bound(&header, self.json().to_string().as_bytes(), mac_key)
    }
}

/// A JWS of a header, a payload and what `sign` makes of the two.
pub(crate) fn flattened(
    header: &[u8],
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Value {
    let (protected, payload) = (base64url::encode(header), base64url::encode(payload));
    let signature = base64url::encode(&sign(format!("{protected}.{payload}").as_bytes()));
    json!({ "protected": protected, "payload": payload, "signature": signature })
}

/// A JWS with a MAC, whatever the header says.
pub(crate) fn bound(header: &Value, payload: &[u8], mac_key: &[u8]) -> Value {
    let mac_key = PKey::hmac(mac_key).unwrap();
    flattened(header.to_string().as_bytes(), payload, |signed| {
        let mut signer = OpensslSigner::new(MessageDigest::sha256(), &mac_key).unwrap();
        signer.sign_oneshot_to_vec(signed).unwrap()
    })
}
