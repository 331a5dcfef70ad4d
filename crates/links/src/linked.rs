use crate::frame::{Frame, MESSAGE_BYTES_MAX, Packet};
use crate::inbound::Due;
use crate::peer::{Conversation, Peer, PeerStatus};
use crate::{ACK_AFTER, GREET_AFTER_FIRST, KEEP_ALIVE_EVERY, window_bytes};
use maftia_base::protocol::{Timed, TimedProtocol, Vocabulary};
use maftia_base::time::{Duration, Time};
use maftia_base::wire::{Bytes, Wire};
use maftia_base::{Context, Event, Fault, FaultKind, Group, Party, Protocol, Scope, Target};
use std::collections::BTreeMap;

/// A protocol with links underneath: a driver may lose, repeat and reorder what it sends.
///
/// Commands, outcomes, records and work are those of the protocol. To the driver's
/// [`Event::Reconnected`] the link answers by itself.
#[derive(Clone, Debug, Hash)]
pub struct Linked<P> {
    inner: P,
    peers: BTreeMap<Party, Peer>,
    /// How long to wait before those that were never heard are greeted again.
    greet_after: Duration,
}

/// When a link acts without being spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkTimer {
    /// The acknowledgement to this peer has waited long enough.
    Acknowledge(Party),
    /// This peer's acknowledgement may be missing.
    Resend(Party),
    /// The protocol may be told `Reconnected` of this peer again.
    Reconnect(Party),
    /// Say something to those who have heard nothing of late.
    KeepAlive,
}

impl<P> Linked<P> {
    /// Puts links under `inner`. `incarnation` must differ from that of any earlier run of this
    /// server (a clock or random number will do): a link corrects itself if it is smaller. (R2, R3)
    pub fn new(inner: P, group: &Group, incarnation: u64) -> Self {
        let window = window_bytes(group.n());
        // 0 on the wire means "not known".
        let peer = |party| (party, Peer::new(incarnation.max(1), window));
        let peers = group.others().iter().map(peer).collect();
        Self { inner, peers, greet_after: GREET_AFTER_FIRST }
    }

    /// The protocol.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// The link to `party`; `None` for this server itself.
    pub fn status(&self, party: Party) -> Option<PeerStatus> {
        self.peers.get(&party).map(Peer::status)
    }
}

impl<P: Protocol<Message: Wire>> Vocabulary for Linked<P> {
    const NAME: &'static str = P::NAME;
    type Command = P::Command;
    type Outcome = P::Outcome;
    type Message = Packet<P::Message>;
    type Timer = LinkTimer;
    type Ticket = P::Ticket;
    type Work = P::Work;
    type Done = P::Done;
    type Record = P::Record;
}

impl<P: Protocol<Message: Wire>> TimedProtocol for Linked<P> {
    fn handle_timed(&mut self, event: Event<Self>, cx: &mut impl Timed<Self>) {
        match event {
            Event::Command(command) => self.step(Event::Command(command), cx),
            Event::Done { ticket, done } => self.step(Event::Done { ticket, done }, cx),
            Event::Restore(record) => return self.step_silently(record, cx),
            Event::Resumed => {
                self.step(Event::Resumed, cx);
                self.on_keep_alive(cx);
            }
            Event::Message { from, body: Packet::Frame(frame) } => self.on_frame(from, frame, cx),
            Event::Message { from, body: Packet::Local(body) } if from == cx.group().me() => {
                self.step(Event::Message { from, body }, cx);
            }
            Event::Message { from, body: Packet::Local(_) } => {
                cx.blame(Fault::suspected(from, FaultKind::Malformed));
            }
            Event::Reconnected(party) => self.on_transport_reconnected(party, cx),
            Event::Timer(timer) => self.on_timer(timer, cx),
        }
        self.settle(cx);
    }

    /// Never: a peer may come back and ask.
    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        let held = self.peers.values().map(|peer| peer.out.len() + peer.inn.held());
        Protocol::footprint(&self.inner) + held.sum::<usize>()
    }
}

