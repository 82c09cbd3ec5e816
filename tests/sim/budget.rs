//! The restart budget computed a second time, from the contract alone: what must follow the end of a run.

use std::time::Duration;

use tinysup::event::{ExitStatus, Time};
use tinysup::notice::{Cause, Next};
use tinysup::plan::{Instance, Kind, OnSuccess, Restart, RestartWhen};

#[derive(Debug, Default)]
pub struct Budget {
    row: u32,
    decided: Vec<Time>,
}

impl Budget {
    /// A restart that costs nothing; a stable run starts the row anew all the same.
    pub fn free(&mut self, instance: &Instance, well: Duration) {
        if well >= instance.restart.min_uptime {
            self.row = 0;
        }
    }

    /// Whether the next restart of a run that has lasted so long would be one too many.
    pub fn spent(&self, instance: &Instance, now: Time, uptime: Duration) -> bool {
        let policy = &instance.restart;
        let used = match policy.window {
            Some(window) => self.decided.iter().filter(|at| now.since(**at) < window).count(),
            None if uptime >= policy.min_uptime => 0,
            None => self.row as usize,
        };
        policy.max_restarts.is_some_and(|max| used >= max as usize)
    }

    /// What `status` says: how many restarts count now, with a run that has lasted so long, and when they no longer do if it runs on.
    pub fn counts(
        &self,
        instance: &Instance,
        now: Time,
        uptime: Option<Duration>,
    ) -> (u32, Option<Duration>) {
        let policy = &instance.restart;
        if let Some(window) = policy.window {
            // Of a budget without an end nothing is counted.
            let counted = self.decided.iter().filter(|_| policy.max_restarts.is_some());
            let left: Vec<_> = counted.map(|at| now.since(*at)).filter(|ago| *ago < window).collect();
            return (u32::try_from(left.len()).unwrap(), left.last().map(|ago| window.saturating_sub(*ago)));
        }
        match uptime {
            None => (self.row, None),
            Some(uptime) if uptime >= policy.min_uptime => (0, None),
            Some(_) if self.row == 0 => (0, None),
            Some(uptime) => (self.row, Some(policy.min_uptime.saturating_sub(uptime))),
        }
    }

    pub fn expect(&mut self, instance: &Instance, now: Time, cause: &Cause, well: Duration) -> Next {
        let policy = &instance.restart;
        let code = match cause {
            Cause::Exit(ExitStatus::Code(code)) | Cause::Unready(ExitStatus::Code(code)) => Some(*code),
            Cause::Exit(ExitStatus::Signal { .. })
            | Cause::Unready(ExitStatus::Signal { .. })
            | Cause::Start(_)
            | Cause::NotReady(_)
            | Cause::Unhealthy { .. }
            | Cause::Watchdog { .. }
            | Cause::OverMemory { .. }
            | Cause::ShortMemory { .. }
            | Cause::OutOfMemory { .. } => None,
        };
        let listed = code.is_some_and(|code| policy.stop_exit_codes.contains(&code));
        // Whoever was waited for to be ready has not had success by going away.
        let code = code.filter(|_| !matches!(cause, Cause::Unready(_)));
        let restarts_success = policy.when == RestartWhen::Always
            && instance.kind == Kind::Daemon
            && instance.on_success == OnSuccess::Ignore;
        if listed || code == Some(0) && !restarts_success {
            return Next::Completed;
        }
        if policy.when == RestartWhen::Never {
            return Next::Failed { budget: None };
        }
        self.free(instance, well);
        let used = match policy.window {
            Some(window) => {
                self.decided.retain(|at| now.since(*at) < window);
                u32::try_from(self.decided.len()).unwrap()
            }
            None => self.row,
        };
        if policy.max_restarts.is_some_and(|max| used >= max) {
            return Next::Failed { budget: policy.max_restarts };
        }
        self.row += 1;
        self.decided.push(now);
        let number =
            if policy.window.is_some() && policy.max_restarts.is_some() { used + 1 } else { self.row };
        Next::Restart {
            number,
            max: policy.max_restarts,
            window: policy.window,
            delay: delay(policy, self.row),
        }
    }
}

/// `delay × backoff^(n-1)`, capped, by multiplying as a person would.
fn delay(policy: &Restart, n: u32) -> Duration {
    let cap = policy.delay_max.max(policy.delay).as_secs_f64();
    let mut delay = policy.delay.as_secs_f64();
    for _ in 1..n {
        delay = (delay * policy.backoff).min(cap);
    }
    Duration::from_secs_f64(delay.min(cap))
}

/// Whether two decisions are the same, up to the rounding of the delay.
pub fn same(a: &Next, b: &Next) -> bool {
    match (a, b) {
        (
            Next::Restart { number: n1, max: m1, window: w1, delay: d1 },
            Next::Restart { number: n2, max: m2, window: w2, delay: d2 },
        ) => n1 == n2 && m1 == m2 && w1 == w2 && d1.abs_diff(*d2) < Duration::from_micros(10),
        _ => a == b,
    }
}
