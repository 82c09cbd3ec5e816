//! Text for the person who called, on the plain standard descriptors. For offline commands and refusals only: a supervisor
//! writes through its sinks, which never block. Nobody listening is no error; a full disk is one.

use nix::errno::Errno;

use super::call;
use super::descriptors::{STDERR, STDOUT};

/// What became of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// All of it is written.
    All,
    /// Nobody reads any more.
    Unheard,
    /// It is lost, and it was told why.
    Lost,
}

/// Writes to standard output.
pub fn print(text: &str) -> Printed {
    match call::write_all(STDOUT, text.as_bytes()) {
        Ok(()) => Printed::All,
        Err(Errno::EPIPE) => Printed::Unheard,
        Err(errno) => {
            print_error(&format!("tinysup: cannot write to standard output: {}\n", super::word(errno)));
            Printed::Lost
        }
    }
}

/// Writes to standard error.
pub fn print_error(text: &str) {
    let _ = call::write_all(STDERR, text.as_bytes());
}
