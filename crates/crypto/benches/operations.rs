//! What each cryptographic operation costs, as a server runs it.
//!
//! `cargo bench -p maftia-crypto --bench operations`
#![allow(clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use maftia_base::time::Reading;
use maftia_base::wire::Blob;
use maftia_base::{
    AdversaryStructure, Digest, Epoch, Formula, GroupId, Party, Place, Scope, Statement,
    StatementKind,
};
use maftia_crypto::{
    Claim, ClientClaim, ClientSecret, Code, CodedValue, Corrupt, Done, Given, HashAlgorithm,
    IdealSuite, KeyId, RealKeyring, RealSuite, SigningInput, Suite, Work, fixture, ideal,
};
use std::hint::black_box;
use std::time::Duration;

fn run<S: Suite>(keyring: &S::Keyring, work: Work<S>) -> Done<S> {
    S::run_many(vec![work], keyring, Reading(0)).pop().expect("one answer")
}

fn statement(value: u8) -> Statement {
    let scope = Scope::root(GroupId::default(), Epoch(0));
    Statement::new(scope, StatementKind::BatchVote, Place(1, 2), Digest([value; 32]))
}

fn input() -> SigningInput {
    let digest = Blob::new(vec![1; 32]).expect("short");
    SigningInput { hash: HashAlgorithm::Sha256, digest }
}

fn group(n: usize) -> (AdversaryStructure, Formula) {
    let structure = AdversaryStructure::optimal(n).expect("small");
    let sharing = Formula::exact(&structure);
    (structure, sharing)
}

fn keyrings(n: usize) -> Vec<RealKeyring> {
    let (structure, sharing) = group(n);
    fixture::keyrings(&structure, &sharing, 1)
}

fn claim<S: Suite>(keyrings: &[S::Keyring], party: usize, value: u8) -> Claim<S> {
    let statement = statement(value);
    match run::<S>(&keyrings[party], Work::Sign(statement)) {
        Done::Signed(signed) => {
            Claim { party: Party::new(party), statement, signature: signed.signature }
        }
        other => panic!("{other:?}"),
    }
}

fn signatures(c: &mut Criterion) {
    let keys = keyrings(16);
    c.bench_function("ed25519/sign", |b| {
        b.iter(|| run::<RealSuite>(&keys[0], Work::Sign(black_box(statement(1)))));
    });
    for count in [1, 3, 11, 32] {
        let claims: Vec<_> = (0..count).map(|i| claim::<RealSuite>(&keys, i % 16, 1)).collect();
        c.bench_function(&format!("ed25519/verify {count}"), |b| {
            b.iter(|| run::<RealSuite>(&keys[0], Work::Verify(claims.clone())));
        });
    }
    let client = ClientSecret::from_seed(&[7; 32]);
    let statement = statement(1);
    let claim = ClientClaim { key: client.key(), statement, signature: client.sign(&statement) };
    c.bench_function("ed25519/verify client", |b| {
        b.iter(|| run::<RealSuite>(&keys[0], Work::VerifyClients(vec![claim.clone()])));
    });
}

fn coin(c: &mut Criterion) {
    for n in [4, 7, 10, 16] {
        let keys = keyrings(n);
        let name = statement(1).scope;
        let share = |party: usize| match run::<RealSuite>(&keys[party], Work::CoinShare(name)) {
            Done::CoinShare(share) => (Party::new(party), share),
            other => panic!("{other:?}"),
        };
        let needed: Vec<_> = (0..(n - 1) / 3 + 1).map(share).collect();
        c.bench_function(&format!("coin/share n={n}"), |b| b.iter(|| share(0)));
        let combine = || {
            let shares = needed.clone();
            run::<RealSuite>(&keys[0], Work::CombineCoin { name, shares })
        };
        c.bench_function(&format!("coin/check and combine n={n}"), |b| b.iter(combine));
        c.bench_function(&format!("coin/whole n={n}"), |b| b.iter(|| (share(0), combine())));
    }
}

