//! The state of one instance, and what is told, asked and checked.

use super::message::{Decision, Message, Record};
use super::{GIVEN_MAX, second};
use crate::hybrid::Members;
use crate::hybrid::agreed::{Proof, Question, Start};
use crate::multivalued::Command;
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{
    Context, Digest, Event, Fault, FaultKind, Party, PartySet, Protocol, Scope, Target,
};
use maftia_crypto::{Done, Suite, Work};
use maftia_ttcb_api::{Elist, Function};
use std::collections::{BTreeMap, BTreeSet};

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Outcome<V: Value> {
    /// Does this value satisfy the predicate? Answer with [`Command::Accept`] once it does.
    Validate {
        /// Who told it.
        from: Party,
        /// The value.
        value: V,
    },
    /// The group decided.
    Decided {
        /// What.
        value: V,
        /// That it did, for anyone to check.
        decision: Decision,
    },
}

/// What peers show that has to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A lock.
    Lock,
    /// A decision.
    Decision,
}

/// Which of the two agreements of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// What is there a quorum for?
    First,
    /// Is a quorum locked on it?
    Second,
}

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// The time, to choose a start.
    Time,
    /// The component takes part in an agreement of the attempt of this start.
    Propose(Start, Phase),
    /// What that decided.
    Decide(Start, Phase),
    /// The component has no time; it watches how long that takes.
    Watch,
    /// ... and says that it is over.
    Late,
    /// The check of what this party showed.
    Check(Party, Kind),
}

/// What this server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Nothing yet, or between two attempts.
    Idle,
    /// It waits for the time, or for the component to have some.
    Time,
    /// It takes part in an agreement of the attempt of this start.
    In(Start, Phase),
}

/// A value that somebody told.
#[derive(Clone, Debug, Hash)]
struct Told<V: Value> {
    value: V,
    accepted: bool,
}

/// What a peer shows and is under verification, and the newest that came after it.
#[derive(Clone, Debug, Hash)]
struct Checking<V: Value> {
    now: Message<V>,
    next: Option<Message<V>>,
}

/// One instance of consensus.
#[derive(Clone, Debug, Hash)]
pub struct Consensus<S: Suite, V: Value> {
    pub(super) me: Party,
    members: Members,
    elist: Elist,
    live: bool,
    pub(super) input: Option<V>,
    /// What each told first.
    pub(super) inputs: BTreeMap<Party, Digest>,
    values: BTreeMap<Digest, Told<V>>,
    pub(super) stage: Stage,
    /// How many attempts it made in this life.
    pub(super) doublings: u32,
    /// The start of the last attempt.
    pub(super) last: Start,
    /// The component has no time even to watch: the next message tries again.
    pub(super) stalled: bool,
    pub(super) lock: Option<Proof>,
    /// What a set with an honest server proposed, in the latest attempt where one did.
    pub(super) hint: Option<(Start, Digest)>,
    /// A quorum proposed something in one attempt, and no set with an honest server the same.
    pub(super) is_mixed: bool,
    /// What was decided, while the value is not here.
    decided: Option<(Digest, Decision)>,
    verdict: Option<(V, Decision)>,
    checking: BTreeMap<(Party, Kind), Checking<V>>,
    /// Who showed something of this kind that does not hold.
    barred: BTreeSet<(Party, Kind)>,
    /// Who was told the decision since it last reconnected.
    told: PartySet,
    /// How often each was given a value since then.
    given: BTreeMap<Party, u8>,
    _suite: std::marker::PhantomData<S>,
}

impl<S: Suite, V: Value> Vocabulary for Consensus<S, V> {
    const NAME: &'static str = "simple";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for Consensus<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Propose(value)) => self.propose(value, cx),
            Event::Command(Command::Accept(digest)) => self.on_accept(digest, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => return self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.resend(peer, cx),
        }
        if self.live {
            self.try_begin(cx);
        }
    }

    fn is_settled(&self) -> bool {
        self.verdict.is_some()
    }

    fn footprint(&self) -> usize {
        self.inputs.len() + self.values.len() + 2 * self.checking.len() + self.given.len()
    }
}

impl<S: Suite, V: Value> Consensus<S, V> {
    /// An instance of `me`, in which nobody has proposed yet.
    pub fn new(me: Party, members: Members) -> Self {
        let elist = members.elist(None, PartySet::all(members.n()));
        Self {
            me,
            elist: elist.expect("members are on different hosts"),
            members,
            live: false,
            input: None,
            inputs: BTreeMap::new(),
            values: BTreeMap::new(),
            stage: Stage::Idle,
            doublings: 0,
            last: Start::default(),
            stalled: false,
            lock: None,
            hint: None,
            is_mixed: false,
            decided: None,
            verdict: None,
            checking: BTreeMap::new(),
            barred: BTreeSet::new(),
            told: PartySet::EMPTY,
            given: BTreeMap::new(),
            _suite: std::marker::PhantomData,
        }
    }

