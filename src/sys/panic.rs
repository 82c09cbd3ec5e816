//! What happens when tinysup itself is broken, or has no memory to go on with: it is told in one line, the services are asked to end,
//! and after a short grace the program exits with 70 (EX_SOFTWARE of sysexits.h), a code that no other end has. A PID 1 that hangs,
//! or that lets the kernel kill everybody without a word, would be worse. Why so: docs/decisions/broken.md.

#![expect(unsafe_code, reason = "calls that rely on nothing that may be broken")]

use std::panic;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{children, procfs};

/// The code of a container that ended by our own fault.
const EXIT_CODE: i32 = 70;

/// What the services get between SIGTERM and the end, in seconds.
const GRACE_SECONDS: libc::time_t = 1;

/// What a process is that comes to an end here.
const ORDINARY: u8 = 0;
const SUPERVISING: u8 = 1;
const ENDING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(ORDINARY);

/// Makes every panic of this program such an end, and every allocation that fails. For a supervising process only: it signals its
/// children.
pub fn end_by_panic() {
    STATE.store(SUPERVISING, Ordering::Relaxed);
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        end(&format!(
            "tinysup | internal error{place}: this is a bug in tinysup; the services are asked to end, exit code {EXIT_CODE}\n"
        ));
    }));
}

/// To be called when memory was asked for in vain. Returns where nobody is supervised, or the end has begun.
pub fn end_without_memory() {
    if STATE.load(Ordering::Relaxed) == SUPERVISING {
        end("tinysup | out of memory: the services are asked to end, exit code 70\n");
    }
}

fn end(text: &str) -> ! {
    // What happens to be broken here as well is not tried twice.
    if STATE.swap(ENDING, Ordering::Relaxed) != ENDING {
        ask_everybody();
        tell(text.as_bytes());
        // Nothing here is reaped: what the dead may still hold is the kernel's to clean up in a moment.
        let grace = libc::timespec { tv_sec: GRACE_SECONDS, tv_nsec: 0 };
        // SAFETY: reads one timespec that lives here.
        unsafe { libc::nanosleep(&raw const grace, std::ptr::null_mut()) };
    }
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(EXIT_CODE) }
}

/// Only if somebody reads: a message less than a pipe's smallest piece does not wait then.
fn tell(text: &[u8]) {
    let mut stderr = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which lives here; as many bytes as said.
    unsafe {
        if libc::poll(&raw mut stderr, 1, 0) == 1 {
            libc::write(2, text.as_ptr().cast(), text.len());
        }
    }
}

fn ask_everybody() {
    if super::is_pid1() {
        let _ = children::kill(-1, libc::SIGTERM); // nobody there is fine
    } else {
        for child in procfs::own_children().unwrap_or_default() {
            let _ = children::kill(child.number(), libc::SIGTERM);
        }
    }
}
