//! Clock agreement: a common time scale for all local components, as intervals.
//!
//! # Promise
//! - *precision*: the interval that a synchronised component tells contains, at that moment, what
//!   the clock of every other synchronised component shows that it heard lately. Hence two such
//!   intervals of one moment overlap.
//! - *monotony*: `earliest` never goes back in one life of a component.
//! - *honesty*: nobody is told a point, and a component that has not heard a majority lately tells
//!   nothing.
//! - *accuracy*, as far as the hosts' own clocks go: the common time follows the median of the
//!   hosts' clocks, so that a minority of wrong ones moves it only among the right ones.
//!
//! # Rules
//! - **K1** Ask every peer for its readings, each [`PERIOD`]. The answer was made between question
//!   and receipt: half of that time is the error of the difference.
//! - **K2** A sample's error grows with its age, by what two clocks may drift and be corrected
//!   apart. Of two samples of a peer the one with the smaller error now is kept.
//! - **K3** Who is not synchronised takes, once it has heard a majority, the median of the clocks
//!   of those that are; if none is, the median of the hosts' clocks.
//! - **K4** Who is synchronised turns its clock towards the median of the hosts' clocks, slowly.
//! - **K5** The interval is as wide on each side as the furthest of the synchronised peers heard
//!   lately is away, with that sample's error.
//!
//! # Why it holds
//! Precision: for each such peer, K1 and K2 bound the difference of the two clocks at this moment,
//! and K5 covers it. Nothing in the wormhole's safety rests on clocks being synchronised; only on
//! `earliest` not going back ([`agreement`](crate::agreement), T7).
//!
//! # Sources
//! Cristian, "Probabilistic clock synchronization" (1989), for K1; intervals as in Marzullo and
//! Owicki (1983); the convergence function is the median, as the members here fail only by
//! crashing and what may be wrong are the hosts' clocks.

use crate::control::Control;
use crate::outputs::Outputs;
use maftia_ttcb_api::{HOSTS_MAX, Host, Interval, Moment, Span};

/// A reading of the local clock, in nanoseconds: it never goes back or is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Local(pub u64);

/// What the shell reads before each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Now {
    /// The local clock.
    pub local: Local,
    /// The host's own clock, which its operator or a time service sets.
    pub host: Moment,
}

/// How often peers are asked.
pub const PERIOD: Span = Span::from_millis(200);

/// How often they are asked by who is not synchronised.
const IMPATIENT: Span = Span::from_millis(20);

/// A sample older than this says nothing about the peer any more.
const STALE: Span = Span::from_millis(2_000);

/// How fast a clock is turned, in parts per million.
const SLEW_PPM: u64 = 500;

/// What is known of one clock, relative to the local one.
#[derive(Clone, Copy, Debug, Hash)]
struct Sample {
    taken: Local,
    /// Its common time less the local clock.
    ahead: i64,
    /// Its host's clock less the local clock.
    host_ahead: i64,
    /// By how much both may be wrong.
    error: u64,
    synchronised: bool,
}

/// The clock of one local component.
#[derive(Clone, Debug, Hash)]
pub struct Clock {
    me: Host,
    hosts: usize,
    drift_ppm: u64,
    samples: [Option<Sample>; HOSTS_MAX],
    /// Common time less the local clock.
    ahead: i64,
    /// When it was last turned.
    turned: Local,
    synchronised: bool,
    asked: Option<Local>,
    floor: Moment,
}

impl Clock {
    /// A clock that is not synchronised, of host `me` of `hosts`.
    pub fn new(me: Host, hosts: usize, drift_ppm: u64) -> Self {
        Self {
            me,
            hosts,
            drift_ppm,
            samples: [None; HOSTS_MAX],
            ahead: 0,
            turned: Local(0),
            synchronised: false,
            asked: None,
            floor: Moment(0),
        }
    }

    /// The present, if it is known.
    pub fn interval(&mut self, now: Local) -> Option<Interval> {
        if !self.is_heard(now) {
            self.synchronised = false;
        }
        if !self.synchronised {
            return None;
        }
        let (reading, bound) = (self.reading(now).0, self.bound(now));
        let earliest = reading.saturating_sub(bound).max(self.floor.0);
        self.floor = Moment(earliest);
        Some(Interval { earliest: self.floor, latest: Moment((reading + bound).max(earliest)) })
    }

    /// What this clock shows; meaningful only together with a bound.
    pub fn reading(&self, now: Local) -> Moment {
        Moment(now.0.saturating_add_signed(self.ahead))
    }

    /// How far the furthest of the synchronised peers may be away. (K5)
    fn bound(&self, now: Local) -> u64 {
        let away = |sample: &Sample| {
            self.ahead.abs_diff(sample.ahead).saturating_add(self.error(sample, now))
        };
        let others = self.fresh(now).filter(|sample| sample.synchronised);
        others.map(|sample| away(&sample)).max().unwrap_or_default().max(1_000)
    }

