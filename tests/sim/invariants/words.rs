//! What the core says: each notice is true, and nothing is said twice.

use std::collections::BTreeSet;

use tinysup::plan::{Asks, ReadyTest, Test};

use super::care::{Owed, same_failure};
use super::runs::Chance;
use super::wishes::Coming;
use super::*;

impl Judge {
    #[expect(clippy::too_many_lines, reason = "one table of what each notice claims")]
    pub(super) fn notice(&mut self, world: &mut World, notice: &Notice) {
        match notice {
            Notice::Ended { name, cause, uptime, next } => {
                let id = self.by_name(name);
                self.ended(world, name, cause, *uptime, next);
                self.fails_for_who_waits(id);
                self.run_is_over(world, id);
            }
            Notice::Stopping { reason, names } => {
                let order: Vec<_> = names.iter().rev().cloned().collect();
                self.check_names(&order, "running"); // told in the order of the stop
                self.stopping(world, reason);
            }
            Notice::StillStopping { names, remaining } => {
                self.check_names(names, "still stopping");
                let now = self.now();
                let all = self.plan.all().map(|(id, instance)| (instance, &self.lives[id.0 as usize]));
                let own = all.filter_map(|(instance, life)| {
                    life.kill_due(instance).filter(|_| life.active() && life.killed.is_none())
                });
                // Whoever has got SIGKILL waits for no other.
                let killed = self.lives.iter().all(|life| !life.active() || life.killed.is_some());
                let next = own.chain(self.limit()).min().filter(|_| !killed);
                // What a leader left behind before the stop has a deadline of its own, and no longer than the last.
                let remains = self.lives.iter().any(|life| life.active() && life.ended.is_some());
                let most = self.limit().map(|limit| limit.since(now));
                let sooner = most.is_none() || *remaining <= most;
                if *remaining != next.map(|limit| limit.since(now)) && !(remains && sooner) {
                    violation!("{remaining:?} are said to remain");
                }
                if let Some(stop) = &mut self.stop {
                    stop.told = now;
                }
            }
            Notice::Killing { name, why, .. } => {
                let id = self.by_name(name);
                let late = self.limit().is_some_and(|limit| self.now() >= limit);
                let due = self.lives[id.0 as usize].kill_due(self.plan_of(id));
                let own = due.is_some_and(|due| self.now() >= due);
                let right = match why {
                    KillReason::KillTimeout => own,
                    KillReason::ShutdownTimeout => late,
                    KillReason::Impatience => self.interrupts >= 2,
                };
                self.step.killing.push(id);
                if !right {
                    violation!(
                        "{name} is said to be killed for {why:?}: due {due:?}, limit {:?}",
                        self.limit()
                    );
                }
            }
            Notice::DependencyFailed { name, on, completed } => {
                let (id, on) = (self.by_name(name), self.by_name(on));
                let lacks = on;
                let never = matches!(self.chance(id), Chance::Never(one) if one == on);
                let on = &self.lives[on.0 as usize];
                let right = if *completed { on.completed } else { on.failed || on.cannot_start };
                let free = self.waiting(id) || self.due(id) || self.freed(id) || self.freed_by_now(id);
                if !right || !never || !free {
                    violation!("{name} is said to be unable to start, but its dependency is {on:?}");
                }
                world.count("dependency that cannot be had");
                if self.lives[id.0 as usize].run > 0 {
                    world.count("dependency that cannot be had again");
                }
                if self.plan_of(id).kind == Kind::Command {
                    violation!("{name} comes after all others, but needs none of them");
                }
                let life = self.life(id);
                life.cannot_start = true;
                life.wishes.lacks = Some(lacks);
                self.fails_for_who_waits(id);
            }
            Notice::Unkillable { name, found } => {
                let id = self.by_name(name);
                let now = self.now();
                let life = self.life(id);
                life.unkillable = true;
                // Whoever of them got it first: a test that cannot die may have, long before the rest.
                let killed = life.killed.into_iter().chain(life.command_killed).min();
                if killed.is_none_or(|at| now < at + UNKILLABLE_AFTER) {
                    violation!("{name} is called unkillable, but got SIGKILL at {killed:?}");
                }
                if found.is_empty() {
                    violation!("{name}: nobody cannot be ended");
                }
                world.count("unkillable process");
            }
            Notice::AllUp { services, failed, after } => {
                let all = self.plan.all().map(|(id, instance)| (instance, &self.lives[id.0 as usize]));
                let autostart = all.filter(|(i, _)| counts(i));
                let missing: Vec<_> = autostart
                    .filter(|(i, life)| !arrived(life, i) && !missed(life, i))
                    .map(|(i, _)| &i.name)
                    .collect();
                if self.all_up || !missing.is_empty() {
                    violation!("all are said to be up; missing: {missing:?}, said before: {}", self.all_up);
                }
                let counted: BTreeSet<_> =
                    self.plan.all().filter(|(_, one)| counts(one)).map(|(_, one)| &one.service).collect();
                let all = self.plan.all().map(|(id, instance)| (instance, &self.lives[id.0 as usize]));
                let there: BTreeSet<_> =
                    all.filter(|(i, life)| counts(i) && !missed(life, i)).map(|(i, _)| &i.service).collect();
                let lost: BTreeSet<_> = counted.difference(&there).collect();
                if (*services, *failed, *after) != (counted.len(), lost.len(), self.now().since(self.began)) {
                    violation!("{notice:?}; it is {counted:?} but {lost:?}, since {:?}", self.began);
                }
                if !lost.is_empty() {
                    world.count("all up but those that may fail");
                }
                self.all_up = true;
                world.count("all up");
            }
            Notice::Up { name, after, run } => self.arrives(world, name, &Owed::Up, *after, *run),
            Notice::Ready { name, after, run } => self.arrives(world, name, &Owed::Ready, *after, *run),
            Notice::Failing { name, cause, waiting } => self.failing(world, name, cause, waiting),
            Notice::NotYet { name, after, failure } => {
                let (id, now) = (self.by_name(name), self.now());
                let took = self.lives[id.0 as usize].ordered.map(|ordered| now.since(ordered));
                let right = |owed: &Owed| matches!(owed, Owed::NotYet(why) if same_failure(why, failure));
                if took != Some(*after) || self.pays(id, right).is_none() {
                    violation!("{notice:?} is not so: {:?}", self.lives[id.0 as usize].care);
                }
                world.count("not ready yet");
            }
            Notice::Missed { name, misses, of, failure } => {
                let id = self.by_name(name);
                let right = |owed: &Owed| matches!(owed, Owed::Missed(times, why) if times == misses && same_failure(why, failure));
                let retries = self.plan_of(id).healthcheck.as_ref().map(|check| check.retries);
                if retries != Some(*of) || self.pays(id, right).is_none() {
                    violation!("{notice:?} is not so: {:?}", self.lives[id.0 as usize].care);
                }
                world.count("missed health check");
            }
            Notice::Well { name, misses } => {
                self.must_pay(name, &Owed::Well(*misses), notice);
                world.count("well again");
            }
            Notice::Reloading { name } => {
                self.must_pay(name, &Owed::Reloading, notice);
                world.count("reloading");
            }
            Notice::Refused { name, what } => {
                self.must_pay(name, &Owed::Refused(*what), notice);
                world.count("refused wish");
            }
            Notice::RestartsWith { name, on } => {
                let (id, on) = (self.by_name(name), self.by_name(on));
                let life = &self.lives[id.0 as usize];
                let runs = life.active() && life.ended.is_none() && !life.is_leaving();
                if !runs || self.restarts_with(id) != Some(on) {
                    violation!("{notice:?}, but {life:?}");
                }
                world.count("restart with a dependency");
                self.life(id).leaving = Some(Leaving::With(self.plan_of(on).name.clone()));
            }
            Notice::WaitsAgain { name, on } => {
                let (id, on) = (self.by_name(name), self.by_name(on));
                let life = &self.lives[id.0 as usize];
                let (due, freed) = (self.due(id), self.freed(id));
                let waits = matches!(self.chance(id), Chance::Wait(list) if list.contains(&on));
                if !waits || !(due || freed) {
                    violation!("{notice:?}, due {:?}: {:?}", life.restart_due(), self.chance(id));
                }
                world.count(if due { "restart that waits" } else { "restart that waits before its time" });
                self.life(id).waits = true;
            }
            Notice::Forwarded { signal, receivers } => {
                let stops = matches!(*signal, Signal::TSTP | Signal::TTIN | Signal::TTOU);
                let suspends = matches!(self.plan.mode, Mode::Command(manner) if manner.suspend && stops);
                self.step.suspends += usize::from(suspends);
                self.step.untold.take_if(|passed_on| passed_on == signal);
                let sent = &self.step.sent[self.step.told..];
                if *receivers != sent.len() {
                    violation!("a signal is said to go to {receivers}, it went to {sent:?}");
                }
                self.step.told = self.step.sent.len();
                if *receivers > 0 {
                    world.count("signal passed on");
                }
            }
            Notice::Stopped { .. } | Notice::AllDone { .. } | Notice::Obituary(_) => {
                self.last_words(world, notice);
            }
            Notice::LeftoversKilled { name, found } => {
                let id = self.by_name(name);
                self.step.leftovers_killed = Some(id);
                self.left_told(id, true, found);
            }
            Notice::File { path, trouble } => self.outputs.file_told(path, trouble),
            Notice::Reopened { .. } => world.count("files opened again"),
            Notice::RateLimited { name, lines, most, per } => {
                let (id, now) = (self.ever(name), self.now());
                let limit = RateLimit { lines: *most, per: *per };
                self.outputs.drops_told(world, now, id, *lines, limit);
            }
            Notice::StopCommandFailed { name, .. } => {
                self.step.command_failed = Some(self.by_name(name));
                world.count("stop_command that failed");
            }
            Notice::Leftovers { name, found, daemonized } => {
                let id = self.by_name(name);
                self.left_told(id, false, found);
                self.background(world, id, daemonized.is_some());
                world.count("leftovers told");
            }
            Notice::Unread { name, lines } => {
                let id = self.ever(name);
                self.outputs.unread_told(world, id, *lines);
            }
            Notice::ByHand { what, names } => self.by_hand(world, *what, names),
            Notice::Updating(told) => self.updating(world, told),
            Notice::Updated { .. } => self.updated(world),
            Notice::NotUpdated { .. } => self.not_updated(world),
            Notice::MemoryFound { .. }
            | Notice::OomGroup
            | Notice::NoCells
            | Notice::MemoryLimit { .. }
            | Notice::MemoryLow { .. }
            | Notice::MemoryWell { .. }
            | Notice::NoVictim { .. }
            | Notice::OomKilled { .. } => self.memory_notice(world, notice),
            Notice::NotPid1 | Notice::NotAdopting => {
                let right = match world.weather.standing() {
                    Standing::Pid1 => None,
                    Standing::Subreaper => Some(Notice::NotPid1),
                    Standing::Neither => Some(Notice::NotAdopting),
                };
                if right.as_ref() != Some(notice) || !std::mem::take(&mut self.step.stands) {
                    violation!("{notice:?}; right is {right:?}");
                }
            }
            Notice::Reaped { pid, adopted, wanted, .. } => {
                let told = matches!(self.plan.mode, Mode::Command(manner) if manner.tell_reaped);
                if self.step.reaped.pop_front() != Some((*pid, *adopted)) || *wanted != (told && *adopted) {
                    violation!("{notice:?} is not so");
                }
            }
            Notice::Stays { keys } => {
                let expected = std::mem::take(&mut self.step.stays);
                if keys.is_empty() || *keys != expected {
                    violation!("{notice:?}, but {expected:?} differ");
                }
            }
            Notice::AskedGroup(_) => {
                if self.step.asks_group || self.step.exited.is_none() {
                    violation!("{notice:?}, but it was not");
                }
            }
            Notice::Spawned { .. } | Notice::Strays { .. } => {}
        }
    }

