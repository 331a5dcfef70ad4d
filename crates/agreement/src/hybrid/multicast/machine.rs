//! The state of one multicast, and how its message is agreed on.

use super::message::{Message, Record};
use super::spread::Checking;
use super::{DOUBLINGS_MAX, LEAD_MS, PATIENCE_MS};
use crate::hybrid::Members;
use crate::hybrid::agreed::{Proof, Question, Start};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{
    Context, Digest, Event, Fault, FaultKind, Party, PartySet, Protocol, Scope, Target,
};
use maftia_crypto::{Done, Suite, Work};
use maftia_ttcb_api::{Answer, Call, Elist, Function, Refusal, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<V: Value> {
    /// Multicast this; of the sender, once. After a crash without a record of it, again.
    Multicast(V),
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Outcome<V: Value> {
    /// The message.
    Delivered {
        /// What.
        value: V,
        /// That its digest was decided.
        proof: Proof,
    },
    /// The sender multicast another message, too: it is hostile. Told once.
    Equivocated {
        /// What.
        value: V,
        /// That its digest was decided.
        proof: Proof,
    },
}

/// How a server that delivered sees to it that all do. (B4)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spreading {
    /// BRM-T: everything is sent once more than messages are lost, and never again.
    Copies {
        /// The omission degree Od: how many copies of one message are lost at most.
        omissions: u8,
    },
    /// BRM: whoever does not acknowledge is sent it again.
    Acknowledged,
}

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// The time, to choose a start.
    Time,
    /// The component takes part.
    Propose(Start),
    /// The decision.
    Decide(Start),
    /// The check of what this party showed.
    Check(Party),
    /// The component watches how long something takes: the handle.
    Watch(Pause),
    /// ... and says that it takes too long.
    Late(Pause),
}

/// What a server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// For the component to have time for another attempt.
    Attempt,
    /// For acknowledgements, the how manieth time.
    Resend(u8),
}

/// One multicast of one sender.
#[derive(Clone, Debug, Hash)]
pub struct Multicast<S: Suite, V: Value> {
    pub(super) me: Party,
    pub(super) sender: Party,
    pub(super) recipients: PartySet,
    pub(super) members: Members,
    elist: Elist,
    pub(super) spreading: Spreading,
    live: bool,
    /// What this server multicasts.
    input: Option<V>,
    /// How often it began. (B6)
    tries: u32,
    /// It waits for the time.
    timing: bool,
    /// The component had no place even for a pause: the next event tries again.
    stalled: bool,
    /// The message whose decision is awaited, ...
    open: Option<(Start, V)>,
    /// ... which the component has taken: the sender has sent it.
    taken: bool,
    /// A later one of the sender's.
    next: Option<(Start, V)>,
    /// It asked its component, which did not tell.
    pub(super) asks: bool,
    pub(super) delivered: Option<(V, Proof)>,
    pub(super) equivocated: Option<Digest>,
    /// What each said that it delivered.
    pub(super) acks: BTreeMap<Party, Digest>,
    /// Who asked before this server knew.
    pub(super) askers: PartySet,
    /// How often each was shown the message because it asked, or was wrong.
    pub(super) given: BTreeMap<Party, u8>,
    /// How often acknowledgements were waited for.
    pub(super) resent: u8,
    pub(super) checking: BTreeMap<Party, Checking<V>>,
    /// Who showed something that does not hold.
    pub(super) barred: BTreeSet<Party>,
    _suite: std::marker::PhantomData<S>,
}

impl<S: Suite, V: Value> Vocabulary for Multicast<S, V> {
    const NAME: &'static str = "multicast";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for Multicast<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Multicast(value)) => self.on_multicast(value),
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
        let told = match self.spreading {
            Spreading::Copies { .. } => true,
            Spreading::Acknowledged => self.unacknowledged().is_empty(),
        };
        self.delivered.is_some() && told
    }

    fn footprint(&self) -> usize {
        usize::from(self.open.is_some())
            + usize::from(self.next.is_some())
            + self.acks.len()
            + self.given.len()
            + 2 * self.checking.len()
    }
}

impl<S: Suite, V: Value> Multicast<S, V> {
    /// A multicast of `sender` to `recipients`, of which it is one, as `me` is.
    pub fn new(
        me: Party,
        sender: Party,
        recipients: PartySet,
        members: Members,
        spreading: Spreading,
    ) -> Self {
        let both = PartySet::from_iter([me, sender]);
        assert!(both.is_subset(recipients), "who sends and who is here are among the recipients");
        let elist = members.elist(Some(sender), recipients);
        let elist = elist.expect("members are on different hosts, and recipients are members");
        Self {
            me,
            sender,
            recipients,
            members,
            elist,
            spreading,
            live: false,
            input: None,
            tries: 0,
            timing: false,
            stalled: false,
            open: None,
            taken: false,
            next: None,
            asks: false,
            delivered: None,
            equivocated: None,
            acks: BTreeMap::new(),
            askers: PartySet::EMPTY,
            given: BTreeMap::new(),
            resent: 0,
            checking: BTreeMap::new(),
            barred: BTreeSet::new(),
            _suite: std::marker::PhantomData,
        }
    }

