//! Signals into the loop: a handler writes each as one byte into a pipe that poll(2) watches; what does not fit is kept as
//! one bit per kind. A signal that the C library lets nobody handle (34 with musl) comes through a signalfd. Also the raw
//! mask, which the C library would not show whole. Leaves what a signal means to the core.

#![expect(unsafe_code, reason = "signal handlers, and calls that the C library hides")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::{io, ptr};

use nix::unistd;

use super::{InitError, descriptors};
use crate::event::Event;
use crate::units::Signal;

/// A set of signals as the kernel has it: bit n-1 stands for signal n.
pub type SignalSet = u64;

/// The size of `signalfd_siginfo`.
const SIGNALFD_RECORD_BYTES: usize = 128;

/// At most this many signals are taken out of the pipe in one turn.
const PER_TURN: usize = 1024;

/// They belong to the C library, which does not let anybody handle them; left blocked, they cannot hurt.
const OF_THE_C_LIBRARY: SignalSet = bit(32) | bit(33);

static WRITE_END: AtomicI32 = AtomicI32::new(-1);
static DID_NOT_FIT: AtomicU64 = AtomicU64::new(0);
static CHILD_NOTED: AtomicBool = AtomicBool::new(false);

/// All signals that this process handles, from `install` until it is dropped.
#[derive(Debug)]
pub struct Signals {
    read_end: OwnedFd,
    _write_end: OwnedFd,
    /// For those without a handler, where there are any.
    blocked: Option<OwnedFd>,
}

impl Signals {
    /// Takes over every signal that can be, and then lets in what came so far.
    pub fn install() -> Result<Self, InitError> {
        let failed = |error: io::Error| InitError { what: "make the pipe for signals", error };
        let (read_end, write_end) = descriptors::pipe().map_err(failed)?;
        descriptors::set_nonblocking(&read_end).map_err(failed)?;
        descriptors::set_nonblocking(&write_end).map_err(failed)?;
        WRITE_END.store(write_end.as_raw_fd(), Ordering::Relaxed);

        let mut refused = 0;
        for signal in Signal::all() {
            let handled = match signal.number() {
                libc::SIGKILL | libc::SIGSTOP | 32 | 33 => Ok(()),
                libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU => set_disposition(signal, libc::SIG_IGN),
                _ => handle(signal),
            };
            match (handled, signal) {
                (Ok(()), _) => {}
                (Err(error), Signal::TERM | Signal::INT | Signal::CHLD) => {
                    return Err(InitError { what: "handle signals", error });
                }
                (Err(_), _) => refused |= bit(signal.number()),
            }
        }
        // Blocked, they cannot end us.
        swap_mask(OF_THE_C_LIBRARY | refused);
        let blocked = if refused == 0 { None } else { signalfd(refused).ok() };
        Ok(Self { read_end, _write_end: write_end, blocked })
    }

    /// What to watch for reading.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.read_end.as_fd()).chain(self.blocked.as_ref().map(AsFd::as_fd))
    }

    /// Reports what has come, without waiting. Says whether a child has changed its state.
    pub fn read(&self, events: &mut Vec<Event>) -> bool {
        let mut child = false;
        let mut report = |signal: Signal| {
            if signal == Signal::CHLD {
                child = true;
            } else {
                events.push(Event::Signal(signal));
            }
        };
        let mut bytes = [0; PER_TURN];
        if let Ok(count) = unistd::read(&self.read_end, &mut bytes) {
            bytes
                .iter()
                .take(count)
                .filter_map(|number| Signal::new(i32::from(*number)))
                .for_each(&mut report);
        }
        if let Some(blocked) = &self.blocked {
            // The number is the first field of what is read.
            let mut records = [0; SIGNALFD_RECORD_BYTES * 16];
            let count = unistd::read(blocked, &mut records).unwrap_or(0);
            for record in records.get(..count).unwrap_or_default().chunks(SIGNALFD_RECORD_BYTES) {
                let number = record.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number));
                Signal::new(number).into_iter().for_each(&mut report);
            }
        }
        let rest = DID_NOT_FIT.swap(0, Ordering::Relaxed);
        Signal::all().filter(|signal| rest & bit(signal.number()) != 0).for_each(&mut report);
        if child {
            // Before anybody looks for ended children: one that ends after the look writes again.
            CHILD_NOTED.store(false, Ordering::Relaxed);
        }
        child
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The number may soon belong to another file.
        WRITE_END.store(-1, Ordering::Relaxed);
    }
}

