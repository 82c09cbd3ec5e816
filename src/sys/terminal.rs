//! The terminal of the person who called: what it can show, and the whole of it for `tinysup top`. However that ends, by a key, a signal,
//! a hang-up or a bug, the terminal is what it was before; only SIGKILL leaves no time for that. Leaves what is drawn to `view`.

#![expect(unsafe_code, reason = "the size of a window is told by an ioctl, and who has the terminal")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::termios::{self, SetArg, Termios};
use nix::unistd;

use super::descriptors::{self, STDERR, STDIN, STDOUT};
use super::environment::variable;
use super::poll::{Interest, Poll, Woken};
use super::signals::{self, SignalSet, bit};
use super::{call, trap};
use crate::gather::{Gather, holds};
use crate::view::Look;

/// What a terminal is taken for that does not say how large it is, as Docker's do in their first moment.
const USUAL_SIZE: Size = Size { columns: 80, rows: 24 };
/// Larger windows are drawn into as if they were this large.
const LARGEST: Size = Size { columns: 1000, rows: 1000 };
/// What is read of keys at once.
const KEYS_AT_ONCE_BYTES: usize = 256;

/// Another screen without a cursor, and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// The settings to put back, while the terminal is ours.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The size of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// What standard output can show.
pub fn look() -> Look {
    let terminal = is_terminal(STDOUT);
    // The first of these counts. Containers mostly have none, and the terminals at their other end take UTF-8 nevertheless.
    let locale = [&b"LC_ALL"[..], b"LC_CTYPE", b"LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    let utf8 = locale.is_none_or(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        holds(&locale, "utf-8") || holds(&locale, "utf8")
    });
    Look {
        colour: terminal && !is_dumb() && !is_set(b"NO_COLOR"),
        width: terminal.then(|| size_of(STDOUT)).flatten().map(|size| size.columns),
        utf8,
    }
}

/// What happened while nobody drew.
#[derive(Debug, PartialEq, Eq)]
pub enum Happened {
    /// The time is over.
    Nothing,
    /// Keys were pressed.
    Keys(Vec<u8>),
    /// The window has another size.
    Resized,
    /// A signal, or the end of the terminal: nothing more is to be done.
    Ended,
}

/// A terminal that is ours as a whole, until this is dropped.
#[derive(Debug)]
pub struct Screen {
    output: OwnedFd,
    signals: OwnedFd,
    /// What the terminal did not take yet.
    pending: Vec<u8>,
    poll: Poll<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Keys,
    Output,
}

/// Whether there is a terminal on both sides that can be drawn on.
pub fn can_draw() -> bool {
    is_terminal(STDIN) && is_terminal(STDOUT) && !is_dumb()
}

fn is_dumb() -> bool {
    variable(b"TERM").is_some_and(|term| term == "dumb")
}

fn is_set(name: &[u8]) -> bool {
    variable(name).is_some_and(|value| !value.is_empty())
}

/// Whether it is a terminal: whether it has the settings of one.
pub fn is_terminal(descriptor: BorrowedFd<'_>) -> bool {
    termios::tcgetattr(descriptor).is_ok()
}

/// The process group in the foreground of a terminal; -1 if it is none, or not ours.
pub fn foreground(terminal: RawFd) -> libc::pid_t {
    let mut group: libc::pid_t = -1;
    // SAFETY: TIOCGPGRP writes one number, which lives here.
    let result = unsafe { libc::ioctl(terminal, libc::TIOCGPGRP, &raw mut group) };
    if result == 0 { group } else { -1 }
}

/// Puts a process group into the foreground of a terminal; where that is refused, all stays as it is. Only a plain call, for after a fork.
pub fn set_foreground(terminal: RawFd, group: libc::pid_t) {
    // SAFETY: TIOCSPGRP reads one number, which lives here.
    unsafe { libc::ioctl(terminal, libc::TIOCSPGRP, &raw const group) };
}

