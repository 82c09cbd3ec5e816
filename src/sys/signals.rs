//! Signals into the loop. They were blocked before main (`early`) and stay so; a signalfd gives them out, standard ones as the kernel
//! merges them, real-time ones each, and one call takes all of them over. Where the kernel or a filter has no signalfd, `handlers`
//! do it. Also the raw mask and dispositions, which the C library would not show whole. Leaves what a signal means to the core.

#![expect(unsafe_code, reason = "calls that the C library hides")]

mod handlers;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use self::handlers::Handlers;
use super::{Inherited, InitError, trap};
use crate::units::Signal;

/// A set of signals as the kernel has it: bit n-1 stands for signal n.
pub type SignalSet = u64;

/// The size of `signalfd_siginfo`, and where in it stand the number, the cause and the sender.
const RECORD_BYTES: usize = 128;
const NUMBER_AT: usize = 0;
const CODE_AT: usize = 8;
const SENDER_AT: usize = 12;

/// At most this many signals are read in one turn.
const PER_TURN: usize = 32;

/// All signals that come to this process, from `install` until it is dropped.
#[derive(Debug)]
pub struct Signals {
    way: Way,
    /// Those whose disposition is not what we inherited.
    touched: SignalSet,
    /// Those that we inherited ignored, among the touched ones.
    ignored: SignalSet,
}

/// What came for ourselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// A child has changed its state.
    pub child: bool,
    /// Something happened in a directory that we have asked about.
    pub directory: bool,
}

/// By which the kernel tells of a directory (F_SETSIG), SIGRTMAX. Each of that kind is queued, so it and the same one of a person do not
/// swallow each other, as two SIGIO would.
pub const OF_DIRECTORY: i32 = 64;

#[derive(Debug)]
enum Way {
    /// All are blocked, but that of traps, which has a handler that blocks it when somebody sends it.
    Descriptor(OwnedFd),
    Handlers(Handlers),
}

impl Signals {
    /// Takes over every signal that can be. All are blocked when it begins, but that of traps.
    #[inline(never)]
    pub fn install(inherited: Inherited) -> Result<Self, InitError> {
        let failed = |error: io::Error| InitError { what: "handle signals", error };
        // A filter may have forbidden it before main. Not blocked, no signal would come to the descriptor.
        let blocked = swap_mask(!bit(trap::SIGNAL)).ok_or_else(io::Error::last_os_error);
        match blocked.and_then(|_| signalfd(SignalSet::MAX)) {
            Ok(descriptor) => {
                // Ignored, it would make the kernel collect our children.
                let ignored = set_disposition(Signal::CHLD, libc::SIG_DFL).map_err(failed)?;
                let child = if ignored { bit(libc::SIGCHLD) } else { 0 };
                let touched = inherited.touched | child;
                Ok(Self { way: Way::Descriptor(descriptor), touched, ignored: inherited.ignored | child })
            }
            Err(error) => {
                say!(
                    Debug,
                    "signals come through handlers; there is no signalfd: {}",
                    crate::units::reason(&error)
                );
                let ignored = inherited.ignored | ignored_now() & !inherited.touched;
                Ok(Self { way: Way::Handlers(Handlers::install()?), touched: SignalSet::MAX, ignored })
            }
        }
    }

