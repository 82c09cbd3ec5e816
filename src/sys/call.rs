//! Files and processes by the kernel's own calls. What the standard library and the C library have for the same is for any type of path,
//! for threads, and for kernels of long ago: hundreds of bytes of code each. Here a call is its number, what it takes, and its error.

#![expect(unsafe_code, reason = "system calls by number")]

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::FileStat;

/// So much of a directory is read at once.
const RECORDS_BYTES: usize = 4096;

/// The longest path that the kernel gives, with its end.
const TARGET_MAX_BYTES: usize = 4096;

/// For fchown(2): it stays whose it is.
pub const NOBODY_ELSE: u32 = u32::MAX;

/// A path as the system takes it.
pub fn c_path(path: &Path) -> nix::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// A process that is our copy: 0 in it, its number here. What the C library does around this is for what it keeps for
/// several threads; here is one. Flags as of clone(2).
///
/// # Safety
/// The child keeps to plain calls on what was prepared before, and never returns. It does not signal itself through the C library, which
/// takes it for its parent.
pub unsafe fn fork(flags: libc::c_int) -> nix::Result<libc::pid_t> {
    const NOTHING: usize = 0;
    // SAFETY: without flags it is what fork(2) is; the rest is up to the caller.
    number(unsafe {
        libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, NOTHING, NOTHING, NOTHING, NOTHING)
    })
}

/// What a call gave that answers with an int, or its error.
#[expect(clippy::cast_possible_truncation, reason = "the kernel's int in a register")]
pub fn number(result: libc::c_long) -> nix::Result<libc::c_int> {
    Errno::result(result as libc::c_int)
}

/// Opens a file; as all that is ours, it closes on exec.
pub fn open(path: &Path, flags: libc::c_int) -> nix::Result<File> {
    let path = c_path(path)?;
    loop {
        match open_at(libc::AT_FDCWD, &path, flags, 0) {
            Err(Errno::EINTR) => {}
            other => return other.map(File::from),
        }
    }
}

/// Opens a file of a folder.
#[inline(never)]
pub fn open_at(folder: RawFd, name: &CStr, flags: libc::c_int, mode: libc::mode_t) -> nix::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: reads a string that lives here.
    owned(unsafe { libc::syscall(libc::SYS_openat, folder, name.as_ptr(), flags, mode) })
}

/// What a call gave that makes a descriptor.
pub fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    // SAFETY: it is new, and nobody else's.
    number(result).map(|number| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Another descriptor of the same.
pub fn duplicate(descriptor: &OwnedFd) -> nix::Result<OwnedFd> {
    owned(fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3)?.into())
}

/// fcntl(2) with a number.
pub fn fcntl(descriptor: RawFd, command: libc::c_int, argument: libc::c_int) -> nix::Result<libc::c_int> {
    // SAFETY: no command that is used takes a pointer, or closes what somebody holds.
    number(unsafe { libc::syscall(libc::SYS_fcntl, descriptor, command, argument) })
}

/// What is at a path, behind links.
pub fn status(path: &Path) -> nix::Result<FileStat> {
    status_at(libc::AT_FDCWD, &c_path(path)?, 0)
}

/// What is at a path itself.
pub fn status_of_link(path: &Path) -> nix::Result<FileStat> {
    status_at(libc::AT_FDCWD, &c_path(path)?, libc::AT_SYMLINK_NOFOLLOW)
}

/// What is in a folder; flags as of fstatat(2).
#[inline(never)]
pub fn status_at(folder: RawFd, name: &CStr, flags: libc::c_int) -> nix::Result<FileStat> {
    // SAFETY: all zeroes is a stat; the call fills it. For these processors, what the C libraries call so is what the kernel does.
    unsafe {
        let mut found: FileStat = std::mem::zeroed();
        number(libc::syscall(libc::SYS_newfstatat, folder, name.as_ptr(), &raw mut found, flags))?;
        Ok(found)
    }
}

