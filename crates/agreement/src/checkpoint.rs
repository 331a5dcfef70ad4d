//! Checkpoints: proof that a quorum was in the same state after the same delivery.
//!
//! The layer above numbers the points at which it may start again, its *marks*, and says which
//! state it is in when it reaches one. What comes back is a certificate, with which a log can be
//! cut and a state can be handed to whoever missed how it came about.
//!
//! # Promise
//!
//! - *Soundness.* A certificate for a mark and a digest has an honest voter; so the digest is that
//!   of the state in which honest servers are at that mark, and no two certificates differ there.
//! - *Availability.* Whichever servers are corrupt, an honest one among the voters of a certificate
//!   had that state: any quorum has enough of them.
//! - *Liveness.* If all honest servers reach all marks, each gets certificates for ever later ones.
//! - *Divergence.* A server whose state is not the certified one is told.
//! - *Silence.* When everything reached is certified, nothing is sent.
//!
//! # Model
//!
//! Any adversary structure with Q3, asynchronous authenticated links, unforgeable signatures;
//! restart with the log. The state at a mark is a function of what was delivered, so that a server
//! signs the same digest for a mark in every one of its lives, and a vote need not be durable.
//!
//! # Rules
//!
//! - **K1.** A server votes for one mark at a time: the first that it has reached and that is not
//!   certified. It signs the digest and sends the vote to all.
//! - **K2.** Of each peer the newest vote is kept. When those for this server's own mark and digest
//!   are of a quorum: verify them all at once; bad ones are dropped and blamed. If the good ones
//!   are a quorum, they are the certificate.
//! - **K3.** Upon a certificate for a later mark than certified: verify it, one of a peer at a
//!   time, and of what comes meanwhile the latest. Who sends one that does not hold is not
//!   listened to again.
//! - **K4.** With a new certificate, made or verified: send it to all, forget what lies below,
//!   compare, go on with the next mark. The certificate is durable before anything follows from it.
//! - **K5.** Two votes of one server for different digests at a mark are evidence.
//! - **K6.** Restarted: send the last certificate again, sign and send the vote again: who was
//!   sent them may have crashed, too, and lost them. Told that a peer may have lost messages: send
//!   it the last certificate and the vote.
//!
//! # Why it holds
//!
//! *Soundness.* A quorum has an honest server, which votes for its state. *Liveness.* Let the mark
//! be the lowest that some honest server votes for. All honest servers reach it, and vote for it or
//! have a certificate for it or a later one. What one has all get (K4). If none has, all vote for
//! the same mark and, being in the same state, for the same digest; they are a quorum; their votes
//! are not replaced by later ones before somebody has a certificate (K1), and who has one keeps it
//! in a crash: else it would vote for an earlier mark again, where its later vote is known (K4).
//! *Divergence.* The certificate reaches all (K4). *Silence.* A message follows from a mark that is
//! not certified somewhere, or from a restart.
//!
//! # Bounds
//!
//! [`REACHED_MAX`] marks that are not certified: beyond, the lowest are forgotten. One vote, one
//! certificate under verification, one that waits and one accusation of each peer. One delay after
//! the last of a quorum has reached the mark; each server sends a vote and a certificate to all.
//! One durable wait, of the certificate, before the vote for the next mark leaves.
//!
//! # Sources
//!
//! M. Castro, B. Liskov, "Practical Byzantine Fault Tolerance" (OSDI 1999), section 4.3.
//! Deviations: (a) quorums of an adversary structure; (b) votes are for one mark at a time, and
//! certificates are passed on, so that an asynchronous network cannot have votes for many marks
//! replace each other in bounded memory; (c) divergence is told; (d) restart and reconnection.

use crate::evidence::{Accusations, all_hold};
use maftia_base::canary;
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::{wire_enum, wire_struct};
use maftia_base::{
    Context, Digest, Event, Fault, FaultKind, Group, Party, PartySet, Place, Protocol, Scope,
    Statement, StatementKind, Target,
};
use maftia_crypto::{Certificate, Claim, Done, Signed, Suite, Work};
use std::collections::BTreeMap;

