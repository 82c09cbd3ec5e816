//! Between fork and exec: turns the copy of us into the process that was asked for. Only system calls on memory that `spawn`
//! prepared; nothing here allocates, locks or panics, for the copy has only one thread of whatever there was.
//!
//! A failed step is reported as eight bytes through a pipe that closes on exec; nothing in the pipe means success.

#![expect(unsafe_code, reason = "fork, exec and the calls between them")]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::caps::{self, CapabilitySet};
use super::signals::{self, SignalSet};
use super::{call, tag, terminal};
use crate::event::Surroundings;

/// All that the child will do, prepared.
#[derive(Debug)]
pub struct Script {
    /// Where to report a failed step.
    pub report: RawFd,
    /// Where to write `0` to be in its cgroup, and whether it must be.
    pub cell: Option<(RawFd, bool)>,
    /// A session or only a group of its own.
    pub surroundings: Surroundings,
    /// The terminal whose foreground the new group becomes, or which the new session gets.
    pub terminal: Option<RawFd>,
    /// What becomes descriptors 0, 1 and 2: that number itself, or one above 2.
    pub stdio: [RawFd; 3],
    /// Which of them are closed instead.
    pub closed: [bool; 3],
    /// Where to begin, if that is not where we are.
    pub home: Option<RawFd>,
    /// A descriptor, and the number above 2 under which the program expects it: two different ones, and neither is `report`.
    pub announcement: Option<(RawFd, RawFd)>,
    /// The working directory.
    pub cwd: Option<CString>,
    /// Resource limits.
    pub rlimits: Vec<(u32, libc::rlimit)>,
    /// What to write to /proc/self/oom_score_adj, and whether it must be possible.
    pub oom_score_adj: Option<(String, bool)>,
    /// The nice value.
    pub nice: Option<i32>,
    /// Who to become.
    pub switch: Switch,
    /// The only capabilities to keep.
    pub capabilities: Option<CapabilitySet>,
    /// Whether exec may never give more privileges.
    pub no_new_privileges: bool,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// The signal mask of the program.
    pub mask: SignalSet,
    /// The signals whose disposition is set, and those of them that are ignored; the others are at their default.
    pub dispositions: (SignalSet, SignalSet),
    /// The files to try, in turn.
    pub candidates: Vec<CString>,
    /// The arguments.
    pub argv: Strings,
    /// The environment.
    pub envp: Strings,
    /// The number in it, from 1, of `LISTEN_PID`, which is to be the child's own pid.
    pub listen_pid: Option<usize>,
    /// Whether `/bin/sh` gets a file that is no program, as shells would do it.
    pub shell: bool,
}

/// A change of user; each part only where it differs from what we are.
#[derive(Debug, Default)]
pub struct Switch {
    /// The supplementary groups.
    pub groups: Option<Vec<libc::gid_t>>,
    /// Whether it matters little if we may not set them.
    pub groups_optional: bool,
    /// The group.
    pub gid: Option<libc::gid_t>,
    /// The user.
    pub uid: Option<libc::uid_t>,
}

/// Strings as execve(2) takes them.
#[derive(Debug)]
pub struct Strings {
    /// First a null, where a shell finds place before the arguments, and a null at the end.
    pointers: Vec<*const c_char>,
    owned: Vec<CString>,
    size: usize,
}

impl Strings {
    /// None, and room for so many.
    pub fn with_capacity(count: usize) -> Self {
        let mut pointers = Vec::with_capacity(count + 2);
        pointers.resize(2, ptr::null());
        Self { pointers, owned: Vec::new(), size: 0 }
    }

    /// Adds one that is always there.
    pub fn add(&mut self, string: &'static CStr) {
        self.push(string);
    }

    /// Adds one and keeps it.
    pub fn own(&mut self, string: CString) {
        self.push(&string);
        self.owned.push(string); // it stays where it is when the vector moves
    }

    #[inline(never)]
    fn push(&mut self, string: &CStr) {
        self.size += string.to_bytes_with_nul().len() + size_of::<usize>();
        if let Some(last) = self.pointers.last_mut() {
            *last = string.as_ptr();
        }
        self.pointers.push(ptr::null());
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        let pointers = self.pointers.iter().filter(|pointer| !pointer.is_null());
        // SAFETY: each is of a string with its end that lives as long as this.
        pointers.map(|pointer| unsafe { CStr::from_ptr(*pointer) })
    }

    /// What the kernel counts of them, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr().wrapping_add(1)
    }
}

const SHELL: &CStr = c"/bin/sh";