    /// What to watch for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Descriptor(descriptor) => descriptor.as_fd(),
            Way::Handlers(handlers) => handlers.descriptor(),
        }
    }

    /// Adds all descriptors that are in use.
    pub fn held(&self, held: &mut Vec<RawFd>) {
        match &self.way {
            Way::Descriptor(descriptor) => held.push(descriptor.as_raw_fd()),
            Way::Handlers(handlers) => held.extend_from_slice(&handlers.held()),
        }
    }

    /// The signals whose disposition a child must set, and those of them that it must ignore, to find what we found.
    pub fn dispositions(&self) -> (SignalSet, SignalSet) {
        (self.touched, self.ignored)
    }

    /// Whether a signal of the kernel is told from the same one that somebody sends.
    pub fn have_senders(&self) -> bool {
        matches!(self.way, Way::Descriptor(_))
    }

    /// Waits for a signal where nothing else is to be waited for, and takes it, with one call instead of poll(2) and a read. `Err`: that
    /// cannot be done here.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<Arrival>, ()> {
        let Way::Descriptor(_) = &self.way else { return Err(()) };
        wait_for(SignalSet::MAX, timeout).map_err(drop)
    }

    /// Calls back with what has come for somebody else, without waiting: the one that was waited for, or all that there are.
    pub fn read(&self, arrived: Option<Arrival>, somebodys: &mut dyn FnMut(Signal)) -> News {
        let mut news = News::default();
        match (&self.way, arrived) {
            (Way::Descriptor(_), Some(arrival)) => arrival.tell(&mut news, somebodys),
            (Way::Descriptor(descriptor), None) => read(descriptor, &mut news, somebodys),
            (Way::Handlers(handlers), _) => {
                handlers.read(&mut |signal| match signal {
                    Signal::CHLD => news.child = true,
                    other => somebodys(other),
                });
                if news.child {
                    Handlers::child_seen();
                }
            }
        }
        news
    }
}

/// A signal that has come.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    number: i32,
    code: i32,
    sender: i32,
}

impl Arrival {
    /// Whom it is for: us, somebody else, or nobody.
    fn tell(self, news: &mut News, somebodys: &mut dyn FnMut(Signal)) {
        let Self { number, code, sender } = self;
        match Signal::new(number) {
            Some(Signal::CHLD) => news.child = true,
            // SIGIO: there was no room to queue the other one.
            Some(_) if (number == OF_DIRECTORY || number == libc::SIGIO) && code > 0 => news.directory = true,
            Some(signal) if !is_our_own_doing(signal, code, sender) => somebodys(signal),
            Some(_) | None => {}
        }
        if number == trap::SIGNAL {
            trap::let_in();
        }
    }
}

fn read(descriptor: &OwnedFd, news: &mut News, somebodys: &mut dyn FnMut(Signal)) {
    // Not filled with zeroes: it is 4 KiB, nearly all of it for nothing, and a signal waits.
    let mut records = [MaybeUninit::<u8>::uninit(); RECORD_BYTES * PER_TURN];
    // SAFETY: the call writes no more than there is room for, and says how much it has written; only that is read.
    let records = unsafe {
        let count = libc::read(descriptor.as_raw_fd(), records.as_mut_ptr().cast(), records.len());
        std::slice::from_raw_parts(records.as_ptr().cast::<u8>(), usize::try_from(count).unwrap_or(0))
    };
    for record in records.chunks(RECORD_BYTES) {
        let field = |at: usize| record.get(at..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        let [Some(number), Some(code), Some(sender)] = [NUMBER_AT, CODE_AT, SENDER_AT].map(field) else {
            break;
        };
        Arrival { number, code, sender }.tell(news, somebodys);
    }
}

/// Waits for one of these signals, which are blocked, and takes it out; `None`: none came in time.
fn wait_for(set: SignalSet, timeout: Option<Duration>) -> io::Result<Option<Arrival>> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::c_long::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    });
    let until = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: reads a u64 and, if there is one, a timespec, and writes a siginfo_t, all of which live here; it is read where the call
    // says that it was written. Through the kernel, for signals 32 and 33.
    unsafe {
        if libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set, info.as_mut_ptr(), until, 8_usize) > 0 {
            let info = info.assume_init();
            return Ok(Some(Arrival { number: info.si_signo, code: info.si_code, sender: info.si_pid() }));
        }
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINTR) => Ok(None),
        Some(libc::EAGAIN) if timeout.is_some() => Ok(None),
        _ => Err(error),
    }
}

