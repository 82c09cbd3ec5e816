//! One seed from its beginning to its end: the loop of the program with the judge in it, and what is known of it afterwards.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use tinysup::event::{Action, Care, Event, ExitCode};
use tinysup::kernel::{AtOnce, Kernel, Until};
use tinysup::notice::Notice;
use tinysup::plan::Plan;
use tinysup::supervisor::{Reread, Supervisor};
use tinysup::units::Signal;

use crate::coverage::Coverage;
use crate::invariants::Judge;
use crate::plans;
use crate::rng::{Rng, Tape};
use crate::violation;
use crate::world::{Counts, Violation, World};

/// Whether somebody does not like an order.
pub type Objection = fn(&Action) -> bool;

/// What is run: a seed, and how much of it.
#[derive(Clone, Default)]
pub struct Case {
    pub seed: u64,
    /// The draws that are left to chance; `None`: all.
    pub kept: Option<BTreeSet<u64>>,
    /// It is told what happens.
    pub trace: bool,
    /// What was drawn is noted.
    pub notes: bool,
    /// Another judge beside the usual one, for those who want to see one that is wrong.
    pub objects: Option<Objection>,
}

/// One seed's history.
pub struct History {
    pub counts: Counts,
    pub hours: f64,
    pub steps: u64,
    pub trace: Vec<String>,
    /// What the core ordered, in the order and at the time it was carried out.
    pub orders: u64,
    pub coverage: Coverage,
    /// The draws that did not come out calm.
    pub drawn: Vec<u64>,
    pub result: Result<ExitCode, String>,
}

impl Case {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn traced(seed: u64) -> Self {
        Self { trace: true, ..Self::new(seed) }
    }

    /// The same with these draws only.
    pub fn only(&self, kept: BTreeSet<u64>) -> Self {
        Self { kept: Some(kept), notes: true, ..self.clone() }
    }

    fn tape(&self) -> Option<Rc<Tape>> {
        let tape = self.kept.clone().map_or_else(Tape::default, Tape::only);
        (self.notes || self.kept.is_some()).then(|| Rc::new(tape))
    }

    /// The plan, twice, and all further chance.
    pub fn begin(&self) -> (Plan, Rc<Plan>, Rng, Option<Rc<Tape>>) {
        let tape = self.tape();
        let rng = Rng::new(self.seed, tape.clone());
        let plan = plans::draw(&mut rng.named("plan"));
        (plan.clone(), Rc::new(plan), rng, tape)
    }

    /// Runs it under the judge.
    pub fn run(&self) -> History {
        let (plan_of_core, shared, rng, tape) = self.begin();
        let mut world = World::new(rng, shared.clone());
        world.trace = self.trace.then(Vec::new);
        if self.trace {
            describe(&mut world, &shared);
        }
        let start = world.now();
        let (mut steps, mut coverage) = (0, Coverage::default());
        let result = guarded(|| {
            let began = world.now();
            let mut supervisor = Supervisor::new(plan_of_core, world.weather.standing(), began);
            let mut judge = Judge::new(shared, began);
            drive(&mut world, &mut supervisor, &mut judge, (self.objects, &mut coverage), &mut steps)
        });
        History {
            hours: world.now().since(start).as_secs_f64() / 3600.0,
            orders: world.orders,
            trace: world.trace.take().unwrap_or_default(),
            counts: world.counts,
            steps,
            coverage,
            drawn: tape.map(|tape| tape.take()).unwrap_or_default(),
            result,
        }
    }
}

fn describe(world: &mut World, plan: &Plan) {
    world.say(|world| {
        format!(
            "pid 1: {}, {} pids, mode {:?}, shutdown_timeout {:?}, routes {:?}, {:?}, {:?}",
            world.weather.pid1,
            world.weather.pids,
            plan.mode,
            plan.shutdown_timeout,
            plan.routes,
            plan.guard,
            world.weather.memory
        )
    });
    for (id, instance) in plan.all() {
        world.say(|world| {
            let tinysup::plan::Instance { name, kind, autostart, depends_on, restart, stop, signals, .. } = instance;
            let tinysup::plan::Instance { ready, healthcheck, watchdog, launch, memory, .. } = instance;
            let stop_command = stop.command.is_some();
            let (signal, kill_timeout, mode) = (stop.signal, stop.kill_timeout, stop.mode);
            format!(
                "{name}: {kind:?} autostart {autostart} {:?} depends on {depends_on:?}\n    {restart:?}\n    stop: {signal:?} {kill_timeout:?} {mode:?} stop_command {stop_command}, on_failure {:?}, on_success {:?}, signals {signals:?}, out {:?} {:?}\n    ready {ready:?}\n    healthcheck {healthcheck:?}\n    watchdog {watchdog:?}, {:?}\n    memory {memory:?}",
                world.temper(id),
                instance.on_failure,
                instance.on_success,
                launch.stdout,
                launch.stderr,
                launch.speaks,
            )
        });
    }
}

