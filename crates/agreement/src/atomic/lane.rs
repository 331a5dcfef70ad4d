//! The lanes of others: batches are checked, inspected, stored and voted for; heads are learned.

use super::WINDOW;
use super::batch::{
    Batch, BatchVote, Head, Height, Open, Predecessor, Sealed, batch_statement, open_claims,
};
use super::machine::{AtomicBroadcast, Checked};
use super::message::{Message, Outcome, Record, Ticket};
use super::seal::BatchSeal;
use maftia_base::canary;
use maftia_base::wire::{Blob, Wire};
use maftia_base::{Context, Digest, Fault, FaultKind, Party, SignedStatement, Target};
use maftia_crypto::{Claim, Signed, Suite, Work};
use std::collections::BTreeMap;

/// What a server knows of one lane.
#[derive(Clone, Debug, Hash)]
pub(super) struct Lane<S: Suite> {
    /// The head that was decided last.
    pub(super) decided: Option<Head<S>>,
    /// Up to where this server has delivered.
    pub(super) delivered: Height,
    /// The decided head up to which every batch has been delivered.
    pub(super) ordered: Option<Head<S>>,
    /// Batches from a little below `delivered` up to the ceiling.
    pub(super) stored: BTreeMap<Height, Stored<S>>,
    /// This server's votes for what it has not delivered, and at the decided height.
    pub(super) voted: BTreeMap<Height, Voted<S>>,
    /// Verified heads above the decided one.
    pub(super) heads: BTreeMap<Height, Head<S>>,
    /// The batch that is on its way to being voted for.
    candidate: Option<Candidate>,
    owner_vote: Option<BatchVote<S>>,
    /// The newest batch that came while another's signatures were being checked.
    next: Option<Box<(Sealed<S>, Owned<S>)>>,
    /// The owner sent what no honest server sends: none of its batches and heads is checked any
    /// more.
    barred: bool,
    /// Two statements of the owner that conflict, while or after their signatures are looked at.
    accused: Option<Box<[Signed<S>; 2]>>,
    /// Something was ignored because it was beyond the ceiling.
    pub(super) skipped: bool,
}

/// What an owner sends with its batch: its vote, and in the hybrid configuration the identifier.
type Owned<S> = (BatchVote<S>, Option<BatchSeal>);

/// A batch in memory.
#[derive(Clone, Debug, Hash)]
pub(super) struct Stored<S: Suite> {
    pub(super) sealed: Sealed<S>,
    /// Is it in this server's log?
    pub(super) recorded: bool,
}

/// A vote of this server, with the owner's own.
#[derive(Clone, Debug, Hash)]
pub(super) struct Voted<S: Suite> {
    pub(super) digest: Digest,
    pub(super) owner: BatchVote<S>,
    pub(super) vote: BatchVote<S>,
}

/// Where a batch stands before it is voted for.
#[derive(Clone, Debug, Hash)]
struct Candidate {
    height: Height,
    digest: Digest,
    verified: bool,
    admitted: bool,
    signing: bool,
}

impl<S: Suite> Voted<S> {
    /// The vote without its batch, for a log that begins anew.
    pub(super) fn record(&self, lane: Party, height: Height) -> Record<S> {
        let (digest, owner, vote) = (self.digest, self.owner.clone(), self.vote.clone());
        Record::Cast { lane, height, digest, owner, vote }
    }
}

impl<S: Suite> Default for Lane<S> {
    fn default() -> Self {
        Self {
            decided: None,
            delivered: Height(0),
            ordered: None,
            stored: BTreeMap::new(),
            voted: BTreeMap::new(),
            heads: BTreeMap::new(),
            candidate: None,
            owner_vote: None,
            next: None,
            barred: false,
            accused: None,
            skipped: false,
        }
    }
}

impl<S: Suite> Lane<S> {
    pub(super) fn footprint(&self) -> usize {
        self.stored.len() + self.voted.len() + self.heads.len()
    }

    pub(super) fn decided_height(&self) -> Height {
        self.decided.as_ref().map_or(Height(0), |head| head.height)
    }

    /// The newest verified head that is not decided.
    pub(super) fn newest_head(&self) -> Option<&Head<S>> {
        self.heads.values().next_back()
    }

    /// Takes in a verified head. At most [`WINDOW`] are kept: the newest matter.
    pub(super) fn learn(&mut self, head: Head<S>) {
        if head.height <= self.decided_height() {
            return;
        }
        if self.candidate.as_ref().is_some_and(|candidate| candidate.height <= head.height) {
            self.candidate = None;
        }
        self.heads.entry(head.height).or_insert(head);
        while self.heads.len() as u64 > WINDOW {
            self.heads.pop_first();
        }
    }

