//! The only clock: monotonic, without the time in which nobody of this container ran. And the time of the wall, for what is told.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::event::{Time, Wall};

/// Between two looks at the clock, or after a wait, this much too late means that we were frozen or stopped, and most likely the
/// services too.
const FROZEN: Duration = Duration::from_secs(1);

/// The time of the wall.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(0))
}

/// The monotonic clock minus the time we were frozen.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    frozen: Cell<Duration>,
    /// When we last looked, on the clock that never stands still.
    looked: Cell<Duration>,
}

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { start: Instant::now(), frozen: Cell::new(Duration::ZERO), looked: Cell::new(Duration::ZERO) }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        let before = self.look();
        // Outside of a wait nothing of ours takes so long.
        let gap = self.looked.get().saturating_sub(before);
        if gap > FROZEN {
            self.stood_still(gap);
        }
        self.time()
    }

    /// To be asked after each wait, told when it began and should have ended at the latest. If it is much later, time stood
    /// still, and nobody knows since when: then none of the wait counts. What was due at its end is as far away as before, for
    /// a service may not have run since it was asked for something.
    pub fn waited(&self, from: Time, latest: Option<Time>) {
        self.look();
        let now = self.time();
        if latest.is_some_and(|latest| now.since(latest.max(from)) > FROZEN) {
            self.stood_still(now.since(from));
        }
    }

    /// Looks, and says when that was done before.
    fn look(&self) -> Duration {
        self.looked.replace(self.start.elapsed())
    }

    fn time(&self) -> Time {
        Time::ZERO + self.looked.get().saturating_sub(self.frozen.get())
    }

    fn stood_still(&self, duration: Duration) {
        self.frozen.set(self.frozen.get().saturating_add(duration));
        say!(Debug, "frozen for up to {}", crate::units::show_duration(duration));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn later(clock: &mut Clock, by: Duration) {
        clock.start = clock.start.checked_sub(by).unwrap();
    }

    fn near(clock: &Clock, expected: Time) {
        let now = clock.now();
        assert!(now >= expected && now < expected + SECOND / 2, "{now:?}, not {expected:?}");
    }

    #[test]
    fn a_wait_that_ends_much_too_late_does_not_count() {
        let mut clock = Clock::new();
        let from = clock.now();
        later(&mut clock, 60 * SECOND);
        clock.waited(from, Some(from + 10 * SECOND));
        near(&clock, from);
    }

    #[test]
    fn a_wait_that_ends_a_little_late_counts() {
        let mut clock = Clock::new();
        let from = clock.now();
        later(&mut clock, 60 * SECOND);
        clock.waited(from, Some(from + 60 * SECOND - SECOND / 2));
        near(&clock, from + 60 * SECOND);
    }

    #[test]
    fn a_wait_without_end_is_as_long_as_it_is() {
        let mut clock = Clock::new();
        let from = clock.now();
        later(&mut clock, 60 * SECOND);
        clock.waited(from, None);
        near(&clock, from + 60 * SECOND);
    }

    #[test]
    fn a_stop_between_two_looks_does_not_count() {
        let mut clock = Clock::new();
        let from = clock.now();
        later(&mut clock, SECOND / 2);
        near(&clock, from + SECOND / 2);
        later(&mut clock, 60 * SECOND);
        near(&clock, from + SECOND / 2);
    }
}
