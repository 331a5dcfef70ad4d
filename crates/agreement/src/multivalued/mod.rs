//! Agreement on one of the proposed values, subject to an external predicate.
//!
//! # Promise
//! - *Agreement.* No two honest servers decide differently, in value or in seed.
//! - *External validity.* A decided value satisfies the predicate of an honest server.
//! - *Integrity.* A server decides once; while all are honest, what somebody proposed.
//! - *Termination.* If all honest servers propose, and a value that one honest server accepts is in
//!   the end accepted by all, all honest servers decide, after a constant expected number of views.
//! - *Quality.* A view decides with probability at least `q/n`, where `q` is the size of the
//!   smallest quorum; its value is then the leader's, hence with probability at least
//!   `(q - c)/n` an honest server's, with `c` the number of corrupt ones: for `n = 3f + 1`, more
//!   than a third. The network's scheduler cannot change that, since who had finished was fixed
//!   before anyone knew the coin. A later view that starts on a lock repeats that lock's value.
//! - *Silence.* Nothing is sent before somebody proposes, nor after all have decided.
//! - *Delays.* Six message delays from the proposals, if the leader's finish is at hand when the
//!   coin is; two more if its lock is. Three of the steps wait for the disk: proposal, echo, lock.
//!
//! The predicate is the layer above: each distinct value is put to it once, as
//! [`Outcome::Validate`] (again only if it comes back after a view without it, or after a restart),
//! and is echoed once it is accepted: at any later time, or never.
//!
//! The seed is derived from the first view's coin, because servers can decide the same value in
//! different views. It is the same everywhere, and unpredictable until an honest server has seen a
//! quorum finish the first view; it is *not* hidden until the value is fixed, if that takes more
//! than one view or the leader is corrupt. Who needs that takes the seed of the next instance.
//!
//! # Model
//! Asynchronous, authenticated links, any adversary structure with Q3, static corruption. "Quorum"
//! is [`is_quorum`](maftia_base::AdversaryStructure::is_quorum), everywhere.
//!
//! # Rules
//! - **R1.** Asked to propose, or entering a view with something to propose: record and sign an
//!   echo of it, then send PROPOSE to all.
//! - **R2.** Upon the first PROPOSE of a party: if its basis holds, and its value is accepted or
//!   comes with a lock, and this view is not abandoned: record and sign an ECHO, to the proposer.
//! - **R3.** Upon a quorum of echoes of the own proposal: they are its lock; send LOCK to all.
//!   Upon a LOCK for the proposal seen, not having abandoned: record the lock, then echo it.
//! - **R4.** Upon a quorum of echoes of the own lock: they are its finish; send FINISH to all.
//! - **R5.** Upon a quorum's finishes: send the share of the view's coin.
//! - **R6.** Upon enough shares, or an ELECTED, which carries them: the coin elects the leader.
//!   Abandon, that is echo nothing more in this view; send the share. If the leader's finish is
//!   known, now or later in this view: decide its value.
//! - **R7.** If it is not: record the coin, and send it to all as ELECTED. With a recorded lock of
//!   the leader, vote for its value. Without, record and send REFUSE.
//! - **R8.** Upon a quorum of refusals, not having voted: vote for nothing, with them as proof.
//!   Each vote is recorded, then signed and sent.
//! - **R9.** Upon a vote for the leader's value, which carries its lock, not having voted: vote for
//!   it too. Upon a quorum of votes for it: decide.
//! - **R10.** Upon a quorum of votes of which too few are for it: enter the next view. If one is
//!   for it, propose that value there, on the basis of its lock and of the refusals; if none is,
//!   one's own, on the basis of the votes.
//! - **R11.** Upon a PROPOSE of a later view whose basis holds: enter that view, on the same basis.
//! - **R12.** Having decided: send the DECISION to all. Upon one that holds: decide.
//! - **R13.** If the decided value never came: ASK; whoever has it answers, a few times.
//! - **R14.** Restarted: sign and send again what is recorded. Told that a peer may have lost
//!   messages: send it everything current.
//!
//! # Why it holds
//! Two quorums share an honest server: their complements are two corruptible sets, and no third
//! one covers the rest. Each honest server signs one value at each place, also across restarts.
//! - *One lock a proposer and view*, by R2.
//! - *A finish excludes a quorum of refusals*: a shared honest server recorded the lock before it
//!   echoed it, and who holds the leader's lock does not refuse (R7); nor does who refused echo a
//!   lock later, having abandoned (R6). Hence nobody can vote for nothing, nobody has a basis
//!   of votes for nothing, and every later proposal is the locked value, by induction over views.
//! - *A quorum of votes for it excludes one for nothing*, to the same effect.
//! - *Progress.* Unless they decide, all honest servers learn the coin: until one has, honest
//!   proposals are echoed, locked and finished, whatever finishes liars show to whom; then all
//!   honest servers know a quorum's finishes, and give their shares. Once one has, it decides, and
//!   tells all, or tells all the coin (R7). The first honest share means that a quorum's finishes
//!   exist. If the leader is among that quorum, no quorum of refusals can exist, every valid vote
//!   is for it, and all decide. That has probability `q/n` at least, independent of all that was
//!   fixed before the coin.
//! - *Jumping is harmless.* Every basis contains or implies a quorum of refusals, so that only a
//!   view whose leader had not finished can be left by R11.
//! - *A slow server catches up* without any message of the views it missed: a proposal proves its
//!   view, a decision proves itself, and an honest server that is ahead sends one of the two.
//!
//! # Bounds
//! Messages O(n²) a view, certificates included O(n³) signatures; expected constant views. State:
//! of each peer one proposal, lock, finish, share, coin, refusal, vote and decision, and of peers
//! that
//! are ahead, one message of each kind in the furthest view heard of: at most
//! [`ITEMS_PER_PARTY_MAX`] items a peer. A basis or decision that does not hold is the last that is
//! checked of its sender; at most one decision and one later view are checked at a time.
//!
//! # Blame
//! Two proposals or two votes of one server in one view are evidence if both signatures hold; a
//! proposal carries the proposer's echo for that, which nobody checks otherwise. Certificates that
//! do not hold are held against who sent them, never against those they name.
//!
//! # Sources
//! Guo, Lu, Lu, Tang, Xu, Zhang, "Speeding Dumbo: Pushing Asynchronous BFT Closer to Practice",
//! NDSS 2022: sMVBA. Deviations:
//! - Certificates of signatures instead of threshold signatures: they fit every structure, and a
//!   check is several times cheaper.
//! - A server that holds the lock of the leader votes at once; its vote says what its pre-vote
//!   would have. The refusals are the pre-votes.
//! - Learning the coin abandons (R6), and not already a quorum's finishes (R5): no message makes
//!   these known to others, and one that stopped echoing on what it alone was shown would keep
//!   them from finishing. Hence also ELECTED.
//! - A basis on a lock carries the refusals too, so that R11 can rely on it. The paper's servers
//!   keep all views until they halt and need no R11.
//! - Votes are checked when a quorum of them is there, all in one piece of work.
//! - Values travel in proposals and votes for them; finishes and decisions name them by digest.

