//! What the core says: each notice is true, and nothing is said twice.

use super::*;

impl Judge {
    #[expect(clippy::too_many_lines, reason = "one table of what each notice claims")]
    pub(super) fn notice(&mut self, world: &mut World, notice: &Notice) {
        match notice {
            Notice::Ended { name, cause, uptime, next } => self.ended(world, name, cause, *uptime, next),
            Notice::Stopping { reason, names } => {
                let order: Vec<_> = names.iter().rev().cloned().collect();
                self.check_names(&order, "running"); // told in the order of the stop
                self.stopping(world, reason);
            }
            Notice::StillStopping { names, remaining } => {
                self.check_names(names, "still stopping");
                let now = self.now();
                let own = self.plan.instances.iter().zip(&self.lives).filter_map(|(instance, life)| {
                    let asked = life.asked.filter(|_| life.active() && life.killed.is_none())?;
                    Some(asked + instance.stop.kill_timeout?)
                });
                let next = own.chain(self.limit()).min();
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
                let timeout = self.plan_of(id).stop.kill_timeout;
                let late = self.limit().is_some_and(|limit| self.now() >= limit);
                let asked = self.lives[id.0 as usize].asked;
                let own = asked.zip(timeout).is_some_and(|(asked, timeout)| self.now() >= asked + timeout);
                let right = match why {
                    KillReason::KillTimeout => own,
                    KillReason::ShutdownTimeout => late,
                    KillReason::Impatience => self.interrupts >= 2,
                };
                self.step.killing.push(id);
                if !right {
                    violation!(
                        "{name} is said to be killed for {why:?}: asked {asked:?}, limit {:?}",
                        self.limit()
                    );
                }
            }
            Notice::DependencyFailed { name, on, completed } => {
                let (id, on) = (self.by_name(name), self.by_name(on));
                let on = &self.lives[on.0 as usize];
                let right = if *completed { on.completed } else { on.failed || on.cannot_start };
                if !right {
                    violation!("{name} is said to be unable to start, but its dependency is {on:?}");
                }
                world.count("dependency that cannot be had");
                if self.plan_of(id).kind == Kind::Command {
                    world.count("command that cannot start");
                }
                self.life(id).cannot_start = true;
            }
            Notice::Unkillable { name, found } => {
                let id = self.by_name(name);
                let now = self.now();
                let life = self.life(id);
                life.unkillable = true;
                let killed = life.killed.or(life.command_killed);
                if killed.is_none_or(|at| now < at + UNKILLABLE_AFTER) {
                    violation!("{name} is called unkillable, but got SIGKILL at {killed:?}");
                }
                if found.is_empty() {
                    violation!("{name}: nobody cannot be ended");
                }
                world.count("unkillable process");
            }
            Notice::AllUp { .. } => {
                let autostart = self.plan.instances.iter().zip(&self.lives).filter(|(i, _)| counts(i));
                let missing: Vec<_> =
                    autostart.filter(|(i, life)| !arrived(life, i)).map(|(i, _)| &i.name).collect();
                if self.all_up || !missing.is_empty() {
                    violation!("all are said to be up; missing: {missing:?}, said before: {}", self.all_up);
                }
                self.all_up = true;
                world.count("all up");
            }
            Notice::Up { name, .. } => {
                let id = self.by_name(name);
                if !self.lives[id.0 as usize].up {
                    violation!("{name} is said to be up");
                }
            }
            Notice::Forwarded { receivers, .. } => {
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
                let done = matches!(&self.stop, Some(Stop { reason: StopReason::AllDone, .. }));
                if done != matches!(notice, Notice::AllDone { .. }) {
                    violation!("the wrong last words: {notice:?}");
                }
                let failed = matches!(&self.stop, Some(Stop { reason: StopReason::Failed(_), .. }));
                if failed != matches!(notice, Notice::Obituary(_)) {
                    violation!("the wrong last words: {notice:?}");
                }
                if let (Notice::Obituary(text), Some(Stop { reason: StopReason::Failed(name), .. })) =
                    (notice, &self.stop)
                {
                    let never_ran = self.lives[self.by_name(name).0 as usize].cannot_start;
                    if !text.contains(&**name) || never_ran != text.contains("cannot start without") {
                        violation!("the obituary of {name} (never ran: {never_ran}) says: {text}");
                    }
                }
                self.code_told = match notice {
                    Notice::Stopped { code, .. } | Notice::AllDone { code, .. } => Some(*code),
                    Notice::Obituary(text) => text.split("exit code  ").nth(1).and_then(|rest| {
                        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
                    }),
                    _ => None,
                };
                if self.stopped_told {
                    violation!("the end is told twice");
                }
                self.stopped_told = true;
                if let Notice::Obituary(text) = notice
                    && text.len() + text.lines().count() * "tinysup | ".len() > 2048
                {
                    violation!("an obituary of {} bytes", text.len());
                }
            }
            Notice::LeftoversKilled { name, .. } => {
                self.step.leftovers_killed = Some(self.by_name(name));
            }
            Notice::StopCommandFailed { .. } => world.count("stop_command that failed"),
            Notice::Leftovers { .. } => world.count("leftovers told"),
            Notice::Ready { .. }
            | Notice::Failing { .. }
            | Notice::Missed { .. }
            | Notice::Well { .. }
            | Notice::RestartsWith { .. }
            | Notice::Reloading { .. }
            | Notice::Refused { .. } => violation!("{notice:?}, and no plan has tests yet"),
            Notice::WaitsAgain { .. } => world.count("restart that waits"),
            Notice::ByHand { .. } => violation!("nobody asks for anything by hand yet"),
            Notice::NotPid1
            | Notice::NotAdopting
            | Notice::Spawned { .. }
            | Notice::Reaped { .. }
            | Notice::AskedGroup(_)
            | Notice::Strays { .. }
            | Notice::SignalNotSupported(_) => {}
        }
    }

    pub(super) fn check_names(&self, names: &[Rc<str>], what: &str) {
        let right: Vec<_> = self
            .lives
            .iter()
            .zip(&self.plan.instances)
            .filter(|(l, _)| l.active())
            .map(|(_, i)| &i.name)
            .collect();
        if !names.iter().eq(right.iter().copied()) {
            violation!("{names:?} are said to be {what}; it is {right:?}");
        }
    }
}
