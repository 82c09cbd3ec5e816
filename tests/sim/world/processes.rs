//! Processes: pids that are reused at once, forks, re-parenting, deaths, and what a signal does to them.

use super::*;
use crate::violation;

impl World {
    pub(super) fn take_pid(&mut self) -> Option<i32> {
        let reserved = |pid: i32, procs: &BTreeMap<u64, Proc>| {
            procs.values().any(|proc| proc.pid == pid || proc.group == pid || proc.session == pid)
        };
        let usable: Vec<usize> =
            (0..self.free.len()).rev().filter(|at| !reserved(self.free[*at], &self.procs)).collect();
        if usable.is_empty() {
            return None;
        }
        let at = match self.rng.per_mille(self.weather.reuse_at_once) {
            true => usable[0],
            false => *self.rng.pick(&usable),
        };
        Some(self.free.remove(at))
    }

    pub(super) fn insert(&mut self, pid: i32, parent: Parent, owner: Option<Child>, script: Script) -> u64 {
        self.serials += 1;
        let serial = self.serials;
        let proc = Proc {
            serial,
            pid,
            parent,
            group: pid,
            session: pid,
            owner,
            spawned: false,
            stage: Stage::Forked,
            born: self.now,
            frozen: false,
            stuck_until: None,
            pending: Vec::new(),
            missed: Vec::new(),
            script: Rc::new(script),
            depth: 0,
            holds: [false; 2],
            held: memory::Held::NOTHING,
        };
        self.procs.insert(serial, proc);
        serial
    }

    pub(super) fn spawn(&mut self, child: Child, launch: &tinysup::event::Launch, events: &mut Vec<Event>) {
        if self.runs.contains_key(&child) {
            violation!("{child:?} is spawned a second time");
        }
        let mut run = Run {
            pid: None,
            ordered: self.now,
            spawn_error: None,
            began: None,
            executed: None,
            exec_error: None,
            died: None,
            reported: None,
            released: false,
        };
        let pid = if self.rng.per_mille(self.weather.spawn_failure) { None } else { self.take_pid() };
        let Some(pid) = pid else {
            let error = Rc::new(match self.rng.per_mille(500) {
                true => StartError::NoProcess { reason: "Resource temporarily unavailable".to_owned() },
                false => start_error(&mut self.rng),
            });
            run.spawn_error = Some(error.clone());
            self.runs.insert(child, run);
            self.count("spawn failure");
            events.push(Event::SpawnFailed { child, error });
            return;
        };
        let instance = &self.plan.instances[child.instance.0 as usize];
        let name = format!("run {} of {}.{}, {:?}", child.run, instance.service, instance.number, child.role);
        let mut rng = self.rng.named(&name);
        let script = match child.role {
            Role::Main => {
                let temper = self.tempers[child.instance.0 as usize];
                Script::main(&mut rng, &self.weather, temper, instance)
            }
            Role::Probe(_) => self.command(&mut rng, child, launch),
            Role::StopCommand => {
                self.count("stop_command");
                Script::stop_command(&mut rng, &self.weather)
            }
        };
        let exec_after = script.exec_after;
        let serial = self.insert(pid, Parent::Us, Some(child), script);
        for (at, sink, output) in [(0, Sink::Stdout, &launch.stdout), (1, Sink::Stderr, &launch.stderr)] {
            if output.is_seen() {
                self.pipes.insert((child, sink), Pipe { holders: 1, ..Pipe::default() });
                self.procs.get_mut(&serial).unwrap().holds[at] = true;
            }
        }
        let proc = self.procs.get_mut(&serial).unwrap();
        proc.spawned = true;
        run.pid = Some(proc.pid());
        self.runs.insert(child, run);
        if let (Role::Main, Some(cell), true) = (child.role, launch.cell, self.weather.memory.delegated) {
            match cell.memory_max {
                Some(most) => self.ceilings.insert(child.instance, most),
                None => self.ceilings.remove(&child.instance),
            };
        }
        self.plan_for(exec_after, Happening::Do(serial, Doing::Exec));
        self.say(|_| format!("        #{serial} is pid {pid}: {child:?}"));
        events.push(Event::Spawned { child, pid: Pid::new(pid).unwrap() });
    }

