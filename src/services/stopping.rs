//! How a run ends: it is asked, waited for, and killed; and what it left behind is stopped the same way before anything else
//! may follow.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::event::{Action, Child, ExitStatus, Mark, Pid, Process, Role, Time, order, tell};
use crate::gather::Gather;
use crate::hints;
use crate::notice::{Cause, KillReason, Next, Notice};
use crate::plan::{Instance, KillMode, Kind};
use crate::units::Signal;

use super::restart::Budget;
use super::{Context, Ended, Live, Service, State, kill_at, name, signal_group};

/// How long after SIGKILL a process counts as one that cannot be ended.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);
/// How often remains are looked at again although nothing was heard of them.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon after one of several remains has ended they are looked at again; not at each, there may be thousands.
const LOOK_SOON: Duration = Duration::from_millis(10);
/// An exit with code 0 this soon, with processes left behind, means that the service put itself into the background.
const DAEMONIZES_WITHIN: Duration = Duration::from_secs(5);

/// What follows when nothing of a run is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The budget decides.
    Judge,
    /// It stays down.
    Down,
    /// It starts again when this one is there again, which it depends on.
    With(Rc<str>),
    /// It starts again, as a person has asked.
    Again,
}

/// A stop that the leader has not yet answered by ending.
#[derive(Debug)]
pub struct Stopping {
    asked: Time,
    goal: Goal,
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

/// A run on its way out: asked to end, or what it left behind.
pub(super) enum Ending<'a> {
    Stop(&'a Stopping),
    Cleaning(&'a Cleaning),
}

/// The remains of a run.
#[derive(Debug)]
pub struct Cleaning {
    leader: Pid,
    pub(super) ended: Ended,
    goal: Goal,
    /// When its stop was asked for; what it leaves behind then is no news.
    asked: Option<Time>,
    /// Those seen at the last look that have not ended since.
    members: Vec<Process>,
    /// What we started for the run and that outlives it.
    helpers: Vec<Helper>,
    told: Told,
    look_at: Time,
    kill: Kill,
}

/// A process that we started beside the leader of a run. The run is not over before it has ended.
#[derive(Clone, Copy, Debug)]
pub enum Helper {
    StopCommand(Pid),
    /// A test that nobody wants the answer of; it was sent SIGKILL.
    Test(Pid),
}

impl Helper {
    pub fn pid(self) -> Pid {
        match self {
            Self::StopCommand(pid) | Self::Test(pid) => pid,
        }
    }

    /// Whether the run is not over before it has ended. What only asked does not hold up the stop of the container.
    fn is_waited_for(self, context: &Context) -> bool {
        match self {
            Self::StopCommand(_) => true,
            Self::Test(_) => !context.stopping,
        }
    }

    /// As it is told when it cannot be ended.
    fn shown(self) -> Process {
        let name = match self {
            Self::StopCommand(_) => "stop_command",
            Self::Test(_) => "test",
        };
        Process { pid: self.pid(), name: name.to_owned() }
    }
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

impl Stopping {
    fn new(context: &Context, goal: Goal, signal: Option<Signal>) -> Box<Self> {
        let phase = Phase::Polite { kill_at: kill_at(context) };
        Box::new(Self { asked: context.now, goal, signal, phase, command: None })
    }

    /// When SIGKILL comes.
    pub fn kill_at(&self) -> Option<Time> {
        match self.phase {
            Phase::Polite { kill_at } => kill_at,
            Phase::Killed { .. } => None,
        }
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Polite { kill_at } => kill_at,
            Phase::Killed { tell_at } => tell_at,
        }
    }

    /// Whether SIGKILL was sent.
    pub fn killed(&self) -> bool {
        matches!(self.phase, Phase::Killed { .. })
    }

    /// It said that it needs until then.
    pub fn extend(&mut self, context: &Context, until: Time) {
        if let Phase::Polite { kill_at: Some(at) } = &mut self.phase {
            *at = Time::earlier(Some((*at).max(until)), context.limit).unwrap_or(*at);
        }
    }
}

impl Cleaning {
    /// There is something to wait for: unless that is known already, SIGKILL comes after `kill_timeout`.
    fn limit(&mut self, context: &Context) {
        if let Kill::At(None) = self.kill {
            self.kill = Kill::At(kill_at(context));
        }
    }

    /// When SIGKILL comes.
    pub fn kill_at(&self) -> Option<Time> {
        match self.kill {
            Kill::At(at) => at,
            Kill::Since(_) => None,
        }
    }

    /// Whether SIGKILL was sent.
    pub fn killed(&self) -> bool {
        matches!(self.kill, Kill::Since(_))
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Time> {
        Time::earlier(self.kill_at(), Some(self.look_at))
    }

    /// Whether something that we started has not ended yet.
    fn helped(&self, context: &Context) -> bool {
        self.helpers.iter().any(|helper| helper.is_waited_for(context))
    }
}

impl Service {
    /// Asks it to stop; it will be [`State::Down`] unless it was done or failed before.
    pub fn stop(&mut self, context: &Context, out: &mut Vec<Action>) {
        if let Some(live) = self.take_running() {
            return self.ask_to_stop(context, live, Goal::Down, out);
        }
        match &mut self.state {
            State::Waiting | State::Backoff { .. } => self.state = State::Down,
            State::Stopping { stop, .. } => {
                stop.goal = Goal::Down;
                if let Phase::Polite { kill_at } = &mut stop.phase {
                    *kill_at = Time::earlier(*kill_at, context.limit);
                }
            }
            State::Cleaning(cleaning) => {
                cleaning.goal = Goal::Down;
                cleaning.asked.get_or_insert(context.now);
                if let Kill::At(at) = &mut cleaning.kill {
                    *at = Time::earlier(*at, context.limit);
                }
                if cleaning.members.is_empty() && !cleaning.helped(context) {
                    cleaning.look_at = context.now; // what is left was only waited for before a restart
                }
            }
            // The answer to an order comes before any other event; a start cannot be half ordered here.
            State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// What it depends on is started again, and so shall it be: it is stopped and waits for it. Costs nothing of its budget.
    #[inline(never)]
    pub fn restart_with(&mut self, context: &Context, on: &Rc<str>, out: &mut Vec<Action>) {
        if let State::Backoff { .. } = self.state {
            self.state = State::Waiting;
        } else if let Some(live) = self.take_running() {
            tell(out, Notice::RestartsWith { name: name(context), on: Rc::clone(on) });
            self.ask_to_stop(context, live, Goal::With(Rc::clone(on)), out);
        }
    }

    /// A person wants it to run, with a fresh budget. One that is being stopped starts again after that.
    pub fn start_by_hand(&mut self) {
        self.budget = Budget::default();
        match &mut self.state {
            State::Backoff { .. } | State::Down | State::Completed | State::Failed { .. } => {
                self.state = State::Waiting;
            }
            State::Stopping { stop, .. } => stop.goal = Goal::Again,
            State::Cleaning(cleaning) => cleaning.goal = Goal::Again,
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..) => {}
        }
    }

    /// It is to run again after the end that it is coming to, whatever was to follow that before.
    pub fn go_on_after_end(&mut self) {
        match &mut self.state {
            State::Stopping { stop, .. } => stop.goal = Goal::Again,
            State::Cleaning(cleaning) => cleaning.goal = Goal::Again,
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// A person wants it to run anew, with a fresh budget.
    pub fn restart_by_hand(&mut self, context: &Context, out: &mut Vec<Action>) {
        self.start_by_hand();
        if let Some(live) = self.take_running() {
            self.ask_to_stop(context, live, Goal::Again, out);
        }
    }

    pub(super) fn ask_to_stop(
        &mut self,
        context: &Context,
        mut live: Box<Live>,
        goal: Goal,
        out: &mut Vec<Action>,
    ) {
        self.call_off(&mut live, out);
        let late = context.limit.is_some_and(|limit| context.now >= limit);
        let signal = match &context.instance.stop.command {
            Some(launch) if live.executed && !late => {
                out.push(self.spawn(Role::StopCommand, launch, vec![("MAINPID", live.pid.to_string())]));
                None
            }
            Some(_) | None => Some(ask(context.instance, live.pid, out)),
        };
        self.state = State::Stopping { live, stop: Stopping::new(context, goal, signal) };
    }

    /// It has fallen silent: SIGABRT, so that it leaves a core dump where that is wanted.
    pub(super) fn abort(&mut self, context: &Context, mut live: Box<Live>, out: &mut Vec<Action>) {
        self.call_off(&mut live, out);
        order(out, Action::Signal { pid: live.pid, signal: Signal::ABRT });
        order(out, Action::Signal { pid: live.pid, signal: Signal::CONT });
        self.state = State::Stopping { live, stop: Stopping::new(context, Goal::Judge, Some(Signal::ABRT)) };
    }

    /// A forwarded signal asks it to end: SIGKILL follows after `kill_timeout`.
    pub fn asked_by_signal(&mut self, context: &Context) {
        if let Some(live) = self.take_running() {
            // Its end is the container's, with its code, whoever asked for it.
            let stop = Stopping::new(context, Goal::Judge, Some(Signal::TERM));
            self.state = State::Stopping { live, stop };
        }
    }

    /// The run of a program that was not asked to end, if there is one. Who takes it puts the service into another state.
    #[inline(never)]
    pub(super) fn take_running(&mut self) -> Option<Box<Live>> {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Starting(live, _) | State::Up(live, _) | State::Ready(live, _) => return Some(live),
            other @ (State::Waiting
            | State::Launching { .. }
            | State::Stopping { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. }) => self.state = other,
        }
        None
    }

    /// Whether an end of its leader by SIGKILL would be none of our doing.
    pub fn may_be_killed_by_others(&self) -> bool {
        match &self.state {
            State::Starting(live, _) | State::Up(live, _) | State::Ready(live, _) => !live.kill_sent,
            State::Stopping { live, stop } => {
                !live.kill_sent && !stop.killed() && stop.signal != Some(Signal::KILL)
            }
            State::Waiting
            | State::Launching { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => false,
        }
    }

    /// The kernel's OOM killer ended its leader, which will be reported.
    pub fn killed_for_memory(&mut self, cause: Cause) {
        if let Some(live) = self.live() {
            live.out_of_memory = Some(cause);
        }
    }

    /// A client has sent it SIGKILL through us.
    pub fn kill_sent(&mut self) {
        if let Some(live) = self.live() {
            live.kill_sent = true;
        }
    }

    /// Whether we sent SIGKILL to something of the run that was not over before `since`.
    pub fn killed_since(&self, since: Time) -> bool {
        match &self.state {
            State::Stopping { stop, .. } => stop.killed(),
            State::Cleaning(cleaning) => cleaning.ended.killed,
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {
                self.history.last().is_some_and(|last| last.killed && last.over >= since)
            }
        }
    }

    /// When it was asked to end, if it is on its way out by that.
    pub fn asked(&self) -> Option<Time> {
        match self.way_out()? {
            Ending::Stop(stop) => Some(stop.asked),
            Ending::Cleaning(cleaning) => cleaning.asked,
        }
    }

    /// Whether its last run was over after that, and not without our doing.
    pub fn stopped_since(&self, since: Time) -> bool {
        self.history().last().is_some_and(|last| last.over > since && (last.asked || last.killed))
    }

    /// Ends it without further grace.
    #[inline(never)]
    pub fn kill(&mut self, context: &Context, why: KillReason, out: &mut Vec<Action>) {
        if let Some(mut live) = self.take_running() {
            self.call_off(&mut live, out);
            let stop = Stopping::new(context, Goal::Down, None);
            self.state = State::Stopping { live, stop };
        }
        match &mut self.state {
            State::Waiting | State::Backoff { .. } => self.state = State::Down,
            State::Stopping { live, stop } => {
                stop.goal = Goal::Down;
                if !stop.killed() {
                    kill_leader(context, live.pid, stop, why, out);
                }
            }
            State::Cleaning(cleaning) => {
                cleaning.goal = Goal::Down;
                cleaning.asked.get_or_insert(context.now);
                if matches!(cleaning.kill, Kill::At(_)) {
                    self.kill_remains(context, out);
                }
            }
            State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    /// Does what is due by now about a run that ends.
    #[inline(never)]
    pub(super) fn tick_end(&mut self, context: &Context, out: &mut Vec<Action>) {
        let now = context.now;
        match &mut self.state {
            State::Stopping { live, stop } => match &mut stop.phase {
                Phase::Polite { kill_at: Some(at) } if now >= *at => {
                    kill_leader(context, live.pid, stop, KillReason::KillTimeout, out);
                }
                Phase::Killed { tell_at: Some(at) } if now >= *at => {
                    stop.phase = Phase::Killed { tell_at: None };
                    let found = vec![Process { pid: live.pid, name: context.instance.name.to_string() }];
                    tell(out, Notice::Unkillable { name: name(context), found });
                }
                Phase::Polite { .. } | Phase::Killed { .. } => {}
            },
            State::Cleaning(cleaning) => match cleaning.kill {
                Kill::At(Some(at)) if now >= at => self.kill_remains(context, out),
                Kill::Since(since) if now >= since + UNKILLABLE_AFTER => self.give_up(context, out),
                Kill::At(_) | Kill::Since(_) if now >= cleaning.look_at => self.look(context, out),
                Kill::At(_) | Kill::Since(_) => {}
            },
            State::Waiting
            | State::Launching { .. }
            | State::Starting(..)
            | State::Up(..)
            | State::Ready(..)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. } => {}
        }
    }

    #[inline(never)]
    pub(super) fn leader_exited(
        &mut self,
        context: &Context,
        pid: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) {
        let mut unready = false;
        let (mut live, stop) = match std::mem::replace(&mut self.state, State::Down) {
            State::Starting(live, _) | State::Ready(live, _) => (live, None),
            State::Up(live, awaited) => {
                unready = awaited.to_be_ready();
                (live, None)
            }
            State::Stopping { live, stop } => (live, Some(stop)),
            other @ (State::Waiting
            | State::Launching { .. }
            | State::Cleaning(_)
            | State::Backoff { .. }
            | State::Down
            | State::Completed
            | State::Failed { .. }) => {
                self.state = other; // these have no leader
                return;
            }
        };
        self.call_off(&mut live, out);
        let uptime = context.now.since(live.since);
        let (cause, well) = match (live.failed, live.error) {
            (failed, _) if live.out_of_memory.is_some() => {
                let well = failed.map_or(uptime, |(_, well)| well);
                (live.out_of_memory.unwrap_or(Cause::Exit(status)), well)
            }
            (Some((cause, well)), _) => (cause, well),
            (None, Some(error)) => (Cause::Start(error), uptime),
            (None, None) if unready => (Cause::Unready(status), uptime),
            (None, None) => (Cause::Exit(status), uptime),
        };
        let mut ended = Ended::new(context.now, live.since, cause);
        ended.well = well;
        ended.killed = stop.as_deref().is_some_and(Stopping::killed);
        ended.asked = stop.as_ref().is_some_and(|stop| stop.goal != Goal::Judge);
        let mut helpers = live.helpers;
        let (goal, asked, kill) = match stop {
            // When SIGKILL comes is set when something is found.
            None => (Goal::Judge, None, Kill::At(None)),
            Some(stop) => {
                let kill = match stop.phase {
                    Phase::Polite { kill_at } => Kill::At(kill_at),
                    Phase::Killed { .. } => Kill::Since(context.now),
                };
                if let Some(StopCommand { pid, .. }) = stop.command {
                    let killed = matches!(kill, Kill::Since(_));
                    signal_group(pid, if killed { Signal::KILL } else { Signal::TERM }, out);
                    helpers.push(Helper::StopCommand(pid));
                }
                (stop.goal, Some(stop.asked), kill)
            }
        };
        let signal = match kill {
            Kill::At(_) => Signal::TERM,
            Kill::Since(_) => Signal::KILL,
        };
        let mut cleaning = Box::new(Cleaning {
            leader: pid,
            ended,
            goal,
            asked,
            members: Vec::new(),
            helpers,
            told: Told::Nothing,
            look_at: context.now + LOOK_INTERVAL,
            kill,
        });
        match sweep(self.main_child(), context.instance, pid, signal, Vec::new()) {
            Some(action) => {
                out.push(action);
                self.state = State::Cleaning(cleaning);
            }
            None if !cleaning.helped(context) => self.finish(context, cleaning, out),
            None => {
                // No look will find them: what was started beside it has as long as remains have.
                cleaning.limit(context);
                self.state = State::Cleaning(cleaning);
            }
        }
    }

    pub(super) fn stop_command_spawned(&mut self, spawned: Pid) {
        if let State::Stopping { stop, .. } = &mut self.state {
            stop.command = Some(StopCommand { pid: spawned, failed: false });
        }
    }

    pub(super) fn stop_command_exited(
        &mut self,
        context: &Context,
        pid: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) {
        if let State::Stopping { stop, .. } = &mut self.state {
            let told = stop.command.take().is_none_or(|command| command.failed);
            if !told && !status.success() {
                self.stop_command_failed(context, Cause::Exit(status), out);
            }
        } else {
            self.helper_exited(context, pid, out);
        }
    }

    /// Something that we started beside the leader has ended.
    pub(super) fn helper_exited(&mut self, context: &Context, pid: Pid, out: &mut Vec<Action>) {
        if let Some(live) = self.live() {
            live.helpers.retain(|helper| helper.pid() != pid);
        } else if let State::Cleaning(cleaning) = &mut self.state {
            cleaning.helpers.retain(|helper| helper.pid() != pid);
            if cleaning.members.is_empty() && !cleaning.helped(context) {
                self.look(context, out);
            }
        }
    }

    pub(super) fn stop_command_failed(&mut self, context: &Context, cause: Cause, out: &mut Vec<Action>) {
        if let State::Stopping { live, stop } = &mut self.state {
            if let (Cause::Start(_), Some(command)) = (&cause, &mut stop.command) {
                command.failed = true;
            }
            if let Phase::Polite { .. } = stop.phase {
                tell(out, Notice::StopCommandFailed { name: name(context), cause });
                stop.signal = Some(ask(context.instance, live.pid, out));
            }
        }
    }

    /// A process that is nobody's has ended: perhaps one of the remains we wait for.
    pub fn stranger_exited(&mut self, context: &Context, pid: Pid, out: &mut Vec<Action>) {
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
    #[inline(never)]
    pub fn swept(&mut self, context: &Context, run: u32, found: Vec<Process>, out: &mut Vec<Action>) {
        if run != self.runs || !matches!(self.state, State::Cleaning(_)) {
            return;
        }
        let State::Cleaning(mut cleaning) = std::mem::replace(&mut self.state, State::Down) else { return };
        cleaning.members.clone_from(&found);
        if found.is_empty() && !cleaning.helped(context) {
            return self.finish(context, cleaning, out);
        }
        cleaning.limit(context);
        let killed = matches!(cleaning.kill, Kill::Since(_));
        match cleaning.told {
            Told::Nothing | Told::Found if killed && !found.is_empty() => {
                cleaning.told = Told::Killed;
                cleaning.ended.killed = true;
                tell(out, Notice::LeftoversKilled { name: name(context), found });
            }
            Told::Nothing if !found.is_empty() => {
                cleaning.told = Told::Found;
                // A shell that dies of the stop signal before its children is everyday business, not news.
                if cleaning.asked.is_none() {
                    let daemonized = remedy_if_daemonized(context.instance, &cleaning.ended);
                    cleaning.ended.remedy = daemonized;
                    tell(out, Notice::Leftovers { name: name(context), found, daemonized });
                }
            }
            Told::Nothing | Told::Found | Told::Killed => {}
        }
        self.state = State::Cleaning(cleaning);
    }

    fn kill_remains(&mut self, context: &Context, out: &mut Vec<Action>) {
        let State::Cleaning(cleaning) = &mut self.state else { return };
        cleaning.kill = Kill::Since(context.now);
        for helper in &cleaning.helpers {
            signal_group(helper.pid(), Signal::KILL, out);
        }
        self.look(context, out);
    }

    /// Orders a look at the remains. Who was born since the last one is asked to end like the others before; once they were sent
    /// SIGKILL, whoever is found gets it, again and again.
    fn look(&mut self, context: &Context, out: &mut Vec<Action>) {
        let child = self.main_child();
        let State::Cleaning(cleaning) = &mut self.state else { return };
        cleaning.look_at = context.now + LOOK_INTERVAL;
        let (signal, spare) = match cleaning.kill {
            // Those that the last look found were asked by it.
            Kill::At(_) => (Signal::TERM, cleaning.members.iter().map(|member| member.pid).gather()),
            Kill::Since(_) => (Signal::KILL, Vec::new()),
        };
        match sweep(child, context.instance, cleaning.leader, signal, spare) {
            Some(action) => out.push(action),
            None if !cleaning.helped(context) => {
                if let State::Cleaning(cleaning) = std::mem::replace(&mut self.state, State::Down) {
                    self.finish(context, cleaning, out);
                }
            }
            None => {}
        }
    }

    fn give_up(&mut self, context: &Context, out: &mut Vec<Action>) {
        if let State::Cleaning(cleaning) = std::mem::replace(&mut self.state, State::Down) {
            let mut found = cleaning.members.clone();
            cleaning.helpers.iter().map(|helper| helper.shown()).add_to(&mut found);
            tell(out, Notice::Unkillable { name: name(context), found });
            self.finish(context, cleaning, out);
        }
    }

    /// Nothing of the run is left.
    fn finish(&mut self, context: &Context, cleaning: Box<Cleaning>, out: &mut Vec<Action>) {
        match cleaning.goal {
            Goal::Judge => self.judge(context, cleaning.ended, out),
            Goal::With(on) if !context.stopping => self.wait_again(context, cleaning.ended, on, out),
            Goal::Again if !context.stopping => {
                // By way of a restart that is due now, so that those see it who are restarted with it.
                let state = State::Backoff { until: context.now };
                self.conclude(context, cleaning.ended, Next::Again, state, out);
            }
            Goal::Down | Goal::With(_) | Goal::Again => self.down(context, cleaning.ended, out),
        }
    }
}

/// The stop signal, and SIGCONT so that a stopped process acts on it. Returns the signal.
fn ask(instance: &Instance, leader: Pid, out: &mut Vec<Action>) -> Signal {
    let signal = instance.stop.signal;
    match instance.stop.mode {
        KillMode::Mixed | KillMode::Process => {
            order(out, Action::Signal { pid: leader, signal });
            order(out, Action::Signal { pid: leader, signal: Signal::CONT });
        }
        KillMode::Group => signal_group(leader, signal, out),
    }
    signal
}

fn kill_leader(context: &Context, leader: Pid, stop: &mut Stopping, why: KillReason, out: &mut Vec<Action>) {
    let signal = stop.signal;
    // What is known is about SIGTERM.
    let asked = program(context.instance).filter(|_| signal == Some(Signal::TERM));
    let hint = asked.and_then(hints::stop_signal);
    let after = context.now.since(stop.asked);
    tell(out, Notice::Killing { name: name(context), signal, after, why, hint });
    match context.instance.stop.mode {
        KillMode::Mixed | KillMode::Group => order(out, Action::SignalGroup { leader, signal: Signal::KILL }),
        KillMode::Process => {}
    }
    // The leader may have moved to another group.
    order(out, Action::Signal { pid: leader, signal: Signal::KILL });
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
    let clean = matches!(ended.cause, Cause::Exit(status) | Cause::Unready(status) if status.success());
    let daemonized = instance.kind == Kind::Daemon && clean && ended.uptime < DAEMONIZES_WITHIN;
    let general = "Run it in the foreground; most programs have an option for that";
    daemonized.then(|| program(instance).and_then(hints::foreground).unwrap_or(general))
}

/// The base name of the program, as the configuration shows it.
fn program(instance: &Instance) -> Option<&str> {
    let first = instance.launch.shown.split_ascii_whitespace().next()?;
    Path::new(first.trim_matches(['"', '\''])).file_name()?.to_str()
}
