//! The real suite: Ed25519, the coin over ristretto255, threshold RSA.
//!
//! # Rules
//! - Q1. All signatures to be verified in one call, of servers and clients, are one batch.
//! - Q2. The signature on a share is verified only once the share has proved bad. If it holds, the
//!   fault carries evidence; if not, it stays this server's suspicion.

use crate::coding;
use crate::coin::CoinShare;
use crate::ed25519::{self, Check, Ed25519Signature, PublicKey};
use crate::keys::{GroupKeys, KeysError, OpenKeys, ServerKeys};
use crate::rsa::RsaShare;
use crate::share::{Charge, Subject};
use crate::{
    Claim, ClientClaim, ClientKey, ClientSignature, Corrupt, Done, Element, KeyId, SealClaim,
    Signed, SignedShare, SigningInput, Suite, Work,
};
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use maftia_base::canary;
use maftia_base::time::Reading;
use maftia_base::wire::Wire;
use maftia_base::{
    Annotation, Evidence, Fault, FaultKind, Formula, GroupId, Party, Scope, Statement,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The suite of production.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RealSuite;

/// One server's secrets with its group's public keys; or, for an observer, only these.
pub struct RealKeyring {
    public: GroupKeys,
    open: OpenKeys,
    /// Binds the group's keys and epoch.
    keys: Scope,
    secrets: Option<Secrets>,
}

struct Secrets {
    identity: SigningKey,
    server: ServerKeys,
    /// The coin shares that were made last: public, and known to be good.
    shared: Mutex<VecDeque<(Scope, CoinShare)>>,
}

/// More coins than one agreement tosses at a time.
const SHARED_MAX: usize = 8;

impl Secrets {
    fn remember(&self, name: Scope, share: &CoinShare) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.push_back((name, share.clone()));
        if shared.len() > SHARED_MAX {
            shared.pop_front();
        }
    }

    fn remembered(&self, name: Scope) -> Option<CoinShare> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.iter().find(|(of, _)| *of == name).map(|(_, share)| share.clone())
    }
}

impl fmt::Debug for RealKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealKeyring({:?}, {:?})", self.public, self.me())
    }
}

impl RealKeyring {
    /// A server's keyring; refuses secrets that do not belong to the public keys, and names them.
    pub fn new(public: GroupKeys, server: ServerKeys) -> Result<Self, KeysError> {
        if server.group != public.digest() {
            let (share, public) = (server.group, public.digest());
            return Err(KeysError::OtherGroup { share, public });
        }
        if server.epoch != public.epoch {
            let (share, public) = (server.epoch, public.epoch);
            return Err(KeysError::OtherEpoch { share, public });
        }
        let mut keyring = Self::observer(public)?;
        let identity = SigningKey::from_bytes(&server.identity.0);
        keyring.check(&server, &identity)?;
        keyring.secrets = Some(Secrets { identity, server, shared: Mutex::default() });
        Ok(keyring)
    }

    /// Somebody who verifies, combines and convicts, and signs nothing: a client, an auditor.
    pub fn observer(public: GroupKeys) -> Result<Self, KeysError> {
        let open = public.open()?;
        let keys = Scope::root(GroupId(public.digest()), public.epoch);
        Ok(Self { public, open, keys, secrets: None })
    }

    /// The public keys.
    pub fn public(&self) -> &GroupKeys {
        &self.public
    }

    /// Whose keyring this is; `None` for an observer.
    pub fn me(&self) -> Option<Party> {
        self.secrets.as_ref().map(|secrets| secrets.server.party)
    }

    /// The seed of this server's Ed25519 key for links.
    pub fn link_seed(&self) -> &[u8; 32] {
        self.secrets().server.link_seed()
    }

    /// Does this server's signature hold?
    pub fn verify(&self, claim: &Claim<RealSuite>) -> bool {
        ed25519::verify(&[self.check_of(claim)]) == [true]
    }