/// The loop of `runtime::run`, with the judge between.
fn drive(
    world: &mut World,
    supervisor: &mut Supervisor,
    judge: &mut Judge,
    (objects, coverage): (Option<Objection>, &mut Coverage),
    steps: &mut u64,
) -> ExitCode {
    let (mut arrived, mut actions, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    world.wait(Some(Until { at: world.now(), measures: false }), &|_, _| Care::ToDecide, &mut arrived);
    let mut measured = false;
    // `None`: the configuration, read again.
    let mut pending: VecDeque<Option<Event>> = arrived.drain(..).chain([Event::Begin]).map(Some).collect();
    loop {
        while let Some(turn) = pending.pop_front() {
            let now = world.now();
            let ticked = matches!(turn, Some(Event::Tick));
            if let Some(event) = turn {
                world.say(|_| shown(&format!("  > {event:?}")));
                coverage.event(world, supervisor, &event);
                judge.event(world, now, &event);
                supervisor.step(now, event, &mut actions);
            } else {
                let read = world.reread();
                let other = read.as_ref().is_ok_and(|read| read.other_control);
                let read = read.map(|read| read.plan);
                world.say(|_| format!("  > read again: {}", if read.is_ok() { "a plan" } else { "broken" }));
                coverage.reread(world, supervisor, read.is_ok());
                judge.reread(world, now, &read, other);
                if world.trace.is_some() {
                    let plan = world.plan.clone();
                    describe(world, &plan);
                }
                let read = read.map(|plan| Reread { plan, other_control: other, replaced: false });
                supervisor.reread(now, read, &mut actions);
            }
            *steps += 1;
            let (mut rereads, mut ending) = (false, false);
            for action in actions.drain(..) {
                rereads |= matches!(action, Action::Reread);
                world.say(|_| shown(&format!("    < {action:?}")));
                // A stop that only now begins may have no time at all.
                ending |= matches!(action, Action::Tell(Notice::Stopping { .. }));
                if ticked && !measured && !ending && ends_patience(&action) {
                    violation!("{action:?} for a time in which nobody may have run");
                }
                coverage.action(&action);
                judge.action(world, &action);
                if objects.is_some_and(|objects| objects(&action)) {
                    violation!("the other judge does not like {action:?}");
                }
                let leaving = if let Action::Exit(code) = action { Some(code) } else { None };
                world.perform(action, &mut answers);
                if let Some(code) = leaving {
                    return code;
                }
            }
            if rereads {
                pending.push_front(None);
            }
            for answer in answers.drain(..).rev() {
                pending.push_front(Some(answer));
            }
            // What began after the wait may end before the next.
            measured |= supervisor.measures();
            judge.after(world, supervisor.deadline(), pending.is_empty());
        }
        let deadline = supervisor.deadline();
        measured = supervisor.measures();
        let at_once: AtOnce = &|signal, send| supervisor.pass_on_at_once(signal, send);
        world.wait(deadline.map(|at| Until { at, measures: measured }), at_once, &mut arrived);
        judge.passed_on(world);
        pending.extend(arrived.drain(..).map(Some));
        if deadline.is_some_and(|deadline| world.now() >= deadline) {
            pending.push_back(Some(Event::Tick));
        }
    }
}

/// What is done to a process because it took too long.
fn ends_patience(action: &Action) -> bool {
    match action {
        Action::Signal { signal, .. } | Action::SignalGroup { signal, .. } | Action::Sweep { signal, .. } => {
            *signal == Signal::KILL
        }
        Action::SweepStrays { signal } => *signal == Some(Signal::KILL),
        Action::CancelProbe { .. } => true,
        _ => false,
    }
}

pub fn shown(line: &str) -> String {
    const LONGEST: usize = 300;
    line.chars().take(LONGEST).collect()
}

thread_local! {
    /// What the last panic of this thread was about, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static GUARDED: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs it and turns a violation, or a panic of the core, into an error.
pub fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.with(|guarded| *guarded.borrow()) {
                PANIC.with(|panic| *panic.borrow_mut() = Some(info.to_string()));
            } else {
                default(info);
            }
        }));
    });
    GUARDED.with(|guarded| *guarded.borrow_mut() = true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.with(|guarded| *guarded.borrow_mut() = false);
    result.map_err(|payload| match payload.downcast::<Violation>() {
        Ok(violation) => violation.0,
        Err(_) => PANIC.with(|panic| panic.borrow_mut().take()).unwrap_or_else(|| "a panic".to_owned()),
    })
}
