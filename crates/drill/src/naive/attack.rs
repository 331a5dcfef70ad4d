//! The attack on [`Mmr`](super::Mmr): one corrupt server and the order of messages.
//!
//! In each round two servers are shown both values, so that they take the coin for their estimate.
//! The third hears nothing until the coin is known; then it is shown the other value only, and
//! keeps that. So the estimates differ again, whatever the coin says.

use super::mmr::{Mmr, Said};
use crate::adversary::{Cue, Reacts};
use crate::world::{Court, Shape, work};
use maftia_base::Party;
use maftia_base::time::Duration;
use maftia_crypto::{Done, IdealSuite, Work};
use maftia_sim::{Adversary, Fate, Hand, Letter, Local, Random, Scheduler, UNIT};
use std::collections::{BTreeMap, BTreeSet};

/// The corrupt server: supports everything in each round.
pub struct Supporter;

impl Supporter {
    /// Its conduct.
    pub fn adversary() -> impl Adversary<Mmr> {
        let mut spoken = 0;
        Reacts(move |cue: Cue<'_, Said>, hand: &mut Hand<'_, Mmr>| {
            let heard = match cue {
                Cue::Start => 0,
                Cue::Reached(letter) | Cue::Overheard(letter) => match &*letter.body {
                    Said::Est(round, _) => *round,
                    _ => return,
                },
            };
            while spoken <= heard {
                for by in hand.parties().iter().collect::<Vec<_>>() {
                    for bit in [false, true] {
                        hand.send_all(by, Said::Est(spoken, bit));
                        hand.send_all(by, Said::Aux(spoken, bit));
                    }
                }
                spoken += 1;
            }
        })
    }
}

/// Orders messages by the coin.
pub struct CoinOrdered {
    court: Court<IdealSuite>,
    coins: BTreeMap<u64, bool>,
    /// Who has voted, and who has given its share, in which round.
    voted: BTreeSet<(Party, u64)>,
    tossed: BTreeSet<(Party, u64)>,
}

/// The one that is kept in the dark.
const LAST: usize = 2;

impl CoinOrdered {
    /// Of a run in this epoch, with four servers of which the last is corrupt.
    pub fn new(epoch: u64) -> Self {
        let court = Court::new(Shape::Four, epoch);
        let (coins, voted, tossed) = Default::default();
        Self { court, coins, voted, tossed }
    }

    /// The estimate of the first two servers in a round.
    fn common(&self, round: u64) -> bool {
        match round.checked_sub(1) {
            None => true,
            Some(last) => self.coins.get(&last).copied().unwrap_or(true),
        }
    }

    /// The coin is known as soon as one honest share is out: the corrupt server has another.
    fn learn(&mut self, round: u64, from: Party, share: &super::mmr::Share) {
        let name = self.court.scope.child("mmr coin", round);
        let liar = Party::new(3);
        let own = work::<IdealSuite>(&self.court.keyrings[3], Work::CoinShare(name));
        if let Done::CoinShare(own) = own
            && let Some(coin) = self.court.coin_of(name, vec![(from, share.clone()), (liar, own)])
        {
            self.coins.insert(round, coin.0[0] & 1 == 1);
        }
    }

    fn may_arrive(&self, letter: &Letter<Said>) -> bool {
        let to = letter.to.index();
        let (round, bit, is_vote) = match &*letter.body {
            Said::Coin(round, _) => {
                return to != LAST || self.tossed.contains(&(letter.to, *round));
            }
            Said::Est(round, bit) => (*round, *bit, false),
            Said::Aux(round, bit) => (*round, *bit, true),
        };
        if self.tossed.contains(&(letter.to, round)) || to > LAST {
            return true;
        }
        if to == LAST {
            return self.coins.get(&round).is_some_and(|coin| bit != *coin);
        }
        // The first sees the common estimate first, the second the other one.
        let first = self.common(round) == (to == 0);
        match is_vote {
            false => bit == first || self.voted.contains(&(letter.to, round)),
            // Votes of the two and of the liar: these must be what the receiver voted itself.
            true => letter.from.index() < LAST || (letter.from.index() == 3 && bit == first),
        }
    }
}

impl Scheduler<Said> for CoinOrdered {
    fn route(&mut self, letter: &Letter<Said>, _: &mut Random) -> Fate {
        match &*letter.body {
            Said::Aux(round, _) if letter.from.index() <= LAST => {
                self.voted.insert((letter.from, *round));
            }
            Said::Coin(round, share) => {
                self.tossed.insert((letter.from, *round));
                self.learn(*round, letter.from, &share.clone());
            }
            _ => {}
        }
        Fate::Held(Duration(1_000_000_000 * UNIT.0))
    }

    fn local(&mut self, _: Party, _: Local, _: &mut Random) -> Duration {
        Duration(0)
    }

    fn release(&mut self, held: &[Letter<Said>], _: &mut Random) -> Option<usize> {
        held.iter().position(|letter| self.may_arrive(letter))
    }

    fn waits_for_calm(&self) -> bool {
        true
    }
}
