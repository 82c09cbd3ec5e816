//! The only clock: monotonic, without the time in which nobody of this container ran.

use std::time::{Duration, Instant};

use crate::event::Time;

/// Waking up this much too late means that we were frozen or stopped, and most likely the services too.
const FROZEN: Duration = Duration::from_secs(1);

/// The monotonic clock minus the time we were frozen.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    frozen: Duration,
}

impl Clock {
    /// A clock that starts.
    pub fn new() -> Self {
        Self { start: Instant::now(), frozen: Duration::ZERO }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed().saturating_sub(self.frozen)
    }

    /// To be told after each wait that began at `before` and should have ended by `latest`: if it is much later now, time stood
    /// still, and none of that wait counts.
    pub fn waited(&mut self, before: Time, latest: Time) {
        let now = self.now();
        if now.since(latest) > FROZEN {
            let frozen = now.since(before);
            self.frozen = self.frozen.saturating_add(frozen);
            log::debug!("frozen for {}", crate::units::show_duration(frozen));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: f64) -> Time {
        Time::ZERO + Duration::from_secs_f64(value)
    }

    #[test]
    fn a_wait_in_which_nobody_ran_does_not_count() {
        let mut clock = Clock::new();
        clock.start = clock.start.checked_sub(Duration::from_secs(100)).unwrap();
        clock.waited(seconds(40.0), seconds(41.0));
        let now = clock.now();
        assert!(now >= seconds(40.0) && now < seconds(41.0), "{now:?}");
    }

    #[test]
    fn a_little_late_is_no_freeze() {
        let mut clock = Clock::new();
        clock.start = clock.start.checked_sub(Duration::from_secs(100)).unwrap();
        clock.waited(seconds(98.5), seconds(99.5));
        assert!(clock.now() >= seconds(100.0));
    }
}
