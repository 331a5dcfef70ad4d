//! Groups, keys and cryptography for runs, made once and kept.

use crate::quorum::Quorums;
use maftia_base::canary;
use maftia_base::{Digest, Epoch, Formula, Group, GroupId, Party, PartySet, Scope, Statement};
use maftia_crypto::ideal::{self, IdealKeyring};
use maftia_crypto::{
    Certificate, Claim, ClientKey, ClientSecret, ClientSignature, Corrupt, DealSpec, Done,
    IdealSuite, KeyId, RealKeyring, RealSuite, SignedShare, SigningInput, Work, deal,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The groups that runs take place in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// One server, whom everybody trusts: cheap where it is about its disk. Not drawn.
    One,
    /// Three servers, one corrupt: for the hybrid configuration.
    Three,
    /// Five servers, two corrupt: for the hybrid configuration.
    Five,
    /// Four servers, one corrupt.
    Four,
    /// Seven servers, two corrupt.
    Seven,
    /// Ten servers, three corrupt.
    Ten,
    /// Six servers: 0 and 1 together, or 2 and 3 together, or 4; never 5.
    Lopsided,
    /// Seven servers: pairs by site, or one of a site with the last.
    Sites,
}

impl Shape {
    /// All that runs are drawn from.
    pub const ALL: [Self; 7] =
        [Self::Four, Self::Seven, Self::Ten, Self::Lopsided, Self::Sites, Self::Three, Self::Five];

    /// Name in a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Three => "3",
            Self::Five => "5",
            Self::Four => "4",
            Self::Seven => "7",
            Self::Ten => "10",
            Self::Lopsided => "lopsided",
            Self::Sites => "sites",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::One]).find(|shape| shape.name() == name)
    }

    /// The judges' view.
    pub fn quorums(self) -> Quorums {
        match self {
            Self::One => Quorums::threshold(1, 0),
            Self::Three => Quorums::threshold(3, 1),
            Self::Five => Quorums::threshold(5, 2),
            Self::Four => Quorums::threshold(4, 1),
            Self::Seven => Quorums::threshold(7, 2),
            Self::Ten => Quorums::threshold(10, 3),
            Self::Lopsided => Quorums::one_of(6, &[&[0, 1], &[2, 3], &[4]]),
            Self::Sites => {
                Quorums::one_of(7, &[&[0, 1], &[2, 3], &[4, 5], &[0, 6], &[2, 6], &[4, 6]])
            }
        }
    }

    /// Number of servers.
    pub fn n(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
            Self::Five => 5,
            Self::Four => 4,
            Self::Lopsided => 6,
            Self::Seven | Self::Sites => 7,
            Self::Ten => 10,
        }
    }

    /// One view of the group for each server; each epoch has scopes, and hence coins, of its own.
    pub fn groups(self, epoch: u64) -> Vec<Group> {
        thread_local! {
            static GROUPS: RefCell<Kept<Vec<Group>>> = const { RefCell::new(Kept::new()) };
        }
        GROUPS.with_borrow_mut(|made| {
            let groups = made.entry(self).or_insert_with(|| {
                let structure = self.quorums().structure();
                let group = |index| {
                    Group::new(GroupId::default(), Epoch(0), Party::new(index), structure.clone())
                };
                (0..self.n()).map(group).collect()
            });
            groups.iter().map(|group| group.in_epoch(Epoch(epoch))).collect()
        })
    }
}

/// What is made once for each shape.
type Kept<T> = BTreeMap<Shape, T>;

/// The scope at which a run takes place.
pub fn scope_of(epoch: u64) -> Scope {
    Scope::root(GroupId::default(), Epoch(epoch))
}

/// A suite that runs can use.
pub trait DrillSuite: Corrupt {
    /// Are its signatures and coins the real ones?
    const IS_REAL: bool;
    /// The keys of a group of this shape.
    fn keyrings(shape: Shape) -> Rc<Vec<Self::Keyring>>;
    /// The client of this number of every group.
    fn customer(number: u64) -> Customer;
    /// Is this the group's signature?
    fn is_threshold_signature(
        keyring: &Self::Keyring,
        key: KeyId,
        input: &SigningInput,
        signature: &[u8],
    ) -> bool;
}

/// A client's key, and its power to sign.
#[derive(Clone)]
pub struct Customer {
    /// Its public key.
    pub key: ClientKey,
    sign: Rc<dyn Fn(&Statement) -> ClientSignature>,
}

impl Customer {
    /// Signs `statement`.
    pub fn sign(&self, statement: &Statement) -> ClientSignature {
        (self.sign)(statement)
    }
}

/// Of the keys of the ideal suite, and of its clients.
const IDEAL_SEED: u64 = 1;

impl DrillSuite for IdealSuite {
    const IS_REAL: bool = false;

    fn keyrings(shape: Shape) -> Rc<Vec<IdealKeyring>> {
        thread_local! {
            static KEYS: RefCell<Kept<Rc<Vec<IdealKeyring>>>> = const { RefCell::new(Kept::new()) };
        }
        KEYS.with_borrow_mut(|made| {
            let make = || {
                let structure = shape.quorums().structure();
                Rc::new(ideal::keyrings(&structure, &Formula::exact(&structure), IDEAL_SEED))
            };
            Rc::clone(made.entry(shape).or_insert_with(make))
        })
    }

