//! Single protocols of the hybrid configuration: agreement in views and by places, reliable
//! multicast, consensus of one value and of a vector, atomic multicast by the components' order.

mod placed;
mod plays;

pub use placed::Placed;
pub use plays::{Cast, Ordered, Simple, Vector, Views};

use crate::check::{Complaint, Fact, Goal, Monitor};
use crate::plan::Plan;
use crate::stage::{Order, Said, Seat, Stage, Told};
use crate::world::{Court, DrillSuite, Shape};
use crate::wormhole::{Components, MISHAPS, Mishap, components, members};
use maftia_agreement::hybrid::Members;
use maftia_base::protocol::{TimedProtocol, Vocabulary};
use maftia_base::wire::Wire;
use maftia_base::{Group, Party, PartySet};
use maftia_crypto::{Done, Work};
use maftia_sim::{Letter, Random, Simulation};
use std::cell::Cell;
use std::marker::PhantomData;

/// What must be known of one of these protocols.
pub trait Play<S: DrillSuite>: 'static {
    /// The protocol itself.
    type Protocol: TimedProtocol
        + Vocabulary<Work = Work<S>, Done = Done<S>, Message: Wire, Command: Clone>;
    /// Name in tokens.
    const NAME: &'static str;
    /// Its groups.
    const SHAPES: &'static [(u64, Shape)];
    /// Do some servers lose their components in some of its runs?
    const HAS_MISHAPS: bool = false;
    /// If one honest server is told a slot, are all?
    const ALL_OR_NONE: bool = true;

    /// The protocol at one server.
    fn make(me: Party, members: Members, roles: &Roles) -> Self::Protocol;
    /// What a server is asked next by the layer above, which insists.
    fn wants(state: &Self::Protocol, by: Party, roles: &Roles) -> Option<CommandOf<S, Self>>;
    /// How many events pass until the layer above looks again what it wants.
    fn pace(_: &Roles) -> u64 {
        LOOK_EVERY
    }
    /// What a corrupt server's code is asked; `face` 1 is what its second copy is asked.
    fn temptations(by: Party, face: usize, roles: &Roles) -> Vec<CommandOf<S, Self>>;
    /// What the layer above answers.
    fn answers(told: &OutcomeOf<S, Self>) -> Vec<CommandOf<S, Self>> {
        let _ = told;
        Vec::new()
    }
    /// Has this server what it is to have?
    fn has_all(state: &Self::Protocol, roles: &Roles) -> bool;
    /// What an outcome asserts.
    fn facts(told: &OutcomeOf<S, Self>) -> Vec<Fact>;
    /// May this slot have this value?
    fn allows(roles: &Roles) -> Box<dyn Fn(u64, u64) -> bool>;
    /// What else must hold in the end.
    fn verdicts(sim: &Simulation<Self::Protocol>, roles: &Roles) -> Vec<Complaint> {
        let _ = (sim, roles);
        Vec::new()
    }
    /// How far along a message is.
    fn step(said: &MessageOf<S, Self>) -> u64;
    /// What a liar says instead.
    fn lies<T: Stage<Protocol = Self::Protocol>>(
        by: Party,
        said: &MessageOf<S, Self>,
        seat: &Seat<T>,
        random: &mut Random,
    ) -> Vec<MessageOf<S, Self>>;
    /// Any message at all.
    fn babble(random: &mut Random) -> MessageOf<S, Self>;
}

type CommandOf<S, K> = <<K as Play<S>>::Protocol as Vocabulary>::Command;
type OutcomeOf<S, K> = <<K as Play<S>>::Protocol as Vocabulary>::Outcome;
type MessageOf<S, K> = <<K as Play<S>>::Protocol as Vocabulary>::Message;

/// Who plays which part in a run.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Number of servers.
    pub n: usize,
    /// Who is not honest.
    pub corrupt: PartySet,
    /// Who sends, or leads first.
    pub first: Party,
    /// Decides between forms of one protocol.
    pub form: u64,
    /// Whose component dies or reboots, which is corrupt to the others.
    pub victim: Option<Party>,
}

impl Roles {
    /// Who is honest.
    pub fn honest(&self) -> PartySet {
        PartySet::all(self.n).difference(self.corrupt)
    }

    /// Who has something to propose of its own: somebody honest, whose component goes on.
    pub fn proposes(&self, party: Party) -> bool {
        let is_chosen = |it: &Party| self.form >> it.index() & 1 == 1 && self.victim != Some(*it);
        let chosen: PartySet = self.honest().iter().filter(is_chosen).collect();
        chosen.is_empty() || chosen.contains(party)
    }
}

/// A group of servers with trusted components.
pub struct Trusting<S: DrillSuite, K: Play<S>> {
    roles: Roles,
    components: Components<K::Protocol>,
    /// Who the servers are before the wormhole, as the group knows it.
    members: Members,
    mishap: Option<Mishap>,
    tick: Cell<u64>,
    play: PhantomData<(S, K)>,
}

