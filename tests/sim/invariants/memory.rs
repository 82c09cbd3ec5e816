//! Memory, computed a second time: when whom is to be weighed, what follows from each reading, whom the guard may stop, and that
//! each OOM kill is told once. By docs/memory.md alone.

use tinysup::event::{ContainerMemory, Controller, ExitStatus, MemoryFound, Weight};
use tinysup::plan::Share;

use super::care::Owed;
use super::*;

const SLOWEST: Duration = Duration::from_secs(5);
const QUICKEST: Duration = Duration::from_millis(100);
const FIRST: Duration = Duration::from_secs(1);
const PRESSURE_EVERY: Duration = Duration::from_millis(500);
const RELIEF: Duration = Duration::from_secs(2);
const CLAIM_WITHIN: Duration = Duration::from_secs(2);

/// What the core knows of memory, and what it owes.
#[derive(Default)]
pub(super) struct Model {
    found: MemoryFound,
    known: bool,
    /// What each may hold, as it was when that was looked at last,
    limits: Vec<tinysup::plan::Limits>,
    /// and what the guard does.
    config: tinysup::plan::Guard,
    limit: Option<u64>,
    runs: BTreeMap<InstanceId, (u32, Rhythm)>,
    guard: Option<GuardModel>,
    pressed: Option<Time>,
    reports: VecDeque<(Option<InstanceId>, u64, Time)>,
    reported: u64,
    told: u64,
    /// An order to weigh that is to be given in this step.
    weigh: Option<(Vec<InstanceId>, bool)>,
    notices: Vec<Notice>,
}

#[derive(Debug)]
struct Rhythm {
    due: Option<Time>,
    every: Duration,
    last: Option<(Time, u64)>,
    growth: u64,
}

#[derive(Debug)]
struct GuardModel {
    rhythm: Rhythm,
    warned: bool,
    helpless: bool,
    choosing: bool,
    stopping: Option<(InstanceId, u32)>,
    rests_until: Option<Time>,
}

impl Model {
    pub(super) fn found(&self) -> &MemoryFound {
        &self.found
    }

    /// The container's limit as it was seen last.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }
}

impl Rhythm {
    fn new(now: Time, limit: Option<u64>) -> Self {
        let every = limit.map_or(FIRST, |limit| wait(0, limit, 0).min(FIRST));
        Self { due: Some(now + every), every, last: None, growth: 0 }
    }

    fn read(&mut self, now: Time, bytes: u64, limit: Option<u64>) {
        if let Some((at, before)) = self.last {
            let nanos = now.since(at).as_nanos().max(1_000_000);
            let seen = u128::from(bytes.saturating_sub(before)) * 1_000_000_000 / nanos;
            self.growth = (self.growth / 2).max(u64::try_from(seen).unwrap());
        }
        self.last = Some((now, bytes));
        self.every = limit.map_or(SLOWEST, |limit| wait(bytes, limit, self.growth));
        self.due = Some(now + self.every);
    }

    fn along(&self, now: Time) -> bool {
        self.due.is_some_and(|due| now + self.every / 4 >= due)
    }
}

/// (limit - held) / max(32 MiB/s, 2 × growth), within bounds.
fn wait(bytes: u64, limit: u64, growth: u64) -> Duration {
    let speed = (2 * u128::from(growth)).max(32 << 20);
    let nanos = u128::from(limit.saturating_sub(bytes)) * 1_000_000_000 / speed;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).clamp(QUICKEST, SLOWEST)
}

impl Judge {
    pub(super) fn memory_on(&self) -> bool {
        self.plan.guard.is_on() || self.plan.instances.iter().any(|instance| instance.memory.watched())
    }

    fn whole(&self) -> Option<u64> {
        self.plan.guard.reference.whole(self.memory.limit, self.memory.found.total)
    }

    /// Where `memory_limit` was promised and no cgroup can be made, everybody's is watched instead.
    fn forced(&self) -> bool {
        let without = |i: &Instance| i.memory.limit.is_some() && !i.memory.fallback;
        self.memory.known && !self.memory.found.delegated && self.plan.instances.iter().any(without)
    }

    fn limits(&self, id: InstanceId) -> tinysup::plan::Limits {
        let memory = self.plan_of(id).memory;
        tinysup::plan::Limits { fallback: memory.fallback || self.forced(), ..memory }
    }

