use crate::adversary::{Adversary, Corruption};
use crate::network::{Network, Scheduler};
use crate::observer::Observer;
use crate::report::Trace;
use crate::simulation::{Crashes, Rules, Simulation, Trusted};
use crate::{Random, seeds};
use maftia_base::protocol::TimedProtocol;
use maftia_base::time::{Reading, Time};
use maftia_base::{Group, Party, PartySet};

/// The wall clock of every server when virtual time is 0, unless the builder is told otherwise.
pub const CLOCK_START: Reading = Reading(1_700_000_000_000_000);

/// Happenings that a failure shows.
const TRACE_MAX: usize = 200;

/// Happenings that a failure shows when a failed seed is run again for its trace.
const LONG_TRACE_MAX: usize = 5_000;

/// Assembles a [`Simulation`].
pub struct Builder<P: TimedProtocol> {
    groups: Vec<Group>,
    seed: u64,
    rules: Rules<P>,
    scheduler: Box<dyn Scheduler<P::Message>>,
    corruptions: Vec<Corruption<P>>,
    exceeds_structure: bool,
    trace_max: usize,
}

impl<P: TimedProtocol> Builder<P> {
    pub(crate) fn new(groups: Vec<Group>, seed: u64) -> Self {
        assert!(!groups.is_empty(), "a group has a server");
        for (index, group) in groups.iter().enumerate() {
            assert!(group.me() == Party::new(index), "one group a server, in their order");
            assert!(group.n() == groups.len(), "every server of the group takes part");
        }
        let trace_max = if seeds::wants_long_trace() { LONG_TRACE_MAX } else { TRACE_MAX };
        Self {
            groups,
            seed,
            rules: Rules::default(),
            scheduler: Box::new(Network::random()),
            corruptions: Vec::new(),
            exceeds_structure: false,
            trace_max,
        }
    }

    /// Who does the work: one call does what is pending at one server, and returns one result for
    /// each, in the same order. The reading is that server's clock.
    pub fn worker(
        mut self,
        worker: impl FnMut(Party, Vec<P::Work>, Reading) -> Vec<P::Done> + 'static,
    ) -> Self {
        self.rules.worker = Some(Box::new(worker));
        self
    }

    /// The trusted components that [`consult`](maftia_base::Context::consult) asks.
    pub fn trusted(mut self, trusted: impl Trusted<P> + 'static) -> Self {
        self.rules.trusted = Some(Box::new(trusted));
        self
    }

    /// The layer above: answers each outcome with commands, later, to the same server.
    pub fn application(
        self,
        mut application: impl FnMut(Party, &P::Outcome) -> Vec<P::Command> + 'static,
    ) -> Self {
        self.application_with_log(move |party, outcome, _| application(party, outcome))
    }

    /// As [`application`](Self::application), for outcomes that ask for something old: it sees
    /// the server's log.
    pub fn application_with_log(
        mut self,
        application: impl FnMut(Party, &P::Outcome, &[P::Record]) -> Vec<P::Command> + 'static,
    ) -> Self {
        self.rules.application = Some(Box::new(application));
        self
    }

    /// Which outcomes allow a log to be cut: how many of its records may be forgotten.
    pub fn cuts_log(
        mut self,
        cut: impl Fn(&P::Outcome, &[P::Record]) -> Option<usize> + 'static,
    ) -> Self {
        self.rules.cut = Some(Box::new(cut));
        self
    }

    /// Looks at each outcome of an honest server, and fails the run by complaining.
    pub fn check(
        mut self,
        check: impl FnMut(Party, &P::Outcome) -> Result<(), String> + 'static,
    ) -> Self {
        self.rules.check = Some(Box::new(check));
        self
    }

    /// The clock of each server, for signed readings. By default all show the same time.
    pub fn clocks(mut self, clocks: impl FnMut(Party, Time) -> Reading + 'static) -> Self {
        self.rules.clocks = Some(Box::new(clocks));
        self
    }

    /// How many bytes a message takes, for the statistics.
    pub fn measure(mut self, measure: impl Fn(&P::Message) -> usize + 'static) -> Self {
        self.rules.measure = Some(Box::new(measure));
        self
    }

    /// Who decides when everything happens: a [`Network`], or a scheduler of your own. By default
    /// [`Network::random`].
    pub fn network(mut self, scheduler: impl Scheduler<P::Message> + 'static) -> Self {
        self.scheduler = Box::new(scheduler);
        self
    }

    /// Gives `parties` to an adversary. All corrupt parties together must be a set that the
    /// group's structure allows.
    pub fn corrupt(
        mut self,
        parties: impl IntoIterator<Item = Party>,
        adversary: impl Adversary<P> + 'static,
    ) -> Self {
        let parties: PartySet = parties.into_iter().collect();
        for earlier in &self.corruptions {
            let shared = earlier.parties.intersection(parties);
            assert!(shared.is_empty(), "a party has one master, not two: {shared:?}");
        }
        self.corruptions.push(Corruption { parties, adversary: Box::new(adversary) });
        self
    }

    /// Allows corrupt sets that the structure does not: to show what is lost, and what is not.
    pub fn exceeding_the_structure(mut self) -> Self {
        self.exceeds_structure = true;
        self
    }

    /// Crashes servers at persist points, and restarts them.
    pub fn crashes(mut self, crashes: Crashes) -> Self {
        self.rules.crashes = crashes;
        self
    }

    /// Of the crashes, only one, and that exactly at the persist point of this number, counted
    /// among those of all who may crash.
    pub fn crashing_only_at(mut self, persist_point: u64) -> Self {
        self.rules.crash_at = Some(persist_point);
        self
    }

    /// No honest server may ever hold more than this many items on behalf of its peers.
    pub fn footprint_max(mut self, items: usize) -> Self {
        self.rules.footprint_max = Some(items);
        self
    }

    /// Somebody who sees everything.
    pub fn observer(mut self, observer: impl Observer<P> + 'static) -> Self {
        self.rules.observer = Some(Box::new(observer));
        self
    }

    /// How many of the last happenings a failure shows; 0 for the highest speed.
    pub fn trace(mut self, happenings: usize) -> Self {
        self.trace_max = happenings;
        self
    }

    /// Builds the simulation; `make` builds a server's protocol, now and at each restart.
    pub fn build(self, mut make: impl FnMut(Party) -> P + 'static) -> Simulation<P> {
        self.build_incarnations(move |party, _| make(party))
    }

    /// As [`build`](Self::build), for protocols that are told how often they were restarted.
    pub fn build_incarnations(self, make: impl FnMut(Party, u32) -> P + 'static) -> Simulation<P> {
        let corrupt = self
            .corruptions
            .iter()
            .fold(PartySet::EMPTY, |all, corruption| all.union(corruption.parties));
        assert!(
            self.exceeds_structure || self.groups[0].structure().may_be_corrupt(corrupt),
            "the structure does not allow {corrupt:?} to be corrupt at once"
        );
        Simulation::start(
            self.groups,
            (self.seed, Random::new(self.seed)),
            Box::new(make),
            self.rules,
            self.scheduler,
            self.corruptions,
            Trace::new(self.trace_max),
        )
    }
}
