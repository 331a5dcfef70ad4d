//! Rejoining: how a server that lost its log becomes a correct one again.
//!
//! Such a server cannot know what it signed. It says so, with a number drawn for the occasion; the
//! group ends the epoch, in which the server may have signed anything, and begins another, in which
//! it has signed nothing. Until then the server votes in nothing and counts as faulty.
//!
//! # Promise
//! - *Fresh*: if the state says that a server is admitted with a number, then that epoch began
//!   after the number was drawn; hence the server signed nothing in it before.
//! - *Not replayable*: a number admits once, and only the server itself can have it asked for.
//! - *Rate-limited*: a server is admitted at most once in [`REJOIN_EVERY`] of agreed time; so a
//!   corrupt one that keeps asking costs an epoch change a minute.
//! - *Same everywhere*: a function of the order, and part of the state.
//!
//! # Rules
//! - J1. Asked by a server over its own link, every server says so in its lane, one question of
//!   each at a time.
//! - J2. Once the lanes that say so have an honest owner, and the last admission is long enough
//!   ago, the question is approved.
//! - J3. Whoever sees an approved question wishes for the end of the epoch.
//! - J4. At the end of an epoch, all approved questions are granted as of the next.
//!
//! In the hybrid configuration the number is that of a new life of the server's trusted component:
//! see [`crate::lives`].
//!
//! # Why it holds
//! *Fresh.* By J2 an honest server heard the number before it put it into its lane in an epoch `e`,
//! where it was delivered. So a round of `e` was decided after the number was drawn; when it was
//! drawn, the last round of `e` was open, and no epoch after `e` had begun anywhere. The admission
//! is to an epoch after `e` (J4).
//!
//! # Bounds
//! One number for each pair of servers, one question and one admission for each server.
//!
//! # Sources
//! Ours. The literature on proactive recovery (Castro and Liskov, "Proactive recovery in a
//! Byzantine-fault-tolerant system", OSDI 2000) keeps votes in a log that survives, or changes
//! keys by trusted hardware; here the epoch in every signed statement takes the place of new keys.

use crate::AgreedTime;
use crate::session::{Entry, map};
use maftia_base::wire::{List, wire_struct};
use maftia_base::{AdversaryStructure, Digest, Epoch, PARTIES_MAX, Party, PartySet};
use std::collections::BTreeMap;

/// A server is admitted again at most once in this time, in microseconds of agreed time.
pub const REJOIN_EVERY: u64 = 60_000_000;

/// Drawn at random by a server that has lost its log, once for each loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub Digest);

wire_struct!(Nonce { 0 });

/// A server that was admitted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Admission {
    /// Who.
    pub party: Party,
    /// With which number.
    pub nonce: Nonce,
    /// From which epoch on it takes part.
    pub epoch: Epoch,
    /// When.
    pub at: AgreedTime,
}

wire_struct!(Admission { party, nonce, epoch, at });

/// Who has asked to be admitted again, and who was. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Rejoins {
    /// For each server that asked: the number that it gave each of the others, as they say.
    asked: BTreeMap<Party, BTreeMap<Party, Nonce>>,
    approved: BTreeMap<Party, Nonce>,
    admitted: BTreeMap<Party, Admission>,
}

impl Rejoins {
    /// `voter` says that `party` asks with `nonce`. (J2)
    pub(crate) fn ask(
        &mut self,
        structure: &AdversaryStructure,
        voter: Party,
        (party, nonce): (Party, Nonce),
        now: AgreedTime,
    ) {
        if voter == party || party.index() >= structure.n() {
            return;
        }
        let sayings = self.asked.entry(party).or_default();
        // Its last word counts.
        sayings.insert(voter, nonce);
        self.forget_known(party);
        self.settle(structure, now);
    }

    /// Approves what can be approved by now. (J2)
    pub(crate) fn settle(&mut self, structure: &AdversaryStructure, now: AgreedTime) {
        let due: Vec<(Party, Nonce)> =
            self.confirmed(structure).filter(|(party, _)| self.not_before(*party) <= now).collect();
        due.into_iter().for_each(|(party, nonce)| self.approve(party, nonce));
    }

    /// This question is granted when the epoch ends.
    pub(crate) fn approve(&mut self, party: Party, nonce: Nonce) {
        self.approved.insert(party, nonce);
        self.forget_known(party);
    }

