//! One channel of the trusted order: see [`ordering`](crate::ordering) for the rules.

use crate::clock::Local;
use crate::control::{Ballot, Control, Entries, Entry, OPEN_MAX};
use crate::ordering::{KEPT, PATIENCE, VOUCHES, WAIT};
use crate::outputs::Outputs;
use maftia_ttcb_api::{Answer, Channel, HOSTS_MAX, Host, Refusal, Span, Tag, Value, host_bit};

/// A value that waits for its place.
#[derive(Clone, Copy, Debug, Hash)]
struct Vouched {
    value: Value,
    /// Who vouched for it, by position.
    by: u32,
    /// Who did first: it takes that member's share.
    first: usize,
    /// In which order they came.
    age: u64,
}

/// Who accepted a place in a ballot.
#[derive(Clone, Copy, Debug, Hash, Default)]
struct Acceptance {
    ballot: Ballot,
    number: u64,
    by: u32,
}

/// What this member does in the latest ballot that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Following,
    /// Collecting promises of these members.
    Preparing(u32),
    Leading,
}

/// One channel.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Order {
    pub(crate) channel: Channel,
    pub(crate) tag: Tag,
    pub(crate) me: usize,
    promised: Ballot,
    /// The ballot that this member will try next when nothing moves.
    suspected: Ballot,
    phase: Phase,
    /// By number modulo [`KEPT`].
    log: [Option<Entry>; KEPT],
    acceptances: [Acceptance; KEPT],
    /// All places up to this are chosen.
    pub(crate) chosen: u64,
    /// All places up to this were skipped: what stood there was not told.
    skipped: u64,
    /// The last place that was given in this ballot.
    given: u64,
    vouched: [Option<Vouched>; VOUCHES],
    ages: u64,
    /// Since when something waits without progress.
    pub(crate) stuck: Option<Local>,
    /// The call that waits for a place, and since when.
    pub(crate) waiting: Option<(u64, u64, Local)>,
}

impl Order {
    pub(crate) fn new(channel: Channel, tag: Tag, me: usize) -> Self {
        Self {
            channel,
            tag,
            me,
            promised: Ballot(0),
            suspected: Ballot(0),
            phase: if me == 0 { Phase::Leading } else { Phase::Following },
            log: [None; KEPT],
            acceptances: [Acceptance::default(); KEPT],
            chosen: 0,
            skipped: 0,
            given: 0,
            vouched: [None; VOUCHES],
            ages: 0,
            stuck: None,
            waiting: None,
        }
    }

    pub(crate) fn send(&self, control: &Control, out: &mut impl Outputs) {
        for position in (0..self.channel.elist.len()).filter(|position| *position != self.me) {
            self.send_to(position, control, out);
        }
    }

    fn send_to(&self, position: usize, control: &Control, out: &mut impl Outputs) {
        out.send(self.channel.elist.entities()[position].host, control);
    }

    pub(crate) fn entry(&self, number: u64) -> Option<Entry> {
        self.log[slot(number)].filter(|entry| entry.number == number)
    }

    /// The first place of which this member remembers everything.
    fn oldest(&self) -> u64 {
        let kept = (self.chosen + 1).saturating_sub((KEPT - OPEN_MAX) as u64);
        kept.max(self.skipped + 1)
    }

    fn leader(&self, ballot: Ballot) -> usize {
        ballot.0 as usize % self.channel.elist.len()
    }

    fn stands(&self, value: Value) -> bool {
        let same = |entry: &Entry| entry.vouchers != 0 && entry.value == value;
        self.log.iter().flatten().any(same)
    }

