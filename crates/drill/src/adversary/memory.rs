//! Strategies that remember: what was said elsewhere, what was said before, and forgetting it.

use super::{Brief, HandOf, LetterOf};
use crate::plan::Plan;
use crate::stage::{Order, Said, Stage};
use crate::world::DrillSuite;
use maftia_base::Party;
use maftia_crypto::Suite;
use maftia_sim::{Adversary, Observer, Random, Simulation};
use std::cell::RefCell;
use std::rc::Rc;

/// The epoch of the other instance is the run's, with this bit changed.
const ELSEWHERE: u64 = 1 << 40;

/// Remembers everything that is said.
struct Ear<T: Stage>(Rc<RefCell<Vec<Rc<Said<T>>>>>);

impl<T: Stage> Observer<T::Protocol> for Ear<T> {
    fn sent(&mut self, letter: &LetterOf<T>) {
        self.0.borrow_mut().push(Rc::clone(&letter.body));
    }
}

/// All that is said in another instance of the same protocol, with the same keys.
pub(super) fn said_elsewhere<T: Stage>(brief: &Brief<T>) -> Vec<Rc<Said<T>>> {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let (shape, epoch) = (brief.plan.shape, brief.plan.number ^ ELSEWHERE);
    let stage = elsewhere(brief, epoch);
    let (keyrings, answers) = (T::Suite::keyrings(shape), Rc::clone(&stage));
    let (groups, maker) = (shape.groups(epoch), Rc::clone(&stage));
    let mut builder = Simulation::<T::Protocol>::builder(shape.groups(epoch), epoch);
    if let Some(components) = stage.components() {
        builder = builder.trusted(components);
    }
    let mut sim = builder
        .trace(0)
        .worker(move |party, works, clock| {
            T::Suite::run_many(works, &keyrings[party.index()], clock)
        })
        .application(move |_, told| answers.answers(told))
        .observer(Ear::<T>(Rc::clone(&heard)))
        .build_incarnations(move |party, restarts| maker.make(&groups[party.index()], restarts));
    for index in 0..shape.n() {
        for order in stage.orders(Party::new(index), 0) {
            sim.command(Party::new(index), order);
        }
    }
    // What goes wrong there is another run's affair.
    let _ = sim.run_until(|_| false, 2_000);
    heard.take()
}

/// The inputs of the other instance: the run's, but in the hybrid configuration, where the trusted
/// components lived other lives then.
fn elsewhere<T: Stage>(brief: &Brief<T>, number: u64) -> Rc<T> {
    let stage = &brief.seat.stage;
    match stage.components() {
        None => Rc::clone(stage),
        Some(_) => {
            let plan = Plan { number, ..brief.plan.clone() };
            Rc::new(T::new(&plan, &mut brief.random.clone()))
        }
    }
}

/// Says in this instance what was said in another.
pub(super) struct Stale<T: Stage> {
    brief: Brief<T>,
    said: Vec<Rc<Said<T>>>,
}

impl<T: Stage> Stale<T> {
    pub(super) fn new(brief: &Brief<T>) -> Self {
        Self { brief: brief.clone(), said: said_elsewhere(brief) }
    }

    fn repeat(&mut self, by: Party, hand: &mut HandOf<'_, T>) {
        if self.brief.acts.is_breathless(hand.now()) {
            return;
        }
        let random = &mut self.brief.random;
        let index = random.below(self.said.len() as u64) as usize;
        let Some(old) = self.said.get(index) else { return };
        for to in self.brief.seat.some_victims(random).iter() {
            self.brief.acts.add();
            hand.send_shared(by, to, Rc::clone(old));
        }
    }
}

impl<T: Stage> Adversary<T::Protocol> for Stale<T> {
    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        self.repeat(letter.from, hand);
        hand.pass(letter);
    }

    fn incoming(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) -> bool {
        self.repeat(letter.to, hand);
        true
    }
}

/// Is honest until some moment; then forgets all, starts afresh, and is asked something else.
pub(super) struct Amnesiac<T: Stage> {
    brief: Brief<T>,
    left: u64,
    has_forgotten: bool,
}

impl<T: Stage> Amnesiac<T> {
    pub(super) fn new(brief: &Brief<T>) -> Self {
        let mut brief = brief.clone();
        let left = brief.random.below(10 * brief.seat.n as u64);
        Self { brief, left, has_forgotten: false }
    }

    fn live(&mut self, hand: &mut HandOf<'_, T>) {
        if self.has_forgotten {
            return;
        }
        if self.left > 0 {
            self.left -= 1;
            return;
        }
        self.has_forgotten = true;
        for party in self.brief.seat.corrupt.iter() {
            self.brief.acts.add();
            let face = usize::from(self.brief.random.chance(800));
            let orders: Vec<Order<T>> = self.brief.seat.stage.orders(party, face);
            orders.into_iter().for_each(|order| hand.command(party, 1, order));
        }
    }
}

impl<T: Stage> Adversary<T::Protocol> for Amnesiac<T> {
    fn copies(&self, _: Party) -> usize {
        2
    }

    fn facing(&self, _: Party, _: Party) -> usize {
        usize::from(self.has_forgotten)
    }

    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        hand.pass(letter);
        self.live(hand);
    }

    fn incoming(&mut self, _: &LetterOf<T>, hand: &mut HandOf<'_, T>) -> bool {
        self.live(hand);
        true
    }
}

/// Keeps its letters and lets them go at other times, in another order, some of them twice.
pub(super) struct Twister<T: Stage> {
    brief: Brief<T>,
    kept: Vec<LetterOf<T>>,
    keeps_permille: u32,
}

impl<T: Stage> Twister<T> {
    pub(super) fn new(brief: &Brief<T>, keeps_permille: u32) -> Self {
        Self { brief: brief.clone(), kept: Vec::new(), keeps_permille }
    }

    fn release(&mut self, hand: &mut HandOf<'_, T>) {
        let random: &mut Random = &mut self.brief.random;
        while !self.kept.is_empty() && random.chance(300) {
            let index = random.below(self.kept.len() as u64) as usize;
            self.brief.acts.add();
            hand.pass(&self.kept[index]);
            if random.chance(700) {
                self.kept.swap_remove(index);
            }
        }
    }
}

impl<T: Stage> Adversary<T::Protocol> for Twister<T> {
    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        if self.brief.random.chance(self.keeps_permille) {
            self.kept.push(letter.clone());
        } else {
            hand.pass(letter);
        }
        self.release(hand);
    }

    fn incoming(&mut self, _: &LetterOf<T>, hand: &mut HandOf<'_, T>) -> bool {
        self.release(hand);
        true
    }
}
