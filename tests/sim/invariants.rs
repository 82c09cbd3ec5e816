//! The judge: sees every event and every action, knows the truth of the world and the plan, and holds the core to what
//! it promises. Decides nothing by the core's code; where the core may choose, the judge accepts each choice.

mod answers;
mod attempts;
mod care;
mod ending;
mod memory;
mod reading;
mod refusals;
mod remains;
mod runs;
mod said;
mod signals;
mod status;
mod stops;
mod verdicts;
mod waits;
mod weights;
mod wishes;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tinysup::control::{Change, Request, Verb};
use tinysup::event::{
    Action, Child, Client, Event, ExitCode, InstanceId, Launch, Pid, Role, Standing, StartError, Time,
};
use tinysup::notice::{Cause, KillReason, Next, Notice, StopReason};
use tinysup::plan::{
    Condition, Instance, KillMode, Kind, Mode, OnFailure, OnSuccess, Plan, RateLimit, Receivers, Rest,
    RestartWhen,
};
use tinysup::units::Signal;

use crate::budget::{self, Budget};
use crate::output::Outputs;
use crate::violation;
use crate::world::World;
use care::Care;
pub use weights::Weighed;
use wishes::{Coming, Expected, Wishes};

/// What a stop may take beyond `shutdown_timeout`: collecting the killed, twice (services, then strays).
const STOP_SLACK: Duration = Duration::from_millis(1200);
/// The grace of processes that belong to no service.
const STRAY_GRACE: Duration = Duration::from_secs(1);
/// SIGKILL has not worked after this long.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);
/// How often remains that nobody reports are looked at, and processes of no service; with room for a few actions.
const LOOK_INTERVAL: Duration = Duration::from_millis(1050);
const STRAY_LOOK: Duration = Duration::from_millis(60);
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Delays are products of floats, whose last digit is nobody's business.
const NEARLY: Duration = Duration::from_micros(1);
/// Ticks in a row that may leave a deadline in the past.
const SPINS_MAX: u32 = 2;

/// What the core can know of one instance from the events it was given, and what it said of it.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what was seen so far; the states are the core's")]
struct Life {
    /// Runs ordered; the number of the present one.
    run: u32,
    ordered: Option<Time>,
    /// Runs whose end was told.
    told: u32,
    pid: Option<Pid>,
    up: bool,
    ever_up: bool,
    /// A step before its program runs has failed.
    exec_failed: bool,
    care: Care,
    /// The number of the last attempt to ask it.
    asked_by: u32,
    /// Why it was said to be stopped, other than with the container.
    leaving: Option<Leaving>,
    /// It ended before it was ready, and nobody had asked it to.
    unready: bool,
    /// It was said that its restart waits for others.
    waits: bool,
    /// When the core was told that the leader of the present run is gone.
    ended: Option<Time>,
    budget: Budget,
    /// It was to run anew after the present run, so it may have its fresh budget already.
    forgiven: bool,
    decided: Option<(Time, Next)>,
    /// When the end of the last run was told.
    over: Option<Time>,
    cause: Option<Cause>,
    /// The OOM killer ended the leader of the present run.
    out_of_memory: Option<Cause>,
    /// SIGKILL was sent to it, be it as the stop signal.
    kill_sent: bool,
    completed: bool,
    failed: bool,
    cannot_start: bool,
    asked: Option<Time>,
    /// That was so when its leader ended.
    asked_before_end: bool,
    /// The stop of the container began before its process was there.
    asked_as_spawned: bool,
    /// It said that its stop takes until then.
    extended: Option<Time>,
    /// When it was seen first that its leader, which had ended by itself, has left something behind.
    left: Option<Time>,
    /// Of what it has left was told: that there is something, that it got SIGKILL.
    left_told: [bool; 2],
    /// The first SIGKILL to the present run.
    killed: Option<Time>,
    /// The first SIGKILL to its stop_command, or in due time to a test that outlived its leader.
    command_killed: Option<Time>,
    /// When a look at what is left was ordered with SIGKILL; the answer says whether that met somebody.
    sweeps_to_kill: Option<Time>,
    /// Processes that the core said it cannot end.
    unkillable: bool,
    wishes: Wishes,
}

impl Life {
    fn new(instance: &Instance) -> Self {
        let wishes = Wishes { down: !instance.autostart, ..Wishes::default() };
        Self { wishes, ..Self::default() }
    }

