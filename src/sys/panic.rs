//! What happens when tinysup itself is broken: a panic is told in one line, the services are asked to end, and after a short
//! grace the program exits with 70 (EX_SOFTWARE of sysexits.h), a code that no other end has. A PID 1 that hangs, or that lets
//! the kernel kill everybody without a word, would be worse.

use std::os::fd::AsFd;
use std::panic;
use std::time::Duration;

use super::poll::{Interest, Poll, Woken};
use super::{children, procfs};

/// The code of a container that ended by our own fault.
const EXIT_CODE: i32 = 70;

/// What the services get between SIGTERM and the end.
const GRACE: Duration = Duration::from_secs(1);

/// Makes every panic of this program such an end. For a supervising process only: it signals its children.
pub fn end_by_panic() {
    panic::set_hook(Box::new(|panic| {
        ask_everybody();
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        tell(&format!(
            "tinysup | internal error{place}: this is a bug in tinysup; the services are asked to end, exit code {EXIT_CODE}\n"
        ));
        // Nothing here is reaped: what the dead may still hold is the kernel's to clean up in a moment.
        std::thread::sleep(GRACE);
        exit_now();
    }));
}

/// Only if somebody reads: a message less than a pipe's smallest piece does not wait then.
fn tell(text: &str) {
    let stderr = std::io::stderr();
    let mut poll = Poll::new();
    poll.watch((), stderr.as_fd(), Interest::Write);
    if poll.wait(Some(Duration::ZERO)) == Woken::Ready && poll.ready().next().is_some() {
        super::print_error(text);
    }
}

fn ask_everybody() {
    if super::is_pid1() {
        let _ = children::kill(-1, libc::SIGTERM); // nobody there is fine
    } else {
        for child in procfs::own_children() {
            let _ = children::kill(child.number(), libc::SIGTERM);
        }
    }
}

#[expect(unsafe_code, reason = "exit without running anything that may be broken")]
fn exit_now() -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(EXIT_CODE) }
}