    /// Of what is said about `party`, only what is neither approved nor granted matters.
    fn forget_known(&mut self, party: Party) {
        let known = |nonce: &Nonce| {
            let granted = self.admitted.get(&party).map(|admission| admission.nonce);
            self.approved.get(&party) == Some(nonce) || granted == Some(*nonce)
        };
        if let Some(sayings) = self.asked.get(&party) {
            let open = sayings.iter().filter(|(_, nonce)| !known(nonce));
            let open: BTreeMap<Party, Nonce> = open.map(|(by, nonce)| (*by, *nonce)).collect();
            match open.is_empty() {
                true => drop(self.asked.remove(&party)),
                false => drop(self.asked.insert(party, open)),
            }
        }
    }

    /// The questions that an honest server heard for certain.
    fn confirmed(&self, structure: &AdversaryStructure) -> impl Iterator<Item = (Party, Nonce)> {
        self.asked.iter().filter_map(|(party, numbers)| {
            let sayers = |nonce: &Nonce| -> PartySet {
                numbers.iter().filter(|(_, said)| *said == nonce).map(|(by, _)| *by).collect()
            };
            let nonce = numbers.values().find(|nonce| structure.has_honest(sayers(nonce)))?;
            Some((*party, *nonce))
        })
    }

    fn not_before(&self, party: Party) -> AgreedTime {
        let last = self.admitted.get(&party).map(|admission| admission.at.0);
        AgreedTime(last.map_or(0, |at| at.saturating_add(REJOIN_EVERY)))
    }

    /// When the next question can be approved that cannot be now.
    pub(crate) fn due(&self, structure: &AdversaryStructure) -> Option<AgreedTime> {
        self.confirmed(structure).map(|(party, _)| self.not_before(party)).min()
    }

    /// Is there a reason to end the epoch? (J3)
    pub(crate) fn wants_epoch_change(&self) -> bool {
        !self.approved.is_empty()
    }

    /// Has this question been approved or granted?
    pub(crate) fn is_known(&self, party: Party, nonce: Nonce) -> bool {
        self.approved.get(&party) == Some(&nonce) || self.is_admitted(party, nonce)
    }

    fn is_admitted(&self, party: Party, nonce: Nonce) -> bool {
        self.admitted.get(&party).is_some_and(|admission| admission.nonce == nonce)
    }

    /// With what number `party` is to be admitted.
    pub(crate) fn approved(&self, party: Party) -> Option<Nonce> {
        self.approved.get(&party).copied()
    }

    /// Is this question asked, or approved, and not granted?
    pub(crate) fn is_open(&self, party: Party, nonce: Nonce) -> bool {
        let said = |said: &BTreeMap<Party, Nonce>| said.values().any(|said| *said == nonce);
        self.approved(party) == Some(nonce) || self.asked.get(&party).is_some_and(said)
    }

    /// The last admission of `party`.
    pub(crate) fn admission(&self, party: Party) -> Option<&Admission> {
        self.admitted.get(&party)
    }

    /// Forgets what is said of `party` and cannot be granted any more.
    pub(crate) fn retain_asked(&mut self, party: Party, may: impl Fn(&Nonce) -> bool) {
        if let Some(sayings) = self.asked.get_mut(&party) {
            sayings.retain(|_, nonce| may(nonce));
            if sayings.is_empty() {
                self.asked.remove(&party);
            }
        }
    }

    /// An epoch has ended; `next` begins. Returns who is admitted. (J4)
    pub(crate) fn on_epoch_ended(&mut self, next: Epoch, now: AgreedTime) -> PartySet {
        let approved = std::mem::take(&mut self.approved);
        for (party, nonce) in &approved {
            let (party, nonce) = (*party, *nonce);
            self.admitted.insert(party, Admission { party, nonce, epoch: next, at: now });
        }
        approved.into_keys().collect()
    }

    /// Everybody who was ever admitted again, with the last time.
    pub(crate) fn admitted(&self) -> List<Admission, PARTIES_MAX> {
        List::new(self.admitted.values().copied().collect()).expect("one for each server")
    }

    pub(crate) fn image(&self) -> RejoinsImage {
        let list = |numbers: &BTreeMap<Party, Nonce>| {
            let entries = numbers.iter().map(|(party, nonce)| Entry(*party, *nonce)).collect();
            List::new(entries).expect("one for each server")
        };
        let asked = self.asked.iter().map(|(party, numbers)| Entry(*party, list(numbers)));
        RejoinsImage {
            asked: List::new(asked.collect()).expect("one for each server"),
            approved: list(&self.approved),
            admitted: self.admitted(),
        }
    }

