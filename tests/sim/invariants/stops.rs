//! The stop of the container: its reason, its order, its deadline, and the code at its end.

use tinysup::event::ExitStatus;

use super::*;

impl Judge {
    pub(super) fn stopping(&mut self, world: &mut World, reason: &StopReason) {
        if self.stop.is_some() {
            violation!("the stop begins a second time: {reason:?}");
        }
        let right = match reason {
            StopReason::Signal(signal) => self.step.signal == Some(*signal) && self.ends_container(*signal),
            StopReason::Asked => self.verb() == Some(Verb::Shutdown),
            StopReason::Failed(name) => {
                let id = self.by_name(name);
                let life = &self.lives[id.0 as usize];
                (life.failed || life.cannot_start) && self.plan_of(id).on_failure == OnFailure::Exit
            }
            StopReason::Ended(name) => {
                let id = self.by_name(name);
                let life = &self.lives[id.0 as usize];
                let command = self.plan_of(id).kind == Kind::Command;
                let done = life.completed && self.plan_of(id).on_success == OnSuccess::Exit;
                done || command && (life.completed || life.failed || life.cannot_start)
            }
            StopReason::AllDone => self.all_done(),
        };
        if !right {
            violation!("the stop begins without a reason: {reason:?}");
        }
        world.count(match reason {
            StopReason::Signal(_) => "stop by a signal",
            StopReason::Asked => "stop by a client",
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
        self.coming.clear();
        self.expected = None;
        let since = self.now();
        self.stop = Some(Stop {
            reason: reason.clone(),
            since,
            delayed: self.step.delayed,
            strays_since: None,
            told: since,
        });
    }

    /// Nothing of it is left that the stop would wait for, in truth and not only as far as the core knows.
    pub(super) fn down(&self, world: &World, id: InstanceId) -> bool {
        let life = &self.lives[id.0 as usize];
        let leader = world.runs.get(&Child { instance: id, run: life.run, role: Role::Main });
        let unreleased = leader.is_some_and(|run| run.pid.is_some() && !run.released);
        let only_leader = only_leader(self.plan_of(id)) || life.unkillable;
        !unreleased && (only_leader || world.living_of(id).all(|proc| world.asks_undying(proc)))
    }

    /// The deadline of the stop has come, or somebody pressed Ctrl-C twice.
    pub(super) fn in_a_hurry(&self) -> bool {
        self.stop.is_some() && (self.interrupts >= 2 || self.limit().is_some_and(|limit| self.now() >= limit))
    }

    pub(super) fn limit(&self) -> Option<Time> {
        self.stop.as_ref().and_then(|stop| Some(stop.since + self.plan.shutdown_timeout?))
    }

    pub(super) fn check_stop(&mut self, world: &mut World, now: Time) {
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
        for (id, instance) in self.plan.all() {
            let life = &self.lives[id.0 as usize];
            let needed = self.dependents(id).iter().any(|other| self.lives[other.0 as usize].active());
            if !life.active() || life.ended.is_some() && world.living_of(id).next().is_none() {
                continue;
            }
            if !needed && life.asked.is_none() && life.ended.is_none() {
                violation!("{} could be asked to stop and is not", instance.name);
            }
            if life.ended.is_some() && only_leader(instance) {
                continue;
            }
            let due = match life.asked {
                Some(_) => life.kill_due(instance),
                None => life.left.zip(instance.stop.kill_timeout).map(|(left, timeout)| left + timeout),
            };
            let due = match (due, self.limit()) {
                (Some(due), Some(limit)) => Some(due.min(limit)),
                (due, limit) => due.or(limit),
            };
            let due = if self.interrupts >= 2 { Some(Time::ZERO) } else { due };
            // What hides behind a stop_command that has not ended can only be found when that has.
            let found = world.living_of(id).any(|proc| !proc.spawned && !world.is_shielded(proc));
            let killed = if life.ended.is_none() || found { life.killed } else { life.killed_any() };
            if ticked && due.is_some_and(|due| due < now) && killed.is_none() {
                violation!("{} should have got SIGKILL at {due:?}, now it is {now:?}", instance.name);
            }
        }
    }

    /// Whoever depends on it, be it through others.
    pub(super) fn dependents(&self, id: InstanceId) -> Vec<InstanceId> {
        let mut found = Vec::new();
        // While an update is under way they need not stand in an order.
        loop {
            let known = found.len();
            for (other, instance) in self.plan.all() {
                let depends = instance.depends_on.iter().any(|d| d.on == id || found.contains(&d.on));
                if depends && !found.contains(&other) {
                    found.push(other);
                }
            }
            if found.len() == known {
                return found;
            }
        }
    }

    pub(super) fn exit(&mut self, world: &mut World, code: ExitCode) {
        self.left = true;
        self.outputs.at_exit();
        self.check_kills_told();
        self.check_reason_left();
        let Some(stop) = &self.stop else { violation!("it exits without having stopped") };
        for (id, life) in (0..).map(InstanceId).zip(&self.lives) {
            if life.active() && !(self.in_a_hurry() || life.unkillable) {
                violation!("it exits although the end of {} was not told", self.plan_of(id).name);
            }
            if life.active() {
                world.count("exit with a process that cannot die");
            }
        }
        if let Some(asks) = world.open.first() {
            violation!("it exits while {asks:?} goes on");
        }
        let stays = matches!(self.plan.mode, Mode::Command(manner) if !matches!(manner.rest, Rest::Stop(_)));
        if world.weather.pid1 && !stays {
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
            && self.now() > last + STRAY_LOOK + world.delayed.saturating_sub(delayed)
        {
            violation!("nothing happened since {last:?}, and it exits only now: {:?}", self.now());
        }
        if self.code_told != Some(code.0) && !self.command_mode() {
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

    pub(super) fn code(&self, stop: &Stop) -> u8 {
        let last = |life: &Life| life.cause.as_ref().map(code_of);
        // What could not be started has no code of its own.
        let own = |life: &Life| last(life).filter(|code| *code != 0 && !life.cannot_start);
        let failure = |life: &Life| own(life).unwrap_or(1);
        if self.command_mode() {
            let given = match (self.plan.mode, &self.lives[0].cause) {
                (Mode::Command(manner), Some(Cause::Start(_))) => manner.start_failure,
                _ => None,
            };
            return given.or_else(|| last(&self.lives[0])).unwrap_or(0);
        }
        match &stop.reason {
            StopReason::Signal(_) | StopReason::Asked => {
                // Remains of an earlier crash count if they were still there when the stop began.
                let over = |life: &Life| life.over.filter(|_| !life.active());
                let in_it = |life: &Life| over(life).is_none_or(|at| at >= stop.since);
                let killed = self.lives.iter().any(|life| life.killed.is_some() && in_it(life));
                if killed { 137 } else { 0 }
            }
            StopReason::Failed(name) => failure(&self.lives[self.by_name(name).0 as usize]),
            StopReason::Ended(name) => {
                let life = &self.lives[self.by_name(name).0 as usize];
                // A command that was never run is no success.
                if life.cannot_start { 1 } else { last(life).unwrap_or(0) }
            }
            StopReason::AllDone => {
                let failed = |life: &&Life| life.failed || life.cannot_start;
                self.plan.ids().map(|id| &self.lives[id.0 as usize]).find(failed).map_or(0, failure)
            }
        }
    }
}

/// What stands for an end, by the table in docs/exit-codes.md.
pub(super) fn code_of(cause: &Cause) -> u8 {
    match cause {
        Cause::Exit(ExitStatus::Code(code)) | Cause::Unready(ExitStatus::Code(code)) => *code,
        Cause::Exit(ExitStatus::Signal { signal, .. })
        | Cause::Unready(ExitStatus::Signal { signal, .. }) => u8::try_from(128 + signal.number()).unwrap(),
        Cause::Start(error) => match **error {
            StartError::NotFound { .. } | StartError::MissingInterpreter { .. } => 127,
            _ => 126,
        },
        Cause::NotReady(_)
        | Cause::Unhealthy { .. }
        | Cause::Watchdog { .. }
        | Cause::OverMemory { .. }
        | Cause::ShortMemory { .. } => 1,
        Cause::OutOfMemory { .. } => 137,
    }
}
