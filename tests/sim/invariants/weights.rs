//! What clients are told of how much there is of everything: memory, by services and in all, CPU time, processes, where they listen,
//! and the last line. What the kernel has said to that the world knows; the rest is docs/control.md.

use tinysup::control::{Description, Holder, Memory, ServiceMemory, ServiceStatus, VERSION};
use tinysup::event::{Client, ContainerMemory, Controller, Weight};

use super::*;

/// What was measured a moment ago is told again; with room for the time that actions take.
const MEASURED_WITHIN: Duration = Duration::from_millis(500 + 60);
/// Where the processes of so many instances listen is found out for one request.
const LISTENS_MAX: usize = 16;
/// So much of the last line is told.
const LAST_LINE_MAX: usize = 200;
/// A line that may be longer than what is kept.
const LONG: usize = 60 << 10;

/// What was weighed for a client.
pub type Weighed = (Vec<Weight>, Option<ContainerMemory>);

impl Judge {
    /// It has a leader that can be looked at.
    fn alive(&self, id: InstanceId) -> Option<Child> {
        let life = &self.lives[id.0 as usize];
        let alive = life.active() && life.pid.is_some() && life.ended.is_none();
        alive.then_some(Child { instance: id, run: life.run, role: Role::Main })
    }

    /// What it uses, and what it said last.
    pub(super) fn check_use(&self, world: &World, id: InstanceId, told: &ServiceStatus) {
        let use_of = self.alive(id).map(|child| match world.measured.get(&child) {
            Some((at, used)) if self.now().since(*at) <= MEASURED_WITHIN => used,
            old => violation!("{told:?}, and what it uses was not measured: {old:?}"),
        });
        // Where no process was found nothing is known.
        let use_of = use_of.filter(|used| used.processes > 0);
        let right = (
            use_of.map(|used| u64::try_from(used.cpu.as_millis()).unwrap()),
            use_of.map(|used| used.memory),
            use_of.map(|used| used.processes),
            self.may_hold(id).into_iter().chain(self.ceiling(id)).min(),
        );
        if (told.cpu_ms, told.memory_bytes, told.processes, told.memory_limit_bytes) != right {
            violation!("{told:?}; right is {right:?}");
        }
        let plain =
            |line: String| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let is = |line: Option<String>| match (line, &told.last_line) {
            // Of such a one only the end may be left.
            (Some(line), Some(told)) if line.len() > LONG => plain(line).contains(told.as_str()),
            (line, told) => {
                let start = |line: String| line.trim_end_matches('\r').chars().take(LAST_LINE_MAX).collect();
                line.map(start).map(plain) == *told
            }
        };
        let ways = self.last_lines(id);
        if !ways.iter().cloned().any(is) {
            violation!("{:?} is the last line of {}; right is one of {ways:?}", told.last_line, told.name);
        }
    }

    fn weight(&self, id: InstanceId, (runs, _): &Weighed, told: &ServiceMemory) {
        let weight = runs.iter().find(|weight| weight.instance == Some(id));
        if weight.is_some() != self.alive(id).is_some() {
            violation!("{told:?}, but what was weighed is {weight:?}");
        }
        let weight = weight.filter(|weight| weight.processes > 0);
        let most = weight.and_then(|weight| weight.holder.as_deref());
        let right = ServiceMemory {
            name: self.plan_of(id).name.to_string(),
            bytes: weight.map(|weight| weight.bytes),
            pss_bytes: weight.and_then(|weight| weight.pss),
            peak_bytes: weight.and_then(|weight| weight.peak),
            restart_bytes: self.may_hold(id),
            limit_bytes: self.ceiling(id),
            processes: weight.map(|weight| weight.processes),
            most: most.map(|(process, bytes)| Holder {
                pid: process.pid.number(),
                name: process.name.clone(),
                bytes: *bytes,
            }),
        };
        if *told != right {
            violation!("{told:?}; right is {right:?}");
        }
    }