    /// Has it something to propose?
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// Is it known what was decided?
    pub(super) fn is_over(&self) -> bool {
        self.decided.is_some() || self.verdict.is_some()
    }

    /// The agreement of one phase of the attempt of this start, and when that one starts.
    pub(super) fn question(&self, scope: Scope, start: Start, phase: Phase) -> (Question, Start) {
        let function = Function::Majority;
        let (context, at) = match phase {
            Phase::First => (Digest::of_encoded("maftia simple first", &scope), start),
            Phase::Second => {
                (Digest::of_encoded("maftia simple second", &(scope, start)), second(start))
            }
        };
        (Question { elist: self.elist, function, context }, at)
    }

    /// The parties of a mask: the list has them in their order.
    pub(super) fn parties(&self, mask: u32) -> PartySet {
        let set = |index: &usize| mask & (1 << index) != 0;
        (0..self.members.n()).filter(set).map(Party::new).collect()
    }

    /// Did a quorum propose what was decided?
    pub(super) fn is_by_quorum(&self, proof: &Proof, cx: &impl Context<Self>) -> bool {
        cx.group().structure().is_quorum(self.parties(proof.decision().proposed_value))
    }

    /// The first value counts, from above or from a peer. (C1)
    fn propose(&mut self, value: V, cx: &mut impl Context<Self>) {
        if self.input.is_some() || self.is_over() {
            return;
        }
        cx.persist(Record::Input(value.clone()));
        self.input = Some(value.clone());
        self.inputs.insert(self.me, digest_of(&value));
        cx.send(Target::Others, Message::Input { value });
    }

    fn on_accept(&mut self, digest: Digest, cx: &mut impl Context<Self>) {
        let Some(told) = self.values.get_mut(&digest) else { return };
        told.accepted = true;
        let value = told.value.clone();
        self.propose(value, cx);
    }

    /// May it be proposed, as far as this server knows?
    pub(super) fn accepts(&self, digest: Digest) -> bool {
        self.inputs.get(&self.me) == Some(&digest)
            || self.values.get(&digest).is_some_and(|told| told.accepted)
    }

    fn value(&self, digest: Digest) -> Option<&V> {
        let own = self.input.as_ref().filter(|_| self.inputs.get(&self.me) == Some(&digest));
        own.or_else(|| self.values.get(&digest).map(|told| &told.value))
    }

    fn on_message(&mut self, from: Party, message: Message<V>, cx: &mut impl Context<Self>) {
        if from == self.me || !cx.group().parties().contains(from) {
            return;
        }
        if self.verdict.is_some() {
            match message {
                Message::Decided { .. } | Message::Given { .. } => {}
                Message::Ask { .. } => self.give(from, None, cx),
                Message::Input { .. } | Message::Again { .. } => self.tell_decision(from, cx),
            }
            return;
        }
        self.stalled = false;
        match message {
            Message::Input { value } => self.on_input(from, value, cx),
            Message::Ask { digest } => self.give(from, Some(digest), cx),
            Message::Given { value } => self.on_given(value, cx),
            Message::Again { lock: None } => {}
            Message::Again { lock: Some(_) } => self.receive(from, Kind::Lock, message, cx),
            Message::Decided { .. } => self.receive(from, Kind::Decision, message, cx),
        }
    }

    /// Handles what a peer proposes; its first value counts, and is put to the application. (C1)
    fn on_input(&mut self, from: Party, value: V, cx: &mut impl Context<Self>) {
        if self.inputs.contains_key(&from) {
            return;
        }
        let digest = digest_of(&value);
        self.inputs.insert(from, digest);
        if let Some((_, decision)) = self.decided.filter(|(decided, _)| *decided == digest) {
            self.settle_and_note(value, decision, cx);
        } else if self.value(digest).is_none() {
            self.values.insert(digest, Told { value: value.clone(), accepted: false });
            cx.output(Outcome::Validate { from, value });
        }
    }

    /// Handles a value that was asked for. (C7)
    fn on_given(&mut self, value: V, cx: &mut impl Context<Self>) {
        let digest = digest_of(&value);
        if let Some((_, decision)) = self.decided.filter(|(decided, _)| *decided == digest) {
            self.settle_and_note(value, decision, cx);
        }
    }

    /// Gives a value that is asked for, or the decision. (C7, C8)
    fn give(&mut self, to: Party, digest: Option<Digest>, cx: &mut impl Context<Self>) {
        let given = self.given.entry(to).or_default();
        if *given >= GIVEN_MAX {
            return;
        }
        *given += 1;
        match (digest, &self.verdict) {
            (_, Some((value, decision))) => {
                let (value, decision) = (value.clone(), *decision);
                cx.send(Target::One(to), Message::Decided { value, decision });
            }
            (Some(digest), None) => {
                if let Some(value) = self.value(digest).cloned() {
                    cx.send(Target::One(to), Message::Given { value });
                }
            }
            (None, None) => {}
        }
    }

    fn tell_decision(&mut self, to: Party, cx: &mut impl Context<Self>) {
        if let Some((value, decision)) = self.verdict.clone()
            && self.told.insert(to)
        {
            cx.send(Target::One(to), Message::Decided { value, decision });
        }
    }

