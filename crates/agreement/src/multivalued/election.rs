//! R5 and R6: enough have finished; the coin names a leader.

use super::attempt::MyShare;
use super::decision::{Election, leader_of, seed_of};
use super::message::{Choice, Message, Record, View};
use super::{Elections, Proof, Ticket, ValidatedAgreement};
use crate::Value;
use maftia_base::canary;
use maftia_base::{Context, Digest, Fault, FaultKind, Party, PartySet, Target};
use maftia_crypto::{SignedShare, Suite, Work};

impl<S: Suite, V: Value> ValidatedAgreement<S, V> {
    /// A finish has become known. (R5, R6)
    pub(super) fn after_finish(&mut self, cx: &mut impl Context<Self>) {
        if self.attempt.leader().is_some() {
            return self.try_elected(cx);
        }
        let finished = self.attempt.finishes.voters();
        if cx.group().structure().is_quorum(finished) {
            self.toss(cx);
        } else {
            self.try_finishes(cx);
        }
    }

    /// Gives away the share of this view's coin. It goes on echoing: what a liar showed to this
    /// server alone must not keep the others from finishing. (R5)
    pub(super) fn toss(&mut self, cx: &mut impl Context<Self>) {
        if !self.attempt.tossing {
            self.attempt.tossing = true;
            self.attempt.abandoned |= canary!("multivalued-abandons-too-early", true, false);
            self.compute_share(cx);
            self.send_share(cx);
        }
    }

    /// This server's share is computed. (R5)
    pub(super) fn on_my_share(
        &mut self,
        share: SignedShare<S, S::CoinShare>,
        cx: &mut impl Context<Self>,
    ) {
        self.attempt.share = MyShare::Known(share);
        self.send_share(cx);
    }

    fn send_share(&mut self, cx: &mut impl Context<Self>) {
        let Some(message) = self.my_share() else { return };
        cx.send(Target::Others, message);
        if let MyShare::Known(share) = self.attempt.share.clone() {
            self.attempt.shares.admit(cx.group().me(), share);
        }
        self.try_coin(cx);
    }

    /// This server's share as others get it, once it may leave. (R5)
    pub(super) fn my_share(&self) -> Option<Message<S, V>> {
        match &self.attempt.share {
            MyShare::Known(share)
                if canary!("multivalued-share-too-early", true, self.attempt.tossing) =>
            {
                Some(Message::Share { view: self.attempt.view, share: share.clone() })
            }
            _ => None,
        }
    }

    /// Combines the coin once enough shares are there. (R6)
    pub(super) fn try_coin(&mut self, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        let shares = &mut self.attempt.shares;
        let able = cx.group().sharing().is_qualified(shares.heard());
        if self.attempt.election.is_some() || self.attempt.combining || !able {
            return;
        }
        let mut all: Vec<_> =
            shares.good().iter().map(|(party, share)| (*party, share.clone())).collect();
        all.extend(shares.start(cx.group().parties(), |party, share| vec![(party, share.clone())]));
        self.attempt.combining = true;
        self.attempt.is_combining = true;
        let name = view.coin(cx.scope());
        cx.offload(Ticket::Coin(view), Work::CombineCoin { name, shares: all });
    }

    /// The coin has been combined, or liars have been found. (R6)
    pub(super) fn on_coin(
        &mut self,
        value: Option<Digest>,
        good: &[Party],
        faults: Vec<Fault>,
        cx: &mut impl Context<Self>,
    ) {
        self.attempt.combining = false;
        self.attempt.is_combining = false;
        let good: PartySet = good.iter().copied().collect();
        let blamed: PartySet = faults.iter().map(|fault| fault.culprit).collect();
        faults.into_iter().for_each(|fault| cx.blame(fault));
        let bad = self.attempt.shares.settle_by(|party| good.contains(party));
        let unblamed = bad.into_iter().filter(|party| !blamed.contains(*party)).collect();
        Self::blame_all(unblamed, FaultKind::BadShare, cx);
        if self.attempt.election.is_some() {
            return;
        }
        let Some(coin) = value else { return self.try_coin(cx) };
        let shares = self.attempt.shares.good().iter();
        let shares = shares.filter(|(party, _)| good.contains(**party));
        let election = Election::new(shares.map(|(party, share)| (*party, share.clone())));
        self.elect(coin, election, cx);
    }

    /// [`Message::Elected`]: one a peer is kept. (R6)
    pub(super) fn on_elected(
        &mut self,
        from: Party,
        election: Election<S>,
        cx: &mut impl Context<Self>,
    ) {
        if self.attempt.election.is_none() && !self.distrusted.contains(from) {
            self.attempt.proofs.entry(from).or_insert(election);
            self.try_proof(cx);
        }
    }