    /// What the container may use: as it was seen just now, else as it was known before.
    fn container_limit(&self, weighed: &Weighed) -> Option<u64> {
        weighed.1.map_or(self.memory.limit(), |container| container.limit)
    }

    pub(super) fn memory_answer(&mut self, world: &mut World, client: Client, told: &Memory) {
        let (Some(ids), Some(weighed)) = (self.looks.remove(&client), world.weighed.remove(&client)) else {
            violation!("{client:?} is told {told:?}, and has not asked");
        };
        // Before anything has begun nothing is known.
        if !self.begun {
            return;
        }
        let found = self.memory.found();
        let container = weighed.1;
        let right = Memory {
            v: VERSION,
            found: found.text.clone(),
            controller: match found.controller {
                Controller::V2 => "v2",
                Controller::V1 => "v1",
                Controller::None => "none",
            }
            .to_owned(),
            used_bytes: container.map(|container| container.working_set),
            charged_bytes: container.map(|container| container.usage),
            peak_bytes: container.and_then(|container| container.peak),
            limit_bytes: self.container_limit(&weighed),
            machine_bytes: Some(found.total),
            services: told.services.clone(),
        };
        if *told != right {
            violation!("{told:?}; right is {right:?}");
        }
        let ids_told: Vec<InstanceId> = told.services.iter().map(|one| self.by_name(&one.name)).collect();
        self.check_order(&ids_told, &ids, "told");
        for (one, id) in told.services.iter().zip(ids_told) {
            self.weight(id, &weighed, one);
        }
        world.count("answer about memory");
    }

    /// What a description says beyond what is at a glance.
    pub(super) fn described(&self, world: &World, client: Client, told: &[Description]) {
        let Some(weighed) = world.weighed.get(&client).filter(|_| self.begun) else { return };
        for (at, one) in told.iter().enumerate() {
            let id = self.by_name(&one.status.name);
            match &one.memory {
                Some(memory) => self.weight(id, weighed, memory),
                None => violation!("nothing is said of the memory of {}", one.status.name),
            }
            let child = self.alive(id).filter(|_| at < LISTENS_MAX);
            let listens = child.and_then(|child| world.listens.get(&child)).cloned().unwrap_or_default();
            let limit = self.container_limit(weighed);
            let right = (&listens, limit, &self.memory.found().text);
            if (&one.listens, one.container_limit_bytes, &one.memory_found) != right {
                violation!("{one:?}; right is {right:?}");
            }
            self.check_settings(id, one);
        }
    }

    /// The settings that decide what becomes of it, as they hold now.
    fn check_settings(&self, id: InstanceId, told: &Description) {
        let Instance { restart, stop, signals, launch, .. } = self.plan_of(id);
        let when = match restart.when {
            RestartWhen::Always => "always",
            RestartWhen::OnFailure => "on-failure",
            RestartWhen::Never => "never",
        };
        let codes: Vec<String> = restart.stop_exit_codes.iter().map(ToString::to_string).collect();
        let becomes: Vec<String> = signals
            .iter()
            .map(|(from, to)| format!("{from} = {}", to.map_or("ignore".to_owned(), |to| to.to_string())))
            .collect();
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let autostart = (!self.plan_of(id).autostart).then(|| "false".to_owned());
        let max = restart.max_restarts.map_or("unlimited".to_owned(), |max| max.to_string());
        let right = [
            ("command", Some(launch.shown.clone())),
            ("autostart", autostart),
            ("restart", Some(when.to_owned())),
            ("max_restarts", Some(max)),
            ("stop_exit_codes", some(codes.join(", "))),
            ("stop_signal", Some(stop.signal.to_string())),
            ("stop_command", stop.command.as_ref().map(|command| command.shown.clone())),
            ("signals", some(becomes.join(", "))),
        ];
        for (key, value) in right {
            let mut rows = told.settings.iter().filter(|(told, _)| told == key).map(|(_, value)| value);
            if rows.next() != value.as_ref() || rows.next().is_some() {
                violation!(
                    "{key} of {} is {value:?}, and what is told is {:?}",
                    told.status.name,
                    told.settings
                );
            }
        }
    }
}
