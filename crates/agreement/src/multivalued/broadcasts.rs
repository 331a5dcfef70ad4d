//! R1 to R4: every party's two consecutive broadcasts, up to the finish.

use super::attempt::{Mine, MyShare, Proposal};
use super::decision::is_quorum;
use super::message::{Basis, Message, Record, Step, View, echo};
use super::poll::Gather;
use super::{Asked, Outcome, Ticket, ValidatedAgreement};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::{Context, Digest, Fault, FaultKind, Party, PartySet, Scope, Target};
use maftia_crypto::{Certificate, Claim, Done, Signed, Suite, Work};

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// [`Command::Propose`]. (R1)
    pub(super) fn on_input(&mut self, value: V, cx: &mut impl Context<Self>) {
        if self.input.is_some() {
            return;
        }
        self.input = Some(value.clone());
        let me = cx.group().me();
        let proposed = self.attempt.slots.get(&me).is_some_and(|slot| slot.proposal.is_some());
        if proposed || self.attempt.abandoned {
            cx.note(Record::Input { value });
        } else {
            self.propose(value, cx);
        }
    }

    /// Proposes in this view: records, then signs its own echo. (R1)
    pub(super) fn propose(&mut self, value: V, cx: &mut impl Context<Self>) {
        let (scope, me, view) = (cx.scope(), cx.group().me(), self.attempt.view);
        let digest = digest_of(&value);
        cx.persist(Record::Proposed { view, value: value.clone() });
        let basis = self.attempt.basis.clone();
        let slot = self.attempt.slot(me);
        assert!(slot.proposal.is_none(), "a server proposes once a view");
        slot.proposal = Some(Proposal { value, digest, basis, signature: None });
        slot.entitled = true;
        slot.echoes[Step::Lock as usize] = Mine::Signing;
        self.sign_echo(scope, Step::Lock, me, digest, cx);
        // The layer above answers for what it proposes, also when somebody else does.
        self.asked.insert(digest, Asked { view, accepted: true });
        self.try_echo_all(digest, cx);
    }

    pub(super) fn sign_echo(
        &self,
        scope: Scope,
        step: Step,
        proposer: Party,
        digest: Digest,
        cx: &mut impl Context<Self>,
    ) {
        let view = self.attempt.view;
        let statement = echo(scope, view, step, proposer, digest);
        cx.offload(Ticket::Echo { view, step, proposer }, Work::Sign(statement));
    }

    /// [`Message::Propose`]. (R2)
    pub(super) fn on_propose(
        &mut self,
        from: Party,
        value: V,
        basis: Basis<S>,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        let view = self.attempt.view;
        if matches!(basis, Basis::First) != (view == View::FIRST) {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        let digest = digest_of(&value);
        let slot = self.attempt.slot(from);
        let forgets = canary!("multivalued-echoes-twice", true, false);
        if forgets {
            (slot.proposal, slot.echoes) = (None, [Mine::Unsigned, Mine::Unsigned]);
        }
        if let Some(first) = &slot.proposal {
            if first.digest != digest {
                let first = first.signature.clone().map(|signature| (first.digest, signature));
                self.accuse_proposer(from, first, Some((digest, signature)), cx);
                return;
            }
            // The log may know it by its lock alone, and its proposer still lack this echo.
            canary!("multivalued-ignores-known-proposal", (), self.try_echo(from, cx));
            return;
        }
        slot.entitled = view == View::FIRST;
        slot.proposal = Some(Proposal { value, digest, basis, signature: Some(signature) });
        self.try_echo(from, cx);
        self.try_lock(from, cx);
    }

    /// A proposer contradicts itself; with both its signatures that is evidence. (R2)
    pub(super) fn accuse_proposer(
        &mut self,
        culprit: Party,
        first: Option<(Digest, S::Signature)>,
        second: Option<(Digest, S::Signature)>,
        cx: &mut impl Context<Self>,
    ) {
        let (scope, view) = (cx.scope(), self.attempt.view);
        let signed = |(digest, signature)| Signed {
            statement: echo(scope, view, Step::Lock, culprit, digest),
            signature,
        };
        match (first.map(signed), second.map(signed)) {
            (Some(first), Some(second)) => self.accuse(culprit, [first, second], cx),
            _ if self.accused.insert(culprit) => {
                cx.blame(Fault::suspected(culprit, FaultKind::Equivocation));
            }
            _ => {}
        }
    }

    /// A checked lock for another proposal than `proposer` sent here is a contradiction. (R2)
    pub(super) fn compare_with_lock(
        &mut self,
        proposer: Party,
        digest: Digest,
        lock: &Certificate<S>,
        cx: &mut impl Context<Self>,
    ) {
        let slot = self.attempt.slots.get(&proposer);
        let Some(proposal) = slot.and_then(|slot| slot.proposal.as_ref()) else { return };
        if proposal.digest == digest {
            return;
        }
        let sent = proposal.signature.clone().map(|signature| (proposal.digest, signature));
        let its = lock
            .ballots()
            .iter()
            .find(|ballot| ballot.party == proposer && ballot.annotation == Default::default());
        let locked = its.map(|ballot| (digest, ballot.signature.clone()));
        self.accuse_proposer(proposer, sent, locked, cx);
    }

    /// [`Command::Accept`]. (R2)
    pub(super) fn on_accept(&mut self, digest: Digest, cx: &mut impl Context<Self>) {
        if let Some(asked) = self.asked.get_mut(&digest) {
            asked.accepted = true;
            self.try_echo_all(digest, cx);
        }
    }

    fn try_echo_all(&mut self, digest: Digest, cx: &mut impl Context<Self>) {
        for proposer in cx.group().others().iter() {
            if self.attempt.slots.get(&proposer).and_then(|slot| slot.digest()) == Some(digest) {
                self.try_echo(proposer, cx);
            }
        }
    }

    /// Echoes a proposal that may be made and is valid. (R2)
    pub(super) fn try_echo(&mut self, proposer: Party, cx: &mut impl Context<Self>) {
        let (view, scope) = (self.attempt.view, cx.scope());
        if self.attempt.abandoned || !self.check_basis(proposer, cx) {
            return;
        }
        let slot = self.attempt.slot(proposer);
        let Some(proposal) = &slot.proposal else { return };
        if !slot.echoes[Step::Lock as usize].is_unsigned() {
            return;
        }
        // Whoever echoed what is locked held it for valid, and one of them is honest.
        let known_valid = matches!(proposal.basis, Basis::Locked { .. });
        let (digest, value) = (proposal.digest, proposal.value.clone());
        if !known_valid {
            let asked = self.asked.get_mut(&digest);
            let is_new = asked.is_none();
            let accepted = asked.is_some_and(|asked| {
                asked.view = view;
                asked.accepted
            });
            if is_new {
                self.asked.insert(digest, Asked { view, accepted: false });
                cx.output(Outcome::Validate { from: proposer, value: value.clone() });
            }
            if !canary!("multivalued-accepts-anything", true, accepted) {
                return;
            }
        }
        let record = Record::Echoed { view, proposer, value };
        canary!("multivalued-echo-not-durable", cx.note(record), cx.persist(record));
        self.attempt.slot(proposer).echoes[Step::Lock as usize] = Mine::Signing;
        self.sign_echo(scope, Step::Lock, proposer, digest, cx);
    }

    /// Does the basis of this proposal hold? If that is not known, has it checked. (R2)
    fn check_basis(&mut self, proposer: Party, cx: &mut impl Context<Self>) -> bool {
        let view = self.attempt.view;
        let known = self.attempt.basis.elections().map(|elections| elections.leader);
        let (locked, ours) = (self.attempt.locked, self.attempt.basis.clone());
        let slot = self.attempt.slot(proposer);
        let Some(proposal) = &slot.proposal else { return false };
        if slot.entitled || slot.basis_check.is_some() {
            return slot.entitled;
        }
        // That a basis of this kind exists is what counts: it need not be checked in every copy.
        slot.entitled = match &proposal.basis {
            Basis::Locked { .. } => locked == Some(proposal.digest),
            Basis::Free { .. } => matches!(ours, Basis::Free { .. }),
            Basis::First => true,
        };
        if slot.entitled {
            return true;
        }
        let subject = (view, proposal.digest);
        match proposal.basis.checks(cx.scope(), cx.group(), subject, known) {
            None => {
                // A check without parts never ends: it is blamed once, and not looked at again.
                slot.basis_check = Some(Gather::new(0));
                cx.blame(Fault::suspected(proposer, FaultKind::BadCertificate));
            }
            Some(checks) => {
                slot.basis_check = Some(Gather::new(checks.len()));
                let ticket = |part| Ticket::Basis { view, proposer, jump: false, part };
                Self::offload_parts(checks, ticket, cx);
            }
        }
        false
    }

    /// A basis of this view has been checked. (R2)
    pub(super) fn on_basis_checked(
        &mut self,
        proposer: Party,
        part: u8,
        done: Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        let slot = self.attempt.slot(proposer);
        let Some(dones) = slot.basis_check.as_mut().and_then(|check| check.put(part, done)) else {
            return;
        };
        let Some(proposal) = &slot.proposal else { return };
        if !proposal.basis.holds(cx.group(), &dones) {
            return cx.blame(Fault::suspected(proposer, FaultKind::BadCertificate));
        }
        slot.entitled = true;
        if matches!(proposal.basis, Basis::Locked { .. }) {
            self.attempt.locked = Some(proposal.digest);
        }
        self.try_echo(proposer, cx);
    }

    /// This server's echo is signed: out with it. (R1, R2, R3)
    pub(super) fn on_my_echo(
        &mut self,
        step: Step,
        proposer: Party,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        let (view, me) = (self.attempt.view, cx.group().me());
        let abandoned = self.attempt.abandoned;
        let slot = self.attempt.slot(proposer);
        if proposer == me && step == Step::Finish && slot.lock.is_none() {
            if abandoned {
                return;
            }
            let lock = self.attempt.certificates[Step::Lock as usize].clone();
            let lock = lock.expect("its echo is signed after the lock is complete");
            self.attempt.slot(me).lock = Some(lock.clone());
            cx.persist(Record::Locked { view, proposer, value: None, lock });
        }
        self.attempt.slot(proposer).echoes[step as usize] = Mine::Signed(signature.clone());
        if proposer != me {
            cx.send(Target::One(proposer), Message::Echo { view, step, signature });
            return;
        }
        self.attempt.echoes[step as usize].admit(me, signature);
        if step == Step::Lock {
            let propose = self.my_proposal(me).expect("its echo was signed for it");
            cx.send(Target::Others, propose);
        }
        self.try_echoes(step, cx);
    }

    /// This server's proposal as others get it, once it is signed. (R1)
    pub(super) fn my_proposal(&self, me: Party) -> Option<Message<S, V>> {
        let proposal = self.attempt.slots.get(&me)?.proposal.as_ref()?;
        Some(Message::Propose {
            view: self.attempt.view,
            value: proposal.value.clone(),
            basis: proposal.basis.clone(),
            signature: self.attempt.my_echo(me, Step::Lock)?.clone(),
        })
    }

    /// [`Message::Echo`]. (R3)
    pub(super) fn on_echo(
        &mut self,
        from: Party,
        step: Step,
        signature: S::Signature,
        cx: &mut impl Context<Self>,
    ) {
        self.attempt.echoes[step as usize].insert(from, signature);
        self.try_echoes(step, cx);
    }

    /// Has the echoes checked once they may be a quorum. (R3)
    pub(super) fn try_echoes(&mut self, step: Step, cx: &mut impl Context<Self>) {
        let (scope, view, me) = (cx.scope(), self.attempt.view, cx.group().me());
        let is_elected_away = self.attempt.leader().is_some_and(|leader| leader != me);
        let digest = self.attempt.slots.get(&me).and_then(|slot| slot.digest());
        // Nobody can have echoed what was not sent: it waits for our part of the exchange.
        let ready = self.attempt.my_echo(me, step).is_some();
        let done = self.attempt.certificates[step as usize].is_some();
        let Some(digest) = digest.filter(|_| ready && !done && !is_elected_away) else { return };
        if self.try_certificate(step, digest, cx) {
            return;
        }
        let group = cx.group();
        let poll = &mut self.attempt.echoes[step as usize];
        if poll.is_due(|heard| group.structure().is_quorum(heard)) {
            let statement = echo(scope, view, step, me, digest);
            let claims = poll.start(group.parties(), |party, signature| {
                vec![Claim { party, statement, signature: signature.clone() }]
            });
            cx.offload(Ticket::Echoes(view, step), Work::Verify(claims));
        }
    }

    /// Echoes have been checked. (R3)
    pub(super) fn on_echoes(&mut self, step: Step, verdicts: &[bool], cx: &mut impl Context<Self>) {
        let bad = self.attempt.echoes[step as usize].settle(verdicts);
        Self::blame_all(bad, FaultKind::BadSignature, cx);
        self.try_echoes(step, cx);
    }

    /// A quorum of good echoes makes a lock, or a finish. (R3, R4)
    fn try_certificate(&mut self, step: Step, digest: Digest, cx: &mut impl Context<Self>) -> bool {
        let (scope, view, me) = (cx.scope(), self.attempt.view, cx.group().me());
        let poll = &self.attempt.echoes[step as usize];
        let (voters, structure) = (poll.voters(), cx.group().structure());
        if !canary!(
            "multivalued-locks-on-few",
            structure.has_honest(voters),
            structure.is_quorum(voters)
        ) {
            return false;
        }
        let statement = echo(scope, view, step, me, digest);
        let certificate = Certificate::new(poll.good().iter().map(|(party, signature)| {
            (*party, Signed { statement, signature: signature.clone() })
        }));
        self.attempt.certificates[step as usize] = Some(certificate.clone());
        match step {
            Step::Lock => {
                cx.send(Target::Others, Message::Lock { view, digest, certificate });
                if !self.attempt.abandoned {
                    self.attempt.slot(me).echoes[Step::Finish as usize] = Mine::Signing;
                    self.sign_echo(scope, Step::Finish, me, digest, cx);
                }
            }
            Step::Finish => {
                let finish = Message::Finish { view, digest, certificate: certificate.clone() };
                cx.send(Target::Others, finish);
                self.attempt.finishes.admit(me, (digest, certificate));
                self.compute_share(cx);
                self.after_finish(cx);
            }
        }
        true
    }

    /// [`Message::Lock`]. (R3)
    pub(super) fn on_lock(
        &mut self,
        from: Party,
        digest: Digest,
        certificate: Certificate<S>,
        cx: &mut impl Context<Self>,
    ) {
        if self.distrusted.contains(from) {
            return;
        }
        if !is_quorum(&certificate, cx.group()) {
            return self.distrust(from, cx);
        }
        let slot = self.attempt.slot(from);
        if slot.offered.is_none() {
            slot.offered = Some((digest, certificate));
            self.try_lock(from, cx);
        }
    }

    /// Has a lock checked that this server could echo. (R3)
    pub(super) fn try_lock(&mut self, proposer: Party, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        if self.attempt.abandoned {
            return;
        }
        let slot = self.attempt.slot(proposer);
        let (Some(proposed), Some((digest, lock))) = (slot.digest(), slot.offered.clone()) else {
            return;
        };
        if slot.is_checking_lock || !slot.echoes[Step::Finish as usize].is_unsigned() {
            return;
        }
        if proposed != digest {
            // Both came from the proposer itself, so that nothing needs to be checked first.
            return self.compare_with_lock(proposer, digest, &lock, cx);
        }
        slot.is_checking_lock = true;
        let work = Work::Verify(self.news(proposer, Step::Lock, digest, &lock, cx));
        cx.offload(Ticket::Lock(view, proposer), work);
    }

    /// The claims of a certificate of echoes, without the one that this server made itself.
    pub(super) fn news(
        &self,
        proposer: Party,
        step: Step,
        digest: Digest,
        certificate: &Certificate<S>,
        cx: &impl Context<Self>,
    ) -> Vec<Claim<S>> {
        let me = cx.group().me();
        let mine = self.attempt.my_echo(proposer, step);
        let echoed = self.attempt.slots.get(&proposer).and_then(|slot| slot.digest());
        let statement = echo(cx.scope(), self.attempt.view, step, proposer, digest);
        let is_mine = |claim: &Claim<S>| {
            claim.party == me
                && claim.statement == statement
                && echoed == Some(digest)
                && mine == Some(&claim.signature)
        };
        certificate.claims(statement).filter(|claim| !is_mine(claim)).collect()
    }

    /// A lock has been checked: records it, then echoes it. (R3)
    pub(super) fn on_lock_checked(
        &mut self,
        proposer: Party,
        done: &Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        let (scope, view) = (cx.scope(), self.attempt.view);
        let abandoned = canary!("multivalued-echoes-after-refusing", false, self.attempt.abandoned);
        let slot = self.attempt.slot(proposer);
        slot.is_checking_lock = false;
        let Some((digest, lock)) = slot.offered.clone() else { return };
        if !canary!("multivalued-lock-unchecked", true, super::decision::all_true(done)) {
            slot.offered = None;
            return self.distrust(proposer, cx);
        }
        if abandoned {
            return;
        }
        let recorded = !slot.echoes[Step::Lock as usize].is_unsigned();
        let value = slot.proposal.as_ref().map(|proposal| proposal.value.clone());
        slot.lock = Some(lock.clone());
        slot.echoes[Step::Finish as usize] = Mine::Signing;
        let value = value.filter(|_| !recorded);
        let record = Record::Locked { view, proposer, value, lock };
        canary!("multivalued-lock-not-durable", cx.note(record), cx.persist(record));
        self.sign_echo(scope, Step::Finish, proposer, digest, cx);
    }

    /// [`Message::Finish`]. (R4)
    pub(super) fn on_finish(
        &mut self,
        from: Party,
        digest: Digest,
        certificate: Certificate<S>,
        cx: &mut impl Context<Self>,
    ) {
        if !is_quorum(&certificate, cx.group()) {
            return cx.blame(Fault::suspected(from, FaultKind::BadCertificate));
        }
        self.attempt.finishes.insert(from, (digest, certificate));
        match self.attempt.leader() {
            Some(leader) if leader == from => self.try_elected(cx),
            Some(_) => {}
            None => self.try_finishes(cx),
        }
    }

    /// Has the finishes checked once they may be a quorum. (R4)
    pub(super) fn try_finishes(&mut self, cx: &mut impl Context<Self>) {
        let group = cx.group();
        let is_due = self.attempt.finishes.is_due(|heard| group.structure().is_quorum(heard));
        if is_due && !self.attempt.tossing {
            self.check_finishes(group.parties(), cx);
        }
    }

    /// Has the finishes of `parties` checked. (R4, R6)
    pub(super) fn check_finishes(&mut self, parties: PartySet, cx: &mut impl Context<Self>) {
        let mut finishes = std::mem::take(&mut self.attempt.finishes);
        let claims = finishes.start(parties, |proposer, (digest, certificate)| {
            self.news(proposer, Step::Finish, *digest, certificate, cx)
        });
        self.attempt.finishes = finishes;
        cx.offload(Ticket::Finishes(self.attempt.view), Work::Verify(claims));
    }

    /// Finishes have been checked. (R4)
    pub(super) fn on_finishes(&mut self, verdicts: &[bool], cx: &mut impl Context<Self>) {
        let bad = self.attempt.finishes.settle(canary!(
            "multivalued-finish-unchecked",
            &[true; 4096][..verdicts.len()],
            verdicts
        ));
        Self::blame_all(bad, FaultKind::BadCertificate, cx);
        self.after_finish(cx);
    }

    /// Starts on this server's share of the coin; it may not leave yet. (R5)
    pub(super) fn compute_share(&mut self, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        if matches!(self.attempt.share, MyShare::Unknown) {
            self.attempt.share = MyShare::Computing;
            cx.offload(Ticket::Share(view), Work::CoinShare(view.coin(cx.scope())));
        }
    }
}