    /// Something of it runs, as far as the core knows.
    fn active(&self) -> bool {
        self.run > self.told
    }

    /// Its program runs, and nobody has asked it to end.
    fn running(&self) -> bool {
        self.active() && self.up && self.ended.is_none() && !self.is_leaving()
    }

    /// A client's signals reach its leader: it runs, or is being stopped.
    fn can_be_signalled(&self) -> bool {
        let there = self.active() && self.pid.is_some() && self.ended.is_none();
        there && (self.up || self.is_leaving())
    }

    /// It is asked to end, or about to be in this step.
    fn is_leaving(&self) -> bool {
        self.leaving.is_some() || self.asked.is_some() || self.care.doomed
    }

    /// It can do its work.
    fn ready(&self) -> bool {
        self.running() && self.care.ready.is_some()
    }

    /// When its delay is over; none where it does not wait for time, or no longer.
    fn restart_due(&self) -> Option<Time> {
        match &self.decided {
            Some((at, Next::Restart { delay, .. }))
                if !self.active() && !self.waits && !self.cannot_start =>
            {
                Some(*at + *delay)
            }
            // As a client or an update wants it.
            Some((at, Next::Again)) if !self.active() && !self.waits && !self.cannot_start => Some(*at),
            _ => None,
        }
    }

    /// Its run is over and there will be another one.
    fn again(&self) -> bool {
        let decided = matches!(&self.decided, Some((_, Next::Restart { .. } | Next::With(_) | Next::Again)));
        !self.active() && decided && !self.cannot_start
    }

    /// Its watchdog ends it.
    fn falls_silent(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Failed(Cause::Watchdog { .. }, _)))
    }

    /// The first SIGKILL to the run, or to what was started beside it.
    fn killed_any(&self) -> Option<Time> {
        self.killed.or(self.command_killed)
    }

    /// When SIGKILL is due.
    fn kill_due(&self, instance: &Instance) -> Option<Time> {
        let due = self.asked? + instance.stop.kill_timeout?;
        Some(self.extended.map_or(due, |extended| due.max(extended)))
    }
}

/// Why a run is stopped while the container runs on.
#[derive(Clone, Debug)]
enum Leaving {
    /// It has failed, and was well for so long.
    Failed(Cause, Duration),
    /// This one, which it depends on, starts again.
    With(Rc<str>),
    /// A client or an update wants it.
    Wish,
}

/// A run that is over, and was told.
#[derive(Clone, Debug)]
struct End {
    /// When its leader ended.
    at: Time,
    cause: Cause,
    uptime: Duration,
    /// Whether that was asked for; `None`: both may be said.
    asked: Option<bool>,
    /// It was a failure or success of its own.
    judged: bool,
}

struct Stop {
    reason: StopReason,
    since: Time,
    delayed: Duration,
    strays_since: Option<Time>,
    /// When it was last told who is still there.
    told: Time,
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what one step was told; they are independent of each other"
)]
struct Step {
    now: Option<Time>,
    /// What the world had delayed until then.
    delayed: Duration,
    /// Who was started again.
    began: Vec<InstanceId>,
    /// Whose process is there now.
    spawned: Option<InstanceId>,
    /// What the command still has to get.
    early: VecDeque<Signal>,
    signal: Option<Signal>,
    exited: Option<Pid>,
    tick: bool,
    /// Signals sent in this step, in order: the receiver, whether to its group, the signal.
    sent: Sent,
    /// How many of them were said to be passed on.
    told: usize,
    /// It has to be told that one was passed on.
    untold: Option<Signal>,
    released: u32,
    /// Files are opened again.
    reopened: bool,
    /// What came of that.
    files: Vec<Change>,
    swept: bool,
    /// Who is said to get SIGKILL.
    killing: Vec<InstanceId>,
    leftovers_killed: Option<InstanceId>,
    /// What was found of a run, and how that is to be told.
    left: Option<remains::Left>,
    /// Whose stop_command is said to have failed.
    command_failed: Option<InstanceId>,
    /// The leader whose end this step was told.
    leader: Option<InstanceId>,
    /// What it left has to be looked for.
    looks: bool,
    /// The command of a test whose end this step was told, as long as what it forked was not killed.
    probe_ended: Option<Pid>,
    request: Option<Request>,
    /// It has to be refused because of these.
    reasons: refusals::Reasons,
    /// Who is told that his time is over because this is the end.
    dismissed: Option<Client>,
    /// Strays are asked to end, or it exits.
    is_end: bool,
    /// The configuration was read.
    reread: bool,
    /// A client wants to know all.
    described: bool,
    /// It has to be told that these keys stay as they were.
    stays: Vec<&'static str>,
    /// So often everything has to stop until it is told to go on.
    suspends: usize,
    /// What is to be told of the end of a child of the one command's init.
    reaped: VecDeque<(Pid, bool)>,
    /// The group of the ended command has to be asked to end.
    asks_group: bool,
    /// Whose port is looked for.
    looks_for_port: Option<InstanceId>,
    /// It has to be told whether orphans come to us.
    stands: bool,
}

