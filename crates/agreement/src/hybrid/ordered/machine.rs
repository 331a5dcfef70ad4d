//! The state of one order, and where its events go.

use super::{DOUBLINGS_MAX, GIVEN_MAX, KEPT, PATIENCE_MS};
use crate::Value;
use crate::hybrid::Members;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{
    Context, Digest, Event, Fault, FaultKind, Party, PartySet, Protocol, Scope, Target,
};
use maftia_crypto::{Attested, Done, SealClaim, Suite, Work};
use maftia_ttcb_api::{Answer, Call, Channel, Elist, Refusal, Span, Tag};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<V: Value> {
    /// Multicast this, when everything before it was delivered. See [`Protocol::capacity`].
    Multicast(V),
}

/// A message of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item<V: Value> {
    /// Whose.
    pub sender: Party,
    /// Which of its messages; the first is 1.
    pub number: u64,
    /// What.
    pub value: V,
}

wire_struct!(<V: Value> Item<V> { sender, number, value });

/// What the layer above is told: the next message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome<V: Value> {
    /// At which place; places may be passed over.
    pub place: u64,
    /// The message.
    pub item: Item<V>,
}

/// What stands at a place, as a trusted component signed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shown<V: Value> {
    /// Whose component signed.
    pub by: Party,
    /// What it says.
    pub ordered: Attested<maftia_ttcb_api::Ordered>,
    /// The message; none if nothing stands there.
    pub item: Option<Item<V>>,
}

wire_struct!(<V: Value> Shown<V> { by, ordered, item });

impl<V: Value> Shown<V> {
    fn place(&self) -> u64 {
        self.ordered.0.said.number
    }
}

/// What peers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Message<V: Value> {
    /// The sender multicasts.
    Sent(Item<V>),
    /// Everything up to this place was delivered.
    Reached(u64),
    /// What stands at this place?
    Ask(u64),
    /// The answer.
    Shown(Shown<V>),
}

wire_enum!(<V: Value> Message<V> {
    0 => Sent(item),
    1 => Reached(place),
    2 => Ask(place),
    3 => Shown(shown),
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "values are larger than what is here")]
pub enum Record<V: Value> {
    /// This message waits for its place: before it is sent, or vouched for.
    Holds(Item<V>),
    /// The next place: before anybody is told.
    Passed(Shown<V>),
}

wire_enum!(<V: Value> Record<V> { 0 => Holds(item), 1 => Passed(shown) });

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// The channel is open.
    Open,
    /// The component has heard that this server vouches.
    Vouch,
    /// What stands at this place.
    Next(u64),
    /// The check of what this party showed.
    Check(Party),
    /// The component watches how long something waits.
    Watch,
    /// ... and says that it is too long.
    Late,
}

/// One order of the messages of all.
#[derive(Clone, Debug, Hash)]
pub struct Ordered<S: Suite, V: Value> {
    me: Party,
    members: Members,
    elist: Elist,
    sequence: u64,
    live: bool,
    open: bool,
    /// What waits for its place: one message of each.
    waiting: BTreeMap<Party, Item<V>>,
    /// The latest message of each that came before its turn.
    later: BTreeMap<Party, Item<V>>,
    /// How many messages of each were delivered.
    numbers: BTreeMap<Party, u64>,
    /// The last places.
    passed: BTreeMap<u64, Shown<V>>,
    /// Everything up to this place was delivered.
    reached: u64,
    /// Somebody has delivered up to this place, it says.
    heard: BTreeMap<Party, u64>,
    /// The component was asked for this place, ...
    asking: Option<u64>,
    /// ... and told this, of which the content is not here; others were asked.
    known: Option<Attested<maftia_ttcb_api::Ordered>>,
    /// Others were asked for this place.
    wanted: Option<u64>,
    /// Who asked for a place that was not delivered here.
    askers: BTreeMap<Party, u64>,
    /// The last place that each was shown because it asked, and how often.
    given: BTreeMap<Party, (u64, u8)>,
    checking: BTreeMap<Party, Shown<V>>,
    barred: BTreeSet<Party>,
    watching: bool,
    patience: u32,
    _suite: std::marker::PhantomData<S>,
}

