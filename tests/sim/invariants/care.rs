//! Being ready and staying well: what the core knows of each run from the events it was given, what it owes because of that in
//! the very step, and what it may do only then.

use tinysup::notice::{NotReady, Refused};
use tinysup::plan::ReadyTest;
use tinysup::probe::Failure;

use super::attempts::Try;
use super::*;

/// Who is asked in vain for so long is told of once.
const SLOW: Duration = Duration::from_secs(5);
/// What a command said is told up to this many characters, of its last bytes.
const SAID_SHOWN: usize = 200;
const SAID_MAX: usize = 1024;

/// One run, as far as it is looked after.
#[derive(Debug, Default)]
pub(super) struct Care {
    pub ready: Option<Time>,
    /// Until when it has to be ready.
    pub limit: Option<Time>,
    /// It was not ready in time: where it listens was to be asked.
    pub over: bool,
    pub attempt: Option<Try>,
    /// When the next attempt may begin, and when it must have begun.
    pub next: Option<(Time, Time)>,
    /// How the last attempt failed before it was ready.
    pub failure: Option<Failure>,
    /// It had to be told that it takes its time.
    told_slow: bool,
    pub misses: u32,
    lenient_until: Option<Time>,
    /// When it was known to be well for the last time.
    pub well_at: Option<Time>,
    /// How long it may be silent from ready on, where it is watched.
    pub longest: Option<Duration>,
    /// Until when it may be silent, and how long that is.
    pub silence: Option<(Time, Duration)>,
    pub says: Option<String>,
    pub refused: Vec<Refused>,
    /// What it wrote, where a text is waited for.
    pub streams: [Vec<u8>; 2],
    /// It has failed by what this step was told; the core has to say so.
    pub doomed: bool,
    pub owed: Vec<Owed>,
    /// Processes of attempts that got their SIGKILL and are not gone yet.
    pub killed: Vec<Pid>,
    /// When it became ready, until its first health check begins.
    pub spread: Option<Time>,
}

/// What the core has to do or say before a step is over.
#[derive(Debug, PartialEq)]
pub(super) enum Owed {
    Up,
    Ready,
    NotYet(Failure),
    Well(u32),
    Missed(u32, Failure),
    Unhealthy(u32, Failure),
    Silent(Duration),
    Sick,
    NotReady(Vec<String>),
    Memory(Cause),
    Reloading,
    Refused(Refused),
    FindListening,
    Cancel(Child),
    Kill(Pid),
}

impl Owed {
    fn fails(&self) -> bool {
        matches!(
            self,
            Self::Unhealthy(..) | Self::Silent(_) | Self::Sick | Self::NotReady(_) | Self::Memory(_)
        )
    }
}

impl Judge {
    /// It runs, nobody wants it to end, and the container does not stop: it is looked after.
    pub(super) fn cared_for(&self, id: InstanceId) -> bool {
        self.stop.is_none() && self.lives[id.0 as usize].running()
    }

    pub(super) fn owe(&mut self, id: InstanceId, owed: Owed) {
        self.life(id).care.owed.push(owed);
    }

    /// Takes one thing out of what is owed.
    pub(super) fn pays(&mut self, id: InstanceId, is: impl Fn(&Owed) -> bool) -> Option<Owed> {
        let owed = &mut self.life(id).care.owed;
        owed.iter().position(is).map(|at| owed.remove(at))
    }

    pub(super) fn ready_test(&self, id: InstanceId) -> Option<&ReadyTest> {
        self.plan_of(id).ready.as_ref().map(|ready| &ready.test)
    }

    pub(super) fn is_current(&self, child: Child) -> bool {
        let life = &self.lives[child.instance.0 as usize];
        child.run == life.run && life.active() && life.ended.is_none()
    }

