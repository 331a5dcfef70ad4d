//! R7 to R10: what follows when the leader's finish is not at hand.

use super::attempt::{Attempt, LockedValue, Mine};
use super::decision::is_quorum;
use super::message::{Basis, Choice, Message, Record, Step, echo, refusal, vote};
use super::{Decision, Proof, Ticket, ValidatedAgreement};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::{Context, Digest, Fault, FaultKind, Party, Target};
use maftia_crypto::{Certificate, Claim, Signed, Suite, Work};

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// The lock of the leader that this server recorded, or saw in a vote. (R7)
    pub(super) fn my_lock(&self, leader: Party) -> Option<LockedValue<S, V>> {
        let recorded = self.attempt.slots.get(&leader).and_then(|slot| {
            let (proposal, lock) = (slot.proposal.as_ref()?, slot.lock.clone()?);
            Some(LockedValue { value: proposal.value.clone(), digest: proposal.digest, lock })
        });
        let recorded = canary!("multivalued-refuses-with-lock", None, recorded);
        recorded.or_else(|| self.attempt.leader_lock.clone())
    }

    /// Refuses the leader: from here on, never echoes a lock in this view. (R7)
    pub(super) fn refuse(&mut self, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        assert!(self.attempt.abandoned, "who refuses has stopped echoing");
        self.announce_coin(cx);
        self.attempt.refused = Mine::Signing;
        cx.persist(Record::Refused { view });
        cx.offload(Ticket::Refuse(view), Work::Sign(refusal(cx.scope(), view)));
    }

    /// This server's refusal is signed. (R7)
    pub(super) fn on_my_refusal(&mut self, signature: S::Signature, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        self.attempt.refused = Mine::Signed(signature.clone());
        self.attempt.refusals.admit(cx.group().me(), signature.clone());
        cx.send(Target::Others, Message::Refuse { view, signature });
        self.try_refusals(cx);
    }

    /// Has refusals checked once they may be a quorum and would entitle to a vote. (R8)
    pub(super) fn try_refusals(&mut self, cx: &mut impl Context<Self>) {
        let (scope, view) = (cx.scope(), self.attempt.view);
        let refused = !self.attempt.refused.is_unsigned();
        if !refused || self.attempt.choice.is_some() || self.attempt.leader().is_none() {
            return;
        }
        let group = cx.group();
        let refusals = &mut self.attempt.refusals;
        let statement = refusal(scope, view);
        if group.structure().is_quorum(refusals.voters()) {
            let good = refusals.good().iter();
            let refusals = Certificate::new(good.map(|(party, signature)| {
                (*party, Signed { statement, signature: signature.clone() })
            }));
            self.attempt.refuted = Some(refusals.clone());
            return self.vote(Choice::No { refusals }, cx);
        }
        if refusals.is_due(|heard| group.structure().is_quorum(heard)) {
            let claims = refusals.start(group.parties(), |party, signature| {
                vec![Claim { party, statement, signature: signature.clone() }]
            });
            cx.offload(Ticket::Refusals(view), Work::Verify(claims));
        }
    }

    /// Refusals have been checked. (R8)
    pub(super) fn on_refusals(&mut self, verdicts: &[bool], cx: &mut impl Context<Self>) {
        let bad = self.attempt.refusals.settle(verdicts);
        Self::blame_all(bad, FaultKind::BadSignature, cx);
        self.try_refusals(cx);
    }

    /// Votes, once a view. (R7, R8)
    pub(super) fn vote(&mut self, choice: Choice<S, V>, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        assert!(self.attempt.choice.is_none(), "a server votes once a view");
        if self.attempt.refused.is_unsigned() {
            self.announce_coin(cx);
        }
        let record = Record::Voted { view, choice: choice.clone() };
        canary!("multivalued-vote-not-durable", cx.note(record), cx.persist(record));
        let statement = vote(cx.scope(), view, choice.digest());
        self.attempt.choice = Some(choice);
        self.attempt.voted = Mine::Signing;
        cx.offload(Ticket::Vote(view), Work::Sign(statement));
    }

    /// This server's vote is signed. (R8)
    pub(super) fn on_my_vote(&mut self, signature: S::Signature, cx: &mut impl Context<Self>) {
        let me = cx.group().me();
        self.attempt.voted = Mine::Signed(signature.clone());
        let choice = self.attempt.choice.clone().expect("it was signed for a choice");
        self.attempt.votes.admit(me, (choice, signature));
        let message = self.my_vote().expect("it has just been signed");
        cx.send(Target::Others, message);
        self.try_end(cx);
        self.try_votes(cx);
    }

    /// This server's vote as others get it. (R8)
    pub(super) fn my_vote(&self) -> Option<Message<S, V>> {
        let signature = self.attempt.voted.signature()?.clone();
        let choice = self.attempt.choice.clone()?;
        Some(Message::Vote { view: self.attempt.view, choice, signature })
    }

    /// [`Message::Vote`]. (R9)
    pub(super) fn on_vote(
        &mut self,
        from: Party,
        choice: Choice<S, V>,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        let (Choice::Yes { lock: proof, .. } | Choice::No { refusals: proof }) = &choice;
        if !is_quorum(proof, cx.group()) {
            return cx.blame(Fault::suspected(from, FaultKind::BadCertificate));
        }
        let digest = choice.digest();
        let earlier = self.attempt.votes.get(from).cloned();
        match earlier.map(|(choice, signature)| (choice.digest(), signature)) {
            None => self.attempt.votes.insert(from, (choice, signature)),
            Some((first, _)) if first == digest => {}
            Some((first, first_signature)) => {
                let statement = |choice| vote(cx.scope(), self.attempt.view, choice);
                let first = Signed { statement: statement(first), signature: first_signature };
                let second = Signed { statement: statement(digest), signature };
                self.accuse(from, [first, second], cx);
            }
        }
        self.try_votes(cx);
    }

    /// Has votes checked once they may be a quorum, or may entitle this server to vote. (R9)
    pub(super) fn try_votes(&mut self, cx: &mut impl Context<Self>) {
        let Some(leader) = self.attempt.leader().filter(|_| self.verdict.is_none()) else { return };
        let (scope, view, group) = (cx.scope(), self.attempt.view, cx.group());
        let undecided = self.attempt.choice.is_none();
        let known_lock = self.attempt.leader_lock.as_ref().map(|locked| locked.digest);
        let refuted = self.attempt.refuted.is_some();
        let votes = &mut self.attempt.votes;
        let tells = votes.waiting().values().any(|(choice, _)| choice.digest().is_some());
        let is_due =
            votes.is_due(|heard| group.structure().is_quorum(heard) || (undecided && tells));
        if !is_due {
            return;
        }
        let claims = votes.start(group.parties(), |party, (choice, signature)| {
            let digest = choice.digest();
            let statement = vote(scope, view, digest);
            let mut claims = vec![Claim { party, statement, signature: signature.clone() }];
            match (choice, digest) {
                (Choice::Yes { lock, .. }, Some(digest)) if known_lock != Some(digest) => {
                    claims.extend(lock.claims(echo(scope, view, Step::Lock, leader, digest)));
                }
                (Choice::No { refusals }, _) if !refuted => {
                    claims.extend(refusals.claims(refusal(scope, view)));
                }
                _ => {}
            }
            claims
        });
        cx.offload(Ticket::Votes(view), Work::Verify(claims));
    }

    /// Votes have been checked. (R9)
    pub(super) fn on_votes(&mut self, verdicts: &[bool], cx: &mut impl Context<Self>) {
        let bad = self.attempt.votes.settle(canary!(
            "multivalued-votes-unchecked",
            &[true; 4096][..verdicts.len()],
            verdicts
        ));
        Self::blame_all(bad, FaultKind::BadCertificate, cx);
        for (choice, _) in self.attempt.votes.good().values() {
            match choice {
                Choice::Yes { value, lock } if self.attempt.leader_lock.is_none() => {
                    let (value, digest) = (value.clone(), digest_of(value));
                    let lock = lock.clone();
                    self.attempt.leader_lock = Some(LockedValue { value, digest, lock });
                }
                Choice::No { refusals } if self.attempt.refuted.is_none() => {
                    self.attempt.refuted = Some(refusals.clone());
                }
                _ => {}
            }
        }
        let locked = self.attempt.leader_lock.clone();
        if let (Some(locked), Some(leader)) = (locked, self.attempt.leader()) {
            self.compare_with_lock(leader, locked.digest, &locked.lock, cx);
            if self.attempt.choice.is_none() {
                self.vote(Choice::Yes { value: locked.value, lock: locked.lock }, cx);
            }
        }
        self.try_end(cx);
        self.try_votes(cx);
    }

    /// Ends the view at a quorum of good votes. (R9, R10)
    pub(super) fn try_end(&mut self, cx: &mut impl Context<Self>) {
        let good = self.attempt.votes.good();
        let enough = cx.group().structure().is_quorum(self.attempt.votes.voters());
        // A restarted server may have voted and not yet learnt again who leads.
        if !enough || self.verdict.is_some() || self.attempt.leader().is_none() {
            return;
        }
        let for_it = |digest: Option<Digest>| {
            let statement = vote(cx.scope(), self.attempt.view, digest);
            let votes = good.iter().filter(move |(_, (choice, _))| choice.digest() == digest);
            Certificate::new(votes.map(move |(party, (_, signature))| {
                (*party, Signed { statement, signature: signature.clone() })
            }))
        };
        let Some(locked) = self.attempt.leader_lock.clone() else {
            let basis = Basis::Free { votes: for_it(None), elections: self.elections() };
            return self.enter_next(basis, None, cx);
        };
        let votes = for_it(Some(locked.digest));
        if is_quorum(&votes, cx.group()) {
            return self.conclude(locked.digest, Proof::Votes(votes), cx);
        }
        let refusals = self.attempt.refuted.clone();
        let refusals = refusals.expect("a quorum of votes without a quorum for it has one against");
        let elections = self.elections();
        let basis = Basis::Locked { lock: locked.lock, refusals, elections };
        self.enter_next(basis, Some(locked.value), cx);
    }

    fn enter_next(&mut self, basis: Basis<S>, value: Option<V>, cx: &mut impl Context<Self>) {
        self.enter(self.attempt.view.next(), basis, value, cx);
    }

    /// Decides in this view. (R6, R9)
    pub(super) fn conclude(
        &mut self,
        digest: Digest,
        proof: Proof<S>,
        cx: &mut impl Context<Self>,
    ) {
        let elections = self.elections();
        let (seed, _) = self.first.clone().expect("elections are known with the first coin");
        let decision = Decision { view: self.attempt.view, elections, proof };
        self.decide(digest, decision, seed, cx);
    }

    /// Begins the next view, or one further ahead that somebody proved to have begun. (R10)
    pub(super) fn enter(
        &mut self,
        view: super::View,
        basis: Basis<S>,
        value: Option<V>,
        cx: &mut impl Context<Self>,
    ) {
        assert!(view > self.attempt.view, "views only grow");
        let (seed, _) = self.first.clone().expect("a later view is entered with the first coin");
        let record = Record::Entered { view, basis: basis.clone(), seed, value: value.clone() };
        cx.note(record);
        self.attempt = Attempt::new(view, basis, value.clone());
        let last = view.previous().expect("the first view is not entered");
        self.asked.retain(|_, asked| asked.view >= last);
        if let Some(value) = value.or_else(|| self.input.clone()) {
            self.propose(value, cx);
        }
        self.replay_ahead(cx);
    }
}
