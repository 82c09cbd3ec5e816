//! What must happen before anything else: signals are blocked, so that the kernel keeps what comes for PID 1
//! instead of dropping it; what was inherited is remembered before anybody changes it; descriptors 0, 1 and 2 exist.
//!
//! Part of each program (`mod early` with a path), never of the library: nobody else's start shall be changed by it.
//! It leaves everything else to `tinysup::sys`.

#![expect(unsafe_code, reason = "raw system calls before main")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static MASK: AtomicU64 = AtomicU64::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);
static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// The signals whose disposition Rust's runtime sets, where the program has one, and that of traps.
const TOUCHED: [libc::c_int; 4] = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS, tinysup::sys::TRAP];

/// What this program inherited, as it was before anything of it ran.
pub fn inherited() -> tinysup::sys::Inherited {
    tinysup::sys::Inherited {
        mask: MASK.load(Ordering::Relaxed),
        touched: TOUCHED.iter().fold(0, |set, signal| set | 1 << (signal - 1)),
        ignored: IGNORED.load(Ordering::Relaxed),
        closed: CLOSED.each_ref().map(|closed| closed.load(Ordering::Relaxed)),
    }
}

// SAFETY: the C library calls what stands in this section once, in the only thread, before main; the function takes no
// argument and relies on nothing of Rust's runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let mut mask = 0_u64;
    // SAFETY: the call reads one u64 and writes another, both live here. Not the C library's function, which would
    // leave out the signals it keeps for itself.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const ALL_SIGNALS,
            &raw mut mask,
            8_usize,
        );
    }
    MASK.store(mask, Ordering::Relaxed);

    let mut ignored = 0_u64;
    for signal in TOUCHED {
        // The kernel's sigaction: the handler first, then flags, restorer and mask, less than eight words everywhere.
        let mut action = [0_usize; 8];
        // SAFETY: without a new action the call only writes the old one, which fits.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                std::ptr::null::<usize>(),
                action.as_mut_ptr(),
                8_usize,
            )
        };
        if result == 0 && action[0] == libc::SIG_IGN {
            ignored |= 1 << (signal - 1);
        }
    }
    IGNORED.store(ignored, Ordering::Relaxed);

    for (descriptor, closed) in (0..).zip(&CLOSED) {
        closed.store(ensure_open(descriptor), Ordering::Relaxed);
    }
}

static ALL_SIGNALS: u64 = u64::MAX;

/// Puts something harmless at a missing standard descriptor. Else the next file opened would get its number and
/// somebody's output, and Rust's runtime would abort where there is no /dev/null. Says whether it was missing.
fn ensure_open(descriptor: libc::c_int) -> bool {
    // SAFETY: F_GETFD only asks; open and pipe take the lowest free number, which is this one, as those below are
    // open already; what is closed or replaced was made here.
    unsafe {
        if libc::syscall(libc::SYS_fcntl, descriptor, libc::F_GETFD) != -1 {
            return false;
        }
        if libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/dev/null".as_ptr(), libc::O_RDWR) != -1 {
            return true;
        }
        // The other end is closed: nothing to read, and whoever writes is told that nobody reads, instead of waiting for us to do it.
        let mut ends = [-1; 2];
        if libc::syscall(libc::SYS_pipe2, ends.as_mut_ptr(), 0) == 0 {
            if descriptor > 0 {
                libc::dup2(ends[1], descriptor);
            }
            libc::close(ends[1]);
        }
        true
    }
}
