//! What the drill must know of a protocol to put it on: implement [`Stage`], and all strategies,
//! checkers, twins and canaries apply to it.

use crate::adversary::Special;
use crate::check::{Complaint, Fact, Monitor};
use crate::plan::Plan;
use crate::world::{Court, DrillSuite, Shape, work};
use crate::wormhole::Components;
use maftia_base::protocol::{TimedProtocol, Vocabulary};
use maftia_base::time::{Reading, Time};
use maftia_base::wire::Wire;
use maftia_base::{Group, Party, PartySet, Scope, Statement};
use maftia_crypto::{Done, KeyId, SignedShare, SigningInput, Suite, Work};
use maftia_sim::{CLOCK_START, Letter, Random, Simulation};
use maftia_ttcb_api::{Answer, Call};
use std::rc::Rc;

/// The messages of a stage.
pub type Said<T> = <<T as Stage>::Protocol as Vocabulary>::Message;
/// Its commands.
pub type Order<T> = <<T as Stage>::Protocol as Vocabulary>::Command;
/// Its outcomes.
pub type Told<T> = <<T as Stage>::Protocol as Vocabulary>::Outcome;
/// Its records.
pub type Written<T> = <<T as Stage>::Protocol as Vocabulary>::Record;
/// Signatures of its suite.
pub type SignatureOf<T> = <<T as Stage>::Suite as Suite>::Signature;
/// Coin shares of its suite.
pub type ShareOf<T> = SignedShare<<T as Stage>::Suite, <<T as Stage>::Suite as Suite>::CoinShare>;

/// A share of which coin: its number, its name, and the share.
pub type CoinShareOf<T> = (u64, Scope, ShareOf<T>);

