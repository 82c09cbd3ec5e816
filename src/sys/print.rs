//! Text for the person who called, on the plain standard descriptors. For offline commands and refusals only: a supervisor
//! writes through its sinks, which never block. Nobody listening is no error.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd;

use super::descriptors::{STDERR, STDOUT};

/// Writes to standard output. Says whether somebody can still read it.
pub fn print(text: &str) -> bool {
    write(STDOUT, text.as_bytes())
}

/// Writes to standard error.
pub fn print_error(text: &str) {
    write(STDERR, text.as_bytes());
}

fn write(to: BorrowedFd<'_>, mut text: &[u8]) -> bool {
    while !text.is_empty() {
        match unistd::write(to, text) {
            Ok(0) => return false,
            Ok(count) => text = text.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}
