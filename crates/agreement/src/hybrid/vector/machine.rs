//! The state of one instance: a multicast of each server, and one consensus.

use crate::hybrid::Members;
use crate::hybrid::multicast::{self, Multicast, Spreading};
use crate::hybrid::simple::{self, Consensus};
use crate::{Value, digest_of};
use maftia_base::protocol::{Never, Slot, Vocabulary};
use maftia_base::wire::{List, wire_enum, wire_struct};
use maftia_base::{Context, Digest, Event, Party, PartySet, Protocol, Target};
use maftia_crypto::{Suite, Work};
use maftia_ttcb_api::HOSTS_MAX;
use std::collections::BTreeMap;

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<V: Value> {
    /// Propose this. Only the first counts; after a crash without a record of it, again.
    Propose(V),
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<V: Value> {
    /// The group decided.
    Decided {
        /// What each server proposed, in their order; nothing of some.
        values: Vec<Option<V>>,
        /// That their digests were decided, for anyone to check.
        decision: simple::Decision,
    },
}

/// The digest of what each server proposed, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entries(List<Option<Digest>, HOSTS_MAX>);

wire_struct!(Entries { 0 });

impl Entries {
    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = (Party, Digest)> {
        let entry =
            |(index, digest): (usize, &Option<Digest>)| Some((Party::new(index), (*digest)?));
        self.0.iter().enumerate().filter_map(entry)
    }
}

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Message<V: Value> {
    /// Of one server's multicast.
    Cast {
        /// Whose.
        sender: Party,
        /// The message.
        message: multicast::Message<V>,
    },
    /// Of the consensus.
    Simple(simple::Message<Entries>),
    /// The value with this digest was decided, and is not here.
    Ask {
        /// Of the value.
        digest: Digest,
    },
    /// A value that was asked for.
    Given {
        /// What.
        value: V,
    },
}

wire_enum!(<V: Value> Message<V> {
    0 => Cast { sender, message },
    1 => Simple(message),
    2 => Ask { digest },
    3 => Given { value },
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Record<V: Value> {
    /// Of one server's multicast.
    Cast {
        /// Whose.
        sender: Party,
        /// The record.
        record: multicast::Record<V>,
    },
    /// Of the consensus.
    Simple(simple::Record<Entries>),
}

wire_enum!(<V: Value> Record<V> { 0 => Cast { sender, record }, 1 => Simple(record) });

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// Of one server's multicast.
    Cast(Party, multicast::Ticket),
    /// Of the consensus.
    Simple(simple::Ticket),
}

/// Where one server's multicast sits.
#[derive(Clone, Copy, Debug)]
struct CastSlot(Party);

impl<S: Suite, V: Value> Slot<VectorConsensus<S, V>> for CastSlot {
    type Child = Multicast<S, V>;
    fn label(self) -> u64 {
        self.0.index() as u64
    }
    fn message(self, message: multicast::Message<V>) -> Message<V> {
        Message::Cast { sender: self.0, message }
    }
    fn ticket(self, ticket: multicast::Ticket) -> Ticket {
        Ticket::Cast(self.0, ticket)
    }
    fn record(self, record: multicast::Record<V>) -> Record<V> {
        Record::Cast { sender: self.0, record }
    }
}

/// Where the consensus sits.
#[derive(Clone, Copy, Debug)]
struct SimpleSlot;

impl<S: Suite, V: Value> Slot<VectorConsensus<S, V>> for SimpleSlot {
    type Child = Consensus<S, Entries>;
    fn label(self) -> u64 {
        0
    }
    fn message(self, message: simple::Message<Entries>) -> Message<V> {
        Message::Simple(message)
    }
    fn ticket(self, ticket: simple::Ticket) -> Ticket {
        Ticket::Simple(ticket)
    }
    fn record(self, record: simple::Record<Entries>) -> Record<V> {
        Record::Simple(record)
    }
}

/// How often a peer is given a value that it asks for, until it reconnects.
const GIVEN_MAX: usize = 2 * HOSTS_MAX;

/// One instance of vector consensus.
#[derive(Clone, Debug, Hash)]
pub struct VectorConsensus<S: Suite, V: Value> {
    me: Party,
    live: bool,
    casts: Vec<Multicast<S, V>>,
    simple: Consensus<S, Entries>,
    /// What was delivered, or told as the second message of a sender.
    told: BTreeMap<(Party, Digest), V>,
    /// Vectors that are not acceptable yet.
    pending: Vec<Entries>,
    decided: Option<(Entries, simple::Decision)>,
    is_over: bool,
    given: BTreeMap<Party, usize>,
}

impl<S: Suite, V: Value> Vocabulary for VectorConsensus<S, V> {
    const NAME: &'static str = "vector";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = maftia_crypto::Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for VectorConsensus<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Propose(value)) => {
                let command = multicast::Command::Multicast(value);
                self.step_cast(self.me, Event::Command(command), cx);
            }
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket: Ticket::Cast(sender, ticket), done } => {
                self.step_cast(sender, Event::Done { ticket, done }, cx);
            }
            Event::Done { ticket: Ticket::Simple(ticket), done } => {
                self.step_simple(Event::Done { ticket, done }, cx);
            }
            Event::Restore(Record::Cast { sender, record }) => {
                self.step_cast(sender, Event::Restore(record), cx);
            }
            Event::Restore(Record::Simple(record)) => {
                self.step_simple(Event::Restore(record), cx);
            }
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
        }
        if self.live {
            self.try_accept(cx);
            self.try_propose(cx);
        }
        self.try_tell(cx);
    }

    fn is_settled(&self) -> bool {
        self.is_over
    }

    fn footprint(&self) -> usize {
        let casts: usize = self.casts.iter().map(Protocol::footprint).sum();
        casts + self.simple.footprint() + self.told.len() + self.pending.len() + self.given.len()
    }
}

