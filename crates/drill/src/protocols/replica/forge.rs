//! Lies about all that replicas say.

use super::{Hull, Replication, marks_of};
use crate::protocols::consistent::alone;
use crate::protocols::order::{self, chain_of};
use crate::stage::Seat;
use crate::world::DrillSuite;
use maftia_activity::{Accusation, Message, Nonce, Piece, SigningMessage, TransferMessage};
use maftia_agreement::checkpoint::{self, Checkpoint, Mark};
use maftia_base::wire::Blob;
use maftia_base::{Digest, Party, Place, Scope, Statement, StatementKind};
use maftia_crypto::{HashAlgorithm, KeyId, SigningInput};
use maftia_sim::Random;

type SeatOf<S, H> = Seat<Replication<S, H>>;

pub(super) fn state_vote(scope: Scope, mark: Mark, digest: Digest) -> Statement {
    Statement::new(marks_of(scope), StatementKind::Checkpoint, Place(mark.0, 0), digest)
}

pub(super) fn odd(number: u64) -> Digest {
    Digest::of_encoded("drill odd", &number)
}

/// What a liar says instead.
pub(super) fn lies<S: DrillSuite, H: Hull<S>>(
    by: Party,
    said: &Message<S>,
    seat: &SeatOf<S, H>,
    random: &mut Random,
) -> Vec<Message<S>> {
    match said {
        Message::Order(body) => {
            let lies = order::lies(by, body, chain_of(seat.scope), seat, random);
            lies.into_iter().map(Message::Order).collect()
        }
        Message::Signing(SigningMessage::Share { .. }) => {
            bad_share(by, said, seat).into_iter().collect()
        }
        Message::Signing(SigningMessage::Want { position, proven }) => {
            let position = position + random.below(20);
            let want = SigningMessage::Want { position, proven: !proven };
            vec![Message::Signing(want)]
        }
        // No answer of a liar asks for another: two of them would never end.
        Message::Signing(SigningMessage::Lost { .. }) => Vec::new(),
        Message::Accusation(Accusation { culprit, evidence }) => {
            let culprit = Party::new((culprit.index() + 1) % seat.n);
            vec![Message::Accusation(Accusation { culprit, evidence: evidence.clone() })]
        }
        Message::Checkpoint(body) => {
            let lies = false_checkpoint(by, body, seat, random);
            lies.into_iter().map(Message::Checkpoint).collect()
        }
        Message::Transfer(body) => {
            let lies = false_transfer(body, random);
            lies.into_iter().map(Message::Transfer).collect()
        }
        Message::Value(body) => {
            let mut other = body.clone();
            other.id.number += random.below(3);
            other.id.home = Party::new(random.below(seat.n as u64) as usize);
            vec![Message::Value(other)]
        }
        Message::Rejoin(_) => vec![Message::Rejoin(Nonce(odd(random.below(3))))],
        Message::NewLife(life) => {
            let mut other = *life;
            other.0.said.epoch += random.below(3);
            vec![Message::NewLife(other)]
        }
    }
}

fn false_checkpoint<S: DrillSuite, H: Hull<S>>(
    by: Party,
    said: &checkpoint::Message<S>,
    seat: &SeatOf<S, H>,
    random: &mut Random,
) -> Vec<checkpoint::Message<S>> {
    let vote = |mark: Mark, digest| {
        let signature = seat.sign(by, state_vote(seat.scope, mark, digest));
        checkpoint::Message::Vote { mark, digest, signature }
    };
    match said {
        checkpoint::Message::Vote { mark, digest, .. } => match random.below(4) {
            0 => vec![vote(*mark, odd(1))],
            1 => vec![vote(*mark, *digest), vote(*mark, odd(1))],
            2 => vec![vote(Mark(mark.0 + 1), odd(2)), vote(Mark(mark.0 + 2), odd(2))],
            _ => vec![vote(Mark(1 << 40), odd(3))],
        },
        checkpoint::Message::Certified(last) => {
            let (mark, digest) = (Mark(last.mark.0 + 2), odd(4));
            let certificate = alone(by, state_vote(seat.scope, mark, digest), seat);
            let mut other = last.clone();
            other.mark = Mark(last.mark.0 + 3);
            let forged = Checkpoint { mark, digest, certificate };
            vec![checkpoint::Message::Certified(if random.chance(500) { forged } else { other })]
        }
    }
}