    pub(super) fn care_event(&mut self, world: &mut World, event: &Event) {
        match event {
            Event::Tick => {
                for id in self.plan.ids() {
                    self.time_passes(world, id);
                }
            }
            Event::Executed { child } if child.role == Role::Main => self.executed(world, *child),
            Event::Probed { child, result } => self.answered(world, *child, result.clone()),
            Event::Notified { child, bytes } => {
                self.executed(world, *child);
                if !self.is_current(*child) {
                    let earlier = child.run < self.lives[child.instance.0 as usize].run;
                    world.count(if earlier { "message of an earlier run" } else { "message after the end" });
                    return;
                }
                for line in bytes.split(|byte| *byte == b'\n') {
                    self.word(world, child.instance, line);
                }
            }
            Event::Announced { child } => {
                self.executed(world, *child);
                if child.run < self.lives[child.instance.0 as usize].run {
                    world.count("newline of an earlier run");
                }
                if matches!(self.ready_test(child.instance), Some(ReadyTest::Announced))
                    && self.is_current(*child)
                {
                    self.becomes_ready(world, child.instance);
                }
            }
            Event::Output { child, sink, bytes, .. } => match child.role {
                Role::Main => {
                    if child.run < self.lives[child.instance.0 as usize].run {
                        world.count("output of an earlier run");
                    }
                    self.said(world, *child, *sink, bytes);
                }
                Role::Probe(_) => {
                    if let Some(attempt) = self.attempt(*child) {
                        attempt.said.extend_from_slice(bytes);
                    }
                }
                Role::StopCommand => {}
            },
            Event::Listening { child, addresses } if self.is_not_ready_in_time(child.instance) => {
                self.doom(child.instance, Owed::NotReady(addresses.clone()));
            }
            Event::Spawned { child, pid } => {
                let cared_for = self.cared_for(child.instance);
                if let Some(attempt) = self.attempt(*child) {
                    attempt.pid = Some(*pid);
                    if !cared_for {
                        world.count("attempt called off in the step that ordered it");
                    }
                }
            }
            Event::SpawnFailed { child, error } if self.attempt(*child).is_some() => {
                world.count("command of a test that cannot be made");
                self.attempt_ends(world, *child, Some(Err(Failure::CommandStart(error.clone()))));
            }
            Event::ExecFailed { child, error } => {
                if let Some(attempt) = self.attempt(*child) {
                    attempt.error = Some(error.clone());
                    world.count("command of a test that cannot be executed");
                }
            }
            Event::Exited { pid, status } => {
                let owner = world.leader(*pid).and_then(|proc| proc.owner);
                if let Some(child @ Child { role: Role::Probe(_), .. }) = owner {
                    self.step.probe_ended = Some(*pid);
                    self.command_ended(world, child, *status);
                    self.life(child.instance).care.killed.retain(|killed| killed != pid);
                }
            }
            _ => {}
        }
    }

    /// Its program runs: execve succeeded, or it speaks.
    pub(super) fn executed(&mut self, world: &mut World, child: Child) {
        let (now, id) = (self.now(), child.instance);
        if !self.is_current(child) || self.lives[id.0 as usize].up {
            return;
        }
        let plan = self.plan.clone();
        let instance = &plan.instances[id.0 as usize];
        let stopping = self.stop.is_some();
        let life = self.life(id);
        (life.up, life.ever_up) = (true, true);
        if life.is_leaving() {
            return;
        }
        let ordered = life.ordered.unwrap();
        life.care.longest = instance.watchdog;
        match (&instance.ready, instance.kind) {
            (_, Kind::Oneshot) => {}
            (None, Kind::Daemon | Kind::Command) => {
                if instance.kind == Kind::Daemon {
                    self.owe(id, Owed::Up);
                }
                self.life(id).care.ready = Some(now);
                if !stopping {
                    self.watch(id);
                }
            }
            (Some(_), _) if stopping => {}
            (Some(ready), _) => {
                life.care.limit = Some(ordered + ready.timeout);
                life.care.next = match ready.test {
                    ReadyTest::Asked(_) => Some((now, now + ready.interval)),
                    _ => None,
                };
                let late = now >= ordered + ready.timeout;
                if matches!(ready.test, ReadyTest::After(delay) if now >= ordered + delay) {
                    self.becomes_ready(world, id);
                } else if late {
                    self.life(id).care.over = true;
                    self.owe(id, Owed::FindListening);
                }
            }
        }
    }

