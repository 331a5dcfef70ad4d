//! Sees a run as it happens.

use super::{Complaint, Monitor};
use crate::stage::{Said, SignatureOf, Stage, Told};
use crate::world::{Court, work};
use maftia_base::protocol::Vocabulary;
use maftia_base::{Digest, Fault, Party, PartySet, Place, Scope, StatementKind};
use maftia_crypto::{Done, Work};
use maftia_sim::{Letter, Observer};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a person can read of a run, a line for each thing that happened.
pub type Transcript = Vec<String>;

/// Where something is signed, and what.
type Signed = (Scope, StatementKind, Place, Digest);

/// Sees everything of one run, and complains at once.
pub struct Watch<T: Stage> {
    stage: Rc<T>,
    court: Court<T::Suite>,
    honest: PartySet,
    monitor: T::Monitor,
    /// What the honest servers' workers signed.
    made: BTreeMap<(Party, SignatureOf<T>), Signed>,
    /// What left them, by place.
    signed: BTreeMap<(Party, Scope, StatementKind, Place), Digest>,
    remarked: BTreeMap<(Party, u64), u64>,
    /// The last message that was looked at, which most often goes to others too.
    last: Option<(Party, Rc<Said<T>>)>,
    /// Letters that honest servers sent to others.
    pub honest_letters: u64,
    /// Letters in the names of corrupt ones.
    pub corrupt_letters: u64,
    /// The honest server that spoke last, until somebody asks.
    pub spoke: Option<Party>,
    /// Times that a channel was mended.
    pub reconnections: u64,
    /// Who was convicted by somebody honest, with evidence that holds.
    pub convicted: PartySet,
    /// What the checkers say.
    pub complaints: Vec<Complaint>,
    transcript: Option<Transcript>,
}

/// Most complaints that one run collects.
const COMPLAINTS_MAX: usize = 16;

impl<T: Stage> Watch<T> {
    /// Of a run with these honest servers.
    pub fn new(stage: Rc<T>, court: Court<T::Suite>, honest: PartySet, writes: bool) -> Self {
        Self {
            monitor: T::Monitor::new(&stage),
            stage,
            court,
            honest,
            made: BTreeMap::new(),
            signed: BTreeMap::new(),
            remarked: BTreeMap::new(),
            last: None,
            honest_letters: 0,
            spoke: None,
            corrupt_letters: 0,
            reconnections: 0,
            convicted: PartySet::EMPTY,
            complaints: Vec::new(),
            transcript: writes.then(Vec::new),
        }
    }

    /// What was written down.
    pub fn transcript(&mut self) -> Transcript {
        self.transcript.take().unwrap_or_default()
    }

    fn write(&mut self, line: impl FnOnce(&T) -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(line(&self.stage));
        }
    }

    fn complain(&mut self, verdict: Result<(), Complaint>) {
        if let Err(complaint) = verdict
            && self.complaints.len() < COMPLAINTS_MAX
        {
            if let Some(transcript) = &mut self.transcript {
                transcript.push(format!("  !! {complaint}"));
            }
            self.complaints.push(complaint);
        }
    }

    /// An honest server may say one thing where one is allowed, in all its lives.
    fn listen(&mut self, by: Party, said: &Said<T>) {
        for signature in self.stage.signatures(said) {
            let key = (by, signature);
            let Some((scope, kind, place, value)) = self.made.get(&key).copied() else {
                let what = format!("{by} sends a signature that it never made: {said:?}");
                self.complain(Err(Complaint::new("speech", what)));
                continue;
            };
            let first = *self.signed.entry((by, scope, kind, place)).or_insert(value);
            if first != value {
                let what = format!("{by} signed two values for {kind:?} {place:?}");
                self.complain(Err(Complaint::new("speech", what)));
            }
        }
        for (place, value) in self.stage.remarks(said) {
            let first = *self.remarked.entry((by, place)).or_insert(value);
            if first != value {
                let what = format!("{by} said {first:x} and {value:x} in place {place}");
                self.complain(Err(Complaint::new("speech", what)));
            }
        }
    }
}

/// The watch, shared between the simulation and whoever reads it afterwards.
pub struct WatchHandle<T: Stage>(pub Rc<RefCell<Watch<T>>>);