    pub(super) fn exec(&mut self, serial: u64) {
        let proc = self.procs.get_mut(&serial).unwrap();
        let child = proc.owner.unwrap();
        let script = Rc::clone(&proc.script);
        if let Some(error) = script.exec_error.clone() {
            self.news.entry(child).or_default().push_back(Event::ExecFailed { child, error });
            self.count("exec failure");
            let after = self.rng.micros(0, 500);
            self.plan_for(after, Happening::Do(serial, Doing::End(ExitStatus::Code(127))));
            return;
        }
        proc.stage = Stage::Running;
        self.runs.get_mut(&child).unwrap().began = Some(self.now);
        self.news.entry(child).or_default().push_back(Event::Executed { child });
        self.say(|_| format!("        #{serial} executes"));
        self.begin(serial);
    }

    /// Plans what a process does from now on.
    pub(super) fn begin(&mut self, serial: u64) {
        let script = Rc::clone(&self.procs[&serial].script);
        for (index, (after, _)) in script.acts.iter().enumerate() {
            self.plan_for(*after, Happening::Do(serial, Doing::Act(index)));
        }
        if let Some((after, status)) = script.end {
            self.plan_for(after, Happening::Do(serial, Doing::End(status)));
        }
    }

    pub(super) fn fork(&mut self, parent: u64, script: &Script, style: Style) {
        let Some(pid) = self.take_pid() else { return };
        let serial = self.insert(pid, Parent::Process(parent), None, script.clone());
        let mut helper = self.procs.remove(&serial).unwrap();
        let proc = &self.procs[&parent];
        helper.owner = proc.owner;
        helper.stage = Stage::Running;
        helper.depth = proc.depth + 1;
        helper.holds = proc.holds;
        (helper.group, helper.session) = match style {
            Style::Child | Style::Orphan => (proc.group, proc.session),
            Style::NewGroup => (pid, proc.session),
            Style::Daemon => (pid, pid),
        };
        if matches!(style, Style::Orphan | Style::Daemon) {
            helper.parent = self.heir(parent);
            self.count("double-forked helper");
        }
        if let Some(child) = helper.owner {
            for (at, sink) in [(0, Sink::Stdout), (1, Sink::Stderr)] {
                if helper.holds[at] {
                    self.pipes.get_mut(&(child, sink)).unwrap().holders += 1;
                }
            }
        }
        self.procs.insert(serial, helper);
        self.count("helper");
        self.say(|_| format!("        #{parent} forks #{serial} pid {pid}, {style:?}"));
        self.begin(serial);
    }

    /// Who adopts the children of this process.
    pub(super) fn heir(&self, serial: u64) -> Parent {
        let mut at = serial;
        loop {
            match self.procs.get(&at).map(|proc| proc.parent) {
                Some(Parent::Us) if self.weather.alone && !self.weather.pid1 => return Parent::Outside,
                Some(Parent::Us) => return Parent::Us,
                Some(Parent::Process(parent)) => at = parent,
                Some(Parent::Outside) | None => {
                    return if self.weather.pid1 { Parent::Us } else { Parent::Outside };
                }
            }
        }
    }

    pub fn ours(&self, serial: u64) -> bool {
        let mut at = serial;
        loop {
            match self.procs.get(&at).map(|proc| proc.parent) {
                Some(Parent::Us) => return true,
                Some(Parent::Process(parent)) => at = parent,
                Some(Parent::Outside) | None => return false,
            }
        }
    }

