//! Reliable broadcast: all honest servers deliver the same value of a sender, or none does.
//!
//! # Promise
//!
//! - *Validity.* If the sender is honest and broadcasts `v`, every honest server delivers `v`.
//! - *Agreement.* No two honest servers deliver different values.
//! - *Integrity.* An honest server delivers at most once, and from an honest sender only what it
//!   broadcast.
//! - *Totality.* If one honest server delivers, all do.
//!
//! # Model
//!
//! Any adversary structure with Q3 (no three corruptible sets cover the group), asynchronous
//! authenticated links with eventual delivery in the sense of [`maftia_base::protocol`]; servers
//! may crash and restart with their log. No signatures.
//!
//! # Rules
//!
//! - R1. On the command, the sender sends INIT(v) and ECHO(v) to all.
//! - R2. Upon the first INIT(v) from the sender: send ECHO(v) to all, if no ECHO was sent.
//! - R3. Upon ECHO(v) from a quorum: send READY(digest of v) to all, if no READY was sent.
//! - R4. Upon READY(d) from a set that has an honest server: the same.
//! - R5. Upon READY(d) from a set that has an honest quorum, and any v with that digest: deliver v.
//! - R6. Upon a peer's reconnection: send it our INIT, ECHO and READY again.
//!
//! # Why it holds
//!
//! *Agreement.* The complements of two quorums are two corruptible sets A and B; were all common
//! members corrupt, too, in C, then A, B and C would cover the group against Q3. So two quorums
//! share an honest server, which echoes once: at most one d passes R3 at any honest server. The
//! first honest READY is sent by R3, the others repeat it (R4 needs an honest one), so all honest
//! READY carry that d, and R5 needs at least one.
//!
//! *Totality.* If R5 held somewhere, the honest ones among its READY still have an honest server
//! whatever the adversary chose, so they pass R4 everywhere. Then all honest servers send READY,
//! and these have an honest quorum: two corruptible sets that cover them would cover the group
//! together with the corrupt set. The value: a quorum sent ECHO(v), which has an honest
//! server, and that one sent v to all.
//!
//! *Validity.* All honest servers echo v, and they are a quorum.
//!
//! # Bounds
//!
//! `2n^2 + n` messages; a server holds at most [`footprint_max`] items, of which `n + 1` values,
//! whatever peers send. Three delays and three sequential durable waits: the sender's value, ECHO
//! and READY.
//!
//! # Sources
//!
//! G. Bracha, "Asynchronous Byzantine agreement protocols", 1987. Deviations: (a) quorums of an
//! adversary structure instead of numbers; (b) READY carries a digest, since every server that
//! may need the value gets it with an honest ECHO; (c) the sender echoes at once, without waiting
//! for its own INIT; (d) restart and reconnection.

use crate::tally::Tally;
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::wire_enum;
use maftia_base::{Context, Digest, Event, Fault, FaultKind, Party, Protocol, Target};
use maftia_crypto::{Done, Suite, Work};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// One reliable broadcast of one sender.
#[derive(Clone, Debug, Hash)]
pub struct ReliableBroadcast<S: Suite, V: Value> {
    sender: Party,
    /// What the sender's INIT said, to notice a second one that differs.
    init: Option<Digest>,
    echoed: Option<V>,
    readied: Option<Digest>,
    delivered: bool,
    echoes: Tally<Digest>,
    readies: Tally<Digest>,
    /// Values seen in INIT and ECHO: one for each vote in `echoes`, and one more.
    values: BTreeMap<Digest, V>,
    suite: PhantomData<S>,
}

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<V> {
    /// Broadcast this value; only the sender may ask. Repeating it after a restart is harmless:
    /// what the log holds wins.
    Broadcast(V),
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// The value of the sender; the same at every honest server. Told once, and once more in
    /// every replay of the log.
    Delivered(V),
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<V> {
    /// The sender's value.
    Init(V),
    /// "The sender told me this."
    Echo(V),
    /// "No honest server will deliver anything else."
    Ready(Digest),
}

wire_enum!(<V: Value> Message<V> { 0 => Init(value), 1 => Echo(value), 2 => Ready(digest) });

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<V> {
    /// Our ECHO; at the sender also the value that it broadcasts.
    Echoed(V),
    /// Our READY.
    Readied(Digest),
    /// Saves the exchange after a restart.
    Delivered(V),
}

wire_enum!(<V: Value> Record<V> {
    0 => Echoed(value),
    1 => Readied(digest),
    2 => Delivered(value),
});

/// Most items that an instance holds in a group of `n`.
pub const fn footprint_max(n: usize) -> usize {
    3 * n + 1
}

impl<S: Suite, V: Value> ReliableBroadcast<S, V> {
    /// An instance in which `sender` broadcasts.
    pub fn new(sender: Party) -> Self {
        Self {
            sender,
            init: None,
            echoed: None,
            readied: None,
            delivered: false,
            echoes: Tally::default(),
            readies: Tally::default(),
            values: BTreeMap::new(),
            suite: PhantomData,
        }
    }
}

impl<S: Suite, V: Value> Vocabulary for ReliableBroadcast<S, V> {
    const NAME: &'static str = "reliable";
    type Command = Command<V>;
    type Outcome = Outcome<V>;
    type Message = Message<V>;
    type Timer = Never;
    type Ticket = Never;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<V>;
}

impl<S: Suite, V: Value> Protocol for ReliableBroadcast<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Broadcast(value)) => self.on_broadcast(value, cx),
            Event::Message { from, body } => match body {
                Message::Init(value) => self.on_init(from, value, cx),
                Message::Echo(value) => self.on_echo(from, value, cx),
                Message::Ready(digest) => self.on_ready(from, digest, cx),
            },
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.emit(Target::All, cx),
            Event::Reconnected(_) if canary!("reliable-deaf-to-reconnection", true, false) => {}
            Event::Reconnected(peer) => self.emit(Target::One(peer), cx),
            Event::Timer(never) | Event::Done { ticket: never, .. } => match never {},
        }
    }

    /// True once it has delivered. It still answers reconnections for as long as it is kept.
    fn is_settled(&self) -> bool {
        self.delivered
    }

    fn footprint(&self) -> usize {
        self.echoes.len() + self.readies.len() + self.values.len()
    }
}

