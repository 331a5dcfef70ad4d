//! The rules, one handler for each message.

use super::message::{Command, Message, Outcome, Record, Ticket};
use crate::broadcast::coded::fragments::{Fragments, own_copy};
use crate::broadcast::coded::parts::Parts;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Event, Fault, FaultKind, Party, PartySet, Protocol, Target, canary};
use maftia_crypto::{Code, CodedValue, Commitment, Decoded, Done, Encoded, Piece, Suite, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// One value of one sender.
#[derive(Clone, Debug, Hash)]
pub struct Dissemination<S: Suite> {
    sender: Party,
    code: Code,
    /// At the sender: the command is in the log.
    began: bool,
    /// At the sender: what is being encoded.
    value: Option<CodedValue>,
    /// At the sender: the command came after the last restart, so nobody has anything yet.
    pushes: bool,
    sought: Option<Sought>,
    fragments: Fragments,
    /// What D3 has sent of this server's fragment, until the value is held.
    own: BTreeMap<u8, Piece>,
    held: Option<(Commitment, CodedValue)>,
    /// At the sender: who is offered the value once it is encoded. (D5, D7)
    to_tell: PartySet,
    /// Whose fragments each peer was given since the last OFFER. (D7)
    given: BTreeMap<Party, PartySet>,
    /// To whom fragments go, and whose, once the value is encoded.
    to_give: BTreeSet<(Party, Party)>,
    /// It is being encoded.
    giving: bool,
    /// Whose pieces are not checked any more.
    liars: PartySet,
    /// While the log is replayed.
    parts: Parts,
    suite: PhantomData<S>,
}

/// What this server is to hold, or holds.
#[derive(Clone, Debug, Hash)]
struct Sought {
    commitment: Commitment,
    /// The layer above wants it; otherwise the sender named it.
    wanted: bool,
    /// Nothing more is needed: it is being decoded, is held, or is no value's.
    closed: bool,
    /// Whose fragment each peer was asked for. (D6)
    asked: BTreeMap<Party, Party>,
}

impl<S: Suite> Dissemination<S> {
    /// An instance in which `sender` disseminates; the code is that of the group's structure, see
    /// [`code_of`](crate::broadcast::coded::code_of).
    pub fn new(sender: Party, code: Code) -> Self {
        Self {
            sender,
            code,
            began: false,
            value: None,
            pushes: false,
            sought: None,
            fragments: Fragments::new(code),
            own: BTreeMap::new(),
            held: None,
            to_tell: PartySet::EMPTY,
            given: BTreeMap::new(),
            to_give: BTreeSet::new(),
            giving: false,
            liars: PartySet::EMPTY,
            parts: Parts::default(),
            suite: PhantomData,
        }
    }

    /// What a log that begins anew must have of this instance.
    pub fn records(&self) -> Vec<Record> {
        let held = self.held.as_ref();
        let Some(value) = held.map(|(_, value)| value).or(self.value.as_ref()) else {
            return Vec::new();
        };
        let mut records: Vec<Record> = Record::parts(value).collect();
        records.extend(self.began.then_some(Record::Began));
        records.extend(held.map(|(commitment, _)| Record::Held(*commitment)));
        records
    }
}

impl<S: Suite> Vocabulary for Dissemination<S> {
    const NAME: &'static str = "dissemination";
    type Command = Command;
    type Outcome = Outcome;
    type Message = Message;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record;
}

impl<S: Suite> Protocol for Dissemination<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        assert_eq!(self.code.n(), cx.group().n(), "the code is that of the group");
        match event {
            Event::Command(Command::Disseminate(value)) => self.on_disseminate(value, None, cx),
            Event::Command(Command::DisseminateEncoded(value, encoded)) => {
                self.on_disseminate(value, Some(encoded), cx);
            }
            Event::Command(Command::Want(commitment)) => self.on_wanted(commitment, cx),
            Event::Command(Command::Ask) => {
                if self.held.is_none() {
                    cx.send(Target::One(self.sender), Message::Ask);
                }
            }
            Event::Message { from, body } if from != cx.group().me() => match body {
                Message::Piece { commitment, owner, piece } => {
                    self.on_piece(from, commitment, owner, piece, cx);
                }
                Message::Offer(commitment) => self.on_offer(from, commitment, cx),
                Message::Want { commitment, owner } => self.on_want(from, commitment, owner, cx),
                Message::Ask => self.on_ask(from, cx),
            },
            Event::Message { .. } => {}
            Event::Done { ticket, done } => match (ticket, done) {
                (Ticket::Encode, Done::Encoded(encoded)) => self.on_encoded(encoded, cx),
                (Ticket::Decode(commitment), Done::Decoded(decoded)) => {
                    self.on_decoded(commitment, decoded, cx);
                }
                (Ticket::Give, Done::Encoded(encoded)) => self.give(&encoded, cx),
                (ticket, done) => panic!("{done:?} does not answer {ticket:?}"),
            },
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
            Event::Timer(never) => match never {},
        }
    }

    /// True while it holds a value. It gives it to others for as long as it is kept.
    fn is_settled(&self) -> bool {
        self.held.is_some()
    }

    fn footprint(&self) -> usize {
        let asked = self.sought.as_ref().map_or(0, |sought| sought.asked.len());
        self.fragments.footprint() + self.own.len() + self.to_give.len() + asked
    }
}

