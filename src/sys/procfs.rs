//! What /proc says about processes. Every answer may be missing: no /proc, hidden processes, processes that end meanwhile.

#![expect(
    unsafe_code,
    reason = "the identity for file access, which is set per thread by calls that nix does not have"
)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;

use super::{call, caps, descriptors};
use crate::event::{Pid, Process};
use crate::gather::Gather;
use crate::line;
use crate::units::{is, parse_number, parse_signed};

/// The kernel's flag for a process that has not executed anything since it was forked.
const PF_FORKNOEXEC: u64 = 0x40;

/// The kernel's flag for a process that ends, or has ended; it comes before its files are closed.
const PF_EXITING: u64 = 0x4;

/// The kernel's flag for its own threads.
const PF_KTHREAD: u64 = 0x20_0000;

/// No more than this is read of one file about a process: the largest are environments.
pub const FILE_MAX_BYTES: usize = 2 << 20;

/// The most of a name that is shown.
const NAME_MAX_BYTES: usize = 64;

/// The fields of /proc/PID/stat that we need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its pid.
    pub pid: Pid,
    /// The program's name, at most 15 bytes.
    pub name: Vec<u8>,
    /// One letter.
    pub state: u8,
    /// Its parent; 0 for one outside of this PID namespace.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// The kernel's flags.
    pub flags: u64,
    /// How many threads it has.
    pub threads: u64,
    /// When it started, in clock ticks since boot: tells two bearers of one pid apart.
    pub start: u64,
    /// CPU time so far in clock ticks, that of collected children among it.
    pub ticks: u64,
    /// Pages of memory that are there.
    pub pages: u64,
}

impl Stat {
    /// Reads it; `None` if there is no such process or no /proc.
    pub fn of(pid: Pid) -> Option<Self> {
        Self::parse(&read(pid, "stat")?)
    }

    /// Reads the text: the name is in parentheses and may itself hold anything.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let name = text.get(open + 1..close)?.to_vec();
        let pid = str::from_utf8(text.get(..open)?).ok()?.trim();
        let fields: Vec<&str> =
            str::from_utf8(text.get(close + 1..)?).ok()?.split_ascii_whitespace().gather();
        // proc_pid_stat(5) counts from 1, and the state is its third.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            pid: Pid::new(parse_number(pid)?)?,
            name,
            state: *field(3)?.as_bytes().first()?,
            parent: parse_number(field(4)?)?,
            group: signed(field(5)?)?,
            session: signed(field(6)?)?,
            flags: parse_number(field(9)?)?,
            threads: parse_number(field(20)?)?,
            start: parse_number(field(22)?)?,
            ticks: (14..=17).filter_map(|number| parse_number(field(number)?)).fold(0, u64::saturating_add),
            pages: field(24).and_then(parse_number).unwrap_or(0),
        })
    }

    /// Whether this very process lives still.
    pub fn lives(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.start == self.start && !now.ended())
    }

    /// Whether it has ended and only waits to be collected. A process whose first thread alone has ended looks alike,
    /// except for the threads it still has.
    pub fn ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }

    /// Whether it is part of the kernel.
    pub fn kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }

    /// The process as people know it: the first word of its command line, or its title where it set one. Without `look`
    /// only what the kernel calls it.
    pub fn process(&self, look: bool) -> Process {
        let line = if look { read(self.pid, "cmdline").unwrap_or_default() } else { Vec::new() };
        Process { pid: self.pid, name: show_name(&line).unwrap_or_else(|| printable(&self.name)) }
    }
}

/// -1 where the process is just being collected.
#[inline(never)]
fn signed(number: &str) -> Option<i32> {
    parse_signed(number)
}

/// The first string of a command line, without the directory of a path.
pub fn show_name(line: &[u8]) -> Option<String> {
    let first = line.split(|byte| *byte == 0).next().filter(|first| !first.is_empty())?;
    if !first.starts_with(b"/") {
        return Some(printable(first));
    }
    let path = first.split(|byte| *byte == b' ').next()?;
    path.rsplit(|byte| *byte == b'/').next().filter(|base| !base.is_empty()).map(printable)
}

