//! What corrupt servers do, whatever the protocol is.

use super::memory::{Amnesiac, Stale, Twister};
use super::{Brief, Cue, HandOf, LetterOf, Reacts, Says};
use crate::fuzz;
use crate::stage::{Said, Stage};
use maftia_base::wire::Wire;
use maftia_base::{Party, PartySet};
use maftia_sim::attacks::{Mute, Passive, Replayer, Silent};
use maftia_sim::{Adversary, Random};

/// Names, and what each does.
pub const CONDUCTS: &[(&str, &str)] = &[
    ("none", "nobody is corrupt"),
    ("correct", "runs the honest code; merely counts as corrupt"),
    ("silent", "says nothing, ever"),
    ("mute", "is honest towards some and mute towards the others"),
    ("fail-stop", "is honest until some letter, and then silent for ever"),
    ("slow", "is correct, but keeps every letter for a long time"),
    ("selective", "shows each of its messages only to some"),
    ("twins", "two copies with the same keys and different inputs, each facing some of the others"),
    ("doppelganger", "two copies with the same keys and different inputs, both facing everybody"),
    ("amnesiac", "forgets its log at a restart, and is then asked something else"),
    ("replayer", "says old things again, its own and others'"),
    ("stale", "says what was said in another instance with the same keys"),
    ("parrot", "repeats in its own name whatever honest servers say, shares and signatures too"),
    ("liar", "says other small values, in the same place or the next"),
    ("two-faced", "tells some the truth and the others lies"),
    ("turncoat", "is honest until some letter, and lies from then on"),
    ("twister", "keeps letters and sends them in another order, at another time, some twice"),
    ("garbler", "changes bits of what it says"),
    ("bad-shares", "sends bad shares under good signatures"),
    ("bad-signatures", "sends signatures that hold for nothing"),
    ("thin-certificates", "sends certificates that lack votes or count somebody twice"),
    ("flooder", "sends everything many times"),
    ("babbler", "says anything at all, to anyone, at any time"),
    ("rusher", "lies in the moment in which an honest server speaks, before that is heard"),
    ("gambler", "does something else with each letter"),
];

/// Do its servers run two copies that are asked different things?
pub fn is_two_faced(conduct: &str) -> bool {
    matches!(conduct, "twins" | "doppelganger")
}

/// Most lies of one run, so that every run ends.
const BABBLE_MAX: u64 = 300;

/// The adversary of this name.
pub fn conduct<T: Stage>(name: &str, brief: &Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    if let Some(special) = T::specials().into_iter().find(|special| special.name == name) {
        return (special.make)(brief);
    }
    let mut brief = brief.clone();
    let others = brief.seat.some_victims(&mut brief.random);
    match name {
        "correct" => Box::new(Counted(brief, Passive)),
        "silent" => Box::new(Counted(brief, Silent)),
        "mute" => Box::new(Counted(brief, Mute { towards: others })),
        "fail-stop" => fail_stop(brief),
        "slow" => Box::new(Twister::new(&brief, 950)),
        "selective" => selective(brief),
        "twins" => Box::new(Copies { brief, second: Some(others) }),
        "doppelganger" => Box::new(Copies { brief, second: None }),
        "amnesiac" => Box::new(Amnesiac::new(&brief)),
        "replayer" => Box::new(Counted(brief, Replayer::new(300))),
        "stale" => Box::new(Stale::new(&brief)),
        "parrot" => parrot(brief),
        "twister" => Box::new(Twister::new(&brief, 600)),
        "flooder" => Box::new(Flood(brief)),
        "babbler" => babbler(brief),
        "rusher" => rusher(brief),
        "two-faced" => two_faced(brief, others),
        "turncoat" => turncoat(brief),
        "liar" => tactic(brief, lie),
        "garbler" => tactic(brief, garble),
        "bad-shares" => tactic(brief, |brief, letter| {
            let Brief { seat, .. } = brief;
            seat.stage.spoilt_share(letter.from, &letter.body, seat).into_iter().collect()
        }),
        "bad-signatures" => tactic(brief, |brief, letter| {
            brief.seat.stage.spoilt_signature(&letter.body).into_iter().collect()
        }),
        "thin-certificates" => tactic(brief, |brief, letter| {
            brief.seat.stage.thinned(&letter.body, &mut brief.random).into_iter().collect()
        }),
        "gambler" => tactic(brief, gamble),
        fuzz::SCRIPTED => fuzz::conduct(brief),
        other => panic!("`{other}` is no conduct"),
    }
}

