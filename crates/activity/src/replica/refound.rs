//! What the log of a server that has stopped comes to, and the log with which it begins anew when
//! operators found the group again.

use super::{Record, Replica};
use crate::{Held, Manifest, StateMachine};
use maftia_agreement::hybrid::Life;
use maftia_base::{Digest, Party, PartySet};
use maftia_crypto::Suite;
use std::collections::BTreeMap;

impl<S: Suite, M: StateMachine> Replica<S, M> {
    /// The digest of this server's state, as a checkpoint at this point would certify it.
    pub fn digest(&self) -> Digest {
        let (frontier, admitted) = (self.order.frontier(), self.state.admitted());
        Manifest::<S>::of(frontier, admitted, &self.state.snapshot()).0.digest()
    }

    /// Where the log that was replayed ends; `None` if this server has asked to be admitted again
    /// and was not, or stopped because it must not go on: it can speak for nothing.
    pub fn held(&self) -> Option<Held> {
        if self.is_rejoining() || self.is_halted() {
            return None;
        }
        let frontier = self.order.frontier();
        let (epoch, round) = (frontier.epoch, frontier.round);
        Some(Held { epoch, round, position: self.position(), digest: self.digest() })
    }

    /// The log with which this server begins under another founding, in which these lives have the
    /// place of the present ones: the state as it is here, at the beginning of the next epoch.
    /// `None` if one of the lives may not follow.
    pub fn refounded(
        mut self,
        lives: &BTreeMap<Party, Life>,
        all: PartySet,
    ) -> Option<Vec<Record<S>>> {
        let frontier = self.order.next_epoch();
        self.state.refound(lives, frontier.epoch, all)?;
        let state = self.state.snapshot();
        let (manifest, chunks) = Manifest::of(frontier, self.state.admitted(), &state);
        let mark = manifest.mark();
        let chunks = (0..).zip(chunks).map(|(index, chunk)| Record::Chunk { mark, index, chunk });
        let mut records = vec![Record::Begin(manifest)];
        records.extend(chunks);
        records.extend(self.convictions.iter().cloned().map(Record::Convicted));
        records.push(Record::Reserved(self.intake.reserved()));
        records.push(Record::Begun(mark));
        Some(records)
    }
}
