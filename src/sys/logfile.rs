//! The files that output goes to: opened with care, never waited for, rotated by rename between two lines, and opened again when
//! somebody has moved them. Lines that cannot be written are counted; what is wrong is told once, and that it is over.
//!
//! We are mostly root, and the folder of a file may belong to somebody else. So a symbolic link is never followed for the file itself, on
//! the way there only where root or we made it, and what is opened must be a plain file that nobody could have put there to
//! have us write into another. Files of secrets are read with the same care, but for links of ours, which are followed.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::sys::stat::{FileStat, Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, ftruncate, unlinkat, write};

use super::call::reason;
use super::call::{self, identity, is_ours, kind, open_at, refusal, status_of};
use crate::event::{Event, FileTrouble, LogFile, report};
use crate::gather::Gather;
use crate::search;
use crate::sorted::Map;

/// What does not work is tried again after this time, and whether somebody has moved a file is looked at no more often.
const AGAIN: Duration = Duration::from_secs(1);

/// So many symbolic links may be on the way to a file, as the kernel has it.
const LINKS_MAX: usize = 40;

/// All files.
#[derive(Debug, Default)]
pub struct LogFiles(Map<OsString, Entry>);

#[derive(Debug)]
struct Entry {
    file: Rc<LogFile>,
    state: State,
    /// Lines that could not be written since it was told that they can.
    lost: u64,
    told: Told,
}

/// What has been told to be wrong. Who was told that a file grows is told all the same that lines are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Told {
    Nothing,
    Grows,
    Lost,
}

#[derive(Debug)]
enum State {
    Open(Open),
    /// It did not work then.
    Broken {
        tried: Instant,
    },
}

#[derive(Debug)]
struct Open {
    descriptor: File,
    /// Which file it is, by device and inode.
    identity: (u64, u64),
    /// Its size.
    size: u64,
    /// Its last byte is no line end, and what comes next is the rest of that line.
    in_line: bool,
    /// When it was last seen that its path still leads to it.
    looked: Instant,
    /// When it could not be rotated.
    stuck: Option<Instant>,
}

impl LogFiles {
    /// Opens a file that is about to be used.
    pub fn prepare(&mut self, file: &Rc<LogFile>, events: &mut Vec<Event>) {
        if !self.0.contains_key(file.path.as_os_str()) {
            let _ = self.entry(file).open(events); // which tells why not
        }
    }

    /// Writes whole lines, or a piece of one.
    #[inline(never)]
    pub fn write(&mut self, file: &Rc<LogFile>, bytes: &[u8], events: &mut Vec<Event>) {
        self.prepare(file, events);
        let entry = self.entry(file);
        // Another configuration may have other limits.
        entry.file = Rc::clone(file);
        entry.look(events);
        entry.pour(bytes, events);
    }

    /// Closes all files and opens those that somebody still writes to.
    #[inline(never)]
    pub fn reopen(&mut self, events: &mut Vec<Event>) -> Vec<(PathBuf, Result<(), String>)> {
        // Whose service is gone, or writes elsewhere now, has nobody who knows it but us.
        self.0.retain(|_, entry| {
            let used = Rc::strong_count(&entry.file) > 1;
            if !used && entry.lost > 0 {
                let trouble = FileTrouble::Never { lines: entry.lost };
                report(events, Event::File { path: entry.file.path.clone(), trouble });
            }
            used
        });
        let each = |entry: &mut Entry| {
            let result = entry.open(events).map_err(|error| reason(&error));
            (entry.file.path.clone(), result)
        };
        self.0.values_mut().map(each).gather()
    }

    /// Where lines were lost since it was last told how many.
    pub fn lost(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.0.values().map(|entry| (&*entry.file.path, entry.lost)).filter(|(_, lost)| *lost > 0)
    }

    fn entry(&mut self, file: &Rc<LogFile>) -> &mut Entry {
        self.0.get_or_insert_with(file.path.clone().into_os_string(), || Entry {
            file: Rc::clone(file),
            state: State::Broken { tried: Instant::now() },
            lost: 0,
            told: Told::Nothing,
        })
    }
}

impl Entry {
    /// Opens it anew, and tells what changes with that.
    fn open(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let in_line = match &self.state {
            State::Open(open) if open.in_line => Some(open.identity),
            State::Open(_) | State::Broken { .. } => None,
        };
        let opened = Open::new(&self.file.path, in_line);
        match opened {
            Ok(open) => {
                self.state = State::Open(open);
                Ok(())
            }
            Err(error) => {
                self.breaks(&error, events);
                Err(error)
            }
        }
    }

    fn breaks(&mut self, error: &io::Error, events: &mut Vec<Event>) {
        self.state = State::Broken { tried: Instant::now() };
        let reason = reason(error);
        self.tell(Told::Lost, FileTrouble::Lost { reason }, events);
    }

