//! How everything is, for those who ask: at a glance, and one instance in full. Environment values are in none of it.

use std::fmt::{Display, Write};

use crate::control::{
    Answer, Description, Exit, Holder, Memory, ServiceMemory, ServiceStatus, Status, VERSION,
};
use crate::event::{
    Action, Attributes, Child, Client, ContainerMemory, Controller, InstanceId, Launch, LogFile, Output, Pid,
    Role, Stdin, Time, Usage, Weight, order,
};
use crate::gather::{Gather, Joined, least};
use crate::line;
use crate::line::printable;
use crate::notice::{Cause, per_word};
use crate::plan::{
    Asks, Condition, Instance, KillMode, Kind, Limits, OnFailure, OnSuccess, ReadyTest, RestartWhen,
};
use crate::requests::{Report, Scope, Stage};
use crate::services::{Ended, Service, State};
use crate::units::{CAPABILITIES, RESOURCES, show_decimal, show_duration};

use super::desk::millis;
use super::{Readiness, Supervisor, Wish};

/// Where the processes of so many instances listen is found out for one request.
const LISTENS_MAX: usize = 16;
/// So much of its last line is told at a glance, in characters.
const LAST_LINE_MAX: usize = 200;

impl Supervisor {
    /// `status` and `describe`: what the processes use is looked up only where it was not a moment ago.
    #[inline(never)]
    pub(super) fn report(&mut self, now: Time, client: Client, mut report: Report, out: &mut Vec<Action>) {
        let mut runs: Vec<(Child, Pid)> = Vec::new();
        for id in &report.ids {
            let Some(service) = self.service(*id) else { continue };
            let Some(leader) = service.leader() else { continue };
            match self.usage.get(id).filter(|usage| usage.fresh(now, service.runs())) {
                Some(usage) => drop(report.usage.insert(*id, usage.used)),
                None => runs.push((Child { instance: *id, run: service.runs(), role: Role::Main }, leader)),
            }
        }
        if runs.is_empty() {
            return self.measured_all(now, client, report, out);
        }
        report.asked = runs.iter().map(|(child, _)| child.instance).gather();
        self.requests.enter(client, Stage::Measuring(report), None);
        order(out, Action::Measure { client, runs });
    }

    /// What was measured for a client.
    #[inline(never)]
    pub(super) fn measured(&mut self, now: Time, client: Client, usage: &[Usage], out: &mut Vec<Action>) {
        let Some(Stage::Measuring(report)) = self.requests.stage_mut(client) else { return };
        let mut report = std::mem::take(report);
        for (id, used) in std::mem::take(&mut report.asked).into_iter().zip(usage) {
            let run = self.service(id).map_or(0, Service::runs);
            self.usage.insert(id, super::Measured { at: now, run, used: *used });
            report.usage.insert(id, *used);
        }
        self.measured_all(now, client, report, out);
    }

    fn measured_all(&mut self, now: Time, client: Client, report: Report, out: &mut Vec<Action>) {
        match report.scope {
            Scope::InFull => self.weigh_for(client, report, false, out),
            Scope::AtAGlance | Scope::Memory => self.tell_report(now, client, &report, out),
        }
    }

    /// Has those weighed that run, and the container.
    pub(super) fn weigh_for(&mut self, client: Client, report: Report, pss: bool, out: &mut Vec<Action>) {
        let runs = self.runs_of(&report.ids);
        self.requests.enter(client, Stage::Measuring(report), None);
        order(out, Action::Weigh { client: Some(client), runs, container: true, pss });
    }

    /// What was weighed for a client.
    #[inline(never)]
    pub(super) fn weighed_for(
        &mut self,
        now: Time,
        client: Client,
        runs: Vec<Weight>,
        container: Option<ContainerMemory>,
        out: &mut Vec<Action>,
    ) {
        let Some(Stage::Measuring(report)) = self.requests.stage_mut(client) else { return };
        let mut report = std::mem::take(report);
        report.container = container;
        report.weights = runs.into_iter().filter_map(|weight| Some((weight.instance?, weight))).collect();
        match report.scope {
            Scope::InFull => self.look_where_they_listen(now, client, report, out),
            Scope::AtAGlance | Scope::Memory => self.tell_report(now, client, &report, out),
        }
    }