fn printable(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name.get(..NAME_MAX_BYTES).unwrap_or(name));
    let mut shown = line::printable(&name, '?', NAME_MAX_BYTES);
    while shown.len() > NAME_MAX_BYTES {
        shown.pop(); // replaced bytes have grown
    }
    shown
}

/// Our own pid.
pub fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Whether there is a /proc, and it numbers processes as we do.
pub fn available() -> bool {
    call::target(libc::AT_FDCWD, c"/proc/self").is_ok_and(|own| own == own_pid().to_string().as_bytes())
}

/// Whether what is at this path tells of somebody else: below a /proc that was left over from another PID namespace each number is
/// another process's, those of our children mostly the kernel's own threads'. That stays as it was found first.
#[inline(never)]
fn is_of_others(path: &str) -> bool {
    const OURS: u8 = 1;
    const OTHERS: u8 = 2;
    static WHOSE: AtomicU8 = AtomicU8::new(0);
    if !path.starts_with("/proc") || path.starts_with("/proc/self/") {
        return false;
    }
    if WHOSE.load(Ordering::Relaxed) == 0 {
        let whose = if available() {
            OURS
        } else if call::status(Path::new("/proc/1")).is_ok() {
            say!(Debug, "/proc is that of another PID namespace, and not looked at");
            OTHERS
        } else {
            return false;
        };
        WHOSE.store(whose, Ordering::Relaxed);
    }
    WHOSE.load(Ordering::Relaxed) == OTHERS
}

/// Whether a process ended as a copy of us, or is about to. Not known: no. One that lives may be on its way into its program, with what
/// closes on exec closed already: newer kernels (seen with 6.12.117 and 7.2) do that first.
pub fn never_executed(pid: Pid) -> bool {
    const BOTH: u64 = PF_FORKNOEXEC | PF_EXITING;
    Stat::of(pid).is_some_and(|stat| stat.flags & BOTH == BOTH)
}

/// One file about a process, cut where it is very long.
pub fn read(pid: Pid, file: &str) -> Option<Vec<u8>> {
    try_read(pid, file, FILE_MAX_BYTES).ok()
}

/// At most so many bytes of a file that is for the process's own user only.
pub fn read_private(pid: Pid, file: &str, at_most: usize) -> Option<Vec<u8>> {
    match try_read(pid, file, at_most) {
        Err(error) if is(&error, &[libc::EPERM, libc::EACCES]) => {
            as_owner_of(pid, || try_read(pid, file, at_most).ok())?
        }
        other => other.ok(),
    }
}

fn try_read(pid: Pid, file: &str, at_most: usize) -> io::Result<Vec<u8>> {
    descriptors::contents(&open(&format!("/proc/{pid}/{file}"))?, at_most)
}

fn open(path: &str) -> nix::Result<File> {
    if is_of_others(path) {
        return Err(Errno::ENOENT);
    }
    call::open(Path::new(path), libc::O_RDONLY)
}

fn read_whole(path: &str) -> io::Result<Vec<u8>> {
    descriptors::contents(&open(path)?, FILE_MAX_BYTES)
}

/// All of a short text.
pub fn text(path: &str) -> Option<String> {
    String::from_utf8(read_whole(path).ok()?).ok()
}

/// All processes that we can see; none without /proc.
pub fn all() -> Vec<Pid> {
    numbers("/proc", usize::MAX).unwrap_or_default().into_iter().filter_map(Pid::new).gather()
}

/// The names in a directory that are numbers, such as those of processes, threads or descriptors, among so many names.
pub fn numbers(directory: &str, at_most: usize) -> io::Result<Vec<i32>> {
    if is_of_others(directory) {
        return Err(Errno::ENOENT.into());
    }
    let names = call::names(Path::new(directory), at_most)?;
    Ok(names.iter().filter_map(|name| parse_number(name.to_str()?)).gather())
}

