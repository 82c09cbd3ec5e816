//! What `status` and `describe` say of each instance, by docs/control.md and docs/states.md alone.

use tinysup::control::{Description, Exit, ServiceStatus, Status, VERSION};
use tinysup::event::Client;

use super::runs::Chance;
use super::stops::code_of;
use super::*;

/// So many ends are remembered.
pub(super) const ENDS_MAX: usize = 12;

impl Judge {
    pub(super) fn status(&mut self, world: &World, client: Client, status: &Status) {
        let told: Vec<&ServiceStatus> = status.services.iter().collect();
        self.statuses(world, client, &told);
        let stopping = self.stop.is_some();
        let up_ms = millis(self.now().since(self.began));
        let ok = !stopping && told.iter().all(|one| one.ok);
        if (status.v, status.up_ms, status.stopping, status.ok) != (VERSION, up_ms, stopping, ok) {
            violation!("{status:?} is not so: {up_ms} ms, stopping {stopping}, ok {ok}");
        }
    }

    pub(super) fn descriptions(&mut self, world: &World, client: Client, descriptions: &[Description]) {
        self.described(world, client, descriptions);
        self.statuses(world, client, &descriptions.iter().map(|one| &one.status).collect::<Vec<_>>());
        for description in descriptions {
            let id = self.by_name(&description.status.name);
            self.description(id, description);
        }
    }

    /// Those that were asked for, in the order of starts, each as it is.
    fn statuses(&mut self, world: &World, client: Client, told: &[&ServiceStatus]) {
        let Some(ids) = self.looks.remove(&client) else {
            violation!("{client:?} is told how these are, and has not asked: {told:?}");
        };
        let ids_told: Vec<InstanceId> = told.iter().map(|one| self.by_name(&one.name)).collect();
        self.check_order(&ids_told, &ids, "told");
        for (one, id) in told.iter().zip(ids_told) {
            let right = self.service_status(id, one);
            if self.begun {
                self.check_use(world, id, one);
            }
            // What somebody wants before anything has begun is done when it has.
            if **one != right && self.begun {
                violation!("{one:?} is told; right is {right:?}, {:?}", self.lives[id.0 as usize]);
            }
        }
    }

    /// Where it is in its life, and whether that is as it should be.
    pub(super) fn state(&self, id: InstanceId) -> (&'static str, bool) {
        let (life, instance) = (&self.lives[id.0 as usize], self.plan_of(id));
        let failed = |leaving: &Leaving| {
            matches!(leaving, Leaving::Failed(Cause::Unhealthy { .. } | Cause::Watchdog { .. }, _))
        };
        match (life.active(), life.pid) {
            (false, _) if life.failed || life.cannot_start => ("failed", false),
            (false, _) if life.completed => ("completed", true),
            (false, _) if self.is_down(id) => ("down", true),
            (false, _) if life.restart_due().is_some() && !self.waits_on(id) => ("backoff", false),
            (false, _) => ("waiting", false),
            (true, _) if life.ended.is_some() => ("cleaning", false),
            (true, None) => ("starting", false),
            (true, Some(_)) if life.asked.is_some() || life.leaving.is_some() => {
                (if life.leaving.as_ref().is_some_and(failed) { "unhealthy" } else { "stopping" }, false)
            }
            (true, Some(_)) if life.up && life.care.ready.is_some() => ("ready", true),
            (true, Some(_)) if life.up => ("up", instance.kind == Kind::Oneshot),
            (true, Some(_)) => ("starting", false),
        }
    }

    /// It was wanted to run, by hand or together with others, and waits for them only.
    fn waits_on(&self, id: InstanceId) -> bool {
        matches!(&self.lives[id.0 as usize].decided, Some((_, Next::With(_))))
    }

