//! How a [`Simulation`] makes things happen; what it offers is in `simulation.rs`.
//!
//! # Rules
//! - E1. A step's effects leave when its records and all earlier ones are durable, in log order.
//! - E2. A message to oneself and work do not wait for the log.
//! - E3. A crash drops what did not leave, and whatever was meant for the old incarnation.
//! - E4. What is lost between two servers is followed by `Reconnected` at both, if aided. A crash
//!   breaks connections: what is under way from or to the server may be lost.
//! - E5. An honest server never blames an honest one, holds a bounded number of items, and while
//!   its log is replayed does nothing but output.

use crate::Random;
use crate::adversary::{Adversary, Corruption, Hand};
use crate::network::{Fate, Letter, Local, Scheduler};
use crate::node::{Effect, Effects, Node, Step, Told};
use crate::queue::Queue;
use crate::report::{Happening, Stats, Trace, Violation};
use crate::simulation::{Pending, Rules, Simulation};
use maftia_base::protocol::{Event, Target, TimedProtocol};
use maftia_base::time::{Duration, Reading, Time};
use maftia_base::{Fault, Group, Party, PartySet};
use std::collections::BTreeSet;
use std::mem;
use std::rc::Rc;

/// How many of the letters that are under way from or to a server are lost when it crashes.
const CUT_OFF_PERMILLE: u32 = 500;

/// How many faults a run remembers.
const BLAMES_MAX: usize = 100_000;

impl<P: TimedProtocol> Simulation<P> {
    pub(crate) fn start(
        groups: Vec<Group>,
        (seed, random): (u64, Random),
        make: Box<dyn FnMut(Party, u32) -> P>,
        rules: Rules<P>,
        scheduler: Box<dyn Scheduler<P::Message>>,
        corruptions: Vec<Corruption<P>>,
        trace: Trace<P>,
    ) -> Self {
        let mut sim = Self {
            seed,
            random,
            now: Time(0),
            nodes: groups.iter().map(|group| Node::new(group.clone(), 0)).collect(),
            copies: (0..groups.len()).map(|index| vec![index]).collect(),
            corrupt: PartySet::EMPTY,
            groups,
            corruptions,
            make,
            rules,
            scheduler,
            queue: Queue::new(),
            pending_timers: 0,
            held: Vec::new(),
            mending: BTreeSet::new(),
            effects: Effects::default(),
            letters: 0,
            armings: 0,
            stats: Stats::default(),
            blames: Vec::new(),
            trace,
            fold: 0,
            marked: (Time(0), Stats::default()),
            violation: None,
        };
        sim.assign_copies();
        for node in sim.copies.clone().into_iter().flatten() {
            sim.start_node(node);
        }
        for index in 0..sim.corruptions.len() {
            sim.with_hand(index, |adversary, hand| adversary.started(hand));
        }
        sim
    }

    fn assign_copies(&mut self) {
        for corruption in &self.corruptions {
            for party in corruption.parties.iter() {
                assert!(party.index() < self.groups.len(), "only servers of the group are corrupt");
                self.corrupt.insert(party);
                let copies = corruption.adversary.copies(party);
                self.copies[party.index()].truncate(copies);
                for copy in 1..copies {
                    self.copies[party.index()].push(self.nodes.len());
                    self.nodes.push(Node::new(self.groups[party.index()].clone(), copy));
                }
            }
        }
    }