/// False pieces of states, and true ones that are said to be gone.
pub(super) fn false_transfer<S: DrillSuite>(
    said: &TransferMessage<S>,
    random: &mut Random,
) -> Vec<TransferMessage<S>> {
    match said {
        TransferMessage::Want { mark, .. } => (0..30)
            .map(|index| TransferMessage::Want { mark: *mark, piece: Piece::Chunk(index) })
            .collect(),
        TransferMessage::Manifest(manifest) => {
            let mut manifest = manifest.clone();
            match random.below(4) {
                0 => manifest.frontier.round = manifest.frontier.round.next(),
                1 => manifest.frontier.epoch.0 += 1,
                2 => manifest.chunks = Default::default(),
                _ => return vec![TransferMessage::Gone(manifest.mark())],
            }
            vec![TransferMessage::Manifest(manifest)]
        }
        TransferMessage::Chunk { mark, index, chunk } => {
            let (mark, index) = (*mark, *index);
            let mut bytes = chunk.to_vec();
            match random.below(4) {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes[0] ^= 1,
                2 => {
                    let chunk = chunk.clone();
                    return vec![TransferMessage::Chunk { mark, index: index + 1, chunk }];
                }
                _ => return vec![TransferMessage::Gone(mark)],
            }
            let chunk = Blob::new(bytes).expect("no longer than before");
            vec![TransferMessage::Chunk { mark, index, chunk }]
        }
        TransferMessage::Gone(mark) => vec![TransferMessage::Gone(Mark(mark.0 + 1))],
    }
}

/// Any message at all.
pub(super) fn babble<S: DrillSuite, H: Hull<S>>(
    by: Party,
    seat: &SeatOf<S, H>,
    random: &mut Random,
) -> Message<S> {
    let mark = Mark(1 + random.below(6));
    match random.below(8) {
        0 => {
            let digest = odd(random.below(2));
            let signature = seat.sign(by, state_vote(seat.scope, mark, digest));
            Message::Checkpoint(checkpoint::Message::Vote { mark, digest, signature })
        }
        1 => {
            let index = random.below(4) as u32;
            let piece = [Piece::Manifest, Piece::Chunk(index)][random.below(2) as usize];
            Message::Transfer(TransferMessage::Want { mark, piece })
        }
        2 => Message::Transfer(TransferMessage::Gone(mark)),
        3 => {
            let (position, proven) = (random.below(40), random.chance(500));
            Message::Signing(SigningMessage::Want { position, proven })
        }
        4 => Message::Rejoin(Nonce(odd(random.below(2)))),
        _ => Message::Order(order::babble(by, chain_of(seat.scope), seat, random)),
    }
}

/// The same with a bad share under a good signature.
pub(super) fn bad_share<S: DrillSuite, H: Hull<S>>(
    by: Party,
    said: &Message<S>,
    seat: &SeatOf<S, H>,
) -> Option<Message<S>> {
    match said {
        Message::Order(body) => {
            order::spoilt_share(by, body, chain_of(seat.scope), seat).map(Message::Order)
        }
        Message::Signing(SigningMessage::Share { position, proven, .. }) if !S::IS_REAL => {
            let digest = Blob::new(odd(9).0.to_vec()).expect("32 bytes");
            let input = SigningInput { hash: HashAlgorithm::Sha256, digest };
            let share = seat.bad_signature_share(by, KeyId(0), &input, *proven);
            let (position, proven) = (*position, *proven);
            Some(Message::Signing(SigningMessage::Share { position, proven, share }))
        }
        _ => None,
    }
}

/// A message in words.
pub(super) fn words<S: DrillSuite>(said: &Message<S>) -> String {
    let text = match said {
        Message::Order(body) => return order::words(body),
        Message::Signing(body) => format!("{body:?}"),
        Message::Accusation(accusation) => format!("{} is guilty", accusation.culprit),
        Message::Checkpoint(checkpoint::Message::Vote { mark, digest, .. }) => {
            format!("my state at mark {} is {digest:?}", mark.0)
        }
        Message::Checkpoint(checkpoint::Message::Certified(last)) => {
            format!("CERTIFIED {}", last.mark.0)
        }
        Message::Transfer(TransferMessage::Manifest(manifest)) => {
            format!("MANIFEST of {}", manifest.mark().0)
        }
        Message::Transfer(TransferMessage::Chunk { mark, index, .. }) => {
            format!("CHUNK {index} of {}", mark.0)
        }
        Message::Transfer(body) => format!("{body:?}"),
        Message::Value(body) => {
            format!("of value {} of {}: {:?}", body.id.number, body.id.home, body.body)
        }
        Message::Rejoin(nonce) => format!("let me in, {:?}", nonce.0),
        Message::NewLife(life) => format!("let me in, as life {}", life.0.said.epoch),
    };
    text.chars().take(120).collect()
}
