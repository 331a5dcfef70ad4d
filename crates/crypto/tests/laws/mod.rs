//! Laws of a suite, checked against whatever keyrings a test brings.

use maftia_base::time::Reading;
use maftia_base::wire::{Blob, Wire};
use maftia_base::{
    AdversaryStructure, Annotation, Digest, Epoch, Evidence, Fault, FaultKind, Formula, GroupId,
    Party, PartySet, Place, Scope, Statement, StatementKind,
};
use maftia_crypto::{
    Certificate, Claim, Code, Corrupt, Done, HashAlgorithm, KeyId, Signed, SignedShare,
    SigningInput, Work,
};

/// Keyrings of one group, and of another group of the same size.
pub(crate) struct Bench<S: Corrupt> {
    pub keyrings: Vec<S::Keyring>,
    pub strangers: Vec<S::Keyring>,
    pub sharing: Formula,
}

pub(crate) fn hold<S: Corrupt>(bench: &Bench<S>) {
    bench.signatures_hold_only_as_they_were_made();
    bench.certificates_name_their_voters();
    bench.evidence_of_equivocation_convicts_only_who_signed_both();
    bench.qualified_sets_and_no_others_toss_one_coin();
    bench.bad_coin_shares_are_blamed_with_evidence_that_convicts();
    bench.qualified_sets_and_no_others_sign();
    bench.bad_signature_shares_are_found_once_proofs_are_asked_for();
    bench.values_come_back_from_enough_fragments_and_from_nothing_else();
}

/// 16 servers, one for each pair of site and operating system.
pub(crate) fn sixteen() -> AdversaryStructure {
    let row = |i: usize| (0..4).map(|j| Party::new(4 * i + j)).collect::<PartySet>();
    let column = |i: usize| (0..4).map(|j| Party::new(4 * j + i)).collect::<PartySet>();
    let sets: Vec<_> = (0..16).map(|k| row(k / 4).union(column(k % 4))).collect();
    AdversaryStructure::general(16, &sets).unwrap()
}

/// "2 of 4 sites, each with 2 of its 4 servers; and the same by operating system."
pub(crate) fn textbook() -> Formula {
    let grid = |member: fn(usize, usize) -> usize| Formula::Gate {
        threshold: 2,
        children: (0..4)
            .map(|class| Formula::Gate {
                threshold: 2,
                children: (0..4).map(|i| Formula::Leaf(Party::new(member(class, i)))).collect(),
            })
            .collect(),
    };
    let children = vec![grid(|class, i| 4 * class + i), grid(|class, i| 4 * i + class)];
    Formula::Gate { threshold: 2, children }
}

pub(crate) fn scope() -> Scope {
    Scope::root(GroupId::default(), Epoch(3))
}

pub(crate) fn statement(value: u8) -> Statement {
    Statement::new(scope(), StatementKind::BatchVote, Place(1, 2), Digest([value; 32]))
}

pub(crate) fn input(byte: u8) -> SigningInput {
    SigningInput { hash: HashAlgorithm::Sha256, digest: Blob::new(vec![byte; 32]).unwrap() }
}

const KEY: KeyId = KeyId(0);

type CoinShares<S> = Vec<(Party, SignedShare<S, <S as maftia_crypto::Suite>::CoinShare>)>;
type Shares<S> = Vec<(Party, SignedShare<S, <S as maftia_crypto::Suite>::SignatureShare>)>;

impl<S: Corrupt> Bench<S> {
    fn run(&self, work: Work<S>) -> Done<S> {
        run(&self.keyrings[0], work)
    }

    fn sign(&self, party: Party, statement: Statement) -> Signed<S> {
        sign::<S>(&self.keyrings[party.index()], statement)
    }

    fn verify(&self, claims: Vec<Claim<S>>) -> Vec<bool> {
        match self.run(Work::Verify(claims)) {
            Done::Verified(verdicts) => verdicts,
            other => panic!("verdicts answer Verify, not {other:?}"),
        }
    }

    fn convicts(&self, culprit: Party, evidence: &Evidence) -> bool {
        let copy = Evidence::from_wire(evidence.to_wire()).unwrap();
        match self.run(Work::Convict { culprit, evidence: Box::new(copy) }) {
            Done::Convicted(verdict) => verdict,
            other => panic!("a verdict answers Convict, not {other:?}"),
        }
    }

    fn n(&self) -> usize {
        self.keyrings.len()
    }

    fn parties(&self) -> Vec<Party> {
        (0..self.n()).map(Party::new).collect()
    }

