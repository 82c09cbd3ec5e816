//! The stop of the container: why, since when, until when, and how far it is. Stops once begun never go back.

use std::time::Duration;

use crate::event::{InstanceId, Pid, Process, Time};
use crate::sorted::Set;
use crate::units::Signal;

/// How often it is told who is still alive.
pub const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// What is waited after the SIGKILL at the deadline, so that the dead can be collected.
const KILL_GRACE: Duration = Duration::from_millis(250);
/// The grace that processes of no service get after SIGTERM.
pub const STRAY_GRACE: Duration = Duration::from_secs(1);
/// How often strays are looked for: `docker exec` processes are not our children, so nothing tells us of their end.
const STRAY_LOOK: Duration = Duration::from_millis(50);

/// Why the container stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A signal asked for it.
    Signal(Signal),
    /// A client asked for it.
    Asked,
    /// This instance failed for good.
    Failed(InstanceId),
    /// This instance, whose success ends the container, succeeded.
    Ended(InstanceId),
    /// Nothing runs and nothing will.
    AllDone,
}

/// A stop in progress.
#[derive(Debug)]
pub struct Shutdown {
    reason: Reason,
    since: Time,
    deadline: Option<Time>,
    tell_at: Time,
    phase: Phase,
    /// Strays seen at the last look that have not ended since.
    strays: Set<Pid>,
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The services are going down, dependents first.
    Services,
    /// The deadline has come or somebody was impatient: all are killed. At that time it goes on without those that cannot die.
    Killing {
        /// When.
        until: Time,
    },
    /// The services are down; processes of no service are asked to end.
    Strays {
        /// When they are looked for next.
        look_at: Time,
        /// When they get SIGKILL.
        until: Time,
        /// Whether they got it.
        killed: bool,
    },
    /// The last output is being collected; nothing else happens any more.
    Leaving,
}

impl Shutdown {
    /// A stop that begins now.
    pub fn new(reason: Reason, now: Time, timeout: Option<Duration>) -> Self {
        let deadline = timeout.map(|timeout| now + timeout);
        Self {
            reason,
            since: now,
            deadline,
            tell_at: now + TELL_INTERVAL,
            phase: Phase::Services,
            strays: Set::new(),
        }
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// When it began.
    pub fn since(&self) -> Time {
        self.since
    }

    /// When everything gets SIGKILL.
    pub fn limit(&self) -> Option<Time> {
        self.deadline
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Services => {
                Some(self.deadline.map_or(self.tell_at, |deadline| deadline.min(self.tell_at)))
            }
            Phase::Killing { until } => Some(until),
            Phase::Strays { look_at, .. } => Some(look_at),
            Phase::Leaving => None,
        }
    }

    /// Whether it is time to tell who is still alive; the next time is set.
    pub fn tell(&mut self, now: Time) -> bool {
        let due = self.phase == Phase::Services && now >= self.tell_at;
        if due {
            self.tell_at = now + TELL_INTERVAL;
        }
        due
    }

    /// Whether the deadline has come for services that are still there.
    pub fn over(&self, now: Time) -> bool {
        self.phase == Phase::Services && self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// All services have been killed now; strays, if that is where we are, are to be killed at the next look, which is due.
    pub fn kill(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Services => self.phase = Phase::Killing { until: now + KILL_GRACE },
            Phase::Strays { look_at, until, killed: false } => (*look_at, *until) = (now, now),
            Phase::Strays { killed: true, .. } | Phase::Killing { .. } | Phase::Leaving => {}
        }
    }

    /// The services are down. Returns what strays are to be sent at once; what heeds it has `grace` for it.
    pub fn begin_strays(&mut self, now: Time, grace: Duration) -> Signal {
        match self.phase {
            Phase::Services => {
                let grace = now + grace;
                let until = self.deadline.map_or(grace, |deadline| deadline.min(grace));
                self.phase = Phase::Strays { look_at: (now + STRAY_LOOK).min(until), until, killed: false };
                Signal::TERM
            }
            // Whoever is in a hurry or late gives no second grace.
            Phase::Killing { .. } | Phase::Strays { .. } | Phase::Leaving => {
                self.phase =
                    Phase::Strays { look_at: now + STRAY_LOOK, until: now + KILL_GRACE, killed: true };
                Signal::KILL
            }
        }
    }

    /// What is to be done about strays by now: the signal to look with. `None`: nothing is due.
    pub fn look(&mut self, now: Time) -> Option<Look> {
        let Phase::Strays { look_at, until, killed } = self.phase else { return None };
        if now < look_at {
            return None;
        }
        Some(match (now >= until, killed) {
            (true, true) => {
                self.phase = Phase::Leaving;
                Look::GiveUp
            }
            (true, false) => {
                self.phase =
                    Phase::Strays { look_at: now + STRAY_LOOK, until: now + KILL_GRACE, killed: true };
                Look::At(Some(Signal::KILL))
            }
            (false, _) => {
                self.phase = Phase::Strays { look_at: (now + STRAY_LOOK).min(until), until, killed };
                Look::At(killed.then_some(Signal::KILL))
            }
        })
    }

    /// These strays were seen. Returns whether they are the first.
    pub fn strays_seen(&mut self, found: &[Process]) -> bool {
        let first = self.strays.is_empty();
        self.strays = found.iter().map(|process| process.pid).collect();
        first
    }

    /// A process of no service has ended. Returns whether it was the last stray of those seen, so that another look,
    /// which is due now, may be the last.
    pub fn stray_ended(&mut self, pid: Pid, now: Time) -> bool {
        let last = self.strays.remove(&pid) && self.strays.is_empty();
        if let (true, Phase::Strays { look_at, .. }) = (last, &mut self.phase) {
            *look_at = now;
        }
        last
    }

    /// Nothing is left; what remains is to tell and to leave.
    pub fn leave(&mut self) {
        self.phase = Phase::Leaving;
    }
}

/// What to do about strays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Look for them, and send this.
    At(Option<Signal>),
    /// Even SIGKILL has not ended them in time.
    GiveUp,
}
