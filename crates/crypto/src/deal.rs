//! The dealer's ceremony: makes all keys of a group, once, and forgets them.

use crate::KeyId;
use crate::keys::{
    GroupKeys, PartyKeys, SIGNATURE_KEYS_MAX, Scalars, Seed, ServerKeys, SignatureKeyFile,
};
use crate::rsa::keygen::{self, SafePrimes};
use crate::rsa::number::SecretNumber;
use crate::sharing::{self, field, format};
use curve25519_dalek::RistrettoPoint;
use ed25519_dalek::SigningKey;
use maftia_base::wire::List;
use maftia_base::{AdversaryStructure, Digest, Epoch, Formula, FormulaError, Party};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

/// A threshold RSA key to be made.
#[derive(Debug)]
pub struct RsaSpec {
    /// What it will be called.
    pub key: KeyId,
    /// Length of the modulus, 2048 to 4096.
    pub bits: usize,
    /// Safe primes to use instead of fresh ones: for tests, where finding them takes too long.
    pub primes: Option<SafePrimes>,
}

/// What to deal.
#[derive(Debug)]
pub struct DealSpec {
    /// Which servers may be corrupt.
    pub structure: AdversaryStructure,
    /// Which servers can use the shared secrets; checked against the structure.
    pub sharing: Formula,
    /// The epoch of the shares.
    pub epoch: Epoch,
    /// Digest of the configuration that the keys are for.
    pub context: Digest,
    /// Threshold-signature keys.
    pub rsa: Vec<RsaSpec>,
}

/// How far the ceremony is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// One more candidate for a safe prime of this key was tested; on average some thousand are.
    Candidate(KeyId),
    /// This key is made and shared.
    Dealt(KeyId),
}

/// Why nothing is dealt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DealError {
    /// The formula does not fit the structure.
    #[error("the sharing formula does not fit the adversary structure: {0}")]
    Sharing(#[from] FormulaError),
    /// The formula nests too deeply to be written down.
    #[error("the sharing formula nests more than {} gates", format::DEPTH_MAX)]
    TooDeep,
    /// Two keys of one name, or too many keys.
    #[error("at most {SIGNATURE_KEYS_MAX} threshold-signature keys, each of its own number")]
    Keys,
    /// Not a length that is dealt.
    #[error("an RSA modulus has 2048 to 4096 bits, a multiple of 16; not {0}")]
    Bits(usize),
    /// The primes that were given have another length.
    #[error("the safe primes that were given make a modulus of {0} bits")]
    Primes(usize),
}

/// Makes all keys: the public ones, and one secret share for each server.
///
/// Whoever runs it could keep every secret. It overwrites them when it is done; run it on a machine
/// that you trust and then reset.
pub fn deal(
    spec: &DealSpec,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(Progress),
) -> Result<(GroupKeys, Vec<ServerKeys>), DealError> {
    check(spec)?;
    let n = spec.structure.n();
    let by_party = sharing::leaves_by_party(&spec.sharing, n);
    let seeds: Vec<(Seed, Seed)> = (0..n).map(|_| (Seed::random(rng), Seed::random(rng))).collect();
    let public = |seed: &Seed| SigningKey::from_bytes(&seed.0).verifying_key().to_bytes();
    let parties = seeds
        .iter()
        .map(|(identity, link)| PartyKeys { identity: public(identity), link: public(link) });
    let coin_secret = Zeroizing::new(field::random(rng));
    let coin = field::share(&spec.sharing, &coin_secret, rng);
    let coin_keys = coin.iter().map(|share| RistrettoPoint::mul_base(share).compress().0);
    let mut signature_keys = Vec::new();
    let mut signature_shares: Vec<Vec<(KeyId, Vec<SecretNumber>)>> =
        (0..n).map(|_| Vec::new()).collect();
    for RsaSpec { key, bits, primes } in &spec.rsa {
        let found;
        let primes = match primes {
            Some(primes) => primes,
            None => {
                found = SafePrimes::find(*bits, rng, &mut || progress(Progress::Candidate(*key)));
                &found
            }
        };
        let (file, shares) = keygen::deal(&spec.sharing, primes, rng);
        signature_keys.push(SignatureKeyFile { key: *key, file });
        for (party, shares) in hand_out(&spec.sharing, n, shares).into_iter().enumerate() {
            signature_shares[party].push((*key, shares));
        }
        progress(Progress::Dealt(*key));
    }
    let group = GroupKeys {
        context: spec.context,
        epoch: spec.epoch,
        parties: List::new(parties.collect()).expect("a structure has a bounded number of parties"),
        sharing: spec.sharing.clone(),
        coin: List::new(coin_keys.collect()).expect("a formula has a bounded number of leaves"),
        signature_keys: List::new(signature_keys).expect("their number has been checked"),
    };
    let digest = group.digest();
    let servers = seeds.into_iter().zip(signature_shares).enumerate();
    let servers = servers.map(|(index, ((identity, link), signature_keys))| ServerKeys {
        party: Party::new(index),
        epoch: spec.epoch,
        group: digest,
        identity,
        link,
        coin: Scalars(by_party[index].iter().map(|leaf| coin[*leaf]).collect()),
        signature_keys,
    });
    Ok((group, servers.collect()))
}

fn check(spec: &DealSpec) -> Result<(), DealError> {
    if format::flatten(&spec.sharing).is_none() {
        return Err(DealError::TooDeep);
    }
    spec.sharing.check(&spec.structure)?;
    let mut ids: Vec<_> = spec.rsa.iter().map(|rsa| rsa.key).collect();
    ids.sort();
    ids.dedup();
    if ids.len() != spec.rsa.len() || ids.len() > SIGNATURE_KEYS_MAX {
        return Err(DealError::Keys);
    }
    for RsaSpec { bits, primes, .. } in &spec.rsa {
        if !keygen::is_supported(*bits) {
            return Err(DealError::Bits(*bits));
        }
        if let Some(given) = primes.as_ref().map(SafePrimes::modulus_bits)
            && given != *bits
        {
            return Err(DealError::Primes(given));
        }
    }
    Ok(())
}

/// Each party's shares, in the order of its leaves.
fn hand_out(sharing: &Formula, n: usize, shares: Vec<SecretNumber>) -> Vec<Vec<SecretNumber>> {
    let mut by_party: Vec<Vec<SecretNumber>> = (0..n).map(|_| Vec::new()).collect();
    for (party, share) in sharing.leaves().into_iter().zip(shares) {
        by_party[party.index()].push(share);
    }
    by_party
}

impl Seed {
    fn random(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }
}
