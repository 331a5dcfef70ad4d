//! Batches that are ordered and missing here are fetched from those who voted for them; what
//! peers miss is served from memory or from the log.

use super::WINDOW;
use super::batch::{ArchiveKey, Batch, BatchVote, Height, Sealed};
use super::machine::AtomicBroadcast;
use super::message::{Message, Outcome};
use maftia_base::{
    AdversaryStructure, Context, Digest, Fault, FaultKind, PARTIES_MAX, Party, PartySet, Target,
};
use maftia_crypto::Suite;
use std::collections::{BTreeMap, VecDeque};

/// Most questions of one peer that wait for the log. A peer asks for the batches of one round, or
/// for one message full of rounds, at a time; so of so many the newest include all that it still
/// waits for.
const RECALLS_MAX: usize = PARTIES_MAX * WINDOW as usize * 2;

/// A batch that was asked for.
#[derive(Clone, Debug, Hash)]
pub(super) struct Want {
    digest: Digest,
    asked: PartySet,
}

/// Peers' questions to this server's log, one at a time for each peer.
#[derive(Clone, Debug, Hash, Default)]
pub(super) struct Librarian {
    desks: BTreeMap<Party, Desk>,
}

#[derive(Clone, Debug, Hash)]
struct Desk {
    serving: ArchiveKey,
    waiting: VecDeque<ArchiveKey>,
}

impl Librarian {
    /// Queues a question; returns it if it is to be put to the log at once.
    pub(super) fn ask(&mut self, to: Party, key: ArchiveKey) -> Option<ArchiveKey> {
        let Some(desk) = self.desks.get_mut(&to) else {
            self.desks.insert(to, Desk { serving: key, waiting: VecDeque::new() });
            return Some(key);
        };
        if desk.serving != key && !desk.waiting.contains(&key) {
            desk.waiting.push_back(key);
            if desk.waiting.len() > RECALLS_MAX {
                desk.waiting.pop_front();
            }
        }
        None
    }

    /// The log has answered; returns the peer's next question.
    pub(super) fn answered(&mut self, to: Party, key: ArchiveKey) -> Option<ArchiveKey> {
        let desk = self.desks.get_mut(&to).filter(|desk| desk.serving == key)?;
        let next = desk.waiting.pop_front();
        match next {
            Some(next) => desk.serving = next,
            None => drop(self.desks.remove(&to)),
        }
        next
    }

    /// Takes over what peers asked another: the instance of an epoch that has ended.
    pub(super) fn take_over(&mut self, other: Self) {
        for (party, desk) in other.desks {
            let Some(own) = self.desks.get_mut(&party) else {
                self.desks.insert(party, desk);
                continue;
            };
            own.waiting.push_back(desk.serving);
            own.waiting.extend(desk.waiting);
            while own.waiting.len() > RECALLS_MAX {
                own.waiting.pop_front();
            }
        }
    }

    pub(super) fn footprint(&self) -> usize {
        self.desks.values().map(|desk| 1 + desk.waiting.len()).sum()
    }
}

/// A smallest set of `voters` with an honest one among them, beginning at a place that spreads the
/// load. There is no clock to try them one after the other.
fn some_honest(structure: &AdversaryStructure, voters: PartySet, start: u64) -> PartySet {
    let (n, mut chosen) = (structure.n(), PartySet::EMPTY);
    for step in 0..n {
        let party = Party::new(((start % n as u64) as usize + step) % n);
        if structure.has_honest(chosen) {
            break;
        }
        if voters.contains(party) {
            chosen.insert(party);
        }
    }
    chosen
}