    pub(crate) fn restored(image: RejoinsImage) -> Self {
        let admitted = image.admitted.into_vec().into_iter();
        Self {
            asked: map(image.asked).into_iter().map(|(party, list)| (party, map(list))).collect(),
            approved: map(image.approved),
            admitted: admitted.map(|admission| (admission.party, admission)).collect(),
        }
    }
}

type Numbers = List<Entry<Party, Nonce>, PARTIES_MAX>;

pub(crate) struct RejoinsImage {
    asked: List<Entry<Party, Numbers>, PARTIES_MAX>,
    approved: Numbers,
    admitted: List<Admission, PARTIES_MAX>,
}

wire_struct!(RejoinsImage { asked, approved, admitted });

#[cfg(test)]
mod tests {
    use super::*;

    fn p(index: usize) -> Party {
        Party::new(index)
    }

    fn nonce(number: u8) -> Nonce {
        Nonce(Digest([number; 32]))
    }

    fn structure() -> AdversaryStructure {
        AdversaryStructure::optimal(4).expect("well-formed")
    }

    #[test]
    fn a_question_is_approved_once_an_honest_server_heard_it_and_granted_with_the_next_epoch() {
        let (mut rejoins, group) = (Rejoins::default(), structure());
        rejoins.ask(&group, p(3), (p(3), nonce(1)), AgreedTime(5));
        rejoins.ask(&group, p(0), (p(3), nonce(1)), AgreedTime(5));
        rejoins.ask(&group, p(1), (p(3), nonce(2)), AgreedTime(5));
        assert!(!rejoins.wants_epoch_change(), "no two others said the same");
        rejoins.ask(&group, p(1), (p(3), nonce(1)), AgreedTime(6));
        assert!(rejoins.wants_epoch_change() && rejoins.admitted().is_empty());
        rejoins.on_epoch_ended(Epoch(7), AgreedTime(9));
        let granted =
            Admission { party: p(3), nonce: nonce(1), epoch: Epoch(7), at: AgreedTime(9) };
        assert_eq!(rejoins.admitted().into_vec(), [granted]);
        assert!(!rejoins.wants_epoch_change());
        assert_eq!(Rejoins::restored(rejoins.image()), rejoins);
    }

    #[test]
    fn a_number_admits_once_and_a_new_one_only_after_a_while() {
        let (mut rejoins, group) = (Rejoins::default(), structure());
        let ask = |rejoins: &mut Rejoins, number: u8, now: u64| {
            for voter in [p(0), p(1)] {
                rejoins.ask(&group, voter, (p(3), nonce(number)), AgreedTime(now));
            }
        };
        ask(&mut rejoins, 1, 100);
        rejoins.on_epoch_ended(Epoch(1), AgreedTime(100));
        ask(&mut rejoins, 1, 100 + 2 * REJOIN_EVERY);
        assert!(!rejoins.wants_epoch_change(), "a replay");
        ask(&mut rejoins, 2, 101);
        assert!(!rejoins.wants_epoch_change(), "too early");
        assert_eq!(rejoins.due(&group), Some(AgreedTime(100 + REJOIN_EVERY)));
        let restored = Rejoins::restored(rejoins.image());
        assert_eq!(restored, rejoins);
        rejoins.settle(&group, AgreedTime(99 + REJOIN_EVERY));
        assert!(!rejoins.wants_epoch_change());
        rejoins.settle(&group, AgreedTime(100 + REJOIN_EVERY));
        assert!(rejoins.wants_epoch_change() && rejoins.due(&group).is_none());
    }

    #[test]
    fn a_server_that_was_wiped_again_asks_with_a_new_number_before_the_old_one_was_granted() {
        let (mut rejoins, group) = (Rejoins::default(), structure());
        rejoins.ask(&group, p(0), (p(3), nonce(1)), AgreedTime(5));
        for voter in [p(0), p(1)] {
            rejoins.ask(&group, voter, (p(3), nonce(2)), AgreedTime(5));
        }
        rejoins.on_epoch_ended(Epoch(1), AgreedTime(9));
        assert_eq!(rejoins.admitted()[0].nonce, nonce(2));
    }
}
