//! Counting what is done within a period of the calendar.

use maftia_base::wire::wire_struct;

/// Seconds of an hour.
pub(super) const HOUR: u64 = 3600;

/// Seconds of a week.
pub(super) const WEEK: u64 = 7 * 86_400;

/// How often something was done in the last period in which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Count {
    period: u64,
    count: u32,
}

wire_struct!(Count { period, count });

impl Count {
    /// Is one more within `limit`? Else the seconds until it is.
    pub(super) fn check(&self, now: u64, seconds: u64, limit: u32) -> Result<(), u64> {
        match self.period == now / seconds && self.count >= limit {
            true => Err(seconds - now % seconds),
            false => Ok(()),
        }
    }

    /// Counts one more.
    pub(super) fn add(&mut self, now: u64, seconds: u64) {
        let period = now / seconds;
        let before = if self.period == period { self.count } else { 0 };
        *self = Self { period, count: before.saturating_add(1) };
    }

    /// Is it about a period that is over?
    pub(super) fn is_over(&self, now: u64, seconds: u64) -> bool {
        self.period != now / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_within_a_period_and_begins_anew_with_the_next() {
        let mut count = Count::default();
        for now in [HOUR, HOUR + 1, 2 * HOUR - 10] {
            assert_eq!(count.check(now, HOUR, 3), Ok(()));
            count.add(now, HOUR);
        }
        assert_eq!(count.check(2 * HOUR - 10, HOUR, 3), Err(10));
        assert!(!count.is_over(2 * HOUR - 10, HOUR) && count.is_over(2 * HOUR, HOUR));
        assert_eq!(count.check(2 * HOUR, HOUR, 3), Ok(()));
        count.add(2 * HOUR, HOUR);
        assert_eq!(count, Count { period: 2, count: 1 });
    }
}
