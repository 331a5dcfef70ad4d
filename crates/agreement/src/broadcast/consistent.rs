//! Consistent broadcast: no two honest servers deliver different values of a sender, and whoever
//! delivers holds a certificate that convinces everyone.
//!
//! # Promise
//!
//! - *Validity.* If the sender is honest and broadcasts `v`, every honest server delivers `v`.
//! - *Consistency.* No two honest servers deliver different values, and no two certificates for
//!   different values exist.
//! - *Integrity.* An honest server delivers at most once, and from an honest sender only what it
//!   broadcast.
//! - *Transfer.* The certificate of a delivery convinces anyone who knows the group's public keys:
//!   [`verification`] and [`holds`].
//!
//! There is no totality: a corrupt sender may let some deliver and others not.
//!
//! # Model
//!
//! Any adversary structure with Q3, asynchronous authenticated links with eventual delivery in the
//! sense of [`maftia_base::protocol`], unforgeable signatures; restart with the log.
//!
//! # Rules
//!
//! - R1. On the command, the sender signs its own ECHO of v and sends SEND(v, that signature).
//! - R2. Upon the first SEND(v) from the sender: remember its digest for ever, sign the ECHO
//!   statement for it, and send the signature to the sender.
//! - R3. When those whose ECHO of v the sender has are a quorum: verify the new ones. When the
//!   verified ones are a quorum, or upon a valid FINAL of an earlier life: send
//!   FINAL(digest, certificate) to all.
//! - R4. Upon a valid FINAL for a value that SEND brought: deliver it.
//! - R5. Upon a peer's reconnection: the sender sends it SEND and FINAL again; the others send the
//!   sender their ECHO again.
//! - R6. Two signed statements of one party for different values are evidence: a receiver may have
//!   two SEND, or a SEND and the sender's own vote in a certificate; the sender may have two ECHO.
//!
//! # Why it holds
//!
//! *Consistency.* Two quorums share an honest server whatever the adversary chose (Q3: the
//! complements of both, and the corrupt set, do not cover the group), and that one signs once; the
//! record of R2 keeps it from signing again after a restart. *Validity.* All honest servers sign
//! an honest sender's v; they are a quorum, and bad signatures of others are sorted out by R3.
//!
//! # Bounds
//!
//! `3n` messages; at most [`footprint_max`] items held, of which one value. Each peer can make us
//! verify one ECHO, one FINAL at a time, and one accusation. Three delays, and three sequential
//! durable waits: the sender's value, the ECHO, and what the receiver does with the delivery.
//!
//! # Sources
//!
//! M. Reiter, "Secure agreement protocols", 1994; C. Cachin, K. Kursawe, F. Petzold, V. Shoup,
//! "Secure and efficient asynchronous broadcast protocols", 2001. Deviations: (a) quorums of an
//! adversary structure, certificates of single signatures; (b) SEND carries the sender's own vote,
//! so that equivocation leaves evidence at its victims; (c) FINAL names the value by its digest,
//! since an honest sender's SEND arrives as well; (d) restart and reconnection.

use crate::evidence::{Accusations, all_hold};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::wire_enum;
use maftia_base::{
    Context, Digest, Event, Fault, FaultKind, Group, Party, PartySet, Place, Protocol, Scope,
    Statement, StatementKind, Target,
};
use maftia_crypto::{Certificate, Claim, Done, Signed, Suite, Work};
use std::collections::BTreeMap;

/// One consistent broadcast of one sender.
#[derive(Clone, Debug, Hash)]
pub struct ConsistentBroadcast<S: Suite, V: Value> {
    sender: Party,
    value: Option<V>,
    /// The digest that we vote for; the only one, for ever.
    voted: Option<Digest>,
    /// Our vote, once signed; at the sender it is the one in SEND.
    vote: Option<Signed<S>>,
    /// The sender's vote in its SEND, not verified: wanted only as evidence.
    sent: Option<Claim<S>>,
    /// At the sender: votes of others, by party.
    echoes: BTreeMap<Party, Echo<S>>,
    /// FINAL messages that are being verified: at most one a peer.
    finals: BTreeMap<Party, (Digest, Certificate<S>)>,
    /// A verified certificate whose value has not come yet, or has been delivered.
    certificate: Option<(Digest, Certificate<S>)>,
    delivered: bool,
    accusations: Accusations<S>,
}

