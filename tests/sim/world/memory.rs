//! Memory: what each process holds and how it grows, the container's limit, and a kernel that kills when there is no more.

use tinysup::event::{ContainerMemory, Controller, MemoryFound, Weight};

use super::*;
use crate::violation;

/// What a process holds: so much since then, and so much more each second.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    bytes: u64,
    per_second: u64,
    since: Time,
}

impl Held {
    pub const NOTHING: Self = Self { bytes: 0, per_second: 0, since: Time::ZERO };

    fn at(self, now: Time) -> u64 {
        let grown = u128::from(self.per_second) * now.since(self.since).as_nanos() / 1_000_000_000;
        self.bytes + u64::try_from(grown).unwrap()
    }
}

/// Whom a limit holds for: one instance, or all.
type Scope = Option<InstanceId>;

/// How often the kernel goes on to say that memory is short.
const PRESSURE_EVERY: Duration = Duration::from_millis(170);
const PRESSURE_TIMES: u32 = 12;

impl World {
    pub(super) fn find_memory(&mut self, pressure: bool, events: &mut Vec<Event>) {
        let weather = &self.weather.memory;
        if self.asked_for_memory.replace(pressure).is_some() {
            violation!("what rules over the memory is asked for a second time");
        }
        events.push(Event::MemoryFound(MemoryFound {
            controller: weather.controller,
            limit: weather.limit,
            total: weather.total,
            delegated: weather.delegated,
            oom_group: weather.oom_group,
            text: "here".to_owned(),
        }));
        self.plan_kills();
    }

    /// The processes of a run, wherever they went.
    fn of_run(&self, child: Child) -> impl Iterator<Item = &Proc> {
        let run = move |owner: Child| (owner.instance, owner.run) == (child.instance, child.run);
        self.procs.values().filter(move |proc| proc.lives() && proc.owner.is_some_and(run))
    }

    /// What a run uses, and has used.
    pub(super) fn usage(&self, child: Child) -> Usage {
        let processes: Vec<&Proc> = self.of_run(child).collect();
        Usage {
            cpu: processes.iter().map(|proc| self.now.since(proc.born) / 3).sum(),
            memory: processes.iter().map(|proc| proc.held.at(self.now)).sum(),
            processes: u32::try_from(processes.len()).unwrap(),
        }
    }

    /// From now on a process holds so much, and grows so fast.
    pub(super) fn hold(&mut self, serial: u64, bytes: u64, per_second: u64) {
        let since = self.now;
        self.procs.get_mut(&serial).unwrap().held = Held { bytes, per_second, since };
        self.say(|_| format!("        #{serial} holds {bytes}, and {per_second} more each second"));
        self.plan_kills();
    }

    fn in_scope(&self, scope: Scope) -> impl Iterator<Item = &Proc> {
        self.procs.values().filter(move |proc| {
            let of = |id: InstanceId| proc.owner.is_some_and(|owner| owner.instance == id);
            proc.lives() && scope.is_none_or(of)
        })
    }

    fn sum(&self, scope: Scope) -> u64 {
        self.in_scope(scope).map(|proc| proc.held.at(self.now)).sum()
    }

    fn limit_of(&self, scope: Scope) -> Option<u64> {
        match scope {
            None => self.weather.memory.limit,
            Some(id) => self.ceilings.get(&id).copied(),
        }
    }

    /// When each limit will be reached, as things are.
    pub(super) fn plan_kills(&mut self) {
        if self.asked_for_memory.is_none() {
            return;
        }
        let scopes: Vec<Scope> = self.ceilings.keys().map(|id| Some(*id)).chain([None]).collect();
        for scope in scopes {
            let Some(limit) = self.limit_of(scope) else { continue };
            let (sum, per_second) =
                (self.sum(scope), self.in_scope(scope).map(|proc| proc.held.per_second).sum::<u64>());
            let after = |bytes: u64| {
                let room = bytes.saturating_sub(sum);
                if sum > bytes {
                    return Some(Duration::ZERO);
                }
                (per_second > 0).then(|| {
                    Duration::from_nanos(
                        u64::try_from(u128::from(room) * 1_000_000_000 / u128::from(per_second)).unwrap()
                            + 1000,
                    )
                })
            };
            let (full, short) = (after(limit), after(limit - limit / 10));
            if let Some(after) = full {
                self.plan_for(after, Happening::Full(scope));
            }
            if let (None, Some(after), Some(true)) = (scope, short, self.asked_for_memory) {
                self.plan_for(after, Happening::Pressure(PRESSURE_TIMES));
            }
        }
    }

