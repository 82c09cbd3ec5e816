//! Who is signalled, when and with what: only ours, the polite one first, SIGKILL only when it is time.

use tinysup::control::VERSION;
use tinysup::event::Client;
use tinysup::kernel::Kernel;
use tinysup::plan::Manner;

use super::*;

impl Judge {
    /// Whose process is sent a signal.
    fn receiver(world: &World, pid: Pid, signal: Signal) -> Child {
        match world.leader(pid).and_then(|proc| proc.owner) {
            Some(child) => child,
            None => violation!("{signal} for {pid:?}, which is no unreleased child of ours"),
        }
    }

    pub(super) fn signal(&mut self, world: &mut World, pid: Pid, group: bool, signal: Signal) {
        self.step.sent.push((pid, group, signal));
        let child = Self::receiver(world, pid, signal);
        if self.step.asks_group && self.step.exited == Some(pid) {
            let defined = self.plan_of(child.instance).signals.get(&Signal::TERM);
            if !group || signal != defined.copied().flatten().unwrap_or(Signal::TERM) {
                violation!("the group of the ended command is asked to end by {signal}");
            }
            self.step.asks_group = false;
            self.step.sent.pop();
            return world.count("group that is asked to end");
        }
        if self.step.exited == Some(pid) && signal != Signal::KILL && child.role == Role::Main {
            violation!("{signal} for {pid:?}, whose end was just reported");
        }
        if let Some(early) = self.step.early.pop_front() {
            self.step.signal = Some(early);
        }
        if self.verb() == Some(Verb::Signal) {
            let life = &self.lives[child.instance.0 as usize];
            if child.role != Role::Main
                || !life.can_be_signalled()
                || !self.sends_by_hand(child.instance, group, signal)
            {
                violation!("a client's {signal} for {child:?}, group {group}: {:?}", self.step.request);
            }
            // What ends by it was not ended by the OOM killer.
            self.life(child.instance).kill_sent |= signal == Signal::KILL;
            return world.count(if signal == Signal::KILL { "SIGKILL by hand" } else { "signal by hand" });
        }
        if let Some(got) = self.step.signal.filter(|signal| !self.ends_container(*signal)) {
            self.forward(child, pid, group, signal);
            return self.asked_by(got);
        }
        if (child.role, signal) == (Role::Main, Signal::KILL) {
            self.life(child.instance).kill_sent = true;
        }
        let stop = &self.plan_of(child.instance).stop;
        let (stop_signal, mode) = (stop.signal, stop.mode);
        match (child.role, signal) {
            (_, Signal::CONT) => {}
            // Where the stop signal itself is SIGKILL, the words tell which it is.
            (Role::Main, Signal::KILL)
                if stop_signal != Signal::KILL || self.step.killing.contains(&child.instance) =>
            {
                if group && mode == KillMode::Process {
                    violation!("SIGKILL for the group of {pid:?}, although kill_mode = process");
                }
                self.kill(world, child.instance);
                let now = self.now();
                self.life(child.instance).killed.get_or_insert(now);
            }
            (Role::Main, Signal::ABRT) if self.lives[child.instance.0 as usize].falls_silent() => {
                self.ask(world, child.instance);
            }
            (Role::Main, _)
                if signal == stop_signal && !self.lives[child.instance.0 as usize].falls_silent() =>
            {
                self.ask(world, child.instance);
                if group != (mode == KillMode::Group) && signal != Signal::KILL {
                    violation!("the stop signal for {pid:?} goes to the wrong ones: kill_mode = {mode:?}");
                }
            }
            (Role::Main, _) => violation!("{signal} for {pid:?}, which stops at {stop_signal}"),
            (Role::StopCommand, Signal::TERM) => {}
            (Role::StopCommand, Signal::KILL) => {
                let now = self.now();
                self.life(child.instance).command_killed.get_or_insert(now);
            }
            (Role::Probe(_), Signal::KILL) if group => self.kills_probe(child, pid),
            (Role::Probe(_), _) => violation!("{signal} for {pid:?}, the command of a test"),
            (Role::StopCommand, _) => violation!("{signal} for the stop_command {pid:?}"),
        }
    }

    /// What a client has sent to whom.
    fn sends_by_hand(&self, id: InstanceId, group: bool, signal: Signal) -> bool {
        self.step.request.as_ref().is_some_and(|request| {
            let right = Signal::parse(&request.signal).is_ok_and(|wanted| wanted == signal);
            let asked = request.verb == Verb::Signal && request.v == VERSION && request.group == group;
            right && asked && self.meant(request).contains(&id)
        })
    }

