//! What a case finds around it: privileges, another identity, namespaces, another beginning.

use std::env;
use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::SKIPPED;

/// A user that nobody is.
pub const STRANGER: u32 = 12_345;

/// Ends the case as one that cannot run here.
pub fn skip(why: &str) -> ! {
    println!("{why}");
    std::process::exit(SKIPPED);
}

pub fn needs_root() {
    if !nix::unistd::geteuid().is_root() {
        skip("needs root");
    }
}

/// Begins anew as a user without any privilege.
pub fn as_stranger() {
    if nix::unistd::getuid().as_raw() != STRANGER {
        again(become_stranger);
    }
}

/// Becomes a user without any privilege; not quite what it would be had it begun so.
pub fn become_stranger() {
    needs_root();
    // SAFETY: plain calls.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(STRANGER, STRANGER, STRANGER), 0);
        assert_eq!(libc::setresuid(STRANGER, STRANGER, STRANGER), 0);
    }
}

/// From now on a system call of this process and its children gives an error (seccomp(2)), where these arguments, by their place, are
/// or are not these numbers.
pub fn refuse(call: libc::c_long, conditions: &[(u32, bool, u32)], errno: u32) {
    const FIRST_ARGUMENT: u32 = 16;
    const ARGUMENT_BYTES: u32 = 8;
    let step = |code: u32, jumps: (u8, u8), value: u32| libc::sock_filter {
        code: u16::try_from(code).expect("small"),
        jt: jumps.0,
        jf: jumps.1,
        k: value,
    };
    // The number of the call is the first of what a filter sees.
    let number = [(0, true, u32::try_from(call).expect("small"))].into_iter();
    let arguments =
        conditions.iter().map(|(at, is, value)| (FIRST_ARGUMENT + at * ARGUMENT_BYTES, *is, *value));
    let mut filter = Vec::new();
    for (at, is, value) in number.chain(arguments) {
        filter.push(step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), at));
        let jumps = if is { (1, 0) } else { (0, 1) };
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jumps, value));
        filter.push(step(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW));
    }
    filter.push(step(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ERRNO | errno));
    let length = u16::try_from(filter.len()).expect("few");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives here, and the kernel copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// Runs the case from the start once more after `before`, which changes what is inherited. Says whether this is that time.
pub fn again(before: impl FnOnce()) -> bool {
    const MARK: &str = "CASE_AGAIN";
    if env::var_os(MARK).is_some() {
        return true;
    }
    before();
    // Without the standard library's tidying, which would reset what the case is about.
    let arguments: Vec<CString> =
        env::args().map(|argument| CString::new(argument).expect("no zero")).collect();
    let environment: Vec<CString> = env::vars()
        .chain([(MARK.to_owned(), "1".to_owned())])
        .map(|(name, value)| CString::new(format!("{name}={value}")).expect("no zero"))
        .collect();
    let pointers = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: arrays of strings with a null at their end.
    unsafe { libc::execve(c"/proc/self/exe".as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    panic!("exec: {}", std::io::Error::last_os_error());
}

/// Runs the rest of the case in a mount namespace of its own, where nothing it mounts is seen by others.
pub fn own_mounts() {
    needs_root();
    // SAFETY: one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        skip("needs the right to make a mount namespace");
    }
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE);
}

/// Puts an empty file system over a directory.
pub fn hide(directory: &str) {
    mount("tmpfs", directory, "tmpfs", 0);
}

pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) {
    mount_with(source, target, kind, flags, "");
}

pub fn mount_with(source: &str, target: &str, kind: &str, flags: libc::c_ulong, options: &str) {
    if let Err(error) = try_mount(source, target, kind, flags, options) {
        panic!("mount {target}: {error}");
    }
}

pub fn try_mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> std::io::Result<()> {
    let [source, target, kind, options] =
        [source, target, kind, options].map(|text| CString::new(text).expect("no zero"));
    // SAFETY: strings with their ends.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Runs the rest of the case as PID 1 of a namespace of its own, with its own /proc.
pub fn as_pid_1() {
    if std::process::id() == 1 {
        mount("proc", "/proc", "proc", 0);
        return;
    }
    own_mounts();
    // SAFETY: one thread; the child execs.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWPID), 0);
        let child = libc::fork();
        if child == 0 {
            let arguments = env::args().skip(1);
            let error = Command::new(env::current_exe().expect("own path"))
                .args(arguments)
                .stdin(Stdio::null())
                .exec();
            panic!("exec: {error}");
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        let code =
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
        std::process::exit(code);
    }
}

/// A directory that is removed with its owner, and that everybody may enter.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = env::temp_dir().join(format!("tinysup-case-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    /// Makes a file there.
    pub fn file(&self, name: &str, mode: u32, content: &[u8]) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its mode");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Replaces one of our standard descriptors.
pub fn replace(number: i32, by: &impl std::os::fd::AsRawFd) {
    // SAFETY: the standard descriptors belong to the case.
    assert_eq!(unsafe { libc::dup2(by.as_raw_fd(), number) }, number);
}

static SIGNALFD: AtomicBool = AtomicBool::new(true);

/// Whether this case has signalfd.
pub fn has_signalfd() -> bool {
    SIGNALFD.load(Ordering::Relaxed)
}

/// Lets the kernel refuse signalfd from here on, as a sandbox does that does not know it.
pub fn without_signalfd() {
    SIGNALFD.store(false, Ordering::Relaxed);
    let refuse = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).expect("small");
    let number = u32::try_from(libc::SYS_signalfd4).expect("small");
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let program = [
        // BPF_LD + BPF_W + BPF_ABS: the number of the call; BPF_JMP + BPF_JEQ; BPF_RET twice.
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, number),
        step(0x06, 0, 0, refuse),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which lives here.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
        assert_eq!(libc::syscall(libc::SYS_signalfd4, -1, std::ptr::null::<u64>(), 8, 0), -1);
    }
}

/// Takes one capability away from ourselves.
pub fn without_capability(number: u32) {
    #[repr(C)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = [0x2008_0522_u32, 0];
    let mut halves = [const { Half { effective: 0, permitted: 0, inheritable: 0 } }; 2];
    // SAFETY: header and halves as version 3 wants them.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), halves.as_mut_ptr()), 0);
        let half = &mut halves[usize::try_from(number / 32).expect("small")];
        half.effective &= !(1 << (number % 32));
        half.permitted &= !(1 << (number % 32));
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), halves.as_ptr()), 0);
    }
}

/// The instruction that the compiler puts where nothing can go.
pub fn trap() {
    // SAFETY: it ends the process, which is the point.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("ud2");
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("brk #1");
    }
}
