//! The state of one instance, and where its events go.

use super::message::{Decision, Message, Record, Ticket, channel, is_something, vouched};
use super::{DOUBLINGS_MAX, PATIENCE_MS, PLACES_MAX, TOLD_MAX};
use crate::hybrid::Members;
use crate::hybrid::views::Place;
use crate::multivalued::Command;
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::List;
use maftia_base::{Context, Digest, Event, Fault, FaultKind, Party, PartySet, Protocol, Target};
use maftia_crypto::{Attested, Done, Suite, Work};
use maftia_ttcb_api::{Answer, Call, Channel, Ordered, Refusal, Span, Verdict};
use std::collections::BTreeMap;

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Outcome<V: Value> {
    /// Does this value satisfy the predicate? Answer with [`Command::Accept`] once it does.
    Validate {
        /// Who proposed it.
        from: Party,
        /// The value.
        value: V,
    },
    /// The group decided.
    Decided {
        /// What.
        value: V,
        /// That it did, for anyone to check.
        proof: Decision,
        /// 256 bits, the same at every server.
        seed: Digest,
    },
    /// This server's trusted component lives in another life than the group knows: it has no part
    /// in the channel. Told once.
    OtherLife,
}

/// What a server proposed.
#[derive(Clone, Debug, Hash)]
struct Proposal<V: Value> {
    value: V,
    /// This server vouches for it.
    vouched: bool,
}

/// How far the channel is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Access {
    Closed,
    Opening,
    Open,
    /// The component has no part in it: others must tell.
    Refused,
}

/// One instance of agreement by places.
#[derive(Clone, Debug, Hash)]
pub struct PlacedAgreement<S: Suite, V: Value> {
    me: Party,
    members: Members,
    place: Place,
    base: Party,
    live: bool,
    pub(super) input: Option<V>,
    /// The first proposal of each.
    proposals: BTreeMap<Party, Proposal<V>>,
    access: Access,
    /// The component was asked for this place.
    asking: Option<u64>,
    /// What stands at the first places; the last one is what counts, if something stands there.
    places: Vec<Attested<Ordered>>,
    /// Decisions under verification, by who told them.
    checking: BTreeMap<Party, (V, Decision)>,
    /// Who told one that does not hold.
    barred: PartySet,
    watching: bool,
    /// The component would not watch.
    unwatched: bool,
    patience: u32,
    /// Somebody says that it is decided.
    over: bool,
    pub(super) verdict: Option<(V, Decision)>,
    /// Who asked before it was decided.
    askers: PartySet,
    /// How often each was told the decision since it last reconnected.
    told: BTreeMap<Party, u8>,
    _suite: std::marker::PhantomData<S>,
}

impl<S: Suite, V: Value> Vocabulary for PlacedAgreement<S, V> {
    const NAME: &'static str = "placed";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for PlacedAgreement<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Propose(value)) => {
                self.input.get_or_insert(value);
            }
            Event::Command(Command::Accept(digest)) => self.on_accept(digest, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => return self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.resend(peer, cx),
        }
        if self.live && self.verdict.is_none() {
            self.try_propose(cx);
            self.try_ask(cx);
            self.try_decide(cx);
            self.try_watch(cx);
        }
    }

    fn is_settled(&self) -> bool {
        self.verdict.is_some()
    }

    fn footprint(&self) -> usize {
        self.proposals.len() + self.places.len() + self.checking.len() + self.told.len()
    }
}

impl<S: Suite, V: Value> PlacedAgreement<S, V> {
    /// An instance of `me` in which nobody has proposed yet; `base` is to do it first.
    pub fn new(me: Party, members: Members, place: Place, base: Party) -> Self {
        Self {
            me,
            members,
            place,
            base,
            live: false,
            input: None,
            proposals: BTreeMap::new(),
            access: Access::Closed,
            asking: None,
            places: Vec::new(),
            checking: BTreeMap::new(),
            barred: PartySet::EMPTY,
            watching: false,
            unwatched: false,
            patience: 0,
            over: false,
            verdict: None,
            askers: PartySet::EMPTY,
            told: BTreeMap::new(),
            _suite: std::marker::PhantomData,
        }
    }

