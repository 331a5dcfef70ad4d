//! What is explored: groups of four, of which the last server lies.

use super::{Explored, explore};
use crate::world::{DrillSuite, Shape};
use maftia_agreement::binary::{self, BinaryAgreement, Round};
use maftia_agreement::broadcast::{ConsistentBroadcast, ReliableBroadcast, consistent, reliable};
use maftia_agreement::digest_of;
use maftia_base::protocol::{Protocol, Vocabulary};
use maftia_base::{Digest, Group, Party, Place, Statement, StatementKind};
use maftia_crypto::{Certificate, Done, IdealKeyring, IdealSuite, Signed, Suite, Work};
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
    /// What an outcome asserts.
    pub fact: fn(&P::Outcome) -> u64,
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
        explore(&reliable_of(Party::new(0)), max)
    }),
    ("reliable-corrupt", "reliable broadcast of the liar", |max| {
        explore(&reliable_of(Party::new(3)), max)
    }),
    ("consistent-honest", "consistent broadcast of an honest sender", |max| {
        explore(&consistent_of(Party::new(0)), max)
    }),
    ("consistent-corrupt", "consistent broadcast of the liar", |max| {
        explore(&consistent_of(Party::new(3)), max)
    }),
    ("binary-0-1-1", "binary agreement, round 0, proposals 0, 1, 1", |max| {
        explore(&binary_of("binary-0-1-1", proposals_011, 1, vec![[0, 2, 1]]), max)
    }),
    ("binary-1-1-1", "binary agreement, round 0, all propose 1, the liar wants 0", |max| {
        let mut model = binary_of("binary-1-1-1", proposals_111, 1, all_renamings());
        model.lies = Box::new(|_| {
            let round = Round(0);
            vec![
                binary::Message::Val(round, false),
                binary::Message::Echo(round, false),
                binary::Message::Vote(round, Some(false)),
                binary::Message::Vote(round, None),
            ]
        });
        explore(&model, max)
    }),
    ("binary-0-1-1-two", "binary agreement, two rounds, proposals 0, 1, 1", |max| {
        explore(&binary_of("binary-0-1-1-two", proposals_011, 2, vec![[0, 2, 1]]), max)
    }),
];

