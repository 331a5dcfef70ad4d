//! The rules, one handler for each message.

use super::fragments::{Fragments, Own, own_copy};
use super::message::{Command, Message, Outcome, Record, Ticket};
use super::parts::Parts;
use crate::tally::Tally;
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::{Context, Event, Fault, FaultKind, Party, PartySet, Protocol, Target};
use maftia_crypto::{Code, CodedValue, Commitment, Decoded, Done, Encoded, Piece, Suite, Work};
use std::marker::PhantomData;

/// One coded broadcast of one sender.
#[derive(Clone, Debug, Hash)]
pub struct CodedBroadcast<S: Suite> {
    sender: Party,
    code: Code,
    /// At the sender: the command is in the log.
    began: bool,
    /// At the sender: what is being encoded, or was broadcast before a restart.
    value: Option<CodedValue>,
    /// At the sender: the command came after the last restart, so nobody has anything yet.
    pushes: bool,
    /// At the sender, until delivery: everybody's fragments.
    outgoing: Vec<Vec<Piece>>,
    own: Option<Own>,
    fragments: Fragments,
    decoding: Option<Decoding>,
    readied: Option<Commitment>,
    readies: Tally<Commitment>,
    delivered: Option<Commitment>,
    /// Whose pieces are not checked any more.
    liars: PartySet,
    /// Whose next WANT is answered.
    answered_next: PartySet,
    /// Parts of a value while the log is replayed.
    parts: Parts,
    /// Our fragment in place of one of something else, while the log is replayed.
    corrected: Option<Own>,
    suite: PhantomData<S>,
}

/// The one commitment that is decoded.
#[derive(Clone, Debug, Hash)]
enum Decoding {
    /// The work is out.
    Pending(Commitment),
    /// It is this value's. With our fragment of it, if we have echoed something else. (R6)
    Right(Commitment, CodedValue, Option<Vec<Piece>>),
    /// It is no value's.
    Wrong,
}

impl<S: Suite> CodedBroadcast<S> {
    /// An instance in which `sender` broadcasts; the code is that of the group's structure, see
    /// [`code_of`](super::code_of).
    pub fn new(sender: Party, code: Code) -> Self {
        Self {
            sender,
            code,
            began: false,
            value: None,
            pushes: false,
            outgoing: Vec::new(),
            own: None,
            fragments: Fragments::new(code),
            decoding: None,
            readied: None,
            readies: Tally::default(),
            delivered: None,
            liars: PartySet::EMPTY,
            answered_next: PartySet::all(code.n()),
            parts: Parts::default(),
            corrected: None,
            suite: PhantomData,
        }
    }

    /// What a log that begins anew must have of this instance; `delivered` is the value, once it
    /// was delivered. The value of another sender is not written again: after a restart it comes
    /// from the fragments, of which each server writes its own.
    pub fn records(&self, delivered: Option<&CodedValue>) -> Vec<Record> {
        let mut records = Vec::new();
        if self.began {
            let encoded = match &self.decoding {
                Some(Decoding::Right(_, value, _)) => Some(value),
                _ => None,
            };
            let value = delivered.or(self.value.as_ref()).or(encoded);
            records.extend(value.into_iter().flat_map(Record::parts));
            records.push(Record::Began);
        } else if let Some(own) = &self.own {
            records.extend(own.records());
        }
        records.extend(self.readied.map(Record::Readied));
        records.extend(self.delivered.filter(|_| self.began).map(Record::Delivered));
        records
    }
}

impl<S: Suite> Vocabulary for CodedBroadcast<S> {
    const NAME: &'static str = "coded";
    type Command = Command;
    type Outcome = Outcome;
    type Message = Message;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record;
}