    /// Has the layer above given it a value to propose?
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    fn channel(&self, cx: &impl Context<Self>) -> Channel {
        channel(self.place, &self.members, cx.scope(), cx.group().structure())
    }

    /// Proposes, if it is this server's turn. (P1)
    fn try_propose(&mut self, cx: &mut impl Context<Self>) {
        let turn = self.base == self.me || self.patience > 0;
        if !turn || self.proposals.contains_key(&self.me) {
            return;
        }
        let Some(value) = self.input.clone() else { return };
        self.proposals.insert(self.me, Proposal { value: value.clone(), vouched: false });
        // Written down before it is sent: nobody proposes twice.
        self.vouch(self.me, cx);
        cx.send(Target::Others, Message::Propose(value));
    }

    /// Writes down that this server vouches for a proposal, and does. (P2)
    fn vouch(&mut self, proposer: Party, cx: &mut impl Context<Self>) {
        let Some(proposal) = self.proposals.get_mut(&proposer) else { return };
        if !std::mem::replace(&mut proposal.vouched, true) {
            let record = Record::Vouches { proposer, value: proposal.value.clone() };
            canary!("placed-vouch-not-durable", cx.note(record), cx.persist(record));
        }
        match self.access {
            Access::Open => self.tell_component(proposer, cx),
            Access::Closed => self.open(cx),
            Access::Opening | Access::Refused => {}
        }
    }

    fn tell_component(&self, proposer: Party, cx: &mut impl Context<Self>) {
        let Some(proposal) = self.proposals.get(&proposer).filter(|it| it.vouched) else { return };
        let value = vouched(cx.scope(), proposer, digest_of(&proposal.value)).0;
        let call = Box::new(Call::Order { channel: self.channel(cx).tag(), value });
        cx.consult(Ticket::Vouch, Work::Trusted(call));
    }

    /// Only when there is something to vouch for, which is when the agreement before has ended:
    /// channels are opened in order.
    fn open(&mut self, cx: &mut impl Context<Self>) {
        self.access = Access::Opening;
        cx.consult(Ticket::Open, Work::Trusted(Box::new(Call::Open(self.channel(cx)))));
    }

    fn on_message(&mut self, from: Party, message: Message<V>, cx: &mut impl Context<Self>) {
        if from == self.me || !cx.group().parties().contains(from) {
            return;
        }
        self.unwatched = false;
        if self.verdict.is_some() {
            if !matches!(message, Message::Decided { .. } | Message::Over) {
                self.tell_decision(from, cx);
            }
            return;
        }
        match message {
            Message::Propose(value) => self.on_proposal(from, value, cx),
            Message::Ask => {
                self.askers.insert(from);
            }
            Message::Over => self.over = true,
            Message::Decided { value, decision } => self.on_decided(from, value, decision, cx),
        }
    }

    /// The first of each is put to the application. (P2)
    fn on_proposal(&mut self, from: Party, value: V, cx: &mut impl Context<Self>) {
        match self.proposals.get(&from) {
            Some(known) if known.value != value => {
                cx.blame(Fault::suspected(from, FaultKind::Equivocation));
            }
            Some(_) => {}
            None => {
                let proposal = Proposal { value: value.clone(), vouched: false };
                self.proposals.insert(from, proposal);
                let acceptable = self.input.as_ref() == Some(&value);
                if canary!("placed-vouches-for-anything", true, acceptable) {
                    self.vouch(from, cx);
                } else {
                    cx.output(Outcome::Validate { from, value });
                }
            }
        }
    }

    fn on_accept(&mut self, digest: Digest, cx: &mut impl Context<Self>) {
        let is_it = |(_, proposal): &(&Party, &Proposal<V>)| digest_of(&proposal.value) == digest;
        let of: Vec<Party> = self.proposals.iter().filter(is_it).map(|(party, _)| *party).collect();
        for proposer in of {
            // Whatever is acceptable is worth proposing.
            let value = self.proposals[&proposer].value.clone();
            self.input.get_or_insert(value);
            self.vouch(proposer, cx);
        }
    }

    fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Check(from), Done::Verified(verdicts)) => {
                self.on_checked(from, verdicts.iter().all(|good| *good), cx);
            }
            (ticket, Done::Trusted(answer)) if self.verdict.is_none() => match ticket {
                Ticket::Open => self.on_open(&answer, cx),
                Ticket::Next(number) => self.on_next(number, &answer, cx),
                Ticket::Watch => self.on_watch(&answer, cx),
                Ticket::Late => self.on_late(&answer, cx),
                Ticket::Vouch | Ticket::Check(_) => {}
            },
            (_, Done::Trusted(_)) => {}
            (ticket, done) => {
                panic!("workers answer with the kind of result: {ticket:?}, {done:?}")
            }
        }
    }

    fn on_open(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        match answer {
            Answer::Tag(_) => {
                self.access = Access::Open;
                let proposers: Vec<Party> = self.proposals.keys().copied().collect();
                proposers.into_iter().for_each(|proposer| self.tell_component(proposer, cx));
            }
            Answer::Refused(Refusal::NotMember) => {
                self.access = Access::Refused;
                cx.output(Outcome::OtherLife);
            }
            // Its memory and the log do not fit together: the others decide.
            Answer::Refused(Refusal::Contradiction) => self.access = Access::Refused,
            _ => self.access = Access::Closed, // It has no time now: it is asked again. (P5)
        }
    }

    /// Asks for the first place of which nothing is known, until one counts. (P3)
    fn try_ask(&mut self, cx: &mut impl Context<Self>) {
        let known = self.places.last().is_some_and(|last| is_something(&last.0.said));
        let number = self.places.len() as u64 + 1;
        if self.access == Access::Open
            && !known
            && self.asking != Some(number)
            && self.places.len() < PLACES_MAX
        {
            self.asking = Some(number);
            let call = Box::new(Call::Next { channel: self.channel(cx).tag(), number });
            cx.consult(Ticket::Next(number), Work::Trusted(call));
        }
    }

    fn on_next(&mut self, number: u64, answer: &Answer, cx: &mut impl Context<Self>) {
        if number != self.places.len() as u64 + 1 {
            return; // It was asked twice.
        }
        match answer {
            Answer::Ordered(sealed) if sealed.said.number == number => {
                self.places.push(Attested(*sealed));
                if is_something(&sealed.said) && self.standing(cx).is_none() {
                    cx.send(Target::Others, Message::Ask);
                }
            }
            // The component has forgotten the channel, or the place: others can tell.
            Answer::Refused(Refusal::Unknown) => cx.send(Target::Others, Message::Ask),
            _ => {} // It had no time: it is asked again. (P5)
        }
    }

    /// What stands at the place that counts, and who proposed it, if both are here.
    fn standing(&self, cx: &impl Context<Self>) -> Option<(Party, &V)> {
        let last = self.places.last().filter(|last| is_something(&last.0.said))?;
        let is_it = |(proposer, value): &(Party, &V)| {
            vouched(cx.scope(), *proposer, digest_of(*value)).0 == last.0.said.value
        };
        self.proposals.iter().map(|(party, it)| (*party, &it.value)).find(is_it)
    }

    /// Decides. (P4)
    fn try_decide(&mut self, cx: &mut impl Context<Self>) {
        let Some((proposer, value)) = self.standing(cx) else { return };
        let value = value.clone();
        let places = List::new(self.places.clone()).expect("no more were asked for");
        self.decide(value, Decision { proposer, by: self.me, places }, cx);
    }

    fn on_decided(
        &mut self,
        from: Party,
        value: V,
        decision: Decision,
        cx: &mut impl Context<Self>,
    ) {
        if self.checking.contains_key(&from) || self.barred.contains(from) {
            return;
        }
        let digest = digest_of(&value);
        let checks = decision.checks(self.place, &self.members, cx.scope(), cx.group(), digest);
        let Some(checks) = checks else {
            self.barred.insert(from);
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        };
        self.checking.insert(from, (value, decision));
        checks.into_iter().for_each(|work| cx.offload(Ticket::Check(from), work));
    }

    fn on_checked(&mut self, from: Party, good: bool, cx: &mut impl Context<Self>) {
        let Some((value, decision)) = self.checking.remove(&from) else { return };
        if !good {
            self.barred.insert(from);
            return cx.blame(Fault::suspected(from, FaultKind::BadSignature));
        }
        if self.verdict.is_none() {
            self.decide(value, decision, cx);
        }
    }

    fn decide(&mut self, value: V, decision: Decision, cx: &mut impl Context<Self>) {
        let (proof, seed) = (decision.clone(), decision.seed());
        // Waited for: nobody who comes after the loss of all components can find out what was
        // decided, but from a log that says so.
        cx.persist(Record::Decided { value: value.clone(), decision: proof.clone() });
        let vouchers = decision.vouchers();
        self.verdict = Some((value.clone(), decision));
        self.checking.clear();
        if vouchers.contains(self.me) {
            let rest = cx.group().others().difference(vouchers);
            rest.iter().for_each(|peer| self.say_over(peer, cx));
        }
        for asker in std::mem::take(&mut self.askers).iter() {
            self.tell_decision(asker, cx);
        }
        cx.output(Outcome::Decided { value, proof, seed });
    }

    /// Who vouched waits for its component; of the others nobody knows what they have heard. (P7)
    fn say_over(&self, to: Party, cx: &mut impl Context<Self>) {
        canary!("placed-keeps-to-itself", (), cx.send(Target::One(to), Message::Over));
    }

    /// Some times, until the peer reconnects. (P6)
    fn tell_decision(&mut self, to: Party, cx: &mut impl Context<Self>) {
        let Some((value, decision)) = self.verdict.clone() else { return };
        let told = self.told.entry(to).or_default();
        if *told < TOLD_MAX {
            *told += 1;
            cx.send(Target::One(to), Message::Decided { value, decision });
        }
    }

    /// Watches how long it takes, once there is something to wait for. (P5)
    fn try_watch(&mut self, cx: &mut impl Context<Self>) {
        let waits = self.input.is_some() || !self.places.is_empty() || self.over;
        if waits && !self.watching && !self.unwatched {
            self.watching = true;
            let within = Span::from_millis(PATIENCE_MS << self.patience.min(DOUBLINGS_MAX));
            cx.consult(Ticket::Watch, Work::Trusted(Box::new(Call::Watch { within })));
        }
    }

    fn on_watch(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        match answer {
            Answer::Begun(handle) => {
                cx.consult(Ticket::Late, Work::Trusted(Box::new(Call::Await(*handle))));
            }
            // Too much under way: the next message tries again.
            _ => (self.watching, self.unwatched) = (false, true),
        }
    }

    /// It takes too long. (P5)
    fn on_late(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        self.watching = false;
        if *answer != Answer::Verdict(Verdict::Late) {
            return;
        }
        self.patience = self.patience.saturating_add(1);
        self.over = false; // Who says so without need is asked once for it.
        canary!("placed-asks-once", (), self.asking = None);
        match self.access {
            Access::Open => {
                let proposers: Vec<Party> = self.proposals.keys().copied().collect();
                proposers.into_iter().for_each(|proposer| self.tell_component(proposer, cx));
            }
            Access::Closed if self.proposals.values().any(|it| it.vouched) => self.open(cx),
            Access::Closed | Access::Opening | Access::Refused => {}
        }
        cx.send(Target::Others, Message::Ask);
    }

    fn on_restore(&mut self, record: Record<V>, cx: &mut impl Context<Self>) {
        match record {
            Record::Vouches { proposer, value } => {
                self.input.get_or_insert(value.clone());
                self.proposals.insert(proposer, Proposal { value, vouched: true });
            }
            Record::Decided { value, decision } => {
                let (proof, seed) = (decision.clone(), decision.seed());
                self.verdict = Some((value.clone(), decision));
                cx.output(Outcome::Decided { value, proof, seed });
            }
        }
    }

    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        if self.verdict.is_some() || !self.proposals.is_empty() {
            if self.verdict.is_none() {
                self.open(cx);
            }
            cx.group().others().iter().for_each(|peer| self.resend(peer, cx));
        }
    }

    /// Says again what a peer may have lost.
    fn resend(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if peer == self.me || !cx.group().parties().contains(peer) {
            return;
        }
        self.told.remove(&peer);
        if self.verdict.is_some() {
            return self.say_over(peer, cx);
        }
        if let Some(own) = self.proposals.get(&self.me) {
            cx.send(Target::One(peer), Message::Propose(own.value.clone()));
        }
        if self.patience > 0 || !self.places.is_empty() {
            cx.send(Target::One(peer), Message::Ask);
        }
    }
}
