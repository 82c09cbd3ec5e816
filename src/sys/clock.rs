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

    /// To be told after each wait when that should have ended at the latest: if it is much later, time stood still.
    pub fn waited_until(&mut self, latest: Time) {
        let late = self.now().since(latest);
        if late > FROZEN {
            self.frozen = self.frozen.saturating_add(late);
            log::debug!("woke up {} late: frozen meanwhile", crate::units::show_duration(late));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nobody_ran_does_not_count() {
        let mut clock = Clock::new();
        clock.start = clock.start.checked_sub(Duration::from_secs(100)).unwrap();
        clock.waited_until(Time::ZERO + Duration::from_secs(40));
        let now = clock.now().since(Time::ZERO);
        assert!(now >= Duration::from_secs(40) && now < Duration::from_secs(41), "{now:?}");
    }

    #[test]
    fn a_little_late_is_no_freeze() {
        let mut clock = Clock::new();
        clock.start = clock.start.checked_sub(Duration::from_secs(100)).unwrap();
        clock.waited_until(Time::ZERO + Duration::from_millis(99_500));
        assert!(clock.now().since(Time::ZERO) >= Duration::from_secs(100));
    }
}