impl<S: Suite, V: Value> Vocabulary for Ordered<S, V> {
    const NAME: &'static str = "ordered";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for Ordered<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Multicast(value)) => self.on_multicast(value, cx),
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(Record::Holds(item)) => {
                self.waiting.insert(item.sender, item);
                return;
            }
            Event::Restore(Record::Passed(shown)) => return self.pass(shown, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.resend(peer, cx),
        }
        if self.live {
            self.try_hold(cx);
            self.try_deliver(cx);
            self.try_ask(cx);
            self.try_watch(cx);
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.waiting.len()
            + self.later.len()
            + self.checking.len()
            + self.heard.len()
            + self.askers.len()
            + self.given.len()
    }

    fn capacity(&self) -> usize {
        usize::from(!self.waiting.contains_key(&self.me))
    }
}

impl<S: Suite, V: Value> Ordered<S, V> {
    /// An order of `me`. The `sequence` is greater than that of all channels before.
    pub fn new(me: Party, members: Members, sequence: u64) -> Self {
        let elist = members.elist(None, PartySet::all(members.n()));
        Self {
            me,
            elist: elist.expect("members are on different hosts"),
            members,
            sequence,
            live: false,
            open: false,
            waiting: BTreeMap::new(),
            later: BTreeMap::new(),
            numbers: BTreeMap::new(),
            passed: BTreeMap::new(),
            reached: 0,
            heard: BTreeMap::new(),
            asking: None,
            known: None,
            wanted: None,
            askers: BTreeMap::new(),
            given: BTreeMap::new(),
            checking: BTreeMap::new(),
            barred: BTreeSet::new(),
            watching: false,
            patience: 0,
            _suite: std::marker::PhantomData,
        }
    }

    /// How many messages of a server were delivered; those of this one too, which may not be told
    /// yet.
    pub fn delivered_of(&self, sender: Party) -> u64 {
        self.next_of(sender) - 1
    }

    fn channel(&self, cx: &impl Context<Self>) -> Channel {
        let threshold = cx.group().structure().largest() + 1;
        Channel {
            elist: self.elist,
            threshold: threshold as u8,
            sequence: self.sequence,
            context: Digest::of_encoded("maftia ordered", &cx.scope()).0,
        }
    }

    fn tag(&self, cx: &impl Context<Self>) -> Tag {
        self.channel(cx).tag()
    }

    /// The number that a sender's next message has.
    fn next_of(&self, sender: Party) -> u64 {
        self.numbers.get(&sender).copied().unwrap_or_default() + 1
    }

    /// Numbers a message, and sends it to all. (A1)
    fn on_multicast(&mut self, value: V, cx: &mut impl Context<Self>) {
        if self.waiting.contains_key(&self.me) {
            return; // More than it has capacity for.
        }
        let item = Item { sender: self.me, number: self.next_of(self.me), value };
        cx.send(Target::Others, Message::Sent(item.clone()));
        self.hold(item, cx);
    }

    /// Writes it down, and vouches for it. (A2)
    fn hold(&mut self, item: Item<V>, cx: &mut impl Context<Self>) {
        cx.persist(Record::Holds(item.clone()));
        self.vouch(&item, cx);
        self.waiting.insert(item.sender, item);
    }

    fn vouch(&self, item: &Item<V>, cx: &mut impl Context<Self>) {
        if self.open {
            let value = value_of(cx.scope(), item);
            let call = Box::new(Call::Order { channel: self.tag(cx), value });
            cx.consult(Ticket::Vouch, Work::Trusted(call));
        }
    }

    fn on_message(&mut self, from: Party, message: Message<V>, cx: &mut impl Context<Self>) {
        if from == self.me || !cx.group().parties().contains(from) {
            return;
        }
        match message {
            Message::Sent(item) => self.on_sent(from, item, cx),
            Message::Reached(place) => {
                let heard = self.heard.entry(from).or_default();
                *heard = place.max(*heard);
            }
            Message::Ask(place) => self.on_ask(from, place, cx),
            Message::Shown(shown) => self.on_shown(from, shown, cx),
        }
    }