/// What is open there.
#[inline(never)]
pub fn status_of(descriptor: BorrowedFd<'_>) -> nix::Result<FileStat> {
    // SAFETY: as above.
    unsafe {
        let mut found: FileStat = std::mem::zeroed();
        number(libc::syscall(libc::SYS_fstat, descriptor.as_raw_fd(), &raw mut found))?;
        Ok(found)
    }
}

/// Which of S_IFREG and its like it is.
pub fn kind(status: &FileStat) -> libc::mode_t {
    status.st_mode & libc::S_IFMT
}

/// Whether it is a regular file.
pub fn is_file(status: &FileStat) -> bool {
    kind(status) == libc::S_IFREG
}

/// Whether it is root's or our own.
pub fn is_ours(status: &FileStat) -> bool {
    is_user_of_ours(status.st_uid)
}

/// Whether a user is root, or who we are.
pub fn is_user_of_ours(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

/// Which file it is.
pub fn identity(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// A call for a path and a number.
#[inline(never)]
fn on_path(call: libc::c_long, path: &Path, argument: libc::c_uint) -> nix::Result<()> {
    let path = c_path(path)?;
    // SAFETY: reads a string that lives here.
    let result = unsafe { libc::syscall(call, libc::AT_FDCWD, path.as_ptr(), argument) };
    number(result).map(drop)
}

/// What new files do not get of their mode, from now on; what it was. A sandbox may refuse it, and then it stays.
pub fn umask(mask: libc::mode_t) -> libc::mode_t {
    // SAFETY: a number goes in, and one comes out.
    unsafe { libc::umask(mask) }
}

/// Makes a directory of this mode less the umask.
pub fn make_directory(path: &Path, mode: libc::mode_t) -> nix::Result<()> {
    on_path(libc::SYS_mkdirat, path, mode)
}

/// Removes an empty directory.
pub fn remove_directory(path: &Path) -> nix::Result<()> {
    on_path(libc::SYS_unlinkat, path, libc::AT_REMOVEDIR.cast_unsigned())
}

/// Removes a file.
pub fn remove_file(path: &Path) -> nix::Result<()> {
    on_path(libc::SYS_unlinkat, path, 0)
}

/// Gives a file another name, which it takes from whatever has it.
pub fn rename(from: &Path, to: &Path) -> nix::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    nix::fcntl::renameat(AT_FDCWD, from.as_c_str(), AT_FDCWD, to.as_c_str())
}

/// Whether our real user may do that: access(2).
pub fn access(path: &Path, mode: libc::c_int) -> nix::Result<()> {
    on_path(libc::SYS_faccessat, path, mode.cast_unsigned())
}

/// Gives a file to a user, the link itself if it is one.
pub fn give_away(path: &Path, uid: u32) -> nix::Result<()> {
    let path = c_path(path)?;
    // SAFETY: reads a string that lives here.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fchownat,
            libc::AT_FDCWD,
            path.as_ptr(),
            uid,
            NOBODY_ELSE,
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    number(result).map(drop)
}

/// Gives an open file to a user and a group; [`NOBODY_ELSE`] leaves one of them.
pub fn give(descriptor: BorrowedFd<'_>, uid: u32, gid: u32) -> nix::Result<()> {
    // SAFETY: plain call.
    number(unsafe { libc::syscall(libc::SYS_fchown, descriptor.as_raw_fd(), uid, gid) }).map(drop)
}

/// Sets the mode of an open file.
pub fn set_mode_of(descriptor: BorrowedFd<'_>, mode: libc::mode_t) -> nix::Result<()> {
    // SAFETY: plain call.
    number(unsafe { libc::syscall(libc::SYS_fchmod, descriptor.as_raw_fd(), mode) }).map(drop)
}

/// Where a symbolic link leads to; with an empty name the one that is open.
#[inline(never)]
pub fn target(folder: RawFd, name: &CStr) -> nix::Result<Vec<u8>> {
    let mut target: Vec<u8> = Vec::with_capacity(TARGET_MAX_BYTES);
    // SAFETY: the kernel writes no more than there is room for and says how much; so much is initialised.
    unsafe {
        let to = target.as_mut_ptr();
        let count = libc::syscall(libc::SYS_readlinkat, folder, name.as_ptr(), to, TARGET_MAX_BYTES);
        target.set_len(usize::try_from(Errno::result(count)?).unwrap_or(0));
    }
    Ok(target)
}

/// Our working directory.
pub fn directory() -> nix::Result<PathBuf> {
    let mut path: Vec<u8> = Vec::with_capacity(TARGET_MAX_BYTES);
    // SAFETY: the kernel writes no more than there is room for and says how much, with a zero at the end; so much is initialised.
    unsafe {
        let count = libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), TARGET_MAX_BYTES);
        path.set_len(usize::try_from(Errno::result(count)?).unwrap_or(0));
    }
    path.pop();
    // It says so where it cannot be reached.
    if path.starts_with(b"/") { Ok(OsString::from_vec(path).into()) } else { Err(Errno::ENOENT) }
}

