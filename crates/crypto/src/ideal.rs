//! The ideal suite: cheap, and unforgeable because only keyrings make signatures and shares.
//!
//! # Promise
//! - A signature verifies only if the signer's keyring made it for that statement.
//! - A share is good only if its owner's keyring made it for that name, or key and message.
//! - The coin's value and threshold signatures are known to nobody who does not combine good
//!   shares of a qualified set.
//!
//! # Model
//! Tags are keyed BLAKE3, the keys never leave a keyring, and no method signs for another party: a
//! simulated adversary that is given the keyrings of the servers it corrupts can do what a real
//! one can, and what it decodes from bytes of its own fails every check. For simulations only: who
//! reads a keyring's memory reads everybody's keys.
//!
//! # Bounds
//! Less than a microsecond for each signature, check or share.

use crate::coding;
use crate::share::{Charge, Subject};
use crate::{
    Claim, ClientClaim, ClientKey, ClientSignature, Corrupt, Done, Element, KeyId, SealClaim,
    Signed, SignedShare, SigningInput, Suite, Work,
};
use bytes::Bytes;
use maftia_base::time::Reading;
use maftia_base::wire::{Encode, Wire, wire_struct};
use maftia_base::{
    AdversaryStructure, Annotation, Digest, Evidence, Fault, FaultKind, Formula, GroupId, Party,
    PartySet, Scope, Statement,
};
use maftia_ttcb_api::Seal;
use std::fmt;
use std::sync::Arc;

/// The ideal suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IdealSuite;

type Tag = [u8; 16];

/// A signature that only its signer's [`IdealKeyring`] can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdealSignature(Tag);

/// A coin share that only its owner's [`IdealKeyring`] can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdealCoinShare(Tag);

/// A share of a threshold signature that only its owner's [`IdealKeyring`] can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdealSignatureShare {
    tag: Tag,
    proven: bool,
}

wire_struct!(IdealSignature { 0 });
wire_struct!(IdealCoinShare { 0 });
wire_struct!(IdealSignatureShare { tag, proven });

/// One server's powers in the ideal suite.
#[derive(Clone)]
pub struct IdealKeyring {
    me: Party,
    common: Arc<Common>,
}

/// What the keyrings of a group have in common; never handed out.
struct Common {
    sharing: Formula,
    keys: Scope,
    parties: Vec<[u8; 32]>,
    coin: [u8; 32],
    threshold: [u8; 32],
    clients: [u8; 32],
}

impl fmt::Debug for IdealKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdealKeyring({}, Secret(..))", self.me)
    }
}

/// A keyring for each server of a group; the same `seed` gives the same keys.
pub fn keyrings(structure: &AdversaryStructure, sharing: &Formula, seed: u64) -> Vec<IdealKeyring> {
    let key = |purpose: &str, number: u64| key_of(seed, purpose, number);
    let n = structure.n();
    let common = Arc::new(Common {
        sharing: sharing.clone(),
        keys: Scope::root(GroupId(Digest(key("group", n as u64))), Default::default()),
        parties: (0..n as u64).map(|index| key("party", index)).collect(),
        coin: key("coin", 0),
        threshold: key("threshold", 0),
        clients: key("clients", 0),
    });
    (0..n)
        .map(|index| IdealKeyring { me: Party::new(index), common: Arc::clone(&common) })
        .collect()
}

/// A client whose signatures the keyrings of the same `seed` accept.
pub fn client(seed: u64, number: u64) -> IdealClient {
    let key = ClientKey(key_of(seed, "client", number));
    IdealClient { key, secret: *blake3::keyed_hash(&key_of(seed, "clients", 0), &key.0).as_bytes() }
}

/// One client's power to sign.
#[derive(Clone)]
pub struct IdealClient {
    key: ClientKey,
    secret: [u8; 32],
}

impl fmt::Debug for IdealClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdealClient({:?}, Secret(..))", self.key)
    }
}

impl IdealClient {
    /// Its public key.
    pub fn key(&self) -> ClientKey {
        self.key
    }

    /// Signs `statement`.
    pub fn sign(&self, statement: &Statement) -> ClientSignature {
        client_signature(&self.secret, statement)
    }
}

impl Suite for IdealSuite {
    const NAME: &'static str = "ideal";
    type Signature = IdealSignature;
    type CoinShare = IdealCoinShare;
    type SignatureShare = IdealSignatureShare;
    type Keyring = IdealKeyring;

    fn run_many(work: Vec<Work<Self>>, keyring: &IdealKeyring, clock: Reading) -> Vec<Done<Self>> {
        work.into_iter().map(|piece| keyring.run(piece, clock)).collect()
    }

    fn sharing(keyring: &IdealKeyring) -> &Formula {
        &keyring.common.sharing
    }
}

/// What stands for the signature of the trusted component with this key: simulations have only
/// trusted components make it.
pub fn seal(key: &[u8; 32], digest: &[u8; 32]) -> Seal {
    let mut seal = [0; 64];
    seal[..32].copy_from_slice(blake3::keyed_hash(key, digest).as_bytes());
    seal
}

