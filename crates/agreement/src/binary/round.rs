//! One round: what was said in it, and which rule is due.

use crate::tally::Tally;
use maftia_base::canary;
use maftia_base::{AdversaryStructure, Party, PartySet};

/// What one server knows and said in one round; `C` is its coin.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct RoundState<C> {
    /// With what it was entered; `None` for a round that only others are in.
    pub(super) estimate: Option<bool>,
    /// Which VAL we sent, by bit.
    pub(super) supported: [bool; 2],
    pub(super) echoed: Option<bool>,
    pub(super) voted: Option<Option<bool>>,
    pub(super) result: Option<Option<bool>>,
    pub(super) coin: C,
    pub(super) coin_value: Option<bool>,
    vals: [PartySet; 2],
    echoes: Tally<bool>,
    votes: Tally<Option<bool>>,
}

impl<C> RoundState<C> {
    /// Most items held for peers in a group of `n`: two VAL, ECHO, VOTE and a coin share each.
    pub(super) const fn items_max(n: usize) -> usize {
        5 * n
    }

    /// Items held for peers, without the coin's.
    pub(super) fn items(&self) -> usize {
        let vals: usize = self.vals.iter().map(|set| set.len()).sum();
        vals + self.echoes.len() + self.votes.len()
    }

    /// Counts a VAL; one party may send both. Always true: it never contradicts an earlier one.
    pub(super) fn on_val(&mut self, from: Party, bit: bool) -> bool {
        self.vals[usize::from(bit)].insert(from);
        canary!("binary-blames-both-vals", !self.vals[usize::from(!bit)].contains(from), true)
    }

    /// Counts an ECHO; false if it contradicts an earlier one.
    pub(super) fn on_echo(&mut self, from: Party, bit: bool) -> bool {
        self.echoes.insert(from, bit).is_ok()
    }

    /// Counts a VOTE; false if it contradicts an earlier one.
    pub(super) fn on_vote(&mut self, from: Party, vote: Option<bool>) -> bool {
        self.votes.insert(from, vote).is_ok()
    }

    /// R2: the bit whose VAL we should repeat.
    pub(super) fn support_due(&self, structure: &AdversaryStructure) -> Option<bool> {
        [false, true].into_iter().find(|bit| {
            let index = usize::from(*bit);
            let vals = self.vals[index];
            !self.supported[index]
                && canary!("binary-supports-anything", !vals.is_empty(), structure.has_honest(vals))
        })
    }

    /// R3: an honest server's estimate, and all honest servers will come to know it.
    fn is_approved(&self, bit: bool, structure: &AdversaryStructure) -> bool {
        let vals = self.vals[usize::from(bit)];
        canary!(
            "binary-approves-few",
            structure.has_honest(vals),
            structure.has_honest_quorum(vals)
        )
    }

    fn are_both_approved(&self, structure: &AdversaryStructure) -> bool {
        self.is_approved(false, structure) && self.is_approved(true, structure)
    }

    /// R3: the ECHO to send.
    pub(super) fn echo_due(&self, structure: &AdversaryStructure) -> Option<bool> {
        let candidates = [false, true].into_iter();
        let mut approved = candidates.filter(|bit| self.is_approved(*bit, structure));
        self.echoed.is_none().then(|| approved.next())?
    }

    /// R4: the VOTE to send.
    pub(super) fn vote_due(&self, structure: &AdversaryStructure) -> Option<Option<bool>> {
        if self.voted.is_some() {
            return None;
        }
        let echoed = |bit: &bool| {
            let echoes = self.echoes.supporters(*bit);
            canary!("binary-echoes-few", structure.has_honest(echoes), structure.is_quorum(echoes))
        };
        match [false, true].into_iter().find(echoed) {
            Some(bit) => Some(Some(bit)),
            None => self.are_both_approved(structure).then_some(None),
        }
    }

    /// R5: the result, once it is known.
    pub(super) fn result_due(&self, structure: &AdversaryStructure) -> Option<Option<bool>> {
        if self.result.is_some() {
            return None;
        }
        let voted = |bit: &bool| {
            let votes = self.votes.supporters(Some(*bit));
            canary!("binary-votes-few", structure.has_honest(votes), structure.is_quorum(votes))
        };
        match [false, true].into_iter().find(voted) {
            Some(bit) => Some(Some(bit)),
            None => (self.are_both_approved(structure) && structure.is_quorum(self.votes.voters()))
                .then_some(None),
        }
    }
}
