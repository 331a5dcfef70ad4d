//! `maftia deal`: the dealer's ceremony.

use crate::Failure;
use crate::args::Deal;
use crate::config::{self, GroupConfig};
use crate::home::{self, BEGUN, CERTIFICATE, CONFIG, JOURNAL, KEYS, NOTARY_KEY, SHARE};
use maftia_base::time::Reading;
use maftia_base::{Epoch, Party};
use maftia_crypto::{
    DealSpec, Done, GroupKeys, Progress, RealKeyring, RealSuite, RsaSpec, SigningInput, Suite,
    Work, deal,
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
}

/// Deals, and writes one home folder a server.
pub fn run(args: &Deal) -> Result<(), Failure> {
    let config = config::load(&args.group)?;
    let text = fs::read_to_string(&args.group)
        .map_err(|error| Failure::file(&args.group, "cannot be read", &error))?;
    let passphrase = home::passphrase(args.passphrase_file.as_deref())?;
    let folders = deal_to(&config, &text, &args.out, passphrase.as_deref().map(Vec::as_slice))?;
    println!("Dealt. One home folder a server; move each to its host, by a way you trust:");
    for folder in &folders {
        println!("  {}", folder.display());
    }
    println!(
        "{SHARE} in each is secret; all else is public. Clients need {CERTIFICATE}.\n\
         The dealer's own copies are wiped from memory; now remove these folders from this machine."
    );
    Ok(())
}

/// Deals for `config`, whose text is `text`, and writes the home folders under `out`.
pub fn deal_to(
    config: &GroupConfig,
    text: &str,
    out: &Path,
    passphrase: Option<&[u8]>,
) -> Result<Vec<PathBuf>, Failure> {
    let folders: Vec<PathBuf> = config.servers.iter().map(|s| out.join(&s.name)).collect();
    refuse_to_overwrite(&folders)?;
    let dealt = ceremony(config, passphrase)?;
    let public: [(&str, &[u8]); 3] = [
        (CONFIG, text.as_bytes()),
        (KEYS, &dealt.keys.to_file()),
        (CERTIFICATE, dealt.certificate.as_bytes()),
    ];
    for (folder, share) in folders.iter().zip(&dealt.shares) {
        fs::create_dir_all(folder)
            .map_err(|error| Failure::file(folder, "cannot be made", &error))?;
        for (name, contents) in public {
            write(&folder.join(name), contents, 0o644)?;
        }
        write(&folder.join(SHARE), share, 0o600)?;
    }
    Ok(folders)
}

fn refuse_to_overwrite(folders: &[PathBuf]) -> Result<(), Failure> {
    for folder in folders {
        for name in [SHARE, CONFIG, KEYS, CERTIFICATE, JOURNAL, BEGUN] {
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
    let spec = DealSpec {
        structure: config.structure.clone(),
        sharing: config.sharing.clone(),
        epoch: Epoch(0),
        context: config.context(),
        rsa: vec![RsaSpec { key: NOTARY_KEY, bits: config.notary.key_bits, primes: None }],
    };
    eprint!("Looking for two safe primes of {} bits ", config.notary.key_bits / 2);
    let mut candidates = 0u64;
    let (keys, servers) = deal(&spec, &mut rng, &mut |progress| match progress {
        Progress::Candidate(_) => {
            candidates += 1;
            if candidates.is_multiple_of(50) {
                eprint!(".");
            }
        }
        _ => eprintln!(" found and shared."),
    })
    .map_err(|error| Failure::because(error.to_string()))?;
    let mut shares = Vec::new();
    let mut keyrings = Vec::new();
    for server in servers {
        shares.push(server.to_file(passphrase, &mut rng));
        let keyring = RealKeyring::new(keys.clone(), server)
            .map_err(|error| Failure::because(error.to_string()))?;
        keyrings.push(keyring);
    }
    let certificate = certify(config, &keys, &keyrings, &mut rng)?;
    Ok(Dealt { keys, shares, certificate })
}

/// The notary's certificate, signed by the very shares that will sign the tokens: a ceremony whose
/// shares do not work fails here and not in service.
fn certify(
    config: &GroupConfig,
    keys: &GroupKeys,
    keyrings: &[RealKeyring],
    rng: &mut impl Rng,
) -> Result<String, Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Failure::because("this machine's clock is before 1970"))?
        .as_secs();
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
    let signature = sign(unsigned.signing_input(), keyrings)?;
    to_pem(&unsigned.finish(&signature)).map_err(|error| failed(&error))
}

/// The notary's public key, in DER.
pub(crate) fn public_key(keys: &GroupKeys) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let (modulus, exponent) = keys.rsa(NOTARY_KEY).expect("every ceremony makes it");
    let rsa =
        Rsa::from_public_components(BigNum::from_slice(&modulus)?, BigNum::from_slice(&exponent)?)?;
    PKey::from_rsa(rsa)?.public_key_to_der()
}

fn sign(input: SigningInput, keyrings: &[RealKeyring]) -> Result<Vec<u8>, Failure> {
    let mut shares = Vec::new();
    for (index, keyring) in keyrings.iter().enumerate() {
        let work =
            Work::SignatureShare { key: NOTARY_KEY, input: input.clone(), with_proof: false };
        let done = RealSuite::run_many(vec![work], keyring, Reading::default());
        if let Some(Done::SignatureShare(share)) = done.into_iter().next() {
            shares.push((Party::new(index), share));
        }
    }
    let work = Work::CombineSignature { key: NOTARY_KEY, input, shares };
    let first = keyrings.first().expect("a group has at least one server");
    let done = RealSuite::run_many(vec![work], first, Reading::default());
    match done.into_iter().next() {
        Some(Done::Signature { signature: Some(signature), .. }) => Ok(signature.to_vec()),
        _ => Err(Failure::because("the dealt shares do not combine to a signature")),
    }
}