impl<S: Suite> AtomicBroadcast<S> {
    /// Asks for an ordered batch that is not here, once. (F1)
    pub(super) fn want(
        &mut self,
        lane: Party,
        height: Height,
        digest: Digest,
        mut voters: PartySet,
        cx: &mut impl Context<Self>,
    ) {
        if self.wants.contains_key(&(lane, height)) {
            return;
        }
        let me = cx.group().me();
        // A quorum minus this server still has an honest one among them: had this server voted, it
        // would hold the batch, unless it lost its log.
        voters.remove(me);
        let start = height.0.wrapping_add(me.index() as u64);
        let asked = some_honest(cx.group().structure(), voters, start);
        for party in asked.iter() {
            cx.send(Target::One(party), Message::Want { lane, height, digest });
        }
        self.wants.insert((lane, height), Want { digest, asked });
    }

    /// Asks a peer again for what it was asked for.
    pub(super) fn resend_wants(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        for ((lane, height), want) in &self.wants {
            if want.asked.contains(peer) {
                let (lane, height, digest) = (*lane, *height, want.digest);
                cx.send(Target::One(peer), Message::Want { lane, height, digest });
            }
        }
    }

    /// Handles a peer's question for a batch. (F2)
    pub(super) fn on_want(
        &mut self,
        from: Party,
        lane: Party,
        height: Height,
        digest: Digest,
        cx: &mut impl Context<Self>,
    ) {
        let Some(known) = self.lanes.get(&lane) else { return };
        if let Some(stored) = known.stored.get(&height) {
            if stored.sealed.digest == digest {
                let batch = stored.sealed.batch.clone();
                let owner = known.owner_vote_for(height, digest);
                cx.send(Target::One(from), Message::Found { lane, batch, owner });
            }
        } else if height <= known.delivered {
            let key = ArchiveKey::Batch { epoch: self.epoch, lane, height };
            self.recall(from, key, cx);
        }
    }

    pub(super) fn recall(&mut self, to: Party, key: ArchiveKey, cx: &mut impl Context<Self>) {
        if let Some(key) = self.librarian.ask(to, key) {
            cx.output(Outcome::Recall { to, key });
        }
    }

    /// Handles a batch that was asked for. What nobody asked this peer for is ignored: it may be
    /// late, another answered first. (F3, L8)
    pub(super) fn on_found(
        &mut self,
        from: Party,
        lane: Party,
        batch: Batch<S>,
        owner: Option<BatchVote<S>>,
        cx: &mut impl Context<Self>,
    ) {
        let place = (lane, batch.height);
        let Some(want) = self.wants.get(&place).filter(|want| want.asked.contains(from)) else {
            return;
        };
        let sealed = Sealed::new(batch);
        if sealed.digest != want.digest {
            return cx.blame(Fault::suspected(from, FaultKind::InvalidValue));
        }
        self.wants.remove(&place);
        if let Some(owner) = owner {
            self.compare_with_own_vote(lane, from, place.1, (sealed.digest, owner), cx);
        }
        self.lane(lane).store(sealed, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::Round;
    use maftia_base::Epoch;

    fn key(round: u64) -> ArchiveKey {
        ArchiveKey::Round { epoch: Epoch(0), round: Round(round) }
    }

    #[test]
    fn questions_to_an_ended_epoch_are_all_answered_by_who_takes_them_over() {
        let (peer, other) = (Party::new(1), Party::new(2));
        let (mut chain, mut ended) = (Librarian::default(), Librarian::default());
        assert_eq!(ended.ask(peer, key(1)), Some(key(1)), "to the log at once");
        assert_eq!((ended.ask(peer, key(2)), ended.ask(peer, key(3))), (None, None));
        assert_eq!(ended.ask(other, key(9)), Some(key(9)));
        assert_eq!(chain.ask(other, key(8)), Some(key(8)));
        chain.take_over(ended);
        let rest: Vec<ArchiveKey> =
            std::iter::successors(Some(key(1)), |served| chain.answered(peer, *served)).collect();
        assert_eq!(rest, [key(1), key(2), key(3)]);
        assert_eq!(chain.answered(other, key(8)), Some(key(9)), "both of its desks are served");
        assert_eq!(chain.answered(other, key(9)), None);
        assert_eq!(chain.footprint(), 0);
    }
}
