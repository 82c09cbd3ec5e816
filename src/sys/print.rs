//! Text for the person who called, on the plain standard descriptors. For offline commands and refusals only: a supervisor
//! writes through its sinks, which never block. Nobody listening is no error.

use std::io::Write;

/// Writes to standard output.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error.
pub fn print_error(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