/// One protocol with the inputs of one run.
pub trait Stage: Sized + 'static {
    /// Its cryptography.
    type Suite: DrillSuite;
    /// The protocol itself.
    type Protocol: TimedProtocol
        + Vocabulary<
            Work = Work<Self::Suite>,
            Done = Done<Self::Suite>,
            Message: Wire,
            Command: Clone,
        >;
    /// What watches that honest servers have reasons for what they say.
    type Monitor: Monitor<Self>;
    /// Name in tokens.
    const NAME: &'static str;
    /// May the layer above ask for something else after a restart?
    const MAY_BE_FICKLE: bool = true;
    /// Does the layer above ask again, after a restart, for all that it asked for?
    const ASKS_AGAIN: bool = true;
    /// Does the driver tell of losses? Not to protocols that retransmit by themselves.
    const IS_AIDED: bool = true;
    /// Groups of runs, each with the sum of the parts of a hundred of it and those before.
    const SHAPES: &'static [(u64, Shape)] = SHAPES;
    /// Events a server over which disturbances are spread.
    const SPAN: u64 = 60;
    /// Conducts and storages that are drawn more often than others, so many times.
    const FAVOURITES: &'static [(&'static str, usize)] = &[];
    /// In how many of 1000 runs the suite of production is used.
    const REAL_PERMILLE: u32 = 20;
    /// What else can happen to memories and disks: name and sentence.
    const STORAGES: &'static [(&'static str, &'static str)] = &[];

    /// Draws the inputs of a run.
    fn new(plan: &Plan, random: &mut Random) -> Self;

    /// The protocol at one server; `restarts` times it has been there before.
    fn make(&self, group: &Group, restarts: u32) -> Self::Protocol;

    /// In the hybrid configuration, the trusted components of its servers.
    fn components(&self) -> Option<Components<Self::Protocol>> {
        None
    }

    /// Most items that a server may hold on behalf of its peers.
    fn footprint_max(&self, n: usize) -> usize;

    /// Most messages that all `n` servers together send, without losses and crashes; `None` where
    /// that depends on chance.
    fn messages_max(&self, n: usize) -> Option<u64> {
        let _ = n;
        None
    }

    /// Most events until nothing is left to happen.
    fn events_max(&self, n: usize) -> u64 {
        4_000 * (n * n) as u64
    }

    /// What a server is asked, in order. `face` 1 is what the second copy of a two-faced server is
    /// asked.
    fn orders(&self, party: Party, face: usize) -> Vec<Order<Self>>;

    /// What the layer above answers.
    fn answers(&self, told: &Told<Self>) -> Vec<Order<Self>> {
        let _ = told;
        Vec::new()
    }

    /// The same for every outcome of every copy, with a look at the server's log.
    fn answers_from_log(
        &self,
        party: Party,
        told: &Told<Self>,
        log: &[Written<Self>],
    ) -> Vec<Order<Self>> {
        let _ = (party, log);
        self.answers(told)
    }

    /// How many records of its log a server may forget upon this outcome.
    fn cuts(&self, told: &Told<Self>, log: &[Written<Self>]) -> Option<usize> {
        let _ = (told, log);
        None
    }

    /// What a server's clock shows.
    fn clock(&self, party: Party, now: Time) -> Reading {
        let _ = party;
        Reading(CLOCK_START.0 + now.0)
    }

    /// Who else is there, clients for example, does something. Called before every event.
    fn tend(&self, sim: &mut Simulation<Self::Protocol>) {
        let _ = sim;
    }

    /// Has everybody whom [`tend`](Self::tend) stands for got what it waits for?
    fn is_tended(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let _ = sim;
        true
    }

    /// Is more corrupt or forgetful than the structure allows, so that nothing need ever end?
    fn may_stall(&self) -> bool {
        false
    }

    /// What else must hold in the end.
    fn verdicts(&self, sim: &Simulation<Self::Protocol>) -> Vec<Complaint> {
        let _ = sim;
        Vec::new()
    }

    /// What happened in this run that is worth counting.
    fn feats(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// What an outcome asserts, in the checkers' words.
    fn facts(&self, told: &Told<Self>, court: &Court<Self::Suite>) -> Vec<Fact>;

    /// What must be told to each honest server in the end; see [`Goal`](crate::check::Goal).
    fn goal(&self, corrupt: PartySet, n: usize) -> crate::check::Goal;

    /// Is this run over although timers go on? For protocols that never fall silent.
    fn is_over(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let _ = sim;
        false
    }

    /// Has every honest server all that it is due? Asked when the budget is used up because
    /// corrupt servers, which answer every answer, do not let the group fall silent.
    fn is_met(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let _ = sim;
        false
    }

    /// The signatures that the sender of a message made for it.
    fn signatures(&self, said: &Said<Self>) -> Vec<SignatureOf<Self>> {
        let _ = said;
        Vec::new()
    }

    /// What a server may say only one of: place and value.
    fn remarks(&self, said: &Said<Self>) -> Vec<(u64, u64)> {
        let _ = said;
        Vec::new()
    }

    /// How far along a message is: rounds, then steps within.
    fn step(&self, said: &Said<Self>) -> u64;

    /// The coin share that a message carries.
    fn coin_share(&self, said: &Said<Self>, scope: Scope) -> Option<CoinShareOf<Self>> {
        let _ = (said, scope);
        None
    }

    /// Of which coin, and is it in favour of what that coin says?
    fn favours(&self, letter: &Letter<Said<Self>>, coin: &dyn Fn(u64) -> Option<u64>) -> bool {
        let _ = (letter, coin);
        false
    }

    /// What a liar says instead: other small values in the same or a neighbouring place.
    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>>;

    /// Any message at all.
    fn babble(&self, by: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self>;

    /// The same with a signature that holds for nothing.
    fn spoilt_signature(&self, said: &Said<Self>) -> Option<Said<Self>> {
        let _ = said;
        None
    }

    /// The same with a bad share under a good signature.
    fn spoilt_share(&self, by: Party, said: &Said<Self>, seat: &Seat<Self>) -> Option<Said<Self>> {
        let _ = (by, said, seat);
        None
    }

    /// The same with a certificate that lacks votes, or counts somebody twice.
    fn thinned(&self, said: &Said<Self>, random: &mut Random) -> Option<Said<Self>> {
        let _ = (said, random);
        None
    }

    /// Strategies that make sense here only.
    fn specials() -> Vec<Special<Self>> {
        Vec::new()
    }

    /// A message in words.
    fn words(&self, said: &Said<Self>) -> String {
        format!("{said:?}")
    }
}

/// Groups of runs of most protocols.
pub(crate) const SHAPES: &[(u64, Shape)] = &[
    (65, Shape::Four),
    (80, Shape::Seven),
    (90, Shape::Lopsided),
    (96, Shape::Sites),
    (100, Shape::Ten),
];

/// What an adversary can use: its own parties' keys, and what everybody knows.
pub struct Seat<T: Stage> {
    /// The run's inputs.
    pub stage: Rc<T>,
    /// The parties that it owns.
    pub corrupt: PartySet,
    /// Number of servers.
    pub n: usize,
    /// Where the instance is.
    pub scope: Scope,
    /// Keys and formulas; the adversary uses the keys of its own parties only.
    pub court: Court<T::Suite>,
}

impl<T: Stage> Clone for Seat<T> {
    fn clone(&self) -> Self {
        let Self { stage, corrupt, n, scope, court } = self;
        Self {
            stage: Rc::clone(stage),
            corrupt: *corrupt,
            n: *n,
            scope: *scope,
            court: court.clone(),
        }
    }
}

impl<T: Stage> Seat<T> {
    fn keyring(&self, by: Party) -> &<T::Suite as Suite>::Keyring {
        assert!(self.corrupt.contains(by), "an adversary has the keys of its own parties only");
        &self.court.keyrings[by.index()]
    }

    /// A signature of one of its parties.
    pub fn sign(&self, by: Party, statement: Statement) -> SignatureOf<T> {
        match work::<T::Suite>(self.keyring(by), Work::Sign(statement)) {
            Done::Signed(signed) => signed.signature,
            other => panic!("{other:?} is no signature"),
        }
    }

    /// A good share of one of its parties.
    pub fn share(&self, by: Party, name: Scope) -> ShareOf<T> {
        match work::<T::Suite>(self.keyring(by), Work::CoinShare(name)) {
            Done::CoinShare(share) => share,
            other => panic!("{other:?} is no share"),
        }
    }

    /// A bad one, under a good signature.
    pub fn bad_share(&self, by: Party, name: Scope) -> ShareOf<T> {
        maftia_crypto::Corrupt::bad_coin_share(self.keyring(by), name)
    }

    /// A bad share of a threshold signature, under a good signature.
    pub fn bad_signature_share(
        &self,
        by: Party,
        key: KeyId,
        input: &SigningInput,
        with_proof: bool,
    ) -> SignedShare<T::Suite, <T::Suite as Suite>::SignatureShare> {
        maftia_crypto::Corrupt::bad_signature_share(self.keyring(by), key, input, with_proof)
    }

    /// What the trusted component of one of its parties answers to a call of the adversary's own.
    pub fn ask(&self, by: Party, call: Call) -> Option<Answer> {
        assert!(self.corrupt.contains(by), "nobody calls another server's component");
        self.stage.components()?.borrow_mut().ask(by, call)
    }

    /// Everybody else.
    pub fn victims(&self) -> PartySet {
        PartySet::all(self.n).difference(self.corrupt)
    }

    /// Some of the others.
    pub fn some_victims(&self, random: &mut Random) -> PartySet {
        let bits = random.bits();
        self.victims().iter().filter(|party| bits >> party.index() & 1 == 1).collect()
    }
}
