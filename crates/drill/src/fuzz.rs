//! Runs that bytes decide: what a fuzzer turns into everything that a network and corrupt servers
//! can do, letter by letter.
//!
//! # The script
//! A header of [`HEADER`] bytes draws group, storage, suite and number. Of the rest every other
//! byte belongs to the network, and those between to the corrupt servers: a byte for each decision,
//! a few for those that need more. Whoever has none left is fair from then on: the network
//! delivers, the corrupt servers run the honest code. So every run ends, and must end well.
//!
//! # Why two streams
//! A byte means the same whatever the other side reads: a fuzzer that changes one decision of the
//! network does not change what all lies after it are.

use crate::adversary::{Brief, HandOf, LetterOf};
use crate::course::Course;
use crate::plan::{Choices, Plan};
use crate::run::{Options, Verdict};
use crate::stage::{Said, Stage};
use crate::world::Shape;
use maftia_base::Party;
use maftia_base::time::Duration;
use maftia_base::wire::Wire;
use maftia_sim::{Adversary, Fate, Local, Random, Scheduler, UNIT};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Name of the conduct and of the network that follow a script. No token has it: what a script
/// does is kept as a script.
pub const SCRIPTED: &str = "scripted";

/// Bytes that say which run it is.
pub const HEADER: usize = 6;

/// Letters that a corrupt server remembers, to say them again.
const REMEMBERED_MAX: usize = 32;

/// As long as a letter is held at most.
const HELD: Duration = Duration(400 * UNIT.0);

/// Runs `course` as `script` says, with all checkers; missing bytes are zeros.
pub fn play(course: &Course, script: &[u8], options: Options) -> (Plan, Verdict) {
    let plan = plan(course, script);
    let verdict = (course.run)(&plan, options);
    (plan, verdict)
}

fn plan(course: &Course, script: &[u8]) -> Plan {
    let mut header = [0; HEADER];
    let (said, rest) = script.split_at(script.len().min(HEADER));
    header[..said.len()].copy_from_slice(said);
    let [shape, storage, suite, number @ ..] = header;
    let Choices { storages, shapes: drawn, .. } = (course.choices)();
    let mut shapes = vec![Shape::Four, Shape::Four, Shape::Lopsided, Shape::Seven, Shape::Sites];
    if drawn.iter().all(|(_, shape)| !shapes.contains(shape)) {
        shapes = drawn.iter().map(|(_, shape)| *shape).collect();
    }
    Plan {
        protocol: course.name,
        shape: shapes[usize::from(shape) % shapes.len()],
        conduct: SCRIPTED,
        network: SCRIPTED,
        storage: storages[usize::from(storage) % storages.len()],
        // Real signatures take most of the time of a run, and few decisions depend on them.
        real: suite >= 250,
        number: number.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte)),
        script: rest.into(),
    }
}

/// One side's decisions.
struct Script {
    bytes: Arc<[u8]>,
    next: usize,
}

impl Script {
    fn of_network(plan: &Plan) -> Self {
        Self { bytes: Arc::clone(&plan.script), next: 0 }
    }

    fn of_corrupt(plan: &Plan) -> Self {
        Self { bytes: Arc::clone(&plan.script), next: 1 }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.next)?;
        self.next += 2;
        Some(byte)
    }

    /// A number below `bound`, from two bytes; 0 when the script is over.
    fn below(&mut self, bound: usize) -> usize {
        let (high, low) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
        usize::from(u16::from_be_bytes([high, low])) % bound.max(1)
    }
}

/// The network of a scripted run.
pub fn network<T: Stage>(brief: Brief<T>) -> Box<dyn Scheduler<Said<T>>> {
    let script = Script::of_network(&brief.plan);
    Box::new(ScriptedNetwork { script, brief })
}

struct ScriptedNetwork<T: Stage> {
    script: Script,
    brief: Brief<T>,
}

impl<T: Stage> Scheduler<Said<T>> for ScriptedNetwork<T> {
    fn route(&mut self, _: &LetterOf<T>, random: &mut Random) -> Fate {
        let soon = Duration(1 + random.exponential(UNIT.0));
        let Some(byte) = self.script.byte() else { return Fate::Arrives(soon) };
        self.brief.acts.add();
        let units = u64::from(byte >> 3);
        match byte & 7 {
            0 => Fate::Arrives(Duration(1)),
            1 => Fate::Arrives(Duration(1 + units * UNIT.0)),
            2 => Fate::Arrives(Duration(soon.0 + units * 10 * UNIT.0)),
            3 => Fate::ArrivesTwice(soon, Duration(1 + units * 10 * UNIT.0)),
            4 => Fate::Lost,
            5 => Fate::Held(HELD),
            _ => Fate::Arrives(soon),
        }
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        // How fast a server is in what follows from the number: a script would be used up by it.
        let pace = [0, UNIT.0 / 4, UNIT.0, 20 * UNIT.0];
        let drawn = self.brief.plan.number as usize + 3 * party.index() + what as usize;
        Duration(random.exponential(pace[drawn % pace.len()]))
    }

