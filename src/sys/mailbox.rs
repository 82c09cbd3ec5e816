//! The socket of one run for what it says (sd_notify(3)), where only its own user can reach it as far as that is possible, and what
//! comes in there. A file in a directory of ours: names without a file are open to everybody who shares the network. Whether a
//! sender may be believed is decided by `voices`.

#![expect(
    unsafe_code,
    reason = "recvmsg with credentials and descriptors, which the standard library does not have yet, and flock"
)]

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::geteuid;

use super::call::reason;
use super::socket::{self, Kind};
use super::{call, descriptors, word};
use crate::event::{Child, StartError};
use crate::gather::Joined;
use crate::notify::MESSAGE_MAX;

/// Where a directory of ours may be, the best first. The second is there also where nothing else can be written.
const BASES: [&str; 3] = ["/run", "/dev/shm", "/tmp"];

/// So many names are tried in one of them: a neighbour that shares it, or whoever died there and left something that is not ours.
const NAMES_MAX: u32 = 256;

/// So much that was left there is removed; more than a container has services.
const LEFT_MAX: usize = 100_000;

/// The most descriptors that a message can have (SCM_MAX_FD).
const DESCRIPTORS_MAX: usize = 253;

/// Everybody may pass through it, nobody but us may list or change it.
const DIRECTORY_MODE: u32 = 0o711;

/// What is taken from the mode of a socket: it is for its owner alone, or for whoever is there.
const NOT_FOR_OTHERS: libc::mode_t = 0o177;
const FOR_ALL: libc::mode_t = 0o111;

/// So many places are held on to when one after the other is cleared away or filled.
const PLACES_MAX: usize = 8;

/// Makes the sockets, all in one place as long as that goes.
#[derive(Debug, Default)]
pub struct Post {
    /// Those that are ours, the one in use last. Of the earlier ones the locks are kept: a neighbour would take the place of one that
    /// is not locked, and remove the sockets of runs that still speak.
    places: Vec<Place>,
}

impl Post {
    /// A socket for a run of this user; `None`: our own. Nobody else can reach it, besides those whom no file mode stops. But where the
    /// run begins as root it is open to all, since many servers become somebody else before they say that they are ready; and where
    /// we may not give files away.
    #[inline(never)]
    pub fn open(&mut self, child: Child, uid: Option<u32>) -> Result<Mailbox, Box<StartError>> {
        let name = format!("{}.{}", child.instance.0, child.run);
        let own = geteuid().as_raw();
        let uid = uid.unwrap_or(own);
        if uid != 0 {
            let mailbox = self.bind(&name, NOT_FOR_OTHERS)?;
            if uid == own || call::give_away(&mailbox.path, uid).is_ok() {
                return Ok(mailbox);
            }
        }
        // No mode is changed later: by then somebody else's file could be there.
        self.bind(&name, FOR_ALL)
    }

    /// Adds the descriptors that are in use.
    pub fn held(&self, held: &mut Vec<RawFd>) {
        for place in &self.places {
            held.push(place.lock.as_raw_fd());
        }
    }

    fn bind(&mut self, name: &str, without: libc::mode_t) -> Result<Mailbox, Box<StartError>> {
        self.bind_in(&BASES.map(Path::new), name, without)
    }

    #[inline(never)]
    fn bind_in(
        &mut self,
        bases: &[&Path],
        name: &str,
        without: libc::mode_t,
    ) -> Result<Mailbox, Box<StartError>> {
        // Somebody may have cleared the place away, or filled it; for a while only, perhaps.
        if let Some(mailbox) = self.places.iter().rev().find_map(|place| place.bind(name, without).ok()) {
            return Ok(mailbox);
        }
        let mut reasons = Vec::new();
        for base in bases {
            match Place::take(base).and_then(|place| Ok((place.bind(name, without)?, place))) {
                Ok((mailbox, place)) => {
                    if self.places.len() >= PLACES_MAX {
                        self.places.remove(0);
                    }
                    self.places.push(place);
                    return Ok(mailbox);
                }
                Err(error) => reasons.push(format!("{}: {}", base.display(), reason(&error))),
            }
        }
        Err(StartError::Other {
            what: "make a socket for its notifications".to_owned(),
            reason: format!("{}; a tmpfs at /run would do", reasons.listed()),
        }
        .into())
    }
}