/// Whether lines on standard output and error are coloured, if it is wanted: on terminals, or `everywhere`. `NO_COLOR` goes over both.
pub fn colored(everywhere: Option<bool>) -> [bool; 2] {
    match everywhere {
        Some(everywhere) if !is_set(b"NO_COLOR") => {
            let is = |terminal: bool| everywhere || terminal && !is_dumb();
            [is(is_terminal(STDOUT)), is(is_terminal(STDERR))]
        }
        Some(_) | None => [false; 2],
    }
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When it does not let itself be taken over; it is as it was then.
    pub fn open() -> io::Result<Self> {
        // A description of our own: what we switch on it is nobody else's.
        let open = |path| call::open(Path::new(path), libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY);
        let output = OwnedFd::from(open("/proc/self/fd/1").or_else(|_| open("/dev/tty"))?);
        let before = termios::tcgetattr(STDIN)?;
        let wanted: SignalSet =
            [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH].map(bit).iter().sum();
        let signals = signals::signalfd(wanted)?;
        // All of them: none may end or stop us while the terminal is not what it was.
        trap::read(true);
        signals::swap_mask(!bit(trap::SIGNAL));
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let screen = Self { output, signals, pending: ENTER.to_vec(), poll: Poll::new() };
        #[cfg(not(panic = "immediate-abort"))]
        {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back(STDOUT);
                told(panic);
            }));
        }
        termios::tcsetattr(STDIN, SetArg::TCSANOW, &raw)?;
        Ok(screen)
    }

    /// How large it is now.
    pub fn size(&self) -> Size {
        size_of(self.output.as_fd()).unwrap_or(USUAL_SIZE)
    }

    /// Draws these lines from the top, and nothing below them. A terminal that has not yet taken the last picture gets the next.
    pub fn draw(&mut self, lines: &[String]) {
        self.flush();
        if !self.pending.is_empty() {
            return;
        }
        self.pending.extend_from_slice(b"\x1b[H");
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                self.pending.extend_from_slice(b"\r\n");
            }
            self.pending.extend_from_slice(line.as_bytes());
            self.pending.extend_from_slice(b"\x1b[K");
        }
        self.pending.extend_from_slice(b"\x1b[J");
        self.flush();
    }

    /// Waits for something to happen, no longer than that.
    pub fn wait(&mut self, at_most: Duration) -> Happened {
        self.poll.clear();
        self.poll.watch(Source::Signals, self.signals.as_fd(), Interest::Read);
        self.poll.watch(Source::Keys, STDIN, Interest::Read);
        let interest = if self.pending.is_empty() { Interest::End } else { Interest::Write };
        self.poll.watch(Source::Output, self.output.as_fd(), interest);
        if self.poll.wait(Some(at_most)) != Woken::Ready {
            return Happened::Nothing;
        }
        let ready: Vec<Source> = self.poll.ready().gather();
        if ready.contains(&Source::Output) && !self.flush() {
            return Happened::Ended;
        }
        if ready.contains(&Source::Signals) {
            return if self.resized() { Happened::Resized } else { Happened::Ended };
        }
        if ready.contains(&Source::Keys) {
            return match descriptors::read(STDIN, KEYS_AT_ONCE_BYTES) {
                Ok(bytes) if !bytes.is_empty() => Happened::Keys(bytes),
                Err(Errno::EAGAIN | Errno::EINTR) => Happened::Nothing,
                Ok(_) | Err(_) => Happened::Ended,
            };
        }
        Happened::Nothing
    }

    /// Takes one signal; whether it was about the size.
    fn resized(&self) -> bool {
        let mut record = [0; 128]; // signalfd_siginfo, which begins with the number
        let count = unistd::read(&self.signals, &mut record).unwrap_or(0);
        let number = record.first_chunk().map(|number| i32::from_ne_bytes(*number));
        count == record.len() && number == Some(libc::SIGWINCH)
    }

    /// Writes what the terminal takes now; whether it is still there.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match unistd::write(&self.output, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.pending.clear();
        give_back(self.output.as_fd());
    }
}

/// Puts back what was. Once; a panic or a trap may come to it first, or in the middle of it.
pub fn give_back(output: BorrowedFd<'_>) {
    let before = match BEFORE.try_lock() {
        Ok(mut before) => before.take(),
        Err(TryLockError::Poisoned(before)) => before.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    if let Some(before) = before {
        let _ = unistd::write(output, LEAVE);
        let _ = termios::tcsetattr(STDIN, SetArg::TCSANOW, &before);
    }
}

fn size_of(terminal: BorrowedFd<'_>) -> Option<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives here.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (result == 0 && columns > 0 && rows > 0)
        .then(|| Size { columns: columns.min(LARGEST.columns), rows: rows.min(LARGEST.rows) })
}
