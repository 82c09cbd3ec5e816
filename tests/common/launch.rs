//! Makes a process in a place of its own: a PID namespace whose PID 1 it is, or one that somebody else holds. Everything
//! between fork and exec is here; what the process is and what it says is `container.rs`.

#![allow(dead_code, reason = "each suite that shares this needs a part of it")]
#![expect(unsafe_code, reason = "fork, exec, namespaces and raw descriptors")]

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use std::{process, ptr};

/// Held to read between fork and exec, when the new process has copies of all our descriptors.
pub static FORKING: RwLock<()> = RwLock::new(());

/// What is done in the new process before it becomes the program, in its namespaces.
pub type Step = Box<dyn Fn() -> io::Result<()>>;

/// Where the process lives.
#[derive(Clone, Copy)]
pub enum Place {
    /// As PID 1 of a new PID namespace.
    Pid1,
    /// In the PID namespace of that process, with a mount namespace of its own.
    Beside(i32),
    /// In all namespaces of that process, as `docker exec` does it.
    Inside(i32),
}

/// A process to be made.
pub struct Launch {
    pub argv: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub place: Place,
    /// Descriptors 0, 1 and 2; `None`: closed.
    pub stdio: [Option<OwnedFd>; 3],
    pub steps: Vec<Step>,
}

/// Makes it and returns when its program runs: its pid as it is seen from here.
pub fn launch(order: &Launch) -> i32 {
    let argv = strings(order.argv.iter().map(OsString::as_os_str));
    let env: Vec<OsString> = order
        .env
        .iter()
        .map(|(name, value)| [name, value].map(OsString::as_os_str).join(OsStr::new("=")))
        .collect();
    let env = strings(env.iter().map(OsString::as_os_str));
    let forking = FORKING.read().unwrap_or_else(PoisonError::into_inner);
    let (mut report, report_end) = io::pipe().expect("a pipe");

    let own = File::open("/proc/self/ns/pid").expect("our PID namespace");
    match order.place {
        // SAFETY: concerns the children of this thread only.
        Place::Pid1 => check(unsafe { libc::unshare(libc::CLONE_NEWPID) }).expect("a PID namespace"),
        Place::Beside(pid) | Place::Inside(pid) => {
            let theirs = File::open(format!("/proc/{pid}/ns/pid")).expect("their PID namespace");
            children_in(&theirs);
        }
    }
    // SAFETY: the child makes system calls and runs steps, then becomes another program or ends. The C library puts its own
    // locks in order in the child; this test program has no others that a step could meet.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| become_program(order, &argv, &env)));
        let why = match outcome {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) | Err(_) => "a step panicked".to_owned(),
        };
        let _ = (&report_end).write_all(why.as_bytes());
        // SAFETY: ends this copy of the test program without running anything of it.
        unsafe { libc::_exit(99) };
    }
    children_in(&own);
    drop(report_end);
    check(pid).expect("a process");
    let mut why = String::new();
    report.read_to_string(&mut why).expect("a report");
    drop(forking);
    if !why.is_empty() {
        let _ = wait(pid);
        panic!("the process could not be set up: {why}");
    }
    pid
}

fn become_program(order: &Launch, argv: &Strings, env: &Strings) -> io::Result<()> {
    // What the runtime of this test program changed.
    for signal in 1..=64 {
        // The kernel's own structure, less than eight words everywhere; the C library would leave out two signals.
        let default = [0_usize; 8];
        // SAFETY: only reads the new action, the default, which runs no code; what may not be changed is refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<usize>(), 8_usize);
        }
    }
    set_mask(0);
    // What this test program inherited itself; 4 is CLOSE_RANGE_CLOEXEC.
    // SAFETY: only sets flags.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 4) };
    match order.place {
        Place::Pid1 | Place::Beside(_) => {
            // SAFETY: plain call; this process has one thread.
            check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
            mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
            mount("proc", "/proc", "proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "")?;
        }
        Place::Inside(pid) => {
            let theirs = File::open(format!("/proc/{pid}/ns/mnt"))?;
            // SAFETY: plain call; this process has one thread.
            check(unsafe { libc::setns(theirs.as_raw_fd(), libc::CLONE_NEWNS) })?;
        }
    }
    for (number, source) in (0..).zip(&order.stdio) {
        if let Some(source) = source {
            // SAFETY: all sources are above 2, so none is overwritten before its turn.
            check(unsafe { libc::dup2(source.as_raw_fd(), number) })?;
        }
    }
    for step in &order.steps {
        step()?;
    }
    for (number, source) in (0..).zip(&order.stdio) {
        if source.is_none() {
            // SAFETY: this copy of the test program uses it no more.
            unsafe { libc::close(number) };
        }
    }
    // Last, because a change of user takes it back: whoever ends the test ends its processes.
    // SAFETY: plain calls, on strings and arrays that live here.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
        libc::execve(argv.pointers[0], argv.pointers.as_ptr(), env.pointers.as_ptr());
    }
    Err(io::Error::last_os_error())
}