mod attempt;
mod broadcasts;
mod catchup;
mod decision;
mod election;
mod message;
mod poll;
mod restart;
mod votes;

#[cfg(test)]
mod tests;

use crate::{Value, digest_of};
use attempt::Attempt;
use catchup::{Ahead, Jump, Verdict};
use maftia_base::protocol::{Never, Vocabulary};
use maftia_base::wire::Blob;
use maftia_base::wire::Wire;
use maftia_base::{
    Context, Digest, Event, Fault, FaultKind, Party, PartySet, Protocol, SignedStatement,
};
use maftia_crypto::{Claim, Done, Signed, Suite, Work};
use poll::Gather;
use std::collections::BTreeMap;

pub use decision::{Decision, Election, Elections, Proof};
pub use message::{Basis, Choice, Message, Record, Step, View};

/// Most items that an instance holds on behalf of each peer.
pub const ITEMS_PER_PARTY_MAX: usize = 21;

/// What the layer above asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command<V: Value> {
    /// Propose this value, which satisfies the predicate. Only the first counts.
    Propose(V),
    /// The value with this digest, asked for by [`Outcome::Validate`], satisfies the predicate.
    Accept(Digest),
}

/// What the layer above is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<S: Suite, V: Value> {
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
        proof: Decision<S>,
        /// 256 bits, the same at every server.
        seed: Digest,
    },
}

