//! Agreed time: what a group of servers, some of them lying, says that the time is.
//!
//! # Promise
//! - *Range*: a batch's time lies within the honest voters' clock readings at the moment they
//!   voted for it, hence after each of them saw the batch: nothing can be backdated.
//! - *In the hybrid configuration* a batch's time is the latest at which its owner's trusted
//!   component can have identified it: after the owner had it, and by a clock that does not lie. A
//!   quorum's readings would not do: all but one may be false.
//! - *Woken*: servers that vouch for a wake-up do so by their own clocks, in both configurations:
//!   it moves agreed time to one that an honest server's clock has reached, and no further.
//! - *Monotone*: agreed time never goes back; it exceeds the batch's own time only to keep that.
//! - *Same everywhere*: it is a function of the order, not of any server's clock.
//!
//! # Model
//! The readings come from a certificate whose voters are a quorum, under Q3. Let `t` be the largest
//! time such that the voters with a reading of at least `t` pass `has_honest`. Then an honest voter
//! read `t` or more. The honest voters pass `has_honest` as well (a quorum less a corruptible set,
//! Q3), and all of them read at least their own minimum, so `t` is not below that minimum.

use maftia_base::canary;
use maftia_base::time::Reading;
use maftia_base::wire::wire_struct;
use maftia_base::{AdversaryStructure, Party, PartySet};

/// A point in time on which the group agrees: microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AgreedTime(pub u64);

wire_struct!(AgreedTime { 0 });

/// The group's clock; moved by what is delivered, and by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Clock {
    now: AgreedTime,
}

wire_struct!(Clock { now });

impl Clock {
    /// The agreed time now.
    pub fn now(&self) -> AgreedTime {
        self.now
    }

    /// Moves on to `time`, unless that would be back.
    pub fn advance(&mut self, time: AgreedTime) -> AgreedTime {
        self.now = canary!("clock-goes-back", time, self.now.max(time));
        self.now
    }
}

/// The largest time such that the parties with a reading of at least that pass `has_honest`;
/// `None` if all of them together do not.
pub fn batch_time(
    structure: &AdversaryStructure,
    readings: impl IntoIterator<Item = (Party, Reading)>,
) -> Option<AgreedTime> {
    let mut latest_first: Vec<_> = readings.into_iter().map(|(party, at)| (at, party)).collect();
    latest_first.sort_by(|a, b| b.cmp(a));
    let mut vouching = PartySet::EMPTY;
    for (Reading(at), party) in latest_first {
        vouching.insert(party);
        if canary!("clock-believes-one", true, structure.has_honest(vouching)) {
            return Some(AgreedTime(at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: usize, readings: &[u64]) -> Option<AgreedTime> {
        let structure = AdversaryStructure::optimal(n).expect("well-formed");
        let parties = readings.iter().enumerate().map(|(i, at)| (Party::new(i), Reading(*at)));
        batch_time(&structure, parties)
    }

    #[test]
    fn a_liar_cannot_move_time_outside_the_range_of_the_honest_voters() {
        for lie in [0, 99, 100, 105, 110, 111, u64::MAX] {
            let agreed = of(4, &[lie, 100, 110]).expect("a quorum voted").0;
            assert!((100..=110).contains(&agreed), "{lie} moved time to {agreed}");
        }
        for lies in [[0, 0], [0, u64::MAX], [u64::MAX, u64::MAX]] {
            let agreed = of(7, &[lies[0], lies[1], 100, 101, 102]).expect("a quorum voted").0;
            assert!((100..=102).contains(&agreed), "{lies:?} moved time to {agreed}");
        }
    }

    #[test]
    fn time_is_the_latest_that_an_honest_voter_vouches_for() {
        assert_eq!(of(4, &[100, 101, 102, 103]), Some(AgreedTime(102)));
        assert_eq!(of(1, &[7]), Some(AgreedTime(7)));
        assert_eq!(of(4, &[100]), None, "one of four may be the liar");
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.advance(AgreedTime(5)), AgreedTime(5));
        assert_eq!(clock.advance(AgreedTime(3)), AgreedTime(5));
        assert_eq!(clock.now(), AgreedTime(5));
    }
}
