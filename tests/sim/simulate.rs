//! The simulation for as long as one likes, on all cores, and the reduction of what fails.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a simulation that panics has found something"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]
#![expect(clippy::wildcard_imports, reason = "as in the test, whose modules these are")]
#![expect(dead_code, reason = "some of it is for the test only")]
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

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use coverage::Coverage;
use run::{Case, shown};
use world::Counts;

const USAGE: &str = "\
cargo run --profile simulation --example simulate -- [OPTION…]

  --seeds N    run so many seeds (10000)
  --from SEED  from this one on (0)
  --jobs N     on so many threads (as many as there are CPUs)
  --counts     say at the end how often what has happened
  --seed ONE   run this one alone and tell what happens in it
  --shrink     reduce what fails, the first seed or that one, to what matters, and tell that
";
/// Seeds that one thread takes at a time.
const PORTION: u64 = 100;
/// Seeds that may fail before it is enough.
const FAILURES_MAX: usize = 20;
const SHRINK_MAX: u64 = 20_000;
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What is counted as something that goes wrong.
const FAULTS: &[&str] = &[
    "OOM kill of a helper in its own cgroup",
    "OOM kill of a leader",
    "OOM kill of a leader in its own cgroup",
    "OOM kill of somebody",
    "answer at once",
    "attempt that the machine cannot make",
    "broken configuration",
    "burst of exits",
    "changed limit",
    "client that leaves in the middle",
    "container that cannot be weighed",
    "death before exec",
    "double-forked helper",
    "early wake-up",
    "exec failure",
    "frozen process",
    "late wake-up",
    "orphan from outside",
    "process in uninterruptible sleep",
    "process of a neighbour",
    "spawn failure",
    "trouble with a file",
    "very late wake-up",
    "zombie of a careless parent",
];

struct Options {
    seeds: u64,
    from: u64,
    jobs: usize,
    counts: bool,
    seed: Option<u64>,
    shrink: bool,
}

fn options() -> Result<Options, String> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { seeds: 10_000, from: 0, jobs, counts: false, seed: None, shrink: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            value.replace('_', "").parse().map_err(|_| format!("{word}: \"{value}\" is no number"))
        };
        match &*word {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--jobs" => options.jobs = usize::try_from(number()?).unwrap_or(1).max(1),
            "--seed" => options.seed = Some(number()?),
            "--counts" => options.counts = true,
            "--shrink" => options.shrink = true,
            _ => return Err(format!("\"{word}\" is no option")),
        }
    }
    Ok(options)
}

/// All that the threads have found out so far.
#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    hours: f64,
    counts: Counts,
    coverage: Coverage,
    failures: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, history: run::History) {
        self.seeds += 1;
        self.steps += history.steps;
        self.hours += history.hours;
        self.coverage.add(history.coverage);
        for (what, count) in history.counts {
            *self.counts.entry(what).or_default() += count;
        }
        let failure = history.result.err();
        if let Some(failure) = &failure {
            eprintln!("seed {seed}: {}", shown(failure));
        }
        self.failures.extend(failure.map(|failure| (seed, failure)));
    }

    fn line(&self, took: Duration) -> String {
        let count = |names: &[&str]| names.iter().filter_map(|name| self.counts.get(name)).sum::<u64>();
        format!(
            "{} seeds, {:.0} virtual hours, {} steps, {} restarts, {} faults, {} failures, {:.0} s ({:.0} seeds/s)",
            self.seeds,
            self.hours,
            self.steps,
            count(&["restart"]),
            count(FAULTS),
            self.failures.len(),
            took.as_secs_f64(),
            self.seeds as f64 / took.as_secs_f64(),
        )
    }
}

fn all(options: &Options) -> Sum {
    let (sum, next, enough) = (Mutex::new(Sum::default()), AtomicU64::new(0), AtomicBool::new(false));
    let (begin, told) = (Instant::now(), Mutex::new(Instant::now()));
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let at = next.fetch_add(PORTION, Ordering::Relaxed);
            if at >= options.seeds {
                return;
            }
            for seed in (at..options.seeds.min(at + PORTION)).map(|at| options.from + at) {
                let history = Case::new(seed).run();
                let mut sum = sum.lock().unwrap();
                sum.add(seed, history);
                enough.fetch_or(sum.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
            }
            let mut told = told.lock().unwrap();
            if told.elapsed() >= TELL_EVERY {
                *told = Instant::now();
                eprintln!("{}", sum.lock().unwrap().line(begin.elapsed()));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(work);
        }
    });
    let sum = sum.into_inner().unwrap();
    println!("{}", sum.line(begin.elapsed()));
    sum
}

/// How it was; whether well.
fn simulate(options: &Options) -> bool {
    if let Some(seed) = options.seed {
        let history = if options.shrink { Case::new(seed) } else { Case::traced(seed) }.run();
        match &history.result {
            Ok(code) => println!("{}\nseed {seed}: exit code {}", history.trace.join("\n"), code.0),
            Err(_) if options.shrink => println!("{}", shrink::reduced(&Case::new(seed), SHRINK_MAX)),
            Err(failure) => println!("{}\nseed {seed}: {failure}", history.trace.join("\n")),
        }
        return history.result.is_ok();
    }
    let mut sum = all(options);
    if options.counts {
        for (what, count) in &sum.counts {
            println!("{count:>12}  {what}");
        }
        let (met, pairs, wrong, rare) = sum.coverage.judge();
        println!("{rare}{wrong}{met} of {pairs} pairs met, {} kinds nowhere", sum.coverage.missing().len());
    }
    sum.failures.sort();
    for (seed, failure) in &sum.failures {
        println!("seed {seed}: {}", shown(failure));
    }
    let Some((seed, _)) = sum.failures.first() else { return true };
    if options.shrink {
        println!("\n{}", shrink::reduced(&Case::new(*seed), SHRINK_MAX));
    }
    println!("\nWhat happened: --seed {seed}. Only what matters of it: --seed {seed} --shrink.");
    false
}

fn main() -> ExitCode {
    if cfg!(panic = "abort") {
        eprintln!(
            "simulate: a panic ends this build, so it cannot go on after what it finds: use --profile simulation"
        );
        return ExitCode::from(64);
    }
    match options() {
        Ok(options) if simulate(&options) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprint!("simulate: {problem}\n\n{USAGE}");
            ExitCode::from(64)
        }
    }
}