/// Whether a signal tells us of something that we did, rather than somebody sent it: then it is nobody else's business.
fn is_our_own_doing(signal: Signal, code: i32, sender: i32) -> bool {
    let by_kernel = code > 0;
    match signal.number() {
        // The failed write says so, too.
        libc::SIGPIPE | libc::SIGXFSZ | libc::SIGXCPU => {
            by_kernel || sender == std::process::id().cast_signed()
        }
        // Of the terminal for its background, of which we are a part; no stop of ours helps anybody.
        libc::SIGTTIN | libc::SIGTTOU => by_kernel,
        _ => false,
    }
}

/// The bit of a signal's number in a [`SignalSet`].
pub const fn bit(number: i32) -> SignalSet {
    1 << (number - 1)
}

/// Replaces the signal mask and returns what it was; `None`: a filter forbids it, and it is as before. Signals 32 and 33 too, unlike
/// with the C library's functions.
pub fn swap_mask(new: SignalSet) -> Option<SignalSet> {
    let mut old: SignalSet = 0;
    // SAFETY: the call reads one u64 and writes another, both live here.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const new, &raw mut old, 8_usize)
    };
    (result == 0).then_some(old)
}

/// Does something while all signals are blocked.
pub fn all_blocked<T>(work: impl FnOnce() -> T) -> T {
    let mask = swap_mask(SignalSet::MAX);
    let result = work();
    mask.and_then(swap_mask);
    result
}

/// Whether a signal that ends a container has come while all are blocked, before [`Signals::install`].
pub fn asked_to_stop() -> bool {
    let pending = pending();
    [Signal::TERM, Signal::INT, Signal::QUIT, Signal::RTMIN_3]
        .iter()
        .any(|signal| pending & bit(signal.number()) != 0)
}

/// The blocked signals that have come.
fn pending() -> SignalSet {
    let mut pending: SignalSet = 0;
    // SAFETY: writes one u64 that lives here.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, 8_usize) };
    pending
}

/// Gives up the controlling terminal, so that a session of a child can have it. To the leader of its session, and the group in its
/// foreground, the kernel sends SIGHUP and SIGCONT for that: nobody meant them, so they are taken out again.
#[inline(never)]
pub fn leave_terminal(terminal: RawFd) {
    all_blocked(|| {
        let before = pending();
        // SAFETY: plain call.
        if unsafe { libc::ioctl(terminal, libc::TIOCNOTTY) } == 0 {
            for signal in [libc::SIGHUP, libc::SIGCONT] {
                if before & bit(signal) == 0 {
                    take_our_own(signal);
                }
            }
        }
    });
}

/// Takes a pending, blocked signal out if its sender is this process, which is what the kernel names here.
fn take_our_own(signal: libc::c_int) {
    // SAFETY: plain call.
    let own = unsafe { libc::getpid() };
    if let Ok(Some(arrival)) = wait_for(bit(signal), Some(Duration::ZERO))
        && arrival.sender != own
    {
        // SAFETY: plain call on ourselves. Somebody's, in that very moment.
        unsafe { libc::kill(own, signal) };
    }
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

/// Sets it, and says whether the signal was ignored before.
fn set_disposition(signal: Signal, disposition: libc::sighandler_t) -> io::Result<bool> {
    // SAFETY: only called with SIG_IGN and SIG_DFL, which run no code.
    match unsafe { libc::signal(signal.number(), disposition) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        old => Ok(old == libc::SIG_IGN),
    }
}

/// The signals that are ignored. Through the kernel, because the C library does not show all.
#[inline(never)]
pub fn ignored_now() -> SignalSet {
    let ignored = |signal: &Signal| {
        // The kernel's sigaction: the handler first, then flags, restorer and mask, less than eight words everywhere.
        let mut action = [0_usize; 8];
        // SAFETY: without a new action the call only writes the old one, which fits.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal.number(),
                std::ptr::null::<usize>(),
                action.as_mut_ptr(),
                8_usize,
            )
        };
        result == 0 && action[0] == libc::SIG_IGN
    };
    Signal::all().filter(ignored).fold(0, |set, signal| set | bit(signal.number()))
}
