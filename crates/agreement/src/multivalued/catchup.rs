//! R11 to R13: servers that are ahead, servers that are behind, and the end.

use super::attempt::Attempt;
use super::message::{Basis, Message, Record, View};
use super::poll::Gather;
use super::{Decision, Outcome, Ticket, ValidatedAgreement};
use crate::{Value, digest_of};
use maftia_base::canary;
use maftia_base::{Context, Digest, Fault, FaultKind, Party, Target};
use maftia_crypto::{Done, Suite, Work};

/// How often a peer that does not reconnect is given a value.
const ANSWERS_MAX: u8 = 4;

/// What one peer said in the furthest view that it was heard in.
#[derive(Clone, Debug, Hash)]
pub(super) struct Ahead<S: Suite, V: Value> {
    view: View,
    /// One of each kind.
    messages: Vec<Message<S, V>>,
}

/// A proposal of a later view whose basis is being checked: to the end, whatever its proposer says
/// meanwhile, so that it cannot say false things for ever. (R11)
#[derive(Clone, Debug, Hash)]
pub(super) struct Jump<S: Suite, V: Value> {
    proposer: Party,
    view: View,
    value: V,
    basis: Basis<S>,
    check: Gather<Done<S>>,
}

impl<S: Suite, V: Value> Ahead<S, V> {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    fn proposal(&self) -> Option<(&V, &Basis<S>)> {
        self.messages.iter().find_map(|message| match message {
            Message::Propose { value, basis, .. } => Some((value, basis)),
            _ => None,
        })
    }
}