/// Who was sent what, alone or with its group.
type Sent = Vec<(Pid, bool, Signal)>;

#[expect(clippy::struct_excessive_bools, reason = "what was told so far")]
pub struct Judge {
    plan: Rc<Plan>,
    lives: Vec<Life>,
    stop: Option<Stop>,
    interrupts: u32,
    step: Step,
    /// What was passed on at once, and to whom, and is to be told.
    to_tell: VecDeque<(Signal, Sent)>,
    /// For the one command, before it was there.
    early: Option<VecDeque<Signal>>,
    spins: u32,
    all_up: bool,
    left: bool,
    stopped_told: bool,
    code_told: Option<u8>,
    outputs: Outputs,
    /// At what part of their interval instances were asked for the first time.
    parts: BTreeMap<InstanceId, f64>,
    /// What updates are going to do.
    coming: BTreeMap<InstanceId, Coming>,
    /// The last who asked for an update only wants to be told.
    dry_run: bool,
    /// The update that has to be told.
    expected: Option<Expected>,
    /// The last who asked anything, and whether he waits for the end of an update.
    client: Option<Client>,
    waits_for_updates: bool,
    /// Who waits for the end of what he asked for.
    waiting: BTreeMap<Client, answers::Waits>,
    /// Who wants to know whether something is so.
    questions: BTreeMap<Client, verdicts::Question>,
    /// Who waits for the end of the container, and for how long.
    enders: BTreeMap<Client, Option<Time>>,
    /// The exit code that one of them was told.
    promised: Option<u8>,
    /// Who wants to know how these are.
    looks: BTreeMap<Client, Vec<InstanceId>>,
    /// The ends of the runs of each.
    ends: BTreeMap<InstanceId, Vec<End>>,
    /// What was left in the termination log.
    log_left: Option<String>,
    began: Time,
    /// What services may hold is known, and they start.
    begun: bool,
    memory: memory::Model,
    /// What is there to be read, and who reads it.
    library: reading::Library,
    /// Who ran when that was looked at last.
    memory_running: BTreeMap<InstanceId, u32>,
}

impl Judge {
    pub fn new(plan: Rc<Plan>, began: Time) -> Self {
        Self {
            lives: plan.instances.iter().map(Life::new).collect(),
            outputs: Outputs::new(plan.clone()),
            plan,
            stop: None,
            interrupts: 0,
            step: Step::default(),
            to_tell: VecDeque::new(),
            early: Some(VecDeque::new()),
            spins: 0,
            all_up: false,
            left: false,
            stopped_told: false,
            code_told: None,
            parts: BTreeMap::new(),
            coming: BTreeMap::new(),
            dry_run: false,
            expected: None,
            client: None,
            waits_for_updates: false,
            waiting: BTreeMap::new(),
            questions: BTreeMap::new(),
            enders: BTreeMap::new(),
            promised: None,
            looks: BTreeMap::new(),
            ends: BTreeMap::new(),
            log_left: None,
            began,
            begun: false,
            memory: memory::Model::default(),
            library: reading::Library::default(),
            memory_running: BTreeMap::new(),
        }
    }

    fn plan_of(&self, id: InstanceId) -> &Instance {
        &self.plan.instances[id.0 as usize]
    }

    fn life(&mut self, id: InstanceId) -> &mut Life {
        &mut self.lives[id.0 as usize]
    }

