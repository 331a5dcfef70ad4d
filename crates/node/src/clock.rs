//! Two clocks: one that only measures, for timers, and one that people set, for readings.

use commonware_runtime::Clock as RuntimeClock;
use maftia_base::time::{Reading, Time};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the engine and its workers learn the time.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since the driver started; never goes back, whoever sets the wall clock.
    fn now(&self) -> Time;

    /// This server's wall clock; never goes back within one run.
    fn reading(&self) -> Reading;

    /// The wall clock as it is, which somebody may have set back.
    fn wall(&self) -> Reading {
        self.reading()
    }
}

/// The clocks of the operating system.
///
/// Timers run on the monotonic clock. Readings come from the wall clock, held back where somebody
/// sets it back: a server whose signed readings went back would look like a liar to nobody, but
/// would pull the agreed time of later batches to what the agreed time already was.
///
/// The monotonic clock is the one that goes on while the host is suspended, so that a suspension
/// is told from a step of the wall clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Duration,
    latest: AtomicU64,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: since_boot(), latest: AtomicU64::new(0) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time(micros(since_boot().saturating_sub(self.started)))
    }

    fn reading(&self) -> Reading {
        let now = since_epoch(SystemTime::now());
        Reading(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn wall(&self) -> Reading {
        Reading(since_epoch(SystemTime::now()))
    }
}

/// The clock of a runtime, for runs in simulated time.
#[derive(Debug)]
pub struct SimulatedClock<E> {
    context: E,
    started: u64,
}

impl<E: RuntimeClock> SimulatedClock<E> {
    /// A clock that starts now.
    pub fn start(context: E) -> Self {
        let started = since_epoch(context.current());
        Self { context, started }
    }
}

impl<E: RuntimeClock> Clock for SimulatedClock<E> {
    fn now(&self) -> Time {
        Time(since_epoch(self.context.current()).saturating_sub(self.started))
    }

    fn reading(&self) -> Reading {
        Reading(since_epoch(self.context.current()))
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    time.try_into().expect("no clock shows a time before its beginning")
}

fn since_epoch(time: SystemTime) -> u64 {
    micros(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_never_go_back_when_the_wall_clock_does() {
        let clock = SystemClock::start();
        let ahead = since_epoch(SystemTime::now()) + 60_000_000;
        clock.latest.store(ahead, Ordering::Relaxed);
        assert_eq!(clock.reading(), Reading(ahead), "held where it was");
    }
}