fn all_renamings() -> Vec<[u8; 3]> {
    vec![[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
}

const LIAR: usize = 3;

fn signed_by(index: usize, statement: Statement) -> Signed<IdealSuite> {
    let keyrings = IdealSuite::keyrings(Shape::Four);
    let work = vec![Work::Sign(statement)];
    match IdealSuite::run_many(work, &keyrings[index], Default::default()).remove(0) {
        Done::Signed(signed) => signed,
        other => panic!("{other:?} is no signature"),
    }
}

fn reliable_of(sender: Party) -> Model<ReliableBroadcast<IdealSuite, u64>> {
    use reliable::{Command, Message, Outcome};
    let is_honest = sender.index() != LIAR;
    let lies = move |_: &[(Party, Message<u64>)]| {
        let mut words = Vec::new();
        for value in [0, 1] {
            // INIT of anybody else is blamed at once, and changes nothing.
            if !is_honest {
                words.push(Message::Init(value));
            }
            words.push(Message::Echo(value));
            words.push(Message::Ready(digest_of(&value)));
        }
        words
    };
    Model {
        name: if is_honest { "reliable-honest" } else { "reliable-corrupt" },
        groups: Shape::Four.groups(0),
        keyrings: IdealSuite::keyrings(Shape::Four),
        liar: Party::new(LIAR),
        make: if is_honest {
            |_| ReliableBroadcast::new(Party::new(0))
        } else {
            |_| ReliableBroadcast::new(Party::new(LIAR))
        },
        orders: if is_honest {
            |party| (party.index() == 0).then_some(Command::Broadcast(0)).into_iter().collect()
        } else {
            |_| Vec::new()
        },
        fact: |Outcome::Delivered(value)| *value,
        allows: if is_honest { |value| value == 0 } else { |_| true },
        must_end: is_honest,
        all_or_none: true,
        is_beyond: |_| false,
        lies: Box::new(lies),
        renamings: if is_honest { vec![[0, 2, 1]] } else { all_renamings() },
    }
}

fn consistent_of(sender: Party) -> Model<ConsistentBroadcast<IdealSuite, u64>> {
    use consistent::{Command, Message, Outcome};
    type Said = Message<IdealSuite, u64>;
    let is_honest = sender.index() != LIAR;
    let scope = Shape::Four.groups(0)[0].scope();
    let vote = move |value: Digest| {
        Statement::new(scope, StatementKind::Echo, Place(0, sender.index() as u64), value)
    };
    let lies = move |heard: &[(Party, Said)]| {
        let mut words = Vec::new();
        for value in [0u64, 1] {
            let digest = digest_of(&value);
            let own = signed_by(LIAR, vote(digest));
            words.push(match is_honest {
                true => Message::Echo(digest, own.signature),
                false => Message::Send(value, own.signature),
            });
            // All votes that it was given, with its own: a certificate if they suffice.
            let echoes = heard.iter().filter_map(|(from, said)| match said {
                Message::Echo(of, signature) if *of == digest => {
                    let statement = vote(digest);
                    Some((*from, Signed { statement, signature: *signature }))
                }
                _ => None,
            });
            let votes: std::collections::BTreeMap<_, _> =
                echoes.chain([(Party::new(LIAR), own)]).collect();
            words.push(Message::Final(digest, Certificate::new(votes)));
        }
        words
    };
    Model {
        name: if is_honest { "consistent-honest" } else { "consistent-corrupt" },
        groups: Shape::Four.groups(0),
        keyrings: IdealSuite::keyrings(Shape::Four),
        liar: Party::new(LIAR),
        make: if is_honest {
            |_| ConsistentBroadcast::new(Party::new(0))
        } else {
            |_| ConsistentBroadcast::new(Party::new(LIAR))
        },
        orders: if is_honest {
            |party| (party.index() == 0).then_some(Command::Broadcast(0)).into_iter().collect()
        } else {
            |_| Vec::new()
        },
        fact: |Outcome::Delivered { value, .. }| *value,
        allows: if is_honest { |value| value == 0 } else { |_| true },
        must_end: is_honest,
        all_or_none: false,
        is_beyond: |_| false,
        lies: Box::new(lies),
        // Certificates name their voters: the alphabet means something else under other names.
        renamings: Vec::new(),
    }
}

fn proposals_011(party: Party) -> Vec<binary::Command> {
    vec![binary::Command::Propose(party.index() > 0)]
}

fn proposals_111(_: Party) -> Vec<binary::Command> {
    vec![binary::Command::Propose(true)]
}

/// Rounds below `rounds`; whoever enters that one is not followed.
fn binary_of(
    name: &'static str,
    orders: fn(Party) -> Vec<binary::Command>,
    rounds: u16,
    renamings: Vec<[u8; 3]>,
) -> Model<BinaryAgreement<IdealSuite>> {
    use binary::{Message, Outcome};
    let lies = move |_: &[(Party, Message<IdealSuite>)]| {
        let mut words = Vec::new();
        for round in (0..rounds).map(Round) {
            for bit in [false, true] {
                words.push(Message::Val(round, bit));
                words.push(Message::Echo(round, bit));
                words.push(Message::Vote(round, Some(bit)));
            }
            words.push(Message::Vote(round, None));
        }
        words
    };
    Model {
        name,
        groups: Shape::Four.groups(0),
        keyrings: IdealSuite::keyrings(Shape::Four),
        liar: Party::new(LIAR),
        make: |_| BinaryAgreement::new(),
        orders,
        fact: |outcome| match outcome {
            Outcome::Decided(bit) => u64::from(*bit),
            Outcome::Certified(decision) => u64::from(decision.value),
        },
        allows: if name.contains('0') { |_| true } else { |value| value == 1 },
        // A server may wait at the horizon for ever.
        must_end: false,
        all_or_none: false,
        is_beyond: match rounds {
            1 => |said| matches!(said, Message::Val(round, _) if round.0 >= 1),
            _ => |said| matches!(said, Message::Val(round, _) if round.0 >= 2),
        },
        lies: Box::new(lies),
        renamings,
    }
}