    fn by_name(&self, name: &str) -> InstanceId {
        match self.plan.ids().find(|id| *self.plan_of(*id).name == *name) {
            Some(id) => id,
            None => violation!("a notice of \"{name}\", which is not in the plan"),
        }
    }

    fn command_mode(&self) -> bool {
        self.plan.mode != Mode::Services
    }

    /// TERM and INT always end a container of services, QUIT and RTMIN+3 unless they are routed elsewhere.
    fn ends_container(&self, signal: Signal) -> bool {
        let always = matches!(signal, Signal::TERM | Signal::INT);
        let usually = matches!(signal, Signal::QUIT | Signal::RTMIN_3);
        !self.command_mode() && (always || usually && !self.plan.routes.contains_key(&signal))
    }

    pub fn event(&mut self, world: &mut World, now: Time, event: &Event) {
        let tick = matches!(event, Event::Tick);
        self.step = Step { now: Some(now), delayed: world.delayed, tick, ..Step::default() };
        self.outputs.event(world, now, event);
        self.keeps();
        world.told(event);
        // Before the ends themselves: what ended by the OOM killer was held until then.
        self.memory_event(world, event);
        match event {
            Event::Begin => self.step.stands = world.weather.standing() != Standing::Pid1,
            Event::MemoryFound(_) => self.begun = true,
            Event::Measured { .. } | Event::Weighed { client: Some(_), .. } => self.step.described = true,
            Event::Left { client } => self.client_is_gone(*client),
            Event::Taken { client } => self.has_taken(*client),
            Event::Reopened { files, .. } => self.step.files = files.iter().map(opened).collect(),
            Event::Asked { client, request: Ok(request) } => self.asked(*client, request),
            Event::Asked { request: Err(_), .. } => self.step.reasons = refusals::Reasons::not_read(),
            Event::Signal(signal) => {
                self.dry_run &= *signal != Signal::HUP;
                self.waits_for_updates &= *signal != Signal::HUP;
                self.step.signal = Some(*signal);
                let command = self.command_mode();
                // Of a standard signal one waits, of the others all do.
                if let (true, Some(early)) = (command, &mut self.early)
                    && (signal.is_real_time() || !early.contains(signal))
                {
                    early.push_back(*signal);
                }
                self.interrupts += u32::from(*signal == Signal::INT && self.ends_container(*signal));
                if self.interrupts == 2 && *signal == Signal::INT {
                    world.count("second SIGINT");
                }
            }
            Event::PassedOn { signal, receivers } => {
                let Some((passed_on, sent)) = self.to_tell.pop_front() else {
                    violation!("{signal} was not passed on");
                };
                assert_eq!((passed_on, sent.len()), (*signal, *receivers), "in order");
                if !sent.is_empty() {
                    self.asked_by(*signal);
                }
                (self.step.signal, self.step.sent) = (Some(*signal), sent);
                self.step.untold = Some(*signal);
            }
            Event::Spawned { child, pid } => match child.role {
                Role::Main => {
                    self.life(child.instance).pid = Some(*pid);
                    self.step.spawned = Some(child.instance);
                    self.step.early = self.early.take().unwrap_or_default();
                }
                Role::StopCommand | Role::Probe(_) => {}
            },
            Event::SpawnFailed { child, .. } if child.role == Role::Main => {
                self.life(child.instance).ended = Some(now);
            }
            Event::ExecFailed { child, .. } if child.role == Role::Main => {
                self.life(child.instance).exec_failed = true;
            }
            Event::Swept { child, found } => {
                self.finds_left(*child, found);
                if !found.is_empty() {
                    self.life(child.instance).left.get_or_insert(now);
                }
                let kills = std::mem::take(&mut self.life(child.instance).sweeps_to_kill);
                if let Some(at) = kills.filter(|_| !found.is_empty()) {
                    world.count("leftovers killed");
                    self.life(child.instance).killed.get_or_insert(at);
                }
            }
            Event::Exited { pid, .. } => {
                self.step.exited = Some(*pid);
                let owner = world.leader(*pid).and_then(|proc| proc.owner);
                if let Mode::Command(manner) = self.plan.mode {
                    if self.plan.log.debug {
                        self.step.reaped.push_back((*pid, false));
                    }
                    self.step.asks_group = manner.rest == Rest::AskGroup && owner.is_some();
                }
                match world.leader(*pid).and_then(|proc| proc.owner) {
                    Some(Child { instance, role: Role::Main, .. }) => {
                        self.step.leader = Some(instance);
                        self.step.looks = !only_leader(self.plan_of(instance));
                        let tested = self.plan_of(instance).ready.is_some();
                        let cared_for = self.cared_for(instance);
                        let life = self.life(instance);
                        life.unready = tested && cared_for && life.care.ready.is_none();
                        life.up = false;
                        life.ended = Some(now);
                        life.asked_before_end = life.asked.is_some();
                    }
                    Some(Child { role: Role::StopCommand | Role::Probe(_), .. }) | None => {}
                }
            }
            Event::OrphansEnded { ended } => {
                if let Mode::Command(manner) = self.plan.mode
                    && (manner.tell_reaped || self.plan.log.debug)
                {
                    self.step.reaped = ended.iter().map(|(pid, _)| (*pid, true)).collect();
                }
            }
            _ => {}
        }
        self.care_event(world, event);
    }