impl<S: Suite> Protocol for CodedBroadcast<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        assert_eq!(self.code.n(), cx.group().n(), "the code is that of the group");
        match event {
            Event::Command(Command::Broadcast(value)) => self.on_broadcast(value, None, cx),
            Event::Command(Command::BroadcastEncoded(value, encoded)) => {
                self.on_broadcast(value, Some(encoded), cx);
            }
            Event::Command(Command::Ask) => self.on_ask(cx),
            Event::Message { from, body } => match body {
                Message::Send { commitment, piece } => self.on_send(from, commitment, piece, cx),
                Message::Echo { commitment, piece } => {
                    self.on_piece(from, commitment, &piece, false, cx);
                }
                Message::Give { commitment, piece } => {
                    self.on_piece(from, commitment, &piece, true, cx);
                }
                Message::Ready(commitment) => self.on_ready(from, commitment, cx),
                Message::Offer(commitment) => self.on_offer(from, commitment, cx),
                Message::Want { own } => self.on_want(from, own, cx),
            },
            Event::Done { ticket, done } => match (ticket, done) {
                (Ticket::Encode, Done::Encoded(encoded)) => self.on_encoded(encoded, cx),
                (Ticket::Decode, Done::Decoded(decoded)) => self.on_decoded(decoded, cx),
                (ticket, done) => panic!("{done:?} does not answer {ticket:?}"),
            },
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
            Event::Timer(never) => match never {},
        }
    }

    /// True once it has delivered. It still helps others for as long as it is kept.
    fn is_settled(&self) -> bool {
        self.delivered.is_some()
    }

    fn footprint(&self) -> usize {
        let own = self.own.as_ref().map_or(0, |own| own.pieces.len());
        let outgoing: usize = self.outgoing.iter().map(Vec::len).sum();
        self.readies.len() + self.fragments.footprint() + own + outgoing
    }
}

