//! The life of one service instance: a machine that is given events and time, and orders actions. It decides neither when
//! dependencies allow a start nor when the container stops; the supervisor does.
//!
//! ```text
//!              start            Spawned             Executed          its test is good
//!   Waiting ──────────▶ Launching ──▶ Starting ───────────────▶ Up ───────────────▶ Ready
//!      ▲ │ stop            │ SpawnFailed  │ Exited              │ Exited, stop,    │
//!      │ ▼                 │              ▼                     ▼ or it has failed ▼
//!      │ Down ◀────────────┼────────── Cleaning ◀───────────── Stopping ◀──────────┘
//!      │  asked            ▼              │ nothing of it is left
//!      ├── Backoff ◀──── judge ◀──────────┤
//!      │                   └──▶ Completed, Failed
//!      └──────────────── it starts again with what it depends on
//! ```
//!
//! A run ends when nothing of it is left: the leader, its group, and what carries its mark. Only then is it judged.

mod care;
pub mod restart;
mod stopping;

use std::rc::Rc;
use std::time::Duration;

use crate::event::{Action, Child, ExitStatus, InstanceId, Launch, Pid, Role, StartError, Time, order, tell};
use crate::gather::Gather;
use crate::notice::{Cause, Next, Notice, Refused};
use crate::plan::{Instance, Kind};
use crate::units::Signal;
use care::{Attempt, Awaited, Watched};
use restart::Budget;
use stopping::{Cleaning, Ending, Helper, Stopping};

/// Ended runs that an instance remembers for the obituary.
pub const HISTORY_MAX: usize = 12;

/// One instance, its state and its past. In this order, so that most is within 127 bytes, where access takes three bytes less.
#[derive(Debug)]
#[repr(C)]
pub struct Service {
    id: InstanceId,
    /// Runs begun so far; the number of the present one.
    runs: u32,
    /// Attempts of its tests begun so far; the number of the present one.
    probes: u32,
    /// Runs that were judged; not those that ended because somebody wanted it.
    judged: u32,
    history: Vec<Ended>,
    state: State,
    budget: Budget,
}

/// Where in its life an instance is. What there is to say is in boxes: a state is replaced as a whole, in many places.
#[derive(Debug)]
#[repr(u8)]
pub enum State {
    /// For its dependencies.
    Waiting,
    /// A process has been ordered; the answer comes before anything else does.
    Launching {
        /// When.
        since: Time,
    },
    /// The process is there, its program not yet; at that time it will have taken too long.
    Starting(Box<Live>, Option<Time>),
    /// The program runs, but is not ready. A oneshot never is: it is done one day.
    Up(Box<Live>, Box<Awaited>),
    /// The program can do its work.
    Ready(Box<Live>, Box<Watched>),
    /// Asked to end, and still there.
    Stopping {
        /// The run.
        live: Box<Live>,
        /// How far the stop is.
        stop: Box<Stopping>,
    },
    /// The leader is gone; what it left behind is being stopped.
    Cleaning(Box<Cleaning>),
    /// Waits for its next start.
    Backoff {
        /// When that is.
        until: Time,
    },
    /// Not running, because that was asked for.
    Down,
    /// Done with success.
    Completed,
    /// Failed for good.
    Failed {
        /// For want of this one, which it depends on; `None`: it may not be restarted again.
        without: Option<InstanceId>,
    },
}

/// A run whose leader lives; in a box, as it goes from state to state. The large ones are last, as in the service.
#[derive(Debug)]
#[repr(C)]
pub struct Live {
    pid: Pid,
    /// Whether its program runs.
    executed: bool,
    /// A client had SIGKILL sent to it.
    kill_sent: bool,
    /// When its process was ordered.
    since: Time,
    /// The step between fork and exec that failed; the process is about to exit.
    error: Option<Rc<StartError>>,
    /// Attempts that were called off and have not ended yet.
    helpers: Vec<Helper>,
    /// How it is, in its own words.
    says: Option<String>,
    /// What it asked for in vain; each is told once.
    refused: Vec<Refused>,
    /// The attempt of its test that has no answer yet.
    attempt: Option<Attempt>,
    /// Why it has failed although its program ran, and how long it was known to be well.
    failed: Option<(Cause, Duration)>,
    /// The kernel's OOM killer ended its leader, as far as is known.
    out_of_memory: Option<Cause>,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When its leader ended.
    pub at: Time,
    /// How.
    pub cause: Cause,
    /// From the order to start it to its leader's end.
    pub uptime: Duration,
    /// How much of that it was well, as far as is known.
    pub well: Duration,
    /// When nothing of it was left.
    pub over: Time,
    /// Whether we sent SIGKILL to its leader or to what that left behind.
    pub killed: bool,
    /// Whether its end was asked for, by a person, with the container, or with one that it depends on: no failure of its own.
    pub asked: bool,
    /// Set if it put itself into the background: what to do instead.
    pub remedy: Option<&'static str>,
}