    fn release(&mut self, held: &[LetterOf<T>], _: &mut Random) -> Option<usize> {
        let Some(byte) = self.script.byte() else { return Some(0) };
        (byte & 3 == 0).then(|| usize::from(byte >> 2) % held.len())
    }
}

/// The corrupt servers of a scripted run.
pub fn conduct<T: Stage>(brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    let script = Script::of_corrupt(&brief.plan);
    Box::new(ScriptedConduct { script, brief, remembered: VecDeque::new() })
}

struct ScriptedConduct<T: Stage> {
    script: Script,
    brief: Brief<T>,
    /// What anybody said, the latest last.
    remembered: VecDeque<Rc<Said<T>>>,
}

impl<T: Stage> ScriptedConduct<T> {
    fn remember(&mut self, letter: &LetterOf<T>) {
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Rc::clone(&letter.body));
    }

    /// What is said in place of a letter, or with it; nothing if that cannot be made.
    fn instead(&mut self, act: u8, letter: &LetterOf<T>) -> Vec<Said<T>> {
        let Brief { seat, random, .. } = &mut self.brief;
        let body = &*letter.body;
        let one = |said: Option<Said<T>>| said.into_iter().collect();
        match act {
            0 => one(flipped(body, &mut self.script)),
            1 => {
                let lies = seat.stage.lies(letter, seat, random);
                let chosen = self.script.below(lies.len());
                one(lies.into_iter().nth(chosen))
            }
            2 => seat.stage.lies(letter, seat, random),
            3 => one(seat.stage.spoilt_share(letter.from, body, seat)),
            4 => one(seat.stage.spoilt_signature(body)),
            5 => one(seat.stage.thinned(body, random)),
            6 => one(Some(seat.stage.babble(letter.from, seat, random))),
            _ => {
                let back = 1 + self.script.below(self.remembered.len());
                let index = self.remembered.len().checked_sub(back);
                one(index.map(|index| (*self.remembered[index]).clone()))
            }
        }
    }
}

/// The same message with up to two bits changed, where the script says, if that is a message.
fn flipped<M: Wire>(body: &M, script: &mut Script) -> Option<M> {
    let mut bytes = body.to_wire().to_vec();
    for _ in 0..2 {
        let bit = script.below(bytes.len() * 8);
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
    M::from_wire(bytes.into()).ok()
}

impl<T: Stage> Adversary<T::Protocol> for ScriptedConduct<T> {
    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        let Some(byte) = self.script.byte() else { return hand.pass(letter) };
        self.brief.acts.add();
        // Bits 0 to 2: what is said. Bits 3 and 4: instead of the letter, besides it, or neither.
        let (act, way) = (byte & 7, byte >> 3 & 3);
        match way {
            0 => hand.pass(letter),
            1 | 2 => {
                let said = self.instead(act, letter);
                if way == 2 || said.is_empty() {
                    hand.pass(letter);
                }
                said.into_iter().for_each(|body| hand.send(letter.from, letter.to, body));
            }
            // Not at all, or twice.
            _ => (0..2 * (act & 1)).for_each(|_| hand.pass(letter)),
        }
        self.remember(letter);
    }

    fn overheard(&mut self, letter: &LetterOf<T>, _: &mut HandOf<'_, T>) {
        self.remember(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::COURSES;

    /// Bytes that look like chance and are always the same.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut random = Random::new(seed);
        (0..len).map(|_| random.below(256) as u8).collect()
    }

    #[test]
    fn a_script_is_a_run_and_always_the_same_one() {
        for course in COURSES {
            let script = noise(1, 300);
            let options = Options { digests: true, ..Options::default() };
            let (plan, first) = play(course, &script, options);
            let (_, second) = play(course, &script, options);
            assert!(first.complaints.is_empty(), "{plan}: {:?}", first.complaints);
            assert!(first.digest.is_some() && first.digest == second.digest, "{plan}");
        }
    }

    #[test]
    fn a_script_decides_what_both_sides_do_and_the_rest_of_the_run_is_fair() {
        for course in COURSES {
            let (_, fair) = play(course, &[0; HEADER], Options::default());
            assert_eq!((fair.acts, fair.network_acts), (0, 0), "{}", course.name);
            let mut script = vec![0; HEADER];
            script.extend(noise(2, 200));
            let (_, scripted) = play(course, &script, Options::default());
            let acts = (scripted.acts, scripted.network_acts);
            assert!(acts.0 > 0 && acts.1 > 4, "{}: {acts:?}", course.name);
            assert!(scripted.complaints.is_empty(), "{:?}", scripted.complaints);
        }
    }
}