/// Counts each letter that a strategy of the simulator changes, drops, adds or lets pass.
struct Counted<T: Stage, A>(Brief<T>, A);

impl<T: Stage, A: Adversary<T::Protocol>> Adversary<T::Protocol> for Counted<T, A> {
    fn copies(&self, party: Party) -> usize {
        self.1.copies(party)
    }

    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        self.0.acts.add();
        self.1.outgoing(letter, hand);
    }

    fn incoming(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) -> bool {
        self.0.acts.add();
        self.1.incoming(letter, hand)
    }
}

/// Says everything four times.
struct Flood<T: Stage>(Brief<T>);

impl<T: Stage> Adversary<T::Protocol> for Flood<T> {
    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        self.0.acts.add();
        let copies = if self.0.acts.is_breathless(hand.now()) { 1 } else { 4 };
        (0..copies).for_each(|_| hand.pass(letter));
    }
}

/// Two copies of the honest code with one server's keys.
struct Copies<T: Stage> {
    brief: Brief<T>,
    /// Who sees the second copy only; without it everybody sees both.
    second: Option<PartySet>,
}

impl<T: Stage> Adversary<T::Protocol> for Copies<T> {
    fn copies(&self, _: Party) -> usize {
        2
    }

    fn deals(&self, _: Party, copy: usize, peer: Party) -> bool {
        self.second.is_none_or(|second| usize::from(second.contains(peer)) == copy)
    }

    fn outgoing(&mut self, letter: &LetterOf<T>, hand: &mut HandOf<'_, T>) {
        self.brief.acts.add();
        hand.pass(letter);
    }
}

/// Sends what `change` makes of a letter; the letter itself if it makes nothing of it.
fn tactic<T: Stage>(
    mut brief: Brief<T>,
    change: fn(&mut Brief<T>, &LetterOf<T>) -> Vec<Said<T>>,
) -> Box<dyn Adversary<T::Protocol>> {
    Box::new(Says(move |letter: &LetterOf<T>, hand: &mut HandOf<'_, T>| {
        let changed = change(&mut brief, letter);
        if changed.is_empty() {
            return hand.pass(letter);
        }
        brief.acts.add();
        changed.into_iter().for_each(|body| hand.send(letter.from, letter.to, body));
    }))
}

fn lie<T: Stage>(brief: &mut Brief<T>, letter: &LetterOf<T>) -> Vec<Said<T>> {
    let Brief { seat, random, .. } = brief;
    match random.chance(700) {
        true => seat.stage.lies(letter, seat, random),
        false => Vec::new(),
    }
}

/// Changes one bit or two of the encoding; what no longer decodes would not get past a server's
/// door.
fn garble<T: Stage>(brief: &mut Brief<T>, letter: &LetterOf<T>) -> Vec<Said<T>> {
    garbled(&*letter.body, &mut brief.random).into_iter().collect()
}

/// The same message with a bit or two changed, if that is a message.
pub fn garbled<M: Wire>(body: &M, random: &mut Random) -> Option<M> {
    let mut bytes = body.to_wire().to_vec();
    let bits = bytes.len() * 8;
    let first = random.below(bits as u64) as usize;
    bytes[first / 8] ^= 1 << (first % 8);
    if random.chance(500) && bits > 1 {
        let second = (first + 1 + random.below(bits as u64 - 1) as usize) % bits;
        bytes[second / 8] ^= 1 << (second % 8);
    }
    M::from_wire(bytes.into()).ok()
}

fn gamble<T: Stage>(brief: &mut Brief<T>, letter: &LetterOf<T>) -> Vec<Said<T>> {
    let body = &letter.body;
    match brief.random.below(9) {
        0 => lie(brief, letter),
        1 => garble(brief, letter),
        2 => vec![(**body).clone(), (**body).clone()],
        3 => brief.seat.stage.spoilt_signature(body).into_iter().collect(),
        4 => brief.seat.stage.spoilt_share(letter.from, body, &brief.seat).into_iter().collect(),
        5 => brief.seat.stage.thinned(body, &mut brief.random).into_iter().collect(),
        6 => {
            let Brief { seat, random, .. } = brief;
            vec![(**body).clone(), seat.stage.babble(letter.from, seat, random)]
        }
        7 => {
            let mut both = lie(brief, letter);
            both.push((**body).clone());
            both
        }
        _ => Vec::new(),
    }
}

