//! The life of one service instance: a machine that is given events and time, and orders actions. It decides neither when
//! dependencies allow a start nor when the container stops; the supervisor does.
//!
//! ```text
//!              start            Spawned             Executed
//!   Waiting ──────────▶ Launching ──▶ Starting ───────────────▶ Up
//!      ▲ │ stop            │ SpawnFailed  │ Exited        Exited │ stop
//!      │ ▼                 │              ▼                      ▼ ▼
//!      │ Down ◀────────────┼────────── Cleaning ◀─────────── Stopping
//!      │  asked            ▼              │ nothing of it is left
//!      └── Backoff ◀──── judge ◀──────────┘
//!        (straight to         └──▶ Completed, Failed
//!         Launching)
//! ```
//!
//! A run ends when nothing of it is left: the leader, its group, and what carries its mark. Only then is it judged.

pub mod restart;

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::event::{Action, Child, ExitStatus, InstanceId, Mark, Pid, Process, Role, StartError, Time};
use crate::hints;
use crate::notice::{Cause, KillReason, Next, Notice};
use crate::plan::{Instance, KillMode, Kind};
use crate::units::Signal;
use restart::Budget;

/// Ended runs that an instance remembers for the obituary.
pub const HISTORY_MAX: usize = 12;
/// How long after SIGKILL a process counts as one that cannot be ended.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);
/// How often remains are looked at again although nothing was heard of them.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon after one of several remains has ended they are looked at again; not at each, there may be thousands.
const LOOK_SOON: Duration = Duration::from_millis(10);
/// An exit with code 0 this soon, with processes left behind, means that the service put itself into the background.
const DAEMONIZES_WITHIN: Duration = Duration::from_secs(5);

/// One instance, its state and its past.
#[derive(Debug)]
pub struct Service {
    id: InstanceId,
    state: State,
    /// Runs begun so far; the number of the present one.
    runs: u32,
    budget: Budget,
    history: VecDeque<Ended>,
}

/// Where in its life an instance is.
#[derive(Debug)]
pub enum State {
    /// For its dependencies.
    Waiting,
    /// A process has been ordered; the answer comes before anything else does.
    Launching {
        /// When.
        since: Time,
    },
    /// The process is there, its program not yet.
    Starting(Live),
    /// The program runs.
    Up(Live),
    /// Asked to end, and still there.
    Stopping {
        /// The run.
        live: Live,
        /// How far the stop is.
        stop: Stopping,
    },
    /// The leader is gone; what it left behind is being stopped.
    Cleaning(Cleaning),
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
    Failed,
}

/// A run whose leader lives.
#[derive(Debug)]
pub struct Live {
    pid: Pid,
    /// When its process was ordered.
    since: Time,
    /// The step between fork and exec that failed; the process is about to exit.
    error: Option<StartError>,
}

/// A stop that the leader has not yet answered by ending.
#[derive(Debug)]
pub struct Stopping {
    asked: Time,
    /// The stop signal it was sent; none as long as its `stop_command` may do without.
    signal: Option<Signal>,
    phase: Phase,
    command: Option<StopCommand>,
}

/// A running `stop_command`.
#[derive(Clone, Copy, Debug)]
struct StopCommand {
    pid: Pid,
    /// Its exec failed, which has been told; it is about to exit.
    failed: bool,
}

#[derive(Debug)]
enum Phase {
    /// Asked politely; SIGKILL comes then, if ever.
    Polite { kill_at: Option<Time> },
    /// SIGKILL was sent; told after a while that even that did not help.
    Killed { tell_at: Option<Time> },
}

/// The remains of a run.
#[derive(Debug)]
pub struct Cleaning {
    leader: Pid,
    ended: Ended,
    /// When a stop was asked for; what follows then is not a restart.
    asked: Option<Time>,
    /// Those seen at the last look that have not ended since.
    members: Vec<Process>,
    /// A `stop_command` that outlives its service.
    command: Option<StopCommand>,
    told: Told,
    look_at: Time,
    kill: Kill,
}

/// What has been told of remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// That there are some.
    Found,
    /// That they were sent SIGKILL.
    Killed,
}

#[derive(Debug)]
enum Kill {
    At(Option<Time>),
    Since(Time),
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
    /// When nothing of it was left.
    pub over: Time,
    /// Whether we sent SIGKILL to its leader or to what that left behind.
    pub killed: bool,
    /// Set if it put itself into the background: what to do instead.
    pub remedy: Option<&'static str>,
}