impl<S: Suite, V: Value> ReliableBroadcast<S, V> {
    /// R1.
    fn on_broadcast(&mut self, value: V, cx: &mut impl Context<Self>) {
        assert_eq!(cx.group().me(), self.sender, "only the sender broadcasts");
        if self.echoed.is_some() {
            return;
        }
        cx.send(Target::All, Message::Init(value.clone()));
        self.send_echo(value, cx);
    }

    /// R2.
    fn on_init(&mut self, from: Party, value: V, cx: &mut impl Context<Self>) {
        if canary!("reliable-init-from-anyone", false, from != self.sender) {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        let digest = digest_of(&value);
        if *self.init.get_or_insert(digest) != digest {
            return cx.blame(Fault::suspected(from, FaultKind::Equivocation));
        }
        self.values.entry(digest).or_insert_with(|| value.clone());
        if self.echoed.is_none() {
            self.send_echo(value, cx);
        }
        self.try_deliver(digest, cx);
    }

    /// R3: two quorums share an honest server, which echoes once.
    fn on_echo(&mut self, from: Party, value: V, cx: &mut impl Context<Self>) {
        let digest = digest_of(&value);
        canary!("reliable-keeps-all-values", drop(self.values.insert(digest, value.clone())));
        if self.echoes.insert(from, digest).is_err() {
            return cx.blame(Fault::suspected(from, FaultKind::Equivocation));
        }
        self.values.entry(digest).or_insert(value);
        let (echoed, structure) = (self.echoes.supporters(digest), cx.group().structure());
        if canary!("reliable-echoes-few", structure.has_honest(echoed), structure.is_quorum(echoed))
        {
            self.try_ready(digest, cx);
        }
        self.try_deliver(digest, cx);
    }

    /// R4: among these is one that knows.
    fn on_ready(&mut self, from: Party, digest: Digest, cx: &mut impl Context<Self>) {
        if self.readies.insert(from, digest).is_err() {
            return cx.blame(Fault::suspected(from, FaultKind::Equivocation));
        }
        let (readied, structure) = (self.readies.supporters(digest), cx.group().structure());
        if canary!("reliable-ready-at-once", true, structure.has_honest(readied)) {
            self.try_ready(digest, cx);
        }
        self.try_deliver(digest, cx);
    }

    fn on_restore(&mut self, record: Record<V>, cx: &mut impl Context<Self>) {
        match record {
            Record::Echoed(value) => self.echoed = Some(value),
            Record::Readied(digest) => self.readied = Some(digest),
            Record::Delivered(value) => {
                self.delivered = true;
                cx.output(Outcome::Delivered(value));
            }
        }
    }

    /// R6, and the same to all after a restart.
    fn emit(&mut self, to: Target, cx: &mut impl Context<Self>) {
        if let Some(value) = &self.echoed {
            if cx.group().me() == self.sender {
                cx.send(to, Message::Init(value.clone()));
            }
            cx.send(to, Message::Echo(value.clone()));
        }
        if let Some(digest) = self.readied {
            cx.send(to, Message::Ready(digest));
        }
    }

    fn send_echo(&mut self, value: V, cx: &mut impl Context<Self>) {
        assert!(self.echoed.is_none(), "an honest server echoes once");
        self.echoed = Some(value.clone());
        let record = Record::Echoed(value.clone());
        canary!("reliable-echo-not-durable", cx.note(record), cx.persist(record));
        cx.send(Target::All, Message::Echo(value));
    }

    fn try_ready(&mut self, digest: Digest, cx: &mut impl Context<Self>) {
        if self.readied.is_some() {
            return;
        }
        self.readied = Some(digest);
        let record = Record::Readied(digest);
        canary!("reliable-ready-not-durable", cx.note(record), cx.persist(record));
        cx.send(Target::All, Message::Ready(digest));
    }

    /// R5: the honest ones among these READY convince every honest server.
    fn try_deliver(&mut self, digest: Digest, cx: &mut impl Context<Self>) {
        let readied = self.readies.supporters(digest);
        let structure = cx.group().structure();
        let enough = canary!(
            "reliable-delivers-on-few",
            structure.has_honest(readied),
            structure.has_honest_quorum(readied)
        );
        if self.delivered || !enough {
            return;
        }
        let values = &self.values;
        let value =
            canary!("reliable-delivers-any-value", values.values().next(), values.get(&digest));
        let Some(value) = value.cloned() else {
            return;
        };
        self.delivered = true;
        cx.note(Record::Delivered(value.clone()));
        cx.output(Outcome::Delivered(value));
    }
}