fn fail_stop<T: Stage>(mut brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    let mut left = brief.random.below(8 * brief.seat.n as u64);
    Box::new(Says(move |letter: &LetterOf<T>, hand: &mut HandOf<'_, T>| {
        if left == 0 {
            return brief.acts.add();
        }
        left -= 1;
        hand.pass(letter);
    }))
}

fn selective<T: Stage>(mut brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    Box::new(Says(move |letter: &LetterOf<T>, hand: &mut HandOf<'_, T>| {
        match brief.random.chance(500) {
            true => hand.pass(letter),
            false => brief.acts.add(),
        }
    }))
}

fn two_faced<T: Stage>(mut brief: Brief<T>, deceived: PartySet) -> Box<dyn Adversary<T::Protocol>> {
    Box::new(Says(move |letter: &LetterOf<T>, hand: &mut HandOf<'_, T>| {
        if !deceived.contains(letter.to) {
            return hand.pass(letter);
        }
        let Brief { seat, random, acts, .. } = &mut brief;
        for body in seat.stage.lies(letter, seat, random) {
            acts.add();
            hand.send(letter.from, letter.to, body);
        }
    }))
}

fn turncoat<T: Stage>(mut brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    let mut left = brief.random.below(6 * brief.seat.n as u64);
    Box::new(Says(move |letter: &LetterOf<T>, hand: &mut HandOf<'_, T>| {
        if left > 0 {
            left -= 1;
            return hand.pass(letter);
        }
        let Brief { seat, random, acts, .. } = &mut brief;
        for body in seat.stage.lies(letter, seat, random) {
            acts.add();
            hand.send(letter.from, letter.to, body);
        }
    }))
}

/// Everything that an honest server says, said once more in a corrupt one's name.
fn parrot<T: Stage>(brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    let mut left = 8 * BABBLE_MAX;
    Box::new(Reacts(move |cue: Cue<'_, Said<T>>, hand: &mut HandOf<'_, T>| {
        let (Cue::Reached(letter) | Cue::Overheard(letter)) = cue else { return };
        for by in brief.seat.corrupt.iter() {
            if left > 0 && brief.seat.victims().contains(letter.from) {
                left -= 1;
                brief.acts.add();
                let to = if letter.to == by { letter.from } else { letter.to };
                if !brief.seat.corrupt.contains(to) {
                    hand.send_shared(by, to, std::rc::Rc::clone(&letter.body));
                }
            }
        }
    }))
}

fn babbler<T: Stage>(mut brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    let mut left = BABBLE_MAX;
    Box::new(Reacts(move |_: Cue<'_, Said<T>>, hand: &mut HandOf<'_, T>| {
        let Brief { seat, random, acts, .. } = &mut brief;
        for by in seat.corrupt.iter() {
            if left == 0 {
                return;
            }
            left -= 1;
            let body = std::rc::Rc::new(seat.stage.babble(by, seat, random));
            for to in seat.some_victims(random).iter() {
                acts.add();
                hand.send_shared(by, to, std::rc::Rc::clone(&body));
            }
        }
    }))
}

fn rusher<T: Stage>(mut brief: Brief<T>) -> Box<dyn Adversary<T::Protocol>> {
    let mut left = BABBLE_MAX;
    Box::new(Reacts(move |cue: Cue<'_, Said<T>>, hand: &mut HandOf<'_, T>| {
        let (Cue::Reached(letter) | Cue::Overheard(letter)) = cue else { return };
        let Brief { seat, random, acts, .. } = &mut brief;
        for by in seat.corrupt.iter() {
            let to = if seat.corrupt.contains(letter.to) { letter.from } else { letter.to };
            let own = maftia_sim::Letter { from: by, to, ..letter.clone() };
            for body in seat.stage.lies(&own, seat, random) {
                if left == 0 || seat.corrupt.contains(to) {
                    return;
                }
                left -= 1;
                acts.add();
                hand.send(by, to, body);
            }
        }
    }))
}