    pub(super) fn pressure(&mut self, left: u32) {
        let Some(limit) = self.weather.memory.limit else { return };
        if self.sum(None) <= limit - limit / 10 || self.pressed_at == Some(self.now) {
            return;
        }
        self.pressed_at = Some(self.now);
        self.count("word of pressure");
        self.told_by_kernel.push_back(Event::Pressure);
        if left > 0 {
            self.plan_for(PRESSURE_EVERY, Happening::Pressure(left - 1));
        }
    }

    /// A limit may be reached: then the largest goes.
    pub(super) fn full(&mut self, scope: Scope) {
        let Some(limit) = self.limit_of(scope) else { return };
        if self.sum(scope) <= limit {
            return;
        }
        let now = self.now;
        let largest = self.in_scope(scope).filter(|p| !p.stuck()).max_by_key(|p| (p.held.at(now), p.serial));
        if let Some(serial) = largest.filter(|proc| proc.held.at(now) > 0).map(|proc| proc.serial) {
            self.kill_for_memory(serial, scope);
            self.plan_kills();
        }
    }

    /// The machine has no more, for whatever reason, and any process goes.
    pub(super) fn kill_anybody(&mut self) {
        let living: Vec<u64> = self.in_scope(None).filter(|proc| !proc.stuck()).map(|p| p.serial).collect();
        if self.asked_for_memory.is_some() && !living.is_empty() {
            let serial = *self.rng.pick(&living);
            let owner = self.procs[&serial].owner.filter(|child| self.ceilings.contains_key(&child.instance));
            self.kill_for_memory(serial, owner.map(|child| child.instance));
        }
    }

    fn kill_for_memory(&mut self, serial: u64, scope: Scope) {
        self.count(match (scope, self.procs[&serial].spawned) {
            (Some(_), true) => "OOM kill of a leader in its own cgroup",
            (Some(_), false) => "OOM kill of a helper in its own cgroup",
            (None, true) => "OOM kill of a leader",
            (None, false) => "OOM kill of somebody",
        });
        self.kills += 1;
        self.say(|_| format!("        the OOM killer takes #{serial}, {scope:?}"));
        match self.told_by_kernel.back_mut() {
            Some(Event::OomKilled { instance, count }) if *instance == scope => *count += 1,
            _ => self.told_by_kernel.push_back(Event::OomKilled { instance: scope, count: 1 }),
        }
        self.die(serial, ExitStatus::Signal { signal: Signal::KILL, core: false });
    }

    /// The container's limit is set anew from outside.
    pub(super) fn limit_memory(&mut self, limit: Option<u64>) {
        if self.weather.memory.controller != Controller::None {
            self.count("changed limit");
            self.weather.memory.limit = limit;
            self.say(|_| format!("        the container's limit is {limit:?} now"));
            self.plan_kills();
        }
    }

    pub(super) fn weigh(
        &mut self,
        (client, pss): (Option<Client>, bool),
        runs: &[(Child, Pid)],
        container: bool,
        events: &mut Vec<Event>,
    ) {
        let now = self.now;
        let mut weights = Vec::new();
        for (child, leader) in runs {
            if self.leader(*leader).is_none_or(|proc| proc.owner != Some(*child)) {
                violation!("{leader:?} is weighed, which is not the leader of {child:?}");
            }
            let held: Vec<(u64, Process)> = self
                .of_run(*child)
                .map(|p| (p.held.at(now), Process { pid: p.pid(), name: format!("#{}", p.serial) }))
                .collect();
            let most = held.iter().max_by_key(|(bytes, process)| (*bytes, process.pid)).cloned();
            let bytes = held.iter().map(|(bytes, _)| bytes).sum();
            let peak = self.ceilings.get(&child.instance).map(|ceiling| bytes + ceiling / 7);
            weights.push(Weight {
                instance: Some(child.instance),
                bytes,
                pss: pss.then_some(bytes / 2),
                peak,
                processes: u32::try_from(held.len()).unwrap(),
                holder: most.map(|(bytes, process)| Rc::new((process, bytes))),
            });
        }
        let weather = &self.weather.memory;
        // The files of the cgroup may be out of reach for a moment.
        let there = container && weather.controller != Controller::None;
        let unreadable = there && self.rng.per_mille(self.weather.memory.unreadable);
        if unreadable {
            self.count("container that cannot be weighed");
        }
        let sum = self.sum(None);
        let container = (there && !unreadable).then_some(ContainerMemory {
            working_set: sum,
            usage: sum + (1 << 20),
            limit: self.weather.memory.limit,
            peak: (self.weather.memory.controller == Controller::V2).then_some(sum + (2 << 20)),
        });
        if let Some(client) = client {
            self.weighed.insert(client, (weights.clone(), container));
        }
        events.push(Event::Weighed { client, runs: weights, container });
    }
}