/// A directory that is ours as long as we live: we hold a lock on it.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    lock: File,
}

impl Place {
    #[inline(never)]
    fn take(base: &Path) -> io::Result<Self> {
        let found = call::status(base)?;
        let (writable_for_others, sticky) = (found.st_mode & 0o022 != 0, found.st_mode & 0o1000 != 0);
        if !call::is_ours(&found) || (writable_for_others && !sticky) {
            return Err(call::refusal("others may replace what is in it"));
        }
        for number in 0..NAMES_MAX {
            let path = base.join(format!("tinysup-notify-{number}"));
            let new = descriptors::make_directory(&path, 0o700)?;
            match lock(&path) {
                Ok(Some(lock)) => {
                    call::set_mode_of(lock.as_fd(), DIRECTORY_MODE)?;
                    remove_sockets(&path);
                    return Ok(Self { path, lock });
                }
                Ok(None) => {}
                // Then it would be no better under any name.
                Err(errno) if new => {
                    let _ = call::remove_directory(&path);
                    return Err(errno.into());
                }
                // Somebody else's, or something else.
                Err(_) => {}
            }
        }
        Err(call::refusal(&format!("{NAMES_MAX} others are there already")))
    }

    fn bind(&self, name: &str, without: libc::mode_t) -> io::Result<Mailbox> {
        let path = self.path.join(name);
        // Its mode from the first moment on.
        let before = call::umask(without);
        let bound = socket::Address::file(path.as_os_str()).and_then(|address| address.bind(Kind::Datagrams));
        call::umask(before);
        let mailbox = Mailbox { socket: bound?, path };
        socket::pass_credentials(&mailbox.socket)?;
        Ok(mailbox)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not if somebody's socket is in it.
        let _ = call::remove_directory(&self.path);
    }
}

