//! How what one server delivered comes to all, and what is shown is checked.

use super::machine::{Multicast, Outcome, Pause, Spreading, Ticket};
use super::message::{Message, Record};
use super::{GIVEN_MAX, RESENT_MAX};
use crate::hybrid::agreed::Proof;
use crate::{Value, digest_of};
use maftia_base::{Context, Digest, Fault, FaultKind, Party, PartySet, Target};
use maftia_crypto::{Suite, Work};

/// What a peer showed and is under verification, and the newest that came after it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Checking<V: Value> {
    now: (V, Proof),
    next: Option<(V, Proof)>,
}

impl<S: Suite, V: Value> Multicast<S, V> {
    /// Sends as many copies as it takes for one to arrive. (B4)
    pub(super) fn copies(&self, message: Message<V>, to: PartySet, cx: &mut impl Context<Self>) {
        let copies = match self.spreading {
            Spreading::Copies { omissions } => usize::from(omissions) + 1,
            Spreading::Acknowledged => 1,
        };
        for _ in 0..copies {
            to.iter().for_each(|peer| cx.send(Target::One(peer), message.clone()));
        }
    }

    /// Sees to it that all deliver. (B4)
    pub(super) fn spread(&mut self, resumed: bool, cx: &mut impl Context<Self>) {
        let Some((value, proof)) = self.delivered.clone() else { return };
        let askers = std::mem::take(&mut self.askers);
        match self.spreading {
            Spreading::Copies { .. } => {
                let mut others = self.peers();
                others.remove(self.sender);
                let to = match self.me == self.sender {
                    // It may have crashed after that, and recipients, too, before they delivered.
                    true if resumed => others,
                    // Its message has been sent already; but who asked has seen no decision.
                    true => askers,
                    false => others.union(askers),
                };
                self.copies(Message::Shown { value, proof }, to, cx);
            }
            Spreading::Acknowledged => {
                let digest = digest_of(&value);
                for peer in askers.iter() {
                    let value = value.clone();
                    cx.send(Target::One(peer), Message::Shown { value, proof });
                }
                for peer in self.peers().difference(askers).iter() {
                    cx.send(Target::One(peer), Message::Delivered { digest });
                }
                self.resent = 0;
                self.wait(cx);
            }
        }
    }

    /// Who has not said that it delivered the same.
    pub(super) fn unacknowledged(&self) -> PartySet {
        let Some((value, _)) = &self.delivered else { return self.peers() };
        let digest = digest_of(value);
        let told = self.acks.iter().filter(|(_, acked)| **acked == digest);
        let told: PartySet = told.map(|(party, _)| *party).collect();
        self.peers().difference(told)
    }

    fn wait(&mut self, cx: &mut impl Context<Self>) {
        if !self.unacknowledged().is_empty() && self.resent < RESENT_MAX {
            self.watch(Pause::Resend(self.resent), cx);
        }
    }

    /// Patience is over. (B4)
    pub(super) fn on_late(&mut self, round: u8, cx: &mut impl Context<Self>) {
        if round != self.resent {
            return; // It was begun before a restart.
        }
        let Some((value, proof)) = self.delivered.clone() else { return };
        self.resent += 1;
        for peer in self.unacknowledged().iter() {
            let value = value.clone();
            cx.send(Target::One(peer), Message::Shown { value, proof });
        }
        self.wait(cx);
    }

    /// Handles what a peer says that it delivered. (B4)
    pub(super) fn on_acknowledged(
        &mut self,
        from: Party,
        digest: Digest,
        cx: &mut impl Context<Self>,
    ) {
        let mine = self.delivered.as_ref().map(|(value, _)| digest_of(value));
        if self.acks.get(&from).is_none_or(|known| Some(*known) != mine) {
            self.acks.insert(from, digest);
        }
        if mine.is_some_and(|mine| mine != digest) {
            self.show(from, cx);
        }
    }

    /// Handles a question: what was delivered is shown, now or when it is. (B7)
    pub(super) fn on_ask(&mut self, from: Party, cx: &mut impl Context<Self>) {
        if self.delivered.is_some() {
            self.show(from, cx);
        } else {
            self.askers.insert(from);
        }
    }

