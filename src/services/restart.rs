//! The restart budget: what follows the end of a run. Knows nothing of processes; counts by the lengths of runs.

use std::time::Duration;

use crate::event::{ExitStatus, Time};
use crate::notice::{Cause, Next};
use crate::plan::{Instance, Kind, OnSuccess, Restart, RestartWhen};
use crate::units::seconds;

/// Restarts remembered for `restart_window`; a larger `max_restarts` counts as this many.
pub const WINDOW_MAX: usize = 10_000;

/// What one instance has used of its budget.
#[derive(Debug, Default)]
pub struct Budget {
    /// Automatic restarts since the last stable run, for the count and for the backoff.
    row: u32,
    /// When the restarts inside `restart_window` were decided, oldest first; empty without a window.
    recent: Vec<Time>,
}

impl Budget {
    /// Decides what follows a run that ended `now` with `cause` after having been well for `uptime`, and counts the restart if it
    /// is one.
    pub fn judge(&mut self, instance: &Instance, now: Time, cause: &Cause, uptime: Duration) -> Next {
        let policy = &instance.restart;
        match outcome(instance, cause) {
            Outcome::Done => Next::Completed,
            Outcome::Dead => Next::Failed { budget: None },
            Outcome::Again => self.spend(policy, now, uptime),
        }
    }

    /// How many restarts count now, for a run that has lasted so long, and after how much more of it they no longer do.
    pub fn used(&self, policy: &Restart, now: Time, uptime: Option<Duration>) -> (u32, Option<Duration>) {
        if let Some(window) = policy.window {
            let count = self.recent.iter().filter(|at| now.since(**at) < window).count();
            let newest = self.recent.last().map(|at| window.saturating_sub(now.since(*at)));
            return (u32::try_from(count).unwrap_or(u32::MAX), newest.filter(|_| count > 0));
        }
        match uptime {
            Some(uptime) if uptime >= policy.min_uptime => (0, None),
            Some(uptime) if self.row > 0 => (self.row, Some(policy.min_uptime.saturating_sub(uptime))),
            Some(_) | None => (self.row, None),
        }
    }

    /// A run of that length is followed by a restart that costs nothing.
    pub fn free(&mut self, policy: &Restart, uptime: Duration) {
        if uptime >= policy.min_uptime {
            self.row = 0;
        }
    }

    #[inline(never)]
    fn spend(&mut self, policy: &Restart, now: Time, uptime: Duration) -> Next {
        self.free(policy, uptime);
        let used = match policy.window {
            Some(window) => {
                self.recent.retain(|at| now.since(*at) < window);
                self.recent.len()
            }
            None => self.row as usize,
        };
        let limit = match policy.window {
            Some(_) => policy.max_restarts.map(|max| (max as usize).min(WINDOW_MAX)),
            None => policy.max_restarts.map(|max| max as usize),
        };
        if limit.is_some_and(|limit| used >= limit) {
            return Next::Failed { budget: policy.max_restarts };
        }
        self.row = self.row.saturating_add(1);
        if policy.window.is_some() && limit.is_some() {
            self.recent.push(now);
        }
        let number = match policy.window {
            Some(_) if limit.is_some() => u32::try_from(self.recent.len()).unwrap_or(u32::MAX),
            Some(_) | None => self.row,
        };
        Next::Restart {
            number,
            max: policy.max_restarts,
            window: policy.window,
            delay: delay(policy, self.row),
        }
    }
}

enum Outcome {
    Done,
    Again,
    Dead,
}

/// Success is the code 0 and each of `stop_exit_codes`; a death by signal never is.
fn outcome(instance: &Instance, cause: &Cause) -> Outcome {
    let policy = &instance.restart;
    let listed = matches!(
        cause,
        Cause::Exit(ExitStatus::Code(code)) | Cause::Unready(ExitStatus::Code(code))
            if policy.stop_exit_codes.contains(code)
    );
    // `on_success = "exit"` waits for a success, so a success is not restarted away.
    let ends_with_zero = instance.kind == Kind::Oneshot
        || instance.on_success == OnSuccess::Exit
        || policy.when != RestartWhen::Always;
    match policy.when {
        _ if listed || (cause.success() && ends_with_zero) => Outcome::Done,
        RestartWhen::Never => Outcome::Dead,
        RestartWhen::Always | RestartWhen::OnFailure => Outcome::Again,
    }
}

