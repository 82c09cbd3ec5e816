//! The contract of an init for one command, as cases in one table: what each incumbent does is recorded, what this program does
//! under each of its names is required. `docs/drop-in.md` shows the table, so no difference is there by accident.
//!
//! `cargo test --test conformance -- [FILTER…]`, where a case is called `signals::each_once` and one of its runs
//! `signals::each_once::dumb-init`; `--list` names them, `--show` prints what was observed. It takes a root who may make
//! namespaces. `TINYSUP_TEST_BINARY` may name another build of the program; `TINYSUP_TEST_WRITE=1` writes the document.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it does"
)]
#![expect(clippy::too_many_lines, reason = "tables are long")]

#[path = "../common/container.rs"]
mod container;
#[path = "../common/generated.rs"]
mod generated;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../common/terminal.rs"]
mod terminal;
#[path = "../common/witness.rs"]
mod witness;

mod document;
mod expected;
mod programs;
mod steps;

mod after;
mod codes;
mod options;
mod reaping;
mod signals;
mod start;
mod surroundings;
mod terminals;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use std::{env, thread};

use self::expected::{Expected, meets};
use self::programs::{Found, Program};

/// One row of the table.
pub struct Case {
    /// `group::name`.
    pub name: &'static str,
    /// What is done, for the document.
    pub what: &'static str,
    /// What each program does.
    pub expected: Expected,
    /// Why we do what we do, where not all do the same; else empty.
    pub why: &'static str,
    /// Does it, and says what it saw.
    pub observe: fn(&Program) -> String,
}

/// The table.
pub fn cases() -> Vec<Case> {
    [
        signals::cases(),
        codes::cases(),
        reaping::cases(),
        start::cases(),
        terminals::cases(),
        after::cases(),
        surroundings::cases(),
        options::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Most of the time the programs wait for each other, so more of them run than there are processors.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let filters: Vec<&str> =
        arguments.iter().filter(|argument| !argument.starts_with('-')).map(String::as_str).collect();
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let cases = cases();
    if flag("--list") {
        for name in [document::CASE].into_iter().filter(|name| chosen(name)) {
            println!("{name}: test");
        }
        let found = programs::find();
        for run in runs(&cases, &found, &chosen) {
            println!("{}: test", run.name());
        }
        return ExitCode::SUCCESS;
    }

    let mut tally = Tally::default();
    if chosen(document::CASE) {
        tally.note(document::CASE, document::check(&cases), "");
    }
    let required = env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    let mut missing = Vec::new();
    match container::possible() {
        Ok(()) => {
            let mut found = programs::find();
            missing.append(&mut found.missing);
            examine(&runs(&cases, &found, &chosen), flag("--show"), &mut tally);
        }
        Err(why) => {
            missing.push(format!("any case: no PID namespace can be made here, it takes root ({why})"));
        }
    }
    for why in &missing {
        println!("\n*** NOT EXAMINED: {why}");
        if required {
            tally.failed.push("a program is missing, and TINYSUP_TEST_REQUIRE_ALL=1".to_owned());
        }
    }
    tally.finish(missing.len())
}

/// A case for a program.
struct Run<'a> {
    case: &'a Case,
    program: &'a Program,
    expected: &'static str,
}

impl Run<'_> {
    fn name(&self) -> String {
        format!("{}::{}", self.case.name, self.program.name)
    }

    /// What was observed; if that is wrong, what there is to say about it.
    fn execute(&self) -> (String, Option<String>) {
        let observed = panic::catch_unwind(AssertUnwindSafe(|| (self.case.observe)(self.program)));
        let observed = observed.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        });
        let wrong = !meets(self.program, self.expected, &observed);
        let problem =
            wrong.then(|| format!("{}\n  expected  {}\n  observed  {observed}", self.name(), self.expected));
        (observed, problem)
    }
}

fn runs<'a>(cases: &'a [Case], found: &'a Found, chosen: &impl Fn(&str) -> bool) -> Vec<Run<'a>> {
    let mut runs = Vec::new();
    for case in cases {
        for program in &found.programs {
            let run = case.expected.of(program).map(|expected| Run { case, program, expected });
            runs.extend(run.filter(|run| chosen(&run.name())));
        }
    }
    runs
}

/// Runs them all, some at once; tells each case when all its programs are through.
fn examine(runs: &[Run], show: bool, tally: &mut Tally) {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs {
        *left.entry(run.case.name).or_default() += 1;
    }
    println!("\nrunning {} cases, {} runs", left.len(), runs.len());
    // A panic is a result here, which is told with its case.
    panic::set_hook(Box::new(|_| ()));
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let result = run.execute();
                    sender.send((run, result, started.elapsed())).expect("somebody listens");
                }
            });
        }
        drop(sender);
        let mut problems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for (run, (observed, problem), took) in results {
            let name = run.case.name;
            if show {
                println!("{} ({:.2} s): {observed}", run.name(), took.as_secs_f64());
            }
            problems.entry(name).or_default().extend(problem);
            *count.entry(name).or_default() += 1;
            let left = left.get_mut(name).expect("counted");
            *left -= 1;
            if *left == 0 {
                let programs = format!(" ({} programs)", count[name]);
                tally.note(name, problems.remove(name).unwrap_or_default(), &programs);
            }
        }
    });
    let _ = panic::take_hook();
}

/// What came of it.
struct Tally {
    started: Instant,
    passed: usize,
    failed: Vec<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { started: Instant::now(), passed: 0, failed: Vec::new() }
    }
}

impl Tally {
    fn note(&mut self, name: &str, problems: Vec<String>, remark: &str) {
        println!("test {name} ... {}{remark}", if problems.is_empty() { "ok" } else { "FAILED" });
        self.passed += usize::from(problems.is_empty());
        self.failed.extend(problems);
    }

    fn finish(&self, missing: usize) -> ExitCode {
        for problem in &self.failed {
            println!("\n---- {problem}");
        }
        println!(
            "\ntest result: {}. {} passed; {} failures; {missing} NOT EXAMINED; finished in {:.2}s\n",
            if self.failed.is_empty() { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
            self.started.elapsed().as_secs_f64()
        );
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
