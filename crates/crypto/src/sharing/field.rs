//! Sharing in the scalar field of ristretto255.

use super::Choice;
use curve25519_dalek::Scalar;
use maftia_base::canary;
use maftia_base::{Formula, PartySet};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// A share of `secret` for each leaf. (S1)
pub(crate) fn share(
    formula: &Formula,
    secret: &Scalar,
    rng: &mut impl CryptoRng,
) -> Zeroizing<Vec<Scalar>> {
    let mut shares = Zeroizing::new(Vec::with_capacity(formula.leaves().len()));
    share_into(formula, secret, rng, &mut shares);
    shares
}

fn share_into(
    formula: &Formula,
    secret: &Scalar,
    rng: &mut impl CryptoRng,
    shares: &mut Vec<Scalar>,
) {
    let Formula::Gate { threshold, children } = formula else {
        shares.push(*secret);
        return;
    };
    let coefficients: Zeroizing<Vec<Scalar>> =
        Zeroizing::new((1..*threshold).map(|_| random(rng)).collect());
    for (index, child) in children.iter().enumerate() {
        let at = Scalar::from(index as u64 + 1);
        let tail = coefficients.iter().rev().fold(Scalar::ZERO, |sum, next| (sum + next) * at);
        let value = Zeroizing::new(secret + tail);
        share_into(child, &value, rng, shares);
    }
}

/// A uniform scalar.
pub(crate) fn random(rng: &mut impl CryptoRng) -> Scalar {
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// The leaves and coefficients by which `set` recombines; `None` if it is not qualified. (S3)
pub(crate) fn recombination(formula: &Formula, set: PartySet) -> Option<Vec<(usize, Scalar)>> {
    let mut terms = Vec::new();
    weigh(&Choice::of(formula, set)?, Scalar::ONE, &mut terms);
    Some(terms)
}

fn weigh(choice: &Choice, weight: Scalar, terms: &mut Vec<(usize, Scalar)>) {
    match choice {
        Choice::Leaf(leaf) => terms.push((*leaf, weight)),
        Choice::Gate { used, .. } => {
            for (number, child) in used {
                weigh(child, weight * lagrange_at_zero(*number, used), terms);
            }
        }
    }
}

/// What the value at `number` counts for the value at 0.
fn lagrange_at_zero(number: usize, used: &[(usize, Choice)]) -> Scalar {
    let at = Scalar::from(number as u64);
    let (mut numerator, mut denominator) = (Scalar::ONE, Scalar::ONE);
    for (other, _) in used.iter().filter(|(other, _)| *other != number) {
        let other = Scalar::from(*other as u64);
        numerator *= other;
        denominator *= canary!("crypto-coin-recombined-badly", other + at, other - at);
    }
    numerator * denominator.invert()
}
