//! This server's own lane: items become batches, votes become certificates.

use super::batch::{
    BATCH_BYTES_MAX, Batch, BatchVote, Head, Height, ITEMS_MAX, Item, Items, Sealed,
    batch_statement,
};
use super::machine::AtomicBroadcast;
use super::message::{Message, Record, Ticket};
use super::seal::BatchSeal;
use maftia_base::Digest;
use maftia_base::canary;
use maftia_base::wire::EncodeSize;
use maftia_base::{Context, Fault, FaultKind, Party, PartySet, Target};
use maftia_crypto::{Certificate, Signed, Suite, Work};
use std::collections::{BTreeMap, VecDeque};

/// The owner's side of a lane.
#[derive(Clone, Debug, Hash)]
pub(super) struct OwnLane<S: Suite> {
    pub(super) pending: VecDeque<Item>,
    pub(super) pending_bytes: usize,
    /// The next batch says that this server wants the epoch to end.
    pub(super) turn: bool,
    /// The height of the newest batch.
    pub(super) last: Height,
    /// The newest batch, while it is not certified.
    pub(super) outgoing: Option<Outgoing<S>>,
    /// The trusted component had no time for it.
    pub(super) unsealed: bool,
}

impl<S: Suite> Default for OwnLane<S> {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            pending_bytes: 0,
            turn: false,
            last: Height(0),
            outgoing: None,
            unsealed: false,
        }
    }
}

/// A batch that collects votes.
#[derive(Clone, Debug, Hash)]
pub(super) struct Outgoing<S: Suite> {
    pub(super) sealed: Sealed<S>,
    /// This server's own vote; until then nothing has been sent.
    pub(super) vote: Option<BatchVote<S>>,
    /// In the hybrid configuration, its identifier; until then nothing has been sent either.
    pub(super) seal: Option<BatchSeal>,
    /// Does it need one?
    pub(super) needs_seal: bool,
    votes: BTreeMap<Party, BatchVote<S>>,
    verified: PartySet,
    /// Whose votes are being verified.
    verifying: PartySet,
    /// Whose vote did not verify.
    barred: PartySet,
}

impl<S: Suite> Outgoing<S> {
    pub(super) fn new(sealed: Sealed<S>, needs_seal: bool) -> Self {
        Self {
            sealed,
            vote: None,
            seal: None,
            needs_seal,
            votes: BTreeMap::new(),
            verified: PartySet::EMPTY,
            verifying: PartySet::EMPTY,
            barred: PartySet::EMPTY,
        }
    }

    pub(super) fn vote_as_owner(&mut self, me: Party, vote: BatchVote<S>) {
        self.vote = Some(vote.clone());
        self.votes.insert(me, vote);
        self.verified.insert(me);
    }

    pub(super) fn message(&self) -> Option<Message<S>> {
        let (vote, seal) = (self.vote.clone()?, self.seal);
        if self.needs_seal && seal.is_none() {
            return None;
        }
        Some(Message::Batch { batch: self.sealed.batch.clone(), vote, seal })
    }

    /// The batch and this server's vote, if they are in the log.
    pub(super) fn recorded(&self) -> Option<(Batch<S>, BatchVote<S>)> {
        Some((self.sealed.batch.clone(), self.vote.clone()?))
    }

    pub(super) fn has_vote_of(&self, party: Party) -> bool {
        self.votes.contains_key(&party)
    }

    fn voters(&self) -> PartySet {
        self.votes.keys().copied().collect()
    }
}

impl<S: Suite> OwnLane<S> {
    pub(super) fn push(&mut self, item: Item) {
        self.pending_bytes += item.len();
        self.pending.push_back(item);
    }

    /// Takes from the front as much as one batch holds.
    fn take_batch(&mut self) -> Items {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(item) = self.pending.front() {
            bytes += item.encode_size();
            if bytes > BATCH_BYTES_MAX || items.len() == ITEMS_MAX {
                break;
            }
            items.extend(self.pending.pop_front());
        }
        self.pending_bytes -= items.iter().map(|item: &Item| item.len()).sum::<usize>();
        Items::new(items).expect("no more was taken than a batch holds")
    }
}

impl<S: Suite> AtomicBroadcast<S> {
    /// Makes the next batch of what has gathered while the last one was being certified. (L1)
    pub(super) fn try_cut(&mut self, cx: &mut impl Context<Self>) -> bool {
        let me = cx.group().me();
        let wanted = self.own.turn || !self.own.pending.is_empty();
        if !wanted || self.own.outgoing.is_some() {
            return false;
        }
        let (last, height) = (self.own.last, self.own.last.next());
        let previous = self.lanes.get(&me).and_then(|lane| lane.predecessor(last));
        // A decided height that this server does not know means that its log was lost: it must not
        // speak in this lane again before the epoch ends.
        let foreign = self.lanes.get(&me).is_some_and(|lane| lane.decided_height() > last);
        if foreign || (last > Height(0) && previous.is_none()) || height > self.ceiling(me) {
            return false;
        }
        let turn = std::mem::take(&mut self.own.turn);
        let batch = Batch { height, previous, turn, items: self.own.take_batch() };
        let sealed = Sealed::new(batch);
        let statement = batch_statement(cx.scope(), me, height, sealed.digest);
        self.own.last = height;
        self.own.outgoing = Some(Outgoing::new(sealed, self.hybrid.is_some()));
        cx.offload(Ticket::Own(height), Work::SignReading(statement));
        true
    }