    /// Takes in what has to be checked. (C6, C8)
    fn receive(
        &mut self,
        from: Party,
        kind: Kind,
        message: Message<V>,
        cx: &mut impl Context<Self>,
    ) {
        let (start, phase, proof, digest) = match &message {
            Message::Again { lock: Some(lock) } => (lock.start, Phase::First, lock, None),
            Message::Decided { value, decision } => {
                (decision.start, Phase::Second, &decision.proof, Some(digest_of(value)))
            }
            _ => return,
        };
        let newer = self.lock.is_none_or(|lock| lock.start < start);
        if self.barred.contains(&(from, kind)) || (kind == Kind::Lock && !newer) {
            return;
        }
        if let Some(checking) = self.checking.get_mut(&(from, kind)) {
            if checking.now != message {
                checking.next = Some(message);
            }
            return;
        }
        let (question, at) = self.question(cx.scope(), start, phase);
        let claim = question.claim(&self.members, proof);
        let fits = proof.start == at && digest.is_none_or(|it| proof.value() == Some(it));
        let Some(claim) = claim.filter(|_| fits && self.is_by_quorum(proof, cx)) else {
            self.barred.insert((from, kind));
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        };
        self.checking.insert((from, kind), Checking { now: message, next: None });
        cx.offload(Ticket::Check(from, kind), Work::VerifySeals(vec![claim]));
    }

    pub(super) fn on_checked(
        &mut self,
        from: Party,
        kind: Kind,
        good: bool,
        cx: &mut impl Context<Self>,
    ) {
        let Some(Checking { now, next }) = self.checking.remove(&(from, kind)) else { return };
        match now {
            _ if !good => {
                self.barred.insert((from, kind));
                cx.blame(Fault::suspected(from, FaultKind::BadSignature));
            }
            Message::Again { lock: Some(lock) } => self.lock_on(lock, cx),
            Message::Decided { value, decision } if self.verdict.is_none() => {
                self.settle_and_note(value, decision, cx);
            }
            _ => {}
        }
        if let Some(next) = next.filter(|_| self.verdict.is_none()) {
            self.receive(from, kind, next, cx);
        }
    }

    /// A lock is replaced by a later one only. (C4)
    pub(super) fn lock_on(&mut self, lock: Proof, cx: &mut impl Context<Self>) {
        if self.lock.is_none_or(|known| known.start < lock.start) {
            let record = Record::Locked(lock);
            canary!("simple-lock-not-durable", cx.note(record), cx.persist(record));
            self.lock = Some(lock);
        }
    }

    /// It is decided; the value may not be here. (C5, C7)
    pub(super) fn decide(
        &mut self,
        digest: Digest,
        decision: Decision,
        cx: &mut impl Context<Self>,
    ) {
        match self.value(digest).cloned() {
            Some(value) => self.settle_and_note(value, decision, cx),
            None => {
                self.decided = Some((digest, decision));
                cx.send(Target::Others, Message::Ask { digest });
            }
        }
    }

    fn settle_and_note(&mut self, value: V, decision: Decision, cx: &mut impl Context<Self>) {
        // A quorum is locked on it, durably: if this is lost, the same is decided again.
        cx.note(Record::Decided { value: value.clone(), decision });
        self.settle(value, decision, cx);
    }

    fn settle(&mut self, value: V, decision: Decision, cx: &mut impl Context<Self>) {
        self.verdict = Some((value.clone(), decision));
        (self.decided, self.stage) = (None, Stage::Idle);
        self.values.clear();
        self.checking.clear();
        cx.output(Outcome::Decided { value, decision });
    }

    fn on_restore(&mut self, record: Record<V>, cx: &mut impl Context<Self>) {
        match record {
            Record::Input(value) => {
                self.inputs.insert(self.me, digest_of(&value));
                self.input = Some(value);
            }
            Record::Attempt(start) => self.last = self.last.max(start),
            Record::Locked(lock) => self.lock = Some(lock),
            Record::Decided { value, decision } => self.settle(value, decision, cx),
        }
    }

    /// What was said is said again; the attempt that was under way is not gone on with. (C2)
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        if self.verdict.is_none() {
            cx.group().others().iter().for_each(|peer| self.resend(peer, cx));
        }
    }

    /// Says again what a peer may have lost.
    fn resend(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if peer == self.me || !cx.group().parties().contains(peer) {
            return;
        }
        self.told.remove(peer);
        self.given.remove(&peer);
        self.stalled = false;
        if self.verdict.is_some() {
            return self.tell_decision(peer, cx);
        }
        if let Some(value) = self.input.clone() {
            cx.send(Target::One(peer), Message::Input { value });
        }
        if self.lock.is_some() {
            cx.send(Target::One(peer), Message::Again { lock: self.lock });
        }
        if let Some((digest, _)) = self.decided {
            cx.send(Target::One(peer), Message::Ask { digest });
        }
    }
}