/// Our children, ended ones included; `None` where /proc is not [`available`]. Reliable because only we can take one off the list, and
/// we are reading.
pub fn own_children() -> Option<Vec<Pid>> {
    // It lies below our own number, so where it is found /proc numbers as we do.
    match read_whole(&own_list()) {
        Ok(list) => Some(whole_numbers(&list)),
        Err(_) if !available() => None,
        Err(_) => {
            let own = own_pid();
            let ours = all().into_iter().filter_map(Stat::of).filter(|stat| stat.parent == own);
            Some(ours.map(|stat| stat.pid).gather())
        }
    }
}

/// Calls back with the number of each of our children, for the end: without memory where the kernel has a list of them.
pub fn each_child(act: &mut dyn FnMut(i32)) {
    let Ok(list) = open("/proc/thread-self/children") else {
        own_children().unwrap_or_default().iter().for_each(|child| act(child.number()));
        return;
    };
    let (mut piece, mut number) = ([0; 512], 0_i32);
    while let Ok(count @ 1..) = nix::unistd::read(&list, &mut piece) {
        for byte in piece.get(..count).unwrap_or_default() {
            if byte.is_ascii_digit() {
                number = number.saturating_mul(10).saturating_add(i32::from(byte & 15));
                continue;
            }
            // Each ends with a space.
            if number > 1 {
                act(number);
            }
            number = 0;
        }
    }
}

/// Each ends with a space; one that was cut would be another process.
fn whole_numbers(list: &[u8]) -> Vec<Pid> {
    let end = list.iter().rposition(|byte| *byte == b' ').unwrap_or(0);
    pids(&String::from_utf8_lossy(list.get(..end).unwrap_or_default()))
}

fn own_list() -> String {
    format!("/proc/self/task/{}/children", own_pid())
}

/// Whether the kernel was built with lists of children (CONFIG_PROC_CHILDREN).
pub fn has_lists_of_children() -> bool {
    call::status(Path::new(&own_list())).is_ok()
}

/// The children of a process, of all its threads; some may be missing while it makes or loses any.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    for thread in numbers(&format!("/proc/{pid}/task"), usize::MAX).unwrap_or_default() {
        let list = read_whole(&format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
        children.append(&mut whole_numbers(&list));
    }
    children
}

/// The numbers in a list of children.
pub fn pids(list: &str) -> Vec<Pid> {
    list.split_ascii_whitespace().filter_map(|number| Pid::new(parse_number(number)?)).gather()
}

/// Does something with the file access of a process's user and group: what a process shows of itself is for its user alone, and
/// without CAP_SYS_PTRACE, which no container has, not for root either. `None`: that identity cannot be had.
pub fn as_owner_of<T>(pid: Pid, work: impl FnOnce() -> T) -> Option<T> {
    let owner = call::status(Path::new(&format!("/proc/{pid}"))).ok()?;
    let owner = (owner.st_uid, owner.st_gid);
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    if owner == (uid, gid) {
        return None;
    }
    // The kernel takes a change of identity for a reason to hide us from debuggers; it is none here.
    let dumpable = caps::prctl(libc::PR_GET_DUMPABLE, 0, 0).unwrap_or(0);
    set_file_access(owner.0, owner.1);
    let result = (file_access() == owner).then(work);
    set_file_access(uid, gid);
    if file_access() != (uid, gid) {
        say!(Error, "file access stays with user {}", owner.0);
    }
    let _ = caps::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable == 1), 0);
    result
}

