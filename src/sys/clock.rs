//! The only clock: monotonic, without the time in which nobody of this container ran. And the time of the wall, for what is told.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::call;
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
    /// At some look within the last second or since the last wait, when that was and how long we had worked until then.
    worked: Cell<(Duration, Duration)>,
}

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Self {
        let zero = Duration::ZERO;
        let worked = Cell::new((zero, call::cpu_time()));
        Self { start: Instant::now(), frozen: Cell::new(zero), looked: Cell::new(zero), worked }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        let before = self.look();
        // Outside of a wait hardly anything of ours takes so long; what does is no freeze.
        let gap = self.looked.get().saturating_sub(before);
        if gap > FROZEN {
            let (_, worked) = self.worked.get();
            self.note_work();
            let rest = gap.saturating_sub(self.worked.get().1.saturating_sub(worked));
            if rest > FROZEN {
                self.stood_still(rest);
            }
        }
        self.time()
    }

    /// To be asked after each wait, told when it began and should have ended at the latest. If it is much later, time stood
    /// still, and nobody knows since when: then none of the wait counts. What was due at its end is as far away as before, for
    /// a service may not have run since it was asked for something.
    pub fn waited(&self, from: Time, latest: Option<Time>) {
        self.look();
        // Not more often: it is a call, unlike a look at the clock.
        if self.looked.get().saturating_sub(self.worked.get().0) > FROZEN {
            self.note_work();
        }
        let now = self.time();
        if latest.is_some_and(|latest| now.since(latest.max(from)) > FROZEN) {
            self.stood_still(now.since(from));
        }
    }

    /// Looks, and says when that was done before.
    fn look(&self) -> Duration {
        self.looked.replace(self.start.elapsed())
    }

    fn note_work(&self) {
        self.worked.set((self.looked.get(), call::cpu_time()));
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

    fn work(at_least: Duration) {
        let began = call::cpu_time();
        while call::cpu_time() < began + at_least {}
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
    fn what_we_worked_between_two_looks_counts() {
        let mut clock = Clock::new();
        let from = clock.now();
        work(7 * SECOND / 10);
        later(&mut clock, 60 * SECOND);
        near(&clock, from + 7 * SECOND / 10);
        // What was worked before that is another's.
        later(&mut clock, 60 * SECOND);
        near(&clock, from + 7 * SECOND / 10);
        work(7 * SECOND / 10);
        later(&mut clock, SECOND / 2);
        let from = clock.now();
        clock.waited(from, None);
        later(&mut clock, 60 * SECOND);
        near(&clock, from);
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