/// The variable by which a process knows that passed sockets are meant for it (sd_listen_fds(3)).
pub const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// Room for that and a pid.
const LISTEN_PID_BYTES: usize = 32;

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Making its session or group.
    Session = 1,
    /// Entering its cgroup.
    Cell,
    /// Putting descriptors 0, 1, 2 and the announcement in place; the index is the number.
    Stdio,
    /// Entering the working directory.
    Cwd,
    /// Setting a resource limit; the index is its place in the list.
    Rlimit,
    /// Setting the OOM score adjustment.
    OomScoreAdj,
    /// Setting the nice value.
    Nice,
    /// Setting the supplementary groups.
    Groups,
    /// Setting the group.
    Gid,
    /// Setting the user.
    Uid,
    /// Checking that the user was set and root cannot be had back.
    Verify,
    /// Limiting the capabilities.
    Capabilities,
    /// Forbidding new privileges.
    NoNewPrivileges,
    /// Executing the program; the index is the candidate's place in the list.
    Exec,
}

impl Step {
    const ALL: [Self; 14] = [
        Self::Session,
        Self::Cell,
        Self::Stdio,
        Self::Cwd,
        Self::Rlimit,
        Self::OomScoreAdj,
        Self::Nice,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Verify,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Exec,
    ];
}

/// A failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// Of several of its kind, which.
    pub index: u16,
    /// What the system said.
    pub errno: Errno,
}

/// The size of a report in the pipe, in bytes: small enough to be written at once.
pub const REPORT_BYTES: usize = 8;

impl Failure {
    fn new(step: Step, index: usize, errno: Errno) -> Self {
        Self { step, index: u16::try_from(index).unwrap_or(u16::MAX), errno }
    }

    fn to_bytes(self) -> [u8; REPORT_BYTES] {
        let [low, high] = self.index.to_ne_bytes();
        let [a, b, c, d] = (self.errno as i32).to_ne_bytes();
        [self.step as u8, 0, low, high, a, b, c, d]
    }

    /// Reads a report; `None` if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [step, 0, low, high, a, b, c, d] = *bytes else { return None };
        Some(Self {
            step: *Step::ALL.iter().find(|known| **known as u8 == step)?,
            index: u16::from_ne_bytes([low, high]),
            errno: Errno::from_raw(i32::from_ne_bytes([a, b, c, d])),
        })
    }
}

/// Does everything in the script. All signals are blocked when it begins.
pub fn run(script: &mut Script) -> ! {
    let report = script.report;
    let failure = match perform(script) {
        Ok(never) => match never {},
        Err(failure) => failure.to_bytes(),
    };
    // SAFETY: writes from an array that lives here; _exit runs no code of ours.
    unsafe {
        libc::write(report, failure.as_ptr().cast(), failure.len());
        libc::_exit(127)
    }
}

enum Never {}

fn perform(script: &mut Script) -> Result<Never, Failure> {
    group(script)?;
    if let Some((procs, required)) = script.cell {
        // SAFETY: writes one byte that lives in the program.
        let entered = Errno::result(unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) });
        if required {
            entered.map_err(failed(Step::Cell))?;
        }
    }
    for ((source, target), closed) in script.stdio.into_iter().zip(0..).zip(script.closed) {
        if closed {
            // SAFETY: what we put there for ourselves alone.
            unsafe { libc::close(target) };
        } else {
            place(source, target)?;
        }
    }
    if let Some((source, target)) = script.announcement {
        place(source, target)?;
    }
    if let Some(home) = script.home {
        // SAFETY: plain call.
        call::number(unsafe { libc::syscall(libc::SYS_fchdir, home) }).map_err(failed(Step::Cwd))?;
    }
    let entered = enter(script.cwd.as_ref());
    let again = match entered {
        // Perhaps only the user to be may enter it.
        Err(Failure { errno: Errno::EACCES, .. }) if script.switch.uid.is_some() => true,
        other => other.map(|()| false)?,
    };
    limits(script)?;
    become_user(script)?;
    if again {
        enter(script.cwd.as_ref())?;
    }
    if script.no_new_privileges {
        caps::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(failed(Step::NoNewPrivileges))?;
    }
    if let Some(umask) = script.umask {
        // SAFETY: cannot fail.
        unsafe { libc::umask(umask & 0o777) };
    }
    let mut text = [0; LISTEN_PID_BYTES];
    if let Some(place) = script.listen_pid.and_then(|at| script.envp.pointers.get_mut(at)) {
        write_listen_pid(&mut text);
        *place = text.as_ptr().cast();
    }
    dispositions(script.dispositions);
    signals::swap_mask(script.mask);
    execute(script)
}

/// What a call has returned: -1 is a failure.
#[inline(never)]
fn check(result: libc::c_int, step: Step, index: usize) -> Result<(), Failure> {
    if result == -1 { Err(Failure::new(step, index, Errno::last())) } else { Ok(()) }
}

