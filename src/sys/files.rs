//! The files and the environment of the container, as the configuration sees them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::poll::{Interest, Poll};
use super::{memory, rehearsal, signals};
use crate::config::World;
use crate::event::{Launch, MemoryFound, StartError};
use crate::units::is;

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// How often it is looked whether somebody wants us to stop instead.
const LOOK: Duration = Duration::from_millis(100);

/// The real files and the real environment.
pub struct Files;

/// The same for a program that is running and must not wait: pipes and terminals, which may have nothing to read, are refused.
pub struct FilesAgain;

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
            return Err(io::Error::other("asked to stop while waiting for it"));
        }
    }
}

/// Opens it without waiting for the writer of a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Reads at most so many bytes.
fn read(mut file: File, waits: bool, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe is fine (`-c /dev/stdin`); a directory fails at the first read with EISDIR.
    while bytes.len() < limit {
        if waits {
            wait_for_input(&file)?;
        }
        let mut piece = vec![0; PIECE_BYTES.min(limit - bytes.len())];
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if is(&error, &[libc::EAGAIN, libc::EINTR]) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

impl World for Files {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // A signal ends the wait for a pipe's writer.
        let file = open(path)?;
        let waits = !file.metadata()?.is_file();
        read(file, waits, limit)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.push(entry?.file_name());
        }
        Ok(names)
    }

    fn variable(&self, name: &OsStr) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
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
        let kind = file.metadata()?.file_type();
        if kind.is_file() || kind.is_dir() || path == Path::new("/dev/null") {
            return read(file, false, limit);
        }
        Err(io::Error::other("it is no file that could be read a second time"))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        Files.list(directory)
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