impl<P: Protocol<Message: Wire>> Linked<P> {
    /// Takes a frame apart: conversation, acknowledgement, messages. (R1 to R5, R9)
    fn on_frame(&mut self, from: Party, frame: Frame, cx: &mut impl Timed<Self>) {
        let (place, now) = (place(cx), cx.now());
        let Some(peer) = self.peers.get_mut(&from).filter(|_| frame.place == place) else {
            return;
        };
        if let Conversation::Other = peer.hear(frame.from, frame.to, now) {
            return;
        }
        match peer.on_acknowledgement(&frame, now) {
            Ok(Some((first, lost))) => {
                let repair = peer.frame(place, first, lost, now);
                cx.send(Target::One(from), Packet::Frame(repair));
            }
            Ok(None) => {}
            Err(_) => return cx.blame(Fault::suspected(from, FaultKind::Malformed)),
        }
        let messages = frame.messages.into_vec().into_iter().map(|payload| payload.into_bytes());
        peer.hear_lapses(frame.lapses);
        let (ready, flood) = peer.inn.accept(frame.first, messages);
        peer.traffic.messages_delivered += ready.len() as u64;
        if flood.is_err() {
            cx.blame(Fault::suspected(from, FaultKind::Flood));
        }
        // Told first, the protocol's answers to these messages are not dropped.
        self.tell(from, now, cx);
        for bytes in ready {
            match P::Message::from_wire(bytes) {
                Ok(body) => self.step(Event::Message { from, body }, cx),
                Err(_) => cx.blame(Fault::suspected(from, FaultKind::Malformed)),
            }
        }
    }

    /// What was under way may be lost: starts again without waiting. (R6)
    fn on_transport_reconnected(&mut self, party: Party, cx: &mut impl Timed<Self>) {
        let now = cx.now();
        if let Some(peer) = self.peers.get_mut(&party) {
            peer.out.rewind(now);
            // Says hello even if there is nothing to repeat.
            peer.inn.tell_now();
        }
    }

    fn on_timer(&mut self, timer: LinkTimer, cx: &mut impl Timed<Self>) {
        match timer {
            LinkTimer::KeepAlive => self.on_keep_alive(cx),
            LinkTimer::Acknowledge(party) => self.on_acknowledge(party),
            LinkTimer::Resend(party) => self.on_resend(party, cx.now()),
            LinkTimer::Reconnect(party) => {
                // `settle` tells the protocol, or arms the timer again if it is too early.
                self.peers.get_mut(&party).into_iter().for_each(|it| it.reconnect_armed = false);
            }
        }
    }

    /// Speaks to those who have not heard from us of late, and to those whom we have not heard at
    /// all: as a rule this server has just started, and its first words found no channel. (R2)
    fn on_keep_alive(&mut self, cx: &mut impl Timed<Self>) {
        let now = cx.now();
        for peer in self.peers.values_mut() {
            peer.keep_alive(now);
        }
        let all_known = self.peers.values().all(Peer::is_known);
        let wait = if all_known { KEEP_ALIVE_EVERY } else { self.greet_after };
        self.greet_after = Duration(2 * self.greet_after.0).min(KEEP_ALIVE_EVERY);
        cx.arm(LinkTimer::KeepAlive, wait);
    }

    /// No message came for the acknowledgement to ride on. (R5)
    fn on_acknowledge(&mut self, party: Party) {
        if let Some(peer) = self.peers.get_mut(&party) {
            peer.ack_armed = false;
            if peer.owes_acknowledgement(Due::Soon) {
                peer.inn.tell_now();
            }
        }
    }

    /// Starts again if the peer's acknowledgement is overdue; else the timer was early. (R6)
    fn on_resend(&mut self, party: Party, now: Time) {
        if let Some(peer) = self.peers.get_mut(&party) {
            peer.resend_armed = false;
            if peer.out.resend_at().is_some_and(|at| at <= now) {
                peer.expire(now);
            }
        }
    }

    /// Replays one record; a protocol emits nothing meanwhile.
    fn step_silently(&mut self, record: P::Record, cx: &mut impl Timed<Self>) {
        let mut sent = Vec::new();
        let mut inside = Inside::<P, _> { outer: cx, sent: &mut sent };
        self.inner.handle(Event::Restore(record), &mut inside);
        assert!(sent.is_empty(), "a protocol that replays its log sends nothing");
    }

    /// Steps the protocol and queues what it sends, encoded once for all peers.
    fn step(&mut self, event: Event<P>, cx: &mut impl Timed<Self>) {
        let mut sent = Vec::new();
        self.inner.handle(event, &mut Inside::<P, _> { outer: cx, sent: &mut sent });
        let (me, others) = (cx.group().me(), cx.group().others());
        for (target, message) in sent {
            match target {
                Target::One(party) if party == me => {}
                Target::One(party) => self.enqueue_lazily(party, &message),
                Target::All | Target::Others if others.is_empty() => {}
                Target::All | Target::Others => {
                    let bytes = encode(&message);
                    others.iter().for_each(|party| self.enqueue(party, bytes.clone()));
                }
            }
            if target == Target::All || target == Target::One(me) {
                cx.send(Target::One(me), Packet::Local(message));
            }
        }
    }

