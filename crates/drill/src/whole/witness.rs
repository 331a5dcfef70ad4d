//! Whoever watches a run of whole servers: what they told is compared at once, and judged at the
//! end.
//!
//! A server's word counts when it leaves the server, or comes out of its log again: what it did in
//! its memory alone may be gone with it, and be decided otherwise.

use super::models::{Counted, Register};
use super::server::DAWN;
use super::service::{Asked, Executed, REGISTERS, request_digest};
use crate::check::linear::{self, Call};
use crate::check::{Complaint, Transcript};
use maftia_activity::Applied;
use maftia_base::wire::{Bytes, Wire};
use maftia_base::{Digest, Fault, Party, PartySet, ServiceId};
use maftia_services::LEDGER;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most complaints that are kept of one run.
const COMPLAINTS_MAX: usize = 20;

/// The world looks at the clock this often at least, in microseconds, and tells the witness.
const LATE: u64 = 100_000;

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Batches that servers told of.
    pub batches: u64,
    /// Requests that servers executed, each server's counted.
    pub executed: u64,
    /// Marks that were certified, each server's counted.
    pub certified: u64,
    /// States that were fetched and installed.
    pub installed: u64,
    /// Cuts of logs.
    pub cuts: u64,
    /// Convictions.
    pub convicted: u64,
    /// Histories whose linearizability was checked.
    pub histories: u64,
    /// Requests that clients were given an answer to.
    pub answered: u64,
    /// States that a linearizability check went through.
    pub searched: u64,
    /// Certificates that clients were given.
    pub certificates: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.executed += other.executed;
        self.certified += other.certified;
        self.installed += other.installed;
        self.cuts += other.cuts;
        self.convicted += other.convicted;
        self.histories += other.histories;
        self.answered += other.answered;
        self.searched += other.searched;
        self.certificates += other.certificates;
    }
}

/// Clones are the same one.
#[derive(Clone)]
pub struct Witness(Arc<Shared>);

struct Shared {
    /// The time that transcripts show.
    now: AtomicU64,
    state: Mutex<State>,
}

struct State {
    honest: PartySet,
    complaints: Vec<Complaint>,
    transcript: Option<Transcript>,
    digest: DefaultHasher,
    counts: Counts,
    executed: BTreeMap<u64, Executed>,
    positions: BTreeMap<Digest, u64>,
    batches: BTreeMap<Batch, Applied>,
    next: BTreeMap<Batch, Batch>,
    last: BTreeMap<Party, Batch>,
    wants_states: bool,
    states: BTreeMap<Party, (u64, Digest)>,
    /// By how much honest clocks were wrong at any time, in microseconds.
    wrong: (i64, i64),
    turn: u64,
    calls: Vec<Asking>,
    /// The certificates that each server's state has.
    issued: BTreeMap<Party, BTreeSet<Digest>>,
    /// Those that clients were given by honest servers.
    given: BTreeSet<(u64, Digest)>,
}

/// A batch in the order: epoch, round, lane, and how many of that lane come before it in the round.
type Batch = (u64, u64, usize, usize);

/// One request of a client, as the client saw it.
#[derive(Clone, Debug)]
struct Asking {
    client: u64,
    service: ServiceId,
    request: Bytes,
    invoked: u64,
    /// At how many microseconds.
    asked_at: u64,
    answer: Option<(u64, Bytes)>,
    /// The group's own word that it was executed, though the reply is gone.
    is_done: bool,
}

