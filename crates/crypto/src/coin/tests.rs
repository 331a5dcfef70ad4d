use super::*;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use maftia_base::{Epoch, GroupId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

struct Dealt {
    public: CoinPublic,
    secrets: Vec<Vec<Scalar>>,
}

fn deal(formula: &Formula, n: usize, seed: u64) -> Dealt {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let shares = field::share(formula, &field::random(&mut rng), &mut rng);
    let encoded = shares.iter().map(|x| RistrettoPoint::mul_base(x).compress().0).collect();
    let by_party = sharing::leaves_by_party(formula, n);
    let secrets =
        by_party.iter().map(|leaves| leaves.iter().map(|leaf| shares[*leaf]).collect()).collect();
    Dealt { public: CoinPublic::new(formula.clone(), n, encoded).unwrap(), secrets }
}

/// Party 0 owns two leaves.
fn uneven() -> Formula {
    let leaf = |index| Formula::Leaf(Party::new(index));
    let pair = Formula::Gate { threshold: 2, children: vec![leaf(0), leaf(1)] };
    Formula::Gate { threshold: 2, children: vec![pair, leaf(0), leaf(2), leaf(3)] }
}

fn name(label: u64) -> Scope {
    Scope::root(GroupId::default(), Epoch(0)).child("coin", label)
}

impl Dealt {
    fn share(&self, party: usize, label: u64) -> CoinShare {
        self.public.share(name(label), Party::new(party), &self.secrets[party])
    }

    fn accepts(&self, party: usize, label: u64, share: &CoinShare) -> bool {
        self.public.check(name(label), &[(Party::new(party), share)]) == [true]
    }
}

#[test]
fn a_share_is_good_for_its_owner_coin_and_keys_only() {
    for formula in [Formula::threshold(2, 4), uneven()] {
        let (dealt, other_epoch) = (deal(&formula, 4, 1), deal(&formula, 4, 2));
        let share = dealt.share(0, 1);
        assert!(dealt.accepts(0, 1, &share));
        assert!(!dealt.accepts(1, 1, &share), "another party");
        assert!(!dealt.accepts(63, 1, &share), "no party");
        assert!(!dealt.accepts(0, 2, &share), "another coin");
        assert!(!other_epoch.accepts(0, 1, &share), "other keys");
    }
}

#[test]
fn shares_are_the_same_bytes_each_time() {
    let dealt = deal(&uneven(), 4, 1);
    assert_eq!(dealt.share(0, 1), dealt.share(0, 1));
}

#[test]
fn every_altered_field_of_a_share_is_noticed_alone_and_in_a_batch() {
    let dealt = deal(&uneven(), 4, 1);
    let honest = dealt.share(0, 1);
    let shift =
        |bytes: [u8; 32]| (decode(&bytes).unwrap() + RISTRETTO_BASEPOINT_POINT).compress().0;
    let with_parts =
        |parts: Vec<[u8; 32]>| CoinShare { parts: List::new(parts).unwrap(), ..honest.clone() };
    let parts = honest.parts.to_vec();
    let with_proof = |change: &dyn Fn(&mut EqualityProof)| {
        let mut proof = honest.proof.clone();
        change(&mut proof);
        CoinShare { proof, ..honest.clone() }
    };
    let altered = [
        with_parts(vec![shift(parts[0]), parts[1]]),
        with_parts(vec![parts[0], shift(parts[1])]),
        with_parts(vec![parts[1], parts[0]]),
        with_parts(vec![parts[0]]),
        with_parts(vec![]),
        with_parts(vec![parts[0], parts[1], parts[1]]),
        with_parts(vec![[0; 32], parts[1]]),
        with_proof(&|proof| proof.on_generator = shift(proof.on_generator)),
        with_proof(&|proof| proof.on_coin = shift(proof.on_coin)),
        with_proof(&|proof| proof.response[0] ^= 1),
        with_proof(&|proof| std::mem::swap(&mut proof.on_coin, &mut proof.on_generator)),
        with_proof(&|proof| *proof = dealt.share(1, 1).proof),
    ];
    let others: Vec<_> = (1..4).map(|party| (Party::new(party), dealt.share(party, 1))).collect();
    for share in &altered {
        assert!(!dealt.accepts(0, 1, share));
        let mut batch: Vec<_> = others.iter().map(|(party, share)| (*party, share)).collect();
        batch.push((Party::new(0), share));
        assert_eq!(dealt.public.check(name(1), &batch), [true, true, true, false]);
    }
}

#[test]
fn errors_that_cancel_each_other_are_noticed() {
    // Two corrupt servers shift their shares by opposite amounts.
    let dealt = deal(&Formula::threshold(2, 4), 4, 1);
    let shifted = |party: usize, by: RistrettoPoint| {
        let mut share = dealt.share(party, 1);
        let part = (decode(&share.parts[0]).unwrap() + by).compress().0;
        share.parts = List::new(vec![part]).unwrap();
        share
    };
    let (up, down) =
        (shifted(0, RISTRETTO_BASEPOINT_POINT), shifted(1, -RISTRETTO_BASEPOINT_POINT));
    let batch = [(Party::new(0), &up), (Party::new(1), &down)];
    assert_eq!(dealt.public.check(name(1), &batch), [false, false]);
}

#[test]
fn encodings_that_are_not_canonical_are_refused() {
    let dealt = deal(&Formula::threshold(2, 4), 4, 1);
    let honest = dealt.share(0, 1);
    // A negative field element, one above the modulus, and no point at all.
    let mut negative = honest.parts[0];
    negative[0] |= 1;
    for part in [negative, [0xff; 32], [0x11; 32]] {
        let share = CoinShare { parts: List::new(vec![part]).unwrap(), ..honest.clone() };
        assert!(!dealt.accepts(0, 1, &share));
    }
    let mut share = honest;
    share.proof.response = [0xff; 32];
    assert!(!dealt.accepts(0, 1, &share));
}

#[test]
fn verification_keys_that_do_not_fit_are_refused() {
    let formula = Formula::threshold(2, 4);
    let good = RISTRETTO_BASEPOINT_POINT.compress().0;
    assert!(CoinPublic::new(formula.clone(), 4, vec![good; 4]).is_some());
    assert!(CoinPublic::new(formula.clone(), 4, vec![good; 3]).is_none());
    assert!(CoinPublic::new(formula.clone(), 4, vec![[0; 32]; 4]).is_none(), "the identity");
    assert!(CoinPublic::new(formula, 4, vec![[0xff; 32]; 4]).is_none());
}
