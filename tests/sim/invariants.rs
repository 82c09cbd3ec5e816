//! The judge: sees every event and every action, knows the truth of the world and the plan, and holds the core to what
//! it promises. Decides nothing by the core's code; where the core may choose, the judge accepts each choice.

use std::rc::Rc;
use std::time::Duration;

use tinysup::event::{Action, Child, Event, ExitCode, InstanceId, Pid, Role, Time};
use tinysup::notice::{Cause, KillReason, Next, Notice, StopReason};
use tinysup::plan::{Condition, Instance, KillMode, Kind, Mode, OnFailure, OnSuccess, Plan};
use tinysup::units::Signal;

use crate::budget::{self, Budget};
use crate::output::Outputs;
use crate::violation;
use crate::world::World;

/// What a stop may take beyond `shutdown_timeout`: collecting the killed, twice (services, then strays).
const STOP_SLACK: Duration = Duration::from_millis(1200);
/// The grace of processes that belong to no service.
const STRAY_GRACE: Duration = Duration::from_secs(1);
/// SIGKILL has not worked after this long.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);
/// How often remains that nobody reports are looked at, and processes of no service; with room for a few actions.
const LOOK_INTERVAL: Duration = Duration::from_millis(1050);
const STRAY_LOOK: Duration = Duration::from_millis(60);
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Ticks in a row that may leave a deadline in the past.
const SPINS_MAX: u32 = 2;

/// What the core can know of one instance from the events it was given, and what it said of it.
#[derive(Debug, Default)]
struct Life {
    /// Runs ordered; the number of the present one.
    run: u32,
    ordered: Option<Time>,
    /// Runs whose end was told.
    told: u32,
    pid: Option<Pid>,
    up: bool,
    ever_up: bool,
    /// When the core was told that the leader of the present run is gone.
    ended: Option<Time>,
    /// The stop_command that runs.
    command: Option<Pid>,
    budget: Budget,
    decided: Option<(Time, Next)>,
    cause: Option<Cause>,
    completed: bool,
    failed: bool,
    cannot_start: bool,
    asked: Option<Time>,
    /// The first SIGKILL to the present run.
    killed: Option<Time>,
    /// The first SIGKILL to its stop_command.
    command_killed: Option<Time>,
    /// A look at what is left was ordered with SIGKILL; the answer says whether that met somebody.
    sweeps_to_kill: bool,
    /// Processes that the core said it cannot end.
    unkillable: bool,
}

impl Life {
    /// Something of it runs, as far as the core knows.
    fn active(&self) -> bool {
        self.run > self.told
    }

    fn restart_due(&self) -> Option<Time> {
        match &self.decided {
            Some((at, Next::Restart { delay, .. })) if !self.active() => Some(*at + *delay),
            _ => None,
        }
    }
}

struct Stop {
    reason: StopReason,
    since: Time,
    delayed: Duration,
    strays_since: Option<Time>,
    /// When it was last told who is still there.
    told: Time,
}

#[derive(Default)]
struct Step {
    now: Option<Time>,
    signal: Option<Signal>,
    exited: Option<Pid>,
    tick: bool,
    /// Signals sent in this step, in order: the receiver, whether to its group, the signal.
    sent: Vec<(Pid, bool, Signal)>,
    released: u32,
    swept: bool,
    /// Who is said to get SIGKILL.
    killing: Vec<InstanceId>,
    leftovers_killed: Option<InstanceId>,
    /// The leader whose end this step was told.
    leader: Option<InstanceId>,
}

pub struct Judge {
    plan: Rc<Plan>,
    lives: Vec<Life>,
    stop: Option<Stop>,
    interrupts: u32,
    step: Step,
    spins: u32,
    all_up: bool,
    left: bool,
    stopped_told: bool,
    code_told: Option<u8>,
    outputs: Outputs,
}

impl Judge {
    pub fn new(plan: Rc<Plan>) -> Self {
        Self {
            lives: plan.instances.iter().map(|_| Life::default()).collect(),
            outputs: Outputs::new(plan.clone()),
            plan,
            stop: None,
            interrupts: 0,
            step: Step::default(),
            spins: 0,
            all_up: false,
            left: false,
            stopped_told: false,
            code_told: None,
        }
    }

    fn plan_of(&self, id: InstanceId) -> &Instance {
        &self.plan.instances[id.0 as usize]
    }

    fn life(&mut self, id: InstanceId) -> &mut Life {
        &mut self.lives[id.0 as usize]
    }

    fn by_name(&self, name: &str) -> InstanceId {
        match self.plan.ids().find(|id| *self.plan_of(*id).name == *name) {
            Some(id) => id,
            None => violation!("a notice of \"{name}\", which is not in the plan"),
        }
    }

    fn command_mode(&self) -> bool {
        self.plan.mode != Mode::Services
    }