impl Ended {
    fn new(at: Time, since: Time, cause: Cause) -> Self {
        let uptime = at.since(since);
        Self { at, cause, uptime, well: uptime, over: at, killed: false, asked: false, remedy: None }
    }
}

/// What a machine is told at every step beside the event.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// The plan of this instance.
    pub instance: &'a Instance,
    /// The deadline of the container's stop, which cuts every `kill_timeout`.
    pub limit: Option<Time>,
    /// The container is being stopped: nothing starts any more.
    pub stopping: bool,
}

impl Service {
    /// An instance that has never run.
    pub fn new(id: InstanceId, autostart: bool) -> Self {
        let state = if autostart { State::Waiting } else { State::Down };
        let (budget, history) = (Budget::default(), Vec::new());
        Self { id, state, runs: 0, probes: 0, budget, judged: 0, history }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its last ended runs, oldest first, at most [`HISTORY_MAX`].
    pub fn history(&self) -> &[Ended] {
        &self.history
    }

    /// How many runs it has begun.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// How many of its runs were judged.
    pub fn judged(&self) -> u32 {
        self.judged
    }

    /// Whether nothing of it runs and nothing is due.
    pub fn settled(&self) -> bool {
        match self.state {
            State::Waiting | State::Down | State::Completed | State::Failed { .. } => true,
            State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. } => false,
        }
    }

    /// Whether nothing of a run of it is there.
    pub fn vacant(&self) -> bool {
        self.settled() || matches!(self.state, State::Backoff { .. })
    }

    /// Whether a run of it is on its way out.
    pub fn ending(&self) -> bool {
        self.way_out().is_some()
    }

    /// Whether its program runs and nobody has asked it to end.
    pub fn running(&self) -> bool {
        matches!(self.state, State::Up(..) | State::Ready(..))
    }

    /// The leader, while it is ours to signal.
    pub fn leader(&self) -> Option<Pid> {
        self.run().map(|live| live.pid)
    }

    fn live(&mut self) -> Option<&mut Live> {
        match &mut self.state {
            State::Starting(live, _)
            | State::Up(live, _)
            | State::Ready(live, _)
            | State::Stopping { live, .. } => Some(live),
            State::Waiting
            | State::Launching { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => None,
        }
    }

    fn run(&self) -> Option<&Live> {
        match &self.state {
            State::Starting(live, _)
            | State::Up(live, _)
            | State::Ready(live, _)
            | State::Stopping { live, .. } => Some(live),
            State::Waiting
            | State::Launching { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => None,
        }
    }

    /// When its present run began.
    pub fn since(&self) -> Option<Time> {
        self.run().map(|live| live.since)
    }

    /// How it is, in its own words.
    pub fn says(&self) -> Option<&str> {
        self.run()?.says.as_deref()
    }

    /// Why its present run has failed although it has not ended yet.
    pub fn failing(&self) -> Option<&Cause> {
        self.run()?.failed.as_ref().map(|(cause, _)| cause)
    }

    /// Health checks missed in a row, of a ready run.
    pub fn misses(&self) -> Option<u32> {
        match &self.state {
            State::Ready(_, watched) => Some(watched.misses()),
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => None,
        }
    }

    /// Restarts that count against its budget now, and how long until they no longer do, if it runs on.
    pub fn restarts(&self, now: Time, instance: &Instance) -> (u32, Option<Duration>) {
        self.budget.used(&instance.restart, now, self.since().map(|since| now.since(since)))
    }

    /// When it gets SIGKILL if it does not end before.
    pub fn kill_at(&self) -> Option<Time> {
        match self.way_out()? {
            Ending::Stop(stop) => stop.kill_at(),
            Ending::Cleaning(cleaning) => cleaning.kill_at(),
        }
    }

    /// Whether SIGKILL was sent to all that is left of its run.
    pub fn killed(&self) -> bool {
        match self.way_out() {
            Some(Ending::Stop(stop)) => stop.killed(),
            Some(Ending::Cleaning(cleaning)) => cleaning.killed(),
            None => false,
        }
    }

    /// What its run is doing, if that is on its way out.
    fn way_out(&self) -> Option<Ending<'_>> {
        match &self.state {
            State::Stopping { stop, .. } => Some(Ending::Stop(stop)),
            State::Cleaning(cleaning) => Some(Ending::Cleaning(cleaning)),
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => None,
        }
    }

    /// What the instance will do next by itself, and when.
    pub fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Backoff { until } => Some(*until),
            State::Starting(_, until) => *until,
            State::Up(live, awaited) => awaited.deadline(live),
            State::Ready(live, watched) => watched.deadline(live),
            State::Stopping { stop, .. } => stop.deadline(),
            State::Cleaning(cleaning) => cleaning.deadline(),
            State::Waiting
            | State::Launching { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => None,
        }
    }

