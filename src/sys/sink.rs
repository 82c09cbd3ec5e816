//! The container's standard output and error. Nothing here waits for their reader: what it does not take yet is kept in
//! order, and whoever feeds a sink must ask whether it is congested. Leaves what is written to the core.

#![expect(
    unsafe_code,
    reason = "descriptors 1 and 2, which nobody owns; send without a socket type of its own"
)]

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use ::log::Level;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd;

use super::log;
use super::poll::{Interest, Poll, Woken};
use crate::event::Sink;

/// How much of our own lines is kept for a reader that is stuck.
const OWN_MAX_BYTES: usize = 64 << 10;

/// What a pipe takes without waiting once it says there is room (PIPE_BUF).
const PIPE_PIECE_BYTES: usize = 4096;

/// What a terminal takes without waiting once it says there is room. It says so while there is any, and a longer write would sleep
/// until all of it fits. Slow, and only for a terminal that we may not open again.
const TERMINAL_PIECE_BYTES: usize = 1;

/// Both sinks, made when the first line is to be written.
#[derive(Debug)]
pub struct Sinks(Option<Both>);

#[derive(Debug)]
struct Both {
    stdout: Queue,
    /// `None`: the same file as standard output, and one queue keeps the order between them.
    stderr: Option<Queue>,
}

/// What waits for one file.
#[derive(Debug)]
struct Queue {
    file: File,
    pending: VecDeque<Piece>,
    /// How much of the first piece is written already.
    written: usize,
    /// How much of `pending` is our own lines.
    own: usize,
    /// How many of our own lines were dropped since the queue was last empty.
    dropped: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    own: bool,
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

/// What became of a write.
enum Outcome {
    /// So many bytes are written.
    Written(usize),
    /// Nothing more fits now.
    Full,
    /// It cannot be written, now or later.
    Lost,
}

impl Sinks {
    /// Prepares descriptors 1 and 2 at once.
    pub fn new() -> Self {
        Self(Some(Both::new()))
    }

    /// Prepares them only when something is to be written.
    pub fn later() -> Self {
        Self(None)
    }

    /// The descriptors that are in use beside 1 and 2 themselves.
    pub fn held(&self) -> impl Iterator<Item = RawFd> {
        let queues = self.0.iter().flat_map(|both| [Some(&both.stdout), both.stderr.as_ref()]).flatten();
        queues.map(|queue| queue.file.descriptor().as_raw_fd())
    }

    /// Writes, or keeps what does not fit.
    pub fn write(&mut self, sink: Sink, bytes: Vec<u8>) {
        self.both().queue(sink).add(Piece { bytes, own: false });
    }

    /// Writes our own lines to standard error; drops and counts them when too many wait already.
    pub fn tell(&mut self, bytes: Vec<u8>) {
        let queue = self.both().queue(Sink::Stderr);
        if queue.own + bytes.len() > OWN_MAX_BYTES {
            queue.dropped += memchr::memchr_iter(b'\n', &bytes).count();
        } else {
            queue.add(Piece { bytes, own: true });
        }
    }

    /// Whether something waits for the reader. Then nothing more should be fetched for this sink.
    pub fn congested(&self, sink: Sink) -> bool {
        self.0.as_ref().is_some_and(|both| match (&both.stderr, sink) {
            (Some(stderr), Sink::Stderr) => stderr.congested(),
            (_, Sink::Stdout) | (None, Sink::Stderr) => both.stdout.congested(),
        })
    }

    /// Adds to `poll` whatever waits for a reader.
    pub fn watch<Owner: Copy>(&self, poll: &mut Poll<Owner>, owner: impl Fn(Sink) -> Owner) {
        let Some(both) = &self.0 else { return };
        for (sink, queue) in [(Sink::Stdout, Some(&both.stdout)), (Sink::Stderr, both.stderr.as_ref())] {
            if let Some(queue) = queue.filter(|queue| queue.congested()) {
                poll.watch(owner(sink), queue.file.descriptor(), Interest::Write);
            }
        }
    }

