//! The memory that the bench and the processes it starts share: one mapped file, in which each writes its stamps without a
//! system call, so that measuring disturbs least. Also the one clock of all stamps, and waiting for a word to change.
//! What the words mean to a metric is that metric's business.

#![expect(unsafe_code, reason = "mmap, futex, and a clock that must cost nothing")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// So many runs of a service leave their stamps.
pub const RUNS_MAX: usize = 1000;

const WORDS: usize = 64 + 2 * RUNS_MAX;
const BYTES: usize = WORDS * size_of::<u64>();

/// A word of the board. Stamps are nanoseconds of the monotonic clock, and 0 until they are taken.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// Stamp: the init is about to be executed.
    Executed,
    /// How many runs of services began.
    Births,
    /// How many services are ready for signals.
    Ready,
    /// How many services were asked to stop and ended by themselves.
    Goodbyes,
    /// After so many runs the service crashes no more.
    CrashesWanted,
    /// How many signals arrived; also what the bench sleeps on.
    Arrivals,
    /// Stamp: the last of them.
    Arrival,
    /// How many bytes a flooding service got rid of.
    Written,
    /// Stamp: a service is about to say a line.
    Spoken,
    /// Stamp: the parent of the orphans is about to leave them.
    Orphaned,
    /// Stamp: no orphan is left, not even as a zombie.
    Collected,
    /// Stamp: run number n began.
    Birth(usize),
    /// Stamp: run number n is about to crash.
    Death(usize),
}

impl Word {
    fn place(self) -> usize {
        match self {
            Self::Executed => 0,
            Self::Births => 1,
            Self::Ready => 2,
            Self::Goodbyes => 3,
            Self::CrashesWanted => 4,
            Self::Written => 7,
            Self::Orphaned => 5,
            Self::Collected => 6,
            Self::Spoken => 8,
            // In a cache line of their own: the bench looks at them while they are written.
            Self::Arrivals => 16,
            Self::Arrival => 17,
            Self::Birth(run) => 64 + run.min(RUNS_MAX - 1),
            Self::Death(run) => 64 + RUNS_MAX + run.min(RUNS_MAX - 1),
        }
    }
}

/// The shared memory of one container.
#[derive(Debug)]
pub struct Board {
    words: *const AtomicU64,
    path: PathBuf,
}

impl Board {
    /// Makes an empty one.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(BYTES as u64)?;
        Self::map(path, file.as_raw_fd())
    }

    /// Opens one that the bench made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Self::map(path, file.as_raw_fd())
    }

    fn map(path: &Path, file: libc::c_int) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // Populated at once: a page fault between two stamps would be measured.
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let words = unsafe { libc::mmap(ptr::null_mut(), BYTES, protection, flags, file, 0) };
        if words == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { words: words.cast(), path: path.to_owned() })
    }

    /// Where others find it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: every place is less than WORDS, and the mapping lives as long as we do.
        unsafe { &*self.words.add(word.place()) }
    }

    /// Reads a word.
    pub fn get(&self, word: Word) -> u64 {
        self.word(word).load(Ordering::Acquire)
    }

    /// Writes a word.
    pub fn set(&self, word: Word, value: u64) {
        self.word(word).store(value, Ordering::Release);
    }

    /// Takes a stamp.
    pub fn stamp(&self, word: Word) {
        self.set(word, now());
    }

    /// Adds one to a word and returns what it was.
    pub fn count(&self, word: Word) -> u64 {
        self.add(word, 1)
    }

    /// Adds to a word and returns what it was.
    pub fn add(&self, word: Word, more: u64) -> u64 {
        self.word(word).fetch_add(more, Ordering::AcqRel)
    }

    /// Adds one to a word, and wakes who sleeps until it changes.
    pub fn announce(&self, word: Word) {
        self.count(word);
        // SAFETY: the address is in the mapping; waking nobody is no error.
        unsafe { libc::syscall(libc::SYS_futex, self.low_half(word), libc::FUTEX_WAKE, 1) };
    }

    /// Sleeps until a word that `announce` changes is no longer `value`. Says whether that came in time.
    pub fn sleep_while(&self, word: Word, value: u64, at_most: Duration) -> bool {
        let until = now() + nanoseconds(at_most);
        while self.get(word) == value {
            let left = until.saturating_sub(now());
            if left == 0 {
                return false;
            }
            let timeout = timespec(Duration::from_nanos(left));
            let expected = (value & u64::from(u32::MAX)) as u32;
            // SAFETY: the address is in the mapping, the timeout lives here. Any error means: look again.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.low_half(word),
                    libc::FUTEX_WAIT,
                    expected,
                    &raw const timeout,
                );
            }
        }
        true
    }

    /// Looks every now and then until a word has reached `value`. For what carries its own stamps.
    pub fn reaches(&self, word: Word, value: u64, at_most: Duration) -> bool {
        let until = now() + nanoseconds(at_most);
        while self.get(word) < value {
            if now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }

    /// A futex is 32 bits.
    fn low_half(&self, word: Word) -> *const AtomicU32 {
        let halves = ptr::from_ref(self.word(word)).cast::<AtomicU32>();
        if cfg!(target_endian = "little") { halves } else { halves.wrapping_add(1) }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nobody can hold a word longer than us.
        unsafe { libc::munmap(self.words.cast_mut().cast(), BYTES) };
    }
}

/// Nanoseconds of the monotonic clock, which all processes share; read without entering the kernel.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// A duration as stamps count.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: duration.subsec_nanos().into() }
}