/// A vote at the sender.
#[derive(Clone, Debug, Hash)]
struct Echo<S: Suite> {
    signed: Signed<S>,
    state: EchoState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum EchoState {
    Fresh,
    Checking,
    Good,
    Bad,
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
pub enum Outcome<S: Suite, V> {
    /// The value of the sender. Told once, and once more in every replay of the log.
    Delivered {
        /// The value.
        value: V,
        /// What convinces others, see [`verification`].
        certificate: Certificate<S>,
    },
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<S: Suite, V> {
    /// The sender's value, and its signature on its own vote for it.
    Send(V, S::Signature),
    /// A vote, to the sender.
    Echo(Digest, S::Signature),
    /// The certificate of the value with this digest.
    Final(Digest, Certificate<S>),
}

wire_enum!(<S: Suite, V: Value> Message<S, V> {
    0 => Send(value, signature),
    1 => Echo(digest, signature),
    2 => Final(digest, certificate),
});

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<S: Suite, V> {
    /// The value that this server, the sender, broadcasts.
    Sent(V),
    /// The digest that this server votes for.
    Voted(Digest),
    /// Saves the exchange after a restart.
    Delivered(V, Certificate<S>),
}

wire_enum!(<S: Suite, V: Value> Record<S, V> {
    0 => Sent(value),
    1 => Voted(digest),
    2 => Delivered(value, certificate),
});

/// Names of pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ticket {
    /// Signing our vote.
    Vote,
    /// Verifying the votes of these parties.
    Echoes(PartySet),
    /// Verifying the FINAL that came from this party.
    Final(Party),
    /// Verifying two conflicting signatures of this party.
    Accusation(Party),
}

/// Most items that an instance holds in a group of `n`.
pub const fn footprint_max(n: usize) -> usize {
    3 * n + 2
}

/// The statement that a vote for `value` in the broadcast of `sender` at `scope` signs.
pub fn vote(scope: Scope, sender: Party, value: Digest) -> Statement {
    let kind = canary!("consistent-wrong-domain", StatementKind::BatchVote, StatementKind::Echo);
    Statement::new(scope, kind, Place(0, sender.index() as u64), value)
}

/// The work of verifying that `certificate` is one for `value` in the broadcast of `sender` at
/// `scope`; `None` if it is none, whatever its signatures are. Judged by [`holds`].
pub fn verification<S: Suite>(
    group: &Group,
    scope: Scope,
    sender: Party,
    value: Digest,
    certificate: &Certificate<S>,
) -> Option<Work<S>> {
    let voters = certificate.voters()?;
    let structure = group.structure();
    let enough = canary!(
        "consistent-certificate-short",
        structure.has_honest(voters),
        structure.is_quorum(voters)
    );
    let suffices = voters.is_subset(group.parties()) && enough;
    suffices.then(|| certificate.verification(vote(scope, sender, value)))
}

/// Does `done`, the answer to the work of [`verification`], say that the certificate holds?
pub fn holds<S: Suite>(done: &Done<S>) -> bool {
    all_hold(done)
}

impl<S: Suite, V: Value> ConsistentBroadcast<S, V> {
    /// An instance in which `sender` broadcasts.
    pub fn new(sender: Party) -> Self {
        Self {
            sender,
            value: None,
            voted: None,
            vote: None,
            sent: None,
            echoes: BTreeMap::new(),
            finals: BTreeMap::new(),
            certificate: None,
            delivered: false,
            accusations: Accusations::default(),
        }
    }
}

impl<S: Suite, V: Value> Vocabulary for ConsistentBroadcast<S, V> {
    const NAME: &'static str = "consistent";
    type Command = Command<V>;
    type Outcome = Outcome<S, V>;
    type Message = Message<S, V>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S, V>;
}

impl<S: Suite, V: Value> Protocol for ConsistentBroadcast<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Broadcast(value)) => self.on_broadcast(value, cx),
            Event::Message { from, body } => match body {
                Message::Send(value, signature) => self.on_send(from, value, signature, cx),
                Message::Echo(digest, signature) => self.on_echo(from, digest, signature, cx),
                Message::Final(digest, certificate) => {
                    self.on_final(from, digest, certificate, cx);
                }
            },
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
            Event::Timer(never) => match never {},
        }
    }

    /// True once it has delivered. It still answers reconnections for as long as it is kept.
    fn is_settled(&self) -> bool {
        self.delivered
    }

    fn footprint(&self) -> usize {
        self.echoes.len()
            + self.finals.len()
            + self.accusations.len()
            + usize::from(self.value.is_some())
            + usize::from(self.certificate.is_some())
    }
}