impl<T: Stage> Observer<T::Protocol> for WatchHandle<T> {
    fn sent(&mut self, letter: &Letter<Said<T>>) {
        let watch = &mut *self.0.borrow_mut();
        let (from, to) = (letter.from, letter.to);
        watch.write(|stage| format!("{from} -> {to}: {}", stage.words(&letter.body)));
        if !watch.honest.contains(from) {
            watch.corrupt_letters += 1;
            return;
        }
        watch.honest_letters += 1;
        watch.spoke = Some(from);
        let is_same = watch
            .last
            .as_ref()
            .is_some_and(|(by, body)| *by == from && Rc::ptr_eq(body, &letter.body));
        if !is_same {
            watch.last = Some((from, Rc::clone(&letter.body)));
            watch.listen(from, &letter.body);
            let verdict = watch.monitor.says(from, to, &letter.body, &watch.court);
            watch.complain(verdict);
        }
    }

    fn arrived(&mut self, letter: &Letter<Said<T>>) {
        let watch = &mut *self.0.borrow_mut();
        let (from, to) = (letter.from, letter.to);
        watch.write(|stage| format!("{to} hears of {from}: {}", stage.words(&letter.body)));
        watch.monitor.heard(to, from, &letter.body, &watch.court);
    }

    fn heard_itself(&mut self, party: Party, body: &Said<T>) {
        let watch = &mut *self.0.borrow_mut();
        watch.monitor.heard(party, party, body, &watch.court);
    }

    fn commanded(&mut self, party: Party, order: &<T::Protocol as Vocabulary>::Command) {
        let watch = &mut *self.0.borrow_mut();
        watch.write(|_| format!("{party} is asked to {order:?}"));
        watch.monitor.ordered(party, order);
    }

    fn told(&mut self, party: Party, told: &Told<T>) {
        let watch = &mut *self.0.borrow_mut();
        watch.write(|_| {
            let told: String = format!("{told:?}").chars().take(160).collect();
            format!("{party} tells the layer above: {told}")
        });
        let verdict = watch.monitor.told(party, told, &watch.court);
        watch.complain(verdict);
    }

    fn worked(&mut self, party: Party, done: &[Done<T::Suite>]) {
        let watch = &mut *self.0.borrow_mut();
        for done in done {
            if let Done::Signed(signed) = done {
                let statement = signed.statement;
                let said = (statement.scope, statement.kind, statement.place, statement.value);
                watch.made.insert((party, signed.signature.clone()), said);
            }
        }
    }

    fn blamed(&mut self, by: Party, fault: &Fault) {
        let watch = &mut *self.0.borrow_mut();
        let Fault { culprit, kind, evidence } = fault;
        watch.monitor.blames(by, *culprit);
        watch.write(|_| {
            let with = if evidence.is_some() { "with evidence" } else { "on suspicion" };
            format!("{by} blames {culprit} for {kind:?}, {with}")
        });
        let Some(evidence) = evidence.clone() else { return };
        let judge = &watch.court.keyrings[watch.court.keyrings.len() - 1];
        let convict = Work::Convict { culprit: *culprit, evidence };
        let holds = matches!(work::<T::Suite>(judge, convict), Done::Convicted(true));
        if !holds {
            let what = format!("what {by} holds against {culprit} convinces nobody");
            return watch.complain(Err(Complaint::new("evidence", what)));
        }
        watch.convicted.insert(*culprit);
        if watch.honest.contains(*culprit) {
            let what = format!("{by} holds evidence against honest {culprit}");
            watch.complain(Err(Complaint::new("blameless", what)));
        }
    }

    fn crashed(&mut self, party: Party, kept: usize) {
        self.0.borrow_mut().write(|_| format!("{party} crashes; {kept} records are left"));
    }

    fn restarted(&mut self, party: Party) {
        let watch = &mut *self.0.borrow_mut();
        watch.monitor.restarted(party);
        watch.write(|_| format!("{party} comes back"));
    }

    fn reconnected(&mut self, party: Party, peer: Party) {
        let watch = &mut *self.0.borrow_mut();
        watch.reconnections += 1;
        watch.write(|_| format!("{party} learns that {peer} may have missed something"));
    }
}
