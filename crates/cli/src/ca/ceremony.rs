//! The authority's part of the dealer's ceremony: the root's key in shares for its custodians, the
//! certificates of root and issuing authority, and those of the front ends.
//!
//! Everything is signed by the shares that were just dealt: shares that do not work fail here, and
//! not in service.

use super::policy::{self, Dealt};
use super::{
    FOUNDING, FRONT_CHAIN, FRONT_KEY, ISSUING, NONCE_KEYS, POLICY, ROOT, ROOT_KEYS, ROOT_LIST,
    ROOT_SHARE, root_list,
};
use crate::Failure;
use crate::config::CaSection;
use crate::deal::{NewFile, Told, sign_with, write_folder};
use crate::home::NOTARY_KEY;
use maftia_base::{AdversaryStructure, Digest, Epoch, Formula, Party};
use maftia_crypto::{DealSpec, GroupKeys, KeyId, RealKeyring, RsaSpec, deal};
use maftia_node::acme::{NonceSeed, SignedNonces};
use maftia_services::ca::{
    CRL_PATH, ISSUING_PATH, NonceKey, OCSP_PATH, PolicyError, ROOT_CRL_PATH, ROOT_PATH,
};
use maftia_services::x509::{
    Authority, DOMAIN_VALIDATED, Delegation, Issuer, Leaf, NameConstraints, Serial, Subject,
    Unsigned, Usage, to_pem,
};
use rand_core::{CryptoRng, Rng};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The issuing authority's key among the group's threshold keys.
pub const ISSUING_KEY: KeyId = KeyId(2);

/// The root's key among those of its custodians, who are a group of their own.
pub const ROOT_KEY: KeyId = KeyId(3);

const DAY: u64 = 24 * 3600;
const YEAR: u64 = 365 * DAY + DAY / 4;

/// What the ceremony makes for an authority.
pub struct Authorities {
    root_keys: GroupKeys,
    root_shares: Vec<Zeroizing<Vec<u8>>>,
    /// In DER, as the one below.
    root: Vec<u8>,
    root_list: Vec<u8>,
    issuing: Vec<u8>,
    front_ends: Vec<FrontEnd>,
    nonce_keys: Vec<NonceKey>,
}

/// With what a front end speaks TLS.
struct FrontEnd {
    /// In DER.
    certificate: Vec<u8>,
    /// In PEM.
    key: Zeroizing<Vec<u8>>,
}

