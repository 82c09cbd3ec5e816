//! The real kernel, driven through its trait as the core would, one process per case: signals, forks and waiting for all
//! children belong to a whole process. Some cases need root, and say so where they do not have it.

#![expect(unsafe_code, reason = "system calls that the cases are about")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it does"
)]

#[path = "../../src/sys/early.rs"]
mod early;
mod attributes;
mod control;
mod failures;
mod files;
mod helpers;
mod memory;
mod output;
mod probes;
mod runner;
mod scene;
mod signals;
mod start;
mod sweep;
mod terminal;
mod voices;
#[path = "../common/witness.rs"]
mod witness;
mod world;

use std::env;
use std::process::ExitCode;

use runner::{Case, SKIPPED, end_what_is_left, run_all};

/// Before the name of a case that runs where the kernel has no signalfd.
const WITHOUT_SIGNALFD: &str = "without_signalfd::";

/// All cases by name; those about signals a second time without signalfd.
fn cases() -> Vec<(String, fn())> {
    let all = [
        start::CASES,
        start::ABOUT_SIGNALS,
        attributes::CASES,
        control::CASES,
        failures::CASES,
        files::CASES,
        memory::CASES,
        output::CASES,
        probes::CASES,
        signals::CASES,
        sweep::CASES,
        terminal::CASES,
        voices::CASES,
    ]
    .concat();
    let again = [signals::CASES, start::ABOUT_SIGNALS].concat();
    let again = again.into_iter().map(|(name, case)| (format!("{WITHOUT_SIGNALFD}{name}"), case));
    all.into_iter().map(|(name, case)| (name.to_owned(), case)).chain(again).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--case") => {
            let (_, case) =
                cases().into_iter().find(|(name, _)| *name == arguments[1]).expect("a known case");
            if arguments[1].starts_with(WITHOUT_SIGNALFD) {
                scene::without_signalfd();
            }
            case();
            ExitCode::SUCCESS
        }
        Some("--helper") => helpers::run(&arguments[1..]),
        _ => run_all(cases().into_iter().map(|(name, _)| name).collect(), &arguments),
    }
}
