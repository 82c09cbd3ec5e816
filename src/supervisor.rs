//! The core: holds the machines, routes events to them, and looks after what lies between them: the order of starts and
//! stops, and when and how the container ends. Pure: no clock, no I/O; what it wants done it orders.

mod dependencies;
mod desk;
mod ending;
mod judgement;
mod memory;
mod output;
mod overflow;
mod report;
mod update;

use std::rc::Rc;
use std::time::Duration;

use crate::event::{
    Action, Care, Child, Event, ExitStatus, InstanceId, Listener, Pid, Process, Role, Sink, Standing,
    Surroundings, Time, Usage, order, tell,
};
use crate::gather::Gather;
use crate::journal::Journal;
use crate::line::Style;
use crate::logs::{Logs, Overflowing};
use crate::memory::Memory;
use crate::notice::{KillReason, Notice, StopReason};
use crate::notify;
use crate::obituary;
use crate::plan::{Instance, Kind, Manner, Mode, OnFailure, OnSuccess, Plan, Receivers, Rest};
use crate::reaper::Reaper;
use crate::requests::Requests;
use crate::services::{Context, Service, State};
use crate::shutdown::{Look, Phase, Reason, STRAY_GRACE, Shutdown};
use crate::signals::{self, Meaning};
use crate::sorted::{Map, Set};
use crate::units::Signal;
use dependencies::{Readiness, comes_again, is_over};
use update::Updates;

pub use update::Reread;

/// Signals for a command that has no process yet are kept up to this number.
const EARLY_MAX: usize = 1024;

/// Everything that is known about the container. What is used most comes first, and stays there (`repr(C)`): what is further than 127
/// bytes from the beginning takes three bytes more for each access.
#[repr(C)]
pub struct Supervisor {
    services: Vec<Service>,
    shutdown: Option<Box<Shutdown>>,
    requests: Requests,
    /// For each instance, what a person wants of it that is not as the plan has it.
    wishes: Vec<Wish>,
    /// Its own first are those that are used most, too.
    plan: Plan,
    began: Time,
    /// SIGINTs received.
    interrupts: u32,
    standing: Standing,
    /// Whether `Event::Begin` has come; nothing starts before.
    begun: bool,
    /// Everything was up once, and that was told.
    up: bool,
    /// The leaders of the latest runs, and the stop commands.
    pids: Map<(InstanceId, bool), (u32, Pid)>,
    /// For each instance, who depends on it.
    dependents: Vec<Vec<InstanceId>>,
    /// For each instance, its part in the stop; `None` for those that did not run.
    stops: Vec<Option<StopRecord>>,
    /// What was measured of each instance the last time.
    usage: Map<InstanceId, Measured>,
    /// Signals for the one command that came before there was a process to send them to; `None`: there is.
    early: Option<Vec<Signal>>,
    reaper: Reaper,
    logs: Logs,
    overflowing: Overflowing,
    /// What lines have on standard output and error.
    styles: [Style; 2],
    journal: Journal,
    memory: Memory,
    updates: Updates,
    /// The port the failed service could not have, and who has it.
    port: Option<(u16, Listener)>,
}

/// One service's part in the stop of the container.
struct StopRecord {
    asked: Time,
    down: Option<Time>,
}

/// What a person wants of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    /// What the plan says.
    #[default]
    Nothing,
    /// It is down, or is to be stopped when those are that depend on it, and stays so until a person starts it.
    Down,
    /// It is to be stopped when those are that depend on it and go too, and to start again.
    Again,
}

/// What an instance used.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: Time,
    run: u32,
    used: Usage,
}

impl Measured {
    /// Whether it is young enough to be told again: looking it up costs some hundred microseconds, and many may ask.
    fn fresh(&self, now: Time, run: u32) -> bool {
        const FRESH: Duration = Duration::from_millis(500);
        self.run == run && now.since(self.at) < FRESH
    }
}

