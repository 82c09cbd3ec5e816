//! The output of services, judged by an account of its own. By a seed there is a configuration, services that write what they are told, and
//! what happens to them, their files and their readers; what arrives anywhere is then held against what was written, by the rules of
//! docs/output.md and nothing else.
//!
//! `TINYSUP_TEST_OUTPUT=600` goes on for so many seconds instead of fifteen, `TINYSUP_TEST_SEED` repeats what a seed did.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking and tells what it does"
)]

#[path = "../common/container.rs"]
mod container;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../sim/rng.rs"]
#[allow(dead_code, reason = "the simulator draws in more ways")]
mod rng;

mod account;
mod judge;
mod scene;
mod stage;
mod text;
mod writer;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rng::Rng;
use stage::Stage;

/// How long it goes on if nobody says otherwise.
const SECONDS: u64 = 15;
/// What is done in one scene, at most.
const DEEDS_MAX: u64 = 14;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [first, socket, rest @ ..] = &words[..]
        && first == writer::WRITER
    {
        return writer::run(socket, !rest.is_empty());
    }
    if words.iter().any(|word| word == "--list") {
        println!("output: test");
        return ExitCode::SUCCESS;
    }
    // As the usual test runner does it: words that are in the name of the one to run.
    let mut filters = words.iter().filter(|word| !word.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| "output".contains(&**filter)) {
        return ExitCode::SUCCESS;
    }
    if let Err(why) = container::possible() {
        let required = env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        println!("*** SKIPPED output: {why}");
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    if let Some(seed) = number("TINYSUP_TEST_SEED") {
        return if scene(seed, true) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let how_long = Duration::from_secs(number("TINYSUP_TEST_OUTPUT").unwrap_or(SECONDS));
    let first = u64::from(std::process::id()) * 1_000_000;
    println!("output for {} s, from seed {first} on", how_long.as_secs());
    let (start, mut seed, mut failed) = (Instant::now(), first, 0);
    while start.elapsed() < how_long {
        failed += u64::from(!scene(seed, false));
        seed += 1;
    }
    println!("{} seeds, {failed} failed", seed - first);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether all is well with a seed; else it says what is not, and then, or where that is wanted, what was done.
fn scene(seed: u64, tell: bool) -> bool {
    let story = Mutex::new(Vec::new());
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut rng = Rng::new(seed, None);
        let deeds = rng.between(1, DEEDS_MAX);
        let mut stage = Stage::new(rng.fork(), &story);
        for _ in 0..deeds {
            stage.deed();
        }
        stage.finish();
    }));
    if tell || played.is_err() {
        let story = story.into_inner().unwrap_or_else(PoisonError::into_inner).join("\n");
        let how = if played.is_ok() { "is well" } else { "fails" };
        println!("--- TINYSUP_TEST_SEED={seed} {how}; what was done:\n{story}\n---");
    }
    played.is_ok()
}