    /// Tells once that something is wrong.
    fn tell(&mut self, what: Told, trouble: FileTrouble, events: &mut Vec<Event>) {
        if self.told < what {
            self.told = what;
            report(events, Event::File { path: self.file.path.clone(), trouble });
        }
    }

    /// It is written again, and perhaps still grows: tells it, if something else was said.
    fn works(&mut self, grows: bool, events: &mut Vec<Event>) {
        if self.told > if grows { Told::Grows } else { Told::Nothing } {
            self.told = Told::Nothing;
            let lines = std::mem::take(&mut self.lost);
            report(
                events,
                Event::File { path: self.file.path.clone(), trouble: FileTrouble::Over { lines } },
            );
        }
    }

    /// Looks whether it is still the file that is meant, and tries again what did not work.
    fn look(&mut self, events: &mut Vec<Event>) {
        let again = match &mut self.state {
            State::Broken { tried } => tried.elapsed() >= AGAIN,
            State::Open(open) => open.has_moved(&self.file.path),
        };
        if again {
            let _ = self.open(events); // which has told why not
        }
    }

    #[inline(never)]
    fn pour(&mut self, mut rest: &[u8], events: &mut Vec<Event>) {
        while !rest.is_empty() {
            let State::Open(open) = &mut self.state else { break };
            let mut part = open.fitting(rest, self.file.max_size);
            if part == 0 {
                match open.rotate(&self.file) {
                    Ok(fresh) => {
                        *open = fresh;
                        continue;
                    }
                    Err(error) => {
                        open.stuck = Some(Instant::now());
                        part = rest.len();
                        let reason = reason(&error);
                        self.tell(Told::Grows, FileTrouble::Grows { reason }, events);
                    }
                }
            }
            let State::Open(open) = &mut self.state else { break };
            let (now, later) = rest.split_at(part.min(rest.len()));
            let grows = open.stuck.is_some();
            match open.append(now) {
                Ok(()) => {
                    rest = later;
                    self.works(grows, events);
                }
                Err((written, error)) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.breaks(&error, events);
                }
            }
        }
        self.lost = self.lost.saturating_add(search::line_ends(rest) as u64);
    }
}

impl Open {
    /// The file of which only a piece of the last line was written, if it is that one, still gets the rest.
    fn new(path: &Path, in_line: Option<(u64, u64)>) -> io::Result<Self> {
        let (folder, name) = folder_of(path, true, None)?;
        Self::in_folder(folder.as_fd(), &name, 0, in_line)
    }

    fn in_folder(
        folder: BorrowedFd<'_>,
        name: &CStr,
        flags: libc::c_int,
        in_line: Option<(u64, u64)>,
    ) -> io::Result<Self> {
        // A device is not even opened.
        if let Ok(there) = there(folder, name) {
            check(folder, &there)?;
        }
        let flags = flags
            | libc::O_RDWR // to see how it ends
            | libc::O_APPEND
            | libc::O_CREAT
            | libc::O_NOFOLLOW
            | libc::O_NONBLOCK
            | libc::O_NOCTTY;
        let descriptor = File::from(open_at(folder.as_raw_fd(), name, flags, 0o666)?);
        let stat = status_of(descriptor.as_fd())?;
        check(folder, &stat)?;
        let mut open = Self {
            descriptor,
            identity: identity(&stat),
            size: size(&stat),
            in_line: in_line == Some(identity(&stat)),
            looked: Instant::now(),
            stuck: None,
        };
        let mut last = [b'\n'];
        if !open.in_line
            && let Some(at) = open.size.checked_sub(1)
            && open.descriptor.read_at(&mut last, at)? == 1
            && last != *b"\n"
        {
            // Whoever wrote that will not end it any more.
            open.append(b"\n").map_err(|(_, error)| error)?;
        }
        Ok(open)
    }

    /// Whether the path leads elsewhere by now, or the file has no name any more. Somebody else may also have emptied it.
    fn has_moved(&mut self, path: &Path) -> bool {
        let Ok(stat) = status_of(self.descriptor.as_fd()) else { return true };
        self.size = size(&stat);
        if stat.st_nlink == 0 {
            return true;
        }
        if self.looked.elapsed() < AGAIN {
            return false;
        }
        self.looked = Instant::now();
        call::status_of_link(path).map_or(true, |there| identity(&there) != self.identity)
    }