    fn enqueue(&mut self, party: Party, bytes: Bytes) {
        self.peer(party).enqueue(bytes);
    }

    /// What would be dropped is not encoded: a peer that asks for much and takes nothing costs
    /// little.
    fn enqueue_lazily(&mut self, party: Party, message: &P::Message) {
        let peer = self.peer(party);
        match peer.is_behind() {
            true => peer.drop_message(),
            false => peer.enqueue(encode(message)),
        }
    }

    fn peer(&mut self, party: Party) -> &mut Peer {
        self.peers.get_mut(&party).expect("a protocol sends to parties of its group")
    }

    /// Ends a step: tells the protocol what it is owed, sends what credit allows, acknowledges what
    /// must not wait, and arms the timers.
    fn settle(&mut self, cx: &mut impl Timed<Self>) {
        let now = cx.now();
        for party in cx.group().others().iter() {
            self.tell(party, now, cx);
        }
        for (party, peer) in &mut self.peers {
            flush(*party, peer, cx);
            if peer.owes_acknowledgement(Due::Now) {
                let frame = peer.frame(place(cx), 0, Vec::new(), now);
                cx.send(Target::One(*party), Packet::Frame(frame));
            }
            if peer.owes_acknowledgement(Due::Soon) && !peer.ack_armed {
                peer.ack_armed = true;
                cx.arm(LinkTimer::Acknowledge(*party), ACK_AFTER);
            }
            if let Some(at) = peer.out.resend_at().filter(|_| !peer.resend_armed) {
                peer.resend_armed = true;
                cx.arm(LinkTimer::Resend(*party), until(now, at));
            }
        }
    }

    /// Tells the protocol `Reconnected` of `party` if it is owed that, and it is time. (R2, R7, R8)
    fn tell(&mut self, party: Party, now: Time, cx: &mut impl Timed<Self>) {
        let peer = self.peers.get_mut(&party).expect("there is a link to each other party");
        match peer.tell_at() {
            Some(at) if at <= now => {
                peer.catch_up(now);
                self.step(Event::Reconnected(party), cx);
            }
            Some(at) if !peer.reconnect_armed => {
                peer.reconnect_armed = true;
                cx.arm(LinkTimer::Reconnect(party), until(now, at));
            }
            _ => {}
        }
    }
}

/// Sends what credit allows.
fn flush<P: Protocol<Message: Wire>>(
    party: Party,
    peer: &mut Peer,
    cx: &mut impl Timed<Linked<P>>,
) {
    let place = place(cx);
    while let Some(frame) = peer.next_frame(place, cx.now()) {
        cx.send(Target::One(party), Packet::Frame(frame));
    }
}

fn encode(message: &impl Wire) -> Bytes {
    let bytes = message.to_wire();
    assert!(bytes.len() <= MESSAGE_BYTES_MAX, "a protocol's messages fit a frame");
    bytes
}

fn until(now: Time, at: Time) -> Duration {
    Duration(at.0.saturating_sub(now.0))
}

fn place<P: Protocol<Message: Wire>>(cx: &impl Context<Linked<P>>) -> u64 {
    cx.scope().digest().short()
}

/// The context of the protocol inside: what it sends is kept for the links.
struct Inside<'a, P: Protocol, C> {
    outer: &'a mut C,
    sent: &'a mut Vec<(Target, P::Message)>,
}

impl<P: Protocol<Message: Wire>, C: Context<Linked<P>>> Context<P> for Inside<'_, P, C> {
    fn group(&self) -> &Group {
        self.outer.group()
    }

    fn scope(&self) -> Scope {
        self.outer.scope()
    }

    fn send(&mut self, to: Target, body: P::Message) {
        self.sent.push((to, body));
    }

    fn offload(&mut self, ticket: P::Ticket, work: P::Work) {
        self.outer.offload(ticket, work);
    }

    fn consult(&mut self, ticket: P::Ticket, call: P::Work) {
        self.outer.consult(ticket, call);
    }

    fn persist(&mut self, record: P::Record) {
        self.outer.persist(record);
    }

    fn note(&mut self, record: P::Record) {
        self.outer.note(record);
    }

    fn blame(&mut self, fault: Fault) {
        self.outer.blame(fault);
    }

    fn output(&mut self, outcome: P::Outcome) {
        self.outer.output(outcome);
    }
}