impl<S: Suite, V: Value> VectorConsensus<S, V> {
    /// An instance of `me`, in which nobody has proposed yet.
    pub fn new(me: Party, members: Members) -> Self {
        let all = PartySet::all(members.n());
        let cast =
            |sender| Multicast::new(me, sender, all, members.clone(), Spreading::Acknowledged);
        Self {
            me,
            live: false,
            casts: all.iter().map(cast).collect(),
            simple: Consensus::new(me, members.clone()),
            told: BTreeMap::new(),
            pending: Vec::new(),
            decided: None,
            is_over: false,
            given: BTreeMap::new(),
        }
    }

    /// Has the layer above given it a value to propose?
    pub fn has_input(&self) -> bool {
        let own = &self.casts[self.me.index()];
        own.has_input() || own.delivered().is_some()
    }

    fn step_cast(
        &mut self,
        sender: Party,
        event: Event<Multicast<S, V>>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(cast) = self.casts.get_mut(sender.index()) else { return };
        for outcome in cx.step(CastSlot(sender), cast, event) {
            let (multicast::Outcome::Delivered { value, .. }
            | multicast::Outcome::Equivocated { value, .. }) = outcome;
            self.told.insert((sender, digest_of(&value)), value);
        }
    }

    fn step_simple(&mut self, event: Event<Consensus<S, Entries>>, cx: &mut impl Context<Self>) {
        for outcome in cx.step(SimpleSlot, &mut self.simple, event) {
            match outcome {
                // Once for each peer.
                simple::Outcome::Validate { value, .. } => self.pending.push(value),
                simple::Outcome::Decided { value, decision } => {
                    self.pending.clear();
                    self.decided = Some((value, decision));
                    if self.live {
                        self.missing().into_iter().for_each(|(_, digest)| {
                            cx.send(Target::Others, Message::Ask { digest });
                        });
                    }
                }
            }
        }
    }