    /// Is this the group's signature on `input` under its threshold key `key`?
    pub fn verify_signature(&self, key: KeyId, input: &SigningInput, signature: &[u8]) -> bool {
        self.open.rsa(key).is_some_and(|public| public.verify(input, signature))
    }

    fn check(&self, server: &ServerKeys, identity: &SigningKey) -> Result<(), KeysError> {
        let party = server.party;
        let wrong = |what| Err(KeysError::Mismatch { party, what });
        let Some(published) = self.public.parties.get(party.index()) else {
            return wrong("number of the server");
        };
        let link = SigningKey::from_bytes(&server.link.0);
        if identity.verifying_key().to_bytes() != published.identity {
            return wrong("identity key");
        }
        if link.verifying_key().to_bytes() != published.link {
            return wrong("link key");
        }
        if !self.open.coin.matches(party, &server.coin.0) {
            return wrong("coin share");
        }
        let ids = |keys: &mut dyn Iterator<Item = KeyId>| keys.collect::<Vec<_>>();
        let held = ids(&mut server.signature_keys.iter().map(|(key, _)| *key));
        if held != ids(&mut self.public.signature_keys()) {
            return wrong("list of threshold-signature keys");
        }
        let all_match = server.signature_keys.iter().all(|(key, shares)| {
            self.open.rsa(*key).is_some_and(|public| public.matches(party, shares))
        });
        if all_match { Ok(()) } else { wrong("share of a threshold-signature key") }
    }

    fn secrets(&self) -> &Secrets {
        self.secrets.as_ref().expect("only a server is asked to sign, and it has its secrets")
    }
}

impl Suite for RealSuite {
    const NAME: &'static str = "real";
    type Signature = Ed25519Signature;
    type CoinShare = CoinShare;
    type SignatureShare = RsaShare;
    type Keyring = RealKeyring;

    fn run_many(work: Vec<Work<Self>>, keyring: &RealKeyring, clock: Reading) -> Vec<Done<Self>> {
        let mut checks = Vec::new(); // Q1
        for piece in &work {
            match piece {
                Work::Verify(claims) => {
                    checks.extend(claims.iter().map(|claim| keyring.check_of(claim)));
                }
                Work::VerifyClients(claims) => checks.extend(claims.iter().map(check_of_client)),
                Work::VerifySeals(claims) => checks.extend(claims.iter().map(check_of_seal)),
                Work::VerifyWithSeals(claims, seals) => {
                    checks.extend(claims.iter().map(|claim| keyring.check_of(claim)));
                    checks.extend(seals.iter().map(check_of_seal));
                }
                _ => {}
            }
        }
        let mut verdicts = ed25519::verify(&checks).into_iter();
        let run = |piece| match piece {
            Work::Verify(claims) => Done::Verified(verdicts.by_ref().take(claims.len()).collect()),
            Work::VerifyClients(claims) => {
                Done::Verified(verdicts.by_ref().take(claims.len()).collect())
            }
            Work::VerifySeals(claims) => {
                Done::Verified(verdicts.by_ref().take(claims.len()).collect())
            }
            Work::VerifyWithSeals(claims, seals) => {
                let count = claims.len() + seals.len();
                Done::Verified(verdicts.by_ref().take(count).collect())
            }
            other => keyring.run(other, clock),
        };
        work.into_iter().map(run).collect()
    }

    fn sharing(keyring: &RealKeyring) -> &Formula {
        &keyring.public.sharing
    }
}

