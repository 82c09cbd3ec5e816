//! Attempts to ask a service: never two at once, none too early, each with an end, and an answer only for its own.

use tinysup::event::{ExitStatus, Launch};
use tinysup::plan::{Asks, Ready, ReadyTest, Test};
use tinysup::probe::{Failure, Target};

use super::care::Owed;
use super::*;

/// An attempt that is not over.
#[derive(Debug)]
pub(super) struct Try {
    pub child: Child,
    /// From one attempt to the next.
    pub interval: Duration,
    pub began: Time,
    pub late_at: Time,
    /// A command, and its process as soon as it is known.
    pub command: bool,
    pub pid: Option<Pid>,
    /// It took too long and got its SIGKILL.
    pub overdue: bool,
    pub error: Option<Rc<StartError>>,
    pub said: Vec<u8>,
    /// It has to be called off in this step.
    pub unwanted: bool,
}

impl Judge {
    /// An attempt begins.
    pub(super) fn asks(&mut self, world: &mut World, child: Child, asks: Result<&Target, &Launch>) {
        let (id, now, plan) = (child.instance, self.now(), self.plan.clone());
        let instance = &plan.instances[id.0 as usize];
        let name = &instance.name;
        let Role::Probe(number) = child.role else { violation!("{child:?} asks") };
        if number <= std::mem::replace(&mut self.life(id).asked_by, number) {
            violation!("{child:?} has a number that was there before");
        }
        if !self.cared_for(id) || child.run != self.lives[id.0 as usize].run {
            violation!("{child:?} asks, but {name} is not looked after");
        }
        let care = &self.lives[id.0 as usize].care;
        if let Some(other) = &care.attempt {
            violation!("{child:?} asks while {other:?} does");
        }
        if let Some(pid) = care.killed.first() {
            violation!("{child:?} asks while {pid:?}, which asked before, is not gone");
        }
        let health = care.ready.is_some();
        let test: Option<(&Test, Duration)> = match (health, &instance.healthcheck, &instance.ready) {
            (true, Some(check), _) => Some((&check.test, check.interval)),
            (false, _, Some(Ready { test: ReadyTest::Asked(test), interval, .. })) => Some((test, *interval)),
            _ => None,
        };
        let Some((test, interval)) = test else { violation!("{child:?} asks, but {name} has no test now") };
        let right = match (&test.asks, asks) {
            (Asks::Target(own), Ok(target)) => **own == *target,
            (Asks::Command(own), Err(launch)) => **own == *launch,
            _ => false,
        };
        if !right {
            violation!("{child:?} does not ask what its test asks: {asks:?}");
        }
        match care.next {
            _ if care.over => violation!("{child:?} asks although the time is over"),
            Some((earliest, _)) if now >= earliest => {}
            next => violation!("{child:?} asks at {now:?}, due {next:?}"),
        }
        if let Some(ready_at) = care.spread.filter(|_| health) {
            self.first_check(world, id, ready_at, interval);
        }
        world.count(match (health, asks.is_ok()) {
            (true, true) => "health check",
            (true, false) => "health check by a command",
            (false, true) => "readiness attempt",
            (false, false) => "readiness attempt by a command",
        });
        let care = &mut self.life(id).care;
        (care.next, care.spread) = (None, None);
        care.attempt = Some(Try {
            child,
            interval,
            began: now,
            late_at: now + test.timeout,
            command: asks.is_err(),
            pid: None,
            overdue: false,
            error: None,
            said: Vec::new(),
            unwanted: false,
        });
    }

    /// The first health check of a run comes at another part of the interval for every instance, as far as the machine is on time.
    fn first_check(&mut self, world: &World, id: InstanceId, ready_at: Time, interval: Duration) {
        const NEARLY: f64 = 0.02;
        let interval = interval.as_secs_f64();
        if world.weather.late + world.weather.very_late + world.weather.slow_action > 0 || interval < 0.2 {
            return;
        }
        let part = self.now().since(ready_at).as_secs_f64() / interval;
        let name = self.plan_of(id).name.clone();
        if let Some((other, _)) =
            self.parts.iter().find(|(other, at)| **other != id && (**at - part).abs() < NEARLY)
        {
            violation!(
                "{name} and {} are asked at the same part of their interval: {part}",
                self.plan_of(*other).name
            );
        }
        self.parts.insert(id, part);
    }

    pub(super) fn answered(&mut self, world: &mut World, child: Child, result: Result<(), Failure>) {
        let cared_for = self.cared_for(child.instance);
        match self.attempt(child) {
            Some(attempt) if cared_for && !attempt.command => self.attempt_ends(world, child, Some(result)),
            _ => world.count("answer to an attempt that was called off"),
        }
    }

    pub(super) fn command_ended(&mut self, world: &mut World, child: Child, status: ExitStatus) {
        let Some(attempt) = self.attempt(child) else { return };
        let result = match &attempt.error {
            _ if attempt.overdue => None,
            Some(error) => Some(Err(Failure::CommandStart(error.clone()))),
            None if status.success() => Some(Ok(())),
            None => {
                let said = String::from_utf8_lossy(&attempt.said).into_owned();
                Some(Err(Failure::Command { status, said }))
            }
        };
        self.attempt_ends(world, child, result);
    }

    /// The present attempt is over; `None`: what came of it was counted before.
    pub(super) fn attempt_ends(
        &mut self,
        world: &mut World,
        child: Child,
        result: Option<Result<(), Failure>>,
    ) {
        let (id, now) = (child.instance, self.now());
        let attempt = self.life(id).care.attempt.take().unwrap();
        if !self.cared_for(id) {
            return;
        }
        let at = (attempt.began + attempt.interval).max(now);
        self.life(id).care.next = Some((at, at));
        match result {
            None => {}
            Some(Ok(())) => self.good(world, id),
            Some(Err(failure)) => self.miss(world, id, failure),
        }
    }

    pub(super) fn cancel(&mut self, child: Child) {
        if self.pays(child.instance, |owed| *owed == Owed::Cancel(child)).is_some() {
            return;
        }
        let cared_for = self.cared_for(child.instance) && !self.wanted_away(child.instance);
        match self.attempt(child) {
            Some(attempt) if !attempt.command && (attempt.unwanted || !cared_for) => {
                self.life(child.instance).care.attempt = None;
            }
            _ => violation!("{child:?} is called off for no reason"),
        }
    }

    /// SIGKILL for the group of a command that asks.
    pub(super) fn kills_probe(&mut self, child: Child, pid: Pid) {
        if self.step.exited == Some(pid) {
            self.step.probe_ended = None; // what it forked goes with it
            return;
        }
        let (id, now) = (child.instance, self.now());
        let cared_for = self.cared_for(id) && !self.wanted_away(id);
        let again = self.life(id).care.killed.contains(&pid);
        let unwanted = self.attempt(child).is_some_and(|attempt| attempt.unwanted || !cared_for);
        let late = self.pays(id, |owed| *owed == Owed::Kill(pid)).is_some();
        if !(again || unwanted || late) {
            violation!("{child:?} is killed for no reason");
        }
        if unwanted && !late {
            self.life(id).care.attempt = None;
        }
        let plan = self.plan.clone();
        let life = self.life(id);
        if !again {
            life.care.killed.push(pid);
        } else if life.kill_due(&plan.instances[id.0 as usize]).or(life.ended).is_some_and(|due| now >= due) {
            life.command_killed.get_or_insert(now);
        }
    }

    pub(super) fn attempt(&mut self, child: Child) -> Option<&mut Try> {
        self.life(child.instance).care.attempt.as_mut().filter(|attempt| attempt.child == child)
    }
}
