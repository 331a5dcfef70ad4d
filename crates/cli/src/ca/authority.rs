//! A home folder's certification authority.

use super::policy::{self, Dealt, Outlook, PolicySection};
use super::{
    FOUNDING, FRONT_CHAIN, FRONT_KEY, ISSUING, NONCE_KEYS, POLICY, ROOT, ROOT_LIST, ceremony,
};
use crate::Failure;
use crate::home::{Home, PublicHome, check_mode, read, read_secret};
use maftia_crypto::GroupKeys;
use maftia_node::acme::{AcmeConfig, CertificateFiles, SignedNonces};
use maftia_node::production::Authority;
use maftia_node::validation::ValidationConfig;
use maftia_services::ca::{NonceKey, Policy, Settings};
use maftia_services::x509::{Issuer, from_pem, rsa_public_key};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

/// Reads and checks the authority of a group that has one: how it began, and how this server is set
/// up for its clients.
pub fn load(home: &Home) -> Result<Option<Authority>, Failure> {
    let (folder, public) = (&home.folder, &home.public);
    let me = home.group.me();
    let Some(address) = public.config.servers[me.index()].acme else { return Ok(None) };
    let path = folder.join(FOUNDING);
    let refused = |error: &dyn Display| Failure::file(&path, "is refused", &error);
    let founding = Settings::decoded(&read_secret(&path)?);
    let founding = founding.ok_or_else(|| refused(&"it was altered"))?;
    let founding = Policy::new(founding, &public.config.structure);
    let founding = founding.map_err(|error| refused(&error))?;
    check_nonce_key(home, founding.settings())?;
    check_mode(&folder.join(POLICY))?;
    let rules = rules(folder)?;
    let wish = wished(folder, public, &rules)?;
    let acme = acme_config(home, address, rules.outlook());
    Ok(Some(Authority { acme, founding, wish }))
}

/// The policy that a home folder asks for.
pub(super) fn wish(folder: &Path, public: &PublicHome) -> Result<Policy, Failure> {
    wished(folder, public, &rules(folder)?)
}

fn rules(folder: &Path) -> Result<PolicySection, Failure> {
    let path = folder.join(POLICY);
    let text = String::from_utf8(read(&path)?)
        .map_err(|_| Failure::file(&path, "is refused", &"it is not text"))?;
    Ok(policy::parse(&path, &text)?)
}

fn wished(folder: &Path, public: &PublicHome, rules: &PolicySection) -> Result<Policy, Failure> {
    let section = public.config.ca.as_ref().ok_or_else(|| {
        Failure::because("this group has no authority: there is no [ca] in its group.toml")
    })?;
    let dealt = Dealt {
        issuing: issuing(folder, &public.keys)?,
        root: certificate(&folder.join(ROOT))?,
        nonce_keys: nonce_keys(folder)?,
        key: ceremony::ISSUING_KEY,
    };
    Policy::new(rules.settings(section, dealt), &public.config.structure)
        .map_err(|error| Failure::file(&folder.join(POLICY), "is refused", &error))
}

fn acme_config(home: &Home, address: SocketAddr, outlook: Outlook) -> AcmeConfig {
    let Outlook { resolvers, http_port, tls_port, refuse_private } = outlook;
    AcmeConfig {
        address,
        certificate: Some(CertificateFiles {
            chain: home.folder.join(FRONT_CHAIN),
            key: home.folder.join(FRONT_KEY),
        }),
        root_list: Some(home.folder.join(ROOT_LIST)),
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
fn issuing(folder: &Path, keys: &GroupKeys) -> Result<Vec<u8>, Failure> {
    let path = folder.join(ISSUING);
    let issuing = certificate(&path)?;
    let refused = |error: &dyn Display| Failure::file(&path, "is refused", &error);
    let issuer = Issuer::new(&issuing).map_err(|error| refused(&error))?;
    let key = issuing_key(keys).map_err(|error| refused(&error))?;
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

/// The servers' keys for nonces.
pub(super) fn nonce_keys(folder: &Path) -> Result<Vec<NonceKey>, Failure> {
    let path = folder.join(NONCE_KEYS);
    let refused = |problem: &str| Failure::file(&path, "is refused", &problem);
    let text = String::from_utf8(read(&path)?).map_err(|_| refused("it is not text"))?;
    let key = |line: &str| const_hex::decode_to_array(line.trim()).map(NonceKey);
    let keys: Result<Vec<NonceKey>, _> = text.lines().map(key).collect();
    keys.map_err(|_| refused("a line is not 64 hexadecimal digits"))
}

/// What this server signs, the others must take for its word.
fn check_nonce_key(home: &Home, settings: &Settings) -> Result<(), Failure> {
    let me = home.group.me();
    let seed = ceremony::nonce_seed(&home.keyring);
    let own = SignedNonces::new(settings.base.as_str(), me, &seed.0).key();
    match settings.nonce_keys.get(me.index()) == Some(&own) {
        true => Ok(()),
        false => {
            let path = home.folder.join(FOUNDING);
            Err(Failure::file(&path, "is refused", &"this server's key is not in it"))
        }
    }
}