    /// Keeps a batch. What is in the log stays, unless what comes instead is certified.
    pub(super) fn store(&mut self, sealed: Sealed<S>, recorded: bool) {
        self.stored.insert(sealed.batch.height, Stored { sealed, recorded });
    }

    /// Forgets what was delivered but the last `kept` batches.
    pub(super) fn forget_old(&mut self, kept: u64) {
        let last = Height(self.delivered.0.saturating_sub(kept));
        self.stored = self.stored.split_off(&last.next());
    }

    /// What the batch after `height` refers to, if that is certified.
    pub(super) fn predecessor(&self, height: Height) -> Option<Predecessor<S>> {
        let decided = self.decided.as_ref().filter(|head| head.height == height);
        let head = self.heads.get(&height).or(decided)?;
        let (digest, certificate, seal) = (head.digest, head.certificate.clone(), head.seal);
        Some(Predecessor { digest, certificate, seal })
    }

    /// Takes note of a decision.
    pub(super) fn decide(&mut self, head: Head<S>) {
        let height = head.height;
        self.decided = Some(head);
        self.heads = self.heads.split_off(&height.next());
        // The vote at the decided height itself spares verifying it again in the next batch; those
        // for what is not delivered may yet convict the owner.
        self.voted = self.voted.split_off(&height.min(self.delivered.next()));
        if self.candidate.as_ref().is_some_and(|candidate| candidate.height <= height) {
            self.candidate = None;
        }
    }

    /// The owner's vote for the batch that this server voted for.
    pub(super) fn owner_vote_for(&self, height: Height, digest: Digest) -> Option<BatchVote<S>> {
        let voted = self.voted.get(&height).filter(|voted| voted.digest == digest);
        voted.map(|voted| voted.owner.clone())
    }

    /// Has this claim been verified when the batch was voted for?
    fn is_verified(&self, height: Height, digest: Digest, me: Party, claim: &Claim<S>) -> bool {
        let Some(voted) = self.voted.get(&height).filter(|voted| voted.digest == digest) else {
            return false;
        };
        let matches = |vote: &BatchVote<S>| {
            vote.signature == claim.signature && vote.reading.0 == claim.statement.annotation.0
        };
        let owner = claim.statement.place.0 == claim.party.index() as u64;
        (claim.party == me && matches(&voted.vote)) || (owner && matches(&voted.owner))
    }
}