impl Supervisor {
    /// A supervisor that has not begun.
    #[inline(never)]
    pub fn new(plan: Plan, standing: Standing, now: Time) -> Self {
        let ids = (0_u32..).map(InstanceId);
        let services = ids.zip(&plan.instances).map(|(id, i)| Service::new(id, i.autostart)).gather();
        let updates = Updates::new(&plan);
        let stops = plan.instances.iter().map(|_| None).gather();
        let wishes = plan.instances.iter().map(|_| Wish::Nothing).gather();
        let mut supervisor = Self {
            memory: Memory::new(&plan),
            styles: [Sink::Stdout, Sink::Stderr].map(|sink| plan.style(sink)),
            plan,
            dependents: Vec::new(),
            services,
            reaper: Reaper::default(),
            logs: Logs::default(),
            overflowing: Overflowing::default(),
            pids: Map::new(),
            journal: Journal::default(),
            requests: Requests::default(),
            wishes,
            updates,
            usage: Map::new(),
            standing,
            began: now,
            begun: false,
            up: false,
            shutdown: None,
            stops,
            early: Some(Vec::new()),
            interrupts: 0,
            port: None,
        };
        supervisor.rewire();
        supervisor
    }

    /// When it wants to be told the time again, by [`Event::Tick`].
    #[inline(never)]
    pub fn deadline(&self) -> Option<Time> {
        let mut least = self.shutdown.as_deref().and_then(Shutdown::deadline);
        for service in &self.services {
            least = Time::earlier(least, service.deadline());
        }
        for other in [self.requests.deadline(), self.memory.deadline(), self.logs.deadline()] {
            least = Time::earlier(least, other);
        }
        least
    }

    /// Whether the time until then is that of processes that were asked for something, and not only ours.
    pub fn measures(&self) -> bool {
        self.shutdown.is_some() || self.services.iter().any(Service::measures)
    }