impl RealKeyring {
    fn run(&self, work: Work<RealSuite>, clock: Reading) -> Done<RealSuite> {
        match work {
            Work::Sign(statement) => Done::Signed(self.sign(statement)),
            Work::SignReading(statement) => {
                Done::Signed(self.sign(Statement { annotation: Annotation(clock.0), ..statement }))
            }
            Work::CoinShare(name) => {
                let server = &self.secrets().server;
                let share = self.open.coin.share(name, server.party, &server.coin.0);
                self.secrets().remember(name, &share);
                Done::CoinShare(self.sign_share(&Subject::Coin(name), share))
            }
            Work::CombineCoin { name, shares } => self.combine_coin(name, &shares),
            Work::SignatureShare { key, input, with_proof } => {
                let share = self.signature_share(key, &input, with_proof);
                let subject = Subject::Signature { key, input, with_proof };
                Done::SignatureShare(self.sign_share(&subject, share))
            }
            Work::CombineSignature { key, input, shares } => {
                self.combine_signature(key, &input, &shares)
            }
            Work::Convict { culprit, evidence } => {
                Done::Convicted(self.convict(culprit, &evidence))
            }
            Work::Trusted(call) => unreachable!("the trusted component is consulted: {call:?}"),
            Work::Encode { code, value } => Done::Encoded(coding::encode(code, &value)),
            Work::Decode { code, commitment, fragments, me } => {
                Done::Decoded(coding::decode(code, &commitment, &fragments, me))
            }
            Work::Verify(_)
            | Work::VerifyClients(_)
            | Work::VerifySeals(_)
            | Work::VerifyWithSeals(..) => {
                unreachable!("verified as one batch before")
            }
        }
    }

    fn sign(&self, statement: Statement) -> Signed<RealSuite> {
        let signature = self.secrets().identity.sign(&statement.signing_bytes());
        Signed { statement, signature: Ed25519Signature(signature.to_bytes()) }
    }

    fn sign_share<T: Element>(&self, subject: &Subject, share: T) -> SignedShare<RealSuite, T> {
        let statement = subject.statement(self.keys, &share.to_wire());
        SignedShare { share, signature: self.sign(statement).signature }
    }

    fn signature_share(&self, key: KeyId, input: &SigningInput, with_proof: bool) -> RsaShare {
        let server = &self.secrets().server;
        let public = self.open.rsa(key).expect("a service is given a key that the group has");
        let (_, shares) = server
            .signature_keys
            .iter()
            .find(|(id, _)| *id == key)
            .expect("a keyring has a share of each public key");
        public
            .share(input, server.party, shares, with_proof)
            .expect("a service gives a digest of its hash's length")
    }

    fn combine_coin(
        &self,
        name: Scope,
        shares: &[(Party, SignedShare<RealSuite, CoinShare>)],
    ) -> Done<RealSuite> {
        let bare: Vec<_> = shares.iter().map(|(party, signed)| (*party, &signed.share)).collect();
        // This server's own share needs no check if it is the one that it made: what others give as
        // its share may be anything.
        let own = self
            .secrets
            .as_ref()
            .and_then(|secrets| Some((secrets.server.party, secrets.remembered(name)?)));
        let known = own.as_ref().map(|(me, share)| (*me, share));
        let (value, verdicts) = self.open.coin.combine(name, &bare, known);
        let (mut good, mut faults) = (Vec::new(), Vec::new());
        for ((party, signed), verdict) in shares.iter().zip(verdicts) {
            if verdict {
                good.push(*party);
            } else {
                let fault = self.fault(&Subject::Coin(name), *party, signed);
                canary!("crypto-bad-share-forgiven", drop(fault), faults.push(fault));
            }
        }
        Done::Coin { value, good, faults }
    }

    fn combine_signature(
        &self,
        key: KeyId,
        input: &SigningInput,
        shares: &[(Party, SignedShare<RealSuite, RsaShare>)],
    ) -> Done<RealSuite> {
        let public = self.open.rsa(key).expect("a service is given a key that the group has");
        let bare: Vec<_> = shares.iter().map(|(party, signed)| (*party, &signed.share)).collect();
        let combined = public.combine(input, &bare);
        let fault = |position: usize| {
            let (party, signed) = &shares[position];
            let with_proof = signed.share.is_with_proof();
            let subject = Subject::Signature { key, input: input.clone(), with_proof };
            self.fault(&subject, *party, signed)
        };
        Done::Signature {
            signature: combined.signature,
            faults: combined.bad.into_iter().map(fault).collect(),
            unproven: combined.unproven.into_iter().map(|position| shares[position].0).collect(),
        }
    }