/// Most marks that are reached and not certified.
pub const REACHED_MAX: usize = 4096;

/// A point at which the layer above may start again; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark(pub u64);

wire_struct!(Mark { 0 });

impl Mark {
    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A certified state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint<S: Suite> {
    /// Where.
    pub mark: Mark,
    /// Digest of the state there.
    pub digest: Digest,
    /// The votes of a quorum.
    pub certificate: Certificate<S>,
}

wire_struct!(<S: Suite> Checkpoint<S> { mark, digest, certificate });

impl<S: Suite> Checkpoint<S> {
    /// The work of verifying it; `None` if it is none, whatever its signatures are. It holds if
    /// [`holds`] says so of the answer.
    pub fn verification(&self, group: &Group, scope: Scope) -> Option<Work<S>> {
        let voters = self.certificate.voters()?;
        let suffices = voters.is_subset(group.parties()) && group.structure().is_quorum(voters);
        suffices.then(|| self.certificate.verification(vote(scope, self.mark, self.digest)))
    }
}

/// Does `done`, the answer to the work of [`Checkpoint::verification`], say that it holds?
pub fn holds<S: Suite>(done: &Done<S>) -> bool {
    all_hold(done)
}

/// What a server signs that is in the state `digest` at `mark`.
pub fn vote(scope: Scope, mark: Mark, digest: Digest) -> Statement {
    Statement::new(scope, StatementKind::Checkpoint, Place(mark.0, 0), digest)
}

/// Certifies one mark after the other. See the module's documentation.
#[derive(Clone, Debug, Hash)]
pub struct Checkpoints<S: Suite> {
    /// False during replay of the log.
    live: bool,
    /// What was reached and is not certified.
    reached: BTreeMap<Mark, Digest>,
    /// For which mark this server's vote is signed, or being signed.
    voting: Option<Mark>,
    /// That vote, once signed.
    vote: Option<Signed<S>>,
    certified: Option<Checkpoint<S>>,
    votes: BTreeMap<Party, PeerVote<S>>,
    /// Certificates of peers that are being verified, and the latest that came after each.
    claims: BTreeMap<Party, Claimed<S>>,
    /// Who sent a certificate that does not hold.
    distrusted: PartySet,
    accusations: Accusations<S>,
}

#[derive(Clone, Debug, Hash)]
struct Claimed<S: Suite> {
    now: Checkpoint<S>,
    next: Option<Checkpoint<S>>,
}

#[derive(Clone, Debug, Hash)]
struct PeerVote<S: Suite> {
    mark: Mark,
    claim: Claim<S>,
    state: VoteState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum VoteState {
    Fresh,
    Checking,
    Good,
    Bad,
}

/// What the layer above says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// It has reached this mark, in this state. Marks grow; to repeat one is harmless.
    Reached {
        /// Where.
        mark: Mark,
        /// Digest of the state.
        digest: Digest,
    },
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<S: Suite> {
    /// A later checkpoint than before; perhaps one that this server has not reached. The last one
    /// is told again in every replay of the log.
    Certified(Checkpoint<S>),
    /// This server's state is not the certified one: it must not serve any more.
    Diverged {
        /// Where.
        mark: Mark,
        /// What this server said that its state is.
        mine: Digest,
    },
}

/// What servers exchange.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<S: Suite> {
    /// The sender's state at a mark.
    Vote {
        /// Where.
        mark: Mark,
        /// Digest of the state.
        digest: Digest,
        /// On [`vote`].
        signature: S::Signature,
    },
    /// A certified state, for whoever is behind.
    Certified(Checkpoint<S>),
}

wire_enum!(<S: Suite> Message<S> {
    0 => Vote { mark, digest, signature },
    1 => Certified(checkpoint),
});

/// The last certificate: a server that votes for a mark must not go back to an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record<S: Suite>(pub Checkpoint<S>);

wire_struct!(<S: Suite> Record<S> { 0 });

/// Names of pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ticket {
    /// Signing our vote for this mark.
    Vote(Mark),
    /// Verifying the votes of these parties for this mark.
    Votes(Mark, PartySet),
    /// Verifying the certificate that came from this party.
    Claim(Party),
    /// Verifying two conflicting signatures of this party.
    Accusation(Party),
}