    /// How many of these bytes may be written before it has to be rotated. A line is never cut.
    fn fitting(&self, bytes: &[u8], max_size: Option<u64>) -> usize {
        let room = max_size.map(|max| usize::try_from(max.saturating_sub(self.size)).unwrap_or(usize::MAX));
        let Some(room) = room.filter(|room| *room < bytes.len()) else { return bytes.len() };
        if self.stuck.is_some_and(|since| since.elapsed() < AGAIN) {
            return bytes.len();
        }
        let first = || search::first(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        match search::last(b'\n', bytes.get(..room).unwrap_or_default()) {
            Some(end) => end + 1,
            // The rest of a line, or one that is larger than any file may be.
            None if self.in_line || self.size == 0 => first(),
            None => 0,
        }
    }

    /// Writes it all, or says how much of it was written in whole lines.
    fn append(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match write(&self.descriptor, rest) {
                Ok(0) => return Err((self.take_back(bytes, done), Errno::EIO.into())),
                Ok(count) => done += count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err((self.take_back(bytes, done), errno.into())),
            }
        }
        self.size += done as u64;
        self.in_line = bytes.last().is_some_and(|last| *last != b'\n');
        Ok(())
    }

    /// Takes the beginning of a line out of the file again of which the rest could not be written, unless somebody has written after
    /// it. What was written in whole lines stays.
    fn take_back(&mut self, bytes: &[u8], done: usize) -> usize {
        let whole = bytes.get(..done).and_then(|bytes| search::last(b'\n', bytes)).map_or(0, |end| end + 1);
        let (before, after) = (self.size + whole as u64, self.size + done as u64);
        let ours = status_of(self.descriptor.as_fd()).is_ok_and(|stat| size(&stat) == after);
        if let (true, true, Ok(before)) = (ours, whole < done, libc::off_t::try_from(before)) {
            let _ = ftruncate(&self.descriptor, before); // else it is ended when the file is opened again
        }
        whole
    }

    /// Makes this one the first of the older ones and returns a new one. A new one is there before anything is renamed, so that nothing is lost
    /// if it cannot be made.
    #[inline(never)]
    fn rotate(&self, file: &LogFile) -> io::Result<Self> {
        let (folder, name) = folder_of(&file.path, false, None)?;
        let (folder, name) = (folder.as_fd(), name.as_c_str());
        if !there(folder, name).is_ok_and(|there| identity(&there) == self.identity) {
            // Somebody else has done it.
            return Self::in_folder(folder, name, 0, None);
        }
        let with = |before: &str, after: &str| {
            let full = [before.as_bytes(), name.to_bytes(), after.as_bytes()].concat();
            CString::new(full).unwrap_or_default() // there is no NUL in it
        };
        let fresh_name = with(".", ".new");
        let _ = unlinkat(folder, fresh_name.as_c_str(), UnlinkatFlags::NoRemoveDir); // of one who died in between
        let fresh = Self::in_folder(folder, &fresh_name, libc::O_EXCL, None)?;
        let older = |number: u32| with("", &format!(".{number}"));
        let renamed = self.hand_down(&fresh).and_then(|()| {
            let is_there = |number: &u32| there(folder, &older(*number)).is_ok();
            let gap = (1..file.max_files).find(|number| !is_there(number)).unwrap_or(file.max_files);
            for number in (1..gap).rev() {
                renameat(folder, older(number).as_c_str(), folder, older(number + 1).as_c_str())?;
            }
            renameat(folder, name, folder, older(1).as_c_str())?;
            renameat(folder, fresh_name.as_c_str(), folder, name)
        });
        match renamed {
            Ok(()) => Ok(fresh),
            Err(errno) => {
                let _ = unlinkat(folder, fresh_name.as_c_str(), UnlinkatFlags::NoRemoveDir);
                Err(errno.into())
            }
        }
    }

    /// Gives a new file the mode and the owner of this one.
    fn hand_down(&self, fresh: &Self) -> nix::Result<()> {
        let new = fresh.descriptor.as_fd();
        let (old, own) = (status_of(self.descriptor.as_fd())?, status_of(new)?);
        // Neither set-user-ID nor its like: what is written into it is not ours.
        let mut mode = old.st_mode & 0o777;
        if (old.st_uid, old.st_gid) != (own.st_uid, own.st_gid)
            && call::give(new, old.st_uid, old.st_gid).is_err()
        {
            // Where we may not, it is ours, and nobody else's to write.
            mode &= 0o755;
        }
        call::set_mode_of(new, mode)
    }
}

/// What a name in a folder is itself.
fn there(folder: BorrowedFd<'_>, name: &CStr) -> nix::Result<FileStat> {
    call::status_at(folder.as_raw_fd(), name, libc::AT_SYMLINK_NOFOLLOW)
}