/// Which work came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ticket<S: Suite> {
    /// This server's echo.
    Echo {
        /// In which view.
        view: View,
        /// Which broadcast.
        step: Step,
        /// Of whom.
        proposer: Party,
    },
    /// This server's share of the coin.
    Share(View),
    /// This server's refusal.
    Refuse(View),
    /// This server's vote.
    Vote(View),
    /// Echoes of this server's broadcast.
    Echoes(View, Step),
    /// The lock that this proposer sent.
    Lock(View, Party),
    /// Finishes.
    Finishes(View),
    /// The coin of a view.
    Coin(View),
    /// The proof of a view's coin that this party sent.
    Proof(View, Party),
    /// Refusals.
    Refusals(View),
    /// Votes.
    Votes(View),
    /// One part of the check of what entitles a proposal to be made.
    Basis {
        /// In which view.
        view: View,
        /// By whom.
        proposer: Party,
        /// Is it checked in order to get to that view? It may be checked again once there.
        jump: bool,
        /// Which part.
        part: u8,
    },
    /// One part of the check of a decision.
    Decision {
        /// Whose word it is.
        from: Party,
        /// Which part.
        part: u8,
    },
    /// Two statements of one party that conflict, if it signed both.
    Conflict(Party, Box<[Signed<S>; 2]>),
}

/// A question that was put to the layer above.
#[derive(Clone, Debug, Hash)]
struct Asked {
    /// The last view in which somebody proposed it.
    view: View,
    accepted: bool,
}

/// One instance of validated agreement.
#[derive(Clone, Debug, Hash)]
pub struct ValidatedAgreement<S: Suite, V: Value> {
    /// The value that the layer above asked to propose.
    input: Option<V>,
    /// The view that this server is in.
    attempt: Attempt<S, V>,
    /// The first view's coin: the agreed seed, and its proof.
    first: Option<(Digest, Election<S>)>,
    /// What was put to the layer above.
    asked: BTreeMap<Digest, Asked>,
    /// What peers said in views that this server has not reached.
    ahead: BTreeMap<Party, Ahead<S, V>>,
    /// The proposal of a later view whose basis is being checked.
    jump: Option<Jump<S, V>>,
    /// Unchecked decisions.
    claims: BTreeMap<Party, (Digest, Decision<S>)>,
    /// Whose decision is being checked.
    claim: Option<(Party, Gather<Done<S>>)>,
    /// What was decided.
    verdict: Option<Verdict<S, V>>,
    /// Who got which value since it last reconnected, and how often.
    answered: BTreeMap<Party, (Digest, u8)>,
    /// Who sent a lock, or a certificate about views or decisions, that does not hold.
    distrusted: PartySet,
    /// Who was found to contradict itself.
    accused: PartySet,
}

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// An instance in which nobody has proposed yet.
    pub fn new() -> Self {
        Self {
            input: None,
            attempt: Attempt::new(View::FIRST, Basis::First, None),
            first: None,
            asked: BTreeMap::new(),
            ahead: BTreeMap::new(),
            jump: None,
            claims: BTreeMap::new(),
            claim: None,
            verdict: None,
            answered: BTreeMap::new(),
            distrusted: PartySet::EMPTY,
            accused: PartySet::EMPTY,
        }
    }

    /// The view that it is in.
    pub fn view(&self) -> View {
        self.attempt.view
    }

    /// Has the layer above given it a value to propose?
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }
}

