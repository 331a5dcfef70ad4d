//! The threshold coin: bits that nobody can predict before a qualified set gives its shares.
//!
//! # Promise
//! - Agreement: every qualified set of good shares gives the same value.
//! - Unpredictability: an unqualified set knows nothing about the value of a name for which no
//!   other party gave a share (if computational Diffie-Hellman is hard in ristretto255, with hash
//!   functions as random oracles).
//! - Robustness: a share that is not its owner's is recognized.
//!
//! # Model
//! A trusted dealer. *Static* corruption: the proof of Cachin, Kursawe and Shoup lets the adversary
//! choose whom to corrupt before the keys are dealt, and does not cover one that chooses later.
//!
//! # Rules
//! - C1. The coin of `name` is `H(h^x)`: `h` hashes the name to the group, `x` is the shared
//!   secret.
//! - C2. A party's share is `h^(x_l)` for each of its leaves `l`, with one proof that all of them
//!   have the exponents of its verification keys `g^(x_l)`: with coefficients derived from all of
//!   them, the proof is for one random linear combination.
//! - C3. The proof's nonce is derived from the secret shares and the statement: no randomness to
//!   get wrong, and a restarted server makes the same bytes.
//! - C4. Proofs carry their commitments, so that the proofs of many shares are checked as one
//!   equation; if that fails each is checked alone.
//!
//! # Bounds
//! One share: 32 bytes a leaf and 96 for the proof.
//!
//! # Sources
//! Cachin, Kursawe, Shoup, "Random oracles in Constantinople", 2000. Deviations: (a) general
//! formulas instead of one threshold; (b) one proof for a party's leaves (C2), as in the batch
//! proofs of Henry and Goldberg; (c) commitments instead of the challenge in the proof (C4).

use crate::sharing::{self, field};
use blake3::OutputReader;
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar, constants};
use maftia_base::canary;
use maftia_base::wire::{List, wire_struct};
use maftia_base::{Digest, Formula, LEAVES_MAX, Party, PartySet, Scope};
use zeroize::Zeroizing;

/// A party's share of a coin, as it comes from the wire: nothing in it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoinShare {
    parts: List<[u8; 32], LEAVES_MAX>,
    proof: EqualityProof,
}

wire_struct!(CoinShare { parts, proof });

/// That two discrete logarithms are equal: commitments and response.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EqualityProof {
    on_generator: [u8; 32],
    on_coin: [u8; 32],
    response: [u8; 32],
}

wire_struct!(EqualityProof { on_generator, on_coin, response });

/// The public part of the coin's keys.
pub(crate) struct CoinPublic {
    formula: Formula,
    by_party: Vec<Vec<usize>>,
    verification: Vec<RistrettoPoint>,
    encoded: Vec<[u8; 32]>,
    digest: Digest,
}

/// A share taken apart.
struct Opened {
    party: Party,
    parts: Vec<RistrettoPoint>,
    /// What is left to check; nothing of a share that is known to be good.
    open: Option<Equation>,
}

/// A share's proof, ready for the equation.
struct Equation {
    weights: Vec<Scalar>,
    on_generator: RistrettoPoint,
    on_coin: RistrettoPoint,
    response: Scalar,
    challenge: Scalar,
}

impl CoinPublic {
    /// From the verification key of each leaf; `None` if they are not as many as leaves, or one is
    /// no point, or is the identity.
    pub(crate) fn new(formula: Formula, n: usize, encoded: Vec<[u8; 32]>) -> Option<Self> {
        let by_party = sharing::leaves_by_party(&formula, n);
        let verification = encoded.iter().map(decode).collect::<Option<Vec<_>>>()?;
        let is_sound = verification.len() == formula.leaves().len()
            && verification.iter().all(|point| !point.is_identity());
        let digest = Digest::of("maftia coin keys", &encoded.concat());
        is_sound.then_some(Self { formula, by_party, verification, encoded, digest })
    }

    /// This party's share of the coin of `name`; `secrets` are those of its leaves, in order.
    pub(crate) fn share(&self, name: Scope, me: Party, secrets: &[Scalar]) -> CoinShare {
        let base = self.base(name);
        let points: Vec<RistrettoPoint> = secrets.iter().map(|secret| base * secret).collect();
        let parts: Vec<[u8; 32]> = points.iter().map(|point| point.compress().0).collect();
        let weights = self.weights(name, me, &parts);
        let secret = Zeroizing::new(
            weights.iter().zip(secrets).map(|(weight, secret)| weight * secret).sum::<Scalar>(),
        );
        let nonce = Zeroizing::new(self.nonce(name, me, secrets));
        let on_generator = RistrettoPoint::mul_base(&nonce).compress().0;
        let on_coin = (base * *nonce).compress().0;
        let challenge = self.challenge(name, me, &parts, on_generator, on_coin);
        let response = (*nonce + challenge * *secret).to_bytes();
        let parts = List::new(parts).expect("a formula has a bounded number of leaves");
        CoinShare { parts, proof: EqualityProof { on_generator, on_coin, response } }
    }