    /// A client's signal reaches each that it names and that runs, once.
    pub(super) fn check_sent_by_hand(&self) {
        let request = self.step.request.as_ref().filter(|request| request.verb == Verb::Signal);
        let Some((request, Ok(signal))) = request.map(|request| (request, Signal::parse(&request.signal)))
        else {
            return;
        };
        let running = |id: &InstanceId| self.lives[id.0 as usize].can_be_signalled();
        let meant = |id: &InstanceId| self.sends_by_hand(*id, request.group, signal);
        for id in self.plan.ids().filter(running).filter(meant) {
            let life = &self.lives[id.0 as usize];
            let sent = self.step.sent.iter().filter(|(to, ..)| Some(*to) == life.pid).count();
            if sent != 1 {
                violation!("{} gets {signal} of a client {sent} times: {life:?}", self.plan_of(id).name);
            }
        }
    }

    /// What was passed on while it was waited, before anything of that is told.
    pub fn passed_on(&mut self, world: &mut World) {
        for (signal, reported, sent) in std::mem::take(&mut world.passed_on) {
            if self.ends_container(signal) || self.early.is_some() && self.command_mode() {
                violation!("{signal} is passed on at once");
            }
            let now = world.now();
            self.step =
                Step { now: Some(now), delayed: world.delayed, signal: Some(signal), ..Step::default() };
            for (pid, becomes) in sent {
                self.step.sent.push((pid, false, becomes));
                self.forward(Self::receiver(world, pid, becomes), pid, false, becomes);
            }
            self.check_receivers(world, signal);
            if reported {
                self.to_tell.push_back((signal, std::mem::take(&mut self.step.sent)));
            } else {
                self.check_nothing_follows(signal);
            }
        }
    }

    /// Whether an instance is one that signals are passed on to.
    fn receives(&self, id: InstanceId) -> bool {
        let life = &self.lives[id.0 as usize];
        if self.command_mode() { life.active() && life.ended.is_none() } else { life.running() }
    }

