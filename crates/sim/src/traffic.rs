//! How messages travel: past the adversaries, through the scheduler, to the right node. The rules
//! are those of `engine.rs`.

use crate::adversary::{Adversary, Corruption, Hand};
use crate::network::{Fate, Letter, Local};
use crate::node::Node;
use crate::report::Happening;
use crate::simulation::{Pending, Simulation};
use maftia_base::Party;
use maftia_base::protocol::{Event, TimedProtocol};
use std::rc::Rc;

/// How many of the letters that are under way from or to a server are lost when it crashes.
const CUT_OFF_PERMILLE: u32 = 500;

impl<P: TimedProtocol> Simulation<P> {
    pub(crate) fn send(&mut self, index: usize, to: Party, body: Rc<P::Message>) {
        let from = self.nodes[index].party;
        let letter = Letter { from, to, body, sent: self.now, number: self.letters };
        if let Some(owner) = self.owner(from) {
            // Of several copies only those that deal with the receiver are heard by it.
            if self.deals(owner, index, to) {
                self.with_hand(owner, |adversary, hand| adversary.outgoing(&letter, hand));
            }
            return;
        }
        for owner in 0..self.corruptions.len() {
            self.with_hand(owner, |adversary, hand| adversary.overheard(&letter, hand));
        }
        self.post(letter);
    }

    fn owner(&self, party: Party) -> Option<usize> {
        if !self.corrupt.contains(party) {
            return None;
        }
        self.corruptions.iter().position(|corruption| corruption.parties.contains(party))
    }

