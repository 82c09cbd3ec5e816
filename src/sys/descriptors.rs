//! Small things about file descriptors: pipes, flags, and who gets what we inherited. All of ours close on exec from birth.

#![expect(unsafe_code, reason = "calls that nix does not have, or only for borrowed descriptors")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;

use super::{call, procfs};
use crate::gather::Gather;

/// Where neither /proc nor close_range(2) is there, descriptors from here on are not looked for.
const HIGHEST_TRIED: u64 = 4096;

/// Standard input. What the standard library has for it comes with a buffer and a lock.
pub const STDIN: BorrowedFd<'static> = standard(0);

/// Standard output.
pub const STDOUT: BorrowedFd<'static> = standard(1);

/// Standard error.
pub const STDERR: BorrowedFd<'static> = standard(2);

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

const fn standard(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: for the three above only, which are open from before main on; nothing closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// A pipe: the end to read from, the end to write to.
pub fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the call writes two numbers, which live here; both are new, and nobody else's.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        let [read_end, write_end] = ends.map(|end| OwnedFd::from_raw_fd(end));
        Ok((read_end, write_end))
    }
}

/// Makes reads or writes at this end of a pipe fail rather than wait. Only for a new one, which has no other flags and no other owner.
pub fn set_nonblocking(end: &OwnedFd) -> nix::Result<()> {
    call::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK).map(drop)
}

/// /dev/null, for reading and writing.
pub fn null() -> nix::Result<OwnedFd> {
    Ok(call::open(Path::new("/dev/null"), libc::O_RDWR)?.into())
}

/// Makes a directory, of this mode less the umask; whether there was none. What the standard library has for it makes those above it too.
pub fn make_directory(path: &Path, mode: libc::mode_t) -> io::Result<bool> {
    match call::make_directory(path, mode) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a regular file for reading. Never waits: a pipe or a device that somebody put in its place is an error.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = call::open(path, libc::O_NONBLOCK | libc::O_NOCTTY)?;
    let is_file = call::is_file(&call::status_of(file.as_fd())?);
    if is_file { Ok(file) } else { Err(call::refusal("it is not a file")) }
}

/// What is in a file from here on, at most so many bytes. Those of /proc have no size to go by, most fit into a page, and each read makes
/// the kernel write them anew.
#[inline(never)]
pub fn contents(file: &File, at_most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096.min(at_most));
    loop {
        let left = at_most.saturating_sub(bytes.len());
        bytes.reserve(left.min(1)); // which doubles it
        match read_into(file.as_fd(), &mut bytes, left) {
            Ok(0) => return Ok(bytes),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What can be read now, at most so many bytes; empty at the end.
pub fn read(descriptor: BorrowedFd<'_>, at_most: usize) -> nix::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(at_most);
    read_into(descriptor, &mut bytes, at_most)?;
    Ok(bytes)
}

/// Appends what can be read now, at most so many bytes and as much as there is room for; says how much, 0 at the end. The memory is not
/// cleared first: in a flood of output that costs as much as the rest.
pub fn read_into(descriptor: BorrowedFd<'_>, bytes: &mut Vec<u8>, at_most: usize) -> nix::Result<usize> {
    let room = bytes.spare_capacity_mut();
    let at_most = at_most.min(room.len());
    // SAFETY: the kernel writes no more than there is room for and says how much; so much is initialised.
    unsafe {
        let result = libc::read(descriptor.as_raw_fd(), room.as_mut_ptr().cast(), at_most);
        let count = usize::try_from(Errno::result(result)?).unwrap_or(0);
        bytes.set_len(bytes.len() + count);
        Ok(count)
    }
}

/// How many bytes can be read from a pipe now.
pub fn readable_bytes(descriptor: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives here.
    let result = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::FIONREAD as _, &raw mut count) };
    if result == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}

/// How many bytes there is room for in a pipe; none, if it is no pipe.
pub fn room(pipe: BorrowedFd<'_>) -> Option<usize> {
    let size = call::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ, 0).ok()?;
    Some(usize::try_from(size).ok()?.saturating_sub(readable_bytes(pipe)))
}

/// Closes on exec whatever we inherited beyond standard input, output and error, so that no service gets it.
#[inline(never)]
pub fn keep_inherited_from_children() {
    // The list first: marking is not reading, but the directory itself is in the list.
    if let Ok(open) = procfs::numbers("/proc/self/fd", usize::MAX) {
        open.into_iter().filter(|number| *number > 2).for_each(close_on_exec);
        return;
    }
    // SAFETY: with this flag the call only sets flags.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 {
        return;
    }
    (3..RawFd::try_from(highest_tried()).unwrap_or(0)).for_each(close_on_exec);
}

/// Closes whatever is open above standard input, output and error but these, which are all that we use. Takes no memory where there is
/// close_range(2), Linux 5.9: a child calls it.
pub fn close_others(ours: &[RawFd]) {
    let mut first = 3;
    while first < RawFd::MAX {
        let end = ours.iter().copied().filter(|number| *number >= first).min().unwrap_or(RawFd::MAX);
        if first < end && !close_range(first, end - 1) {
            return close_one_by_one();
        }
        first = end.saturating_add(1);
    }
}

fn close_range(first: RawFd, last: RawFd) -> bool {
    // SAFETY: nobody here owns a descriptor in that range.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

/// What is ours closes on exec, and what we inherited does not, or an exec would have closed it.
fn close_one_by_one() {
    let inherited = |number: &RawFd| {
        call::fcntl(*number, libc::F_GETFD, 0).is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0)
    };
    let numbers = procfs::numbers("/proc/self/fd", usize::MAX)
        .unwrap_or_else(|_| (0..RawFd::try_from(highest_tried()).unwrap_or(0)).gather());
    for number in numbers.into_iter().filter(|number| *number > 2).filter(inherited) {
        // SAFETY: it came with the exec, and nothing here knows it.
        unsafe { libc::close(number) };
    }
}

fn highest_tried() -> u64 {
    call::limit(libc::RLIMIT_NOFILE as _).map_or(HIGHEST_TRIED, |(soft, _)| soft.min(HIGHEST_TRIED))
}

fn close_on_exec(number: RawFd) {
    let _ = call::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC); // if nothing is open there
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn our_descriptors_close_on_exec() {
        let (read_end, write_end) = pipe().unwrap();
        for descriptor in [read_end, write_end, null().unwrap()] {
            assert_eq!(call::fcntl(descriptor.as_raw_fd(), libc::F_GETFD, 0), Ok(libc::FD_CLOEXEC));
        }
    }

    #[test]
    fn a_pipe_tells_how_much_is_in_it() {
        let (read_end, write_end) = pipe().unwrap();
        nix::unistd::write(&write_end, b"12345").unwrap();
        assert_eq!(readable_bytes(read_end.as_fd()), 5);
        let size = call::fcntl(write_end.as_raw_fd(), libc::F_GETPIPE_SZ, 0).unwrap();
        assert_eq!(room(write_end.as_fd()), Some(usize::try_from(size).unwrap() - 5));
        assert_eq!(room(null().unwrap().as_fd()), None);
    }
}