impl<S: Suite> Dissemination<S> {
    /// D1, until the value is encoded.
    fn on_disseminate(
        &mut self,
        value: CodedValue,
        encoded: Option<Encoded>,
        cx: &mut impl Context<Self>,
    ) {
        assert_eq!(cx.group().me(), self.sender, "only the sender disseminates");
        if self.began {
            return;
        }
        (self.began, self.pushes) = (true, true);
        Record::parts(&value).for_each(|part| cx.persist(part));
        cx.persist(Record::Began);
        self.value = Some(value);
        match encoded {
            Some(encoded) => self.on_encoded(encoded, cx),
            None => self.offload_encode(cx),
        }
    }

    /// D1. After a restart others may have everything: it is offered to them.
    fn on_encoded(&mut self, encoded: Encoded, cx: &mut impl Context<Self>) {
        let Some(value) = self.value.take() else { return };
        let commitment = encoded.commitment;
        // Others may have been quicker to give what was sent before a restart; or another process
        // with this server's keys has had something else ordered.
        let is_other = self.sought.as_ref().is_some_and(|it| it.commitment != commitment);
        if is_other || self.held.is_some() {
            return;
        }
        self.sought = Some(Sought::closed(commitment));
        cx.note(Record::Held(commitment));
        self.hold(commitment, value, cx);
        if self.pushes {
            self.push(&encoded, cx);
        }
    }

    /// Stripe by stripe, so that all can send on the first while the last is under way.
    fn push(&self, encoded: &Encoded, cx: &mut impl Context<Self>) {
        let (me, commitment) = (cx.group().me(), encoded.commitment);
        for (number, own) in encoded.fragments[me.index()].iter().enumerate() {
            for peer in cx.group().others().iter() {
                let piece = encoded.fragments[peer.index()][number].clone();
                cx.send(Target::One(peer), Message::Piece { commitment, owner: peer, piece });
            }
            let piece = own.clone();
            cx.send(Target::Others, Message::Piece { commitment, owner: me, piece });
        }
    }

    /// D2: the order has named this.
    fn on_wanted(&mut self, commitment: Commitment, cx: &mut impl Context<Self>) {
        match &mut self.sought {
            Some(sought) if sought.commitment == commitment => {
                if sought.closed || sought.wanted {
                    return;
                }
                sought.wanted = true;
            }
            _ => {
                self.held = None;
                canary!("dissemination-mixes-fragments", (), self.own.clear());
                self.given.clear();
                self.to_give.clear();
                self.fragments = Fragments::new(self.code);
                self.sought = Some(Sought { wanted: true, ..Sought::open(commitment) });
            }
        }
        for peer in cx.group().others().iter() {
            self.ask(peer, cx);
        }
    }

    /// The sender has named a commitment: D2. False if it had named another.
    fn on_named(&mut self, commitment: Commitment, cx: &mut impl Context<Self>) -> bool {
        match &self.sought {
            None => {
                self.sought = Some(Sought::open(commitment));
                true
            }
            Some(sought) if sought.commitment == commitment => true,
            Some(_) => {
                self.distrust(self.sender, FaultKind::Equivocation, cx);
                false
            }
        }
    }

