//! The first view of multi-valued agreement; whoever enters the second is not followed.

use super::{LIAR, Model, liars_share, signed_by_liar};
use crate::protocols::multivalued::statements;
use crate::world::{DrillSuite, Shape};
use maftia_agreement::digest_of;
use maftia_agreement::multivalued::{
    Basis, Command, Message, Outcome, Step, ValidatedAgreement, View,
};
use maftia_base::Party;
use maftia_crypto::IdealSuite;

type Said = Message<IdealSuite, u64>;

/// What an honest server proposes.
fn proposal(party: Party) -> u64 {
    10 + party.index() as u64
}

/// Two proposals of the liar's, its echo of everybody's, its share of the coin, and its refusal.
fn words() -> Vec<Said> {
    let (scope, view, liar) = (Shape::Four.groups(0)[0].scope(), View::FIRST, Party::new(LIAR));
    let echo = |step, by, value: u64| {
        let statement = statements::echo(scope, view, step, by, digest_of(&value));
        signed_by_liar(statement).signature
    };
    let mut words = Vec::new();
    for value in [20, 21] {
        let signature = echo(Step::Lock, liar, value);
        words.push(Message::Propose { view, value, basis: Basis::First, signature });
    }
    for step in [Step::Lock, Step::Finish] {
        for by in [0, 1, 2].map(Party::new) {
            words.push(Message::Echo { view, step, signature: echo(step, by, proposal(by)) });
        }
    }
    words.push(Message::Share { view, share: liars_share(statements::coin(scope, view)) });
    let signature = signed_by_liar(statements::refusal(scope, view)).signature;
    words.push(Message::Refuse { view, signature });
    words
}

pub(super) fn first_view() -> Model<ValidatedAgreement<IdealSuite, u64>> {
    let words = words();
    Model {
        name: "multivalued",
        groups: Shape::Four.groups(0),
        keyrings: IdealSuite::keyrings(Shape::Four),
        liar: Party::new(LIAR),
        make: |_| ValidatedAgreement::new(),
        orders: |party| vec![Command::Propose(proposal(party))],
        reply: |outcome| match outcome {
            Outcome::Validate { value, .. } => Some(Command::Accept(digest_of(value))),
            Outcome::Decided { .. } => None,
        },
        fact: |outcome| match outcome {
            Outcome::Validate { .. } => None,
            Outcome::Decided { value, .. } => Some(*value),
        },
        allows: |value| [10, 11, 12, 20, 21].contains(&value),
        // A server may wait at the horizon for ever.
        must_end: false,
        all_or_none: false,
        is_beyond: |said| matches!(said, Message::Propose { view, .. } if *view != View::FIRST),
        lies: Box::new(move |_| words.clone()),
        renamings: Vec::new(),
    }
}