    /// Writes what the reader takes now.
    pub fn flush(&mut self, sink: Sink) {
        if let Some(both) = &mut self.0 {
            both.queue(sink).flush();
        }
    }

    /// Writes all that waits, for at most so long.
    pub fn finish(mut self, at_most: Duration) {
        if self.0.is_none() {
            return;
        }
        let end = Instant::now() + at_most;
        let mut poll = Poll::new();
        loop {
            self.flush(Sink::Stdout);
            self.flush(Sink::Stderr);
            let left = end.saturating_duration_since(Instant::now());
            let waiting = self.congested(Sink::Stdout) || self.congested(Sink::Stderr);
            if !waiting || left.is_zero() {
                return;
            }
            poll.clear();
            self.watch(&mut poll, |sink| sink);
            poll.wait(Some(left));
        }
    }

    fn both(&mut self) -> &mut Both {
        self.0.get_or_insert_with(Both::new)
    }
}

impl Both {
    /// The flags of descriptors 1 and 2 are never changed: others may share them.
    fn new() -> Self {
        // SAFETY: 1 and 2 are open from before main on, and nothing here closes them.
        let (one, two) = unsafe { (BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2)) };
        let same = matches!((fstat(one), fstat(two)), (Ok(one), Ok(two)) if same_stream(&one, &two));
        Self { stdout: Queue::new(one), stderr: (!same).then(|| Queue::new(two)) }
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
    (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino) && kind(one) != SFlag::S_IFREG
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

impl Queue {
    fn new(descriptor: BorrowedFd<'static>) -> Self {
        Self { file: File::new(descriptor), pending: VecDeque::new(), written: 0, own: 0, dropped: 0 }
    }

    fn congested(&self) -> bool {
        !self.pending.is_empty()
    }

    fn add(&mut self, piece: Piece) {
        if piece.bytes.is_empty() {
            return;
        }
        if piece.own {
            self.own += piece.bytes.len();
        }
        self.pending.push_back(piece);
        // Only if it is alone: else the file was full a moment ago, and poll says when it no longer is.
        if self.pending.len() == 1 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        while let Some(first) = self.pending.front() {
            let rest = first.bytes.get(self.written..).unwrap_or_default();
            match self.file.write(rest) {
                Outcome::Written(count) if count < rest.len() => self.written += count,
                Outcome::Written(_) | Outcome::Lost => self.pop(),
                Outcome::Full => return,
            }
        }
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            let text = format!("{count} lines of ours were dropped because nobody read them");
            self.add(Piece { bytes: log::written(Level::Warn, &text), own: true });
        }
    }

    fn pop(&mut self) {
        self.written = 0;
        if let Some(piece) = self.pending.pop_front()
            && piece.own
        {
            self.own = self.own.saturating_sub(piece.bytes.len());
        }
        if self.pending.is_empty() {
            // What a stuck reader made us collect is not kept for ever.
            self.pending.shrink_to(4);
        }
    }
}

impl File {
    fn new(descriptor: BorrowedFd<'static>) -> Self {
        let kind = fstat(descriptor).map_or(SFlag::empty(), |stat| kind(&stat));
        if kind == SFlag::S_IFREG {
            return Self::Regular(descriptor);
        }
        if kind == SFlag::S_IFSOCK {
            return Self::Socket(descriptor);
        }
        let again = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
        match again {
            Ok(file) => Self::Reopened(file.into()),
            Err(error) => {
                ::log::debug!("descriptor {} cannot be opened again: {error}", descriptor.as_raw_fd());
                let piece = if kind == SFlag::S_IFCHR { TERMINAL_PIECE_BYTES } else { PIPE_PIECE_BYTES };
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
            Self::Socket(descriptor) => send(*descriptor, bytes),
            Self::Careful { descriptor, piece } => {
                if !has_room(*descriptor) {
                    return Outcome::Full;
                }
                unistd::write(descriptor, bytes.get(..*piece).unwrap_or(bytes))
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

fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as many bytes as said.
    let result = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    Errno::result(result).map(|count| usize::try_from(count).unwrap_or(0))
}
