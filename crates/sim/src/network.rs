use crate::Random;
use maftia_base::time::{Duration, Time};
use maftia_base::{Party, PartySet};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The delay that counts as one.
pub const UNIT: Duration = Duration::from_millis(1);

/// How often a channel loses a message at most, so that a lossy run ends for certain.
pub const LOSSES_PER_CHANNEL_MAX: u32 = 100;

/// A message on its way.
#[derive(Debug)]
pub struct Letter<M> {
    /// Who sent it.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// What it says; one copy is shared by all receivers of a broadcast.
    pub body: Rc<M>,
    /// When it was sent.
    pub sent: Time,
    /// How many letters were sent before it.
    pub number: u64,
}

impl<M> Clone for Letter<M> {
    fn clone(&self) -> Self {
        Self { body: Rc::clone(&self.body), ..*self }
    }
}

/// What becomes of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after this long.
    Arrives(Duration),
    /// It arrives twice.
    ArrivesTwice(Duration, Duration),
    /// It is lost. Unless the scheduler is [unaided](Scheduler::is_aided), both ends are told by
    /// `Reconnected`, later.
    Lost,
    /// The scheduler keeps it until it [releases](Scheduler::release) it, but at most this long:
    /// asynchrony means any delay, not for ever.
    Held(Duration),
}

/// What happens within one server and yet takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Local {
    /// A message to oneself.
    SelfDelivery,
    /// Work waits for a worker.
    Work,
    /// A result comes back from a worker.
    Done,
    /// The log is forced to disk.
    Sync,
    /// The layer above answers an outcome.
    Command,
    /// A broken channel is found and mended.
    Reconnect,
}

/// Decides when everything happens. It sees every message with its content, as an adversary that
/// owns the network does; a scheduler that depends on the content implements this trait itself.
pub trait Scheduler<M> {
    /// It is this time now. Told before every event.
    fn tick(&mut self, now: Time) {
        let _ = now;
    }

    /// A letter is sent: what becomes of it?
    fn route(&mut self, letter: &Letter<M>, random: &mut Random) -> Fate;

    /// How long does this take?
    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration;

    /// Which of the letters that it holds, if any, arrives now? Asked after every event until the
    /// answer is `None`.
    fn release(&mut self, held: &[Letter<M>], random: &mut Random) -> Option<usize> {
        let _ = (held, random);
        None
    }

    /// Is it asked to release letters only when nothing else is left to happen at this instant?
    fn waits_for_calm(&self) -> bool {
        false
    }

    /// Are the ends of a channel told, by `Reconnected`, that it lost something? False for
    /// protocols that find out by themselves.
    fn is_aided(&self) -> bool {
        true
    }

    /// Do simultaneous results of work come back in any order?
    fn shuffles_work(&self) -> bool {
        true
    }
}

impl<M> Scheduler<M> for Box<dyn Scheduler<M>> {
    fn tick(&mut self, now: Time) {
        (**self).tick(now);
    }

    fn route(&mut self, letter: &Letter<M>, random: &mut Random) -> Fate {
        (**self).route(letter, random)
    }

    fn local(&mut self, party: Party, what: Local, random: &mut Random) -> Duration {
        (**self).local(party, what, random)
    }

    fn release(&mut self, held: &[Letter<M>], random: &mut Random) -> Option<usize> {
        (**self).release(held, random)
    }

    fn waits_for_calm(&self) -> bool {
        (**self).waits_for_calm()
    }

    fn is_aided(&self) -> bool {
        (**self).is_aided()
    }

    fn shuffles_work(&self) -> bool {
        (**self).shuffles_work()
    }
}

/// A time during which one side of the group is cut off from the other.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// One side; the rest is the other.
    pub side: PartySet,
    /// When it begins.
    pub from: Time,
    /// When it heals.
    pub until: Time,
    /// Are messages across lost, rather than kept until it heals?
    pub loses: bool,
}

/// A scheduler that does not look at contents: latency, loss, duplication, partitions.
#[derive(Clone, Debug)]
pub struct Network {
    latency: Latency,
    starved: PartySet,
    partitions: Vec<Partition>,
    loss_permille: u32,
    losses_max: u32,
    losses: BTreeMap<(Party, Party), u32>,
    duplication_permille: u32,
    is_aided: bool,
    last_arrival: Option<BTreeMap<(Party, Party), Time>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latency {
    /// Everything takes a fixed time.
    Fixed { message: Duration, sync: Duration },
    /// Everything takes a random time with this mean.
    Random(Duration),
}

/// How much longer messages of a starved party take.
const STARVATION_UNITS: u64 = 10_000;

impl Network {
    /// Any order: delays have no memory, so each pending message is as likely to be the next.
    pub fn random() -> Self {
        Self::with(Latency::Random(UNIT))
    }