    /// The fault of whoever sent a share that is bad. (Q2)
    fn fault<T: Element>(
        &self,
        subject: &Subject,
        culprit: Party,
        signed: &SignedShare<RealSuite, T>,
    ) -> Fault {
        let share = signed.share.to_wire();
        let statement = subject.statement(self.keys, &share);
        let holds = self.holds(culprit, &statement, &signed.signature);
        if canary!("crypto-bad-share-evidence-unsigned", true, holds) {
            subject.bad_share::<RealSuite>(self.keys, culprit, share, &signed.signature)
        } else {
            Fault::suspected(culprit, FaultKind::BadShare)
        }
    }

    fn convict(&self, culprit: Party, evidence: &Evidence) -> bool {
        match Charge::<RealSuite>::of(evidence, self.keys) {
            None => false,
            Some(Charge::Conflict(both)) => {
                both.iter().all(|(statement, signature)| self.holds(culprit, statement, signature))
            }
            Some(Charge::BadShare { statement, signature, subject, share }) => {
                self.holds(culprit, &statement, &signature)
                    && self.is_bad_share(culprit, &subject, share)
            }
        }
    }

    /// Would no honest server have signed these bytes as its share?
    fn is_bad_share(&self, owner: Party, subject: &Subject, share: Bytes) -> bool {
        match subject {
            Subject::Coin(name) => CoinShare::from_wire(share).map_or(true, |share| {
                !self.open.coin.check(*name, &[(owner, &share)]).contains(&true)
            }),
            Subject::Signature { key, input, with_proof } => {
                let Some(public) = self.open.rsa(*key).filter(|rsa| rsa.is_input(input)) else {
                    return false; // An honest server signs nothing here, but it is no bad share.
                };
                RsaShare::from_wire(share).map_or(true, |share| {
                    share.is_with_proof() != *with_proof
                        || public.is_good(input, owner, &share) == Some(false)
                })
            }
        }
    }

    fn holds(&self, party: Party, statement: &Statement, signature: &Ed25519Signature) -> bool {
        let claim = Claim { party, statement: *statement, signature: *signature };
        ed25519::verify(&[self.check_of(&claim)]) == [true]
    }

    fn check_of(&self, claim: &Claim<RealSuite>) -> Option<Check> {
        let key = self.open.identities.get(claim.party.index())?;
        Check::new(key, &claim.statement.signing_bytes(), &claim.signature.0)
    }
}

fn check_of_client(claim: &ClientClaim) -> Option<Check> {
    let key = PublicKey::from_bytes(claim.key.0)?;
    Check::new(&key, &claim.statement.signing_bytes(), &claim.signature.0)
}

fn check_of_seal(claim: &SealClaim) -> Option<Check> {
    let key = PublicKey::from_bytes(claim.key)?;
    Check::new(&key, &claim.digest, &claim.seal)
}

impl Corrupt for RealSuite {
    fn bad_coin_share(keyring: &RealKeyring, name: Scope) -> SignedShare<Self, CoinShare> {
        let server = &keyring.secrets().server;
        let share = keyring.open.coin.share(name, server.party, &server.coin.0);
        keyring.sign_share(&Subject::Coin(name), share.spoiled())
    }

    fn bad_signature_share(
        keyring: &RealKeyring,
        key: KeyId,
        input: &SigningInput,
        with_proof: bool,
    ) -> SignedShare<Self, RsaShare> {
        let share = keyring.signature_share(key, input, with_proof).spoiled();
        let subject = Subject::Signature { key, input: input.clone(), with_proof };
        keyring.sign_share(&subject, share)
    }

    fn bad_signature() -> Ed25519Signature {
        Ed25519Signature([0xbd; 64])
    }
}

/// A client's private key.
pub struct ClientSecret(SigningKey);

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(Secret(..))")
    }
}

impl ClientSecret {
    /// From 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key.
    pub fn key(&self) -> ClientKey {
        ClientKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `statement`.
    pub fn sign(&self, statement: &Statement) -> ClientSignature {
        ClientSignature(self.0.sign(&statement.signing_bytes()).to_bytes())
    }
}