impl<S: Suite, V: Value> Default for ValidatedAgreement<S, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Suite, V: Value> Vocabulary for ValidatedAgreement<S, V> {
    const NAME: &'static str = "multivalued";
    type Command = Command<V>;
    type Outcome = Outcome<S, V>;
    type Message = Message<S, V>;
    type Timer = Never;
    type Ticket = Ticket<S>;
    type Work = Work<S>;
    type Done = Done<S>;
    type Record = Record<S, V>;
}

impl<S: Suite, V: Value> Protocol for ValidatedAgreement<S, V> {
    fn handle(&mut self, event: Event<Self>, cx: &mut impl Context<Self>) {
        match event {
            Event::Command(command) if self.verdict.is_none() => match command {
                Command::Propose(value) => self.on_input(value, cx),
                Command::Accept(digest) => self.on_accept(digest, cx),
            },
            Event::Command(_) => {}
            Event::Message { from, body } => self.on_message(from, body, cx),
            Event::Timer(never) => match never {},
            Event::Done { ticket, done } => self.on_done(ticket, done, cx),
            Event::Restore(record) => return self.on_restore(record, cx),
            Event::Resumed => self.on_resumed(cx),
            Event::Reconnected(peer) => self.on_reconnected(peer, cx),
        }
        self.try_jump(cx);
        self.try_claim(cx);
    }

