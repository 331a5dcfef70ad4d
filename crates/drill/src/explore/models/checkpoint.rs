//! One mark or two, which all honest servers reach in the same states.

use super::{LIAR, Model, signed_by_liar};
use crate::protocols::short;
use crate::world::{DrillSuite, Shape};
use maftia_agreement::checkpoint::{
    Checkpoint, Checkpoints, Command, Mark, Message, Outcome, vote,
};
use maftia_base::{Digest, Party};
use maftia_crypto::{Certificate, IdealSuite, Signed};
use std::collections::BTreeMap;

type Said = Message<IdealSuite>;

/// The true state at a mark, and another.
fn state(mark: u64, is_true: bool) -> Digest {
    Digest::of_encoded("drill explored state", &(mark, is_true))
}

/// The liar votes, and makes certificates of all votes that it was shown and its own.
pub(super) fn checkpoint<const MARKS: u64>(name: &'static str) -> Model<Checkpoints<IdealSuite>> {
    let groups = Shape::Four.groups(0);
    let scope = groups[0].scope();
    let lies = move |heard: &[(Party, Said)]| {
        let mut words = Vec::new();
        for (mark, is_true) in (1..=MARKS).flat_map(|mark| [(mark, true), (mark, false)]) {
            let digest = state(mark, is_true);
            let statement = vote(scope, Mark(mark), digest);
            let own = signed_by_liar(statement);
            words.push(Message::Vote { mark: Mark(mark), digest, signature: own.signature });
            let votes = heard.iter().filter_map(|(from, said)| match said {
                Message::Vote { mark: at, digest: of, signature }
                    if at.0 == mark && *of == digest =>
                {
                    Some((*from, Signed { statement, signature: *signature }))
                }
                _ => None,
            });
            let votes: BTreeMap<_, _> = votes.chain([(Party::new(LIAR), own)]).collect();
            let certificate = Certificate::new(votes);
            words.push(Message::Certified(Checkpoint { mark: Mark(mark), digest, certificate }));
        }
        words
    };
    Model {
        name,
        groups,
        keyrings: IdealSuite::keyrings(Shape::Four),
        liar: Party::new(LIAR),
        make: |_| Checkpoints::new(),
        orders: |_| {
            let reached = |mark| Command::Reached { mark: Mark(mark), digest: state(mark, true) };
            (1..=MARKS).map(reached).collect()
        },
        reply: |_| None,
        // The last mark is what all must have in the end; an earlier one may be skipped.
        fact: |outcome| match outcome {
            Outcome::Certified(Checkpoint { mark, digest, .. }) => {
                (mark.0 == MARKS).then(|| short(digest))
            }
            Outcome::Diverged { .. } => Some(0),
        },
        allows: |value| value == short(&state(MARKS, true)),
        must_end: true,
        all_or_none: true,
        is_beyond: |_| false,
        lies: Box::new(lies),
        // Certificates name their voters.
        renamings: Vec::new(),
    }
}