    pub(super) fn may_hold(&self, id: InstanceId) -> Option<u64> {
        let limits = self.limits(id);
        let own = limits.restart.and_then(|amount| amount.bytes(self.whole()));
        let instead = limits.limit.filter(|_| limits.fallback && !self.memory.found.delegated);
        let instead = instead.and_then(|amount| amount.bytes(self.whole()));
        own.into_iter().chain(instead).min()
    }

    pub(super) fn ceiling(&self, id: InstanceId) -> Option<u64> {
        let limit =
            self.plan_of(id).memory.limit.filter(|_| self.memory.known && self.memory.found.delegated);
        limit?.bytes(self.whole())
    }

    fn shares(&self) -> bool {
        self.plan.instances.iter().any(|instance| {
            let share = |amount: &tinysup::plan::Amount| matches!(amount, tinysup::plan::Amount::Share(_));
            [instance.memory.restart, instance.memory.limit].iter().flatten().any(share)
        })
    }

    fn guarded(&self) -> Option<u64> {
        let share: Share = self.plan.guard.restart.or(self.plan.guard.warn)?;
        Some(share.of(self.whole()?))
    }

    pub(super) fn memory_event(&mut self, world: &mut World, event: &Event) {
        let now = self.now();
        match event {
            Event::MemoryFound(found) => self.memory_is_found(found),
            Event::Tick => {
                self.kills_nobody_explains(world);
                self.looks(now);
            }
            Event::Pressure => {
                let at = self.memory.pressed.map_or(now, |last| now.max(last + PRESSURE_EVERY));
                if at > now {
                    world.count("word of pressure that is followed later");
                }
                let runs = self.memory.runs.values_mut().map(|(_, rhythm)| rhythm);
                let mut any = false;
                for rhythm in runs.chain(self.memory.guard.as_mut().map(|guard| &mut guard.rhythm)) {
                    any |= rhythm.due.is_some();
                    rhythm.due = rhythm.due.map(|due| due.min(at));
                }
                if any {
                    self.memory.pressed = Some(at);
                }
                self.looks(now);
            }
            Event::OomKilled { instance, count } => {
                self.memory.reported += count;
                match self.memory.reports.back_mut() {
                    Some((last, left, until)) if last == instance => {
                        *left += count;
                        *until = now + CLAIM_WITHIN;
                    }
                    _ => self.memory.reports.push_back((*instance, *count, now + CLAIM_WITHIN)),
                }
            }
            Event::Exited { pid, status } => {
                let killed = matches!(status, ExitStatus::Signal { signal: Signal::KILL, .. });
                if let Some(Child { instance, role: Role::Main, .. }) =
                    world.leader(*pid).and_then(|proc| proc.owner)
                    && killed
                    && !self.lives[instance.0 as usize].kill_sent
                {
                    self.explained(world, instance);
                }
            }
            Event::Weighed { client: None, runs, container } => self.is_weighed(world, runs, *container),
            Event::Drained => {
                while let Some((instance, count, _)) = self.memory.reports.pop_front() {
                    self.owes_kill(world, instance, count);
                }
            }
            _ => {}
        }
    }

    fn memory_is_found(&mut self, found: &MemoryFound) {
        self.memory.found = found.clone();
        self.memory.limit = found.limit;
        self.memory.known = true;
        self.memory.notices.push(Notice::MemoryFound { text: found.text.clone() });
        if found.oom_group {
            self.memory.notices.push(Notice::OomGroup);
        }
        if self.forced() {
            self.memory.notices.push(Notice::NoCells);
        }
        self.memory.limits = self.all_limits();
        self.begins_to_guard();
    }

    fn all_limits(&self) -> Vec<tinysup::plan::Limits> {
        (0..).map(InstanceId).zip(&self.plan.instances).map(|(id, _)| self.limits(id)).collect()
    }

    /// An update may have changed what is allowed. Whose limit is another is watched anew.
    pub(super) fn replan_memory(&mut self, world: &mut World) {
        if !self.memory.known {
            return;
        }
        let limits = self.all_limits();
        let before = std::mem::replace(&mut self.memory.limits, limits);
        let now = &self.memory.limits;
        let same = |id: &InstanceId| before.get(id.0 as usize) == now.get(id.0 as usize);
        let watched = self.memory.runs.len();
        self.memory.runs.retain(|id, _| same(id));
        if self.memory.runs.len() < watched {
            world.count("running service whose limit an update changes");
        }
        if self.memory.config != self.plan.guard {
            world.count("guard that an update changes");
            self.begins_to_guard();
        }
    }