/// A PID 1 that does nothing but hold its namespace; ended children go by themselves.
pub struct Holder(i32);

impl Holder {
    /// A new one, in a new PID namespace.
    pub fn new() -> Self {
        let hold: Step = Box::new(|| {
            // SAFETY: plain call. Ignored through exec, so that nobody has to collect.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            Ok(())
        });
        let argv = ["/bin/sleep", "infinity"].map(OsString::from).to_vec();
        let place = Place::Pid1;
        Self(launch(&Launch { argv, env: Vec::new(), place, stdio: nowhere(), steps: vec![hold] }))
    }

    pub fn pid(&self) -> i32 {
        self.0
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        kill(self.0, libc::SIGKILL);
        let _ = wait(self.0);
    }
}

/// `/dev/null`, three times.
pub fn nowhere() -> [Option<OwnedFd>; 3] {
    [(); 3]
        .map(|()| Some(File::options().read(true).write(true).open("/dev/null").expect("/dev/null").into()))
}

/// Waits for a child of ours: its code, or minus the signal that ended it.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: writes one int that lives here.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted, "{pid} is our child");
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> bool {
    assert!(pid > 1, "never everybody");
    // SAFETY: plain call.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Stops a process as a debugger does.
pub fn trace(pid: i32) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: neither call reads or writes memory of ours.
    unsafe {
        check_long(libc::ptrace(libc::PTRACE_SEIZE, pid, none, none))?;
        check_long(libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none))
    }
}

/// Lets a traced process go.
pub fn untrace(pid: i32) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    let mut status = 0;
    // SAFETY: writes one int that lives here.
    unsafe {
        check(libc::waitpid(pid, &raw mut status, libc::__WALL))
            .and_then(|()| check_long(libc::ptrace(libc::PTRACE_DETACH, pid, none, none)))
    }
}

/// A descriptor that is readable when the process has ended; `None` if there is no such process.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: plain call; the descriptor is new and ours.
    unsafe {
        let number = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        RawFd::try_from(number).ok().filter(|fd| *fd >= 0).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// Signals a process by its descriptor, which never means another one.
pub fn kill_by(pidfd: &OwnedFd, signal: i32) {
    // SAFETY: plain call; no information goes with the signal.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, ptr::null::<u8>(), 0) };
}

/// Waits until a descriptor is readable; whether it came so far in time.
pub fn readable(descriptor: impl AsFd, at_most: Duration) -> bool {
    let mut entry = libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = i32::try_from(at_most.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one entry, which lives here.
    unsafe { libc::poll(&raw mut entry, 1, timeout) == 1 }
}

/// mount(2).
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    let [source, target, kind, options] =
        [source, target, kind, options].map(|s| CString::new(s).expect("no zero"));
    // SAFETY: strings that live here.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    })
}

/// mkfifo(3), for everybody.
pub fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a string that lives here.
    unsafe {
        check(libc::mkfifo(path.as_ptr(), 0o666))?;
        check(libc::chmod(path.as_ptr(), 0o666))
    }
}

/// Makes a character device for everybody.
pub fn device(path: &str, major: u32, minor: u32) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: a string that lives here.
    unsafe {
        check(libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)))?;
        check(libc::chmod(path.as_ptr(), 0o666))
    }
}

/// A new pseudo-terminal: the side of the person, and that of the programs.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut master, mut slave) = (-1, -1);
    let none = ptr::null_mut();
    // SAFETY: writes two numbers that live here; the descriptors are new and ours.
    unsafe {
        check(libc::openpty(&raw mut master, &raw mut slave, none, ptr::null_mut(), ptr::null_mut()))?;
        for descriptor in [master, slave] {
            check(libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC))?;
        }
        Ok((OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)))
    }
}

/// Makes descriptor 0 the terminal of a new session.
pub fn take_terminal() -> io::Result<()> {
    take_that_terminal(0)
}

/// The same with any descriptor.
pub fn take_that_terminal(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: plain calls.
    unsafe {
        check(libc::setsid())?;
        check(libc::ioctl(descriptor, libc::TIOCSCTTY, 0))
    }
}

/// Changes the size of a terminal's window.
pub fn resize(terminal: &File) -> io::Result<()> {
    let size = libc::winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads a size that lives here.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
}

/// The foreground process group of a terminal, seen from the person's side.
pub fn foreground(terminal: &File) -> i32 {
    // SAFETY: plain call.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) }
}

