//! Replay of the log, and what shows that it is not all there. At a mark, what was not settled was
//! written again: each record may come twice, and what lies below the mark may not come at all.

use super::Head;
use super::agreement::RoundAgreement;
use super::batch::{Batch, BatchVote, Height, Predecessor, Round, Sealed};
use super::lane::Voted;
use super::machine::AtomicBroadcast;
use super::message::{DecidedRound, Outcome, Record};
use super::own::Outgoing;
use maftia_base::protocol::Vocabulary;
use maftia_base::{Context, Digest, Event, Party};
use maftia_crypto::Suite;

impl<S: Suite> AtomicBroadcast<S> {
    /// Replays one record.
    pub(super) fn on_restore(&mut self, record: Record<S>, cx: &mut impl Context<Self>) {
        self.returned = true;
        match record {
            Record::Own { lane, batch, vote } => self.restore_own(lane, batch, vote),
            Record::Voted { lane, batch, owner, vote } => {
                self.restore_voted(lane, batch, owner, vote);
            }
            Record::Certified(head) => {
                self.own.outgoing.take_if(|outgoing| outgoing.sealed.digest == head.digest);
                self.own.last = self.own.last.max(head.height);
                self.lane(head.lane).learn(head);
            }
            Record::Cast { lane, height, digest, owner, vote } => {
                self.restore_vote(lane, height, digest, owner, vote);
            }
            Record::Learned { decided, seed } => {
                if decided.round >= self.round {
                    self.ready.insert(decided.round, (decided, seed));
                }
            }
            Record::Kept { lane, batch } => {
                let lane = self.lane(lane);
                if batch.height > lane.delivered {
                    lane.store(Sealed::new(batch), true);
                }
            }
            Record::Agree { round, record } => self.restore_agree(round, record, cx),
        }
    }

    fn restore_own(&mut self, me: Party, batch: Batch<S>, vote: BatchVote<S>) {
        // At a mark it was written again.
        if batch.height <= self.own.last {
            return;
        }
        if let Some(Predecessor { digest, certificate, seal }) = batch.previous.clone() {
            let height = batch.height.before();
            self.lane(me).learn(Head { lane: me, height, digest, certificate, seal });
        }
        // What an ended epoch left over was submitted before anything else.
        for item in batch.items.iter() {
            if self.own.pending.front() == Some(item) {
                self.own.pending.pop_front();
                self.own.pending_bytes -= item.len();
            }
        }
        let sealed = Sealed::new(batch);
        self.own.last = sealed.batch.height;
        self.lane(me).store(sealed.clone(), true);
        let mut outgoing = Outgoing::new(sealed, self.hybrid.is_some());
        outgoing.vote_as_owner(me, vote);
        self.own.outgoing = Some(outgoing);
    }

    fn restore_voted(
        &mut self,
        from: Party,
        batch: Batch<S>,
        owner: BatchVote<S>,
        vote: BatchVote<S>,
    ) {
        let sealed = Sealed::new(batch);
        let lane = self.lane(from);
        if sealed.batch.height <= lane.delivered {
            return;
        }
        if let Some(Predecessor { digest, certificate, seal }) = sealed.batch.previous.clone() {
            let height = sealed.batch.height.before();
            lane.learn(Head { lane: from, height, digest, certificate, seal });
        }
        let voted = Voted { digest: sealed.digest, owner, vote };
        lane.voted.insert(sealed.batch.height, voted);
        lane.store(sealed, true);
    }

    /// A vote whose batch stands elsewhere.
    fn restore_vote(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        owner: BatchVote<S>,
        vote: BatchVote<S>,
    ) {
        let lane = self.lane(lane);
        if height > lane.delivered {
            lane.voted.insert(height, Voted { digest, owner, vote });
        }
    }

    fn restore_agree(
        &mut self,
        round: Round,
        record: <RoundAgreement<S> as Vocabulary>::Record,
        cx: &mut impl Context<Self>,
    ) {
        if round < self.round {
            return;
        }
        if record.is_decided() {
            if let Some((heads, decision, seed)) = record.decided() {
                self.ready.insert(round, (DecidedRound { round, heads, decision }, seed));
            }
            return;
        }
        let known = self.agreed.entry(round).or_default();
        if known.contains(&record) {
            return; // At a mark it was written again.
        }
        known.push(record.clone());
        self.step_agreement(round, Event::Restore(record), cx);
        if round == self.round {
            // It may have proposed another's locked value only, and still owes its own.
            self.proposed = self.agreements.get(&round).is_some_and(RoundAgreement::has_input);
        }
    }

    /// Has this server signed what is certified here, and does not know it? (L9)
    pub(super) fn notice_lost_memory(&mut self, head: &Head<S>, cx: &mut impl Context<Self>) {
        let me = cx.group().me();
        let Some(lane) = self.lanes.get(&head.lane) else { return };
        let signed = head.certificate.voters().is_some_and(|voters| voters.contains(me));
        if !signed || !self.live || self.forgot || head.height <= lane.decided_height() {
            return;
        }
        let knows = match head.lane == me {
            true => head.height <= self.own.last,
            false => lane.voted.get(&head.height).is_some_and(|own| own.digest == head.digest),
        };
        if !knows {
            self.forgot = true;
            cx.output(Outcome::Forgot);
        }
    }
}