    pub fn action(&mut self, world: &mut World, action: &Action) {
        if self.left {
            violation!("an action after the last: {action:?}");
        }
        if self.stopped_told
            && matches!(action, Action::Tell(_) | Action::Write { .. } | Action::WriteFile { .. })
        {
            violation!("the last words are not the last: {action:?}");
        }
        if !matches!(action, Action::Tell(Notice::Ended { .. })) {
            self.normalize(false);
        }
        match action {
            Action::Spawn { child, launch, extra_env } => {
                let defined = &self.plan_of(child.instance).launch;
                // What its cgroup may hold is another matter.
                let same = Launch { cell: defined.cell, ..(**launch).clone() } == **defined;
                if child.role == Role::Main && !same {
                    violation!("{child:?} is not started as it is defined");
                }
                match child.role {
                    Role::Main | Role::StopCommand => {
                        self.spawn(world, *child);
                        self.check_cell(*child, launch);
                    }
                    Role::Probe(_) => self.asks(world, *child, Err(launch)),
                }
                self.check_environment(*child, extra_env);
            }
            Action::Probe { child, target } => self.asks(world, *child, Ok(target)),
            Action::CancelProbe { child } => self.cancel(*child),
            Action::FindListening { child, leader } => self.finds_listening(*child, *leader),
            Action::Signal { pid, signal } => self.signal(world, *pid, false, *signal),
            Action::SignalGroup { leader, signal } => self.signal(world, *leader, true, *signal),
            Action::Release { pid } => {
                self.step.released += 1;
                if self.step.exited != Some(*pid) {
                    violation!("{pid:?} is released in a step that was not told of its end");
                }
            }
            Action::Sweep { child, leader, signal, .. } => {
                if self.step.exited == Some(*leader) && self.step.released > 0 {
                    violation!(
                        "{leader:?} is released before what it left is looked for: its group may be another's"
                    );
                }
                self.sweep(world, *child, *signal);
            }
            Action::SweepStrays { signal } => {
                self.step.is_end |= signal.is_some();
                self.sweep_strays(world, *signal);
            }
            Action::Write { sink, bytes } => {
                self.outputs.write(world, *sink, bytes);
            }
            Action::WriteFile { file, bytes } => self.outputs.write_file(world, &file.path, bytes),
            Action::Reopen { client } => self.reopens(world, *client),
            Action::Tell(notice) => {
                self.is_event(notice);
                self.notice(world, notice);
            }
            Action::Exit(code) => {
                self.step.is_end = true;
                self.check_readers(world);
                if self.promised.is_some_and(|promised| promised != code.0) {
                    violation!("{code:?}, and a client was told {:?}", self.promised);
                }
                self.exit(world, *code);
            }
            Action::SignalEverybody { signal } => self.signal_everybody(*signal),
            Action::Suspend => match self.step.suspends.checked_sub(1) {
                Some(left) => self.step.suspends = left,
                None => violation!("it suspends itself for no reason"),
            },
            // The world knows whether he is there.
            Action::Weigh { client: Some(_), .. } => {}
            Action::Weigh { client: None, runs, container, pss } => {
                if *pss {
                    violation!("nobody asked for proportional sizes");
                }
                self.weighs(runs, *container);
            }
            Action::FindMemory { pressure, cells } => {
                let guard = self.plan.guard;
                let wanted = self.plan.instances.iter().any(|instance| instance.memory.wants_cell(guard));
                if self.command_mode() || *pressure != self.memory_on() || *cells != wanted {
                    violation!("{action:?}");
                }
            }
            Action::FindListener { instance, .. } => self.step.looks_for_port = Some(*instance),
            Action::Answer { client, answer, .. } => self.answer(world, *client, answer),
            Action::Disconnect { client } => self.client_is_gone(*client),
            Action::TerminationLog { text } => self.termination_log(text),
            Action::Reread | Action::Measure { .. } | Action::Drain => {}
        }
    }