    /// D2 to D4.
    fn on_piece(
        &mut self,
        from: Party,
        commitment: Commitment,
        owner: Party,
        piece: Piece,
        cx: &mut impl Context<Self>,
    ) {
        if self.liars.contains(from) || !cx.group().parties().contains(owner) {
            return;
        }
        let me = cx.group().me();
        if from == self.sender && !self.on_named(commitment, cx) {
            return;
        }
        let is_open = match &self.sought {
            Some(sought) => sought.commitment == commitment && !sought.closed,
            None => owner == from,
        };
        if !is_open {
            return;
        }
        self.fragments.drop_other(owner, commitment);
        match self.fragments.add(owner, commitment, &piece, true) {
            Ok(true) => {}
            Ok(false) => return,
            Err(kind) => return self.distrust(from, kind, cx),
        }
        if owner == me && from == self.sender {
            let piece = Piece { bytes: own_copy(&piece.bytes), ..piece };
            self.send_own(commitment, piece, cx);
        }
        self.progress(cx);
    }

    /// D3.
    fn send_own(&mut self, commitment: Commitment, piece: Piece, cx: &mut impl Context<Self>) {
        if self.code.k() > 2 && !self.own.contains_key(&piece.number) {
            self.own.insert(piece.number, piece.clone());
            let owner = cx.group().me();
            cx.send(Target::Others, Message::Piece { commitment, owner, piece });
        }
    }

    /// D4, D6: there is something new.
    fn progress(&mut self, cx: &mut impl Context<Self>) {
        let Some(sought) = self.sought.as_mut().filter(|sought| !sought.closed) else { return };
        let complete = self.fragments.complete(sought.commitment);
        if complete.len() >= self.code.k() {
            sought.closed = true;
            sought.asked.clear();
            let (code, me, commitment) = (self.code, cx.group().me(), sought.commitment);
            let fragments = self.fragments.take(commitment, me, None);
            let ticket = Ticket::Decode(commitment);
            return cx.offload(ticket, Work::Decode { code, commitment, fragments, me });
        }
        let done = sought.asked.iter().filter(|(_, owner)| complete.contains(**owner));
        for peer in done.map(|(peer, _)| *peer).collect::<PartySet>().iter() {
            self.ask(peer, cx);
        }
    }

    /// D4: the value, or proof that there is none.
    fn on_decoded(
        &mut self,
        commitment: Commitment,
        decoded: Option<Decoded>,
        cx: &mut impl Context<Self>,
    ) {
        let is_sought = self.sought.as_ref().is_some_and(|it| it.commitment == commitment);
        if !is_sought || self.held.is_some() {
            return;
        }
        self.fragments.forget();
        let Some(Decoded { value, fragment }) = decoded else {
            return self.distrust(self.sender, FaultKind::InvalidValue, cx);
        };
        for record in Record::parts(&value).chain([Record::Held(commitment)]) {
            canary!("dissemination-held-not-durable", cx.note(record), cx.persist(record));
        }
        for piece in fragment {
            self.send_own(commitment, piece, cx);
        }
        self.hold(commitment, value, cx);
    }

    /// D5.
    fn hold(&mut self, commitment: Commitment, value: CodedValue, cx: &mut impl Context<Self>) {
        self.held = Some((commitment, value.clone()));
        self.own.clear();
        cx.output(Outcome::Held { commitment, value });
        for peer in std::mem::take(&mut self.to_tell).iter() {
            self.offer(peer, cx);
        }
    }

    /// D5: what this server holds.
    fn offer(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let Some((commitment, _)) = &self.held else { return };
        self.given.remove(&peer);
        cx.send(Target::One(peer), Message::Offer(*commitment));
    }

    /// D6.
    fn on_offer(&mut self, from: Party, commitment: Commitment, cx: &mut impl Context<Self>) {
        if self.liars.contains(from) || (from == self.sender && !self.on_named(commitment, cx)) {
            return;
        }
        if self.sought.as_ref().is_some_and(|sought| sought.commitment == commitment) {
            self.ask(from, cx);
        }
    }

