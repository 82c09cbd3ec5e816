//! The core in a virtual world: random plans, faults by seed, virtual time, and a judge that looks at every step.
//!
//! `TINYSUP_SIM_SEEDS=10000` runs that many seeds, `TINYSUP_SIM_FIRST=5000` starts there, `TINYSUP_SIM_SEED=7` runs one
//! and prints what happens in it.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has found something"
)]
#![expect(clippy::cast_precision_loss, reason = "hours of virtual time for people")]

mod budget;
mod faults;
mod invariants;
mod manners;
mod output;
mod plans;
mod rng;
mod world;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use tinysup::event::{Action, Event, ExitCode};
use tinysup::kernel::{Kernel, Until};
use tinysup::notice::Notice;
use tinysup::plan::Plan;
use tinysup::supervisor::{Reread, Supervisor};
use tinysup::units::Signal;

use invariants::Judge;
use rng::Rng;
use world::{Counts, Violation, World};

const SEEDS: u64 = 1000;
const TRACE_SHOWN: usize = 40;

/// What must have happened somewhere in the default number of seeds, or the simulation proves little.
const MUST_HAPPEN: &[&str] = &[
    "added service",
    "adjusted service",
    "all done",
    "all up",
    "another exit code",
    "answer about how things are",
    "answer at once",
    "answer to a change",
    "answer to an attempt that was called off",
    "attempt called off",
    "attempt called off in the batch of its answer",
    "attempt that the machine cannot make",
    "attempt without an answer",
    "awaited text in two pieces",
    "broken configuration",
    "budget spent",
    "burst of exits",
    "changed limit",
    "changed limit told",
    "client",
    "client that is dropped",
    "client that leaves in the middle",
    "command of a test killed",
    "command of a test that cannot be executed",
    "command of a test that cannot be made",
    "command of a test that does not die",
    "command that cannot start",
    "command that ended",
    "container that cannot be weighed",
    "death before exec",
    "dependency that cannot be had",
    "dependency that cannot be had again",
    "double-forked helper",
    "dropped lines told",
    "early wake-up",
    "end by the OOM killer",
    "end by the OOM killer of its own cgroup",
    "end of a stream",
    "exactly at its limit",
    "exec failure",
    "exit code 0",
    "exit code 137",
    "exit with a process that cannot die",
    "failed start",
    "files opened again",
    "failed, never restarted",
    "frozen process",
    "gone before it was ready",
    "health check",
    "health check by a command",
    "helper",
    "helper of a test killed with its group",
    "late wake-up",
    "line as an object",
    "line beyond the limit",
    "line for a file",
    "line in pieces",
    "line without an end after a silence",
    "leftovers killed",
    "leftovers of a crashed leader",
    "leftovers told",
    "line of an answer",
    "longer until ready",
    "longer until SIGKILL",
    "message",
    "message after the end",
    "message of an earlier run",
    "miss in the start period",
    "missed health check",
    "newline of an earlier run",
    "nobody to stop",
    "not executed in time",
    "not ready in time",
    "not ready yet",
    "OOM kill of a helper in its own cgroup",
    "OOM kill of a helper told",
    "OOM kill of a leader",
    "OOM kill of a leader in its own cgroup",
    "OOM kill of somebody",
    "OOM kill of somebody told",
    "orphan from outside",
    "output",
    "output of an earlier run",
    "over its memory limit",
    "piece as an object",
    "services that are not read",
    "process in uninterruptible sleep",
    "process of a neighbour",
    "readiness attempt",
    "readiness attempt by a command",
    "ready",
    "ready after a delay",
    "ready again",
    "ready by a command",
    "ready by a newline",
    "ready by a text",
    "ready by an answer",
    "ready by READY=1",
    "ready once more",
    "refusal",
    "refused wish",
    "reloading",
    "removed service",
    "restart",
    "restart by hand",
    "restart that waits",
    "restart that waits before its time",
    "restart with a dependency",
    "run that the OOM killer ended",
    "second SIGINT",
    "service that calls for its end",
    "service that runs anew",
    "service that stops by itself",
    "shutdown with a process that cannot die",
    "SIGKILL after kill_timeout",
    "SIGKILL at the deadline",
    "signal by hand",
    "signal passed on",
    "signal to open files again",
    "spawn failure",
    "start by hand",
    "stop as wished",
    "stop before exec",
    "stop by a client",
    "stop by a failed service",
    "stop by a service that is done",
    "stop by a signal",
    "stop by hand",
    "stop for an update",
    "stop in backoff",
    "stop while leftovers are being stopped",
    "stop without any deadline",
    "stop without kill_timeout",
    "stop_command",
    "stop_command that failed",
    "stopped by the guard",
    "stopped run that ended",
    "strays at the end",
    "sweep of a number that is somebody else's by now",
    "the container has memory again",
    "trouble with a file",
    "unhealthy",
    "unkillable process",
    "unread lines told",
    "update",
    "update that is done",
    "update that is refused",
    "update that waits for the end of runs",
    "verdict",
    "very late wake-up",
    "victim of the guard",
    "warned of the container",
    "watchdog",
    "well again",
    "word of pressure",
    "word of pressure that is followed later",
    "zombie of a careless parent",
];

/// One seed's history.
struct History {
    counts: Counts,
    hours: f64,
    steps: u64,
    trace: Vec<String>,
    /// What the core ordered, in the order and at the time it was carried out.
    orders: u64,
    result: Result<ExitCode, String>,
}