    /// Every message takes one [`UNIT`], everything local takes none: virtual time counts delays.
    pub fn unit_delay() -> Self {
        Self::with(Latency::Fixed { message: UNIT, sync: Duration(0) })
    }

    /// Every sync takes one [`UNIT`], all else none: virtual time counts sequential durable waits.
    pub fn unit_sync() -> Self {
        Self::with(Latency::Fixed { message: Duration(0), sync: UNIT })
    }

    /// Random order, and each message is lost in `permille` of 1000 cases.
    pub fn lossy(permille: u32) -> Self {
        Self { loss_permille: permille, ..Self::random() }
    }

    fn with(latency: Latency) -> Self {
        Self {
            latency,
            starved: PartySet::EMPTY,
            partitions: Vec::new(),
            loss_permille: 0,
            losses_max: LOSSES_PER_CHANNEL_MAX,
            losses: BTreeMap::new(),
            duplication_permille: 0,
            is_aided: true,
            last_arrival: None,
        }
    }

    /// Everything to and from `party` takes ten thousand times longer: the others should not care.
    pub fn starving(mut self, party: Party) -> Self {
        self.starved.insert(party);
        self
    }

    /// Adds a partition.
    pub fn partitioned(mut self, partition: Partition) -> Self {
        self.partitions.push(partition);
        self
    }

    /// Each message arrives twice in `permille` of 1000 cases.
    pub fn duplicating(mut self, permille: u32) -> Self {
        self.duplication_permille = permille;
        self
    }

    /// Replaces [`LOSSES_PER_CHANNEL_MAX`].
    pub fn losses_max(mut self, losses: u32) -> Self {
        self.losses_max = losses;
        self
    }

    /// Nobody is told of losses: for protocols that retransmit by themselves.
    pub fn unaided(mut self) -> Self {
        self.is_aided = false;
        self
    }

    /// Messages from one party to another arrive in the order sent.
    pub fn ordered(mut self) -> Self {
        self.last_arrival = Some(BTreeMap::new());
        self
    }

    fn is_lost<M>(&mut self, letter: &Letter<M>, random: &mut Random) -> bool {
        if !random.chance(self.loss_permille) {
            return false;
        }
        let losses = self.losses.entry((letter.from, letter.to)).or_default();
        *losses += 1;
        *losses <= self.losses_max
    }

    fn delay<M>(&mut self, letter: &Letter<M>, random: &mut Random) -> Duration {
        let mut delay = match self.latency {
            Latency::Fixed { message, .. } => message,
            Latency::Random(mean) => Duration(1 + random.exponential(mean.0)),
        };
        if self.starved.contains(letter.from) || self.starved.contains(letter.to) {
            delay = Duration(delay.0 + STARVATION_UNITS * UNIT.0);
        }
        for partition in self.partitions.iter().filter(|partition| partition.cuts(letter)) {
            delay = Duration(delay.0 + (partition.until.0 - letter.sent.0));
        }
        if let Some(last_arrival) = &mut self.last_arrival {
            let last = last_arrival.entry((letter.from, letter.to)).or_default();
            *last = (letter.sent + delay).max(*last);
            delay = Duration(last.0 - letter.sent.0);
        }
        delay
    }
}

impl Partition {
    fn cuts<M>(&self, letter: &Letter<M>) -> bool {
        (self.from..self.until).contains(&letter.sent)
            && self.side.contains(letter.from) != self.side.contains(letter.to)
    }
}

impl<M> Scheduler<M> for Network {
    fn route(&mut self, letter: &Letter<M>, random: &mut Random) -> Fate {
        if self.partitions.iter().any(|partition| partition.loses && partition.cuts(letter))
            || self.is_lost(letter, random)
        {
            return Fate::Lost;
        }
        let delay = self.delay(letter, random);
        if random.chance(self.duplication_permille) {
            return Fate::ArrivesTwice(delay, self.delay(letter, random));
        }
        Fate::Arrives(delay)
    }

    fn local(&mut self, _: Party, what: Local, random: &mut Random) -> Duration {
        match (self.latency, what) {
            (Latency::Fixed { .. }, Local::Reconnect) => Duration(10 * UNIT.0),
            (Latency::Random(mean), Local::Reconnect) => Duration(random.exponential(10 * mean.0)),
            (Latency::Fixed { sync, .. }, Local::Sync) => sync,
            (Latency::Fixed { .. }, _) => Duration(0),
            (Latency::Random(mean), _) => Duration(random.exponential(mean.0)),
        }
    }

    fn is_aided(&self) -> bool {
        self.is_aided
    }

    fn shuffles_work(&self) -> bool {
        matches!(self.latency, Latency::Random(_))
    }
}