impl<S: Suite> Vocabulary for Checkpoints<S> {
    const NAME: &'static str = "checkpoints";
    type Command = Command;
    type Outcome = Outcome<S>;
    type Message = Message<S>;
    type Timer = Never;
    type Ticket = Ticket;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S>;
}

impl<S: Suite> Protocol for Checkpoints<S> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(Command::Reached { mark, digest }) => self.on_reached(mark, digest, cx),
            Event::Message { from, .. } if from == cx.group().me() => {}
            Event::Message { from, body: Message::Vote { mark, digest, signature } } => {
                self.on_vote(from, mark, digest, signature, cx);
            }
            Event::Message { from, body: Message::Certified(checkpoint) } => {
                self.on_certified(from, checkpoint, cx);
            }
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(Record(checkpoint)) => self.take_over(checkpoint, cx),
            Event::Resumed => {
                self.live = true;
                canary!("checkpoint-restarts-silent", (), self.send_certified(Target::Others, cx));
                self.sign(cx);
            }
            Event::Reconnected(_) if canary!("checkpoint-deaf-to-reconnection", true, false) => {}
            Event::Reconnected(peer) => {
                self.send_certified(Target::One(peer), cx);
                self.send_vote(Target::One(peer), cx);
            }
            Event::Timer(never) => match never {},
        }
    }

    /// Never: there is always a next mark.
    fn is_settled(&self) -> bool {
        false
    }

    fn footprint(&self) -> usize {
        self.reached.len() + self.votes.len() + self.claims.len() + self.accusations.len()
    }
}

impl<S: Suite> Default for Checkpoints<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Suite> Checkpoints<S> {
    /// Nothing is reached yet.
    pub fn new() -> Self {
        Self {
            live: false,
            reached: BTreeMap::new(),
            voting: None,
            vote: None,
            certified: None,
            votes: BTreeMap::new(),
            claims: BTreeMap::new(),
            distrusted: PartySet::EMPTY,
            accusations: Accusations::default(),
        }
    }

    /// The last checkpoint.
    pub fn certified(&self) -> Option<&Checkpoint<S>> {
        self.certified.as_ref()
    }

    fn is_certified(&self, mark: Mark) -> bool {
        self.certified.as_ref().is_some_and(|certified| mark <= certified.mark)
    }

    /// The mark that this server votes for. (K1)
    fn current(&self) -> Option<(Mark, Digest)> {
        self.reached.first_key_value().map(|(mark, digest)| (*mark, *digest))
    }

    /// K1.
    fn on_reached(&mut self, mark: Mark, digest: Digest, cx: &mut impl Context<Self>) {
        if self.is_certified(mark) {
            return self.compare(mark, digest, cx);
        }
        let known = *self.reached.entry(mark).or_insert(digest);
        assert_eq!(known, digest, "a state is a function of what was delivered");
        if self.reached.len() > REACHED_MAX {
            self.reached.pop_first();
        }
        self.sign(cx);
    }

    /// Signs for the current mark, unless that is done or under way. (K1, K6)
    fn sign(&mut self, cx: &mut impl Context<Self>) {
        let Some((mark, digest)) = self.current().filter(|_| self.live) else { return };
        if self.voting != Some(mark) {
            (self.voting, self.vote) = (Some(mark), None);
            cx.offload(Ticket::Vote(mark), Work::Sign(vote(cx.scope(), mark, digest)));
        }
    }