    /// Perhaps an update has removed it meanwhile, or given it another name: `s2` or `s2.1`.
    pub(super) fn ever(&self, name: &str) -> InstanceId {
        let (service, number) = name.split_once('.').unwrap_or((name, "1"));
        let is = |one: &Instance| *one.service == *service && one.number.to_string() == number;
        match (0..).map(InstanceId).zip(&self.plan.instances).find(|(_, one)| is(one)) {
            Some((id, _)) => id,
            None => violation!("a notice of \"{name}\", which never was"),
        }
    }

    /// It is said to be up, or ready.
    fn arrives(&mut self, world: &mut World, name: &str, owed: &Owed, after: Duration, run: u32) {
        let (id, now) = (self.by_name(name), self.now());
        let life = &self.lives[id.0 as usize];
        let took = now.since(life.ordered.unwrap());
        if (run, after) != (life.run, took) || self.pays(id, |one| one == owed).is_none() {
            violation!(
                "{name} is said to be {owed:?} after {after:?} in run {run}: {:?}",
                self.lives[id.0 as usize]
            );
        }
        if *owed == Owed::Ready {
            world.count(if run == 1 { "ready" } else { "ready again" });
        }
        world.count(match (owed, self.ready_test(id)) {
            (Owed::Ready, Some(ReadyTest::Notified)) => "ready by READY=1",
            (Owed::Ready, Some(ReadyTest::Announced)) => "ready by a newline",
            (Owed::Ready, Some(ReadyTest::Said(_))) => "ready by a text",
            (Owed::Ready, Some(ReadyTest::After(_))) => "ready after a delay",
            (Owed::Ready, Some(ReadyTest::Asked(Test { asks: Asks::Target(_), .. }))) => "ready by an answer",
            (Owed::Ready, Some(ReadyTest::Asked(Test { asks: Asks::Command(_), .. }))) => {
                "ready by a command"
            }
            _ => "up",
        });
    }