/// The names in a directory, at most so many.
#[inline(never)]
pub fn names(directory: &Path, at_most: usize) -> nix::Result<Vec<OsString>> {
    let directory = open(directory, libc::O_DIRECTORY)?;
    let mut records = [0_u8; RECORDS_BYTES];
    let mut names = Vec::new();
    loop {
        // SAFETY: the kernel writes no more than there is room for.
        let count = unsafe {
            let to = records.as_mut_ptr();
            libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), to, RECORDS_BYTES)
        };
        let count = match Errno::result(count) {
            Ok(0) | Err(Errno::ENOENT) => return Ok(names), // the directory itself is gone
            other => usize::try_from(other?).unwrap_or(0),
        };
        let mut rest = records.get(..count).unwrap_or_default();
        while let Some((name, after)) = first_name(rest) {
            rest = after;
            if names.len() >= at_most {
                return Ok(names);
            }
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
    }
}

/// The name in the first of these records (getdents(2)), and the records after it.
fn first_name(records: &[u8]) -> Option<(&[u8], &[u8])> {
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let length = u16::from_ne_bytes(*records.get(LENGTH_AT..)?.first_chunk()?);
    let (record, after) = records.split_at_checked(length.into())?;
    let name = record.get(NAME_AT..)?.split(|byte| *byte == 0).next()?;
    Some((name, after))
}

/// Writes all of it.
pub fn write_all(descriptor: BorrowedFd<'_>, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(descriptor, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What an error says, without its number. The standard library would say it, too, and has a table of words for kinds of errors that no
/// call has here: 2 kB.
pub fn reason(error: &io::Error) -> String {
    match (error.raw_os_error(), error.get_ref()) {
        (Some(number), _) => word(number),
        (None, Some(refusal)) => refusal.to_string(),
        (None, None) => "it failed".to_owned(),
    }
}

/// The system's word for an error number, strerror(3).
#[inline(never)]
pub fn word(number: i32) -> String {
    let mut text = [0_u8; 128];
    // SAFETY: it writes into the text, at most as much as that has room for, with a NUL at the end.
    unsafe { libc::strerror_r(number, text.as_mut_ptr().cast(), text.len()) };
    let end = text.iter().position(|byte| *byte == 0).unwrap_or_default();
    String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned()
}

/// What we say ourselves where errors are the system's.
#[inline(never)]
pub fn refusal(text: &str) -> io::Error {
    io::Error::other(Refusal(text.to_owned()))
}

/// The text of an error. That of the standard library comes with code to show it in quotes.
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// How long we have worked so far.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// The soft and the hard limit of this process; none, if the system does not tell.
pub fn limit(resource: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit the call only writes the old one, which lives here.
    let result = unsafe { libc::prlimit(0, resource as _, std::ptr::null(), &raw mut limit) };
    (result == 0).then_some((limit.rlim_cur, limit.rlim_max))
}