    fn begins_to_guard(&mut self) {
        let now = self.now();
        self.memory.config = self.plan.guard;
        self.memory.guard = None;
        if self.plan.guard.is_on() {
            self.memory.guard = Some(GuardModel {
                rhythm: Rhythm::new(now, self.guarded()),
                warned: false,
                helpless: false,
                choosing: false,
                stopping: None,
                rests_until: None,
            });
        }
    }

    fn kills_nobody_explains(&mut self, world: &mut World) {
        let now = self.now();
        while let Some((instance, count, until)) = self.memory.reports.front().copied()
            && now >= until
        {
            self.memory.reports.pop_front();
            self.owes_kill(world, instance, count);
        }
    }

    fn owes_kill(&mut self, world: &mut World, instance: Option<InstanceId>, count: u64) {
        world.count(if instance.is_some() {
            "OOM kill of a helper told"
        } else {
            "OOM kill of somebody told"
        });
        let name = instance.map(|id| self.plan_of(id).name.clone());
        self.memory.notices.push(Notice::OomKilled { name, count });
    }

    /// The end of a main process by a SIGKILL that was not ours.
    fn explained(&mut self, world: &mut World, id: InstanceId) {
        let own = self.memory.reports.iter().position(|(instance, ..)| *instance == Some(id));
        let Some(at) = own.or_else(|| self.memory.reports.iter().position(|(i, ..)| i.is_none())) else {
            return;
        };
        let (_, left, _) = &mut self.memory.reports[at];
        *left -= 1;
        if *left == 0 {
            self.memory.reports.remove(at);
        }
        self.memory.told += 1;
        let held = self.memory.runs.get(&id).and_then(|(_, rhythm)| rhythm.last).map(|(_, bytes)| bytes);
        let limit = if own.is_some() { self.ceiling(id) } else { self.memory.limit };
        world.count(if own.is_some() {
            "end by the OOM killer of its own cgroup"
        } else {
            "end by the OOM killer"
        });
        self.life(id).out_of_memory = Some(Cause::OutOfMemory { held, limit, own: own.is_some() });
    }

    /// Who is to be weighed in this step.
    fn looks(&mut self, now: Time) {
        if self.stop.is_some() {
            return;
        }
        let due = |rhythm: &Rhythm| rhythm.due.is_some_and(|due| now >= due);
        let any = self.memory.runs.values().any(|(_, rhythm)| due(rhythm))
            || self.memory.guard.as_ref().is_some_and(|guard| due(&guard.rhythm));
        if !any {
            return;
        }
        let mut whom = Vec::new();
        for (id, (_, rhythm)) in &mut self.memory.runs {
            if rhythm.along(now) {
                rhythm.due = Some(now + rhythm.every);
                whom.push(*id);
            }
        }
        let mut container = self.shares();
        let running: Vec<InstanceId> = self.watchable().map(|(id, _)| id).collect();
        let blind = self.memory.found.controller == Controller::None;
        if let Some(guard) = self.memory.guard.as_mut().filter(|guard| guard.rhythm.along(now)) {
            guard.rhythm.due = Some(now + guard.rhythm.every);
            container = true;
            if blind {
                whom = running;
            }
        }
        self.memory.weigh = Some((whom, container));
    }

    fn watchable(&self) -> impl Iterator<Item = (InstanceId, u32)> {
        let runs = (0..).map(InstanceId).zip(&self.lives);
        runs.filter(|(_, life)| life.running()).map(|(id, life)| (id, life.run))
    }

