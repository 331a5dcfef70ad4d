//! From decided vectors to one total order.

use super::agreement::Leaders;
use super::batch::{Delivery, Head, Height, Round, readings};
use super::machine::AtomicBroadcast;
use super::message::{DecidedRound, Outcome, Record};
use super::seal::{BatchSeal, sealed_at};
use super::{KEPT_BATCHES, KEPT_ROUNDS};
use maftia_base::{Context, Digest, Party, PartySet};
use maftia_crypto::{Certificate, Suite};

/// A decided round whose batches are not all delivered.
#[derive(Clone, Debug, Hash)]
pub(super) struct Ordered<S: Suite> {
    pub(super) round: Round,
    heads: Vec<Head<S>>,
    pub(super) seed: Digest,
    /// Who leads after this round, in the hybrid configuration.
    leaders: Leaders,
}

/// A batch that is ordered next, with the certificate that all servers use for it.
struct Due<S: Suite> {
    lane: Party,
    height: Height,
    certificate: Certificate<S>,
    seal: Option<BatchSeal>,
}

/// An ordered batch that is not here.
struct Missing {
    lane: Party,
    height: Height,
    digest: Digest,
    voters: PartySet,
}

impl<S: Suite> AtomicBroadcast<S> {
    /// Takes the decision of the present round, if it is there. (R5)
    pub(super) fn try_decide(&mut self, cx: &mut impl Context<Self>) -> bool {
        let Some((decided, seed)) = self.ready.remove(&self.round) else { return false };
        let DecidedRound { round, heads, .. } = &decided;
        for head in heads.iter() {
            self.notice_lost_memory(head, cx);
            self.lane(head.lane).decide(head.clone());
            if head.lane == cx.group().me() {
                if !self.live {
                    // A log that begins at a mark need not have the batch itself.
                    self.own.last = self.own.last.max(head.height);
                }
                let certified =
                    |own: &mut super::own::Outgoing<S>| own.sealed.digest == head.digest;
                self.own.outgoing.take_if(certified);
            }
        }
        if let Some(hybrid) = &mut self.hybrid {
            hybrid.advance(&decided.decision);
        }
        let leaders = self.hybrid.as_ref().map(|hybrid| hybrid.leaders).unwrap_or_default();
        self.queue.push_back(Ordered { round: *round, heads: heads.to_vec(), seed, leaders });
        self.agreements.remove(round);
        self.agreed.remove(round);
        self.values.retain(|(other, _), _| other > round);
        self.learned.remove(round);
        self.checking.take_if(|checking| checking.is_of(*round));
        self.proposed = false;
        self.round = round.next();
        self.recent.insert(*round, decided);
        // Those that wait for their batches are written again at a mark.
        while self.recent.len() as u64 > KEPT_ROUNDS
            && self.recent.first_key_value().is_some_and(|(first, _)| *first < self.completed)
        {
            self.recent.pop_first();
        }
        if self.live {
            self.check_values(cx);
            self.ask_for_skipped(cx);
        }
        true
    }

    /// Delivers the oldest decided round once all of its batches are here, and asks for those that
    /// are not. (D1)
    pub(super) fn try_deliver(&mut self, cx: &mut impl Context<Self>) -> bool {
        let Some(front) = self.queue.front().filter(|_| !self.meter.paused) else { return false };
        let (mut due, mut missing) = (Vec::new(), Vec::new());
        for head in &front.heads {
            match self.walk(head) {
                Ok(batches) => due.extend(batches),
                Err(gap) => missing.push(gap),
            }
        }
        if !missing.is_empty() {
            if self.live {
                for Missing { lane, height, digest, voters } in missing {
                    self.want(lane, height, digest, voters, cx);
                }
            }
            return false;
        }
        let Ordered { round, heads, seed, leaders } =
            self.queue.pop_front().expect("its front was looked at");
        if let Some(hybrid) = &mut self.hybrid {
            hybrid.delivered = leaders;
        }
        for due in due {
            self.deliver(round, seed, due, cx);
        }
        for head in heads {
            let lane = self.lane(head.lane);
            lane.ordered = Some(head);
        }
        self.wants.clear();
        self.completed = round.next();
        cx.output(Outcome::RoundCompleted(round));
        if self.meter.pause_if_due() {
            cx.output(Outcome::Paused);
        }
        if self.live {
            self.ask_for_skipped(cx);
        }
        true
    }

    /// Writes down what was ordered. With trusted components it is waited for: if all of them begin
    /// another life at once, it cannot be derived again, and so must be durable wherever somebody
    /// was told what follows from it.
    pub(super) fn keep(&self, record: Record<S>, cx: &mut impl Context<Self>) {
        match self.hybrid {
            Some(_) => cx.persist(record),
            None => cx.note(record),
        }
    }

    /// From a head down to what is delivered, along the digests that the batches carry. (D2)
    fn walk(&self, head: &Head<S>) -> Result<Vec<Due<S>>, Missing> {
        let lane = self.lanes.get(&head.lane).expect("a decided lane is known");
        let mut due = Vec::new();
        let (mut height, mut digest, mut certificate, mut seal) =
            (head.height, head.digest, head.certificate.clone(), head.seal);
        while height > lane.delivered {
            let stored = lane.stored.get(&height).filter(|stored| stored.sealed.digest == digest);
            let Some(stored) = stored else {
                let voters = certificate.voters().unwrap_or_default();
                return Err(Missing { lane: head.lane, height, digest, voters });
            };
            due.push(Due { lane: head.lane, height, certificate, seal });
            let Some(previous) = stored.sealed.batch.previous.clone() else { break };
            height = height.before();
            (digest, certificate, seal) = (previous.digest, previous.certificate, previous.seal);
        }
        due.reverse();
        Ok(due)
    }

    fn deliver(&mut self, round: Round, seed: Digest, due: Due<S>, cx: &mut impl Context<Self>) {
        let Due { lane, height, certificate, seal } = due;
        let (epoch, live) = (self.epoch, self.live);
        let known = self.lane(lane);
        assert!(height == known.delivered.next(), "a lane is delivered without gaps");
        let stored = known.stored.get_mut(&height).expect("what is due is stored");
        let batch = stored.sealed.batch.clone();
        if live && !stored.recorded {
            stored.recorded = true;
            self.keep(Record::Kept { lane, batch: batch.clone() }, cx);
        }
        let known = self.lane(lane);
        known.delivered = height;
        known.forget_old(KEPT_BATCHES);
        let place = (seed, (lane, height));
        let delivery = Delivery {
            epoch,
            round,
            lane,
            height,
            items: batch.items,
            turn: batch.turn,
            readings: readings(&certificate),
            sealed: seal.and_then(|seal| sealed_at(&seal)),
            seed: Digest::of_encoded("maftia atomic batch seed", &place),
        };
        self.meter.count(&delivery);
        cx.output(Outcome::Delivered(delivery));
    }
}