fn plan(seed: u64) -> (Plan, Rng) {
    let mut rng = Rng::new(seed);
    let plan = plans::draw(&mut rng.fork());
    (plan, rng)
}

/// Runs one seed under the judge.
fn simulate(seed: u64, trace: bool) -> History {
    let (plan_of_core, rng) = plan(seed);
    let shared = Rc::new(plan(seed).0);
    let mut world = World::new(rng, shared.clone());
    world.trace = trace.then(Vec::new);
    if trace {
        describe(&mut world, &shared);
    }
    let start = world.now();
    let mut steps = 0;
    let result = guarded(|| {
        let mut supervisor = Supervisor::new(plan_of_core, world.weather.standing(), world.now());
        drive(&mut world, &mut supervisor, &mut Judge::new(shared), &mut steps)
    });
    History {
        hours: world.now().since(start).as_secs_f64() / 3600.0,
        orders: world.orders,
        trace: world.trace.take().unwrap_or_default(),
        counts: world.counts,
        steps,
        result,
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
fn drive(world: &mut World, supervisor: &mut Supervisor, judge: &mut Judge, steps: &mut u64) -> ExitCode {
    let (mut arrived, mut actions, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    world.wait(Some(Until { at: world.now(), measures: false }), &mut arrived);
    let mut measured = false;
    // `None`: the configuration, read again.
    let mut pending: VecDeque<Option<Event>> = arrived.drain(..).chain([Event::Begin]).map(Some).collect();
    loop {
        while let Some(turn) = pending.pop_front() {
            let now = world.now();
            let ticked = matches!(turn, Some(Event::Tick));
            if let Some(event) = turn {
                world.say(|_| shown(&format!("  > {event:?}")));
                judge.event(world, now, &event);
                supervisor.step(now, event, &mut actions);
            } else {
                let read = world.reread();
                world.say(|_| format!("  > read again: {}", if read.is_ok() { "a plan" } else { "broken" }));
                judge.reread(world, now, &read);
                if world.trace.is_some() {
                    let plan = world.plan.clone();
                    describe(world, &plan);
                }
                supervisor.reread(now, read.map(fresh), &mut actions);
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
                judge.action(world, &action);
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
        world.wait(deadline.map(|at| Until { at, measures: measured }), &mut arrived);
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

fn fresh(plan: Plan) -> Reread {
    Reread { plan, other_control: false }
}

fn shown(line: &str) -> String {
    const LONGEST: usize = 300;
    line.chars().take(LONGEST).collect()
}

thread_local! {
    /// What the last panic of this thread was about, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static GUARDED: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs it and turns a violation, or a panic of the core, into an error.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
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

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// Runs the seed again, with its trace, and says how to do that by hand.
fn report(seed: u64, violation: &str) -> String {
    let history = simulate(seed, true);
    let from = history.trace.len().saturating_sub(TRACE_SHOWN);
    format!(
        "seed {seed}: {violation}\n{}\n    TINYSUP_SIM_SEED={seed} cargo test --test sim -- every_seed --nocapture\n",
        history.trace[from..].join("\n")
    )
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = from_environment("TINYSUP_SIM_SEED") {
        let history = simulate(seed, true);
        println!("{}", history.trace.join("\n"));
        match history.result {
            Ok(code) => println!("seed {seed}: exit code {}", code.0),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
        return;
    }
    let seeds = from_environment("TINYSUP_SIM_SEEDS").unwrap_or(SEEDS);
    let first = from_environment("TINYSUP_SIM_FIRST").unwrap_or(0);
    let (mut counts, mut hours, mut steps) = (Counts::new(), 0.0, 0);
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        let history = simulate(seed, false);
        for (what, count) in history.counts {
            *counts.entry(what).or_default() += count;
        }
        hours += history.hours;
        steps += history.steps;
        if let Err(violation) = history.result {
            failures.push((seed, violation));
        }
    }
    let mut statistics = format!("{seeds} seeds, {hours:.0} virtual hours, {steps} steps\n");
    for (what, count) in &counts {
        writeln!(statistics, "{count:>9}  {what}").unwrap();
    }
    println!("{statistics}");
    if let Some((seed, violation)) = failures.first() {
        for (seed, violation) in failures.iter().take(60) {
            println!("seed {seed}: {}", shown(violation));
        }
        panic!("{} of {seeds} seeds fail. The first:\n{}", failures.len(), report(*seed, violation));
    }
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(seeds < SEEDS || missing.is_empty(), "in {seeds} seeds this never happened: {missing:?}");
}

#[test]
fn a_seed_is_a_whole_history() {
    for seed in 0..50 {
        let (once, again) = (simulate(seed, true), simulate(seed, true));
        assert_eq!(once.trace, again.trace, "seed {seed}");
    }
}

#[test]
fn the_loop_of_the_program_does_the_same() {
    for seed in 0..200 {
        let (plan_of_core, rng) = plan(seed);
        let mut world = World::new(rng, Rc::new(plan(seed).0));
        if world.is_visited() {
            continue; // the judge tells the world of updates
        }
        let judged = simulate(seed, false);
        let mut supervisor = Supervisor::new(plan_of_core, world.weather.standing(), world.now());
        let code = guarded(|| tinysup::runtime::run(&mut world, &mut supervisor, &mut || Err(String::new())));
        if judged.result.is_ok() {
            assert_eq!((code, world.orders), (judged.result, judged.orders), "seed {seed}");
        }
    }
}