    pub(crate) fn with_hand<R>(
        &mut self,
        owner: usize,
        ask: impl FnOnce(&mut dyn Adversary<P>, &mut Hand<'_, P>) -> R,
    ) -> R {
        let (mut sends, mut commands) = (Vec::new(), Vec::new());
        let Corruption { parties, adversary } = &mut self.corruptions[owner];
        let mut hand = Hand {
            parties: *parties,
            groups: &self.groups,
            now: self.now,
            random: &mut self.random,
            sends: &mut sends,
            commands: &mut commands,
        };
        let answer = ask(&mut **adversary, &mut hand);
        for (from, to, body) in sends {
            assert!(to.index() < self.groups.len(), "lies go to servers of the group");
            self.post(Letter { from, to, body, sent: self.now, number: 0 });
        }
        for (party, copy, command) in commands {
            if let Some(&node) = self.copies[party.index()].get(copy) {
                let incarnation = self.nodes[node].incarnation;
                self.queue.push(self.now, Pending::Command { node, incarnation, command });
            }
        }
        answer
    }

    fn post(&mut self, mut letter: Letter<P::Message>) {
        letter.number = self.letters;
        self.letters += 1;
        self.stats.messages += 1;
        if let Some(measure) = &self.rules.measure {
            self.stats.bytes += measure(&letter.body) as u64;
        }
        if let Some(observer) = &mut self.rules.observer {
            observer.sent(&letter);
        }
        match self.scheduler.route(&letter, &mut self.random) {
            Fate::Arrives(after) => self.queue.push(self.now + after, Pending::Letter(letter)),
            Fate::ArrivesTwice(after, again) => {
                self.stats.duplicated += 1;
                self.queue.push(self.now + after, Pending::Letter(letter.clone()));
                self.queue.push(self.now + again, Pending::Letter(letter));
            }
            Fate::Held(longest) => {
                self.queue.push(self.now + longest, Pending::HeldTooLong(letter.number));
                self.held.push(letter);
            }
            Fate::Lost => {
                let ends = (letter.from.min(letter.to), letter.from.max(letter.to));
                self.lose(letter);
                if self.scheduler.is_aided() && self.mending.insert(ends) {
                    let after = self.local(ends.0, Local::Reconnect);
                    self.queue.push(self.now + after, Pending::Mend(ends.0, ends.1)); // E4
                }
            }
        }
    }

    fn lose(&mut self, letter: Letter<P::Message>) {
        self.stats.lost += 1;
        self.trace.push(self.now, letter.from.index(), Happening::Lost(letter));
    }

    pub(crate) fn release_held(&mut self) {
        while !self.held.is_empty() {
            if self.scheduler.waits_for_calm() && self.queue.next_at() == Some(self.now) {
                return;
            }
            let Some(index) = self.scheduler.release(&self.held, &mut self.random) else { return };
            let letter = self.held.remove(index);
            self.queue.push(self.now, Pending::Letter(letter));
        }
    }

    pub(crate) fn arrive(&mut self, letter: Letter<P::Message>) {
        if let Some(owner) = self.owner(letter.to) {
            let is_seen =
                self.with_hand(owner, |adversary, hand| adversary.incoming(&letter, hand));
            if !is_seen {
                return;
            }
        }
        let copies = self.copies[letter.to.index()].len();
        for copy in 1..copies {
            if self.owner(letter.to).is_some_and(|owner| {
                self.corruptions[owner].adversary.deals(letter.to, copy, letter.from)
            }) {
                self.deliver(self.copies[letter.to.index()][copy], letter.clone());
            }
        }
        let first = self.copies[letter.to.index()].first().copied();
        let is_dealt_with =
            |owner: usize| self.corruptions[owner].adversary.deals(letter.to, 0, letter.from);
        if let Some(node) = first
            && self.owner(letter.to).is_none_or(is_dealt_with)
        {
            self.deliver(node, letter);
        }
    }

    fn deliver(&mut self, node: usize, letter: Letter<P::Message>) {
        if self.is_cut_off(&letter) {
            return self.lose(letter); // E4: a restart is followed by Reconnected
        }
        if self.nodes[node].state.is_none() {
            let is_aided = self.scheduler.is_aided() && !self.corrupt.contains(letter.from);
            if is_aided && self.are_strangers(letter.from, letter.to) {
                self.nodes[node].waiting.push(letter);
            } else {
                self.lose(letter);
            }
            return;
        }
        if self.trace.is_on() {
            self.trace.push(self.now, node, Happening::Message(letter.clone()));
        }
        if let Some(observer) = &mut self.rules.observer
            && !self.corrupt.contains(letter.to)
        {
            observer.arrived(&letter);
        }
        let Letter { from, body, .. } = letter;
        self.handle(node, Event::Message { from, body: Rc::unwrap_or_clone(body) });
    }

    /// Was it under way when one of its ends crashed, and is lost? (E4)
    fn is_cut_off(&mut self, letter: &Letter<P::Message>) -> bool {
        let ends = [letter.from.index(), letter.to.index()];
        ends.iter().any(|end| letter.number < self.nodes[*end].letters_at_crash)
            && self.random.chance(CUT_OFF_PERMILLE)
    }

    /// The nodes of `party` that deal with `peer`: one, unless an adversary wants otherwise.
    pub(crate) fn facing(&self, party: Party, peer: Party) -> Vec<usize> {
        let nodes = self.copies[party.index()].iter().copied();
        match self.owner(party) {
            None => nodes.take(1).collect(),
            Some(owner) => nodes.filter(|node| self.deals(owner, *node, peer)).collect(),
        }
    }

    fn deals(&self, owner: usize, node: usize, peer: Party) -> bool {
        let Node { party, copy, .. } = self.nodes[node];
        self.corruptions[owner].adversary.deals(party, copy, peer)
    }

    pub(crate) fn on_mended(&mut self, one: Party, other: Party) {
        self.mending.remove(&(one, other));
        for (end, peer) in [(one, other), (other, one)] {
            for node in self.facing(end, peer) {
                if self.nodes[node].state.is_some() {
                    self.reconnected(node, peer);
                }
            }
        }
    }

    pub(crate) fn reconnected(&mut self, node: usize, peer: Party) {
        self.trace.push(self.now, node, Happening::Reconnected(peer));
        let party = self.nodes[node].party;
        if let Some(observer) = &mut self.rules.observer
            && !self.corrupt.contains(party)
        {
            observer.reconnected(party, peer);
        }
        self.handle(node, Event::Reconnected(peer));
    }
}