    pub(super) fn becomes_ready(&mut self, world: &mut World, id: InstanceId) {
        let (now, cared_for) = (self.now(), self.cared_for(id));
        let life = self.life(id);
        if !cared_for || life.care.ready.is_some() {
            if life.care.ready.is_some() {
                world.count("ready once more");
            }
            return;
        }
        life.care.ready = Some(now);
        life.care.over = false;
        self.owe(id, Owed::Ready);
        self.watch(id);
    }

    /// From ready on.
    fn watch(&mut self, id: InstanceId) {
        let now = self.now();
        let plan = self.plan.clone();
        let check = plan.instances[id.0 as usize].healthcheck.as_ref();
        let life = self.life(id);
        let ordered = life.ordered.unwrap();
        let care = &mut life.care;
        care.next = check.map(|check| (now, now + check.interval));
        care.spread = check.map(|_| now);
        care.lenient_until = check.map(|check| ordered + check.start_period);
        care.well_at = Some(now);
        care.silence = care.longest.map(|longest| (now + longest, longest));
    }

    /// What is due now.
    fn time_passes(&mut self, world: &mut World, id: InstanceId) {
        let now = self.now();
        if self.starts_too_slowly(id) {
            self.life(id).care.over = true;
            self.owe(id, Owed::FindListening);
            world.count("not executed in time");
        }
        if !self.cared_for(id) {
            return;
        }
        let late = self.lives[id.0 as usize].care.attempt.as_ref().filter(|attempt| now >= attempt.late_at);
        if let Some(attempt) = late {
            let (child, by_command, interval) = (attempt.child, attempt.command, attempt.interval);
            let failure = Failure::Late { timeout: attempt.late_at.since(attempt.began) };
            if by_command {
                let attempt = self.attempt(child).unwrap();
                // Should even SIGKILL not end it, nobody knows whether the service is well.
                attempt.late_at = now + interval;
                let first = !std::mem::replace(&mut attempt.overdue, true);
                let pid = attempt.pid.unwrap();
                if first {
                    self.owe(id, Owed::Kill(pid));
                    world.count("command of a test killed");
                } else {
                    world.count("command of a test that does not die");
                }
                self.miss(world, id, failure);
            } else {
                self.owe(id, Owed::Cancel(child));
                world.count("attempt without an answer");
                self.attempt_ends(world, child, Some(Err(failure)));
            }
        }
        let life = &self.lives[id.0 as usize];
        if life.care.ready.is_none() {
            if self.delay_ends(id).is_some_and(|at| now >= at) {
                self.becomes_ready(world, id);
            } else if life.care.limit.is_some_and(|limit| now >= limit) && !life.care.over {
                self.life(id).care.over = true;
                self.owe(id, Owed::FindListening);
            }
        } else if let Some((_, longest)) = life.care.silence.filter(|(at, _)| now >= *at) {
            // Where both are due, either may be told.
            self.doom(id, Owed::Silent(longest));
        }
    }

    /// When the delay is over after which it counts as ready.
    pub(super) fn delay_ends(&self, id: InstanceId) -> Option<Time> {
        match self.ready_test(id)? {
            ReadyTest::After(delay) => Some(self.lives[id.0 as usize].ordered? + *delay),
            _ => None,
        }
    }

    /// Its process is there and its program does not run, nobody knows why not, and the time in which it had to be ready is over.
    fn starts_too_slowly(&self, id: InstanceId) -> bool {
        let over = self.exec_due(id).is_some_and(|due| self.now() >= due);
        over && !self.lives[id.0 as usize].care.over
    }

