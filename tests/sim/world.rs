//! A machine in memory: processes, groups, pipes and a clock that moves only when somebody waits or acts. It is a
//! `Kernel` to the core, keeps the truth for the judge, and itself holds the core to the contract of the seam.

mod asking;
mod guests;
mod looks;
mod memory;
mod pipes;
mod processes;
mod reports;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use tinysup::event::{
    Action, Care, Child, Client, Event, ExitCode, ExitStatus, InstanceId, Listener, Pid, Process, Role, Sink,
    StartError, Time, Usage,
};
use tinysup::kernel::{AtOnce, Kernel, Until};
use tinysup::plan::{Mode, Plan};
use tinysup::probe::Failure;
use tinysup::supervisor::Reread;
use tinysup::units::Signal;

use crate::faults::{Act, Reaction, Script, Style, Temper, Visitor, Weather, asks_to_end, start_error};
use crate::invariants::Weighed;
use crate::plans;
use crate::rng::Rng;
use guests::{Guest, Move};

/// A signal that was passed on, whether that is reported, and to whom it went and as what.
pub type PassedOn = (Signal, bool, Vec<(Pid, Signal)>);

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
    held: memory::Held,
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
    /// A pulse, and how many follow it.
    Pulse(usize, u64),
    End(ExitStatus),
}

#[derive(Clone, Debug)]
enum Happening {
    Do(u64, Doing),
    Unstick(u64),
    Visit(Visitor),
    Answer(Child, Result<(), Failure>),
    Guest(Client, Move),
    /// A memory limit may be reached, that of an instance or that of the container.
    Full(Option<InstanceId>),
    /// Memory may be short; how often that is said again.
    Pressure(u32),
    /// Somebody of a run speaks; without bytes, by a newline to its descriptor.
    Speak(Child, Option<Vec<u8>>),
}

/// The whole truth of one child the core ordered.
#[derive(Clone, Debug)]
pub struct Run {
    pub pid: Option<Pid>,
    pub ordered: Time,
    pub spawn_error: Option<Rc<StartError>>,
    /// When its program began to run.
    began: Option<Time>,
    /// What was reported of its exec.
    pub executed: Option<Time>,
    pub exec_error: Option<Rc<StartError>>,
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
    /// Files that cannot be written.
    lost: BTreeMap<std::path::PathBuf, u64>,
    pub weather: Weather,
    tempers: Vec<Temper>,
    pub procs: BTreeMap<u64, Proc>,
    serials: u64,
    /// Pids that were given back, the last one first.
    free: Vec<i32>,
    agenda: BTreeMap<(Time, u64), Happening>,
    tickets: u64,
    signals: VecDeque<Signal>,
    /// What was passed on in this wait.
    pub passed_on: Vec<PassedOn>,
    news: BTreeMap<Child, VecDeque<Event>>,
    /// What each run said through its socket or its readiness descriptor.
    spoken: BTreeMap<Child, VecDeque<Event>>,
    /// Attempts by the machine that were ordered, and neither answered nor called off.
    pub open: BTreeSet<Child>,
    /// Answers that wait to be reported.
    answers: VecDeque<(Child, Result<(), Failure>)>,
    /// Attempts whose answers were reported since the last wait.
    handed: BTreeSet<Child>,
    pipes: BTreeMap<(Child, Sink), Pipe>,
    /// Where nobody reads.
    unread: BTreeSet<Sink>,
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
    /// Chance for clients and updates.
    crowd: Rng,
    guests: BTreeMap<Client, Guest>,
    /// What clients do and the core was not told yet, in order.
    desk: VecDeque<Event>,
    /// Whether the configuration is ever written anew.
    updates: bool,
    /// Whether many clients come.
    crowded: bool,
    /// The configuration as it was last written.
    written: Plan,
    versions: u64,
    /// Whether it is to be told when memory is short; none: nobody has asked for it.
    asked_for_memory: Option<bool>,
    /// What the kernel gives each instance at most.
    ceilings: BTreeMap<InstanceId, u64>,
    /// What the kernel has to tell of memory.
    told_by_kernel: VecDeque<Event>,
    pressed_at: Option<Time>,
    /// OOM kills so far.
    kills: u64,
    /// What was said of the use of each run last, and when.
    pub measured: BTreeMap<Child, (Time, Usage)>,
    /// What was weighed for each client.
    pub weighed: BTreeMap<Client, Weighed>,
    /// Where each run was said to listen.
    pub listens: BTreeMap<Child, Vec<String>>,
}

