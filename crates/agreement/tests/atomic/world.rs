//! A simulated group, the application above it, and what must hold of what it is told.

use maftia_agreement::atomic::epochs::{Command, EpochChain, Message, Outcome};
use maftia_agreement::atomic::{ArchiveKey, Delivery, Item, MARK_INTERVAL};
use maftia_base::wire::EncodeSize;
use maftia_base::{AdversaryStructure, Epoch, Formula, Group, GroupId, Party, PartySet};
use maftia_crypto::ideal::{self, IdealSuite};
use maftia_crypto::{Suite, Work};
use maftia_sim::{Builder, Failure, Simulation};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Enough for every scenario here; more means that something does not end.
pub(crate) const EVENTS_MAX: u64 = 3_000_000;

type Recalls = Rc<RefCell<Vec<(Party, Party, ArchiveKey)>>>;
type Delivered = Rc<RefCell<Vec<BTreeSet<Vec<u8>>>>>;

/// A running group.
pub(crate) struct World<S: Suite = IdealSuite> {
    pub(crate) sim: Simulation<EpochChain<S>>,
    /// Questions to logs: whose log, who needs it, what.
    recalls: Recalls,
    /// What each server was ever told of, by content.
    delivered: Delivered,
    submitted: u64,
}

pub(crate) fn p(index: usize) -> Party {
    Party::new(index)
}

pub(crate) fn parties(indices: impl IntoIterator<Item = usize>) -> PartySet {
    indices.into_iter().map(Party::new).collect()
}

pub(crate) fn groups(structure: &AdversaryStructure) -> Vec<Group> {
    (0..structure.n())
        .map(|index| Group::new(GroupId::default(), Epoch(0), p(index), structure.clone()))
        .collect()
}

/// `n` servers of which as many as possible may be corrupt.
pub(crate) fn world(
    n: usize,
    seed: u64,
    customize: impl FnOnce(Builder<EpochChain<IdealSuite>>) -> Builder<EpochChain<IdealSuite>>,
) -> World {
    let structure = AdversaryStructure::optimal(n).expect("well-formed");
    let keyrings = ideal::keyrings(&structure, &Formula::exact(&structure), seed);
    world_of(&structure, seed, keyrings, customize)
}

pub(crate) fn world_of<S: Suite>(
    structure: &AdversaryStructure,
    seed: u64,
    keyrings: Vec<S::Keyring>,
    customize: impl FnOnce(Builder<EpochChain<S>>) -> Builder<EpochChain<S>>,
) -> World<S> {
    world_made(structure, seed, keyrings, EpochChain::new, customize)
}

/// The same, of servers that are made otherwise.
pub(crate) fn world_made<S: Suite>(
    structure: &AdversaryStructure,
    seed: u64,
    keyrings: Vec<S::Keyring>,
    make: impl Fn() -> EpochChain<S> + 'static,
    customize: impl FnOnce(Builder<EpochChain<S>>) -> Builder<EpochChain<S>>,
) -> World<S> {
    let recalls = Recalls::default();
    let delivered: Delivered = Rc::new(RefCell::new(vec![BTreeSet::new(); structure.n()]));
    let (asked, told) = (Rc::clone(&recalls), Rc::clone(&delivered));
    let builder = Simulation::builder(groups(structure), seed)
        .worker(move |party, works: Vec<Work<S>>, clock| {
            S::run_many(works, &keyrings[party.index()], clock)
        })
        .measure(|message: &Message<S>| message.encode_size())
        .application(move |party, outcome| answer(party, outcome, &asked))
        .check(move |party, outcome| {
            if let Outcome::Delivered(delivery) = outcome {
                let items = delivery.items.iter().map(|item| item.to_vec());
                told.borrow_mut()[party.index()].extend(items);
            }
            Ok(())
        });
    let sim = customize(builder).build(move |_| make());
    World { sim, recalls, delivered, submitted: 0 }
}

/// The layer above: admits every item but those that begin with "bad", for which it finds no
/// answer, and those that begin with "vile", which it refuses.
fn answer<S: Suite>(party: Party, outcome: &Outcome, recalls: &Recalls) -> Vec<Command<S>> {
    match outcome {
        Outcome::Inspect { lane, height, digest, items } => {
            let (lane, height, digest) = (*lane, *height, *digest);
            let bad = items.iter().any(|item| item.starts_with(b"bad"));
            if items.iter().any(|item| item.starts_with(b"vile")) {
                return vec![Command::Refuse { lane, height, digest }];
            }
            if bad { vec![] } else { vec![Command::Admit { lane, height, digest }] }
        }
        Outcome::Recall { to, key } => {
            recalls.borrow_mut().push((party, *to, *key));
            vec![]
        }
        Outcome::Marked(_) => {
            vec![Command::Continue {
                interval: MARK_INTERVAL,
                loads: BTreeMap::new(),
                members: None,
            }]
        }
        Outcome::Delivered(_) | Outcome::EpochEnded { .. } | Outcome::Forgot => vec![],
        Outcome::OtherLife => vec![],
    }
}