impl<S: Suite> AtomicBroadcast<S> {
    /// Handles the sender's next batch. (L2)
    pub(super) fn on_batch(
        &mut self,
        from: Party,
        batch: Batch<S>,
        (vote, seal): Owned<S>,
        cx: &mut impl Context<Self>,
    ) {
        if from == cx.group().me() {
            return;
        }
        if !batch.is_well_formed() {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        let height = batch.height;
        let ceiling = self.ceiling(from);
        let sealed = Sealed::new(batch);
        let lane = self.lane(from);
        if height <= lane.decided_height() {
            // The owner lost its certificate in a crash: it needs one to go on.
            let decided = lane.decided.as_ref().filter(|head| head.digest == sealed.digest);
            if let Some(head) = decided {
                cx.send(Target::One(from), Message::Head(head.clone()));
            }
            return;
        }
        if lane.barred {
            return;
        }
        if height > ceiling {
            lane.skipped = true;
            return;
        }
        if let Some(voted) = lane.voted.get(&height) {
            if voted.digest == sealed.digest {
                let (digest, vote) = (voted.digest, voted.vote.clone());
                return cx.send(Target::One(from), Message::Vote { height, digest, vote });
            }
            let first = (voted.digest, voted.owner.clone());
            return self.accuse(from, from, height, [first, (sealed.digest, vote)], cx);
        }
        if let Some(candidate) = lane.candidate.as_ref().filter(|other| other.height >= height) {
            if candidate.height == height && candidate.digest != sealed.digest {
                let owner = lane.owner_vote.clone().expect("a candidate has its owner's vote");
                let first = (candidate.digest, owner);
                self.accuse(from, from, height, [first, (sealed.digest, vote)], cx);
            }
            return;
        }
        if lane.candidate.as_ref().is_some_and(|candidate| !candidate.verified) {
            let newest = lane.next.as_ref().map(|next| next.0.batch.height);
            if newest.is_none_or(|newest| newest < height) {
                lane.next = Some(Box::new((sealed, (vote, seal))));
            }
            return;
        }
        self.consider(from, sealed, (vote, seal), cx);
    }

    /// Considers what came while another batch was being checked, once that is over. (L2)
    pub(super) fn try_consider(&mut self, cx: &mut impl Context<Self>) -> bool {
        let free = |lane: &Lane<S>| lane.candidate.as_ref().is_none_or(|other| other.verified);
        let found = self.lanes.iter_mut().find(|(_, lane)| lane.next.is_some() && free(lane));
        let Some((&owner, lane)) = found else { return false };
        let (sealed, vote) = *lane.next.take().expect("it was found for it");
        self.on_batch(owner, sealed.into_batch(), vote, cx);
        true
    }

    /// Starts the checks that come before a vote: of the signatures first. (L2)
    fn consider(
        &mut self,
        from: Party,
        sealed: Sealed<S>,
        (vote, seal): Owned<S>,
        cx: &mut impl Context<Self>,
    ) {
        let (height, digest) = (sealed.batch.height, sealed.digest);
        let statement = batch_statement(cx.scope(), from, height, digest);
        let Some(own) = self.seal_claim(from, (height, digest), seal.as_ref(), cx) else {
            return self.bar(from, FaultKind::InvalidValue, cx);
        };
        let mut open = Open { claims: vec![vote.claim(from, statement)], seals: Vec::new() };
        open.seals.extend(own);
        if let Some(previous) = sealed.batch.previous.clone() {
            let Predecessor { digest, certificate, seal } = previous;
            let head = Head { lane: from, height: height.before(), digest, certificate, seal };
            match self.open_claims(&head, cx) {
                Some(more) => open.extend(more),
                None => return self.bar(from, FaultKind::BadCertificate, cx),
            }
        }
        let certified = self.lanes.get(&from).is_some_and(|lane| lane.heads.contains_key(&height));
        let lane = self.lane(from);
        if !lane.stored.contains_key(&height) {
            lane.store(sealed, false);
        }
        if certified {
            return;
        }
        lane.owner_vote = Some(vote);
        lane.candidate =
            Some(Candidate { height, digest, verified: false, admitted: false, signing: false });
        cx.offload(Ticket::Batch { lane: from, digest }, open.work());
    }

    /// The owner of a lane sent what no honest server sends: it is blamed once, and has no more
    /// work made by its batches and heads. What others certify is ordered all the same. (L2, L5)
    fn bar(&mut self, owner: Party, kind: FaultKind, cx: &mut impl Context<Self>) {
        let lane = self.lane(owner);
        lane.barred = true;
        (lane.candidate, lane.next) = (None, None);
        cx.blame(Fault::suspected(owner, kind));
    }

    /// The layer above refuses a batch: no honest server would have made it. (L2)
    pub(super) fn on_refuse(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        cx: &mut impl Context<Self>,
    ) {
        let candidate = self.lane(lane).candidate.as_ref();
        if candidate.is_some_and(|other| (other.height, other.digest) == (height, digest)) {
            self.bar(lane, FaultKind::InvalidValue, cx);
        }
    }

    /// What is left to verify of a head; `None` if it cannot be one.
    pub(super) fn open_claims(&self, head: &Head<S>, cx: &impl Context<Self>) -> Option<Open<S>> {
        if self.is_known(head) {
            return Some(Open::default());
        }
        let (group, scope) = (cx.group(), cx.scope());
        let lane = self.lanes.get(&head.lane);
        let place = (head.height, head.digest);
        let seal = self.seal_claim(head.lane, place, head.seal.as_ref(), cx)?;
        let claims = open_claims(
            &head.certificate,
            head.statement(scope),
            |voters| voters.is_subset(group.parties()) && group.structure().is_quorum(voters),
            |claim| {
                lane.is_some_and(|lane| {
                    lane.is_verified(head.height, head.digest, group.me(), claim)
                })
            },
        )?;
        Some(Open { claims, seals: seal.into_iter().collect() })
    }

    /// Handles the verdicts on a batch: first the owner's vote, then the predecessor's. (L2)
    pub(super) fn on_batch_verified(
        &mut self,
        from: Party,
        digest: Digest,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        let lane = self.lane(from);
        let Some(candidate) = lane.candidate.as_mut().filter(|other| other.digest == digest) else {
            return;
        };
        let fault = match verdicts {
            [false, ..] => Some(FaultKind::BadSignature),
            [true, rest @ ..] if rest.iter().all(|good| *good) => None,
            _ => Some(FaultKind::BadCertificate),
        };
        let height = candidate.height;
        if let Some(kind) = canary!("atomic-batch-unchecked", None, fault) {
            lane.stored.remove(&height);
            return self.bar(from, kind, cx);
        }
        candidate.verified = true;
        let stored = lane.stored.get(&height).filter(|stored| stored.sealed.digest == digest);
        let batch = stored.map(|stored| stored.sealed.batch.clone());
        if let Some(items) = batch.as_ref().map(|batch| batch.items.clone()) {
            cx.output(Outcome::Inspect { lane: from, height, digest, items });
        }
        let previous = batch.and_then(|batch| batch.previous);
        if let Some(Predecessor { digest, certificate, seal }) = previous {
            let height = height.before();
            self.learn_head(Head { lane: from, height, digest, certificate, seal }, cx);
        }
        self.try_vote(from, cx);
    }

    /// Handles the verdict of the layer above. (L3)
    pub(super) fn on_admit(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        cx: &mut impl Context<Self>,
    ) {
        let asked =
            |candidate: &&mut Candidate| (candidate.height, candidate.digest) == (height, digest);
        if let Some(candidate) = self.lane(lane).candidate.as_mut().filter(asked) {
            candidate.admitted = true;
            self.try_vote(lane, cx);
        }
    }

    /// Signs once everything holds; the clock is read now, after sight of the batch. (L3)
    fn try_vote(&mut self, from: Party, cx: &mut impl Context<Self>) {
        let lane = self.lane(from);
        let Some(candidate) = &mut lane.candidate else { return };
        if !candidate.verified || !candidate.admitted || candidate.signing {
            return;
        }
        candidate.signing = true;
        let digest = candidate.digest;
        let statement = batch_statement(cx.scope(), from, candidate.height, digest);
        cx.offload(Ticket::Vote { lane: from, digest }, Work::SignReading(statement));
    }

    /// Handles this server's signature: batch and vote become durable together, then it speaks.
    /// (L3)
    pub(super) fn on_vote_signed(
        &mut self,
        from: Party,
        digest: Digest,
        signed: &Signed<S>,
        cx: &mut impl Context<Self>,
    ) {
        let lane = self.lane(from);
        let Some(candidate) = lane.candidate.take_if(|other| other.digest == digest) else {
            return;
        };
        let height = candidate.height;
        assert!(!lane.voted.contains_key(&height), "a place has one candidate and one vote");
        let owner = lane.owner_vote.clone().expect("a candidate has its owner's vote");
        let vote = BatchVote::of(signed);
        let Some(stored) = lane.stored.get_mut(&height) else { return };
        if stored.sealed.digest != digest {
            return;
        }
        stored.recorded = true;
        let batch = stored.sealed.batch.clone();
        let voted = Voted { digest, owner: owner.clone(), vote: vote.clone() };
        lane.voted.insert(height, voted);
        let record = Record::Voted { lane: from, batch, owner, vote: vote.clone() };
        canary!("atomic-vote-not-durable", cx.note(record), cx.persist(record));
        cx.send(Target::One(from), Message::Vote { height, digest, vote });
    }

    /// Handles the owner's vote for a batch that was fetched from `from`: this server may have
    /// voted for another. (L8)
    pub(super) fn compare_with_own_vote(
        &mut self,
        lane: Party,
        from: Party,
        height: Height,
        fetched: (Digest, BatchVote<S>),
        cx: &mut impl Context<Self>,
    ) {
        let voted = self.lane(lane).voted.get(&height).filter(|voted| voted.digest != fetched.0);
        if let Some(Voted { digest, owner, .. }) = voted {
            let first = (*digest, owner.clone());
            self.accuse(lane, from, height, [first, fetched], cx);
        }
    }

    /// Handles a second batch at one place: is it the owner's word? (L6, L8)
    fn accuse(
        &mut self,
        owner: Party,
        from: Party,
        height: Height,
        votes: [(Digest, BatchVote<S>); 2],
        cx: &mut impl Context<Self>,
    ) {
        let scope = cx.scope();
        let lane = self.lane(owner);
        if lane.accused.is_some() {
            return;
        }
        let signed =
            votes.map(|(digest, vote)| vote.signed(batch_statement(scope, owner, height, digest)));
        let claims = signed
            .iter()
            .cloned()
            .map(|Signed { statement, signature }| Claim { party: owner, statement, signature })
            .collect();
        lane.accused = Some(Box::new(signed));
        cx.offload(Ticket::Conflict { lane: owner, from }, Work::Verify(claims));
    }

    /// Handles the verdict on the owner's two votes. False ones are the fault of whom they came
    /// from, and do not shield the owner from a later accusation. (L6, L8)
    pub(super) fn on_conflict_verified(
        &mut self,
        owner: Party,
        from: Party,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        let lane = self.lane(owner);
        if !verdicts.iter().all(|good| *good) {
            lane.accused = None;
            return cx.blame(Fault::suspected(from, FaultKind::BadSignature));
        }
        let Some(signed) = lane.accused.clone() else { return };
        let [first, second] = *signed;
        let statement = |signed: Signed<S>| {
            let signature = Blob::new(signed.signature.to_wire())
                .expect("every suite's signatures encode to at most 128 bytes");
            SignedStatement { statement: signed.statement, signature }
        };
        cx.blame(Fault::conflict(owner, statement(first), statement(second)));
    }

    /// Handles a certified head: of the sender's lane, or of ours if we lost it. (L5)
    pub(super) fn on_head(&mut self, from: Party, head: Head<S>, cx: &mut impl Context<Self>) {
        let lane = head.lane;
        if from == cx.group().me() {
            return;
        }
        if (lane != from && lane != cx.group().me()) || head.height == Height(0) {
            return cx.blame(Fault::suspected(from, FaultKind::Malformed));
        }
        if self.is_stale(&head) || self.lane(from).barred {
            return;
        }
        if let Some(check) = self.heads.get_mut(&(from, lane)) {
            if check.now.height < head.height {
                check.next = Some(head);
            }
            return;
        }
        self.check_head(from, head, cx);
    }

    /// Would nothing be learned from it?
    fn is_stale(&self, head: &Head<S>) -> bool {
        self.lanes.get(&head.lane).is_some_and(|lane| {
            head.height <= lane.decided_height()
                || lane.newest_head().is_some_and(|newest| head.height <= newest.height)
        })
    }

    fn check_head(&mut self, from: Party, head: Head<S>, cx: &mut impl Context<Self>) {
        match self.open_claims(&head, cx) {
            None => self.bar(from, FaultKind::BadCertificate, cx),
            Some(open) if open.is_empty() => self.learn_head(head, cx),
            Some(open) => {
                let lane = head.lane;
                self.heads.insert((from, lane), Checked { now: head, next: None });
                cx.offload(Ticket::Head { from, lane }, open.work());
            }
        }
    }

    /// Handles the verdict on a head. (L5)
    pub(super) fn on_head_verified(
        &mut self,
        from: Party,
        lane: Party,
        verdicts: &[bool],
        cx: &mut impl Context<Self>,
    ) {
        let Some(Checked { now, next }) = self.heads.remove(&(from, lane)) else { return };
        if canary!("atomic-head-unchecked", true, verdicts.iter().all(|good| *good)) {
            self.learn_head(now, cx);
        } else {
            return self.bar(from, FaultKind::BadCertificate, cx);
        }
        if let Some(head) = next.filter(|head| !self.is_stale(head)) {
            self.check_head(from, head, cx);
        }
    }

    /// Takes in a verified head of any lane, this server's own included. (L5)
    pub(super) fn learn_head(&mut self, head: Head<S>, cx: &mut impl Context<Self>) {
        self.notice_lost_memory(&head, cx);
        if head.lane == cx.group().me() {
            let own = self
                .own
                .outgoing
                .take_if(|own| own.sealed.digest == head.digest && own.vote.is_some());
            if own.is_some() {
                cx.note(Record::Certified(head.clone()));
            }
        }
        self.lane(head.lane).learn(head);
    }

    /// Sends a peer what of the lanes it may have lost: this server's newest batch or head, and the
    /// vote for the peer's newest batch.
    pub(super) fn resend_lanes(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        let me = cx.group().me();
        let outgoing = self.own.outgoing.as_ref().filter(|own| !own.has_vote_of(peer));
        if let Some(message) = outgoing.and_then(|own| own.message()) {
            cx.send(Target::One(peer), message);
        }
        if let Some(head) = self.lane(me).newest_head().cloned() {
            cx.send(Target::One(peer), Message::Head(head));
        }
        let lane = self.lane(peer);
        let decided = lane.decided_height();
        if let Some((height, voted)) = lane.voted.iter().next_back()
            && *height > decided
        {
            let (height, digest, vote) = (*height, voted.digest, voted.vote.clone());
            cx.send(Target::One(peer), Message::Vote { height, digest, vote });
        }
    }

    /// Asks the owners of lanes whose batches were beyond the ceiling, now that it rose. (L7)
    pub(super) fn ask_for_skipped(&mut self, cx: &mut impl Context<Self>) {
        let skipped = |(owner, lane): (&Party, &mut Lane<S>)| {
            std::mem::take(&mut lane.skipped).then_some(*owner)
        };
        let owners: Vec<Party> = self.lanes.iter_mut().filter_map(skipped).collect();
        owners.into_iter().for_each(|owner| self.tell(owner, cx));
    }
}