    /// D6: for a fragment that nobody else was asked for, if there is one; of several, servers
    /// differ in which comes first.
    fn ask(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let Some(sought) = self.sought.as_mut().filter(|sought| !sought.closed) else { return };
        sought.asked.remove(&peer);
        let (n, commitment) = (self.code.n(), sought.commitment);
        let complete = self.fragments.complete(commitment);
        let lacking = || {
            let turned = (0..n).map(move |turn| Party::new((peer.index() + turn) % n));
            turned.filter(|owner| !complete.contains(*owner))
        };
        let under_way: PartySet = sought.asked.values().copied().collect();
        let free = lacking().find(|owner| !under_way.contains(*owner));
        let Some(owner) = free.or_else(|| lacking().next()) else { return };
        sought.asked.insert(peer, owner);
        cx.send(Target::One(peer), Message::Want { commitment, owner });
    }

    /// D7.
    fn on_want(
        &mut self,
        from: Party,
        commitment: Commitment,
        owner: Party,
        cx: &mut impl Context<Self>,
    ) {
        if !cx.group().parties().contains(owner) {
            return;
        }
        let is_held = self.held.as_ref().is_some_and(|(held, _)| *held == commitment);
        if is_held && self.given.entry(from).or_default().insert(owner) {
            self.to_give.insert((from, owner));
            self.offload_give(cx);
        }
    }

    fn on_ask(&mut self, from: Party, cx: &mut impl Context<Self>) {
        match &self.held {
            Some((commitment, _)) if cx.group().me() == self.sender => {
                cx.send(Target::One(from), Message::Offer(*commitment));
            }
            Some(_) => {}
            None => drop(self.to_tell.insert(from)),
        }
    }

    fn offload_give(&mut self, cx: &mut impl Context<Self>) {
        let Some((_, value)) = self.held.as_ref().filter(|_| !self.to_give.is_empty()) else {
            return;
        };
        if !std::mem::replace(&mut self.giving, true) {
            cx.offload(Ticket::Give, Work::Encode { code: self.code, value: value.clone() });
        }
    }

    /// D7.
    fn give(&mut self, encoded: &Encoded, cx: &mut impl Context<Self>) {
        self.giving = false;
        let commitment = encoded.commitment;
        if self.held.as_ref().is_none_or(|(held, _)| *held != commitment) {
            // The order has named something else meanwhile, which somebody may want by now.
            return self.offload_give(cx);
        }
        for (to, owner) in std::mem::take(&mut self.to_give) {
            for piece in encoded.fragments[owner.index()].iter().cloned() {
                cx.send(Target::One(to), Message::Piece { commitment, owner, piece });
            }
        }
    }

    fn on_restore(&mut self, record: Record, cx: &mut impl Context<Self>) {
        match record {
            Record::Part { number, bytes } => self.parts.push(number, bytes),
            Record::Began => {
                self.began = true;
                self.value = self.parts.assemble();
            }
            Record::Held(commitment) => {
                let Some(value) = self.parts.assemble().or_else(|| self.value.take()) else {
                    return;
                };
                self.sought = Some(Sought::closed(commitment));
                self.held = Some((commitment, value.clone()));
                cx.output(Outcome::Held { commitment, value });
            }
        }
    }

    /// After a restart messages of ours may be missing anywhere. (D5)
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.parts.clear();
        if self.value.is_some() {
            self.to_tell = cx.group().others();
            self.offload_encode(cx);
        }
        for peer in cx.group().others().iter() {
            self.offer(peer, cx);
        }
    }

    /// D5.
    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if self.held.is_some() {
            return self.offer(peer, cx);
        }
        let Some(sought) = &self.sought else { return };
        let (commitment, owner) = (sought.commitment, cx.group().me());
        for piece in self.own.values().cloned() {
            cx.send(Target::One(peer), Message::Piece { commitment, owner, piece });
        }
    }

    fn offload_encode(&self, cx: &mut impl Context<Self>) {
        if let Some(value) = self.value.clone() {
            cx.offload(Ticket::Encode, Work::Encode { code: self.code, value });
        }
    }

    /// No honest server sends such a thing: it is blamed once, and not listened to any more.
    fn distrust(&mut self, party: Party, kind: FaultKind, cx: &mut impl Context<Self>) {
        if self.liars.insert(party) {
            cx.blame(Fault::suspected(party, kind));
        }
    }
}

impl Sought {
    fn open(commitment: Commitment) -> Self {
        Self { commitment, wanted: false, closed: false, asked: BTreeMap::new() }
    }

    fn closed(commitment: Commitment) -> Self {
        Self { closed: true, ..Self::open(commitment) }
    }
}
