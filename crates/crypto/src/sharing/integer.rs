//! Sharing modulo a secret order, where nothing can be divided.

use super::Choice;
use crate::rsa::number::{Number, SecretNumber};
use maftia_base::{Formula, PartySet};
use rand_core::CryptoRng;

/// A share of `secret` for each leaf, modulo `order`. (S1)
pub(crate) fn share(
    formula: &Formula,
    secret: &Number,
    order: &SecretNumber,
    rng: &mut impl CryptoRng,
) -> Vec<SecretNumber> {
    let mut shares = Vec::new();
    share_into(formula, secret, order.expose(), rng, &mut shares);
    shares
}

fn share_into(
    formula: &Formula,
    secret: &Number,
    order: &Number,
    rng: &mut impl CryptoRng,
    shares: &mut Vec<SecretNumber>,
) {
    let Formula::Gate { threshold, children } = formula else {
        shares.push(SecretNumber::new(secret.copy()));
        return;
    };
    let coefficients: Vec<SecretNumber> =
        (1..*threshold).map(|_| SecretNumber::new(Number::random_below(order, rng))).collect();
    for (index, child) in children.iter().enumerate() {
        let at = number(index + 1);
        let mut tail = SecretNumber::new(Number::from_u32(0));
        for next in coefficients.iter().rev() {
            let sum = SecretNumber::new(tail.expose().plus(next.expose()));
            tail = SecretNumber::new(sum.expose().times_modulo(&at, order));
        }
        let sum = SecretNumber::new(tail.expose().plus(secret));
        let value = SecretNumber::new(sum.expose().modulo(order));
        share_into(child, value.expose(), order, rng, shares);
    }
}

/// The factor `D` by which every recombination is scaled. (S3)
pub(crate) fn common_factor(formula: &Formula) -> Number {
    match formula {
        Formula::Leaf(_) => Number::from_u32(1),
        Formula::Gate { threshold, children } => {
            gate_factor(*threshold, children.len()).times(&children_factor(children))
        }
    }
}

/// Coefficients that give `D` times the secret; `None` if `set` is not qualified. (S3)
pub(crate) fn recombination(formula: &Formula, set: PartySet) -> Option<Vec<(usize, Number)>> {
    let mut terms = Vec::new();
    weigh(formula, &Choice::of(formula, set)?, &Number::from_u32(1), &mut terms);
    Some(terms)
}

fn weigh(formula: &Formula, choice: &Choice, weight: &Number, terms: &mut Vec<(usize, Number)>) {
    match (formula, choice) {
        (Formula::Leaf(_), Choice::Leaf(leaf)) => terms.push((*leaf, weight.copy())),
        (Formula::Gate { threshold, children }, Choice::Gate { fan, used }) => {
            let scale = gate_factor(*threshold, *fan);
            let common = children_factor(children);
            for (number, choice) in used {
                let child = &children[*number - 1];
                let coefficient = lagrange_at_zero(*number, used, &scale);
                let lift = common.divided_by(&common_factor(child));
                weigh(child, choice, &weight.times(&coefficient).times(&lift), terms);
            }
        }
        _ => unreachable!("a choice has the shape of its formula"),
    }
}

/// What makes Lagrange's coefficients of a gate integers.
fn gate_factor(threshold: usize, fan: usize) -> Number {
    let largest = if threshold == 1 { 1 } else { fan };
    (1..=largest).fold(Number::from_u32(1), |product, factor| product.times(&number(factor)))
}

/// The least common multiple of the children's factors.
fn children_factor(children: &[Formula]) -> Number {
    children.iter().map(common_factor).fold(Number::from_u32(1), |multiple, factor| {
        multiple.divided_by(&multiple.gcd(&factor)).times(&factor)
    })
}

/// What the value at `at` counts for the value at 0, times `scale`.
fn lagrange_at_zero(at: usize, used: &[(usize, Choice)], scale: &Number) -> Number {
    let (mut numerator, mut denominator) = (scale.copy(), Number::from_u32(1));
    for (other, _) in used.iter().filter(|(other, _)| *other != at) {
        numerator = numerator.times(&number(*other));
        denominator = denominator.times(&number(*other).minus(&number(at)));
    }
    numerator.divided_by(&denominator)
}

fn number(value: usize) -> Number {
    Number::from_u32(u32::try_from(value).expect("a formula has at most 4096 leaves"))
}
