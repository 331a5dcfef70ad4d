//! Evidence gossip: what proves a server's misbehaviour reaches every correct server.
//!
//! # Promise
//! - *Spread*: if one correct server holds evidence against a server, all correct ones come to.
//! - *No slander*: nobody is convicted without evidence that verifies; an honest server never is.
//! - *Kept*: a conviction survives a restart.
//!
//! # Rules
//! - E1. An accusation, from this server or a peer, is checked unless the same culprit is already
//!   convicted of that kind of fault.
//! - E2. What holds is recorded, told to the layer above, and sent to all others once.
//! - E3. A peer whose accusation does not hold is itself at fault, and not listened to again: an
//!   honest one checks first.
//! - E4. A peer that reconnects, and everybody after a restart, is sent all convictions.
//!
//! # Bounds
//! One piece of evidence a culprit and kind of fault; as many accusations of one peer under check.

use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::wire_struct;
use maftia_base::{
    Context, Event, Evidence, Fault, FaultKind, PARTIES_MAX, Party, PartySet, Protocol, Target,
};
use maftia_crypto::{Done, Suite, Work};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// Kinds of fault for which there is evidence.
const KINDS: usize = 2;

/// Somebody accuses somebody, with proof.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Accusation {
    /// The accused.
    pub culprit: Party,
    /// The proof.
    pub evidence: Evidence,
}

wire_struct!(Accusation { culprit, evidence });

impl Accusation {
    /// What the evidence would prove.
    pub fn kind(&self) -> FaultKind {
        match self.evidence {
            Evidence::Conflict(..) => FaultKind::Equivocation,
            Evidence::BadShare { .. } => FaultKind::BadShare,
        }
    }

    fn fault(&self) -> Fault {
        let evidence = Some(Box::new(self.evidence.clone()));
        Fault { culprit: self.culprit, kind: self.kind(), evidence }
    }
}

/// Names the check of an accusation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvictionTicket {
    accuser: Party,
    culprit: Party,
    kind: FaultKind,
}

/// The convictions that this server knows. See the module's documentation.
#[derive(Clone, Debug, Hash)]
pub struct Convictions<S: Suite> {
    known: BTreeMap<(Party, FaultKind), Accusation>,
    /// By accuser, culprit and kind.
    under_check: BTreeMap<(Party, Party, FaultKind), Accusation>,
    /// Whose accusation was false: it is not listened to again.
    slanderers: PartySet,
    _suite: PhantomData<S>,
}

impl<S: Suite> Default for Convictions<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Suite> Convictions<S> {
    /// Nobody is convicted.
    pub fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            under_check: BTreeMap::new(),
            slanderers: PartySet::EMPTY,
            _suite: PhantomData,
        }
    }

    /// All convictions.
    pub fn iter(&self) -> impl Iterator<Item = &Accusation> {
        self.known.values()
    }
}

impl<S: Suite> Vocabulary for Convictions<S> {
    const NAME: &'static str = "convictions";
    type Command = Fault;
    type Outcome = Fault;
    type Message = Accusation;
    type Timer = Never;
    type Ticket = ConvictionTicket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Accusation;
}

impl<S: Suite> Protocol for Convictions<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Fault { culprit, evidence, .. }) => {
                if let Some(evidence) = evidence {
                    let me = cx.group().me();
                    self.on_accusation(me, Accusation { culprit, evidence: *evidence }, cx);
                }
            }
            Event::Message { from, body } => self.on_accusation(from, body, cx),
            Event::Done { ticket, done } => self.on_verdict(ticket, done, cx),
            Event::Restore(accusation) => {
                cx.output(accusation.fault());
                self.known.insert((accusation.culprit, accusation.kind()), accusation);
            }
            Event::Resumed => self.send_all(Target::Others, cx),
            Event::Reconnected(peer) => self.send_all(Target::One(peer), cx),
            Event::Timer(never) => match never {},
        }
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.known.len() + self.under_check.len()
    }
}

impl<S: Suite> Convictions<S> {
    /// Checks what is new. (E1)
    fn on_accusation(
        &mut self,
        accuser: Party,
        accusation: Accusation,
        cx: &mut impl Context<Self>,
    ) {
        let Accusation { culprit, .. } = accusation;
        if culprit.index() >= cx.group().n() {
            return cx.blame(Fault::suspected(accuser, FaultKind::Malformed));
        }
        let kind = accusation.kind();
        let key = (accuser, culprit, kind);
        if self.known.contains_key(&(culprit, kind))
            || self.under_check.contains_key(&key)
            || self.slanderers.contains(accuser)
        {
            return;
        }
        let evidence = Box::new(accusation.evidence.clone());
        self.under_check.insert(key, accusation);
        assert!(self.under_check.len() <= PARTIES_MAX * PARTIES_MAX * KINDS, "one check a key");
        let ticket = ConvictionTicket { accuser, culprit, kind };
        cx.offload(ticket, Work::Convict { culprit, evidence });
    }

    /// Convicts whom the evidence convicts, or else doubts the accuser. (E2, E3)
    fn on_verdict(&mut self, ticket: ConvictionTicket, done: Done<S>, cx: &mut impl Context<Self>) {
        let Done::Convicted(holds) = done else {
            panic!("an accusation's check is answered by a verdict")
        };
        let ConvictionTicket { accuser, culprit, kind } = ticket;
        let Some(accusation) = self.under_check.remove(&(accuser, culprit, kind)) else { return };
        if !holds {
            if accuser != cx.group().me() {
                self.slanderers.insert(accuser);
                cx.blame(Fault::suspected(accuser, FaultKind::Malformed));
            }
            return;
        }
        if self.known.contains_key(&(culprit, kind)) {
            return;
        }
        cx.output(accusation.fault());
        cx.note(accusation.clone());
        cx.send(Target::Others, accusation.clone());
        self.known.insert((culprit, kind), accusation);
    }

    fn send_all(&self, to: Target, cx: &mut impl Context<Self>) {
        for accusation in self.known.values() {
            cx.send(to, accusation.clone());
        }
    }
}