    /// Takes note that a member vouches. (O1)
    pub(crate) fn note_vouch(&mut self, position: usize, value: Value) {
        if self.stands(value) {
            return;
        }
        if let Some(known) = self.vouched.iter_mut().flatten().find(|known| known.value == value) {
            known.by |= bit(position);
            return;
        }
        let share = VOUCHES / self.channel.elist.len();
        let of_member = |known: &&Vouched| known.first == position;
        let free = match self.vouched.iter().flatten().filter(of_member).count() < share {
            true => self.vouched.iter().position(Option::is_none),
            false => {
                let own = |index: &usize| {
                    self.vouched[*index].is_some_and(|known| known.first == position)
                };
                let age = |index: &usize| self.vouched[*index].map(|known| known.age);
                (0..VOUCHES).filter(own).min_by_key(age)
            }
        };
        let Some(index) = free else { return };
        self.ages += 1;
        let (by, age) = (bit(position), self.ages);
        self.vouched[index] = Some(Vouched { value, by, first: position, age });
    }

    /// A member says what it has not. (O5)
    pub(crate) fn on_joined(&mut self, position: usize, from: u64, out: &mut impl Outputs) {
        let entries = self.entries(from.max(self.oldest()), true);
        let tag = self.tag;
        if entries.entries[0].number != 0 {
            self.send_to(position, &Control::Chosen { channel: tag, entries }, out);
        }
        for known in self.vouched.iter().flatten().filter(|known| known.by & bit(self.me) != 0) {
            self.send_to(position, &Control::Vouch { channel: tag, value: known.value }, out);
        }
        if self.phase == Phase::Leading {
            for entry in (self.chosen + 1..=self.given).filter_map(|number| self.entry(number)) {
                self.send_to(position, &Control::Accept { channel: tag, entry }, out);
            }
        }
    }

    /// What stands in the log from a place on, as much as fits.
    fn entries(&self, from: u64, chosen_only: bool) -> Entries {
        let mut entries = Entries::default();
        // What is chosen is told without gaps: who is given it takes what is missing for forgotten.
        let last = if chosen_only { self.chosen } else { self.chosen + OPEN_MAX as u64 };
        let known = (from..=last).filter_map(|number| self.entry(number));
        for (place, entry) in entries.entries.iter_mut().zip(known) {
            *place = entry;
        }
        entries
    }

    /// Chosen entries, from a peer that knows. (O5)
    pub(crate) fn on_chosen(&mut self, position: usize, entries: &Entries, out: &mut impl Outputs) {
        let first = entries.entries[0].number;
        if first > self.chosen + 1 {
            // What lies between nobody remembers; and what this member accepted there says nothing.
            (self.chosen, self.skipped) = (first - 1, first - 1);
            for place in &mut self.log {
                place.take_if(|entry| entry.number < first);
            }
        }
        self.adopt_chosen(entries);
        if entries.entries[OPEN_MAX - 1].number != 0 {
            let from = self.chosen + 1;
            self.send_to(position, &Control::Joined { channel: self.tag, from }, out);
        }
    }

    fn adopt_chosen(&mut self, entries: &Entries) {
        for entry in entries.entries.iter().filter(|entry| entry.chosen) {
            if entry.number > self.chosen && entry.number <= self.chosen + OPEN_MAX as u64 {
                self.log[slot(entry.number)] = Some(*entry);
                self.note_chosen();
            }
        }
    }

    /// Handles what the leader of a ballot puts at a place. (O3)
    pub(crate) fn on_accept(
        &mut self,
        from: usize,
        entry: Entry,
        now: Local,
        out: &mut impl Outputs,
    ) {
        if from != self.leader(entry.ballot) || entry.ballot < self.promised {
            return;
        }
        self.follow(entry.ballot);
        if entry.number > self.chosen + OPEN_MAX as u64 {
            let from = self.chosen + 1;
            self.send(&Control::Joined { channel: self.tag, from }, out);
            return;
        }
        if entry.number > self.chosen {
            self.accept(entry, out);
            self.note_acceptance(from, entry.ballot, entry.number);
            self.stuck = Some(now);
        }
    }

    /// Accepts, and tells all. (O3)
    fn accept(&mut self, entry: Entry, out: &mut impl Outputs) {
        let Entry { ballot, number, .. } = entry;
        if self.entry(number).is_none_or(|known| !known.chosen) {
            self.log[slot(number)] = Some(Entry { chosen: false, ..entry });
        }
        self.note_acceptance(self.me, ballot, number);
        self.send(&Control::Accepted { channel: self.tag, ballot, number }, out);
    }

