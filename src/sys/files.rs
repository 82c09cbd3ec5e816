//! The files and the environment of the container, as the configuration sees them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::poll::{Interest, Poll};
use super::{call, descriptors, environment, logfile, memory, rehearsal, signals};
use crate::config::World;
use crate::event::{Launch, MemoryFound, StartError};

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// How often it is looked whether somebody wants us to stop instead.
const LOOK: Duration = Duration::from_millis(100);

/// The real files and the real environment.
pub struct Files;

/// The same for a program that is running and must not wait: pipes and terminals, which may have nothing to read, are refused.
pub struct FilesAgain;

/// Whether the file at this path has a name in its file system: a mount of it keeps one that has lost its last.
pub fn has_name(path: &Path) -> bool {
    call::status(path).is_ok_and(|status| status.st_nlink > 0)
}

/// Waits until a pipe or terminal has something to read, or its writers are gone. An error when we are asked to stop.
fn wait_for_input(file: &File) -> io::Result<()> {
    let mut poll = Poll::new();
    loop {
        poll.clear();
        poll.watch((), file.as_fd(), Interest::Read);
        poll.wait(Some(LOOK));
        if poll.ready().next().is_some() {
            return Ok(());
        }
        if signals::asked_to_stop() {
            return Err(call::refusal("asked to stop while waiting for it"));
        }
    }
}

/// Opens it without waiting for the writer of a pipe.
fn open(path: &Path) -> nix::Result<File> {
    call::open(path, libc::O_NONBLOCK | libc::O_NOCTTY)
}

/// Reads at most so many bytes.
fn read(file: &File, waits: bool, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe is fine (`-c /dev/stdin`); a directory fails at the first read with EISDIR.
    while bytes.len() < limit {
        if waits {
            wait_for_input(file)?;
        }
        match descriptors::read(file.as_fd(), PIECE_BYTES.min(limit - bytes.len())) {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

impl World for Files {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // A signal ends the wait for a pipe's writer.
        let file = open(path)?;
        let waits = !call::is_file(&call::status_of(file.as_fd())?);
        read(&file, waits, limit)
    }

    fn read_secret(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // A pipe has nothing but what its writer says.
        let file = open(path)?;
        if call::kind(&call::status_of(file.as_fd())?) == libc::S_IFIFO {
            return read(&file, true, limit);
        }
        descriptors::contents(&logfile::open_to_read(path)?, limit)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        Ok(call::names(directory, usize::MAX)?)
    }

    fn reason(&self, error: &io::Error) -> String {
        call::reason(error)
    }

    fn variable(&self, name: &OsStr) -> Option<OsString> {
        environment::variable(name.as_bytes())
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        let full = if path.is_absolute() {
            Ok(path.to_owned())
        } else {
            call::directory().map(|own| own.join(path))
        };
        let Ok(full) = full else { return path.to_owned() };
        let mut plain = Vec::new();
        for part in full.as_os_str().as_bytes().split(|byte| *byte == b'/') {
            if !matches!(part, b"" | b".") {
                plain.push(b'/');
                plain.extend_from_slice(part);
            }
        }
        if plain.is_empty() {
            plain.push(b'/');
        }
        OsString::from_vec(plain).into()
    }

    fn obstacle(&self, launch: &Launch) -> Option<StartError> {
        rehearsal::obstacle(launch)
    }

    fn memory(&self) -> MemoryFound {
        memory::look()
    }
}

impl World for FilesAgain {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // Looked at when it is open: a name may become a pipe's between two looks.
        let file = open(path)?;
        let kind = call::kind(&call::status_of(file.as_fd())?);
        if kind == libc::S_IFREG || kind == libc::S_IFDIR || path == Path::new("/dev/null") {
            return read(&file, false, limit);
        }
        Err(call::refusal("it is no file that could be read a second time"))
    }

    fn read_secret(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        descriptors::contents(&logfile::open_to_read(path)?, limit)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        Files.list(directory)
    }

    fn reason(&self, error: &io::Error) -> String {
        Files.reason(error)
    }

    fn variable(&self, name: &OsStr) -> Option<OsString> {
        Files.variable(name)
    }

    fn obstacle(&self, launch: &Launch) -> Option<StartError> {
        Files.obstacle(launch)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        Files.absolute(path)
    }

    fn memory(&self) -> MemoryFound {
        Files.memory()
    }
}