    /// Whether its deadline is the end of somebody's patience with its processes; else it is only when something is planned.
    pub fn measures(&self) -> bool {
        match &self.state {
            State::Starting(_, until) => until.is_some(),
            State::Up(..) | State::Stopping { .. } | State::Cleaning(_) => self.deadline().is_some(),
            State::Ready(live, watched) => live.attempt.is_some() || watched.measures(),
            State::Waiting
            | State::Launching { .. }
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => false,
        }
    }

    /// Starts it; the caller has seen that its dependencies allow it.
    #[inline(never)]
    pub fn start(&mut self, context: &Context, out: &mut Vec<Action>) {
        match self.state {
            _ if context.stopping => {}
            State::Waiting | State::Backoff { .. } | State::Down => {
                self.runs = self.runs.saturating_add(1);
                self.state = State::Launching { since: context.now };
                let watchdog = |longest: Duration| {
                    ("WATCHDOG_USEC", u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).to_string())
                };
                let extra_env = context.instance.watchdog.map(watchdog).into_iter().gather();
                out.push(self.spawn(Role::Main, &context.instance.launch, extra_env));
            }
            State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// It cannot start any more: what it waits for cannot be had.
    pub fn fail_waiting(&mut self, without: InstanceId) {
        if matches!(self.state, State::Waiting) {
            self.state = State::Failed { without: Some(without) };
        }
    }

    /// Another definition has taken the place of the old one; with `anew` nothing of the old may go on. Says whether it begins to run by
    /// that. `held`: a person wants it to be down.
    #[inline(never)]
    pub fn redefined(
        &mut self,
        now: Time,
        (old, new): (&Instance, &Instance),
        anew: bool,
        held: bool,
    ) -> bool {
        // Another chance is one with a fresh budget.
        if anew || old.restart != new.restart || matches!(self.state, State::Failed { .. }) {
            self.budget = Budget::default();
        }
        let begins = if held || !new.autostart { State::Down } else { State::Waiting };
        let state = match &self.state {
            // By way of a restart that is due now, so that those see it who are restarted with it.
            State::Backoff { .. } if anew => State::Backoff { until: now },
            State::Waiting if old.autostart && !new.autostart && self.runs == 0 => State::Down,
            State::Down if !old.autostart => begins,
            // What has succeeded does so again only if that may mean something else now; what has failed gets another chance.
            State::Completed if anew || old.on_success != new.on_success => begins,
            State::Failed { .. } => begins,
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed => return false,
        };
        let runs = matches!(state, State::Waiting | State::Backoff { .. });
        self.state = state;
        runs
    }

    /// An update has taken it out. Its runs go on being counted, so that none of them is ever taken for a later one.
    pub fn retire(&mut self) {
        self.state = State::Down;
        self.budget = Budget::default();
        self.judged = 0;
        self.history.clear();
    }

    /// It is there again after that.
    pub fn revive(&mut self, autostart: bool) {
        self.state = if autostart { State::Waiting } else { State::Down };
    }

    /// For want of whom it has failed.
    pub fn failed_without(&self) -> Option<InstanceId> {
        if let State::Failed { without } = self.state { without } else { None }
    }

    /// The process that was ordered is there.
    #[inline(never)]
    pub fn spawned(&mut self, context: &Context, role: Role, pid: Pid, out: &mut Vec<Action>) {
        match (role, &mut self.state) {
            (Role::Main, State::Launching { since }) => {
                let live = Box::new(Live {
                    pid,
                    since: *since,
                    executed: false,
                    error: None,
                    failed: None,
                    out_of_memory: None,
                    kill_sent: false,
                    attempt: None,
                    helpers: Vec::new(),
                    says: None,
                    refused: Vec::new(),
                });
                self.state = State::Starting(live, care::ready_by(context.instance, *since));
                // The stop began in the very step that ordered this start.
                if context.stopping {
                    self.stop(context, out);
                }
            }
            // The answer to an order comes before any other event, so the state is the one that gave it.
            (Role::Main, _) => {}
            (Role::StopCommand, _) => self.stop_command_spawned(pid),
            (Role::Probe(number), _) => self.probe_spawned(number, pid, out),
        }
    }

    /// No process could be made, or its exec failed.
    #[inline(never)]
    pub fn start_failed(
        &mut self,
        context: &Context,
        child: Child,
        error: Rc<StartError>,
        out: &mut Vec<Action>,
    ) {
        match (child.role, &mut self.state) {
            (Role::Main, State::Launching { since }) => {
                let ended = Ended::new(context.now, *since, Cause::Start(error));
                self.judge(context, ended, out);
            }
            (Role::Main, State::Starting(live, until)) => {
                live.error = Some(error);
                *until = None;
            }
            (Role::Main, State::Stopping { live, .. }) => live.error = Some(error),
            (Role::Main, _) => {}
            (Role::StopCommand, _) if child.run == self.runs => {
                self.stop_command_failed(context, Cause::Start(error), out);
            }
            (Role::StopCommand, _) => {} // of a run that it outlived
            (Role::Probe(number), _) => self.probe_failed(context, number, error, out),
        }
    }

    /// Its program runs.
    pub fn executed(&mut self, context: &Context, role: Role, out: &mut Vec<Action>) {
        if role != Role::Main || !matches!(self.state, State::Starting(..)) {
            return; // a stop that came in between goes on
        }
        if let State::Starting(mut live, ..) = std::mem::replace(&mut self.state, State::Down) {
            live.executed = true;
            self.begin_to_run(context, live, out);
        }
    }

    /// Its leader, or what was started beside it, has ended, and is not released yet.
    pub fn exited(
        &mut self,
        context: &Context,
        child: Child,
        pid: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) {
        match child.role {
            Role::Main => self.leader_exited(context, pid, status, out),
            Role::StopCommand if child.run == self.runs => {
                self.stop_command_exited(context, pid, status, out);
            }
            Role::StopCommand => {} // of a run that it outlived
            Role::Probe(number) => self.probe_exited(context, number, pid, status, out),
        }
    }

    /// Does what is due by now.
    #[inline(never)]
    pub fn tick(&mut self, context: &Context, out: &mut Vec<Action>) {
        match &self.state {
            // It starts as soon as what it depends on allows it, which usually is at once.
            State::Backoff { until } if context.now >= *until => self.state = State::Waiting,
            State::Starting(..) | State::Up(..) | State::Ready(..) => self.care(context, out),
            State::Stopping { .. } | State::Cleaning(_) => self.tick_end(context, out),
            State::Backoff { .. }
            | State::Waiting
            | State::Launching { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    fn judge(&mut self, context: &Context, ended: Ended, out: &mut Vec<Action>) {
        if context.stopping {
            return self.down(context, ended, out);
        }
        self.judged = self.judged.saturating_add(1);
        // A command's end is the container's; there is nothing to judge.
        let next = match context.instance.kind {
            Kind::Command => Next::Ends,
            Kind::Daemon | Kind::Oneshot => {
                self.budget.judge(context.instance, context.now, &ended.cause, ended.well)
            }
        };
        let state = match next {
            Next::Restart { delay, .. } => State::Backoff { until: context.now + delay },
            Next::Completed => State::Completed,
            Next::Failed { .. } => State::Failed { without: None },
            Next::Ends if ended.cause.success() => State::Completed,
            Next::Ends => State::Failed { without: None },
            Next::Down | Next::With(_) | Next::Again => State::Down, // never judged so
        };
        self.conclude(context, ended, next, state, out);
    }

    fn down(&mut self, context: &Context, ended: Ended, out: &mut Vec<Action>) {
        self.conclude(context, ended, Next::Down, State::Down, out);
    }

    fn wait_again(&mut self, context: &Context, ended: Ended, on: Rc<str>, out: &mut Vec<Action>) {
        self.budget.free(&context.instance.restart, ended.well);
        self.conclude(context, ended, Next::With(on), State::Waiting, out);
    }

    fn conclude(&mut self, context: &Context, ended: Ended, next: Next, state: State, out: &mut Vec<Action>) {
        let ended = Ended { over: context.now, ..ended };
        let (cause, uptime) = (ended.cause.clone(), ended.uptime);
        tell(out, Notice::Ended { name: name(context), cause, uptime, next });
        if self.history.len() == HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(ended);
        self.state = state;
    }

    fn main_child(&self) -> Child {
        Child { instance: self.id, run: self.runs, role: Role::Main }
    }

    fn spawn(&self, role: Role, launch: &Rc<Launch>, extra_env: Vec<(&'static str, String)>) -> Action {
        let child = Child { role, ..self.main_child() };
        Action::Spawn { child, launch: Rc::clone(launch), extra_env }
    }
}

fn name(context: &Context) -> Rc<str> {
    Rc::clone(&context.instance.name)
}

fn kill_at(context: &Context) -> Option<Time> {
    Time::earlier(context.instance.stop.kill_timeout.map(|timeout| context.now + timeout), context.limit)
}

fn signal_group(leader: Pid, signal: Signal, out: &mut Vec<Action>) {
    order(out, Action::SignalGroup { leader, signal });
    if signal != Signal::KILL {
        order(out, Action::SignalGroup { leader, signal: Signal::CONT });
    }
}