    fn send_certified(&self, to: Target, cx: &mut impl Context<Self>) {
        if let Some(certified) = &self.certified {
            cx.send(to, Message::Certified(certified.clone()));
        }
    }

    fn send_vote(&self, to: Target, cx: &mut impl Context<Self>) {
        let (Some(signed), Some((mark, digest))) = (&self.vote, self.current()) else { return };
        cx.send(to, Message::Vote { mark, digest, signature: signed.signature.clone() });
    }

    /// K2, K5.
    fn on_vote(
        &mut self,
        from: Party,
        mark: Mark,
        digest: Digest,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        if self.is_certified(mark) {
            return;
        }
        let claim = Claim { party: from, statement: vote(cx.scope(), mark, digest), signature };
        if let Some(known) = self.votes.get(&from).filter(|known| known.mark >= mark) {
            let conflict = known.mark == mark && known.claim.statement != claim.statement;
            if canary!("checkpoint-no-accusation", false, conflict) {
                self.accuse(known.claim.clone(), claim, cx);
            }
            return;
        }
        self.votes.insert(from, PeerVote { mark, claim, state: VoteState::Fresh });
        self.try_certify(cx);
    }

    fn accuse(&mut self, first: Claim<S>, second: Claim<S>, cx: &mut impl Context<Self>) {
        let party = first.party;
        if let Some(work) = self.accusations.accuse(first, second) {
            cx.offload(Ticket::Accusation(party), work);
        }
    }

    /// Verifies once there is hope, and each vote once; certifies with those that are good. (K2)
    fn try_certify(&mut self, cx: &mut impl Context<Self>) {
        let (Some(own), Some((mark, digest))) = (self.vote.clone(), self.current()) else { return };
        let me = cx.group().me();
        let statement = vote(cx.scope(), mark, digest);
        let agreeing = |states: &[VoteState]| -> PartySet {
            let votes = self.votes.iter();
            let agree = votes.filter(|(_, vote)| {
                let same = canary!(
                    "checkpoint-any-state",
                    vote.mark == mark,
                    vote.claim.statement == statement
                );
                same && states.contains(&vote.state)
            });
            agree.map(|(party, _)| *party).chain([me]).collect()
        };
        let good = canary!(
            "checkpoint-counts-unverified",
            agreeing(&[VoteState::Good, VoteState::Checking]),
            agreeing(&[VoteState::Good])
        );
        let structure = cx.group().structure();
        if canary!(
            "checkpoint-certifies-few",
            structure.has_honest(good),
            structure.is_quorum(good)
        ) {
            let votes = good.iter().filter_map(|party| {
                let signature = self.votes.get(&party)?.claim.signature.clone();
                Some((party, Signed { statement, signature }))
            });
            let certificate = Certificate::new(votes.chain([(me, own)]));
            return self.adopt(Checkpoint { mark, digest, certificate }, cx);
        }
        let hopeful = agreeing(&[VoteState::Good, VoteState::Checking, VoteState::Fresh]);
        let fresh = agreeing(&[VoteState::Fresh]).difference([me].into_iter().collect());
        if fresh.is_empty() || !cx.group().structure().is_quorum(hopeful) {
            return;
        }
        let mut claims = Vec::new();
        for party in fresh.iter() {
            let vote = self.votes.get_mut(&party).expect("it was found among them");
            vote.state = VoteState::Checking;
            claims.push(vote.claim.clone());
        }
        cx.offload(Ticket::Votes(mark, fresh), Work::Verify(claims));
    }

    fn on_done(&mut self, ticket: Ticket, done: Done<S>, cx: &mut impl Context<Self>) {
        match (ticket, done) {
            (Ticket::Vote(mark), Done::Signed(signed)) => {
                if self.voting == Some(mark) {
                    self.vote = Some(signed);
                    self.send_vote(Target::Others, cx);
                    self.try_certify(cx);
                }
            }
            (Ticket::Votes(mark, parties), Done::Verified(verdicts)) => {
                self.on_votes_verified(mark, parties, &verdicts, cx);
            }
            (Ticket::Claim(from), done) => self.on_claim_verified(from, &done, cx),
            (Ticket::Accusation(party), done) => {
                if let Some(fault) = self.accusations.judge(party, &done) {
                    cx.blame(fault);
                }
            }
            (ticket, done) => panic!("the worker answered {ticket:?} with {done:?}"),
        }
    }