impl Ended {
    fn new(at: Time, since: Time, cause: Cause) -> Self {
        Self { at, cause, uptime: at.since(since), over: at, killed: false, remedy: None }
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
        Self { id, state, runs: 0, budget: Budget::default(), history: VecDeque::new() }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its last ended runs, oldest first, at most [`HISTORY_MAX`].
    pub fn history(&self) -> &VecDeque<Ended> {
        &self.history
    }

    /// How many runs it has begun.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Whether nothing of it runs and nothing is due.
    pub fn settled(&self) -> bool {
        match self.state {
            State::Waiting | State::Down | State::Completed | State::Failed => true,
            State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. } => false,
        }
    }

    /// The leader, while it is ours to signal.
    pub fn leader(&self) -> Option<Pid> {
        match &self.state {
            State::Starting(live) | State::Up(live) | State::Stopping { live, .. } => Some(live.pid),
            State::Waiting
            | State::Launching { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed => None,
        }
    }

    /// When it gets SIGKILL if it does not end before.
    pub fn kill_at(&self) -> Option<Time> {
        match &self.state {
            State::Stopping { stop: Stopping { phase: Phase::Polite { kill_at }, .. }, .. } => *kill_at,
            State::Cleaning(Cleaning { kill: Kill::At(at), .. }) => *at,
            State::Stopping { .. }
            | State::Cleaning(_)
            | State::Waiting
            | State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed => None,
        }
    }

    /// What the instance will do next by itself, and when.
    pub fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Backoff { until } => Some(*until),
            State::Stopping { stop: Stopping { phase: Phase::Polite { kill_at }, .. }, .. } => *kill_at,
            State::Stopping { stop: Stopping { phase: Phase::Killed { tell_at }, .. }, .. } => *tell_at,
            State::Cleaning(cleaning) => match cleaning.kill {
                Kill::At(Some(at)) => Some(at.min(cleaning.look_at)),
                Kill::At(None) | Kill::Since(_) => Some(cleaning.look_at),
            },
            State::Waiting
            | State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Down
            | State::Completed
            | State::Failed => None,
        }
    }

    /// Starts it; the caller has seen that its dependencies allow it.
    pub fn start(&mut self, context: Context, out: &mut Vec<Action>) {
        match self.state {
            _ if context.stopping => {}
            State::Waiting | State::Backoff { .. } | State::Down => {
                self.runs = self.runs.saturating_add(1);
                self.state = State::Launching { since: context.now };
                out.push(self.spawn(Role::Main, &context.instance.launch, Vec::new()));
            }
            State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Completed
            | State::Failed => {}
        }
    }

    /// It cannot start any more: what it waits for cannot be had.
    pub fn fail_waiting(&mut self) {
        if matches!(self.state, State::Waiting) {
            self.state = State::Failed;
        }
    }

    /// The process that was ordered is there.
    pub fn spawned(&mut self, context: Context, role: Role, pid: Pid, out: &mut Vec<Action>) {
        match (role, &mut self.state) {
            (Role::Main, State::Launching { since }) => {
                self.state = State::Starting(Live { pid, since: *since, error: None });
                // The stop began in the very step that ordered this start.
                if context.stopping {
                    self.stop(context, out);
                }
            }
            (Role::StopCommand, State::Stopping { stop, .. }) => {
                stop.command = Some(StopCommand { pid, failed: false });
            }
            (Role::StopCommand, State::Cleaning(cleaning)) => {
                cleaning.command = Some(StopCommand { pid, failed: false });
            }
            // The answer to an order comes before any other event, so the state is the one that gave it.
            (Role::Main | Role::StopCommand | Role::Probe(_), _) => {}
        }
    }

    /// No process could be made, or its exec failed.
    pub fn start_failed(&mut self, context: Context, role: Role, error: StartError, out: &mut Vec<Action>) {
        match (role, &mut self.state) {
            (Role::Main, State::Launching { since }) => {
                let ended = Ended::new(context.now, *since, Cause::Start(error));
                self.judge(context, ended, out);
            }
            (Role::Main, State::Starting(live) | State::Stopping { live, .. }) => live.error = Some(error),
            (Role::StopCommand, State::Stopping { stop, .. }) => {
                if let Some(command) = &mut stop.command {
                    command.failed = true;
                }
                self.stop_command_failed(context, Cause::Start(error), out);
            }
            (Role::Main | Role::StopCommand | Role::Probe(_), _) => {}
        }
    }

    /// Its program runs.
    pub fn executed(&mut self, context: Context, role: Role, out: &mut Vec<Action>) {
        if role != Role::Main || !matches!(self.state, State::Starting(_)) {
            return; // a stop that came in between goes on
        }
        if let State::Starting(live) = std::mem::replace(&mut self.state, State::Down) {
            if context.instance.kind == Kind::Daemon {
                let after = context.now.since(live.since);
                out.push(Action::Tell(Notice::Up { name: name(context), after, run: self.runs }));
            }
            self.state = State::Up(live);
        }
    }

    /// Its leader or its `stop_command` has ended, and is not released yet.
    pub fn exited(
        &mut self,
        context: Context,
        role: Role,
        pid: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) {
        match role {
            Role::Main => self.leader_exited(context, pid, status, out),
            Role::StopCommand => self.stop_command_exited(context, status, out),
            Role::Probe(_) => {}
        }
    }

    fn leader_exited(&mut self, context: Context, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) {
        let (live, stop) = match std::mem::replace(&mut self.state, State::Down) {
            State::Starting(live) | State::Up(live) => (live, None),
            State::Stopping { live, stop } => (live, Some(stop)),
            other @ (State::Waiting
            | State::Launching { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed) => {
                self.state = other; // these have no leader
                return;
            }
        };
        let cause = live.error.map_or(Cause::Exit(status), Cause::Start);
        let mut ended = Ended::new(context.now, live.since, cause);
        ended.killed = matches!(&stop, Some(Stopping { phase: Phase::Killed { .. }, .. }));
        let command = stop.as_ref().and_then(|stop| stop.command);
        let cleaning = Cleaning {
            leader: pid,
            ended,
            asked: stop.as_ref().map(|stop| stop.asked),
            members: Vec::new(),
            command,
            told: Told::Nothing,
            look_at: context.now + LOOK_INTERVAL,
            kill: match stop.map(|stop| stop.phase) {
                None => Kill::At(None), // set when something is found
                Some(Phase::Polite { kill_at }) => Kill::At(kill_at),
                Some(Phase::Killed { .. }) => Kill::Since(context.now),
            },
        };
        if let Some(command) = command {
            let signal = if matches!(cleaning.kill, Kill::Since(_)) { Signal::KILL } else { Signal::TERM };
            signal_group(command.pid, signal, out);
        }
        let signal = match cleaning.kill {
            Kill::At(_) => Signal::TERM,
            Kill::Since(_) => Signal::KILL,
        };
        match sweep(self.main_child(), context.instance, pid, signal, Vec::new()) {
            Some(action) => {
                out.push(action);
                self.state = State::Cleaning(cleaning);
            }
            None if cleaning.command.is_some() => self.state = State::Cleaning(cleaning),
            None => self.finish(context, cleaning, out),
        }
    }

    fn stop_command_exited(&mut self, context: Context, status: ExitStatus, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Stopping { stop, .. } => {
                let told = stop.command.take().is_none_or(|command| command.failed);
                if !told && !status.success() {
                    self.stop_command_failed(context, Cause::Exit(status), out);
                }
            }
            State::Cleaning(cleaning) => {
                cleaning.command = None;
                if cleaning.members.is_empty() {
                    self.look(context, out);
                }
            }
            State::Waiting
            | State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed => {}
        }
    }

    fn stop_command_failed(&mut self, context: Context, cause: Cause, out: &mut Vec<Action>) {
        if let State::Stopping { live, stop } = &mut self.state
            && let Phase::Polite { .. } = stop.phase
        {
            out.push(Action::Tell(Notice::StopCommandFailed { name: name(context), cause }));
            stop.signal = Some(ask(context.instance, live.pid, out));
        }
    }

    /// A process that is nobody's has ended: perhaps one of the remains we wait for.
    pub fn stranger_exited(&mut self, context: Context, pid: Pid, out: &mut Vec<Action>) {
        if let State::Cleaning(cleaning) = &mut self.state
            && let Some(at) = cleaning.members.iter().position(|member| member.pid == pid)
        {
            cleaning.members.swap_remove(at);
            if cleaning.members.is_empty() {
                self.look(context, out);
            } else {
                // The others may be its children, collected by it, of whose end nobody tells us.
                cleaning.look_at = cleaning.look_at.min(context.now + LOOK_SOON);
            }
        }
    }

    /// What a look at the remains of a run has found.
    pub fn swept(&mut self, context: Context, run: u32, found: Vec<Process>, out: &mut Vec<Action>) {
        if run != self.runs || !matches!(self.state, State::Cleaning(_)) {
            return;
        }
        let State::Cleaning(mut cleaning) = std::mem::replace(&mut self.state, State::Down) else { return };
        cleaning.members.clone_from(&found);
        if found.is_empty() && cleaning.command.is_none() {
            return self.finish(context, cleaning, out);
        }
        if let Kill::At(None) = cleaning.kill {
            cleaning.kill = Kill::At(kill_at(context));
        }
        let killed = matches!(cleaning.kill, Kill::Since(_));
        match cleaning.told {
            Told::Nothing | Told::Found if killed && !found.is_empty() => {
                cleaning.told = Told::Killed;
                cleaning.ended.killed = true;
                out.push(Action::Tell(Notice::LeftoversKilled { name: name(context), found }));
            }
            Told::Nothing if !found.is_empty() => {
                cleaning.told = Told::Found;
                // A shell that dies of the stop signal before its children is everyday business, not news.
                if cleaning.asked.is_none() {
                    let daemonized = remedy_if_daemonized(context.instance, &cleaning.ended);
                    cleaning.ended.remedy = daemonized;
                    out.push(Action::Tell(Notice::Leftovers { name: name(context), found, daemonized }));
                }
            }
            Told::Nothing | Told::Found | Told::Killed => {}
        }
        self.state = State::Cleaning(cleaning);
    }

    /// Asks it to stop; it will be [`State::Down`] unless it was done or failed before.
    pub fn stop(&mut self, context: Context, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Waiting | State::Backoff { .. } | State::Down => {}
            State::Starting(live) => self.ask_to_stop(context, live, false, out),
            State::Up(live) => self.ask_to_stop(context, live, true, out),
            State::Cleaning(mut cleaning) => {
                cleaning.asked.get_or_insert(context.now);
                if let Kill::At(at) = &mut cleaning.kill {
                    *at = earlier(*at, context.limit);
                }
                self.state = State::Cleaning(cleaning);
            }
            // The answer to an order comes before any other event; a start cannot be half ordered here.
            other @ (State::Launching { .. } | State::Stopping { .. } | State::Completed | State::Failed) => {
                self.state = other;
            }
        }
    }

    fn ask_to_stop(&mut self, context: Context, live: Live, executed: bool, out: &mut Vec<Action>) {
        let phase = Phase::Polite { kill_at: kill_at(context) };
        let late = context.limit.is_some_and(|limit| context.now >= limit);
        let signal = match &context.instance.stop.command {
            Some(launch) if executed && !late => {
                out.push(self.spawn(Role::StopCommand, launch, vec![("MAINPID", live.pid.to_string())]));
                None
            }
            Some(_) | None => Some(ask(context.instance, live.pid, out)),
        };
        let stop = Stopping { asked: context.now, signal, phase, command: None };
        self.state = State::Stopping { live, stop };
    }

    /// A forwarded signal asks it to end: SIGKILL follows after `kill_timeout`.
    pub fn asked_by_signal(&mut self, context: Context) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Starting(live) | State::Up(live) => {
                let phase = Phase::Polite { kill_at: kill_at(context) };
                self.state = State::Stopping {
                    live,
                    stop: Stopping { asked: context.now, signal: Some(Signal::TERM), phase, command: None },
                };
            }
            other @ (State::Waiting
            | State::Launching { .. }
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed) => self.state = other,
        }
    }

    /// Whether we sent SIGKILL to something of the run that was not over before `since`.
    pub fn killed_since(&self, since: Time) -> bool {
        match &self.state {
            State::Stopping { stop, .. } => matches!(stop.phase, Phase::Killed { .. }),
            State::Cleaning(cleaning) => cleaning.ended.killed,
            State::Waiting
            | State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed => self.history.back().is_some_and(|last| last.killed && last.over >= since),
        }
    }

    /// Ends it without further grace.
    pub fn kill(&mut self, context: Context, why: KillReason, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Waiting | State::Backoff { .. } | State::Down => {}
            State::Starting(live) | State::Up(live) => {
                let phase = Phase::Polite { kill_at: None };
                let mut stop = Stopping { asked: context.now, signal: None, phase, command: None };
                kill_leader(context, live.pid, &mut stop, why, out);
                self.state = State::Stopping { live, stop };
            }
            State::Stopping { live, mut stop } => {
                if let Phase::Polite { .. } = stop.phase {
                    kill_leader(context, live.pid, &mut stop, why, out);
                }
                self.state = State::Stopping { live, stop };
            }
            State::Cleaning(mut cleaning) => {
                cleaning.asked.get_or_insert(context.now);
                let polite = matches!(cleaning.kill, Kill::At(_));
                self.state = State::Cleaning(cleaning);
                if polite {
                    self.kill_remains(context, out);
                }
            }
            other @ (State::Launching { .. } | State::Completed | State::Failed) => self.state = other,
        }
    }

    /// Does what is due by now.
    pub fn tick(&mut self, context: Context, out: &mut Vec<Action>) {
        let now = context.now;
        match &mut self.state {
            State::Backoff { until } if now >= *until => self.start(context, out),
            State::Stopping { live, stop } => match &mut stop.phase {
                Phase::Polite { kill_at: Some(at) } if now >= *at => {
                    kill_leader(context, live.pid, stop, KillReason::KillTimeout, out);
                }
                Phase::Killed { tell_at: Some(at) } if now >= *at => {
                    stop.phase = Phase::Killed { tell_at: None };
                    let found = vec![Process { pid: live.pid, name: context.instance.name.to_string() }];
                    out.push(Action::Tell(Notice::Unkillable { name: name(context), found }));
                }
                Phase::Polite { .. } | Phase::Killed { .. } => {}
            },
            State::Cleaning(cleaning) => match cleaning.kill {
                Kill::At(Some(at)) if now >= at => self.kill_remains(context, out),
                Kill::Since(since) if now >= since + UNKILLABLE_AFTER => self.give_up(context, out),
                Kill::At(_) | Kill::Since(_) if now >= cleaning.look_at => self.look(context, out),
                Kill::At(_) | Kill::Since(_) => {}
            },
            State::Backoff { .. }
            | State::Waiting
            | State::Launching { .. }
            | State::Starting(_)
            | State::Up(_)
            | State::Down
            | State::Completed
            | State::Failed => {}
        }
    }

    fn kill_remains(&mut self, context: Context, out: &mut Vec<Action>) {
        let State::Cleaning(cleaning) = &mut self.state else { return };
        cleaning.kill = Kill::Since(context.now);
        if let Some(command) = cleaning.command {
            signal_group(command.pid, Signal::KILL, out);
        }
        self.look(context, out);
    }

    /// Orders a look at the remains. Who was born since the last one is asked to end like the others before; once they were sent
    /// SIGKILL, whoever is found gets it, again and again.
    fn look(&mut self, context: Context, out: &mut Vec<Action>) {
        let child = self.main_child();
        let State::Cleaning(cleaning) = &mut self.state else { return };
        cleaning.look_at = context.now + LOOK_INTERVAL;
        let (signal, spare) = match cleaning.kill {
            // Those that the last look found were asked by it.
            Kill::At(_) => (Signal::TERM, cleaning.members.iter().map(|member| member.pid).collect()),
            Kill::Since(_) => (Signal::KILL, Vec::new()),
        };
        match sweep(child, context.instance, cleaning.leader, signal, spare) {
            Some(action) => out.push(action),
            None if cleaning.command.is_none() => {
                if let State::Cleaning(cleaning) = std::mem::replace(&mut self.state, State::Down) {
                    self.finish(context, cleaning, out);
                }
            }
            None => {}
        }
    }

    fn give_up(&mut self, context: Context, out: &mut Vec<Action>) {
        if let State::Cleaning(cleaning) = std::mem::replace(&mut self.state, State::Down) {
            let command =
                cleaning.command.map(|command| Process { pid: command.pid, name: "stop_command".to_owned() });
            let found = cleaning.members.iter().cloned().chain(command).collect();
            out.push(Action::Tell(Notice::Unkillable { name: name(context), found }));
            self.finish(context, cleaning, out);
        }
    }

    /// Nothing of the run is left.
    fn finish(&mut self, context: Context, cleaning: Cleaning, out: &mut Vec<Action>) {
        match cleaning.asked {
            None => self.judge(context, cleaning.ended, out),
            Some(_) => self.conclude(context, cleaning.ended, Next::Down, out),
        }
    }

    fn judge(&mut self, context: Context, ended: Ended, out: &mut Vec<Action>) {
        let next = if context.stopping {
            Next::Down
        } else {
            self.budget.judge(context.instance, context.now, &ended.cause, ended.uptime)
        };
        self.conclude(context, ended, next, out);
    }

    fn conclude(&mut self, context: Context, ended: Ended, next: Next, out: &mut Vec<Action>) {
        // A command's end is the container's; there is nothing to judge.
        let passed_on = context.instance.kind == Kind::Command && !context.stopping;
        let next = if passed_on { Next::Ends } else { next };
        let state = match next {
            Next::Restart { delay, .. } => State::Backoff { until: context.now + delay },
            Next::Completed => State::Completed,
            Next::Failed { .. } => State::Failed,
            Next::Down => State::Down,
            Next::Ends if ended.cause.success() => State::Completed,
            Next::Ends => State::Failed,
        };
        let ended = Ended { over: context.now, ..ended };
        let (cause, uptime) = (ended.cause.clone(), ended.uptime);
        out.push(Action::Tell(Notice::Ended { name: name(context), cause, uptime, next }));
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(ended);
        self.state = state;
    }

    fn main_child(&self) -> Child {
        Child { instance: self.id, run: self.runs, role: Role::Main }
    }

    fn spawn(
        &self,
        role: Role,
        launch: &Rc<crate::event::Launch>,
        extra_env: Vec<(&'static str, String)>,
    ) -> Action {
        let child = Child { role, ..self.main_child() };
        Action::Spawn { child, launch: Rc::clone(launch), extra_env }
    }
}

