//! Binary agreement, one round or two.

use super::{LIAR, Model, all_renamings};
use crate::world::{DrillSuite, Shape};
use maftia_agreement::binary::{self, BinaryAgreement, Round};
use maftia_base::Party;
use maftia_crypto::IdealSuite;

/// Proposals 0, 1, 1.
pub(super) fn mixed(name: &'static str, rounds: u16) -> Model<BinaryAgreement<IdealSuite>> {
    binary_of(name, proposals_011, rounds, vec![[0, 2, 1]])
}

/// All propose 1, and the liar wants 0.
pub(super) fn agreed() -> Model<BinaryAgreement<IdealSuite>> {
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
    model
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
        reply: |_| None,
        fact: |outcome| match outcome {
            Outcome::Decided(bit) => Some(u64::from(*bit)),
            Outcome::Certified(decision) => Some(u64::from(decision.value)),
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