    fn is_weighed(&mut self, world: &mut World, weights: &[Weight], container: Option<ContainerMemory>) {
        let now = self.now();
        if let Some(container) = container {
            let before = std::mem::replace(&mut self.memory.limit, container.limit);
            if before != container.limit {
                self.memory.notices.push(Notice::MemoryLimit { before, limit: container.limit });
                world.count("changed limit told");
            }
        }
        let candidates = self.candidates(now);
        let mut over = None;
        for weight in weights {
            let id = weight.instance.unwrap();
            let may = self.may_hold(id);
            let Some((run, rhythm)) = self.memory.runs.get_mut(&id) else { continue };
            rhythm.read(now, weight.bytes, may);
            let run = *run;
            if let Some(limit) = may.filter(|limit| weight.bytes > *limit) {
                let cause = Cause::OverMemory { bytes: weight.bytes, limit, holder: weight.holder.clone() };
                self.doom(id, Owed::Memory(cause));
                over = Some((id, run));
            } else if may == Some(weight.bytes) {
                world.count("exactly at its limit");
            }
        }
        let all = |ids: &[InstanceId]| ids.iter().all(|id| weights.iter().any(|w| w.instance == Some(*id)));
        let running: Vec<InstanceId> = self.memory_running.keys().copied().collect();
        let blind = self.memory.found.controller == Controller::None;
        let used = match container {
            Some(container) => Some(container.working_set),
            None if blind && all(&running) => Some(weights.iter().map(|weight| weight.bytes).sum()),
            None => None,
        };
        if let (Some(guard), Some(over)) = (&mut self.memory.guard, over) {
            guard.stopping = Some(over);
        }
        let (Some(used), Some(whole)) = (used, self.whole()) else { return };
        let (guarded, config) = (self.guarded(), self.plan.guard);
        let ids: Vec<InstanceId> = candidates.iter().map(|(id, ..)| *id).collect();
        let daemons = candidates.iter().any(|(_, daemon, _)| *daemon);
        let mut best: Option<(bool, i32, u64, InstanceId)> = None;
        for (id, daemon, spent) in candidates {
            let Some(weight) = weights.iter().find(|weight| weight.instance == Some(id)) else { continue };
            let little = weight.bytes == 0 || weight.bytes < whole / 100;
            if daemon != daemons || little {
                continue;
            }
            let key = (spent, self.plan_of(id).memory.priority, u64::MAX - weight.bytes, id);
            best = Some(best.map_or(key, |best| best.min(key)));
        }
        let Some(guard) = &mut self.memory.guard else { return };
        guard.rhythm.read(now, used, guarded);
        if let Some(warn) = config.warn.or(config.restart).map(|share| share.of(whole)) {
            if used > warn && !guard.warned {
                guard.warned = true;
                world.count("warned of the container");
                self.memory.notices.push(Notice::MemoryLow { used, whole });
            } else if used < warn.saturating_sub(Share::new(500).unwrap().of(whole)) && guard.warned {
                (guard.warned, guard.helpless) = (false, false);
                world.count("the container has memory again");
                self.memory.notices.push(Notice::MemoryWell { used, whole });
            }
        }
        let choosing = std::mem::take(&mut guard.choosing);
        if guard.stopping.is_some() {
            guard.rhythm.due = None;
            return;
        }
        if let Some(at) = guard.rests_until.filter(|at| now < *at) {
            guard.rhythm.due = Some(at);
            return;
        }
        guard.rests_until = None;
        if config.restart.is_none_or(|restart| used <= restart.of(whole)) {
            return;
        }
        if !all(&ids) && !choosing {
            guard.choosing = true;
            self.memory.weigh = Some((ids, true));
            return;
        }
        if let Some((.., id)) = best {
            guard.stopping = Some((id, self.lives[id.0 as usize].run));
            guard.rhythm.due = None;
            let weight = weights.iter().find(|weight| weight.instance == Some(id)).unwrap();
            let (held, holder) = (weight.bytes, weight.holder.clone());
            world.count("victim of the guard");
            self.doom(id, Owed::Memory(Cause::ShortMemory { used, whole, held, holder }));
        } else {
            guard.rhythm.due = Some(now + SLOWEST);
            if !std::mem::replace(&mut guard.helpless, true) {
                world.count("nobody to stop");
                self.memory.notices.push(Notice::NoVictim { used, whole });
            }
        }
    }

    /// Who may be stopped: whether it is a daemon, and whether its budget is spent.
    fn candidates(&self, now: Time) -> Vec<(InstanceId, bool, bool)> {
        let mut found = Vec::new();
        for (id, instance) in self.plan.all() {
            let life = &self.lives[id.0 as usize];
            if life.running() && instance.kind != Kind::Command && instance.restart.when != RestartWhen::Never
            {
                let uptime = now.since(life.ordered.unwrap());
                let spent = life.budget.spent(instance, now, uptime);
                found.push((id, instance.kind == Kind::Daemon, spent));
            }
        }
        found
    }