    /// Has the layer above given it a message, or the log?
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// What was delivered.
    pub fn delivered(&self) -> Option<&V> {
        self.delivered.as_ref().map(|(value, _)| value)
    }

    /// The digest of the other message, if the sender multicast two.
    pub fn equivocated(&self) -> Option<Digest> {
        self.equivocated
    }

    /// The agreements of this multicast.
    pub(super) fn question(&self, scope: Scope) -> Question {
        let context = Digest::of_encoded("maftia multicast", &scope);
        Question { elist: self.elist, function: Function::Multicast, context }
    }

    /// The other recipients.
    pub(super) fn peers(&self) -> PartySet {
        let mut peers = self.recipients;
        peers.remove(self.me);
        peers
    }

    fn on_multicast(&mut self, value: V) {
        if self.me == self.sender {
            self.input.get_or_insert(value);
        }
    }

    fn on_message(&mut self, from: Party, message: Message<V>, cx: &mut impl Context<Self>) {
        if from == self.me || !self.recipients.contains(from) {
            return;
        }
        self.stalled = false;
        match message {
            Message::Data { start, value } => self.on_data(from, start, value, cx),
            Message::Shown { value, proof } => self.on_shown(from, value, proof, cx),
            Message::Delivered { digest } => self.on_acknowledged(from, digest, cx),
            Message::Ask => self.on_ask(from, cx),
        }
    }

    /// Begins with what there is to be agreed on. (B1, B2)
    fn try_begin(&mut self, cx: &mut impl Context<Self>) {
        if self.delivered.is_some() || self.open.is_some() {
            return;
        }
        if let Some((start, value)) = self.next.take() {
            self.begin(start, value, cx);
        } else if self.input.is_some() && !self.timing && !self.stalled {
            self.timing = true;
            cx.consult(Ticket::Time, Work::Trusted(Box::new(Call::Timestamp)));
        }
    }

    /// The time: the sender chooses a start. (B1, B6)
    fn on_time(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        if self.delivered.is_some() || self.open.is_some() {
            self.timing = false;
            return;
        }
        let Answer::Time(now) = answer else { return self.pause(cx) };
        self.timing = false;
        let Some(value) = self.input.clone() else { return };
        let lead = Span::from_millis(LEAD_MS << self.tries.min(DOUBLINGS_MAX));
        let start = Start::after(*now, lead);
        self.tries += 1;
        cx.persist(Record::Attempt { start, value: value.clone() });
        self.begin(start, value, cx);
    }

    fn begin(&mut self, start: Start, value: V, cx: &mut impl Context<Self>) {
        let proposal = (self.me == self.sender).then(|| digest_of(&value));
        let work = self.question(cx.scope()).propose(start, proposal);
        self.open = Some((start, value));
        self.taken = false;
        self.asks = false;
        cx.consult(Ticket::Propose(start), work);
    }

