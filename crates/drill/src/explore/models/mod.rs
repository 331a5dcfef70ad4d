//! What is explored: groups of four, of which the last server lies.

mod binary;
mod broadcasts;
mod checkpoint;
mod coin;
mod multivalued;

use super::{Explored, blocks, explore};
use crate::world::{DrillSuite, Shape};
use maftia_base::protocol::{Protocol, Vocabulary};
use maftia_base::{Group, Party, Scope, Statement};
use maftia_crypto::{Done, IdealKeyring, IdealSuite, Signed, SignedShare, Suite, Work};
use std::rc::Rc;

/// Which word the liar may say, given what it was shown.
pub(super) type Lies<P> =
    Box<dyn Fn(&[(Party, <P as Vocabulary>::Message)]) -> Vec<<P as Vocabulary>::Message>>;

/// A group of four of one protocol, and an alphabet for its liar.
pub struct Model<P: Protocol> {
    /// Its name.
    pub name: &'static str,
    /// The group as each server sees it.
    pub groups: Vec<Group>,
    /// The keys.
    pub keyrings: Rc<Vec<IdealKeyring>>,
    /// Who lies.
    pub liar: Party,
    /// The protocol at one server.
    pub make: fn(Party) -> P,
    /// What a server is asked, at the start.
    pub orders: fn(Party) -> Vec<P::Command>,
    /// What the layer above answers at once.
    pub reply: fn(&P::Outcome) -> Option<P::Command>,
    /// What an outcome asserts.
    pub fact: fn(&P::Outcome) -> Option<u64>,
    /// May this be asserted?
    pub allows: fn(u64) -> bool,
    /// Must everybody be told in the end?
    pub must_end: bool,
    /// Must all be told if one is?
    pub all_or_none: bool,
    /// Is a server that says this beyond what is explored?
    pub is_beyond: fn(&P::Message) -> bool,
    /// The liar's words.
    pub(super) lies: Lies<P>,
    /// Renamings of honest servers, besides the identity, under which everything means the same:
    /// for each its new index.
    pub renamings: Vec<[u8; 3]>,
}

impl<P: Protocol> Model<P> {
    pub(super) fn honest(&self) -> [Party; 3] {
        [0, 1, 2].map(Party::new)
    }

    pub(super) fn index_of(&self, party: Party) -> usize {
        party.index()
    }
}

/// Names, sentences, and how to explore each up to so many states.
pub(crate) type Entry = (&'static str, &'static str, fn(usize) -> Explored);

/// All models.
pub const MODELS: &[Entry] = &[
    ("reliable-honest", "reliable broadcast of an honest sender", |max| {
        explore(&broadcasts::reliable_of(Party::new(0)), max)
    }),
    ("reliable-corrupt", "reliable broadcast of the liar", |max| {
        explore(&broadcasts::reliable_of(Party::new(LIAR)), max)
    }),
    ("consistent-honest", "consistent broadcast of an honest sender", |max| {
        explore(&broadcasts::consistent_of(Party::new(0)), max)
    }),
    ("consistent-corrupt", "consistent broadcast of the liar", |max| {
        explore(&broadcasts::consistent_of(Party::new(LIAR)), max)
    }),
    ("coin", "one coin; the liar has a good share and a bad one", |max| {
        explore(&coin::coin(), max)
    }),
    ("checkpoint", "one mark; the liar votes for the true state and for another", |max| {
        explore(&checkpoint::checkpoint::<1>("checkpoint"), max)
    }),
    ("checkpoint-two", "two marks; the liar votes for the true states and for others", |max| {
        explore(&checkpoint::checkpoint::<2>("checkpoint-two"), max)
    }),
    ("binary-0-1-1", "binary agreement, round 0, proposals 0, 1, 1", |max| {
        explore(&binary::mixed("binary-0-1-1", 1), max)
    }),
    ("binary-1-1-1", "binary agreement, round 0, all propose 1, the liar wants 0", |max| {
        explore(&binary::agreed(), max)
    }),
    ("binary-0-1-1-two", "binary agreement, two rounds, proposals 0, 1, 1", |max| {
        explore(&binary::mixed("binary-0-1-1-two", 2), max)
    }),
    ("multivalued", "multi-valued agreement, its first view, three proposals", |max| {
        explore(&multivalued::first_view(), max)
    }),
    ("blocks-two", "trusted block agreement of two components, which both propose", |max| {
        blocks::explore("blocks-two", [Some(1), Some(2)], max)
    }),
    ("blocks-three", "the same of three, of which two propose", |max| {
        blocks::explore("blocks-three", [Some(1), Some(2), None], max)
    }),
];

fn all_renamings() -> Vec<[u8; 3]> {
    vec![[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
}

const LIAR: usize = 3;

/// What the liar's keys make of one piece of work.
fn done_by_liar(work: Work<IdealSuite>) -> Done<IdealSuite> {
    let keyrings = IdealSuite::keyrings(Shape::Four);
    IdealSuite::run_many(vec![work], &keyrings[LIAR], Default::default()).remove(0)
}

fn signed_by_liar(statement: Statement) -> Signed<IdealSuite> {
    match done_by_liar(Work::Sign(statement)) {
        Done::Signed(signed) => signed,
        other => panic!("{other:?} is no signature"),
    }
}

/// The liar's share of a coin, as it should be.
fn liars_share(coin: Scope) -> SignedShare<IdealSuite, <IdealSuite as Suite>::CoinShare> {
    match done_by_liar(Work::CoinShare(coin)) {
        Done::CoinShare(share) => share,
        other => panic!("{other:?} is no share"),
    }
}