    fn values_come_back_from_enough_fragments_and_from_nothing_else(&self) {
        let (n, me) = (self.n(), Party::new(0));
        let code = Code::new(n, n.div_ceil(2)).unwrap();
        let value = Blob::new(vec![7; 1001]).unwrap();
        let encoded = match self.run(Work::Encode { code, value: value.clone() }) {
            Done::Encoded(encoded) => encoded,
            other => panic!("fragments answer Encode, not {other:?}"),
        };
        let commitment = encoded.commitment;
        let given = |from: usize| -> Vec<_> {
            let bytes = |party: usize| {
                let pieces = encoded.fragments[party].iter().map(|piece| piece.bytes.clone());
                (Party::new(party), pieces.collect())
            };
            (from..n).map(bytes).collect()
        };
        let decode = |fragments| match self.run(Work::Decode { code, commitment, fragments, me }) {
            Done::Decoded(decoded) => decoded,
            other => panic!("a value answers Decode, not {other:?}"),
        };
        let decoded = decode(given(n - code.k())).unwrap();
        assert_eq!((&decoded.value, &decoded.fragment), (&value, &encoded.fragments[0]));
        assert_eq!(decode(given(n - code.k() + 1)), None, "too few");
        let mut lied = given(n - code.k());
        lied[0].1[0] = Blob::new(vec![9; lied[0].1[0].len()]).unwrap();
        assert_eq!(decode(lied), None, "no fragments of this value");
    }

    fn signatures_hold_only_as_they_were_made(&self) {
        let (alice, bob) = (Party::new(0), Party::new(1));
        let signed = self.sign(alice, statement(1));
        let stranger = sign::<S>(&self.strangers[0], statement(1));
        let read = match run(&self.keyrings[0], Work::<S>::SignReading(statement(1))) {
            Done::Signed(signed) => signed,
            other => panic!("{other:?}"),
        };
        assert_eq!(read.statement.annotation, Annotation(CLOCK.0));
        let claim = |party, statement, signature: &S::Signature| Claim {
            party,
            statement,
            signature: signature.clone(),
        };
        let verdicts = self.verify(vec![
            claim(alice, statement(1), &signed.signature),
            claim(bob, statement(1), &signed.signature),
            claim(alice, statement(2), &signed.signature),
            claim(alice, statement(1), &S::bad_signature()),
            claim(alice, statement(1), &stranger.signature),
            claim(alice, read.statement, &read.signature),
            claim(alice, statement(1), &read.signature),
            claim(Party::new(63), statement(1), &signed.signature),
            claim(bob, statement(1), &self.sign(bob, statement(1)).signature),
        ]);
        let expected = [true, false, false, false, false, true, false, false, true];
        assert_eq!(verdicts, expected);
    }

    fn certificates_name_their_voters(&self) {
        let voters = [Party::new(0), Party::new(2)];
        let certificate =
            Certificate::<S>::new(voters.map(|party| (party, self.sign(party, statement(1)))));
        assert_eq!(certificate.voters(), Some(voters.into_iter().collect()));
        let holds = |statement| match self.run(certificate.verification(statement)) {
            Done::Verified(verdicts) => verdicts.into_iter().all(|verdict| verdict),
            other => panic!("{other:?}"),
        };
        assert!(holds(statement(1)));
        assert!(!holds(statement(2)));
        let copy = Certificate::<S>::from_wire(certificate.to_wire()).unwrap();
        assert_eq!(copy, certificate);
    }

    fn evidence_of_equivocation_convicts_only_who_signed_both(&self) {
        let (alice, bob) = (Party::new(0), Party::new(1));
        let one = self.sign(alice, statement(1)).to_evidence();
        let two = self.sign(alice, statement(2)).to_evidence();
        let fault = Fault::conflict(alice, one.clone(), two.clone());
        let evidence = fault.evidence.unwrap();
        assert!(self.convicts(alice, &evidence));
        assert!(!self.convicts(bob, &evidence), "bob signed neither");
        assert!(!self.convicts(Party::new(63), &evidence), "there is no such party");
        assert!(!self.convicts(alice, &Evidence::Conflict(one.clone(), one.clone())));
        let framed = self.sign(bob, statement(2)).to_evidence();
        assert!(!self.convicts(alice, &Evidence::Conflict(one.clone(), framed)));
        let mut forged = two;
        forged.signature = Blob::new(vec![7; 3]).unwrap();
        assert!(!self.convicts(alice, &Evidence::Conflict(one, forged)));
    }