    fn on_message(&mut self, from: Party, message: Message<V>, cx: &mut impl Context<Self>) {
        match message {
            Message::Cast { sender, message } => {
                self.step_cast(sender, Event::Message { from, body: message }, cx);
            }
            Message::Simple(message) => {
                self.step_simple(Event::Message { from, body: message }, cx);
            }
            Message::Ask { digest } => self.on_ask(from, digest, cx),
            Message::Given { value } => self.on_given(value),
        }
    }

    /// Gives a value that is asked for. (W4)
    fn on_ask(&mut self, from: Party, digest: Digest, cx: &mut impl Context<Self>) {
        let mut known = self.told.iter().filter(|((_, known), _)| *known == digest);
        let given = self.given.entry(from).or_default();
        if let Some((_, value)) = known.next()
            && *given < GIVEN_MAX
            && from != self.me
        {
            *given += 1;
            cx.send(Target::One(from), Message::Given { value: value.clone() });
        }
    }

    /// Handles a value that was asked for. (W4)
    fn on_given(&mut self, value: V) {
        let digest = digest_of(&value);
        for (sender, missing) in self.missing() {
            if missing == digest {
                self.told.insert((sender, digest), value.clone());
            }
        }
    }

    /// What was decided and is not here.
    fn missing(&self) -> Vec<(Party, Digest)> {
        let Some((entries, _)) = &self.decided else { return Vec::new() };
        entries.iter().filter(|entry| !self.told.contains_key(entry)).collect()
    }

    /// Accepts what is acceptable by now. (W3)
    fn try_accept(&mut self, cx: &mut impl Context<Self>) {
        let n = self.casts.len();
        let structure = cx.group().structure().clone();
        let acceptable = |entries: &Entries| {
            let parties: PartySet = entries.iter().map(|(party, _)| party).collect();
            entries.0.len() == n
                && structure.is_quorum(parties)
                && entries.iter().all(|entry| self.told.contains_key(&entry))
        };
        let ready: Vec<Entries> =
            self.pending.iter().filter(|it| acceptable(it)).cloned().collect();
        self.pending.retain(|entries| !ready.contains(entries));
        for entries in ready {
            let command = simple::Command::Accept(digest_of(&entries));
            self.step_simple(Event::Command(command), cx);
        }
    }

    /// Proposes what a quorum multicast. (W2)
    fn try_propose(&mut self, cx: &mut impl Context<Self>) {
        if self.decided.is_some() || self.simple.has_input() {
            return;
        }
        // Whoever multicast two messages is left out.
        let trusted = |cast: &Multicast<S, V>| {
            cast.delivered().filter(|_| cast.equivocated().is_none()).map(digest_of)
        };
        let entries: Vec<Option<Digest>> = self.casts.iter().map(trusted).collect();
        let entries = Entries(List::new(entries).expect("at most one of each host"));
        let parties: PartySet = entries.iter().map(|(party, _)| party).collect();
        if cx.group().structure().is_quorum(parties) {
            self.step_simple(Event::Command(simple::Command::Propose(entries)), cx);
        }
    }

    /// Tells what was decided, when all of it is here. (W4)
    fn try_tell(&mut self, cx: &mut impl Context<Self>) {
        if self.is_over || !self.missing().is_empty() {
            return;
        }
        let Some((entries, decision)) = &self.decided else { return };
        let values = entries.0.iter().enumerate().map(|(index, digest)| {
            digest.and_then(|digest| self.told.get(&(Party::new(index), digest)).cloned())
        });
        self.is_over = true;
        cx.output(Outcome::Decided { values: values.collect(), decision: *decision });
    }

    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        for sender in cx.group().parties().iter() {
            self.step_cast(sender, Event::Resumed, cx);
        }
        self.step_simple(Event::Resumed, cx);
        for (_, digest) in self.missing() {
            cx.send(Target::Others, Message::Ask { digest });
        }
    }

    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        self.given.remove(&peer);
        for sender in cx.group().parties().iter() {
            self.step_cast(sender, Event::Reconnected(peer), cx);
        }
        self.step_simple(Event::Reconnected(peer), cx);
        for (_, digest) in self.missing() {
            cx.send(Target::One(peer), Message::Ask { digest });
        }
    }
}