    fn is_settled(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.value.is_some())
    }

    fn footprint(&self) -> usize {
        let ahead: usize = self.ahead.values().map(Ahead::len).sum();
        self.attempt.footprint()
            + self.asked.len()
            + ahead
            + self.claims.len()
            + self.answered.len()
    }
}

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    fn on_message(&mut self, from: Party, body: Message<S, V>, cx: &mut impl Context<Self>) {
        match body {
            Message::Decided { digest, decision } => self.on_decided(from, digest, decision),
            Message::Ask { digest } => self.on_ask(from, digest, cx),
            Message::Answer { value } => self.on_answer(value, cx),
            body => {
                let view = body.view().expect("all others belong to a view");
                if !view.exists() {
                    return cx.blame(Fault::suspected(from, FaultKind::Malformed));
                }
                if self.verdict.is_some() || from == cx.group().me() {
                    return;
                }
                match view.cmp(&self.attempt.view) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => self.on_present(from, body, cx),
                    std::cmp::Ordering::Greater => self.on_ahead(from, view, body, cx),
                }
            }
        }
    }

    /// A message of the view that this server is in.
    fn on_present(&mut self, from: Party, body: Message<S, V>, cx: &mut impl Context<Self>) {
        match body {
            Message::Propose { value, basis, signature, .. } => {
                self.on_propose(from, value, basis, signature, cx);
            }
            Message::Echo { step, signature, .. } => self.on_echo(from, step, signature, cx),
            Message::Lock { digest, certificate, .. } => {
                self.on_lock(from, digest, certificate, cx);
            }
            Message::Finish { digest, certificate, .. } => {
                self.on_finish(from, digest, certificate, cx);
            }
            Message::Share { share, .. } => {
                self.attempt.shares.insert(from, share);
                self.try_coin(cx);
            }
            Message::Elected { election, .. } => self.on_elected(from, election, cx),
            Message::Refuse { signature, .. } => {
                self.attempt.refusals.insert(from, signature);
                self.try_refusals(cx);
            }
            Message::Vote { choice, signature, .. } => self.on_vote(from, choice, signature, cx),
            Message::Decided { .. } | Message::Ask { .. } | Message::Answer { .. } => {}
        }
    }

    fn on_done(&mut self, ticket: Ticket<S>, done: Done<S>, cx: &mut impl Context<Self>) {
        if let Ticket::Conflict(culprit, statements) = ticket {
            return self.on_conflict(culprit, *statements, &done, cx);
        }
        if self.verdict.is_some() {
            return;
        }
        let now = self.attempt.view;
        match (ticket, done) {
            (Ticket::Basis { view, proposer, jump: true, part }, done) => {
                self.on_basis(view, proposer, part, done, cx);
            }
            (Ticket::Basis { view, proposer, jump: false, part }, done) if view == now => {
                self.on_basis_checked(proposer, part, done, cx);
            }
            (Ticket::Decision { from, part }, done) => self.on_claim(from, part, done, cx),
            (Ticket::Echo { view, step, proposer }, Done::Signed(signed)) if view == now => {
                self.on_my_echo(step, proposer, signed.signature, cx);
            }
            (Ticket::Share(view), Done::CoinShare(share)) if view == now => {
                self.on_my_share(share, cx);
            }
            (Ticket::Refuse(view), Done::Signed(signed)) if view == now => {
                self.on_my_refusal(signed.signature, cx);
            }
            (Ticket::Vote(view), Done::Signed(signed)) if view == now => {
                self.on_my_vote(signed.signature, cx);
            }
            (Ticket::Echoes(view, step), Done::Verified(verdicts)) if view == now => {
                self.on_echoes(step, &verdicts, cx);
            }
            (Ticket::Lock(view, proposer), done) if view == now => {
                self.on_lock_checked(proposer, &done, cx);
            }
            (Ticket::Finishes(view), Done::Verified(verdicts)) if view == now => {
                self.on_finishes(&verdicts, cx);
            }
            (Ticket::Coin(view), Done::Coin { value, good, faults }) if view == now => {
                self.on_coin(value, &good, faults, cx);
            }
            (Ticket::Proof(view, from), Done::Coin { value, .. }) if view == now => {
                self.on_proof(from, value, cx);
            }
            (Ticket::Refusals(view), Done::Verified(verdicts)) if view == now => {
                self.on_refusals(&verdicts, cx);
            }
            (Ticket::Votes(view), Done::Verified(verdicts)) if view == now => {
                self.on_votes(&verdicts, cx);
            }
            // Work for a view that this server has left.
            _ => {}
        }
    }

    /// Claims that all who are named in `parties` are to be blamed in the same way.
    fn blame_all(parties: Vec<Party>, kind: FaultKind, cx: &mut impl Context<Self>) {
        parties.into_iter().for_each(|party| cx.blame(Fault::suspected(party, kind)));
    }

    /// `culprit` contradicts itself: look for proof, once.
    fn accuse(&mut self, culprit: Party, signed: [Signed<S>; 2], cx: &mut impl Context<Self>) {
        if !self.accused.insert(culprit) {
            return;
        }
        let claims = signed.iter().map(|signed| Claim {
            party: culprit,
            statement: signed.statement,
            signature: signed.signature.clone(),
        });
        let work = Work::Verify(claims.collect());
        cx.offload(Ticket::Conflict(culprit, Box::new(signed)), work);
    }

    fn on_conflict(
        &mut self,
        culprit: Party,
        [first, second]: [Signed<S>; 2],
        done: &Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        let proof = |signed: Signed<S>| SignedStatement {
            statement: signed.statement,
            signature: Blob::new(signed.signature.to_wire())
                .expect("a suite's signatures encode to at most 128 bytes"),
        };
        // It said both to us, if it did not sign both: no honest party does.
        cx.blame(match decision::all_true(done) {
            true => Fault::conflict(culprit, proof(first), proof(second)),
            false => Fault::suspected(culprit, FaultKind::Equivocation),
        });
    }

    /// The value with this digest, wherever it is.
    fn value(&self, digest: Digest) -> Option<&V> {
        let decided = self.verdict.as_ref().filter(|verdict| verdict.digest == digest);
        let input = self.input.as_ref().filter(|input| digest_of(*input) == digest);
        let decided = decided.and_then(|verdict| verdict.value.as_ref());
        decided.or_else(|| self.attempt.value(digest)).or(input)
    }
}