    /// What is not judged here is taken as it is told.
    fn service_status(&self, id: InstanceId, told: &ServiceStatus) -> ServiceStatus {
        let (life, instance, now) = (&self.lives[id.0 as usize], self.plan_of(id), self.now());
        let (state, ok) = self.state(id);
        let alive = life.active() && life.pid.is_some() && life.ended.is_none();
        let since = life.ordered.filter(|_| alive);
        let (restarts, resets) = if life.forgiven && told.restarts == 0 {
            (0, None)
        } else {
            life.budget.counts(instance, now, since.map(|since| now.since(since)))
        };
        let next = life.restart_due().filter(|_| state == "backoff").map(|due| millis(due.since(now)));
        let lacks = life.wishes.lacks.filter(|_| life.cannot_start).map(|on| {
            let how = if self.lives[on.0 as usize].completed { "completed" } else { "failed" };
            format!("needs {}, which {how}", self.plan_of(on).name)
        });
        let needs = instance.depends_on.iter().filter(|_| state == "waiting");
        let needs = needs.filter(|on| !matches!(self.chance_by(id, **on), Chance::Now));
        ServiceStatus {
            name: instance.name.to_string(),
            service: instance.service.to_string(),
            instance: instance.number,
            kind: match instance.kind {
                Kind::Daemon => "daemon",
                Kind::Oneshot => "oneshot",
                Kind::Command => "command",
            }
            .to_owned(),
            state: state.to_owned(),
            ok,
            pid: life.pid.filter(|_| alive).map(Pid::number),
            up_ms: since.map(|since| millis(now.since(since))),
            restarts,
            max_restarts: instance.restart.max_restarts,
            resets_in_ms: resets.map(millis),
            // The delay is a product of floats.
            next_start_ms: match (next, told.next_start_ms) {
                (Some(right), Some(next)) if right.abs_diff(next) <= 1 => Some(next),
                (next, _) => next,
            },
            runs: life.run,
            missed: instance.healthcheck.as_ref().filter(|_| state == "ready").map(|_| life.care.misses),
            says: life.care.says.clone().filter(|_| alive),
            waits_for: needs.map(|on| self.plan_of(on.on).name.to_string()).collect(),
            lacks,
            last_exit: {
                let ways: Vec<Option<Exit>> = self.exits(id).iter().map(|way| way.last().cloned()).collect();
                ways.iter().find(|last| **last == told.last_exit).unwrap_or(&ways[0]).clone()
            },
            ..told.clone()
        }
    }

    fn description(&self, id: InstanceId, told: &Description) {
        let name = |id: InstanceId| self.plan_of(id).name.to_string();
        let depends_on = self.plan_of(id).depends_on.iter().map(|on| {
            let condition = match on.condition {
                Condition::Started => "started",
                Condition::Ready => "ready",
                Condition::Completed => "completed",
            };
            (format!("{} ({condition})", name(on.on)), self.is_there(*on))
        });
        let depends_on: Vec<_> = depends_on.collect();
        let needs = |(_, other): &(InstanceId, &Instance)| other.depends_on.iter().any(|on| on.on == id);
        let mut dependents: Vec<_> = self.plan.all().filter(needs).map(|(id, _)| name(id)).collect();
        let mut told_dependents = told.dependents.clone();
        dependents.sort();
        told_dependents.sort();
        let ways = self.exits(id);
        let right = ways.contains(&told.exits);
        if !right || (&depends_on, &dependents) != (&told.depends_on, &told_dependents) {
            violation!("{told:?}; right is {depends_on:?}, {dependents:?}, {ways:?}");
        }
    }

    /// The ends that are remembered, those alike counted; in each way that is right, where one may be said to have been asked for or not.
    fn exits(&self, id: InstanceId) -> Vec<Vec<Exit>> {
        let ends = self.ends.get(&id).map(Vec::as_slice).unwrap_or_default();
        let mut ways: Vec<Vec<Exit>> = vec![Vec::new()];
        for end in &ends[ends.len().saturating_sub(ENDS_MAX)..] {
            let asked = end.asked.map_or_else(|| vec![false, true], |asked| vec![asked]);
            let longer = |way: &Vec<Exit>| {
                let with = |asked: &bool| {
                    let mut way = way.clone();
                    self.add_exit(&mut way, end, *asked);
                    way
                };
                asked.iter().map(with).collect::<Vec<_>>()
            };
            ways = ways.iter().flat_map(longer).collect();
        }
        ways
    }

    fn add_exit(&self, exits: &mut Vec<Exit>, end: &End, asked: bool) {
        let text = end.cause.to_string();
        let (ago_ms, up_ms) = (millis(self.now().since(end.at)), millis(end.uptime));
        let before = exits.last().filter(|last| (&last.text, last.asked) == (&text, asked));
        let times = before.map_or(0, |last| last.times) + 1;
        if times > 1 {
            exits.pop();
        }
        exits.push(Exit { text, code: code_of(&end.cause), asked, ago_ms, up_ms, times });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