    /// Counts who accepted; the latest ballot counts. (O3)
    pub(crate) fn note_acceptance(&mut self, position: usize, ballot: Ballot, number: u64) {
        if number <= self.chosen || number > self.chosen + OPEN_MAX as u64 {
            return;
        }
        let known = &mut self.acceptances[slot(number)];
        if known.number != number || known.ballot < ballot {
            *known = Acceptance { ballot, number, by: 0 };
        }
        if known.ballot == ballot {
            known.by |= bit(position);
        }
        self.note_chosen();
    }

    /// Moves on over everything that a majority accepted. (O3)
    fn note_chosen(&mut self) {
        for number in self.chosen + 1..=self.chosen + OPEN_MAX as u64 {
            let Acceptance { ballot, number: of, by } = self.acceptances[slot(number)];
            let majority = self.channel.elist.is_majority(by.count_ones());
            if let Some(entry) = &mut self.log[slot(number)]
                && (entry.number, entry.ballot) == (number, ballot)
                && of == number
                && majority
            {
                entry.chosen = true;
            }
        }
        while let Some(entry) = self.entry(self.chosen + 1).filter(|entry| entry.chosen) {
            self.chosen = entry.number;
            self.stuck = None;
            for known in &mut self.vouched {
                known.take_if(|known| entry.vouchers != 0 && known.value == entry.value);
            }
        }
    }

    /// A later ballot than those before is on.
    fn follow(&mut self, ballot: Ballot) {
        if ballot > self.promised {
            self.promised = ballot;
            self.phase = Phase::Following;
        }
        self.suspected = self.suspected.max(ballot);
    }

    /// Handles the beginning of a ballot. (O4)
    pub(crate) fn on_prepare(
        &mut self,
        from: usize,
        ballot: Ballot,
        first: u64,
        now: Local,
        out: &mut impl Outputs,
    ) {
        // Who cannot tell all that it accepted from there on must not promise.
        if from != self.leader(ballot) || ballot < self.promised || first < self.oldest() {
            return;
        }
        self.follow(ballot);
        self.stuck = self.stuck.map(|_| now);
        let entries = self.entries(first, false);
        self.send_to(from, &Control::Promise { channel: self.tag, ballot, entries }, out);
    }

    /// Handles a promise. (O4)
    pub(crate) fn on_promise(
        &mut self,
        from: usize,
        ballot: Ballot,
        entries: &Entries,
        out: &mut impl Outputs,
    ) {
        let Phase::Preparing(promises) = self.phase else { return };
        if ballot != self.promised {
            return;
        }
        self.adopt_chosen(entries);
        let full = entries.entries[OPEN_MAX - 1];
        if full.number != 0 && entries.entries[0].chosen {
            // There may be more behind: ask again from where this member is now.
            let (channel, from_number) = (self.tag, self.chosen + 1);
            let prepare = Control::Prepare { channel, ballot, from: from_number };
            return self.send_to(from, &prepare, out);
        }
        for entry in entries.entries.iter().filter(|entry| entry.number > self.chosen) {
            let known = self.entry(entry.number);
            if known.is_none_or(|known| !known.chosen && known.ballot < entry.ballot) {
                self.log[slot(entry.number)] = Some(*entry);
            }
        }
        let promises = promises | bit(from);
        self.phase = Phase::Preparing(promises);
        if self.channel.elist.is_majority(promises.count_ones()) {
            self.lead(out);
        }
    }

    /// Puts what may have been chosen at its place again, in this ballot. (O4)
    fn lead(&mut self, out: &mut impl Outputs) {
        self.phase = Phase::Leading;
        let last = self.chosen + OPEN_MAX as u64;
        let seen = (self.chosen + 1..=last).rev().find(|number| self.entry(*number).is_some());
        self.given = seen.unwrap_or(self.chosen);
        for number in self.chosen + 1..=self.given {
            let empty = Entry { number, ..Entry::default() };
            let entry = self.entry(number).unwrap_or(empty);
            self.give(Entry { ballot: self.promised, ..entry }, out);
        }
    }

