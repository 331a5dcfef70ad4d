//! What the two configurations assume: two thirds of honest servers, or half of them and trusted
//! components; and what liars do with the latter.

use super::{Adverse, Atomic};
use crate::adversary::{Brief, HandOf, LetterOf, Says, Special};
use crate::plan::Plan;
use crate::stage::{SHAPES, Stage};
use crate::world::{DrillSuite, Shape};
use crate::wormhole::{self, Components, MISHAPS};
use maftia_agreement::atomic::{self, AgreeMessage};
use maftia_agreement::hybrid::views;
use maftia_base::PartySet;
use maftia_base::protocol::Vocabulary;
use maftia_crypto::{Done, Work};
use maftia_sim::Random;
use maftia_ttcb_api::Call;

/// What a course on the total order, or above it, assumes.
pub trait Assumes: 'static + Sized {
    /// Name of the course of the order.
    const NAME: &'static str;
    /// Name of the course of the replica.
    const REPLICA: &'static str;
    /// Has each server a trusted component?
    const IS_HYBRID: bool;
    /// Its groups.
    const SHAPES: &'static [(u64, Shape)];
    /// What else can happen.
    const STORAGES: &'static [(&'static str, &'static str)] = &[];

    /// The trusted components of a run, if servers have any.
    fn components<S, P>(plan: &Plan, random: &mut Random) -> Option<Components<P>>
    where
        S: DrillSuite,
        P: Vocabulary<Work = Work<S>, Done = Done<S>>;

    /// Strategies against them.
    fn specials<S: DrillSuite>() -> Vec<Special<Atomic<S, Self>>> {
        Vec::new()
    }
}

/// Nothing but that too few are corrupt.
pub struct Asynchronous;

/// Each server has a trusted component.
pub struct Hybrid;

impl Assumes for Asynchronous {
    const NAME: &'static str = "atomic";
    const REPLICA: &'static str = "replica";
    const IS_HYBRID: bool = false;
    const SHAPES: &'static [(u64, Shape)] = SHAPES;

    fn components<S, P>(_: &Plan, _: &mut Random) -> Option<Components<P>>
    where
        S: DrillSuite,
        P: Vocabulary<Work = Work<S>, Done = Done<S>>,
    {
        None
    }
}

impl Assumes for Hybrid {
    const NAME: &'static str = "hybrid-order";
    const REPLICA: &'static str = "hybrid-replica";
    const IS_HYBRID: bool = true;
    const SHAPES: &'static [(u64, Shape)] = &[(70, Shape::Three), (100, Shape::Five)];
    const STORAGES: &'static [(&'static str, &'static str)] = MISHAPS;

    fn components<S, P>(plan: &Plan, random: &mut Random) -> Option<Components<P>>
    where
        S: DrillSuite,
        P: Vocabulary<Work = Work<S>, Done = Done<S>>,
    {
        Some(wormhole::components(plan, random))
    }

    fn specials<S: DrillSuite>() -> Vec<Special<Atomic<S, Self>>> {
        vec![
            Special {
                name: "stamps-ahead",
                about: "has its trusted component identify places far ahead, now and then, and \
                        goes on as if it had not",
                make: stamps_ahead,
            },
            Special {
                name: "stamps-in-vain",
                about: "has other batches than its own identified, and shows nobody those",
                make: stamps_in_vain,
            },
            Special {
                name: "reborn",
                about: "its trusted component begins another life; it says what it had identified \
                        in the one before",
                make: reborn,
            },
            Special {
                name: "no-entry",
                about: "leads, but never leaves a view: it shows nobody its last vote",
                make: no_entry,
            },
        ]
    }
}

type Ordered<S> = Atomic<S, Hybrid>;

/// The counter of lanes, and that of agreement.
const COUNTERS: [u8; 2] = [0, 1];

fn stamps<S: DrillSuite>(
    brief: &Brief<Ordered<S>>,
    permille: u32,
    call: impl Fn(&mut Random) -> Call + 'static,
) -> Adverse<S> {
    let mut brief = brief.clone();
    Box::new(Says(move |letter: &LetterOf<Ordered<S>>, hand: &mut HandOf<'_, Ordered<S>>| {
        if brief.random.chance(permille) {
            brief.acts.add();
            let call = call(&mut brief.random);
            brief.seat.ask(letter.from, call);
        }
        hand.pass(letter);
    }))
}

fn stamps_ahead<S: DrillSuite>(brief: &Brief<Ordered<S>>) -> Adverse<S> {
    stamps(brief, 30, |random| {
        let (counter, round) = (COUNTERS[random.below(2) as usize], 1 + random.below(12));
        let view = random.below(4);
        let position = match counter {
            0 => u128::from(round),
            _ => u128::from(round) << 40 | u128::from(view << 8 | (1 + random.below(3))),
        };
        let marked = random.chance(700);
        Call::Identify { counter, position, value: [9; 32], marked, timed: random.chance(500) }
    })
}

fn stamps_in_vain<S: DrillSuite>(brief: &Brief<Ordered<S>>) -> Adverse<S> {
    stamps(brief, 200, |random| {
        let position = u128::from(1 + random.below(6));
        Call::Identify { counter: 0, position, value: [8; 32], marked: true, timed: true }
    })
}

fn reborn<S: DrillSuite>(brief: &Brief<Ordered<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    let (mut left, mut old) = (brief.random.below(60), Vec::new());
    Box::new(Says(move |letter: &LetterOf<Ordered<S>>, hand: &mut HandOf<'_, Ordered<S>>| {
        hand.pass(letter);
        if left > 0 {
            left -= 1;
            old.push((letter.to, std::rc::Rc::clone(&letter.body)));
            if left == 0 {
                let components = brief.seat.stage.components().expect("it is hybrid");
                brief.seat.corrupt.iter().for_each(|party| {
                    components.borrow_mut().reboot(party);
                });
            }
        } else if !old.is_empty() && !brief.acts.is_breathless(hand.now()) {
            brief.acts.add();
            let (to, body) = &old[brief.random.below(old.len() as u64) as usize];
            hand.send_shared(letter.from, *to, std::rc::Rc::clone(body));
        }
    }))
}

fn no_entry<S: DrillSuite>(brief: &Brief<Ordered<S>>) -> Adverse<S> {
    let mut brief = brief.clone();
    // Its proposals and votes reach one server only: what they decide, few know.
    let victims: Vec<_> = brief.seat.victims().iter().collect();
    let one = victims[brief.random.below(victims.len() as u64) as usize];
    let shown = PartySet::from_iter([one]);
    Box::new(Says(move |letter: &LetterOf<Ordered<S>>, hand: &mut HandOf<'_, Ordered<S>>| {
        let said = match &letter.body.body {
            atomic::Message::Agree { message: AgreeMessage::Views(said), .. } => said,
            _ => return hand.pass(letter),
        };
        let is_kept = match said {
            views::Message::Enter(_) | views::Message::Decided { .. } => true,
            _ => !shown.contains(letter.to),
        };
        match is_kept {
            true => brief.acts.add(),
            false => hand.pass(letter),
        }
    }))
}
