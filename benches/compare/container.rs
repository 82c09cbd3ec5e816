//! A container as far as an init can tell: a PID namespace whose first process it is, with its own /proc. Starts one, signals
//! it, waits for its end, and never leaves one behind. What runs in it is the candidate's business.

#![expect(unsafe_code, reason = "clone into namespaces, and what happens before exec")]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use crate::board::{Board, Word, now};

const LOG: &str = "log";

/// Where the output of a container goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To a file, so that a failure can be explained.
    Log,
    /// To /dev/null.
    Nowhere,
    /// Standard error to the bench, the rest to /dev/null.
    Heard,
}

/// A running init and everything below it.
#[derive(Debug)]
pub struct Container {
    pid: libc::pid_t,
    handle: OwnedFd,
    /// Where its services put their stamps.
    pub board: Board,
    /// Its standard error, where that is heard.
    pub errors: Option<PipeReader>,
    /// Its files, which go with it.
    directory: PathBuf,
}

impl Container {
    /// Starts a command as PID 1. Its files are in `directory`, which is removed with the container.
    pub fn start(command: &[String], board: Board, output: Output, directory: PathBuf) -> io::Result<Self> {
        let argv = strings(command)?;
        let environment =
            strings(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()])?;
        let (argv_pointers, environment_pointers) = (pointers(&argv), pointers(&environment));
        let nowhere = || OpenOptions::new().append(true).open("/dev/null").map(OwnedFd::from);
        let (output, error, errors) = match output {
            Output::Log => {
                let log = OpenOptions::new().append(true).create(true).open(directory.join(LOG))?;
                (log.try_clone()?.into(), log.into(), None)
            }
            Output::Nowhere => (nowhere()?, nowhere()?, None),
            Output::Heard => {
                let (reader, writer) = io::pipe()?;
                (nowhere()?, writer.into(), Some(reader))
            }
        };
        let input = File::open("/dev/null")?;
        let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD;

        // SAFETY: as fork(2); this process has one thread. The child makes system calls on prepared memory only.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone, i64::from(flags), 0_usize, 0_usize, 0_usize, 0_usize) };
        let pid = libc::pid_t::try_from(pid).unwrap_or(-1);
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                prepare(input.as_raw_fd(), output.as_raw_fd(), error.as_raw_fd());
                board.stamp(Word::Executed);
                // SAFETY: arrays of strings with a null at their end, alive until exec.
                unsafe {
                    libc::execve(argv_pointers[0], argv_pointers.as_ptr(), environment_pointers.as_ptr());
                    libc::_exit(127)
                }
            }
            _ => {}
        }
        // SAFETY: asks for a new descriptor, which nobody else owns.
        let handle = unsafe {
            let number = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            match libc::c_int::try_from(number) {
                Ok(number) if number >= 0 => OwnedFd::from_raw_fd(number),
                _ => {
                    let error = io::Error::last_os_error();
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, ptr::null_mut(), 0);
                    return Err(error);
                }
            }
        };
        Ok(Self { pid, handle, board, errors, directory })
    }

    /// What it and its services said.
    pub fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }

    /// The init's pid, as seen from here.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to the init.
    pub fn signal(&self, number: i32) {
        signal(self.pid, number);
    }

    /// Waits until the init and all below it are gone; when that was, or `None` if it took too long.
    pub fn ended(&self, at_most: Duration) -> Option<u64> {
        let mut entry = libc::pollfd { fd: self.handle.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::c_int::try_from(at_most.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one entry, which lives here.
        let ready = unsafe { libc::poll(&raw mut entry, 1, timeout) };
        (ready == 1).then(now)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        // SAFETY: collects our child; with it the kernel ends the whole namespace.
        unsafe { libc::waitpid(self.pid, ptr::null_mut(), 0) };
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Sends a signal to an init, which is not collected before its container is dropped, or to somebody in there.
pub fn signal(pid: i32, number: i32) {
    // SAFETY: plain call.
    unsafe { libc::kill(pid, number) };
}

/// In the child: what makes the namespace look like a container. Failures show as an init without /proc, which says so itself.
fn prepare(input: libc::c_int, output: libc::c_int, error: libc::c_int) {
    // SAFETY: system calls on constants and our own descriptors.
    unsafe {
        // Should the bench be killed, nothing of it stays.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), private, ptr::null());
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), flags, ptr::null());
        libc::dup2(input, 0);
        libc::dup2(output, 1);
        libc::dup2(error, 2);
    }
}

fn strings(texts: &[String]) -> io::Result<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_bytes()).map_err(io::Error::from)).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
