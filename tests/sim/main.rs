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
mod coverage;
mod faults;
mod invariants;
mod manners;
mod output;
mod plans;
mod rng;
mod run;
mod shrink;
mod world;

use std::fmt::Write;

use tinysup::event::Action;
use tinysup::kernel::Kernel;
use tinysup::notice::{Cause, Notice};
use tinysup::supervisor::Supervisor;

use coverage::Coverage;
use run::{Case, guarded, shown};
use world::{Counts, World};

const SEEDS: u64 = 1000;
/// In so many each pair of a state and an input is met, other than those of which it is said that they never are.
const ALL_PAIRS_SEEDS: u64 = 10_000;
/// So many attempts are made to reduce a seed that fails.
const SHRINK_MAX: u64 = 3000;
/// Of so many seeds one has to be reduced to little.
const SEEDS_REDUCED: usize = 3;

/// What must have happened somewhere in the default number of seeds, or the simulation proves little.
const MUST_HAPPEN: &[&str] = &[
    "added service",
    "adjusted service",
    "all done",
    "all up",
    "another exit code",
    "answer about how things are",
    "answer about memory",
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
    "change that another one overtook",
    "change that failed",
    "changed limit",
    "changed limit told",
    "client",
    "client that is dropped",
    "client that leaves in the middle",
    "command of a test killed",
    "command of a test that cannot be executed",
    "command of a test that cannot be made",
    "command of a test that does not die",
    "command started in spite of an end",
    "all up but those that may fail",
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
    "end in a log",
    "end that a client has waited for",
    "end of a stream",
    "event that is followed",
    "event that is read",
    "events that are read",
    "events to the end of the container",
    "exactly at its limit",
    "exec failure",
    "exit code 0",
    "exit code 137",
    "exit with a process that cannot die",
    "failed start",
    "files opened again",
    "failed, never restarted",
    "flood",
    "follower that gives way",
    "frozen process",
    "gone before it was ready",
    "guard that an update changes",
    "health check",
    "health that is good",
    "health that is not good",
    "health check by a command",
    "helper",
    "helper of a test killed with its group",
    "last block",
    "log that is not kept",
    "late wake-up",
    "line as an object",
    "line beyond the limit",
    "line for a file",
    "line in pieces",
    "line that is followed",
    "line that is read",
    "line without an end after a silence",
    "leftovers killed",
    "leftovers of a crashed leader",
    "leftovers told",
    "line of an answer",
    "lines that a reader was too slow for",
    "log that is read",
    "log that is read to the end of the container",
    "longer until ready",
    "longer until SIGKILL",
    "message",
    "message after the end",
    "message of an earlier run",
    "miss in the start period",
    "missed health check",
    "newline of an earlier run",
    "no room for one more request",
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
    "refused as a request",
    "refused as there are many",
    "refused for a name",
    "refused for a state",
    "refused for dependencies",
    "refused for its version",
    "refused for the configuration",
    "refused while the container stops",
    "refused wish",
    "reloading",
    "removed service",
    "restart",
    "restart by hand",
    "restart that waits",
    "restart that waits before its time",
    "restart with a dependency",
    "run that the OOM killer ended",
    "running service whose limit an update changes",
    "second SIGINT",
    "service that calls for its end",
    "service that puts itself into the background",
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
    "wait that came true",
    "wait that cannot come true",
    "wait that was in vain",
    "very late wake-up",
    "victim of the guard",
    "warned of the container",
    "watchdog",
    "well again",
    "word of pressure",
    "word of pressure that is followed later",
    "zombie of a careless parent",
];

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// Reduces the seed to what matters, and says how to do that by hand.
fn report(seed: u64) -> String {
    let reduced = shrink::reduced(&Case::new(seed), SHRINK_MAX);
    format!("{reduced}\nAgain: cargo run --profile simulation --example simulate -- --seed {seed} --shrink\n")
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = from_environment("TINYSUP_SIM_SEED") {
        let history = Case::traced(seed).run();
        println!("{}", history.trace.join("\n"));
        match history.result {
            Ok(code) => println!("seed {seed}: exit code {}", code.0),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
        return;
    }
    let seeds = from_environment("TINYSUP_SIM_SEEDS").unwrap_or(SEEDS);
    let first = from_environment("TINYSUP_SIM_FIRST").unwrap_or(0);
    let first_only = from_environment("TINYSUP_SIM_FIRST_ONLY").is_some();
    let (mut counts, mut hours, mut steps) = (Counts::new(), 0.0, 0);
    let mut coverage = Coverage::default();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        let history = Case::new(seed).run();
        for (what, count) in history.counts {
            *counts.entry(what).or_default() += count;
        }
        coverage.add(history.coverage);
        hours += history.hours;
        steps += history.steps;
        if let Err(violation) = history.result {
            assert!(!first_only, "seed {seed}: {violation}");
            failures.push((seed, violation));
        }
    }
    let (met, pairs, wrong, rare) = coverage.judge();
    let mut statistics =
        format!("{seeds} seeds, {hours:.0} virtual hours, {steps} steps, {met} of {pairs} pairs met\n");
    for (what, count) in &counts {
        writeln!(statistics, "{count:>9}  {what}").unwrap();
    }
    println!("{statistics}{rare}{wrong}");
    if let Some((seed, _)) = failures.first() {
        for (seed, violation) in failures.iter().take(60) {
            println!("seed {seed}: {}", shown(violation));
        }
        panic!("{} of {seeds} seeds fail. The first:\n{}", failures.len(), report(*seed));
    }
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(seeds < SEEDS || missing.is_empty(), "in {seeds} seeds this never happened: {missing:?}");
    let missing = coverage.missing();
    assert!(seeds < SEEDS || missing.is_empty(), "in {seeds} seeds these were met nowhere: {missing:?}");
    let known = wrong.lines().filter(|line| seeds >= ALL_PAIRS_SEEDS || !line.starts_with("never met"));
    let known: Vec<&str> = known.collect();
    assert!(known.is_empty(), "in {seeds} seeds\n{}", known.join("\n"));
}