fn seal_holds(claim: &SealClaim) -> bool {
    claim.seal == seal(&claim.key, &claim.digest)
}

impl IdealKeyring {
    /// Whose keyring this is.
    pub fn me(&self) -> Party {
        self.me
    }

    /// Is this the threshold signature on `input` under `key`?
    pub fn is_threshold_signature(&self, key: KeyId, input: &SigningInput, bytes: &[u8]) -> bool {
        self.threshold_signature(key, input) == bytes
    }

    fn run(&self, work: Work<IdealSuite>, clock: Reading) -> Done<IdealSuite> {
        match work {
            Work::Sign(statement) => Done::Signed(self.sign(statement)),
            Work::SignReading(statement) => {
                Done::Signed(self.sign(Statement { annotation: Annotation(clock.0), ..statement }))
            }
            Work::Verify(claims) => {
                Done::Verified(claims.iter().map(|claim| self.verify(claim)).collect())
            }
            Work::VerifyClients(claims) => {
                Done::Verified(claims.iter().map(|claim| self.verify_client(claim)).collect())
            }
            Work::CoinShare(name) => {
                let share = IdealCoinShare(self.coin_tag(self.me, name));
                Done::CoinShare(self.sign_share(&Subject::Coin(name), share))
            }
            Work::CombineCoin { name, shares } => self.combine_coin(name, &shares),
            Work::SignatureShare { key, input, with_proof } => {
                let tag = self.signature_tag(self.me, key, &input);
                let subject = Subject::Signature { key, input, with_proof };
                let share = IdealSignatureShare { tag, proven: with_proof };
                Done::SignatureShare(self.sign_share(&subject, share))
            }
            Work::CombineSignature { key, input, shares } => {
                self.combine_signature(key, input, &shares)
            }
            Work::Convict { culprit, evidence } => {
                Done::Convicted(self.convict(culprit, &evidence))
            }
            Work::VerifySeals(claims) => Done::Verified(claims.iter().map(seal_holds).collect()),
            Work::VerifyWithSeals(claims, seals) => {
                let claims = claims.iter().map(|claim| self.verify(claim));
                Done::Verified(claims.chain(seals.iter().map(seal_holds)).collect())
            }
            Work::Trusted(call) => unreachable!("the trusted component is consulted: {call:?}"),
            Work::Encode { code, value } => Done::Encoded(coding::encode(code, &value)),
            Work::Decode { code, commitment, fragments, me } => {
                Done::Decoded(coding::decode(code, &commitment, &fragments, me))
            }
        }
    }

    fn sign(&self, statement: Statement) -> Signed<IdealSuite> {
        Signed { statement, signature: self.signature_of(self.me, &statement) }
    }

    fn sign_share<T: Element>(&self, subject: &Subject, share: T) -> SignedShare<IdealSuite, T> {
        let statement = subject.statement(self.common.keys, &share.to_wire());
        SignedShare { share, signature: self.signature_of(self.me, &statement) }
    }

    fn verify(&self, claim: &Claim<IdealSuite>) -> bool {
        self.is_member(claim.party)
            && self.signature_of(claim.party, &claim.statement) == claim.signature
    }

    fn verify_client(&self, claim: &ClientClaim) -> bool {
        let secret = blake3::keyed_hash(&self.common.clients, &claim.key.0);
        client_signature(secret.as_bytes(), &claim.statement) == claim.signature
    }

    fn combine_coin(
        &self,
        name: Scope,
        shares: &[(Party, SignedShare<IdealSuite, IdealCoinShare>)],
    ) -> Done<IdealSuite> {
        let (mut good, mut faults) = (PartySet::EMPTY, Vec::new());
        for (party, signed) in shares.iter().filter(|(party, _)| self.is_member(*party)) {
            if signed.share.0 == self.coin_tag(*party, name) {
                good.insert(*party);
            } else {
                faults.push(self.fault(&Subject::Coin(name), *party, signed));
            }
        }
        let value =
            self.common.sharing.is_qualified(good).then(|| {
                Digest(*blake3::keyed_hash(&self.common.coin, &name.digest().0).as_bytes())
            });
        Done::Coin { value, good: good.iter().collect(), faults }
    }

