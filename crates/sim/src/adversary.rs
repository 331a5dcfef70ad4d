use crate::network::Letter;
use crate::{Random, attacks::Passive};
use maftia_base::protocol::TimedProtocol;
use maftia_base::time::Time;
use maftia_base::{Group, Party, PartySet};
use std::rc::Rc;

/// What corrupt parties do.
///
/// Each of its parties runs any number of copies of the honest code, with the party's real keys,
/// between which and the world the adversary sits; besides, it can say anything in their names.
/// It sees all messages, also between honest parties, when they are sent, hence before anyone
/// receives them: it is rushing.
pub trait Adversary<P: TimedProtocol> {
    /// How many copies of the honest code `party` runs: none, one, or several that know nothing of
    /// each other and face different peers.
    fn copies(&self, party: Party) -> usize {
        let _ = party;
        1
    }

    /// Which copy of `party` deals with `peer`.
    fn facing(&self, party: Party, peer: Party) -> usize {
        peer.index() % self.copies(party).max(1)
    }

    /// Does this copy of `party` deal with `peer`? More than one may: then `peer` hears all of
    /// them, and all of them hear it.
    fn deals(&self, party: Party, copy: usize, peer: Party) -> bool {
        self.facing(party, peer) == copy
    }

    /// The run begins.
    fn started(&mut self, hand: &mut Hand<'_, P>) {
        let _ = hand;
    }

    /// The honest code of one of its parties sends `letter`. Nothing leaves but what is sent here.
    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        hand.pass(letter);
    }

    /// `letter` reached one of its parties. Does the honest code see it?
    fn incoming(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) -> bool {
        let _ = (letter, hand);
        true
    }

    /// An honest party sent `letter`, to whomever.
    fn overheard(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        let _ = (letter, hand);
    }
}

impl<P: TimedProtocol> Adversary<P> for Box<dyn Adversary<P>> {
    fn copies(&self, party: Party) -> usize {
        (**self).copies(party)
    }

    fn facing(&self, party: Party, peer: Party) -> usize {
        (**self).facing(party, peer)
    }

    fn deals(&self, party: Party, copy: usize, peer: Party) -> bool {
        (**self).deals(party, copy, peer)
    }

    fn started(&mut self, hand: &mut Hand<'_, P>) {
        (**self).started(hand);
    }

    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        (**self).outgoing(letter, hand);
    }

    fn incoming(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) -> bool {
        (**self).incoming(letter, hand)
    }

    fn overheard(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        (**self).overheard(letter, hand);
    }
}

/// What an adversary can do while it is asked.
pub struct Hand<'a, P: TimedProtocol> {
    pub(crate) parties: PartySet,
    pub(crate) groups: &'a [Group],
    pub(crate) now: Time,
    pub(crate) random: &'a mut Random,
    pub(crate) sends: &'a mut Vec<(Party, Party, Rc<P::Message>)>,
    pub(crate) commands: &'a mut Vec<(Party, usize, P::Command)>,
}

impl<P: TimedProtocol> Hand<'_, P> {
    /// The corrupt parties of this adversary.
    pub fn parties(&self) -> PartySet {
        self.parties
    }

    /// The group, as `party` sees it.
    pub fn group(&self, party: Party) -> &Group {
        &self.groups[party.index()]
    }

    /// Everybody else's names: whom this adversary's lies can reach.
    pub fn victims(&self) -> PartySet {
        PartySet::all(self.groups.len()).difference(self.parties)
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Chance, decided by the seed of the run.
    pub fn random(&mut self) -> &mut Random {
        self.random
    }

    /// Says `body` to `to` in the name of `from`, which must be corrupt: channels are authentic.
    pub fn send(&mut self, from: Party, to: Party, body: P::Message) {
        self.send_shared(from, to, Rc::new(body));
    }

    /// Sends `letter` on as it is.
    pub fn pass(&mut self, letter: &Letter<P::Message>) {
        self.send_shared(letter.from, letter.to, Rc::clone(&letter.body));
    }

    /// Says `body` to everyone outside, in the name of `from`.
    pub fn send_all(&mut self, from: Party, body: P::Message) {
        let body = Rc::new(body);
        for to in self.victims().iter() {
            self.send_shared(from, to, Rc::clone(&body));
        }
    }

    /// As [`send`](Self::send), without a copy of the body.
    pub fn send_shared(&mut self, from: Party, to: Party, body: Rc<P::Message>) {
        assert!(self.parties.contains(from), "an adversary speaks only for its own parties");
        self.sends.push((from, to, body));
    }

    /// Gives a command to one copy of the honest code of a corrupt party.
    pub fn command(&mut self, party: Party, copy: usize, command: P::Command) {
        assert!(self.parties.contains(party), "an adversary commands only its own parties");
        self.commands.push((party, copy, command));
    }
}

/// One adversary and its parties.
pub(crate) struct Corruption<P: TimedProtocol> {
    pub(crate) parties: PartySet,
    pub(crate) adversary: Box<dyn Adversary<P>>,
}

impl<P: TimedProtocol> Corruption<P> {
    /// A server that is counted as faulty and misbehaves in nothing, for example a wiped one.
    pub(crate) fn passive(party: Party) -> Self {
        Self { parties: PartySet::from_iter([party]), adversary: Box::new(Passive) }
    }
}