    /// Which of these shares are good, in order. (C4)
    pub(crate) fn check(&self, name: Scope, shares: &[(Party, &CoinShare)]) -> Vec<bool> {
        self.check_opened(name, &self.open_all(name, shares))
    }

    /// Which shares are good, and the coin if they qualify. The share `known`, if it is among
    /// them, needs no check.
    pub(crate) fn combine(
        &self,
        name: Scope,
        shares: &[(Party, &CoinShare)],
        known: Option<(Party, &CoinShare)>,
    ) -> (Option<Digest>, Vec<bool>) {
        let open = |(party, share): &(Party, &CoinShare)| {
            self.open(name, *party, share, known == Some((*party, *share)))
        };
        let opened: Vec<Option<Opened>> = shares.iter().map(open).collect();
        let verdicts = self.check_opened(name, &opened);
        let mut by_leaf = vec![None; self.verification.len()];
        let mut good = PartySet::EMPTY;
        for (share, _) in opened.iter().zip(&verdicts).filter(|(_, verdict)| **verdict) {
            let share = share.as_ref().expect("a share that did not open is not good");
            good.insert(share.party);
            for (leaf, part) in self.by_party[share.party.index()].iter().zip(&share.parts) {
                by_leaf[*leaf] = Some(*part);
            }
        }
        let value = field::recombination(&self.formula, good).map(|terms| {
            let (leaves, weights): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
            let parts = leaves.iter().map(|leaf| by_leaf[*leaf].expect("the leaf's owner is good"));
            let power = RistrettoPoint::vartime_multiscalar_mul(weights, parts);
            let mut bytes = name.digest().0.to_vec();
            bytes.extend_from_slice(power.compress().as_bytes());
            Digest::of("maftia coin value", &bytes) // C1
        });
        (value, verdicts)
    }

    /// Do these secrets belong to this party's verification keys?
    pub(crate) fn matches(&self, party: Party, secrets: &[Scalar]) -> bool {
        let leaves = &self.by_party[party.index()];
        leaves.len() == secrets.len()
            && leaves
                .iter()
                .zip(secrets)
                .all(|(leaf, secret)| RistrettoPoint::mul_base(secret) == self.verification[*leaf])
    }

    fn open_all(&self, name: Scope, shares: &[(Party, &CoinShare)]) -> Vec<Option<Opened>> {
        shares.iter().map(|(party, share)| self.open(name, *party, share, false)).collect()
    }

    fn open(&self, name: Scope, party: Party, share: &CoinShare, known: bool) -> Option<Opened> {
        if !sharing::is_holder(&self.by_party, party)
            || share.parts.len() != self.by_party[party.index()].len()
        {
            return None;
        }
        let EqualityProof { on_generator, on_coin, response } = &share.proof;
        let parts = share.parts.iter().map(decode).collect::<Option<_>>()?;
        if known {
            return Some(Opened { party, parts, open: None });
        }
        let equation = Equation {
            weights: self.weights(name, party, &share.parts),
            challenge: self.challenge(name, party, &share.parts, *on_generator, *on_coin),
            on_generator: decode(on_generator)?,
            on_coin: decode(on_coin)?,
            response: Option::from(Scalar::from_canonical_bytes(*response))?,
        };
        Some(Opened { party, parts, open: Some(equation) })
    }

    fn check_opened(&self, name: Scope, shares: &[Option<Opened>]) -> Vec<bool> {
        let opened: Vec<&Opened> = shares.iter().flatten().collect();
        if canary!("crypto-coin-shares-unchecked", true, self.all_hold(name, &opened)) {
            return shares.iter().map(Option::is_some).collect();
        }
        let holds = |share: &Option<Opened>| {
            share.as_ref().is_some_and(|share| self.all_hold(name, &[share]))
        };
        shares.iter().map(holds).collect()
    }