    pub(super) fn die(&mut self, serial: u64, status: ExitStatus) {
        let heir = self.heir(serial);
        let proc = self.procs.get_mut(&serial).unwrap();
        let (pid, owner, parent, forked) = (proc.pid, proc.owner, proc.parent, proc.stage == Stage::Forked);
        proc.stage = Stage::Zombie(status);
        proc.stuck_until = None;
        self.last_death.insert(None, (self.now, self.delayed));
        if let Some(child) = owner {
            self.last_death.insert(Some(child.instance), (self.now, self.delayed));
        }
        self.say(|_| format!("        #{serial} pid {pid} ends: {status}"));
        self.let_go(serial, Sink::Stdout);
        self.let_go(serial, Sink::Stderr);
        if self.procs[&serial].spawned {
            let child = owner.unwrap();
            let told = self.news.contains_key(&child);
            let run = self.runs.get_mut(&child).unwrap();
            run.died = Some((self.now, status));
            if forked && !told {
                self.count("death before exec");
                if self.weather.early_death_looks_executed {
                    self.news.entry(child).or_default().push_back(Event::Executed { child });
                }
            }
        }
        let orphans: Vec<u64> = self
            .procs
            .values()
            .filter(|proc| proc.parent == Parent::Process(serial))
            .map(|proc| proc.serial)
            .collect();
        for orphan in orphans {
            let proc = self.procs.get_mut(&orphan).unwrap();
            proc.parent = heir;
            if heir == Parent::Outside && !proc.lives() {
                self.bury(orphan);
            }
        }
        match parent {
            Parent::Us => {}
            Parent::Outside => self.bury(serial),
            // A careless parent leaves the collecting to its heir.
            Parent::Process(_) if self.rng.per_mille(200) => self.count("zombie of a careless parent"),
            Parent::Process(_) => self.bury(serial),
        }
    }

    pub(super) fn bury(&mut self, serial: u64) {
        let proc = self.procs.remove(&serial).unwrap();
        self.free.push(proc.pid);
    }

    pub fn send(&mut self, serial: u64, signal: Signal) {
        let Some(proc) = self.procs.get_mut(&serial).filter(|proc| proc.lives()) else { return };
        match signal {
            Signal::CONT => {
                if proc.frozen {
                    proc.frozen = false;
                    self.wake(serial);
                }
            }
            Signal::KILL if !proc.stuck() => {
                self.die(serial, ExitStatus::Signal { signal: Signal::KILL, core: false });
            }
            Signal::STOP if !proc.stuck() => proc.frozen = true,
            _ if proc.frozen || proc.stuck() => {
                if !proc.pending.contains(&signal) {
                    proc.pending.push(signal);
                }
            }
            _ => self.receive(serial, signal),
        }
    }

    pub(super) fn wake(&mut self, serial: u64) {
        let proc = self.procs.get_mut(&serial).unwrap();
        if proc.frozen && !proc.pending.contains(&Signal::KILL) || proc.stuck() || !proc.lives() {
            return;
        }
        let mut pending = std::mem::take(&mut proc.pending);
        let missed = std::mem::take(&mut proc.missed);
        if pending.contains(&Signal::KILL) {
            pending = vec![Signal::KILL];
        }
        for signal in pending {
            self.send(serial, signal);
        }
        for doing in missed {
            self.happen(Happening::Do(serial, doing));
        }
    }

    pub(super) fn receive(&mut self, serial: u64, signal: Signal) {
        let proc = &self.procs[&serial];
        let killed = ExitStatus::Signal { signal, core: false };
        let instance = proc.owner.and_then(|child| self.plan.instance(child.instance));
        let reaction = match signal {
            Signal::CHLD | Signal::WINCH => Reaction::Ignores,
            Signal::TSTP | Signal::TTIN | Signal::TTOU => Reaction::Ignores,
            _ if signal.number() == 23 => Reaction::Ignores,
            _ if proc.stage == Stage::Forked => Reaction::Default,
            _ if asks_to_end(signal, instance) => proc.script.polite,
            _ => proc.script.other,
        };
        match reaction {
            Reaction::Default => self.die(serial, killed),
            Reaction::Exits(after, code) => {
                self.plan_for(after, Happening::Do(serial, Doing::End(ExitStatus::Code(code))));
            }
            Reaction::Ignores => {}
        }
    }
}