    pub(super) fn exec_due(&self, id: InstanceId) -> Option<Time> {
        let (life, instance) = (&self.lives[id.0 as usize], self.plan_of(id));
        let starting = self.starting(id) && instance.kind != Kind::Oneshot;
        Some(life.ordered? + instance.ready.as_ref().filter(|_| starting)?.timeout)
    }

    fn starting(&self, id: InstanceId) -> bool {
        let life = &self.lives[id.0 as usize];
        let there = life.active() && life.pid.is_some() && life.ended.is_none();
        there && !life.up && !life.exec_failed && !life.is_leaving() && self.stop.is_none()
    }

    fn is_not_ready_in_time(&self, id: InstanceId) -> bool {
        self.lives[id.0 as usize].care.over && (self.cared_for(id) || self.starting(id))
    }

    pub(super) fn good(&mut self, world: &mut World, id: InstanceId) {
        let now = self.now();
        let care = &mut self.life(id).care;
        if care.ready.is_none() {
            return self.becomes_ready(world, id);
        }
        let misses = std::mem::take(&mut care.misses);
        care.lenient_until = None;
        care.well_at = Some(now);
        if misses > 0 {
            self.owe(id, Owed::Well(misses));
        }
    }

    pub(super) fn miss(&mut self, world: &mut World, id: InstanceId, failure: Failure) {
        let now = self.now();
        let retries = self.plan_of(id).healthcheck.as_ref().map_or(u32::MAX, |check| check.retries);
        let life = self.life(id);
        let slow = life.ordered.is_some_and(|ordered| now.since(ordered) >= SLOW);
        let care = &mut life.care;
        if care.ready.is_none() {
            care.failure = Some(failure.clone());
            if slow && !std::mem::replace(&mut care.told_slow, true) {
                self.owe(id, Owed::NotYet(failure));
            }
        } else if care.lenient_until.is_some_and(|until| now < until) {
            world.count("miss in the start period");
        } else {
            care.misses += 1;
            let misses = care.misses;
            if misses < retries {
                self.owe(id, Owed::Missed(misses, failure));
            } else {
                self.doom(id, Owed::Unhealthy(misses, failure));
            }
        }
    }

    /// The run has failed.
    pub(super) fn doom(&mut self, id: InstanceId, how: Owed) {
        self.life(id).care.doomed = true;
        self.owe(id, how);
    }

    pub(super) fn finds_listening(&mut self, child: Child, leader: Pid) {
        let id = child.instance;
        // Clients want to know, too.
        if self.step.described {
            return;
        }
        if self.pays(id, |owed| *owed == Owed::FindListening).is_none()
            || self.lives[id.0 as usize].pid != Some(leader)
        {
            violation!("nobody wants to know where {child:?} listens, or not of {leader:?}");
        }
    }