impl<S: Suite> CodedBroadcast<S> {
    /// R1, until the value is encoded.
    fn on_broadcast(
        &mut self,
        value: CodedValue,
        encoded: Option<Encoded>,
        cx: &mut impl Context<Self>,
    ) {
        assert_eq!(cx.group().me(), self.sender, "only the sender broadcasts");
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

    fn on_ask(&mut self, cx: &mut impl Context<Self>) {
        if self.delivered.is_none() {
            cx.send(Target::Others, Message::Want { own: true });
        }
    }

    /// R1. After a restart others may have everything: they are asked.
    fn on_encoded(&mut self, encoded: Encoded, cx: &mut impl Context<Self>) {
        let Encoded { commitment, fragments } = encoded;
        let me = cx.group().me();
        let Some(value) = self.value.take() else { return };
        let own = fragments[me.index()].clone();
        self.own = Some(Own::whole(commitment, own.clone()));
        if self.delivered.is_none() {
            self.decoding = Some(Decoding::Right(commitment, value, None));
            self.outgoing = fragments;
        }
        // Another process with this server's keys may have been quicker, and have had it delivered.
        if self.pushes && self.delivered.is_none() {
            self.push(commitment, own, cx);
        } else {
            self.offer(Target::Others, cx);
        }
        self.progress(commitment, cx);
    }

    /// Stripe by stripe, so that all can echo the first while the last is under way.
    fn push(&self, commitment: Commitment, own: Vec<Piece>, cx: &mut impl Context<Self>) {
        for (number, piece) in own.into_iter().enumerate() {
            for peer in cx.group().others().iter() {
                let piece = self.outgoing[peer.index()][number].clone();
                cx.send(Target::One(peer), Message::Send { commitment, piece });
            }
            cx.send(Target::Others, Message::Echo { commitment, piece });
        }
    }

    /// R2.
    fn on_send(
        &mut self,
        from: Party,
        commitment: Commitment,
        piece: Piece,
        cx: &mut impl Context<Self>,
    ) {
        let me = cx.group().me();
        if from != self.sender || from == me {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        if self.delivered.is_some() || self.liars.contains(from) {
            return;
        }
        if let Some(own) = &self.own {
            if own.commitment != commitment {
                return self.distrust(from, FaultKind::Equivocation, cx);
            }
            if own.pieces.contains_key(&piece.number) {
                return;
            }
        }
        if !commitment.holds(self.code, me, &piece) {
            return self.distrust(from, FaultKind::BadShare, cx);
        }
        let piece = Piece { bytes: own_copy(&piece.bytes), ..piece };
        self.echo(commitment, piece, cx);
        self.progress(commitment, cx);
    }

    /// R3, R5, R8: one more piece of a peer's fragment.
    fn on_piece(
        &mut self,
        from: Party,
        commitment: Commitment,
        piece: &Piece,
        given: bool,
        cx: &mut impl Context<Self>,
    ) {
        if self.delivered.is_some() || self.liars.contains(from) || from == cx.group().me() {
            return;
        }
        match self.fragments.add(from, commitment, piece, given) {
            Ok(true) => self.progress(commitment, cx),
            Ok(false) => {}
            Err(kind) => self.distrust(from, kind, cx),
        }
    }

    /// R4, R5.
    fn on_ready(&mut self, from: Party, commitment: Commitment, cx: &mut impl Context<Self>) {
        if self.readies.insert(from, commitment).is_err() {
            return cx.blame(Fault::suspected(from, FaultKind::Equivocation));
        }
        self.progress(commitment, cx);
    }

    /// R7: is there something in it for us?
    fn on_offer(&mut self, from: Party, commitment: Commitment, cx: &mut impl Context<Self>) {
        if self.delivered.is_some() || self.liars.contains(from) || from == cx.group().me() {
            return;
        }
        let own = self.own.as_ref().filter(|_| from == self.sender);
        if own.is_some_and(|own| own.commitment != commitment) {
            return self.distrust(from, FaultKind::Equivocation, cx);
        }
        let lacks_own = from == self.sender && !own.is_some_and(|own| own.is_complete(self.code));
        // What it echoed may have been of something else, before it delivered.
        if lacks_own || !self.fragments.complete(commitment).contains(from) {
            cx.send(Target::One(from), Message::Want { own: lacks_own });
        }
    }

    /// R7: the first after an OFFER.
    fn on_want(&mut self, from: Party, own: bool, cx: &mut impl Context<Self>) {
        if !self.answered_next.remove(from) || from == cx.group().me() {
            return;
        }
        let to = Target::One(from);
        if let Some(commitment) = self.readied {
            cx.send(to, Message::Ready(commitment));
        }
        let Some(given) = self.given() else { return };
        let commitment = given.commitment;
        let fragment = self.outgoing.get(from.index()).filter(|_| own);
        for piece in fragment.into_iter().flatten() {
            cx.send(to, Message::Send { commitment, piece: piece.clone() });
        }
        let is_given = self.delivered.is_some() || given.corrected;
        for piece in given.pieces.values().cloned() {
            let message = match is_given {
                true => Message::Give { commitment, piece },
                false => Message::Echo { commitment, piece },
            };
            cx.send(to, message);
        }
    }

    /// R3, R5: the value, or proof that there is none.
    fn on_decoded(&mut self, decoded: Option<Decoded>, cx: &mut impl Context<Self>) {
        let Some(Decoding::Pending(commitment)) = self.decoding else { return };
        let Some(Decoded { value, fragment }) = decoded else {
            self.decoding = Some(Decoding::Wrong);
            return self.distrust(self.sender, FaultKind::InvalidValue, cx);
        };
        // R6. At the sender the fragment follows from the value, which is in its log.
        let is_free = self.own.as_ref().is_none_or(|own| own.commitment == commitment);
        let mut corrected = None;
        if !is_free {
            corrected = Some(fragment);
        } else if cx.group().me() != self.sender {
            for piece in fragment {
                self.echo(commitment, piece, cx);
            }
        }
        self.decoding = Some(Decoding::Right(commitment, value, corrected));
        self.progress(commitment, cx);
    }

    fn on_restore(&mut self, record: Record, cx: &mut impl Context<Self>) {
        match record {
            Record::Part { number, bytes } => self.parts.push(number, bytes),
            Record::Began => {
                self.began = true;
                self.value = self.parts.assemble();
            }
            Record::Echoed { commitment, piece } => {
                let own = self.own.get_or_insert_with(|| Own::new(commitment));
                own.pieces.insert(piece.number, piece);
            }
            Record::Corrected { commitment, piece } => {
                let own = self.corrected.get_or_insert_with(|| Own::new(commitment));
                own.corrected = true;
                own.pieces.insert(piece.number, piece);
            }
            Record::Readied(commitment) => self.readied = Some(commitment),
            Record::Delivered(commitment) => {
                self.delivered = Some(commitment);
                let value = if self.began { self.value.clone() } else { self.parts.assemble() };
                if let Some(value) = value {
                    cx.output(Outcome::Delivered { commitment, value });
                }
            }
        }
    }

    /// After a restart messages of ours may be missing anywhere.
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        self.parts.clear();
        // In part it is of no use: a crash has cut it off.
        let corrected = self.corrected.take().filter(|own| own.is_complete(self.code));
        self.own = corrected.or(self.own.take());
        if let Some(commitment) = self.readied {
            cx.send(Target::All, Message::Ready(commitment));
        }
        self.offer(Target::Others, cx);
        if self.value.is_some() {
            self.offload_encode(cx);
        }
        if let Some(commitment) = self.own.as_ref().map(|own| own.commitment) {
            self.progress(commitment, cx);
        }
    }

    /// R7.
    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if let Some(commitment) = self.readied {
            cx.send(Target::One(peer), Message::Ready(commitment));
        }
        self.offer(Target::One(peer), cx);
    }

