//! `maftia deal`: the dealer's ceremony.

use crate::Failure;
use crate::args::Deal;
use crate::ca::ceremony::{self, Authorities, ISSUING_KEY};
use crate::ca::{ISSUING, POLICY, ROOT, policy};
use crate::config::{self, GroupConfig};
use crate::home::{self, BEGUN, CERTIFICATE, CONFIG, JOURNAL, KEYS, NOTARY_KEY, SHARE};
use maftia_base::time::Reading;
use maftia_base::{Epoch, Party};
use maftia_crypto::{
    DealSpec, Done, GroupKeys, KeyId, Progress, RealKeyring, RealSuite, RsaSpec, SigningInput,
    Suite, Work, deal,
};
use maftia_services::notary::CertificateTemplate;
use maftia_services::x509::to_pem;
use openssl::bn::BigNum;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use rand::rngs::SysRng;
use rand_core::{Rng, UnwrapErr};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How long the notary's certificate is valid.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(24 * 3650);

/// Everything the ceremony makes, before it is written.
struct Dealt {
    keys: GroupKeys,
    shares: Vec<Zeroizing<Vec<u8>>>,
    certificate: String,
    authorities: Option<Authorities>,
}

/// A file of a folder, whether it is secret, and what is in it.
pub(crate) type NewFile<'a> = (&'a str, bool, &'a [u8]);

/// Deals, and writes one home folder a server.
pub fn run(args: &Deal) -> Result<(), Failure> {
    let config = config::load(&args.group)?;
    let text = fs::read_to_string(&args.group)
        .map_err(|error| Failure::file(&args.group, "cannot be read", &error))?;
    let passphrase = home::passphrase(args.passphrase_file.as_deref())?;
    let rules = match config.ca {
        None => None,
        Some(_) => Some(read_policy(&args.group.with_file_name(POLICY))?),
    };
    let passphrase = passphrase.as_deref().map(Vec::as_slice);
    let folders = deal_to(&config, (&text, rules.as_deref()), &args.out, passphrase)?;
    println!("Dealt. One home folder a server; move each to its host, by a way you trust:");
    for folder in &folders {
        println!("  {}", folder.display());
    }
    if let Some(ca) = &config.ca {
        println!(
            "And one for each custodian of the root's key, {} of {} of whom sign:",
            ca.needed, ca.custodians
        );
        for folder in ceremony::custodian_folders(ca, &args.out) {
            println!("  {}", folder.display());
        }
        println!("Clients of the authority install {ROOT}.");
    }
    println!(
        "{SHARE} in each is secret; all else is public. Clients need {CERTIFICATE}.\n\
         The dealer's own copies are wiped from memory; now remove these folders from this machine."
    );
    Ok(())
}

/// Reads and checks what the authority issues to whom.
fn read_policy(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let remedy = format!("{error}. Right would be: what `maftia ca example` prints, edited");
        Failure::file(path, "cannot be read", &remedy)
    })?;
    policy::parse(path, &text)?;
    Ok(text)
}

/// Deals for `config`, whose text is given, with that of the authority's policy if there is one;
/// writes the home folders under `out`.
pub fn deal_to(
    config: &GroupConfig,
    (text, rules): (&str, Option<&str>),
    out: &Path,
    passphrase: Option<&[u8]>,
) -> Result<Vec<PathBuf>, Failure> {
    let folders: Vec<PathBuf> = config.servers.iter().map(|s| out.join(&s.name)).collect();
    let custodians = config.ca.iter().flat_map(|ca| ceremony::custodian_folders(ca, out));
    let all: Vec<PathBuf> = folders.iter().cloned().chain(custodians).collect();
    refuse_to_overwrite(&all)?;
    let dealt = ceremony(config, passphrase)?;
    let keys = dealt.keys.to_file();
    let public: [NewFile<'_>; 3] = [
        (CONFIG, false, text.as_bytes()),
        (KEYS, false, &keys),
        (CERTIFICATE, false, dealt.certificate.as_bytes()),
    ];
    for (index, (folder, share)) in folders.iter().zip(&dealt.shares).enumerate() {
        write_folder(folder, public)?;
        write_folder(folder, [(SHARE, true, share.as_slice())])?;
        if let (Some(authorities), Some(ca)) = (&dealt.authorities, &config.ca) {
            authorities.write_home(folder, index, (ca, rules.unwrap_or_default()))?;
        }
    }
    if let (Some(authorities), Some(ca)) = (&dealt.authorities, &config.ca) {
        authorities.write_custodians(&ceremony::custodian_folders(ca, out))?;
    }
    Ok(folders)
}

/// Writes new files, durably, into a folder that is made if need be.
pub(crate) fn write_folder<'a>(
    folder: &Path,
    files: impl IntoIterator<Item = NewFile<'a>>,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file(folder, "cannot be made", &error))?;
    for (name, is_secret, contents) in files {
        write(&folder.join(name), contents, if is_secret { 0o600 } else { 0o644 })?;
    }
    Ok(())
}

fn refuse_to_overwrite(folders: &[PathBuf]) -> Result<(), Failure> {
    for folder in folders {
        for name in [SHARE, CONFIG, KEYS, CERTIFICATE, JOURNAL, BEGUN, ROOT, ISSUING] {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok() {
                let remedy = "another --out; dealing anew makes new keys, and old journals useless";
                return Err(Failure::file(&path, "exists and is not overwritten", &remedy));
            }
        }
    }
    Ok(())
}

fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error| Failure::file(path, "cannot be written", &error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(contents).map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn ceremony(config: &GroupConfig, passphrase: Option<&[u8]>) -> Result<Dealt, Failure> {
    let mut rng = UnwrapErr(SysRng);
    let notary = RsaSpec { key: NOTARY_KEY, bits: config.notary.key_bits, primes: None };
    let issuing = config.ca.as_ref();
    let issuing = issuing.map(|ca| RsaSpec { key: ISSUING_KEY, bits: ca.key_bits, primes: None });
    let spec = DealSpec {
        structure: config.structure.clone(),
        sharing: config.sharing.clone(),
        epoch: Epoch(0),
        context: config.context(),
        rsa: [notary].into_iter().chain(issuing).collect(),
    };
    let (keys, servers) = deal(&spec, &mut rng, &mut Told::default().told())
        .map_err(|error| Failure::because(error.to_string()))?;
    let mut shares = Vec::new();
    let mut keyrings = Vec::new();
    for server in servers {
        shares.push(server.to_file(passphrase, &mut rng));
        let keyring = RealKeyring::new(keys.clone(), server)
            .map_err(|error| Failure::because(error.to_string()))?;
        keyrings.push(keyring);
    }
    let now = seconds_now()?;
    let certificate = certify(config, &keys, &keyrings, now, &mut rng)?;
    let make = |ca| Authorities::make(ca, &keyrings, now, passphrase, &mut rng);
    let authorities = config.ca.as_ref().map(make).transpose()?;
    Ok(Dealt { keys, shares, certificate, authorities })
}

/// How far the ceremony is.
#[derive(Default)]
pub(crate) struct Told {
    candidates: u64,
}

impl Told {
    /// Says on the terminal what is looked for and found.
    pub(crate) fn told(&mut self) -> impl FnMut(Progress) {
        |progress| match progress {
            Progress::Candidate(key) => {
                if self.candidates == 0 {
                    eprint!("Looking for two safe primes, for {} ", ceremony::name_of(key));
                }
                self.candidates += 1;
                if self.candidates.is_multiple_of(50) {
                    eprint!(".");
                }
            }
            _ => {
                self.candidates = 0;
                eprintln!(" found and shared.");
            }
        }
    }
}

/// The time by this machine's clock, in seconds since 1970-01-01 UTC.
pub(crate) fn seconds_now() -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| Failure::because("this machine's clock is before 1970"))?;
    Ok(now.as_secs())
}

/// The notary's certificate, signed by the very shares that will sign the tokens: a ceremony whose
/// shares do not work fails here and not in service.
fn certify(
    config: &GroupConfig,
    keys: &GroupKeys,
    keyrings: &[RealKeyring],
    now: u64,
    rng: &mut impl Rng,
) -> Result<String, Failure> {
    let mut serial = [0; 16];
    rng.fill_bytes(&mut serial);
    let failed = |error: &dyn std::fmt::Display| {
        Failure::because(format!("the notary's certificate cannot be made: {error}"))
    };
    let public_key = public_key(keys).map_err(|error| failed(&error))?;
    let template = CertificateTemplate {
        common_name: &config.name,
        organization: &config.notary.organization,
        // Clocks of clients may be behind; a day is more than any that works.
        not_before: now.saturating_sub(86_400),
        not_after: now + CERTIFICATE_LIFE.as_secs(),
        serial,
        public_key: &public_key,
    };
    let unsigned = template.self_signed().map_err(|error| failed(&error))?;
    let signature = sign_with(NOTARY_KEY, unsigned.signing_input(), keyrings)?;
    to_pem(&unsigned.finish(&signature)).map_err(|error| failed(&error))
}

/// The notary's public key, in DER.
pub(crate) fn public_key(keys: &GroupKeys) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let (modulus, exponent) = keys.rsa(NOTARY_KEY).expect("every ceremony makes it");
    let rsa =
        Rsa::from_public_components(BigNum::from_slice(&modulus)?, BigNum::from_slice(&exponent)?)?;
    PKey::from_rsa(rsa)?.public_key_to_der()
}

/// Signs with all shares of a group, as the group would.
pub(crate) fn sign_with(
    key: KeyId,
    input: SigningInput,
    keyrings: &[RealKeyring],
) -> Result<Vec<u8>, Failure> {
    let mut shares = Vec::new();
    for (index, keyring) in keyrings.iter().enumerate() {
        let work = Work::SignatureShare { key, input: input.clone(), with_proof: false };
        let done = RealSuite::run_many(vec![work], keyring, Reading::default());
        if let Some(Done::SignatureShare(share)) = done.into_iter().next() {
            shares.push((Party::new(index), share));
        }
    }
    let work = Work::CombineSignature { key, input, shares };
    let first = keyrings.first().expect("a group has at least one member");
    let done = RealSuite::run_many(vec![work], first, Reading::default());
    match done.into_iter().next() {
        Some(Done::Signature { signature: Some(signature), .. }) => Ok(signature.to_vec()),
        _ => Err(Failure::because("the dealt shares do not combine to a signature")),
    }
}
