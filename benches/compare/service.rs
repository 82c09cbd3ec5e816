//! The services: what runs under the inits that are compared. The bench program plays them itself, in a process of their own,
//! and stamps what it is measured by on the board. Leaves to the metrics what the stamps mean.

#![expect(unsafe_code, reason = "signals and processes without anything between them and the kernel")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;
use std::{mem, ptr};

use crate::board::{Board, Word, now};

/// The first argument that makes the bench a service.
pub const MARK: &str = "play-service";

/// Where a service finds its arguments if its program cannot be given any: s6 and runit start `./run`.
pub const ARGUMENTS_FILE: &str = "arguments";

/// The exit code of a crash.
const CRASHED: i32 = 17;

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Waits for signals; SIGTERM ends it at once, SIGUSR1 is stamped.
    Wait,
    /// Crashes at once, so many times as the board says; then waits.
    CrashAtOnce,
    /// Crashes each time it reads a byte from the pipe beside the board.
    CrashWhenAsked,
    /// Leaves twenty thousand dead children to the init, and sees when they are gone.
    Orphans,
    /// Writes lines to stdout as fast as they are taken.
    Flood,
    /// The same into a pipe, from which it reads all and passes it on to stdout.
    Piped,
    /// Says a line on stderr at each SIGUSR1.
    Speak,
    /// Waits like the first, but is a program of some kilobytes, so that starting many is not the services' own time: minimal.c.
    Least,
}

impl Role {
    const ALL: [Self; 8] = [
        Self::Wait,
        Self::CrashAtOnce,
        Self::CrashWhenAsked,
        Self::Orphans,
        Self::Flood,
        Self::Piped,
        Self::Speak,
        Self::Least,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::CrashAtOnce => "crash-at-once",
            Self::CrashWhenAsked => "crash-when-asked",
            Self::Orphans => "orphans",
            Self::Flood => "flood",
            Self::Piped => "piped",
            Self::Speak => "speak",
            Self::Least => "service",
        }
    }

    /// The command of a service.
    pub fn command(self, program: &Path, board: &Path) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match self {
            Self::Least => vec![text(program), self.name().to_owned(), text(board)],
            _ => vec![text(program), MARK.to_owned(), self.name().to_owned(), text(board)],
        }
    }
}

/// The pipe through which a service is told to crash.
pub fn trigger(board: &Path) -> std::path::PathBuf {
    board.with_extension("trigger")
}

/// How many orphans there are.
pub const ORPHANS: usize = 20_000;

/// Plays a service if that is what this process was started for.
pub fn play_if_asked(arguments: &[String]) {
    let born = now();
    let started_as_run = arguments.first().is_some_and(|program| Path::new(program).ends_with("run"));
    let given: Vec<String> = match std::fs::read_to_string(ARGUMENTS_FILE) {
        Ok(text) if started_as_run => text.lines().map(str::to_owned).collect(),
        _ => arguments.to_vec(),
    };
    let [_, mark, role, board] = &given[..] else { return };
    let role = Role::ALL.iter().find(|known| known.name() == role);
    let (Some(role), true, Ok(board)) = (role, mark == MARK, Board::open(Path::new(board))) else { return };
    let run = usize::try_from(board.count(Word::Births)).unwrap_or(usize::MAX);
    board.set(Word::Birth(run), born);
    let result = match role {
        Role::Wait => wait(&board),
        Role::CrashAtOnce => crash_at_once(&board, run),
        Role::CrashWhenAsked => crash_when_asked(&board, run),
        Role::Orphans => leave_orphans(&board),
        Role::Flood => flood(&board),
        Role::Piped => piped(&board),
        Role::Speak => speak(&board),
        Role::Least => wait(&board), // minimal.c plays it
    };
    // Only reached when something failed.
    let _ = writeln!(io::stderr(), "a service of the bench failed: {:?}", result.err());
    leave(1)
}

fn wait(board: &Board) -> io::Result<()> {
    let signals = block();
    board.count(Word::Ready);
    loop {
        if await_signal(&signals) != libc::SIGUSR1 {
            board.count(Word::Goodbyes);
            leave(0)
        }
        board.stamp(Word::Arrival);
        board.announce(Word::Arrivals);
    }
}

