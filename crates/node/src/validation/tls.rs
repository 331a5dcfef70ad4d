//! Handshakes with hosts whose certificates nobody vouches for.
//!
//! What a host shows is not verified here, except that the host holds its key: that is all there
//! is to verify of a certificate made for a challenge, and more than matters to a look by HTTP.
//! The library's own verification would also refuse the critical extension of `tls-alpn-01`.
//! Sessions are not resumed: a look must not see what an earlier one was shown.

use super::Why;
use super::hosts::Host;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// The protocol of `tls-alpn-01`.
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Makes handshakes.
pub(super) struct Handshakes {
    http: TlsConnector,
    acme: TlsConnector,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        let provider = Arc::new(ring::default_provider());
        let connector = |protocol: &[u8]| {
            TlsConnector::from(Arc::new(client_config(Arc::clone(&provider), protocol)))
        };
        Self { http: connector(b"http/1.1"), acme: connector(ACME_TLS) }
    }

    /// With whoever answers for `host`, for HTTP.
    pub(super) async fn anyone(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Why> {
        let name = match host {
            Host::Name(name) => server_name(name)?,
            Host::Address(address) => ServerName::from(*address),
        };
        self.http.connect(name, stream).await.map_err(|error| Why::Handshake(error.to_string()))
    }

    /// The certificate that is shown to who asks for `host` by the protocol of `tls-alpn-01`. An
    /// address is asked for by its name in the reverse zone. (RFC 8738 6)
    pub(super) async fn certificate(&self, host: &Host, stream: TcpStream) -> Result<Vec<u8>, Why> {
        let name = match host {
            Host::Name(name) => server_name(name)?,
            Host::Address(address) => server_name(&reverse_name(*address))?,
        };
        let shaken = self.acme.connect(name, stream).await;
        let shaken = shaken.map_err(|error| Why::Handshake(error.to_string()))?;
        let (_, connection) = shaken.get_ref();
        if connection.alpn_protocol() != Some(ACME_TLS) {
            return Err(Why::Handshake("the host does not speak acme-tls/1".into()));
        }
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let nothing = Why::Handshake("no certificate".into());
        Ok(shown.ok_or(nothing)?.to_vec())
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Why> {
    let name = ServerName::try_from(name.to_owned());
    name.map_err(|_| Why::Unsuitable("this name cannot be asked for in a handshake"))
}

/// Under which name an address is found in the reverse zones.
pub(super) fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(short) => {
            let [a, b, c, d] = short.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(long) => {
            let octets = long.octets().into_iter().rev();
            let nibbles = octets.map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}

/// Is `certificate` signed with its own key?
pub(super) fn is_signed_by_itself(certificate: &Certificate) -> bool {
    let (Some(algorithm), Ok(message), Some(signature)) = (
        contents(&certificate.signature_algorithm),
        certificate.tbs_certificate.to_der(),
        certificate.signature.as_bytes(),
    ) else {
        return false;
    };
    let known = ring::default_provider().signature_verification_algorithms.all.iter();
    let fits = known.filter(|known| known.signature_alg_id().as_ref() == algorithm);
    let key = &certificate.tbs_certificate.subject_public_key_info;
    verifies(fits, key, &message, signature)
}

/// Does one of `algorithms` verify it?
fn verifies<'a>(
    algorithms: impl IntoIterator<Item = &'a &'a dyn SignatureVerificationAlgorithm>,
    key: &SubjectPublicKeyInfoOwned,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let (Some(kind), Some(bits)) = (contents(&key.algorithm), key.subject_public_key.as_bytes())
    else {
        return false;
    };
    algorithms
        .into_iter()
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == kind)
        .any(|algorithm| algorithm.verify_signature(bits, message, signature).is_ok())
}

/// What stands in the sequence, as the library writes algorithms.
fn contents(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let sequence = algorithm.to_der().ok()?;
    Some(AnyRef::from_der(&sequence).ok()?.value().to_vec())
}

fn client_config(provider: Arc<CryptoProvider>, protocol: &[u8]) -> ClientConfig {
    let verifier = HolderOnly(provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for all versions");
    let verifier = Arc::new(verifier);
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// Verifies nothing but that the host holds the key of what it shows.
#[derive(Debug)]
struct HolderOnly(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for HolderOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of(shown)?;
        let known = self.0.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let algorithms = known.flat_map(|(_, algorithms)| *algorithms);
        match verifies(algorithms, &key, message, signed.signature()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_of(shown)?.to_der().map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn key_of(shown: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoOwned, Error> {
    let certificate = Certificate::from_der(shown).map_err(|_| CertificateError::BadEncoding)?;
    Ok(certificate.tbs_certificate.subject_public_key_info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names_in_the_reverse_zones() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reverse_name(address.parse().expect("an address")), expected);
        };
        check("192.0.2.7", "7.2.0.192.in-addr.arpa");
        check(
            "2001:db8::8:1",
            "1.0.0.0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        );
    }
}