fn failed(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::new(step, 0, errno)
}

fn group(script: &Script) -> Result<(), Failure> {
    match script.surroundings {
        // SAFETY: plain calls. A fork never leads a group, so setsid cannot be refused for that.
        Surroundings::Service => check(unsafe { libc::setsid() }, Step::Session, 0),
        Surroundings::Command => {
            // SAFETY: plain calls; signals are blocked, so SIGTTOU does not stop us. Without a terminal, or where it
            // is refused, the program runs as well.
            unsafe {
                libc::setpgid(0, 0);
                if let Some(terminal) = script.terminal {
                    terminal::set_foreground(terminal, libc::getpid());
                }
            }
            Ok(())
        }
        Surroundings::Session => {
            // SAFETY: plain calls. A terminal that is somebody else's, or none, is no reason not to run.
            unsafe {
                check(libc::setsid(), Step::Session, 0)?;
                libc::ioctl(script.terminal.unwrap_or(0), libc::TIOCSCTTY, 0);
            }
            Ok(())
        }
    }
}

fn place(source: RawFd, target: RawFd) -> Result<(), Failure> {
    if source == target {
        return Ok(());
    }
    // SAFETY: the sources of 0, 1 and 2 are those numbers themselves or above 2, and used before any target above 2 is; so none is
    // overwritten before it is used.
    check(unsafe { libc::dup2(source, target) }, Step::Stdio, usize::try_from(target).unwrap_or(0))
}

fn enter(directory: Option<&CString>) -> Result<(), Failure> {
    let Some(directory) = directory else { return Ok(()) };
    // SAFETY: a string with its end, which lives as long as the script.
    check(unsafe { libc::chdir(directory.as_ptr()) }, Step::Cwd, 0)
}

fn limits(script: &Script) -> Result<(), Failure> {
    // First, as it takes a descriptor, of which there may be few then.
    if let Some((text, required)) = &script.oom_score_adj {
        match adjust_oom_score(text) {
            Err(errno) if *required => return Err(failed(Step::OomScoreAdj)(errno)),
            Ok(()) | Err(_) => {}
        }
    }
    for (index, (resource, limit)) in script.rlimits.iter().enumerate() {
        let set = check(set_limit(*resource, limit), Step::Rlimit, index);
        // There are other marks. gVisor, for one, knows the limit and lets nobody set it.
        if !tag::is(*resource, limit) {
            set?;
        }
    }
    if let Some(nice) = script.nice {
        // SAFETY: plain call on ourselves.
        check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }, Step::Nice, 0)?;
    }
    Ok(())
}

/// Of ourselves. What the C library calls setrlimit does it to all threads where the kernel has no prlimit, by signals; here is one.
pub fn set_limit(resource: u32, limit: &libc::rlimit) -> libc::c_int {
    // SAFETY: reads one rlimit; an unknown resource is an error.
    unsafe { libc::prlimit(0, resource as _, limit, ptr::null_mut()) }
}

fn adjust_oom_score(text: &str) -> Result<(), Errno> {
    let file = call::open_at(libc::AT_FDCWD, c"/proc/self/oom_score_adj", libc::O_WRONLY, 0)?;
    nix::unistd::write(file.as_fd(), text.as_bytes()).map(drop)
}

/// Groups, user and capabilities, in the only order in which each is still allowed.
fn become_user(script: &Script) -> Result<(), Failure> {
    let switch = &script.switch;
    if let Some(keep) = script.capabilities {
        match caps::bound(keep) {
            // Nobody may shrink the set without CAP_SETPCAP; then exec still brings nothing back.
            Err(Errno::EPERM) if script.no_new_privileges => {}
            other => other.map_err(failed(Step::Capabilities))?,
        }
    }
    if let Some(groups) = &switch.groups {
        // SAFETY: as many groups as said.
        let set =
            unsafe { set_own(libc::SYS_setgroups, [groups.len(), groups.as_ptr().expose_provenance(), 0]) };
        match check(set, Step::Groups, 0) {
            Err(Failure { errno: Errno::EPERM, .. }) if switch.groups_optional => {}
            other => other?,
        }
    }
    if let Some(gid) = switch.gid {
        // SAFETY: plain call.
        check(unsafe { set_own(libc::SYS_setresgid, [gid as usize; 3]) }, Step::Gid, 0)?;
    }
    let mut keep = script.capabilities;
    if let Some(uid) = switch.uid {
        // SAFETY: cannot fail.
        if uid != 0 && uid != unsafe { libc::geteuid() } {
            // The kernel takes away all but what is inheritable.
            keep = keep.or(Some(0));
        }
        if script.capabilities.is_some_and(|keep| keep != 0) {
            caps::keep_through_switch().map_err(failed(Step::Capabilities))?;
        }
        // SAFETY: plain call.
        check(unsafe { set_own(libc::SYS_setresuid, [uid as usize; 3]) }, Step::Uid, 0)?;
    }
    verify(switch)?;
    if let Some(keep) = keep {
        caps::set(keep).map_err(failed(Step::Capabilities))?;
        caps::make_ambient(keep).map_err(failed(Step::Capabilities))?;
    }
    Ok(())
}