    fn coin_share(&self, party: Party, name: Scope) -> SignedShare<S, S::CoinShare> {
        match run(&self.keyrings[party.index()], Work::<S>::CoinShare(name)) {
            Done::CoinShare(share) => SignedShare::from_wire(share.to_wire()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn combine_coin(
        &self,
        name: Scope,
        shares: CoinShares<S>,
    ) -> (Option<Digest>, Vec<Party>, Vec<Fault>) {
        match self.run(Work::CombineCoin { name, shares }) {
            Done::Coin { value, good, faults } => (value, good, faults),
            other => panic!("{other:?}"),
        }
    }

    fn qualified_sets_and_no_others_toss_one_coin(&self) {
        let names = [scope().child("coin", 1), scope().child("coin", 2)];
        let shares: Vec<CoinShares<S>> = names
            .iter()
            .map(|name| {
                self.parties().into_iter().map(|p| (p, self.coin_share(p, *name))).collect()
            })
            .collect();
        let toss = |which: usize, set: PartySet| {
            let some = shares[which].iter().filter(|(party, _)| set.contains(*party));
            let (value, good, faults) = self.combine_coin(names[which], some.cloned().collect());
            assert!(faults.is_empty(), "honest servers are never blamed: {faults:?}");
            assert_eq!(good.into_iter().collect::<PartySet>(), set);
            value
        };
        let all = PartySet::all(self.n());
        let value = toss(0, all).unwrap();
        assert_ne!(Some(value), toss(1, all));
        for set in some_sets(self.n()) {
            let expected = self.sharing.is_qualified(set).then_some(value);
            assert_eq!(toss(0, set), expected, "{set:?}");
        }
        let (other, good, faults) = self.combine_coin(names[0], shares[1].clone());
        assert_eq!((other, good.len(), faults.len()), (None, 0, self.n()), "another coin's shares");
        assert!(faults.iter().all(|fault| fault.evidence.is_none()), "signed for another coin");
    }

    fn bad_coin_shares_are_blamed_with_evidence_that_convicts(&self) {
        let name = scope().child("coin", 9);
        let (liar, thief, stranger) = (Party::new(0), Party::new(1), Party::new(2));
        let mut shares: CoinShares<S> =
            self.parties().into_iter().map(|p| (p, self.coin_share(p, name))).collect();
        let (honest, _, _) = self.combine_coin(name, shares.clone());
        shares[0].1 = S::bad_coin_share(&self.keyrings[0], name);
        shares[1].1 = self.coin_share(Party::new(3), name);
        shares[2].1 = match run(&self.strangers[2], Work::<S>::CoinShare(name)) {
            Done::CoinShare(share) => share,
            other => panic!("{other:?}"),
        };
        let good: PartySet = self.parties().into_iter().skip(3).collect();
        let (value, found, faults) = self.combine_coin(name, shares);
        assert_eq!(value, honest.filter(|_| self.sharing.is_qualified(good)));
        assert_eq!(found.into_iter().collect::<PartySet>(), good);
        let culprits: Vec<_> = faults.iter().map(|fault| fault.culprit).collect();
        assert_eq!(culprits, [liar, thief, stranger]);
        assert!(faults.iter().all(|fault| fault.kind == FaultKind::BadShare));
        assert!(faults[1].evidence.is_none(), "the thief did not sign what it sent");
        assert!(faults[2].evidence.is_none(), "signed with a key of another group");
        let evidence = faults[0].evidence.as_ref().unwrap();
        assert!(self.convicts(liar, evidence));
        assert!(!self.convicts(thief, evidence));
        let Evidence::BadShare { signed, subject, .. } = &**evidence else {
            panic!("a bad share is evidence of one");
        };
        let exchanged = Evidence::BadShare {
            signed: signed.clone(),
            subject: subject.clone(),
            share: Blob::new(self.coin_share(liar, name).share.to_wire()).unwrap(),
        };
        assert!(!self.convicts(liar, &exchanged), "not the share that was signed");
        self.good_shares_convict_nobody(name, subject);
    }

    /// A signed share that is good is no evidence.
    fn good_shares_convict_nobody(&self, name: Scope, subject: &Blob<SUBJECT_MAX>) {
        let honest = Party::new(3);
        let good = self.coin_share(honest, name);
        let bytes = good.share.to_wire();
        let value = Digest::of("maftia share", &bytes);
        let statement = Statement::new(name, StatementKind::CoinShare, Place::default(), value);
        let claim = Claim { party: honest, statement, signature: good.signature.clone() };
        assert_eq!(self.verify(vec![claim]), [true], "this is what a share's signature covers");
        let signed = Signed::<S> { statement, signature: good.signature }.to_evidence();
        let share = Blob::new(bytes).unwrap();
        let framing = Evidence::BadShare { signed, subject: subject.clone(), share };
        assert!(!self.convicts(honest, &framing));
    }

    fn signature_share(&self, party: Party, with_proof: bool) -> SignedShare<S, S::SignatureShare> {
        let work = Work::<S>::SignatureShare { key: KEY, input: input(1), with_proof };
        match run(&self.keyrings[party.index()], work) {
            Done::SignatureShare(share) => SignedShare::from_wire(share.to_wire()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn shares(&self, with_proof: bool) -> Shares<S> {
        self.parties().into_iter().map(|p| (p, self.signature_share(p, with_proof))).collect()
    }

    fn combine(
        &self,
        shares: Shares<S>,
    ) -> (Option<maftia_base::wire::Bytes>, Vec<Fault>, Vec<Party>) {
        match self.run(Work::CombineSignature { key: KEY, input: input(1), shares }) {
            Done::Signature { signature, faults, unproven } => (signature, faults, unproven),
            other => panic!("{other:?}"),
        }
    }

    fn qualified_sets_and_no_others_sign(&self) {
        let shares = self.shares(false);
        let (signature, faults, unproven) = self.combine(shares.clone());
        assert!(signature.is_some() && faults.is_empty() && unproven.is_empty());
        for set in some_sets(self.n()) {
            let some = shares.iter().filter(|(party, _)| set.contains(*party)).cloned();
            let (made, faults, unproven) = self.combine(some.collect());
            assert!(faults.is_empty() && unproven.is_empty(), "nobody lied");
            let expected = signature.clone().filter(|_| self.sharing.is_qualified(set));
            assert_eq!(made, expected, "{set:?}");
        }
    }

    fn bad_signature_shares_are_found_once_proofs_are_asked_for(&self) {
        let liar = Party::new(0);
        let (signature, ..) = self.combine(self.shares(true));
        let bad =
            |with_proof| S::bad_signature_share(&self.keyrings[0], KEY, &input(1), with_proof);
        let mut unproven_shares = self.shares(false);
        unproven_shares[0].1 = bad(false);
        let (made, faults, unproven) = self.combine(unproven_shares.clone());
        assert_eq!(made, None);
        assert!(faults.is_empty(), "without proofs nobody can be blamed");
        assert_eq!(unproven, self.parties());

        let mut proven = self.shares(true);
        proven[0].1 = bad(true);
        let (made, faults, unproven) = self.combine(proven.clone());
        assert_eq!(made, signature);
        assert!(unproven.is_empty());
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].culprit, faults[0].kind), (liar, FaultKind::BadShare));
        let evidence = faults[0].evidence.as_ref().unwrap();
        assert!(self.convicts(liar, evidence));
        assert!(!self.convicts(Party::new(1), evidence));

        proven[0] = unproven_shares[0].clone();
        let (made, faults, unproven) = self.combine(proven);
        assert_eq!((made, faults.len(), unproven), (signature, 0, vec![liar]));
    }
}

const SUBJECT_MAX: usize = maftia_base::ATTACHMENT_BYTES_MAX;
const CLOCK: Reading = Reading(1_234_567);

fn run<S: Corrupt>(keyring: &S::Keyring, work: Work<S>) -> Done<S> {
    S::run_many(vec![work], keyring, CLOCK).pop().unwrap()
}

fn sign<S: Corrupt>(keyring: &S::Keyring, statement: Statement) -> Signed<S> {
    match run::<S>(keyring, Work::Sign(statement)) {
        Done::Signed(signed) => signed,
        other => panic!("{other:?}"),
    }
}

/// Every set of a small group; of a large one, some that straddle the line.
fn some_sets(n: usize) -> Vec<PartySet> {
    let from_bits =
        |bits: u64| (0..n).filter(|i| bits & (1 << i) != 0).map(Party::new).collect::<PartySet>();
    if n <= 4 {
        return (0..1 << n).map(from_bits).collect();
    }
    let site_and_system = 0b0001_0001_0001_1111;
    [0, 1, 0b11_0011, site_and_system, 0xffff ^ site_and_system, 0b1000_0100_0010_0001, 0xa5a5]
        .map(from_bits)
        .to_vec()
}