    fn give(&mut self, entry: Entry, out: &mut impl Outputs) {
        self.send(&Control::Accept { channel: self.tag, entry }, out);
        self.accept(entry, out);
    }

    /// Gives places, sees whether something is stuck, and answers who waits. (O2, O4)
    pub(crate) fn advance(&mut self, now: Local, bound: Span, out: &mut impl Outputs) {
        while self.phase == Phase::Leading && self.give_next(out) {}
        self.answer_waiting(now, bound, out);
        let waits = self.due().is_some()
            || (self.chosen + 1..=self.chosen + OPEN_MAX as u64)
                .any(|number| self.entry(number).is_some());
        match self.stuck {
            None if waits => self.stuck = Some(now),
            Some(_) if !waits => self.stuck = None,
            Some(since) if now.0.saturating_sub(since.0) >= bound.times(PATIENCE).0 => {
                self.campaign(now, out);
            }
            _ => {}
        }
    }

    /// The oldest value for which enough vouch and that has no place.
    fn due(&self) -> Option<Vouched> {
        let enough = |known: &&Vouched| known.by.count_ones() >= u32::from(self.channel.threshold);
        let due = self.vouched.iter().flatten().filter(enough);
        due.filter(|known| !self.stands(known.value)).min_by_key(|known| known.age).copied()
    }

    fn give_next(&mut self, out: &mut impl Outputs) -> bool {
        self.given = self.given.max(self.chosen);
        if self.given >= self.chosen + OPEN_MAX as u64 {
            return false;
        }
        let Some(Vouched { value, by, .. }) = self.due() else { return false };
        self.given += 1;
        let (ballot, number, seed) = (self.promised, self.given, out.random());
        self.give(Entry { ballot, number, value, vouchers: by, seed, chosen: false }, out);
        true
    }

    fn answer_waiting(&mut self, now: Local, bound: Span, out: &mut impl Outputs) {
        let Some((number, call, since)) = self.waiting else { return };
        let role = self.channel.elist.entities()[self.me].role;
        if let Some(entry) = self.entry(number).filter(|entry| entry.chosen) {
            self.waiting = None;
            let answer = Answer::Ordered(out.sign(entry.ordered(self.tag)));
            out.answer(role, call, answer);
        } else if number <= self.chosen {
            self.waiting = None;
            out.answer(role, call, Answer::Refused(Refusal::Unknown));
        } else if now.0.saturating_sub(since.0) >= bound.times(WAIT).0 {
            self.waiting = None;
            out.answer(role, call, Answer::Refused(Refusal::TooLate));
        }
    }

    /// When something will be due.
    pub(crate) fn next_due(&self, bound: Span) -> Option<Local> {
        let stuck = self.stuck.map(|since| since.0 + bound.times(PATIENCE).0);
        let waiting = self.waiting.map(|(_, _, since)| since.0 + bound.times(WAIT).0);
        stuck.into_iter().chain(waiting).min().map(Local)
    }

    /// Nothing moves: the next in turn tries. (O4, O5)
    fn campaign(&mut self, now: Local, out: &mut impl Outputs) {
        self.stuck = Some(now);
        let (channel, from) = (self.tag, self.chosen + 1);
        self.send(&Control::Joined { channel, from }, out);
        self.suspected = Ballot(self.suspected.max(self.promised).0.saturating_add(1));
        if self.leader(self.suspected) == self.me {
            self.promised = self.suspected;
            self.phase = Phase::Preparing(bit(self.me));
            let ballot = self.promised;
            self.send(&Control::Prepare { channel, ballot, from }, out);
            if self.channel.elist.is_majority(1) {
                self.lead(out);
            }
        }
    }
}

fn slot(number: u64) -> usize {
    (number % KEPT as u64) as usize
}

fn bit(position: usize) -> u32 {
    host_bit(Host(position as u8))
}

const _: () = assert!(HOSTS_MAX <= u32::BITS as usize && KEPT > 2 * OPEN_MAX);