    /// Has one proof of the coin checked at a time. (R6)
    fn try_proof(&mut self, cx: &mut impl Context<Self>) {
        let view = self.attempt.view;
        while self.attempt.election.is_none() && self.attempt.proof.is_none() {
            let Some((&from, election)) = self.attempt.proofs.first_key_value() else { return };
            match election.check(view.coin(cx.scope()), cx.group()) {
                None => {
                    self.attempt.proofs.remove(&from);
                    self.distrust(from, cx);
                }
                Some(work) => {
                    self.attempt.proof = Some(from);
                    cx.offload(Ticket::Proof(view, from), work);
                }
            }
        }
    }

    /// A proof of the coin has been checked. (R6)
    pub(super) fn on_proof(
        &mut self,
        from: Party,
        value: Option<Digest>,
        cx: &mut impl Context<Self>,
    ) {
        self.attempt.proof = None;
        let election = self.attempt.proofs.remove(&from);
        match (election, value) {
            _ if self.attempt.election.is_some() => {}
            (Some(election), Some(coin)) => self.elect(coin, election, cx),
            // Its shares may name anyone: they are held against who sent them only.
            _ => {
                self.distrust(from, cx);
                self.try_proof(cx);
            }
        }
    }

    /// The coin is known. (R6)
    fn elect(&mut self, coin: Digest, election: Election<S>, cx: &mut impl Context<Self>) {
        self.take_election(coin, election, cx);
        self.attempt.proofs.clear();
        // Who learns the coin must not echo any more: an honest server has seen a quorum finish.
        self.attempt.abandoned = true;
        self.toss(cx);
        self.try_elected(cx);
        self.try_end(cx);
        self.try_votes(cx);
        self.try_refusals(cx);
    }

    /// Remembers whom the coin elects, and how that is proven. (R6, R14)
    pub(super) fn take_election(
        &mut self,
        coin: Digest,
        election: Election<S>,
        cx: &mut impl Context<Self>,
    ) {
        if self.attempt.view == View::FIRST {
            self.first = Some((seed_of(coin), election.clone()));
        }
        self.attempt.coin = Some(coin);
        self.attempt.election = Some((leader_of(coin, cx.group()), election));
    }

    /// Before acting on the coin: others may lack the finishes or shares from which to learn it,
    /// and this server will help them to no more finishes. (R7)
    pub(super) fn announce_coin(&mut self, cx: &mut impl Context<Self>) {
        let (view, coin) = (self.attempt.view, self.attempt.coin);
        let coin = coin.expect("who knows the leader knows the coin");
        let (_, election) = self.attempt.election.clone().expect("it elected the leader");
        cx.persist(Record::Elected { view, coin, election: election.clone() });
        let told = Message::Elected { view, election };
        canary!("multivalued-coin-untold", drop(told), cx.send(Target::Others, told));
    }

    /// The coin as others get it, once this server acts on it. (R6)
    pub(super) fn my_election(&self) -> Option<Message<S, V>> {
        let acts = self.attempt.choice.is_some() || !self.attempt.refused.is_unsigned();
        let (_, election) = self.attempt.election.clone().filter(|_| acts)?;
        Some(Message::Elected { view: self.attempt.view, election })
    }

    /// What is proven of this view's election. (R6)
    pub(super) fn elections(&self) -> Elections<S> {
        let (leader, election) = self.attempt.election.clone().expect("asked for once it is known");
        let (_, first) = self.first.clone().expect("a later view is entered with the first coin");
        let last = (self.attempt.view > View::FIRST).then_some(election);
        Elections { leader, first, last }
    }

    /// The leader is known: decides, or says that it cannot. (R6, R7)
    pub(super) fn try_elected(&mut self, cx: &mut impl Context<Self>) {
        let Some(leader) = self.attempt.leader().filter(|_| self.verdict.is_none()) else { return };
        let finishes = &self.attempt.finishes;
        if let Some((digest, certificate)) = finishes.good().get(&leader).cloned() {
            return self.conclude(digest, Proof::Finish(certificate), cx);
        }
        if finishes.is_checking() {
            return;
        }
        if finishes.waiting().contains_key(&leader) {
            return self.check_finishes([leader].into_iter().collect(), cx);
        }
        if self.attempt.choice.is_some() || !self.attempt.refused.is_unsigned() {
            return;
        }
        match self.my_lock(leader) {
            Some(locked) => {
                let choice = Choice::Yes { value: locked.value.clone(), lock: locked.lock.clone() };
                self.attempt.leader_lock = Some(locked);
                self.vote(choice, cx);
            }
            None => self.refuse(cx),
        }
    }
}