fn crash_at_once(board: &Board, run: usize) -> io::Result<()> {
    if (run as u64) < board.get(Word::CrashesWanted) {
        board.stamp(Word::Death(run));
        leave(CRASHED)
    }
    wait(board)
}

fn crash_when_asked(board: &Board, run: usize) -> io::Result<()> {
    // Both ways, so that opening does not wait for the bench.
    let mut trigger = OpenOptions::new().read(true).write(true).open(trigger(board.path()))?;
    board.count(Word::Ready);
    trigger.read_exact(&mut [0])?;
    board.stamp(Word::Death(run));
    leave(CRASHED)
}

fn flood(board: &Board) -> io::Result<()> {
    let lines = [&[b'x'; 99][..], b"\n"].concat().repeat(100);
    // Signals to all services are not meant for this one.
    // SAFETY: SIG_IGN runs no code.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    board.count(Word::Ready);
    // Past the buffer of standard output, which would look for line ends.
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    loop {
        output.write_all(&lines)?;
        board.add(Word::Written, lines.len() as u64);
    }
}

/// What a relay cannot do without: wait, read, write.
fn piped(board: &Board) -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    // SAFETY: this process has one thread, so the copy may go on as usual.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: both are open. Should the parent be killed, nothing of it stays.
            unsafe {
                libc::dup2(writer.as_raw_fd(), 1);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            flood(board)?;
        }
        _ => {}
    }
    drop(writer);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut entry = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives here.
        unsafe { libc::poll(&raw mut entry, 1, -1) };
        let count = reader.read(&mut buffer)?;
        output.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}

fn speak(board: &Board) -> io::Result<()> {
    let signals = block();
    board.count(Word::Ready);
    loop {
        if await_signal(&signals) != libc::SIGUSR1 {
            leave(0)
        }
        board.stamp(Word::Spoken);
        io::stderr().write_all(b"word\n")?;
    }
}

/// A helper makes children that end at once, does not collect them, and leaves; they become the init's, all at one moment.
fn leave_orphans(board: &Board) -> io::Result<()> {
    let mut pipe = io::pipe()?;
    // SAFETY: this process has one thread, so the copy may go on as usual.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let last = (0..ORPHANS).try_fold(0, |_, _| zombie()).unwrap_or(0);
            let _ = pipe.1.write_all(&last.to_ne_bytes());
            board.stamp(Word::Orphaned);
            leave(0)
        }
        helper => {
            let mut last = [0; size_of::<i32>()];
            pipe.0.read_exact(&mut last)?;
            let last = i32::from_ne_bytes(last);
            // SAFETY: collects our own child.
            unsafe { libc::waitpid(helper, ptr::null_mut(), 0) };
            // Numbers are given in ascending order in a new PID namespace; between the helper and the last are all of them.
            while (helper + 1..=last).rev().any(exists) {
                std::thread::sleep(Duration::from_micros(50));
            }
            board.stamp(Word::Collected);
        }
    }
    wait(board)
}

fn exists(pid: i32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// A child that is dead when this returns. It borrows our memory while it lives, which is quicker than a copy.
fn zombie() -> Option<i32> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        0
    }
    #[repr(align(16))]
    struct Stack([u8; 4096]);
    let mut stack = Stack([0; 4096]);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.0.as_mut_ptr_range().end.cast();
    // SAFETY: the child runs on this stack, and we wait until it has ended.
    let pid = unsafe { libc::clone(end, top, flags, ptr::null_mut()) };
    (pid > 0).then_some(pid)
}

/// Blocks the signals that are waited for, so that none is lost in between.
fn block() -> libc::sigset_t {
    // SAFETY: a set of zeros is an empty one; the calls write to it and read it.
    unsafe {
        let mut signals: libc::sigset_t = mem::zeroed();
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1] {
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut());
        signals
    }
}

/// Waits for one of the signals that [`block`] has blocked.
fn await_signal(signals: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: reads a set and writes a number, both of which live as long as the call.
    unsafe { libc::sigwait(signals, &raw mut signal) };
    signal
}

fn leave(code: i32) -> ! {
    // SAFETY: ends the process; nothing of ours has to be put in order.
    unsafe { libc::_exit(code) }
}