/// The wait before the `n`th restart of a row, from 1: `restart_delay` × `restart_backoff`^(n-1), at most `restart_delay_max`
/// (or `restart_delay` where that is longer).
fn delay(policy: &Restart, n: u32) -> Duration {
    if policy.delay.is_zero() {
        return Duration::ZERO; // also after so many restarts that the factor is infinite
    }
    let longest = policy.delay_max.max(policy.delay);
    let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
    let factor = policy.backoff.powi(exponent);
    seconds(policy.delay.as_secs_f64() * factor).map_or(longest, |delay| delay.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StartError;
    use crate::plan::tests::instance;
    use crate::probe::Failure;
    use crate::units::Signal;

    fn code(code: u8) -> Cause {
        Cause::Exit(ExitStatus::Code(code))
    }

    /// Ends runs of the given lengths in seconds with code 1, 0.1 s apart, and says which of the restarts each was; 0 is failure.
    fn numbers(policy: impl FnOnce(&mut Restart), uptimes: &[f64]) -> Vec<u32> {
        let mut instance = instance("x");
        policy(&mut instance.restart);
        let (mut budget, mut now) = (Budget::default(), Time::ZERO);
        let mut numbers = Vec::new();
        for uptime in uptimes {
            let uptime = Duration::from_secs_f64(*uptime);
            now = now + uptime + Duration::from_millis(100);
            numbers.push(match budget.judge(&instance, now, &code(1), uptime) {
                Next::Restart { number, .. } => number,
                Next::Failed { budget: Some(_) } => 0,
                other => panic!("{other:?}"),
            });
        }
        numbers
    }

    #[test]
    fn the_budget_counts_restarts_in_a_row() {
        let three = |policy: &mut Restart| policy.max_restarts = Some(3);
        assert_eq!(numbers(three, &[0.0, 0.0, 0.0, 0.0]), [1, 2, 3, 0]);
        assert_eq!(numbers(three, &[9.9, 9.9, 9.9, 9.9]), [1, 2, 3, 0]);
        assert_eq!(
            numbers(three, &[0.0, 0.0, 10.0, 0.0, 0.0, 0.0]),
            [1, 2, 1, 2, 3, 0],
            "a stable run starts anew"
        );
        assert_eq!(numbers(three, &[10.0, 10.0, 10.0, 10.0, 10.0]), [1, 1, 1, 1, 1]);
        assert_eq!(numbers(|p| p.max_restarts = Some(0), &[0.0]), [0]);
        assert_eq!(numbers(|p| p.max_restarts = Some(0), &[99.0]), [0], "0 is a value");
        assert_eq!(numbers(|p| p.max_restarts = None, &[0.0; 50]), (1..=50).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_counts_however_long_the_runs_were() {
        let window = |policy: &mut Restart| {
            policy.max_restarts = Some(2);
            policy.window = Some(Duration::from_mins(1));
        };
        assert_eq!(numbers(window, &[11.0, 11.0, 11.0]), [1, 2, 0]);
        assert_eq!(numbers(window, &[29.0, 29.0, 29.0]), [1, 2, 0], "ends at 29.1, 58.2, 87.3 s");
        assert_eq!(numbers(window, &[31.0, 31.0, 31.0, 31.0]), [1, 2, 2, 2]);
        assert_eq!(numbers(window, &[0.0, 0.0, 61.0, 0.0]), [1, 2, 1, 2]);
    }

    #[test]
    fn what_counts_as_done() {
        type Change = fn(&mut Instance);
        let rows: [(&str, Change, Cause, &str); 15] = [
            ("always restarts a success", |_| {}, code(0), "restart"),
            ("on-failure: success is done", |i| i.restart.when = RestartWhen::OnFailure, code(0), "done"),
            ("on-failure: failure is not", |i| i.restart.when = RestartWhen::OnFailure, code(1), "restart"),
            ("never: success is done", |i| i.restart.when = RestartWhen::Never, code(0), "done"),
            ("never: failure is for good", |i| i.restart.when = RestartWhen::Never, code(1), "failed"),
            ("a listed code is done", |i| i.restart.stop_exit_codes = vec![0, 3], code(3), "done"),
            ("a listed code is done, 0 too", |i| i.restart.stop_exit_codes = vec![0, 3], code(0), "done"),
            ("a signal is no code", |i| i.restart.stop_exit_codes = vec![0, 137], signal(), "restart"),
            (
                "gone before it was ready is no success",
                |i| i.restart.when = RestartWhen::OnFailure,
                Cause::Unready(ExitStatus::Code(0)),
                "restart",
            ),
            (
                "unless the code is listed",
                |i| i.restart.stop_exit_codes = vec![0],
                Cause::Unready(ExitStatus::Code(0)),
                "done",
            ),
            (
                "never: unhealthy is for good",
                |i| i.restart.when = RestartWhen::Never,
                Cause::Unhealthy { misses: 3, failure: Failure::Closed },
                "failed",
            ),
            ("a oneshot is done at 0", |i| i.kind = Kind::Oneshot, code(0), "done"),
            ("on_success = exit takes the success", |i| i.on_success = OnSuccess::Exit, code(0), "done"),
            ("on_success = exit: failure restarts", |i| i.on_success = OnSuccess::Exit, code(1), "restart"),
            (
                "a failed start restarts",
                |_| {},
                Cause::Start(StartError::IsDirectory { file: "/".into() }.into()),
                "restart",
            ),
        ];
        for (what, change, cause, expected) in rows {
            let mut instance = instance("x");
            change(&mut instance);
            let next = match Budget::default().judge(&instance, Time::ZERO, &cause, Duration::ZERO) {
                Next::Restart { .. } => "restart",
                Next::Completed => "done",
                Next::Failed { .. } => "failed",
                Next::Down | Next::With(_) | Next::Again | Next::Ends => "?",
            };
            assert_eq!(next, expected, "{what}");
        }
    }

    fn signal() -> Cause {
        Cause::Exit(ExitStatus::Signal { signal: Signal::KILL, core: false })
    }

    #[test]
    fn the_backoff_grows_to_its_cap() {
        let policy = instance("x").restart;
        let millis: Vec<_> = (1..=9).map(|n| delay(&policy, n).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(delay(&policy, u32::MAX), Duration::from_secs(5), "no overflow");
        let none = Restart { delay: Duration::ZERO, ..policy.clone() };
        assert_eq!(delay(&none, 7), Duration::ZERO);
        assert_eq!(delay(&none, u32::MAX), Duration::ZERO, "0 times whatever");
        let slow = Restart { delay: Duration::from_mins(1), ..policy };
        assert_eq!(delay(&slow, 1), Duration::from_mins(1), "a delay over the cap is its own cap");
    }
}
