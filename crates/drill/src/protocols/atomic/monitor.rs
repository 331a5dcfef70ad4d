//! The one order, as whoever listens understands it.

use super::super::order::{OrderReasons, chain_of};
use super::{Assumes, Atomic};
use crate::check::{Complaint, Monitor, ensure};
use crate::world::{Court, DrillSuite};
use maftia_agreement::atomic::epochs::{Command, Message, Outcome};
use maftia_agreement::atomic::{Delivery, Item};
use maftia_base::wire::Encode;
use maftia_base::{Digest, Party, PartySet};
use std::collections::{BTreeMap, BTreeSet};

/// The one order; L3, L5 and C4.
pub struct Sequence {
    corrupt: PartySet,
    order: OrderReasons,
    /// Everything that was delivered anywhere, in its order.
    all: Vec<Digest>,
    /// How far each server is in its present life.
    reached: BTreeMap<Party, usize>,
    /// What was delivered before each mark.
    marks: BTreeMap<u64, usize>,
    /// What each server was asked to order.
    asked: BTreeSet<(Party, Vec<u8>)>,
    places: BTreeSet<(u64, Party, u64)>,
}

impl Sequence {
    fn delivered<S: DrillSuite>(
        &mut self,
        by: Party,
        delivery: &Delivery,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        let Delivery { epoch, round, lane, height, items, turn, readings, seed, sealed } = delivery;
        let items: Vec<Digest> = items.iter().map(|item| Digest::of("drill", item)).collect();
        let read: Vec<(Party, u64)> = readings.iter().map(|(by, at)| (*by, at.0)).collect();
        let place = ((epoch.0, round.0), (*lane, height.0));
        let bytes = (place, (items, (*turn, (read, (*seed, sealed.map(|at| at.0)))))).encode();
        let digest = Digest::of("drill delivery", &bytes);
        let at = self.reached.entry(by).or_default();
        let position = *at;
        *at += 1;
        if let Some(first) = self.all.get(position) {
            return ensure(*first == digest, "order", || {
                format!("{by} delivers {height:?} of {lane} as number {position}, others do not")
            });
        }
        self.all.push(digest);
        let voters: PartySet = readings.iter().map(|(by, _)| *by).collect();
        ensure(court.quorums.is_quorum(voters), "transfer", || {
            format!("only {voters:?} vouch for {height:?} of {lane}")
        })?;
        ensure(self.places.insert((epoch.0, *lane, height.0)), "once", || {
            format!("{height:?} of {lane} is delivered twice in {epoch:?}")
        })?;
        let is_honest = !self.corrupt.contains(*lane);
        let is_asked = |item: &Item| self.asked.contains(&(*lane, item.to_vec()));
        ensure(!is_honest || delivery.items.iter().all(is_asked), "validity", || {
            format!("honest {lane} has something ordered that it was not asked to")
        })
    }
}

impl<S: DrillSuite, C: Assumes> Monitor<Atomic<S, C>> for Sequence {
    fn new(stage: &Atomic<S, C>) -> Self {
        Self {
            corrupt: stage.corrupt,
            order: OrderReasons::among(stage.members.clone()),
            all: Vec::new(),
            reached: BTreeMap::new(),
            marks: BTreeMap::new(),
            asked: BTreeSet::new(),
            places: BTreeSet::new(),
        }
    }

    fn ordered(&mut self, by: Party, order: &Command<S>) {
        if let Command::Submit(item) = order {
            self.asked.insert((by, item.to_vec()));
        }
    }

    fn heard(&mut self, by: Party, from: Party, said: &Message<S>, _: &Court<S>) {
        self.order.heard(by, from, said);
    }

    fn restarted(&mut self, by: Party) {
        self.reached.remove(&by);
    }

    fn says(
        &mut self,
        by: Party,
        to: Party,
        said: &Message<S>,
        court: &Court<S>,
    ) -> Result<(), Complaint> {
        self.order.says(by, to, said, chain_of(court.scope), court)
    }

    fn told(&mut self, by: Party, told: &Outcome, court: &Court<S>) -> Result<(), Complaint> {
        match told {
            Outcome::Delivered(delivery) => self.delivered(by, delivery, court),
            Outcome::Marked(mark) => {
                let here = self.reached.get(&by).copied().unwrap_or_default();
                let first = *self.marks.entry(mark.0).or_insert(here);
                ensure(first == here, "order", || {
                    format!("{by} has mark {} after {here} batches, others after {first}", mark.0)
                })
            }
            Outcome::Forgot => {
                Err(Complaint::new("state", format!("honest {by} says that it forgot something")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Shape;
    use maftia_agreement::atomic::{Height, Items, Round};
    use maftia_base::Epoch;
    use maftia_base::time::Reading;
    use maftia_crypto::IdealSuite;

    fn delivery(lane: usize, height: u64, items: &[&[u8]]) -> Delivery {
        let items = items.iter().map(|item| Item::new(item.to_vec()).expect("short"));
        Delivery {
            epoch: Epoch(0),
            round: Round(1),
            lane: Party::new(lane),
            height: Height(height),
            items: Items::new(items.collect()).expect("few"),
            turn: false,
            readings: (0..3).map(|by| (Party::new(by), Reading(7))).collect(),
            sealed: None,
            seed: Digest::default(),
        }
    }

    #[test]
    fn another_order_a_repetition_and_what_nobody_asked_for_are_noticed() {
        let court = Court::<IdealSuite>::new(Shape::Four, 0);
        let sequence = || Sequence {
            corrupt: PartySet::from_iter([Party::new(3)]),
            order: OrderReasons::default(),
            all: Vec::new(),
            reached: BTreeMap::new(),
            marks: BTreeMap::new(),
            asked: BTreeSet::from([(Party::new(0), b"a".to_vec())]),
            places: BTreeSet::new(),
        };
        let told = |deliveries: &[(usize, Delivery)]| -> Vec<&'static str> {
            let mut sequence = sequence();
            let each = deliveries.iter().map(|(by, delivery)| {
                let verdict = sequence.delivered(Party::new(*by), delivery, &court);
                verdict.err().map_or("nothing", |complaint| complaint.checker)
            });
            each.collect()
        };
        let (a, b) = (delivery(0, 1, &[b"a"]), delivery(3, 1, &[b"b"]));
        let good = [(0, a.clone()), (0, b.clone()), (1, a.clone()), (1, b.clone())];
        assert_eq!(told(&good), ["nothing"; 4]);
        assert_eq!(told(&[(0, a.clone()), (1, b.clone())]), ["nothing", "order"]);
        assert_eq!(told(&[(0, a.clone()), (0, a.clone())]), ["nothing", "once"]);
        assert_eq!(told(&[(0, delivery(0, 1, &[b"b"]))]), ["validity"]);
        let mut few = b;
        few.readings.truncate(2);
        assert_eq!(told(&[(0, few)]), ["transfer"]);
    }
}