    /// K2, second half.
    fn on_votes_verified(
        &mut self,
        mark: Mark,
        parties: PartySet,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        for (party, holds) in parties.iter().zip(verdicts) {
            if !holds {
                cx.blame(Fault::suspected(party, FaultKind::BadSignature));
            }
            // It may have been replaced by a later one meanwhile.
            if let Some(vote) = self.votes.get_mut(&party).filter(|vote| vote.mark == mark) {
                vote.state = if *holds { VoteState::Good } else { VoteState::Bad };
            }
        }
        self.try_certify(cx);
    }

    /// K3.
    fn on_certified(
        &mut self,
        from: Party,
        checkpoint: Checkpoint<S>,
        cx: &mut impl Context<Self>,
    ) {
        if self.is_certified(checkpoint.mark) || self.distrusted.contains(from) {
            return;
        }
        if let Some(Claimed { now, next }) = self.claims.get_mut(&from) {
            let latest = next.as_ref().map_or(now.mark, |next| next.mark);
            if checkpoint.mark > latest {
                *next = Some(checkpoint);
            }
            return;
        }
        match checkpoint.verification(cx.group(), cx.scope()) {
            Some(work) => {
                self.claims.insert(from, Claimed { now: checkpoint, next: None });
                cx.offload(Ticket::Claim(from), work);
            }
            None => self.distrust(from, cx),
        }
    }

    fn on_claim_verified(&mut self, from: Party, done: &Done<S>, cx: &mut impl Context<Self>) {
        let Some(Claimed { now, next }) = self.claims.remove(&from) else { return };
        if !canary!("checkpoint-claim-unchecked", true, all_hold(done)) {
            return self.distrust(from, cx);
        }
        if !self.is_certified(now.mark) {
            self.adopt(now, cx);
        }
        if let Some(next) = next {
            self.on_certified(from, next, cx);
        }
    }

    fn distrust(&mut self, liar: Party, cx: &mut impl Context<Self>) {
        self.distrusted.insert(liar);
        cx.blame(Fault::suspected(liar, FaultKind::BadCertificate));
    }

    /// K4.
    fn adopt(&mut self, checkpoint: Checkpoint<S>, cx: &mut impl Context<Self>) {
        let record = Record(checkpoint.clone());
        canary!("checkpoint-certificate-not-durable", cx.note(record), cx.persist(record));
        let told = Message::Certified(checkpoint.clone());
        canary!("checkpoint-keeps-to-itself", drop(told), cx.send(Target::Others, told));
        self.take_over(checkpoint, cx);
        self.sign(cx);
    }

    fn take_over(&mut self, checkpoint: Checkpoint<S>, cx: &mut impl Context<Self>) {
        let mark = checkpoint.mark;
        let mine = self.reached.get(&mark).copied();
        self.reached = self.reached.split_off(&mark.next());
        self.votes.retain(|_, vote| vote.mark > mark);
        (self.voting, self.vote) = (None, None);
        self.certified = Some(checkpoint.clone());
        cx.output(Outcome::Certified(checkpoint));
        if let Some(mine) = mine {
            self.compare(mark, mine, cx);
        }
    }

    /// Is what this server says of its state at a certified mark what is certified?
    fn compare(&self, mark: Mark, mine: Digest, cx: &mut impl Context<Self>) {
        let certified = self.certified.as_ref().filter(|certified| certified.mark == mark);
        if certified.is_some_and(|certified| certified.digest != mine) {
            cx.output(Outcome::Diverged { mark, mine });
        }
    }
}