    /// Takes in one event and orders what follows from it, in the order in which it must be done.
    #[inline(never)]
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let from = out.len();
        self.take_in(now, event, out);
        self.pass_on(now, from, out);
    }

    #[expect(clippy::too_many_lines, reason = "one entry for each event")]
    fn take_in(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Begin => {
                match self.standing {
                    Standing::Pid1 => {}
                    Standing::Subreaper => tell(out, Notice::NotPid1),
                    Standing::Neither => tell(out, Notice::NotAdopting),
                }
                // What services may hold is known before any of them starts.
                match self.plan.mode {
                    Mode::Services => {
                        let guard = self.plan.guard;
                        let cells = self.plan.instances.iter().any(|one| one.memory.wants_cell(guard));
                        order(out, Action::FindMemory { pressure: self.memory.is_on(), cells });
                    }
                    Mode::Command(_) | Mode::Pause => self.begun = true,
                }
            }
            Event::Tick => self.tick(now, out),
            Event::Signal(signal) => self.signal(now, signal, out),
            // Nothing else depends on how a service is: among several nothing follows, and the one command has no dependents.
            Event::PassedOn { signal, receivers } => return self.passed_on(now, signal, receivers, out),
            Event::Spawned { child, pid } => {
                self.reaper.own(pid, child);
                self.note_pid(child, pid);
                if let (Mode::Command(_), Some(instance)) =
                    (self.plan.mode, self.plan.instance(child.instance))
                {
                    let session = instance.launch.surroundings == Surroundings::Session;
                    let name = Rc::clone(&instance.name);
                    tell(out, Notice::Spawned { name, pid, session });
                }
                self.with(now, child.instance, |service, context| {
                    service.spawned(context, child.role, pid, out);
                });
                for signal in self.early.take().unwrap_or_default() {
                    self.signal(now, signal, out);
                }
            }
            Event::SpawnFailed { child, error } | Event::ExecFailed { child, error } => {
                self.with(now, child.instance, |service, context| {
                    service.start_failed(context, child, error, out);
                });
            }
            Event::Executed { child } => {
                self.with(now, child.instance, |service, context| service.executed(context, child.role, out));
            }
            Event::Exited { pid, status } => self.exited(now, pid, status, out),
            Event::OrphansEnded { ended } => self.orphans_ended(now, &ended, out),
            Event::Swept { child, found } => {
                self.with(now, child.instance, |service, context| {
                    service.swept(context, child.run, found, out);
                });
            }
            Event::Strays { found } => return self.strays(found, out),
            Event::Output { child, sink, at, bytes } => {
                let news = self.output(now, child, sink, at, &bytes, out);
                self.logs.done_with(bytes);
                if !news {
                    return;
                }
            }
            Event::Stuck { sink } => return self.stuck(sink),
            Event::Flows { sink } => return self.flows(now, sink, out),
            Event::File { path, trouble } => {
                let path = path.display().to_string();
                tell(out, Notice::File { path, trouble });
                return;
            }
            Event::Reopened { client, files } => return self.reopened(now, client, files, out),
            Event::OutputEnded { child, sink } => return self.output_ended(now, child, sink, out),
            Event::Listener { port, listener, .. } => {
                self.port = listener.map(|listener| (port, listener));
                return;
            }
            Event::Probed { child: Child { instance, role, .. }, result } => {
                if let Role::Probe(number) = role {
                    self.with(now, instance, |service, context| service.probed(context, number, result, out));
                }
            }
            Event::Notified { child, bytes } => {
                let words = notify::parse(&bytes);
                self.with(now, child.instance, |service, context| {
                    service.notified(context, child.run, words, out);
                });
            }
            Event::Announced { child } => {
                self.with(now, child.instance, |service, context| service.announced(context, child.run, out));
            }
            Event::Listening { child, addresses } => {
                self.listening(now, child, &addresses, out);
                let waiting = self.waiting_for(child.instance);
                self.with(now, child.instance, |service, context| {
                    service.listening(context, child.run, addresses, waiting, out);
                });
            }
            Event::Connected { client } => return self.requests.connected(now, client),
            Event::Asked { client, request } => {
                if !self.asked(now, client, request, out) {
                    return;
                }
            }
            Event::Taken { client } => return self.requests.taken(client),
            Event::Left { client } => return self.left(client),
            Event::Measured { client, usage } => return self.measured(now, client, &usage, out),
            Event::MemoryFound(found) => self.memory_found(now, &found, out),
            Event::Weighed { client, runs, container } => self.weighed(now, client, runs, container, out),
            Event::Pressure => {
                self.memory.pressure(now);
                self.look_at_memory(now, out);
            }
            Event::OomKilled { instance, count } => return self.oom_killed(now, instance, count),
            Event::Drained => return self.leave(now, out),
        }
        self.settle(now, out);
    }

    /// Lets one machine act, with all it needs to know.
    fn with(&mut self, now: Time, id: InstanceId, act: impl FnOnce(&mut Service, &Context)) {
        if let Some((service, context)) = self.machine(now, id) {
            act(service, &context);
        }
    }

    /// Not inlined: [`with`](Self::with) is there once for each thing that a machine may do.
    #[inline(never)]
    fn machine(&mut self, now: Time, id: InstanceId) -> Option<(&mut Service, Context<'_>)> {
        let index = id.0 as usize;
        let (service, instance) = (self.services.get_mut(index)?, self.plan.instances.get(index)?);
        let limit = self.shutdown.as_deref().and_then(Shutdown::limit);
        Some((service, Context { now, instance, limit, stopping: self.shutdown.is_some() }))
    }

    /// How an instance is.
    pub fn service(&self, id: InstanceId) -> Option<&Service> {
        self.services.get(id.0 as usize)
    }

    fn name(&self, id: InstanceId) -> Rc<str> {
        self.plan.instance(id).map_or_else(|| "?".into(), |instance| Rc::clone(&instance.name))
    }

    #[inline(never)]
    fn tick(&mut self, now: Time, out: &mut Vec<Action>) {
        self.tick_requests(now, out);
        for (child, sink, piece) in self.logs.silent(now) {
            self.pass_lines(now, child, sink, piece, out);
        }
        self.tell_dropped(now, false, out);
        // Before the services' own timers, which the deadline has cut: it is the reason to be told.
        if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.over(now)) {
            self.kill_all(now, KillReason::ShutdownTimeout, out);
        }
        for id in self.plan.ids() {
            if self.service(id).and_then(Service::deadline).is_some_and(|at| now >= at) {
                let restarts = self.is_in_backoff(id);
                self.with(now, id, |service, context| service.tick(context, out));
                if restarts {
                    self.tell_if_it_waits(id, out);
                }
            }
        }
        self.tell_of_kills(Some(now), out);
        self.look_at_memory(now, out);
        let Some(shutdown) = &mut self.shutdown else { return };
        if shutdown.tell(now) {
            let mut next = shutdown.limit();
            let mut killed = true;
            for service in &self.services {
                next = Time::earlier(next, service.kill_at());
                killed &= service.settled() || service.killed();
            }
            // Whoever is still there has had it.
            let remaining = next.filter(|_| !killed).map(|at| at.since(now));
            let names = self.alive();
            if !names.is_empty() {
                tell(out, Notice::StillStopping { names, remaining });
            }
        } else {
            self.look_for_strays(now, out);
        }
    }

    fn look_for_strays(&mut self, now: Time, out: &mut Vec<Action>) {
        match self.shutdown.as_deref_mut().and_then(|shutdown| shutdown.look(now)) {
            Some(Look::At(signal)) => order(out, Action::SweepStrays { signal }),
            Some(Look::GiveUp) => order(out, Action::Drain),
            None => {}
        }
    }

    fn is_in_backoff(&self, id: InstanceId) -> bool {
        matches!(self.service(id).map(Service::state), Some(State::Backoff { .. }))
    }

    /// Its restart is not a matter of time any more, and nothing would be heard of it.
    fn tell_if_it_waits(&self, id: InstanceId, out: &mut Vec<Action>) {
        if let Readiness::Wait { on } = self.readiness(id, true) {
            tell(out, Notice::WaitsAgain { name: self.name(id), on: self.name(on) });
        }
    }

    fn signal(&mut self, now: Time, signal: Signal, out: &mut Vec<Action>) {
        // A command gets what came before it was there; services are then not even started.
        if let (Mode::Command(_), Some(early)) = (self.plan.mode, &mut self.early) {
            // As the kernel keeps pending ones: real-time ones each, the others once.
            if early.len() < EARLY_MAX && (signal.is_real_time() || !early.contains(&signal)) {
                early.push(signal);
            }
            return;
        }
        match signals::meaning(&self.plan, signal) {
            Meaning::Shutdown => {
                if signal == Signal::INT {
                    self.interrupts = self.interrupts.saturating_add(1);
                }
                if self.shutdown.is_none() {
                    self.begin_shutdown(now, Reason::Signal(signal), out);
                } else if signal == Signal::INT && self.interrupts >= 2 {
                    self.kill_all(now, KillReason::Impatience, out);
                }
            }
            Meaning::Reopen => order(out, Action::Reopen { client: None }),
            Meaning::Update => self.reread_by_signal(out),
            Meaning::Forward => self.forward(now, signal, out),
        }
    }

    /// Whom a signal is for that goes to some of our children.
    pub fn pass_on_at_once(&self, signal: Signal, send: &mut dyn FnMut(Pid, Signal)) -> Care {
        let follows = match self.plan.mode {
            Mode::Command(manner) => {
                if manner.receivers != Receivers::Command || self.early.is_some() {
                    return Care::ToDecide;
                }
                let stops = matches!(signal, Signal::TERM | Signal::TSTP | Signal::TTIN | Signal::TTOU);
                self.plan.log.debug || stops
            }
            Mode::Services if signals::meaning(&self.plan, signal) == Meaning::Forward => true,
            Mode::Services | Mode::Pause => return Care::ToDecide,
        };
        signals::receivers(&self.plan, signal, &mut |id, becomes| {
            if let Some(pid) = self.receiver(id) {
                send(pid, becomes);
            }
        });
        if follows { Care::ToFollow } else { Care::Nothing }
    }

    /// The process of an instance that signals are passed on to.
    fn receiver(&self, id: InstanceId) -> Option<Pid> {
        let service = self.service(id)?;
        match self.plan.mode {
            Mode::Services if !service.running() => None,
            Mode::Services | Mode::Command(_) => service.leader(),
            Mode::Pause => None,
        }
    }

    #[inline(never)]
    fn forward(&mut self, now: Time, signal: Signal, out: &mut Vec<Action>) {
        let mut count = 0;
        signals::receivers(&self.plan, signal, &mut |id, signal| {
            let action = match (self.plan.mode, self.receiver(id)) {
                (Mode::Command(Manner { receivers: Receivers::Everybody, .. }), _) => {
                    Action::SignalEverybody { signal }
                }
                (Mode::Command(Manner { receivers: Receivers::Group, .. }), Some(leader)) => {
                    Action::SignalGroup { leader, signal }
                }
                (_, Some(pid)) => Action::Signal { pid, signal },
                (_, None) => return,
            };
            order(out, action);
            count += 1;
        });
        self.passed_on(now, signal, count, out);
    }

    /// What follows when a signal was passed on.
    #[inline(never)]
    fn passed_on(&mut self, now: Time, signal: Signal, receivers: usize, out: &mut Vec<Action>) {
        tell(out, Notice::Forwarded { signal, receivers });
        let Mode::Command(manner) = self.plan.mode else { return };
        if signal == Signal::TERM && receivers > 0 {
            for id in self.plan.ids() {
                if self.plan.instance(id).is_some_and(|instance| instance.stop.kill_timeout.is_some()) {
                    self.with(now, id, Service::asked_by_signal);
                }
            }
        }
        if manner.suspend && matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU) {
            order(out, Action::Suspend);
        }
    }

    #[inline(never)]
    fn exited(&mut self, now: Time, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) {
        self.tell_of_end(pid, status, false, out);
        if let Some(child) = self.reaper.forget(pid) {
            self.ask_group(pid, child.instance, out);
            self.explain_end(now, child, status);
            self.with(now, child.instance, |service, context| {
                service.exited(context, child, pid, status, out);
            });
        }
        // Last: until then the pid, and its group's, are still reserved.
        order(out, Action::Release { pid });
    }

    /// SIGTERM, or what it is rewritten to, for the group that the one command leaves behind, where that is all that is done about it.
    #[inline(never)]
    fn ask_group(&self, leader: Pid, id: InstanceId, out: &mut Vec<Action>) {
        let Mode::Command(Manner { rest: Rest::AskGroup, .. }) = self.plan.mode else { return };
        signals::receivers(&self.plan, Signal::TERM, &mut |receiver, signal| {
            if receiver == id {
                order(out, Action::SignalGroup { leader, signal });
                tell(out, Notice::AskedGroup(signal));
            }
        });
    }

    /// The init of one command tells of each that ends, where somebody could read that.
    fn tell_of_end(&self, pid: Pid, status: ExitStatus, adopted: bool, out: &mut Vec<Action>) {
        if let Mode::Command(manner) = self.plan.mode {
            let wanted = manner.tell_reaped && adopted;
            if wanted || self.plan.log.debug {
                tell(out, Notice::Reaped { pid, status, adopted, wanted });
            }
        }
    }

    #[inline(never)]
    fn orphans_ended(&mut self, now: Time, ended: &[(Pid, ExitStatus)], out: &mut Vec<Action>) {
        for (pid, status) in ended {
            self.tell_of_end(*pid, *status, true, out);
        }
        // Those of a run that is cleaned up after may be anywhere in a crowd of others.
        for id in self.plan.ids() {
            for (pid, _) in ended {
                if !matches!(self.service(id).map(Service::state), Some(State::Cleaning(_))) {
                    break;
                }
                self.with(now, id, |service, context| service.stranger_exited(context, *pid, out));
            }
        }
        for (pid, _) in ended {
            if self.shutdown.as_mut().is_some_and(|shutdown| shutdown.stray_ended(*pid, now)) {
                self.look_for_strays(now, out);
            }
        }
    }

    /// Brings everything that depends on several machines to where it belongs after an event.
    fn settle(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.shutdown.is_none() {
            self.advance_update(now);
            // Before anything has begun, too: an update must find what was asked for before it as it would later.
            self.advance_wishes(now, out);
        }
        if self.begun && self.shutdown.is_none() {
            self.advance_starts(now, out);
        }
        if self.begun && self.shutdown.is_none() {
            self.tell_when_updated(now, out);
            self.tell_when_up(now, out);
            // What was stopped by hand may be started again.
            let settled = self.services.iter().all(Service::settled);
            if self.plan.mode != Mode::Pause && settled && !self.wishes.contains(&Wish::Down) {
                self.begin_shutdown(now, Reason::AllDone, out);
            }
        }
        if self.shutdown.is_some() {
            self.advance_stops(now, out);
        }
        self.settle_memory(now);
    }

    /// Starts what may start, fails what cannot start any more, and ends the container if one of these ends decides that.
    #[inline(never)]
    fn advance_starts(&mut self, now: Time, out: &mut Vec<Action>) {
        // Before anything starts: what is restarted with another must not see that one come back.
        let again = self.services.iter().any(comes_again);
        for id in self.plan.ids().filter(|_| again) {
            if let Some(on) = self.restarts_with(id) {
                let restarts = self.is_in_backoff(id);
                self.with(now, id, |service, context| service.restart_with(context, &on, out));
                if restarts {
                    self.tell_if_it_waits(id, out);
                }
            }
        }
        // Who fails below, fails for one that is over already.
        let any_over = self.services.iter().any(is_over);
        // In start order, so that one pass reaches everything that follows from a failure.
        for id in self.plan.ids() {
            let Some(instance) = self.plan.instance(id) else { continue };
            let (kind, on_failure, on_success) = (instance.kind, instance.on_failure, instance.on_success);
            if matches!(self.service(id).map(Service::state), Some(State::Waiting)) {
                match self.readiness(id, any_over) {
                    Readiness::Ready => self.with(now, id, |service, context| service.start(context, out)),
                    Readiness::Wait { .. } => {}
                    Readiness::Never { on, completed } => {
                        let (name, without, on) = (self.name(id), on, self.name(on));
                        tell(out, Notice::DependencyFailed { name, on, completed });
                        self.with(now, id, |service, _| service.fail_waiting(without));
                    }
                }
            }
            let ran = self.service(id).is_some_and(|service| service.runs() > 0);
            match self.service(id).map(Service::state) {
                // Before those were down that are to go first it has ended by itself, as somebody wanted it to.
                Some(State::Failed { .. } | State::Completed) if self.wish_for(id) == Wish::Down => {}
                // One that never ran, for want of what it depends on, has no code to pass on.
                Some(State::Failed { .. } | State::Completed) if kind == Kind::Command && ran => {
                    return self.begin_shutdown(now, Reason::Ended(id), out);
                }
                Some(State::Failed { .. }) if on_failure == OnFailure::Exit => {
                    return self.begin_shutdown(now, Reason::Failed(id), out);
                }
                Some(State::Completed) if on_success == OnSuccess::Exit => {
                    return self.begin_shutdown(now, Reason::Ended(id), out);
                }
                _ => {}
            }
        }
    }

    #[inline(never)]
    fn tell_when_up(&mut self, now: Time, out: &mut Vec<Action>) {
        // A command of the command line is no service; it may end before anybody could read that all are up.
        let counts = |instance: &Instance| instance.autostart && instance.kind != Kind::Command;
        let wanted = || self.plan.all().filter(|(_, instance)| counts(instance));
        let arrived = |(id, _): (InstanceId, &Instance)| {
            matches!(self.service(id).map(Service::state), Some(State::Ready(..) | State::Completed))
                || self.goes_without(id)
        };
        let running =
            wanted().any(|(id, _)| matches!(self.service(id).map(Service::state), Some(State::Ready(..))));
        let services = self.plan.mode == Mode::Services;
        if self.up || !running || !services || !self.updates.idle() || !wanted().all(arrived) {
            return;
        }
        let (mut all, mut there): (Set<&str>, Set<&str>) = (Set::new(), Set::new());
        for (id, instance) in wanted() {
            all.insert(&instance.service);
            if !self.goes_without(id) {
                there.insert(&instance.service);
            }
        }
        let (services, failed) = (all.len(), all.len() - there.len());
        self.up = true;
        tell(out, Notice::AllUp { services, failed, after: now.since(self.began) });
    }

    fn alive(&self) -> Vec<Rc<str>> {
        let alive = |id: &InstanceId| self.service(*id).is_some_and(|service| !service.settled());
        self.plan.ids().filter(alive).map(|id| self.name(id)).gather()
    }

    fn begin_shutdown(&mut self, now: Time, reason: Reason, out: &mut Vec<Action>) {
        if let Reason::Failed(id) = reason
            && let Some(instance) = self.plan.instance(id)
            && let Some(port) = obituary::port_in_use(&self.logs.last_lines(id, 20), &instance.launch.shown)
        {
            // Now, before those are gone that may hold it.
            order(out, Action::FindListener { instance: id, port });
        }
        self.drop_update();
        self.shutdown = Some(Box::new(Shutdown::new(reason, now, self.plan.shutdown_timeout)));
        for id in self.plan.ids() {
            match self.service(id).map(Service::state) {
                // Nothing of these runs that others could need: they are out of the way at once.
                Some(State::Waiting | State::Backoff { .. } | State::Cleaning(_)) => {
                    self.with(now, id, |service, context| service.stop(context, out));
                }
                Some(
                    State::Launching { .. }
                    | State::Starting(..)
                    | State::Up(..)
                    | State::Ready(..)
                    | State::Stopping { .. }
                    | State::Down
                    | State::Completed
                    | State::Failed { .. },
                )
                | None => {}
            }
        }
        let told = match reason {
            Reason::Signal(signal) => StopReason::Signal(signal),
            Reason::Asked => StopReason::Asked,
            Reason::Failed(id) => StopReason::Failed(self.name(id)),
            Reason::Ended(id) => StopReason::Ended(self.name(id)),
            Reason::AllDone => return, // there is nothing to stop
        };
        let mut names = self.alive();
        names.reverse(); // the order of the stop
        tell(out, Notice::Stopping { reason: told, names });
        for service in &mut self.services {
            service.rest(out);
        }
    }

    /// Stops what nobody needs any more, and goes on to the next part of the stop when this one is done.
    #[inline(never)]
    fn advance_stops(&mut self, now: Time, out: &mut Vec<Action>) {
        let since = self.shutdown.as_ref().map_or(now, |shutdown| shutdown.since());
        for (record, service) in self.stops.iter_mut().zip(&self.services) {
            match record {
                Some(record @ StopRecord { down: None, .. }) => {
                    record.down = service.settled().then_some(now);
                }
                // What was stopped already when this stop began may be down before its turn comes.
                None if service.settled() && service.stopped_since(since) => {
                    *record = Some(StopRecord { asked: since, down: Some(now) });
                }
                Some(_) | None => {}
            }
        }
        // For each instance, whether it or anything that depends on it is still there: a oneshot in between is long done.
        let mut there = vec![false; self.services.len()];
        for id in self.plan.ids().rev() {
            let is_there = |on: &InstanceId| there.get(on.0 as usize).copied().unwrap_or_default();
            let needed = self.dependents.get(id.0 as usize).is_some_and(|list| list.iter().any(is_there));
            let settled = |supervisor: &Self| supervisor.service(id).is_none_or(Service::settled);
            if !settled(self) && !needed && self.record_stop(now, id) {
                self.with(now, id, |service, context| service.stop(context, out));
            }
            if let Some(there) = there.get_mut(id.0 as usize) {
                *there = needed || !settled(self);
            }
        }
        let all_down = self.services.iter().all(Service::settled);
        let Some(shutdown) = &mut self.shutdown else { return };
        let over = match shutdown.phase() {
            Phase::Services => all_down,
            Phase::Killing { until } => all_down || now >= until,
            Phase::Strays { .. } | Phase::Leaving => false,
        };
        if over {
            let grace = match self.plan.mode {
                Mode::Services => Some(STRAY_GRACE),
                Mode::Command(Manner { rest: Rest::Stop(grace), .. }) => Some(grace),
                Mode::Command(Manner { rest: Rest::Leave | Rest::AskGroup, .. }) | Mode::Pause => None,
            };
            if let Some(grace) = grace {
                let signal = shutdown.begin_strays(now, grace);
                order(out, Action::SweepStrays { signal: Some(signal) });
            } else {
                shutdown.leave();
                order(out, Action::Drain);
            }
        }
    }

    /// Notes that an instance is asked to stop. Returns whether it is for the first time.
    fn record_stop(&mut self, now: Time, id: InstanceId) -> bool {
        let since = self.shutdown.as_ref().map_or(now, |shutdown| shutdown.since());
        match (self.stops.get_mut(id.0 as usize), self.services.get(id.0 as usize)) {
            (Some(record @ None), Some(service)) => {
                // What was asked before its turn has had as long as this stop lasts.
                let asked = service.asked().map_or(now, |asked| asked.max(since));
                *record = Some(StopRecord { asked, down: None });
                true
            }
            (Some(_) | None, _) => false,
        }
    }

    #[inline(never)]
    fn kill_all(&mut self, now: Time, why: KillReason, out: &mut Vec<Action>) {
        for id in self.plan.ids() {
            if self.service(id).is_some_and(|service| !service.settled()) {
                self.record_stop(now, id);
                self.with(now, id, |service, context| service.kill(context, why, out));
            }
        }
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.kill(now);
        }
    }

    #[inline(never)]
    fn strays(&mut self, found: Vec<Process>, out: &mut Vec<Action>) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let first = shutdown.strays_seen(&found);
        match shutdown.phase() {
            Phase::Strays { .. } if found.is_empty() => {
                shutdown.leave();
                order(out, Action::Drain);
            }
            Phase::Strays { .. } if first => tell(out, Notice::Strays { found }),
            Phase::Strays { .. } | Phase::Services | Phase::Killing { .. } | Phase::Leaving => {}
        }
    }
}

#[cfg(test)]
mod tests;
