//! How servers go down and come back. The rules are those of `engine.rs`.

use crate::network::Local;
use crate::report::{Happening, Violation};
use crate::simulation::{Crashes, Pending, Simulation};
use maftia_base::Party;
use maftia_base::protocol::{Event, TimedProtocol};
use maftia_base::time::Duration;
use std::mem;

impl<P: TimedProtocol> Simulation<P> {
    pub(crate) fn crash_perhaps(&mut self, index: usize) {
        let crashes = self.rules.crashes;
        let party = self.nodes[index].party;
        if index < self.groups.len()
            && crashes.crashes_max > 0
            && crashes.parties.contains(party)
            && self.is_crash_due(crashes)
        {
            self.rules.crashes.crashes_max -= 1;
            self.crash(party);
            let after = Duration(1 + self.random.exponential(crashes.downtime.0));
            self.queue.push(self.now + after, Pending::Restart(party));
        }
    }

    fn is_crash_due(&mut self, crashes: Crashes) -> bool {
        self.persist_points += 1;
        match self.rules.crash_at {
            Some(position) => self.persist_points == position + 1,
            None => self.random.chance(crashes.permille),
        }
    }

    pub(crate) fn crash_keeping(&mut self, party: Party, kept: usize) {
        let index = party.index();
        let was_up = self.nodes[index].state.is_some();
        self.nodes[index].crash(kept);
        self.nodes[index].letters_at_crash = self.letters;
        if was_up {
            self.stats.crashes += 1;
            self.trace.push(self.now, index, Happening::Crashed { kept });
            if let Some(observer) = &mut self.rules.observer {
                observer.crashed(party, kept);
            }
        }
    }

    pub(crate) fn restart_now(&mut self, party: Party) {
        let index = party.index();
        assert!(self.nodes[index].state.is_none(), "only a server that is down restarts");
        assert!(self.copies[index].contains(&index), "a server without honest code has no restart");
        self.start_node(index);
        if !self.scheduler.is_aided() {
            return;
        }
        for letter in mem::take(&mut self.nodes[index].waiting) {
            let after = self.local(party, Local::Reconnect);
            self.queue.push(self.now + after, Pending::Letter(letter));
        }
        for peer in (0..self.groups.len()).map(Party::new).filter(|peer| *peer != party) {
            if self.nodes[peer.index()].state.is_none() || self.are_strangers(peer, party) {
                continue;
            }
            for (end, other) in [(peer, party), (party, peer)] {
                for node in self.facing(end, other) {
                    let after = self.local(end, Local::Reconnect);
                    let incarnation = self.nodes[node].incarnation;
                    let pending = Pending::Reconnected { node, incarnation, peer: other };
                    self.queue.push(self.now + after, pending); // E4
                }
            }
        }
    }

    /// Did `one` restart after `other` crashed? Then neither knows that the other ever was away.
    /// (E4)
    pub(crate) fn are_strangers(&self, one: Party, other: Party) -> bool {
        let (one, other) = (&self.nodes[one.index()], &self.nodes[other.index()]);
        one.incarnation > 0 && one.letters_at_start >= other.letters_at_crash
    }

    /// Builds the protocol afresh, replays its log, and lets it resume.
    pub(crate) fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.state = Some((self.make)(node.party, node.incarnation));
        (node.started, node.letters_at_start) = (self.now, self.letters);
        let records = node.log.records.len();
        if node.incarnation > 0 {
            self.trace.push(self.now, index, Happening::Restarted { records });
            let party = node.party;
            if let Some(observer) = &mut self.rules.observer {
                observer.restarted(party);
            }
        }
        for position in 0..records {
            let record = self.nodes[index].log.records[position].clone();
            let mut effects = mem::take(&mut self.effects);
            self.step_node(index, Event::Restore(record), &mut effects);
            if effects.exceeds_restore() {
                let party = self.nodes[index].party;
                self.violate(Violation::EmittedDuringRestore(party)); // E5
            }
            self.absorb(index, &mut effects);
            self.effects = effects;
        }
        self.handle(index, Event::Resumed);
    }
}