impl<S: Suite, V: Value> ConsistentBroadcast<S, V> {
    /// R1: the value is durable before anybody sees it, so that a restart can't send another.
    fn on_broadcast(&mut self, value: V, cx: &mut impl Context<Self>) {
        assert_eq!(cx.group().me(), self.sender, "only the sender broadcasts");
        if self.voted.is_some() {
            return;
        }
        let record = Record::Sent(value.clone());
        canary!("consistent-sent-not-durable", drop(record), cx.persist(record));
        self.voted = Some(digest_of(&value));
        self.value = Some(value);
        self.sign_vote(cx);
    }

    /// R2.
    fn on_send(
        &mut self,
        from: Party,
        value: V,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        if from != self.sender {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        if cx.group().me() == self.sender {
            return;
        }
        let digest = digest_of(&value);
        let claim = Claim { party: from, statement: vote(cx.scope(), from, digest), signature };
        if let Some(first) = self.voted
            && canary!("consistent-no-accusation", false, first != digest)
        {
            return self.accuse_sender(claim, cx);
        }
        self.sent.get_or_insert(claim);
        self.value.get_or_insert(value);
        if self.voted.is_none() {
            self.voted = Some(digest);
            let record = Record::Voted(digest);
            canary!("consistent-vote-not-durable", cx.note(record), cx.persist(record));
            self.sign_vote(cx);
        }
        self.try_deliver(cx);
    }

    /// R3, first half. An honest server echoes what the sender sent, and nothing else.
    fn on_echo(
        &mut self,
        from: Party,
        digest: Digest,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        let Some(voted) = self.voted.filter(|_| cx.group().me() == self.sender) else {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        };
        let statement = vote(cx.scope(), self.sender, digest);
        if let Some(first) = self.echoes.get(&from) {
            let first = claim(from, &first.signed);
            if first.statement.value != digest {
                let second = Claim { party: from, statement, signature };
                self.accuse(first, second, cx);
            }
            return;
        }
        let signed = Signed { statement, signature };
        self.echoes.insert(from, Echo { signed, state: EchoState::Fresh });
        if digest != voted {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        self.try_verify(cx);
    }

    /// R4, first half: at most one verification a peer at a time, and none once it is known.
    fn on_final(
        &mut self,
        from: Party,
        digest: Digest,
        certificate: Certificate<S>,
        cx: &mut impl Context<Self>,
    ) {
        if self.delivered || self.certificate.is_some() || self.finals.contains_key(&from) {
            return;
        }
        let group = cx.group();
        let work = verification(group, cx.scope(), self.sender, digest, &certificate);
        let Some(work) = work else {
            return cx.blame(Fault::suspected(from, FaultKind::BadCertificate));
        };
        self.finals.insert(from, (digest, certificate));
        cx.offload(Ticket::Final(from), work);
    }

    fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Vote, Done::Signed(signed)) => {
                self.vote = Some(signed);
                if cx.group().me() == self.sender {
                    self.emit_send(Target::All, cx);
                    self.try_certify(cx);
                    self.try_verify(cx);
                } else {
                    self.emit_echo(cx);
                }
            }
            (Ticket::Echoes(parties), Done::Verified(verdicts)) => {
                self.on_echoes_verified(parties, &verdicts, cx);
            }
            (Ticket::Final(from), done) => self.on_final_verified(from, &done, cx),
            (Ticket::Accusation(party), done) => {
                if let Some(fault) = self.accusations.judge(party, &done) {
                    cx.blame(fault);
                }
            }
            (ticket, done) => panic!("the worker answered {ticket:?} with {done:?}"),
        }
    }

    /// R3, second half.
    fn on_echoes_verified(
        &mut self,
        parties: PartySet,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        for (party, holds) in parties.iter().zip(verdicts) {
            let echo = self.echoes.get_mut(&party).expect("votes are never removed");
            echo.state = if *holds { EchoState::Good } else { EchoState::Bad };
            if !holds {
                cx.blame(Fault::suspected(party, FaultKind::BadSignature));
            }
        }
        self.try_certify(cx);
        self.try_verify(cx);
    }

    fn on_final_verified(&mut self, from: Party, done: &Done<S>, cx: &mut impl Context<Self>) {
        let Some((digest, certificate)) = self.finals.remove(&from) else {
            return;
        };
        if !canary!("consistent-final-unchecked", true, all_hold(done)) {
            return cx.blame(Fault::suspected(from, FaultKind::BadCertificate));
        }
        if self.voted.is_some_and(|voted| voted != digest) {
            self.accuse_by_certificate(digest, &certificate, cx);
        }
        if self.certificate.is_none() {
            // A restarted sender may get its own certificate back, and from one peer alone.
            let is_senders = cx.group().me() == self.sender;
            if canary!("consistent-sender-keeps-certificate", false, is_senders) {
                cx.send(Target::Others, Message::Final(digest, certificate.clone()));
            }
            self.certificate = Some((digest, certificate));
        }
        self.try_deliver(cx);
    }

    fn on_restore(&mut self, record: Record<S, V>, cx: &mut impl Context<Self>) {
        match record {
            Record::Sent(value) => {
                self.voted = Some(digest_of(&value));
                self.value = Some(value);
            }
            Record::Voted(digest) => self.voted = Some(digest),
            Record::Delivered(value, certificate) => {
                self.delivered = true;
                self.certificate = Some((digest_of(&value), certificate.clone()));
                self.value = Some(value.clone());
                cx.output(Outcome::Delivered { value, certificate });
            }
        }
    }

    /// R5, towards all: what was signed is signed again, since signatures are not kept.
    fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        if self.voted.is_some() {
            self.sign_vote(cx);
        }
    }

    /// R5.
    fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if cx.group().me() == self.sender {
            self.emit_send(Target::One(peer), cx);
        } else if peer == self.sender {
            self.emit_echo(cx);
        }
    }

    fn sign_vote(&mut self, cx: &mut impl Context<Self>) {
        let digest = self.voted.expect("a vote is signed after it is decided");
        cx.offload(Ticket::Vote, Work::Sign(vote(cx.scope(), self.sender, digest)));
    }

    /// SEND, and FINAL where it exists.
    fn emit_send(&mut self, to: Target, cx: &mut impl Context<Self>) {
        let (Some(value), Some(signed)) = (&self.value, &self.vote) else {
            return;
        };
        cx.send(to, Message::Send(value.clone(), signed.signature.clone()));
        if let Some((digest, certificate)) = &self.certificate {
            cx.send(to, Message::Final(*digest, certificate.clone()));
        }
    }

    fn emit_echo(&mut self, cx: &mut impl Context<Self>) {
        if let Some(signed) = &self.vote {
            let body = Message::Echo(signed.statement.value, signed.signature.clone());
            cx.send(Target::One(self.sender), body);
        }
    }

    /// R3: verify only once there is hope, and each vote once.
    fn try_verify(&mut self, cx: &mut impl Context<Self>) {
        let (Some(voted), None, Some(_)) = (self.voted, &self.certificate, &self.vote) else {
            return;
        };
        let mut hopeful: PartySet = self
            .echoes
            .iter()
            .filter(|(_, echo)| {
                echo.state != EchoState::Bad && echo.signed.statement.value == voted
            })
            .map(|(party, _)| *party)
            .collect();
        hopeful.insert(self.sender);
        if !cx.group().structure().is_quorum(hopeful) {
            return;
        }
        let mut fresh = PartySet::EMPTY;
        let mut claims = Vec::new();
        for party in hopeful.iter() {
            if let Some(echo) = self.echoes.get_mut(&party)
                && echo.state == EchoState::Fresh
            {
                echo.state = EchoState::Checking;
                fresh.insert(party);
                claims.push(claim(party, &echo.signed));
            }
        }
        if !fresh.is_empty() {
            cx.offload(Ticket::Echoes(fresh), Work::Verify(claims));
        }
    }

    fn try_certify(&mut self, cx: &mut impl Context<Self>) {
        let (None, Some(own)) = (&self.certificate, &self.vote) else {
            return;
        };
        let own = (self.sender, own.clone());
        let others = self
            .echoes
            .iter()
            .filter(|(_, echo)| {
                let good = echo.state == EchoState::Good;
                canary!("consistent-counts-unverified", true, good)
            })
            .filter(|(party, _)| **party != self.sender)
            .map(|(party, echo)| (*party, echo.signed.clone()));
        let certificate = Certificate::new(std::iter::once(own).chain(others));
        let voters = certificate.voters().expect("one vote a party");
        if !cx.group().structure().is_quorum(voters) {
            return;
        }
        let digest = self.voted.expect("votes are for a value");
        cx.send(Target::Others, Message::Final(digest, certificate.clone()));
        self.certificate = Some((digest, certificate));
        self.try_deliver(cx);
    }

    /// R4, second half.
    fn try_deliver(&mut self, cx: &mut impl Context<Self>) {
        let (false, Some(value), Some((digest, certificate))) =
            (self.delivered, &self.value, &self.certificate)
        else {
            return;
        };
        if digest_of(value) != *digest {
            return;
        }
        self.delivered = true;
        let (value, certificate) = (value.clone(), certificate.clone());
        cx.note(Record::Delivered(value.clone(), certificate.clone()));
        cx.output(Outcome::Delivered { value, certificate });
    }

    /// R6: a second SEND. After a restart the first one's signature may be gone.
    fn accuse_sender(&mut self, second: Claim<S>, cx: &mut impl Context<Self>) {
        match self.sent.clone() {
            Some(first) => self.accuse(first, second, cx),
            None => cx.blame(Fault::suspected(second.party, FaultKind::Equivocation)),
        }
    }

    /// R6: a quorum voted for another value than the one sent to us, hence honest servers got it.
    fn accuse_by_certificate(
        &mut self,
        digest: Digest,
        certificate: &Certificate<S>,
        cx: &mut impl Context<Self>,
    ) {
        let other = vote(cx.scope(), self.sender, digest);
        let second = certificate.claims(other).find(|claim| claim.party == self.sender);
        match (self.sent.clone(), second) {
            (Some(first), Some(second)) => self.accuse(first, second, cx),
            _ => cx.blame(Fault::suspected(self.sender, FaultKind::Equivocation)),
        }
    }

    fn accuse(&mut self, first: Claim<S>, second: Claim<S>, cx: &mut impl Context<Self>) {
        let party = first.party;
        if let Some(work) = self.accusations.accuse(first, second) {
            cx.offload(Ticket::Accusation(party), work);
        }
    }
}

fn claim<S: Suite>(party: Party, signed: &Signed<S>) -> Claim<S> {
    Claim { party, statement: signed.statement, signature: signed.signature.clone() }
}