    fn combine_signature(
        &self,
        key: KeyId,
        input: SigningInput,
        shares: &[(Party, SignedShare<IdealSuite, IdealSignatureShare>)],
    ) -> Done<IdealSuite> {
        let members = || shares.iter().filter(|(party, _)| self.is_member(*party));
        let is_good = |party: Party, share: &IdealSignatureShare| {
            share.tag == self.signature_tag(party, key, &input)
        };
        let made = |set: PartySet| self.common.sharing.is_qualified(set);
        let all: PartySet = members().map(|(party, _)| *party).collect();
        let lies = members().any(|(party, signed)| !is_good(*party, &signed.share));
        if !lies || !made(all) {
            let signature = made(all).then(|| Bytes::from(self.threshold_signature(key, &input)));
            return Done::Signature { signature, faults: Vec::new(), unproven: Vec::new() };
        }
        let (mut good, mut faults, mut unproven) = (PartySet::EMPTY, Vec::new(), Vec::new());
        for (party, signed) in members() {
            if !signed.share.proven {
                unproven.push(*party);
            } else if is_good(*party, &signed.share) {
                good.insert(*party);
            } else {
                let input = input.clone();
                let subject = Subject::Signature { key, input, with_proof: true };
                faults.push(self.fault(&subject, *party, signed));
            }
        }
        let signature = made(good).then(|| Bytes::from(self.threshold_signature(key, &input)));
        Done::Signature { signature, faults, unproven }
    }

    fn fault<T: Element>(
        &self,
        subject: &Subject,
        culprit: Party,
        signed: &SignedShare<IdealSuite, T>,
    ) -> Fault {
        let share = signed.share.to_wire();
        let statement = subject.statement(self.common.keys, &share);
        if self.signature_of(culprit, &statement) == signed.signature {
            subject.bad_share::<IdealSuite>(self.common.keys, culprit, share, &signed.signature)
        } else {
            Fault::suspected(culprit, FaultKind::BadShare)
        }
    }

    fn convict(&self, culprit: Party, evidence: &Evidence) -> bool {
        if !self.is_member(culprit) {
            return false;
        }
        let holds = |statement: &Statement, signature: &IdealSignature| {
            self.signature_of(culprit, statement) == *signature
        };
        match Charge::<IdealSuite>::of(evidence, self.common.keys) {
            None => false,
            Some(Charge::Conflict(both)) => both.iter().all(|(what, how)| holds(what, how)),
            Some(Charge::BadShare { statement, signature, subject, share }) => {
                holds(&statement, &signature) && self.is_bad_share(culprit, &subject, share)
            }
        }
    }

    fn is_bad_share(&self, owner: Party, subject: &Subject, share: Bytes) -> bool {
        match subject {
            Subject::Coin(name) => IdealCoinShare::from_wire(share)
                .map_or(true, |share| share.0 != self.coin_tag(owner, *name)),
            Subject::Signature { key, input, with_proof } => IdealSignatureShare::from_wire(share)
                .map_or(true, |share| {
                    share.proven != *with_proof
                        || (share.proven && share.tag != self.signature_tag(owner, *key, input))
                }),
        }
    }

    fn is_member(&self, party: Party) -> bool {
        party.index() < self.common.parties.len()
    }

    fn signature_of(&self, party: Party, statement: &Statement) -> IdealSignature {
        IdealSignature(tag(&self.common.parties[party.index()], 0, &[&statement.encode()]))
    }

    fn coin_tag(&self, party: Party, name: Scope) -> Tag {
        tag(&self.common.parties[party.index()], 1, &[&name.digest().0])
    }

    fn signature_tag(&self, party: Party, key: KeyId, input: &SigningInput) -> Tag {
        tag(&self.common.parties[party.index()], 2, &[&key.0.to_le_bytes(), &input.encode()])
    }

    fn threshold_signature(&self, key: KeyId, input: &SigningInput) -> Vec<u8> {
        tag(&self.common.threshold, 3, &[&key.0.to_le_bytes(), &input.encode()]).to_vec()
    }
}

impl Corrupt for IdealSuite {
    fn bad_coin_share(keyring: &IdealKeyring, name: Scope) -> SignedShare<Self, IdealCoinShare> {
        let mut tag = keyring.coin_tag(keyring.me, name);
        tag[0] ^= 1;
        keyring.sign_share(&Subject::Coin(name), IdealCoinShare(tag))
    }

    fn bad_signature_share(
        keyring: &IdealKeyring,
        key: KeyId,
        input: &SigningInput,
        with_proof: bool,
    ) -> SignedShare<Self, IdealSignatureShare> {
        let mut tag = keyring.signature_tag(keyring.me, key, input);
        tag[0] ^= 1;
        let subject = Subject::Signature { key, input: input.clone(), with_proof };
        keyring.sign_share(&subject, IdealSignatureShare { tag, proven: with_proof })
    }

    fn bad_signature() -> IdealSignature {
        IdealSignature([0xbd; 16])
    }
}

/// A key of the simulated world.
fn key_of(seed: u64, purpose: &str, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("maftia ideal suite key");
    hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(purpose.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Half of a keyed hash: 128 bits that nobody without the key can guess.
fn tag(key: &[u8; 32], domain: u8, parts: &[&[u8]]) -> Tag {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[domain]);
    for part in parts {
        hasher.update(part);
    }
    let mut tag = [0; 16];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    tag
}

fn client_signature(secret: &[u8; 32], statement: &Statement) -> ClientSignature {
    let half = tag(secret, 4, &[&statement.encode()]);
    let mut bytes = [0; 64];
    bytes[..16].copy_from_slice(&half);
    ClientSignature(bytes)
}