fn name(context: Context) -> Rc<str> {
    Rc::clone(&context.instance.name)
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn kill_at(context: Context) -> Option<Time> {
    earlier(context.instance.stop.kill_timeout.map(|timeout| context.now + timeout), context.limit)
}

/// The stop signal, and SIGCONT so that a stopped process acts on it. Returns the signal.
fn ask(instance: &Instance, leader: Pid, out: &mut Vec<Action>) -> Signal {
    let signal = instance.stop.signal;
    match instance.stop.mode {
        KillMode::Mixed | KillMode::Process => {
            out.push(Action::Signal { pid: leader, signal });
            out.push(Action::Signal { pid: leader, signal: Signal::CONT });
        }
        KillMode::Group => signal_group(leader, signal, out),
    }
    signal
}

fn signal_group(leader: Pid, signal: Signal, out: &mut Vec<Action>) {
    out.push(Action::SignalGroup { leader, signal });
    if signal != Signal::KILL {
        out.push(Action::SignalGroup { leader, signal: Signal::CONT });
    }
}

fn kill_leader(context: Context, leader: Pid, stop: &mut Stopping, why: KillReason, out: &mut Vec<Action>) {
    let signal = stop.signal;
    let hint = program(context.instance).and_then(hints::stop_signal);
    let after = context.now.since(stop.asked);
    out.push(Action::Tell(Notice::Killing { name: name(context), signal, after, why, hint }));
    match context.instance.stop.mode {
        KillMode::Mixed | KillMode::Group => out.push(Action::SignalGroup { leader, signal: Signal::KILL }),
        KillMode::Process => {}
    }
    // The leader may have moved to another group.
    out.push(Action::Signal { pid: leader, signal: Signal::KILL });
    if let Some(command) = stop.command {
        signal_group(command.pid, Signal::KILL, out);
    }
    stop.phase = Phase::Killed { tell_at: Some(context.now + UNKILLABLE_AFTER) };
}

/// A look at what a run left behind; `None` where that is nobody's business.
fn sweep(child: Child, instance: &Instance, leader: Pid, signal: Signal, spare: Vec<Pid>) -> Option<Action> {
    let mark: &Mark = instance.launch.mark.as_ref()?;
    match instance.stop.mode {
        KillMode::Mixed | KillMode::Group => {
            Some(Action::Sweep { child, leader, mark: mark.clone(), signal, spare })
        }
        KillMode::Process => None,
    }
}

fn remedy_if_daemonized(instance: &Instance, ended: &Ended) -> Option<&'static str> {
    let daemonized =
        instance.kind == Kind::Daemon && ended.cause.success() && ended.uptime < DAEMONIZES_WITHIN;
    let general = "Run it in the foreground; most programs have an option for that";
    daemonized.then(|| program(instance).and_then(hints::foreground).unwrap_or(general))
}

/// The base name of the program, as the configuration shows it.
fn program(instance: &Instance) -> Option<&str> {
    let first = instance.launch.shown.split_ascii_whitespace().next()?;
    Path::new(first.trim_matches(['"', '\''])).file_name()?.to_str()
}
