//! What entitles a replica to what it says.

use super::{Hull, Replication, marks_of};
use crate::check::{Complaint, Monitor, ensure};
use crate::protocols::order::{OrderReasons, chain_of};
use crate::protocols::short;
use crate::stage::{Said, Told};
use crate::world::{Court, DrillSuite, work};
use maftia_activity::{Accusation, Message, Outcome, TransferMessage};
use maftia_agreement::checkpoint::{self, Mark};
use maftia_base::{Digest, Party, Place, Statement, StatementKind};
use maftia_crypto::{Done, Work};
use std::collections::BTreeMap;

/// L3, L5, C4 of the order; K1 to K4; what states are at marks.
#[derive(Default)]
pub struct Reasons {
    order: OrderReasons,
    /// The state that an honest server was the first to say it has at a mark.
    states: BTreeMap<Mark, (Party, u64)>,
}

impl Reasons {
    fn same_state(&mut self, by: Party, mark: Mark, digest: Digest) -> Result<(), Complaint> {
        let (other, first) = *self.states.entry(mark).or_insert((by, short(&digest)));
        ensure(first == short(&digest), "state", || {
            format!("at mark {} the states of {by} and {other} are not the same", mark.0)
        })
    }

    fn judge<S: DrillSuite>(
        &mut self,
        (by, to): (Party, Party),
        said: &Message<S>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        match said {
            Message::Order(said) => self.order.says(by, to, said, chain_of(court.scope), court),
            Message::Checkpoint(checkpoint::Message::Vote { mark, digest, .. }) => {
                self.same_state(by, *mark, *digest)
            }
            Message::Checkpoint(checkpoint::Message::Certified(last)) => {
                let (place, scope) = (Place(last.mark.0, 0), marks_of(court.scope));
                let kind = StatementKind::Checkpoint;
                let statement = Statement::new(scope, kind, place, last.digest);
                ensure(court.is_certificate(&last.certificate, statement), "transfer", || {
                    format!("{by} sends a certificate of too few for mark {}", last.mark.0)
                })?;
                self.same_state(by, last.mark, last.digest)
            }
            Message::Transfer(TransferMessage::Manifest(manifest)) => {
                self.same_state(by, manifest.mark(), manifest.digest())
            }
            Message::Accusation(Accusation { culprit, evidence }) => {
                let convict =
                    Work::Convict { culprit: *culprit, evidence: Box::new(evidence.clone()) };
                let holds = work::<S>(&court.keyrings[0], convict);
                ensure(matches!(holds, Done::Convicted(true)), "evidence", || {
                    format!("{by} accuses {culprit} with what convinces nobody")
                })
            }
            _ => Ok(()),
        }
    }
}

impl<S: DrillSuite, H: Hull<S>> Monitor<Replication<S, H>> for Reasons {
    fn new(stage: &Replication<S, H>) -> Self {
        Self { order: OrderReasons::among(stage.members.clone()), ..Self::default() }
    }

    fn heard(&mut self, by: Party, from: Party, said: &Said<Replication<S, H>>, _: &Court<S>) {
        for said in H::open(said) {
            if let Message::Order(said) = &said {
                self.order.heard(by, from, said);
            }
        }
    }

    fn says(
        &mut self,
        by: Party,
        to: Party,
        said: &Said<Replication<S, H>>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let each = H::open(said);
        each.iter().try_for_each(|said| self.judge((by, to), said, court))
    }

    fn told(
        &mut self,
        by: Party,
        told: &Told<Replication<S, H>>,
        _: &Court<S>,
    ) -> Result<(), Complaint> {
        match told {
            Outcome::Halted(why) => {
                Err(Complaint::new("state", format!("honest {by} gives up: {why:?}")))
            }
            _ => Ok(()),
        }
    }
}
