//! How many lines of an instance pass in a time: a bucket of time that fills as it goes by, and from which each line takes its part.

use std::time::Duration;

use crate::event::Time;
use crate::plan::RateLimit;

/// What was dropped is told at most so often.
const TELL: Duration = Duration::from_secs(1);

/// How much of a limit is left.
#[derive(Debug)]
pub struct Bucket {
    /// Time that was not spent, at most what the limit speaks of.
    credit: Duration,
    /// Up to when time was added.
    at: Time,
    /// Lines that were dropped and not told of yet,
    dropped: u64,
    /// the last of them by this limit, which an update may have changed or taken away since.
    limit: RateLimit,
    /// When that is to be told.
    tell: Option<Time>,
}

impl Bucket {
    /// A full one.
    pub fn new(now: Time, limit: RateLimit) -> Self {
        Self { credit: limit.per, at: now, dropped: 0, limit, tell: None }
    }

    /// How many of these lines may pass. The others count as dropped.
    pub fn pass(&mut self, now: Time, limit: RateLimit, lines: u64) -> u64 {
        self.credit = limit.per.min(self.credit.saturating_add(now.since(self.at)));
        self.at = now;
        let each = limit.per / limit.lines.max(1);
        let passed = match self.credit.as_nanos().checked_div(each.as_nanos()) {
            Some(room) => u64::try_from(room).unwrap_or(u64::MAX).min(lines),
            None => lines, // a line costs less than can be counted
        };
        self.credit =
            self.credit.saturating_sub(each.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX)));
        let dropped = lines - passed;
        if dropped > 0 {
            self.dropped = self.dropped.saturating_add(dropped);
            self.limit = limit;
            self.tell.get_or_insert(now + TELL);
        }
        passed
    }

    /// When it is to be told what was dropped.
    pub fn deadline(&self) -> Option<Time> {
        self.tell
    }

    /// How many lines were dropped since that was told, and by which limit. From now on they are told.
    pub fn told(&mut self) -> (u64, RateLimit) {
        self.tell = None;
        (std::mem::take(&mut self.dropped), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_bucket_gives_what_it_has_and_fills_as_time_goes_by() {
        let limit = RateLimit { lines: 10, per: Duration::from_secs(1) };
        let mut bucket = Bucket::new(Time::ZERO, limit);
        let mut now = Time::ZERO;
        for (after, lines, passes) in [
            (0, 3, 3),
            (0, 9, 7),
            (0, 1, 0),
            (99, 1, 0),
            (1, 1, 1),
            (250, 5, 2),
            (50, 1, 1),
            (60_000, 100, 10),
            (100, 100, 1),
        ] {
            now = now + MS * after;
            assert_eq!(bucket.pass(now, limit, lines), passes, "{lines} after {after} ms");
        }
    }

    #[test]
    fn over_a_long_time_it_is_the_limit_and_one_bucket() {
        for (lines, per, step) in [(1, 1000, 7), (1000, 1000, 1), (60, 60_000, 333), (u32::MAX, 1000, 1)] {
            let limit = RateLimit { lines, per: MS * per };
            let mut bucket = Bucket::new(Time::ZERO, limit);
            let (mut now, mut passed, mut offered) = (Time::ZERO, 0, 0);
            for _ in 0..10_000 {
                passed += bucket.pass(now, limit, 50);
                offered += 50;
                now = now + MS * step;
            }
            let in_time =
                u64::from(lines) * u64::try_from(now.since(Time::ZERO).as_millis()).unwrap() / u64::from(per);
            // A line costs a whole number of nanoseconds, so a little more may pass than the limit says.
            let most = in_time + in_time / 1000 + u64::from(lines);
            let least = in_time.min(offered).saturating_sub(u64::from(lines) + 50);
            assert!((least..=most).contains(&passed), "{passed}, not {least} to {most}");
            assert_eq!(bucket.told().0 + passed, offered);
        }
    }

    #[test]
    fn what_was_dropped_is_told_once_a_second() {
        let limit = RateLimit { lines: 1, per: Duration::from_hours(1) };
        let mut bucket = Bucket::new(Time::ZERO, limit);
        assert_eq!((bucket.pass(Time::ZERO, limit, 1), bucket.deadline()), (1, None));
        bucket.pass(Time::ZERO + MS, limit, 5);
        bucket.pass(Time::ZERO + MS * 900, limit, 5);
        assert_eq!(bucket.deadline(), Some(Time::ZERO + MS * 1001));
        assert_eq!((bucket.told(), bucket.deadline()), ((10, limit), None));
        bucket.pass(Time::ZERO + MS * 1002, limit, 1);
        assert_eq!(bucket.deadline(), Some(Time::ZERO + MS * 2002));
    }
}
