//! What workers compute with what came from outside: shares, certificates, evidence, fragments.

use crate::honest::{self, LIAR, N, keyrings, scope};
use bytes::Bytes;
use maftia_activity::Accusation;
use maftia_base::time::Reading;
use maftia_base::wire::{List, Wire, wire_struct};
use maftia_base::{PARTIES_MAX, Party, Statement};
use maftia_crypto::{
    Certificate, Code, Commitment, Done, Element, KeyId, Piece, RealSuite, RsaShare, SignedShare,
    SigningInput, Suite, Work,
};
use std::collections::BTreeSet;

type Real = RealSuite;
type Shares<T> = List<Given<T>, PARTIES_MAX>;

/// Somebody's share.
pub struct Given<T: Element> {
    /// Whose it is said to be.
    pub party: Party,
    /// The share.
    pub share: SignedShare<Real, T>,
}

wire_struct!(<T: Element> Given<T> { party, share });

/// What a certificate is said to certify.
pub struct Vouched {
    /// The statement.
    pub statement: Statement,
    /// The certificate.
    pub certificate: Certificate<Real>,
}

wire_struct!(Vouched { statement, certificate });

/// Somebody's fragment of a value.
pub struct Fragment {
    /// Whose it is said to be.
    pub owner: Party,
    /// Its pieces.
    pub pieces: List<Piece, 4>,
}

wire_struct!(Fragment { owner, pieces });

/// Fragments, and of what.
pub struct Fragments {
    /// What they are said to be part of.
    pub commitment: Commitment,
    /// The fragments.
    pub given: List<Fragment, PARTIES_MAX>,
}

wire_struct!(Fragments { commitment, given });

fn work(piece: Work<Real>) -> Done<Real> {
    Real::run_many(vec![piece], &keyrings()[0], Reading(0)).remove(0)
}

fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    T::from_wire(Bytes::copy_from_slice(bytes)).ok()
}

/// Shares of different parties of the group: that is what protocols hand to workers.
fn shares<T: Element>(given: Shares<T>) -> Vec<(Party, SignedShare<Real, T>)> {
    let mut seen = BTreeSet::new();
    let mut shares = given.into_vec();
    shares.retain(|given| given.party.index() < N && seen.insert(given.party));
    shares.into_iter().map(|given| (given.party, given.share)).collect()
}

/// Evidence of any kind is judged, and convicts nobody but the liar.
pub fn convict(bytes: &[u8]) {
    let Some(Accusation { culprit, evidence }) = read(bytes) else { return };
    let evidence = Box::new(evidence);
    match work(Work::Convict { culprit, evidence }) {
        Done::Convicted(convicted) => {
            assert!(!convicted || culprit.index() == LIAR, "{culprit} is honest")
        }
        other => panic!("{other:?} is no verdict"),
    }
}

/// Shares of a coin: whatever they are, the coin is the one that honest shares make, or none.
pub fn combine_coin(bytes: &[u8]) {
    let Some(given) = read::<Shares<<Real as Suite>::CoinShare>>(bytes) else { return };
    let name = scope().child("coin", 0);
    let Done::Coin { value, .. } = work(Work::CombineCoin { name, shares: shares(given) }) else {
        panic!("a coin was asked for")
    };
    assert!(value.is_none_or(|value| value == honest::coin(name)), "another coin");
}

/// Shares of a signature: whatever they are, what comes out is the signature, or nothing.
pub fn combine_signature(bytes: &[u8]) {
    let Some(given) = read::<Shares<RsaShare>>(bytes) else { return };
    let (key, input) = (KeyId(0), honest::signing_input());
    let piece = Work::CombineSignature { key, input: input.clone(), shares: shares(given) };
    let Done::Signature { signature, .. } = work(piece) else {
        panic!("a signature was asked for")
    };
    assert!(signature.is_none_or(|signature| signature == honest::signature(&input)));
}

/// A certificate: whoever did not sign is not counted.
pub fn verify_certificate(bytes: &[u8]) {
    let Some(Vouched { statement, certificate }) = read(bytes) else { return };
    let claims: Vec<_> =
        certificate.claims(statement).filter(|claim| claim.party.index() < N).collect();
    let Done::Verified(holds) = work(Work::Verify(claims.clone())) else {
        panic!("verdicts were asked for")
    };
    for (claim, holds) in claims.iter().zip(holds) {
        assert!(!holds || honest::would_sign(claim), "{claim:?} was never signed");
    }
}

/// Fragments of a coded value: pieces that hold under a commitment, of whomever, decode to a value
/// with that commitment or to none.
pub fn decode_fragments(bytes: &[u8]) {
    let Some(Fragments { commitment, given }) = read(bytes) else { return };
    let code = Code::new(4, 2).expect("four servers, two fragments");
    let fragments: Vec<_> = given
        .into_vec()
        .into_iter()
        .filter(|Fragment { owner, pieces }| {
            let holds = |piece| commitment.holds(code, *owner, piece);
            owner.index() < N && pieces.iter().all(holds)
        })
        .map(|Fragment { owner, pieces }| {
            (owner, pieces.into_vec().into_iter().map(|piece| piece.bytes).collect())
        })
        .collect();
    let me = Party::new(0);
    match work(Work::Decode { code, commitment, fragments, me }) {
        Done::Decoded(Some(decoded)) => assert_eq!(decoded.value.len(), commitment.length()),
        Done::Decoded(None) => {}
        other => panic!("{other:?} is no value"),
    }
}

/// What is signed under the group's key: any hash, any digest.
pub fn sign_input(bytes: &[u8]) {
    let Some(input) = read::<SigningInput>(bytes) else { return };
    for with_proof in [false, true] {
        let input = input.clone();
        let done = work(Work::SignatureShare { key: KeyId(0), input, with_proof });
        assert!(matches!(done, Done::SignatureShare(_)));
    }
}
