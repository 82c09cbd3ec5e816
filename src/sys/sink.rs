//! The container's standard output and error. Nothing here waits for their reader: what it does not take yet is kept in
//! order, and whoever feeds a sink must ask whether it is congested. Leaves what is written to the core.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd;

use super::backlog::{Backlog, Outcome};
use super::call::{self, kind, status_of};
use super::descriptors::{self, STDERR, STDOUT};
use super::poll::{Interest, Poll, Woken};
use super::{socket, word};
use crate::event::{Event, Overflow, Sink, Spare, report};

/// Where output is dropped rather than waited with: so much waits for a reader that may be slow and not stuck. One turn of the loop
/// may add to it what it has read.
const OVERFLOW_BYTES: usize = 256 << 10;

/// Where services wait for the reader: so long it may take before it is reported as stuck. Sooner than anything follows from the silence
/// of services that are not read.
const STUCK_AFTER: Duration = Duration::from_millis(500);

/// What a pipe takes without waiting once it says there is room (PIPE_BUF).
const PIPE_PIECE_BYTES: usize = 4096;

/// What a terminal takes without waiting once it says there is room. It says so while there is any, and a longer write would sleep
/// until all of it fits. Slow, and only for a terminal that we may not open again.
const TERMINAL_PIECE_BYTES: usize = 1;

/// Both sinks, made when the first line is to be written.
#[derive(Debug)]
pub struct Sinks {
    both: Option<Both>,
    overflow: Overflow,
}

#[derive(Debug)]
struct Both {
    stdout: Queue,
    /// `None`: the same file as standard output, and one queue keeps the order between them.
    stderr: Option<Queue>,
}

/// One file, and what waits for it.
#[derive(Debug)]
struct Queue {
    file: File,
    backlog: Backlog,
    /// It was reported that its reader is stuck, and not yet that it is not.
    stuck: bool,
    /// Since when something waits, as far as it was looked at.
    waits_since: Option<Instant>,
}

