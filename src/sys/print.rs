//! Text for the person who called, on the plain standard descriptors. For offline commands and refusals only: a supervisor
//! writes through its sinks, which never block. Nobody listening is no error.

use super::call;
use super::descriptors::{STDERR, STDOUT};

/// Writes to standard output. Says whether somebody can still read it.
pub fn print(text: &str) -> bool {
    call::write_all(STDOUT, text.as_bytes()).is_ok()
}

/// Writes to standard error.
pub fn print_error(text: &str) {
    let _ = call::write_all(STDERR, text.as_bytes());
}