    #[inline(never)]
    fn look_where_they_listen(
        &mut self,
        now: Time,
        client: Client,
        mut report: Report,
        out: &mut Vec<Action>,
    ) {
        for id in report.ids.iter().take(LISTENS_MAX) {
            let Some(service) = self.service(*id) else { continue };
            let Some(leader) = service.leader() else { continue };
            let child = Child { instance: *id, run: service.runs(), role: Role::Main };
            order(out, Action::FindListening { child, leader });
            report.asked.push(*id);
        }
        if report.asked.is_empty() {
            return self.tell_report(now, client, &report, out);
        }
        self.requests.enter(client, Stage::Measuring(report), None);
    }

    /// Where a run listens, for whoever has asked.
    #[inline(never)]
    pub(super) fn listening(&mut self, now: Time, child: Child, addresses: &[String], out: &mut Vec<Action>) {
        for client in self.requests.clients() {
            let Some(Stage::Measuring(report)) = self.requests.stage_mut(client) else { continue };
            let Some(at) = report.asked.iter().position(|id| *id == child.instance) else { continue };
            report.asked.remove(at);
            report.listens.insert(child.instance, addresses.to_vec());
            if report.asked.is_empty() {
                let report = std::mem::take(report);
                self.tell_report(now, client, &report, out);
            }
        }
    }

    fn tell_report(&mut self, now: Time, client: Client, report: &Report, out: &mut Vec<Action>) {
        let answer = match report.scope {
            Scope::InFull => {
                let ids = report.ids.iter();
                Answer::Describe(ids.filter_map(|id| self.description(now, *id, report)).gather())
            }
            Scope::AtAGlance => Answer::Status(self.status(now, report)),
            Scope::Memory => Answer::Memory(Box::new(self.memory_report(report))),
        };
        self.answer(now, client, answer, out);
    }

    #[inline(never)]
    pub(super) fn status(&self, now: Time, report: &Report) -> Status {
        let services: Vec<ServiceStatus> =
            report.ids.iter().filter_map(|id| self.service_status(now, *id, report)).gather();
        let stopping = self.shutdown.is_some();
        Status {
            v: VERSION,
            up_ms: millis(now.since(self.began)),
            stopping,
            config: self.plan.config.as_deref().map(str::to_owned),
            ok: !stopping && services.iter().all(|service| service.ok),
            services,
        }
    }

    fn service_status(&self, now: Time, id: InstanceId, report: &Report) -> Option<ServiceStatus> {
        let (instance, service) = (self.plan.instance(id)?, self.service(id)?);
        // Of what runs there is one at least: without /proc nothing is known.
        let usage = report.usage.get(&id).filter(|usage| usage.processes > 0);
        let (restarts, resets) = service.restarts(now, instance);
        Some(ServiceStatus {
            name: instance.name.to_string(),
            service: instance.service.to_string(),
            instance: instance.number,
            kind: match instance.kind {
                Kind::Daemon => "daemon",
                Kind::Oneshot => "oneshot",
                Kind::Command => "command",
            }
            .to_owned(),
            state: self.state_word(id).to_owned(),
            ok: match service.state() {
                State::Ready(..) | State::Completed | State::Down => true,
                State::Up(..) => instance.kind == Kind::Oneshot,
                State::Waiting
                | State::Launching { .. }
                | State::Starting(..)
                | State::Stopping { .. }
                | State::Cleaning(_)
                | State::Backoff { .. }
                | State::Failed { .. } => false,
            },
            pid: service.leader().map(Pid::number),
            up_ms: service.since().map(|since| millis(now.since(since))),
            restarts,
            max_restarts: instance.restart.max_restarts,
            resets_in_ms: resets.map(millis),
            next_start_ms: match service.state() {
                State::Backoff { until } => Some(millis(until.since(now))),
                State::Waiting
                | State::Launching { .. }
                | State::Starting(..)
                | State::Up(..)
                | State::Ready(..)
                | State::Stopping { .. }
                | State::Cleaning(_)
                | State::Down
                | State::Completed
                | State::Failed { .. } => None,
            },
            runs: service.runs(),
            cpu_ms: usage.map(|usage| millis(usage.cpu)),
            memory_bytes: usage.map(|usage| usage.memory),
            memory_limit_bytes: least(self.memory.threshold(id), self.memory.ceiling(id)),
            processes: usage.map(|usage| usage.processes),
            missed: service.misses().filter(|_| instance.healthcheck.is_some()),
            says: service.says().map(str::to_owned),
            last_line: self.logs.last_lines(id, 1).pop().map(|line| one_line(&line)),
            waits_for: self.waits_for(id),
            lacks: self.lacks(id),
            last_exit: exits(now, service).pop(),
        })
    }