    /// That a signal was passed on is not told only where nobody could read that, and nothing else follows.
    fn check_nothing_follows(&self, signal: Signal) {
        let Mode::Command(manner) = self.plan.mode else {
            violation!("{signal} is passed on without a word")
        };
        let escalates = signal == Signal::TERM && self.plan_of(InstanceId(0)).stop.kill_timeout.is_some();
        let suspends = manner.suspend && matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU);
        if escalates || suspends || self.plan.log.debug {
            violation!("{signal} is passed on, and nothing follows");
        }
    }

    /// Nobody who runs is left out, and nobody else gets it.
    fn check_receivers(&self, world: &World, got: Signal) {
        for (index, (pid, _, _)) in self.step.sent.iter().enumerate() {
            if self.step.sent.iter().skip(index + 1).any(|(other, _, _)| other == pid) {
                violation!("{got} is passed on to {pid} twice: {:?}", self.step.sent);
            }
            let owner = world.leader(*pid).and_then(|proc| proc.owner);
            if owner.is_some_and(|child| !self.receives(child.instance)) {
                violation!("{got} is passed on to {owner:?}, which does not run");
            }
        }
        let unmeant = [Signal::PIPE, Signal::TTIN, Signal::TTOU, Signal::LIBRARY_1, Signal::LIBRARY_2];
        if !self.command_mode() && unmeant.contains(&got) && !self.plan.routes.contains_key(&got) {
            return;
        }
        for id in self.plan.ids() {
            let pid = self.lives[id.0 as usize].pid.filter(|_| self.receives(id));
            let Some((becomes, pid)) = self.becomes(id, got, false).zip(pid) else { continue };
            if !self.step.sent.contains(&(pid, false, becomes)) {
                violation!("{got} does not reach {}: {:?}", self.plan_of(id).name, self.step.sent);
            }
        }
    }

    /// The files of output are opened again, upon the signal that says so, or for a client.
    pub(super) fn reopens(&mut self, world: &mut World, client: Option<Client>) {
        if client.is_some() && self.verb() == Some(Verb::Reopen) {
            return;
        }
        if client.is_some() || self.step.signal != self.plan.log.reopen_signal || self.step.signal.is_none() {
            violation!("files are opened again for {:?}", self.step.signal);
        }
        world.count("signal to open files again");
        self.step.reopened = true;
    }

    /// A signal that is passed on.
    pub(super) fn forward(&mut self, child: Child, pid: Pid, group: bool, sent: Signal) {
        let got = self.step.signal.unwrap();
        let instance = self.plan_of(child.instance);
        let expected = self.becomes(child.instance, got, group);
        if expected != Some(sent) || child.role != Role::Main {
            violation!("{got} is passed on to {pid:?} of {} as {sent}, expected {expected:?}", instance.name);
        }
    }

    /// The core knows that the one command was passed this signal on: what asks it to end gives it as long as `kill_timeout` says. What
    /// was passed on at once is reported a moment later, in its turn; nobody could count from before that.
    pub(super) fn asked_by(&mut self, got: Signal) {
        let (id, now) = (InstanceId(0), self.now());
        if self.command_mode() && got == Signal::TERM && self.plan_of(id).stop.kill_timeout.is_some() {
            self.life(id).asked.get_or_insert(now);
        }
    }

    /// What an instance, or its group, gets for a signal that is passed on.
    fn becomes(&self, id: InstanceId, got: Signal, group: bool) -> Option<Signal> {
        let instance = self.plan_of(id);
        match self.plan.mode {
            Mode::Command(Manner { receivers: Receivers::Everybody, .. }) => None,
            Mode::Command(manner) => {
                let becomes = instance.signals.get(&got).copied().unwrap_or(Some(got));
                becomes.filter(|_| group == (manner.receivers == Receivers::Group))
            }
            Mode::Pause => None,
            Mode::Services => {
                let routed = self.plan.routes.get(&got).is_none_or(|to| to.contains(&id));
                let becomes = instance.signals.get(&got).copied().unwrap_or(Some(got));
                let ours = got == Signal::HUP || Some(got) == self.plan.log.reopen_signal;
                becomes.filter(|_| routed && !group && !ours)
            }
        }
    }

    /// The one command's init passes a signal on to all there are.
    pub(super) fn signal_everybody(&mut self, signal: Signal) {
        if let Some(early) = self.step.early.pop_front() {
            self.step.signal = Some(early);
        }
        let got = self.step.signal;
        let table = &self.plan_of(InstanceId(0)).signals;
        let becomes = got.and_then(|got| table.get(&got).copied().unwrap_or(Some(got)));
        let everybody =
            matches!(self.plan.mode, Mode::Command(Manner { receivers: Receivers::Everybody, .. }));
        if !everybody || becomes != Some(signal) {
            violation!("{got:?} is passed on to everybody as {signal}");
        }
        self.asked_by(got.unwrap());
        let anybody = Pid::new(1).unwrap();
        self.step.sent.push((anybody, true, signal));
    }

    /// Who is said to be killed is, with its group; where a stop_command has failed, the signal is sent that it was to spare.
    pub(super) fn check_ends(&self) {
        let leader = |id: InstanceId| {
            let life = &self.lives[id.0 as usize];
            life.pid.filter(|_| life.ended.is_none())
        };
        for (id, pid) in self.step.killing.iter().filter_map(|id| Some((*id, leader(*id)?))) {
            let instance = self.plan_of(id);
            if instance.stop.mode != KillMode::Process && !self.step.sent.contains(&(pid, true, Signal::KILL))
            {
                violation!("{} is said to be killed, but not its group", instance.name);
            }
        }
        if let Some((id, pid)) = self.step.command_failed.and_then(|id| Some((id, leader(id)?))) {
            let Instance { name, stop, .. } = self.plan_of(id);
            if !self.step.sent.iter().any(|(to, _, signal)| (*to, *signal) == (pid, stop.signal)) {
                violation!("the stop_command of {name} has failed, and {} is not sent instead", stop.signal);
            }
        }
    }

    /// What the init of one command owes beside its signals.
    pub(super) fn check_command(&self) {
        let step = &self.step;
        if step.suspends > 0
            || !step.reaped.is_empty()
            || step.asks_group
            || !step.stays.is_empty()
            || step.stands
        {
            violation!(
                "something does not follow: {:?}",
                (step.suspends, &step.reaped, step.asks_group, step.stands)
            );
        }
        let failed = |id: InstanceId| match &self.stop {
            Some(Stop { reason: StopReason::Failed(name), .. }) => *name == self.plan_of(id).name,
            _ => false,
        };
        if let Some(id) = step.looks_for_port.filter(|id| !failed(*id)) {
            violation!("{} has not failed, and it is looked for who has its port", self.plan_of(id).name);
        }
    }

    /// Every polite signal is followed by SIGCONT, so that a stopped process acts on it.
    pub(super) fn check_continued(&self) {
        if self.step.signal.is_some_and(|signal| !self.ends_container(signal))
            || self.verb() == Some(Verb::Signal)
        {
            return;
        }
        for (at, (pid, group, signal)) in self.step.sent.iter().enumerate() {
            let polite = !matches!(*signal, Signal::KILL | Signal::CONT);
            if polite && !self.step.sent[at..].contains(&(*pid, *group, Signal::CONT)) {
                violation!("{signal} for {pid:?} is not followed by SIGCONT");
            }
        }
    }

    /// An instance is asked to stop.
    pub(super) fn ask(&mut self, world: &mut World, id: InstanceId) {
        let name = self.plan_of(id).name.clone();
        if self.stop.is_none() && self.lives[id.0 as usize].leaving.is_none() {
            self.goes_by_wish(world, id);
        }
        let in_a_hurry = self.in_a_hurry();
        let kill_timeout = self.plan_of(id).stop.kill_timeout;
        let now = self.now();
        let life = self.life(id);
        if life.asked.is_some() {
            return; // the signal after a failed stop_command
        }
        life.asked = Some(now);
        if !life.ever_up || !life.up {
            world.count("stop before exec");
        }
        if kill_timeout.is_none() {
            world.count("stop without kill_timeout");
        }
        // What was ordered before the stop began, and is there only now, never was of use to anybody.
        let as_spawned = self.stop.is_some() && self.step.spawned == Some(id);
        self.life(id).asked_as_spawned = as_spawned;
        if in_a_hurry || self.stop.is_none() || as_spawned {
            return;
        }
        for other in self.dependents(id) {
            if !self.down(world, other) && !self.dependents(id).contains(&id) {
                let other = &self.plan_of(other).name;
                violation!("{name} is asked to stop although {other}, which depends on it, is not down");
            }
        }
    }

    /// SIGKILL to a service or to what is left of it.
    pub(super) fn kill(&mut self, world: &mut World, id: InstanceId) {
        let now = self.now();
        let hurry = self.in_a_hurry();
        let plan = self.plan.clone();
        let instance = &plan.instances[id.0 as usize];
        let (timeout, name) = (instance.stop.kill_timeout, &instance.name);
        let life = self.life(id);
        if life.killed.is_none() {
            let due = match life.asked {
                Some(_) => life.kill_due(instance),
                None => life.ended.zip(timeout).map(|(ended, timeout)| ended + timeout),
            };
            if !hurry && due.is_none_or(|due| now < due) {
                violation!("SIGKILL for {name} before its time: due {due:?}, now {now:?}");
            }
            world.count(if hurry { "SIGKILL at the deadline" } else { "SIGKILL after kill_timeout" });
        }
        if self.stop.is_some() {
            self.life(id).asked.get_or_insert(now);
        }
    }

    pub(super) fn sweep(&mut self, world: &mut World, child: Child, signal: Signal) {
        let life = &self.lives[child.instance.0 as usize];
        if life.ended.is_none() || life.run != child.run {
            violation!("a sweep of {child:?}, whose leader has not ended");
        }
        if only_leader(self.plan_of(child.instance)) {
            violation!("a sweep of {child:?}, whose leader alone is our business");
        }
        self.step.swept = true;
        match signal {
            Signal::TERM => {}
            Signal::KILL => {
                let now = self.now();
                self.life(child.instance).sweeps_to_kill = Some(now);
                // Where nothing is left it hurts nobody.
                if world.living_of(child.instance).any(|proc| !proc.spawned) {
                    self.kill(world, child.instance);
                }
            }
            signal => violation!("a sweep of {child:?} with {signal}"),
        }
        if self.stop.is_none() && world.living_of(child.instance).any(|proc| !proc.spawned) {
            world.count("leftovers of a crashed leader");
        }
    }

    pub(super) fn sweep_strays(&mut self, world: &mut World, signal: Option<Signal>) {
        let now = self.now();
        let hurry = self.in_a_hurry();
        for id in self.plan.ids() {
            let life = &self.lives[id.0 as usize];
            let late = life.killed_any().is_some_and(|at| hurry || now >= at + UNKILLABLE_AFTER);
            if life.active() && !late {
                violation!("strays are looked for although {} is not down: {life:?}", self.plan_of(id).name);
            }
            if life.active() {
                world.count("shutdown with a process that cannot die");
            }
        }
        if self.stop.is_none() && self.all_done() {
            self.stopping(world, &StopReason::AllDone); // which is not announced
        }
        let Some(stop) = &mut self.stop else { violation!("strays are looked for although nothing stops") };
        match signal {
            Some(Signal::TERM) => {
                stop.strays_since.get_or_insert(now);
            }
            Some(Signal::KILL) => {
                let grace = match self.plan.mode {
                    Mode::Command(Manner { rest: Rest::Stop(grace), .. }) => grace,
                    _ => STRAY_GRACE,
                };
                let waited = stop.strays_since.is_some_and(|since| now >= since + grace);
                if !waited && !hurry {
                    violation!("strays get SIGKILL without their grace");
                }
            }
            Some(signal) => violation!("strays get {signal}"),
            None => {}
        }
    }
}
