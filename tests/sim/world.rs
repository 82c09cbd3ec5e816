//! A machine in memory: processes, groups, pipes and a clock that moves only when somebody waits or acts. It is a
//! `Kernel` to the core, keeps the truth for the judge, and itself holds the core to the contract of the seam.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use tinysup::event::{
    Action, Child, Event, ExitCode, ExitStatus, InstanceId, Listener, Output, Pid, Process, Role, Sink,
    StartError, Time,
};
use tinysup::kernel::Kernel;
use tinysup::plan::{Mode, Plan};
use tinysup::units::Signal;

use crate::faults::{Act, Reaction, Script, Style, Temper, Visitor, Weather, asks_to_end, start_error};
use crate::rng::Rng;

/// What was seen, for the statistics: how often each thing happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// Each time after so many waits the world loses its patience and asks to stop, at last by SIGINT; then it has to end.
const WAITS_BEFORE_STOP: u64 = 1200;

/// Stops the simulation: an invariant does not hold. Caught by the runner, which knows the seed.
pub struct Violation(pub String);

/// Ends the simulation with a sentence that says what does not hold.
#[macro_export]
macro_rules! violation {
    ($($text:tt)*) => { std::panic::panic_any($crate::world::Violation(format!($($text)*))) };
}

/// Who would collect a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    Us,
    Process(u64),
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Forked,
    Running,
    Zombie(ExitStatus),
}

#[derive(Debug)]
pub struct Proc {
    /// Never used twice, unlike the pid.
    pub serial: u64,
    pub pid: i32,
    pub parent: Parent,
    pub group: i32,
    session: i32,
    /// Which run it descends from, wherever it has moved since; nobody's if it came from outside.
    pub owner: Option<Child>,
    /// Whether the core ordered it; else it was forked by another.
    pub spawned: bool,
    pub stage: Stage,
    pub born: Time,
    frozen: bool,
    pub stuck_until: Option<Time>,
    /// Signals it will get when it runs again.
    pending: Vec<Signal>,
    /// What it would have done while it could not run.
    missed: Vec<Doing>,
    script: Rc<Script>,
    depth: u32,
    /// Which of its run's output pipes it holds open.
    holds: [bool; 2],
}

impl Proc {
    pub fn lives(&self) -> bool {
        !matches!(self.stage, Stage::Zombie(_))
    }

    pub fn stuck(&self) -> bool {
        self.stuck_until.is_some()
    }

    pub fn pid(&self) -> Pid {
        Pid::new(self.pid).unwrap()
    }
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Exec,
    Act(usize),
    End(ExitStatus),
}

#[derive(Clone, Debug)]
enum Happening {
    Do(u64, Doing),
    Unstick(u64),
    Visit(Visitor),
}

/// The whole truth of one child the core ordered.
#[derive(Clone, Debug)]
pub struct Run {
    pub pid: Option<Pid>,
    pub ordered: Time,
    pub spawn_error: Option<StartError>,
    /// What was reported of its exec.
    pub executed: Option<Time>,
    pub exec_error: Option<StartError>,
    pub died: Option<(Time, ExitStatus)>,
    /// When its end was reported to the core.
    pub reported: Option<Time>,
    pub released: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    buffer: VecDeque<u8>,
    holders: u32,
    ended: bool,
    lines: u64,
}

