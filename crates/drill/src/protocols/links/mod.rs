//! Links, under a protocol that shows what they do.

mod courier;
mod frames;
mod hull;

pub use courier::{Courier, Got, Note, Write};
pub use hull::OnLinks;

use crate::adversary::{Brief, HandOf, LetterOf, STEPS_PER_ROUND, Says, Special};
use crate::check::{Complaint, Fact, Goal, Monitor, ensure};
use crate::plan::Plan;
use crate::stage::{Said, Seat, Stage, Told};
use crate::world::{Court, DrillSuite};
use frames::Raw;
use maftia_base::wire::{Blob, Wire};
use maftia_base::{Group, Party, PartySet};
use maftia_links::Linked;
use maftia_sim::{Adversary, Letter, Random, Simulation};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A letter's place: its sender's life, its series, its number.
type Place = (u64, u64, u64);

/// A group whose servers write to each other.
pub struct Linking<S> {
    corrupt: PartySet,
    /// For each server, what it is to write.
    orders: Vec<Vec<Write>>,
    /// What each server has of each other in its present life: the sender's life and series, and
    /// the last number.
    got: RefCell<BTreeMap<(Party, Party), Place>>,
    lives: RefCell<Vec<u64>>,
    /// Lies that are left: each is answered, and answers make liars speak.
    lies_left: Cell<u64>,
    suite: PhantomData<S>,
}

/// Most lies of a run.
const LIES_MAX: u64 = 2_000;

type Sut<S> = Linked<Courier<S>>;
type Adverse<S> = Box<dyn Adversary<Sut<S>>>;

impl<S: DrillSuite> Stage for Linking<S> {
    type Suite = S;
    type Protocol = Sut<S>;
    type Monitor = Series;
    const NAME: &'static str = "links";
    const MAY_BE_FICKLE: bool = false;
    const IS_AIDED: bool = false;
    const SPAN: u64 = 200;
    const REAL_PERMILLE: u32 = 0;

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let n = plan.shape.n();
        let heavy = random.chance(60);
        let orders = (0..n).map(|_| {
            let orders = (0..1 + random.below(4)).map(|_| {
                let bytes = if heavy { 100_000 } else { [0, 10, 400][random.below(3) as usize] };
                Write { count: 1 + random.below(if heavy { 60 } else { 12 }), bytes }
            });
            orders.collect()
        });
        let orders = orders.collect();
        let lives = RefCell::new(vec![0; n]);
        let (corrupt, got) = (plan.corrupt(), RefCell::default());
        let lies_left = Cell::new(LIES_MAX);
        Self { corrupt, orders, got, lives, lies_left, suite: PhantomData }
    }

    fn make(&self, group: &Group, restarts: u32) -> Self::Protocol {
        let (me, life) = (group.me(), u64::from(restarts));
        self.lives.borrow_mut()[me.index()] = life;
        self.got.borrow_mut().retain(|(at, _), _| *at != me);
        // Every third life has a smaller number than the one before.
        let incarnation = [20, 30, 10][restarts as usize % 3] + life;
        Linked::new(Courier::new(life), group, incarnation)
    }

    fn footprint_max(&self, n: usize) -> usize {
        let letters: u64 = self.orders.iter().flatten().map(|write| write.count).sum();
        // In one direction a queue, in the other what is behind a gap; a corrupt peer may fill it.
        (letters as usize + 200) * 12 * n + 8192 * n
    }

    fn events_max(&self, n: usize) -> u64 {
        20_000 * (n * n) as u64
    }

    fn orders(&self, party: Party, _: usize) -> Vec<Write> {
        self.orders[party.index()].clone()
    }

    fn answers_from_log(
        &self,
        party: Party,
        told: &Got,
        _: &[maftia_base::protocol::Never],
    ) -> Vec<Write> {
        let Got { from, note } = told;
        let place = (note.life, note.series, note.number);
        self.got.borrow_mut().insert((party, *from), place);
        Vec::new()
    }

    fn is_over(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let (got, lives) = (self.got.borrow(), self.lives.borrow());
        let all = |from: Party| -> u64 {
            self.orders[from.index()].iter().map(|write| write.count).sum()
        };
        let honest = sim.honest();
        honest.iter().all(|at| {
            honest.iter().filter(|from| *from != at).all(|from| {
                let last = got.get(&(at, from));
                last.is_some_and(|(life, _, number)| {
                    *life == lives[from.index()] && *number == all(from)
                })
            })
        })
    }

    fn facts(&self, _: &Told<Self>, _: &Court<S>) -> Vec<Fact> {
        Vec::new()
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        Goal { due: Vec::new(), all_or_none: false, allows: Box::new(|_, _| true) }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        let first = frames::read(said).map_or(0, |raw| raw.first);
        first.wrapping_mul(STEPS_PER_ROUND) / 4
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        _: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        let left = self.lies_left.get();
        let Some(raw) = frames::read(&*letter.body).filter(|_| left > 0) else {
            return Vec::new();
        };
        self.lies_left.set(left - 1);
        frames::lies(&raw, random).iter().filter_map(frames::write).collect()
    }

    fn babble(&self, _: Party, seat: &Seat<Self>, random: &mut Random) -> Said<Self> {
        let place = seat.scope.digest().short();
        let filling = Blob::new(vec![1; random.below(100) as usize]).expect("short");
        let note = Note { life: 0, series: random.below(2), number: random.below(4), filling };
        let raw = frames::guessed(place, vec![note.to_wire()], random);
        frames::write(&raw).expect("a frame is a frame")
    }

    fn specials() -> Vec<Special<Self>> {
        vec![
            Special {
                name: "new-lives",
                about: "claims to have been restarted, again and again",
                make: new_lives,
            },
            Special {
                name: "lapses",
                about: "says in every frame that it has dropped something",
                make: lapses,
            },
            Special {
                name: "takes-nothing",
                about: "acknowledges nothing, and grants nothing, but goes on to speak",
                make: takes_nothing,
            },
            Special {
                name: "gap",
                about: "never sends its first message, and everything that is granted behind it",
                make: gap,
            },
        ]
    }

    fn words(&self, said: &Said<Self>) -> String {
        match frames::read(said) {
            None => "to itself".into(),
            Some(Raw { from, to, received, first, messages, lapses, .. }) => format!(
                "life {from} to {to}: {} from {first}, has {received}, {lapses} lapses",
                messages.len()
            ),
        }
    }
}