    /// Handles this server's signature on its own batch: durable, then sent. (L1)
    pub(super) fn on_own_signed(
        &mut self,
        height: Height,
        signed: &Signed<S>,
        cx: &mut impl Context<Self>,
    ) {
        let me = cx.group().me();
        let vote = BatchVote::of(signed);
        let Some(outgoing) = &mut self.own.outgoing else { return };
        if outgoing.sealed.batch.height != height || outgoing.vote.is_some() {
            return;
        }
        outgoing.vote_as_owner(me, vote.clone());
        let sealed = outgoing.sealed.clone();
        self.lane(me).store(sealed.clone(), true);
        let record = Record::Own { lane: me, batch: sealed.batch.clone(), vote: vote.clone() };
        canary!("atomic-own-not-durable", cx.note(record), cx.persist(record));
        if self.hybrid.is_some() {
            return self.seal_outgoing(cx);
        }
        cx.send(Target::Others, Message::Batch { batch: sealed.batch, vote, seal: None });
        self.try_certify(cx);
    }

    /// Handles a vote for this server's newest batch. (L4)
    pub(super) fn on_vote(
        &mut self,
        from: Party,
        height: Height,
        digest: Digest,
        vote: BatchVote<S>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(outgoing) = &mut self.own.outgoing else { return };
        let current = (outgoing.sealed.batch.height, outgoing.sealed.digest) == (height, digest);
        if current && !outgoing.has_vote_of(from) && !outgoing.barred.contains(from) {
            outgoing.votes.insert(from, vote);
            self.try_certify(cx);
        }
    }

    /// Verifies the votes once they are a quorum, all at once. (L4)
    pub(super) fn try_certify(&mut self, cx: &mut impl Context<Self>) {
        let (me, scope) = (cx.group().me(), cx.scope());
        let Some(outgoing) = &mut self.own.outgoing else { return };
        let structure = cx.group().structure();
        let complete = outgoing.vote.is_some() && (!outgoing.needs_seal || outgoing.seal.is_some());
        if !complete || !outgoing.verifying.is_empty() {
            return;
        }
        let verified = outgoing.verified;
        if canary!(
            "atomic-certifies-few",
            structure.has_honest(verified),
            structure.is_quorum(verified)
        ) {
            return self.certify(cx);
        }
        if !structure.is_quorum(outgoing.voters()) {
            return;
        }
        let Sealed { batch, digest } = &outgoing.sealed;
        let statement = batch_statement(scope, me, batch.height, *digest);
        outgoing.verifying = outgoing.voters().difference(outgoing.verified);
        let claims = outgoing
            .verifying
            .iter()
            .filter_map(|party| Some(outgoing.votes.get(&party)?.claim(party, statement)))
            .collect();
        cx.offload(Ticket::Votes(batch.height), Work::Verify(claims));
    }

    /// Handles the verdicts on votes. (L4)
    pub(super) fn on_votes_verified(
        &mut self,
        height: Height,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        let Some(outgoing) = &mut self.own.outgoing else { return };
        if outgoing.sealed.batch.height != height {
            return;
        }
        let verifying = std::mem::take(&mut outgoing.verifying);
        for (party, good) in verifying.iter().zip(verdicts) {
            if *good {
                outgoing.verified.insert(party);
            } else {
                outgoing.votes.remove(&party);
                outgoing.barred.insert(party);
                cx.blame(Fault::suspected(party, FaultKind::BadSignature));
            }
        }
        self.try_certify(cx);
    }

    /// Turns a quorum of verified votes into a certificate, and wakes everybody with it. (L5)
    fn certify(&mut self, cx: &mut impl Context<Self>) {
        let (me, scope) = (cx.group().me(), cx.scope());
        let outgoing = self.own.outgoing.take().expect("only a batch with votes is certified");
        let Sealed { batch, digest } = &outgoing.sealed;
        let statement = batch_statement(scope, me, batch.height, *digest);
        let votes = outgoing
            .votes
            .iter()
            .filter(|(party, _)| outgoing.verified.contains(**party))
            .map(|(party, vote)| (*party, vote.signed(statement)));
        let certificate = Certificate::new(votes);
        let seal = outgoing.seal;
        let head = Head { lane: me, height: batch.height, digest: *digest, certificate, seal };
        self.lane(me).learn(head.clone());
        cx.note(Record::Certified(head.clone()));
        cx.send(Target::Others, Message::Head(head));
    }
}
