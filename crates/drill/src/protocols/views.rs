//! What courses in the hybrid configuration know of agreement in views: how to forge its messages,
//! with the forger's own trusted component. Positions and statements are in the judges' words.

use crate::stage::{Seat, Stage};
use maftia_agreement::hybrid::views::{Enter, Message, Place, Prepare, View};
use maftia_agreement::{Value, digest_of};
use maftia_base::{Digest, Party, Scope};
use maftia_crypto::Attested;
use maftia_sim::Random;
use maftia_ttcb_api::{Answer, Call, Identifier};

/// The counter of the trusted component that agreement uses.
const COUNTER: u8 = 1;

const ENTER: u8 = 1;
const PREPARE: u8 = 2;
const COMMIT: u8 = 3;

/// Where an instance is: its scope, and its place among the others.
pub(crate) type At = (Scope, Place);

/// How far along a message is within its agreement.
pub(crate) fn step<V: Value>(said: &Message<V>) -> u64 {
    let (view, step) = match said {
        Message::Prepare(prepare) => (prepare.view, 0),
        Message::Commit { view, .. } => (*view, 1),
        Message::Enter(enter) => (enter.view, 0),
        Message::Input { .. } | Message::Ask { .. } => (View(0), 2),
        Message::Decided { .. } => (View(0), 3),
    };
    u64::from(view.0) * 2 + step
}

fn proposal(origin: View, value: Digest) -> Digest {
    Digest::of_encoded("maftia views proposal", &(origin, value))
}

/// What the component of `by` makes of a step; `None` if it refuses.
fn stamp<T: Stage>(
    by: Party,
    (scope, place): At,
    (view, step, of): (View, u8, Digest),
    seat: &Seat<T>,
) -> Option<Attested<Identifier>> {
    let front = (u128::from(place.epoch.0) << 48 | u128::from(place.round)) << 40;
    let said = (scope.digest(), (view, (step, of)));
    let call = Call::Identify {
        counter: COUNTER,
        position: front | u128::from(view.0) << 8 | u128::from(step),
        value: Digest::of_encoded("maftia views identifier", &said).0,
        marked: step != ENTER,
        timed: false,
    };
    match seat.ask(by, call)? {
        Answer::Identified(sealed) => Some(Attested(sealed)),
        _ => None,
    }
}

/// What a liar says instead; `other` makes another value of one.
pub(crate) fn lies<T: Stage, V: Value>(
    by: Party,
    said: &Message<V>,
    at: At,
    other: impl Fn(&V) -> V,
    seat: &Seat<T>,
    random: &mut Random,
) -> Vec<Message<V>> {
    match said {
        Message::Prepare(prepare) => false_proposals(by, prepare, at, other, seat, random),
        Message::Commit { view, proposal, identifier } => {
            let odd = Digest::of("drill no proposal", b"");
            let next = View(view.0 + 1 + random.below(2) as u32);
            let (view, proposal, identifier) = match random.below(3) {
                0 => (*view, odd, *identifier),
                // A vote for what nobody proposed there, in its component's own hand.
                1 => (next, odd, stamp(by, at, (next, COMMIT, odd), seat).unwrap_or(*identifier)),
                _ => {
                    let step = (next, COMMIT, *proposal);
                    (next, *proposal, stamp(by, at, step, seat).unwrap_or(*identifier))
                }
            };
            vec![Message::Commit { view, proposal, identifier }]
        }
        Message::Enter(enter) => vec![Message::Enter(false_entry(by, enter, at, seat, random))],
        Message::Input { value } => vec![Message::Input { value: other(value) }],
        Message::Ask { .. } => {
            vec![Message::Ask { proposal: Digest::of("drill no proposal", b"") }]
        }
        Message::Decided { value, decision } => {
            vec![Message::Decided { value: other(value), decision: decision.clone() }]
        }
    }
}

fn false_proposals<T: Stage, V: Value>(
    by: Party,
    prepare: &Prepare<V>,
    at: At,
    other: impl Fn(&V) -> V,
    seat: &Seat<T>,
    random: &mut Random,
) -> Vec<Message<V>> {
    let lie = |lie: Prepare<V>| Message::Prepare(lie);
    let value = other(&prepare.value);
    // It leads every n-th view.
    let later = View(prepare.view.0 + seat.n as u32);
    match random.below(6) {
        0 => vec![lie(Prepare { value, ..prepare.clone() })],
        1 => vec![lie(prepare.clone()), lie(Prepare { value, ..prepare.clone() })],
        2 => vec![lie(Prepare { view: later, ..prepare.clone() })],
        3 => {
            // Another value in a later view, for no reason, but identified.
            let of = proposal(later, digest_of(&value));
            let identifier = stamp(by, at, (later, PREPARE, of), seat);
            let identifier = identifier.unwrap_or(prepare.identifier);
            let fresh = Prepare {
                view: later,
                value,
                origin: later,
                first: None,
                identifier,
                ..prepare.clone()
            };
            vec![lie(prepare.clone()), lie(fresh)]
        }
        4 => vec![lie(Prepare { origin: later, ..prepare.clone() })],
        _ => vec![lie(Prepare { first: Some(prepare.identifier), ..prepare.clone() })],
    }
}

fn false_entry<T: Stage, V: Value>(
    by: Party,
    enter: &Enter<V>,
    at: At,
    seat: &Seat<T>,
    random: &mut Random,
) -> Enter<V> {
    let later = View(enter.view.0 + 1 + random.below(seat.n as u64) as u32);
    let identified = stamp(by, at, (later, ENTER, Digest::default()), seat);
    match random.below(4) {
        0 => Enter { vote: None, ..enter.clone() },
        1 => Enter { view: later, ..enter.clone() },
        2 => {
            let identifier = identified.unwrap_or(enter.identifier);
            Enter { view: later, identifier, vote: enter.vote.clone() }
        }
        _ => Enter { view: later, identifier: identified.unwrap_or(enter.identifier), vote: None },
    }
}