/// How to write to a file without waiting.
#[derive(Debug)]
enum File {
    /// A pipe, terminal or device, opened once more for us alone, non-blocking.
    Reopened(OwnedFd),
    /// A regular file, which never waits for a reader.
    Regular(BorrowedFd<'static>),
    /// A socket, which has a flag for it.
    Socket(BorrowedFd<'static>),
    /// What we may not open again: small pieces, each when it is said to have room.
    Careful { descriptor: BorrowedFd<'static>, piece: usize },
}

impl Sinks {
    /// Prepares descriptors 1 and 2 at once.
    pub fn new(overflow: Overflow) -> Self {
        Self { both: Some(Both::new()), overflow }
    }

    /// Prepares them only when something is to be written.
    pub fn later(overflow: Overflow) -> Self {
        Self { both: None, overflow }
    }

    /// Adds the descriptors that are in use beside 1 and 2 themselves.
    pub fn held(&self, held: &mut Vec<RawFd>) {
        let Some(both) = &self.both else { return };
        held.push(both.stdout.file.descriptor().as_raw_fd());
        if let Some(stderr) = &both.stderr {
            held.push(stderr.file.descriptor().as_raw_fd());
        }
    }

    /// Writes, or keeps what does not fit. The memory of what is written becomes spare.
    pub fn write(&mut self, sink: Sink, bytes: Vec<u8>, spare: &mut Spare) {
        let queue = self.both().queue(sink);
        if !bytes.is_empty() && queue.backlog.add(bytes) {
            queue.flush(spare);
        }
    }

    /// Writes our own lines to standard error; drops and counts them when too many wait already.
    pub fn tell(&mut self, bytes: Vec<u8>) {
        let queue = self.both().queue(Sink::Stderr);
        if queue.backlog.add_own(bytes) {
            queue.flush(&mut Spare::default());
        }
    }

    /// Whether nothing more should be fetched for this sink, because something waits for its reader.
    pub fn congested(&self, sink: Sink) -> bool {
        match self.overflow {
            Overflow::Block => self.waits(sink),
            Overflow::Drop => false,
        }
    }

    fn waits(&self, sink: Sink) -> bool {
        self.both.as_ref().is_some_and(|both| match (&both.stderr, sink) {
            (Some(stderr), Sink::Stderr) => stderr.backlog.waits(),
            (_, Sink::Stdout) | (None, Sink::Stderr) => both.stdout.backlog.waits(),
        })
    }

    /// Reports whose reader is stuck, and whose is not any more.
    pub fn report(&mut self, events: &mut Vec<Event>) {
        let (overflow, Some(both)) = (self.overflow, &mut self.both) else { return };
        let sinks: (&[Sink], &[Sink]) = match both.stderr {
            Some(_) => (&[Sink::Stdout], &[Sink::Stderr]),
            None => (&[Sink::Stdout, Sink::Stderr], &[]),
        };
        both.stdout.report(overflow, sinks.0, events);
        if let Some(stderr) = &mut both.stderr {
            stderr.report(overflow, sinks.1, events);
        }
    }

    /// Adds to `poll` whatever waits for a reader.
    pub fn watch<Owner: Copy>(&self, poll: &mut Poll<Owner>, owner: impl Fn(Sink) -> Owner) {
        let Some(both) = &self.both else { return };
        for (sink, queue) in [(Sink::Stdout, Some(&both.stdout)), (Sink::Stderr, both.stderr.as_ref())] {
            if let Some(queue) = queue.filter(|queue| queue.backlog.waits()) {
                poll.watch(owner(sink), queue.file.descriptor(), Interest::Write);
            }
        }
    }

    /// Writes what the reader takes now.
    pub fn flush(&mut self, sink: Sink, spare: &mut Spare) {
        if let Some(both) = &mut self.both {
            both.queue(sink).flush(spare);
        }
    }

    /// Writes all that waits, for at most so long.
    #[inline(never)]
    pub fn finish(&mut self, at_most: Duration) {
        if self.both.is_none() {
            return;
        }
        let end = Instant::now() + at_most;
        let (mut poll, mut spare) = (Poll::new(), Spare::default());
        loop {
            self.flush(Sink::Stdout, &mut spare);
            self.flush(Sink::Stderr, &mut spare);
            let left = end.saturating_duration_since(Instant::now());
            let waiting = self.waits(Sink::Stdout) || self.waits(Sink::Stderr);
            if !waiting || left.is_zero() {
                return;
            }
            poll.clear();
            self.watch(&mut poll, |sink| sink);
            poll.wait(Some(left));
        }
    }

    fn both(&mut self) -> &mut Both {
        self.both.get_or_insert_with(Both::new)
    }
}

impl Both {
    /// The flags of descriptors 1 and 2 are never changed: others may share them.
    fn new() -> Self {
        let same =
            matches!((status_of(STDOUT), status_of(STDERR)), (Ok(one), Ok(two)) if same_stream(&one, &two));
        Self { stdout: Queue::new(STDOUT), stderr: (!same).then(|| Queue::new(STDERR)) }
    }

    fn queue(&mut self, sink: Sink) -> &mut Queue {
        match (&mut self.stderr, sink) {
            (Some(stderr), Sink::Stderr) => stderr,
            (_, Sink::Stdout) | (None, Sink::Stderr) => &mut self.stdout,
        }
    }
}

/// One pipe, terminal or device. Regular files keep an offset each and never congest, so they stay apart.
fn same_stream(one: &FileStat, two: &FileStat) -> bool {
    call::identity(one) == call::identity(two) && !call::is_file(one)
}

impl Queue {
    fn new(descriptor: BorrowedFd<'static>) -> Self {
        Self { file: File::new(descriptor), backlog: Backlog::default(), stuck: false, waits_since: None }
    }

    fn flush(&mut self, spare: &mut Spare) {
        self.backlog.flush(spare, |bytes| self.file.write(bytes));
    }

    fn report(&mut self, overflow: Overflow, sinks: &[Sink], events: &mut Vec<Event>) {
        let waits = self.backlog.waits();
        let stuck = match overflow {
            _ if self.stuck => waits,
            Overflow::Drop => self.backlog.others() > OVERFLOW_BYTES,
            Overflow::Block if waits => {
                let since = *self.waits_since.get_or_insert_with(Instant::now);
                since.elapsed() >= STUCK_AFTER
            }
            Overflow::Block => false,
        };
        if !waits {
            self.waits_since = None;
        }
        if stuck != self.stuck {
            for sink in sinks {
                let sink = *sink;
                report(events, if stuck { Event::Stuck { sink } } else { Event::Flows { sink } });
            }
            self.stuck = stuck;
        }
    }
}

impl File {
    fn new(descriptor: BorrowedFd<'static>) -> Self {
        let kind = status_of(descriptor).map_or(0, |status| kind(&status));
        if kind == libc::S_IFREG {
            return Self::Regular(descriptor);
        }
        if kind == libc::S_IFSOCK {
            return Self::Socket(descriptor);
        }
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let again = call::open(Path::new(&path), libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY);
        match again {
            Ok(file) => Self::Reopened(file.into()),
            Err(errno) => {
                let number = descriptor.as_raw_fd();
                say!(Debug, "descriptor {number} cannot be opened again: {}", word(errno));
                let piece = if kind == libc::S_IFCHR { TERMINAL_PIECE_BYTES } else { PIPE_PIECE_BYTES };
                Self::Careful { descriptor, piece }
            }
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Reopened(file) => file.as_fd(),
            Self::Regular(descriptor) | Self::Socket(descriptor) | Self::Careful { descriptor, .. } => {
                *descriptor
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> Outcome {
        let result = match self {
            Self::Reopened(file) => unistd::write(file, bytes),
            Self::Regular(descriptor) => unistd::write(descriptor, bytes),
            Self::Socket(descriptor) => socket::send(*descriptor, bytes),
            Self::Careful { descriptor, piece } => {
                if !has_room(*descriptor) {
                    return Outcome::Full;
                }
                // gVisor says so of a pipe with any room, and would wait for more.
                let room = descriptors::room(*descriptor).unwrap_or(*piece);
                unistd::write(descriptor, bytes.get(..room.clamp(1, *piece)).unwrap_or(bytes))
            }
        };
        match result {
            Ok(count) => Outcome::Written(count),
            Err(Errno::EINTR) => Outcome::Written(0),
            Err(Errno::EAGAIN) => Outcome::Full,
            // Nobody reads any more (EPIPE, EIO) or nothing fits (ENOSPC, EDQUOT, EFBIG). The services must not suffer
            // from it, and the next write may well succeed.
            Err(_) => Outcome::Lost,
        }
    }
}

fn has_room(descriptor: BorrowedFd<'_>) -> bool {
    let mut poll = Poll::new();
    poll.watch((), descriptor, Interest::Write);
    poll.wait(Some(Duration::ZERO)) == Woken::Ready && poll.ready().next().is_some()
}