/// Locks a directory that belongs to us alone; `None` if it does not, or if another holds the lock. The lock goes with its holder,
/// however he ends, so a container that is started again gets the place it had.
///
/// # Errors
/// When it cannot be opened or locked.
fn lock(path: &Path) -> nix::Result<Option<File>> {
    let directory = call::open(path, libc::O_DIRECTORY | libc::O_NOFOLLOW)?;
    let found = call::status_of(directory.as_fd())?;
    if found.st_uid != geteuid().as_raw() || found.st_mode & 0o022 != 0 {
        return Ok(None);
    }
    // SAFETY: plain call.
    match Errno::result(unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => {}
        Err(Errno::EWOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    Ok(is_still(call::status_of_link(path), &found)?.then_some(directory))
}

/// Whether what was found is what is there: the holder before us may have removed it.
fn is_still(there: nix::Result<FileStat>, found: &FileStat) -> nix::Result<bool> {
    match there {
        Ok(there) => Ok(call::identity(&there) == call::identity(found)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What an end without goodbye left.
#[inline(never)]
fn remove_sockets(directory: &Path) {
    for name in call::names(directory, LEFT_MAX).unwrap_or_default() {
        let left = directory.join(name);
        if call::status_of_link(&left).is_ok_and(|there| call::kind(&there) == libc::S_IFSOCK) {
            let _ = call::remove_file(&left);
        }
    }
}

/// The socket of one run.
#[derive(Debug)]
pub struct Mailbox {
    socket: OwnedFd,
    path: PathBuf,
}

/// What came.
#[derive(Debug)]
pub struct Letter {
    /// The sender's pid in our namespace; 0 if it has none there.
    pub sender: i32,
    /// The user that it was, or said that it is: its real, effective or saved one, or whatever it likes if it is root.
    pub uid: u32,
    /// The message; `None` if it was longer than any may be.
    pub bytes: Option<Vec<u8>>,
    /// What was attached.
    pub descriptors: Vec<OwnedFd>,
}

impl Mailbox {
    /// Its address.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes no more in. What is there already can still be read.
    pub fn shut(&self) {
        socket::shut(self.socket.as_fd(), libc::SHUT_RD);
    }

    /// The next message; `None` if there is none now.
    pub fn receive(&self) -> Option<Letter> {
        loop {
            match receive(self.socket.as_fd()) {
                Ok(letter) => return Some(letter),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(errno) => {
                    say!(Debug, "cannot read from {}: {}", self.path.display(), word(errno));
                    return None;
                }
            }
        }
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = call::remove_file(&self.path);
    }
}

/// Control messages as large as they can be: the sender's credentials and all its descriptors (cmsg(3)).
const CONTROL_BYTES: usize = 64 + DESCRIPTORS_MAX * size_of::<i32>();

#[repr(C, align(16))]
struct Control([u8; CONTROL_BYTES]);

#[inline(never)]
fn receive(socket: BorrowedFd<'_>) -> nix::Result<Letter> {
    let mut bytes = vec![0; MESSAGE_MAX + 1];
    let mut control = Control([0; CONTROL_BYTES]);
    let mut letter = Letter { sender: 0, uid: u32::MAX, bytes: None, descriptors: Vec::new() };
    let mut parts = [IoSliceMut::new(&mut bytes)];
    // SAFETY: all zeroes is a msghdr. The parts are laid out as iovec, which the standard library promises; both buffers live until
    // the end, and the kernel writes no more than their sizes say. The macros stay inside of what it has written, and so does
    // `number`: both payloads are made of 32-bit numbers, the first of the credentials being the pid, the second the user. Each descriptor is new and
    // nobody else's.
    let count = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = parts.as_mut_ptr().cast();
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // Past the C library, which only clears what is zero here.
        let count =
            Errno::result(libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), &raw mut message, flags))?;
        let mut at = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(header) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            let number = |index: usize| i32::from_ne_bytes(*data.cast::<[u8; 4]>().add(index));
            let whole = usize::try_from(header.cmsg_len as u64).unwrap_or(0); // not of the same type in all C libraries
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    (letter.sender, letter.uid) = (number(0), number(1).cast_unsigned());
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let numbers =
                        whole.saturating_sub(data.offset_from_unsigned(at.cast())) / size_of::<i32>();
                    letter.descriptors.extend((0..numbers).map(|index| OwnedFd::from_raw_fd(number(index))));
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(&raw const message, at);
        }
        usize::try_from(count).unwrap_or(0)
    };
    if count <= MESSAGE_MAX {
        bytes.truncate(count);
        letter.bytes = Some(bytes);
    }
    Ok(letter)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Else each name would be tried, and a folder left for each.
    #[test]
    fn a_folder_that_cannot_be_looked_at_is_not_one_that_was_removed() {
        let [here, other] = ["/", "/proc"].map(|path| call::status(Path::new(path)).unwrap());
        assert_eq!(is_still(Ok(here), &here), Ok(true));
        assert_eq!(is_still(Ok(other), &here), Ok(false));
        assert_eq!(is_still(Err(Errno::ENOENT), &here), Ok(false));
        assert_eq!(is_still(Err(Errno::EACCES), &here), Err(Errno::EACCES));
    }

    #[test]
    fn a_place_that_fails_for_a_while_is_not_given_up() {
        let base = std::env::temp_dir().join(format!("tinysup-mailbox-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let mut post = Post::default();
        let first = post.bind_in(&[&base], "0.1", FOR_ALL).unwrap();
        assert!(first.path().starts_with(base.join("tinysup-notify-0")));
        // Something is in the way there, as a full disk would be.
        fs::create_dir(base.join("tinysup-notify-0/1.1")).unwrap();
        let second = post.bind_in(&[&base], "1.1", FOR_ALL).unwrap();
        assert!(second.path().starts_with(base.join("tinysup-notify-1")));
        // The first run still speaks, so its place is nobody else's.
        let neighbour = Place::take(&base).unwrap();
        assert_eq!(neighbour.path, base.join("tinysup-notify-2"));
        assert!(first.path().exists());
        drop((first, second, neighbour, post));
        fs::remove_dir_all(&base).unwrap();
    }
}