    pub(super) fn failing(&mut self, world: &mut World, name: &str, cause: &Cause, waiting: &[Rc<str>]) {
        let (id, now) = (self.by_name(name), self.now());
        let plan = self.plan.clone();
        let instance = &plan.instances[id.0 as usize];
        let Some(how) = self.pays(id, Owed::fails) else {
            violation!("{name} is said to fail by {cause:?}: {:?}", self.lives[id.0 as usize])
        };
        let care = &self.lives[id.0 as usize].care;
        let ordered = self.lives[id.0 as usize].ordered.unwrap();
        let other = care.owed.iter().find(|owed| owed.fails());
        let tells = |how: &Owed| match (how, cause) {
            (Owed::NotReady(addresses), Cause::NotReady(how)) => {
                let NotReady { waited, test, failure, listens, says } = &**how;
                let failure_is_told = match (&care.failure, failure) {
                    (Some(truth), Some(told)) => same_failure(truth, told),
                    (truth, told) => truth.is_none() && told.is_none(),
                };
                let shown = &instance.ready.as_ref().unwrap().shown;
                let took = now.since(ordered);
                (waited, test, listens, says) == (&took, shown, addresses, &care.says) && failure_is_told
            }
            (Owed::Unhealthy(misses, failure), Cause::Unhealthy { misses: told, failure: why }) => {
                told == misses && same_failure(failure, why)
            }
            (Owed::Silent(longest), Cause::Watchdog { silence }) => *silence == Some(*longest),
            (Owed::Sick, Cause::Watchdog { silence }) => silence.is_none(),
            (Owed::Memory(truth), told) => truth == told,
            _ => false,
        };
        if !tells(&how) && !other.is_some_and(tells) {
            violation!("{name} fails by {how:?}, but {cause:?} is told: {care:?}");
        }
        let (known_well, right) = match cause {
            Cause::NotReady(_) => (Duration::ZERO, self.who_waits_for(id)),
            // What was never ready is no stable run.
            Cause::OverMemory { .. } | Cause::ShortMemory { .. } => {
                let unready = instance.ready.is_some() && care.ready.is_none();
                (if unready { Duration::ZERO } else { now.since(ordered) }, Vec::new())
            }
            _ => (care.well_at.map_or(Duration::ZERO, |at| at.since(ordered)), Vec::new()),
        };
        world.count(match cause {
            Cause::NotReady(_) => "not ready in time",
            Cause::Unhealthy { .. } => "unhealthy",
            Cause::OverMemory { .. } => "over its memory limit",
            Cause::ShortMemory { .. } => "stopped by the guard",
            _ => "watchdog",
        });
        if right != waiting {
            violation!("{waiting:?} are said to wait for {name}; it is {right:?}");
        }
        let life = self.life(id);
        life.care.owed.retain(|owed| !owed.fails());
        life.leaving = Some(Leaving::Failed(cause.clone(), known_well));
    }

    /// What follows from the events of a step has to be in it.
    pub(super) fn check_care(&self, quiet: bool) {
        for (id, life) in (0..).map(InstanceId).zip(&self.lives) {
            let name = &self.plan_of(id).name;
            if let Some(owed) = life.care.owed.first() {
                violation!("{name}: {owed:?} does not follow: {:?}", life.care);
            }
            if life.leaving.is_some() && life.active() && life.ended.is_none() && life.asked.is_none() {
                violation!("{name} is said to be stopped, and nobody asks it to: {:?}", life.leaving);
            }
            if let Some(attempt) = &life.care.attempt
                && quiet
                && (attempt.unwanted || !self.cared_for(id))
            {
                violation!("{name}: {:?} goes on although nobody wants an answer any more", attempt.child);
            }
        }
        if let Some(pid) = self.step.probe_ended {
            violation!("a test, {pid:?}, has ended, and what it forked lives on");
        }
    }

    /// At a tick everything is done that is due.
    pub(super) fn check_nothing_is_late(&self, now: Time) {
        for id in self.plan.ids().filter(|id| self.cared_for(*id)) {
            let (care, name) = (&self.lives[id.0 as usize].care, &self.plan_of(id).name);
            if let (None, false, Some((_, latest))) = (&care.attempt, care.over, care.next)
                && now >= latest
                && care.killed.is_empty()
            {
                violation!("{name} should have been asked at {latest:?}, now it is {now:?}");
            }
        }
    }
}

/// Whether a failure is told as it was. Of what a command said, the last line is told.
pub(super) fn same_failure(truth: &Failure, told: &Failure) -> bool {
    match (truth, told) {
        (Failure::Command { status, said }, Failure::Command { status: told, said: line }) => {
            let plain = !line.contains(char::is_control) && line.chars().count() <= SAID_SHOWN;
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
            let shown: String =
                last.chars().take(SAID_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
            status == told && plain && (*line == shown || said.len() > SAID_MAX)
        }
        _ => truth == told,
    }
}