pub struct World {
    now: Time,
    rng: Rng,
    pub plan: Rc<Plan>,
    pub weather: Weather,
    tempers: Vec<Temper>,
    pub procs: BTreeMap<u64, Proc>,
    serials: u64,
    /// Pids that were given back, the last one first.
    free: Vec<i32>,
    agenda: BTreeMap<(Time, u64), Happening>,
    tickets: u64,
    signals: VecDeque<Signal>,
    news: BTreeMap<Child, VecDeque<Event>>,
    pipes: BTreeMap<(Child, Sink), Pipe>,
    /// The ended child that was reported and has to be released before anything else.
    reported: Option<Pid>,
    pub runs: BTreeMap<Child, Run>,
    /// How late wake-ups and actions were made in all; deadlines are missed by as much.
    pub delayed: Duration,
    /// When the last process of an instance, or any, has died, and what `delayed` was then.
    pub last_death: BTreeMap<Option<InstanceId>, (Time, Duration)>,
    waits: u64,
    asked_to_end: u32,
    pub last_stray_sweep: Option<Time>,
    /// What was ordered and when, in one number.
    pub orders: u64,
    pub exited: Option<ExitCode>,
    pub counts: Counts,
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(mut rng: Rng, plan: Rc<Plan>) -> Self {
        let weather = Weather::draw(&mut rng, &plan);
        let tempers = plan.instances.iter().map(|instance| Temper::draw(&mut rng, &plan, instance)).collect();
        let mut world = Self {
            now: Time(1_000_000_000),
            free: (2..=weather.pids).rev().collect(),
            rng,
            plan,
            weather,
            tempers,
            procs: BTreeMap::new(),
            serials: 0,
            agenda: BTreeMap::new(),
            tickets: 0,
            signals: VecDeque::new(),
            news: BTreeMap::new(),
            pipes: BTreeMap::new(),
            reported: None,
            runs: BTreeMap::new(),
            delayed: Duration::ZERO,
            last_death: BTreeMap::new(),
            waits: 0,
            asked_to_end: 0,
            last_stray_sweep: None,
            orders: 0,
            exited: None,
            counts: Counts::new(),
            trace: None,
        };
        for (after, visitor) in std::mem::take(&mut world.weather.visitors) {
            world.plan_for(after, Happening::Visit(visitor));
        }
        world
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>12.6}  {}", self.now.0 as f64 / 1e9 - 1.0, line(self));
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }

    pub fn temper(&self, id: InstanceId) -> Temper {
        self.tempers[id.0 as usize]
    }

    /// The living process that is a child the core ordered and has not released.
    pub fn leader(&self, pid: Pid) -> Option<&Proc> {
        self.procs.values().find(|proc| proc.pid == pid.number() && proc.spawned)
    }

    /// The living processes that descend from this instance's runs.
    pub fn living_of(&self, instance: InstanceId) -> impl Iterator<Item = &Proc> {
        self.procs
            .values()
            .filter(move |p| p.lives() && p.owner.is_some_and(|child| child.instance == instance))
    }

    // Time.

    fn plan_for(&mut self, after: Duration, happening: Happening) {
        self.tickets += 1;
        self.agenda.insert((self.now + after, self.tickets), happening);
    }

    /// Lets time pass; what falls into it happens.
    fn pass(&mut self, until: Time) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), happening) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(happening);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Visit(visitor) => self.visit(visitor),
            Happening::Unstick(serial) => {
                if let Some(proc) = self.procs.get_mut(&serial)
                    && proc.stuck_until.is_some_and(|until| until <= self.now)
                {
                    proc.stuck_until = None;
                    self.wake(serial);
                }
            }
            Happening::Do(serial, doing) => {
                let Some(proc) = self.procs.get_mut(&serial).filter(|proc| proc.lives()) else { return };
                if proc.frozen || proc.stuck() {
                    proc.missed.push(doing);
                } else {
                    self.act(serial, doing);
                }
            }
        }
    }

    fn act(&mut self, serial: u64, doing: Doing) {
        match doing {
            Doing::Exec => self.exec(serial),
            Doing::End(status) => self.die(serial, status),
            Doing::Act(index) => {
                let Some(proc) = self.procs.get_mut(&serial) else { return };
                let script = Rc::clone(&proc.script);
                let (_, act) = &script.acts[index];
                match act {
                    Act::Say { sink, lines, longest, unfinished } => {
                        self.speak(serial, *sink, *lines, *longest, *unfinished);
                    }
                    Act::CloseOutput(sink) => self.let_go(serial, *sink),
                    Act::Fork(script, style) => self.fork(serial, script, *style),
                    Act::Freeze => {
                        proc.frozen = true;
                        self.count("frozen process");
                        self.say(|_| format!("        #{serial} is frozen"));
                    }
                    Act::Stick(lasts) => {
                        proc.stuck_until = Some(self.now + *lasts);
                        let lasts = *lasts;
                        self.plan_for(lasts, Happening::Unstick(serial));
                        self.count("process in uninterruptible sleep");
                        self.say(|_| format!("        #{serial} sleeps uninterruptibly for {lasts:?}"));
                    }
                }
            }
        }
    }

    fn visit(&mut self, visitor: Visitor) {
        match visitor {
            Visitor::Signal(signal) => {
                self.say(|_| format!("        {signal} for us"));
                // Of a standard signal the kernel keeps one.
                if signal.number() < 32 && self.signals.contains(&signal) && self.rng.per_mille(500) {
                    return;
                }
                self.signals.push_back(signal);
            }
            Visitor::Orphan(lives, code) => {
                let parent = if self.rng.per_mille(900) { Parent::Us } else { Parent::Outside };
                self.arrive(parent, lives, code);
                self.count("orphan from outside");
            }
            Visitor::Outsider(lives) => {
                self.arrive(Parent::Outside, lives, 0);
                self.count("process of a neighbour");
            }
        }
    }

    fn arrive(&mut self, parent: Parent, lives: Duration, code: u8) {
        let script = Script::visitor(&mut self.rng, &self.weather, lives, code);
        let Some(pid) = self.take_pid() else { return };
        let serial = self.insert(pid, parent, None, script);
        let proc = self.procs.get_mut(&serial).unwrap();
        proc.stage = Stage::Running;
        let (after, status) = proc.script.end.unwrap();
        self.plan_for(after, Happening::Do(serial, Doing::End(status)));
        self.say(|_| format!("        #{serial} pid {pid} comes from outside, parent {parent:?}"));
    }

    // Processes.

    fn take_pid(&mut self) -> Option<i32> {
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

    fn insert(&mut self, pid: i32, parent: Parent, owner: Option<Child>, script: Script) -> u64 {
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
        };
        self.procs.insert(serial, proc);
        serial
    }

    fn spawn(&mut self, child: Child, launch: &tinysup::event::Launch, events: &mut Vec<Event>) {
        if self.runs.contains_key(&child) {
            violation!("{child:?} is spawned a second time");
        }
        let mut run = Run {
            pid: None,
            ordered: self.now,
            spawn_error: None,
            executed: None,
            exec_error: None,
            died: None,
            reported: None,
            released: false,
        };
        let pid = if self.rng.per_mille(self.weather.spawn_failure) { None } else { self.take_pid() };
        let Some(pid) = pid else {
            let error = match self.rng.per_mille(500) {
                true => StartError::NoProcess { reason: "Resource temporarily unavailable".to_owned() },
                false => start_error(&mut self.rng),
            };
            run.spawn_error = Some(error.clone());
            self.runs.insert(child, run);
            self.count("spawn failure");
            events.push(Event::SpawnFailed { child, error });
            return;
        };
        let instance = &self.plan.instances[child.instance.0 as usize];
        let script = match child.role {
            Role::Main => {
                let temper = self.tempers[child.instance.0 as usize];
                Script::main(&mut self.rng, &self.weather, temper, instance)
            }
            Role::StopCommand => {
                self.count("stop_command");
                Script::stop_command(&mut self.rng, &self.weather)
            }
        };
        let exec_after = script.exec_after;
        let serial = self.insert(pid, Parent::Us, Some(child), script);
        let seen = |output| matches!(output, Output::Prefix | Output::Raw);
        for (at, sink, output) in [(0, Sink::Stdout, launch.stdout), (1, Sink::Stderr, launch.stderr)] {
            if seen(output) {
                self.pipes.insert((child, sink), Pipe { holders: 1, ..Pipe::default() });
                self.procs.get_mut(&serial).unwrap().holds[at] = true;
            }
        }
        let proc = self.procs.get_mut(&serial).unwrap();
        proc.spawned = true;
        run.pid = Some(proc.pid());
        self.runs.insert(child, run);
        self.plan_for(exec_after, Happening::Do(serial, Doing::Exec));
        self.say(|_| format!("        #{serial} is pid {pid}: {child:?}"));
        events.push(Event::Spawned { child, pid: Pid::new(pid).unwrap() });
    }

    fn exec(&mut self, serial: u64) {
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
        self.news.entry(child).or_default().push_back(Event::Executed { child });
        self.say(|_| format!("        #{serial} executes"));
        self.begin(serial);
    }

    /// Plans what a process does from now on.
    fn begin(&mut self, serial: u64) {
        let script = Rc::clone(&self.procs[&serial].script);
        for (index, (after, _)) in script.acts.iter().enumerate() {
            self.plan_for(*after, Happening::Do(serial, Doing::Act(index)));
        }
        if let Some((after, status)) = script.end {
            self.plan_for(after, Happening::Do(serial, Doing::End(status)));
        }
    }

    fn fork(&mut self, parent: u64, script: &Script, style: Style) {
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
    fn heir(&self, serial: u64) -> Parent {
        let mut at = serial;
        loop {
            match self.procs.get(&at).map(|proc| proc.parent) {
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

    fn die(&mut self, serial: u64, status: ExitStatus) {
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

    fn bury(&mut self, serial: u64) {
        let proc = self.procs.remove(&serial).unwrap();
        self.free.push(proc.pid);
    }

    // Signals.

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

    fn wake(&mut self, serial: u64) {
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

    fn receive(&mut self, serial: u64, signal: Signal) {
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

    // Output.

    fn speak(&mut self, serial: u64, sink: Sink, lines: u64, longest: u64, unfinished: bool) {
        let proc = &self.procs[&serial];
        let Some(child) = proc.owner else { return };
        if !proc.holds[usize::from(sink == Sink::Stderr)] {
            return;
        }
        let pipe = self.pipes.get_mut(&(child, sink)).unwrap();
        let parts = lines + u64::from(unfinished);
        for part in 0..parts {
            pipe.lines += 1;
            // No other line of the whole history begins so: it can be told in the output, whatever comes between.
            let role = if child.role == Role::Main { 'm' } else { 'c' };
            let stream = if sink == Sink::Stdout { 'o' } else { 'e' };
            let tag = format!("<{}.{}.{role}.{stream}.{}>", child.instance.0, child.run, pipe.lines);
            pipe.buffer.extend(tag.bytes());
            let filler = self.rng.below(longest + 1);
            let byte = *self.rng.pick(&[b'x', b' ', 0, 0xff, b'|', b'\r']);
            pipe.buffer.extend((0..filler).map(|_| byte));
            if !(unfinished && part + 1 == parts) {
                pipe.buffer.push_back(b'\n');
            }
        }
        self.count("output");
    }

    fn let_go(&mut self, serial: u64, sink: Sink) {
        let at = usize::from(sink == Sink::Stderr);
        let proc = self.procs.get_mut(&serial).unwrap();
        if std::mem::take(&mut proc.holds[at]) {
            self.pipes.get_mut(&(proc.owner.unwrap(), sink)).unwrap().holders -= 1;
        }
    }

    /// Reads from a pipe what one read gets.
    fn read(&mut self, child: Child, sink: Sink) -> Option<Event> {
        const READ_MAX: usize = 64 * 1024;
        let whole = self.rng.per_mille(700);
        let pipe = self.pipes.get_mut(&(child, sink))?;
        if !pipe.buffer.is_empty() {
            let most = pipe.buffer.len().min(READ_MAX);
            let take = if whole { most } else { 1 + self.rng.index(most) };
            let bytes = pipe.buffer.drain(..take).collect();
            return Some(Event::Output { child, sink, bytes });
        }
        if pipe.holders == 0 && !pipe.ended {
            pipe.ended = true;
            return Some(Event::OutputEnded { child, sink });
        }
        None
    }

    fn readable(&self) -> Vec<(Child, Sink)> {
        self.pipes
            .iter()
            .filter(|(_, pipe)| !pipe.buffer.is_empty() || pipe.holders == 0 && !pipe.ended)
            .map(|(key, _)| *key)
            .collect()
    }

    fn read_all(&mut self, events: &mut Vec<Event>) {
        for (child, sink) in self.readable() {
            while let Some(event) = self.read(child, sink) {
                events.push(event);
            }
        }
    }

    // Reporting.

    fn dead(&self) -> Vec<u64> {
        self.procs.values().filter(|p| !p.lives() && p.parent == Parent::Us).map(|p| p.serial).collect()
    }

    fn something_to_report(&self) -> bool {
        !self.signals.is_empty()
            || self.news.values().any(|news| !news.is_empty())
            || self.pipes.values().any(|pipe| !pipe.buffer.is_empty() || pipe.holders == 0 && !pipe.ended)
            || self.procs.values().any(|p| !p.lives() && p.parent == Parent::Us)
    }

    /// Reports some of what there is, of each source in its order.
    fn report(&mut self, events: &mut Vec<Event>) {
        #[derive(Clone, Copy)]
        enum Source {
            Signals,
            News(Child),
            Pipe(Child, Sink),
            Dead(u64),
        }
        let mut sources: Vec<Source> = Vec::new();
        if !self.signals.is_empty() {
            sources.push(Source::Signals);
        }
        sources
            .extend(self.news.iter().filter(|(_, n)| !n.is_empty()).map(|(child, _)| Source::News(*child)));
        sources.extend(self.readable().into_iter().map(|(child, sink)| Source::Pipe(child, sink)));
        let dead = self.dead();
        if !dead.is_empty() {
            sources.push(Source::Dead(*self.rng.pick(&dead)));
        }
        if dead.len() > 8 {
            self.count("burst of exits");
        }
        self.rng.shuffle(&mut sources);
        let kept = 1 + self.rng.index(sources.len());
        if self.rng.per_mille(self.weather.lazy) {
            sources.truncate(kept);
        }
        for source in sources {
            match source {
                Source::Signals => {
                    let kept = if self.rng.per_mille(self.weather.lazy) { self.signals.len() - 1 } else { 0 };
                    while self.signals.len() > kept {
                        events.extend(self.signals.pop_front().map(Event::Signal));
                    }
                }
                Source::News(child) => self.report_news(child, events),
                Source::Pipe(child, sink) => events.extend(self.read(child, sink)),
                Source::Dead(serial) => {
                    let proc = &self.procs[&serial];
                    let Stage::Zombie(status) = proc.stage else { continue };
                    let pid = proc.pid();
                    if let Some(child) = proc.owner.filter(|_| proc.spawned) {
                        self.report_news(child, events);
                        for sink in [Sink::Stdout, Sink::Stderr] {
                            while self.pipes.get(&(child, sink)).is_some_and(|pipe| !pipe.buffer.is_empty()) {
                                events.extend(self.read(child, sink));
                            }
                        }
                        self.runs.get_mut(&child).unwrap().reported = Some(self.now);
                    }
                    self.reported = Some(pid);
                    events.push(Event::Exited { pid, status });
                }
            }
        }
    }

    fn report_news(&mut self, child: Child, events: &mut Vec<Event>) {
        for event in self.news.get_mut(&child).map(std::mem::take).unwrap_or_default() {
            let run = self.runs.get_mut(&child).unwrap();
            match &event {
                Event::ExecFailed { error, .. } => run.exec_error = Some(error.clone()),
                _ => run.executed = Some(self.now),
            }
            events.push(event);
        }
    }

    // What people do to end it.

    fn lose_patience(&mut self) {
        self.asked_to_end += 1;
        if self.asked_to_end > 6 {
            violation!("it does not end, whatever is done: {} waits", self.waits);
        }
        let command = matches!(self.plan.mode, Mode::Command { .. });
        match self.asked_to_end {
            1 => self.visit(Visitor::Signal(Signal::TERM)),
            2.. if command => {
                let living: Vec<u64> = self.procs.values().filter(|p| p.lives()).map(|p| p.serial).collect();
                for serial in living {
                    self.send(serial, Signal::KILL);
                }
                self.visit(Visitor::Signal(Signal::INT));
            }
            2.. => {
                self.count("stop without any deadline");
                self.visit(Visitor::Signal(Signal::INT));
            }
            0 => {}
        }
    }

    fn sweep(&mut self, child: Child, leader: Pid, signal: Option<Signal>) -> Vec<Process> {
        let number = leader.number();
        let direct = |proc: &Proc| {
            // By the group's number alone a stranger could be hit once the leader is released and the number is
            // somebody else's: the kernel must look at the mark too.
            let ours = proc.owner.is_some_and(|owner| owner.instance == child.instance);
            ours && !proc.spawned
                && (proc.group == number || proc.session == number || proc.parent == Parent::Us)
        };
        if self
            .procs
            .values()
            .any(|p| p.group == number && p.owner.is_none_or(|o| o.instance != child.instance))
        {
            self.count("sweep of a number that is somebody else's by now");
        }
        let mut found: Vec<u64> =
            self.procs.values().filter(|proc| direct(proc)).map(|proc| proc.serial).collect();
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            let below =
                self.procs.values().filter(|proc| proc.parent == Parent::Process(parent)).map(|p| p.serial);
            let below: Vec<u64> = below.filter(|serial| !found.contains(serial)).collect();
            found.extend(below);
            at += 1;
        }
        found.retain(|serial| self.procs[serial].lives());
        self.hit(&found, signal, true)
    }

    fn hit(&mut self, found: &[u64], signal: Option<Signal>, cont: bool) -> Vec<Process> {
        let seen = found.iter().map(|serial| {
            let proc = &self.procs[serial];
            Process { pid: proc.pid(), name: format!("#{serial}") }
        });
        let seen = seen.collect();
        if let Some(signal) = signal {
            for serial in found {
                self.send(*serial, signal);
                if cont {
                    self.send(*serial, Signal::CONT);
                }
            }
        }
        seen
    }

    fn spawned_serial(&self, pid: Pid, what: &str) -> u64 {
        match self.leader(pid) {
            Some(proc) => proc.serial,
            None => violation!("{what} for {pid:?}, which is no unreleased child of ours"),
        }
    }

    fn release(&mut self, pid: Pid) {
        if self.reported.take() != Some(pid) {
            violation!("release of {pid:?}, whose end was not reported");
        }
        let found = self.procs.values().find(|p| p.pid == pid.number() && !p.lives()).map(|p| p.serial);
        let serial = found.unwrap();
        if let (Some(child), true) = (self.procs[&serial].owner, self.procs[&serial].spawned) {
            self.runs.get_mut(&child).unwrap().released = true;
        }
        self.bury(serial);
    }
}

impl Kernel for World {
    fn now(&self) -> Time {
        self.now
    }

    fn wait(&mut self, deadline: Option<Time>, events: &mut Vec<Event>) {
        if let Some(pid) = self.reported {
            violation!("waits although {pid:?}, whose end was reported, is not released");
        }
        self.waits += 1;
        if self.waits >= WAITS_BEFORE_STOP && self.waits.is_multiple_of(WAITS_BEFORE_STOP) {
            self.lose_patience();
        }
        if self.rng.per_mille(self.weather.early) {
            self.count("early wake-up");
            return;
        }
        while !self.something_to_report() {
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            match (deadline, next) {
                (Some(deadline), next) if next.is_none_or(|next| deadline < next) => {
                    self.pass(deadline.max(self.now));
                    break;
                }
                (_, Some(next)) => self.pass(next),
                (_, None) => self.lose_patience(),
            }
        }
        let mut late = self.rng.micros(0, 60);
        if self.rng.per_mille(self.weather.late) {
            self.count("late wake-up");
            late = self.rng.spread(0, 200);
        } else if self.rng.per_mille(self.weather.very_late) {
            self.count("very late wake-up");
            late = self.rng.spread(0, 20_000);
        }
        self.pass(self.now + late);
        self.delayed += late;
        if self.something_to_report() {
            self.report(events);
        }
    }

    fn perform(&mut self, action: Action, events: &mut Vec<Event>) {
        let cost = match self.rng.per_mille(self.weather.slow_action) {
            true => self.rng.spread(0, 50),
            false => self.rng.micros(0, 15),
        };
        self.pass(self.now + cost);
        self.delayed += cost;
        let order = std::mem::discriminant(&action);
        let mut hasher = std::hash::DefaultHasher::new();
        (self.orders, self.now, order).hash(&mut hasher);
        self.orders = hasher.finish();
        match action {
            Action::Spawn { child, launch, extra_env: _ } => self.spawn(child, &launch, events),
            Action::Signal { pid, signal } => {
                let serial = self.spawned_serial(pid, "a signal");
                self.send(serial, signal);
            }
            Action::SignalGroup { leader, signal } => {
                self.spawned_serial(leader, "a signal to the group");
                let group = self.procs.values().filter(|p| p.group == leader.number() && p.lives());
                let members: Vec<u64> = group.map(|proc| proc.serial).collect();
                self.hit(&members, Some(signal), false);
            }
            Action::Release { pid } => self.release(pid),
            Action::Sweep { child, leader, mark, signal } => {
                let instance = &self.plan.instances[child.instance.0 as usize];
                if (&instance.service, instance.number) != (&mark.service, mark.instance) {
                    violation!("sweep of {child:?} with the mark of another: {mark:?}");
                }
                match self.runs.get(&child) {
                    Some(run) if run.pid == Some(leader) && run.reported.is_some() => {}
                    run => {
                        violation!("sweep of {child:?} at {leader:?}, which is not its ended leader: {run:?}")
                    }
                }
                let found = self.sweep(child, leader, signal);
                if !found.is_empty() {
                    self.count("sweep that found something");
                }
                events.push(Event::Swept { child, found });
            }
            Action::SweepStrays { signal } => {
                let pid1 = self.weather.pid1;
                let living = self.procs.values().filter(|proc| proc.lives()).map(|proc| proc.serial);
                let found: Vec<u64> = living.filter(|serial| pid1 || self.ours(*serial)).collect();
                let found = self.hit(&found, signal, false);
                self.last_stray_sweep = Some(self.now);
                if !found.is_empty() {
                    self.count("strays at the end");
                }
                events.push(Event::Strays { found });
            }
            Action::FindListener { instance, port } => {
                let process = Some(Process { pid: Pid::new(2).unwrap(), name: "x".to_owned() });
                let listener =
                    self.rng.per_mille(500).then(|| Listener { address: format!("0.0.0.0:{port}"), process });
                events.push(Event::Listener { instance, port, listener });
            }
            Action::Drain => {
                self.read_all(events);
                events.push(Event::Drained);
            }
            Action::Write { .. } | Action::Tell(_) => {}
            Action::TerminationLog { text } => {
                if text.len() > 4096 {
                    violation!("a termination log of {} bytes", text.len());
                }
            }
            Action::Exit(code) => self.exited = Some(code),
        }
    }
}
