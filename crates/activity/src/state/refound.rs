//! Operators admit lives in the place of the order.

use super::State;
use crate::{Nonce, StateMachine};
use maftia_agreement::hybrid::Life;
use maftia_base::{Epoch, Party, PartySet};
use std::collections::BTreeMap;

impl<M: StateMachine> State<M> {
    /// The epoch of the servers `all` has ended, and `next` begins with these lives; a server that
    /// is not named keeps its own. Nothing else differs from an admission by the order (A5). `None`
    /// if a life may not follow, because it was closed or its number is not above all before.
    #[must_use]
    pub(crate) fn refound(
        &mut self,
        lives: &BTreeMap<Party, Life>,
        next: Epoch,
        all: PartySet,
    ) -> Option<()> {
        let known = self.lives.as_mut()?;
        for (party, life) in lives {
            let member = *known.members().member(*party)?;
            if member.life != *life {
                member.may_become(life).then_some(())?;
                known.offer(*party, *life);
                self.rejoins.approve(*party, Nonce::of_life(life));
            }
        }
        self.on_epoch_ended(next, all);
        Some(())
    }
}
