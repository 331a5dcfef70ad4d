//! How a [`Simulation`] makes things happen: steps, logs, work, timers. What it offers is in
//! `simulation.rs`, messages are in `traffic.rs`, crashes in `recovery.rs`.
//!
//! # Rules
//! - E1. A step's effects leave when its records and all earlier ones are durable, in log order.
//! - E2. A message to oneself and work do not wait for the log.
//! - E3. A crash drops what did not leave, and whatever was meant for the old incarnation.
//! - E4. What is lost between two servers is followed by `Reconnected` at both, if aided. A crash
//!   breaks connections: what is under way from or to the server may be lost. Two servers that were
//!   down at the same time are told nothing: what either says once it is back reaches the other.
//! - E5. An honest server never blames an honest one, holds a bounded number of items, and while
//!   its log is replayed does nothing but output.

use crate::Random;
use crate::adversary::Corruption;
use crate::network::{Local, Scheduler};
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
            calls: std::collections::BTreeMap::new(),
            calls_made: 0,
            trusted_at: None,
            held: Vec::new(),
            mending: BTreeSet::new(),
            effects: Effects::default(),
            letters: 0,
            armings: 0,
            persist_points: 0,
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
                    if let Some(observer) = &mut self.rules.observer
                        && !self.corrupt.contains(from)
                    {
                        observer.heard_itself(from, &body);
                    }
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
            Pending::Trusted => {
                self.trusted_at = None;
                self.hear_trusted();
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

    pub(crate) fn is_current(&self, node: usize, incarnation: u32) -> bool {
        let node = &self.nodes[node];
        node.incarnation == incarnation && node.state.is_some()
    }

    pub(crate) fn handle(&mut self, node: usize, event: Event<P>) {
        let mut effects = mem::take(&mut self.effects);
        self.step_node(node, event, &mut effects);
        self.absorb(node, &mut effects);
        self.effects = effects;
    }

    pub(crate) fn step_node(&mut self, index: usize, event: Event<P>, effects: &mut Effects<P>) {
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
    pub(crate) fn absorb(&mut self, index: usize, effects: &mut Effects<P>) {
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
                node.log.gate = node.log.end();
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
            Effect::Consult(ticket, call) => self.consult(index, ticket, call),
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
        if let Some(observer) = &mut self.rules.observer
            && !self.corrupt.contains(party)
        {
            observer.told(party, &outcome);
        }
        if let Some(application) = &mut self.rules.application {
            for command in application(party, &outcome, &node.log.records) {
                let after = self.scheduler.local(party, Local::Command, &mut self.random);
                let pending = Pending::Command { node: index, incarnation, command };
                self.queue.push(self.now + after, pending);
            }
        }
        if let Some(cut) = &self.rules.cut
            && let Some(count) = cut(&outcome, &node.log.records)
        {
            node.log.forget(count);
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
        if let Some(observer) = &mut self.rules.observer {
            observer.blamed(by, &fault);
        }
        if !self.corrupt.contains(fault.culprit) {
            self.violate(Violation::HonestBlamed { by, fault: fault.clone() }); // E5
        }
        if self.blames.len() < BLAMES_MAX {
            self.blames.push((by, fault));
        }
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

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
        if let Some(observer) = &mut self.rules.observer
            && !self.corrupt.contains(party)
        {
            observer.worked(party, &done);
        }
        for (ticket, done) in tickets.into_iter().zip(done) {
            let after = self.local(party, Local::Done);
            let pending = Pending::Done { node: index, incarnation, ticket, done };
            self.queue.push(self.now + after, pending);
        }
    }

    /// Asks the trusted component of a node's server; all copies of a server share one.
    fn consult(&mut self, index: usize, ticket: P::Ticket, call: P::Work) {
        let Node { party, incarnation, .. } = self.nodes[index];
        self.calls_made += 1;
        let number = self.calls_made;
        self.calls.insert(number, (index, incarnation, ticket));
        let trusted = self.rules.trusted.as_mut();
        let trusted = trusted.expect("a protocol that consults needs trusted components");
        trusted.call(party, number, call, self.now);
        self.hear_trusted();
    }

    /// Takes the answers that the trusted components have by now.
    fn hear_trusted(&mut self) {
        let Some(trusted) = &mut self.rules.trusted else { return };
        let answers = trusted.advance(self.now);
        let next = trusted.next();
        for (number, done) in answers {
            let Some((index, incarnation, ticket)) = self.calls.remove(&number) else { continue };
            let after = self.local(self.nodes[index].party, Local::Done);
            let pending = Pending::Done { node: index, incarnation, ticket, done };
            self.queue.push(self.now + after, pending);
        }
        if let Some(next) = next
            && self.trusted_at.is_none_or(|at| next < at)
        {
            self.trusted_at = Some(next);
            let after = Duration(next.0.saturating_sub(self.now.0).max(1));
            self.queue.push(self.now + after, Pending::Trusted);
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