fn rsa(c: &mut Criterion) {
    let key = KeyId(0);
    for n in [4, 16] {
        let keys = keyrings(n);
        let share = |party: usize, with_proof| {
            let work = Work::SignatureShare { key, input: input(), with_proof };
            match run::<RealSuite>(&keys[party], work) {
                Done::SignatureShare(share) => (Party::new(party), share),
                other => panic!("{other:?}"),
            }
        };
        let combine = |shares: &[_]| {
            let shares = shares.to_vec();
            run::<RealSuite>(&keys[0], Work::CombineSignature { key, input: input(), shares })
        };
        let needed: Vec<_> = (0..(n - 1) / 3 + 1).map(|party| share(party, false)).collect();
        let mut lied: Vec<_> = (0..(n - 1) / 3 + 2).map(|party| share(party, true)).collect();
        lied[0].1 = RealSuite::bad_signature_share(&keys[0], key, &input(), true);
        let name = |what: &str| format!("rsa 2048/{what} n={n}");
        c.bench_function(&name("share"), |b| b.iter(|| share(0, false)));
        c.bench_function(&name("share with proof"), |b| b.iter(|| share(0, true)));
        c.bench_function(&name("combine"), |b| b.iter(|| combine(&needed)));
        c.bench_function(&name("combine, one lied"), |b| b.iter(|| combine(&lied)));
    }
}

fn ideal_suite(c: &mut Criterion) {
    let (structure, sharing) = group(4);
    let keys = ideal::keyrings(&structure, &sharing, 1);
    c.bench_function("ideal/sign", |b| {
        b.iter(|| run::<IdealSuite>(&keys[0], Work::Sign(statement(1))));
    });
    let claim = claim::<IdealSuite>(&keys, 1, 1);
    c.bench_function("ideal/verify", |b| {
        b.iter(|| run::<IdealSuite>(&keys[0], Work::Verify(vec![claim.clone()])));
    });
    let name = statement(1).scope;
    c.bench_function("ideal/coin share", |b| {
        b.iter(|| run::<IdealSuite>(&keys[0], Work::CoinShare(name)));
    });
}

/// What coded broadcast of 10 MiB costs: the sender encodes, everybody else decodes, and each
/// server checks the pieces of the others as they arrive.
fn coding(c: &mut Criterion) {
    const BYTES: usize = 10 << 20;
    let mut group = c.benchmark_group("coding 10 MiB");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for n in [4, 7, 10, 16] {
        let keys = keyrings(n);
        let code = Code::new(n, n - 2 * ((n - 1) / 3)).expect("well-formed");
        let value = CodedValue::new((0..BYTES).map(|i| ((i * i) >> 7) as u8).collect::<Vec<u8>>());
        let value = value.expect("short enough");
        let encode =
            || match run::<RealSuite>(&keys[0], Work::Encode { code, value: value.clone() }) {
                Done::Encoded(encoded) => encoded,
                other => panic!("{other:?}"),
            };
        let encoded = encode();
        let commitment = encoded.commitment;
        let given = |from: usize| -> Vec<Given> {
            let bytes = |party: usize| {
                let pieces = encoded.fragments[party].iter().map(|piece| piece.bytes.clone());
                (Party::new(party), pieces.collect())
            };
            (from..from + code.k()).map(bytes).collect()
        };
        let decode = |fragments: Vec<Given>| {
            let me = Party::new(0);
            let work = Work::Decode { code, commitment, fragments, me };
            assert!(matches!(run::<RealSuite>(&keys[0], work), Done::Decoded(Some(_))));
        };
        let (first, last) = (given(0), given(n - code.k()));
        group.bench_function(format!("encode n={n}"), |b| b.iter(encode));
        group.bench_function(format!("decode, of the value itself n={n}"), |b| {
            b.iter(|| decode(first.clone()));
        });
        group.bench_function(format!("decode, of redundancy n={n}"), |b| {
            b.iter(|| decode(last.clone()));
        });
        let all = || {
            encoded.fragments.iter().enumerate().all(|(owner, fragment)| {
                fragment.iter().all(|piece| commitment.holds(code, Party::new(owner), piece))
            })
        };
        group.bench_function(format!("check all pieces n={n}"), |b| b.iter(|| assert!(all())));
    }
    let keys = keyrings(4);
    let (code, value) = (Code::new(4, 2).expect("small"), CodedValue::new(vec![7; 1024]));
    let value = value.expect("short enough");
    group.bench_function("encode 1 KiB n=4", |b| {
        b.iter(|| run::<RealSuite>(&keys[0], Work::Encode { code, value: value.clone() }));
    });
}

criterion_group!(benches, signatures, coin, rsa, ideal_suite, coding);
criterion_main!(benches);
