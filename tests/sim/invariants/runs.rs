//! Starts, ends and restarts: nothing before its dependencies, nothing after the stop began, the budget to the unit.

use tinysup::plan::Dependency;

use super::wishes::{Coming, Wishes};
use super::*;
use crate::world::{Proc, Run};

/// Whether what an instance depends on allows it to start.
#[derive(Debug)]
pub(super) enum Chance {
    Now,
    Wait(Vec<InstanceId>),
    Never(InstanceId),
}

impl Judge {
    pub(super) fn spawn(&mut self, world: &mut World, child: Child) {
        let now = self.now();
        let id = child.instance;
        let instance = self.plan_of(id);
        let name = instance.name.clone();
        if child.role == Role::StopCommand {
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
        let life_is_down = self.lives[id.0 as usize].wishes.down;
        if life_is_down {
            violation!("{name} starts although it is to be down");
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
        match self.chance(id) {
            Chance::Now => {}
            chance => violation!("{name} starts before what it depends on allows it: {chance:?}"),
        }
        for (other, dependent) in self.plan.all() {
            let with = dependent.depends_on.iter().any(|d| d.on == id && d.restart);
            let life = &self.lives[other.0 as usize];
            if with && child.run > 1 && life.active() && life.ended.is_none() && !life.is_leaving() {
                violation!(
                    "{name} starts again, and {}, which is restarted with it, runs on",
                    dependent.name
                );
            }
        }
        if child.run > 1 {
            self.starts_again(world, child);
        }
        let waits = !only_leader(instance) && !life.unkillable;
        if let Some(left) = world.living_of(id).find(|_| waits) {
            violation!("{name} starts although #{} of an earlier run is still there", left.serial);
        }
        if child.run > 1 {
            world.count("restart");
            self.step.began.push(id);
        }
        let plan = self.plan_of(id);
        if plan.kind == Kind::Command && plan.depends_on.iter().any(|on| !self.is_there(*on)) {
            world.count("command started in spite of an end");
        }
        let life = self.life(id);
        let budget = std::mem::take(&mut life.budget);
        let Wishes { held, again, .. } = life.wishes;
        *life = Life {
            wishes: Wishes { held, again, ..Wishes::default() },
            run: child.run,
            told: life.told,
            ordered: Some(now),
            ever_up: life.ever_up,
            unkillable: life.unkillable,
            asked_by: life.asked_by,
            budget,
            ..Life::default()
        };
    }

    /// What is started for a service knows whom it is for; a service that is watched knows how often to speak.
    pub(super) fn check_environment(&self, child: Child, extra: &[(&'static str, String)]) {
        let (id, life) = (child.instance, &self.lives[child.instance.0 as usize]);
        let right = match child.role {
            Role::Main => {
                let watchdog = self.plan_of(id).watchdog;
                watchdog.map(|longest| ("WATCHDOG_USEC", longest.as_micros().to_string()))
            }
            Role::StopCommand | Role::Probe(_) => life.pid.map(|pid| ("MAINPID", pid.to_string())),
        };
        if !right.iter().eq(extra) {
            violation!("{child:?} gets {extra:?}; right is {right:?}");
        }
    }

    /// It was told to start again, and the time for it has come.
    fn starts_again(&self, world: &World, child: Child) {
        let (now, name) = (self.now(), &self.plan_of(child.instance).name);
        let life = &self.lives[child.instance.0 as usize];
        match &life.decided {
            Some((_, Next::With(_) | Next::Again)) => {}
            // It waited for others, and since when was judged when that was told.
            Some((_, Next::Restart { .. })) if life.waits => {}
            Some((_, Next::Restart { delay, .. })) => {
                let previous = &world.runs[&Child { run: life.run, ..child }];
                let ended = previous.died.map_or(previous.ordered, |(at, _)| at);
                if now + NEARLY < ended + *delay {
                    violation!(
                        "{name} starts {:?} after its end, before its delay of {delay:?}",
                        now.since(ended)
                    );
                }
            }
            decided => violation!("{name} starts again without having been told to: {decided:?}"),
        }
    }

    #[expect(clippy::too_many_lines, reason = "all that the end of a run claims")]
    pub(super) fn ended(
        &mut self,
        world: &mut World,
        name: &str,
        cause: &Cause,
        uptime: Duration,
        next: &Next,
    ) {
        let now = self.now();
        let id = self.by_name(name);
        let stopping = self.stop.is_some();
        let plan = self.plan.clone();
        let instance = &plan.instances[id.0 as usize];
        let command = instance.kind == Kind::Command;
        let life = &mut self.lives[id.0 as usize];
        if !life.active() {
            violation!("the end of run {} of {name} is told twice", life.run);
        }
        let child = Child { instance: id, run: life.run, role: Role::Main };
        let run = &world.runs[&child];
        let Some(ended) = life.ended else {
            violation!("the end of {name} is told before it is known: {run:?}")
        };
        let (truth, well) = truth(name, run, life, uptime);
        if truth != *cause {
            violation!("{name} is said to have ended with {cause:?}; it was {truth:?}");
        }
        // By the child's real life: at least that, at most until it was known to have ended.
        let least = run.died.map_or(Duration::ZERO, |(at, _)| at.since(run.ordered));
        let most = ended.since(life.ordered.unwrap());
        if uptime < least || uptime > most {
            violation!("a run of {name} is said to have lasted {uptime:?}; it was {least:?} to {most:?}");
        }
        let gone = matches!(self.coming.get(&id), Some(Coming::Gone));
        let anew = matches!(self.coming.get(&id), Some(Coming::Anew(_)));
        let may_be_down = life.wishes.held || gone;
        let may_go_on = life.wishes.goes_on || life.wishes.again || anew;
        if !stopping
            && matches!(life.leaving, Some(Leaving::Wish))
            && !matches!(next, Next::Down | Next::Again)
        {
            violation!("{name} was stopped as wished, and goes on with {next:?}");
        }
        if !stopping && life.wishes.goes_on && !may_be_down && *next != Next::Again {
            violation!("{name} is to begin again, and goes on with {next:?}");
        }
        let expected = match (stopping, command, &life.leaving) {
            (false, false, _) if *next == Next::Down && may_be_down => Next::Down,
            (false, false, _) if *next == Next::Again && may_go_on => Next::Again,
            (true, ..) => Next::Down,
            (false, true, _) => Next::Ends,
            (false, false, Some(Leaving::With(on))) => {
                life.budget.free(instance, uptime);
                Next::With(on.clone())
            }
            (false, false, Some(Leaving::Failed(..) | Leaving::Wish) | None) => {
                life.budget.expect(instance, now, cause, well)
            }
        };
        if !budget::same(&expected, next) {
            violation!("after {cause:?} ({uptime:?}) {name} goes on with {next:?}; right is {expected:?}");
        }
        let done = command && !stopping && cause.success();
        match &expected {
            Next::Restart { .. } | Next::With(_) | Next::Again => {}
            Next::Completed => life.completed = true,
            Next::Failed { budget } => {
                life.failed = true;
                world.count(if budget.is_some() { "budget spent" } else { "failed, never restarted" });
            }
            Next::Down | Next::Ends => {
                life.wishes.down |= !command;
                life.completed = done;
                life.failed = command && !stopping && !done;
            }
        }
        if command && !stopping {
            world.count("command that ended");
        }
        match cause {
            Cause::Start(_) => world.count("failed start"),
            Cause::Unready(_) => world.count("gone before it was ready"),
            Cause::Exit(_) => world.count("run that ended"),
            Cause::NotReady(_)
            | Cause::Unhealthy { .. }
            | Cause::Watchdog { .. }
            | Cause::OverMemory { .. }
            | Cause::ShortMemory { .. } => world.count("stopped run that ended"),
            Cause::OutOfMemory { .. } => world.count("run that the OOM killer ended"),
        }
        if let Some((died, delayed)) = world.last_death.get(&Some(id)) {
            let delayed = world.delayed.saturating_sub(*delayed);
            // A test that cannot die holds up a run, but not the stop of the container.
            let held =
                self.stop.as_ref().filter(|_| world.living_of(id).next().is_some()).map(|stop| stop.since);
            let done = ended.max(*died).max(held.unwrap_or(*died));
            if !life.unkillable && now > done + LOOK_INTERVAL + delayed {
                violation!("{name} was over at {done:?}, it is noticed at {now:?}");
            }
        }
        let life = self.life(id);
        life.told = life.run;
        life.over = Some(now);
        life.wishes.goes_on = false;
        if expected == Next::Again {
            life.budget = Budget::default();
        }
        life.cause = Some(cause.clone());
        let judged = !matches!(expected, Next::Down | Next::With(_) | Next::Again);
        life.decided = Some((now, expected));
        let asked = match &life.leaving {
            Some(Leaving::With(_) | Leaving::Wish) => Some(true),
            // Who failed may have been asked by somebody else, too, before it was gone.
            Some(Leaving::Failed(..)) if stopping || may_be_down || may_go_on => None,
            Some(Leaving::Failed(..)) => Some(false),
            None => Some(life.asked_before_end),
        };
        // A stop of the container goes on without a test that cannot die, and without what that shields.
        let left = world.living_of(id).find(|proc| !(proc.stuck() || stopping && world.asks_undying(proc)));
        let unkillable = life.unkillable;
        let end = End { at: ended, cause: cause.clone(), uptime, asked, judged };
        self.ends.entry(id).or_default().push(end);
        if !only_leader(instance)
            && !unkillable
            && let Some(left) = left
        {
            violation!("{name} is said to be over, but #{} lives", left.serial);
        }
        if let Some(asks) = world.open.iter().find(|asks| asks.instance == id) {
            violation!("{name} is said to be over, but {asks:?} goes on");
        }
        let beside = |proc: &&Proc| proc.spawned && !proc.stuck();
        if let Some(left) = world.living_of(id).find(beside) {
            violation!("{name} is said to be over, but #{}, which was started for it, lives", left.serial);
        }
    }

    /// What its dependencies say to a start of this instance.
    pub(super) fn chance(&self, id: InstanceId) -> Chance {
        let mut waits = Vec::new();
        for dependency in &self.plan_of(id).depends_on {
            match self.chance_by(id, *dependency) {
                Chance::Now => {}
                Chance::Wait(_) => waits.push(dependency.on),
                never @ Chance::Never(_) => return never,
            }
        }
        if waits.is_empty() { Chance::Now } else { Chance::Wait(waits) }
    }

    /// What one of them says.
    pub(super) fn chance_by(&self, id: InstanceId, dependency: Dependency) -> Chance {
        let again = self.lives[id.0 as usize].run > 0;
        let (on, life) = (dependency.on, &self.lives[dependency.on.0 as usize]);
        let failed = life.failed || life.cannot_start;
        let down = life.wishes.down || self.stop.is_some();
        let gone = life.completed || failed || down && !life.active();
        if life.active() && (life.wishes.again || self.goes(on)) {
            return Chance::Wait(vec![on]);
        }
        if self.is_there(dependency) || again && gone && !dependency.restart {
            return Chance::Now;
        }
        let main = self.plan_of(id).kind == Kind::Command;
        let stopped = life.wishes.down && !life.active();
        if main && (life.completed || stopped || missed(life, self.plan_of(on))) {
            return Chance::Now;
        }
        let hopeless = life.completed && dependency.condition == Condition::Ready;
        if failed || hopeless { Chance::Never(on) } else { Chance::Wait(vec![on]) }
    }

    /// What is depended on is as it has to be.
    pub(super) fn is_there(&self, dependency: Dependency) -> bool {
        let life = &self.lives[dependency.on.0 as usize];
        match dependency.condition {
            Condition::Started => life.running() || life.completed,
            Condition::Ready => life.ready(),
            Condition::Completed => life.completed,
        }
    }

    /// Its delay is over by now.
    pub(super) fn due(&self, id: InstanceId) -> bool {
        self.lives[id.0 as usize].restart_due().is_some_and(|due| self.now() + NEARLY >= due)
    }

    /// One that it is restarted with is about to start again: its delay is of no importance any more.
    pub(super) fn freed(&self, id: InstanceId) -> bool {
        self.lives[id.0 as usize].restart_due().is_some() && self.restarts_with(id).is_some()
    }

    /// One that it is restarted with has just been started again.
    pub(super) fn freed_by_now(&self, id: InstanceId) -> bool {
        let began = |d: &Dependency| d.restart && self.step.began.contains(&d.on);
        self.lives[id.0 as usize].restart_due().is_some() && self.plan_of(id).depends_on.iter().any(began)
    }

    /// It does not run, and not because of the time.
    pub(super) fn waiting(&self, id: InstanceId) -> bool {
        let life = &self.lives[id.0 as usize];
        let over = life.active() || life.completed || life.failed || life.cannot_start;
        !life.wishes.down && !over && life.restart_due().is_none()
    }

    /// Who would start but for this instance.
    pub(super) fn who_waits_for(&self, on: InstanceId) -> Vec<Rc<str>> {
        // One that is about to be stopped is waited for by everybody.
        let up = self.lives[on.0 as usize].up && !self.lives[on.0 as usize].wishes.again && !self.goes(on);
        let waits = |id: &InstanceId| {
            // Who needs no more than that it runs does not wait for it.
            let mut dependencies = self.plan_of(*id).depends_on.iter();
            let more = dependencies.any(|d| d.on == on && (!up || d.condition != Condition::Started));
            self.waiting(*id) && more && matches!(self.chance(*id), Chance::Wait(list) if list.contains(&on))
        };
        self.plan.ids().filter(waits).map(|id| self.plan_of(id).name.clone()).collect()
    }

    pub(super) fn restarts_with(&self, id: InstanceId) -> Option<InstanceId> {
        let dependencies = &self.plan_of(id).depends_on;
        dependencies.iter().find(|d| d.restart && self.lives[d.on.0 as usize].again()).map(|d| d.on)
    }

    pub(super) fn check_starts(&mut self, now: Time) {
        for (id, instance) in self.plan.all() {
            let life = &self.lives[id.0 as usize];
            let name = &instance.name;
            if let Some(due) = life.restart_due()
                && due + NEARLY < now
                && self.step.tick
            {
                violation!(
                    "{name} should have been started again at {due:?}, or have been said to wait, now it is {now:?}"
                );
            }
            if self.waiting(id) {
                match self.chance(id) {
                    Chance::Now => violation!("{name} could start and does not"),
                    Chance::Never(on) => violation!("{name} waits for {on:?}, which will never be"),
                    Chance::Wait(_) => {}
                }
            }
            if let Some(on) = self.restarts_with(id) {
                let runs = life.active() && life.ended.is_none() && !life.is_leaving();
                if runs || self.freed(id) {
                    violation!("{name} goes on by itself although {on:?} is about to start again");
                }
            }
            let due = life.kill_due(instance);
            if life.active()
                && life.killed_any().is_none()
                && self.step.tick
                && due.is_some_and(|due| due < now)
            {
                violation!("{name} should have got SIGKILL at {due:?}, now it is {now:?}");
            }
            if instance.kind == Kind::Command && (life.failed || life.completed) {
                violation!("{name} has ended and the container does not stop");
            }
            // What somebody has stopped by hand, and has ended by itself before its turn came, is down as that was wanted.
            let held = life.wishes.held;
            if life.failed && instance.on_failure == OnFailure::Exit && !held {
                violation!("{name} has failed for good and the container does not stop");
            }
            if life.completed && instance.on_success == OnSuccess::Exit && !held {
                violation!("{name} is done and the container does not stop");
            }
        }
        let wanted =
            || self.plan.all().map(|(id, i)| (&self.lives[id.0 as usize], i)).filter(|(_, i)| counts(i));
        let arrived = wanted().all(|(life, i)| arrived(life, i) || missed(life, i))
            && wanted().any(|(life, i)| life.ready() && arrived(life, i));
        if arrived && !self.all_up && !self.command_mode() && self.coming.is_empty() {
            violation!("all are up, and it is not told");
        }
        if self.all_done() {
            violation!("nothing runs, nothing will, and the container does not stop");
        }
    }

    pub(super) fn all_done(&self) -> bool {
        let over = |life: &Life| !life.active() && life.restart_due().is_none() && !life.wishes.held;
        self.lives.iter().all(over)
    }
}

/// How a run ended in truth, and how long it was known to be well.
fn truth(name: &str, run: &Run, life: &Life, uptime: Duration) -> (Cause, Duration) {
    let truth = match (&run.spawn_error, &run.exec_error, run.died) {
        (Some(error), ..) | (None, Some(error), _) => Cause::Start(error.clone()),
        (None, None, Some((_, status))) if life.unready => Cause::Unready(status),
        (None, None, Some((_, status))) => Cause::Exit(status),
        (None, None, None) => violation!("{name} is said to have ended, but it lives: {run:?}"),
    };
    match (&life.leaving, &life.out_of_memory) {
        (Some(Leaving::Failed(_, well)), Some(cause)) => (cause.clone(), *well),
        (_, Some(cause)) => (cause.clone(), uptime),
        (Some(Leaving::Failed(cause, well)), None) => (cause.clone(), *well),
        (Some(Leaving::With(_) | Leaving::Wish) | None, None) => (truth, uptime),
    }
}
