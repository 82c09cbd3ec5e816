//! Starts, ends and restarts: nothing before its dependencies, nothing after the stop began, the budget to the unit.

use super::*;

impl Judge {
    pub(super) fn spawn(&mut self, world: &mut World, child: Child) {
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
        let expected = match (stopping, command) {
            (true, _) => Next::Down,
            (false, true) => Next::Ends,
            (false, false) => life.budget.expect(instance, now, cause, uptime),
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
                life.completed = done;
                life.failed = command && !stopping && !done;
            }
        }
        if command && !stopping {
            world.count("command that ended");
        }
        match cause {
            Cause::Start(_) => world.count("failed start"),
            Cause::Exit(_) | Cause::Unready(_) => world.count("run that ended"),
            Cause::NotReady { .. } | Cause::Unhealthy { .. } | Cause::Watchdog { .. } => {
                violation!("{name} is said to have ended by {cause:?}, and no plan has tests yet")
            }
        }
        if let Some((died, delayed)) = world.last_death.get(&Some(id)) {
            let delayed = world.delayed.saturating_sub(*delayed);
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

    pub(super) fn check_starts(&mut self, now: Time, deadline: Option<Time>) {
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
            if instance.kind == Kind::Command && (life.failed || life.completed) {
                violation!("{name} has ended and the container does not stop");
            }
            if life.failed && instance.on_failure == OnFailure::Exit {
                violation!("{name} has failed for good and the container does not stop");
            }
            if life.completed && instance.on_success == OnSuccess::Exit {
                violation!("{name} is done and the container does not stop");
            }
        }
        let wanted = || self.lives.iter().zip(&self.plan.instances).filter(|(_, i)| counts(i));
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

    pub(super) fn all_done(&self) -> bool {
        self.lives.iter().all(|life| !life.active() && life.restart_due().is_none())
    }
}