    /// Where in its life an instance is, in a word.
    pub(super) fn state_word(&self, id: InstanceId) -> &'static str {
        let Some(service) = self.service(id) else { return "unknown" };
        match service.state() {
            State::Waiting => "waiting",
            State::Launching { .. } | State::Starting(..) => "starting",
            State::Up(..) => "up",
            State::Ready(..) => "ready",
            State::Stopping { .. } => match service.failing() {
                Some(Cause::Unhealthy { .. } | Cause::Watchdog { .. }) => "unhealthy",
                Some(
                    Cause::Exit(_)
                    | Cause::Unready(_)
                    | Cause::Start(_)
                    | Cause::NotReady(_)
                    | Cause::OverMemory { .. }
                    | Cause::ShortMemory { .. }
                    | Cause::OutOfMemory { .. },
                )
                | None => "stopping",
            },
            State::Cleaning(_) => "cleaning",
            State::Backoff { .. } => "backoff",
            State::Down => "down",
            State::Completed => "completed",
            State::Failed { .. } => "failed",
        }
    }

    /// The same in a sentence, with its reason.
    pub(super) fn condition(&self, now: Time, id: InstanceId) -> String {
        let Some(service) = self.service(id) else { return String::new() };
        let last = service.history().last();
        let why = || last.map(|last| last.cause.to_string()).unwrap_or_default();
        match service.state() {
            State::Waiting => match self.waits_for(id).as_slice() {
                [] => "about to start".to_owned(),
                names => format!("waits for {}", names.listed()),
            },
            State::Launching { .. } | State::Starting(..) => "starting".to_owned(),
            State::Up(..) => {
                let since = service.since().map(|since| now.since(since)).unwrap_or_default();
                format!("runs for {}, not ready yet", show_duration(since))
            }
            State::Ready(..) => "ready".to_owned(),
            State::Stopping { .. } => match service.failing() {
                Some(cause) => format!("{cause}; stopping it"),
                None => "stopping".to_owned(),
            },
            State::Cleaning(_) => "what it left behind is being stopped".to_owned(),
            State::Backoff { until } => {
                format!("{}; next start in {}", why(), show_duration(until.since(now)))
            }
            State::Down if self.retired(id) => "an update has removed it".to_owned(),
            State::Down if self.wish_for(id) == Wish::Down => "stopped by hand".to_owned(),
            State::Down => "not started".to_owned(),
            State::Completed => "completed".to_owned(),
            State::Failed { .. } => self.lacks(id).unwrap_or_else(|| format!("failed for good: {}", why())),
        }
    }

    /// For want of whom an instance has failed.
    pub(super) fn lacks(&self, id: InstanceId) -> Option<String> {
        let on = self.service(id)?.failed_without()?;
        let how = match self.service(on).map(Service::state) {
            Some(State::Completed) => "completed",
            _ => "failed",
        };
        Some(format!("needs {}, which {how}", self.name(on)))
    }

    /// For whom an instance waits.
    fn waits_for(&self, id: InstanceId) -> Vec<String> {
        let (Some(instance), Some(State::Waiting)) =
            (self.plan.instance(id), self.service(id).map(Service::state))
        else {
            return Vec::new();
        };
        let waits = |on: &&crate::plan::Dependency| !matches!(self.dependency(id, **on), Readiness::Ready);
        instance.depends_on.iter().filter(waits).map(|on| self.name(on.on).to_string()).gather()
    }

    #[inline(never)]
    pub(super) fn description(&self, now: Time, id: InstanceId, report: &Report) -> Option<Description> {
        let instance = self.plan.instance(id)?;
        let depends_on = instance.depends_on.iter().map(|on| {
            let condition = match on.condition {
                Condition::Started => "started",
                Condition::Ready => "ready",
                Condition::Completed => "completed",
            };
            (format!("{} ({condition})", self.name(on.on)), self.is_there(*on))
        });
        let dependents = self.dependents_of(id).iter();
        Some(Description {
            status: self.service_status(now, id, report)?,
            settings: settings(instance),
            depends_on: depends_on.gather(),
            dependents: dependents.map(|id| self.name(*id).to_string()).gather(),
            listens: report.listens.get(&id).cloned().unwrap_or_default(),
            memory: Some(self.service_memory(id, report)),
            container_limit_bytes: self.container_limit(report),
            memory_found: self.memory.what().text.clone(),
            exits: exits(now, self.service(id)?),
        })
    }
}