    pub(super) fn weighs(&mut self, runs: &[(Child, Pid)], container: bool) {
        let whom: Vec<InstanceId> = runs.iter().map(|(child, _)| child.instance).collect();
        // In what order is nobody's business.
        let sorted = |mut ids: Vec<InstanceId>| {
            ids.sort_unstable();
            ids
        };
        let right = self.memory.weigh.take().map(|(ids, container)| (sorted(ids), container));
        if right != Some((sorted(whom.clone()), container)) {
            violation!("{whom:?} are weighed, and the container: {container}; right is {right:?}");
        }
        for (child, leader) in runs {
            let life = &self.lives[child.instance.0 as usize];
            if (child.run, Some(*leader)) != (life.run, life.pid) {
                violation!("{child:?} with {leader:?} is weighed; it is {:?} of run {}", life.pid, life.run);
            }
        }
    }

    /// Who has a limit that the kernel can be told of starts with it, and nobody else.
    pub(super) fn check_cell(&self, child: Child, launch: &Launch) {
        let ceiling = self.ceiling(child.instance);
        let memory = self.plan_of(child.instance).memory;
        let wanted = memory.restart.is_some() || memory.limit.is_some() || self.plan.guard.restart.is_some();
        // The command of the command line has no limits and is no victim.
        let right = (wanted && self.plan_of(child.instance).kind != Kind::Command).then_some(ceiling);
        if child.role == Role::Main && right != launch.cell.map(|cell| cell.memory_max) {
            violation!("{child:?} starts with {:?}, and may hold {ceiling:?}", launch.cell);
        }
    }

    pub(super) fn memory_notice(&mut self, world: &mut World, notice: &Notice) {
        // The end of a stray is a moment, too, at which everything is done that is due.
        if self.stop.is_some() && self.step.exited.is_some() {
            self.kills_nobody_explains(world);
        }
        let owed = &mut self.memory.notices;
        match owed.iter().position(|one| one == notice) {
            Some(at) => drop(owed.remove(at)),
            None => violation!("{notice:?} is not so; right is {owed:?}"),
        }
        if let Notice::OomKilled { count, .. } = notice {
            self.memory.told += count;
        }
    }

    /// The orders and words that a step owed are given, and who runs now is watched.
    pub(super) fn check_memory(&mut self) {
        if let Some(weigh) = &self.memory.weigh {
            violation!("{weigh:?} should have been weighed");
        }
        if let Some(notice) = self.memory.notices.first() {
            violation!("{notice:?} should have been told");
        }
        if !self.memory_on() && !self.forced() {
            return;
        }
        let now = self.now();
        if self.stop.is_some() {
            self.memory.runs.clear();
            self.memory.guard = None;
            return;
        }
        let running: BTreeMap<InstanceId, u32> = self.watchable().collect();
        self.memory.runs.retain(|id, (run, _)| running.get(id) == Some(run));
        for (id, run) in &running {
            if self.limits(*id).watched() && !self.memory.runs.contains_key(id) {
                let rhythm = Rhythm::new(now, self.may_hold(*id));
                self.memory.runs.insert(*id, (*run, rhythm));
            }
        }
        self.memory_running = running;
        if let Some((id, run)) = self.memory.guard.as_ref().and_then(|guard| guard.stopping) {
            let life = &self.lives[id.0 as usize];
            let over = life.run != run || !life.active();
            if let (true, Some(guard)) = (over, &mut self.memory.guard) {
                guard.stopping = None;
                guard.rests_until = Some(now + RELIEF);
                guard.rhythm.due = Some(now + RELIEF);
            }
        }
    }

    pub(super) fn memory_dues(&self) -> Vec<(Time, Time, &'static str)> {
        let runs =
            self.memory.runs.values().filter_map(|(_, rhythm)| rhythm.due).map(|due| (due, due, "look"));
        let guard = self.memory.guard.as_ref().and_then(|guard| guard.rhythm.due);
        let reports = self.memory.reports.iter().map(|(.., until)| (*until, *until, "OOM kill"));
        runs.chain(guard.map(|due| (due, due, "guard"))).chain(reports).collect()
    }

    /// At the end each OOM kill that was reported has been told, and once.
    pub(super) fn check_kills_told(&self) {
        if self.memory.told != self.memory.reported {
            violation!("{} OOM kills were reported, {} were told", self.memory.reported, self.memory.told);
        }
    }
}
