//! Reliable and consistent broadcast, of an honest sender and of the liar.

use super::{LIAR, Model, all_renamings, signed_by_liar};
use crate::world::{DrillSuite, Shape};
use maftia_agreement::broadcast::{ConsistentBroadcast, ReliableBroadcast, consistent, reliable};
use maftia_agreement::digest_of;
use maftia_base::{Digest, Party, Place, Statement, StatementKind};
use maftia_crypto::{Certificate, IdealSuite, Signed};

pub(super) fn reliable_of(sender: Party) -> Model<ReliableBroadcast<IdealSuite, u64>> {
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
        reply: |_| None,
        fact: |Outcome::Delivered(value)| Some(*value),
        allows: if is_honest { |value| value == 0 } else { |_| true },
        must_end: is_honest,
        all_or_none: true,
        is_beyond: |_| false,
        lies: Box::new(lies),
        renamings: if is_honest { vec![[0, 2, 1]] } else { all_renamings() },
    }
}

pub(super) fn consistent_of(sender: Party) -> Model<ConsistentBroadcast<IdealSuite, u64>> {
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
            let own = signed_by_liar(vote(digest));
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
        reply: |_| None,
        fact: |Outcome::Delivered { value, .. }| Some(*value),
        allows: if is_honest { |value| value == 0 } else { |_| true },
        must_end: is_honest,
        all_or_none: false,
        is_beyond: |_| false,
        lies: Box::new(lies),
        // Certificates name their voters: the alphabet means something else under other names.
        renamings: Vec::new(),
    }
}