impl Supervisor {
    #[inline(never)]
    pub(super) fn memory_report(&self, report: &Report) -> Memory {
        let found = self.memory.what();
        let container = report.container.as_ref();
        Memory {
            v: VERSION,
            found: found.text.clone(),
            controller: match found.controller {
                Controller::None => "none",
                Controller::V1 => "v1",
                Controller::V2 => "v2",
            }
            .to_owned(),
            used_bytes: container.map(|container| container.working_set),
            charged_bytes: container.map(|container| container.usage),
            peak_bytes: container.and_then(|container| container.peak),
            limit_bytes: self.container_limit(report),
            machine_bytes: Some(found.total).filter(|total| *total > 0),
            services: report.ids.iter().map(|id| self.service_memory(*id, report)).gather(),
        }
    }

    /// As it is now; where that cannot be read, as it was when it was looked at last. Where nothing is watched that was at the beginning.
    fn container_limit(&self, report: &Report) -> Option<u64> {
        report.container.map_or_else(|| self.memory.limit(), |container| container.limit)
    }

    fn service_memory(&self, id: InstanceId, report: &Report) -> ServiceMemory {
        let weight = report.weights.get(&id).filter(|weight| weight.processes > 0);
        let most = weight.and_then(|weight| weight.holder.as_ref());
        ServiceMemory {
            name: self.name(id).to_string(),
            bytes: weight.map(|weight| weight.bytes),
            pss_bytes: weight.and_then(|weight| weight.pss),
            peak_bytes: weight.and_then(|weight| weight.peak),
            restart_bytes: self.memory.threshold(id),
            limit_bytes: self.memory.ceiling(id),
            processes: weight.map(|weight| weight.processes),
            most: most.map(|holder| (&holder.0, &holder.1)).map(|(process, bytes)| Holder {
                pid: process.pid.number(),
                name: process.name.clone(),
                bytes: *bytes,
            }),
        }
    }
}

/// The ends that are remembered, oldest first; those alike that follow each other are counted.
fn exits(now: Time, service: &Service) -> Vec<Exit> {
    let mut exits: Vec<Exit> = Vec::new();
    for ended in service.history() {
        let exit = exit(now, ended);
        match exits.last_mut() {
            Some(last) if (&last.text, last.asked) == (&exit.text, exit.asked) => {
                *last = Exit { times: last.times + 1, ..exit };
            }
            _ => exits.push(exit),
        }
    }
    exits
}

fn exit(now: Time, ended: &Ended) -> Exit {
    Exit {
        text: ended.cause.to_string(),
        code: ended.cause.exit_code(),
        asked: ended.asked,
        ago_ms: millis(now.since(ended.at)),
        up_ms: millis(ended.uptime),
        times: 1,
    }
}

