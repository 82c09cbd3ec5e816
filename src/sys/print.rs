//! Text for the person who called, on the plain standard descriptors. For offline commands and refusals only: a supervisor
//! writes through its sinks, which never block. Nobody listening is no error.

use std::io::Write;

/// Writes to standard output. Says whether somebody can still read it.
pub fn print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Writes to standard error.
pub fn print_error(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