    /// Handles a server's message. (A2)
    fn on_sent(&mut self, from: Party, item: Item<V>, cx: &mut impl Context<Self>) {
        if item.sender != from {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        match self.waiting.get(&from) {
            None if item.number == self.next_of(from) => self.hold(item, cx),
            Some(known) if known.number == item.number => {
                if *known != item {
                    cx.blame(Fault::suspected(from, FaultKind::Equivocation));
                }
            }
            _ => {
                if self.later.get(&from).is_none_or(|known| known.number < item.number) {
                    self.later.insert(from, item);
                }
            }
        }
    }

    /// Vouches for what came too early, when its turn has come. (A2)
    fn try_hold(&mut self, cx: &mut impl Context<Self>) {
        for sender in cx.group().others().iter() {
            let next = self.next_of(sender);
            self.later.retain(|party, item| *party != sender || item.number >= next);
            let is_due = self.later.get(&sender).is_some_and(|item| item.number == next);
            if is_due
                && !self.waiting.contains_key(&sender)
                && let Some(item) = self.later.remove(&sender)
            {
                self.hold(item, cx);
            }
        }
    }

    fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Check(from), Done::Verified(verdicts)) => {
                self.on_checked(from, verdicts.iter().all(|good| *good), cx);
            }
            (Ticket::Open, Done::Trusted(answer)) => self.on_open(&answer, cx),
            (Ticket::Vouch, Done::Trusted(_)) => {}
            (Ticket::Next(place), Done::Trusted(answer)) => self.on_next(place, &answer, cx),
            (Ticket::Watch, Done::Trusted(answer)) => match *answer {
                Answer::Begun(handle) => {
                    let call = Box::new(Call::Await(handle));
                    cx.consult(Ticket::Late, Work::Trusted(call));
                }
                _ => self.watching = false,
            },
            (Ticket::Late, Done::Trusted(_)) => self.on_late(cx),
            (ticket, done) => {
                panic!("workers answer with the kind of result: {ticket:?}, {done:?}")
            }
        }
    }

    fn on_open(&mut self, answer: &Answer, cx: &mut impl Context<Self>) {
        self.open = matches!(answer, Answer::Tag(_));
        self.waiting.values().for_each(|item| self.vouch(item, cx));
    }

    /// Asks for the next place, if there is something to expect. (A3)
    fn try_ask(&mut self, cx: &mut impl Context<Self>) {
        let place = self.reached + 1;
        let expects = !self.waiting.is_empty() || self.heard.values().any(|it| *it >= place);
        if self.open && expects && self.asking.is_none() && self.known.is_none() {
            self.asking = Some(place);
            let call = Box::new(Call::Next { channel: self.tag(cx), number: place });
            cx.consult(Ticket::Next(place), Work::Trusted(call));
        }
    }

    /// What the component says of a place. (A4, A5)
    fn on_next(&mut self, place: u64, answer: &Answer, cx: &mut impl Context<Self>) {
        if self.asking != Some(place) {
            return;
        }
        if place != self.reached + 1 {
            self.asking = None; // It was shown meanwhile.
            return;
        }
        match answer {
            Answer::Ordered(sealed) if sealed.said.number == place => {
                self.asking = None;
                self.known = Some(Attested(*sealed));
            }
            // Forgotten: others can show it. Until they do, or patience is over, it is not asked.
            Answer::Refused(Refusal::Unknown) => self.want(place, cx),
            _ => {}
        }
    }

    /// Delivers what the component told, or asks others for its content. (A4, A5)
    fn try_deliver(&mut self, cx: &mut impl Context<Self>) {
        let Some(ordered) = self.known else { return };
        let item = self.content(&ordered, cx);
        if item.is_none() && self.is_due(&ordered) {
            return self.want(ordered.0.said.number, cx);
        }
        self.deliver(Shown { by: self.me, ordered, item }, cx);
    }

    /// The content of a place, if this server holds it.
    fn content(
        &self,
        ordered: &Attested<maftia_ttcb_api::Ordered>,
        cx: &impl Context<Self>,
    ) -> Option<Item<V>> {
        let (scope, said) = (cx.scope(), &ordered.0.said);
        let is_it = |item: &&Item<V>| said.vouchers != 0 && value_of(scope, item) == said.value;
        self.waiting.values().find(is_it).cloned()
    }

    /// Does a message stand at the next place whose turn it is? Else it is passed over.
    fn is_due(&self, ordered: &Attested<maftia_ttcb_api::Ordered>) -> bool {
        let said = &ordered.0.said;
        let (sender, number) = head_of(&said.value);
        let sender = (sender < self.members.n()).then(|| Party::new(sender));
        said.vouchers != 0 && sender.is_some_and(|sender| number == self.next_of(sender))
    }

    fn want(&mut self, place: u64, cx: &mut impl Context<Self>) {
        if self.wanted != Some(place) {
            self.wanted = Some(place);
            cx.send(Target::Others, Message::Ask(place));
        }
    }

    /// The next place is known. (A4)
    fn deliver(&mut self, shown: Shown<V>, cx: &mut impl Context<Self>) {
        let place = shown.place();
        cx.persist(Record::Passed(shown.clone()));
        self.pass(shown.clone(), cx);
        cx.send(Target::Others, Message::Reached(place));
        let askers: Vec<Party> =
            self.askers.extract_if(.., |_, asked| *asked == place).map(|(it, _)| it).collect();
        for peer in askers {
            cx.send(Target::One(peer), Message::Shown(shown.clone()));
        }
    }

    fn pass(&mut self, shown: Shown<V>, cx: &mut impl Context<Self>) {
        let place = shown.place();
        assert!(place == self.reached + 1, "places are passed one by one");
        self.reached = place;
        (self.known, self.asking, self.wanted, self.patience) = (None, None, None, 0);
        let item = shown.item.clone();
        self.passed.insert(place, shown);
        self.passed.retain(|known, _| known + KEPT as u64 > place);
        let Some(item) = item.filter(|item| item.number == self.next_of(item.sender)) else {
            return;
        };
        self.numbers.insert(item.sender, item.number);
        // Another one with this number will not be delivered any more.
        self.waiting.remove(&item.sender);
        cx.output(Outcome { place, item });
    }

    /// Handles a question for a place. (A5)
    fn on_ask(&mut self, from: Party, place: u64, cx: &mut impl Context<Self>) {
        let given = self.given.entry(from).or_default();
        match place.cmp(&given.0) {
            Ordering::Less => return, // It goes on from place to place.
            Ordering::Equal if given.1 >= GIVEN_MAX => return,
            Ordering::Equal => given.1 += 1,
            Ordering::Greater if place > self.reached + 1 => {}
            Ordering::Greater => *given = (place, 1),
        }
        match self.passed.get(&place) {
            Some(shown) => cx.send(Target::One(from), Message::Shown(shown.clone())),
            None if place > self.reached => {
                self.askers.insert(from, place);
                self.offer(from, place, cx);
            }
            None => {}
        }
    }

    /// Who holds the content of a place and has not come so far, too.
    fn offer(&self, to: Party, place: u64, cx: &mut impl Context<Self>) {
        let Some(ordered) = self.known.filter(|it| it.0.said.number == place) else { return };
        if let Some(item) = self.content(&ordered, cx) {
            let shown = Shown { by: self.me, ordered, item: Some(item) };
            cx.send(Target::One(to), Message::Shown(shown));
        }
    }

    /// Handles what stands at a place, as another shows it. (A5)
    fn on_shown(&mut self, from: Party, shown: Shown<V>, cx: &mut impl Context<Self>) {
        if shown.place() != self.reached + 1
            || self.checking.contains_key(&from)
            || self.barred.contains(&from)
        {
            return;
        }
        let Some(claim) = self.claim(&shown, cx) else {
            self.barred.insert(from);
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        };
        self.checking.insert(from, shown);
        cx.offload(Ticket::Check(from), Work::VerifySeals(vec![claim]));
    }

    /// The claim that a component said so; `None` if it does not even say so.
    fn claim(&self, shown: &Shown<V>, cx: &impl Context<Self>) -> Option<SealClaim> {
        let said = &shown.ordered.0.said;
        let fits = match &shown.item {
            Some(item) => said.vouchers != 0 && value_of(cx.scope(), item) == said.value,
            None => !self.is_due(&shown.ordered),
        };
        let member = self.members.member(shown.by)?;
        (fits && said.channel == self.tag(cx)).then(|| shown.ordered.claim(member.life.key))
    }

    fn on_checked(&mut self, from: Party, good: bool, cx: &mut impl Context<Self>) {
        let Some(shown) = self.checking.remove(&from) else { return };
        if !good {
            self.barred.insert(from);
            return cx.blame(Fault::suspected(from, FaultKind::BadSignature));
        }
        if shown.place() == self.reached + 1 {
            self.deliver(shown, cx);
        }
    }

    /// Watches while something waits for its place. (A6)
    fn try_watch(&mut self, cx: &mut impl Context<Self>) {
        let waits = !self.waiting.is_empty() || self.asking.is_some() || self.known.is_some();
        if waits && !self.watching && self.patience <= DOUBLINGS_MAX {
            self.watching = true;
            let within = Span::from_millis(PATIENCE_MS << self.patience);
            cx.consult(Ticket::Watch, Work::Trusted(Box::new(Call::Watch { within })));
        }
    }

    /// It waits for long. (A6)
    fn on_late(&mut self, cx: &mut impl Context<Self>) {
        self.watching = false;
        self.patience += 1;
        self.waiting.values().for_each(|item| self.vouch(item, cx));
        // The component may have had no time, or others did not know; or it missed what they know.
        self.asking = None;
        let next = self.reached + 1;
        if self.wanted.take().is_some() || self.heard.values().any(|it| *it >= next) {
            self.want(next, cx);
        }
    }

    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.live = true;
        // What was delivered does not wait.
        let numbers = self.numbers.clone();
        let passed = |party: &Party| numbers.get(party).copied().unwrap_or_default();
        self.waiting.retain(|party, item| item.number > passed(party));
        let call = Box::new(Call::Open(self.channel(cx)));
        cx.consult(Ticket::Open, Work::Trusted(call));
        cx.group().others().iter().for_each(|peer| self.resend(peer, cx));
    }

    /// Says again what a peer may have lost.
    fn resend(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if peer == self.me || !cx.group().parties().contains(peer) {
            return;
        }
        self.patience = 0;
        self.given.remove(&peer);
        if let Some(item) = self.waiting.get(&self.me).cloned() {
            cx.send(Target::One(peer), Message::Sent(item));
        }
        if self.reached > 0 {
            cx.send(Target::One(peer), Message::Reached(self.reached));
        }
        if let Some(place) = self.wanted {
            cx.send(Target::One(peer), Message::Ask(place));
        }
    }
}

/// What is vouched for: whose message it is, which, and the front of a digest, 184 bits. That head
/// tells everybody what is passed over, though nobody has its content any more.
fn value_of<V: Value>(scope: Scope, item: &Item<V>) -> [u8; 32] {
    let mut value = [0; 32];
    value[0] = item.sender.index() as u8;
    value[1..HEAD_BYTES].copy_from_slice(&item.number.to_be_bytes());
    let digest = Digest::of_encoded("maftia ordered item", &(scope, crate::digest_of(&item.value)));
    value[HEAD_BYTES..].copy_from_slice(&digest.0[..32 - HEAD_BYTES]);
    value
}

/// Whose message an ordered value is, and which.
fn head_of(value: &[u8; 32]) -> (usize, u64) {
    let mut number = [0; 8];
    number.copy_from_slice(&value[1..HEAD_BYTES]);
    (usize::from(value[0]), u64::from_be_bytes(number))
}

/// The part of an ordered value that is no digest.
const HEAD_BYTES: usize = 9;
