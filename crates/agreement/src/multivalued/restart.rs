//! R14: what a server does after a crash, and for a peer that may have lost messages.

use super::attempt::{Attempt, LockedValue, Mine, Proposal, Slot};
use super::catchup::Verdict;
use super::message::{Basis, Choice, Message, Record, Step, View};
use super::{Asked, Outcome, Ticket, ValidatedAgreement};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::{Context, Digest, Party, Target};
use maftia_crypto::{Certificate, Suite, Work};

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// Replays one record. (R14)
    pub(super) fn on_restore(&mut self, record: Record<S, V>, cx: &mut impl Context<Self>) {
        let me = cx.group().me();
        match record {
            Record::Input { value } => self.input = Some(value),
            Record::Entered { view, basis, seed, value } => {
                let elections = basis.elections().expect("only the first view's basis has none");
                self.first = Some((seed, elections.first.clone()));
                self.attempt = Attempt::new(view, basis, value);
                self.asked.clear();
            }
            Record::Proposed { value, .. } => self.restore_proposed(me, value),
            Record::Echoed { proposer, value, .. } => {
                self.restore_proposal(proposer, value).echoes[Step::Lock as usize] = Mine::Signing;
            }
            Record::Locked { proposer, value, lock, .. } => {
                self.restore_locked(me, proposer, value, lock);
            }
            Record::Elected { coin, election, .. } => {
                self.attempt.abandoned = true;
                self.attempt.tossing = true;
                self.take_election(coin, election, cx);
            }
            Record::Refused { .. } => {
                self.attempt.abandoned = true;
                self.attempt.refused = Mine::Signing;
            }
            Record::Voted { choice, .. } => {
                self.attempt.abandoned = true;
                self.attempt.voted = Mine::Signing;
                match &choice {
                    Choice::Yes { value, lock } => {
                        let (value, digest) = (value.clone(), digest_of(value));
                        let lock = lock.clone();
                        self.attempt.leader_lock = Some(LockedValue { value, digest, lock });
                    }
                    Choice::No { refusals } => self.attempt.refuted = Some(refusals.clone()),
                }
                self.attempt.choice = Some(choice);
            }
            Record::Decided { value, decision, seed } => {
                let digest = digest_of(&value);
                let proof = decision.clone();
                self.verdict = Some(Verdict { digest, decision, seed, value: Some(value.clone()) });
                self.attempt = Attempt::new(View::FIRST, Basis::First, None);
                self.asked.clear();
                cx.output(Outcome::Decided { value, proof, seed });
            }
        }
    }

    fn restore_proposed(&mut self, me: Party, value: V) {
        let digest = digest_of(&value);
        if self.attempt.adopted.is_none() {
            self.input = Some(value.clone());
        }
        self.asked.insert(digest, Asked { view: self.attempt.view, accepted: true });
        self.restore_proposal(me, value).echoes[Step::Lock as usize] = Mine::Signing;
    }

    fn restore_proposal(&mut self, proposer: Party, value: V) -> &mut Slot<S, V> {
        let (digest, basis) = (digest_of(&value), self.attempt.basis.clone());
        let slot = self.attempt.slot(proposer);
        slot.entitled = true;
        slot.proposal = Some(Proposal { value, digest, basis, signature: None });
        slot
    }

    fn restore_locked(
        &mut self,
        me: Party,
        proposer: Party,
        value: Option<V>,
        lock: Certificate<S>,
    ) {
        if let Some(value) = value {
            self.restore_proposal(proposer, value);
        }
        let slot = self.attempt.slot(proposer);
        slot.lock = canary!("multivalued-lock-forgotten", None, Some(lock.clone()));
        slot.echoes[Step::Finish as usize] = Mine::Signing;
        if proposer == me {
            self.attempt.certificates[Step::Lock as usize] = Some(lock);
        }
    }

    /// Signs again everything that was recorded; what is signed is sent. (R14)
    pub(super) fn on_resumed(&mut self, cx: &mut impl Context<Self>) {
        let others = cx.group().others();
        if self.verdict.is_some() {
            return others.iter().for_each(|peer| self.send_all_to(peer, cx));
        }
        let (scope, view) = (cx.scope(), self.attempt.view);
        let me = cx.group().me();
        let mut echoes: Vec<(Step, Party, Digest)> = Vec::new();
        for (proposer, slot) in &self.attempt.slots {
            let Some(digest) = slot.digest() else { continue };
            for step in [Step::Lock, Step::Finish] {
                if matches!(slot.echoes[step as usize], Mine::Signing) {
                    echoes.push((step, *proposer, digest));
                }
            }
        }
        for (step, proposer, digest) in echoes {
            self.sign_echo(scope, step, proposer, digest, cx);
        }
        let slot = self.attempt.slots.get(&me);
        let lock = self.attempt.certificates[Step::Lock as usize].clone();
        if let (Some(digest), Some(certificate)) = (slot.and_then(Slot::digest), lock) {
            cx.send(Target::Others, Message::Lock { view, digest, certificate });
        }
        if self.attempt.tossing {
            self.compute_share(cx);
        }
        if let Some(message) = self.my_election() {
            cx.send(Target::Others, message);
        }
        if matches!(self.attempt.refused, Mine::Signing) {
            cx.offload(Ticket::Refuse(view), Work::Sign(super::message::refusal(scope, view)));
        }
        if let Some(choice) = &self.attempt.choice {
            let statement = super::message::vote(scope, view, choice.digest());
            cx.offload(Ticket::Vote(view), Work::Sign(statement));
        }
        self.propose_if_entitled(me, cx);
        // The crash may have come between learning the coin and acting on it.
        self.try_elected(cx);
    }

    /// The crash may have come between entering a view and proposing in it. (R14)
    fn propose_if_entitled(&mut self, me: Party, cx: &mut impl Context<Self>) {
        let proposed = self.attempt.slots.get(&me).is_some_and(|slot| slot.proposal.is_some());
        let value = self.attempt.adopted.clone().or_else(|| self.input.clone());
        if let Some(value) = value.filter(|_| !proposed && !self.attempt.abandoned) {
            self.propose(value, cx);
        }
    }

    /// `peer` may have lost what was sent to it. (R14)
    pub(super) fn on_reconnected(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        if peer != cx.group().me() {
            self.send_all_to(peer, cx);
        }
        // It may have asked again before this server was told, and not been heard.
        let asked = self.answered.remove(&peer);
        if let Some(value) = asked.and_then(|(digest, _)| self.value(digest)).cloned() {
            cx.send(Target::One(peer), Message::Answer { value });
        }
    }

    /// Everything current that `peer` may need. (R14)
    fn send_all_to(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let to = Target::One(peer);
        if let Some(verdict) = &self.verdict {
            let (digest, decision) = (verdict.digest, verdict.decision.clone());
            cx.send(to, Message::Decided { digest, decision });
            if verdict.value.is_none() {
                cx.send(to, Message::Ask { digest });
            }
            return;
        }
        let (view, me) = (self.attempt.view, cx.group().me());
        let mut messages: Vec<Message<S, V>> = Vec::new();
        messages.extend(self.my_proposal(me));
        for step in [Step::Lock, Step::Finish] {
            let signature = self.attempt.my_echo(peer, step).cloned();
            messages.extend(signature.map(|signature| Message::Echo { view, step, signature }));
        }
        let digest = self.attempt.slots.get(&me).and_then(Slot::digest);
        let [lock, finish] = self.attempt.certificates.clone();
        if let Some(digest) = digest {
            let lock = lock.map(|certificate| Message::Lock { view, digest, certificate });
            let finish = finish.map(|certificate| Message::Finish { view, digest, certificate });
            messages.extend(lock);
            messages.extend(finish);
        }
        messages.extend(self.my_share());
        messages.extend(self.my_election());
        let refusal = self.attempt.refused.signature().cloned();
        messages.extend(refusal.map(|signature| Message::Refuse { view, signature }));
        messages.extend(self.my_vote());
        messages.into_iter().for_each(|message| cx.send(to, message));
    }
}