    fn now(&self) -> Time {
        self.step.now.unwrap()
    }

    pub fn after(&mut self, world: &mut World, deadline: Option<Time>, quiet: bool) {
        let now = self.now();
        self.outputs.check();
        self.check_continued();
        self.normalize(true);
        self.look_for_who_waits();
        self.check_questions();
        self.check_refused();
        self.check_readers(world);
        if let Some(expected) = &self.expected
            && self.step.reread
        {
            violation!("an update is not told: {expected:?}");
        }
        if let Some(signal) = self.step.untold {
            violation!("{signal} is passed on without a word");
        }
        self.check_care(quiet);
        self.check_memory();
        self.check_command();
        self.check_ends();
        self.check_sent_by_hand();
        self.check_left_told();
        if let Some(pid) = self.step.exited
            && self.step.released != 1
        {
            violation!("{pid:?} ended and was released {} times", self.step.released);
        }
        if let Some(id) = self.step.leftovers_killed
            && self.lives[id.0 as usize].killed.is_none()
        {
            violation!("leftovers of {} are said to be killed, but nobody was", self.plan_of(id).name);
        }
        if let Some(id) = self.step.leader
            && !self.step.swept
            && self.step.looks
        {
            violation!("the leader of {} has ended and nobody looks for what it left", self.plan_of(id).name);
        }
        match self.step.signal {
            Some(signal) if self.ends_container(signal) && self.stop.is_none() => {
                violation!("{signal} does not begin the stop");
            }
            _ => {}
        }
        if !self.command_mode()
            && self.step.signal.is_some()
            && self.step.signal == self.plan.log.reopen_signal
            && !self.step.reopened
        {
            violation!("{:?} does not open files again", self.step.signal);
        }
        if world.exited.is_some() {
            return;
        }
        if self.step.tick && deadline.is_some_and(|deadline| deadline <= now) {
            self.spins += 1;
            if self.spins > SPINS_MAX {
                violation!("it spins: at {now:?} the deadline is {deadline:?}, tick after tick");
            }
        } else {
            self.spins = 0;
        }
        // Orders whose answers are pending are half carried out; the rest is judged when nothing is.
        if quiet {
            world.check_manners(self.now(), self.step.tick);
            if self.stop.is_some() {
                self.check_stop(world, now);
            } else {
                self.check_starts(now);
                self.check_wishes();
                self.check_who_waits();
                self.check_deadline(world, now, deadline);
                if self.step.tick {
                    self.check_nothing_is_late(now);
                }
            }
        }
    }
}

/// What it leaves behind is nobody's business until the container ends.
fn only_leader(instance: &Instance) -> bool {
    instance.stop.mode == KillMode::Process || instance.launch.mark.is_none()
}

/// What is to be told of a file that was opened again.
fn opened((path, opened): &(PathBuf, Result<(), String>)) -> Change {
    Change {
        name: path.display().to_string(),
        text: opened.as_ref().err().map_or("opened again", String::as_str).to_owned(),
        ok: opened.is_ok(),
    }
}

/// A command of the command line is no service that could be said to be up.
fn counts(instance: &Instance) -> bool {
    instance.autostart && instance.kind != Kind::Command
}

/// The container goes on without it: it may fail, or somebody has stopped it.
fn missed(life: &Life, instance: &Instance) -> bool {
    (life.failed || life.cannot_start) && (life.wishes.held || instance.on_failure == OnFailure::Ignore)
        || life.wishes.held && life.wishes.down && !life.active()
}

/// A daemon is ready, a oneshot is done.
fn arrived(life: &Life, instance: &Instance) -> bool {
    life.completed || life.ready() && instance.kind == Kind::Daemon
}
