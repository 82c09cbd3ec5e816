//! A terminal with a program in it: what it shows, which keys are pressed, and whether its settings are what they were.

#![expect(unsafe_code, reason = "pseudo-terminals, which the standard library does not have")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use crate::DEADLINE;

/// The end of another screen, as xterm and all that are like it know it.
const LEAVE: &[u8] = b"\x1b[?1049l";

/// A terminal and its program.
pub struct Terminal {
    master: Option<File>,
    slave: OwnedFd,
    before: Settings,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    child: Child,
    hang_up: Arc<AtomicBool>,
}

#[derive(PartialEq, Eq, Debug)]
struct Settings([libc::tcflag_t; 4]);

impl Terminal {
    /// Starts it in a new terminal of that size, as the leader of its session.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: writes two numbers and reads a size, all of which live here; the descriptors are new and ours.
        let (master, slave) = unsafe {
            let made =
                libc::openpty(&raw mut master, &raw mut slave, ptr::null_mut(), ptr::null(), &raw const size);
            assert_eq!(made, 0, "a pseudo-terminal: {}", io::Error::last_os_error());
            for descriptor in [master, slave] {
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        for stdio in 0..3 {
            let end = slave.try_clone().expect("a descriptor");
            match stdio {
                0 => command.stdin(end),
                1 => command.stdout(end),
                _ => command.stderr(end),
            };
        }
        // SAFETY: both calls are async-signal-safe and touch no memory.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let before = settings(&slave);
        let child = command.spawn().expect("the program runs");
        drop(command); // with its copies of the terminal
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a descriptor");
        let (sender, output) = mpsc::channel();
        let hang_up = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&hang_up);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end is an error (EIO) on a terminal.
            while let Ok(count @ 1..) = reader.read(&mut bytes)
                && !told.load(Ordering::SeqCst)
            {
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        Self { master: Some(master), slave, before, output, seen: Vec::new(), child, hang_up }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.master.as_mut().expect("not hung up").write_all(keys.as_bytes()).expect("room for a key");
    }

    /// Waits for a picture of which this is true, and returns it: its lines.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            if let Some(picture) = self.picture()
                && is_so(&picture)
            {
                return picture;
            }
            self.read_more(what, start);
        }
    }

    /// Waits for a picture with this text.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> Vec<String> {
        self.until(text, |lines| lines.iter().any(|line| line.contains(text)))
    }

    /// Waits for this text, where there are no pictures.
    #[track_caller]
    pub fn waits_for_text(&mut self, text: &str) {
        let start = Instant::now();
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            self.read_more(text, start);
        }
    }

    #[track_caller]
    fn read_more(&mut self, what: &str, since: Instant) {
        let left = DEADLINE.saturating_sub(since.elapsed());
        let Ok(bytes) = self.output.recv_timeout(left) else {
            panic!("{what}: not in\n{}", String::from_utf8_lossy(&self.seen));
        };
        self.seen.extend(bytes);
    }

    /// The last whole picture: between going to the first line and clearing below the last.
    fn picture(&self) -> Option<Vec<String>> {
        let seen = String::from_utf8_lossy(&self.seen);
        let (pictures, _) = seen.rsplit_once("\x1b[J")?;
        let (_, last) = pictures.rsplit_once("\x1b[H")?;
        Some(last.split("\r\n").map(|line| line.replace("\x1b[K", "")).collect())
    }

    /// Changes the size of the window.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: reads a size that lives here.
        assert_eq!(unsafe { libc::ioctl(self.slave.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: plain call; the child is not collected yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// The other end goes away, as when a window is closed; waits for the end of the program, and returns its code. There are no
    /// settings any more.
    #[track_caller]
    pub fn hang_up(mut self) -> Option<i32> {
        // The reader lets go of its copy when it comes by, which it does with the next picture.
        self.hang_up.store(true, Ordering::SeqCst);
        self.master = None;
        self.wait()
    }

    /// Whether the terminal has its settings from before.
    pub fn untouched(&self) -> bool {
        settings(&self.slave) == self.before
    }

    /// Waits for the end: the code, and all that was written. The settings must be those from before.
    #[track_caller]
    pub fn finish(mut self) -> (Option<i32>, String) {
        let code = self.wait();
        assert!(self.untouched(), "the settings of the terminal are not what they were");
        let start = Instant::now();
        // What the terminal took before the end is still to be read; then nothing more comes, and our own copy holds it open.
        let left = |seen: &[u8]| seen.windows(LEAVE.len()).any(|part| part == LEAVE);
        let entered = self.seen.starts_with(b"\x1b[?1049h");
        while entered
            && !left(&self.seen)
            && let Ok(bytes) = self.output.recv_timeout(DEADLINE.saturating_sub(start.elapsed()))
        {
            self.seen.extend(bytes);
        }
        while let Ok(bytes) = self.output.try_recv() {
            self.seen.extend(bytes);
        }
        (code, String::from_utf8_lossy(&self.seen).into_owned())
    }

    #[track_caller]
    fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            assert!(start.elapsed() < DEADLINE, "it does not end: {}", String::from_utf8_lossy(&self.seen));
            thread::yield_now();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(terminal: &OwnedFd) -> Settings {
    let mut found = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the call fills the structure, or says that it did not.
    let found = unsafe {
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), found.as_mut_ptr()), 0);
        found.assume_init()
    };
    Settings([found.c_iflag, found.c_oflag, found.c_cflag, found.c_lflag])
}