/// How many events pass as a rule until it is looked at who is to be asked for something.
const LOOK_EVERY: u64 = 7;

impl<S: DrillSuite, K: Play<S>> Stage for Trusting<S, K> {
    type Suite = S;
    type Protocol = K::Protocol;
    type Monitor = Nobody;
    const NAME: &'static str = K::NAME;
    const SHAPES: &'static [(u64, Shape)] = K::SHAPES;
    const MAY_BE_FICKLE: bool = false;
    const ASKS_AGAIN: bool = false;
    const SPAN: u64 = 120;
    const REAL_PERMILLE: u32 = 0;
    const FAVOURITES: &'static [(&'static str, usize)] = &[("none", 4)];
    const STORAGES: &'static [(&'static str, &'static str)] =
        if K::HAS_MISHAPS { MISHAPS } else { &[] };

    fn new(plan: &Plan, random: &mut Random) -> Self {
        let n = plan.shape.n();
        let first = Party::new(random.below(n as u64) as usize);
        let (corrupt, form) = (plan.corrupt(), random.bits());
        let components = components(plan, random);
        let members = members(&components);
        let mishap = Mishap::of(plan, Self::SPAN * n as u64 / 2, random);
        let roles = Roles { n, corrupt, first, form, victim: mishap.map(|it| it.victim) };
        Self { roles, components, members, mishap, tick: Cell::new(0), play: PhantomData }
    }

    fn make(&self, group: &Group, _: u32) -> Self::Protocol {
        K::make(group.me(), self.members.clone(), &self.roles)
    }

    fn components(&self) -> Option<Components<Self::Protocol>> {
        Some(self.components.clone())
    }

    fn footprint_max(&self, n: usize) -> usize {
        20 * n * n
    }

    /// While somebody waits for its component, whatever that does is an event, too.
    fn events_max(&self, n: usize) -> u64 {
        200_000 * (n * n) as u64
    }

    fn orders(&self, party: Party, face: usize) -> Vec<Order<Self>> {
        match self.roles.corrupt.contains(party) {
            true => K::temptations(party, face, &self.roles),
            false => Vec::new(),
        }
    }

    fn answers(&self, told: &Told<Self>) -> Vec<Order<Self>> {
        K::answers(told)
    }

    fn tend(&self, sim: &mut Simulation<Self::Protocol>) {
        let tick = self.tick.get() + 1;
        self.tick.set(tick);
        if let Some(mishap) = &self.mishap {
            mishap.strike(tick, &self.components);
        }
        if !tick.is_multiple_of(K::pace(&self.roles)) && sim.pending() > 0 {
            return;
        }
        for party in self.roles.honest().iter() {
            let wants = |state: &K::Protocol| K::wants(state, party, &self.roles);
            if let Some(order) = sim.state(party).and_then(wants) {
                sim.command(party, order);
            }
        }
    }

    fn is_tended(&self, sim: &Simulation<Self::Protocol>) -> bool {
        let has_all = |party: Party| sim.state(party).is_some_and(|it| K::has_all(it, &self.roles));
        let victim = self.mishap.map(|mishap| mishap.victim);
        let mut due = self.roles.honest().iter().filter(|party| victim != Some(*party));
        due.all(has_all)
    }

    fn is_met(&self, sim: &Simulation<Self::Protocol>) -> bool {
        self.is_tended(sim)
    }

    fn verdicts(&self, sim: &Simulation<Self::Protocol>) -> Vec<Complaint> {
        K::verdicts(sim, &self.roles)
    }

    fn facts(&self, told: &Told<Self>, _: &Court<S>) -> Vec<Fact> {
        K::facts(told)
    }

    fn goal(&self, _: PartySet, _: usize) -> Goal {
        let all_or_none = K::ALL_OR_NONE && self.mishap.is_none();
        Goal { due: Vec::new(), all_or_none, allows: K::allows(&self.roles) }
    }

    fn step(&self, said: &Said<Self>) -> u64 {
        K::step(said)
    }

    fn lies(
        &self,
        letter: &Letter<Said<Self>>,
        seat: &Seat<Self>,
        random: &mut Random,
    ) -> Vec<Said<Self>> {
        K::lies(letter.from, &letter.body, seat, random)
    }

    fn babble(&self, _: Party, _: &Seat<Self>, random: &mut Random) -> Said<Self> {
        K::babble(random)
    }
}

/// The general checkers are enough.
pub struct Nobody;

impl<S: DrillSuite, K: Play<S>> Monitor<Trusting<S, K>> for Nobody {
    fn new(_: &Trusting<S, K>) -> Self {
        Self
    }
}
