//! Ready-made adversaries. Each runs the honest code, and lies about it in one way.

use crate::Random;
use crate::adversary::{Adversary, Hand};
use crate::network::Letter;
use maftia_base::protocol::TimedProtocol;
use maftia_base::{Party, PartySet};
use std::collections::VecDeque;
use std::rc::Rc;

/// Does nothing wrong: the party is merely not counted as honest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passive;

impl<P: TimedProtocol> Adversary<P> for Passive {}

/// Says nothing, ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl<P: TimedProtocol> Adversary<P> for Silent {
    fn copies(&self, _: Party) -> usize {
        0
    }
}

/// Honest towards some, mute towards others.
#[derive(Clone, Copy, Debug)]
pub struct Mute {
    /// Those who hear nothing.
    pub towards: PartySet,
}

impl<P: TimedProtocol> Adversary<P> for Mute {
    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        if !self.towards.contains(letter.to) {
            hand.pass(letter);
        }
    }
}

/// Two copies of the honest code with the same keys, which face different peers: whatever the code
/// can be made to contradict itself in, it does. Give the copies different commands.
#[derive(Clone, Copy, Debug)]
pub struct Twins {
    /// Who sees the second copy.
    pub second: PartySet,
}

impl<P: TimedProtocol> Adversary<P> for Twins {
    fn copies(&self, _: Party) -> usize {
        2
    }

    fn facing(&self, _: Party, peer: Party) -> usize {
        usize::from(self.second.contains(peer))
    }
}

/// Says everything again later, to anyone, also what others said to it.
#[derive(Clone, Debug)]
pub struct Replayer<M> {
    permille: u32,
    heard: VecDeque<Rc<M>>,
}

/// How many messages a replayer remembers.
const REPLAYER_MEMORY_MAX: usize = 256;

impl<M> Replayer<M> {
    /// Repeats something old with each of `permille` of 1000 messages.
    pub fn new(permille: u32) -> Self {
        Self { permille, heard: VecDeque::new() }
    }

    fn remember(&mut self, body: &Rc<M>) {
        if self.heard.len() == REPLAYER_MEMORY_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(Rc::clone(body));
    }

    fn pick(&self, random: &mut Random) -> Option<Rc<M>> {
        let index = random.below(self.heard.len() as u64) as usize;
        random.chance(self.permille).then(|| self.heard.get(index).cloned())?
    }
}

impl<P: TimedProtocol> Adversary<P> for Replayer<P::Message> {
    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        self.remember(&letter.body);
        hand.pass(letter);
        if let Some(old) = self.pick(hand.random()) {
            hand.send_shared(letter.from, letter.to, old);
        }
    }

    fn incoming(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) -> bool {
        self.remember(&letter.body);
        if let Some(old) = self.pick(hand.random()) {
            let n = hand.groups.len() as u64;
            let to = Party::new(hand.random().below(n) as usize);
            hand.send_shared(letter.to, to, old);
        }
        true
    }
}

/// Sends what a closure makes of each message: changed, nothing, or more.
pub struct Mutator<F>(pub F);

impl<P, F> Adversary<P> for Mutator<F>
where
    P: TimedProtocol,
    F: FnMut(&Letter<P::Message>, &mut Random) -> Vec<P::Message>,
{
    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        for body in (self.0)(letter, hand.random()) {
            hand.send(letter.from, letter.to, body);
        }
    }
}

/// Sends each message many times.
#[derive(Clone, Copy, Debug)]
pub struct Flooder {
    /// How many times.
    pub copies: usize,
}

impl<P: TimedProtocol> Adversary<P> for Flooder {
    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        for _ in 0..self.copies {
            hand.pass(letter);
        }
    }
}

/// Runs no honest code: a closure answers each message to a corrupt party. The first argument is
/// `None` when the run begins.
pub struct Script<F>(pub F);

impl<P, F> Adversary<P> for Script<F>
where
    P: TimedProtocol,
    F: FnMut(Option<&Letter<P::Message>>, &mut Hand<'_, P>),
{
    fn copies(&self, _: Party) -> usize {
        0
    }

    fn started(&mut self, hand: &mut Hand<'_, P>) {
        (self.0)(None, hand);
    }

    fn incoming(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) -> bool {
        (self.0)(Some(letter), hand);
        false
    }
}