    /// TERM and INT always end a container of services, QUIT and RTMIN+3 unless they are routed elsewhere.
    fn ends_container(&self, signal: Signal) -> bool {
        let always = matches!(signal, Signal::TERM | Signal::INT);
        let usually = matches!(signal, Signal::QUIT | Signal::RTMIN_3);
        !self.command_mode() && (always || usually && !self.plan.routes.contains_key(&signal))
    }

    // Before a step.

    pub fn event(&mut self, world: &mut World, now: Time, event: &Event) {
        self.step = Step { now: Some(now), tick: matches!(event, Event::Tick), ..Step::default() };
        self.outputs.event(event);
        match event {
            Event::Signal(signal) => {
                self.step.signal = Some(*signal);
                self.interrupts += u32::from(*signal == Signal::INT && self.ends_container(*signal));
                if self.interrupts == 2 && *signal == Signal::INT {
                    world.count("second SIGINT");
                }
            }
            Event::Spawned { child, pid } => match child.role {
                Role::Main => self.life(child.instance).pid = Some(*pid),
                Role::StopCommand => self.life(child.instance).command = Some(*pid),
            },
            Event::SpawnFailed { child, .. } if child.role == Role::Main => {
                self.life(child.instance).ended = Some(now);
            }
            Event::Executed { child } if child.role == Role::Main => {
                let life = self.life(child.instance);
                life.up = true;
                life.ever_up = true;
            }
            Event::Swept { child, found } => {
                let kills = std::mem::take(&mut self.life(child.instance).sweeps_to_kill);
                if kills && !found.is_empty() {
                    world.count("leftovers killed");
                    self.life(child.instance).killed.get_or_insert(now);
                }
            }
            Event::Exited { pid, .. } => {
                self.step.exited = Some(*pid);
                match world.leader(*pid).and_then(|proc| proc.owner) {
                    Some(Child { instance, role: Role::Main, .. }) => {
                        self.step.leader = Some(instance);
                        let life = self.life(instance);
                        life.up = false;
                        life.ended = Some(now);
                    }
                    Some(Child { instance, role: Role::StopCommand, .. }) => {
                        self.life(instance).command = None
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    // Each action of a step, before it is carried out.

    pub fn action(&mut self, world: &mut World, action: &Action) {
        if self.left {
            violation!("an action after the last: {action:?}");
        }
        if self.stopped_told && matches!(action, Action::Tell(_) | Action::Write { .. }) {
            violation!("the last words are not the last: {action:?}");
        }
        match action {
            Action::Spawn { child, .. } => self.spawn(world, *child),
            Action::Signal { pid, signal } => self.signal(world, *pid, false, *signal),
            Action::SignalGroup { leader, signal } => self.signal(world, *leader, true, *signal),
            Action::Release { pid } => {
                self.step.released += 1;
                if self.step.exited != Some(*pid) {
                    violation!("{pid:?} is released in a step that was not told of its end");
                }
            }
            Action::Sweep { child, leader, signal, .. } => {
                if self.step.exited == Some(*leader) && self.step.released > 0 {
                    violation!(
                        "{leader:?} is released before what it left is looked for: its group may be another's"
                    );
                }
                self.sweep(world, *child, *signal);
            }
            Action::SweepStrays { signal } => self.sweep_strays(world, *signal),
            Action::Write { sink, bytes } => {
                if bytes.is_empty() {
                    violation!("an empty write");
                }
                self.outputs.write(*sink, bytes);
            }
            Action::Tell(notice) => self.notice(world, notice),
            Action::Exit(code) => self.exit(world, *code),
            Action::FindListener { .. } | Action::Drain | Action::TerminationLog { .. } => {}
        }
    }

    fn now(&self) -> Time {
        self.step.now.unwrap()
    }

    fn spawn(&mut self, world: &mut World, child: Child) {
        let now = self.now();
        let id = child.instance;
        let instance = self.plan_of(id);
        let name = instance.name.clone();
        if child.role == Role::StopCommand {
            if self.stop.is_none() {
                violation!("the stop_command of {name} runs although nothing stops");
            }
            // A deadline of zero is no hurry but the rule.
            let late = self.limit().is_some_and(|limit| now >= limit)
                && self.plan.shutdown_timeout != Some(Duration::ZERO);
            if late || self.interrupts >= 2 {
                violation!("the stop_command of {name} runs although all is to be killed at once");
            }
            self.ask(world, id);
            return;
        }
        if self.stop.is_some() {
            violation!("{name} starts after the stop began");
        }
        if !instance.autostart {
            violation!("{name} starts although autostart = false");
        }
        let life = &self.lives[id.0 as usize];
        if life.active() || child.run != life.run + 1 {
            violation!(
                "{name} starts run {} while run {} is not over ({} told)",
                child.run,
                life.run,
                life.told
            );
        }
        if life.completed || life.failed || life.cannot_start {
            violation!("{name} starts although it is done or failed");
        }
        if child.run == 1 {
            for dependency in &instance.depends_on {
                let on = &self.lives[dependency.on.0 as usize];
                let satisfied = match dependency.condition {
                    Condition::Started => on.up || on.completed && on.ever_up,
                    Condition::Ready => on.up,
                    Condition::Completed => on.completed,
                };
                if !satisfied {
                    violation!("{name} starts before its dependency {dependency:?} allows it: {on:?}");
                }
            }
        } else {
            let Some((_, Next::Restart { delay, .. })) = &life.decided else {
                violation!("{name} starts again without having been told to: {:?}", life.decided);
            };
            let previous = &world.runs[&Child { run: life.run, ..child }];
            let ended = previous.died.map_or(previous.ordered, |(at, _)| at);
            // The last digit of a product of floats is nobody's business.
            if now + Duration::from_micros(1) < ended + *delay {
                violation!(
                    "{name} starts {:?} after its end, before its delay of {delay:?}",
                    now.since(ended)
                );
            }
        }
        let waits = !only_leader(instance) && !life.unkillable;
        if let Some(left) = world.living_of(id).find(|_| waits) {
            violation!("{name} starts although #{} of an earlier run is still there", left.serial);
        }
        if child.run > 1 {
            world.count("restart");
        }
        let life = self.life(id);
        let budget = std::mem::take(&mut life.budget);
        *life = Life {
            run: child.run,
            told: life.told,
            ordered: Some(now),
            ever_up: life.ever_up,
            unkillable: life.unkillable,
            budget,
            ..Life::default()
        };
    }

    fn signal(&mut self, world: &mut World, pid: Pid, group: bool, signal: Signal) {
        self.step.sent.push((pid, group, signal));
        let Some(child) = world.leader(pid).and_then(|proc| proc.owner) else {
            violation!("{signal} for {pid:?}, which is no unreleased child of ours");
        };
        if self.step.exited == Some(pid) && signal != Signal::KILL && child.role == Role::Main {
            violation!("{signal} for {pid:?}, whose end was just reported");
        }
        let forwarded = self.step.signal.is_some_and(|signal| !self.ends_container(signal));
        if forwarded {
            return self.forward(child, pid, group, signal);
        }
        let stop = &self.plan_of(child.instance).stop;
        let (stop_signal, mode) = (stop.signal, stop.mode);
        match (child.role, signal) {
            (_, Signal::CONT) => {}
            // Where the stop signal itself is SIGKILL, the words tell which it is.
            (Role::Main, Signal::KILL)
                if stop_signal != Signal::KILL || self.step.killing.contains(&child.instance) =>
            {
                if group && mode == KillMode::Process {
                    violation!("SIGKILL for the group of {pid:?}, although kill_mode = process");
                }
                self.kill(world, child.instance);
                let now = self.now();
                self.life(child.instance).killed.get_or_insert(now);
            }
            (Role::Main, _) if signal == stop_signal => {
                self.ask(world, child.instance);
                if group != (mode == KillMode::Group) && signal != Signal::KILL {
                    violation!("the stop signal for {pid:?} goes to the wrong ones: kill_mode = {mode:?}");
                }
            }
            (Role::Main, _) => violation!("{signal} for {pid:?}, which stops at {stop_signal}"),
            (Role::StopCommand, Signal::TERM) => {}
            (Role::StopCommand, Signal::KILL) => {
                let now = self.now();
                self.life(child.instance).command_killed.get_or_insert(now);
            }
            (Role::StopCommand, _) => violation!("{signal} for the stop_command {pid:?}"),
        }
    }

    /// A signal that is passed on.
    fn forward(&mut self, child: Child, pid: Pid, group: bool, sent: Signal) {
        let got = self.step.signal.unwrap();
        let instance = self.plan_of(child.instance);
        let expected = match self.plan.mode {
            Mode::Command { group: whole } => (group == whole).then_some(got),
            Mode::Services => {
                let routed = self.plan.routes.get(&got).is_none_or(|to| to.contains(&child.instance));
                let becomes = instance.signals.get(&got).copied().unwrap_or(Some(got));
                becomes.filter(|_| routed && !group && got != Signal::HUP)
            }
        };
        if expected != Some(sent) || child.role != Role::Main {
            violation!("{got} is passed on to {pid:?} of {} as {sent}, expected {expected:?}", instance.name);
        }
        if self.command_mode() && got == Signal::TERM && instance.stop.kill_timeout.is_some() {
            let now = self.now();
            self.life(child.instance).asked.get_or_insert(now);
        }
    }

    /// An instance is asked to stop.
    fn ask(&mut self, world: &mut World, id: InstanceId) {
        let name = self.plan_of(id).name.clone();
        if self.stop.is_none() {
            violation!("{name} is asked to stop although nothing stops");
        }
        let in_a_hurry = self.in_a_hurry();
        let kill_timeout = self.plan_of(id).stop.kill_timeout;
        let now = self.now();
        let life = self.life(id);
        if life.asked.is_some() {
            return; // the signal after a failed stop_command
        }
        life.asked = Some(now);
        if !life.ever_up || !life.up {
            world.count("stop before exec");
        }
        if kill_timeout.is_none() {
            world.count("stop without kill_timeout");
        }
        if in_a_hurry {
            return;
        }
        for (other, instance) in self.plan.ids().zip(&self.plan.instances) {
            let depends = instance.depends_on.iter().any(|dependency| dependency.on == id);
            if depends && !self.down(world, other) {
                violation!(
                    "{name} is asked to stop although {}, which depends on it, is not down",
                    instance.name
                );
            }
        }
    }

    /// Nothing of it is left, in truth and not only as far as the core knows.
    fn down(&self, world: &World, id: InstanceId) -> bool {
        let life = &self.lives[id.0 as usize];
        let leader = world.runs.get(&Child { instance: id, run: life.run, role: Role::Main });
        let unreleased = leader.is_some_and(|run| run.pid.is_some() && !run.released);
        let only_leader = only_leader(self.plan_of(id)) || life.unkillable;
        !unreleased && (only_leader || world.living_of(id).next().is_none())
    }

    /// The deadline of the stop has come, or somebody pressed Ctrl-C twice.
    fn in_a_hurry(&self) -> bool {
        self.stop.is_some() && (self.interrupts >= 2 || self.limit().is_some_and(|limit| self.now() >= limit))
    }

    fn limit(&self) -> Option<Time> {
        self.stop.as_ref().and_then(|stop| Some(stop.since + self.plan.shutdown_timeout?))
    }

    /// SIGKILL to a service or to what is left of it.
    fn kill(&mut self, world: &mut World, id: InstanceId) {
        let now = self.now();
        let hurry = self.in_a_hurry();
        let timeout = self.plan_of(id).stop.kill_timeout;
        let name = self.plan_of(id).name.clone();
        let life = self.life(id);
        if life.killed.is_none() {
            let since = life.asked.or(life.ended);
            let due = since.zip(timeout).map(|(since, timeout)| since + timeout);
            if !hurry && due.is_none_or(|due| now < due) {
                violation!("SIGKILL for {name} before its time: due {due:?}, now {now:?}");
            }
            world.count(if hurry { "SIGKILL at the deadline" } else { "SIGKILL after kill_timeout" });
        }
        if self.stop.is_some() {
            self.life(id).asked.get_or_insert(now);
        }
    }

    fn sweep(&mut self, world: &mut World, child: Child, signal: Option<Signal>) {
        let life = &self.lives[child.instance.0 as usize];
        if life.ended.is_none() || life.run != child.run {
            violation!("a sweep of {child:?}, whose leader has not ended");
        }
        if only_leader(self.plan_of(child.instance)) {
            violation!("a sweep of {child:?}, whose leader alone is our business");
        }
        self.step.swept = true;
        match signal {
            None | Some(Signal::TERM) => {}
            Some(Signal::KILL) => {
                self.life(child.instance).sweeps_to_kill = true;
                // Where nothing is left it hurts nobody.
                if world.living_of(child.instance).any(|proc| !proc.spawned) {
                    self.kill(world, child.instance);
                }
            }
            Some(signal) => violation!("a sweep of {child:?} with {signal}"),
        }
        if self.stop.is_none() && world.living_of(child.instance).any(|proc| !proc.spawned) {
            world.count("leftovers of a crashed leader");
        }
    }

    fn sweep_strays(&mut self, world: &mut World, signal: Option<Signal>) {
        let now = self.now();
        let hurry = self.in_a_hurry();
        for id in self.plan.ids() {
            let life = &self.lives[id.0 as usize];
            let late =
                life.killed.or(life.command_killed).is_some_and(|at| hurry || now >= at + UNKILLABLE_AFTER);
            if life.active() && !late {
                violation!("strays are looked for although {} is not down: {life:?}", self.plan_of(id).name);
            }
            if life.active() {
                world.count("shutdown with a process that cannot die");
            }
        }
        if self.stop.is_none() && self.all_done() {
            self.stopping(world, &StopReason::AllDone); // which is not announced
        }
        let Some(stop) = &mut self.stop else { violation!("strays are looked for although nothing stops") };
        match signal {
            Some(Signal::TERM) => {
                stop.strays_since.get_or_insert(now);
            }
            Some(Signal::KILL) => {
                let waited = stop.strays_since.is_some_and(|since| now >= since + STRAY_GRACE);
                if !waited && !hurry {
                    violation!("strays get SIGKILL without their grace");
                }
            }
            Some(signal) => violation!("strays get {signal}"),
            None => {}
        }
    }

    // Notices.

    fn notice(&mut self, world: &mut World, notice: &Notice) {
        match notice {
            Notice::Ended { name, cause, uptime, next } => self.ended(world, name, cause, *uptime, next),
            Notice::Stopping { reason, names } => {
                self.check_names(names, "running");
                self.stopping(world, reason);
            }
            Notice::StillStopping { names, remaining } => {
                self.check_names(names, "still stopping");
                let now = self.now();
                if *remaining != self.limit().map(|limit| limit.since(now)) {
                    violation!("{remaining:?} are said to remain");
                }
                if let Some(stop) = &mut self.stop {
                    stop.told = now;
                }
            }
            Notice::Killing { name, why, .. } => {
                let id = self.by_name(name);
                let timeout = self.plan_of(id).stop.kill_timeout;
                let late = self.limit().is_some_and(|limit| self.now() >= limit);
                let asked = self.lives[id.0 as usize].asked;
                let own = asked.zip(timeout).is_some_and(|(asked, timeout)| self.now() >= asked + timeout);
                let right = match why {
                    KillReason::KillTimeout => own,
                    KillReason::ShutdownTimeout => late,
                    KillReason::Impatience => self.interrupts >= 2,
                };
                self.step.killing.push(id);
                if !right {
                    violation!(
                        "{name} is said to be killed for {why:?}: asked {asked:?}, limit {:?}",
                        self.limit()
                    );
                }
            }
            Notice::DependencyFailed { name, on, completed } => {
                let (id, on) = (self.by_name(name), self.by_name(on));
                let on = &self.lives[on.0 as usize];
                let right = if *completed { on.completed } else { on.failed || on.cannot_start };
                if !right {
                    violation!("{name} is said to be unable to start, but its dependency is {on:?}");
                }
                world.count("dependency that cannot be had");
                self.life(id).cannot_start = true;
            }
            Notice::Unkillable { name, found } => {
                let id = self.by_name(name);
                let now = self.now();
                let life = self.life(id);
                life.unkillable = true;
                let killed = life.killed.or(life.command_killed);
                if !killed.is_some_and(|at| now >= at + UNKILLABLE_AFTER) {
                    violation!("{name} is called unkillable, but got SIGKILL at {killed:?}");
                }
                if found.is_empty() {
                    violation!("{name}: nobody cannot be ended");
                }
                world.count("unkillable process");
            }
            Notice::AllUp { .. } => {
                let autostart = self.plan.instances.iter().zip(&self.lives).filter(|(i, _)| i.autostart);
                let missing: Vec<_> =
                    autostart.filter(|(i, life)| !arrived(life, i)).map(|(i, _)| &i.name).collect();
                if self.all_up || !missing.is_empty() {
                    violation!("all are said to be up; missing: {missing:?}, said before: {}", self.all_up);
                }
                self.all_up = true;
                world.count("all up");
            }
            Notice::Up { name, .. } => {
                let id = self.by_name(name);
                if !self.lives[id.0 as usize].up {
                    violation!("{name} is said to be up");
                }
            }
            Notice::Forwarded { receivers, .. } => {
                if *receivers != self.step.sent.len() {
                    violation!("a signal is said to go to {receivers}, it went to {:?}", self.step.sent);
                }
                if *receivers > 0 {
                    world.count("signal passed on");
                }
            }
            Notice::Stopped { .. } | Notice::Obituary(_) => {
                let failed = matches!(&self.stop, Some(Stop { reason: StopReason::Failed(_), .. }));
                if failed != matches!(notice, Notice::Obituary(_)) {
                    violation!("the wrong last words: {notice:?}");
                }
                if let Notice::Stopped { code, .. } = notice {
                    self.code_told = Some(*code);
                }
                if self.stopped_told {
                    violation!("the end is told twice");
                }
                self.stopped_told = true;
                if let Notice::Obituary(text) = notice
                    && text.len() + text.lines().count() * "tinysup | ".len() > 2048
                {
                    violation!("an obituary of {} bytes", text.len());
                }
            }
            Notice::LeftoversKilled { name, .. } => {
                self.step.leftovers_killed = Some(self.by_name(name));
            }
            Notice::StopCommandFailed { .. } => world.count("stop_command that failed"),
            Notice::Leftovers { .. } => world.count("leftovers told"),
            Notice::NotPid1 | Notice::Strays { .. } | Notice::SignalNotSupported(_) => {}
        }
    }

    fn ended(&mut self, world: &mut World, name: &str, cause: &Cause, uptime: Duration, next: &Next) {
        let now = self.now();
        let id = self.by_name(name);
        let stopping = self.stop.is_some();
        let command_mode = self.command_mode();
        let plan = self.plan.clone();
        let instance = &plan.instances[id.0 as usize];
        let life = self.life(id);
        if !life.active() {
            violation!("the end of run {} of {name} is told twice", life.run);
        }
        let child = Child { instance: id, run: life.run, role: Role::Main };
        let run = &world.runs[&child];
        let Some(ended) = life.ended else {
            violation!("the end of {name} is told before it is known: {run:?}")
        };
        let truth = match (&run.spawn_error, &run.exec_error, run.died) {
            (Some(error), ..) | (None, Some(error), _) => Cause::Start(error.clone()),
            (None, None, Some((_, status))) => Cause::Exit(status),
            (None, None, None) => violation!("{name} is said to have ended, but it lives: {run:?}"),
        };
        if truth != *cause {
            violation!("{name} is said to have ended with {cause:?}; it was {truth:?}");
        }
        // By the child's real life: at least that, at most until it was known to have ended.
        let least = run.died.map_or(Duration::ZERO, |(at, _)| at.since(run.ordered));
        let most = ended.since(life.ordered.unwrap());
        if uptime < least || uptime > most {
            violation!("a run of {name} is said to have lasted {uptime:?}; it was {least:?} to {most:?}");
        }
        let expected = match (stopping, command_mode) {
            (_, true) => Next::Ends,
            (true, false) => Next::Down,
            (false, false) => life.budget.expect(instance, now, cause, uptime),
        };
        if !budget::same(&expected, next) {
            violation!("after {cause:?} ({uptime:?}) {name} goes on with {next:?}; right is {expected:?}");
        }
        let done = command_mode && cause.success();
        match &expected {
            Next::Restart { .. } => {}
            Next::Completed => life.completed = true,
            Next::Failed { budget } => {
                life.failed = true;
                world.count(if budget.is_some() { "budget spent" } else { "failed, never restarted" });
            }
            Next::Down | Next::Ends => {
                life.completed = done;
                life.failed = command_mode && !done;
            }
        }
        match cause {
            Cause::Start(_) => world.count("failed start"),
            Cause::Exit(_) => world.count("run that ended"),
        }
        if let Some((died, delayed)) = world.last_death.get(&Some(id)) {
            let delayed = world.delayed - *delayed;
            let done = ended.max(*died);
            if !life.unkillable && now > done + LOOK_INTERVAL + delayed {
                violation!("{name} was over at {done:?}, it is noticed at {now:?}");
            }
        }
        let life = self.life(id);
        life.told = life.run;
        life.cause = Some(cause.clone());
        life.decided = Some((now, expected));
        if !only_leader(instance)
            && !life.unkillable
            && let Some(left) = world.living_of(id).find(|proc| !proc.stuck())
        {
            violation!("{name} is said to be over, but #{} lives", left.serial);
        }
    }

    fn stopping(&mut self, world: &mut World, reason: &StopReason) {
        if self.stop.is_some() {
            violation!("the stop begins a second time: {reason:?}");
        }
        let right = match reason {
            StopReason::Signal(signal) => self.step.signal == Some(*signal) && self.ends_container(*signal),
            StopReason::Failed(name) => {
                let id = self.by_name(name);
                let life = &self.lives[id.0 as usize];
                (life.failed || life.cannot_start) && self.plan_of(id).on_failure == OnFailure::Exit
            }
            StopReason::Ended(name) => {
                let id = self.by_name(name);
                self.lives[id.0 as usize].completed && self.plan_of(id).on_success == OnSuccess::Exit
            }
            StopReason::AllDone => self.all_done(),
        };
        if !right {
            violation!("the stop begins without a reason: {reason:?}");
        }
        world.count(match reason {
            StopReason::Signal(_) => "stop by a signal",
            StopReason::Failed(_) => "stop by a failed service",
            StopReason::Ended(_) => "stop by a service that is done",
            StopReason::AllDone => "all done",
        });
        if self.lives.iter().any(|life| life.restart_due().is_some()) {
            world.count("stop in backoff");
        }
        if self.lives.iter().any(|life| life.active() && life.ended.is_some()) {
            world.count("stop while leftovers are being stopped");
        }
        let since = self.now();
        self.stop = Some(Stop {
            reason: reason.clone(),
            since,
            delayed: world.delayed,
            strays_since: None,
            told: since,
        });
    }

    fn check_names(&self, names: &[Rc<str>], what: &str) {
        let right: Vec<_> = self
            .lives
            .iter()
            .zip(&self.plan.instances)
            .filter(|(l, _)| l.active())
            .map(|(_, i)| &i.name)
            .collect();
        if !names.iter().eq(right.iter().copied()) {
            violation!("{names:?} are said to be {what}; it is {right:?}");
        }
    }

    fn all_done(&self) -> bool {
        self.lives.iter().all(|life| !life.active() && life.restart_due().is_none())
    }

    // After a step.

    pub fn after(&mut self, world: &mut World, deadline: Option<Time>, quiet: bool) {
        let now = self.now();
        self.outputs.check();
        self.check_continued();
        if let Some(pid) = self.step.exited
            && self.step.released != 1
        {
            violation!("{pid:?} ended and was released {} times", self.step.released);
        }
        if let Some(id) = self.step.leftovers_killed
            && self.lives[id.0 as usize].killed.is_none()
        {
            violation!("leftovers of {} are said to be killed, but nobody was", self.plan_of(id).name);
        }
        if let Some(id) = self.step.leader
            && !self.step.swept
            && !only_leader(self.plan_of(id))
        {
            violation!("the leader of {} has ended and nobody looks for what it left", self.plan_of(id).name);
        }
        match self.step.signal {
            Some(signal) if self.ends_container(signal) && self.stop.is_none() => {
                violation!("{signal} does not begin the stop");
            }
            _ => {}
        }
        if world.exited.is_some() {
            return;
        }
        if self.step.tick && deadline.is_some_and(|deadline| deadline <= now) {
            self.spins += 1;
            if self.spins > SPINS_MAX {
                violation!("it spins: at {now:?} the deadline is {deadline:?}, tick after tick");
            }
        } else {
            self.spins = 0;
        }
        // Orders whose answers are pending are half carried out; the rest is judged when nothing is.
        if quiet {
            if self.stop.is_some() { self.check_stop(world, now) } else { self.check_starts(now, deadline) }
        }
    }

    /// Every polite signal is followed by SIGCONT, so that a stopped process acts on it.
    fn check_continued(&self) {
        if self.step.signal.is_some_and(|signal| !self.ends_container(signal)) {
            return;
        }
        for (at, (pid, group, signal)) in self.step.sent.iter().enumerate() {
            let polite = !matches!(*signal, Signal::KILL | Signal::CONT);
            if polite && !self.step.sent[at..].contains(&(*pid, *group, Signal::CONT)) {
                violation!("{signal} for {pid:?} is not followed by SIGCONT");
            }
        }
    }

    fn check_starts(&mut self, now: Time, deadline: Option<Time>) {
        for (id, instance) in self.plan.ids().zip(&self.plan.instances) {
            let life = &self.lives[id.0 as usize];
            let name = &instance.name;
            if let Some(due) = life.restart_due()
                && due < now
                && self.step.tick
            {
                violation!("{name} should have been started again at {due:?}, now it is {now:?}");
            }
            if instance.autostart && life.run == 0 && !life.cannot_start {
                let on = |on: InstanceId| &self.lives[on.0 as usize];
                let satisfied = |condition: Condition, life: &Life| match condition {
                    Condition::Started => life.up || life.completed && life.ever_up,
                    Condition::Ready => life.up,
                    Condition::Completed => life.completed,
                };
                let hopeless = |condition: Condition, life: &Life| {
                    life.failed || life.cannot_start || condition == Condition::Ready && life.completed
                };
                if instance.depends_on.iter().all(|d| satisfied(d.condition, on(d.on))) {
                    violation!("{name} could start and does not");
                }
                if let Some(d) = instance.depends_on.iter().find(|d| hopeless(d.condition, on(d.on))) {
                    violation!("{name} waits for {d:?}, which will never be");
                }
            }
            let due = life.asked.zip(instance.stop.kill_timeout).map(|(asked, timeout)| asked + timeout);
            if life.active() && life.killed.is_none() && self.step.tick && due.is_some_and(|due| due < now) {
                violation!("{name} should have got SIGKILL at {due:?}, now it is {now:?}");
            }
            if life.failed && instance.on_failure == OnFailure::Exit {
                violation!("{name} has failed for good and the container does not stop");
            }
            if life.completed && instance.on_success == OnSuccess::Exit {
                violation!("{name} is done and the container does not stop");
            }
        }
        let wanted = || self.lives.iter().zip(&self.plan.instances).filter(|(_, i)| i.autostart);
        let arrived = wanted().all(|(life, i)| arrived(life, i))
            && wanted().any(|(life, i)| life.up && arrived(life, i));
        if arrived && !self.all_up && !self.command_mode() {
            violation!("all are up, and it is not told");
        }
        if self.all_done() {
            violation!("nothing runs, nothing will, and the container does not stop");
        }
        let idle = self.lives.iter().all(|life| {
            life.restart_due().is_none() && (life.ended.is_none() || !life.active()) && life.asked.is_none()
        });
        if idle && deadline.is_some() {
            violation!("nothing is due, but there is a deadline: {deadline:?}");
        }
    }

    fn check_stop(&mut self, world: &mut World, now: Time) {
        let Some(stop) = &self.stop else { return };
        let delayed = world.delayed.saturating_sub(stop.delayed);
        if let Some(limit) = self.limit()
            && now > limit + STOP_SLACK + delayed
        {
            violation!("the stop should have ended at {limit:?}, now it is {now:?}");
        }
        if world.last_stray_sweep.is_some() {
            return;
        }
        let ticked = self.step.tick;
        if self.lives.iter().all(|life| !life.active()) {
            violation!("all services are down, and nothing more is done");
        }
        let killing = self.in_a_hurry();
        if ticked && now >= stop.told + TELL_INTERVAL && !killing {
            violation!("since {:?} it was not told who is still alive", stop.told);
        }
        for (id, instance) in self.plan.ids().zip(&self.plan.instances) {
            let life = &self.lives[id.0 as usize];
            let needed = self.plan.ids().zip(&self.plan.instances).any(|(other, i)| {
                i.depends_on.iter().any(|d| d.on == id) && self.lives[other.0 as usize].active()
            });
            if !life.active() || life.ended.is_some() && world.living_of(id).all(|proc| proc.spawned) {
                continue;
            }
            if !needed && life.asked.is_none() && life.ended.is_none() {
                violation!("{} could be asked to stop and is not", instance.name);
            }
            if life.ended.is_some() && only_leader(instance) {
                continue;
            }
            let due = life
                .asked
                .or(life.ended)
                .zip(instance.stop.kill_timeout)
                .map(|(asked, timeout)| asked + timeout);
            let due = match (due, self.limit()) {
                (Some(due), Some(limit)) => Some(due.min(limit)),
                (due, limit) => due.or(limit),
            };
            let due = if self.interrupts >= 2 { Some(Time::ZERO) } else { due };
            if ticked && due.is_some_and(|due| due < now) && life.killed.is_none() {
                violation!("{} should have got SIGKILL at {due:?}, now it is {now:?}", instance.name);
            }
        }
    }

    // The end.

    fn exit(&mut self, world: &mut World, code: ExitCode) {
        self.left = true;
        self.outputs.at_exit();
        let Some(stop) = &self.stop else { violation!("it exits without having stopped") };
        for (id, life) in self.plan.ids().zip(&self.lives) {
            if life.active() && !(self.in_a_hurry() || life.unkillable) {
                violation!("it exits although the end of {} was not told", self.plan_of(id).name);
            }
            if life.active() {
                world.count("exit with a process that cannot die");
            }
        }
        if world.weather.pid1 {
            let since = world.last_stray_sweep;
            let left =
                world.procs.values().find(|p| p.lives() && !p.stuck() && since.is_none_or(|at| p.born < at));
            if let Some(left) = left {
                violation!("it exits although #{} lives", left.serial);
            }
        }
        let (last, delayed) = world.last_death.get(&None).copied().unwrap_or((stop.since, stop.delayed));
        let (last, delayed) = if last > stop.since { (last, delayed) } else { (stop.since, stop.delayed) };
        let hurry = self.in_a_hurry();
        let stuck = world.procs.values().any(|proc| proc.lives() && proc.stuck());
        if world.weather.pid1
            && !hurry
            && !stuck
            && self.now() > last + STRAY_LOOK + (world.delayed - delayed)
        {
            violation!("nothing happened since {last:?}, and it exits only now: {:?}", self.now());
        }
        if self.code_told.is_some_and(|told| told != code.0) || !(self.stopped_told || self.command_mode()) {
            violation!("exit code {} was told as {:?}", code.0, self.code_told);
        }
        let expected = self.code(stop);
        if expected != code.0 {
            violation!("exit code {} after {:?}; right is {expected}", code.0, stop.reason);
        }
        world.count(match code.0 {
            0 => "exit code 0",
            137 => "exit code 137",
            _ => "another exit code",
        });
    }

    fn code(&self, stop: &Stop) -> u8 {
        let last = |life: &Life| life.cause.as_ref().map(Cause::exit_code);
        let failure = |life: &Life| last(life).filter(|code| *code != 0).unwrap_or(1);
        if self.command_mode() {
            return last(&self.lives[0]).unwrap_or(0);
        }
        match &stop.reason {
            StopReason::Signal(_) => {
                // Remains of an earlier crash count if they were still there when the stop began.
                let over = |life: &Life| life.decided.as_ref().map(|(at, _)| *at).filter(|_| !life.active());
                let in_it = |life: &Life| over(life).is_none_or(|at| at >= stop.since);
                let killed = self.lives.iter().any(|life| life.killed.is_some() && in_it(life));
                if killed { 137 } else { 0 }
            }
            StopReason::Failed(name) => failure(&self.lives[self.by_name(name).0 as usize]),
            StopReason::Ended(name) => last(&self.lives[self.by_name(name).0 as usize]).unwrap_or(0),
            StopReason::AllDone => {
                self.lives.iter().find(|life| life.failed || life.cannot_start).map_or(0, failure)
            }
        }
    }
}

/// What it leaves behind is nobody's business until the container ends.
fn only_leader(instance: &Instance) -> bool {
    instance.stop.mode == KillMode::Process || instance.launch.mark.is_none()
}

/// A daemon runs, a oneshot is done.
fn arrived(life: &Life, instance: &Instance) -> bool {
    life.completed || life.up && instance.kind == Kind::Daemon
}