/// Signals this process.
pub fn raise(signal: i32) -> io::Result<()> {
    // SAFETY: plain calls.
    check(unsafe { libc::kill(libc::getpid(), signal) })
}

/// Ignores a signal from here on.
pub fn ignore(signal: i32) {
    // SAFETY: runs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sets a resource limit.
pub fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: reads one rlimit that lives here.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// Sets the soft limit of another process.
pub fn limit_of(pid: i32, resource: libc::__rlimit_resource_t, soft: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one rlimit that lives here.
    check(unsafe { libc::prlimit(pid, resource, &raw const limit, ptr::null_mut()) })
}

/// A resource limit: soft and hard.
pub fn limits(resource: libc::__rlimit_resource_t) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit that lives here.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) }).expect("a known resource");
    (limit.rlim_cur, limit.rlim_max)
}

/// Takes one capability away, by number, for good.
pub fn drop_capability(number: libc::c_ulong) -> io::Result<()> {
    // SAFETY: plain call; exec gives root no more than the bounding set has.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) })
}

/// Makes all capabilities that we have inheritable, as Docker did up to version 20.10.13.
pub fn inherit_capabilities() -> io::Result<()> {
    let header = [0x2008_0522_u32, 0];
    // Effective, permitted and inheritable, of the lower half and of the upper.
    let mut sets = [0_u32; 6];
    // SAFETY: header and sets as version 3 wants them.
    unsafe {
        check(i32::from(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) == 0) - 1)?;
        (sets[2], sets[5]) = (sets[1], sets[4]);
        check(i32::from(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) == 0) - 1)
    }
}

/// Sets the flag that everybody shares who has this description.
pub fn set_nonblocking(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: plain call.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK) })
}

/// umount(2), at once.
pub fn unmount(path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: a string that lives here.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })
}

/// Enters a user namespace that has no user and no group but root.
pub fn know_one_user_only() -> io::Result<()> {
    // SAFETY: plain call; this process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    std::fs::write("/proc/self/uid_map", "0 0 1")?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/gid_map", "0 0 1")
}

/// Becomes this user and its group, without other groups and without rights.
pub fn become_user(number: u32) -> io::Result<()> {
    // SAFETY: plain calls.
    unsafe {
        check(libc::setgroups(0, ptr::null()))?;
        check(libc::setresgid(number, number, number))?;
        check(libc::setresuid(number, number, number))
    }
}

/// Sets what exec passes on and a program seldom has: the mask of new files, niceness, limits, groups.
pub fn be_peculiar() -> io::Result<()> {
    let groups = [7, 8];
    // SAFETY: plain calls, one of them on an array that lives here.
    unsafe {
        libc::umask(0o027);
        check(libc::setpriority(libc::PRIO_PROCESS, 0, 5))?;
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::prctl(libc::PR_SET_TIMERSLACK, 77_000, 0, 0, 0))?;
    }
    std::fs::write("/proc/self/oom_score_adj", "100")?;
    limit(libc::RLIMIT_CORE, 0, 0)?;
    limit(libc::RLIMIT_NOFILE, 500, 600)
}

/// Lets the kernel refuse one system call from here on, as a sandbox does that does not know it.
pub fn refuse(call: libc::c_long) -> io::Result<()> {
    let error = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).expect("small");
    let call = u32::try_from(call).expect("small");
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let program = [
        // BPF_LD + BPF_W + BPF_ABS: the number of the call; BPF_JMP + BPF_JEQ; BPF_RET twice.
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, call),
        step(0x06, 0, 0, error),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which lives here.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) })
}

/// Opens what `from` is once more, as that number.
pub fn duplicate(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: plain call; only for numbers that this copy of the test program uses no more.
    check(unsafe { libc::dup2(from, to) })
}

/// Replaces the signal mask of this thread; bit n-1 stands for signal n.
pub fn set_mask(mask: u64) {
    // SAFETY: reads one u64 that lives here.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            ptr::null::<u64>(),
            8_usize,
        );
    }
}

/// The error of a call that returned -1.
pub fn check(result: i32) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// In which PID namespace this thread's next child lives.
fn children_in(namespace: &File) {
    // SAFETY: concerns the children of this thread only.
    let result = check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) });
    if let Err(error) = result {
        let _ = writeln!(io::stderr(), "cannot go back to our own PID namespace: {error}");
        process::abort();
    }
}

struct Strings {
    pointers: Vec<*const libc::c_char>,
    _owned: Vec<CString>,
}

fn strings<'a>(texts: impl Iterator<Item = &'a OsStr>) -> Strings {
    let owned: Vec<CString> = texts.map(|text| CString::new(text.as_bytes()).expect("no zero")).collect();
    let pointers = owned.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
    Strings { pointers, _owned: owned }
}
