//! The way of signals where the kernel or a filter has no signalfd: a handler writes each as one byte into a pipe that poll(2)
//! watches; what does not fit is counted: a real-time signal each, of the others whether there was one. SIGPIPE, SIGTTIN and SIGTTOU, which we may cause ourselves, are ignored
//! here, and those that the C library lets nobody handle (32, 33, and 34 with musl) stay blocked: neither can be passed on.

#![expect(unsafe_code, reason = "signal handlers")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::{io, ptr};

use nix::errno::Errno;
use nix::unistd;

use super::{SignalSet, bit, set_disposition, swap_mask, trap};
use crate::sys::{InitError, descriptors};
use crate::units::Signal;

/// At most this many signals are taken out of the pipe in one turn.
const PER_TURN: usize = 1024;

/// And so many of each that did not fit into it.
const PER_SIGNAL: u32 = 1024;

/// They belong to the C library, which does not let anybody handle them; left blocked, they cannot hurt.
const OF_THE_C_LIBRARY: SignalSet = bit(32) | bit(33);

/// What the kernel raises for a fault. No handler can make it good.
const MEANS_FAULT: SignalSet = bit(libc::SIGILL)
    | bit(libc::SIGFPE)
    | bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGSYS)
    | bit(libc::SIGABRT);

static WRITE_END: AtomicI32 = AtomicI32::new(-1);
/// By number; wraps never, for that many cannot come between two looks.
static DID_NOT_FIT: [AtomicU32; 65] = [const { AtomicU32::new(0) }; 65];
static CHILD_NOTED: AtomicBool = AtomicBool::new(false);

/// Handlers for all signals, from `install` until they are dropped.
#[derive(Debug)]
pub struct Handlers {
    read_end: OwnedFd,
    write_end: OwnedFd,
}

impl Handlers {
    /// Takes over every signal that can be, and then lets in what came so far.
    #[inline(never)]
    pub fn install() -> Result<Self, InitError> {
        let failed = |errno| InitError { what: "make the pipe for signals", errno };
        // That of traps too, while it changes hands. What is to be blocked is said at the end.
        swap_mask(SignalSet::MAX);
        let (read_end, write_end) = descriptors::pipe().map_err(failed)?;
        descriptors::set_nonblocking(&read_end).map_err(failed)?;
        descriptors::set_nonblocking(&write_end).map_err(failed)?;
        WRITE_END.store(write_end.as_raw_fd(), Ordering::Relaxed);

        let mut refused = 0;
        for signal in Signal::all() {
            let handled = match signal.number() {
                libc::SIGKILL | libc::SIGSTOP | 32 | 33 => Ok(()),
                libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU => {
                    set_disposition(signal, libc::SIG_IGN).map(drop)
                }
                _ => handle(signal),
            };
            match (handled, signal) {
                (Ok(()), _) => {}
                (Err(errno), Signal::TERM | Signal::INT | Signal::CHLD) => {
                    return Err(InitError { what: "handle signals", errno });
                }
                (Err(_), _) => refused |= bit(signal.number()),
            }
        }
        // Blocked, they cannot end us. All blocked, they would not be heard.
        if swap_mask(OF_THE_C_LIBRARY | refused).is_none() {
            return Err(InitError { what: "handle signals", errno: Errno::last() });
        }
        Ok(Self { read_end, write_end })
    }

    /// What to watch for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    /// Both ends of the pipe.
    pub fn held(&self) -> [RawFd; 2] {
        [self.read_end.as_raw_fd(), self.write_end.as_raw_fd()]
    }

    /// Reports what has come, without waiting.
    pub fn read(&self, mut report: impl FnMut(Signal)) {
        let mut bytes = [0; PER_TURN];
        if let Ok(count) = unistd::read(&self.read_end, &mut bytes) {
            bytes
                .iter()
                .take(count)
                .filter_map(|number| Signal::new(i32::from(*number)))
                .for_each(&mut report);
        }
        let mut more = false;
        for (signal, counter) in Signal::all().zip(DID_NOT_FIT.iter().skip(1)) {
            let count = counter.swap(0, Ordering::Relaxed);
            let told = if signal.is_real_time() { count.min(PER_SIGNAL) } else { count.min(1) };
            (0..told).for_each(|_| report(signal));
            if signal.is_real_time() && count > told {
                counter.fetch_add(count - told, Ordering::Relaxed);
                more = true;
            }
        }
        if more {
            // No signal has this number; it only wakes us again.
            let _ = unistd::write(&self.write_end, &[0]);
        }
    }

    /// To be called before anybody looks for ended children: one that ends after the look writes again.
    pub fn child_seen() {
        CHILD_NOTED.store(false, Ordering::Relaxed);
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        // The number may soon belong to another file.
        WRITE_END.store(-1, Ordering::Relaxed);
    }
}

/// Lets the handler below note a signal from now on.
fn handle(signal: Signal) -> nix::Result<()> {
    let number = signal.number();
    let means_fault = MEANS_FAULT & bit(number) != 0;
    let over_limit = matches!(number, libc::SIGXFSZ | libc::SIGXCPU);
    if !means_fault && !over_limit {
        // SAFETY: the handler touches atomics and write(2) only, which are async-signal-safe, and the crate keeps errno.
        let handled = unsafe { signal_hook::low_level::register(number, move || note(number)) };
        return handled.map(drop).map_err(errno_of);
    }
    // Rust's own handler for stack overflow would put SIGSEGV back to its default as soon as somebody sends it to us.
    set_disposition(signal, libc::SIG_DFL)?;
    let action = move |info: &libc::siginfo_t| {
        if over_limit && (info.si_code > 0 || by_ourselves(info)) {
            // We met a limit of our own; the failed write says so, and it is nobody else's business.
        } else if means_fault && is_own_fault(info) {
            if number == trap::SIGNAL {
                // SAFETY: this signal of the kernel has the address.
                trap::ends_us(unsafe { info.si_addr() }.addr() as u64, 0);
            }
            // No handler could make it good. Most faults happen again on return; the others are sent again.
            let _ = set_disposition(signal, libc::SIG_DFL);
            // SAFETY: kill and getpid are async-signal-safe.
            unsafe { libc::kill(libc::getpid(), number) };
        } else {
            note(number);
        }
    };
    // SAFETY: as above; signal(2) is async-signal-safe too. Who sent it, only the crate below signal-hook tells.
    let handled = unsafe { signal_hook_registry::register_unchecked(number, action) };
    handled.map(drop).map_err(errno_of)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Whether the kernel raised the signal for what we did, or we did it ourselves (abort), rather than somebody sent it.
fn is_own_fault(info: &libc::siginfo_t) -> bool {
    info.si_code > 0 || (info.si_code == libc::SI_TKILL && by_ourselves(info))
}

/// Whether a signal that has a sender came from this process.
fn by_ourselves(info: &libc::siginfo_t) -> bool {
    // SAFETY: without a sender the field is zero, which is no pid. getpid is async-signal-safe.
    unsafe { info.si_pid() == libc::getpid() }
}

fn note(number: i32) {
    // One byte is enough for any number of ended children, and leaves the pipe to the other signals.
    if number == libc::SIGCHLD && CHILD_NOTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let byte = u8::try_from(number).unwrap_or(0);
    // SAFETY: writes one byte that lives here; a closed or wrong descriptor is an error, not a fault.
    let written = unsafe { libc::write(WRITE_END.load(Ordering::Relaxed), ptr::from_ref(&byte).cast(), 1) };
    if let (true, Some(counter)) = (written != 1, DID_NOT_FIT.get(usize::from(byte))) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