impl<S: Suite> World<S> {
    /// Has `at` order something new; returns what.
    pub(crate) fn submit(&mut self, at: Party) -> Vec<u8> {
        self.submitted += 1;
        let content = format!("item {} at {at}", self.submitted).into_bytes();
        self.submit_this(at, &content);
        content
    }

    pub(crate) fn submit_this(&mut self, at: Party, content: &[u8]) {
        let item = Item::new(content.to_vec()).expect("small");
        self.sim.command(at, Command::Submit(item));
    }

    /// Has every party of `at` order `each` new items.
    pub(crate) fn submit_many(&mut self, at: PartySet, each: usize) -> Vec<Vec<u8>> {
        (0..each)
            .flat_map(|_| at.iter().map(|party| self.submit(party)).collect::<Vec<_>>())
            .collect()
    }

    /// One event, and the answers of the logs that were asked.
    pub(crate) fn step(&mut self) -> Result<bool, Failure> {
        let goes_on = self.sim.step()?;
        Ok(self.answer_recalls() || goes_on)
    }

    fn answer_recalls(&mut self) -> bool {
        let asked = self.recalls.take();
        let any = !asked.is_empty();
        for (whose, to, key) in asked {
            if !self.sim.is_up(whose) {
                continue;
            }
            let (log, _) = self.sim.log(whose);
            let record = log.iter().rev().find(|record| record.archive_key() == Some(key));
            let record = record.cloned().map(Box::new);
            self.sim.command(whose, Command::Recalled { to, key, record });
        }
        any
    }

    pub(crate) fn run_until(&mut self, goal: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        for _ in 0..EVENTS_MAX {
            if goal(self) {
                return Ok(());
            }
            if !self.step()? {
                break;
            }
        }
        if goal(self) {
            return Ok(());
        }
        Err(self.sim.fail(p(0), "the goal is not reached"))
    }

    pub(crate) fn run_to_quiescence(&mut self) -> Result<(), Failure> {
        for _ in 0..EVENTS_MAX {
            if !self.step()? {
                return Ok(());
            }
        }
        Err(self.sim.fail(p(0), "it does not become silent"))
    }

    /// Has `party` been told of all of `items`?
    pub(crate) fn has(&self, party: Party, items: &[Vec<u8>]) -> bool {
        let delivered = &self.delivered.borrow()[party.index()];
        items.iter().all(|item| delivered.contains(item))
    }

    pub(crate) fn all_have(&self, who: PartySet, items: &[Vec<u8>]) -> bool {
        who.iter().all(|party| self.has(party, items))
    }

    /// Runs until every honest server has delivered `items`, then until silence; then checks the
    /// order.
    pub(crate) fn finish(&mut self, items: &[Vec<u8>]) -> Result<(), Failure> {
        let honest = self.sim.honest();
        self.run_until(|world| world.all_have(honest, items))?;
        self.run_to_quiescence()?;
        self.check_order()
    }

    pub(crate) fn deliveries(&self, party: Party) -> Vec<Delivery> {
        let delivery = |outcome: &Outcome| match outcome {
            Outcome::Delivered(delivery) => Some(delivery.clone()),
            _ => None,
        };
        self.sim.outcomes(party).iter().filter_map(delivery).collect()
    }

    /// The one order, for the servers of now and for what each said in an earlier life.
    pub(crate) fn check_order(&self) -> Result<(), Failure> {
        let honest = self.sim.honest();
        let mut longest: Vec<Delivery> = Vec::new();
        let mut all = Vec::new();
        for party in honest.iter() {
            let mut lives: Vec<(u32, Vec<Delivery>)> = Vec::new();
            for (told, outcome) in self.sim.history(party) {
                let Outcome::Delivered(delivery) = outcome else { continue };
                match lives.last_mut() {
                    Some((life, deliveries)) if *life == told.incarnation => {
                        deliveries.push(delivery.clone());
                    }
                    _ => lives.push((told.incarnation, vec![delivery.clone()])),
                }
            }
            for (_, life) in lives {
                if life.len() > longest.len() {
                    longest.clone_from(&life);
                }
                all.push((party, life));
            }
        }
        for (party, life) in all {
            if life[..] != longest[..life.len()] {
                return Err(self.sim.fail(party, "it delivered in another order"));
            }
        }
        Ok(())
    }

    /// Every item of the total order once, and nothing but what was submitted.
    pub(crate) fn check_exactly(&self, items: &[Vec<u8>]) -> Result<(), Failure> {
        let wanted: BTreeSet<&[u8]> = items.iter().map(Vec::as_slice).collect();
        for party in self.sim.honest().iter() {
            let deliveries = self.deliveries(party);
            let got: Vec<&[u8]> = deliveries
                .iter()
                .flat_map(|delivery| delivery.items.iter().map(|item| &item[..]))
                .collect();
            let once: BTreeSet<&[u8]> = got.iter().copied().collect();
            if once.len() != got.len() {
                return Err(self.sim.fail(party, "it delivered something twice"));
            }
            if once != wanted {
                return Err(self.sim.fail(party, "it delivered something else"));
            }
        }
        Ok(())
    }
}
