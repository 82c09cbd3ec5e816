//! What happens when tinysup itself is broken, or has no memory to go on with: it is told in one line, the services are asked to end,
//! and after a short grace the program exits with 70 (EX_SOFTWARE of sysexits.h), a code that no other end has. A PID 1 that hangs,
//! or that lets the kernel kill everybody without a word, would be worse. Why so: docs/decisions/broken.md. What waits goes to the kernel
//! directly: what was broken can be on its way through the C library.

#![expect(unsafe_code, reason = "calls that rely on nothing that may be broken")]

use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{children, procfs, signals, trap};

/// The code of a container that ended by our own fault.
const EXIT_CODE: i32 = 70;

/// What the services get between SIGTERM and the end.
static GRACE: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };

/// More than the longest line of them.
const LINE_BYTES: usize = 512;

/// What a process is that comes to an end here.
const ORDINARY: u8 = 0;
const SUPERVISING: u8 = 1;
const ENDING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(ORDINARY);

/// Makes every panic of this program such an end, and every allocation that fails. For a supervising process only: it signals its
/// children.
pub fn end_by_panic() {
    STATE.store(SUPERVISING, Ordering::Relaxed);
    // Where there are traps instead, there is no panic.
    #[cfg(not(panic = "immediate-abort"))]
    std::panic::set_hook(Box::new(|panic| {
        broken(&panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default());
    }));
}

/// Ends the process because it is broken there.
pub fn broken(place: &str) -> ! {
    let ordinary = STATE.load(Ordering::Relaxed) == ORDINARY;
    let [begin, then] = if ordinary {
        ["tinysup: internal error (", "): this is a bug in tinysup\n"]
    } else {
        [
            "tinysup | internal error (",
            "): this is a bug in tinysup; the services are asked to end, exit code 70\n",
        ]
    };
    end(&[begin, place, then])
}

/// To be called when memory was asked for in vain. Returns where nobody is supervised, or the end has begun.
pub fn end_without_memory() {
    if STATE.load(Ordering::Relaxed) == SUPERVISING {
        end(&["tinysup | out of memory: the services are asked to end, exit code 70\n"]);
    }
}

fn end(text: &[&str]) -> ! {
    let before = STATE.swap(ENDING, Ordering::Relaxed);
    // What happens to be broken here as well is not tried twice.
    if before != ENDING {
        // No handler is to cut the grace short.
        signals::swap_mask(!signals::bit(trap::SIGNAL));
        tell(text);
    }
    if before == SUPERVISING {
        ask_everybody();
        // Nothing here is reaped: what the dead may still hold is the kernel's to clean up in a moment.
        // SAFETY: reads one timespec that lives for ever.
        unsafe { libc::syscall(libc::SYS_nanosleep, &raw const GRACE, ptr::null::<libc::timespec>()) };
    }
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(EXIT_CODE) }
}

/// Only if somebody reads: a message less than a pipe's smallest piece does not wait then. In one piece, without memory for it.
fn tell(text: &[&str]) {
    let mut line = [0; LINE_BYTES];
    let mut length = 0;
    for (place, byte) in line.iter_mut().zip(text.iter().flat_map(|part| part.bytes())) {
        *place = byte;
        length += 1;
    }
    let mut stderr = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one entry and no time, which live here; no more bytes than there are.
    unsafe {
        libc::syscall(libc::SYS_ppoll, &raw mut stderr, 1, &raw const now, ptr::null::<u64>(), 8_usize);
        if stderr.revents == libc::POLLOUT {
            libc::syscall(libc::SYS_write, 2, line.as_ptr(), length);
        }
    }
}

fn ask_everybody() {
    if super::is_pid1() {
        let _ = children::kill(-1, libc::SIGTERM); // nobody there is fine
    } else {
        procfs::each_child(&mut |child| _ = children::kill(child, libc::SIGTERM));
    }
}