    /// `g^z = a_g V^c` and `h^z = a_h S^c` for all shares at once, where `V` and `S` are weighted
    /// products of the party's verification keys and parts, under random coefficients.
    fn all_hold(&self, name: Scope, shares: &[&Opened]) -> bool {
        let open = || shares.iter().filter_map(|share| Some((share, share.open.as_ref()?)));
        if open().next().is_none() {
            return true;
        }
        let mut transcript = blake3::Hasher::new_derive_key("maftia coin batch");
        for (_, equation) in open() {
            // The challenge binds name, parts and commitments.
            transcript.update(equation.challenge.as_bytes()).update(equation.response.as_bytes());
        }
        let mut coefficients = transcript.finalize_xof();
        let (mut scalars, mut points) = (Vec::new(), Vec::new());
        let (mut on_generator, mut on_coin) = (Scalar::ZERO, Scalar::ZERO);
        for (share, equation) in open() {
            let (r, s) = (half_scalar(&mut coefficients), half_scalar(&mut coefficients));
            on_generator += r * equation.response;
            on_coin += s * equation.response;
            scalars.extend([-r, -s]);
            points.extend([equation.on_generator, equation.on_coin]);
            let leaves = &self.by_party[share.party.index()];
            for ((leaf, part), weight) in leaves.iter().zip(&share.parts).zip(&equation.weights) {
                let scaled = equation.challenge * weight;
                scalars.extend([-(r * scaled), -(s * scaled)]);
                points.extend([self.verification[*leaf], *part]);
            }
        }
        scalars.extend([on_generator, on_coin]);
        points.extend([constants::RISTRETTO_BASEPOINT_POINT, self.base(name)]);
        RistrettoPoint::vartime_multiscalar_mul(scalars, points).is_identity()
    }

    /// The coin's name as a point of which nobody knows the discrete logarithm. (C1)
    fn base(&self, name: Scope) -> RistrettoPoint {
        let mut hasher = blake3::Hasher::new_derive_key("maftia coin base");
        hasher.update(&self.digest.0).update(&name.digest().0);
        let mut bytes = [0; 64];
        hasher.finalize_xof().fill(&mut bytes);
        RistrettoPoint::from_uniform_bytes(&bytes)
    }

    /// Coefficients by which a party's leaves become one statement. (C2)
    fn weights(&self, name: Scope, party: Party, parts: &[[u8; 32]]) -> Vec<Scalar> {
        if parts.len() == 1 {
            return vec![Scalar::ONE];
        }
        let hasher = self.transcript("maftia coin weights", name, party, parts);
        let mut output = hasher.finalize_xof();
        parts.iter().map(|_| half_scalar(&mut output)).collect()
    }

    /// The same bytes for the same secrets and name. (C3)
    fn nonce(&self, name: Scope, me: Party, secrets: &[Scalar]) -> Scalar {
        let mut hasher = blake3::Hasher::new_derive_key("maftia coin nonce");
        for secret in secrets {
            hasher.update(secret.as_bytes());
        }
        hasher.update(&self.digest.0).update(&name.digest().0).update(&[me.index() as u8]);
        wide_scalar(&mut hasher.finalize_xof())
    }

    fn challenge(
        &self,
        name: Scope,
        party: Party,
        parts: &[[u8; 32]],
        on_generator: [u8; 32],
        on_coin: [u8; 32],
    ) -> Scalar {
        let mut hasher = self.transcript("maftia coin challenge", name, party, parts);
        hasher.update(&on_generator).update(&on_coin);
        wide_scalar(&mut hasher.finalize_xof())
    }

    /// Everything that a proof is about; the digest of the keys stands for all of them.
    fn transcript(
        &self,
        domain: &'static str,
        name: Scope,
        party: Party,
        parts: &[[u8; 32]],
    ) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        hasher.update(&self.digest.0).update(&name.digest().0).update(&[party.index() as u8]);
        for leaf in &self.by_party[party.index()] {
            hasher.update(&self.encoded[*leaf]);
        }
        for part in parts {
            hasher.update(part);
        }
        hasher
    }
}

impl CoinShare {
    /// The same share with a part that is wrong.
    pub(crate) fn spoiled(mut self) -> Self {
        let mut parts = self.parts.into_vec();
        for part in &mut parts {
            let spoiled =
                decode(part).expect("our own part") + constants::RISTRETTO_BASEPOINT_POINT;
            *part = spoiled.compress().0;
        }
        self.parts = List::new(parts).expect("as many as before");
        self
    }
}

fn decode(bytes: &[u8; 32]) -> Option<RistrettoPoint> {
    CompressedRistretto(*bytes).decompress()
}

fn half_scalar(output: &mut OutputReader) -> Scalar {
    let mut bytes = [0; 16];
    output.fill(&mut bytes);
    Scalar::from(u128::from_le_bytes(bytes))
}

fn wide_scalar(output: &mut OutputReader) -> Scalar {
    let mut bytes = Zeroizing::new([0; 64]);
    output.fill(&mut *bytes);
    Scalar::from_bytes_mod_order_wide(&bytes)
}

#[cfg(test)]
mod tests;
