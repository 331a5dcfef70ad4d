//! Logical time for the few protocols that may see it, and readings for those that may not.
//!
//! A protocol of the asynchronous configuration gets a [`Context`](crate::Context), which has no
//! clock at all. Only one that implements [`TimedProtocol`](crate::protocol::TimedProtocol) is
//! handed a [`Timed`](crate::protocol::Timed) context.

use crate::wire::wire_struct;
use std::ops::Add;

/// A point in a driver's own time: microseconds since it started. Never compared between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// A length of time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub u64);

impl Duration {
    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, after: Duration) -> Time {
        Time(self.0.saturating_add(after.0))
    }
}

/// One server's wall clock as it claims it: microseconds since 1970-01-01 UTC.
///
/// Protocols carry readings and never act on them: the agreed time is computed by the layer that
/// replicates services, from the readings that voters signed *after* they saw what they vote for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Reading(pub u64);

wire_struct!(Reading { 0 });