impl World {
    pub fn new(rng: Rng, plan: Rc<Plan>) -> Self {
        let weather = Weather::draw(&mut rng.named("weather"), &plan);
        let crowd = rng.named("crowd");
        let written = (*plan).clone();
        let mut world = Self {
            now: Time(1_000_000_000),
            free: (2..=weather.pids).rev().collect(),
            rng,
            plan,
            lost: BTreeMap::new(),
            weather,
            tempers: Vec::new(),
            procs: BTreeMap::new(),
            serials: 0,
            agenda: BTreeMap::new(),
            tickets: 0,
            signals: VecDeque::new(),
            passed_on: Vec::new(),
            news: BTreeMap::new(),
            spoken: BTreeMap::new(),
            open: BTreeSet::new(),
            answers: VecDeque::new(),
            handed: BTreeSet::new(),
            pipes: BTreeMap::new(),
            unread: BTreeSet::new(),
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
            crowd,
            guests: BTreeMap::new(),
            desk: VecDeque::new(),
            updates: false,
            crowded: false,
            written,
            versions: 0,
            asked_for_memory: None,
            ceilings: BTreeMap::new(),
            told_by_kernel: VecDeque::new(),
            pressed_at: None,
            kills: 0,
            measured: BTreeMap::new(),
            weighed: BTreeMap::new(),
            listens: BTreeMap::new(),
        };
        for (after, visitor) in std::mem::take(&mut world.weather.visitors) {
            world.plan_for(after, Happening::Visit(visitor));
        }
        world.redefine(world.plan.clone());
        world.invite();
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

    /// The configuration is read again: another one, the same, or one that is broken.
    pub fn reread(&mut self) -> Result<Reread, String> {
        self.versions += 1;
        let mut rng = self.crowd.named(&format!("version {}", self.versions));
        if !self.updates || rng.per_mille(150) {
            self.count("broken configuration");
            return Err("broken".to_owned());
        }
        if rng.per_mille(900) {
            self.written = plans::changed(&mut rng, &self.written, self.versions);
        }
        Ok(Reread { plan: self.written.clone(), other_control: rng.per_mille(150), replaced: false })
    }

    /// From now on the instances are defined so.
    pub fn redefine(&mut self, plan: Rc<Plan>) {
        for instance in plan.instances.iter().skip(self.tempers.len()) {
            let mut rng = self.rng.named(&format!("temper of {}.{}", instance.service, instance.number));
            self.tempers.push(Temper::draw(&mut rng, &plan, instance));
        }
        self.plan = plan;
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

    /// Whether it is the command of a test that cannot die at this moment, or below one.
    pub fn asks_undying(&self, proc: &Proc) -> bool {
        let asks = proc.owner.filter(|child| matches!(child.role, Role::Probe(_)));
        asks.is_some() && self.procs.values().any(|one| one.spawned && one.stuck() && one.owner == asks)
    }

    /// Whether it is below a child of ours that has not ended: no look at what is left finds it there.
    pub fn is_shielded(&self, proc: &Proc) -> bool {
        let mut at = proc.parent;
        while let Parent::Process(serial) = at
            && let Some(parent) = self.procs.get(&serial)
        {
            if parent.spawned && parent.lives() {
                return true;
            }
            at = parent.parent;
        }
        false
    }

    /// As PID 1 all there are, else those below us.
    fn everybody(&self) -> Vec<u64> {
        let living = self.procs.values().filter(|proc| proc.lives()).map(|proc| proc.serial);
        living.filter(|serial| self.weather.pid1 || self.ours(*serial)).collect()
    }

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
            Happening::Guest(client, doing) => self.guest(client, doing),
            Happening::Speak(child, bytes) => self.speak_for(child, bytes),
            Happening::Full(scope) => self.full(scope),
            Happening::Pressure(left) => self.pressure(left),
            Happening::Answer(child, result) => {
                if self.open.contains(&child) {
                    self.say(|_| format!("        an answer for {child:?}: {result:?}"));
                    self.answers.push_back((child, result));
                }
            }
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
            Doing::Pulse(index, left) => self.pulse(serial, index, left),
            Doing::Act(index) => {
                let Some(proc) = self.procs.get_mut(&serial) else { return };
                let script = Rc::clone(&proc.script);
                let (_, act) = &script.acts[index];
                match act {
                    Act::Say { sink, lines, longest, unfinished } => {
                        self.speak(serial, *sink, *lines, *longest, *unfinished);
                    }
                    Act::CloseOutput(sink) => self.let_go(serial, *sink),
                    Act::Flood(sink) => self.flood(serial, *sink),
                    Act::SayText { sink, text, begins, ends } => {
                        self.say_text(serial, *sink, text, (*begins, *ends));
                    }
                    Act::Notify(bytes) => self.notify(serial, bytes.clone()),
                    Act::Pulse { left, .. } => self.pulse(serial, index, *left),
                    Act::Announce => self.announce(serial),
                    Act::Hold { bytes, per_second } => self.hold(serial, *bytes, *per_second),
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
            Visitor::OomKill => self.kill_anybody(),
            Visitor::Limit(limit) => self.limit_memory(limit),
            Visitor::Outsider(lives) => {
                self.arrive(Parent::Outside, lives, 0);
                self.count("process of a neighbour");
            }
        }
    }

    fn arrive(&mut self, parent: Parent, lives: Duration, code: u8) {
        let script = Script::visitor(&mut self.rng.fork(), &self.weather, lives, code);
        let Some(pid) = self.take_pid() else { return };
        let serial = self.insert(pid, parent, None, script);
        let proc = self.procs.get_mut(&serial).unwrap();
        proc.stage = Stage::Running;
        let (after, status) = proc.script.end.unwrap();
        self.plan_for(after, Happening::Do(serial, Doing::End(status)));
        self.say(|_| format!("        #{serial} pid {pid} comes from outside, parent {parent:?}"));
    }

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
}

impl Kernel for World {
    fn now(&self) -> Time {
        self.now
    }

    fn wait(&mut self, until: Option<Until>, at_once: AtOnce, events: &mut Vec<Event>) {
        let deadline = until.map(|until| until.at);
        if let Some(pid) = self.reported {
            violation!("waits although {pid:?}, whose end was reported, is not released");
        }
        self.waits += 1;
        self.handed.clear();
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
        if self.rng.per_mille(self.weather.reader) {
            let sink = *self.rng.pick(&[Sink::Stdout, Sink::Stderr]);
            events.push(if self.unread.remove(&sink) {
                Event::Flows { sink }
            } else {
                self.unread.insert(sink);
                Event::Stuck { sink }
            });
        }
        if self.something_to_report() {
            self.report(at_once, events);
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
                let serial = self.spawned_serial(leader, "a signal to the group");
                let asks = matches!(self.procs[&serial].owner, Some(Child { role: Role::Probe(_), .. }));
                let group = self.procs.values().filter(|p| p.group == leader.number() && p.lives());
                let members: Vec<u64> = group.map(|proc| proc.serial).collect();
                if asks && members.iter().any(|member| *member != serial) {
                    self.count("helper of a test killed with its group");
                }
                self.hit(&members, Some(signal), false);
            }
            Action::Release { pid } => self.release(pid),
            Action::Probe { child, target } => self.ask(child, &target, events),
            Action::CancelProbe { child } => self.call_off(child),
            Action::Answer { client, answer, last } => self.answer(client, &answer, last),
            Action::Disconnect { client } => self.disconnect(client),
            Action::Measure { client, runs } => self.measure(client, &runs, events),
            Action::FindMemory { pressure, .. } => self.find_memory(pressure, events),
            Action::Weigh { client, runs, container, pss } => {
                self.weigh((client, pss), &runs, container, events);
            }
            Action::FindListening { child, .. } => self.find_listening(child, events),
            Action::Sweep { child, leader, mark, signal, spare } => {
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
                let found = self.sweep(child, leader, signal, &spare);
                if !found.is_empty() {
                    self.count("sweep that found something");
                }
                events.push(Event::Swept { child, found });
            }
            Action::SignalEverybody { signal } => {
                self.hit(&self.everybody(), Some(signal), false);
            }
            // While it is stopped the clock stands still.
            Action::Suspend => {}
            Action::SweepStrays { signal } => {
                let found = self.everybody();
                let found = self.hit(&found, signal, true);
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
            Action::Write { .. } | Action::Tell(_) | Action::Reread => {}
            Action::WriteFile { file, .. } => self.write_file(&file, events),
            Action::Reopen { client } => {
                let opened = if self.rng.per_mille(200) {
                    Err("No such file or directory".to_owned())
                } else {
                    Ok(())
                };
                events.push(Event::Reopened { client, files: vec![("/log/a".into(), opened)] });
            }
            Action::TerminationLog { text } => {
                if text.len() > 4096 {
                    violation!("a termination log of {} bytes", text.len());
                }
            }
            Action::Exit(code) => {
                self.check_guests();
                self.exited = Some(code);
            }
        }
    }
}