/// Sends what `change` makes of each frame.
fn frame_by_frame<S: DrillSuite>(
    brief: &Brief<Linking<S>>,
    mut change: impl FnMut(&mut Raw) + 'static,
) -> Adverse<S> {
    let acts = brief.acts.clone();
    // After a while it is silent, so that runs end.
    Box::new(Says(move |letter: &LetterOf<Linking<S>>, hand: &mut HandOf<'_, Linking<S>>| {
        let Some(mut raw) = frames::read(&*letter.body) else { return hand.pass(letter) };
        if acts.count() > LIES_MAX {
            return;
        }
        change(&mut raw);
        acts.add();
        if let Some(packet) = frames::write(&raw) {
            hand.send(letter.from, letter.to, packet);
        }
    }))
}

fn new_lives<S: DrillSuite>(brief: &Brief<Linking<S>>) -> Adverse<S> {
    let mut life = 100;
    frame_by_frame(brief, move |raw| {
        life += 1;
        raw.from = life;
    })
}

fn lapses<S: DrillSuite>(brief: &Brief<Linking<S>>) -> Adverse<S> {
    let mut count = 0;
    frame_by_frame(brief, move |raw| {
        count += 1;
        raw.lapses = count;
    })
}

fn takes_nothing<S: DrillSuite>(brief: &Brief<Linking<S>>) -> Adverse<S> {
    frame_by_frame(brief, |raw| {
        (raw.received, raw.window_messages, raw.window_bytes) = (0, 0, 0);
    })
}

fn gap<S: DrillSuite>(brief: &Brief<Linking<S>>) -> Adverse<S> {
    frame_by_frame(brief, |raw| {
        if !raw.messages.is_empty() {
            raw.first = raw.first.saturating_add(1);
        }
    })
}

/// For each receiver, sender, and life of the sender: the series that arrives, and its last number.
pub struct Series {
    corrupt: PartySet,
    last: BTreeMap<(Party, Party), Place>,
}

impl<S: DrillSuite> Monitor<Linking<S>> for Series {
    fn new(stage: &Linking<S>) -> Self {
        Self { corrupt: stage.corrupt, last: BTreeMap::new() }
    }

    fn restarted(&mut self, by: Party) {
        self.last.retain(|(at, _), _| *at != by);
    }

    /// In order, each once, whole; a new series begins with its first.
    fn told(&mut self, by: Party, told: &Got, _: &Court<S>) -> Result<(), Complaint> {
        let Got { from, note } = told;
        if self.corrupt.contains(*from) {
            return Ok(());
        }
        let place = (note.life, note.series, note.number);
        let before = self.last.insert((by, *from), place);
        let follows =
            before.is_some_and(|(life, series, number)| place == (life, series, number + 1));
        let begins = note.number == 1
            && before.is_none_or(|(life, series, _)| (note.life, note.series) > (life, series));
        let is_whole = note.filling.iter().all(|byte| *byte == note.number as u8);
        ensure((follows || begins) && is_whole, "order", || {
            format!("{by} got {place:?} of {from} after {before:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Shape;
    use maftia_crypto::IdealSuite;

    #[test]
    fn a_gap_a_repetition_and_another_order_are_noticed() {
        let court = Court::<IdealSuite>::new(Shape::Four, 0);
        let told = |places: &[(u64, u64, u64)]| -> Vec<bool> {
            let mut series = Series { corrupt: PartySet::EMPTY, last: BTreeMap::new() };
            let each = places.iter().map(|(life, series_number, number)| {
                let filling = Blob::new(vec![*number as u8; 3]).expect("short");
                let note = Note { life: *life, series: *series_number, number: *number, filling };
                let got = Got { from: Party::new(1), note };
                let at = Party::new(0);
                Monitor::<Linking<IdealSuite>>::told(&mut series, at, &got, &court).is_ok()
            });
            each.collect()
        };
        assert_eq!(told(&[(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)]), [true; 4]);
        assert_eq!(told(&[(0, 0, 1), (0, 0, 3)]), [true, false], "a gap");
        assert_eq!(told(&[(0, 0, 1), (0, 0, 1)]), [true, false], "again");
        assert_eq!(told(&[(0, 0, 2)]), [false], "not from the first");
        assert_eq!(told(&[(0, 1, 1), (0, 0, 2)]), [true, false], "of an earlier series");
    }
}