    /// Handles the sender's message. (B2)
    fn on_data(&mut self, from: Party, start: Start, value: V, cx: &mut impl Context<Self>) {
        if from != self.sender {
            // Whoever sends something on shows its decision.
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        if let Some((known, _)) = &self.delivered {
            // A start that was not needed, perhaps: or is it another message?
            let digest = digest_of(known);
            self.correct(from, digest, cx);
            return;
        }
        let later = |known: &Option<(Start, V)>| known.as_ref().is_none_or(|(at, _)| *at < start);
        if later(&self.open) && later(&self.next) {
            self.next = Some((start, value));
        }
    }

    fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Check(from), Done::Verified(verdicts)) => {
                self.on_checked(from, verdicts.iter().all(|good| *good), cx);
            }
            (Ticket::Time, Done::Trusted(answer)) => self.on_time(&answer, cx),
            (Ticket::Propose(start), Done::Trusted(answer)) => self.on_taken(start, &answer, cx),
            (Ticket::Decide(start), Done::Trusted(answer)) => self.on_told(start, &answer, cx),
            (Ticket::Watch(pause), Done::Trusted(answer)) => self.on_watch(pause, &answer, cx),
            (Ticket::Late(Pause::Attempt), Done::Trusted(_)) => self.timing = false,
            (Ticket::Late(Pause::Resend(round)), Done::Trusted(_)) => self.on_late(round, cx),
            (ticket, done) => {
                panic!("workers answer with the kind of result: {ticket:?}, {done:?}")
            }
        }
    }

    /// The component takes part, or does not. (B1, B2)
    fn on_taken(&mut self, start: Start, answer: &Answer, cx: &mut impl Context<Self>) {
        let Some((_, value)) = self.open.clone().filter(|(at, _)| *at == start) else { return };
        if self.delivered.is_some() {
            return;
        }
        if self.me == self.sender && matches!(answer, Answer::Tag(_)) {
            self.taken = true;
            self.copies(Message::Data { start, value }, self.peers(), cx);
        }
        // Even if it is too late to take part: others may have, and the component may know.
        cx.consult(Ticket::Decide(start), self.question(cx.scope()).decide(start));
    }

    /// What the component says of an agreement. (B3, B6, B7)
    fn on_told(&mut self, start: Start, answer: &Answer, cx: &mut impl Context<Self>) {
        if self.delivered.is_some() || self.open.as_ref().is_none_or(|(at, _)| *at != start) {
            return;
        }
        let Some((_, value)) = self.open.take() else { return };
        match answer {
            Answer::Decided(sealed) => {
                let question = self.question(cx.scope());
                let Some(proof) = question.told(self.me, start, *sealed) else { return };
                let digest = digest_of(&value);
                match proof.value() {
                    Some(decided)
                        if canary!("multicast-believes-its-sender", true, decided == digest) =>
                    {
                        self.deliver(value, proof, cx);
                    }
                    // It proposed one thing, and said another.
                    Some(_) if self.me != self.sender => {
                        cx.blame(Fault::suspected(self.sender, FaultKind::Equivocation));
                    }
                    _ => {}
                }
            }
            Answer::Refused(Refusal::NotMember) => self.input = None, // It has another life now.
            _ => self.ask(cx),
        }
    }

    /// Waits before the next attempt: the component has no time, or none to tell.
    fn pause(&mut self, cx: &mut impl Context<Self>) {
        self.watch(Pause::Attempt, cx);
    }

    /// Has the component watch how long something takes.
    pub(super) fn watch(&self, pause: Pause, cx: &mut impl Context<Self>) {
        let within = match pause {
            Pause::Attempt => Span::from_millis(LEAD_MS),
            Pause::Resend(round) => Span::from_millis(PATIENCE_MS << round.min(16)),
        };
        cx.consult(Ticket::Watch(pause), Work::Trusted(Box::new(Call::Watch { within })));
    }

    fn on_watch(&mut self, pause: Pause, answer: &Answer, cx: &mut impl Context<Self>) {
        match (answer, pause) {
            (Answer::Begun(handle), _) => {
                let call = Box::new(Call::Await(*handle));
                cx.consult(Ticket::Late(pause), Work::Trusted(call));
            }
            (_, Pause::Attempt) => (self.timing, self.stalled) = (false, true),
            // Reconnections remain.
            (_, Pause::Resend(_)) => {}
        }
    }

    /// Delivers, and sees to it that all do. (B3, B4)
    pub(super) fn deliver(&mut self, value: V, proof: Proof, cx: &mut impl Context<Self>) {
        // Before anybody is told: who acknowledged, or was seen to deliver, must not forget.
        let record = Record::Delivered { value: value.clone(), proof };
        canary!("multicast-delivered-not-durable", cx.note(record), cx.persist(record));
        self.settle(value, proof, cx);
        canary!("multicast-keeps-to-itself", (), self.spread(false, cx));
    }

    fn settle(&mut self, value: V, proof: Proof, cx: &mut impl Context<Self>) {
        self.delivered = Some((value.clone(), proof));
        (self.open, self.next, self.asks) = (None, None, false);
        cx.output(Outcome::Delivered { value, proof });
    }

    fn on_restore(&mut self, record: Record<V>, cx: &mut impl Context<Self>) {
        match record {
            Record::Attempt { start, value } => {
                self.input = Some(value.clone());
                self.open = Some((start, value));
                self.tries += 1;
            }
            Record::Delivered { value, proof } => self.settle(value, proof, cx),
            Record::Equivocated { value, proof } => {
                self.equivocated = Some(digest_of(&value));
                cx.output(Outcome::Equivocated { value, proof });
            }
        }
    }

    /// What was written down last is proposed, once more perhaps; what was said is said again.
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        if self.delivered.is_some() {
            self.spread(true, cx);
        } else if let Some((start, value)) = self.open.take() {
            self.begin(start, value, cx);
        }
    }

    /// Says again what a peer may have lost.
    fn resend(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if !self.peers().contains(peer) {
            return;
        }
        self.stalled = false;
        self.given.remove(&peer);
        let digest = self.delivered.as_ref().map(|(value, _)| digest_of(value));
        match (digest, &self.open) {
            (Some(digest), _) => self.resend_delivered(peer, digest, cx),
            (None, Some((start, value))) if self.taken => {
                let message = Message::Data { start: *start, value: value.clone() };
                cx.send(Target::One(peer), message);
            }
            (None, _) if self.asks => cx.send(Target::One(peer), Message::Ask),
            _ => {}
        }
    }
}