#[test]
fn a_seed_is_a_whole_history() {
    for seed in 0..50 {
        let (once, again) = (Case::traced(seed).run(), Case::traced(seed).run());
        assert_eq!(once.trace, again.trace, "seed {seed}");
    }
}

#[test]
fn the_loop_of_the_program_does_the_same() {
    for seed in 0..200 {
        let (plan_of_core, shared, rng, _) = Case::new(seed).begin();
        let mut world = World::new(rng, shared);
        if world.is_visited() {
            continue; // the judge tells the world of updates
        }
        let judged = Case::new(seed).run();
        let mut supervisor = Supervisor::new(plan_of_core, world.weather.standing(), world.now());
        let code = guarded(|| tinysup::runtime::run(&mut world, &mut supervisor, &mut || Err(String::new())));
        if judged.result.is_ok() {
            assert_eq!((code, world.orders), (judged.result, judged.orders), "seed {seed}");
        }
    }
}

/// A judge that is wrong: no service whose health checks fail may be stopped.
fn objects_to_unhealthy(action: &Action) -> bool {
    matches!(action, Action::Tell(Notice::Failing { cause: Cause::Unhealthy { .. }, .. }))
}

#[test]
fn a_failing_seed_is_reduced_to_what_matters() {
    let wrong = |seed| Case { objects: Some(objects_to_unhealthy), ..Case::new(seed) };
    let history = (0..1000).map(|seed| (seed, wrong(seed).run()));
    let failing = history.filter(|(_, history)| history.result.is_err() && history.steps > 200);
    // With one thing left out, chance is another one for what comes after it, so a seed may be stuck before much of it is gone.
    let reduced = failing.take(SEEDS_REDUCED).map(|(seed, before)| {
        let reduced = shrink::reduce(&wrong(seed), SHRINK_MAX).expect("it fails");
        (seed, before, reduced)
    });
    let (seed, before, reduced) =
        reduced.min_by_key(|(.., reduced)| reduced.kept.len()).expect("a seed in which that happens");
    let after = wrong(seed).only(reduced.kept.clone()).run();
    // In the same way, and always alike.
    assert!(after.result.as_ref().is_err_and(|failure| failure.contains("Unhealthy")), "{:?}", after.result);
    assert_eq!(after.drawn.len(), reduced.kept.len());
    let (plan, ..) = wrong(seed).only(reduced.kept.clone()).begin();
    assert_eq!(plan.instances.len(), 1, "one service suffices: {plan:?}");
    let left = (after.steps, reduced.kept.len());
    assert!(left.0 <= 40 && left.1 <= 20, "from {} steps and {} draws: {left:?}", before.steps, reduced.from);
}