/// The bit of a signal's number in a [`SignalSet`].
pub const fn bit(number: i32) -> SignalSet {
    1 << (number - 1)
}

/// Replaces the signal mask and returns what it was. Signals 32 and 33 too, unlike with the C library's functions.
pub fn swap_mask(new: SignalSet) -> SignalSet {
    let mut old: SignalSet = 0;
    // SAFETY: the call reads one u64 and writes another, both live here.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const new, &raw mut old, 8_usize);
    }
    old
}

/// Whether a signal that ends a container has come while all are blocked, before [`Signals::install`].
pub fn asked_to_stop() -> bool {
    let mut pending: SignalSet = 0;
    // SAFETY: writes one u64 that lives here.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, 8_usize) };
    [Signal::TERM, Signal::INT, Signal::QUIT, Signal::RTMIN_3]
        .iter()
        .any(|signal| pending & bit(signal.number()) != 0)
}

/// A descriptor from which these signals, which are blocked, are read.
pub fn signalfd(set: SignalSet) -> io::Result<OwnedFd> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: reads one u64 that lives here; the new descriptor is nobody else's. Through the kernel, for the C library might leave
    // out what it keeps for itself.
    unsafe {
        let result = libc::syscall(libc::SYS_signalfd4, -1, &raw const set, 8_usize, flags);
        match i32::try_from(result) {
            Ok(number) if number >= 0 => Ok(OwnedFd::from_raw_fd(number)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn set_disposition(signal: Signal, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: only called with SIG_IGN and SIG_DFL, which run no code.
    match unsafe { libc::signal(signal.number(), disposition) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets the handler below note a signal from now on.
fn handle(signal: Signal) -> io::Result<()> {
    let number = signal.number();
    let means_fault = matches!(
        number,
        libc::SIGILL
            | libc::SIGFPE
            | libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGTRAP
            | libc::SIGSYS
            | libc::SIGABRT
    );
    let over_limit = matches!(number, libc::SIGXFSZ | libc::SIGXCPU);
    if !means_fault && !over_limit {
        // SAFETY: the handler touches atomics and write(2) only, which are async-signal-safe, and the crate keeps errno.
        return unsafe { signal_hook::low_level::register(number, move || note(number)) }.map(drop);
    }
    // Rust's own handler for stack overflow would put SIGSEGV back to its default as soon as somebody sends it to us.
    set_disposition(signal, libc::SIG_DFL)?;
    let action = move |info: &libc::siginfo_t| {
        if over_limit && (info.si_code > 0 || by_ourselves(info)) {
            // We met a limit of our own; the failed write says so, and it is nobody else's business.
        } else if means_fault && is_own_fault(info) {
            // No handler could make it good. Most faults happen again on return; the others are sent again.
            let _ = set_disposition(signal, libc::SIG_DFL);
            // SAFETY: kill and getpid are async-signal-safe.
            unsafe { libc::kill(libc::getpid(), number) };
        } else {
            note(number);
        }
    };
    // SAFETY: as above; signal(2) is async-signal-safe too. Who sent it, only the crate below signal-hook tells.
    unsafe { signal_hook_registry::register_unchecked(number, action) }.map(drop)
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
    if written != 1 {
        DID_NOT_FIT.fetch_or(bit(number), Ordering::Relaxed);
    }
}
