use super::*;
use crate::rsa::number::{Number, SecretNumber};
use curve25519_dalek::Scalar;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn leaf(index: usize) -> Formula {
    Formula::Leaf(Party::new(index))
}

fn gate(threshold: usize, children: Vec<Formula>) -> Formula {
    Formula::Gate { threshold, children }
}

/// Thresholds, nested gates of unequal factors, a bare leaf, and a party with several leaves.
fn formulas() -> Vec<(usize, Formula)> {
    let uneven = gate(
        2,
        vec![
            gate(2, (0..3).map(leaf).collect()),
            leaf(3),
            gate(1, vec![leaf(0), leaf(4)]),
            gate(3, vec![leaf(1), leaf(2), leaf(4), gate(2, (0..5).map(leaf).collect())]),
        ],
    );
    vec![(1, leaf(0)), (1, Formula::threshold(1, 1)), (5, Formula::threshold(3, 5)), (5, uneven)]
}

fn all_sets(n: usize) -> impl Iterator<Item = PartySet> {
    (0u64..1 << n)
        .map(move |bits| (0..n).filter(|i| bits & (1 << i) != 0).map(Party::new).collect())
}

#[test]
fn exactly_the_qualified_sets_recombine_a_field_element_from_their_own_leaves() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for (n, formula) in formulas() {
        let secret = field::random(&mut rng);
        let shares = field::share(&formula, &secret, &mut rng);
        let owners = formula.leaves();
        for set in all_sets(n) {
            let terms = field::recombination(&formula, set);
            assert_eq!(terms.is_some(), formula.is_qualified(set));
            let Some(terms) = terms else { continue };
            assert!(terms.iter().all(|(leaf, _)| set.contains(owners[*leaf])));
            let sum: Scalar = terms.iter().map(|(leaf, weight)| shares[*leaf] * weight).sum();
            assert_eq!(sum, secret, "{formula:?} by {set:?}");
        }
    }
}

#[test]
fn integer_coefficients_give_the_common_factor_times_the_secret() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    // Composite on purpose: with small factors, in which division would fail.
    let order = SecretNumber::new(Number::from_u32(2 * 3 * 5 * 7 * 11 * 13 * 17));
    for (n, formula) in formulas() {
        let secret = Number::from_u32(123_457);
        let shares = integer::share(&formula, &secret, &order, &mut rng);
        let expected = secret.times(&integer::common_factor(&formula)).modulo(order.expose());
        for set in all_sets(n).filter(|set| formula.is_qualified(*set)) {
            let terms = integer::recombination(&formula, set).unwrap();
            let sum = terms.iter().fold(Number::from_u32(0), |sum, (leaf, weight)| {
                sum.plus(&shares[*leaf].expose().times(weight))
            });
            assert_eq!(sum.modulo(order.expose()), expected, "{formula:?} by {set:?}");
        }
    }
}

#[test]
fn the_common_factor_of_one_gate_is_shoups_factorial() {
    assert_eq!(integer::common_factor(&Formula::threshold(2, 4)), Number::from_u32(24));
    assert_eq!(integer::common_factor(&Formula::threshold(1, 4)), Number::from_u32(1));
    let nested = gate(2, vec![Formula::threshold(2, 3), Formula::threshold(2, 4)]);
    assert_eq!(integer::common_factor(&nested), Number::from_u32(2 * 24));
}

#[test]
fn an_unqualified_set_sees_shares_that_fit_every_secret() {
    // One party short of the threshold: for any other secret there is a polynomial through the
    // same shares, so they say nothing.
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let formula = Formula::threshold(2, 3);
    let shares = field::share(&formula, &Scalar::from(5u64), &mut rng);
    let other = Scalar::from(77u64);
    let slope = shares[0] - other;
    assert_eq!(other + slope, shares[0], "the line through (0, other) and (1, share)");
    assert!(field::recombination(&formula, PartySet::all(1)).is_none());
}

#[test]
fn formulas_round_trip_and_malformed_ones_are_refused() {
    use format::{Node, Nodes, flatten, unflatten};
    for (_, formula) in formulas() {
        assert_eq!(unflatten(&flatten(&formula).unwrap()).unwrap(), formula);
    }
    let leaf = || Node::Leaf(Party::new(0));
    let refused = [
        vec![],
        vec![leaf(), leaf()],
        vec![Node::Gate { threshold: 1, children: 2 }, leaf()],
        vec![Node::Gate { threshold: 0, children: 1 }, leaf()],
        vec![Node::Gate { threshold: 2, children: 1 }, leaf()],
        [vec![Node::Gate { threshold: 1, children: 1 }; 100], vec![leaf()]].concat(),
    ];
    for nodes in refused {
        assert!(unflatten(&Nodes::new(nodes).unwrap()).is_err());
    }
    let deep = (0..100).fold(leaf_formula(), |inner, _| gate(1, vec![inner]));
    assert!(flatten(&deep).is_none());
}

fn leaf_formula() -> Formula {
    leaf(0)
}
