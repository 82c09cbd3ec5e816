//! The verbs as people and scripts meet them: the real program against a server of this test, which gives the answers it is told to.
//! What the real server answers is in `tests/pid1` and `tests/containers`.

#![cfg(test)]

#[path = "../common/generated.rs"]
mod generated;

mod answers;
mod docs;
mod fake;
mod shells;
mod terminal;
mod top;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What any single wait may take; far more than it does, for a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Says that this test does not run, past the test runner's capture.
fn skip(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let required = std::env::var("TINYSUP_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{test} must not be skipped (TINYSUP_TEST_REQUIRE_ALL=1), but {why}");
    let count = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: {why} ({count} skipped so far)");
}