impl Authorities {
    /// Makes the root's key, all certificates, and the front ends' keys. `servers` hold the issuing
    /// key.
    pub fn make(
        section: &CaSection,
        servers: &[RealKeyring],
        now: u64,
        passphrase: Option<&[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Failure> {
        let (root_keys, custodians) =
            deal(&root_spec(section), rng, &mut Told::default().told())
                .map_err(|error| Failure::because(format!("the root's key: {error}")))?;
        let mut root_shares = Vec::new();
        let mut keyrings = Vec::new();
        for custodian in custodians {
            root_shares.push(custodian.to_file(passphrase, rng));
            let keyring = RealKeyring::new(root_keys.clone(), custodian)
                .map_err(|error| Failure::because(error.to_string()))?;
            keyrings.push(keyring);
        }
        let root = root_certificate(section, &root_keys, &keyrings, now, rng)?;
        let list = root_list::first(&root, now)?;
        let root_list = list.finish(&sign_with(ROOT_KEY, list.signing_input(), &keyrings)?);
        let group = servers.first().expect("a group has at least one server").public();
        let unsigned = unsigned_issuing(section, &root, group, (now, section.years), rng)?;
        let signature = sign_with(ROOT_KEY, unsigned.signing_input(), &keyrings)?;
        let issuing = unsigned.finish(&signature);
        let front = |_| front_end(section, &issuing, servers, now, rng);
        let front_ends = servers.iter().map(front).collect::<Result<_, _>>()?;
        let nonce_keys = servers.iter().map(|server| nonce_key(&section.url, server)).collect();
        Ok(Self { root_keys, root_shares, root, root_list, issuing, front_ends, nonce_keys })
    }

    /// Writes what a server needs beside what every group has.
    pub fn write_home(
        &self,
        folder: &Path,
        index: usize,
        (section, rules): (&CaSection, &str),
    ) -> Result<(), Failure> {
        let FrontEnd { certificate, key } = &self.front_ends[index];
        let (root, issuing) = (pem(&self.root)?, pem(&self.issuing)?);
        let chain = pem(certificate)? + &issuing;
        let mut nonce_keys = String::new();
        for NonceKey(key) in &self.nonce_keys {
            nonce_keys += &const_hex::encode(key);
            nonce_keys.push('\n');
        }
        let founding = self.founding(section, rules)?;
        let list = root_list::to_pem(&self.root_list)?;
        let files: [NewFile<'_>; 8] = [
            (FOUNDING, true, &founding),
            (POLICY, true, rules.as_bytes()),
            (ROOT, false, root.as_bytes()),
            (ROOT_LIST, false, &list),
            (ISSUING, false, issuing.as_bytes()),
            (NONCE_KEYS, false, nonce_keys.as_bytes()),
            (FRONT_CHAIN, false, chain.as_bytes()),
            (FRONT_KEY, true, key),
        ];
        write_folder(folder, files)
    }

    /// The policy with which the group begins.
    fn founding(&self, section: &CaSection, rules: &str) -> Result<Vec<u8>, Failure> {
        let dealt = Dealt {
            issuing: self.issuing.clone(),
            root: self.root.clone(),
            nonce_keys: self.nonce_keys.clone(),
            key: ISSUING_KEY,
        };
        let settings = policy::parse(Path::new(POLICY), rules)?.settings(section, dealt);
        let encoded = settings.encoded();
        let encoded = encoded.ok_or_else(|| Failure::because(PolicyError::TooLong.to_string()))?;
        Ok(encoded.to_vec())
    }

    /// Writes what the custodians of the root's key need.
    pub fn write_custodians(&self, folders: &[PathBuf]) -> Result<(), Failure> {
        let (keys, root) = (self.root_keys.to_file(), pem(&self.root)?);
        for (folder, share) in folders.iter().zip(&self.root_shares) {
            let files: [NewFile<'_>; 3] = [
                (ROOT, false, root.as_bytes()),
                (ROOT_KEYS, false, &keys),
                (ROOT_SHARE, true, share),
            ];
            write_folder(folder, files)?;
        }
        Ok(())
    }
}

/// Where the custodians' folders are.
pub fn custodian_folders(section: &CaSection, out: &Path) -> Vec<PathBuf> {
    (0..section.custodians).map(|index| out.join(format!("custodian-{index}"))).collect()
}

/// What a key that is dealt is for.
pub fn name_of(key: KeyId) -> &'static str {
    match key {
        NOTARY_KEY => "the notary",
        ISSUING_KEY => "the issuing authority",
        ROOT_KEY => "the root",
        _ => "another key",
    }
}

/// With what a server signs nonces: made from a secret that it has already, for nothing else.
pub fn nonce_seed(server: &RealKeyring) -> NonceSeed {
    NonceSeed(Digest::of("maftia acme nonce seed", server.link_seed()).0)
}

fn nonce_key(url: &str, server: &RealKeyring) -> NonceKey {
    SignedNonces::new(url, Party::new(0), &nonce_seed(server).0).key()
}

fn pem(certificate: &[u8]) -> Result<String, Failure> {
    to_pem(certificate).map_err(|error| failed("authority's", &error))
}

/// The root's custodians: people or safes, any `needed` of which sign.
fn root_spec(section: &CaSection) -> DealSpec {
    let (custodians, needed) = (section.custodians, section.needed);
    // As many may be corrupt as cannot sign, and as can be done without.
    let corrupt = (needed - 1).min(custodians - needed);
    let structure = AdversaryStructure::threshold(custodians, corrupt);
    let children = (0..custodians).map(|index| Formula::Leaf(Party::new(index))).collect();
    DealSpec {
        structure: structure.expect("the configuration was checked"),
        sharing: Formula::Gate { threshold: needed, children },
        epoch: Epoch(0),
        context: Digest::of("maftia root of an authority", section.organization.as_bytes()),
        rsa: vec![RsaSpec { key: ROOT_KEY, bits: section.key_bits, primes: None }],
    }
}

fn root_certificate(
    section: &CaSection,
    keys: &GroupKeys,
    custodians: &[RealKeyring],
    now: u64,
    rng: &mut impl Rng,
) -> Result<Vec<u8>, Failure> {
    let common_name = format!("{} root", section.common_name);
    let public_key = public_key(keys, ROOT_KEY)?;
    let template = Authority {
        subject: Subject {
            country: section.country.as_deref(),
            organization: &section.organization,
            common_name: &common_name,
        },
        serial: serial(rng),
        public_key: &public_key,
        // Clocks of clients may be behind; a day is more than any that works.
        not_before: now.saturating_sub(DAY),
        not_after: now + section.root_years * YEAR,
        // A root does not limit the path: it is the issuing certificate that does.
        path_len: None,
        names: None,
    };
    let unsigned = template.self_signed().map_err(|error| failed("root", &error))?;
    let signature = sign_with(ROOT_KEY, unsigned.signing_input(), custodians)?;
    Ok(unsigned.finish(&signature))
}

/// The issuing authority's certificate, to be signed by the root.
pub fn unsigned_issuing(
    section: &CaSection,
    root: &[u8],
    keys: &GroupKeys,
    (now, years): (u64, u64),
    rng: &mut impl Rng,
) -> Result<Unsigned, Failure> {
    let public_key = public_key(keys, ISSUING_KEY)?;
    let domains: Vec<&str> = section.permitted.dns.iter().map(String::as_str).collect();
    let is_constrained = !domains.is_empty() || !section.permitted.ips.is_empty();
    let names = is_constrained
        .then(|| NameConstraints::permitting(&domains, &section.permitted.ips))
        .transpose()
        .map_err(|error| failed("issuing", &error))?;
    let authority = Authority {
        subject: Subject {
            country: section.country.as_deref(),
            organization: &section.organization,
            common_name: &section.common_name,
        },
        serial: serial(rng),
        public_key: &public_key,
        not_before: now.saturating_sub(DAY),
        not_after: now + years * YEAR,
        path_len: Some(0),
        names: names.as_ref(),
    };
    let url = |path| format!("{}{path}", section.plain_url);
    let (crl_url, issuer_url) = (url(ROOT_CRL_PATH), url(ROOT_PATH));
    let delegation = Delegation {
        usage: Usage::Both,
        policy: DOMAIN_VALIDATED,
        crl_url: Some(&crl_url),
        issuer_url: Some(&issuer_url),
    };
    let issuer = Issuer::new(root).map_err(|error| failed("root", &error))?;
    issuer.authority(&authority, &delegation).map_err(|error| failed("issuing", &error))
}

/// The first certificate of a front end, with a key of its own.
fn front_end(
    section: &CaSection,
    issuing: &[u8],
    servers: &[RealKeyring],
    now: u64,
    rng: &mut impl Rng,
) -> Result<FrontEnd, Failure> {
    let (key, public_key) = fresh_key().map_err(|error| failed("front end's", &error))?;
    let url = |path: &str| format!("{}{path}", section.plain_url);
    let (crl_url, ocsp_url, issuer_url) = (url(CRL_PATH), url(OCSP_PATH), url(ISSUING_PATH));
    let names = [section.host.clone()].into();
    let leaf = Leaf {
        serial: serial(rng),
        names: &names,
        public_key: &public_key,
        not_before: now.saturating_sub(3600),
        not_after: now + section.front_end_days * DAY,
        usage: Usage::Server,
        must_staple: false,
        crl_url: &crl_url,
        ocsp_url: &ocsp_url,
        issuer_url: &issuer_url,
        policy: DOMAIN_VALIDATED,
    };
    let issuer = Issuer::new(issuing).map_err(|error| failed("issuing", &error))?;
    let unsigned = issuer.leaf(&leaf).map_err(|error| failed("front end's", &error))?;
    let signature = sign_with(ISSUING_KEY, unsigned.signing_input(), servers)?;
    Ok(FrontEnd { certificate: unsigned.finish(&signature), key })
}

/// A key on P-256: in PEM, and its public half in DER.
fn fresh_key() -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), openssl::error::ErrorStack> {
    let curve = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1)?;
    let key = openssl::pkey::PKey::from_ec_key(openssl::ec::EcKey::generate(&curve)?)?;
    Ok((Zeroizing::new(key.private_key_to_pem_pkcs8()?), key.public_key_to_der()?))
}

fn public_key(keys: &GroupKeys, key: KeyId) -> Result<Vec<u8>, Failure> {
    let (modulus, exponent) = keys.rsa(key).ok_or_else(|| {
        Failure::because("these keys were dealt without an authority: no [ca] in group.toml")
    })?;
    maftia_services::x509::rsa_public_key(&modulus, &exponent)
        .map_err(|error| failed("authority's", &error))
}

fn serial(rng: &mut impl Rng) -> Serial {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Serial::new(bytes).expect("its top bit is clear, the next is not")
}

fn failed(whose: &str, error: &dyn Display) -> Failure {
    Failure::because(format!("the {whose} certificate cannot be made: {error}"))
}