    /// Does what has become possible under this commitment: R3, R4, R5.
    fn progress(&mut self, commitment: Commitment, cx: &mut impl Context<Self>) {
        if self.delivered.is_some() {
            return;
        }
        let structure = cx.group().structure();
        let holders = self.holders(commitment, cx.group().me());
        let readied = self.readies.supporters(commitment);
        let is_echoed = canary!(
            "coded-ready-on-few",
            structure.has_honest(holders),
            structure.is_quorum(holders)
        );
        let is_known = structure.has_honest(readied);
        let is_certain = structure.has_honest_quorum(readied);
        if is_known {
            self.ready(commitment, cx);
        }
        if self.decoding.is_none() && (is_echoed || (is_certain && holders.len() >= self.code.k()))
        {
            self.offload_decode(commitment, cx);
        }
        match &self.decoding {
            Some(Decoding::Right(decoded, ..)) if *decoded == commitment => {}
            _ => return,
        }
        if is_echoed {
            self.ready(commitment, cx);
        }
        if is_certain {
            self.deliver(cx);
        }
    }

    fn ready(&mut self, commitment: Commitment, cx: &mut impl Context<Self>) {
        if self.readied.is_some() {
            return;
        }
        self.readied = Some(commitment);
        cx.persist(Record::Readied(commitment));
        cx.send(Target::All, Message::Ready(commitment));
    }

    /// R5; R6 if our fragment is of something else.
    fn deliver(&mut self, cx: &mut impl Context<Self>) {
        let Some(Decoding::Right(commitment, value, corrected)) = self.decoding.take() else {
            return;
        };
        self.delivered = Some(commitment);
        if let Some(fragment) = corrected {
            let own = Own { corrected: true, ..Own::whole(commitment, fragment) };
            own.records().for_each(|record| cx.persist(record));
            self.own = Some(own);
        }
        if !self.began {
            Record::parts(&value).for_each(|part| cx.note(part));
        }
        cx.note(Record::Delivered(commitment));
        cx.output(Outcome::Delivered { commitment, value });
        self.outgoing = Vec::new();
        self.fragments.forget();
    }

    fn offload_encode(&self, cx: &mut impl Context<Self>) {
        if let Some(value) = self.value.clone() {
            cx.offload(Ticket::Encode, Work::Encode { code: self.code, value });
        }
    }

    fn offload_decode(&mut self, commitment: Commitment, cx: &mut impl Context<Self>) {
        let (code, me) = (self.code, cx.group().me());
        let fragments = self.fragments.take(commitment, me, self.own.as_ref());
        self.decoding = Some(Decoding::Pending(commitment));
        cx.offload(Ticket::Decode, Work::Decode { code, commitment, fragments, me });
    }

    /// Logs a piece of our fragment and sends it to all, if it is news.
    fn echo(&mut self, commitment: Commitment, piece: Piece, cx: &mut impl Context<Self>) {
        let own = self.own.get_or_insert_with(|| Own::new(commitment));
        if own.pieces.contains_key(&piece.number) {
            return;
        }
        own.pieces.insert(piece.number, piece.clone());
        cx.persist(Record::Echoed { commitment, piece: piece.clone() });
        cx.send(Target::Others, Message::Echo { commitment, piece });
    }

    /// R7.
    fn offer(&mut self, to: Target, cx: &mut impl Context<Self>) {
        let Some(commitment) = self.given().map(|own| own.commitment) else { return };
        match to {
            Target::One(peer) => drop(self.answered_next.insert(peer)),
            Target::All | Target::Others => self.answered_next = cx.group().parties(),
        }
        cx.send(to, Message::Offer(commitment));
    }

    /// Our fragment, if it is of any use to others.
    fn given(&self) -> Option<&Own> {
        let useful = |own: &&Own| self.delivered.is_none_or(|it| it == own.commitment);
        self.own.as_ref().filter(useful)
    }

    /// Whose fragments under this commitment are complete here.
    fn holders(&self, commitment: Commitment, me: Party) -> PartySet {
        let mut holders = self.fragments.complete(commitment);
        let own = self.own.as_ref().filter(|own| own.commitment == commitment);
        if own.is_some_and(|own| own.is_complete(self.code)) {
            holders.insert(me);
        }
        holders
    }

    /// No honest server sends such a thing: it is blamed once, and not listened to any more.
    fn distrust(&mut self, party: Party, kind: FaultKind, cx: &mut impl Context<Self>) {
        self.liars.insert(party);
        cx.blame(Fault::suspected(party, kind));
    }
}