fn one_line(text: &str) -> String {
    printable(text, ' ', LAST_LINE_MAX)
}

/// What is set, in the words of the configuration, in the order in which that has its keys.
#[inline(never)]
fn settings(instance: &Instance) -> Vec<(String, String)> {
    let launch: &Launch = &instance.launch;
    let mut rows = Rows(Vec::new());
    rows.add("command", &launch.shown);
    if !instance.autostart {
        rows.add("autostart", &false);
    }
    if let Some(cwd) = &launch.cwd {
        rows.add("cwd", &cwd.display());
    }
    let mut variables: Vec<_> = launch.env.iter().map(|(name, _)| name).gather();
    launch.env_from_file.iter().map(|(name, _)| name).add_to(&mut variables);
    let names: Vec<_> = variables
        .iter()
        .map(|name| name.to_string_lossy())
        .filter(|name| !name.starts_with("TINYSUP_"))
        .gather();
    if !names.is_empty() {
        rows.add("env", &names.listed());
    }
    if !launch.inherit_env {
        rows.add("inherit_env", &false);
    }
    let identity = &launch.identity;
    for (key, value) in [("user", &identity.user), ("group", &identity.group)] {
        if let Some(value) = value {
            rows.add(key, value);
        }
    }
    if let Some(groups) = &identity.groups {
        rows.add("groups", &groups.listed());
    }
    attribute_settings(&launch.attributes, &mut rows);
    memory_settings(instance.memory, &mut rows);
    if let Some(ready) = &instance.ready {
        let asked = matches!(ready.test, ReadyTest::Asked(_));
        let interval =
            if asked { format!(", every {}", show_duration(ready.interval)) } else { String::new() };
        let within = show_duration(ready.timeout);
        rows.add("ready", &format_args!("{}, within {within}{interval}", ready.shown));
    }
    if let Some(check) = &instance.healthcheck {
        let how = match &check.test.asks {
            Asks::Target(_) => "",
            Asks::Command(_) => " (a command)",
        };
        rows.add(
            "healthcheck",
            &format_args!(
                "{}{how}, every {}, {} misses in a row are too many",
                check.shown,
                show_duration(check.interval),
                check.retries
            ),
        );
    }
    if let Some(longest) = instance.watchdog {
        rows.add("watchdog", &show_duration(longest));
    }
    restart_settings(instance, &mut rows);
    stop_settings(instance, &mut rows);
    if launch.stdin == Stdin::Inherit {
        rows.add("stdin", &"inherit");
    }
    for (key, output) in [("stdout", &launch.stdout), ("stderr", &launch.stderr)] {
        let word = match output {
            Output::Prefix => "prefix",
            Output::Json => "json",
            Output::Raw => "raw",
            Output::File(file) => {
                rows.add(key, &file_setting(file));
                continue;
            }
            Output::Inherit => "inherit",
            Output::Null => "null",
            Output::Captured => "captured",
        };
        rows.add(key, &word);
    }
    if let Some(limit) = instance.log_rate_limit {
        rows.add("log_rate_limit", &format_args!("{}/{}", limit.lines, per_word(limit.per)));
    }
    rows.0
}

/// Keys with their values, as people read them.
struct Rows(Vec<(String, String)>);

impl Rows {
    /// Adds one. Not inlined: there are as many calls as settings.
    #[inline(never)]
    fn add(&mut self, key: &str, value: &dyn Display) {
        self.0.push((key.to_owned(), value.to_string()));
    }
}

fn file_setting(file: &LogFile) -> String {
    let mut text = format!("{} ({}", file.path.display(), file.format.word());
    if let Some(size) = file.max_size {
        // Writing to a String cannot fail.
        let _ = write!(text, ", at most {size} bytes, {} older", file.max_files);
    }
    if let Some((sink, _)) = file.also {
        text.push_str(", also ");
        text.push_str(line::stream(sink));
    }
    text.push(')');
    text
}