fn size(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Whether a file may be written to that is in that folder.
fn check(folder: BorrowedFd<'_>, file: &FileStat) -> io::Result<()> {
    match kind(file) {
        libc::S_IFREG => {}
        libc::S_IFLNK => {
            return Err(refusal("it is a symbolic link, which is not followed for a file of output"));
        }
        _ => return Err(refusal("it is not a plain file")),
    }
    let folder = status_of(folder)?;
    let others_write = !is_ours(&folder) || folder.st_mode & 0o022 != 0;
    if others_write && file.st_nlink > 1 {
        return Err(refusal("it has more than one name (hard links), and others may write to its folder"));
    }
    if others_write && !is_ours(file) && file.st_uid != folder.st_uid {
        let text = format!("it belongs to user {}, and others may write to its folder", file.st_uid);
        return Err(refusal(&text));
    }
    Ok(())
}

/// Opens a file for reading, as root perhaps, that others may have put there: none but theirs is read in its place. A link is followed if
/// it is ours, as those of Kubernetes, or leads to a file of the one who has made it. Never waits.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let mut path = path.to_owned();
    let mut strangers = Vec::new();
    for _ in 0..LINKS_MAX {
        let (folder, name) = folder_of(&path, false, Some(&mut strangers))?;
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        match open_at(folder.as_raw_fd(), &name, flags, 0) {
            Ok(file) => {
                let found = status_of(file.as_fd())?;
                match kind(&found) {
                    libc::S_IFDIR => return Err(Errno::EISDIR.into()),
                    libc::S_IFREG => check(folder.as_fd(), &found)?,
                    _ => return Err(refusal("it is not a file")),
                }
                if let Some(other) = strangers.iter().find(|other| **other != found.st_uid) {
                    return Err(not_followed(*other));
                }
                return Ok(file.into());
            }
            Err(errno) => {
                let target = follow(folder.as_fd(), &name, errno, Some(&mut strangers))?;
                path.pop();
                path.push(target);
            }
        }
    }
    Err(Errno::ELOOP.into())
}

fn not_followed(owner: u32) -> io::Error {
    refusal(&format!("a symbolic link of user {owner} on the way there is not followed"))
}

/// Where a link leads that was met instead of something else. The link itself is opened, so that what is read is what was looked at: by
/// its name somebody could exchange it. Those of `strangers` are followed only where it is noted whose they are.
fn follow(
    folder: BorrowedFd<'_>,
    name: &CStr,
    errno: Errno,
    strangers: Option<&mut Vec<u32>>,
) -> io::Result<PathBuf> {
    if !matches!(errno, Errno::ELOOP | Errno::ENOTDIR) {
        return Err(errno.into());
    }
    let link = open_at(folder.as_raw_fd(), name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let seen = status_of(link.as_fd())?;
    if kind(&seen) != libc::S_IFLNK {
        return Err(errno.into());
    }
    if !is_ours(&seen) {
        strangers.ok_or_else(|| not_followed(seen.st_uid))?.push(seen.st_uid);
    }
    Ok(OsString::from_vec(call::target(link.as_raw_fd(), c"")?).into())
}

/// The folder of a file, and the file's name there. What is missing on the way is made, if it is wanted.
fn folder_of(
    path: &Path,
    make: bool,
    mut strangers: Option<&mut Vec<u32>>,
) -> io::Result<(OwnedFd, CString)> {
    let name = path.file_name().ok_or_else(|| refusal("it has no name"))?;
    let name = CString::new(name.as_bytes())?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let open = |at: BorrowedFd<'_>, name: &CStr| open_at(at.as_raw_fd(), name, flags, 0);
    let start = |path: &Path| {
        let start = if path.is_absolute() { c"/" } else { c"." };
        open_at(libc::AT_FDCWD, start, flags, 0)
    };
    let mut here = start(folder)?;
    // The next is the last.
    let mut ahead = Vec::new();
    add_steps(&mut ahead, folder)?;
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        let found = match open(here.as_fd(), &step) {
            Err(Errno::ENOENT) if make => {
                match mkdirat(&here, step.as_c_str(), Mode::from_bits_truncate(0o777)) {
                    Ok(()) | Err(Errno::EEXIST) => open(here.as_fd(), &step),
                    Err(errno) => Err(errno),
                }
            }
            found => found,
        };
        match found {
            Ok(next) => here = next,
            Err(errno) => {
                let target = follow(here.as_fd(), &step, errno, strangers.as_deref_mut())?;
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::ELOOP.into());
                }
                if target.is_absolute() {
                    here = start(&target)?;
                }
                add_steps(&mut ahead, &target)?;
            }
        }
    }
    Ok((here, name))
}

/// Puts what leads along a path behind what comes after it.
fn add_steps(ahead: &mut Vec<CString>, path: &Path) -> io::Result<()> {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => ahead.push(CString::new(name.as_bytes())?),
            Component::ParentDir => ahead.push(c"..".to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(())
}