/// Changes who we are by the kernel's own call, whose other words do not matter. The C library's does it to all threads, by signals; here
/// is one.
unsafe fn set_own(call: libc::c_long, [one, two, three]: [usize; 3]) -> libc::c_int {
    // SAFETY: the caller's promise that the words are what the call wants.
    let result = unsafe { libc::syscall(call, one, two, three) };
    if result == -1 { -1 } else { 0 }
}

/// A kernel or a filter that only pretends must not give us a service with the wrong user.
fn verify(switch: &Switch) -> Result<(), Failure> {
    let wrong = Err(Failure::new(Step::Verify, 0, Errno::UnknownErrno));
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    if let Some(gid) = switch.gid {
        // SAFETY: writes three numbers that live here.
        unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) };
        if (real, effective, saved) != (gid, gid, gid) {
            return wrong;
        }
    }
    if let Some(uid) = switch.uid {
        // SAFETY: writes three numbers that live here.
        unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
        if (real, effective, saved) != (uid, uid, uid) {
            return wrong;
        }
        // SAFETY: plain call that must fail; if it does not, the process ends here.
        if uid != 0 && unsafe { set_own(libc::SYS_setuid, [0; 3]) } == 0 {
            return wrong;
        }
    }
    Ok(())
}

fn write_listen_pid(text: &mut [u8; LISTEN_PID_BYTES]) {
    // SAFETY: cannot fail.
    let mut pid = unsafe { libc::getpid() }.unsigned_abs();
    let digits = pid.checked_ilog10().map_or(1, |log| log as usize + 1);
    for (place, byte) in text.iter_mut().zip(LISTEN_PID) {
        *place = *byte;
    }
    for place in text.iter_mut().skip(LISTEN_PID.len()).take(digits).rev() {
        *place = b'0' + u8::try_from(pid % 10).unwrap_or(0);
        pid /= 10;
    }
}

/// Through the kernel, because the C library does not let anybody touch 32 and 33.
fn dispositions((set, ignored): (SignalSet, SignalSet)) {
    for signal in (1..=64).filter(|signal| set & signals::bit(*signal) != 0) {
        let handler = if ignored & signals::bit(signal) == 0 { libc::SIG_DFL } else { libc::SIG_IGN };
        // SAFETY: runs no code. SIGKILL and SIGSTOP are refused, and need nothing.
        let _ = unsafe { signals::exchange_disposition(signal, &[handler, 0, 0, 0, 0, 0, 0, 0]) };
    }
}

/// Tries one candidate after another as execvp(3) does: the first that is a program, or why there is none.
fn execute(script: &mut Script) -> Result<Never, Failure> {
    let mut told = Failure::new(Step::Exec, 0, Errno::ENOENT);
    for (index, candidate) in script.candidates.iter().enumerate() {
        // SAFETY: strings with their ends and arrays with a null at theirs, all alive in the script.
        unsafe { libc::execve(candidate.as_ptr(), script.argv.as_ptr(), script.envp.as_ptr()) };
        let mut errno = Errno::last();
        if errno == Errno::ENOEXEC && script.shell {
            let words = &mut script.argv.pointers;
            if let [shell, program, ..] = words.as_mut_slice() {
                (*shell, *program) = (SHELL.as_ptr(), candidate.as_ptr());
            }
            // SAFETY: as above.
            unsafe { libc::execve(SHELL.as_ptr(), words.as_ptr(), script.envp.as_ptr()) };
            errno = Errno::ENOEXEC;
        }
        match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
            Errno::EACCES if told.errno != Errno::EACCES => told = Failure::new(Step::Exec, index, errno),
            Errno::EACCES => {}
            _ => return Err(Failure::new(Step::Exec, index, errno)),
        }
    }
    Err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_back() {
        for step in Step::ALL {
            let failure = Failure::new(step, 300, Errno::EACCES);
            assert_eq!(Failure::from_bytes(&failure.to_bytes()), Some(failure));
        }
        for bytes in [&[][..], &[1; 7], &[0; 8], &[99, 0, 0, 0, 1, 0, 0, 0], &[1; 9]] {
            assert_eq!(Failure::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
