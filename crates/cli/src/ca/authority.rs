//! A home folder's certification authority.

use super::policy::{self, Dealt, Outlook};
use super::{FRONT_CHAIN, FRONT_KEY, ISSUING, NONCE_KEYS, POLICY, ROOT, ceremony};
use crate::Failure;
use crate::config::CaSection;
use crate::home::{Home, read, read_secret};
use maftia_crypto::GroupKeys;
use maftia_node::acme::{AcmeConfig, CertificateFiles, SignedNonces};
use maftia_node::validation::ValidationConfig;
use maftia_services::ca::{NonceKey, Policy};
use maftia_services::x509::{Issuer, from_pem, rsa_public_key};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

/// Reads and checks the authority of a group that has one: what all servers must have in common,
/// and how this one is set up for its clients.
pub fn load(home: &Home) -> Result<Option<(AcmeConfig, Policy)>, Failure> {
    let config = &home.public.config;
    let me = home.group.me();
    let Some((section, address)) = config.ca.as_ref().zip(config.servers[me.index()].acme) else {
        return Ok(None);
    };
    let path = home.folder.join(POLICY);
    let text = String::from_utf8(read_secret(&path)?)
        .map_err(|_| Failure::file(&path, "is refused", &"it is not text"))?;
    let rules = policy::parse(&path, &text)?;
    let dealt = Dealt {
        issuing: issuing(home)?,
        root: certificate(&home.folder.join(ROOT))?,
        nonce_keys: nonce_keys(home, section)?,
        key: ceremony::ISSUING_KEY,
    };
    let settings = rules.settings(section, dealt);
    let policy = Policy::new(settings, &config.structure)
        .map_err(|error| Failure::file(&path, "is refused", &error))?;
    Ok(Some((acme_config(home, address, rules.outlook()), policy)))
}

fn acme_config(home: &Home, address: SocketAddr, outlook: Outlook) -> AcmeConfig {
    let Outlook { resolvers, http_port, tls_port, refuse_private } = outlook;
    AcmeConfig {
        address,
        certificate: Some(CertificateFiles {
            chain: home.folder.join(FRONT_CHAIN),
            key: home.folder.join(FRONT_KEY),
        }),
        nonce_seed: ceremony::nonce_seed(&home.keyring),
        validation: ValidationConfig {
            resolvers,
            http_port,
            tls_port,
            refuse_private,
            ..ValidationConfig::default()
        },
    }
}

/// The issuing certificate. With that of another key, the group would sign what nobody accepts.
fn issuing(home: &Home) -> Result<Vec<u8>, Failure> {
    let path = home.folder.join(ISSUING);
    let issuing = certificate(&path)?;
    let refused = |error: &dyn Display| Failure::file(&path, "is refused", &error);
    let issuer = Issuer::new(&issuing).map_err(|error| refused(&error))?;
    let key = issuing_key(&home.public.keys).map_err(|error| refused(&error))?;
    if issuer.public_key() != key {
        return Err(refused(&format!(
            "it is not for the authority's key in group.keys. Right would be: the {ISSUING} that \
             `maftia deal` wrote beside it, or one from `maftia ca finish-intermediate` for this \
             group"
        )));
    }
    Ok(issuing)
}

/// The issuing authority's public key, in DER.
pub(super) fn issuing_key(keys: &GroupKeys) -> Result<Vec<u8>, String> {
    let (modulus, exponent) = keys
        .rsa(ceremony::ISSUING_KEY)
        .ok_or("group.keys has no key of an authority: it was dealt without [ca]")?;
    rsa_public_key(&modulus, &exponent).map_err(|error| error.to_string())
}

/// The certificate in a file, in DER.
pub(super) fn certificate(path: &Path) -> Result<Vec<u8>, Failure> {
    let refused = |error: &dyn Display| Failure::file(path, "is refused", &error);
    let text = String::from_utf8(read(path)?).map_err(|_| refused(&"it is not text"))?;
    match <[Vec<u8>; 1]>::try_from(from_pem(&text).map_err(|error| refused(&error))?) {
        Ok([certificate]) => Ok(certificate),
        Err(others) => Err(refused(&format!("it has {} certificates, not one", others.len()))),
    }
}

/// The servers' keys for nonces, among which this server's own must be.
fn nonce_keys(home: &Home, section: &CaSection) -> Result<Vec<NonceKey>, Failure> {
    let path = home.folder.join(NONCE_KEYS);
    let refused = |problem: &str| Failure::file(&path, "is refused", &problem);
    let text = String::from_utf8(read(&path)?).map_err(|_| refused("it is not text"))?;
    let key = |line: &str| const_hex::decode_to_array(line.trim()).map(NonceKey);
    let keys: Result<Vec<NonceKey>, _> = text.lines().map(key).collect();
    let keys = keys.map_err(|_| refused("a line is not 64 hexadecimal digits"))?;
    let me = home.group.me();
    let seed = ceremony::nonce_seed(&home.keyring);
    let own = SignedNonces::new(section.url.as_str(), me, &seed.0).key();
    if keys.get(me.index()) != Some(&own) {
        return Err(refused("this server's line is not its key: it is of another group"));
    }
    Ok(keys)
}