    pub(crate) fn happen(&mut self, pending: Pending<P>) {
        match pending {
            Pending::Letter(letter) => self.arrive(letter),
            Pending::HeldTooLong(number) => {
                if let Some(index) = self.held.iter().position(|letter| letter.number == number) {
                    let letter = self.held.remove(index);
                    self.arrive(letter);
                }
            }
            Pending::Own { node, incarnation, body } => {
                if self.is_current(node, incarnation) {
                    self.trace.push(self.now, node, Happening::Own(Rc::clone(&body)));
                    let from = self.nodes[node].party;
                    self.handle(node, Event::Message { from, body: Rc::unwrap_or_clone(body) });
                }
            }
            Pending::Command { node, incarnation, command } => {
                if self.is_current(node, incarnation) {
                    self.take_command(node, command);
                }
            }
            Pending::Timer { node, incarnation, timer, arming } => {
                self.pending_timers -= 1;
                if self.is_current(node, incarnation) {
                    self.on_timer(node, timer, arming);
                }
            }
            Pending::Work { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    self.do_work(node);
                }
            }
            Pending::Done { node, incarnation, ticket, done } => {
                if self.is_current(node, incarnation) {
                    self.trace.push(self.now, node, Happening::Done(ticket.clone()));
                    self.handle(node, Event::Done { ticket, done });
                }
            }
            Pending::Sync { node, incarnation, issued } => {
                if self.is_current(node, incarnation) {
                    self.on_synced(node, issued);
                }
            }
            Pending::Mend(one, other) => self.on_mended(one, other),
            Pending::Reconnected { node, incarnation, peer } => {
                if self.is_current(node, incarnation) {
                    self.reconnected(node, peer);
                }
            }
            Pending::Restart(party) => {
                if !self.is_up(party) {
                    self.restart_now(party);
                }
            }
        }
    }

    fn is_current(&self, node: usize, incarnation: u32) -> bool {
        let node = &self.nodes[node];
        node.incarnation == incarnation && node.state.is_some()
    }

    // ---- steps ----

    pub(crate) fn handle(&mut self, node: usize, event: Event<P>) {
        let mut effects = mem::take(&mut self.effects);
        self.step_node(node, event, &mut effects);
        self.absorb(node, &mut effects);
        self.effects = effects;
    }

    fn step_node(&mut self, index: usize, event: Event<P>, effects: &mut Effects<P>) {
        self.fold = (self.fold.rotate_left(5) ^ self.now.0 ^ ((index as u64) << 48))
            .wrapping_mul(0x517c_c1b7_2722_0a95)
            .wrapping_add(code(&event));
        let node = &mut self.nodes[index];
        let state = node.state.as_mut().expect("only servers that are up get events");
        let now = Time(self.now.0 - node.started.0);
        let mut step = Step { group: &node.group, scope: node.scope, now, effects };
        state.handle_timed(event, &mut step);
        if let Some(bound) = self.rules.footprint_max
            && !self.corrupt.contains(node.party)
        {
            let footprint = state.footprint();
            self.stats.footprint_max = self.stats.footprint_max.max(footprint);
            if footprint > bound {
                let party = node.party;
                self.violate(Violation::Footprint { party, footprint, bound }); // E5
            }
        }
    }

    /// Takes over what a step asked for, and leaves `effects` empty.
    fn absorb(&mut self, index: usize, effects: &mut Effects<P>) {
        for fault in effects.faults.drain(..) {
            self.blamed(index, fault);
        }
        for (timer, after) in effects.timers.drain(..) {
            self.set_timer(index, timer, after);
        }
        if !effects.work.is_empty() {
            self.enqueue_work(index, &mut effects.work);
        }
        let appended = !effects.records.is_empty();
        let node = &mut self.nodes[index];
        self.stats.records += effects.records.len() as u64;
        for (gates, record) in effects.records.drain(..) {
            node.log.records.push(record);
            if gates {
                node.log.gate = node.log.records.len();
            }
        }
        for effect in effects.leaving.drain(..) {
            self.leave_in_order(index, effect);
        }
        if appended {
            self.sync_if_wanted(index);
            self.crash_perhaps(index);
        }
    }

    /// E1, and E2 for the sender's own copy.
    fn leave_in_order(&mut self, index: usize, effect: Effect<P>) {
        let me = self.nodes[index].party;
        if let Effect::Send(to, body) = &effect
            && (*to == Target::All || *to == Target::One(me))
        {
            let after = self.local(me, Local::SelfDelivery);
            let incarnation = self.nodes[index].incarnation;
            let own = Pending::Own { node: index, incarnation, body: Rc::clone(body) };
            self.queue.push(self.now + after, own);
            if *to == Target::One(me) {
                return;
            }
        }
        let node = &mut self.nodes[index];
        if node.held.is_empty() && node.log.gate <= node.log.durable {
            self.leave(index, effect);
        } else {
            node.held.push_back((node.log.gate, effect));
        }
    }

    fn leave(&mut self, index: usize, effect: Effect<P>) {
        match effect {
            Effect::Output(outcome) => self.told(index, outcome),
            Effect::Send(Target::One(to), body) => {
                if to.index() < self.groups.len() {
                    self.send(index, to, body);
                }
            }
            Effect::Send(Target::All | Target::Others, body) => {
                let me = self.nodes[index].party.index();
                for to in (0..self.groups.len()).filter(|to| *to != me) {
                    self.send(index, Party::new(to), Rc::clone(&body));
                }
            }
        }
    }

    fn told(&mut self, index: usize, outcome: P::Outcome) {
        let node = &mut self.nodes[index];
        let (party, incarnation) = (node.party, node.incarnation);
        if !self.corrupt.contains(party)
            && let Some(check) = &mut self.rules.check
            && let Err(complaint) = check(party, &outcome)
        {
            self.violation.get_or_insert(Violation::Check { party, complaint });
        }
        if let Some(application) = &mut self.rules.application {
            for command in application(party, &outcome, &node.log.records) {
                let after = self.scheduler.local(party, Local::Command, &mut self.random);
                let pending = Pending::Command { node: index, incarnation, command };
                self.queue.push(self.now + after, pending);
            }
        }
        self.trace.push(self.now, index, Happening::Output(node.outcomes.len()));
        node.outcomes.push(outcome);
        node.told_at.push(Told { at: self.now, incarnation });
    }

    fn blamed(&mut self, index: usize, fault: Fault) {
        let by = self.nodes[index].party;
        if self.corrupt.contains(by) {
            return;
        }
        if !self.corrupt.contains(fault.culprit) {
            self.violate(Violation::HonestBlamed { by, fault: fault.clone() }); // E5
        }
        if self.blames.len() < BLAMES_MAX {
            self.blames.push((by, fault));
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    // ---- log, work, timers ----

    fn sync_if_wanted(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.log.wants_sync(self.now) {
            let (party, incarnation) = (node.party, node.incarnation);
            let after = self.local(party, Local::Sync);
            let pending = Pending::Sync { node: index, incarnation, issued: self.now };
            self.queue.push(self.now + after, pending);
        }
    }

    fn on_synced(&mut self, index: usize, issued: Time) {
        let node = &mut self.nodes[index];
        let before = node.log.durable;
        node.log.synced(issued);
        if node.log.durable == before {
            return;
        }
        self.stats.syncs += 1;
        self.trace.push(self.now, index, Happening::Synced(node.log.durable));
        let incarnation = node.incarnation;
        while self.nodes[index].held.front().is_some_and(|(gate, _)| {
            *gate <= self.nodes[index].log.durable // E1
        }) {
            self.crash_perhaps(index);
            if !self.is_current(index, incarnation) {
                return; // E3
            }
            let (_, effect) = self.nodes[index].held.pop_front().expect("its front was seen");
            self.leave(index, effect);
        }
        self.sync_if_wanted(index);
    }

    fn enqueue_work(&mut self, index: usize, work: &mut Vec<(P::Ticket, P::Work)>) {
        let node = &mut self.nodes[index];
        let is_scheduled = !node.work.is_empty();
        node.work.append(work);
        if !is_scheduled {
            self.schedule_work(index);
        }
    }

    fn schedule_work(&mut self, index: usize) {
        let Node { party, incarnation, .. } = self.nodes[index];
        let after = self.local(party, Local::Work);
        self.queue.push(self.now + after, Pending::Work { node: index, incarnation });
    }

    /// A worker takes some of what is pending, as one batch.
    fn do_work(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (party, incarnation) = (node.party, node.incarnation);
        let mut batch = mem::take(&mut node.work);
        if self.scheduler.shuffles_work() {
            for last in (1..batch.len()).rev() {
                batch.swap(last, self.random.below(last as u64 + 1) as usize);
            }
            let taken = 1 + self.random.below(batch.len() as u64) as usize;
            node.work = batch.split_off(taken);
        }
        if !node.work.is_empty() {
            self.schedule_work(index);
        }
        let (tickets, works): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let clock = match &mut self.rules.clocks {
            Some(clocks) => clocks(party, self.now),
            None => Reading(crate::CLOCK_START.0 + self.now.0),
        };
        let worker = self.rules.worker.as_mut().expect("a protocol with work needs a worker");
        let done = worker(party, works, clock);
        assert!(done.len() == tickets.len(), "a worker returns one result for each piece of work");
        self.stats.works += done.len() as u64;
        for (ticket, done) in tickets.into_iter().zip(done) {
            let after = self.local(party, Local::Done);
            let pending = Pending::Done { node: index, incarnation, ticket, done };
            self.queue.push(self.now + after, pending);
        }
    }

    fn set_timer(&mut self, index: usize, timer: P::Timer, after: Option<Duration>) {
        let node = &mut self.nodes[index];
        let Some(after) = after else {
            node.timers.remove(&timer);
            return;
        };
        self.armings += 1;
        node.timers.insert(timer, self.armings);
        self.pending_timers += 1;
        let (incarnation, arming) = (node.incarnation, self.armings);
        let pending = Pending::Timer { node: index, incarnation, timer, arming };
        self.queue.push(self.now + after, pending);
    }

    fn on_timer(&mut self, index: usize, timer: P::Timer, arming: u64) {
        let timers = &mut self.nodes[index].timers;
        if timers.get(&timer) == Some(&arming) {
            timers.remove(&timer);
            self.trace.push(self.now, index, Happening::Timer(timer));
            self.handle(index, Event::Timer(timer));
        }
    }

    // ---- messages ----

    fn send(&mut self, index: usize, to: Party, body: Rc<P::Message>) {
        let from = self.nodes[index].party;
        let letter = Letter { from, to, body, sent: self.now, number: self.letters };
        if let Some(owner) = self.owner(from) {
            // Of several copies only the one that faces the receiver is heard by it.
            if self.facing(from, to) == Some(index) {
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

    fn with_hand<R>(
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

    fn arrive(&mut self, letter: Letter<P::Message>) {
        if let Some(owner) = self.owner(letter.to) {
            let is_seen =
                self.with_hand(owner, |adversary, hand| adversary.incoming(&letter, hand));
            if !is_seen {
                return;
            }
        }
        let Some(node) = self.facing(letter.to, letter.from) else { return };
        if self.nodes[node].state.is_none() || self.is_cut_off(&letter) {
            return self.lose(letter); // E4: a restart is followed by Reconnected
        }
        if self.trace.is_on() {
            self.trace.push(self.now, node, Happening::Message(letter.clone()));
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

    /// The node of `party` that deals with `peer`.
    fn facing(&self, party: Party, peer: Party) -> Option<usize> {
        let copy = match self.owner(party) {
            None => 0,
            Some(owner) => self.corruptions[owner].adversary.facing(party, peer),
        };
        self.copies[party.index()].get(copy).copied()
    }

    fn on_mended(&mut self, one: Party, other: Party) {
        self.mending.remove(&(one, other));
        for (end, peer) in [(one, other), (other, one)] {
            if let Some(node) = self.facing(end, peer)
                && self.nodes[node].state.is_some()
            {
                self.reconnected(node, peer);
            }
        }
    }

    fn reconnected(&mut self, node: usize, peer: Party) {
        self.trace.push(self.now, node, Happening::Reconnected(peer));
        self.handle(node, Event::Reconnected(peer));
    }

    // ---- crashes ----

    fn crash_perhaps(&mut self, index: usize) {
        let crashes = self.rules.crashes;
        let party = self.nodes[index].party;
        if index < self.groups.len()
            && crashes.crashes_max > 0
            && crashes.parties.contains(party)
            && self.random.chance(crashes.permille)
        {
            self.rules.crashes.crashes_max -= 1;
            self.crash(party);
            let after = Duration(1 + self.random.exponential(crashes.downtime.0));
            self.queue.push(self.now + after, Pending::Restart(party));
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
        for peer in (0..self.groups.len()).map(Party::new).filter(|peer| *peer != party) {
            for (end, other) in [(peer, party), (party, peer)] {
                let Some(node) = self.facing(end, other) else { continue };
                let after = self.local(end, Local::Reconnect);
                let incarnation = self.nodes[node].incarnation;
                let pending = Pending::Reconnected { node, incarnation, peer: other };
                self.queue.push(self.now + after, pending); // E4
            }
        }
    }

    /// Builds the protocol afresh, replays its log, and lets it resume.
    fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.state = Some((self.make)(node.party, node.incarnation));
        node.started = self.now;
        let records = node.log.records.len();
        if node.incarnation > 0 {
            self.trace.push(self.now, index, Happening::Restarted { records });
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

/// Tells the kinds of events apart in the digest of a run.
fn code<P: TimedProtocol>(event: &Event<P>) -> u64 {
    match event {
        Event::Command(_) => 1,
        Event::Message { from, .. } => 16 + from.index() as u64,
        Event::Timer(_) => 2,
        Event::Done { .. } => 3,
        Event::Restore(_) => 4,
        Event::Resumed => 5,
        Event::Reconnected(peer) => 128 + peer.index() as u64,
    }
}
