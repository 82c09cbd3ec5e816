//! Each system call of the supervisor fails once, or from some moment on for ever, with each error that it may fail with:
//! strace injects it from outside, into PID 1 alone. Required each time: the services are supervised and stop in time, or the
//! container ends with a documented code and a message; nothing hangs, nothing spins, and nobody goes unsupervised in silence.
//!
//! `TINYSUP_TEST_FAULTS=all` makes every call fail at more moments, which takes two minutes; a list of names such as
//! `poll=ENOMEM@3+` runs these alone, and says what came of each.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it does"
)]

#[path = "../common/container.rs"]
mod container;
#[path = "../common/generated.rs"]
mod generated;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../common/witness.rs"]
mod witness;

mod broken;
mod scene;
mod table;

use std::fmt::Write;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, panic, thread};

use scene::{Calls, Fault, Outcome};
use table::{CALLS, Call};

/// The name of all faults together, beside the cases of what happens when tinysup is broken.
const EVERY_CALL: &str = "every_call";
/// So many faults, beside one in twenty, may come to nothing, because a run makes a call less often than the one that was counted.
const MISSED_MAX: usize = 3;
/// Runs at the same time: they mostly wait.
const PARALLEL: usize = 4;

fn main() -> ExitCode {
    if env::args().nth(1).is_some_and(|word| word == broken::PANICS) {
        broken::panic_now("it");
        return ExitCode::FAILURE;
    }
    let cases: Vec<(&str, fn())> = broken::CASES.into_iter().chain([(EVERY_CALL, none as fn())]).collect();
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        for (name, _) in &cases {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    // As the usual test runner does it: words that are in the names of those to run.
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if !cases.iter().any(|(name, _)| wanted(name)) {
        return ExitCode::SUCCESS;
    }
    if let Err(why) = possible() {
        let required = env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        println!("*** SKIPPED faults: {why}");
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let mut problems = Vec::new();
    for (name, case) in broken::CASES.into_iter().filter(|(name, _)| wanted(name)) {
        let ended_well = panic::catch_unwind(case).is_ok();
        println!("test {name} ... {}", if ended_well { "ok" } else { "FAILED" });
        problems.extend((!ended_well).then(|| format!("{name}: see above")));
    }
    if wanted(EVERY_CALL) {
        problems.extend(every_call());
    }
    for problem in &problems {
        println!("\nFAILED {problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn none() {}

/// Lets each call fail; what went wrong.
fn every_call() -> Vec<String> {
    let mut problems: Vec<String> =
        generated::part("docs/reliability.md", "faults", &document()).err().into_iter().collect();
    let (known, outcome) = scene::run(None, &Calls::new());
    if outcome != Ok(Outcome::Kept) {
        return vec![format!("without a fault: {}", outcome.err().unwrap_or_default())];
    }
    for (call, (before, all)) in &known {
        if all > before && !CALLS.iter().any(|row| row.name == call) {
            problems
                .push(format!("{call} is in no row of tests/faults/table.rs: say what follows if it fails"));
        }
    }
    let faults = chosen(&known);
    problems.extend(run_all(&faults, &known));
    problems
}

fn possible() -> Result<(), String> {
    container::possible()?;
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("strace cannot trace: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("no strace: {error}")),
    }
}

/// The faults of this run of the tests.
fn chosen(known: &Calls) -> Vec<Fault> {
    let wanted = env::var("TINYSUP_TEST_FAULTS").unwrap_or_default();
    let mut faults = Vec::new();
    for (index, row) in CALLS.iter().enumerate() {
        let count = known.get(row.name).map_or(0, |(before, all)| all - before);
        if count == 0 {
            continue;
        }
        let mut moments = vec![1, 2, 3, count / 2, count * 3 / 4];
        moments.retain(|nth| (1..=count).contains(nth));
        moments.sort_unstable();
        moments.dedup();
        let all = |lasting, errors: &'static [&'static str]| {
            let moments = &moments;
            errors.iter().flat_map(move |error| {
                moments.iter().map(move |nth| Fault { call: row.name, error, nth: *nth, lasting })
            })
        };
        let mut of_row: Vec<Fault> = all(false, row.once).chain(all(true, row.lasting)).collect();
        if wanted.is_empty() {
            // One moment for each error, another one for the next.
            let mut turn = index;
            of_row = of_row
                .chunk_by(|a, b| (a.error, a.lasting) == (b.error, b.lasting))
                .map(|of_error| {
                    turn += 1;
                    of_error[turn % of_error.len()].clone()
                })
                .collect();
        }
        faults.extend(of_row);
    }
    if !["", "all"].contains(&wanted.as_str()) {
        let (calls, wanted): (Vec<&str>, Vec<&str>) = wanted.split(',').partition(|name| !name.contains('='));
        faults.retain(|fault| calls.contains(&fault.call) || wanted.contains(&fault.name().as_str()));
    }
    faults
}

/// Runs them; what went wrong.
fn run_all(faults: &[Fault], known: &Calls) -> Vec<String> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let started = Instant::now();
    let verbose = env::var("TINYSUP_TEST_FAULTS").is_ok_and(|wanted| wanted != "all");
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let run = panic::catch_unwind(|| scene::run(Some(fault), known).1);
                    let result = run.unwrap_or_else(|_| Err("the test itself failed, see above".to_owned()));
                    if verbose || result.is_err() {
                        println!("{:>6.1} s {} {result:?}", started.elapsed().as_secs_f64(), fault.name());
                    }
                    results.lock().expect("no panic").push((fault, result));
                }
            });
        }
    });
    let results = results.into_inner().expect("no panic");
    let of = |wanted: fn(&Outcome) -> bool| {
        results.iter().filter(|(_, result)| result.as_ref().is_ok_and(wanted)).count()
    };
    let missed = of(|outcome| *outcome == Outcome::NotReached);
    println!(
        "{} faults in {:.0} s: {} every promise kept, {} lived on with less, {} ended with a code and a message, {} not reached",
        faults.len(),
        started.elapsed().as_secs_f64(),
        of(|outcome| *outcome == Outcome::Kept),
        of(|outcome| *outcome == Outcome::Degraded),
        of(|outcome| matches!(outcome, Outcome::Ended(_))),
        missed,
    );
    let few = (missed > MISSED_MAX + faults.len() / 20).then(|| format!("{missed} faults were not reached"));
    let failed = results.iter().filter_map(|(fault, result)| {
        let why = result.as_ref().err()?;
        Some(format!(
            "{}\n{why}\n(TINYSUP_TEST_FAULTS={} cargo test --test faults)",
            fault.name(),
            fault.name()
        ))
    });
    failed.chain(few).collect()
}

/// The table as the document shows it.
fn document() -> String {
    let mut text = "\n| call | once | for ever | what tinysup does |\n|---|---|---|---|\n".to_owned();
    for Call { name, once, lasting, answer } in CALLS.iter().filter(|row| !row.once.is_empty()) {
        let _ = writeln!(text, "| `{name}` | {} | {} | {answer} |", once.join(", "), lasting.join(", "));
    }
    text.push_str("\nLeft alone:\n\n");
    let left: Vec<&Call> = CALLS.iter().filter(|row| row.once.is_empty()).collect();
    for of_reason in left.chunk_by(|a, b| a.answer == b.answer) {
        let names: Vec<String> = of_reason.iter().map(|row| format!("`{}`", row.name)).collect();
        let _ = writeln!(text, "- {}: {}", names.join(", "), of_reason[0].answer);
    }
    text.push('\n');
    text
}