    /// By how much a sample may be wrong now. (K2)
    fn error(&self, sample: &Sample, now: Local) -> u64 {
        let age = now.0.saturating_sub(sample.taken.0);
        sample.error + (age.div_ceil(1_000) * 2 * (self.drift_ppm + SLEW_PPM)).div_ceil(1_000)
    }

    /// Samples of peers that were heard lately.
    fn fresh(&self, now: Local) -> impl Iterator<Item = Sample> {
        let is_fresh = move |sample: &Sample| now.0.saturating_sub(sample.taken.0) <= STALE.0;
        self.samples.into_iter().flatten().filter(is_fresh)
    }

    fn is_heard(&self, now: Local) -> bool {
        (self.fresh(now).count() + 1) * 2 > self.hosts
    }

    /// Handles a peer's question. (K1)
    pub fn on_probe(&self, from: Host, sent: u64, now: Now, out: &mut impl Outputs) {
        let (time, synchronised) = (self.reading(now.local), self.synchronised);
        out.send(from, &Control::Reading { sent, time, host: now.host, synchronised });
    }

    /// Handles a peer's readings. (K1, K2)
    pub fn on_reading(
        &mut self,
        from: Host,
        sent: u64,
        (time, host, synchronised): (Moment, Moment, bool),
        now: Now,
    ) {
        let travel = now.local.0.saturating_sub(sent);
        let index = usize::from(from.0);
        if from == self.me || index >= self.hosts || sent > now.local.0 || travel > STALE.0 {
            return;
        }
        // The reading was taken when the local clock was half way, give or take half of the way.
        let half = travel / 2;
        let middle = sent + half;
        let less = |shown: Moment| (shown.0 as i64).wrapping_sub(middle as i64);
        let sample = Sample {
            taken: now.local,
            ahead: less(time),
            host_ahead: less(host),
            error: half + 1,
            synchronised,
        };
        let kept = self.samples[index].filter(|kept| {
            kept.synchronised == synchronised
                && now.local.0.saturating_sub(kept.taken.0) < STALE.0 / 2
                && self.error(kept, now.local) < sample.error
        });
        self.samples[index] = Some(kept.unwrap_or(sample));
    }

    /// A peer has a new life: what the one before showed says nothing about it.
    pub fn forget(&mut self, host: Host) {
        if let Some(sample) = self.samples.get_mut(usize::from(host.0)) {
            *sample = None;
        }
    }

    /// Asks, synchronises, and turns the clock, if it is time. (K1, K3, K4)
    pub fn tick(&mut self, now: Now, out: &mut impl Outputs) {
        if self.asked.is_none_or(|asked| now.local.0 >= asked.0 + self.period().0) {
            self.asked = Some(now.local);
            for index in (0..self.hosts).filter(|index| *index != usize::from(self.me.0)) {
                out.send(Host(index as u8), &Control::Probe { sent: now.local.0 });
            }
        }
        let hosts_ahead = self.median(now, |sample| Some(sample.host_ahead), true);
        if !self.synchronised && self.is_heard(now.local) {
            let others = |sample: &Sample| sample.synchronised.then_some(sample.ahead);
            let running = self.median(now, others, false);
            self.ahead = running.or(hosts_ahead).unwrap_or(self.ahead);
            self.synchronised = true;
        } else if let Some(goal) = hosts_ahead.filter(|_| self.synchronised) {
            let elapsed = now.local.0.saturating_sub(self.turned.0).min(STALE.0);
            let most = (elapsed / 1_000 * SLEW_PPM / 1_000) as i64;
            self.ahead += goal.saturating_sub(self.ahead).clamp(-most, most);
        }
        self.turned = now.local;
    }

    /// The median of what is known of the clocks, with or without that of this host.
    fn median(
        &self,
        now: Now,
        what: impl Fn(&Sample) -> Option<i64>,
        with_own: bool,
    ) -> Option<i64> {
        let mut known = [0; HOSTS_MAX];
        let mut len = 0;
        let own = (now.host.0 as i64).wrapping_sub(now.local.0 as i64);
        let own = with_own.then_some(own);
        for value in self.fresh(now.local).filter_map(|sample| what(&sample)).chain(own) {
            known[len] = value;
            len += 1;
        }
        let known = &mut known[..len];
        known.sort_unstable();
        known.get(len / 2).copied()
    }

    fn period(&self) -> Span {
        if self.synchronised { PERIOD } else { IMPATIENT }
    }

    /// When peers are to be asked again.
    pub fn next_due(&self) -> Local {
        self.asked.map_or(Local(0), |asked| Local(asked.0 + self.period().0))
    }
}