    fn customer(number: u64) -> Customer {
        let client = ideal::client(IDEAL_SEED, number);
        Customer { key: client.key(), sign: Rc::new(move |statement| client.sign(statement)) }
    }

    fn is_threshold_signature(
        keyring: &IdealKeyring,
        key: KeyId,
        input: &SigningInput,
        signature: &[u8],
    ) -> bool {
        keyring.is_threshold_signature(key, input, signature)
    }
}

impl DrillSuite for RealSuite {
    const IS_REAL: bool = true;

    fn keyrings(shape: Shape) -> Rc<Vec<RealKeyring>> {
        thread_local! {
            static KEYS: RefCell<Kept<Rc<Vec<RealKeyring>>>> = const { RefCell::new(Kept::new()) };
        }
        KEYS.with_borrow_mut(|made| {
            Rc::clone(made.entry(shape).or_insert_with(|| Rc::new(dealt(shape))))
        })
    }

    fn customer(number: u64) -> Customer {
        let secret = ClientSecret::from_seed(&Digest::of_encoded("drill client", &number).0);
        Customer { key: secret.key(), sign: Rc::new(move |statement| secret.sign(statement)) }
    }

    fn is_threshold_signature(
        keyring: &RealKeyring,
        key: KeyId,
        input: &SigningInput,
        signature: &[u8],
    ) -> bool {
        keyring.verify_signature(key, input, signature)
    }
}

fn dealt(shape: Shape) -> Vec<RealKeyring> {
    let structure = shape.quorums().structure();
    let spec = DealSpec {
        sharing: Formula::exact(&structure),
        structure,
        epoch: Epoch(0),
        context: Digest::default(),
        rsa: Vec::new(),
    };
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let (public, servers) = deal(&spec, &mut rng, &mut |_| {}).expect("well-formed");
    let keyring = |server| RealKeyring::new(public.clone(), server).expect("dealt together");
    servers.into_iter().map(keyring).collect()
}

/// Does one piece of work with this keyring, as unbroken code does it.
pub fn work<S: DrillSuite>(keyring: &S::Keyring, work: Work<S>) -> Done<S> {
    canary::quietly(|| S::run_many(vec![work], keyring, Default::default()).remove(0))
}

/// Whoever judges: knows all keys, and counts by its own formulas.
pub struct Court<S: DrillSuite> {
    /// Who may be corrupt.
    pub quorums: Quorums,
    /// Of all servers.
    pub keyrings: Rc<Vec<S::Keyring>>,
    /// Of the run.
    pub scope: Scope,
}

impl<S: DrillSuite> Clone for Court<S> {
    fn clone(&self) -> Self {
        Self {
            quorums: self.quorums.clone(),
            keyrings: Rc::clone(&self.keyrings),
            scope: self.scope,
        }
    }
}

impl<S: DrillSuite> Court<S> {
    /// Of a run in this group and epoch.
    pub fn new(shape: Shape, epoch: u64) -> Self {
        Self { quorums: shape.quorums(), keyrings: S::keyrings(shape), scope: scope_of(epoch) }
    }

    /// Did `party` sign this? Signatures are made deterministically in both suites, so that a judge
    /// who has the keys compares instead of verifying.
    pub fn signed(&self, party: Party, statement: Statement, signature: &S::Signature) -> bool {
        let Some(keyring) = self.keyrings.get(party.index()) else { return false };
        match work::<S>(keyring, Work::Sign(statement)) {
            Done::Signed(signed) => signed.signature == *signature,
            _ => false,
        }
    }

    /// Who really signed `statement` in this certificate, annotations aside; `None` if one vote
    /// is forged, or somebody is there twice.
    pub fn voters(&self, certificate: &Certificate<S>, statement: Statement) -> Option<PartySet> {
        let mut voters = PartySet::EMPTY;
        for Claim { party, statement, signature } in certificate.claims(statement) {
            if !voters.insert(party) || !self.signed(party, statement, &signature) {
                return None;
            }
        }
        Some(voters)
    }

    /// Is it a certificate of a quorum for this statement?
    pub fn is_certificate(&self, certificate: &Certificate<S>, statement: Statement) -> bool {
        self.voters(certificate, statement).is_some_and(|voters| self.quorums.is_quorum(voters))
    }

    /// The coin of this name, made of the shares of all servers.
    pub fn coin(&self, name: Scope) -> Digest {
        let shares = self.keyrings.iter().enumerate().map(|(index, keyring)| {
            match work::<S>(keyring, Work::CoinShare(name)) {
                Done::CoinShare(share) => (Party::new(index), share),
                other => panic!("{other:?} is no coin share"),
            }
        });
        let shares = shares.collect();
        self.coin_of(name, shares).expect("all shares together make the coin")
    }

    /// The coin, if these shares give it.
    pub fn coin_of(
        &self,
        name: Scope,
        shares: Vec<(Party, SignedShare<S, S::CoinShare>)>,
    ) -> Option<Digest> {
        match work::<S>(&self.keyrings[0], Work::CombineCoin { name, shares }) {
            Done::Coin { value, .. } => value,
            _ => None,
        }
    }
}