    fn must_pay(&mut self, name: &str, owed: &Owed, notice: &Notice) {
        let id = self.by_name(name);
        if self.pays(id, |one| one == owed).is_none() {
            violation!("{notice:?} is not so: {:?}", self.lives[id.0 as usize].care);
        }
    }

    /// All that run are named, in the order of starts.
    pub(super) fn check_names(&self, names: &[Rc<str>], what: &str) {
        let told: Vec<InstanceId> = names.iter().map(|name| self.by_name(name)).collect();
        let active = |id: &InstanceId| self.lives[id.0 as usize].active();
        self.check_order(&told, &self.plan.ids().filter(active).collect::<Vec<_>>(), what);
    }

    /// These are told, in the order of starts: each after those that it depends on, also while an update is under way and old
    /// definitions stand beside new ones; and as the plan has them wherever that is such an order. Only of those that depend on each
    /// other in a circle, which they may then, any may come first, and of those that an update takes out.
    pub(super) fn check_order(&self, told: &[InstanceId], right: &[InstanceId], what: &str) {
        let names =
            |ids: &[InstanceId]| ids.iter().map(|id| self.plan_of(*id).name.clone()).collect::<Vec<_>>();
        if told.len() != right.len() || right.iter().any(|id| !told.contains(id)) {
            violation!("{:?} are said to be {what}; it is {:?}", names(told), names(right));
        }
        if let Some((id, on)) = self.misplaced(told) {
            violation!(
                "{:?} are said to be {what}, but of {:?} the first needs the other",
                names(told),
                names(&[id, on])
            );
        }
        let wanted: Vec<InstanceId> = self.plan.ids().collect();
        let in_order = self.misplaced(&wanted).is_none() && wanted.iter().all(|id| !self.in_circle(*id));
        let stays = |id: &&InstanceId| !matches!(self.coming.get(id), Some(Coming::Gone));
        if in_order && !told.iter().filter(stays).eq(right.iter().filter(stays)) {
            violation!("{:?} are said to be {what}; the order is {:?}", names(told), names(right));
        }
    }

    fn in_circle(&self, id: InstanceId) -> bool {
        self.dependents(id).contains(&id)
    }

    /// Who stands before one that it depends on, other than in a circle.
    fn misplaced(&self, order: &[InstanceId]) -> Option<(InstanceId, InstanceId)> {
        let later = |at: usize| order.iter().skip(at + 1);
        let mut pairs = order.iter().enumerate().flat_map(|(at, id)| later(at).map(|on| (*id, *on)));
        pairs.find(|(id, on)| self.dependents(*on).contains(id) && !self.in_circle(*id))
    }
}