#[inline(never)]
fn attribute_settings(attributes: &Attributes, rows: &mut Rows) {
    if let Some(umask) = attributes.umask {
        rows.add("umask", &format_args!("{umask:03o}"));
    }
    if let Some(nice) = attributes.nice {
        rows.add("nice", &nice);
    }
    if let Some(adjustment) = attributes.oom_score_adj {
        rows.add("oom_score_adj", &adjustment);
    }
    if !attributes.rlimits.is_empty() {
        let limit = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
        let shown: Vec<String> = attributes
            .rlimits
            .iter()
            .map(|one| match (limit(one.soft), limit(one.hard)) {
                (soft, hard) if soft == hard => {
                    format!("{} {soft}", known(&RESOURCES, one.resource as usize))
                }
                (soft, hard) => format!("{} {soft}:{hard}", known(&RESOURCES, one.resource as usize)),
            })
            .gather();
        rows.add("rlimits", &shown.listed());
    }
    if attributes.no_new_privileges {
        rows.add("no_new_privileges", &true);
    }
    if let Some(kept) = &attributes.capabilities {
        let names: Vec<String> = kept.iter().map(|one| known(&CAPABILITIES, usize::from(*one))).gather();
        rows.add("capabilities", &if names.is_empty() { "none".to_owned() } else { names.listed() });
    }
}

#[inline(never)]
fn memory_settings(memory: Limits, rows: &mut Rows) {
    if let Some(amount) = memory.restart {
        rows.add("max_memory_restart", &amount);
    }
    if let Some(amount) = memory.limit {
        let instead = if memory.fallback { ", else restarted above it" } else { "" };
        rows.add("memory_limit", &format_args!("{amount}{instead}"));
    }
    if memory.priority != 0 {
        rows.add("oom_priority", &memory.priority);
    }
}

#[inline(never)]
fn restart_settings(instance: &Instance, rows: &mut Rows) {
    let policy = &instance.restart;
    rows.add(
        "restart",
        &match policy.when {
            RestartWhen::Always => "always",
            RestartWhen::OnFailure => "on-failure",
            RestartWhen::Never => "never",
        },
    );
    match policy.max_restarts {
        Some(max) => rows.add("max_restarts", &max),
        None => rows.add("max_restarts", &"unlimited"),
    }
    rows.add("min_uptime", &show_duration(policy.min_uptime));
    if let Some(window) = policy.window {
        rows.add("restart_window", &show_duration(window));
    }
    rows.add(
        "restart_delay",
        &format_args!(
            "{}, {} times longer each time, at most {}",
            show_duration(policy.delay),
            show_decimal(policy.backoff),
            show_duration(policy.delay_max)
        ),
    );
    if !policy.stop_exit_codes.is_empty() {
        let codes: Vec<String> = policy.stop_exit_codes.iter().map(u8::to_string).gather();
        rows.add("stop_exit_codes", &codes.listed());
    }
    rows.add(
        "on_failure",
        &match instance.on_failure {
            OnFailure::Exit => "exit",
            OnFailure::Ignore => "ignore",
        },
    );
    rows.add(
        "on_success",
        &match instance.on_success {
            OnSuccess::Ignore => "ignore",
            OnSuccess::Exit => "exit",
        },
    );
}

#[inline(never)]
fn stop_settings(instance: &Instance, rows: &mut Rows) {
    let stop = &instance.stop;
    rows.add("stop_signal", &stop.signal);
    if let Some(timeout) = stop.kill_timeout {
        rows.add("kill_timeout", &show_duration(timeout));
    }
    rows.add(
        "kill_mode",
        &match stop.mode {
            KillMode::Mixed => "mixed",
            KillMode::Group => "group",
            KillMode::Process => "process",
        },
    );
    if let Some(command) = &stop.command {
        rows.add("stop_command", &command.shown);
    }
    if instance.signals.iter().next().is_some() {
        let becomes = instance.signals.iter().map(|(from, to)| match to {
            Some(to) => format!("{from} = {to}"),
            None => format!("{from} = ignore"),
        });
        rows.add("signals", &becomes.gather().listed());
    }
}

fn known(names: &[&str], number: usize) -> String {
    names.get(number).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}
