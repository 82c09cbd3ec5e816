//! The one call that blocks: poll(2) over a list that is made anew each time.

#![expect(unsafe_code, reason = "poll over descriptors whose owners cannot all be borrowed at once")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What waits on a descriptor: whatever the caller uses to find its owner again.
#[derive(Debug)]
pub struct Poll<Owner> {
    entries: Vec<libc::pollfd>,
    owners: Vec<Owner>,
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or nobody left to write.
    Read,
    /// Room to write, or nobody left to read.
    Write,
    /// Nobody left at the other end.
    End,
    /// A file of the kernel has something new to say (POLLPRI).
    News,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// What is ready is known; perhaps nothing, and the time is over.
    Ready,
    /// A signal was handled; nothing was ready.
    BySignal,
    /// It cannot be told; all count as ready.
    Unknown,
}

impl<Owner: Copy> Poll<Owner> {
    /// An empty list.
    pub fn new() -> Self {
        Self { entries: Vec::new(), owners: Vec::new() }
    }

    /// Forgets the list but keeps its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.owners.clear();
    }

    /// Adds a descriptor.
    pub fn watch(&mut self, owner: Owner, descriptor: BorrowedFd<'_>, interest: Interest) {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::End => 0, // which is always reported
            Interest::News => libc::POLLPRI,
        };
        self.entries.push(libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 });
        self.owners.push(owner);
    }

    /// Waits until one of them is ready, a signal was handled, or the time is over; `None` waits as long as it takes. Says what
    /// it was. poll(2) looks at the descriptors before it looks for signals, so none was ready when a signal ended it.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        let count = libc::nfds_t::try_from(self.entries.len()).unwrap_or(0);
        // SAFETY: the array is ours and as long as said; a number that is no open file is reported, not a fault.
        let result = unsafe { libc::poll(self.entries.as_mut_ptr(), count, milliseconds(timeout)) };
        if result >= 0 {
            return Woken::Ready;
        }
        if nix::errno::Errno::last() == nix::errno::Errno::EINTR {
            return Woken::BySignal;
        }
        // The kernel has no memory for the call, or forbids it. Asking each in turn works too, only not faster than this.
        pause();
        for entry in &mut self.entries {
            entry.revents = entry.events;
        }
        Woken::Unknown
    }

    /// Whether nothing is waited for but the first.
    pub fn is_for_one(&self) -> bool {
        self.entries.len() == 1
    }

    /// Whether the first is ready.
    pub fn is_first_ready(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.revents != 0)
    }

    /// Who is ready.
    pub fn ready(&self) -> impl Iterator<Item = Owner> {
        self.entries.iter().zip(&self.owners).filter(|(entry, _)| entry.revents != 0).map(|(_, owner)| *owner)
    }
}

/// Sleeps for 20 ms, less if a signal comes.
fn pause() {
    let request = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    // SAFETY: reads one timespec that lives here.
    unsafe {
        libc::syscall(libc::SYS_nanosleep, &raw const request, std::ptr::null::<libc::timespec>());
    }
}

/// Rounded up, so that nobody wakes before it is time; at most some weeks, after which the caller asks again.
fn milliseconds(timeout: Option<Duration>) -> libc::c_int {
    timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_round_up_and_never_wrap() {
        for (timeout, expected) in [
            (None, -1),
            (Some(Duration::ZERO), 0),
            (Some(Duration::from_nanos(1)), 1),
            (Some(Duration::from_millis(20)), 20),
            (Some(Duration::from_micros(20_001)), 21),
            (Some(Duration::MAX), libc::c_int::MAX),
        ] {
            assert_eq!(milliseconds(timeout), expected, "{timeout:?}");
        }
    }
}
