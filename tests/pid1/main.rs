//! The real program as PID 1 of a PID namespace, and as an ordinary child, on the real kernel and without Docker. It takes a
//! root who may make namespaces; where there is none, every case says loudly that it does not run. `TINYSUP_TEST_BINARY` may name
//! another build of the program.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/container.rs"]
mod container;
#[path = "../common/launch.rs"]
mod launch;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../common/terminal.rs"]
mod terminal;
#[path = "../common/witness.rs"]
mod witness;

mod services;

mod budget;
mod child;
mod children;
mod command;
mod control;
mod failures;
mod manners;
mod memory;
mod output;
mod readiness;
mod reaping;
mod restarts;
mod security;
mod signals;
mod stopping;
mod surroundings;
mod twice;
mod updates;
mod verbs;

use std::env;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;

/// Whether this can run at all; else it says so.
pub fn root() -> bool {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    let possible = POSSIBLE.get_or_init(container::possible);
    match possible {
        Ok(()) => true,
        Err(why) => skip(&format!("no PID namespace can be made here, it takes root ({why})")),
    }
}

/// Says that this test does not run, past the test runner's capture. Always false.
fn skip(why: &str) -> bool {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let required = env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} must not be skipped (TINYSUP_TEST_REQUIRE_ALL=1), but {why}");
    let _ = writeln!(io::stderr(), "\n*** SKIPPED {test}: {why}");
    false
}