/// Both calls need privileges that a change of this kind does not touch, so the order does not matter.
fn set_file_access(uid: u32, gid: u32) {
    // SAFETY: plain calls that concern this thread only, and there is no other.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

fn file_access() -> (u32, u32) {
    const NOBODY: u32 = u32::MAX; // refused, so that the call only tells
    // SAFETY: as above; nothing is changed.
    let (uid, gid) = unsafe { (libc::setfsuid(NOBODY), libc::setfsgid(NOBODY)) };
    (uid.cast_unsigned(), gid.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let rest = " S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 12345 1000 200 18446744073709551615";
        for name in ["cat", "a b", "x) R 1 (", "", "(("] {
            let stat = Stat::parse(format!("42 ({name}){rest}\n").as_bytes()).unwrap();
            assert_eq!(
                stat,
                Stat {
                    pid: Pid::new(42).unwrap(),
                    name: name.into(),
                    state: b'S',
                    parent: 7,
                    group: 8,
                    session: 9,
                    flags: 0x0040_0000,
                    threads: 3,
                    start: 12345,
                    ticks: 5 + 6 + 7 + 8,
                    pages: 200,
                }
            );
        }
        let collected =
            Stat::parse(format!("42 (cat) X 0 -1 -1{}", rest.replacen(" S 7 8 9", "", 1)).as_bytes());
        assert_eq!(collected.map(|stat| (stat.group, stat.session)), Some((-1, -1)));
        let times = "18446744073709551615 18446744073709551615 18446744073709551615 18446744073709551615";
        let text = format!("42 (x) S 7 8 9 0 -1 0 1 2 3 4 {times} 20 0 3 0 1 1 1");
        assert_eq!(Stat::parse(text.as_bytes()).unwrap().ticks, u64::MAX, "no sum is too large");
        for text in ["", "42", "42 (cat", "42 cat) S 1", "0 (x) S 1 1 1", "42 (cat) S 7 8 9"] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_ended_process_has_no_living_threads() {
        let stat = |state: char, threads: u32| {
            let text = format!("42 (cat) {state} 7 8 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 {threads} 0 1 1");
            Stat::parse(text.as_bytes()).unwrap().ended()
        };
        assert!(stat('Z', 1) && stat('X', 0) && !stat('S', 1) && !stat('Z', 2));
    }

    #[test]
    fn we_see_ourselves() {
        let me = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(Stat::of(me).unwrap().pid, me);
        assert!(available() && all().contains(&me) && !never_executed(me));
    }

    #[test]
    fn a_copy_of_us_has_not_failed_to_execute_before_it_ends() {
        // SAFETY: the copy makes plain calls only, and ends by itself should this test not come to its end.
        let copy = unsafe {
            match libc::fork() {
                0 => {
                    libc::alarm(60);
                    loop {
                        libc::pause();
                    }
                }
                pid => pid,
            }
        };
        let pid = Pid::new(copy).unwrap();
        assert!(!never_executed(pid), "it may be on its way");
        // SAFETY: a child of ours, which stays as it is when it has ended.
        unsafe {
            libc::kill(copy, libc::SIGKILL);
            let mut info = std::mem::zeroed();
            let id = copy.cast_unsigned();
            assert_eq!(libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT), 0);
            assert!(never_executed(pid));
            assert_eq!(libc::waitpid(copy, std::ptr::null_mut(), 0), copy);
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        for (line, expected) in [
            (&b"/usr/bin/sleep\x00100\0"[..], Some("sleep")),
            (b"sleep\x00100\0", Some("sleep")),
            (
                b"nginx: master process /usr/sbin/nginx -g daemon off;",
                Some("nginx: master process /usr/sbin/nginx -g daemon off;"),
            ),
            (b"/usr/sbin/apache2 -k start", Some("apache2")),
            (b"-bash\0", Some("-bash")),
            (b"a\x1b[2Jb\n\0", Some("a?[2Jb?")),
            (b"", None),
            (b"\0\0", None),
            (b"/", None),
        ] {
            assert_eq!(show_name(line).as_deref(), expected);
        }
        assert_eq!(show_name(&[b'x'; 100]).unwrap().len(), 64);
        assert!(show_name(&[0xff; 100]).unwrap().len() <= 64);
    }
}