    /// The component does not tell: do others know? (B7)
    pub(super) fn ask(&mut self, cx: &mut impl Context<Self>) {
        if self.me == self.sender {
            return; // It begins again.
        }
        self.asks = true;
        self.copies(Message::Ask, self.peers(), cx);
    }

    /// The sender does not know that this server delivered: it is told once more.
    pub(super) fn correct(&mut self, peer: Party, digest: Digest, cx: &mut impl Context<Self>) {
        let knows = self.acks.get(&peer) == Some(&digest);
        if knows && self.spreading == Spreading::Acknowledged {
            cx.send(Target::One(peer), Message::Delivered { digest });
        } else {
            self.show(peer, cx);
        }
    }

    fn show(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let Some((value, proof)) = self.delivered.clone() else { return };
        let given = self.given.entry(peer).or_default();
        if *given < GIVEN_MAX {
            *given += 1;
            cx.send(Target::One(peer), Message::Shown { value, proof });
        }
    }

    /// Messages to this peer may have been lost, or the peer restarted.
    pub(super) fn resend_delivered(
        &mut self,
        peer: Party,
        digest: Digest,
        cx: &mut impl Context<Self>,
    ) {
        if self.acks.get(&peer) == Some(&digest) {
            if self.spreading == Spreading::Acknowledged {
                cx.send(Target::One(peer), Message::Delivered { digest });
            }
        } else {
            self.show(peer, cx);
        }
    }

    /// Handles a message that was shown with its decision. (B5)
    pub(super) fn on_shown(
        &mut self,
        from: Party,
        value: V,
        proof: Proof,
        cx: &mut impl Context<Self>,
    ) {
        let digest = digest_of(&value);
        if self.knows(from, digest, cx) || self.barred.contains(&from) {
            return;
        }
        if let Some(checking) = self.checking.get_mut(&from) {
            if checking.now != (value.clone(), proof) {
                checking.next = Some((value, proof));
            }
            return;
        }
        let claim = self.question(cx.scope()).claim(&self.members, &proof);
        let Some(claim) = claim.filter(|_| proof.value() == Some(digest)) else {
            self.barred.insert(from);
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        };
        self.checking.insert(from, Checking { now: (value, proof), next: None });
        cx.offload(Ticket::Check(from), Work::VerifySeals(vec![claim]));
    }

    /// Is nothing new in it? Who shows something has delivered it, and wants to hear the same.
    fn knows(&mut self, from: Party, digest: Digest, cx: &mut impl Context<Self>) -> bool {
        let mine = self.delivered.as_ref().map(|(value, _)| digest_of(value));
        if mine != Some(digest) && self.equivocated != Some(digest) {
            // A third message tells nothing that the second did not.
            return self.equivocated.is_some();
        }
        if mine == Some(digest) {
            self.acks.insert(from, digest);
        }
        if self.spreading == Spreading::Acknowledged {
            cx.send(Target::One(from), Message::Delivered { digest });
        }
        true
    }

    /// Handles the verdict on what was shown. (B5, B8)
    pub(super) fn on_checked(&mut self, from: Party, good: bool, cx: &mut impl Context<Self>) {
        let Some(Checking { now: (value, proof), next }) = self.checking.remove(&from) else {
            return;
        };
        if good {
            self.on_good(from, value, proof, cx);
        } else {
            self.barred.insert(from);
            cx.blame(Fault::suspected(from, FaultKind::BadSignature));
        }
        if let Some((value, proof)) = next {
            self.on_shown(from, value, proof, cx);
        }
    }

    fn on_good(&mut self, from: Party, value: V, proof: Proof, cx: &mut impl Context<Self>) {
        let digest = digest_of(&value);
        if self.delivered.is_none() {
            self.acks.insert(from, digest);
            return self.deliver(value, proof, cx);
        }
        if self.knows(from, digest, cx) {
            return;
        }
        self.equivocated = Some(digest);
        cx.persist(Record::Equivocated { value: value.clone(), proof });
        cx.blame(Fault::suspected(self.sender, FaultKind::Equivocation));
        cx.output(Outcome::Equivocated { value, proof });
        if self.spreading == Spreading::Acknowledged {
            cx.send(Target::One(from), Message::Delivered { digest });
        }
        // Who delivered that has to hear of the other one.
        self.show(from, cx);
    }
}