/// What was decided.
#[derive(Clone, Debug, Hash)]
pub(super) struct Verdict<S: Suite, V: Value> {
    pub(super) digest: Digest,
    pub(super) decision: Decision<S>,
    pub(super) seed: Digest,
    /// Absent while peers are asked for it.
    pub(super) value: Option<V>,
}

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// A message of a view that this server has not reached: one of a kind is kept. (R11)
    pub(super) fn on_ahead(
        &mut self,
        from: Party,
        view: View,
        body: Message<S, V>,
        cx: &mut impl Context<Self>,
    ) {
        if let Message::Propose { basis: Basis::First, .. } = &body {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        // An echo answers what this server sent, and it has sent nothing there.
        let is_answer = matches!(body, Message::Echo { .. });
        if is_answer || self.distrusted.contains(from) {
            return;
        }
        let known = self.ahead.get(&from).map(|ahead| ahead.view);
        if known.is_none_or(|known| known < view) {
            self.ahead.insert(from, Ahead { view, messages: Vec::new() });
        } else if known.is_some_and(|known| known > view) {
            return;
        }
        let ahead = self.ahead.get_mut(&from).expect("it has just been made");
        let kind = std::mem::discriminant(&body);
        if ahead.messages.iter().all(|kept| std::mem::discriminant(kept) != kind) {
            ahead.messages.push(body);
        }
    }

    /// Has the basis of the furthest proposal checked, one at a time. (R11)
    pub(super) fn try_jump(&mut self, cx: &mut impl Context<Self>) {
        while self.jump.is_none() && self.verdict.is_none() {
            let candidates = self.ahead.iter().filter(|(_, ahead)| ahead.proposal().is_some());
            let Some((&proposer, ahead)) = candidates.max_by_key(|(_, ahead)| ahead.view) else {
                return;
            };
            let (value, basis) = ahead.proposal().expect("it was chosen for it");
            let (value, basis) = (value.clone(), basis.clone());
            let (view, digest) = (ahead.view, digest_of(&value));
            match basis.checks(cx.scope(), cx.group(), (view, digest), None) {
                None => self.distrust(proposer, cx),
                Some(checks) => {
                    let check = Gather::new(checks.len());
                    self.jump = Some(Jump { proposer, view, value, basis, check });
                    let ticket = |part| Ticket::Basis { view, proposer, jump: true, part };
                    Self::offload_parts(checks, ticket, cx);
                }
            }
        }
    }

    /// Whoever sends a proof that does not hold has no more of them checked. (R3, R11, R12)
    pub(super) fn distrust(&mut self, liar: Party, cx: &mut impl Context<Self>) {
        self.distrusted.insert(liar);
        self.ahead.remove(&liar);
        self.claims.remove(&liar);
        cx.blame(Fault::suspected(liar, FaultKind::BadCertificate));
    }

    /// Part of the check of a basis is back. (R2, R11)
    pub(super) fn on_basis(
        &mut self,
        view: View,
        proposer: Party,
        part: u8,
        done: Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        let is_it = |jump: &&mut Jump<S, V>| (jump.proposer, jump.view) == (proposer, view);
        let Some(jump) = self.jump.as_mut().filter(is_it) else { return };
        let Some(dones) = jump.check.put(part, done) else { return };
        let Jump { value, basis, .. } = self.jump.take().expect("it was looked at just now");
        if !basis.holds(cx.group(), &dones) {
            return self.distrust(proposer, cx);
        }
        if view <= self.attempt.view {
            return;
        }
        let elections = basis.elections().expect("only the first view's basis has none");
        let coins = dones.split_last().map_or(&[][..], |(_, coins)| coins);
        let seed = elections.holds(cx.group(), coins).expect("the basis holds, hence they do");
        self.first.get_or_insert((seed, elections.first.clone()));
        let value = matches!(basis, Basis::Locked { .. }).then_some(value);
        self.enter(view, basis, value, cx);
    }

    /// What peers said of this view before it began here. (R11)
    pub(super) fn replay_ahead(&mut self, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        let (now, later) = std::mem::take(&mut self.ahead)
            .into_iter()
            .filter(|(_, ahead)| ahead.view >= view)
            .partition(|(_, ahead)| ahead.view == view);
        self.ahead = later;
        let now: std::collections::BTreeMap<Party, Ahead<S, V>> = now;
        for (from, ahead) in now {
            for message in ahead.messages {
                self.on_message(from, message, cx);
            }
        }
    }

    /// [`Message::Decided`]: one a peer is kept. (R12)
    pub(super) fn on_decided(&mut self, from: Party, digest: Digest, decision: Decision<S>) {
        if self.verdict.is_none() && !self.distrusted.contains(from) {
            self.claims.entry(from).or_insert((digest, decision));
        }
    }

    /// Has one decision checked, unless this server's own work may make that needless. (R12)
    pub(super) fn try_claim(&mut self, cx: &mut impl Context<Self>) {
        while self.verdict.is_none() && self.claim.is_none() && !self.attempt.is_busy() {
            let Some((&from, (digest, decision))) = self.claims.first_key_value() else { return };
            match decision.checks(cx.scope(), cx.group(), *digest) {
                None => self.distrust(from, cx),
                Some(checks) => {
                    self.claim = Some((from, Gather::new(checks.len())));
                    Self::offload_parts(checks, |part| Ticket::Decision { from, part }, cx);
                }
            }
        }
    }

    /// Part of the check of a decision is back. (R12)
    pub(super) fn on_claim(
        &mut self,
        from: Party,
        part: u8,
        done: Done<S>,
        cx: &mut impl Context<Self>,
    ) {
        let claim = self.claim.as_mut().filter(|(claimant, _)| *claimant == from);
        let Some(dones) = claim.and_then(|(_, check)| check.put(part, done)) else { return };
        self.claim = None;
        let Some((digest, decision)) = self.claims.remove(&from) else { return };
        let held = decision.holds(cx.group(), &dones);
        match canary!("multivalued-decision-unchecked", held.or(Some(digest)), held) {
            Some(seed) => self.decide(digest, decision, seed, cx),
            None => self.distrust(from, cx),
        }
    }

    /// Decides, tells everybody the proof, and asks for the value if it never came. (R12)
    pub(super) fn decide(
        &mut self,
        digest: Digest,
        decision: Decision<S>,
        seed: Digest,
        cx: &mut impl Context<Self>,
    ) {
        let value = self.value(digest).cloned();
        cx.send(Target::Others, Message::Decided { digest, decision: decision.clone() });
        self.verdict = Some(Verdict { digest, decision, seed, value: None });
        self.attempt = Attempt::new(View::FIRST, Basis::First, None);
        self.asked.clear();
        self.ahead.clear();
        self.claims.clear();
        (self.jump, self.claim) = (None, None);
        match value {
            Some(value) => self.deliver(value, cx),
            None => cx.send(Target::Others, Message::Ask { digest }),
        }
    }

    fn deliver(&mut self, value: V, cx: &mut impl Context<Self>) {
        let verdict = self.verdict.as_mut().expect("what is delivered was decided");
        verdict.value = Some(value.clone());
        let (proof, seed) = (verdict.decision.clone(), verdict.seed);
        cx.note(Record::Decided { value: value.clone(), decision: proof.clone(), seed });
        cx.output(Outcome::Decided { value, proof, seed });
    }

    /// [`Message::Ask`]: answered [`ANSWERS_MAX`] times until the peer reconnects. A question of
    /// an earlier run of the peer may come late, and its answer mean nothing to the present one.
    /// (R13)
    pub(super) fn on_ask(&mut self, from: Party, digest: Digest, cx: &mut impl Context<Self>) {
        let Some(value) = self.value(digest).cloned() else { return };
        let times = self.answered.get(&from).map_or(0, |(_, times)| *times);
        let most = canary!("multivalued-answers-once", 1, ANSWERS_MAX);
        if from != cx.group().me() && times < most {
            self.answered.insert(from, (digest, times + 1));
            cx.send(Target::One(from), Message::Answer { value });
        }
    }

    /// [`Message::Answer`]: the digest says whether it is the one. (R13)
    pub(super) fn on_answer(&mut self, value: V, cx: &mut impl Context<Self>) {
        let missing = self.verdict.as_ref().filter(|verdict| verdict.value.is_none());
        if missing.is_some_and(|verdict| verdict.digest == digest_of(&value)) {
            self.deliver(value, cx);
        }
    }

    /// Work in several parts. (R2, R11, R12)
    pub(super) fn offload_parts(
        works: Vec<Work<S>>,
        ticket: impl Fn(u8) -> Ticket<S>,
        cx: &mut impl Context<Self>,
    ) {
        for (part, work) in works.into_iter().enumerate() {
            cx.offload(ticket(u8::try_from(part).expect("a proof has three parts at most")), work);
        }
    }
}