impl Witness {
    /// Of servers of which these are honest; writes a transcript if asked to.
    pub fn new(honest: PartySet, writes: bool) -> Self {
        let state = State {
            honest,
            complaints: Vec::new(),
            transcript: writes.then(Transcript::default),
            digest: DefaultHasher::new(),
            counts: Counts::default(),
            executed: BTreeMap::new(),
            positions: BTreeMap::new(),
            batches: BTreeMap::new(),
            next: BTreeMap::new(),
            last: BTreeMap::new(),
            wants_states: false,
            states: BTreeMap::new(),
            wrong: (0, 0),
            turn: 0,
            calls: Vec::new(),
            issued: BTreeMap::new(),
            given: BTreeSet::new(),
        };
        Self(Arc::new(Shared { now: AtomicU64::new(0), state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is now so late, in microseconds.
    pub fn set_now(&self, now: u64) {
        self.0.now.store(now, Ordering::Relaxed);
    }

    /// Writes down what happens, and has it count for the digest of the run.
    pub fn note(&self, what: impl fmt::Display) {
        let state = &mut *self.lock();
        let line = format_args!("{:>10} {what}", self.0.now.load(Ordering::Relaxed)).to_string();
        line.hash(&mut state.digest);
        if let Some(transcript) = &mut state.transcript {
            transcript.push(line);
        }
    }

    /// A checker fires.
    pub fn complain(&self, checker: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.note(format_args!("COMPLAINT {checker}: {what}"));
        let state = &mut *self.lock();
        if state.complaints.len() < COMPLAINTS_MAX {
            state.complaints.push(Complaint::new(checker, what));
        }
    }

    /// Is `party` to be believed?
    pub fn is_honest(&self, party: Party) -> bool {
        self.lock().honest.contains(party)
    }

    /// The clock of `party` is wrong by so many microseconds from now on.
    pub fn clock(&self, party: Party, by: i64) {
        let state = &mut *self.lock();
        if state.honest.contains(party) {
            state.wrong = (state.wrong.0.min(by), state.wrong.1.max(by));
        }
    }

    /// A process runs.
    pub fn started(&self, party: Party) {
        self.note(format_args!("{party} runs"));
    }

    /// A process is gone.
    pub fn died(&self, party: Party) {
        self.lock().last.remove(&party);
        self.note(format_args!("{party} is gone"));
    }

    /// `party` told, for good, that it applied a batch; with what it executed of it.
    pub fn applied(&self, party: Party, applied: &Applied, executed: Vec<Executed>) {
        let place = (applied.epoch.0, applied.round, applied.lane.index());
        self.note(format_args!("{party} applied {place:?}: {} requests", applied.executed));
        if !self.is_honest(party) {
            return;
        }
        if executed.len() != applied.executed as usize {
            let what =
                format!("{party} told of {} requests, did {}", applied.executed, executed.len());
            self.complain("replicas", what);
        }
        let complaints = self.lock().compare(party, place, applied);
        complaints.into_iter().for_each(|what| self.complain("replicas", what));
        for one in executed {
            let most = (DAWN + self.0.now.load(Ordering::Relaxed) + LATE)
                .saturating_add_signed(self.lock().wrong.1);
            if one.time.0 > most {
                self.complain("time", format!("it is agreed to be {}, at most {most}", one.time.0));
            }
            let complaints = self.lock().compare_executed(party, one);
            complaints.into_iter().for_each(|(checker, what)| self.complain(checker, what));
        }
    }

    /// `party` has seen a certificate for a mark.
    pub fn certified(&self, party: Party, mark: u64) {
        self.lock().counts.certified += 1;
        self.note(format_args!("{party} has mark {mark} certified"));
    }

    /// `party` goes on from the state at a mark.
    pub fn installed(&self, party: Party, mark: u64) {
        let mut state = self.lock();
        state.counts.installed += 1;
        state.last.remove(&party);
        drop(state);
        self.note(format_args!("{party} goes on from mark {mark}"));
    }

    /// `party` cuts its log.
    pub fn cut(&self, party: Party) {
        self.lock().counts.cuts += 1;
        self.note(format_args!("{party} cuts its log"));
    }

    /// `party` holds evidence.
    pub fn convicted(&self, party: Party, fault: &Fault) {
        self.lock().counts.convicted += 1;
        self.note(format_args!("{party} convicts {} of {:?}", fault.culprit, fault.kind));
        if self.is_honest(party) && self.is_honest(fault.culprit) {
            let what = format!("{party} convicted honest {} of {:?}", fault.culprit, fault.kind);
            self.complain("blameless", what);
        }
    }

    /// `party` blames somebody.
    pub fn blamed(&self, party: Party, fault: &Fault) {
        self.note(format_args!("{party} blames {} for {:?}", fault.culprit, fault.kind));
        if self.is_honest(party) && self.is_honest(fault.culprit) {
            let what = format!("{party} blamed honest {} for {:?}", fault.culprit, fault.kind);
            self.complain("blameless", what);
        }
    }

    /// Shall servers show their whole state?
    pub fn wants_states(&self) -> bool {
        self.lock().wants_states
    }

    /// From now on they shall.
    pub fn want_states(&self) {
        self.lock().wants_states = true;
    }

    /// `party` has executed so much, and this is its state. Is it another one than before?
    pub fn state(&self, party: Party, position: u64, state: Digest) -> bool {
        self.lock().states.insert(party, (position, state)) != Some((position, state))
    }

    /// `party` has these certificates in its state, and this is wrong with them.
    pub fn issued(&self, party: Party, issued: BTreeSet<Digest>, wrong: Vec<String>) {
        if self.is_honest(party) {
            wrong.into_iter().for_each(|what| self.complain("issuance", what));
            self.lock().issued.insert(party, issued);
        }
    }

    /// `party` gave a client a certificate.
    pub fn given(&self, party: Party, client: u64, certificate: Digest) {
        self.note(format_args!("client {client} has a certificate by {party}"));
        if self.is_honest(party) {
            let state = &mut *self.lock();
            state.counts.certificates += u64::from(state.given.insert((client, certificate)));
        }
    }

    /// Do all of these have the same state?
    pub fn are_level(&self, parties: PartySet) -> bool {
        let state = self.lock();
        let mut all = parties.iter().map(|party| state.states.get(&party));
        let Some(Some(first)) = all.next() else { return false };
        all.all(|one| one == Some(first))
    }

    /// What each shows, in words.
    pub fn states(&self) -> String {
        let state = self.lock();
        let show = |(party, (position, digest)): (&Party, &(u64, Digest))| {
            format!("{party} at {position} with {:04x}", digest.short() >> 48)
        };
        state.states.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    /// A client asks; the number names the request when it is answered.
    pub fn asked(&self, client: u64, service: ServiceId, request: Bytes) -> usize {
        let state = &mut *self.lock();
        state.turn += 1;
        let (invoked, asked_at) = (state.turn, self.0.now.load(Ordering::Relaxed));
        let (answer, is_done) = (None, false);
        state.calls.push(Asking { client, service, request, invoked, asked_at, answer, is_done });
        state.calls.len() - 1
    }

    /// It is answered.
    pub fn answered(&self, number: usize, answer: Bytes) {
        let state = &mut *self.lock();
        state.turn += 1;
        state.counts.answered += 1;
        (number, &answer).hash(&mut state.digest);
        state.calls[number].answer = Some((state.turn, answer));
    }

    /// It was executed, but the answer is gone.
    pub fn done(&self, number: usize) {
        self.lock().calls[number].is_done = true;
    }

    /// Judges what clients saw, and returns all complaints.
    pub fn finish(&self) -> (Vec<Complaint>, Counts, Transcript, u64) {
        let calls = self.lock().calls.clone();
        for asking in calls.iter().filter(|asking| asking.answer.is_some() || asking.is_done) {
            let request = request_digest(asking.service, &asking.request);
            if !self.lock().positions.contains_key(&request) {
                let what = format!("client {} was answered what no server did", asking.client);
                self.complain("durability", what);
            }
        }
        self.judge_times(&calls);
        self.judge_histories(&calls);
        self.judge_certificates();
        let state = &mut *self.lock();
        let transcript = state.transcript.take().unwrap_or_default();
        (std::mem::take(&mut state.complaints), state.counts, transcript, state.digest.finish())
    }

    /// No request is executed at a time at which, by every honest clock, nobody had made it.
    fn judge_times(&self, calls: &[Asking]) {
        for asking in calls {
            let state = self.lock();
            let request = request_digest(asking.service, &asking.request);
            let Some(position) = state.positions.get(&request) else { continue };
            let time = state.executed[position].time.0;
            let least = (DAWN + asking.asked_at).saturating_add_signed(state.wrong.0);
            drop(state);
            if time < least {
                self.complain("time", format!("a request of {least} was executed at {time}"));
            }
        }
    }

    /// What was given away is in the log of all.
    fn judge_certificates(&self) {
        let state = &mut *self.lock();
        for (client, certificate) in &state.given {
            for (party, _) in state.issued.iter().filter(|(_, has)| !has.contains(certificate)) {
                let what = format!("{party} knows nothing of a certificate that {client} has");
                state.complaints.push(Complaint::new("issuance", what));
            }
        }
    }

    fn judge_histories(&self, calls: &[Asking]) {
        let mut registers: BTreeMap<u64, Vec<Call<Register>>> = BTreeMap::new();
        let mut ledger: Vec<Call<Counted>> = Vec::new();
        for asking in calls {
            let (client, invoked) = (asking.client, asking.invoked);
            if asking.service == REGISTERS {
                let Ok(asked) = Asked::from_wire(asking.request.clone()) else { continue };
                let returned = asking
                    .answer
                    .clone()
                    .map(|(at, answer)| (at, u64::from_wire(answer).unwrap_or(u64::MAX)));
                let call = Call { client, op: asked.op, invoked, returned };
                registers.entry(asked.register).or_default().push(call);
            } else if asking.service == LEDGER {
                let op = asking.request.clone();
                ledger.push(Call { client, op, invoked, returned: asking.answer.clone() });
            }
        }
        for (register, calls) in registers {
            self.judge(format!("register {register}"), &calls);
        }
        if !ledger.is_empty() {
            self.judge("the ledger".to_owned(), &ledger);
        }
    }

    fn judge<M: linear::Model>(&self, of: String, calls: &[Call<M>]) {
        let checked = linear::check(calls);
        let state = &mut *self.lock();
        state.counts.histories += 1;
        match checked {
            linear::Answer::Linearizable { states } => state.counts.searched += states,
            linear::Answer::Not { longest } => {
                let what = format!(
                    "{of}: no order explains more than {longest} of {} answers",
                    calls.len()
                );
                state.complaints.push(Complaint::new("linearizable", what));
            }
            linear::Answer::TooLong => {
                let what = format!("{of}: {} calls are too many to judge", calls.len());
                state.complaints.push(Complaint::new("linearizable", what));
            }
        }
    }
}

impl State {
    /// Compares a batch, and what it follows, with what others told.
    fn compare(
        &mut self,
        party: Party,
        (epoch, round, lane): (u64, u64, usize),
        applied: &Applied,
    ) -> Vec<String> {
        let mut complaints = Vec::new();
        let number = match self.last.get(&party) {
            Some((e, r, l, number)) if (*e, *r, *l) == (epoch, round, lane) => number + 1,
            _ => 0,
        };
        let batch = (epoch, round, lane, number);
        self.counts.batches += 1;
        let facts = |one: &Applied| (one.time, one.executed, one.skipped);
        let first = *self.batches.entry(batch).or_insert(*applied);
        if facts(&first) != facts(applied) {
            complaints.push(format!("{party} did {applied:?}, another {first:?}"));
        }
        // Every round delivers something: whoever skips one goes on from a state that it fetched.
        let before = self.last.insert(party, batch).filter(|before| round <= before.1 + 1);
        if let Some(before) = before {
            let next = *self.next.entry(before).or_insert(batch);
            if next != batch {
                complaints
                    .push(format!("after {before:?} {party} did {batch:?}, another {next:?}"));
            }
        }
        complaints
    }

    fn compare_executed(&mut self, party: Party, one: Executed) -> Vec<(&'static str, String)> {
        let mut complaints = Vec::new();
        self.counts.executed += 1;
        let position = one.position;
        if let Some(known) = self.executed.get(&position) {
            if *known != one {
                let what = format!("{party} executed at {position} what another did not");
                complaints.push(("replicas", what));
            }
            return complaints;
        }
        if let Some(other) = self.positions.insert(one.request, position) {
            let what = format!("a request was executed at {other} and, by {party}, at {position}");
            complaints.push(("exactly-once", what));
        }
        let before = self.executed.range(..position).next_back();
        let after = self.executed.range(position + 1..).next();
        if before.is_some_and(|(_, other)| other.time > one.time)
            || after.is_some_and(|(_, other)| other.time < one.time)
        {
            complaints.push(("time", format!("the agreed time goes back at {position}")));
        }
        self.executed.insert(position, one);
        complaints
    }
}
